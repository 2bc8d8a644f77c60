//! Why packets are dropped.

use homeport_wire::Malformed;

/// Why a packet, or an answer to one, was not sent on. Each has its own counter in the shell.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DropReason {
    /// The octets are not a packet, or carry what must not be skipped.
    Malformed(Malformed),

    // What came in IPv4.
    /// An IPv4 packet for an address that is neither a home agent's nor a home address.
    Ipv4NotServed,
    /// An IPv4 packet to the home agent with a protocol that it does not speak.
    Ipv4Protocol,
    /// A datagram for another port than that of RFC 5555.
    UdpPort,
    /// A datagram without payload, or with the one octet of RFC 3948 §2.3: keeps a mapping alive.
    Keepalive,
    /// The TLV header of RFC 5845, which is never negotiated here.
    TlvHeader,
    /// Octets in the datagram that begin like nothing known.
    UnknownUdpPayload,

    /// Signalling of its network, or of all that are bound to nothing, comes faster than it is handed on.
    SignallingRateLimited,

    // Addresses that rule a packet out.
    /// The source cannot be that of a packet that was routed here (RFC 4291 §2.5.2, §2.5.6, §2.7).
    UnroutableSource,
    /// The source is a home agent's address: it was sent from here and came back.
    OwnSource,
    /// To a multicast group (RFC 6275 §10.4.2).
    MulticastDestination,
    /// To a link-local address: never tunnelled (RFC 6275 §10.4.2).
    LinkLocalDestination,
    /// To an address of this node or of no node.
    UnroutableDestination,
    /// To an address that lies in no home prefix.
    NotServed,

    // Towards a home address.
    /// In a home prefix, but no binding is in force.
    NotBound,
    /// Bindings are in force, but none whose care-of address is known to be the mobile node's (RFC 5648
    /// §10).
    CareOfUnverified,
    /// Neighbour Discovery, which no router passes on (RFC 4861 §7.1). On a home link it is answered as
    /// it comes from there.
    NeighbourDiscovery,
    /// Nobody on the home link answers for the next hop.
    NotOnLink,
    /// The hop limit has run out.
    HopLimitExceeded,
    /// Larger than the tunnel takes.
    PacketTooBig,
    /// The care-of address is itself served here, or the packet goes back where it came from: it
    /// would do so for ever.
    TunnelLoop,
    /// An IPv4 care-of address, but the home agent has no IPv4 address.
    NoHomeAgentIpv4,
    /// A flow binding says that packets of this flow are dropped.
    FlowDiscarded,
    /// The packet may not enter another tunnel (RFC 2473 §4.1.1 (b)).
    EncapsulationLimit,
    /// With the outer header the packet would be longer than IP allows.
    TooLong,

    // Out of a tunnel.
    /// The outer source is no care-of address of the inner source (RFC 6275 §10.4.5).
    TunnelSourceNotBound,
    /// More tunnels in one another, all ending here, than a visitor behind a visitor needs.
    NestedTunnel,
    /// Congestion was marked on the way, and the transport cannot see the mark (RFC 6040 §4.2).
    CongestionMarkLost,

    // To the home agent itself.
    /// A fragment that is kept until the others of its packet are there.
    FragmentWaits,
    /// A fragment that overlaps others, is too long or too short, or one of too many (RFC 5722); the
    /// others of its packet are gone too.
    FragmentRefused,
    /// Fragments whose others did not come in time.
    FragmentsExpired,
    /// A Home Address option with an address that cannot be a home address (RFC 6275 §9.3.1).
    HomeAddressUnroutable,
    /// A Home Address option without a binding for the source (RFC 6275 §9.3.1).
    HomeAddressNotBound,
    /// A type 2 routing header: a home agent is at nobody's home address (RFC 6275 §6.4.1).
    HomeAddressRouting,
    /// An upper-layer protocol that this node does not speak.
    UnknownProtocol,
    /// A transport port on which nothing listens.
    NoListener,
    /// A packet without upper layer.
    NoNextHeader,
    /// An ICMPv4 message that is not for a home agent.
    Icmpv4Ignored,
    /// An ICMPv6 message that is not for a home agent.
    Icmpv6Ignored,
    /// More answers to tests of care-of addresses than there can be tests.
    CareOfAnswerRateLimited,
    /// An ICMP error that quotes no packet tunnelled from here.
    IcmpUnrelated,
    /// An ICMP error about a tunnelled packet, whose source was told what concerns it.
    IcmpRelayed,
    /// An ICMP error about a header that was put on here, which the source of the packet in it cannot
    /// do anything about (RFC 2473 §8.1).
    TunnelHeaderProblem,
    /// A Packet Too Big about a tunnelled packet that its source could not have sent smaller.
    PathMtuLearned,

    // Answers.
    /// The limit on errors held an answer back (RFC 4443 §2.4 (f)).
    ErrorRateLimited,
    /// A front-end's answer is not an IPv6 packet from a home agent's address.
    AnswerRefused,
}

