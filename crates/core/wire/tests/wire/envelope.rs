//! IPv4 and UDP around Mobile IPv6 (RFC 5555), and tunnels.

use homeport_wire::{
    Ipv4Header, Malformed, PseudoHeader, UdpHeader, encapsulate_v4, encapsulate_v6, protocol,
    udp_v4_packet, walk,
};

use crate::support::{CARE_OF_1, HOME, HOME_AGENT, HOME_AGENT_V4, TRANSLATOR_V4, hex, vector};

/// The packet of V16 with one octet changed and the header checksum corrected.
fn altered(at: usize, value: u8) -> Vec<u8> {
    let mut packet = vector("V16").packet;
    packet[at] = value;
    packet[10..12].fill(0);
    let mut sum: u32 =
        packet[..20].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    packet[10..12].copy_from_slice(&(!u16::try_from(sum).unwrap()).to_be_bytes());
    packet
}

#[test]
fn ipv4_header_fields() {
    let packet = vector("V16").packet;
    let (header, payload) = Ipv4Header::parse(&packet).unwrap();
    assert_eq!(header.source, TRANSLATOR_V4);
    assert_eq!(header.destination, HOME_AGENT_V4);
    assert_eq!((header.identification, header.flags_fragment, header.ttl), (1, 0, 64));
    assert_eq!(usize::from(header.total_len), packet.len());
    assert_eq!(header.protocol, protocol::UDP);
    assert_eq!(payload, &packet[20..]);
    assert!(!header.is_fragment());
    let mut out = vec![0xa5; 3];
    header.emit(&mut out);
    assert_eq!(hex(&out), format!("a5a5a5{}", hex(&packet[..20])));
}

#[test]
fn ipv4_refusals() {
    let packet = vector("V16").packet;
    let mut wrong = packet.clone();
    wrong[8] = 63;
    assert_eq!(Ipv4Header::parse(&wrong), Err(Malformed::Checksum));
    assert_eq!(Ipv4Header::parse(&altered(0, 0x65)), Err(Malformed::Version { value: 6 }));
    let short = Malformed::Length { field: "IPv4 header length" };
    assert_eq!(Ipv4Header::parse(&altered(0, 0x44)), Err(short));
    let short = Malformed::Length { field: "IPv4 total length" };
    assert_eq!(Ipv4Header::parse(&altered(3, 19)), Err(short));
    assert!(matches!(Ipv4Header::parse(&altered(3, 200)), Err(Malformed::Truncated { .. })));
    for flags in [0x20, 0x01] {
        let packet = altered(6, flags);
        let (header, _) = Ipv4Header::parse(&packet).unwrap();
        assert!(header.is_fragment());
    }
    let unfragmented = altered(6, 0x40);
    let (header, _) = Ipv4Header::parse(&unfragmented).unwrap();
    assert!(!header.is_fragment(), "don't fragment");
}

#[test]
fn ipv4_options_are_skipped_and_padding_is_cut() {
    let plain = vector("V16").packet;
    let mut packet = plain.clone();
    packet.splice(20..20, [0x94, 4, 0, 0]);
    packet[0] = 0x46;
    let len = u16::try_from(packet.len()).unwrap();
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    // The option changes the checksum by what it adds: seal by search, the oracle being the parser.
    let sealed = (0..=u16::MAX).find_map(|sum| {
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        Ipv4Header::parse(&packet).is_ok().then(|| packet.clone())
    });
    let mut sealed = sealed.unwrap();
    sealed.extend_from_slice(&[0; 6]);
    let (_, payload) = Ipv4Header::parse(&sealed).unwrap();
    assert_eq!(payload, &plain[20..]);
}

