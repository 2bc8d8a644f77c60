//! What is kept for operators, there and back.

use std::sync::Arc;

use homeport_api::binding as proto;
use homeport_api::convert;
use homeport_binding::{
    Alarm, AlarmAct, AlarmChange, AlarmKey, AlarmStep, AuditNote, AuditRecord, Audited, Batch,
    Command, LogTime, Mark, Operation, OperationsRecord, Seen, Severity, Shelf, StateRecord,
};
use prost::bytes::Bytes;

fn key() -> AlarmKey {
    AlarmKey {
        resource: "forwarders/edge-1".to_owned(),
        kind: "session-lost".to_owned(),
        specific_problem: "uplink".to_owned(),
    }
}

fn note() -> AuditNote {
    let text = |text: &str| text.to_owned();
    AuditNote {
        by: text("192.0.2.7:40000"),
        action: text("DeleteSubscriber"),
        resource: text("Subscriber 2001:db8::1"),
        before: text("nai: \"a@b\""),
        after: String::new(),
    }
}

fn by() -> String {
    "192.0.2.7:40000".to_owned()
}

#[test]
fn operations_in_the_log() {
    let comment = || "looked at".to_owned();
    let acts = [
        AlarmAct::Raise { severity: Severity::Critical, text: "no connection".to_owned() },
        AlarmAct::Raise { severity: Severity::Major, text: String::new() },
        AlarmAct::Raise { severity: Severity::Minor, text: String::new() },
        AlarmAct::Raise { severity: Severity::Warning, text: String::new() },
        AlarmAct::Clear,
        AlarmAct::Acknowledge { by: by(), comment: comment() },
        AlarmAct::Shelve { by: by(), comment: comment(), for_ms: 7 },
        AlarmAct::Comment { by: by(), comment: comment() },
    ];
    let alarms = acts.into_iter().map(|act| Operation::Alarm { key: key(), act });
    let node = || "front-ends/a".to_owned();
    let others = [
        Operation::Begin,
        Operation::Drain { node: node(), drained: true },
        Operation::Drain { node: node(), drained: false },
        Operation::Note(Seen::Leader { node_id: 2, term: 9 }),
        Operation::Note(Seen::Joined(node())),
        Operation::Note(Seen::Left(node())),
    ];
    let commands = alarms.chain(others).map(Command::Operate);
    let write = Command::DeleteSubscriber("2001:db8::1".parse().expect("is an address"));
    let audited = [Some(Box::new(write)), None]
        .map(|command| Command::Audited(Audited { note: note(), command }));
    let batch = Batch { at: LogTime(5), commands: commands.chain(audited).collect() };
    let octets = convert::encode_batch(batch.clone());
    assert_eq!(convert::decode_batch(&octets), Ok(batch));
}

#[test]
fn records_of_the_state() {
    let mark = || Mark { by: by(), at: LogTime(3), comment: "c".to_owned() };
    let alarm = Alarm {
        severity: Severity::Minor,
        text: "t".to_owned(),
        raised: LogTime(1),
        cleared: Some(LogTime(0)),
        acknowledged: Some(mark()),
        shelved: Some(Shelf { mark: mark(), until: LogTime(9) }),
        revision: 4,
    };
    let plain = Alarm { cleared: None, acknowledged: None, shelved: None, ..alarm.clone() };
    let steps = [
        AlarmStep::Raised,
        AlarmStep::Changed,
        AlarmStep::Cleared,
        AlarmStep::Acknowledged,
        AlarmStep::Shelved,
        AlarmStep::Unshelved,
        AlarmStep::Commented,
    ];
    let changes = steps.into_iter().map(|step| {
        let (at, severity, text) = (LogTime(2), Severity::Warning, "t".to_owned());
        let change =
            AlarmChange { number: 7, at, revision: 8, key: key(), severity, step, by: by(), text };
        OperationsRecord::Change(Arc::new(change))
    });
    let mut record = AuditRecord {
        number: 1,
        at: LogTime(2),
        revision: 3,
        note: note(),
        previous: [7; 32],
        hash: [0; 32],
    };
    record.hash = record.digest();
    let records = [
        OperationsRecord::Begun,
        OperationsRecord::Alarm(key(), Box::new(alarm)),
        OperationsRecord::Alarm(key(), Box::new(plain)),
        OperationsRecord::Audit(Arc::new(record)),
        OperationsRecord::Drained("front-ends/a".to_owned()),
    ];
    for record in records.into_iter().chain(changes) {
        let record = StateRecord::Operations(record);
        let mut octets = Vec::new();
        convert::encode_state_record(record.clone(), &mut octets);
        assert_eq!(convert::decode_state_record(&mut Bytes::from(octets)), Ok(record));
    }
}

#[test]
fn what_no_encoder_of_ours_writes_is_refused() {
    let audited = |command| {
        let note = Some(proto::AuditNote::default());
        let audited = proto::Audited { note, command };
        proto::Command { command: Some(proto::command::Command::Audited(Box::new(audited))) }
    };
    let inside = audited(Some(Box::new(audited(None))));
    let told = Command::try_from(inside).expect_err("one inside another");
    assert!(told.to_string().starts_with("audited.command"), "{told}");
    let empty = proto::Operation::default();
    let operate = proto::Command { command: Some(proto::command::Command::Operate(empty)) };
    assert!(Command::try_from(operate).is_err());
}

/// The hash that a record has is part of what is kept for ever: it is that of these octets.
#[test]
fn the_hash_of_a_record_is_that_of_its_parts_in_their_order() {
    use sha2::{Digest as _, Sha256};
    let record = AuditRecord {
        number: 1,
        at: LogTime(2),
        revision: 3,
        note: AuditNote { by: "a".to_owned(), action: "bc".to_owned(), ..AuditNote::default() },
        previous: [9; 32],
        hash: [0; 32],
    };
    let mut octets = vec![9; 32];
    octets.extend([0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3]);
    octets.extend([0, 0, 0, 1, b'a', 0, 0, 0, 2, b'b', b'c', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(record.digest().to_vec(), Sha256::digest(&octets).to_vec());
}
