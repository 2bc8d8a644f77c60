//! The binding cache as the replicated state machine, and the memory of what changed when.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Buf as _, Bytes};
use homeport_api::convert;
use homeport_binding::{
    BindingCache, Change, Dispatch, ENTRIES_VERSION, GivenUp, StateRecord, Verdict,
};
use homeport_raft::{FrozenState, SnapshotError, StateMachine};
use tokio::sync::mpsc;

use crate::events::Events;
use crate::limits;
use crate::metrics::Metrics;
use crate::tap::Tap;

/// What [`homeport_raft`] replicates.
#[derive(Default)]
pub(crate) struct Machine {
    pub(crate) cache: BindingCache,
    changes: Changes,
    announcer: Option<Announcer>,
    tap: Option<Box<dyn Tap>>,
    home_links: HomeLinks,
    events: Events,
}

/// Whether a home prefix has a real home link; looked at without stopping the state machine.
#[derive(Clone, Default)]
pub(crate) struct HomeLinks(Arc<AtomicBool>);

impl HomeLinks {
    pub(crate) fn are_there(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What the leader has to see to.
pub(crate) enum Due {
    /// A notice is to be sent.
    Notice(Dispatch),
    /// A mobile node has not answered.
    GivenUp(GivenUp),
}

/// Where what has become due goes.
struct Announcer {
    due: mpsc::Sender<Due>,
    metrics: Arc<Metrics>,
}

/// The newest changes by revision, oldest first. What a subscriber has missed is looked up here as a set
/// of keys and sent as their latest state, so that a slow subscriber costs no memory of its own.
#[derive(Default)]
struct Changes {
    recent: VecDeque<(u64, Change)>,
    /// Changes up to here are no longer known.
    forgotten: u64,
}

impl Changes {
    fn extend(&mut self, revision: u64, changes: Vec<Change>) {
        self.recent.extend(changes.into_iter().map(|change| (revision, change)));
        while self.recent.len() > limits::CHANGES_REMEMBERED_MAX {
            if let Some((revision, _)) = self.recent.pop_front() {
                self.forgotten = revision;
            }
        }
    }
}

impl Machine {
    /// With the queue of what is due to be sent: all replicas fill it, only the leader sends.
    pub(crate) fn announcing(
        metrics: Arc<Metrics>,
        tap: Option<Box<dyn Tap>>,
    ) -> (Self, mpsc::Receiver<Due>) {
        let (due, receiver) = mpsc::channel(limits::NOTICES_WAITING_MAX);
        (Self { announcer: Some(Announcer { due, metrics }), tap, ..Self::default() }, receiver)
    }

    pub(crate) fn home_links(&self) -> HomeLinks {
        self.home_links.clone()
    }

    /// What has happened lately.
    pub(crate) fn events(&self) -> &Events {
        &self.events
    }

    /// Home prefixes seldom change.
    fn look_for_home_links(&self) {
        let mut prefixes = self.cache.home_prefixes_after(None);
        let are_there = prefixes.any(|prefix| prefix.record.real_home_link);
        self.home_links.0.store(are_there, Ordering::Release);
    }

    fn announce(&mut self) {
        let (notices, given_up) = (self.cache.take_notices(), self.cache.take_given_up());
        let Some(announcer) = &self.announcer else { return };
        let due = notices.into_iter().map(Due::Notice);
        for due in due.chain(given_up.into_iter().map(Due::GivenUp)) {
            if announcer.due.try_send(due).is_err() {
                announcer.metrics.notices_dropped.count("queue_full");
            }
        }
    }

    fn moved(&mut self, by_snapshot: bool) {
        if let Some(tap) = &mut self.tap {
            tap.moved(&self.cache, by_snapshot);
        }
    }

    /// What changed after `revision`; `None` when that is no longer known.
    pub(crate) fn changes_after(&self, revision: u64) -> Option<BTreeSet<Change>> {
        if revision < self.changes.forgotten || revision > self.cache.revision() {
            return None;
        }
        let recent = &self.changes.recent;
        let from = recent.partition_point(|(at, _)| *at <= revision);
        Some(recent.range(from..).map(|(_, change)| *change).collect())
    }

    /// Whether the log entry at `revision`, which is not long ago, changed this.
    pub(crate) fn changed_at(&self, revision: u64, change: Change) -> bool {
        let recent = &self.changes.recent;
        let from = recent.partition_point(|(at, _)| *at < revision);
        let of_the_entry = recent.range(from..).take_while(|(at, _)| *at == revision);
        of_the_entry.into_iter().any(|(_, changed)| *changed == change)
    }
}

impl StateMachine for Machine {
    const ENTRIES_VERSION: u32 = ENTRIES_VERSION;

    type Reply = Vec<Verdict>;

    fn apply(&mut self, index: u64, command: &Bytes) -> Vec<Verdict> {
        let verdicts = match convert::batch_of(command.clone()) {
            Ok(batch) => match &mut self.tap {
                Some(tap) => tap.apply(&mut self.cache, index, batch),
                None => self.cache.apply(index, batch),
            },
            // Only a newer version can have written it: every replica of this one does the same.
            Err(error) => {
                tracing::error!(index, %error, "a log entry of an unknown kind is passed over");
                self.cache.advance(index);
                Vec::new()
            }
        };
        let changes = self.cache.take_changes();
        if changes.iter().any(|change| matches!(change, Change::HomePrefix(_))) {
            self.look_for_home_links();
        }
        self.changes.extend(index, changes);
        let events = self.cache.take_events();
        self.events.extend(index, self.cache.now(), events);
        self.announce();
        verdicts
    }

    fn advance(&mut self, index: u64) {
        // Index 0 is the first membership: a cache that has seen nothing stands there already.
        if index > 0 {
            self.cache.advance(index);
            self.moved(false);
        }
    }

    fn freeze(&self) -> Box<dyn FrozenState> {
        match &self.tap {
            Some(tap) => Box::new(Frozen(tap.records(&self.cache).into_iter())),
            None => Box::new(Frozen(self.cache.records())),
        }
    }

    fn restore(
        &mut self,
        index: u64,
        chunks: &mut dyn Iterator<Item = Result<Bytes, SnapshotError>>,
    ) -> Result<(), SnapshotError> {
        let mut records = Records { chunks, chunk: Bytes::new(), failed: None };
        let cache = BindingCache::from_records(&mut records);
        if let Some(error) = records.failed {
            return Err(error);
        }
        let cache = cache.map_err(|error| SnapshotError::Content(error.to_string()))?;
        if cache.revision() > index {
            let message = format!("state of revision {} at log index {index}", cache.revision());
            return Err(SnapshotError::Content(message));
        }
        self.cache = cache;
        self.look_for_home_links();
        // Nobody can resume from before: what changed in between is not known here.
        self.changes = Changes { recent: VecDeque::new(), forgotten: index };
        self.events = Events::beginning_at(index);
        self.moved(true);
        Ok(())
    }
}

/// The records in the chunks of a snapshot, up to the first that cannot be read.
struct Records<'c> {
    chunks: &'c mut dyn Iterator<Item = Result<Bytes, SnapshotError>>,
    chunk: Bytes,
    failed: Option<SnapshotError>,
}

impl Iterator for Records<'_> {
    type Item = StateRecord;

    fn next(&mut self) -> Option<StateRecord> {
        while !self.chunk.has_remaining() {
            match self.chunks.next()? {
                Ok(chunk) => self.chunk = chunk,
                Err(error) => {
                    self.failed = Some(error);
                    return None;
                }
            }
        }
        let record = convert::decode_state_record(&mut self.chunk);
        record.map_err(|error| self.failed = Some(SnapshotError::Content(error.to_string()))).ok()
    }
}

/// The records of a state, made one by one: it is never in memory twice.
struct Frozen<I>(I);

impl<I: Iterator<Item = StateRecord> + Send + 'static> FrozenState for Frozen<I> {
    fn chunks(self: Box<Self>) -> Box<dyn Iterator<Item = Bytes> + Send> {
        let mut records = self.0.peekable();
        Box::new(std::iter::from_fn(move || {
            records.peek()?;
            let mut chunk = Vec::new();
            while chunk.len() < limits::SNAPSHOT_CHUNK_OCTETS {
                let Some(record) = records.next() else { break };
                convert::encode_state_record(record, &mut chunk);
            }
            Some(Bytes::from(chunk))
        }))
    }
}

#[cfg(test)]
mod tests;
