//! A snapshot whose stream breaks goes on where it broke.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it fails")]

mod toy;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use toy::{Replica, addresses, config, eventually, leader, propose};

const LONG: Duration = Duration::from_secs(60);
const MIB: u64 = 1 << 20;

/// The way to one replica: how many octets took it, and after how many nothing gets through any more.
#[derive(Default)]
struct Way {
    octets: AtomicU64,
    limit: AtomicU64,
}

impl Way {
    /// Cuts every connection that is there.
    fn cut(&self) {
        self.limit.store(0, Ordering::SeqCst);
    }

    fn open(&self, octets: u64) {
        self.octets.store(0, Ordering::SeqCst);
        self.limit.store(octets, Ordering::SeqCst);
    }
}

async fn relay(way: Arc<Way>, listener: TcpListener, target: SocketAddr) {
    while let Ok((near, _)) = listener.accept().await {
        let Ok(far) = TcpStream::connect(target).await else { continue };
        let (mut near, mut far) = (near.into_split(), far.into_split());
        tokio::spawn(async move { tokio::io::copy(&mut far.0, &mut near.1).await });
        let way = Arc::clone(&way);
        tokio::spawn(async move {
            let mut buffer = vec![0; 16 * 1024];
            while let Ok(octets @ 1..) = near.0.read(&mut buffer).await {
                let octets = u64::try_from(octets).unwrap();
                let total = way.octets.fetch_add(octets, Ordering::SeqCst) + octets;
                // Held back, not cut: what came before is to arrive.
                while (1..=total).contains(&way.limit.load(Ordering::SeqCst)) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                if way.limit.load(Ordering::SeqCst) == 0 {
                    break;
                }
                let octets = usize::try_from(octets).unwrap();
                if far.1.write_all(&buffer[..octets]).await.is_err() {
                    break;
                }
            }
        });
    }
}

/// Octets of the file that is not whole yet.
fn partial(directory: &Path) -> Option<u64> {
    let mut files = std::fs::read_dir(directory).ok()?.flatten();
    let file = files.find(|file| file.path().extension().is_some_and(|end| end == "tmp"))?;
    Some(file.metadata().ok()?.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_stream_is_followed_by_the_rest_of_the_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let (peers, real) = (addresses(3), addresses(1)[&1].parse().unwrap());
    let way = Arc::new(Way::default());
    way.open(u64::MAX);
    let listener = TcpListener::bind(&peers[&3]).await.unwrap();
    tokio::spawn(relay(Arc::clone(&way), listener, real));
    let config = |id| {
        let mut config = config(id, dir.path(), &peers);
        (config.snapshot_after_entries, config.tail_entries) = (50, 10);
        // One leader only: a busy machine must not make them elect another.
        (config.election_timeout_ms_min, config.election_timeout_ms_max) = (3000, 6000);
        config
    };
    let replicas = [Replica::start(config(1)).await, Replica::start(config(2)).await];
    let behind = Replica::start_at(config(3), real).await;
    let all: Vec<_> = replicas.iter().chain([&behind]).collect();
    let first = propose(&all, b"first").await.index;
    let mut applied = behind.node.applied();
    applied.wait_for(|applied| *applied >= first).await.unwrap();
    behind.stop().await;
    let known: Vec<_> = replicas.iter().collect();
    let mut last = 0;
    for round in 0..200_u32 {
        let command = [format!("{round}:").into_bytes(), vec![b'x'; 100_000]].concat();
        last = propose(&known, &command).await.index;
    }
    let leading = &replicas[leader(&known).await];
    // The last one: a newer one would be sent from its start.
    let newest = || leading.node.status().snapshot.filter(|at| at + 50 > last);
    eventually("a snapshot", LONG, newest).await;

    way.open(8 * MIB);
    let behind = Replica::start_at(config(3), real).await;
    let snapshots = config(3).data_dir.join("snapshots");
    eventually("half a snapshot", LONG, || partial(&snapshots).filter(|&n| n >= 4 * MIB)).await;
    way.cut();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(partial(&snapshots).is_some_and(|octets| octets >= 4 * MIB), "it was thrown away");
    way.open(u64::MAX);
    let mut applied = behind.node.applied();
    let caught_up = tokio::time::timeout(LONG, applied.wait_for(|applied| *applied >= last)).await;
    caught_up.expect("catching up takes too long").unwrap();
    let again = way.octets.load(Ordering::SeqCst);
    let state = |replica: &Replica| replica.node.read(Clone::clone);
    assert_eq!(state(&behind), state(leading));
    assert!(state(&behind).holds(b"first"));
    assert!(again < 18 * MIB, "{again} octets came after the cut, of 20 MB");
    behind.stop().await;
    for replica in replicas {
        replica.stop().await;
    }
}
