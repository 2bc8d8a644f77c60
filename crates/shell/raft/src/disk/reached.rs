//! The file `reached`: how far the log is known to be on the disk, kept beside sled.
//!
//! sled takes a damaged record of its file for the file's end, and what comes after it is gone
//! without an error. A replica that forgets a vote or entries that it acknowledged can make the
//! cluster lose them, so it must notice.
//!
//! ```text
//! two slots of 512 octets, written in turn; the valid one with the greater serial counts
//! octet  0..8   "HPREACHD"
//!        8..16  serial, all numbers little endian
//!       16..24  index after the last entry
//!       24..32  term of the vote
//!       32..40  node id of the vote
//!       40      0 no vote, 1 a vote, 2 a vote for an elected leader
//!       41..45  crc32c of all octets before it
//!       45..53  index of the first entry that was not purged
//!       53..61  number of peers whose disks are remembered
//!       61..65  crc32c of all octets before it
//! ```
//!
//! A program from before the second half was there reads the first, and leaves the second empty.
//!
//! It names what was synced before, never more, so no crash makes it wrong. Nobody waits for it,
//! and it is written at most ten times a second: what it finds missing is missing, but the newest
//! entries may be missing without it.

use super::file::sync_dir;
use crate::error::DiskError;
use crate::limits::REACHED_INTERVAL;
use crate::types::Vote;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

const MAGIC: &[u8; 8] = b"HPREACHD";
const SLOT_OCTETS: usize = 512;
const SLOTS_AT: [u64; 2] = [0, 512];
const SUM_AT: usize = 41;
const MORE_AT: usize = SUM_AT + 4;
const MORE_SUM_AT: usize = MORE_AT + 16;
const USED_OCTETS: usize = MORE_SUM_AT + 4;

/// A lower bound of what the log holds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Bound {
    /// Index after the last entry.
    pub(super) end: u64,
    pub(super) vote: Option<Vote>,
    /// Index of the first entry that was not purged.
    pub(super) first: u64,
    /// Peers whose disks are remembered; none is ever forgotten.
    pub(super) peers: u64,
}

pub(super) struct Reached {
    file: File,
    path: PathBuf,
    serial: u64,
    /// What the file says.
    claimed: Bound,
    claimed_at: Option<Instant>,
    /// What was written.
    written: Bound,
    /// What was synced.
    durable: Bound,
    /// The peers that were written: one may be given twice.
    peers: BTreeSet<u64>,
}

impl Reached {
    /// Opens the file, or creates it unless it was `created` before: a disk from before it existed
    /// is taken as it is.
    pub(super) fn open(data_dir: &Path, created: bool) -> Result<Self, DiskError> {
        let path = data_dir.join("reached");
        let corrupt = |detail: &str| DiskError::Corrupt {
            file: path.clone(),
            record: "the record of what the log has reached".to_owned(),
            detail: detail.to_owned(),
        };
        let file = File::options()
            .read(true)
            .write(true)
            .create(!created)
            .truncate(false)
            .open(&path)
            .map_err(|e| match e.kind() {
                ErrorKind::NotFound => corrupt("it is missing although it was there before"),
                _ => DiskError::io("open", &path, e),
            })?;
        let octets = std::fs::read(&path).map_err(|e| DiskError::io("read", &path, e))?;
        let newest = octets.chunks(SLOT_OCTETS).filter_map(parse).max_by_key(|(serial, _)| *serial);
        // Nothing but zeros: its creation was interrupted.
        let fresh = octets.iter().all(|octet| *octet == 0);
        if newest.is_none() && (created || !fresh) {
            return Err(corrupt("neither of its copies has a valid checksum"));
        }
        let (serial, claimed) = newest.unwrap_or_default();
        let mut reached = Self {
            file,
            path,
            serial,
            claimed,
            claimed_at: None,
            written: claimed,
            durable: claimed,
            peers: BTreeSet::new(),
        };
        if fresh {
            reached.claim(Bound::default())?;
            sync_dir(data_dir).map_err(|e| DiskError::io("sync", data_dir, e))?;
        }
        Ok(reached)
    }

    /// Compares with what was found in the log; says what is missing.
    pub(super) fn check(&mut self, found: Bound) -> Result<(), String> {
        let Bound { end, vote, first, peers } = self.claimed;
        if found.end < end {
            return Err(format!(
                "it ends before index {}, but entries before index {end} were on the disk",
                found.end
            ));
        }
        if found.vote < vote {
            let name = |vote: Option<Vote>| vote.map_or("none".to_owned(), |vote| vote.to_string());
            return Err(format!(
                "its vote is {}, but {} was on the disk",
                name(found.vote),
                name(vote)
            ));
        }
        if found.first < first {
            return Err(format!(
                "it is purged up to index {}, but its purge up to index {first} was on the disk",
                found.first
            ));
        }
        if found.peers < peers {
            return Err(format!(
                "it knows the disks of {} peers, but those of {peers} were on the disk",
                found.peers
            ));
        }
        self.written = found;
        self.durable = found;
        Ok(())
    }

