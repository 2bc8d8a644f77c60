//! The steps of cases, between which the store's leader can be killed: every case that runs waits at
//! its next step, the leader is killed, a new one takes over, and all go on.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// How long a case waits for others that sleep.
const HURRY: Duration = Duration::from_millis(700);

/// Counts of who runs and who waits.
#[derive(Debug, Default)]
pub struct Steps {
    enabled: bool,
    state: Mutex<State>,
    all_wait: Notify,
    go_on: Notify,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    waiting: usize,
    generation: u64,
    kills: u32,
    hurries: bool,
}

/// A case that runs; it no longer does when this is dropped.
#[derive(Debug)]
pub struct Running<'s>(&'s Steps);

impl Steps {
    /// With steps that are waited at, or that are passed.
    #[must_use]
    pub fn new(enabled: bool) -> Self {
        Self { enabled, ..Self::default() }
    }

    /// Whether the leader is killed between steps.
    #[must_use]
    pub const fn enabled(&self) -> bool {
        self.enabled
    }

    /// A case begins.
    pub fn enter(&self) -> Running<'_> {
        self.state().running += 1;
        Running(self)
    }

    /// Waits until the leader was killed and another leads.
    pub async fn pause(&self) {
        if !self.enabled {
            return;
        }
        let generation = {
            let mut state = self.state();
            state.waiting += 1;
            state.generation
        };
        self.all_wait.notify_one();
        loop {
            let notified = self.go_on.notified();
            if self.state().generation != generation {
                return;
            }
            notified.await;
        }
    }

    /// From now on nobody is waited for long: who sleeps until a lifetime ends comes to no step.
    pub fn hurry(&self) {
        self.state().hurries = true;
    }

    /// Waits until every running case waits.
    pub async fn everybody_waits(&self) {
        loop {
            let (somebody_waits, hurries) = {
                let state = self.state();
                if state.running > 0 && state.waiting == state.running {
                    return;
                }
                (state.waiting > 0, state.hurries)
            };
            let changed = self.all_wait.notified();
            if !(somebody_waits && hurries) {
                changed.await;
            } else if tokio::time::timeout(HURRY, changed).await.is_err() {
                return;
            }
        }
    }

    /// How often the leader was killed.
    pub fn kills(&self) -> u32 {
        self.state().kills
    }

    /// Lets everybody go on.
    pub fn release(&self, was_killed: bool) {
        let mut state = self.state();
        state.kills += u32::from(was_killed);
        state.generation += 1;
        state.waiting = 0;
        self.go_on.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.state().running -= 1;
        self.0.all_wait.notify_one();
    }
}
