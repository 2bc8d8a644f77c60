//! Binding Refresh Request, Update, Acknowledgement and Error (RFC 6275 §6.1.2, §6.1.7 to §6.1.9).

use alloc::vec::Vec;
use core::net::Ipv6Addr;

use super::{map_options, options};
use crate::code_points::BindingErrorStatus;
use crate::error::Malformed;
use crate::options::{Options, OptionsBuilder};
use crate::reader::Reader;
use crate::types::{BaFlags, BuFlags, Lifetime, Sequence, Status};

/// Asks a mobile node to refresh its bindings (RFC 6275 §6.1.2).
///
/// ```text
///  6: reserved, dropped
///  8: options; RFC 5648 §6.4: a Binding Identifier option for each binding
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BindingRefreshRequest<'p> {
    /// Options.
    pub options: Options<'p>,
}

impl<'p> BindingRefreshRequest<'p> {
    /// Composes its options.
    #[must_use]
    pub const fn builder() -> OptionsBuilder {
        OptionsBuilder::for_refresh_request()
    }

    pub(super) fn parse(mut reader: Reader<'p>) -> Result<Self, Malformed> {
        reader.u16("reserved")?;
        Ok(Self { options: options(&reader)? })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[0; 2]);
    }
}

/// Registers, refreshes or deletes bindings (RFC 6275 §6.1.7).
///
/// ```text
///  6: sequence number
///  8: flags, kept whole | lifetime
/// 12: options
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BindingUpdate<'p> {
    /// Sequence number.
    pub sequence: Sequence,
    /// Flags, reserved bits included.
    pub flags: BuFlags,
    /// Lifetime asked for; zero deletes.
    pub lifetime: Lifetime,
    /// Options.
    pub options: Options<'p>,
}

impl<'p> BindingUpdate<'p> {
    /// Composes its options.
    #[must_use]
    pub const fn builder() -> OptionsBuilder {
        OptionsBuilder::for_binding_update()
    }

    pub(super) fn parse(mut reader: Reader<'p>) -> Result<Self, Malformed> {
        Ok(Self {
            sequence: Sequence(reader.u16("sequence number")?),
            flags: BuFlags(reader.u16("flags")?),
            lifetime: Lifetime(reader.u16("lifetime")?),
            options: options(&reader)?,
        })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.sequence.0.to_be_bytes());
        out.extend_from_slice(&self.flags.0.to_be_bytes());
        out.extend_from_slice(&self.lifetime.0.to_be_bytes());
    }
}

/// Answers a Binding Update (RFC 6275 §6.1.8).
///
/// ```text
///  6: status | flags, kept whole
///  8: sequence number | lifetime
/// 12: options
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BindingAcknowledgement<'p> {
    /// Status.
    pub status: Status,
    /// Flags, reserved bit included.
    pub flags: BaFlags,
    /// Sequence number of the update, or the last accepted one with status 135.
    pub sequence: Sequence,
    /// Lifetime granted.
    pub lifetime: Lifetime,
    /// Options.
    pub options: Options<'p>,
}

impl<'p> BindingAcknowledgement<'p> {
    /// Composes its options.
    #[must_use]
    pub const fn builder() -> OptionsBuilder {
        OptionsBuilder::for_binding_acknowledgement()
    }

    pub(super) fn parse(mut reader: Reader<'p>) -> Result<Self, Malformed> {
        Ok(Self {
            status: Status(reader.u8("status")?),
            flags: BaFlags(reader.u8("flags")?),
            sequence: Sequence(reader.u16("sequence number")?),
            lifetime: Lifetime(reader.u16("lifetime")?),
            options: options(&reader)?,
        })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.status.0, self.flags.0]);
        out.extend_from_slice(&self.sequence.0.to_be_bytes());
        out.extend_from_slice(&self.lifetime.0.to_be_bytes());
    }
}

/// Reports a Home Address option without binding or an unknown MH Type (RFC 6275 §6.1.9).
///
/// ```text
///  6: status | reserved, dropped
///  8: home address
/// 24: options
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BindingError<'p> {
    /// Status.
    pub status: BindingErrorStatus,
    /// The home address in question, or unspecified.
    pub home_address: Ipv6Addr,
    /// Options.
    pub options: Options<'p>,
}

impl<'p> BindingError<'p> {
    /// Composes its options.
    #[must_use]
    pub const fn builder() -> OptionsBuilder {
        OptionsBuilder::for_binding_error()
    }

    pub(super) fn parse(mut reader: Reader<'p>) -> Result<Self, Malformed> {
        let [status, _] = reader.take("status")?;
        Ok(Self {
            status: BindingErrorStatus(status),
            home_address: reader.ipv6("home address")?,
            options: options(&reader)?,
        })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.status.0, 0]);
        out.extend_from_slice(&self.home_address.octets());
    }
}

map_options! {
    BindingRefreshRequest {},
    BindingUpdate { sequence, flags, lifetime },
    BindingAcknowledgement { status, flags, sequence, lifetime },
    BindingError { status, home_address },
}
