//! The home agent as a correspondent node: RFC 6275 §9.5, RFC 5648 §6.2.

use alloc::collections::BTreeMap;

use homeport_correspondent::Millis;
use homeport_correspondent::rules::Request;
use homeport_wire::BidOption;

use super::*;

/// Of another home agent.
const FOREIGN: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 0x7);

fn request(lab: &Lab, sequence: u16, lifetime: u16, bids: Vec<BidOption>) -> Request {
    Request {
        correspondent: AGENT,
        sequence: Sequence(sequence),
        lifetime: Lifetime(lifetime),
        flags: BuFlags::ACKNOWLEDGE,
        bids,
        has_malformed_bid: false,
        care_of: COA1,
        proven: COA1,
        nonces: (1, 2),
        nonces_end: Millis(lab.at + 200_000),
    }
}

fn correspond(lab: &mut Lab, home_address: Ipv6Addr, request: Request) -> Answer {
    lab.requests = lab.requests.wrapping_add(1);
    let request_id = [lab.requests; 16];
    let asked = Correspondence { request_id, home_address, request };
    match lab.run(Command::Correspond(asked)).outcome {
        Outcome::Answer(answer) => answer,
        other => panic!("no answer but {other:?}"),
    }
}

fn care_ofs(lab: &Lab) -> Vec<(Option<u16>, Ipv6Addr)> {
    let peer = lab.cache.correspondents(FOREIGN).and_then(|peers| peers.get(&AGENT));
    let bindings = peer.map(|peer| peer.home.bindings.clone()).unwrap_or_default();
    bindings.into_iter().map(|(bid, it)| (bid.map(|bid| bid.0), it.care_of)).collect()
}

#[test]
fn a_correspondent_is_bound_for_seven_minutes_at_most_and_forwarders_hear_of_it() {
    let mut lab = Lab::new();
    lab.cache.take_changes();
    let asked = request(&lab, 1, 1000, vec![BidOption::v6(Bid(1), COA1).with_home(true)]);
    let answer = correspond(&mut lab, FOREIGN, asked);
    assert_eq!((codes(&answer), answer.lifetime), ((0, vec![0]), Lifetime::from_secs(420)));
    assert_eq!(care_ofs(&lab), [(Some(1), COA1)], "the H flag of the option means nothing");
    assert_eq!(lab.cache.take_changes(), [Change::Correspondent(FOREIGN)]);
    assert_eq!(lab.cache.home_address_count(), 0, "it is no home registration");
    assert_eq!(lab.cache.next_deadline(), Some(LogTime(lab.at + 420_000)));
    lab.pass(420);
    assert_eq!((care_ofs(&lab), lab.cache.correspondent_count()), (vec![], 0));
    assert_eq!(lab.cache.take_changes(), [Change::Correspondent(FOREIGN)]);
    assert_eq!(lab.cache.next_deadline(), None);
}

#[test]
fn an_old_update_of_a_correspondent_stays_old_after_the_end() {
    let mut lab = Lab::new();
    let asked = request(&lab, 5, 1, vec![]);
    assert_eq!(correspond(&mut lab, FOREIGN, asked.clone()).status, Status::ACCEPTED);
    lab.pass(4);
    assert_eq!(care_ofs(&lab), []);
    let answer = correspond(&mut lab, FOREIGN, asked.clone());
    assert_eq!((answer.status.0, answer.sequence), (135, Sequence(5)));
    // Deleted bindings use up their nonces.
    let again = request(&lab, 6, 10, vec![]);
    assert_eq!(correspond(&mut lab, FOREIGN, again).status, Status::ACCEPTED);
    let gone = request(&lab, 7, 0, vec![]);
    assert_eq!(correspond(&mut lab, FOREIGN, gone).status, Status::ACCEPTED);
    let back = request(&lab, 8, 10, vec![]);
    assert_eq!(correspond(&mut lab, FOREIGN, back).status, Status::EXPIRED_NONCES);
    // A front-end whose clock runs ahead holds up nothing.
    let far = Request { nonces_end: Millis(u64::MAX), ..request(&lab, 9, 0, vec![]) };
    correspond(&mut lab, FOREIGN, far);
    lab.pass(300);
    assert_eq!(lab.cache.correspondent_count(), 0);
}

