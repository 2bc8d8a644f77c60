//! A disk that is really full: the leader's data directory is a small file system of its own, in a
//! mount namespace of this test.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it fails")]

mod toy;

use bytes::Bytes;
use homeport_raft::{Node, RaftConfig, StopReason};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use toy::{Register, Replica, addresses, config, eventually, leader, propose};

/// Tells the test that it runs in its own mount namespace.
const INSIDE: &str = "HOMEPORT_RAFT_TEST_MOUNTS";
const LONG: Duration = Duration::from_secs(20);
const SMALL: &str = "size=24m";
const LARGE: &str = "size=96m";

fn mount(options: &str, dir: &Path) {
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", options, "tmpfs"])
        .arg(dir)
        .status()
        .unwrap();
    assert!(mounted.success(), "mount -o {options} {}", dir.display());
}

/// Three replicas, the first on a small disk and told to write to its end.
async fn three(dir: &Path) -> (Vec<Replica>, Vec<RaftConfig>) {
    let peers = addresses(3);
    let configs: Vec<_> = (1..=3)
        .map(|id| {
            let mut config = config(id, dir, &peers);
            config.free_space_min = 0;
            config
        })
        .collect();
    std::fs::create_dir_all(&configs[0].data_dir).unwrap();
    mount(SMALL, &configs[0].data_dir);
    let mut replicas = Vec::new();
    for config in &configs {
        replicas.push(Replica::start(config.clone()).await);
    }
    (replicas, configs)
}

async fn lead(replicas: &[&Replica], wanted: usize) {
    propose(replicas, b"begin").await;
    eventually("the leadership", LONG, || {
        replicas[wanted].node.leadership().borrow().local.then_some(())
    })
    .await;
}

fn octets(round: u32) -> Vec<u8> {
    [format!("{round}:").into_bytes(), vec![b'x'; 200_000]].concat()
}

async fn a_leader_whose_disk_fills_up() {
    let dir = tempfile::tempdir().unwrap();
    let (mut replicas, configs) = three(dir.path()).await;
    let all: Vec<_> = replicas.iter().collect();
    for attempt in 0.. {
        let at = leader(&all).await;
        if at == 0 {
            break;
        }
        assert!(attempt < 50, "the first replica does not come to lead");
        all[at].node.transfer_leadership(1).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    lead(&all, 0).await;

    // Until its disk is full: it ends with a reason, and the others go on.
    let mut acknowledged = Vec::new();
    let full = &all[0].node;
    for round in 0..400 {
        let command = octets(round);
        match full.propose(Bytes::from(command.clone())).await {
            Ok(_) => acknowledged.push(command),
            Err(_) => break,
        }
    }
    println!("{} commands of 200 kB until the disk was full", acknowledged.len());
    assert!((20..400).contains(&acknowledged.len()), "{}", acknowledged.len());
    let reason =
        eventually("the end of the leader", LONG, || full.stopped().borrow().clone()).await;
    let StopReason::Storage(text) = &reason else { panic!("{reason}") };
    assert!(text.contains("node-1") && text.contains("No space left"), "{text}");
    assert!(!full.leadership().borrow().local);
    propose(&all[1..], b"without it").await;
    let elected = leader(&all[1..]).await;
    for command in &acknowledged {
        assert!(all[1 + elected].node.read(|state| state.holds(command)));
    }
    drop(all);
    let ended = replicas.remove(0);
    assert_eq!(ended.node.shutdown().await, Err(reason));
    ended.close().await;

    // While it is full it does not start, or ends again at once; it never hangs or panics.
    match Node::start(configs[0].clone(), Register::default()).await {
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("node-1") && text.contains("No space left"), "{text}");
        }
        Ok(node) => {
            let stopped = eventually("its end", LONG, || node.stopped().borrow().clone()).await;
            assert!(matches!(stopped, StopReason::Storage(_)), "{stopped}");
            node.shutdown().await.unwrap_err();
        }
    }

    // With room it comes back by itself, with everything.
    mount(&format!("remount,{LARGE}"), &configs[0].data_dir);
    let back = Replica::start(configs[0].clone()).await;
    let others: Vec<_> = replicas.iter().collect();
    let last = propose(&others, b"with it").await.index;
    eventually("the last command", LONG, || (*back.node.applied().borrow() >= last).then_some(()))
        .await;
    for command in &acknowledged {
        assert!(back.node.read(|state| state.holds(command)));
    }
    assert_eq!(back.node.read(Clone::clone), others[0].node.read(Clone::clone));
    back.stop().await;
    for replica in replicas {
        replica.stop().await;
    }
    let umount = Command::new("umount").arg(&configs[0].data_dir).status().unwrap();
    assert!(umount.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_ends_the_leader_and_costs_nothing() {
    if std::env::var_os(INSIDE).is_some() {
        return a_leader_whose_disk_fills_up().await;
    }
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        let mut stderr = std::io::stderr();
        writeln!(stderr, "\n*** SKIPPED a really full disk: it takes root to mount one\n").unwrap();
        return;
    }
    let name = "a_full_disk_ends_the_leader_and_costs_nothing";
    let inside = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .status();
    assert!(inside.unwrap().success());
}
