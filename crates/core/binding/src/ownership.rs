//! What may belong to one home address only: mobile network prefixes and IPv4 home addresses.
//!
//! All of it follows from the records: subscribers own, home prefixes have pools, homes hold.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};

use crate::prefix::{Ipv4Prefix, Ipv6Prefix};

/// Mobile network prefixes by owner. No two overlap.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct MobileNetworks(BTreeMap<Ipv6Prefix, Ipv6Addr>);

impl MobileNetworks {
    /// The prefixes that overlap `prefix`, and their owners, from the highest on.
    fn all_overlapping(
        &self,
        prefix: Ipv6Prefix,
    ) -> impl Iterator<Item = (Ipv6Prefix, Ipv6Addr)> + '_ {
        // Disjoint prefixes are in the order of their addresses, so those that overlap are the last
        // ones before the prefix's last address.
        let before = Ipv6Prefix::host(prefix.last());
        let candidates = self.0.range(..=before).rev().map(|(other, owner)| (*other, *owner));
        candidates.take_while(move |(other, _)| other.overlaps(prefix))
    }

    /// A prefix that overlaps `prefix`, and its owner.
    pub(crate) fn overlapping(&self, prefix: Ipv6Prefix) -> Option<(Ipv6Prefix, Ipv6Addr)> {
        self.all_overlapping(prefix).next()
    }

    /// The same among those of others than `owner`.
    pub(crate) fn overlapping_other(
        &self,
        prefix: Ipv6Prefix,
        owner: Ipv6Addr,
    ) -> Option<(Ipv6Prefix, Ipv6Addr)> {
        self.all_overlapping(prefix).find(|(_, other)| *other != owner)
    }

    /// In whose prefix the address lies.
    pub(crate) fn owner(&self, address: Ipv6Addr) -> Option<Ipv6Addr> {
        self.overlapping(Ipv6Prefix::host(address)).map(|(_, owner)| owner)
    }

    pub(crate) fn insert(&mut self, prefix: Ipv6Prefix, owner: Ipv6Addr) {
        self.0.insert(prefix, owner);
    }

    pub(crate) fn remove(&mut self, prefix: Ipv6Prefix) {
        self.0.remove(&prefix);
    }
}

/// IPv4 prefixes by first address: the last address, and whose they are. No two overlap.
type Ranges = BTreeMap<u32, (u32, Ipv6Addr)>;

/// IPv4 home addresses: what subscribers own, what is in force, and the pools of home prefixes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Ipv4Homes {
    own: Ranges,
    held: Ranges,
    pools: BTreeMap<Ipv6Prefix, Pool>,
}

/// Addresses out of which a home prefix assigns.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Pool {
    first: u32,
    last: u32,
    /// Ranges that nobody has, by first address, as long as possible.
    free: BTreeMap<u32, u32>,
}

impl Ipv4Homes {
    /// The subscriber that owns an address of this prefix.
    pub(crate) fn owner(&self, prefix: Ipv4Prefix) -> Option<Ipv6Addr> {
        overlapping(&self.own, prefix).next()
    }

    /// The same among others than `owner`.
    pub(crate) fn other_owner(&self, prefix: Ipv4Prefix, owner: Ipv6Addr) -> Option<Ipv6Addr> {
        overlapping(&self.own, prefix).find(|other| *other != owner)
    }

    /// The home address for which an address of this prefix is in force.
    pub(crate) fn holder(&self, prefix: Ipv4Prefix) -> Option<Ipv6Addr> {
        overlapping(&self.held, prefix).next()
    }

    /// The same among others than `holder`.
    pub(crate) fn other_holder(&self, prefix: Ipv4Prefix, holder: Ipv6Addr) -> Option<Ipv6Addr> {
        overlapping(&self.held, prefix).find(|other| *other != holder)
    }

    pub(crate) fn insert_own(&mut self, prefix: Ipv4Prefix, owner: Ipv6Addr) {
        let (first, last) = bounds(prefix);
        self.own.insert(first, (last, owner));
        self.reserve(prefix);
    }

