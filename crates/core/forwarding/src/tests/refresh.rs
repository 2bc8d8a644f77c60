//! Binding Refresh Requests (RFC 6275 §9.5.5, RFC 5648 §6.4; conformance case M53).

use super::*;
use homeport_wire::{BidOption, Message, MobilityOption};

/// The vector V07: a request for BID 1 and 2 to 2001:db8:0:1::100, tunnelled to 2001:db8:a::11.
const REQUEST: &str = "600000000040294020010db800000001000000000000000120010db8000a00000000000000\
    0000116000000000188740 20010db800000001000000000000000120010db80000000100000000000001003b0200\
    0020dc000023040001000023040002000001020000";
const LIFETIME_MS: u64 = 100_000;

fn octets(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

fn granted(bid: u16, care_of: Ipv6Addr, ends: u64) -> ForwardingBinding {
    ForwardingBinding {
        ends: Millis(ends),
        lifetime_ms: LIFETIME_MS,
        ..binding(bid, CareOf::V6(care_of))
    }
}

/// Two bindings of 100 s: a refresh is due in the last 30 s.
fn forwarding_of(bindings: Vec<ForwardingBinding>) -> Forwarding {
    let mut forwarding = forwarding();
    forwarding.table_mut().set_home(HOME, entry(bindings)).unwrap();
    forwarding
}

fn both() -> Vec<ForwardingBinding> {
    vec![granted(1, CARE_OF_1, 100_000), granted(2, CARE_OF_2, 100_000)]
}

/// The requests among the actions: where they go, and the BIDs that they name.
fn requests(actions: &[Action]) -> Vec<(Ipv6Addr, Vec<u16>)> {
    let request = |action: &Action| {
        let Action::SendIpv6(packet) = action else { return None };
        let outer = walked(packet);
        let inner = (outer.upper == protocol::IPV6).then(|| walked(outer.payload))?;
        if inner.upper != protocol::MOBILITY {
            return None;
        }
        assert_eq!((inner.header.source, inner.header.destination), (AGENT, HOME));
        let Ok(Message::BindingRefreshRequest(request)) =
            Message::parse(inner.payload, inner.pseudo_header())
        else {
            panic!("{inner:?}")
        };
        let bid = |option| match option {
            MobilityOption::BindingIdentifier(option) => {
                assert_eq!(option, BidOption::refresh(option.bid));
                Some(option.bid.0)
            }
            _ => None,
        };
        Some((outer.header.destination, request.options.iter().filter_map(bid).collect()))
    };
    actions.iter().filter_map(request).collect()
}

fn down(forwarding: &mut Forwarding, now: u64) -> Vec<(Ipv6Addr, Vec<u16>)> {
    requests(&forwarding.handle(Millis(now), Ingress::Ip(&packet(CORRESPONDENT, HOME))))
}

fn up(forwarding: &mut Forwarding, now: u64, care_of: Ipv6Addr) -> Vec<(Ipv6Addr, Vec<u16>)> {
    let outer = tunnelled(care_of, &packet(HOME, CORRESPONDENT));
    requests(&forwarding.handle(Millis(now), Ingress::Ip(&outer)))
}

#[test]
fn the_request_is_that_of_the_vector() {
    let config = Config { last_used_breaks_ties: false, ..Config::default() };
    let mut forwarding = forwarding_with(config);
    forwarding.table_mut().set_home(HOME, entry(both())).unwrap();
    assert_eq!(up(&mut forwarding, 1_000, CARE_OF_1), []);
    let outer = tunnelled(CARE_OF_2, &packet(HOME, CORRESPONDENT));
    let actions = forwarding.handle(Millis(75_000), Ingress::Ip(&outer));
    let Some(Action::SendIpv6(request)) = actions.last() else { panic!("{actions:?}") };
    let mut request = request.clone();
    request[1..4].fill(0); // The flow label is any value.
    assert_eq!(request, octets(REQUEST));
}

#[test]
fn a_refresh_is_asked_for_near_the_end_and_only_of_what_carries_data() {
    let mut forwarding = forwarding_of(both());
    assert_eq!(down(&mut forwarding, 69_999), []);
    assert_eq!(down(&mut forwarding, 70_000), [(CARE_OF_1, vec![1])]);
    assert_eq!(up(&mut forwarding, 70_001, CARE_OF_2), [(CARE_OF_2, vec![1, 2])]);
    let mut ended = forwarding_of(both());
    assert_eq!(down(&mut ended, 100_000), []);
}

#[test]
fn the_window_is_a_tenth_of_a_long_lifetime() {
    let long = ForwardingBinding { lifetime_ms: 1_000_000, ..granted(1, CARE_OF_1, 1_000_000) };
    let mut forwarding = forwarding_of(vec![long]);
    assert_eq!(down(&mut forwarding, 899_999), []);
    assert_eq!(down(&mut forwarding, 900_000), [(CARE_OF_1, vec![1])]);
}

#[test]
fn at_most_three_in_a_lifetime_and_not_in_a_row() {
    let mut forwarding = forwarding_of(both());
    let mut asked = Vec::new();
    for now in (70_000..100_000).step_by(100) {
        if !down(&mut forwarding, now).is_empty() {
            asked.push(now);
        }
    }
    assert_eq!(asked, [70_000, 77_500, 85_000]);
    // A registration begins a new lifetime; another binding's does not.
    let fresh = |verified| ForwardingBinding { verified, ..granted(1, CARE_OF_1, 200_000) };
    let other = ForwardingBinding { verified: 11, ..granted(2, CARE_OF_2, 200_000) };
    let bindings = vec![granted(1, CARE_OF_1, 100_000), other];
    forwarding.table_mut().set_home(HOME, entry(bindings)).unwrap();
    assert_eq!(up(&mut forwarding, 99_000, CARE_OF_1), []);
    forwarding.table_mut().set_home(HOME, entry(vec![fresh(12)])).unwrap();
    assert_eq!(down(&mut forwarding, 169_999), []);
    assert_eq!(down(&mut forwarding, 170_000), [(CARE_OF_1, vec![1])]);
}

#[test]
fn a_snapshot_does_not_begin_anew() {
    let mut forwarding = forwarding_of(vec![granted(1, CARE_OF_1, 100_000)]);
    for now in [70_000, 78_000, 86_000] {
        assert_eq!(down(&mut forwarding, now).len(), 1);
    }
    let mut table = crate::Table::new();
    table.set_prefix(prefix());
    table.set_home(HOME, entry(vec![granted(1, CARE_OF_1, 100_000)])).unwrap();
    forwarding.replace_table(table);
    assert_eq!(down(&mut forwarding, 95_000), []);
}

#[test]
fn a_binding_without_identifier_is_asked_for_without_option() {
    let plain = ForwardingBinding { bid: None, ..granted(0, CARE_OF_1, 100_000) };
    let mut forwarding = forwarding_of(vec![plain]);
    assert_eq!(down(&mut forwarding, 80_000), [(CARE_OF_1, vec![])]);
}

#[test]
fn it_can_be_switched_off() {
    let mut forwarding = forwarding_with(Config { refresh_requests_max: 0, ..Config::default() });
    forwarding.table_mut().set_home(HOME, entry(both())).unwrap();
    assert_eq!(down(&mut forwarding, 80_000), []);
}

#[test]
fn an_ipv4_care_of_address_is_asked_in_udp() {
    let v4 = CareOf::V4 { address: *NAT.ip(), port: NAT.port() };
    let v4 = ForwardingBinding { care_of: v4, ..granted(7, CARE_OF_1, 100_000) };
    let mut forwarding = forwarding_of(vec![v4]);
    let actions = forwarding.handle(Millis(80_000), Ingress::Ip(&packet(CORRESPONDENT, HOME)));
    let [_, Action::SendUdp { peer: NAT, payload, .. }] = actions.as_slice() else {
        panic!("{actions:?}")
    };
    let inner = walked(payload);
    assert_eq!((inner.upper, inner.header.destination), (protocol::MOBILITY, HOME));
}
