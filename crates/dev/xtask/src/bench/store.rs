//! Writes a second and their latency, beside etcd on the same disks in the same minute.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::etcd::{Etcd, Timers};
use super::load::{Done, End, Writes, put_all, register};
use super::processes::cpu_of;
use super::replicas::Replicas;
use super::{Figures, progress};

/// In flight at once.
const IN_FLIGHT: [u32; 3] = [1, 100, 10_000];
/// Home addresses that are registered again and again.
const HOME_ADDRESSES: u32 = 100_000;
/// Before what counts.
const WARM_UP: Duration = Duration::from_secs(1);

/// Rounds of ours and etcd's in turn; the figures are those of all rounds together.
pub(crate) async fn measure(figures: &mut Figures, rounds: u16, lasts: Duration) -> Result<()> {
    let bar = progress(u32::from(rounds) * 3, "rounds beside etcd");
    for in_flight in IN_FLIGHT {
        let (mut ours, mut theirs) = (Sum::default(), Sum::default());
        for _ in 0..rounds {
            ours.add(our_round(in_flight, lasts).await?);
            theirs.add(etcd_round(in_flight, lasts).await?);
            bar.inc(1);
        }
        let name = |figure: &str| format!("{figure}_inflight_{in_flight}");
        figures.per_second(&name("acks_per_s"), ours.done.per_second());
        figures.per_second(&name("etcd_acks_per_s"), theirs.done.per_second());
        let ratio = ours.done.per_second() / theirs.done.per_second();
        figures.ratio(&name("ratio_vs_etcd"), ratio);
        for (prefix, sum) in [("", &mut ours), ("etcd_", &mut theirs)] {
            let of = |figure: &str| format!("{prefix}{}", name(figure));
            figures.ms(&of("ack_ms_p50"), sum.done.latencies.per_mille_ms(500));
            figures.ms(&of("ack_ms_p99"), sum.done.latencies.per_mille_ms(990));
            figures.add(&of("cpu_us_per_ack"), sum.cpu_micros_per_ack(), "us");
        }
    }
    bar.finish();
    Ok(())
}

/// Several rounds.
#[derive(Default)]
struct Sum {
    done: Done,
    cpu: Duration,
}

impl Sum {
    fn add(&mut self, (done, cpu): (Done, Duration)) {
        self.done.latencies.add(done.latencies);
        self.done.took += done.took;
        self.cpu += cpu;
    }

    /// CPU time of all three processes for each write.
    fn cpu_micros_per_ack(&self) -> f64 {
        let count = u32::try_from(self.done.latencies.count()).unwrap_or(u32::MAX);
        self.cpu.as_secs_f64() * 1e6 / f64::from(count.max(1))
    }
}

async fn our_round(in_flight: u32, lasts: Duration) -> Result<(Done, Duration)> {
    let directory = tempfile::tempdir()?;
    let replicas = Replicas::start(directory.path()).await?;
    let policy_revisions = replicas.policy_revisions().await?;
    let warm_up = writes(0, policy_revisions);
    register(&replicas, warm_up, in_flight, End::After(WARM_UP)).await?;
    let before = cpu_of(&replicas.processes)?;
    let writes = writes(HOME_ADDRESSES, policy_revisions);
    let done = register(&replicas, writes, in_flight, End::After(lasts)).await?;
    let cpu = cpu_of(&replicas.processes)? - before;
    let applied = replicas.status(replicas.leader().await?).await?.home_addresses;
    ensure!(applied > 0, "acknowledged, and nothing is there");
    Ok((done, cpu))
}

async fn etcd_round(in_flight: u32, lasts: Duration) -> Result<(Done, Duration)> {
    let directory = tempfile::tempdir()?;
    let etcd = Etcd::start(directory.path(), Timers::DEFAULT).await?;
    put_all(&etcd, writes(0, (0, 0)), in_flight, WARM_UP).await?;
    let before = cpu_of(&etcd.processes)?;
    let done = put_all(&etcd, writes(HOME_ADDRESSES, (0, 0)), in_flight, lasts).await?;
    let cpu = cpu_of(&etcd.processes)? - before;
    Ok((done, cpu))
}

const fn writes(first: u32, policy_revisions: (u64, u64)) -> Writes {
    Writes { first, count: HOME_ADDRESSES, rounds_before: 0, bulk: false, policy_revisions }
}
