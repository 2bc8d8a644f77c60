use std::net::Ipv6Addr;

use homeport_binding::{
    Authentication, Batch, Command, HomePrefix, Ipv6Prefix, LogTime, Outcome, Registration, Revoke,
    Verdict, WireSource,
};
use homeport_wire::{BuFlags, Lifetime, RevocationTrigger, Sequence};

use super::*;

fn prefix(n: u16) -> Ipv6Prefix {
    Ipv6Prefix::new(Ipv6Addr::new(0x2001, 0xdb8, 0, n, 0, 0, 0, 0), 64).unwrap()
}

fn put(n: u16) -> Command {
    let home_agent = Ipv6Addr::new(0x2001, 0xdb8, 0, n, 0, 0, 0, 1);
    let home_prefix = HomePrefix::new(prefix(n), home_agent, Authentication::None);
    Command::PutHomePrefix { home_prefix, must_not_exist: false }
}

fn apply(machine: &mut Machine, index: u64, commands: Vec<Command>) -> Vec<Verdict> {
    let entry = convert::encode_batch(Batch { at: LogTime(index), commands });
    machine.apply(index, &entry)
}

fn changed(machine: &Machine, after: u64) -> Option<Vec<Change>> {
    machine.changes_after(after).map(|changes| changes.into_iter().collect())
}

#[test]
fn what_changed_after_a_revision() {
    let mut machine = Machine::default();
    let verdicts = apply(&mut machine, 1, vec![put(1), put(2)]);
    assert!(verdicts.iter().all(|v| (v.revision, &v.outcome) == (1, &Outcome::Done)));
    machine.advance(2);
    apply(&mut machine, 3, vec![put(2)]);
    let (one, two) = (Change::HomePrefix(prefix(1)), Change::HomePrefix(prefix(2)));
    assert_eq!(changed(&machine, 0), Some(vec![one, two]));
    assert_eq!(changed(&machine, 1), Some(vec![two]));
    assert_eq!(changed(&machine, 2), Some(vec![two]));
    assert_eq!(changed(&machine, 3), Some(vec![]));
    // Not yet seen here.
    assert_eq!(changed(&machine, 4), None);
}

// Two subscribers at one revision hold the same, whether they saw each change or came for a snapshot.
#[test]
fn what_is_no_change_is_not_in_the_feed() {
    let mut machine = Machine::default();
    apply(&mut machine, 1, vec![put(1)]);
    let home_address = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x100);
    let registration = Registration {
        request_id: [1; 16],
        home_address,
        home_agent: Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1),
        source: WireSource::Ipv6(Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 0x11)),
        sequence: Sequence(1),
        lifetime: Lifetime(225),
        flags: BuFlags::ACKNOWLEDGE.with(BuFlags::HOME_REGISTRATION),
        alternate_care_of: None,
        ipv4_care_of: None,
        bids: Vec::new(),
        link_layer_address: Vec::new(),
        message_id: None,
        mobile_networks: Vec::new(),
        ipv4_home_address: None,
        flows: Vec::new(),
        flow_summary: Vec::new(),
        home_address_option_missing: false,
        policy_revisions: (1, 0),
    };
    let again = Registration { request_id: [2; 16], ..registration.clone() };
    apply(&mut machine, 2, vec![Command::Register(registration)]);
    let shown = |machine: &Machine| {
        crate::feed::home_change(home_address, machine.cache.home(home_address).cloned())
    };
    let before = shown(&machine);
    assert_eq!(before.home.as_ref().map(|home| home.bindings.len()), Some(1));
    let trigger = RevocationTrigger::ADMINISTRATIVE;
    let revoke = Revoke { home_address, bids: Vec::new(), trigger };
    // Refused: not newer than the last one.
    apply(&mut machine, 3, vec![Command::Register(again), Command::Revoke(revoke)]);
    assert!(machine.cache.home(home_address).is_some_and(|home| home.notice.is_some()));
    assert_eq!(changed(&machine, 2), Some(vec![]));
    assert_eq!(shown(&machine), before);
}

#[test]
fn the_memory_of_changes_is_bounded() {
    let mut changes = Changes::default();
    let batch = limits::CHANGES_REMEMBERED_MAX / 4;
    for revision in 1..=5 {
        changes.extend(revision, vec![Change::HomePrefix(prefix(1)); batch]);
    }
    assert_eq!(changes.recent.len(), limits::CHANGES_REMEMBERED_MAX);
    assert_eq!(changes.forgotten, 1);
    // One more, and revision 2 is no longer whole.
    changes.extend(6, vec![Change::HomePrefix(prefix(1))]);
    assert_eq!(changes.recent.len(), limits::CHANGES_REMEMBERED_MAX);
    assert_eq!(changes.forgotten, 2);
}

#[test]
fn a_restored_state_is_the_same_and_knows_no_changes_from_before() {
    let mut machine = Machine::default();
    apply(&mut machine, 1, vec![put(1)]);
    apply(&mut machine, 2, vec![put(2)]);
    let chunks: Vec<Bytes> = machine.freeze().chunks().collect();
    let mut restored = Machine::default();
    restored.restore(2, &mut chunks.clone().into_iter().map(Ok)).unwrap();
    assert_eq!(restored.cache, machine.cache);
    assert_eq!(changed(&restored, 1), None);
    assert_eq!(changed(&restored, 2), Some(vec![]));
    apply(&mut restored, 3, vec![put(1)]);
    assert_eq!(changed(&restored, 2), Some(vec![Change::HomePrefix(prefix(1))]));
}

#[test]
fn a_state_that_does_not_fit_is_refused_and_changes_nothing() {
    let mut machine = Machine::default();
    apply(&mut machine, 5, vec![put(1)]);
    let chunks: Vec<Bytes> = machine.freeze().chunks().collect();
    let whole = Bytes::from(chunks.concat());
    let before = machine.cache.clone();
    let mut refuse = |index, chunk: Bytes| {
        let refused = machine.restore(index, &mut std::iter::once(Ok(chunk)));
        assert_eq!(machine.cache, before);
        refused.unwrap_err().to_string()
    };
    assert!(refuse(4, whole.clone()).contains("revision 5 at log index 4"));
    assert!(refuse(5, whole.slice(..whole.len() - 1)).contains("StateRecord"));
    assert!(refuse(5, whole.slice(1..)).contains("StateRecord"));
    assert!(refuse(5, Bytes::new()).contains("header"));
    // Length, header record, its length, field 1: the format.
    let mut newer = whole.to_vec();
    assert_eq!(newer[3..5], [0x08, 1]);
    newer[4] = 2;
    let refused = refuse(5, newer.into());
    assert!(refused.contains("format 2") && refused.contains("reads 1"), "{refused}");
    let twice = Bytes::from([whole.clone(), whole.clone()].concat());
    assert!(refuse(5, twice).contains("header"));
}

#[test]
fn an_entry_of_an_unknown_kind_is_passed_over() {
    let mut machine = Machine::default();
    apply(&mut machine, 1, vec![put(1)]);
    assert_eq!(machine.apply(2, &Bytes::from_static(b"\xff\xff")), []);
    assert_eq!(machine.cache.revision(), 2);
    assert_eq!(changed(&machine, 1), Some(vec![]));
}
