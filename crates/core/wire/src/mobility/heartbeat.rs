//! Heartbeat (RFC 5847 §3.3).

use alloc::vec::Vec;

use super::{map_options, options};
use crate::code_points::HeartbeatFlags;
use crate::error::Malformed;
use crate::options::{Options, OptionsBuilder};
use crate::reader::Reader;

/// Asks whether the peer is there, or says so.
///
/// ```text
///  6: flags, kept whole
///  8: sequence number
/// 12: options
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heartbeat<'p> {
    /// Flags, reserved bits included.
    pub flags: HeartbeatFlags,
    /// Sequence number, copied into the response.
    pub sequence: u32,
    /// Options; a Restart Counter in responses.
    pub options: Options<'p>,
}

impl<'p> Heartbeat<'p> {
    /// Composes its options.
    #[must_use]
    pub const fn builder() -> OptionsBuilder {
        OptionsBuilder::for_heartbeat()
    }

    pub(super) fn parse(mut reader: Reader<'p>) -> Result<Self, Malformed> {
        Ok(Self {
            flags: HeartbeatFlags(reader.u16("flags")?),
            sequence: reader.u32("sequence number")?,
            options: options(&reader)?,
        })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.flags.0.to_be_bytes());
        out.extend_from_slice(&self.sequence.to_be_bytes());
    }
}

map_options!(Heartbeat { flags, sequence });
