//! The limit on answers to packets that nobody vouches for (RFC 6275 §9.3.3, RFC 4443 §2.4 (f)).

use crate::time::Millis;

/// What one answer costs, in thousandths.
const COST_MILLI: u64 = 1000;

/// A token bucket.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    per_second: u64,
    tokens_milli: u64,
    filled_at: Millis,
}

impl Budget {
    /// So many a second, and as many at once.
    pub(crate) fn new(per_second: u32) -> Self {
        let per_second = u64::from(per_second);
        let tokens_milli = per_second.saturating_mul(COST_MILLI);
        Self { per_second, tokens_milli, filled_at: Millis(0) }
    }

    /// Takes one, if there is one left.
    pub(crate) fn allow(&mut self, now: Millis) -> bool {
        // One token a second is one thousandth a millisecond.
        let earned = now.since(self.filled_at).saturating_mul(self.per_second);
        let full = self.per_second.saturating_mul(COST_MILLI);
        self.filled_at = self.filled_at.max(now);
        self.tokens_milli = self.tokens_milli.saturating_add(earned).min(full);
        let rest = self.tokens_milli.checked_sub(COST_MILLI);
        self.tokens_milli = rest.unwrap_or(self.tokens_milli);
        rest.is_some()
    }
}
