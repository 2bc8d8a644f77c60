//! Who may depend on whom. Dependencies point one way, core <- shell <- role <- app, and inside a layer
//! only along the edges named here; `dev` may use everything and is used by nobody else.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::report::Report;

mod statuses;

/// Edges inside the core: the codec is for all, the vocabulary of bindings for signalling, ESP for whoever
/// holds or uses a security association, and the correspondent node's rules for those who share that role.
const CORE_EDGES: [(&str, &str); 14] = [
    ("binding", "wire"),
    ("esp", "wire"),
    ("binding", "esp"),
    ("signalling", "esp"),
    ("mobile", "esp"),
    ("signalling", "wire"),
    ("signalling", "binding"),
    ("forwarding", "wire"),
    ("mobile", "wire"),
    ("home-link", "wire"),
    ("correspondent", "wire"),
    ("binding", "correspondent"),
    ("signalling", "correspondent"),
    ("forwarding", "correspondent"),
];

/// Crates of the shell that others of the shell may use.
const SHELL_SHARED: [&str; 2] = ["runtime", "api"];

/// Libraries of others that only these crates of ours may name, so that replacing one is one crate's
/// work. `deny.toml` says the same to cargo-deny, for the whole graph.
const ADAPTERS: [(&str, &[&str]); 11] = [
    ("openraft", &["raft"]),
    ("sled", &["raft"]),
    // xtask: for the few messages of etcd that the benchmark beside it exchanges.
    ("prost", &["api", "raft", "xtask"]),
    ("tun-rs", &["hostnet"]),
    ("rtnetlink", &["hostnet"]),
    ("netlink-packet-xfrm", &["hostnet"]),
    ("pnet_datalink", &["hostnet"]),
    ("aya", &["fastpath"]),
    ("rustls", &["tls"]),
    ("rcgen", &["tls"]),
    ("x509-parser", &["tls"]),
];

/// Checks the tree's manifests, that every core crate is `no_std`, and that no crate above the core
/// names a status.
pub(crate) fn check(root: &Path) -> anyhow::Result<Report> {
    let crates = read(root)?;
    let mut report = Report::default();
    let mut violations = Vec::new();
    for package in &crates {
        violations.extend(misnamed(package));
        report.passed += 1;
        for dependency in &package.dependencies {
            let found = forbidden(package, dependency, &crates);
            report.passed += u64::from(found.is_none());
            violations.extend(found);
        }
        if package.layer == Layer::Core {
            let found = not_no_std(package)?;
            report.passed += u64::from(found.is_empty());
            violations.extend(found);
        }
        if statuses::is_checked(package) {
            let found = statuses::named(package)?;
            report.passed += u64::from(found.is_empty());
            violations.extend(found);
        }
    }
    for violation in &violations {
        eprintln!("layers: {violation}");
    }
    report.failed = u64::try_from(violations.len())?;
    println!("layers: {} crates, {} rules held", crates.len(), report.passed);
    Ok(report)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    Core,
    Shell,
    Role,
    App,
    Dev,
}

/// A crate of this tree.
#[derive(Clone, Debug)]
struct Crate {
    name: String,
    folder: String,
    layer: Layer,
    path: PathBuf,
    /// Names of what it depends on, for whatever purpose.
    dependencies: Vec<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
}

fn read(root: &Path) -> anyhow::Result<Vec<Crate>> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root)
        .output()
        .context("cannot start cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: Metadata = serde_json::from_slice(&output.stdout)?;
    metadata.packages.into_iter().map(|package| placed(root, package)).collect()
}

/// The layer is the folder that the crate lies in.
fn placed(root: &Path, package: Package) -> anyhow::Result<Crate> {
    let path = package.manifest_path.parent().context("a manifest lies in a folder")?;
    let inside = path.strip_prefix(root)?;
    let parts: Vec<&str> = inside.iter().filter_map(|part| part.to_str()).collect();
    let (layer, folder) = match *parts.as_slice() {
        ["crates", "core", folder] => (Layer::Core, folder),
        ["crates", "shell", folder] => (Layer::Shell, folder),
        ["crates", "role", folder] => (Layer::Role, folder),
        ["crates", "app", folder] => (Layer::App, folder),
        ["crates", "dev", folder] | [folder @ "tests"] => (Layer::Dev, folder),
        _ => bail!("{} lies in no layer: {}", package.name, inside.display()),
    };
    Ok(Crate {
        name: package.name,
        folder: folder.to_owned(),
        layer,
        path: path.to_owned(),
        dependencies: package.dependencies.into_iter().map(|on| on.name).collect(),
    })
}

/// Libraries are `homeport-<folder>`; programs have the name of their folder.
fn misnamed(package: &Crate) -> Option<String> {
    let plain = matches!(package.layer, Layer::App | Layer::Dev) && package.name == package.folder;
    let expected = format!("homeport-{}", package.folder);
    (!plain && package.name != expected)
        .then(|| format!("{} lies in {}; expected {expected}", package.name, package.folder))
}

fn forbidden(package: &Crate, dependency: &str, crates: &[Crate]) -> Option<String> {
    if let Some(ours) = crates.iter().find(|other| other.name == dependency) {
        let why = refusal(package, ours)?;
        return Some(format!("{} depends on {dependency}: {why}", package.name));
    }
    let (_, allowed) = ADAPTERS.iter().find(|(library, _)| *library == dependency)?;
    let in_place = matches!(package.layer, Layer::Shell | Layer::Dev)
        && allowed.contains(&package.folder.as_str());
    (!in_place).then(|| {
        format!("{} depends on {dependency}: only {} may", package.name, allowed.join(", "))
    })
}

