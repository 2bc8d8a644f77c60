//! To the home agent itself: signalling, Home Address option, echo, a host's errors.

use super::*;
use homeport_wire::{BindingErrorStatus, Message, mobility_packet};

/// A Mobility Header; whether it makes sense is for the front-end.
const MOBILITY_HEADER: [u8; 16] = [59, 1, 5, 0, 0, 0, 0, 1, 0xc0, 0, 0, 10, 1, 2, 0, 0];

fn icmpv6_packet(source: Ipv6Addr, destination: Ipv6Addr, message: &Icmpv6<'_>) -> Vec<u8> {
    PacketBuilder::new(source, destination)
        .build(protocol::ICMPV6, &message.emit(source, destination))
}

fn discovery(source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    let flags = homeport_wire::DiscoveryFlags::default();
    let message = Icmpv6::HomeAgentAddressDiscoveryRequest { identifier: 1, flags };
    icmpv6_packet(source, destination, &message)
}

fn solicitation(care_of: Ipv6Addr, home: Ipv6Addr) -> Vec<u8> {
    let message = Icmpv6::MobilePrefixSolicitation { identifier: 1 };
    PacketBuilder::new(care_of, AGENT)
        .home_address_option(Some(home))
        .build(protocol::ICMPV6, &message.emit(home, AGENT))
}

/// The binding proof of the conformance suite.
fn proof(care_of: Ipv6Addr, home: Ipv6Addr) -> Vec<u8> {
    let message = Icmpv6::EchoRequest { identifier: 7, sequence: 9, data: b"homeport" };
    PacketBuilder::new(care_of, AGENT)
        .home_address_option(Some(home))
        .build(protocol::ICMPV6, &message.emit(home, AGENT))
}

#[test]
fn signalling_is_handed_on_as_it_came() {
    let mh = |source, destination, hao| {
        mobility_packet(source, destination, hao, None, &MOBILITY_HEADER)
    };
    let esp = |builder: PacketBuilder| builder.build(protocol::ESP, &[1; 40]);
    let rows = [
        ("BU from an unbound address", HOME, mh(CARE_OF_3, AGENT, Some(HOME))),
        ("BU of an unknown home", UNBOUND, mh(CARE_OF_3, AGENT, Some(UNBOUND))),
        ("BU from the home link", HOME, mh(HOME, AGENT, None)),
        ("MH to the anycast address", CARE_OF_3, mh(CARE_OF_3, ANYCAST, None)),
        ("ESP", CARE_OF_3, esp(PacketBuilder::new(CARE_OF_3, AGENT))),
        (
            "ESP behind a home address",
            HOME,
            esp(PacketBuilder::new(CARE_OF_3, AGENT).home_address_option(Some(HOME))),
        ),
        ("DHAAD", CARE_OF_3, discovery(CARE_OF_3, ANYCAST)),
        ("MPS from a bound address", HOME, solicitation(CARE_OF_2, HOME)),
    ];
    for (what, sender, packet) in rows {
        let actions = handle(&mut forwarding(), &packet);
        let bound = what == "MPS from a bound address";
        let expected = Punt { outer: None, tunnelled: false, bound, sender, packet };
        assert_eq!(actions, [Action::Punt(expected)], "{what}");
    }
}

#[test]
fn signalling_out_of_a_tunnel_is_handed_on_as_such() {
    for inner in [
        mobility_packet(HOME, AGENT, None, None, &MOBILITY_HEADER),
        discovery(HOME, ANYCAST),
        PacketBuilder::new(HOME, AGENT).build(protocol::ESP, &[1; 40]),
    ] {
        let actions = handle(&mut forwarding(), &tunnelled(CARE_OF_1, &inner));
        let expected =
            Punt { outer: None, tunnelled: true, bound: true, sender: HOME, packet: inner };
        assert_eq!(actions, [Action::Punt(expected)]);
    }
}

