//! Who makes up the cluster: front-ends by their streams of commands, forwarders by the binding feed, replicas by
//! the membership. Each replica knows its own connections; who wants to see all asks all.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::join_all;
use homeport_api::admin::nodes_client::NodesClient;
use homeport_api::admin::{self as api, DrainState, NodeRole};
use homeport_api::node::NodeInfo;
use homeport_api::replica::ListConnectedRequest;
use homeport_api::replica::replicas_client::ReplicasClient;
use homeport_api::store::{DrainRequest, SubmitRequest, SubmitResponse, submit_response};
use homeport_raft::{Leader, Role};
use homeport_runtime::clock;
use homeport_tls::Way;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use crate::feed::forwarder;
use crate::{Store, limits};

/// Front-ends that have said who they are, by stream.
#[derive(Clone, Default)]
pub(crate) struct FrontEnds(Arc<Mutex<Streams>>);

#[derive(Default)]
struct Streams {
    opened: u64,
    by_stream: BTreeMap<u64, FrontEnd>,
}

struct FrontEnd {
    info: NodeInfo,
    peer: Option<SocketAddr>,
    since_ms: u64,
    mailbox: mpsc::Sender<SubmitResponse>,
}

impl FrontEnds {
    fn lock(&self) -> MutexGuard<'_, Streams> {
        // Each change is one call, so the map is whole after any panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells a front-end whether it is to be drained.
    pub(crate) fn tell(&self, name: &str, drained: bool) {
        for it in self.lock().by_stream.values().filter(|it| resource(it) == name) {
            send(&it.mailbox, drained);
        }
    }
}

fn resource(front_end: &FrontEnd) -> String {
    format!("front-ends/{}", front_end.info.name)
}

/// A mailbox that is full has a reader that does not read: it is told when it says who it is again.
fn send(mailbox: &mpsc::Sender<SubmitResponse>, drained: bool) {
    let result = Some(submit_response::Result::Drain(DrainRequest { drained }));
    if mailbox.try_send(SubmitResponse { result, ..SubmitResponse::default() }).is_err() {
        tracing::debug!(drained, "a front-end was not told whether it is drained");
    }
}

/// One stream of commands, whose end it ends with.
pub(crate) struct Session {
    id: u64,
    store: Store,
    peer: Option<SocketAddr>,
    mailbox: mpsc::Sender<SubmitResponse>,
}

impl Session {
    pub(crate) fn open(
        store: Store,
        peer: Option<SocketAddr>,
        mailbox: mpsc::Sender<SubmitResponse>,
    ) -> Self {
        let mut streams = store.front_ends.lock();
        streams.opened = streams.opened.wrapping_add(1);
        let id = streams.opened;
        drop(streams);
        Self { id, store, peer, mailbox }
    }

    /// Takes note of who the caller says it is; the request, if there is more in it.
    pub(crate) fn heard(&self, mut request: SubmitRequest) -> Option<SubmitRequest> {
        let Some(info) = request.node.take() else { return Some(request) };
        let info = shortened(info);
        let name = format!("front-ends/{}", info.name);
        let mut streams = self.store.front_ends.lock();
        let is_new = !streams.by_stream.contains_key(&self.id);
        let since_ms = match streams.by_stream.get(&self.id) {
            Some(known) => known.since_ms,
            None => clock::unix_ms(),
        };
        let (peer, mailbox) = (self.peer, self.mailbox.clone());
        streams.by_stream.insert(self.id, FrontEnd { info, peer, since_ms, mailbox });
        drop(streams);
        if is_new {
            send(&self.mailbox, self.store.node.read(|machine| machine.cache.is_drained(&name)));
        }
        (request.command.is_some() || request.takes_notices || request.settled_revision.is_some())
            .then_some(request)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.store.front_ends.lock().by_stream.remove(&self.id);
    }
}

/// What a node says of itself is shown to people, and may be anything.
pub(crate) fn shortened(info: NodeInfo) -> NodeInfo {
    let short = |text: String| -> String {
        let seen = text.chars().filter(|c| !c.is_control());
        seen.take(limits::SUBSCRIBER_NAME_LEN_MAX).collect()
    };
    NodeInfo {
        name: short(info.name),
        version: short(info.version),
        address: short(info.address),
        ..info
    }
}

