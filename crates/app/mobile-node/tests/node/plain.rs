//! With privileges, against the home agent made by hand: what it takes more than one host to see.
//!
//! ```text
//! namespace "lan":   a host of the mobile network
//! namespace "node":  TUN mn0 (home address) | lan0 | link-a, link-b: the foreign links
//! namespace "net":   the routers of the foreign links | TUN ha0: home agents and home prefix |
//!                    the correspondent node, an address of the kernel
//! ```

use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::{Command, Output};
use std::time::Duration;

use homeport_hostnet::{Namespace, Network, Route, TemporaryNamespace, Tun, write_sysctl};
use homeport_wire::{
    BaFlags, Bid, BidOption, BindingRefreshRequest, BindingRevocation, BindingRevocationIndication,
    BuFlags, HomeAgentSwitch, Message, MobilityOption, OptionsBuilder, RevocationFlags,
    RevocationTrigger, Status, protocol,
};
use mobile_node::{
    CareOfConfig, Config, Event, Events, FlowConfig, HomePrefix, IpOrNet, MobileNode, NodeEvent,
    TunConfig,
};

use crate::home_agent::{CORRESPONDENT, HOME, HOME_AGENT};
use crate::plain_agent::{PlainAgent, Seen};
use crate::tun::may_not;

const SECOND_AGENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 2);
const AGENT_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const HOME_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 77);
const CORRESPONDENT_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
const BEHIND: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x100, 1, 0, 0, 0, 7);

pub struct Lab {
    pub agent: PlainAgent,
    pub node: TemporaryNamespace,
    pub net: TemporaryNamespace,
    lan: TemporaryNamespace,
}

pub async fn lab() -> Lab {
    let [node, net, lan] =
        ["mn", "net", "lan"].map(|label| TemporaryNamespace::create(label).unwrap());
    for family in ["ipv4.ip_forward", "ipv6.conf.all.forwarding"] {
        write_sysctl(&net.namespace(), &format!("net.{family}"), "1").unwrap();
    }
    let network = Network::open(&net.namespace()).unwrap();
    let links = Network::open(&node.namespace()).unwrap();
    network.link_up("lo").await.unwrap();
    for letter in ['a', 'b'] {
        let (router, link) = (format!("router-{letter}"), format!("link-{letter}"));
        network.add_veth(&router, &link, &node.namespace()).await.unwrap();
        let address = format!("2001:db8:{letter}::1/64").parse().unwrap();
        network.add_address(&router, address).await.unwrap();
        network.link_up(&router).await.unwrap();
        links.link_up(&link).await.unwrap();
    }
    network.add_address("router-b", "192.0.2.1/24".parse().unwrap()).await.unwrap();
    network.add_address("lo", format!("{CORRESPONDENT}/128").parse().unwrap()).await.unwrap();
    network.add_address("lo", format!("{CORRESPONDENT_V4}/32").parse().unwrap()).await.unwrap();
    let tun = Tun::open(&net.namespace(), "ha0", 1500).unwrap();
    let home = ["2001:db8:0:1::/64", "2001:db8:100::/56", "198.51.100.0/24"];
    for prefix in home {
        let route = Route::to(prefix.parse().unwrap()).device("ha0");
        network.replace_route(&route).await.unwrap();
    }
    links.add_veth("lan0", "host0", &lan.namespace()).await.unwrap();
    let host = Network::open(&lan.namespace()).unwrap();
    links.add_address("lan0", "2001:db8:100:1::1/64".parse().unwrap()).await.unwrap();
    links.link_up("lan0").await.unwrap();
    host.add_address("host0", format!("{BEHIND}/64").parse().unwrap()).await.unwrap();
    host.link_up("host0").await.unwrap();
    let everywhere = Route::to("::/0".parse().unwrap());
    let router = "2001:db8:100:1::1".parse().unwrap();
    host.replace_route(&everywhere.via(router).device("host0")).await.unwrap();
    let agent = PlainAgent::start(tun, [HOME_AGENT, SECOND_AGENT], AGENT_V4);
    // The links' own addresses take a while: without them nobody asks for neighbours.
    tokio::time::sleep(Duration::from_secs(2)).await;
    Lab { agent, node, net, lan }
}

pub fn config(lab: &Lab) -> Config {
    let mut config = Config::new(HOME, HOME_AGENT);
    let netns = Some(lab.node.name().to_owned());
    config.tun = Some(TunConfig { name: "mn0".to_owned(), netns, mtu: 1460 });
    config.updates_per_second_max = 100;
    config.care_of.push(care_of(1, 'a', "11"));
    config
}

fn care_of(bid: u16, letter: char, host: &str) -> CareOfConfig {
    let address = format!("2001:db8:{letter}::{host}").parse().unwrap();
    let mut care_of = CareOfConfig::new(bid, address);
    care_of.interface = Some(format!("link-{letter}"));
    care_of.gateway = Some(format!("2001:db8:{letter}::1").parse().unwrap());
    care_of
}

