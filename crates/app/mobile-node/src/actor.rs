//! The task that owns a node.
//!
//! ```text
//! MobileNode (Nx) --Order, 64--> actor (1x) --Stamped, 4096--> Events (Nx, slow ones miss some)
//! read_udp (1x for each IPv4 address) --Received, 256--^  |
//! read_tun (0..1x)                    --Received, 256--^  +--> sockets, TUN device, host network
//! ```

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use homeport_mobile::{
    Arrival, CareOf, Command, DropReason, Event, Input, Millis, MobileNode as Machine, Now,
    NtpTime, Outcome, Output, Path, RegisteredView, RequestId, Transmit,
};
use homeport_runtime::clock::{Monotonic, unix_ms};
use homeport_wire::{Bid, Ipv6Header, Status as BindingStatus};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};

use crate::config::{CareOfConfig, Config};
use crate::echo::{Answer, Echoes, NotSent, reply_to};
use crate::handle::Error;
use crate::journal::{Journal, UpdateRecord};
use crate::network::AtHome;
use crate::port::{Ports, Received};
use crate::protection::Protection;
use crate::report::{NodeEvent, Stamped, Status};

/// Results of a command as the machine gives them.
pub(crate) type Results = Vec<(Option<Bid>, Outcome)>;
/// When an echo request left, and where its answer will come.
pub(crate) type SentEcho = Result<(Instant, oneshot::Receiver<Answer>), NotSent>;

/// What the handle asks for.
#[derive(Debug)]
pub(crate) enum Order {
    /// A command to the machine.
    Command(Command, oneshot::Sender<Results>),
    /// Open a care-of address, then move the binding there.
    Move(CareOfConfig, oneshot::Sender<Result<Results, Error>>),
    Echo {
        destination: std::net::Ipv6Addr,
        via: Option<Bid>,
        sent: oneshot::Sender<SentEcho>,
    },
    Status(oneshot::Sender<Status>),
    Journal(oneshot::Sender<Vec<UpdateRecord>>),
    /// Renew all bindings at this interval; `None` ends that.
    RefreshEvery(Option<Duration>, bool),
    /// Close everything, without telling the home agent.
    Stop(oneshot::Sender<()>),
}

/// Who waits for the end of a command.
#[derive(Debug)]
enum Waiting {
    Command(oneshot::Sender<Results>),
    Move(oneshot::Sender<Result<Results, Error>>),
}

#[derive(Debug)]
pub(crate) struct Actor {
    config: Config,
    machine: Machine,
    ports: Ports,
    protection: Option<Protection>,
    clock: Monotonic,
    /// The instant at which `clock` read zero.
    origin: Instant,
    waiting: HashMap<RequestId, Waiting>,
    last_request: u64,
    echoes: Echoes,
    journal: Journal,
    events: broadcast::Sender<Stamped>,
    /// The IPv4 home address that the host has.
    ipv4_home: Option<Ipv4Addr>,
    /// All bindings have ended because the node is at home.
    returned_home: bool,
    host_at_home: AtHome,
    drops: BTreeMap<&'static str, u64>,
    ticks: Option<(tokio::time::Interval, bool)>,
}

/// What woke the actor.
enum Wake {
    Order(Option<Order>),
    Received(Option<Received>),
    Deadline,
    Tick,
}

impl Actor {
    pub(crate) fn new(
        config: Config,
        machine: Machine,
        ports: Ports,
        protection: Option<Protection>,
        events: broadcast::Sender<Stamped>,
    ) -> Self {
        let journal = Journal::new(config.journal_updates_max);
        let mut actor = Self {
            machine,
            ports,
            protection,
            clock: Monotonic::start(),
            origin: Instant::now(),
            waiting: HashMap::new(),
            last_request: 0,
            echoes: Echoes::new(rand::random()),
            journal,
            events,
            ipv4_home: None,
            returned_home: false,
            host_at_home: AtHome::Away,
            drops: BTreeMap::new(),
            ticks: None,
            config,
        };
        let every_ms = actor.config.refresh.every_ms;
        actor.refresh_every(every_ms.map(Duration::from_millis), actor.config.refresh.bulk);
        actor
    }

