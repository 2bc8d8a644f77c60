//! The fast path beside the engine: follows the table, the host's routes and its neighbours.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv6Addr,
    sync::Arc,
};

use homeport_fastpath::{
    self as fastpath, AGENTS_MAX, Cause, FastPath, NextHop, Place, Settings, monotonic_ms,
};
use homeport_forwarding::{Forwarding, Millis, Table};
use homeport_hostnet::{Neighbourhood, Network};
use homeport_runtime::{Shutdown, Task, clock::Monotonic};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use crate::{
    attachment::{Attachment, Begun},
    config::{Config, Error},
    limits,
    metrics::Metrics,
};

/// See the module.
#[derive(Debug)]
pub(crate) struct Fast {
    path: FastPath,
    /// Dropped after nothing is written any more.
    attachment: Attachment,
    seen: watch::Receiver<Neighbourhood>,
    known: Neighbourhood,
    /// Home addresses that are traced: the engine is to see each of their packets.
    watched: BTreeSet<Ipv6Addr>,
    /// Home addresses outside every home prefix.
    strays: BTreeSet<Ipv6Addr>,
    /// The store has said what there is. Before, lines are those of an earlier process, if any, and
    /// the program's time is not prolonged.
    synchronised: bool,
    /// Nothing is to be served.
    withdrawn: bool,
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
    pub(crate) async fn open(
        config: &Config,
        hop_limit: u8,
        clock: Monotonic,
        metrics: Arc<Metrics>,
        shutdown: &Shutdown,
    ) -> Result<Option<Self>, Error> {
        let Some(Begun { path, attachment, adopted }) = Attachment::begin(config, shutdown)? else {
            return Ok(None);
        };
        let host = |source| Error::Host { key: "xdp", source };
        let namespace = config.tun.as_ref().map(|tun| tun.namespace()).unwrap_or_default();
        let network = Network::open(&namespace).map_err(host)?;
        // The first state of the store finds the host known: each line gets its next hop at once.
        let known = network.neighbourhood().await.map_err(host)?;
        let counted = if adopted { path.counters() } else { Ok(Vec::new()) };
        let counted = counted.map_err(|source| Error::FastPath { source })?;
        metrics.show_fast_max(config.xdp.as_ref().map_or(0, |xdp| xdp.home_addresses_max));
        let (out, seen) = watch::channel(known.clone());
        Ok(Some(Self {
            path,
            attachment,
            seen,
            known,
            watched: BTreeSet::new(),
            strays: BTreeSet::new(),
            synchronised: false,
            withdrawn: false,
            is_off: !adopted,
            hop_limit,
            clock_began_ms: monotonic_ms().saturating_sub(clock.now_ms()),
            counted: counted.into_iter().collect(),
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

    /// Takes note of what was seen of the host, and of what the program has counted; and says to the
    /// program that somebody looks after its table.
    pub(crate) fn look(&mut self, forwarding: &Forwarding, now: Millis) {
        self.count();
        if !self.synchronised {
            return;
        }
        if !self.is_off {
            self.attachment.prolong(&mut self.path);
        }
        let seen = self.seen.borrow_and_update().clone();
        if seen != self.known {
            let routes_moved = seen.routes != self.known.routes;
            self.known = seen;
            if routes_moved {
                self.renew(forwarding, now);
            } else if let Err(error) = self.set_hops() {
                self.give_up(&error);
            }
        }
        if let Err(error) = self.path.tidy_routers() {
            self.give_up(&error);
        }
    }

    /// Tells the program what is served, and writes all lines anew: after a change of prefixes or of
    /// the whole table, which the store has said.
    pub(crate) fn rebuild(&mut self, forwarding: &mut Forwarding, now: Millis) {
        let follows_earlier = !self.synchronised && !self.is_off;
        if follows_earlier {
            self.recall_uses(forwarding, now);
        }
        self.synchronised = true;
        self.renew(forwarding, now);
    }

    /// Of equal bindings the one is taken that data came through last. Which that was the earlier process had
    /// learned, and without it what its program sends would be passed on, before the host leads it to the TUN.
    fn recall_uses(&self, forwarding: &mut Forwarding, now: Millis) {
        let homes: Vec<Ipv6Addr> =
            forwarding.table().homes().into_iter().map(|(home, _)| home).collect();
        for home_address in homes {
            if let Some(care_of) = self.path.used_last(home_address) {
                forwarding.recall_use(now, home_address, care_of);
            }
        }
    }

    /// Makes the program's tables what they are to be. What stays as it is goes on meanwhile, and what
    /// is new is there before anything goes.
    fn renew(&mut self, forwarding: &Forwarding, now: Millis) {
        if !self.synchronised || self.withdrawn {
            return;
        }
        self.is_off = false;
        if let Err(error) = self.write_all(forwarding, now) {
            self.give_up(&error);
        }
    }

    fn write_all(&mut self, forwarding: &Forwarding, now: Millis) -> Result<(), fastpath::Error> {
        let table = forwarding.table();
        let homes: BTreeSet<Ipv6Addr> = table.homes().into_iter().map(|(home, _)| home).collect();
        let strays = homes.iter().filter(|home| table.prefix_of(**home).is_none());
        self.strays = strays.copied().collect();
        let agents: BTreeSet<Ipv6Addr> = table.prefixes().map(|it| it.home_agent).collect();
        let before = self.path.settings().clone();
        // Old lines name the places of home agents that are about to go.
        let (both, on) = match with_new_agents(&before.agents, &agents) {
            Some(both) => (both, before.on),
            None => (agents.iter().copied().collect(), false),
        };
        self.path.set_settings(Settings { on, agents: both.clone(), ..before })?;
        self.teach(table)?;
        for home_address in &homes {
            self.set_home(forwarding, now, *home_address);
        }
        let gone = self.path.keep_homes(&homes);
        tracing::debug!(homes = homes.len(), gone, "fast path: all lines are as the store says");
        self.attachment.prolong(&mut self.path);
        let settings = self.path.settings().clone();
        self.path.set_settings(Settings {
            on: !agents.is_empty(),
            agents: without_old_agents(both, &agents),
            ..settings
        })?;
        self.attachment.take_place(&mut self.path)
    }

    /// Nothing is to be served here.
    pub(crate) fn withdraw(&mut self) {
        self.withdrawn = true;
        self.is_off = true;
        let off = Settings { on: false, ..self.path.settings().clone() };
        if let Err(error) = self.path.set_settings(off) {
            self.give_up(&error);
        }
    }

    /// It is to be served again.
    pub(crate) fn come_back(&mut self, forwarding: &Forwarding, now: Millis) {
        self.withdrawn = false;
        self.renew(forwarding, now);
    }

    /// Follows changes of some home addresses; `networks`: mobile networks have come or gone.
    pub(crate) fn follow(
        &mut self,
        forwarding: &Forwarding,
        now: Millis,
        changed: &[Ipv6Addr],
        networks: bool,
    ) {
        if self.is_off || !self.synchronised {
            return self.renew(forwarding, now);
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
            _ if self.is_off || !self.synchronised => {}
            Some(moved) => {
                for home_address in moved {
                    self.set_home(forwarding, now, home_address);
                }
            }
            None => self.renew(forwarding, now),
        }
    }

    /// Takes these home addresses off the fast path, and those watched before on it again.
    pub(crate) fn watch(
        &mut self,
        watched: BTreeSet<Ipv6Addr>,
        forwarding: &Forwarding,
        now: Millis,
    ) {
        let before = std::mem::replace(&mut self.watched, watched);
        if self.is_off || !self.synchronised {
            return;
        }
        let moved: Vec<_> = before.symmetric_difference(&self.watched).copied().collect();
        for home_address in moved {
            self.set_home(forwarding, now, home_address);
        }
    }

    fn set_home(&mut self, forwarding: &Forwarding, now: Millis, home_address: Ipv6Addr) {
        let is_watched = self.watched.contains(&home_address);
        let fast = if is_watched { None } else { forwarding.fast(now, home_address) };
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
                let hop = router.map_or(Ok(None), |router| self.path.place_of(router))?;
                places.insert(key, hop.map_or(Place::Served, Place::Beyond));
            }
        }
        self.set_hops()?;
        let settings = self.path.settings().clone();
        let settings = Settings { hop_limit: self.hop_limit, look_at_care_of, ..settings };
        self.path.set_settings(settings)?;
        self.path.set_places(places)
    }

    fn set_hops(&mut self) -> Result<(), fastpath::Error> {
        for (router, place) in self.path.routers() {
            let to = self.known.neighbours.get(&router).copied();
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
        // An earlier program, whose place was to be taken, follows no table.
        if (off.is_err() || self.attachment.replaces())
            && let Err(error) = self.attachment.detach(&mut self.path)
        {
            tracing::error!(%error, "the fast path cannot be taken away");
        }
    }

    /// Packets that the program has sent on ever.
    pub(crate) fn forwarded(&self) -> u64 {
        let sent = self.counted.iter().filter(|(cause, _)| cause.verdict() == "sent");
        sent.map(|(_, packets)| packets).sum()
    }

    fn count(&mut self) {
        self.metrics.show_fast(self.path.home_count());
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

/// The home agents that there are at their places, and new ones at free places: at the end, or where
/// an address stands that stands before already. `None` when there is no room for both.
fn with_new_agents(before: &[Ipv6Addr], agents: &BTreeSet<Ipv6Addr>) -> Option<Vec<Ipv6Addr>> {
    let mut both = before.to_vec();
    for new in agents.iter().filter(|agent| !before.contains(agent)) {
        let free = (0..both.len()).find(|at| both[..*at].contains(&both[*at]));
        match free.and_then(|at| both.get_mut(at)) {
            Some(place) => *place = *new,
            None => both.push(*new),
        }
    }
    (both.len() <= AGENTS_MAX).then_some(both)
}

/// Puts an address that stays in the place of each that does not.
fn without_old_agents(mut both: Vec<Ipv6Addr>, agents: &BTreeSet<Ipv6Addr>) -> Vec<Ipv6Addr> {
    let stays = both.iter().copied().find(|agent| agents.contains(agent));
    let Some(stays) = stays else { return Vec::new() };
    for place in both.iter_mut().filter(|agent| !agents.contains(agent)) {
        *place = stays;
    }
    both
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
            Err(error) => {
                tracing::warn!(%error, "routes and neighbours cannot be listed");
                // The time of the program is prolonged all the same.
                out.send_modify(|_as_it_was| {});
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(host: u16) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, host)
    }

    #[test]
    fn home_agents_keep_their_places_and_leave_them_to_others() {
        let set = |hosts: &[u16]| -> BTreeSet<Ipv6Addr> {
            hosts.iter().map(|host| agent(*host)).collect()
        };
        let list = |hosts: &[u16]| -> Vec<Ipv6Addr> { hosts.iter().map(|it| agent(*it)).collect() };
        let both = with_new_agents(&list(&[5, 6, 7]), &set(&[4, 6])).unwrap();
        assert_eq!(both, list(&[5, 6, 7, 4]), "lines that name the old ones are still right");
        let now = without_old_agents(both, &set(&[4, 6]));
        assert_eq!(now, list(&[6, 6, 6, 4]));
        let both = with_new_agents(&now, &set(&[4, 6, 8, 9, 10])).unwrap();
        assert_eq!(both, list(&[6, 8, 9, 4, 10]));
        assert!(without_old_agents(both, &set(&[])).is_empty());
        let many: Vec<u16> = (1..=16).collect();
        assert!(with_new_agents(&list(&many), &set(&many)).is_some());
        assert!(with_new_agents(&list(&many), &set(&[17])).is_none());
    }
}
