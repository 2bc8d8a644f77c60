//! What was acknowledged, and whether a store has it.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use homeport_api::admin::HomeBindings;
use homeport_binding::{Registration, WireSource};
use homeport_tests::submit::{bid_request, registration};

use crate::bench::replicas::home_address;

/// Home addresses of one cluster, but for those whose outcome is not known: a look at all takes less
/// time than what happens between two looks.
const HOMES_MAX: u32 = 10_000;

/// A Binding Update in this experiment: its care-of addresses say which one it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Write {
    /// Number of the home address.
    pub(crate) home: u32,
    /// Sequence number: 1 for its first.
    pub(crate) sequence: u16,
}

impl Write {
    /// The command.
    pub(crate) fn registration(self, policy_revisions: (u64, u64)) -> Registration {
        let home_address = home_address(self.home);
        let request_id = u128::from(self.home) << 16 | u128::from(self.sequence);
        let mut asked = registration(home_address, self.sequence, request_id, policy_revisions);
        for (bid, care_of) in self.bindings() {
            match bid {
                None => asked.source = WireSource::Ipv6(care_of),
                Some(bid) => asked.bids.push(bid_request(bid, care_of)),
            }
        }
        asked
    }

    /// What it leaves: every other home address has two BIDs.
    fn bindings(self) -> Vec<(Option<u16>, Ipv6Addr)> {
        let bids = if self.home.is_multiple_of(2) { vec![None] } else { vec![Some(1), Some(2)] };
        bids.into_iter().map(|bid| (bid, self.care_of(bid))).collect()
    }

    fn care_of(self, bid: Option<u16>) -> Ipv6Addr {
        let [high, low] = [self.home >> 16, self.home & 0xffff].map(u16::try_from);
        let (high, low) = (high.unwrap_or(u16::MAX), low.unwrap_or(u16::MAX));
        Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, bid.unwrap_or(0), high, low, self.sequence)
    }
}

/// What a store holds, by home address.
pub(crate) type Stored = BTreeMap<Ipv6Addr, HomeBindings>;

/// The newest acknowledged sequence number of each home address.
pub(crate) type Demanded = BTreeMap<u32, u16>;

/// Shared by those who write and those who check.
#[derive(Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<Book>>);

#[derive(Default)]
struct Book {
    acknowledged: Demanded,
    /// Home addresses that nothing is under way for, the one that waits longest first.
    idle: VecDeque<Write>,
    next_home: u32,
    turns: u64,
    count: u64,
}

impl Ledger {
    /// What to write next: a new home address and one that is known in turn, and when there are many,
    /// only those.
    pub(crate) fn next(&self) -> Write {
        let mut book = self.book();
        book.turns += 1;
        if (book.turns.is_multiple_of(2) || book.next_home >= HOMES_MAX)
            && let Some(last) = book.idle.pop_front()
        {
            return Write { sequence: last.sequence.wrapping_add(1), ..last };
        }
        book.next_home += 1;
        Write { home: book.next_home, sequence: 1 }
    }

    /// Takes note of an acknowledgement.
    pub(crate) fn acknowledge(&self, write: Write) {
        let mut book = self.book();
        book.acknowledged.insert(write.home, write.sequence);
        book.idle.push_back(write);
        book.count += 1;
    }

    /// Acknowledgements so far.
    pub(crate) fn count(&self) -> u64 {
        self.book().count
    }

    /// What a store must have from now on.
    pub(crate) fn demanded(&self) -> Demanded {
        self.book().acknowledged.clone()
    }

