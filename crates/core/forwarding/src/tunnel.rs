//! The outer headers: IPv6 (RFC 2473), IPv4 (RFC 4213, RFC 2003), IPv4 and UDP (RFC 5555 §4.1).

use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use homeport_wire::{Ipv4Header, Ipv6Header, protocol};

use crate::action::Action;
use crate::downlink::{Chosen, Way};
use crate::entry::{CareOf, Millis};
use crate::forwarding::Forwarding;
use crate::limits::{
    ENCAPSULATION_LIMIT_LEN, IPV6_MTU_MIN, IPV6_OVERHEAD, TUNNELS_NESTED_MAX, UDP_V4_OVERHEAD,
    V4_OVERHEAD,
};
use crate::packet::{Inner, Packet};
use crate::reason::DropReason;
use crate::selector::FlowKey;
use crate::{ecn, encapsulation_limit, flow};

impl Forwarding {
    /// The largest inner packet that fits without cutting up the outer one (RFC 2473 §6.7). A
    /// tunnel that leads into another has room for both outer headers. `is_limited`: the packet says
    /// how many tunnels it may enter, which takes room too.
    pub(crate) fn tunnel_mtu(
        &self,
        now: Millis,
        chosen: &Chosen,
        is_limited: bool,
        depth: u8,
    ) -> usize {
        let configured = usize::from(self.config.path_mtu);
        if chosen.binding.home {
            return usize::MAX;
        }
        match chosen.binding.care_of {
            CareOf::V6(care_of) => {
                let next = (depth < TUNNELS_NESTED_MAX)
                    .then(|| self.table.network_owner(care_of))
                    .flatten()
                    .and_then(|owner| self.preferred(now, owner));
                let path = self.path_mtus.towards(now, care_of.into(), configured);
                let path = match next {
                    Some(next) => {
                        let depth = depth.saturating_add(1);
                        self.tunnel_mtu(now, &next, is_limited, depth).min(path)
                    }
                    None => path,
                };
                path.saturating_sub(self.overhead(is_limited))
            }
            CareOf::V4 { address, .. } => {
                let path = self.path_mtus.towards(now, address.into(), configured);
                path.saturating_sub(UDP_V4_OVERHEAD)
            }
            CareOf::V4Direct(address) => {
                self.path_mtus.towards(now, address.into(), configured).saturating_sub(V4_OVERHEAD)
            }
        }
    }

    /// Octets that a tunnel in IPv6 puts on.
    const fn overhead(&self, is_limited: bool) -> usize {
        if is_limited || self.config.encapsulation_limit.is_some() {
            IPV6_OVERHEAD + ENCAPSULATION_LIMIT_LEN
        } else {
            IPV6_OVERHEAD
        }
    }

    /// Sends an inner packet through the tunnel of a binding; `depth` tunnels are around it.
    pub(crate) fn tunnel(
        &mut self,
        now: Millis,
        chosen: Chosen,
        inner: Inner,
        depth: u8,
        out: &mut Vec<Action>,
    ) {
        if chosen.binding.home {
            return out.push(Action::DeliverOnLink {
                next_hop: chosen.home_address,
                packet: inner.octets,
            });
        }
        match chosen.binding.care_of {
            CareOf::V6(care_of) => self.tunnel_v6(now, chosen, care_of, inner, depth, out),
            CareOf::V4 { address, port } => {
                let peer = SocketAddrV4::new(address, port);
                out.push(self.in_udp(chosen.agent_v4, peer, inner));
            }
            CareOf::V4Direct(care_of) => {
                let action = self.in_v4(chosen.agent_v4, care_of, &inner);
                out.push(action);
            }
        }
    }

