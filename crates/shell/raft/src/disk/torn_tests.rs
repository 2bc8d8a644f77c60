//! sled's file as a crash or a bad device may leave it.

use super::tests::{append, entry, filled, log_id, open};
use super::{Log, SledEngine, claim};
use crate::config::RaftConfig;
use crate::error::StartError;
use crate::types::{Entry, Vote};
use openraft::RaftLogReader as _;
use openraft::storage::RaftLogStorage as _;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use tempfile::TempDir;

const CUTS: usize = 16;
const FLIPS: usize = 48;

pub(super) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// A disk before and after the writes that the crash interrupts, and where they differ.
struct Interrupted {
    before: TempDir,
    old: Vec<u8>,
    new: Vec<u8>,
    changed: Range<usize>,
    /// The bound after all of them.
    reached: Vec<u8>,
}

/// What is acknowledged stands in sled's file alone.
fn without_journal(dir: &Path) {
    let mut identity = claim(&RaftConfig::new(1, dir, "blue", BTreeMap::new()), 7).unwrap();
    identity.format = 2;
    identity.write().unwrap();
}

fn later_entries() -> Vec<Entry> {
    (21..=40).map(|index| entry(4, index, 3000)).collect()
}

async fn interrupted() -> Interrupted {
    let dir = tempfile::tempdir().unwrap();
    without_journal(dir.path());
    let mut log = filled(dir.path()).await;
    let before = tempfile::tempdir().unwrap();
    copy(dir.path(), before.path());
    append(&mut log, later_entries()).await.unwrap();
    log.save_vote(&Vote::new_committed(5, 1)).await.unwrap();
    // Not closed before: sled tidies up when it is.
    let new = std::fs::read(dir.path().join("log/db")).unwrap();
    let reached = std::fs::read(dir.path().join("reached")).unwrap();
    log.close().await;
    let mut old = std::fs::read(before.path().join("log/db")).unwrap();
    old.resize(new.len().max(old.len()), 0);
    let differs = |at: &usize| old[*at] != new[*at];
    let first = (0..new.len()).find(differs).unwrap();
    let last = (0..new.len()).rfind(differs).unwrap();
    Interrupted { before, old, new, changed: first..last + 1, reached }
}

impl Interrupted {
    /// The disk with only a part of what changed.
    fn disk(&self, octets: &[u8]) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        copy(self.before.path(), dir.path());
        std::fs::write(dir.path().join("log/db"), octets).unwrap();
        dir
    }
}

async fn content(log: &mut Log) -> (Option<Vote>, Vec<Entry>) {
    (log.read_vote().await.unwrap(), log.try_get_log_entries(..).await.unwrap())
}

/// How many entries are there after a write was interrupted: what was acknowledged, and of the later ones those
/// up to some point. The log can be written on.
async fn survivors(dir: &Path, case: &str) -> usize {
    let acknowledged: Vec<_> = (1..=20).map(|index| entry(3, index, 100)).collect();
    let all = [acknowledged.clone(), later_entries()].concat();
    let mut log = open(dir).unwrap_or_else(|error| panic!("{case}: {error}"));
    let (vote, entries) = content(&mut log).await;
    assert!(entries.len() >= acknowledged.len(), "{case}: {} entries", entries.len());
    assert_eq!(entries, all[..entries.len()], "{case}");
    // What was written later is there only if everything before it is.
    let expected = if vote == Some(Vote::new_committed(5, 1)) { 40 } else { entries.len() };
    assert_eq!(entries.len(), expected, "{case}");
    assert!(vote >= Some(Vote::new_committed(3, 1)), "{case}: {vote:?}");
    let next = u64::try_from(entries.len()).unwrap() + 1;
    append(&mut log, vec![entry(6, next, 10)]).await.unwrap();
    log.close().await;
    let mut log = open(dir).unwrap();
    assert_eq!(log.get_log_state().await.unwrap().last_log_id, Some(log_id(6, next)));
    log.close().await;
    entries.len()
}

/// Whether a damaged disk is refused; else all of it is there.
async fn is_refused(dir: &Path, step: usize) -> bool {
    match open(dir) {
        Ok(mut log) => {
            let (vote, entries) = content(&mut log).await;
            assert_eq!((vote, entries.len()), (Some(Vote::new_committed(5, 1)), 40), "{step}");
            log.close().await;
            false
        }
        Err(error) => {
            assert!(error.to_string().contains("new node id"), "{step}: {error}");
            true
        }
    }
}

