//! What endpoints are asked for by: the mobile nodes whose associations were found at the last look.

use std::{
    collections::BTreeMap,
    net::Ipv6Addr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use homeport_hostnet::Protected;

use crate::pairs::Found;

/// As front-ends name a mobile node's IKE association.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Peer {
    pub(crate) home_address: Ipv6Addr,
    pub(crate) home_agent: Ipv6Addr,
    pub(crate) reqid: u32,
}

/// What the daemon and the kernel know it by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Association {
    /// The newest pair was negotiated under this one.
    pub(crate) ike_id: u32,
    /// What the newest pair protects.
    pub(crate) protected: Protected,
    age: u32,
    /// Newest binding that an endpoint was asked for with.
    revision: u64,
}

/// Why there is none to work on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unclaimed {
    Unknown,
    /// A newer Binding Update has been here.
    Outdated,
}

#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<BTreeMap<Peer, Association>>);

impl Known {
    /// Takes what was found now; who is still there keeps the revision.
    pub(crate) fn replace(&self, found: &Found) {
        let mut known = self.lock();
        let mut new: BTreeMap<Peer, Association> = BTreeMap::new();
        for pair in found.pairs.values() {
            let peer = Peer {
                home_address: pair.home_address,
                home_agent: pair.home_agent,
                reqid: pair.reqid,
            };
            let association = new.entry(peer).or_insert_with(|| Association {
                ike_id: pair.ike_id,
                protected: pair.protected(),
                age: pair.age,
                revision: known.get(&peer).map_or(0, |before| before.revision),
            });
            if pair.age >= association.age {
                association.age = pair.age;
                association.ike_id = pair.ike_id;
                association.protected = pair.protected();
            }
        }
        *known = new;
    }

    /// The association, for who comes with this binding: the same Binding Update may come twice.
    pub(crate) fn claim(&self, peer: &Peer, revision: u64) -> Result<Association, Unclaimed> {
        let mut known = self.lock();
        let association = known.get_mut(peer).ok_or(Unclaimed::Unknown)?;
        if association.revision > revision {
            return Err(Unclaimed::Outdated);
        }
        association.revision = revision;
        Ok(association.clone())
    }

    /// Whether nobody has come with a newer binding since.
    pub(crate) fn is_newest(&self, peer: &Peer, revision: u64) -> bool {
        self.lock().get(peer).is_some_and(|association| association.revision <= revision)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Peer, Association>> {
        // Each change is one call, so the map is whole after any panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
