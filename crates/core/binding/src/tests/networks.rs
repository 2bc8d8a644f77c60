//! Mobile routers: RFC 3963 §6.2.

use super::*;

const MNP: &str = "2001:db8:100::/56";

fn prefix(text: &str) -> Ipv6Prefix {
    let (address, len) = text.split_once('/').unwrap();
    Ipv6Prefix::new(address.parse().unwrap(), len.parse().unwrap()).unwrap()
}

fn lab() -> Lab {
    Lab::with(HomePrefix { mobile_networks_allowed: true, ..home_prefix() })
}

/// A lab with a mobile router that owns these prefixes.
fn with_router(networks: &[&str]) -> Lab {
    let mut lab = lab();
    lab.put(router(networks));
    lab
}

fn router(networks: &[&str]) -> Subscriber {
    let mobile_networks = networks.iter().map(|text| prefix(text)).collect();
    Subscriber { mobile_networks, ..Subscriber::new(HOME) }
}

/// With R, naming these prefixes.
fn as_router(mut r: Registration, named: &[&str]) -> Registration {
    r.flags = r.flags.with(BuFlags::MOBILE_ROUTER);
    r.mobile_networks = named
        .iter()
        .map(|text| {
            let (prefix, len) = text.split_once('/').unwrap();
            let (prefix, prefix_len) = (prefix.parse().unwrap(), len.parse().unwrap());
            MobileNetworkRequest { prefix, prefix_len }
        })
        .collect();
    r
}

impl Lab {
    pub(super) fn put(&mut self, subscriber: Subscriber) {
        let put = Command::PutSubscriber { subscriber, must_not_exist: false };
        assert_eq!(self.run(put).outcome, Outcome::Done);
    }

    /// What the acknowledgement says, and the prefixes in force.
    fn route(&mut self, r: Registration) -> (u8, bool, Vec<Ipv6Prefix>) {
        let answer = self.register(r);
        let home = self.cache.home(HOME);
        let networks = home.map(|home| home.mobile_networks.iter().copied().collect());
        (answer.status.0, answer.mobile_router, networks.unwrap_or_default())
    }
}

#[test]
fn explicit_mode_puts_in_force_what_each_update_names() {
    let (a1, a2) = ("2001:db8:100::/64", "2001:db8:200::/64");
    let mut lab = with_router(&[a1, a2]);
    let steps: [(&[&str], Ipv6Addr); 6] = [
        (&[a1, a2], COA1),
        (&[a1], COA2),
        (&[a2], COA2),
        (&[a1, a2], COA3),
        (&[a2, a1], COA1),
        (&["2001:db8:200::8/125"], COA1),
    ];
    for (sequence, (named, care_of)) in (1..).zip(steps) {
        let mut r = as_router(bu(sequence, 100, vec![]), named);
        r.source = WireSource::Ipv6(care_of);
        let mut expected: Vec<_> = named.iter().map(|text| prefix(text)).collect();
        expected.sort_unstable();
        assert_eq!(lab.route(r), (0, true, expected), "{named:?}");
    }
}

#[test]
fn implicit_mode_puts_in_force_what_is_provisioned() {
    let mut lab = with_router(&[MNP, "2001:db8:200::/64"]);
    let both = vec![prefix(MNP), prefix("2001:db8:200::/64")];
    assert_eq!(lab.route(as_router(bu(1, 100, vec![]), &[])), (0, true, both));
    lab.put(router(&[]));
    assert_eq!(lab.route(as_router(bu(2, 100, vec![]), &[])), (143, false, vec![]));
    lab.put(Subscriber { mobile_networks_explicit: true, ..router(&[MNP]) });
    assert_eq!(lab.route(as_router(bu(3, 100, vec![]), &[])), (143, false, vec![]));
    let named = as_router(bu(4, 100, vec![]), &[MNP]);
    assert_eq!(lab.route(named), (0, true, vec![prefix(MNP)]));
}

