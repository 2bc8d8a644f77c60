//! Out of a tunnel: only what a bound care-of address sends (RFC 6275 §10.4.5, RFC 5555 §4.1).

use alloc::vec::Vec;
use core::net::Ipv6Addr;

use homeport_wire::{Walk, protocol, walk};

use crate::action::{Action, Punt, UdpOuter};
use crate::answer::ErrorMessage;
use crate::ecn;
use crate::forwarding::{Forwarding, Packet, Via};
use crate::reason::DropReason;
use crate::table::{CareOf, Millis};

impl Forwarding {
    /// IPv6-in-IPv6 that ends at the home agent. What does not belong to a binding is dropped
    /// without an answer: RFC 6275 has no message for it, and anyone can send it.
    pub(crate) fn decapsulate(
        &mut self,
        now: Millis,
        tunnelled: &Walk<'_>,
        via: Via,
        out: &mut Vec<Action>,
    ) {
        if via != Via::Link {
            // A care-of address is nobody's home address, so no binding can belong to this.
            return out.push(Action::Drop(DropReason::NestedTunnel));
        }
        match Packet::parse(tunnelled.payload) {
            Ok(inner) => {
                let care_of = CareOf::V6(tunnelled.header.source);
                self.accept(now, inner, care_of, tunnelled.header.traffic_class, Via::Tunnel, out);
            }
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
            [first, ..] if first >> 4 == 4 => DropReason::Ipv4InUdp,
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
        if let Some(sender) = self.signalling_sender(inner) {
            // The first registration comes from an address that is bound to nothing yet.
            return out.push(Action::Punt(Punt {
                outer: Some(outer),
                tunnelled: false,
                sender,
                packet: inner.octets.to_vec(),
            }));
        }
        let care_of = CareOf::V4 { address: *outer.peer.ip(), port: outer.peer.port() };
        self.accept(now, inner, care_of, outer_dscp_ecn, Via::Udp(outer), out);
    }

    /// Who sent what protects itself, a Mobility Header or ESP for a home agent; `None` for all
    /// else.
    fn signalling_sender(&self, inner: Packet<'_>) -> Option<Ipv6Addr> {
        self.table.home_agent_meant(inner.header.destination)?;
        let walk = walk(inner.octets).ok()?;
        matches!(walk.upper, protocol::MOBILITY | protocol::ESP).then(|| walk.pseudo_source())
    }

    /// Takes an inner packet if its outer source is bound to its source, and sends it on its way.
    fn accept(
        &mut self,
        now: Millis,
        mut inner: Packet<'_>,
        care_of: CareOf,
        outer_traffic_class: u8,
        via: Via,
        out: &mut Vec<Action>,
    ) {
        let source = inner.header.source;
        let home = self.table.home_mut(source);
        let bound = home.and_then(|home| Some((home.bound(now, care_of)?, home)));
        let Some((index, home)) = bound else {
            return out.push(Action::Drop(DropReason::TunnelSourceNotBound));
        };
        home.used(index);
        let Some(class) = ecn::decapsulated(outer_traffic_class, inner.header.traffic_class) else {
            return out.push(Action::Drop(DropReason::CongestionMarkLost));
        };
        if inner.header.destination == source {
            return out.push(Action::Drop(DropReason::TunnelLoop));
        }
        inner.header.traffic_class = class;
        self.route(now, inner, via, out);
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
