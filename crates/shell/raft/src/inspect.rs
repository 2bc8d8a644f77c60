//! Looks at a replica's data directory without changing it, while the replica does not run.
//!
//! sled repairs what it opens, so it is given a copy of the log. Everything is read that a start
//! reads, and the committed entries are applied, so what is whole here starts.

use crate::disk::{Identity, JOURNAL, LogState, STAGE, identity_of, open_log};
use crate::error::{DiskError, SnapshotError, StartError};
use crate::snapshot::{SnapshotFile, SnapshotStore};
use crate::state_machine::StateMachine;
use crate::types::{Entry, LogId, Vote};
use openraft::EntryPayload;
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::path::{Path, PathBuf};

/// What a data directory holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspection {
    /// The cluster that it belongs to.
    pub cluster: String,
    /// Version of the data directory.
    pub format: u32,
    /// Which cluster of this name: drawn when one is restored or recovered, 0 before any.
    pub cluster_id: u64,
    /// How that cluster came to be, for people; empty for 0.
    pub origin: String,
    /// The replica that it belongs to.
    pub node_id: u64,
    /// Drawn when the directory was created.
    pub incarnation: u64,
    /// The log; `None` when it cannot be read.
    pub log: Option<LogSummary>,
    /// The snapshot files that are whole, the newest last.
    pub snapshots: Vec<SnapshotSummary>,
    /// Up to where the state machine was restored.
    pub applied: Option<u64>,
    /// What is damaged, where, and how to recover. Empty when all of it is whole.
    pub damage: Vec<String>,
}

/// What the log holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSummary {
    /// The last vote, in words.
    pub vote: Option<String>,
    /// The first and the last entry.
    pub entries: Option<(u64, u64)>,
    /// Term of the last entry: of several disks, that with the greatest term, then with the greatest
    /// last index, holds the most.
    pub last_term: Option<u64>,
    /// Up to where entries are known to be committed.
    pub committed: Option<u64>,
    /// Up to where entries were purged.
    pub purged: Option<u64>,
    /// The peers whose disks are remembered.
    pub peers: Vec<u64>,
}

/// A snapshot file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotSummary {
    /// The file.
    pub file: PathBuf,
    /// Its size.
    pub octets: u64,
    /// The last entry that it covers.
    pub last: Option<u64>,
    /// The members that vote at that entry.
    pub voters: Vec<u64>,
}

/// Reads all of `data_dir`. `scratch` is an empty directory with room for a copy of the log.
/// `state` gets what the newest snapshot and the committed entries hold.
///
/// # Errors
///
/// When there is nothing to read, when a replica runs on the directory, or when the copy cannot be
/// made. Damage is no error: it stands in what is returned.
pub fn inspect(
    data_dir: &Path,
    scratch: &Path,
    state: &mut impl StateMachine,
) -> Result<Inspection, StartError> {
    let path = data_dir.join("identity");
    if !data_dir.join("log").exists() && !path.exists() {
        return Err(DiskError::io("inspect", data_dir, "there is no replica's data in it").into());
    }
    let db = data_dir.join("log/db");
    let _unused = lock(&db)?;
    let mut found = Inspection::default();
    let mut identity = match identity_of(&path) {
        Ok(identity) => identity,
        Err(error) => {
            found.damage.push(error.to_string());
            return Ok(found);
        }
    };
    let stage = data_dir.join(STAGE);
    if stage.exists() {
        found.damage.push(StartError::Unfinished { path: stage }.to_string());
    }
    found.cluster.clone_from(&identity.cluster);
    (found.format, found.cluster_id) = (identity.format, identity.cluster_id);
    found.origin.clone_from(&identity.origin);
    (found.node_id, found.incarnation) = (identity.node_id, identity.incarnation);
    let restored = found.snapshots(data_dir, state);
    copy_log(data_dir, scratch)?;
    match load(scratch, &mut identity) {
        Ok((log, entries)) => found.log(&log, &entries, restored, state),
        Err(error) => {
            let (copy, original) = (scratch.display(), data_dir.display());
            let error = error.to_string().replace(&copy.to_string(), &original.to_string());
            found.damage.push(error);
        }
    }
    Ok(found)
}

/// Holds the log's lock while this looks at it. A log that is missing is told later.
fn lock(db: &Path) -> Result<Option<File>, StartError> {
    let Ok(file) = File::open(db) else { return Ok(None) };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(Some(file)),
        Err(e) => Err(StartError::InUse { path: db.into(), cause: e.to_string() }),
    }
}