    /// Until the last handle is gone or one says stop.
    pub(crate) async fn run(
        mut self,
        mut orders: mpsc::Receiver<Order>,
        mut received: mpsc::Receiver<Received>,
    ) {
        loop {
            let deadline = self.machine.next_deadline().map(|at| self.instant(at));
            // All are cancel-safe: two receivers, a point in time and an interval.
            let wake = tokio::select! {
                order = orders.recv() => Wake::Order(order),
                packet = received.recv() => Wake::Received(packet),
                () = sleep_until(deadline) => Wake::Deadline,
                () = tick(&mut self.ticks) => Wake::Tick,
            };
            match wake {
                Wake::Order(Some(Order::Stop(done))) => {
                    self.ports.close().await;
                    if done.send(()).is_err() {
                        tracing::debug!("nobody waited for the end of the node");
                    }
                    return;
                }
                Wake::Order(Some(order)) => self.order(order).await,
                Wake::Order(None) => {
                    self.ports.close().await;
                    return;
                }
                Wake::Received(Some(packet)) => self.receive(packet).await,
                // The ports hold a sender: as long as they live, this cannot be.
                Wake::Received(None) => return,
                Wake::Deadline => self.input(Input::Timeout).await,
                Wake::Tick => {
                    let bulk = self.ticks.as_ref().is_some_and(|(_, bulk)| *bulk);
                    let command = Command::Refresh { bids: Vec::new(), bulk };
                    self.input(Input::Command(RequestId::NOBODY, command)).await;
                }
            }
        }
    }

    fn now(&self) -> Now {
        Now { monotonic: Millis(self.clock.now_ms()), ntp: NtpTime::from_unix_ms(unix_ms()) }
    }

    /// The machine counts whole milliseconds: one more, so that a deadline is never met too early.
    fn instant(&self, at: Millis) -> Instant {
        self.origin + Duration::from_millis(at.0.saturating_add(1))
    }

