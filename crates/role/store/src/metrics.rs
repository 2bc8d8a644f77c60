use std::sync::atomic::AtomicU64;

use homeport_raft::{NodeStatus, Role};
use homeport_runtime::metrics::{ReasonCounter, Registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// What a replica counts.
pub(crate) struct Metrics {
    pub(crate) outcomes: ReasonCounter,
    pub(crate) commands: Counter,
    pub(crate) entries: Counter,
    pub(crate) commit_seconds: Histogram,
    pub(crate) feed_messages: Counter,
    pub(crate) feed_snapshots: Counter,
    pub(crate) notices_sent: ReasonCounter,
    pub(crate) notices_dropped: ReasonCounter,
    pub(crate) advertisements_given_up: Counter,
    pub(crate) leases_given_back: Counter,
    pub(crate) waits_for_defender: ReasonCounter,
    pub(crate) backups: ReasonCounter,
    is_leader: Gauge,
    term: Gauge<u64, AtomicU64>,
    revision: Gauge<u64, AtomicU64>,
    home_addresses: Gauge<u64, AtomicU64>,
    bindings: Gauge<u64, AtomicU64>,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("store");
        let metrics = Self {
            outcomes: ReasonCounter::register(
                registry,
                "commands_refused",
                "Commands that got no verdict, by reason",
                &["not_leader", "overloaded", "no_quorum", "unknown", "disk_full", "older_members"],
            ),
            commands: Counter::default(),
            entries: Counter::default(),
            // From 0.2 ms to about 3 s.
            commit_seconds: Histogram::new(exponential_buckets(0.0002, 2.0, 15)),
            feed_messages: Counter::default(),
            feed_snapshots: Counter::default(),
            notices_sent: ReasonCounter::register(
                registry,
                "notices_sent",
                "Notices to mobile nodes given to front-ends, by kind",
                &["revocation", "switch", "prefix_advertisement"],
            ),
            notices_dropped: ReasonCounter::register(
                registry,
                "notices_dropped",
                "Notices to mobile nodes that were not sent, by reason",
                &["queue_full", "late", "superseded", "turns_full", "no_front_end"],
            ),
            advertisements_given_up: Counter::default(),
            leases_given_back: Counter::default(),
            waits_for_defender: waits_for_defender(registry),
            backups: backups(registry),
            is_leader: Gauge::default(),
            term: Gauge::default(),
            revision: Gauge::default(),
            home_addresses: Gauge::default(),
            bindings: Gauge::default(),
        };
        registry.register("commands", "Commands with a verdict", metrics.commands.clone());
        registry.register("entries", "Log entries proposed here", metrics.entries.clone());
        registry.register(
            "commit_seconds",
            "From proposing an entry until it is applied",
            metrics.commit_seconds.clone(),
        );
        registry.register("feed_messages", "Feed messages sent", metrics.feed_messages.clone());
        registry.register("feed_snapshots", "Feed snapshots sent", metrics.feed_snapshots.clone());
        registry.register(
            "prefix_advertisements_given_up",
            "Mobile nodes that answered none of their Mobile Prefix Advertisements",
            metrics.advertisements_given_up.clone(),
        );
        registry.register(
            "home_link_leases_given_back",
            "Leases of home links that ended with the stream of the forwarder that asked for them",
            metrics.leases_given_back.clone(),
        );
        registry.register("is_leader", "1 on the leader", metrics.is_leader.clone());
        registry.register("term", "Raft term", metrics.term.clone());
        registry.register("revision", "Last log index applied", metrics.revision.clone());
        registry.register(
            "home_addresses",
            "Home addresses known, tombstones included",
            metrics.home_addresses.clone(),
        );
        registry.register("bindings", "Bindings", metrics.bindings.clone());
        metrics
    }

    pub(crate) fn observe(&self, status: &NodeStatus) {
        self.is_leader.set(i64::from(status.role == Role::Leader));
        self.term.set(status.term);
        self.revision.set(status.applied.unwrap_or(0));
    }

    pub(crate) fn observe_state(&self, home_addresses: usize, bindings: usize) {
        self.home_addresses.set(u64::try_from(home_addresses).unwrap_or(u64::MAX));
        self.bindings.set(u64::try_from(bindings).unwrap_or(u64::MAX));
    }
}

fn waits_for_defender(registry: &mut Registry) -> ReasonCounter {
    ReasonCounter::register(
        registry,
        "waits_for_defender",
        "Binding Updates that leave a home address of a real home link to its mobile node, by what was \
         known when they were answered: the defender had left it, was late, or there was none",
        &["left", "late", "no_defender"],
    )
}

fn backups(registry: &mut Registry) -> ReasonCounter {
    ReasonCounter::register(
        registry,
        "backups",
        "Snapshots that an operator has asked for, by what became of them: saved, refused since another \
         was being saved or this replica could not say what is current, or broken off since the reader \
         left or stalled",
        &["saved", "busy", "not_current", "left", "stalled"],
    )
}
