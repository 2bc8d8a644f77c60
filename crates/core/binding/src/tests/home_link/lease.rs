use super::*;
use proptest::prelude::*;

fn defend(lab: &mut Lab, prefix: Ipv6Prefix, forwarder: &str) -> Outcome {
    lab.run(Command::DefendHomeLink { prefix, forwarder: forwarder.into() }).outcome
}

fn refusal(outcome: Outcome) -> (RefusalKind, alloc::string::String) {
    match outcome {
        Outcome::Refused(refusal) => (refusal.kind, refusal.field.into_owned()),
        other => panic!("{other:?}"),
    }
}

fn holder(lab: &Lab) -> Option<&str> {
    lab.cache.defender(home_prefix().prefix).map(|defender| defender.forwarder.as_str())
}

#[test]
fn one_forwarder_defends_a_link() {
    let mut lab = lab();
    let prefix = home_prefix().prefix;
    lab.cache.take_changes();
    assert_eq!(defend(&mut lab, prefix, "a"), Outcome::Done);
    lab.at += 1499;
    let in_use = (RefusalKind::InUse, "forwarder".into());
    assert_eq!(refusal(defend(&mut lab, prefix, "b")), in_use);
    assert_eq!(defend(&mut lab, prefix, "a"), Outcome::Done, "renewed");
    lab.at += 1499;
    assert_eq!(refusal(defend(&mut lab, prefix, "b")), in_use);
    assert_eq!(holder(&lab), Some("a"));
    let restored = BindingCache::from_records(lab.cache.records()).unwrap();
    assert_eq!(restored, lab.cache, "a snapshot holds the lease");
    lab.at += 1;
    assert_eq!(defend(&mut lab, prefix, "b"), Outcome::Done, "a fell silent");
    assert_eq!(holder(&lab), Some("b"));
    assert_eq!(refusal(defend(&mut lab, prefix, "a")), in_use);
    assert_eq!(lab.cache.take_changes(), [], "no forwarder is told by the feed");
    let twice = lab.cache.records().chain(lab.cache.records().last());
    assert_eq!(BindingCache::from_records(twice), Err(StateError::Duplicate));
}

#[test]
fn without_a_link_there_is_nothing_to_defend() {
    let other = Ipv6Prefix::new(Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, 0), 64).unwrap();
    let prefix = home_prefix().prefix;
    let put = |home_prefix| Command::PutHomePrefix { home_prefix, must_not_exist: false };
    let mut lab = lab();
    let field = |name: &str| alloc::string::String::from(name);
    assert_eq!(refusal(defend(&mut lab, other, "a")), (RefusalKind::NotFound, field("prefix")));
    for name in ["", &"a".repeat(65)] {
        let expected = (RefusalKind::Invalid, field("forwarder"));
        assert_eq!(refusal(defend(&mut lab, prefix, name)), expected);
    }
    assert_eq!(defend(&mut lab, prefix, &"a".repeat(64)), Outcome::Done);
    // The link goes, and the lease with it.
    assert_eq!(lab.run(put(home_prefix())).outcome, Outcome::Done);
    assert_eq!(refusal(defend(&mut lab, prefix, "a")), (RefusalKind::Invalid, field("prefix")));
    assert_eq!(lab.run(put(real_home_prefix())).outcome, Outcome::Done);
    assert_eq!(holder(&lab), None);
    assert_eq!(defend(&mut lab, prefix, "a"), Outcome::Done);
    assert_eq!(lab.run(Command::DeleteHomePrefix(prefix)).outcome, Outcome::Done);
    assert_eq!(lab.run(put(real_home_prefix())).outcome, Outcome::Done);
    assert_eq!(holder(&lab), None);
}

#[test]
fn a_lease_is_given_back_by_its_holder_only() {
    let mut lab = lab();
    let prefix = home_prefix().prefix;
    let release = |lab: &mut Lab, forwarder: &str| {
        let command = Command::ReleaseHomeLink { prefix, forwarder: forwarder.into() };
        lab.run(command).outcome
    };
    assert_eq!(release(&mut lab, "a"), Outcome::Done, "nobody has it");
    assert_eq!(defend(&mut lab, prefix, "a"), Outcome::Done);
    assert_eq!(release(&mut lab, "b"), Outcome::Done);
    assert_eq!(holder(&lab), Some("a"));
    assert_eq!(release(&mut lab, "a"), Outcome::Done);
    assert_eq!(holder(&lab), None);
    assert_eq!(defend(&mut lab, prefix, "b"), Outcome::Done, "at once");
    assert_eq!(release(&mut lab, "a"), Outcome::Done, "too late");
    assert_eq!(holder(&lab), Some("b"));
}

/// RFC 6275 §10.3.2, RFC 5648 §5.6: who is back home speaks for its address.
#[test]
fn a_home_address_is_left_to_who_is_at_home() {
    let mut lab = lab();
    let prefix = home_prefix().prefix;
    let left = |lab: &Lab, outcome: &Outcome| lab.cache.home_link_left_to(HOME, outcome);
    let pending = submit(&mut lab, 1, bu(1, 150, Vec::new()));
    assert_eq!((&pending, left(&lab, &pending)), (&Outcome::Pending, None));
    found(&mut lab, 1, false);
    let bound = submit(&mut lab, 1, bu(1, 150, Vec::new()));
    assert_eq!((status(&bound), left(&lab, &bound)), (Some(0), None), "defended");
    let gone = submit(&mut lab, 2, bu(2, 0, Vec::new()));
    assert_eq!((status(&gone), left(&lab, &gone)), (Some(0), Some(prefix)));
    let refused = submit(&mut lab, 3, bu(3, 0, Vec::new()));
    assert_eq!((status(&refused), left(&lab, &refused)), (Some(133), None), "nothing was left");
    let elsewhere = Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 1);
    assert_eq!(lab.cache.home_link_left_to(elsewhere, &gone), None);
    let put = |home_prefix| Command::PutHomePrefix { home_prefix, must_not_exist: false };
    assert_eq!(lab.run(put(home_prefix())).outcome, Outcome::Done);
    assert_eq!(left(&lab, &gone), None, "a virtual link has no neighbours");
}

proptest! {
    /// Whoever is told that it defends the link is the only one until its lease ends.
    #[test]
    fn leases_never_overlap(steps in prop::collection::vec((0_u64..2000, 0_u8..3), 1..80)) {
        let mut lab = lab();
        let mut leases: Vec<(u8, u64)> = Vec::new();
        for (passes_ms, who) in steps {
            lab.at += passes_ms;
            let name = [b'a' + who];
            let name = core::str::from_utf8(&name).unwrap();
            let is_held = leases.iter().any(|(other, ends)| *other != who && *ends > lab.at);
            match defend(&mut lab, home_prefix().prefix, name) {
                Outcome::Done => {
                    prop_assert!(!is_held);
                    leases.retain(|(other, _)| *other != who);
                    leases.push((who, lab.at + 1500));
                }
                outcome => {
                    prop_assert!(is_held, "refused without need");
                    prop_assert_eq!(refusal(outcome).0, RefusalKind::InUse);
                }
            }
        }
    }
}
