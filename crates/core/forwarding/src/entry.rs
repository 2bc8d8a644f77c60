//! What the table is told: home prefixes, home addresses, bindings, networks and flows.

use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};

use homeport_wire::{Bid, BidPriority, BinarySelector};

use crate::hash::Mix;

/// Monotonic milliseconds of the machine that forwards. Only differences mean anything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Millis(pub u64);

/// Where packets for a home address go.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum CareOf {
    /// IPv6-in-IPv6 to this address (RFC 2473).
    V6(Ipv6Addr),
    /// IPv6 or IPv4 in UDP to this end point (RFC 5555 §4.1).
    V4 {
        /// Address, as the home agent sees it.
        address: Ipv4Addr,
        /// Port, as the home agent sees it.
        port: u16,
    },
    /// Without UDP, because no translator is on the way: protocol 41 for IPv6, 4 for IPv4
    /// (RFC 5555 §4.4.1).
    V4Direct(Ipv4Addr),
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
    /// The lifetime that signalling granted last, milliseconds. It says when a refresh is asked for
    /// (RFC 6275 §9.5.5); 0: never.
    pub lifetime_ms: u64,
    /// The home binding (RFC 5648 §5.6): packets are delivered on the home link.
    pub home: bool,
    /// It is not known that the mobile node is there (RFC 5648 §10): nothing goes there, and what comes
    /// from there is taken.
    pub unverified: bool,
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
    /// Mobile network prefixes (RFC 3963) that are reached through the bindings; beyond
    /// [`crate::limits::NETWORKS_PER_HOME_MAX`] they are cut off.
    pub networks: Vec<MobileNetwork>,
    /// IPv4 home addresses and prefixes (RFC 5555 §3.1.1); the same bound.
    pub networks_v4: Vec<MobileNetworkV4>,
    /// Flow bindings (RFC 6089) in any order; beyond [`crate::limits::FLOWS_PER_HOME_MAX`] those
    /// of the highest FID-PRI are cut off.
    pub flows: Vec<Flow>,
}

impl HomeEntry {
    /// With bindings and nothing else.
    #[must_use]
    pub const fn new(home_agent: Ipv6Addr, bindings: Vec<ForwardingBinding>) -> Self {
        Self {
            home_agent,
            home_agent_v4: None,
            bindings,
            networks: Vec::new(),
            networks_v4: Vec::new(),
            flows: Vec::new(),
        }
    }
}

/// A prefix behind a mobile router.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MobileNetwork {
    /// Prefix; host bits are ignored.
    pub prefix: Ipv6Addr,
    /// Length; a larger value than 128 counts as 128.
    pub prefix_len: u8,
}

/// An IPv4 home address, or a prefix of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MobileNetworkV4 {
    /// Prefix; host bits are ignored.
    pub prefix: Ipv4Addr,
    /// Length, 32 for one address; a larger value counts as 32.
    pub prefix_len: u8,
}

/// Where the packets of one flow go (RFC 6089).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flow {
    /// FID.
    pub fid: u16,
    /// FID-PRI: lower is matched earlier.
    pub priority: u16,
    /// Which packets belong to it, as seen on the way to the mobile node.
    pub selector: BinarySelector,
    /// What is done with them.
    pub action: FlowAction,
}

/// What is done with the packets of a flow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FlowAction {
    /// A copy goes through each of these bindings that is in force. The flow counts only while one
    /// of them is (RFC 6089 §5.3.6).
    Forward(Vec<Bid>),
    /// They are dropped.
    Discard,
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
    /// IPv4 home addresses come from here: unbound ones are unreachable, not somebody else's.
    pub pool_v4: Option<MobileNetworkV4>,
    /// There is a home link: an address without binding may be that of a host there.
    pub real_home_link: bool,
}

impl HomePrefix {
    const LEN_MAX: u8 = 128;

    pub(crate) fn key(prefix: Ipv6Addr, prefix_len: u8) -> (u8, u128) {
        let len = prefix_len.min(Self::LEN_MAX);
        (len, prefix.to_bits() & Self::mask(len))
    }

    fn mask(len: u8) -> u128 {
        let host_bits = u32::from(Self::LEN_MAX.saturating_sub(len));
        u128::MAX.checked_shl(host_bits).unwrap_or(0)
    }

    /// The home-agents anycast address of the prefix (RFC 6275 §10.5, RFC 2526 §2): identifier 126,
    /// in interface identifiers of 64 bits with the universal/local bit zero.
    #[must_use]
    pub fn anycast(&self) -> Ipv6Addr {
        const INTERFACE_IDENTIFIER: u128 = 0xfdff_ffff_ffff_fffe;
        const LONG_PREFIX: u128 = u128::MAX - 1;
        let (len, network) = Self::key(self.prefix, self.prefix_len);
        let host = if len <= 64 { INTERFACE_IDENTIFIER } else { LONG_PREFIX & !Self::mask(len) };
        Ipv6Addr::from_bits(network | host)
    }

    pub(crate) fn digest(&self) -> u64 {
        let (len, network) = Self::key(self.prefix, self.prefix_len);
        Mix::new(PREFIX_SEED)
            .v6(Ipv6Addr::from_bits(network))
            .word(len.into())
            .v6(self.home_agent)
            .v4(self.home_agent_v4)
            .v4(self.pool_v4.map(|pool| pool.prefix))
            .word(self.pool_v4.map_or(u64::MAX, |pool| pool.prefix_len.into()))
            .word(self.real_home_link.into())
            .finish()
    }
}

const PREFIX_SEED: u64 = 0x7072_6566_6978;

/// A care-of address by which a home agent sends to a mobile node itself, as its correspondent node
/// (RFC 6275 §9.3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Correspondent {
    /// From which of our addresses.
    pub home_agent: Ipv6Addr,
    /// Where packets go.
    pub care_of: Ipv6Addr,
    /// BID-PRI.
    pub priority: BidPriority,
    /// When signalling last confirmed it, on any clock: later is larger.
    pub verified: u64,
    /// First moment at which it no longer holds.
    pub ends: Millis,
}
