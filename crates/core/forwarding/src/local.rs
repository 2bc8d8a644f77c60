//! To the home agent itself: signalling is handed on, a host's duties are done here.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};

use homeport_wire::{
    BindingError, BindingErrorStatus, Disposition, Icmpv6, Malformed, Message, Options,
    PacketBuilder, Walk, is_unicast_routable_v6, mobility_packet, protocol, verification, walk,
};

use crate::action::{Action, Punt, UdpOuter};
use crate::answer::ErrorMessage;
use crate::entry::{CareOf, Millis};
use crate::forwarding::{Forwarding, Via};
use crate::packet::Packet;
use crate::reason::DropReason;
use crate::reassembly::{Fitted, Fragment, fragmented_protocol, whole_v6};
use crate::uplink::ends_in_udp;

/// RFC 4443 §3.4: the code of an unrecognized Next Header.
const UNRECOGNIZED_NEXT_HEADER: u8 = 1;
/// RFC 4443 §3.1: the code of a port on which nothing listens.
const PORT_UNREACHABLE: u8 = 4;

impl Forwarding {
    /// A packet for `agent`, by its own or by an anycast address.
    pub(crate) fn local(
        &mut self,
        now: Millis,
        agent: Ipv6Addr,
        packet: Packet<'_>,
        via: Via,
        out: &mut Vec<Action>,
    ) {
        let walk = match walk(packet.octets) {
            Ok(walk) => walk,
            Err(malformed) => return self.refuse_malformed(now, agent, packet, malformed, out),
        };
        if walk.routing_home_address.is_some() {
            // RFC 6275 §6.4.1: the address in it must be a home address of the receiver.
            return out.push(Action::Drop(DropReason::HomeAddressRouting));
        }
        match walk.upper {
            protocol::MOBILITY | protocol::ESP => return self.punt(now, packet, &walk, via, out),
            protocol::FRAGMENT => return self.fragment_v6(now, agent, packet, &walk, via, out),
            // RFC 6275 §9.3.1: no look at the bindings for what IPsec protects.
            protocol::AH => {}
            _ => {
                if !self.home_address_verified(now, agent, &walk, out) {
                    return;
                }
            }
        }
        self.upper_layer(now, agent, packet, &walk, via, out);
    }

    /// A fragment of a packet to the home agent. The Home Address option, which stands before the
    /// Fragment header, is looked at when the packet is whole.
    fn fragment_v6(
        &mut self,
        now: Millis,
        agent: Ipv6Addr,
        packet: Packet<'_>,
        walk: &Walk<'_>,
        via: Via,
        out: &mut Vec<Action>,
    ) {
        self.expire_fragments(now, out);
        let refused = DropReason::FragmentRefused;
        let fragment = match Fragment::v6(packet, walk) {
            Ok(fragment) => fragment,
            Err(Some(pointer)) => {
                let pointer = u32::try_from(pointer).unwrap_or(u32::MAX);
                let error = ErrorMessage::ParameterProblem { code: 0, pointer };
                return self.refuse(now, agent, packet, refused, error, out);
            }
            Err(None) => return out.push(Action::Drop(refused)),
        };
        let upper = fragmented_protocol(walk);
        let whole = match self.reassembly.take(now, via, &fragment) {
            Fitted::Waits => return out.push(Action::Drop(DropReason::FragmentWaits)),
            Fitted::Refused(reason) => return out.push(Action::Drop(reason)),
            Fitted::Whole(head, data, class) => {
                whole_v6(head, &data, class, walk.next_header_offset, upper)
            }
        };
        match whole.as_deref().map(Packet::parse) {
            // Fragments in a fragment: nobody honest sends that, and it would have no end.
            Some(Ok(_)) if upper == protocol::FRAGMENT => out.push(Action::Drop(refused)),
            Some(Ok(packet)) => self.local(now, agent, packet, via, out),
            Some(Err(malformed)) => out.push(Action::Drop(malformed.into())),
            None => out.push(Action::Drop(refused)),
        }
    }

    /// Tells the source of a packet whose fragments did not all come in time (RFC 8200 §4.5).
    pub(crate) fn expire_fragments(&mut self, now: Millis, out: &mut Vec<Action>) {
        let Some((packet, first)) = self.reassembly.expired(now) else { return };
        out.push(Action::Drop(DropReason::FragmentsExpired));
        if let (IpAddr::V6(source), IpAddr::V6(agent), Some(first)) =
            (packet.source, packet.destination, first)
            && let Some(agent) = self.table.home_agent_meant(agent)
        {
            self.complain(now, agent, source, &first, ErrorMessage::ReassemblyTime, out);
        }
    }

