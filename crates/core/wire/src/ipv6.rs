//! The IPv6 header (RFC 8200 §3) and complete packets with the headers of Mobile IPv6.

use alloc::vec::Vec;
use core::net::Ipv6Addr;

use crate::error::Malformed;
use crate::reader::Reader;

/// Protocol numbers, which are also Next Header values (IANA "Protocol Numbers").
pub mod protocol {
    /// Hop-by-Hop Options header.
    pub const HOP_BY_HOP: u8 = 0;
    /// IPv4 in IP.
    pub const IPV4: u8 = 4;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 in IP.
    pub const IPV6: u8 = 41;
    /// Routing header.
    pub const ROUTING: u8 = 43;
    /// Fragment header.
    pub const FRAGMENT: u8 = 44;
    /// Encapsulating Security Payload.
    pub const ESP: u8 = 50;
    /// Authentication Header.
    pub const AH: u8 = 51;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// Nothing follows.
    pub const NO_NEXT: u8 = 59;
    /// Destination Options header.
    pub const DESTINATION_OPTIONS: u8 = 60;
    /// Mobility Header (RFC 6275 §6.1.1).
    pub const MOBILITY: u8 = 135;
}

/// Option Type of the Home Address option (RFC 6275 §6.3).
pub(crate) const HOME_ADDRESS_OPTION: u8 = 0xc9;
/// Type of the routing header that carries a home address (RFC 6275 §6.4).
pub(crate) const ROUTING_TYPE_HOME_ADDRESS: u8 = 2;
/// Hop limit of what this node originates.
const HOP_LIMIT: u8 = 64;

/// The fixed header (RFC 8200 §3).
///
/// ```text
///  0: version 4 bits | traffic class 8 bits | flow label 20 bits
///  4: payload length 16 bits | next header 8 bits | hop limit 8 bits
///  8: source     24: destination
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ipv6Header {
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Low 20 bits.
    pub flow_label: u32,
    /// Octets after this header.
    pub payload_len: u16,
    /// See [`protocol`].
    pub next_header: u8,
    /// Hops left.
    pub hop_limit: u8,
    /// Source.
    pub source: Ipv6Addr,
    /// Destination.
    pub destination: Ipv6Addr,
}

impl Ipv6Header {
    /// Octets of the header.
    pub const LEN: usize = 40;

    /// Splits a packet into header and payload; the payload is cut to the Payload Length, so that
    /// link-layer padding does not count.
    pub fn parse(packet: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let mut reader = Reader::new(packet);
        let first = reader.u32("IPv6 version")?;
        let [head, ..] = first.to_be_bytes();
        if head >> 4 != 6 {
            return Err(Malformed::Version { value: head >> 4 });
        }
        let [traffic_class, ..] = (first << 4).to_be_bytes();
        let header = Self {
            traffic_class,
            flow_label: first & 0x000f_ffff,
            payload_len: reader.u16("IPv6 payload length")?,
            next_header: reader.u8("IPv6 next header")?,
            hop_limit: reader.u8("IPv6 hop limit")?,
            source: reader.ipv6("IPv6 source")?,
            destination: reader.ipv6("IPv6 destination")?,
        };
        let payload = reader.slice(usize::from(header.payload_len), "IPv6 payload")?;
        Ok((header, payload))
    }

    /// Appends the header.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let first = 6 << 28 | u32::from(self.traffic_class) << 20 | (self.flow_label & 0x000f_ffff);
        out.extend_from_slice(&first.to_be_bytes());
        out.extend_from_slice(&self.payload_len.to_be_bytes());
        out.extend_from_slice(&[self.next_header, self.hop_limit]);
        out.extend_from_slice(&self.source.octets());
        out.extend_from_slice(&self.destination.octets());
    }
}

/// Composes a complete IPv6 packet, with the extension headers of Mobile IPv6 where asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PacketBuilder {
    header: Ipv6Header,
    home_address_option: Option<Ipv6Addr>,
    routing_home_address: Option<Ipv6Addr>,
}

