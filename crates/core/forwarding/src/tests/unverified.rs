//! Care-of addresses that are not known to be the mobile node's (RFC 5648 §10): nothing goes there.

use super::*;
use crate::{Flow, FlowAction, Spread};
use homeport_wire::{BinarySelector, Selector, verification};

fn unverified(bid: u16, care_of: Ipv6Addr) -> ForwardingBinding {
    ForwardingBinding { unverified: true, ..binding(bid, CareOf::V6(care_of)) }
}

fn with(config: Config, bindings: Vec<ForwardingBinding>) -> Forwarding {
    let mut forwarding = forwarding_with(config);
    forwarding.table_mut().set_home(HOME, entry(bindings)).unwrap();
    forwarding
}

/// BID 1 is verified, BID 2 would be preferred.
fn one_of_two() -> Vec<ForwardingBinding> {
    let best = ForwardingBinding { priority: BidPriority::new(1), ..unverified(2, CARE_OF_2) };
    vec![binding(1, CareOf::V6(CARE_OF_1)), best]
}

/// The outer destinations of what is sent.
fn outer(actions: &[Action]) -> Vec<Ipv6Addr> {
    let destination = |action: &Action| match action {
        Action::SendIpv6(packet) => Some(walk(packet).unwrap().header.destination),
        _ => None,
    };
    actions.iter().filter_map(destination).collect()
}

fn answer(source: Ipv6Addr, is_away: bool, data: &[u8]) -> Vec<u8> {
    let message = Icmpv6::EchoReply { identifier: 0, sequence: 0, data }.emit(HOME, AGENT);
    let packet = PacketBuilder::new(source, AGENT).home_address_option(is_away.then_some(HOME));
    packet.build(protocol::ICMPV6, &message)
}

#[test]
fn packets_take_what_is_verified_whatever_is_preferred() {
    let mut forwarding = with(Config::default(), one_of_two());
    let down = packet(CORRESPONDENT, HOME);
    assert_eq!(outer(&handle(&mut forwarding, &down)), [CARE_OF_1]);
    // What comes from there is taken, and changes nothing.
    let up = tunnelled(CARE_OF_2, &packet(HOME, CORRESPONDENT));
    assert_eq!(outer(&handle(&mut forwarding, &up)), [CORRESPONDENT]);
    assert_eq!(outer(&handle(&mut forwarding, &down)), [CARE_OF_1]);
    let fast = forwarding.fast(NOW, HOME).unwrap();
    assert_eq!(fast.down.unwrap().care_of, CARE_OF_1);
    assert_eq!(fast.up, [(CARE_OF_1, true), (CARE_OF_2, true)]);
}

#[test]
fn without_a_verified_address_packets_are_dropped_under_a_name_of_their_own() {
    let mut forwarding = with(Config::default(), vec![unverified(1, CARE_OF_1)]);
    let unverified_only = [Action::Drop(DropReason::CareOfUnverified)];
    assert_eq!(handle(&mut forwarding, &packet(CORRESPONDENT, HOME)), unverified_only);
    assert_eq!(forwarding.answer(NOW, &packet(AGENT, HOME), None, true), unverified_only);
    assert_eq!(forwarding.fast(NOW, HOME), None);
    let up = tunnelled(CARE_OF_1, &packet(HOME, CORRESPONDENT));
    assert_eq!(outer(&handle(&mut forwarding, &up)), [CORRESPONDENT]);
    // With the lifetime it is over.
    let later = forwarding.handle(ENDS, Ingress::Ip(&packet(CORRESPONDENT, HOME)));
    assert!(drops(&later).contains(&DropReason::NotBound), "{later:?}");
}

/// A host of that address on the link does not get what is for a mobile node that is away.
#[test]
fn they_are_not_delivered_on_a_home_link_either() {
    let mut forwarding = with(Config::default(), vec![unverified(1, CARE_OF_1)]);
    forwarding.table_mut().set_prefix(HomePrefix { real_home_link: true, ..prefix() });
    let dropped = handle(&mut forwarding, &packet(CORRESPONDENT, HOME));
    assert_eq!(dropped, [Action::Drop(DropReason::CareOfUnverified)]);
}