    fn upper_layer(
        &mut self,
        now: Millis,
        agent: Ipv6Addr,
        packet: Packet<'_>,
        walk: &Walk<'_>,
        via: Via,
        out: &mut Vec<Action>,
    ) {
        match walk.upper {
            protocol::IPV6 | protocol::IPV4 => self.decapsulate(now, walk, via, out),
            protocol::ICMPV6 => self.icmpv6(now, agent, packet, walk, via, out),
            protocol::NO_NEXT => out.push(Action::Drop(DropReason::NoNextHeader)),
            protocol::TCP | protocol::UDP => {
                let error = ErrorMessage::Unreachable { code: PORT_UNREACHABLE };
                self.refuse(now, agent, packet, DropReason::NoListener, error, out);
            }
            _ => {
                let error = ErrorMessage::ParameterProblem {
                    code: UNRECOGNIZED_NEXT_HEADER,
                    pointer: u32::try_from(walk.next_header_offset).unwrap_or(u32::MAX),
                };
                self.refuse(now, agent, packet, DropReason::UnknownProtocol, error, out);
            }
        }
    }

    /// RFC 6275 §9.3.1, RFC 5648 §6.5: a Home Address option is believed when the packet's source
    /// is one of the care-of addresses bound to it. Else a Binding Error goes to that source.
    fn home_address_verified(
        &mut self,
        now: Millis,
        agent: Ipv6Addr,
        walk: &Walk<'_>,
        out: &mut Vec<Action>,
    ) -> bool {
        let Some(option) = walk.home_address else {
            return true;
        };
        if !is_unicast_routable_v6(option.address) {
            out.push(Action::Drop(DropReason::HomeAddressUnroutable));
            return false;
        }
        let source = walk.header.source;
        let home = self.table.home(option.address);
        if home.is_some_and(|home| home.bound(now, CareOf::V6(source)).is_some()) {
            return true;
        }
        if self.table.care_ofs(now, agent, option.address).any(|it| it.care_of == source) {
            return true;
        }
        out.push(Action::Drop(DropReason::HomeAddressNotBound));
        if !self.errors.allow(now, source) {
            out.push(Action::Drop(DropReason::ErrorRateLimited));
            return false;
        }
        let error = Message::BindingError(BindingError {
            status: BindingErrorStatus::UNKNOWN_BINDING,
            home_address: option.address,
            options: Options::EMPTY,
        });
        let octets = mobility_packet(agent, source, None, None, &error.emit(agent, source));
        self.originate(now, &octets, out);
        false
    }

    fn icmpv6(
        &mut self,
        now: Millis,
        agent: Ipv6Addr,
        packet: Packet<'_>,
        walk: &Walk<'_>,
        via: Via,
        out: &mut Vec<Action>,
    ) {
        let message = match Icmpv6::parse(walk.payload, walk.pseudo_header()) {
            Ok(message) => message,
            Err(malformed) => return out.push(Action::Drop(malformed.into())),
        };
        match message {
            Icmpv6::EchoRequest { identifier, sequence, data } => {
                let reply = Icmpv6::EchoReply { identifier, sequence, data };
                self.echo_reply(now, agent, walk, &reply, out);
            }
            Icmpv6::EchoReply { data, .. } if verification::nonce(data).is_some() => {
                self.care_of_answer(now, packet, walk, via, out);
            }
            Icmpv6::HomeAgentAddressDiscoveryRequest { .. }
            | Icmpv6::MobilePrefixSolicitation { .. } => self.punt(now, packet, walk, via, out),
            Icmpv6::DestinationUnreachable { invoking, .. }
            | Icmpv6::TimeExceeded { invoking, .. } => self.relay(now, None, invoking, out),
            Icmpv6::ParameterProblem { pointer, invoking, .. } => {
                self.relay_problem(now, pointer, invoking, out);
            }
            Icmpv6::PacketTooBig { mtu, invoking } => self.relay(now, Some(mtu), invoking, out),
            Icmpv6::EchoReply { .. }
            | Icmpv6::RouterSolicitation(_)
            | Icmpv6::RouterAdvertisement(_)
            | Icmpv6::NeighbourSolicitation(_)
            | Icmpv6::NeighbourAdvertisement(_)
            | Icmpv6::HomeAgentAddressDiscoveryReply { .. }
            | Icmpv6::MobilePrefixAdvertisement { .. }
            | Icmpv6::Other { .. } => out.push(Action::Drop(DropReason::Icmpv6Ignored)),
        }
    }

