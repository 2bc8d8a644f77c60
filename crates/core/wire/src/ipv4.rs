//! The IPv4 header (RFC 791 §3.1), as far as the envelope of RFC 5555 needs it.

use alloc::vec::Vec;
use core::net::Ipv4Addr;

use crate::checksum::{Sum, fill_in};
use crate::error::Malformed;
use crate::reader::Reader;

/// The header without its options, which are skipped when parsed and never written.
///
/// ```text
///  0: version 4 bits | header length 4 bits | DSCP and ECN | total length
///  4: identification | flags 3 bits, fragment offset 13 bits
///  8: time to live | protocol | header checksum
/// 12: source   16: destination
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ipv4Header {
    /// DSCP and ECN.
    pub dscp_ecn: u8,
    /// Octets of header and payload.
    pub total_len: u16,
    /// Identification of fragments.
    pub identification: u16,
    /// Flags (0x4000 don't fragment, 0x2000 more fragments) and fragment offset.
    pub flags_fragment: u16,
    /// Hops left.
    pub ttl: u8,
    /// See [`crate::protocol`].
    pub protocol: u8,
    /// Source.
    pub source: Ipv4Addr,
    /// Destination.
    pub destination: Ipv4Addr,
}

impl Ipv4Header {
    /// Octets of the header without options.
    pub const LEN: usize = 20;
    /// Don't fragment.
    pub const DONT_FRAGMENT: u16 = 0x4000;
    const CHECKSUM_OFFSET: usize = 10;

    /// Splits a packet into header and payload; the payload is cut to the Total Length. A wrong
    /// header checksum is an error.
    pub fn parse(packet: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let mut reader = Reader::new(packet);
        let first = reader.u8("IPv4 version")?;
        if first >> 4 != 4 {
            return Err(Malformed::Version { value: first >> 4 });
        }
        let header_len = usize::from(first & 0x0f).saturating_mul(4);
        let options_len = header_len
            .checked_sub(Self::LEN)
            .ok_or(Malformed::Length { field: "IPv4 header length" })?;
        let dscp_ecn = reader.u8("IPv4 DSCP")?;
        let total_len = reader.u16("IPv4 total length")?;
        let identification = reader.u16("IPv4 identification")?;
        let flags_fragment = reader.u16("IPv4 fragment offset")?;
        let ttl = reader.u8("IPv4 time to live")?;
        let protocol = reader.u8("IPv4 protocol")?;
        reader.u16("IPv4 checksum")?;
        let source = reader.ipv4("IPv4 source")?;
        let destination = reader.ipv4("IPv4 destination")?;
        reader.slice(options_len, "IPv4 options")?;
        let header = Reader::new(packet).slice(header_len, "IPv4 header")?;
        if Sum::default().add(header).finish() != 0 {
            return Err(Malformed::Checksum);
        }
        let payload_len = usize::from(total_len)
            .checked_sub(header_len)
            .ok_or(Malformed::Length { field: "IPv4 total length" })?;
        let payload = reader.slice(payload_len, "IPv4 payload")?;
        let header = Self {
            dscp_ecn,
            total_len,
            identification,
            flags_fragment,
            ttl,
            protocol,
            source,
            destination,
        };
        Ok((header, payload))
    }

    /// True for any part of a fragmented packet.
    #[must_use]
    pub const fn is_fragment(&self) -> bool {
        self.flags_fragment & 0x3fff != 0
    }

    /// Appends the header, its checksum filled in.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let mut header = Vec::with_capacity(Self::LEN);
        header.extend_from_slice(&[0x45, self.dscp_ecn]);
        header.extend_from_slice(&self.total_len.to_be_bytes());
        header.extend_from_slice(&self.identification.to_be_bytes());
        header.extend_from_slice(&self.flags_fragment.to_be_bytes());
        header.extend_from_slice(&[self.ttl, self.protocol, 0, 0]);
        header.extend_from_slice(&self.source.octets());
        header.extend_from_slice(&self.destination.octets());
        let sum = Sum::default().add(&header).finish();
        fill_in(&mut header, Self::CHECKSUM_OFFSET, sum);
        out.extend_from_slice(&header);
    }
}

/// `inner` as payload of an IPv4 packet: protocol 41 for IPv6 (RFC 4213 §3), 4 for IPv4 (RFC 2003).
/// Empty when it does not fit.
#[must_use]
pub fn encapsulate_v4(
    inner: &[u8],
    protocol: u8,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    ttl: u8,
    dscp_ecn: u8,
) -> Vec<u8> {
    let len = inner.len().saturating_add(Ipv4Header::LEN);
    let Ok(total_len) = u16::try_from(len) else {
        return Vec::new();
    };
    let mut packet = Vec::with_capacity(len);
    let header = Ipv4Header {
        dscp_ecn,
        total_len,
        identification: 1,
        flags_fragment: 0,
        ttl,
        protocol,
        source,
        destination,
    };
    header.emit(&mut packet);
    packet.extend_from_slice(inner);
    packet
}