impl PacketBuilder {
    /// A packet from `source` to `destination`, hop limit 64, traffic class and flow label zero.
    #[must_use]
    pub const fn new(source: Ipv6Addr, destination: Ipv6Addr) -> Self {
        let header = Ipv6Header {
            traffic_class: 0,
            flow_label: 0,
            payload_len: 0,
            next_header: protocol::NO_NEXT,
            hop_limit: HOP_LIMIT,
            source,
            destination,
        };
        Self { header, home_address_option: None, routing_home_address: None }
    }

    /// Sets the hop limit.
    #[must_use]
    pub const fn hop_limit(mut self, hop_limit: u8) -> Self {
        self.header.hop_limit = hop_limit;
        self
    }

    /// Sets the traffic class.
    #[must_use]
    pub const fn traffic_class(mut self, traffic_class: u8) -> Self {
        self.header.traffic_class = traffic_class;
        self
    }

    /// Sets the flow label, 20 bits.
    #[must_use]
    pub const fn flow_label(mut self, flow_label: u32) -> Self {
        self.header.flow_label = flow_label & 0x000f_ffff;
        self
    }

    /// With a Home Address option (RFC 6275 §6.3).
    #[must_use]
    pub const fn home_address_option(mut self, home_address: Option<Ipv6Addr>) -> Self {
        self.home_address_option = home_address;
        self
    }

    /// With a type 2 routing header (RFC 6275 §6.4).
    #[must_use]
    pub const fn routing_home_address(mut self, home_address: Option<Ipv6Addr>) -> Self {
        self.routing_home_address = home_address;
        self
    }

    /// The packet around `payload`, whose protocol is `upper`. More than 65,535 octets do not fit
    /// into an IPv6 packet: the answer then is empty.
    #[must_use]
    pub fn build(self, upper: u8, payload: &[u8]) -> Vec<u8> {
        // Order of RFC 6275 §6.3: the routing header comes before the Home Address option.
        let mut chain = Vec::new();
        let after_routing =
            self.home_address_option.map_or(upper, |_| protocol::DESTINATION_OPTIONS);
        if let Some(home_address) = self.routing_home_address {
            // Hdr Ext Len 2, type 2, one segment left, reserved.
            chain.extend_from_slice(&[after_routing, 2, ROUTING_TYPE_HOME_ADDRESS, 1, 0, 0, 0, 0]);
            chain.extend_from_slice(&home_address.octets());
        }
        if let Some(home_address) = self.home_address_option {
            // Hdr Ext Len 2, PadN of four octets, so that the option stands at 8n+6.
            chain.extend_from_slice(&[upper, 2, 1, 2, 0, 0, HOME_ADDRESS_OPTION, 16]);
            chain.extend_from_slice(&home_address.octets());
        }
        let next_header = self.routing_home_address.map_or(after_routing, |_| protocol::ROUTING);
        let len = chain.len().saturating_add(payload.len());
        let Ok(payload_len) = u16::try_from(len) else {
            return Vec::new();
        };
        let mut packet = Vec::with_capacity(len.saturating_add(Ipv6Header::LEN));
        Ipv6Header { payload_len, next_header, ..self.header }.emit(&mut packet);
        packet.extend_from_slice(&chain);
        packet.extend_from_slice(payload);
        packet
    }
}

/// A complete packet around a Mobility Header, hop limit 64: with a Home Address option for what a
/// mobile node away from home sends, with a type 2 routing header for what is sent to one.
#[must_use]
pub fn mobility_packet(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    hao: Option<Ipv6Addr>,
    rh2: Option<Ipv6Addr>,
    mh: &[u8],
) -> Vec<u8> {
    PacketBuilder::new(source, destination)
        .home_address_option(hao)
        .routing_home_address(rh2)
        .build(protocol::MOBILITY, mh)
}

/// An IPv6 packet as payload of another (RFC 2473). Empty when `inner` does not fit.
#[must_use]
pub fn encapsulate_v6(
    inner: &[u8],
    source: Ipv6Addr,
    destination: Ipv6Addr,
    hop_limit: u8,
    traffic_class: u8,
    flow_label: u32,
) -> Vec<u8> {
    PacketBuilder::new(source, destination)
        .hop_limit(hop_limit)
        .traffic_class(traffic_class)
        .flow_label(flow_label)
        .build(protocol::IPV6, inner)
}
