//! The side that calls: one connection per peer and purpose, so that a snapshot or a large append
//! never delays a heartbeat.

use super::contact::Reachability;
use super::convert;
use super::guard::{Guard, Stranger};
use super::snapshot_stream::{FeedError, feed};
use crate::config::PeerEndpoint;
use crate::encoding::{Invalid, vote_from_proto, vote_to_proto};
use crate::limits::{
    CONNECT_TIMEOUT, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, MESSAGE_OCTETS_MAX,
    SNAPSHOT_INSTALL_TIMEOUT, SNAPSHOT_QUEUE, SNAPSHOT_STALL_TIMEOUT, STREAM_OPEN_TIMEOUT,
    STREAM_STALL_TIMEOUT, SUCCESSION_ANSWER_MAX,
};
use crate::proto;
use crate::proto::raft_service_client::RaftServiceClient;
use crate::snapshot::SnapshotFile;
use crate::sync::lock;
use crate::types::{Snapshot, Types, Vote};
use futures_util::{Stream, StreamExt as _};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{
    NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable,
};
use openraft::network::{
    Backoff, NetAppend, NetBackoff, NetSnapshot, NetStreamAppend, NetTransferLeader, NetVote,
    RPCOption, stream_append_sequential,
};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{BasicNode, OptionalSend, RPCTypes, RaftNetworkFactory};
use std::collections::HashMap;
use std::future::{Future, ready};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

type RpcError = RPCError<Types>;
type StreamError = StreamingError<Types>;
type AppendResults<'s> = BoxStream<'s, Result<StreamAppendResult<Types>, RpcError>>;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    Replication,
    Heartbeat,
    Snapshot,
}

/// Makes connections to peers, and keeps them for the next that asks.
pub(crate) struct Peers {
    guard: Guard,
    endpoint: PeerEndpoint,
    /// As many as members times purposes: an address that changes replaces the old one.
    channels: Mutex<HashMap<(u64, Purpose), (String, Channel)>>,
    /// As many as members.
    reachability: Mutex<HashMap<u64, Arc<Reachability>>>,
}

impl Peers {
    pub(crate) fn new(guard: Guard, endpoint: PeerEndpoint) -> Self {
        Self {
            guard,
            endpoint,
            channels: Mutex::new(HashMap::new()),
            reachability: Mutex::new(HashMap::new()),
        }
    }

    pub(crate) fn connect(&self, target: u64, address: &str, purpose: Purpose) -> Connection {
        let mut channels = lock(&self.channels);
        let known = channels.get(&(target, purpose)).filter(|(known, _)| known == address);
        let channel = match known {
            Some((_, channel)) => Ok(channel.clone()),
            None => self.open(address).inspect(|channel| {
                channels.insert((target, purpose), (address.to_owned(), channel.clone()));
            }),
        };
        let client = channel.map(|channel| {
            RaftServiceClient::new(channel)
                .max_decoding_message_size(MESSAGE_OCTETS_MAX)
                .max_encoding_message_size(MESSAGE_OCTETS_MAX)
        });
        let reachability = Arc::clone(
            lock(&self.reachability)
                .entry(target)
                .or_insert_with(|| Arc::new(Reachability::new(target))),
        );
        Connection { guard: self.guard.clone(), target, purpose, client, reachability }
    }

    /// Whether the peer's address refuses a connection: its machine is there, its process is not.
    pub(crate) async fn is_refused(&self, target: u64, address: &str) -> bool {
        let Ok(channel) = self.open(address) else { return false };
        let mut client = RaftServiceClient::new(channel);
        let call = client.hello(self.guard.sign_call(target, proto::HelloRequest {}));
        let Ok(Err(status)) = timeout(SUCCESSION_ANSWER_MAX, call).await else { return false };
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&status);
        while let Some(error) = cause {
            let io = error.downcast_ref::<std::io::Error>();
            if io.is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused) {
                return true;
            }
            cause = error.source();
        }
        false
    }

    /// A channel that connects when it is used, and again when the connection is lost.
    fn open(&self, address: &str) -> Result<Channel, String> {
        const WINDOW_OCTETS: u32 = 8 * 1024 * 1024;
        let endpoint = self.endpoint.make(address).map_err(|e| e.to_string())?;
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true)
            .initial_stream_window_size(WINDOW_OCTETS)
            .initial_connection_window_size(WINDOW_OCTETS);
        Ok(self.endpoint.open(&endpoint))
    }
}

impl RaftNetworkFactory<Types> for Peers {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Connection {
        self.connect(target, &node.addr, Purpose::Replication)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &BasicNode) -> Connection {
        self.connect(target, &node.addr, Purpose::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &BasicNode) -> Connection {
        self.connect(target, &node.addr, Purpose::Snapshot)
    }
}

/// One peer, for one purpose.
pub(crate) struct Connection {
    guard: Guard,
    target: u64,
    purpose: Purpose,
    /// Or why its address cannot be used.
    client: Result<RaftServiceClient<Channel>, String>,
    reachability: Arc<Reachability>,
}

/// What a peer says to a replica with an empty disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Welcome {
    /// It knows no other disk under this id.
    Yes,
    /// It knows another one.
    OtherDisk,
}

