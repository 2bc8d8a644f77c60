//! Who speaks to whom: each call and each answer names the cluster, the replica and its disk, and
//! is refused when one of them is not who it should be.
//!
//! A replica that lost its disk and comes back under its old id has forgotten its votes and what
//! it acknowledged; counted in a majority it could lose committed entries. So each replica
//! remembers the incarnation of every peer's disk, durably, and takes no other.

use crate::blocking::blocking;
use crate::disk::{Identity, Log};
use crate::error::DiskError;
use crate::limits::PEERS_MAX;
use crate::proto;
use crate::sync::lock;
use prost::Message as _;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Request, Response, Status};

const CALLER: &str = "homeport-caller-bin";
const REPLICA: &str = "homeport-replica-bin";

/// Checks peers, and tells them who this replica is.
#[derive(Clone)]
pub(crate) struct Guard {
    cluster: String,
    /// An empty disk takes the cluster id of the leader that adds it.
    identity: Arc<Mutex<Identity>>,
    node_id: u64,
    incarnation: u64,
    /// Version of log entries that this replica knows.
    entries_version: u32,
    /// The same of every peer that was heard from, as it said last.
    peers: Arc<Mutex<BTreeMap<u64, u32>>>,
    log: Log,
    /// Whether this replica may vote: its disk is not newer than the cluster's memory of it.
    joined: Arc<AtomicBool>,
}

/// Why a peer's message is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stranger {
    #[error("the message does not say which replica it comes from")]
    Anonymous,
    #[error("the caller belongs to the cluster {found:?}, this is a replica of {ours:?}")]
    OtherCluster { found: String, ours: String },
    #[error(
        "the other replica is of the cluster with id {found:016x}, this one of that with id \
         {ours:016x}: the cluster was restored or recovered, and a disk or a program from before that \
         takes no part in it; a replica with an empty disk waits until `homeportctl raft add` adds it"
    )]
    OtherClusterId { found: u64, ours: u64 },
    #[error("the caller looks for node {wanted}, this is node {ours}")]
    OtherNode { wanted: u64, ours: u64 },
    #[error(
        "node {node_id} has another disk than before; a node id is not used again after its disk \
         was lost: remove it from the membership and add a new id"
    )]
    OtherDisk { node_id: u64 },
    #[error(
        "this is node {ours} with a new disk, the caller knows another one; a node id is not used \
         again after its disk was lost"
    )]
    NewDisk { ours: u64 },
    #[error("node {ours} has not joined yet: its disk is empty")]
    NotJoined { ours: u64 },
    #[error("node {node_id} is new, and {PEERS_MAX} node ids are known already")]
    TooMany { node_id: u64 },
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl From<Stranger> for Status {
    fn from(stranger: Stranger) -> Self {
        match &stranger {
            Stranger::Disk(_) | Stranger::NotJoined { .. } => {
                Self::unavailable(stranger.to_string())
            }
            _ => Self::failed_precondition(stranger.to_string()),
        }
    }
}

impl Guard {
    pub(crate) fn new(identity: &Identity, log: Log, entries_version: u32) -> Self {
        Self {
            cluster: identity.cluster.clone(),
            identity: Arc::new(Mutex::new(identity.clone())),
            node_id: identity.node_id,
            incarnation: identity.incarnation,
            entries_version,
            peers: Arc::default(),
            log,
            joined: Arc::new(AtomicBool::new(false)),
        }
    }

    /// From now on this replica votes.
    pub(crate) fn join(&self) {
        self.joined.store(true, Ordering::Relaxed);
    }

    /// The same for a first member, unless a leader of an existing cluster was faster.
    pub(crate) fn join_as_first(&self) -> bool {
        let identity = lock(&self.identity);
        let first = identity.cluster_id == 0;
        if first {
            self.join();
        }
        first
    }

    /// Which cluster of its name: drawn when one is restored or recovered, 0 before any.
    pub(crate) fn cluster_id(&self) -> u64 {
        lock(&self.identity).cluster_id
    }

    /// A replica with an empty disk becomes one of its leader's cluster, durably. Nobody else is asked
    /// for that: a candidate may come from before the cluster was restored.
    async fn follow(&self, cluster_id: u64) -> Result<(), DiskError> {
        if cluster_id == 0 || self.joined.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (identity, joined) = (Arc::clone(&self.identity), Arc::clone(&self.joined));
        let joining = blocking(move || {
            let mut identity = lock(&identity);
            if joined.load(Ordering::Relaxed) || identity.cluster_id != 0 {
                return Ok(());
            }
            tracing::info!(cluster_id = format!("{cluster_id:016x}"), "joining a cluster");
            identity.join_cluster(cluster_id)
        });
        joining.await.unwrap_or(Err(DiskError::Closed))
    }

    /// A replica whose disk was lost does not know for whom it has voted. So one with an empty
    /// disk votes only when every first member has said that it knows no other disk under this
    /// id, or once a leader that knows no other has sent it the log.
    pub(super) fn check_joined(&self) -> Result<(), Stranger> {
        if self.joined.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(Stranger::NotJoined { ours: self.node_id })
    }

