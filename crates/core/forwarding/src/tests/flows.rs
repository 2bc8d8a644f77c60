//! Flow bindings (RFC 6089 §5.3.6) and their selectors (RFC 6088).

use super::*;
use crate::{Flow, FlowAction, MobileNetworkV4};
use core::ops::RangeInclusive;
use homeport_wire::{BinarySelector, Selector, encapsulate_v4};

const HOME_ADDRESS_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 77);
const CORRESPONDENT_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 99);

fn v6(selector: Selector<Ipv6Addr>) -> BinarySelector {
    BinarySelector::Ipv6(selector)
}

fn to_port(ports: RangeInclusive<u16>) -> BinarySelector {
    v6(Selector { destination_port: Some(ports), ..Selector::ANY })
}

fn flow(fid: u16, priority: u16, selector: BinarySelector, bids: &[u16]) -> Flow {
    let action = FlowAction::Forward(bids.iter().map(|bid| Bid(*bid)).collect());
    Flow { fid, priority, selector, action }
}

fn discard(fid: u16, priority: u16, selector: BinarySelector) -> Flow {
    Flow { fid, priority, selector, action: FlowAction::Discard }
}

/// BID 1 (preferred), 2 and 3.
fn with_flows(flows: Vec<Flow>) -> Forwarding {
    let mut forwarding = forwarding();
    let preferred =
        ForwardingBinding { priority: BidPriority::new(5), ..binding(1, CareOf::V6(CARE_OF_1)) };
    let short = ForwardingBinding { ends: Millis(50_000), ..binding(3, CareOf::V6(CARE_OF_3)) };
    let bindings = vec![preferred, binding(2, CareOf::V6(CARE_OF_2)), short];
    let networks_v4 = vec![MobileNetworkV4 { prefix: HOME_ADDRESS_V4, prefix_len: 32 }];
    let entry = HomeEntry { flows, networks_v4, ..entry(bindings).unwrap() };
    forwarding.table_mut().set_home(HOME, Some(entry)).unwrap();
    forwarding
}

/// A datagram from port 5353 to a port of the home address.
fn datagram(port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    PacketBuilder::new(CORRESPONDENT, HOME)
        .traffic_class(0xb9)
        .flow_label(0x12345)
        .build(protocol::UDP, &[0x14, 0xe9, high, low, 0, 12, 0, 0, 1, 2, 3, 4])
}

/// The care-of addresses that copies go to, sorted.
fn ways(forwarding: &mut Forwarding, now: Millis, packet: &[u8]) -> Vec<Ipv6Addr> {
    let actions = forwarding.handle(now, Ingress::Ip(packet));
    let mut ways: Vec<_> = actions
        .iter()
        .map(|action| match action {
            Action::SendIpv6(outer) => walked(outer).header.destination,
            other => panic!("{other:?}"),
        })
        .collect();
    ways.sort_unstable();
    ways
}

#[test]
fn the_first_flow_in_the_order_of_priority_decides() {
    let mut forwarding = with_flows(vec![
        flow(1, 30, to_port(0..=u16::MAX), &[3]),
        flow(2, 10, to_port(5060..=5060), &[2]),
        flow(3, 20, to_port(5000..=6000), &[1]),
    ]);
    assert_eq!(ways(&mut forwarding, NOW, &datagram(5060)), [CARE_OF_2]);
    assert_eq!(ways(&mut forwarding, NOW, &datagram(5061)), [CARE_OF_1]);
    assert_eq!(ways(&mut forwarding, NOW, &datagram(80)), [CARE_OF_3]);
    // No ports: no flow, so the preferred binding.
    let none = PacketBuilder::new(CORRESPONDENT, HOME).build(protocol::NO_NEXT, &[]);
    assert_eq!(ways(&mut forwarding, NOW, &none), [CARE_OF_1]);
}

#[test]
fn each_named_binding_in_force_gets_a_copy() {
    let mut forwarding = with_flows(vec![flow(1, 1, to_port(5060..=5060), &[3, 2, 3, 9])]);
    let packet = datagram(5060);
    let actions = handle(&mut forwarding, &packet);
    assert_eq!(actions.len(), 2);
    for action in &actions {
        let Action::SendIpv6(outer) = action else { panic!("{actions:?}") };
        assert_eq!(opened(outer).1, one_hop_less(&packet));
    }
    assert_eq!(ways(&mut forwarding, NOW, &packet), [CARE_OF_2, CARE_OF_3]);
    // One of them ends.
    assert_eq!(ways(&mut forwarding, Millis(50_000), &packet), [CARE_OF_2]);
}

