//! The task that owns the table: every packet, every change and every answer passes here, one by
//! one.

use std::{sync::Arc, time::Duration};

use homeport_forwarding::{Action, Forwarding, Ingress, Millis, Punt};
use homeport_runtime::{Latch, Shutdown, clock::Monotonic};
use homeport_wire::{protocol, walk};
use tokio::{sync::mpsc, time::sleep};

use crate::{
    config::Error,
    destinations::Changes,
    drain::{Drain, Host, Stage, TakenOff},
    fast::Fast,
    feed::FeedEvent,
    headless::{self, Contact, Headless},
    held::Held,
    home_link::{FromLink, HomeLinkOutlet, NO_HOME_LINK, ToLink},
    inspection::{Arrived, Inspection},
    limits,
    metrics::Metrics,
    mirror::{Applied, Mirror},
    port::Port,
    punt::{Answer, FrontEnds, SignallingEvent},
    routes::RoutesOutlet,
    spans::Answered,
};

/// ICMPv6 type of a Home Agent Address Discovery Request (RFC 6275 §6.5).
const DISCOVERY_REQUEST: u8 = 144;

/// Where what is served is told.
#[derive(Debug)]
pub(crate) struct Outlets {
    pub(crate) front_ends: FrontEnds,
    /// `None` when the host's routes are not ours.
    pub(crate) routes: Option<RoutesOutlet>,
    pub(crate) home_link: Option<HomeLinkOutlet>,
    /// The program that does the common case.
    pub(crate) fast: Option<Fast>,
    /// How long no store has been heard.
    pub(crate) headless: Headless,
    /// Whether operators want packets to go elsewhere.
    pub(crate) drain: Drain,
    /// What operators look at.
    pub(crate) inspection: Inspection,
}

/// Readiness.
#[derive(Debug)]
pub(crate) struct Ready {
    /// The table is that of a store that is heard.
    pub(crate) caught_up: Latch,
    /// Nobody wants packets to go elsewhere.
    pub(crate) not_drained: Latch,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Engine {
    forwarding: Forwarding,
    mirror: Mirror,
    held: Held<(Answer, Answered)>,
    clock: Monotonic,
    metrics: Arc<Metrics>,
    ready: Ready,
    outlets: Outlets,
    /// What is taken off the host now.
    taken_off: TakenOff,
    /// Packets that led to something else than a drop.
    forwarded: u64,
    /// The home prefixes may be other than the routes know.
    prefixes_moved: bool,
    /// Home links know less than the revision that is about to be complete.
    links_moved: bool,
    /// Kept between packets, so that a packet allocates no list.
    actions: Vec<Action>,
}

impl Engine {
    pub(crate) fn new(
        forwarding: Forwarding,
        clock: Monotonic,
        metrics: Arc<Metrics>,
        ready: Ready,
        outlets: Outlets,
    ) -> Self {
        let mut mirror = Mirror::new(outlets.home_link.is_some());
        if outlets.fast.is_some() {
            mirror.remember_changed();
        }
        Self {
            forwarding,
            mirror,
            held: Held::default(),
            clock,
            metrics,
            ready,
            outlets,
            taken_off: TakenOff::default(),
            forwarded: 0,
            prefixes_moved: false,
            links_moved: false,
            actions: Vec::new(),
        }
    }

    /// Runs until `shutdown` begins, or the TUN is gone.
    pub(crate) async fn run(
        mut self,
        mut port: Port,
        mut feed: mpsc::Receiver<FeedEvent>,
        mut signalling: mpsc::Receiver<SignallingEvent>,
        shutdown: Shutdown,
    ) -> Result<(), Error> {
        let mut from_tun = vec![0; limits::PACKET_OCTETS_MAX];
        let mut from_udp = vec![0; limits::PACKET_OCTETS_MAX];
        loop {
            let overdue = wait_ms(self.held.next_deadline_ms(), self.clock.now_ms());
            let look = wait_ms(self.outlets.inspection.next_look_ms(), self.clock.now_ms());
            let silence = wait_ms(self.outlets.headless.next_look_ms(), self.clock.now_ms());
            let drain = wait_ms(self.outlets.drain.next_look_ms(), self.clock.now_ms());
            // Each arm is cancel-safe: a channel gives a whole message or none, a TUN a whole
            // packet or none, and the others only say that there is something to do.
            tokio::select! {
                () = shutdown.begun() => return Ok(()),
                Some(event) = feed.recv() => self.on_feed(&mut port, event).await,
                Some(event) = signalling.recv() => self.on_signalling(&port, event).await,
                () = overdue => self.send_overdue(&port).await,
                () = silence => self.look_at_contact(&mut port, Headless::look),
                () = drain => {
                    let forwarded = self.forwarded();
                    if self.outlets.drain.look(self.clock.now_ms(), forwarded) {
                        self.settle_host(&mut port);
                    }
                }
                request = self.outlets.inspection.requested() => {
                    let now = self.now();
                    let has_fast = self.outlets.fast.is_some();
                    let table = self.forwarding.table();
                    if self.outlets.inspection.on_request(request, table, has_fast, now.0) {
                        self.follow_watched(now);
                    }
                }
                () = look => {
                    let now = self.now();
                    if self.outlets.inspection.look(now.0) {
                        self.follow_watched(now);
                    }
                }
                () = more_settled(&mut self.outlets.routes) => self.send_reached(&port).await,
                () = host_looked_at(&mut self.outlets.fast) => {
                    let now = self.now();
                    if let Some(fast) = &mut self.outlets.fast {
                        fast.look(&self.forwarding, now);
                    }
                }
                Some(returned) = returned(&mut self.outlets.home_link) => {
                    self.on_returned(&port, returned).await;
                }
                len = port.recv_tun(&mut from_tun) => {
                    self.on_tun(&port, &mut from_tun, len?).await?;
                }
                () = port.udp_readable() => self.on_udp(&port, &mut from_udp).await,
            }
        }
    }

