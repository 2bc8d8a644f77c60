//! Random moves and de-registrations under load: no forwarder that has reached a revision sends to a care-of
//! address that has ended by it.
//!
//! ```text
//!  test --commands--> store --feed--> forwarder-1, forwarder-2 --revision, polled--> marks
//!  correspondent node --datagrams, each with its time--> forwarders --tunnels--> captured at the router
//! ```

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use homeport_binding::{Outcome, Registration, Verdict, WireSource};
use homeport_hostnet::Namespace;
use homeport_wire::{Lifetime, protocol, walk};
use tokio::task::JoinHandle;

use super::capture::Capture;
use super::lab::{CORRESPONDENT, Lab, run};
use super::late::{Found, History, Mark, Nanos, Tunnelled};
use super::{Figure, possible};
use crate::dev::{DevCluster, Member, channel_to, metric};
use crate::eventually;
use crate::submit::{Submitter, bid_request, registration};
use crate::updates::home_address;

/// Home addresses of each forwarder, which the router tells apart by their last 16 bits.
const HOMES_EACH: u16 = 8;
const FIRST_HOMES: [u16; 2] = [0x100, 0x200];
/// Of the second forwarder.
const SECOND_PREFIX: &str = "2001:db8:0:1::200/120";
/// All care-of addresses. Nobody has them: what goes there is captured before it is lost.
const CARE_OFS: &str = "2001:db8:c0::/48";
/// Between two datagrams: some thousands a second.
const PAUSE: Duration = Duration::from_micros(150);
/// Between two looks at a forwarder's revision.
const MARK_PAUSE: Duration = Duration::from_millis(2);
/// One of so many commands de-registers.
const DEREGISTRATIONS: u64 = 8;

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moves {
    /// Commands that end a binding.
    pub moves: u32,
    /// The forwarders do the common case in XDP.
    pub xdp: bool,
    /// Decides which home address moves when.
    pub seed: u64,
}

/// Runs it as a test: skipped, and loudly, where the host does not let us.
///
/// # Errors
/// What was late, or why there is nothing to say.
pub async fn test(moves: Moves) -> Result<()> {
    use std::io::Write as _;
    if let Err(reason) = possible() {
        writeln!(std::io::stderr(), "\n*** SKIPPED random moves: {reason}\n")?;
        return Ok(());
    }
    let outcome = moves.run().await;
    for Figure { name, value, unit } in &outcome.figures {
        println!("{name}: {value} {unit}");
    }
    outcome.result
}

impl Moves {
    /// Runs it in a laboratory of its own, which is gone afterwards.
    pub async fn run(self) -> super::Outcome {
        let mut lab = match Lab::start_plain("none").await {
            Ok(lab) => lab,
            Err(error) => {
                let result = Err(error.context("the laboratory"));
                let (figures, frames_decoded, frames_malformed) = (Vec::new(), 0, 0);
                return super::Outcome { result, figures, frames_decoded, frames_malformed };
            }
        };
        let told = tell(&mut lab, self).await;
        let result = told.map_err(|error| error.context(lab.cluster.logs()));
        lab.outcome(result)
    }
}

async fn tell(lab: &mut Lab, moves: Moves) -> Result<()> {
    prepare(lab, moves.xdp).await?;
    let forwarders = lab.cluster.endpoints()?.forwarders;
    let router = lab.namespaces.router.clone();
    let mut captures = Vec::new();
    for link in ["forwarder-1", "forwarder-2"] {
        let filter = ["-B", "32768", "-s", "160", "ip6 proto 41"];
        captures.push(Capture::begin(&router, link, lab.directory(), "tunnels", &filter).await?);
    }
    let mut mover = Mover::open(lab, moves.seed).await?;
    mover.all_begin().await?;
    let until = mover.revision;
    eventually("the first bindings at the forwarders", async || {
        for forwarder in &forwarders {
            ensure!(revision_of(forwarder).await? >= until, "{} is behind", forwarder.name);
        }
        Ok(())
    })
    .await?;
    let load = Load::start(lab)?;
    let marks: Vec<_> = forwarders.iter().map(|it| Marks::start(it.clone())).collect();
    mover.moved(moves.moves).await?;
    // What the last move began.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let sent = load.end().await?;
    let mut all = Found::default();
    for ((marks, capture), name) in marks.into_iter().zip(captures).zip(["1", "2"]) {
        let marks = marks.end().await?;
        let packets = tunnelled(&capture.end()?)?;
        let found = mover.history.check(&marks, packets);
        println!("forwarder {name}: {} marks, {found:?}", marks.len());
        ensure!(marks.last().is_some_and(|it| it.revision >= mover.revision), "it is behind");
        all.packets += found.packets;
        all.to_ended += found.to_ended;
        all.late += found.late;
        all.strange += found.strange;
    }
    let moved = u64::from(mover.moves);
    let by_xdp = if moves.xdp { lab.sent_by_xdp("encapsulated").await? } else { 0 };
    for (name, value) in [
        ("moves", moved),
        ("late_packets", all.late),
        ("strange_packets", all.strange),
        ("packets_to_ended_care_ofs", all.to_ended),
        ("packets_tunnelled", all.packets),
        ("packets_sent", sent),
        ("packets_by_xdp", by_xdp),
    ] {
        lab.figure(name, f64::from(u32::try_from(value)?), "1");
    }
    ensure!(all.packets > sent / 4, "too few of {sent} packets were seen: {all:?}");
    ensure!(!moves.xdp || by_xdp > all.packets / 8, "XDP has sent {by_xdp} only");
    ensure!(all.late == 0 && all.strange == 0, "{all:?}");
    Ok(())
}

