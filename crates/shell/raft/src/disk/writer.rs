//! The writer thread: the only one that writes the log and waits for the device.
//!
//! It takes whatever has gathered while the last flush was under way, writes it as one batch,
//! flushes once, and then answers all of it. Under load one flush serves hundreds of proposals.

use super::engine::{LogEngine, Write};
use super::records::RecordEngine;
use super::tail::Tail;
use crate::encoding::entry_octets;
use crate::error::DiskError;
use crate::limits::{COMMIT_MARKER_DELAY, WRITER_DRAIN, WRITER_DRAIN_OCTETS};
use crate::sync::write;
use crate::types::{LogId, Types};
use openraft::storage::IOFlushed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, OnceLock, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot, watch};

/// Is told how long the device took for what it has made durable.
pub(crate) type SyncObserver = Box<dyn Fn(Duration) + Send + Sync>;

/// One write and whoever waits for it to be on the disk.
pub(super) struct Request {
    pub(super) write: Write,
    pub(super) done: Done,
    /// A place in the queue, free again once the request was answered.
    pub(super) place: OwnedSemaphorePermit,
}

pub(super) enum Done {
    /// Nobody waits.
    Nobody,
    /// openraft counts it as stored.
    Flushed(IOFlushed<Types>),
    /// A caller in this crate.
    Waiter(oneshot::Sender<Result<(), DiskError>>),
}

impl Done {
    fn answer(self, result: Result<(), DiskError>) {
        match self {
            Self::Nobody => {}
            Self::Flushed(callback) => callback.io_completed(result.map_err(Into::into)),
            // The caller may have been cancelled; the write stands.
            Self::Waiter(waiter) => drop(waiter.send(result)),
        }
    }
}

/// Who waits for a flush.
type Waiting = Vec<(Done, OwnedSemaphorePermit)>;

/// Writes that are not durable yet.
struct Begun {
    result: Result<(), DiskError>,
    /// One past the last entry among them.
    durable_end: Option<u64>,
    wrote: bool,
}

pub(super) struct Writer {
    pub(super) requests: Receiver<Request>,
    pub(super) engine: Arc<dyn LogEngine>,
    pub(super) tail: Arc<RwLock<Tail>>,
    pub(super) failure: watch::Sender<Option<DiskError>>,
    pub(super) marker: CommitMarker,
    /// Empty until somebody wants to know.
    pub(super) observer: Arc<OnceLock<SyncObserver>>,
}

/// The commit marker only shortens what a restart must learn from its peers, so it does not earn a
/// flush of its own: it goes with the next write, or alone after a short while.
#[derive(Default)]
pub(super) struct CommitMarker {
    waiting: Option<(Option<LogId>, Instant)>,
}

impl CommitMarker {
    fn set(&mut self, committed: Option<LogId>) {
        let since = self.waiting.map_or_else(Instant::now, |(_, since)| since);
        self.waiting = Some((committed, since));
    }

    fn take(&mut self) -> Option<Write> {
        self.waiting.take().map(|(committed, _)| Write::Committed(committed))
    }

    fn is_due(&self) -> bool {
        self.waiting.is_some_and(|(_, since)| since.elapsed() >= COMMIT_MARKER_DELAY)
    }
}

impl Writer {
    pub(super) fn run(mut self) {
        loop {
            let Some(first) = self.next() else {
                self.store(Vec::new(), Vec::new());
                return;
            };
            self.drain(first);
        }
    }

    /// The next request; `None` when there will be no more. Writes a commit marker that is due.
    fn next(&mut self) -> Option<Request> {
        loop {
            if self.marker.waiting.is_none() {
                return self.requests.recv().ok();
            }
            match self.requests.recv_timeout(COMMIT_MARKER_DELAY) {
                Ok(request) => return Some(request),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => self.store(Vec::new(), Vec::new()),
            }
        }
    }

