//! Who speaks to whom: each call and each answer names the cluster, the replica and its disk, and
//! is refused when one of them is not who it should be.
//!
//! A replica that lost its disk and comes back under its old id has forgotten its votes and what
//! it acknowledged; counted in a majority it could lose committed entries. So each replica
//! remembers the incarnation of every peer's disk, durably, and takes no other.

use crate::disk::{Identity, Log};
use crate::error::DiskError;
use crate::limits::PEERS_MAX;
use crate::proto;
use prost::Message as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Request, Response, Status};

const CALLER: &str = "homeport-caller-bin";
const REPLICA: &str = "homeport-replica-bin";

/// Checks peers, and tells them who this replica is.
#[derive(Clone)]
pub(crate) struct Guard {
    cluster: String,
    node_id: u64,
    incarnation: u64,
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
    pub(crate) fn new(identity: &Identity, log: Log) -> Self {
        Self {
            cluster: identity.cluster.clone(),
            node_id: identity.node_id,
            incarnation: identity.incarnation,
            log,
            joined: Arc::new(AtomicBool::new(false)),
        }
    }

    /// From now on this replica votes.
    pub(crate) fn join(&self) {
        self.joined.store(true, Ordering::Relaxed);
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
        };
        let mut request = Request::new(message);
        let value = MetadataValue::from_bytes(&caller.encode_to_vec());
        request.metadata_mut().insert_bin(CALLER, value);
        request
    }

    /// Puts this replica's name on an answer.
    pub(super) fn sign_answer<T>(&self, message: T) -> Response<T> {
        let replica = proto::Replica { node_id: self.node_id, incarnation: self.incarnation };
        let mut response = Response::new(message);
        let value = MetadataValue::from_bytes(&replica.encode_to_vec());
        response.metadata_mut().insert_bin(REPLICA, value);
        response
    }

    /// Checks who calls.
    pub(super) async fn check_call(&self, metadata: &MetadataMap) -> Result<u64, Stranger> {
        let caller: proto::Caller = binary(metadata, CALLER).ok_or(Stranger::Anonymous)?;
        if caller.cluster != self.cluster {
            let ours = self.cluster.clone();
            return Err(Stranger::OtherCluster { found: caller.cluster, ours });
        }
        if caller.target_id != self.node_id {
            return Err(Stranger::OtherNode { wanted: caller.target_id, ours: self.node_id });
        }
        if ![0, self.incarnation].contains(&caller.target_incarnation) {
            return Err(Stranger::NewDisk { ours: self.node_id });
        }
        self.check_disk(caller.node_id, caller.incarnation).await?;
        Ok(caller.node_id)
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
        self.check_disk(replica.node_id, replica.incarnation).await
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
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn guard(dir: &std::path::Path, cluster: &str, node_id: u64) -> Guard {
        let config =
            RaftConfig::new(node_id, dir.join(node_id.to_string()), cluster, BTreeMap::new());
        let mut identity = claim(&config, node_id * 100).unwrap();
        let engine = SledEngine::open(&config.data_dir, &mut identity).unwrap();
        Guard::new(&identity, Log::open(Arc::new(engine), 1 << 20).unwrap())
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
