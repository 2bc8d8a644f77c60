//! With privileges: a mobile router with a network, an IPv4 home address and two kinds of tunnel.

use std::{
    io::Write as _,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use homeport_api::{binding, convert, signalling::PuntResponse};
use homeport_hostnet::{Network, privileges};
use homeport_wire::{
    Ipv4Header, Ipv6Header, PacketBuilder, encapsulate_v4, encapsulate_v6, mobility_packet,
    protocol, walk,
};

use crate::{
    fakes::*,
    tun::{CARE_OF, Laboratory, routed},
};

const NETWORK: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 0);
const NODE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x100, 7, 0, 0, 0, 9);
const HOME_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 77);
const FREE_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 99);
const CORRESPONDENT_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 9);
const CARE_OF_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 20);

/// A mobile router at an IPv6 care-of address, or at an IPv4 one without UDP.
fn router(v4: bool) -> homeport_api::feed::HomeChange {
    let mut change = bound(HOME, SocketAddr::from((CARE_OF, 0)), Duration::from_secs(600));
    let record = change.home.as_mut().unwrap();
    record.mobile_router = true;
    record.mobile_networks =
        vec![binding::Ipv6Prefix { prefix: convert::ipv6_octets(NETWORK), prefix_len: 48 }];
    record.ipv4_home_address =
        Some(binding::Ipv4Prefix { prefix: convert::ipv4_octets(HOME_V4), prefix_len: 32 });
    if v4 {
        let address = binding::Ipv4CareOf {
            address: convert::ipv4_octets(CARE_OF_V4),
            port: 4191,
            announced: convert::ipv4_octets(CARE_OF_V4),
            without_udp: true,
        };
        let address = Some(binding::care_of_address::Address::Ipv4(address));
        record.bindings[0].care_of = Some(binding::CareOfAddress { address });
    }
    change
}

fn with_pool(
    revision: u64,
    home: homeport_api::feed::HomeChange,
) -> homeport_api::feed::WatchResponse {
    let mut snapshot = snapshot(revision, vec![home]);
    let prefix = snapshot.home_prefixes[0].home_prefix.as_mut().unwrap();
    let pool = Ipv4Addr::new(198, 51, 100, 64);
    prefix.ipv4_pool =
        Some(binding::Ipv4Prefix { prefix: convert::ipv4_octets(pool), prefix_len: 26 });
    snapshot
}

fn v4(source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
    encapsulate_v4(&[9; 16], protocol::UDP, source, destination, 64, 0)
}

/// As many hops less; the payload must be the same.
fn assert_arrived(arrived: &[u8], sent: &[u8], hops: u8) {
    if sent[0] >> 4 == 4 {
        let ((arrived, rest), (sent, payload)) =
            (Ipv4Header::parse(arrived).unwrap(), Ipv4Header::parse(sent).unwrap());
        assert_eq!((arrived.source, arrived.destination), (sent.source, sent.destination));
        assert_eq!((arrived.ttl, rest), (sent.ttl - hops, payload));
    } else {
        let ((arrived, rest), (sent, payload)) =
            (Ipv6Header::parse(arrived).unwrap(), Ipv6Header::parse(sent).unwrap());
        assert_eq!((arrived.source, arrived.destination), (sent.source, sent.destination));
        assert_eq!((arrived.hop_limit, rest), (sent.hop_limit - hops, payload));
    }
}

