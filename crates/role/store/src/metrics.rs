use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use homeport_binding::limits::BINDINGS_MAX;
use homeport_raft::{NodeStatus, Role};
use homeport_runtime::metrics::{ReasonCounter, Registry, Unit};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use crate::feed::Lag;

type ByMember<N> = Family<[(&'static str, u64); 1], Gauge<N, AtomicU64>>;

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
    pub(crate) admin_calls_refused: ReasonCounter,
    pub(crate) admin_tokens: Gauge<u64, AtomicU64>,
    pub(crate) admin_tokens_file_refused: Counter,
    sync_seconds: Histogram,
    is_leader: Gauge,
    has_leader: Gauge,
    voters: Gauge<u64, AtomicU64>,
    committed: Gauge<u64, AtomicU64>,
    last_log: Gauge<u64, AtomicU64>,
    snapshot: Gauge<u64, AtomicU64>,
    disk_free: Gauge<u64, AtomicU64>,
    members: Members,
    feed_subscribers: Gauge<u64, AtomicU64>,
    feed_lag_revisions: Gauge<u64, AtomicU64>,
    feed_lag_seconds: Gauge<f64, AtomicU64>,
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
            notices_sent: ReasonCounter::register_by(
                "kind",
                registry,
                "notices_sent",
                "Notices to mobile nodes given to front-ends, by kind",
                &["revocation", "switch", "prefix_advertisement", "care_of_test"],
            ),
            notices_dropped: ReasonCounter::register(
                registry,
                "notices_dropped",
                "Notices to mobile nodes that were not sent, by reason",
                &[
                    "queue_full",
                    "late",
                    "superseded",
                    "turns_full",
                    "care_of_tests_full",
                    "no_front_end",
                ],
            ),
            advertisements_given_up: Counter::default(),
            leases_given_back: Counter::default(),
            waits_for_defender: waits_for_defender(registry),
            backups: backups(registry),
            admin_calls_refused: admin_calls_refused(registry),
            admin_tokens: Gauge::default(),
            admin_tokens_file_refused: Counter::default(),
            // From 0.1 ms to about 3 s.
            sync_seconds: Histogram::new(exponential_buckets(0.0001, 2.0, 16)),
            is_leader: Gauge::default(),
            has_leader: Gauge::default(),
            voters: Gauge::default(),
            committed: Gauge::default(),
            last_log: Gauge::default(),
            snapshot: Gauge::default(),
            disk_free: Gauge::default(),
            members: Members::default(),
            feed_subscribers: Gauge::default(),
            feed_lag_revisions: Gauge::default(),
            feed_lag_seconds: Gauge::default(),
            term: Gauge::default(),
            revision: Gauge::default(),
            home_addresses: Gauge::default(),
            bindings: Gauge::default(),
        };
        registry.register("commands", "Commands with a verdict", metrics.commands.clone());
        registry.register("entries", "Log entries proposed here", metrics.entries.clone());
        registry.register_with_unit(
            "commit",
            "From proposing an entry until it is applied",
            Unit::Seconds,
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
        registry.register(
            "admin_tokens",
            "Tokens of the admin API; 0: whoever reaches it may do everything",
            metrics.admin_tokens.clone(),
        );
        registry.register(
            "admin_tokens_file_refused",
            "Changes of admin.tokens_file that could not be used: the tokens before them stay",
            metrics.admin_tokens_file_refused.clone(),
        );
        metrics.register_consensus(registry);
        metrics.register_feed(registry);
        registry.register(
            "home_addresses",
            "Home addresses known, tombstones included",
            metrics.home_addresses.clone(),
        );
        registry.register("bindings", "Bindings", metrics.bindings.clone());
        let max: Gauge<u64, AtomicU64> = Gauge::default();
        max.set(u64::try_from(BINDINGS_MAX).unwrap_or(u64::MAX));
        registry.register("bindings_max", "Bindings that the store holds at most", max);
        metrics
    }

    /// What says how it stands with the other replicas and with the disk.
    fn register_consensus(&self, registry: &mut Registry) {
        let m = self;
        registry.register("is_leader", "Whether this replica leads, 0 or 1", m.is_leader.clone());
        let help = "Whether this replica leads or hears a leader, 0 or 1";
        registry.register("has_leader", help, m.has_leader.clone());
        registry.register("term", "Raft term", m.term.clone());
        registry.register("voters", "Replicas that vote, as this one knows", m.voters.clone());
        let help = "Last log index that is known to be committed";
        registry.register("committed", help, m.committed.clone());
        registry.register("last_log", "Last log index", m.last_log.clone());
        registry.register("revision", "Last log index applied", m.revision.clone());
        let help = "Last log index in the newest snapshot; 0: there is none";
        registry.register("snapshot", help, m.snapshot.clone());
        let help = "Until the disk has made a batch of log entries durable";
        registry.register_with_unit("log_sync", help, Unit::Seconds, m.sync_seconds.clone());
        let help = "Free on the file system of the data directory";
        registry.register_with_unit("disk_free", help, Unit::Bytes, m.disk_free.clone());
        let help = "On the leader: log entries that this member is not known to have";
        registry.register("member_lag_entries", help, m.members.lag.clone());
        let help = "On the leader: for how long this member has acknowledged nothing; absent while it never \
                    has";
        registry.register_with_unit(
            "member_silent",
            help,
            Unit::Seconds,
            m.members.silent_seconds.clone(),
        );
    }

    fn register_feed(&self, registry: &mut Registry) {
        let m = self;
        let help = "Forwarders that follow the binding feed of this replica";
        registry.register("feed_subscribers", help, m.feed_subscribers.clone());
        let help = "Revisions that the last of these forwarders was not sent yet";
        registry.register("feed_lag_revisions", help, m.feed_lag_revisions.clone());
        let help = "Age of the oldest revision that one of these forwarders was not sent yet";
        registry.register_with_unit("feed_lag", help, Unit::Seconds, m.feed_lag_seconds.clone());
    }

    /// The disk took so long to make log entries durable.
    pub(crate) fn observe_sync(&self, took: Duration) {
        self.sync_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn observe(&self, status: &NodeStatus, disk_free: Option<u64>) {
        self.is_leader.set(i64::from(status.role == Role::Leader));
        self.has_leader.set(i64::from(status.leader.is_some()));
        self.term.set(status.term);
        self.voters.set(u64::try_from(status.voters.len()).unwrap_or(u64::MAX));
        self.committed.set(status.committed.unwrap_or(0));
        self.last_log.set(status.last_log.unwrap_or(0));
        self.snapshot.set(status.snapshot.unwrap_or(0));
        self.revision.set(status.applied.unwrap_or(0));
        if let Some(octets) = disk_free {
            self.disk_free.set(octets);
        }
        self.members.observe(status);
    }

    /// Who follows the feed, and how far the last of them is behind.
    pub(crate) fn observe_feed(&self, lag: Lag) {
        self.feed_subscribers.set(u64::try_from(lag.subscribers).unwrap_or(u64::MAX));
        self.feed_lag_revisions.set(lag.revisions);
        self.feed_lag_seconds.set(lag.age.as_secs_f64());
    }

    pub(crate) fn observe_state(&self, home_addresses: usize, bindings: usize) {
        self.home_addresses.set(u64::try_from(home_addresses).unwrap_or(u64::MAX));
        self.bindings.set(u64::try_from(bindings).unwrap_or(u64::MAX));
    }
}

/// How the leader sees the other members. Only as many as the membership has are shown, and only by a
/// replica that leads.
#[derive(Default)]
struct Members {
    lag: ByMember<u64>,
    silent_seconds: ByMember<f64>,
    shown: Mutex<BTreeSet<u64>>,
}

impl Members {
    fn observe(&self, status: &NodeStatus) {
        // The set is whole after any panic: it is only ever replaced.
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let last_log = status.last_log.unwrap_or(0);
        let others = |(node_id, _): &&(u64, Option<u64>)| *node_id != status.node_id;
        let mut now = BTreeSet::new();
        for (node_id, matched) in status.matched.iter().filter(others) {
            now.insert(*node_id);
            let lag = last_log.saturating_sub(matched.unwrap_or(0));
            self.lag.get_or_create(&[("member", *node_id)]).set(lag);
        }
        for (node_id, silent) in &status.silent {
            now.insert(*node_id);
            if let Some(silent) = silent {
                let gauge = self.silent_seconds.get_or_create(&[("member", *node_id)]);
                gauge.set(silent.as_secs_f64());
            }
        }
        for gone in shown.difference(&now) {
            self.lag.remove(&[("member", *gone)]);
            self.silent_seconds.remove(&[("member", *gone)]);
        }
        *shown = now;
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

fn admin_calls_refused(registry: &mut Registry) -> ReasonCounter {
    ReasonCounter::register(
        registry,
        "admin_calls_refused",
        "Calls of the admin API that were refused for who called, by reason",
        &["token_missing", "token_unknown", "role_insufficient"],
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
