//! What a node is told in its configuration file, and what is wrong with that.

mod flow;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4};

use homeport_mobile::{
    CareOf, CareOfAddress, Flow, MnHaAssociation, MobileRouter, NetworkPrefix, Refresh, Settings,
    limits,
};
use homeport_wire::{Bid, BidPriority, Lifetime, MOBILITY_UDP_PORT, is_unicast_routable_v6};
use ipnet::Ipv6Net;
use serde::Deserialize;

use crate::protection::{IpsecConfig, Protection};

pub use flow::{FlowConfig, IpOrNet, Ports};

/// Octets of an RFC 4285 key.
const KEY_OCTETS: usize = 16;
/// SPIs below this are reserved (RFC 4285 §5).
const SPI_MIN: u32 = 256;
/// Longest lifetime of a binding: 65535 units of four seconds.
const LIFETIME_SECS_MAX: u32 = 262_140;

/// A mobile node: one home address, one home agent, and the care-of addresses.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The home address.
    pub home_address: Ipv6Addr,
    /// The home agent's address. Absent: the node asks the home link, which needs an IPv6 care-of
    /// address.
    #[serde(default = "default_home_agent")]
    pub home_agent: Ipv6Addr,
    /// Length of the home prefix: where home agents are asked.
    #[serde(default = "default_home_prefix_len")]
    pub home_prefix_len: u8,
    /// IPv4 addresses of home agents that this one may send the node to.
    #[serde(default)]
    pub other_home_agents: Vec<OtherHomeAgent>,
    /// The home agent's IPv4 address: needed for IPv4 care-of addresses.
    pub home_agent_v4: Option<Ipv4Addr>,
    /// Its UDP port.
    #[serde(default = "default_port")]
    pub home_agent_port: u16,
    /// Lifetime to ask for; units of four seconds.
    #[serde(default = "default_lifetime_secs")]
    pub lifetime_secs: u32,
    /// The key shared with the home agent (RFC 4285). Without one, updates go bare.
    pub authentication: Option<AuthenticationConfig>,
    /// Signalling goes and comes in ESP. Without, in the clear.
    pub ipsec: Option<IpsecConfig>,
    /// The care-of addresses.
    #[serde(default)]
    pub care_of: Vec<CareOfConfig>,
    /// Flow bindings.
    #[serde(default, rename = "flow")]
    pub flows: Vec<FlowConfig>,
    /// A TUN device for the home address, which also makes IPv6 care-of addresses possible. Needs
    /// privileges.
    pub tun: Option<TunConfig>,
    /// The home link, when an interface may be on it. With a TUN only.
    pub home_link: Option<HomeLinkConfig>,
    /// What the node does by itself.
    #[serde(default)]
    pub refresh: RefreshConfig,
    /// Speak RFC 5648; off for plain Binding Updates.
    #[serde(default = "default_true")]
    pub multiple_care_of: bool,
    /// Ask for UDP encapsulation on IPv4 paths without a translator too. A node without privileges
    /// cannot take IP-in-IPv4.
    #[serde(default = "default_true")]
    pub force_udp: bool,
    /// Set the K flag.
    #[serde(default)]
    pub key_management_mobility: bool,
    /// Register as a mobile router (RFC 3963).
    #[serde(default)]
    pub mobile_router: bool,
    /// Prefixes behind the mobile router. With a TUN device the host carries their packets.
    #[serde(default)]
    pub mobile_network_prefixes: Vec<Ipv6Net>,
    /// Name the prefixes in every update (explicit mode); off: the home agent knows them (implicit
    /// mode).
    #[serde(default = "default_true")]
    pub mobile_network_explicit: bool,
    /// Register as a host when the home agent does not serve routers.
    #[serde(default)]
    pub mobile_router_or_host: bool,
    /// IPv4 home address to ask for; 0.0.0.0 takes any.
    pub ipv4_home_address: Option<Ipv4Addr>,
    /// Binding Updates in any second. The RFC's limit is 3; load tests raise it.
    #[serde(default = "default_updates_per_second")]
    pub updates_per_second_max: u16,
    /// Times that an update is sent before the node pauses.
    #[serde(default = "default_attempts")]
    pub attempts_max: u8,
    /// How long a command waits for its end. The node goes on when the time is over.
    #[serde(default = "default_request_timeout_ms")]
    pub request_timeout_ms: u64,
    /// Binding Updates that the journal keeps, oldest dropped first.
    #[serde(default = "default_journal_updates")]
    pub journal_updates_max: usize,
}

