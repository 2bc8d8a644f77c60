//! The fast path beside the engine: follows the table, the host's routes and its neighbours.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv6Addr,
    sync::Arc,
};

use homeport_fastpath::{
    self as fastpath, AGENTS_MAX, Cause, FastPath, Mode, NEXT_HOPS_MAX, NextHop, Place, Settings,
    monotonic_ms,
};
use homeport_forwarding::{Forwarding, Millis, Table};
use homeport_hostnet::{Namespace, Neighbourhood, Network, Router};
use homeport_runtime::Task;
use homeport_runtime::clock::Monotonic;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use crate::{
    config::{Config, Error, TunConfig, XdpConfig, XdpMode},
    limits,
    metrics::Metrics,
};

/// See the module. The program is off the interfaces when this is dropped.
#[derive(Debug)]
pub(crate) struct Fast {
    path: FastPath,
    seen: watch::Receiver<Neighbourhood>,
    known: Neighbourhood,
    /// Places of next hops, in the order in which they were met.
    hops: Vec<Router>,
    /// Home addresses outside every home prefix.
    strays: BTreeSet<Ipv6Addr>,
    /// The program was given up, and its lines are not kept up to date.
    is_off: bool,
    hop_limit: u8,
    clock_began_ms: u64,
    counted: BTreeMap<Cause, u64>,
    metrics: Arc<Metrics>,
    _looks: Task,
}

impl Fast {
    /// Attaches what is configured; `None` where there is none, which a line says.
    pub(crate) fn open(
        config: &Config,
        hop_limit: u8,
        clock: Monotonic,
        metrics: Arc<Metrics>,
    ) -> Result<Option<Self>, Error> {
        let Some(xdp) = config.xdp.as_ref().filter(|xdp| xdp.mode != XdpMode::None) else {
            return Ok(None);
        };
        let place = |found, expected| Error::FastPathPlace { found, expected };
        let tun = config.tun.as_ref();
        let tun = tun.ok_or_else(|| place("there is no TUN", "[tun], for all other packets"))?;
        if xdp.interfaces.is_empty() {
            return Err(place("interfaces is empty", "the name of at least one interface"));
        }
        let path = match attached(xdp, tun) {
            Ok((path, mode)) => {
                tracing::info!(?mode, interfaces = ?xdp.interfaces, "fast path: XDP");
                path
            }
            Err(error) if xdp.mode == XdpMode::Auto => {
                tracing::warn!(%error, "fast path: none, all packets take the TUN");
                return Ok(None);
            }
            Err(source) => return Err(Error::FastPath { source }),
        };
        let host = |source| Error::Host { key: "xdp", source };
        let network = Network::open(&tun.namespace()).map_err(host)?;
        let (out, seen) = watch::channel(Neighbourhood::default());
        Ok(Some(Self {
            path,
            seen,
            known: Neighbourhood::default(),
            hops: Vec::new(),
            strays: BTreeSet::new(),
            is_off: true,
            hop_limit,
            clock_began_ms: monotonic_ms().saturating_sub(clock.now_ms()),
            counted: BTreeMap::new(),
            metrics,
            _looks: Task::spawn("neighbourhood", look(network, out)),
        }))
    }

