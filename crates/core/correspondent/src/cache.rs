//! The binding cache of a correspondent node (RFC 6275 §9.1), with several bindings for one home
//! address (RFC 5648 §6.1).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::Ipv6Addr;

use homeport_wire::{Bid, BidPriority, Lifetime, Sequence};

use crate::limits::{
    REFRESH_AHEAD_DIVISOR, REFRESH_AHEAD_MS_MIN, REFRESH_INTERVAL_MS, REFRESH_REQUESTS_MAX,
};
use crate::time::Millis;

/// Nonce indices of a registration: home, care-of.
pub type NoncePair = (u16, u16);

/// Where packets for a home address go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Binding {
    /// Care-of address.
    pub care_of: Ipv6Addr,
    /// BID-PRI.
    pub priority: BidPriority,
    /// Lifetime granted.
    pub lifetime: Lifetime,
    /// First moment at which it no longer holds.
    pub ends: Millis,
    /// When it was registered last.
    pub confirmed: Millis,
    /// Something was sent by it since then.
    pub used: bool,
    /// The nonces that it was made with.
    pub nonces: NoncePair,
    /// When the first of both is no longer believed.
    pub nonces_end: Millis,
    pub(crate) requests_sent: u8,
    next_request: Millis,
    pub(crate) unreachables: u8,
    pub(crate) unreachable_since: Millis,
}

impl Binding {
    /// One that is registered `now`.
    #[must_use]
    pub fn new(
        now: Millis,
        care_of: Ipv6Addr,
        priority: BidPriority,
        lifetime: Lifetime,
        nonces: NoncePair,
        nonces_end: Millis,
    ) -> Self {
        let lifetime_ms = u64::from(lifetime.secs()).saturating_mul(1000);
        let half = lifetime_ms.checked_div(REFRESH_AHEAD_DIVISOR).unwrap_or(0);
        let tenth = lifetime_ms.checked_div(10).unwrap_or(0);
        let ends = now.plus(lifetime_ms);
        Self {
            care_of,
            priority,
            lifetime,
            ends,
            confirmed: now,
            used: false,
            nonces,
            nonces_end,
            requests_sent: 0,
            next_request: ends.minus(tenth.max(REFRESH_AHEAD_MS_MIN).min(half)),
            unreachables: 0,
            unreachable_since: now,
        }
    }

    /// When a Binding Refresh Request is due (RFC 6275 §9.5.5): only for what is in use.
    pub(crate) fn request_due(&self) -> Option<Millis> {
        (self.used && self.requests_sent < REFRESH_REQUESTS_MAX).then_some(self.next_request)
    }

    pub(crate) const fn requested(&mut self, now: Millis) {
        self.requests_sent = self.requests_sent.saturating_add(1);
        self.next_request = now.plus(REFRESH_INTERVAL_MS);
    }

    fn deadline(&self) -> Millis {
        self.request_due().map_or(self.ends, |due| due.min(self.ends))
    }
}

/// Nonces that must not register this care-of address again: the binding that they made was deleted
/// (RFC 6275 §9.5.3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spent {
    /// The pair.
    pub nonces: NoncePair,
    /// With which care-of address.
    pub care_of: Ipv6Addr,
    /// When the first of both is no longer believed.
    pub until: Millis,
}

/// Everything that is known of one home address. Without bindings it keeps the sequence number as
/// long as an old Binding Update could be replayed (RFC 6275 §5.2.8).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Home {
    /// Last accepted sequence number: one for all BIDs (RFC 5648 §4.1).
    pub sequence: Sequence,
    /// By BID; `None` is the binding of plain RFC 6275, which never stands beside others.
    pub bindings: BTreeMap<Option<Bid>, Binding>,
    /// Until when nonces are believed that an accepted Binding Update named.
    pub guard: Millis,
    /// Nonces of deleted bindings.
    pub spent: Vec<Spent>,
    indexed: Millis,
}

impl Home {
    /// Without bindings.
    #[must_use]
    pub const fn new(sequence: Sequence) -> Self {
        Self {
            sequence,
            bindings: BTreeMap::new(),
            guard: Millis(0),
            spent: Vec::new(),
            indexed: Millis(0),
        }
    }