/// `[[other_home_agents]]`: how another home agent is reached over IPv4.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtherHomeAgent {
    /// Its address.
    pub address: Ipv6Addr,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its UDP port.
    #[serde(default = "default_port")]
    pub port: u16,
}

/// `[authentication]`: the security association of RFC 4285.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthenticationConfig {
    /// Security parameter index, 256 or above.
    pub spi: u32,
    /// 16 octets in hexadecimal.
    pub key: String,
    /// Network access identifier, `mn1@example.com`.
    pub nai: String,
    /// Send timestamps.
    #[serde(default)]
    pub mesg_id: bool,
}

impl std::fmt::Debug for AuthenticationConfig {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthenticationConfig")
            .field("spi", &self.spi)
            .field("nai", &self.nai)
            .field("mesg_id", &self.mesg_id)
            .finish_non_exhaustive()
    }
}

/// `[[care_of]]`: one care-of address.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CareOfConfig {
    /// Binding identifier, 1 to 65535.
    pub bid: u16,
    /// The address, IPv4 or IPv6.
    pub address: IpAddr,
    /// Preference, 1 (most) to 127; absent: none.
    pub priority: Option<u8>,
    /// The interface on the foreign link. With a TUN only.
    pub interface: Option<String>,
    /// The router on the foreign link. With a TUN only.
    pub gateway: Option<IpAddr>,
    /// Local UDP port of an IPv4 address; 0 takes a free one.
    #[serde(default)]
    pub udp_port: u16,
}

/// `[tun]`: the device that holds the home address.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TunConfig {
    /// Name of the device.
    pub name: String,
    /// Network namespace, by name or path; absent: the process's own.
    pub netns: Option<String>,
    /// MTU of routes into the tunnel: what is left inside it.
    #[serde(default = "default_mtu")]
    pub mtu: u16,
}

/// `[home_link]`: the way in and out of the home link.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HomeLinkConfig {
    /// The interface.
    pub interface: String,
    /// The router there.
    pub gateway: Ipv6Addr,
    /// Binding identifier of a home binding, to be on the home link and on foreign ones together.
    /// Absent: the node is at home or away.
    pub bid: Option<u16>,
}

/// `[refresh]`: what the node does without a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RefreshConfig {
    /// Renew bindings before they end.
    pub automatic: bool,
    /// All in one update, where the rules allow it.
    pub bulk: bool,
    /// Leave out care-of addresses that the home agent has.
    pub short: bool,
    /// Renew all at this interval, answered or not: for failover tests.
    pub every_ms: Option<u64>,
}

impl Default for RefreshConfig {
    fn default() -> Self {
        Self { automatic: true, bulk: true, short: false, every_ms: None }
    }
}

const fn default_home_agent() -> Ipv6Addr {
    Ipv6Addr::UNSPECIFIED
}

const fn default_home_prefix_len() -> u8 {
    64
}

const fn default_port() -> u16 {
    MOBILITY_UDP_PORT
}

const fn default_lifetime_secs() -> u32 {
    600
}

const fn default_true() -> bool {
    true
}

const fn default_updates_per_second() -> u16 {
    limits::UPDATES_PER_SECOND_MAX
}

const fn default_attempts() -> u8 {
    7
}

