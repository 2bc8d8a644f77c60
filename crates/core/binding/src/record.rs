use alloc::string::String;
use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};

use crate::limits;

/// How mobile nodes of a home prefix prove who they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Authentication {
    /// Laboratories only: every Binding Update is believed.
    None,
    /// The MN-HA option of RFC 4285 §5.1 with the subscriber's key.
    MnHa,
}

/// An IPv6 prefix whose host bits are zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ipv6Prefix {
    address: Ipv6Addr,
    len: u8,
}

impl Ipv6Prefix {
    /// `None` when the length is over 128 or a host bit is set.
    #[must_use]
    pub fn new(address: Ipv6Addr, len: u8) -> Option<Self> {
        let prefix = Self { address, len };
        (len <= 128 && address.to_bits() & !prefix.mask() == 0).then_some(prefix)
    }

    /// The first address.
    #[must_use]
    pub const fn address(self) -> Ipv6Addr {
        self.address
    }

    /// Bits of the prefix, 0..=128.
    #[must_use]
    pub const fn len(self) -> u8 {
        self.len
    }

    /// True for the prefix that holds every address.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    /// True when `address` lies inside.
    #[must_use]
    pub fn contains(self, address: Ipv6Addr) -> bool {
        address.to_bits() & self.mask() == self.address.to_bits()
    }

    /// True when one of the two holds the other.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }

    fn mask(self) -> u128 {
        let host_bits = 128_u32.saturating_sub(u32::from(self.len));
        u128::MAX.checked_shl(host_bits).unwrap_or(0)
    }
}

impl fmt::Display for Ipv6Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

impl fmt::Debug for Ipv6Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
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
}

impl HomePrefix {
    /// A virtual home prefix with the default policy.
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
        }
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
