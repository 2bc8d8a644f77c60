//! The two clocks of a process. The third time, log time, is stamped by the store's leader and never
//! read from a clock by anyone else.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Wall time in milliseconds since the Unix epoch: for log-time stamps and screens.
///
/// Zero when the machine's clock stands before 1970, which a leader's log time survives because log
/// time never runs backwards.
pub fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Milliseconds that only ever grow, counted from [`Monotonic::start`]: for deadlines.
#[derive(Clone, Copy, Debug)]
pub struct Monotonic {
    start: Instant,
}

impl Monotonic {
    /// A clock that reads zero now.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Milliseconds since the start.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_is_of_this_century_and_monotonic_time_grows() {
        assert!(unix_ms() > 1_600_000_000_000);
        let clock = Monotonic::start();
        let first = clock.now_ms();
        std::thread::sleep(std::time::Duration::from_millis(3));
        assert!(clock.now_ms() >= first + 3);
        assert!(first < 1_000);
    }
}