    fn in_udp(&mut self, agent: Option<Ipv4Addr>, peer: SocketAddrV4, inner: Inner) -> Action {
        let Some(agent) = agent else { return Action::Drop(DropReason::NoHomeAgentIpv4) };
        let local = SocketAddrV4::new(agent, self.config.udp_port);
        if peer == local || self.table.owner_v4(*peer.ip()).is_some() {
            return Action::Drop(DropReason::TunnelLoop);
        }
        if inner.octets.len() > usize::from(u16::MAX).saturating_sub(UDP_V4_OVERHEAD) {
            return Action::Drop(DropReason::TooLong);
        }
        Action::SendUdp {
            peer,
            local,
            dscp_ecn: ecn::encapsulated(self.config.ecn, inner.traffic_class),
            whole_only: inner.whole_only,
            identification: self.identification_v4(*peer.ip()),
            payload: inner.octets,
        }
    }

    /// Protocol 41 or 4. Whether routers may cut the outer packet up is as the inner one says.
    fn in_v4(&mut self, agent: Option<Ipv4Addr>, care_of: Ipv4Addr, inner: &Inner) -> Action {
        let Some(agent) = agent else { return Action::Drop(DropReason::NoHomeAgentIpv4) };
        if self.table.is_home_agent_v4(care_of) || self.table.owner_v4(care_of).is_some() {
            return Action::Drop(DropReason::TunnelLoop);
        }
        let len = inner.octets.len().saturating_add(Ipv4Header::LEN);
        let Ok(total_len) = u16::try_from(len) else {
            return Action::Drop(DropReason::TooLong);
        };
        let header = Ipv4Header {
            dscp_ecn: ecn::encapsulated(self.config.ecn, inner.traffic_class),
            total_len,
            identification: self.identification_v4(care_of),
            flags_fragment: if inner.whole_only { Ipv4Header::DONT_FRAGMENT } else { 0 },
            ttl: self.config.hop_limit,
            protocol: inner.protocol,
            source: agent,
            destination: care_of,
        };
        let mut octets = Vec::with_capacity(len);
        header.emit(&mut octets);
        octets.extend_from_slice(&inner.octets);
        Action::SendIpv4(octets)
    }

    fn identification(&mut self, destination: core::net::IpAddr) -> u32 {
        self.fragmented = self.fragmented.wrapping_add(1);
        flow::fragment_identification(self.config.fragment_seed, destination, self.fragmented)
    }

    /// Identification of an outer IPv4 header.
    pub(crate) fn identification_v4(&mut self, destination: Ipv4Addr) -> u16 {
        let [.., high, low] = self.identification(destination.into()).to_be_bytes();
        u16::from_be_bytes([high, low])
    }

    /// RFC 2473 §3.1, §5, with DSCP and ECN copied outwards (RFC 2473 §6.4, RFC 6040 §4.1).
    fn tunnel_v6(
        &mut self,
        now: Millis,
        chosen: Chosen,
        care_of: Ipv6Addr,
        inner: Inner,
        depth: u8,
        out: &mut Vec<Action>,
    ) {
        // RFC 2473 §4.1.2: packets for these this node takes itself, so no tunnel may end there.
        if self.table.home(care_of).is_some() || self.table.home_agent_meant(care_of).is_some() {
            return out.push(Action::Drop(DropReason::TunnelLoop));
        }
        let is_limited = inner.limit.is_some();
        // RFC 2473 §4.1.1 (c) to (e).
        let limit = match inner.limit {
            Some(0) => return out.push(Action::Drop(DropReason::EncapsulationLimit)),
            Some(limit) => Some(limit.saturating_sub(1)),
            None => self.config.encapsulation_limit,
        };
        let (next_header, payload) = match limit {
            None => (inner.protocol, inner.octets),
            Some(limit) => {
                let mut payload = encapsulation_limit::header(inner.protocol, limit).to_vec();
                payload.extend_from_slice(&inner.octets);
                (protocol::DESTINATION_OPTIONS, payload)
            }
        };
        let Ok(payload_len) = u16::try_from(payload.len()) else {
            return out.push(Action::Drop(DropReason::TooLong));
        };
        let outer = Ipv6Header {
            traffic_class: ecn::encapsulated(self.config.ecn, inner.traffic_class),
            flow_label: inner.label,
            payload_len,
            next_header,
            hop_limit: self.config.hop_limit,
            source: chosen.agent,
            destination: care_of,
        };
        let room = self.tunnel_mtu(now, &chosen, is_limited, depth);
        let path_mtu = room.saturating_add(self.overhead(is_limited)).max(IPV6_MTU_MIN);
        if payload.len() > path_mtu.saturating_sub(Ipv6Header::LEN) {
            return self.fragment(now, outer, &payload, path_mtu, depth, out);
        }
        let octets = joined(outer, &payload);
        self.outward(now, outer.destination, octets, depth, out);
    }

