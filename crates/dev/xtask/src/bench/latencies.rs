//! How long each of many took.

use std::time::Duration;

/// Times of single operations, in microseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies(Vec<u32>);

impl Latencies {
    pub(crate) fn record(&mut self, took: Duration) {
        self.0.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub(crate) const fn count(&self) -> usize {
        self.0.len()
    }

    /// The least time, in milliseconds, that so many of a thousand did not exceed; 0 of none.
    pub(crate) fn per_mille_ms(&mut self, per_mille: usize) -> f64 {
        self.0.sort_unstable();
        let place = (self.0.len() * per_mille).div_ceil(1000).saturating_sub(1);
        self.0.get(place).map_or(0.0, |micros| f64::from(*micros) / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_that_of_the_least_that_is_enough() {
        let mut latencies = Latencies::default();
        assert!(latencies.per_mille_ms(500).abs() < f64::EPSILON);
        for ms in (1..=100).rev() {
            latencies.record(Duration::from_millis(ms));
        }
        let row = [(500, 50.0), (990, 99.0), (991, 100.0), (1000, 100.0), (1, 1.0)];
        for (per_mille, expected) in row {
            let found = latencies.per_mille_ms(per_mille);
            assert!((found - expected).abs() < f64::EPSILON, "{per_mille}: {found}");
        }
        let mut other = Latencies::default();
        other.record(Duration::from_secs(1));
        latencies.add(other);
        assert_eq!(latencies.count(), 101);
        assert!((latencies.per_mille_ms(1000) - 1000.0).abs() < f64::EPSILON);
    }
}
