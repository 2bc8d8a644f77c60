//! Flow bindings: what the node tells, what it makes of the answers, and which way packets go.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use homeport_mobile::{Command, Event, Flow, Outcome, Transmit};
use homeport_wire::{
    Bid, BinarySelector, FlowStatus, PacketBuilder, PseudoHeader, Selector, Status, UdpHeader,
    encapsulate_v4, protocol,
};

use crate::support::*;

const ANY_V6: Selector<Ipv6Addr> = Selector::ANY;

/// A flow of answers from this UDP port.
fn flow(fid: u16, priority: u16, port: u16, bids: &[u16]) -> Flow {
    let selector = Selector {
        source_port: Some(port..=port),
        protocol: Some(protocol::UDP..=protocol::UDP),
        ..ANY_V6
    };
    let bids = bids.iter().copied().map(Bid).collect();
    Flow { fid, priority, selector: BinarySelector::Ipv6(selector), bids }
}

fn set(lab: &mut Lab, flows: &[Flow]) {
    lab.command(Command::SetFlows { flows: flows.to_vec() });
}

fn answer_flows(lab: &mut Lab, seen: &Seen, flows: &[(u16, u8)]) {
    let bids: Vec<_> = seen.names().into_iter().map(|bid| (bid, Status::ACCEPTED)).collect();
    let flows = flows.iter().map(|(fid, status)| (*fid, FlowStatus(*status))).collect();
    lab.deliver(&Answer { flows, ..Answer::to(seen, Status::ACCEPTED, &bids) }, seen.path);
}

/// A node with two bindings and these flows accepted.
fn lab(flows: &[Flow]) -> Lab {
    let mut lab = Lab::registered(settings(), &[address(1, COA1), address(2, COA2)]);
    set(&mut lab, flows);
    let seen = lab.update();
    let answers: Vec<_> = seen.flows.iter().map(|fid| (*fid, 0)).collect();
    answer_flows(&mut lab, &seen, &answers);
    lab.take();
    lab
}

fn udp_to(port: u16) -> Vec<u8> {
    let header = UdpHeader { source_port: 4000, destination_port: port };
    let datagram = header.emit_v6(PseudoHeader::udp(HOME, CORRESPONDENT), b"data");
    PacketBuilder::new(HOME, CORRESPONDENT).build(protocol::UDP, &datagram)
}

fn way(lab: &Lab, packet: &[u8]) -> IpAddr {
    match lab.node.encapsulate(None, packet).unwrap() {
        Transmit::Ipv6 { from, .. } => from.into(),
        Transmit::Udp { from, .. } | Transmit::Ipv4 { from, .. } => from.into(),
    }
}

fn ip(care_of: homeport_mobile::CareOf) -> IpAddr {
    care_of.to_string().parse().unwrap()
}

#[test]
fn flows_wait_for_their_bindings_and_are_named_afterwards() {
    let mut lab = Lab::new(settings());
    set(&mut lab, &[flow(1, 10, 53, &[1]), flow(2, 20, 80, &[2])]);
    lab.register(&[address(1, COA1), address(2, COA2)], false);
    let first = lab.update();
    assert_eq!((first.flows.clone(), first.flow_summary.clone()), (vec![1], vec![]));
    answer_flows(&mut lab, &first, &[(1, 0)]);
    let second = lab.update();
    assert_eq!((second.flows.clone(), second.flow_summary.clone()), (vec![2], vec![1]));
    answer_flows(&mut lab, &second, &[(2, 0)]);
    assert_eq!(lab.node.flows(), [1, 2]);
    // Named in an update that ends a binding too, or the home agent would delete them.
    lab.command(Command::Deregister { bids: vec![Bid(2)], bulk: false });
    let last = lab.update();
    assert_eq!((last.flows, last.flow_summary), (vec![], vec![1, 2]));
}

#[test]
fn many_flows_go_in_several_updates() {
    let flows: Vec<Flow> = (1..=10).map(|fid| flow(fid, fid, 1000 + fid, &[1])).collect();
    let mut lab = Lab::registered(settings(), &[address(1, COA1)]);
    set(&mut lab, &flows);
    let mut told = Vec::new();
    for _ in 0..3 {
        let seen = lab.update();
        told.push(seen.flows.len());
        let answers: Vec<_> = seen.flows.iter().map(|fid| (*fid, 0)).collect();
        answer_flows(&mut lab, &seen, &answers);
    }
    assert_eq!(told, [4, 4, 2]);
    assert_eq!(lab.node.flows().len(), 10);
    assert!(lab.updates().is_empty());
}

#[test]
fn what_each_status_does() {
    // Status, and whether the flow is told again with the next update.
    for (status, again) in
        [(0, false), (128, false), (129, true), (130, false), (131, true), (133, false)]
    {
        let mut lab = Lab::registered(settings(), &[address(1, COA1)]);
        set(&mut lab, &[flow(7, 1, 53, &[1])]);
        let seen = lab.update();
        answer_flows(&mut lab, &seen, &[(7, status)]);
        let told = Event::Flow { fid: 7, status: FlowStatus(status) };
        assert!(lab.events().contains(&told), "{status}");
        assert!(lab.updates().is_empty(), "{status} makes no update of its own");
        lab.command(Command::Refresh { bids: vec![], bulk: false });
        let next = lab.update();
        assert_eq!(next.flows.contains(&7), again, "{status}");
        assert_eq!(next.flow_summary.contains(&7), status == 0, "{status}");
    }
}

#[test]
fn a_home_agent_that_skips_the_options_is_not_asked_again() {
    let mut lab = Lab::registered(settings(), &[address(1, COA1)]);
    set(&mut lab, &[flow(7, 1, 53, &[1])]);
    let seen = lab.update();
    lab.accept(&seen);
    assert!(lab.events().iter().any(|event| matches!(event, Event::Flow { fid: 7, .. })));
    lab.command(Command::Refresh { bids: vec![], bulk: false });
    assert_eq!(lab.update().options, ["bid"]);
}