    /// What the store holds is what it is asked for from now on: after a power cut, that may be more or
    /// less than was acknowledged since.
    pub(crate) fn begin_with(&self, stored: &Stored) {
        let mut book = self.book();
        let known = (1..=book.next_home).filter_map(|home| {
            let sequence = stored.get(&home_address(home))?.sequence;
            Some(Write { home, sequence: u16::try_from(sequence).ok()? })
        });
        let known: Vec<_> = known.collect();
        book.acknowledged = known.iter().map(|write| (write.home, write.sequence)).collect();
        book.idle = known.into();
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Each home address whose acknowledged Binding Update, or a newer one, the store does not have whole.
pub(crate) fn lost(demanded: &Demanded, stored: &Stored) -> Vec<String> {
    let missing = demanded.iter().filter_map(|(home, sequence)| {
        let address = home_address(*home);
        let acknowledged = format!("{address}: sequence number {sequence} was acknowledged");
        let Some(found) = stored.get(&address) else {
            return Some(format!("{acknowledged}, and nothing is stored"));
        };
        let newest = u16::try_from(found.sequence).ok();
        let newest = newest.filter(|newest| newest.wrapping_sub(*sequence) < 0x8000);
        let Some(newest) = newest else {
            return Some(format!("{acknowledged}, and {} is stored", found.sequence));
        };
        let whole = Write { home: *home, sequence: newest }.bindings();
        let is_whole = whole.len() == found.bindings.len()
            && whole.iter().zip(&found.bindings).all(|((bid, care_of), binding)| {
                bid.map(u32::from) == binding.bid && care_of.to_string() == binding.care_of_address
            });
        (!is_whole).then(|| format!("{acknowledged}, and not whole: {:?}", found.bindings))
    });
    missing.collect()
}

#[cfg(test)]
mod tests {
    use homeport_api::admin::Binding;

    use super::*;

    fn stored(writes: &[(u32, u16)]) -> Stored {
        let homes = writes.iter().map(|(home, sequence)| {
            let write = Write { home: *home, sequence: *sequence };
            let bindings = write.bindings().into_iter().map(|(bid, care_of)| Binding {
                bid: bid.map(u32::from),
                care_of_address: care_of.to_string(),
                ..Binding::default()
            });
            let bindings = bindings.collect();
            let sequence = u32::from(*sequence);
            (home_address(*home), HomeBindings { sequence, bindings, ..HomeBindings::default() })
        });
        homes.collect()
    }

    #[test]
    fn what_is_missing_older_or_not_whole_is_lost() {
        let demanded = Demanded::from([(1, 5), (2, 7), (3, 1)]);
        assert!(lost(&demanded, &stored(&[(1, 5), (2, 8), (3, 1), (4, 1)])).is_empty());
        assert_eq!(lost(&demanded, &stored(&[(1, 5), (3, 1)])).len(), 1, "one is missing");
        assert_eq!(lost(&demanded, &stored(&[(1, 4), (2, 6), (3, 1)])).len(), 2, "two are older");
        let mut half = stored(&[(1, 5), (2, 7), (3, 1)]);
        half.get_mut(&home_address(3)).expect("there").bindings.pop();
        assert_eq!(lost(&demanded, &half).len(), 1, "one BID of two is not there");
        let mut torn = stored(&[(1, 5), (2, 7), (3, 1)]);
        torn.get_mut(&home_address(2)).expect("there").sequence = 9;
        assert_eq!(lost(&demanded, &torn).len(), 1, "a care-of address of another Binding Update");
    }

    #[test]
    fn home_addresses_come_new_and_again_with_the_next_sequence_number() {
        let ledger = Ledger::default();
        let writes: Vec<Write> = (0..40)
            .map(|_| {
                let write = ledger.next();
                ledger.acknowledge(write);
                write
            })
            .collect();
        assert!(writes.iter().any(|write| write.sequence > 1));
        assert!(writes.iter().any(|write| write.home.is_multiple_of(2)));
        assert!(writes.iter().any(|write| !write.home.is_multiple_of(2)));
        for (n, write) in writes.iter().enumerate() {
            assert!(!writes[..n].contains(write), "{write:?} twice");
        }
        ledger.begin_with(&stored(&[(1, 3)]));
        assert_eq!(ledger.demanded(), Demanded::from([(1, 3)]));
        assert_eq!(ledger.count(), 40);
    }
}
