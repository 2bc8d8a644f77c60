//! Packets whose header was read, of both families, and as they leave.

use alloc::vec::Vec;

use homeport_wire::{Ipv4Header, Ipv6Header, Malformed, protocol};

use crate::{encapsulation_limit, flow};

/// An IPv6 packet.
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

    /// Solicitations and advertisements: ICMPv6 types 133 to 136 (RFC 4861 §4).
    pub(crate) fn is_neighbour_discovery(&self) -> bool {
        self.header.next_header == protocol::ICMPV6
            && self.payload.first().is_some_and(|kind| (133..=136).contains(kind))
    }

    /// The packet as the next hop gets it: hop limit one less, traffic class as `header` now says.
    pub(crate) fn forwarded(&self) -> Vec<u8> {
        let hop_limit = self.header.hop_limit.saturating_sub(1);
        let mut octets = Vec::with_capacity(self.octets.len());
        Ipv6Header { hop_limit, ..self.header }.emit(&mut octets);
        octets.extend_from_slice(self.payload);
        octets
    }
}

/// An IPv4 packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PacketV4<'p> {
    /// From the header on, without what follows the Total Length.
    pub(crate) octets: &'p [u8],
    pub(crate) header: Ipv4Header,
    pub(crate) payload: &'p [u8],
}

impl<'p> PacketV4<'p> {
    const TOS_OFFSET: usize = 1;
    const TTL_OFFSET: usize = 8;

    pub(crate) fn parse(octets: &'p [u8]) -> Result<Self, Malformed> {
        let (header, payload) = Ipv4Header::parse(octets)?;
        let octets = octets.get(..usize::from(header.total_len)).unwrap_or(octets);
        Ok(Self { octets, header, payload })
    }

    /// The packet as the next hop gets it: time to live one less, DSCP and ECN as `header` now
    /// says, options kept.
    pub(crate) fn forwarded(&self) -> Vec<u8> {
        let mut octets = self.octets.to_vec();
        if let Some(field) = octets.get_mut(Self::TOS_OFFSET) {
            *field = self.header.dscp_ecn;
        }
        if let Some(field) = octets.get_mut(Self::TTL_OFFSET) {
            *field = self.header.ttl.saturating_sub(1);
        }
        rewrite_checksum_v4(&mut octets, self.octets.len().saturating_sub(self.payload.len()));
        octets
    }

    /// The sender forbids to cut it up.
    pub(crate) const fn is_whole_only(&self) -> bool {
        self.header.flags_fragment & Ipv4Header::DONT_FRAGMENT != 0
    }
}

/// Writes the checksum of the IPv4 header that `octets` begins with.
pub(crate) fn rewrite_checksum_v4(octets: &mut [u8], header_len: usize) {
    const CHECKSUM: core::ops::Range<usize> = 10..12;
    if let Some(field) = octets.get_mut(CHECKSUM) {
        field.fill(0);
    }
    let sum = internet_checksum(octets.get(..header_len).unwrap_or_default());
    if let Some(field) = octets.get_mut(CHECKSUM) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
}

/// The Internet checksum (RFC 1071) without pseudo-header.
pub(crate) fn internet_checksum(octets: &[u8]) -> u16 {
    let (words, tail) = octets.as_chunks::<2>();
    let words = words.iter().map(|word| u64::from(u16::from_be_bytes(*word)));
    let tail = tail.iter().map(|octet| u64::from(*octet) << 8);
    let mut sum = words.chain(tail).fold(0_u64, u64::wrapping_add);
    for _ in 0..4 {
        sum = (sum >> 16).wrapping_add(sum & 0xffff);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

/// A packet that is ready for a tunnel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Inner {
    pub(crate) octets: Vec<u8>,
    pub(crate) protocol: u8,
    pub(crate) traffic_class: u8,
    /// Flow label for an outer IPv6 header.
    pub(crate) label: u32,
    /// Tunnels that the packet may still enter, where it says so (RFC 2473 §4.1.1).
    pub(crate) limit: Option<u8>,
    /// A router on the way must not cut the outer packet up (RFC 2003 §3.1, RFC 4213 §3.2.2).
    pub(crate) whole_only: bool,
}

impl Inner {
    /// An IPv6 packet; `octets` is it as it leaves.
    pub(crate) fn v6(header: &Ipv6Header, payload: &[u8], octets: Vec<u8>) -> Self {
        Self {
            whole_only: octets.len() > crate::limits::IPV6_MTU_MIN,
            limit: encapsulation_limit::of(&octets).map(|found| found.limit),
            octets,
            protocol: protocol::IPV6,
            traffic_class: header.traffic_class,
            label: flow::outer_label(header, payload),
        }
    }

    /// An IPv4 packet.
    pub(crate) fn v4(packet: &PacketV4<'_>, octets: Vec<u8>) -> Self {
        Self {
            octets,
            protocol: protocol::IPV4,
            traffic_class: packet.header.dscp_ecn,
            label: flow::outer_label_v4(&packet.header, packet.payload),
            limit: None,
            whole_only: packet.is_whole_only(),
        }
    }
}
