//! What kinds of addresses the protocols allow where.

use core::net::{Ipv4Addr, Ipv6Addr};

/// A unicast address that can be routed, as RFC 6275 asks of home and care-of addresses: not
/// unspecified, loopback, link-local, multicast, IPv4-mapped or IPv4-compatible.
#[must_use]
pub fn is_unicast_routable_v6(address: Ipv6Addr) -> bool {
    // The first six octet pairs zero: ::, ::1 and the retired IPv4-compatible range ::/96.
    let in_zero_prefix = address.to_bits() >> 32 == 0;
    !(in_zero_prefix
        || address.is_multicast()
        || address.is_unicast_link_local()
        || address.to_ipv4_mapped().is_some())
}

/// A unicast address in the widest sense (RFC 6275 §9.5.1, first check): not unspecified, not
/// multicast.
#[must_use]
pub fn is_unicast_v6(address: Ipv6Addr) -> bool {
    !(address.is_unspecified() || address.is_multicast())
}

/// An IPv4 address that may be a care-of address: not in 0/8, 127/8, 169.254/16, 224/4 or 240/4.
/// Private addresses (RFC 1918) are legal: the mobile node may sit behind a translator (RFC 5555
/// §4.1).
#[must_use]
pub fn is_unicast_routable_v4(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    !(first == 0 || first >= 224 || address.is_loopback() || address.is_link_local())
}
