//! Mobile networks (RFC 3963 §6; the NEMO cases 5_2, 5_4, 6_4 to 6_7 and 9_2 of the conformance
//! suite).

use super::*;
use crate::{MobileNetwork, Table};
use homeport_wire::mobility_packet;

/// Behind the router HOME.
const NET: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 0);
const NODE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0x12, 0, 0, 0, 7);
/// A part of it that another router has.
const PART: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0x77, 0, 0, 0, 0);
const PART_NODE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0x77, 0, 0, 0, 7);
const ROUTER_2: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x400);
/// A mobile node that visits HOME's network: its care-of address is an address there.
const VISITOR: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x500);
const VISITOR_CARE_OF: Ipv6Addr = NODE;

fn router(care_of: &[Ipv6Addr], networks: &[(Ipv6Addr, u8)]) -> Option<HomeEntry> {
    let bindings = (1..).zip(care_of).map(|(bid, care_of)| binding(bid, CareOf::V6(*care_of)));
    let networks = networks
        .iter()
        .map(|(prefix, prefix_len)| MobileNetwork { prefix: *prefix, prefix_len: *prefix_len });
    Some(HomeEntry { networks: networks.collect(), ..HomeEntry::new(AGENT, bindings.collect()) })
}

fn laboratory() -> Forwarding {
    let mut forwarding = forwarding();
    let table = forwarding.table_mut();
    table.set_home(HOME, router(&[CARE_OF_1, CARE_OF_2], &[(NET, 48)])).unwrap();
    table.set_home(ROUTER_2, router(&[CARE_OF_3], &[(PART, 64)])).unwrap();
    table.set_home(VISITOR, router(&[VISITOR_CARE_OF], &[])).unwrap();
    forwarding
}

fn care_of(forwarding: &mut Forwarding, destination: Ipv6Addr) -> Ipv6Addr {
    opened(sent(&handle(forwarding, &packet(CORRESPONDENT, destination)))).0
}

#[test]
fn the_longest_prefix_leads_to_its_router() {
    let mut forwarding = laboratory();
    let inner = packet(CORRESPONDENT, NODE);
    let actions = handle(&mut forwarding, &inner);
    assert_eq!(opened(sent(&actions)), (CARE_OF_1, one_hop_less(&inner).as_slice()));
    assert_eq!(care_of(&mut forwarding, PART_NODE), CARE_OF_3);
    // When the part's router goes, the whole has it again.
    forwarding.table_mut().set_home(ROUTER_2, None).unwrap();
    assert_eq!(care_of(&mut forwarding, PART_NODE), CARE_OF_1);
}

#[test]
fn prefixes_follow_each_registration() {
    let mut forwarding = laboratory();
    let second: Ipv6Addr = "2001:db8:200::".parse().unwrap();
    let in_second: Ipv6Addr = "2001:db8:200::7".parse().unwrap();
    let not_served = [Action::Drop(DropReason::NotServed)];
    assert_eq!(handle(&mut forwarding, &packet(CORRESPONDENT, in_second)), not_served);
    // 5_4_9: added; 5_4_7: the other follows the new care-of address.
    let both = router(&[CARE_OF_2], &[(NET, 48), (second, 56)]);
    forwarding.table_mut().set_home(HOME, both).unwrap();
    assert_eq!(care_of(&mut forwarding, in_second), CARE_OF_2);
    assert_eq!(care_of(&mut forwarding, NODE), CARE_OF_2);
    // 5_4_11: replaced.
    let replaced = router(&[CARE_OF_2], &[(second, 56)]);
    forwarding.table_mut().set_home(HOME, replaced).unwrap();
    assert_eq!(handle(&mut forwarding, &packet(CORRESPONDENT, NODE)), not_served);
    assert_eq!(care_of(&mut forwarding, in_second), CARE_OF_2);
    let uplink = tunnelled(CARE_OF_2, &packet(NODE, CORRESPONDENT));
    assert_eq!(drops(&handle(&mut forwarding, &uplink)), [DropReason::TunnelSourceNotBound]);
    forwarding.table_mut().set_home(HOME, None).unwrap();
    assert_eq!(handle(&mut forwarding, &packet(CORRESPONDENT, in_second)), not_served);
}