    pub(crate) fn node_id(&self) -> u64 {
        self.node_id
    }

    /// Puts this replica's name on a call to `target`.
    pub(super) fn sign_call<T>(&self, target: u64, message: T) -> Request<T> {
        let caller = proto::Caller {
            cluster: self.cluster.clone(),
            node_id: self.node_id,
            target_id: target,
            incarnation: self.incarnation,
            target_incarnation: self.log.peer(target).unwrap_or(0),
            entries_version: self.entries_version,
            cluster_id: self.cluster_id(),
        };
        let mut request = Request::new(message);
        let value = MetadataValue::from_bytes(&caller.encode_to_vec());
        request.metadata_mut().insert_bin(CALLER, value);
        request
    }

    /// Puts this replica's name on an answer.
    pub(super) fn sign_answer<T>(&self, message: T) -> Response<T> {
        let replica = proto::Replica {
            node_id: self.node_id,
            incarnation: self.incarnation,
            entries_version: self.entries_version,
            cluster_id: self.cluster_id(),
        };
        let mut response = Response::new(message);
        let value = MetadataValue::from_bytes(&replica.encode_to_vec());
        response.metadata_mut().insert_bin(REPLICA, value);
        response
    }

    /// Checks who calls.
    pub(super) async fn check_call(&self, metadata: &MetadataMap) -> Result<u64, Stranger> {
        let caller: proto::Caller = binary(metadata, CALLER).ok_or(Stranger::Anonymous)?;
        self.check_caller(&caller)?;
        self.check_cluster_id(caller.cluster_id)?;
        self.check_disk(caller.node_id, caller.incarnation).await?;
        self.note(caller.node_id, caller.entries_version);
        Ok(caller.node_id)
    }

    /// Checks who calls as a leader.
    pub(super) async fn check_leader(&self, metadata: &MetadataMap) -> Result<u64, Stranger> {
        let caller: proto::Caller = binary(metadata, CALLER).ok_or(Stranger::Anonymous)?;
        self.check_caller(&caller)?;
        self.follow(caller.cluster_id).await?;
        self.check_call(metadata).await
    }

    fn check_caller(&self, caller: &proto::Caller) -> Result<(), Stranger> {
        if caller.cluster != self.cluster {
            let (found, ours) = (caller.cluster.clone(), self.cluster.clone());
            return Err(Stranger::OtherCluster { found, ours });
        }
        if caller.target_id != self.node_id {
            return Err(Stranger::OtherNode { wanted: caller.target_id, ours: self.node_id });
        }
        if ![0, self.incarnation].contains(&caller.target_incarnation) {
            return Err(Stranger::NewDisk { ours: self.node_id });
        }
        Ok(())
    }

    fn check_cluster_id(&self, found: u64) -> Result<(), Stranger> {
        let ours = self.cluster_id();
        if found == ours { Ok(()) } else { Err(Stranger::OtherClusterId { found, ours }) }
    }

    /// Checks who answered a call to `target`.
    pub(super) async fn check_answer(
        &self,
        target: u64,
        metadata: &MetadataMap,
    ) -> Result<(), Stranger> {
        let replica: proto::Replica = binary(metadata, REPLICA).ok_or(Stranger::Anonymous)?;
        if replica.node_id != target {
            return Err(Stranger::OtherNode { wanted: target, ours: replica.node_id });
        }
        self.check_cluster_id(replica.cluster_id)?;
        self.check_disk(replica.node_id, replica.incarnation).await?;
        self.note(replica.node_id, replica.entries_version);
        Ok(())
    }

    /// As many as there are known disks at most.
    fn note(&self, node_id: u64, entries_version: u32) {
        lock(&self.peers).insert(node_id, entries_version);
    }

    /// Whether this replica, or a peer when it was last heard from, knows log entries of a version.
    pub(crate) fn knows_entries(&self, node_id: u64, version: u32) -> bool {
        let peers = lock(&self.peers);
        let known = if node_id == self.node_id {
            Some(self.entries_version)
        } else {
            peers.get(&node_id).copied()
        };
        known.is_some_and(|known| known >= version)
    }

    async fn check_disk(&self, node_id: u64, incarnation: u64) -> Result<(), Stranger> {
        match self.log.peer(node_id) {
            Some(known) if known == incarnation => Ok(()),
            Some(_) => Err(Stranger::OtherDisk { node_id }),
            None if self.log.peer_count() >= PEERS_MAX => Err(Stranger::TooMany { node_id }),
            None => {
                tracing::info!(node_id, "first contact with a peer");
                Ok(self.log.remember_peer(node_id, incarnation).await?)
            }
        }
    }
}

