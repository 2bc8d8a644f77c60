//! Packets as a mobile node, a router or a correspondent node writes them. Written for this suite from
//! the RFCs alone: nothing of the codec under test is used.

use std::net::{Ipv4Addr, Ipv6Addr};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;

/// Protocol numbers.
pub mod protocol {
    /// IPv4 in something.
    pub const IPV4: u8 = 4;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 in something.
    pub const IPV6: u8 = 41;
    /// Routing header.
    pub const ROUTING: u8 = 43;
    /// Fragment header.
    pub const FRAGMENT: u8 = 44;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// No next header.
    pub const NO_NEXT: u8 = 59;
    /// Destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;
    /// Mobility Header.
    pub const MOBILITY: u8 = 135;
    /// ICMP for IPv4.
    pub const ICMPV4: u8 = 1;
}

/// Flags of a Binding Update (RFC 6275 section 6.1.7, RFC 3963, RFC 5555, RFC 5648).
pub mod flag {
    /// Acknowledge.
    pub const A: u16 = 0x8000;
    /// Home registration.
    pub const H: u16 = 0x4000;
    /// Link-local address compatibility.
    pub const L: u16 = 0x2000;
    /// Key management mobility.
    pub const K: u16 = 0x1000;
    /// Mobile router.
    pub const R: u16 = 0x0400;
    /// Force UDP encapsulation.
    pub const F: u16 = 0x0100;
    /// TLV header.
    pub const T: u16 = 0x0080;
    /// Overwrite.
    pub const O: u16 = 0x0040;
}

/// A mobility option: its data, and where its type octet must stand in the Mobility Header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MobilityOption {
    /// Type.
    pub kind: u8,
    /// After the length octet.
    pub data: Vec<u8>,
    /// `(n, offset)`: at a multiple of `n` plus `offset`.
    pub align: (usize, usize),
}

/// Any option, without alignment.
#[must_use]
pub fn option(kind: u8, data: &[u8]) -> MobilityOption {
    MobilityOption { kind, data: data.to_vec(), align: (1, 0) }
}

/// Alternate Care-of Address (RFC 6275 section 6.2.5).
#[must_use]
pub fn alternate(care_of: Ipv6Addr) -> MobilityOption {
    MobilityOption { align: (8, 6), ..option(3, &care_of.octets()) }
}

/// Nonce Indices (RFC 6275 section 6.2.6).
#[must_use]
pub fn nonce_indices() -> MobilityOption {
    MobilityOption { align: (2, 0), ..option(4, &[0, 1, 0, 2]) }
}

/// Mobile Network Prefix (RFC 3963 section 4.3).
#[must_use]
pub fn network_prefix(prefix: Ipv6Addr, len: u8) -> MobilityOption {
    let mut data = vec![0, len];
    data.extend(prefix.octets());
    MobilityOption { align: (8, 4), ..option(6, &data) }
}

/// Mobility Header Link-Layer Address, code 2 (RFC 5568 section 6.4.4).
#[must_use]
pub fn link_layer(address: [u8; 6]) -> MobilityOption {
    let mut data = vec![2];
    data.extend(address);
    option(7, &data)
}

/// What the care-of address field of a BID option holds.
#[derive(Clone, Copy, Debug)]
pub enum CareOf {
    /// Nothing.
    Absent,
    /// 4 octets.
    V4(Ipv4Addr),
    /// 16 octets.
    V6(Ipv6Addr),
}

/// Binding Identifier (RFC 5648 section 4.3): the fourth data octet is H and BID-PRI.
#[must_use]
pub fn bid(bid: u16, care_of: CareOf) -> MobilityOption {
    bid_with(bid, 0, 0, care_of)
}

/// Binding Identifier with its status and its octet of H flag and BID-PRI.
#[must_use]
pub fn bid_with(bid: u16, status: u8, flags: u8, care_of: CareOf) -> MobilityOption {
    let mut data = bid.to_be_bytes().to_vec();
    data.extend([status, flags]);
    let align = match care_of {
        CareOf::Absent => (2, 0),
        CareOf::V4(address) => {
            data.extend(address.octets());
            (8, 2)
        }
        CareOf::V6(address) => {
            data.extend(address.octets());
            (8, 2)
        }
    };
    MobilityOption { align, ..option(35, &data) }
}

/// Binding Identifier with an IPv6 care-of address.
#[must_use]
pub fn bid6(id: u16, care_of: Ipv6Addr) -> MobilityOption {
    bid(id, CareOf::V6(care_of))
}

/// IPv4 Home Address (RFC 5555 section 3.1.1): prefix length, and whether a prefix is asked for.
#[must_use]
pub fn ipv4_home(address: Ipv4Addr, prefix_len: u8, wants_prefix: bool) -> MobilityOption {
    let mut data = vec![prefix_len << 2 | u8::from(wants_prefix) << 1, 0];
    data.extend(address.octets());
    MobilityOption { align: (4, 0), ..option(29, &data) }
}

