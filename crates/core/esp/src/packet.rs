use alloc::vec::Vec;

use homeport_wire::{Ipv6Header, Walk, protocol, walk};

use crate::error::EspError;
use crate::transform::Transform;

/// Where the Payload Length field of an IPv6 header stands.
const PAYLOAD_LENGTH: core::ops::Range<usize> = 4..6;

/// What of an ESP packet can be read without keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EspHeader {
    /// Security Parameters Index.
    pub spi: u32,
    /// Lower half of the sequence number, or all of it.
    pub sequence: u32,
}

impl EspHeader {
    /// The first eight octets.
    #[must_use]
    pub fn parse(octets: &[u8]) -> Option<Self> {
        let (spi, rest) = octets.split_first_chunk::<4>()?;
        let sequence = rest.first_chunk::<4>()?;
        Some(Self { spi: u32::from_be_bytes(*spi), sequence: u32::from_be_bytes(*sequence) })
    }
}

/// The packet with its upper layer in ESP (RFC 4303 §3.1.1): extension headers up to there stay in the clear, so
/// a Home Address option and a type 2 routing header do (RFC 3776 §3).
///
/// `sequence` must never have been used with this transform; `random` is unpredictable.
///
/// # Errors
/// When `packet` is not an IPv6 packet, or gets too long for one.
pub fn protect(
    packet: &[u8],
    transform: &Transform,
    sequence: u64,
    random: [u8; 16],
) -> Result<Vec<u8>, EspError> {
    let walk = walk(packet).map_err(|_| EspError::Packet)?;
    let sealed = transform.seal(sequence, random, walk.upper, walk.payload)?;
    rebuilt(packet, &walk, protocol::ESP, &sealed)
}

/// The packet that was protected, for a `walk` that has ended at ESP; `sequence` is what the receiver has made
/// of its lower half.
///
/// # Errors
/// When it is not authentic or not well formed.
pub fn unprotect(
    packet: &[u8],
    walk: &Walk<'_>,
    transform: &Transform,
    sequence: u64,
) -> Result<Vec<u8>, EspError> {
    let opened = transform.open(walk.payload, sequence)?;
    rebuilt(packet, walk, opened.next_header, &opened.payload)
}

fn rebuilt(
    packet: &[u8],
    walk: &Walk<'_>,
    next_header: u8,
    upper: &[u8],
) -> Result<Vec<u8>, EspError> {
    let mut rebuilt = Vec::from(packet.get(..walk.upper_offset).ok_or(EspError::Packet)?);
    rebuilt.extend_from_slice(upper);
    let payload_len = rebuilt.len().checked_sub(Ipv6Header::LEN).ok_or(EspError::Packet)?;
    let payload_len = u16::try_from(payload_len).map_err(|_| EspError::Packet)?;
    let field = rebuilt.get_mut(PAYLOAD_LENGTH).ok_or(EspError::Packet)?;
    field.copy_from_slice(&payload_len.to_be_bytes());
    *rebuilt.get_mut(walk.next_header_offset).ok_or(EspError::Packet)? = next_header;
    Ok(rebuilt)
}
