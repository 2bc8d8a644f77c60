//! Flow Identification and Flow Summary options (RFC 6089 §4.2, §4.3) and their sub-options.

use alloc::vec::Vec;

use crate::code_points::FlowStatus;
use crate::error::Malformed;
use crate::reader::Reader;
use crate::types::Bid;

/// Sub-option types (RFC 6089 §4.2.1).
const PAD1: u8 = 0;
const PADN: u8 = 1;
pub(super) const BINDING_REFERENCE: u8 = 2;
pub(super) const TRAFFIC_SELECTOR: u8 = 3;

/// One flow and where it shall go.
///
/// ```text
///  0: type 45 | length | FID
///  4: FID-PRI | reserved | status
///  8: sub-options
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FlowIdentification<'p> {
    /// FID: names the flow, not zero.
    pub fid: u16,
    /// FID-PRI: lower is matched earlier, not zero.
    pub priority: u16,
    /// Only in acknowledgements.
    pub status: FlowStatus,
    /// The sub-options as octets. An area whose sub-options overrun it is kept too: see
    /// [`FlowIdentification::is_well_formed`].
    pub sub_options: &'p [u8],
}

impl<'p> FlowIdentification<'p> {
    pub(super) fn decode(data: &'p [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(data);
        let fid = reader.u16("FID")?;
        let priority = reader.u16("FID-PRI")?;
        reader.u8("reserved")?;
        let status = FlowStatus(reader.u8("flow status")?);
        Ok(Self { fid, priority, status, sub_options: reader.rest() })
    }

    pub(super) fn encode(&self, data: &mut Vec<u8>) {
        data.extend_from_slice(&self.fid.to_be_bytes());
        data.extend_from_slice(&self.priority.to_be_bytes());
        data.extend_from_slice(&[0, self.status.0]);
        data.extend_from_slice(self.sub_options);
    }

    /// The sub-options in order, without padding; ends at one that overruns the area.
    pub fn sub_options(&self) -> impl Iterator<Item = FlowSubOption<'p>> + use<'p> {
        let mut reader = Reader::new(self.sub_options);
        core::iter::from_fn(move || next_sub_option(&mut reader).ok().flatten())
    }

    /// False when a sub-option overruns the area, or a binding reference or traffic selector is too
    /// short or comes twice (RFC 6089 §4.2.1.3, §4.2.1.4: at most one of each).
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        let mut reader = Reader::new(self.sub_options);
        let (mut references, mut selectors) = (0_u8, 0_u8);
        loop {
            match next_sub_option(&mut reader) {
                Ok(None) => return references <= 1 && selectors <= 1,
                Ok(Some(FlowSubOption::BindingReference(_))) => {
                    references = references.saturating_add(1);
                }
                Ok(Some(FlowSubOption::TrafficSelector(_))) => {
                    selectors = selectors.saturating_add(1);
                }
                Ok(Some(FlowSubOption::Unknown { .. })) => {}
                Ok(Some(FlowSubOption::Malformed { .. })) | Err(_) => return false,
            }
        }
    }

    /// The BIDs of the binding reference; `None` without one.
    #[must_use]
    pub fn binding_reference(&self) -> Option<FlowIds<'p>> {
        self.sub_options().find_map(|sub_option| match sub_option {
            FlowSubOption::BindingReference(bids) => Some(bids),
            _ => None,
        })
    }

    /// The BIDs that the flow may go to; none without a binding reference.
    pub fn bids(&self) -> impl Iterator<Item = Bid> + use<'p> {
        self.binding_reference().into_iter().flat_map(FlowIds::iter).map(Bid)
    }

    /// The traffic selector; `None` without one.
    #[must_use]
    pub fn traffic_selector(&self) -> Option<TrafficSelector<'p>> {
        self.sub_options().find_map(|sub_option| match sub_option {
            FlowSubOption::TrafficSelector(selector) => Some(selector),
            _ => None,
        })
    }
}

