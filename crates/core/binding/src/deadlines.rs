//! Whose time comes next.

use alloc::collections::BTreeSet;
use core::net::Ipv6Addr;

use crate::time::LogTime;

/// Deadlines in order, and those of one moment by address.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Deadlines(BTreeSet<Key>);

/// The address in two halves, which compares quickly and in the same order.
type Key = (LogTime, u64, u64);

fn key(at: LogTime, address: Ipv6Addr) -> Key {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address.octets();
    (at, u64::from_be_bytes([a, b, c, d, e, f, g, h]), u64::from_be_bytes([i, j, k, l, m, n, o, p]))
}

impl Deadlines {
    pub(crate) fn insert(&mut self, at: LogTime, address: Ipv6Addr) {
        self.0.insert(key(at, address));
    }

    pub(crate) fn remove(&mut self, at: LogTime, address: Ipv6Addr) {
        self.0.remove(&key(at, address));
    }

    pub(crate) fn first(&self) -> Option<(LogTime, Ipv6Addr)> {
        let (at, high, low) = *self.0.first()?;
        Some((at, Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn by_time_and_then_by_address() {
        let address = |n: u128| Ipv6Addr::from_bits(0x2001_0db8 << 96 | n << 60);
        let mut deadlines = Deadlines::default();
        let mut expected: Vec<_> = (0..64_u32)
            .map(|n| (LogTime((n * 7 % 5).into()), address((n * 37 % 64).into())))
            .collect();
        for (at, address) in &expected {
            deadlines.insert(*at, *address);
        }
        expected.sort();
        for (at, address) in expected {
            assert_eq!(deadlines.first(), Some((at, address)));
            deadlines.remove(at, address);
        }
        assert_eq!(deadlines.first(), None);
    }
}
