//! The home links behind one interface: one for each home prefix that says it has one.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, Ipv6Addr},
};

use homeport_binding::{HomePrefix, Ipv6Prefix};
use homeport_home_link::{Defence, DropReason, HomeLink, LinkLayerAddress, Output, Settings};
use homeport_wire::{PrefixFlags, PrefixInformation};

use crate::{
    home_link::{
        changes::{Changes, OnLink},
        lease::Held,
    },
    limits,
};

/// Packets for the home link that are not sent there.
pub(crate) const NO_HOME_LINK: &str = "no_home_link";

/// What is known of the links, and what they do. No socket and no clock.
#[derive(Debug)]
pub(crate) struct Links {
    link_layer_address: LinkLayerAddress,
    link_local: Ipv6Addr,
    links: BTreeMap<Ipv6Prefix, Link>,
    /// Of every prefix, because any may get a link.
    homes: BTreeMap<Ipv6Addr, OnLink>,
    /// When the last binding of a home address ends.
    ends: BTreeSet<(u64, Ipv6Addr)>,
    /// Home addresses that are to be probed.
    probes: BTreeSet<Ipv6Addr>,
    /// IPv4 addresses that this node answers for.
    proxies: BTreeSet<Ipv4Addr>,
}

#[derive(Debug)]
struct Link {
    record: HomePrefix,
    link: HomeLink,
    held_until_ms: u64,
    /// Home addresses that were probed for these requests.
    begun: BTreeMap<Ipv6Addr, homeport_binding::RequestId>,
    /// IPv4 addresses by the home address, or home agent, that has them.
    proxies: BTreeMap<Ipv6Addr, Ipv4Addr>,
    /// These, or whether they are answered for, may be others than before.
    proxies_moved: bool,
}

impl Links {
    pub(crate) const fn new(link_layer_address: LinkLayerAddress, link_local: Ipv6Addr) -> Self {
        Self {
            link_layer_address,
            link_local,
            links: BTreeMap::new(),
            homes: BTreeMap::new(),
            ends: BTreeSet::new(),
            probes: BTreeSet::new(),
            proxies: BTreeSet::new(),
        }
    }

    /// The home prefixes that have a link.
    pub(crate) fn prefixes(&self) -> impl Iterator<Item = Ipv6Prefix> {
        self.links.keys().copied()
    }

    /// How many of them this node defends.
    pub(crate) fn defended_links(&self) -> usize {
        self.links.values().filter(|link| link.link.is_defender()).count()
    }

    /// How many addresses this node answers for.
    pub(crate) fn defended(&self) -> usize {
        let v6 = self.links.values().map(|link| link.link.defended()).sum::<usize>();
        v6.saturating_add(self.proxies.len())
    }

    /// The IPv4 addresses among them.
    pub(crate) const fn proxies(&self) -> &BTreeSet<Ipv4Addr> {
        &self.proxies
    }

    /// Takes changes over.
    pub(crate) fn apply(&mut self, now_ms: u64, changes: Changes) {
        if changes.anew {
            let gone: Vec<_> =
                self.homes.keys().filter(|it| !changes.homes.contains_key(it)).copied().collect();
            for home_address in gone {
                self.set_home(now_ms, home_address, None);
            }
            self.links.retain(|prefix, _| changes.prefixes.contains_key(prefix));
            self.forget_proxies();
        }
        for (prefix, record) in changes.prefixes {
            self.set_prefix(now_ms, prefix, record);
        }
        for (home_address, home) in changes.homes {
            self.set_home(now_ms, home_address, home);
        }
        self.settle_proxies();
    }

    fn set_prefix(&mut self, now_ms: u64, prefix: Ipv6Prefix, record: Option<HomePrefix>) {
        let Some(record) = record.filter(|record| record.real_home_link) else {
            self.links.remove(&prefix);
            self.forget_proxies();
            return;
        };
        let settings = self.settings(&record);
        let is_known = self.links.contains_key(&prefix);
        if !is_known && self.links.len() >= limits::HOME_LINKS_MAX {
            let max = limits::HOME_LINKS_MAX;
            tracing::error!(%prefix, max, "more home links than one interface can have");
            return;
        }
        let link = self.links.entry(prefix).or_insert_with(|| {
            let mut link = HomeLink::new(settings.clone());
            // Whoever defends the link, all who are on it tell of its home agents.
            link.solicit_routers(now_ms);
            Link {
                record: record.clone(),
                link,
                held_until_ms: 0,
                begun: BTreeMap::new(),
                proxies: BTreeMap::new(),
                proxies_moved: true,
            }
        });
        link.link.set_settings(now_ms, settings);
        if let Some(address) = record.home_agent_ipv4 {
            link.proxies.insert(record.home_agent, address);
        }
        if link.record.home_agent != record.home_agent || record.home_agent_ipv4.is_none() {
            link.proxies.remove(&link.record.home_agent);
        }
        link.proxies_moved = true;
        link.record = record;
        for (home_address, home) in self.homes.range(prefix.address()..=prefix.last()) {
            link.settle(now_ms, *home_address, Some(home));
        }
    }

