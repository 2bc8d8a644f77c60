//! IPv4 packets: the envelopes of RFC 5555 §4.1 and §4.4.1, and packets for IPv4 home addresses.

use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddrV4};

use homeport_wire::{UdpHeader, is_unicast_routable_v4, protocol};

use crate::action::{Action, UdpOuter};
use crate::entry::{CareOf, Millis};
use crate::forwarding::{Forwarding, Via};
use crate::icmpv4::{ErrorMessageV4, ICMPV4, Icmpv4, echo_reply};
use crate::packet::{Inner, Packet, PacketV4};
use crate::reason::DropReason;
use crate::reassembly::{Fitted, Fragment, whole_v4};

impl Forwarding {
    /// An IPv4 packet as the network delivers it.
    pub(crate) fn ipv4(&mut self, now: Millis, octets: &[u8], out: &mut Vec<Action>) {
        let packet = match PacketV4::parse(octets) {
            Ok(packet) => packet,
            Err(malformed) => return out.push(Action::Drop(malformed.into())),
        };
        // Loopback addresses are for laboratories: the kernel lets none in from outside.
        let source = packet.header.source;
        if !is_unicast_routable_v4(source) && !source.is_loopback() {
            return out.push(Action::Drop(DropReason::UnroutableSource));
        }
        if !self.table.is_home_agent_v4(packet.header.destination) {
            return self.route_v4(now, packet, Via::Link, out);
        }
        if self.table.is_home_agent_v4(source) {
            return out.push(Action::Drop(DropReason::OwnSource));
        }
        if packet.header.is_fragment() {
            return self.fragment_v4(now, packet, out);
        }
        self.local_v4(now, packet, out);
    }

    fn fragment_v4(&mut self, now: Millis, packet: PacketV4<'_>, out: &mut Vec<Action>) {
        self.expire_fragments(now, out);
        let Some(fragment) = Fragment::v4(&packet) else {
            return out.push(Action::Drop(DropReason::FragmentRefused));
        };
        let whole = match self.reassembly.take(now, Via::Link, &fragment) {
            Fitted::Waits => return out.push(Action::Drop(DropReason::FragmentWaits)),
            Fitted::Refused(reason) => return out.push(Action::Drop(reason)),
            Fitted::Whole(head, data, dscp_ecn) => whole_v4(head, &data, dscp_ecn),
        };
        match whole.as_deref().map(PacketV4::parse) {
            Some(Ok(packet)) => self.local_v4(now, packet, out),
            Some(Err(malformed)) => out.push(Action::Drop(malformed.into())),
            None => out.push(Action::Drop(DropReason::FragmentRefused)),
        }
    }

    /// A whole packet to a home agent's IPv4 address.
    fn local_v4(&mut self, now: Millis, packet: PacketV4<'_>, out: &mut Vec<Action>) {
        let header = packet.header;
        match header.protocol {
            protocol::UDP => match self.opened(&packet) {
                Ok((outer, payload)) => {
                    self.datagram(now, outer, header.dscp_ecn, payload, out);
                }
                Err(reason) => out.push(Action::Drop(reason)),
            },
            protocol::IPV6 => match Packet::parse(packet.payload) {
                Ok(inner) => {
                    let care_of = [CareOf::V4Direct(header.source)];
                    let via = Via::Tunnel { depth: 1 };
                    self.accept(now, inner, &care_of, header.dscp_ecn, via, out);
                }
                Err(malformed) => out.push(Action::Drop(malformed.into())),
            },
            protocol::IPV4 => {
                let care_of = [CareOf::V4Direct(header.source)];
                let via = Via::Tunnel { depth: 1 };
                self.accept_v4(now, packet.payload, &care_of, header.dscp_ecn, via, out);
            }
            ICMPV4 => self.icmpv4(now, packet, out),
            _ => out.push(Action::Drop(DropReason::Ipv4Protocol)),
        }
    }

