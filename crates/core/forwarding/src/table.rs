//! Who is where: home prefixes, home addresses and their bindings.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::net::{Ipv4Addr, Ipv6Addr};

use homeport_wire::{Bid, BidPriority};

use crate::hash::{HashMap, Mix};
use crate::limits::{BINDINGS_PER_HOME_MAX, HOME_ADDRESSES_MAX};

/// Monotonic milliseconds of the machine that forwards. Only differences mean anything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Millis(pub u64);

/// Where packets for a home address go.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum CareOf {
    /// IPv6-in-IPv6 to this address (RFC 2473).
    V6(Ipv6Addr),
    /// IPv6 in UDP to this end point (RFC 5555 §4.1).
    V4 {
        /// Address, as the home agent sees it.
        address: Ipv4Addr,
        /// Port, as the home agent sees it.
        port: u16,
    },
}

/// One care-of address of a home address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ForwardingBinding {
    /// Absent for a binding without identifier (plain RFC 6275).
    pub bid: Option<Bid>,
    /// Where packets go.
    pub care_of: CareOf,
    /// BID-PRI of RFC 6089.
    pub priority: BidPriority,
    /// The store's time of the last signalling. It gives an order, it is not compared with
    /// [`Millis`].
    pub verified: u64,
    /// In force until then.
    pub ends: Millis,
    /// The home binding (RFC 5648 §5.6): packets are delivered on the home link.
    pub home: bool,
}

/// What the table holds for one home address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HomeEntry {
    /// The home-agent address with which the mobile node registered: source of what is tunnelled.
    pub home_agent: Ipv6Addr,
    /// The same for IPv4 care-of addresses; without, that of the home prefix counts.
    pub home_agent_v4: Option<Ipv4Addr>,
    /// Bindings; beyond [`crate::limits::BINDINGS_PER_HOME_MAX`] they are cut off.
    pub bindings: Vec<ForwardingBinding>,
}

/// A prefix whose addresses are served.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct HomePrefix {
    /// Prefix; host bits are ignored.
    pub prefix: Ipv6Addr,
    /// Length, 0 to 128; a larger value counts as 128.
    pub prefix_len: u8,
    /// The home agent's address.
    pub home_agent: Ipv6Addr,
    /// Its IPv4 address.
    pub home_agent_v4: Option<Ipv4Addr>,
}

impl HomePrefix {
    const LEN_MAX: u8 = 128;

    fn key(prefix: Ipv6Addr, prefix_len: u8) -> (u8, u128) {
        let len = prefix_len.min(Self::LEN_MAX);
        (len, prefix.to_bits() & Self::mask(len))
    }

    fn mask(len: u8) -> u128 {
        let host_bits = u32::from(Self::LEN_MAX.saturating_sub(len));
        u128::MAX.checked_shl(host_bits).unwrap_or(0)
    }

    /// The home-agents anycast address of the prefix (RFC 6275 §10.5, RFC 2526 §2): identifier 126,
    /// in interface identifiers of 64 bits with the universal/local bit zero.
    fn anycast(&self) -> Ipv6Addr {
        const INTERFACE_IDENTIFIER: u128 = 0xfdff_ffff_ffff_fffe;
        const LONG_PREFIX: u128 = u128::MAX - 1;
        let (len, network) = Self::key(self.prefix, self.prefix_len);
        let host = if len <= 64 { INTERFACE_IDENTIFIER } else { LONG_PREFIX & !Self::mask(len) };
        Ipv6Addr::from_bits(network | host)
    }

    fn digest(&self) -> u64 {
        let (len, network) = Self::key(self.prefix, self.prefix_len);
        Mix::new(PREFIX_SEED)
            .v6(Ipv6Addr::from_bits(network))
            .word(len.into())
            .v6(self.home_agent)
            .v4(self.home_agent_v4)
            .finish()
    }
}

/// The table holds [`HOME_ADDRESSES_MAX`] home addresses and takes no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableFull;

impl core::fmt::Display for TableFull {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "the table holds {HOME_ADDRESSES_MAX} home addresses and takes no more")
    }
}

impl core::error::Error for TableFull {}

const PREFIX_SEED: u64 = 0x7072_6566_6978;
const HOME_SEED: u64 = 0x686f_6d65;
const BINDING_SEED: u64 = 0x6269_6e64;

/// One home address: its entry and which binding carried data last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Home {
    pub(crate) entry: HomeEntry,
    last_used: Option<usize>,
}

