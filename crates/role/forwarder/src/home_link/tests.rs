//! Links without an interface, and the store's part in them.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use homeport_api::{
    binding::{self, Command, command::Command as Kind},
    store::{
        NotLeader, binding_store_server::BindingStoreServer, submit_response::Result as Reply,
    },
};
use homeport_binding::{Authentication, Detected, HomePrefix, Ipv6Prefix, Probe};
use homeport_home_link::{DropReason, Output};
use homeport_runtime::{Task, clock::Monotonic};
use homeport_wire::{
    Icmpv6, NeighbourOptions, NeighbourSolicitation, PacketBuilder, PseudoHeader, protocol, walk,
};
use tokio::{sync::mpsc, time::timeout};
use tonic::transport::server::TcpIncoming;

use super::{
    changes::{Changes, OnLink},
    found,
    lease::{self, Held},
    links::{Links, NO_HOME_LINK},
};
use crate::{config, store::Store};

#[path = "../../tests/forwarder/commands.rs"]
mod commands;

const AGENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1);
const HOME: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x100);
const OTHER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x200);
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
const NODE: [u8; 6] = [2, 0, 0, 0, 0, 7];
const HOME_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 77);
const AGENT_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

fn prefix() -> Ipv6Prefix {
    Ipv6Prefix::new("2001:db8:0:1::".parse().unwrap(), 64).unwrap()
}

fn record() -> HomePrefix {
    HomePrefix {
        real_home_link: true,
        home_agent_ipv4: Some(AGENT_V4),
        ..HomePrefix::new(prefix(), AGENT, Authentication::None)
    }
}

fn away(until_ms: u64) -> OnLink {
    OnLink {
        router: false,
        link_local: false,
        address_v4: None,
        until_ms,
        at_home: None,
        probe: None,
    }
}

fn probed(request: u8) -> OnLink {
    let probe = Probe { request_id: [request; 16], link_local: false, verdict: None };
    OnLink { probe: Some(probe), ..away(0) }
}

fn with_prefix(record: HomePrefix) -> Changes {
    Changes { prefixes: [(prefix(), Some(record))].into(), ..Changes::default() }
}

fn with_home(home_address: Ipv6Addr, home: Option<OnLink>) -> Changes {
    Changes { homes: [(home_address, home)].into(), ..Changes::default() }
}

/// The defender of one link until 10 s.
fn defender() -> Links {
    let mut links = Links::new(OWN, LINK_LOCAL);
    links.apply(0, with_prefix(record()));
    take_over(&mut links, 0, 10_000);
    outputs(&mut links, 100);
    links
}

/// It has the lease until then, and has asked on the link who else answers: it is the defender a tenth
/// of a second later.
fn take_over(links: &mut Links, now_ms: u64, until_ms: u64) {
    links.held(now_ms, Held { prefix: prefix(), until_ms });
    let asked = sent(links, now_ms);
    assert!(asked.iter().any(|(kind, _)| *kind == 135), "{asked:?}");
    assert_eq!(links.defended_links(), 0);
}

fn outputs(links: &mut Links, now_ms: u64) -> Vec<Output> {
    std::iter::from_fn(|| links.poll(now_ms)).collect()
}

/// ICMPv6 types and link-layer destinations of what is sent.
fn sent(links: &mut Links, now_ms: u64) -> Vec<(u8, [u8; 6])> {
    let frames = outputs(links, now_ms).into_iter().filter_map(|output| match output {
        Output::Frame { destination, packet } => {
            Some((walk(&packet).unwrap().payload.first().copied().unwrap_or(0), destination))
        }
        _ => None,
    });
    frames.collect()
}

fn asks_for(links: &mut Links, now_ms: u64, target: Ipv6Addr) -> Result<(), DropReason> {
    let from: Ipv6Addr = "fe80::7".parse().unwrap();
    let message = Icmpv6::NeighbourSolicitation(NeighbourSolicitation {
        target,
        options: NeighbourOptions::EMPTY,
    });
    let octets = message.emit(from, target);
    let packet = PacketBuilder::new(from, target).hop_limit(255).build(protocol::ICMPV6, &octets);
    links.receive(now_ms, NODE, &packet)
}