pub async fn ping(namespace: &Namespace, from: &str, to: &str) -> Output {
    let (namespace, mut command) = (namespace.clone(), Command::new("ping"));
    command.args(["-c", "3", "-i", "0.2", "-W", "2", "-I", from, to]);
    let run = move || namespace.run(|| command.output().unwrap()).unwrap();
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mobile_network_is_reached_both_ways_while_the_home_agent_serves_it() {
    if may_not() {
        return;
    }
    let lab = lab().await;
    lab.agent.state().flags = BaFlags::MOBILE_ROUTER;
    let mut config = config(&lab);
    config.mobile_router = true;
    config.mobile_network_prefixes = vec!["2001:db8:100::/56".parse().unwrap()];
    let node = MobileNode::start(config).await.unwrap();
    node.register(false).await.unwrap();
    {
        let state = lab.agent.state();
        assert!(state.seen[0].flags.contains(BuFlags::MOBILE_ROUTER));
        assert!(state.seen[0].options[0].contains("MobileNetworkPrefix"), "{:?}", state.seen);
    }
    let (behind, correspondent) = (BEHIND.to_string(), CORRESPONDENT.to_string());
    let up = ping(&lab.lan.namespace(), &behind, &correspondent).await;
    assert!(up.status.success(), "{up:?}");
    let down = ping(&lab.net.namespace(), &correspondent, &behind).await;
    assert!(down.status.success(), "{down:?}");

    // The same home agent, but it serves no routers any more: only the host goes on.
    lab.agent.state().flags = BaFlags::default();
    node.refresh(false).await.unwrap();
    let up = ping(&lab.lan.namespace(), &behind, &correspondent).await;
    assert!(!up.status.success(), "{up:?}");
    let host = ping(&lab.node.namespace(), &HOME.to_string(), &correspondent).await;
    assert!(host.status.success(), "{host:?}");
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_takes_its_own_binding() {
    if may_not() {
        return;
    }
    let lab = lab().await;
    lab.agent.state().answer = |update, options| {
        for option in update.options.iter() {
            if let MobilityOption::FlowIdentification(_) = option {
                options.push(&option);
            }
        }
    };
    let mut config = config(&lab);
    config.care_of[0].priority = Some(10);
    config.care_of.push(care_of(2, 'b', "22"));
    config.care_of[1].priority = Some(20);
    config.flows.push(FlowConfig {
        fid: 4,
        priority: 10,
        bids: vec![2],
        source: Some(IpOrNet::Ip(CORRESPONDENT.into())),
        protocol: Some(protocol::ICMPV6),
        ..FlowConfig::default()
    });
    let node = MobileNode::start(config).await.unwrap();
    node.register(true).await.unwrap();
    let (home, correspondent) = (HOME.to_string(), CORRESPONDENT.to_string());
    let pinged = ping(&lab.node.namespace(), &home, &correspondent).await;
    assert!(pinged.status.success(), "{pinged:?}");
    let second: Ipv6Addr = "2001:db8:b::22".parse().unwrap();
    assert_eq!(lab.agent.state().outer_sources.iter().collect::<Vec<_>>(), [&second]);

    // Without the flow the better priority decides.
    lab.agent.state().outer_sources.clear();
    node.set_flows(vec![]).await.unwrap();
    let pinged = ping(&lab.node.namespace(), &home, &correspondent).await;
    assert!(pinged.status.success(), "{pinged:?}");
    let first: Ipv6Addr = "2001:db8:a::11".parse().unwrap();
    assert_eq!(lab.agent.state().outer_sources.iter().collect::<Vec<_>>(), [&first]);
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv4_data_without_udp_and_an_ipv4_home_address() {
    if may_not() {
        return;
    }
    for bare in [true, false] {
        let lab = lab().await;
        {
            let mut state = lab.agent.state();
            state.bare = bare;
            state.answer = |update, options| {
                let asks = |option| matches!(option, MobilityOption::Ipv4HomeAddress { .. });
                if update.options.iter().any(asks) {
                    options.push(&MobilityOption::Ipv4AddressAck {
                        status: 0,
                        prefix_len: 32,
                        address: HOME_V4,
                    });
                }
                let detection =
                    MobilityOption::NatDetection { force_udp: false, refresh_secs: u32::MAX };
                options.push(&detection);
            };
        }
        let mut config = config(&lab);
        config.home_agent_v4 = Some(AGENT_V4);
        config.force_udp = !bare;
        config.ipv4_home_address = Some(Ipv4Addr::UNSPECIFIED);
        let mut care_of = CareOfConfig::new(7, "192.0.2.77".parse().unwrap());
        care_of.interface = Some("link-b".to_owned());
        care_of.gateway = Some("192.0.2.1".parse().unwrap());
        config.care_of = vec![care_of];
        let node = MobileNode::start(config).await.unwrap();
        node.register(false).await.unwrap();
        for (from, to) in [
            (HOME.to_string(), CORRESPONDENT.to_string()),
            (HOME_V4.to_string(), CORRESPONDENT_V4.to_string()),
        ] {
            let up = ping(&lab.node.namespace(), &from, &to).await;
            assert!(up.status.success(), "{bare} {up:?}");
            let down = ping(&lab.net.namespace(), &to, &from).await;
            assert!(down.status.success(), "{bare} {down:?}");
        }
        assert_eq!(lab.agent.state().bare_packets > 0, bare);
        node.deregister(&[]).await.unwrap();
        let home = HOME_V4.to_string();
        let gone = ping(&lab.node.namespace(), &home, &CORRESPONDENT_V4.to_string()).await;
        assert!(!gone.status.success(), "the address is gone with the binding: {gone:?}");
        node.stop().await.unwrap();
    }
}

/// Waits until something holds.
async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..100 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not within ten seconds: {what}");
}

/// Waits for an event.
async fn event(events: &mut Events, wanted: impl Fn(&Event) -> bool) -> Event {
    let next = async {
        loop {
            match events.next().await.unwrap().event {
                NodeEvent::Protocol(event) if wanted(&event) => return event,
                _ => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), next).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn sent_to_another_home_agent_by_name_and_without() {
    if may_not() {
        return;
    }
    for named in [true, false] {
        let lab = lab().await;
        let node = MobileNode::start(config(&lab)).await.unwrap();
        node.register(false).await.unwrap();
        let addresses = if named { vec![SECOND_AGENT] } else { vec![] };
        let options = HomeAgentSwitch::builder(addresses.len()).finish();
        let message = Message::HomeAgentSwitch(HomeAgentSwitch { addresses, options });
        lab.agent.send_tunnelled(message).await;
        let agent = lab.agent.clone();
        let arrived = || agent.state().agent == SECOND_AGENT;
        until("registered with the second home agent", arrived).await;
        let mut seen: Vec<_> =
            agent.state().seen.iter().map(|it| (it.agent, it.lifetime.0 > 0)).collect();
        // Each may have been sent twice.
        seen.dedup();
        assert_eq!(seen, [(HOME_AGENT, true), (HOME_AGENT, false), (SECOND_AGENT, true)]);
        let (home, correspondent) = (HOME.to_string(), CORRESPONDENT.to_string());
        let pinged = ping(&lab.node.namespace(), &home, &correspondent).await;
        assert!(pinged.status.success(), "{pinged:?}");
        node.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_home_agent_it_asks_and_then_for_prefixes() {
    if may_not() {
        return;
    }
    let lab = lab().await;
    lab.agent.state().status = Status::PREFIX_DISCOVERY_NECESSARY;
    let mut config = config(&lab);
    config.home_agent = Ipv6Addr::UNSPECIFIED;
    let node = MobileNode::start(config).await.unwrap();
    let mut events = node.events();
    node.register(false).await.unwrap();
    assert_eq!(lab.agent.state().agent, SECOND_AGENT, "the best of those that answered");
    let told = event(&mut events, |event| matches!(event, Event::HomePrefixes { .. })).await;
    let prefix =
        HomePrefix { prefix: SECOND_AGENT, length: 64, valid_secs: 7_200, preferred_secs: 3_600 };
    assert_eq!(told, Event::HomePrefixes { prefixes: vec![prefix], solicited: true });
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn revocations_are_answered_and_requests_refresh() {
    if may_not() {
        return;
    }
    let lab = lab().await;
    let mut config = config(&lab);
    config.care_of.push(care_of(2, 'b', "22"));
    let node = MobileNode::start(config).await.unwrap();
    node.register(true).await.unwrap();
    // A request for one binding.
    let named = |mut options: OptionsBuilder, bids: &[u16]| {
        for bid in bids {
            options.push(&MobilityOption::BindingIdentifier(BidOption::refresh(Bid(*bid))));
        }
        options.finish()
    };
    let options = named(OptionsBuilder::for_refresh_request(), &[2]);
    let request = Message::BindingRefreshRequest(BindingRefreshRequest { options });
    lab.agent.send_tunnelled(request).await;
    let agent = lab.agent.clone();
    // The first Binding Update may have been sent twice, so they are not counted.
    let is_refresh = |seen: &Seen| seen.bids.iter().map(|it| it.bid.0).eq([2]);
    until("a refresh", || agent.state().seen.iter().any(is_refresh)).await;
    // One binding, one that does not exist, and the rest.
    for (sequence, bids) in [(1, vec![2]), (2, vec![9]), (3, vec![])] {
        let options = named(BindingRevocation::builder(), &bids);
        let trigger = RevocationTrigger::ADMINISTRATIVE;
        let flags = RevocationFlags(0);
        let indication = BindingRevocationIndication { trigger, sequence, flags, options };
        let message = Message::BindingRevocation(BindingRevocation::Indication(indication));
        lab.agent.send(message).await;
        let count = usize::from(sequence);
        until("an answer", || agent.state().revoked.len() == count).await;
    }
    assert_eq!(
        agent.state().revoked.iter().map(|status| status.0).collect::<Vec<_>>(),
        [0, 128, 0]
    );
    assert!(node.status().await.unwrap().registered().is_empty());
    node.stop().await.unwrap();
}