#[test]
fn an_expired_router_is_unreachable() {
    let inner = packet(CORRESPONDENT, NODE);
    let actions = laboratory().handle(ENDS, Ingress::Ip(&inner));
    assert_eq!(drops(&actions), [DropReason::NotBound]);
    let expected = Icmpv6::DestinationUnreachable { code: 3, invoking: &inner };
    assert_eq!(icmpv6(sent(&actions)), expected);
    assert_eq!(walked(sent(&actions)).header.source, AGENT);
}

#[test]
fn only_the_routers_care_of_addresses_send_for_its_networks() {
    let passes = [
        (CARE_OF_1, NODE),
        (CARE_OF_2, NODE),
        (CARE_OF_1, HOME),
        (CARE_OF_3, PART_NODE),
        (CARE_OF_3, ROUTER_2),
    ];
    for (outer, source) in passes {
        let inner = packet(source, CORRESPONDENT);
        let actions = handle(&mut laboratory(), &tunnelled(outer, &inner));
        assert_eq!(actions, [Action::SendIpv6(one_hop_less(&inner))], "{outer} {source}");
    }
    // 6_5, 6_7: somebody else's care-of address, a source outside, the part of another router.
    let refused = [
        (CARE_OF_3, NODE),
        (CORRESPONDENT, NODE),
        (CARE_OF_1, PART_NODE),
        (CARE_OF_1, ROUTER_2),
        (CARE_OF_1, "2001:db8:101::1".parse().unwrap()),
        (NODE, NODE),
    ];
    for (outer, source) in refused {
        let actions = handle(&mut laboratory(), &tunnelled(outer, &packet(source, CORRESPONDENT)));
        assert_eq!(actions, [Action::Drop(DropReason::TunnelSourceNotBound)], "{outer} {source}");
    }
}

#[test]
fn a_packet_into_the_network_that_it_comes_from_would_run_in_circles() {
    for destination in [NODE, HOME, "2001:db8:100:99::1".parse().unwrap()] {
        let inner = packet("2001:db8:100:5::1".parse().unwrap(), destination);
        let actions = handle(&mut laboratory(), &tunnelled(CARE_OF_1, &inner));
        assert_eq!(actions, [Action::Drop(DropReason::TunnelLoop)], "{destination}");
    }
}

#[test]
fn between_two_networks_a_packet_is_turned_round() {
    let inner = packet(NODE, PART_NODE);
    let actions = handle(&mut laboratory(), &tunnelled(CARE_OF_1, &inner));
    let (care_of, carried) = opened(sent(&actions));
    assert_eq!((care_of, &carried[8..]), (CARE_OF_3, &inner[8..]));
    assert_eq!(carried[7], inner[7] - 1);
}

#[test]
fn a_visitor_of_the_same_home_agent_is_reached_through_two_tunnels() {
    let inner = packet(CORRESPONDENT, VISITOR);
    let actions = handle(&mut laboratory(), &inner);
    let (to_router, outer) = opened(sent(&actions));
    let (to_visitor, carried) = opened(outer);
    assert_eq!((to_router, to_visitor), (CARE_OF_1, VISITOR_CARE_OF));
    assert_eq!(carried, one_hop_less(&inner));

    // And back, out of both.
    let inner = packet(VISITOR, CORRESPONDENT);
    let visited = tunnelled(VISITOR_CARE_OF, &inner);
    let actions = handle(&mut laboratory(), &tunnelled(CARE_OF_1, &visited));
    assert_eq!(actions, [Action::SendIpv6(one_hop_less(&inner))]);
    // Not through somebody else's network, nor around it.
    let around = handle(&mut laboratory(), &tunnelled(CARE_OF_3, &visited));
    assert_eq!(around, [Action::Drop(DropReason::TunnelSourceNotBound)]);
}

#[test]
fn both_outer_headers_have_room() {
    let mut forwarding = laboratory();
    let large = sized(CORRESPONDENT, VISITOR, 1421);
    let actions = handle(&mut forwarding, &large);
    let told = icmpv6(sent(&actions));
    assert!(matches!(told, Icmpv6::PacketTooBig { mtu: 1420, .. }), "{told:?}");
    let fits = sized(CORRESPONDENT, VISITOR, 1420);
    assert_eq!(sent(&handle(&mut forwarding, &fits)).len(), 1500);
}

