//! Which care-of addresses are believed, and when the others are tested (RFC 5648 §10).

use super::*;

/// Of one mobile node that is up to no good.
const VICTIMS: u16 = 50;
const NOBODY: [Ipv6Addr; 0] = [];

fn verified_prefix() -> HomePrefix {
    HomePrefix { care_of_verification: true, bindings_per_home_address_max: 64, ..home_prefix() }
}

fn lab() -> Lab {
    Lab::with(verified_prefix())
}

fn victim(n: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0xbad, n, 0, 0, 0, 1)
}

/// From `source`, which is anybody's.
fn from(source: Ipv6Addr, mut r: Registration) -> Registration {
    r.source = WireSource::Ipv6(source);
    r
}

impl Lab {
    /// Care-of addresses that packets do not take.
    fn unverified(&self) -> Vec<Ipv6Addr> {
        let home = self.cache.home(HOME).unwrap();
        let all = home.bindings.values().filter(|binding| binding.unverified);
        all.map(|binding| match binding.care_of {
            CareOf::Ipv6(address) => address,
            CareOf::Ipv4 { .. } => panic!("an IPv4 care-of address"),
        })
        .collect()
    }

    /// Where tests have gone since the last look, each with its nonce.
    fn tests(&mut self) -> Vec<(Ipv6Addr, Nonce)> {
        let tests = self.cache.take_notices().into_iter().filter_map(|dispatch| {
            let DispatchMessage::CareOfTest { nonce } = dispatch.message else { return None };
            let CareOf::Ipv6(address) = dispatch.care_of else { panic!("{dispatch:?}") };
            assert_eq!((dispatch.home_address, dispatch.home_agent), (HOME, AGENT));
            assert_eq!(dispatch.esp, None);
            Some((address, nonce))
        });
        tests.collect()
    }

    fn tested(&mut self) -> Vec<Ipv6Addr> {
        self.tests().into_iter().map(|(address, _)| address).collect()
    }

    fn answer(&mut self, nonce: Nonce) -> Outcome {
        let answer = CareOfVerified { home_address: HOME, nonce };
        let is_awaited = self.cache.awaits_care_of_test(&answer);
        let outcome = self.run(Command::CareOfVerified(answer)).outcome;
        let unknown = Outcome::Silent(Silence::UnknownCareOfTest);
        assert_eq!(outcome, if is_awaited { Outcome::Done } else { unknown });
        outcome
    }
}

#[test]
fn the_source_of_a_binding_update_is_verified_and_what_it_only_names_is_not() {
    let mut lab = lab();
    let answer = lab.register(bu(1, 225, vec![v6(1, COA1), v6(2, COA2)]));
    assert_eq!(codes(&answer), (0, vec![0, 0]), "all are accepted");
    assert_eq!(lab.unverified(), [COA2]);
    assert_eq!(lab.tested(), [COA2]);
    lab.cache.take_changes();
    let mut named = bu(2, 225, Vec::new());
    named.alternate_care_of = Some(COA3);
    assert!(lab.register(named).status.is_accepted());
    assert_eq!(lab.unverified(), [COA3], "an alternate care-of address is only named");
    let mut named = bu(3, 225, Vec::new());
    named.alternate_care_of = Some(COA1);
    assert!(lab.register(named).status.is_accepted());
    assert_eq!(lab.unverified(), NOBODY);
}

#[test]
fn what_was_verified_stays_so_whatever_renews_or_moves_it() {
    let mut lab = lab();
    lab.register(bu(1, 225, vec![v6(1, COA1)]));
    lab.register(from(COA2, bu(2, 225, vec![v6(2, COA2)])));
    assert_eq!(lab.unverified(), NOBODY);
    lab.register(bu(3, 225, vec![short(1), short(2)]));
    lab.register(bu(4, 225, vec![v6(1, COA1), v6(2, COA2)]));
    assert_eq!(lab.unverified(), NOBODY, "a bulk refresh");
    lab.register(overwrite(from(COA3, bu(5, 225, vec![v6(5, COA3), v6(6, COA2)]))));
    assert_eq!(lab.unverified(), NOBODY, "under another identifier");
    lab.register(from(COA3, bu(6, 225, vec![v6(5, COA1), v6(6, COA2)])));
    assert_eq!(lab.unverified(), [COA1], "it was given up in between");
    lab.register(from(COA2, bu(7, 225, vec![short(5), short(6)])));
    assert_eq!(lab.unverified(), [COA1], "a refresh shows nothing of the others");
    assert_eq!(lab.tested(), [COA1]);
}