    fn refresh_every(&mut self, every: Option<Duration>, bulk: bool) {
        self.ticks = every.map(|every| {
            let mut ticks = tokio::time::interval_at(Instant::now() + every, every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            (ticks, bulk)
        });
    }

    async fn order(&mut self, order: Order) {
        match order {
            Order::Command(command, done) => self.begin(command, Waiting::Command(done)).await,
            Order::Move(care_of, done) => self.move_to(care_of, done).await,
            Order::Echo { destination, via, sent } => {
                let outcome = self.echo(destination, via).await;
                drop(sent.send(outcome));
            }
            Order::Status(done) => drop(done.send(self.status())),
            Order::Journal(done) => drop(done.send(self.journal.updates())),
            Order::RefreshEvery(every, bulk) => self.refresh_every(every, bulk),
            // Seen to where orders are taken.
            Order::Stop(_) => {}
        }
    }

    async fn begin(&mut self, command: Command, waiting: Waiting) {
        self.last_request = self.last_request.saturating_add(1);
        let request = RequestId(self.last_request);
        self.waiting.insert(request, waiting);
        self.input(Input::Command(request, command)).await;
    }

    async fn move_to(
        &mut self,
        care_of: CareOfConfig,
        done: oneshot::Sender<Result<Results, Error>>,
    ) {
        if let Err(error) = self.ports.add(&care_of).await {
            drop(done.send(Err(error)));
            return;
        }
        let address = care_of.to_address();
        if let Some(known) = self.config.care_of.iter_mut().find(|known| known.bid == care_of.bid) {
            *known = care_of;
        }
        let command = Command::Move { bid: address.bid, care_of: address.care_of };
        self.begin(command, Waiting::Move(done)).await;
    }

    /// Out of ESP, where signalling is protected.
    fn unprotected(&mut self, packet: Vec<u8>) -> Option<Vec<u8>> {
        let Some(protection) = &mut self.protection else { return Some(packet) };
        match protection.incoming(packet, self.machine.settings().home_agent) {
            Ok(packet) => Some(packet),
            Err(reason) => {
                self.dropped_for(reason);
                None
            }
        }
    }

    async fn receive(&mut self, packet: Received) {
        match packet {
            Received::Udp { care_of, peer, payload } => {
                let Some(payload) = self.unprotected(payload) else { return };
                let arrival = Arrival::Udp { care_of, peer, payload: &payload };
                self.input(Input::Packet(arrival)).await;
            }
            Received::Ipv4 { care_of, peer, dscp_ecn, payload } => {
                let arrival = Arrival::Ipv4 { care_of, peer, dscp_ecn, payload: &payload };
                self.input(Input::Packet(arrival)).await;
            }
            Received::HomeLink(packet) => {
                let Some(packet) = self.unprotected(packet) else { return };
                self.input(Input::Packet(Arrival::Ipv6(&packet))).await;
            }
            Received::Tun(packet) => {
                if self.is_for_care_of(&packet) {
                    let Some(packet) = self.unprotected(packet) else { return };
                    self.input(Input::Packet(Arrival::Ipv6(&packet))).await;
                } else {
                    self.tunnel(None, &packet).await;
                }
            }
        }
    }

    /// The kernel sends two kinds of packets into the device: those for care-of addresses, and
    /// those of the home address, which go into the tunnel.
    fn is_for_care_of(&self, packet: &[u8]) -> bool {
        let Ok((header, _)) = Ipv6Header::parse(packet) else {
            return false;
        };
        self.ports.addresses().contains(&IpAddr::V6(header.destination))
    }

    async fn tunnel(&mut self, via: Option<Bid>, packet: &[u8]) {
        match self.machine.encapsulate(via, packet) {
            Ok(transmit) => self.transmit(transmit).await,
            Err(reason) => self.dropped(reason),
        }
    }

    async fn echo(&mut self, destination: std::net::Ipv6Addr, via: Option<Bid>) -> SentEcho {
        let home = self.config.home_address;
        let prepared = self.echoes.prepare(home, destination).ok_or(NotSent("too_many"))?;
        let transmit = self.machine.encapsulate(via, &prepared.packet)?;
        let at = Instant::now();
        self.transmit(transmit).await;
        Ok((at, prepared.answer))
    }

    /// One input to the machine, and all its effects.
    async fn input(&mut self, input: Input<'_>) {
        for output in self.machine.handle(self.now(), input) {
            match output {
                Output::Send(transmit) => self.transmit(transmit).await,
                Output::Event(event) => self.event(event).await,
                Output::Deliver { path, packet } => self.deliver(path, &packet).await,
                Output::Dropped(reason) => self.dropped(reason),
            }
        }
        self.follow().await;
    }

    /// Makes the host have what the machine has.
    async fn follow(&mut self) {
        let at_home = self.at_home();
        if at_home != self.host_at_home {
            self.host_at_home = at_home;
            if let Err(error) = self.ports.set_at_home(at_home).await {
                self.tell(NodeEvent::NotSent { error: error.to_string() });
            }
        }
        let ipv4_home = self.machine.ipv4_home_address();
        if ipv4_home != self.ipv4_home {
            self.ipv4_home = ipv4_home;
            if let Err(error) = self.ports.set_ipv4_home(ipv4_home).await {
                self.tell(NodeEvent::NotSent { error: error.to_string() });
            }
        }
    }

    /// The node answers neighbours for its home address when it has returned, and with a home
    /// binding when the home agent has ceased to: status 0, not 5 (RFC 5648 §5.6).
    fn at_home(&self) -> AtHome {
        let mut registered = self.machine.bindings().into_iter().filter_map(|it| it.registered);
        let beside = |it: &RegisteredView| {
            it.care_of == CareOf::Home && it.status == BindingStatus::ACCEPTED
        };
        match self.returned_home {
            true => AtHome::Only,
            false if registered.any(|it| beside(&it)) => AtHome::Beside,
            false => AtHome::Away,
        }
    }

    async fn transmit(&mut self, transmit: Transmit) {
        let home_agent = self.machine.settings().home_agent;
        let transmit = match &mut self.protection {
            Some(protection) => protection.outgoing(transmit, home_agent),
            None => transmit,
        };
        let sent = match transmit {
            Transmit::Ipv6 { packet, .. } => self.ports.send_tun(&packet).await,
            Transmit::Udp { from, payload } => match self.machine.settings().home_agent_v4 {
                Some(to) => self.ports.send_udp(from, to, &payload).await,
                None => Err(crate::port::SendError::NoPort),
            },
            Transmit::Ipv4 { from, to, protocol, payload } => {
                self.ports.send_bare(from, to, protocol, &payload).await
            }
        };
        if let Err(error) = sent {
            self.tell(NodeEvent::NotSent { error: error.to_string() });
        }
    }

    async fn deliver(&mut self, path: Path, packet: &[u8]) {
        if self.echoes.take(packet, path) {
            return;
        }
        if self.ports.has_tun() {
            if let Err(error) = self.ports.send_tun(packet).await {
                self.tell(NodeEvent::NotSent { error: error.to_string() });
            }
            return;
        }
        // Without a kernel behind the home address the node answers itself, the way that it was
        // asked.
        match reply_to(packet, self.config.home_address) {
            Some(reply) => {
                let via = self.bid_at(path);
                self.tunnel(via, &reply).await;
            }
            None => self.dropped(DropReason::UnexpectedMessage),
        }
    }

    fn bid_at(&self, path: Path) -> Option<Bid> {
        let mut bindings = self.machine.bindings().into_iter();
        bindings
            .find(|view| view.registered.as_ref().is_some_and(|it| it.care_of.path() == path))
            .map(|view| view.bid)
    }

    async fn event(&mut self, event: Event) {
        self.journal.note(&event, unix_ms(), self.clock.now_ms());
        if let Event::Completed { request, results } = &event {
            match self.waiting.remove(request) {
                Some(Waiting::Command(done)) => drop(done.send(results.clone())),
                Some(Waiting::Move(done)) => drop(done.send(Ok(results.clone()))),
                None => {}
            }
        }
        match event {
            Event::ReturnedHome => self.returned_home = true,
            Event::Registered { .. } => self.returned_home = false,
            _ => {}
        }
        let left = matches!(event, Event::Moved { .. } | Event::Deregistered { .. });
        self.tell(NodeEvent::Protocol(event));
        if left {
            self.close_unused_addresses().await;
        }
    }

    /// After a move the old address is not needed any more.
    async fn close_unused_addresses(&mut self) {
        let mut used: Vec<IpAddr> = self.config.care_of.iter().map(|known| known.address).collect();
        for view in self.machine.bindings() {
            used.extend(ip_of(view.care_of));
            used.extend(view.registered.and_then(|registered| ip_of(registered.care_of)));
        }
        for address in self.ports.addresses() {
            if !used.contains(&address) {
                self.ports.remove(address).await;
            }
        }
    }

    fn dropped(&mut self, reason: DropReason) {
        self.dropped_for(reason.reason());
    }

    fn dropped_for(&mut self, reason: &'static str) {
        let count = self.drops.entry(reason).or_insert(0);
        *count = count.saturating_add(1);
        self.tell(NodeEvent::Dropped { reason });
    }

    fn tell(&self, event: NodeEvent) {
        // Nobody may be listening.
        drop(self.events.send(Stamped { unix_ms: unix_ms(), event }));
    }

    fn status(&self) -> Status {
        Status {
            uptime_ms: self.clock.now_ms(),
            mode: self.machine.mode(),
            sequence: self.machine.sequence().0,
            bindings: self.machine.bindings(),
            drops: self.drops.clone(),
            journal_dropped: self.journal.dropped(),
        }
    }
}

const fn ip_of(care_of: CareOf) -> Option<IpAddr> {
    match care_of {
        CareOf::V4(address) => Some(IpAddr::V4(address)),
        CareOf::V6(address) => Some(IpAddr::V6(address)),
        CareOf::Home => None,
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn tick(ticks: &mut Option<(tokio::time::Interval, bool)>) {
    match ticks {
        Some((ticks, _)) => {
            ticks.tick().await;
        }
        None => std::future::pending().await,
    }
}
