//! What operators change: home prefixes and subscribers.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use core::net::{Ipv4Addr, Ipv6Addr};
use core::ops::Bound::Included;

use homeport_wire::{is_unicast_routable_v4, is_unicast_routable_v6};

use crate::cache::{BindingCache, Change, SubscriberEntry};
use crate::event::BindingEvent;
use crate::limits;
use crate::prefix::{Ipv4Prefix, Ipv6Prefix};
use crate::record::{Authentication, HomePrefix, Revised, Subscriber};
use crate::verdict::{Outcome, Refusal, RefusalKind};

/// RFC 4285 §5.1: parameter indexes below are reserved.
const SPI_MIN: u32 = 256;
/// Shortest lifetime that the wire can carry, in seconds.
const LIFETIME_SECS_WIRE_MIN: u32 = 4;
/// Longest lifetime that the wire can carry, in seconds (RFC 6275 §6.1.7).
const LIFETIME_SECS_WIRE_MAX: u32 = 262_140;
/// Longest refresh interval behind a NAT, in seconds: no NAT keeps a mapping for longer than a day.
const NAT_KEEPALIVE_SECS_MAX: u32 = 86_400;

impl BindingCache {
    pub(crate) fn check_put_home_prefix(
        &self,
        record: &HomePrefix,
        must_not_exist: bool,
    ) -> Result<(), Refusal> {
        let prefix = record.prefix;
        let exists = self.home_prefixes.contains_key(&prefix);
        if exists && must_not_exist {
            return refusal(RefusalKind::Exists, "prefix", format!("{prefix} exists already"));
        }
        check_home_prefix(record)?;
        self.check_neighbours(record)?;
        if let Some(other) =
            self.home_prefixes.keys().find(|other| **other != prefix && other.overlaps(prefix))
        {
            return invalid("prefix", format!("{prefix} overlaps the home prefix {other}"));
        }
        if !exists && self.home_prefixes.len() >= limits::HOME_PREFIXES_MAX {
            let message =
                format!("there are {} home prefixes, the limit", limits::HOME_PREFIXES_MAX);
            return refusal(RefusalKind::Full, "prefix", message);
        }
        Ok(())
    }

    pub(crate) fn put_home_prefix(&mut self, record: HomePrefix, must_not_exist: bool) -> Outcome {
        if let Err(refusal) = self.check_put_home_prefix(&record, must_not_exist) {
            return Outcome::Refused(refusal);
        }
        let prefix = record.prefix;
        let revision = self.revision;
        let old = self.home_prefixes.insert(prefix, Revised { record, revision });
        let old = old.map(|old| old.record);
        let new = self.home_prefixes.get(&prefix).map(|new| &new.record);
        if ipv4_of(old.as_ref()) != ipv4_of(new) {
            self.rebuild_pools();
        }
        self.drop_void_lease(prefix);
        self.changed(Change::HomePrefix(prefix));
        Outcome::Done
    }

    pub(crate) fn check_update_home_prefix(
        &self,
        record: &HomePrefix,
        base_revision: u64,
    ) -> Result<(), Refusal> {
        let prefix = record.prefix;
        let Some(old) = self.home_prefixes.get(&prefix) else {
            return self.no_home_prefix(prefix);
        };
        if old.revision != base_revision {
            let message = format!("{prefix} was changed at revision {}", old.revision);
            return refusal(RefusalKind::Changed, "prefix", message);
        }
        check_change(&old.record, record)?;
        self.check_put_home_prefix(record, false)
    }

    /// Changes what may change while mobile nodes are registered.
    pub(crate) fn update_home_prefix(&mut self, record: HomePrefix, base_revision: u64) -> Outcome {
        if let Err(refusal) = self.check_update_home_prefix(&record, base_revision) {
            return Outcome::Refused(refusal);
        }
        let old = self.home_prefixes.get(&record.prefix).map(|old| old.record.clone());
        let outcome = self.put_home_prefix(record, false);
        if let Some(old) = old.filter(|_| outcome == Outcome::Done) {
            self.advertise_change(&old);
        }
        outcome
    }