#[test]
fn answers_go_back_the_way_the_question_came() {
    let plain = |destination| mobility_packet(AGENT, destination, None, None, &MOBILITY_HEADER);
    let routed = mobility_packet(AGENT, CARE_OF_1, None, Some(HOME), &MOBILITY_HEADER);
    let mut forwarding = forwarding();

    let to_care_of = forwarding.answer(NOW, &routed, None, false);
    assert_eq!(to_care_of, [Action::SendIpv6(routed)]);
    let to_link = forwarding.answer(NOW, &plain(HOME), None, false);
    let expected = Action::DeliverOnLink { next_hop: HOME, packet: plain(HOME) };
    assert_eq!(to_link, [expected], "V09: no tunnel, no routing header");
    let to_stranger = forwarding.answer(NOW, &plain(CARE_OF_3), None, false);
    assert_eq!(to_stranger, [Action::SendIpv6(plain(CARE_OF_3))]);

    let into_tunnel = forwarding.answer(NOW, &plain(HOME), None, true);
    assert_eq!(opened(sent(&into_tunnel)), (CARE_OF_1, plain(HOME).as_slice()), "hop limit kept");
    let outer = UdpOuter { peer: NAT, local: LOCAL };
    let in_udp = forwarding.answer(NOW, &plain(HOME_V4), Some(outer), false);
    assert_eq!(unidentified(in_udp), [datagram(LOCAL, 0, plain(HOME_V4))]);

    forwarding.config.udp_port = 40_191;
    let in_udp = forwarding.answer(NOW, &plain(HOME_V4), Some(outer), false);
    let local = SocketAddrV4::new(*LOCAL.ip(), 40_191);
    let expected = datagram(local, 0, plain(HOME_V4));
    assert_eq!(
        unidentified(in_udp),
        [expected],
        "a mobile node believes only the port that it sends to"
    );
}

#[test]
fn an_answer_must_come_from_a_home_agent() {
    let mut forwarding = forwarding();
    let refused = [Action::Drop(DropReason::AnswerRefused)];
    let foreign = mobility_packet(CORRESPONDENT, CARE_OF_1, None, None, &MOBILITY_HEADER);
    assert_eq!(forwarding.answer(NOW, &foreign, None, false), refused);
    assert_eq!(forwarding.answer(NOW, &[], None, true), refused);
    let cut = &mobility_packet(AGENT, CARE_OF_1, None, None, &MOBILITY_HEADER)[..50];
    assert_eq!(forwarding.answer(NOW, cut, None, false), refused);
}

#[test]
fn an_echo_request_is_answered() {
    // HA_0_0_0.
    let reply = Icmpv6::EchoReply { identifier: 7, sequence: 9, data: b"homeport" };
    for destination in [AGENT, ANYCAST] {
        let actions = handle(&mut forwarding(), &echo_request(CARE_OF_3, destination));
        let header = walked(sent(&actions)).header;
        assert_eq!((header.source, header.destination), (AGENT, CARE_OF_3), "unicast source");
        assert_eq!(icmpv6(sent(&actions)), reply);
    }
    let actions = handle(&mut forwarding(), &tunnelled(CARE_OF_2, &echo_request(HOME, AGENT)));
    let (care_of, inner) = opened(sent(&actions));
    assert_eq!((care_of, walked(inner).header.destination), (CARE_OF_2, HOME));
    assert_eq!(icmpv6(inner), reply);
    let actions = handle(&mut forwarding(), &echo_request(UNBOUND, AGENT));
    assert!(
        matches!(actions.as_slice(), [Action::DeliverOnLink { next_hop: UNBOUND, .. }]),
        "{actions:?}"
    );
}

#[test]
fn a_broken_echo_request_is_dropped() {
    let mut packet = echo_request(CARE_OF_3, AGENT);
    packet[50] ^= 1;
    let actions = handle(&mut forwarding(), &packet);
    assert_eq!(actions, [Action::Drop(homeport_wire::Malformed::Checksum.into())]);
}

#[test]
fn the_binding_proof_of_a_bound_node_is_answered_by_a_routing_header() {
    for care_of in [CARE_OF_1, CARE_OF_2] {
        let actions = handle(&mut forwarding(), &proof(care_of, HOME));
        let reply = walked(sent(&actions));
        assert_eq!((reply.header.source, reply.header.destination), (AGENT, care_of));
        assert_eq!(reply.routing_home_address, Some(HOME));
        let expected = Icmpv6::EchoReply { identifier: 7, sequence: 9, data: b"homeport" };
        assert_eq!(icmpv6(sent(&actions)), expected);
    }
}

