//! IPv4 home addresses and every kind of tunnel (RFC 5555 §4.4.1; cases D13 to D19).

use super::*;
use crate::MobileNetworkV4;
use homeport_wire::{Ipv4Header, Malformed, UdpHeader, encapsulate_v4, udp_v4_packet};

const HOME_ADDRESS_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 77);
/// In the pool, nobody's.
const FREE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 99);
/// A prefix behind HOME.
const BEHIND: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 9);
const CORRESPONDENT_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 99);
const DIRECT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 20);
const OTHER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 21);
const ICMP: u8 = 1;

/// The care-of addresses of every kind.
fn kinds() -> [CareOf; 3] {
    let udp = CareOf::V4 { address: *NAT.ip(), port: NAT.port() };
    [CareOf::V6(CARE_OF_1), udp, CareOf::V4Direct(DIRECT)]
}

fn bound_to(care_of: CareOf, config: Config) -> Forwarding {
    let mut forwarding = Forwarding::new(config);
    let table = forwarding.table_mut();
    let pool = MobileNetworkV4 { prefix: Ipv4Addr::new(198, 51, 100, 64), prefix_len: 26 };
    table.set_prefix(HomePrefix { pool_v4: Some(pool), ..prefix() });
    let networks_v4 = vec![
        MobileNetworkV4 { prefix: HOME_ADDRESS_V4, prefix_len: 32 },
        MobileNetworkV4 { prefix: BEHIND, prefix_len: 24 },
    ];
    let entry =
        HomeEntry { networks_v4, home_agent_v4: None, ..entry(vec![binding(1, care_of)]).unwrap() };
    table.set_home(HOME, Some(entry)).unwrap();
    forwarding
}

fn bound(care_of: CareOf) -> Forwarding {
    bound_to(care_of, Config::default())
}

fn packet_v4(source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
    encapsulate_v4(&[0x14, 0xe9, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4], 17, source, destination, 9, 0x2a)
}

/// Of so many octets, with or without the demand to be left whole.
fn sized_v4(destination: Ipv4Addr, len: usize, whole_only: bool) -> Vec<u8> {
    let mut packet = Vec::new();
    let header = Ipv4Header {
        dscp_ecn: 0,
        total_len: u16::try_from(len).unwrap(),
        identification: 7,
        flags_fragment: if whole_only { Ipv4Header::DONT_FRAGMENT } else { 0 },
        ttl: 64,
        protocol: 6,
        source: CORRESPONDENT_V4,
        destination,
    };
    header.emit(&mut packet);
    packet.resize(len, 0x5a);
    packet
}

fn hop_less(packet: &[u8]) -> Vec<u8> {
    let (header, payload) = Ipv4Header::parse(packet).unwrap();
    let mut forwarded = Vec::new();
    Ipv4Header { ttl: header.ttl - 1, ..header }.emit(&mut forwarded);
    forwarded.extend_from_slice(payload);
    forwarded
}

/// Around an inner packet what the mobile node puts around it.
fn from_node(care_of: CareOf, inner: &[u8]) -> Vec<u8> {
    let v4 = inner[0] >> 4 == 4;
    match care_of {
        CareOf::V6(address) => {
            let upper = if v4 { protocol::IPV4 } else { protocol::IPV6 };
            PacketBuilder::new(address, AGENT).build(upper, inner)
        }
        CareOf::V4 { address, port } => udp_v4_packet((address, port), (AGENT_V4, 4191), inner),
        CareOf::V4Direct(address) => {
            let upper = if v4 { protocol::IPV4 } else { protocol::IPV6 };
            encapsulate_v4(inner, upper, address, AGENT_V4, 64, 0)
        }
    }
}

