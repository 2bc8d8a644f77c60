//! Rules, one by one, as rows of packets in and actions out. Addresses are those of the laboratory.

mod correspondents;
mod downlink;
mod fast;
mod flows;
mod ipv4;
mod laws;
mod local;
mod network;
mod property;
mod reassembly;
mod refresh;
mod relay;
mod spread;
mod table;
mod udp;
mod unverified;
mod uplink;

use alloc::vec;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use homeport_wire::{
    Bid, BidPriority, Icmpv6, Ipv6Header, PacketBuilder, PseudoHeader, Walk, encapsulate_v6,
    protocol, walk,
};

use crate::{
    Action, CareOf, Config, DropReason, Forwarding, ForwardingBinding, HomeEntry, HomePrefix,
    Ingress, Millis, Punt, UdpOuter,
};

const PREFIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0);
const AGENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1);
const ANYCAST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0xfdff, 0xffff, 0xffff, 0xfffe);
const AGENT_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const LOCAL: SocketAddrV4 = SocketAddrV4::new(AGENT_V4, 4191);
const NAT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 9), 40001);
/// Two care-of addresses, BID 1 and 2.
const HOME: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x100);
/// One care-of address behind a translator.
const HOME_V4: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x200);
/// At home.
const HOME_AT_HOME: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x300);
/// In the prefix, bound to nothing.
const UNBOUND: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x999);
const CARE_OF_1: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 0x11);
const CARE_OF_2: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 0, 0x22);
const CARE_OF_3: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 0x33);
const CORRESPONDENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 0x99);
const ENDS: Millis = Millis(100_000);
const NOW: Millis = Millis(1_000);

fn binding(bid: u16, care_of: CareOf) -> ForwardingBinding {
    ForwardingBinding {
        bid: Some(Bid(bid)),
        care_of,
        priority: BidPriority::UNSET,
        verified: 10,
        ends: ENDS,
        lifetime_ms: 0,
        home: false,
        unverified: false,
    }
}

fn entry(bindings: Vec<ForwardingBinding>) -> Option<HomeEntry> {
    Some(HomeEntry { home_agent_v4: Some(AGENT_V4), ..HomeEntry::new(AGENT, bindings) })
}

fn prefix() -> HomePrefix {
    HomePrefix {
        prefix: PREFIX,
        prefix_len: 64,
        home_agent: AGENT,
        home_agent_v4: Some(AGENT_V4),
        pool_v4: None,
        real_home_link: false,
    }
}

fn forwarding_with(config: Config) -> Forwarding {
    let mut forwarding = Forwarding::new(config);
    let table = forwarding.table_mut();
    table.set_prefix(prefix());
    let v6 = vec![binding(1, CareOf::V6(CARE_OF_1)), binding(2, CareOf::V6(CARE_OF_2))];
    table.set_home(HOME, entry(v6)).unwrap();
    let v4 = CareOf::V4 { address: *NAT.ip(), port: NAT.port() };
    table.set_home(HOME_V4, entry(vec![binding(7, v4)])).unwrap();
    let at_home = ForwardingBinding { home: true, ..binding(3, CareOf::V6(HOME_AT_HOME)) };
    table.set_home(HOME_AT_HOME, entry(vec![at_home])).unwrap();
    forwarding
}

fn forwarding() -> Forwarding {
    forwarding_with(Config::default())
}

fn packet(source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    PacketBuilder::new(source, destination)
        .traffic_class(0x2a)
        .flow_label(0x12345)
        .build(protocol::UDP, &[0x14, 0xe9, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4])
}

fn sized(source: Ipv6Addr, destination: Ipv6Addr, len: usize) -> Vec<u8> {
    let payload = vec![0x5a; len - Ipv6Header::LEN];
    PacketBuilder::new(source, destination).build(protocol::TCP, &payload)
}

fn echo_request(source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    let message = Icmpv6::EchoRequest { identifier: 7, sequence: 9, data: b"homeport" };
    PacketBuilder::new(source, destination)
        .build(protocol::ICMPV6, &message.emit(source, destination))
}

fn tunnelled(outer_source: Ipv6Addr, inner: &[u8]) -> Vec<u8> {
    encapsulate_v6(inner, outer_source, AGENT, 64, 0, 0)
}

/// The packet as the next hop gets it.
fn one_hop_less(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[7] -= 1;
    packet
}

fn handle(forwarding: &mut Forwarding, packet: &[u8]) -> Vec<Action> {
    forwarding.handle(NOW, Ingress::Ip(packet))
}

fn drops(actions: &[Action]) -> Vec<DropReason> {
    let reason = |action: &Action| match action {
        Action::Drop(reason) => Some(*reason),
        _ => None,
    };
    actions.iter().filter_map(reason).collect()
}

/// A datagram to [`NAT`] that routers may cut up, but for its identification.
fn datagram(local: SocketAddrV4, dscp_ecn: u8, payload: Vec<u8>) -> Action {
    let (peer, whole_only, identification) = (NAT, false, 0);
    Action::SendUdp { peer, local, dscp_ecn, whole_only, identification, payload }
}

/// The actions, with identifications as [`datagram`] has them.
fn unidentified(mut actions: Vec<Action>) -> Vec<Action> {
    for action in &mut actions {
        if let Action::SendUdp { identification, .. } = action {
            *identification = 0;
        }
    }
    actions
}

/// The only packet that is sent; it must be IPv6.
fn sent(actions: &[Action]) -> &[u8] {
    let mut packets = actions.iter().filter_map(|action| match action {
        Action::SendIpv6(packet) => Some(packet),
        _ => None,
    });
    let only = packets.next().unwrap_or_else(|| panic!("nothing sent: {actions:?}"));
    assert_eq!(packets.next(), None, "more than one packet");
    only
}

fn walked(packet: &[u8]) -> Walk<'_> {
    walk(packet).unwrap()
}

/// The ICMPv6 message in a packet, its checksum verified.
fn icmpv6(packet: &[u8]) -> Icmpv6<'_> {
    let walk = walked(packet);
    assert_eq!(walk.upper, protocol::ICMPV6);
    let pseudo = PseudoHeader::icmpv6(walk.pseudo_source(), walk.pseudo_destination());
    Icmpv6::parse(walk.payload, pseudo).unwrap()
}

/// Care-of address and inner packet of a tunnelled packet.
fn opened(packet: &[u8]) -> (Ipv6Addr, &[u8]) {
    let walk = walked(packet);
    assert_eq!((walk.header.source, walk.upper), (AGENT, protocol::IPV6));
    (walk.header.destination, walk.payload)
}

/// Where an uplink packet that is accepted makes data go afterwards.
fn downlink_care_of(forwarding: &mut Forwarding, now: Millis) -> Ipv6Addr {
    let actions = forwarding.handle(now, Ingress::Ip(&packet(CORRESPONDENT, HOME)));
    opened(sent(&actions)).0
}
