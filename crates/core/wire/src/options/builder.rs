//! Composes an option area: alignment and padding of RFC 6275 §6.2 and of each option's own
//! section.

use alloc::vec;
use alloc::vec::Vec;

use super::bid::{BidCareOf, BidOption};
use super::option::{MobilityOption, kind};
use super::{FlowIdentification, FlowIds, Options, TrafficSelector};
use crate::code_points::FlowStatus;
use crate::limits::{MOBILITY_HEADER_OCTETS_MAX, MOBILITY_OPTIONS_MAX, OPTION_DATA_OCTETS_MAX};
use crate::types::Bid;

use super::flow::{BINDING_REFERENCE, TRAFFIC_SELECTOR};

/// Why an option was not written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum Refusal {
    /// More than 255 octets of data.
    #[error("option data too long")]
    TooLong,
    /// The Mobility Header would become longer than its length field can say, or hold more options
    /// than [`crate::limits`] allow.
    #[error("no room in the mobility header")]
    HeaderFull,
    /// Nothing may follow an authenticator but another one (RFC 4285 §5, RFC 6275 §6.2.7).
    #[error("option behind an authenticator")]
    AfterAuthenticator,
    /// The octets would be read back as something else: a field out of its range, or a known type
    /// given as an unknown one.
    #[error("value cannot be written")]
    NotRepresentable,
}

/// Writes options with the alignment of each, minimal padding between them and padding to a
/// multiple of eight octets at the end. An option that cannot be written is left out and
/// remembered: see [`OptionsBuilder::refusal`].
#[derive(Clone, Debug)]
pub struct OptionsBuilder {
    first_offset: usize,
    octets: Vec<u8>,
    count: usize,
    authenticated: bool,
    refusal: Option<Refusal>,
}

/// Where an option may begin, as `8n+remainder`, `4n+remainder`...: `mask` is the modulus minus
/// one.
#[derive(Clone, Copy)]
struct Alignment {
    mask: usize,
    remainder: usize,
}

impl Alignment {
    const ANY: Self = Self { mask: 0, remainder: 0 };
    const fn new(modulus: Modulus, remainder: usize) -> Self {
        let mask = match modulus {
            Modulus::Two => 1,
            Modulus::Four => 3,
            Modulus::Eight => 7,
        };
        Self { mask, remainder }
    }

    /// Octets of padding at `offset`.
    const fn padding(self, offset: usize) -> usize {
        self.remainder.wrapping_sub(offset) & self.mask
    }

    /// Of an option with `len` octets of data.
    fn of(option: &MobilityOption<'_>, len: usize) -> Self {
        use Modulus::{Eight, Four, Two};
        match option {
            MobilityOption::BindingRefreshAdvice { .. }
            | MobilityOption::NonceIndices { .. }
            | MobilityOption::FlowSummary(_)
            | MobilityOption::FlowIdentification(_)
            | MobilityOption::BindingIdentifier(BidOption { care_of: BidCareOf::Absent, .. }) => {
                Self::new(Two, 0)
            }
            MobilityOption::AlternateCareOf(_) => Self::new(Eight, 6),
            MobilityOption::MobileNetworkPrefix { .. } => Self::new(Eight, 4),
            MobilityOption::MessageId { .. } | MobilityOption::BindingIdentifier(_) => {
                Self::new(Eight, 2)
            }
            // At the end of the header and nothing behind: so that the option ends on a multiple of
            // eight. For the usual 12 octets of data that is 8n+2 and 8n+5, within 4n+1.
            MobilityOption::BindingAuthorizationData(_) | MobilityOption::Authentication { .. } => {
                Self::new(Eight, len.wrapping_add(2).wrapping_neg())
            }
            MobilityOption::VendorSpecific { .. } | MobilityOption::RestartCounter(_) => {
                Self::new(Four, 2)
            }
            MobilityOption::Ipv4HomeAddress { .. }
            | MobilityOption::Ipv4AddressAck { .. }
            | MobilityOption::NatDetection { .. }
            | MobilityOption::Ipv4CareOf(_) => Self::new(Four, 0),
            MobilityOption::LinkLayerAddress { .. }
            | MobilityOption::MobileNodeIdentifier { .. }
            | MobilityOption::Malformed { .. }
            | MobilityOption::Unknown { .. } => Self::ANY,
        }
    }
}

