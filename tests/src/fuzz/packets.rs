//! Headers below the messages.

use homeport_wire::{
    Disposition, Icmpv6, Ipv4Header, Ipv6Header, MOBILITY_UDP_PORT, Malformed, Message, UdpHeader,
    protocol, walk,
};

/// RFC 8200: what is read stands where it is said to stand, and a complaint points into the packet.
pub(super) fn ipv6(octets: &[u8]) {
    if let Ok((header, payload)) = Ipv6Header::parse(octets) {
        let mut again = Vec::new();
        header.emit(&mut again);
        assert_eq!(again, octets[..Ipv6Header::LEN], "the header has no reserved bits");
        assert_eq!(payload, &octets[40..40 + usize::from(header.payload_len)]);
    }
    let walk = match walk(octets) {
        Ok(walk) => walk,
        Err(malformed) => return points_into(octets, malformed),
    };
    let end = 40 + usize::from(walk.header.payload_len);
    assert_eq!(walk.payload, &octets[walk.upper_offset..end]);
    assert_eq!(octets[walk.next_header_offset], walk.upper);
    if let Some(option) = walk.home_address {
        assert_eq!(octets[option.offset..option.offset + 2], [0xc9, 16]);
        let address = &octets[option.offset + 2..option.offset + 18];
        assert_eq!(address, option.address.octets());
        assert!(option.offset < walk.upper_offset);
    }
    match walk.upper {
        protocol::MOBILITY => {
            if let Err(malformed) = Message::parse(walk.payload, walk.pseudo_header()) {
                points_into(walk.payload, malformed);
            }
        }
        protocol::ICMPV6 => {
            let _judged = Icmpv6::parse(walk.payload, walk.pseudo_header());
        }
        _ => {}
    }
}

fn points_into(octets: &[u8], malformed: Malformed) {
    assert!(!malformed.reason().is_empty());
    match malformed.disposition() {
        Disposition::PacketProblem { pointer, code, .. } => {
            assert!(pointer < octets.len(), "{malformed:?} of {} octets", octets.len());
            assert!(code <= 2);
        }
        Disposition::ParameterProblem { pointer_from_mh } => {
            assert!(usize::from(pointer_from_mh) < octets.len());
        }
        Disposition::Discard | Disposition::BindingError { .. } => {}
    }
}

/// RFC 791, RFC 768: as it comes, and once more with checksums and lengths mended.
pub(super) fn outer(octets: &[u8]) {
    envelope(octets);
    let mut mended = octets.to_vec();
    mended.resize(mended.len().max(28), 0);
    mended[0] = 0x45;
    let total_len = u16::try_from(mended.len()).expect("short");
    mended[2..4].copy_from_slice(&total_len.to_be_bytes());
    mended[6..8].fill(0);
    mended[9] = protocol::UDP;
    mended[10..12].fill(0);
    let sum: u32 =
        mended[..20].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !u16::try_from(sum).expect("folded");
    mended[10..12].copy_from_slice(&sum.to_be_bytes());
    mended[22..24].copy_from_slice(&MOBILITY_UDP_PORT.to_be_bytes());
    mended[24..26].copy_from_slice(&(total_len - 20).to_be_bytes());
    mended[26..28].fill(0);
    assert!(envelope(&mended), "a datagram without checksum is good over IPv4");
}

/// True when there is a datagram in a packet that is no fragment.
fn envelope(octets: &[u8]) -> bool {
    let Ok((header, payload)) = Ipv4Header::parse(octets) else {
        return false;
    };
    let header_len = usize::from(octets[0] & 15) * 4;
    assert_eq!(payload, &octets[header_len..usize::from(header.total_len)]);
    let mut again = Vec::new();
    header.emit(&mut again);
    if header_len == Ipv4Header::LEN {
        let mut first = octets[..Ipv4Header::LEN].to_vec();
        // The other zero of ones' complement (RFC 1071 section 1) is as right, and is not written.
        if first[10..12] == [0xff, 0xff] {
            first[10..12].fill(0);
        }
        assert_eq!(again, first, "but for the two zeros a right header has one form");
    }
    if header.protocol != protocol::UDP || header.is_fragment() {
        return false;
    }
    let Ok((udp, inside)) = UdpHeader::parse_v4(payload, header.source, header.destination) else {
        return false;
    };
    let again = udp.emit_v4(header.source, header.destination, inside);
    let parsed = UdpHeader::parse_v4(&again, header.source, header.destination);
    assert_eq!(parsed, Ok((udp, inside)));
    ipv6(inside);
    true
}