    async fn on_tun(&mut self, port: &Port, octets: &mut [u8], len: usize) -> Result<(), Error> {
        let mut next = Some(len);
        for _ in 0..limits::PACKETS_PER_WAKE_MAX {
            let Some(len) = next else { break };
            self.metrics.tun.received(len);
            let packet = octets.get(..len).unwrap_or_default();
            self.handle(port, Ingress::Ip(packet)).await;
            next = port.try_recv_tun(octets)?;
        }
        // The last one taken must not be lost.
        if let Some(len) = next {
            self.metrics.tun.received(len);
            self.handle(port, Ingress::Ip(octets.get(..len).unwrap_or_default())).await;
        }
        Ok(())
    }

    async fn on_udp(&mut self, port: &Port, octets: &mut [u8]) {
        for _ in 0..limits::PACKETS_PER_WAKE_MAX {
            let Some((len, peer, local)) = port.try_recv_udp(octets) else { return };
            self.metrics.udp.received(len);
            let payload = octets.get(..len).unwrap_or_default();
            self.handle(port, Ingress::Udp { peer, local, payload }).await;
        }
    }

    async fn handle(&mut self, port: &Port, ingress: Ingress<'_>) {
        let mut actions = std::mem::take(&mut self.actions);
        let now = self.now();
        let arrived = if self.outlets.inspection.is_idle() {
            Arrived::default()
        } else {
            self.outlets.inspection.arrived(self.forwarding.table(), &ingress)
        };
        self.forwarding.handle_into(now, ingress, &mut actions);
        if let Some(fast) = &mut self.outlets.fast {
            fast.follow_moves(&mut self.forwarding, now);
        }
        let dropped = self.carry_out_of(port, &mut actions, &arrived).await;
        self.outlets.inspection.count(&arrived, dropped);
        self.actions = actions;
    }

    /// What is traced takes no fast path.
    fn follow_watched(&mut self, now: Millis) {
        if let Some(fast) = &mut self.outlets.fast {
            fast.watch(self.outlets.inspection.watched(), &self.forwarding, now);
        }
    }

    /// Does what was decided, and leaves the list empty.
    async fn carry_out(&mut self, port: &Port, actions: &mut Vec<Action>) {
        self.carry_out_of(port, actions, &Arrived::default()).await;
    }

    /// The same, of a packet that came; true when it was dropped.
    async fn carry_out_of(
        &mut self,
        port: &Port,
        actions: &mut Vec<Action>,
        arrived: &Arrived,
    ) -> bool {
        let mut dropped = false;
        for action in actions.drain(..) {
            let seen = self.outlets.inspection.prepare(&action);
            self.metrics.count_action(action.name());
            let done = match action {
                Action::Drop(reason) => Err(reason.name()),
                Action::Punt(punt) => self.punt(punt),
                Action::DeliverOnLink { next_hop, packet } => {
                    self.to_link(ToLink::Deliver { next_hop, packet })
                }
                Action::SendIpv6(ref packet) | Action::SendIpv4(ref packet) => {
                    let sent = port.send(&action).await;
                    sent.inspect(|()| self.metrics.tun.sent(packet.len()))
                }
                Action::SendUdp { ref payload, .. } => {
                    let sent = port.send(&action).await;
                    sent.inspect(|()| self.metrics.udp.sent(payload.len()))
                }
            };
            if let Err(reason) = done {
                dropped = true;
                self.metrics.drops.count(reason);
            }
            let table = self.forwarding.table();
            self.outlets.inspection.done(table, arrived, seen.as_ref(), done.err());
        }
        self.forwarded = self.forwarded.wrapping_add(u64::from(!dropped));
        dropped
    }

