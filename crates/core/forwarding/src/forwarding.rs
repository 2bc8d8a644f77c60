//! The entry: from a packet as it arrived to the part that decides about it.

use alloc::vec::Vec;
use core::net::SocketAddrV4;

use homeport_wire::{
    Ipv4Header, Ipv6Header, MOBILITY_UDP_PORT, Malformed, UdpHeader, is_unicast_routable_v6,
    protocol,
};

use crate::action::{Action, Ingress, UdpOuter};
use crate::path_mtu::PathMtus;
use crate::rate::{ErrorLimit, Rate};
use crate::reason::DropReason;
use crate::table::{Millis, Table};

/// What an operator can set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Path MTU towards care-of addresses until a path says less.
    pub path_mtu: u16,
    /// Hop limit of outer headers (RFC 2473 §6.3).
    pub hop_limit: u8,
    /// The home agent's UDP port (RFC 5555 §4.1: 4191).
    pub udp_port: u16,
    /// Among bindings of equal priority take the one that carried data last (RFC 5648 §3). Without,
    /// only signalling counts, and all forwarders at one revision choose the same.
    pub last_used_breaks_ties: bool,
    /// Errors to one /64 network.
    pub errors_per_network: Rate,
    /// Errors to all together.
    pub errors_overall: Rate,
    /// Any value; identifications of fragments depend on it (RFC 7739).
    pub fragment_seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            path_mtu: 1500,
            hop_limit: 64,
            udp_port: MOBILITY_UDP_PORT,
            last_used_breaks_ties: true,
            errors_per_network: Rate { per_sec: 10, burst: 50 },
            errors_overall: Rate { per_sec: 1000, burst: 1000 },
            fragment_seed: 0,
        }
    }
}

/// How a packet came to where it is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Via {
    /// Routed here as it is.
    Link,
    /// Out of an IPv6 tunnel from a bound care-of address.
    Tunnel,
    /// Out of a datagram.
    Udp(UdpOuter),
}

/// A packet whose header was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Packet<'p> {
    /// From the header on, without what follows the Payload Length.
    pub(crate) octets: &'p [u8],
    pub(crate) header: Ipv6Header,
    pub(crate) payload: &'p [u8],
}

impl<'p> Packet<'p> {
    pub(crate) fn parse(octets: &'p [u8]) -> Result<Self, Malformed> {
        let (header, payload) = Ipv6Header::parse(octets)?;
        let len = Ipv6Header::LEN.saturating_add(payload.len());
        let octets = octets.get(..len).unwrap_or(octets);
        Ok(Self { octets, header, payload })
    }

    /// The packet as the next hop gets it: hop limit one less, traffic class as `header` now says.
    pub(crate) fn forwarded(&self) -> Vec<u8> {
        let mut octets = Vec::with_capacity(self.octets.len());
        self.forwarded_header().emit(&mut octets);
        octets.extend_from_slice(self.payload);
        octets
    }

    pub(crate) const fn forwarded_header(&self) -> Ipv6Header {
        Ipv6Header { hop_limit: self.header.hop_limit.saturating_sub(1), ..self.header }
    }
}

/// The forwarding decisions over one table.
#[derive(Debug)]
pub struct Forwarding {
    pub(crate) config: Config,
    pub(crate) table: Table,
    pub(crate) errors: ErrorLimit,
    pub(crate) path_mtus: PathMtus,
    /// Packets fragmented so far.
    pub(crate) fragmented: u64,
}

impl Forwarding {
    /// With an empty table.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            table: Table::new(),
            errors: ErrorLimit::new(config.errors_per_network, config.errors_overall),
            path_mtus: PathMtus::default(),
            fragmented: 0,
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

    /// The envelope of RFC 5555 §4.1 as the network delivers it.
    fn ipv4(&mut self, now: Millis, octets: &[u8], out: &mut Vec<Action>) {
        match self.opened(octets) {
            Ok((outer, dscp_ecn, payload)) => self.datagram(now, outer, dscp_ecn, payload, out),
            Err(reason) => out.push(Action::Drop(reason)),
        }
    }

    fn opened<'p>(&self, octets: &'p [u8]) -> Result<(UdpOuter, u8, &'p [u8]), DropReason> {
        let (ip, datagram) = Ipv4Header::parse(octets)?;
        if !self.table.is_home_agent_v4(ip.destination) {
            return Err(DropReason::Ipv4NotServed);
        }
        if ip.is_fragment() {
            return Err(DropReason::Ipv4Fragment);
        }
        if ip.protocol != protocol::UDP {
            return Err(DropReason::Ipv4Protocol);
        }
        let (udp, payload) = UdpHeader::parse_v4(datagram, ip.source, ip.destination)?;
        if udp.destination_port != self.config.udp_port {
            return Err(DropReason::UdpPort);
        }
        let peer = SocketAddrV4::new(ip.source, udp.source_port);
        let local = SocketAddrV4::new(ip.destination, udp.destination_port);
        Ok((UdpOuter { peer, local }, ip.dscp_ecn, payload))
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
            return self.intercept(now, packet, out);
        }
        match via {
            Via::Link => out.push(Action::Drop(DropReason::NotServed)),
            Via::Tunnel | Via::Udp(_) => self.onward(now, packet, out),
        }
    }

    /// True for addresses that are intercepted: a home address, or any address of a home prefix.
    pub(crate) fn serves(&self, address: core::net::Ipv6Addr) -> bool {
        self.table.home(address).is_some() || self.table.prefix_of(address).is_some()
    }
}
