//! Floods of each kind of input, ten times what is handed on of it, while honest mobile nodes refresh their bindings.
//!
//! Half of a flood comes from one network, half from networks without number. What counts: honest refreshes that are
//! answered, the memory of all processes, and how many octets come back for each that was sent.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use homeport_api::admin::Subscriber;
use homeport_hostnet::{Namespace, Network, Route};
use homeport_wire::{
    Bid, BidOption, CareOfTestInit, DiscoveryFlags, HomeTestInit, Icmpv6, Message, Options,
    PacketBuilder, PseudoHeader, encapsulate_v6, mobility_packet, protocol, udp_v4_packet, walk,
};

use super::lab::Lab;
use super::raw::{RawLink, echo_request};
use super::{Figure, Outcome, possible};
use crate::updates::{Association, HOME_AGENT, Update, acknowledgement, home_address};

/// Packets a second of each flood: ten times what is handed on of one network.
const FLOOD_PER_SECOND: u64 = 5_000;
/// Packets between two looks at the clock.
const BURST: u64 = 50;
/// Honest mobile nodes; each refreshes once a second.
const HONEST: u16 = 20;
const FIRST_HONEST: u16 = 0x200;
/// RFC 6275 §11.8: after 1 s a Binding Update is sent again, then after 2 s, and 4 s.
const ATTEMPTS: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
/// Networks of the flood.
const FLOOD_NETWORKS: &str = "2001:db8:e000::/36";
const FLOOD_NETWORKS_V4: &str = "198.18.0.0/15";
/// The home agent's IPv4 address.
const AGENT_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const KEY: [u8; 16] = *b"honest-node-key!";
const SPI: u32 = 0x100;
const NAI: &str = "";

/// The n-th packet of a flood.
type Make = fn(u64) -> Vec<u8>;

/// Each kind of input that needs no key.
const KINDS: [(&str, Make); 14] = [
    ("forged_updates", |n| {
        let association = Association { nai: NAI, spi: SPI, key: [9; 16], message_id: None };
        Update { association: Some(association), ..forged(n) }.packet()
    }),
    ("clear_updates", |n| forged(n).packet()),
    ("forged_esp", |n| {
        let octets: Vec<u8> =
            [0_u8, 0, 0x10, 1].into_iter().chain((0..100).map(|at| mixed(n + at))).collect();
        PacketBuilder::new(source(n), HOME_AGENT)
            .home_address_option(Some(honest(n)))
            .build(protocol::ESP, &octets)
    }),
    ("home_tests", |n| {
        let message = HomeTestInit { cookie: n.to_be_bytes(), options: Options::EMPTY };
        mobility(n, &Message::HomeTestInit(message))
    }),
    ("care_of_tests", |n| {
        let message = CareOfTestInit { cookie: n.to_be_bytes(), options: Options::EMPTY };
        mobility(n, &Message::CareOfTestInit(message))
    }),
    ("unknown_messages", |n| {
        // Home Address option and addresses of a Binding Update, and a Mobility Header of an unknown type.
        let (source, home) = (source(n), honest(n));
        let mut octets = vec![protocol::NO_NEXT, 1, 0xee, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let sum = homeport_wire::checksum(PseudoHeader::mobility(home, HOME_AGENT), &octets);
        octets.splice(4..6, sum.to_be_bytes());
        mobility_packet(source, HOME_AGENT, Some(home), None, &octets)
    }),
    ("discoveries", |n| {
        let anycast = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0xfdff, 0xffff, 0xffff, 0xfffe);
        let message =
            Icmpv6::HomeAgentAddressDiscoveryRequest { identifier: 7, flags: DiscoveryFlags(0) };
        icmpv6(source(n), anycast, &message)
    }),
    ("solicitations", |n| {
        let message = Icmpv6::MobilePrefixSolicitation { identifier: 7 };
        PacketBuilder::new(source(n), HOME_AGENT)
            .home_address_option(Some(honest(n)))
            .build(protocol::ICMPV6, &message.emit(honest(n), HOME_AGENT))
    }),
    ("echoes", |n| echo_request(source(n), HOME_AGENT, 7)),
    ("datagrams", |n| {
        PacketBuilder::new(source(n), HOME_AGENT).build(protocol::UDP, &[0, 7, 0, 9, 0, 8, 0, 0])
    }),
    ("fragments", |n| {
        let mut payload = vec![protocol::UDP, 0, 0, 1];
        payload.extend(u32::try_from(n & 0xffff_ffff).unwrap_or(0).to_be_bytes());
        payload.extend([0x5a; 512]);
        PacketBuilder::new(source(n), HOME_AGENT).build(protocol::FRAGMENT, &payload)
    }),
    ("tunnels", |n| {
        let inner = echo_request(honest(n), HOME_AGENT, 7);
        encapsulate_v6(&inner, source(n), HOME_AGENT, 64, 0, 0)
    }),
    ("packets_too_big", |n| {
        let inner = echo_request(honest(n), HOME_AGENT, 7);
        let invoking = encapsulate_v6(&inner, HOME_AGENT, care_of(n), 64, 0, 0);
        icmpv6(source(n), HOME_AGENT, &Icmpv6::PacketTooBig { mtu: 1280, invoking: &invoking })
    }),
    ("udp_octets", |n| {
        let [.., high, low] = n.to_be_bytes();
        let peer = Ipv4Addr::new(198, 18, if n.is_multiple_of(2) { 1 } else { high }, low);
        let octets: Vec<u8> = (0..64).map(|at| mixed(n + at)).collect();
        udp_v4_packet((peer, 40_000), (AGENT_V4, 4191), &octets)
    }),
];

