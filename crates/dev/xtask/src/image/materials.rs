//! What the program is made of, as a bill of materials in the form of CycloneDX.

use std::{collections::BTreeMap, path::Path, process::Command};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

/// All packages that are compiled into `homeport` for this target.
pub(super) fn of(root: &Path, target: &str) -> anyhow::Result<String> {
    let mut tree = Command::new("cargo");
    tree.current_dir(root).args(["tree", "--locked", "--package", "homeport", "--target", target]);
    tree.args(["--edges", "normal", "--prefix", "none", "--format", "{p}|{l}"]);
    let output = tree.output().context("cannot start cargo")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let packages = packages(&String::from_utf8(output.stdout)?);
    ensure!(packages.len() > 50, "{} packages are too few", packages.len());
    let components: Vec<Value> = packages
        .iter()
        .map(|((name, version), license)| {
            json!({
                "type": "library",
                "name": name,
                "version": version,
                "purl": format!("pkg:cargo/{name}@{version}"),
                "licenses": [{"expression": license}],
            })
        })
        .collect();
    let version = env!("CARGO_PKG_VERSION");
    let bill = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "homeport", "version": version}},
        "components": components,
    });
    Ok(serde_json::to_string_pretty(&bill)? + "\n")
}

/// `name v1.2.3 (where)|license` of each line, once.
fn packages(tree: &str) -> BTreeMap<(String, String), String> {
    let line = |line: &str| {
        let (package, license) = line.split_once('|')?;
        let mut words = package.split(' ');
        let name = words.next()?.to_owned();
        let version = words.next()?.strip_prefix('v')?.to_owned();
        let license = license.trim_end_matches(" (*)").replace('/', " OR ");
        Some(((name, version), license))
    };
    tree.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_read_once_with_their_licence() {
        let tree = "homeport v0.1.0 (/x)|Apache-2.0\nlibc v0.2.1|MIT/Apache-2.0\nlibc v0.2.1|MIT/Apache-2.0 (*)\n\n";
        let found = packages(tree);
        assert_eq!(found.len(), 2);
        assert_eq!(found[&("libc".to_owned(), "0.2.1".to_owned())], "MIT OR Apache-2.0");
    }
}
