use homeport_runtime::metrics::{ReasonCounter, Registry};
use homeport_signalling::ReplyKind;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabel {
    status: u8,
}

/// What a front-end counts.
pub(crate) struct Metrics {
    pub(crate) packets: Counter,
    pub(crate) drops: ReasonCounter,
    pub(crate) retries: ReasonCounter,
    pub(crate) errors: ReasonCounter,
    discoveries: ReasonCounter,
    address_tests: Counter,
    pub(crate) registration_seconds: Histogram,
    pub(crate) revocations_acknowledged: Counter,
    pub(crate) notices_dropped: ReasonCounter,
    notices: ReasonCounter,
    acknowledgements: Family<StatusLabel, Counter>,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("signalling");
        let metrics = Self {
            packets: Counter::default(),
            drops: ReasonCounter::register(
                registry,
                "drops",
                "Packets without an answer, by reason",
                &[],
            ),
            retries: ReasonCounter::register(
                registry,
                "store_retries",
                "Commands sent to the store again, by reason",
                &["reconnected", "stalled", "not_leader", "unknown"],
            ),
            errors: ReasonCounter::register(
                registry,
                "errors_sent",
                "ICMPv6 errors and Binding Errors sent, by what caused them",
                &["unknown_mh_type", "payload_proto", "header_len", "option_length"],
            ),
            discoveries: ReasonCounter::register(
                registry,
                "discoveries_answered",
                "Answers to who looks for home agents or prefixes, by kind",
                &["home_agents", "prefixes"],
            ),
            address_tests: Counter::default(),
            revocations_acknowledged: Counter::default(),
            notices: ReasonCounter::register(
                registry,
                "notices",
                "Notices to mobile nodes given to forwarders, by kind",
                &["revocation", "switch", "prefix_advertisement"],
            ),
            notices_dropped: ReasonCounter::register(
                registry,
                "notices_dropped",
                "Notices to mobile nodes that were not sent, by reason",
                &["queue_full", "no_forwarder", "forwarders_full", "store_unreachable"],
            ),
            // From 0.2 ms to about 3 s.
            registration_seconds: Histogram::new(exponential_buckets(0.0002, 2.0, 15)),
            acknowledgements: Family::default(),
        };
        registry.register(
            "address_tests_answered",
            "Home Tests and Care-of Tests sent, as a correspondent node",
            metrics.address_tests.clone(),
        );
        registry.register("packets", "Packets from forwarders", metrics.packets.clone());
        registry.register(
            "registration_seconds",
            "From a Binding Update's arrival to its acknowledgement",
            metrics.registration_seconds.clone(),
        );
        registry.register(
            "revocations_acknowledged",
            "Binding Revocation Acknowledgements that ended a revocation",
            metrics.revocations_acknowledged.clone(),
        );
        registry.register(
            "acknowledgements",
            "Binding Acknowledgements, by status",
            metrics.acknowledgements.clone(),
        );
        metrics
    }

    /// A reply that leaves.
    pub(crate) fn count_reply(&self, kind: ReplyKind) {
        match kind {
            ReplyKind::Acknowledgement(status) => {
                self.acknowledgements.get_or_create(&StatusLabel { status: status.0 }).inc();
            }
            ReplyKind::AddressTest => {
                self.address_tests.inc();
            }
            ReplyKind::HomeAgentAddressDiscovery => self.discoveries.count("home_agents"),
            ReplyKind::MobilePrefixAdvertisement => self.discoveries.count("prefixes"),
            ReplyKind::BindingError(cause) | ReplyKind::ParameterProblem(cause) => {
                self.errors.count(cause.reason());
            }
            ReplyKind::RevocationIndication => self.notices.count("revocation"),
            ReplyKind::HomeAgentSwitch => self.notices.count("switch"),
            ReplyKind::UnsolicitedPrefixAdvertisement => {
                self.notices.count("prefix_advertisement");
            }
        }
    }
}