#[test]
fn a_flow_without_binding_in_force_does_not_count() {
    let mut forwarding = with_flows(vec![
        flow(1, 1, to_port(5060..=5060), &[3]),
        flow(2, 2, to_port(5060..=5060), &[2]),
        flow(3, 3, to_port(7..=7), &[3, 4]),
    ]);
    assert_eq!(ways(&mut forwarding, NOW, &datagram(5060)), [CARE_OF_3]);
    assert_eq!(ways(&mut forwarding, Millis(50_000), &datagram(5060)), [CARE_OF_2]);
    assert_eq!(ways(&mut forwarding, Millis(50_000), &datagram(7)), [CARE_OF_1], "BID-PRI");
}

#[test]
fn what_is_to_be_discarded_is_dropped_and_counted() {
    let mut forwarding =
        with_flows(vec![discard(1, 1, to_port(9..=9)), flow(2, 2, to_port(9..=10), &[2])]);
    let dropped = [Action::Drop(DropReason::FlowDiscarded)];
    assert_eq!(handle(&mut forwarding, &datagram(9)), dropped);
    assert_eq!(ways(&mut forwarding, NOW, &datagram(10)), [CARE_OF_2]);
    // What the home agent says itself is no flow.
    let all = v6(Selector::ANY);
    let mut forwarding = with_flows(vec![discard(1, 1, all)]);
    let outer = tunnelled(CARE_OF_2, &echo_request(HOME, AGENT));
    let actions = handle(&mut forwarding, &outer);
    assert_eq!(opened(sent(&actions)).0, CARE_OF_1);
}

#[test]
fn every_field_of_an_ipv6_selector() {
    let any = Selector::<Ipv6Addr>::ANY;
    let up = |address: Ipv6Addr| Ipv6Addr::from_bits(address.to_bits() + 1);
    let down = |address: Ipv6Addr| Ipv6Addr::from_bits(address.to_bits() - 1);
    let rows = [
        ("any", any.clone(), true),
        ("source", Selector { source: Some(CORRESPONDENT..=CORRESPONDENT), ..any.clone() }, true),
        (
            "up to the source",
            Selector { source: Some(PREFIX..=CORRESPONDENT), ..any.clone() },
            true,
        ),
        (
            "other source",
            Selector { source: Some(PREFIX..=down(CORRESPONDENT)), ..any.clone() },
            false,
        ),
        ("destination", Selector { destination: Some(HOME..=up(HOME)), ..any.clone() }, true),
        (
            "other destination",
            Selector { destination: Some(up(HOME)..=HOME_V4), ..any.clone() },
            false,
        ),
        ("source port", Selector { source_port: Some(5353..=5353), ..any.clone() }, true),
        ("other source port", Selector { source_port: Some(0..=5352), ..any.clone() }, false),
        ("destination port", Selector { destination_port: Some(5060..=5061), ..any.clone() }, true),
        (
            "other destination port",
            Selector { destination_port: Some(5061..=9999), ..any.clone() },
            false,
        ),
        (
            "turned range",
            Selector { destination_port: Some(RangeInclusive::new(5061, 5059)), ..any.clone() },
            false,
        ),
        ("protocol", Selector { protocol: Some(6..=17), ..any.clone() }, true),
        ("other protocol", Selector { protocol: Some(6..=6), ..any.clone() }, false),
        (
            "DSCP whatever the marks",
            Selector { traffic_class: Some(0xb8..=0xb8), ..any.clone() },
            true,
        ),
        ("other DSCP", Selector { traffic_class: Some(0xbc..=0xff), ..any.clone() }, false),
        ("label", Selector { flow_label: Some(0x12345..=0x12345), ..any.clone() }, true),
        (
            "label of 24 bits",
            Selector { flow_label: Some(0xff_12345..=0xff_12345), ..any.clone() },
            true,
        ),
        ("other label", Selector { flow_label: Some(0x12346..=0x12346), ..any.clone() }, false),
        ("SPI of what has none", Selector { spi: Some(0..=u32::MAX), ..any.clone() }, false),
    ];
    for (what, selector, matches) in rows {
        let mut forwarding = with_flows(vec![flow(1, 1, v6(selector), &[2])]);
        let expected = if matches { CARE_OF_2 } else { CARE_OF_1 };
        assert_eq!(ways(&mut forwarding, NOW, &datagram(5060)), [expected], "{what}");
    }
    let mut ipv4_only = with_flows(vec![flow(1, 1, BinarySelector::Ipv4(Selector::ANY), &[2])]);
    assert_eq!(ways(&mut ipv4_only, NOW, &datagram(5060)), [CARE_OF_1], "another family");
}

