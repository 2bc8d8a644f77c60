//! The Tunnel Encapsulation Limit (RFC 2473 §4.1.1): how many tunnels more a packet may enter.

use homeport_wire::{Ipv6Header, protocol};

use crate::limits::{ENCAPSULATION_LIMIT_LEN, LIMIT_HEADERS_MAX};

/// Type of the option.
const TUNNEL_ENCAPSULATION_LIMIT: u8 = 4;
const PAD1: u8 = 0;

/// A limit that a packet says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    /// Tunnels that it may still enter.
    pub(crate) limit: u8,
    /// Where that stands, from the start of the packet.
    pub(crate) offset: usize,
}

/// The limit behind the IPv6 header of a packet (RFC 2473 §4.1.1 (a)). The search ends at the first
/// header that is none of the extension headers that can be looked behind. What cannot be read has
/// no limit: a transit packet is not judged here.
pub(crate) fn of(packet: &[u8]) -> Option<Found> {
    const NEXT_HEADER_OFFSET: usize = 6;
    let mut next_header = *packet.get(NEXT_HEADER_OFFSET)?;
    let mut at = Ipv6Header::LEN;
    for _ in 0..LIMIT_HEADERS_MAX {
        let [next, ext_len, high, low] = *packet.get(at..)?.first_chunk::<4>()?;
        let len = match next_header {
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => {
                usize::from(ext_len).saturating_add(1).saturating_mul(8)
            }
            // RFC 4302 §2.2: counted in words, two less than there are.
            protocol::AH => usize::from(ext_len).saturating_add(2).saturating_mul(4),
            // Behind the header of a later fragment is no header.
            protocol::FRAGMENT if u16::from_be_bytes([high, low]) & !7 == 0 => 8,
            _ => return None,
        };
        let end = at.saturating_add(len);
        if next_header == protocol::DESTINATION_OPTIONS {
            let begin = at.saturating_add(2);
            if let Some(found) = among(packet.get(begin..end)?, begin) {
                return Some(found);
            }
        }
        next_header = next;
        at = end;
    }
    None
}

/// The option among others, which begin at `begin`.
fn among(options: &[u8], begin: usize) -> Option<Found> {
    let mut at = 0_usize;
    // Each turn takes an octet or more of a header, which has at most 2,048.
    while let Some(kind) = options.get(at) {
        if *kind == PAD1 {
            at = at.saturating_add(1);
            continue;
        }
        let len = usize::from(*options.get(at.saturating_add(1))?);
        let data = at.saturating_add(2);
        if *kind == TUNNEL_ENCAPSULATION_LIMIT && len == 1 {
            let limit = *options.get(data)?;
            return Some(Found { limit, offset: begin.saturating_add(data) });
        }
        at = data.saturating_add(len);
    }
    None
}

/// The Destination Options header of a tunnel with this limit (RFC 2473 §5.1).
pub(crate) const fn header(next_header: u8, limit: u8) -> [u8; ENCAPSULATION_LIMIT_LEN] {
    const PADN: u8 = 1;
    [next_header, 0, TUNNEL_ENCAPSULATION_LIMIT, 1, limit, PADN, 1, 0]
}

#[cfg(test)]
mod tests {
    use core::net::Ipv6Addr;

    use homeport_wire::PacketBuilder;

    use super::*;

    fn packet(next_header: u8, payload: &[u8]) -> alloc::vec::Vec<u8> {
        PacketBuilder::new(Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST).build(next_header, payload)
    }

    const OPTION: [u8; 8] = header(protocol::NO_NEXT, 3);

    #[test]
    fn it_is_found_behind_what_can_be_looked_behind() {
        let behind = |next: u8, header: &[u8]| packet(next, &[header, &OPTION].concat());
        let rows = [
            (packet(protocol::DESTINATION_OPTIONS, &OPTION), 44),
            (behind(protocol::HOP_BY_HOP, &[60, 0, 1, 4, 0, 0, 0, 0]), 52),
            (behind(protocol::DESTINATION_OPTIONS, &[60, 0, 0, 0, 0, 0, 0, 0]), 52),
            (behind(protocol::ROUTING, &[60, 0, 0, 0, 0, 0, 0, 0]), 52),
            (behind(protocol::FRAGMENT, &[60, 0, 0, 1, 0, 0, 0, 9]), 52),
            (behind(protocol::AH, &[60, 1, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1]), 56),
        ];
        for (packet, offset) in rows {
            assert_eq!(of(&packet), Some(Found { limit: 3, offset }), "{packet:02x?}");
        }
    }

    #[test]
    fn it_is_not_looked_for_elsewhere_nor_read_when_it_is_none() {
        let rows = [
            packet(protocol::UDP, &OPTION),
            packet(protocol::IPV6, &packet(protocol::DESTINATION_OPTIONS, &OPTION)),
            packet(protocol::ESP, &OPTION),
            packet(protocol::FRAGMENT, &[&[60, 0, 0, 8, 0, 0, 0, 9][..], &OPTION].concat()),
            // Cut off, of another length, longer than its header, another option.
            packet(protocol::DESTINATION_OPTIONS, &OPTION[..6]),
            packet(protocol::DESTINATION_OPTIONS, &[59, 0, 4, 2, 3, 3, 0, 0]),
            packet(protocol::DESTINATION_OPTIONS, &[59, 0, 0, 0, 0, 0, 0, 4]),
            packet(protocol::DESTINATION_OPTIONS, &[59, 0, 5, 1, 3, 1, 1, 0]),
            packet(protocol::HOP_BY_HOP, &OPTION),
        ];
        for packet in rows {
            assert_eq!(of(&packet), None, "{packet:02x?}");
        }
        let deep = [60_u8, 0, 1, 4, 0, 0, 0, 0].repeat(LIMIT_HEADERS_MAX);
        assert_eq!(
            of(&packet(protocol::DESTINATION_OPTIONS, &[&deep[..], &OPTION].concat())),
            None
        );
        assert_eq!(of(&[]), None);
    }
}