/// Half of the home addresses by the second forwarder, and nobody at the care-of addresses.
async fn prepare(lab: &Lab, xdp: bool) -> Result<()> {
    if xdp {
        lab.switch_xdp_on().await?;
        for link in ["forwarder-1", "forwarder-2"] {
            run(&lab.namespaces.router, &["ethtool", "-K", link, "gro", "on"])?;
        }
    }
    let by = ["via", "2001:db8:ff:2::2", "dev", "forwarder-2"];
    let route = ["ip", "-6", "route", "replace", SECOND_PREFIX];
    run(&lab.namespaces.router, &[&route[..], &by].concat())?;
    run(&lab.namespaces.router, &["ip", "-6", "route", "add", "blackhole", CARE_OFS])
}

/// Commands straight to the store.
struct Mover<'l> {
    cluster: &'l DevCluster,
    submitter: Submitter,
    random: u64,
    homes: BTreeMap<Ipv6Addr, Home>,
    history: History,
    care_ofs: u32,
    moves: u32,
    /// Of the last command.
    revision: u64,
}

struct Home {
    policy: (u64, u64),
    sequence: u16,
    bound: Option<Ipv6Addr>,
}

impl<'l> Mover<'l> {
    async fn open(lab: &'l Lab, seed: u64) -> Result<Self> {
        let cluster = &lab.cluster;
        let mut submitter = to_leader(cluster).await?;
        let mut homes = BTreeMap::new();
        for host in FIRST_HOMES.into_iter().flat_map(|first| first..first + HOMES_EACH) {
            let address = home_address(host);
            let policy = submitter.policy_revisions(address).await?;
            homes.insert(address, Home { policy, sequence: 0, bound: None });
        }
        let (history, random) = (History::default(), seed | 1);
        let (care_ofs, moves, revision) = (0, 0, 0);
        Ok(Self { cluster, submitter, random, homes, history, care_ofs, moves, revision })
    }

    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> 16
    }

    async fn all_begin(&mut self) -> Result<()> {
        let all: Vec<Ipv6Addr> = self.homes.keys().copied().collect();
        self.commands(all).await
    }

    /// Random home addresses, a few at a time, until so many bindings have ended.
    async fn moved(&mut self, moves: u32) -> Result<()> {
        while self.moves < moves {
            let all: Vec<Ipv6Addr> = self.homes.keys().copied().collect();
            let few = all.into_iter().filter(|_| self.random().is_multiple_of(3)).collect();
            self.commands(few).await?;
        }
        Ok(())
    }

    /// One command for each of the home addresses, all at once.
    async fn commands(&mut self, homes: Vec<Ipv6Addr>) -> Result<()> {
        let mut registrations = Vec::new();
        let mut next = Vec::new();
        for address in homes {
            let leaves = self.random().is_multiple_of(DEREGISTRATIONS);
            let home = self.homes.get_mut(&address).context("a home address")?;
            home.sequence = home.sequence.wrapping_add(1);
            self.care_ofs += 1;
            let mut command =
                registration(address, home.sequence, u128::from(self.care_ofs), home.policy);
            let [a, b, c, d] = self.care_ofs.to_be_bytes().map(u16::from);
            let fresh = Ipv6Addr::new(0x2001, 0xdb8, 0xc0, 0, 0, 0, a << 8 | b, c << 8 | d);
            command.bids = vec![bid_request(1, fresh)];
            // It comes from there, so that packets take it at once.
            command.source = WireSource::Ipv6(fresh);
            let begins = if home.bound.is_some() && leaves {
                command.lifetime = Lifetime(0);
                None
            } else {
                Some(fresh)
            };
            if let Some(care_of) = begins {
                // Before a forwarder can know it.
                self.history.begin(address, care_of);
            }
            registrations.push(command);
            next.push((address, begins));
        }
        let verdicts = self.verdicts(&registrations).await?;
        for (verdict, (address, begins)) in verdicts.iter().zip(next) {
            let Outcome::Answer(answer) = &verdict.outcome else { bail!("{verdict:?}") };
            ensure!(answer.status.is_accepted(), "{verdict:?}");
            self.revision = self.revision.max(verdict.revision);
            let home = self.homes.get_mut(&address).context("a home address")?;
            if let Some(before) = std::mem::replace(&mut home.bound, begins) {
                self.history.end(before, verdict.revision);
                self.moves += 1;
            }
        }
        Ok(())
    }
}