/// IPv4 Care-of Address (RFC 5555 section 3.1.2).
#[must_use]
pub fn ipv4_care_of(address: Ipv4Addr) -> MobilityOption {
    let mut data = vec![0, 0];
    data.extend(address.octets());
    MobilityOption { align: (4, 0), ..option(32, &data) }
}

/// A Binding Update; change what differs.
#[derive(Clone, Debug)]
pub struct Update {
    /// Sequence number.
    pub sequence: u16,
    /// See [`flag`]; A and H by default.
    pub flags: u16,
    /// Units of four seconds.
    pub lifetime: u16,
    /// In their order.
    pub options: Vec<MobilityOption>,
    /// SPI and key of RFC 4285.
    pub association: Option<(u32, [u8; 16])>,
}

impl Update {
    /// For 420 seconds, with A and H.
    #[must_use]
    pub const fn new(sequence: u16) -> Self {
        Self {
            sequence,
            flags: flag::A | flag::H,
            lifetime: 105,
            options: Vec::new(),
            association: None,
        }
    }

    /// With other flags.
    #[must_use]
    pub const fn flags(mut self, flags: u16) -> Self {
        self.flags = flags;
        self
    }

    /// With other flags added.
    #[must_use]
    pub const fn and(mut self, flags: u16) -> Self {
        self.flags |= flags;
        self
    }

    /// For another time, in units of four seconds.
    #[must_use]
    pub const fn lifetime(mut self, lifetime: u16) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// With one more option.
    #[must_use]
    pub fn with(mut self, option: MobilityOption) -> Self {
        self.options.push(option);
        self
    }

    /// The Mobility Header between these addresses of the pseudo-header; `care_of` is what the
    /// authenticator of RFC 4285 covers.
    #[must_use]
    pub fn header(&self, source: Ipv6Addr, destination: Ipv6Addr, care_of: Ipv6Addr) -> Vec<u8> {
        let mut data = self.sequence.to_be_bytes().to_vec();
        data.extend(self.flags.to_be_bytes());
        data.extend(self.lifetime.to_be_bytes());
        let mut header = Mobility::new(5, &data, &self.options);
        let Some((spi, key)) = self.association else {
            return header.emit(source, destination);
        };
        header.authenticate(spi, &key, care_of, source);
        header.emit(source, destination)
    }
}

/// A Mobility Header that can be spoilt in every field.
#[derive(Clone, Debug)]
pub struct Mobility {
    /// 59 by the RFC.
    pub payload_proto: u8,
    /// In place of the right one.
    pub header_len: Option<u8>,
    /// In place of the right one.
    pub checksum: Option<u16>,
    /// MH Type.
    pub kind: u8,
    /// From offset 6 on, padded.
    pub data: Vec<u8>,
}

impl Mobility {
    /// The fixed `data` (from offset 6 on) and options, aligned and padded.
    #[must_use]
    pub fn new(kind: u8, data: &[u8], options: &[MobilityOption]) -> Self {
        let mut data = data.to_vec();
        for option in options {
            pad(&mut data, option.align);
            data.push(option.kind);
            data.push(u8::try_from(option.data.len()).unwrap_or(u8::MAX));
            data.extend(&option.data);
        }
        pad(&mut data, (8, 0));
        Self { payload_proto: protocol::NO_NEXT, header_len: None, checksum: None, kind, data }
    }

    /// The MN-HA option of RFC 4285 section 5.1, last, with its authenticator.
    fn authenticate(&mut self, spi: u32, key: &[u8; 16], care_of: Ipv6Addr, home: Ipv6Addr) {
        pad(&mut self.data, (8, 5));
        self.data.extend([9, 17, 1]);
        self.data.extend(spi.to_be_bytes());
        let covered = self.data.len() + 6;
        self.data.extend([0; 12]);
        let octets = self.octets(0);
        let Ok(mac) = Hmac::<Sha1>::new_from_slice(key) else { return };
        let mac = mac.chain_update(care_of.octets()).chain_update(home.octets());
        let mac = mac.chain_update(&octets[..covered]).finalize().into_bytes();
        let at = self.data.len() - 12;
        self.data[at..].copy_from_slice(&mac[..12]);
    }

    /// Its octets with a checksum of zero: what authenticators cover.
    #[must_use]
    pub fn unsigned(&self) -> Vec<u8> {
        self.octets(0)
    }

    fn octets(&self, checksum: u16) -> Vec<u8> {
        let len = (self.data.len() + 6) / 8;
        let len = u8::try_from(len.saturating_sub(1)).unwrap_or(u8::MAX);
        let mut octets =
            vec![self.payload_proto, self.header_len.unwrap_or(len), self.kind, 0, 0, 0];
        octets[4..6].copy_from_slice(&checksum.to_be_bytes());
        octets.extend(&self.data);
        octets
    }

    /// Its octets, with the checksum over this pseudo-header.
    #[must_use]
    pub fn emit(&self, source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
        let right = checksum6(source, destination, protocol::MOBILITY, &self.octets(0));
        self.octets(self.checksum.unwrap_or(right))
    }
}

