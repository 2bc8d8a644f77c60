//! Between the messages of `homeport.binding.v1` and the types of the binding cache.
//!
//! Encoding cannot fail. Decoding refuses what no encoder of ours writes and names the field.

use std::net::{Ipv4Addr, Ipv6Addr};

use homeport_binding as core;
use homeport_wire::BidPriority;
use prost::bytes::Bytes;

use crate::binding as proto;

mod advertisement;
mod association;
mod care_of_test;
mod command;
mod correspondent;
mod flow;
mod home_link;
mod notice;
mod operations;
mod prefix;
mod record;
mod verdict;

pub use association::{protects_of, suite_of};
pub use correspondent::{correspondent_message, correspondent_of};
pub use record::{home_message, home_of};

/// A message that does not hold what it must.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Invalid {
    /// A field is missing or its value is not possible.
    #[error("{field}: expected {expected}")]
    Field {
        /// Path of the field.
        field: &'static str,
        /// What would do.
        expected: &'static str,
    },
    /// The octets are no message of this kind.
    #[error("not a {message} message: {source}")]
    Encoding {
        /// The kind.
        message: &'static str,
        /// Why not.
        source: prost::DecodeError,
    },
    /// The state is in another format than this code reads (see `migrations/`).
    #[error(
        "header.format: the state has format {found}, this program reads {supported}: \
         run the version that wrote it, or a newer one"
    )]
    Format {
        /// The format found.
        found: u32,
        /// The format that this code reads.
        supported: u32,
    },
}

pub(crate) const fn invalid(field: &'static str, expected: &'static str) -> Invalid {
    Invalid::Field { field, expected }
}

/// An IPv6 address from its 16 octets.
///
/// # Errors
/// When there are not 16.
pub fn ipv6(octets: &[u8], field: &'static str) -> Result<Ipv6Addr, Invalid> {
    let octets: [u8; 16] = octets.try_into().map_err(|_| invalid(field, "16 octets"))?;
    Ok(octets.into())
}

/// An IPv4 address from its 4 octets.
///
/// # Errors
/// When there are not 4.
pub fn ipv4(octets: &[u8], field: &'static str) -> Result<Ipv4Addr, Invalid> {
    let octets: [u8; 4] = octets.try_into().map_err(|_| invalid(field, "4 octets"))?;
    Ok(octets.into())
}

/// The octets of an IPv6 address.
#[must_use]
pub fn ipv6_octets(address: Ipv6Addr) -> Bytes {
    Bytes::copy_from_slice(&address.octets())
}

/// The octets of an IPv4 address.
#[must_use]
pub fn ipv4_octets(address: Ipv4Addr) -> Bytes {
    Bytes::copy_from_slice(&address.octets())
}

/// A UDP or other 16-bit number.
///
/// # Errors
/// When it is over 65535.
pub fn u16_of(value: u32, field: &'static str) -> Result<u16, Invalid> {
    u16::try_from(value).map_err(|_| invalid(field, "0..=65535"))
}

pub(crate) fn u8_of(value: u32, field: &'static str) -> Result<u8, Invalid> {
    u8::try_from(value).map_err(|_| invalid(field, "0..=255"))
}

/// BID-PRI has seven bits (RFC 6089 §4.1).
pub(crate) fn priority_of(value: u32, field: &'static str) -> Result<BidPriority, Invalid> {
    match u8_of(value, field) {
        Ok(value @ 0..=0x7f) => Ok(BidPriority::new(value)),
        Ok(_) | Err(_) => Err(invalid(field, "0..=127")),
    }
}

pub(crate) fn prefix_of(
    address: &[u8],
    len: u32,
    field: &'static str,
) -> Result<core::Ipv6Prefix, Invalid> {
    core::Ipv6Prefix::new(ipv6(address, field)?, u8_of(len, field)?)
        .ok_or_else(|| invalid(field, "a prefix of at most 128 bits whose host bits are zero"))
}

/// Decodes one log entry.
///
/// # Errors
/// When the octets are no batch of ours.
pub fn decode_batch(octets: &[u8]) -> Result<core::Batch, Invalid> {
    let batch: proto::Batch = decode(octets, "Batch")?;
    batch.try_into()
}

/// Decodes one log entry, which is not copied.
///
/// # Errors
/// When the octets are no batch of ours.
pub fn batch_of(octets: Bytes) -> Result<core::Batch, Invalid> {
    let batch = proto::Batch::decode(octets)
        .map_err(|source| Invalid::Encoding { message: "Batch", source })?;
    batch.try_into()
}

/// Encodes a command, for [`join_commands`].
#[must_use]
pub fn encode_command(command: &proto::Command) -> Vec<u8> {
    command.encode_to_vec()
}

/// Encodes one log entry of commands that are encoded already: the same octets as of [`encode_batch`].
#[must_use]
pub fn join_commands(at: core::LogTime, commands: &[Vec<u8>]) -> Bytes {
    // A tag and a length, each of a few octets.
    const FRAME: usize = 8;
    let octets = commands.iter().map(|command| command.len() + FRAME).sum::<usize>();
    let mut batch = Vec::with_capacity(octets + 2 * FRAME);
    if at.0 != 0 {
        prost::encoding::uint64::encode(1, &at.0, &mut batch);
    }
    for command in commands {
        prost::encoding::bytes::encode(2, command, &mut batch);
    }
    batch.into()
}

/// Encodes one log entry.
#[must_use]
pub fn encode_batch(batch: core::Batch) -> Bytes {
    prost::Message::encode_to_vec(&proto::Batch::from(batch)).into()
}

/// Decodes the verdicts of one log entry.
///
/// # Errors
/// When the octets are no verdicts of ours.
pub fn decode_verdicts(octets: &[u8]) -> Result<Vec<core::Verdict>, Invalid> {
    let verdicts: proto::Verdicts = decode(octets, "Verdicts")?;
    verdicts.verdicts.into_iter().map(TryInto::try_into).collect()
}

/// Encodes the verdicts of one log entry.
#[must_use]
pub fn encode_verdicts(verdicts: Vec<core::Verdict>) -> Bytes {
    let verdicts = verdicts.into_iter().map(Into::into).collect();
    prost::Message::encode_to_vec(&proto::Verdicts { verdicts }).into()
}

/// Version of the state's format that this code writes and reads.
pub const STATE_FORMAT: u32 = 1;

/// Encodes one record of the state, length-delimited, at the end of `out`.
pub fn encode_state_record(record: core::StateRecord, out: &mut Vec<u8>) {
    let message = proto::StateRecord::from(record).encode_length_delimited_to_vec();
    out.extend_from_slice(&message);
}

/// Decodes one length-delimited record and moves `octets` past it.
///
/// # Errors
/// When the octets are no record of ours, or of a newer format.
pub fn decode_state_record(octets: &mut Bytes) -> Result<core::StateRecord, Invalid> {
    let record = proto::StateRecord::decode_length_delimited(octets)
        .map_err(|source| Invalid::Encoding { message: "StateRecord", source })?;
    record.try_into()
}

fn decode<M: prost::Message + Default>(octets: &[u8], message: &'static str) -> Result<M, Invalid> {
    M::decode(octets).map_err(|source| Invalid::Encoding { message, source })
}

use prost::Message as _;
