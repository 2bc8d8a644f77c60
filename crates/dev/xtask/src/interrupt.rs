//! A task that has started processes or mounted something ends in order when it is interrupted.

use anyhow::{Context as _, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

/// Runs the work until it ends or somebody interrupts it (SIGINT, SIGTERM): then it is dropped, and all
/// that it holds with it.
pub(crate) fn run<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            done = work => done,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                bail!("interrupted")
            }
            _ = terminate.recv() => bail!("terminated"),
        }
    })
}
