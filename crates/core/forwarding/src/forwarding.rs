//! The entry: from a packet as it arrived to the part that decides about it.

use alloc::vec::Vec;
use homeport_wire::{MOBILITY_UDP_PORT, is_unicast_routable_v6};

use crate::action::{Action, Ingress, UdpOuter};
use crate::ecn::EcnMode;
use crate::entry::Millis;
use crate::limits::{CARE_OF_ANSWERS_OVERALL, CARE_OF_ANSWERS_PER_HOME, REFRESH_REQUESTS_MAX};
use crate::packet::Packet;
use crate::path_mtu::PathMtus;
use crate::rate::{NetworkLimit, Rate, SignallingLimit};
use crate::reason::DropReason;
use crate::reassembly::Reassembly;
use crate::selector::FragmentFlows;
use crate::spread::Spread;
use crate::table::Table;

/// What an operator can set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Path MTU towards care-of addresses until a path says less.
    pub path_mtu: u16,
    /// Hop limit of outer headers (RFC 2473 §6.3).
    pub hop_limit: u8,
    /// How many tunnels more a packet may enter (RFC 2473 §6.6); absent: only what a packet says
    /// itself counts.
    pub encapsulation_limit: Option<u8>,
    /// ECN of outer headers.
    pub ecn: EcnMode,
    /// The home agent's UDP port (RFC 5555 §4.1: 4191).
    pub udp_port: u16,
    /// Among bindings of equal priority take the one that carried data last (RFC 5648 §3). Without,
    /// only signalling counts, and all forwarders at one revision choose the same.
    pub last_used_breaks_ties: bool,
    /// Spread flows over the bindings of the best priority, instead of taking one for all. Which data
    /// came last by does not count then.
    pub spread: Option<Spread>,
    /// Requests for a refresh of one binding in one lifetime (RFC 6275 §9.5.5); 0: none are sent.
    pub refresh_requests_max: u8,
    /// Errors to one /64 network, for IPv4 one /24 network.
    pub errors_per_network: Rate,
    /// Errors to all together.
    pub errors_overall: Rate,
    /// Signalling that is handed on from a care-of address which is bound to its home address.
    pub signalling_per_home: Rate,
    /// Other signalling that is handed on from one /64 network, for IPv4 one /24 network.
    pub signalling_per_network: Rate,
    /// Of all of these together.
    pub signalling_overall: Rate,
    /// Any value that nobody else knows; identifications of fragments depend on it (RFC 7739), and which networks
    /// share a limit.
    pub fragment_seed: u64,
    /// Remember for [`Forwarding::take_moved`]; whoever sets it asks after each packet.
    pub follow_moves: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            path_mtu: 1500,
            hop_limit: 64,
            encapsulation_limit: None,
            ecn: EcnMode::Normal,
            udp_port: MOBILITY_UDP_PORT,
            last_used_breaks_ties: true,
            spread: None,
            refresh_requests_max: REFRESH_REQUESTS_MAX,
            errors_per_network: Rate { per_sec: 10, burst: 50 },
            errors_overall: Rate { per_sec: 1000, burst: 1000 },
            signalling_per_home: Rate { per_sec: 200, burst: 400 },
            signalling_per_network: Rate { per_sec: 500, burst: 1000 },
            signalling_overall: Rate { per_sec: 5000, burst: 5000 },
            fragment_seed: 0,
            follow_moves: false,
        }
    }
}

/// How a packet came to where it is looked at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Via {
    /// Routed here as it is.
    Link,
    /// Out of a tunnel from a bound care-of address, which was not UDP.
    Tunnel {
        /// Tunnels that were opened: more than one for a node behind a mobile router.
        depth: u8,
    },
    /// Out of a datagram.
    Udp(UdpOuter),
}

/// The forwarding decisions over one table.
#[derive(Debug)]
pub struct Forwarding {
    pub(crate) config: Config,
    pub(crate) table: Table,
    pub(crate) errors: NetworkLimit,
    pub(crate) signalling: SignallingLimit,
    /// On answers to tests of care-of addresses.
    pub(crate) care_of_answers: NetworkLimit,
    pub(crate) path_mtus: PathMtus,
    pub(crate) fragment_flows: FragmentFlows,
    pub(crate) reassembly: Reassembly,
    /// Outer packets with an identification so far.
    pub(crate) fragmented: u64,
    /// See [`Forwarding::take_moved`].
    pub(crate) moved: Vec<core::net::Ipv6Addr>,
    pub(crate) moved_overflow: bool,
}