    pub(crate) fn no_home_prefix<T>(&self, prefix: Ipv6Prefix) -> Result<T, Refusal> {
        let message = format!("no home prefix {prefix}; there are: {}", self.prefix_names());
        refusal(RefusalKind::NotFound, "prefix", message)
    }

    pub(crate) fn check_delete_home_prefix(&self, prefix: Ipv6Prefix) -> Result<(), Refusal> {
        if !self.home_prefixes.contains_key(&prefix) {
            return self.no_home_prefix(prefix);
        }
        let bound = self
            .homes
            .from(Included(prefix.address()))
            .take_while(|(address, _)| prefix.contains(*address))
            .find(|(_, home)| !home.bindings.is_empty());
        if bound.is_some() {
            let message = format!("home addresses in {prefix} have bindings");
            return refusal(RefusalKind::InUse, "prefix", message);
        }
        let provisioned = self.subscribers.from(Included(prefix.address())).next();
        if provisioned.is_some_and(|(address, _)| prefix.contains(address)) {
            let message = format!("subscribers with home addresses in {prefix} exist");
            return refusal(RefusalKind::InUse, "prefix", message);
        }
        let mut guests = self.guests.range((prefix, Ipv6Addr::UNSPECIFIED)..);
        if let Some((_, home_address)) = guests.next().filter(|(served_by, _)| *served_by == prefix)
        {
            let message = format!("it serves the subscriber with {home_address}");
            return refusal(RefusalKind::InUse, "prefix", message);
        }
        Ok(())
    }

    pub(crate) fn delete_home_prefix(&mut self, prefix: Ipv6Prefix) -> Outcome {
        if let Err(refusal) = self.check_delete_home_prefix(prefix) {
            return Outcome::Refused(refusal);
        }
        self.advertising.remove(&prefix);
        let old = self.home_prefixes.remove(&prefix).map(|old| old.record);
        if ipv4_of(old.as_ref()) != (None, None) {
            self.rebuild_pools();
        }
        self.drop_void_lease(prefix);
        self.changed(Change::HomePrefix(prefix));
        Outcome::Done
    }

    /// Its mobile networks must be in ascending order.
    pub(crate) fn check_put_subscriber(
        &self,
        record: &Subscriber,
        must_not_exist: bool,
    ) -> Result<(), Refusal> {
        let home_address = record.home_address;
        let exists = self.subscribers.get(&home_address).is_some();
        if exists && must_not_exist {
            let message = format!("a subscriber with {home_address} exists already");
            return refusal(RefusalKind::Exists, "home_address", message);
        }
        if !exists && self.subscribers.len() >= limits::SUBSCRIBERS_MAX {
            let message = format!("there are {} subscribers, the limit", limits::SUBSCRIBERS_MAX);
            return refusal(RefusalKind::Full, "home_address", message);
        }
        self.check_subscriber(record)?;
        self.check_ownership(record)
    }

    pub(crate) fn put_subscriber(
        &mut self,
        mut record: Subscriber,
        must_not_exist: bool,
    ) -> Outcome {
        record.mobile_networks.sort_unstable();
        if let Err(refusal) = self.check_put_subscriber(&record, must_not_exist) {
            return Outcome::Refused(refusal);
        }
        let home_address = record.home_address;
        let old = self.subscribers.get(&home_address);
        let last_message_id = old.map_or(0, |entry| entry.last_message_id);
        if let Some(old) = self.subscribers.remove(&home_address) {
            self.disown(&old.revised.record);
        }
        self.own(&record);
        self.withdraw(&record);
        let revised = Revised { record, revision: self.revision };
        self.subscribers.insert(home_address, SubscriberEntry { revised, last_message_id });
        Outcome::Done
    }

