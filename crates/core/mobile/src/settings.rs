//! What a node is told before it starts: its addresses, its key and its habits.

use alloc::vec::Vec;
use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use homeport_wire::{Bid, BidPriority, Lifetime};

use crate::event::Path;
use crate::limits;

/// Everything about one home address that does not change while the node runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The home address.
    pub home_address: Ipv6Addr,
    /// The home agent's address; unspecified when it is to be discovered.
    pub home_agent: Ipv6Addr,
    /// Length of the home prefix in bits, to ask its home agents (RFC 6275 §11.4.1).
    pub home_prefix_len: u8,
    /// Where the home agent takes UDP (RFC 5555 §4.1). Needed for IPv4 care-of addresses only.
    pub home_agent_v4: Option<SocketAddrV4>,
    /// Where other home agents take UDP, those that the node may be sent to (RFC 5142).
    pub other_home_agents_v4: Vec<(Ipv6Addr, SocketAddrV4)>,
    /// Lifetime to ask for.
    pub lifetime: Lifetime,
    /// Security association of RFC 4285. None: updates are sent bare and acknowledgements believed.
    pub authentication: Option<MnHaAssociation>,
    /// Speak RFC 5648. Off: plain Binding Updates with one care-of address at a time.
    pub multiple_care_of: bool,
    /// Ask for UDP encapsulation of data even without a translator on the way (F flag, RFC 5555
    /// §3.1.3). A node without raw sockets cannot take IP-in-IPv4.
    pub force_udp: bool,
    /// Set the K flag: the node's key management can follow a move (RFC 6275 §6.1.7).
    pub key_management_mobility: bool,
    /// Present when the node is a mobile router (RFC 3963).
    pub mobile_router: Option<MobileRouter>,
    /// IPv4 home address to ask for (RFC 5555 §3.1.1): 0.0.0.0 lets the home agent choose.
    pub ipv4_home_address: Option<Ipv4Addr>,
    /// Link-layer address to announce with a home binding (RFC 5648 §5.6).
    pub link_layer_address: Option<Vec<u8>>,
    /// What happens without a command.
    pub refresh: Refresh,
    /// Binding Updates in any second, retransmissions included.
    pub updates_per_second_max: u16,
    /// Times that one Binding Update is sent before the node gives up. With 7 that is after 110 s.
    pub attempts_max: u8,
}

impl Settings {
    /// A node that asks for 600 s with multiple care-of addresses and the RFC's timers.
    #[must_use]
    pub const fn new(home_address: Ipv6Addr, home_agent: Ipv6Addr) -> Self {
        Self {
            home_address,
            home_agent,
            home_prefix_len: 64,
            home_agent_v4: None,
            other_home_agents_v4: Vec::new(),
            lifetime: Lifetime(150),
            authentication: None,
            multiple_care_of: true,
            force_udp: false,
            key_management_mobility: false,
            mobile_router: None,
            ipv4_home_address: None,
            link_layer_address: None,
            refresh: Refresh { automatic: true, bulk: true, short: false },
            updates_per_second_max: limits::UPDATES_PER_SECOND_MAX,
            attempts_max: 7,
        }
    }
}

/// The association with the home agent (RFC 4285 §5.1).
#[derive(Clone, PartialEq, Eq)]
pub struct MnHaAssociation {
    /// Security parameter index.
    pub spi: u32,
    /// Shared key.
    pub key: Vec<u8>,
    /// Network access identifier for the MN-ID option (RFC 4283).
    pub identifier: Vec<u8>,
    /// Send a MESG-ID option with every update (RFC 4285 §6).
    pub message_id: bool,
}

impl fmt::Debug for MnHaAssociation {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MnHaAssociation")
            .field("spi", &self.spi)
            .field("message_id", &self.message_id)
            .finish_non_exhaustive()
    }
}

