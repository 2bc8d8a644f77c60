//! Clients as front-ends are: each follows the leader, asks again with the same request id when the
//! outcome is not known, and writes down what it asked, when, and what came of it.

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use homeport_api::admin::GetHomeBindingsRequest;
use homeport_api::admin::bindings_client::BindingsClient;
use homeport_api::store::binding_store_client::BindingStoreClient;
use homeport_api::store::{SubmitRequest, SubmitResponse, submit_response};
use homeport_binding::{Command, Outcome, Registration, Verdict, WireSource};
use homeport_tests::submit::{bid_request, registration};
use homeport_wire::{BuFlags, Lifetime, Status};
use rand::Rng as _;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Streaming};

use super::checker::{End, Operation};
use super::cluster::{Directory, connect};
use super::register::{Change, Home, Input, Output, State};
use crate::bench::replicas::home_address;

/// Home addresses in use at one time.
const HOMES_IN_USE: u32 = 24;
/// Operations after which a home address is left for a new one: what the checker looks at in one piece.
const OPERATIONS_PER_HOME: u32 = 300;
/// BIDs in use.
const BIDS: std::ops::RangeInclusive<u16> = 1..=3;
/// An attempt at one replica.
const ATTEMPT_MAX: Duration = Duration::from_millis(500);
/// After this a client gives up, and does not know the outcome.
const OPERATION_MAX: Duration = Duration::from_secs(3);
/// Before the next attempt.
const PAUSE: Duration = Duration::from_millis(10);

/// What the clients share.
pub(crate) struct Shared {
    pub(crate) addresses: Directory,
    pub(crate) policy_revisions: (u64, u64),
    pub(crate) begun: Instant,
    /// Reads ask any replica for its own state, which may be old: to see that it is found.
    pub(crate) stale_reads: bool,
    homes: Mutex<Homes>,
    /// Each care-of address is used once: what is read says who wrote it.
    next_care_of: AtomicU32,
}

struct Homes {
    in_use: Vec<InUse>,
    next: u32,
}

#[derive(Clone, Copy)]
struct InUse {
    home: u32,
    sequence: u16,
    operations: u32,
}

/// Operations with the numbers of their home addresses.
pub(crate) type Log = Vec<(u32, Operation)>;

impl Shared {
    pub(crate) fn new(
        addresses: Directory,
        policy_revisions: (u64, u64),
        stale_reads: bool,
    ) -> Self {
        let homes =
            Homes { in_use: (0..HOMES_IN_USE).map(InUse::new).collect(), next: HOMES_IN_USE };
        Self {
            addresses,
            policy_revisions,
            begun: Instant::now(),
            stale_reads,
            homes: Mutex::new(homes),
            next_care_of: AtomicU32::new(1),
        }
    }

    /// Nanoseconds since the begin.
    pub(crate) fn now_ns(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// What to do next, to which home address.
    fn choose(&self) -> (u32, Input) {
        let mut rng = rand::rng();
        let mut homes = self.homes.lock().unwrap_or_else(PoisonError::into_inner);
        let place = rng.random_range(0..homes.in_use.len());
        if homes.in_use[place].operations == OPERATIONS_PER_HOME {
            homes.in_use[place] = InUse::new(homes.next);
            homes.next += 1;
        }
        let chosen = &mut homes.in_use[place];
        chosen.operations += 1;
        if rng.random_ratio(2, 5) {
            return (chosen.home, Input::Read);
        }
        // Now and then two want the same number: only one may get it.
        let step = u16::from(!rng.random_ratio(1, 5));
        chosen.sequence = chosen.sequence.wrapping_add(step);
        let mut bids = BTreeMap::from([(rng.random_range(BIDS), self.care_of())]);
        if rng.random_ratio(1, 4) {
            bids.insert(rng.random_range(BIDS), self.care_of());
        }
        let change = match rng.random_range(0..10) {
            0..5 => Change::Bids(bids),
            5..7 => Change::Overwrite(bids),
            7..9 => Change::Plain(self.care_of()),
            _ => Change::Deregister,
        };
        (chosen.home, Input::Write { sequence: chosen.sequence, change })
    }

    fn care_of(&self) -> Ipv6Addr {
        let n = self.next_care_of.fetch_add(1, Ordering::Relaxed);
        let [high, low] = [n >> 16, n & 0xffff].map(|part| u16::try_from(part).unwrap_or(u16::MAX));
        Ipv6Addr::new(0x2001, 0xdb8, 0xa, 1, 0, 0, high, low)
    }

    fn replicas(&self) -> BTreeMap<u64, super::cluster::Addresses> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl InUse {
    /// Its numbers begin anywhere, so some go round the circle.
    fn new(home: u32) -> Self {
        Self { home, sequence: rand::random(), operations: 0 }
    }
}

/// What came of a command.
enum Came {
    Answer(Output),
    /// It may have been carried out, and may yet be.
    Unknown,
    /// It was not, and will not be.
    Nothing,
}

/// What one replica said.
enum Attempt {
    Answer(Output),
    Unknown,
    /// Nothing was done; the leader that it knows.
    Nothing(Option<SocketAddr>),
}

/// One client: one operation after the other.
pub(crate) struct Client {
    shared: Arc<Shared>,
    /// The replica that it asks.
    at: Option<u64>,
    stream: Option<Stream>,
    readers: BTreeMap<u64, BindingsClient<Channel>>,
    log: Log,
}

struct Stream {
    requests: mpsc::Sender<SubmitRequest>,
    responses: Streaming<SubmitResponse>,
    tickets: u64,
}

impl Client {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, at: None, stream: None, readers: BTreeMap::new(), log: Log::new() }
    }