fn binary<M: prost::Message + Default>(metadata: &MetadataMap, name: &str) -> Option<M> {
    let octets = metadata.get_bin(name)?.to_bytes().ok()?;
    M::decode(octets).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RaftConfig;
    use crate::disk::{SledEngine, claim};
    fn guard(dir: &std::path::Path, cluster: &str, node_id: u64) -> Guard {
        let config =
            RaftConfig::new(node_id, dir.join(node_id.to_string()), cluster, BTreeMap::new());
        let mut identity = claim(&config, node_id * 100).unwrap();
        let engine = SledEngine::open(&config.data_dir, &mut identity).unwrap();
        Guard::new(&identity, Log::open(Arc::new(engine), 1 << 20).unwrap(), 1)
    }

    #[tokio::test]
    async fn a_caller_is_who_it_says_or_is_refused_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let (one, mut two) = (guard(dir.path(), "blue", 1), guard(dir.path(), "blue", 2));
        let call = |from: &Guard, target| from.sign_call(target, ()).metadata().clone();
        assert_eq!(one.check_call(&call(&two, 1)).await, Ok(2));
        assert_eq!(
            one.check_call(&call(&two, 3)).await,
            Err(Stranger::OtherNode { wanted: 3, ours: 1 })
        );
        assert_eq!(one.check_call(&MetadataMap::new()).await, Err(Stranger::Anonymous));
        let foreign = guard(dir.path(), "green", 3);
        assert!(matches!(
            one.check_call(&call(&foreign, 1)).await,
            Err(Stranger::OtherCluster { .. })
        ));
        // It came back with another disk.
        two.incarnation += 1;
        assert_eq!(one.check_call(&call(&two, 1)).await, Err(Stranger::OtherDisk { node_id: 2 }));
        let answer = two.sign_answer(());
        assert_eq!(
            one.check_answer(2, answer.metadata()).await,
            Err(Stranger::OtherDisk { node_id: 2 })
        );
        for guard in [one, two, foreign] {
            guard.log.close().await;
        }
    }

    #[tokio::test]
    async fn only_an_empty_disk_follows_a_leader_into_another_cluster() {
        let dir = tempfile::tempdir().unwrap();
        let (leader, empty) = (guard(dir.path(), "blue", 1), guard(dir.path(), "blue", 2));
        let old = guard(dir.path(), "blue", 3);
        old.join();
        lock(&leader.identity).join_cluster(77).unwrap();
        let call = |from: &Guard, target| from.sign_call(target, ()).metadata().clone();
        let other = |found, ours| Err(Stranger::OtherClusterId { found, ours });
        // A candidate is no leader.
        assert_eq!(empty.check_call(&call(&leader, 2)).await, other(77, 0));
        assert_eq!(leader.check_call(&call(&empty, 1)).await, other(0, 77));
        assert_eq!(empty.check_leader(&call(&leader, 2)).await, Ok(1));
        assert_eq!(leader.check_answer(2, empty.sign_answer(()).metadata()).await, Ok(()));
        assert_eq!(leader.check_call(&call(&empty, 1)).await, Ok(2));
        assert!(!empty.join_as_first(), "it is no first member of a cluster of its own");
        let disk = crate::disk::identity_of(&dir.path().join("2/identity")).unwrap();
        assert_eq!(disk.cluster_id, 77);
        // A disk from before stays outside, whoever calls whom.
        assert_eq!(old.check_leader(&call(&leader, 3)).await, other(77, 0));
        assert_eq!(leader.check_leader(&call(&old, 1)).await, other(0, 77));
        assert_eq!(empty.check_leader(&call(&old, 2)).await, other(0, 77));
        let answer = old.sign_answer(());
        assert_eq!(leader.check_answer(3, answer.metadata()).await, other(0, 77).map(|_: u64| ()));
        for guard in [leader, empty, old] {
            guard.log.close().await;
        }
    }

    #[tokio::test]
    async fn what_a_peer_knows_is_what_it_said_last() {
        let dir = tempfile::tempdir().unwrap();
        let (one, mut two) = (guard(dir.path(), "blue", 1), guard(dir.path(), "blue", 2));
        assert!(one.knows_entries(1, 1) && !one.knows_entries(1, 2), "itself");
        assert!(!one.knows_entries(2, 0), "not heard from yet");
        one.check_call(two.sign_call(1, ()).metadata()).await.unwrap();
        assert!(one.knows_entries(2, 1) && !one.knows_entries(2, 2));
        // Upgraded, and taken back to a program that says nothing of it.
        two.entries_version = 2;
        one.check_answer(2, two.sign_answer(()).metadata()).await.unwrap();
        assert!(one.knows_entries(2, 2));
        two.entries_version = 0;
        one.check_answer(2, two.sign_answer(()).metadata()).await.unwrap();
        assert!(one.knows_entries(2, 0) && !one.knows_entries(2, 1));
        for guard in [one, two] {
            guard.log.close().await;
        }
    }

    #[tokio::test]
    async fn invented_node_ids_do_not_fill_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let (one, mut caller) = (guard(dir.path(), "blue", 1), guard(dir.path(), "blue", 2));
        let first = u64::try_from(PEERS_MAX).unwrap();
        for node_id in 0..first {
            one.log.remember_peer(node_id + 10, 1).await.unwrap();
        }
        caller.node_id = first + 10;
        let call = caller.sign_call(1, ());
        assert_eq!(
            one.check_call(call.metadata()).await,
            Err(Stranger::TooMany { node_id: first + 10 })
        );
        for guard in [one, caller] {
            guard.log.close().await;
        }
    }
}
