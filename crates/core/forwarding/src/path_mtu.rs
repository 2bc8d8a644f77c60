//! Path MTUs towards care-of addresses, as far as they are narrower than the configured one.

use alloc::collections::BTreeMap;
use core::net::IpAddr;

use crate::entry::Millis;
use crate::limits::{IPV4_MTU_MIN, IPV6_MTU_MIN, PATH_MTU_AGE_MS, PATH_MTUS_MAX};

/// What Packet Too Big messages from inside tunnels have taught (RFC 8201).
#[derive(Default, Debug)]
pub(crate) struct PathMtus {
    by_care_of: BTreeMap<IpAddr, Learned>,
}

#[derive(Clone, Copy, Debug)]
struct Learned {
    mtu: usize,
    until: Millis,
}

impl PathMtus {
    /// The path MTU towards a care-of address: the learned one while it is fresh, else
    /// `configured`.
    pub(crate) fn towards(&self, now: Millis, care_of: IpAddr, configured: usize) -> usize {
        match self.by_care_of.get(&care_of) {
            Some(learned) if learned.until > now => learned.mtu.min(configured),
            _ => configured,
        }
    }

    /// Remembers a reported MTU; values below the minimum of the address family count as that
    /// minimum (RFC 8201 §4, RFC 1191 §3). When the table is full and nothing in it is stale, the value is not kept.
    pub(crate) fn learn(&mut self, now: Millis, care_of: IpAddr, mtu: u32) {
        let min = if care_of.is_ipv6() { IPV6_MTU_MIN } else { IPV4_MTU_MIN };
        let mtu = usize::try_from(mtu).unwrap_or(usize::MAX).max(min);
        if self.by_care_of.len() >= PATH_MTUS_MAX && !self.by_care_of.contains_key(&care_of) {
            self.by_care_of.retain(|_, learned| learned.until > now);
            if self.by_care_of.len() >= PATH_MTUS_MAX {
                return;
            }
        }
        let until = Millis(now.0.saturating_add(PATH_MTU_AGE_MS));
        self.by_care_of.insert(care_of, Learned { mtu, until });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn care_of(host: u32) -> IpAddr {
        core::net::Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(host)).into()
    }

    #[test]
    fn a_learned_mtu_only_narrows_and_grows_old() {
        let mut mtus = PathMtus::default();
        assert_eq!(mtus.towards(Millis(0), care_of(1), 1500), 1500);
        mtus.learn(Millis(0), care_of(1), 1400);
        assert_eq!(mtus.towards(Millis(1), care_of(1), 1500), 1400);
        assert_eq!(mtus.towards(Millis(1), care_of(2), 1500), 1500);
        assert_eq!(mtus.towards(Millis(PATH_MTU_AGE_MS), care_of(1), 1500), 1500);
        mtus.learn(Millis(0), care_of(1), 9000);
        assert_eq!(mtus.towards(Millis(1), care_of(1), 1500), 1500);
        mtus.learn(Millis(0), care_of(1), 68);
        assert_eq!(mtus.towards(Millis(1), care_of(1), 1500), 1280);
    }

    #[test]
    fn the_table_is_bounded_and_makes_room_by_age() {
        let mut mtus = PathMtus::default();
        let bound = u32::try_from(PATH_MTUS_MAX).unwrap();
        for host in 0..bound {
            mtus.learn(Millis(0), care_of(host), 1300);
        }
        mtus.learn(Millis(1), care_of(bound), 1300);
        assert_eq!(mtus.towards(Millis(1), care_of(bound), 1500), 1500);
        mtus.learn(Millis(PATH_MTU_AGE_MS), care_of(bound), 1300);
        assert_eq!(mtus.towards(Millis(PATH_MTU_AGE_MS), care_of(bound), 1500), 1300);
        assert_eq!(mtus.by_care_of.len(), 1);
    }
}
