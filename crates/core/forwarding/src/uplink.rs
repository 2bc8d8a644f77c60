//! Out of a tunnel: only what a bound care-of address sends (RFC 6275 §10.4.5, RFC 3963 §6.5,
//! RFC 5555 §4.1).

use alloc::vec::Vec;
use core::net::Ipv6Addr;

use homeport_wire::{Walk, is_unicast_routable_v4, protocol, walk};

use crate::action::{Action, UdpOuter};
use crate::answer::ErrorMessage;
use crate::ecn;
use crate::entry::{CareOf, Millis};
use crate::forwarding::{Forwarding, Via};
use crate::limits::TUNNELS_NESTED_MAX;
use crate::packet::{Packet, PacketV4};
use crate::reason::DropReason;

impl Forwarding {
    /// IPv6 or IPv4 in IPv6 that ends at the home agent (RFC 2473 §3.3). What does not belong to a binding is
    /// dropped without an answer: RFC 6275 has no message for it, and anyone can send it.
    ///
    /// A tunnel in a tunnel is that of a visitor in a mobile network whose home agent is this one
    /// too: its care-of address is an address of the network.
    pub(crate) fn decapsulate(
        &mut self,
        now: Millis,
        tunnelled: &Walk<'_>,
        via: Via,
        out: &mut Vec<Action>,
    ) {
        let depth = match via {
            Via::Link => 0,
            Via::Tunnel { depth } => depth,
            Via::Udp(_) => 1,
        };
        if depth >= TUNNELS_NESTED_MAX {
            return out.push(Action::Drop(DropReason::NestedTunnel));
        }
        let via = Via::Tunnel { depth: depth.saturating_add(1) };
        let care_of = [CareOf::V6(tunnelled.header.source)];
        let class = tunnelled.header.traffic_class;
        if tunnelled.upper == protocol::IPV4 {
            return self.accept_v4(now, tunnelled.payload, &care_of, class, via, out);
        }
        match Packet::parse(tunnelled.payload) {
            Ok(inner) => self.accept(now, inner, &care_of, class, via, out),
            Err(malformed) => out.push(Action::Drop(malformed.into())),
        }
    }

    /// The payload of a datagram to the home agent's port.
    pub(crate) fn datagram(
        &mut self,
        now: Millis,
        outer: UdpOuter,
        outer_dscp_ecn: u8,
        payload: &[u8],
        out: &mut Vec<Action>,
    ) {
        /// RFC 3948 §2.3: the payload of a keepalive that is not empty.
        const KEEPALIVE: u8 = 0xff;
        // RFC 5555 §4.1: the IP version of the inner packet, or zero for a TLV header (RFC 5845).
        let reason = match payload {
            [] | [KEEPALIVE] => DropReason::Keepalive,
            [first, ..] if first >> 4 == 6 => {
                return self.datagram_v6(now, outer, outer_dscp_ecn, payload, out);
            }
            [first, ..] if first >> 4 == 4 => {
                let care_of = ends_in_udp(outer);
                let via = Via::Udp(outer);
                return self.accept_v4(now, payload, &care_of, outer_dscp_ecn, via, out);
            }
            [first, ..] if first >> 4 == 0 => DropReason::TlvHeader,
            _ => DropReason::UnknownUdpPayload,
        };
        out.push(Action::Drop(reason));
    }

    fn datagram_v6(
        &mut self,
        now: Millis,
        outer: UdpOuter,
        outer_dscp_ecn: u8,
        payload: &[u8],
        out: &mut Vec<Action>,
    ) {
        let inner = match Packet::parse(payload) {
            Ok(inner) => inner,
            Err(malformed) => return out.push(Action::Drop(malformed.into())),
        };
        if let Some(walk) = self.signalling(inner) {
            // The first registration comes from an address that is bound to nothing yet.
            return self.punt(now, inner, &walk, Via::Udp(outer), out);
        }
        let care_of = ends_in_udp(outer);
        self.accept(now, inner, &care_of, outer_dscp_ecn, Via::Udp(outer), out);
    }

