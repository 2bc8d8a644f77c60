//! Simulates clusters under faults that seeds decide: `homeport-sim`, built quick and with its checks.

use std::{path::Path, process::Command};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use crate::report::Report;

/// What is simulated.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many seeds; of each planted bug at most so many.
    #[arg(long, default_value_t = 50)]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long there are faults in each, in simulated seconds.
    #[arg(long, default_value_t = 12)]
    fault_secs: u64,
    /// Plant one bug after the other, and look how many seeds it takes to find it.
    #[arg(long, conflicts_with = "replay")]
    planted: bool,
    /// Run the one seed and tell what happens; `RUST_LOG` says how much the processes log.
    #[arg(long)]
    replay: bool,
    /// Only this planted bug.
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
    let directory = tempfile::tempdir().context("cannot make a directory")?;
    let json = directory.path().join("report.json");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["run", "--quiet", "--profile", "sim", "-p", "homeport-sim", "--"])
        .current_dir(root);
    let verb = match (options.replay, options.planted) {
        (true, _) => "run",
        (false, true) => "planted",
        (false, false) => "seeds",
    };
    let (seed, fault_secs) = (options.seed.to_string(), options.fault_secs.to_string());
    cargo.args([verb, "--seed", &seed, "--fault-secs", &fault_secs]);
    if let Some(bug) = &options.bug {
        cargo.args(["--bug", bug]);
    }
    if options.replay {
        let status = cargo.arg("--tell").status().context("cannot run cargo")?;
        let mut report = Report::default();
        report.count(status.success());
        return Ok(report);
    }
    cargo.args(["--seeds", &options.seeds.to_string()]).arg("--json").arg(&json);
    let status = cargo.status().context("cannot run cargo")?;
    let found = std::fs::read(&json);
    ensure!(found.is_ok(), "the simulation ended with {status} and no report");
    let found: Found = serde_json::from_slice(&found?).context("the report cannot be read")?;
    let mut report = Report { passed: found.passed, failed: found.failed, ..Report::default() };
    for figure in found.figures {
        let unit = match figure.unit.as_str() {
            "s" => "s",
            "ms" => "ms",
            _ => "1",
        };
        report.figure(&figure.name, figure.value, unit);
    }
    Ok(report)
}