    /// Drops the bindings that have ended by `now`, and says which.
    pub fn expire(&mut self, now: Millis) -> Vec<Option<Bid>> {
        let ended = self.bindings.iter().filter(|(_, binding)| binding.ends <= now);
        let ended: Vec<Option<Bid>> = ended.map(|(bid, _)| *bid).collect();
        for bid in &ended {
            self.bindings.remove(bid);
        }
        ended
    }

    /// Nothing is left that anybody could ask for.
    #[must_use]
    pub fn is_forgotten(&self, now: Millis) -> bool {
        self.bindings.is_empty() && self.guard <= now
    }

    /// The binding that packets take: the best priority, then the one confirmed last.
    #[must_use]
    pub fn preferred(&self, now: Millis) -> Option<(Option<Bid>, &Binding)> {
        let live = self.bindings.iter().filter(|(_, binding)| binding.ends > now);
        live.min_by_key(|(_, binding)| {
            (binding.priority.rank(), core::cmp::Reverse(binding.confirmed))
        })
        .map(|(bid, binding)| (*bid, binding))
    }

    /// A binding of this care-of address.
    pub(crate) fn by_care_of(
        &mut self,
        now: Millis,
        care_of: Ipv6Addr,
    ) -> Option<(Option<Bid>, &mut Binding)> {
        let mut live = self.bindings.iter_mut().filter(|(_, binding)| binding.ends > now);
        live.find(|(_, binding)| binding.care_of == care_of).map(|(bid, binding)| (*bid, binding))
    }

    /// Takes a binding out on the mobile node's wish.
    pub(crate) fn delete(&mut self, now: Millis, bid: Option<Bid>) -> bool {
        self.spent.retain(|spent| spent.until > now);
        let Some(binding) = self.bindings.remove(&bid) else {
            return false;
        };
        if binding.nonces_end > now {
            let (nonces, care_of, until) = (binding.nonces, binding.care_of, binding.nonces_end);
            self.spent.push(Spent { nonces, care_of, until });
        }
        true
    }

    pub(crate) fn is_spent(&self, now: Millis, nonces: NoncePair, care_of: Ipv6Addr) -> bool {
        self.spent
            .iter()
            .any(|spent| spent.nonces == nonces && spent.care_of == care_of && spent.until > now)
    }

    /// When something is to be done about it next.
    #[must_use]
    pub fn deadline(&self) -> Millis {
        self.bindings.values().map(Binding::deadline).min().unwrap_or(self.guard)
    }
}

/// All home addresses, and when something is to be done about each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cache {
    homes: BTreeMap<Ipv6Addr, Home>,
    deadlines: BTreeSet<(Millis, Ipv6Addr)>,
}

impl Cache {
    pub(crate) fn len(&self) -> usize {
        self.homes.len()
    }

    pub(crate) fn home(&self, address: Ipv6Addr) -> Option<&Home> {
        self.homes.get(&address)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Ipv6Addr, &Home)> {
        self.homes.iter().map(|(address, home)| (*address, home))
    }

    pub(crate) fn next_deadline(&self) -> Option<Millis> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// A home address about which something is to be done.
    pub(crate) fn due(&self, now: Millis) -> Option<Ipv6Addr> {
        self.deadlines.first().filter(|(deadline, _)| *deadline <= now).map(|(_, address)| *address)
    }

    /// Changes what is known of a home address, and forgets it when nothing is left that anybody
    /// could ask for.
    pub(crate) fn edit<T>(
        &mut self,
        now: Millis,
        address: Ipv6Addr,
        change: impl FnOnce(&mut Home) -> T,
    ) -> Option<T> {
        let home = self.homes.get_mut(&address)?;
        let result = change(home);
        self.deadlines.remove(&(home.indexed, address));
        if home.is_forgotten(now) {
            self.homes.remove(&address);
        } else {
            home.indexed = home.deadline();
            self.deadlines.insert((home.indexed, address));
        }
        Some(result)
    }

    /// Makes room for a home address that is not known yet.
    pub(crate) fn open(&mut self, address: Ipv6Addr, sequence: Sequence) {
        self.homes.entry(address).or_insert_with(|| Home::new(sequence));
    }
}
