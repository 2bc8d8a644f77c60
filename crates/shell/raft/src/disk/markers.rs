//! Records of the sled tree: keys, checksums, and what stands in them.
//!
//! ```text
//! key 00 "vote"           proto Vote
//! key 00 "committed"      01 and proto LogId, or nothing
//! key 00 "purged"         01 and proto LogId
//! key 00 "owner"          incarnation of the disk that the log belongs to, 8 octets little endian
//! key 00 "journal"        number of the last journal record that is in here, 8 octets little endian
//! key 00 "peer" id        incarnation, 8 octets little endian; id is 8 octets big endian
//! key 01 index            number of further parts, 2 octets little endian, and the first part of
//!                         proto LogEntry; index is 8 octets big endian
//! key 01 index part       a further part; part is 2 octets big endian, from 1 on
//! ```
//!
//! Each value starts with four octets: crc32c over key and content, little endian. The key is
//! covered so that a record that ends up in another's place is noticed.
//!
//! A large entry is cut into parts because sled writes a whole page of up to some thirty values at
//! once, and puts it into a file that it never syncs when it is larger than a quarter of a segment.

use super::engine::Write;
use crate::encoding;
use crate::proto;
use crate::types::{Entry, LogId, Vote};
use bytes::Bytes;
use prost::Message as _;

pub(super) const VOTE: &[u8] = b"\x00vote";
pub(super) const COMMITTED: &[u8] = b"\x00committed";
pub(super) const PURGED: &[u8] = b"\x00purged";
pub(super) const OWNER: &[u8] = b"\x00owner";
pub(super) const PEER: &[u8] = b"\x00peer";
pub(super) const JOURNAL: &[u8] = b"\x00journal";
const ENTRY: u8 = 1;

/// The largest part of an entry: thirty of them in a page stay below 4 MiB.
pub(super) const PART_OCTETS: usize = 64 * 1024;

pub(super) fn entry_key(index: u64) -> [u8; 9] {
    let mut key = [ENTRY; 9];
    key[1..].copy_from_slice(&index.to_be_bytes());
    key
}

fn part_key(index: u64, part: u16) -> [u8; 11] {
    let mut key = [ENTRY; 11];
    key[1..9].copy_from_slice(&index.to_be_bytes());
    key[9..].copy_from_slice(&part.to_be_bytes());
    key
}

/// Keys of an entry's further parts, last first.
pub(super) fn part_keys(index: u64, parts: u16) -> impl Iterator<Item = [u8; 11]> {
    (1..=parts).rev().map(move |part| part_key(index, part))
}

/// Index and part of an entry's key; part 0 is the first. `None` when it is no entry's key.
pub(super) fn entry_part(key: &[u8]) -> Option<(u64, u16)> {
    let rest = key.strip_prefix(&[ENTRY])?;
    let (index, part) = rest.split_first_chunk::<8>()?;
    let part = match part {
        [] => 0,
        part => u16::from_be_bytes(part.try_into().ok()?),
    };
    Some((u64::from_be_bytes(*index), part))
}

pub(super) fn peer_key(node_id: u64) -> Vec<u8> {
    [PEER, &node_id.to_be_bytes()].concat()
}

pub(super) fn peer_id(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.strip_prefix(PEER)?.try_into().ok()?))
}