    /// What the home address no longer owns is no longer carried.
    fn withdraw(&mut self, record: &Subscriber) {
        let home_address = record.home_address;
        let Some(mut home) = self.take_home(home_address) else {
            return;
        };
        let is_owned =
            |prefix: &Ipv6Prefix| record.mobile_networks.iter().any(|p| p.covers(*prefix));
        let networks = home.mobile_networks.len();
        home.mobile_networks.retain(is_owned);
        let held = home.ipv4_home_address;
        let is_held = |held: Ipv4Prefix| match record.ipv4_home_address {
            Some(own) => own.len() <= held.len() && own.contains(held.address()),
            // Out of a pool.
            None => held.len() == 32 && self.ipv4_homes.is_pooled(held.address()),
        };
        home.ipv4_home_address = held.filter(|held| is_held(*held));
        if home.mobile_networks.len() != networks || home.ipv4_home_address != held {
            home.revision = self.revision;
            self.changed(Change::Home(home_address));
        }
        if home.ipv4_home_address.is_none() {
            held.into_iter().for_each(|prefix| self.ipv4_homes.release(prefix));
        }
        self.put_home(home_address, home);
    }

    pub(crate) fn delete_subscriber(&mut self, home_address: Ipv6Addr) -> Outcome {
        let Some(entry) = self.subscribers.remove(&home_address) else {
            return Outcome::Refused(no_subscriber(home_address));
        };
        self.disown(&entry.revised.record);
        self.associations.remove(&home_address);
        // Who is no longer provisioned is no longer carried; the sequence number stays for a while,
        // so that a delayed Binding Update cannot bring the bindings back.
        if let Some(mut home) = self.take_home(home_address) {
            if !home.bindings.is_empty() {
                let held = home.ipv4_home_address;
                held.into_iter().for_each(|prefix| self.ipv4_homes.release(prefix));
                home.bury(self.now);
                home.revision = self.revision;
                self.changed(Change::Home(home_address));
                self.happened_to(home_address, BindingEvent::SubscriberDeleted);
            }
            self.put_home(home_address, home);
        }
        Outcome::Done
    }

    /// The home prefix that serves a subscriber: the one that its home address lies in, or the one
    /// that it names when the address is out of its own mobile network (RFC 3963 §6.1.2).
    fn serving(&self, record: &Subscriber) -> Result<&HomePrefix, Refusal> {
        let home_address = record.home_address;
        let holds = |prefix: &&Revised<HomePrefix>| prefix.record.prefix.contains(home_address);
        let at_home = self.home_prefixes.values().find(holds);
        match (at_home, record.home_prefix) {
            (Some(prefix), None) => Ok(&prefix.record),
            (Some(prefix), Some(_)) => {
                let name = prefix.record.prefix;
                invalid("home_prefix", format!("superfluous: {home_address} is in {name}"))
            }
            (None, Some(named)) => {
                if !record.mobile_networks.iter().any(|p| p.contains(home_address)) {
                    let message = format!(
                        "{home_address} is neither in a home prefix nor in one of mobile_networks"
                    );
                    return invalid("home_address", message);
                }
                let names = self.prefix_names();
                let serving = self.home_prefixes.get(&named).map(|prefix| &prefix.record);
                serving.map_or_else(
                    || {
                        invalid(
                            "home_prefix",
                            format!("no home prefix {named}; there are: {names}"),
                        )
                    },
                    Ok,
                )
            }
            (None, None) => {
                let names = self.prefix_names();
                let message = format!("{home_address} is in no home prefix; there are: {names}");
                invalid("home_address", message)
            }
        }
    }

