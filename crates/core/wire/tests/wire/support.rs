//! Golden packets as tests need them: captures, named vectors, and frames taken apart by our
//! parsers.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use homeport_wire::{
    Ipv4Header, Ipv6Header, MOBILITY_UDP_PORT, Malformed, PacketBuilder, PseudoHeader, UdpHeader,
    Walk, encapsulate_v4, protocol, walk,
};

pub(crate) const HOME_AGENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1);
pub(crate) const SECOND_AGENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 2);
pub(crate) const HOME: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x100);
pub(crate) const CARE_OF_1: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 0x11);
pub(crate) const CARE_OF_2: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 0, 0x22);
pub(crate) const CARE_OF_3: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 0x33);
pub(crate) const CORRESPONDENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 0x99);
pub(crate) const HOME_AGENT_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
pub(crate) const TRANSLATOR_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

pub(crate) const CAPTURES: [&str; 3] = ["mobile-node-f1", "mobile-node-f2", "mobile-node-home"];

fn golden(path: &str) -> Vec<u8> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../tests/golden");
    let path = root.join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The IP packets of a little-endian pcap file; an Ethernet header is taken off.
pub(crate) fn pcap(path: &str) -> Vec<Vec<u8>> {
    let file = golden(path);
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    assert_eq!(word(0), 0xa1b2_c3d4, "{path}: magic");
    let link_header = match word(20) {
        1 => 14,
        101 => 0,
        other => panic!("{path}: link type {other}"),
    };
    let mut packets = Vec::new();
    let mut at = 24;
    while at < file.len() {
        let len = usize::try_from(word(at + 8)).unwrap();
        packets.push(file[at + 16 + link_header..at + 16 + len].to_vec());
        at += 16 + len;
    }
    packets
}

/// A named golden packet.
#[derive(Clone, Debug)]
pub(crate) struct Vector {
    pub(crate) id: String,
    pub(crate) packet: Vec<u8>,
    /// Empty for ICMPv6; for ESP what is inside.
    pub(crate) mh: Vec<u8>,
    fields: serde_json::Value,
}

impl Vector {
    /// Another field, in hexadecimal.
    pub(crate) fn octets(&self, field: &str) -> Vec<u8> {
        unhex(self.fields[field].as_str().unwrap_or_else(|| panic!("{}: {field}", self.id)))
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.fields["pcap"] == "esp"
    }

    /// True when a Mobility Header stands in the clear.
    pub(crate) fn has_clear_mh(&self) -> bool {
        !self.mh.is_empty() && !self.is_encrypted()
    }
}

pub(crate) fn vectors() -> Vec<Vector> {
    let list: serde_json::Value = serde_json::from_slice(&golden("vectors/vectors.json")).unwrap();
    let list: Vec<Vector> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|fields| Vector {
            id: fields["id"].as_str().unwrap().to_owned(),
            packet: unhex(fields["packet"].as_str().unwrap()),
            mh: unhex(fields["mh"].as_str().unwrap()),
            fields: fields.clone(),
        })
        .collect();
    assert_eq!(list.len(), 36);
    for vector in &list {
        let name = vector.fields["pcap"].as_str().unwrap();
        let frame = usize::try_from(vector.fields["frame"].as_u64().unwrap()).unwrap();
        let capture = pcap(&format!("vectors/{name}.pcap"));
        assert_eq!(capture[frame - 1], vector.packet, "{}: capture and list agree", vector.id);
    }
    list
}

pub(crate) fn vector(id: &str) -> Vector {
    vectors().into_iter().find(|vector| vector.id == id).unwrap()
}

/// All golden IP packets with a name each.
pub(crate) fn packets() -> Vec<(String, Vec<u8>)> {
    let named = vectors().into_iter().map(|vector| (vector.id, vector.packet));
    let captured = CAPTURES.iter().flat_map(|name| {
        let packets = pcap(&format!("captures/{name}.pcap"));
        packets
            .into_iter()
            .enumerate()
            .map(move |(i, packet)| (format!("{name} {}", i + 1), packet))
    });
    named.chain(captured).collect()
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap())
        .collect()
}

pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// A packet down to the innermost IPv6 packet.
#[derive(Debug)]
pub(crate) struct Layers<'p> {
    pub(crate) ipv4: Option<(Ipv4Header, UdpHeader)>,
    /// Headers of the outer IPv6 packets of a tunnel.
    pub(crate) tunnel: Vec<Ipv6Header>,
    pub(crate) walk: Walk<'p>,
}

pub(crate) fn layers(packet: &[u8]) -> Result<Layers<'_>, Malformed> {
    let mut ipv4 = None;
    let mut packet = packet;
    if packet.first().is_some_and(|octet| octet >> 4 == 4) {
        let (header, datagram) = Ipv4Header::parse(packet)?;
        assert_eq!(header.protocol, protocol::UDP);
        let (udp, payload) = UdpHeader::parse_v4(datagram, header.source, header.destination)?;
        assert!([udp.source_port, udp.destination_port].contains(&MOBILITY_UDP_PORT));
        ipv4 = Some((header, udp));
        packet = payload;
    }
    let mut tunnel = Vec::new();
    let mut found = walk(packet)?;
    while found.upper == protocol::IPV6 {
        tunnel.push(found.header);
        found = walk(found.payload)?;
    }
    Ok(Layers { ipv4, tunnel, walk: found })
}

/// Puts a packet together again around new upper-layer octets.
pub(crate) fn assemble(layers: &Layers<'_>, payload: &[u8]) -> Vec<u8> {
    let like = |header: &Ipv6Header| {
        PacketBuilder::new(header.source, header.destination)
            .hop_limit(header.hop_limit)
            .traffic_class(header.traffic_class)
            .flow_label(header.flow_label)
    };
    let walk = &layers.walk;
    let mut packet = like(&walk.header)
        .home_address_option(walk.home_address.map(|option| option.address))
        .routing_home_address(walk.routing_home_address)
        .build(walk.upper, payload);
    for outer in layers.tunnel.iter().rev() {
        packet = like(outer).build(protocol::IPV6, &packet);
    }
    if let Some((ip, udp)) = &layers.ipv4 {
        let datagram = udp.emit_v4(ip.source, ip.destination, &packet);
        packet = encapsulate_v4(
            &datagram,
            protocol::UDP,
            ip.source,
            ip.destination,
            ip.ttl,
            ip.dscp_ecn,
        );
    }
    packet
}

/// The Mobility Header of a packet and the pseudo-header that its checksum covers.
pub(crate) fn mobility_of(packet: &[u8]) -> Option<(Vec<u8>, PseudoHeader)> {
    let layers = layers(packet).unwrap();
    let walk = layers.walk;
    (walk.upper == protocol::MOBILITY).then(|| (walk.payload.to_vec(), walk.pseudo_header()))
}

/// Writes a correct checksum into a Mobility Header.
pub(crate) fn seal(mh: &mut [u8], pseudo: PseudoHeader) {
    mh[4..6].fill(0);
    let sum = homeport_wire::checksum(pseudo, mh);
    mh[4..6].copy_from_slice(&sum.to_be_bytes());
}
