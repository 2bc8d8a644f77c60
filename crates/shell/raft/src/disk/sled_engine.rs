//! sled as a disk for the log, under the rules that make it durable (ADR 0004):
//!
//! - `flush` does not reach the device on Linux, so each one is followed by `sync_data` on our own
//!   handle of sled's file;
//! - segments have the greatest size, so that no value goes into sled's unsynced blob files;
//! - purged entries are removed one by one, never in a batch, which leaks memory and disk;
//! - sled takes damage for the end of its file, so a bound of what it holds is kept beside it;
//! - sled's own background flush is off: nobody could wait for it.

use super::contain::{reading, writing};
use super::engine::{LogEngine, LogState, Write};
use super::file::{free_octets, sync_dir};
use super::journal::Record;
use super::reached::{Bound, Reached};
use super::{Identity, markers};
use crate::error::{DiskError, StartError};
use crate::limits::{SLED_CACHE_OCTETS, SLED_OPEN_OCTETS, SLED_SEGMENT_OCTETS};
use crate::sync::lock;
use crate::types::Entry;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long another holder of the directory may take to let go. A replica that was just shut down
/// in the same process needs a moment; another process will not end by itself.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);

pub(crate) struct SledEngine {
    dir: PathBuf,
    db: sled::Db,
    tree: sled::Tree,
    /// sled's file, through a handle of ours: `fdatasync` works per inode.
    file: File,
    reached: Mutex<Reached>,
}

impl SledEngine {
    /// Opens the log below `data_dir`, or creates it when `identity` says that there was none.
    pub(crate) fn open(data_dir: &Path, identity: &mut Identity) -> Result<Self, StartError> {
        let dir = data_dir.join("log");
        if identity.log_created && !dir.join("db").exists() {
            return Err(StartError::LogMissing { path: dir });
        }
        if let Some(free) = free_octets(data_dir).filter(|free| *free < SLED_OPEN_OCTETS) {
            let cause = format!(
                "No space left on device: {free} octets are free, opening it takes {SLED_OPEN_OCTETS}"
            );
            return Err(DiskError::io("open", &dir, cause).into());
        }
        let (db, tree) = reading("open", &dir, || -> Result<_, StartError> {
            let db = open_sled(&dir)?;
            let tree = db.open_tree("raft").map_err(|e| sled_error("open", &dir, &e))?;
            Ok((db, tree))
        })?;
        let path = dir.join("db");
        let file = File::options()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|e| DiskError::io("open", &path, e))?;
        let reached = Mutex::new(Reached::open(data_dir, identity.reached_created)?);
        let engine = Self { dir, db, tree, file, reached };
        engine.check_owner(identity)?;
        if !identity.log_created {
            engine.sync_creation(data_dir)?;
        }
        if !(identity.log_created && identity.reached_created) {
            identity.mark_log_created()?;
        }
        Ok(engine)
    }

    /// A log moved here from another disk has another disk's votes.
    fn check_owner(&self, identity: &Identity) -> Result<(), StartError> {
        let expected = identity.incarnation;
        match self.marker(markers::OWNER, markers::parse_number)? {
            Some(found) if found == expected => Ok(()),
            Some(found) => Err(StartError::OtherLog { path: self.dir.clone(), found, expected }),
            // New, or from before the owner was noted.
            None => {
                let value = markers::seal(markers::OWNER, &expected.to_le_bytes());
                self.tree.insert(markers::OWNER, value).map_err(self.error("write"))?;
                Ok(self.flush()?)
            }
        }
    }

    /// Waits for the device: sled's own flush does not.
    pub(super) fn flush(&self) -> Result<(), DiskError> {
        writing("flush", &self.dir, || self.db.flush().map_err(self.error("flush")))?;
        self.file.sync_data().map_err(|e| DiskError::io("sync", self.dir.join("db"), e))
    }

    /// Everything that sled has created, and the directories that name it.
    fn sync_creation(&self, data_dir: &Path) -> Result<(), DiskError> {
        self.sync()?;
        let entries =
            std::fs::read_dir(&self.dir).map_err(|e| DiskError::io("list", &self.dir, e))?;
        for entry in entries {
            let path = entry.map_err(|e| DiskError::io("list", &self.dir, e))?.path();
            File::open(&path)
                .and_then(|file| file.sync_all())
                .map_err(|e| DiskError::io("sync", &path, e))?;
        }
        for dir in [&self.dir, data_dir] {
            sync_dir(dir).map_err(|e| DiskError::io("sync", dir, e))?;
        }
        Ok(())
    }

    fn corrupt(&self, key: &[u8], detail: String) -> DiskError {
        DiskError::Corrupt { file: self.dir.clone(), record: markers::describe(key), detail }
    }

    fn error(&self, operation: &'static str) -> impl Fn(sled::Error) -> DiskError {
        let dir = self.dir.clone();
        move |e| sled_error(operation, &dir, &e)
    }

    fn marker<T>(
        &self,
        key: &[u8],
        parse: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<Option<T>, DiskError> {
        let Some(value) = self.tree.get(key).map_err(self.error("read"))? else {
            return Ok(None);
        };
        let content = markers::open(key, &value).map_err(|detail| self.corrupt(key, detail))?;
        parse(content).map(Some).map_err(|detail| self.corrupt(key, detail))
    }

    fn peers(&self) -> Result<Vec<(u64, u64)>, DiskError> {
        let mut peers = Vec::new();
        for record in self.tree.scan_prefix(markers::PEER) {
            let (key, value) = record.map_err(self.error("read"))?;
            let parsed = markers::open(&key, &value).and_then(|content| {
                let node_id = markers::peer_id(&key).ok_or("its key is malformed")?;
                Ok((node_id, markers::parse_number(content)?))
            });
            peers.push(parsed.map_err(|detail| self.corrupt(&key, detail))?);
        }
        Ok(peers)
    }

    /// How many further parts a stored entry has; `None` when it is not there.
    fn further_parts(&self, index: u64) -> Result<Option<u16>, DiskError> {
        let key = markers::entry_key(index);
        let Some(value) = self.tree.get(key).map_err(self.error("read"))? else {
            return Ok(None);
        };
        let parts = markers::further_parts(&key, &value);
        parts.map(Some).map_err(|detail| self.corrupt(&key, detail))
    }

    /// Truncation is rare and must leave no hole, so here a batch with removals is right.
    fn truncate(&self, batch: &mut sled::Batch, range: Range<u64>) -> Result<(), DiskError> {
        for index in range {
            if let Some(parts) = self.further_parts(index)? {
                for key in markers::part_keys(index, parts) {
                    batch.remove(&key);
                }
                batch.remove(&markers::entry_key(index));
            }
        }
        Ok(())
    }
}