#[derive(Clone, Copy)]
enum Modulus {
    Two,
    Four,
    Eight,
}

impl OptionsBuilder {
    /// For a message whose options begin at octet `first_offset` of the Mobility Header.
    #[must_use]
    pub const fn new(first_offset: usize) -> Self {
        Self { first_offset, octets: Vec::new(), count: 0, authenticated: false, refusal: None }
    }

    /// For a Binding Refresh Request.
    #[must_use]
    pub const fn for_refresh_request() -> Self {
        Self::new(8)
    }

    /// For a Home Test Init or Care-of Test Init.
    #[must_use]
    pub const fn for_test_init() -> Self {
        Self::new(16)
    }

    /// For a Home Test or Care-of Test.
    #[must_use]
    pub const fn for_test() -> Self {
        Self::new(24)
    }

    /// For a Binding Update.
    #[must_use]
    pub const fn for_binding_update() -> Self {
        Self::new(12)
    }

    /// For a Binding Acknowledgement.
    #[must_use]
    pub const fn for_binding_acknowledgement() -> Self {
        Self::new(12)
    }

    /// For a Binding Error.
    #[must_use]
    pub const fn for_binding_error() -> Self {
        Self::new(24)
    }

    /// For a Home Agent Switch with this many addresses.
    #[must_use]
    pub const fn for_home_agent_switch(addresses: usize) -> Self {
        Self::new(addresses.saturating_mul(16).saturating_add(8))
    }

    /// For a Heartbeat.
    #[must_use]
    pub const fn for_heartbeat() -> Self {
        Self::new(12)
    }

    /// For a Binding Revocation Indication or Acknowledgement.
    #[must_use]
    pub const fn for_revocation() -> Self {
        Self::new(12)
    }

    /// Adds an option; one that cannot be written is left out and remembered.
    pub fn push(&mut self, option: &MobilityOption<'_>) -> &mut Self {
        if let Err(refusal) = self.try_push(option) {
            self.refusal.get_or_insert(refusal);
        }
        self
    }

    /// Adds an option, or says why not.
    pub fn try_push(&mut self, option: &MobilityOption<'_>) -> Result<(), Refusal> {
        let is_authenticator = matches!(
            option,
            MobilityOption::Authentication { .. } | MobilityOption::BindingAuthorizationData(_)
        );
        if self.authenticated && !is_authenticator {
            return Err(Refusal::AfterAuthenticator);
        }
        let mut data = Vec::new();
        option.encode_data(&mut data);
        let len = u8::try_from(data.len()).map_err(|_| Refusal::TooLong)?;
        let kind = option.kind();
        if matches!(kind, kind::PAD1 | kind::PADN) || MobilityOption::decode(kind, &data) != *option
        {
            return Err(Refusal::NotRepresentable);
        }
        let padding = Alignment::of(option, data.len()).padding(self.offset());
        let end =
            self.offset().saturating_add(padding).saturating_add(2).saturating_add(data.len());
        if end > MOBILITY_HEADER_OCTETS_MAX || self.count >= MOBILITY_OPTIONS_MAX {
            return Err(Refusal::HeaderFull);
        }
        pad(&mut self.octets, padding);
        self.octets.extend_from_slice(&[kind, len]);
        self.octets.extend_from_slice(&data);
        self.count = self.count.saturating_add(1);
        self.authenticated |= is_authenticator;
        Ok(())
    }

    /// Reserves an authentication option of RFC 4285 with `data_len` zero octets, to be filled in
    /// by [`Options::with_authenticator`].
    pub fn push_authentication(&mut self, subtype: u8, spi: u32, data_len: usize) -> &mut Self {
        // What is longer than any option is refused all the same.
        let data = vec![0; data_len.min(OPTION_DATA_OCTETS_MAX)];
        self.push(&MobilityOption::Authentication { subtype, spi, data: &data })
    }

