//! Simulates clusters under faults that seeds decide: `homeport-sim`, built quick and with its checks.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::report::Report;

/// A planted bug must be found within so many seeds.
const BUG_SEEDS_MAX: u64 = 2_000;

/// Without `--seeds`, `--seed` and `--bug`.
const SEEDS: u64 = 50;

/// What is simulated.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many seeds without a bug, 50 unless told; then each planted bug, until a seed finds it, 2000 at
    /// most. With `--bug` at most so many.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// The first one, else 1. Without `--seeds` only this one is run, twice, and what happens is told;
    /// `RUST_LOG` says how much the processes log.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// How long there are faults in each, in simulated seconds.
    #[arg(long, default_value_t = 12)]
    fault_secs: u64,
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
    if let (Some(seed), None) = (options.seed, options.seeds) {
        return replay(root, options, seed, bug);
    }
    let mut report = Report::default();
    if options.bug.is_none() {
        let mut cargo = program(root, "seeds", options);
        cargo.args(["--seeds", &options.seeds.unwrap_or(SEEDS).to_string()]);
        add(&mut report, cargo)?;
    }
    let mut cargo = program(root, "planted", options);
    let at_most = options.bug.as_ref().and(options.seeds).unwrap_or(BUG_SEEDS_MAX);
    cargo.args(["--seeds", &at_most.to_string()]);
    cargo.args(bug.map(|bug| ["--bug", bug]).into_iter().flatten());
    add(&mut report, cargo)?;
    Ok(report)
}

/// Runs one seed and tells what happens, and again: it must do the same to the octet.
fn replay(root: &Path, options: &Options, seed: u64, bug: Option<&str>) -> anyhow::Result<Report> {
    let once = |more: &[&str]| -> anyhow::Result<Value> {
        let mut cargo = program(root, "run", options);
        cargo.args(bug.map(|bug| ["--bug", bug]).into_iter().flatten()).args(more);
        let output = cargo.stderr(Stdio::inherit()).output().context("cannot run cargo")?;
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("seed {seed} ended with {}", output.status))
    };
    let (outcome, again) = (once(&["--tell"])?, once(&[])?);
    println!("{outcome}");
    if again != outcome {
        println!("seed {seed} does not do the same when it is run again: {again}");
    }
    judge(&outcome, &again, bug.is_some())
}

/// What a seed and its repetition come to. With a planted bug an invariant must not hold.
fn judge(outcome: &Value, again: &Value, bug: bool) -> anyhow::Result<Report> {
    let violations = outcome["violations"].as_array().context("there are no violations")?.len();
    let violations = u32::try_from(violations)?;
    let mut report = Report::default();
    report.count((violations > 0) == bug);
    report.count(again == outcome);
    report.figure("seeds", 1.0, "1");
    report.figure("violations", f64::from(violations), "1");
    if bug {
        report.figure("bugs_planted", 1.0, "1");
        report.figure("bugs_found", f64::from(violations.min(1)), "1");
    }
    Ok(report)
}

fn program(root: &Path, verb: &str, options: &Options) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["run", "--quiet", "--profile", "sim", "-p", "homeport-sim", "--", verb]);
    cargo.args(["--seed", &options.seed.unwrap_or(1).to_string()]);
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_seed_passes_that_holds_and_does_the_same_again() -> anyhow::Result<()> {
        let held = json!({"digest": "1", "violations": []});
        let other = json!({"digest": "2", "violations": []});
        let broken = json!({"digest": "1", "violations": [{"invariant": "one_state"}]});
        for (outcome, again, bug, failed) in [
            (&held, &held, false, 0),
            (&held, &other, false, 1),
            (&broken, &broken, false, 1),
            (&broken, &broken, true, 0),
            (&broken, &held, true, 1),
            (&held, &held, true, 1),
        ] {
            let report = judge(outcome, again, bug)?;
            assert_eq!((report.passed + report.failed, report.failed), (2, failed), "{outcome}");
        }
        Ok(())
    }
}
