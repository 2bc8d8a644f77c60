//! What a client sees when the leader ends: it asks whoever is left until somebody acknowledges.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures_util::future::select_ok;
use homeport_api::convert::ipv6_octets;
use homeport_api::store::SubmitRequest;
use homeport_api::store::binding_store_client::BindingStoreClient;
use homeport_api::store::submit_response;
use indicatif::ProgressIterator as _;
use tokio::time::{sleep, timeout};
use tokio_stream::StreamExt as _;
use tonic::transport::Channel;

use super::etcd::{Etcd, Timers, put};
use super::latencies::Latencies;
use super::load::{Writes, accepted};
use super::replicas::{Replicas, home_address};
use super::{Figures, progress};

/// Between two attempts at one member.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(5);
/// After this an attempt is given up.
const ATTEMPT_MAX: Duration = Duration::from_millis(250);
/// After this nobody will.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two experiments: the cluster is as it was before.
const REST: Duration = Duration::from_millis(500);

/// The leader is killed so many times; ours, then etcd as it comes and with timers as short as ours.
pub(crate) async fn measure(figures: &mut Figures, kills: u32) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut replicas = Replicas::start(directory.path()).await?;
    let mut next = 0..;
    let mut killed = Latencies::default();
    for _ in (0..kills).progress_with(progress(kills, "kills of our leader")) {
        let writes = next_write(&replicas, &mut next).await?;
        let leader = replicas.leader().await?;
        let survivors = others(&replicas, leader).await?;
        replicas.processes[leader].kill()?;
        killed.record(first_acknowledged(&survivors, writes).await?);
        replicas.processes[leader].again()?;
        replicas.until_serving(leader).await?;
        sleep(REST).await;
    }
    let mut stopped = Latencies::default();
    let stops = kills.div_ceil(4);
    for _ in (0..stops).progress_with(progress(stops, "orderly stops of our leader")) {
        let writes = next_write(&replicas, &mut next).await?;
        let leader = replicas.leader().await?;
        let survivors = others(&replicas, leader).await?;
        replicas.processes[leader].terminate()?;
        stopped.record(first_acknowledged(&survivors, writes).await?);
        replicas.processes[leader].wait()?;
        replicas.processes[leader].again()?;
        replicas.until_serving(leader).await?;
        sleep(REST).await;
    }
    drop(replicas);
    figures.ms("failover_ms_p50", killed.per_mille_ms(500));
    figures.ms("failover_ms_p99", killed.per_mille_ms(990));
    figures.ms("failover_ms_max", killed.per_mille_ms(1000));
    figures.ms("handover_ms_p50", stopped.per_mille_ms(500));
    figures.ms("handover_ms_max", stopped.per_mille_ms(1000));
    let etcd_kills = kills.div_ceil(4);
    for (name, timers) in [("default", Timers::DEFAULT), ("tuned", Timers::TUNED)] {
        let mut took = etcd_failovers(timers, etcd_kills).await?;
        figures.ms(&format!("etcd_failover_ms_p50_{name}"), took.per_mille_ms(500));
        figures.ms(&format!("etcd_failover_ms_max_{name}"), took.per_mille_ms(1000));
    }
    Ok(())
}

async fn next_write(
    replicas: &Replicas,
    next: &mut impl Iterator<Item = u32>,
) -> Result<SubmitRequest> {
    let policy_revisions = replicas.policy_revisions().await?;
    let first = next.next().context("no more home addresses")?;
    let writes = Writes { first, count: 1, rounds_before: 0, bulk: false, policy_revisions };
    Ok(SubmitRequest { ticket: 1, command: Some(writes.command(0)), ..SubmitRequest::default() })
}

async fn others(replicas: &Replicas, leader: usize) -> Result<Vec<Channel>> {
    let mut channels = Vec::new();
    for n in (0..replicas.processes.len()).filter(|n| *n != leader) {
        channels.push(replicas.channel(n).await?);
    }
    Ok(channels)
}

async fn first_acknowledged(survivors: &[Channel], write: SubmitRequest) -> Result<Duration> {
    let started = Instant::now();
    let asked = survivors.iter().map(|channel| {
        let (channel, write) = (channel.clone(), write.clone());
        Box::pin(async move {
            while !timeout(ATTEMPT_MAX, submit(channel.clone(), write.clone()))
                .await
                .is_ok_and(|outcome| outcome.is_ok())
            {
                sleep(ATTEMPT_PAUSE).await;
            }
            anyhow::Ok(started.elapsed())
        })
    });
    let (took, _others) = timeout(PATIENCE, select_ok(asked)).await??;
    Ok(took)
}

async fn submit(channel: Channel, write: SubmitRequest) -> Result<()> {
    let mut client = BindingStoreClient::new(channel);
    // The replica answers for as long as its caller may say more.
    let requests = tokio_stream::once(write).chain(tokio_stream::pending());
    let mut responses = client.submit(requests).await?.into_inner();
    let response = responses.message().await?.context("no answer")?;
    match response.result {
        Some(submit_response::Result::NotLeader(_)) => bail!("does not lead"),
        result => accepted(result),
    }
}

async fn etcd_failovers(timers: Timers, kills: u32) -> Result<Latencies> {
    let directory = tempfile::tempdir()?;
    let mut etcd = Etcd::start(directory.path(), timers).await?;
    let mut took = Latencies::default();
    for n in (0..kills).progress_with(progress(kills, "kills of etcd's leader")) {
        let leader = etcd.leader().await?;
        let mut survivors = Vec::new();
        for n in (0..etcd.processes.len()).filter(|n| *n != leader) {
            survivors.push(etcd.channel(n).await?);
        }
        etcd.processes[leader].kill()?;
        let started = Instant::now();
        // A member holds what it gets while nobody leads: that would count, so many are on their way.
        let asked = survivors.iter().map(|channel| {
            let channel = channel.clone();
            Box::pin(async move {
                let mut under_way = tokio::task::JoinSet::new();
                loop {
                    let write = put(channel.clone(), ipv6_octets(home_address(n)), vec![0; 100]);
                    under_way.spawn(write);
                    sleep(ATTEMPT_PAUSE).await;
                    while let Some(ended) = under_way.try_join_next() {
                        if ended?.is_ok_and(|written| written) {
                            return anyhow::Ok(started.elapsed());
                        }
                    }
                }
            })
        });
        let (elapsed, _others) = timeout(PATIENCE, select_ok(asked)).await??;
        took.record(elapsed);
        etcd.processes[leader].again()?;
        etcd.leader().await?;
        sleep(REST).await;
    }
    Ok(took)
}
