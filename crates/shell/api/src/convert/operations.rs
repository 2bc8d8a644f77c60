use std::sync::Arc;

use homeport_binding as core;
use prost::bytes::Bytes;

use super::{Invalid, invalid};
use crate::binding as proto;

const VALUE: &str = "a value";

impl From<core::Operation> for proto::Operation {
    fn from(operation: core::Operation) -> Self {
        use proto::operation::Operation;
        let operation = match operation {
            core::Operation::Begin => Operation::Begin(proto::OperationsBegun {}),
            core::Operation::Alarm { key, act } => Operation::Alarm(alarm_operation(key, act)),
            core::Operation::Drain { node, drained } => {
                Operation::Drain(proto::DrainOperation { node, drained })
            }
            core::Operation::Note(event) => Operation::Note(note_message(event)),
        };
        Self { operation: Some(operation) }
    }
}

impl TryFrom<proto::Operation> for core::Operation {
    type Error = Invalid;

    fn try_from(message: proto::Operation) -> Result<Self, Invalid> {
        use proto::operation::Operation;
        match message.operation {
            Some(Operation::Begin(_)) => Ok(Self::Begin),
            Some(Operation::Alarm(message)) => {
                let key = message.key.ok_or_else(|| invalid("operation.key", VALUE))?.into();
                let act = message.act.ok_or_else(|| invalid("operation.act", VALUE))?;
                Ok(Self::Alarm { key, act: act_of(act)? })
            }
            Some(Operation::Drain(message)) => {
                Ok(Self::Drain { node: message.node, drained: message.drained })
            }
            Some(Operation::Note(message)) => Ok(Self::Note(note_of(message)?)),
            None => Err(invalid("operation", "a kind that this version knows")),
        }
    }
}

fn alarm_operation(key: core::AlarmKey, act: core::AlarmAct) -> proto::AlarmOperation {
    use proto::alarm_operation::Act;
    let act = match act {
        core::AlarmAct::Raise { severity, text } => {
            let severity = proto::AlarmSeverity::from(severity).into();
            Act::Raise(proto::RaiseAlarm { severity, text })
        }
        core::AlarmAct::Clear => Act::Clear(proto::ClearAlarm {}),
        core::AlarmAct::Acknowledge { by, comment } => {
            Act::Acknowledge(proto::AcknowledgeAlarm { by, comment })
        }
        core::AlarmAct::Shelve { by, comment, for_ms } => {
            Act::Shelve(proto::ShelveAlarm { by, comment, for_ms })
        }
        core::AlarmAct::Comment { by, comment } => {
            Act::Comment(proto::CommentAlarm { by, comment })
        }
    };
    proto::AlarmOperation { key: Some(key.into()), act: Some(act) }
}

fn act_of(act: proto::alarm_operation::Act) -> Result<core::AlarmAct, Invalid> {
    use proto::alarm_operation::Act;
    Ok(match act {
        Act::Raise(message) => {
            core::AlarmAct::Raise { severity: message.severity().try_into()?, text: message.text }
        }
        Act::Clear(_) => core::AlarmAct::Clear,
        Act::Acknowledge(message) => {
            core::AlarmAct::Acknowledge { by: message.by, comment: message.comment }
        }
        Act::Shelve(message) => core::AlarmAct::Shelve {
            by: message.by,
            comment: message.comment,
            for_ms: message.for_ms,
        },
        Act::Comment(message) => {
            core::AlarmAct::Comment { by: message.by, comment: message.comment }
        }
    })
}

fn note_message(seen: core::Seen) -> proto::ClusterNote {
    use proto::cluster_note::Note;
    let note = match seen {
        core::Seen::Leader { node_id, term } => Note::Leader(proto::LeaderNote { node_id, term }),
        core::Seen::Joined(node) => Note::Joined(node),
        core::Seen::Left(node) => Note::Left(node),
    };
    proto::ClusterNote { note: Some(note) }
}

fn note_of(message: proto::ClusterNote) -> Result<core::Seen, Invalid> {
    use proto::cluster_note::Note;
    Ok(match message.note.ok_or_else(|| invalid("operation.note", VALUE))? {
        Note::Leader(it) => core::Seen::Leader { node_id: it.node_id, term: it.term },
        Note::Joined(node) => core::Seen::Joined(node),
        Note::Left(node) => core::Seen::Left(node),
    })
}

impl From<core::Audited> for proto::Audited {
    fn from(audited: core::Audited) -> Self {
        let command = audited.command.map(|command| Box::new((*command).into()));
        Self { note: Some(audited.note.into()), command }
    }
}

impl TryFrom<proto::Audited> for core::Audited {
    type Error = Invalid;

