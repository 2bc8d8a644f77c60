//! What comes out of the machine: packets, events, deliveries and drops.

use alloc::vec::Vec;
use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};

use homeport_wire::{
    Bid, BindingErrorStatus, FlowStatus, Ipv4AddressStatus, Lifetime, Malformed, Sequence, Status,
};

use crate::settings::CareOf;
use crate::time::Millis;

/// One effect. The caller carries them out in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Put a packet on the wire.
    Send(Transmit),
    /// Tell whoever listens.
    Event(Event),
    /// An inner packet for the node itself or for the network behind it.
    Deliver {
        /// By which care-of address it came.
        path: Path,
        /// The packet, IPv6 or IPv4.
        packet: Vec<u8>,
    },
    /// A received packet was not used.
    Dropped(DropReason),
}

/// A packet and the way it goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Transmit {
    /// A complete IPv6 packet, its source is the address of the link to send it on: a care-of
    /// address, or the home address on the home link.
    Ipv6 {
        /// The source address.
        from: Ipv6Addr,
        /// The packet.
        packet: Vec<u8>,
    },
    /// A datagram for the home agent's UDP port, from the care-of address `from`.
    Udp {
        /// The IPv4 care-of address.
        from: Ipv4Addr,
        /// The inner packet, IPv6 or IPv4.
        payload: Vec<u8>,
    },
    /// The payload of an IPv4 packet from the care-of address `from`: data without UDP, on a path
    /// without a translator (RFC 5555 §4.4).
    Ipv4 {
        /// The IPv4 care-of address.
        from: Ipv4Addr,
        /// The home agent's IPv4 address.
        to: Ipv4Addr,
        /// 41 for IPv6, 4 for IPv4.
        protocol: u8,
        /// The inner packet.
        payload: Vec<u8>,
    },
}

/// Where a packet leaves or arrived.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Path {
    /// IPv6 at this care-of address.
    Foreign(Ipv6Addr),
    /// UDP over IPv4 at this care-of address.
    Udp(Ipv4Addr),
    /// IPv6 at the home address, on the home link.
    Home,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign(address) => address.fmt(f),
            Self::Udp(address) => address.fmt(f),
            Self::Home => f.write_str("home"),
        }
    }
}

/// Names a command of the caller, so that its end can be recognized.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u64);

impl RequestId {
    /// For a command whose end nobody waits for: it is not kept, and not told.
    pub const NOBODY: Self = Self(u64::MAX);
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A Binding Update left.
    Sent {
        /// Its sequence number.
        sequence: Sequence,
        /// From where.
        path: Path,
        /// Its Binding Identifier options; empty for a plain update.
        bids: Vec<Bid>,
        /// Lifetime asked for.
        lifetime: Lifetime,
        /// The O flag.
        overwrite: bool,
        /// 1 for the first, more for retransmissions.
        attempt: u8,
    },
    /// A valid Binding Acknowledgement came. What it means follows in other events.
    Acknowledged {
        /// The sequence number it carries; of the refused update when the status is 135.
        sequence: Sequence,
        /// Its status.
        status: Status,
        /// Lifetime granted.
        lifetime: Lifetime,
        /// Effective status of each Binding Identifier option.
        bids: Vec<(Bid, Status)>,
        /// Milliseconds since the update left.
        round_trip_ms: u64,
    },
    /// The home agent has this binding now, or still.
    Registered {
        /// The binding.
        bid: Bid,
        /// Its care-of address.
        care_of: CareOf,
        /// Lifetime granted.
        lifetime: Lifetime,
        /// Effective status: accepted, or accepted with a remark (1, 5).
        status: Status,
        /// It existed before with the same care-of address.
        renewed: bool,
    },
    /// The binding has another care-of address now.
    Moved {
        /// The binding.
        bid: Bid,
        /// The old one.
        from: CareOf,
        /// The new one.
        to: CareOf,
    },
    /// The home agent has deleted the binding on the node's wish.
    Deregistered {
        /// The binding.
        bid: Bid,
        /// Effective status: accepted, or what says that it was gone already (133, 167).
        status: Status,
    },
    /// All bindings are deleted and the node is at home.
    ReturnedHome,
    /// The home agent said no.
    Refused {
        /// The binding.
        bid: Bid,
        /// Why.
        status: Status,
        /// When the node tries again by itself.
        retry_at: Option<Millis>,
    },
    /// An answer that only an error, here or there, explains: for example 164 (RFC 5648 §4.4).
    Fault {
        /// The binding.
        bid: Option<Bid>,
        /// The status.
        status: Status,
    },
    /// Nobody answered; the node has stopped asking for now.
    NoAnswer {
        /// The binding, or none when all were to be deleted.
        bid: Option<Bid>,
    },
    /// A binding ended without the node's wish.
    Lost {
        /// The binding.
        bid: Bid,
        /// Why.
        reason: LossReason,
    },
    /// The home agent does not do multiple care-of addresses (166, or no option in its answer).
    /// Only this one stays in use, by plain Binding Updates.
    FellBackToSingle {
        /// The binding that stays.
        bid: Bid,
    },
    /// The home agent refuses several bindings in one update (168): from now on one each.
    FellBackToSingleUpdates,
    /// A Binding Refresh Request came.
    RefreshRequested {
        /// For these; empty for all.
        bids: Vec<Bid>,
    },
    /// The answer to the wish for an IPv4 home address.
    Ipv4HomeAddress {
        /// Outcome.
        status: Ipv4AddressStatus,
        /// The address, when the status is success.
        address: Ipv4Addr,
    },
    /// The home agent has begun, or ceased, to carry packets of the mobile network.
    Router {
        /// It carries them.
        served: bool,
    },
    /// The home agent took the registration, but not the node as a router (RFC 3963 §5.3).
    NotServedAsRouter,
    /// The home agent's answer about a flow (RFC 6089 §5.2.2).
    Flow {
        /// The flow.
        fid: u16,
        /// Outcome. 128 also stands for a home agent that does not know flow bindings.
        status: FlowStatus,
    },
    /// A translator is on the way to this care-of address.
    TranslatorFound {
        /// The binding.
        bid: Bid,
        /// The node refreshes this often to keep the mapping.
        refresh_secs: u32,
    },
    /// The home agent asks to go to another one (RFC 5142).
    HomeAgentSwitch {
        /// In order of preference; empty: discover.
        addresses: Vec<Ipv6Addr>,
    },
    /// The answer of the home link (RFC 6275 §11.4.1).
    HomeAgents {
        /// Its home agents, best first.
        addresses: Vec<Ipv6Addr>,
        /// They serve mobile routers (RFC 3963 §7.2).
        serve_routers: bool,
    },
    /// No home agent was found, or none of those found took the node.
    NoHomeAgent,
    /// From now on the node registers with this home agent.
    HomeAgent {
        /// Its address.
        address: Ipv6Addr,
    },
    /// The home link's prefixes (RFC 6275 §11.4.3).
    HomePrefixes {
        /// The prefixes.
        prefixes: Vec<HomePrefix>,
        /// The node had asked. What it had not asked for may come from anybody: it asks then.
        solicited: bool,
    },
    /// A Binding Error came (RFC 6275 §6.1.9).
    BindingError {
        /// Its status.
        status: BindingErrorStatus,
    },
    /// A command has come to its end.
    Completed {
        /// The command.
        request: RequestId,
        /// One result for each binding it was about; `None` stands for all of them.
        results: Vec<(Option<Bid>, Outcome)>,
    },
}

