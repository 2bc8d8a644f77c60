//! The way to the store's leader: one stream, many commands in flight, in order.
//!
//! The link follows the leader. A command whose outcome is not known is sent again with the same request
//! id, so it has one effect; who waits for it gives up at its own deadline, and nothing is answered then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use homeport_api::batches::{Batch as _, submit};
use homeport_api::binding::Command;
use homeport_api::node::NodeInfo;
use homeport_api::store::binding_store_client::BindingStoreClient;
use homeport_api::store::{SubmitRequest, SubmitResponse, submit_response};
use homeport_binding::{Command as BindingCommand, Dispatch, Verdict};
use homeport_runtime::{Latch, config::Refusal, trace};
use homeport_tls::{Links, Role};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};
use tracing::Span;

use crate::drain::Drain;
use crate::metrics::Metrics;
use crate::{Dial, limits};

type Outcome = Result<Verdict, &'static str>;

/// Hands commands to the link.
pub(crate) struct StoreLink {
    queue: mpsc::Sender<Waiting>,
    leader: watch::Receiver<String>,
}

struct Waiting {
    command: Command,
    outcome: oneshot::Sender<Outcome>,
    since: Instant,
    /// Of the step from here to the verdict.
    traceparent: String,
}

impl Waiting {
    fn request(&self, ticket: u64) -> SubmitRequest {
        SubmitRequest {
            ticket,
            command: Some(self.command.clone()),
            traceparent: self.traceparent.clone(),
            ..SubmitRequest::default()
        }
    }
}

impl StoreLink {
    /// The verdict, or why there is none.
    pub(crate) async fn submit(&self, command: BindingCommand) -> Outcome {
        let (outcome, verdict) = oneshot::channel();
        let command = command.into();
        let step = trace::child("front_end.submit", &Span::current());
        let traceparent = trace::parent_of(&step);
        let waiting = Waiting { command, outcome, since: Instant::now(), traceparent };
        self.queue.try_send(waiting).map_err(|_full| "overloaded")?;
        verdict.await.unwrap_or(Err("store_unreachable"))
    }

    /// Address of the replica that led last.
    pub(crate) fn leader(&self) -> watch::Receiver<String> {
        self.leader.clone()
    }
}

/// Replicas, and the way to them.
#[derive(Clone)]
pub(crate) struct Stores {
    /// By address.
    pub(crate) endpoints: BTreeMap<String, Endpoint>,
    /// `None`: this machine's network.
    pub(crate) dial: Option<Dial>,
    /// How links over it are protected.
    pub(crate) links: Links,
}

impl Stores {
    /// A channel that connects when it is used.
    pub(crate) fn lazy(&self, endpoint: &Endpoint) -> Channel {
        match &self.dial {
            Some(dial) => dial(endpoint),
            None => self.links.to(Role::Store).lazy(endpoint),
        }
    }

    async fn connect(&self, endpoint: &Endpoint) -> Option<Channel> {
        match &self.dial {
            Some(dial) => Some(dial(endpoint)),
            None => self.links.to(Role::Store).connect(endpoint).await.ok(),
        }
    }
}

/// Endpoints by address.
pub(crate) fn endpoints(stores: &[String]) -> Result<BTreeMap<String, Endpoint>, Refusal> {
    if stores.is_empty() {
        return Err(Refusal::new("stores", "is a list of 0", "host and port of each replica"));
    }
    stores.iter().map(|store| Ok((store.clone(), endpoint(store)?))).collect()
}