/// A home binding's address is the home address itself (RFC 5648 §5.6), and a mapping of IPv4 is the source
/// that a Binding Update came from (§8.1).
#[test]
fn home_bindings_and_mappings_of_ipv4_need_no_test() {
    let prefix =
        HomePrefix { home_agent_ipv4: Some(Ipv4Addr::new(198, 51, 100, 1)), ..verified_prefix() };
    let mut lab = Lab::with(prefix);
    let at_home_too = BidRequest { home: true, ..short(9) };
    lab.register(at_home(bu(1, 225, vec![v6(1, COA1), at_home_too])));
    let mut over_udp = bu(2, 225, vec![v4(7, [192, 168, 1, 44])]);
    over_udp.source = WireSource::Udp(Ipv4Addr::new(192, 0, 2, 44), 40_001);
    lab.register(over_udp);
    assert_eq!(lab.unverified(), NOBODY);
    assert_eq!(lab.care_of().len(), 3);
    assert_eq!(lab.tested(), NOBODY);
}

#[test]
fn an_answer_with_the_nonce_verifies_that_address_alone() {
    let mut lab = lab();
    lab.register(bu(1, 225, vec![v6(1, COA1), v6(2, COA2), v6(3, COA3)]));
    let tests = lab.tests();
    let [(COA2, second), (COA3, third)] = tests[..] else { panic!("{tests:?}") };
    assert_ne!(second, third, "each has its own");
    for forged in [[0; 16], [1; 16], {
        let mut near = second;
        near[15] ^= 1;
        near
    }] {
        assert_ne!(lab.answer(forged), Outcome::Done);
    }
    assert_eq!(lab.unverified(), [COA2, COA3]);
    lab.cache.take_changes();
    assert_eq!(lab.answer(second), Outcome::Done);
    assert_eq!(lab.cache.take_changes(), [Change::Home(HOME)]);
    assert_eq!(lab.unverified(), [COA3], "the nonce of one says nothing of the other");
    assert_ne!(lab.answer(second), Outcome::Done, "a replay");
    assert_eq!(lab.unverified(), [COA3]);
    lab.register(from(COA3, bu(2, 225, vec![v6(3, COA3)])));
    assert_eq!(lab.unverified(), NOBODY, "a Binding Update from there does as well");
    assert_ne!(lab.answer(third), Outcome::Done);
}

#[test]
fn a_nonce_of_before_does_not_verify_what_was_given_up_and_comes_again() {
    let mut lab = lab();
    let both = || vec![v6(1, COA1), v6(2, COA2)];
    lab.register(bu(1, 225, both()));
    let first = lab.tests();
    assert_eq!(lab.answer(first[0].1), Outcome::Done);
    lab.register(bu(2, 0, Vec::new()));
    lab.register(bu(3, 225, both()));
    assert_eq!(lab.unverified(), [COA2]);
    assert_ne!(lab.answer(first[0].1), Outcome::Done);
    lab.pass(60);
    let again = lab.tests();
    assert_eq!((again.len(), again[0].0), (1, COA2));
    assert_eq!(lab.answer(again[0].1), Outcome::Done);
}

/// Threat T4: whatever the mobile node sends, a victim gets one small packet in a minute.
#[test]
fn one_test_a_minute_goes_to_each_address_whatever_the_mobile_node_sends() {
    let mut lab = lab();
    let all = || {
        let victims = (1..=VICTIMS).map(|n| v6(n + 1, victim(n)));
        core::iter::once(v6(1, COA1)).chain(victims).collect::<Vec<_>>()
    };
    let mut sequence = 0;
    let mut sent = alloc::collections::BTreeMap::<Ipv6Addr, Vec<u64>>::new();
    for second in 0..600_u64 {
        sequence += 1;
        let update = match second % 7 {
            0..=2 => bu(sequence, 225, all()),
            3 => overwrite(bu(sequence, 225, all())),
            4 => bu(sequence, 225, vec![short(1), short(2), short(3)]),
            // Gone, and back again.
            5 => bu(sequence, 0, Vec::new()),
            _ => bu(sequence, 225, vec![v6(1, COA1), v6(30, victim(7)), v6(31, victim(8))]),
        };
        lab.register(update);
        for (to, _) in lab.tests() {
            sent.entry(to).or_default().push(second);
        }
        lab.pass(1);
        for (to, _) in lab.tests() {
            sent.entry(to).or_default().push(second + 1);
        }
    }
    assert_eq!(sent.len(), usize::from(VICTIMS), "each was tested, and {COA1} was not");
    for (to, times) in &sent {
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 60), "{to}: {times:?}");
        assert!(times.len() >= 5, "{to}: {times:?}");
    }
}

