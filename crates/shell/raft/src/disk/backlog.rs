//! What the journal has and sled does not have yet, and the thread that gives it to sled: many records at
//! once, after a short while or when somebody waits for it.

use super::journal::{Change, Record};
use super::sled_engine::SledEngine;
use crate::error::DiskError;
use crate::limits::{BACKLOG_OCTETS, BACKLOG_OCTETS_AT_ONCE, BACKLOG_PAUSE};
use crate::sync::lock;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

pub(super) struct Backlog {
    state: Mutex<State>,
    /// For the thread.
    wanted: Condvar,
    /// For those who wait for it.
    done: Condvar,
}

/// Numbers are those of journal records. The journal's two files bound how much is waiting.
struct State {
    waiting: VecDeque<Record>,
    octets: usize,
    /// When the first that waits came.
    since: Instant,
    pushed: u64,
    /// Durably.
    in_sled: u64,
    wanted: u64,
    ended: bool,
    failed: Option<DiskError>,
}

fn octets(record: &Record) -> usize {
    record.changes.iter().map(|(key, value): &Change| key.len() + value.len()).sum()
}

impl Backlog {
    /// Everything up to this record is in sled, durably.
    pub(super) fn new(number: u64) -> Self {
        Self {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                octets: 0,
                since: Instant::now(),
                pushed: number,
                in_sled: number,
                wanted: number,
                ended: false,
                failed: None,
            }),
            wanted: Condvar::new(),
            done: Condvar::new(),
        }
    }

    pub(super) fn push(&self, record: Record) {
        let mut state = lock(&self.state);
        state.pushed = record.number;
        let before = state.octets;
        state.octets += octets(&record);
        if state.waiting.is_empty() {
            state.since = Instant::now();
        }
        // A thread that is woken for each record costs more than the record.
        let wake =
            state.waiting.is_empty() || (before < BACKLOG_OCTETS && state.octets >= BACKLOG_OCTETS);
        state.waiting.push_back(record);
        drop(state);
        if wake {
            self.wanted.notify_one();
        }
    }

    /// Waits until sled has everything.
    pub(super) fn settle(&self) -> Result<(), DiskError> {
        let number = lock(&self.state).pushed;
        self.settle_to(number)
    }

    /// Waits until sled has everything up to this record.
    pub(super) fn settle_to(&self, number: u64) -> Result<(), DiskError> {
        self.wants(number);
        self.wait(lock(&self.state), |state| state.in_sled >= number)
    }

    /// sled shall have everything up to this record soon.
    pub(super) fn wants(&self, number: u64) {
        let mut state = lock(&self.state);
        state.wanted = state.wanted.max(number);
        drop(state);
        self.wanted.notify_one();
    }

    fn wait(
        &self,
        mut state: MutexGuard<'_, State>,
        reached: impl Fn(&State) -> bool,
    ) -> Result<(), DiskError> {
        loop {
            if let Some(first) = &state.failed {
                return Err(DiskError::Failed { first: first.to_string() });
            }
            if reached(&state) {
                return Ok(());
            }
            state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Nothing more comes: the thread puts the rest into sled and ends.
    pub(super) fn end(&self) {
        lock(&self.state).ended = true;
        self.wanted.notify_one();
    }

    /// What the thread does.
    pub(super) fn run(&self, sled: &SledEngine) {
        while let Some(records) = self.next() {
            let last = records.last().map_or(0, |record| record.number);
            let result = sled.take_over(records);
            let failed = result.is_err();
            let mut state = lock(&self.state);
            match result {
                Ok(()) => state.in_sled = last,
                Err(error) => {
                    tracing::error!(%error, "sled cannot take over the journal");
                    state.failed = Some(error);
                }
            }
            drop(state);
            self.done.notify_all();
            if failed {
                return;
            }
        }
    }

    /// Waits for what sled shall have next; `None` at the end.
    fn next(&self) -> Option<Vec<Record>> {
        let mut state = lock(&self.state);
        loop {
            let pause = BACKLOG_PAUSE.saturating_sub(state.since.elapsed());
            let due = state.octets >= BACKLOG_OCTETS
                || state.wanted > state.in_sled
                || state.ended
                || pause.is_zero();
            if !state.waiting.is_empty() && due {
                return Some(state.take());
            }
            if state.ended {
                return None;
            }
            state = if state.waiting.is_empty() {
                self.wanted.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else {
                let waited = self.wanted.wait_timeout(state, pause);
                waited.unwrap_or_else(PoisonError::into_inner).0
            };
        }
    }
}

impl State {
    fn take(&mut self) -> Vec<Record> {
        let records = one_batch(&mut self.waiting);
        let taken = records.iter().map(octets).sum();
        self.octets = self.octets.saturating_sub(taken);
        self.since = Instant::now();
        records
    }
}

/// As many as are put into sled at once.
pub(super) fn one_batch(waiting: &mut VecDeque<Record>) -> Vec<Record> {
    let mut taken = 0;
    let mut records = Vec::new();
    while let Some(record) = waiting.pop_front_if(|_| taken < BACKLOG_OCTETS_AT_ONCE) {
        taken += octets(&record);
        records.push(record);
    }
    records
}
