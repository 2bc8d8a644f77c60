//! Which home addresses own a network, found by the longest prefix.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::Ipv6Addr;

use crate::hash::HashMap;

/// A prefix of an address family: its length and its bits, right-aligned, host bits zero.
pub(crate) type Prefix = (u8, u128);

/// Prefixes of one address family and the home addresses that claim them.
#[derive(Debug)]
pub(crate) struct Networks {
    /// Bits of an address.
    width: u8,
    claims: HashMap<Prefix, Claim>,
    /// How many prefixes have this length: the lengths to probe.
    lens: BTreeMap<u8, usize>,
    /// Prefixes that came or went since somebody asked, and whether they were there then.
    changed: BTreeMap<Prefix, bool>,
}

/// Who claims a prefix. The store gives it to one home address only, but in which order the changes
/// of two come here is open: for a moment there can be both.
#[derive(Debug)]
struct Claim {
    lowest: Ipv6Addr,
    /// Sorted.
    others: Vec<Ipv6Addr>,
}

impl Networks {
    pub(crate) fn new(width: u8) -> Self {
        Self { width, claims: HashMap::default(), lens: BTreeMap::new(), changed: BTreeMap::new() }
    }

    /// The prefix of `len` bits that an address lies in.
    pub(crate) fn prefix(&self, bits: u128, len: u8) -> Prefix {
        let len = len.min(self.width);
        let host_bits = u32::from(self.width.saturating_sub(len));
        (len, bits & u128::MAX.checked_shl(host_bits).unwrap_or(0))
    }

    /// Adds a claim; one that is already there stays.
    pub(crate) fn claim(&mut self, prefix: Prefix, home_address: Ipv6Addr) {
        let (lens, changed) = (&mut self.lens, &mut self.changed);
        let claim = self.claims.entry(prefix).or_insert_with(|| {
            let count = lens.entry(prefix.0).or_default();
            *count = count.saturating_add(1);
            changed.entry(prefix).or_insert(false);
            Claim { lowest: home_address, others: Vec::new() }
        });
        let mut newcomer = home_address;
        if newcomer == claim.lowest {
            return;
        }
        if newcomer < claim.lowest {
            core::mem::swap(&mut newcomer, &mut claim.lowest);
        }
        if let Err(at) = claim.others.binary_search(&newcomer) {
            claim.others.insert(at, newcomer);
        }
    }

    /// Takes a claim back.
    pub(crate) fn release(&mut self, prefix: Prefix, home_address: Ipv6Addr) {
        let Some(claim) = self.claims.get_mut(&prefix) else { return };
        if let Ok(at) = claim.others.binary_search(&home_address) {
            claim.others.remove(at);
        } else if claim.lowest == home_address {
            if claim.others.is_empty() {
                self.claims.remove(&prefix);
                self.lower(prefix.0);
                self.changed.entry(prefix).or_insert(true);
            } else {
                claim.lowest = claim.others.remove(0);
            }
        }
    }

    fn lower(&mut self, len: u8) {
        if let Some(count) = self.lens.get_mut(&len) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.lens.remove(&len);
            }
        }
    }

    /// The home address to which packets for this address go: the one that claims the longest
    /// prefix around it; of several the lowest, so that all forwarders do the same.
    pub(crate) fn owner(&self, bits: u128) -> Option<Ipv6Addr> {
        self.covering(bits).map(|claim| claim.lowest)
    }

    /// All that claim the longest prefix around this address.
    pub(crate) fn owners(&self, bits: u128) -> impl Iterator<Item = Ipv6Addr> {
        let claim = self.covering(bits);
        claim
            .into_iter()
            .flat_map(|claim| core::iter::once(claim.lowest).chain(claim.others.iter().copied()))
    }

    fn covering(&self, bits: u128) -> Option<&Claim> {
        self.lens.keys().rev().find_map(|len| self.claims.get(&self.prefix(bits, *len)))
    }

    /// The prefixes that have come or gone since this was asked last, and whether each is there.
    pub(crate) fn take_changed(&mut self) -> Vec<(Prefix, bool)> {
        let changed = core::mem::take(&mut self.changed).into_iter();
        let now =
            changed.map(|(prefix, before)| (prefix, before, self.claims.contains_key(&prefix)));
        now.filter(|(_, before, now)| before != now).map(|(prefix, _, now)| (prefix, now)).collect()
    }

    /// The prefixes, in the order of length and bits. Meant for routes and tests: it sorts all.
    pub(crate) fn prefixes(&self) -> Vec<Prefix> {
        let mut prefixes: Vec<Prefix> = self.claims.keys().copied().collect();
        prefixes.sort_unstable();
        prefixes
    }
}
