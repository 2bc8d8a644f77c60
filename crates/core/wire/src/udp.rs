//! UDP (RFC 768) over IPv4 and IPv6, and the envelope of RFC 5555 §4.1.

use alloc::vec::Vec;
use core::net::Ipv4Addr;

use crate::checksum::{PseudoHeader, Sum, checksum, fill_in};
use crate::error::Malformed;
use crate::ipv4::encapsulate_v4;
use crate::ipv6::protocol;
use crate::reader::Reader;

/// The port of Mobile IPv6 signalling and data in UDP at the home agent (RFC 5555 §4.1).
pub const MOBILITY_UDP_PORT: u16 = 4191;

/// The header.
///
/// ```text
///  0: source port | destination port
///  4: length | checksum
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct UdpHeader {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
}

impl UdpHeader {
    /// Octets of the header.
    pub const LEN: usize = 8;
    const CHECKSUM_OFFSET: usize = 6;

    /// Splits a datagram carried by IPv4 into header and payload. Checksum zero means that there is
    /// none.
    pub fn parse_v4(
        datagram: &[u8],
        source: Ipv4Addr,
        destination: Ipv4Addr,
    ) -> Result<(Self, &[u8]), Malformed> {
        let Split { header, field, covered, payload } = split(datagram)?;
        let sum = Sum::default()
            .add_pseudo_v4(source, destination, protocol::UDP, covered.len())
            .add(covered)
            .finish();
        if field != 0 && sum != 0 {
            return Err(Malformed::Checksum);
        }
        Ok((header, payload))
    }

    /// Splits a datagram carried by IPv6 into header and payload. Checksum zero is refused
    /// (RFC 8200 §8.1).
    pub fn parse_v6(datagram: &[u8], pseudo: PseudoHeader) -> Result<(Self, &[u8]), Malformed> {
        let Split { header, field, covered, payload } = split(datagram)?;
        if field == 0 {
            return Err(Malformed::ChecksumAbsent);
        }
        if checksum(pseudo.with_protocol(protocol::UDP), covered) != 0 {
            return Err(Malformed::Checksum);
        }
        Ok((header, payload))
    }

    /// The datagram around `payload` for IPv4. Empty when the payload does not fit.
    #[must_use]
    pub fn emit_v4(&self, source: Ipv4Addr, destination: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
        let mut datagram = self.unchecked(payload);
        let sum = Sum::default()
            .add_pseudo_v4(source, destination, protocol::UDP, datagram.len())
            .add(&datagram)
            .finish();
        fill_in(&mut datagram, Self::CHECKSUM_OFFSET, not_zero(sum));
        datagram
    }

    /// The datagram around `payload` for IPv6. Empty when the payload does not fit.
    #[must_use]
    pub fn emit_v6(&self, pseudo: PseudoHeader, payload: &[u8]) -> Vec<u8> {
        let mut datagram = self.unchecked(payload);
        let sum = checksum(pseudo.with_protocol(protocol::UDP), &datagram);
        fill_in(&mut datagram, Self::CHECKSUM_OFFSET, not_zero(sum));
        datagram
    }

    fn unchecked(&self, payload: &[u8]) -> Vec<u8> {
        let Ok(len) = u16::try_from(payload.len().saturating_add(Self::LEN)) else {
            return Vec::new();
        };
        let mut datagram = Vec::with_capacity(usize::from(len));
        datagram.extend_from_slice(&self.source_port.to_be_bytes());
        datagram.extend_from_slice(&self.destination_port.to_be_bytes());
        datagram.extend_from_slice(&len.to_be_bytes());
        datagram.extend_from_slice(&[0, 0]);
        datagram.extend_from_slice(payload);
        datagram
    }
}

/// A datagram taken apart.
struct Split<'p> {
    header: UdpHeader,
    /// The checksum field.
    field: u16,
    /// The octets that the length covers.
    covered: &'p [u8],
    payload: &'p [u8],
}

fn split(datagram: &[u8]) -> Result<Split<'_>, Malformed> {
    let mut reader = Reader::new(datagram);
    let source_port = reader.u16("UDP source port")?;
    let destination_port = reader.u16("UDP destination port")?;
    let len = usize::from(reader.u16("UDP length")?);
    let field = reader.u16("UDP checksum")?;
    let payload_len =
        len.checked_sub(UdpHeader::LEN).ok_or(Malformed::Length { field: "UDP length" })?;
    let payload = reader.slice(payload_len, "UDP payload")?;
    let covered = Reader::new(datagram).slice(len, "UDP datagram")?;
    let header = UdpHeader { source_port, destination_port };
    Ok(Split { header, field, covered, payload })
}

/// RFC 768: a computed zero is sent as all ones, because zero says that there is no checksum.
const fn not_zero(sum: u16) -> u16 {
    if sum == 0 { u16::MAX } else { sum }
}

/// Time to live of what this node originates.
const TTL: u8 = 64;

/// A complete IPv4 packet with one UDP datagram: the envelope of RFC 5555 §4.1. Identification 1,
/// time to live 64. Empty when the payload does not fit.
#[must_use]
pub fn udp_v4_packet(src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    let (source, source_port) = src;
    let (destination, destination_port) = dst;
    let datagram =
        UdpHeader { source_port, destination_port }.emit_v4(source, destination, payload);
    if datagram.is_empty() {
        return datagram;
    }
    encapsulate_v4(&datagram, protocol::UDP, source, destination, TTL, 0)
}
