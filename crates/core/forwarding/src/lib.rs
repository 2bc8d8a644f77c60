//! Forwarding decisions of the home agent: a packet goes in, what is to be done with it comes out.
//!
//! What it is: the packet half of a home agent (RFC 6275 §10.4, RFC 5648 §6.5, RFC 3963 §6,
//! RFC 5555 §4, RFC 6089 §5.3.6) over a table of bindings that somebody else keeps up to date. It
//! intercepts packets for home addresses of both families and for mobile networks, and tunnels them
//! as flow bindings and priorities say; takes reverse-tunnelled packets only from care-of addresses
//! that are bound; asks for the refresh of bindings that carry data and near their end; answers
//! what a host and a router must answer (RFC 4443, RFC 1812); puts together what comes to the home
//! agent in fragments; and hands signalling on ("punt"). What it is not: it does no input and
//! output, reads no clock, and never decides a registration.
//!
//! The same packets at the same times over the same table give the same actions, on every machine:
//! the crate is `no_std`, its hashers are fixed, its rate limits are driven by the caller's clock.
//!
//! Depends on `homeport-wire` and `hashbrown`, and for its own packets to mobile nodes that it is a
//! correspondent node of on `homeport-correspondent`.
//!
//! ```
//! use homeport_forwarding::{
//!     Action, CareOf, Config, Forwarding, ForwardingBinding, HomeEntry, HomePrefix, Ingress,
//!     Millis,
//! };
//! use homeport_wire::{Bid, BidPriority, PacketBuilder, protocol};
//!
//! let agent = "2001:db8:0:1::1".parse()?;
//! let home = "2001:db8:0:1::100".parse()?;
//! let mut forwarding = Forwarding::new(Config::default());
//! forwarding.table_mut().set_prefix(HomePrefix {
//!     prefix: "2001:db8:0:1::".parse()?,
//!     prefix_len: 64,
//!     home_agent: agent,
//!     home_agent_v4: None,
//!     pool_v4: None,
//!     real_home_link: false,
//! });
//! let binding = ForwardingBinding {
//!     bid: Some(Bid(1)),
//!     care_of: CareOf::V6("2001:db8:a::11".parse()?),
//!     priority: BidPriority::UNSET,
//!     verified: 1,
//!     ends: Millis(60_000),
//!     lifetime_ms: 60_000,
//!     home: false,
//!     unverified: false,
//! };
//! let entry = HomeEntry::new(agent, vec![binding]);
//! forwarding.table_mut().set_home(home, Some(entry)).unwrap();
//!
//! let packet = PacketBuilder::new("2001:db8:f::99".parse()?, home).build(protocol::NO_NEXT, &[]);
//! let actions = forwarding.handle(Millis(0), Ingress::Ip(&packet));
//! assert!(matches!(actions.as_slice(), [Action::SendIpv6(outer)] if outer.len() == 80));
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

mod action;
mod answer;
mod arrival_v4;
mod downlink;
mod ecn;
mod encapsulation_limit;
mod entry;
mod fast;
mod flow;
mod forwarding;
mod hash;
mod home;
mod icmpv4;
pub mod limits;
mod local;
mod networks;
mod packet;
mod path_mtu;
mod rate;
mod reason;
mod reassembly;
mod refresh;
mod relay;
mod selector;
mod spread;
mod table;
mod tunnel;
mod uplink;

#[cfg(test)]
mod tests;

pub use action::{Action, Ingress, Punt, UdpOuter};
pub use ecn::EcnMode;
pub use entry::{
    CareOf, Correspondent, Flow, FlowAction, ForwardingBinding, HomeEntry, HomePrefix, Millis,
    MobileNetwork, MobileNetworkV4,
};
pub use fast::{Fast, FastDown};
pub use forwarding::{Config, Forwarding};
pub use rate::Rate;
pub use reason::DropReason;
pub use spread::Spread;
pub use table::{Table, TableFull};