#[test]
fn a_home_address_without_binding_gets_a_binding_error() {
    let rows = [
        ("another care-of address (M54)", proof(CARE_OF_3, HOME), HOME),
        ("no binding at all", proof(CARE_OF_1, UNBOUND), UNBOUND),
        ("bound by IPv4 only", proof(CARE_OF_1, HOME_V4), HOME_V4),
        ("an address of no home prefix", proof(CARE_OF_1, CORRESPONDENT), CORRESPONDENT),
        ("prefix solicitation", solicitation(CARE_OF_3, HOME), HOME),
        (
            "a tunnel",
            PacketBuilder::new(CARE_OF_3, AGENT)
                .home_address_option(Some(HOME))
                .build(protocol::IPV6, &packet(HOME, CORRESPONDENT)),
            HOME,
        ),
        (
            "nothing behind it",
            PacketBuilder::new(CARE_OF_3, AGENT)
                .home_address_option(Some(HOME))
                .build(protocol::NO_NEXT, &[]),
            HOME,
        ),
    ];
    for (what, packet, home_address) in rows {
        let actions = handle(&mut forwarding(), &packet);
        assert_eq!(drops(&actions), [DropReason::HomeAddressNotBound], "{what}");
        let walk = walked(sent(&actions));
        let source = walked(&packet).header.source;
        assert_eq!((walk.header.source, walk.header.destination), (AGENT, source), "{what}");
        assert_eq!(walk.upper, protocol::MOBILITY, "{what}");
        let message = Message::parse(walk.payload, walk.pseudo_header()).unwrap();
        let Message::BindingError(error) = message else { panic!("{what}: {message:?}") };
        assert_eq!(error.status, BindingErrorStatus::UNKNOWN_BINDING, "{what}");
        assert_eq!(error.home_address, home_address, "{what}");
    }
}

#[test]
fn after_the_end_of_the_binding_the_proof_fails() {
    // HA_2_1_4.
    let actions = forwarding().handle(ENDS, Ingress::Ip(&proof(CARE_OF_1, HOME)));
    assert_eq!(drops(&actions), [DropReason::HomeAddressNotBound]);
}

#[test]
fn binding_errors_are_rate_limited() {
    let config =
        Config { errors_per_network: crate::Rate { per_sec: 1, burst: 1 }, ..Config::default() };
    let mut forwarding = forwarding_with(config);
    assert_eq!(handle(&mut forwarding, &proof(CARE_OF_3, HOME)).len(), 2);
    assert_eq!(
        handle(&mut forwarding, &proof(CARE_OF_3, HOME)),
        [Action::Drop(DropReason::HomeAddressNotBound), Action::Drop(DropReason::ErrorRateLimited)]
    );
}

#[test]
fn home_addresses_that_cannot_be() {
    for home in ["::", "::1", "fe80::1", "ff02::1", "ff0e::1"] {
        let actions = handle(&mut forwarding(), &proof(CARE_OF_1, home.parse().unwrap()));
        assert_eq!(actions, [Action::Drop(DropReason::HomeAddressUnroutable)], "{home}");
    }
}

#[test]
fn a_tunnel_with_the_home_address_option_of_a_bound_node_is_opened() {
    let inner = packet(HOME, CORRESPONDENT);
    let outer = PacketBuilder::new(CARE_OF_1, AGENT)
        .home_address_option(Some(HOME))
        .build(protocol::IPV6, &inner);
    assert_eq!(sent(&handle(&mut forwarding(), &outer)), one_hop_less(&inner));
}