    fn opened<'p>(&self, packet: &PacketV4<'p>) -> Result<(UdpOuter, &'p [u8]), DropReason> {
        let ip = packet.header;
        let (udp, payload) = UdpHeader::parse_v4(packet.payload, ip.source, ip.destination)?;
        if udp.destination_port != self.config.udp_port {
            return Err(DropReason::UdpPort);
        }
        let peer = SocketAddrV4::new(ip.source, udp.source_port);
        let local = SocketAddrV4::new(ip.destination, udp.destination_port);
        Ok((UdpOuter { peer, local }, payload))
    }

    fn icmpv4(&mut self, now: Millis, packet: PacketV4<'_>, out: &mut Vec<Action>) {
        let header = packet.header;
        match Icmpv4::parse(packet.payload) {
            Some(Icmpv4::EchoRequest { word, data }) => {
                let reply = echo_reply(word, data);
                self.send_icmpv4(now, header.destination, header.source, &reply, out);
            }
            Some(Icmpv4::Lost { invoking }) => self.relay_v4(now, None, invoking, out),
            Some(Icmpv4::TooBig { mtu, invoking }) => {
                self.relay_v4(now, Some(mtu), invoking, out);
            }
            Some(Icmpv4::Other) => out.push(Action::Drop(DropReason::Icmpv4Ignored)),
            None => out.push(Action::Drop(homeport_wire::Malformed::Checksum.into())),
        }
    }

    /// Sends a packet where its destination says, whether it was routed here or came out of a
    /// tunnel.
    pub(crate) fn route_v4(
        &mut self,
        now: Millis,
        packet: PacketV4<'_>,
        via: Via,
        out: &mut Vec<Action>,
    ) {
        let destination = packet.header.destination;
        if self.table.is_home_agent_v4(destination) {
            // Out of a tunnel; a tunnel in it would need a binding of its own, and IPv4 care-of
            // addresses are nobody's home addresses.
            return match packet.header.protocol {
                ICMPV4 if !packet.header.is_fragment() => self.icmpv4(now, packet, out),
                _ => out.push(Action::Drop(DropReason::NestedTunnel)),
            };
        }
        if destination.is_multicast() {
            return out.push(Action::Drop(DropReason::MulticastDestination));
        }
        if !is_unicast_routable_v4(destination) {
            return out.push(Action::Drop(DropReason::UnroutableDestination));
        }
        if self.table.owner_v4(destination).is_some() {
            return self.intercept_v4(now, packet, out);
        }
        if let Some(agent) = self.table.pool_agent(destination) {
            let (reason, error) = (DropReason::NotBound, ErrorMessageV4::HostUnreachable);
            return self.refuse_v4(now, Some(agent), packet, reason, error, out);
        }
        if via == Via::Link {
            return out.push(Action::Drop(DropReason::Ipv4NotServed));
        }
        if packet.header.ttl <= 1 {
            let owner = self.table.owner_v4(packet.header.source);
            let agent = owner.and_then(|home_address| self.agent_v4_of(home_address));
            let (reason, error) = (DropReason::HopLimitExceeded, ErrorMessageV4::TimeExceeded);
            return self.refuse_v4(now, agent, packet, reason, error, out);
        }
        out.push(Action::SendIpv4(packet.forwarded()));
    }

    /// Sends an IPv4 packet of our own: through the tunnel when its destination is a bound home
    /// address.
    pub(crate) fn originate_v4(&mut self, now: Millis, octets: Vec<u8>, out: &mut Vec<Action>) {
        let packet = match PacketV4::parse(&octets) {
            Ok(packet) => packet,
            Err(malformed) => return out.push(Action::Drop(malformed.into())),
        };
        let destination: Ipv4Addr = packet.header.destination;
        match self.table.owner_v4(destination).map(|owner| self.preferred(now, owner)) {
            Some(Some(chosen)) => {
                let inner = Inner::v4(&packet, packet.octets.to_vec());
                self.tunnel(now, chosen, inner, 0, out);
            }
            Some(None) => out.push(Action::Drop(DropReason::NotBound)),
            // It would come back.
            None if self.table.pool_agent(destination).is_some() => {
                out.push(Action::Drop(DropReason::NotBound));
            }
            None => out.push(Action::SendIpv4(octets)),
        }
    }
}
