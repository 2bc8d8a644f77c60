//! Alarms, the record of writes and drains: bounded, and the same on every replica.

use alloc::borrow::ToOwned as _;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use crate::{
    Alarm, AlarmAct, AlarmKey, AlarmStep, AuditNote, Audited, Batch, BindingCache, ClusterEvent,
    Command, Event, LogTime, Operation, Outcome, RefusalKind, Seen, Severity, limits,
};

fn key(resource: &str) -> AlarmKey {
    let kind = "session-lost".to_owned();
    AlarmKey { resource: resource.to_owned(), kind, specific_problem: String::new() }
}

fn raise(severity: Severity) -> AlarmAct {
    AlarmAct::Raise { severity, text: "no connection".to_owned() }
}

fn acknowledge() -> AlarmAct {
    AlarmAct::Acknowledge { by: "somebody".to_owned(), comment: "seen".to_owned() }
}

struct Stand(BindingCache);

impl Stand {
    fn new() -> Self {
        Self(BindingCache::default())
    }

    fn apply(&mut self, command: Command) -> Outcome {
        let revision = self.0.revision() + 1;
        let checked = self.0.check(&command);
        let raises = matches!(&command, Command::Operate(Operation::Alarm { act, .. })
            if matches!(act, AlarmAct::Raise { .. }));
        let batch = Batch { at: LogTime(revision * 1000), commands: vec![command] };
        let outcome = self.0.apply(revision, batch).pop().unwrap().outcome;
        // There may be no room for one that is raised, which no operator does.
        if !raises {
            let refused = matches!(outcome, Outcome::Refused(_));
            assert_eq!(checked.map_err(Outcome::Refused).err(), refused.then(|| outcome.clone()));
        }
        outcome
    }

    fn alarm(&mut self, resource: &str, act: AlarmAct) -> Outcome {
        self.apply(Command::Operate(Operation::Alarm { key: key(resource), act }))
    }

    fn find(&self, resource: &str) -> Option<Alarm> {
        let key = key(resource);
        self.0.alarms().find(|(known, _)| **known == key).map(|(_, alarm)| alarm.clone())
    }

    fn steps(&self) -> Vec<AlarmStep> {
        self.0.alarm_history().map(|change| change.step).collect()
    }

    /// As a replica has it that gets the state.
    fn copied(&self) -> BindingCache {
        BindingCache::from_records(self.0.records()).unwrap()
    }
}

#[test]
fn an_alarm_is_raised_once_and_stays_until_somebody_has_taken_note() {
    let mut stand = Stand::new();
    assert_eq!(stand.alarm("a", raise(Severity::Major)), Outcome::Done);
    let raised =
        Event::Cluster(Box::new(ClusterEvent::AlarmRaised(key("a"), "no connection".into())));
    assert_eq!(stand.0.take_events(), [raised]);
    stand.alarm("a", raise(Severity::Major));
    assert!(stand.0.take_events().is_empty(), "it is known");
    stand.alarm("a", raise(Severity::Critical));
    assert_eq!(stand.find("a").unwrap().severity, Severity::Critical);
    stand.alarm("a", AlarmAct::Clear);
    assert!(stand.find("a").unwrap().cleared.is_some(), "nobody has taken note");
    stand.alarm("a", AlarmAct::Clear);
    stand.alarm("a", acknowledge());
    assert_eq!(stand.find("a"), None);
    let steps =
        [AlarmStep::Raised, AlarmStep::Changed, AlarmStep::Cleared, AlarmStep::Acknowledged];
    assert_eq!(stand.steps(), steps);
    assert_eq!(stand.copied(), stand.0);
    // The other way round.
    stand.alarm("b", raise(Severity::Warning));
    stand.alarm("b", acknowledge());
    assert!(stand.find("b").unwrap().acknowledged.is_some());
    stand.alarm("b", AlarmAct::Clear);
    assert_eq!(stand.find("b"), None);
    stand.alarm("b", raise(Severity::Warning));
    assert_eq!(stand.find("b").unwrap().acknowledged, None, "it is another time");
    let unknown = stand.alarm("c", acknowledge());
    assert!(matches!(unknown, Outcome::Refused(refusal) if refusal.kind == RefusalKind::NotFound));
}

#[test]
fn a_shelved_alarm_is_shown_again_after_its_time_also_when_it_came_again_meanwhile() {
    let mut stand = Stand::new();
    stand.alarm("a", raise(Severity::Major));
    let shelve = |for_ms| AlarmAct::Shelve { by: String::new(), comment: String::new(), for_ms };
    stand.alarm("a", shelve(5_000));
    let until = stand.0.now().after(core::time::Duration::from_secs(5));
    assert!(stand.find("a").unwrap().is_shelved(stand.0.now()));
    assert!(!stand.find("a").unwrap().is_shelved(until));
    stand.alarm("a", AlarmAct::Clear);
    stand.alarm("a", raise(Severity::Major));
    assert!(stand.find("a").unwrap().is_shelved(stand.0.now()));
    stand.alarm("a", shelve(0));
    assert_eq!(stand.find("a").unwrap().shelved, None);
}

