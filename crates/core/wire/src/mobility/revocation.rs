//! Binding Revocation Indication and Acknowledgement (RFC 5846 §5).

use alloc::vec::Vec;

use super::{map_options, options};
use crate::code_points::{RevocationFlags, RevocationStatus, RevocationTrigger};
use crate::error::Malformed;
use crate::options::{Options, OptionsBuilder};
use crate::reader::Reader;

const INDICATION: u8 = 1;
const ACKNOWLEDGEMENT: u8 = 2;

/// Both messages of MH Type 16, told apart by the B.R. Type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BindingRevocation<'p> {
    /// B.R. Type 1.
    Indication(BindingRevocationIndication<'p>),
    /// B.R. Type 2.
    Acknowledgement(BindingRevocationAcknowledgement<'p>),
}

/// Announces that bindings end (RFC 5846 §5.1).
///
/// ```text
///  6: B.R. type 1 | revocation trigger
///  8: sequence number | flags, kept whole
/// 12: options; RFC 5846 §7: a Binding Identifier option for each binding, none for all
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BindingRevocationIndication<'p> {
    /// Why.
    pub trigger: RevocationTrigger,
    /// Sequence number, unique among those without an answer yet. Not the one of Binding Updates.
    pub sequence: u16,
    /// Flags, reserved bits included.
    pub flags: RevocationFlags,
    /// Options.
    pub options: Options<'p>,
}

/// Answers an indication (RFC 5846 §5.2).
///
/// ```text
///  6: B.R. type 2 | status
///  8: sequence number | flags, kept whole
/// 12: options
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BindingRevocationAcknowledgement<'p> {
    /// Outcome.
    pub status: RevocationStatus,
    /// Sequence number, copied.
    pub sequence: u16,
    /// Flags, copied.
    pub flags: RevocationFlags,
    /// Options.
    pub options: Options<'p>,
}

impl<'p> BindingRevocation<'p> {
    /// Composes the options of either.
    #[must_use]
    pub const fn builder() -> OptionsBuilder {
        OptionsBuilder::for_revocation()
    }

    /// The option area of either.
    #[must_use]
    pub const fn options(&self) -> &Options<'p> {
        match self {
            Self::Indication(message) => &message.options,
            Self::Acknowledgement(message) => &message.options,
        }
    }

    pub(super) fn parse(mut reader: Reader<'p>) -> Result<Self, Malformed> {
        let kind = reader.u8("B.R. type")?;
        let code = reader.u8("trigger or status")?;
        let sequence = reader.u16("sequence number")?;
        let flags = RevocationFlags(reader.u16("flags")?);
        let options = options(&reader)?;
        match kind {
            INDICATION => Ok(Self::Indication(BindingRevocationIndication {
                trigger: RevocationTrigger(code),
                sequence,
                flags,
                options,
            })),
            ACKNOWLEDGEMENT => Ok(Self::Acknowledgement(BindingRevocationAcknowledgement {
                status: RevocationStatus(code),
                sequence,
                flags,
                options,
            })),
            value => Err(Malformed::RevocationType { value }),
        }
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        let (head, sequence, flags) = match self {
            Self::Indication(message) => {
                ([INDICATION, message.trigger.0], message.sequence, message.flags)
            }
            Self::Acknowledgement(message) => {
                ([ACKNOWLEDGEMENT, message.status.0], message.sequence, message.flags)
            }
        };
        out.extend_from_slice(&head);
        out.extend_from_slice(&sequence.to_be_bytes());
        out.extend_from_slice(&flags.0.to_be_bytes());
    }

    pub(super) fn map_options(
        self,
        change: impl FnOnce(Options<'p>) -> Options<'static>,
    ) -> BindingRevocation<'static> {
        match self {
            Self::Indication(message) => BindingRevocation::Indication(message.map_options(change)),
            Self::Acknowledgement(message) => {
                BindingRevocation::Acknowledgement(message.map_options(change))
            }
        }
    }
}

map_options! {
    BindingRevocationIndication { trigger, sequence, flags },
    BindingRevocationAcknowledgement { status, sequence, flags },
}
