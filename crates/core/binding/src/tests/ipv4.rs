//! IPv4 home addresses and how IPv4 care-of addresses are reached: RFC 5555.

use super::*;

const NAT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
const BEHIND: [u8; 4] = [192, 0, 2, 44];
const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

fn pool(text: &str) -> Ipv4Prefix {
    let (address, len) = text.split_once('/').unwrap();
    Ipv4Prefix::new(address.parse().unwrap(), len.parse().unwrap()).unwrap()
}

fn with_pool(text: &str) -> HomePrefix {
    let home_agent_ipv4 = Some(Ipv4Addr::new(198, 51, 100, 1));
    HomePrefix { home_agent_ipv4, ipv4_pool: Some(pool(text)), ..home_prefix() }
}

fn home(host: u8) -> Ipv6Addr {
    Ipv6Addr::from_bits(HOME.to_bits() + u128::from(host))
}

fn asks(mut r: Registration, address: Ipv4Addr, prefix_len: u8, prefix: bool) -> Registration {
    let request = Ipv4HomeAddressRequest { address, prefix_len, prefix_wanted: prefix };
    r.ipv4_home_address = Some(request);
    r
}

fn from(mut r: Registration, home_address: Ipv6Addr) -> Registration {
    r.home_address = home_address;
    r
}

impl Lab {
    /// Status of the update, and status, prefix length and address of option 30.
    fn ask(&mut self, r: Registration) -> (u8, Option<(u8, u8, Ipv4Addr)>) {
        let home_address = r.home_address;
        let answer = self.register(r);
        let option = answer.ipv4_address.map(|a| (a.status.0, a.prefix_len, a.address));
        let held = self.cache.home(home_address).and_then(|home| home.ipv4_home_address);
        match option {
            Some((0, len, address)) if answer.lifetime.0 > 0 => {
                assert_eq!(held, Ipv4Prefix::new(address, len), "what is said is held");
            }
            _ => assert!(held.is_none() || !answer.status.is_accepted()),
        }
        (answer.status.0, option)
    }
}

#[test]
fn a_pool_is_assigned_from_below() {
    let mut lab = Lab::with(with_pool("198.51.100.0/29"));
    let address = |host| Ipv4Addr::new(198, 51, 100, host);
    // .0 is the network, .1 the home agent, .7 the broadcast address.
    for host in 2..=6 {
        let answer = lab.ask(asks(from(bu(1, 100, vec![]), home(host)), ANY, 32, false));
        assert_eq!(answer, (0, Some((0, 32, address(host)))));
    }
    let empty = lab.ask(asks(from(bu(1, 100, vec![]), home(7)), ANY, 32, false));
    assert_eq!(empty, (0, Some((132, 0, ANY))), "the IPv6 binding is made all the same");
    assert!(lab.cache.home(home(7)).unwrap().has_regular_binding());
    // The same again on refresh, by name too; and nobody else's.
    let again = lab.ask(asks(from(bu(2, 100, vec![]), home(4)), ANY, 32, false));
    assert_eq!(again, (0, Some((0, 32, address(4)))));
    let named = lab.ask(asks(from(bu(3, 100, vec![]), home(4)), address(4), 32, false));
    assert_eq!(named, (0, Some((0, 32, address(4)))));
    let foreign = lab.ask(asks(from(bu(2, 100, vec![]), home(7)), address(4), 32, false));
    assert_eq!(foreign, (0, Some((130, 0, address(4)))));
    // An error gives it up, de-registration frees it, and so does the end of the lifetime.
    let gone = lab.ask(asks(from(bu(4, 0, vec![]), home(4)), address(4), 32, false));
    assert_eq!(gone, (0, Some((0, 32, address(4)))));
    let next = lab.ask(asks(from(bu(3, 200, vec![]), home(7)), ANY, 32, false));
    assert_eq!(next, (0, Some((0, 32, address(4)))));
    lab.pass(401);
    let first = lab.ask(asks(from(bu(1, 100, vec![]), home(8)), ANY, 32, false));
    assert_eq!(first, (0, Some((0, 32, address(2)))), "the others have ended");
    assert_eq!(lab.cache.home(home(7)).unwrap().ipv4_home_address, Some(pool("198.51.100.4/32")));
}

