//! Interception, choice of the binding, encapsulation, MTU (RFC 6275 §10.4, RFC 2473, RFC 5648 §3).

use super::*;
use crate::MobileNetwork;

#[test]
fn a_packet_for_a_home_address_is_tunnelled_to_its_care_of_address() {
    let inner = packet(CORRESPONDENT, HOME);
    let actions = handle(&mut forwarding(), &inner);
    let outer = sent(&actions);
    assert_eq!(opened(outer), (CARE_OF_1, one_hop_less(&inner).as_slice()));
    let header = walked(outer).header;
    assert_eq!(header.hop_limit, 64);
    assert_eq!(header.traffic_class, 0x2a, "DSCP and ECN are copied (RFC 6040 §4.1)");
    assert_ne!(header.flow_label, 0);
}

#[test]
fn octets_behind_the_payload_length_are_not_tunnelled() {
    let inner = packet(CORRESPONDENT, HOME);
    let mut padded = inner.clone();
    padded.extend_from_slice(&[0; 6]);
    let mut forwarding = forwarding();
    assert_eq!(handle(&mut forwarding, &padded), handle(&mut forwarding, &inner));
}

#[test]
fn the_choice_follows_priority_then_use_then_signalling_then_identifier() {
    struct Row {
        what: &'static str,
        // BID-PRI, verified, ends.
        first: (u8, u64, u64),
        second: (u8, u64, u64),
        used: Option<Ipv6Addr>,
        expected: Option<Ipv6Addr>,
    }
    let live = ENDS.0;
    let over = NOW.0;
    let rows = [
        Row {
            what: "all equal: lowest BID",
            first: (0, 5, live),
            second: (0, 5, live),
            used: None,
            expected: Some(CARE_OF_1),
        },
        Row {
            what: "lower BID-PRI is preferred",
            first: (20, 9, live),
            second: (10, 1, live),
            used: None,
            expected: Some(CARE_OF_2),
        },
        Row {
            what: "unset sorts last",
            first: (0, 9, live),
            second: (127, 1, live),
            used: None,
            expected: Some(CARE_OF_2),
        },
        Row {
            what: "newest signalling",
            first: (0, 5, live),
            second: (0, 6, live),
            used: None,
            expected: Some(CARE_OF_2),
        },
        Row {
            what: "data beats signalling",
            first: (0, 5, live),
            second: (0, 6, live),
            used: Some(CARE_OF_1),
            expected: Some(CARE_OF_1),
        },
        Row {
            what: "data does not beat priority",
            first: (20, 5, live),
            second: (10, 5, live),
            used: Some(CARE_OF_1),
            expected: Some(CARE_OF_2),
        },
        Row {
            what: "what ended is not chosen",
            first: (1, 9, over),
            second: (0, 5, live),
            used: None,
            expected: Some(CARE_OF_2),
        },
        Row {
            what: "ends exactly now",
            first: (0, 5, over),
            second: (0, 5, over),
            used: None,
            expected: None,
        },
        Row {
            what: "one millisecond left",
            first: (0, 5, over + 1),
            second: (0, 5, over),
            used: None,
            expected: Some(CARE_OF_1),
        },
    ];
    for row in rows {
        let mut forwarding = forwarding();
        let make = |bid, care_of, (priority, verified, ends)| ForwardingBinding {
            priority: BidPriority::new(priority),
            verified,
            ends: Millis(ends),
            ..binding(bid, CareOf::V6(care_of))
        };
        let bindings = vec![make(1, CARE_OF_1, row.first), make(2, CARE_OF_2, row.second)];
        forwarding.table_mut().set_home(HOME, entry(bindings)).unwrap();
        if let Some(care_of) = row.used {
            let uplink = tunnelled(care_of, &packet(HOME, CORRESPONDENT));
            assert_eq!(drops(&handle(&mut forwarding, &uplink)), [], "{}", row.what);
        }
        let actions = handle(&mut forwarding, &packet(CORRESPONDENT, HOME));
        let chosen = match row.expected {
            Some(_) => Some(opened(sent(&actions)).0),
            None => {
                assert_eq!(drops(&actions), [DropReason::NotBound], "{}", row.what);
                None
            }
        };
        assert_eq!(chosen, row.expected, "{}", row.what);
    }
}