/// Names a record for people.
pub(super) fn describe(key: &[u8]) -> String {
    if let Some((index, _)) = entry_part(key) {
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

/// The keys that a write sets, and their values. A truncation sets none.
pub(super) fn changes(write: Write) -> Vec<(Vec<u8>, Vec<u8>)> {
    let marker = |key: &[u8], content: &[u8]| vec![(key.to_vec(), seal(key, content))];
    match write {
        Write::Append(entries) => entries.iter().flat_map(seal_entry).collect(),
        Write::Vote(vote) => marker(VOTE, &emit_vote(&vote)),
        Write::Committed(log_id) => marker(COMMITTED, &emit_log_id(log_id.as_ref())),
        Write::Purged(log_id) => marker(PURGED, &emit_log_id(Some(&log_id))),
        Write::Peer(node_id, incarnation) => marker(&peer_key(node_id), &incarnation.to_le_bytes()),
        Write::Truncate(_) => Vec::new(),
    }
}

/// The records of an entry: key and value of each part.
pub(super) fn seal_entry(entry: &Entry) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let index = entry.log_id.index();
    let message = encoding::entry_to_proto(entry).encode_to_vec();
    let further = message.len().saturating_sub(1) / PART_OCTETS;
    // A command of the largest size has eight parts.
    let further = u16::try_from(further).unwrap_or(u16::MAX);
    (0..=further).map(move |part| {
        let from = usize::from(part) * PART_OCTETS;
        let octets = message.get(from..).unwrap_or_default();
        let octets = octets.get(..PART_OCTETS).unwrap_or(octets);
        if part > 0 {
            let key = part_key(index, part);
            return (key.to_vec(), seal(&key, octets));
        }
        let key = entry_key(index);
        (key.to_vec(), seal(&key, &[&further.to_le_bytes()[..], octets].concat()))
    })
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

/// The number of further parts that an entry's first record names.
pub(super) fn further_parts(key: &[u8], value: &[u8]) -> Result<u16, String> {
    split_first(key, value).map(|(further, _)| further)
}

fn split_first<'v>(key: &[u8], value: &'v [u8]) -> Result<(u16, &'v [u8]), String> {
    let (further, octets) =
        open(key, value)?.split_first_chunk::<2>().ok_or_else(|| "it is too short".to_owned())?;
    Ok((u16::from_le_bytes(*further), octets))
}

/// Puts entries together from their records, which come in the order of their keys.
#[derive(Default)]
pub(super) struct Assembly {
    /// The entry that waits for further parts, the next of them, and how many there are.
    open: Option<Partial>,
}

struct Partial {
    index: u64,
    next: u16,
    further: u16,
    message: Vec<u8>,
}

impl Assembly {
    /// Takes the next record; returns the entry that it completes. Parts whose entry is gone were
    /// left by an interrupted removal and are passed over.
    pub(super) fn take(&mut self, key: &[u8], value: &[u8]) -> Result<Option<Entry>, String> {
        let (index, part) = entry_part(key).ok_or_else(|| "its key is malformed".to_owned())?;
        if part == 0 {
            self.finish()?;
            let (further, octets) = split_first(key, value)?;
            let message = octets.to_vec();
            self.open = Some(Partial { index, next: 1, further, message });
        } else if let Some(partial) = &mut self.open
            && (partial.index, partial.next) == (index, part)
        {
            partial.message.extend_from_slice(open(key, value)?);
            partial.next += 1;
        } else {
            return Ok(None);
        }
        match self.open.take_if(|partial| partial.next > partial.further) {
            Some(partial) => parse_entry(partial.index, partial.message).map(Some),
            None => Ok(None),
        }
    }

    /// Nothing more comes.
    pub(super) fn finish(&self) -> Result<(), String> {
        match &self.open {
            None => Ok(()),
            Some(partial) => {
                Err(format!("part {} of entry {} is missing", partial.next, partial.index))
            }
        }
    }
}

fn parse_entry(index: u64, message: Vec<u8>) -> Result<Entry, String> {
    let message = proto::LogEntry::decode(Bytes::from(message)).map_err(|e| e.to_string())?;
    if message.index != index {
        return Err(format!("it says that it is entry {}", message.index));
    }
    encoding::entry_from_proto(message).map_err(|e| e.to_string())
}

pub(super) fn emit_vote(vote: &Vote) -> Vec<u8> {
    encoding::vote_to_proto(vote).encode_to_vec()
}

pub(super) fn parse_vote(content: &[u8]) -> Result<Vote, String> {
    let vote = proto::Vote::decode(content).map_err(|e| e.to_string())?;
    encoding::vote_from_proto(Some(&vote)).map_err(|e| e.to_string())
}

pub(super) fn parse_number(content: &[u8]) -> Result<u64, String> {
    content.try_into().map(u64::from_le_bytes).map_err(|_| "its length is wrong".to_owned())
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
