//! Keeps the processes of a dev cluster running: who dies is started again.

use std::fs::File;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use homeport_runtime::{Shutdown, Task};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::plan::{Member, Plan};

/// Between the death of a process and its next start.
const RESTART_PAUSE: Duration = Duration::from_millis(200);
/// A process that has not ended by then is killed.
const STOP_MAX: Duration = Duration::from_secs(5);

/// One supervised process.
pub(crate) struct Process {
    /// Its process id; `None` while it is down.
    pub(crate) pid: watch::Receiver<Option<u32>>,
    task: Task<()>,
}

impl Process {
    /// Starts a role, and again whenever it ends before `shutdown` begins.
    pub(crate) fn start(
        plan: &Plan,
        member: &Member,
        role: &'static str,
        shutdown: Shutdown,
    ) -> Self {
        let (pid_is, pid) = watch::channel(None);
        let supervised = supervise(plan.clone(), member.clone(), role, shutdown, pid_is);
        Self { pid, task: Task::spawn("supervisor", supervised) }
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(self) {
        if let Err(error) = self.task.await {
            println!("[dev] {error}");
        }
    }
}

async fn supervise(
    plan: Plan,
    member: Member,
    role: &'static str,
    shutdown: Shutdown,
    pid: watch::Sender<Option<u32>>,
) {
    while !shutdown.is_begun() {
        match spawn(&plan, &member, role) {
            Ok(mut child) => {
                pid.send_replace(child.id());
                // Held here: waiting for a child closes an input that it still owns.
                let stdin = child.stdin.take();
                tokio::select! {
                    status = child.wait() => {
                        pid.send_replace(None);
                        if !shutdown.is_begun() {
                            let how = status.map_or_else(|error| error.to_string(), |s| s.to_string());
                            println!("[dev] {} ended ({how}), starting it again", member.name);
                        }
                    }
                    () = shutdown.begun() => {
                        drop(stdin);
                        stop(&member, child).await;
                        pid.send_replace(None);
                    }
                }
            }
            Err(error) => println!("[dev] {}: {error:#}", member.name),
        }
        tokio::select! {
            () = tokio::time::sleep(RESTART_PAUSE) => {}
            () = shutdown.begun() => {}
        }
    }
}

fn spawn(plan: &Plan, member: &Member, role: &str) -> anyhow::Result<Child> {
    let log = plan.log(member);
    let log = File::options()
        .create(true)
        .append(true)
        .open(&log)
        .with_context(|| log.display().to_string())?;
    let program = match &plan.programs {
        Some(directory) => directory.join(&member.name),
        None => std::env::current_exe().context("cannot find this program")?,
    };
    Command::new(program)
        .arg(role)
        .arg("--config")
        .arg(plan.configuration(member))
        .arg("--end-with-stdin")
        // Held open by us: when we are gone, whatever the reason, the process ends.
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        // Ctrl-C at the terminal goes to us; we end the others in order.
        .process_group(0)
        .spawn()
        .context("cannot start it")
}

/// Its standard input is closed: kills it when that does not end it in time.
async fn stop(member: &Member, mut child: Child) {
    if tokio::time::timeout(STOP_MAX, child.wait()).await.is_err() {
        println!("[dev] {} did not end within {STOP_MAX:?}, killing it", member.name);
        if let Err(error) = child.kill().await {
            println!("[dev] {}: {error}", member.name);
        }
    }
}
