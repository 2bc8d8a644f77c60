//! The messages under `proto`, checked by buf: their form, and that nobody who speaks an older version of them is
//! misunderstood.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;
use homeport_tests::versions::BEFORE;

use crate::{packages, report::Report, tools};

/// Below the top of the tree; `buf.yaml` there has the rules.
const PROTO: &str = "proto";
const NPM_PACKAGE: &str = "@bufbuild/buf-linux-x64@1.75.0";
const BUF_SHA256: &str = "fad1e38d6909bbb583a4da81d8c02a01046e2cd663bde7e337dd24277393764b";

/// Lints, and compares with the version that a rolling upgrade starts from.
pub(crate) fn check(root: &Path) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let Some(buf) = find(&root.join("target/tools"))? else {
        eprintln!("api-lint: no buf (set BUF, install it, or install npm): NOT CHECKED");
        report.skipped = 2;
        return Ok(report);
    };
    report.count(run(&buf, root, &["lint", PROTO])?);
    if has_commit(root, BEFORE)? {
        let before = format!(".git#ref={BEFORE},subdir={PROTO}");
        report.count(run(&buf, root, &["breaking", PROTO, "--against", &before])?);
    } else {
        eprintln!("api-lint: commit {BEFORE} is not in this clone: BREAKING CHANGES NOT CHECKED");
        report.skipped += 1;
    }
    println!("api-lint: {} passed, {} failed", report.passed, report.failed);
    Ok(report)
}

/// What it has to say it says itself.
fn run(buf: &Path, root: &Path, arguments: &[&str]) -> anyhow::Result<bool> {
    let status = Command::new(buf).args(arguments).current_dir(root).status();
    Ok(status.context("cannot start buf")?.success())
}

fn has_commit(root: &Path, commit: &str) -> anyhow::Result<bool> {
    let mut git = Command::new("git");
    let output = git.args(["cat-file", "-e", commit]).current_dir(root).output();
    Ok(output.context("cannot start git")?.status.success())
}

/// `BUF`, then `PATH`, then what was fetched before, then npm.
fn find(tools: &Path) -> anyhow::Result<Option<PathBuf>> {
    if let Some(buf) = env::var_os("BUF") {
        return Ok(Some(buf.into()));
    }
    if packages::is_found("buf") {
        return Ok(Some("buf".into()));
    }
    let fetched = tools.join("buf");
    if !fetched.is_file() {
        let is_its_machine = cfg!(all(target_os = "linux", target_arch = "x86_64"));
        if !is_its_machine || !packages::is_found("npm") {
            return Ok(None);
        }
        if let Err(error) = fetch(tools, &fetched) {
            eprintln!("api-lint: cannot fetch buf: {error:#}");
            return Ok(None);
        }
    }
    tools::verify(&fetched, BUF_SHA256)?;
    Ok(Some(fetched))
}

fn fetch(tools: &Path, to: &Path) -> anyhow::Result<()> {
    let package = tools::npm_package(tools, NPM_PACKAGE)?;
    fs::rename(package.join("bin/buf"), to)?;
    tools::step(tools, "chmod", &["+x", "buf"])?;
    Ok(fs::remove_dir_all(package)?)
}
