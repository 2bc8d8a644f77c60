//! Each file of a data directory, damaged in each way that a disk knows: what was acknowledged is
//! there, or the directory is refused with a reason and a remedy. Nothing panics, and nothing that
//! was acknowledged is missing without a word.

use super::DataDir;
use super::tests::{append, entry, log_id, open};
use super::torn_tests::copy;
use crate::config::RaftConfig;
use crate::error::SnapshotError;
use crate::inspect::inspect;
use crate::snapshot::SnapshotStore;
use crate::state_machine::{FrozenState, StateMachine};
use crate::types::{SnapshotMeta, Vote};
use bytes::Bytes;
use openraft::RaftLogReader as _;
use openraft::storage::RaftLogStorage as _;
use rand::rngs::StdRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Changes the places of flips and cuts.
const SEED: u64 = 20_261_125;
const CUTS: usize = 4;
const FLIPS: usize = 20;

/// Entries of the image, the purge and the snapshot.
const LAST: u64 = 101;
const PURGED: u64 = 50;
const SNAPSHOT: u64 = 60;

/// Every start writes a segment of 16 MiB and waits for it: in memory where there is some.
fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all.extend(files(&path)) } else { all.push(path) }
    }
    all.sort();
    all
}

fn config(dir: &Path) -> RaftConfig {
    RaftConfig::new(1, dir, "blue", BTreeMap::new())
}

/// Votes, purges, a snapshot, peers, and entries from nothing to several parts.
async fn write(dir: &Path, octets: impl Fn(u64) -> usize) -> super::Log {
    let mut log = open(dir).unwrap();
    log.save_vote(&Vote::new_committed(3, 1)).await.unwrap();
    log.remember_peer(2, 22).await.unwrap();
    log.remember_peer(3, 33).await.unwrap();
    for first in (1..=96).step_by(8) {
        let entries = (first..first + 8).map(|index| entry(3, index, octets(index)));
        append(&mut log, entries.collect()).await.unwrap();
    }
    log.save_committed(Some(log_id(3, 90))).await.unwrap();
    let snapshots = SnapshotStore::open(dir, "blue").unwrap();
    let meta = SnapshotMeta { last_log_id: Some(log_id(3, SNAPSHOT)), ..SnapshotMeta::default() };
    snapshots
        .write(&meta, 0, (0..20u8).map(|octet| Bytes::from(vec![octet; 700])), |_| ())
        .unwrap();
    log.purge(log_id(3, PURGED)).await.unwrap();
    append(&mut log, (97..=LAST).map(|index| entry(4, index, octets(index))).collect())
        .await
        .unwrap();
    log.save_vote(&Vote::new_committed(4, 1)).await.unwrap();
    log
}

