//! Messages of the Mobility Header (RFC 6275 §6.1).
//!
//! ```text
//!  0: payload proto 59 | header len, units of eight octets without the first | MH type | reserved
//!  4: checksum | message data and options
//! ```
//!
//! The reserved octet at 3 is dropped and written as zero. Authenticators cover it as it was sent,
//! so they are checked over the received octets: see [`with_checksum_zeroed`].

mod binding;
mod heartbeat;
mod home_agent_switch;
mod return_routability;
mod revocation;

use alloc::vec::Vec;
use core::net::Ipv6Addr;

pub use binding::{BindingAcknowledgement, BindingError, BindingRefreshRequest, BindingUpdate};
pub use heartbeat::Heartbeat;
pub use home_agent_switch::HomeAgentSwitch;
pub use return_routability::{CareOfTest, CareOfTestInit, HomeTest, HomeTestInit};
pub use revocation::{
    BindingRevocation, BindingRevocationAcknowledgement, BindingRevocationIndication,
};

use crate::checksum::{PseudoHeader, checksum, fill_in};
use crate::code_points::MhType;
use crate::error::Malformed;
use crate::ipv6::protocol;
use crate::limits::MOBILITY_HEADER_OCTETS_MAX;
use crate::options::{Options, pad};
use crate::reader::Reader;

/// Octets before the message data.
const DATA_OFFSET: usize = 6;
const HEADER_LEN_OFFSET: usize = 1;
const CHECKSUM_OFFSET: usize = 4;

