use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};

use crate::association::Association;
use crate::limits;
use crate::prefix::{Ipv4Prefix, Ipv6Prefix};

/// How mobile nodes of a home prefix prove who they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Authentication {
    /// Laboratories only: every Binding Update is believed.
    None,
    /// The MN-HA option of RFC 4285 §5.1 with the subscriber's key.
    MnHa,
    /// ESP in transport mode (RFC 4877 §3): Binding Updates in the clear are dropped.
    Ipsec,
}

/// A home prefix that the cluster serves, and its policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HomePrefix {
    /// Home addresses lie inside.
    pub prefix: Ipv6Prefix,
    /// Address of the home agent, inside the prefix.
    pub home_agent: Ipv6Addr,
    /// IPv4 address of the home agent for UDP 4191 (RFC 5555).
    pub home_agent_ipv4: Option<Ipv4Addr>,
    /// How its mobile nodes are authenticated.
    pub authentication: Authentication,
    /// RFC 5648: several care-of addresses; else 166.
    pub multiple_care_of_allowed: bool,
    /// RFC 5648: several BID options in one Binding Update; else 168.
    pub bulk_allowed: bool,
    /// RFC 5648 §5.6: home binding beside foreign ones; else 169.
    pub home_and_foreign_allowed: bool,
    /// 1..=64; a further binding is refused with 130.
    pub bindings_per_home_address_max: u8,
    /// Longest lifetime granted, in seconds.
    pub lifetime_max_secs: u32,
    /// Valid lifetime of the prefix, in seconds; `u32::MAX` is for ever.
    pub valid_lifetime_secs: u32,
    /// Preferred lifetime of the prefix, in seconds; `u32::MAX` is for ever.
    pub preferred_lifetime_secs: u32,
    /// The home agent is the only router of the home link (RFC 5648 §6.3).
    pub only_router: bool,
    /// Laboratories only: IPv4 care-of addresses in 127.0.0.0/8 are taken.
    pub loopback_care_of_allowed: bool,
    /// Data to an IPv4 care-of address goes in UDP although there is no NAT; else by protocol 41 or
    /// 4 (RFC 5555 §4.4).
    pub force_udp_encapsulation: bool,
    /// A mobile node may ask for UDP by the F flag; else it is refused (RFC 5555 §4.4).
    pub force_udp_requests_allowed: bool,
    /// Refresh interval given to a mobile node behind a NAT, in seconds (RFC 5555 §3.2.2).
    pub nat_keepalive_secs: u32,
    /// IPv4 home addresses are assigned out of this (RFC 5555 §3.1.1).
    pub ipv4_pool: Option<Ipv4Prefix>,
    /// RFC 3963: mobile routers; else 140.
    pub mobile_networks_allowed: bool,
    /// RFC 6089: flow bindings; 0 refuses each with 128.
    pub flow_bindings_per_home_address_max: u8,
    /// RFC 6275 §10.5: answers who looks for a home agent.
    pub home_agent_discovery_allowed: bool,
    /// RFC 6275 §10.6: answers who asks for the prefix.
    pub prefix_discovery_allowed: bool,
    /// A link stands behind the prefix: Duplicate Address Detection precedes a first binding, and a
    /// forwarder defends home addresses there (RFC 6275 §10.4.1).
    pub real_home_link: bool,
    /// Preference of the home agent in Router Advertisements (RFC 6275 §7.4): higher is better.
    pub home_agent_preference: u16,
    /// `MinMobPfxAdvInterval` of RFC 6275 §13, in seconds: a change is advertised no sooner.
    pub prefix_advertisement_delay_min_secs: u32,
    /// `MaxMobPfxAdvInterval` of RFC 6275 §13, in seconds, no less: and at a random time until then.
    pub prefix_advertisement_delay_max_secs: u32,
    /// A care-of address gets packets once it is known to be the mobile node's (RFC 5648 §10).
    pub care_of_verification: bool,
}

