//! The replicated log as openraft wants it: a queue in front of the writer thread, and the newest
//! entries in memory.

use super::engine::{LogEngine, Write};
use super::purger::Purger;
use super::records::{RecordDisk, RecordEngine};
use super::tail::Tail;
use super::writer::{CommitMarker, Done, Request, SyncObserver, Writer};
use crate::blocking::blocking;
use crate::error::DiskError;
use crate::limits::{APPEND_OCTETS, WRITER_QUEUE};
use crate::sync::{lock, read, write};
use crate::types::{Entry, LogId, Types, Vote};
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::thread::JoinHandle;
use tokio::sync::{Notify, Semaphore, oneshot, watch};

/// A handle on the log; all handles share one writer thread.
#[derive(Clone)]
pub(crate) struct Log(Arc<Shared>);

struct Shared {
    tail: Arc<RwLock<Tail>>,
    engine: RwLock<Option<Arc<dyn LogEngine>>>,
    queue: RwLock<Option<SyncSender<Request>>>,
    places: Arc<Semaphore>,
    writer: Mutex<Option<Running>>,
    /// Wakes a writer that is a task.
    bell: Arc<Notify>,
    purger: Purger,
    failure: watch::Receiver<Option<DiskError>>,
    observer: Arc<OnceLock<SyncObserver>>,
    peers: RwLock<BTreeMap<u64, u64>>,
}

/// The writer at work.
enum Running {
    Thread(JoinHandle<()>),
    Task(tokio::task::JoinHandle<()>),
}

impl Log {
    /// Reads the whole log once, checking each record, and starts the threads.
    pub(crate) fn open(engine: Arc<dyn LogEngine>, cache_octets: usize) -> Result<Self, DiskError> {
        let purger = Purger::spawn(Arc::clone(&engine)).map_err(thread_error)?;
        Self::start(engine, cache_octets, purger, |writer, _| {
            let thread = std::thread::Builder::new().name("raft-log-writer".to_owned());
            thread.spawn(move || writer.run()).map(Running::Thread).map_err(thread_error)
        })
    }

    /// On a disk of records, and without a thread.
    pub(crate) fn on_records(
        disk: Arc<dyn RecordDisk>,
        cache_octets: usize,
    ) -> Result<Self, DiskError> {
        let engine = Arc::new(RecordEngine::new(disk));
        let purger = Purger::in_place(engine.clone());
        Self::start(engine.clone(), cache_octets, purger, |writer, bell| {
            Ok(Running::Task(tokio::spawn(writer.run_as_task(engine, bell))))
        })
    }

    fn start(
        engine: Arc<dyn LogEngine>,
        cache_octets: usize,
        purger: Purger,
        run: impl FnOnce(Writer, Arc<Notify>) -> Result<Running, DiskError>,
    ) -> Result<Self, DiskError> {
        let mut tail = Tail::new(cache_octets);
        // The engine has checked that no index is missing.
        let state = engine.load(&mut |entry| {
            let fits = tail.push_durable(entry);
            debug_assert!(fits);
        })?;
        tail.vote = state.vote;
        tail.committed = state.committed;
        tail.purged = state.purged;
        let tail = Arc::new(RwLock::new(tail));
        for range in state.leftovers {
            purger.remove(range);
        }
        let (queue, requests) = sync_channel(WRITER_QUEUE);
        let (failure, failed) = watch::channel(None);
        let observer = Arc::new(OnceLock::new());
        let writer = Writer {
            requests,
            engine: Arc::clone(&engine),
            tail: Arc::clone(&tail),
            failure,
            marker: CommitMarker::default(),
            observer: Arc::clone(&observer),
        };
        let bell = Arc::new(Notify::new());
        let writer = run(writer, Arc::clone(&bell))?;
        Ok(Self(Arc::new(Shared {
            tail,
            engine: RwLock::new(Some(engine)),
            queue: RwLock::new(Some(queue)),
            places: Arc::new(Semaphore::new(WRITER_QUEUE)),
            writer: Mutex::new(Some(writer)),
            bell,
            purger,
            failure: failed,
            observer,
            peers: RwLock::new(state.peers.into_iter().collect()),
        })))
    }

    /// Tells how long each write to the device took that made something durable; the first observer stays.
    pub(crate) fn observe_syncs(&self, observer: SyncObserver) {
        if self.0.observer.set(observer).is_err() {
            tracing::warn!("the log's device is observed already");
        }
    }

    /// Becomes `Some` when a write failed; nothing is written any more then.
    pub(crate) fn failure(&self) -> watch::Receiver<Option<DiskError>> {
        self.0.failure.clone()
    }

    /// The index up to which entries may be purged below a snapshot, keeping a tail.
    pub(crate) fn purgeable(&self, snapshot: u64, entries: u64, octets: u64) -> Option<u64> {
        read(&self.0.tail).purgeable(snapshot, entries, octets)
    }

    /// Up to where entries were purged.
    pub(crate) fn purged(&self) -> Option<LogId> {
        read(&self.0.tail).purged
    }

    /// The incarnation of a peer's disk as first seen.
    pub(crate) fn peer(&self, node_id: u64) -> Option<u64> {
        read(&self.0.peers).get(&node_id).copied()
    }

    /// How many peers are remembered.
    pub(crate) fn peer_count(&self) -> usize {
        read(&self.0.peers).len()
    }

    /// Remembers a peer's incarnation, durably.
    pub(crate) async fn remember_peer(
        &self,
        node_id: u64,
        incarnation: u64,
    ) -> Result<(), DiskError> {
        self.store(Write::Peer(node_id, incarnation)).await?;
        write(&self.0.peers).insert(node_id, incarnation);
        Ok(())
    }

