//! What operators do and are told, replicated beside the bindings: alarms and their history, the record of
//! what was written, and which nodes are being drained. All of it is bounded.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;

use crate::cache::BindingCache;
use crate::command::Command;
use crate::event::{ClusterEvent, Seen};
use crate::limits;
use crate::time::LogTime;
use crate::verdict::{Outcome, Refusal, RefusalKind};

mod alarms;
mod audit;

pub use alarms::{Alarm, AlarmAct, AlarmChange, AlarmKey, AlarmStep, Mark, Severity, Shelf};
pub use audit::{AuditNote, AuditRecord, HASH_OCTETS};

/// What is kept for operators.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Operations {
    /// What is in here is used: in a cluster of an older version only once an operator says so, for there is
    /// no way back to that version then.
    begun: bool,
    pub(crate) alarms: BTreeMap<AlarmKey, Alarm>,
    /// Oldest first.
    pub(crate) history: VecDeque<Arc<AlarmChange>>,
    /// Oldest first, without gaps.
    pub(crate) audit: VecDeque<Arc<AuditRecord>>,
    /// Names of nodes.
    pub(crate) drained: BTreeSet<String>,
}

/// One record of what is kept for operators, for snapshots.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OperationsRecord {
    /// It is used.
    Begun,
    /// An alarm.
    Alarm(AlarmKey, Box<Alarm>),
    /// A line of the history of alarms.
    Change(Arc<AlarmChange>),
    /// An entry of the record of writes.
    Audit(Arc<AuditRecord>),
    /// The name of a node that is to be drained.
    Drained(String),
}

impl Operations {
    pub(crate) fn records(&self) -> impl Iterator<Item = OperationsRecord> + Send + use<> {
        let begun = self.begun.then_some(OperationsRecord::Begun);
        let alarms = self.alarms.clone().into_iter();
        let alarms = alarms.map(|(key, alarm)| OperationsRecord::Alarm(key, Box::new(alarm)));
        let history = self.history.clone().into_iter().map(OperationsRecord::Change);
        let audit = self.audit.clone().into_iter().map(OperationsRecord::Audit);
        let drained = self.drained.clone().into_iter().map(OperationsRecord::Drained);
        begun.into_iter().chain(alarms).chain(history).chain(audit).chain(drained)
    }

    /// False when it is there already, or not in its order.
    pub(crate) fn restore(&mut self, record: OperationsRecord) -> bool {
        match record {
            OperationsRecord::Begun => !core::mem::replace(&mut self.begun, true),
            OperationsRecord::Alarm(key, alarm) => self.alarms.insert(key, *alarm).is_none(),
            OperationsRecord::Change(change) => {
                let is_next = self.history.back().is_none_or(|last| last.number < change.number);
                self.history.push_back(change);
                is_next
            }
            OperationsRecord::Audit(record) => {
                let is_next = self.audit.back().is_none_or(|last| last.number < record.number);
                self.audit.push_back(record);
                is_next
            }
            OperationsRecord::Drained(node) => self.drained.insert(node),
        }
    }
}

/// What is asked of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operation {
    /// From now on what is kept for operators is used.
    Begin,
    /// About an alarm.
    Alarm {
        /// Which.
        key: AlarmKey,
        /// What becomes of it.
        act: AlarmAct,
    },
    /// A node is to be drained, or to serve again.
    Drain {
        /// Its name, at most [`limits::NODE_NAME_LEN_MAX`] octets.
        node: String,
        /// Whether it is to be drained.
        drained: bool,
    },
    /// Something that the leader has seen: no more than an event.
    Note(Seen),
}

/// A write of an operator, with what the record says of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Audited {
    /// What the record says.
    pub note: AuditNote,
    /// The write itself, which is no [`Command::Audited`]; `None` for what was done elsewhere.
    pub command: Option<Box<Command>>,
}

impl BindingCache {
    pub(crate) fn check_operation(&self, operation: &Operation) -> Result<(), Refusal> {
        match operation {
            Operation::Begin => Ok(()),
            Operation::Alarm { key, act } => self.check_alarm(key, act),
            Operation::Drain { node, drained } => self.check_drain(node, *drained),
            Operation::Note(Seen::Joined(node) | Seen::Left(node)) => {
                check_len("note", node, limits::ALARM_NAME_LEN_MAX)
            }
            Operation::Note(_) => Ok(()),
        }
    }

