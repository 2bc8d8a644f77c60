//! Mutual TLS 1.3 on the links between processes: who a peer is stands in its certificate, and that decides
//! what it may ask for ([ADR 0010](../../../../docs/adr/0010-a-certificate-says-what-a-process-is.md)).
//!
//! ```text
//!   files --1/s--> Material --watch, newest only--> accept: handshakes, then connections with a Peer
//!                                          \------> dial:   handshakes with the role that is dialled
//!   each call: Guard --(role of the certificate, method)--> rights: the one table
//! ```
//!
//! [`Links`] is all that a role needs. Without a section `[tls]` it stands for links as they come, unprotected.

mod accept;
mod config;
mod dial;
mod guard;
mod identity;
pub mod limits;
mod links;
mod material;
mod metrics;
pub mod mint;
mod reason;
mod rights;
mod verify;

pub use accept::{Connection, Link};
pub use config::TlsConfig;
pub use dial::Way;
pub use guard::{Guard, GuardLayer, REASON};
pub use identity::{Identity, Role};
pub use links::Links;
pub use material::{Facts, facts};
pub use reason::Reason;
pub use rights::{RIGHTS, may};