impl Connection {
    pub(crate) fn target(&self) -> u64 {
        self.target
    }

    /// Asks the peer whether it knows another disk under this replica's id. Both remember each
    /// other's disk from then on.
    pub(crate) async fn hello(&self) -> Result<Welcome, String> {
        let mut client = self.client.clone()?;
        let request = self.guard.sign_call(self.target, proto::HelloRequest {});
        let call = timeout(CONNECT_TIMEOUT * 2, client.hello(request)).await;
        let response = call.map_err(|_| "no answer in time".to_owned())?;
        let response = response.map_err(|status| status.message().to_owned())?;
        let checked = self.guard.check_answer(self.target, response.metadata()).await;
        checked.map_err(|stranger| stranger.to_string())?;
        Ok(if response.get_ref().other_disk { Welcome::OtherDisk } else { Welcome::Yes })
    }

    fn client(&self) -> Result<RaftServiceClient<Channel>, RpcError> {
        self.client.clone().map_err(|e| {
            self.reachability.fails(&e);
            RPCError::Unreachable(Unreachable::from_string(e))
        })
    }

    /// Waits for an answer within the time, and checks who gave it.
    async fn answer<T>(
        &self,
        action: RPCTypes,
        limit: Duration,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, RpcError> {
        let response = match timeout(limit, call).await {
            Ok(response) => response.map_err(|status| {
                self.reachability.fails(&status);
                rpc_error(&status)
            })?,
            Err(_) => {
                self.reachability.fails(&"no answer in time");
                return Err(self.timed_out(action, limit));
            }
        };
        let checked = self.guard.check_answer(self.target, response.metadata()).await;
        checked.map_err(|stranger| self.refuse(&stranger))?;
        self.reachability.answers();
        Ok(response.into_inner())
    }

    fn refuse(&self, stranger: &Stranger) -> RpcError {
        self.reachability.fails(stranger);
        RPCError::Unreachable(Unreachable::new(stranger))
    }

    fn timed_out(&self, action: RPCTypes, limit: Duration) -> RpcError {
        RPCError::Timeout(Timeout {
            action,
            id: self.guard.node_id(),
            target: self.target,
            timeout: limit,
        })
    }

    /// A pipelined stream: requests go out as they come, answers come back in order. It is given
    /// up when an answer is owed for too long.
    async fn pipeline<S>(&self, mut input: S) -> Result<AppendResults<'static>, RpcError>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        // openraft pauses after an error while it makes the next request. A peer that refuses the
        // connection would never ask for one, and openraft would try again at once, for ever.
        let Some(first) = input.next().await else {
            return Ok(Box::pin(futures_util::stream::empty()));
        };
        let input = futures_util::stream::once(ready(first)).chain(input);
        let mut client = self.client()?;
        let owed = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&owed);
        // The requests end with the answers: openraft holds a lock while it waits for the next
        // request, so a transport that went on asking for one would block the next stream.
        let (answering, answered) = oneshot::channel::<()>();
        let requests = input.take_until(answered).map(move |request| {
            counter.fetch_add(1, Ordering::Relaxed);
            convert::append_request(&request)
        });
        let call = client.stream_append(self.guard.sign_call(self.target, requests));
        let answers = self.answer(RPCTypes::AppendEntries, STREAM_OPEN_TIMEOUT, call).await?;
        let stalled = self.timed_out(RPCTypes::AppendEntries, STREAM_STALL_TIMEOUT);
        let state = Some((answers, owed, stalled, answering));
        Ok(Box::pin(futures_util::stream::unfold(state, |state| async move {
            let (mut answers, owed, stalled, answering) = state?;
            loop {
                let owed_before = owed.load(Ordering::Relaxed);
                let Ok(answer) = timeout(STREAM_STALL_TIMEOUT, answers.message()).await else {
                    if owed_before > 0 {
                        return Some((Err(stalled), None));
                    }
                    continue;
                };
                let message = match answer {
                    Ok(message) => message?,
                    Err(status) => return Some((Err(rpc_error(&status)), None)),
                };
                owed.fetch_sub(1, Ordering::Relaxed);
                return match convert::to_append_result(&message) {
                    Ok(result) => Some((Ok(result), Some((answers, owed, stalled, answering)))),
                    Err(invalid) => Some((Err(malformed(invalid)), None)),
                };
            }
        })))
    }
}

fn malformed(invalid: Invalid) -> RpcError {
    RPCError::Network(NetworkError::new(&invalid))
}

fn rpc_error(status: &Status) -> RpcError {
    match status.code() {
        Code::Unavailable | Code::FailedPrecondition | Code::ResourceExhausted => {
            RPCError::Unreachable(Unreachable::new(status))
        }
        _ => RPCError::Network(NetworkError::new(status)),
    }
}

impl NetBackoff<Types> for Connection {
    /// Short at first, so that a peer that restarts is found at once; never longer than a leader
    /// change takes.
    fn backoff(&self) -> Option<Backoff> {
        let steps = [10, 20, 40, 80, 160].map(Duration::from_millis);
        let longest = std::iter::repeat(Duration::from_millis(250));
        Some(Backoff::new(steps.into_iter().chain(longest)))
    }
}