    /// Works until it is stopped; what it has done.
    pub(crate) async fn run(mut self, stopped: watch::Receiver<bool>) -> Result<Log> {
        while !*stopped.borrow() {
            let (home, input) = self.shared.choose();
            self.operate(home, input).await?;
        }
        Ok(self.log)
    }

    /// Reads each home address once; what it has done.
    pub(crate) async fn read_all(mut self, homes: Vec<u32>) -> Result<Log> {
        for home in homes {
            let before = self.log.len();
            while self.log.len() == before {
                self.operate(home, Input::Read).await?;
            }
        }
        Ok(self.log)
    }

    async fn operate(&mut self, home: u32, input: Input) -> Result<()> {
        let mut begin_ns = self.shared.now_ns();
        let came = match &input {
            Input::Write { sequence, change } => {
                self.write(asked(home, *sequence, change, self.shared.policy_revisions)).await?
            }
            Input::Read | Input::Forget => self.read(home, &mut begin_ns).await?,
        };
        let end = match came {
            Came::Answer(output) => Some(End { ns: self.shared.now_ns(), output }),
            Came::Unknown => None,
            Came::Nothing => return Ok(()),
        };
        self.log.push((home, Operation { begin_ns, end, input }));
        Ok(())
    }

    async fn write(&mut self, command: Registration) -> Result<Came> {
        let until = Instant::now() + OPERATION_MAX;
        let mut sent_before = false;
        while Instant::now() < until {
            let named = match self.attempt(&command).await? {
                // When it was sent before, it may be refused because it was carried out then.
                Attempt::Answer(output) if sent_before && output != Output::Accepted => {
                    return Ok(Came::Unknown);
                }
                Attempt::Answer(output) => return Ok(Came::Answer(output)),
                Attempt::Unknown => {
                    sent_before = true;
                    None
                }
                Attempt::Nothing(leader) => leader,
            };
            self.go_to(named);
            sleep(PAUSE).await;
        }
        Ok(if sent_before { Came::Unknown } else { Came::Nothing })
    }

    /// To the leader that was named, else to any replica.
    fn go_to(&mut self, named: Option<SocketAddr>) {
        let replicas = self.shared.replicas();
        let named = replicas.iter().find(|(_, addresses)| Some(addresses.known) == named);
        let count = replicas.len().max(1);
        let any = || replicas.keys().nth(rand::rng().random_range(0..count));
        self.at = named.map(|(id, _)| id).or_else(any).copied();
        self.stream = None;
    }

    async fn attempt(&mut self, command: &Registration) -> Result<Attempt> {
        if self.stream.is_none() {
            self.stream = timeout(ATTEMPT_MAX, self.open()).await.ok().flatten();
        }
        let Some(stream) = &mut self.stream else { return Ok(Attempt::Nothing(None)) };
        stream.tickets += 1;
        let ticket = stream.tickets;
        let command = Some(Command::Register(command.clone()).into());
        let request = SubmitRequest { ticket, command, ..SubmitRequest::default() };
        if stream.requests.try_send(request).is_err() {
            return Ok(Attempt::Nothing(None));
        }
        let Ok(Ok(Some(response))) = timeout(ATTEMPT_MAX, stream.responses.message()).await else {
            return Ok(Attempt::Unknown);
        };
        anyhow::ensure!(response.ticket == ticket, "a verdict on another command");
        match response.result.context("no result")? {
            submit_response::Result::Verdict(verdict) => answer(verdict.try_into()?),
            submit_response::Result::NotLeader(other) => {
                Ok(Attempt::Nothing(other.leader.parse().ok()))
            }
            submit_response::Result::Unknown(_) => Ok(Attempt::Unknown),
            submit_response::Result::Overloaded(_) => Ok(Attempt::Nothing(None)),
            other => bail!("the store cannot take a command: {other:?}"),
        }
    }

