//! Three replicas in one process, over loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it fails")]

mod toy;

use bytes::Bytes;
use homeport_raft::{Node, ProposeError, RaftConfig, Role, StartError, StopReason};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};
use toy::{Register, Replica, addresses, config, eventually, leader, propose};

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
    // Who was elected just now may not have heard its majority again yet.
    let confirmed = async {
        loop {
            match node.read_index().await {
                Err(ProposeError::NoQuorum) => tokio::time::sleep(Duration::from_millis(10)).await,
                index => return index,
            }
        }
    };
    let index = tokio::time::timeout(LONG, confirmed).await.unwrap().unwrap();
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

async fn three(dir: &Path, change: impl Fn(&mut RaftConfig)) -> (Vec<Replica>, Vec<RaftConfig>) {
    let peers = addresses(3);
    let (mut replicas, mut configs) = (Vec::new(), Vec::new());
    for id in 1..=3 {
        let mut config = config(id, dir, &peers);
        change(&mut config);
        replicas.push(Replica::start(config.clone()).await);
        configs.push(config);
    }
    (replicas, configs)
}

/// For tests that are about one leader: a busy machine must not make them elect another.
fn patient(config: &mut RaftConfig) {
    (config.election_timeout_ms_min, config.election_timeout_ms_max) = (3000, 6000);
}

fn all(replicas: &[Replica]) -> Vec<&Replica> {
    replicas.iter().collect()
}

