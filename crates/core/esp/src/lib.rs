//! ESP (RFC 4303) in transport mode over the packets of Mobile IPv6 signalling (RFC 4877 §3, RFC 3776 §3).
//!
//! What it is: [`Transform`] seals and opens the octets from the SPI to the ICV, [`protect`] and [`unprotect`]
//! put that into an IPv6 packet and take it out, [`Window`] is the anti-replay window and the extended
//! sequence numbers of RFC 4303 §3.4.3 and appendix A. What it is not: it keeps no counter and takes no
//! random octets. Who calls decides which sequence number is next, because in a cluster only the replicated
//! log can.
//!
//! The cryptography is that of the RustCrypto crates. Suites are those which RFC 8221 demands: AES-GCM with
//! an ICV of 16 octets (RFC 4106), AES-CBC (RFC 3602) or NULL (RFC 2410) with HMAC-SHA2 (RFC 4868).

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

mod error;
mod keys;
mod packet;
mod suite;
mod transform;
mod window;

pub use error::{EspError, KeyError};
pub use keys::Keys;
pub use packet::{EspHeader, protect, unprotect};
pub use suite::Suite;
pub use transform::{Opened, Transform};
pub use window::{WINDOW_SIZE_MAX, Window, extended};
