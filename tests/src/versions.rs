//! Programs of the version before, for upgrades: built once out of the history of this repository.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// What an upgrade starts from. No version was released yet, so this is the last commit before the store's
/// disk got new fields, its replicas a new call, and its log and its state new kinds of records.
pub const BEFORE: &str = "0f3e90af2429f6e719ddc5149d47d5085ea48e91";

/// Whether the history of this repository is here, back to the version before: a shallow clone has none.
#[must_use]
pub fn is_known(commit: &str) -> bool {
    let mut git = Command::new("git");
    git.args(["cat-file", "-e", &format!("{commit}^{{commit}}")]).current_dir(crate::root());
    git.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// The program `homeport` of another commit, in a directory of the target directory that keeps it.
///
/// # Errors
/// When its source cannot be read or does not build.
pub fn program_of(commit: &str) -> Result<PathBuf> {
    let directory = target_directory()?.join("versions").join(commit);
    let source = directory.join("source");
    if !source.join("Cargo.lock").is_file() {
        unpack(commit, &source)?;
    }
    let target = directory.join("target");
    println!("the program of {commit} is built, unless it is there");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--locked", "-p", "homeport", "--bin", "homeport"]);
    cargo.arg("--target-dir").arg(&target).current_dir(&source);
    // That of today's workspace, where cargo has set it.
    cargo.env_remove("CARGO_MANIFEST_DIR");
    ensure!(cargo.status()?.success(), "`cargo build` of {commit} failed");
    Ok(target.join("debug").join("homeport"))
}

/// All files of the commit; whole, or not there.
fn unpack(commit: &str, source: &Path) -> Result<()> {
    let fresh = source.with_extension("new");
    if fresh.exists() {
        std::fs::remove_dir_all(&fresh)?;
    }
    std::fs::create_dir_all(&fresh)?;
    let mut git = Command::new("git");
    git.args(["archive", "--format=tar", commit]).current_dir(crate::root());
    let mut git = git.stdout(Stdio::piped()).spawn().context("git archive")?;
    let archive = git.stdout.take().context("git archive writes nothing")?;
    let unpacked = Command::new("tar").arg("-x").current_dir(&fresh).stdin(archive).status();
    ensure!(git.wait()?.success(), "`git archive {commit}` failed");
    ensure!(unpacked.context("tar")?.success(), "tar cannot unpack {commit}");
    std::fs::rename(&fresh, source).with_context(|| source.display().to_string())
}

/// Where cargo builds: cargo marks that directory.
fn target_directory() -> Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let marked = exe.ancestors().find(|above| above.join("CACHEDIR.TAG").is_file());
    Ok(marked.map_or_else(|| crate::root().join("target"), Path::to_owned))
}
