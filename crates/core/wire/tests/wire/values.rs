//! Tables about the nouns: sequence numbers, lifetimes, addresses, flags, names.

use std::net::{Ipv4Addr, Ipv6Addr};

use homeport_wire::{
    BaFlags, BidPriority, BindingErrorStatus, BuFlags, Lifetime, Sequence, Status,
    is_unicast_routable_v4, is_unicast_routable_v6, is_unicast_v6,
};

/// RFC 6275 §9.5.1.
#[test]
fn sequence_numbers_are_compared_around_the_circle() {
    // The example of RFC 6275 §9.5.1: after 15, 0..=15 and 32783..=65535 are refused.
    let last = Sequence(15);
    for number in 0..=u16::MAX {
        let refused = number <= 15 || number >= 32783;
        assert_eq!(Sequence(number).is_newer_than(last), !refused, "{number}");
    }
    assert!(Sequence(0).is_newer_than(Sequence(u16::MAX)));
    assert_eq!(Sequence(u16::MAX).next(), Sequence(0));
}

/// RFC 6275 §6.1.7.
#[test]
fn lifetimes_count_four_seconds() {
    for (secs, units) in [(0, 0), (3, 0), (4, 1), (7, 1), (900, 225), (262_140, 65_535)] {
        assert_eq!(Lifetime::from_secs(secs), Lifetime(units), "{secs} s");
    }
    assert_eq!(Lifetime::from_secs(u32::MAX), Lifetime(u16::MAX));
    assert_eq!(Lifetime(u16::MAX).secs(), 262_140);
    assert_eq!(Lifetime(225).duration().as_secs(), 900);
    assert!(Lifetime::DEREGISTER.is_deregistration());
}

/// RFC 6089 §4.1.
#[test]
fn an_unset_priority_sorts_last() {
    assert_eq!(BidPriority::new(0xff).value(), 0x7f, "the eighth bit is H");
    assert!(BidPriority::UNSET.rank() > BidPriority::new(127).rank());
    assert!(BidPriority::new(1).rank() < BidPriority::new(2).rank());
}

#[test]
fn addresses_by_kind() {
    // Address, unicast, unicast and routable.
    for (address, unicast, routable) in [
        ("::", false, false),
        ("::1", true, false),
        ("::192.0.2.1", true, false),
        ("::ffff:192.0.2.1", true, false),
        ("fe80::1", true, false),
        ("febf::1", true, false),
        ("ff02::1", false, false),
        ("ff0e::1", false, false),
        ("fec0::1", true, true),
        ("fc00::1", true, true),
        ("64:ff9b::192.0.2.1", true, true),
        ("2001:db8:a::11", true, true),
    ] {
        let parsed: Ipv6Addr = address.parse().unwrap();
        assert_eq!(is_unicast_v6(parsed), unicast, "{address}");
        assert_eq!(is_unicast_routable_v6(parsed), routable, "{address}");
    }
    for (address, routable) in [
        ("0.0.0.0", false),
        ("0.255.255.255", false),
        ("127.0.0.1", false),
        ("169.254.1.1", false),
        ("224.0.0.1", false),
        ("239.255.255.255", false),
        ("240.0.0.1", false),
        ("255.255.255.255", false),
        ("1.0.0.1", true),
        ("10.0.0.1", true),
        ("172.16.0.1", true),
        ("192.168.1.1", true),
        ("192.0.2.44", true),
        ("223.255.255.255", true),
    ] {
        let parsed: Ipv4Addr = address.parse().unwrap();
        assert_eq!(is_unicast_routable_v4(parsed), routable, "{address}");
    }
}

#[test]
fn flags_stand_where_the_registry_says() {
    let flags = BuFlags::ACKNOWLEDGE.with(BuFlags::HOME_REGISTRATION).with(BuFlags::OVERWRITE);
    assert_eq!(flags, BuFlags(0xc040));
    assert!(flags.contains(BuFlags::OVERWRITE));
    assert!(!flags.contains(BuFlags::MOBILE_ROUTER));
    assert_eq!(BaFlags::KEY_MANAGEMENT_MOBILITY.with(BaFlags::MOBILE_ROUTER), BaFlags(0xc0));
}

#[test]
fn code_points_have_names_and_unknown_ones_survive() {
    assert_eq!(Status::MCOA_UNKNOWN_COA.to_string(), "167 (MCOA UNKNOWN COA)");
    assert_eq!(Status(200).to_string(), "200");
    assert!(Status(127).is_accepted() && !Status(128).is_accepted());
    assert_eq!(
        format!("{:?}", BindingErrorStatus::UNRECOGNIZED_MH_TYPE),
        "2 (unrecognized MH Type)"
    );
}