/// Nothing is stored, and what was there stays.
#[test]
fn prefixes_that_are_refused() {
    let rows = [
        ("2001:db8:100::/55", 141),
        ("2001:db8::/32", 141),
        ("2001:db8:100:0:1::/56", 141),
        ("2001:db8:100::/0", 141),
        ("2001:db8:100::/129", 141),
        ("ff0e::/64", 141),
        ("fe80::/64", 141),
        ("::/64", 141),
        ("::1/128", 141),
        ("::ffff:192.0.2.0/120", 141),
        ("2001:db8:200::/56", 142),
        ("2001:db8:0:1::/64", 142),
        ("2001:db8:a::/64", 142),
    ];
    for (named, status) in rows {
        let mut lab = with_router(&[MNP]);
        let refused = as_router(bu(1, 100, vec![]), &[MNP, named]);
        assert_eq!(lab.route(refused), (status, false, vec![]), "{named}");
        assert_eq!(lab.care_of(), [], "{named}");
        let good = as_router(bu(2, 100, vec![]), &[MNP]);
        assert_eq!(lab.route(good), (0, true, vec![prefix(MNP)]), "{named}");
        let mut again = as_router(bu(3, 100, vec![]), &[named]);
        again.source = WireSource::Ipv6(COA2);
        assert_eq!(lab.route(again), (status, false, vec![prefix(MNP)]), "{named}");
        assert_eq!(lab.addresses(), [(0, COA1)], "{named}");
    }
    // A malformed prefix is told before a foreign one.
    let mut lab = with_router(&[MNP]);
    let both = as_router(bu(1, 100, vec![]), &["2001:db8:200::/56", "ff0e::/64"]);
    assert_eq!(lab.route(both).0, 141);
}

#[test]
fn who_may_be_a_mobile_router() {
    let rows = [(false, None, 140), (false, Some(true), 0), (true, Some(false), 140)];
    for (allowed, own, status) in rows {
        let mut lab = Lab::with(HomePrefix { mobile_networks_allowed: allowed, ..home_prefix() });
        lab.put(Subscriber { mobile_networks_allowed: own, ..router(&[MNP]) });
        assert_eq!(lab.route(as_router(bu(1, 100, vec![]), &[])).0, status);
    }
    // Nobody owns anything: 142 in explicit mode, 143 in implicit mode.
    let mut lab = lab();
    assert_eq!(lab.route(as_router(bu(1, 100, vec![]), &[MNP])).0, 142);
    assert_eq!(lab.route(as_router(bu(2, 100, vec![]), &[])).0, 143);
}

/// A registration keeps its type: R and H (RFC 6275 §9.5.1, RFC 3963 §6.2).
#[test]
fn the_type_of_a_registration_does_not_change() {
    let with = |sequence, flags| {
        let mut r = bu(sequence, 100, vec![]);
        r.flags = BuFlags(flags);
        r
    };
    let (h, hr, r, none) = (0xc000, 0xc400, 0x8400, 0x8000);
    // Not bound: neither H nor R alone is served.
    let mut lab = with_router(&[MNP]);
    assert_eq!(lab.route(with(1, r)), (140, false, vec![]));
    assert_eq!(lab.route(with(1, none)), (128, false, vec![]));
    assert!(lab.cache.home(HOME).is_none());
    for (first, others) in [(h, [r, hr, none]), (hr, [none, r, h])] {
        let mut lab = with_router(&[MNP]);
        assert_eq!(lab.register(with(1, first)).status.0, 0);
        let before = lab.cache.home(HOME).cloned().unwrap();
        for other in others {
            let mut update = with(2, other);
            update.source = WireSource::Ipv6(COA2);
            assert_eq!(lab.register(update.clone()).status.0, 139, "{first:#x} to {other:#x}");
            update.flags = BuFlags(other & !0x8000);
            assert_eq!(lab.register(update).status.0, 139, "told without A flag too");
        }
        let after = lab.cache.home(HOME).unwrap();
        assert_eq!((after.sequence, &after.bindings), (before.sequence, &before.bindings));
        assert_eq!(after.mobile_networks, before.mobile_networks);
        assert_eq!(lab.register(with(2, first)).status.0, 0, "its own type goes on");
    }
    // A tombstone has no type.
    let mut lab = with_router(&[MNP]);
    assert_eq!(lab.register(with(1, h)).status.0, 0);
    assert_eq!(lab.register(bu(2, 0, vec![])).status.0, 0);
    assert_eq!(lab.route(with(3, hr)), (0, true, vec![prefix(MNP)]));
}

