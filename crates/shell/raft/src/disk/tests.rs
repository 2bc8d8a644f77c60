//! The log against openraft's own suite, across restarts, and on disks that fail or lie.

use super::engine::{LogEngine, LogState, Write};
use super::{Identity, Log, RecordChange, RecordDisk, SledEngine, claim, markers, open_log};
use crate::config::RaftConfig;
use crate::error::{DiskError, SnapshotError, StartError};
use crate::machine::{Machine, Progress};
use crate::snapshot::SnapshotStore;
use crate::state_machine::{FrozenState, StateMachine};
use crate::types::{Command, Entry, LogId, Types, Vote};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use openraft::EntryPayload;
use openraft::RaftLogReader as _;
use openraft::entry::RaftEntry as _;
use openraft::storage::{IOFlushed, RaftLogStorage as _};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt as _;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use tempfile::TempDir;

/// Keeps nothing but the index.
#[derive(Default)]
struct Counter(u64);

impl StateMachine for Counter {
    type Reply = Bytes;

    fn apply(&mut self, index: u64, _command: &Bytes) -> Bytes {
        self.0 = index;
        Bytes::new()
    }

    fn advance(&mut self, index: u64) {
        self.0 = index;
    }

    fn freeze(&self) -> Box<dyn FrozenState> {
        Box::new(Self(self.0))
    }

    fn restore(
        &mut self,
        index: u64,
        chunks: &mut dyn Iterator<Item = Result<Bytes, SnapshotError>>,
    ) -> Result<(), SnapshotError> {
        for chunk in chunks {
            assert_eq!(chunk?, &index.to_be_bytes()[..]);
        }
        self.0 = index;
        Ok(())
    }
}

impl FrozenState for Counter {
    fn chunks(self: Box<Self>) -> Box<dyn Iterator<Item = Bytes> + Send> {
        Box::new(std::iter::once(Bytes::copy_from_slice(&self.0.to_be_bytes())))
    }
}

fn open_sled(dir: &Path) -> Result<SledEngine, StartError> {
    let config = RaftConfig::new(1, dir, "blue", BTreeMap::new());
    SledEngine::open(dir, &mut claim(&config, 7)?)
}

fn open_with_cache(dir: &Path, cache_octets: usize) -> Result<Log, StartError> {
    let config = RaftConfig::new(1, dir, "blue", BTreeMap::new());
    Ok(Log::open(open_log(dir, &mut claim(&config, 7)?)?, cache_octets)?)
}

pub(super) fn open(dir: &Path) -> Result<Log, StartError> {
    open_with_cache(dir, 1 << 20)
}

struct Builder {
    cache_octets: usize,
}

impl StoreBuilder<Types, Log, Machine<Counter>, TempDir> for Builder {
    async fn build(
        &self,
    ) -> Result<(TempDir, Log, Machine<Counter>), openraft::StorageError<Types>> {
        let dir = tempfile::tempdir().unwrap();
        let log = open_with_cache(dir.path(), self.cache_octets).unwrap();
        let snapshots = Arc::new(SnapshotStore::open(dir.path(), "blue").unwrap());
        let state = Arc::new(RwLock::new(Counter::default()));
        Ok((dir, log, Machine::new(state, snapshots, Arc::new(Progress::new()))))
    }
}

#[test]
fn openrafts_suite_passes() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(Suite::test_all(Builder { cache_octets: 1 << 20 })).unwrap();
}

// The same with a cache that holds one entry: everything else is read from the disk.
#[test]
fn openrafts_suite_passes_without_a_cache() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(Suite::test_all(Builder { cache_octets: 0 })).unwrap();
}

/// Records in memory.
#[derive(Default)]
struct Records(Mutex<BTreeMap<Vec<u8>, Vec<u8>>>);

impl RecordDisk for Records {
    fn records(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.0.lock().unwrap().clone()
    }

    fn write(&self, changes: Vec<RecordChange>) -> io::Result<()> {
        let mut records = self.0.lock().unwrap();
        for (key, value) in changes {
            match value {
                Some(value) => records.insert(key, value),
                None => records.remove(&key),
            };
        }
        Ok(())
    }