/// A sub-option of a Flow Identification option.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FlowSubOption<'p> {
    /// Type 2: BIDs.
    BindingReference(FlowIds<'p>),
    /// Type 3.
    TrafficSelector(TrafficSelector<'p>),
    /// A known type with an impossible length.
    Malformed {
        /// Sub-option type.
        kind: u8,
        /// Its data.
        data: &'p [u8],
    },
    /// A type that this code skips.
    Unknown {
        /// Sub-option type.
        kind: u8,
        /// Its data.
        data: &'p [u8],
    },
}

fn next_sub_option<'p>(reader: &mut Reader<'p>) -> Result<Option<FlowSubOption<'p>>, Malformed> {
    while !reader.is_empty() {
        let kind = reader.u8("sub-option type")?;
        if kind == PAD1 {
            continue;
        }
        // PadN too: its Length counts the octets behind it, as for every other sub-option, although
        // RFC 6089 §4.2.1.2 words it otherwise.
        let len = reader.u8("sub-option length")?;
        let data = reader.slice(usize::from(len), "sub-option data")?;
        if kind != PADN {
            return Ok(Some(sub_option(kind, data)));
        }
    }
    Ok(None)
}

fn sub_option(kind: u8, data: &[u8]) -> FlowSubOption<'_> {
    let known = match kind {
        BINDING_REFERENCE => FlowIds::from_octets(data)
            .filter(|bids| !bids.0.is_empty())
            .map(FlowSubOption::BindingReference),
        TRAFFIC_SELECTOR => match data {
            [format, _, octets @ ..] => {
                Some(FlowSubOption::TrafficSelector(TrafficSelector { format: *format, octets }))
            }
            _ => None,
        },
        _ => return FlowSubOption::Unknown { kind, data },
    };
    known.unwrap_or(FlowSubOption::Malformed { kind, data })
}

/// A list of 16-bit identifiers as it stands in an option: FIDs of a Flow Summary, BIDs of a
/// binding reference.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FlowIds<'p>(&'p [[u8; 2]]);

impl<'p> FlowIds<'p> {
    /// Big-endian identifiers; `None` when the number of octets is odd.
    #[must_use]
    pub fn from_octets(octets: &'p [u8]) -> Option<Self> {
        match octets.as_chunks::<2>() {
            (ids, []) => Some(Self(ids)),
            _ => None,
        }
    }

    /// The octets.
    #[must_use]
    pub const fn octets(self) -> &'p [u8] {
        self.0.as_flattened()
    }

    /// The identifiers in order.
    pub fn iter(self) -> impl Iterator<Item = u16> + use<'p> {
        self.0.iter().map(|id| u16::from_be_bytes(*id))
    }
}

/// A traffic selector (RFC 6088), kept as octets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TrafficSelector<'p> {
    /// TS Format.
    pub format: u8,
    /// What follows the reserved octet: flags and the fields that they announce.
    pub octets: &'p [u8],
}

impl TrafficSelector<'_> {
    /// TS Format of a binary selector for IPv4 (RFC 6088 §3.1).
    pub const IPV4_BINARY: u8 = 1;
    /// TS Format of a binary selector for IPv6 (RFC 6088 §3.2).
    pub const IPV6_BINARY: u8 = 2;

    /// Octets that the place of the whole sub-option must be a multiple of, so that the fields
    /// inside are aligned (RFC 6088 §3.1, §3.2): 1, 2, 4 or 8, by the widest field present.
    pub(super) fn alignment(&self) -> usize {
        let flags = self.octets.first_chunk().map_or(0, |flags| u32::from_be_bytes(*flags));
        // Widest fields first: addresses, then SPIs and flow labels, then ports.
        let (eight, four, two) = match self.format {
            Self::IPV4_BINARY => (0, 0xfc00_0000, 0x03c0_0000),
            Self::IPV6_BINARY => (0xf000_0000, 0x0f00_0000, 0x00f0_0000),
            _ => (0, 0, 0),
        };
        if flags & eight != 0 {
            8
        } else if flags & four != 0 {
            4
        } else if flags & two != 0 {
            2
        } else {
            1
        }
    }
}
