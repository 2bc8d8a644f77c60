//! A map by IPv6 address in order whose copy costs next to nothing, however much it holds: both share
//! pages of entries, and who changes one makes a page of its own first.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::Ipv6Addr;
use core::ops::Bound;

/// Entries of a page: so many pointers are copied with the first change of one after a copy was made, and
/// a copy is that much smaller than the map.
const PAGE_ENTRIES_MAX: usize = 64;

/// An address, as a number: that compares quickly, and in the same order.
type Key = u128;

/// Addresses of one page in order. What was taken out leaves its place, see [`Pages::remove`].
type Page<V> = Vec<(Key, Option<Arc<V>>)>;

/// The map.
#[derive(Clone)]
pub(crate) struct Pages<V> {
    /// No page is empty. Its key is not after its first address, and after all of the page before.
    pages: BTreeMap<Key, Arc<Page<V>>>,
    len: usize,
    /// The only address that has a place and no value.
    gap: Option<Key>,
}

impl<V> Default for Pages<V> {
    fn default() -> Self {
        Self { pages: BTreeMap::new(), len: 0, gap: None }
    }
}

/// Which page an address is on depends on what was there before, and says nothing.
impl<V: PartialEq> PartialEq for Pages<V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<V: Eq> Eq for Pages<V> {}

impl<V: core::fmt::Debug> core::fmt::Debug for Pages<V> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<V> Pages<V> {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, address: &Ipv6Addr) -> Option<&V> {
        let key = address.to_bits();
        let (_, page) = self.pages.range(..=key).next_back()?;
        let at = page.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        page.get(at)?.1.as_deref()
    }

    pub(crate) fn contains_key(&self, address: &Ipv6Addr) -> bool {
        self.get(address).is_some()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Ipv6Addr, &V)> {
        self.from(Bound::Unbounded)
    }

    /// Entries from an address on.
    pub(crate) fn from(&self, start: Bound<Ipv6Addr>) -> impl Iterator<Item = (Ipv6Addr, &V)> {
        let start = start.map(Ipv6Addr::to_bits);
        let key = match start {
            Bound::Included(key) | Bound::Excluded(key) => key,
            Bound::Unbounded => 0,
        };
        let first = self.pages.range(..=key).next_back().map_or(key, |(first, _)| *first);
        let is_before = move |key: Key| match start {
            Bound::Included(start) => key < start,
            Bound::Excluded(start) => key <= start,
            Bound::Unbounded => false,
        };
        let entries = self.pages.range(first..).flat_map(|(_, page)| page.iter());
        let entries = entries.skip_while(move |(key, _)| is_before(*key));
        entries.filter_map(|(key, value)| Some((Ipv6Addr::from_bits(*key), value.as_deref()?)))
    }
}

impl<V: Clone> Pages<V> {
    /// The place of an address that has one, on a page of its own.
    fn place(&mut self, key: Key) -> Option<&mut Option<Arc<V>>> {
        let (_, page) = self.pages.range_mut(..=key).next_back()?;
        let at = page.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        Arc::make_mut(page).get_mut(at).map(|(_, value)| value)
    }

    pub(crate) fn get_mut(&mut self, address: &Ipv6Addr) -> Option<&mut V> {
        self.place(address.to_bits())?.as_mut().map(Arc::make_mut)
    }

    /// Its place is kept until another address comes: what is taken out is mostly put back at once.
    pub(crate) fn remove(&mut self, address: &Ipv6Addr) -> Option<V> {
        let key = address.to_bits();
        if self.gap != Some(key) {
            self.close_gap();
        }
        let value = self.place(key)?.take()?;
        self.gap = Some(key);
        self.len -= 1;
        Some(Arc::unwrap_or_clone(value))
    }

    fn close_gap(&mut self) {
        let Some(gap) = self.gap.take() else { return };
        let Some((first, page)) = self.pages.range_mut(..=gap).next_back() else { return };
        let (first, page) = (*first, Arc::make_mut(page));
        page.retain(|(key, _)| *key != gap);
        if page.is_empty() {
            self.pages.remove(&first);
        }
    }

    /// Gives the value that was there.
    pub(crate) fn insert(&mut self, address: Ipv6Addr, value: V) -> Option<V> {
        let key = address.to_bits();
        if self.gap == Some(key) {
            self.gap = None;
        } else {
            self.close_gap();
        }
        let value = Arc::new(value);
        if let Some(place) = self.place(key) {
            let known = place.replace(value).map(Arc::unwrap_or_clone);
            self.len += usize::from(known.is_none());
            return known;
        }
        self.len += 1;
        let entry = (key, Some(value));
        let Some((_, page)) = self.pages.range_mut(..=key).next_back() else {
            self.pages.insert(0, Arc::new(Vec::from([entry])));
            return None;
        };
        let page = Arc::make_mut(page);
        let at = page.partition_point(|(other, _)| *other < key);
        // Addresses that come in order fill their pages.
        let next = if at == PAGE_ENTRIES_MAX {
            Vec::from([entry])
        } else {
            page.insert(at, entry);
            if page.len() > PAGE_ENTRIES_MAX {
                page.split_off(PAGE_ENTRIES_MAX / 2)
            } else {
                Vec::new()
            }
        };
        if let Some((first, _)) = next.first() {
            self.pages.insert(*first, Arc::new(next));
        }
        None
    }
}

