//! Asks every store at a fixed interval and puts their answers together.

use std::{collections::BTreeSet, sync::Arc};

use futures_util::future::join_all;
use homeport_api::admin::{GetStatusResponse, Node, NodeRole};
use homeport_runtime::{
    Latch, clock,
    metrics::{ReasonCounter, Registry},
};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use crate::{
    history::History,
    limits::POLL_INTERVAL,
    pages::Sources,
    status::{FeedSubscriber, HomePrefix, Reached, Replica, Seen, Status, Totals},
    stores::{Store, Stores},
};

const ANSWERED: &str = "answered";
const UNREACHED: &str = "unreached";

/// Only the newest status is kept, so a slow reader costs nothing.
pub(crate) fn channel() -> (watch::Sender<Arc<Status>>, watch::Receiver<Arc<Status>>) {
    watch::channel(Arc::new(Status::default()))
}

pub(crate) fn register(registry: &mut Registry) -> ReasonCounter {
    let help = "Answers to status requests, one for each store and poll";
    let known = [ANSWERED, UNREACHED];
    ReasonCounter::register_by("outcome", registry, "noc_store_polls", help, &known)
}

/// Polls for ever. Ready after the first poll, whatever it found: a page that says that no store can be
/// reached is what the operator needs then.
pub(crate) async fn run(
    sources: Arc<Sources>,
    latest: watch::Sender<Arc<Status>>,
    polls: ReasonCounter,
    first_poll: Latch,
) {
    let mut history = History::default();
    let mut ticks = interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        latest.send_replace(Arc::new(poll(&sources.stores, &polls, &mut history).await));
        first_poll.open();
    }
}

async fn poll(stores: &Stores, polls: &ReasonCounter, history: &mut History) -> Status {
    let asked = stores.iter().map(async |store| (store, store.status().await));
    let connected = stores.iter().map(Store::nodes);
    let (answers, connected): (Answers<'_>, _) = tokio::join!(join_all(asked), join_all(connected));
    for (_, answer) in &answers {
        polls.count(if answer.is_ok() { ANSWERED } else { UNREACHED });
    }
    let mut status = of_answers(&answers);
    status.silent_stores = connected.iter().filter(|nodes| nodes.is_err()).count();
    status.connected = connected_once(connected.into_iter().flatten().flatten());
    if let Some((store, answer)) = source_of_lists(&answers, status.leader_id) {
        status.totals =
            Some(Totals { home_addresses: answer.home_addresses, bindings: answer.bindings });
        let is_leader = Some(answer.node_id) == status.leader_id;
        status.source = Some(store.endpoint.clone());
        status.cluster_name.clone_from(&answer.cluster_name);
        let (alarms, ()) =
            tokio::join!(store.alarms(), fill_prefixes(store, is_leader, &mut status));
        match alarms {
            Ok(alarms) => status.alarms = alarms,
            Err(error) => status.alarms_error = Some(format!("{} says: {error}", store.endpoint)),
        }
    } else {
        status.alarms_error = Some("no store can be reached".to_owned());
    }
    let now_ms = clock::unix_ms();
    status.taken_ms = now_ms;
    history.complete(&mut status, now_ms);
    status
}

/// Front-ends and forwarders by name; one that changes replicas is at two for a moment.
fn connected_once(nodes: impl Iterator<Item = Node>) -> Vec<Node> {
    let is_connected =
        |node: &Node| matches!(node.role(), NodeRole::FrontEnd | NodeRole::Forwarder);
    let mut all: Vec<Node> = nodes.filter(is_connected).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name).then(b.connected_ms.cmp(&a.connected_ms)));
    all.dedup_by(|later, kept| later.name == kept.name);
    all
}

async fn fill_prefixes(store: &Store, is_leader: bool, status: &mut Status) {
    match store.home_prefixes().await {
        Ok((prefixes, more)) => {
            status.home_prefixes = prefixes.into_iter().map(HomePrefix::from).collect();
            if more {
                status.problems.push("there are more home prefixes than are shown".to_owned());
            }
        }
        // Only the leader lists them, and that it is lost is said already.
        Err(_) if !is_leader => {}
        Err(error) => {
            let endpoint = &store.endpoint;
            status.problems.push(format!("{endpoint} does not list home prefixes: {error}"));
        }
    }
}

type Answers<'s> = Vec<(&'s Store, Result<GetStatusResponse, String>)>;

