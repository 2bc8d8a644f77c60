//! Alarms after ITU-T X.733, with the operator's states of RFC 8632: what has ended and nobody has
//! acknowledged stays to be seen.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;

use super::{Moment, Operations, check_len, next_number};
use crate::cache::BindingCache;
use crate::event::ClusterEvent;
use crate::limits;
use crate::time::LogTime;
use crate::verdict::{Outcome, Refusal, RefusalKind};

/// Which alarm: the same condition of the same thing is one alarm, however often it is reported.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct AlarmKey {
    /// What it is about: "stores/2", "forwarders/edge-1", "cluster".
    pub resource: String,
    /// What kind: "session-lost". It has a section in `docs/operations/alarms.md`.
    pub kind: String,
    /// What tells two of a kind about one thing apart; mostly empty.
    pub specific_problem: String,
}

/// Perceived severity (X.733 §8.1.2.3). That an alarm has ended is no severity, but a state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// Something is to be done at once.
    Critical,
    /// Something is to be done soon.
    Major,
    /// It does not disturb the service yet.
    Minor,
    /// It may come to something.
    Warning,
}

/// An alarm.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Alarm {
    /// How bad it is, or was.
    pub severity: Severity,
    /// What is the matter.
    pub text: String,
    /// When it was raised last.
    pub raised: LogTime,
    /// When it ended.
    pub cleared: Option<LogTime>,
    /// Somebody has taken note of it.
    pub acknowledged: Option<Mark>,
    /// Somebody does not want to see it for a while.
    pub shelved: Option<Shelf>,
    /// Log index of the last change.
    pub revision: u64,
}

/// What somebody did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mark {
    /// Who.
    pub by: String,
    /// When.
    pub at: LogTime,
    /// What was said.
    pub comment: String,
}

/// An alarm that is not shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shelf {
    /// Who put it there.
    pub mark: Mark,
    /// Then it is shown again.
    pub until: LogTime,
}

/// What becomes of an alarm.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AlarmAct {
    /// The condition is there; nothing changes when that is known.
    Raise {
        /// How bad.
        severity: Severity,
        /// What is the matter.
        text: String,
    },
    /// The condition is gone.
    Clear,
    /// Somebody takes note; what has ended leaves the list.
    Acknowledge {
        /// Who.
        by: String,
        /// What they say.
        comment: String,
    },
    /// It is not shown for a while.
    Shelve {
        /// Who.
        by: String,
        /// What they say.
        comment: String,
        /// For how long, in milliseconds; zero shows it again.
        for_ms: u64,
    },
    /// Somebody says something about it.
    Comment {
        /// Who.
        by: String,
        /// What.
        comment: String,
    },
}

/// One line of the history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AlarmChange {
    /// Counts from 1, without gaps.
    pub number: u64,
    /// When.
    pub at: LogTime,
    /// Log index.
    pub revision: u64,
    /// Which alarm.
    pub key: AlarmKey,
    /// How bad it is, or was.
    pub severity: Severity,
    /// What became of it.
    pub step: AlarmStep,
    /// Who; empty for the cluster itself.
    pub by: String,
    /// What is the matter, or what they say.
    pub text: String,
}

/// What became of an alarm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AlarmStep {
    /// It was raised.
    Raised,
    /// It is another severity, or another text.
    Changed,
    /// It ended.
    Cleared,
    /// Somebody took note.
    Acknowledged,
    /// It is not shown for a while.
    Shelved,
    /// It is shown again.
    Unshelved,
    /// Somebody said something.
    Commented,
}

impl Alarm {
    /// It is shelved at this time.
    #[must_use]
    pub fn is_shelved(&self, now: LogTime) -> bool {
        self.shelved.as_ref().is_some_and(|shelf| shelf.until > now)
    }
}

impl BindingCache {
    /// Whether there is room for one that is raised is seen when it is made.
    pub(super) fn check_alarm(&self, key: &AlarmKey, act: &AlarmAct) -> Result<(), Refusal> {
        check(key, act)?;
        let is_known = || self.operations.alarms.contains_key(key);
        match act {
            AlarmAct::Raise { .. } | AlarmAct::Clear => Ok(()),
            _ if is_known() => Ok(()),
            _ => Err(unknown(key)),
        }
    }

    pub(super) fn alarm(&mut self, key: AlarmKey, act: AlarmAct) -> Outcome {
        let moment = (self.now, self.revision);
        let news = match act {
            AlarmAct::Raise { severity, text } => {
                match self.operations.raise(&key, severity, text, moment) {
                    Ok(news) => news.map(|text| ClusterEvent::AlarmRaised(key, text)),
                    Err(full) => return full,
                }
            }
            AlarmAct::Clear => {
                let news = self.operations.clear(&key, moment);
                news.map(|text| ClusterEvent::AlarmCleared(key, text))
            }
            act => return self.operations.act(&key, act, moment),
        };
        if let Some(event) = news {
            self.happened_to_cluster(event);
        }
        Outcome::Done
    }
}