    fn check_subscriber(&self, record: &Subscriber) -> Result<(), Refusal> {
        let home_address = record.home_address;
        if !is_unicast_routable_v6(home_address) {
            return invalid("home_address", format!("{home_address} is not unicast and routable"));
        }
        let prefix = self.serving(record)?;
        if prefix.home_agent == home_address {
            return invalid("home_address", format!("{home_address} is the home agent's own"));
        }
        if prefix.prefix.address() == home_address {
            let message = format!("{home_address} is the subnet-router anycast address");
            return invalid("home_address", message);
        }
        if record.nai.len() > limits::NAI_LEN_MAX {
            let message = format!("longer than {} octets", limits::NAI_LEN_MAX);
            return invalid("nai", message);
        }
        if record.mn_ha.as_ref().is_some_and(|(spi, _)| *spi < SPI_MIN) {
            let message = format!("must be at least {SPI_MIN}: RFC 4285 reserves those below");
            return invalid("spi", message);
        }
        if record.mn_ha.is_none() && prefix.authentication == Authentication::MnHa {
            let name = prefix.prefix;
            return invalid(
                "key",
                format!("missing: the home prefix {name} authenticates by MN-HA key and SPI"),
            );
        }
        check_flows_max(record.flow_bindings_per_home_address_max.unwrap_or(0))?;
        match record.bindings_per_home_address_max {
            Some(max) => check_bindings_max(max),
            None => Ok(()),
        }
    }

    /// What it owns is nobody else's.
    fn check_ownership(&self, record: &Subscriber) -> Result<(), Refusal> {
        const FIELD: &str = "mobile_networks";
        let (home_address, networks) = (record.home_address, &record.mobile_networks);
        if networks.len() > limits::MOBILE_NETWORKS_PER_SUBSCRIBER_MAX {
            let limit = limits::MOBILE_NETWORKS_PER_SUBSCRIBER_MAX;
            return invalid(FIELD, format!("{} prefixes; at most {limit}", networks.len()));
        }
        // Sorted: of two that overlap, one comes right behind the other or behind what it covers.
        if let Some([one, two]) =
            networks.array_windows().find(|[one, two]: &&[_; 2]| one.overlaps(*two))
        {
            return invalid(FIELD, format!("{one} and {two} overlap"));
        }
        for prefix in networks {
            self.check_mobile_network(home_address, *prefix)?;
        }
        let Some(own) = record.ipv4_home_address else { return Ok(()) };
        self.check_own_ipv4(home_address, own)
    }

    fn check_mobile_network(
        &self,
        home_address: Ipv6Addr,
        prefix: Ipv6Prefix,
    ) -> Result<(), Refusal> {
        const FIELD: &str = "mobile_networks";
        if prefix.is_empty() || !is_unicast_routable_v6(prefix.last()) {
            return invalid(FIELD, format!("{prefix} is not unicast and routable"));
        }
        let other = self.mobile_networks.overlapping_other(prefix, home_address);
        if let Some((theirs, owner)) = other {
            return invalid(FIELD, format!("{prefix} overlaps {theirs} of {owner}"));
        }
        for home_prefix in self.home_prefixes.values().map(|home_prefix| &home_prefix.record) {
            let name = home_prefix.prefix;
            if prefix.covers(name) {
                return invalid(FIELD, format!("{prefix} covers the home prefix {name}"));
            }
            if prefix.contains(home_prefix.home_agent) {
                let agent = home_prefix.home_agent;
                return invalid(FIELD, format!("{prefix} holds the home agent's address {agent}"));
            }
        }
        Ok(())
    }

    fn check_own_ipv4(&self, home_address: Ipv6Addr, own: Ipv4Prefix) -> Result<(), Refusal> {
        const FIELD: &str = "ipv4_home_address";
        if own.is_empty() || !is_unicast_prefix_v4(own) {
            return invalid(FIELD, format!("{own} is not unicast and routable"));
        }
        let agents = self.home_prefixes.values().filter_map(|prefix| prefix.record.home_agent_ipv4);
        if let Some(agent) = agents.into_iter().find(|agent| own.contains(*agent)) {
            return invalid(FIELD, format!("{own} holds the home agent's address {agent}"));
        }
        if let Some(owner) = self.ipv4_homes.other_owner(own, home_address) {
            return invalid(FIELD, format!("{own} overlaps what {owner} owns"));
        }
        if let Some(holder) = self.ipv4_homes.other_holder(own, home_address) {
            let message = format!("an address of {own} is assigned to {holder}");
            return refusal(RefusalKind::InUse, FIELD, message);
        }
        Ok(())
    }