#[test]
fn a_correspondence_that_is_repeated_has_one_effect_and_its_first_answer() {
    let mut lab = Lab::new();
    let request = request(&lab, 1, 100, vec![]);
    let asked = Correspondence { request_id: [9; 16], home_address: FOREIGN, request };
    let first = lab.run(Command::Correspond(asked.clone()));
    lab.cache.take_changes();
    assert_eq!(lab.run(Command::Correspond(asked)), first);
    assert_eq!(lab.cache.take_changes(), []);
}

#[test]
fn bulk_is_refused_and_a_care_of_address_that_is_left_out_must_be_the_proven_one() {
    let mut lab = Lab::new();
    let bulk = vec![BidOption::v6(Bid(1), COA1), BidOption::v6(Bid(2), COA2)];
    let asked = request(&lab, 1, 100, bulk);
    assert_eq!(codes(&correspond(&mut lab, FOREIGN, asked)), (168, vec![0, 0]));
    assert_eq!(lab.cache.correspondent_count(), 0, "a refusal leaves no record");
    for (sequence, proven, status) in [(2, COA1, 0), (3, COA1, 0), (4, COA2, 167)] {
        let option = match sequence {
            2 => BidOption::v6(Bid(1), COA1),
            _ => BidOption::refresh(Bid(1)),
        };
        let asked = Request { proven, ..request(&lab, sequence, 100, vec![option]) };
        assert_eq!(correspond(&mut lab, FOREIGN, asked).status.0, status, "{sequence}");
    }
}

#[test]
fn who_is_served_here_is_no_correspondent() {
    let mut lab = Lab::new();
    let asked = request(&lab, 1, 100, vec![]);
    let answer = correspond(&mut lab, HOME, asked);
    assert_eq!(answer.status, Status::ADMINISTRATIVELY_PROHIBITED);
    assert_eq!(lab.register(bu(1, 100, vec![])).status, Status::ACCEPTED);
    let asked = request(&lab, 2, 100, vec![]);
    let answer = correspond(&mut lab, HOME, asked);
    assert_eq!(answer.status, Status::REGISTRATION_TYPE_CHANGE);
    assert_eq!(lab.cache.correspondent_count(), 0);
}

#[test]
fn a_correspondent_that_is_served_later_stays_one_until_its_binding_ends() {
    let mut lab = Lab::new();
    let asked = request(&lab, 1, 100, vec![]);
    assert_eq!(correspond(&mut lab, FOREIGN, asked).status, Status::ACCEPTED);
    // A wider home prefix of the same home agent takes the place of the one that was.
    let old = home_prefix();
    assert_eq!(lab.run(Command::DeleteHomePrefix(old.prefix)).outcome, Outcome::Done);
    let prefix = Ipv6Prefix::new(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32).unwrap();
    let home_prefix = HomePrefix { prefix, ..old };
    assert_eq!(
        lab.run(Command::PutHomePrefix { home_prefix, must_not_exist: true }).outcome,
        Outcome::Done
    );
    let registration = Registration { home_address: FOREIGN, ..bu(2, 100, vec![]) };
    assert_eq!(lab.register(registration).status, Status::REGISTRATION_TYPE_CHANGE);
}

#[test]
fn correspondents_are_in_a_snapshot_and_end_after_it() {
    let mut lab = Lab::new();
    let asked = request(&lab, 1, 100, vec![BidOption::v6(Bid(1), COA1)]);
    correspond(&mut lab, FOREIGN, asked);
    lab.cache.take_changes();
    let records: Vec<StateRecord> = lab.cache.records().collect();
    let restored = BindingCache::from_records(records.clone()).unwrap();
    assert_eq!(restored, lab.cache);
    let mut twice: BTreeMap<usize, StateRecord> = records.into_iter().enumerate().collect();
    let last = twice.last_key_value().map(|(at, record)| (at + 1, record.clone())).unwrap();
    twice.insert(last.0, last.1);
    assert_eq!(BindingCache::from_records(twice.into_values()), Err(StateError::Duplicate));
}
