//! Times as the machine gets them: it has no clock.

/// Milliseconds on the caller's monotonic clock, from any origin.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Millis(pub u64);

impl Millis {
    /// Later by `ms` milliseconds.
    #[must_use]
    pub const fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to `self`; zero when `self` is not later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Wall time in the format of NTP: seconds since 1900 in the high half, their fraction in the low
/// half. Only the replay protection of RFC 4285 §6 needs it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct NtpTime(pub u64);

impl NtpTime {
    /// Seconds between the NTP era (1900) and the Unix epoch.
    pub const UNIX_EPOCH_SECS: u64 = 2_208_988_800;

    /// From milliseconds since the Unix epoch.
    #[must_use]
    pub const fn from_unix_ms(ms: u64) -> Self {
        let secs = (ms / 1000).wrapping_add(Self::UNIX_EPOCH_SECS);
        let fraction = ((ms % 1000) << 32) / 1000;
        Self((secs << 32) | fraction)
    }

    /// The seconds.
    #[must_use]
    pub const fn secs(self) -> u64 {
        self.0 >> 32
    }

    /// Shifted by whole seconds, modulo the era.
    #[must_use]
    pub const fn shifted(self, secs: u64) -> Self {
        Self(self.0.wrapping_add(secs << 32))
    }
}

/// Both clocks, read together by the caller.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Now {
    /// Drives timers and lifetimes.
    pub monotonic: Millis,
    /// Goes into the MESG-ID option.
    pub ntp: NtpTime,
}

#[cfg(test)]
mod tests {
    use super::NtpTime;

    #[test]
    fn the_unix_epoch_and_a_half_second() {
        assert_eq!(NtpTime::from_unix_ms(0).secs(), NtpTime::UNIX_EPOCH_SECS);
        // 2026-01-01T00:00:00.5Z, by hand: 1767225600 + 2208988800 = 3976214400 = 0xED003780.
        assert_eq!(NtpTime::from_unix_ms(1_767_225_600_500).0, 0xed00_3780_8000_0000);
    }

    #[test]
    fn shifting_keeps_the_fraction() {
        assert_eq!(NtpTime(0x0000_0005_8000_0000).shifted(u64::MAX).0, 0x0000_0004_8000_0000);
    }
}
