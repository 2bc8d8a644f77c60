//! The node as its owner sees it.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use homeport_mobile::{
    CareOfAddress, Command, Flow, MobileNode as Machine, Outcome, SettingsError,
};
use homeport_runtime::Task;
use homeport_wire::{Bid, Sequence};
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::actor::{Actor, Order, Results};
use crate::config::{CareOfConfig, Config, ConfigFault};
use crate::echo::{PingResult, outcome};
use crate::journal::UpdateRecord;
use crate::port::Ports;
use crate::report::{NodeEvent, Stamped, Status, outcome_words};

/// Orders that wait for the node.
const ORDERS_MAX: usize = 64;
/// Events kept for slow listeners.
const EVENTS_MAX: usize = 4096;
/// Pause between two echo requests of a series.
const PING_PAUSE: Duration = Duration::from_millis(20);

/// A running mobile node. Clones are handles of the same node; it ends with the last of them,
/// without a word to the home agent.
#[derive(Clone, Debug)]
pub struct MobileNode {
    orders: mpsc::Sender<Order>,
    /// Weak, so that listeners see the end of the node.
    events: broadcast::WeakSender<Stamped>,
    addresses: Arc<Vec<CareOfAddress>>,
    config: Arc<Config>,
    _actor: Arc<Task>,
}

/// How a command ended for one binding; `None` stands for all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BindingResult {
    /// The binding.
    pub bid: Option<u16>,
    /// How it ended.
    pub outcome: Outcome,
}