    /// Signalling goes to a front-end; but which home agents a home link has is known here.
    fn punt(&mut self, punt: Punt) -> Result<(), &'static str> {
        if self.outlets.home_link.is_some() && self.is_discovery_on_link(&punt) {
            self.to_link(ToLink::Discover(punt))
        } else {
            self.outlets.front_ends.punt(punt)
        }
    }

    fn is_discovery_on_link(&self, punt: &Punt) -> bool {
        let Ok(walked) = walk(&punt.packet) else { return false };
        let prefix = self.forwarding.table().prefix_of(walked.header.destination);
        prefix.is_some_and(|prefix| prefix.real_home_link)
            && walked.upper == protocol::ICMPV6
            && walked.payload.first() == Some(&DISCOVERY_REQUEST)
    }

    fn to_link(&self, packet: ToLink) -> Result<(), &'static str> {
        let link = self.outlets.home_link.as_ref().ok_or(NO_HOME_LINK)?;
        link.packets.try_send(packet).map_err(|_full| "home_link_queue_full")
    }

    async fn on_returned(&mut self, port: &Port, returned: FromLink) {
        let now = self.now();
        let mut actions = match returned {
            FromLink::Undeliverable(packet) => self.forwarding.undeliverable(now, &packet),
            FromLink::Reply(Punt { outer, tunnelled, packet, .. }) => {
                self.forwarding.answer(now, &packet, outer, tunnelled)
            }
        };
        self.carry_out(port, &mut actions).await;
    }

    async fn on_feed(&mut self, port: &mut Port, event: FeedEvent) {
        match event {
            FeedEvent::Begins { after } => {
                if after.send(self.mirror.begins()).is_err() {
                    tracing::debug!("a binding feed ended before it began");
                }
            }
            FeedEvent::Lost => {
                self.metrics.feed_lost.inc();
                self.metrics.feed_connected.set(0);
            }
            FeedEvent::Message(message) => {
                self.metrics.feed_connected.set(1);
                self.metrics.feed_changes.inc_by(crate::feed::changes_in(&message));
                let now = self.now();
                let drained = message.drained;
                let applied = self.mirror.apply(&mut self.forwarding, now, *message);
                self.metrics.feed_refused.inc_by(applied.refused);
                let networks = self.tell(applied);
                self.tell_fast(applied, networks, now);
                if applied.reached {
                    self.metrics.show_heard();
                    let serves = self.outlets.headless.is_heard();
                    if self.outlets.drain.want(now.0, drained, serves) {
                        self.settle_host(port);
                    }
                    self.look_at_contact(port, Headless::heard);
                    self.metrics.show(self.mirror.revision(), self.forwarding.table());
                    self.ready.caught_up.open();
                    self.send_reached(port).await;
                }
            }
        }
    }

    /// Does what follows from hearing a store, or none.
    fn look_at_contact(
        &mut self,
        port: &mut Port,
        look: impl FnOnce(&mut Headless, u64) -> Option<Contact>,
    ) {
        let now = self.now();
        let silent_ms = self.outlets.headless.silent_ms(now.0);
        let Some(before) = look(&mut self.outlets.headless, now.0) else { return };
        let contact = self.outlets.headless.contact();
        headless::tell(before, contact, silent_ms);
        self.metrics.show_contact(contact);
        self.ready.caught_up.set(contact != Contact::Withdrawn);
        self.settle_host(port);
    }

    /// Takes off what leads packets here, or brings it back.
    fn settle_host(&mut self, port: &mut Port) {
        let now = self.now();
        let (stage, contact) = (self.outlets.drain.stage(), self.outlets.headless.contact());
        self.metrics.show_drain(stage);
        self.ready.not_drained.set(stage == Stage::Serving);
        let taken_off = TakenOff::of(stage, contact);
        let before = std::mem::replace(&mut self.taken_off, taken_off);
        let host = Host {
            port,
            routes: self.outlets.routes.as_mut(),
            home_link: self.outlets.home_link.as_ref(),
            fast: self.outlets.fast.as_mut(),
        };
        taken_off.apply(before, host, |fast| fast.come_back(&self.forwarding, now));
    }

    /// Packets that were forwarded, punted or delivered ever, whichever way they came.
    fn forwarded(&self) -> u64 {
        let fast = self.outlets.fast.as_ref().map_or(0, Fast::forwarded);
        self.forwarded.wrapping_add(fast)
    }

    /// Tells routes and home link what has changed. Routes hear of it when a revision is complete,
    /// since they answer for whole revisions.
    ///
    /// True when prefixes or networks have come or gone.
    fn tell(&mut self, applied: Applied) -> bool {
        let mut moved = false;
        self.prefixes_moved |= applied.prefixes;
        if applied.reached {
            let prefixes = std::mem::take(&mut self.prefixes_moved);
            // Taken even if nobody wants to know: the table remembers only so much.
            let changes = Changes::of(self.forwarding.table_mut(), prefixes, applied.anew);
            moved = !changes.is_empty();
            if let Some(routes) = &mut self.outlets.routes {
                routes.tell(changes, self.mirror.revision());
            }
        }
        if let Some(link) = &self.outlets.home_link {
            let mut changes = self.mirror.take_on_link();
            self.links_moved |= !changes.is_empty();
            if applied.reached && std::mem::take(&mut self.links_moved) {
                changes.revision = self.mirror.revision();
            }
            link.changes.put(changes);
        }
        moved
    }

    /// Tells the fast path, before anybody hears of the revision.
    fn tell_fast(&mut self, applied: Applied, networks: bool, now: Millis) {
        let Some(fast) = &mut self.outlets.fast else { return };
        let changed = self.mirror.take_changed();
        if applied.prefixes || applied.anew {
            fast.rebuild(&mut self.forwarding, now);
        } else {
            fast.follow(&self.forwarding, now, &changed, networks);
        }
    }

    /// Up to which revision tunnels work: the table has it, and the host leads packets here.
    fn settled(&self) -> u64 {
        let reached = self.mirror.revision();
        self.outlets.routes.as_ref().map_or(reached, |routes| routes.settled(reached))
    }

    async fn on_signalling(&mut self, port: &Port, event: SignallingEvent) {
        match event {
            SignallingEvent::Up { index, queue } => self.outlets.front_ends.up(index, queue),
            SignallingEvent::Down { index } => self.outlets.front_ends.down(index),
            SignallingEvent::Answer(message) => match Answer::try_from(message) {
                Ok(answer) => {
                    let traced = self.outlets.front_ends.answered(&answer);
                    self.on_answer(port, answer, traced).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "a front-end's answer cannot be read");
                    self.metrics.drops.count("answer_invalid");
                }
            },
        }
        self.metrics
            .front_ends
            .set(i64::try_from(self.outlets.front_ends.len()).unwrap_or(i64::MAX));
    }

    /// When the mobile node reads the answer, its tunnel shall work: so the answer waits for the
    /// table, and for the routes of networks that are new there or gone.
    async fn on_answer(&mut self, port: &Port, answer: Answer, traced: Answered) {
        if answer.revision <= self.settled() {
            return self.send_answer(port, answer, traced, "at_once").await;
        }
        let revision = answer.revision;
        let held = self.held.hold(self.clock.now_ms(), revision, (answer, traced));
        if let Err((answer, traced)) = held {
            self.send_answer(port, answer, traced, "too_many_held").await;
        }
    }

    async fn send_reached(&mut self, port: &Port) {
        let settled = self.settled();
        while let Some((answer, traced)) = self.held.reached(settled) {
            self.send_answer(port, answer, traced, "after_its_revision").await;
        }
    }

    async fn send_overdue(&mut self, port: &Port) {
        while let Some((answer, traced)) = self.held.overdue(self.clock.now_ms()) {
            let reached = answer.revision <= self.mirror.revision();
            let sent = if reached { "before_its_routes" } else { "before_its_revision" };
            self.send_answer(port, answer, traced, sent).await;
        }
    }

    async fn send_answer(
        &mut self,
        port: &Port,
        answer: Answer,
        traced: Answered,
        sent: &'static str,
    ) {
        self.metrics.count_answer(sent);
        let now = self.now();
        let Answer { packet, outer, tunnelled, .. } = answer;
        let mut actions = self.forwarding.answer(now, &packet, outer, tunnelled);
        self.carry_out(port, &mut actions).await;
        traced.sent(sent, self.mirror.revision());
    }

    fn now(&self) -> Millis {
        Millis(self.clock.now_ms())
    }
}

/// What comes back from the home link; for ever without one.
async fn returned(home_link: &mut Option<HomeLinkOutlet>) -> Option<FromLink> {
    match home_link {
        Some(link) => link.returns.recv().await,
        None => std::future::pending().await,
    }
}

/// Until routes and neighbours were looked at for the fast path; for ever without one.
async fn host_looked_at(fast: &mut Option<Fast>) {
    match fast {
        Some(fast) => fast.looked().await,
        None => std::future::pending().await,
    }
}

/// Until more routes are set; for ever when they are not ours.
async fn more_settled(routes: &mut Option<RoutesOutlet>) {
    match routes {
        Some(routes) => routes.more_settled().await,
        None => std::future::pending().await,
    }
}

/// Until a moment of the engine's clock; for ever without one.
async fn wait_ms(deadline_ms: Option<u64>, now_ms: u64) {
    match deadline_ms {
        Some(deadline_ms) => sleep(Duration::from_millis(deadline_ms.saturating_sub(now_ms))).await,
        None => std::future::pending().await,
    }
}