/// RFC 5555 §4.4: an update that does not ask gives it up; one that is refused changes nothing.
#[test]
fn an_update_without_the_option_gives_it_up() {
    let mut lab = Lab::with(with_pool("198.51.100.0/29"));
    let two = Ipv4Addr::new(198, 51, 100, 2);
    assert_eq!(lab.ask(asks(bu(1, 100, vec![v6(1, COA1)]), ANY, 32, false)).1, Some((0, 32, two)));
    assert_eq!(lab.register(bu(2, 100, vec![short(9)])).status.0, 167);
    assert_eq!(lab.cache.home(HOME).unwrap().ipv4_home_address, Some(pool("198.51.100.2/32")));
    assert_eq!(lab.ask(bu(3, 100, vec![short(1)])), (0, None));
    assert_eq!(lab.cache.home(HOME).unwrap().ipv4_home_address, None);
    let other = lab.ask(asks(from(bu(1, 100, vec![]), home(1)), ANY, 32, false));
    assert_eq!(other.1, Some((0, 32, two)));
}

#[test]
fn requests_that_are_refused() {
    let own = pool("198.51.100.77/32");
    let rows = [
        (Ipv4Addr::new(224, 0, 0, 1), 32, false, 131),
        (Ipv4Addr::new(255, 255, 255, 255), 32, false, 131),
        (Ipv4Addr::new(127, 0, 0, 1), 32, false, 131),
        (Ipv4Addr::new(0, 0, 0, 1), 32, false, 131),
        (ANY, 0, false, 131),
        (ANY, 33, false, 131),
        (own.address(), 0, false, 131),
        (Ipv4Addr::new(198, 51, 100, 78), 32, false, 130),
        (Ipv4Addr::new(198, 51, 100, 78), 32, true, 130),
        (ANY, 28, true, 133),
        (own.address(), 28, true, 133),
    ];
    for (address, len, prefix, status) in rows {
        let mut lab = Lab::with(with_pool("198.51.100.64/28"));
        lab.put(Subscriber { ipv4_home_address: Some(own), ..Subscriber::new(HOME) });
        let refused = lab.ask(asks(bu(1, 100, vec![]), address, len, prefix));
        assert_eq!(refused, (0, Some((status, 0, address))), "{address} {len} {prefix}");
    }
    let mut lab = Lab::new();
    assert_eq!(lab.ask(asks(bu(1, 100, vec![]), ANY, 32, false)), (0, Some((132, 0, ANY))));
}

#[test]
fn a_subscriber_has_its_own() {
    let mut lab = Lab::with(with_pool("198.51.100.64/29"));
    let address = |host| Ipv4Addr::new(198, 51, 100, host);
    lab.put(Subscriber {
        ipv4_home_address: Some(pool("198.51.100.65/32")),
        ..Subscriber::new(HOME)
    });
    let other = lab.ask(asks(from(bu(1, 100, vec![]), home(1)), ANY, 32, false));
    assert_eq!(other.1, Some((0, 32, address(66))), "the first is kept for its owner");
    assert_eq!(lab.ask(asks(bu(1, 100, vec![]), ANY, 32, false)).1, Some((0, 32, address(65))));
    let named = lab.ask(asks(bu(2, 100, vec![]), address(65), 32, false));
    assert_eq!(named.1, Some((0, 32, address(65))));
    // A prefix of its own, asked for by P, or by an address in it.
    lab.put(Subscriber {
        ipv4_home_address: Some(pool("203.0.113.32/28")),
        ..Subscriber::new(HOME)
    });
    assert_eq!(lab.cache.home(HOME).unwrap().ipv4_home_address, None, "withdrawn");
    let network = Ipv4Addr::new(203, 0, 113, 32);
    let inside = Ipv4Addr::new(203, 0, 113, 40);
    let rows = [
        (ANY, 28, true, (0, 28, network)),
        (ANY, 30, true, (0, 28, network)),
        (inside, 28, true, (0, 28, network)),
        (inside, 32, false, (0, 32, inside)),
        (ANY, 32, false, (0, 32, Ipv4Addr::new(203, 0, 113, 33))),
    ];
    for (sequence, (asked, len, prefix, expected)) in (3..).zip(rows) {
        let answer = lab.ask(asks(bu(sequence, 100, vec![]), asked, len, prefix));
        assert_eq!(answer, (0, Some(expected)), "{asked} {len} {prefix}");
    }
    let freed = lab.ask(asks(from(bu(1, 100, vec![]), home(2)), ANY, 32, false));
    assert_eq!(freed.1, Some((0, 32, address(65))), "what nobody owns goes to the pool");
    assert_eq!(lab.run(Command::DeleteSubscriber(HOME)).outcome, Outcome::Done);
    assert_eq!(lab.cache.home(HOME).unwrap().ipv4_home_address, None);
}

