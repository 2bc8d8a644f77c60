//! What a forwarder counts. Labels come from closed enums; home addresses are never among them.

use std::sync::atomic::AtomicI64;

use homeport_fastpath::Cause;
use homeport_forwarding::{Action, Table, limits::HOME_ADDRESSES_MAX};
use homeport_runtime::{
    clock::unix_ms,
    metrics::{ReasonCounter, Registry, Unit},
};
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};

use crate::{drain::Stage, headless::Contact};

type ByLabel = Family<[(&'static str, &'static str); 1], Counter>;

/// What comes in and goes out at a port. Its counters are looked up once, not for each packet.
#[derive(Debug)]
pub(crate) struct PortCounters {
    packets: Counter,
    received_octets: Counter,
    sent_octets: Counter,
}

impl PortCounters {
    /// A packet of so many octets came in.
    pub(crate) fn received(&self, octets: usize) {
        self.packets.inc();
        self.received_octets.inc_by(count_of(octets));
    }

    /// So many octets were sent.
    pub(crate) fn sent(&self, octets: usize) {
        self.sent_octets.inc_by(count_of(octets));
    }
}

/// The forwarder's metrics, `homeport_forwarder_*`.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) tun: PortCounters,
    pub(crate) udp: PortCounters,
    actions: ByLabel,
    answers: ByLabel,
    fast: Family<[(&'static str, &'static str); 2], Counter>,
    /// Changes for which the fast path had no place.
    pub(crate) fast_refused: Counter,
    fast_home_addresses: Gauge<i64, AtomicI64>,
    fast_home_addresses_max: Gauge<i64, AtomicI64>,
    pub(crate) drops: ReasonCounter,
    pub(crate) feed_lost: Counter,
    pub(crate) feed_refused: Counter,
    /// Changes that the feed brought.
    pub(crate) feed_changes: Counter,
    stale: Gauge<i64, AtomicI64>,
    withdrawn: Gauge<i64, AtomicI64>,
    draining: Gauge<i64, AtomicI64>,
    drained: Gauge<i64, AtomicI64>,
    /// When a store was heard last, seconds since 1970.
    heard: Gauge<i64, AtomicI64>,
    pub(crate) feed_connected: Gauge<i64, AtomicI64>,
    pub(crate) front_ends: Gauge<i64, AtomicI64>,
    pub(crate) revision: Gauge<i64, AtomicI64>,
    home_addresses: Gauge<i64, AtomicI64>,
    /// Of the task that is the neighbour on home links.
    pub(crate) home_link_drops: ReasonCounter,
    pub(crate) home_link_take_overs: ReasonCounter,
    home_links_defended: Gauge<i64, AtomicI64>,
    defended: Gauge<i64, AtomicI64>,
    table_digest: Gauge<i64, AtomicI64>,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("forwarder");
        let drops = ReasonCounter::register(
            registry,
            "drops",
            "Packets and answers that were not sent on, by reason",
            &["not_bound", "tunnel_source_not_bound", "punt_queue_full", "no_front_end"],
        );
        let home_link_drops = ReasonCounter::register(
            registry,
            "home_link_drops",
            "Packets of a home link that changed nothing, got no answer or were not sent, by reason",
            &["not_concerned", "not_defender", "full", "link_refused", "results_queue_full"],
        );
        let home_link_take_overs = ReasonCounter::register(
            registry,
            "home_link_take_overs",
            "Home links taken over, by whether another node still answered there for the home agent",
            &["silent", "answered"],
        );
        let [tun, udp] = ports(registry);
        let metrics = Self {
            home_link_take_overs,
            tun,
            udp,
            actions: beginning("action", &Action::NAMES),
            answers: beginning("sent", &["at_once", "after_its_revision", "before_its_revision"]),
            fast: Family::default(),
            fast_refused: Counter::default(),
            fast_home_addresses: Gauge::default(),
            fast_home_addresses_max: Gauge::default(),
            drops,
            home_link_drops,
            home_links_defended: Gauge::default(),
            feed_lost: Counter::default(),
            feed_refused: Counter::default(),
            feed_changes: Counter::default(),
            stale: Gauge::default(),
            withdrawn: Gauge::default(),
            draining: Gauge::default(),
            drained: Gauge::default(),
            heard: Gauge::default(),
            feed_connected: Gauge::default(),
            front_ends: Gauge::default(),
            revision: Gauge::default(),
            home_addresses: Gauge::default(),
            defended: Gauge::default(),
            table_digest: Gauge::default(),
        };
        let m = &metrics;
        let help = "What was done about packets that came in and about answers, by action";
        registry.register("actions", help, m.actions.clone());
        metrics.register_fast(registry);
        let help =
            "Answers of front-ends: sent at once, after their revision, or before it or its routes";
        registry.register("answers", help, m.answers.clone());
        registry.register("feed_lost", "Binding feeds that broke", m.feed_lost.clone());
        let help = "Records of the feed that could not be read or kept";
        registry.register("feed_refused", help, m.feed_refused.clone());
        let help = "Whether the feed is followed, 0 or 1";
        registry.register("feed_connected", help, m.feed_connected.clone());
        let help = "Front-ends that take signalling";
        registry.register("front_ends_connected", help, m.front_ends.clone());
        registry.register("revision", "Revision that the table has reached", m.revision.clone());
        let help = "Home addresses with bindings";
        registry.register("home_addresses", help, m.home_addresses.clone());
        let max: Gauge<i64, AtomicI64> = Gauge::default();
        max.set(i64::try_from(HOME_ADDRESSES_MAX).unwrap_or(i64::MAX));
        registry.register("home_addresses_max", "Home addresses that the table takes", max);
        let help = "Home links that this forwarder defends";
        registry.register("home_links_defended", help, m.home_links_defended.clone());
        let help = "Addresses that this forwarder answers for on home links";
        registry.register("home_link_addresses_defended", help, m.defended.clone());
        let help = "Digest of the table, 53 bits: equal on forwarders with the same bindings";
        registry.register("table_digest", help, m.table_digest.clone());
        metrics.register_contact(registry);
        metrics
    }

    /// What says how it stands with the store.
    fn register_contact(&self, registry: &mut Registry) {
        let m = self;
        let help = "Changes of prefixes, home addresses and correspondents that the feed brought";
        registry.register("feed_changes", help, m.feed_changes.clone());
        let help = "No store is heard, and the table is what it was, 0 or 1";
        registry.register("stale", help, m.stale.clone());
        let help = "No store has been heard for headless_secs, and nothing is served, 0 or 1";
        registry.register("withdrawn", help, m.withdrawn.clone());
        let help = "Operators want packets to go elsewhere, 0 or 1";
        registry.register("draining", help, m.draining.clone());
        let help = "The same, and nothing comes any more, 0 or 1";
        registry.register("drained", help, m.drained.clone());
        let help = "When a store was heard last, seconds since 1970; 0: never";
        registry.register_with_unit("heard_timestamp", help, Unit::Seconds, m.heard.clone());
    }

    /// What says how it stands with the program in the kernel.
    fn register_fast(&self, registry: &mut Registry) {
        let m = self;
        for cause in Cause::ALL {
            let labels = [("verdict", cause.verdict()), ("cause", cause.name())];
            drop(m.fast.get_or_create(&labels));
        }
        let help =
            "Packets that the fast path has seen: sent, dropped, or passed to the TUN, and why";
        registry.register("fast_packets", help, m.fast.clone());
        let help = "Changes of home addresses for which the fast path had no place";
        registry.register("fast_refused", help, m.fast_refused.clone());
        let help = "Home addresses in the table of the fast path; 0 without one";
        registry.register("fast_home_addresses", help, m.fast_home_addresses.clone());
        let help = "Home addresses that the table of the fast path takes; 0 without one";
        registry.register("fast_home_addresses_max", help, m.fast_home_addresses_max.clone());
    }

    /// Home addresses that the table of the fast path takes.
    pub(crate) fn show_fast_max(&self, home_addresses: u32) {
        self.fast_home_addresses_max.set(home_addresses.into());
    }

    /// Home addresses that are in it.
    pub(crate) fn show_fast(&self, home_addresses: usize) {
        self.fast_home_addresses.set(i64::try_from(home_addresses).unwrap_or(i64::MAX));
    }

    pub(crate) fn count_action(&self, action: &'static str) {
        self.actions.get_or_create(&[("action", action)]).inc();
    }

    /// Counts what the fast path did since it was asked last.
    pub(crate) fn count_fast(&self, verdict: &'static str, cause: &'static str, packets: u64) {
        if packets > 0 {
            let labels = [("verdict", verdict), ("cause", cause)];
            self.fast.get_or_create(&labels).inc_by(packets);
        }
    }

    pub(crate) fn count_answer(&self, sent: &'static str) {
        self.answers.get_or_create(&[("sent", sent)]).inc();
    }

    /// Shows what is done on home links.
    pub(crate) fn show_home_links(&self, links: usize, addresses: usize) {
        self.home_links_defended.set(i64::try_from(links).unwrap_or(i64::MAX));
        self.defended.set(i64::try_from(addresses).unwrap_or(i64::MAX));
    }

    /// Shows how it stands with the store.
    pub(crate) fn show_contact(&self, contact: Contact) {
        self.stale.set(i64::from(contact >= Contact::Stale));
        self.withdrawn.set(i64::from(contact == Contact::Withdrawn));
    }

    /// Shows how far a drain is.
    pub(crate) fn show_drain(&self, stage: Stage) {
        self.draining.set(i64::from(stage > Stage::Serving));
        self.drained.set(i64::from(stage == Stage::Drained));
    }

    /// A store was heard now.
    pub(crate) fn show_heard(&self) {
        self.heard.set(i64::try_from(unix_ms() / 1000).unwrap_or(i64::MAX));
    }

    /// Shows where the table stands.
    pub(crate) fn show(&self, revision: u64, table: &Table) {
        /// What readers that know only floating point keep exactly.
        const DIGEST_BITS: u32 = 53;
        let gauge = |gauge: &Gauge<i64, AtomicI64>, value: u64| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        gauge(&self.revision, revision);
        gauge(&self.home_addresses, u64::try_from(table.len()).unwrap_or(u64::MAX));
        gauge(&self.table_digest, table.digest() >> (u64::BITS - DIGEST_BITS));
    }
}

/// The counters of the TUN and of UDP.
fn ports(registry: &mut Registry) -> [PortCounters; 2] {
    let (packets, received, sent) = (ByLabel::default(), ByLabel::default(), ByLabel::default());
    registry.register("packets", "Packets that came in, by port", packets.clone());
    let help = "What came in, by port: IP packets of the TUN, payloads of UDP";
    registry.register_with_unit("received", help, Unit::Bytes, received.clone());
    let help = "What was sent, by port: IP packets of the TUN, payloads of UDP";
    registry.register_with_unit("sent", help, Unit::Bytes, sent.clone());
    ["tun", "udp"].map(|port| {
        let of = |family: &ByLabel| family.get_or_create_owned(&[("port", port)]);
        PortCounters {
            packets: of(&packets),
            received_octets: of(&received),
            sent_octets: of(&sent),
        }
    })
}

/// A family that shows these values of its label as zero from the start.
fn beginning(label: &'static str, values: &[&'static str]) -> ByLabel {
    let family = ByLabel::default();
    for value in values {
        drop(family.get_or_create(&[(label, *value)]));
    }
    family
}

fn count_of(octets: usize) -> u64 {
    u64::try_from(octets).unwrap_or(u64::MAX)
}
