//! Fixed hash functions. They need no secret: home addresses come from the operator's records, and
//! the other uses only spread load. Fixed, so that two forwarders compute the same values.

use core::hash::{BuildHasherDefault, Hasher};
use core::net::{Ipv4Addr, Ipv6Addr};

/// Odd multiplier with well mixed bits (the golden ratio in 64 bits).
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Folds words into 64 bits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mix(u64);

impl Mix {
    /// Start; different seeds give unrelated functions.
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Adds one word.
    pub(crate) const fn word(self, word: u64) -> Self {
        let mixed = (self.0.rotate_left(5) ^ word).wrapping_mul(MULTIPLIER);
        Self(mixed ^ (mixed >> 32))
    }

    /// Adds an IPv6 address.
    pub(crate) fn v6(self, address: Ipv6Addr) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address.octets();
        self.word(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
            .word(u64::from_be_bytes([i, j, k, l, m, n, o, p]))
    }

    /// Adds an IPv4 address or its absence.
    pub(crate) fn v4(self, address: Option<Ipv4Addr>) -> Self {
        self.word(address.map_or(u64::MAX, |address| u64::from(address.to_bits())))
    }

    /// The value: every input bit has reached every output bit.
    pub(crate) const fn finish(self) -> u64 {
        let mut value = self.0;
        value = (value ^ (value >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        value = (value ^ (value >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        value ^ (value >> 33)
    }
}

/// [`Mix`] as a hasher for hash tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MixHasher(Mix);

impl Default for MixHasher {
    fn default() -> Self {
        Self(Mix::new(MULTIPLIER))
    }
}

impl Hasher for MixHasher {
    fn finish(&self) -> u64 {
        self.0.finish()
    }

    fn write(&mut self, octets: &[u8]) {
        let (words, tail) = octets.as_chunks::<8>();
        for word in words {
            self.0 = self.0.word(u64::from_be_bytes(*word));
        }
        for octet in tail {
            self.0 = self.0.word(u64::from(*octet));
        }
    }

    fn write_u128(&mut self, value: u128) {
        self.write(&value.to_be_bytes());
    }
}

/// A hash table with this hasher. Never iterated where the order could be seen.
pub(crate) type HashMap<K, V> = hashbrown::HashMap<K, V, BuildHasherDefault<MixHasher>>;

#[cfg(test)]
mod tests {
    use super::*;
    use core::hash::BuildHasher;

    #[test]
    fn neighbouring_addresses_spread_over_all_bits() {
        let build = BuildHasherDefault::<MixHasher>::default();
        let mut low = [0_u32; 256];
        let mut high = [0_u32; 128];
        for host in 0..25_600_u128 {
            let hash = build.hash_one(Ipv6Addr::from_bits(0x2001_0db8 << 96 | host));
            low[usize::try_from(hash & 0xff).unwrap()] += 1;
            high[usize::try_from(hash >> 57).unwrap()] += 1;
        }
        assert!(low.iter().all(|count| (50..200).contains(count)), "{low:?}");
        assert!(high.iter().all(|count| (100..350).contains(count)), "{high:?}");
    }
}
