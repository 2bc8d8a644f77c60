//! Removes purged entries on a thread of its own, so that appends do not wait for it.

use super::engine::LogEngine;
use crate::limits::PURGER_QUEUE;
use crate::sync::{lock, wait};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

/// Entries removed before the thread looks whether it should end.
const STEP: u64 = 512;

pub(super) struct Purger {
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Instead of the thread.
    in_place: Option<Arc<dyn LogEngine>>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    ranges: VecDeque<Range<u64>>,
    closed: bool,
}

impl Purger {
    pub(super) fn spawn(engine: Arc<dyn LogEngine>) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let for_thread = Arc::clone(&queue);
        let thread = std::thread::Builder::new()
            .name("raft-log-purger".to_owned())
            .spawn(move || run(&for_thread, engine.as_ref()))?;
        Ok(Self { queue, thread: Mutex::new(Some(thread)), in_place: None })
    }

    /// Without a thread: entries are removed at once.
    pub(super) fn in_place(engine: Arc<dyn LogEngine>) -> Self {
        Self { queue: Arc::default(), thread: Mutex::default(), in_place: Some(engine) }
    }

    /// Removes these entries some time. They are below a durable purge marker already, so a range
    /// that finds the queue full is only left for the next start to remove.
    pub(super) fn remove(&self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        if let Some(engine) = &self.in_place {
            return remove(engine.as_ref(), range);
        }
        let mut state = lock(&self.queue.state);
        let room = state.ranges.len() < PURGER_QUEUE;
        match state.ranges.back_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ if room => state.ranges.push_back(range),
            _ => tracing::warn!(start = range.start, end = range.end, "purge left for later"),
        }
        drop(state);
        self.queue.changed.notify_one();
    }

    /// Ends the thread; what it has not removed is removed at the next start.
    pub(super) fn close(&self) {
        lock(&self.queue.state).closed = true;
        self.queue.changed.notify_one();
        let thread = lock(&self.thread).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the purger thread ended by a panic");
        }
    }
}

impl Drop for Purger {
    fn drop(&mut self) {
        lock(&self.queue.state).closed = true;
        self.queue.changed.notify_one();
    }
}

fn run(queue: &Queue, engine: &dyn LogEngine) {
    while let Some(step) = next_step(queue) {
        remove(engine, step);
    }
}

fn remove(engine: &dyn LogEngine, range: Range<u64>) {
    if let Err(error) = engine.remove(range) {
        // The entries are purged whether they are there or not.
        tracing::warn!(%error, "purged entries stay on the disk until the next start");
    }
}

fn next_step(queue: &Queue) -> Option<Range<u64>> {
    let mut state = lock(&queue.state);
    loop {
        if state.closed {
            return None;
        }
        if let Some(range) = state.ranges.front_mut() {
            let step = range.start..range.end.min(range.start + STEP);
            range.start = step.end;
            if range.is_empty() {
                state.ranges.pop_front();
            }
            return Some(step);
        }
        state = wait(&queue.changed, state);
    }
}
