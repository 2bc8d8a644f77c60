//! What the leader sees and tells operators: conditions become alarms, which are replicated, so that what was
//! acknowledged stays so whoever leads.
//!
//! Each look gives the conditions that are there; what is not an alarm yet is raised, and an alarm whose condition
//! is gone is cleared. A new leader goes on with the alarms that it finds.

use std::collections::BTreeMap;
use std::time::Duration;

use homeport_api::admin::{self as api, NodeRole};
use homeport_binding::limits::BINDINGS_MAX;
use homeport_binding::{AlarmAct, AlarmKey, Command, Operation, Seen, Severity};
use homeport_raft::{NodeStatus, Role};
use tokio::time::{Instant, MissedTickBehavior};

use crate::{Store, admin, limits, nodes};

/// Kinds of alarms that are raised and cleared here, each with its section in `docs/operations/alarms.md`.
pub(crate) const KINDS: [&str; 7] = [
    "replica-unreachable",
    "replica-lagging",
    "leader-changed",
    "session-lost",
    "forwarder-stale",
    "capacity",
    "disk-low",
];

type Conditions = BTreeMap<AlarmKey, (Severity, String)>;

/// Looks again and again, where this replica leads.
pub(crate) async fn oversee(store: Store) {
    let mut tick = tokio::time::interval(limits::OVERSEE_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut overseer: Option<Overseer> = None;
    loop {
        tick.tick().await;
        let status = store.node.status();
        if status.role != Role::Leader {
            overseer = None;
            continue;
        }
        if !admin::begin(&store, Duration::ZERO).await {
            continue;
        }
        match &mut overseer {
            Some(overseer) => overseer.look(&store, &status).await,
            None => {
                let new = Overseer::new(&status);
                let seen = Seen::Leader { node_id: status.node_id, term: status.term };
                propose(&store, Operation::Note(seen)).await;
                overseer = Some(new);
            }
        }
    }
}

struct Overseer {
    since: Instant,
    /// An election that ended another one's leadership is worth an alarm; the first one is not.
    replaces_another: bool,
    /// When a front-end or forwarder was seen last.
    seen: BTreeMap<String, Instant>,
    /// Since when a forwarder is behind.
    behind: BTreeMap<String, Instant>,
}

impl Overseer {
    fn new(status: &NodeStatus) -> Self {
        let (seen, behind) = (BTreeMap::new(), BTreeMap::new());
        Self { since: Instant::now(), replaces_another: status.term > 1, seen, behind }
    }

    async fn look(&mut self, store: &Store, status: &NodeStatus) {
        // Who leads since a moment ago has not heard of all others, and leaves what it finds as it is.
        if self.since.elapsed() < limits::REPLICA_SILENT_MAX {
            return;
        }
        let (all, silent) = nodes::all(store).await;
        // Asking the others takes time, and somebody else may lead meanwhile.
        if store.node.status().role != Role::Leader {
            return;
        }
        self.greet(store, &all).await;
        let mut conditions = Conditions::new();
        replicas(status, &mut conditions);
        self.leadership(status, &mut conditions);
        self.sessions(store, silent.is_empty(), &mut conditions);
        self.stale(&all, &mut conditions);
        capacity(store, &mut conditions);
        disks(&all, &mut conditions);
        self.forget(store, &all, silent.is_empty()).await;
        settle(store, conditions).await;
    }

    /// Who is there.
    async fn greet(&mut self, store: &Store, all: &[api::Node]) {
        let now = Instant::now();
        for node in all.iter().filter(|node| is_session(node)) {
            let is_new = self.seen.insert(node.name.clone(), now).is_none();
            if is_new && self.seen.len() <= limits::NODES_WATCHED_MAX {
                propose(store, Operation::Note(Seen::Joined(node.name.clone()))).await;
            }
        }
        if self.seen.len() > limits::NODES_WATCHED_MAX {
            self.seen.retain(|_, at| *at == now);
        }
    }

    /// Who was drained and is gone is not missed, nor is who has been gone for long.
    async fn forget(&mut self, store: &Store, all: &[api::Node], all_answered: bool) {
        if !all_answered {
            return;
        }
        let now = Instant::now();
        let is_there = |name: &str| all.iter().any(|node| node.name == name);
        let drained = |name: &str| store.node.read(|machine| machine.cache.is_drained(name));
        let gone = self.seen.iter().filter(|(name, at)| {
            let age = now.duration_since(**at);
            !is_there(name)
                && (age > limits::NODE_FORGOTTEN_AFTER
                    || (age > limits::SESSION_LOST_AFTER && drained(name)))
        });
        let gone: Vec<String> = gone.map(|(name, _)| name.clone()).collect();
        for name in gone {
            self.seen.remove(&name);
            propose(store, Operation::Note(Seen::Left(name))).await;
        }
    }

    fn leadership(&self, status: &NodeStatus, conditions: &mut Conditions) {
        if self.replaces_another && self.since.elapsed() < limits::LEADER_NEW_FOR {
            let text = format!("replica {} leads since term {}", status.node_id, status.term);
            add(conditions, "cluster", "leader-changed", Severity::Warning, text);
        }
    }

    fn sessions(&self, store: &Store, all_answered: bool, conditions: &mut Conditions) {
        let now = Instant::now();
        let lost = |name: &str| {
            let text = format!("no replica has a connection of {name}");
            (key(name, "session-lost"), (Severity::Major, text))
        };
        for (name, at) in &self.seen {
            if now.duration_since(*at) > limits::SESSION_LOST_AFTER {
                conditions.extend([lost(name)]);
            }
        }
        // What another leader missed is missed until it is seen, or is too long ago.
        let known = store.node.read(|machine| {
            let now = machine.cache.now();
            let lost = machine.cache.alarms().filter(|(key, alarm)| {
                let age = alarm.raised.until(now);
                key.kind == "session-lost"
                    && alarm.cleared.is_none()
                    && age < limits::NODE_FORGOTTEN_AFTER
            });
            lost.map(|(key, _)| key.resource.clone()).collect::<Vec<_>>()
        });
        for name in known.iter().filter(|name| !self.seen.contains_key(*name)) {
            conditions.extend([lost(name)]);
        }
        if !all_answered {
            // Whoever is connected to a replica that is silent will come to another one, or be missed later.
            let raised = |key: &AlarmKey| known.contains(&key.resource);
            conditions.retain(|key, _| key.kind != "session-lost" || raised(key));
        }
    }

    fn stale(&mut self, all: &[api::Node], conditions: &mut Conditions) {
        let now = Instant::now();
        let behind = all.iter().filter(|node| {
            node.role() == NodeRole::Forwarder && node.lag_revisions > limits::FORWARDER_LAG_MAX
        });
        let behind: Vec<&str> = behind.map(|node| node.name.as_str()).collect();
        self.behind.retain(|name, _| behind.contains(&name.as_str()));
        for name in behind {
            let since = *self.behind.entry(name.to_owned()).or_insert(now);
            if now.duration_since(since) > limits::FORWARDER_STALE_AFTER {
                let text = format!("{name} has not got the newest bindings for some time");
                add(conditions, name, "forwarder-stale", Severity::Major, text);
            }
        }
    }
}

fn is_session(node: &api::Node) -> bool {
    node.connected && matches!(node.role(), NodeRole::FrontEnd | NodeRole::Forwarder)
}

fn key(resource: &str, kind: &str) -> AlarmKey {
    let (resource, kind) = (resource.to_owned(), kind.to_owned());
    AlarmKey { resource, kind, specific_problem: String::new() }
}

fn add(into: &mut Conditions, resource: &str, kind: &str, severity: Severity, text: String) {
    into.insert(key(resource, kind), (severity, text));
}

fn replicas(status: &NodeStatus, conditions: &mut Conditions) {
    let is_voter = |node_id| status.voters.iter().any(|voter| voter.node_id == node_id);
    for (node_id, silent) in &status.silent {
        let is_silent = silent.is_none_or(|silent| silent > limits::REPLICA_SILENT_MAX);
        if is_silent {
            let severity = if is_voter(*node_id) { Severity::Major } else { Severity::Minor };
            let text = format!("replica {node_id} acknowledges nothing");
            let resource = format!("stores/{node_id}");
            add(conditions, &resource, "replica-unreachable", severity, text);
        }
    }
    let last = status.last_log.unwrap_or(0);
    for (node_id, matched) in &status.matched {
        let resource = format!("stores/{node_id}");
        let lag = last.saturating_sub(matched.unwrap_or(0));
        let is_reached = !conditions.contains_key(&key(&resource, "replica-unreachable"));
        if *node_id != status.node_id && is_reached && lag > limits::REPLICA_LAG_MAX {
            let text = format!("replica {node_id} is far behind the log");
            add(conditions, &resource, "replica-lagging", Severity::Warning, text);
        }
    }
}

fn capacity(store: &Store, conditions: &mut Conditions) {
    let bindings = store.node.read(|machine| machine.cache.binding_count());
    let percent = bindings.saturating_mul(100) / BINDINGS_MAX;
    let severity = match percent {
        0..80 => return,
        80..95 => Severity::Warning,
        _ => Severity::Critical,
    };
    let text = format!("the store holds nearly as many bindings as it can, {BINDINGS_MAX}");
    add(conditions, "cluster", "capacity", severity, text);
}

fn disks(all: &[api::Node], conditions: &mut Conditions) {
    for node in all.iter().filter(|node| node.disk_free_octets > 0) {
        if node.disk_free_octets < limits::DISK_FREE_WARNED {
            let is_critical = node.disk_free_octets < limits::DISK_FREE_CRITICAL;
            let severity = if is_critical { Severity::Critical } else { Severity::Major };
            let text = format!("the disk of {} is nearly full", node.name);
            add(conditions, &node.name, "disk-low", severity, text);
        }
    }
}

/// Raises and clears what differs.
async fn settle(store: &Store, mut conditions: Conditions) {
    let ended = store.node.read(|machine| {
        let mut ended = Vec::new();
        let ours = machine
            .cache
            .alarms()
            .filter(|(key, alarm)| KINDS.contains(&key.kind.as_str()) && alarm.cleared.is_none());
        for (key, alarm) in ours {
            match conditions.get(key) {
                None => ended.push(key.clone()),
                // Another text with the same severity is no news.
                Some((severity, _)) if *severity == alarm.severity => {
                    conditions.remove(key);
                }
                Some(_) => {}
            }
        }
        ended
    });
    for key in ended {
        propose(store, Operation::Alarm { key, act: AlarmAct::Clear }).await;
    }
    for (key, (severity, text)) in conditions {
        tracing::warn!(resource = key.resource, kind = key.kind, ?severity, text, "alarm");
        propose(store, Operation::Alarm { key, act: AlarmAct::Raise { severity, text } }).await;
    }
}

/// What is lost here is seen again at the next look.
async fn propose(store: &Store, operation: Operation) {
    if let Err(error) = store.proposer.propose(Command::Operate(operation)).await {
        tracing::debug!(%error, "what the leader has seen is not in the log");
    }
}