/// A number that looks like none.
fn mixed(n: u64) -> u8 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0]
}

/// Every other packet comes from one network, the others from one of a million.
fn source(n: u64) -> Ipv6Addr {
    let [.., c, b, a] = n.wrapping_mul(0x9e37_79b9).to_be_bytes();
    let network = if n.is_multiple_of(2) { 1 } else { u16::from_be_bytes([b, a]) };
    Ipv6Addr::new(0x2001, 0xdb8, 0xe000 | u16::from(c & 0x0f), network, 0, 0, 0, 0x66)
}

fn honest(n: u64) -> Ipv6Addr {
    home_address(FIRST_HONEST + u16::try_from(n % u64::from(HONEST)).unwrap_or(0))
}

/// On the test's link; another network for each, as mobile nodes are.
fn care_of(n: u64) -> Ipv6Addr {
    let host = u16::try_from(n % u64::from(HONEST)).unwrap_or(0);
    Ipv6Addr::new(0x2001, 0xdb8, 0xe, 0, 0, 0, 0, 0x200 + host)
}

/// A Binding Update for an honest node's home address, from a liar.
fn forged(n: u64) -> Update {
    let bids = vec![BidOption::v6(Bid(1), source(n))];
    let sequence = u16::from_be_bytes([mixed(n), mixed(n + 1)]);
    Update { care_of: source(n), bids, ..Update::new(honest(n), sequence) }
}

fn mobility(n: u64, message: &Message<'_>) -> Vec<u8> {
    let source = source(n);
    mobility_packet(source, HOME_AGENT, None, None, &message.emit(source, HOME_AGENT))
}

fn icmpv6(source: Ipv6Addr, destination: Ipv6Addr, message: &Icmpv6<'_>) -> Vec<u8> {
    PacketBuilder::new(source, destination)
        .build(protocol::ICMPV6, &message.emit(source, destination))
}

/// Runs it as a test: skipped, and loudly, where the host does not let us.
///
/// # Errors
/// What did not hold.
pub async fn test(each: Duration) -> Result<()> {
    use std::io::Write as _;
    if let Err(reason) = possible() {
        writeln!(std::io::stderr(), "\n*** SKIPPED floods: {reason}\n")?;
        return Ok(());
    }
    // A second of each kind has some hundred refreshes, on a machine that others use too.
    let outcome = run(each, 99.0).await;
    for Figure { name, value, unit } in &outcome.figures {
        println!("{name}: {value} {unit}");
    }
    outcome.result
}

