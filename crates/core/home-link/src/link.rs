use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::Ipv6Addr;

use homeport_wire::{
    Icmpv6, NeighbourAdvertisement, NeighbourFlags, NeighbourOption, NeighbourOptions,
    NeighbourSolicitation, PacketBuilder, PseudoHeader, protocol, walk,
};

use crate::address::{ALL_NODES, ALL_ROUTERS, multicast_link_layer, solicited_node};
use crate::advertising::{Advertising, advertisement};
use crate::agents::HomeAgentsList;
use crate::defence::{Defence, Defended};
use crate::delivery::{Delivery, Due};
use crate::limits;
use crate::probe::Probes;
use crate::reason::DropReason;
use crate::settings::Settings;
use crate::soliciting::Soliciting;
use crate::take_over::{Next, TakeOver};

/// An Ethernet address.
pub type LinkLayerAddress = [u8; 6];

/// Names the registration that a probe belongs to.
pub type RequestId = [u8; 16];

/// Neighbour Discovery is only believed with this hop limit, which no router passes on (RFC 4861 §6.1).
const HOP_LIMIT: u8 = 255;

/// Destination Unreachable, address unreachable (RFC 4443 §3.1).
const ADDRESS_UNREACHABLE: u8 = 3;

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send this IPv6 packet on the home link.
    Frame {
        /// Link-layer destination.
        destination: LinkLayerAddress,
        /// The packet.
        packet: Vec<u8>,
    },
    /// Duplicate Address Detection has ended.
    Probed {
        /// For this home address.
        home_address: Ipv6Addr,
        /// And this registration.
        request_id: RequestId,
        /// Somebody else has the address.
        duplicate: bool,
    },
    /// Nobody answered for the next hop of this packet, which was to be delivered.
    Undeliverable(Vec<u8>),
    /// This node is the link's defender from now on.
    TakenOver {
        /// Although somebody else still answered for the home agent's address.
        answered: bool,
    },
}

/// The home agent's part on one home link.
#[derive(Debug)]
pub struct HomeLink {
    settings: Settings,
    is_defender: bool,
    take_over: Option<TakeOver>,
    soliciting: Soliciting,
    defended: Defended,
    probes: Probes,
    agents: HomeAgentsList,
    advertising: Advertising,
    delivery: Delivery,
    next_error_ms: u64,
    outputs: VecDeque<Output>,
}

