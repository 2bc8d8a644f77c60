//! What a signalling front-end decides without state: from a punted packet to a command for the
//! store, and from the store's verdict to a Binding Acknowledgement.
//!
//! Three pure steps; the caller waits between them and keeps nothing else:
//!
//! 1. [`receive`] reads a packet: an [`Update`], a [`Reply`] that needs no state, or a
//!    [`DropReason`].
//! 2. [`Update::judge`] authenticates it against the [`Policy`](homeport_binding::Policy) of its
//!    home address and gives a [`Proposal`].
//! 3. [`Proposal::conclude`] makes the answer from the verdict.
//!
//! What comes in ESP (RFC 4877 §3) takes one before: [`receive`] gives a [`Sealed`], which [`Sealed::open`] reads
//! with the policy; the answer goes back through [`protect`] with the number that the verdict has.
//!
//! Discovery of home agents and prefixes takes two: [`receive`], then [`Discovery::answer`].
//!
//! Where the home agent is a correspondent node too, [`receive_as`] answers the tests of addresses and
//! gives a [`CorrespondentProposal`].
//!
//! Beside these [`notify`] makes the packet of what the home agent says of its own accord, and
//! [`RevocationAcknowledgement::judge`] the command of what answers it.
//!
//! Implements RFC 6275 §9.2, §9.3.3, §9.5.1 (checks without state), §9.5.4 (addressing of the
//! answer), §10.5 and §10.6 (discovery), RFC 4285 (MN-HA authentication), and of the answers RFC
//! 3963 §6.2, RFC 5555 §4.2, RFC 5648 §6.2 and RFC 6089 §5.3; RFC 5846 §7 (Binding Revocation) and RFC 5142 §5.1 (Home Agent Switch). May
//! depend on the codec and the binding cache's vocabulary.
#![no_std]

extern crate alloc;

mod acknowledge;
mod authenticate;
mod budget;
pub mod choices;
mod correspondent;
mod discovery;
mod drop_reason;
mod esp;
mod key_management;
mod notice;
mod receive;
#[cfg(test)]
mod tests;
mod update;

pub use authenticate::{MN_HA_AUTHENTICATOR_LEN, mn_ha_authenticator};
pub use budget::ErrorBudget;
pub use correspondent::{CorrespondentProposal, Role};
pub use discovery::{Discovered, Discovery, DiscoveryLimit};
pub use drop_reason::DropReason;
pub use esp::{Receipt, Sealed, protect};
pub use homeport_correspondent::SharedKey;
pub use key_management::{Endpoint, EndpointChange};
pub use notice::{RevocationAcknowledgement, care_of_test, notify};
pub use receive::{Arrival, Received, Reply, ReplyKind, UdpOuter, receive, receive_as};
pub use update::{Concluded, Judged, Proposal, Update};
