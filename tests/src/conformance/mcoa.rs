//! Scripts of several care-of addresses (RFC 5648) that are no story of steps.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::base::home_test_through;
use super::catalogue::Row;
use super::decode::{Acknowledgement, Body, Packet};
use super::discovery::solicited;
use super::packet::{
    CareOf, MobilityOption, Update, bid, bid6, flag, ipv6, option, ping, protocol,
};
use super::stage::{CannotRun, PATIENCE, Stage};

/// Verification of care-of addresses is not built.
pub async fn unverified(_stage: &Stage, _row: &Row) -> Result<()> {
    Err(CannotRun("verification of care-of addresses comes later".to_owned()).into())
}

/// A Binding Update for these BIDs, each at the care-of address of its number.
#[must_use]
pub fn bulk(stage: &Stage, sequence: u16, bids: &[u16]) -> Update {
    let options = bids.iter().map(|id| bid6(*id, stage.coa(*id))).collect();
    Update { options, ..stage.update(sequence) }
}

/// Every length that the option must not have.
pub async fn bid_lengths(stage: &Stage, _row: &Row) -> Result<()> {
    for (sequence, len) in (1..).zip([0_usize, 1, 3, 5, 7, 9, 12, 19, 21, 255]) {
        let mut data = vec![0, 1, 0, 0];
        data.extend(stage.coa(1).octets());
        data.resize(len, 0);
        let update = stage.update(sequence).with(option(35, &data));
        let ba = stage.register(&update, stage.coa(1)).await;
        let ba = ba.with_context(|| format!("length {len}"))?;
        ensure!(ba.status == 164, "BA {} for length {len}, expected 164", ba.status);
        let expected: &[(u16, u8)] = if len < 2 { &[] } else { &[(1, 0)] };
        ensure!(ba.bid_statuses() == expected, "length {len}: {:?}", ba.bid_statuses());
    }
    stage.is_unbound(stage.coa(1)).await?;
    ensure!(stage.stored().await?.is_empty(), "something was stored");
    Ok(())
}

/// Unknown options and padding around a BID option.
pub async fn padding(stage: &Stage, _row: &Row) -> Result<()> {
    let pad1 = || MobilityOption { align: (4, 1), ..option(200, &[1, 2, 3]) };
    let misaligned = |n: u16, at: usize| MobilityOption { align: (8, at), ..bid6(n, stage.coa(n)) };
    let around = |option: MobilityOption| vec![pad1(), option, pad1()];
    let ways = [
        around(bid6(1, stage.coa(1))),
        around(misaligned(1, 3)),
        around(misaligned(1, 0)),
        vec![option(1, &[0; 5]), misaligned(1, 7), option(1, &[])],
        vec![misaligned(1, 5), misaligned(2, 4), pad1()],
    ];
    for (sequence, options) in (1..).zip(ways) {
        let count = options.iter().filter(|option| option.kind == 35).count();
        let update = Update { options, ..stage.update(sequence) };
        let ba = stage.accepted(&update, stage.coa(1)).await;
        let ba = ba.with_context(|| format!("way {sequence}"))?;
        ensure!(ba.bids().len() == count, "way {sequence}: {:?}", ba.bid_statuses());
        stage.is_bound(stage.coa(1)).await?;
    }
    stage.is_bound(stage.coa(2)).await
}

/// BID lists as every replica shows them, while they are replaced again and again.
pub async fn atomic_overwrite(stage: &Stage, _row: &Row) -> Result<()> {
    const ROUNDS: u16 = 12;
    let (old, new): (&[u16], &[u16]) = (&[1, 2, 3], &[4, 5]);
    stage.accepted(&bulk(stage, 1, old), stage.coa(1)).await?;
    let sets = [old, new].map(|bids| bids.iter().copied().map(u32::from).collect());
    let writes = async {
        for round in 0..ROUNDS {
            let bids = if round % 2 == 0 { new } else { old };
            let update = bulk(stage, 2 + round, bids).and(flag::O);
            stage.accepted(&update, stage.coa(bids[0])).await?;
        }
        anyhow::Ok(())
    };
    let seen = watch(stage, &sets, writes).await?;
    ensure!(seen > u64::from(ROUNDS), "only {seen} looks at the replicas");
    stage.accepted(&bulk(stage, 2 + ROUNDS, new).and(flag::O), stage.coa(4)).await?;
    for n in 1..=3 {
        stage.is_unbound(stage.coa(n)).await?;
    }
    stage.is_bound(stage.coa(4)).await?;
    stage.is_bound(stage.coa(5)).await
}