    /// What a home prefix needs is not somebody's already.
    fn check_neighbours(&self, record: &HomePrefix) -> Result<(), Refusal> {
        let prefix = record.prefix;
        if let Some((network, owner)) = self.mobile_networks.overlapping(prefix) {
            let is_around = network.covers(prefix);
            if is_around || self.mobile_networks.owner(record.home_agent).is_some() {
                let field = if is_around { "prefix" } else { "home_agent" };
                return invalid(field, format!("in the mobile network {network} of {owner}"));
            }
        }
        if let Some(pool) = record.ipv4_pool {
            let others = self.home_prefixes.values().filter(|other| other.record.prefix != prefix);
            let pools =
                others.filter_map(|other| Some((other.record.prefix, other.record.ipv4_pool?)));
            if let Some((other, theirs)) = pools.into_iter().find(|(_, p)| p.overlaps(pool)) {
                let message = format!("{pool} overlaps the pool {theirs} of {other}");
                return invalid("ipv4_pool", message);
            }
        }
        let Some(agent) = record.home_agent_ipv4 else { return Ok(()) };
        let host = Ipv4Prefix::host(agent);
        let is_somebodys = self.ipv4_homes.owner(host).or(self.ipv4_homes.holder(host)).is_some();
        if is_somebodys {
            let message = format!("{agent} is a mobile node's IPv4 home address");
            return refusal(RefusalKind::InUse, "home_agent_ipv4", message);
        }
        Ok(())
    }
}

/// What of a home prefix the pools depend on.
fn ipv4_of(record: Option<&HomePrefix>) -> (Option<Ipv4Prefix>, Option<Ipv4Addr>) {
    record.map_or((None, None), |record| (record.ipv4_pool, record.home_agent_ipv4))
}

fn is_unicast_prefix_v4(prefix: Ipv4Prefix) -> bool {
    is_unicast_routable_v4(prefix.address()) && is_unicast_routable_v4(prefix.last())
}

/// What mobile nodes and their bindings rely on stays as long as the home prefix.
fn check_change(old: &HomePrefix, new: &HomePrefix) -> Result<(), Refusal> {
    const ANEW: &str = "delete the home prefix and create it anew";
    let shrinks = |old: Ipv4Prefix, new: Option<Ipv4Prefix>| {
        new.is_none_or(|new| new.len() > old.len() || !new.contains(old.address()))
    };
    if new.home_agent != old.home_agent {
        let message = format!("mobile nodes are registered with {}; {ANEW}", old.home_agent);
        return invalid("home_agent", message);
    }
    if let Some(address) = old.home_agent_ipv4
        && new.home_agent_ipv4 != old.home_agent_ipv4
    {
        let message = format!("mobile nodes are registered with {address}; {ANEW}");
        return invalid("home_agent_ipv4", message);
    }
    if new.authentication != old.authentication {
        return invalid("authentication", format!("subscribers have keys for it or not; {ANEW}"));
    }
    if new.real_home_link != old.real_home_link {
        let message = format!("home addresses are looked for on the link or not; {ANEW}");
        return invalid("real_home_link", message);
    }
    if let Some(pool) = old.ipv4_pool.filter(|pool| shrinks(*pool, new.ipv4_pool)) {
        let message = format!("addresses of {pool} may be assigned: it can only grow; else {ANEW}");
        return invalid("ipv4_pool", message);
    }
    Ok(())
}

