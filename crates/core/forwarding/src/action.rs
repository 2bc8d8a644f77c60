//! What comes in and what is to be done.

use alloc::vec::Vec;
use core::net::{Ipv6Addr, SocketAddrV4};

use crate::reason::DropReason;

/// A packet as it arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ingress<'p> {
    /// A whole IPv6 or IPv4 packet, from its header on.
    Ip(&'p [u8]),
    /// The payload of a datagram that a socket received.
    Udp {
        /// The mobile node's side.
        peer: SocketAddrV4,
        /// The home agent's side.
        local: SocketAddrV4,
        /// What the datagram carried.
        payload: &'p [u8],
    },
}

/// The IPv4 and UDP end points of an encapsulated packet (RFC 5555 §4.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct UdpOuter {
    /// The mobile node's side.
    pub peer: SocketAddrV4,
    /// The home agent's side.
    pub local: SocketAddrV4,
}

/// Signalling for a front-end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Punt {
    /// Present when the packet came in UDP.
    pub outer: Option<UdpOuter>,
    /// It came out of a tunnel without UDP from a bound care-of address, and the answer goes into one: to
    /// be kept for [`crate::Forwarding::answer`].
    pub tunnelled: bool,
    /// It comes from a care-of address that is bound to `sender`: when there is no room for all, such packets
    /// go first.
    pub bound: bool,
    /// The mobile node: its home address where the packet names one, else the packet's source.
    /// Packets with the same one should go to the same front-end, so that they stay in order.
    pub sender: Ipv6Addr,
    /// The IPv6 packet, from its header on.
    pub packet: Vec<u8>,
}

/// What is to be done. One packet can cause several.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Hand it to a signalling front-end.
    Punt(Punt),
    /// Send this IPv6 packet towards its destination.
    SendIpv6(Vec<u8>),
    /// Send this IPv4 packet towards its destination.
    SendIpv4(Vec<u8>),
    /// Send this packet on the home link itself: routing it like any other packet would bring it
    /// back here.
    DeliverOnLink {
        /// Who gets it there: its destination, or the mobile node at home that its destination
        /// belongs to.
        next_hop: Ipv6Addr,
        /// The packet, of either family.
        packet: Vec<u8>,
    },
    /// Send this in a UDP datagram.
    SendUdp {
        /// The mobile node's side.
        peer: SocketAddrV4,
        /// The home agent's side.
        local: SocketAddrV4,
        /// DSCP and ECN of the outer header, where the sender can set it.
        dscp_ecn: u8,
        /// Don't Fragment of the outer header, where the sender can set it: the path says when it is
        /// too narrow (RFC 4213 §3.2.2).
        whole_only: bool,
        /// Identification of the outer header, where the sender can set it (RFC 6864 §4.3).
        identification: u16,
        /// What the datagram carries.
        payload: Vec<u8>,
    },
    /// Count it. With [`DropReason::ErrorRateLimited`] it was an answer that was not sent, else the
    /// packet that came in.
    Drop(DropReason),
}

impl Action {
    /// What [`Self::name`] may say.
    pub const NAMES: [&str; 6] =
        ["punt", "send_ipv6", "send_ipv4", "deliver_on_link", "send_udp", "drop"];

    /// A word out of a closed set, for counters.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Punt(_) => "punt",
            Self::SendIpv6(_) => "send_ipv6",
            Self::SendIpv4(_) => "send_ipv4",
            Self::DeliverOnLink { .. } => "deliver_on_link",
            Self::SendUdp { .. } => "send_udp",
            Self::Drop(_) => "drop",
        }
    }
}
