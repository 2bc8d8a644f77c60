//! What leaves from here: errors, and what front-ends answer.

use alloc::vec::Vec;
use core::net::{Ipv6Addr, SocketAddrV4};

use homeport_wire::{Icmpv6, PacketBuilder, Reader, is_unicast_routable_v6, protocol};

use crate::action::{Action, UdpOuter};
use crate::entry::Millis;
use crate::forwarding::Forwarding;
use crate::icmpv4::ErrorMessageV4;
use crate::packet::{Inner, Packet, PacketV4};
use crate::reason::DropReason;

/// An ICMPv6 error before it knows which packet it is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ErrorMessage {
    Unreachable { code: u8 },
    TooBig { mtu: u32 },
    TimeExceeded,
    ReassemblyTime,
    ParameterProblem { code: u8, pointer: u32 },
}

impl ErrorMessage {
    const fn about(self, invoking: &[u8]) -> Icmpv6<'_> {
        match self {
            Self::Unreachable { code } => Icmpv6::DestinationUnreachable { code, invoking },
            Self::TooBig { mtu } => Icmpv6::PacketTooBig { mtu, invoking },
            Self::TimeExceeded => Icmpv6::TimeExceeded { code: 0, invoking },
            Self::ReassemblyTime => Icmpv6::TimeExceeded { code: 1, invoking },
            Self::ParameterProblem { code, pointer } => {
                Icmpv6::ParameterProblem { code, pointer, invoking }
            }
        }
    }
}

impl Forwarding {
    /// What is to be done about a front-end's answer to a punted packet: it goes back the way that
    /// the packet came. `outer` as the answer names it; `tunnelled` as the punt said it.
    ///
    /// What answers nothing, a Binding Refresh Request (RFC 6275 §9.5.5), counts as `tunnelled`: it
    /// is for the home address and goes through the tunnel of its binding.
    #[must_use]
    pub fn answer(
        &mut self,
        now: Millis,
        octets: &[u8],
        outer: Option<UdpOuter>,
        tunnelled: bool,
    ) -> Vec<Action> {
        let mut out = Vec::with_capacity(1);
        let packet = Packet::parse(octets)
            .ok()
            .filter(|packet| self.table.is_home_agent(packet.header.source));
        let Some(packet) = packet else {
            out.push(Action::Drop(DropReason::AnswerRefused));
            return out;
        };
        match outer {
            // What nobody asked for has the port of RFC 5555 in it: only we know which one is ours.
            Some(UdpOuter { peer, local }) => out.push(Action::SendUdp {
                peer,
                local: SocketAddrV4::new(*local.ip(), self.config.udp_port),
                dscp_ecn: packet.header.traffic_class,
                whole_only: false,
                identification: self.identification_v4(*peer.ip()),
                payload: packet.octets.to_vec(),
            }),
            None if tunnelled => self.originate(now, packet.octets, &mut out),
            None => out.push(self.sent(packet.header.destination, packet.octets.to_vec())),
        }
        out
    }

    /// Sends a packet of our own: through the tunnel when its destination is a bound home address
    /// or lies in a mobile network, and by a routing header when the home agent is a correspondent
    /// node of it (RFC 6275 §9.3.2).
    pub(crate) fn originate(&mut self, now: Millis, octets: &[u8], out: &mut Vec<Action>) {
        let routed = self.by_care_of(now, octets);
        let octets = routed.as_deref().unwrap_or(octets);
        let packet = match Packet::parse(octets) {
            Ok(packet) => packet,
            Err(malformed) => return out.push(Action::Drop(malformed.into())),
        };
        let destination = packet.header.destination;
        let owner = self.table.owner(destination);
        match owner.and_then(|home_address| self.preferred(now, home_address)) {
            Some(chosen) => {
                let inner = Inner::v6(&packet.header, packet.payload, packet.octets.to_vec());
                self.tunnel(now, chosen, inner, 0, out);
            }
            None if owner.is_some_and(|owner| self.is_unverified(now, owner)) => {
                out.push(Action::Drop(DropReason::CareOfUnverified));
            }
            None => out.push(self.sent(destination, packet.octets.to_vec())),
        }
    }

    /// A packet with the routing header that leads to the best care-of address; `None` where there is
    /// none, or the packet must not have one.
    fn by_care_of(&self, now: Millis, octets: &[u8]) -> Option<Vec<u8>> {
        let header = Packet::parse(octets).ok()?.header;
        let care_ofs = self.table.care_ofs(now, header.source, header.destination);
        let best =
            care_ofs.min_by_key(|it| (it.priority.rank(), core::cmp::Reverse(it.verified)))?;
        homeport_correspondent::by_way_of(octets, best.care_of)
    }

    /// Sends octets to a destination as they are. Routing would bring a packet for a home prefix
    /// back here, so that goes to the home link; there is no other way into a mobile network than
    /// its router's tunnel.
    pub(crate) fn sent(&self, destination: Ipv6Addr, octets: Vec<u8>) -> Action {
        match self.table.owner(destination) {
            Some(owner) if owner != destination => Action::Drop(DropReason::NotBound),
            _ if self.serves(destination) => {
                Action::DeliverOnLink { next_hop: destination, packet: octets }
            }
            _ => Action::SendIpv6(octets),
        }
    }

