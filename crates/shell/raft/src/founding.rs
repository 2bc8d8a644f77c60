//! Founds a cluster on one disk, out of a state: that of a backup, or that of a survivor.
//!
//! The new cluster has one member, a cluster id of its own, and a log that begins far behind the index
//! of the state ([`INDEX_LEAP`]). What makes it is put together below `founding/` first, and moved into
//! its place when all of it is on the disk. The log goes first and the identity last: a replica that is
//! started in between finds a log that is not its own, and does not start. So an interrupted one is
//! finished by giving the command again.

use crate::config::RaftConfig;
use crate::disk::{
    FORMAT_VERSION, Identity, LogEngine as _, STAGE, SledEngine, Write, identity_of, sync_dir,
};
use crate::error::{DiskError, StartError};
use crate::limits::INDEX_LEAP;
use crate::snapshot::SnapshotStore;
use crate::state_machine::StateMachine;
use crate::types::{LogId, Membership, SnapshotMeta, StoredMembership, Vote};
use openraft::BasicNode;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

/// In the stage: all of it is on the disk.
const READY: &str = "ready";

/// What a data directory consists of, in the order in which it is moved into its place.
const PARTS: [&str; 4] = ["log", "snapshots", "reached", "identity"];

/// What a fresh file system may hold.
const NOT_OURS: &str = "lost+found";

/// The first replica of a new cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foundation {
    /// Where it goes.
    pub data_dir: PathBuf,
    /// Name of the cluster, 1 to 255 octets.
    pub cluster_name: String,
    /// Its id, 1 or more.
    pub node_id: u64,
    /// `host:port` at which other replicas will reach it.
    pub address: String,
    /// Log index that the state is of.
    pub revision: u64,
    /// No entry that the state comes from is of a later term.
    pub term: u64,
    /// How the cluster comes to be, for people.
    pub origin: String,
}

/// A cluster that was founded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Founded {
    /// Name of the cluster.
    pub cluster_name: String,
    /// Which one of that name; no other has this id.
    pub cluster_id: u64,
    /// Its only member.
    pub node_id: u64,
    /// How it came to be, for people.
    pub origin: String,
    /// Where the data went that was there before.
    pub aside: Option<PathBuf>,
    /// An earlier command had made it, and was interrupted: this one has put it into its place.
    pub finished: bool,
}

/// Makes the data directory of the first replica of a new cluster. `state` is that of
/// `foundation.revision`, and is moved to the index at which the new log begins.
///
/// # Errors
///
/// When the foundation cannot work, there is something in the data directory, or it cannot be written.
pub fn found(
    foundation: &Foundation,
    state: &mut impl StateMachine,
) -> Result<Founded, StartError> {
    let dir = &foundation.data_dir;
    if let Some(finished) = finish(dir, None)? {
        return Ok(finished);
    }
    std::fs::create_dir_all(dir).map_err(|e| DiskError::io("create", dir, e))?;
    check_empty(dir)?;
    build(foundation, state)?;
    put_in_place(dir, None)
}

/// Puts into its place what an interrupted command has made. `None` when there is nothing of that kind.
pub(crate) fn finish(dir: &Path, aside: Option<&Path>) -> Result<Option<Founded>, StartError> {
    if !dir.join(STAGE).join(READY).exists() {
        return Ok(None);
    }
    let founded = put_in_place(dir, aside)?;
    Ok(Some(Founded { finished: true, ..founded }))
}

fn check_empty(dir: &Path) -> Result<(), StartError> {
    let entries = std::fs::read_dir(dir).map_err(|e| DiskError::io("list", dir, e))?;
    for entry in entries {
        let name = entry.map_err(|e| DiskError::io("list", dir, e))?.file_name();
        let found = name.to_string_lossy().into_owned();
        if ![NOT_OURS, STAGE].contains(&found.as_str()) {
            return Err(StartError::NotEmpty { path: dir.into(), found });
        }
    }
    Ok(())
}

