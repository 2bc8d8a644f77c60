//! The binding cache: the replicated state machine that decides every rule which needs state.
//!
//! Commands go in, verdicts and changes come out. The same batches in the same order give the same
//! state, verdicts and changes on every replica: there is no clock, no randomness and no I/O here.
//! Time enters as the [`LogTime`] that the leader stamped into the batch.
//!
//! Implements RFC 6275 §9.5.1, §10.3 (registration and de-registration at the home agent), RFC 5648
//! §6 (multiple care-of addresses), the replay protection of RFC 4285 §5.3 and the care-of address
//! rules of RFC 5648 §8 for IPv4, RFC 3963 §6.2 (mobile networks), RFC 5555 §4 (IPv4 home
//! addresses, NAT) and RFC 6089 §5.3 (flow bindings). It does not read or write packets:
//! `homeport-signalling` does.
//!
//! ```
//! use homeport_binding::{Batch, BindingCache, LogTime};
//! let mut cache = BindingCache::default();
//! assert!(cache.apply(1, Batch { at: LogTime(1_000), commands: Vec::new() }).is_empty());
//! assert_eq!(cache.revision(), 1);
//! ```
#![no_std]

extern crate alloc;

mod admin;
mod advertisement;
mod association;
mod cache;
mod care_of_test;
mod check;
pub mod choices;
mod command;
mod correspondents;
mod deadlines;
mod defender;
mod event;
mod flow;
mod home;
pub mod limits;
mod notice;
mod operations;
mod ownership;
mod pages;
mod prefix;
mod probe;
mod record;
mod register;
mod remembered;
mod sorted;
#[cfg(test)]
mod tests;
mod time;
mod verdict;
mod view;

/// The vocabulary of the correspondent node's rules.
pub mod correspondent {
    pub use homeport_correspondent::rules::Request;
    pub use homeport_correspondent::{Binding, Home, Millis, Spent};
}

pub use advertisement::{Advertising, GivenUp, PrefixAdvertisement, PrefixesSolicited};
pub use association::{Association, Origin, Protected, Protects, SecurityAssociation};
pub use cache::{BindingCache, Change, StateError, StateRecord};
pub use care_of_test::{CareOfTest, CareOfTests, CareOfVerified, Nonce};
pub use command::{
    Batch, BidRequest, Command, ENTRIES_VERSION, Ipv4HomeAddressRequest, MobileNetworkRequest,
    OPERATIONS_SINCE, Registration, RequestId, SECURITY_SINCE, WireSource,
};
pub use correspondents::{Correspondence, Peer, Peers};
pub use defender::Defender;
pub use event::{BindingEvent, ClusterEvent, Event, Seen};
pub use flow::{FlowBinding, FlowRequest, SelectorRequest};
pub use home::{Binding, Bindings, CareOf, Home, HomeBinding};
pub use notice::{
    Dispatch, DispatchMessage, HomeAgentSwitch, Notice, Revocation, RevocationAnswer, Revoke,
    Switch,
};
pub use operations::{
    Alarm, AlarmAct, AlarmChange, AlarmKey, AlarmStep, AuditNote, AuditRecord, Audited,
    HASH_OCTETS, Mark, Operation, OperationsRecord, Severity, Shelf,
};
pub use prefix::{Ipv4Prefix, Ipv6Prefix};
pub use probe::{Detected, Probe};
pub use record::{Authentication, HomePrefix, Key, Policy, Revised, Subscriber};
pub use remembered::{Memory, Remembered};
pub use sorted::Sorted;
pub use time::LogTime;
pub use verdict::{
    Answer, EspNumber, Ipv4AddressAnswer, NatDetection, Outcome, Refusal, RefusalKind, Silence,
    Verdict,
};
pub use view::{Known, View};
