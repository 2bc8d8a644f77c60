//! Addresses that Neighbour Discovery derives from others.

use core::net::Ipv6Addr;

use crate::link::LinkLayerAddress;

pub(crate) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

pub(crate) const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// Solicited-node multicast address (RFC 4291 §2.7.1).
pub(crate) const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    let [p, q] = [0xff00 | u16::from_be_bytes([0, a]), u16::from_be_bytes([b, c])];
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, p, q)
}

/// Ethernet address of a multicast group (RFC 2464 §7).
pub(crate) const fn multicast_link_layer(group: Ipv6Addr) -> LinkLayerAddress {
    let [.., a, b, c, d] = group.octets();
    [0x33, 0x33, a, b, c, d]
}

/// The link-local address with the interface identifier of `address` (RFC 6275 §6.1.7, L flag).
pub(crate) const fn link_local_of(address: Ipv6Addr) -> Ipv6Addr {
    const PREFIX: u128 = 0xfe80 << 112;
    Ipv6Addr::from_bits(PREFIX | address.to_bits() & 0xffff_ffff_ffff_ffff)
}
