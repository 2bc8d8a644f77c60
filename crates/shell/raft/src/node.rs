//! The handle on a running replica.

use crate::bootstrap::{Bootstrap, is_empty};
use crate::config::RaftConfig;
use crate::disk::{DataDir, Log};
use crate::error::{MembershipError, ProposeError, StartError, StopReason};
use crate::leads::leads;
use crate::limits::{COMMAND_OCTETS_MAX, MESSAGE_OCTETS_MAX, PROPOSALS_MAX, PROPOSED_OCTETS_MAX};
use crate::machine::{Machine, Progress};
use crate::network::{DiskSpace, Guard, Heard, PeerService, Peers};
use crate::proto::raft_service_server::RaftServiceServer;
use crate::state_machine::StateMachine;
use crate::status::{Leadership, NodeStatus, Role, status};
use crate::succession::Succession;
use crate::sync::{lock, read};
use crate::types::{Command, Types};
use crate::watcher::{Watcher, fatal_reason};
use bytes::Bytes;
use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::{
    ClientWriteError, ForwardReason, ForwardToLeader, LinearizableReadError, RaftError,
};
use openraft::{BasicNode, ChangeMembers, Raft, ReadPolicy};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tonic::codegen::{Service, http};
use tonic::server::NamedService;

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposed<R> {
    /// The index at which it was applied: the revision of what it changed.
    pub index: u64,
    /// What the state machine answered.
    pub reply: R,
    /// When it was known to be on a majority of disks, and began to be applied.
    pub committed: std::time::Instant,
}

/// A running replica. Clones share it.
pub struct Node<S: StateMachine> {
    inner: Arc<Inner<S>>,
}

impl<S: StateMachine> Clone for Node<S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

struct Inner<S: StateMachine> {
    config: RaftConfig,
    raft: Raft<Types, Machine<S>>,
    /// Besides those of openraft.
    peers: Arc<Peers>,
    state: Arc<RwLock<S>>,
    log: Log,
    service: PeerService<S>,
    guard: Guard,
    progress: Arc<Progress>,
    space: Arc<DiskSpace>,
    heard: Arc<Heard>,
    leadership: watch::Receiver<Leadership>,
    stopped: watch::Receiver<Option<StopReason>>,
    proposals: Semaphore,
    proposed_kib: Semaphore,
    watcher: Mutex<Option<JoinHandle<()>>>,
    succession: JoinHandle<()>,
    /// Only after the first start of an empty disk.
    bootstrap: Option<JoinHandle<()>>,
}

impl<S: StateMachine> Drop for Inner<S> {
    fn drop(&mut self) {
        if let Some(watcher) = lock(&self.watcher).take() {
            watcher.abort();
        }
        self.succession.abort();
        if let Some(bootstrap) = &self.bootstrap {
            bootstrap.abort();
        }
    }
}