/// What the mobile node takes out of the tunnel; the outer header must be that of the kind.
fn at_node(care_of: CareOf, actions: &[Action]) -> Vec<u8> {
    let [action] = actions else { panic!("{actions:?}") };
    match (care_of, action) {
        (CareOf::V6(address), Action::SendIpv6(outer)) => {
            let (header, payload) = Ipv6Header::parse(outer).unwrap();
            assert_eq!((header.source, header.destination), (AGENT, address));
            assert_ne!(header.flow_label, 0);
            let v4 = payload[0] >> 4 == 4;
            assert_eq!(header.next_header, if v4 { protocol::IPV4 } else { protocol::IPV6 });
            payload.to_vec()
        }
        (CareOf::V4 { address, port }, Action::SendUdp { peer, local, payload, .. }) => {
            assert_eq!((*peer, *local), (SocketAddrV4::new(address, port), LOCAL));
            payload.clone()
        }
        (CareOf::V4Direct(address), Action::SendIpv4(outer)) => {
            let (header, payload) = Ipv4Header::parse(outer).unwrap();
            assert_eq!((header.source, header.destination, header.ttl), (AGENT_V4, address, 64));
            let v4 = payload[0] >> 4 == 4;
            assert_eq!(header.protocol, if v4 { protocol::IPV4 } else { protocol::IPV6 });
            payload.to_vec()
        }
        other => panic!("{other:?}"),
    }
}

/// The ICMPv4 message in a packet: type, code, and the octets behind the checksum.
fn icmpv4(packet: &[u8]) -> (u8, u8, Vec<u8>) {
    let (header, payload) = Ipv4Header::parse(packet).unwrap();
    assert_eq!(header.protocol, ICMP);
    assert_eq!(crate::packet::internet_checksum(payload), 0);
    (payload[0], payload[1], payload[4..].to_vec())
}

#[test]
fn both_families_pass_through_every_kind_of_tunnel() {
    for care_of in kinds() {
        let mut forwarding = bound(care_of);
        for destination in [HOME_ADDRESS_V4, BEHIND] {
            let inner = packet_v4(CORRESPONDENT_V4, destination);
            let actions = handle(&mut forwarding, &inner);
            assert_eq!(at_node(care_of, &actions), hop_less(&inner), "{care_of:?}");

            let inner = packet_v4(destination, CORRESPONDENT_V4);
            let actions = handle(&mut forwarding, &from_node(care_of, &inner));
            assert_eq!(actions, [Action::SendIpv4(hop_less(&inner))], "{care_of:?}");
        }
        let inner = packet(CORRESPONDENT, HOME);
        let actions = handle(&mut forwarding, &inner);
        assert_eq!(at_node(care_of, &actions), one_hop_less(&inner));
        let inner = packet(HOME, CORRESPONDENT);
        let actions = handle(&mut forwarding, &from_node(care_of, &inner));
        assert_eq!(actions, [Action::SendIpv6(one_hop_less(&inner))]);
    }
}

#[test]
fn only_the_bound_care_of_address_sends_for_the_home_address() {
    let other_port = CareOf::V4 { address: *NAT.ip(), port: 9 };
    let all = [
        CareOf::V6(CARE_OF_1),
        CareOf::V6(CARE_OF_2),
        CareOf::V4 { address: *NAT.ip(), port: NAT.port() },
        other_port,
        CareOf::V4Direct(*NAT.ip()),
        CareOf::V4Direct(DIRECT),
        CareOf::V4Direct(OTHER),
        CareOf::V4 { address: OTHER, port: 4191 },
    ];
    let refused = [Action::Drop(DropReason::TunnelSourceNotBound)];
    for care_of in kinds() {
        for from in all.into_iter().filter(|from| *from != care_of) {
            for inner in [packet_v4(HOME_ADDRESS_V4, CORRESPONDENT_V4), packet(HOME, CORRESPONDENT)]
            {
                let actions = handle(&mut bound(care_of), &from_node(from, &inner));
                assert_eq!(actions, refused, "{from:?} for {care_of:?}");
            }
        }
        for source in [FREE, CORRESPONDENT_V4, AGENT_V4, Ipv4Addr::LOCALHOST] {
            let inner = packet_v4(source, CORRESPONDENT_V4);
            let actions = handle(&mut bound(care_of), &from_node(care_of, &inner));
            assert_eq!(actions, refused, "{source}");
        }
        let inner = packet_v4(HOME_ADDRESS_V4, CORRESPONDENT_V4);
        let outer = from_node(care_of, &inner);
        assert_eq!(bound(care_of).handle(ENDS, Ingress::Ip(&outer)), refused, "it has ended");
    }
    // Without a translator on the way UDP is as good, from whatever port.
    let inner = packet_v4(HOME_ADDRESS_V4, CORRESPONDENT_V4);
    let outer = from_node(CareOf::V4 { address: DIRECT, port: 5000 }, &inner);
    let actions = handle(&mut bound(CareOf::V4Direct(DIRECT)), &outer);
    assert_eq!(actions, [Action::SendIpv4(hop_less(&inner))]);
}

