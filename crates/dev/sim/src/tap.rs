//! Stands between each replica's log and its state machine: what it sees goes to the invariants.

use std::fmt::Write as _;

use homeport_api::convert;
use homeport_binding::{Batch, BindingCache, StateRecord, Verdict};
use homeport_store::Tap;

use crate::bugs::Bug;
use crate::checks::{Applied, Checks, Event};
use crate::lies;
use crate::trace::Fnv;

/// A state's digest is taken at every so many indexes: it costs more than all else.
const STATES_EVERY: u64 = 4;

pub(crate) struct SimTap {
    pub(crate) replica: u64,
    pub(crate) checks: Checks,
    pub(crate) bug: Option<Bug>,
}

impl Tap for SimTap {
    fn apply(&mut self, cache: &mut BindingCache, index: u64, batch: Batch) -> Vec<Verdict> {
        let content = Fnv::of(&convert::encode_batch(batch.clone()));
        let is_first = index > self.checks.newest();
        self.checks.see(&Event::Entry { replica: self.replica, index, content });
        let verdicts = lies::apply(self.bug, cache, index, batch.clone());
        if is_first {
            let applied = Applied { index, batch: &batch, verdicts: &verdicts, after: cache };
            self.checks.see(&Event::Applied(applied));
        }
        self.reached(cache);
        verdicts
    }

    fn moved(&mut self, cache: &BindingCache, _by_snapshot: bool) {
        self.reached(cache);
    }

    fn records(&self, cache: &BindingCache) -> Vec<StateRecord> {
        lies::records(self.bug, cache)
    }
}

impl SimTap {
    fn reached(&self, cache: &BindingCache) {
        let (replica, index) = (self.replica, cache.revision());
        self.checks.reached(replica, index);
        if index.is_multiple_of(STATES_EVERY) {
            let digest = digest(cache);
            self.checks.see(&Event::State { replica, index, digest });
        }
    }
}

fn digest(cache: &BindingCache) -> u64 {
    let mut digest = Fnv::default();
    for record in cache.records() {
        write!(digest, "{record:?}").unwrap_or_default();
    }
    digest.value()
}
