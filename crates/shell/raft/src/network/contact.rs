//! Who was heard from: the leader, as far as it still speaks, and peers that do not answer.

use crate::limits::FAILURES_TOLD;
use crate::sync::lock;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// The leader that spoke to this replica last.
///
/// The vote on the disk names the last leader for ever: after a restart, and as long as no majority
/// can elect another. It is a leader only while its heartbeats come.
#[derive(Debug)]
pub(crate) struct Heard {
    window: Duration,
    last: Mutex<Option<(u64, Instant)>>,
    changed: Notify,
    /// Whose stream ended, when it was the last to lead.
    left: Mutex<Option<u64>>,
    leaves: Notify,
}

impl Heard {
    /// A leader counts for `window` after each of its messages.
    pub(crate) fn new(window: Duration) -> Self {
        Self {
            window,
            last: Mutex::new(None),
            changed: Notify::new(),
            left: Mutex::new(None),
            leaves: Notify::new(),
        }
    }

    /// This node has sent what only a leader sends.
    pub(super) fn note(&self, node_id: u64) {
        let known = self.recently(node_id);
        *lock(&self.last) = Some((node_id, Instant::now()));
        if !known {
            self.changed.notify_one();
        }
    }

    /// Whether this node was the last to lead, and not too long ago.
    pub(crate) fn recently(&self, node_id: u64) -> bool {
        lock(&self.last).is_some_and(|(last, at)| last == node_id && at.elapsed() < self.window)
    }

    /// The stream of a node ended; that counts when it was the last to lead.
    pub(super) fn note_end(&self, node_id: u64) {
        if self.recently(node_id) {
            *lock(&self.left) = Some(node_id);
            self.leaves.notify_one();
        }
    }

    /// Waits until the stream of whoever leads has ended.
    pub(crate) async fn left(&self) -> u64 {
        loop {
            self.leaves.notified().await;
            if let Some(node_id) = lock(&self.left).take() {
                return node_id;
            }
        }
    }

    /// This node does not lead any more, until it is heard from again.
    pub(crate) fn forget(&self, node_id: u64) {
        let mut last = lock(&self.last);
        if last.is_some_and(|(last, _)| last == node_id) {
            *last = None;
            drop(last);
            self.changed.notify_one();
        }
    }

    /// Waits for a leader that did not count before.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// Whether a peer answers, told once per change: a peer that is away for a day is one line in the
/// log, not a million.
#[derive(Debug)]
pub(super) struct Reachability {
    node_id: u64,
    /// Calls in a row that brought no answer.
    failures: AtomicU32,
}

impl Reachability {
    pub(super) fn new(node_id: u64) -> Self {
        Self { node_id, failures: AtomicU32::new(0) }
    }

    pub(super) fn answers(&self) {
        // Nearly always there is nothing to change, so nothing is written.
        let none = self.failures.load(Ordering::Relaxed) == 0;
        if !none && self.failures.swap(0, Ordering::Relaxed) >= FAILURES_TOLD {
            tracing::info!(peer = self.node_id, "a peer answers again");
        }
    }

    pub(super) fn fails(&self, reason: &dyn std::fmt::Display) {
        let counted =
            self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |failures| {
                (failures < FAILURES_TOLD).then_some(failures + 1)
            });
        if counted == Ok(FAILURES_TOLD - 1) {
            tracing::warn!(peer = self.node_id, %reason, "a peer does not answer as it should");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_leader_counts_while_it_speaks_and_nobody_else_does() {
        let heard = Heard::new(Duration::from_secs(3600));
        assert!(!heard.recently(1), "nobody has spoken");
        heard.note(1);
        assert!(heard.recently(1) && !heard.recently(2));
        heard.changed().await;
        heard.note(2);
        assert!(heard.recently(2) && !heard.recently(1));
        heard.changed().await;
    }

    #[tokio::test]
    async fn the_end_of_the_leaders_stream_is_told_and_nobody_elses() {
        let heard = Heard::new(Duration::from_secs(3600));
        heard.note(1);
        heard.note_end(2);
        heard.note_end(1);
        assert_eq!(heard.left().await, 1);
        heard.forget(2);
        assert!(heard.recently(1));
        heard.forget(1);
        assert!(!heard.recently(1), "a leader that is gone is not worth asking");
    }

    #[test]
    fn a_silent_leader_counts_no_more() {
        let heard = Heard::new(Duration::ZERO);
        heard.note(1);
        assert!(!heard.recently(1));
    }
}