impl<S: StateMachine> Node<S> {
    /// Opens the disk, restores the state machine from the latest snapshot and the log up to the
    /// commit marker, and takes part in the cluster from then on.
    ///
    /// An empty disk takes its first membership from `config.peers`; all of them may do so, since
    /// they write the same first entry. It does so once all of them have answered, and none knew
    /// another disk under this replica's id.
    ///
    /// # Errors
    ///
    /// When the configuration cannot work, or the disk is not this replica's or cannot be trusted.
    pub async fn start(config: RaftConfig, state_machine: S) -> Result<Self, StartError> {
        config.validate()?;
        let DataDir { identity, mut log, snapshots } = DataDir::open(&config).await?;
        if !identity.origin.is_empty() {
            tracing::info!(origin = identity.origin, "how this cluster began");
        }
        let guard = Guard::new(&identity, log.clone(), S::ENTRIES_VERSION);
        let snapshots = Arc::new(snapshots);
        let empty = is_empty(&mut log).await?;
        let state = Arc::new(RwLock::new(state_machine));
        let progress = Arc::new(Progress::new());
        let space = Arc::new(DiskSpace::default());
        let heard = Arc::new(Heard::new(config.leader_silence()));
        let machine =
            Machine::new(Arc::clone(&state), Arc::clone(&snapshots), Arc::clone(&progress));
        let peers = Peers::new(guard.clone(), config.endpoint.clone());
        let founds = empty && guard.cluster_id() == 0;
        let bootstrap = Bootstrap::new(&config, &guard, &peers).filter(|_| founds);
        let settings = Arc::new(config.openraft());
        let raft = Raft::new(config.node_id, settings, peers, log.clone(), machine).await;
        let raft = match raft {
            Ok(raft) => raft,
            Err(fatal) => {
                log.close().await;
                return Err(StartError::Inconsistent { detail: fatal.to_string() });
            }
        };
        if !empty {
            guard.join();
        }
        let refused = watch::Sender::new(None);
        let watcher = Watcher::new(
            &config,
            raft.clone(),
            log.clone(),
            Arc::clone(&progress),
            Arc::clone(&space),
            Arc::clone(&heard),
            refused.subscribe(),
        );
        let bootstrap = bootstrap.map(|begin| begin.spawn(raft.clone(), refused));
        let peers = Arc::new(Peers::new(guard.clone(), config.endpoint.clone()));
        let succession =
            Succession { raft: raft.clone(), peers: Arc::clone(&peers), heard: Arc::clone(&heard) };
        let (leadership, stopped) = (watcher.leadership(), watcher.stopped());
        let service = PeerService::new(
            raft.clone(),
            guard.clone(),
            snapshots,
            Arc::clone(&space),
            Arc::clone(&heard),
            stopped.clone(),
        );
        let inner = Inner {
            config,
            raft,
            peers,
            state,
            log,
            service,
            guard,
            progress,
            space,
            heard,
            leadership,
            stopped,
            proposals: Semaphore::new(PROPOSALS_MAX),
            proposed_kib: Semaphore::new(PROPOSED_OCTETS_MAX / 1024),
            watcher: Mutex::new(Some(tokio::spawn(watcher.run()))),
            succession: tokio::spawn(succession.run()),
            bootstrap,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The gRPC service for the other replicas, to be added to the store's server.
    pub fn service(
        &self,
    ) -> impl Service<
        http::Request<tonic::body::Body>,
        Response = http::Response<tonic::body::Body>,
        Error = Infallible,
        Future: Send + 'static,
    > + NamedService
    + Clone
    + Send
    + Sync
    + 'static {
        RaftServiceServer::new(self.inner.service.clone())
            .max_decoding_message_size(MESSAGE_OCTETS_MAX)
            .max_encoding_message_size(MESSAGE_OCTETS_MAX)
    }

    /// Whether the log takes a command of so many octets now.
    ///
    /// # Errors
    ///
    /// [`ProposeError::TooLarge`] or [`ProposeError::DiskFull`].
    pub fn check_room(&self, octets: usize) -> Result<(), ProposeError> {
        if octets > COMMAND_OCTETS_MAX {
            return Err(ProposeError::TooLarge { octets, limit: COMMAND_OCTETS_MAX });
        }
        if self.inner.space.is_low() {
            return Err(ProposeError::DiskFull);
        }
        Ok(())
    }

    /// Proposes a command and waits until it is committed and applied here. Concurrent calls share
    /// appends and flushes.
    ///
    /// Dropping the future does not take the command back.
    ///
    /// # Errors
    ///
    /// [`ProposeError::Unknown`] when the outcome is not known; after every other error the
    /// command was not written.
    pub async fn propose(&self, command: Bytes) -> Result<Proposed<S::Reply>, ProposeError> {
        let inner = &self.inner;
        self.check_room(command.len())?;
        let deadline = Instant::now() + inner.config.propose_timeout;
        let admitted = timeout_at(deadline, self.admit(command.len())).await;
        let _places = admitted.map_err(|_| ProposeError::Overloaded)??;
        match timeout_at(deadline, inner.raft.client_write(Command(command))).await {
            Ok(Ok(written)) => {
                let index = written.log_id.index();
                // Applied here, so the reply is this state machine's.
                let (reply, committed) = written.data.take().ok_or(ProposeError::Unknown)?;
                Ok(Proposed { index, reply, committed })
            }
            Ok(Err(error)) => Err(self.write_error(error)),
            Err(_) => Err(ProposeError::Unknown),
        }
    }

    /// Waits for a place among the commands under way.
    async fn admit(
        &self,
        octets: usize,
    ) -> Result<(SemaphorePermit<'_>, SemaphorePermit<'_>), ProposeError> {
        let inner = &self.inner;
        let kib = u32::try_from(octets / 1024 + 1).unwrap_or(u32::MAX);
        let closed = |_| ProposeError::Stopped(self.stop_reason());
        let place = inner.proposals.acquire().await.map_err(closed)?;
        let room = inner.proposed_kib.acquire_many(kib).await.map_err(closed)?;
        Ok((place, room))
    }

    fn write_error(&self, error: RaftError<Types, ClientWriteError<Types>>) -> ProposeError {
        match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(to)) => self.not_leader(&to),
            // The entry was in the log when the leader changed; it may or may not survive.
            RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => ProposeError::Unknown,
            // These come from membership changes only, which write nothing then.
            RaftError::APIError(
                ClientWriteError::ChangeMembershipError(_)
                | ClientWriteError::PreconditionFailed(_),
            ) => ProposeError::NotLeader { leader: None },
            // The core may have stopped after the entry went out.
            RaftError::Fatal(_) => ProposeError::Unknown,
        }
    }

    /// Nothing was written: somebody else leads, or this leader's majority has not answered lately.
    fn not_leader(&self, to: &ForwardToLeader<Types>) -> ProposeError {
        if to.reason == ForwardReason::LeaseExpired {
            return ProposeError::NoQuorum;
        }
        // A leader that was not heard from lately is not worth asking.
        let leader_id = to.leader_id.filter(|&node_id| self.inner.heard.recently(node_id));
        let address = to.leader_node.as_ref().map(|node| node.addr.clone()).unwrap_or_default();
        ProposeError::NotLeader { leader: leader_id.map(|node_id| (node_id, address)) }
    }

    /// Looks at the state machine. Nothing is applied meanwhile, so it must be short and must not
    /// block.
    pub fn read<R>(&self, look: impl FnOnce(&S) -> R) -> R {
        look(&read(&self.inner.state))
    }

    /// Confirms with a majority that this replica still leads, and waits until everything that was
    /// committed before the call is applied here. A [`Node::read`] after it is linearizable.
    ///
    /// # Errors
    ///
    /// When it does not lead, or no majority answers in time.
    pub async fn read_index(&self) -> Result<u64, ProposeError> {
        let inner = &self.inner;
        let confirmed = inner.raft.ensure_linearizable(ReadPolicy::ReadIndex);
        let deadline = Instant::now() + inner.config.propose_timeout;
        match timeout_at(deadline, confirmed).await {
            Ok(Ok(log_id)) => {
                let within = deadline.saturating_duration_since(Instant::now());
                if leads(&inner.raft, &inner.peers, within).await {
                    Ok(log_id.log_id().index())
                } else {
                    Err(ProposeError::NoQuorum)
                }
            }
            Ok(Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(to)))) => {
                Err(self.not_leader(&to))
            }
            Ok(Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)))) | Err(_) => {
                Err(ProposeError::NoQuorum)
            }
            Ok(Err(RaftError::Fatal(fatal))) => Err(ProposeError::Stopped(fatal_reason(&fatal))),
        }
    }

    /// The index of the last applied entry: the revision. It only grows.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.inner.progress.applied()
    }

    /// Who leads, as it changes.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.clone()
    }

    /// This replica's state now.
    pub fn status(&self) -> NodeStatus {
        status(&self.inner.raft.metrics().borrow_watched(), &self.inner.heard)
    }

    /// Octets that are free on the data directory's file system, as of a quarter of a second ago; `None`
    /// before the first look.
    pub fn disk_free(&self) -> Option<u64> {
        self.inner.space.free()
    }

    /// Calls `observer` with the time that the disk took each time that it has made writes of the log
    /// durable. On a thread of the log: it must not block. Whoever asks first is told.
    pub fn observe_syncs(&self, observer: impl Fn(Duration) + Send + Sync + 'static) {
        self.inner.log.observe_syncs(Box::new(observer));
    }

    /// Name of the cluster, and which one of that name: drawn when one is restored or recovered, 0
    /// before any.
    pub fn cluster(&self) -> (&str, u64) {
        (&self.inner.config.cluster_name, self.inner.guard.cluster_id())
    }

    /// Becomes `Some` when this replica takes no further part. Unless it was asked to, the process
    /// should end then, with the reason as its last word.
    pub fn stopped(&self) -> watch::Receiver<Option<StopReason>> {
        self.inner.stopped.clone()
    }

    /// Members that do not know log entries of this version, as far as a leader has heard: those that
    /// run an older program, and those that have said nothing since this process started. An entry that
    /// a member does not know would leave it with another state than the others.
    pub fn older_members(&self, entries_version: u32) -> Vec<u64> {
        let status = self.status();
        let members = status.voters.iter().chain(&status.learners).map(|member| member.node_id);
        members.filter(|id| !self.inner.guard.knows_entries(*id, entries_version)).collect()
    }

    fn stop_reason(&self) -> StopReason {
        self.inner.stopped.borrow().clone().unwrap_or(StopReason::Requested)
    }

    /// Writes a snapshot soon, whatever the thresholds say.
    ///
    /// # Errors
    ///
    /// When the node has stopped.
    pub async fn snapshot(&self) -> Result<(), ProposeError> {
        let asked = self.inner.raft.trigger().snapshot().await;
        asked.map_err(|fatal| ProposeError::Stopped(fatal_reason(&fatal)))
    }

    /// Asks another voter to lead, for a planned stop. Ignored when this replica does not lead;
    /// watch [`Node::leadership`] to see it happen.
    ///
    /// # Errors
    ///
    /// When the node has stopped.
    pub async fn transfer_leadership(&self, to: u64) -> Result<(), ProposeError> {
        let asked = self.inner.raft.trigger().transfer_leader(to).await;
        asked.map_err(|fatal| ProposeError::Stopped(fatal_reason(&fatal)))
    }

    /// Leaves the leadership to `to`, or to the voter whose log is the longest, and waits until another
    /// replica leads. Returns who leads then; `None` when that did not come about `within` this time.
    /// Does nothing when this replica does not lead.
    ///
    /// # Errors
    ///
    /// When the node has stopped.
    pub async fn hand_over(
        &self,
        to: Option<u64>,
        within: Duration,
    ) -> Result<Option<u64>, ProposeError> {
        let status = self.status();
        if status.role != Role::Leader {
            return Ok(status.leader.map(|leader| leader.node_id));
        }
        let matched = |node_id| status.matched.iter().find(|(id, _)| *id == node_id);
        let voters = status.voters.iter().map(|voter| voter.node_id);
        let longest = voters
            .filter(|node_id| *node_id != status.node_id)
            .max_by_key(|node_id| matched(*node_id).and_then(|(_, index)| *index));
        let Some(to) = to.or(longest) else { return Ok(None) };
        let mut leadership = self.leadership();
        self.transfer_leadership(to).await?;
        let other = leadership.wait_for(|now| {
            now.leader.as_ref().is_some_and(|leader| leader.node_id != status.node_id)
        });
        let other = tokio::time::timeout(within, other).await;
        let other = other.ok().and_then(|now| Some(now.ok()?.leader.as_ref()?.node_id));
        Ok(other)
    }

    /// Adds a replica that receives entries but does not vote, and waits until it has caught up.
    ///
    /// # Errors
    ///
    /// When this replica does not lead, or another change is under way.
    pub async fn add_learner(&self, node_id: u64, address: &str) -> Result<(), MembershipError> {
        let added = self.inner.raft.add_learner(node_id, BasicNode::new(address), true).await;
        added.map(drop).map_err(|error| self.membership_error(error))
    }

    /// Makes exactly these members the voters. Members that no longer vote are removed.
    ///
    /// # Errors
    ///
    /// When this replica does not lead, one of them is not a member, or another change is under
    /// way.
    pub async fn set_voters(&self, voters: BTreeSet<u64>) -> Result<(), MembershipError> {
        let change = ChangeMembers::ReplaceAllVoters(voters);
        let changed = self.inner.raft.change_membership(change, false).await;
        changed.map(drop).map_err(|error| self.membership_error(error))
    }

    /// Removes a member that does not vote.
    ///
    /// # Errors
    ///
    /// When this replica does not lead, or another change is under way.
    pub async fn remove_learner(&self, node_id: u64) -> Result<(), MembershipError> {
        let change = ChangeMembers::RemoveNodes(BTreeSet::from([node_id]));
        let changed = self.inner.raft.change_membership(change, false).await;
        changed.map(drop).map_err(|error| self.membership_error(error))
    }

    fn membership_error(
        &self,
        error: RaftError<Types, ClientWriteError<Types>>,
    ) -> MembershipError {
        match error {
            RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => {
                MembershipError::Refused(error.to_string())
            }
            RaftError::APIError(ClientWriteError::PreconditionFailed(error)) => {
                MembershipError::Refused(error.to_string())
            }
            error => MembershipError::Propose(self.write_error(error)),
        }
    }

    /// Takes no further part: ends the core, writes what is queued and lets go of the disk. Hand
    /// over the leadership first when it is a planned stop.
    ///
    /// # Errors
    ///
    /// The reason, when it had stopped before by itself.
    pub async fn shutdown(&self) -> Result<(), StopReason> {
        let inner = &self.inner;
        inner.proposals.close();
        if let Some(bootstrap) = &inner.bootstrap {
            bootstrap.abort();
        }
        let core = inner.raft.shutdown().await;
        let watcher = lock(&inner.watcher).take();
        if let Some(watcher) = watcher
            && watcher.await.is_err()
        {
            tracing::warn!("the watcher task ended by a panic");
        }
        inner.log.close().await;
        match (self.stop_reason(), core) {
            (StopReason::Requested, Ok(())) => Ok(()),
            (StopReason::Requested, Err(_)) => Err(StopReason::Broken),
            (reason, _) => Err(reason),
        }
    }
}
