//! The caller's state machine as openraft wants it: applying, freezing, restoring.

use crate::blocking::{behind_all, blocking};
use crate::error::SnapshotError;
use crate::limits::{SNAPSHOT_REST, SNAPSHOT_REST_MAX};
use crate::snapshot::{SnapshotFile, SnapshotStore};
use crate::state_machine::{FrozenState, StateMachine};
use crate::sync::{lock, read, write};
use crate::types::{Entry, LogId, Reply, Snapshot, SnapshotMeta, StoredMembership, Types};
use futures_util::{Stream, TryStreamExt as _};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How far the state machine has come; shared with the node.
#[derive(Debug)]
pub(crate) struct Progress {
    applied: watch::Sender<u64>,
    /// Of all commands that were ever applied.
    command_octets: AtomicU64,
    snapshot: Mutex<Reached>,
}

/// How far the log was applied, which is the same on every replica.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) index: u64,
    /// Of all commands up to there.
    pub(crate) command_octets: u64,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            applied: watch::Sender::new(0),
            command_octets: AtomicU64::new(0),
            snapshot: Mutex::default(),
        }
    }

    pub(crate) fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// How far the last snapshot goes that was begun or taken over, and how far the log is applied.
    pub(crate) fn reached(&self) -> (Reached, Reached) {
        let snapshot = *lock(&self.snapshot);
        let command_octets = self.command_octets.load(Ordering::Relaxed);
        (snapshot, Reached { index: *self.applied.borrow(), command_octets })
    }

    fn count(&self, octets: usize) {
        let octets = u64::try_from(octets).unwrap_or(u64::MAX);
        self.command_octets.fetch_add(octets, Ordering::Relaxed);
    }

    /// Lets commands go first: rests after a step of work that took so long, if any came meanwhile.
    fn rest_after(&self, step: Duration, applied: &mut u64) {
        let now = *self.applied.borrow();
        if now != *applied {
            std::thread::sleep(step.saturating_mul(SNAPSHOT_REST).min(SNAPSHOT_REST_MAX));
        }
        *applied = now;
    }

    fn snapshot_reaches(&self, reached: Reached) {
        self.command_octets.store(reached.command_octets, Ordering::Relaxed);
        *lock(&self.snapshot) = reached;
    }
}

pub(crate) struct Machine<S> {
    state: Arc<RwLock<S>>,
    applied: Option<LogId>,
    membership: StoredMembership,
    snapshots: Arc<SnapshotStore>,
    progress: Arc<Progress>,
}

impl<S: StateMachine> Machine<S> {
    pub(crate) fn new(
        state: Arc<RwLock<S>>,
        snapshots: Arc<SnapshotStore>,
        progress: Arc<Progress>,
    ) -> Self {
        Self { state, applied: None, membership: StoredMembership::default(), snapshots, progress }
    }

    fn apply_one(&mut self, entry: Entry) -> Reply {
        let index = entry.log_id.index();
        let committed = Instant::now();
        let (reply, octets) = {
            let mut state = write(&self.state);
            match &entry.payload {
                EntryPayload::Normal(command) => {
                    (Reply::of(state.apply(index, &command.0), committed), command.0.len())
                }
                EntryPayload::Blank | EntryPayload::Membership(_) => {
                    state.advance(index);
                    (Reply::none(), 0)
                }
            }
        };
        self.applied = Some(entry.log_id);
        if let EntryPayload::Membership(membership) = entry.payload {
            self.membership = StoredMembership::new(Some(entry.log_id), membership);
        }
        self.progress.count(octets);
        self.progress.applied.send_replace(index);
        reply
    }

    fn freeze(&self) -> Builder {
        let frozen = read(&self.state).freeze();
        let (_, reached) = self.progress.reached();
        self.progress.snapshot_reaches(reached);
        Builder {
            frozen: Mutex::new(Some(frozen)),
            command_octets: reached.command_octets,
            meta: SnapshotMeta {
                last_log_id: self.applied,
                last_membership: self.membership.clone(),
            },
            snapshots: Arc::clone(&self.snapshots),
            progress: Arc::clone(&self.progress),
        }
    }
}

impl<S: StateMachine> RaftStateMachine<Types> for Machine<S> {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let reply = self.apply_one(entry);
            if let Some(responder) = responder {
                responder.send(reply);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        self.freeze()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        file: SnapshotFile,
    ) -> Result<(), io::Error> {
        let state = Arc::clone(&self.state);
        let snapshots = Arc::clone(&self.snapshots);
        let index = meta.last_log_id.map_or(0, |last| last.index());
        let published = meta.clone();
        let command_octets = off_the_runtime(move || {
            let octets = snapshots.read(&file, |chunks| write(&state).restore(index, chunks))?;
            snapshots.publish(&published, &file).map(|_| octets)
        })
        .await?;
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.progress.snapshot_reaches(Reached { index, command_octets });
        self.progress.applied.send_replace(index);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        Ok(self.snapshots.current().map(|(meta, snapshot)| Snapshot { meta, snapshot }))
    }
}

/// Writes one frozen state.
pub(crate) struct Builder {
    frozen: Mutex<Option<Box<dyn FrozenState>>>,
    command_octets: u64,
    meta: SnapshotMeta,
    snapshots: Arc<SnapshotStore>,
    progress: Arc<Progress>,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let frozen = lock(&self.frozen).take();
        let frozen = frozen.ok_or_else(|| io::Error::other("a builder builds one snapshot"))?;
        let (meta, snapshots) = (self.meta.clone(), Arc::clone(&self.snapshots));
        let index = meta.last_log_id.map(|last| last.index());
        let written = meta.clone();
        let progress = Arc::clone(&self.progress);
        let octets = self.command_octets;
        let snapshot = behind_all("snapshot", move |may_wait| {
            let mut applied = 0;
            snapshots.write(&written, octets, frozen.chunks(), |step| {
                if may_wait {
                    progress.rest_after(step, &mut applied);
                }
            })
        })
        .await??;
        tracing::info!(index, octets = snapshot.octets(), "snapshot written");
        Ok(Snapshot { meta, snapshot })
    }
}

async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SnapshotError> + Send + 'static,
) -> Result<T, io::Error> {
    match blocking(work).await {
        Ok(result) => Ok(result?),
        Err(e) => Err(io::Error::other(e)),
    }
}