fn endpoint(address: &str) -> Result<Endpoint, Refusal> {
    let wrong = |error| {
        let wrong = format!("has {address:?}, which cannot be dialled: {error}");
        Refusal::new("stores", wrong, "a host and port, such as \"store-1:7101\"")
    };
    Ok(Endpoint::from_shared(format!("http://{address}"))
        .map_err(wrong)?
        .connect_timeout(limits::CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(limits::KEEPALIVE_INTERVAL)
        .keep_alive_timeout(limits::KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true))
}

/// The handle, and the task to run.
pub(crate) fn start(
    stores: Stores,
    connected: Latch,
    metrics: Arc<Metrics>,
    notices: mpsc::Sender<Dispatch>,
    me: Me,
) -> (StoreLink, impl Future<Output = ()> + Send + 'static) {
    let (queue, waiting) = mpsc::channel(limits::COMMANDS_WAITING_MAX);
    let (leader_is, leader) = watch::channel(String::new());
    let link = Link {
        stores,
        leader_is,
        connected,
        metrics,
        waiting,
        pending: BTreeMap::new(),
        // Ticket 0 is that of what nobody asked for.
        next_ticket: 1,
        notices,
        me,
    };
    (StoreLink { queue, leader }, link.run())
}

struct Link {
    stores: Stores,
    leader_is: watch::Sender<String>,
    connected: Latch,
    metrics: Arc<Metrics>,
    waiting: mpsc::Receiver<Waiting>,
    /// By ticket, which is the order in which they came.
    pending: BTreeMap<u64, Waiting>,
    next_ticket: u64,
    notices: mpsc::Sender<Dispatch>,
    me: Me,
}

/// Who this front-end is, and whether it is being drained.
pub(crate) struct Me {
    pub(crate) info: NodeInfo,
    pub(crate) drain: Arc<Drain>,
}

/// Why a stream is left.
enum Left {
    /// Nobody uses the link any more.
    Done,
    /// For the leader at this address, or for any other replica.
    For(Option<String>),
}

impl Link {
    async fn run(mut self) {
        let mut round = 0_usize;
        let mut hint: Option<String> = None;
        loop {
            let address = hint.take().or_else(|| {
                round = round.wrapping_add(1);
                let count = self.stores.endpoints.len().max(1);
                self.stores.endpoints.keys().nth(round.checked_rem(count)?).cloned()
            });
            let Some(address) = address else { return };
            tracing::debug!(%address, "store link");
            match self.serve(&address).await {
                Left::Done => return,
                Left::For(leader) => hint = leader,
            }
            self.connected.close();
            tokio::time::sleep(limits::RETRY_PAUSE).await;
        }
    }

    /// Uses one replica for as long as it leads.
    async fn serve(&mut self, address: &str) -> Left {
        // A leader that joined after this process started is dialled by the address it gives.
        let target = match self.stores.endpoints.get(address).cloned() {
            Some(endpoint) => endpoint,
            None => match endpoint(address) {
                Ok(endpoint) => endpoint,
                Err(error) => {
                    tracing::warn!(%error, "a replica names a leader that cannot be dialled");
                    return Left::For(None);
                }
            },
        };
        let (requests, outgoing) = mpsc::channel(limits::COMMANDS_PENDING_MAX);
        // First of all, so that there is room for it.
        let node = Some(self.me.drain.report(&self.me.info));
        let greeting = SubmitRequest { takes_notices: true, node, ..SubmitRequest::default() };
        if requests.try_send(greeting).is_err() {
            return Left::For(None);
        }
        // What has no verdict yet is asked again first, in its order.
        self.pending.retain(|_, waiting| !waiting.outcome.is_closed());
        for (ticket, waiting) in &self.pending {
            self.metrics.retries.count("reconnected");
            if requests.try_send(waiting.request(*ticket)).is_err() {
                break;
            }
        }
        let connect = async {
            let channel = self.stores.connect(&target).await?;
            let mut client = BindingStoreClient::new(channel);
            submit(&mut client, ReceiverStream::new(outgoing)).await.ok()
        };
        match tokio::time::timeout(limits::CONNECT_TIMEOUT, connect).await {
            Ok(Some(responses)) => self.converse(address, &requests, responses).await,
            Ok(None) | Err(_) => Left::For(None),
        }
    }

    async fn converse(
        &mut self,
        address: &str,
        requests: &mpsc::Sender<SubmitRequest>,
        mut responses: Streaming<SubmitResponse>,
    ) -> Left {
        let mut last_heard = Instant::now();
        let mut watchdog = tokio::time::interval(limits::STALL_MAX / 4);
        let mut report = tokio::time::interval(limits::DRAIN_REPORT_INTERVAL);
        let mut reported = self.me.drain.report(&self.me.info);
        self.connected.open();
        loop {
            tokio::select! {
                // Cancel-safe: messages are taken whole or not at all.
                waiting = self.waiting.recv() => match waiting {
                    Some(waiting) => self.send(requests, waiting),
                    None => return Left::Done,
                },
                message = responses.message() => match message {
                    Ok(Some(message)) => {
                        last_heard = Instant::now();
                        for response in message.split() {
                            if let Some(left) = self.settle(address, requests, response) {
                                return left;
                            }
                        }
                    }
                    Ok(None) | Err(_) => return Left::For(None),
                },
                _ = report.tick() => {
                    let now = self.me.drain.report(&self.me.info);
                    let node = Some(now.clone());
                    // Without room it is told the next time.
                    if now != reported
                        && requests.try_send(SubmitRequest { node, ..SubmitRequest::default() }).is_ok()
                    {
                        reported = now;
                    }
                }
                _ = watchdog.tick() => if self.is_stalled(last_heard) {
                    self.metrics.retries.count("stalled");
                    return Left::For(None);
                },
            }
        }
    }

    fn send(&mut self, requests: &mpsc::Sender<SubmitRequest>, waiting: Waiting) {
        let ticket = self.next_ticket;
        self.next_ticket = ticket.wrapping_add(1);
        let full = self.pending.len() >= limits::COMMANDS_PENDING_MAX
            || requests.try_send(waiting.request(ticket)).is_err();
        if full {
            drop(waiting.outcome.send(Err("overloaded")));
        } else {
            self.pending.insert(ticket, waiting);
        }
    }

    /// Takes note of a response; says where to go when this replica cannot serve.
    fn settle(
        &mut self,
        address: &str,
        requests: &mpsc::Sender<SubmitRequest>,
        response: SubmitResponse,
    ) -> Option<Left> {
        use submit_response::Result as Reply;
        let ticket = response.ticket;
        match response.result {
            Some(Reply::Verdict(verdict)) => {
                self.leader_is.send_if_modified(|known| {
                    let changed = known != address;
                    if changed {
                        address.clone_into(known);
                    }
                    changed
                });
                let verdict = verdict.try_into().map_err(|error| {
                    tracing::warn!(%error, "the store's verdict cannot be read");
                    "verdict_invalid"
                });
                self.finish(ticket, verdict);
                None
            }
            Some(Reply::NotLeader(other)) => {
                self.metrics.retries.count("not_leader");
                let leader = Some(other.leader).filter(|l| !l.is_empty() && l != address);
                Some(Left::For(leader))
            }
            Some(Reply::Unknown(_)) => {
                self.metrics.retries.count("unknown");
                let waiting = self.pending.get(&ticket)?;
                // Full: it is sent again when the stream is, or its deadline passes.
                drop(requests.try_send(waiting.request(ticket)));
                None
            }
            Some(Reply::Overloaded(_)) => {
                self.finish(ticket, Err("store_overloaded"));
                None
            }
            Some(Reply::Invalid(error)) => {
                tracing::warn!(%error, "the store cannot take a command");
                self.finish(ticket, Err("command_invalid"));
                None
            }
            Some(Reply::Drain(drain)) => {
                self.me.drain.set(drain.drained);
                None
            }
            Some(Reply::Notice(notice)) => {
                self.notice(notice);
                None
            }
            None => Some(Left::For(None)),
        }
    }

    fn notice(&self, notice: homeport_api::binding::Dispatch) {
        match Dispatch::try_from(notice) {
            Ok(dispatch) => {
                if self.notices.try_send(dispatch).is_err() {
                    self.metrics.notices_dropped.count("queue_full");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the store's notice cannot be read");
                self.metrics.notices_dropped.count("invalid");
            }
        }
    }

    fn finish(&mut self, ticket: u64, outcome: Outcome) {
        if let Some(waiting) = self.pending.remove(&ticket) {
            // Who has given up needs no outcome.
            drop(waiting.outcome.send(outcome));
        }
    }

    /// Something has waited for long, and nothing at all has come meanwhile.
    fn is_stalled(&mut self, last_heard: Instant) -> bool {
        self.pending.retain(|_, waiting| !waiting.outcome.is_closed());
        let oldest = self.pending.values().next().map(|waiting| waiting.since.elapsed());
        oldest.is_some_and(|age| age > limits::STALL_MAX && last_heard.elapsed() > STALL_QUIET)
    }
}

/// A replica that answers others is not stalled.
const STALL_QUIET: Duration = limits::STALL_MAX;