async fn reached(replica: &Replica, index: u64) {
    let mut applied = replica.node.applied();
    let reached = tokio::time::timeout(LONG, applied.wait_for(|applied| *applied >= index)).await;
    reached.expect("catching up takes too long").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_lagged_beyond_the_purge_gets_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let (mut replicas, mut configs) = three(dir.path(), |config| {
        config.snapshot_after_entries = 50;
        config.tail_entries = 10;
    })
    .await;
    propose(&all(&replicas), b"before").await;
    let at = leader(&all(&replicas)).await;
    let behind = (at + 1) % 3;
    let config = configs.remove(behind);
    replicas.remove(behind).stop().await;

    // Large enough for several chunks and messages.
    let mut last = 0;
    for round in 0..150u32 {
        let command = [format!("{round}:").into_bytes(), vec![b'x'; 20_000]].concat();
        last = propose(&all(&replicas), &command).await.index;
    }
    for replica in &replicas {
        eventually("a purge", LONG, || replica.node.status().purged.filter(|&at| at > 60)).await;
    }

    let back = Replica::start(config.clone()).await;
    reached(&back, last).await;
    // The status follows a little later than the state.
    eventually("a snapshot in the status", LONG, || back.node.status().snapshot).await;
    let expected = replicas[0].node.read(Clone::clone);
    assert_eq!(back.node.read(Clone::clone), expected);
    let snapshots = std::fs::read_dir(config.data_dir.join("snapshots")).unwrap().count();
    assert_eq!(snapshots, 1, "old ones are removed");

    // It votes and restarts like any other, from the snapshot it was given.
    back.stop().await;
    let back = Replica::start(config).await;
    replicas.push(back);
    last = propose(&all(&replicas), b"after").await.index;
    for replica in &replicas {
        reached(replica, last).await;
        assert_eq!(replica.node.read(Clone::clone), replicas[0].node.read(Clone::clone));
    }
    for replica in replicas {
        replica.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_cluster_has_everything_before_it_has_a_leader() {
    let dir = tempfile::tempdir().unwrap();
    let (replicas, configs) = three(dir.path(), |config| {
        config.snapshot_after_entries = 20;
        config.tail_entries = 5;
    })
    .await;
    let mut last = 0;
    for round in 0..70u32 {
        last = propose(&all(&replicas), format!("command {round}").as_bytes()).await.index;
    }
    for replica in &replicas {
        reached(replica, last).await;
    }
    eventually("a snapshot", LONG, || replicas[0].node.status().snapshot).await;
    let expected = replicas[0].node.read(Clone::clone);
    for replica in replicas {
        replica.stop().await;
    }
    // One alone cannot be elected: what it has comes from its own disk.
    let alone = Replica::start(configs[0].clone()).await;
    let found = alone.node.read(Clone::clone);
    assert_eq!(found.commands, expected.commands);
    assert_eq!(*alone.node.applied().borrow(), last);
    assert_eq!(
        alone.node.propose(Bytes::from_static(b"x")).await,
        Err(ProposeError::NotLeader { leader: None }),
        "the vote on the disk names a leader, but nobody has heard from it"
    );
    assert_eq!(alone.node.status().leader, None);
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_says_how_long_each_member_is_silent_and_a_replica_what_its_disk_does() {
    let dir = tempfile::tempdir().unwrap();
    let (mut replicas, _configs) = three(dir.path(), |_| {}).await;
    let at = leader(&all(&replicas)).await;
    let leads = replicas.remove(at);
    let (sender, syncs) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    leads.node.observe_syncs(move |took| {
        // Nobody asks any more when the test ends.
        let _heard = sender.lock().unwrap().send(took);
    });
    // Who was never heard is not silent for a time that anybody knows.
    eventually("each to be heard", LONG, || {
        let status = leads.node.status();
        let is_heard = |it: &(u64, Option<Duration>)| it.1.is_some();
        (status.silent.len() == 2 && status.silent.iter().all(is_heard)).then_some(())
    })
    .await;
    let gone = replicas.remove(0);
    let gone_id = gone.node.status().node_id;
    gone.stop().await;
    propose(&[&leads, &replicas[0]], b"one").await;
    assert!(syncs.try_recv().unwrap() > Duration::ZERO, "what is applied was made durable");
    eventually("a look at the disk", LONG, || leads.node.disk_free().filter(|free| *free > 0))
        .await;
    eventually("who is silent", LONG, || {
        let status = leads.node.status();
        assert_eq!(status.silent.len(), 2, "the others: {status:?}");
        let silent = |it: &&(u64, Option<Duration>)| it.1 > Some(Duration::from_secs(1));
        let silent: Vec<u64> = status.silent.iter().filter(silent).map(|it| it.0).collect();
        (silent == [gone_id]).then_some(())
    })
    .await;
    assert!(replicas[0].node.status().silent.is_empty(), "a follower does not know");
    leads.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_falls_silent_is_named_no_more_and_again_when_it_speaks() {
    let dir = tempfile::tempdir().unwrap();
    let (mut replicas, mut configs) = three(dir.path(), |_| {}).await;
    propose(&all(&replicas), b"one").await;
    let at = leader(&all(&replicas)).await;
    let leader_id = replicas[at].node.status().node_id;
    let follower = replicas.remove((at + 1) % 3);
    let follower_config = configs.remove((at + 1) % 3);
    let known = |node: &Node<Register>| node.leadership().borrow().leader.clone();
    eventually("the leader", LONG, || known(&follower.node).filter(|l| l.node_id == leader_id))
        .await;
    for replica in replicas {
        replica.stop().await;
    }
    // It cannot be elected alone, so its vote goes on naming the old leader.
    eventually("no leader", LONG, || known(&follower.node).is_none().then_some(())).await;
    assert_eq!(follower.node.status().leader, None);
    let refused = follower.node.propose(Bytes::from_static(b"x")).await;
    assert_eq!(refused, Err(ProposeError::NotLeader { leader: None }));
    follower.stop().await;

    let mut replicas = Vec::new();
    for config in configs {
        replicas.push(Replica::start(config).await);
    }
    leader(&all(&replicas)).await;
    let back = Replica::start(follower_config).await;
    eventually("a leader", LONG, || known(&back.node)).await;
    back.stop().await;
    for replica in replicas {
        replica.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_proposals_at_once_are_each_answered_with_their_own_reply() {
    let dir = tempfile::tempdir().unwrap();
    let (replicas, _) = three(dir.path(), patient).await;
    propose(&all(&replicas), b"first").await;
    let at = leader(&all(&replicas)).await;
    let mut waiting = tokio::task::JoinSet::new();
    for client in 0..500u32 {
        let node = replicas[at].node.clone();
        waiting.spawn(async move {
            let command = Bytes::from(format!("client {client}"));
            let proposed = node.propose(command.clone()).await.unwrap();
            assert_eq!(proposed.reply, command);
            proposed.index
        });
    }
    let mut indices: Vec<_> = waiting.join_all().await;
    indices.sort_unstable();
    indices.dedup();
    assert_eq!(indices.len(), 500);
    let too_large = Bytes::from(vec![0; homeport_raft::limits::COMMAND_OCTETS_MAX + 1]);
    let refused = replicas[at].node.propose(too_large).await;
    assert!(matches!(refused, Err(ProposeError::TooLarge { .. })));
    // The largest command goes through all of it.
    let largest = Bytes::from(vec![7; homeport_raft::limits::COMMAND_OCTETS_MAX]);
    let last = replicas[at].node.propose(largest.clone()).await.unwrap().index;
    for replica in &replicas {
        reached(replica, last).await;
        assert!(replica.node.read(|state| state.holds(&largest)));
    }
    for replica in replicas {
        replica.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_without_a_majority_says_so_and_the_outcome_is_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let (mut replicas, _) = three(dir.path(), |config| {
        config.propose_timeout = Duration::from_millis(700);
    })
    .await;
    propose(&all(&replicas), b"before").await;
    let at = leader(&all(&replicas)).await;
    let alone = replicas.remove(at);
    for other in replicas {
        other.stop().await;
    }
    let outcome = alone.node.propose(Bytes::from_static(b"lost?")).await.unwrap_err();
    assert!(matches!(outcome, ProposeError::Unknown | ProposeError::NoQuorum), "{outcome}");
    tokio::time::sleep(Duration::from_millis(400)).await;
    // By now its lease has run out: nothing more is written.
    let outcome = alone.node.propose(Bytes::from_static(b"refused")).await.unwrap_err();
    assert_eq!(outcome, ProposeError::NoQuorum);
    let outcome = alone.node.read_index().await.unwrap_err();
    assert_eq!(outcome, ProposeError::NoQuorum);
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_moves_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let (replicas, _) = three(dir.path(), patient).await;
    propose(&all(&replicas), b"one").await;
    let from = leader(&all(&replicas)).await;
    let to = (from + 1) % 3;
    let id = replicas[to].node.status().node_id;
    let begun = Instant::now();
    replicas[from].node.transfer_leadership(id).await.unwrap();
    eventually("the new leader", LONG, || {
        replicas[to].node.leadership().borrow().local.then_some(())
    })
    .await;
    println!("moved in {:?}", begun.elapsed());
    propose(&all(&replicas), b"two").await;
    for replica in replicas {
        replica.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let (mut replicas, configs) = three(dir.path(), patient).await;
    propose(&all(&replicas), b"one").await;
    // A fourth replica that nobody has heard of waits to be added.
    let mut fourth = configs[0].clone();
    let address = addresses(1).remove(&1).unwrap();
    fourth.node_id = 4;
    fourth.data_dir = dir.path().join("node-4");
    fourth.peers.clear();
    replicas.push(Replica::start_at(fourth, address.parse().unwrap()).await);
    let at = leader(&all(&replicas)).await;
    let node = replicas[at].node.clone();
    node.add_learner(4, &address).await.unwrap();
    assert_eq!(node.status().learners.len(), 1);
    assert_eq!(replicas[3].node.status().role, Role::Learner);
    let leader_id = node.status().node_id;
    let gone = if leader_id == 1 { 2 } else { 1 };
    let voters: BTreeSet<u64> = (1..=4).filter(|&id| id != gone).collect();
    node.set_voters(voters.clone()).await.unwrap();
    let status = node.status();
    assert_eq!(status.voters.iter().map(|voter| voter.node_id).collect::<BTreeSet<_>>(), voters);
    let last = node.propose(Bytes::from_static(b"two")).await.unwrap().index;
    reached(&replicas[3], last).await;
    assert!(replicas[3].node.read(|state| state.holds(b"one")));
    for replica in replicas {
        replica.stop().await;
    }
}

// A replica that lost its disk has forgotten its votes: under its old id it does not begin.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_with_a_new_disk_under_an_old_id_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let (mut replicas, configs) = three(dir.path(), |_| {}).await;
    let last = propose(&all(&replicas), b"one").await.index;
    for replica in &replicas {
        reached(replica, last).await;
    }
    let at = leader(&all(&replicas)).await;
    let wiped = (at + 1) % 3;
    replicas.remove(wiped).stop().await;
    std::fs::remove_dir_all(&configs[wiped].data_dir).unwrap();
    let back = Replica::start(configs[wiped].clone()).await;
    // The other two go on, and the one without memory neither follows nor disturbs.
    for round in 0..20u32 {
        propose(&all(&replicas), format!("command {round}").as_bytes()).await;
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    assert_eq!(back.node.status().last_log, None);
    assert!(!back.node.leadership().borrow().local);
    let reason = eventually("the refusal", LONG, || back.node.stopped().borrow().clone()).await;
    let StopReason::NewDisk { node_id, .. } = reason else { panic!("{reason}") };
    assert_eq!(node_id, configs[wiped].node_id);
    assert!(reason.to_string().contains("new node id"), "{reason}");
    assert_eq!(back.node.shutdown().await, Err(reason));
    for replica in replicas {
        replica.stop().await;
    }
}

// Two disks of three survive, and one of them has missed the last command: the empty third must
// not make a majority with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_disk_does_not_outvote_the_one_that_remembers() {
    let dir = tempfile::tempdir().unwrap();
    let (mut replicas, configs) = three(dir.path(), |_| {}).await;
    let first = propose(&all(&replicas), b"one").await.index;
    for replica in &replicas {
        reached(replica, first).await;
    }
    let at = leader(&all(&replicas)).await;
    let (lost, behind) = ((at + 1) % 3, (at + 2) % 3);
    let mut kept: Vec<_> = replicas.drain(..).map(Some).collect();
    kept[behind].take().unwrap().stop().await;
    let two: Vec<_> = kept.iter().flatten().collect();
    let last = propose(&two, b"only on the leader and on the lost disk").await.index;
    for replica in kept.into_iter().flatten() {
        replica.stop().await;
    }
    std::fs::remove_dir_all(&configs[lost].data_dir).unwrap();

    let behind = Replica::start(configs[behind].clone()).await;
    let empty = Replica::start(configs[lost].clone()).await;
    // Many election timeouts.
    for _ in 0..60 {
        assert!(!behind.node.leadership().borrow().local, "a leader without the last command");
        assert!(!empty.node.leadership().borrow().local, "a leader without any command");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let remembers = Replica::start(configs[at].clone()).await;
    reached(&behind, last).await;
    assert!(behind.node.read(|state| state.holds(b"only on the leader and on the lost disk")));
    eventually("the refusal", LONG, || empty.node.stopped().borrow().clone()).await;
    empty.node.shutdown().await.unwrap_err();
    for replica in [behind, remembers] {
        replica.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_of_another_cluster_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let (mut replicas, configs) = three(dir.path(), |_| {}).await;
    propose(&all(&replicas), b"one").await;
    replicas.remove(2).stop().await;
    let mut foreign = configs[2].clone();
    foreign.data_dir = dir.path().join("another");
    foreign.cluster_name = "another".into();
    let foreign = Replica::start(foreign).await;
    let last = propose(&all(&replicas), b"two").await.index;
    for replica in &replicas {
        reached(replica, last).await;
    }
    assert!(foreign.node.read(|state| state.commands.is_empty()));
    assert_eq!(foreign.node.leadership().borrow().leader, None);
    foreign.stop().await;
    for replica in replicas {
        replica.stop().await;
    }
}

#[tokio::test]
async fn a_disk_of_another_cluster_or_replica_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let peers = addresses(1);
    let ours = config(1, dir.path(), &peers);
    Replica::start(ours.clone()).await.stop().await;
    let mut other = ours.clone();
    other.cluster_name = "another".into();
    let error = Node::start(other, Register::default()).await.err().unwrap();
    assert!(matches!(error, StartError::OtherCluster { .. }), "{error}");
    let mut other = ours;
    other.node_id = 2;
    let error = Node::start(other, Register::default()).await.err().unwrap();
    assert!(matches!(error, StartError::OtherNode { found: 1, expected: 2, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nearly_full_disk_takes_no_writes_and_does_not_lead() {
    let dir = tempfile::tempdir().unwrap();
    let (replicas, _) = three(dir.path(), |config| {
        // Node 3 believes that its disk is full.
        if config.node_id == 3 {
            config.free_space_min = u64::MAX;
        }
    })
    .await;
    let last = propose(&all(&replicas), b"one").await.index;
    eventually("another leader", LONG, || {
        let leads = replicas[..2].iter().any(|other| other.node.leadership().borrow().local);
        leads.then_some(())
    })
    .await;
    for replica in &replicas[..2] {
        reached(replica, last).await;
    }
    propose(&all(&replicas), b"two").await;
    let refused = replicas[2].node.propose(Bytes::from_static(b"x")).await;
    assert_eq!(refused, Err(ProposeError::DiskFull));
    for replica in replicas {
        replica.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_snapshot_is_not_an_empty_state() {
    let dir = tempfile::tempdir().unwrap();
    let mut ours = config(1, dir.path(), &addresses(1));
    (ours.snapshot_after_entries, ours.tail_entries) = (5, 2);
    let replica = Replica::start(ours.clone()).await;
    for round in 0..20u32 {
        propose(&[&replica], format!("command {round}").as_bytes()).await;
    }
    eventually("a purge", LONG, || replica.node.status().purged.filter(|&at| at > 0)).await;
    replica.stop().await;
    std::fs::remove_dir_all(ours.data_dir.join("snapshots")).unwrap();
    for _ in 0..2 {
        let error = Node::start(ours.clone(), Register::default()).await.err().unwrap();
        assert!(matches!(error, StartError::Inconsistent { .. }), "{error}");
        assert!(error.to_string().contains("new node id"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_snapshot_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let peers = addresses(1);
    let mut ours = config(1, dir.path(), &peers);
    ours.snapshot_after_entries = 5;
    let replica = Replica::start(ours.clone()).await;
    for round in 0..10u32 {
        propose(&[&replica], format!("command {round}").as_bytes()).await;
    }
    eventually("a snapshot", LONG, || replica.node.status().snapshot).await;
    replica.stop().await;
    let snapshots = ours.data_dir.join("snapshots");
    let file = std::fs::read_dir(snapshots).unwrap().next().unwrap().unwrap().path();
    let mut octets = std::fs::read(&file).unwrap();
    let middle = octets.len() * 3 / 4;
    octets[middle] ^= 1;
    std::fs::write(&file, octets).unwrap();
    let error = Node::start(ours, Register::default()).await.err().unwrap().to_string();
    assert!(error.contains(file.file_name().unwrap().to_str().unwrap()), "{error}");
    assert!(error.contains("new node id"), "{error}");
}