#[test]
fn a_visitors_signalling_goes_up_and_its_answer_goes_down_both_tunnels() {
    // 9_2_1: a Binding Update from the care-of address in the mobile network.
    let update = mobility_packet(
        VISITOR_CARE_OF,
        AGENT,
        Some(VISITOR),
        None,
        &[59, 1, 5, 0, 0, 0, 0, 1, 0xc0, 0, 0, 10, 1, 2, 0, 0],
    );
    let mut forwarding = laboratory();
    let actions = handle(&mut forwarding, &tunnelled(CARE_OF_2, &update));
    let [Action::Punt(punt)] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!((punt.tunnelled, punt.sender, &punt.packet), (true, VISITOR, &update));
    let answer = mobility_packet(
        AGENT,
        VISITOR_CARE_OF,
        None,
        Some(VISITOR),
        &[59, 1, 6, 0, 0, 0, 0, 0, 0, 1, 0, 10, 1, 2, 0, 0],
    );
    let actions = forwarding.answer(NOW, &answer, None, true);
    assert_eq!(opened(sent(&actions)), (CARE_OF_2, answer.as_slice()));
}

#[test]
fn routers_that_visit_each_other_make_no_loop() {
    let mut forwarding = laboratory();
    let table = forwarding.table_mut();
    table.set_home(HOME, router(&[PART_NODE], &[(NET, 48)])).unwrap();
    table.set_home(ROUTER_2, router(&[NODE], &[(PART, 64)])).unwrap();
    let actions = handle(&mut forwarding, &packet(CORRESPONDENT, NODE));
    assert_eq!(actions, [Action::Drop(DropReason::TunnelLoop)]);
    // One in its own network.
    forwarding.table_mut().set_home(HOME, router(&[NODE], &[(NET, 48)])).unwrap();
    let actions = handle(&mut forwarding, &packet(CORRESPONDENT, NODE));
    assert_eq!(actions, [Action::Drop(DropReason::TunnelLoop)]);
}

#[test]
fn an_endless_tunnel_in_a_tunnel_is_not_opened() {
    // Each router's care-of address lies in the network of the one before.
    let router_of = |at: u16| Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 1, at);
    let net_of = |at: u16| Ipv6Addr::new(0x2001, 0xdb8, 0x300, at, 0, 0, 0, 0);
    let node_of = |at: u16| Ipv6Addr::new(0x2001, 0xdb8, 0x300, at, 0, 0, 0, 1);
    let mut forwarding = forwarding();
    for at in 1..=6 {
        let care_of = if at == 1 { CARE_OF_1 } else { node_of(at - 1) };
        let entry = router(&[care_of], &[(net_of(at), 64)]);
        forwarding.table_mut().set_home(router_of(at), entry).unwrap();
    }
    let nested = |depth: u16| {
        let inner = packet(node_of(depth), CORRESPONDENT);
        let wrap = |inner: Vec<u8>, at| {
            tunnelled(if at == 1 { CARE_OF_1 } else { node_of(at - 1) }, &inner)
        };
        (1..=depth).rev().fold(inner, wrap)
    };
    for depth in 1..=4 {
        assert_eq!(drops(&handle(&mut forwarding, &nested(depth))), [], "{depth}");
        let down = handle(&mut forwarding, &packet(CORRESPONDENT, node_of(depth)));
        assert_eq!(sent(&down).len(), 52 + 40 * usize::from(depth));
    }
    assert_eq!(drops(&handle(&mut forwarding, &nested(5))), [DropReason::NestedTunnel]);
    let down = handle(&mut forwarding, &packet(CORRESPONDENT, node_of(5)));
    assert_eq!(drops(&down), [DropReason::TunnelLoop]);
}

#[test]
fn an_error_about_the_inner_tunnel_reaches_the_source() {
    let mut forwarding = laboratory();
    let inner = packet(CORRESPONDENT, VISITOR);
    let outer = sent(&handle(&mut forwarding, &inner)).to_vec();
    let message = Icmpv6::TimeExceeded { code: 0, invoking: &outer };
    let error = PacketBuilder::new(CORRESPONDENT, AGENT)
        .build(protocol::ICMPV6, &message.emit(CORRESPONDENT, AGENT));
    let actions = handle(&mut forwarding, &error);
    let expected = Icmpv6::DestinationUnreachable { code: 3, invoking: &one_hop_less(&inner) };
    assert_eq!(icmpv6(sent(&actions)), expected);
}

