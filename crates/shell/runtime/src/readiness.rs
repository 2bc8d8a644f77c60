//! Readiness as a set of named latches: ready when all are open.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// What must be so before the process may be given work. Clones share the latches.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    latches: Arc<Mutex<BTreeMap<&'static str, Arc<AtomicBool>>>>,
}

impl Readiness {
    /// A latch by this name, closed when it is new. Asking again for a name gives the same latch.
    pub fn latch(&self, name: &'static str) -> Latch {
        // Only this module locks, and it does not panic while it holds the lock.
        let mut latches = self.latches.lock().unwrap_or_else(PoisonError::into_inner);
        Latch { open: Arc::clone(latches.entry(name).or_default()) }
    }

    /// The names of the latches that are closed, in order of name.
    pub fn pending(&self) -> Vec<&'static str> {
        let latches = self.latches.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = latches.iter().filter(|(_, open)| !open.load(Ordering::Acquire));
        closed.map(|(name, _)| *name).collect()
    }

    /// Whether every latch is open.
    pub fn is_ready(&self) -> bool {
        self.pending().is_empty()
    }
}

/// One condition of readiness. Dropping it leaves it as it is.
#[derive(Clone, Debug)]
pub struct Latch {
    open: Arc<AtomicBool>,
}

impl Latch {
    /// The condition holds.
    pub fn open(&self) {
        self.open.store(true, Ordering::Release);
    }

    /// The condition does not hold any more.
    pub fn close(&self) {
        self.open.store(false, Ordering::Release);
    }

    /// Opens or closes.
    pub fn set(&self, open: bool) {
        self.open.store(open, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_latch_is_open() {
        let readiness = Readiness::default();
        assert!(readiness.is_ready());
        let raft = readiness.latch("raft");
        let feed = readiness.latch("feed");
        assert_eq!(readiness.pending(), ["feed", "raft"]);
        feed.open();
        assert_eq!(readiness.pending(), ["raft"]);
        raft.set(true);
        assert!(readiness.is_ready());
        readiness.latch("feed").close();
        assert_eq!(readiness.clone().pending(), ["feed"]);
    }
}