#[test]
fn udp_over_ipv4() {
    let packet = vector("V17").packet;
    let (ip, datagram) = Ipv4Header::parse(&packet).unwrap();
    fn parse(datagram: &[u8]) -> Result<(UdpHeader, &[u8]), Malformed> {
        UdpHeader::parse_v4(datagram, HOME_AGENT_V4, TRANSLATOR_V4)
    }
    let (udp, payload) = parse(datagram).unwrap();
    assert_eq!((udp.source_port, udp.destination_port), (4191, 40001));
    assert_eq!(hex(&udp.emit_v4(ip.source, ip.destination, payload)), hex(datagram));

    let mut changed = datagram.to_vec();
    changed[20] ^= 1;
    assert_eq!(parse(&changed), Err(Malformed::Checksum));
    changed[6..8].fill(0);
    let (_, payload) = parse(&changed).unwrap();
    assert_eq!(payload, &changed[8..], "a sender may do without a checksum");

    let mut short = datagram.to_vec();
    short[4..6].copy_from_slice(&7_u16.to_be_bytes());
    assert_eq!(parse(&short), Err(Malformed::Length { field: "UDP length" }));
    let mut long = datagram.to_vec();
    long[4..6].copy_from_slice(&u16::MAX.to_be_bytes());
    assert!(matches!(parse(&long), Err(Malformed::Truncated { .. })));
    for len in 0..datagram.len() {
        assert!(parse(&datagram[..len]).is_err(), "cut to {len}");
    }
}

/// RFC 8200 §8.1.
#[test]
fn udp_over_ipv6() {
    let header = UdpHeader { source_port: 5060, destination_port: 4191 };
    let pseudo = PseudoHeader::udp(HOME, HOME_AGENT);
    let datagram = header.emit_v6(pseudo, b"payload");
    assert_eq!(UdpHeader::parse_v6(&datagram, pseudo), Ok((header, &b"payload"[..])));
    let mut wrong = datagram.clone();
    wrong[9] ^= 1;
    assert_eq!(UdpHeader::parse_v6(&wrong, pseudo), Err(Malformed::Checksum));
    wrong[6..8].fill(0);
    assert_eq!(UdpHeader::parse_v6(&wrong, pseudo), Err(Malformed::ChecksumAbsent));
}

#[test]
fn a_computed_checksum_of_zero_is_sent_as_all_ones() {
    // RFC 768. One of these 65,536 payloads makes the sum come out as zero.
    let header = UdpHeader { source_port: 1, destination_port: 2 };
    let mut seen = false;
    for word in 0..=u16::MAX {
        let datagram = header.emit_v4(TRANSLATOR_V4, HOME_AGENT_V4, &word.to_be_bytes());
        let field = &datagram[6..8];
        assert_ne!(field, [0, 0]);
        if field == [0xff, 0xff] {
            seen = true;
            assert!(UdpHeader::parse_v4(&datagram, TRANSLATOR_V4, HOME_AGENT_V4).is_ok());
        }
    }
    assert!(seen);
}

#[test]
fn tunnels() {
    let inner = vector("V08").packet;
    let outer = encapsulate_v6(&inner, HOME_AGENT, CARE_OF_1, 61, 0xb8, 0xabcde);
    let found = walk(&outer).unwrap();
    assert_eq!((found.upper, found.payload), (protocol::IPV6, &inner[..]));
    let header = found.header;
    assert_eq!((header.hop_limit, header.traffic_class, header.flow_label), (61, 0xb8, 0xabcde));

    let outer = encapsulate_v4(&inner, protocol::IPV6, HOME_AGENT_V4, TRANSLATOR_V4, 61, 0xb8);
    let (header, payload) = Ipv4Header::parse(&outer).unwrap();
    assert_eq!((header.protocol, header.ttl, header.dscp_ecn), (protocol::IPV6, 61, 0xb8));
    assert_eq!(payload, inner);
}

#[test]
fn what_does_not_fit_gives_nothing() {
    let peer = (TRANSLATOR_V4, 40001);
    let agent = (HOME_AGENT_V4, 4191);
    let largest = vec![0; 65_535];
    assert!(udp_v4_packet(agent, peer, &largest).is_empty());
    assert!(udp_v4_packet(agent, peer, &largest[..65_508]).is_empty());
    assert_eq!(udp_v4_packet(agent, peer, &largest[..65_507]).len(), 65_535);
    assert_eq!(encapsulate_v6(&largest, HOME, HOME_AGENT, 64, 0, 0).len(), 65_575);
    assert!(encapsulate_v6(&vec![0; 65_536], HOME, HOME_AGENT, 64, 0, 0).is_empty());
}