/// Pads Mobility Header data (which starts at offset 6) so that the next octet is aligned.
fn pad(data: &mut Vec<u8>, (n, offset): (usize, usize)) {
    let at = data.len() + 6;
    let missing = (n + offset - at % n) % n;
    match missing {
        0 => {}
        1 => data.push(0),
        more => {
            data.extend([1, u8::try_from(more - 2).unwrap_or_default()]);
            data.resize(data.len() + more - 2, 0);
        }
    }
}

/// Internet checksum (RFC 1071) of these pieces; only the last may have an odd length.
#[must_use]
pub fn checksum(pieces: &[&[u8]]) -> u16 {
    let mut sum: u32 = 0;
    for piece in pieces {
        for pair in piece.chunks(2) {
            let low = pair.get(1).copied().unwrap_or_default();
            sum += u32::from(u16::from_be_bytes([pair[0], low]));
        }
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

/// Checksum over the IPv6 pseudo-header (RFC 8200 section 8.1) and `payload`.
#[must_use]
pub fn checksum6(source: Ipv6Addr, destination: Ipv6Addr, next: u8, payload: &[u8]) -> u16 {
    let len = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    checksum(&[&source.octets(), &destination.octets(), &len, &[0, 0, 0, next], payload])
}

/// An IPv6 packet with hop limit 64.
#[must_use]
pub fn ipv6(source: Ipv6Addr, destination: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(payload);
    packet
}

/// `payload` behind a Destination Options header with a Home Address option (RFC 6275 section 6.3).
#[must_use]
pub fn home_address_option(home: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![next, 2, 1, 2, 0, 0, 0xc9, 16];
    header.extend(home.octets());
    header.extend(payload);
    header
}

/// `payload` behind a type 2 routing header (RFC 6275 section 6.4).
#[must_use]
pub fn type_2_routing(home: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![next, 2, 2, 1, 0, 0, 0, 0];
    header.extend(home.octets());
    header.extend(payload);
    header
}

/// An ICMPv6 message between these addresses of the pseudo-header; `rest` follows the checksum.
#[must_use]
pub fn icmpv6(source: Ipv6Addr, destination: Ipv6Addr, kind: u8, code: u8, rest: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend(rest);
    let sum = checksum6(source, destination, protocol::ICMPV6, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// Rest of an Echo Request or Reply.
#[must_use]
pub fn echo(identifier: u16, sequence: u16, data: &[u8]) -> Vec<u8> {
    let mut rest = identifier.to_be_bytes().to_vec();
    rest.extend(sequence.to_be_bytes());
    rest.extend(data);
    rest
}

/// An Echo Request between hosts, without extension headers.
#[must_use]
pub fn ping(source: Ipv6Addr, destination: Ipv6Addr, identifier: u16, sequence: u16) -> Vec<u8> {
    let rest = echo(identifier, sequence, b"conformance");
    ipv6(source, destination, protocol::ICMPV6, &icmpv6(source, destination, 128, 0, &rest))
}

/// An IPv4 packet; `options` must be a multiple of four octets.
#[must_use]
pub fn ipv4_with(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    next: u8,
    ttl: u8,
    options: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let header_len = 20 + options.len();
    let total = u16::try_from(header_len + payload.len()).unwrap_or(u16::MAX);
    let words = u8::try_from(header_len / 4).unwrap_or_default();
    let mut packet = vec![0x40 | words, 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0, 1, 0, 0, ttl, next, 0, 0]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(options);
    let sum = checksum(&[&packet]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(payload);
    packet
}

/// An IPv4 packet.
#[must_use]
pub fn ipv4(source: Ipv4Addr, destination: Ipv4Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_with(source, destination, next, 64, &[], payload)
}

/// One end of a datagram.
pub type End = (Ipv4Addr, u16);

/// A UDP header and payload over IPv4; `sum` replaces the right checksum.
#[must_use]
pub fn udp(source: End, destination: End, payload: &[u8], sum: Option<u16>) -> Vec<u8> {
    let len = u16::try_from(payload.len() + 8).unwrap_or(u16::MAX);
    let mut datagram = source.1.to_be_bytes().to_vec();
    datagram.extend(destination.1.to_be_bytes());
    datagram.extend(len.to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    let pseudo = [0, protocol::UDP];
    let right = checksum(&[
        &source.0.octets(),
        &destination.0.octets(),
        &pseudo,
        &len.to_be_bytes(),
        &datagram,
    ]);
    let right = if right == 0 { u16::MAX } else { right };
    datagram[6..8].copy_from_slice(&sum.unwrap_or(right).to_be_bytes());
    datagram
}

/// A whole datagram in IPv4.
#[must_use]
pub fn udp_packet(source: End, destination: End, payload: &[u8]) -> Vec<u8> {
    ipv4(source.0, destination.0, protocol::UDP, &udp(source, destination, payload, None))
}