    fn try_from(message: proto::Audited) -> Result<Self, Invalid> {
        let note = message.note.ok_or_else(|| invalid("audited.note", VALUE))?.into();
        let Some(command) = message.command else { return Ok(Self { note, command: None }) };
        // One inside another would cost the stack of whoever reads it.
        if matches!(command.command, Some(proto::command::Command::Audited(_))) {
            return Err(invalid("audited.command", "a command that is not audited itself"));
        }
        Ok(Self { note, command: Some(Box::new((*command).try_into()?)) })
    }
}

impl From<core::AuditNote> for proto::AuditNote {
    fn from(note: core::AuditNote) -> Self {
        let core::AuditNote { by, action, resource, before, after } = note;
        Self { by, action, resource, before, after }
    }
}

impl From<proto::AuditNote> for core::AuditNote {
    fn from(message: proto::AuditNote) -> Self {
        let proto::AuditNote { by, action, resource, before, after } = message;
        Self { by, action, resource, before, after }
    }
}

impl From<core::AlarmKey> for proto::AlarmKey {
    fn from(key: core::AlarmKey) -> Self {
        let core::AlarmKey { resource, kind, specific_problem } = key;
        Self { resource, kind, specific_problem }
    }
}

impl From<proto::AlarmKey> for core::AlarmKey {
    fn from(message: proto::AlarmKey) -> Self {
        let proto::AlarmKey { resource, kind, specific_problem } = message;
        Self { resource, kind, specific_problem }
    }
}

impl From<core::Severity> for proto::AlarmSeverity {
    fn from(severity: core::Severity) -> Self {
        match severity {
            core::Severity::Critical => Self::Critical,
            core::Severity::Major => Self::Major,
            core::Severity::Minor => Self::Minor,
            core::Severity::Warning => Self::Warning,
        }
    }
}

impl TryFrom<proto::AlarmSeverity> for core::Severity {
    type Error = Invalid;

    fn try_from(message: proto::AlarmSeverity) -> Result<Self, Invalid> {
        match message {
            proto::AlarmSeverity::Critical => Ok(Self::Critical),
            proto::AlarmSeverity::Major => Ok(Self::Major),
            proto::AlarmSeverity::Minor => Ok(Self::Minor),
            proto::AlarmSeverity::Warning => Ok(Self::Warning),
            proto::AlarmSeverity::Unspecified => Err(invalid("severity", VALUE)),
        }
    }
}

impl From<core::AlarmStep> for proto::AlarmStep {
    fn from(step: core::AlarmStep) -> Self {
        match step {
            core::AlarmStep::Raised => Self::Raised,
            core::AlarmStep::Changed => Self::Changed,
            core::AlarmStep::Cleared => Self::Cleared,
            core::AlarmStep::Acknowledged => Self::Acknowledged,
            core::AlarmStep::Shelved => Self::Shelved,
            core::AlarmStep::Unshelved => Self::Unshelved,
            core::AlarmStep::Commented => Self::Commented,
        }
    }
}

impl TryFrom<proto::AlarmStep> for core::AlarmStep {
    type Error = Invalid;

    fn try_from(message: proto::AlarmStep) -> Result<Self, Invalid> {
        match message {
            proto::AlarmStep::Raised => Ok(Self::Raised),
            proto::AlarmStep::Changed => Ok(Self::Changed),
            proto::AlarmStep::Cleared => Ok(Self::Cleared),
            proto::AlarmStep::Acknowledged => Ok(Self::Acknowledged),
            proto::AlarmStep::Shelved => Ok(Self::Shelved),
            proto::AlarmStep::Unshelved => Ok(Self::Unshelved),
            proto::AlarmStep::Commented => Ok(Self::Commented),
            proto::AlarmStep::Unspecified => Err(invalid("step", VALUE)),
        }
    }
}

impl From<core::Mark> for proto::AlarmMark {
    fn from(mark: core::Mark) -> Self {
        Self { by: mark.by, at_ms: mark.at.0, comment: mark.comment }
    }
}

impl From<proto::AlarmMark> for core::Mark {
    fn from(message: proto::AlarmMark) -> Self {
        Self { by: message.by, at: core::LogTime(message.at_ms), comment: message.comment }
    }
}

fn alarm_message(key: core::AlarmKey, alarm: core::Alarm) -> proto::Alarm {
    let (shelved, until) = alarm.shelved.map(|shelf| (shelf.mark, shelf.until)).unzip();
    proto::Alarm {
        key: Some(key.into()),
        severity: proto::AlarmSeverity::from(alarm.severity).into(),
        text: alarm.text,
        raised_ms: alarm.raised.0,
        cleared_ms: alarm.cleared.map(|at| at.0),
        acknowledged: alarm.acknowledged.map(Into::into),
        shelved: shelved.map(Into::into),
        shelved_until_ms: until.map_or(0, |until| until.0),
        revision: alarm.revision,
    }
}

