//! The home agent as a neighbour and a router on a real home link.
//!
//! What it is: Duplicate Address Detection for a home address before its first binding (RFC 6275
//! §10.3.1), the defence of home addresses by proxy Neighbour Discovery (§10.4.1), Router
//! Advertisements and the Home Agents List (§7, §8.4, §10.5.1), and delivery to a mobile node that is at
//! home. What it is not: it decides no registration, knows no bindings and forwards no packet. It has
//! no clock, no socket and no randomness: [`HomeLink`] takes packets and times, and hands out packets.
//!
//! One node of a cluster at a time is the link's defender: see [`HomeLink::set_defender`].
//!
//! ```
//! use homeport_home_link::{Defence, HomeLink, Output, Settings};
//! let mut link = HomeLink::new(Settings {
//!     link_layer_address: [2, 0, 0, 0, 0, 1],
//!     link_local: "fe80::ff:fe00:1".parse()?,
//!     home_agent: "2001:db8:0:1::1".parse()?,
//!     ..Settings::default()
//! });
//! link.set_defender(0, true);
//! while link.poll(0).is_some() {}
//! link.defend(0, "2001:db8:0:1::100".parse()?, Defence::default());
//! // The first of three unsolicited Neighbour Advertisements to all nodes.
//! let Some(Output::Frame { destination, .. }) = link.poll(0) else { panic!() };
//! assert_eq!(destination, [0x33, 0x33, 0, 0, 0, 1]);
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

mod address;
mod advertising;
mod agents;
mod defence;
mod delivery;
pub mod limits;
mod link;
mod probe;
mod reason;
mod settings;
mod soliciting;
mod take_over;
#[cfg(test)]
mod tests;

pub use defence::Defence;
pub use link::{HomeLink, LinkLayerAddress, Output, RequestId};
pub use reason::DropReason;
pub use settings::Settings;
