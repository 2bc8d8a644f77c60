//! Whether this replica leads at this moment: what a linearizable read needs to know.
//!
//! openraft's own ReadIndex believes too much. It takes the answer to one append for an answer to every append
//! that ends at the same log entry, those included that were sent later and never answered. A leader that heard
//! nothing for a second, and then the answers from before, served what a later leader had already replaced
//! (`cargo xtask linearizability --only leader_deaf`). So each read asks by calls of its own, and counts only
//! answers to these.

use crate::machine::Machine;
use crate::network::{Peers, Purpose};
use crate::state_machine::StateMachine;
use crate::types::Types;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use openraft::async_runtime::WatchReceiver as _;
use openraft::network::{NetAppend as _, RPCOption};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use openraft::{Raft, ServerState};
use std::collections::BTreeSet;
use std::time::Duration;

/// Asks every voter whether it knows a later leader. True once a majority has said no to a question that
/// was asked after this call; false when one says yes, or no majority answers within the time.
pub(crate) async fn leads<S: StateMachine>(
    raft: &Raft<Types, Machine<S>>,
    peers: &Peers,
    within: Duration,
) -> bool {
    let metrics = raft.metrics().borrow_watched().clone();
    if metrics.state != ServerState::Leader {
        return false;
    }
    let membership = metrics.membership_config.membership();
    let configurations = membership.get_joint_config();
    let mut asked = FuturesUnordered::new();
    for id in membership.voter_ids().filter(|id| *id != metrics.id) {
        let Some(node) = membership.get_node(&id) else { continue };
        let mut peer = peers.connect(id, &node.addr, Purpose::Heartbeat);
        let question = AppendEntriesRequest {
            vote: metrics.vote,
            // Nothing is claimed about the log: this is about the vote.
            prev_log_id: None,
            leader_commit: None,
            entries: Vec::new(),
        };
        asked
            .push(async move { (id, peer.append_entries(question, RPCOption::new(within)).await) });
    }
    let mut agree = BTreeSet::from([metrics.id]);
    while !is_majority(configurations, &agree) {
        match asked.next().await {
            Some((_, Ok(AppendEntriesResponse::HigherVote(_)))) | None => return false,
            Some((id, Ok(_))) => drop(agree.insert(id)),
            Some((_, Err(_))) => {}
        }
    }
    true
}

/// Of each configuration, while the membership changes.
fn is_majority(configurations: &[BTreeSet<u64>], agree: &BTreeSet<u64>) -> bool {
    configurations.iter().all(|voters| voters.intersection(agree).count() * 2 > voters.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_is_one_of_each_configuration() {
        let set = |ids: &[u64]| ids.iter().copied().collect::<BTreeSet<_>>();
        let (three, four) = (vec![set(&[1, 2, 3])], vec![set(&[1, 2, 3, 4])]);
        let changing = vec![set(&[1, 2, 3]), set(&[1, 4, 5])];
        for (configurations, agree, expected) in [
            (&three, &[1][..], false),
            (&three, &[1, 2], true),
            (&three, &[1, 4], false),
            (&four, &[1, 2], false),
            (&vec![set(&[1])], &[1], true),
            (&changing, &[1, 2], false),
            (&changing, &[1, 2, 5], true),
        ] {
            assert_eq!(is_majority(configurations, &set(agree)), expected, "{configurations:?}");
        }
    }
}