#[test]
fn pools_and_owners_keep_clear_of_each_other() {
    let field = |lab: &mut Lab, command| match lab.run(command).outcome {
        Outcome::Refused(refusal) => (refusal.kind, refusal.field.into_owned()),
        other => panic!("{other:?}"),
    };
    let owning = |host, text| {
        let ipv4_home_address = Some(pool(text));
        let subscriber = Subscriber { ipv4_home_address, ..Subscriber::new(home(host)) };
        Command::PutSubscriber { subscriber, must_not_exist: false }
    };
    let mut lab = Lab::with(with_pool("198.51.100.0/28"));
    assert_eq!(lab.ask(asks(bu(1, 100, vec![]), ANY, 32, false)).0, 0);
    let invalid = (RefusalKind::Invalid, "ipv4_home_address".into());
    for text in ["0.0.0.0/0", "224.0.0.0/24", "198.51.100.1/32", "198.51.100.0/24"] {
        assert_eq!(field(&mut lab, owning(1, text)), invalid, "{text}");
    }
    let in_use = (RefusalKind::InUse, "ipv4_home_address".into());
    assert_eq!(field(&mut lab, owning(1, "198.51.100.2/32")), in_use, "assigned to another");
    assert_eq!(lab.run(owning(0, "198.51.100.2/32")).outcome, Outcome::Done, "its own");
    assert_eq!(lab.cache.home(HOME).unwrap().ipv4_home_address, Some(pool("198.51.100.2/32")));
    assert_eq!(lab.run(owning(1, "198.51.100.4/30")).outcome, Outcome::Done);
    assert_eq!(field(&mut lab, owning(2, "198.51.100.6/32")), invalid);
    assert_eq!(lab.run(owning(1, "198.51.100.4/31")).outcome, Outcome::Done);
    assert_eq!(lab.run(owning(2, "198.51.100.6/32")).outcome, Outcome::Done);
    // Home prefixes.
    let prefix = Ipv6Prefix::new("2001:db8:0:2::".parse().unwrap(), 64).unwrap();
    let second = HomePrefix::new(prefix, "2001:db8:0:2::1".parse().unwrap(), Authentication::None);
    let put = |home_prefix| Command::PutHomePrefix { home_prefix, must_not_exist: false };
    let overlapping = HomePrefix { ipv4_pool: Some(pool("198.51.100.0/24")), ..second.clone() };
    assert_eq!(field(&mut lab, put(overlapping)), (RefusalKind::Invalid, "ipv4_pool".into()));
    let wide = HomePrefix { ipv4_pool: Some(pool("10.0.0.0/7")), ..second.clone() };
    assert_eq!(field(&mut lab, put(wide)), (RefusalKind::Invalid, "ipv4_pool".into()));
    let agent = Some(Ipv4Addr::new(198, 51, 100, 4));
    let taken = HomePrefix { home_agent_ipv4: agent, ..second.clone() };
    assert_eq!(field(&mut lab, put(taken)), (RefusalKind::InUse, "home_agent_ipv4".into()));
    let hasty = HomePrefix { nat_keepalive_secs: 0, ..second.clone() };
    assert_eq!(field(&mut lab, put(hasty)), (RefusalKind::Invalid, "nat_keepalive_secs".into()));
    assert_eq!(lab.run(put(second)).outcome, Outcome::Done);
    let restored = BindingCache::from_records(lab.cache.records()).unwrap();
    lab.cache.take_changes();
    assert_eq!(restored, lab.cache);
    // The pool goes: nothing is assigned out of it any more.
    assert_eq!(lab.run(put(home_prefix())).outcome, Outcome::Done);
    let none = lab.ask(asks(from(bu(1, 100, vec![]), home(9)), ANY, 32, false));
    assert_eq!(none.1, Some((132, 0, ANY)));
}

