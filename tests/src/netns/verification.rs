//! A mobile node that names other people's addresses as its own (RFC 5648 §10): every octet that comes to them
//! is counted.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use homeport_api::admin::home_prefixes_client::HomePrefixesClient;
use homeport_api::admin::{HomePrefix, UpdateHomePrefixRequest};
use homeport_wire::{
    Bid, BidCareOf, BidOption, BidPriority, BuFlags, Icmpv6, PacketBuilder, Status, encapsulate_v6,
    protocol, verification, walk,
};

use super::lab::{HOME_PREFIX, Lab};
use super::raw::{RawLink, echo_request};
use crate::dev::channel_to;
use crate::updates::{HOME_AGENT, Update, acknowledgement, home_address};
use crate::{eventually, ops};

const HOME: Ipv6Addr = home_address(0x201);
/// Of the mobile node, and of somebody who sends to it: on the link of the test.
const CARE_OF: Ipv6Addr = on_link(0x11);
const SENDER: Ipv6Addr = on_link(0x77);
/// Of others, on the same link.
const VICTIMS: u16 = 50;
/// Octets of the largest test.
const TEST_OCTETS_MAX: usize = 100;
const IDENTIFIER: u16 = 0x5648;

const fn on_link(host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0xe, 0, 0, 0, 0, host)
}

const fn victim(n: u16) -> Ipv6Addr {
    on_link(0x1000 + n)
}

/// What has come to one address.
#[derive(Clone, Default, Debug)]
struct Came {
    packets: usize,
    octets: usize,
    payload_octets: usize,
    nonce: Option<[u8; 16]>,
}

impl Came {
    /// One small packet, and another for each minute that has passed.
    fn is_within(&self, elapsed: Duration) -> bool {
        let tests_max = usize::try_from(elapsed.as_secs() / 60).unwrap_or(usize::MAX) + 1;
        (1..=tests_max).contains(&self.packets) && self.octets <= self.packets * TEST_OCTETS_MAX
    }
}

/// Bound to fifty victims, nothing goes there but a test; who answers it, or registers from there, is served.
pub(super) async fn tell(lab: &mut Lab) -> Result<()> {
    allow_many(lab).await?;
    let link = lab.raw_link().await?;
    let mut seen = BTreeMap::new();
    let started = Instant::now();

    let all = (1..=VICTIMS).map(|n| option(n + 1, victim(n)));
    let own_first: Vec<_> = std::iter::once(option(1, CARE_OF)).chain(all.clone()).collect();
    register(&link, CARE_OF, 1, own_first, BuFlags::default(), &mut seen).await?;
    send_and_look(&link, 20, &mut seen).await?;
    let own = seen.remove(&CARE_OF).unwrap_or_default();
    ensure!(own.payload_octets > 0, "its own address gets its packets: {own:?}");

    // Without an address of its own among them nothing is left for packets.
    let before = dropped(lab).await?;
    register(&link, CARE_OF, 2, all.collect(), BuFlags::OVERWRITE, &mut seen).await?;
    send_and_look(&link, 20, &mut seen).await?;
    ensure!(dropped(lab).await? - before >= 20.0, "the packets are counted");
    for n in 1..=VICTIMS {
        let came = seen.get(&victim(n)).with_context(|| format!("{} was not tested", victim(n)))?;
        ensure!(came.payload_octets == 0, "payload went to {}: {came:?}", victim(n));
        ensure!(came.is_within(started.elapsed()), "{}: {came:?}", victim(n));
    }
    let came = || (1..=VICTIMS).filter_map(|n| seen.get(&victim(n)));
    let worst = came().map(|came| came.octets / came.packets.max(1)).max().unwrap_or_default();
    let to_victims: usize = came().map(|came| came.payload_octets).sum();
    lab.figure("payload to addresses that are not verified", count(to_victims)?, "octets");
    lab.figure("octets of a test, of which each gets one a minute", count(worst)?, "octets");

    // The packet that answers a test is not enough, it takes the nonce of that address.
    let nonce = seen.get(&victim(1)).and_then(|came| came.nonce).context("a test has a nonce")?;
    link.send(&answer(victim(1), [0x5a; 16])).await?;
    link.send(&encapsulate_v6(&reverse_answer([0xa5; 16]), victim(2), HOME_AGENT, 64, 0, 0))
        .await?;
    send_and_look(&link, 10, &mut seen).await?;
    let payload = |seen: &BTreeMap<Ipv6Addr, Came>, n| {
        seen.get(&victim(n)).map_or(0, |came| came.payload_octets)
    };
    ensure!((1..=VICTIMS).all(|n| payload(&seen, n) == 0), "a forged answer was believed");
    link.send(&answer(victim(1), nonce)).await?;
    eventually("payload at the address that has answered", async || {
        send_and_look(&link, 1, &mut seen).await?;
        ensure!(payload(&seen, 1) > 0, "nothing yet");
        Ok(())
    })
    .await?;

    // A Binding Update from there shows it as well.
    register(&link, victim(3), 3, vec![option(4, victim(3))], BuFlags::OVERWRITE, &mut seen)
        .await?;
    eventually("payload at the address that has registered", async || {
        send_and_look(&link, 1, &mut seen).await?;
        ensure!(payload(&seen, 3) > 0, "nothing yet");
        Ok(())
    })
    .await?;
    let others = (1..=VICTIMS).filter(|n| ![1, 3].contains(n));
    ensure!(others.clone().all(|n| payload(&seen, n) == 0), "payload went to a victim");
    let mut others = others.filter_map(|n| seen.get(&victim(n)));
    ensure!(others.all(|came| came.is_within(started.elapsed())), "a victim was tested too often");
    lab.decode().map(drop)
}

