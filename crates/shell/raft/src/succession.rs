//! Who follows a leader whose process has ended, without waiting for an election timeout.
//!
//! The kernel closes the sockets of a process that ends, however it ends. A follower whose append stream
//! from the leader ends asks at the leader's address; when the connection is refused, nobody is there to
//! lead any more, and it stands for election the way it does when a leader hands over: voters grant that
//! before their lease of the old leader has run out. Whether they grant it is still decided by their
//! votes and logs, so a leader that is wrongly given up costs an election and nothing else. Leases are
//! not read from (see [`Node::read_index`](crate::Node::read_index)).
//!
//! A machine that loses its power, or its network, refuses nothing: then the election timeout decides.

use crate::limits::{
    SUCCESSION_ASKS_MAX, SUCCESSION_PAUSE, SUCCESSION_ROUND, SUCCESSION_ROUNDS_MAX,
    SUCCESSION_STAGGER,
};
use crate::machine::Machine;
use crate::network::{Heard, Peers};
use crate::state_machine::StateMachine;
use crate::types::{RaftMetrics, Types, Vote};
use openraft::Raft;
use openraft::async_runtime::WatchReceiver as _;
use openraft::raft::TransferLeaderRequest;
use std::sync::Arc;
use tokio::time::sleep;

pub(crate) struct Succession<S: StateMachine> {
    pub(crate) raft: Raft<Types, Machine<S>>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) heard: Arc<Heard>,
}

/// The leader that this replica may follow, and after how many others.
#[derive(Debug, PartialEq, Eq)]
struct Stand {
    vote: Vote,
    leader_address: String,
    place: u32,
}

impl<S: StateMachine> Succession<S> {
    /// Runs until it is dropped, or openraft has ended.
    pub(crate) async fn run(self) {
        loop {
            let leader = self.heard.left().await;
            if self.succeed(leader).await.is_err() {
                return;
            }
        }
    }

    async fn succeed(&self, leader: u64) -> Result<(), openraft::errors::Fatal<Types>> {
        let Some(stand) = self.stand(leader) else { return Ok(()) };
        if !self.is_gone(leader, &stand).await {
            return Ok(());
        }
        self.heard.forget(leader);
        tracing::info!(leader, "the leader's process has ended: standing for election");
        for _ in 0..SUCCESSION_ROUNDS_MAX {
            let vote = self.vote();
            // One after the other: two that stand at once would share the votes.
            sleep(SUCCESSION_STAGGER * stand.place).await;
            if vote == self.vote() {
                let request = TransferLeaderRequest::new(vote, self.id(), None);
                if let Err(reason) = self.raft.handle_transfer_leader(request).await? {
                    tracing::debug!(%reason, "not standing for election");
                }
            }
            sleep(SUCCESSION_ROUND).await;
            if self.is_followed(&stand) {
                break;
            }
        }
        Ok(())
    }

    fn id(&self) -> u64 {
        self.raft.metrics().borrow_watched().id
    }

    fn vote(&self) -> Vote {
        self.raft.metrics().borrow_watched().vote
    }

    /// Somebody leads by a later vote.
    fn is_followed(&self, stand: &Stand) -> bool {
        let vote = self.vote();
        vote.is_committed() && vote != stand.vote
    }

    fn stand(&self, leader: u64) -> Option<Stand> {
        stand(&self.raft.metrics().borrow_watched(), leader)
    }

    /// Nobody listens where the leader was. Its listener may be closed a moment after its connections.
    async fn is_gone(&self, leader: u64, stand: &Stand) -> bool {
        for _ in 0..SUCCESSION_ASKS_MAX {
            if self.peers.is_refused(leader, &stand.leader_address).await {
                return true;
            }
            if self.stand(leader).as_ref() != Some(stand) {
                return false;
            }
            sleep(SUCCESSION_PAUSE).await;
        }
        false
    }
}

fn stand(metrics: &RaftMetrics, leader: u64) -> Option<Stand> {
    let membership = metrics.membership_config.membership();
    let mut others = membership.voter_ids().filter(|id| *id != leader);
    if metrics.current_leader != Some(leader) || metrics.id == leader {
        return None;
    }
    let place = others.position(|id| id == metrics.id)?;
    let leader_address = membership.get_node(&leader)?.addr.clone();
    Some(Stand { vote: metrics.vote, leader_address, place: u32::try_from(place).ok()? })
}
