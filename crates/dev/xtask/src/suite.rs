//! Every test of the tree in one command.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::Context as _;

use crate::{packages, report::Report};

const NOT_ROOT: &str = "
*****************************************************************************
* NOT ROOT: the tests that need network namespaces and TUN devices skip     *
* themselves. Run as root for the whole suite.                              *
*****************************************************************************";

/// Runs unit, property and integration tests, then those in the documentation.
pub(crate) fn run(root: &Path) -> anyhow::Result<Report> {
    let begun = Instant::now();
    if packages::is_root() {
        packages::install()?;
    } else {
        eprintln!("{NOT_ROOT}");
    }
    let mut report = if packages::is_found("cargo-nextest") {
        nextest(root)?
    } else {
        eprintln!("cargo-nextest is not installed; `cargo test` runs instead");
        cargo_test(root, &["--lib", "--bins", "--tests"])?
    };
    report.add(cargo_test(root, &["--doc"])?);
    if !packages::is_root() {
        eprintln!("{NOT_ROOT}");
    }
    report.figure("duration", begun.elapsed().as_secs_f64(), "s");
    eprintln!("{} passed, {} failed, {} skipped", report.passed, report.failed, report.skipped);
    Ok(report)
}

/// How the tests that a filter of nextest selects have ended, by the last part of their names; false for one that
/// was ignored, too.
pub(crate) fn outcomes(root: &Path, filter: &str) -> anyhow::Result<BTreeMap<String, bool>> {
    let mut command = Command::new("cargo");
    command
        .args(["nextest", "run", "--workspace", "--no-fail-fast", "-E", filter])
        .args(["--message-format", "libtest-json"])
        .env("NEXTEST_EXPERIMENTAL_LIBTEST_JSON", "1");
    let mut outcomes = BTreeMap::new();
    run_counting(command, root, |line, report| {
        count_event(line, report);
        if let Some((name, passed)) = outcome_of(line) {
            // Of two with one name both have to pass.
            let all = outcomes.entry(name).or_insert(true);
            *all = *all && passed;
        }
    })?;
    Ok(outcomes)
}

/// The end of one test in libtest's JSON: `package::binary$module::name`.
fn outcome_of(line: &str) -> Option<(String, bool)> {
    let event: serde_json::Value = serde_json::from_str(line).ok()?;
    let (kind, ended) = (event["type"].as_str()?, event["event"].as_str()?);
    let name = event["name"].as_str().filter(|_| kind == "test" && ended != "started")?;
    let name = name.rsplit(['$', ':']).next()?;
    Some((name.to_owned(), ended == "ok"))
}

/// nextest talks to people on standard error, so standard output is free for the counts.
fn nextest(root: &Path) -> anyhow::Result<Report> {
    let mut command = Command::new("cargo");
    command
        .args(["nextest", "run", "--workspace", "--no-fail-fast"])
        .args(["--message-format", "libtest-json"])
        .env("NEXTEST_EXPERIMENTAL_LIBTEST_JSON", "1");
    run_counting(command, root, count_event)
}

fn cargo_test(root: &Path, kinds: &[&str]) -> anyhow::Result<Report> {
    let mut command = Command::new("cargo");
    command.args(["test", "--workspace", "--no-fail-fast"]).args(kinds);
    run_counting(command, root, |line, report| {
        println!("{line}");
        count_summary(line, report);
    })
}

fn run_counting(
    mut command: Command,
    root: &Path,
    mut count: impl FnMut(&str, &mut Report),
) -> anyhow::Result<Report> {
    let started = command.current_dir(root).stdout(Stdio::piped()).spawn();
    let mut child = started.context("cannot start cargo")?;
    let mut report = Report::default();
    let output = child.stdout.take().context("standard output is piped")?;
    for line in BufReader::new(output).lines() {
        count(&line?, &mut report);
    }
    // What fails without a test's name, such as a compile error, must fail the task all the same.
    if !child.wait()?.success() && report.failed == 0 {
        report.failed = 1;
    }
    Ok(report)
}

/// One event of libtest's JSON.
fn count_event(line: &str, report: &mut Report) {
    let Ok(event) = serde_json::from_str::<serde_json::Value>(line) else {
        return;
    };
    if event["type"] != "test" {
        return;
    }
    match event["event"].as_str() {
        Some("ok") => report.passed += 1,
        Some("failed") => report.failed += 1,
        Some("ignored") => report.skipped += 1,
        Some(_) | None => {}
    }
}

/// `test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; ...`
fn count_summary(line: &str, report: &mut Report) {
    let Some(summary) = line.trim_start().strip_prefix("test result: ") else {
        return;
    };
    let words: Vec<&str> = summary.split_whitespace().collect();
    for pair in words.windows(2) {
        let [number, what] = pair else { continue };
        let Ok(number) = number.parse::<u64>() else {
            continue;
        };
        match *what {
            "passed;" => report.passed += number,
            "failed;" => report.failed += number,
            "ignored;" => report.skipped += number,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_runners_are_counted() {
        let mut report = Report::default();
        count_event(r#"{"type":"suite","event":"ok","passed":9}"#, &mut report);
        count_event(r#"{"type":"test","event":"started","name":"a"}"#, &mut report);
        count_event(r#"{"type":"test","event":"ok","name":"a"}"#, &mut report);
        count_event(r#"{"type":"test","event":"failed","name":"b"}"#, &mut report);
        count_event("not JSON", &mut report);
        count_summary("running 2 tests", &mut report);
        count_summary(
            "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out",
            &mut report,
        );
        assert_eq!(report, Report { passed: 6, failed: 1, skipped: 1, ..Report::default() });
    }
}
