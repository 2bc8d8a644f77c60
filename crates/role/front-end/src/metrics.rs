use homeport_runtime::metrics::{ReasonCounter, Registry, Unit};
use homeport_signalling::ReplyKind;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabel {
    status: u8,
}

/// Statuses that are shown as zero from the start, so that a rate over them has a beginning: those of RFC
/// 6275 section 6.1.8.
fn first_statuses() -> impl Iterator<Item = u8> {
    (0..=1).chain(128..=139)
}

/// By whether the home link was searched for a duplicate first.
type ByDetection = Family<[(&'static str, &'static str); 1], Histogram, fn() -> Histogram>;

/// What a front-end counts.
pub(crate) struct Metrics {
    pub(crate) packets: Counter,
    updates: ReasonCounter,
    pub(crate) drops: ReasonCounter,
    pub(crate) retries: ReasonCounter,
    pub(crate) errors: ReasonCounter,
    discoveries: ReasonCounter,
    address_tests: Counter,
    registration_seconds: ByDetection,
    pub(crate) revocations_acknowledged: Counter,
    pub(crate) care_ofs_verified: Counter,
    pub(crate) notices_dropped: ReasonCounter,
    notices: ReasonCounter,
    pub(crate) endpoint_moves: ReasonCounter,
    pub(crate) endpoint_closes: ReasonCounter,
    acknowledgements: Family<StatusLabel, Counter>,
    correspondent_acknowledgements: Family<StatusLabel, Counter>,
}

/// From 0.2 ms to about 3 s.
fn registration_times() -> Histogram {
    Histogram::new(exponential_buckets(0.0002, 2.0, 15))
}

/// Whom a Binding Update is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Addressee {
    HomeAgent,
    CorrespondentNode,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("signalling");
        let metrics = Self {
            packets: Counter::default(),
            updates: ReasonCounter::register_by(
                "to",
                registry,
                "binding_updates",
                "Binding Updates that could be read, by whom they were for",
                &["home_agent", "correspondent_node"],
            ),
            drops: ReasonCounter::register(
                registry,
                "drops",
                "Packets without an answer, by reason",
                &[
                    "authentication_missing",
                    "authentication_failed",
                    "no_security_association",
                    "store_timeout",
                    "store_unreachable",
                    "overloaded",
                    "error_rate_limited",
                ],
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
            discoveries: ReasonCounter::register_by(
                "kind",
                registry,
                "discoveries_answered",
                "Answers to who looks for home agents or prefixes, by kind",
                &["home_agents", "prefixes"],
            ),
            address_tests: Counter::default(),
            revocations_acknowledged: Counter::default(),
            care_ofs_verified: Counter::default(),
            notices: ReasonCounter::register_by(
                "kind",
                registry,
                "notices",
                "Notices to mobile nodes given to forwarders, by kind",
                &["revocation", "switch", "prefix_advertisement", "care_of_test"],
            ),
            endpoint_moves: ReasonCounter::register_by(
                "result",
                registry,
                "endpoint_moves",
                "IKE endpoints that were to follow a mobile node with the K bit, by result",
                &[
                    "moved",
                    "unconfirmed",
                    "outdated",
                    "association_unknown",
                    "agent_late",
                    "agent_unreachable",
                    "agent_refused",
                ],
            ),
            endpoint_closes: ReasonCounter::register_by(
                "result",
                registry,
                "endpoint_closes",
                "Agents asked to close IKE associations that a mobile node has left without the K bit, by result",
                &[
                    "closing",
                    "none_elsewhere",
                    "outdated",
                    "association_unknown",
                    "agent_late",
                    "agent_unreachable",
                    "agent_refused",
                    "overloaded",
                ],
            ),
            notices_dropped: ReasonCounter::register(
                registry,
                "notices_dropped",
                "Notices to mobile nodes that were not sent, by reason",
                &["queue_full", "no_forwarder", "forwarders_full", "store_unreachable"],
            ),
            registration_seconds: Family::new_with_constructor(registration_times),
            acknowledgements: Family::default(),
            correspondent_acknowledgements: Family::default(),
        };
        for detection in ["no", "yes"] {
            drop(metrics.registration_seconds.get_or_create(&[("detection", detection)]));
        }
        for status in first_statuses() {
            let label = StatusLabel { status };
            drop(metrics.acknowledgements.get_or_create(&label));
            drop(metrics.correspondent_acknowledgements.get_or_create(&label));
        }
        registry.register(
            "address_tests_answered",
            "Home Tests and Care-of Tests sent, as a correspondent node",
            metrics.address_tests.clone(),
        );
        registry.register("packets", "Packets from forwarders", metrics.packets.clone());
        registry.register_with_unit(
            "registration",
            "From a Binding Update's arrival to its acknowledgement, by whether Duplicate Address Detection \
             on the home link came between",
            Unit::Seconds,
            metrics.registration_seconds.clone(),
        );
        registry.register(
            "care_of_addresses_verified",
            "Answers to tests of care-of addresses that verified one",
            metrics.care_ofs_verified.clone(),
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
        registry.register(
            "correspondent_acknowledgements",
            "Binding Acknowledgements as a correspondent node, by status",
            metrics.correspondent_acknowledgements.clone(),
        );
        metrics
    }

    /// A Binding Update that came.
    pub(crate) fn count_update(&self, to: Addressee) {
        self.updates.count(match to {
            Addressee::HomeAgent => "home_agent",
            Addressee::CorrespondentNode => "correspondent_node",
        });
    }

    /// A Binding Update was acknowledged after so many seconds.
    pub(crate) fn observe_registration(&self, seconds: f64, detection: bool) {
        let detection = if detection { "yes" } else { "no" };
        self.registration_seconds.get_or_create(&[("detection", detection)]).observe(seconds);
    }

    /// A reply to a Binding Update for the correspondent node that leaves.
    pub(crate) fn count_correspondent_reply(&self, kind: ReplyKind) {
        match kind {
            ReplyKind::Acknowledgement(status) => {
                let label = StatusLabel { status: status.0 };
                self.correspondent_acknowledgements.get_or_create(&label).inc();
            }
            other => self.count_reply(other),
        }
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
            ReplyKind::CareOfTest => self.notices.count("care_of_test"),
            ReplyKind::UnsolicitedPrefixAdvertisement => {
                self.notices.count("prefix_advertisement");
            }
        }
    }
}