pub(crate) fn copy_log(data_dir: &Path, scratch: &Path) -> Result<(), DiskError> {
    let copy = |from: &Path, to: &Path| match std::fs::copy(from, to) {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(DiskError::io("copy", from, e)),
    };
    copy(&data_dir.join("reached"), &scratch.join("reached"))?;
    for name in ["log", JOURNAL] {
        let (from, to) = (data_dir.join(name), scratch.join(name));
        std::fs::create_dir_all(&to).map_err(|e| DiskError::io("create", &to, e))?;
        let Ok(entries) = std::fs::read_dir(&from) else { continue };
        for entry in entries {
            let path = entry.map_err(|e| DiskError::io("list", &from, e))?.path();
            if let Some(name) = path.file_name().filter(|_| path.is_file()) {
                copy(&path, &to.join(name))?;
            }
        }
    }
    Ok(())
}

pub(crate) fn load(
    scratch: &Path,
    identity: &mut Identity,
) -> Result<(LogState, Vec<Entry>), StartError> {
    identity.path = scratch.join("identity");
    let engine = open_log(scratch, identity)?;
    let mut entries = Vec::new();
    let state = engine.load(&mut |entry| entries.push(entry))?;
    Ok((state, entries))
}

fn words(vote: &Vote) -> String {
    let leader = vote.leader_id();
    let won = if vote.is_committed() { "elected" } else { "a candidate" };
    format!("node {}, {won} in term {}", leader.node_id, leader.term)
}

impl Inspection {
    /// Reads every snapshot file, the newest into the state; returns what that covers.
    fn snapshots(&mut self, data_dir: &Path, state: &mut impl StateMachine) -> Option<LogId> {
        let store = SnapshotStore::looking_at(data_dir, &self.cluster);
        let files = match store.each() {
            Ok(files) => files,
            Err(error) => {
                self.damage.push(error.to_string());
                return None;
            }
        };
        let mut newest: Option<(LogId, SnapshotFile)> = None;
        for file in files {
            match store.verify(&file) {
                Ok(meta) => {
                    let voters = meta.last_membership.membership().voter_ids().collect();
                    self.snapshots.push(SnapshotSummary {
                        file: file.path().to_owned(),
                        octets: file.octets(),
                        last: meta.last_log_id.map(|last| last.index()),
                        voters,
                    });
                    let Some(last) = meta.last_log_id else { continue };
                    if newest.as_ref().is_none_or(|(best, _)| *best < last) {
                        newest = Some((last, file));
                    }
                }
                Err(error) => self.damage.push(error.to_string()),
            }
        }
        let (last, file) = newest?;
        let restored: Result<u64, SnapshotError> =
            store.read(&file, |chunks| state.restore(last.index(), chunks));
        match restored {
            Ok(_) => self.applied = Some(last.index()),
            Err(error) => self.damage.push(format!("{}: {error}", file.path().display())),
        }
        Some(last)
    }

    fn log(
        &mut self,
        log: &LogState,
        entries: &[Entry],
        restored: Option<LogId>,
        state: &mut impl StateMachine,
    ) {
        let index = |entry: &Entry| entry.log_id.index();
        let summary = LogSummary {
            vote: log.vote.as_ref().map(words),
            entries: entries.first().map(index).zip(entries.last().map(index)),
            last_term: entries.last().map(|entry| entry.log_id.committed_leader_id().term),
            committed: log.committed.map(|committed| committed.index()),
            purged: log.purged.map(|purged| purged.index()),
            peers: log.peers.iter().map(|(node_id, _)| *node_id).collect(),
        };
        let covered = restored.map(|last| last.index());
        if summary.purged > covered {
            let covered = covered.map_or("none".to_owned(), |last| format!("up to entry {last}"));
            let detail = format!(
                "the log begins after {}, the newest whole snapshot is {covered}",
                summary.purged.unwrap_or_default()
            );
            self.damage.push(StartError::Inconsistent { detail }.to_string());
        } else if covered == self.applied {
            for entry in entries {
                let at = index(entry);
                if self.applied.is_some_and(|applied| at <= applied) {
                    continue;
                }
                if summary.committed.is_none_or(|committed| at > committed) {
                    break;
                }
                match &entry.payload {
                    EntryPayload::Normal(command) => drop(state.apply(at, &command.0)),
                    EntryPayload::Blank | EntryPayload::Membership(_) => state.advance(at),
                }
                self.applied = Some(at);
            }
        }
        self.log = Some(summary);
    }
}