    pub(crate) fn remove_own(&mut self, prefix: Ipv4Prefix) {
        let (first, last) = bounds(prefix);
        self.own.remove(&first);
        self.pools.values_mut().for_each(|pool| pool.release(first, last));
        // What is still in force is still not free.
        let held: Vec<(u32, u32)> =
            self.held.range(first..=last).map(|(first, (last, _))| (*first, *last)).collect();
        for (first, last) in held {
            self.pools.values_mut().for_each(|pool| pool.reserve(first, last));
        }
    }

    /// Puts a prefix in force for a home address.
    pub(crate) fn hold(&mut self, prefix: Ipv4Prefix, holder: Ipv6Addr) {
        let (first, last) = bounds(prefix);
        self.held.insert(first, (last, holder));
        self.reserve(prefix);
    }

    /// It is in force no longer, and goes back to the pool that it lies in, unless a subscriber
    /// owns it.
    pub(crate) fn release(&mut self, prefix: Ipv4Prefix) {
        let (first, last) = bounds(prefix);
        self.held.remove(&first);
        if self.owner(prefix).is_none() {
            self.pools.values_mut().for_each(|pool| pool.release(first, last));
        }
    }

    /// Starts a pool with all its addresses free.
    pub(crate) fn insert_pool(&mut self, home_prefix: Ipv6Prefix, addresses: Ipv4Prefix) {
        let (first, last) = assignable(addresses);
        let free = BTreeMap::from([(first, last)]);
        self.pools.insert(home_prefix, Pool { first, last, free });
    }

    pub(crate) fn clear_pools(&mut self) {
        self.pools.clear();
    }

    /// Takes out of the pools what subscribers own and what is in force.
    pub(crate) fn reserve_all(&mut self) {
        for (first, (last, _)) in self.own.iter().chain(&self.held) {
            self.pools.values_mut().for_each(|pool| pool.reserve(*first, *last));
        }
    }

    /// Takes addresses out of the pools that they lie in.
    pub(crate) fn reserve(&mut self, prefix: Ipv4Prefix) {
        let (first, last) = bounds(prefix);
        self.pools.values_mut().for_each(|pool| pool.reserve(first, last));
    }

    /// The lowest free address of the pool of a home prefix.
    pub(crate) fn lowest_free(&self, home_prefix: Ipv6Prefix) -> Option<Ipv4Addr> {
        let (first, _) = self.pools.get(&home_prefix)?.free.first_key_value()?;
        Some(Ipv4Addr::from_bits(*first))
    }

    /// The address lies in a pool.
    pub(crate) fn is_pooled(&self, address: Ipv4Addr) -> bool {
        self.pools.keys().any(|home_prefix| self.is_of_pool(*home_prefix, address))
    }

    /// The address lies in the pool of a home prefix.
    pub(crate) fn is_of_pool(&self, home_prefix: Ipv6Prefix, address: Ipv4Addr) -> bool {
        let bits = address.to_bits();
        self.pools.get(&home_prefix).is_some_and(|pool| (pool.first..=pool.last).contains(&bits))
    }
}

impl Pool {
    fn reserve(&mut self, first: u32, last: u32) {
        let (first, last) = (first.max(self.first), last.min(self.last));
        if first > last {
            return;
        }
        while let Some((from, to)) =
            self.free.range(..=last).next_back().map(|(from, to)| (*from, *to))
            && to >= first
        {
            self.free.remove(&from);
            if let Some(below) = first.checked_sub(1).filter(|below| *below >= from) {
                self.free.insert(from, below);
            }
            if let Some(above) = last.checked_add(1).filter(|above| *above <= to) {
                self.free.insert(above, to);
            }
        }
    }

    fn release(&mut self, first: u32, last: u32) {
        let (mut first, mut last) = (first.max(self.first), last.min(self.last));
        if first > last {
            return;
        }
        // Whatever of it was free already is absorbed, and neighbours are joined.
        let reach = last.saturating_add(1);
        while let Some((from, to)) =
            self.free.range(..=reach).next_back().map(|(from, to)| (*from, *to))
            && to.saturating_add(1) >= first
        {
            self.free.remove(&from);
            (first, last) = (first.min(from), last.max(to));
        }
        self.free.insert(first, last);
    }
}

