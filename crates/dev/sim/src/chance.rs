//! Chance, out of one seed. Each part of the simulation has a stream of its own, so that a change in one
//! leaves the others' as they were.

use crate::process::split_mix;

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    /// The stream of this name.
    pub(crate) fn new(seed: u64, stream: &str) -> Self {
        let start = stream.bytes().fold(seed, |state, octet| {
            let (_, mixed) = split_mix(state ^ u64::from(octet));
            mixed
        });
        Self(start)
    }

    pub(crate) fn next(&mut self) -> u64 {
        let (state, number) = split_mix(self.0);
        self.0 = state;
        number
    }

    /// From `low` to one below `high`; `low` when there is nothing between.
    pub(crate) fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.next().checked_rem(high.saturating_sub(low)).unwrap_or(0)
    }

    /// In so many of a hundred cases.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.range(0, 100) < percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_repeats_itself_and_no_other() {
        let draw = |seed, name| {
            let mut chance = Chance::new(seed, name);
            [chance.next(), chance.next(), chance.range(5, 9)]
        };
        assert_eq!(draw(1, "disk"), draw(1, "disk"));
        assert_ne!(draw(1, "disk"), draw(1, "net"));
        assert_ne!(draw(1, "disk"), draw(2, "disk"));
        let mut chance = Chance::new(3, "range");
        assert!((0..1000).all(|_| (5..9).contains(&chance.range(5, 9))));
        assert_eq!(chance.range(7, 7), 7);
    }
}
