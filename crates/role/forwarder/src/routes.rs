//! Attracts what is served here: routes for home prefixes and home-agent addresses into the TUN.

use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use homeport_hostnet::{Namespace, Network, Route, write_sysctl};
use ipnet::IpNet;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until},
};

use crate::{
    config::{Config, Error, TunConfig},
    destinations::{Changes, Destinations},
    limits,
};

/// Keeps the host's routes like what the table serves.
#[derive(Debug)]
pub(crate) struct Routes {
    network: Network,
    tun: String,
    changes: Handover,
    settled: watch::Sender<u64>,
    wanted: Destinations,
    installed: BTreeSet<IpNet>,
    /// Nothing is to lead here, whatever is wanted.
    withdrawn: bool,
    /// What the host did not want to set when it was asked.
    refused: BTreeSet<IpNet>,
}

/// The engine's end.
#[derive(Debug)]
pub(crate) struct RoutesOutlet {
    changes: Handover,
    /// The host has been asked for all routes of this revision.
    settled: watch::Receiver<u64>,
    /// The last revision that changed any.
    told: u64,
}

/// Hands changes from the engine, which never waits, to the task, which takes all at once: with the
/// revision after them.
#[derive(Clone, Debug, Default)]
struct Handover(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    changes: Mutex<(Changes, u64)>,
    /// No route is to lead here.
    withdrawn: AtomicBool,
    there_are: Notify,
}

impl RoutesOutlet {
    fn new(changes: Handover) -> (Self, watch::Sender<u64>) {
        let (settled_in, settled) = watch::channel(0);
        (Self { changes, settled, told: 0 }, settled_in)
    }

    /// Tells what changed until the table reached `revision`. What needs no other routes costs
    /// nothing, and is settled at once.
    pub(crate) fn tell(&mut self, changes: Changes, revision: u64) {
        if changes.is_empty() {
            return;
        }
        self.told = revision;
        let mut waiting = self.changes.0.changes.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.0.follow(changes);
        waiting.1 = revision;
        self.changes.0.there_are.notify_one();
    }

    /// Takes all routes away, or brings those back that are wanted.
    pub(crate) fn withdraw(&mut self, withdraws: bool) {
        self.changes.0.withdrawn.store(withdraws, Ordering::Release);
        self.changes.0.there_are.notify_one();
    }

    /// Up to which revision packets come here as they must, when the table has reached `reached`.
    pub(crate) fn settled(&self, reached: u64) -> u64 {
        let settled = *self.settled.borrow();
        if settled >= self.told { reached } else { settled.min(reached) }
    }