    fn sync(&self) -> BoxFuture<'static, io::Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

struct RecordsBuilder;

impl StoreBuilder<Types, Log, Machine<Counter>, TempDir> for RecordsBuilder {
    async fn build(
        &self,
    ) -> Result<(TempDir, Log, Machine<Counter>), openraft::StorageError<Types>> {
        let (dir, log, machine) = Builder { cache_octets: 0 }.build().await?;
        log.close().await;
        let log = Log::on_records(Arc::new(Records::default()), 0).unwrap();
        Ok((dir, log, machine))
    }
}

// On a runtime of one thread, as in the simulation.
#[test]
fn openrafts_suite_passes_on_records_and_without_threads() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(Suite::test_all(RecordsBuilder)).unwrap();
}

#[tokio::test]
async fn a_log_on_records_is_read_back() {
    let disk = Arc::new(Records::default());
    let mut log = Log::on_records(disk.clone(), 1 << 20).unwrap();
    log.save_vote(&Vote::new_committed(3, 1)).await.unwrap();
    append(&mut log, (1..=9).map(|index| entry(3, index, 200_000)).collect()).await.unwrap();
    log.purge(log_id(3, 4)).await.unwrap();
    log.remember_peer(7, 77).await.unwrap();
    log.close().await;
    let mut log = Log::on_records(disk, 0).unwrap();
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new_committed(3, 1)));
    assert_eq!((log.purged(), log.peer(7)), (Some(log_id(3, 4)), Some(77)));
    let entries = log.try_get_log_entries(0..20).await.unwrap();
    assert_eq!(entries, (5..=9).map(|index| entry(3, index, 200_000)).collect::<Vec<_>>());
    log.close().await;
}

pub(super) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(openraft::impls::leader_id_adv::LeaderId { term, node_id: 1 }, index)
}

pub(super) fn entry(term: u64, index: u64, octets: usize) -> Entry {
    let command = Bytes::from(vec![u8::try_from(index % 251).unwrap(); octets]);
    Entry::new(log_id(term, index), EntryPayload::Normal(Command(command)))
}

pub(super) async fn append(log: &mut Log, entries: Vec<Entry>) -> io::Result<()> {
    let (done, flushed) = Types::oneshot();
    log.append(entries, IOFlushed::signal(done)).await?;
    flushed.await.unwrap()
}

pub(super) async fn filled(dir: &Path) -> Log {
    let mut log = open(dir).unwrap();
    log.save_vote(&Vote::new_committed(3, 1)).await.unwrap();
    append(&mut log, (1..=20).map(|index| entry(3, index, 100)).collect()).await.unwrap();
    log.save_committed(Some(log_id(3, 18))).await.unwrap();
    log
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = filled(dir.path()).await;
    log.truncate_after(Some(log_id(3, 19))).await.unwrap();
    append(&mut log, vec![entry(4, 20, 5), entry(4, 21, 5)]).await.unwrap();
    log.purge(log_id(3, 4)).await.unwrap();
    log.remember_peer(2, 99).await.unwrap();
    log.close().await;

    let mut log = open(dir.path()).unwrap();
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new_committed(3, 1)));
    assert_eq!(log.read_committed().await.unwrap(), Some(log_id(3, 18)));
    assert_eq!((log.peer(2), log.peer(3)), (Some(99), None));
    let state = log.get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id, Some(log_id(3, 4)));
    assert_eq!(state.last_log_id, Some(log_id(4, 21)));
    let entries = log.try_get_log_entries(..).await.unwrap();
    let mut expected: Vec<_> = (5..=19).map(|index| entry(3, index, 100)).collect();
    expected.extend([entry(4, 20, 5), entry(4, 21, 5)]);
    assert_eq!(entries, expected);
    log.close().await;
}

