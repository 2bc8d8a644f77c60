//! The table of lines in memory that the program reads at the same time.
//!
//! Two buckets of two lines each for a home address. The writer is one; readers (the program, on any
//! processor) never wait. A line is written under its sequence number: odd while it is written. When
//! lines are moved to make room, the copy is there before the original goes, so a reader finds the
//! line, or nothing for a moment, but never half of one.

use std::{
    collections::{HashSet, VecDeque},
    net::Ipv6Addr,
    sync::atomic::{AtomicU64, Ordering, fence},
};

use crate::line::{LINE_WORDS, Words, home_of};

/// Lines of a bucket.
const BUCKET_LINES: usize = 2;
/// Lines looked at for a place. More than half full tables need a handful.
const SEARCHED_MAX: usize = 512;
/// Word of a line that begins with the sequence number.
const SEQUENCE_WORD: usize = 2;

/// No place for another home address: its packets take the portable path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the table of the fast path has no place left; raise xdp.home_addresses_max")]
pub struct Full;

/// Lines that were cleared: see [`Slots::repair`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Repaired {
    /// Half written.
    pub half: usize,
    /// Of home addresses that have another line, or that nobody would find.
    pub double: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Slots<M> {
    memory: M,
    bucket_mask: usize,
    len: usize,
}

impl<M: AsRef<[AtomicU64]>> Slots<M> {
    /// Over memory of a power of two of lines, at least four. What is in it is kept.
    #[must_use]
    pub fn new(memory: M) -> Self {
        let lines = memory.as_ref().len() / LINE_WORDS;
        let buckets = if lines < 4 { 2 } else { 1 << (lines / BUCKET_LINES).ilog2() };
        let mut slots = Self { memory, bucket_mask: buckets - 1, len: 0 };
        slots.len = slots.homes().count();
        slots
    }

    /// Clears what a writer that was killed has left behind: a line that is half written, and the
    /// older place of one that was being moved. Readers find the line of a home address all the
    /// while, unless it is the half one.
    pub fn repair(&mut self) -> Repaired {
        let mut repaired = Repaired::default();
        for slot in 0..self.lines() {
            let sequence = self.words(slot).get(SEQUENCE_WORD);
            let sequence = sequence.map_or(0, |word| word.load(Ordering::Relaxed));
            let count = if sequence_of(sequence) & 1 == 1 {
                &mut repaired.half
            } else if self.home(slot).is_some_and(|home| self.find(home) != Some(slot)) {
                &mut repaired.double
            } else {
                continue;
            };
            *count += 1;
            self.write(slot, &Words::default());
        }
        self.len = self.homes().count();
        repaired
    }

    /// Does what a writer does that is killed in the middle of a line, for tests; false when there is
    /// no such line.
    #[must_use]
    pub fn halve(&self, home_address: Ipv6Addr) -> bool {
        let Some(slot) = self.find(home_address) else { return false };
        let sequence = self.words(slot).get(SEQUENCE_WORD);
        sequence.is_some_and(|it| it.fetch_or(1, Ordering::Relaxed) & 1 == 0)
    }

    /// Every line that is taken.
    pub(crate) fn all(&self) -> impl Iterator<Item = Words> {
        (0..self.lines()).map(|slot| self.read(slot)).filter(|line| home_of(line).is_some())
    }

    /// Lines for so many home addresses: at most four in five are taken, so that a place is found.
    #[must_use]
    pub fn lines_for(home_addresses: u32) -> u32 {
        let wanted = u64::from(home_addresses).saturating_mul(5) / 4;
        u32::try_from(wanted.max(4).next_power_of_two()).unwrap_or(1 << 31)
    }

    /// The mask that makes a bucket of a hash.
    #[must_use]
    pub fn bucket_mask(&self) -> u32 {
        u32::try_from(self.bucket_mask).unwrap_or(u32::MAX)
    }

    /// How many lines are taken.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// No line is taken.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The home addresses, in no order.
    pub fn homes(&self) -> impl Iterator<Item = Ipv6Addr> {
        (0..self.lines()).filter_map(|slot| home_of(&self.read(slot)))
    }

    /// The line of a home address.
    #[must_use]
    pub fn line(&self, home_address: Ipv6Addr) -> Option<Words> {
        let slot = self.find(home_address)?;
        Some(self.read(slot))
    }

    /// Sets or replaces the line of a home address, which the words begin with.
    pub fn set(&mut self, words: &Words) -> Result<(), Full> {
        let Some(home_address) = home_of(words) else { return Ok(()) };
        if let Some(slot) = self.find(home_address) {
            self.write(slot, words);
            return Ok(());
        }
        let slot = self.make_room(home_address).ok_or(Full)?;
        self.write(slot, words);
        self.len += 1;
        Ok(())
    }