/// A message of the Mobility Header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message<'p> {
    /// Type 0.
    BindingRefreshRequest(BindingRefreshRequest<'p>),
    /// Type 1.
    HomeTestInit(HomeTestInit<'p>),
    /// Type 2.
    CareOfTestInit(CareOfTestInit<'p>),
    /// Type 3.
    HomeTest(HomeTest<'p>),
    /// Type 4.
    CareOfTest(CareOfTest<'p>),
    /// Type 5.
    BindingUpdate(BindingUpdate<'p>),
    /// Type 6.
    BindingAcknowledgement(BindingAcknowledgement<'p>),
    /// Type 7.
    BindingError(BindingError<'p>),
    /// Type 12.
    HomeAgentSwitch(HomeAgentSwitch<'p>),
    /// Type 13.
    Heartbeat(Heartbeat<'p>),
    /// Type 16.
    BindingRevocation(BindingRevocation<'p>),
}

impl<'p> Message<'p> {
    /// Parses the upper-layer octets of a packet. The checks of RFC 6275 §9.2, the first that fails
    /// counts: length, checksum, MH Type, Payload Proto, Header Len, octets behind, options.
    ///
    /// Octets behind the message stand after Payload Proto and Header Len, because a piggybacked
    /// payload or a Header Len that is too small must be answered. In these cases senders differ in
    /// how far their checksum reaches, so either reach will do: the message is refused anyway.
    pub fn parse(octets: &'p [u8], pseudo: PseudoHeader) -> Result<Self, Malformed> {
        let pseudo = pseudo.with_protocol(protocol::MOBILITY);
        let mut head = Reader::new(octets);
        let payload_proto = head.u8("payload proto")?;
        let header_len = head.u8("header len")?;
        let mh_type = head.u8("MH type")?;
        let len = usize::from(header_len).saturating_add(1).saturating_mul(8);
        let message = Reader::new(octets).slice(len, "mobility header")?;
        let trailing = message.len() != octets.len();
        let holds = |covered| checksum(pseudo, covered) == 0;
        if !(holds(message) || trailing && holds(octets)) {
            return Err(Malformed::Checksum);
        }
        let header_len_min =
            header_len_min(MhType(mh_type), message).ok_or(Malformed::UnknownType { mh_type })?;
        if payload_proto != protocol::NO_NEXT {
            return Err(Malformed::PayloadProto { value: payload_proto });
        }
        if usize::from(header_len) < header_len_min {
            return Err(Malformed::HeaderLen { mh_type, value: header_len });
        }
        if trailing {
            return Err(Malformed::TrailingOctets);
        }
        let mut reader = Reader::new(message);
        reader.slice(DATA_OFFSET, "mobility header")?;
        Self::parse_data(MhType(mh_type), reader)
    }

    fn parse_data(mh_type: MhType, reader: Reader<'p>) -> Result<Self, Malformed> {
        match mh_type {
            MhType::BINDING_REFRESH_REQUEST => {
                BindingRefreshRequest::parse(reader).map(Self::BindingRefreshRequest)
            }
            MhType::HOME_TEST_INIT => HomeTestInit::parse(reader).map(Self::HomeTestInit),
            MhType::CARE_OF_TEST_INIT => CareOfTestInit::parse(reader).map(Self::CareOfTestInit),
            MhType::HOME_TEST => HomeTest::parse(reader).map(Self::HomeTest),
            MhType::CARE_OF_TEST => CareOfTest::parse(reader).map(Self::CareOfTest),
            MhType::BINDING_UPDATE => BindingUpdate::parse(reader).map(Self::BindingUpdate),
            MhType::BINDING_ACKNOWLEDGEMENT => {
                BindingAcknowledgement::parse(reader).map(Self::BindingAcknowledgement)
            }
            MhType::BINDING_ERROR => BindingError::parse(reader).map(Self::BindingError),
            MhType::HOME_AGENT_SWITCH => HomeAgentSwitch::parse(reader).map(Self::HomeAgentSwitch),
            MhType::HEARTBEAT => Heartbeat::parse(reader).map(Self::Heartbeat),
            MhType::BINDING_REVOCATION => {
                BindingRevocation::parse(reader).map(Self::BindingRevocation)
            }
            MhType(mh_type) => Err(Malformed::UnknownType { mh_type }),
        }
    }

    /// The octets, padded to a multiple of eight, checksum filled in. `source` and `destination`
    /// are those of the pseudo-header: the home address, where the packet will have a Home Address
    /// option or a type 2 routing header.
    ///
    /// Options that do not fit behind the fixed part are cut off at the end. That cannot happen to
    /// what was parsed or was composed by the builder for this message.
    #[must_use]
    pub fn emit(&self, source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
        let mut octets = self.emit_unchecked();
        let sum = checksum(PseudoHeader::mobility(source, destination), &octets);
        fill_in(&mut octets, CHECKSUM_OFFSET, sum);
        octets
    }

    /// The same with checksum zero: what the authenticators of RFC 4285 §5.1 and RFC 6275 §5.2.6
    /// are computed over.
    #[must_use]
    pub fn emit_unchecked(&self) -> Vec<u8> {
        let mut octets = alloc::vec![protocol::NO_NEXT, 0, self.mh_type(), 0, 0, 0];
        self.emit_data(&mut octets);
        let room = MOBILITY_HEADER_OCTETS_MAX.saturating_sub(octets.len());
        let options = self.options();
        if options.octets().len() <= room {
            octets.extend_from_slice(options.octets());
        } else {
            octets.extend_from_slice(options.fitting(room));
        }
        let missing = octets.len().wrapping_neg() & 7;
        pad(&mut octets, missing);
        let header_len = u8::try_from((octets.len() >> 3).saturating_sub(1)).unwrap_or(u8::MAX);
        if let Some(field) = octets.get_mut(HEADER_LEN_OFFSET) {
            *field = header_len;
        }
        octets
    }

    /// Octets that [`Message::emit`] gives.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        self.emit_unchecked().len()
    }

    fn emit_data(&self, out: &mut Vec<u8>) {
        match self {
            Self::BindingRefreshRequest(message) => message.emit(out),
            Self::HomeTestInit(message) => message.emit(out),
            Self::CareOfTestInit(message) => message.emit(out),
            Self::HomeTest(message) => message.emit(out),
            Self::CareOfTest(message) => message.emit(out),
            Self::BindingUpdate(message) => message.emit(out),
            Self::BindingAcknowledgement(message) => message.emit(out),
            Self::BindingError(message) => message.emit(out),
            Self::HomeAgentSwitch(message) => message.emit(out),
            Self::Heartbeat(message) => message.emit(out),
            Self::BindingRevocation(message) => message.emit(out),
        }
    }

    /// The MH Type.
    #[must_use]
    pub const fn mh_type(&self) -> u8 {
        let mh_type = match self {
            Self::BindingRefreshRequest(_) => MhType::BINDING_REFRESH_REQUEST,
            Self::HomeTestInit(_) => MhType::HOME_TEST_INIT,
            Self::CareOfTestInit(_) => MhType::CARE_OF_TEST_INIT,
            Self::HomeTest(_) => MhType::HOME_TEST,
            Self::CareOfTest(_) => MhType::CARE_OF_TEST,
            Self::BindingUpdate(_) => MhType::BINDING_UPDATE,
            Self::BindingAcknowledgement(_) => MhType::BINDING_ACKNOWLEDGEMENT,
            Self::BindingError(_) => MhType::BINDING_ERROR,
            Self::HomeAgentSwitch(_) => MhType::HOME_AGENT_SWITCH,
            Self::Heartbeat(_) => MhType::HEARTBEAT,
            Self::BindingRevocation(_) => MhType::BINDING_REVOCATION,
        };
        mh_type.0
    }

    /// The option area.
    #[must_use]
    pub const fn options(&self) -> &Options<'p> {
        match self {
            Self::BindingRefreshRequest(message) => &message.options,
            Self::HomeTestInit(message) => &message.options,
            Self::CareOfTestInit(message) => &message.options,
            Self::HomeTest(message) => &message.options,
            Self::CareOfTest(message) => &message.options,
            Self::BindingUpdate(message) => &message.options,
            Self::BindingAcknowledgement(message) => &message.options,
            Self::BindingError(message) => &message.options,
            Self::HomeAgentSwitch(message) => &message.options,
            Self::Heartbeat(message) => &message.options,
            Self::BindingRevocation(message) => message.options(),
        }
    }

    /// The octet of the Mobility Header at which the options begin.
    #[must_use]
    pub fn options_offset(&self) -> usize {
        let mut data = Vec::new();
        self.emit_data(&mut data);
        data.len().saturating_add(DATA_OFFSET)
    }

    /// A copy that borrows nothing.
    #[must_use]
    pub fn into_owned(self) -> Message<'static> {
        self.map_options(Options::into_owned)
    }

    /// The same with the authenticator at its end filled in: see [`Options::with_authenticator`].
    #[must_use]
    pub fn with_authenticator(self, authenticator: &[u8]) -> Message<'static> {
        self.map_options(|options| options.with_authenticator(authenticator))
    }

    fn map_options(self, change: impl FnOnce(Options<'p>) -> Options<'static>) -> Message<'static> {
        match self {
            Self::BindingRefreshRequest(message) => {
                Message::BindingRefreshRequest(message.map_options(change))
            }
            Self::HomeTestInit(message) => Message::HomeTestInit(message.map_options(change)),
            Self::CareOfTestInit(message) => Message::CareOfTestInit(message.map_options(change)),
            Self::HomeTest(message) => Message::HomeTest(message.map_options(change)),
            Self::CareOfTest(message) => Message::CareOfTest(message.map_options(change)),
            Self::BindingUpdate(message) => Message::BindingUpdate(message.map_options(change)),
            Self::BindingAcknowledgement(message) => {
                Message::BindingAcknowledgement(message.map_options(change))
            }
            Self::BindingError(message) => Message::BindingError(message.map_options(change)),
            Self::HomeAgentSwitch(message) => Message::HomeAgentSwitch(message.map_options(change)),
            Self::Heartbeat(message) => Message::Heartbeat(message.map_options(change)),
            Self::BindingRevocation(message) => {
                Message::BindingRevocation(message.map_options(change))
            }
        }
    }
}

/// The smallest Header Len of a type (RFC 6275 §6.1, RFC 5142 §3, RFC 5847 §3.3, RFC 5846 §5);
/// `None` for an unknown type.
fn header_len_min(mh_type: MhType, message: &[u8]) -> Option<usize> {
    Some(match mh_type {
        MhType::BINDING_REFRESH_REQUEST => 0,
        MhType::HOME_TEST_INIT
        | MhType::CARE_OF_TEST_INIT
        | MhType::BINDING_UPDATE
        | MhType::BINDING_ACKNOWLEDGEMENT
        | MhType::HEARTBEAT
        | MhType::BINDING_REVOCATION => 1,
        MhType::HOME_TEST | MhType::CARE_OF_TEST | MhType::BINDING_ERROR => 2,
        // Sixteen octets for each address that the first octet of the data announces.
        MhType::HOME_AGENT_SWITCH => {
            message.get(DATA_OFFSET).map_or(0, |count| usize::from(*count).saturating_mul(2))
        }
        _ => return None,
    })
}

/// Received octets of a Mobility Header with the checksum field zeroed, everything else untouched:
/// what the sender's authenticator covers (RFC 4285 §5.1, RFC 6275 §6.2.7), after the caller has
/// cut it at the end of the SPI or before the authenticator.
#[must_use]
pub fn with_checksum_zeroed(mh: &[u8]) -> Vec<u8> {
    let mut octets = Vec::from(mh);
    fill_in(&mut octets, CHECKSUM_OFFSET, 0);
    octets
}

/// The rest of a message is its option area.
fn options<'p>(reader: &Reader<'p>) -> Result<Options<'p>, Malformed> {
    Options::parse(reader.rest(), reader.at())
}

/// `map_options` of a message that owns everything but its options.
macro_rules! map_options {
    ($($name:ident { $($field:ident),* }),+ $(,)?) => {$(
        impl<'p> $name<'p> {
            pub(super) fn map_options(
                self,
                change: impl FnOnce(Options<'p>) -> Options<'static>,
            ) -> $name<'static> {
                $name { $($field: self.$field,)* options: change(self.options) }
            }
        }
    )+};
}
use map_options;
