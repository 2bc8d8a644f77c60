//! The fast path of a forwarder: what a packet costs by test runs in the kernel, what goes over links beside
//! its peers, and what its table bears.

mod changes;
mod commits;
mod forwarder;
mod links;
mod portable;
mod topology;

use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use homeport_fastpath::measure::{contend, cost};

use super::Figures;
use crate::interrupt;

/// How much of it.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long lines are changed while packets for them are looked at.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// How long 100,000 bindings a second are changed while frames go over links.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3600))]
    update_seconds: u32,
    /// Rounds over links, of which the best counts: in each round every way has its turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// The most home addresses over links: what is measured with more is left out.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    home_addresses_max: u32,
    /// Only this part.
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Put the figures into docs/benchmarks.md.
    #[arg(long)]
    pub(super) write: bool,
}

/// Parts of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Part {
    /// What a packet costs, without a link.
    TestRun,
    /// What goes over links, beside a bare redirect and the kernel's SRv6.
    Links,
    /// What the table bears.
    Updates,
    /// Bindings that change while frames go over links.
    Changes,
    /// How long after a commit of the store the table has it.
    Commits,
    /// What the portable path takes over the same links.
    Portable,
}

/// Measures.
pub(super) fn measure(figures: &mut Figures, options: &Options) -> Result<()> {
    let wanted = |part| options.only.is_none_or(|only| only == part);
    if wanted(Part::TestRun) {
        test_run(figures)?;
    }
    if wanted(Part::Links) {
        let (rounds, most) = (options.rounds, options.home_addresses_max);
        interrupt::run(links::measure(figures, rounds, most))?;
    }
    if wanted(Part::Updates) {
        updates(figures, options.seconds)?;
    }
    if wanted(Part::Changes) {
        interrupt::run(changes::measure(figures, options.update_seconds))?;
    }
    if wanted(Part::Commits) {
        interrupt::run(commits::measure(figures))?;
    }
    if wanted(Part::Portable) {
        let (rounds, most) = (options.rounds, options.home_addresses_max);
        interrupt::run(portable::measure(figures, rounds, most))?;
    }
    Ok(())
}

fn test_run(figures: &mut Figures) -> Result<()> {
    for (name, home_addresses) in [("1k", 1000), ("100k", 100_000), ("1m", 1_000_000)] {
        let cost = cost(home_addresses).context("the XDP program cannot be measured")?;
        figures.add(&format!("testrun_ns_{name}"), cost.encapsulation_ns.into(), "ns");
        figures.add(&format!("testrun_decap_ns_{name}"), cost.decapsulation_ns.into(), "ns");
        if name == "1k" {
            figures.add("testrun_base_ns", cost.base_ns.into(), "ns");
        }
    }
    figures.0.count(true);
    Ok(())
}

fn updates(figures: &mut Figures, seconds: u32) -> Result<()> {
    let seen = contend(Duration::from_secs(seconds.into()))
        .context("the XDP program cannot be measured")?;
    let whole = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    figures.per_second("updates_per_s", whole(seen.updates) / seen.lasted.as_secs_f64());
    figures.add("reads", whole(seen.reads), "1");
    figures.add("torn_reads", whole(seen.torn), "1");
    figures.0.count(seen.torn == 0);
    Ok(())
}
