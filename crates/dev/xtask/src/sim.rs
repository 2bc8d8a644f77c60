//! Simulates clusters under faults that seeds decide: `homeport-sim`, built quick and with its checks.

use std::{path::Path, process::Command};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use crate::report::Report;

/// A planted bug must be found within so many seeds.
const BUG_SEEDS_MAX: u64 = 2_000;

/// What is simulated.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many seeds without a bug; then each planted bug, until a seed finds it.
    #[arg(long, default_value_t = 50)]
    seeds: u64,
    /// The first one, also for planted bugs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long there are faults in each, in simulated seconds.
    #[arg(long, default_value_t = 12)]
    fault_secs: u64,
    /// Run the one seed and tell what happens; `RUST_LOG` says how much the processes log.
    #[arg(long)]
    replay: bool,
    /// Only this planted bug; `all` for all of them and no seeds without.
    #[arg(long, value_name = "NAME")]
    bug: Option<String>,
}

/// As the program writes it.
#[derive(Debug, Deserialize)]
struct Found {
    passed: u64,
    failed: u64,
    figures: Vec<Figure>,
}

#[derive(Debug, Deserialize)]
struct Figure {
    name: String,
    value: f64,
    unit: String,
}

/// Builds the program and runs it.
pub(crate) fn run(root: &Path, options: &Options) -> anyhow::Result<Report> {
    let bug = options.bug.as_deref().filter(|bug| *bug != "all");
    let mut report = Report::default();
    if options.replay {
        let mut cargo = program(root, "run", options);
        cargo.arg("--tell").args(bug.map(|bug| ["--bug", bug]).into_iter().flatten());
        report.count(cargo.status().context("cannot run cargo")?.success());
        return Ok(report);
    }
    if options.bug.is_none() {
        let mut cargo = program(root, "seeds", options);
        cargo.args(["--seeds", &options.seeds.to_string()]);
        add(&mut report, cargo)?;
    }
    let mut cargo = program(root, "planted", options);
    cargo.args(["--seeds", &BUG_SEEDS_MAX.to_string()]);
    cargo.args(bug.map(|bug| ["--bug", bug]).into_iter().flatten());
    add(&mut report, cargo)?;
    Ok(report)
}

fn program(root: &Path, verb: &str, options: &Options) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["run", "--quiet", "--profile", "sim", "-p", "homeport-sim", "--", verb]);
    cargo.args(["--seed", &options.seed.to_string()]);
    cargo.args(["--fault-secs", &options.fault_secs.to_string()]);
    cargo.current_dir(root);
    cargo
}

/// Runs it and adds what it found.
fn add(report: &mut Report, mut cargo: Command) -> anyhow::Result<()> {
    let directory = tempfile::tempdir().context("cannot make a directory")?;
    let json = directory.path().join("report.json");
    let status = cargo.arg("--json").arg(&json).status().context("cannot run cargo")?;
    let found = std::fs::read(&json);
    ensure!(found.is_ok(), "the simulation ended with {status} and no report");
    let found: Found = serde_json::from_slice(&found?).context("the report cannot be read")?;
    report.passed += found.passed;
    report.failed += found.failed;
    for figure in found.figures {
        let unit = match figure.unit.as_str() {
            "s" => "s",
            "ms" => "ms",
            _ => "1",
        };
        report.figure(&figure.name, figure.value, unit);
    }
    Ok(())
}
