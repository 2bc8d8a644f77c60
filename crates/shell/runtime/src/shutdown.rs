//! One signal that the process is to end, seen by everybody who holds a clone.

use std::{io, sync::Arc};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

use crate::task::Task;

/// The process's (in tests: the cluster's) wish to end. Clones share it.
///
/// Whoever holds one stops taking new work when it has [`begun`](Self::begun), drains what it has and
/// returns.
#[derive(Clone, Debug)]
pub struct Shutdown {
    begun: watch::Sender<bool>,
    _signals: Option<Arc<Task>>,
}

impl Shutdown {
    /// Begins at SIGTERM or SIGINT; a second one ends the process at once, with the shell's code
    /// (128 + signal), for operators who do not want to wait for the drain.
    ///
    /// # Errors
    /// The signal handlers could not be installed.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn on_signals() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        let begun = watch::Sender::new(false);
        let signals = Task::spawn("signals", listen(terminate, interrupt, begun.clone()));
        Ok(Self { begun, _signals: Some(Arc::new(signals)) })
    }

    /// Begins when [`begin`](Self::begin) is called.
    pub fn manual() -> Self {
        Self { begun: watch::Sender::new(false), _signals: None }
    }

    /// Begins the shutdown; calling it again changes nothing.
    pub fn begin(&self) {
        self.begun.send_replace(true);
    }

    /// Whether it has begun.
    pub fn is_begun(&self) -> bool {
        *self.begun.borrow()
    }

    /// Returns when it has begun. Cancel-safe, so it may stand in a `select!`.
    pub async fn begun(&self) {
        // Cannot fail: the channel is open as long as `self` holds its sender.
        if self.begun.subscribe().wait_for(|begun| *begun).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn listen(mut terminate: Signal, mut interrupt: Signal, begun: watch::Sender<bool>) {
    let mut next = async || {
        tokio::select! {
            _ = terminate.recv() => ("SIGTERM", 143),
            _ = interrupt.recv() => ("SIGINT", 130),
        }
    };
    let (name, _) = next().await;
    tracing::info!(signal = name, "shutting down; a second signal ends the process at once");
    begun.send_replace(true);
    let (name, code) = next().await;
    tracing::warn!(signal = name, "ending at once");
    std::process::exit(code);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn clones_see_one_shutdown_and_it_stays_begun() {
        let shutdown = Shutdown::manual();
        let seen = Task::spawn("waiter", {
            let shutdown = shutdown.clone();
            async move { shutdown.begun().await }
        });
        tokio::task::yield_now().await;
        assert!(!shutdown.is_begun() && !seen.is_finished());
        shutdown.clone().begin();
        shutdown.begin();
        tokio::time::timeout(Duration::from_secs(5), seen).await.expect("in time").expect("ran");
        shutdown.begun().await;
        assert!(shutdown.is_begun());
    }

    #[tokio::test]
    async fn a_signal_begins_it() {
        let shutdown = Shutdown::on_signals().expect("handlers");
        let pid = std::process::id().to_string();
        let sent = std::process::Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.expect("kill runs").success());
        let begun = tokio::time::timeout(Duration::from_secs(5), shutdown.begun()).await;
        assert!(begun.is_ok());
    }
}
