//! What an agent counts. Labels come from closed sets; home addresses are never among them.

use std::sync::atomic::AtomicI64;

use homeport_runtime::metrics::{ReasonCounter, Registry};
use prometheus_client::metrics::gauge::Gauge;

/// `homeport_ike_agent_*`
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) associations: Gauge<i64, AtomicI64>,
    pub(crate) unpublished: Gauge<i64, AtomicI64>,
    pub(crate) passed_over: ReasonGauge,
    pub(crate) look_errors: ReasonCounter,
    pub(crate) writes: ReasonCounter,
    pub(crate) moves: ReasonCounter,
    pub(crate) closes: ReasonCounter,
    pub(crate) unclaimed: ReasonCounter,
}

/// How many there are now, by reason.
pub(crate) type ReasonGauge = prometheus_client::metrics::family::Family<
    [(&'static str, &'static str); 1],
    Gauge<i64, AtomicI64>,
>;

/// Why a child of the daemon is of no use.
pub(crate) const PASSED_OVER: [&str; 6] =
    ["tunnel_mode", "reqid_differs", "reqid_shared", "selector_other", "suite_unknown", "too_many"];

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("ike_agent");
        let metrics = Self {
            associations: Gauge::default(),
            unpublished: Gauge::default(),
            passed_over: ReasonGauge::default(),
            look_errors: ReasonCounter::register(
                registry,
                "look_errors",
                "Looks at kernel and daemon that have failed, by reason",
                &["kernel_refused", "daemon_unreachable", "daemon_refused", "daemon_late"],
            ),
            writes: ReasonCounter::register_by(
                "result",
                registry,
                "writes",
                "Associations brought to the store or taken from it, by result",
                &["put", "deleted", "refused", "store_unreachable"],
            ),
            moves: ReasonCounter::register_by(
                "result",
                registry,
                "endpoint_moves",
                "IKE endpoints that front-ends wanted moved, by result",
                &[
                    "moved",
                    "unconfirmed",
                    "association_gone",
                    "over_ipv4",
                    "kernel_refused",
                    "daemon_unreachable",
                    "daemon_refused",
                    "daemon_late",
                ],
            ),
            closes: ReasonCounter::register_by(
                "result",
                registry,
                "endpoint_closes",
                "IKE associations that were to be closed because the mobile node has left their endpoint, by result",
                &[
                    "closed",
                    "association_gone",
                    "daemon_unreachable",
                    "daemon_refused",
                    "daemon_late",
                ],
            ),
            unclaimed: ReasonCounter::register(
                registry,
                "requests_refused",
                "Requests of front-ends that were not carried out, by reason",
                &["unknown", "outdated"],
            ),
        };
        for reason in PASSED_OVER {
            drop(metrics.passed_over.get_or_create(&[("reason", reason)]));
        }
        registry.register(
            "associations",
            "Pairs of security associations that the daemon has negotiated",
            metrics.associations.clone(),
        );
        registry.register(
            "associations_unpublished",
            "Of these, pairs that the store does not have yet",
            metrics.unpublished.clone(),
        );
        registry.register(
            "associations_passed_over",
            "Pairs of the daemon that are of no use for signalling, by reason",
            metrics.passed_over.clone(),
        );
        metrics
    }
}