impl NetAppend<Types> for Connection {
    /// One append by itself. Only heartbeats go this way.
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RpcError> {
        let message = convert::append_request(&request);
        let mut client = self.client()?;
        let call = client.append(self.guard.sign_call(self.target, message));
        let response = self.answer(RPCTypes::AppendEntries, option.hard_ttl(), call).await?;
        let result = convert::to_append_result(&response).map_err(malformed)?;
        Ok(result.into())
    }
}

impl NetStreamAppend<Types> for Connection {
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<AppendResults<'s>, RpcError>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        match self.purpose {
            Purpose::Heartbeat => stream_append_sequential(self, input, option),
            Purpose::Replication | Purpose::Snapshot => Box::pin(async move {
                let answers: AppendResults<'s> = self.pipeline(input).await?;
                Ok(answers)
            }),
        }
    }
}

impl NetVote<Types> for Connection {
    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RpcError> {
        let message = convert::vote_request(&request);
        let mut client = self.client()?;
        let call = client.vote(self.guard.sign_call(self.target, message));
        let response = self.answer(RPCTypes::Vote, option.soft_ttl(), call).await?;
        convert::to_vote_response(&response).map_err(malformed)
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RpcError> {
        let message = convert::vote_request(&request);
        let mut client = self.client()?;
        let call = client.pre_vote(self.guard.sign_call(self.target, message));
        let response = self.answer(RPCTypes::Vote, option.soft_ttl(), call).await?;
        convert::to_vote_response(&response).map_err(malformed)
    }
}

impl NetTransferLeader<Types> for Connection {
    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RpcError> {
        let message = convert::transfer_request(&request);
        let mut client = self.client()?;
        let call = client.transfer_leader(self.guard.sign_call(self.target, message));
        let response = self.answer(RPCTypes::TransferLeader, option.soft_ttl(), call).await?;
        convert::to_transfer_response(&response).map_err(malformed)
    }
}

impl NetSnapshot<Types> for Connection {
    type SnapshotData = SnapshotFile;

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamError> {
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.send_snapshot(vote, snapshot.snapshot) => sent,
        }
    }
}

impl Connection {
    async fn send_snapshot(
        &self,
        vote: Vote,
        file: SnapshotFile,
    ) -> Result<SnapshotResponse<Types>, StreamError> {
        let mut client = self.client()?;
        let (parts, stream) = mpsc::channel(SNAPSHOT_QUEUE);
        let from = self.snapshot_received(&file).await?;
        let head = proto::SnapshotHead {
            vote: Some(vote_to_proto(&vote)),
            file_octets: file.octets(),
            name: file.name(),
            from,
        };
        let request = self.guard.sign_call(self.target, ReceiverStream::new(stream));
        let mut call = pin!(client.install_snapshot(request));
        let early = {
            let mut feeding = pin!(feed(head, file, parts));
            tokio::select! {
                fed = &mut feeding => {
                    fed.map_err(|error| self.feed_error(error))?;
                    None
                }
                response = &mut call => Some(response),
            }
        };
        let answered = async {
            match early {
                Some(response) => response,
                None => call.await,
            }
        };
        let answer =
            self.answer(RPCTypes::InstallSnapshot, SNAPSHOT_INSTALL_TIMEOUT, answered).await?;
        let vote = vote_from_proto(answer.vote.as_ref()).map_err(malformed)?;
        Ok(SnapshotResponse::new(vote))
    }

    /// Octets of the snapshot that the peer has from an earlier stream.
    async fn snapshot_received(&self, file: &SnapshotFile) -> Result<u64, RpcError> {
        let mut client = self.client()?;
        let asked =
            proto::SnapshotReceivedRequest { name: file.name(), file_octets: file.octets() };
        let call = client.snapshot_received(self.guard.sign_call(self.target, asked));
        let limit = SNAPSHOT_STALL_TIMEOUT;
        let answered = match timeout(limit, call).await {
            // An older program keeps nothing.
            Ok(Err(status)) if status.code() == Code::Unimplemented => return Ok(0),
            Ok(answered) => answered,
            Err(_) => return Err(self.timed_out(RPCTypes::InstallSnapshot, limit)),
        };
        let answer = self.answer(RPCTypes::InstallSnapshot, limit, ready(answered)).await?;
        Ok(answer.octets)
    }

    fn feed_error(&self, error: FeedError) -> StreamError {
        match error {
            FeedError::Stalled => {
                self.timed_out(RPCTypes::InstallSnapshot, SNAPSHOT_STALL_TIMEOUT).into()
            }
            FeedError::Local(error) => StreamingError::StorageError(
                openraft::StorageError::read_snapshot(None, from_error(&error)),
            ),
        }
    }
}

fn from_error(error: &crate::error::SnapshotError) -> openraft::alias::ErrorSourceOf<Types> {
    use openraft::errors::ErrorSource as _;
    openraft::alias::ErrorSourceOf::<Types>::from_error(error)
}
