//! Towards a home address: choose the binding, put on the outer header (RFC 6275 §10.4.2).

use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use homeport_wire::{Ipv6Header, protocol};

use crate::action::Action;
use crate::answer::ErrorMessage;
use crate::flow;
use crate::forwarding::{Forwarding, Packet};
use crate::limits::{IPV6_MTU_MIN, IPV6_OVERHEAD, UDP_V4_OVERHEAD};
use crate::reason::DropReason;
use crate::table::{CareOf, ForwardingBinding, Millis};

/// A binding and the addresses that its tunnel begins at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Chosen {
    pub(crate) agent: Ipv6Addr,
    agent_v4: Option<Ipv4Addr>,
    binding: ForwardingBinding,
}

impl Forwarding {
    /// A packet for a home address, from the network or from another mobile node's tunnel. One hop
    /// limit is taken in either case: leaving one tunnel and entering the next is one step of
    /// routing.
    pub(crate) fn intercept(&mut self, now: Millis, packet: Packet<'_>, out: &mut Vec<Action>) {
        let destination = packet.header.destination;
        let Some(chosen) = self.chosen(now, destination) else {
            let reason = DropReason::NotBound;
            // RFC 4443 §3.1: address unreachable.
            let error = ErrorMessage::Unreachable { code: 3 };
            return match self.agent_of(destination) {
                Some(agent) => self.refuse(now, agent, packet, reason, error, out),
                None => out.push(Action::Drop(reason)),
            };
        };
        if packet.header.hop_limit <= 1 {
            let reason = DropReason::HopLimitExceeded;
            return self.refuse(now, chosen.agent, packet, reason, ErrorMessage::TimeExceeded, out);
        }
        if chosen.binding.home {
            return out.push(Action::DeliverOnLink(packet.forwarded()));
        }
        let room = self.tunnel_mtu(now, chosen.binding.care_of).max(IPV6_MTU_MIN);
        if packet.octets.len() > room {
            let error = ErrorMessage::TooBig { mtu: u32::try_from(room).unwrap_or(u32::MAX) };
            return self.refuse(now, chosen.agent, packet, DropReason::PacketTooBig, error, out);
        }
        self.tunnel(now, chosen, packet.forwarded_header(), packet.payload, out);
    }

    /// The binding in force that a home address prefers.
    pub(crate) fn chosen(&self, now: Millis, home_address: Ipv6Addr) -> Option<Chosen> {
        let home = self.table.home(home_address)?;
        let binding = home.choose(now, self.config.last_used_breaks_ties)?;
        Some(Chosen {
            agent: home.entry.home_agent,
            agent_v4: home.entry.home_agent_v4.or_else(|| {
                self.table.prefix_of(home_address).and_then(|prefix| prefix.home_agent_v4)
            }),
            binding: *binding,
        })
    }

    /// The home agent that speaks for an address of a home prefix.
    pub(crate) fn agent_of(&self, address: Ipv6Addr) -> Option<Ipv6Addr> {
        let of_prefix = self.table.prefix_of(address).map(|prefix| prefix.home_agent);
        of_prefix.or_else(|| self.table.home(address).map(|home| home.entry.home_agent))
    }

    /// The largest inner packet that fits without cutting up the outer one (RFC 2473 §6.7).
    fn tunnel_mtu(&self, now: Millis, care_of: CareOf) -> usize {
        let configured = usize::from(self.config.path_mtu);
        match care_of {
            CareOf::V6(address) => {
                self.path_mtus.towards(now, address, configured).saturating_sub(IPV6_OVERHEAD)
            }
            CareOf::V4 { .. } => configured.saturating_sub(UDP_V4_OVERHEAD),
        }
    }

    /// Sends an inner packet, given as header and payload, through the tunnel of a binding.
    pub(crate) fn tunnel(
        &mut self,
        now: Millis,
        chosen: Chosen,
        inner: Ipv6Header,
        payload: &[u8],
        out: &mut Vec<Action>,
    ) {
        if chosen.binding.home {
            return out.push(Action::DeliverOnLink(joined(inner, payload)));
        }
        match chosen.binding.care_of {
            CareOf::V6(care_of) if self.is_ours(care_of) => {
                out.push(Action::Drop(DropReason::TunnelLoop));
            }
            CareOf::V6(care_of) => {
                self.tunnel_v6(now, chosen.agent, care_of, inner, payload, out);
            }
            CareOf::V4 { address, port } => out.push(match chosen.agent_v4 {
                None => Action::Drop(DropReason::NoHomeAgentIpv4),
                Some(agent) => Action::SendUdp {
                    peer: SocketAddrV4::new(address, port),
                    local: SocketAddrV4::new(agent, self.config.udp_port),
                    dscp_ecn: inner.traffic_class,
                    payload: joined(inner, payload),
                },
            }),
        }
    }