    async fn open(&mut self) -> Option<Stream> {
        let replicas = self.shared.replicas();
        let at = self.at.and_then(|at| replicas.get(&at)).or_else(|| replicas.values().next())?;
        let mut client = BindingStoreClient::new(connect(at.own).await.ok()?);
        let (requests, outgoing) = mpsc::channel(1);
        let responses = client.submit(ReceiverStream::new(outgoing)).await.ok()?.into_inner();
        Some(Stream { requests, responses, tickets: 0 })
    }

    async fn read(&mut self, home: u32, begin_ns: &mut u64) -> Result<Came> {
        let until = Instant::now() + OPERATION_MAX;
        while Instant::now() < until {
            if self.at.is_none() || self.shared.stale_reads {
                self.go_to(None);
            }
            // What was asked before had no effect.
            *begin_ns = self.shared.now_ns();
            let asked = timeout(ATTEMPT_MAX, self.ask(home)).await;
            let named = match asked {
                Ok(Some(Ok(state))) => return Ok(Came::Answer(Output::State(state?))),
                Ok(Some(Err(status))) => {
                    let leader = status.metadata().get("homeport-leader");
                    leader.and_then(|leader| leader.to_str().ok()?.parse().ok())
                }
                Ok(None) | Err(_) => None,
            };
            self.go_to(named);
            sleep(PAUSE).await;
        }
        Ok(Came::Nothing)
    }

    /// Asks one replica; `None` when there is no such replica any more.
    async fn ask(&mut self, home: u32) -> Option<Result<Result<State>, tonic::Status>> {
        let at = self.at?;
        let Some(addresses) = self.shared.replicas().get(&at).copied() else {
            self.readers.remove(&at);
            return None;
        };
        let reader = match self.readers.entry(at) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => {
                let endpoint = Endpoint::from_shared(format!("http://{}", addresses.own)).ok()?;
                new.insert(BindingsClient::new(endpoint.tcp_nodelay(true).connect_lazy()))
            }
        };
        let home_address = home_address(home).to_string();
        let request = GetHomeBindingsRequest { home_address, local: self.shared.stale_reads };
        Some(match reader.get_home_bindings(request).await {
            Ok(found) => Ok(state(&found.into_inner()).map(Some)),
            Err(status) if status.code() == Code::NotFound => Ok(Ok(None)),
            Err(status) => Err(status),
        })
    }
}

fn state(found: &homeport_api::admin::HomeBindings) -> Result<Home> {
    let bindings = found.bindings.iter().map(|binding| {
        let bid = binding.bid.map(u16::try_from).transpose()?;
        Ok((bid, binding.care_of_address.parse()?))
    });
    Ok(Home {
        sequence: u16::try_from(found.sequence)?,
        bindings: bindings.collect::<Result<_>>()?,
    })
}

fn answer(verdict: Verdict) -> Result<Attempt> {
    let answer = match verdict.outcome {
        Outcome::Answer(answer) => answer,
        other => bail!("no answer but {other:?}"),
    };
    let last = answer.sequence.0;
    Ok(Attempt::Answer(match answer.status {
        Status::SEQUENCE_OUT_OF_WINDOW => Output::OutOfWindow { last },
        Status::NOT_HOME_AGENT | Status::MCOA_NON_MCOA_BINDING_EXISTS => Output::Refused,
        status if status.is_accepted() && answer.bid_statuses.iter().all(|it| it.is_accepted()) => {
            Output::Accepted
        }
        _ => bail!("an answer that nothing here calls for: {answer:?}"),
    }))
}

/// The command; each has a request id of its own.
fn asked(home: u32, sequence: u16, change: &Change, policy_revisions: (u64, u64)) -> Registration {
    let mut asked = registration(home_address(home), sequence, rand::random(), policy_revisions);
    match change {
        Change::Plain(care_of) => asked.source = WireSource::Ipv6(*care_of),
        Change::Deregister => asked.lifetime = Lifetime::DEREGISTER,
        Change::Bids(bids) | Change::Overwrite(bids) => {
            asked.bids = bids.iter().map(|(bid, care_of)| bid_request(*bid, *care_of)).collect();
        }
    }
    if matches!(change, Change::Overwrite(_)) {
        asked.flags = asked.flags.with(BuFlags::OVERWRITE);
    }
    asked
}
