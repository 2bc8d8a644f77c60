//! What Homeport answers where the RFCs are silent or contradict one another. `docs/decisions.md` has the
//! question behind each, and the test that holds it.
//!
//! Every replica must choose alike: a value here changes with the version of the store, as any other
//! rule does.

use homeport_wire::{FlowStatus, Ipv4AddressStatus, Status};

/// A BID option with BID 0 (RFC 5648 §4.3 reserves it and names no status).
pub const BID_ZERO: Status = Status::MCOA_MALFORMED;
/// A further BID option with the same BID; the first counts (RFC 5648 §6.2 does not speak of it).
pub const BID_REPEATED: Status = Status::MCOA_MALFORMED;
/// A BID option that is to end an unknown binding: RFC 5648 §6.2 has this, §5.7 another. The other
/// options of the Binding Update are worked off.
pub const BID_NOT_BOUND: Status = Status::NOT_HOME_AGENT;
/// A BID option without care-of address whose BID is not known: RFC 5648 §6.2, where §4.4 would call
/// it malformed.
pub const CARE_OF_NOT_KNOWN: Status = Status::MCOA_UNKNOWN_COA;
/// A care-of address that leads back to the home agent (RFC 6275 §15.1 warns and names no status).
pub const CARE_OF_LOOPS: Status = Status::INVALID_CARE_OF_ADDRESS;
/// An IPv4 care-of address that is new, but does not come in UDP by itself (RFC 5648 §8.1 forbids it
/// and names no status).
pub const IPV4_CARE_OF_NOT_INTRODUCED: Status = Status::INVALID_CARE_OF_ADDRESS;
/// A home binding whose care-of address is not the home address (RFC 5648 §5.6 has no status).
pub const HOME_BINDING_ELSEWHERE: Status = Status::MCOA_MALFORMED;
/// A home binding that does not say its link-layer address, where the home agent may not ask for it:
/// RFC 5648 §6.3 has the home agent write the link-layer header itself, and no status for this.
pub const HOME_BINDING_WITHOUT_LINK_LAYER_ADDRESS: Status = Status::MCOA_MALFORMED;
/// A second home binding beside the one that stays (RFC 5648 §5.6 has no status).
pub const HOME_BINDING_SECOND: Status = Status::MCOA_MALFORMED;
/// A binding beyond the number that is allowed (RFC 5648 sets no number).
pub const BINDINGS_EXHAUSTED: Status = Status::INSUFFICIENT_RESOURCES;
/// All options of a bulk registration fail, but not for one reason (RFC 5648 §6.2 has the case of one
/// reason only). Each option then has its own.
pub const BULK_FAILS_VARIOUSLY: Status = Status::REASON_UNSPECIFIED;
/// Any Binding Update with a BID option without H ends the home binding, as RFC 5648 §5.6.5 has it word
/// for word; else one that names the home binding, so that refreshing a foreign one spares it.
pub const HOME_BINDING_ENDS_WITH_ANY: bool = false;

/// UDP encapsulation is asked for, not needed and not given, to a mobile node without IPsec: 144, which
/// RFC 5555 §4.4.1 has, is another status for whom RFC 4285 authenticates.
pub const FORCED_UDP_REFUSED: Status = Status::ADMINISTRATIVELY_PROHIBITED;
/// The same, to a mobile node that IPsec protects: it knows 144 by RFC 5555 §4.4.1 alone.
pub const FORCED_UDP_REFUSED_UNDER_IPSEC: Status = Status::ID_MISMATCH;
/// An IPv4 home address is asked for with prefix length 0 (RFC 5555 §3.1.1 does not speak of it).
pub const IPV4_PREFIX_LEN_ZERO: Ipv4AddressStatus = Ipv4AddressStatus::INVALID_ADDRESS;

/// A mobile network prefix with bits set behind its length (RFC 3963 §6.2 does not speak of them).
pub const NETWORK_HOST_BITS_SET: Status = Status::INVALID_PREFIX;
/// A mobile router that names its home address as care-of address, without BID option, de-registers:
/// RFC 3963 §6.2 says so still, RFC 6275 §10.3.2 does not any more.
pub const ROUTER_AT_HOME_DEREGISTERS: bool = true;

/// Two Flow Identification options with one FID: each has this (RFC 6089 §5.3.1 names no status).
pub const FLOW_REPEATED: FlowStatus = FlowStatus::MALFORMED;
/// FID or FID-PRI is 0, which RFC 6089 §4.2 reserves without a status.
pub const FLOW_NUMBER_ZERO: FlowStatus = FlowStatus::MALFORMED;
/// FID-PRI belongs to another flow (RFC 6089 §4.2 wants it unique and names no status).
pub const FLOW_PRIORITY_TAKEN: FlowStatus = FlowStatus::MALFORMED;

/// A Binding Update that is accepted ends a revocation, but for administrative reasons
/// (RFC 5846 §7.1 does not speak of it).
pub const REVOCATION_ENDS_WITH_UPDATE: bool = true;
/// The mobile node is told by a binding that stays, where it has one (RFC 5846 §7.1 says nothing of
/// several).
pub const TOLD_BY_WHAT_STAYS: bool = true;
