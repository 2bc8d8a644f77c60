use core::time::Duration;

/// Time as the leader stamps it into a log entry: milliseconds since the Unix epoch. It never runs
/// back within the log, whatever the clocks of successive leaders say.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct LogTime(pub u64);

/// Seconds between 1900 (NTP) and 1970 (Unix).
const NTP_UNIX_OFFSET_SECS: u64 = 2_208_988_800;

impl LogTime {
    /// This time plus `duration`.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long from `self` until `later`; zero when that is past.
    #[must_use]
    pub const fn until(self, later: Self) -> Duration {
        Duration::from_millis(later.0.saturating_sub(self.0))
    }

    /// Seconds of NTP time (RFC 4285 §5.3 counts on that scale), modulo 2^32.
    #[must_use]
    pub const fn ntp_secs(self) -> u64 {
        (self.0 / 1000).wrapping_add(NTP_UNIX_OFFSET_SECS) & 0xffff_ffff
    }
}