#[tokio::test]
async fn purged_entries_leave_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = filled(dir.path()).await;
    log.purge(log_id(3, 15)).await.unwrap();
    log.close().await;
    // Whatever the purger did not reach before it was closed goes at the next start.
    for _ in 0..2 {
        let log = open(dir.path()).unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        log.close().await;
    }
    let engine = open_sled(dir.path()).unwrap();
    let left: Vec<_> = engine.read(0..100).unwrap().iter().map(|e| e.log_id.index()).collect();
    assert_eq!(left, [16, 17, 18, 19, 20]);
}

#[tokio::test]
async fn a_hole_is_never_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = filled(dir.path()).await;
    let error = append(&mut log, vec![entry(3, 22, 1)]).await.unwrap_err();
    assert!(error.to_string().contains("entry 22"), "{error}");
    log.close().await;
}

/// Changes a stored record behind the log's back.
async fn with_record(dir: &Path, key: &[u8], change: impl FnOnce(&mut Option<Vec<u8>>)) {
    filled(dir).await.close().await;
    let db = loop {
        match sled::Config::new().path(dir.join("log")).segment_size(16 << 20).open() {
            Ok(db) => break db,
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
        }
    };
    let tree = db.open_tree("raft").unwrap();
    let mut value = tree.get(key).unwrap().map(|value| value.to_vec());
    change(&mut value);
    match value {
        Some(value) => tree.insert(key, value).unwrap(),
        None => tree.remove(key).unwrap(),
    };
    db.flush().unwrap();
}

#[tokio::test]
async fn a_flipped_bit_is_found_and_named() {
    for (key, name) in [
        (markers::entry_key(7).to_vec(), "log entry 7"),
        (markers::VOTE.to_vec(), "the record \"vote\""),
        (markers::COMMITTED.to_vec(), "the record \"committed\""),
    ] {
        let dir = tempfile::tempdir().unwrap();
        with_record(dir.path(), &key, |value| value.as_mut().unwrap()[6] ^= 4).await;
        let error = open(dir.path()).err().unwrap();
        let StartError::Disk(DiskError::Corrupt { record, .. }) = &error else {
            panic!("{error}");
        };
        assert_eq!(record, name);
        assert!(error.to_string().contains("new node id"), "the remedy is missing: {error}");
    }
}

#[tokio::test]
async fn a_record_in_anothers_place_and_a_missing_one_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let (_, other) = markers::seal_entry(&entry(3, 9, 100)).next().unwrap();
    with_record(dir.path(), &markers::entry_key(7), |value| *value = Some(other)).await;
    assert!(open(dir.path()).err().unwrap().to_string().contains("log entry 7"));

    let dir = tempfile::tempdir().unwrap();
    with_record(dir.path(), &markers::entry_key(7), |value| *value = None).await;
    assert!(open(dir.path()).err().unwrap().to_string().contains("log entry 7"));
}

#[tokio::test]
async fn a_log_that_vanished_is_not_replaced_by_an_empty_one() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path()).await.close().await;
    std::fs::remove_dir_all(dir.path().join("log")).unwrap();
    let error = open(dir.path()).err().unwrap();
    assert!(matches!(error, StartError::LogMissing { .. }), "{error}");
}

#[tokio::test]
async fn a_directory_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = filled(dir.path()).await;
    let path = dir.path().to_owned();
    let second = tokio::task::spawn_blocking(move || open(&path).err().unwrap());
    assert!(matches!(second.await.unwrap(), StartError::InUse { .. }));
    log.close().await;
}

// sled puts values above a quarter of a segment into files that it never syncs.
#[tokio::test]
async fn the_largest_entries_stay_in_sleds_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    let entries = (1..=40).map(|index| entry(1, index, crate::limits::COMMAND_OCTETS_MAX));
    append(&mut log, entries.collect()).await.unwrap();
    log.purge(log_id(1, 20)).await.unwrap();
    log.close().await;
    let blobs = std::fs::read_dir(dir.path().join("log").join("blobs"));
    assert_eq!(blobs.map_or(0, Iterator::count), 0);
    let mut log = open(dir.path()).unwrap();
    assert_eq!(log.limited_get_log_entries(21, 41).await.unwrap().len(), 3);
    assert_eq!(log.try_get_log_entries(21..41).await.unwrap().len(), 20);
    log.close().await;
}