#[test]
fn destinations_behind_a_tunnel() {
    let rows = [
        ("224.0.0.1", DropReason::MulticastDestination),
        ("255.255.255.255", DropReason::UnroutableDestination),
        ("127.0.0.1", DropReason::UnroutableDestination),
        ("0.0.0.0", DropReason::UnroutableDestination),
        ("169.254.1.1", DropReason::UnroutableDestination),
        ("198.51.100.77", DropReason::TunnelLoop),
        ("10.7.0.200", DropReason::TunnelLoop),
        ("198.51.100.1", DropReason::NestedTunnel),
    ];
    for (destination, reason) in rows {
        let inner = packet_v4(HOME_ADDRESS_V4, destination.parse().unwrap());
        let outer = from_node(CareOf::V6(CARE_OF_1), &inner);
        let actions = handle(&mut bound(CareOf::V6(CARE_OF_1)), &outer);
        assert_eq!(actions, [Action::Drop(reason)], "{destination}");
    }
}

#[test]
fn unbound_addresses_of_the_pool_are_unreachable_and_others_are_not_served() {
    let inner = packet_v4(CORRESPONDENT_V4, FREE);
    let actions = handle(&mut bound(CareOf::V6(CARE_OF_1)), &inner);
    let [Action::Drop(DropReason::NotBound), Action::SendIpv4(error)] = actions.as_slice() else {
        panic!("{actions:?}")
    };
    let (header, _) = Ipv4Header::parse(error).unwrap();
    assert_eq!((header.source, header.destination), (AGENT_V4, CORRESPONDENT_V4));
    let (kind, code, rest) = icmpv4(error);
    assert_eq!((kind, code, &rest[4..]), (3, 1, inner.as_slice()));

    let elsewhere = packet_v4(CORRESPONDENT_V4, Ipv4Addr::new(192, 0, 2, 5));
    let actions = handle(&mut bound(CareOf::V6(CARE_OF_1)), &elsewhere);
    assert_eq!(actions, [Action::Drop(DropReason::Ipv4NotServed)]);
    let actions = bound(CareOf::V6(CARE_OF_1))
        .handle(ENDS, Ingress::Ip(&packet_v4(CORRESPONDENT_V4, HOME_ADDRESS_V4)));
    assert_eq!(drops(&actions), [DropReason::NotBound]);
    // When the pool goes with its prefix, so does the answer.
    let mut forwarding = bound(CareOf::V6(CARE_OF_1));
    forwarding.table_mut().set_prefix(prefix());
    let actions = handle(&mut forwarding, &inner);
    assert_eq!(actions, [Action::Drop(DropReason::Ipv4NotServed)]);
}

#[test]
fn sources_that_cannot_be() {
    for source in ["0.0.0.0", "224.0.0.1", "255.255.255.255", "169.254.0.1"] {
        let inner = packet_v4(source.parse().unwrap(), HOME_ADDRESS_V4);
        let actions = handle(&mut bound(CareOf::V6(CARE_OF_1)), &inner);
        assert_eq!(actions, [Action::Drop(DropReason::UnroutableSource)], "{source}");
    }
    let own = packet_v4(AGENT_V4, AGENT_V4);
    let actions = handle(&mut bound(CareOf::V6(CARE_OF_1)), &own);
    assert_eq!(actions, [Action::Drop(DropReason::OwnSource)]);
}

