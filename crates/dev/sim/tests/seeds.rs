//! A few seeds, run by the program itself. `cargo xtask sim` runs many.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

/// Runs a seed with so many simulated seconds of faults; what came of it.
fn run(seed: &str, fault_secs: &str, more: &[&str]) -> Result<Value> {
    let mut program = Command::new(env!("CARGO_BIN_EXE_homeport-sim"));
    program.args(["run", "--seed", seed, "--fault-secs", fault_secs]).args(more);
    let output = program.output()?;
    let outcome: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    let held = outcome["violations"] == json!([]);
    ensure!(output.status.success() == held, "{} with {outcome}", output.status);
    Ok(outcome)
}

#[test]
fn a_seed_does_the_same_to_the_octet_when_it_is_run_again() -> Result<()> {
    let first = run("2", "2", &[])?;
    assert_eq!(first["violations"], json!([]));
    assert!(first["acknowledged"].as_u64().is_some_and(|count| count > 0), "{first}");
    assert_ne!(first["faults"], json!({}));
    assert_eq!(run("2", "2", &[])?, first);
    Ok(())
}

#[test]
fn another_seed_does_something_else() -> Result<()> {
    let (one, other) = (run("3", "1", &[])?, run("6", "1", &[])?);
    for outcome in [&one, &other] {
        assert_eq!(outcome["violations"], json!([]));
    }
    assert_ne!(one["digest"], other["digest"]);
    Ok(())
}

#[test]
fn an_acknowledgement_before_the_commit_is_found() -> Result<()> {
    let outcome = run("1", "1", &["--bug", "ack-before-commit"])?;
    assert_eq!(outcome["violations"][0]["invariant"], "acknowledged_is_committed");
    Ok(())
}

#[test]
fn a_seed_that_fails_fails_the_same_to_the_octet() -> Result<()> {
    let bug = ["--bug", "lost-bulk-tail"];
    let first = run("1", "2", &bug)?;
    assert_eq!(first["violations"][0]["invariant"], "bulk_is_whole");
    assert_eq!(run("1", "2", &bug)?, first);
    Ok(())
}

#[test]
fn seeds_and_planted_bugs_are_counted() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let report = |arguments: &[&str]| -> Result<BTreeMap<String, u64>> {
        let file = directory.path().join("report.json");
        let mut program = Command::new(env!("CARGO_BIN_EXE_homeport-sim"));
        let output = program.args(arguments).arg("--json").arg(&file).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let report: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
        let figures = report["figures"].as_array().context("no figures")?;
        let named = |one: &Value| Some((one["name"].as_str()?.to_owned(), one["value"].as_u64()?));
        Ok(figures.iter().filter_map(named).collect())
    };
    let seeds = report(&["seeds", "--seed", "11", "--seeds", "4", "--fault-secs", "2"])?;
    assert_eq!((seeds["seeds"], seeds["violations"], seeds["rerun"]), (4, 0, 1));
    let bugs = report(&["planted", "--bug", "dropped-deregistration", "--fault-secs", "2"])?;
    assert_eq!((bugs["bugs_planted"], bugs["bugs_found"]), (1, 1));
    Ok(())
}