/// Without A flag a correspondent node's binding is refused in silence.
#[test]
fn a_binding_for_a_correspondent_without_a_flag() {
    let mut lab = lab();
    let mut r = bu(1, 100, vec![]);
    r.flags = BuFlags(0);
    r.policy_revisions = lab.cache.policy(HOME, AGENT).revisions();
    let outcome = lab.run(Command::Register(r)).outcome;
    assert_eq!(outcome, Outcome::Silent(Silence::CorrespondentUnsupported));
}

/// R and prefixes of a de-registration are disregarded (RFC 3963 §6.2), authorised or not.
#[test]
fn de_registration_takes_everything() {
    let named: [(&[&str], bool); 5] = [
        (&[], true),
        (&[], false),
        (&[MNP], true),
        (&[MNP], false),
        (&["2001:db8:200::/56"], false),
    ];
    for (named, keeps_r) in named {
        let mut lab = with_router(&[MNP]);
        assert_eq!(lab.route(as_router(bu(1, 100, vec![]), &[MNP])).0, 0);
        let mut gone = as_router(bu(2, 0, vec![]), named);
        if !keeps_r {
            gone.flags = AH;
        }
        assert_eq!(lab.route(gone), (0, keeps_r, vec![]), "{named:?}");
        assert_eq!(lab.care_of(), []);
    }
}

/// RFC 3963 §6.2: at home is a de-registration for a mobile router, not for a mobile node.
#[test]
fn a_mobile_router_comes_home() {
    let at_home = |mut r: Registration| {
        r.source = WireSource::Ipv6(HOME);
        r
    };
    let mut lab = with_router(&[MNP]);
    assert_eq!(lab.route(as_router(bu(1, 100, vec![]), &[])).0, 0);
    let answer = lab.register(at_home(as_router(bu(2, 100, vec![]), &[])));
    assert_eq!((answer.status.0, answer.lifetime, answer.mobile_router), (0, Lifetime(0), true));
    assert_eq!(lab.care_of(), []);
    let mut lab = with_router(&[MNP]);
    assert_eq!(lab.register(bu(1, 100, vec![])).status.0, 0);
    assert_eq!(lab.register(at_home(bu(2, 100, vec![]))).status.0, 174);
    assert_eq!(lab.addresses(), [(0, COA1)]);
    // With a BID option and H it stays bound.
    let mut lab =
        Lab::with(HomePrefix { mobile_networks_allowed: true, only_router: true, ..home_prefix() });
    lab.put(router(&[MNP]));
    let home = BidRequest { home: true, ..short(4) };
    let stays = at_home(as_router(bu(1, 100, vec![home]), &[MNP]));
    assert_eq!(lab.route(stays), (0, true, vec![prefix(MNP)]));
}

