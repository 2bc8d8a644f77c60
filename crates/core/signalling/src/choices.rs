//! What Homeport reads and answers where the RFCs are silent. `docs/decisions.md` has the question behind
//! each, and the test that holds it.

/// A Heartbeat is answered as a message of an unknown type: RFC 5847 speaks of gateways and anchors
/// of Proxy Mobile IPv6 and not of mobile nodes. Else it is dropped.
pub const HEARTBEAT_IS_UNKNOWN: bool = true;

/// FID-PRI of an answer about a FID that is not known: RFC 6089 §5.3 does not say what stands there.
pub const FLOW_NOT_FOUND_PRIORITY: u16 = 0;

/// A home binding that is sent from the home link needs a Home Address option: RFC 5648 §5.6 does not
/// say. Else it may come with or without one.
pub const HOME_BINDING_NEEDS_HOME_ADDRESS_OPTION: bool = false;

/// Identifier of a Mobile Prefix Advertisement that nobody asked for: RFC 6275 §6.8 does not say what
/// stands there. A mobile node must not take it for the answer to a solicitation of its own.
pub const UNSOLICITED_IDENTIFIER: u16 = 0;