/// Runs each flood for so long in a laboratory of its own, which is gone afterwards.
pub async fn run(each: Duration, demanded_percent: f64) -> Outcome {
    let mut lab = match Lab::start_unseen("mn-ha").await {
        Ok(lab) => lab,
        Err(error) => {
            let result = Err(error.context("the laboratory"));
            let (figures, frames_decoded, frames_malformed) = (Vec::new(), 0, 0);
            return Outcome { result, figures, frames_decoded, frames_malformed };
        }
    };
    let told = tell(&mut lab, each, demanded_percent).await;
    let result = told.map_err(|error| error.context(lab.cluster.logs()));
    lab.outcome(result)
}

async fn tell(lab: &mut Lab, each: Duration, demanded_percent: f64) -> Result<()> {
    for host in 0..HONEST {
        let home_address = home_address(FIRST_HONEST + host).to_string();
        let (spi, key) = (SPI, KEY.to_vec().into());
        lab.subscribe(Subscriber { home_address, spi, key, ..Subscriber::default() }).await?;
    }
    let link = Arc::new(lab.raw_link().await?);
    let router = Network::open(&Namespace::from(lab.namespaces.router.as_str()))?;
    for networks in [FLOOD_NETWORKS, FLOOD_NETWORKS_V4] {
        router.replace_route(&Route::to(networks.parse()?).device("raw0")).await?;
    }
    let seen = Arc::new(Seen::default());
    let reader = tokio::spawn(read(Arc::clone(&link), Arc::clone(&seen)));
    let stop = Arc::new(AtomicBool::new(false));
    let nodes: Vec<_> = (0..HONEST)
        .map(|host| {
            tokio::spawn(refresh(host, Arc::clone(&link), Arc::clone(&seen), Arc::clone(&stop)))
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(3)).await;
    ensure!(
        seen.answered.load(Ordering::Relaxed) > 0,
        "no honest node was answered before a flood"
    );
    let before = resident_mib(lab)?;
    let (mut growth, mut total, mut amplification) = (0.0_f64, 0.0_f64, 0.0_f64);
    for (name, make) in KINDS {
        seen.came_back.store(0, Ordering::Relaxed);
        let (packets, octets) = flood(&link, make, each).await?;
        // What is under way yet.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let back = f64::from(u32::try_from(seen.came_back.load(Ordering::Relaxed))?);
        let factor = back / f64::from(u32::try_from(octets)?);
        let grown = resident_mib(lab)?.into_iter().zip(&before).map(|(now, before)| now - before);
        let grown: Vec<f64> = grown.collect();
        let sum: f64 = grown.iter().sum();
        println!(
            "{name}: {packets} packets, {factor:.3} octets back for each, memory {sum:+.1} MiB"
        );
        growth = grown.into_iter().fold(growth, f64::max);
        total = total.max(sum);
        amplification = amplification.max(factor);
    }
    stop.store(true, Ordering::Relaxed);
    for node in nodes {
        node.await??;
    }
    reader.abort();
    let count = |it: &AtomicU64| -> Result<f64> {
        Ok(f64::from(u32::try_from(it.load(Ordering::Relaxed))?))
    };
    let (asked, answered) = (count(&seen.asked)?, count(&seen.answered)?);
    let percent = 100.0 * answered / asked.max(1.0);
    lab.figure("honest_refreshes", asked, "1");
    lab.figure("honest_success_percent", percent, "%");
    lab.figure("honest_first_try_percent", 100.0 * count(&seen.at_once)? / asked.max(1.0), "%");
    lab.figure("rss_growth_mb", growth, "MiB");
    lab.figure("rss_growth_all_mb", total, "MiB");
    lab.figure("amplification_max", amplification, "1");
    ensure!(percent >= demanded_percent, "{answered} of {asked} honest refreshes were answered");
    ensure!(growth <= 64.0, "the memory of one process grew by {growth:.1} MiB");
    ensure!(amplification <= 1.0, "{amplification:.3} octets came back for each that was sent");
    Ok(())
}

/// What has come to the test's link.
#[derive(Default)]
struct Seen {
    /// Octets to the sources of a flood.
    came_back: AtomicU64,
    /// Refreshes of honest nodes, those that were answered, and those without being sent again.
    asked: AtomicU64,
    answered: AtomicU64,
    at_once: AtomicU64,
    /// Sequence number that was acknowledged last, by care-of address.
    acknowledged: Mutex<BTreeMap<Ipv6Addr, u16>>,
}

async fn read(link: Arc<RawLink>, seen: Arc<Seen>) -> Result<()> {
    let honest: Vec<Ipv6Addr> = (0..u64::from(HONEST)).map(care_of).collect();
    loop {
        let Some(packet) = link.next(Duration::from_secs(1)).await? else { continue };
        let to = walk(&packet).ok().map(|walked| walked.header.destination);
        match to.filter(|to| honest.contains(to)) {
            Some(care_of) => {
                if let Ok(answer) = acknowledgement(&packet)
                    && answer.status() == 0
                {
                    let mut all = seen.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
                    all.insert(care_of, answer.message.sequence.0);
                }
            }
            None => {
                let octets = u64::try_from(packet.len())?;
                seen.came_back.fetch_add(octets, Ordering::Relaxed);
            }
        }
    }
}

/// An honest mobile node.
async fn refresh(
    host: u16,
    link: Arc<RawLink>,
    seen: Arc<Seen>,
    stop: Arc<AtomicBool>,
) -> Result<()> {
    let (home, care_of) = (home_address(FIRST_HONEST + host), care_of(host.into()));
    let association = Association { nai: NAI, spi: SPI, key: KEY, message_id: None };
    let association = Some(association);
    tokio::time::sleep(Duration::from_millis(u64::from(host) * 50)).await;
    let mut sequence = 0_u16;
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let mut done = None;
        for (attempt, patience) in ATTEMPTS.into_iter().enumerate() {
            sequence += 1;
            let association = association.clone();
            let update = Update { care_of, association, ..Update::new(home, sequence) };
            link.send(&update.packet()).await?;
            if acknowledged(&seen, care_of, sequence, patience).await {
                done = Some(attempt);
                break;
            }
        }
        seen.asked.fetch_add(1, Ordering::Relaxed);
        seen.answered.fetch_add(u64::from(done.is_some()), Ordering::Relaxed);
        seen.at_once.fetch_add(u64::from(done == Some(0)), Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(1).saturating_sub(began.elapsed())).await;
    }
    Ok(())
}