/// The prefixes belong to the home address, whatever BIDs an update names (RFC 5648 §7).
#[test]
fn every_binding_carries_the_prefixes() {
    let mut lab = with_router(&[MNP]);
    let (part, rest) = ("2001:db8:100::/64", "2001:db8:100:1::/64");
    let first = as_router(bu(1, 100, vec![v6(1, COA1)]), &[part]);
    assert_eq!(lab.route(first), (0, true, vec![prefix(part)]));
    let second = as_router(bu(2, 100, vec![v6(2, COA2)]), &[part, rest]);
    assert_eq!(lab.route(second), (0, true, vec![prefix(part), prefix(rest)]));
    let without = bu(3, 100, vec![short(2)]);
    assert_eq!(lab.route(without).0, 139);
    // Part of a bulk fails: the rest is a mobile router's all the same.
    let partial = as_router(bu(4, 100, vec![short(1), short(9)]), &[rest]);
    assert_eq!(lab.route(partial), (4, true, vec![prefix(rest)]));
    // All of it fails: the prefixes stay.
    let none = as_router(bu(5, 100, vec![short(9)]), &[part]);
    assert_eq!(lab.route(none), (167, false, vec![prefix(rest)]));
    // One of two bindings goes: the prefixes stay, whatever the update says of them.
    assert_eq!(lab.route(bu(6, 0, vec![short(1)])), (0, false, vec![prefix(rest)]));
    // The last one ends.
    lab.pass(500);
    assert_eq!(lab.care_of(), []);
    let home = lab.cache.home(HOME);
    assert!(home.is_none_or(|home| home.mobile_networks.is_empty() && !home.mobile_router));
}

/// RFC 3963 §6.1.2: the home address may be out of the mobile network.
#[test]
fn a_home_address_inside_its_own_mobile_network() {
    let inside: Ipv6Addr = "2001:db8:100::7".parse().unwrap();
    let mut lab = lab();
    let guest = Subscriber {
        home_prefix: Some(home_prefix().prefix),
        mobile_networks: vec![prefix(MNP)],
        ..Subscriber::new(inside)
    };
    lab.put(guest.clone());
    let mut r = as_router(bu(1, 100, vec![]), &[]);
    r.home_address = inside;
    let answer = lab.register(r);
    assert_eq!((answer.status.0, answer.mobile_router), (0, true));
    // Another address of the network belongs to nobody.
    let mut stranger = bu(1, 100, vec![]);
    stranger.home_address = "2001:db8:100::8".parse().unwrap();
    assert_eq!(lab.register(stranger).status.0, 132);
    let refused = lab.run(Command::DeleteHomePrefix(home_prefix().prefix)).outcome;
    assert!(matches!(refused, Outcome::Refused(Refusal { kind: RefusalKind::InUse, .. })));
    assert_eq!(lab.run(Command::DeleteSubscriber(inside)).outcome, Outcome::Done);
    let put = Command::PutSubscriber { subscriber: guest, must_not_exist: true };
    assert_eq!(lab.run(put).outcome, Outcome::Done, "its prefix was given back");
}

/// A care-of address may lie in another's mobile network, not in one's own, and never be somebody's
/// home address.
#[test]
fn care_of_addresses_in_mobile_networks() {
    let inside: Ipv6Addr = "2001:db8:100::7".parse().unwrap();
    let other = Ipv6Addr::from_bits(HOME.to_bits() + 1);
    let mut lab = with_router(&[MNP]);
    let from = |home_address, care_of, sequence| {
        let mut r = bu(sequence, 100, vec![v6(1, care_of)]);
        r.home_address = home_address;
        r
    };
    assert_eq!(lab.register(from(other, inside, 1)).status.0, 0, "a visitor");
    assert_eq!(lab.register(from(HOME, inside, 1)).status.0, 174, "behind itself");
    assert_eq!(lab.register(from(HOME, other, 2)).status.0, 174, "another's home address");
    let mut guest = Subscriber::new("2001:db8:200::7".parse().unwrap());
    guest.home_prefix = Some(home_prefix().prefix);
    guest.mobile_networks = vec![prefix("2001:db8:200::/64")];
    lab.put(guest);
    assert_eq!(lab.register(from(HOME, "2001:db8:200::8".parse().unwrap(), 3)).status.0, 0);
    assert_eq!(lab.register(from(HOME, "2001:db8:200::7".parse().unwrap(), 4)).status.0, 174);
}