#[test]
fn what_a_host_answers() {
    struct Row {
        what: &'static str,
        packet: Vec<u8>,
        reason: DropReason,
        answer: Option<fn(&[u8]) -> Icmpv6<'_>>,
    }
    let plain = |upper| PacketBuilder::new(CARE_OF_3, AGENT).build(upper, &[0; 20]);
    let options = |kind: u8| {
        let payload = [protocol::NO_NEXT, 0, kind, 4, 0, 0, 0, 0];
        PacketBuilder::new(CARE_OF_3, AGENT).build(protocol::DESTINATION_OPTIONS, &payload)
    };
    let unknown = |kind| homeport_wire::Malformed::UnknownOption { kind, at: 42 }.into();
    let routing = [protocol::NO_NEXT, 0, 0, 1, 0, 0, 0, 0];
    let rows = [
        Row {
            what: "UDP",
            packet: plain(protocol::UDP),
            reason: DropReason::NoListener,
            answer: Some(|invoking| Icmpv6::DestinationUnreachable { code: 4, invoking }),
        },
        Row {
            what: "TCP",
            packet: plain(protocol::TCP),
            reason: DropReason::NoListener,
            answer: Some(|invoking| Icmpv6::DestinationUnreachable { code: 4, invoking }),
        },
        Row {
            what: "a protocol nobody speaks",
            packet: plain(253),
            reason: DropReason::UnknownProtocol,
            answer: Some(|invoking| Icmpv6::ParameterProblem { code: 1, pointer: 6, invoking }),
        },
        Row {
            what: "AH",
            packet: plain(protocol::AH),
            reason: DropReason::UnknownProtocol,
            answer: Some(|invoking| Icmpv6::ParameterProblem { code: 1, pointer: 6, invoking }),
        },
        Row {
            what: "AH behind a home address that is bound to nothing",
            packet: PacketBuilder::new(CARE_OF_3, AGENT)
                .home_address_option(Some(UNBOUND))
                .build(protocol::AH, &[0; 20]),
            reason: DropReason::UnknownProtocol,
            answer: Some(|invoking| Icmpv6::ParameterProblem { code: 1, pointer: 40, invoking }),
        },
        Row {
            what: "an option that must be known, action 11",
            packet: options(0xd1),
            reason: unknown(0xd1),
            answer: Some(|invoking| Icmpv6::ParameterProblem { code: 2, pointer: 42, invoking }),
        },
        Row {
            what: "an option that must be known, action 01",
            packet: options(0x51),
            reason: unknown(0x51),
            answer: None,
        },
        Row {
            what: "an option that may be skipped",
            packet: options(0x11),
            reason: DropReason::NoNextHeader,
            answer: None,
        },
        Row {
            what: "a source route",
            packet: PacketBuilder::new(CARE_OF_3, AGENT).build(protocol::ROUTING, &routing),
            reason: homeport_wire::Malformed::RoutingHeader { at: 42 }.into(),
            answer: Some(|invoking| Icmpv6::ParameterProblem { code: 0, pointer: 42, invoking }),
        },
        Row {
            what: "a type 2 routing header",
            packet: PacketBuilder::new(CARE_OF_3, AGENT)
                .routing_home_address(Some(HOME))
                .build(protocol::NO_NEXT, &[]),
            reason: DropReason::HomeAddressRouting,
            answer: None,
        },
        Row {
            what: "a fragment",
            packet: PacketBuilder::new(CARE_OF_3, AGENT).build(
                protocol::FRAGMENT,
                &[protocol::UDP, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8],
            ),
            reason: DropReason::FragmentWaits,
            answer: None,
        },
        Row {
            what: "a fragment that is no multiple of eight octets, and not the last",
            packet: PacketBuilder::new(CARE_OF_3, AGENT)
                .build(protocol::FRAGMENT, &[protocol::UDP, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3]),
            reason: DropReason::FragmentRefused,
            answer: Some(|invoking| Icmpv6::ParameterProblem { code: 0, pointer: 4, invoking }),
        },
        Row {
            what: "a fragment beyond what IPv6 allows",
            packet: PacketBuilder::new(CARE_OF_3, AGENT).build(
                protocol::FRAGMENT,
                &[protocol::UDP, 0, 0xff, 0xf8, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8],
            ),
            reason: DropReason::FragmentRefused,
            answer: Some(|invoking| Icmpv6::ParameterProblem { code: 0, pointer: 42, invoking }),
        },
        Row {
            what: "an echo reply",
            packet: icmpv6_packet(
                CARE_OF_3,
                AGENT,
                &Icmpv6::EchoReply { identifier: 1, sequence: 1, data: &[] },
            ),
            reason: DropReason::Icmpv6Ignored,
            answer: None,
        },
        Row {
            what: "neighbour solicitation",
            packet: icmpv6_packet(
                CARE_OF_3,
                AGENT,
                &Icmpv6::Other { kind: 135, code: 0, body: &[0; 20] },
            ),
            reason: DropReason::Icmpv6Ignored,
            answer: None,
        },
    ];
    for Row { what, packet, reason, answer } in rows {
        let actions = handle(&mut forwarding(), &packet);
        assert_eq!(drops(&actions), [reason], "{what}");
        match answer {
            Some(answer) => assert_eq!(icmpv6(sent(&actions)), answer(&packet), "{what}"),
            None => assert_eq!(actions.len(), 1, "{what}"),
        }
    }
}