    fn settings(&self, record: &HomePrefix) -> Settings {
        let prefix_len = record.prefix.len();
        let flags = PrefixFlags::ON_LINK.with(PrefixFlags::ROUTER_ADDRESS);
        // Only an interface identifier of 64 bits can be made by a host itself (RFC 4862 §5.5.3).
        let flags = if prefix_len == 64 { flags.with(PrefixFlags::AUTONOMOUS) } else { flags };
        let prefix = PrefixInformation {
            prefix_len,
            flags,
            valid_secs: record.valid_lifetime_secs,
            preferred_secs: record.preferred_lifetime_secs.min(record.valid_lifetime_secs),
            // With the R flag the whole address (RFC 6275 §7.2).
            prefix: record.home_agent,
        };
        Settings {
            link_layer_address: self.link_layer_address,
            link_local: self.link_local,
            home_agent: record.home_agent,
            anycast: Some(anycast(record)),
            prefixes: vec![prefix],
            preference: record.home_agent_preference,
            mobile_routers: record.mobile_networks_allowed,
            ..Settings::default()
        }
    }

    fn set_home(&mut self, now_ms: u64, home_address: Ipv6Addr, home: Option<OnLink>) {
        if let Some(old) = self.homes.remove(&home_address) {
            self.ends.remove(&(old.until_ms, home_address));
        }
        self.probes.remove(&home_address);
        if let Some(link) = link_of(&mut self.links, home_address) {
            link.settle(now_ms, home_address, home.as_ref());
        }
        if let Some(home) = home {
            if home.until_ms > now_ms {
                self.ends.insert((home.until_ms, home_address));
            }
            if home.probe.is_some() {
                self.probes.insert(home_address);
            }
            self.homes.insert(home_address, home);
        }
    }

    /// This node has the lease of a link until then.
    pub(crate) fn held(&mut self, now_ms: u64, held: Held) {
        if let Some(link) = self.links.get_mut(&held.prefix) {
            link.held_until_ms = held.until_ms;
        }
        self.pass(now_ms);
        // Those that could not begin before: their number is limited.
        self.begin_probes(now_ms);
    }

    /// Gives every link up; those whose lease this node has.
    pub(crate) fn leave(&mut self, now_ms: u64) -> Vec<Ipv6Prefix> {
        let held = self.links.iter().filter(|(_, link)| link.held_until_ms > now_ms);
        let held = held.map(|(prefix, _)| *prefix).collect();
        for link in self.links.values_mut() {
            link.held_until_ms = 0;
        }
        self.pass(now_ms);
        held
    }

    fn begin_probes(&mut self, now_ms: u64) {
        for home_address in self.probes.clone() {
            let home = self.homes.get(&home_address);
            if let (Some(link), Some(home)) = (link_of(&mut self.links, home_address), home) {
                link.settle_probe(now_ms, home_address, Some(home));
            }
        }
    }

    /// Leases and bindings end.
    pub(crate) fn pass(&mut self, now_ms: u64) {
        for link in self.links.values_mut() {
            if link.held_until_ms > now_ms {
                link.link.take_over(now_ms);
                continue;
            }
            link.held_until_ms = 0;
            if link.link.is_defender() {
                link.moved();
            }
            link.link.set_defender(now_ms, false);
        }
        while let Some((until_ms, home_address)) = self.ends.first().copied()
            && until_ms <= now_ms
        {
            self.ends.pop_first();
            if let Some(link) = link_of(&mut self.links, home_address) {
                link.settle(now_ms, home_address, self.homes.get(&home_address));
            }
        }
        self.settle_proxies();
    }

    /// A link may be gone: what is left is looked at again.
    fn forget_proxies(&mut self) {
        self.links.values_mut().for_each(|link| link.proxies_moved = true);
        if self.links.is_empty() {
            self.proxies.clear();
        }
    }

    fn settle_proxies(&mut self) {
        let mut moved = false;
        for link in self.links.values_mut() {
            moved |= std::mem::take(&mut link.proxies_moved);
        }
        if !moved {
            return;
        }
        let defended = self.links.values().filter(|link| link.link.is_defender());
        self.proxies = defended.flat_map(|link| link.proxies.values().copied()).collect();
        if self.proxies.len() > limits::PROXIES_MAX {
            tracing::error!("more IPv4 addresses than a link can have are not answered for");
            self.proxies =
                std::mem::take(&mut self.proxies).into_iter().take(limits::PROXIES_MAX).collect();
        }
    }

    /// Takes a packet from the interface; an error when none of the links has anything to do with it.
    pub(crate) fn receive(
        &mut self,
        now_ms: u64,
        source: LinkLayerAddress,
        packet: &[u8],
    ) -> Result<(), DropReason> {
        // This process may have stood still since its lease ran out.
        self.pass(now_ms);
        let mut received = Err(DropReason::NotConcerned);
        for link in self.links.values_mut() {
            let here = link.link.receive(now_ms, source, packet);
            if received == Err(DropReason::NotConcerned) || here.is_ok() {
                received = here;
            }
        }
        received
    }

