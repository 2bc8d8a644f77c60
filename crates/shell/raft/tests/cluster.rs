//! Three replicas in one process, over loopback.

mod toy;

use bytes::Bytes;
use homeport_raft::{ProposeError, Role};
use std::time::Duration;
use toy::{Replica, addresses, config, eventually, leader, propose};

const LONG: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_reach_every_replica_and_survive_the_leader() {
    let dir = tempfile::tempdir().unwrap();
    let peers = addresses(3);
    let mut replicas = Vec::new();
    for id in 1..=3 {
        replicas.push(Replica::start(config(id, dir.path(), &peers)).await);
    }
    let written = propose(&replicas.iter().collect::<Vec<_>>(), b"one").await;
    assert_eq!(written.reply, "one");
    for replica in &replicas {
        eventually("the command everywhere", LONG, || {
            (*replica.node.applied().borrow() >= written.index).then_some(())
        })
        .await;
        assert!(replica.node.read(|state| state.holds(b"one")));
    }

    // A follower names the leader.
    let first = leader(&replicas.iter().collect::<Vec<_>>()).await;
    let follower = (first + 1) % 3;
    let refused = replicas[follower].node.propose(Bytes::from_static(b"x")).await.unwrap_err();
    let leader_id = replicas[first].node.status().node_id;
    let expected = Some((leader_id, peers[&leader_id].clone()));
    assert_eq!(refused, ProposeError::NotLeader { leader: expected });

    // The leader goes; another takes over, with everything.
    let gone = replicas.remove(first);
    gone.stop().await;
    let second = leader(&replicas.iter().collect::<Vec<_>>()).await;
    let node = &replicas[second].node;
    let index = node.read_index().await.unwrap();
    assert!(index > written.index);
    assert!(node.read(|state| state.holds(b"one")));
    let two = propose(&replicas.iter().collect::<Vec<_>>(), b"two").await;

    // The one that was away catches up.
    let back = Replica::start(config(leader_id, dir.path(), &peers)).await;
    eventually("catching up", LONG, || (*back.node.applied().borrow() >= two.index).then_some(()))
        .await;
    assert!(back.node.read(|state| state.holds(b"two")));
    assert_eq!(back.node.status().role, Role::Follower);
    replicas.push(back);
    for replica in replicas {
        replica.stop().await;
    }
}
