//! Scripts that kill or stop processes of the cluster, and therefore run alone.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::catalogue::Row;
use super::decode::Packet;
use super::mcoa::{bulk, watch};
use super::packet::{CareOf, Update, alternate, bid, bid6, flag};
use super::stage::{PATIENCE, Proof, SILENCE, Stage};
use crate::dev::{Member, kill, status_of};

/// The mobile node's retransmission: the same with the next sequence number, once a second, until it is
/// acknowledged. Gives the sequence number of that.
async fn retransmitted(stage: &Stage, first: u16, update: impl Fn(u16) -> Update) -> Result<u16> {
    for sequence in first..first + 20 {
        let packet = stage.packet(&update(sequence), stage.coa(1));
        stage.send(&packet).await?;
        let read = |packet: &Packet| packet.acknowledgement().filter(|ba| ba.sequence >= first);
        let what = "a Binding Acknowledgement";
        if let Ok((ba, _)) = stage.receive(what, Duration::from_secs(1), read).await {
            ensure!(ba.status == 0, "BA {} sequence {}", ba.status, ba.sequence);
            return Ok(sequence);
        }
    }
    anyhow::bail!("no acknowledgement in 20 s")
}

async fn all_run(stage: &Stage) -> Result<Member> {
    let leader = stage.lab.cluster.leader().await;
    stage.lab.forget_leader().await;
    leader
}

/// The leader is killed while a Binding Update is on its way.
pub async fn kill_before_answer(stage: &Stage, _row: &Row) -> Result<()> {
    let mut sequence = 1;
    stage.accepted(&bulk(stage, sequence, &[1]), stage.coa(1)).await?;
    for added in 2..=4_u16 {
        let leader = all_run(stage).await?;
        let bids: Vec<u16> = (1..=added).collect();
        sequence += 1;
        stage.send(&stage.packet(&bulk(stage, sequence, &bids), stage.coa(1))).await?;
        tokio::time::sleep(Duration::from_millis(u64::from(added) - 2)).await;
        kill(&leader)?;
        sequence = retransmitted(stage, sequence + 1, |n| bulk(stage, n, &bids)).await?;
        all_run(stage).await?;
        let expected: BTreeSet<_> =
            bids.iter().map(|n| (Some(u32::from(*n)), stage.coa(*n).to_string())).collect();
        let stored = stage.stored().await?;
        ensure!(stored == expected, "the store holds {stored:?}");
        for n in bids {
            stage.is_bound(stage.coa(n)).await?;
        }
    }
    Ok(())
}

