//! Octets to messages and back: the wire codec of the home agent.
//!
//! What it is: total parsers and exact emitters for the Mobility Header (RFC 6275 §6.1) with its
//! options (RFC 6275 §6.2, 5648, 3963, 4285, 5555, 5846, 6089), for the IPv6 extension headers that
//! Mobile IPv6 adds (RFC 6275 §6.3, §6.4), for the ICMPv6 messages of RFC 6275 §6.5 to §6.8 and for
//! the IPv4 and UDP envelope of RFC 5555. What it is not: it does not judge. Whether an address may
//! be a care-of address, whether a sequence number is new, whether a flag is allowed: that is for
//! the callers.
//!
//! Rules that hold for every type here:
//!
//! * Parsing returns for all octets, in bounded time: see [`limits`].
//! * Emitting is the inverse of parsing. Options are kept as the octets they were, so order,
//!   duplicates and unknown types survive. Only reserved fields of the fixed parts and the checksum
//!   are written anew: reserved as zero, checksum as computed. Each type says which reserved fields
//!   it drops.
//! * Checksums are never optional: whoever parses or emits has the addresses of the pseudo-header.
//!
//! Depends on nothing but `core`, `alloc` and `thiserror`.
//!
//! ```
//! use homeport_wire::{
//!     Bid, BidOption, BindingUpdate, BuFlags, Lifetime, Message, MobilityOption, PseudoHeader,
//!     Sequence,
//! };
//! let home = "2001:db8:0:1::100".parse()?;
//! let agent = "2001:db8:0:1::1".parse()?;
//! let update = Message::BindingUpdate(BindingUpdate {
//!     sequence: Sequence(7),
//!     flags: BuFlags::ACKNOWLEDGE.with(BuFlags::HOME_REGISTRATION),
//!     lifetime: Lifetime::from_secs(600),
//!     options: BindingUpdate::builder()
//!         .push(&MobilityOption::BindingIdentifier(BidOption::refresh(Bid(1))))
//!         .finish(),
//! });
//! let octets = update.emit(home, agent);
//! assert_eq!(Message::parse(&octets, PseudoHeader::mobility(home, agent)), Ok(update));
//! # Ok::<(), core::net::AddrParseError>(())
//! ```

#![no_std]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable
    )
)]

extern crate alloc;

pub mod address;
pub mod checksum;
pub mod code_points;
pub mod error;
pub mod extension;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
pub mod limits;
pub mod mobility;
pub mod neighbour;
pub mod options;
pub mod reader;
mod sections;
pub mod types;
pub mod udp;
pub mod verification;

pub use address::{is_unicast_routable_v4, is_unicast_routable_v6, is_unicast_v6};
pub use checksum::{PseudoHeader, checksum};
pub use code_points::{
    BindingErrorStatus, FlowStatus, HeartbeatFlags, Ipv4AddressStatus, MhType, RevocationFlags,
    RevocationStatus, RevocationTrigger,
};
pub use error::{Disposition, Malformed};
pub use extension::{HomeAddressOption, Walk, walk};
pub use icmpv6::{AdvertisementFlags, DiscoveryFlags, Icmpv6};
pub use ipv4::{Ipv4Header, encapsulate_v4};
pub use ipv6::{Ipv6Header, PacketBuilder, encapsulate_v6, mobility_packet, protocol};
pub use mobility::{
    BindingAcknowledgement, BindingError, BindingRefreshRequest, BindingRevocation,
    BindingRevocationAcknowledgement, BindingRevocationIndication, BindingUpdate, CareOfTest,
    CareOfTestInit, Heartbeat, HomeAgentSwitch, HomeTest, HomeTestInit, Message,
    with_checksum_zeroed,
};
pub use neighbour::{
    HomeAgentInformation, NeighbourAdvertisement, NeighbourFlags, NeighbourOption,
    NeighbourOptions, NeighbourSolicitation, PrefixFlags, PrefixInformation, RouterAdvertisement,
    RouterFlags,
};
pub use options::{
    BidCareOf, BidOption, BinarySelector, FlowIdentification, FlowIds, FlowSubOption,
    MobilityOption, Options, OptionsBuilder, Refusal, Selector, SelectorRefusal, TrafficSelector,
};
pub use reader::Reader;
pub use types::{BaFlags, Bid, BidPriority, BuFlags, Lifetime, Sequence, Status};
pub use udp::{MOBILITY_UDP_PORT, UdpHeader, udp_v4_packet};
