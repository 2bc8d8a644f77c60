//! What the log is, in memory: its bounds, its markers, and its newest entries.
//!
//! An entry is readable from here as soon as it was handed in; the disk follows. Older entries
//! leave memory once they are on disk, newest last, when the cache is full.

use crate::encoding::entry_octets;
use crate::types::{Entry, LogId, Vote};
use std::collections::VecDeque;
use std::ops::Range;

pub(super) struct Tail {
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
    pub(super) purged: Option<LogId>,
    /// Index of the first entry that is retained, on disk or here.
    first: u64,
    /// Size of each retained entry, so that purging can count octets.
    sizes: VecDeque<u32>,
    /// The newest of the retained entries.
    cached: VecDeque<Entry>,
    cached_octets: usize,
    cache_octets_max: usize,
    /// Entries below this index are on disk.
    durable_end: u64,
}

impl Tail {
    pub(super) fn new(cache_octets_max: usize) -> Self {
        Self {
            vote: None,
            committed: None,
            purged: None,
            first: 0,
            sizes: VecDeque::new(),
            cached: VecDeque::new(),
            cached_octets: 0,
            cache_octets_max,
            durable_end: 0,
        }
    }

    /// One past the last entry.
    pub(super) fn end(&self) -> u64 {
        self.first + length(&self.sizes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    pub(super) fn last_log_id(&self) -> Option<LogId> {
        match self.cached.back() {
            Some(entry) => Some(entry.log_id),
            None => self.purged,
        }
    }

    fn cached_first(&self) -> u64 {
        self.end() - length(&self.cached)
    }

    /// Adds the entry that follows the last. `false` when it would leave a hole.
    #[must_use]
    pub(super) fn push(&mut self, entry: Entry) -> bool {
        let index = entry.log_id.index();
        if self.is_empty() {
            self.first = index;
            self.durable_end = index;
        } else if index != self.end() {
            return false;
        }
        let octets = entry_octets(&entry);
        self.sizes.push_back(u32::try_from(octets).unwrap_or(u32::MAX));
        self.cached_octets += octets;
        self.cached.push_back(entry);
        true
    }

    /// As `push`, for an entry that was read from the disk.
    #[must_use]
    pub(super) fn push_durable(&mut self, entry: Entry) -> bool {
        let index = entry.log_id.index();
        let fits = self.push(entry);
        self.mark_durable(index + 1);
        fits
    }

    /// Entries below `end` are on disk now; those that the cache has no room for leave it.
    pub(super) fn mark_durable(&mut self, end: u64) {
        self.durable_end = self.durable_end.max(end.min(self.end()));
        // The last entry stays: its id is the log's last id.
        while self.cached_octets > self.cache_octets_max
            && self.cached.len() > 1
            && self.cached_first() < self.durable_end
        {
            if let Some(entry) = self.cached.pop_front() {
                self.cached_octets -= entry_octets(&entry);
            }
        }
    }

    /// Drops entries from `from` on; returns the range that was there.
    pub(super) fn truncate(&mut self, from: u64) -> Range<u64> {
        let end = self.end();
        let from = from.clamp(self.first, end);
        for _ in from..end {
            self.sizes.pop_back();
            if let Some(entry) = self.cached.pop_back() {
                self.cached_octets -= entry_octets(&entry);
            }
        }
        self.durable_end = self.durable_end.min(from);
        from..end
    }

    /// After a truncation below the cache the last entry must come back from the disk, so that
    /// its id is known.
    pub(super) fn wants_last(&self) -> Option<u64> {
        (!self.is_empty() && self.cached.is_empty()).then(|| self.end() - 1)
    }

    pub(super) fn recache_last(&mut self, entry: Entry) {
        if self.wants_last() == Some(entry.log_id.index()) {
            self.cached_octets += entry_octets(&entry);
            self.cached.push_back(entry);
        }
    }

    /// Drops entries up to and with `upto`; returns the range that was there.
    pub(super) fn purge(&mut self, upto: LogId) -> Range<u64> {
        let start = self.first;
        let end = (upto.index() + 1).clamp(start, self.end());
        for index in start..end {
            if self.cached_first() == index
                && let Some(entry) = self.cached.pop_front()
            {
                self.cached_octets -= entry_octets(&entry);
            }
            self.sizes.pop_front();
            self.first += 1;
        }
        self.durable_end = self.durable_end.max(self.first);
        self.purged = self.purged.max(Some(upto));
        start..end
    }

    /// The part of `range` that exists.
    pub(super) fn clamp(&self, range: Range<u64>) -> Range<u64> {
        let start = range.start.max(self.first);
        start..range.end.min(self.end()).max(start)
    }

    /// Splits an existing range: what only the disk has, and the entries that are in memory.
    pub(super) fn split(&self, range: &Range<u64>) -> (Range<u64>, Vec<Entry>) {
        let boundary = self.cached_first().clamp(range.start, range.end);
        let skip = usize::try_from(boundary - self.cached_first().min(boundary));
        let take = usize::try_from(range.end - boundary);
        let (Ok(skip), Ok(take)) = (skip, take) else {
            return (range.clone(), Vec::new());
        };
        let cached = self.cached.iter().skip(skip).take(take).cloned().collect();
        (range.start..boundary, cached)
    }

    /// The end of the longest prefix of an existing range that weighs at most `octets`, but is at
    /// least one entry long.
    pub(super) fn cut(&self, range: &Range<u64>, octets: usize) -> u64 {
        let mut weight = 0;
        let mut end = range.start;
        while end < range.end {
            weight += self.size(end);
            if weight > octets && end > range.start {
                break;
            }
            end += 1;
        }
        end
    }

    /// The index up to which entries below `snapshot` may be purged, so that at least `entries`
    /// or `octets` of them, whichever is less, stay. `None` when there is nothing to purge.
    pub(super) fn purgeable(&self, snapshot: u64, entries: u64, octets: u64) -> Option<u64> {
        let mut keep_from = (snapshot + 1).clamp(self.first, self.end());
        let mut kept_octets = 0u64;
        let mut kept = 0;
        while keep_from > self.first && kept < entries {
            let size = u64::try_from(self.size(keep_from - 1)).unwrap_or(u64::MAX);
            if kept_octets + size > octets {
                break;
            }
            kept_octets += size;
            kept += 1;
            keep_from -= 1;
        }
        (keep_from > self.first).then(|| keep_from - 1)
    }

    fn size(&self, index: u64) -> usize {
        let position = usize::try_from(index - self.first).unwrap_or(usize::MAX);
        let size = self.sizes.get(position).copied().unwrap_or(0);
        usize::try_from(size).unwrap_or(usize::MAX)
    }
}

fn length<T>(queue: &VecDeque<T>) -> u64 {
    u64::try_from(queue.len()).unwrap_or(u64::MAX)
}