impl Forwarding {
    /// With an empty table.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            table: Table::new(),
            errors: NetworkLimit::new(
                config.errors_per_network,
                config.errors_overall,
                config.fragment_seed,
            ),
            signalling: SignallingLimit::new(
                config.signalling_per_home,
                config.signalling_per_network,
                config.signalling_overall,
                config.fragment_seed,
            ),
            care_of_answers: NetworkLimit::new(
                CARE_OF_ANSWERS_PER_HOME,
                CARE_OF_ANSWERS_OVERALL,
                config.fragment_seed,
            ),
            path_mtus: PathMtus::default(),
            fragment_flows: FragmentFlows::default(),
            reassembly: Reassembly::default(),
            fragmented: 0,
            moved: Vec::new(),
            moved_overflow: false,
        }
    }

    /// The table.
    #[must_use]
    pub const fn table(&self) -> &Table {
        &self.table
    }

    /// The table, to change it.
    pub const fn table_mut(&mut self) -> &mut Table {
        &mut self.table
    }

    /// Puts another table in place, as after a snapshot. Which binding carried data last is kept
    /// for home addresses that are in both.
    pub fn replace_table(&mut self, mut table: Table) {
        table.inherit_use(&self.table);
        self.table = table;
    }

    /// What is to be done about a packet.
    #[must_use]
    pub fn handle(&mut self, now: Millis, ingress: Ingress<'_>) -> Vec<Action> {
        let mut out = Vec::with_capacity(2);
        self.handle_into(now, ingress, &mut out);
        out
    }

    /// The same, appending to a list that the caller keeps.
    pub fn handle_into(&mut self, now: Millis, ingress: Ingress<'_>, out: &mut Vec<Action>) {
        match ingress {
            Ingress::Ip(octets) if octets.first().is_some_and(|first| first >> 4 == 4) => {
                self.ipv4(now, octets, out);
            }
            Ingress::Ip(octets) => self.ipv6(now, octets, out),
            Ingress::Udp { peer, local, payload } => {
                self.datagram(now, UdpOuter { peer, local }, 0, payload, out);
            }
        }
    }

    fn ipv6(&mut self, now: Millis, octets: &[u8], out: &mut Vec<Action>) {
        let packet = match Packet::parse(octets) {
            Ok(packet) => packet,
            Err(malformed) => return out.push(Action::Drop(malformed.into())),
        };
        let source = packet.header.source;
        if !is_unicast_routable_v6(source) {
            return out.push(Action::Drop(DropReason::UnroutableSource));
        }
        if self.table.is_home_agent(source) {
            return out.push(Action::Drop(DropReason::OwnSource));
        }
        self.route(now, packet, Via::Link, out);
    }

    /// Sends a packet where its destination says, whether it was routed here or came out of a
    /// tunnel.
    pub(crate) fn route(
        &mut self,
        now: Millis,
        packet: Packet<'_>,
        via: Via,
        out: &mut Vec<Action>,
    ) {
        let destination = packet.header.destination;
        if destination.is_multicast() {
            // RFC 6275 §10.4.2: groups beyond the link would need tunnelled MLD, which is not
            // spoken.
            return out.push(Action::Drop(DropReason::MulticastDestination));
        }
        if let Some(agent) = self.table.home_agent_meant(destination) {
            return self.local(now, agent, packet, via, out);
        }
        if destination.is_unicast_link_local() {
            return self.refuse_link_local(now, packet, out);
        }
        if !is_unicast_routable_v6(destination) {
            return out.push(Action::Drop(DropReason::UnroutableDestination));
        }
        if self.serves(destination) {
            if packet.is_neighbour_discovery() {
                return out.push(Action::Drop(DropReason::NeighbourDiscovery));
            }
            return self.intercept(now, packet, out);
        }
        match via {
            Via::Link => out.push(Action::Drop(DropReason::NotServed)),
            Via::Tunnel { .. } | Via::Udp(_) => self.onward(now, packet, out),
        }
    }

    /// True for addresses that are intercepted: a home address, an address of a mobile network, or
    /// any address of a home prefix.
    pub(crate) fn serves(&self, address: core::net::Ipv6Addr) -> bool {
        self.table.owner(address).is_some() || self.table.prefix_of(address).is_some()
    }
}