/// What is connected to this replica, and itself.
pub(crate) fn local(store: &Store) -> Vec<api::Node> {
    let status = store.node.status();
    let revision = status.applied.unwrap_or(0);
    let leader_has = status.last_log.unwrap_or(0);
    let own = status.voters.iter().chain(&status.learners).find(|it| it.node_id == status.node_id);
    let this = api::Node {
        name: format!("stores/{}", status.node_id),
        role: NodeRole::Store.into(),
        address: own.map(|it| it.address.clone()).unwrap_or_default(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision,
        lag_revisions: leader_has.saturating_sub(revision),
        drain_state: DrainState::Serving.into(),
        store_node_id: status.node_id,
        raft_role: raft_role(status.role).to_owned(),
        disk_free_octets: store.node.disk_free().unwrap_or(0),
        connected: true,
        ..api::Node::default()
    };
    let front_ends = front_ends(store, status.node_id);
    let forwarders = store.subscribers.sessions().into_iter().map(|it| api::Node {
        name: forwarder(&it.info.name),
        role: NodeRole::Forwarder.into(),
        drain_state: drain_state(store, &forwarder(&it.info.name), &it.info).into(),
        drainable: it.info.drains,
        address: it.info.address,
        version: it.info.version,
        connected_ms: it.since_ms,
        revision: it.sent,
        lag_revisions: revision.saturating_sub(it.sent),
        store_node_id: status.node_id,
        connected: true,
        ..api::Node::default()
    });
    std::iter::once(this).chain(front_ends).chain(forwarders).collect()
}

fn front_ends(store: &Store, node_id: u64) -> Vec<api::Node> {
    let streams = store.front_ends.lock();
    let node = |it: &FrontEnd| {
        let name = resource(it);
        let from = it.peer.map(|peer| peer.ip().to_string()).unwrap_or_default();
        let said = Some(&it.info.address).filter(|address| !address.is_empty());
        api::Node {
            drain_state: drain_state(store, &name, &it.info).into(),
            drainable: true,
            name,
            role: NodeRole::FrontEnd.into(),
            address: said.cloned().unwrap_or(from),
            version: it.info.version.clone(),
            connected_ms: it.since_ms,
            store_node_id: node_id,
            connected: true,
            under_way: it.info.under_way,
            ..api::Node::default()
        }
    };
    streams.by_stream.values().map(node).collect()
}

/// What was asked of a node, and how far it says that it is.
fn drain_state(store: &Store, name: &str, info: &NodeInfo) -> DrainState {
    match (store.node.read(|machine| machine.cache.is_drained(name)), info.drained) {
        (false, _) => DrainState::Serving,
        (true, false) => DrainState::Draining,
        (true, true) => DrainState::Drained,
    }
}

pub(crate) fn raft_role(role: Role) -> &'static str {
    match role {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Learner => "learner",
        Role::Stopped => "stopped",
    }
}

/// The other replicas, each asked over a connection that is kept.
#[derive(Clone)]
pub(crate) struct Others {
    channels: Arc<Mutex<BTreeMap<String, Channel>>>,
    way: Way,
}

impl Others {
    pub(crate) fn new(way: Way) -> Self {
        Self { channels: Arc::default(), way }
    }

    fn channel(&self, address: &str) -> Option<Channel> {
        // The map is whole after any panic: each change is one call.
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(address) {
            return Some(channel.clone());
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}")).ok()?;
        let endpoint = endpoint.connect_timeout(limits::OTHERS_WAIT_MAX);
        let endpoint = endpoint
            .http2_keep_alive_interval(limits::KEEPALIVE_INTERVAL)
            .keep_alive_timeout(limits::KEEPALIVE_TIMEOUT);
        let channel = self.way.lazy(&endpoint);
        // As many as a cluster has members, unless they move all the time.
        if channels.len() >= limits::OTHERS_MAX {
            channels.clear();
        }
        channels.insert(address.to_owned(), channel.clone());
        Some(channel)
    }

    async fn nodes(&self, address: &str) -> Option<Vec<api::Node>> {
        let channel = self.channel(address)?;
        let mut client = ReplicasClient::new(channel.clone());
        let asked = client.list_connected(ListConnectedRequest {});
        match timeout(limits::OTHERS_WAIT_MAX, asked).await.ok()? {
            Ok(answer) => Some(answer.into_inner().nodes),
            Err(status) if status.code() == Code::Unimplemented => nodes_of_older(channel).await,
            Err(_) => None,
        }
    }
}

/// Of a replica whose version tells everybody, and nobody else.
async fn nodes_of_older(channel: Channel) -> Option<Vec<api::Node>> {
    let mut client = NodesClient::new(channel);
    let request = api::ListNodesRequest {
        page_size: limits::PAGE_SIZE_MAX,
        local: true,
        ..Default::default()
    };
    let answer = timeout(limits::OTHERS_WAIT_MAX, client.list_nodes(request)).await;
    Some(answer.ok()?.ok()?.into_inner().nodes)
}

/// What is connected to any replica, by name, and the replicas that did not answer in time.
pub(crate) async fn all(store: &Store) -> (Vec<api::Node>, Vec<u64>) {
    let status = store.node.status();
    let others = status.voters.iter().chain(&status.learners);
    let others: Vec<&Leader> = others.filter(|it| it.node_id != status.node_id).collect();
    let answers = join_all(others.iter().map(|it| store.others.nodes(&it.address))).await;
    let mut nodes = local(store);
    let mut silent = Vec::new();
    for (member, answer) in others.into_iter().zip(answers) {
        match answer {
            Some(more) => nodes.extend(more),
            None => {
                silent.push(member.node_id);
                nodes.push(api::Node {
                    name: format!("stores/{}", member.node_id),
                    role: NodeRole::Store.into(),
                    address: member.address.clone(),
                    store_node_id: member.node_id,
                    ..api::Node::default()
                });
            }
        }
    }
    nodes.sort_by(|one, other| {
        let by_name = one.name.cmp(&other.name);
        by_name.then(other.connected_ms.cmp(&one.connected_ms))
    });
    // Who has just gone from one replica to another is seen at both for a moment: the newer one counts.
    nodes.dedup_by(|one, other| one.name == other.name);
    (nodes, silent)
}
