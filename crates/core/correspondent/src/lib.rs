//! A correspondent node as a machine without clock, sockets and randomness: it proves the
//! addresses of mobile nodes, keeps bindings for them, and sends to them without the detour over
//! their home agents.
//!
//! What it is: the correspondent's side of RFC 6275 §5.2 (return routability), §9.3 (packets with a
//! Home Address option or a type 2 routing header), §9.4 and §9.5 (bindings), with several care-of
//! addresses for one home address (RFC 5648 §6.2, §6.4, §6.5). Packets, random octets and the time
//! go in; packets, events and the next deadline come out:
//!
//! ```
//! use homeport_correspondent::{Arrival, Correspondent, Input, Millis, Output, Secret, Settings};
//! use homeport_wire::{HomeTestInit, Message, Options, mobility_packet};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (home, own) = ("2001:db8:0:1::100".parse()?, "2001:db8:f::99".parse()?);
//! let mut node = Correspondent::new(Settings::new(own))?;
//! // Thirty octets of a good generator; the machine asks for more when it needs them.
//! node.handle(Millis(0), Input::Secret(Secret::from_random([7; 30])));
//! let init = Message::HomeTestInit(HomeTestInit { cookie: [1; 8], options: Options::EMPTY });
//! let packet = mobility_packet(home, own, None, None, &init.emit(home, own));
//! let outputs = node.handle(Millis(0), Input::Packet(Arrival::new(&packet)));
//! assert!(matches!(outputs[0], Output::Send(_)));
//! # Ok(())
//! # }
//! ```
//!
//! What it is not: it does not know interfaces or routes, it does no IPsec, and one machine serves
//! one address of the node, as RFC 6275 §9.1 wants a cache for each. What a mobile node has to do
//! for return routability is not here; [`keys`] has the computations that both sides share.
//!
//! Depends on `homeport-wire` and on `hmac`, `sha1` and `subtle` for tokens and authenticators.

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

mod acknowledge;
mod address_tests;
mod budget;
pub mod cache;
mod event;
pub mod keys;
pub mod limits;
mod node;
mod outbound;
mod proof;
mod receive;
mod registration;
pub mod rules;
mod secret;
pub mod shared;
mod time;
mod update;

pub use cache::{Binding, Home, Spent};
pub use event::{DropReason, EndReason, Event, Output};
pub use node::{Correspondent, Input, Settings, SettingsError};
pub use outbound::by_way_of;
pub use receive::Arrival;
pub use secret::Secret;
pub use shared::SharedKey;
pub use time::Millis;
pub use update::Update;
