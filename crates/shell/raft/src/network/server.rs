//! The side that is called: checks who calls and hands the message to openraft.

use super::contact::Heard;
use super::convert;
use super::guard::{Guard, Stranger};
use super::incoming::{Incoming, Name};
use crate::blocking::blocking;
use crate::encoding::{Invalid, vote_from_proto, vote_to_proto};
use crate::error::{SnapshotError, StopReason};
use crate::limits::SNAPSHOT_STALL_TIMEOUT;
use crate::machine::Machine;
use crate::proto;
use crate::proto::install_snapshot_request::Part;
use crate::proto::raft_service_server::RaftService;
use crate::snapshot::{SnapshotFile, SnapshotStore};
use crate::state_machine::StateMachine;
use crate::sync::lock;
use crate::types::{Snapshot, Types};
use futures_util::{Stream, StreamExt as _};
use openraft::Raft;
use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult};
use std::future::ready;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};

/// Whether there is room on the disk for more entries. The watcher sets it.
#[derive(Debug, Default)]
pub(crate) struct DiskSpace {
    low: AtomicBool,
    /// Octets.
    free: Mutex<Option<u64>>,
}

impl DiskSpace {
    pub(crate) fn is_low(&self) -> bool {
        self.low.load(Ordering::Relaxed)
    }

    /// Octets that are free; `None` before anybody has looked.
    pub(crate) fn free(&self) -> Option<u64> {
        *lock(&self.free)
    }

    /// So many octets are free.
    pub(crate) fn set_free(&self, octets: u64) {
        *lock(&self.free) = Some(octets);
    }

    /// Returns whether this changed anything.
    pub(crate) fn set_low(&self, low: bool) -> bool {
        self.low.swap(low, Ordering::Relaxed) != low
    }
}

/// Serves the other replicas.
pub(crate) struct PeerService<S: StateMachine> {
    raft: Raft<Types, Machine<S>>,
    guard: Guard,
    snapshots: Arc<SnapshotStore>,
    space: Arc<DiskSpace>,
    heard: Arc<Heard>,
    /// One snapshot comes in at a time.
    receiving: Arc<Semaphore>,
    incoming: Arc<Incoming>,
    /// Ends the streams when this replica stops: a server that waits for its last request before
    /// it ends would otherwise wait for ever.
    stopped: watch::Receiver<Option<StopReason>>,
}

impl<S: StateMachine> Clone for PeerService<S> {
    fn clone(&self) -> Self {
        Self {
            raft: self.raft.clone(),
            guard: self.guard.clone(),
            snapshots: Arc::clone(&self.snapshots),
            space: Arc::clone(&self.space),
            heard: Arc::clone(&self.heard),
            receiving: Arc::clone(&self.receiving),
            incoming: Arc::clone(&self.incoming),
            stopped: self.stopped.clone(),
        }
    }
}

type AppendResponses =
    Pin<Box<dyn Stream<Item = Result<proto::AppendResponse, Status>> + Send + 'static>>;

impl<S: StateMachine> PeerService<S> {
    pub(crate) fn new(
        raft: Raft<Types, Machine<S>>,
        guard: Guard,
        snapshots: Arc<SnapshotStore>,
        space: Arc<DiskSpace>,
        heard: Arc<Heard>,
        stopped: watch::Receiver<Option<StopReason>>,
    ) -> Self {
        Self {
            raft,
            guard,
            snapshots,
            space,
            heard,
            receiving: Arc::new(Semaphore::new(1)),
            incoming: Arc::default(),
            stopped,
        }
    }

    /// What is here of it already stays when the stream breaks.
    async fn receive(
        &self,
        leader: u64,
        parts: &mut Streaming<proto::InstallSnapshotRequest>,
    ) -> Result<(proto::SnapshotHead, SnapshotFile), Status> {
        let Some(Part::Head(head)) = next_part(parts).await? else {
            return Err(Status::invalid_argument("a snapshot starts with its head"));
        };
        let name = Name { leader, file: head.name.clone(), octets: head.file_octets };
        if !self.incoming.begin(name, head.from, &self.snapshots).map_err(snapshot_status)? {
            return Err(Status::aborted("what is left out of the snapshot is not here"));
        }
        tracing::info!(leader, from = head.from, octets = head.file_octets, "a snapshot comes in");
        let mut octets = head.from;
        while octets < head.file_octets {
            let Some(Part::Chunk(chunk)) = next_part(parts).await? else {
                return Err(Status::aborted("the snapshot ended too early"));
            };
            let incoming = Arc::clone(&self.incoming);
            octets = on_disk(move || incoming.write(&chunk)).await?;
        }
        if octets != head.file_octets {
            self.incoming.give_up();
            return Err(Status::invalid_argument("the snapshot is longer than announced"));
        }
        let incoming = Arc::clone(&self.incoming);
        let file = on_disk(move || incoming.finish()).await?;
        Ok((head, file.ok_or_else(|| Status::aborted("the snapshot was given up"))?))
    }
}

