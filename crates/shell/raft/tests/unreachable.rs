//! A member that refuses connections costs next to nothing: it is tried after pauses.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it fails")]

mod toy;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use toy::{Replica, addresses, config, eventually, propose};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Warnings of the consensus library's replication, one for each attempt that failed, and ours.
static ATTEMPTS: AtomicU64 = AtomicU64::new(0);
static TOLD: AtomicU64 = AtomicU64::new(0);

struct Warnings;

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        match event.metadata().target() {
            "openraft::replication" => ATTEMPTS.fetch_add(1, Ordering::Relaxed),
            target if target.starts_with("homeport_raft::network") => {
                TOLD.fetch_add(1, Ordering::Relaxed)
            }
            _ => 0,
        };
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// User and system time of this process.
fn cpu_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap());
    ticks.sum::<u64>() * 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_tries_an_absent_member_after_pauses() {
    tracing::subscriber::set_global_default(Warnings).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let peers = addresses(3);
    let one = Replica::start(config(1, dir.path(), &peers)).await;
    let two = Replica::start(config(2, dir.path(), &peers)).await;
    // The first start needs all of them.
    let absent = Replica::start(config(3, dir.path(), &peers)).await;
    propose(&[&one, &two, &absent], b"zero").await;
    absent.stop().await;
    propose(&[&one, &two], b"one").await;
    for replica in [&one, &two] {
        eventually("the command", Duration::from_secs(20), || {
            replica.node.read(|state| state.holds(b"one")).then_some(())
        })
        .await;
    }
    // Past the first, short pauses.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (attempts, cpu) = (ATTEMPTS.load(Ordering::Relaxed), cpu_ms());
    tokio::time::sleep(Duration::from_secs(3)).await;
    let attempts = ATTEMPTS.load(Ordering::Relaxed) - attempts;
    println!("{attempts} attempts in 3 s, CPU {} ms of two replicas", cpu_ms() - cpu);
    // One in 250 ms are 12; a loop without pauses makes thousands.
    assert!((1..=40).contains(&attempts), "{attempts} attempts in 3 s");
    // The leader, and before it whoever stood for election, told it once each.
    let told = TOLD.load(Ordering::Relaxed);
    assert!((1..=4).contains(&told), "{told} warnings of ours");
    two.stop().await;
    one.stop().await;
}