#[test]
fn who_is_away_is_defended_until_the_last_binding_ends() {
    let mut links = defender();
    assert_eq!((links.defended_links(), links.defended()), (1, 2), "the home agent's own two");
    links.apply(100, with_home(HOME, Some(away(5000))));
    assert_eq!(sent(&mut links, 100), [(136, [0x33, 0x33, 0, 0, 0, 1])]);
    assert_eq!(asks_for(&mut links, 4999, HOME), Ok(()));
    assert!(links.deadline_ms().unwrap() <= 5000, "cut off from the store it ends all the same");
    outputs(&mut links, 5000);
    assert_eq!(asks_for(&mut links, 5000, HOME), Err(DropReason::NotConcerned));

    links.apply(6000, with_home(HOME, Some(away(9000))));
    assert_eq!(asks_for(&mut links, 6000, HOME), Ok(()));
    links.apply(6000, with_home(HOME, None));
    assert_eq!(asks_for(&mut links, 6000, HOME), Err(DropReason::NotConcerned));
}

#[test]
fn without_the_lease_nobody_is_answered() {
    let mut links = defender();
    links.apply(100, with_home(HOME, Some(away(60_000))));
    assert_eq!(asks_for(&mut links, 9999, HOME), Ok(()));
    assert!(links.deadline_ms().unwrap() <= 10_000);
    assert_eq!(asks_for(&mut links, 10_000, HOME), Err(DropReason::NotDefender), "at once");
    outputs(&mut links, 10_000);
    assert_eq!((links.defended_links(), links.defended()), (0, 0));
    take_over(&mut links, 11_000, 12_000);
    let announced = sent(&mut links, 11_100);
    assert_eq!(announced.iter().filter(|(kind, _)| *kind == 136).count(), 2, "{announced:?}");
    assert!(announced.iter().any(|(kind, _)| *kind == 134), "and the router: {announced:?}");
    links.held(11_500, Held { prefix: prefix(), until_ms: 0 });
    assert_eq!(links.defended_links(), 0, "somebody else has it");
}

#[test]
fn who_leaves_answers_for_nothing_and_says_what_it_held() {
    let mut links = defender();
    links.apply(100, with_home(HOME, Some(OnLink { address_v4: Some(HOME_V4), ..away(60_000) })));
    assert_eq!(links.leave(200), [prefix()]);
    assert_eq!(asks_for(&mut links, 200, HOME), Err(DropReason::NotDefender));
    assert!((links.defended_links(), links.proxies().len()) == (0, 0));
    assert_eq!(links.leave(300), [], "once");
    let mut links = defender();
    outputs(&mut links, 10_000);
    assert_eq!(links.leave(10_000), [], "the lease had run out");
}

#[test]
fn the_revision_of_what_waits_is_the_newest_that_is_whole() {
    let at = |revision| Changes { revision, ..with_home(HOME, None) };
    let mut waiting = at(5);
    waiting.follow(with_home(OTHER, None));
    assert_eq!(waiting.revision, 5);
    waiting.follow(at(7));
    assert_eq!((waiting.revision, waiting.homes.len()), (7, 2));
    assert!(!Changes { revision: 8, ..Changes::default() }.is_empty(), "nothing else, but that");
    waiting.follow(Changes { anew: true, ..Changes::default() });
    assert_eq!(waiting.revision, 0, "another picture, that is not whole yet");
}

