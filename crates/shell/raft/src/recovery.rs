//! Goes on with one survivor after the majority of a cluster is lost for ever.
//!
//! What the lost replicas had acknowledged and had not yet sent to this one is gone. All that stands in its
//! log is kept, also beyond what it knows to be committed: any of it may have been acknowledged, and to
//! apply a command whose outcome nobody knows is allowed.

use crate::disk::{Identity, LogState, identity_of};
use crate::error::{DiskError, StartError};
use crate::founding::{Foundation, Founded, build, finish, put_in_place};
use crate::inspect::{copy_log, load};
use crate::snapshot::SnapshotStore;
use crate::state_machine::StateMachine;
use crate::types::{Entry, LogId, Membership, SnapshotMeta};
use openraft::EntryPayload;
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::path::{Path, PathBuf};

/// A survivor that is a cluster of its own now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The new cluster.
    pub founded: Founded,
    /// What is known of the old one; `None` when an earlier command had been interrupted after it.
    pub survivor: Option<Survivor>,
}

/// What a survivor knew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survivor {
    /// Term and index of the last entry that was kept.
    pub last: (u64, u64),
    /// Up to where it knew entries to be committed.
    pub committed: Option<u64>,
    /// The other members, with their addresses: they are no members any more.
    pub others: Vec<(u64, String)>,
}

/// Makes the replica on `data_dir` the only member of a new cluster. The old data is kept beside the new.
/// `scratch` is an empty directory with room for a copy of the log; `state` is empty, and gets all that is
/// kept; `address` replaces the replica's own in the membership.
///
/// # Errors
///
/// When a replica runs on the directory, anything in it is damaged or missing, or it cannot be written. The
/// old data is untouched then.
pub fn recover(
    data_dir: &Path,
    scratch: &Path,
    address: Option<String>,
    state: &mut impl StateMachine,
) -> Result<Recovered, StartError> {
    let mut identity = identity_of(&data_dir.join("identity"))?;
    let aside = aside_of(data_dir, &identity);
    if let Some(founded) = finish(data_dir, Some(&aside))? {
        return Ok(Recovered { founded, survivor: None });
    }
    let _lock = lock(&data_dir.join("log/db"))?;
    let store = SnapshotStore::looking_at(data_dir, &identity.cluster);
    let snapshot = restore_newest(&store, state)?;
    copy_log(data_dir, scratch)?;
    let (log, entries) = load(scratch, &mut identity)?;
    let kept = keep(snapshot, &log, &entries, state);
    let kept =
        kept.map_err(|detail| StartError::Unrecoverable { path: data_dir.into(), detail })?;
    let node_id = identity.node_id;
    let known = kept.membership.get_node(&node_id).map(|node| node.addr.clone());
    let address = address.or(known).ok_or_else(|| StartError::Unrecoverable {
        path: data_dir.into(),
        detail: "its membership does not say where it is reached: give its address".to_owned(),
    })?;
    let last_term = kept.last.committed_leader_id().term;
    let voted = log.vote.map_or(0, |vote| vote.leader_id().term);
    let survivor = Survivor {
        last: (last_term, kept.last.index()),
        committed: log.committed.map(|committed| committed.index()),
        others: kept
            .membership
            .nodes()
            .filter(|(id, _)| **id != node_id)
            .map(|(id, node)| (*id, node.addr.clone()))
            .collect(),
    };
    let origin = format!(
        "recovered from node {node_id} of the cluster {:?} with id {:016x}, whose log ended at index {} of \
         term {last_term}",
        identity.cluster, identity.cluster_id, survivor.last.1
    );
    let foundation = Foundation {
        data_dir: data_dir.to_owned(),
        cluster_name: identity.cluster,
        node_id,
        address,
        revision: survivor.last.1,
        term: voted.max(last_term),
        origin,
    };
    build(&foundation, state)?;
    let founded = put_in_place(data_dir, Some(&aside))?;
    Ok(Recovered { founded, survivor: Some(survivor) })
}

fn aside_of(data_dir: &Path, identity: &Identity) -> PathBuf {
    data_dir.join(format!("before-recovery-{:016x}", identity.incarnation))
}

/// Held until all is in its place: no replica starts on what is being moved.
fn lock(db: &Path) -> Result<File, StartError> {
    let file = File::open(db).map_err(|e| DiskError::io("open", db, e))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(e) => Err(StartError::InUse { path: db.into(), cause: e.to_string() }),
    }
}

/// Reads the newest snapshot into the state; all of them must be whole.
fn restore_newest(
    store: &SnapshotStore,
    state: &mut impl StateMachine,
) -> Result<Option<SnapshotMeta>, StartError> {
    let mut newest = None;
    for file in store.each()? {
        let meta = store.verify(&file)?;
        if newest
            .as_ref()
            .is_none_or(|(best, _): &(SnapshotMeta, _)| best.last_log_id < meta.last_log_id)
        {
            newest = Some((meta, file));
        }
    }
    let Some((meta, file)) = newest else { return Ok(None) };
    let index = meta.last_log_id.map_or(0, |last| last.index());
    store.read(&file, |chunks| state.restore(index, chunks))?;
    Ok(Some(meta))
}

struct Kept {
    last: LogId,
    membership: Membership,
}

/// Applies every entry after the snapshot.
fn keep(
    snapshot: Option<SnapshotMeta>,
    log: &LogState,
    entries: &[Entry],
    state: &mut impl StateMachine,
) -> Result<Kept, String> {
    let (mut last, mut membership) = match snapshot {
        Some(meta) => (meta.last_log_id, Some(meta.last_membership.membership().clone())),
        None => (None, None),
    };
    if log.purged.map(|purged| purged.index()) > last.map(|last| last.index()) {
        return Err("its log begins after what its newest snapshot covers".to_owned());
    }
    for entry in entries {
        let index = entry.log_id.index();
        if last.is_some_and(|last| index <= last.index()) {
            continue;
        }
        match &entry.payload {
            EntryPayload::Normal(command) => drop(state.apply(index, &command.0)),
            EntryPayload::Blank => state.advance(index),
            EntryPayload::Membership(changed) => {
                membership = Some(changed.clone());
                state.advance(index);
            }
        }
        last = Some(entry.log_id);
    }
    match (last, membership) {
        (Some(last), Some(membership)) => Ok(Kept { last, membership }),
        _ => Err("it holds neither a snapshot nor a log entry".to_owned()),
    }
}