#[test]
fn signalling_after_data_decides_again() {
    let mut forwarding = forwarding();
    let uplink = tunnelled(CARE_OF_2, &packet(HOME, CORRESPONDENT));
    let _ = handle(&mut forwarding, &uplink);
    assert_eq!(downlink_care_of(&mut forwarding, NOW), CARE_OF_2);

    // The same state again, as a snapshot brings it: data still counts.
    let same = vec![binding(2, CareOf::V6(CARE_OF_2)), binding(1, CareOf::V6(CARE_OF_1))];
    forwarding.table_mut().set_home(HOME, entry(same)).unwrap();
    assert_eq!(downlink_care_of(&mut forwarding, NOW), CARE_OF_2);

    let refreshed = ForwardingBinding { verified: 11, ..binding(1, CareOf::V6(CARE_OF_1)) };
    let bindings = vec![refreshed, binding(2, CareOf::V6(CARE_OF_2))];
    forwarding.table_mut().set_home(HOME, entry(bindings)).unwrap();
    assert_eq!(downlink_care_of(&mut forwarding, NOW), CARE_OF_1);
}

#[test]
fn without_the_option_data_does_not_move_the_choice() {
    let mut forwarding =
        forwarding_with(Config { last_used_breaks_ties: false, ..Config::default() });
    let _ = handle(&mut forwarding, &tunnelled(CARE_OF_2, &packet(HOME, CORRESPONDENT)));
    assert_eq!(downlink_care_of(&mut forwarding, NOW), CARE_OF_1);
}

#[test]
fn a_replaced_table_keeps_what_data_taught() {
    let mut forwarding = forwarding();
    let _ = handle(&mut forwarding, &tunnelled(CARE_OF_2, &packet(HOME, CORRESPONDENT)));
    let mut table = crate::Table::new();
    table.set_prefix(prefix());
    let bindings = vec![binding(1, CareOf::V6(CARE_OF_1)), binding(2, CareOf::V6(CARE_OF_2))];
    table.set_home(HOME, entry(bindings)).unwrap();
    forwarding.replace_table(table);
    assert_eq!(downlink_care_of(&mut forwarding, NOW), CARE_OF_2);
    assert_eq!(forwarding.table().len(), 1);
}

#[test]
fn an_ipv4_care_of_address_gets_the_packet_in_udp() {
    let inner = packet(CORRESPONDENT, HOME_V4);
    let expected = datagram(LOCAL, 0x2a, one_hop_less(&inner));
    assert_eq!(unidentified(handle(&mut forwarding(), &inner)), [expected]);
}

#[test]
fn an_ipv4_care_of_address_needs_a_home_agent_with_ipv4() {
    let mut forwarding = forwarding();
    let v4 = CareOf::V4 { address: *NAT.ip(), port: NAT.port() };
    let without = HomeEntry { home_agent_v4: None, ..entry(vec![binding(7, v4)]).unwrap() };
    forwarding.table_mut().set_home(HOME_V4, Some(without)).unwrap();
    let actions = handle(&mut forwarding, &packet(CORRESPONDENT, HOME_V4));
    let [Action::SendUdp { local, .. }] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!(*local, LOCAL, "the prefix has one");

    forwarding.table_mut().set_prefix(HomePrefix { home_agent_v4: None, ..prefix() });
    let actions = handle(&mut forwarding, &packet(CORRESPONDENT, HOME_V4));
    assert_eq!(drops(&actions), [DropReason::NoHomeAgentIpv4]);
}

#[test]
fn a_home_binding_delivers_on_the_link() {
    let inner = packet(CORRESPONDENT, HOME_AT_HOME);
    let actions = handle(&mut forwarding(), &inner);
    assert_eq!(
        actions,
        [Action::DeliverOnLink { next_hop: HOME_AT_HOME, packet: one_hop_less(&inner) }]
    );
}

#[test]
fn on_a_real_home_link_who_is_not_bound_elsewhere_is_a_neighbour() {
    let mut forwarding = forwarding();
    forwarding.table_mut().set_prefix(HomePrefix { real_home_link: true, ..prefix() });
    let to_host = packet(CORRESPONDENT, UNBOUND);
    let deliver = Action::DeliverOnLink { next_hop: UNBOUND, packet: one_hop_less(&to_host) };
    assert_eq!(handle(&mut forwarding, &to_host), [deliver]);
    let to_bound = handle(&mut forwarding, &packet(CORRESPONDENT, HOME));
    assert_eq!(opened(sent(&to_bound)).0, CARE_OF_1);
    // When the bindings have ended the mobile node may be at home, the home agent cut off or not.
    let later = forwarding.handle(ENDS, Ingress::Ip(&packet(CORRESPONDENT, HOME)));
    assert!(matches!(later.as_slice(), [Action::DeliverOnLink { next_hop: HOME, .. }]));

    let last_hop = PacketBuilder::new(CORRESPONDENT, UNBOUND).hop_limit(1).build(59, &[]);
    let actions = handle(&mut forwarding, &last_hop);
    assert_eq!(drops(&actions), [DropReason::HopLimitExceeded]);
    assert_eq!(
        icmpv6(sent(&actions)),
        Icmpv6::TimeExceeded { code: 0, invoking: &last_hop },
        "said by the router that the home agent is"
    );
}

