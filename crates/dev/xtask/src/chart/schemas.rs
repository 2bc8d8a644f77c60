//! The schemas of Kubernetes, for several versions, and those of the kinds that others have added.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use anyhow::Context as _;

use super::{Rendered, skip, tools};
use crate::report::Report;

/// The oldest that the validator knows, the newest, and two between them.
const VERSIONS: [&str; 4] = ["1.28", "1.31", "1.34", "1.37"];
const VALIDATOR: (&str, &str) = ("kubernetes-validate", "1.37.0");
/// Validators of the kinds that the Prometheus Operator and cert-manager add.
const KINDS: [&str; 2] =
    ["@kubernetes-models/prometheus-operator@6.0.0", "@kubernetes-models/cert-manager@6.0.0"];
/// Reads objects, one JSON text a line, and prints what is wrong with them.
const SCRIPT: &str = include_str!("custom_resources.mjs");

pub(super) fn check(
    report: &mut Report,
    tools: &Path,
    rendered: &[Rendered],
) -> anyhow::Result<()> {
    if rendered.is_empty() {
        return Ok(());
    }
    match tools::python(tools, VALIDATOR.0, VALIDATOR.1) {
        Some(validator) => {
            for version in VERSIONS {
                let mut command = Command::new(&validator);
                command.args(["--strict", "-k", version]);
                command.args(rendered.iter().map(|one| &one.file));
                let output = command.output().context("cannot start kubernetes-validate")?;
                let all = said(&output);
                let faults: Vec<&str> = all.lines().filter(|line| is_fault(line)).collect();
                let passed = output.status.success() && faults.is_empty() && all.contains("passed");
                report.count(passed);
                if !passed {
                    eprintln!("chart: Kubernetes {version}: {}", faults.join("\n"));
                }
            }
            println!("chart: schemas of Kubernetes {}", VERSIONS.join(", "));
        }
        None => skip(report, "schemas of Kubernetes (install python3)"),
    }
    match tools::node_modules(tools, "kubernetes-models", &KINDS) {
        Some(folder) => custom(report, &folder, rendered)?,
        None => skip(report, "schemas of custom resources (install node and npm)"),
    }
    Ok(())
}

/// It warns of kinds that are not Kubernetes' own; those have validators of their own.
fn is_fault(line: &str) -> bool {
    !line.starts_with("INFO") && !line.contains("Couldn't find schema") && !line.is_empty()
}

fn custom(report: &mut Report, folder: &Path, rendered: &[Rendered]) -> anyhow::Result<()> {
    fs::write(folder.join("custom_resources.mjs"), SCRIPT)?;
    let mut kinds = 0;
    for one in rendered {
        let objects = super::Objects::read(&one.text)?;
        let lines: String = objects.custom().map(|object| format!("{object}\n")).collect();
        kinds += lines.lines().count();
        fs::write(folder.join("objects.jsonl"), lines)?;
        let mut command = Command::new("node");
        let command = command.arg("custom_resources.mjs").current_dir(folder);
        let output = command.output().context("cannot start node")?;
        report.count(output.status.success());
        if !output.status.success() {
            eprintln!("chart: {}: {}", one.name, said(&output));
        }
    }
    println!("chart: {kinds} custom resources");
    Ok(())
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
