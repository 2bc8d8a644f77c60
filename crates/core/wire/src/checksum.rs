//! The Internet checksum (RFC 1071) and the pseudo-headers it covers.

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::ipv6::protocol;

/// One's complement sum in progress.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Sum(u64);

impl Sum {
    /// Adds octets; an odd last one counts as the high half of a word.
    pub(crate) fn add(self, octets: &[u8]) -> Self {
        let (words, tail) = octets.as_chunks::<2>();
        // A word has 16 bits and a packet fewer than 2^48 words: 64 bits cannot overflow.
        let sum = words
            .iter()
            .fold(self.0, |sum, word| sum.wrapping_add(u64::from(u16::from_be_bytes(*word))));
        Self(tail.iter().fold(sum, |sum, octet| sum.wrapping_add(u64::from(*octet) << 8)))
    }

    pub(crate) fn add_word(self, word: u16) -> Self {
        Self(self.0.wrapping_add(u64::from(word)))
    }

    pub(crate) fn add_pseudo_v4(
        self,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        protocol: u8,
        len: usize,
    ) -> Self {
        self.add(&source.octets())
            .add(&destination.octets())
            .add_word(u16::from(protocol))
            .add_word(u16::try_from(len).unwrap_or(u16::MAX))
    }

    /// The value for the checksum field when that field was zero in what was added. Zero is correct
    /// octets when the field was not.
    pub(crate) fn finish(self) -> u16 {
        let mut sum = self.0;
        // Each round folds 48 bits into the sum of four words; four rounds reach 16 bits.
        for _ in 0..4 {
            sum = (sum >> 16).wrapping_add(sum & 0xffff);
        }
        !u16::try_from(sum).unwrap_or(u16::MAX)
    }
}

/// The IPv6 pseudo-header of RFC 8200 §8.1 without the length, which the covered octets give.
///
/// Source and destination are the end points of the exchange: the home address where the packet has
/// a Home Address option or a type 2 routing header (RFC 6275 §6.1.1, §6.3, §6.4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PseudoHeader {
    /// Home Address option, else IPv6 source.
    pub source: Ipv6Addr,
    /// Home address of the type 2 routing header, else IPv6 destination.
    pub destination: Ipv6Addr,
    /// Protocol of the covered octets.
    pub protocol: u8,
}

impl PseudoHeader {
    /// For a Mobility Header.
    #[must_use]
    pub const fn mobility(source: Ipv6Addr, destination: Ipv6Addr) -> Self {
        Self { source, destination, protocol: protocol::MOBILITY }
    }

    /// For an ICMPv6 message.
    #[must_use]
    pub const fn icmpv6(source: Ipv6Addr, destination: Ipv6Addr) -> Self {
        Self { source, destination, protocol: protocol::ICMPV6 }
    }

    /// For a UDP datagram.
    #[must_use]
    pub const fn udp(source: Ipv6Addr, destination: Ipv6Addr) -> Self {
        Self { source, destination, protocol: protocol::UDP }
    }

    pub(crate) const fn with_protocol(self, protocol: u8) -> Self {
        Self { protocol, ..self }
    }
}

/// The checksum of `octets` under `pseudo`: the value to transmit when the checksum field in
/// `octets` is zero, and zero when the field holds a correct checksum.
#[must_use]
pub fn checksum(pseudo: PseudoHeader, octets: &[u8]) -> u16 {
    let len = u32::try_from(octets.len()).unwrap_or(u32::MAX);
    Sum::default()
        .add(&pseudo.source.octets())
        .add(&pseudo.destination.octets())
        .add(&len.to_be_bytes())
        .add_word(u16::from(pseudo.protocol))
        .add(octets)
        .finish()
}

/// Writes `value` over the two octets at `at`; a position outside leaves `octets` as they are.
pub(crate) fn fill_in(octets: &mut [u8], at: usize, value: u16) {
    let slot = octets.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<2>);
    if let Some(slot) = slot {
        *slot = value.to_be_bytes();
    }
}
