//! Answers that wait until the table has reached their revision.

use std::collections::{BTreeMap, VecDeque};

use crate::limits;

/// Revision, then order of arrival.
type Place = (u64, u64);

/// Holds items by revision, none longer than the limit. Times are milliseconds of one monotonic
/// clock.
#[derive(Debug)]
pub(crate) struct Held<T> {
    items: BTreeMap<Place, T>,
    /// In order, because each is held equally long. Places whose item is gone are passed over.
    deadlines: VecDeque<(u64, Place)>,
    arrivals: u64,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self { items: BTreeMap::new(), deadlines: VecDeque::new(), arrivals: 0 }
    }
}

impl<T> Held<T> {
    /// Holds an item until `revision` is reached; gives it back when too many are held.
    pub(crate) fn hold(&mut self, now_ms: u64, revision: u64, item: T) -> Result<(), T> {
        if self.items.len() >= limits::ANSWERS_HELD_MAX {
            return Err(item);
        }
        let place = (revision, self.arrivals);
        self.arrivals = self.arrivals.wrapping_add(1);
        let hold_ms = u64::try_from(limits::ANSWER_HOLD_MAX.as_millis()).unwrap_or(u64::MAX);
        self.deadlines.push_back((now_ms.saturating_add(hold_ms), place));
        self.items.insert(place, item);
        Ok(())
    }

    /// The next item whose revision is reached.
    pub(crate) fn reached(&mut self, revision: u64) -> Option<T> {
        let first = self.items.first_entry()?;
        (first.key().0 <= revision).then(|| first.remove())
    }

    /// The next item whose time is over.
    pub(crate) fn overdue(&mut self, now_ms: u64) -> Option<T> {
        while self.next_deadline_ms()? <= now_ms {
            let (_, place) = self.deadlines.pop_front()?;
            if let Some(item) = self.items.remove(&place) {
                return Some(item);
            }
        }
        None
    }

    /// When the next item's time is over.
    pub(crate) fn next_deadline_ms(&mut self) -> Option<u64> {
        while let Some((deadline_ms, place)) = self.deadlines.front() {
            if self.items.contains_key(place) {
                return Some(*deadline_ms);
            }
            self.deadlines.pop_front();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_leave_when_their_revision_is_reached_or_their_time_is_over() {
        let mut held = Held::default();
        assert_eq!(held.next_deadline_ms(), None);
        held.hold(100, 7, "seven").unwrap();
        held.hold(110, 5, "five").unwrap();
        held.hold(120, 7, "seven again").unwrap();
        assert_eq!(held.reached(4), None);
        assert_eq!(held.reached(5), Some("five"));
        assert_eq!(held.reached(5), None);
        assert_eq!(held.next_deadline_ms(), Some(150));
        assert_eq!(held.overdue(149), None);
        assert_eq!(held.overdue(150), Some("seven"));
        assert_eq!(held.next_deadline_ms(), Some(170), "the one that left early does not count");
        assert_eq!(held.reached(9), Some("seven again"));
        assert_eq!(held.overdue(1000), None);
        assert_eq!(held.next_deadline_ms(), None);
    }

    #[test]
    fn of_equal_revision_the_first_leaves_first() {
        let mut held = Held::default();
        for item in 0..5 {
            held.hold(0, 3, item).unwrap();
        }
        let left: Vec<i32> = std::iter::from_fn(|| held.reached(3)).collect();
        assert_eq!(left, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn too_many_are_given_back_and_the_deadlines_stay_bounded() {
        let mut held = Held::default();
        for item in 0..limits::ANSWERS_HELD_MAX {
            held.hold(0, 1, item).unwrap();
        }
        assert_eq!(held.hold(0, 1, 77), Err(77));
        assert_eq!(held.reached(1), Some(0));
        held.hold(1, 1, 78).unwrap();
        assert_eq!(held.overdue(50), Some(1));
    }
}
