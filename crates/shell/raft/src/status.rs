//! What a node says about itself.

use crate::network::Heard;
use crate::types::RaftMetrics;
use openraft::{Instant as _, ServerState};
use std::time::Duration;

/// What a replica does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Receives entries, does not vote.
    Learner,
    /// Receives entries and votes.
    Follower,
    /// Stands for election.
    Candidate,
    /// Orders commands.
    Leader,
    /// Does nothing any more.
    Stopped,
}

impl From<ServerState> for Role {
    fn from(state: ServerState) -> Self {
        match state {
            ServerState::Learner => Self::Learner,
            ServerState::Follower => Self::Follower,
            ServerState::Candidate => Self::Candidate,
            ServerState::Leader => Self::Leader,
            ServerState::Shutdown => Self::Stopped,
        }
    }
}

/// A leader and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// Its node id.
    pub node_id: u64,
    /// `host:port`; empty when the membership does not know it.
    pub address: String,
}

/// Who leads, as far as this replica knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leadership {
    /// The term. In one term two replicas may lead one after the other, so a leader is named by
    /// term and node id together.
    pub term: u64,
    /// The leader, while it is heard from. `None` after a restart until it speaks.
    pub leader: Option<Leader>,
    /// It is this replica, and a majority has confirmed it since it was elected.
    pub local: bool,
}

/// A replica's state at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its id.
    pub node_id: u64,
    /// What it does.
    pub role: Role,
    /// The term it is in.
    pub term: u64,
    /// The leader that it leads as, or has heard from lately.
    pub leader: Option<Leader>,
    /// Index of the last entry of its log.
    pub last_log: Option<u64>,
    /// Index up to which it knows entries to be committed.
    pub committed: Option<u64>,
    /// Index up to which its state machine has applied entries: the revision.
    pub applied: Option<u64>,
    /// Index of the last entry in its snapshot.
    pub snapshot: Option<u64>,
    /// Index up to which its log was purged.
    pub purged: Option<u64>,
    /// Members that vote, with their addresses.
    pub voters: Vec<Leader>,
    /// Members that only receive entries.
    pub learners: Vec<Leader>,
    /// On a leader: index up to which each member's log matches.
    pub matched: Vec<(u64, Option<u64>)>,
    /// On a leader: for how long each other member has acknowledged nothing; `None` if it never has.
    pub silent: Vec<(u64, Option<Duration>)>,
}

pub(crate) fn leadership(metrics: &RaftMetrics, heard: &Heard) -> Leadership {
    let leader = leader(metrics, heard);
    let local = metrics.state == ServerState::Leader
        && metrics.last_quorum_acked.is_some()
        && leader.as_ref().is_some_and(|leader| leader.node_id == metrics.id);
    Leadership { term: metrics.current_term, leader, local }
}

/// The leader of the latest vote, as long as it is known to lead.
fn leader(metrics: &RaftMetrics, heard: &Heard) -> Option<Leader> {
    let node_id = metrics.current_leader?;
    let leads = if node_id == metrics.id {
        metrics.state == ServerState::Leader
    } else {
        heard.recently(node_id)
    };
    if !leads {
        return None;
    }
    let node = metrics.membership_config.membership().get_node(&node_id);
    Some(Leader { node_id, address: node.map(|node| node.addr.clone()).unwrap_or_default() })
}

pub(crate) fn status(metrics: &RaftMetrics, heard: &Heard) -> NodeStatus {
    let membership = metrics.membership_config.membership();
    let member = |node_id: u64| {
        let node = membership.get_node(&node_id);
        Leader { node_id, address: node.map(|node| node.addr.clone()).unwrap_or_default() }
    };
    NodeStatus {
        node_id: metrics.id,
        role: metrics.state.into(),
        term: metrics.current_term,
        leader: leader(metrics, heard),
        last_log: metrics.last_log_index,
        committed: metrics.local_committed.map(|log_id| log_id.index()),
        applied: metrics.last_applied.map(|log_id| log_id.index()),
        snapshot: metrics.snapshot.map(|log_id| log_id.index()),
        purged: metrics.purged.map(|log_id| log_id.index()),
        voters: membership.voter_ids().map(member).collect(),
        learners: membership.learner_ids().map(member).collect(),
        matched: metrics
            .replication
            .iter()
            .flatten()
            .map(|(&node_id, matched)| (node_id, matched.map(|log_id| log_id.index())))
            .collect(),
        silent: metrics
            .heartbeat
            .iter()
            .flatten()
            .filter(|(node_id, _)| **node_id != metrics.id)
            .map(|(&node_id, heard)| (node_id, heard.map(|heard| heard.elapsed())))
            .collect(),
    }
}
