//! Duplicate Address Detection before the first binding, and the lease of a home link.

use super::*;

mod lease;
mod model;

fn real_home_prefix() -> HomePrefix {
    HomePrefix { real_home_link: true, ..home_prefix() }
}

fn lab() -> Lab {
    Lab::with(real_home_prefix())
}

/// The outcome of a Binding Update that keeps its request id.
fn submit(lab: &mut Lab, id: u8, mut r: Registration) -> Outcome {
    r.request_id = [id; 16];
    r.policy_revisions = lab.cache.policy(r.home_address, r.home_agent).revisions();
    lab.run(Command::Register(r)).outcome
}

fn status(outcome: &Outcome) -> Option<u8> {
    match outcome {
        Outcome::Answer(answer) => Some(answer.status.0),
        _ => None,
    }
}

fn found(lab: &mut Lab, id: u8, duplicate: bool) {
    let found = Detected { home_address: HOME, request_id: [id; 16], duplicate };
    let verdict = lab.run(Command::DuplicateAddressDetection(found));
    assert_eq!(verdict.outcome, Outcome::Done);
}

fn probe(lab: &Lab) -> Option<Probe> {
    lab.cache.home(HOME).and_then(|home| home.probe.clone())
}

fn link_local(mut r: Registration) -> Registration {
    r.flags = r.flags.with(BuFlags::LINK_LOCAL);
    r
}

const SUPERSEDED: Outcome = Outcome::Silent(Silence::Superseded);

#[test]
fn a_first_binding_waits_for_the_defender() {
    let mut lab = lab();
    lab.cache.take_changes();
    assert_eq!(submit(&mut lab, 1, link_local(bu(7, 150, Vec::new()))), Outcome::Pending);
    let waiting = Probe { request_id: [1; 16], link_local: true, verdict: None };
    assert_eq!(probe(&lab), Some(waiting));
    assert_eq!(lab.cache.take_changes(), [Change::Home(HOME)]);
    assert_eq!((lab.cache.binding_count(), lab.cache.home_address_count()), (0, 1));
    let revision = lab.cache.home(HOME).unwrap().revision;
    assert_eq!(revision, lab.cache.revision());
    // Asked again: nothing changes, and no forwarder is told anything.
    assert_eq!(submit(&mut lab, 1, link_local(bu(7, 150, Vec::new()))), Outcome::Pending);
    assert_eq!(lab.cache.take_changes(), []);
    // Another one's result is not this one's.
    found(&mut lab, 9, true);
    assert!(lab.cache.home(HOME).unwrap().is_probing());
    found(&mut lab, 1, false);
    assert!(!lab.cache.home(HOME).unwrap().is_probing());
    assert_eq!(lab.cache.take_changes(), [Change::Home(HOME)]);
    // The first result counts.
    found(&mut lab, 1, true);
    lab.pass(1);
    let outcome = submit(&mut lab, 1, link_local(bu(7, 150, Vec::new())));
    assert_eq!(status(&outcome), Some(0));
    let home = lab.cache.home(HOME).unwrap();
    assert_eq!((home.probe.clone(), home.link_local, home.forget), (None, true, None));
    let ends = home.bindings.get(&None).unwrap().ends;
    assert_eq!(ends, LogTime(lab.at + 600_000), "the lifetime counts from the acknowledgement");
    // The verdict is remembered, and a late result changes nothing.
    assert_eq!(submit(&mut lab, 1, link_local(bu(7, 150, Vec::new()))), outcome);
    found(&mut lab, 1, true);
    assert_eq!(lab.cache.binding_count(), 1);
    // Nobody looks again while a binding is in force, nor before it ends.
    assert_eq!(status(&submit(&mut lab, 2, bu(8, 150, Vec::new()))), Some(0));
    assert!(!lab.cache.home(HOME).unwrap().link_local);
    assert_eq!(status(&submit(&mut lab, 3, bu(9, 0, Vec::new()))), Some(0));
    assert_eq!(submit(&mut lab, 4, bu(10, 150, Vec::new())), Outcome::Pending);
}

#[test]
fn a_duplicate_is_refused_and_looked_for_again() {
    let mut lab = lab();
    assert_eq!(submit(&mut lab, 1, bu(7, 150, vec![v6(1, COA1), v6(2, COA2)])), Outcome::Pending);
    found(&mut lab, 1, true);
    let outcome = submit(&mut lab, 1, bu(7, 150, vec![v6(1, COA1), v6(2, COA2)]));
    let Outcome::Answer(answer) = &outcome else { panic!("{outcome:?}") };
    assert_eq!(codes(answer), (134, vec![0, 0]));
    assert_eq!((answer.lifetime, answer.sequence), (Lifetime(0), Sequence(7)));
    assert_eq!((probe(&lab), lab.cache.binding_count()), (None, 0));
    assert_eq!(submit(&mut lab, 1, bu(7, 150, Vec::new())), outcome, "remembered");
    assert_eq!(status(&submit(&mut lab, 2, bu(7, 150, Vec::new()))), Some(135));
    assert_eq!(submit(&mut lab, 3, bu(8, 150, Vec::new())), Outcome::Pending);
    // Nobody looked: like a tombstone it is forgotten, and forwarders are told.
    lab.cache.take_changes();
    lab.pass(9);
    assert!(probe(&lab).is_some());
    lab.pass(1);
    assert_eq!(lab.cache.home(HOME), None);
    assert_eq!(lab.cache.take_changes(), [Change::Home(HOME)]);
    found(&mut lab, 3, false);
    assert_eq!(lab.cache.home(HOME), None);
}

