//! promtool out of Debian's package `prometheus`, without installing that: its daemon would start.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use crate::{packages, tools};

const PACKAGE: &str = "prometheus";

/// `PROMTOOL`, then `PATH`, then what was fetched before, then Debian's package.
pub(super) fn find(tools: &Path) -> anyhow::Result<Option<PathBuf>> {
    if let Some(promtool) = env::var_os("PROMTOOL") {
        return Ok(Some(promtool.into()));
    }
    if packages::is_found("promtool") {
        return Ok(Some("promtool".into()));
    }
    let folder = tools.join(PACKAGE);
    let fetched = folder.join("usr/bin/promtool");
    if !fetched.is_file() {
        if !packages::is_found("apt-get") || !packages::is_found("dpkg-deb") {
            return Ok(None);
        }
        if let Err(error) = fetch(&folder) {
            eprintln!("rules-lint: cannot fetch promtool: {error:#}");
            return Ok(None);
        }
    }
    Ok(Some(fetched))
}

/// What apt downloads it has verified.
fn fetch(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    eprintln!("fetching Debian's {PACKAGE}");
    let download = ["-qq", "download", PACKAGE];
    if tools::step(folder, "apt-get", &download).is_err() {
        // Its lists may be missing or old.
        tools::step(folder, "apt-get", &["-qq", "update"])?;
        tools::step(folder, "apt-get", &download)?;
    }
    let archive = fs::read_dir(folder)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find(|name| name.ends_with(".deb"))
        .context("apt-get left no package")?;
    tools::step(folder, "dpkg-deb", &["-x", &archive, "."])?;
    Ok(fs::remove_file(folder.join(archive))?)
}