    pub(super) fn wrote_entries(&mut self, end: u64) {
        self.written.end = end;
    }

    pub(super) fn wrote_vote(&mut self, vote: Vote) {
        self.written.vote = Some(vote);
    }

    pub(super) fn wrote_purge(&mut self, first: u64) {
        self.written.first = first;
        // A purge beyond the end leaves an empty log behind it.
        self.written.end = self.written.end.max(first);
    }

    pub(super) fn wrote_peer(&mut self, node_id: u64) {
        self.peers.insert(node_id);
        self.written.peers = u64::try_from(self.peers.len()).unwrap_or(u64::MAX);
    }

    /// Entries from `end` on are about to be removed.
    pub(super) fn lower(&mut self, end: u64) -> Result<(), DiskError> {
        self.written.end = self.written.end.min(end);
        self.durable.end = self.durable.end.min(end);
        if self.claimed.end > end {
            self.claim(Bound { end, ..self.claimed })?;
        }
        Ok(())
    }

    /// Everything that was written so far is durable now.
    pub(super) fn synced(&mut self) -> Result<(), DiskError> {
        self.durable = self.written;
        let due = self.claimed_at.is_none_or(|at| at.elapsed() >= REACHED_INTERVAL);
        // These are rare, and forgetting one is worst.
        let rare = |bound: &Bound| (bound.vote, bound.first, bound.peers);
        if rare(&self.durable) != rare(&self.claimed) || (due && self.durable != self.claimed) {
            self.claim(self.durable)?;
        }
        Ok(())
    }

    fn claim(&mut self, bound: Bound) -> Result<(), DiskError> {
        self.serial += 1;
        let at = SLOTS_AT[usize::from(!self.serial.is_multiple_of(2))];
        let mut slot = [0; SLOT_OCTETS];
        slot[..USED_OCTETS].copy_from_slice(&emit(self.serial, &bound));
        self.file
            .write_all_at(&slot, at)
            .and_then(|()| self.file.sync_data())
            .map_err(|e| DiskError::io("write", &self.path, e))?;
        self.claimed = bound;
        self.claimed_at = Some(Instant::now());
        Ok(())
    }
}

impl Drop for Reached {
    fn drop(&mut self) {
        if self.durable != self.claimed
            && let Err(error) = self.claim(self.durable)
        {
            // The older bound is true as well.
            tracing::warn!(%error, "the last bound of the log was not written");
        }
    }
}

fn emit(serial: u64, bound: &Bound) -> [u8; USED_OCTETS] {
    let (term, node_id, kind) = match &bound.vote {
        None => (0, 0, 0),
        Some(vote) => {
            let leader = vote.leader_id();
            (leader.term, leader.node_id, if vote.is_committed() { 2 } else { 1 })
        }
    };
    let mut octets = [0; USED_OCTETS];
    octets[..8].copy_from_slice(MAGIC);
    let numbers = [(8, serial), (16, bound.end), (24, term), (32, node_id)];
    let more = [(MORE_AT, bound.first), (MORE_AT + 8, bound.peers)];
    for (at, number) in numbers.into_iter().chain(more) {
        octets[at..at + 8].copy_from_slice(&number.to_le_bytes());
    }
    octets[40] = kind;
    let sum = crc32c::crc32c(&octets[..SUM_AT]);
    octets[SUM_AT..MORE_AT].copy_from_slice(&sum.to_le_bytes());
    let sum = crc32c::crc32c(&octets[..MORE_SUM_AT]);
    octets[MORE_SUM_AT..].copy_from_slice(&sum.to_le_bytes());
    octets
}

fn parse(slot: &[u8]) -> Option<(u64, Bound)> {
    let (content, sum) = slot.get(..SUM_AT + 4)?.split_at(SUM_AT);
    if crc32c::crc32c(content).to_le_bytes() != sum {
        return None;
    }
    let rest = content.strip_prefix(MAGIC)?;
    let (serial, rest) = number(rest)?;
    let (end, rest) = number(rest)?;
    let (term, rest) = number(rest)?;
    let (node_id, rest) = number(rest)?;
    let vote = match rest {
        [0] => None,
        [1] => Some(Vote::new(term, node_id)),
        [2] => Some(Vote::new_committed(term, node_id)),
        _ => return None,
    };
    let (first, peers) = parse_more(slot);
    Some((serial, Bound { end, vote, first, peers }))
}