const fn default_request_timeout_ms() -> u64 {
    10_000
}

const fn default_journal_updates() -> usize {
    100_000
}

const fn default_mtu() -> u16 {
    // 1500 on the foreign link, less the tunnel's IPv6 header, or IPv4 and UDP.
    1460
}

/// A value that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{key}` {wrong}; expected {expected}")]
pub struct ConfigFault {
    /// The key with its tables: `care_of[1].address`.
    pub key: String,
    /// What is wrong with it.
    pub wrong: String,
    /// What would be right.
    pub expected: String,
}

pub(crate) fn fault(
    key: impl Into<String>,
    wrong: impl Into<String>,
    expected: &str,
) -> ConfigFault {
    ConfigFault { key: key.into(), wrong: wrong.into(), expected: expected.to_owned() }
}

impl Config {
    /// A node without care-of addresses and without a key.
    #[must_use]
    pub fn new(home_address: Ipv6Addr, home_agent: Ipv6Addr) -> Self {
        Self {
            home_address,
            home_agent,
            home_prefix_len: default_home_prefix_len(),
            other_home_agents: Vec::new(),
            home_agent_v4: None,
            home_agent_port: default_port(),
            lifetime_secs: default_lifetime_secs(),
            authentication: None,
            ipsec: None,
            care_of: Vec::new(),
            flows: Vec::new(),
            tun: None,
            home_link: None,
            refresh: RefreshConfig::default(),
            multiple_care_of: true,
            force_udp: true,
            key_management_mobility: false,
            mobile_router: false,
            mobile_network_prefixes: Vec::new(),
            mobile_network_explicit: true,
            mobile_router_or_host: false,
            ipv4_home_address: None,
            updates_per_second_max: default_updates_per_second(),
            attempts_max: default_attempts(),
            request_timeout_ms: default_request_timeout_ms(),
            journal_updates_max: default_journal_updates(),
        }
    }

    /// Checks everything that a type cannot, and gives what the machine takes.
    pub fn settings(&self) -> Result<Settings, ConfigFault> {
        self.check_addresses()?;
        self.check_numbers()?;
        let mut bids = BTreeSet::new();
        for (at, care_of) in self.care_of.iter().enumerate() {
            self.check_care_of(&format!("care_of[{at}]"), care_of)?;
            if !bids.insert(care_of.bid) {
                let wrong = format!("is {} once more", care_of.bid);
                return Err(fault(format!("care_of[{at}].bid"), wrong, "another number in each"));
            }
        }
        if self.care_of.len() > limits::BINDINGS_MAX {
            let wrong = format!("has {} items", self.care_of.len());
            return Err(fault("care_of", wrong, "at most 64"));
        }
        self.check_home_link()?;
        self.protection(0)?;
        self.flows()?;
        Ok(Settings {
            home_address: self.home_address,
            home_agent: self.home_agent,
            home_prefix_len: self.home_prefix_len,
            other_home_agents_v4: self
                .other_home_agents
                .iter()
                .map(|other| (other.address, SocketAddrV4::new(other.v4, other.port)))
                .collect(),
            home_agent_v4: self.home_agent_v4.map(|ip| SocketAddrV4::new(ip, self.home_agent_port)),
            lifetime: Lifetime::from_secs(self.lifetime_secs),
            authentication: self.authentication.as_ref().map(association).transpose()?,
            multiple_care_of: self.multiple_care_of,
            force_udp: self.force_udp,
            key_management_mobility: self.key_management_mobility,
            mobile_router: self.router()?,
            ipv4_home_address: self.ipv4_home_address,
            link_layer_address: None,
            refresh: Refresh {
                automatic: self.refresh.automatic,
                bulk: self.refresh.bulk,
                short: self.refresh.short,
            },
            updates_per_second_max: self.updates_per_second_max,
            attempts_max: self.attempts_max,
        })
    }

