//! A log on somebody else's records: what stands in sled's place when a replica is simulated. The
//! keys and values are those of the sled tree.

use super::engine::{LogEngine, LogState, Write};
use super::markers::{self, Assembly};
use crate::error::DiskError;
use crate::sync::lock;
use crate::types::Entry;
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// A key, and its new value or `None` when it goes.
pub type RecordChange = (Vec<u8>, Option<Vec<u8>>);

/// A disk that keeps records, in the place of sled. Nothing of it runs on a thread of its own.
pub trait RecordDisk: Send + Sync + 'static {
    /// Every record that is there now.
    fn records(&self) -> BTreeMap<Vec<u8>, Vec<u8>>;

    /// Makes the changes in their order, not yet durably.
    ///
    /// # Errors
    /// When the disk fails: the replica then stops.
    fn write(&self, changes: Vec<RecordChange>) -> io::Result<()>;

    /// Ends when everything written so far is durable.
    ///
    /// # Errors
    /// When the disk fails: the replica then stops.
    fn sync(&self) -> BoxFuture<'static, io::Result<()>>;
}

pub(crate) struct RecordEngine {
    disk: Arc<dyn RecordDisk>,
    image: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl RecordEngine {
    pub(crate) fn new(disk: Arc<dyn RecordDisk>) -> Self {
        Self { image: Mutex::new(disk.records()), disk }
    }

    /// Makes all changes so far durable.
    pub(super) async fn sync_all(&self) -> Result<(), DiskError> {
        self.disk.sync().await.map_err(|e| DiskError::io("sync", "the records", e))
    }

    fn change(&self, changes: Vec<RecordChange>) -> Result<(), DiskError> {
        let mut image = lock(&self.image);
        for (key, value) in &changes {
            match value {
                Some(value) => drop(image.insert(key.clone(), value.clone())),
                None => drop(image.remove(key)),
            }
        }
        self.disk.write(changes).map_err(|e| DiskError::io("write", "the records", e))
    }

    fn marker<T>(
        &self,
        key: &[u8],
        parse: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<Option<T>, DiskError> {
        let image = lock(&self.image);
        let Some(value) = image.get(key) else { return Ok(None) };
        let content = markers::open(key, value).and_then(parse);
        content.map(Some).map_err(|detail| corrupt(key, detail))
    }

    /// Keys of the entries of a range and of all their parts.
    fn entry_keys(&self, range: Range<u64>) -> Vec<Vec<u8>> {
        let image = lock(&self.image);
        let keys = markers::entry_key(range.start)..markers::entry_key(range.end);
        image.range(keys.start.to_vec()..keys.end.to_vec()).map(|(key, _)| key.clone()).collect()
    }

    fn entries(&self, range: Range<u64>) -> Result<Vec<Entry>, DiskError> {
        let image = lock(&self.image);
        let mut assembly = Assembly::default();
        let mut entries = Vec::new();
        let keys = markers::entry_key(range.start).to_vec()..markers::entry_key(range.end).to_vec();
        for (key, value) in image.range(keys) {
            let taken = assembly.take(key, value).map_err(|detail| corrupt(key, detail))?;
            entries.extend(taken);
        }
        let last = markers::entry_key(range.end);
        assembly.finish().map_err(|detail| corrupt(&last, detail))?;
        Ok(entries)
    }
}

fn corrupt(key: &[u8], detail: String) -> DiskError {
    DiskError::Corrupt { file: "records".into(), record: markers::describe(key), detail }
}

fn put(key: &[u8], content: &[u8]) -> RecordChange {
    (key.to_vec(), Some(markers::seal(key, content)))
}

impl LogEngine for RecordEngine {
    fn load(&self, each: &mut dyn FnMut(Entry)) -> Result<LogState, DiskError> {
        let vote = self.marker(markers::VOTE, markers::parse_vote)?;
        let committed = self.marker(markers::COMMITTED, markers::parse_log_id)?.flatten();
        let purged = self.marker(markers::PURGED, markers::parse_log_id)?.flatten();
        let first = purged.as_ref().map_or(0, |log_id| log_id.index() + 1);
        let entries = self.entries(first..u64::MAX)?;
        let start = entries.first().map_or(first, |entry| entry.log_id.index());
        for (expected, entry) in (start..).zip(&entries) {
            let found = entry.log_id.index();
            if found != expected || (purged.is_some() && start != first) {
                let detail = format!("it is missing, the next one present is {found}");
                return Err(corrupt(&markers::entry_key(expected), detail));
            }
        }
        entries.into_iter().for_each(each);
        let peers = {
            let image = lock(&self.image);
            let known = image.iter().filter(|(key, _)| key.starts_with(markers::PEER));
            let peer = |(key, value): (&Vec<u8>, &Vec<u8>)| {
                let node_id = markers::peer_id(key).ok_or("its key is malformed".to_owned());
                let content = markers::open(key, value).and_then(markers::parse_number);
                let peer = node_id.and_then(|node_id| Ok((node_id, content?)));
                peer.map_err(|detail| corrupt(key, detail))
            };
            known.map(peer).collect::<Result<Vec<_>, _>>()?
        };
        let leftovers = (first > 0).then_some(0..first).into_iter().collect();
        Ok(LogState { vote, committed, purged, peers, leftovers })
    }

    fn write(&self, writes: Vec<Write>) -> Result<(), DiskError> {
        for write in writes {
            let changes = match write {
                Write::Append(entries) => entries
                    .iter()
                    .flat_map(markers::seal_entry)
                    .map(|(key, value)| (key, Some(value)))
                    .collect(),
                Write::Vote(vote) => Vec::from([put(markers::VOTE, &markers::emit_vote(&vote))]),
                Write::Committed(log_id) => {
                    Vec::from([put(markers::COMMITTED, &markers::emit_log_id(log_id.as_ref()))])
                }
                Write::Purged(log_id) => {
                    Vec::from([put(markers::PURGED, &markers::emit_log_id(Some(&log_id)))])
                }
                Write::Peer(node_id, incarnation) => {
                    Vec::from([put(&markers::peer_key(node_id), &incarnation.to_le_bytes())])
                }
                Write::Truncate(range) => {
                    self.entry_keys(range).into_iter().rev().map(|key| (key, None)).collect()
                }
            };
            self.change(changes)?;
        }
        Ok(())
    }

    /// The writer waits by [`RecordEngine::sync_all`].
    fn sync(&self) -> Result<(), DiskError> {
        Ok(())
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<Entry>, DiskError> {
        self.entries(range)
    }

    fn remove(&self, range: Range<u64>) -> Result<(), DiskError> {
        self.change(self.entry_keys(range).into_iter().rev().map(|key| (key, None)).collect())
    }
}
