//! One task beside the consensus core: publishes who leads, triggers snapshots and purges, and
//! keeps the replica from writing on a disk that is nearly full.

use crate::blocking::blocking;
use crate::config::RaftConfig;
use crate::disk::{Log, free_octets};
use crate::error::{DiskError, StopReason};
use crate::machine::{Machine, Progress};
use crate::network::{DiskSpace, Heard};
use crate::state_machine::StateMachine;
use crate::status::{Leadership, leadership};
use crate::types::{RaftMetrics, Types};
use openraft::Raft;
use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::Fatal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

const PERIOD: Duration = Duration::from_millis(250);

pub(crate) struct Watcher<S: StateMachine> {
    raft: Raft<Types, Machine<S>>,
    log: Log,
    progress: Arc<Progress>,
    space: Arc<DiskSpace>,
    heard: Arc<Heard>,
    thresholds: Thresholds,
    leadership: watch::Sender<Leadership>,
    stopped: watch::Sender<Option<StopReason>>,
    purge_asked: Option<u64>,
    /// Why this replica may not begin.
    refused: watch::Receiver<Option<StopReason>>,
}

struct Thresholds {
    data_dir: PathBuf,
    snapshot_octets: u64,
    snapshot_entries: u64,
    tail_entries: u64,
    tail_octets: u64,
    free_space_min: u64,
}

impl<S: StateMachine> Watcher<S> {
    pub(crate) fn new(
        config: &RaftConfig,
        raft: Raft<Types, Machine<S>>,
        log: Log,
        progress: Arc<Progress>,
        space: Arc<DiskSpace>,
        heard: Arc<Heard>,
        refused: watch::Receiver<Option<StopReason>>,
    ) -> Self {
        Self {
            raft,
            log,
            progress,
            space,
            heard,
            thresholds: Thresholds {
                data_dir: config.data_dir.clone(),
                snapshot_octets: config.snapshot_after_log_bytes,
                snapshot_entries: config.snapshot_after_entries,
                tail_entries: config.tail_entries,
                tail_octets: config.tail_bytes,
                free_space_min: config.free_space_min,
            },
            leadership: watch::Sender::new(Leadership::default()),
            stopped: watch::Sender::new(None),
            purge_asked: None,
            refused,
        }
    }

