//! The fast path of a forwarder: an XDP program for the common case, and the memory that it decides
//! by.
//!
//! What it is: an adapter. `homeport-forwarding` says for each home address what may be done
//! without a look at the packet ([`homeport_forwarding::Fast`]); this crate writes that into one
//! cache line ([`compile`]) of a table ([`Slots`]) that the program reads while it is written. What it is not:
//! it has no rules of its own, and what the program cannot do it leaves to the portable path
//! untouched.
//!
//! Errors say what the kernel refused and what is missing.

mod cause;
pub mod differential;
mod error;
mod hops;
mod line;
mod links;
pub mod measure;
mod pins;
mod program;
mod slots;
mod system;
pub mod testbed;
mod trial;

pub use cause::Cause;
pub use error::Error;
pub use hops::Router;
pub use line::{LINE_WORDS, Surroundings, Words, compile, home_of};
pub use pins::{Kept, Pins};
pub use program::{
    AGENTS_MAX, FastPath, Mode, NEXT_HOPS_MAX, NextHop, PLACES_MAX, Place, Settings,
};
pub use slots::{Full, Repaired, Slots};
pub use system::{Clock, Mapped, Ran, clock, monotonic_ms};
pub use trial::{PinPlace, try_pinning};