    /// Until there has been another look at the host.
    pub(crate) async fn looked(&mut self) {
        if self.seen.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Takes note of what was seen of the host, and of what the program has counted.
    pub(crate) fn look(&mut self, forwarding: &Forwarding, now: Millis) {
        self.count();
        let seen = self.seen.borrow_and_update().clone();
        if seen == self.known {
            return;
        }
        let routes_moved = seen.routes != self.known.routes;
        self.known = seen;
        if routes_moved {
            self.rebuild(forwarding, now);
        } else if let Err(error) = self.set_hops() {
            self.give_up(&error);
        }
    }

    /// Tells the program what is served, and writes all lines anew: after a change of prefixes,
    /// routes, or the whole table.
    pub(crate) fn rebuild(&mut self, forwarding: &Forwarding, now: Millis) {
        let table = forwarding.table();
        self.strays.clear();
        let homes: Vec<Ipv6Addr> = table.homes().into_iter().map(|(home, _)| home).collect();
        self.strays.extend(homes.iter().filter(|home| table.prefix_of(**home).is_none()));
        // Off meanwhile: what old lines refer to has changed.
        self.is_off = true;
        if let Err(error) = self.teach(table) {
            return self.give_up(&error);
        }
        let known: BTreeSet<Ipv6Addr> = homes.iter().copied().collect();
        let old: Vec<Ipv6Addr> = self.path.slots().homes().collect();
        for gone in old.into_iter().filter(|home| !known.contains(home)) {
            self.path.slots_mut().remove(gone);
        }
        for home_address in homes {
            self.set_home(forwarding, now, home_address);
        }
        self.is_off = false;
        if let Err(error) = self.teach(table) {
            self.give_up(&error);
        }
    }

    /// Follows changes of some home addresses; `networks`: mobile networks have come or gone.
    pub(crate) fn follow(
        &mut self,
        forwarding: &Forwarding,
        now: Millis,
        changed: &[Ipv6Addr],
        networks: bool,
    ) {
        if self.is_off {
            return self.rebuild(forwarding, now);
        }
        let table = forwarding.table();
        let mut places_moved = networks;
        for home_address in changed {
            let is_stray =
                table.contains(*home_address) && table.prefix_of(*home_address).is_none();
            places_moved |= if is_stray {
                self.strays.insert(*home_address)
            } else {
                self.strays.remove(home_address)
            };
        }
        if places_moved && let Err(error) = self.teach(table) {
            return self.give_up(&error);
        }
        for home_address in changed {
            self.set_home(forwarding, now, *home_address);
        }
    }

    /// Follows what packets have taught the core.
    pub(crate) fn follow_moves(&mut self, forwarding: &mut Forwarding, now: Millis) {
        match forwarding.take_moved() {
            _ if self.is_off => {}
            Some(moved) => {
                for home_address in moved {
                    self.set_home(forwarding, now, home_address);
                }
            }
            None => self.rebuild(forwarding, now),
        }
    }

    fn set_home(&mut self, forwarding: &Forwarding, now: Millis, home_address: Ipv6Addr) {
        let fast = forwarding.fast(now, home_address);
        if self.path.set_home(home_address, fast.as_ref(), self.clock_began_ms).is_err() {
            self.metrics.fast_refused.inc();
        }
    }

    fn teach(&mut self, table: &Table) -> Result<(), fastpath::Error> {
        let agents: BTreeSet<Ipv6Addr> = table.prefixes().map(|it| it.home_agent).collect();
        if agents.len() > AGENTS_MAX {
            let (what, count, max) = ("home agents", agents.len(), AGENTS_MAX);
            return Err(fastpath::Error::TooMany { what, count, max });
        }
        let networks = table.networks();
        let look_at_care_of = !networks.is_empty() || !self.strays.is_empty();
        let mut served: BTreeMap<(u8, Ipv6Addr), Place> = BTreeMap::new();
        let prefixes = table.prefixes().map(|it| (it.prefix_len.min(128), it.prefix));
        let hosts = agents.iter().chain(&self.strays).map(|address| (128, *address));
        let networks = networks.iter().map(|it| (it.prefix_len.min(128), it.prefix));
        served
            .extend(prefixes.chain(hosts).chain(networks).map(|key| (masked(key), Place::Served)));
        let mut places = served.clone();
        for (destination, router) in &self.known.routes {
            let key = (destination.prefix_len(), destination.network());
            let inside = (0..=key.0).any(|len| served.contains_key(&masked((len, key.1))));
            if !inside {
                let hop = router.and_then(|router| place_of(&mut self.hops, router));
                places.insert(key, hop.map_or(Place::Served, Place::Beyond));
            }
        }
        self.path.set_places(places)?;
        self.set_hops()?;
        self.path.set_settings(Settings {
            on: !self.is_off && !agents.is_empty(),
            agents: agents.into_iter().collect(),
            hop_limit: self.hop_limit,
            look_at_care_of,
        })
    }

    fn set_hops(&mut self) -> Result<(), fastpath::Error> {
        for (place, router) in (0..=u8::MAX).zip(&self.hops) {
            let to = self.known.neighbours.get(router).copied();
            let from = self.known.interfaces.get(&router.0).copied();
            let (interface, (source, mtu)) = match (to, from) {
                (Some(_), Some(from)) => (router.0, from),
                _ => (0, ([0; 6], 0)),
            };
            let destination = to.unwrap_or_default();
            self.path.set_next_hop(place, NextHop { interface, mtu, destination, source })?;
        }
        Ok(())
    }

    /// What the program cannot be told makes it wrong: it is switched off, and tried again with the
    /// next change.
    fn give_up(&mut self, error: &fastpath::Error) {
        self.is_off = true;
        tracing::error!(%error, "the fast path is off, all packets take the TUN");
        let off = self.path.set_settings(Settings::default());
        if off.is_err()
            && let Err(error) = self.path.detach_all()
        {
            tracing::error!(%error, "the fast path cannot be taken away");
        }
    }

    fn count(&mut self) {
        let counters = match self.path.counters() {
            Ok(counters) => counters,
            Err(error) => {
                tracing::warn!(%error, "the fast path cannot be counted");
                return;
            }
        };
        for (cause, total) in counters {
            let before = self.counted.insert(cause, total).unwrap_or(0);
            self.metrics.count_fast(cause.verdict(), cause.name(), total.saturating_sub(before));
        }
    }
}

fn attached(xdp: &XdpConfig, tun: &TunConfig) -> Result<(FastPath, Mode), fastpath::Error> {
    let mut path = FastPath::load(xdp.home_addresses_max)?;
    let modes: &[Mode] = match xdp.mode {
        XdpMode::Auto => &[Mode::Native, Mode::Generic],
        XdpMode::Native => &[Mode::Native],
        XdpMode::Generic => &[Mode::Generic],
        XdpMode::None => &[],
    };
    let mut failed = fastpath::Error::NotBuilt;
    for mode in modes {
        match attach_all(&mut path, &tun.namespace(), &xdp.interfaces, *mode) {
            Ok(()) => return Ok((path, *mode)),
            Err(error) => {
                path.detach_all()?;
                failed = error;
            }
        }
    }
    Err(failed)
}

fn attach_all(
    path: &mut FastPath,
    namespace: &Namespace,
    interfaces: &[String],
    mode: Mode,
) -> Result<(), fastpath::Error> {
    let attach = || interfaces.iter().try_for_each(|interface| path.attach(interface, mode));
    namespace.run(attach).unwrap_or_else(|error| {
        let source = std::io::Error::other(error);
        Err(fastpath::Error::System { what: "enter the namespace", source })
    })
}

/// The place of a next hop; `None` when there are too many.
fn place_of(hops: &mut Vec<Router>, router: Router) -> Option<u8> {
    let known = hops.iter().position(|hop| *hop == router);
    let place = known.or_else(|| {
        (hops.len() < NEXT_HOPS_MAX).then(|| {
            hops.push(router);
            hops.len() - 1
        })
    });
    place.and_then(|place| u8::try_from(place).ok())
}

fn masked((len, prefix): (u8, Ipv6Addr)) -> (u8, Ipv6Addr) {
    let mask = u128::MAX.checked_shl(u32::from(128_u8.saturating_sub(len))).unwrap_or(0);
    (len, Ipv6Addr::from_bits(prefix.to_bits() & mask))
}

/// Looks at the host again and again, for as long as somebody wants to know.
async fn look(network: Network, out: watch::Sender<Neighbourhood>) {
    let mut ticks = interval(limits::FAST_LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !out.is_closed() {
        ticks.tick().await;
        match network.neighbourhood().await {
            Ok(seen) => drop(out.send_replace(seen)),
            Err(error) => tracing::warn!(%error, "routes and neighbours cannot be listed"),
        }
    }
}