#[tokio::test]
async fn a_half_written_tail_costs_nothing_that_was_acknowledged() {
    let disk = interrupted().await;
    let mut lengths = Vec::new();
    for (cut, garbage) in (0..=CUTS).flat_map(|cut| [(cut, false), (cut, true)]) {
        let Range { start, end } = disk.changed;
        let reached = start + (end - start) * cut / CUTS;
        let mut octets = disk.old.clone();
        octets[start..reached].copy_from_slice(&disk.new[start..reached]);
        if garbage {
            octets[reached..end].fill(0xa5);
        }
        let torn = disk.disk(&octets);
        lengths.push(survivors(torn.path(), &format!("cut {cut}")).await);
    }
    assert_eq!((lengths.first(), lengths.last()), (Some(&20), Some(&40)));
}

#[tokio::test]
async fn a_log_of_another_disk_is_refused() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    filled(ours.path()).await.close().await;
    let mut identity =
        claim(&RaftConfig::new(1, theirs.path(), "blue", BTreeMap::new()), 8).unwrap();
    drop(SledEngine::open(theirs.path(), &mut identity).unwrap());
    std::fs::remove_dir_all(ours.path().join("log")).unwrap();
    copy(&theirs.path().join("log"), &ours.path().join("log"));
    let error = open(ours.path()).err().unwrap();
    assert!(matches!(error, StartError::OtherLog { found: 8, expected: 7, .. }), "{error}");
    assert!(error.to_string().contains("incarnation"), "{error}");
}

// sled takes the damaged record for the end of its file, and would go on without the rest.
#[tokio::test]
async fn damage_in_sleds_file_is_not_taken_for_its_end() {
    let disk = interrupted().await;
    let mut refused = 0;
    for step in 0..FLIPS {
        let mut octets = disk.new.clone();
        octets[disk.changed.end * step / FLIPS] ^= 0x10;
        let damaged = disk.disk(&octets);
        std::fs::write(damaged.path().join("reached"), &disk.reached).unwrap();
        refused += usize::from(is_refused(damaged.path(), step).await);
    }
    assert!(refused > FLIPS / 2, "{refused} of {FLIPS}");
}

/// A disk right after what is acknowledged came into the journal, which sled does not have yet, and where its
/// records begin.
async fn journaled() -> (TempDir, Vec<u8>, usize) {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path()).await.close().await;
    let killed = tempfile::tempdir().unwrap();
    copy(dir.path(), killed.path());
    let mut log = open(dir.path()).unwrap();
    let start = used(&std::fs::read(dir.path().join("journal/0")).unwrap());
    append(&mut log, later_entries()).await.unwrap();
    log.save_vote(&Vote::new_committed(5, 1)).await.unwrap();
    // The vote, which came last, was claimed with everything before it.
    for file in ["journal/0", "reached"] {
        std::fs::copy(dir.path().join(file), killed.path().join(file)).unwrap();
    }
    log.close().await;
    let journal = std::fs::read(killed.path().join("journal/0")).unwrap();
    (killed, journal, start)
}

fn used(octets: &[u8]) -> usize {
    octets.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1)
}

#[tokio::test]
async fn a_half_written_journal_costs_nothing_that_was_acknowledged() {
    let (killed, journal, start) = journaled().await;
    let end = used(&journal);
    let mut lengths = Vec::new();
    for cut in 0..=CUTS {
        let torn = tempfile::tempdir().unwrap();
        copy(killed.path(), torn.path());
        // The bound is that of before: what was being written was not acknowledged.
        std::fs::remove_file(torn.path().join("reached")).unwrap();
        let mut identity =
            claim(&RaftConfig::new(1, torn.path(), "blue", BTreeMap::new()), 7).unwrap();
        identity.reached_created = false;
        identity.write().unwrap();
        let mut octets = journal.clone();
        octets[start + (end - start) * cut / CUTS..].fill(0);
        std::fs::write(torn.path().join("journal/0"), octets).unwrap();
        lengths.push(survivors(torn.path(), &format!("cut {cut}")).await);
    }
    assert_eq!((lengths.first(), lengths.last()), (Some(&20), Some(&40)));
}

#[tokio::test]
async fn damage_in_the_journal_is_not_taken_for_its_end() {
    let (killed, journal, start) = journaled().await;
    let end = used(&journal);
    let mut refused = 0;
    for step in 0..FLIPS {
        let damaged = tempfile::tempdir().unwrap();
        copy(killed.path(), damaged.path());
        let mut octets = journal.clone();
        octets[start + (end - start) * step / FLIPS] ^= 0x10;
        std::fs::write(damaged.path().join("journal/0"), octets).unwrap();
        refused += usize::from(is_refused(damaged.path(), step).await);
    }
    assert!(refused > FLIPS / 2, "{refused} of {FLIPS}");
}