#[test]
fn a_mobile_node_at_home_is_delivered_to_and_speaks_for_itself_where_it_may() {
    let mut links = defender();
    let at_home = OnLink { at_home: Some(NODE.to_vec()), ..away(60_000) };
    links.apply(100, with_home(HOME, Some(at_home)));
    outputs(&mut links, 100);
    assert_eq!(asks_for(&mut links, 200, HOME), Ok(()), "other routers are there");
    links.deliver(200, HOME, vec![0x60; 50]).unwrap();
    let to_node = |output: &Output| matches!(output, Output::Frame { destination: NODE, packet } if packet.len() == 50);
    assert!(outputs(&mut links, 200).iter().any(to_node), "by its link-layer address, unasked");

    links.apply(300, with_prefix(HomePrefix { only_router: true, ..record() }));
    assert_eq!(asks_for(&mut links, 300, HOME), Err(DropReason::NotConcerned));
    links.apply(400, with_prefix(record()));
    assert_eq!(asks_for(&mut links, 400, HOME), Ok(()));
    let elsewhere = "2001:db8:9::1".parse().unwrap();
    assert_eq!(links.deliver(400, elsewhere, vec![0x60; 50]), Err(NO_HOME_LINK));
}

#[test]
fn a_prefix_gets_a_link_and_loses_it() {
    let mut links = defender();
    links.apply(100, with_home(HOME, Some(away(60_000))));
    links.apply(200, with_prefix(HomePrefix { real_home_link: false, ..record() }));
    assert_eq!((links.prefixes().count(), links.defended()), (0, 0));
    assert_eq!(asks_for(&mut links, 200, HOME), Err(DropReason::NotConcerned));
    links.apply(300, with_prefix(record()));
    take_over(&mut links, 300, 10_000);
    outputs(&mut links, 400);
    assert_eq!(asks_for(&mut links, 400, HOME), Ok(()), "bound before there was a link");
    links.apply(400, Changes { anew: true, ..with_prefix(record()) });
    assert_eq!(asks_for(&mut links, 400, HOME), Err(DropReason::NotConcerned));
    assert_eq!(links.defended_links(), 1, "the lease does not go with a snapshot");
    links.apply(500, Changes { anew: true, ..Changes::default() });
    assert_eq!((links.prefixes().count(), links.defended()), (0, 0));
}

#[test]
fn each_request_is_probed_for_once() {
    let mut links = Links::new(OWN, LINK_LOCAL);
    links.apply(0, with_prefix(record()));
    links.apply(0, with_home(HOME, Some(probed(1))));
    assert_eq!(outputs(&mut links, 0), [], "the defender's task");
    take_over(&mut links, 100, 10_000);
    let solicitations = |links: &mut Links, now_ms| {
        sent(links, now_ms).into_iter().filter(|(kind, _)| *kind == 135).count()
    };
    assert_eq!(solicitations(&mut links, 200), 1);
    links.held(600, Held { prefix: prefix(), until_ms: 10_000 });
    links.apply(600, with_home(HOME, Some(probed(1))));
    assert_eq!(solicitations(&mut links, 600), 0);
    let found = |request| Output::Probed {
        home_address: HOME,
        request_id: [request; 16],
        duplicate: false,
    };
    assert!(outputs(&mut links, 1200).contains(&found(1)));
    links.held(1200, Held { prefix: prefix(), until_ms: 10_000 });
    assert_eq!(solicitations(&mut links, 1200), 0);
    links.apply(1300, with_home(HOME, Some(probed(2))));
    assert_eq!(solicitations(&mut links, 1300), 1, "a newer request asks anew");
    links.apply(1400, with_home(HOME, None));
    let later = outputs(&mut links, 9000);
    assert!(!later.contains(&found(2)), "nobody waits for it");
}

#[test]
fn ipv4_addresses_of_a_defended_link_are_proxied() {
    let mut links = defender();
    let with_v4 = OnLink { address_v4: Some(HOME_V4), ..away(5000) };
    links.apply(100, with_home(HOME, Some(with_v4.clone())));
    assert_eq!(links.proxies().iter().copied().collect::<Vec<_>>(), [AGENT_V4, HOME_V4]);
    links.pass(5000);
    assert_eq!(links.proxies().iter().copied().collect::<Vec<_>>(), [AGENT_V4]);
    links.apply(5100, with_home(OTHER, Some(OnLink { until_ms: 60_000, ..with_v4 })));
    links.apply(5200, with_prefix(HomePrefix { home_agent_ipv4: None, ..record() }));
    assert_eq!(links.proxies().iter().copied().collect::<Vec<_>>(), [HOME_V4]);
    links.pass(10_000);
    assert!(links.proxies().is_empty(), "only on the defender");
}