    /// What protects itself, a Mobility Header or ESP for a home agent; `None` for all else.
    fn signalling<'p>(&self, inner: Packet<'p>) -> Option<Walk<'p>> {
        self.table.home_agent_meant(inner.header.destination)?;
        let walk = walk(inner.octets).ok()?;
        matches!(walk.upper, protocol::MOBILITY | protocol::ESP).then_some(walk)
    }

    /// Takes an inner packet if its outer source is bound to the owner of its source, and sends it
    /// on its way. `care_of` are the care-of addresses that the outer source can be.
    pub(crate) fn accept(
        &mut self,
        now: Millis,
        mut inner: Packet<'_>,
        care_of: &[CareOf],
        outer_traffic_class: u8,
        via: Via,
        out: &mut Vec<Action>,
    ) {
        let Some((home_address, index, is_noted)) = self.sender(now, inner.header.source, care_of)
        else {
            return out.push(Action::Drop(DropReason::TunnelSourceNotBound));
        };
        let Some(class) = ecn::decapsulated(outer_traffic_class, inner.header.traffic_class) else {
            return out.push(Action::Drop(DropReason::CongestionMarkLost));
        };
        if self.table.owner(inner.header.destination) == Some(home_address) {
            return out.push(Action::Drop(DropReason::TunnelLoop));
        }
        inner.header.traffic_class = class;
        self.route(now, inner, via, out);
        if !is_noted {
            self.carried(now, home_address, index, out);
        }
    }

    /// The same for an IPv4 packet from an IPv4 home address.
    pub(crate) fn accept_v4(
        &mut self,
        now: Millis,
        inner: &[u8],
        care_of: &[CareOf],
        outer_traffic_class: u8,
        via: Via,
        out: &mut Vec<Action>,
    ) {
        let mut inner = match PacketV4::parse(inner) {
            Ok(inner) => inner,
            Err(malformed) => return out.push(Action::Drop(malformed.into())),
        };
        let owners = self.table.owners_v4(inner.header.source);
        let bound = self.bound_owner(now, owners, care_of);
        let bound = bound.filter(|_| is_unicast_routable_v4(inner.header.source));
        let Some((home_address, index)) = bound else {
            return out.push(Action::Drop(DropReason::TunnelSourceNotBound));
        };
        let is_noted = self.note_use(now, home_address, index);
        let Some(class) = ecn::decapsulated(outer_traffic_class, inner.header.dscp_ecn) else {
            return out.push(Action::Drop(DropReason::CongestionMarkLost));
        };
        if self.table.owner_v4(inner.header.destination) == Some(home_address) {
            return out.push(Action::Drop(DropReason::TunnelLoop));
        }
        inner.header.dscp_ecn = class;
        self.route_v4(now, inner, via, out);
        if !is_noted {
            self.carried(now, home_address, index, out);
        }
    }

    /// The owner of an inner source that has one of the care-of addresses bound, the binding's place,
    /// and whether that it carries data is noted already. Notes its use.
    fn sender(
        &mut self,
        now: Millis,
        source: Ipv6Addr,
        care_of: &[CareOf],
    ) -> Option<(Ipv6Addr, usize, bool)> {
        // Most are home addresses: one look at the table.
        if let Some(home) = self.table.home_mut(source) {
            let index = care_of.iter().find_map(|care_of| home.bound(now, *care_of))?;
            let moved = home.used(index) && home.tie(now).is_some();
            let is_noted = home.is_noted(now, index);
            if moved && self.config.last_used_breaks_ties {
                self.moved(source);
            }
            return Some((source, index, is_noted));
        }
        let owners = self.table.network_owners(source);
        let (home_address, index) = self.bound_owner(now, owners, care_of)?;
        Some((home_address, index, self.note_use(now, home_address, index)))
    }

    /// The owner that has one of the care-of addresses bound, and the binding's place.
    fn bound_owner(
        &self,
        now: Millis,
        mut owners: impl Iterator<Item = Ipv6Addr>,
        care_of: &[CareOf],
    ) -> Option<(Ipv6Addr, usize)> {
        owners.find_map(|owner| {
            let home = self.table.home(owner)?;
            let index = care_of.iter().find_map(|care_of| home.bound(now, *care_of))?;
            Some((owner, index))
        })
    }

    /// Notes through which binding data came last; says whether that it carries data is noted too.
    fn note_use(&mut self, now: Millis, home_address: Ipv6Addr, index: usize) -> bool {
        let Some(home) = self.table.home_mut(home_address) else { return false };
        let moved = home.used(index) && home.tie(now).is_some();
        let is_noted = home.is_noted(now, index);
        if moved && self.config.last_used_breaks_ties {
            self.moved(home_address);
        }
        is_noted
    }

    /// A packet out of a tunnel for somebody who is not served here.
    pub(crate) fn onward(&mut self, now: Millis, packet: Packet<'_>, out: &mut Vec<Action>) {
        if packet.header.hop_limit > 1 {
            return out.push(Action::SendIpv6(packet.forwarded()));
        }
        let reason = DropReason::HopLimitExceeded;
        match self.agent_of(packet.header.source) {
            Some(agent) => {
                self.refuse(now, agent, packet, reason, ErrorMessage::TimeExceeded, out);
            }
            None => out.push(Action::Drop(reason)),
        }
    }
}

/// What a datagram's sender can be bound as. Without a translator on the way a mobile node may use
/// UDP as it likes.
pub(crate) fn ends_in_udp(outer: UdpOuter) -> [CareOf; 2] {
    let address = *outer.peer.ip();
    [CareOf::V4 { address, port: outer.peer.port() }, CareOf::V4Direct(address)]
}