#[test]
fn tests_of_return_routability_pass_both_ways() {
    // Protocol 8.2, M57: HoTI from any care-of address; HoT to the one that is chosen.
    let header = |kind, len: u8| {
        let mut message = vec![59, len, kind, 0, 0, 0, 0, 0];
        message.resize(8 * (usize::from(len) + 1), 0x11);
        message
    };
    let init = mobility_packet(HOME, CORRESPONDENT, None, None, &header(1, 1));
    for care_of in [CARE_OF_1, CARE_OF_2] {
        let mut forwarding = laboratory();
        let actions = handle(&mut forwarding, &tunnelled(care_of, &init));
        assert_eq!(actions, [Action::SendIpv6(one_hop_less(&init))]);
        let test = mobility_packet(CORRESPONDENT, HOME, None, None, &header(3, 2));
        let actions = handle(&mut forwarding, &test);
        assert_eq!(opened(sent(&actions)), (care_of, one_hop_less(&test).as_slice()));
    }
    let spoofed = handle(&mut laboratory(), &tunnelled(CARE_OF_3, &init));
    assert_eq!(spoofed, [Action::Drop(DropReason::TunnelSourceNotBound)]);
    // To the home agent itself it is signalling.
    let own = mobility_packet(HOME, AGENT, None, None, &header(1, 1));
    let actions = handle(&mut laboratory(), &tunnelled(CARE_OF_1, &own));
    assert!(matches!(actions.as_slice(), [Action::Punt(punt)] if punt.tunnelled), "{actions:?}");
}

#[test]
fn a_home_address_option_must_name_a_home_address() {
    // An address in the router's network is none, even from its care-of address.
    let message = Icmpv6::EchoRequest { identifier: 7, sequence: 9, data: b"homeport" };
    let proof = PacketBuilder::new(CARE_OF_1, AGENT)
        .home_address_option(Some(NODE))
        .build(protocol::ICMPV6, &message.emit(NODE, AGENT));
    let actions = handle(&mut laboratory(), &proof);
    assert_eq!(drops(&actions), [DropReason::HomeAddressNotBound]);
}

#[test]
fn a_network_changes_hands_whatever_comes_first() {
    let given = router(&[CARE_OF_1], &[]);
    let taken = router(&[CARE_OF_3], &[(NET, 48)]);
    for giver_first in [true, false] {
        let mut forwarding = laboratory();
        let table = forwarding.table_mut();
        let changes = [(HOME, given.clone()), (ROUTER_2, taken.clone())];
        if giver_first {
            for (home, entry) in changes {
                table.set_home(home, entry).unwrap();
            }
        } else {
            for (home, entry) in changes.into_iter().rev() {
                table.set_home(home, entry).unwrap();
            }
        }
        assert_eq!(care_of(&mut forwarding, NODE), CARE_OF_3);
        let networks = forwarding.table().networks();
        assert_eq!(networks, [MobileNetwork { prefix: NET, prefix_len: 48 }]);
    }
}

#[test]
fn networks_of_any_length_and_the_bound() {
    let mut table = Table::new();
    let whole = router(&[CARE_OF_1], &[(NET, 0), (NODE, 128), (NODE, 200), (NODE, 47)]);
    table.set_home(HOME, whole).unwrap();
    let lens: Vec<_> = table.networks().iter().map(|network| network.prefix_len).collect();
    assert_eq!(lens, [0, 47, 128]);
    table.set_home(HOME, None).unwrap();
    assert_eq!(table.networks(), []);
    assert_eq!(table.digest(), Table::new().digest());
    let many: Vec<_> = (0..500).map(|at| (Ipv6Addr::from_bits(at << 64), 64)).collect();
    table.set_home(HOME, router(&[CARE_OF_1], &many)).unwrap();
    assert_eq!(table.networks().len(), crate::limits::NETWORKS_PER_HOME_MAX);
}
