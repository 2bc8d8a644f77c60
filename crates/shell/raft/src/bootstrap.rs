//! How a replica with an empty disk begins: only when every other first member has said that it
//! knows no other disk under this id.
//!
//! An empty disk under a known id has lost its votes and what it acknowledged. The peers that met
//! the old disk leave it out by themselves; but two followers may never have met. If one of them
//! lost its disk while the leader is away, the two would be a majority that lacks what the leader
//! and the lost disk had acknowledged. So all first members meet before the first election, and
//! each remembers the others' disks from then on.

use crate::config::RaftConfig;
use crate::disk::Log;
use crate::error::{StartError, StopReason};
use crate::limits::{HELLO_PAUSE, HELLO_TOLD_EVERY};
use crate::machine::Machine;
use crate::network::{Connection, Guard, Peers, Purpose, Welcome};
use crate::state_machine::StateMachine;
use crate::types::Types;
use openraft::errors::{InitializeError, RaftError};
use openraft::storage::RaftLogStorage as _;
use openraft::{BasicNode, Raft, RaftLogReader as _};
use std::collections::BTreeMap;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What a replica with an empty disk still has to do.
pub(crate) struct Bootstrap {
    members: BTreeMap<u64, BasicNode>,
    others: Vec<Connection>,
    guard: Guard,
}

/// Whether nothing was ever written to the log: neither an entry nor a vote.
pub(crate) async fn is_empty(log: &mut Log) -> Result<bool, StartError> {
    let inconsistent = |e: std::io::Error| StartError::Inconsistent { detail: e.to_string() };
    let state = log.get_log_state().await.map_err(inconsistent)?;
    let vote = log.read_vote().await.map_err(inconsistent)?;
    Ok(state.last_log_id.is_none() && vote.is_none())
}

impl Bootstrap {
    /// `None` for a replica that waits to be added by a leader.
    pub(crate) fn new(config: &RaftConfig, guard: &Guard, peers: &Peers) -> Option<Self> {
        if !config.peers.contains_key(&config.node_id) {
            return None;
        }
        let others = config.peers.iter().filter(|(node_id, _)| **node_id != config.node_id);
        Some(Self {
            members: config.peers.iter().map(|(&id, at)| (id, BasicNode::new(at))).collect(),
            others: others.map(|(&id, at)| peers.connect(id, at, Purpose::Heartbeat)).collect(),
            guard: guard.clone(),
        })
    }

    /// Meets the others, then writes the first membership. Ends early, and says so through
    /// `refused`, when one of them knows another disk.
    pub(crate) fn spawn<S: StateMachine>(
        self,
        raft: Raft<Types, Machine<S>>,
        refused: watch::Sender<Option<StopReason>>,
    ) -> JoinHandle<()> {
        tokio::spawn(async move {
            if let Err(reason) = self.run(&raft).await {
                refused.send_replace(Some(reason));
            }
        })
    }

    async fn run<S: StateMachine>(self, raft: &Raft<Types, Machine<S>>) -> Result<(), StopReason> {
        // Side by side: each may take until its process has started.
        let meeting = self.others.iter().map(|peer| meet(peer, self.guard.node_id()));
        futures_util::future::try_join_all(meeting).await?;
        if !self.guard.join_as_first() {
            tracing::info!("this replica was added to a cluster that was there before");
            return Ok(());
        }
        match raft.initialize(self.members).await {
            Ok(()) => tracing::info!("first start: membership written"),
            // A leader was faster and has sent its log.
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
            Err(RaftError::APIError(error @ InitializeError::NotInMembers(_))) => {
                tracing::error!(%error, "the first membership was not written");
            }
            // The watcher tells why the core has ended.
            Err(RaftError::Fatal(fatal)) => tracing::debug!(%fatal, "the core has ended"),
        }
        Ok(())
    }
}

/// Asks until there is an answer.
async fn meet(peer: &Connection, ours: u64) -> Result<(), StopReason> {
    for attempt in 0u32.. {
        match peer.hello().await {
            Ok(Welcome::Yes) => break,
            Ok(Welcome::OtherDisk) => {
                return Err(StopReason::NewDisk { node_id: ours, peer: peer.target() });
            }
            Err(cause) if attempt % HELLO_TOLD_EVERY == HELLO_TOLD_EVERY - 1 => {
                let peer = peer.target();
                tracing::warn!(peer, cause, "the first start waits for every first member");
            }
            Err(cause) => tracing::debug!(peer = peer.target(), cause, "no answer yet"),
        }
        tokio::time::sleep(HELLO_PAUSE).await;
    }
    Ok(())
}