/// As many bindings as there are victims.
async fn allow_many(lab: &Lab) -> Result<()> {
    let home_prefix = Some(HomePrefix {
        prefix: HOME_PREFIX.to_owned(),
        bindings_per_home_address_max: 64,
        care_of_verification: Some(true),
        ..HomePrefix::default()
    });
    let update_mask =
        ["bindings_per_home_address_max", "care_of_verification"].map(str::to_owned).to_vec();
    let request = UpdateHomePrefixRequest { home_prefix, update_mask, ..Default::default() };
    let leader = channel_to(&lab.cluster.leader().await?).await?;
    HomePrefixesClient::new(leader).update_home_prefix(request).await?;
    Ok(())
}

fn option(bid: u16, care_of: Ipv6Addr) -> BidOption {
    BidOption {
        bid: Bid(bid),
        status: Status::ACCEPTED,
        home: false,
        priority: BidPriority::UNSET,
        care_of: BidCareOf::V6(care_of),
    }
}

async fn register(
    link: &RawLink,
    from: Ipv6Addr,
    sequence: u16,
    bids: Vec<BidOption>,
    flags: BuFlags,
    seen: &mut BTreeMap<Ipv6Addr, Came>,
) -> Result<()> {
    let update = Update { care_of: from, bids, ..Update::new(HOME, sequence) };
    let update = Update { flags: update.flags.with(flags), ..update };
    link.send(&update.packet()).await?;
    loop {
        let packet = link.next(crate::PATIENCE).await?.context("no acknowledgement came")?;
        if let Ok(answer) = acknowledgement(&packet) {
            ensure!(answer.destination == from, "{answer:?}");
            ensure!(answer.status() == 0, "{answer:?}");
            return Ok(());
        }
        note(&packet, seen);
    }
}

/// So many packets for the home address, and what comes of it.
async fn send_and_look(
    link: &RawLink,
    packets: u16,
    seen: &mut BTreeMap<Ipv6Addr, Came>,
) -> Result<()> {
    for _ in 0..packets {
        link.send(&echo_request(SENDER, HOME, IDENTIFIER)).await?;
    }
    while let Some(packet) = link.next(Duration::from_millis(500)).await? {
        note(&packet, seen);
    }
    Ok(())
}

fn note(packet: &[u8], seen: &mut BTreeMap<Ipv6Addr, Came>) {
    let Ok(walked) = walk(packet) else { return };
    let came = seen.entry(walked.header.destination).or_default();
    came.packets += 1;
    came.octets += packet.len();
    let asked = Icmpv6::parse(walked.payload, walked.pseudo_header());
    match asked {
        Ok(Icmpv6::EchoRequest { data, .. })
            if walked.upper == protocol::ICMPV6 && walked.routing_home_address == Some(HOME) =>
        {
            came.nonce = verification::nonce(data);
        }
        _ => came.payload_octets += packet.len(),
    }
}

fn reply(nonce: [u8; 16]) -> Vec<u8> {
    let data = verification::data(nonce);
    Icmpv6::EchoReply { identifier: 0, sequence: 0, data: &data }.emit(HOME, HOME_AGENT)
}

/// The answer to a test, from a care-of address.
fn answer(from: Ipv6Addr, nonce: [u8; 16]) -> Vec<u8> {
    let packet = PacketBuilder::new(from, HOME_AGENT).home_address_option(Some(HOME));
    packet.build(protocol::ICMPV6, &reply(nonce))
}

/// The same for a tunnel.
fn reverse_answer(nonce: [u8; 16]) -> Vec<u8> {
    PacketBuilder::new(HOME, HOME_AGENT).build(protocol::ICMPV6, &reply(nonce))
}

/// Packets that the forwarders have dropped because no address is verified.
async fn dropped(lab: &Lab) -> Result<f64> {
    const SAMPLE: &str = "homeport_forwarder_drops_total{reason=\"care_of_unverified\"}";
    let mut all = 0.0;
    for forwarder in lab.cluster.endpoints()?.forwarders {
        all += ops::metric(forwarder.ops, SAMPLE).await?;
    }
    Ok(all)
}

fn count(octets: usize) -> Result<f64> {
    Ok(f64::from(u32::try_from(octets)?))
}