    /// Until more is settled; for ever when nobody sets routes any more. Cancel-safe.
    pub(crate) async fn more_settled(&mut self) {
        if self.settled.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Routes {
    /// `None` when no TUN is configured, or its routes are somebody else's.
    pub(crate) async fn open(config: &Config) -> Result<Option<(Self, RoutesOutlet)>, Error> {
        let Some(tun) = config.tun.as_ref() else { return Ok(None) };
        let host = |source| Error::Host { key: "tun", source };
        forwarding_on(tun).map_err(host)?;
        if !tun.routes {
            return Ok(None);
        }
        let changes = Handover::default();
        let (outlet, settled) = RoutesOutlet::new(changes.clone());
        let routes = Self {
            network: Network::open(&tun.namespace()).map_err(host)?,
            tun: tun.name.clone(),
            changes,
            settled,
            wanted: Destinations::default(),
            installed: BTreeSet::new(),
            refused: BTreeSet::new(),
            withdrawn: false,
        };
        Ok(Some((routes, outlet)))
    }

    /// Follows what is served, for ever.
    pub(crate) async fn run(mut self) {
        let mut retry_at = None;
        loop {
            tokio::select! {
                () = self.changes.0.there_are.notified() => self.follow().await,
                () = at(retry_at) => {
                    retry_at = None;
                    let refused = std::mem::take(&mut self.refused);
                    self.settle(&refused).await;
                }
            }
            if self.refused.is_empty() {
                retry_at = None;
            } else if retry_at.is_none() {
                retry_at = Some(Instant::now() + limits::ROUTES_RETRY_PAUSE);
            }
        }
    }

    /// A revision is settled also when the host has refused a route: the answers of all others do
    /// not wait until it is set some time later.
    async fn follow(&mut self) {
        let (changes, revision) = {
            let shared = &self.changes.0.changes;
            std::mem::take(&mut *shared.lock().unwrap_or_else(PoisonError::into_inner))
        };
        let mut touched = self.wanted.follow(changes);
        let withdrawn = self.changes.0.withdrawn.load(Ordering::Acquire);
        if std::mem::replace(&mut self.withdrawn, withdrawn) != withdrawn {
            touched.extend(self.wanted.all());
            touched.extend(self.installed.iter());
        }
        self.settle(&touched).await;
        self.settled.send_if_modified(|settled| {
            let is_newer = *settled < revision;
            *settled = revision.max(*settled);
            is_newer
        });
    }

    /// Makes the host's routes to these destinations as they are wanted: new ones first, so that
    /// what lay in a network that goes is not without a route in between.
    async fn settle(&mut self, touched: &BTreeSet<IpNet>) {
        let is_wanted = |it: &&IpNet| !self.withdrawn && self.wanted.contains(it);
        for destination in touched.iter().filter(is_wanted) {
            if self.installed.contains(destination) {
                continue;
            }
            match self.network.replace_route(&self.route(*destination)).await {
                Ok(()) => {
                    self.installed.insert(*destination);
                }
                Err(error) => {
                    self.refused.insert(*destination);
                    tracing::warn!(%error, "packets for a home prefix do not come here");
                }
            }
        }
        for destination in touched.iter().filter(|it| !is_wanted(it)) {
            if !self.installed.remove(destination) {
                continue;
            }
            match self.network.delete_route(&self.route(*destination)).await {
                Err(error) if !error.is_not_found() => {
                    tracing::warn!(%error, "a route is left behind");
                }
                Ok(()) | Err(_) => {}
            }
        }
    }

    fn route(&self, destination: IpNet) -> Route {
        Route::to(destination).device(&self.tun)
    }
}

/// Until a moment; for ever without one.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// What comes out of the TUN is to be routed on. A namespace that was given is ours to set up; on
/// the host itself forwarding is a decision of its operator.
fn forwarding_on(tun: &TunConfig) -> Result<(), homeport_hostnet::Error> {
    const PARAMETERS: [&str; 2] = ["net.ipv6.conf.all.forwarding", "net.ipv4.ip_forward"];
    let namespace = tun.namespace();
    for parameter in PARAMETERS {
        if namespace != Namespace::Current {
            write_sysctl(&namespace, parameter, "1")?;
            continue;
        }
        let path = format!("/proc/sys/{}", parameter.replace('.', "/"));
        let value = fs::read_to_string(path).unwrap_or_default();
        if value.trim() == "0" {
            tracing::warn!("{parameter} is 0: the kernel will not send on what leaves the TUN");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use homeport_forwarding::{HomePrefix, Table};

    use super::*;

    fn changes(prefix: u16) -> Changes {
        let mut table = Table::new();
        table.set_prefix(HomePrefix {
            prefix: [0x2001, 0xdb8, 0, prefix, 0, 0, 0, 0].into(),
            prefix_len: 64,
            home_agent: [0x2001, 0xdb8, 0, prefix, 0, 0, 0, 1].into(),
            home_agent_v4: None,
            pool_v4: None,
            real_home_link: false,
        });
        Changes::of(&mut table, true, false)
    }

    #[test]
    fn a_revision_is_settled_once_the_routes_of_all_before_are() {
        let (mut outlet, settled) = RoutesOutlet::new(Handover::default());
        assert_eq!(outlet.settled(5), 5, "nothing was told, nothing is to be waited for");
        outlet.tell(Changes::default(), 6);
        assert_eq!(outlet.settled(6), 6, "no route is another");
        outlet.tell(changes(1), 7);
        assert_eq!(outlet.settled(7), 0);
        settled.send_replace(7);
        assert_eq!(outlet.settled(7), 7);
        outlet.tell(Changes::default(), 8);
        assert_eq!(outlet.settled(8), 8);

        outlet.tell(changes(2), 9);
        outlet.tell(changes(3), 10);
        assert_eq!(outlet.settled(12), 7);
        settled.send_replace(9);
        assert_eq!(outlet.settled(12), 9, "those of revision 10 are still being set");
        settled.send_replace(10);
        assert_eq!(outlet.settled(12), 12);
    }

    #[tokio::test]
    async fn the_task_takes_all_changes_at_once_with_the_last_revision() {
        let handover = Handover::default();
        let (mut outlet, settled) = RoutesOutlet::new(handover.clone());
        outlet.tell(changes(1), 3);
        outlet.tell(changes(2), 4);
        handover.0.there_are.notified().await;
        let (taken, revision) = std::mem::take(&mut *handover.0.changes.lock().unwrap());
        let mut wanted = Destinations::default();
        wanted.follow(taken);
        assert_eq!(revision, 4);
        let has = |net: &str| wanted.contains(&net.parse().unwrap());
        assert!(has("2001:db8:0:2::/64") && !has("2001:db8:0:1::/64"), "prefixes come as a whole");

        settled.send_replace(4);
        outlet.more_settled().await;
        assert_eq!(outlet.settled(4), 4);
    }
}