/// Looks at every replica while `writes` go on: each must show one of these sets, or nothing before it
/// has caught up. Gives the number of looks.
pub async fn watch(
    stage: &Stage,
    sets: &[BTreeSet<u32>],
    writes: impl Future<Output = Result<()>>,
) -> Result<u64> {
    let mut looks = 0;
    let looking = async {
        loop {
            for store in stage.lab.cluster.endpoints()?.stores {
                // Who is down shows nothing.
                let Ok(seen) = stage.stored_at(&store).await else { continue };
                ensure!(seen.is_empty() || sets.contains(&seen), "{} shows {seen:?}", store.name);
                looks += 1;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::select! {
        written = writes => written?,
        stopped = looking => return stopped,
    }
    Ok(looks)
}

/// Sends a packet in fragments that fit 1280 octets, as its source must (RFC 8200 section 4.5).
async fn send_in_fragments(stage: &Stage, packet: &[u8]) -> Result<()> {
    // The Destination Options header stands before the Fragment header (RFC 6275 section 6.3).
    let (unfragmentable, rest) = packet.split_at(40 + 24);
    const PART: usize = 1200;
    let parts = rest.chunks(PART).count();
    for (n, part) in rest.chunks(PART).enumerate() {
        let mut fragment = unfragmentable.to_vec();
        fragment[40] = protocol::FRAGMENT;
        let more = u16::from(n + 1 < parts);
        let offset = u16::try_from(n * PART)? | more;
        fragment.extend([protocol::MOBILITY, 0]);
        fragment.extend(offset.to_be_bytes());
        fragment.extend([0, 0, 0x41, 0x91]);
        fragment.extend(part);
        let len = u16::try_from(fragment.len() - 40)?;
        fragment[4..6].copy_from_slice(&len.to_be_bytes());
        stage.send(&fragment).await?;
    }
    Ok(())
}

/// Binding Updates as large as they get.
pub async fn big_bulk(stage: &Stage, _row: &Row) -> Result<()> {
    let with_care_of = |count: u16| -> Vec<MobilityOption> {
        (1..=count).map(|n| bid6(n, stage.many_coa(n))).collect()
    };
    let bare: Vec<MobilityOption> = (1..=200).map(|n| bid(n, CareOf::Absent)).collect();
    for (sequence, options) in (1..).zip([with_care_of(12), with_care_of(60), bare]) {
        let count = options.len();
        stage.step().await;
        let update = Update { options, ..stage.update(sequence) };
        let packet = stage.packet(&update, stage.coa(1));
        if packet.len() > 1500 {
            send_in_fragments(stage, &packet).await?;
        } else {
            stage.send(&packet).await?;
        }
        let answer = stage.receive("a BA", PATIENCE, |packet| {
            packet.acknowledgement().filter(|ba| ba.sequence == sequence)
        });
        let (ba, _) =
            answer.await.with_context(|| format!("{count} options in {} octets", packet.len()))?;
        ensure!(ba.bids().len() == count, "{count} options: {} come back", ba.bids().len());
        let refused = ba.bids().iter().find(|bid| !matches!(bid.status, 0 | 130 | 167)).copied();
        ensure!(refused.is_none(), "{count} options: {refused:?}");
    }
    stage.is_bound(stage.many_coa(12)).await.or(stage.is_bound(stage.coa(1)).await)
}

/// Two Binding Updates at once, again and again.
pub async fn sequence_race(stage: &Stage, _row: &Row) -> Result<()> {
    for base in (10..400_u16).step_by(20) {
        stage.step().await;
        let (higher, lower) = (base + 10, base + 9);
        let updates = [(higher, 1_u16), (lower, 2_u16)];
        for (sequence, n) in updates {
            let update = bulk(stage, sequence, &[n]);
            stage.send(&stage.packet(&update, stage.coa(n))).await?;
        }
        let mut answers: Vec<Acknowledgement> = Vec::new();
        for n in [1, 2] {
            let to = IpAddr::V6(stage.coa(n));
            let read =
                |packet: &Packet| packet.acknowledgement().filter(|_| packet.destination == to);
            answers.push(stage.receive("a Binding Acknowledgement", PATIENCE, read).await?.0);
        }
        let told: Vec<(u8, u16)> = answers.iter().map(|ba| (ba.status, ba.sequence)).collect();
        let higher_first = told == [(0, higher), (135, higher)];
        let lower_first = told == [(0, higher), (0, lower)];
        ensure!(higher_first || lower_first, "to {higher} and {lower} came {told:?}");
    }
    stage.is_bound(stage.coa(1)).await
}

/// Home tests from and to any of three care-of addresses.
pub async fn home_tests(stage: &Stage, _row: &Row) -> Result<()> {
    stage.accepted(&bulk(stage, 1, &[1, 2, 3]), stage.coa(1)).await?;
    for n in 1..=3 {
        home_test_through(stage, n, true).await?;
    }
    stage.step().await;
    let data = [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9, 9, 9, 9, 9];
    let header = super::packet::Mobility::new(3, &data, &[]).emit(stage.cn(), stage.hoa);
    stage.send(&ipv6(stage.cn(), stage.hoa, protocol::MOBILITY, &header)).await?;
    let is_home_test = |packet: &Packet| {
        let inner = packet.tunnelled();
        inner.is_some_and(|inner| matches!(&inner.body, Body::Mobility(mh) if mh.kind == 3))
    };
    let read = |packet: &Packet| is_home_test(packet).then_some(packet.destination);
    let (to, _) = stage.receive("the tunnelled HoT", PATIENCE, read).await?;
    ensure!((1..=3).any(|n| to == IpAddr::V6(stage.coa(n))), "the HoT went to {to}");
    stage.silence(super::stage::SILENCE, is_home_test).await
}

/// Prefix solicitations from each of three care-of addresses.
pub async fn solicit_from_each(stage: &Stage, _row: &Row) -> Result<()> {
    stage.accepted(&bulk(stage, 1, &[1, 2, 3]), stage.coa(1)).await?;
    for n in 1..=3 {
        // One advertisement a second for a mobile node (RFC 6275 section 10.6.3).
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let prefixes = solicited(stage, stage.coa(n), 0).await?;
        ensure!(!prefixes.is_empty(), "no prefix");
    }
    Ok(())
}

/// Either forwarder chooses the same of three bindings.
pub async fn same_choice(stage: &Stage, _row: &Row) -> Result<()> {
    stage.accepted(&bulk(stage, 1, &[1, 2, 3]), stage.coa(1)).await?;
    let by_one = stage.ping_through(stage.hoa).await?.destination;
    stage.lab.route(stage.hoa, 1 - usize::from(stage.case % 2)).await?;
    for _ in 0..3 {
        let by_other = stage.ping_through(stage.hoa).await?.destination;
        ensure!(by_one == by_other, "one sends to {by_one}, the other to {by_other}");
    }
    Ok(())
}

/// Binding Refresh Requests before the end of bindings that are used.
pub async fn refresh_request(stage: &Stage, _row: &Row) -> Result<()> {
    // It is due when 30 s are left.
    let update = bulk(stage, 1, &[1, 2]).lifetime(9);
    stage.accepted(&update, stage.coa(1)).await?;
    let is_request = |packet: &Packet| {
        let inner = packet.tunnelled().unwrap_or(packet);
        let Body::Mobility(mh) = &inner.body else { return None };
        (mh.kind == 0).then(|| (mh.data.clone(), inner.destination))
    };
    let what = "a Binding Refresh Request";
    for second in 0..35_u16 {
        for n in [1, 2] {
            let inner = ping(stage.hoa, stage.cn(), 900 + n, second);
            stage.send(&ipv6(stage.coa(n), stage.home.agent, protocol::IPV6, &inner)).await?;
        }
        let Ok(((data, to), _)) = stage.receive(what, Duration::from_secs(1), is_request).await
        else {
            continue;
        };
        ensure!(to == IpAddr::V6(stage.hoa), "it is for {to}");
        let bids = [[35, 4, 0, 1], [35, 4, 0, 2]];
        let named = |bid: &[u8; 4]| data.windows(4).any(|window| window == bid);
        ensure!(bids.iter().all(named), "it names {data:02x?}");
        return Ok(());
    }
    anyhow::bail!("no {what} in 35 s")
}

/// Refreshes that race with the end of the lifetime.
pub async fn expiry_race(stage: &Stage, _row: &Row) -> Result<()> {
    let mut sequence = 0;
    for late_ms in [3960_u64, 3990, 4000, 4010, 4040] {
        sequence += 1;
        stage.accepted(&bulk(stage, sequence, &[1, 2]).lifetime(1), stage.coa(1)).await?;
        tokio::time::sleep(Duration::from_millis(late_ms)).await;
        sequence += 1;
        let refresh = stage.update(sequence).with(bid(1, CareOf::Absent)).lifetime(3);
        let ba = stage.register(&refresh, stage.coa(1)).await?;
        let is_bound = stage.is_bound(stage.coa(1)).await.is_ok();
        match ba.status {
            0 => ensure!(is_bound, "{late_ms} ms: refreshed, but not bound"),
            167 => ensure!(!is_bound, "{late_ms} ms: gone by the BA, but bound"),
            other => anyhow::bail!("{late_ms} ms: BA {other}"),
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        stage.is_unbound(stage.coa(2)).await.with_context(|| format!("{late_ms} ms: BID 2"))?;
        sequence += 1;
        let end = stage.update(sequence).lifetime(0);
        let ba = stage.register(&end, stage.coa(1)).await?;
        ensure!(matches!(ba.status, 0 | 133), "de-registration: BA {}", ba.status);
        stage.is_unbound(stage.coa(1)).await?;
    }
    Ok(())
}
