//! Forwarders that defend home links, as the leader hears of them on their streams of commands.
//!
//! The lease is in the log; what is here makes it quick. A forwarder that asks for a link that another
//! one defends waits here for its turn. The end of a stream gives back what was asked for on it: the
//! kernel of a process that dies closes its connections. And the defender says up to which revision it
//! answers on the link, which the answer to a mobile node that is back home waits for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use homeport_api::store::SubmitRequest;
use homeport_binding::{Change, Command, Ipv6Prefix, LogTime, Verdict};
use homeport_raft::Role;
use homeport_runtime::{Shutdown, clock};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::{Store, limits};

/// A forwarder that asks for a home link, by its name.
type Asker = (Ipv6Prefix, String);

/// The streams on which home links were asked for last.
#[derive(Clone, Default)]
pub(crate) struct Defenders(Arc<Mutex<Streams>>);

#[derive(Default)]
struct Streams {
    opened: u64,
    by_asker: BTreeMap<Asker, Place>,
}

/// A stream, and the revision that its forwarder has settled.
#[derive(Clone)]
struct Place {
    stream: u64,
    settled: watch::Receiver<u64>,
}

impl Defenders {
    fn lock(&self) -> MutexGuard<'_, Streams> {
        // Each change is one call, so the map is whole after any panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened(&self) -> u64 {
        let mut streams = self.lock();
        streams.opened = streams.opened.wrapping_add(1);
        streams.opened
    }

    /// Forgets an asker that has not asked on a newer stream since.
    fn forget(&self, asker: &Asker, stream: u64) -> bool {
        let mut streams = self.lock();
        let is_latest = streams.by_asker.get(asker).is_some_and(|place| place.stream == stream);
        is_latest && streams.by_asker.remove(asker).is_some()
    }

    fn settled(&self, asker: &Asker) -> Option<watch::Receiver<u64>> {
        self.lock().by_asker.get(asker).map(|place| place.settled.clone())
    }
}

/// One stream of commands; what was asked for on it ends with it.
pub(crate) struct Stream {
    id: u64,
    store: Store,
    shutdown: Shutdown,
    settled: watch::Sender<u64>,
    asked: Mutex<BTreeSet<Asker>>,
}

impl Stream {
    pub(crate) fn open(store: Store, shutdown: Shutdown) -> Self {
        let (id, settled) = (store.defenders.opened(), watch::Sender::new(0));
        Self { id, store, shutdown, settled, asked: Mutex::default() }
    }

    /// Takes note of what the request says about home links; the request, if there is more in it.
    pub(crate) fn heard(&self, request: SubmitRequest) -> Option<SubmitRequest> {
        let Some(revision) = request.settled_revision else { return Some(request) };
        self.settled.send_if_modified(|settled| {
            let is_newer = *settled < revision;
            *settled = revision.max(*settled);
            is_newer
        });
        request.command.is_some().then_some(request)
    }

    /// A forwarder asks for a home link here, or gives it back.
    pub(crate) fn asked(&self, command: &Command) {
        let asked = || self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        match command {
            Command::DefendHomeLink { prefix, forwarder } => {
                let (asker, mut asked) = ((*prefix, forwarder.clone()), asked());
                if asked.len() < limits::HOME_LINKS_PER_STREAM_MAX || asked.contains(&asker) {
                    let place = Place { stream: self.id, settled: self.settled.subscribe() };
                    self.store.defenders.lock().by_asker.insert(asker.clone(), place);
                    asked.insert(asker);
                }
            }
            Command::ReleaseHomeLink { prefix, forwarder } => {
                let asker = (*prefix, forwarder.clone());
                asked().remove(&asker);
                self.store.defenders.forget(&asker, self.id);
            }
            _ => {}
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let asked = self.asked.get_mut().unwrap_or_else(PoisonError::into_inner);
        for asker in std::mem::take(asked) {
            // A replica that ends, or that leads no more, closes streams of forwarders that live.
            let is_over = self.store.defenders.forget(&asker, self.id);
            let leads = self.store.node.status().role == Role::Leader;
            if !is_over || !leads || self.shutdown.is_begun() {
                continue;
            }
            let (prefix, forwarder) = asker;
            tracing::info!(%prefix, %forwarder, "its stream has ended: the home link is free");
            let command = Command::ReleaseHomeLink { prefix, forwarder };
            match self.store.proposer.enqueue(command) {
                // Nobody waits for that; what is lost on the way runs out.
                Ok(_verdict) => {
                    self.store.metrics.leases_given_back.inc();
                }
                Err(error) => tracing::warn!(%error, "a lease has to run out"),
            }
        }
    }
}

/// Returns when nobody else defends the link, at the latest after a while.
pub(crate) async fn until_free(store: &Store, prefix: Ipv6Prefix, forwarder: &str) {
    let end = Instant::now() + limits::LEASE_WAIT_MAX;
    let is_taken = || {
        let now = LogTime(clock::unix_ms());
        let taken = store.node.read(|machine| {
            let holder = machine.cache.defender(prefix);
            holder.is_some_and(|holder| holder.forwarder != forwarder && holder.ends > now)
        });
        taken && store.node.status().role == Role::Leader
    };
    while is_taken() && Instant::now() < end {
        sleep(limits::LEASE_LOOK_INTERVAL).await;
    }
}

/// A home address that a Binding Update has left to its mobile node, on a real home link.
pub(crate) struct Left {
    /// Of the verdict.
    revision: u64,
    /// Who defends the link.
    asker: Option<Asker>,
}

/// What the verdict on a Binding Update leaves to its mobile node; `None` is usual.
pub(crate) fn left(store: &Store, home_address: Ipv6Addr, verdict: &Verdict) -> Option<Left> {
    let revision = verdict.revision;
    store.node.read(|machine| {
        let prefix = machine.cache.home_link_left_to(home_address, &verdict.outcome)?;
        if !machine.changed_at(revision, Change::Home(home_address)) {
            return None;
        }
        let holder = machine.cache.defender(prefix);
        Some(Left { revision, asker: holder.map(|holder| (prefix, holder.forwarder.clone())) })
    })
}

impl Left {
    /// Returns when the defender has stopped to answer for the home address, at the latest after a while.
    pub(crate) async fn settled(self, store: &Store) {
        let revision = self.revision;
        let how = match self.asker.and_then(|asker| store.defenders.settled(&asker)) {
            Some(mut settled) => {
                let reached = settled.wait_for(|settled| *settled >= revision);
                match timeout(limits::DEFENDER_WAIT_MAX, reached).await {
                    Ok(Ok(_)) => "left",
                    Ok(Err(_gone)) => "no_defender",
                    Err(_late) => "late",
                }
            }
            None => "no_defender",
        };
        store.metrics.waits_for_defender.count(how);
    }
}
