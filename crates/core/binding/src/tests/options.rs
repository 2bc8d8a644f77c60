//! Binding Identifier options: RFC 5648 §5 and §6.

use super::*;

/// Vectors V01 to V11, in order.
#[test]
fn vectors_in_order() {
    let mut lab = registered_three();
    let coa2b = "2001:db8:b::2b".parse().unwrap();
    let answer = lab.register(bu(0x1002, 225, vec![short(1), v6(2, coa2b), short(9)]));
    assert_eq!(codes(&answer), (4, vec![0, 0, 167]));
    assert_eq!(answer.lifetime, Lifetime(225));
    assert_eq!(lab.addresses(), [(1, COA1), (2, coa2b), (3, COA3)]);
    let answer = lab.register(bu(0x1003, 0, vec![short(3)]));
    assert_eq!((codes(&answer), answer.lifetime), ((0, vec![0]), Lifetime(0)));
    assert_eq!(lab.addresses(), [(1, COA1), (2, coa2b)]);
    let home = BidRequest { home: true, ..v6(4, HOME) };
    let mut from_home = at_home(bu(0x1004, 225, vec![home]));
    from_home.source = WireSource::Ipv6(HOME);
    let answer = lab.register(from_home);
    assert_eq!(codes(&answer), (5, vec![0]));
    assert_eq!(lab.addresses(), [(1, COA1), (2, coa2b), (4, HOME)]);
    let answer = lab.register(bu(0x1003, 225, vec![short(1)]));
    assert_eq!(codes(&answer), (135, vec![0]));
    assert_eq!((answer.sequence.0, answer.lifetime), (0x1004, Lifetime(0)));
}

#[test]
fn overwrite_resolves_against_the_old_cache_and_replaces_all() {
    let mut lab = registered_three();
    let answer = lab.register(overwrite(bu(0x1002, 225, vec![short(2), v6(7, COA3)])));
    assert_eq!(codes(&answer), (0, vec![0, 0]));
    assert_eq!(lab.addresses(), [(2, COA2), (7, COA3)]);
    let answer = lab.register(overwrite(bu(0x1003, 225, vec![short(9)])));
    assert_eq!(codes(&answer), (167, vec![0]));
    assert_eq!(lab.addresses(), [(2, COA2), (7, COA3)], "no survivor: nothing is removed");
}

#[test]
fn regular_and_identified_bindings_never_stand_together() {
    let mut lab = Lab::new();
    lab.register(bu(1, 100, vec![]));
    assert_eq!(codes(&lab.register(bu(2, 100, vec![v6(1, COA2)]))), (165, vec![0]));
    assert_eq!(lab.addresses(), [(0, COA1)]);
    assert_eq!(lab.register(overwrite(bu(3, 100, vec![v6(1, COA2)]))).status.0, 0);
    assert_eq!(lab.addresses(), [(1, COA2)]);
    assert_eq!(lab.register(bu(4, 100, vec![])).status.0, 0);
    assert_eq!(lab.addresses(), [(0, COA1)]);
}

#[test]
fn whole_updates_that_are_refused_change_nothing() {
    let malformed = BidRequest { malformed: true, ..short(2) };
    let no_bid = BidRequest { bid: None, malformed: true, ..short(0) };
    let rows = [
        (vec![v6(1, COA2), malformed], (164, vec![0, 0])),
        (vec![v6(1, COA2), no_bid], (164, vec![0])),
    ];
    for (bids, expected) in rows {
        let mut lab = registered_three();
        assert_eq!(codes(&lab.register(bu(0x1002, 225, bids))), expected);
        assert_eq!(lab.addresses(), [(1, COA1), (2, COA2), (3, COA3)]);
    }
    let mut lab = Lab::with(HomePrefix { multiple_care_of_allowed: false, ..home_prefix() });
    assert_eq!(codes(&lab.register(bu(1, 100, vec![v6(1, COA1)]))), (166, vec![0]));
    let mut lab = Lab::with(HomePrefix { bulk_allowed: false, ..home_prefix() });
    let both = vec![v6(1, COA1), v6(2, COA2)];
    assert_eq!(codes(&lab.register(bu(1, 100, both))), (168, vec![0, 0]));
    assert_eq!(lab.register(bu(2, 100, vec![v6(1, COA1)])).status.0, 0);
}

