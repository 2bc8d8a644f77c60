//! A real home link: this node's part of the home agent there (RFC 6275 §10.3.1, §10.4.1, §10.5).
//!
//! ```text
//!  engine --handover, newest state--> \                     / --> Ethernet
//!  engine --packets, 1024-----------> home link (1 task)  <----- Ethernet
//!  lease (1 task a prefix) --64-----> /   |        |    \ --256, undeliverable and replies--> engine
//!                                  4096, results   watch
//!                                        |          |
//!                         found (1 task) --> store  proxies (1 task) --> kernel, IPv4 only
//! ```
//!
//! Whichever forwarder holds the lease of a prefix answers, probes and advertises; all deliver.
//! What is decided there is decided by `homeport-home-link`.

mod changes;
mod found;
mod lease;
mod links;
mod proxies;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use homeport_binding::{Command, Detected, Ipv6Prefix};
use homeport_forwarding::Punt;
use homeport_home_link::Output;
use homeport_hostnet::{Ethernet, Namespace, Network, Route, RouteKind, Rule, write_sysctl};
use homeport_runtime::{Task, clock::Monotonic};
use homeport_wire::{DiscoveryFlags, Icmpv6, PacketBuilder, protocol, walk};
use ipnet::IpNet;
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};

pub(crate) use self::changes::{Changes, Handover, OnLink};
pub(crate) use self::links::NO_HOME_LINK;
use self::{lease::Held, links::Links};
use crate::{
    config::{Config, Error},
    limits,
    metrics::Metrics,
    store::Store,
};

/// The table of packets that come from the home link to link-local addresses, and the place of the rule.
const LINK_LOCAL_TABLE: u32 = 4191;

/// Something for the link.
#[derive(Debug)]
pub(crate) enum ToLink {
    /// A packet for a neighbour.
    Deliver { next_hop: Ipv6Addr, packet: Vec<u8> },
    /// Somebody asks which home agents the link has.
    Discover(Punt),
}

/// Something from the link.
#[derive(Debug)]
pub(crate) enum FromLink {
    /// Nobody answered for the next hop of this packet.
    Undeliverable(Vec<u8>),
    /// The home agents are these; the punt is that of the question, its packet the answer.
    Reply(Punt),
}

/// The engine's end.
#[derive(Debug)]
pub(crate) struct HomeLinkOutlet {
    pub(crate) changes: Handover,
    pub(crate) packets: mpsc::Sender<ToLink>,
    pub(crate) returns: mpsc::Receiver<FromLink>,
    /// Others are to defend the links.
    pub(crate) left: watch::Sender<bool>,
}

/// The task.
#[derive(Debug)]
pub(crate) struct HomeLinks {
    ethernet: Ethernet,
    links: Links,
    clock: Monotonic,
    metrics: Arc<Metrics>,
    changes: Handover,
    packets: mpsc::Receiver<ToLink>,
    returns: mpsc::Sender<FromLink>,
    results: mpsc::Sender<Detected>,
    proxies: watch::Sender<BTreeSet<Ipv4Addr>>,
    leases: Leases,
    replies: Replies,
    /// Others are to defend the links.
    left: watch::Receiver<bool>,
    helpers: [Task; 2],
}

impl HomeLinks {
    /// `None` without a home link.
    pub(crate) async fn open(
        config: &Config,
        clock: Monotonic,
        metrics: Arc<Metrics>,
        store: Store,
    ) -> Result<Option<(Self, HomeLinkOutlet)>, Error> {
        let Some(tun) = config.tun.as_ref() else { return Ok(None) };
        let Some(name) = tun.home_link.clone() else { return Ok(None) };
        let failed = |source| Error::Host { key: "tun.home_link", source };
        let namespace = tun.namespace();
        let ethernet = Ethernet::open(&namespace, &name).map_err(failed)?;
        let network = Network::open(&namespace).map_err(failed)?;
        leave_link_local_to_us(&network, &name).await.map_err(failed)?;
        be_no_host_of(&namespace, &name);

        let (proxies, proxies_wanted) = watch::channel(BTreeSet::new());
        let (results, found) = mpsc::channel(limits::RESULTS_WAITING_MAX);
        let (packets_in, packets) = mpsc::channel(limits::LINK_PACKETS_WAITING_MAX);
        let (returns, returns_out) = mpsc::channel(limits::LINK_RETURNS_WAITING_MAX);
        let (counted, lost) = (Arc::clone(&metrics), "result_not_told");
        let count_lost = move |count| counted.home_link_drops.add(lost, count);
        let helpers = [
            Task::spawn("proxies", proxies::follow(network, name, proxies_wanted)),
            Task::spawn("found", found::report(store.clone(), found, count_lost)),
        ];
        let changes = Handover::default();
        let (left_in, left) = watch::channel(false);
        let outlet = HomeLinkOutlet {
            changes: changes.clone(),
            packets: packets_in,
            returns: returns_out,
            left: left_in,
        };
        let links = Links::new(ethernet.address(), ethernet.link_local());
        let leases = Leases::new(store, config.name.clone(), clock);
        let task = Self {
            ethernet,
            links,
            clock,
            metrics,
            changes,
            packets,
            returns,
            results,
            proxies,
            leases,
            replies: Replies::default(),
            left,
            helpers,
        };
        Ok(Some((task, outlet)))
    }

