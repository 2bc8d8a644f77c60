//! The image as the chart runs it, by podman and runc: every name of its program, and a store replica that serves, answers
//! and ends when it is told to.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};

use crate::{packages, report::Report};

/// Where there are no rights to raise limits, and control groups of both kinds.
const SETTINGS: &str = r#"[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
"#;
/// What the chart gives a pod that is no forwarder.
const RESTRICTED: [&str; 6] = [
    "--read-only",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
    "--user=65532:65532",
    "--network=none",
    "--pull=never",
];
const STORE: &str = r#"node_id = 1
cluster_name = "smoke"
data_dir = "/var/lib/homeport"
listen = "127.0.0.1:7101"

[peers]
1 = "127.0.0.1:7101"

[ops]
listen = "127.0.0.1:9101"
"#;
/// The store starts, and ends, in less.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn run(report: &mut Report, image: &str) -> anyhow::Result<()> {
    if !packages::is_found("podman") || !packages::is_found("runc") {
        eprintln!("\n*** SKIPPED image: podman or runc is not installed: NOT RUN\n");
        report.skipped += 1;
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let settings = folder.path().join("containers.conf");
    fs::write(&settings, SETTINGS)?;
    let podman = |arguments: &[&str]| podman(&settings, arguments);
    for name in ["homeport", "homeportctl", "mobile-node"] {
        let entry = format!("--entrypoint=/usr/bin/{name}");
        let output = podman(
            &[&["run", "--rm"], RESTRICTED.as_slice(), &[&entry, image, "--version"]].concat(),
        )?;
        let said = String::from_utf8_lossy(&output.stdout);
        let passed = output.status.success() && said.starts_with(&format!("{name} "));
        report.count(passed);
        println!("image: {}", if passed { said.trim().to_owned() } else { errors(&output) });
    }
    let config = folder.path().join("store.toml");
    fs::write(&config, STORE)?;
    let config = format!("--volume={}:/etc/homeport/store.toml:ro", config.display());
    let data = "--mount=type=tmpfs,destination=/var/lib/homeport,tmpfs-mode=0777";
    let detached = ["run", "--detach"];
    let arguments = [&config, data, image, "store", "--config", "/etc/homeport/store.toml"];
    let started = podman(&[&detached, RESTRICTED.as_slice(), &arguments].concat())?;
    ensure!(started.status.success(), "podman: {}", errors(&started));
    let container = String::from_utf8_lossy(&started.stdout).trim().to_owned();
    let lived = life(&podman, &container);
    if lived.is_err() {
        let log = podman(&["logs", &container])?;
        eprintln!("image: {}{}", String::from_utf8_lossy(&log.stdout), errors(&log));
    }
    podman(&["rm", "--force", &container])?;
    report.count(lived.is_ok());
    println!("image: a store replica ended in {} ms", lived?.as_millis());
    Ok(())
}

/// It leads itself, and ends by itself on SIGTERM.
fn life(
    podman: &impl Fn(&[&str]) -> anyhow::Result<Output>,
    container: &str,
) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    loop {
        let output = podman(&["exec", container, "/usr/bin/homeportctl", "status"])?;
        if output.status.success() && String::from_utf8_lossy(&output.stdout).contains("leader") {
            break;
        }
        ensure!(begun.elapsed() < PATIENCE, "the store does not lead: {}", errors(&output));
        std::thread::sleep(Duration::from_millis(300));
    }
    let begun = Instant::now();
    let stopped = podman(&["stop", "--time=30", container])?;
    ensure!(stopped.status.success(), "{}", errors(&stopped));
    let ended = podman(&["inspect", "--format={{.State.ExitCode}}", container])?;
    let code = String::from_utf8_lossy(&ended.stdout).trim().to_owned();
    ensure!(code == "0", "the store ended with {code}");
    Ok(begun.elapsed())
}

fn podman(settings: &Path, arguments: &[&str]) -> anyhow::Result<Output> {
    let mut command = Command::new("podman");
    command.env("CONTAINERS_CONF", settings).args(arguments);
    command.output().context("cannot start podman")
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}