#[test]
fn options_that_are_refused_alone() {
    let link_local: Ipv6Addr = "fe80::1".parse().unwrap();
    let mapped: Ipv6Addr = "::ffff:192.0.2.1".parse().unwrap();
    let rows = [
        (v6(0, COA1), 164),
        (v6(1, link_local), 164),
        (v6(1, mapped), 164),
        (v6(1, Ipv6Addr::UNSPECIFIED), 164),
        (v6(1, Ipv6Addr::LOCALHOST), 164),
        (v6(1, "ff02::1".parse().unwrap()), 164),
        (v4(1, [127, 0, 0, 1]), 164),
        (v4(1, [224, 0, 0, 1]), 164),
        (v4(1, [192, 0, 2, 44]), 174),
        (short(1), 167),
        (v6(1, AGENT), 174),
        (BidRequest { home: true, ..v6(1, COA1) }, 164),
    ];
    for (bad, status) in rows {
        let mut lab = Lab::new();
        assert_eq!(codes(&lab.register(bu(1, 100, vec![bad]))), (status, vec![0]), "{bad:?}");
        assert_eq!(lab.cache.home_address_count(), 0, "{bad:?}");
        let answer = lab.register(bu(2, 100, vec![v6(5, COA2), bad]));
        assert_eq!(codes(&answer), (4, vec![0, status]), "{bad:?}");
        assert_eq!(lab.addresses(), [(5, COA2)]);
    }
}

#[test]
fn all_options_fail() {
    let mut lab = Lab::new();
    assert_eq!(codes(&lab.register(bu(1, 100, vec![short(1), short(2)]))), (167, vec![0, 0]));
    let mixed = vec![short(1), v6(2, AGENT)];
    assert_eq!(codes(&lab.register(bu(2, 100, mixed))), (128, vec![167, 174]));
}

#[test]
fn the_second_copy_of_a_bid_is_malformed() {
    let mut lab = Lab::new();
    let answer = lab.register(bu(1, 100, vec![v6(1, COA1), v6(1, COA2)]));
    assert_eq!(codes(&answer), (4, vec![0, 164]));
    assert_eq!(lab.addresses(), [(1, COA1)]);
}

#[test]
fn deregistration_by_bid() {
    let mut lab = registered_three();
    let answer = lab.register(bu(0x1002, 0, vec![short(1), short(9)]));
    assert_eq!(codes(&answer), (4, vec![0, 133]));
    assert_eq!(codes(&lab.register(bu(0x1003, 0, vec![short(9)]))), (133, vec![0]));
    assert_eq!(lab.addresses(), [(2, COA2), (3, COA3)]);
    let last = overwrite(bu(0x1004, 0, vec![v6(2, COA1), v6(3, COA1)]));
    assert_eq!(codes(&lab.register(last)), (0, vec![0, 0]), "O and the address mean nothing here");
    assert_eq!(lab.addresses(), []);
    assert_eq!(lab.register(bu(0x1004, 225, vec![])).status.0, 135, "a tombstone stands");
    let mut lab = registered_three();
    assert_eq!(lab.register(bu(0x1002, 0, vec![])).status.0, 0);
    assert_eq!(lab.addresses(), [], "without BID option all go");
}

#[test]
fn quota_per_home_address() {
    let prefix = HomePrefix { bindings_per_home_address_max: 2, ..home_prefix() };
    let mut lab = Lab::with(prefix);
    let bids = vec![v6(1, COA1), v6(2, COA2), v6(3, COA3)];
    assert_eq!(codes(&lab.register(bu(1, 100, bids))), (4, vec![0, 0, 130]));
    assert_eq!(codes(&lab.register(bu(2, 100, vec![v6(3, COA3)]))), (130, vec![0]));
    assert_eq!(lab.register(bu(3, 100, vec![v6(2, COA3)])).status.0, 0, "a move needs no room");
    assert_eq!(lab.register(overwrite(bu(4, 100, vec![v6(3, COA3)]))).status.0, 0);
    assert_eq!(lab.addresses(), [(3, COA3)]);
}

