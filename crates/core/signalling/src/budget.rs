/// Token bucket for answers to packets that nobody vouches for: ICMPv6 errors (RFC 4443 §2.4) and Binding
/// Errors (RFC 6275 §9.3.3).
#[derive(Clone, Debug)]
pub struct ErrorBudget {
    per_second: u64,
    /// In thousandths of an error.
    tokens_milli: u64,
    last_ms: u64,
}

impl ErrorBudget {
    /// At most `per_second` errors a second, and as many at once.
    #[must_use]
    pub const fn new(per_second: u32) -> Self {
        // A u32 always fits.
        let per_second = u32_as_u64(per_second);
        Self { per_second, tokens_milli: per_second.saturating_mul(1000), last_ms: 0 }
    }

    /// Takes one error out of the budget; `now_ms` is monotonic.
    pub fn allow(&mut self, now_ms: u64) -> bool {
        let earned = now_ms.saturating_sub(self.last_ms).saturating_mul(self.per_second);
        self.last_ms = self.last_ms.max(now_ms);
        let full = self.per_second.saturating_mul(1000);
        self.tokens_milli = self.tokens_milli.saturating_add(earned).min(full);
        let Some(rest) = self.tokens_milli.checked_sub(1000) else {
            return false;
        };
        self.tokens_milli = rest;
        true
    }
}

#[expect(clippy::as_conversions, reason = "widening, and `From` is not const")]
const fn u32_as_u64(value: u32) -> u64 {
    value as u64
}