fn check_home_prefix(record: &HomePrefix) -> Result<(), Refusal> {
    let prefix = record.prefix;
    if !(8..=127).contains(&prefix.len()) {
        return invalid("prefix", format!("length {} is not in 8..=127", prefix.len()));
    }
    if !is_unicast_routable_v6(record.home_agent) || !prefix.contains(record.home_agent) {
        let message = format!("{} is no unicast address inside {prefix}", record.home_agent);
        return invalid("home_agent", message);
    }
    if prefix.address() == record.home_agent {
        let message = format!("{} is the subnet-router anycast address", record.home_agent);
        return invalid("home_agent", message);
    }
    if let Some(address) = record.home_agent_ipv4 {
        let loopback = record.loopback_care_of_allowed && address.is_loopback();
        if !is_unicast_routable_v4(address) && !loopback {
            return invalid("home_agent_ipv4", format!("{address} is not unicast and routable"));
        }
    }
    if !(LIFETIME_SECS_WIRE_MIN..=LIFETIME_SECS_WIRE_MAX).contains(&record.lifetime_max_secs) {
        let message =
            format!("{} s is not in 4..={LIFETIME_SECS_WIRE_MAX} s", record.lifetime_max_secs);
        return invalid("lifetime_max_secs", message);
    }
    if record.valid_lifetime_secs < LIFETIME_SECS_WIRE_MIN {
        let message =
            format!("{} s is less than {LIFETIME_SECS_WIRE_MIN} s", record.valid_lifetime_secs);
        return invalid("valid_lifetime_secs", message);
    }
    if record.preferred_lifetime_secs > record.valid_lifetime_secs {
        let (preferred, valid) = (record.preferred_lifetime_secs, record.valid_lifetime_secs);
        let message = format!("{preferred} s is longer than the valid lifetime of {valid} s");
        return invalid("preferred_lifetime_secs", message);
    }
    if !(1..=NAT_KEEPALIVE_SECS_MAX).contains(&record.nat_keepalive_secs) {
        let message =
            format!("{} s is not in 1..={NAT_KEEPALIVE_SECS_MAX} s", record.nat_keepalive_secs);
        return invalid("nat_keepalive_secs", message);
    }
    if let Some(pool) = record.ipv4_pool
        && (pool.len() < limits::IPV4_POOL_LEN_MIN || !is_unicast_prefix_v4(pool))
    {
        let min = limits::IPV4_POOL_LEN_MIN;
        let message = format!("{pool} is no unicast prefix of at least {min} bits");
        return invalid("ipv4_pool", message);
    }
    let delays =
        (record.prefix_advertisement_delay_min_secs, record.prefix_advertisement_delay_max_secs);
    if delays.0 > delays.1 {
        let message = format!("{} s is longer than the longest delay of {} s", delays.0, delays.1);
        return invalid("prefix_advertisement_delay_min_secs", message);
    }
    check_flows_max(record.flow_bindings_per_home_address_max)?;
    check_bindings_max(record.bindings_per_home_address_max)
}

fn check_flows_max(max: u8) -> Result<(), Refusal> {
    let limit = limits::FLOW_BINDINGS_PER_HOME_ADDRESS_MAX;
    if max <= limit {
        return Ok(());
    }
    invalid("flow_bindings_per_home_address_max", format!("{max} is not in 0..={limit}"))
}

fn check_bindings_max(max: u8) -> Result<(), Refusal> {
    if (1..=limits::BINDINGS_PER_HOME_ADDRESS_MAX).contains(&max) {
        return Ok(());
    }
    let limit = limits::BINDINGS_PER_HOME_ADDRESS_MAX;
    invalid("bindings_per_home_address_max", format!("{max} is not in 1..={limit}"))
}

pub(crate) fn no_subscriber(home_address: Ipv6Addr) -> Refusal {
    let message = format!("no subscriber with {home_address}");
    Refusal { kind: RefusalKind::NotFound, field: Cow::Borrowed("home_address"), message }
}

fn invalid<T>(field: &'static str, message: String) -> Result<T, Refusal> {
    refusal(RefusalKind::Invalid, field, message)
}

const fn refusal<T>(kind: RefusalKind, field: &'static str, message: String) -> Result<T, Refusal> {
    Err(Refusal { kind, field: Cow::Borrowed(field), message })
}
