//! A mobile node as a machine without clock and sockets: its Binding Update List and its tunnel.
//!
//! What it is: the mobile node's side of RFC 6275 §11 with multiple care-of addresses (RFC 5648
//! §5), over IPv6 and over UDP on IPv4 (RFC 5555 §4), with the authentication of RFC 4285.
//! Commands, received packets and the time go in; packets, events and the next deadline come out:
//!
//! ```
//! use homeport_mobile::{
//!     CareOf, CareOfAddress, Command, Input, MobileNode, Now, Output, RequestId, Settings,
//! };
//! use homeport_wire::{Bid, Sequence};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let settings = Settings::new("2001:db8:0:1::100".parse()?, "2001:db8:0:1::1".parse()?);
//! let mut node = MobileNode::new(settings, Sequence(7))?;
//! let address = CareOfAddress::new(Bid(1), CareOf::V6("2001:db8:a::11".parse()?));
//! let register = Command::Register { addresses: vec![address], bulk: false };
//! let outputs = node.handle(Now::default(), Input::Command(RequestId(1), register));
//! assert!(matches!(outputs[0], Output::Send(_)));
//! assert!(node.next_deadline().is_some());
//! # Ok(())
//! # }
//! ```
//!
//! What it is not: it knows no interfaces, routes or neighbours, it does no IPsec and no return
//! routability.
//!
//! Depends on `homeport-wire` and on `hmac`, `sha1` and `subtle` for the authenticator.

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
mod authentication;
mod classify;
mod command;
mod compose;
mod discovery;
mod echo;
pub mod event;
mod exchange;
mod fall_back;
mod flow;
pub mod limits;
mod list;
mod node;
pub mod reaction;
mod receive;
mod request;
mod router;
mod schedule;
pub mod settings;
mod switch;
pub mod time;
mod tunnel;

pub use command::Command;
pub use event::{
    DropReason, Event, HomePrefix, LossReason, Outcome, Output, Path, RequestId, Transmit,
};
pub use flow::Flow;
pub use node::{BindingView, Input, MobileNode, Mode, RegisteredView, SettingsError};
pub use receive::Arrival;
pub use settings::{
    CareOf, CareOfAddress, MnHaAssociation, MobileRouter, NetworkPrefix, Refresh, Settings,
};
pub use time::{Millis, Now, NtpTime};