    /// True for addresses whose packets this node takes itself: no tunnel may end there.
    fn is_ours(&self, address: Ipv6Addr) -> bool {
        self.table.home(address).is_some() || self.table.home_agent_meant(address).is_some()
    }

    /// RFC 2473 §3.1, with DSCP and ECN copied outwards (RFC 6040 §4.1).
    fn tunnel_v6(
        &mut self,
        now: Millis,
        agent: Ipv6Addr,
        care_of: Ipv6Addr,
        inner: Ipv6Header,
        payload: &[u8],
        out: &mut Vec<Action>,
    ) {
        let inner_len = Ipv6Header::LEN.saturating_add(payload.len());
        let Ok(payload_len) = u16::try_from(inner_len) else {
            return out.push(Action::Drop(DropReason::TooLong));
        };
        let outer = Ipv6Header {
            traffic_class: inner.traffic_class,
            flow_label: flow::outer_label(&inner, payload),
            payload_len,
            next_header: protocol::IPV6,
            hop_limit: self.config.hop_limit,
            source: agent,
            destination: care_of,
        };
        if inner_len > self.tunnel_mtu(now, CareOf::V6(care_of)) {
            return self.fragment(now, outer, &joined(inner, payload), out);
        }
        let mut octets = Vec::with_capacity(Ipv6Header::LEN.saturating_add(inner_len));
        outer.emit(&mut octets);
        inner.emit(&mut octets);
        octets.extend_from_slice(payload);
        out.push(self.sent(outer.destination, octets));
    }

    /// Cuts the outer packet up (RFC 2473 §7.1 (b), RFC 8200 §4.5): only for inner packets that
    /// must not be refused, because they are no larger than the smallest MTU of IPv6, or sent by
    /// ourselves.
    fn fragment(&mut self, now: Millis, outer: Ipv6Header, inner: &[u8], out: &mut Vec<Action>) {
        const FRAGMENT_HEADER_LEN: usize = 8;
        const MORE_FRAGMENTS: u16 = 1;
        let configured = usize::from(self.config.path_mtu);
        let mtu = self.path_mtus.towards(now, outer.destination, configured).max(IPV6_MTU_MIN);
        // Offsets count in units of eight octets.
        let piece_len = mtu.saturating_sub(Ipv6Header::LEN + FRAGMENT_HEADER_LEN) & !7;
        self.fragmented = self.fragmented.wrapping_add(1);
        let identification = flow::fragment_identification(
            self.config.fragment_seed,
            outer.destination,
            self.fragmented,
        );
        let mut offset = 0_u16;
        let mut pieces = inner.chunks(piece_len).peekable();
        while let Some(piece) = pieces.next() {
            let more = if pieces.peek().is_some() { MORE_FRAGMENTS } else { 0 };
            let len = piece.len().saturating_add(FRAGMENT_HEADER_LEN);
            let payload_len = u16::try_from(len).unwrap_or(u16::MAX);
            let header = Ipv6Header { payload_len, next_header: protocol::FRAGMENT, ..outer };
            let mut octets = Vec::with_capacity(Ipv6Header::LEN.saturating_add(len));
            header.emit(&mut octets);
            octets.extend_from_slice(&[outer.next_header, 0]);
            octets.extend_from_slice(&(offset | more).to_be_bytes());
            octets.extend_from_slice(&identification.to_be_bytes());
            octets.extend_from_slice(piece);
            out.push(self.sent(outer.destination, octets));
            offset = offset.saturating_add(u16::try_from(piece.len()).unwrap_or(u16::MAX));
        }
    }
}

fn joined(header: Ipv6Header, payload: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(Ipv6Header::LEN.saturating_add(payload.len()));
    header.emit(&mut octets);
    octets.extend_from_slice(payload);
    octets
}
