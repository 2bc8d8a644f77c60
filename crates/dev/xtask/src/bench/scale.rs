//! A million home addresses with two bindings each: memory, start, a new subscriber, and what a command costs
//! then.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use homeport_tests::feed::Watch;

use super::load::{End, Writes, register};
use super::processes::cpu_of;
use super::replicas::Replicas;
use super::{Figures, progress};

/// Home addresses that the cost of a command is compared with.
const FEW: u32 = 10_000;
/// Memory and start are looked at here too.
const SOME: u32 = 100_000;
/// In flight while registering.
const IN_FLIGHT: u32 = 2_000;
/// Home addresses between two steps of the bar.
const STEP: u32 = 50_000;
/// An eighth of the default: some snapshots are to be seen.
const SNAPSHOT_AFTER_MIB: u32 = 32;
/// No home address was registered so often before.
const ROUNDS_MAX: u16 = 10;
/// So long the replicas use less than a tenth of one processor before a cost is taken.
const IDLE_FOR: Duration = Duration::from_secs(1);
/// For what they do behind the commands.
const PATIENCE: Duration = Duration::from_secs(120);
/// What a feed's delay is taken from.
const FEED_WRITES: u32 = 2_000;

/// Fills the store with so many home addresses and looks at it.
pub(crate) async fn measure(figures: &mut Figures, many: u32) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut replicas = Replicas::start_with_snapshots(directory.path(), SNAPSHOT_AFTER_MIB).await?;
    let policy_revisions = replicas.policy_revisions().await?;
    let writes =
        |first, count| Writes { first, count, rounds_before: 0, bulk: true, policy_revisions };
    let mut empty = Vec::new();
    for process in &replicas.processes {
        empty.push(process.resident_octets()?);
    }
    register(&replicas, writes(0, FEW), IN_FLIGHT, End::Round).await?;
    let cost_of_few = cost(&replicas, writes(0, FEW)).await?;
    let bar = progress(many / STEP, "fifty thousand home addresses registered");
    let mut first = FEW;
    while first < many {
        let count = STEP.min(many - first);
        register(&replicas, writes(first, count), IN_FLIGHT, End::Round).await?;
        first += count;
        bar.inc(1);
        if (SOME..SOME + count).contains(&first) && many > SOME {
            memory(&replicas, figures, &empty, "bytes_per_binding_100k").await?;
            restart(&mut replicas, figures, "restart_ms_100k").await?;
        }
    }
    bar.finish();
    let status = replicas.status(replicas.leader().await?).await?;
    ensure!(status.home_addresses >= many.into(), "only {} are there", status.home_addresses);
    memory(&replicas, figures, &empty, "bytes_per_binding_1m").await?;
    let cost_of_many = cost(&replicas, writes(many / 2, FEW)).await?;
    figures.ratio("cost_ratio_1m_vs_10k", cost_of_many / cost_of_few);
    figures.add("cpu_us_per_ack_1m", cost_of_many, "us");
    resync(&replicas, figures, many).await?;
    feed_delay(&replicas, figures, writes(many + FEW, FEED_WRITES)).await?;

    let refreshes = Writes { rounds_before: ROUNDS_MAX, ..writes(0, many / 2) };
    super::snapshot::measure(&replicas, figures, refreshes).await?;
    let at = restart(&mut replicas, figures, "restart_ms_1m").await?;
    let snapshots = std::fs::read_dir(replicas.snapshots(at))?.count();
    ensure!(snapshots > 0, "a million home addresses and no snapshot");
    Ok(())
}

/// What the leader's memory has grown by.
async fn memory(
    replicas: &Replicas,
    figures: &mut Figures,
    empty: &[u64],
    name: &str,
) -> Result<()> {
    let leader = replicas.leader().await?;
    let bindings = u32::try_from(replicas.status(leader).await?.bindings)?;
    let grown = replicas.processes[leader].resident_octets()?.saturating_sub(empty[leader]);
    let kib = u32::try_from(grown / 1024)?;
    figures.add(name, f64::from(kib) * 1024.0 / f64::from(bindings), "octets");
    Ok(())
}

/// Ends a follower in order and starts it again, until it has what the leader had; gives its place.
async fn restart(replicas: &mut Replicas, figures: &mut Figures, name: &str) -> Result<usize> {
    let at = (replicas.leader().await? + 1) % replicas.processes.len();
    replicas.processes[at].terminate()?;
    replicas.processes[at].wait()?;
    replicas.processes[at].again()?;
    let took = replicas.until_serving(at).await?;
    figures.ms(name, took.as_secs_f64() * 1000.0);
    Ok(at)
}

/// Waits until the replicas have nothing to do: the snapshot that many registrations were followed by is no cost of
/// the commands that come next.
async fn until_idle(replicas: &Replicas) -> Result<()> {
    let started = Instant::now();
    loop {
        let before = cpu_of(&replicas.processes)?;
        tokio::time::sleep(IDLE_FOR).await;
        if cpu_of(&replicas.processes)? - before < IDLE_FOR / 10 {
            return Ok(());
        }
        ensure!(started.elapsed() < PATIENCE, "the replicas are busy with themselves");
    }
}

/// CPU microseconds of all replicas for each refresh of these home addresses.
async fn cost(replicas: &Replicas, writes: Writes) -> Result<f64> {
    const REFRESHES: u16 = 5;
    until_idle(replicas).await?;
    let before = cpu_of(&replicas.processes)?;
    for n in 1..=REFRESHES {
        let writes = Writes { rounds_before: n, ..writes };
        register(replicas, writes, IN_FLIGHT, End::Round).await?;
    }
    let cpu = cpu_of(&replicas.processes)? - before;
    Ok(cpu.as_secs_f64() * 1e6 / f64::from(writes.count * u32::from(REFRESHES)))
}

/// A subscriber that knows nothing gets all.
async fn resync(replicas: &Replicas, figures: &mut Figures, many: u32) -> Result<()> {
    let leader = replicas.leader().await?;
    let goal = replicas.status(leader).await?.applied_index;
    let started = Instant::now();
    let mut watch = Watch::start(replicas.channel(leader).await?, "bench").await?;
    let known = watch.reach(goal).await?.homes.len();
    figures.ms("resync_ms_1m", started.elapsed().as_secs_f64() * 1000.0);
    ensure!(known >= usize::try_from(many)?, "the subscriber knows {known} home addresses");
    Ok(())
}

/// From the acknowledgement of a single command to the subscriber that has it.
async fn feed_delay(replicas: &Replicas, figures: &mut Figures, writes: Writes) -> Result<()> {
    let leader = replicas.leader().await?;
    let mut watch = Watch::start(replicas.channel(leader).await?, "bench-delay").await?;
    let goal = replicas.status(leader).await?.applied_index;
    watch.reach(goal).await?;
    let mut delays = super::latencies::Latencies::default();
    let policy_revisions = writes.policy_revisions;
    let channel = replicas.channel(leader).await?;
    let mut submitter = homeport_tests::submit::Submitter::open(channel).await?;
    for n in 0..writes.count {
        let home = super::replicas::home_address(writes.first + n);
        let registration =
            homeport_tests::submit::registration(home, 1, u128::from(home), policy_revisions);
        let verdict = submitter.register(registration).await?;
        let acknowledged = Instant::now();
        watch.reach(verdict.revision).await?;
        ensure!(watch.picture().homes.contains_key(&home), "the feed goes past {home}");
        delays.record(acknowledged.elapsed());
    }
    figures.ms("feed_delay_ms_p50", delays.per_mille_ms(500));
    figures.ms("feed_delay_ms_p99", delays.per_mille_ms(990));
    Ok(())
}
