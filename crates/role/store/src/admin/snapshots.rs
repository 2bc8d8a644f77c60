use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use homeport_api::admin::snapshots_server::Snapshots;
use homeport_api::admin::{self as api};
use homeport_api::backup::Encoder;
use homeport_api::backup_file::{BackupHeader, Counts};
use homeport_api::convert;
use homeport_raft::{FrozenState, StateMachine as _};
use homeport_runtime::{Task, clock};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{Reason, Refused, read_barrier};
use crate::metrics::Metrics;
use crate::{Store, limits};

pub(crate) struct Service(pub(crate) Store);

type Message = Result<api::SaveSnapshotResponse, Status>;

#[tonic::async_trait]
impl Snapshots for Service {
    type SaveSnapshotStream = BoxStream<'static, Message>;

    async fn save_snapshot(
        &self,
        request: Request<api::SaveSnapshotRequest>,
    ) -> Result<Response<Self::SaveSnapshotStream>, Status> {
        let (store, local) = (&self.0, request.into_inner().local);
        let only = Arc::clone(&store.backups).try_acquire_owned().map_err(|_taken| {
            store.metrics.backups.count("busy");
            let message = "a snapshot of this replica is being saved already";
            Refused::new(Reason::SnapshotBusy, message).status()
        })?;
        let barrier = read_barrier(store, local).await;
        barrier.inspect_err(|_| store.metrics.backups.count("not_current"))?;
        let (frozen, header) = freeze(store);
        let revision = header.revision;
        tracing::info!(revision, "a snapshot is being saved");
        let (out, messages) = mpsc::channel(limits::BACKUP_MESSAGES_WAITING_MAX);
        let metrics = Arc::clone(&store.metrics);
        let saving = Saving { outcome: "left", revision, metrics, _only: only };
        let task = Task::spawn("backup", send(saving, frozen, header, out));
        // The task ends with the stream: it is dropped with it.
        let stream = ReceiverStream::new(messages).map(move |message| {
            let _alive = &task;
            message
        });
        Ok(Response::new(stream.boxed()))
    }
}

/// The state of one revision, and what is said of it.
fn freeze(store: &Store) -> (Box<dyn FrozenState>, BackupHeader) {
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let status = store.node.status();
    let (cluster, cluster_id) = store.node.cluster();
    store.node.read(|machine| {
        let cache = &machine.cache;
        let counts = Counts {
            home_prefixes: count(cache.home_prefixes_after(None).count()),
            subscribers: count(cache.subscriber_count()),
            home_addresses: count(cache.home_address_count()),
            bindings: count(cache.binding_count()),
        };
        let header = BackupHeader {
            cluster: cluster.to_owned(),
            cluster_id,
            node_id: status.node_id,
            revision: cache.revision(),
            term: status.term,
            log_time_ms: cache.now().0,
            taken_ms: clock::unix_ms(),
            state_format: convert::STATE_FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            counts: Some(counts),
        };
        (machine.freeze(), header)
    })
}

/// Counts what became of it, also when the stream is dropped in the middle.
struct Saving {
    outcome: &'static str,
    revision: u64,
    metrics: Arc<Metrics>,
    _only: OwnedSemaphorePermit,
}

impl Drop for Saving {
    fn drop(&mut self) {
        let (revision, outcome) = (self.revision, self.outcome);
        self.metrics.backups.count(outcome);
        tracing::info!(revision, outcome, "the saving of a snapshot has ended");
    }
}

/// Who ends the stream early, or stops reading, gets no more.
async fn send(
    mut saving: Saving,
    frozen: Box<dyn FrozenState>,
    header: BackupHeader,
    out: mpsc::Sender<Message>,
) {
    let (mut encoder, begin) = Encoder::begin(&header);
    let outcome = async {
        give(&out, begin).await?;
        for chunk in frozen.chunks() {
            give(&out, encoder.chunk(&chunk)).await?;
            // A chunk takes milliseconds to make, and others want this thread.
            tokio::task::yield_now().await;
        }
        give(&out, encoder.end()).await
    };
    saving.outcome = match outcome.await {
        Ok(()) => "saved",
        Err(broken_off) => broken_off,
    };
}

async fn give(out: &mpsc::Sender<Message>, octets: Bytes) -> Result<(), &'static str> {
    let message = Ok(api::SaveSnapshotResponse { octets });
    match out.send_timeout(message, limits::BACKUP_STALL_MAX).await {
        Ok(()) => Ok(()),
        Err(mpsc::error::SendTimeoutError::Closed(_)) => Err("left"),
        Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
            let waited = limits::BACKUP_STALL_MAX.as_secs();
            // Where there is room now, the caller is told why the stream ends.
            let message = format!("nothing was read for {waited} s");
            drop(out.try_send(Err(Refused::new(Reason::ReaderStalled, message).status())));
            Err("stalled")
        }
    }
}
