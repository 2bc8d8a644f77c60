//! What comes out of the machine: packets, events, deliveries and drops.

use alloc::vec::Vec;
use core::net::Ipv6Addr;

use homeport_wire::{Bid, Lifetime, Malformed, Status};

/// One effect. The caller carries them out in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Put a complete IPv6 packet on the wire.
    Send(Vec<u8>),
    /// Hand a packet to the upper layers.
    Deliver(Vec<u8>),
    /// Give an [`crate::Input::Secret`] soon: without one the next mobile nodes get no tokens.
    SecretWanted,
    /// Tell whoever listens.
    Event(Event),
    /// A received packet was not used.
    Dropped(DropReason),
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A binding is there, new or again.
    Bound {
        /// The mobile node.
        home_address: Ipv6Addr,
        /// Which binding; `None` is that of plain RFC 6275.
        bid: Option<Bid>,
        /// Where packets go.
        care_of: Ipv6Addr,
        /// Granted.
        lifetime: Lifetime,
    },
    /// A binding is gone.
    Ended {
        /// The mobile node.
        home_address: Ipv6Addr,
        /// Which binding.
        bid: Option<Bid>,
        /// Why.
        reason: EndReason,
    },
    /// An authentic Binding Update was refused, or one with nonces that are not known.
    Refused {
        /// The mobile node.
        home_address: Ipv6Addr,
        /// Why.
        status: Status,
    },
    /// A Binding Refresh Request left.
    RefreshRequested {
        /// The mobile node.
        home_address: Ipv6Addr,
    },
}

/// Why a binding is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndReason {
    /// The mobile node deleted it.
    Deleted,
    /// The mobile node registered another one in place of all.
    Replaced,
    /// Its lifetime was over.
    Expired,
    /// Its care-of address could not be reached for long (RFC 6275 §9.3.4).
    Unreachable,
}

/// Why a packet was not used. Each is for a counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DropReason {
    /// The octets are not what they should be (RFC 6275 §9.2, RFC 8200 §4).
    Malformed(Malformed),
    /// For another address.
    NotForNode,
    /// A message that only a mobile node or a home agent handles.
    UnexpectedMessage,
    /// The source cannot be answered, or cannot be tested (RFC 6275 §9.5.1).
    SourceNotRoutable,
    /// The home address is not unicast routable (RFC 6275 §9.3.1).
    HomeAddressNotRoutable,
    /// The care-of address is not unicast routable (RFC 6275 §6.1.7).
    CareOfNotRoutable,
    /// A test message with a Home Address option (RFC 6275 §9.4.1, §9.4.2).
    HomeAddressOption,
    /// No fresh secret to make a token of.
    SecretMissing,
    /// A home registration with nonce indices (RFC 6275 §9.5.1).
    NonceIndices,
    /// A binding without nonce indices (RFC 6275 §9.5.1).
    NonceIndicesMissing,
    /// No authenticator, or something else at the end (RFC 6275 §9.5.1).
    AuthorizationMissing,
    /// The authenticator is wrong.
    NotAuthentic,
    /// An option of a known type with an impossible length.
    MalformedOption,
    /// A Home Address option that no binding vouches for (RFC 6275 §9.3.1).
    UnknownBinding,
    /// An Authentication Header, which this machine would break.
    AuthenticationHeader,
    /// An answer was due, but the limit of unauthenticated answers is reached.
    RateLimited,
}

impl From<Malformed> for DropReason {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl DropReason {
    /// Name for counters, out of a closed set.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed(malformed) => malformed.reason(),
            Self::NotForNode => "not_for_node",
            Self::UnexpectedMessage => "unexpected_message",
            Self::SourceNotRoutable => "source_not_routable",
            Self::HomeAddressNotRoutable => "home_address_not_routable",
            Self::CareOfNotRoutable => "care_of_not_routable",
            Self::HomeAddressOption => "home_address_option",
            Self::SecretMissing => "secret_missing",
            Self::NonceIndices => "nonce_indices",
            Self::NonceIndicesMissing => "nonce_indices_missing",
            Self::AuthorizationMissing => "authorization_missing",
            Self::NotAuthentic => "not_authentic",
            Self::MalformedOption => "malformed_option",
            Self::UnknownBinding => "unknown_binding",
            Self::AuthenticationHeader => "authentication_header",
            Self::RateLimited => "rate_limited",
        }
    }
}
