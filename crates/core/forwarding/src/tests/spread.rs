//! Flows spread over bindings (RFC 5648 §3, RFC 6089 §5.3.6): as its weights say, the same everywhere, and
//! as few as possible move.

use super::*;
use crate::Spread;

const FLOWS: u16 = 6000;
const CARE_OFS: [Ipv6Addr; 3] = [CARE_OF_1, CARE_OF_2, CARE_OF_3];

fn spreading(weights: &[(u16, u8)], bids: &[u16]) -> Forwarding {
    let mut spread = Spread::default();
    for (bid, weight) in weights {
        assert!(spread.set_weight(Bid(*bid), *weight));
    }
    let mut forwarding = forwarding_with(Config { spread: Some(spread), ..Config::default() });
    set(&mut forwarding, bids);
    forwarding
}

fn set(forwarding: &mut Forwarding, bids: &[u16]) {
    let of = |bid: &u16| ForwardingBinding {
        verified: 100 - u64::from(*bid),
        ..binding(*bid, CareOf::V6(CARE_OFS[usize::from(*bid) - 1]))
    };
    forwarding.table_mut().set_home(HOME, entry(bids.iter().map(of).collect())).unwrap();
}

fn datagram_of(port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    let payload = [high, low, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4];
    PacketBuilder::new(CORRESPONDENT, HOME).build(protocol::UDP, &payload)
}

/// Where each flow goes.
fn ways(forwarding: &mut Forwarding) -> Vec<Ipv6Addr> {
    let way = |port| opened(sent(&handle(forwarding, &datagram_of(port)))).0;
    (1..=FLOWS).map(way).collect()
}

fn count(ways: &[Ipv6Addr], care_of: Ipv6Addr) -> usize {
    ways.iter().filter(|it| **it == care_of).count()
}

fn moved(before: &[Ipv6Addr], after: &[Ipv6Addr]) -> Vec<(Ipv6Addr, Ipv6Addr)> {
    before.iter().copied().zip(after.iter().copied()).filter(|(one, other)| one != other).collect()
}

#[test]
fn shares_are_as_the_weights_say_and_a_flow_keeps_its_way() {
    for (weights, shares) in
        [(vec![], [2000, 2000, 2000]), (vec![(1, 3), (3, 2)], [3000, 1000, 2000])]
    {
        let mut forwarding = spreading(&weights, &[1, 2, 3]);
        let first = ways(&mut forwarding);
        for (care_of, share) in CARE_OFS.into_iter().zip(shares) {
            // Five times the standard deviation of so many throws.
            assert!(count(&first, care_of).abs_diff(share) < 200, "{care_of}: {weights:?}");
        }
        assert_eq!(ways(&mut forwarding), first);
        // Whatever data came by, and in which order bindings became known.
        let up = tunnelled(CARE_OF_3, &packet(HOME, CORRESPONDENT));
        assert_eq!(handle(&mut forwarding, &up).len(), 1);
        assert_eq!(ways(&mut forwarding), first);
        assert_eq!(ways(&mut spreading(&weights, &[3, 1, 2])), first, "another forwarder");
    }
}

#[test]
fn who_goes_or_comes_moves_only_flows_of_its_own() {
    let mut forwarding = spreading(&[(2, 2)], &[1, 2, 3]);
    let all = ways(&mut forwarding);
    set(&mut forwarding, &[1, 3]);
    let without = ways(&mut forwarding);
    let moves = moved(&all, &without);
    assert_eq!(moves.len(), count(&all, CARE_OF_2));
    assert!(moves.iter().all(|(before, _)| *before == CARE_OF_2));
    set(&mut forwarding, &[1, 2, 3]);
    assert_eq!(ways(&mut forwarding), all, "and back");
}

#[test]
fn a_larger_weight_only_takes() {
    let before = ways(&mut spreading(&[], &[1, 2, 3]));
    let after = ways(&mut spreading(&[(2, 2)], &[1, 2, 3]));
    let moves = moved(&before, &after);
    assert!(moves.iter().all(|(_, after)| *after == CARE_OF_2));
    assert!(moves.len().abs_diff(1000) < 200, "{}", moves.len());
}

#[test]
fn a_binding_that_moves_keeps_its_flows() {
    let mut forwarding = spreading(&[], &[1, 2]);
    let before = ways(&mut forwarding);
    let elsewhere = Ipv6Addr::new(0x2001, 0xdb8, 0xd, 0, 0, 0, 0, 0x44);
    let bindings = vec![binding(1, CareOf::V6(CARE_OF_1)), binding(2, CareOf::V6(elsewhere))];
    forwarding.table_mut().set_home(HOME, entry(bindings)).unwrap();
    let after = ways(&mut forwarding);
    assert!(moved(&before, &after).iter().all(|it| *it == (CARE_OF_2, elsewhere)));
}

#[test]
fn a_better_priority_goes_first_and_fragments_stay_together() {
    let mut forwarding = spreading(&[], &[1, 2, 3]);
    let mut bindings = Vec::new();
    for (bid, priority) in [(1, 5), (2, 5), (3, 9)] {
        let priority = BidPriority::new(priority);
        let care_of = CareOf::V6(CARE_OFS[usize::from(bid) - 1]);
        bindings.push(ForwardingBinding { priority, ..binding(bid, care_of) });
    }
    forwarding.table_mut().set_home(HOME, entry(bindings)).unwrap();
    let ways = ways(&mut forwarding);
    assert_eq!(count(&ways, CARE_OF_3), 0);
    assert!(count(&ways, CARE_OF_1) > 2000 && count(&ways, CARE_OF_2) > 2000);
    for identification in 0..50_u8 {
        let fragment = |offset: u8, more: u8| {
            let head = [protocol::UDP, 0, 0, offset | more, 0, 0, 0, identification];
            let payload = [&head[..], &[identification; 16]].concat();
            PacketBuilder::new(CORRESPONDENT, HOME).build(protocol::FRAGMENT, &payload)
        };
        let mut way = |packet: &[u8]| opened(sent(&handle(&mut forwarding, packet))).0;
        assert_eq!(way(&fragment(0, 1)), way(&fragment(16, 0)), "{identification}");
    }
}

#[test]
fn weights_are_bounded() {
    let mut spread = Spread::default();
    for bid in 0..8 {
        assert!(spread.set_weight(Bid(bid), 200));
    }
    assert!(!spread.set_weight(Bid(8), 1), "no room");
    assert!(spread.set_weight(Bid(7), 0), "its own place");
}

#[test]
fn xdp_leaves_what_is_spread_to_the_core() {
    let forwarding = spreading(&[], &[1, 2]);
    assert!(forwarding.fast(NOW, HOME).unwrap().down.is_none());
    let alone = spreading(&[], &[1]);
    assert!(alone.fast(NOW, HOME).unwrap().down.is_some(), "there is nothing to spread over");
}