impl LogEngine for SledEngine {
    fn load(&self, each: &mut dyn FnMut(Entry)) -> Result<LogState, DiskError> {
        reading("read", &self.dir, || self.load_records(each))
    }

    fn write(&self, writes: Vec<Write>) -> Result<(), DiskError> {
        writing("write", &self.dir, || self.write_records(writes))
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.flush()?;
        self.note_synced()
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<Entry>, DiskError> {
        reading("read", &self.dir, || self.read_records(range))
    }

    fn remove(&self, range: Range<u64>) -> Result<(), DiskError> {
        writing("purge", &self.dir, || self.remove_records(range))
    }
}

impl SledEngine {
    fn load_records(&self, each: &mut dyn FnMut(Entry)) -> Result<LogState, DiskError> {
        let vote = self.marker(markers::VOTE, markers::parse_vote)?;
        let committed = self.marker(markers::COMMITTED, markers::parse_log_id)?.flatten();
        let purged = self.marker(markers::PURGED, markers::parse_log_id)?.flatten();
        let first_wanted = purged.as_ref().map_or(0, |log_id| log_id.index() + 1);
        let mut leftovers: Vec<Range<u64>> = Vec::new();
        let mut assembly = markers::Assembly::default();
        let mut next: Option<u64> = None;
        for record in self.tree.range(markers::entry_key(0)..) {
            let (key, value) = record.map_err(self.error("read"))?;
            let corrupt = |detail| self.corrupt(&key, detail);
            let (index, part) = markers::entry_part(&key)
                .ok_or_else(|| corrupt("its key is malformed".to_owned()))?;
            if index < first_wanted {
                note_leftover(&mut leftovers, index);
                continue;
            }
            let expected = next.unwrap_or(if purged.is_some() { first_wanted } else { index });
            if part == 0 && index != expected {
                let detail = format!("it is missing, the next one present is {index}");
                return Err(self.corrupt(&markers::entry_key(expected), detail));
            }
            if let Some(entry) = assembly.take(&key, &value).map_err(corrupt)? {
                each(entry);
                next = Some(index + 1);
            }
        }
        let last = markers::entry_key(next.unwrap_or(first_wanted));
        assembly.finish().map_err(|detail| self.corrupt(&last, detail))?;
        let end = next.unwrap_or(first_wanted);
        let peers = self.peers()?;
        let mut reached = lock(&self.reached);
        for (node_id, _) in &peers {
            reached.wrote_peer(*node_id);
        }
        let known = u64::try_from(peers.len()).unwrap_or(u64::MAX);
        let found = Bound { end, vote, first: first_wanted, peers: known };
        reached.check(found).map_err(|detail| DiskError::Corrupt {
            file: self.dir.clone(),
            record: "the log".to_owned(),
            detail,
        })?;
        Ok(LogState { vote, committed, purged, peers, leftovers })
    }

