//! Notices to mobile nodes on their way to a front-end.
//!
//! The state machine of every replica knows what is due; the task here sends it where this replica
//! leads. Front-ends that take notices are sent to the leader, so that it has somebody to give them to.
//! What is lost on the way becomes due again: nothing is kept for later.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv6Addr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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
use crate::machine::{Due, Machine};
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
            let response = SubmitResponse { ticket: 0, result, ..SubmitResponse::default() };
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
            if mailbox
                .try_send(SubmitResponse { ticket: 0, result, ..SubmitResponse::default() })
                .is_err()
            {
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
    pub(crate) fn heard(&self, request: SubmitRequest) -> Option<SubmitRequest> {
        if !request.takes_notices {
            return Some(request);
        }
        self.takers.add(&self.mailbox);
        request.command.is_some().then_some(request)
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

/// Gives what is due to front-ends, where this replica leads.
pub(crate) struct Sender {
    node: Node<Machine>,
    takers: Takers,
    metrics: Arc<Metrics>,
    switches: Turns,
    advertisements: Turns,
    care_of_tests: PerSecond,
    is_leading: bool,
}

impl Sender {
    pub(crate) fn new(
        node: Node<Machine>,
        takers: Takers,
        metrics: Arc<Metrics>,
        advertisements_per_second_max: NonZeroU32,
    ) -> Self {
        let interval = Duration::from_secs(1) / advertisements_per_second_max.get();
        Self {
            node,
            takers,
            metrics,
            switches: Turns::new("switch", limits::SWITCHES_WAITING_MAX, limits::SWITCH_INTERVAL),
            advertisements: Turns::new(
                "prefix_advertisement",
                limits::ADVERTISEMENTS_WAITING_MAX,
                interval,
            ),
            care_of_tests: PerSecond::default(),
            is_leading: false,
        }
    }

    /// Sends what is due until `shutdown` begins; then front-ends look for another replica at once.
    pub(crate) async fn run(mut self, mut due: mpsc::Receiver<Due>, shutdown: Shutdown) {
        let mut tick = tokio::time::interval(limits::NOTICES_TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let next_turn = self.next_turn();
            tokio::select! {
                // Cancel-safe: a message is taken whole or not at all.
                due = due.recv() => match due {
                    Some(due) => self.take(due),
                    None => return,
                },
                _ = tick.tick() => self.tick(),
                () = tokio::time::sleep_until(next_turn.unwrap_or_else(Instant::now)),
                    if next_turn.is_some() => self.tick(),
                () = shutdown.begun() => return self.takers.dismiss(""),
            }
        }
    }

    fn next_turn(&self) -> Option<Instant> {
        [&self.switches, &self.advertisements].into_iter().filter_map(Turns::next).min()
    }

    fn take(&mut self, due: Due) {
        if !self.leads() {
            return;
        }
        let at = match &due {
            Due::Notice(dispatch) => dispatch.at,
            Due::GivenUp(given_up) => given_up.at,
        };
        // A log that is read again after a restart makes everything due again that ever was.
        let is_late = at.until(LogTime(clock::unix_ms())) > limits::NOTICE_AGE_MAX;
        let dispatch = match due {
            Due::GivenUp(_) if is_late => return,
            Due::GivenUp(_) => {
                self.metrics.advertisements_given_up.inc();
                return;
            }
            Due::Notice(_) if is_late => return self.metrics.notices_dropped.count("late"),
            Due::Notice(dispatch) => dispatch,
        };
        let turns = match &dispatch.message {
            DispatchMessage::Revocation { .. } => return self.give(&dispatch, "revocation"),
            DispatchMessage::CareOfTest { .. } if self.care_of_tests.allow(Instant::now()) => {
                return self.give(&dispatch, "care_of_test");
            }
            // It becomes due again.
            DispatchMessage::CareOfTest { .. } => {
                return self.metrics.notices_dropped.count("care_of_tests_full");
            }
            DispatchMessage::Switch { .. } => &mut self.switches,
            DispatchMessage::PrefixAdvertisement => &mut self.advertisements,
        };
        if !turns.queue(dispatch) {
            return self.metrics.notices_dropped.count("turns_full");
        }
        self.take_turns();
    }

    fn tick(&mut self) {
        if self.leads() {
            self.take_turns();
        } else if let Some(leader) = self.node.status().leader {
            self.takers.dismiss(&leader.address);
        }
    }

    fn leads(&mut self) -> bool {
        let leads = self.node.status().role == Role::Leader;
        if leads != self.is_leading {
            self.is_leading = leads;
            self.switches.begin();
            self.advertisements.begin();
        }
        leads
    }

    fn take_turns(&mut self) {
        let now = Instant::now();
        while let Some((dispatch, kind)) =
            self.switches.take(now).or_else(|| self.advertisements.take(now))
        {
            if self.node.read(|machine| machine.cache.is_current(&dispatch)) {
                self.give(&dispatch, kind);
                match dispatch.message {
                    DispatchMessage::Switch { .. } => self.switches.had(now),
                    DispatchMessage::PrefixAdvertisement => self.advertisements.had(now),
                    DispatchMessage::Revocation { .. } | DispatchMessage::CareOfTest { .. } => {}
                }
            } else {
                self.metrics.notices_dropped.count("superseded");
            }
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

/// Tests of care-of addresses in the second that runs.
#[derive(Default)]
struct PerSecond {
    begun: Option<Instant>,
    sent: u32,
}

impl PerSecond {
    fn allow(&mut self, now: Instant) -> bool {
        let is_over = |begun| now.duration_since(begun) >= Duration::from_secs(1);
        if self.begun.is_none_or(is_over) {
            *self = Self { begun: Some(now), sent: 0 };
        }
        self.sent = self.sent.saturating_add(1);
        self.sent <= limits::CARE_OF_TESTS_PER_SECOND_MAX
    }
}

/// Notices of one kind that take turns, so that no more than so many leave in a time.
struct Turns {
    kind: &'static str,
    waiting_max: usize,
    interval: Duration,
    /// The newest notice of each home address.
    waiting: BTreeMap<Ipv6Addr, Dispatch>,
    /// Their turns.
    turns: VecDeque<Ipv6Addr>,
    next_turn: Instant,
}

impl Turns {
    fn new(kind: &'static str, waiting_max: usize, interval: Duration) -> Self {
        let (waiting, turns, next_turn) = (BTreeMap::new(), VecDeque::new(), Instant::now());
        Self { kind, waiting_max, interval, waiting, turns, next_turn }
    }

    /// Another replica may have had its turn just before this one came to lead.
    fn begin(&mut self) {
        self.turns.clear();
        self.waiting.clear();
        self.next_turn = Instant::now() + self.interval;
    }

    /// False when there is no room.
    fn queue(&mut self, dispatch: Dispatch) -> bool {
        let home_address = dispatch.home_address;
        let has_turn = self.waiting.contains_key(&home_address);
        if !has_turn && self.turns.len() >= self.waiting_max {
            return false;
        }
        self.waiting.insert(home_address, dispatch);
        if !has_turn {
            self.turns.push_back(home_address);
        }
        true
    }

    /// When somebody has a turn.
    fn next(&self) -> Option<Instant> {
        (!self.turns.is_empty()).then_some(self.next_turn)
    }

    /// Whose turn it is, if there is one now.
    fn take(&mut self, now: Instant) -> Option<(Dispatch, &'static str)> {
        if self.next_turn > now {
            return None;
        }
        let dispatch = self.waiting.remove(&self.turns.pop_front()?)?;
        Some((dispatch, self.kind))
    }

    /// Somebody has had a turn.
    fn had(&mut self, now: Instant) {
        self.next_turn = now + self.interval;
    }
}