#[test]
fn the_last_hop_is_answered() {
    for ttl in [0, 1] {
        let inner = encapsulate_v4(&[0; 8], 17, CORRESPONDENT_V4, HOME_ADDRESS_V4, ttl, 0);
        let actions = handle(&mut bound(CareOf::V6(CARE_OF_1)), &inner);
        let [Action::Drop(DropReason::HopLimitExceeded), Action::SendIpv4(error)] =
            actions.as_slice()
        else {
            panic!("{actions:?}")
        };
        let (kind, code, rest) = icmpv4(error);
        assert_eq!((kind, code, &rest[4..]), (11, 0, inner.as_slice()));
    }
    // On the way up the error goes back into the tunnel.
    let inner = encapsulate_v4(&[0; 8], 17, HOME_ADDRESS_V4, CORRESPONDENT_V4, 1, 0);
    let outer = from_node(CareOf::V6(CARE_OF_1), &inner);
    let actions = handle(&mut bound(CareOf::V6(CARE_OF_1)), &outer);
    assert_eq!(drops(&actions), [DropReason::HopLimitExceeded]);
    let error = at_node(CareOf::V6(CARE_OF_1), &actions[1..]);
    assert_eq!(icmpv4(&error).0, 11);
}

#[test]
fn what_must_not_be_cut_up_is_answered_with_the_room_that_there_is() {
    let [v6, udp, direct] = kinds();
    // Kind, path MTU, size, MTU in the error.
    let rows = [
        (v6, 1500, 1460, None),
        (v6, 1500, 1461, Some(1460)),
        (v6, 1280, 1241, Some(1240)),
        (udp, 1500, 1472, None),
        (udp, 1500, 1473, Some(1472)),
        (direct, 1500, 1480, None),
        (direct, 1500, 1481, Some(1480)),
    ];
    for (care_of, path_mtu, len, expected) in rows {
        let config = Config { path_mtu, ..Config::default() };
        let mut forwarding = bound_to(care_of, config);
        let actions = handle(&mut forwarding, &sized_v4(HOME_ADDRESS_V4, len, true));
        let row = (care_of, path_mtu, len);
        match expected {
            None => assert_eq!(at_node(care_of, &actions).len(), len, "{row:?}"),
            Some(mtu) => {
                assert_eq!(drops(&actions), [DropReason::PacketTooBig], "{row:?}");
                let Action::SendIpv4(error) = &actions[1] else { panic!("{actions:?}") };
                assert_eq!(error.len(), 576, "as much of the packet as fits");
                let (kind, code, rest) = icmpv4(error);
                let told = u16::from_be_bytes([rest[2], rest[3]]);
                assert_eq!((kind, code, told), (3, 4, mtu), "{row:?}");
            }
        }
        // What may be cut up goes in any case: in pieces of the outer packet, or as a whole that
        // routers may cut up.
        let actions = handle(&mut forwarding, &sized_v4(HOME_ADDRESS_V4, len, false));
        assert_eq!(drops(&actions), [], "{row:?}");
    }
}

#[test]
fn an_ipv6_packet_in_ipv4_has_the_room_of_its_kind() {
    for (len, expected) in [(1480, None), (1481, Some(1480))] {
        let actions =
            handle(&mut bound(CareOf::V4Direct(DIRECT)), &sized(CORRESPONDENT, HOME, len));
        match expected {
            None => assert_eq!(at_node(CareOf::V4Direct(DIRECT), &actions).len(), len),
            Some(mtu) => {
                let told = icmpv6(sent(&actions));
                assert!(matches!(told, Icmpv6::PacketTooBig { mtu: it, .. } if it == mtu));
            }
        }
    }
}

#[test]
fn the_outer_header_says_whether_it_may_be_cut_up() {
    let flags = |inner: &[u8]| {
        let actions = handle(&mut bound(CareOf::V4Direct(DIRECT)), inner);
        let [Action::SendIpv4(outer)] = actions.as_slice() else { panic!("{actions:?}") };
        Ipv4Header::parse(outer).unwrap().0.flags_fragment
    };
    let whole = Ipv4Header::DONT_FRAGMENT;
    assert_eq!(flags(&sized_v4(HOME_ADDRESS_V4, 500, true)), whole, "RFC 2003 §3.1");
    assert_eq!(flags(&sized_v4(HOME_ADDRESS_V4, 500, false)), 0);
    assert_eq!(flags(&sized(CORRESPONDENT, HOME, 1280)), 0, "IPv6 may rely on 1280 octets");
    assert_eq!(flags(&sized(CORRESPONDENT, HOME, 1281)), whole);
}