    /// As `run`, on the runtime instead of a thread: `bell` says that there is something to do.
    pub(super) async fn run_as_task(mut self, engine: Arc<RecordEngine>, bell: Arc<Notify>) {
        loop {
            let (writes, waiting, ended) = match self.requests.try_recv() {
                Ok(first) => {
                    let (writes, waiting) = self.gather(first);
                    (writes, waiting, false)
                }
                Err(TryRecvError::Disconnected) => (Vec::new(), Vec::new(), true),
                Err(TryRecvError::Empty) => {
                    let rung = tokio::time::timeout(COMMIT_MARKER_DELAY, bell.notified());
                    if self.marker.waiting.is_none() {
                        bell.notified().await;
                        continue;
                    } else if rung.await.is_ok() {
                        continue;
                    }
                    (Vec::new(), Vec::new(), false)
                }
            };
            if !writes.is_empty() || self.marker.is_due() || ended {
                let work = self.begin(writes);
                let mut result = work.result;
                if result.is_ok() && work.wrote {
                    result = engine.sync_all().await;
                }
                self.end(work.durable_end, result, waiting);
            }
            if ended {
                return;
            }
        }
    }

    fn drain(&mut self, first: Request) {
        let (writes, waiting) = self.gather(first);
        if !writes.is_empty() || self.marker.is_due() {
            self.store(writes, waiting);
        }
    }

    /// What has come together, and who waits for it.
    fn gather(&mut self, first: Request) -> (Vec<Write>, Waiting) {
        let mut writes = Vec::new();
        let mut waiting = Vec::new();
        let mut octets = 0;
        let mut next = Some(first);
        while let Some(Request { write, done, place }) = next.take() {
            match write {
                Write::Committed(committed) => {
                    self.marker.set(committed);
                    done.answer(Ok(()));
                }
                write => {
                    if let Write::Append(entries) = &write {
                        octets += entries.iter().map(entry_octets).sum::<usize>();
                    }
                    writes.push(write);
                    waiting.push((done, place));
                }
            }
            if waiting.len() < WRITER_DRAIN && octets < WRITER_DRAIN_OCTETS {
                next = self.requests.try_recv().ok();
            }
        }
        (writes, waiting)
    }

    /// Writes all of it and the commit marker, waits for the device, and answers.
    fn store(&mut self, writes: Vec<Write>, waiting: Waiting) {
        let Begun { result, durable_end, wrote } = self.begin(writes);
        if wrote {
            let result = result.and_then(|()| self.sync());
            self.end(durable_end, result, waiting);
        }
    }

    fn sync(&self) -> Result<(), DiskError> {
        let begun = Instant::now();
        self.engine.sync()?;
        if let Some(observer) = self.observer.get() {
            observer(begun.elapsed());
        }
        Ok(())
    }

    /// Writes all of it and the commit marker.
    fn begin(&mut self, mut writes: Vec<Write>) -> Begun {
        writes.extend(self.marker.take());
        if writes.is_empty() {
            return Begun { result: Ok(()), durable_end: None, wrote: false };
        }
        let durable_end = writes
            .iter()
            .filter_map(|write| match write {
                Write::Append(entries) => entries.last().map(|entry| entry.log_id.index() + 1),
                _ => None,
            })
            .max();
        // After one failure nothing is tried again: what the failed flush left on the device is
        // unknown, and a second flush may report success without having written it.
        let result = match self.failure.borrow().as_ref() {
            Some(first) => Err(DiskError::Failed { first: first.to_string() }),
            None => self.engine.write(writes),
        };
        Begun { result, durable_end, wrote: true }
    }

    /// Answers, once the device has it or has failed.
    fn end(&self, durable_end: Option<u64>, result: Result<(), DiskError>, waiting: Waiting) {
        if let Err(error) = &result
            && self.failure.borrow().is_none()
        {
            tracing::error!(%error, "the log cannot be written; this replica stops");
            self.failure.send_replace(Some(error.clone()));
        }
        if let (Ok(()), Some(end)) = (&result, durable_end) {
            // Before anyone is answered: openraft truncates only after the answer, so what is
            // marked here is what was written.
            write(&self.tail).mark_durable(end);
        }
        for (done, place) in waiting {
            done.answer(result.clone());
            drop(place);
        }
    }
}
