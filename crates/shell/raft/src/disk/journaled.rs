//! sled with a journal before it: a write is durable once the journal has it, and is put into sled a little later
//! together with those around it.
//!
//! sled keeps the number of the last journal record that it was given, in the same batch as its changes. A start
//! gives it what it lacks. A truncation goes straight into sled: it is rare, and must find what it removes there.

use super::backlog::{Backlog, one_batch};
use super::engine::{LogEngine, LogState, Write};
use super::file::sync_dir;
use super::journal::{Change, Journal, Record, Room};
use super::sled_engine::SledEngine;
use super::{Identity, markers};
use crate::error::{DiskError, StartError};
use crate::sync::lock;
use crate::types::Entry;
use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Below the data directory.
pub(crate) const JOURNAL: &str = "journal";

pub(crate) struct Journaled {
    sled: Arc<SledEngine>,
    front: Mutex<Front>,
    backlog: Arc<Backlog>,
    thread: Option<JoinHandle<()>>,
}

/// What only the writer thread uses.
struct Front {
    journal: Journal,
    /// Written, and not yet in the journal.
    gathered: Vec<Change>,
}

impl Journaled {
    /// Opens both below `data_dir`, or creates them when `identity` says that there was none.
    pub(crate) fn open(data_dir: &Path, identity: &mut Identity) -> Result<Self, StartError> {
        let sled = Arc::new(SledEngine::open(data_dir, identity)?);
        let dir = data_dir.join(JOURNAL);
        let created = identity.journal_created;
        let (journal, records) = Journal::open(&dir, identity.incarnation, created)?;
        if !created {
            for dir in [&dir, data_dir] {
                sync_dir(dir).map_err(|e| DiskError::io("sync", dir, e))?;
            }
            identity.mark_journal_created()?;
        }
        catch_up(&sled, &dir, &journal, records)?;
        let backlog = Arc::new(Backlog::new(journal.number()));
        let (worked_off, engine) = (Arc::clone(&backlog), Arc::clone(&sled));
        let thread = std::thread::Builder::new().name("raft-log-backlog".to_owned());
        let thread = thread.spawn(move || worked_off.run(&engine));
        let thread = thread.map_err(|e| DiskError::io("start a thread for", "the log", e))?;
        let front = Mutex::new(Front { journal, gathered: Vec::new() });
        Ok(Self { sled, front, backlog, thread: Some(thread) })
    }

    /// Makes durable what was gathered.
    fn commit(&self, front: &mut Front) -> Result<(), DiskError> {
        if front.gathered.is_empty() {
            return Ok(());
        }
        let changes = std::mem::take(&mut front.gathered);
        if let Room::AfterTurn(number) = front.journal.room(&changes) {
            self.backlog.settle_to(number)?;
            front.journal.take_turn();
            // Long before the next turn.
            self.backlog.wants(front.journal.number());
        }
        let number = front.journal.append(&changes)?;
        self.backlog.push(Record { number, changes });
        Ok(())
    }
}

/// Gives sled what it lacks.
fn catch_up(
    sled: &SledEngine,
    dir: &Path,
    journal: &Journal,
    records: Vec<Record>,
) -> Result<(), DiskError> {
    let corrupt = |detail: String| DiskError::Corrupt {
        file: dir.into(),
        record: "the journal".to_owned(),
        detail,
    };
    let known = sled.journaled()?;
    if journal.number() < known {
        let last = journal.number();
        return Err(corrupt(format!("it ends with record {last}, but record {known} was there")));
    }
    let lacking: Vec<Record> = records.into_iter().filter(|it| it.number > known).collect();
    for (expected, record) in (known + 1..).zip(&lacking) {
        if record.number != expected {
            let number = record.number;
            return Err(corrupt(format!("record {expected} is missing before record {number}")));
        }
    }
    if !lacking.is_empty() {
        tracing::info!(records = lacking.len(), "the log takes over what its journal has");
        let mut lacking = VecDeque::from(lacking);
        while !lacking.is_empty() {
            sled.take_over(one_batch(&mut lacking))?;
        }
    }
    Ok(())
}

impl LogEngine for Journaled {
    fn load(&self, each: &mut dyn FnMut(Entry)) -> Result<LogState, DiskError> {
        self.sled.load(each)
    }

    fn write(&self, writes: Vec<Write>) -> Result<(), DiskError> {
        let mut front = lock(&self.front);
        for write in writes {
            if matches!(write, Write::Truncate(_)) {
                self.commit(&mut front)?;
                self.backlog.settle()?;
                self.sled.write(vec![write])?;
                self.sled.flush()?;
            } else {
                self.sled.note(&write);
                front.gathered.extend(markers::changes(write));
            }
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.commit(&mut lock(&self.front))?;
        self.sled.note_synced()
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<Entry>, DiskError> {
        self.backlog.settle()?;
        self.sled.read(range)
    }

    fn remove(&self, range: Range<u64>) -> Result<(), DiskError> {
        self.backlog.settle()?;
        self.sled.remove(range)
    }
}

impl Drop for Journaled {
    fn drop(&mut self) {
        self.backlog.end();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that works off the journal ended by a panic");
        }
    }
}
