//! Flow bindings (RFC 6089): as a Binding Update asks for them, and as they are kept.

use alloc::vec::Vec;

use homeport_wire::{Bid, BinarySelector};

/// One Flow Identification option of a Binding Update.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlowRequest {
    /// FID.
    pub fid: u16,
    /// FID-PRI.
    pub priority: u16,
    /// A sub-option overruns the option, is too short, or comes twice.
    pub malformed: bool,
    /// BIDs of the Binding Reference sub-option; empty without one.
    pub bids: Vec<Bid>,
    /// The Traffic Selector sub-option.
    pub selector: Option<SelectorRequest>,
}

/// A Traffic Selector sub-option, not judged yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SelectorRequest {
    /// TS Format.
    pub format: u8,
    /// What follows the reserved octet.
    pub octets: Vec<u8>,
}

/// A flow and where its packets go: a copy to each of its bindings that is in force. While none of
/// them is, it does not count (RFC 6089 §5.3.1: inactive).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlowBinding {
    /// FID-PRI: lower is matched earlier; no two flows of a home address have the same.
    pub priority: u16,
    /// In the order of the Binding Reference sub-option.
    pub bids: Vec<Bid>,
    /// Which packets belong to it, as seen on the way to the mobile node.
    pub selector: BinarySelector,
}