/// The second half; nothing when it was not written.
fn parse_more(slot: &[u8]) -> (u64, u64) {
    let more = || {
        let (content, sum) = slot.get(..USED_OCTETS)?.split_at(MORE_SUM_AT);
        if crc32c::crc32c(content).to_le_bytes() != sum {
            return None;
        }
        let (first, rest) = number(content.get(MORE_AT..)?)?;
        Some((first, number(rest)?.0))
    };
    more().unwrap_or_default()
}

fn number(octets: &[u8]) -> Option<(u64, &[u8])> {
    let (head, rest) = octets.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*head), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(end: u64, term: u64) -> Bound {
        Bound { end, vote: Some(Vote::new_committed(term, 1)), ..Bound::default() }
    }

    fn wrote(reached: &mut Reached, bound: Bound) {
        reached.wrote_entries(bound.end);
        reached.wrote_vote(bound.vote.unwrap());
        reached.synced().unwrap();
    }

    #[test]
    fn a_log_that_went_back_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut reached = Reached::open(dir.path(), false).unwrap();
        reached.check(Bound::default()).unwrap();
        wrote(&mut reached, bound(21, 3));
        drop(reached);
        let mut reached = Reached::open(dir.path(), false).unwrap();
        let shorter = reached.check(bound(20, 3)).unwrap_err();
        assert!(shorter.contains("index 20") && shorter.contains("index 21"), "{shorter}");
        assert!(reached.check(bound(21, 2)).unwrap_err().contains("vote"));
        let without = Bound { end: 21, ..Bound::default() };
        assert!(reached.check(without).unwrap_err().contains("vote"));
        reached.check(bound(21, 3)).unwrap();
        reached.check(bound(30, 4)).unwrap();
    }

    #[test]
    fn a_lost_purge_and_a_forgotten_peer_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut reached = Reached::open(dir.path(), false).unwrap();
        wrote(&mut reached, bound(21, 3));
        reached.wrote_purge(15);
        for node_id in [2, 3, 2] {
            reached.wrote_peer(node_id);
        }
        reached.synced().unwrap();
        drop(reached);
        let mut reached = Reached::open(dir.path(), false).unwrap();
        let whole = Bound { first: 15, peers: 2, ..bound(21, 3) };
        assert!(reached.check(Bound { first: 14, ..whole }).unwrap_err().contains("purge"));
        assert!(reached.check(Bound { peers: 1, ..whole }).unwrap_err().contains("peers"));
        reached.check(whole).unwrap();
        // A slot of a program that does not know them.
        let path = dir.path().join("reached");
        let mut octets = std::fs::read(&path).unwrap();
        for slot in octets.chunks_mut(SLOT_OCTETS) {
            slot[MORE_AT..].fill(0);
        }
        std::fs::write(&path, octets).unwrap();
        Reached::open(dir.path(), false).unwrap().check(bound(21, 3)).unwrap();
    }

    #[test]
    fn what_was_not_synced_is_not_claimed() {
        let dir = tempfile::tempdir().unwrap();
        let mut reached = Reached::open(dir.path(), false).unwrap();
        wrote(&mut reached, bound(21, 3));
        reached.wrote_entries(50);
        reached.wrote_vote(Vote::new(9, 9));
        drop(reached);
        Reached::open(dir.path(), false).unwrap().check(bound(21, 3)).unwrap();
    }

    #[test]
    fn a_truncated_log_may_be_shorter() {
        let dir = tempfile::tempdir().unwrap();
        let mut reached = Reached::open(dir.path(), false).unwrap();
        wrote(&mut reached, bound(21, 3));
        reached.lower(11).unwrap();
        drop(reached);
        Reached::open(dir.path(), false).unwrap().check(bound(11, 3)).unwrap();
    }

    #[test]
    fn one_damaged_copy_leaves_an_older_bound_and_two_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut reached = Reached::open(dir.path(), false).unwrap();
        wrote(&mut reached, bound(21, 3));
        wrote(&mut reached, bound(31, 4));
        drop(reached);
        let path = dir.path().join("reached");
        let good = std::fs::read(&path).unwrap();
        for at in [16, 528] {
            let mut octets = good.clone();
            octets[at] ^= 1;
            std::fs::write(&path, &octets).unwrap();
            let end = Reached::open(dir.path(), false).unwrap().claimed.end;
            assert!([21, 31].contains(&end));
        }
        let mut octets = good;
        octets[16] ^= 1;
        octets[528] ^= 1;
        std::fs::write(&path, &octets).unwrap();
        let error = Reached::open(dir.path(), false).err().unwrap().to_string();
        assert!(error.contains("reached"), "{error}");
    }
}