#[test]
fn home_agents_are_told_where_the_operator_allows_it() {
    let mut links = defender();
    let anycast = "2001:db8:0:1:fdff:ffff:ffff:fffe".parse().unwrap();
    assert_eq!(links.home_agents(0, anycast, 7, false), None);
    links.apply(0, with_prefix(HomePrefix { home_agent_discovery_allowed: true, ..record() }));
    assert_eq!(links.home_agents(0, anycast, 7, false), Some((AGENT, vec![AGENT])));
    assert_eq!(links.home_agents(0, anycast, 7, true), Some((AGENT, vec![])));
    assert_eq!(links.home_agents(0, HOME, 7, false), None);
    let routers = HomePrefix {
        mobile_networks_allowed: true,
        home_agent_discovery_allowed: true,
        home_agent_preference: 9,
        ..record()
    };
    links.apply(0, with_prefix(routers));
    assert_eq!(links.home_agents(0, anycast, 7, true), Some((AGENT, vec![AGENT])));
}

#[test]
fn what_is_advertised_is_what_the_record_says() {
    let mut links = Links::new(OWN, LINK_LOCAL);
    links.apply(0, with_prefix(HomePrefix { home_agent_preference: 77, ..record() }));
    take_over(&mut links, 0, 1000);
    let advertised = outputs(&mut links, 100).into_iter().find_map(|output| match output {
        Output::Frame { packet, .. } => {
            let walked = walk(&packet).unwrap();
            let header = walked.header;
            let pseudo = PseudoHeader::icmpv6(header.source, header.destination);
            match Icmpv6::parse(walked.payload, pseudo).unwrap() {
                Icmpv6::RouterAdvertisement(message) => {
                    let prefixes: Vec<_> = message.options.prefixes().collect();
                    let preference = message.options.iter().find_map(|option| match option {
                        homeport_wire::NeighbourOption::HomeAgentInformation(agent) => {
                            Some(agent.preference)
                        }
                        _ => None,
                    });
                    Some((message.flags, prefixes, preference))
                }
                _ => None,
            }
        }
        _ => None,
    });
    let (flags, prefixes, preference) = advertised.unwrap();
    assert!(flags.contains(homeport_wire::RouterFlags::HOME_AGENT));
    assert_eq!((prefixes[0].prefix, prefixes[0].prefix_len), (AGENT, 64));
    assert_eq!(prefixes[0].flags.0, 0xe0, "L, A, R");
    assert_eq!(preference, Some(77));
}

fn verdict(outcome: binding::verdict::Outcome) -> Option<Reply> {
    Some(Reply::Verdict(binding::Verdict { revision: 1, outcome: Some(outcome), esp: None }))
}

fn done() -> Option<Reply> {
    verdict(binding::verdict::Outcome::Done(binding::Unit {}))
}

fn in_use() -> Option<Reply> {
    let kind = binding::refusal::Kind::InUse.into();
    let refusal = binding::Refusal { kind, field: "forwarder".to_owned(), message: String::new() };
    verdict(binding::verdict::Outcome::Refusal(refusal))
}

/// A replica on loopback; it ends when the task is dropped.
fn replica(say: impl FnMut(Command) -> Option<Reply> + Send + 'static) -> (String, Task) {
    let incoming = TcpIncoming::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = incoming.local_addr().unwrap().to_string();
    let service = BindingStoreServer::new(commands::Commands::new(say));
    let serve = async move {
        let router = tonic::transport::Server::builder().add_service(service);
        router.serve_with_incoming(incoming).await.unwrap();
    };
    (address, Task::spawn("replica", serve))
}

fn store(addresses: &[String]) -> (Store, Task) {
    let way = homeport_tls::Links::default().to(homeport_tls::Role::Store);
    let (store, link) = Store::start(config::endpoints("stores", addresses).unwrap(), way);
    (store, Task::spawn("store link", link))
}