/// The leader if it answered, else whoever has applied most.
fn source_of_lists<'a>(
    answers: &'a Answers<'a>,
    leader_id: Option<u64>,
) -> Option<(&'a Store, &'a GetStatusResponse)> {
    let reached =
        answers.iter().filter_map(|(store, answer)| Some((*store, answer.as_ref().ok()?)));
    reached.max_by_key(|(_, answer)| (Some(answer.node_id) == leader_id, answer.applied_index))
}

fn of_answers(answers: &Answers<'_>) -> Status {
    let reached: Vec<&GetStatusResponse> =
        answers.iter().filter_map(|(_, answer)| answer.as_ref().ok()).collect();
    let mut status = Status {
        term: reached.iter().map(|answer| answer.term).max(),
        revision: reached.iter().map(|answer| answer.applied_index).max(),
        replicas: replicas(answers, &reached),
        feed_subscribers: feed_subscribers(&reached),
        ..Status::default()
    };
    // A replica that was not reached may feed them all.
    if reached.len() == answers.len() && status.feed_subscribers.is_empty() {
        status.problems.push("no forwarder is at the feed: no packets are carried".to_owned());
    }
    for (store, answer) in answers {
        if let Err(error) = answer {
            status.problems.push(format!("{} cannot be reached: {error}", store.endpoint));
        }
    }
    let named: BTreeSet<u64> =
        reached.iter().map(|answer| answer.leader_id).filter(|leader| *leader != 0).collect();
    status.leader_known = !named.is_empty();
    let mut leaders = named.iter();
    match (leaders.next(), leaders.next()) {
        (Some(only), None) => status.leader_id = Some(*only),
        (None, _) if !reached.is_empty() => {
            status.problems.push("no replica knows a leader: nothing can be registered".to_owned());
        }
        (None, _) => {}
        (Some(_), Some(_)) => {
            let named: Vec<String> = named.iter().map(u64::to_string).collect();
            let problem = format!("replicas name different leaders: {}", named.join(", "));
            status.problems.push(problem);
        }
    }
    status
}

/// The configured stores in their order, then members that only others know of.
fn replicas(answers: &Answers<'_>, reached: &[&GetStatusResponse]) -> Vec<Replica> {
    let committed = reached.iter().map(|answer| answer.committed_index).max().unwrap_or(0);
    let members: Vec<_> = reached
        .iter()
        .max_by_key(|answer| answer.applied_index)
        .map(|answer| answer.members.iter().collect())
        .unwrap_or_default();
    let mut replicas: Vec<Replica> = answers
        .iter()
        .map(|(store, answer)| {
            let member = members.iter().find(|member| match answer {
                Ok(answer) => member.node_id == answer.node_id,
                Err(_) => member.address == store.endpoint,
            });
            let seen = match answer {
                Ok(answer) => Seen::Reached(seen(answer, committed)),
                Err(error) => Seen::Unreached { error: error.clone(), since_ms: 0 },
            };
            let answered_id = answer.as_ref().ok().map(|answer| answer.node_id);
            Replica {
                endpoint: store.endpoint.clone(),
                node_id: answered_id.or(member.map(|member| member.node_id)),
                voter: member.map(|member| member.voter),
                seen,
            }
        })
        .collect();
    for member in members {
        if !replicas.iter().any(|replica| replica.node_id == Some(member.node_id)) {
            replicas.push(Replica {
                endpoint: member.address.clone(),
                node_id: Some(member.node_id),
                voter: Some(member.voter),
                seen: Seen::NotAsked,
            });
        }
    }
    replicas
}

fn seen(answer: &GetStatusResponse, committed: u64) -> Reached {
    Reached {
        role: answer.role.clone(),
        term: answer.term,
        leader_id: Some(answer.leader_id).filter(|leader| *leader != 0),
        last_log_index: answer.last_log_index,
        committed_index: answer.committed_index,
        applied_index: answer.applied_index,
        lag: committed.saturating_sub(answer.applied_index),
        stuck: false,
        home_addresses: answer.home_addresses,
        bindings: answer.bindings,
        version: answer.version.clone(),
    }
}

fn feed_subscribers(reached: &[&GetStatusResponse]) -> Vec<FeedSubscriber> {
    let mut all: Vec<FeedSubscriber> = reached
        .iter()
        .flat_map(|answer| {
            answer.feed_subscribers.iter().map(|subscriber| FeedSubscriber {
                name: subscriber.name.clone(),
                node_id: answer.node_id,
                sent_revision: subscriber.sent_revision,
                lag: answer.applied_index.saturating_sub(subscriber.sent_revision),
                stuck: false,
            })
        })
        .collect();
    all.sort_by(|a, b| (&a.name, a.node_id).cmp(&(&b.name, b.node_id)));
    all
}