impl Operations {
    /// The text, when this is news.
    fn raise(
        &mut self,
        key: &AlarmKey,
        severity: Severity,
        text: String,
        (at, revision): Moment,
    ) -> Result<Option<String>, Outcome> {
        if let Some(alarm) = self.alarms.get_mut(key)
            && alarm.cleared.is_none()
        {
            if alarm.severity == severity && alarm.text == text {
                return Ok(None);
            }
            (alarm.severity, alarm.revision) = (severity, revision);
            alarm.text.clone_from(&text);
            self.note(key, severity, AlarmStep::Changed, "", &text, (at, revision));
            return Ok(None);
        }
        self.make_room(key)?;
        let shelved = self.alarms.remove(key).and_then(|alarm| alarm.shelved);
        let alarm = Alarm {
            severity,
            text: text.clone(),
            raised: at,
            cleared: None,
            acknowledged: None,
            shelved: shelved.filter(|shelf| shelf.until > at),
            revision,
        };
        self.alarms.insert(key.clone(), alarm);
        self.note(key, severity, AlarmStep::Raised, "", &text, (at, revision));
        Ok(Some(text))
    }

    /// What has ended goes first.
    fn make_room(&mut self, key: &AlarmKey) -> Result<(), Outcome> {
        if self.alarms.contains_key(key) || self.alarms.len() < limits::ALARMS_MAX {
            return Ok(());
        }
        let ended = self.alarms.iter().filter_map(|(key, alarm)| Some((alarm.cleared?, key)));
        let Some(oldest) = ended.min().map(|(_, key)| key.clone()) else {
            let message = format!("there are {} alarms, the limit", limits::ALARMS_MAX);
            return Err(Outcome::refused(RefusalKind::Full, "alarm", message));
        };
        self.alarms.remove(&oldest);
        Ok(())
    }

    /// The text, when this is news.
    fn clear(&mut self, key: &AlarmKey, (at, revision): Moment) -> Option<String> {
        let alarm = self.alarms.get_mut(key).filter(|alarm| alarm.cleared.is_none())?;
        (alarm.cleared, alarm.revision) = (Some(at), revision);
        let (severity, text) = (alarm.severity, alarm.text.clone());
        if alarm.acknowledged.is_some() {
            self.alarms.remove(key);
        }
        self.note(key, severity, AlarmStep::Cleared, "", &text, (at, revision));
        Some(text)
    }

    /// What an operator does.
    fn act(&mut self, key: &AlarmKey, act: AlarmAct, (at, revision): Moment) -> Outcome {
        let Some(alarm) = self.alarms.get_mut(key) else {
            return Outcome::Refused(unknown(key));
        };
        let severity = alarm.severity;
        let (step, by, comment) = match act {
            AlarmAct::Acknowledge { by, comment } => {
                let mark = Mark { by: by.clone(), at, comment: comment.clone() };
                alarm.acknowledged = Some(mark);
                (AlarmStep::Acknowledged, by, comment)
            }
            AlarmAct::Shelve { by, comment, for_ms: 0 } => {
                alarm.shelved = None;
                (AlarmStep::Unshelved, by, comment)
            }
            AlarmAct::Shelve { by, comment, for_ms } => {
                let mark = Mark { by: by.clone(), at, comment: comment.clone() };
                let until = LogTime(at.0.saturating_add(for_ms));
                alarm.shelved = Some(Shelf { mark, until });
                (AlarmStep::Shelved, by, comment)
            }
            AlarmAct::Comment { by, comment } => (AlarmStep::Commented, by, comment),
            AlarmAct::Raise { .. } | AlarmAct::Clear => return Outcome::Done,
        };
        alarm.revision = revision;
        if alarm.cleared.is_some() && alarm.acknowledged.is_some() {
            self.alarms.remove(key);
        }
        self.note(key, severity, step, &by, &comment, (at, revision));
        Outcome::Done
    }

    fn note(
        &mut self,
        key: &AlarmKey,
        severity: Severity,
        step: AlarmStep,
        by: &str,
        text: &str,
        (at, revision): Moment,
    ) {
        let number = next_number(self.history.back().map(|newest| newest.number));
        let (key, by, text) = (key.clone(), by.into(), text.into());
        if self.history.len() >= limits::ALARM_CHANGES_MAX {
            self.history.pop_front();
        }
        let change = AlarmChange { number, at, revision, key, severity, step, by, text };
        self.history.push_back(Arc::new(change));
    }
}

fn unknown(key: &AlarmKey) -> Refusal {
    let message = format!("no alarm {} {}", key.resource, key.kind);
    Refusal { kind: RefusalKind::NotFound, field: Cow::Borrowed("alarm"), message }
}

fn check(key: &AlarmKey, act: &AlarmAct) -> Result<(), Refusal> {
    check_len("resource", &key.resource, limits::ALARM_NAME_LEN_MAX)?;
    check_len("kind", &key.kind, limits::ALARM_NAME_LEN_MAX)?;
    check_len("specific_problem", &key.specific_problem, limits::ALARM_NAME_LEN_MAX)?;
    match act {
        AlarmAct::Raise { text, .. } => check_len("text", text, limits::ALARM_TEXT_LEN_MAX),
        AlarmAct::Clear => Ok(()),
        AlarmAct::Acknowledge { by, comment }
        | AlarmAct::Shelve { by, comment, .. }
        | AlarmAct::Comment { by, comment } => {
            check_len("by", by, limits::ALARM_NAME_LEN_MAX)?;
            check_len("comment", comment, limits::ALARM_TEXT_LEN_MAX)
        }
    }
}