/// The lease as it is kept, with the clock that it counts on.
fn keep(store: Store) -> (mpsc::Receiver<Held>, Monotonic, Task) {
    let (news, held) = mpsc::channel(8);
    let clock = Monotonic::start();
    let task = lease::keep(store, prefix(), "forwarder-1".to_owned(), clock, news);
    (held, clock, Task::spawn("lease", task))
}

async fn next(held: &mut mpsc::Receiver<Held>) -> Held {
    timeout(PATIENCE, held.recv()).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_lease_is_taken_renewed_and_given_up() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (noted, mut count) = (Arc::clone(&asked), 0);
    let (address, _replica) = replica(move |command| {
        noted.lock().unwrap().push(command.command.unwrap());
        count += 1;
        if count == 3 { in_use() } else { done() }
    });
    let (store, _link) = store(&[address]);
    let (mut held, clock, _lease) = keep(store);
    let first = next(&mut held).await;
    assert_eq!(first.prefix, prefix());
    let now_ms = clock.now_ms();
    assert!((1..=now_ms + 1200).contains(&first.until_ms), "{first:?} at {now_ms}");
    let second = next(&mut held).await;
    assert!(second.until_ms > first.until_ms, "renewed: {first:?}, {second:?}");
    assert_eq!(next(&mut held).await.until_ms, 0, "another forwarder has it");
    assert!(next(&mut held).await.until_ms > second.until_ms, "free again");
    let Kind::DefendHomeLink(command) = asked.lock().unwrap()[0].clone() else { panic!() };
    assert_eq!((&command.prefix[..], command.prefix_len), (&prefix().address().octets()[..], 64));
    assert_eq!(command.forwarder, "forwarder-1");
}

#[tokio::test]
async fn a_lease_follows_the_leader_and_no_word_is_no_lease() {
    let (leader, _leader) = replica(|_| done());
    let hint = leader.clone();
    let (other, _other) =
        replica(move |_| Some(Reply::NotLeader(NotLeader { leader: hint.clone() })));
    let (lost, _link) = store(&[other]);
    let (mut held, _, lease) = keep(lost);
    assert!(next(&mut held).await.until_ms > 0, "a leader that was not configured");
    drop(lease);

    // One replica says nothing at all; the next is asked.
    let (silent, _silent) = replica(|_| None);
    let (both, _link) = store(&[silent.clone(), leader]);
    let (mut held, _, _lease) = keep(both);
    assert!(next(&mut held).await.until_ms > 0);

    let (nobody, _link) = store(&[silent]);
    let (mut held, _, _lease) = keep(nobody);
    assert!(timeout(Duration::from_millis(2500), held.recv()).await.is_err());
}

#[tokio::test]
async fn what_was_found_is_told_until_it_is_known() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let (noted, mut count) = (Arc::clone(&told), 0);
    let (address, _replica) = replica(move |command| {
        noted.lock().unwrap().push(command.command.unwrap());
        count += 1;
        if count == 1 { Some(Reply::Unknown("lost".to_owned())) } else { done() }
    });
    let (store, _link) = store(&[address]);
    let (found, results) = mpsc::channel(8);
    let (gone, mut lost) = mpsc::channel(1);
    let task = found::report(store, results, move |count| gone.try_send(count).unwrap());
    let task = Task::spawn("found", task);
    let detected = Detected { home_address: HOME, request_id: [5; 16], duplicate: true };
    found.send(detected).await.unwrap();
    timeout(PATIENCE, async {
        while told.lock().unwrap().len() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    drop(found);
    timeout(PATIENCE, task).await.unwrap().unwrap();
    let told = told.lock().unwrap().clone();
    assert_eq!((told.len(), &told[0]), (2, &told[1]), "the same, and no more once it is known");
    let Kind::DuplicateAddressDetection(command) = &told[0] else { panic!("{told:?}") };
    assert_eq!((&command.request_id[..], command.duplicate), (&[5; 16][..], true));
    assert_eq!(lost.recv().await, None, "nothing was given up");
}