    /// Cuts the outer packet up (RFC 2473 §7.1 (b), §7.2, RFC 8200 §4.5): only for inner packets
    /// that must not be refused, because they are no larger than the smallest MTU of IPv6, or sent
    /// by ourselves, or of IPv4 without the demand to be left whole.
    fn fragment(
        &mut self,
        now: Millis,
        outer: Ipv6Header,
        payload: &[u8],
        path_mtu: usize,
        depth: u8,
        out: &mut Vec<Action>,
    ) {
        const FRAGMENT_HEADER_LEN: usize = 8;
        const MORE_FRAGMENTS: u16 = 1;
        // Offsets count in units of eight octets.
        let piece_len = path_mtu.saturating_sub(Ipv6Header::LEN + FRAGMENT_HEADER_LEN) & !7;
        let identification = self.identification(outer.destination.into());
        let mut offset = 0_u16;
        let mut pieces = payload.chunks(piece_len).peekable();
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
            self.outward(now, outer.destination, octets, depth, out);
            offset = offset.saturating_add(u16::try_from(piece.len()).unwrap_or(u16::MAX));
        }
    }

    /// Sends an outer packet to a care-of address. A care-of address in a mobile network is reached
    /// through the tunnel of its router (RFC 3963 §6.5): a visitor whose home agent is this one
    /// too. There is an end to that (RFC 2473 §4.1, §4.1.3), so that two routers that visit each other
    /// make no loop.
    fn outward(
        &mut self,
        now: Millis,
        care_of: Ipv6Addr,
        octets: Vec<u8>,
        depth: u8,
        out: &mut Vec<Action>,
    ) {
        let Some(router) = self.table.network_owner(care_of) else {
            return out.push(if self.table.prefix_of(care_of).is_some() {
                Action::DeliverOnLink { next_hop: care_of, packet: octets }
            } else {
                Action::SendIpv6(octets)
            });
        };
        let depth = depth.saturating_add(1);
        if depth >= TUNNELS_NESTED_MAX {
            return out.push(Action::Drop(DropReason::TunnelLoop));
        }
        let packet = match Packet::parse(&octets) {
            Ok(packet) => packet,
            Err(malformed) => return out.push(Action::Drop(malformed.into())),
        };
        let key = || FlowKey::v6(&packet.header, packet.payload);
        match self.way(now, router, key) {
            Way::Through(first, others) => {
                let inner = Inner::v6(&packet.header, packet.payload, packet.octets.to_vec());
                if inner.limit == Some(0) {
                    return self.limit_reached(now, packet.octets, out);
                }
                self.carry(now, first, &others, inner, depth, out);
            }
            Way::Discard => out.push(Action::Drop(DropReason::FlowDiscarded)),
            Way::Unverified => out.push(Action::Drop(DropReason::CareOfUnverified)),
            Way::Nowhere => out.push(Action::Drop(DropReason::NotBound)),
        }
    }
}

fn joined(header: Ipv6Header, payload: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(Ipv6Header::LEN.saturating_add(payload.len()));
    header.emit(&mut octets);
    octets.extend_from_slice(payload);
    octets
}
