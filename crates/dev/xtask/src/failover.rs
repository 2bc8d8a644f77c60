//! Kills the store's leader while a mobile node refreshes, and reports what the node saw.

use anyhow::Context as _;
use homeport_tests::dev::DevCluster;
use homeport_tests::failover;

use crate::report::Report;

/// Runs the experiment with so many kills.
pub(crate) fn run(kills: u32) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let seen = runtime.block_on(async {
        let cluster = DevCluster::start().await?;
        let seen = failover::run(&cluster, kills).await;
        seen.with_context(|| cluster.logs())
    })?;
    let mut sorted = seen.next_ba_ms.clone();
    sorted.sort_unstable();
    let p50 = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
    let max = sorted.last().copied().unwrap_or_default();
    println!("from the kill to the next acknowledgement, in ms: {:?}", seen.next_ba_ms);
    println!("p50 {p50} ms, max {max} ms");
    println!("{} Binding Updates acknowledged, {} lost", seen.acknowledged, seen.acked_lost);
    let mut report = Report::default();
    for _ in &seen.next_ba_ms {
        report.count(true);
    }
    report.count(seen.acked_lost == 0);
    report.figure("kills", f64::from(kills), "1");
    report.figure("acknowledged", precise(seen.acknowledged)?, "1");
    report.figure("acked_lost", precise(seen.acked_lost)?, "1");
    report.figure("next_ba_ms_p50", precise(p50)?, "ms");
    report.figure("next_ba_ms_max", precise(max)?, "ms");
    Ok(report)
}

/// Counts of this experiment are far below where a float loses digits.
fn precise(count: u64) -> anyhow::Result<f64> {
    Ok(f64::from(u32::try_from(count)?))
}
