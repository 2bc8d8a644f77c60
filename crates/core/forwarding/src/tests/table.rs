//! The table: longest prefix, home agents, digest, bounds.

use super::*;
use crate::Table;

fn filled(order: &[u16]) -> Table {
    let mut table = Table::new();
    table.set_prefix(prefix());
    for host in order {
        let home = Ipv6Addr::from_bits(PREFIX.to_bits() | u128::from(*host));
        let bindings =
            vec![binding(*host, CareOf::V6(CARE_OF_1)), binding(1, CareOf::V6(CARE_OF_2))];
        table.set_home(home, entry(bindings)).unwrap();
    }
    table
}

#[test]
fn the_digest_does_not_depend_on_the_way_to_a_state() {
    let straight = filled(&[10, 11, 12]);
    let mut detour = filled(&[12, 99, 10, 11]);
    assert_ne!(straight.digest(), detour.digest());
    let gone = Ipv6Addr::from_bits(PREFIX.to_bits() | 99);
    detour.set_home(gone, None).unwrap();
    assert_eq!(straight.digest(), detour.digest());
    assert_eq!(straight.homes(), detour.homes());

    // The order of bindings and the local deadlines are no part of it.
    let home = Ipv6Addr::from_bits(PREFIX.to_bits() | 10);
    let later = ForwardingBinding { ends: Millis(7), ..binding(10, CareOf::V6(CARE_OF_1)) };
    let turned = vec![binding(1, CareOf::V6(CARE_OF_2)), later];
    detour.set_home(home, entry(turned)).unwrap();
    assert_eq!(straight.digest(), detour.digest());
    detour.set_prefix(prefix());
    assert_eq!(straight.digest(), detour.digest());
}

#[test]
fn everything_that_decides_is_in_the_digest() {
    let reference = filled(&[10]).digest();
    let home = Ipv6Addr::from_bits(PREFIX.to_bits() | 10);
    let first = binding(10, CareOf::V6(CARE_OF_1));
    let second = binding(1, CareOf::V6(CARE_OF_2));
    let v4 = CareOf::V4 { address: *NAT.ip(), port: NAT.port() };
    let changed = [
        ForwardingBinding { bid: None, ..first },
        ForwardingBinding { bid: Some(Bid(11)), ..first },
        ForwardingBinding { care_of: CareOf::V6(CARE_OF_3), ..first },
        ForwardingBinding { care_of: v4, ..first },
        ForwardingBinding { priority: BidPriority::new(1), ..first },
        ForwardingBinding { verified: 11, ..first },
        ForwardingBinding { home: true, ..first },
        ForwardingBinding { unverified: true, ..first },
        second,
    ];
    for changed in changed {
        let mut table = filled(&[10]);
        table.set_home(home, entry(vec![changed, second])).unwrap();
        assert_ne!(table.digest(), reference, "{changed:?}");
    }
    let mut table = filled(&[10]);
    table.set_prefix(HomePrefix { home_agent_v4: None, ..prefix() });
    assert_ne!(table.digest(), reference);
    let mut table = filled(&[10]);
    table.remove_prefix(PREFIX, 64);
    assert_ne!(table.digest(), reference);
}

#[test]
fn an_emptied_table_is_as_a_new_one() {
    let mut table = filled(&[10, 11]);
    for host in [10, 11] {
        let home = Ipv6Addr::from_bits(PREFIX.to_bits() | host);
        table.set_home(home, entry(vec![])).unwrap();
    }
    table.remove_prefix(PREFIX, 64);
    table.remove_prefix(PREFIX, 64);
    assert_eq!(table.digest(), Table::new().digest());
    assert!(table.is_empty());
    assert_eq!(table.prefixes().count(), 0);
    assert!(!table.is_home_agent(AGENT) && !table.is_home_agent_v4(AGENT_V4));
}

#[test]
fn the_longest_prefix_speaks_for_an_address() {
    let other: Ipv6Addr = "2001:db8::1".parse().unwrap();
    let mut forwarding = forwarding();
    let wide = HomePrefix {
        prefix: PREFIX,
        prefix_len: 32,
        home_agent: other,
        home_agent_v4: None,
        pool_v4: None,
        real_home_link: false,
    };
    forwarding.table_mut().set_prefix(wide);
    let from = |forwarding: &mut Forwarding, destination: &str| {
        let packet = packet(CORRESPONDENT, destination.parse().unwrap());
        let actions = forwarding.handle(NOW, Ingress::Ip(&packet));
        let (Action::SendIpv6(error) | Action::DeliverOnLink { packet: error, .. }) = &actions[1]
        else {
            panic!("{actions:?}")
        };
        walked(error).header.source
    };
    assert_eq!(from(&mut forwarding, "2001:db8:0:1::77"), AGENT);
    assert_eq!(from(&mut forwarding, "2001:db8:0:2::77"), other);
    forwarding.table_mut().remove_prefix(PREFIX, 64);
    assert_eq!(from(&mut forwarding, "2001:db8:0:1::77"), other);
    forwarding.table_mut().remove_prefix(PREFIX, 32);
    let actions = handle(&mut forwarding, &packet(CORRESPONDENT, UNBOUND));
    assert_eq!(actions, [Action::Drop(DropReason::NotServed)]);
}

#[test]
fn the_anycast_address_of_a_prefix_means_its_home_agent() {
    let table = filled(&[]);
    assert_eq!(table.home_agent_meant(ANYCAST), Some(AGENT));
    assert_eq!(table.home_agent_meant(AGENT), Some(AGENT));
    assert_eq!(table.home_agent_meant(UNBOUND), None);
    let mut long = Table::new();
    long.set_prefix(HomePrefix { prefix_len: 120, ..prefix() });
    let anycast = "2001:db8:0:1::fe".parse().unwrap();
    assert_eq!(long.home_agent_meant(anycast), Some(AGENT));
}

#[test]
fn prefixes_of_any_length() {
    for (len, inside, outside) in [
        (0, "ffff::", None),
        (1, "7fff::", Some("8000::")),
        (127, "::1", Some("::2")),
        (128, "::", Some("::1")),
        (200, "::", Some("::1")),
    ] {
        let mut table = Table::new();
        table.set_prefix(HomePrefix {
            prefix: Ipv6Addr::UNSPECIFIED,
            prefix_len: len,
            home_agent: AGENT,
            home_agent_v4: None,
            pool_v4: None,
            real_home_link: false,
        });
        assert!(table.prefix_of(inside.parse().unwrap()).is_some(), "{len}");
        let outside = outside.map(|address| table.prefix_of(address.parse().unwrap()));
        assert!(outside.is_none_or(|prefix| prefix.is_none()), "{len}");
    }
}

#[test]
fn bindings_beyond_the_bound_are_cut_off() {
    let many = (0..1000).map(|bid| binding(bid, CareOf::V6(CARE_OF_1))).collect();
    let mut table = Table::new();
    table.set_home(HOME, entry(many)).unwrap();
    assert_eq!(table.homes()[0].1.bindings.len(), crate::limits::BINDINGS_PER_HOME_MAX);
}
