//! What operators change: home prefixes and subscribers.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use core::net::Ipv6Addr;

use homeport_wire::{is_unicast_routable_v4, is_unicast_routable_v6};

use crate::cache::{BindingCache, Change, SubscriberEntry};
use crate::limits;
use crate::prefix::Ipv6Prefix;
use crate::record::{Authentication, HomePrefix, Revised, Subscriber};
use crate::verdict::{Outcome, Refusal, RefusalKind};

/// RFC 4285 §5.1: parameter indexes below are reserved.
const SPI_MIN: u32 = 256;
/// Longest lifetime that the wire can carry, in seconds (RFC 6275 §6.1.7).
const LIFETIME_SECS_WIRE_MAX: u32 = 262_140;

impl BindingCache {
    pub(crate) fn put_home_prefix(&mut self, record: HomePrefix, must_not_exist: bool) -> Outcome {
        let prefix = record.prefix;
        let exists = self.home_prefixes.contains_key(&prefix);
        if exists && must_not_exist {
            return refuse(RefusalKind::Exists, "prefix", format!("{prefix} exists already"));
        }
        if let Err(refusal) = check_home_prefix(&record) {
            return Outcome::Refused(refusal);
        }
        if let Some(other) =
            self.home_prefixes.keys().find(|other| **other != prefix && other.overlaps(prefix))
        {
            let message = format!("{prefix} overlaps the home prefix {other}");
            return refuse(RefusalKind::Invalid, "prefix", message);
        }
        if !exists && self.home_prefixes.len() >= limits::HOME_PREFIXES_MAX {
            let message =
                format!("there are {} home prefixes, the limit", limits::HOME_PREFIXES_MAX);
            return refuse(RefusalKind::Full, "prefix", message);
        }
        let revision = self.revision;
        self.home_prefixes.insert(prefix, Revised { record, revision });
        self.changed(Change::HomePrefix(prefix));
        Outcome::Done
    }

    pub(crate) fn delete_home_prefix(&mut self, prefix: Ipv6Prefix) -> Outcome {
        if !self.home_prefixes.contains_key(&prefix) {
            let message = format!("no home prefix {prefix}; there are: {}", self.prefix_names());
            return refuse(RefusalKind::NotFound, "prefix", message);
        }
        let bound = self
            .homes
            .range(prefix.address()..)
            .take_while(|(address, _)| prefix.contains(**address))
            .find(|(_, home)| !home.bindings.is_empty());
        if bound.is_some() {
            let message = format!("home addresses in {prefix} have bindings");
            return refuse(RefusalKind::InUse, "prefix", message);
        }
        let mut provisioned = self.subscribers.range(prefix.address()..);
        if provisioned.next().is_some_and(|(address, _)| prefix.contains(*address)) {
            let message = format!("subscribers with home addresses in {prefix} exist");
            return refuse(RefusalKind::InUse, "prefix", message);
        }
        self.home_prefixes.remove(&prefix);
        self.changed(Change::HomePrefix(prefix));
        Outcome::Done
    }

    pub(crate) fn put_subscriber(&mut self, record: Subscriber, must_not_exist: bool) -> Outcome {
        let home_address = record.home_address;
        let old = self.subscribers.get(&home_address);
        if old.is_some() && must_not_exist {
            let message = format!("a subscriber with {home_address} exists already");
            return refuse(RefusalKind::Exists, "home_address", message);
        }
        if old.is_none() && self.subscribers.len() >= limits::SUBSCRIBERS_MAX {
            let message = format!("there are {} subscribers, the limit", limits::SUBSCRIBERS_MAX);
            return refuse(RefusalKind::Full, "home_address", message);
        }
        let last_message_id = old.map_or(0, |entry| entry.last_message_id);
        if let Err(refusal) = self.check_subscriber(&record) {
            return Outcome::Refused(refusal);
        }
        let revised = Revised { record, revision: self.revision };
        self.subscribers.insert(home_address, SubscriberEntry { revised, last_message_id });
        Outcome::Done
    }

    pub(crate) fn delete_subscriber(&mut self, home_address: Ipv6Addr) -> Outcome {
        if self.subscribers.remove(&home_address).is_none() {
            let message = format!("no subscriber with {home_address}");
            return refuse(RefusalKind::NotFound, "home_address", message);
        }
        // Who is no longer provisioned is no longer carried; the sequence number stays for a while,
        // so that a delayed Binding Update cannot bring the bindings back.
        if let Some(mut home) = self.take_home(home_address) {
            if !home.bindings.is_empty() {
                home.bury(self.now);
                home.revision = self.revision;
                self.changed(Change::Home(home_address));
            }
            self.put_home(home_address, home);
        }
        Outcome::Done
    }

    fn check_subscriber(&self, record: &Subscriber) -> Result<(), Refusal> {
        let home_address = record.home_address;
        let Some(prefix) =
            self.home_prefixes.values().find(|p| p.record.prefix.contains(home_address))
        else {
            let names = self.prefix_names();
            return invalid(
                "home_address",
                format!("{home_address} is in no home prefix; there are: {names}"),
            );
        };
        if prefix.record.home_agent == home_address {
            return invalid("home_address", format!("{home_address} is the home agent's own"));
        }
        if prefix.record.prefix.address() == home_address {
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
        if record.mn_ha.is_none() && prefix.record.authentication == Authentication::MnHa {
            let name = prefix.record.prefix;
            return invalid(
                "key",
                format!("missing: the home prefix {name} authenticates by MN-HA key and SPI"),
            );
        }
        match record.bindings_per_home_address_max {
            Some(max) => check_bindings_max(max),
            None => Ok(()),
        }
    }
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
    if !(4..=LIFETIME_SECS_WIRE_MAX).contains(&record.lifetime_max_secs) {
        let message =
            format!("{} s is not in 4..={LIFETIME_SECS_WIRE_MAX} s", record.lifetime_max_secs);
        return invalid("lifetime_max_secs", message);
    }
    check_bindings_max(record.bindings_per_home_address_max)
}

fn check_bindings_max(max: u8) -> Result<(), Refusal> {
    if (1..=limits::BINDINGS_PER_HOME_ADDRESS_MAX).contains(&max) {
        return Ok(());
    }
    let limit = limits::BINDINGS_PER_HOME_ADDRESS_MAX;
    invalid("bindings_per_home_address_max", format!("{max} is not in 1..={limit}"))
}

fn invalid<T>(field: &'static str, message: String) -> Result<T, Refusal> {
    Err(Refusal { kind: RefusalKind::Invalid, field: Cow::Borrowed(field), message })
}

const fn refuse(kind: RefusalKind, field: &'static str, message: String) -> Outcome {
    Outcome::Refused(Refusal { kind, field: Cow::Borrowed(field), message })
}