    pub(crate) fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.subscribe()
    }

    pub(crate) fn stopped(&self) -> watch::Receiver<Option<StopReason>> {
        self.stopped.subscribe()
    }

    /// Ends when the consensus core has ended.
    pub(crate) async fn run(mut self) {
        let mut metrics = self.raft.metrics();
        let failure = self.log.failure();
        let mut period = interval(PERIOD);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let seen = metrics.borrow_and_update().clone();
            let failed = failure.borrow().clone();
            let refused = self.refused.borrow().clone();
            if let Some(reason) = refused.or_else(|| stop_reason(&seen, failed)) {
                if reason != StopReason::Requested {
                    tracing::error!(%reason, "this replica takes no further part");
                }
                self.leadership
                    .send_replace(Leadership { term: seen.current_term, ..Leadership::default() });
                self.stopped.send_replace(Some(reason));
                return;
            }
            self.publish(&seen);
            // All arms only wait: nothing is lost when another is taken.
            tokio::select! {
                changed = metrics.changed() => {
                    if changed.is_err() {
                        self.stopped.send_replace(Some(StopReason::Broken));
                        return;
                    }
                }
                () = self.heard.changed() => {}
                _ = period.tick() => self.maintain(&seen).await,
            }
        }
    }

    fn publish(&self, metrics: &RaftMetrics) {
        let now = leadership(metrics, &self.heard);
        self.leadership.send_if_modified(|known| {
            let changed = *known != now;
            if changed {
                let leader = now.leader.as_ref().map(|leader| leader.node_id);
                tracing::info!(term = now.term, leader, local = now.local, "leadership");
                known.clone_from(&now);
            }
            changed
        });
    }

    async fn maintain(&mut self, metrics: &RaftMetrics) {
        self.check_space(metrics).await;
        let (snapshot, now) = self.progress.reached();
        let thresholds = &self.thresholds;
        let turn = |of, threshold| turn(metrics.id, of, threshold);
        let due = turn(now.index, thresholds.snapshot_entries)
            > turn(snapshot.index, thresholds.snapshot_entries)
            || turn(now.command_octets, thresholds.snapshot_octets)
                > turn(snapshot.command_octets, thresholds.snapshot_octets);
        if due && !self.space.is_low() {
            // The snapshot reaches as far as this when the state is frozen, so this asks once.
            tracing::debug!(?now, "a snapshot is due");
            self.send(self.raft.trigger().snapshot().await);
        }
        let Some(snapshot) = metrics.snapshot else {
            return;
        };
        let thresholds = &self.thresholds;
        let upto =
            self.log.purgeable(snapshot.index(), thresholds.tail_entries, thresholds.tail_octets);
        if upto.is_some() && upto > self.purge_asked {
            self.purge_asked = upto;
            if let Some(upto) = upto {
                self.send(self.raft.trigger().purge_log(upto).await);
            }
        }
    }

    /// A full disk makes sled panic, so it must not come to that.
    async fn check_space(&mut self, metrics: &RaftMetrics) {
        let dir = self.thresholds.data_dir.clone();
        let free = blocking(move || free_octets(&dir)).await;
        let Ok(Some(free)) = free else { return };
        self.space.set_free(free);
        let low = free < self.thresholds.free_space_min;
        if self.space.set_low(low) {
            self.raft.runtime_config().elect(!low);
            if low {
                tracing::error!(free, "the disk is nearly full: this replica takes no writes");
            } else {
                tracing::info!(free, "there is room on the disk again");
            }
        }
        if low && leadership(metrics, &self.heard).local {
            self.hand_over(metrics).await;
        }
    }

    /// Asks the follower that has most of the log to lead.
    async fn hand_over(&self, metrics: &RaftMetrics) {
        let voters: Vec<u64> = metrics.membership_config.voter_ids().collect();
        let best = metrics
            .replication
            .iter()
            .flatten()
            .filter(|(node_id, _)| **node_id != metrics.id && voters.contains(node_id))
            .max_by_key(|(_, matched)| **matched);
        if let Some((&node_id, _)) = best {
            tracing::info!(to = node_id, "handing over the leadership");
            self.send(self.raft.trigger().transfer_leader(node_id).await);
        }
    }

    fn send(&self, asked: Result<(), Fatal<Types>>) {
        if let Err(error) = asked {
            tracing::debug!(%error, "the consensus core takes no requests");
        }
    }
}

/// How many snapshots a replica should have written when the log is so long, one every `threshold`, and each replica
/// in another quarter of that. It counts from the start of the log, since all apply the same and would else
/// write theirs at the same moment again after a time of many commands, when no majority would be free of that.
const fn turn(node_id: u64, length: u64, threshold: u64) -> u64 {
    const PARTS: u64 = 4;
    length.saturating_add(threshold.div_ceil(PARTS).saturating_mul(node_id % PARTS)) / threshold
}

fn stop_reason(metrics: &RaftMetrics, failed: Option<DiskError>) -> Option<StopReason> {
    let fatal = metrics.running_state.as_ref().err();
    Some(match (failed, fatal) {
        (Some(failed), _) => StopReason::Storage(failed.to_string()),
        (None, Some(fatal)) => fatal_reason(fatal),
        (None, None) => return None,
    })
}

pub(crate) fn fatal_reason(fatal: &Fatal<Types>) -> StopReason {
    match fatal {
        Fatal::StorageError(error) => StopReason::Storage(error.to_string()),
        Fatal::Panicked => StopReason::Broken,
        Fatal::Stopped => StopReason::Requested,
    }
}

#[cfg(test)]
mod tests {
    use super::turn;

    #[test]
    fn replicas_write_their_snapshots_in_turn() {
        let writes = |node_id| {
            (1..=300)
                .filter(move |length| turn(node_id, *length, 100) > turn(node_id, length - 1, 100))
        };
        let all: Vec<Vec<u64>> = (1..=4).map(|node_id| writes(node_id).collect()).collect();
        assert_eq!(all, [[75, 175, 275], [50, 150, 250], [25, 125, 225], [100, 200, 300]]);
        assert_eq!(turn(3, u64::MAX, 1), u64::MAX);
    }
}