#[test]
fn neighbour_discovery_stays_on_its_link() {
    for (kind, passes) in [(132, true), (133, false), (136, false), (137, true)] {
        let octets = [kind, 0, 0, 0, 0, 0, 0, 0];
        let packet = PacketBuilder::new(UNBOUND, HOME).build(protocol::ICMPV6, &octets);
        let actions = handle(&mut forwarding(), &packet);
        let expected = if passes { vec![] } else { vec![DropReason::NeighbourDiscovery] };
        assert_eq!(drops(&actions), expected, "{kind}");
    }
}

#[test]
fn an_address_of_a_network_behind_a_router_is_no_neighbour() {
    let mut forwarding = forwarding();
    forwarding.table_mut().set_prefix(HomePrefix { real_home_link: true, ..prefix() });
    let networks = vec![MobileNetwork { prefix: UNBOUND, prefix_len: 128 }];
    let router = HomeEntry { networks, ..entry(vec![binding(1, CareOf::V6(CARE_OF_1))]).unwrap() };
    forwarding.table_mut().set_home(HOME, Some(router)).unwrap();
    let actions = forwarding.handle(ENDS, Ingress::Ip(&packet(CORRESPONDENT, UNBOUND)));
    assert_eq!(drops(&actions), [DropReason::NotBound]);
}

#[test]
fn the_source_learns_that_nobody_answered_on_the_link() {
    let mut forwarding = forwarding();
    let lost = one_hop_less(&packet(CORRESPONDENT, UNBOUND));
    let actions = forwarding.undeliverable(NOW, &lost);
    assert_eq!(drops(&actions), [DropReason::NotOnLink]);
    assert_eq!(icmpv6(sent(&actions)), Icmpv6::DestinationUnreachable { code: 3, invoking: &lost });
    // Not about what the home agent said itself, nor where no home agent can speak.
    for lost in [packet(AGENT, UNBOUND), packet(UNBOUND, CORRESPONDENT), vec![0x60]] {
        let expected = [Action::Drop(DropReason::NotOnLink)];
        assert_eq!(forwarding.undeliverable(NOW, &lost), expected);
    }
}

#[test]
fn the_last_hop_is_answered_with_time_exceeded() {
    for hop_limit in [0, 1] {
        let inner = PacketBuilder::new(CORRESPONDENT, HOME)
            .hop_limit(hop_limit)
            .build(protocol::UDP, &[0; 8]);
        let actions = handle(&mut forwarding(), &inner);
        assert_eq!(drops(&actions), [DropReason::HopLimitExceeded]);
        let error = sent(&actions);
        let header = walked(error).header;
        assert_eq!((header.source, header.destination), (AGENT, CORRESPONDENT));
        assert_eq!(icmpv6(error), Icmpv6::TimeExceeded { code: 0, invoking: &inner });
    }
}

#[test]
fn what_the_tunnel_does_not_take_is_answered_with_packet_too_big() {
    // Destination, path MTU, size, MTU in the error.
    let rows = [
        (HOME, 1500, 1460, None),
        (HOME, 1500, 1461, Some(1460)),
        (HOME, 1400, 1361, Some(1360)),
        (HOME, 1280, 1281, Some(1280)),
        (HOME_V4, 1500, 1472, None),
        (HOME_V4, 1500, 1473, Some(1472)),
        (HOME_V4, 1280, 1280, None),
        (HOME_V4, 1280, 1281, Some(1280)),
        (HOME_AT_HOME, 1280, 1500, None),
    ];
    for (destination, path_mtu, len, expected) in rows {
        let mut forwarding = forwarding_with(Config { path_mtu, ..Config::default() });
        let inner = sized(CORRESPONDENT, destination, len);
        let actions = handle(&mut forwarding, &inner);
        let row = (destination, path_mtu, len);
        let Some(mtu) = expected else {
            assert_eq!(drops(&actions), [], "{row:?}");
            continue;
        };
        assert_eq!(drops(&actions), [DropReason::PacketTooBig], "{row:?}");
        let error = sent(&actions);
        assert_eq!(error.len(), 1280, "as much of the packet as fits (RFC 4443 §2.4 (c))");
        assert_eq!(icmpv6(error), Icmpv6::PacketTooBig { mtu, invoking: &inner[..1232] });
    }
}