#[test]
fn there_are_never_more_alarms_and_changes_than_the_limits() {
    let mut stand = Stand::new();
    for n in 0..limits::ALARMS_MAX {
        assert_eq!(stand.alarm(&format!("{n}"), raise(Severity::Major)), Outcome::Done);
    }
    let full = stand.alarm("one more", raise(Severity::Critical));
    assert!(matches!(full, Outcome::Refused(refusal) if refusal.kind == RefusalKind::Full));
    stand.alarm("7", AlarmAct::Clear);
    assert_eq!(stand.alarm("one more", raise(Severity::Critical)), Outcome::Done);
    assert_eq!(stand.find("7"), None, "what has ended makes room");
    for n in 0..limits::ALARM_CHANGES_MAX {
        let comment = format!("{n}");
        stand.alarm("1", AlarmAct::Comment { by: String::new(), comment });
    }
    assert_eq!(stand.steps().len(), limits::ALARM_CHANGES_MAX);
    let numbers: Vec<u64> = stand.0.alarm_history().map(|change| change.number).collect();
    assert!(numbers.is_sorted() && numbers.first() > Some(&1));
    let long = "x".repeat(limits::ALARM_TEXT_LEN_MAX + 1);
    let told = stand.alarm("1", AlarmAct::Comment { by: String::new(), comment: long });
    assert!(matches!(told, Outcome::Refused(refusal) if refusal.field == "comment"));
    assert_eq!(stand.copied(), stand.0);
}

#[test]
fn what_was_done_is_recorded_and_chained_and_what_was_refused_is_not() {
    let mut stand = Stand::new();
    let note = |action: &str| AuditNote { action: action.to_owned(), ..AuditNote::default() };
    let write = |node: &str, drained| {
        let operation = Operation::Drain { node: node.to_owned(), drained };
        let command = Some(Box::new(Command::Operate(operation)));
        Command::Audited(Audited { note: note(node), command })
    };
    assert_eq!(stand.apply(write("front-ends/a", true)), Outcome::Done);
    assert!(stand.0.is_drained("front-ends/a"));
    assert!(matches!(stand.apply(write("", true)), Outcome::Refused(_)));
    stand.apply(Command::Audited(Audited { note: note("elsewhere"), command: None }));
    let records: Vec<_> = stand.0.audit_records().cloned().collect();
    let told: Vec<&str> = records.iter().map(|record| record.note.action.as_str()).collect();
    assert_eq!(told, ["front-ends/a", "elsewhere"]);
    assert_eq!(records[0].previous, [0; 32]);
    assert_eq!(records[1].previous, records[0].hash);
    assert!(records.iter().all(|record| record.hash == record.digest()));
    assert_eq!((records[1].number, records[1].revision), (2, 3));
    assert_eq!(stand.copied(), stand.0);
    for n in 0..limits::AUDIT_RECORDS_MAX {
        stand.apply(Command::Audited(Audited { note: note(&format!("{n}")), command: None }));
    }
    assert_eq!(stand.0.audit_records().count(), limits::AUDIT_RECORDS_MAX);
    assert_eq!(stand.0.audit_records().next().unwrap().number, 3);
    let copied = stand.copied();
    assert!(copied.audit_records().eq(stand.0.audit_records()));
}

#[test]
fn nodes_are_drained_until_they_are_not() {
    let mut stand = Stand::new();
    let drain =
        |node: &str, drained| Command::Operate(Operation::Drain { node: node.to_owned(), drained });
    for n in 0..limits::DRAINED_NODES_MAX {
        assert_eq!(stand.apply(drain(&format!("{n}"), true)), Outcome::Done);
    }
    assert_eq!(stand.0.take_events().len(), 1, "those of the last entry");
    let full = stand.apply(drain("one more", true));
    assert!(matches!(full, Outcome::Refused(refusal) if refusal.kind == RefusalKind::Full));
    assert_eq!(stand.apply(drain("7", true)), Outcome::Done, "it is one of them");
    assert_eq!(stand.apply(drain("7", false)), Outcome::Done);
    assert!(!stand.0.is_drained("7") && stand.0.is_drained("8"));
    assert!(!stand.0.keeps_operations());
    stand.apply(Command::Operate(Operation::Begin));
    assert!(stand.0.keeps_operations());
    assert_eq!(stand.copied(), stand.0);
    stand.apply(Command::Operate(Operation::Note(Seen::Leader { node_id: 2, term: 7 })));
    let seen = ClusterEvent::Seen(Seen::Leader { node_id: 2, term: 7 });
    assert_eq!(stand.0.take_events(), [Event::Cluster(Box::new(seen))]);
}
