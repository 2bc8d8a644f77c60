//! Founds a cluster on one disk, out of a state: that of a backup, or that of a survivor.
//!
//! The new cluster has one member, a cluster id of its own, and a log that begins far behind the index
//! of the state ([`INDEX_LEAP`]). What makes it is put together below `founding/` first, and moved into
//! its place when all of it is on the disk. The log goes first and the identity last: a replica that is
//! started in between finds a log that is not its own, and does not start. So an interrupted one is
//! finished by giving the command again.

use crate::config::RaftConfig;
use crate::disk::{
    FORMAT_VERSION, Identity, JOURNAL, STAGE, Write, identity_of, open_log, sync_dir,
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
const PARTS: [&str; 5] = ["log", JOURNAL, "snapshots", "reached", "identity"];

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
    SnapshotStore::open(&stage, cluster_name)?.write(&meta, 0, state.freeze().chunks(), |_| ())?;
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
        journal_created: false,
    };
    identity.write()?;
    let engine = open_log(&stage, &mut identity)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::claim;
    use crate::error::SnapshotError;
    use crate::state_machine::FrozenState;
    use bytes::Bytes;

    /// Counts what it has applied.
    #[derive(Clone, Default, PartialEq, Debug)]
    struct Counter(u64);

    impl StateMachine for Counter {
        type Reply = Bytes;

        fn apply(&mut self, _index: u64, command: &Bytes) -> Bytes {
            self.0 += 1;
            command.clone()
        }

        fn advance(&mut self, _index: u64) {}

        fn freeze(&self) -> Box<dyn FrozenState> {
            Box::new(self.clone())
        }

        fn restore(
            &mut self,
            _index: u64,
            chunks: &mut dyn Iterator<Item = Result<Bytes, SnapshotError>>,
        ) -> Result<(), SnapshotError> {
            let octets: Vec<Bytes> = chunks.collect::<Result<_, _>>()?;
            let octets = octets.concat().try_into();
            let octets = octets.map_err(|_| SnapshotError::Content("not 8 octets".to_owned()))?;
            self.0 = u64::from_be_bytes(octets);
            Ok(())
        }
    }

    impl FrozenState for Counter {
        fn chunks(self: Box<Self>) -> Box<dyn Iterator<Item = Bytes> + Send> {
            Box::new(std::iter::once(Bytes::copy_from_slice(&self.0.to_be_bytes())))
        }
    }

    fn foundation(dir: &Path, cluster_name: &str) -> Foundation {
        Foundation {
            data_dir: dir.to_owned(),
            cluster_name: cluster_name.to_owned(),
            node_id: 1,
            address: "127.0.0.1:7101".to_owned(),
            revision: 40,
            term: 6,
            origin: "made by a test".to_owned(),
        }
    }

    fn config(dir: &Path) -> RaftConfig {
        RaftConfig::new(1, dir, "blue", BTreeMap::new())
    }

    /// What stands in a data directory, once everything was read and checked.
    fn opened(dir: &Path) -> (Identity, SnapshotMeta, u64) {
        let mut identity = claim(&config(dir), 9).unwrap();
        let engine = open_log(dir, &mut identity).unwrap();
        let log = engine.load(&mut |entry| panic!("{entry}")).unwrap();
        let store = SnapshotStore::open(dir, "blue").unwrap();
        let (meta, file) = store.current().unwrap();
        let mut state = Counter::default();
        store.read(&file, |chunks| state.restore(0, chunks)).unwrap();
        assert_eq!((log.purged, log.committed), (meta.last_log_id, meta.last_log_id));
        assert_eq!(log.vote, Some(Vote::new_committed(7, 1)));
        (identity, meta, state.0)
    }

    #[test]
    fn a_cluster_begins_with_one_member_a_leap_behind_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(NOT_OURS)).unwrap();
        let founded = found(&foundation(dir.path(), "blue"), &mut Counter(3)).unwrap();
        assert!(!founded.finished && founded.aside.is_none());
        let (identity, meta, state) = opened(dir.path());
        assert_eq!(state, 3);
        assert_eq!((identity.cluster_id, identity.format), (founded.cluster_id, FORMAT_VERSION));
        assert_ne!(identity.cluster_id, 0);
        assert_eq!(meta.last_log_id.unwrap().index(), 40 + INDEX_LEAP);
        let membership = meta.last_membership.membership();
        assert_eq!(membership.voter_ids().collect::<Vec<_>>(), [1]);
        assert_eq!(membership.get_node(&1).unwrap().addr, "127.0.0.1:7101");
        let again = found(&foundation(dir.path(), "blue"), &mut Counter(3)).unwrap_err();
        assert!(matches!(again, StartError::NotEmpty { .. }), "{again}");
        let other = tempfile::tempdir().unwrap();
        let founded = found(&foundation(other.path(), "blue"), &mut Counter(3)).unwrap();
        assert_ne!(founded.cluster_id, identity.cluster_id);
    }

    #[test]
    fn what_cannot_work_leaves_nothing_that_starts() {
        let full = Foundation { revision: u64::MAX, ..foundation(Path::new(""), "blue") };
        let nowhere = Foundation { address: "nowhere".to_owned(), ..full.clone() };
        for wrong in [full, nowhere, foundation(Path::new(""), "")] {
            let dir = tempfile::tempdir().unwrap();
            let wrong = Foundation { data_dir: dir.path().to_owned(), ..wrong };
            assert!(found(&wrong, &mut Counter(3)).is_err(), "{wrong:?}");
            assert!(!dir.path().join("identity").exists());
        }
    }

    /// Before the first part is moved, between every two, and after the last.
    #[test]
    fn whenever_it_is_interrupted_nothing_starts_until_it_is_finished() {
        for steps in 0..=2 * PARTS.len() {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path();
            let mut before = claim(&config(path), 5).unwrap();
            drop(open_log(path, &mut before).unwrap());
            let aside = path.join("aside");
            build(&foundation(path, "blue"), &mut Counter(4)).unwrap();
            for step in 0..steps {
                let part = PARTS[step / 2];
                let (made, place) = (path.join(STAGE).join(part), path.join(part));
                if step % 2 == 1 {
                    std::fs::rename(&made, &place).unwrap();
                } else if place.exists() {
                    set_aside(&place, &aside.join(part), part == "identity").unwrap();
                }
            }
            let refused = claim(&config(path), 6).unwrap_err();
            assert!(matches!(refused, StartError::Unfinished { .. }), "{steps}: {refused}");
            // Nor does a program that does not know of it: a part is missing, or the log not its own.
            if (1..2 * PARTS.len()).contains(&steps) {
                assert!(open_log(path, &mut before.clone()).is_err(), "{steps}");
            }
            let finished = finish(path, Some(&aside)).unwrap().unwrap();
            assert!(finished.finished && finished.origin == "made by a test", "{steps}");
            let (identity, _, state) = opened(path);
            assert_eq!((identity.cluster_id, state), (finished.cluster_id, 4), "{steps}");
            let old = identity_of(&aside.join("identity")).unwrap();
            assert_eq!((old.incarnation, old.cluster_id), (5, 0), "{steps}");
            assert!(aside.join("log/db").exists() && !path.join(STAGE).exists(), "{steps}");
        }
    }

    #[test]
    fn what_was_not_ready_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        build(&foundation(dir.path(), "blue"), &mut Counter(4)).unwrap();
        std::fs::remove_file(dir.path().join(STAGE).join(READY)).unwrap();
        assert!(claim(&config(dir.path()), 6).is_err());
        let founded = found(&foundation(dir.path(), "blue"), &mut Counter(5)).unwrap();
        assert!(!founded.finished);
        assert_eq!(opened(dir.path()).2, 5);
    }
}
