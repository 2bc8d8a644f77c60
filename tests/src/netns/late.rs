//! Packets to care-of addresses whose binding has ended: which of them are late.
//!
//! A packet is late when it was sent to the home address after the forwarder had said that its table is that of
//! a revision, and went to a care-of address that had ended by that revision. When a packet was sent stands in it,
//! so that neither queues nor the capture's clock count.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

/// Nanoseconds since the Unix epoch.
pub(super) type Nanos = u64;

/// Where a binding is and was. No care-of address is used twice.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// By care-of address: the home address and the revisions from and up to which it is bound.
    bindings: BTreeMap<Ipv6Addr, Bound>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Bound {
    home_address: Ipv6Addr,
    ended: Option<u64>,
}

/// What a forwarder has said: at this time, or before, its table was that of the revision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mark {
    pub(super) at: Nanos,
    pub(super) revision: u64,
}

/// A packet in a tunnel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tunnelled {
    /// When it was sent to the home address.
    pub(super) sent: Nanos,
    pub(super) home_address: Ipv6Addr,
    pub(super) care_of: Ipv6Addr,
}

/// What was found of one forwarder.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Found {
    /// Packets in tunnels.
    pub(super) packets: u64,
    /// Those to a care-of address that had ended when everything was over.
    pub(super) to_ended: u64,
    /// Those that were late.
    pub(super) late: u64,
    /// Those to what was never a care-of address of that home address.
    pub(super) strange: u64,
}

impl History {
    /// A binding begins.
    pub(super) fn begin(&mut self, home_address: Ipv6Addr, care_of: Ipv6Addr) {
        self.bindings.insert(care_of, Bound { home_address, ended: None });
    }

    /// It ends with the command of this revision.
    pub(super) fn end(&mut self, care_of: Ipv6Addr, revision: u64) {
        if let Some(bound) = self.bindings.get_mut(&care_of) {
            bound.ended = Some(revision);
        }
    }

    /// Looks through what a forwarder said and sent. Marks are in the order of time.
    pub(super) fn check(
        &self,
        marks: &[Mark],
        packets: impl IntoIterator<Item = Tunnelled>,
    ) -> Found {
        let mut found = Found::default();
        for packet in packets {
            found.packets += 1;
            let bound = self.bindings.get(&packet.care_of);
            let Some(bound) = bound.filter(|it| it.home_address == packet.home_address) else {
                found.strange += 1;
                continue;
            };
            let Some(ended) = bound.ended else { continue };
            found.to_ended += 1;
            let before = marks.partition_point(|mark| mark.at <= packet.sent);
            let reached = marks[..before].iter().map(|mark| mark.revision).max();
            if reached.is_some_and(|reached| reached >= ended) {
                found.late += 1;
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x100);
    const OTHER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x200);

    const fn care_of(number: u16) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0xc0, 0, 0, 0, 0, number)
    }

    /// A forwarder that applies a move at `applies_at`, and says so at `says_at`; a packet each
    /// nanosecond.
    fn checked(applies_at: Nanos, says_at: Nanos) -> Found {
        let mut history = History::default();
        history.begin(HOME, care_of(1));
        history.begin(HOME, care_of(2));
        history.end(care_of(1), 11);
        let marks = [Mark { at: 1, revision: 10 }, Mark { at: says_at, revision: 11 }];
        let packets = (0..100).map(|sent| {
            let care_of = care_of(if sent < applies_at { 1 } else { 2 });
            Tunnelled { sent, home_address: HOME, care_of }
        });
        history.check(&marks, packets)
    }

    #[test]
    fn who_applies_before_it_says_so_is_never_late() {
        assert_eq!(checked(50, 50), Found { packets: 100, to_ended: 50, late: 0, strange: 0 });
        assert_eq!(checked(50, 90).late, 0);
    }

    #[test]
    fn who_says_so_before_it_applies_is_found() {
        assert_eq!(checked(50, 49), Found { packets: 100, to_ended: 50, late: 1, strange: 0 });
        assert_eq!(checked(50, 10).late, 40);
        assert_eq!(checked(100, 10).late, 90, "who never applies it");
    }

    #[test]
    fn an_older_mark_takes_nothing_back() {
        let mut history = History::default();
        history.begin(HOME, care_of(1));
        history.end(care_of(1), 11);
        let marks = [Mark { at: 1, revision: 12 }, Mark { at: 2, revision: 10 }];
        let packet = Tunnelled { sent: 3, home_address: HOME, care_of: care_of(1) };
        assert_eq!(history.check(&marks, [packet]).late, 1);
    }

    #[test]
    fn tunnels_of_others_are_strange() {
        let mut history = History::default();
        history.begin(HOME, care_of(1));
        let to =
            |home_address, number| Tunnelled { sent: 1, home_address, care_of: care_of(number) };
        let found = history.check(&[], [to(OTHER, 1), to(HOME, 2), to(HOME, 1)]);
        assert_eq!(found, Found { packets: 3, to_ended: 0, late: 0, strange: 2 });
    }
}