    /// What is to be done about a packet that was to be delivered on the home link, where nobody
    /// answers for its next hop (RFC 4861 §7.2.2).
    #[must_use]
    pub fn undeliverable(&mut self, now: Millis, octets: &[u8]) -> Vec<Action> {
        let mut out = Vec::with_capacity(2);
        let reason = DropReason::NotOnLink;
        if let Ok(packet) = PacketV4::parse(octets) {
            let owner = self.table.owner_v4(packet.header.destination);
            let agent = owner.and_then(|home_address| self.agent_v4_of(home_address));
            let error = ErrorMessageV4::HostUnreachable;
            self.refuse_v4(now, agent, packet, reason, error, &mut out);
        } else if let Ok(packet) = Packet::parse(octets)
            && let Some(agent) = self.agent_of(packet.header.destination)
        {
            let error = ErrorMessage::Unreachable { code: 3 };
            self.refuse(now, agent, packet, reason, error, &mut out);
        } else {
            out.push(Action::Drop(reason));
        }
        out
    }

    /// Drops a packet and tells its source why, where that is allowed.
    pub(crate) fn refuse(
        &mut self,
        now: Millis,
        agent: Ipv6Addr,
        packet: Packet<'_>,
        reason: DropReason,
        error: ErrorMessage,
        out: &mut Vec<Action>,
    ) {
        out.push(Action::Drop(reason));
        self.complain(now, agent, packet.header.source, packet.octets, error, out);
    }

    /// Sends an error from `agent` about a packet, of which the begin may be all there is. Not
    /// about errors, not to what is no single node, and not faster than the limit (RFC 4443 §2.4
    /// (e), (f)).
    pub(crate) fn complain(
        &mut self,
        now: Millis,
        agent: Ipv6Addr,
        to: Ipv6Addr,
        invoking: &[u8],
        error: ErrorMessage,
        out: &mut Vec<Action>,
    ) {
        let to_one_node = is_unicast_routable_v6(to) && !self.table.is_home_agent(to);
        if !to_one_node || is_icmpv6_error(invoking) {
            return;
        }
        if !self.errors.allow(now, to) {
            return out.push(Action::Drop(DropReason::ErrorRateLimited));
        }
        let message = error.about(invoking).emit(agent, to);
        let octets = PacketBuilder::new(agent, to).build(protocol::ICMPV6, &message);
        self.originate(now, &octets, out);
    }

    /// RFC 6275 §10.4.2: never tunnelled; the source learns it if a home agent of its own prefix
    /// can speak to it.
    pub(crate) fn refuse_link_local(
        &mut self,
        now: Millis,
        packet: Packet<'_>,
        out: &mut Vec<Action>,
    ) {
        let reason = DropReason::LinkLocalDestination;
        match self.agent_of(packet.header.source) {
            Some(agent) => {
                let error = ErrorMessage::Unreachable { code: 3 };
                self.refuse(now, agent, packet, reason, error, out);
            }
            None => out.push(Action::Drop(reason)),
        }
    }
}

/// Extension headers to look behind; as many as the walk of packets for this node takes.
const HEADERS_MAX: usize = homeport_wire::limits::EXTENSION_HEADERS_MAX;

/// True when the packet, of which the begin may be all there is, is an ICMPv6 error or a redirect,
/// or may be one: no error may answer it. Transit packets are looked at too, so nothing here is
/// judged.
fn is_icmpv6_error(octets: &[u8]) -> bool {
    const NEXT_HEADER_OFFSET: usize = 6;
    const HEADER_LEN: usize = homeport_wire::Ipv6Header::LEN;
    let Some(mut next_header) = octets.get(NEXT_HEADER_OFFSET).copied() else {
        return true;
    };
    let mut reader = Reader::new(octets.get(HEADER_LEN..).unwrap_or_default());
    for _ in 0..=HEADERS_MAX {
        match next_header {
            protocol::ICMPV6 => {
                return reader.u8("type").map_or(true, is_error_type);
            }
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => {
                let (Ok(next), Ok(ext_len)) = (reader.u8("next header"), reader.u8("length"))
                else {
                    return true;
                };
                if reader
                    .slice(usize::from(ext_len).saturating_mul(8).saturating_add(6), "header")
                    .is_err()
                {
                    return true;
                }
                next_header = next;
            }
            protocol::FRAGMENT => {
                let Ok([next, _, high, low, ..]) = reader.take::<8>("fragment header") else {
                    return true;
                };
                if u16::from_be_bytes([high, low]) & !7 != 0 {
                    // Not the first: the type is in another fragment.
                    return next == protocol::ICMPV6;
                }
                next_header = next;
            }
            _ => return false,
        }
    }
    true
}

/// RFC 4443 §2.1: types below 128 are errors. Redirects (RFC 4861 §4.5) must not be answered
/// either.
const fn is_error_type(kind: u8) -> bool {
    const REDIRECT: u8 = 137;
    kind < 128 || kind == REDIRECT
}