async fn acknowledged(seen: &Seen, care_of: Ipv6Addr, sequence: u16, patience: Duration) -> bool {
    let end = Instant::now() + patience;
    while Instant::now() < end {
        let newest = {
            let all = seen.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
            all.get(&care_of).copied()
        };
        if newest == Some(sequence) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    false
}

/// Packets and octets that were sent.
async fn flood(link: &RawLink, make: Make, each: Duration) -> Result<(u64, u64)> {
    let (began, mut packets, mut octets) = (Instant::now(), 0, 0);
    while began.elapsed() < each {
        for _ in 0..BURST {
            let packet = make(packets);
            link.send(&packet).await?;
            octets += u64::try_from(packet.len())?;
            packets += 1;
        }
        let due = Duration::from_micros(packets * 1_000_000 / FLOOD_PER_SECOND);
        tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
    }
    Ok((packets, octets))
}

/// Resident memory of each store, front-end and forwarder.
fn resident_mib(lab: &Lab) -> Result<Vec<f64>> {
    let endpoints = lab.cluster.endpoints()?;
    let members = endpoints.stores.iter().chain(&endpoints.front_ends).chain(&endpoints.forwarders);
    let mut all = Vec::new();
    for member in members {
        let pid = member.pid.with_context(|| format!("{} is down", member.name))?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let value = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?;
        all.push(value.parse::<f64>()? / 1024.0);
    }
    Ok(all)
}