    /// Runs until the engine is gone; then another forwarder can take over at once.
    pub(crate) async fn run(mut self) {
        let mut frame = vec![0; limits::FRAME_OCTETS_MAX];
        loop {
            self.act().await;
            let deadline = wait_until(self.links.deadline_ms(), self.clock.now_ms());
            // Each arm is cancel-safe: a frame and a message come whole or not at all.
            tokio::select! {
                () = self.changes.changed() => {
                    let changes = self.changes.take();
                    let revision = changes.revision;
                    self.links.apply(self.clock.now_ms(), changes);
                    self.follow_leases();
                    self.leases.store.settled(revision);
                }
                held = self.leases.news.recv() => if let Some(held) = held && !self.has_left() {
                    self.links.held(self.clock.now_ms(), held);
                },
                Ok(()) = self.left.changed() => self.follow_drain().await,
                packet = self.packets.recv() => match packet {
                    Some(packet) => self.on_packet(packet),
                    None => return self.leave().await,
                },
                received = self.ethernet.recv(&mut frame) => match received {
                    Ok((source, packet)) => {
                        let received = self.links.receive(self.clock.now_ms(), source, packet);
                        if let Err(reason) = received {
                            self.metrics.home_link_drops.count(reason.name());
                        }
                    }
                    Err(error) => {
                        // The interface may be down for a while.
                        tracing::warn!(%error, "nothing comes from the home link");
                        self.metrics.home_link_drops.count("link_refused");
                        sleep(limits::LEASE_RETRY).await;
                    }
                },
                () = deadline => {}
            }
        }
    }

    fn has_left(&self) -> bool {
        *self.left.borrow()
    }

    fn follow_leases(&mut self) {
        if !self.has_left() {
            self.leases.follow(self.links.prefixes());
        }
    }

    /// Another forwarder takes over at once when the leases are given back; frames for mobile nodes that
    /// come until then are still delivered.
    async fn follow_drain(&mut self) {
        let left = *self.left.borrow_and_update();
        if !left {
            return self.follow_leases();
        }
        self.leases.running.clear();
        let held = self.links.leave(self.clock.now_ms());
        self.act().await;
        for prefix in held {
            self.leases.give_back(prefix).await;
        }
    }

    /// Nothing is answered for any more, and only then are the leases given back.
    async fn leave(mut self) {
        self.leases.running.clear();
        let held = self.links.leave(self.clock.now_ms());
        self.proxies.send_replace(BTreeSet::new());
        let Self { proxies, helpers: [kernel, _found], leases, .. } = self;
        // Its last value is worked off before it ends.
        drop(proxies);
        let given_back = async {
            if let Err(error) = kernel.await {
                tracing::warn!(%error, "the kernel may still answer for IPv4 home addresses");
            }
            for prefix in held {
                leases.give_back(prefix).await;
            }
        };
        if timeout(limits::LEAVE_MAX, given_back).await.is_err() {
            tracing::warn!("home links were left in haste: their leases run out");
        }
    }

    fn on_packet(&mut self, packet: ToLink) {
        let done = match packet {
            ToLink::Deliver { next_hop, packet } => {
                self.links.deliver(self.clock.now_ms(), next_hop, packet)
            }
            ToLink::Discover(punt) => self.discover(punt),
        };
        if let Err(reason) = done {
            self.metrics.home_link_drops.count(reason);
        }
    }