#[test]
fn flows_and_what_is_spread_leave_it_out() {
    let flow = |bids: &[u16]| Flow {
        fid: 1,
        priority: 1,
        selector: BinarySelector::Ipv6(Selector::ANY),
        action: FlowAction::Forward(bids.iter().map(|bid| Bid(*bid)).collect()),
    };
    for bids in [&[1, 2][..], &[2]] {
        let mut forwarding = forwarding();
        let entry = HomeEntry { flows: vec![flow(bids)], ..entry(one_of_two()).unwrap() };
        forwarding.table_mut().set_home(HOME, Some(entry)).unwrap();
        let sent = handle(&mut forwarding, &packet(CORRESPONDENT, HOME));
        assert_eq!(outer(&sent), [CARE_OF_1], "{bids:?}");
    }
    let spread = Config { spread: Some(Spread::default()), ..Config::default() };
    let tied = vec![
        binding(1, CareOf::V6(CARE_OF_1)),
        unverified(2, CARE_OF_2),
        binding(3, CareOf::V6(CARE_OF_3)),
    ];
    let mut forwarding = with(spread, tied);
    for source in 0..200 {
        let source = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 1, source);
        let sent = outer(&handle(&mut forwarding, &packet(source, HOME)));
        assert!(sent == [CARE_OF_1] || sent == [CARE_OF_3], "{sent:?}");
    }
}

#[test]
fn an_answer_is_handed_on_while_one_is_waited_for() {
    let data = verification::data([7; 16]);
    let away = answer(CARE_OF_2, true, &data);
    let mut forwarding = with(Config::default(), one_of_two());
    let punt = |packet: &[u8], tunnelled| {
        let packet = packet.to_vec();
        [Action::Punt(Punt { outer: None, tunnelled, bound: true, sender: HOME, packet })]
    };
    assert_eq!(handle(&mut forwarding, &away), punt(&away, false));
    let inner = answer(HOME, false, &data);
    assert_eq!(handle(&mut forwarding, &tunnelled(CARE_OF_1, &inner)), punt(&inner, true));
    // What anybody can send, or answers something else.
    let ignored = [Action::Drop(DropReason::Icmpv6Ignored)];
    assert_eq!(handle(&mut forwarding, &inner), ignored);
    assert_eq!(handle(&mut forwarding, &answer(CARE_OF_2, true, b"a ping")), ignored);
    let unbound = handle(&mut forwarding, &answer(CARE_OF_3, true, &data));
    assert!(drops(&unbound).contains(&DropReason::HomeAddressNotBound));
    let mut verified = with(Config::default(), vec![binding(1, CareOf::V6(CARE_OF_2))]);
    assert_eq!(handle(&mut verified, &away), ignored);
}

#[test]
fn a_flood_of_answers_is_stopped_before_it_costs_anybody_else() {
    let mut forwarding = with(Config::default(), one_of_two());
    let other = vec![unverified(1, CARE_OF_3)];
    forwarding.table_mut().set_home(UNBOUND, entry(other)).unwrap();
    let data = verification::data([7; 16]);
    let flood = answer(CARE_OF_2, true, &data);
    let handed_on =
        (0..1000).filter(|_| drops(&handle(&mut forwarding, &flood)).is_empty()).count();
    assert_eq!(handed_on, 64);
    let limited = handle(&mut forwarding, &flood);
    assert_eq!(limited, [Action::Drop(DropReason::CareOfAnswerRateLimited)]);
    let message = Icmpv6::EchoReply { identifier: 0, sequence: 0, data: &data };
    let honest = PacketBuilder::new(CARE_OF_3, AGENT)
        .home_address_option(Some(UNBOUND))
        .build(protocol::ICMPV6, &message.emit(UNBOUND, AGENT));
    assert!(drops(&handle(&mut forwarding, &honest)).is_empty());
}
