//! Gathers commands into log entries.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use homeport_api::convert;
use homeport_binding::{Command, LogTime, OPERATIONS_SINCE, Verdict};
use homeport_raft::{Node, ProposeError, Role, StopReason};
use homeport_runtime::{clock, trace};
use tokio::sync::{mpsc, oneshot};
use tracing::Span;

use crate::answers::{Gathered, Place};
use crate::limits;
use crate::machine::Machine;
use crate::metrics::Metrics;

/// Hands commands to the task that makes entries of them.
#[derive(Clone)]
pub(crate) struct Proposer {
    node: Node<Machine>,
    metrics: Arc<Metrics>,
    queue: mpsc::Sender<Pending>,
}

struct Pending {
    /// Encoded; `None` moves the time only.
    command: Option<Vec<u8>>,
    waiting: Waiting,
    /// Of a command that is traced.
    traced: Option<Traced>,
}

/// A command's step of a trace, and since when it waits for an entry.
struct Traced {
    step: Box<Span>,
    since: SystemTime,
}

impl Traced {
    fn of(step: Span) -> Option<Self> {
        let is_traced = !step.is_none();
        is_traced.then(|| Self { step: Box::new(step), since: SystemTime::now() })
    }

    /// What has become of the entry of so many commands that it went into.
    fn tell(&self, proposed: (SystemTime, usize), index: u64, committed: SystemTime) {
        let (at, commands) = proposed;
        let commands = u64::try_from(commands).unwrap_or(u64::MAX);
        let applied = SystemTime::now();
        trace::past("store.gather", &self.step, (self.since, at), []);
        let facts = [trace::fact("raft.index", index), trace::fact("raft.commands", commands)];
        trace::past("raft.commit", &self.step, (at, committed), facts);
        trace::past(
            "store.apply",
            &self.step,
            (committed, applied),
            [trace::fact("revision", index)],
        );
    }
}

/// Who waits for a verdict.
enum Waiting {
    Nobody,
    Caller(oneshot::Sender<Result<Verdict, ProposeError>>),
    Stream(Place),
}

impl Proposer {
    /// The handle, and the task to run.
    pub(crate) fn new(
        node: Node<Machine>,
        metrics: Arc<Metrics>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, pending) = mpsc::channel(limits::COMMANDS_WAITING_MAX);
        let proposer = Self { node: node.clone(), metrics: metrics.clone(), queue };
        (proposer, make_entries(node, metrics, pending))
    }

    /// Returns the verdict once the command is committed and applied. The command takes its place in
    /// the order of commands before the first await.
    pub(crate) async fn propose(&self, command: Command) -> Result<Verdict, ProposeError> {
        self.enqueue(command)?.await.unwrap_or(Err(ProposeError::Unknown))
    }

    /// Takes a place in the order; the receiver gives the verdict.
    pub(crate) fn enqueue(
        &self,
        command: Command,
    ) -> Result<oneshot::Receiver<Result<Verdict, ProposeError>>, ProposeError> {
        let (verdict, receiver) = oneshot::channel();
        let taken = self.check_known(&command).and_then(|()| {
            let octets = convert::encode_command(&command.into());
            self.queue(octets, Waiting::Caller(verdict), None)
        });
        taken.inspect_err(|error| self.metrics.outcomes.count(reason(error)))?;
        Ok(receiver)
    }

    /// Takes a place in the order for a command that is encoded already; the verdict goes to its place
    /// on a stream. `step`: of its trace.
    pub(crate) fn enqueue_at(
        &self,
        command: &Command,
        octets: Vec<u8>,
        place: Place,
        step: Span,
    ) -> Result<(), ProposeError> {
        let taken = self.check_known(command);
        let taken = match taken {
            Ok(()) => self.queue(octets, Waiting::Stream(place), Traced::of(step)),
            Err(error) => {
                place.leave();
                Err(error)
            }
        };
        taken.inspect_err(|error| self.metrics.outcomes.count(reason(error)))
    }

    fn queue(
        &self,
        octets: Vec<u8>,
        waiting: Waiting,
        traced: Option<Traced>,
    ) -> Result<(), ProposeError> {
        use mpsc::error::TrySendError::{Closed, Full};
        let pending = Pending { command: Some(octets), waiting, traced };
        self.queue.try_send(pending).map_err(|refused| {
            let (error, pending) = match refused {
                Full(pending) => (ProposeError::Overloaded, pending),
                Closed(pending) => (ProposeError::Stopped(StopReason::Requested), pending),
            };
            if let Waiting::Stream(place) = pending.waiting {
                place.leave();
            }
            error
        })
    }

    /// Every member knows the command, whoever is heard: an older program does not start on a state that keeps
    /// what is for operators.
    pub(crate) fn is_known_for_sure(&self, command: &Command) -> bool {
        let since = command.since();
        let is_kept = || self.node.read(|machine| machine.cache.keeps_operations());
        since == 0 || (since <= OPERATIONS_SINCE && is_kept())
    }

    /// What would be refused of a command before it comes to the log.
    pub(crate) fn check(&self, command: Command) -> Result<(), ProposeError> {
        self.check_known(&command)?;
        let octets = convert::encode_command(&command.into());
        self.node.check_room(convert::join_commands(LogTime(0), &[octets]).len())
    }

    /// Every member knows commands of this version, as far as a leader hears of them; others do not know.
    pub(crate) fn is_known_by_all(&self, since: u32) -> bool {
        self.node.status().role == Role::Leader && self.node.older_members(since).is_empty()
    }

    /// Every member knows the command. Only a leader hears of all of them.
    fn check_known(&self, command: &Command) -> Result<(), ProposeError> {
        if self.is_known_for_sure(command) {
            return Ok(());
        }
        let since = command.since();
        let status = self.node.status();
        if status.role != Role::Leader {
            let leader = status.leader.map(|leader| (leader.node_id, leader.address));
            return Err(ProposeError::NotLeader { leader });
        }
        let members = self.node.older_members(since);
        if members.is_empty() { Ok(()) } else { Err(ProposeError::OlderMembers { members }) }
    }

    /// Proposes an entry without command, which moves the log's time and so works off what is due.
    fn sweep(&self) {
        let sweep = Pending { command: None, waiting: Waiting::Nobody, traced: None };
        if self.queue.try_send(sweep).is_err() {
            tracing::debug!("commands wait already, they move the time themselves");
        }
    }
}

