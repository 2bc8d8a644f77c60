use alloc::vec;
use alloc::vec::Vec;

/// Widest anti-replay window, in packets.
pub const WINDOW_SIZE_MAX: u32 = 1024;

const WORD_BITS: u64 = 64;

/// Which sequence numbers have come (RFC 4303 §3.4.3). Two windows that have seen the same are equal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Window {
    /// Highest number that was authentic; 0 for none.
    top: u64,
    /// Packets behind `top` that may still come; 0 when replays are not looked for.
    size: u32,
    /// The bit of a number is that of its remainder by the number of bits; bits of numbers that are out of the
    /// window are zero.
    words: Vec<u64>,
}

impl Window {
    /// That has seen nothing. Sizes are rounded up to a multiple of 64 and cut to [`WINDOW_SIZE_MAX`]; with 0 no
    /// number is refused (RFC 4303 §3.4.3: as the receiver of an association with keys that were set by hand
    /// should have it).
    #[must_use]
    pub fn new(size: u32) -> Self {
        let words = size.min(WINDOW_SIZE_MAX).div_ceil(64);
        let len = usize::try_from(words).unwrap_or(usize::MAX);
        Self { top: 0, size: words.saturating_mul(64), words: vec![0; len] }
    }

    /// As it was kept: the highest number and the words.
    ///
    /// `None` when there are more words than a window has.
    #[must_use]
    pub fn restored(top: u64, words: Vec<u64>) -> Option<Self> {
        let size = u32::try_from(words.len()).ok()?.checked_mul(64)?;
        (size <= WINDOW_SIZE_MAX).then_some(Self { top, size, words })
    }

    /// Highest number that was authentic, 0 for none.
    #[must_use]
    pub const fn top(&self) -> u64 {
        self.top
    }

    /// Packets behind the highest that may still come.
    #[must_use]
    pub const fn size(&self) -> u32 {
        self.size
    }

    /// To keep.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// The number is not 0, did not come yet, and is not left of the window.
    #[must_use]
    pub fn is_fresh(&self, sequence: u64) -> bool {
        if sequence == 0 {
            return false;
        }
        if self.size == 0 || sequence > self.top {
            return true;
        }
        let behind = self.top.saturating_sub(sequence);
        behind < u64::from(self.size) && !self.bit(sequence)
    }

    /// The number came and was authentic.
    pub fn mark(&mut self, sequence: u64) {
        let size = u64::from(self.size);
        if sequence > self.top {
            let ahead = sequence.saturating_sub(self.top);
            if ahead >= size {
                self.words.fill(0);
            } else {
                for number in self.top.saturating_add(1)..sequence {
                    self.set(number, false);
                }
            }
            self.top = sequence;
        }
        if self.top.saturating_sub(sequence) < size {
            self.set(sequence, true);
        }
    }

    fn place(&self, sequence: u64) -> Option<(usize, u64)> {
        let place = sequence.checked_rem(u64::from(self.size))?;
        let word = usize::try_from(place.checked_div(WORD_BITS)?).ok()?;
        Some((word, 1_u64.checked_shl(u32::try_from(place.checked_rem(WORD_BITS)?).ok()?)?))
    }

    fn bit(&self, sequence: u64) -> bool {
        let place = self.place(sequence);
        place.is_some_and(|(word, mask)| self.words.get(word).is_some_and(|it| it & mask != 0))
    }

    fn set(&mut self, sequence: u64, value: bool) {
        let Some((word, mask)) = self.place(sequence) else { return };
        if let Some(word) = self.words.get_mut(word) {
            *word = if value { *word | mask } else { *word & !mask };
        }
    }
}

/// The 64 bits of an extended sequence number whose lower half was sent: the one nearest to the window whose
/// highest number is `top` (RFC 4303 appendix A2.2).
#[must_use]
pub fn extended(top: u64, size: u32, low: u32) -> u64 {
    // Without a window the rule is that of the smallest one.
    let behind = u64::from(size.max(1)).saturating_sub(1);
    let (high, top_low) = (top >> 32, top & 0xffff_ffff);
    let low = u64::from(low);
    let epoch = if top_low >= behind {
        if low >= top_low.saturating_sub(behind) { high } else { high.saturating_add(1) }
    } else {
        // The window reaches back into the epoch before.
        let left = top_low.wrapping_sub(behind) & 0xffff_ffff;
        if low >= left && high > 0 { high.saturating_sub(1) } else { high }
    };
    epoch << 32 | low
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_number_comes_once() {
        let mut window = Window::new(64);
        assert!(!window.is_fresh(0));
        for sequence in [1, 3, 2, 200, 137, 199] {
            assert!(window.is_fresh(sequence), "{sequence}");
            window.mark(sequence);
            assert!(!window.is_fresh(sequence), "{sequence}");
        }
        // The window is 137..=200.
        assert!(!window.is_fresh(136));
        assert!(window.is_fresh(138));
    }

    #[test]
    fn without_a_window_all_but_zero_may_come() {
        let mut window = Window::new(0);
        window.mark(9);
        assert!(window.is_fresh(9) && window.is_fresh(1) && !window.is_fresh(0));
        assert_eq!(window.top(), 9);
    }

    /// RFC 4303 appendix A2.2, both cases at both sides of their borders.
    #[test]
    fn the_upper_half_is_inferred() {
        let epoch = 1_u64 << 32;
        // Case A: the window is within one epoch.
        assert_eq!(extended(5 * epoch + 1000, 64, 1000 - 63), 5 * epoch + 937);
        assert_eq!(extended(5 * epoch + 1000, 64, 1000 - 64), 6 * epoch + 936);
        // Case B: it reaches into the epoch before.
        assert_eq!(extended(5 * epoch + 10, 64, 0xffff_ffff), 5 * epoch - 1);
        assert_eq!(extended(5 * epoch + 10, 64, 0xffff_ffcb), 5 * epoch - 53);
        assert_eq!(extended(5 * epoch + 10, 64, 0xffff_ffca), 6 * epoch - 54);
        // Before the first wrap nothing is behind.
        assert_eq!(extended(0, 64, 0xffff_ffff), 0xffff_ffff);
    }

    proptest! {
        /// Against a set of what came.
        #[test]
        fn a_window_is_a_set(size in 0_u32..3, steps in prop::collection::vec(0_u64..400, 1..200)) {
            let mut window = Window::new(size * 64);
            let mut seen = alloc::collections::BTreeSet::new();
            for sequence in steps {
                let top = seen.last().copied().unwrap_or(0);
                let behind = sequence + u64::from(window.size()) <= top;
                let expected = sequence != 0 && (size == 0 || !(behind || seen.contains(&sequence)));
                prop_assert_eq!(window.is_fresh(sequence), expected, "{} under {}", sequence, top);
                if expected {
                    window.mark(sequence);
                    seen.insert(sequence);
                }
                let kept = Window::restored(window.top(), window.words().to_vec());
                prop_assert_eq!(kept.as_ref(), Some(&window));
            }
        }

        /// What a receiver makes of the lower half is the number, wherever it is near the top.
        #[test]
        fn near_numbers_are_inferred(top in 1_u64 << 20..1 << 50, ahead in -63_i64..1 << 30) {
            let sequence = top.checked_add_signed(ahead).expect("in range");
            let low = u32::try_from(sequence & 0xffff_ffff).expect("masked");
            prop_assert_eq!(extended(top, 64, low), sequence);
        }
    }
}