    /// Removes the line of a home address; false when there is none.
    pub fn remove(&mut self, home_address: Ipv6Addr) -> bool {
        let Some(slot) = self.find(home_address) else { return false };
        self.write(slot, &Words::default());
        self.len = self.len.saturating_sub(1);
        true
    }

    fn lines(&self) -> usize {
        (self.bucket_mask + 1) * BUCKET_LINES
    }

    fn candidates(&self, home_address: Ipv6Addr) -> [usize; 4] {
        let hash = hash(home_address);
        let mask = u64::try_from(self.bucket_mask).unwrap_or(u64::MAX);
        let first = usize::try_from(hash & mask).unwrap_or(0) * BUCKET_LINES;
        let second = usize::try_from((hash >> 32) & mask).unwrap_or(0) * BUCKET_LINES;
        [first, first + 1, second, second + 1]
    }

    fn find(&self, home_address: Ipv6Addr) -> Option<usize> {
        let mut candidates = self.candidates(home_address).into_iter();
        candidates.find(|slot| self.home(*slot) == Some(home_address))
    }

    /// A free slot for a home address, after moving others to their other buckets where needed.
    fn make_room(&self, home_address: Ipv6Addr) -> Option<usize> {
        let mut queue = VecDeque::new();
        let mut seen = HashSet::new();
        // Each slot with the place in `path` of the one that its line would have to leave for.
        let mut path: Vec<(usize, Option<usize>)> = Vec::new();
        for slot in self.candidates(home_address) {
            if seen.insert(slot) {
                queue.push_back((slot, None));
            }
        }
        while let Some((slot, parent)) = queue.pop_front() {
            let Some(occupant) = self.home(slot) else {
                return Some(self.shift(&path, slot, parent));
            };
            if path.len() >= SEARCHED_MAX {
                return None;
            }
            path.push((slot, parent));
            let at = path.len() - 1;
            for other in self.candidates(occupant) {
                if seen.insert(other) {
                    queue.push_back((other, Some(at)));
                }
            }
        }
        None
    }

    /// Moves the lines of a path, the last first, and says which slot became free.
    fn shift(&self, path: &[(usize, Option<usize>)], free: usize, parent: Option<usize>) -> usize {
        let (mut free, mut parent) = (free, parent);
        while let Some((slot, next)) = parent.and_then(|at| path.get(at).copied()) {
            self.write(free, &self.read(slot));
            (free, parent) = (slot, next);
        }
        free
    }

    fn home(&self, slot: usize) -> Option<Ipv6Addr> {
        home_of(&self.read(slot))
    }

    fn words(&self, slot: usize) -> &[AtomicU64] {
        let begin = slot * LINE_WORDS;
        self.memory.as_ref().get(begin..begin + LINE_WORDS).unwrap_or_default()
    }

    /// Only the writer reads like this: nobody else changes a line.
    fn read(&self, slot: usize) -> Words {
        let mut words = Words::default();
        for (word, from) in words.iter_mut().zip(self.words(slot)) {
            *word = from.load(Ordering::Relaxed);
        }
        words[SEQUENCE_WORD] = without_sequence(words[SEQUENCE_WORD]);
        words
    }

    fn write(&self, slot: usize, words: &Words) {
        let line = self.words(slot);
        let Some(sequence) = line.get(SEQUENCE_WORD) else { return };
        let before = sequence_of(sequence.load(Ordering::Relaxed));
        // A writer that died in the middle has left it odd.
        let odd = before.wrapping_add(1) | 1;
        let rest = without_sequence(words[SEQUENCE_WORD]);
        sequence.store(rest | u64::from(odd), Ordering::Relaxed);
        fence(Ordering::Release);
        for (index, (to, word)) in line.iter().zip(words).enumerate() {
            if index != SEQUENCE_WORD {
                to.store(*word, Ordering::Relaxed);
            }
        }
        fence(Ordering::Release);
        sequence.store(rest | u64::from(odd.wrapping_add(1)), Ordering::Release);
    }
}

/// The first half of the word in memory, which little-endian machines have low; the program is built
/// for no others.
const fn without_sequence(word: u64) -> u64 {
    word & !0xffff_ffff
}

fn sequence_of(word: u64) -> u32 {
    u32::try_from(word & 0xffff_ffff).unwrap_or(0)
}