async fn next_part(
    parts: &mut Streaming<proto::InstallSnapshotRequest>,
) -> Result<Option<Part>, Status> {
    match timeout(SNAPSHOT_STALL_TIMEOUT, parts.message()).await {
        Ok(message) => Ok(message?.and_then(|message| message.part)),
        Err(_) => Err(Status::deadline_exceeded("the snapshot stopped coming")),
    }
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SnapshotError> + Send + 'static,
) -> Result<T, Status> {
    match blocking(work).await {
        Ok(result) => result.map_err(snapshot_status),
        Err(interrupted) => Err(Status::cancelled(interrupted.to_string())),
    }
}

fn snapshot_status(error: SnapshotError) -> Status {
    match error {
        SnapshotError::Io { .. } => Status::unavailable(error.to_string()),
        _ => Status::data_loss(error.to_string()),
    }
}

fn invalid(error: Invalid) -> Status {
    Status::invalid_argument(error.to_string())
}

fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

/// Whoever appends leads, unless this replica has seen a later leader or candidate.
fn note_leader(heard: &Heard, caller: u64, answer: &StreamAppendResult<Types>) {
    if !matches!(answer, Err(StreamAppendError::HigherVote(_))) {
        heard.note(caller);
    }
}

/// Requests of one stream until the first that cannot be taken; the reason for the break is kept
/// for the end of the answers.
fn requests(
    messages: Streaming<proto::AppendRequest>,
    space: Arc<DiskSpace>,
) -> impl Stream<Item = AppendEntriesRequest<Types>> + Send + 'static {
    messages
        .map(move |message| {
            let request = convert::to_append_request(message?).map_err(invalid)?;
            if !request.entries.is_empty() && space.is_low() {
                return Err(Status::resource_exhausted("the disk is nearly full"));
            }
            Ok(request)
        })
        .take_while(|request| {
            if let Err(status) = request {
                tracing::debug!(%status, "an append stream ends");
            }
            ready(request.is_ok())
        })
        .filter_map(|request| ready(request.ok()))
}

/// Tells of the end of a leader's stream, whichever side of it ends first.
struct LeaderStream {
    heard: Arc<Heard>,
    leader: u64,
}

impl Drop for LeaderStream {
    fn drop(&mut self) {
        self.heard.note_end(self.leader);
    }
}

#[tonic::async_trait]
impl<S: StateMachine> RaftService for PeerService<S> {
    async fn hello(
        &self,
        request: Request<proto::HelloRequest>,
    ) -> Result<Response<proto::HelloResponse>, Status> {
        let other_disk = match self.guard.check_call(request.metadata()).await {
            Ok(_) => false,
            Err(Stranger::OtherDisk { .. }) => true,
            Err(stranger) => return Err(stranger.into()),
        };
        Ok(self.guard.sign_answer(proto::HelloResponse { other_disk }))
    }

    async fn vote(
        &self,
        request: Request<proto::VoteRequest>,
    ) -> Result<Response<proto::VoteResponse>, Status> {
        self.guard.check_call(request.metadata()).await?;
        self.guard.check_joined()?;
        let request = convert::to_vote_request(request.get_ref()).map_err(invalid)?;
        let response = self.raft.vote(request).await.map_err(stopped)?;
        Ok(self.guard.sign_answer(convert::vote_response(&response)))
    }

    async fn pre_vote(
        &self,
        request: Request<proto::VoteRequest>,
    ) -> Result<Response<proto::VoteResponse>, Status> {
        self.guard.check_call(request.metadata()).await?;
        self.guard.check_joined()?;
        let request = convert::to_vote_request(request.get_ref()).map_err(invalid)?;
        let response = self.raft.pre_vote(request).await.map_err(stopped)?;
        Ok(self.guard.sign_answer(convert::vote_response(&response)))
    }

