//! Who is where: home prefixes, and home addresses with all that is reached through them.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::entry::{Correspondent, HomeEntry, HomePrefix, Millis, MobileNetwork, MobileNetworkV4};
use crate::hash::HashMap;
use crate::home::Home;
use crate::limits::{CORRESPONDENTS_MAX, HOME_ADDRESSES_MAX};
use crate::networks::{Networks, Prefix};

/// The table holds [`HOME_ADDRESSES_MAX`] home addresses and takes no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableFull;

impl core::fmt::Display for TableFull {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "the table holds {HOME_ADDRESSES_MAX} home addresses and takes no more")
    }
}

impl core::error::Error for TableFull {}

/// Home prefixes and home addresses.
#[derive(Debug)]
pub struct Table {
    prefixes: BTreeMap<(u8, u128), HomePrefix>,
    /// How many prefixes have this length: the lengths to probe.
    prefix_lens: BTreeMap<u8, usize>,
    /// How many prefixes name this home agent.
    home_agents: BTreeMap<Ipv6Addr, usize>,
    home_agents_v4: BTreeMap<Ipv4Addr, usize>,
    homes: HashMap<Ipv6Addr, Home>,
    /// Mobile nodes to which home agents send by routing headers; none that is served.
    correspondents: HashMap<Ipv6Addr, Vec<Correspondent>>,
    networks: Networks,
    networks_v4: Networks,
    /// Pools of IPv4 home addresses, claimed by the home agent's IPv4 address in IPv6 form.
    pools_v4: Networks,
    digest: u64,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            prefixes: BTreeMap::new(),
            prefix_lens: BTreeMap::new(),
            home_agents: BTreeMap::new(),
            home_agents_v4: BTreeMap::new(),
            homes: HashMap::default(),
            correspondents: HashMap::default(),
            networks: Networks::new(128),
            networks_v4: Networks::new(32),
            pools_v4: Networks::new(32),
            digest: 0,
        }
    }
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a prefix, or replaces the one of the same bits and length.
    pub fn set_prefix(&mut self, prefix: HomePrefix) {
        self.remove_prefix(prefix.prefix, prefix.prefix_len);
        let key = HomePrefix::key(prefix.prefix, prefix.prefix_len);
        self.prefixes.insert(key, prefix);
        raise(&mut self.prefix_lens, key.0);
        raise(&mut self.home_agents, prefix.home_agent);
        if let Some(address) = prefix.home_agent_v4 {
            raise(&mut self.home_agents_v4, address);
        }
        self.digest = self.digest.wrapping_add(prefix.digest());
        if prefix.pool_v4.is_some() {
            self.find_pools();
        }
    }

    /// Removes a prefix. Home addresses in it stay until they are removed themselves.
    pub fn remove_prefix(&mut self, prefix: Ipv6Addr, prefix_len: u8) {
        let key = HomePrefix::key(prefix, prefix_len);
        let Some(old) = self.prefixes.remove(&key) else {
            return;
        };
        lower(&mut self.prefix_lens, key.0);
        lower(&mut self.home_agents, old.home_agent);
        if let Some(address) = old.home_agent_v4 {
            lower(&mut self.home_agents_v4, address);
        }
        self.digest = self.digest.wrapping_sub(old.digest());
        if old.pool_v4.is_some() {
            self.find_pools();
        }
    }

    /// Several prefixes may share a pool: what is left is looked at as a whole.
    fn find_pools(&mut self) {
        self.pools_v4 = Networks::new(32);
        for prefix in self.prefixes.values() {
            if let (Some(pool), Some(agent)) = (prefix.pool_v4, prefix.home_agent_v4) {
                let key = self.pools_v4.prefix(pool.prefix.to_bits().into(), pool.prefix_len);
                self.pools_v4.claim(key, agent.to_ipv6_mapped());
            }
        }
    }

    /// Sets the whole state of a home address. No entry, or one without bindings, removes it.
    pub fn set_home(
        &mut self,
        home_address: Ipv6Addr,
        entry: Option<HomeEntry>,
    ) -> Result<(), TableFull> {
        let Some(entry) = entry.filter(|entry| !entry.bindings.is_empty()) else {
            if let Some(old) = self.homes.remove(&home_address) {
                self.digest = self.digest.wrapping_sub(old.digest(home_address));
                self.release(home_address, &old);
            }
            return Ok(());
        };
        if self.homes.len() >= HOME_ADDRESSES_MAX && !self.homes.contains_key(&home_address) {
            return Err(TableFull);
        }
        let mut home = Home::new(entry);
        self.digest = self.digest.wrapping_add(home.digest(home_address));
        if let Some(old) = self.homes.remove(&home_address) {
            self.digest = self.digest.wrapping_sub(old.digest(home_address));
            home.inherit(&old);
            self.release(home_address, &old);
        }
        for prefix in home.networks(&self.networks) {
            self.networks.claim(prefix, home_address);
        }
        for prefix in home.networks_v4(&self.networks_v4) {
            self.networks_v4.claim(prefix, home_address);
        }
        self.homes.insert(home_address, home);
        Ok(())
    }

    /// Sets the care-of addresses by which home agents send to a mobile node themselves; none removes
    /// it. The digest does not say anything about them.
    pub fn set_correspondent(
        &mut self,
        home_address: Ipv6Addr,
        care_ofs: Vec<Correspondent>,
    ) -> Result<(), TableFull> {
        if care_ofs.is_empty() {
            self.correspondents.remove(&home_address);
            return Ok(());
        }
        let is_known = self.correspondents.contains_key(&home_address);
        if !is_known && self.correspondents.len() >= CORRESPONDENTS_MAX {
            return Err(TableFull);
        }
        self.correspondents.insert(home_address, care_ofs);
        Ok(())
    }

    /// How many mobile nodes are correspondents of home agents.
    #[must_use]
    pub fn correspondent_count(&self) -> usize {
        self.correspondents.len()
    }

    /// The care-of addresses of a mobile node that hold, for what this home agent sends to it.
    pub(crate) fn care_ofs(
        &self,
        now: Millis,
        agent: Ipv6Addr,
        home_address: Ipv6Addr,
    ) -> impl Iterator<Item = &Correspondent> {
        let all = self.correspondents.get(&home_address).into_iter().flatten();
        all.filter(move |it| it.home_agent == agent && it.ends > now)
    }

    fn release(&mut self, home_address: Ipv6Addr, home: &Home) {
        for prefix in home.networks(&self.networks) {
            self.networks.release(prefix, home_address);
        }
        for prefix in home.networks_v4(&self.networks_v4) {
            self.networks_v4.release(prefix, home_address);
        }
    }

    /// The mobile networks of all home addresses, in the order of length and bits.
    #[must_use]
    pub fn networks(&self) -> Vec<MobileNetwork> {
        self.networks.prefixes().into_iter().map(network).collect()
    }

    /// The same for IPv4.
    #[must_use]
    pub fn networks_v4(&self) -> Vec<MobileNetworkV4> {
        self.networks_v4.prefixes().into_iter().map(network_v4).collect()
    }

    /// The mobile networks that have come or gone since this was asked last, and whether each is
    /// there now. So that whoever keeps routes for them need not look at all after each change.
    #[must_use]
    pub fn take_changed_networks(&mut self) -> Vec<(MobileNetwork, bool)> {
        let changed = self.networks.take_changed().into_iter();
        changed.map(|(prefix, is_there)| (network(prefix), is_there)).collect()
    }

    /// The same for IPv4.
    #[must_use]
    pub fn take_changed_networks_v4(&mut self) -> Vec<(MobileNetworkV4, bool)> {
        let changed = self.networks_v4.take_changed().into_iter();
        changed.map(|(prefix, is_there)| (network_v4(prefix), is_there)).collect()
    }

    /// The home addresses and their entries, in the order of the addresses. Meant for tests and
    /// displays: it sorts all of them.
    #[must_use]
    pub fn homes(&self) -> Vec<(Ipv6Addr, &HomeEntry)> {
        let mut homes: Vec<_> =
            self.homes.iter().map(|(address, home)| (*address, &home.entry)).collect();
        homes.sort_unstable_by_key(|(address, _)| *address);
        homes
    }

    /// The home prefixes, in the order of length and bits.
    pub fn prefixes(&self) -> impl Iterator<Item = &HomePrefix> {
        self.prefixes.values()
    }

    /// True for a home address of the table.
    #[must_use]
    pub fn contains(&self, address: Ipv6Addr) -> bool {
        self.homes.contains_key(&address)
    }

    /// How many home addresses there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.homes.len()
    }

    /// True without home addresses.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.homes.is_empty()
    }

    /// One number for the whole table: equal for two forwarders that hold the same prefixes and
    /// bindings, in whatever order they got them. The local deadlines and what was learned from
    /// data do not enter. Costs nothing to read: it is kept up to date with each change.
    #[must_use]
    pub const fn digest(&self) -> u64 {
        self.digest
    }

    /// The longest prefix that covers the address.
    #[must_use]
    pub fn prefix_of(&self, address: Ipv6Addr) -> Option<&HomePrefix> {
        self.prefix_lens
            .keys()
            .rev()
            .find_map(|len| self.prefixes.get(&HomePrefix::key(address, *len)))
    }

    /// The home agent that is meant by a destination: its own address, or the anycast address of a
    /// home prefix.
    pub(crate) fn home_agent_meant(&self, destination: Ipv6Addr) -> Option<Ipv6Addr> {
        if self.is_home_agent(destination) {
            return Some(destination);
        }
        let prefix = self.prefix_of(destination)?;
        (prefix.anycast() == destination).then_some(prefix.home_agent)
    }

    pub(crate) fn is_home_agent(&self, address: Ipv6Addr) -> bool {
        self.home_agents.contains_key(&address)
    }

    pub(crate) fn is_home_agent_v4(&self, address: Ipv4Addr) -> bool {
        self.home_agents_v4.contains_key(&address)
    }

    pub(crate) fn home(&self, home_address: Ipv6Addr) -> Option<&Home> {
        self.homes.get(&home_address)
    }

    pub(crate) fn home_mut(&mut self, home_address: Ipv6Addr) -> Option<&mut Home> {
        self.homes.get_mut(&home_address)
    }

    /// The home address whose packets these are: the address itself, or the owner of the network
    /// that it lies in.
    pub(crate) fn owner(&self, address: Ipv6Addr) -> Option<Ipv6Addr> {
        if self.homes.contains_key(&address) {
            return Some(address);
        }
        self.networks.owner(address.to_bits())
    }

    /// The home address whose packets these are: the address itself, or the one whose mobile network
    /// (RFC 3963) or IPv4 home address (RFC 5555 §3.1.1) it lies in.
    #[must_use]
    pub fn owner_of(&self, address: IpAddr) -> Option<Ipv6Addr> {
        match address {
            IpAddr::V6(address) => self.owner(address),
            IpAddr::V4(address) => self.owner_v4(address),
        }
    }

    /// The home agent's IPv4 address that speaks for a pool of IPv4 home addresses.
    pub(crate) fn pool_agent(&self, address: Ipv4Addr) -> Option<Ipv4Addr> {
        self.pools_v4.owner(address.to_bits().into())?.to_ipv4_mapped()
    }

    /// The same for an address that is no home address.
    pub(crate) fn network_owner(&self, address: Ipv6Addr) -> Option<Ipv6Addr> {
        self.networks.owner(address.to_bits())
    }

    /// The home address that owns an IPv4 address.
    pub(crate) fn owner_v4(&self, address: Ipv4Addr) -> Option<Ipv6Addr> {
        self.networks_v4.owner(address.to_bits().into())
    }

    /// The home addresses that may send from this address, which is no home address itself. More
    /// than one only while the feed moves a network from one to the other.
    pub(crate) fn network_owners(&self, address: Ipv6Addr) -> impl Iterator<Item = Ipv6Addr> {
        self.networks.owners(address.to_bits())
    }

    /// The same for IPv4.
    pub(crate) fn owners_v4(&self, address: Ipv4Addr) -> impl Iterator<Item = Ipv6Addr> {
        self.networks_v4.owners(address.to_bits().into())
    }

    /// Takes over from `old`, for home addresses that are in both, which binding carried data last.
    pub(crate) fn inherit_use(&mut self, old: &Self) {
        // The order of this iteration cannot be seen: each home address looks only at its own past.
        for (home_address, home) in &mut self.homes {
            if let Some(old) = old.homes.get(home_address) {
                home.inherit(old);
            }
        }
    }
}

fn network((prefix_len, bits): Prefix) -> MobileNetwork {
    MobileNetwork { prefix: Ipv6Addr::from_bits(bits), prefix_len }
}

fn network_v4((prefix_len, bits): Prefix) -> MobileNetworkV4 {
    let prefix = Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or(u32::MAX));
    MobileNetworkV4 { prefix, prefix_len }
}

fn raise<K: Ord>(counts: &mut BTreeMap<K, usize>, key: K) {
    let count = counts.entry(key).or_default();
    *count = count.saturating_add(1);
}

fn lower<K: Ord>(counts: &mut BTreeMap<K, usize>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(&key);
        }
    }
}