/// As `find` of the program computes it.
fn hash(home_address: Ipv6Addr) -> u64 {
    const SEED: u64 = 0x6c69_6e65;
    let bits = home_address.to_bits();
    let high = u64::try_from(bits >> 64).unwrap_or(0);
    let low = u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(0);
    let mut value = mix(mix(SEED, high), low);
    value = (value ^ (value >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    value = (value ^ (value >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    value ^ (value >> 33)
}

const fn mix(state: u64, word: u64) -> u64 {
    let mixed = (state.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 32)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

    use super::*;

    fn memory(lines: usize) -> Vec<AtomicU64> {
        (0..lines * LINE_WORDS).map(|_| AtomicU64::new(0)).collect()
    }

    fn line(home_address: Ipv6Addr, value: u64) -> Words {
        let mut words = [value; LINE_WORDS];
        words[SEQUENCE_WORD] = value << 32;
        let octets = home_address.octets();
        for (word, octets) in words.iter_mut().zip(octets.as_chunks::<8>().0) {
            *word = u64::from_ne_bytes(*octets);
        }
        words
    }

    fn home(host: u64) -> Ipv6Addr {
        Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(host))
    }

    #[test]
    fn it_holds_what_a_map_holds() {
        let mut random = StdRng::seed_from_u64(1);
        let mut slots = Slots::new(memory(1024));
        let mut model = BTreeMap::new();
        for step in 0..20_000_u64 {
            let address = home(random.random_range(1..900));
            if random.random_ratio(1, 3) {
                assert_eq!(slots.remove(address), model.remove(&address).is_some());
            } else {
                let words = line(address, step & 0xff_ffff);
                if slots.set(&words).is_ok() {
                    model.insert(address, words);
                } else {
                    assert!(model.len() > 819, "refused at {} of 1024", model.len());
                }
            }
            assert_eq!(slots.len(), model.len());
        }
        for (address, words) in &model {
            assert_eq!(slots.line(*address).as_ref(), Some(words));
        }
        let mut homes: Vec<_> = slots.homes().collect();
        homes.sort_unstable();
        assert_eq!(homes, model.keys().copied().collect::<Vec<_>>());
    }

    #[test]
    fn four_in_five_lines_can_be_taken() {
        let home_addresses = 100_000;
        let lines = Slots::<Vec<AtomicU64>>::lines_for(home_addresses);
        let mut slots = Slots::new(memory(usize::try_from(lines).unwrap()));
        for host in 1..=u64::from(lines) * 4 / 5 {
            slots.set(&line(home(host), host)).unwrap();
        }
    }

    #[test]
    fn what_a_killed_writer_left_is_cleared_and_nothing_else() {
        let memory = memory(1024);
        let mut slots = Slots::new(&memory);
        for host in 1..=500 {
            slots.set(&line(home(host), host)).unwrap();
        }
        // It was killed while it wrote one line, and while it moved another: the copy is there.
        let half = slots.find(home(3)).unwrap();
        slots.words(half)[SEQUENCE_WORD].fetch_add(1, Ordering::Relaxed);
        let moved = (1..=500).find_map(|host| {
            let from = slots.find(home(host)).unwrap();
            let free = |slot: &usize| slots.home(*slot).is_none();
            let to = slots.candidates(home(host)).into_iter().find(free)?;
            (from < to && host != 3).then_some((host, from, to))
        });
        let (host, from, to) = moved.unwrap();
        slots.write(to, &slots.read(from));

        let mut slots = Slots::new(&memory);
        assert_eq!(slots.repair(), Repaired { half: 1, double: 1 });
        assert_eq!(slots.len(), 499);
        assert_eq!(slots.line(home(3)), None);
        for host in (1..=500).filter(|host| *host != 3) {
            assert_eq!(slots.line(home(host)), Some(line(home(host), host)));
        }
        assert!(slots.remove(home(host)));
        assert_eq!(slots.line(home(host)), None, "no other copy comes to light");
        assert_eq!(slots.repair(), Repaired::default());
    }

    #[test]
    fn a_line_that_a_dead_writer_left_half_is_written_whole() {
        let mut slots = Slots::new(memory(4));
        let words = line(home(7), 1);
        slots.set(&words).unwrap();
        let slot = slots.find(home(7)).unwrap();
        slots.words(slot)[SEQUENCE_WORD].fetch_add(1, Ordering::Relaxed);
        slots.set(&words).unwrap();
        let sequence = slots.words(slot)[SEQUENCE_WORD].load(Ordering::Relaxed);
        assert_eq!(sequence & 1, 0);
    }
}
