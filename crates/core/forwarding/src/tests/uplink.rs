//! Decapsulation and its source check (RFC 6275 §10.4.5), hairpin, ECN (RFC 6040).

use super::*;

#[test]
fn each_bound_care_of_address_may_send_for_its_home_address() {
    let inner = packet(HOME, CORRESPONDENT);
    for care_of in [CARE_OF_1, CARE_OF_2] {
        let actions = handle(&mut forwarding(), &tunnelled(care_of, &inner));
        assert_eq!(actions, [Action::SendIpv6(one_hop_less(&inner))]);
    }
}

#[test]
fn everything_else_is_dropped_in_silence() {
    let rows = [
        ("another care-of address", tunnelled(CARE_OF_3, &packet(HOME, CORRESPONDENT))),
        ("the home address itself", tunnelled(HOME, &packet(HOME, CORRESPONDENT))),
        ("a home address of another", tunnelled(CARE_OF_1, &packet(HOME_V4, CORRESPONDENT))),
        ("no home address", tunnelled(CARE_OF_1, &packet(CORRESPONDENT, HOME))),
        ("an unbound home address", tunnelled(CARE_OF_1, &packet(UNBOUND, CORRESPONDENT))),
        ("the home agent's address", tunnelled(CARE_OF_1, &packet(AGENT, CORRESPONDENT))),
        ("signalling from elsewhere", tunnelled(CARE_OF_3, &packet(HOME, AGENT))),
    ];
    for (what, outer) in rows {
        let actions = handle(&mut forwarding(), &outer);
        assert_eq!(actions, [Action::Drop(DropReason::TunnelSourceNotBound)], "{what}");
    }
}

#[test]
fn a_binding_counts_until_it_ends() {
    let mut forwarding = forwarding();
    let outer = tunnelled(CARE_OF_1, &packet(HOME, CORRESPONDENT));
    let before = forwarding.handle(Millis(ENDS.0 - 1), Ingress::Ip(&outer));
    assert!(matches!(before.as_slice(), [Action::SendIpv6(_)]));
    let after = forwarding.handle(ENDS, Ingress::Ip(&outer));
    assert_eq!(after, [Action::Drop(DropReason::TunnelSourceNotBound)]);
}

#[test]
fn destinations_behind_a_tunnel() {
    let rows = [
        ("ff02::1", DropReason::MulticastDestination),
        ("ff0e::1", DropReason::MulticastDestination),
        ("fe80::1", DropReason::LinkLocalDestination),
        ("::1", DropReason::UnroutableDestination),
        ("2001:db8:0:1::999", DropReason::NotBound),
        ("2001:db8:0:1::100", DropReason::TunnelLoop),
    ];
    for (destination, reason) in rows {
        let inner = packet(HOME, destination.parse().unwrap());
        let actions = handle(&mut forwarding(), &tunnelled(CARE_OF_1, &inner));
        assert_eq!(drops(&actions), [reason], "{destination}");
    }
}

#[test]
fn an_error_about_a_tunnelled_packet_goes_back_into_the_tunnel() {
    let inner = packet(HOME, UNBOUND);
    let actions = handle(&mut forwarding(), &tunnelled(CARE_OF_2, &inner));
    let (care_of, error) = opened(sent(&actions));
    assert_eq!(care_of, CARE_OF_2, "the binding that carried data last");
    assert_eq!(walked(error).header.destination, HOME);
    assert_eq!(icmpv6(error), Icmpv6::DestinationUnreachable { code: 3, invoking: &inner });
}

#[test]
fn the_last_hop_of_an_inner_packet() {
    let inner = PacketBuilder::new(HOME, CORRESPONDENT).hop_limit(1).build(protocol::TCP, &[]);
    let actions = handle(&mut forwarding(), &tunnelled(CARE_OF_1, &inner));
    assert_eq!(drops(&actions), [DropReason::HopLimitExceeded]);
    let (care_of, error) = opened(sent(&actions));
    assert_eq!(care_of, CARE_OF_1);
    assert_eq!(icmpv6(error), Icmpv6::TimeExceeded { code: 0, invoking: &inner });
}

#[test]
fn between_two_mobile_nodes_one_hop_is_taken() {
    let inner = packet(HOME, HOME_V4);
    let actions = handle(&mut forwarding(), &tunnelled(CARE_OF_1, &inner));
    // Outer Not-ECT leaves the inner ECT(0) as it was.
    assert_eq!(unidentified(actions), [datagram(LOCAL, 0x2a, one_hop_less(&inner))]);
}

#[test]
fn congestion_marks_survive_the_tunnel() {
    // Inner and outer traffic class, what leaves.
    let rows = [
        (0x28, 0x03, None),
        (0x2a, 0x03, Some(0x2b)),
        (0x2a, 0x01, Some(0x29)),
        (0x2a, 0xb8, Some(0x2a)),
        (0x2b, 0x00, Some(0x2b)),
    ];
    for (inner_class, outer_class, expected) in rows {
        let inner = |class| {
            PacketBuilder::new(HOME, CORRESPONDENT)
                .traffic_class(class)
                .build(protocol::UDP, &[0; 8])
        };
        let outer = encapsulate_v6(&inner(inner_class), CARE_OF_1, AGENT, 64, outer_class, 0);
        let actions = handle(&mut forwarding(), &outer);
        match expected {
            Some(class) => assert_eq!(sent(&actions), one_hop_less(&inner(class))),
            None => assert_eq!(drops(&actions), [DropReason::CongestionMarkLost]),
        }
    }
}

#[test]
fn a_tunnel_encapsulation_limit_option_is_skipped() {
    // What Linux puts before the inner packet (RFC 2473 §4.1.1).
    let inner = packet(HOME, CORRESPONDENT);
    let mut payload = vec![protocol::IPV6, 0, 4, 1, 4, 1, 1, 0];
    payload.extend_from_slice(&inner);
    let outer = PacketBuilder::new(CARE_OF_1, AGENT).build(protocol::DESTINATION_OPTIONS, &payload);
    assert_eq!(sent(&handle(&mut forwarding(), &outer)), one_hop_less(&inner));
}

#[test]
fn a_tunnel_inside_a_tunnel_is_not_opened() {
    let inner = packet(HOME, CORRESPONDENT);
    let nested = encapsulate_v6(&inner, HOME, AGENT, 64, 0, 0);
    let actions = handle(&mut forwarding(), &tunnelled(CARE_OF_1, &nested));
    assert_eq!(actions, [Action::Drop(DropReason::TunnelSourceNotBound)]);
}

#[test]
fn a_tunnel_through_the_home_agent_to_somebody_else_is_only_carried() {
    let nested = encapsulate_v6(&packet(HOME, CORRESPONDENT), HOME, CORRESPONDENT, 64, 0, 0);
    let actions = handle(&mut forwarding(), &tunnelled(CARE_OF_1, &nested));
    assert_eq!(sent(&actions), one_hop_less(&nested));
}

#[test]
fn what_is_in_the_tunnel_must_be_a_packet() {
    let cut = tunnelled(CARE_OF_1, &packet(HOME, CORRESPONDENT)[..45]);
    assert!(matches!(
        drops(&handle(&mut forwarding(), &cut))[..],
        [DropReason::Malformed(homeport_wire::Malformed::Truncated { .. })]
    ));
    let v4 = PacketBuilder::new(CARE_OF_1, AGENT).build(protocol::IPV4, &[0x45; 20]);
    let checksum = homeport_wire::Malformed::Checksum.into();
    assert_eq!(drops(&handle(&mut forwarding(), &v4)), [checksum]);
}
