//! Places of next hops: which router has which, and what refers to it.
//!
//! A place that nothing refers to any more rests before another router gets it: the program may just
//! have read a line that named it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv6Addr,
};

use crate::program::NEXT_HOPS_MAX;

/// A router on a link: interface index and address.
pub type Router = (u32, Ipv6Addr);

/// See the module.
#[derive(Debug)]
pub(crate) struct Hops {
    routers: BTreeMap<Router, u8>,
    /// Lines, prefixes and routes that name each place.
    uses: Vec<u32>,
    /// Places that had a router until the last [`Self::tidy`].
    resting: BTreeSet<u8>,
}

impl Default for Hops {
    fn default() -> Self {
        let uses = vec![0; NEXT_HOPS_MAX];
        Self { routers: BTreeMap::new(), uses, resting: BTreeSet::new() }
    }
}

impl Hops {
    /// Routers with their places.
    pub(crate) fn routers(&self) -> impl Iterator<Item = (Router, u8)> {
        self.routers.iter().map(|(router, place)| (*router, *place))
    }

    /// The place of a router.
    pub(crate) fn known(&self, router: Router) -> Option<u8> {
        self.routers.get(&router).copied()
    }

    /// Gives a router a place that nobody has; `None` when there is none.
    pub(crate) fn give(&mut self, router: Router) -> Option<u8> {
        let taken: BTreeSet<u8> = self.routers.values().copied().collect();
        let is_free = |place: &u8| {
            !taken.contains(place) && !self.resting.contains(place) && !self.is_used(*place)
        };
        let place = (0..=u8::MAX).find(is_free)?;
        self.routers.insert(router, place);
        Some(place)
    }

    /// A router has this place since before.
    pub(crate) fn recall(&mut self, router: Router, place: u8) {
        self.routers.insert(router, place);
    }

    /// Something names a place.
    pub(crate) fn take(&mut self, place: u8) {
        if let Some(uses) = self.uses.get_mut(usize::from(place)) {
            *uses += 1;
        }
    }

    /// Something does not name it any more.
    pub(crate) fn leave(&mut self, place: u8) {
        if let Some(uses) = self.uses.get_mut(usize::from(place)) {
            *uses = uses.saturating_sub(1);
        }
    }

    fn is_used(&self, place: u8) -> bool {
        self.uses.get(usize::from(place)).is_some_and(|uses| *uses > 0)
    }

    /// Takes the places that nothing names from their routers, and says which they are. They may be
    /// given again after the next call.
    pub(crate) fn tidy(&mut self) -> BTreeSet<u8> {
        let unused = self.routers.values().copied().filter(|place| !self.is_used(*place));
        let unused: BTreeSet<u8> = unused.collect();
        self.routers.retain(|_, place| !unused.contains(place));
        self.resting = unused.clone();
        unused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(host: u16) -> Router {
        (2, Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, host))
    }

    #[test]
    fn a_place_is_given_again_only_after_nothing_names_it_and_a_rest() {
        let mut hops = Hops::default();
        for host in 0..256 {
            let place = hops.give(router(host)).unwrap();
            hops.take(place);
        }
        assert_eq!(hops.give(router(1000)), None);
        hops.take(7);
        hops.leave(7);
        assert!(hops.tidy().is_empty(), "two named it, and one still does");
        hops.leave(7);
        assert_eq!(hops.give(router(1000)), None, "its router may come back");
        assert_eq!(hops.tidy(), [7].into());
        assert_eq!(hops.known(router(7)), None);
        assert_eq!(hops.give(router(1000)), None, "it rests");
        assert!(hops.tidy().is_empty());
        assert_eq!(hops.give(router(1000)), Some(7));
        assert_eq!(hops.known(router(1000)), Some(7));
    }

    #[test]
    fn what_comes_and_goes_for_ever_finds_places_and_never_two_one() {
        let mut hops = Hops::default();
        let mut random = 1_u64;
        let mut named: BTreeMap<Router, u8> = BTreeMap::new();
        for step in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let router = router(u16::try_from(random >> 54).unwrap());
            if let Some(place) = named.remove(&router) {
                assert_eq!(hops.known(router), Some(place));
                hops.leave(place);
            } else if named.len() < 100 {
                let place = hops.known(router).or_else(|| hops.give(router)).unwrap();
                assert!(!named.values().any(|other| *other == place));
                hops.take(place);
                named.insert(router, place);
            }
            if step % 50 == 0 {
                hops.tidy();
            }
        }
    }
}
