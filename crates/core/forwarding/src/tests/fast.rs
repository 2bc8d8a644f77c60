//! What a path without rules may do: less than the table, never something else.

use super::*;
use crate::{Fast, FastDown, Flow, FlowAction};
use homeport_wire::{BinarySelector, Selector};

fn following() -> Forwarding {
    forwarding_with(Config { follow_moves: true, ..Config::default() })
}

fn with(bindings: Vec<ForwardingBinding>) -> Forwarding {
    let mut forwarding = following();
    forwarding.table_mut().set_home(HOME, entry(bindings)).unwrap();
    forwarding
}

fn fast(forwarding: &Forwarding) -> Option<Fast> {
    forwarding.fast(NOW, HOME)
}

#[test]
fn one_binding_goes_both_ways() {
    let forwarding = with(vec![binding(1, CareOf::V6(CARE_OF_1))]);
    let down = Some(FastDown { agent: AGENT, care_of: CARE_OF_1, room: 1460 });
    let up = vec![(CARE_OF_1, true)];
    assert_eq!(fast(&forwarding), Some(Fast { until: ENDS, down, up, up_is_all: true }));
}

#[test]
fn it_lapses_where_a_refresh_may_be_asked_for() {
    let refreshed = ForwardingBinding {
        lifetime_ms: 400_000,
        ends: Millis(300_000),
        ..binding(1, CareOf::V6(CARE_OF_1))
    };
    let forwarding = with(vec![refreshed]);
    assert_eq!(fast(&forwarding).unwrap().until, Millis(260_000));
    assert_eq!(forwarding.fast(Millis(260_000), HOME), None);
}

#[test]
fn equal_bindings_are_followed_packet_by_packet_until_one_is_used() {
    let mut forwarding = following();
    let before = fast(&forwarding).unwrap();
    assert_eq!(before.up, [(CARE_OF_1, false), (CARE_OF_2, false)]);
    let up = tunnelled(CARE_OF_2, &packet(HOME, CORRESPONDENT));
    assert_eq!(handle(&mut forwarding, &up).len(), 1);
    assert_eq!(forwarding.take_moved(), Some(vec![HOME]));
    let after = fast(&forwarding).unwrap();
    assert_eq!(after.down.unwrap().care_of, CARE_OF_2);
    assert_eq!(after.up, [(CARE_OF_2, true), (CARE_OF_1, false)]);
    // The same again teaches nothing.
    assert_eq!(handle(&mut forwarding, &up).len(), 1);
    assert_eq!(forwarding.take_moved(), Some(vec![]));
}

#[test]
fn what_needs_a_look_is_not_said() {
    let plain = || binding(1, CareOf::V6(CARE_OF_1));
    let down = |forwarding: &Forwarding| fast(forwarding).unwrap().down;
    // IPv4, on our own link, at the home agent.
    let v4 = CareOf::V4 { address: *NAT.ip(), port: NAT.port() };
    for care_of in [v4, CareOf::V6(UNBOUND), CareOf::V6(AGENT)] {
        assert_eq!(down(&with(vec![binding(1, care_of)])), None, "{care_of:?}");
    }
    // Flows.
    let mut flows = entry(vec![plain()]).unwrap();
    let selector = BinarySelector::Ipv6(Selector::ANY);
    flows.flows.push(Flow { fid: 1, priority: 1, selector, action: FlowAction::Discard });
    let mut forwarding = following();
    forwarding.table_mut().set_home(HOME, Some(flows)).unwrap();
    assert_eq!(down(&forwarding), None);
    assert_eq!(fast(&forwarding).unwrap().up, [(CARE_OF_1, true)]);
    // At home; nothing bound; ended.
    assert_eq!(fast(&with(vec![ForwardingBinding { home: true, ..plain() }])), None);
    assert_eq!(forwarding.fast(NOW, UNBOUND), None);
    assert_eq!(forwarding.fast(ENDS, HOME), None);
}

#[test]
fn more_care_of_addresses_than_fit_are_not_all() {
    let care_ofs = [CARE_OF_1, CARE_OF_2, CARE_OF_3];
    let bindings = (1..).zip(care_ofs).map(|(bid, it)| binding(bid, CareOf::V6(it)));
    let forwarding = with(bindings.collect());
    let fast = fast(&forwarding).unwrap();
    assert_eq!((fast.up.len(), fast.up_is_all), (2, false));
}

#[test]
fn too_many_moves_are_all_moves() {
    let mut forwarding = following();
    for turn in 0..=crate::limits::MOVED_MAX {
        let care_of = if turn % 2 == 0 { CARE_OF_1 } else { CARE_OF_2 };
        let up = tunnelled(care_of, &packet(HOME, CORRESPONDENT));
        assert_eq!(handle(&mut forwarding, &up).len(), 1);
    }
    assert_eq!(forwarding.take_moved(), None);
    assert_eq!(forwarding.take_moved(), Some(vec![]));
}