#[test]
fn security_parameter_indices() {
    let selector = v6(Selector { spi: Some(0x1000..=0x1fff), ..Selector::ANY });
    let mut forwarding = with_flows(vec![flow(1, 1, selector, &[2])]);
    let esp = |spi: u32| {
        let mut payload = spi.to_be_bytes().to_vec();
        payload.resize(32, 0);
        PacketBuilder::new(CORRESPONDENT, HOME).build(protocol::ESP, &payload)
    };
    let ah = |spi: u32| {
        let mut payload = vec![protocol::TCP, 4, 0, 0];
        payload.extend_from_slice(&spi.to_be_bytes());
        payload.resize(32, 0);
        PacketBuilder::new(CORRESPONDENT, HOME).build(protocol::AH, &payload)
    };
    for (spi, expected) in [(0x1000, CARE_OF_2), (0x1fff, CARE_OF_2), (0x2000, CARE_OF_1)] {
        assert_eq!(ways(&mut forwarding, NOW, &esp(spi)), [expected]);
        assert_eq!(ways(&mut forwarding, NOW, &ah(spi)), [expected]);
    }
}

#[test]
fn ports_behind_extension_headers() {
    let mut forwarding = with_flows(vec![flow(1, 1, to_port(5060..=5060), &[2])]);
    let mut payload = vec![protocol::UDP, 0, 1, 4, 0, 0, 0, 0];
    payload.extend_from_slice(&datagram(5060)[40..]);
    let behind =
        PacketBuilder::new(CORRESPONDENT, HOME).build(protocol::DESTINATION_OPTIONS, &payload);
    assert_eq!(ways(&mut forwarding, NOW, &behind), [CARE_OF_2]);
    let cut = PacketBuilder::new(CORRESPONDENT, HOME)
        .build(protocol::DESTINATION_OPTIONS, &[protocol::UDP, 9, 1, 4, 0, 0, 0, 0]);
    assert_eq!(ways(&mut forwarding, NOW, &cut), [CARE_OF_1]);
}

fn fragment(identification: u32, offset: u16, more: bool, data: &[u8]) -> Vec<u8> {
    let mut payload = vec![protocol::UDP, 0];
    payload.extend_from_slice(&(offset | u16::from(more)).to_be_bytes());
    payload.extend_from_slice(&identification.to_be_bytes());
    payload.extend_from_slice(data);
    PacketBuilder::new(CORRESPONDENT, HOME).build(protocol::FRAGMENT, &payload)
}

#[test]
fn later_fragments_follow_the_first() {
    let mut forwarding = with_flows(vec![
        flow(1, 1, to_port(5060..=5060), &[2]),
        flow(2, 2, v6(Selector { protocol: Some(17..=17), ..Selector::ANY }), &[3]),
    ]);
    let head = &datagram(5060)[40..48];
    assert_eq!(ways(&mut forwarding, NOW, &fragment(7, 0, true, head)), [CARE_OF_2]);
    assert_eq!(ways(&mut forwarding, NOW, &fragment(7, 8, true, &[9; 8])), [CARE_OF_2]);
    assert_eq!(ways(&mut forwarding, NOW, &fragment(7, 16, false, &[9; 3])), [CARE_OF_2]);
    // Another packet, whose first fragment was not seen here.
    assert_eq!(ways(&mut forwarding, NOW, &fragment(8, 8, false, &[9; 3])), [CARE_OF_3]);
    // Much later the identification is another packet's.
    let later = Millis(NOW.0 + crate::limits::FRAGMENTS_AGE_MS);
    assert_eq!(ways(&mut forwarding, later, &fragment(7, 8, false, &[9; 3])).len(), 1);
    let mut changed = with_flows(vec![]);
    assert_eq!(ways(&mut changed, NOW, &fragment(7, 8, false, &[9; 3])), [CARE_OF_1]);
}

#[test]
fn the_memory_of_fragments_is_bounded() {
    let mut forwarding = with_flows(vec![flow(1, 1, to_port(5060..=5060), &[2])]);
    let head = &datagram(5060)[40..48];
    let bound = u32::try_from(crate::limits::FRAGMENT_FLOWS_MAX).unwrap();
    for identification in 0..=bound {
        let _ = handle(&mut forwarding, &fragment(identification, 0, true, head));
    }
    let later =
        |forwarding: &mut Forwarding, id| ways(forwarding, NOW, &fragment(id, 8, false, &[9; 3]));
    assert_eq!(later(&mut forwarding, 0), [CARE_OF_2]);
    assert_eq!(later(&mut forwarding, bound), [CARE_OF_1], "not remembered");
}