#[test]
fn only_the_newest_update_is_answered() {
    let mut lab = lab();
    assert_eq!(submit(&mut lab, 1, bu(1, 150, Vec::new())), Outcome::Pending);
    assert_eq!(submit(&mut lab, 2, link_local(bu(2, 150, Vec::new()))), Outcome::Pending);
    let newest = Probe { request_id: [2; 16], link_local: true, verdict: None };
    assert_eq!(probe(&lab), Some(newest));
    assert_eq!(submit(&mut lab, 1, bu(1, 150, Vec::new())), SUPERSEDED);
    assert_eq!(submit(&mut lab, 3, bu(2, 150, Vec::new())), SUPERSEDED, "as new, but later");
    assert_eq!(submit(&mut lab, 4, bu(1, 150, Vec::new())), SUPERSEDED, "delayed");
    // What was found for the older one is not taken for the newer one.
    found(&mut lab, 1, true);
    assert!(lab.cache.home(HOME).unwrap().is_probing());
    found(&mut lab, 2, false);
    let outcome = submit(&mut lab, 2, link_local(bu(2, 150, Vec::new())));
    assert_eq!(status(&outcome), Some(0));
    // Also when the older one is asked for after the newer one was answered.
    assert_eq!(submit(&mut lab, 1, bu(1, 150, Vec::new())), SUPERSEDED);
}

#[test]
fn a_known_result_decides_the_newer_update_at_once() {
    for (asked, wanted, duplicate, expected) in [
        (false, false, false, Some(0)),
        (false, false, true, Some(134)),
        (true, false, false, Some(0)),
        (true, true, true, Some(134)),
        // The link-local address was not looked for.
        (false, true, false, None),
        (false, true, true, Some(134)),
    ] {
        let mut lab = lab();
        let update = |sequence, with: bool| {
            let r = bu(sequence, 150, Vec::new());
            if with { link_local(r) } else { r }
        };
        assert_eq!(submit(&mut lab, 1, update(1, asked)), Outcome::Pending);
        found(&mut lab, 1, duplicate);
        let outcome = submit(&mut lab, 2, update(2, wanted));
        assert_eq!(status(&outcome), expected, "{asked} {wanted} {duplicate}");
        assert_eq!(submit(&mut lab, 1, update(1, asked)), SUPERSEDED);
    }
}

#[test]
fn retransmissions_keep_the_record_alive() {
    let mut lab = lab();
    for sequence in 1..10 {
        assert_eq!(submit(&mut lab, sequence, bu(sequence.into(), 150, vec![])), Outcome::Pending);
        lab.pass(4);
    }
    // Asking for the same one does not.
    for _ in 0..2 {
        assert_eq!(submit(&mut lab, 9, bu(9, 150, Vec::new())), Outcome::Pending);
        lab.pass(3);
    }
    assert_eq!(lab.cache.home(HOME), None);
}

/// Refused ones are refused at once, and end the waiting of older ones.
#[test]
fn what_is_not_registered_is_not_looked_for() {
    let refused: [(Registration, u8); 5] = [
        (bu(2, 0, Vec::new()), 133),
        (bu(2, 0, vec![short(1)]), 133),
        (bu(2, 150, vec![short(1)]), 167),
        (bu(2, 150, vec![v6(0, COA1)]), 164),
        (Registration { alternate_care_of: Some(AGENT), ..bu(2, 150, Vec::new()) }, 174),
    ];
    for (r, expected) in refused {
        let mut fresh = lab();
        assert_eq!(status(&submit(&mut fresh, 2, r.clone())), Some(expected));
        assert_eq!(fresh.cache.home(HOME), None);
        let mut waiting = lab();
        assert_eq!(submit(&mut waiting, 1, bu(1, 150, Vec::new())), Outcome::Pending);
        waiting.cache.take_changes();
        assert_eq!(status(&submit(&mut waiting, 2, r)), Some(expected));
        assert_eq!(probe(&waiting), None);
        assert_eq!(waiting.cache.take_changes(), [Change::Home(HOME)]);
        assert_eq!(submit(&mut waiting, 1, bu(1, 150, Vec::new())), SUPERSEDED);
        waiting.pass(10);
        assert_eq!(waiting.cache.home(HOME), None);
    }
}

