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
mod line;
pub mod measure;
mod program;
mod slots;
mod system;

pub use cause::Cause;
pub use line::{LINE_WORDS, Surroundings, Words, compile, home_of};
pub use program::{
    AGENTS_MAX, Error, FastPath, Mode, NEXT_HOPS_MAX, NextHop, PLACES_MAX, Place, Settings,
};
pub use slots::{Full, Slots};
pub use system::{Mapped, Ran, monotonic_ms};
