//! Addresses that this node answers for (RFC 6275 §10.4.1).

use alloc::collections::{BTreeMap, BTreeSet};
use core::net::Ipv6Addr;

use crate::address::link_local_of;
use crate::limits;

/// How a home address is defended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Defence {
    /// L: the link-local address with the same interface identifier too (RFC 6275 §6.1.7).
    pub link_local: bool,
    /// It is a mobile router's: advertised with the R flag (RFC 3963 §6.2).
    pub router: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Target {
    /// Home addresses for whose sake: two prefixes may share a link-local address.
    owners: BTreeSet<Ipv6Addr>,
    router: bool,
    announcements_left: u8,
    announce_at_ms: u64,
}

/// Home addresses and the addresses that are answered for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Defended {
    homes: BTreeMap<Ipv6Addr, Defence>,
    targets: BTreeMap<Ipv6Addr, Target>,
    announcements: BTreeSet<(u64, Ipv6Addr)>,
}

impl Defended {
    pub(crate) fn insert(&mut self, now_ms: u64, home_address: Ipv6Addr, defence: Defence) {
        if self.homes.get(&home_address) == Some(&defence) {
            return;
        }
        self.remove(home_address);
        self.homes.insert(home_address, defence);
        self.add_target(now_ms, home_address, home_address, defence.router);
        if defence.link_local {
            self.add_target(now_ms, link_local_of(home_address), home_address, defence.router);
        }
    }

    fn add_target(&mut self, now_ms: u64, address: Ipv6Addr, owner: Ipv6Addr, router: bool) {
        let target = self.targets.entry(address).or_default();
        target.owners.insert(owner);
        target.router = router;
        self.schedule(address, now_ms, limits::NEIGHBOUR_ADVERTISEMENTS);
    }

    pub(crate) fn remove(&mut self, home_address: Ipv6Addr) {
        let Some(defence) = self.homes.remove(&home_address) else {
            return;
        };
        self.remove_target(home_address, home_address);
        if defence.link_local {
            self.remove_target(link_local_of(home_address), home_address);
        }
    }

    fn remove_target(&mut self, address: Ipv6Addr, owner: Ipv6Addr) {
        let Some(target) = self.targets.get_mut(&address) else {
            return;
        };
        target.owners.remove(&owner);
        if target.owners.is_empty() {
            self.announcements.remove(&(target.announce_at_ms, address));
            self.targets.remove(&address);
        }
    }

    /// Announces every address anew: this node took the link over from another.
    pub(crate) fn announce_all(&mut self, now_ms: u64) {
        let addresses: alloc::vec::Vec<_> = self.targets.keys().copied().collect();
        for address in addresses {
            self.schedule(address, now_ms, limits::NEIGHBOUR_ADVERTISEMENTS);
        }
    }

    fn schedule(&mut self, address: Ipv6Addr, at_ms: u64, left: u8) {
        let Some(target) = self.targets.get_mut(&address) else {
            return;
        };
        self.announcements.remove(&(target.announce_at_ms, address));
        (target.announce_at_ms, target.announcements_left) = (at_ms, left);
        if left > 0 {
            self.announcements.insert((at_ms, address));
        }
    }

    /// The next address whose announcement is due, and whether it is a router's.
    pub(crate) fn next_announcement(&mut self, now_ms: u64) -> Option<(Ipv6Addr, bool)> {
        let (_, address) = self.announcements.first().copied().filter(|(at, _)| *at <= now_ms)?;
        let target = self.targets.get(&address)?;
        let (router, left) = (target.router, target.announcements_left.saturating_sub(1));
        self.schedule(address, now_ms.saturating_add(limits::RETRANSMISSION_MS), left);
        Some((address, router))
    }

    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        self.announcements.first().map(|(at_ms, _)| *at_ms)
    }

    pub(crate) fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether `address` is answered for, and as a router.
    pub(crate) fn answers_for(&self, address: Ipv6Addr) -> Option<bool> {
        self.targets.get(&address).map(|target| target.router)
    }
}
