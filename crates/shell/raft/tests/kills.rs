//! Replicas in processes of their own, killed with SIGKILL in the middle of their work.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it fails")]

mod toy;

use bytes::Bytes;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::sync::mpsc;
use toy::{Replica, addresses, config, eventually, propose};

/// Tells the test that it is the process to be killed, and where its disk is.
const DISK: &str = "HOMEPORT_RAFT_TEST_DISK";
const ROUND: &str = "HOMEPORT_RAFT_TEST_ROUND";
const REPLICA: &str = "HOMEPORT_RAFT_TEST_REPLICA";
const PEERS: &str = "HOMEPORT_RAFT_TEST_PEERS";
const KILLS: u32 = 6;
const CLIENTS: u32 = 8;
/// Until the first leader, whose election may need the timers more than once.
const PATIENCE: Duration = Duration::from_secs(120);
/// Until the next, which the timers would not bring that soon.
const SOON: Duration = Duration::from_secs(7);
const ELECTION_TIMEOUT_MS: u64 = 10_000;

/// The same test run again, which then ends in `work_until_killed`.
fn victim(dir: &Path, round: u32) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "what_was_acknowledged_survives_kills", "--nocapture"])
        .env(DISK, dir)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Proposes as fast as it can and prints each command once it is acknowledged. Small thresholds,
/// so that the kill also hits snapshots and purges.
async fn work_until_killed(dir: PathBuf) {
    let mut config = config(1, &dir, &addresses(1));
    (config.snapshot_after_entries, config.tail_entries) = (200, 20);
    let round = std::env::var(ROUND).unwrap();
    let replica = Replica::start(config).await;
    propose(&[&replica], format!("{round} begins").as_bytes()).await;
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        let (node, round) = (replica.node.clone(), round.clone());
        clients.spawn(async move {
            for number in 0u64.. {
                let command = format!("{round} {client} {number}");
                node.propose(Bytes::from(command.clone())).await.unwrap();
                println!("acknowledged {command}");
            }
        });
    }
    clients.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kills() {
    if let Some(dir) = std::env::var_os(DISK) {
        return work_until_killed(PathBuf::from(dir)).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..KILLS {
        let mut victim = victim(dir.path(), round);
        let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
        let before = acknowledged.len();
        for line in lines.map_while(Result::ok) {
            let Some(command) = line.strip_prefix("acknowledged ") else { continue };
            acknowledged.push(command.as_bytes().to_vec());
            // A different moment each time; what is still in the pipe is read after it.
            if acknowledged.len() - before == usize::try_from(300 + 170 * round).unwrap() {
                victim.kill().unwrap();
            }
        }
        assert!(!victim.wait().unwrap().success());
        assert!(acknowledged.len() - before >= 300, "round {round} ended early");
    }
    let replica = Replica::start(config(1, dir.path(), &addresses(1))).await;
    propose(&[&replica], b"the end").await;
    assert!(replica.node.status().snapshot.is_some(), "no snapshot was taken");
    eventually("the end", Duration::from_secs(10), || {
        replica.node.read(|state| state.holds(b"the end")).then_some(())
    })
    .await;
    let held: std::collections::BTreeSet<_> =
        replica.node.read(|state| state.commands.values().cloned().collect());
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|command| !held.contains(*command))
        .map(|command| String::from_utf8_lossy(command))
        .collect();
    println!("{} acknowledged, {KILLS} kills, {} lost", acknowledged.len(), lost.len());
    assert!(lost.is_empty(), "{lost:?}");
    replica.stop().await;
}

/// Three children, each of which says when it leads.
struct Children {
    children: BTreeMap<u64, Child>,
    leads: mpsc::Receiver<u64>,
}

impl Children {
    fn start(dir: &Path) -> Self {
        let addresses = addresses(3);
        let peers: Vec<&str> = addresses.values().map(String::as_str).collect();
        let (says, leads) = mpsc::channel(16);
        let mut children = BTreeMap::new();
        for id in 1..=3 {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "a_leader_that_is_killed_is_followed_at_once", "--nocapture"])
                .env(DISK, dir)
                .env(REPLICA, id.to_string())
                .env(PEERS, peers.join(","))
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let says = says.clone();
            std::thread::spawn(move || {
                for line in lines.map_while(Result::ok) {
                    if line == "leads" && says.blocking_send(id).is_err() {
                        return;
                    }
                }
            });
            children.insert(id, child);
        }
        Self { children, leads }
    }

    async fn next_leader(&mut self, within: Duration) -> u64 {
        let next = tokio::time::timeout(within, self.leads.recv()).await;
        next.expect("nobody leads").unwrap()
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for child in self.children.values_mut() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

async fn be_a_replica(dir: PathBuf) {
    let id = std::env::var(REPLICA).unwrap().parse().unwrap();
    let peers = std::env::var(PEERS).unwrap();
    let peers = (1..).zip(peers.split(',').map(str::to_owned)).collect();
    let mut config = config(id, &dir, &peers);
    (config.election_timeout_ms_min, config.election_timeout_ms_max) =
        (ELECTION_TIMEOUT_MS, 2 * ELECTION_TIMEOUT_MS);
    let replica = Replica::start(config).await;
    let mut leadership = replica.node.leadership();
    loop {
        leadership.wait_for(|now| now.local).await.unwrap();
        // The parent knows that followers have an append stream when an entry was committed.
        propose(&[&replica], b"I lead").await;
        println!("leads");
        leadership.wait_for(|now| !now.local).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_killed_is_followed_at_once() {
    if let Some(dir) = std::env::var_os(DISK) {
        return be_a_replica(PathBuf::from(dir)).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut children = Children::start(dir.path());
    let first = children.next_leader(PATIENCE).await;
    children.children.get_mut(&first).unwrap().kill().unwrap();
    assert_ne!(children.next_leader(SOON).await, first);
}