/// A disk in memory whose writes or syncs can be made to fail, and that counts both.
#[derive(Default)]
struct Faulty {
    fail_sync: AtomicBool,
    syncs: AtomicU64,
    written: AtomicU64,
}

impl LogEngine for Faulty {
    fn load(&self, _each: &mut dyn FnMut(Entry)) -> Result<LogState, DiskError> {
        Ok(LogState::default())
    }

    fn write(&self, writes: Vec<Write>) -> Result<(), DiskError> {
        self.written.fetch_add(u64::try_from(writes.len()).unwrap(), Ordering::SeqCst);
        Ok(())
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(std::time::Duration::from_millis(20));
        if self.fail_sync.load(Ordering::SeqCst) {
            return Err(DiskError::io("sync", "the test's disk", "input/output error"));
        }
        Ok(())
    }

    fn read(&self, _range: Range<u64>) -> Result<Vec<Entry>, DiskError> {
        Ok(Vec::new())
    }

    fn remove(&self, _range: Range<u64>) -> Result<(), DiskError> {
        Ok(())
    }
}

#[tokio::test]
async fn one_flush_answers_everything_that_waits() {
    let disk = Arc::new(Faulty::default());
    let mut log = Log::open(disk.clone(), 1 << 20).unwrap();
    let mut waiting = Vec::new();
    for index in 1..=200 {
        let (done, flushed) = Types::oneshot();
        log.append(vec![entry(1, index, 10)], IOFlushed::signal(done)).await.unwrap();
        waiting.push(flushed);
    }
    for flushed in waiting {
        flushed.await.unwrap().unwrap();
    }
    assert!(disk.syncs.load(Ordering::SeqCst) <= 3);
    log.close().await;
}

#[tokio::test]
async fn a_failed_sync_is_never_retried() {
    let disk = Arc::new(Faulty::default());
    let mut log = Log::open(disk.clone(), 1 << 20).unwrap();
    append(&mut log, vec![entry(1, 1, 10)]).await.unwrap();
    assert!(log.failure().borrow().is_none());

    disk.fail_sync.store(true, Ordering::SeqCst);
    append(&mut log, vec![entry(1, 2, 10)]).await.unwrap_err();
    assert!(log.failure().borrow().is_some());

    // The device works again, but what it holds is unknown.
    disk.fail_sync.store(false, Ordering::SeqCst);
    let (syncs, written) = (disk.syncs.load(Ordering::SeqCst), disk.written.load(Ordering::SeqCst));
    let error = append(&mut log, vec![entry(1, 3, 10)]).await.unwrap_err();
    assert!(error.to_string().contains("never retried"), "{error}");
    log.save_vote(&Vote::new(9, 1)).await.unwrap_err();
    assert_eq!(log.read_vote().await.unwrap(), None);
    assert_eq!(disk.syncs.load(Ordering::SeqCst), syncs);
    assert_eq!(disk.written.load(Ordering::SeqCst), written);
    log.close().await;
}

#[tokio::test]
async fn the_commit_marker_follows_without_a_write() {
    let disk = Arc::new(Faulty::default());
    let mut log = Log::open(disk.clone(), 1 << 20).unwrap();
    for index in 1..=5 {
        log.save_committed(Some(log_id(1, index))).await.unwrap();
    }
    for _ in 0..100 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        if disk.syncs.load(Ordering::SeqCst) > 0 {
            break;
        }
    }
    assert_eq!(disk.written.load(Ordering::SeqCst), 1, "only the last of them");
    log.close().await;
}

#[test]
fn an_identity_is_marked_once_the_log_exists() {
    let dir = tempfile::tempdir().unwrap();
    let config = RaftConfig::new(1, dir.path(), "blue", BTreeMap::new());
    let mut identity: Identity = claim(&config, 7).unwrap();
    assert!(!identity.log_created);
    drop(SledEngine::open(dir.path(), &mut identity).unwrap());
    assert!(claim(&config, 8).unwrap().log_created);
}