/// RFC 5555 §4.4: UDP where a NAT is, where the operator wants it, and where the mobile node does.
#[test]
fn udp_only_where_it_is_needed() {
    let observed = |answer: &Answer| {
        let nat = answer.nat_detection.unwrap();
        (answer.status.0, nat.force_udp, nat.refresh_secs)
    };
    let in_udp = |sequence, source: [u8; 4], f: bool| {
        let mut r = bu(sequence, 100, vec![v4(7, BEHIND)]);
        r.source = WireSource::Udp(source.into(), 40_001);
        if f {
            r.flags = r.flags.with(BuFlags::FORCE_UDP);
        }
        r
    };
    let none = u32::MAX;
    // Forced, F allowed, outer source, F: status, F of the answer, refresh time, UDP.
    let rows = [
        (true, true, BEHIND, false, (0, true, none), Some(true)),
        (true, false, BEHIND, true, (0, true, none), Some(true)),
        (true, true, NAT.octets(), false, (0, false, 77), Some(true)),
        (false, true, BEHIND, false, (0, false, none), Some(false)),
        (false, true, BEHIND, true, (0, true, none), Some(true)),
        (false, false, BEHIND, true, (129, true, none), None),
        (false, false, NAT.octets(), true, (0, false, 77), Some(true)),
        (false, false, NAT.octets(), false, (0, false, 77), Some(true)),
    ];
    for (forced, allowed, source, f, expected, udp) in rows {
        let mut lab = Lab::with(HomePrefix {
            force_udp_encapsulation: forced,
            force_udp_requests_allowed: allowed,
            nat_keepalive_secs: 77,
            ..home_prefix()
        });
        let answer = lab.register(in_udp(1, source, f));
        let mut seen = observed(&answer);
        if answer.status.0 == 129 {
            // A refusal forces nothing.
            assert_eq!((lab.care_of(), answer.lifetime), (vec![], Lifetime(0)));
            seen.1 = true;
        }
        assert_eq!(seen, expected, "{forced} {allowed} {source:?} {f}");
        let stored = lab.care_of().first().map(|(_, care_of)| *care_of);
        let stored = stored.map(|care_of| match care_of {
            CareOf::Ipv4 { udp, .. } => udp,
            CareOf::Ipv6(_) => panic!("IPv6"),
        });
        assert_eq!(stored, udp, "{forced} {allowed} {source:?} {f}");
    }
}

/// A NAT's new mapping is learnt by a Binding Update alone, and how the address is reached with it.
#[test]
fn a_refresh_asks_anew_whether_udp_is_needed() {
    let mut lab = Lab::with(HomePrefix { force_udp_encapsulation: false, ..home_prefix() });
    let address = Ipv4Addr::from(BEHIND);
    let refresh = |lab: &mut Lab, sequence, source, port, flags: BuFlags| {
        let bid = if sequence == 1 { v4(7, BEHIND) } else { short(7) };
        let mut r = bu(sequence, 100, vec![bid]);
        r.source = WireSource::Udp(source, port);
        r.flags = r.flags.with(flags);
        assert_eq!(lab.register(r).status.0, 0);
        lab.care_of()[0].1
    };
    let care_of = |from, port, udp| CareOf::Ipv4 { address: from, port, announced: address, udp };
    let none = BuFlags(0);
    assert_eq!(refresh(&mut lab, 1, address, 4191, none), care_of(address, 4191, false));
    let forced = refresh(&mut lab, 2, address, 4191, BuFlags::FORCE_UDP);
    assert_eq!(forced, care_of(address, 4191, true));
    assert_eq!(refresh(&mut lab, 3, address, 4191, none), care_of(address, 4191, false));
    assert_eq!(refresh(&mut lab, 4, NAT, 50_000, none), care_of(NAT, 50_000, true));
    // From another care-of address the mapping stays as it is.
    let mut r = bu(5, 100, vec![short(7), v6(1, COA1)]);
    r.source = WireSource::Ipv6(COA1);
    assert_eq!(codes(&lab.register(r)), (0, vec![0, 0]));
    assert_eq!(lab.care_of()[1].1, care_of(NAT, 50_000, true));
}

/// RFC 5648 §4.4: the IPv4 Care-of Address option says nothing beside BID options.
#[test]
fn the_ipv4_care_of_address_option_beside_bid_options() {
    let mut lab = Lab::new();
    let mut r = bu(1, 100, vec![v4(7, NAT.octets())]);
    r.source = WireSource::Udp(NAT, 40_001);
    r.ipv4_care_of = Some(BEHIND.into());
    let answer = lab.register(r);
    assert_eq!(answer.nat_detection.unwrap().refresh_secs, u32::MAX);
    let expected = CareOf::Ipv4 { address: NAT, port: 40_001, announced: NAT, udp: true };
    assert_eq!(lab.care_of(), [(Some(7), expected)]);
}