#[test]
fn fragments_of_an_inner_packet_and_its_options_are_carried_as_they_are() {
    let payload = [0x5a; 24];
    let header = Ipv4Header {
        dscp_ecn: 0x03,
        total_len: 44,
        identification: 77,
        flags_fragment: 0x2005,
        ttl: 3,
        protocol: 17,
        source: CORRESPONDENT_V4,
        destination: HOME_ADDRESS_V4,
    };
    let mut inner = Vec::new();
    header.emit(&mut inner);
    inner.extend_from_slice(&payload);
    let actions = handle(&mut bound(CareOf::V6(CARE_OF_1)), &inner);
    assert_eq!(at_node(CareOf::V6(CARE_OF_1), &actions), hop_less(&inner));

    // A header with four octets of options (no operation), header length six.
    let mut with_options = packet_v4(CORRESPONDENT_V4, HOME_ADDRESS_V4);
    with_options[0] = 0x46;
    with_options[3] += 4;
    for _ in 0..4 {
        with_options.insert(20, 1);
    }
    crate::packet::rewrite_checksum_v4(&mut with_options, 24);
    let actions = handle(&mut bound(CareOf::V6(CARE_OF_1)), &with_options);
    let carried = at_node(CareOf::V6(CARE_OF_1), &actions);
    assert_eq!(&carried[20..], &with_options[20..]);
    let (header, rest) = Ipv4Header::parse(&carried).unwrap();
    assert_eq!((header.ttl, rest), (8, &with_options[24..]));
}

#[test]
fn congestion_marks_cross_the_families() {
    // Inner and outer class, what leaves.
    let rows = [(0x00, 0x03, None), (0x02, 0x03, Some(0x03)), (0x02, 0xb8, Some(0x02))];
    for (inner_class, outer_class, expected) in rows {
        let made = |class| encapsulate_v4(&[0; 8], 17, HOME_ADDRESS_V4, CORRESPONDENT_V4, 9, class);
        let v6 = PacketBuilder::new(CARE_OF_1, AGENT)
            .traffic_class(outer_class)
            .build(protocol::IPV4, &made(inner_class));
        let v4 = encapsulate_v4(&made(inner_class), 4, DIRECT, AGENT_V4, 64, outer_class);
        let tunnels = [(CareOf::V6(CARE_OF_1), v6), (CareOf::V4Direct(DIRECT), v4)];
        for (care_of, outer) in tunnels {
            let actions = handle(&mut bound(care_of), &outer);
            match expected {
                Some(class) => {
                    assert_eq!(actions, [Action::SendIpv4(hop_less(&made(class)))]);
                }
                None => assert_eq!(drops(&actions), [DropReason::CongestionMarkLost]),
            }
        }
    }
    let inner = packet_v4(CORRESPONDENT_V4, HOME_ADDRESS_V4);
    let actions = handle(&mut bound(CareOf::V4Direct(DIRECT)), &inner);
    let [Action::SendIpv4(outer)] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!(Ipv4Header::parse(outer).unwrap().0.dscp_ecn, 0x2a, "copied outwards");
}

#[test]
fn the_home_agents_ipv4_address_answers_echo_requests() {
    let request = |source| {
        let mut message = vec![8, 0, 0, 0, 0, 7, 0, 9, b'?'];
        let sum = crate::packet::internet_checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        encapsulate_v4(&message, ICMP, source, AGENT_V4, 64, 0)
    };
    let actions = handle(&mut bound(CareOf::V6(CARE_OF_1)), &request(CORRESPONDENT_V4));
    let [Action::SendIpv4(reply)] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!(icmpv4(reply), (0, 0, vec![0, 7, 0, 9, b'?']));
    for care_of in kinds() {
        let outer = from_node(care_of, &request(HOME_ADDRESS_V4));
        let actions = handle(&mut bound(care_of), &outer);
        assert_eq!(icmpv4(&at_node(care_of, &actions)).0, 0, "through the tunnel");
    }
    let mut broken = request(CORRESPONDENT_V4);
    broken[28] ^= 1;
    let actions = handle(&mut bound(CareOf::V6(CARE_OF_1)), &broken);
    assert_eq!(actions, [Action::Drop(Malformed::Checksum.into())]);
}