/// Makes everything below the stage, and notes durably that it is whole.
pub(crate) fn build(
    foundation: &Foundation,
    state: &mut impl StateMachine,
) -> Result<(), StartError> {
    let Foundation { node_id, address, cluster_name, .. } = foundation;
    let stage = foundation.data_dir.join(STAGE);
    let only = BTreeMap::from([(*node_id, address.clone())]);
    RaftConfig::new(*node_id, &stage, cluster_name, only).validate()?;
    let unusable = |detail: &str| StartError::Unrecoverable {
        path: foundation.data_dir.clone(),
        detail: detail.to_owned(),
    };
    let index = foundation.revision.checked_add(INDEX_LEAP);
    let index = index.ok_or_else(|| unusable("its log index has no room for another leap"))?;
    let term = foundation.term.checked_add(1);
    let term = term.ok_or_else(|| unusable("its term has no room for another one"))?;
    remove_dir(&stage)?;
    std::fs::create_dir(&stage).map_err(|e| DiskError::io("create", &stage, e))?;
    let leader = openraft::impls::leader_id_adv::LeaderId { term, node_id: *node_id };
    let last = LogId::new(leader, index);
    let nodes = BTreeMap::from([(*node_id, BasicNode::new(address))]);
    let membership = Membership::new(vec![BTreeSet::from([*node_id])], nodes)
        .map_err(|e| unusable(&e.to_string()))?;
    let last_membership = StoredMembership::new(Some(last), membership);
    let meta = SnapshotMeta { last_log_id: Some(last), last_membership };
    state.advance(index);
    SnapshotStore::open(&stage, cluster_name)?.write(&meta, state.freeze().chunks())?;
    let mut identity = Identity {
        path: stage.join("identity"),
        format: FORMAT_VERSION,
        cluster: cluster_name.clone(),
        cluster_id: drawn(),
        origin: foundation.origin.clone(),
        node_id: *node_id,
        incarnation: drawn(),
        log_created: false,
        reached_created: false,
    };
    identity.write()?;
    let engine = SledEngine::open(&stage, &mut identity)?;
    let vote = Write::Vote(Vote::new_committed(term, *node_id));
    engine.write(vec![vote, Write::Purged(last), Write::Committed(Some(last))])?;
    engine.sync()?;
    drop(engine);
    let ready = stage.join(READY);
    let marked = File::create(&ready).and_then(|file| file.sync_all());
    marked.map_err(|e| DiskError::io("write", &ready, e))?;
    sync(&stage)?;
    Ok(sync(&foundation.data_dir)?)
}

/// Zero stands for a cluster that was neither restored nor recovered.
fn drawn() -> u64 {
    rand::random::<u64>().max(1)
}

/// Moves what is ready into its place, and what is in its place aside. May be interrupted and done again.
pub(crate) fn put_in_place(dir: &Path, aside: Option<&Path>) -> Result<Founded, StartError> {
    let stage = dir.join(STAGE);
    for part in PARTS {
        let (made, place) = (stage.join(part), dir.join(part));
        if !made.exists() {
            continue;
        }
        if place.exists() {
            let Some(aside) = aside else {
                return Err(StartError::NotEmpty { path: dir.into(), found: part.to_owned() });
            };
            set_aside(&place, &aside.join(part), part == "identity")?;
        }
        std::fs::rename(&made, &place).map_err(|e| DiskError::io("move", &made, e))?;
        sync(&stage)?;
        sync(dir)?;
    }
    let identity = identity_of(&dir.join("identity"))?;
    remove_dir(&stage)?;
    sync(dir)?;
    Ok(Founded {
        cluster_name: identity.cluster,
        cluster_id: identity.cluster_id,
        node_id: identity.node_id,
        origin: identity.origin,
        aside: aside.filter(|aside| aside.exists()).map(Path::to_owned),
        finished: false,
    })
}

/// The old identity stays until the new one replaces it in one step.
fn set_aside(place: &Path, to: &Path, copy: bool) -> Result<(), DiskError> {
    let parent = to.parent().unwrap_or(to);
    std::fs::create_dir_all(parent).map_err(|e| DiskError::io("create", parent, e))?;
    let moved = if copy {
        std::fs::copy(place, to).and_then(|_| File::open(to)?.sync_all())
    } else {
        std::fs::rename(place, to)
    };
    moved.map_err(|e| DiskError::io("set aside", place, e))?;
    sync(parent)
}

fn sync(dir: &Path) -> Result<(), DiskError> {
    sync_dir(dir).map_err(|e| DiskError::io("sync", dir, e))
}

fn remove_dir(dir: &Path) -> Result<(), DiskError> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(DiskError::io("remove", dir, e)),
        Ok(()) | Err(_) => Ok(()),
    }
}