/// Why `package` may not use `other`; nothing when it may.
fn refusal(package: &Crate, other: &Crate) -> Option<&'static str> {
    let edge = (package.folder.as_str(), other.folder.as_str());
    if other.layer > package.layer {
        return Some("the layers are core <- shell <- role <- app <- dev");
    }
    if other.layer < package.layer {
        return None;
    }
    match package.layer {
        Layer::Core if CORE_EDGES.contains(&edge) => None,
        Layer::Core => Some("inside the core only wire is shared, and binding with signalling"),
        Layer::Shell if SHELL_SHARED.contains(&edge.1) => None,
        Layer::Shell => Some("inside the shell only runtime and api are shared"),
        Layer::Role => Some("roles talk over the network, never by calls"),
        Layer::App => None,
        Layer::Dev if edge == ("xtask", "tests") => None,
        Layer::Dev => Some("only xtask uses dev, and only what the tests measure with"),
    }
}

/// `no_std` takes away clocks, sockets, threads and the randomly ordered map; only tests may bring
/// `std` back.
fn not_no_std(package: &Crate) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    let library = package.path.join("src/lib.rs");
    let text = fs::read_to_string(&library)
        .with_context(|| format!("cannot read {}", library.display()))?;
    if !text.lines().any(|line| line.trim() == "#![no_std]") {
        found.push(format!("{}: src/lib.rs does not say #![no_std]", package.name));
    }
    for source in sources(&package.path.join("src"))? {
        let text = fs::read_to_string(&source)?;
        let mut previous = "";
        for line in text.lines().map(str::trim) {
            let brings_std = line.starts_with("extern crate std");
            if brings_std && !previous.starts_with("#[cfg(test)]") {
                found.push(format!("{}: {} brings std back", package.name, source.display()));
            }
            previous = line;
        }
    }
    Ok(found)
}

fn sources(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        // Test modules are compiled for tests only, where std is there anyway.
        if path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, path: &str, dependencies: &[&str]) -> Crate {
        let manifest_path = Path::new("/tree").join(path).join("Cargo.toml");
        let dependencies =
            dependencies.iter().map(|name| Dependency { name: (*name).to_owned() }).collect();
        let package = Package { name: name.to_owned(), manifest_path, dependencies };
        placed(Path::new("/tree"), package).expect("lies in a layer")
    }

    fn tree() -> Vec<Crate> {
        [
            ("homeport-wire", "crates/core/wire"),
            ("homeport-binding", "crates/core/binding"),
            ("homeport-signalling", "crates/core/signalling"),
            ("homeport-forwarding", "crates/core/forwarding"),
            ("homeport-runtime", "crates/shell/runtime"),
            ("homeport-raft", "crates/shell/raft"),
            ("homeport-store", "crates/role/store"),
            ("homeport-noc", "crates/role/noc"),
            ("homeport", "crates/app/homeport"),
            ("mobile-node", "crates/app/mobile-node"),
            ("xtask", "crates/dev/xtask"),
            ("homeport-tests", "tests"),
        ]
        .map(|(name, path)| package(name, path, &[]))
        .to_vec()
    }

    #[test]
    fn dependencies_point_one_way() {
        // (who, on whom, allowed)
        let rows = [
            ("homeport-signalling", "homeport-wire", true),
            ("homeport-signalling", "homeport-binding", true),
            ("homeport-binding", "homeport-signalling", false),
            ("homeport-forwarding", "homeport-binding", false),
            ("homeport-wire", "homeport-runtime", false),
            ("homeport-raft", "homeport-binding", true),
            ("homeport-raft", "homeport-runtime", true),
            ("homeport-runtime", "homeport-raft", false),
            ("homeport-raft", "homeport-store", false),
            ("homeport-store", "homeport-raft", true),
            ("homeport-store", "homeport-noc", false),
            ("homeport", "homeport-store", true),
            ("homeport", "mobile-node", true),
            ("homeport", "homeport-tests", false),
            ("xtask", "homeport", true),
            ("xtask", "homeport-tests", true),
            ("homeport-tests", "xtask", false),
            ("homeport-raft", "sled", true),
            ("homeport-store", "sled", false),
            ("homeport", "prost", false),
            ("homeport-store", "serde", true),
        ];
        let crates = tree();
        for (who, on, allowed) in rows {
            let who = crates.iter().find(|package| package.name == who).expect("is in the tree");
            let found = forbidden(who, on, &crates);
            assert_eq!(found.is_none(), allowed, "{} -> {on}: {found:?}", who.name);
        }
    }

    #[test]
    fn names_follow_folders() {
        assert_eq!(tree().iter().filter_map(misnamed).next(), None);
        assert!(misnamed(&package("wire", "crates/core/wire", &[])).is_some());
        assert!(misnamed(&package("homeport-codec", "crates/core/wire", &[])).is_some());
    }

    #[test]
    fn a_core_crate_without_no_std_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let source = root.join("crates/core/wire/src");
        fs::create_dir_all(&source).expect("folders");
        let write = |text: &str| fs::write(source.join("lib.rs"), text).expect("writes");
        let mut wire = package("homeport-wire", "crates/core/wire", &[]);
        wire.path = root.join("crates/core/wire");
        write("#![no_std]\n#[cfg(test)]\nextern crate std;\n");
        assert_eq!(not_no_std(&wire).expect("reads"), Vec::<String>::new());
        write("#![no_std]\nextern crate std;\n");
        assert_eq!(not_no_std(&wire).expect("reads").len(), 1);
        write("//! #![no_std]\n");
        assert_eq!(not_no_std(&wire).expect("reads").len(), 1);
    }
}
