//! Three processes that make a cluster, with their disks in one directory.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

/// Kernel clock ticks of CPU time a second: what `/proc` counts in on every Linux.
const TICKS_PER_SECOND: u32 = 100;

/// A process of ours; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    command: Command,
    child: Option<Child>,
}

impl Process {
    /// Starts it, with its output in a file of its name.
    pub(crate) fn start(directory: &Path, name: &str, mut command: Command) -> Result<Self> {
        let output = std::fs::File::create(directory.join(format!("{name}.out")))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let mut process = Self { name: name.to_owned(), command, child: None };
        process.again()?;
        Ok(process)
    }

    /// Starts it again after its end.
    pub(crate) fn again(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "{} runs", self.name);
        self.child = Some(self.command.spawn().with_context(|| self.name.clone())?);
        Ok(())
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().with_context(|| format!("{} is down", self.name))?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// SIGTERM; does not wait for the end.
    pub(crate) fn terminate(&self) -> Result<()> {
        self.signal("TERM")
    }

    /// Sends a signal by its name without "SIG".
    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        let pid = self.pid()?.to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status()?;
        ensure!(status.success(), "cannot send SIG{name} to {}", self.name);
        Ok(())
    }

    /// How it has ended by itself; `None` while it runs.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let child = self.child.as_mut().with_context(|| format!("{} is down", self.name))?;
        let status = child.try_wait()?;
        if status.is_some() {
            self.child = None;
        }
        Ok(status)
    }

    /// Waits for the end.
    pub(crate) fn wait(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.wait()?;
        }
        Ok(())
    }

    /// Process id.
    pub(crate) fn pid(&self) -> Result<u32> {
        Ok(self.child.as_ref().with_context(|| format!("{} is down", self.name))?.id())
    }

    /// CPU time that it has used, of the user and the kernel together.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()?))?;
        // The name stands in brackets and may hold spaces; utime and stime are fields 14 and 15.
        let fields = text.rsplit_once(')').context("/proc: no name")?.1.split_whitespace();
        let ticks = fields.skip(11).take(2).map(str::parse::<u32>);
        let ticks = ticks.sum::<Result<u32, _>>().context("/proc: no CPU time")?;
        Ok(Duration::from_secs(ticks.into()) / TICKS_PER_SECOND)
    }

    /// Memory that is in RAM, octets.
    pub(crate) fn resident_octets(&self) -> Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?;
        Ok(kib.parse::<u64>()? * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.is_some()
            && let Err(error) = self.kill()
        {
            eprintln!("{}: {error:#}", self.name);
        }
    }
}

/// CPU time of all of them.
pub(crate) fn cpu_of<'p>(processes: impl IntoIterator<Item = &'p Process>) -> Result<Duration> {
    processes.into_iter().filter(|process| process.child.is_some()).map(Process::cpu).sum()
}
