//! What the log needs from a disk. sled is behind this, and in tests a disk that fails on demand.

use crate::error::DiskError;
use crate::types::{Entry, LogId, Vote};
use std::ops::Range;

/// One change. Changes take effect in order; after a crash the disk holds a prefix of them that
/// contains at least what was synced.
#[derive(Debug, Clone)]
pub(crate) enum Write {
    /// Entries, consecutive among themselves.
    Append(Vec<Entry>),
    /// The vote.
    Vote(Vote),
    /// How far the log is known to be committed.
    Committed(Option<LogId>),
    /// Everything up to here may be forgotten. Only the marker: `remove` does the work.
    Purged(LogId),
    /// Removes these entries, last first, so that no hole appears whenever it is interrupted.
    Truncate(Range<u64>),
    /// The incarnation of a peer's disk.
    Peer(u64, u64),
}

/// What a log holds when it is opened.
#[derive(Debug, Default)]
pub(crate) struct LogState {
    pub(crate) vote: Option<Vote>,
    pub(crate) committed: Option<LogId>,
    pub(crate) purged: Option<LogId>,
    /// Incarnation of each peer's disk, as first seen.
    pub(crate) peers: Vec<(u64, u64)>,
    /// Entries below the purge marker that a crash left behind.
    pub(crate) leftovers: Vec<Range<u64>>,
}

/// A disk for the log.
pub(crate) trait LogEngine: Send + Sync + 'static {
    /// Reads the markers, and hands every entry above the purge marker to `each` in order of
    /// index. Called once.
    fn load(&self, each: &mut dyn FnMut(Entry)) -> Result<LogState, DiskError>;

    /// Makes the changes, not yet durably. Called by the writer thread only.
    fn write(&self, writes: Vec<Write>) -> Result<(), DiskError>;

    /// Makes all changes so far durable. Called by the writer thread only.
    fn sync(&self) -> Result<(), DiskError>;

    /// Reads entries back, as many of the range as there are.
    fn read(&self, range: Range<u64>) -> Result<Vec<Entry>, DiskError>;

    /// Removes purged entries. They may come back after a crash.
    fn remove(&self, range: Range<u64>) -> Result<(), DiskError>;
}
