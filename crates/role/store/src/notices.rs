//! Notices to mobile nodes on their way to a front-end.
//!
//! The state machine of every replica knows what is due; the task here sends it where this replica
//! leads. Front-ends that take notices are sent to the leader, so that it has somebody to give them to.
//! What is lost on the way becomes due again: nothing is kept for later.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::stream::{Stream, StreamExt as _, select};
use homeport_api::store::{NotLeader, SubmitRequest, SubmitResponse, submit_response};
use homeport_binding::{Dispatch, DispatchMessage, LogTime};
use homeport_raft::{Node, Role};
use homeport_runtime::{Shutdown, clock};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::limits;
use crate::machine::Machine;
use crate::metrics::Metrics;

type Mailbox = mpsc::Sender<SubmitResponse>;

/// Streams of front-ends that take notices.
#[derive(Clone, Default)]
pub(crate) struct Takers {
    mailboxes: Arc<Mutex<VecDeque<Mailbox>>>,
}

impl Takers {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Mailbox>> {
        // Each change is one call, so the queue is whole after any panic.
        self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, mailbox: &Mailbox) {
        let mut mailboxes = self.lock();
        mailboxes.retain(|other| !other.is_closed());
        if !mailboxes.iter().any(|other| other.same_channel(mailbox)) {
            mailboxes.push_back(mailbox.clone());
        }
    }

    /// Gives it to one of them, each time to another: what is sent again goes another way.
    fn give(&self, dispatch: &Dispatch) -> bool {
        let mut mailboxes = self.lock();
        mailboxes.retain(|mailbox| !mailbox.is_closed());
        for _ in 0..mailboxes.len() {
            mailboxes.rotate_left(1);
            let result = Some(submit_response::Result::Notice(dispatch.clone().into()));
            let response = SubmitResponse { ticket: 0, result };
            if mailboxes.back().is_some_and(|mailbox| mailbox.try_send(response).is_ok()) {
                return true;
            }
        }
        false
    }

    /// Sends them all to the leader.
    fn dismiss(&self, leader: &str) {
        for mailbox in self.lock().drain(..) {
            let not_leader = NotLeader { leader: leader.to_owned() };
            let result = Some(submit_response::Result::NotLeader(not_leader));
            if mailbox.try_send(SubmitResponse { ticket: 0, result }).is_err() {
                tracing::debug!("a front-end was not told who leads, its next command will be");
            }
        }
    }
}

/// One front-end's stream, until it says that it takes notices and after.
pub(crate) struct Taker {
    takers: Takers,
    mailbox: Mailbox,
}

impl Taker {
    pub(crate) const fn new(takers: Takers, mailbox: Mailbox) -> Self {
        Self { takers, mailbox }
    }

    /// Takes note of what the request says about notices; the request, if there is more in it.
    pub(crate) fn heard(
        &self,
        request: Result<SubmitRequest, Status>,
    ) -> Option<Result<SubmitRequest, Status>> {
        match request {
            Ok(request) if request.takes_notices => {
                self.takers.add(&self.mailbox);
                request.command.is_some().then_some(Ok(request))
            }
            other => Some(other),
        }
    }
}

/// Notices between the verdicts of a stream; it ends with the verdicts.
pub(crate) fn with_notices(
    verdicts: impl Stream<Item = Result<SubmitResponse, Status>> + Send + 'static,
    mailbox: mpsc::Receiver<SubmitResponse>,
) -> impl Stream<Item = Result<SubmitResponse, Status>> + Send + 'static {
    let end = futures_util::stream::once(std::future::ready(None));
    let verdicts = verdicts.map(Some).chain(end);
    let notices = ReceiverStream::new(mailbox).map(|notice| Some(Ok(notice)));
    select(verdicts, notices)
        .take_while(|item| std::future::ready(item.is_some()))
        .filter_map(std::future::ready)
}

/// Sends what is due until `shutdown` begins; then front-ends look for another replica at once.
pub(crate) async fn send(
    node: Node<Machine>,
    mut due: mpsc::Receiver<Dispatch>,
    takers: Takers,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
) {
    let mut sender = Sender {
        node,
        takers,
        metrics,
        waiting: BTreeMap::new(),
        turns: VecDeque::new(),
        next_turn: None,
    };
    let mut tick = tokio::time::interval(limits::NOTICES_TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // Cancel-safe: a message is taken whole or not at all.
            dispatch = due.recv() => match dispatch {
                Some(dispatch) => sender.take(dispatch),
                None => return,
            },
            _ = tick.tick() => sender.tick(),
            () = shutdown.begun() => return sender.takers.dismiss(""),
        }
    }
}

struct Sender {
    node: Node<Machine>,
    takers: Takers,
    metrics: Arc<Metrics>,
    /// Home Agent Switches that wait for their turn, the newest of each home address.
    waiting: BTreeMap<Ipv6Addr, Dispatch>,
    /// Their turns.
    turns: VecDeque<Ipv6Addr>,
    /// When the next one has it; `None` while another replica leads.
    next_turn: Option<Instant>,
}

impl Sender {
    fn take(&mut self, dispatch: Dispatch) {
        if !self.leads() {
            return;
        }
        // A log that is read again after a restart makes everything due again that ever was.
        let age = dispatch.at.until(LogTime(clock::unix_ms()));
        if age > limits::NOTICE_AGE_MAX {
            return self.metrics.notices_dropped.count("late");
        }
        match &dispatch.message {
            DispatchMessage::Revocation { .. } => self.give(&dispatch, "revocation"),
            DispatchMessage::Switch { .. } => {
                let home_address = dispatch.home_address;
                let has_turn = self.waiting.contains_key(&home_address);
                if has_turn || self.turns.len() < limits::SWITCHES_WAITING_MAX {
                    self.waiting.insert(home_address, dispatch);
                } else {
                    self.metrics.notices_dropped.count("turns_full");
                    return;
                }
                if !has_turn {
                    self.turns.push_back(home_address);
                }
                self.take_turn();
            }
        }
    }

    fn tick(&mut self) {
        if self.leads() {
            self.take_turn();
        } else if let Some(leader) = self.node.status().leader {
            self.takers.dismiss(&leader.address);
        }
    }

    /// Another replica may have had its turn just before this one came to lead.
    fn leads(&mut self) -> bool {
        if self.node.status().role == Role::Leader {
            self.next_turn.get_or_insert_with(|| Instant::now() + limits::SWITCH_INTERVAL);
            return true;
        }
        self.next_turn = None;
        self.turns.clear();
        self.waiting.clear();
        false
    }

    fn take_turn(&mut self) {
        if self.next_turn.is_none_or(|at| at > Instant::now()) {
            return;
        }
        while let Some(home_address) = self.turns.pop_front() {
            let Some(dispatch) = self.waiting.remove(&home_address) else { continue };
            if !self.node.read(|machine| machine.cache.is_current(&dispatch)) {
                self.metrics.notices_dropped.count("superseded");
                continue;
            }
            self.give(&dispatch, "switch");
            self.next_turn = Some(Instant::now() + limits::SWITCH_INTERVAL);
            return;
        }
    }

    fn give(&self, dispatch: &Dispatch, kind: &'static str) {
        if self.takers.give(dispatch) {
            self.metrics.notices_sent.count(kind);
        } else {
            self.metrics.notices_dropped.count("no_front_end");
        }
    }
}
