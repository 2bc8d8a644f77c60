//! Octets as a source of choices: small numbers for what is to be done, the rest as contents.

use std::net::Ipv6Addr;

use homeport_wire::{
    Icmpv6, Ipv4Header, Ipv6Header, Message, PacketBuilder, PseudoHeader, checksum, protocol, walk,
};

/// Takes from the front; what is missing is zero.
pub(super) struct Input<'p> {
    rest: &'p [u8],
}

impl<'p> Input<'p> {
    pub(super) const fn new(octets: &'p [u8]) -> Self {
        Self { rest: octets }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn u8(&mut self) -> u8 {
        let [octet] = self.array();
        octet
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.array())
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        let (taken, rest) = self.rest.split_at(self.rest.len().min(N));
        out[..taken.len()].copy_from_slice(taken);
        self.rest = rest;
        out
    }

    /// So many octets, or as many as there are.
    pub(super) fn slice(&mut self, len: usize) -> &'p [u8] {
        let (taken, rest) = self.rest.split_at(self.rest.len().min(len));
        self.rest = rest;
        taken
    }

    pub(super) fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::from(self.u8()) % from.len()]
    }

    /// A packet: its addresses out of `addresses`, its extension headers, checksums and lengths in
    /// order so that the upper layer is reached; or octets as they come.
    pub(super) fn packet(&mut self, addresses: &[Ipv6Addr]) -> Vec<u8> {
        let shape = self.u8();
        let len = usize::from(self.u8());
        if shape & 0x80 != 0 {
            return self.slice(len).to_vec();
        }
        let (source, destination) = (self.choose(addresses), self.choose(addresses));
        let option = (shape & 1 != 0).then(|| self.choose(addresses));
        let routing = (shape & 2 != 0).then(|| self.choose(addresses));
        let pseudo =
            PseudoHeader::mobility(option.unwrap_or(source), routing.unwrap_or(destination));
        let (upper, payload) = match shape >> 2 & 7 {
            0..=2 => (protocol::MOBILITY, mended_mobility(self.slice(len), pseudo)),
            3 => {
                let pseudo = PseudoHeader { protocol: protocol::ICMPV6, ..pseudo };
                (protocol::ICMPV6, mended_icmpv6(self.slice(len), pseudo))
            }
            4 => {
                let inner = [self.choose(addresses), self.choose(addresses)];
                let payload = self.slice(len);
                let inner = PacketBuilder::new(inner[0], inner[1]).build(protocol::UDP, payload);
                (protocol::IPV6, inner)
            }
            5 => (protocol::UDP, self.slice(len).to_vec()),
            6 => (protocol::FRAGMENT, self.slice(len).to_vec()),
            _ => (self.u8(), self.slice(len).to_vec()),
        };
        PacketBuilder::new(source, destination)
            .hop_limit(shape)
            .home_address_option(option)
            .routing_home_address(routing)
            .build(upper, &payload)
    }
}

/// A Mobility Header around `contents`, the first of which is its type: Payload Proto, Header Len
/// and checksum in order.
pub(super) fn mended_mobility(contents: &[u8], pseudo: PseudoHeader) -> Vec<u8> {
    let mut octets = vec![protocol::NO_NEXT, 0];
    octets.extend_from_slice(contents.get(..1).unwrap_or(&[0]));
    octets.extend_from_slice(&[0; 3]);
    octets.extend_from_slice(contents.get(1..).unwrap_or_default());
    octets.truncate(2048);
    octets.resize(octets.len().next_multiple_of(8), 0);
    octets[1] = u8::try_from(octets.len() / 8 - 1).expect("at most 2048 octets");
    let sum = checksum(PseudoHeader { protocol: protocol::MOBILITY, ..pseudo }, &octets);
    octets[4..6].copy_from_slice(&sum.to_be_bytes());
    octets
}

/// An ICMPv6 message: type and code are the first two octets of `contents`, the checksum is in
/// order.
pub(super) fn mended_icmpv6(contents: &[u8], pseudo: PseudoHeader) -> Vec<u8> {
    let mut octets = vec![0; 4];
    let (head, rest) = contents.split_at(contents.len().min(2));
    octets[..head.len()].copy_from_slice(head);
    octets.extend_from_slice(rest);
    let sum = checksum(pseudo, &octets);
    octets[2..4].copy_from_slice(&sum.to_be_bytes());
    octets
}

/// Checks a packet that one of the machines has composed.
pub(super) fn check_composed(packet: &[u8]) {
    check_passed_on(packet);
    let walk = walk(packet).expect("a packet that is composed can be read");
    match walk.upper {
        protocol::MOBILITY => {
            Message::parse(walk.payload, walk.pseudo_header()).expect("a message");
        }
        protocol::ICMPV6 => {
            Icmpv6::parse(walk.payload, walk.pseudo_header()).expect("a message");
        }
        other => panic!("protocol {other} is composed by nobody"),
    }
}

/// Checks a packet, IPv6 or IPv4, that is passed on: only its header was looked at.
pub(super) fn check_passed_on(packet: &[u8]) {
    assert!(has_its_length(packet));
    let hops = if packet[0] >> 4 == 4 { packet[8] } else { packet[7] };
    assert!(hops > 0, "nothing is sent that the next hop must drop");
}

/// The length of the packet, IPv6 or IPv4, is that which its header says.
pub(super) fn has_its_length(packet: &[u8]) -> bool {
    match packet.first().map(|octet| octet >> 4) {
        Some(6) => Ipv6Header::parse(packet)
            .is_ok_and(|(header, _)| packet.len() == 40 + usize::from(header.payload_len)),
        Some(4) => Ipv4Header::parse(packet)
            .is_ok_and(|(header, _)| packet.len() == usize::from(header.total_len)),
        _ => false,
    }
}