impl Mover<'_> {
    /// The verdicts, also when another replica has come to lead: a command that is sent again has its
    /// first effect and verdict.
    async fn verdicts(&mut self, registrations: &[Registration]) -> Result<Vec<Verdict>> {
        let mut tries_left = 10;
        loop {
            let error = match self.submitter.register_all(registrations.to_vec()).await {
                Ok(verdicts) => return Ok(verdicts),
                Err(error) => error,
            };
            tries_left -= 1;
            if tries_left == 0 {
                return Err(error);
            }
            println!("sent again: {error:#}");
            self.submitter = to_leader(self.cluster).await?;
        }
    }
}

async fn to_leader(cluster: &DevCluster) -> Result<Submitter> {
    eventually("the leader's stream of commands", async || {
        Submitter::open(channel_to(&cluster.leader().await?).await?).await
    })
    .await
}

fn now() -> Nanos {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Datagrams to all home addresses in turn.
struct Load {
    ends: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<u64>,
}

impl Load {
    fn start(lab: &Lab) -> Result<Self> {
        let bind = || UdpSocket::bind((CORRESPONDENT, 0));
        let correspondent = Namespace::from(lab.namespaces.correspondent.as_str());
        let socket = correspondent.run(bind)?.context("the correspondent node's socket")?;
        let ends = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            const PORT: u16 = 9;
            let mut sent = 0;
            while !ended.load(Ordering::Relaxed) {
                for host in (0..HOMES_EACH).flat_map(|n| FIRST_HOMES.map(|first| first + n)) {
                    // An error is that of an earlier one: who is not bound is unreachable.
                    let stamp = now().to_be_bytes();
                    sent += u64::from(socket.send_to(&stamp, (home_address(host), PORT)).is_ok());
                    std::thread::sleep(PAUSE);
                }
            }
            sent
        });
        Ok(Self { ends, thread })
    }

    async fn end(self) -> Result<u64> {
        self.ends.store(true, Ordering::Relaxed);
        let joined = tokio::task::spawn_blocking(|| self.thread.join()).await?;
        joined.map_err(|_| anyhow::anyhow!("the load panicked"))
    }
}

/// What a forwarder says of its revision, again and again.
struct Marks {
    ends: Arc<AtomicBool>,
    task: JoinHandle<Result<Vec<Mark>>>,
}

impl Marks {
    fn start(forwarder: Member) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&ends);
        let task = tokio::spawn(async move {
            let mut marks = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                // What cannot be asked now says nothing.
                if let Ok(revision) = revision_of(&forwarder).await {
                    // It was so before the answer was here.
                    marks.push(Mark { at: now(), revision });
                }
                tokio::time::sleep(MARK_PAUSE).await;
            }
            Ok(marks)
        });
        Self { ends, task }
    }

    async fn end(self) -> Result<Vec<Mark>> {
        self.ends.store(true, Ordering::Relaxed);
        self.task.await?
    }
}

async fn revision_of(forwarder: &Member) -> Result<u64> {
    Ok(metric(forwarder, "homeport_forwarder_revision").await?.parse()?)
}

/// The packets of a capture (classic pcap, Ethernet), by what is in the tunnels.
fn tunnelled(pcap: &[u8]) -> Result<Vec<Tunnelled>> {
    const FILE_HEADER_LEN: usize = 24;
    const RECORD_HEADER_LEN: usize = 16;
    const ETHERNET_LEN: usize = 14;
    let mut rest = pcap.get(FILE_HEADER_LEN..).context("no capture")?;
    let mut packets = Vec::new();
    while let Some((header, after)) = rest.split_at_checked(RECORD_HEADER_LEN) {
        // Written in this machine's order.
        let len = header.get(8..12).and_then(|it| it.try_into().ok()).map(u32::from_ne_bytes);
        let len = usize::try_from(len.context("a record")?)?;
        // The last one may be cut off.
        let Some((frame, next)) = after.split_at_checked(len) else { break };
        packets.extend(frame.get(ETHERNET_LEN..).and_then(inside));
        rest = next;
    }
    Ok(packets)
}

/// The datagram of [`Load`] in a tunnel; `None` for all else.
fn inside(packet: &[u8]) -> Option<Tunnelled> {
    const UDP_LEN: usize = 8;
    let outer = walk(packet).ok().filter(|outer| outer.upper == protocol::IPV6)?;
    let inner = walk(outer.payload).ok().filter(|inner| inner.upper == protocol::UDP)?;
    let stamp = inner.payload.get(UDP_LEN..)?.try_into().ok()?;
    Some(Tunnelled {
        sent: u64::from_be_bytes(stamp),
        home_address: inner.header.destination,
        care_of: outer.header.destination,
    })
}