/// An ICMPv4 error of a router about a packet from here.
fn error_v4(code: u8, mtu: u16, invoking: &[u8]) -> Vec<u8> {
    let [high, low] = mtu.to_be_bytes();
    let mut message = vec![3, code, 0, 0, 0, 0, high, low];
    message.extend_from_slice(&invoking[..invoking.len().min(548)]);
    let sum = crate::packet::internet_checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    encapsulate_v4(&message, ICMP, OTHER, AGENT_V4, 64, 0)
}

/// The outer packet of a tunnel over IPv4 as a router on the way sees it.
fn on_the_way(actions: &[Action]) -> Vec<u8> {
    match actions {
        [Action::SendIpv4(outer)] => outer.clone(),
        [Action::SendUdp { peer, local, payload, .. }] => {
            let header = UdpHeader { source_port: local.port(), destination_port: peer.port() };
            let datagram = header.emit_v4(*local.ip(), *peer.ip(), payload);
            encapsulate_v4(&datagram, protocol::UDP, *local.ip(), *peer.ip(), 60, 0)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn errors_about_tunnels_over_ipv4_reach_the_inner_source() {
    for care_of in [kinds()[1], kinds()[2]] {
        let mut forwarding = bound(care_of);
        let inner = packet(CORRESPONDENT, HOME);
        let outer = on_the_way(&handle(&mut forwarding, &inner));
        let actions = handle(&mut forwarding, &error_v4(1, 0, &outer));
        assert_eq!(drops(&actions), [DropReason::IcmpRelayed], "{care_of:?}");
        let told = icmpv6(sent(&actions));
        let expected = Icmpv6::DestinationUnreachable { code: 3, invoking: &one_hop_less(&inner) };
        assert_eq!(told, expected);

        let inner = packet_v4(CORRESPONDENT_V4, HOME_ADDRESS_V4);
        let outer = on_the_way(&handle(&mut forwarding, &inner));
        let actions = handle(&mut forwarding, &error_v4(1, 0, &outer));
        let [_, Action::SendIpv4(error)] = actions.as_slice() else { panic!("{actions:?}") };
        let (kind, code, rest) = icmpv4(error);
        assert_eq!((kind, code, &rest[4..]), (3, 1, hop_less(&inner).as_slice()));

        // What was not sent from here is not believed.
        let mut foreign = outer.clone();
        foreign[19] ^= 1;
        let actions = handle(&mut forwarding, &error_v4(1, 0, &foreign));
        assert_eq!(actions, [Action::Drop(DropReason::IcmpUnrelated)]);
        let cut = &outer[..24];
        let actions = handle(&mut forwarding, &error_v4(4, 1400, cut));
        assert_eq!(actions, [Action::Drop(DropReason::IcmpUnrelated)]);
    }
}

#[test]
fn a_narrow_path_over_ipv4_is_told_and_remembered() {
    let care_of = CareOf::V4Direct(DIRECT);
    let mut forwarding = bound(care_of);
    let outer = on_the_way(&handle(&mut forwarding, &sized(CORRESPONDENT, HOME, 1480)));
    let actions = handle(&mut forwarding, &error_v4(4, 1400, &outer));
    assert_eq!(drops(&actions), [DropReason::IcmpRelayed]);
    assert!(matches!(icmpv6(sent(&actions)), Icmpv6::PacketTooBig { mtu: 1380, .. }));
    let actions = handle(&mut forwarding, &sized(CORRESPONDENT, HOME, 1381));
    assert_eq!(drops(&actions), [DropReason::PacketTooBig]);
    let actions = handle(&mut forwarding, &sized_v4(HOME_ADDRESS_V4, 1381, true));
    assert_eq!(drops(&actions), [DropReason::PacketTooBig]);
    // A router before RFC 1191 does not say how narrow.
    let outer = on_the_way(&handle(&mut forwarding, &sized(CORRESPONDENT, HOME, 1380)));
    let _ = handle(&mut forwarding, &error_v4(4, 0, &outer));
    let actions = handle(&mut forwarding, &sized(CORRESPONDENT, HOME, 1281));
    assert_eq!(drops(&actions), [DropReason::PacketTooBig]);
    let actions = handle(&mut forwarding, &sized(CORRESPONDENT, HOME, 1280));
    assert_eq!(drops(&actions), []);
}

#[test]
fn between_two_home_addresses_a_packet_is_turned_round() {
    let mut forwarding = bound(CareOf::V6(CARE_OF_1));
    let networks_v4 = vec![MobileNetworkV4 { prefix: FREE, prefix_len: 32 }];
    let direct = vec![binding(1, CareOf::V4Direct(DIRECT))];
    let second = HomeEntry { networks_v4, ..entry(direct).unwrap() };
    forwarding.table_mut().set_home(HOME_V4, Some(second)).unwrap();
    let inner = packet_v4(HOME_ADDRESS_V4, FREE);
    let actions = handle(&mut forwarding, &from_node(CareOf::V6(CARE_OF_1), &inner));
    let carried = at_node(CareOf::V4Direct(DIRECT), &actions);
    let (header, payload) = Ipv4Header::parse(&carried).unwrap();
    assert_eq!((header.ttl, header.destination, payload), (8, FREE, &inner[20..]));
}

#[test]
fn a_care_of_address_that_is_served_here_ends_no_tunnel() {
    for care_of in [
        CareOf::V4Direct(AGENT_V4),
        CareOf::V4Direct(BEHIND),
        CareOf::V4 { address: AGENT_V4, port: 4191 },
        CareOf::V4 { address: HOME_ADDRESS_V4, port: 5000 },
    ] {
        for inner in [packet(CORRESPONDENT, HOME), packet_v4(CORRESPONDENT_V4, HOME_ADDRESS_V4)] {
            let actions = handle(&mut bound(care_of), &inner);
            assert_eq!(actions, [Action::Drop(DropReason::TunnelLoop)], "{care_of:?}");
        }
    }
}

#[test]
fn errors_over_ipv4_are_held_back_where_rfc_1812_forbids_them() {
    let unreachable = |protocol, payload: &[u8], flags_fragment| {
        let mut inner = Vec::new();
        let header = Ipv4Header {
            dscp_ecn: 0,
            total_len: u16::try_from(20 + payload.len()).unwrap(),
            identification: 1,
            flags_fragment,
            ttl: 64,
            protocol,
            source: CORRESPONDENT_V4,
            destination: FREE,
        };
        header.emit(&mut inner);
        inner.extend_from_slice(payload);
        handle(&mut bound(CareOf::V6(CARE_OF_1)), &inner).len() - 1
    };
    assert_eq!(unreachable(17, &[0; 8], 0), 1);
    assert_eq!(unreachable(ICMP, &[8, 0, 0, 0, 0, 0, 0, 0], 0), 1, "echo request");
    assert_eq!(unreachable(ICMP, &[3, 1, 0, 0, 0, 0, 0, 0], 0), 0, "an error");
    assert_eq!(unreachable(ICMP, &[], 0), 0, "it may be one");
    assert_eq!(unreachable(17, &[0; 8], 1), 0, "a later fragment");
    let config =
        Config { errors_per_network: crate::Rate { per_sec: 1, burst: 1 }, ..Config::default() };
    let mut forwarding = bound_to(CareOf::V6(CARE_OF_1), config);
    let inner = packet_v4(CORRESPONDENT_V4, FREE);
    assert_eq!(handle(&mut forwarding, &inner).len(), 2);
    let limited = [DropReason::NotBound, DropReason::ErrorRateLimited];
    assert_eq!(drops(&handle(&mut forwarding, &inner)), limited);
}