#[test]
fn home_binding_rules() {
    let home = |bid| BidRequest { home: true, ..short(bid) };
    let mut lab = registered_three();
    let answer = lab.register(at_home(bu(0x1002, 225, vec![short(1), home(4)])));
    assert_eq!(codes(&answer), (4, vec![0, 5]));
    assert_eq!(codes(&lab.register(at_home(bu(0x1003, 225, vec![home(5)])))), (164, vec![0]));
    assert_eq!(codes(&lab.register(bu(0x1004, 225, vec![short(1)]))), (0, vec![0]));
    assert!(lab.care_of().contains(&(Some(4), CareOf::Ipv6(HOME))), "foreign refreshes spare it");
    assert_eq!(codes(&lab.register(bu(0x1005, 225, vec![v6(4, COA3)]))), (0, vec![0]));
    assert!(!lab.care_of().contains(&(Some(4), CareOf::Ipv6(HOME))), "H clear ends it");
    let mut lab = Lab::with(HomePrefix { only_router: true, ..home_prefix() });
    assert_eq!(codes(&lab.register(bu(1, 100, vec![home(4)]))), (0, vec![0]));
    let mut lab = Lab::with(HomePrefix { home_and_foreign_allowed: false, ..home_prefix() });
    assert_eq!(codes(&lab.register(bu(1, 100, vec![home(4)]))), (169, vec![0]));
}

/// RFC 5648 §6.3: where the home agent goes on answering for the home address it has to be told.
#[test]
fn a_home_binding_says_its_link_layer_address_or_can_be_asked_for_it() {
    let home = |bid| BidRequest { home: true, ..short(bid) };
    let refused = crate::choices::HOME_BINDING_WITHOUT_LINK_LAYER_ADDRESS;
    let mut lab = Lab::new();
    let answer = lab.register(bu(1, 100, vec![home(4)]));
    assert_eq!((answer.status, answer.lifetime), (refused, Lifetime::DEREGISTER));
    assert_eq!(lab.care_of(), []);
    let answer = lab.register(bu(2, 100, vec![v6(1, COA1), home(4)]));
    assert_eq!((answer.status, &answer.bid_statuses[..]), (Status(4), &[Status(0), refused][..]));
    assert_eq!(lab.addresses(), [(1, COA1)]);
    assert_eq!(codes(&lab.register(at_home(bu(3, 100, vec![home(4)])))), (5, vec![0]));
    assert_eq!(lab.register(bu(4, 100, vec![home(4)])).status, refused, "each time");
    assert_eq!(lab.addresses(), [(1, COA1), (4, HOME)], "what is known stays until its end");
    let mut lab = Lab::with(HomePrefix { only_router: true, ..home_prefix() });
    assert_eq!(codes(&lab.register(bu(1, 100, vec![home(4)]))), (0, vec![0]));
}

/// RFC 5648 §8.1: singles from each IPv4 care-of address first, then one bulk may refresh them.
#[test]
fn ipv4_care_of_addresses() {
    let prefix = HomePrefix { loopback_care_of_allowed: true, ..home_prefix() };
    let mut lab = Lab::with(prefix);
    let address = |n| Ipv4Addr::new(127, 0, 0, n);
    for n in [2, 3, 4] {
        let mut r = bu(n.into(), 100, vec![v4(u16::from(n) - 1, [127, 0, 0, n])]);
        r.source = WireSource::Udp(address(n), 4000 + u16::from(n));
        assert_eq!(codes(&lab.register(r)), (0, vec![0]));
    }
    let before = lab.care_of();
    assert_eq!(before.len(), 3);
    let mut bulk = bu(10, 100, vec![short(1), short(2), v4(3, [127, 0, 0, 4])]);
    bulk.source = WireSource::Udp(address(3), 4003);
    assert_eq!(codes(&lab.register(bulk.clone())), (0, vec![0, 0, 0]));
    assert_eq!(lab.care_of(), before, "a bulk from another care-of address moves no mapping");
    bulk.sequence = Sequence(11);
    bulk.source = WireSource::Udp(address(2), 5000);
    assert_eq!(codes(&lab.register(bulk)), (0, vec![0, 0, 0]));
    let moved = CareOf::Ipv4 { address: address(2), port: 5000, announced: address(2), udp: true };
    assert_eq!(lab.care_of().first(), Some(&(Some(1), moved)), "an unknown source moves the first");
    let mut new = bu(12, 100, vec![short(1), v4(9, [127, 0, 0, 9])]);
    new.source = WireSource::Udp(address(2), 5000);
    assert_eq!(codes(&lab.register(new)), (4, vec![0, 174]), "a bulk introduces none");
}