/// The directory of a replica that was killed, and of one that was closed, opened and closed
/// again: then sled has an index of its file.
async fn images(octets: impl Fn(u64) -> usize) -> [(&'static str, TempDir); 2] {
    let (killed, again) = (scratch(), scratch());
    let log = write(again.path(), octets).await;
    // The vote, which came last, was claimed with everything before it.
    copy(again.path(), killed.path());
    log.close().await;
    DataDir::open(&config(again.path())).await.unwrap().log.close().await;
    [("killed", killed), ("reopened", again)]
}

/// Takes whatever comes.
struct Ignorant;

impl StateMachine for Ignorant {
    type Reply = Bytes;

    fn apply(&mut self, _index: u64, _command: &Bytes) -> Bytes {
        Bytes::new()
    }

    fn advance(&mut self, _index: u64) {}

    fn freeze(&self) -> Box<dyn FrozenState> {
        Box::new(Self)
    }

    fn restore(
        &mut self,
        _index: u64,
        chunks: &mut dyn Iterator<Item = Result<Bytes, SnapshotError>>,
    ) -> Result<(), SnapshotError> {
        for chunk in chunks {
            chunk?;
        }
        Ok(())
    }
}

impl FrozenState for Ignorant {
    fn chunks(self: Box<Self>) -> Box<dyn Iterator<Item = Bytes> + Send> {
        Box::new(std::iter::empty())
    }
}

fn content(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    files(dir).into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// What an operator is told about the directory, which is not touched.
fn inspected(dir: &Path) -> Vec<String> {
    let (before, copied) = (content(dir), scratch());
    let found = inspect(dir, copied.path(), &mut Ignorant).unwrap();
    assert!(content(dir) == before, "{} was touched", dir.display());
    assert!(found.damage.iter().all(|damage| !damage.contains(copied.path().to_str().unwrap())));
    found.damage
}

/// What became of a damaged directory.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Whole,
    Refused,
    /// Never right.
    Wrong(String),
}

async fn outcome(dir: &Path) -> Outcome {
    let opened = match DataDir::open(&config(dir)).await {
        Ok(opened) => opened,
        Err(error) => return refusal(&error.to_string(), dir),
    };
    let DataDir { mut log, snapshots, .. } = opened;
    let found = (
        log.read_vote().await.unwrap(),
        log.purged(),
        log.try_get_log_entries(..).await.map(|entries| {
            let indexes: Vec<_> = entries.iter().map(|entry| entry.log_id.index()).collect();
            indexes
        }),
        (log.peer(2), log.peer(3)),
    );
    // The start of the node reads the snapshot into the state machine.
    let verified = snapshots.current().map(|(_, file)| snapshots.verify(&file));
    log.close().await;
    let snapshot = match verified {
        Some(Ok(meta)) => meta.last_log_id,
        Some(Err(error)) => return refusal(&error.to_string(), dir),
        None => None,
    };
    let (vote, purged, Ok(indexes), peers) = found else {
        return Outcome::Wrong(format!("{:?}", found.2));
    };
    let whole = (vote, purged, snapshot, peers)
        == (
            Some(Vote::new_committed(4, 1)),
            Some(log_id(3, PURGED)),
            Some(log_id(3, SNAPSHOT)),
            (Some(22), Some(33)),
        )
        && indexes.iter().copied().eq(PURGED + 1..=LAST);
    if whole {
        return Outcome::Whole;
    }
    let (first, last) = (indexes.first(), indexes.last());
    Outcome::Wrong(format!("{vote:?} {purged:?} {first:?}..={last:?} {snapshot:?} {peers:?}"))
}

/// A refusal says where, and what to do.
fn refusal(error: &str, dir: &Path) -> Outcome {
    let named = error.contains(dir.to_str().unwrap()) || error.contains("do not fit together");
    let remedy = error.contains("new node id") || error.contains("run the version that wrote it");
    if named && remedy { Outcome::Refused } else { Outcome::Wrong(error.to_owned()) }
}

/// What may happen to a file.
#[derive(Debug)]
enum Damage {
    Removed,
    Empty,
    Zeros,
    Garbage,
    CutAt(usize),
    ZerosFrom(usize),
    Flipped { octet: usize, bit: u8 },
}

impl Damage {
    fn apply(&self, path: &Path, chance: &mut StdRng) {
        let mut octets = std::fs::read(path).unwrap();
        match *self {
            Self::Removed => return std::fs::remove_file(path).unwrap(),
            Self::Empty => octets.clear(),
            Self::Zeros => octets.fill(0),
            Self::Garbage => chance.fill_bytes(&mut octets),
            Self::CutAt(length) => octets.truncate(length),
            Self::ZerosFrom(start) => octets[start..].fill(0),
            Self::Flipped { octet, bit } => octets[octet] ^= 1 << bit,
        }
        std::fs::write(path, octets).unwrap();
    }
}

/// sled keeps room for a segment: nothing is lost with the zeros behind what it has written.
fn used(octets: &[u8]) -> usize {
    octets.iter().rposition(|octet| *octet != 0).map_or(octets.len(), |last| last + 1)
}

fn every_damage(used: usize, chance: &mut StdRng) -> Vec<Damage> {
    if used == 0 {
        return vec![Damage::Removed];
    }
    let mut all = vec![Damage::Removed, Damage::Empty, Damage::Zeros, Damage::Garbage];
    let ends = [1, 4, 8, 20, 512, 4096].into_iter().filter(|end| *end < used);
    let ends: Vec<_> = ends.map(|end| used - end).collect();
    for at in ends.into_iter().chain((0..CUTS).map(|_| chance.random_range(0..used))) {
        all.extend([Damage::CutAt(at), Damage::ZerosFrom(at)]);
    }
    for flip in 0..FLIPS {
        // Headers are few octets of many.
        let end = if flip % 3 == 0 { used.min(64) } else { used };
        let (octet, bit) = (chance.random_range(0..end), chance.random_range(0..8));
        all.push(Damage::Flipped { octet, bit });
    }
    all
}

/// Damages one file of a copy in each way; counts what came of it.
async fn damage(
    whole: &Path,
    name: &Path,
    damages: Vec<Damage>,
    chance: &mut StdRng,
) -> BTreeMap<Outcome, usize> {
    let mut counts = BTreeMap::new();
    for (case, damage) in damages.into_iter().enumerate() {
        let dir = scratch();
        copy(whole, dir.path());
        damage.apply(&dir.path().join(name), chance);
        let told = (case % 4 == 0).then(|| inspected(dir.path()));
        let came = outcome(dir.path()).await;
        assert!(!matches!(came, Outcome::Wrong(_)), "{}: {damage:?}: {came:?}", name.display());
        if let Some(told) = told {
            assert_eq!(told.is_empty(), came == Outcome::Whole, "{damage:?}: {told:?}");
            assert!(
                told.iter().all(|told| refusal(told, dir.path()) == Outcome::Refused),
                "{told:?}"
            );
        }
        *counts.entry(came).or_insert(0) += 1;
    }
    counts
}

async fn outcome_of_copy(dir: &Path) -> Outcome {
    let copied = scratch();
    copy(dir, copied.path());
    outcome(copied.path()).await
}

#[tokio::test]
async fn no_damage_goes_unnoticed() {
    let mut chance = StdRng::seed_from_u64(SEED);
    println!("seed {SEED}");
    for (image, dir) in images(|index| usize::try_from(index * 37 % 5000).unwrap()).await {
        let whole = dir.path();
        assert_eq!(outcome_of_copy(whole).await, Outcome::Whole, "{image}");
        for path in files(whole) {
            let octets = std::fs::read(&path).unwrap();
            let name = path.strip_prefix(whole).unwrap();
            let damages = every_damage(used(&octets), &mut chance);
            let counts = damage(whole, name, damages, &mut chance).await;
            println!("{image} {} ({} octets): {counts:?}", name.display(), octets.len());
            // What sled has lost, the journal has still, and the other way round; but not right after a
            // kill, when sled lacks what came last.
            let is_only_copy = match image {
                "killed" => name.ends_with("journal/0"),
                _ => false,
            };
            if is_only_copy || name.ends_with("identity") || name.starts_with("snapshots") {
                assert!(counts[&Outcome::Refused] > FLIPS, "{image}: {}", name.display());
            }
        }
    }
}

// sled goes on behind the damaged half of a segment, and then panics about the pages that it has
// not found. What follows the first kept entries is more than the two files of the journal hold, so
// that nothing but sled has those.
#[tokio::test]
async fn damage_in_the_middle_of_a_large_log_is_refused() {
    const SEGMENT: usize = 16 << 20;
    let mut chance = StdRng::seed_from_u64(SEED);
    let octets = |index| if index > PURGED { 900_000 } else { 1_000 };
    let [_, (_, dir)] = images(octets).await;
    let name = Path::new("log/db");
    let used = used(&std::fs::read(dir.path().join(name)).unwrap());
    let segments = used / SEGMENT;
    assert!(segments >= 3, "{segments} segments");
    let within = [30, SEGMENT / 3, SEGMENT / 3 * 2];
    let places = (0..segments).flat_map(|segment| within.map(|octet| segment * SEGMENT + octet));
    let damages = places.map(|octet| Damage::Flipped { octet, bit: 3 }).collect();
    let counts = damage(dir.path(), name, damages, &mut chance).await;
    println!("{segments} segments: {counts:?}");
    assert!(counts[&Outcome::Refused] > 0);
}
