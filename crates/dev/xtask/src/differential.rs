//! The XDP program beside the packet core: the same packets, the same answers.

use anyhow::Context as _;
use clap::Args;
use homeport_fastpath::differential;

use crate::report::Report;

/// How much of it.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Packets to compare.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    packets: u64,
    /// What decides tables and packets.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Compares, and tells each kind of difference.
pub(crate) fn run(options: &Options) -> anyhow::Result<Report> {
    let outcome = differential::run(options.packets, options.seed, None)
        .context("the XDP program cannot be run")?;
    for difference in &outcome.described {
        eprintln!("differential: {difference}\n");
    }
    let mut report = Report::default();
    report.count(outcome.mismatches == 0);
    for (name, value) in [
        ("packets", outcome.packets),
        ("mismatches", outcome.mismatches),
        ("sent", outcome.sent),
        ("dropped", outcome.dropped),
        ("passed", outcome.passed),
    ] {
        let value = f64::from(u32::try_from(value).unwrap_or(u32::MAX));
        println!("{name:12} {value:12}");
        report.figure(name, value, "1");
    }
    Ok(report)
}