    /// What puts signalling into ESP; `now_secs` is the time since the Unix epoch.
    pub(crate) fn protection(&self, now_secs: u64) -> Result<Option<Protection>, ConfigFault> {
        let ipsec = self.ipsec.as_ref();
        ipsec.map(|ipsec| ipsec.protection(self.home_address, now_secs)).transpose()
    }

    /// The flow bindings as the machine takes them.
    pub fn flows(&self) -> Result<Vec<Flow>, ConfigFault> {
        flow::flows(&self.flows)
    }

    /// The care-of addresses as the machine takes them.
    #[must_use]
    pub fn addresses(&self) -> Vec<CareOfAddress> {
        let home = self.home_link.as_ref().and_then(|link| link.bid);
        let home = home.map(|bid| CareOfAddress::new(Bid(bid), CareOf::Home));
        self.care_of.iter().map(CareOfConfig::to_address).chain(home).collect()
    }

    fn check_addresses(&self) -> Result<(), ConfigFault> {
        for (key, address) in [("home_address", self.home_address), ("home_agent", self.home_agent)]
        {
            let to_be_found = key == "home_agent" && address.is_unspecified();
            if !to_be_found && !is_unicast_routable_v6(address) {
                let wrong = format!("is {address}");
                return Err(fault(key, wrong, "a unicast IPv6 address that can be routed"));
            }
        }
        if self.home_address == self.home_agent {
            return Err(fault("home_address", "is the home agent's", "another address"));
        }
        let has_ipv6 = self.care_of.iter().any(|care_of| care_of.address.is_ipv6());
        if self.home_agent.is_unspecified() && !has_ipv6 {
            let expected = "an address, or an IPv6 care-of address from which to ask";
            return Err(fault("home_agent", "is missing", expected));
        }
        Ok(())
    }