impl DropReason {
    /// A word out of a closed set, for counters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed(malformed) => malformed.reason(),
            Self::Ipv4NotServed => "ipv4_not_served",
            Self::Ipv4Protocol => "ipv4_protocol",
            Self::UdpPort => "udp_port",
            Self::Keepalive => "keepalive",
            Self::TlvHeader => "tlv_header",
            Self::UnknownUdpPayload => "unknown_udp_payload",
            Self::SignallingRateLimited => "signalling_rate_limited",
            Self::UnroutableSource => "unroutable_source",
            Self::OwnSource => "own_source",
            Self::MulticastDestination => "multicast_destination",
            Self::LinkLocalDestination => "link_local_destination",
            Self::UnroutableDestination => "unroutable_destination",
            Self::NotServed => "not_served",
            Self::NotBound => "not_bound",
            Self::CareOfUnverified => "care_of_unverified",
            Self::NeighbourDiscovery => "neighbour_discovery",
            Self::NotOnLink => "not_on_link",
            Self::HopLimitExceeded => "hop_limit_exceeded",
            Self::PacketTooBig => "packet_too_big",
            Self::TunnelLoop => "tunnel_loop",
            Self::NoHomeAgentIpv4 => "no_home_agent_ipv4",
            Self::EncapsulationLimit => "encapsulation_limit",
            Self::TooLong => "too_long",
            Self::TunnelSourceNotBound => "tunnel_source_not_bound",
            Self::NestedTunnel => "nested_tunnel",
            Self::CongestionMarkLost => "congestion_mark_lost",
            Self::FragmentWaits => "fragment_waits",
            Self::FragmentRefused => "fragment_refused",
            Self::FragmentsExpired => "fragments_expired",
            Self::FlowDiscarded => "flow_discarded",
            Self::Icmpv4Ignored => "icmpv4_ignored",
            Self::HomeAddressUnroutable => "home_address_unroutable",
            Self::HomeAddressNotBound => "home_address_not_bound",
            Self::HomeAddressRouting => "home_address_routing",
            Self::UnknownProtocol => "unknown_protocol",
            Self::NoListener => "no_listener",
            Self::NoNextHeader => "no_next_header",
            Self::Icmpv6Ignored => "icmpv6_ignored",
            Self::CareOfAnswerRateLimited => "care_of_answer_rate_limited",
            Self::IcmpUnrelated => "icmp_unrelated",
            Self::IcmpRelayed => "icmp_relayed",
            Self::TunnelHeaderProblem => "tunnel_header_problem",
            Self::PathMtuLearned => "path_mtu_learned",
            Self::ErrorRateLimited => "error_rate_limited",
            Self::AnswerRefused => "answer_refused",
        }
    }
}

impl DropReason {
    /// The section of an RFC that asks for it, where one does: for people who look at one packet.
    #[must_use]
    pub const fn rfc_section(self) -> Option<&'static str> {
        Some(match self {
            Self::Keepalive => "RFC 3948 section 2.3",
            Self::TlvHeader => "RFC 5845",
            Self::UnroutableSource => "RFC 4291 section 2.5.2",
            Self::MulticastDestination | Self::LinkLocalDestination => "RFC 6275 section 10.4.2",
            Self::CareOfUnverified => "RFC 5648 section 10",
            Self::NeighbourDiscovery => "RFC 4861 section 7.1",
            Self::EncapsulationLimit => "RFC 2473 section 4.1.1",
            Self::PacketTooBig => "RFC 2473 section 7.1",
            Self::FlowDiscarded => "RFC 6089",
            Self::TunnelSourceNotBound => "RFC 6275 section 10.4.5",
            Self::CongestionMarkLost => "RFC 6040 section 4.2",
            Self::FragmentRefused => "RFC 5722",
            Self::HomeAddressUnroutable | Self::HomeAddressNotBound => "RFC 6275 section 9.3.1",
            Self::HomeAddressRouting => "RFC 6275 section 6.4.1",
            Self::TunnelHeaderProblem => "RFC 2473 section 8.1",
            Self::ErrorRateLimited => "RFC 4443 section 2.4",
            _ => return None,
        })
    }
}

impl From<Malformed> for DropReason {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}
