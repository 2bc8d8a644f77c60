//! The way back from a damaged disk, as the refusal describes it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it fails")]

mod toy;

use homeport_raft::Node;
use std::collections::BTreeSet;
use std::time::Duration;
use toy::{Register, Replica, addresses, config, eventually, leader, propose};

const LONG: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_with_a_damaged_disk_is_replaced_under_a_new_id() {
    let dir = tempfile::tempdir().unwrap();
    let peers = addresses(3);
    let configs: Vec<_> = (1..=3)
        .map(|id| {
            let mut config = config(id, dir.path(), &peers);
            (config.snapshot_after_entries, config.tail_entries) = (20, 5);
            config
        })
        .collect();
    let mut replicas = Vec::new();
    for config in &configs {
        replicas.push(Replica::start(config.clone()).await);
    }
    let all: Vec<_> = replicas.iter().collect();
    let mut last = 0;
    for round in 0..50u32 {
        last = propose(&all, format!("command {round}").as_bytes()).await.index;
    }
    for replica in &all {
        eventually("a purge", LONG, || replica.node.status().purged.filter(|&at| at > 0)).await;
        eventually("the last command", LONG, || {
            (*replica.node.applied().borrow() >= last).then_some(())
        })
        .await;
    }
    let damaged = (leader(&all).await + 1) % 3;
    drop(all);
    replicas.remove(damaged).stop().await;

    // It does not start, and what it says is what helps.
    for file in ["log/db", "journal/0"] {
        let path = configs[damaged].data_dir.join(file);
        let mut octets = std::fs::read(&path).unwrap();
        octets[40] ^= 1;
        std::fs::write(&path, octets).unwrap();
    }
    let refused = Node::start(configs[damaged].clone(), Register::default()).await.err().unwrap();
    let refused = refused.to_string();
    assert!(refused.contains("journal") && refused.contains("new node id"), "{refused}");

    let all: Vec<_> = replicas.iter().collect();
    let at = leader(&all).await;
    let others: BTreeSet<u64> = (1..=3).filter(|id| *id != configs[damaged].node_id).collect();
    all[at].node.set_voters(others.clone()).await.unwrap();
    let mut fresh = configs[damaged].clone();
    let address = addresses(1).remove(&1).unwrap();
    fresh.node_id = 4;
    fresh.data_dir = dir.path().join("node-4");
    fresh.peers.clear();
    let healed = Replica::start_at(fresh, address.parse().unwrap()).await;
    let at = leader(&all).await;
    all[at].node.add_learner(4, &address).await.unwrap();
    all[at].node.set_voters(others.into_iter().chain([4]).collect()).await.unwrap();
    let last = propose(&all, b"healed").await.index;
    eventually("everything", LONG, || (*healed.node.applied().borrow() >= last).then_some(()))
        .await;
    let expected = all[leader(&all).await].node.read(Clone::clone);
    assert_eq!(healed.node.read(Clone::clone), expected);
    assert!(healed.node.read(|state| state.holds(b"command 0") && state.holds(b"healed")));

    // It counts: with it and one of the old ones there is a majority.
    let leads = leader(&all).await;
    let kept = replicas.remove(leads);
    for replica in replicas {
        replica.stop().await;
    }
    propose(&[&kept, &healed], b"with the new one").await;
    for replica in [kept, healed] {
        replica.stop().await;
    }
}
