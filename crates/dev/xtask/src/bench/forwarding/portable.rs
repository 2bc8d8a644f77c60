//! The portable path: the same links and frames, and a forwarder that has only its TUN.

use std::thread;

use anyhow::{Context as _, Result};
use homeport_fastpath::testbed::{Lane, Testbed, Traffic, on_link};

use super::{
    super::{
        Figures,
        load::{End, Writes, register},
        progress,
        replicas::Replicas,
    },
    forwarder::Forwarder,
    links::{BEFORE, COUNTED, counted, towards_sink, while_sending},
    topology::Topology,
};

/// Thousands of frames a second that are sent: with more than it can take a program in user space does less.
const OFFERED_KPPS: [u32; 8] = [20, 40, 60, 80, 100, 140, 200, 300];
/// Registrations in flight.
const IN_FLIGHT: u32 = 2_000;

/// Measures with up to so many home addresses; the best of so many rounds of each rate counts.
pub(super) async fn measure(
    figures: &mut Figures,
    rounds: u32,
    home_addresses_max: u32,
) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let replicas = Replicas::start(directory.path()).await?;
    let policy_revisions = replicas.policy_revisions().await?;
    let mut bed = Testbed::load().context("the programs of the testbed cannot be loaded")?;
    let topology = Topology::create(&mut bed)?;
    let forwarder = Forwarder::start(directory.path(), &replicas, &topology, false)?;
    // The lane is the kernel's, which needs none of it.
    let path = on_link(1, towards_sink(&topology))?;
    let mut known = 0;
    for (label, home_addresses) in [("1", 1), ("100k", 100_000), ("1m", 1_000_000)] {
        if home_addresses > home_addresses_max {
            continue;
        }
        let (first, count) = (known + 1, home_addresses - known);
        let writes = Writes { first, count, rounds_before: 0, bulk: false, policy_revisions };
        register(&replicas, writes, IN_FLIGHT, End::Round).await?;
        forwarder.until_filled(home_addresses).await.with_context(|| forwarder.said())?;
        known = home_addresses;
        for len in [64, 1400] {
            let steps = rounds.saturating_mul(u32::try_from(OFFERED_KPPS.len())?);
            let bar = progress(steps, "frames through the portable path");
            let mut best: f64 = 0.0;
            for offered_kpps in (0..rounds).flat_map(|_| OFFERED_KPPS) {
                let traffic = Traffic { offered_kpps, ..Traffic::down(home_addresses, len) };
                let generator = bed.choose(Lane::Kernel, &path, &traffic, topology.first_hop)?;
                let bed = &bed;
                let kpps = while_sending(&topology, &generator, || {
                    thread::sleep(BEFORE);
                    counted(bed, || {
                        thread::sleep(COUNTED);
                        Ok(())
                    })
                })?;
                best = best.max(kpps);
                bar.inc(1);
                tokio::task::yield_now().await;
            }
            bar.finish_and_clear();
            figures.add(&format!("kpps_portable_{label}_{len}"), best, "1000/s");
            figures.0.count(best > 0.0);
        }
    }
    forwarder.stop()
}