#[test]
fn a_packet_that_one_tunnel_does_not_take_goes_through_none() {
    let mut forwarding = with_flows(vec![flow(1, 1, v6(Selector::ANY), &[2, 3])]);
    let first = sent(&handle(&mut with_flows(vec![]), &sized(CORRESPONDENT, HOME, 1400))).to_vec();
    let mut narrow = first;
    narrow[24..40].copy_from_slice(&CARE_OF_3.octets());
    let message = Icmpv6::PacketTooBig { mtu: 1400, invoking: &narrow };
    let error = PacketBuilder::new(CORRESPONDENT, AGENT)
        .build(protocol::ICMPV6, &message.emit(CORRESPONDENT, AGENT));
    let _ = handle(&mut forwarding, &error);
    let actions = handle(&mut forwarding, &sized(CORRESPONDENT, HOME, 1361));
    assert_eq!(drops(&actions), [DropReason::PacketTooBig]);
    assert!(matches!(icmpv6(sent(&actions)), Icmpv6::PacketTooBig { mtu: 1360, .. }));
    assert_eq!(
        ways(&mut forwarding, NOW, &sized(CORRESPONDENT, HOME, 1360)),
        [CARE_OF_2, CARE_OF_3]
    );
}

#[test]
fn ipv4_packets_have_flows_too() {
    let udp = |port: u16, tos: u8| {
        let [high, low] = port.to_be_bytes();
        let payload = [0x14, 0xe9, high, low, 0, 8, 0, 0];
        encapsulate_v4(&payload, protocol::UDP, CORRESPONDENT_V4, HOME_ADDRESS_V4, 64, tos)
    };
    let any = Selector::<Ipv4Addr>::ANY;
    let rows = [
        ("any", any.clone(), true),
        (
            "source",
            Selector { source: Some(CORRESPONDENT_V4..=CORRESPONDENT_V4), ..any.clone() },
            true,
        ),
        (
            "other source",
            Selector { source: Some(AGENT_V4..=HOME_ADDRESS_V4), ..any.clone() },
            false,
        ),
        (
            "destination",
            Selector { destination: Some(AGENT_V4..=HOME_ADDRESS_V4), ..any.clone() },
            true,
        ),
        ("port", Selector { destination_port: Some(5060..=5060), ..any.clone() }, true),
        ("other port", Selector { source_port: Some(1..=5), ..any.clone() }, false),
        ("DS", Selector { traffic_class: Some(0xb8..=0xb8), ..any.clone() }, true),
        ("other protocol", Selector { protocol: Some(6..=6), ..any.clone() }, false),
    ];
    for (what, selector, matches) in rows {
        let flows = vec![flow(1, 1, BinarySelector::Ipv4(selector), &[2])];
        let mut forwarding = with_flows(flows);
        let expected = if matches { CARE_OF_2 } else { CARE_OF_1 };
        assert_eq!(ways(&mut forwarding, NOW, &udp(5060, 0xb9)), [expected], "{what}");
    }
    let all = vec![discard(1, 1, BinarySelector::Ipv4(Selector::ANY))];
    let dropped = [Action::Drop(DropReason::FlowDiscarded)];
    assert_eq!(handle(&mut with_flows(all), &udp(1, 0)), dropped);
}

#[test]
fn flows_are_in_the_digest_and_their_order_is_not() {
    let flows = vec![
        flow(1, 30, to_port(1..=2), &[3]),
        flow(2, 10, to_port(5060..=5060), &[2]),
        discard(3, 20, to_port(7..=7)),
    ];
    let digest = |flows: Vec<Flow>| with_flows(flows).table().digest();
    let reference = digest(flows.clone());
    assert_eq!(digest(flows.iter().rev().cloned().collect()), reference);
    let changed: [fn(&mut Flow); 5] = [
        |flow| flow.fid = 9,
        |flow| flow.priority = 9,
        |flow| flow.selector = to_port(1..=3),
        |flow| flow.action = FlowAction::Discard,
        |flow| flow.action = FlowAction::Forward(vec![Bid(2)]),
    ];
    for change in changed {
        let mut flows = flows.clone();
        change(&mut flows[0]);
        assert_ne!(digest(flows), reference);
    }
    assert_ne!(digest(flows[1..].to_vec()), reference);
}

#[test]
fn flows_beyond_the_bound_are_cut_off_from_the_end() {
    let many = (0..1000).rev().map(|at| flow(at, at, to_port(at..=at), &[2])).collect();
    let mut forwarding = with_flows(many);
    let last = u16::try_from(crate::limits::FLOWS_PER_HOME_MAX).unwrap() - 1;
    assert_eq!(ways(&mut forwarding, NOW, &datagram(last)), [CARE_OF_2]);
    assert_eq!(ways(&mut forwarding, NOW, &datagram(last + 1)), [CARE_OF_1]);
}