impl<V: Clone> IntoIterator for Pages<V> {
    type Item = (Ipv6Addr, V);
    type IntoIter = IntoEntries<V>;

    /// Gives back page by page what nobody else holds.
    fn into_iter(self) -> IntoEntries<V> {
        IntoEntries { pages: self.pages.into_values(), page: Vec::new().into_iter() }
    }
}

/// Entries in order.
pub(crate) struct IntoEntries<V> {
    pages: alloc::collections::btree_map::IntoValues<Key, Arc<Page<V>>>,
    page: alloc::vec::IntoIter<(Key, Option<Arc<V>>)>,
}

impl<V: Clone> Iterator for IntoEntries<V> {
    type Item = (Ipv6Addr, V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((key, value)) = self.page.next() {
                let Some(value) = value else { continue };
                return Some((Ipv6Addr::from_bits(key), Arc::unwrap_or_clone(value)));
            }
            self.page = Arc::unwrap_or_clone(self.pages.next()?).into_iter();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(n: u16) -> Ipv6Addr {
        Ipv6Addr::from(u128::from(n) << 40)
    }

    fn is_sound(pages: &Pages<u32>) {
        let mut last = None;
        for (key, page) in &pages.pages {
            assert!(!page.is_empty() && page.len() <= PAGE_ENTRIES_MAX);
            assert!(page.first().is_some_and(|(first, _)| key <= first));
            assert!(page.iter().all(|(key, value)| value.is_some() || pages.gap == Some(*key)));
            assert!(last.is_none_or(|last| last < *key));
            assert!(page.is_sorted_by(|(one, _), (other, _)| one < other));
            last = page.last().map(|(last, _)| *last);
        }
        assert_eq!(pages.len, pages.iter().count());
    }

    proptest! {
        /// Whatever is done, it is an ordered map, and a copy keeps what it had.
        #[test]
        fn like_an_ordered_map(
            steps in proptest::collection::vec((0..5_u8, 0..400_u16, any::<u32>()), 0..2000),
        ) {
            let (mut pages, mut model) = (Pages::default(), BTreeMap::new());
            let mut copy: Option<(Pages<u32>, BTreeMap<Ipv6Addr, u32>)> = None;
            for (step, n, value) in steps {
                let address = address(n);
                match step {
                    0 => prop_assert_eq!(pages.remove(&address), model.remove(&address)),
                    1 => {
                        if let Some(known) = pages.get_mut(&address) {
                            *known = value;
                        }
                        model.entry(address).and_modify(|known| *known = value);
                    }
                    2 if value % 50 == 0 => copy = Some((pages.clone(), model.clone())),
                    _ => prop_assert_eq!(pages.insert(address, value), model.insert(address, value)),
                }
                prop_assert_eq!(pages.get(&address), model.get(&address));
            }
            is_sound(&pages);
            let from = address(200);
            for start in [Bound::Included(from), Bound::Excluded(from), Bound::Unbounded] {
                let expected = model.range((start, Bound::Unbounded));
                prop_assert!(pages.from(start).eq(expected.map(|(address, value)| (*address, value))));
            }
            let rebuilt = model.iter().fold(Pages::default(), |mut pages, (address, value)| {
                pages.insert(*address, *value);
                pages
            });
            prop_assert_eq!(&pages, &rebuilt);
            prop_assert!(pages.into_iter().eq(model));
            if let Some((copy, model)) = copy {
                is_sound(&copy);
                prop_assert!(copy.into_iter().eq(model));
            }
        }
    }

    #[test]
    fn addresses_in_order_fill_their_pages_and_a_copy_shares_them() {
        let mut pages = Pages::default();
        for n in 0..640 {
            pages.insert(address(n), u32::from(n));
        }
        assert_eq!(pages.pages.len(), 10);
        let copy = pages.clone();
        pages.insert(address(100), 7);
        let shared = pages.pages.values().zip(copy.pages.values());
        assert_eq!(shared.filter(|(one, other)| Arc::ptr_eq(one, other)).count(), 9);
        assert_eq!((copy.get(&address(100)), pages.get(&address(100))), (Some(&100), Some(&7)));
    }
}