#[test]
fn where_no_detection_is_due() {
    let home = |bid| BidRequest { home: true, ..short(bid) };
    // On no link.
    let mut lab = Lab::new();
    assert_eq!(status(&submit(&mut lab, 1, bu(1, 150, Vec::new()))), Some(0));
    // At home the mobile node has the address itself.
    let mut lab = self::lab();
    assert_eq!(status(&submit(&mut lab, 1, at_home(bu(1, 150, vec![home(1)])))), Some(5));
    let both = at_home(bu(2, 150, vec![home(1), v6(2, COA2)]));
    assert_eq!(status(&submit(&mut lab, 2, both)), Some(1 + 3));
    let mut lab = self::lab();
    let from_home = |r| Registration { source: WireSource::Ipv6(HOME), ..r };
    let r = from_home(bu(1, 150, vec![v6(2, COA2)]));
    assert_eq!(status(&submit(&mut lab, 1, r)), Some(0));
    // Beside a foreign one that comes first it is due.
    let mut lab = self::lab();
    let r = at_home(bu(1, 150, vec![home(1), v6(2, COA2)]));
    assert_eq!(submit(&mut lab, 1, r), Outcome::Pending);
    // A home address out of a mobile network is on no home link.
    let network = Ipv6Prefix::new(Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 0), 56).unwrap();
    let mut lab = Lab::with(HomePrefix { mobile_networks_allowed: true, ..real_home_prefix() });
    let home_address = Ipv6Addr::from_bits(network.address().to_bits() | 5);
    let subscriber = Subscriber {
        mobile_networks: vec![network],
        home_prefix: Some(home_prefix().prefix),
        ..Subscriber::new(home_address)
    };
    let put = Command::PutSubscriber { subscriber, must_not_exist: true };
    assert_eq!(lab.run(put).outcome, Outcome::Done);
    let flags = AH.with(BuFlags::MOBILE_ROUTER);
    let r = Registration { home_address, flags, ..bu(1, 150, Vec::new()) };
    assert_eq!(status(&submit(&mut lab, 1, r)), Some(0));
}

#[test]
fn an_expired_binding_was_the_last() {
    let mut lab = lab();
    assert_eq!(submit(&mut lab, 1, bu(1, 1, Vec::new())), Outcome::Pending);
    found(&mut lab, 1, false);
    assert_eq!(status(&submit(&mut lab, 1, bu(1, 1, Vec::new()))), Some(0));
    lab.pass(4);
    assert!(lab.cache.home(HOME).unwrap().bindings.is_empty());
    assert_eq!(submit(&mut lab, 2, bu(2, 1, Vec::new())), Outcome::Pending);
}

/// A timestamp is taken once, also of a Binding Update that asks again and again.
#[test]
fn message_ids_are_checked_once() {
    let mut lab = lab();
    let subscriber = Subscriber { mn_ha: Some((256, Key([1; 16]))), ..Subscriber::new(HOME) };
    let put = Command::PutSubscriber { subscriber, must_not_exist: true };
    assert_eq!(lab.run(put).outcome, Outcome::Done);
    let at = |lab: &Lab, fraction| LogTime(lab.at).ntp_secs() << 32 | fraction;
    let update =
        |message_id| Registration { message_id: Some(message_id), ..bu(0, 150, Vec::new()) };
    let (first, second) = (at(&lab, 1), at(&lab, 2));
    assert_eq!(submit(&mut lab, 1, update(first)), Outcome::Pending);
    assert_eq!(submit(&mut lab, 1, update(first)), Outcome::Pending);
    assert_eq!(status(&submit(&mut lab, 9, update(first))), Some(144), "replayed");
    // Where it protects, the sequence number does not say which is newer.
    assert_eq!(submit(&mut lab, 2, update(second)), Outcome::Pending);
    assert_eq!(submit(&mut lab, 1, update(first)), SUPERSEDED);
    found(&mut lab, 2, false);
    lab.pass(8);
    assert_eq!(status(&submit(&mut lab, 2, update(second))), Some(0), "its clock was right");
}

/// The operator changes the policy while somebody waits: the front-end checks again and goes on.
#[test]
fn a_changed_policy_applies_to_who_waits() {
    let put = |home_prefix| Command::PutHomePrefix { home_prefix, must_not_exist: false };
    let mut lab = lab();
    assert_eq!(submit(&mut lab, 1, bu(1, 150, Vec::new())), Outcome::Pending);
    let mut stale = bu(1, 150, Vec::new());
    (stale.request_id, stale.policy_revisions) =
        ([1; 16], lab.cache.policy(HOME, AGENT).revisions());
    let longest = HomePrefix { lifetime_max_secs: 40, ..real_home_prefix() };
    assert_eq!(lab.run(put(longest)).outcome, Outcome::Done);
    assert_eq!(lab.run(Command::Register(stale)).outcome, Outcome::StalePolicy);
    assert_eq!(submit(&mut lab, 1, bu(1, 150, Vec::new())), Outcome::Pending);
    assert_eq!(lab.run(put(home_prefix())).outcome, Outcome::Done);
    assert_eq!(status(&submit(&mut lab, 1, bu(1, 150, Vec::new()))), Some(0), "no link any more");
    assert_eq!(probe(&lab), None);
}
