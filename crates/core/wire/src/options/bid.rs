//! The Binding Identifier option (RFC 5648 §4.3, RFC 6089 §4.1).

use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};

use crate::error::Malformed;
use crate::reader::Reader;
use crate::types::{Bid, BidPriority, Status};

/// The care-of address of a Binding Identifier option: its Length says which.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BidCareOf {
    /// Length 4: none.
    Absent,
    /// Length 8.
    V4(Ipv4Addr),
    /// Length 20.
    V6(Ipv6Addr),
}

/// One binding of a home address.
///
/// ```text
///  0: type 35 | length 4, 8 or 20 | BID
///  4: status | H 1 bit, BID-PRI 7 bits | care-of address, 0, 4 or 16 octets
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BidOption {
    /// Which binding.
    pub bid: Bid,
    /// Zero in a Binding Update; in an acknowledgement non-zero overrides the status of the
    /// message.
    pub status: Status,
    /// H: simultaneous home and foreign binding.
    pub home: bool,
    /// Preference among the bindings; reserved in RFC 5648.
    pub priority: BidPriority,
    /// The care-of address.
    pub care_of: BidCareOf,
}

impl BidOption {
    /// Names a binding without an address: for acknowledgements, requests and refreshes.
    #[must_use]
    pub const fn refresh(bid: Bid) -> Self {
        Self {
            bid,
            status: Status::ACCEPTED,
            home: false,
            priority: BidPriority::UNSET,
            care_of: BidCareOf::Absent,
        }
    }

    /// Registers an IPv6 care-of address.
    #[must_use]
    pub const fn v6(bid: Bid, care_of: Ipv6Addr) -> Self {
        Self { care_of: BidCareOf::V6(care_of), ..Self::refresh(bid) }
    }

    /// Registers an IPv4 care-of address.
    #[must_use]
    pub const fn v4(bid: Bid, care_of: Ipv4Addr) -> Self {
        Self { care_of: BidCareOf::V4(care_of), ..Self::refresh(bid) }
    }

    /// The same with this status.
    #[must_use]
    pub const fn with_status(self, status: Status) -> Self {
        Self { status, ..self }
    }

    /// The same with H as given.
    #[must_use]
    pub const fn with_home(self, home: bool) -> Self {
        Self { home, ..self }
    }

    /// The same with this priority.
    #[must_use]
    pub const fn with_priority(self, priority: BidPriority) -> Self {
        Self { priority, ..self }
    }

    /// The form of this option for a Binding Acknowledgement: BID, H and BID-PRI copied, the
    /// address dropped (erratum 1904 of RFC 5648).
    #[must_use]
    pub const fn acknowledged(self, status: Status) -> Self {
        Self { status, care_of: BidCareOf::Absent, ..self }
    }

    pub(super) fn decode(data: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(data);
        let bid = Bid(reader.u16("BID")?);
        let status = Status(reader.u8("BID status")?);
        let flags = reader.u8("BID flags")?;
        let care_of = match data.len() {
            4 => BidCareOf::Absent,
            8 => BidCareOf::V4(reader.ipv4("BID care-of address")?),
            20 => BidCareOf::V6(reader.ipv6("BID care-of address")?),
            _ => {
                return Err(Malformed::Length { field: "BID option length" });
            }
        };
        Ok(Self {
            bid,
            status,
            home: flags & 0x80 != 0,
            priority: BidPriority::new(flags),
            care_of,
        })
    }

    pub(super) fn encode(&self, data: &mut Vec<u8>) {
        let home = if self.home { 0x80 } else { 0 };
        data.extend_from_slice(&self.bid.0.to_be_bytes());
        data.extend_from_slice(&[self.status.0, home | self.priority.value()]);
        match self.care_of {
            BidCareOf::Absent => {}
            BidCareOf::V4(address) => data.extend_from_slice(&address.octets()),
            BidCareOf::V6(address) => data.extend_from_slice(&address.octets()),
        }
    }
}