/// A prefix of the home link.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct HomePrefix {
    /// The prefix, or a home agent's address in it.
    pub prefix: Ipv6Addr,
    /// Its length in bits.
    pub length: u8,
    /// Seconds for which addresses of it are valid, all ones for ever.
    pub valid_secs: u32,
    /// Seconds for which they are preferred, all ones for ever.
    pub preferred_secs: u32,
}

/// Why a binding ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LossReason {
    /// Its lifetime ran out.
    Expired,
    /// An update with the O flag, or a plain one, replaced it.
    Overwritten,
    /// The home agent revoked it (RFC 5846).
    Revoked,
    /// The home agent does not know it any more (167, 174).
    Forgotten,
    /// The new home agent takes no IPv4, as far as the node knows.
    Unreachable,
}

/// How a command ended for one binding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The home agent has the binding.
    Registered {
        /// Its care-of address.
        care_of: CareOf,
        /// Lifetime granted.
        lifetime: Lifetime,
        /// Effective status.
        status: Status,
    },
    /// The home agent does not have the binding any more.
    Deregistered {
        /// Effective status.
        status: Status,
    },
    /// The home agent said no.
    Refused {
        /// Why.
        status: Status,
    },
    /// Nobody answered.
    NoAnswer,
    /// A later command wanted something else.
    Superseded,
    /// Only one care-of address can be used, and it is another one.
    SingleCareOf,
    /// The node has no care-of address of this name.
    UnknownBid,
    /// The node has no more room for care-of addresses or commands.
    Busy,
    /// The care-of address or its name is not allowed.
    Invalid,
    /// The node was stopped.
    Stopped,
}

impl Outcome {
    /// True when the home agent did as told.
    #[must_use]
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Registered { .. } | Self::Deregistered { .. })
    }
}

/// Why a received packet, or one to be sent through the tunnel, was not used.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DropReason {
    /// It cannot be parsed.
    Malformed(Malformed),
    /// It is not addressed to the node.
    NotForNode,
    /// The outer source is not the home agent.
    NotFromHomeAgent,
    /// The inner destination is neither the home address nor behind the node.
    InnerDestination,
    /// The message type is none that a mobile node takes, or not in this place.
    UnexpectedMessage,
    /// A key is set and the message has no MN-HA authentication option at its end.
    Unauthenticated,
    /// The authenticator is wrong.
    Authenticator,
    /// The timestamp is not the one that was sent.
    MessageId,
    /// No outstanding Binding Update has this sequence number, or it was answered before.
    NotOutstanding,
    /// The acknowledgement came to another address than the update left from.
    OtherPath,
    /// A congestion mark on an inner packet that cannot carry it (RFC 6040 §4.2).
    Congestion,
    /// To be sent: the source is neither the home address nor behind the node.
    InnerSource,
    /// To be sent: no binding that can carry it.
    NoBinding,
    /// To be sent: too large for the tunnel header's length field.
    TooLarge,
}

impl DropReason {
    /// The same as a word out of a closed set, for counters.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Malformed(malformed) => malformed.reason(),
            Self::NotForNode => "not_for_node",
            Self::NotFromHomeAgent => "not_from_home_agent",
            Self::InnerDestination => "inner_destination",
            Self::UnexpectedMessage => "unexpected_message",
            Self::Unauthenticated => "unauthenticated",
            Self::Authenticator => "authenticator",
            Self::MessageId => "message_id",
            Self::NotOutstanding => "not_outstanding",
            Self::OtherPath => "other_path",
            Self::Congestion => "congestion",
            Self::InnerSource => "inner_source",
            Self::NoBinding => "no_binding",
            Self::TooLarge => "too_large",
        }
    }
}

impl From<Malformed> for DropReason {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}
