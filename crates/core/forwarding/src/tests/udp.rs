//! The envelope of RFC 5555: from a socket and as a whole IPv4 packet.

use super::*;
use homeport_wire::{Ipv4Header, UdpHeader, encapsulate_v4, mobility_packet, udp_v4_packet};

/// Binding Update over UDP from behind a translator: IPv4, UDP 40001 to 4191, IPv6 from the home
/// address 2001:db8:0:1::100 to the home agent, Mobility Header. Written by an independent encoder.
const BINDING_UPDATE: &str = "4500006c0001000040111442cb007109c63364019c41105f005805a5600000000028\
    874020010db800000001000000000000010020010db80000000100000000000000013b040500ddb64001c04000961d\
    06800000000000010400000000230800070000c000022c01020000";

fn octets(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn from_socket(forwarding: &mut Forwarding, peer: SocketAddrV4, payload: &[u8]) -> Vec<Action> {
    forwarding.handle(NOW, Ingress::Udp { peer, local: LOCAL, payload })
}

fn as_packet(peer: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    udp_v4_packet((*peer.ip(), peer.port()), (AGENT_V4, 4191), payload)
}

#[test]
fn a_binding_update_in_udp_is_handed_on_with_its_outer_end_points() {
    let whole = octets(BINDING_UPDATE);
    let inner = whole[28..].to_vec();
    let expected = Action::Punt(Punt {
        outer: Some(UdpOuter { peer: NAT, local: LOCAL }),
        tunnelled: false,
        bound: false,
        sender: HOME,
        packet: inner.clone(),
    });
    let mut forwarding = forwarding();
    let from_network = handle(&mut forwarding, &whole);
    assert_eq!(from_network, from_socket(&mut forwarding, NAT, &inner));
    assert_eq!(from_network, [expected]);
}

#[test]
fn esp_in_udp_is_handed_on_too() {
    let inner = PacketBuilder::new(HOME, AGENT).build(protocol::ESP, &[1; 40]);
    let actions = from_socket(&mut forwarding(), NAT, &inner);
    assert!(matches!(actions.as_slice(), [Action::Punt(punt)] if punt.packet == inner));
}

#[test]
fn data_passes_only_from_the_bound_end_point() {
    let inner = packet(HOME_V4, CORRESPONDENT);
    let other_port = SocketAddrV4::new(*NAT.ip(), 40002);
    let other_address = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 10), NAT.port());
    let refused = [Action::Drop(DropReason::TunnelSourceNotBound)];
    let passed = [Action::SendIpv6(one_hop_less(&inner))];
    for forwarding in [&mut forwarding(), &mut forwarding()] {
        assert_eq!(from_socket(forwarding, NAT, &inner), passed);
        assert_eq!(handle(forwarding, &as_packet(NAT, &inner)), passed);
        // D15, D22: the port counts.
        assert_eq!(from_socket(forwarding, other_port, &inner), refused);
        assert_eq!(from_socket(forwarding, other_address, &inner), refused);
        let others = packet(HOME, CORRESPONDENT);
        assert_eq!(from_socket(forwarding, NAT, &others), refused, "bound by IPv6 only");
        let after =
            forwarding.handle(ENDS, Ingress::Udp { peer: NAT, local: LOCAL, payload: &inner });
        assert_eq!(after, refused);
    }
}

#[test]
fn what_is_no_signalling_from_an_unbound_source_gets_no_answer() {
    // D19.
    let stranger = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 4191);
    let behind_option = PacketBuilder::new(HOME, AGENT)
        .build(protocol::DESTINATION_OPTIONS, &[59, 0, 0xd1, 4, 0, 0, 0, 0]);
    for inner in [
        echo_request(HOME_V4, AGENT),
        echo_request(HOME, AGENT),
        packet(HOME_V4, HOME),
        PacketBuilder::new(HOME_V4, AGENT).build(253, &[0; 8]),
        behind_option,
        mobility_packet(HOME, CORRESPONDENT, None, None, &[59, 0, 0, 0, 0, 0, 0, 0]),
    ] {
        let actions = from_socket(&mut forwarding(), stranger, &inner);
        assert_eq!(actions, [Action::Drop(DropReason::TunnelSourceNotBound)]);
    }
}