/// Role of a mobile router.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MobileRouter {
    /// Prefixes behind the node: their packets go through the tunnel.
    pub prefixes: Vec<NetworkPrefix>,
    /// Send the prefixes in every update (explicit mode). Otherwise, and without any, the home
    /// agent has to know them (implicit mode).
    pub explicit: bool,
    /// Register as a host when the home agent does not serve routers (status 140).
    pub host_when_refused: bool,
}

/// A mobile network prefix (RFC 3963 §4.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NetworkPrefix {
    /// The prefix; bits behind its length are ignored.
    pub prefix: Ipv6Addr,
    /// Its length in bits.
    pub length: u8,
}

impl NetworkPrefix {
    /// True when `address` lies in the prefix.
    #[must_use]
    pub const fn contains(self, address: Ipv6Addr) -> bool {
        let bits = self.prefix.to_bits() ^ address.to_bits();
        match 128_u32.checked_sub(u8_to_u32(self.length)) {
            Some(128) => true,
            Some(host_bits) => bits >> host_bits == 0,
            None => false,
        }
    }
}

/// `u32::from` is not const.
const fn u8_to_u32(value: u8) -> u32 {
    u32::from_be_bytes([0, 0, 0, value])
}

/// What the node does by itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Refresh {
    /// Renew bindings before they end, and try again after refusals that may pass.
    pub automatic: bool,
    /// Renew all bindings in one update where the rules allow it, not each in its own.
    pub bulk: bool,
    /// Leave out care-of addresses that the home agent has (RFC 5648 §5.1). Otherwise every update
    /// says all that the node wants, so that a refresh puts right whatever an update of an earlier
    /// life, arriving late, has changed unseen.
    pub short: bool,
}

/// An address at which the node can be reached, with the name it gives to it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CareOfAddress {
    /// Binding identifier: 1..=65535, kept while the binding lives (RFC 5648 §5.1).
    pub bid: Bid,
    /// The address.
    pub care_of: CareOf,
    /// Preference (RFC 6089 §4.1).
    pub priority: BidPriority,
}

impl CareOfAddress {
    /// Without a preference.
    #[must_use]
    pub const fn new(bid: Bid, care_of: CareOf) -> Self {
        Self { bid, care_of, priority: BidPriority::UNSET }
    }
}

/// Where packets for the node go.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CareOf {
    /// An IPv6 address on a foreign link.
    V6(Ipv6Addr),
    /// An IPv4 address on a foreign link, reached in UDP.
    V4(Ipv4Addr),
    /// The node is on its home link too: a home binding (H flag of the option, RFC 5648 §5.6).
    Home,
}

impl CareOf {
    /// The way to and from this address.
    #[must_use]
    pub const fn path(self) -> Path {
        match self {
            Self::V6(address) => Path::Foreign(address),
            Self::V4(address) => Path::Udp(address),
            Self::Home => Path::Home,
        }
    }
}

impl fmt::Display for CareOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V6(address) => address.fmt(f),
            Self::V4(address) => address.fmt(f),
            Self::Home => f.write_str("home"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_contains_its_own_addresses_only() {
        let inside: Ipv6Addr = "2001:db8:100:ff::1".parse().unwrap();
        let outside: Ipv6Addr = "2001:db8:101::1".parse().unwrap();
        for (length, expected) in [(0, true), (44, true), (48, false), (128, false), (129, false)] {
            let prefix = NetworkPrefix { prefix: "2001:db8:100::".parse().unwrap(), length };
            assert_eq!(prefix.contains(outside), expected, "/{length}");
        }
        let prefix = NetworkPrefix { prefix: "2001:db8:100::".parse().unwrap(), length: 56 };
        assert!(prefix.contains(inside));
        assert!(!prefix.contains(outside));
    }

    #[test]
    fn the_key_does_not_get_into_logs() {
        let association = MnHaAssociation {
            spi: 256,
            key: b"secret-secret-16".to_vec(),
            identifier: b"mn1@example.com".to_vec(),
            message_id: true,
        };
        let text = alloc::format!("{association:?}");
        assert!(
            !text.contains("115") && !text.contains("secret") && text.contains("256"),
            "{text}"
        );
    }
}