fn alarm_of(message: proto::Alarm) -> Result<(core::AlarmKey, core::Alarm), Invalid> {
    let severity = message.severity().try_into()?;
    let key = message.key.ok_or_else(|| invalid("alarm.key", VALUE))?.into();
    let until = core::LogTime(message.shelved_until_ms);
    let alarm = core::Alarm {
        severity,
        text: message.text,
        raised: core::LogTime(message.raised_ms),
        cleared: message.cleared_ms.map(core::LogTime),
        acknowledged: message.acknowledged.map(Into::into),
        shelved: message.shelved.map(|mark| core::Shelf { mark: mark.into(), until }),
        revision: message.revision,
    };
    Ok((key, alarm))
}

impl From<core::AlarmChange> for proto::AlarmChange {
    fn from(change: core::AlarmChange) -> Self {
        Self {
            number: change.number,
            at_ms: change.at.0,
            revision: change.revision,
            key: Some(change.key.into()),
            severity: proto::AlarmSeverity::from(change.severity).into(),
            step: proto::AlarmStep::from(change.step).into(),
            by: change.by,
            text: change.text,
        }
    }
}

impl TryFrom<proto::AlarmChange> for core::AlarmChange {
    type Error = Invalid;

    fn try_from(message: proto::AlarmChange) -> Result<Self, Invalid> {
        let (severity, step) = (message.severity().try_into()?, message.step().try_into()?);
        Ok(Self {
            number: message.number,
            at: core::LogTime(message.at_ms),
            revision: message.revision,
            key: message.key.ok_or_else(|| invalid("alarm_change.key", VALUE))?.into(),
            severity,
            step,
            by: message.by,
            text: message.text,
        })
    }
}

impl From<core::AuditRecord> for proto::AuditRecord {
    fn from(record: core::AuditRecord) -> Self {
        Self {
            number: record.number,
            at_ms: record.at.0,
            revision: record.revision,
            note: Some(record.note.into()),
            previous: Bytes::copy_from_slice(&record.previous),
            hash: Bytes::copy_from_slice(&record.hash),
        }
    }
}

impl TryFrom<proto::AuditRecord> for core::AuditRecord {
    type Error = Invalid;

    fn try_from(message: proto::AuditRecord) -> Result<Self, Invalid> {
        let hash =
            |octets: &[u8], field| octets.try_into().map_err(|_| invalid(field, "32 octets"));
        Ok(Self {
            number: message.number,
            at: core::LogTime(message.at_ms),
            revision: message.revision,
            note: message.note.ok_or_else(|| invalid("audit_record.note", VALUE))?.into(),
            previous: hash(&message.previous, "audit_record.previous")?,
            hash: hash(&message.hash, "audit_record.hash")?,
        })
    }
}

pub(super) fn record_message(record: core::OperationsRecord) -> proto::state_record::Record {
    use proto::state_record::Record;
    match record {
        core::OperationsRecord::Begun => Record::OperationsBegun(proto::OperationsBegun {}),
        core::OperationsRecord::Alarm(key, alarm) => Record::Alarm(alarm_message(key, *alarm)),
        core::OperationsRecord::Change(change) => {
            Record::AlarmChange(Arc::unwrap_or_clone(change).into())
        }
        core::OperationsRecord::Audit(record) => {
            Record::AuditRecord(Arc::unwrap_or_clone(record).into())
        }
        core::OperationsRecord::Drained(name) => Record::DrainedNode(proto::DrainedNode { name }),
    }
}

pub(super) fn record_of(
    record: proto::state_record::Record,
) -> Result<core::OperationsRecord, Invalid> {
    use proto::state_record::Record;
    Ok(match record {
        Record::OperationsBegun(_) => core::OperationsRecord::Begun,
        Record::Alarm(message) => {
            let (key, alarm) = alarm_of(message)?;
            core::OperationsRecord::Alarm(key, Box::new(alarm))
        }
        Record::AlarmChange(message) => {
            core::OperationsRecord::Change(Arc::new(message.try_into()?))
        }
        Record::AuditRecord(message) => {
            core::OperationsRecord::Audit(Arc::new(message.try_into()?))
        }
        Record::DrainedNode(message) => core::OperationsRecord::Drained(message.name),
        _ => return Err(invalid("record", "one of what is kept for operators")),
    })
}
