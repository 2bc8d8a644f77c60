//! A user-mode-linux guest: it sees this host's file system, has network devices of ours, and runs an IKE
//! daemon.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use homeport_hostnet::Namespace;
use tokio::time::sleep;

use crate::PATIENCE;

/// The guest's kernel.
pub(super) const KERNEL: &str = "linux.uml";
/// After this a guest ends by itself, whoever has forgotten it.
const SECONDS_MAX: u32 = 240;
/// Memory of a guest: a program of a debug build is large.
const MEMORY: &str = "mem=512M";
const PAUSE: Duration = Duration::from_millis(20);
/// How the daemon is spoken to inside.
const VICI: &str = "--uri unix:///run/charon.vici";

/// It ends when this is dropped.
pub(super) struct Guest {
    name: &'static str,
    process: Child,
    /// The folder that it shares with us.
    share: PathBuf,
    commands: u32,
}

impl Guest {
    /// Starts one in `namespace` whose Ethernet interfaces are these TAPs, and whose folder is made in `folder`.
    pub(super) fn start(
        name: &'static str,
        folder: &Path,
        namespace: &Namespace,
        taps: &[&str],
        network: &str,
    ) -> Result<Self> {
        let share = folder.join(name);
        std::fs::create_dir(&share)?;
        std::fs::write(share.join("network.sh"), network)?;
        std::fs::copy(fixture("strongswan.conf"), share.join("strongswan.conf"))?;
        let shim = shim(folder)?;
        let console = std::fs::File::create(share.join("console.log"))?;
        let mut command = Command::new("unshare");
        // All of a guest is in one PID namespace, and goes with its first process.
        command.args(["--pid", "--fork", "--kill-child", "timeout", "--kill-after=2"]);
        command.args([&(SECONDS_MAX + 10).to_string(), KERNEL, MEMORY, "con=null"]);
        command.args([
            "con0=null,fd:1",
            "root=/dev/root",
            "rootfstype=hostfs",
            "rootflags=/",
            "ro",
        ]);
        command.arg(format!("uml_dir={}/", share.display()));
        command.arg(format!("init={}", fixture("init.sh").display()));
        command.args([format!("SHARE={}", share.display()), format!("LIMIT={SECONDS_MAX}")]);
        command.args(taps.iter().enumerate().map(|(n, tap)| format!("eth{n}=tuntap,{tap}")));
        command.env("LD_PRELOAD", shim);
        command.stdin(Stdio::null()).stdout(console.try_clone()?).stderr(console);
        let process = namespace.run(|| command.spawn())?.context(KERNEL)?;
        Ok(Self { name, process, share, commands: 0 })
    }

    /// Waits until it takes commands.
    pub(super) async fn up(&mut self) -> Result<()> {
        let since = Instant::now();
        while !self.share.join("up").exists() {
            let ended = self.process.try_wait()?;
            if ended.is_some() || since.elapsed() > PATIENCE {
                bail!("{} does not come up: {}", self.name, self.last_words());
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Carries out shell commands inside; what they have printed.
    pub(super) async fn run(&mut self, script: &str) -> Result<String> {
        self.commands += 1;
        let n = self.commands;
        let file = |kind: &str| self.share.join(format!("{kind}.{n}"));
        let fresh = file("new");
        std::fs::write(&fresh, script)?;
        std::fs::rename(fresh, file("command"))?;
        let since = Instant::now();
        while !file("status").exists() {
            ensure!(since.elapsed() < PATIENCE, "{}: {script}: {}", self.name, self.last_words());
            sleep(PAUSE).await;
        }
        let printed = String::from_utf8_lossy(&std::fs::read(file("output"))?).into_owned();
        let status = std::fs::read_to_string(file("status"))?;
        ensure!(status.trim() == "0", "{}: {script}: status {status}{printed}", self.name);
        Ok(printed)
    }

    /// Gives the daemon its configuration, as soon as it listens.
    pub(super) async fn configure(&mut self, configuration: &str) -> Result<()> {
        std::fs::write(self.share.join("swanctl.conf"), configuration)?;
        let load = format!("swanctl --load-all --file swanctl.conf {VICI}");
        self.run(&format!("for n in $(seq 100); do {load} && exit 0; sleep 0.1; done; exit 1"))
            .await?;
        Ok(())
    }

    /// `swanctl` with these arguments.
    pub(super) async fn swanctl(&mut self, arguments: &str) -> Result<String> {
        self.run(&format!("swanctl {arguments} {VICI}")).await
    }

    /// The folder that it shares with us, which is `/mnt/share` inside.
    pub(super) fn share(&self) -> &Path {
        &self.share
    }

    /// The ends of its logs.
    pub(super) fn last_words(&self) -> String {
        let logs = ["console.log", "init.log", "charon.log", "agent.log"].into_iter();
        let ends = logs.filter_map(|log| {
            let text = std::fs::read(self.share.join(log)).ok()?;
            let text = String::from_utf8_lossy(&text).into_owned();
            let lines: Vec<&str> = text.lines().collect();
            let last = lines.get(lines.len().saturating_sub(15)..).unwrap_or_default();
            Some(format!("--- {}/{log}\n{}\n", self.name, last.join("\n")))
        });
        ends.collect()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // `unshare`: the kernel kills its child, and with that the namespace.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A file of `tests/ikev2`.
pub(super) fn fixture(name: &str) -> PathBuf {
    crate::root().join("tests/ikev2").join(name)
}

/// The library that guests need on large processors.
fn shim(folder: &Path) -> Result<PathBuf> {
    let library = folder.join("xstate.so");
    if !library.exists() {
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O2", "-o"]).arg(&library).arg(fixture("xstate.c"));
        ensure!(compile.status().context("cc")?.success(), "xstate.c does not compile");
    }
    Ok(library)
}
