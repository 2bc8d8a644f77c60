//! What the engine knows of home links, on its way to their task.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

use homeport_binding::{HomePrefix, Ipv6Prefix, Probe};
use tokio::sync::Notify;

/// A home address, as far as a home link is concerned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct OnLink {
    /// A mobile router's (RFC 3963 §6.2).
    pub(crate) router: bool,
    /// The link-local address is defended as well.
    pub(crate) link_local: bool,
    /// Its IPv4 home address, when that is of the link too (RFC 5555 §4.1: proxy ARP).
    pub(crate) address_v4: Option<Ipv4Addr>,
    /// The end of the last binding, on the engine's clock; 0 without bindings.
    pub(crate) until_ms: u64,
    /// The mobile node is at home: the link-layer address that it named, or none (RFC 5648 §6.3).
    pub(crate) at_home: Option<Vec<u8>>,
    /// Duplicate Address Detection is asked for.
    pub(crate) probe: Option<Probe>,
}

/// What is other than before. Later changes of the same thing replace earlier ones, so there are never
/// more than things.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Changes {
    /// What is not named does not exist.
    pub(crate) anew: bool,
    /// With these the links are as this revision wants them; 0 while there is more to come.
    pub(crate) revision: u64,
    /// `None`: deleted.
    pub(crate) prefixes: BTreeMap<Ipv6Prefix, Option<HomePrefix>>,
    /// `None`: neither bound nor looked for.
    pub(crate) homes: BTreeMap<Ipv6Addr, Option<OnLink>>,
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        !self.anew && self.revision == 0 && self.prefixes.is_empty() && self.homes.is_empty()
    }

    /// Adds later ones.
    pub(crate) fn follow(&mut self, later: Self) {
        if later.anew {
            *self = later;
        } else {
            self.revision = self.revision.max(later.revision);
            self.prefixes.extend(later.prefixes);
            self.homes.extend(later.homes);
        }
    }
}

/// Hands changes from the engine, which never waits, to the task, which takes all at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handover(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    changes: Mutex<Changes>,
    there_are: Notify,
}

impl Handover {
    pub(crate) fn put(&self, changes: Changes) {
        if !changes.is_empty() {
            self.0.changes.lock().unwrap_or_else(PoisonError::into_inner).follow(changes);
            self.0.there_are.notify_one();
        }
    }

    pub(crate) fn take(&self) -> Changes {
        std::mem::take(&mut *self.0.changes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Until something was put. Cancel-safe.
    pub(crate) async fn changed(&self) {
        self.0.there_are.notified().await;
    }
}