#[tokio::test]
async fn networks_and_ipv4_home_addresses_take_their_way_through_the_kernel() {
    if let Err(unprivileged) = privileges() {
        writeln!(std::io::stderr(), "\n*** SKIPPED networks of a forwarder: {unprivileged}\n")
            .unwrap();
        return;
    }
    let laboratory = Laboratory::build().await;
    let store_port = free_port();
    let store = RunningStore::start(store_port, vec![with_pool(1, router(false))]);
    let tun = laboratory.tun();
    let forwarder = RunningForwarder::start(&[store_port], &[free_port()], Some(tun));
    forwarder.until("homeport_forwarder_revision", 1.0).await;
    let edge = laboratory.edge.namespace();
    in_time("routes into the TUN", async {
        let read = || {
            let v6 = std::fs::read_to_string("/proc/thread-self/net/ipv6_route").unwrap();
            let v4 = std::fs::read_to_string("/proc/thread-self/net/route").unwrap();
            v6.lines().any(|line| line.starts_with("20010db80100") && line.trim().ends_with("hp0"))
                && v4.lines().any(|line| line.starts_with("hp0\t406433C6"))
        };
        while !edge.run(read).unwrap() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;

    both_ways(&laboratory, false).await;
    // An address of the pool that nobody has: its sender is told.
    laboratory.rest.send(&v4(CORRESPONDENT_V4, FREE_V4)).await.unwrap();
    let error = laboratory.recv("error").await;
    let (header, told) = Ipv4Header::parse(&error).unwrap();
    assert_eq!((header.source, header.destination), (AGENT_V4, CORRESPONDENT_V4));
    assert_eq!(told[..2], [3, 1], "host unreachable");

    store.say(message(2, vec![router(true)])).await;
    forwarder.until("homeport_forwarder_revision", 2.0).await;
    both_ways(&laboratory, true).await;

    // Somebody else's tunnel is not opened.
    let spoofed = encapsulate_v4(
        &v4(HOME_V4, CORRESPONDENT_V4),
        protocol::IPV4,
        Ipv4Addr::new(203, 0, 113, 21),
        AGENT_V4,
        64,
        0,
    );
    laboratory.rest.send(&spoofed).await.unwrap();
    let dropped = "homeport_forwarder_drops_total{reason=\"tunnel_source_not_bound\"}";
    forwarder.until(dropped, 1.0).await;
}

async fn both_ways(laboratory: &Laboratory, tunnel_v4: bool) {
    let downlink = [
        PacketBuilder::new(CORRESPONDENT, NODE).build(protocol::UDP, &[1; 32]),
        PacketBuilder::new(CORRESPONDENT, HOME).build(protocol::UDP, &[2; 32]),
        v4(CORRESPONDENT_V4, HOME_V4),
    ];
    for packet in downlink {
        laboratory.rest.send(&packet).await.unwrap();
        let outer = laboratory.recv("tunnelled packet").await;
        let inner = if tunnel_v4 {
            let (header, inner) = Ipv4Header::parse(&outer).unwrap();
            assert_eq!((header.source, header.destination), (AGENT_V4, CARE_OF_V4));
            inner
        } else {
            let walk = walk(&outer).unwrap();
            assert_eq!((walk.header.source, walk.header.destination), (AGENT, CARE_OF));
            walk.payload
        };
        // Two kernels before the forwarder, and the forwarder itself.
        assert_arrived(inner, &packet, 3);
    }
    let uplink = [
        PacketBuilder::new(NODE, CORRESPONDENT).build(protocol::UDP, &[3; 32]),
        PacketBuilder::new(HOME, CORRESPONDENT).build(protocol::UDP, &[4; 32]),
        v4(HOME_V4, CORRESPONDENT_V4),
    ];
    for packet in uplink {
        let is_v4 = packet[0] >> 4 == 4;
        let upper = if is_v4 { protocol::IPV4 } else { protocol::IPV6 };
        let outer = match (tunnel_v4, is_v4) {
            (true, _) => encapsulate_v4(&packet, upper, CARE_OF_V4, AGENT_V4, 64, 0),
            (false, true) => PacketBuilder::new(CARE_OF, AGENT).build(upper, &packet),
            (false, false) => encapsulate_v6(&packet, CARE_OF, AGENT, 64, 0, 0),
        };
        laboratory.rest.send(&outer).await.unwrap();
        assert_arrived(&laboratory.recv("inner packet").await, &packet, 3);
    }
}

/// The network that a mobile router has at a revision.
fn network_of(revision: u64) -> Ipv6Addr {
    Ipv6Addr::from_bits(NETWORK.to_bits() | (u128::from(revision) << 64))
}

fn router_with(networks: &[u64]) -> homeport_api::feed::HomeChange {
    let mut change = router(false);
    let prefix = |at: &u64| binding::Ipv6Prefix {
        prefix: convert::ipv6_octets(network_of(*at)),
        prefix_len: 64,
    };
    change.home.as_mut().unwrap().mobile_networks = networks.iter().map(prefix).collect();
    change
}

/// Whether the kernel leads packets for the network of this revision into the TUN.
fn is_routed(laboratory: &Laboratory, revision: u64) -> bool {
    let network = convert::ipv6_octets(network_of(revision));
    let digits: String = network.iter().map(|octet| format!("{octet:02x}")).collect();
    let routes = || std::fs::read_to_string("/proc/thread-self/net/ipv6_route").unwrap();
    let routes = laboratory.edge.namespace().run(routes).unwrap();
    routes.lines().any(|line| line.starts_with(&digits) && line.trim().ends_with("hp0"))
}

#[tokio::test]
async fn an_answer_waits_for_the_routes_of_its_revision() {
    if let Err(unprivileged) = privileges() {
        writeln!(std::io::stderr(), "\n*** SKIPPED answers that wait for routes: {unprivileged}\n")
            .unwrap();
        return;
    }
    let laboratory = Laboratory::build().await;
    let (store_port, front_end_port) = (free_port(), free_port());
    let store = RunningStore::start(store_port, vec![with_pool(1, router_with(&[]))]);
    let mut front_end = RunningFrontEnd::start(front_end_port);
    let tun = laboratory.tun();
    let forwarder = RunningForwarder::start(&[store_port], &[front_end_port], Some(tun));
    forwarder.until("homeport_forwarder_revision", 1.0).await;
    forwarder.until("homeport_forwarder_front_ends_connected", 1.0).await;
    in_time("routes into the TUN", routed(&laboratory.edge.namespace(), true)).await;

    let mobility_header = [59, 0, 5, 0, 0, 0, 0, 1];
    let update = mobility_packet(CARE_OF, AGENT, Some(HOME), None, &mobility_header);
    laboratory.rest.send(&update).await.unwrap();
    let (request, answers) = in_time("punt", front_end.asked.recv()).await.unwrap();
    let packet = mobility_packet(AGENT, CARE_OF, None, Some(HOME), &mobility_header);
    let mut too_early = 0;
    for revision in 2..100 {
        let response = PuntResponse {
            ticket: request.ticket,
            packet: packet.clone().into(),
            revision,
            ..Default::default()
        };
        answers.send(Ok(response)).await.unwrap();
        // Each has the network of its revision only: that of the one before is gone.
        store.say(message(revision, vec![router_with(&[revision])])).await;
        laboratory.recv("answer").await;
        let settled = is_routed(&laboratory, revision) && !is_routed(&laboratory, revision - 1);
        too_early += u32::from(!settled);
    }
    // On a host that is so busy that the bound is hit, each of these was counted.
    let sent = |how: &str| format!("homeport_forwarder_answers_total{{sent=\"{how}\"}}");
    let bound_hit = forwarder.metric(&sent("before_its_routes")).await
        + forwarder.metric(&sent("before_its_revision")).await;
    assert!(f64::from(too_early) <= bound_hit, "{too_early} answers were ahead of their routes");

    // A route that the host refuses is no reason to keep an answer back.
    let device = Network::open(&laboratory.edge.namespace()).unwrap();
    device.link_down("hp0").await.unwrap();
    let homes = vec![router_with(&[200])];
    store.say(message(200, homes)).await;
    forwarder.until("homeport_forwarder_revision", 200.0).await;
    assert!(!is_routed(&laboratory, 200));
    device.link_up("hp0").await.unwrap();
    let response = PuntResponse {
        ticket: request.ticket,
        packet: packet.into(),
        revision: 200,
        ..Default::default()
    };
    answers.send(Ok(response)).await.unwrap();
    let answer = laboratory.recv("answer").await;
    assert_eq!(walk(&answer).unwrap().upper, protocol::MOBILITY);
}
