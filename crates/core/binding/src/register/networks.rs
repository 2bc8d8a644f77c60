//! Mobile networks (RFC 3963 §6.2): which prefixes a mobile router's Binding Update puts in force.

use alloc::collections::BTreeSet;
use core::net::Ipv6Addr;

use homeport_wire::Status;

use crate::choices;
use crate::command::{MobileNetworkRequest, Registration};
use crate::prefix::Ipv6Prefix;
use crate::record::Subscriber;

/// Explicit mode when the Binding Update names prefixes, else implicit mode (RFC 3963 §5.2). Mobile
/// routers take 141 and 142 in implicit mode, and 143 in explicit mode, for fatal: they are not
/// sent.
pub(super) fn mobile_networks(
    r: &Registration,
    subscriber: Option<&Subscriber>,
) -> Result<BTreeSet<Ipv6Prefix>, Status> {
    let owned = subscriber.map_or(&[][..], |subscriber| &subscriber.mobile_networks);
    if r.mobile_networks.is_empty() {
        let must_name = subscriber.is_none_or(|subscriber| subscriber.mobile_networks_explicit);
        return if owned.is_empty() || must_name {
            Err(Status::FORWARDING_SETUP_FAILED)
        } else {
            Ok(owned.iter().copied().collect())
        };
    }
    let named: BTreeSet<Ipv6Prefix> =
        r.mobile_networks.iter().map(|request| valid(*request, owned)).collect::<Result<_, _>>()?;
    let is_owned = |prefix: &Ipv6Prefix| owned.iter().any(|own| own.covers(*prefix));
    if named.iter().all(is_owned) { Ok(named) } else { Err(Status::NOT_AUTHORIZED_FOR_PREFIX) }
}

/// A unicast prefix with host bits zero, and not a shorter one than what is provisioned.
fn valid(request: MobileNetworkRequest, owned: &[Ipv6Prefix]) -> Result<Ipv6Prefix, Status> {
    let is_shortened =
        |own: &Ipv6Prefix| request.prefix_len < own.len() && is_inside(*own, request);
    let has_len = (1..=128).contains(&request.prefix_len);
    if !has_len || is_reserved(request.prefix) || owned.iter().any(is_shortened) {
        return Err(Status::INVALID_PREFIX);
    }
    Ipv6Prefix::new(request.prefix, request.prefix_len).ok_or(choices::NETWORK_HOST_BITS_SET)
}

/// The owned prefix lies in what is asked for, host bits aside.
fn is_inside(own: Ipv6Prefix, request: MobileNetworkRequest) -> bool {
    let host_bits = 128_u32.saturating_sub(request.prefix_len.into());
    let network = |address: Ipv6Addr| address.to_bits().checked_shr(host_bits).unwrap_or(0);
    network(own.address()) == network(request.prefix)
}

const fn is_reserved(prefix: Ipv6Addr) -> bool {
    // ::/96 holds the unspecified and the loopback address, ::ffff:0:0/96 the mapped IPv4 ones.
    prefix.is_multicast() || prefix.is_unicast_link_local() || prefix.to_bits() >> 48 == 0
}