    async fn append(
        &self,
        request: Request<proto::AppendRequest>,
    ) -> Result<Response<proto::AppendResponse>, Status> {
        let leader = self.guard.check_leader(request.metadata()).await?;
        let request = convert::to_append_request(request.into_inner()).map_err(invalid)?;
        if !request.entries.is_empty() {
            return Err(Status::invalid_argument("entries come in a stream"));
        }
        let mut answers =
            Box::pin(self.raft.stream_append(futures_util::stream::once(ready(request))));
        let answer = answers.next().await.ok_or_else(|| stopped("this replica has stopped"))?;
        let answer = answer.map_err(stopped)?;
        note_leader(&self.heard, leader, &answer);
        Ok(self.guard.sign_answer(convert::append_response(&answer)))
    }

    type StreamAppendStream = AppendResponses;

    async fn stream_append(
        &self,
        request: Request<Streaming<proto::AppendRequest>>,
    ) -> Result<Response<AppendResponses>, Status> {
        let leader = self.guard.check_leader(request.metadata()).await?;
        let guard = self.guard.clone();
        // The requests end with the answers: otherwise openraft's task would keep this stream, and
        // with it the server, until the caller lets go.
        let (answering, answered) = oneshot::channel::<()>();
        let heard = Arc::clone(&self.heard);
        let stream = LeaderStream { heard: Arc::clone(&self.heard), leader };
        let requests = requests(request.into_inner(), Arc::clone(&self.space)).take_until(answered);
        let answers = self.raft.stream_append(requests).map(move |answer| match answer {
            Ok(result) => {
                note_leader(&heard, leader, &result);
                if result.as_ref().is_ok_and(|stored| stored.is_some()) {
                    guard.join();
                }
                Ok(convert::append_response(&result))
            }
            Err(fatal) => Err(stopped(fatal)),
        });
        let mut stop = self.stopped.clone();
        let answers = answers.take_until(async move {
            // An error means that the node is gone altogether.
            drop(stop.wait_for(Option::is_some).await);
        });
        let answers = answers.inspect(move |_| {
            let _held_until_the_end = (&answering, &stream);
        });
        Ok(self.guard.sign_answer(Box::pin(answers)))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<proto::InstallSnapshotRequest>>,
    ) -> Result<Response<proto::InstallSnapshotResponse>, Status> {
        let leader = self.guard.check_leader(request.metadata()).await?;
        let _only = self
            .receiving
            .try_acquire()
            .map_err(|_| Status::resource_exhausted("another snapshot is coming in"))?;
        if self.space.is_low() {
            self.incoming.give_up();
            return Err(Status::resource_exhausted("the disk is nearly full"));
        }
        let (head, snapshot) = self.receive(leader, &mut request.into_inner()).await?;
        let vote = vote_from_proto(head.vote.as_ref()).map_err(invalid)?;
        // openraft trusts what it installs, so all of it is checked first.
        let (snapshots, file) = (Arc::clone(&self.snapshots), snapshot.clone());
        let meta = on_disk(move || snapshots.verify(&file)).await?;
        let index = meta.last_log_id.map(|last| last.index());
        let installed = self
            .raft
            .install_full_snapshot(vote, Snapshot { meta, snapshot })
            .await
            .map_err(stopped)?;
        self.guard.join();
        tracing::info!(leader, index, octets = head.file_octets, "a snapshot was taken over");
        Ok(self.guard.sign_answer(proto::InstallSnapshotResponse {
            vote: Some(vote_to_proto(&installed.vote)),
        }))
    }

    async fn snapshot_received(
        &self,
        request: Request<proto::SnapshotReceivedRequest>,
    ) -> Result<Response<proto::SnapshotReceivedResponse>, Status> {
        let leader = self.guard.check_leader(request.metadata()).await?;
        let asked = request.into_inner();
        let name = Name { leader, file: asked.name, octets: asked.file_octets };
        let octets = self.incoming.received(&name);
        Ok(self.guard.sign_answer(proto::SnapshotReceivedResponse { octets }))
    }

    async fn transfer_leader(
        &self,
        request: Request<proto::TransferLeaderRequest>,
    ) -> Result<Response<proto::TransferLeaderResponse>, Status> {
        self.guard.check_call(request.metadata()).await?;
        let request = convert::to_transfer_request(request.get_ref()).map_err(invalid)?;
        let response = self.raft.handle_transfer_leader(request).await.map_err(stopped)?;
        Ok(self.guard.sign_answer(convert::transfer_response(&response)))
    }
}
