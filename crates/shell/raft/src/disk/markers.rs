//! Records of the sled tree: keys, checksums, and what stands in them.
//!
//! ```text
//! key 00 "vote"           proto Vote
//! key 00 "committed"      01 and proto LogId, or nothing
//! key 00 "purged"         01 and proto LogId
//! key 00 "peer" id        incarnation, 8 octets little endian; id is 8 octets big endian
//! key 01 index            proto LogEntry; index is 8 octets big endian
//! ```
//!
//! Each value starts with four octets: crc32c over key and content, little endian. The key is
//! covered so that a record that ends up in another's place is noticed.

use crate::encoding;
use crate::proto;
use crate::types::{Entry, LogId, Vote};
use bytes::Bytes;
use prost::Message as _;

pub(super) const VOTE: &[u8] = b"\x00vote";
pub(super) const COMMITTED: &[u8] = b"\x00committed";
pub(super) const PURGED: &[u8] = b"\x00purged";
pub(super) const PEER: &[u8] = b"\x00peer";
const ENTRY: u8 = 1;

pub(super) fn entry_key(index: u64) -> [u8; 9] {
    let mut key = [ENTRY; 9];
    key[1..].copy_from_slice(&index.to_be_bytes());
    key
}

/// The index of an entry's key; `None` when it is no entry's key.
pub(super) fn entry_index(key: &[u8]) -> Option<u64> {
    let (&kind, index) = key.split_first()?;
    (kind == ENTRY).then_some(u64::from_be_bytes(index.try_into().ok()?))
}

pub(super) fn peer_key(node_id: u64) -> Vec<u8> {
    [PEER, &node_id.to_be_bytes()].concat()
}

pub(super) fn peer_id(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.strip_prefix(PEER)?.try_into().ok()?))
}

/// Names a record for people.
pub(super) fn describe(key: &[u8]) -> String {
    if let Some(index) = entry_index(key) {
        return format!("log entry {index}");
    }
    if let Some(node_id) = peer_id(key) {
        return format!("the record of peer {node_id}");
    }
    let name = String::from_utf8_lossy(key.get(1..).unwrap_or_default());
    format!("the record {name:?}")
}

fn checksum(key: &[u8], content: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), content)
}

/// The value stored under `key`.
pub(super) fn seal(key: &[u8], content: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(content.len() + 4);
    value.extend_from_slice(&checksum(key, content).to_le_bytes());
    value.extend_from_slice(content);
    value
}

pub(super) fn seal_entry(key: &[u8], entry: &Entry) -> Vec<u8> {
    let message = encoding::entry_to_proto(entry);
    let mut value = Vec::with_capacity(message.encoded_len() + 4);
    value.extend_from_slice(&[0; 4]);
    // A vector grows as needed, so this cannot fail; and if it did, the checksum would cover what
    // was written and the decoder would complain.
    let written = message.encode(&mut value);
    debug_assert!(written.is_ok());
    let sum = checksum(key, value.get(4..).unwrap_or_default());
    if let Some(head) = value.first_chunk_mut::<4>() {
        *head = sum.to_le_bytes();
    }
    value
}

/// The content of a value, once its checksum was verified.
pub(super) fn open<'v>(key: &[u8], value: &'v [u8]) -> Result<&'v [u8], String> {
    let (stored, content) =
        value.split_first_chunk::<4>().ok_or_else(|| "it is too short".to_owned())?;
    let stored = u32::from_le_bytes(*stored);
    let computed = checksum(key, content);
    if stored != computed {
        return Err(format!("its checksum is {stored:08x}, its content has {computed:08x}"));
    }
    Ok(content)
}

pub(super) fn open_entry(key: &[u8], value: &[u8]) -> Result<Entry, String> {
    let content = Bytes::copy_from_slice(open(key, value)?);
    let message = proto::LogEntry::decode(content).map_err(|e| e.to_string())?;
    let index = message.index;
    let entry = encoding::entry_from_proto(message).map_err(|e| e.to_string())?;
    if entry_index(key) != Some(index) {
        return Err(format!("it says that it is entry {index}"));
    }
    Ok(entry)
}

pub(super) fn emit_vote(vote: &Vote) -> Vec<u8> {
    encoding::vote_to_proto(vote).encode_to_vec()
}

pub(super) fn parse_vote(content: &[u8]) -> Result<Vote, String> {
    let vote = proto::Vote::decode(content).map_err(|e| e.to_string())?;
    encoding::vote_from_proto(Some(&vote)).map_err(|e| e.to_string())
}

/// `None` is stored as nothing, a position as 01 and the message (which may itself be empty).
pub(super) fn emit_log_id(log_id: Option<&LogId>) -> Vec<u8> {
    let Some(log_id) = log_id else {
        return Vec::new();
    };
    let mut octets = vec![1];
    octets.extend(encoding::log_id_to_proto(log_id).encode_to_vec());
    octets
}

pub(super) fn parse_log_id(content: &[u8]) -> Result<Option<LogId>, String> {
    match content.split_first() {
        None => Ok(None),
        Some((1, message)) => {
            let log_id = proto::LogId::decode(message).map_err(|e| e.to_string())?;
            Ok(Some(encoding::log_id_from_proto(&log_id)))
        }
        Some((other, _)) => Err(format!("it starts with {other:#04x}")),
    }
}