    pub(crate) fn operate(&mut self, operation: Operation) -> Outcome {
        if let Err(refusal) = self.check_operation(&operation) {
            return Outcome::Refused(refusal);
        }
        match operation {
            Operation::Begin => {
                self.operations.begun = true;
                Outcome::Done
            }
            Operation::Alarm { key, act } => self.alarm(key, act),
            Operation::Drain { node, drained } => self.drain(node, drained),
            Operation::Note(seen) => {
                self.happened_to_cluster(ClusterEvent::Seen(seen));
                Outcome::Done
            }
        }
    }

    fn check_drain(&self, node: &str, drained: bool) -> Result<(), Refusal> {
        let refused = |kind, message| Err(Refusal { kind, field: Cow::Borrowed("name"), message });
        if node.is_empty() || node.len() > limits::NODE_NAME_LEN_MAX {
            let message = format!("expected 1 to {} octets", limits::NODE_NAME_LEN_MAX);
            return refused(RefusalKind::Invalid, message);
        }
        let known = &self.operations.drained;
        if drained && !known.contains(node) && known.len() >= limits::DRAINED_NODES_MAX {
            let message = format!("{} nodes are drained, the limit", limits::DRAINED_NODES_MAX);
            return refused(RefusalKind::Full, message);
        }
        Ok(())
    }

    fn drain(&mut self, node: String, drained: bool) -> Outcome {
        let known = &mut self.operations.drained;
        let changed = if drained { known.insert(node.clone()) } else { known.remove(&node) };
        if changed {
            let event = if drained { ClusterEvent::Drained } else { ClusterEvent::Undrained };
            self.happened_to_cluster(event(node));
        }
        Outcome::Done
    }

    pub(crate) fn check_audited(&self, audited: &Audited) -> Result<(), Refusal> {
        audited.note.check()?;
        audited.command.as_deref().map_or(Ok(()), |command| self.check(command))
    }

    /// Carries out a write and keeps what is said of it, when it was done.
    pub(crate) fn audited(&mut self, audited: Audited) -> Outcome {
        let Audited { note, command } = audited;
        if let Err(refusal) = note.check() {
            return Outcome::Refused(refusal);
        }
        let outcome = command.map_or(Outcome::Done, |command| self.carry_out(*command));
        if outcome == Outcome::Done {
            let (at, revision) = (self.now, self.revision);
            self.operations.record(note, at, revision);
        }
        outcome
    }

    /// What is kept for operators is used.
    #[must_use]
    pub const fn keeps_operations(&self) -> bool {
        self.operations.begun
    }

    /// Nobody has provisioned anything.
    #[must_use]
    pub fn is_unprovisioned(&self) -> bool {
        self.home_prefixes.is_empty() && self.subscribers.len() == 0 && self.homes.len() == 0
    }

    /// Alarms by key: those that are raised, and those that have ended and were not acknowledged.
    pub fn alarms(&self) -> impl Iterator<Item = (&AlarmKey, &Alarm)> {
        self.operations.alarms.iter()
    }

    /// What became of alarms, oldest first.
    pub fn alarm_history(&self) -> impl DoubleEndedIterator<Item = &AlarmChange> {
        self.operations.history.iter().map(AsRef::as_ref)
    }

    /// What operators have written, oldest first.
    pub fn audit_records(&self) -> impl DoubleEndedIterator<Item = &AuditRecord> {
        self.operations.audit.iter().map(AsRef::as_ref)
    }

    /// Names of nodes that are to be drained.
    pub fn drained_nodes(&self) -> impl Iterator<Item = &str> {
        self.operations.drained.iter().map(String::as_str)
    }

    /// A node is to be drained.
    #[must_use]
    pub fn is_drained(&self, node: &str) -> bool {
        self.operations.drained.contains(node)
    }
}

/// A text that is kept must not be long.
fn check_len(field: &'static str, text: &str, max: usize) -> Result<(), Refusal> {
    if text.len() <= max {
        return Ok(());
    }
    let message = format!("longer than {max} octets");
    Err(Refusal { kind: RefusalKind::Invalid, field: Cow::Borrowed(field), message })
}

/// The first number of a list that grows at its end.
fn next_number(newest: Option<u64>) -> u64 {
    newest.map_or(1, |newest| newest.saturating_add(1))
}

/// A moment of the log.
type Moment = (LogTime, u64);