#[test]
fn a_refused_update_leaves_the_flows() {
    let mut lab = lab(&[flow(7, 1, 53, &[1])]);
    lab.command(Command::Refresh { bids: vec![Bid(1)], bulk: false });
    let seen = lab.update();
    lab.refuse(&seen, Status::INSUFFICIENT_RESOURCES);
    assert_eq!(lab.node.flows(), [7]);
}

#[test]
fn packets_go_by_flow_then_by_priority() {
    let lab = lab(&[flow(1, 20, 53, &[1]), flow(2, 10, 80, &[2]), flow(3, 30, 80, &[1])]);
    for (port, care_of) in [(53, COA1), (80, COA2)] {
        assert_eq!(way(&lab, &udp_to(port)), ip(care_of), "port {port}");
    }
    let other = PacketBuilder::new(HOME, CORRESPONDENT).build(protocol::NO_NEXT, &[]);
    assert_eq!(way(&lab, &other), way(&lab, &udp_to(81)));
}

#[test]
fn a_flow_whose_binding_is_gone_takes_the_next_that_matches() {
    let mut lab = lab(&[flow(2, 10, 80, &[9, 2]), flow(3, 30, 80, &[1])]);
    assert_eq!(way(&lab, &udp_to(80)), ip(COA1), "flow 2 was never told: BID 9 does not exist");
    set(&mut lab, &[flow(2, 10, 80, &[2, 1]), flow(3, 30, 80, &[1])]);
    let seen = lab.update();
    answer_flows(&mut lab, &seen, &[(2, 0)]);
    assert_eq!(way(&lab, &udp_to(80)), ip(COA2));
    lab.command(Command::Deregister { bids: vec![Bid(2)], bulk: false });
    assert_eq!(way(&lab, &udp_to(80)), ip(COA1));
}

#[test]
fn flows_without_sense_are_refused() {
    let good = flow(1, 10, 53, &[1]);
    let rows = [
        vec![flow(0, 10, 53, &[1])],
        vec![flow(1, 0, 53, &[1])],
        vec![flow(1, 10, 53, &[])],
        vec![flow(1, 10, 53, &[0])],
        vec![good.clone(), flow(1, 11, 53, &[1])],
        vec![good.clone(), flow(2, 10, 53, &[1])],
        (1..=65).map(|fid| flow(fid, fid, 53, &[1])).collect(),
    ];
    for flows in rows {
        let mut lab = Lab::new(settings());
        let request = lab.command(Command::SetFlows { flows: flows.clone() });
        assert_eq!(lab.results(request), [(None, Outcome::Invalid)], "{flows:?}");
    }
    let mut lab = Lab::new(settings());
    let request = lab.command(Command::SetFlows { flows: vec![good] });
    assert_eq!(lab.results(request), []);
}

/// What a selector says about the packet, for IPv6.
#[test]
fn selectors_by_table() {
    let mut packet = udp_to(53);
    // Traffic class 0xb8 with a congestion mark, flow label 0x12345.
    packet[0..4].copy_from_slice(&[0x6b, 0x91, 0x23, 0x45]);
    let low = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 0);
    let rows: [(&str, Selector<Ipv6Addr>, bool); 12] = [
        ("any", ANY_V6, true),
        (
            "source is the correspondent",
            Selector { source: Some(low..=CORRESPONDENT), ..ANY_V6 },
            true,
        ),
        ("source is not the node", Selector { source: Some(HOME..=HOME), ..ANY_V6 }, false),
        ("destination", Selector { destination: Some(HOME..=HOME), ..ANY_V6 }, true),
        ("port there", Selector { source_port: Some(50..=53), ..ANY_V6 }, true),
        ("port there, above", Selector { source_port: Some(54..=99), ..ANY_V6 }, false),
        ("port here", Selector { destination_port: Some(4000..=4000), ..ANY_V6 }, true),
        ("class", Selector { traffic_class: Some(0xb8..=0xb8), ..ANY_V6 }, true),
        ("class with a mark", Selector { traffic_class: Some(0xbb..=0xbb), ..ANY_V6 }, true),
        ("label", Selector { flow_label: Some(0x12345..=0x12345), ..ANY_V6 }, true),
        ("SPI of what has none", Selector { spi: Some(0..=u32::MAX), ..ANY_V6 }, false),
        ("protocol", Selector { protocol: Some(6..=16), ..ANY_V6 }, false),
    ];
    for (name, selector, expected) in rows {
        let flow = Flow {
            fid: 1,
            priority: 1,
            selector: BinarySelector::Ipv6(selector),
            bids: vec![Bid(2)],
        };
        let mut lab = lab(&[flow]);
        // Without the flow everything goes by BID 1, verified last.
        lab.now += 10;
        lab.command(Command::Refresh { bids: vec![Bid(1)], bulk: false });
        let seen = lab.update();
        lab.accept(&seen);
        let expected = if expected { COA2 } else { COA1 };
        assert_eq!(way(&lab, &packet), ip(expected), "{name}");
    }
}

#[test]
fn an_ipv6_selector_does_not_match_ipv4() {
    let (own, there) = (Ipv4Addr::new(198, 51, 100, 77), Ipv4Addr::new(203, 0, 113, 9));
    let packet = encapsulate_v4(&[0; 8], protocol::UDP, own, there, 64, 0);
    // The source is not the node's: nothing to choose, and no panic.
    let lab = lab(&[flow(1, 1, 53, &[1])]);
    assert!(lab.node.encapsulate(None, &packet).is_err());
}