    /// Reserves a Binding Authorization Data option with a zero authenticator.
    pub fn push_binding_authorization(&mut self) -> &mut Self {
        self.push(&MobilityOption::BindingAuthorizationData([0; 12]))
    }

    /// Adds a Flow Summary option.
    pub fn push_flow_summary(&mut self, fids: &[u16]) -> &mut Self {
        let octets: Vec<u8> = fids.iter().flat_map(|fid| fid.to_be_bytes()).collect();
        match FlowIds::from_octets(&octets) {
            Some(fids) => self.push(&MobilityOption::FlowSummary(fids)),
            None => self,
        }
    }

    /// Adds a Flow Identification option with a binding reference (unless `bids` is empty) and a
    /// traffic selector, each at the alignment that its place in the header asks for.
    pub fn push_flow(
        &mut self,
        fid: u16,
        priority: u16,
        status: FlowStatus,
        bids: &[Bid],
        selector: Option<TrafficSelector<'_>>,
    ) -> &mut Self {
        let padding = Alignment::new(Modulus::Two, 0).padding(self.offset());
        let first_offset = self.offset().saturating_add(padding).saturating_add(8);
        let mut sub_options = Vec::new();
        let references: Vec<u8> = bids.iter().flat_map(|bid| bid.0.to_be_bytes()).collect();
        let mut fits = true;
        if !references.is_empty() {
            fits &= push_tlv(&mut sub_options, BINDING_REFERENCE, &[&references]);
        }
        if let Some(selector) = selector {
            let offset = first_offset.saturating_add(sub_options.len());
            // The alignment is a power of two: what is missing to its next multiple.
            let mask = selector.alignment().saturating_sub(1);
            pad(&mut sub_options, offset.wrapping_neg() & mask);
            fits &= push_tlv(
                &mut sub_options,
                TRAFFIC_SELECTOR,
                &[&[selector.format, 0], selector.octets],
            );
        }
        if !fits {
            self.refusal.get_or_insert(Refusal::TooLong);
            return self;
        }
        let sub_options = &sub_options;
        self.push(&MobilityOption::FlowIdentification(FlowIdentification {
            fid,
            priority,
            status,
            sub_options,
        }))
    }

    /// The first option that was left out, and why.
    #[must_use]
    pub const fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }

    /// Pads to a multiple of eight octets and gives the area; the builder is empty afterwards.
    pub fn finish(&mut self) -> Options<'static> {
        let padding = Alignment::new(Modulus::Eight, 0).padding(self.offset());
        pad(&mut self.octets, padding);
        let octets = core::mem::take(&mut self.octets);
        *self = Self::new(self.first_offset);
        Options::from_checked(octets)
    }

    /// Where the next octet goes, in the Mobility Header.
    fn offset(&self) -> usize {
        self.first_offset.saturating_add(self.octets.len())
    }
}

/// Appends a sub-option; false when its data is too long.
fn push_tlv(out: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) -> bool {
    let len = parts.iter().fold(0_usize, |len, part| len.saturating_add(part.len()));
    let Ok(len) = u8::try_from(len) else {
        return false;
    };
    out.extend_from_slice(&[kind, len]);
    for part in parts {
        out.extend_from_slice(part);
    }
    true
}

/// Appends `count` octets, at most seven, of padding: Pad1 for one, PadN for more.
pub(crate) fn pad(out: &mut Vec<u8>, count: usize) {
    match u8::try_from(count) {
        Ok(0) | Err(_) => {}
        Ok(1) => out.push(kind::PAD1),
        Ok(count) => {
            let len = count.saturating_sub(2);
            out.extend_from_slice(&[kind::PADN, len]);
            out.extend(core::iter::repeat_n(0, usize::from(len)));
        }
    }
}
