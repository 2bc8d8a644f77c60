//! Events of a run, handed to every invariant.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use homeport_api::binding::Home;
use homeport_binding::{Batch, BindingCache, Verdict};
use homeport_wire::{Lifetime, Sequence, Status};

use crate::invariants::{self, Invariant};
use crate::process;
use crate::trace::Trace;

/// A log entry that a replica is the first to apply.
pub(crate) struct Applied<'a> {
    pub(crate) index: u64,
    pub(crate) batch: &'a Batch,
    pub(crate) verdicts: &'a [Verdict],
    pub(crate) after: &'a BindingCache,
}

/// A Binding Acknowledgement that left a front-end.
#[derive(Clone, Debug)]
pub(crate) struct Acknowledged {
    pub(crate) home_address: Ipv6Addr,
    pub(crate) status: Status,
    pub(crate) sequence: Sequence,
    pub(crate) lifetime: Lifetime,
    pub(crate) revision: u64,
}

/// Something that an invariant may look at.
pub(crate) enum Event<'a> {
    /// A replica applies an entry with this content.
    Entry { replica: u64, index: u64, content: u64 },
    /// And is the first to do so.
    Applied(Applied<'a>),
    /// A replica's state at an index, as a digest.
    State { replica: u64, index: u64, digest: u64 },
    /// An acknowledgement was sent.
    Acknowledged(&'a Acknowledged),
    /// A subscriber holds what it takes for the state of a revision.
    Feed { subscriber: usize, revision: u64, homes: &'a BTreeMap<Ipv6Addr, Home> },
    /// A linearizable read that began when `at_least` had been acknowledged.
    Read { replica: u64, revision: u64, at_least: u64 },
    /// What a replica says of itself.
    Status { replica: u64, term: u64 },
    /// A replica ended by itself.
    Ended { replica: u64, why: &'a str, expected: bool },
    /// All faults are over, and this was not reached in time.
    NotConverged { what: &'a str },
}

/// A property that did not hold.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Violation {
    /// The invariant's name.
    pub(crate) invariant: String,
    /// When, in milliseconds of the run.
    pub(crate) at_ms: u64,
    /// What was seen.
    pub(crate) detail: String,
}

/// All invariants. Clones share them.
#[derive(Clone)]
pub(crate) struct Checks(Arc<Mutex<Inner>>);

struct Inner {
    invariants: Vec<Box<dyn Invariant>>,
    violations: Vec<Violation>,
    trace: Trace,
    newest: u64,
    acknowledged: u64,
    acknowledgements: u64,
    /// Where each replica and each subscriber stands.
    replicas: BTreeMap<u64, u64>,
    subscribers: BTreeMap<usize, u64>,
}

impl Checks {
    pub(crate) fn new(trace: Trace) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            invariants: invariants::all(),
            violations: Vec::new(),
            trace,
            newest: 0,
            acknowledged: 0,
            acknowledgements: 0,
            replicas: BTreeMap::new(),
            subscribers: BTreeMap::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn see(&self, event: &Event<'_>) {
        let inner = &mut *self.lock();
        if let Event::Acknowledged(ack) = event {
            inner.acknowledged = inner.acknowledged.max(ack.revision);
            inner.acknowledgements += u64::from(ack.status.is_accepted());
        }
        for invariant in &mut inner.invariants {
            if let Err(detail) = invariant.see(event) {
                let name = invariant.name().to_owned();
                inner.trace.event(&format!("VIOLATION of {name}: {detail}"));
                let at_ms = process::now_ms();
                inner.violations.push(Violation { invariant: name, at_ms, detail });
            }
        }
    }

    /// The newest index that any replica has reached.
    pub(crate) fn newest(&self) -> u64 {
        self.lock().newest
    }

    /// The newest revision that was acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.lock().acknowledged
    }

    /// How many Binding Updates were acknowledged and accepted.
    pub(crate) fn acknowledgements(&self) -> u64 {
        self.lock().acknowledgements
    }

    /// A replica has applied this index.
    pub(crate) fn reached(&self, replica: u64, index: u64) {
        let mut inner = self.lock();
        inner.newest = inner.newest.max(index);
        inner.replicas.insert(replica, index);
    }

    /// A subscriber holds the state of this revision.
    pub(crate) fn subscriber_reached(&self, subscriber: usize, revision: u64) {
        self.lock().subscribers.insert(subscriber, revision);
    }

    /// Where replicas stand, and where subscribers do.
    pub(crate) fn stand(&self) -> (BTreeMap<u64, u64>, BTreeMap<usize, u64>) {
        let inner = self.lock();
        (inner.replicas.clone(), inner.subscribers.clone())
    }

    pub(crate) fn violations(&self) -> Vec<Violation> {
        self.lock().violations.clone()
    }

    pub(crate) fn has_failed(&self) -> bool {
        !self.lock().violations.is_empty()
    }
}