    /// Writes what is queued, ends the threads and lets go of the disk.
    pub(crate) async fn close(&self) {
        write(&self.0.queue).take();
        self.0.bell.notify_one();
        let shared = Arc::clone(&self.0);
        let writer = lock(&shared.writer).take();
        let thread = match writer {
            Some(Running::Task(task)) => {
                drop(task.await);
                None
            }
            Some(Running::Thread(thread)) => Some(thread),
            None => None,
        };
        let joined = blocking(move || {
            if thread.is_some_and(|thread| thread.join().is_err()) {
                tracing::error!("the log's writer thread ended by a panic");
            }
            shared.purger.close();
            write(&shared.engine).take();
        });
        if joined.await.is_err() {
            tracing::error!("closing the log was interrupted");
        }
    }

    async fn enqueue(&self, write: Write, done: Done) -> Result<(), DiskError> {
        let place = Arc::clone(&self.0.places).acquire_owned().await;
        let place = place.map_err(|_| DiskError::Closed)?;
        let queue = read(&self.0.queue);
        let queue = queue.as_ref().ok_or(DiskError::Closed)?;
        // There are as many places in the channel as permits, so it is never full.
        queue.try_send(Request { write, done, place }).map_err(|_| self.gone())?;
        self.0.bell.notify_one();
        Ok(())
    }

    /// Writes and waits for the device.
    async fn store(&self, write: Write) -> Result<(), DiskError> {
        let (done, answer) = oneshot::channel();
        self.enqueue(write, Done::Waiter(done)).await?;
        answer.await.unwrap_or_else(|_| Err(self.gone()))
    }

    fn gone(&self) -> DiskError {
        match self.0.failure.borrow().as_ref() {
            Some(first) => DiskError::Failed { first: first.to_string() },
            None => DiskError::Closed,
        }
    }

    fn engine(&self) -> Result<Arc<dyn LogEngine>, DiskError> {
        read(&self.0.engine).clone().ok_or(DiskError::Closed)
    }

    /// Reads an existing range from the disk, off the async threads.
    async fn read_disk(&self, range: Range<u64>) -> Result<Vec<Entry>, DiskError> {
        let engine = self.engine()?;
        blocking(move || engine.read(range)).await.unwrap_or(Err(DiskError::Closed))
    }

    async fn entries(&self, wanted: Range<u64>) -> Result<Vec<Entry>, DiskError> {
        loop {
            let (disk, mut cached) = {
                let tail = read(&self.0.tail);
                tail.split(&tail.clamp(wanted.clone()))
            };
            if disk.is_empty() {
                return Ok(cached);
            }
            let mut entries = self.read_disk(disk.clone()).await?;
            let complete = u64::try_from(entries.len()).is_ok_and(|n| n == disk.end - disk.start);
            if complete {
                entries.append(&mut cached);
                return Ok(entries);
            }
            // A purge may have come between; then the range is shorter now. Otherwise an entry
            // that was stored is gone.
            let now = read(&self.0.tail).clamp(wanted.clone());
            if now.start <= disk.start {
                return Err(DiskError::Corrupt {
                    file: "log".into(),
                    record: format!("log entries {}..{}", disk.start, disk.end),
                    detail: format!("only {} of them are there", entries.len()),
                });
            }
        }
    }
}

fn thread_error(error: io::Error) -> DiskError {
    DiskError::io("start a thread for", "the log", error)
}

fn to_range(bounds: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match bounds.start_bound() {
        Bound::Included(&index) => index,
        Bound::Excluded(&index) => index.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match bounds.end_bound() {
        Bound::Included(&index) => index.saturating_add(1),
        Bound::Excluded(&index) => index,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        Ok(self.entries(to_range(&range)).await?)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(read(&self.0.tail).vote)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        let range = {
            let tail = read(&self.0.tail);
            let range = tail.clamp(start..end);
            range.start..tail.cut(&range, APPEND_OCTETS)
        };
        Ok(self.entries(range).await?)
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<openraft::LogState<Types>, io::Error> {
        let tail = read(&self.0.tail);
        Ok(openraft::LogState { last_purged_log_id: tail.purged, last_log_id: tail.last_log_id() })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.store(Write::Vote(*vote)).await?;
        write(&self.0.tail).vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        write(&self.0.tail).committed = committed;
        Ok(self.enqueue(Write::Committed(committed), Done::Nobody).await?)
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(read(&self.0.tail).committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        {
            let mut tail = write(&self.0.tail);
            for entry in &entries {
                if !tail.push(entry.clone()) {
                    let (index, end) = (entry.log_id.index(), tail.end());
                    return Err(io::Error::other(format!(
                        "entry {index} does not follow the log, which ends before {end}"
                    )));
                }
            }
        }
        Ok(self.enqueue(Write::Append(entries), Done::Flushed(callback)).await?)
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let from = last.map_or(0, |last| last.index() + 1);
        let range = write(&self.0.tail).truncate(from);
        if range.is_empty() {
            return Ok(());
        }
        self.store(Write::Truncate(range)).await?;
        let wanted = read(&self.0.tail).wants_last();
        if let Some(index) = wanted {
            for entry in self.read_disk(index..index + 1).await? {
                write(&self.0.tail).recache_last(entry);
            }
        }
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        let range = write(&self.0.tail).purge(upto);
        self.store(Write::Purged(upto)).await?;
        self.0.purger.remove(range);
        Ok(())
    }
}