#[test]
fn up_to_the_smallest_mtu_the_outer_packet_is_fragmented() {
    let mut forwarding = forwarding_with(Config { path_mtu: 1280, ..Config::default() });
    let inner = sized(CORRESPONDENT, HOME, 1280);
    let actions = handle(&mut forwarding, &inner);
    let mut whole = Vec::new();
    let mut identifications = Vec::new();
    for (index, action) in actions.iter().enumerate() {
        let Action::SendIpv6(piece) = action else { panic!("{action:?}") };
        assert!(piece.len() <= 1280);
        let (header, payload) = Ipv6Header::parse(piece).unwrap();
        assert_eq!((header.source, header.destination), (AGENT, CARE_OF_1));
        assert_eq!(header.next_header, protocol::FRAGMENT);
        assert_eq!(payload[..2], [protocol::IPV6, 0]);
        let field = u16::from_be_bytes([payload[2], payload[3]]);
        assert_eq!(usize::from(field & !7), whole.len());
        assert_eq!(field & 1 == 1, index + 1 < actions.len(), "more fragments");
        identifications.push(payload[4..8].to_vec());
        whole.extend_from_slice(&payload[8..]);
    }
    assert_eq!(actions.len(), 2);
    assert_eq!(whole, one_hop_less(&inner));
    assert_eq!(identifications[0], identifications[1]);
    let again = handle(&mut forwarding, &inner);
    let Action::SendIpv6(piece) = &again[0] else { panic!("{again:?}") };
    assert_ne!(piece[44..48], identifications[0], "the next packet has another identification");
}

#[test]
fn an_unbound_address_is_unreachable() {
    let inner = packet(CORRESPONDENT, UNBOUND);
    let actions = handle(&mut forwarding(), &inner);
    assert_eq!(drops(&actions), [DropReason::NotBound]);
    let expected = Icmpv6::DestinationUnreachable { code: 3, invoking: &inner };
    assert_eq!(icmpv6(sent(&actions)), expected);
    assert_eq!(walked(sent(&actions)).header.source, AGENT);
}

#[test]
fn an_expired_binding_is_unreachable_too() {
    let mut forwarding = forwarding();
    let inner = packet(CORRESPONDENT, HOME);
    let actions = forwarding.handle(ENDS, Ingress::Ip(&inner));
    assert_eq!(drops(&actions), [DropReason::NotBound]);
    assert!(matches!(icmpv6(sent(&actions)), Icmpv6::DestinationUnreachable { code: 3, .. }));
}

#[test]
fn errors_are_not_sent_where_rfc_4443_forbids_them() {
    let error = |source: Ipv6Addr, kind: u8| {
        PacketBuilder::new(source, UNBOUND).build(protocol::ICMPV6, &[kind, 0, 0, 0, 0, 0, 0, 0])
    };
    let behind = |headers: &[u8]| {
        let mut payload = headers.to_vec();
        payload.extend_from_slice(&[1, 3, 0, 0, 0, 0, 0, 0]);
        PacketBuilder::new(CORRESPONDENT, UNBOUND).build(protocol::DESTINATION_OPTIONS, &payload)
    };
    let fragment = |offset: u8, kind: u8| {
        let payload = [protocol::ICMPV6, 0, 0, offset, 1, 2, 3, 4, kind, 0, 0, 0];
        PacketBuilder::new(CORRESPONDENT, UNBOUND).build(protocol::FRAGMENT, &payload)
    };
    let icmp = protocol::ICMPV6;
    let rows = [
        ("Destination Unreachable", error(CORRESPONDENT, 1), 0),
        ("an error of the future", error(CORRESPONDENT, 127), 0),
        ("redirect", error(CORRESPONDENT, 137), 0),
        ("error behind options", behind(&[icmp, 0, 1, 4, 0, 0, 0, 0]), 0),
        ("options that overrun the packet", behind(&[icmp, 9, 1, 4, 0, 0, 0, 0]), 0),
        ("first fragment of an error", fragment(1, 1), 0),
        ("later fragment of ICMPv6", fragment(9, 128), 0),
        ("echo request", error(CORRESPONDENT, 128), 1),
        ("first fragment of an echo request", fragment(1, 128), 1),
    ];
    for (what, inner, expected) in rows {
        let actions = handle(&mut forwarding(), &inner);
        assert_eq!(drops(&actions), [DropReason::NotBound], "{what}");
        assert_eq!(actions.len() - 1, expected, "{what}");
    }
}

