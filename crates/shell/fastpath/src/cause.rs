//! What the program did with a packet: the names of its counters.

/// Why a packet went the way it went. The order is that of `enum cause` in `bpf/fastpath.c`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Cause {
    /// Sent to a care-of address in a tunnel.
    Encapsulated,
    /// Taken out of a tunnel and sent on.
    Decapsulated,
    /// Dropped: the tunnel's source is no care-of address of the inner source (RFC 6275 §10.4.5).
    TunnelSourceNotBound,
    /// Dropped: a mark of congestion on what cannot carry one (RFC 6040 §4.2).
    CongestionMarkLost,
    /// Passed: the fast path is off.
    Off,
    /// Passed: not IPv6 in a plain Ethernet frame.
    NotIpv6,
    /// Passed: the frame is longer or shorter than the packet says.
    Length,
    /// Passed: nothing is known about the home address.
    NoLine,
    /// Passed: a binding has ended or is to be refreshed.
    Lapsed,
    /// Passed: flows, IPv4 tunnels and whatever else a line cannot say.
    NotExpressed,
    /// Passed: the line was being written.
    Torn,
    /// Passed: a source that is ours or nobody's.
    Source,
    /// Passed: Neighbour Discovery.
    NeighbourDiscovery,
    /// Passed: the hop limit has run out.
    HopLimit,
    /// Passed: larger than the tunnel or the link takes.
    TooBig,
    /// Passed: for an address that is served here.
    ServedDestination,
    /// Passed: the link-layer address of the next hop is not known.
    NoNextHop,
    /// Passed: to a group, a link or nobody.
    SpecialDestination,
    /// Passed: no room for another header in the frame's memory.
    NoRoom,
}

impl Cause {
    /// All of them, in order.
    pub const ALL: [Self; 19] = [
        Self::Encapsulated,
        Self::Decapsulated,
        Self::TunnelSourceNotBound,
        Self::CongestionMarkLost,
        Self::Off,
        Self::NotIpv6,
        Self::Length,
        Self::NoLine,
        Self::Lapsed,
        Self::NotExpressed,
        Self::Torn,
        Self::Source,
        Self::NeighbourDiscovery,
        Self::HopLimit,
        Self::TooBig,
        Self::ServedDestination,
        Self::NoNextHop,
        Self::SpecialDestination,
        Self::NoRoom,
    ];

    /// A word out of a closed set, for counters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Encapsulated => "encapsulated",
            Self::Decapsulated => "decapsulated",
            Self::TunnelSourceNotBound => "tunnel_source_not_bound",
            Self::CongestionMarkLost => "congestion_mark_lost",
            Self::Off => "off",
            Self::NotIpv6 => "not_ipv6",
            Self::Length => "length",
            Self::NoLine => "no_line",
            Self::Lapsed => "lapsed",
            Self::NotExpressed => "not_expressed",
            Self::Torn => "torn",
            Self::Source => "source",
            Self::NeighbourDiscovery => "neighbour_discovery",
            Self::HopLimit => "hop_limit",
            Self::TooBig => "too_big",
            Self::ServedDestination => "served_destination",
            Self::NoNextHop => "no_next_hop",
            Self::SpecialDestination => "special_destination",
            Self::NoRoom => "no_room",
        }
    }

    /// What was done: `sent`, `dropped` or `passed` to the portable path.
    #[must_use]
    pub const fn verdict(self) -> &'static str {
        match self {
            Self::Encapsulated | Self::Decapsulated => "sent",
            Self::TunnelSourceNotBound | Self::CongestionMarkLost => "dropped",
            _ => "passed",
        }
    }
}