impl Home {
    fn live(&self, now: Millis) -> impl Iterator<Item = (usize, &ForwardingBinding)> {
        self.entry.bindings.iter().enumerate().filter(move |(_, binding)| binding.ends > now)
    }

    /// The binding that packets for the home address take: lowest BID-PRI (RFC 6089 §4.1), then the
    /// one that carried data last, then the one that signalling verified last (RFC 5648 §3), then
    /// the lowest identifier, so that forwarders that saw the same choose the same.
    pub(crate) fn choose(&self, now: Millis, by_use: bool) -> Option<&ForwardingBinding> {
        self.live(now)
            .min_by_key(|(index, binding)| {
                let used = by_use && self.last_used == Some(*index);
                (binding.priority.rank(), !used, Reverse(binding.verified), binding.bid)
            })
            .map(|(_, binding)| binding)
    }

    /// The binding in force with this care-of address.
    pub(crate) fn bound(&self, now: Millis, care_of: CareOf) -> Option<usize> {
        self.live(now).find(|(_, binding)| binding.care_of == care_of).map(|(index, _)| index)
    }

    /// Data came through this binding.
    pub(crate) fn used(&mut self, index: usize) {
        if self.last_used != Some(index) {
            self.last_used = Some(index);
        }
    }

    /// Takes over which binding carried data last, unless signalling has verified one since.
    fn inherit(&mut self, old: &Self) {
        let newest = |home: &Self| home.entry.bindings.iter().map(|binding| binding.verified).max();
        if newest(self) > newest(old) {
            return;
        }
        let used = old.last_used.and_then(|index| old.entry.bindings.get(index));
        self.last_used = used.and_then(|used| {
            self.entry
                .bindings
                .iter()
                .position(|binding| binding.bid == used.bid && binding.care_of == used.care_of)
        });
    }

    fn digest(&self, home_address: Ipv6Addr) -> u64 {
        // Summed, so that the order of the bindings does not matter.
        let bindings = self.entry.bindings.iter().map(binding_digest).fold(0, u64::wrapping_add);
        Mix::new(HOME_SEED)
            .v6(home_address)
            .v6(self.entry.home_agent)
            .v4(self.entry.home_agent_v4)
            .word(bindings)
            .finish()
    }
}

/// All but `ends`, which counts on each machine's own clock; a refresh shows in `verified`.
fn binding_digest(binding: &ForwardingBinding) -> u64 {
    let mix = Mix::new(BINDING_SEED)
        .word(binding.bid.map_or(u64::MAX, |bid| u64::from(bid.0)))
        .word(binding.verified)
        .word(u64::from(binding.priority.value()) << 1 | u64::from(binding.home));
    match binding.care_of {
        CareOf::V6(address) => mix.v6(address),
        CareOf::V4 { address, port } => mix.v4(Some(address)).word(port.into()),
    }
    .finish()
}

/// Home prefixes and home addresses.
#[derive(Default, Debug)]
pub struct Table {
    prefixes: BTreeMap<(u8, u128), HomePrefix>,
    /// How many prefixes have this length: the lengths to probe.
    prefix_lens: BTreeMap<u8, usize>,
    /// How many prefixes name this home agent.
    home_agents: BTreeMap<Ipv6Addr, usize>,
    home_agents_v4: BTreeMap<Ipv4Addr, usize>,
    homes: HashMap<Ipv6Addr, Home>,
    digest: u64,
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
    }

    /// Sets the whole state of a home address. No entry, or one without bindings, removes it.
    pub fn set_home(
        &mut self,
        home_address: Ipv6Addr,
        entry: Option<HomeEntry>,
    ) -> Result<(), TableFull> {
        let Some(mut entry) = entry.filter(|entry| !entry.bindings.is_empty()) else {
            if let Some(old) = self.homes.remove(&home_address) {
                self.digest = self.digest.wrapping_sub(old.digest(home_address));
            }
            return Ok(());
        };
        entry.bindings.truncate(BINDINGS_PER_HOME_MAX);
        if self.homes.len() >= HOME_ADDRESSES_MAX && !self.homes.contains_key(&home_address) {
            return Err(TableFull);
        }
        let mut home = Home { entry, last_used: None };
        self.digest = self.digest.wrapping_add(home.digest(home_address));
        if let Some(old) = self.homes.get(&home_address) {
            self.digest = self.digest.wrapping_sub(old.digest(home_address));
            home.inherit(old);
        }
        self.homes.insert(home_address, home);
        Ok(())
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