#[test]
fn sources_that_cannot_be_answered_are_dropped_without_a_word() {
    let rows = [
        ("::", DropReason::UnroutableSource),
        ("::1", DropReason::UnroutableSource),
        ("fe80::1", DropReason::UnroutableSource),
        ("ff02::1", DropReason::UnroutableSource),
        ("ff0e::1", DropReason::UnroutableSource),
        ("::ffff:192.0.2.1", DropReason::UnroutableSource),
        ("2001:db8:0:1::1", DropReason::OwnSource),
    ];
    for (source, reason) in rows {
        for destination in [HOME, UNBOUND, AGENT] {
            let actions = handle(&mut forwarding(), &packet(source.parse().unwrap(), destination));
            assert_eq!(actions, [Action::Drop(reason)], "{source} to {destination}");
        }
    }
}

#[test]
fn destinations_that_are_never_tunnelled() {
    let rows = [
        ("ff02::1", DropReason::MulticastDestination),
        ("ff0e::1", DropReason::MulticastDestination),
        ("fe80::100", DropReason::LinkLocalDestination),
        ("::", DropReason::UnroutableDestination),
        ("::1", DropReason::UnroutableDestination),
        ("2001:db8:77::1", DropReason::NotServed),
    ];
    for (destination, reason) in rows {
        let inner = packet(CORRESPONDENT, destination.parse().unwrap());
        assert_eq!(handle(&mut forwarding(), &inner), [Action::Drop(reason)], "{destination}");
    }
}

#[test]
fn a_link_local_destination_is_unreachable_for_a_node_of_the_home_link() {
    // Conformance case HA_5_1_2.
    let inner = packet(UNBOUND, "fe80::100".parse().unwrap());
    let actions = handle(&mut forwarding(), &inner);
    assert_eq!(drops(&actions), [DropReason::LinkLocalDestination]);
    let [_, Action::DeliverOnLink { next_hop: UNBOUND, packet: error }] = actions.as_slice() else {
        panic!("{actions:?}")
    };
    assert_eq!(icmpv6(error), Icmpv6::DestinationUnreachable { code: 3, invoking: &inner });
}

#[test]
fn errors_are_rate_limited_and_the_limit_is_counted() {
    let config =
        Config { errors_per_network: crate::Rate { per_sec: 10, burst: 2 }, ..Config::default() };
    let mut forwarding = forwarding_with(config);
    let inner = packet(CORRESPONDENT, UNBOUND);
    let limited = [DropReason::NotBound, DropReason::ErrorRateLimited];
    assert_eq!(drops(&handle(&mut forwarding, &inner)), limited[..1]);
    assert_eq!(drops(&handle(&mut forwarding, &inner)), limited[..1]);
    assert_eq!(drops(&handle(&mut forwarding, &inner)), limited);
    let later = Millis(NOW.0 + 100);
    assert_eq!(drops(&forwarding.handle(later, Ingress::Ip(&inner))), limited[..1]);
}

#[test]
fn a_care_of_address_that_is_served_here_ends_no_tunnel() {
    for care_of in [HOME_V4, AGENT, ANYCAST] {
        let mut forwarding = forwarding();
        let bindings = vec![binding(1, CareOf::V6(care_of))];
        forwarding.table_mut().set_home(HOME, entry(bindings)).unwrap();
        let actions = handle(&mut forwarding, &packet(CORRESPONDENT, HOME));
        assert_eq!(actions, [Action::Drop(DropReason::TunnelLoop)], "{care_of}");
    }
}

#[test]
fn a_guest_on_the_home_link_is_reached_on_the_link() {
    let mut forwarding = forwarding();
    let bindings = vec![binding(1, CareOf::V6(UNBOUND))];
    forwarding.table_mut().set_home(HOME, entry(bindings)).unwrap();
    let inner = packet(CORRESPONDENT, HOME);
    let actions = handle(&mut forwarding, &inner);
    let [Action::DeliverOnLink { next_hop: UNBOUND, packet: outer }] = actions.as_slice() else {
        panic!("{actions:?}")
    };
    assert_eq!(opened(outer), (UNBOUND, one_hop_less(&inner).as_slice()));
}

#[test]
fn a_fragment_for_a_home_address_is_carried_like_any_packet() {
    let payload = [protocol::UDP, 0, 0, 1, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 6, 7];
    let inner = PacketBuilder::new(CORRESPONDENT, HOME).build(protocol::FRAGMENT, &payload);
    let actions = handle(&mut forwarding(), &inner);
    assert_eq!(opened(sent(&actions)).1, one_hop_less(&inner));
}
