//! Bounds on the work that one packet can cause, and the reason of each.

/// Extension headers walked before the upper layer. RFC 8200 §4.1 recommends at most one of each
/// kind, destination options twice: four. Twice that, so that odd but honest stacks pass.
pub const EXTENSION_HEADERS_MAX: usize = 8;

/// Options, padding not counted, in one Hop-by-Hop or Destination Options header. RFC 8504 §5.3
/// lets a host stop at eight; four times that still is a bound.
pub const HEADER_OPTIONS_MAX: usize = 32;

/// Octets of a whole Mobility Header: the Header Len field has eight bits and counts units of
/// eight octets without the first (RFC 6275 §6.1.1).
pub const MOBILITY_HEADER_OCTETS_MAX: usize = 2048;

/// Options, padding not counted, in one Mobility Header. The shortest useful one (a Binding
/// Identifier option without address, RFC 5648 §4.3) has six octets, so 340 of them fill the
/// header.
pub const MOBILITY_OPTIONS_MAX: usize = 340;

/// Data octets of one option: its Length field has eight bits.
pub const OPTION_DATA_OCTETS_MAX: usize = 255;

/// Addresses in one Home Agent Switch message: what a full Mobility Header can hold after its first
/// eight octets.
pub const SWITCH_ADDRESSES_MAX: usize = 127;

/// Home agents in one address discovery reply: the packet must fit into 1280 octets (RFC 6275
/// §10.5.1).
pub const DISCOVERY_ADDRESSES_MAX: usize = 77;

/// Octets that an ICMPv6 error may take of the packet that caused it, so that the error fits into
/// 1280 octets (RFC 4443 §2.4 (c)): minus the IPv6 header and the eight octets of the error itself.
pub const ICMPV6_INVOKING_OCTETS_MAX: usize = 1232;
