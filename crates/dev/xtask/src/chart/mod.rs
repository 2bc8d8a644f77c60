//! The Helm chart, checked by Helm 3 and Helm 4 and by what knows Kubernetes.

mod golden;
mod objects;
mod policy;
mod refused;
mod schemas;
mod security;
mod tools;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};
use homeport_runtime::config::Source;

pub(crate) use self::objects::{Objects, at, items, text};
pub(crate) use self::tools::helm;
use crate::report::Report;

const CHART: &str = "helm/homeport";
/// The release that is rendered, and where.
const RELEASE: [&str; 4] = ["template", "homeport", "--namespace", "homeport"];

/// One set of values, as each Helm has rendered it.
struct Rendered {
    name: String,
    text: String,
    file: PathBuf,
}

/// Lints the chart strictly and renders it, with its defaults, its presets and each file of `ci/`, by both Helms. What
/// comes out is compared with the golden files, read by the roles that it configures, looked through for names that do
/// not fit together, and held against the schemas of Kubernetes.
pub(crate) fn check(root: &Path, write: bool) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let chart = root.join(CHART);
    let tools = root.join("target/tools");
    let folder = tempfile::tempdir()?;
    let mut last: Vec<Rendered> = Vec::new();
    for (version, program) in tools::helms(&tools)? {
        let Some(helm) = program else {
            skip(
                &mut report,
                &format!("helm {version} (set HELM{version}, or install npm and python3)"),
            );
            continue;
        };
        let mut rendered = Vec::new();
        for values in value_files(&chart)? {
            let name = name_of(values.as_deref());
            let linted = run(&helm, &["lint", "--strict"], &chart, values.as_deref())?;
            let text = run(&helm, &RELEASE, &chart, values.as_deref())?;
            report.count(linted.is_some());
            report.count(text.is_some());
            if let Some(text) = text {
                let file = folder.path().join(format!("{name}.yaml"));
                fs::write(&file, &text)?;
                rendered.push(Rendered { name, text, file });
            }
        }
        for (one, other) in rendered.iter().zip(&last) {
            let same = one.text == other.text;
            report.count(same);
            if !same {
                eprintln!(
                    "chart: {}: Helm {version} renders it otherwise than the other",
                    one.name
                );
            }
        }
        refused::check(&mut report, &helm, &chart)?;
        println!("chart: Helm {version}: {} sets of values", rendered.len());
        last = rendered;
    }
    golden::check(&mut report, root, &last, write)?;
    for one in &last {
        look_through(&mut report, one)?;
    }
    schemas::check(&mut report, &tools, &last)?;
    policy::check(&mut report, &tools, &last)?;
    Ok(report)
}

/// Says loudly what was not looked at; it does not count as passed.
fn skip(report: &mut Report, what: &str) {
    eprintln!("\n*** SKIPPED chart: {what}: NOT CHECKED\n");
    report.skipped += 1;
}

fn look_through(report: &mut Report, rendered: &Rendered) -> anyhow::Result<()> {
    let objects = Objects::read(&rendered.text)?;
    let mut faults = objects.faults();
    faults.extend(security::faults(&objects));
    let configurations = objects.configurations();
    for (file, text) in &configurations {
        if let Err(error) = readable(file, text) {
            faults.push(format!("{error:#}"));
        }
        report.count(true);
    }
    for fault in &faults {
        eprintln!("chart: {}: {fault}", rendered.name);
        report.count(false);
    }
    report.count(faults.is_empty());
    println!(
        "chart: {}: {} objects, {} configurations",
        rendered.name,
        objects.len(),
        configurations.len()
    );
    Ok(())
}

/// What helm prints, or nothing when it refuses.
fn run(
    helm: &Path,
    action: &[&str],
    chart: &Path,
    values: Option<&Path>,
) -> anyhow::Result<Option<String>> {
    let mut command = Command::new(helm);
    command.args(action).arg(chart);
    if let Some(values) = values {
        command.arg("--values").arg(values);
    }
    let output = command.output().context("cannot start helm")?;
    if output.status.success() {
        return Ok(Some(String::from_utf8(output.stdout)?));
    }
    eprintln!("chart: helm {} refuses", action.join(" "));
    eprintln!("{}", String::from_utf8_lossy(&output.stdout));
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    Ok(None)
}

/// Renders the chart with these arguments.
pub(crate) fn render(root: &Path, helm: &Path, arguments: &[&str]) -> anyhow::Result<Objects> {
    let mut command = Command::new(helm);
    let output = command.args(RELEASE).arg(root.join(CHART)).args(arguments).output();
    let output = output.context("cannot start helm")?;
    if !output.status.success() {
        bail!("helm refuses: {}", String::from_utf8_lossy(&output.stderr));
    }
    Objects::read(&String::from_utf8(output.stdout)?)
}

/// Reads a configuration as the role does that it is for.
fn readable(file: &str, text: &str) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join(file);
    fs::write(&path, text)?;
    let source = Source::file(path);
    match file {
        "signalling.toml" => drop(source.read::<homeport_front_end::Config>()?),
        "forwarder.toml" => drop(source.read::<homeport_forwarder::Config>()?),
        "noc.toml" => drop(source.read::<homeport_noc::Config>()?),
        store if store.contains("-store-") => {
            drop(source.read::<homeport_store::Config>()?);
        }
        other => bail!("{other} is for no role"),
    }
    Ok(())
}

/// The defaults, the presets, then the example values.
fn value_files(chart: &Path) -> anyhow::Result<Vec<Option<PathBuf>>> {
    let mut files = Vec::new();
    for folder in [chart.to_owned(), chart.join("ci")] {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("values-") || name.ends_with("-values.yaml") {
                files.push(Some(path));
            }
        }
    }
    files.sort();
    files.insert(0, None);
    Ok(files)
}

fn name_of(values: Option<&Path>) -> String {
    let name = values.and_then(|file| file.file_stem());
    name.map_or_else(|| "defaults".to_owned(), |name| name.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_are_found_and_read_by_their_roles() {
        let manifests = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  noc.toml: |\n    stores = [\n      \
                         \"a:1\",\n    ]\n\n    [ops]\n    listen = \"[::]:9103\"\n---\nkind: Service\n";
        let found = Objects::read(manifests).expect("is YAML").configurations();
        let [(file, text)] = found.as_slice() else { panic!("one: {found:?}") };
        assert_eq!(text, "stores = [\n  \"a:1\",\n]\n\n[ops]\nlisten = \"[::]:9103\"\n");
        readable(file, text).expect("is right");
        assert!(readable(file, "store = []").is_err());
        assert!(readable("other.toml", text).is_err());
    }
}
