//! Mobile nodes that refresh their bindings over UDP, so many a second, whatever happens to the cluster.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    io::ErrorKind,
    net::{Ipv4Addr, Ipv6Addr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use homeport_tests::updates::{Update, acknowledgement, home_address};

/// Home addresses, the first of them and how many.
const FIRST: u16 = 0x1000;
const HOMES: u16 = 1000;
/// Refreshes a second: each home address every two seconds.
const PER_SECOND: u32 = 500;
/// As a mobile node does it: again after a second, then after twice as long as before (RFC 6275 section 11.8).
const FIRST_TIMEOUT: Duration = Duration::from_secs(1);
/// A refresh that nobody has acknowledged after so long has failed.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long the socket waits for an answer.
const TURN: Duration = Duration::from_millis(1);

/// What became of the refreshes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Refreshed {
    pub(super) begun: u32,
    pub(super) failed: u32,
    /// Binding Updates that were sent again.
    pub(super) again: u32,
    /// From the first Binding Update of a refresh to its acknowledgement.
    pub(super) longest: Duration,
}

/// All mobile nodes, behind one address.
pub(super) struct Load {
    socket: UdpSocket,
    sequences: BTreeMap<Ipv6Addr, u16>,
    pending: BTreeMap<Ipv6Addr, Pending>,
    /// When who is looked at again.
    due: BinaryHeap<Reverse<(Instant, Ipv6Addr)>>,
    done: Refreshed,
}

struct Pending {
    begun: Instant,
    timeout: Duration,
}

impl Load {
    /// Registers all of them.
    pub(super) fn start(from: Ipv4Addr, home_agent: (Ipv4Addr, u16)) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind((from, 0)).context("a socket of mobile nodes")?;
        socket.connect(home_agent)?;
        socket.set_read_timeout(Some(TURN))?;
        let (sequences, pending, due) = (BTreeMap::new(), BTreeMap::new(), BinaryHeap::new());
        let mut load = Self { socket, sequences, pending, due, done: Refreshed::default() };
        let started = Instant::now();
        for n in 0..HOMES {
            while started.elapsed() < Duration::from_secs(1) / PER_SECOND * n.into() {
                load.turn()?;
            }
            load.refresh(home_address(FIRST + n));
        }
        load.settle()?;
        ensure!(load.done.failed == 0, "{} registrations have failed", load.done.failed);
        load.done = Refreshed::default();
        Ok(load)
    }

    /// Refreshes until it is told to stop, and waits for what is under way.
    pub(super) fn run(mut self, stop: &AtomicBool) -> anyhow::Result<Refreshed> {
        let started = Instant::now();
        let pause = Duration::from_secs(1) / PER_SECOND;
        let mut homes = (0..HOMES).cycle();
        while !stop.load(Ordering::Relaxed) {
            while started.elapsed() > pause * self.done.begun {
                let Some(n) = homes.next() else { break };
                self.refresh(home_address(FIRST + n));
            }
            self.turn()?;
        }
        self.settle()?;
        Ok(self.done)
    }

    /// One that is not acknowledged yet goes on as it is, and counts as one more that has not been.
    fn refresh(&mut self, home: Ipv6Addr) {
        self.done.begun += 1;
        if self.pending.contains_key(&home) {
            return;
        }
        self.pending.insert(home, Pending { begun: Instant::now(), timeout: FIRST_TIMEOUT });
        self.send(home);
        self.due.push(Reverse((Instant::now() + FIRST_TIMEOUT, home)));
    }

    /// What is lost here is sent again like what is lost elsewhere.
    fn send(&mut self, home: Ipv6Addr) {
        let sequence = self.sequences.entry(home).or_default();
        *sequence = sequence.wrapping_add(1);
        let update = Update::new(home, *sequence);
        drop(self.socket.send(&update.packet_in_udp()));
    }

    /// Takes one answer, if there is one, and sends again what is due.
    fn turn(&mut self) -> anyhow::Result<()> {
        let mut packet = [0; 2048];
        match self.socket.recv(&mut packet) {
            Ok(octets) => self.answered(packet.get(..octets).unwrap_or_default())?,
            // A router without a route says so; a host without a socket, too.
            Err(error) => match error.kind() {
                ErrorKind::Interrupted
                | ErrorKind::WouldBlock
                | ErrorKind::TimedOut
                | ErrorKind::ConnectionRefused
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable => {}
                _ => return Err(error).context("the socket of mobile nodes"),
            },
        }
        let now = Instant::now();
        while let Some(Reverse((at, home))) = self.due.pop() {
            if at > now {
                self.due.push(Reverse((at, home)));
                break;
            }
            let Some(pending) = self.pending.get_mut(&home) else { continue };
            if now - pending.begun < pending.timeout {
                // It is another refresh than that which was to be looked at.
                continue;
            }
            if pending.begun.elapsed() > PATIENCE {
                self.pending.remove(&home);
                self.done.failed += 1;
                continue;
            }
            pending.timeout *= 2;
            let at = pending.begun + pending.timeout.min(PATIENCE);
            self.due.push(Reverse((at, home)));
            self.done.again += 1;
            self.send(home);
        }
        Ok(())
    }

    fn answered(&mut self, packet: &[u8]) -> anyhow::Result<()> {
        let answer = acknowledgement(packet)?;
        let home = answer.routing_home_address.unwrap_or(answer.destination);
        ensure!(answer.status() == 0, "{home} was refused with status {}", answer.status());
        if let Some(pending) = self.pending.remove(&home) {
            self.done.longest = self.done.longest.max(pending.begun.elapsed());
        }
        Ok(())
    }

    fn settle(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !self.pending.is_empty() && begun.elapsed() < 2 * PATIENCE {
            self.turn()?;
        }
        self.done.failed += u32::try_from(self.pending.len())?;
        Ok(())
    }
}
