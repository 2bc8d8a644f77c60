//! The network between the replicas: each is reached by the others through a relay in this process, which
//! passes octets on or, where the way is cut, keeps them. Silence it is, as on a real network: who is cut
//! off sees no connection end.
//!
//! A relay serves all who call one replica. Who calls is found out by the process that owns the other end
//! of the connection, as the kernel's tables in /proc tell.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Octets that one direction of a connection takes at once.
const PIECE_OCTETS: usize = 64 * 1024;

/// Ways by sender and receiver.
pub(crate) type Ways = BTreeSet<(u64, u64)>;

/// What all relays share.
#[derive(Clone)]
pub(crate) struct Net {
    cut: watch::Sender<Ways>,
    /// Process ids of the replicas.
    pids: Arc<Mutex<BTreeMap<u64, u32>>>,
}

impl Net {
    pub(crate) fn new() -> Self {
        Self { cut: watch::Sender::new(Ways::new()), pids: Arc::default() }
    }

    /// Cuts exactly these ways; all others are open.
    pub(crate) fn cut(&self, ways: Ways) {
        self.cut.send_replace(ways);
    }

    /// The replica runs as this process from now on.
    pub(crate) fn runs_as(&self, id: u64, pid: u32) {
        self.pids.lock().unwrap_or_else(PoisonError::into_inner).insert(id, pid);
    }

    fn caller(&self, peer: SocketAddr, listener: SocketAddr) -> Option<u64> {
        let inode = inode_of(peer, listener)?;
        let pids = self.pids.lock().unwrap_or_else(PoisonError::into_inner).clone();
        pids.into_iter().find(|(_, pid)| owns(*pid, &inode)).map(|(id, _)| id)
    }
}

/// The way to one replica; it ends when this is dropped.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Relay {
    /// To replica `id`, which listens at `target`.
    pub(crate) async fn start(net: Net, id: u64, target: SocketAddr) -> Result<Self> {
        let address = homeport_tests::free_address()?;
        let listener = TcpListener::bind(address).await.context("cannot relay")?;
        Ok(Self { address, task: tokio::spawn(serve(listener, address, net, id, target)) })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, address: SocketAddr, net: Net, id: u64, target: SocketAddr) {
    let mut connections = JoinSet::new();
    while let Ok((stream, peer)) = listener.accept().await {
        let net = net.clone();
        connections.spawn(async move {
            // A caller that is not found has ended already.
            let Some(caller) = net.caller(peer, address) else { return };
            let way_in = net.cut.subscribe();
            let mut opening = way_in.clone();
            let is_cut = |ways: &Ways| ways.contains(&(caller, id));
            if opening.wait_for(|ways| !is_cut(ways)).await.is_err() {
                return;
            }
            let Ok(onward) = TcpStream::connect(target).await else { return };
            // What is small must not wait for what follows.
            drop((stream.set_nodelay(true), onward.set_nodelay(true)));
            let (from_caller, to_caller) = stream.into_split();
            let (from_target, to_target) = onward.into_split();
            let there = pass(from_caller, to_target, way_in.clone(), (caller, id));
            let back = pass(from_target, to_caller, way_in, (id, caller));
            tokio::join!(there, back);
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Passes octets on while the way is open. That a side has ended is passed on in the same manner.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut cut: watch::Receiver<Ways>,
    way: (u64, u64),
) {
    let mut piece = vec![0; PIECE_OCTETS];
    loop {
        let read = from.read(&mut piece).await.unwrap_or(0);
        if cut.wait_for(|ways| !ways.contains(&way)).await.is_err() {
            return;
        }
        if read == 0 {
            drop(to.shutdown().await);
            return;
        }
        if to.write_all(&piece[..read]).await.is_err() {
            return;
        }
    }
}

/// The caller's socket in the kernel's table of TCP connections.
fn inode_of(peer: SocketAddr, listener: SocketAddr) -> Option<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let (local, remote) = (in_table(peer)?, in_table(listener)?);
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let found = *fields.get(1)? == local && *fields.get(2)? == remote;
        found.then(|| Some((*fields.get(9)?).to_owned()))?
    })
}

/// As the table has it: the address as the machine holds it, and the port.
fn in_table(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else { return None };
    let octets = Ipv4Addr::octets(address.ip());
    Some(format!("{:08X}:{:04X}", u32::from_ne_bytes(octets), address.port()))
}

fn owns(pid: u32, inode: &str) -> bool {
    let socket = format!("socket:[{inode}]");
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd"));
    descriptors.is_ok_and(|descriptors| {
        let mut links = descriptors.flatten().filter_map(|it| std::fs::read_link(it.path()).ok());
        links.any(|link| link == Path::new(&socket))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cut_way_is_silent_and_passes_all_on_when_it_is_open_again() -> Result<()> {
        let echo = TcpListener::bind("127.0.0.1:0").await?;
        let target = echo.local_addr()?;
        let echo = tokio::spawn(async move {
            let (mut stream, _) = echo.accept().await?;
            let mut octet = [0];
            while stream.read_exact(&mut octet).await.is_ok() {
                stream.write_all(&octet).await?;
            }
            anyhow::Ok(())
        });
        let net = Net::new();
        net.runs_as(1, std::process::id());
        let relay = Relay::start(net.clone(), 2, target).await?;
        let mut stream = TcpStream::connect(relay.address).await?;
        stream.write_all(&[7]).await?;
        assert_eq!(stream.read_u8().await?, 7);
        for way in [(1, 2), (2, 1)] {
            net.cut(Ways::from([way]));
            stream.write_all(&[8]).await?;
            let silent = std::time::Duration::from_millis(100);
            assert!(tokio::time::timeout(silent, stream.read_u8()).await.is_err(), "{way:?}");
            net.cut(Ways::new());
            assert_eq!(stream.read_u8().await?, 8);
        }
        drop(stream);
        echo.await?
    }
}
