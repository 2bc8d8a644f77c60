//! From a commit of the store to the table of the fast path: three replicas and a forwarder as they are shipped.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use homeport_fastpath::testbed::{Lines, Testbed};
use homeport_tests::{
    eventually,
    submit::{Submitter, registration},
};

use super::{
    super::{
        Figures,
        latencies::Latencies,
        load::Writes,
        replicas::{Replicas, home_address},
        snapshot::paced,
    },
    forwarder::Forwarder,
    topology::Topology,
};

/// Seconds that 5,000 bindings change in, and home addresses of these.
const LASTS: u32 = 20;
const HOME_ADDRESSES: u32 = 10_000;
/// How often it is looked whether the table has a home address.
const LOOK: Duration = Duration::from_micros(200);
const PATIENCE: Duration = Duration::from_secs(10);

/// While 5,000 bindings a second change, single home addresses are bound, and each is looked for in the table.
pub(super) async fn measure(figures: &mut Figures) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let replicas = Replicas::start(directory.path()).await?;
    let mut bed = Testbed::load().context("the programs of the testbed cannot be loaded")?;
    let topology = Topology::create(&mut bed)?;
    bed.release_router();
    let forwarder = Forwarder::start(directory.path(), &replicas, &topology, true)?;
    let lines = eventually("the table of the forwarder", async || Ok(Lines::of(forwarder.pins())?));
    let lines = lines.await.with_context(|| forwarder.said())?;

    let policy_revisions = replicas.policy_revisions().await?;
    let writes =
        Writes { first: 0, count: HOME_ADDRESSES, rounds_before: 0, bulk: false, policy_revisions };
    let leader = replicas.leader().await?;
    let mut submitter = Submitter::open(replicas.channel(leader).await?).await?;
    let load = paced(&replicas, leader, writes, LASTS);
    let probes = async {
        let (mut from_commit, mut from_update) = (Latencies::default(), Latencies::default());
        let begun = Instant::now();
        let mut host = HOME_ADDRESSES;
        while begun.elapsed() < Duration::from_secs(LASTS.into()) {
            let home = home_address(host);
            let request = registration(home, 1, u128::from(home), policy_revisions);
            let sent = Instant::now();
            submitter.register(request).await?;
            let committed = Instant::now();
            while !lines.contains(home) {
                ensure!(committed.elapsed() < PATIENCE, "the table does not get {home}");
                tokio::time::sleep(LOOK).await;
            }
            from_commit.record(committed.elapsed());
            from_update.record(sent.elapsed());
            host += 1;
        }
        anyhow::Ok((from_commit, from_update))
    };
    let (loaded, probed) = tokio::join!(load, probes);
    let changes = u32::try_from(loaded?.len())?;
    let (mut from_commit, mut from_update) = probed?;
    forwarder.stop()?;
    figures.per_second("commits_per_s", f64::from(changes) / f64::from(LASTS));
    figures.ms("commit_to_table_ms_p50", from_commit.per_mille_ms(500));
    figures.ms("commit_to_table_ms_p99", from_commit.per_mille_ms(990));
    figures.ms("update_to_table_ms_p50", from_update.per_mille_ms(500));
    figures.ms("update_to_table_ms_p99", from_update.per_mille_ms(990));
    figures.0.count(true);
    Ok(())
}