/// However many addresses it goes through.
#[test]
fn a_home_address_has_no_more_than_so_many_addresses_tested_in_a_minute() {
    let mut lab = lab();
    let mut tested = 0;
    for turn in 0..20_u16 {
        let victims = (1..=VICTIMS).map(|n| v6(n, victim(turn * VICTIMS + n)));
        lab.register(overwrite(bu(turn + 1, 225, victims.collect())));
        tested += lab.tests().len();
    }
    assert_eq!(tested, limits::CARE_OF_TESTS_PER_HOME_ADDRESS_MAX);
    lab.register(bu(30, 0, Vec::new()));
    lab.pass(11);
    assert!(lab.cache.home(HOME).is_some(), "who comes back is known");
    assert!(lab.cache.next_deadline() > Some(lab.cache.now()), "nothing is due until then");
    lab.pass(60);
    assert!(lab.cache.home(HOME).is_none(), "and forgotten when that is over");
    lab.register(bu(1, 225, vec![v6(1, COA1), v6(2, COA2)]));
    assert_eq!(lab.tested(), [COA2]);
}

#[test]
fn nothing_else_is_told_to_an_address_that_is_not_verified() {
    let mut lab = Lab::with(HomePrefix { prefix_discovery_allowed: true, ..verified_prefix() });
    let best = BidRequest { priority: BidPriority::new(1), ..v6(2, COA2) };
    lab.register(bu(1, 225, vec![v6(1, COA1), best]));
    assert_eq!(lab.tested(), [COA2]);
    let bids = vec![Bid(2)];
    let trigger = homeport_wire::RevocationTrigger::UNSPECIFIED;
    lab.run(Command::Revoke(Revoke { home_address: HOME, bids, trigger }));
    let prefix = home_prefix().prefix;
    let within = Some(core::time::Duration::from_millis(1));
    lab.run(Command::AdvertiseHomePrefix { prefix, within });
    lab.pass(1);
    lab.pass(1);
    let told = lab.cache.take_notices();
    assert!(told.len() >= 2, "{told:?}");
    assert!(told.iter().all(|dispatch| dispatch.care_of == CareOf::Ipv6(COA1)), "{told:?}");
}

#[test]
fn without_the_policy_every_address_is_believed_as_before() {
    let mut lab = Lab::new();
    lab.register(bu(1, 225, vec![v6(1, COA1), v6(2, COA2)]));
    assert_eq!(lab.unverified(), NOBODY);
    assert_eq!(lab.tested(), NOBODY);
    // Where it begins, what there is stays.
    let Revised { record, revision: base_revision } =
        lab.cache.home_prefix(home_prefix().prefix).unwrap().clone();
    let home_prefix = HomePrefix { care_of_verification: true, ..record };
    let update = Command::UpdateHomePrefix { home_prefix, base_revision };
    assert_eq!(update.since(), SECURITY_SINCE);
    assert_eq!(lab.run(update).outcome, Outcome::Done);
    lab.register(bu(2, 225, vec![short(1), short(2), v6(3, COA3)]));
    assert_eq!(lab.unverified(), [COA3]);
    let nonce = lab.tests()[0].1;
    let answer = Command::CareOfVerified(CareOfVerified { home_address: HOME, nonce });
    assert_eq!(answer.since(), SECURITY_SINCE);
}

#[test]
fn a_restored_state_goes_on_testing() {
    let mut lab = lab();
    lab.register(bu(1, 225, vec![v6(1, COA1), v6(2, COA2)]));
    let first = lab.tests();
    lab.cache.take_changes();
    let restored = BindingCache::from_records(lab.cache.records()).unwrap();
    assert_eq!(restored, lab.cache);
    assert_eq!(restored.next_deadline(), lab.cache.next_deadline());
    lab.cache = restored;
    lab.pass(59);
    assert_eq!(lab.tested(), NOBODY);
    lab.pass(1);
    assert_eq!(lab.tests(), first, "the same question");
    assert_eq!(lab.answer(first[0].1), Outcome::Done);
    lab.pass(60);
    assert_eq!(lab.tested(), NOBODY, "it is answered");
}