    /// Sends a packet to a neighbour.
    pub(crate) fn deliver(
        &mut self,
        now_ms: u64,
        next_hop: Ipv6Addr,
        packet: Vec<u8>,
    ) -> Result<(), &'static str> {
        let link = link_of(&mut self.links, next_hop).ok_or(NO_HOME_LINK)?;
        let home = self.homes.get(&next_hop).filter(|home| home.until_ms > now_ms);
        let told = home.and_then(|home| home.at_home.as_deref()?.try_into().ok());
        link.link.deliver(now_ms, next_hop, told, packet).map_err(DropReason::name)
    }

    /// The home agents that who asks at this address is told of; `None` when it is not told.
    pub(crate) fn home_agents(
        &self,
        now_ms: u64,
        asked: Ipv6Addr,
        seed: u64,
        mobile_routers: bool,
    ) -> Option<(Ipv6Addr, Vec<Ipv6Addr>)> {
        let is_asked =
            |link: &&Link| asked == link.record.home_agent || asked == anycast(&link.record);
        let link = self.links.values().find(is_asked)?;
        let agent = link.record.home_agent;
        let allowed = link.record.home_agent_discovery_allowed;
        allowed.then(|| (agent, link.link.home_agents(now_ms, seed, mobile_routers)))
    }

    /// What is to be done now; call until it is `None`.
    pub(crate) fn poll(&mut self, now_ms: u64) -> Option<Output> {
        self.pass(now_ms);
        let output = self.links.values_mut().find_map(|link| {
            let output = link.link.poll(now_ms);
            if matches!(output, Some(Output::TakenOver { .. })) {
                link.moved();
            }
            output
        })?;
        if matches!(output, Output::TakenOver { .. }) {
            self.settle_proxies();
            self.begin_probes(now_ms);
        }
        Some(output)
    }

    /// When [`Self::poll`] has something to do at the latest.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        let of_links = self.links.values().filter_map(|link| link.link.deadline_ms());
        let leases = self.links.values().map(|link| link.held_until_ms).filter(|at| *at > 0);
        of_links.chain(leases).chain(self.ends.first().map(|(until_ms, _)| *until_ms)).min()
    }
}

impl Link {
    /// It is defended from now on, or not any more.
    fn moved(&mut self) {
        self.proxies_moved = true;
        self.begun.clear();
    }

    /// Defends a home address, or not any more.
    fn settle(&mut self, now_ms: u64, home_address: Ipv6Addr, home: Option<&OnLink>) {
        // Where the home agent is the only router, a mobile node at home speaks for itself
        // (RFC 5648 §6.3).
        let speaks = |home: &OnLink| home.at_home.is_some() && self.record.only_router;
        match home.filter(|home| home.until_ms > now_ms && !speaks(home)) {
            Some(home) => {
                let defence = Defence { link_local: home.link_local, router: home.router };
                self.link.defend(now_ms, home_address, defence);
                let before = match home.address_v4 {
                    Some(address) => self.proxies.insert(home_address, address),
                    None => self.proxies.remove(&home_address),
                };
                self.proxies_moved |= before != home.address_v4;
            }
            None if home_address != self.record.home_agent => {
                self.link.release(home_address);
                self.proxies_moved |= self.proxies.remove(&home_address).is_some();
            }
            None => {}
        }
        self.settle_probe(now_ms, home_address, home);
    }

    /// Begins a probe that is asked for, or gives one up that is not any more. Once for each request:
    /// who asks again does so under another one.
    fn settle_probe(&mut self, now_ms: u64, home_address: Ipv6Addr, home: Option<&OnLink>) {
        let Some(probe) = home.and_then(|home| home.probe.as_ref()) else {
            if self.begun.remove(&home_address).is_some() {
                self.link.cancel_probe(home_address);
            }
            return;
        };
        if !self.link.is_defender() || self.begun.get(&home_address) == Some(&probe.request_id) {
            return;
        }
        // Full: the next renewal of the lease tries again.
        if self.link.probe(now_ms, home_address, probe.request_id, probe.link_local).is_ok() {
            self.begun.insert(home_address, probe.request_id);
        }
    }
}

/// The link that an address is on: the longest prefix decides.
fn link_of(links: &mut BTreeMap<Ipv6Prefix, Link>, address: Ipv6Addr) -> Option<&mut Link> {
    let all = links.iter_mut().filter(|(prefix, _)| prefix.contains(address));
    all.max_by_key(|(prefix, _)| prefix.len()).map(|(_, link)| link)
}

/// The home-agents anycast address of a prefix (RFC 6275 §10.5).
fn anycast(record: &HomePrefix) -> Ipv6Addr {
    homeport_forwarding::HomePrefix {
        prefix: record.prefix.address(),
        prefix_len: record.prefix.len(),
        home_agent: record.home_agent,
        home_agent_v4: None,
        pool_v4: None,
        real_home_link: true,
    }
    .anycast()
}