    /// The answer to the test of a care-of address goes to those who know the nonce, when it can be one: it
    /// comes from a care-of address, by Home Address option or tunnel, and one is being tested.
    fn care_of_answer(
        &mut self,
        now: Millis,
        packet: Packet<'_>,
        walk: &Walk<'_>,
        via: Via,
        out: &mut Vec<Action>,
    ) {
        let home_address = walk.pseudo_source();
        let is_bound = walk.home_address.is_some() || via != Via::Link;
        let home = self.table.home(home_address).filter(|_| is_bound);
        if !home.is_some_and(|home| home.has_unverified(now)) {
            return out.push(Action::Drop(DropReason::Icmpv6Ignored));
        }
        if !self.care_of_answers.allow_node(now, home_address) {
            return out.push(Action::Drop(DropReason::CareOfAnswerRateLimited));
        }
        self.punt(now, packet, walk, via, out);
    }

    /// RFC 4443 §4.2. To a mobile node that named its home address the reply takes the way of RFC
    /// 6275 §9.3.2: straight to the care-of address, the home address in a type 2 routing header.
    fn echo_reply(
        &mut self,
        now: Millis,
        agent: Ipv6Addr,
        walk: &Walk<'_>,
        reply: &Icmpv6<'_>,
        out: &mut Vec<Action>,
    ) {
        let home_address = walk.home_address.map(|option| option.address);
        let octets = PacketBuilder::new(agent, walk.header.source)
            .routing_home_address(home_address)
            .build(protocol::ICMPV6, &reply.emit(agent, walk.pseudo_source()));
        if octets.is_empty() {
            // The routing header has made it longer than IPv6 allows.
            return out.push(Action::Drop(DropReason::TooLong));
        }
        self.originate(now, &octets, out);
    }

    /// Hands signalling on, within limits: whatever it is, it costs a front-end more than it has cost its sender.
    pub(crate) fn punt(
        &mut self,
        now: Millis,
        packet: Packet<'_>,
        walk: &Walk<'_>,
        via: Via,
        out: &mut Vec<Action>,
    ) {
        let (outer, tunnelled) = match via {
            Via::Link => (None, false),
            Via::Tunnel { .. } => (None, true),
            Via::Udp(outer) => (Some(outer), false),
        };
        let sender = walk.pseudo_source();
        let is_bound = tunnelled || self.is_bound(now, sender, walk.header.source, outer);
        let source = match outer {
            Some(outer) => IpAddr::V4(*outer.peer.ip()),
            None => IpAddr::V6(walk.header.source),
        };
        if !self.signalling.allow(now, source, is_bound.then_some(sender)) {
            return out.push(Action::Drop(DropReason::SignallingRateLimited));
        }
        let packet = packet.octets.to_vec();
        out.push(Action::Punt(Punt { outer, tunnelled, bound: is_bound, sender, packet }));
    }

    /// The packet comes from a care-of address of its home address.
    fn is_bound(
        &self,
        now: Millis,
        home_address: Ipv6Addr,
        source: Ipv6Addr,
        outer: Option<UdpOuter>,
    ) -> bool {
        let Some(home) = self.table.home(home_address) else { return false };
        match outer {
            Some(outer) => ends_in_udp(outer).iter().any(|it| home.bound(now, *it).is_some()),
            None => home.bound(now, CareOf::V6(source)).is_some(),
        }
    }

    fn refuse_malformed(
        &mut self,
        now: Millis,
        agent: Ipv6Addr,
        packet: Packet<'_>,
        malformed: Malformed,
        out: &mut Vec<Action>,
    ) {
        match malformed.disposition() {
            Disposition::PacketProblem { code, pointer, .. } => {
                let pointer = u32::try_from(pointer).unwrap_or(u32::MAX);
                let error = ErrorMessage::ParameterProblem { code, pointer };
                self.refuse(now, agent, packet, malformed.into(), error, out);
            }
            Disposition::Discard
            | Disposition::ParameterProblem { .. }
            | Disposition::BindingError { .. } => out.push(Action::Drop(malformed.into())),
        }
    }
}