impl HomePrefix {
    /// A virtual home prefix with the policy of the first on-disk format: what came later is off.
    #[must_use]
    pub const fn new(
        prefix: Ipv6Prefix,
        home_agent: Ipv6Addr,
        authentication: Authentication,
    ) -> Self {
        Self {
            prefix,
            home_agent,
            home_agent_ipv4: None,
            authentication,
            multiple_care_of_allowed: true,
            bulk_allowed: true,
            home_and_foreign_allowed: true,
            bindings_per_home_address_max: limits::BINDINGS_PER_HOME_ADDRESS_DEFAULT,
            lifetime_max_secs: limits::LIFETIME_SECS_DEFAULT,
            valid_lifetime_secs: u32::MAX,
            preferred_lifetime_secs: u32::MAX,
            only_router: false,
            loopback_care_of_allowed: false,
            force_udp_encapsulation: true,
            force_udp_requests_allowed: true,
            nat_keepalive_secs: limits::NAT_KEEPALIVE_SECS,
            ipv4_pool: None,
            mobile_networks_allowed: false,
            flow_bindings_per_home_address_max: 0,
            home_agent_discovery_allowed: false,
            prefix_discovery_allowed: false,
            real_home_link: false,
            home_agent_preference: 0,
            prefix_advertisement_delay_min_secs: limits::PREFIX_ADVERTISEMENT_DELAY_MIN_SECS,
            prefix_advertisement_delay_max_secs: limits::PREFIX_ADVERTISEMENT_DELAY_MAX_SECS,
            care_of_verification: false,
        }
    }

    /// Advertisements are spread in another way than by default.
    pub(crate) fn delays_are_set(&self) -> bool {
        let defaults = (
            limits::PREFIX_ADVERTISEMENT_DELAY_MIN_SECS,
            limits::PREFIX_ADVERTISEMENT_DELAY_MAX_SECS,
        );
        (self.prefix_advertisement_delay_min_secs, self.prefix_advertisement_delay_max_secs)
            != defaults
    }
}

/// RFC 4285 shared key. Its value is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(pub [u8; 16]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// What is provisioned for one home address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subscriber {
    /// Names the subscriber.
    pub home_address: Ipv6Addr,
    /// Network Access Identifier (RFC 4283); empty for none.
    pub nai: String,
    /// RFC 4285 security association: parameter index (256..) and key.
    pub mn_ha: Option<(u32, Key)>,
    /// MESG-ID is demanded; else 145.
    pub message_id_required: bool,
    /// Replaces the home prefix's value.
    pub multiple_care_of_allowed: Option<bool>,
    /// Replaces the home prefix's value.
    pub bulk_allowed: Option<bool>,
    /// Replaces the home prefix's value.
    pub bindings_per_home_address_max: Option<u8>,
    /// Replaces the home prefix's value.
    pub mobile_networks_allowed: Option<bool>,
    /// Replaces the home prefix's value.
    pub flow_bindings_per_home_address_max: Option<u8>,
    /// The home prefix that serves it: only where the home address lies in none, but in one of its
    /// own mobile networks.
    pub home_prefix: Option<Ipv6Prefix>,
    /// Mobile network prefixes that it owns (RFC 3963), ascending; nobody else's overlap them.
    pub mobile_networks: Vec<Ipv6Prefix>,
    /// A Binding Update must name the prefixes (explicit mode of RFC 3963 §5.2); else 143.
    pub mobile_networks_explicit: bool,
    /// Its own IPv4 home address, or prefix of them.
    pub ipv4_home_address: Option<Ipv4Prefix>,
}

impl Subscriber {
    /// With nothing but a home address.
    #[must_use]
    pub const fn new(home_address: Ipv6Addr) -> Self {
        Self {
            home_address,
            nai: String::new(),
            mn_ha: None,
            message_id_required: false,
            multiple_care_of_allowed: None,
            bulk_allowed: None,
            bindings_per_home_address_max: None,
            mobile_networks_allowed: None,
            flow_bindings_per_home_address_max: None,
            home_prefix: None,
            mobile_networks: Vec::new(),
            mobile_networks_explicit: false,
            ipv4_home_address: None,
        }
    }
}

/// A record with the log index of its last change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Revised<T> {
    /// The record.
    pub record: T,
    /// Log index of the last change, never 0.
    pub revision: u64,
}

/// The records that decide how a Binding Update is checked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Policy {
    /// The home prefix that holds the home address; when none does, the one whose home agent the
    /// Binding Update was sent to, so that it can be refused by the rules of that home agent.
    pub home_prefix: Option<Revised<HomePrefix>>,
    /// The home address lies inside `home_prefix`.
    pub home_address_served: bool,
    /// The subscriber's record.
    pub subscriber: Option<Revised<Subscriber>>,
    /// The mobile node is being told of this revision of its home prefix (RFC 6275 §10.6.2): a Mobile
    /// Prefix Solicitation is its answer.
    pub advertised_revision: Option<u64>,
    /// Its security associations; the newest is the last.
    pub associations: Vec<Association>,
}

impl Policy {
    /// Revisions of the two records, 0 for one that does not exist: a registration names them, and
    /// is checked again when one has changed since.
    #[must_use]
    pub fn revisions(&self) -> (u64, u64) {
        (
            self.home_prefix.as_ref().map_or(0, |prefix| prefix.revision),
            self.subscriber.as_ref().map_or(0, |subscriber| subscriber.revision),
        )
    }
}
