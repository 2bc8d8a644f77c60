use alloc::vec::Vec;
use core::net::Ipv6Addr;

use homeport_wire::PrefixInformation;

use crate::link::LinkLayerAddress;

/// What an operator sets for a home link, and what this node has on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Of this node's interface.
    pub link_layer_address: LinkLayerAddress,
    /// Link-local address of this node's interface: source of its Router Advertisements.
    pub link_local: Ipv6Addr,
    /// The home agent's global address, shared by all nodes of the cluster.
    pub home_agent: Ipv6Addr,
    /// The home agents' anycast address (RFC 6275 §10.5), answered for when somebody asks.
    pub anycast: Option<Ipv6Addr>,
    /// Advertised prefixes. For RFC 6275 §7.2 at least one holds the home agent's address and the R flag.
    pub prefixes: Vec<PrefixInformation>,
    /// Home agent preference (RFC 6275 §7.4), higher is better; default 0.
    pub preference: u16,
    /// Home agent lifetime (RFC 6275 §7.4), seconds, 1..=65520; default 1800.
    pub home_agent_lifetime_secs: u16,
    /// As default router of the link (RFC 4861 §6.2.1), seconds, 0..=9000; default 1800.
    pub router_lifetime_secs: u16,
    /// Serves mobile routers (RFC 3963 §7.3); default false.
    pub mobile_routers: bool,
    /// MaxRtrAdvInterval (RFC 6275 §7.5), milliseconds, 70..=1800000; the shortest time between two is a
    /// third of it. Default 600000.
    pub advertisement_interval_max_ms: u32,
    /// MIN_DELAY_BETWEEN_RAS (RFC 6275 §7.5), milliseconds, at least 30; default 3000.
    pub advertisement_delay_min_ms: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            link_layer_address: [0; 6],
            link_local: Ipv6Addr::UNSPECIFIED,
            home_agent: Ipv6Addr::UNSPECIFIED,
            anycast: None,
            prefixes: Vec::new(),
            preference: 0,
            home_agent_lifetime_secs: 1800,
            router_lifetime_secs: 1800,
            mobile_routers: false,
            advertisement_interval_max_ms: 600_000,
            advertisement_delay_min_ms: 3000,
        }
    }
}