#[test]
fn ownership_is_checked() {
    let field = |lab: &mut Lab, subscriber: Subscriber| {
        let put = Command::PutSubscriber { subscriber, must_not_exist: false };
        match lab.run(put).outcome {
            Outcome::Refused(refusal) => refusal.field.into_owned(),
            other => panic!("{other:?}"),
        }
    };
    let mut lab = with_router(&[MNP, "2001:db8:300::/64"]);
    let other = Ipv6Addr::from_bits(HOME.to_bits() + 1);
    let owning = |networks: &[&str]| Subscriber { home_address: other, ..router(networks) };
    for networks in [
        &[MNP][..],
        &["2001:db8:100:1::/64"],
        &["2001:db8:100::/40"],
        &["2001:db8:400::/64", "2001:db8:300::/60"],
        &["2001:db8:400::/64", "2001:db8:400::/64"],
        &["2001:db8:400::/64", "2001:db8:400::/60"],
        &["2001:db8:0:1::/64"],
        &["2001:db8::/48"],
        &["2001:db8:0:1::/112"],
        &["::/0"],
        &["ff00::/64"],
        &["fe80::/64"],
    ] {
        assert_eq!(field(&mut lab, owning(networks)), "mobile_networks", "{networks:?}");
    }
    // Part of the home prefix without the home agent may be a mobile network.
    lab.put(owning(&["2001:db8:0:1:8000::/80", "2001:db8:400::/64"]));
    assert_eq!(field(&mut lab, router(&["2001:db8:400::/56"])), "mobile_networks");
    // Its own prefixes are no hindrance.
    lab.put(router(&["2001:db8:100::/55"]));
    let stray = Subscriber::new("2001:db8:100::7".parse().unwrap());
    assert_eq!(field(&mut lab, stray.clone()), "home_address");
    let foster = Some(home_prefix().prefix);
    assert_eq!(field(&mut lab, Subscriber { home_prefix: foster, ..stray }), "home_address");
    let twice = Subscriber { home_prefix: foster, ..router(&[MNP]) };
    assert_eq!(field(&mut lab, twice), "home_prefix");
    let unknown = Subscriber {
        home_address: "2001:db8:500::7".parse().unwrap(),
        home_prefix: Some(prefix("2001:db8:9::/64")),
        ..router(&["2001:db8:500::/64"])
    };
    assert_eq!(field(&mut lab, unknown), "home_prefix");
    // A new home prefix keeps clear of mobile networks.
    let agent = "2001:db8:400::1".parse().unwrap();
    let home_prefix = HomePrefix::new(prefix("2001:db8:400::/64"), agent, Authentication::None);
    let put = Command::PutHomePrefix { home_prefix, must_not_exist: true };
    assert!(matches!(lab.run(put).outcome, Outcome::Refused(refusal) if refusal.field == "prefix"));
}

/// What is taken from a subscriber is no longer carried, from that log entry on.
#[test]
fn a_prefix_that_is_taken_away_is_withdrawn() {
    let mut lab = with_router(&[MNP, "2001:db8:300::/64"]);
    assert_eq!(lab.route(as_router(bu(1, 100, vec![]), &[])).2.len(), 2);
    lab.cache.take_changes();
    lab.put(router(&["2001:db8:300::/64"]));
    assert_eq!(lab.cache.take_changes(), [Change::Home(HOME)]);
    let home = lab.cache.home(HOME).unwrap();
    let networks: Vec<_> = home.mobile_networks.iter().copied().collect();
    assert_eq!((networks, home.revision), (vec![prefix("2001:db8:300::/64")], lab.index));
    let other = Ipv6Addr::from_bits(HOME.to_bits() + 1);
    lab.put(Subscriber { home_address: other, ..router(&[MNP]) });
    assert_eq!(lab.cache.take_changes(), []);
}
