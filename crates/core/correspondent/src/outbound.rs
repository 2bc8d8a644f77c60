//! What this node sends to mobile nodes: RFC 6275 §9.3.2.

use alloc::vec::Vec;
use core::net::Ipv6Addr;

use homeport_wire::{Ipv6Header, limits, protocol};

use crate::node::Correspondent;
use crate::time::Millis;

/// Octets of a type 2 routing header (RFC 6275 §6.4.1).
const ROUTING_HEADER_OCTETS: u16 = 24;
/// Its Routing Type.
const ROUTING_TYPE_HOME_ADDRESS: u8 = 2;
/// ICMPv6 types of Neighbour Discovery (RFC 4861 §4).
const NEIGHBOUR_DISCOVERY: core::ops::RangeInclusive<u8> = 133..=137;

impl Correspondent {
    /// The packet to send in place of `packet`, which comes from the upper layers: with a type 2
    /// routing header by way of the care-of address, when there is a binding for the destination.
    /// `None` means to send it as it is. It is 24 octets longer, which the caller must count when
    /// it tells the upper layers the path MTU.
    ///
    /// Without change go Neighbour Discovery and Mobility Headers (RFC 6275 §9.3.2, §6.1), also
    /// behind Destination Options, packets that have a routing header already, and what is no IPv6
    /// packet.
    pub fn route(&mut self, now: Millis, packet: &[u8]) -> Option<Vec<u8>> {
        self.now = self.now.max(now);
        let now = self.now;
        let outgoing = Outgoing::read(packet)?;
        let care_of = self.cache.edit(now, outgoing.header.destination, |home| {
            let bid = home.preferred(now)?.0;
            let binding = home.bindings.get_mut(&bid)?;
            binding.used = true;
            Some(binding.care_of)
        });
        outgoing.by_way_of(care_of??)
    }
}

/// The packet to send in place of `packet` where its destination is bound to `care_of`; see
/// [`Correspondent::route`].
#[must_use]
pub fn by_way_of(packet: &[u8], care_of: Ipv6Addr) -> Option<Vec<u8>> {
    Outgoing::read(packet)?.by_way_of(care_of)
}

/// A packet that may be routed.
struct Outgoing<'p> {
    header: Ipv6Header,
    first: &'p [u8],
    next_header: u8,
    rest: &'p [u8],
}

impl<'p> Outgoing<'p> {
    fn read(packet: &'p [u8]) -> Option<Self> {
        let (header, payload) = Ipv6Header::parse(packet).ok()?;
        let (first, next_header, rest) = split(header.next_header, payload)?;
        Some(Self { header, first, next_header, rest })
    }

    fn by_way_of(&self, care_of: Ipv6Addr) -> Option<Vec<u8>> {
        routed(self.header, care_of, self.first, self.next_header, self.rest)
    }
}

/// The Hop-by-Hop Options header, which stays the first, then the protocol and octets of what
/// follows. `None` when the packet is not to be routed.
fn split(next_header: u8, payload: &[u8]) -> Option<(&[u8], u8, &[u8])> {
    let (first, next_header, rest) = match next_header {
        protocol::HOP_BY_HOP => extension_header(payload)?,
        _ => (&[][..], next_header, payload),
    };
    let (mut upper, mut octets) = (next_header, rest);
    for _ in 0..limits::EXTENSION_HEADERS_MAX {
        if upper != protocol::DESTINATION_OPTIONS {
            break;
        }
        (_, upper, octets) = extension_header(octets)?;
    }
    let stays = match upper {
        protocol::MOBILITY | protocol::ROUTING | protocol::DESTINATION_OPTIONS => true,
        protocol::ICMPV6 => octets.first().is_none_or(|kind| NEIGHBOUR_DISCOVERY.contains(kind)),
        _ => false,
    };
    (!stays).then_some((first, next_header, rest))
}

/// An extension header, the protocol of what follows it, and that.
fn extension_header(octets: &[u8]) -> Option<(&[u8], u8, &[u8])> {
    let [next, len, ..] = *octets else {
        return None;
    };
    let len = usize::from(len).saturating_add(1).saturating_mul(8);
    let (header, rest) = octets.split_at_checked(len)?;
    Some((header, next, rest))
}

fn routed(
    header: Ipv6Header,
    care_of: Ipv6Addr,
    first: &[u8],
    next_header: u8,
    rest: &[u8],
) -> Option<Vec<u8>> {
    let payload_len = header.payload_len.checked_add(ROUTING_HEADER_OCTETS)?;
    let mut packet = Vec::new();
    let outer_next = if first.is_empty() { protocol::ROUTING } else { protocol::HOP_BY_HOP };
    Ipv6Header { payload_len, next_header: outer_next, destination: care_of, ..header }
        .emit(&mut packet);
    if let Some((_, after_next)) = first.split_first() {
        packet.push(protocol::ROUTING);
        packet.extend_from_slice(after_next);
    }
    // Hdr Ext Len 2, type 2, one segment left, reserved.
    packet.extend_from_slice(&[next_header, 2, ROUTING_TYPE_HOME_ADDRESS, 1, 0, 0, 0, 0]);
    packet.extend_from_slice(&header.destination.octets());
    packet.extend_from_slice(rest);
    Some(packet)
}