    fn write_records(&self, writes: Vec<Write>) -> Result<(), DiskError> {
        let mut batch = sled::Batch::default();
        for write in writes {
            if let Write::Truncate(range) = write {
                let before = std::mem::take(&mut batch);
                self.tree.apply_batch(before).map_err(self.error("write"))?;
                lock(&self.reached).lower(range.start)?;
                self.truncate(&mut batch, range)?;
                continue;
            }
            self.note(&write);
            for (key, value) in markers::changes(write) {
                batch.insert(key, value);
            }
        }
        self.tree.apply_batch(batch).map_err(self.error("write"))
    }

    /// What this write brings will have been reached with the next sync.
    pub(super) fn note(&self, write: &Write) {
        let mut reached = lock(&self.reached);
        match write {
            Write::Append(entries) => {
                if let Some(last) = entries.last() {
                    reached.wrote_entries(last.log_id.index() + 1);
                }
            }
            Write::Vote(vote) => reached.wrote_vote(*vote),
            Write::Purged(log_id) => reached.wrote_purge(log_id.index() + 1),
            Write::Peer(node_id, _) => reached.wrote_peer(*node_id),
            Write::Committed(_) | Write::Truncate(_) => {}
        }
    }

    /// All that was noted is durable, here or in the journal.
    pub(super) fn note_synced(&self) -> Result<(), DiskError> {
        lock(&self.reached).synced()
    }

    /// Number of the last journal record that is in here; 0 for none.
    pub(super) fn journaled(&self) -> Result<u64, DiskError> {
        reading("read", &self.dir, || {
            Ok(self.marker(markers::JOURNAL, markers::parse_number)?.unwrap_or(0))
        })
    }

    /// Takes over records of the journal, consecutive ones: all of them or none. Durably: several writes
    /// that sled has under way at once may come to the disk in another order.
    pub(super) fn take_over(&self, records: Vec<Record>) -> Result<(), DiskError> {
        let Some(last) = records.last().map(|record| record.number) else { return Ok(()) };
        let mut batch = sled::Batch::default();
        for (key, value) in records.into_iter().flat_map(|record| record.changes) {
            batch.insert(key, value);
        }
        batch.insert(markers::JOURNAL, markers::seal(markers::JOURNAL, &last.to_le_bytes()));
        writing("write", &self.dir, || self.tree.apply_batch(batch).map_err(self.error("write")))?;
        self.flush()
    }

    fn read_records(&self, range: Range<u64>) -> Result<Vec<Entry>, DiskError> {
        let keys = markers::entry_key(range.start)..markers::entry_key(range.end);
        let mut entries = Vec::new();
        let mut assembly = markers::Assembly::default();
        for record in self.tree.range(keys) {
            let (key, value) = record.map_err(self.error("read"))?;
            let taken = assembly.take(&key, &value);
            entries.extend(taken.map_err(|detail| self.corrupt(&key, detail))?);
        }
        let last = markers::entry_key(range.end);
        assembly.finish().map_err(|detail| self.corrupt(&last, detail))?;
        Ok(entries)
    }

    fn remove_records(&self, range: Range<u64>) -> Result<(), DiskError> {
        for index in range {
            let Some(parts) = self.further_parts(index)? else { continue };
            // The first part goes last: while it is there, the others are found.
            for key in markers::part_keys(index, parts) {
                self.tree.remove(key).map_err(self.error("purge"))?;
            }
            self.tree.remove(markers::entry_key(index)).map_err(self.error("purge"))?;
        }
        Ok(())
    }
}

fn note_leftover(leftovers: &mut Vec<Range<u64>>, index: u64) {
    match leftovers.last_mut() {
        Some(range) if range.contains(&index) => {}
        Some(range) if range.end == index => range.end += 1,
        _ => leftovers.push(index..index + 1),
    }
}

fn open_sled(dir: &Path) -> Result<sled::Db, StartError> {
    let config = sled::Config::new()
        .path(dir)
        .mode(sled::Mode::HighThroughput)
        .segment_size(SLED_SEGMENT_OCTETS)
        .cache_capacity(SLED_CACHE_OCTETS)
        .flush_every_ms(None);
    let begun = Instant::now();
    loop {
        match config.open() {
            Ok(db) => return Ok(db),
            Err(e) if is_lock_error(&e) => {
                if begun.elapsed() >= LOCK_PATIENCE {
                    return Err(StartError::InUse { path: dir.into(), cause: e.to_string() });
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(e) => return Err(sled_error("open", dir, &e).into()),
        }
    }
}

fn is_lock_error(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(_)) && error.to_string().contains("could not acquire lock")
}

fn sled_error(operation: &'static str, dir: &Path, error: &sled::Error) -> DiskError {
    match error {
        // The second stands for a damaged `conf`: we never change what stands there.
        sled::Error::Corruption { .. } | sled::Error::Unsupported(_) => DiskError::Corrupt {
            file: dir.into(),
            record: "sled's file".to_owned(),
            detail: error.to_string(),
        },
        sled::Error::CollectionNotFound(_) | sled::Error::ReportableBug(_) | sled::Error::Io(_) => {
            DiskError::io(operation, dir, error)
        }
    }
}
