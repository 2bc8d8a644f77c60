//! A host: a process in a runtime of its own, with a clock of its own. It runs when the world lets it, and
//! no two hosts run at once.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::process;

/// What a host's process does, until it ends by itself.
pub(crate) type Main = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// A host.
pub(crate) struct Host {
    pub(crate) name: String,
    main: Box<dyn Fn() -> Main>,
    running: Option<Running>,
    /// How far its wall clock is off.
    skew_ms: i64,
    /// As by SIGSTOP.
    halted: bool,
    missed_ms: u64,
}

struct Running {
    runtime: Runtime,
    main: JoinHandle<Result<(), String>>,
}

impl Host {
    /// A host that is down. `main` makes the process of each start.
    pub(crate) fn new(name: String, main: impl Fn() -> Main + 'static) -> Self {
        let main = Box::new(main);
        Self { name, main, running: None, skew_ms: 0, halted: false, missed_ms: 0 }
    }

    pub(crate) const fn is_up(&self) -> bool {
        self.running.is_some()
    }

    /// Starts the process.
    pub(crate) fn start(&mut self) -> std::io::Result<()> {
        process::set_skew(self.skew_ms);
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build()?;
        let main = runtime.spawn((self.main)());
        (self.halted, self.missed_ms) = (false, 0);
        self.running = Some(Running { runtime, main });
        process::set_skew(0);
        Ok(())
    }

    /// The process is no more.
    pub(crate) fn stop(&mut self) {
        self.running = None;
    }

    /// Lets a millisecond pass. Returns how the process ended, if it did.
    pub(crate) fn tick(&mut self) -> Option<Result<(), String>> {
        let running = self.running.as_mut()?;
        if self.halted {
            self.missed_ms += 1;
            return None;
        }
        process::set_skew(self.skew_ms);
        let missed = Duration::from_millis(std::mem::take(&mut self.missed_ms));
        running.runtime.block_on(async {
            if !missed.is_zero() {
                tokio::time::advance(missed).await;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        });
        let ended = running.main.is_finished().then(|| {
            let ended = running.runtime.block_on(&mut running.main);
            ended.unwrap_or_else(|error| Err(format!("it panicked: {error}")))
        });
        process::set_skew(0);
        ended
    }

    /// The process is held, or goes on.
    pub(crate) const fn halt(&mut self, halted: bool) {
        self.halted = halted;
    }

    /// Its wall clock jumps.
    pub(crate) const fn jump(&mut self, by_ms: i64) {
        self.skew_ms = self.skew_ms.saturating_add(by_ms);
    }
}
