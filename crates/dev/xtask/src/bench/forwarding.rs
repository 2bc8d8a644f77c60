//! The fast path of a forwarder, by test runs in the kernel: what a packet costs, and what its table bears.

use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use homeport_fastpath::measure::{contend, cost};

use super::Figures;

/// How much of it.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long lines are changed while packets for them are looked at.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Put the figures into docs/benchmarks.md.
    #[arg(long)]
    pub(super) write: bool,
}

/// Measures.
pub(super) fn measure(figures: &mut Figures, options: &Options) -> Result<()> {
    for (name, home_addresses) in [("1k", 1000), ("100k", 100_000), ("1m", 1_000_000)] {
        let cost = cost(home_addresses).context("the XDP program cannot be measured")?;
        figures.add(&format!("testrun_ns_{name}"), cost.encapsulation_ns.into(), "ns");
        figures.add(&format!("testrun_decap_ns_{name}"), cost.decapsulation_ns.into(), "ns");
        if name == "1k" {
            figures.add("testrun_base_ns", cost.base_ns.into(), "ns");
        }
    }
    let seen = contend(Duration::from_secs(options.seconds.into()))
        .context("the XDP program cannot be measured")?;
    let whole = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    figures.per_second("updates_per_s", whole(seen.updates) / seen.lasted.as_secs_f64());
    figures.add("reads", whole(seen.reads), "1");
    figures.add("torn_reads", whole(seen.torn), "1");
    figures.0.count(seen.torn == 0);
    Ok(())
}