impl BindingResult {
    /// The outcome in a few words.
    #[must_use]
    pub fn words(&self) -> String {
        outcome_words(&self.outcome)
    }
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration has a fault.
    #[error(transparent)]
    Config(#[from] ConfigFault),
    /// The configuration makes no node.
    #[error("the configuration: {0}")]
    Settings(#[from] SettingsError),
    /// The host refused a socket, a device or a route.
    #[error(transparent)]
    Host(#[from] homeport_hostnet::Error),
    /// At least one binding is not as wanted.
    #[error("{}", results_words(.0))]
    Refused(Vec<BindingResult>),
    /// Nobody answered in time; the node goes on.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The node has ended.
    #[error("the node has ended")]
    Ended,
}

fn results_words(results: &[BindingResult]) -> String {
    let words: Vec<String> = results
        .iter()
        .filter(|result| !result.outcome.is_success())
        .map(|result| match result.bid {
            Some(bid) => format!("BID {bid}: {}", outcome_words(&result.outcome)),
            None => outcome_words(&result.outcome),
        })
        .collect();
    words.join("; ")
}

impl MobileNode {
    /// Opens what the configuration names and starts the node. Nothing is registered yet.
    pub async fn start(config: Config) -> Result<Self, Error> {
        let mut settings = config.settings()?;
        let flows = config.flows()?;
        let (ports, received) = Ports::open(&config).await?;
        settings.link_layer_address = ports.link_layer_address();
        let machine = Machine::new(settings, Sequence(rand::random()))?;
        let (orders, orders_receiver) = mpsc::channel(ORDERS_MAX);
        let (events, _) = broadcast::channel(EVENTS_MAX);
        let addresses = Arc::new(config.addresses());
        let shared = Arc::new(config.clone());
        let weak = events.downgrade();
        let protection = config.protection(homeport_runtime::clock::unix_ms() / 1000)?;
        let actor = Actor::new(config, machine, ports, protection, events);
        let actor = Task::spawn("mobile node", actor.run(orders_receiver, received));
        let node =
            Self { orders, events: weak, addresses, config: shared, _actor: Arc::new(actor) };
        if !flows.is_empty() {
            node.set_flows(flows).await?;
        }
        Ok(node)
    }

    /// These flow bindings and no others from now on. The home agent's answers come as events.
    pub async fn set_flows(&self, flows: Vec<Flow>) -> Result<(), Error> {
        self.command(Command::SetFlows { flows }).await.map(drop)
    }

    /// Registers all configured care-of addresses: in one update as far as the rules allow, or each
    /// in its own. Ends when all are acknowledged.
    pub async fn register(&self, bulk: bool) -> Result<Vec<BindingResult>, Error> {
        let addresses = self.addresses.to_vec();
        self.command(Command::Register { addresses, bulk }).await
    }

    /// The same for some of them.
    pub async fn register_only(
        &self,
        bids: &[u16],
        bulk: bool,
    ) -> Result<Vec<BindingResult>, Error> {
        let wanted = |address: &&CareOfAddress| bids.contains(&address.bid.0);
        let addresses = self.addresses.iter().filter(wanted).copied().collect();
        self.command(Command::Register { addresses, bulk }).await
    }

    /// Renews all bindings now.
    pub async fn refresh(&self, bulk: bool) -> Result<Vec<BindingResult>, Error> {
        self.command(Command::Refresh { bids: Vec::new(), bulk }).await
    }

    /// Renews all bindings at this interval, answered or not, until told otherwise. The rate limit
    /// of the configuration holds: raise `updates_per_second_max`.
    pub async fn refresh_every(&self, every: Option<Duration>, bulk: bool) -> Result<(), Error> {
        self.order(Order::RefreshEvery(every, bulk)).await
    }

    /// Moves a binding to another address of the same interface.
    pub async fn move_care_of(
        &self,
        bid: u16,
        address: IpAddr,
    ) -> Result<Vec<BindingResult>, Error> {
        let known = self.config.care_of.iter().find(|care_of| care_of.bid == bid);
        let base = known.cloned().unwrap_or_else(|| CareOfConfig::new(bid, address));
        // A port that was configured belongs to the old address.
        self.move_to(CareOfConfig { address, udp_port: 0, ..base }).await
    }

    /// Moves a binding to another address, interface and router.
    pub async fn move_to(&self, care_of: CareOfConfig) -> Result<Vec<BindingResult>, Error> {
        self.config.check_care_of("move", &care_of)?;
        let (done, results) = oneshot::channel();
        self.order(Order::Move(care_of, done)).await?;
        judge(self.in_time(results).await??)
    }

    /// Asks who the home agents of the home link are. The answer comes as event.
    pub async fn discover_home_agents(&self) -> Result<(), Error> {
        self.command(Command::DiscoverHomeAgents).await.map(drop)
    }

    /// Asks for the prefixes of the home link. The answer comes as event.
    pub async fn solicit_prefixes(&self) -> Result<(), Error> {
        self.command(Command::SolicitPrefixes).await.map(drop)
    }

    /// The node is on its home link with its only interface: ends all bindings from there, and uses
    /// the home address as any host does until it registers again.
    pub async fn return_home(&self) -> Result<Vec<BindingResult>, Error> {
        if self.config.home_link.is_none() {
            let expected = "a [home_link] table".to_owned();
            let (key, wrong) = ("home_link".to_owned(), "is missing".to_owned());
            return Err(ConfigFault { key, wrong, expected }.into());
        }
        self.command(Command::ReturnHome).await
    }

    /// Ends these bindings, each in its own update; none means all, in a plain update.
    pub async fn deregister(&self, bids: &[u16]) -> Result<Vec<BindingResult>, Error> {
        self.command(self.deregistration(bids, false)).await
    }

    /// Ends these bindings in one update; none means all.
    pub async fn deregister_bulk(&self, bids: &[u16]) -> Result<Vec<BindingResult>, Error> {
        self.command(self.deregistration(bids, true)).await
    }

    fn deregistration(&self, bids: &[u16], bulk: bool) -> Command {
        if bids.is_empty() {
            let from = self.addresses.first().map(|address| address.care_of);
            return Command::DeregisterAll { from };
        }
        Command::Deregister { bids: bids.iter().copied().map(Bid).collect(), bulk }
    }

    /// Takes the configured care-of addresses as registered by an earlier run, so that they can be
    /// ended one by one.
    pub async fn adopt(&self) -> Result<(), Error> {
        let addresses = self.addresses.to_vec();
        self.command(Command::Adopt { addresses }).await.map(drop)
    }

    /// Sends ICMPv6 echo requests from the home address through a binding, or the best one, 20 ms
    /// apart; each waits this long for its reply.
    pub async fn ping(
        &self,
        destination: Ipv6Addr,
        via: Option<u16>,
        count: u32,
        timeout: Duration,
    ) -> Result<Vec<PingResult>, Error> {
        let mut waiting = Vec::new();
        for number in 1..=count {
            if number > 1 {
                tokio::time::sleep(PING_PAUSE).await;
            }
            let (sent, receiver) = oneshot::channel();
            self.order(Order::Echo { destination, via: via.map(Bid), sent }).await?;
            let sent = receiver.await.map_err(|_| Error::Ended)?;
            let task = Task::spawn("ping", outcome(sent, timeout));
            waiting.push((number, task));
        }
        let mut results = Vec::new();
        for (number, task) in waiting {
            let outcome = task.await.map_err(|_| Error::Ended)?;
            results.push(PingResult { number, outcome });
        }
        Ok(results)
    }

    /// Everything that happens from now on.
    #[must_use]
    pub fn events(&self) -> Events {
        Events(self.events.upgrade().map(|events| events.subscribe()))
    }

    /// The node as it is now.
    pub async fn status(&self) -> Result<Status, Error> {
        let (done, status) = oneshot::channel();
        self.order(Order::Status(done)).await?;
        status.await.map_err(|_| Error::Ended)
    }

    /// Every Binding Update that left, oldest first, each with its answer.
    pub async fn journal(&self) -> Result<Vec<UpdateRecord>, Error> {
        let (done, updates) = oneshot::channel();
        self.order(Order::Journal(done)).await?;
        updates.await.map_err(|_| Error::Ended)
    }

    /// Ends the node and takes back what it set up in the host. The home agent is not told.
    pub async fn stop(&self) -> Result<(), Error> {
        let (done, stopped) = oneshot::channel();
        self.order(Order::Stop(done)).await?;
        stopped.await.map_err(|_| Error::Ended)
    }

    async fn command(&self, command: Command) -> Result<Vec<BindingResult>, Error> {
        let (done, results) = oneshot::channel();
        self.order(Order::Command(command, done)).await?;
        judge(self.in_time(results).await?)
    }

    async fn order(&self, order: Order) -> Result<(), Error> {
        self.orders.send(order).await.map_err(|_| Error::Ended)
    }

    async fn in_time<T>(&self, answer: oneshot::Receiver<T>) -> Result<T, Error> {
        let limit = Duration::from_millis(self.config.request_timeout_ms);
        match tokio::time::timeout(limit, answer).await {
            Ok(answer) => answer.map_err(|_| Error::Ended),
            Err(_) => Err(Error::Timeout(limit)),
        }
    }
}

fn judge(results: Results) -> Result<Vec<BindingResult>, Error> {
    let results: Vec<BindingResult> = results
        .into_iter()
        .map(|(bid, outcome)| BindingResult { bid: bid.map(|bid| bid.0), outcome })
        .collect();
    if results.iter().all(|result| result.outcome.is_success()) {
        Ok(results)
    } else {
        Err(Error::Refused(results))
    }
}

/// A stream of events.
#[derive(Debug)]
pub struct Events(Option<broadcast::Receiver<Stamped>>);

impl Events {
    /// Waits for the next event; `None` when the node has ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<Stamped> {
        match self.0.as_mut()?.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(count)) => Some(Stamped {
                unix_ms: homeport_runtime::clock::unix_ms(),
                event: NodeEvent::Missed(count),
            }),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