#[test]
fn an_echo_request_in_udp_is_answered_in_udp() {
    let actions = from_socket(&mut forwarding(), NAT, &echo_request(HOME_V4, AGENT));
    let [Action::SendUdp { peer, local, payload, .. }] = actions.as_slice() else {
        panic!("{actions:?}")
    };
    assert_eq!((*peer, *local), (NAT, LOCAL));
    let expected = Icmpv6::EchoReply { identifier: 7, sequence: 9, data: b"homeport" };
    assert_eq!(icmpv6(payload), expected);
}

#[test]
fn payloads_that_are_not_ipv6() {
    let rows: [(&[u8], DropReason); 7] = [
        (&[], DropReason::Keepalive),
        (&[0xff], DropReason::Keepalive),
        (&[0x00, 1, 0, 8], DropReason::TlvHeader),
        (
            &[0x45, 0, 0, 20],
            homeport_wire::Malformed::Truncated { field: "IPv4 identification", at: 4 }.into(),
        ),
        (&[0x50], DropReason::UnknownUdpPayload),
        (&[0xff, 0xff], DropReason::UnknownUdpPayload),
        (&[0x7f; 60], DropReason::UnknownUdpPayload),
    ];
    for (payload, reason) in rows {
        let mut forwarding = forwarding();
        assert_eq!(from_socket(&mut forwarding, NAT, payload), [Action::Drop(reason)]);
        assert_eq!(handle(&mut forwarding, &as_packet(NAT, payload)), [Action::Drop(reason)]);
    }
}

#[test]
fn ipv4_packets_that_are_no_envelope() {
    let inner = packet(HOME_V4, CORRESPONDENT);
    let datagram = |port| {
        UdpHeader { source_port: 40001, destination_port: port }.emit_v4(
            *NAT.ip(),
            AGENT_V4,
            &inner,
        )
    };
    let ip = |datagram: &[u8], protocol, destination| {
        encapsulate_v4(datagram, protocol, *NAT.ip(), destination, 64, 0)
    };
    let fragment = |flags_fragment| {
        let datagram = datagram(4191);
        let mut packet = Vec::new();
        let header = Ipv4Header {
            dscp_ecn: 0,
            total_len: u16::try_from(datagram.len() + 20).unwrap(),
            identification: 1,
            flags_fragment,
            ttl: 64,
            protocol: protocol::UDP,
            source: *NAT.ip(),
            destination: AGENT_V4,
        };
        header.emit(&mut packet);
        packet.extend_from_slice(&datagram);
        packet
    };
    let elsewhere = Ipv4Addr::new(198, 51, 100, 2);
    let mut wrong_sum = as_packet(NAT, &inner);
    wrong_sum[60] ^= 1;
    let rows = [
        (ip(&datagram(4191), protocol::UDP, elsewhere), DropReason::Ipv4NotServed),
        (ip(&datagram(4191), protocol::TCP, AGENT_V4), DropReason::Ipv4Protocol),
        (ip(&datagram(4500), protocol::UDP, AGENT_V4), DropReason::UdpPort),
        (fragment(0x2000), DropReason::FragmentRefused),
        (fragment(0x0001), DropReason::FragmentWaits),
        (wrong_sum, homeport_wire::Malformed::Checksum.into()),
    ];
    for (packet, reason) in rows {
        assert_eq!(handle(&mut forwarding(), &packet), [Action::Drop(reason)]);
    }
    let actions = handle(&mut forwarding(), &fragment(Ipv4Header::DONT_FRAGMENT));
    assert_eq!(actions, [Action::SendIpv6(one_hop_less(&inner))]);
}

#[test]
fn congestion_marks_of_the_ipv4_header_count() {
    // Outer CE; the inner packet can tell (ECT(0)), or cannot.
    for (class, passes) in [(0x02, true), (0x00, false)] {
        let inner = PacketBuilder::new(HOME_V4, CORRESPONDENT)
            .traffic_class(class)
            .build(protocol::UDP, &[0; 8]);
        let datagram = UdpHeader { source_port: NAT.port(), destination_port: 4191 }.emit_v4(
            *NAT.ip(),
            AGENT_V4,
            &inner,
        );
        let outer = encapsulate_v4(&datagram, protocol::UDP, *NAT.ip(), AGENT_V4, 64, 0x03);
        let actions = handle(&mut forwarding(), &outer);
        if passes {
            assert_eq!(walked(sent(&actions)).header.traffic_class, 0x03);
        } else {
            assert_eq!(drops(&actions), [DropReason::CongestionMarkLost]);
        }
    }
}