    /// RFC 6275 §10.5.
    fn discover(&mut self, punt: Punt) -> Result<(), &'static str> {
        let now_ms = self.clock.now_ms();
        let walked = walk(&punt.packet).map_err(|malformed| malformed.reason())?;
        let message = Icmpv6::parse(walked.payload, walked.pseudo_header())
            .map_err(|malformed| malformed.reason())?;
        let Icmpv6::HomeAgentAddressDiscoveryRequest { identifier, flags } = message else {
            return Err("not_concerned");
        };
        let (asked, from) = (walked.header.destination, walked.header.source);
        let for_routers = flags.contains(DiscoveryFlags::MOBILE_ROUTER);
        let seed = rand::random();
        let list = |routers| self.links.home_agents(now_ms, asked, seed, routers);
        let (agent, mut addresses) = list(for_routers).ok_or("discovery_not_allowed")?;
        let mut flags = DiscoveryFlags::default();
        if for_routers && addresses.is_empty() {
            // RFC 3963 §7: those that serve mobile nodes, then.
            addresses = list(false).map(|(_, plain)| plain).unwrap_or_default();
        } else if for_routers {
            flags = DiscoveryFlags::MOBILE_ROUTER;
        }
        if !self.replies.allow(now_ms) {
            return Err("error_rate_limited");
        }
        let reply = Icmpv6::HomeAgentAddressDiscoveryReply { identifier, flags, addresses };
        let packet =
            PacketBuilder::new(agent, from).build(protocol::ICMPV6, &reply.emit(agent, from));
        self.give_back(FromLink::Reply(Punt { packet, ..punt }))
    }

    fn give_back(&self, returned: FromLink) -> Result<(), &'static str> {
        self.returns.try_send(returned).map_err(|_full| "engine_queue_full")
    }

    /// Does what is due, a limited number of things.
    async fn act(&mut self) {
        for _ in 0..limits::FRAMES_PER_WAKE_MAX {
            let Some(output) = self.links.poll(self.clock.now_ms()) else { break };
            let done = match output {
                Output::Frame { destination, packet } => {
                    self.ethernet.send(destination, &packet).await.map_err(|error| {
                        tracing::debug!(%error, "a frame is not sent");
                        "link_refused"
                    })
                }
                Output::Probed { home_address, request_id, duplicate } => {
                    let detected = Detected { home_address, request_id, duplicate };
                    self.results.try_send(detected).map_err(|_full| "results_queue_full")
                }
                Output::TakenOver { answered } => {
                    tracing::info!(answered, "the home link is taken over");
                    self.metrics.home_link_take_overs.count(if answered {
                        "answered"
                    } else {
                        "silent"
                    });
                    Ok(())
                }
                Output::Undeliverable(packet) => self.give_back(FromLink::Undeliverable(packet)),
            };
            if let Err(reason) = done {
                self.metrics.home_link_drops.count(reason);
            }
        }
        let proxies = self.links.proxies();
        self.proxies.send_if_modified(|told| {
            let moved = told != proxies;
            if moved {
                told.clone_from(proxies);
            }
            moved
        });
        self.metrics.show_home_links(self.links.defended_links(), self.links.defended());
    }
}

/// A lease task for each home link.
#[derive(Debug)]
struct Leases {
    store: Store,
    forwarder: String,
    clock: Monotonic,
    sender: mpsc::Sender<Held>,
    news: mpsc::Receiver<Held>,
    running: BTreeMap<Ipv6Prefix, Task>,
}

impl Leases {
    fn new(store: Store, forwarder: String, clock: Monotonic) -> Self {
        let (sender, news) = mpsc::channel(limits::HOME_LINKS_MAX);
        Self { store, forwarder, clock, sender, news, running: BTreeMap::new() }
    }

    async fn give_back(&self, prefix: Ipv6Prefix) {
        let forwarder = self.forwarder.clone();
        let asked = self.store.ask(Command::ReleaseHomeLink { prefix, forwarder }).await;
        let known = asked.outcome().await.is_some();
        tracing::info!(%prefix, known, "lease of the home link given back");
    }

    fn follow(&mut self, prefixes: impl Iterator<Item = Ipv6Prefix>) {
        let wanted: BTreeSet<_> = prefixes.collect();
        self.running.retain(|prefix, _| wanted.contains(prefix));
        for prefix in wanted {
            self.running.entry(prefix).or_insert_with(|| {
                let (store, news) = (self.store.clone(), self.sender.clone());
                let keep = lease::keep(store, prefix, self.forwarder.clone(), self.clock, news);
                Task::spawn("lease", keep)
            });
        }
    }
}

/// At most so many replies in each second.
#[derive(Debug, Default)]
struct Replies {
    second: u64,
    sent: u32,
}

impl Replies {
    fn allow(&mut self, now_ms: u64) -> bool {
        let second = now_ms / 1000;
        if self.second != second {
            *self = Self { second, sent: 0 };
        }
        self.sent = self.sent.saturating_add(1);
        self.sent <= limits::DISCOVERY_REPLIES_PER_SEC_MAX
    }
}

/// Packets to link-local addresses that this node answers for reach the kernel too, which would refuse
/// them in its own words; what is to be said is said here (RFC 6275 §10.4.2).
async fn leave_link_local_to_us(
    network: &Network,
    link: &str,
) -> Result<(), homeport_hostnet::Error> {
    let link_local = IpNet::V6(ipnet::Ipv6Net::new_assert(LINK_LOCAL, 10));
    let route = Route::to(link_local).table(LINK_LOCAL_TABLE).kind(RouteKind::Blackhole);
    network.replace_route(&route).await?;
    let rule = Rule::look_up(LINK_LOCAL_TABLE).to(link_local).input(link);
    match network.add_rule(&rule.priority(LINK_LOCAL_TABLE)).await {
        Err(error) if !error.is_exists() => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The kernel takes no address and no route out of Router Advertisements, which are our own among others:
/// it would be a second neighbour in the home prefix, and lead past us.
fn be_no_host_of(namespace: &Namespace, link: &str) {
    let setting = format!("net/ipv6/conf/{link}/accept_ra");
    if let Err(error) = write_sysctl(namespace, &setting, "0") {
        tracing::warn!(%setting, %error, "set it to 0: the kernel must not follow Router Advertisements");
    }
}

const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0);

async fn wait_until(deadline_ms: Option<u64>, now_ms: u64) {
    match deadline_ms {
        // Never at once: a full turn of frames leaves more behind.
        Some(due_ms) => sleep(Duration::from_millis(due_ms.saturating_sub(now_ms).max(1))).await,
        None => std::future::pending().await,
    }
}
