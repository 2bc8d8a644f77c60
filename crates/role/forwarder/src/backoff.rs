//! Pauses between attempts.

use std::time::Duration;

use crate::limits::{RETRY_PAUSE_MAX, RETRY_PAUSE_MIN};

/// Doubles from attempt to attempt, with some chance in it, so that many forwarders do not dial a
/// peer that has come back all at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    pause: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { pause: RETRY_PAUSE_MIN }
    }
}

impl Backoff {
    /// After a success.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Waits before the next attempt.
    pub(crate) async fn pause(&mut self) {
        tokio::time::sleep(self.pause.mul_f64(rand::random_range(0.5..1.0))).await;
        self.pause = self.pause.saturating_mul(2).min(RETRY_PAUSE_MAX);
    }
}