/// Whose ranges overlap `prefix`, from the highest on.
fn overlapping(ranges: &Ranges, prefix: Ipv4Prefix) -> impl Iterator<Item = Ipv6Addr> + '_ {
    let (first, last) = bounds(prefix);
    let candidates = ranges.range(..=last).rev().map(|(_, entry)| *entry);
    candidates.take_while(move |(end, _)| *end >= first).map(|(_, owner)| owner)
}

fn bounds(prefix: Ipv4Prefix) -> (u32, u32) {
    (prefix.address().to_bits(), prefix.last().to_bits())
}

/// Without the addresses of the network and of the broadcast, where there are such.
fn assignable(addresses: Ipv4Prefix) -> (u32, u32) {
    let (first, last) = bounds(addresses);
    if addresses.len() <= 30 {
        (first.saturating_add(1), last.saturating_sub(1))
    } else {
        (first, last)
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const HOME_PREFIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0);

    fn ranges(free: &BTreeSet<u32>) -> BTreeMap<u32, u32> {
        let mut ranges: BTreeMap<u32, u32> = BTreeMap::new();
        for address in free {
            match ranges.last_entry() {
                Some(mut last) if last.get() + 1 == *address => *last.get_mut() = *address,
                _ => drop(ranges.insert(*address, *address)),
            }
        }
        ranges
    }

    proptest! {
        /// A pool's ranges are those of the set of its free addresses, whatever was done to it.
        #[test]
        fn pools(steps in prop::collection::vec((any::<bool>(), 90_u32..170, 0_u32..9), 1..80)) {
            let home_prefix = Ipv6Prefix::new(HOME_PREFIX, 64).unwrap();
            let mut homes = Ipv4Homes::default();
            let addresses = Ipv4Prefix::new(Ipv4Addr::from_bits(96), 27).unwrap();
            homes.insert_pool(home_prefix, addresses);
            let (low, high) = assignable(addresses);
            let mut free: BTreeSet<u32> = (low..=high).collect();
            for (reserve, first, more) in steps {
                let pool = homes.pools.get_mut(&home_prefix).unwrap();
                let inside = (first..=first + more).filter(|a| (low..=high).contains(a));
                if reserve {
                    free = free.difference(&inside.collect()).copied().collect();
                    pool.reserve(first, first + more);
                } else {
                    free.extend(inside);
                    pool.release(first, first + more);
                }
                prop_assert_eq!(&pool.free, &ranges(&free));
                let lowest = homes.lowest_free(home_prefix);
                prop_assert_eq!(lowest.map(Ipv4Addr::to_bits), free.first().copied());
            }
        }
    }

    #[test]
    fn the_prefix_that_overlaps_is_found() {
        let prefix = |text: &str, len| Ipv6Prefix::new(text.parse().unwrap(), len).unwrap();
        let mut networks = MobileNetworks::default();
        networks.insert(prefix("2001:db8:100::", 56), HOME_PREFIX);
        networks.insert(prefix("2001:db8:200::", 64), HOME_PREFIX);
        let rows = [
            (prefix("2001:db8:100::", 56), true),
            (prefix("2001:db8:100:ff::", 64), true),
            (prefix("2001:db8:100:100::", 64), false),
            (prefix("2001:db8::", 32), true),
            (prefix("2001:db8:200::", 63), true),
            (prefix("2001:db8:200:1::", 64), false),
            (prefix("2001:db7::", 32), false),
            (prefix("::", 0), true),
        ];
        for (asked, expected) in rows {
            assert_eq!(networks.overlapping(asked).is_some(), expected, "{asked}");
        }
        assert_eq!(networks.owner("2001:db8:100::7".parse().unwrap()), Some(HOME_PREFIX));
        assert_eq!(networks.owner("2001:db8:300::7".parse().unwrap()), None);
    }
}