impl HomeLink {
    /// Not the defender yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let mut link = Self {
            settings,
            is_defender: false,
            take_over: None,
            soliciting: Soliciting::default(),
            defended: Defended::default(),
            probes: Probes::default(),
            agents: HomeAgentsList::default(),
            advertising: Advertising::default(),
            delivery: Delivery::default(),
            next_error_ms: 0,
            outputs: VecDeque::new(),
        };
        // The cluster's own address moves with the defender, just as the home addresses do.
        let own = Defence { link_local: false, router: true };
        link.defended.insert(0, link.settings.home_agent, own);
        link
    }

    /// Changes what is advertised.
    pub fn set_settings(&mut self, now_ms: u64, settings: Settings) {
        if self.settings == settings {
            return;
        }
        if self.settings.home_agent != settings.home_agent {
            self.defended.remove(self.settings.home_agent);
            let own = Defence { link_local: false, router: true };
            self.defended.insert(now_ms, settings.home_agent, own);
        }
        self.settings = settings;
        self.advertising.hurry(now_ms, &self.settings);
    }

    /// Takes the link over, or gives it up. Only the defender answers, probes and advertises; who becomes
    /// it announces every address that it defends.
    pub fn set_defender(&mut self, now_ms: u64, is_defender: bool) {
        self.take_over = None;
        if self.is_defender == is_defender {
            return;
        }
        self.is_defender = is_defender;
        if is_defender {
            self.defended.announce_all(now_ms);
            self.advertising.start(now_ms);
        } else {
            self.probes.clear();
            self.advertising.stop();
        }
    }

    /// Takes the link over once nobody else answers for the home agent's address, at the latest when no
    /// older lease can be in force. [`Output::TakenOver`] ends it, and [`Self::set_defender`] before that.
    pub fn take_over(&mut self, now_ms: u64) {
        if self.is_defender || self.take_over.is_some() {
            return;
        }
        self.take_over = Some(TakeOver::start(now_ms));
        self.look_for(self.settings.home_agent);
        if self.agents.is_empty(now_ms) && self.soliciting.deadline_ms().is_none() {
            self.solicit_routers(now_ms);
        }
    }

    /// Asks the routers of the link who they are, for the Home Agents List (RFC 6275 §10.5.1), a few
    /// times until one has answered. Every node of the cluster that is on the link keeps that list.
    pub fn solicit_routers(&mut self, now_ms: u64) {
        self.soliciting.start(now_ms, self.settings.link_layer_address);
    }

    /// Whether this node is the link's defender.
    #[must_use]
    pub const fn is_defender(&self) -> bool {
        self.is_defender
    }

    /// Defends a home address from now on, or defends it in another way.
    pub fn defend(&mut self, now_ms: u64, home_address: Ipv6Addr, defence: Defence) {
        self.defended.insert(now_ms, home_address, defence);
    }

    /// Stops to defend a home address.
    pub fn release(&mut self, home_address: Ipv6Addr) {
        self.defended.remove(home_address);
    }

    /// Begins Duplicate Address Detection. [`Output::Probed`] ends it.
    ///
    /// # Errors
    /// When this node is not the defender or has too many under way.
    pub fn probe(
        &mut self,
        now_ms: u64,
        home_address: Ipv6Addr,
        request_id: RequestId,
        link_local: bool,
    ) -> Result<(), DropReason> {
        if !self.is_defender {
            return Err(DropReason::NotDefender);
        }
        if !self.probes.begin(now_ms, home_address, request_id, link_local)? {
            return Ok(());
        }
        let targets: Vec<_> = self
            .probes
            .get(home_address)
            .map(|probe| probe.targets(home_address).collect())
            .unwrap_or_default();
        for target in targets {
            self.look_for(target);
        }
        Ok(())
    }

    /// Asks whether anybody has an address, as who wants it itself (RFC 4862 §5.4.2).
    fn look_for(&mut self, target: Ipv6Addr) {
        let message = NeighbourSolicitation { target, options: NeighbourOptions::EMPTY };
        let message = Icmpv6::NeighbourSolicitation(message);
        self.multicast(Ipv6Addr::UNSPECIFIED, solicited_node(target), &message);
    }

    /// Gives a probe up: its registration is no longer wanted.
    pub fn cancel_probe(&mut self, home_address: Ipv6Addr) {
        self.probes.cancel(home_address);
    }

    /// Sends a packet to a node on the link; asks for its link-layer address first if need be.
    ///
    /// # Errors
    /// When too many packets wait.
    pub fn deliver(
        &mut self,
        now_ms: u64,
        next_hop: Ipv6Addr,
        link_layer_address: Option<LinkLayerAddress>,
        packet: Vec<u8>,
    ) -> Result<(), DropReason> {
        match link_layer_address.or_else(|| self.delivery.find(now_ms, next_hop)) {
            Some(destination) => self.outputs.push_back(Output::Frame { destination, packet }),
            None => self.delivery.wait(now_ms, next_hop, packet)?,
        }
        Ok(())
    }

    /// Home agents of this link, this one included, best first; among equals in an order that `seed`
    /// decides (RFC 6275 §10.5.1). With `mobile_routers` only those that serve mobile routers.
    #[must_use]
    pub fn home_agents(&self, now_ms: u64, seed: u64, mobile_routers: bool) -> Vec<Ipv6Addr> {
        let own =
            (self.settings.home_agent, self.settings.preference, self.settings.mobile_routers);
        let others = self.agents.others(now_ms, self.settings.home_agent);
        let mut list: Vec<_> = core::iter::once(own)
            .chain(others)
            .filter(|(_, _, serves)| *serves || !mobile_routers)
            .map(|(address, preference, _)| {
                let [.., high, low] = address.segments().map(u64::from);
                let spread = mixed(seed ^ mixed(high << 16 | low));
                (core::cmp::Reverse(preference), spread, address)
            })
            .collect();
        list.sort_unstable();
        list.dedup_by_key(|(_, _, address)| *address);
        list.truncate(homeport_wire::limits::DISCOVERY_ADDRESSES_MAX);
        list.into_iter().map(|(_, _, address)| address).collect()
    }

    /// How many addresses this node answers for now.
    #[must_use]
    pub fn defended(&self) -> usize {
        if self.is_defender { self.defended.len() } else { 0 }
    }

    /// Takes a packet that came from the home link.
    ///
    /// # Errors
    /// Why it changed nothing and gets no answer.
    pub fn receive(
        &mut self,
        now_ms: u64,
        source: LinkLayerAddress,
        packet: &[u8],
    ) -> Result<(), DropReason> {
        let walked = walk(packet)?;
        let (from, to) = (walked.header.source, walked.header.destination);
        if walked.upper != protocol::ICMPV6 {
            // Who speaks has the address that it speaks from: an answer finds it by that.
            self.heard(now_ms, from, source);
            return self.refuse_link_local(now_ms, source, from, to, packet);
        }
        let pseudo = PseudoHeader::icmpv6(walked.pseudo_source(), walked.pseudo_destination());
        let message = Icmpv6::parse(walked.payload, pseudo)?;
        let is_discovery = matches!(
            message,
            Icmpv6::RouterSolicitation(_)
                | Icmpv6::RouterAdvertisement(_)
                | Icmpv6::NeighbourSolicitation(_)
                | Icmpv6::NeighbourAdvertisement(_)
        );
        if is_discovery && walked.header.hop_limit != HOP_LIMIT {
            return Err(DropReason::HopLimit);
        }
        match message {
            Icmpv6::RouterAdvertisement(message) => {
                if !from.is_unicast_link_local() {
                    return Err(DropReason::Invalid);
                }
                self.soliciting.heard();
                self.agents.learn(now_ms, from, &message)
            }
            Icmpv6::RouterSolicitation(_) if !self.is_defender => Err(DropReason::NotDefender),
            Icmpv6::RouterSolicitation(_) => {
                self.advertising.hurry(now_ms, &self.settings);
                Ok(())
            }
            Icmpv6::NeighbourAdvertisement(message) => {
                self.advertised(now_ms, to, source, &message)
            }
            Icmpv6::NeighbourSolicitation(message) => {
                self.solicited(now_ms, source, from, to, &message)
            }
            // An error is never answered by an error (RFC 4443 §2.4 (e)).
            Icmpv6::DestinationUnreachable { .. }
            | Icmpv6::PacketTooBig { .. }
            | Icmpv6::TimeExceeded { .. }
            | Icmpv6::ParameterProblem { .. } => Err(DropReason::NotConcerned),
            _ => self.refuse_link_local(now_ms, source, from, to, packet),
        }
    }

    /// What is to be done now; call until it is `None`.
    pub fn poll(&mut self, now_ms: u64) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        for (home_address, probe) in self.probes.passed(now_ms) {
            let request_id = probe.request_id;
            self.outputs.push_back(Output::Probed { home_address, request_id, duplicate: false });
        }
        self.go_on_taking_over(now_ms);
        if self.soliciting.is_due(now_ms) {
            let own = self.settings.link_layer_address;
            let options = NeighbourOptions::of(&[NeighbourOption::SourceLinkLayer(&own)]);
            let message = Icmpv6::RouterSolicitation(options);
            self.multicast(self.settings.link_local, ALL_ROUTERS, &message);
        }
        if self.is_defender {
            if let Some((target, router)) = self.defended.next_announcement(now_ms) {
                self.advertise(target, router, None, NeighbourFlags::OVERRIDE);
            }
            if self.advertising.is_due(now_ms, &self.settings) {
                let message = Icmpv6::RouterAdvertisement(advertisement(&self.settings, true));
                self.multicast(self.settings.link_local, ALL_NODES, &message);
            }
        }
        match self.delivery.next_due(now_ms) {
            Some(Due::Solicit(address)) => self.solicit(address),
            Some(Due::GiveUp(lost)) => {
                self.outputs.extend(lost.into_iter().map(Output::Undeliverable));
            }
            None => {}
        }
        self.outputs.pop_front()
    }

    /// When [`Self::poll`] has something to do at the latest.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<u64> {
        if !self.outputs.is_empty() {
            return Some(0);
        }
        let as_defender = [self.defended.deadline_ms(), self.advertising.deadline_ms()];
        let as_defender = as_defender.into_iter().flatten().filter(|_| self.is_defender);
        let always = [
            self.probes.deadline_ms(),
            self.delivery.deadline_ms(),
            self.soliciting.deadline_ms(),
            self.take_over.as_ref().map(TakeOver::deadline_ms),
        ];
        as_defender.chain(always.into_iter().flatten()).min()
    }

    fn go_on_taking_over(&mut self, now_ms: u64) {
        let Some(take_over) = &mut self.take_over else { return };
        let answered = take_over.is_answered();
        match take_over.next(now_ms) {
            Next::Listen => {}
            Next::Ask => self.look_for(self.settings.home_agent),
            Next::Begin => {
                self.set_defender(now_ms, true);
                self.outputs.push_back(Output::TakenOver { answered });
            }
        }
    }

    /// RFC 4861 §7.1.2, RFC 4862 §5.4.4.
    fn advertised(
        &mut self,
        now_ms: u64,
        to: Ipv6Addr,
        source: LinkLayerAddress,
        message: &NeighbourAdvertisement<'_>,
    ) -> Result<(), DropReason> {
        let solicited = message.flags.contains(NeighbourFlags::SOLICITED);
        if message.target.is_multicast() || (solicited && to.is_multicast()) {
            return Err(DropReason::Invalid);
        }
        let told = message.options.iter().find_map(|option| match option {
            NeighbourOption::TargetLinkLayer(address) => LinkLayerAddress::try_from(address).ok(),
            _ => None,
        });
        self.heard(now_ms, message.target, told.unwrap_or(source));
        if message.target == self.settings.home_agent
            && let Some(take_over) = &mut self.take_over
        {
            take_over.answered();
        }
        self.objected(message.target);
        Ok(())
    }

    /// RFC 4861 §7.1.1, §7.2.3, §7.2.4, §7.2.8; RFC 4862 §5.4.3.
    fn solicited(
        &mut self,
        now_ms: u64,
        source: LinkLayerAddress,
        from: Ipv6Addr,
        to: Ipv6Addr,
        message: &NeighbourSolicitation<'_>,
    ) -> Result<(), DropReason> {
        let target = message.target;
        let told = message.options.iter().find_map(|option| match option {
            NeighbourOption::SourceLinkLayer(address) => Some(LinkLayerAddress::try_from(address)),
            _ => None,
        });
        let probes = from.is_unspecified();
        if target.is_multicast()
            || matches!(told, Some(Err(_)))
            || (probes && (told.is_some() || to != solicited_node(target)))
        {
            return Err(DropReason::Invalid);
        }
        if probes {
            self.objected(target);
        }
        if !self.is_defender {
            return Err(DropReason::NotDefender);
        }
        // Told as an anycast address is, without the O flag, and to nobody who does not ask (RFC 4861
        // §7.2.7): other home agents of the link have it too.
        let is_anycast = Some(target) == self.settings.anycast && !probes;
        let router = self.defended.answers_for(target).or(is_anycast.then_some(true));
        let router = router.ok_or(DropReason::NotConcerned)?;
        if probes {
            self.advertise(target, router, None, NeighbourFlags::default());
            return Ok(());
        }
        let asker = told.and_then(Result::ok).unwrap_or(source);
        self.heard(now_ms, from, asker);
        // A proxy leaves what its neighbours already know alone (RFC 4861 §7.2.8); the cluster's own
        // address is nobody else's.
        let is_own = target == self.settings.home_agent;
        let flags = if is_own { NeighbourFlags::OVERRIDE } else { NeighbourFlags::default() };
        let flags = flags.with(NeighbourFlags::SOLICITED);
        self.advertise(target, router, Some((from, asker)), flags);
        Ok(())
    }

    /// Somebody else has `target`, or is about to take it.
    fn objected(&mut self, target: Ipv6Addr) {
        for (home_address, probe) in self.probes.objected(target) {
            let request_id = probe.request_id;
            self.outputs.push_back(Output::Probed { home_address, request_id, duplicate: true });
        }
    }

    fn heard(&mut self, now_ms: u64, address: Ipv6Addr, link_layer_address: LinkLayerAddress) {
        if !homeport_wire::is_unicast_v6(address) {
            return;
        }
        for packet in self.delivery.learn(now_ms, address, link_layer_address) {
            let destination = link_layer_address;
            self.outputs.push_back(Output::Frame { destination, packet });
        }
    }

    /// A packet for the link-local address of a mobile node that is away is refused, never tunnelled
    /// (RFC 6275 §10.4.2). Only the defender gets such packets.
    fn refuse_link_local(
        &mut self,
        now_ms: u64,
        source: LinkLayerAddress,
        from: Ipv6Addr,
        to: Ipv6Addr,
        packet: &[u8],
    ) -> Result<(), DropReason> {
        let is_ours = to.is_unicast_link_local() && self.defended.answers_for(to).is_some();
        if !is_ours || !homeport_wire::is_unicast_v6(from) {
            return Err(DropReason::NotConcerned);
        }
        if !self.is_defender {
            return Err(DropReason::NotDefender);
        }
        if now_ms < self.next_error_ms {
            return Err(DropReason::ErrorRateLimited);
        }
        self.next_error_ms = now_ms.saturating_add(limits::ERROR_INTERVAL_MS);
        let message =
            Icmpv6::DestinationUnreachable { code: ADDRESS_UNREACHABLE, invoking: packet };
        let octets = message.emit(self.settings.link_local, from);
        let packet =
            PacketBuilder::new(self.settings.link_local, from).build(protocol::ICMPV6, &octets);
        self.outputs.push_back(Output::Frame { destination: source, packet });
        Ok(())
    }

    /// A Neighbour Advertisement for an address that is answered for: to who asked, or to all nodes.
    fn advertise(
        &mut self,
        target: Ipv6Addr,
        router: bool,
        asker: Option<(Ipv6Addr, LinkLayerAddress)>,
        flags: NeighbourFlags,
    ) {
        let own = self.settings.link_layer_address;
        let message = Icmpv6::NeighbourAdvertisement(NeighbourAdvertisement {
            flags: if router { flags.with(NeighbourFlags::ROUTER) } else { flags },
            target,
            options: NeighbourOptions::of(&[NeighbourOption::TargetLinkLayer(&own)]),
        });
        let is_local = target.is_unicast_link_local();
        let from = if is_local { self.settings.link_local } else { self.settings.home_agent };
        match asker {
            Some((to, destination)) => {
                let packet = packet(from, to, &message);
                self.outputs.push_back(Output::Frame { destination, packet });
            }
            None => self.multicast(from, ALL_NODES, &message),
        }
    }

    fn solicit(&mut self, target: Ipv6Addr) {
        let own = self.settings.link_layer_address;
        let message = Icmpv6::NeighbourSolicitation(NeighbourSolicitation {
            target,
            options: NeighbourOptions::of(&[NeighbourOption::SourceLinkLayer(&own)]),
        });
        self.multicast(self.settings.link_local, solicited_node(target), &message);
    }

    fn multicast(&mut self, from: Ipv6Addr, group: Ipv6Addr, message: &Icmpv6<'_>) {
        let packet = packet(from, group, message);
        let destination = multicast_link_layer(group);
        self.outputs.push_back(Output::Frame { destination, packet });
    }
}

fn packet(from: Ipv6Addr, to: Ipv6Addr, message: &Icmpv6<'_>) -> Vec<u8> {
    let octets = message.emit(from, to);
    PacketBuilder::new(from, to).hop_limit(HOP_LIMIT).build(protocol::ICMPV6, &octets)
}

/// Spreads the bits of `value` over all of the result (the finisher of SplitMix64).
const fn mixed(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