    fn check_home_link(&self) -> Result<(), ConfigFault> {
        let Some(link) = &self.home_link else {
            return Ok(());
        };
        if self.tun.is_none() {
            return Err(fault("tun", "is missing, but there is a home link", "a [tun] table"));
        }
        if let Some(bid) = link.bid
            && (bid == 0 || self.care_of.iter().any(|care_of| care_of.bid == bid))
        {
            let expected = "1 to 65535, another than those of the care-of addresses";
            return Err(fault("home_link.bid", format!("is {bid}"), expected));
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<(), ConfigFault> {
        let range = |key: &str, value: u64, low: u64, high: u64| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(fault(key, format!("is {value}"), &format!("{low} to {high}")))
        };
        let lifetime = u64::from(self.lifetime_secs);
        range("lifetime_secs", lifetime, 4, u64::from(LIFETIME_SECS_MAX))?;
        range("home_prefix_len", u64::from(self.home_prefix_len), 1, 128)?;
        range("home_agent_port", u64::from(self.home_agent_port), 1, 65535)?;
        range("updates_per_second_max", u64::from(self.updates_per_second_max), 1, 65535)?;
        range("attempts_max", u64::from(self.attempts_max), 1, 255)?;
        range("request_timeout_ms", self.request_timeout_ms, 1, 3_600_000)?;
        range("refresh.every_ms", self.refresh.every_ms.unwrap_or(1), 1, 3_600_000)
    }

    /// `key` is where the address stands: `care_of[0]`, or the argument of a command.
    pub(crate) fn check_care_of(
        &self,
        key: &str,
        care_of: &CareOfConfig,
    ) -> Result<(), ConfigFault> {
        let key = |field: &str| format!("{key}.{field}");
        if care_of.bid == 0 {
            return Err(fault(key("bid"), "is 0", "1 to 65535"));
        }
        if let Some(priority) = care_of.priority.filter(|value| !(1..=127).contains(value)) {
            return Err(fault(key("priority"), format!("is {priority}"), "1 to 127"));
        }
        let wrong = format!("is {}", care_of.address);
        match (care_of.address, &self.tun) {
            (IpAddr::V4(address), _) => {
                if address.is_unspecified() || address.is_multicast() || address.is_broadcast() {
                    return Err(fault(key("address"), wrong, "a unicast address"));
                }
                if self.home_agent_v4.is_none() {
                    let wrong = format!("is missing, but {} is IPv4", key("address"));
                    return Err(fault("home_agent_v4", wrong, "the home agent's IPv4 address"));
                }
            }
            (IpAddr::V6(address), Some(_)) => {
                if !is_unicast_routable_v6(address) {
                    let expected = "a unicast address that can be routed";
                    return Err(fault(key("address"), wrong, expected));
                }
                if care_of.interface.is_none() || care_of.gateway.is_none() {
                    let missing = if care_of.interface.is_none() { "interface" } else { "gateway" };
                    let expected = "the way out of the foreign link";
                    return Err(fault(key(missing), "is missing", expected));
                }
            }
            (IpAddr::V6(_), None) => {
                let expected = "an IPv4 address, or a [tun] table (which needs privileges)";
                return Err(fault(key("address"), wrong, expected));
            }
        }
        match care_of.gateway {
            Some(gateway) if gateway.is_ipv4() != care_of.address.is_ipv4() => {
                let wrong = format!("is {gateway}");
                Err(fault(key("gateway"), wrong, "an address of the family of the care-of address"))
            }
            _ => Ok(()),
        }
    }

    fn router(&self) -> Result<Option<MobileRouter>, ConfigFault> {
        if !self.mobile_router {
            if self.mobile_network_prefixes.is_empty() {
                return Ok(None);
            }
            let expected = "mobile_router = true, or no prefixes";
            return Err(fault("mobile_network_prefixes", "is for mobile routers", expected));
        }
        let prefixes = self
            .mobile_network_prefixes
            .iter()
            .map(|prefix| NetworkPrefix { prefix: prefix.network(), length: prefix.prefix_len() });
        Ok(Some(MobileRouter {
            prefixes: prefixes.collect(),
            explicit: self.mobile_network_explicit,
            host_when_refused: self.mobile_router_or_host,
        }))
    }
}

impl CareOfConfig {
    /// An address with nothing else to it.
    #[must_use]
    pub const fn new(bid: u16, address: IpAddr) -> Self {
        Self { bid, address, priority: None, interface: None, gateway: None, udp_port: 0 }
    }

    /// The address as the machine takes it.
    #[must_use]
    pub fn to_address(&self) -> CareOfAddress {
        CareOfAddress {
            bid: Bid(self.bid),
            care_of: match self.address {
                IpAddr::V4(address) => CareOf::V4(address),
                IpAddr::V6(address) => CareOf::V6(address),
            },
            priority: self.priority.map_or(BidPriority::UNSET, BidPriority::new),
        }
    }
}

fn association(config: &AuthenticationConfig) -> Result<MnHaAssociation, ConfigFault> {
    if config.spi < SPI_MIN {
        let wrong = format!("is {}", config.spi);
        return Err(fault("authentication.spi", wrong, "256 or above"));
    }
    let key = unhex(&config.key).filter(|key| key.len() == KEY_OCTETS);
    // The key itself does not belong into a message.
    let key = key.ok_or_else(|| {
        let wrong = format!("is {} characters that are not such a key", config.key.len());
        fault("authentication.key", wrong, "32 hexadecimal digits (16 octets)")
    })?;
    if config.nai.is_empty() || config.nai.len() > 253 {
        let wrong = format!("has {} octets", config.nai.len());
        return Err(fault("authentication.nai", wrong, "1 to 253"));
    }
    Ok(MnHaAssociation {
        spi: config.spi,
        key,
        identifier: config.nai.clone().into_bytes(),
        message_id: config.mesg_id,
    })
}

pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let (pairs, rest) = digits.as_ref()?.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests;