async fn make_entries(
    node: Node<Machine>,
    metrics: Arc<Metrics>,
    mut queue: mpsc::Receiver<Pending>,
) {
    let mut under_way = FuturesUnordered::new();
    let mut gathered = Vec::new();
    loop {
        tokio::select! {
            // Cancel-safe: what was received stands in `gathered`.
            n = queue.recv_many(&mut gathered, limits::COMMANDS_PER_ENTRY_MAX),
                if under_way.len() < limits::ENTRIES_IN_FLIGHT_MAX =>
            {
                if n == 0 {
                    return;
                }
                let entry = std::mem::take(&mut gathered);
                under_way.push(propose_entry(node.clone(), metrics.clone(), entry));
            }
            Some(()) = under_way.next(), if !under_way.is_empty() => {}
        }
    }
}

async fn propose_entry(node: Node<Machine>, metrics: Arc<Metrics>, mut entry: Vec<Pending>) {
    let traced: Vec<Traced> = entry.iter_mut().filter_map(|it| it.traced.take()).collect();
    // A sweep has no command, and nobody waits for it.
    let (commands, waiting): (Vec<_>, Vec<_>) =
        entry.into_iter().filter_map(|pending| Some((pending.command?, pending.waiting))).unzip();
    let count = commands.len();
    let batch = convert::join_commands(LogTime(clock::unix_ms()), &commands);
    drop(commands);
    let started = Instant::now();
    let verdicts = node.propose(batch).await.map(|proposed| {
        metrics.entries.inc();
        metrics.commit_seconds.observe(started.elapsed().as_secs_f64());
        for traced in traced {
            let (at, committed) =
                (trace::wall_clock(started), trace::wall_clock(proposed.committed));
            traced.tell((at, count), proposed.index, committed);
        }
        proposed.reply
    });
    match verdicts {
        Ok(verdicts) if verdicts.len() == count => {
            metrics.commands.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
            give(waiting, verdicts.into_iter().map(Ok));
        }
        Ok(_) => refuse(&metrics, waiting, &ProposeError::Unknown),
        Err(error) => refuse(&metrics, waiting, &error),
    }
}

fn refuse(metrics: &Metrics, waiting: Vec<Waiting>, error: &ProposeError) {
    for _ in &waiting {
        metrics.outcomes.count(reason(error));
    }
    give(waiting, std::iter::repeat_with(|| Err(error.clone())));
}

/// What is for one stream goes there together.
fn give(waiting: Vec<Waiting>, outcomes: impl Iterator<Item = Result<Verdict, ProposeError>>) {
    let mut answered = Gathered::default();
    for (waiting, outcome) in waiting.into_iter().zip(outcomes) {
        match waiting {
            Waiting::Nobody => {}
            // Who went away needs no verdict.
            Waiting::Caller(waiting) => drop(waiting.send(outcome)),
            Waiting::Stream(place) => answered.add(place, outcome),
        }
    }
    answered.send();
}

/// For counters.
fn reason(error: &ProposeError) -> &'static str {
    match error {
        ProposeError::NotLeader { .. } => "not_leader",
        ProposeError::TooLarge { .. } => "too_large",
        ProposeError::OlderMembers { .. } => "older_members",
        ProposeError::Overloaded => "overloaded",
        ProposeError::DiskFull => "disk_full",
        ProposeError::NoQuorum => "no_quorum",
        ProposeError::Unknown => "unknown",
        ProposeError::Stopped(_) => "stopped",
    }
}

/// On the leader, lets the log's time pass when something has come to its end.
pub(crate) async fn tick(node: Node<Machine>, proposer: Proposer) {
    let mut tick = tokio::time::interval(limits::EXPIRY_INTERVAL);
    loop {
        tick.tick().await;
        let due = node
            .read(|machine| machine.cache.next_deadline())
            .is_some_and(|at| at <= LogTime(clock::unix_ms()));
        if due && node.status().role == Role::Leader {
            proposer.sweep();
        }
    }
}