/// A follower is killed and catches up while whole sets of bindings are replaced.
pub async fn follower_catches_up(stage: &Stage, _row: &Row) -> Result<()> {
    const ROUNDS: u16 = 30;
    let (old, new): (&[u16], &[u16]) = (&[1, 2, 3], &[4, 5]);
    stage.accepted(&bulk(stage, 1, old), stage.coa(1)).await?;
    let leader = all_run(stage).await?;
    let stores = stage.lab.cluster.endpoints()?.stores;
    let follower = stores.iter().find(|store| store.name != leader.name).context("no follower")?;
    let sets = [old, new].map(|bids| bids.iter().copied().map(u32::from).collect());
    let writes = async {
        for round in 0..ROUNDS {
            if round == 5 {
                // By now it may be another process.
                let stores = stage.lab.cluster.endpoints()?.stores;
                let now = stores.iter().find(|store| store.name == follower.name);
                kill(now.context("no follower")?)?;
            }
            let bids = if round % 2 == 0 { new } else { old };
            let update = bulk(stage, 2 + round, bids).and(flag::O);
            stage.accepted(&update, stage.coa(bids[0])).await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::Ok(())
    };
    watch(stage, &sets, writes).await?;
    all_run(stage).await?;
    let latest = &sets[1 - usize::from(ROUNDS % 2)];
    crate::eventually("the follower", async || {
        let seen = stage.stored_at(follower).await?;
        ensure!(seen == sets[usize::from(ROUNDS % 2)] || seen == *latest, "it shows {seen:?}");
        Ok(())
    })
    .await
}

/// Memory of every process, in KiB.
pub(super) fn resident(stage: &Stage) -> Result<Vec<(String, u64)>> {
    let endpoints = stage.lab.cluster.endpoints()?;
    let members = endpoints.stores.iter().chain(&endpoints.front_ends).chain(&endpoints.forwarders);
    members
        .map(|member| {
            let pid = member.pid.with_context(|| format!("{} is down", member.name))?;
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let value = line.and_then(|line| line.split_whitespace().next()).context("VmRSS")?;
            Ok((member.name.clone(), value.parse()?))
        })
        .collect()
}

/// Sixty-four bindings, refreshed again and again.
pub async fn memory(stage: &Stage, _row: &Row) -> Result<()> {
    const BIDS: u16 = 64;
    const GROWTH_MAX_KIB: u64 = 8 * 1024;
    let (whole, interval) = (stage.lab.extent.refreshing, stage.lab.extent.refresh_interval);
    let warm_up = whole / 3;
    let half = |sequence: u16, from: u16| {
        let options = (from..from + BIDS / 2).map(|n| bid6(n, stage.many_coa(n))).collect();
        Update { options, ..stage.update(sequence) }
    };
    stage.accepted(&half(1, 1), stage.coa(1)).await?;
    stage.accepted(&half(2, 1 + BIDS / 2), stage.coa(1)).await?;
    let started = Instant::now();
    let (mut sequence, mut before) = (2_u16, None);
    while started.elapsed() < whole {
        sequence += 1;
        let options = (1..=BIDS).map(|n| bid(n, CareOf::Absent)).collect();
        let refresh = Update { options, ..stage.update(sequence) };
        let ba = stage.accepted(&refresh, stage.coa(1)).await?;
        ensure!(ba.bids().len() == usize::from(BIDS), "{} BIDs come back", ba.bids().len());
        if before.is_none() && started.elapsed() > warm_up {
            before = Some(resident(stage)?);
        }
        tokio::time::sleep(interval).await;
    }
    let before = before.context("no first measurement")?;
    for ((name, before), (_, after)) in before.into_iter().zip(resident(stage)?) {
        ensure!(after <= before + GROWTH_MAX_KIB, "{name} grew from {before} to {after} KiB");
    }
    stage.is_bound(stage.many_coa(1)).await?;
    stage.is_bound(stage.many_coa(BIDS)).await
}

/// All replicas are killed at the instant of the acknowledgement.
pub async fn kill_all_at_answer(stage: &Stage, _row: &Row) -> Result<()> {
    for sequence in 1..=3 {
        let n = sequence;
        let update = stage.update(sequence).with(alternate(stage.coa(n)));
        stage.accepted(&update, stage.coa(n)).await?;
        // Who they are now: a step before the Binding Update may have killed one of them.
        stage.lab.cluster.endpoints()?.stores.iter().try_for_each(kill)?;
        all_run(stage).await?;
        let expected = BTreeSet::from([(None, stage.coa(n).to_string())]);
        let stored = stage.stored().await?;
        ensure!(stored == expected, "after the restart the store holds {stored:?}");
        stage.is_bound(stage.coa(n)).await?;
    }
    Ok(())
}

/// Binding Updates by either forwarder, which all front-ends serve.
pub async fn each_node(stage: &Stage, _row: &Row) -> Result<()> {
    let own = usize::from(stage.case % 2);
    let (spi, key) = stage.association();
    let result = async {
        for sequence in 1..=12_u16 {
            let side = usize::from(sequence % 2);
            stage.lab.route(stage.home.agent, side).await?;
            let n = 1 + sequence % 3;
            let update = Update { association: Some((spi, key)), ..stage.update(sequence) };
            stage.accepted(&update, stage.coa(n)).await?;
            stage.is_bound(stage.coa(n)).await?;
        }
        anyhow::Ok(())
    };
    let result = result.await;
    stage.lab.route(stage.home.agent, own).await?;
    result
}

/// What the acknowledgement says is true at the forwarder that sent it, at once.
pub async fn at_once(stage: &Stage, _row: &Row) -> Result<()> {
    // With a leader killed between all steps each round takes seconds.
    let rounds = if stage.lab.steps.enabled() { 12 } else { 60_u16 };
    for sequence in 1..=rounds {
        let (old, new) = (1 + sequence % 3, 1 + (sequence + 1) % 3);
        stage.accepted(&stage.update(sequence), stage.coa(new)).await?;
        stage.reversed(stage.coa(new), stage.hoa).await?;
        let proof = stage.proof(stage.coa(new)).await?;
        ensure!(proof == Proof::Bound, "round {sequence}: BE 1 after the BA");
        if sequence > 1 {
            let proof = stage.proof(stage.coa(old)).await?;
            ensure!(proof == Proof::Unbound, "round {sequence}: the old care-of address is bound");
        }
    }
    Ok(())
}

pub(super) fn signal(member: &Member, name: &str) -> Result<()> {
    let pid = member.pid.with_context(|| format!("{} is down", member.name))?;
    let status = Command::new("kill").args([name, &pid.to_string()]).status()?;
    ensure!(status.success(), "kill {name} {pid}");
    Ok(())
}

/// The leader hears of no follower.
pub async fn minority(stage: &Stage, _row: &Row) -> Result<()> {
    stage.accepted(&stage.update(1), stage.coa(1)).await?;
    let leader = all_run(stage).await?;
    let stores = stage.lab.cluster.endpoints()?.stores;
    let followers = || stores.iter().filter(|store| store.name != leader.name);
    followers().try_for_each(|follower| signal(follower, "-STOP"))?;
    let silent = async {
        stage.send(&stage.packet(&stage.update(2), stage.coa(2))).await?;
        let false_answer =
            |packet: &Packet| packet.acknowledgement().is_some_and(|ba| ba.status != 130);
        stage.silence(Duration::from_secs(4), false_answer).await
    };
    let silent = silent.await;
    followers().try_for_each(|follower| signal(follower, "-CONT"))?;
    silent?;
    all_run(stage).await?;
    let sequence = retransmitted(stage, 3, |n| stage.update(n)).await?;
    ensure!(sequence >= 3, "sequence {sequence}");
    stage.is_bound(stage.coa(1)).await?;
    stage.is_unbound(stage.coa(2)).await
}

/// One Binding Update twice at once.
pub async fn twice(stage: &Stage, _row: &Row) -> Result<()> {
    for sequence in 1..=30_u16 {
        let packet = stage.packet(&stage.update(sequence), stage.coa(1));
        stage.step().await;
        stage.send(&packet).await?;
        stage.send(&packet).await?;
        let mut statuses = Vec::new();
        for _ in 0..2 {
            let read = |packet: &Packet| packet.acknowledgement();
            let (ba, _) = stage.receive("a Binding Acknowledgement", PATIENCE, read).await?;
            ensure!(ba.sequence == sequence, "sequence {} for {sequence}", ba.sequence);
            statuses.push(ba.status);
        }
        statuses.sort_unstable();
        ensure!(statuses == [0, 135], "statuses {statuses:?}");
    }
    stage.silence(SILENCE, |packet| packet.acknowledgement().is_some()).await
}

/// Every process is killed and starts again.
pub async fn restart(stage: &Stage, _row: &Row) -> Result<()> {
    let sent = Instant::now();
    stage.accepted(&stage.update(15), stage.coa(1)).await?;
    let remaining_before = stage.remaining_secs().await?;
    let endpoints = stage.lab.cluster.endpoints()?;
    let front = endpoints.front_ends.iter().chain(&endpoints.forwarders);
    endpoints.stores.iter().chain(front).try_for_each(kill)?;
    all_run(stage).await?;
    for store in stage.lab.cluster.endpoints()?.stores {
        status_of(&store).await?;
    }
    // A forwarder that has just started gets its routes with its table.
    crate::eventually("the home agent", async || stage.echo_agent(stage.coa(9)).await).await?;
    stage.is_bound(stage.coa(1)).await?;
    stage.reached_at(stage.coa(1)).await?;
    let told = |packet: &Packet| {
        matches!(&packet.tunnelled().unwrap_or(packet).body,
            super::decode::Body::Mobility(mh) if matches!(mh.kind, 0 | 6))
    };
    stage.silence(SILENCE, told).await.context("the mobile node was told something")?;
    let remaining = stage.remaining_secs().await?;
    let passed = u32::try_from(sent.elapsed().as_secs())?;
    ensure!(remaining <= remaining_before, "{remaining} s left, before {remaining_before} s");
    ensure!(remaining + passed + 5 >= remaining_before, "only {remaining} s left");
    let ba = stage.refused(&stage.update(15), stage.coa(1), 135).await?;
    ensure!(ba.sequence == 15, "the last sequence is {}", ba.sequence);
    stage.accepted(&stage.update(16), stage.coa(1)).await.map(drop)
}

/// The forwarder that defends the home link hangs.
pub async fn owner_moves(stage: &Stage, _row: &Row) -> Result<()> {
    stage.accepted(&stage.update(15), stage.coa(1)).await?;
    ensure!(stage.is_defended(stage.hoa).await?, "it is not defended before");
    let owner = stage.agent_mac().await?;
    let forwarders = stage.lab.cluster.endpoints()?.forwarders;
    let own = forwarders.iter().zip(stage.lab.link.forwarders()).find(|(_, mac)| **mac == owner);
    let (forwarder, _) = own.context("the defender is no forwarder")?;
    signal(forwarder, "-STOP")?;
    let moved = async {
        stage.heard_from_another(owner).await.context("no unsolicited advertisement")?;
        ensure!(stage.is_defended(stage.hoa).await?, "it is not defended by the other");
        anyhow::Ok(())
    };
    let moved = moved.await;
    signal(forwarder, "-CONT")?;
    moved?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let defenders = stage.defenders(stage.hoa).await?;
    ensure!(defenders.len() == 1, "{} nodes answer for the home address", defenders.len());
    Ok(())
}
