//! What comes back, read without the codec under test. Every checksum on the way is verified.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, bail, ensure};

use super::packet::{checksum, checksum6, protocol};

/// A packet as it came.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Outer source.
    pub source: IpAddr,
    /// Outer destination.
    pub destination: IpAddr,
    /// Hop limit or time to live.
    pub hop_limit: u8,
    /// Address in a Home Address option.
    pub home_address: Option<Ipv6Addr>,
    /// Address in a type 2 routing header.
    pub routing: Option<Ipv6Addr>,
    /// What it carries.
    pub body: Body,
    /// All octets.
    pub octets: Vec<u8>,
}

/// What a packet carries.
#[derive(Clone, Debug)]
pub enum Body {
    /// A Mobility Header.
    Mobility(Mobility),
    /// ICMPv6.
    Icmpv6 {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// From the fifth octet on.
        rest: Vec<u8>,
    },
    /// IPv6 or IPv4 in it, without UDP.
    Tunnel(Box<Packet>),
    /// UDP.
    Udp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
        /// The packet in it, when there is one.
        inner: Option<Box<Packet>>,
    },
    /// Something else, by its protocol number.
    Other(u8, Vec<u8>),
}

/// A Mobility Header.
#[derive(Clone, Debug)]
pub struct Mobility {
    /// MH Type.
    pub kind: u8,
    /// From offset 6 on.
    pub data: Vec<u8>,
}

/// A Binding Acknowledgement.
#[derive(Clone, Debug)]
pub struct Acknowledgement {
    /// Status.
    pub status: u8,
    /// K, R and others.
    pub flags: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Units of four seconds.
    pub lifetime: u16,
    /// Type, offset in the Mobility Header, and data of each option, padding left out.
    pub options: Vec<(u8, usize, Vec<u8>)>,
    /// To where it came.
    pub destination: IpAddr,
    /// Home address in the routing header.
    pub routing: Option<Ipv6Addr>,
}

/// A BID option of an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BidStatus {
    /// Its number.
    pub bid: u16,
    /// Its status.
    pub status: u8,
    /// H flag and BID-PRI.
    pub flags: u8,
    /// Octets after these four.
    pub care_of_len: usize,
}

impl Acknowledgement {
    /// The BID options.
    #[must_use]
    pub fn bids(&self) -> Vec<BidStatus> {
        let of_kind = self.options.iter().filter(|(kind, ..)| *kind == 35);
        of_kind
            .filter_map(|(_, _, data)| {
                let [high, low, status, flags, care_of @ ..] = data.as_slice() else { return None };
                let bid = u16::from_be_bytes([*high, *low]);
                let care_of_len = care_of.len();
                Some(BidStatus { bid, status: *status, flags: *flags, care_of_len })
            })
            .collect()
    }

    /// Number and status of each BID option.
    #[must_use]
    pub fn bid_statuses(&self) -> Vec<(u16, u8)> {
        self.bids().iter().map(|bid| (bid.bid, bid.status)).collect()
    }

    /// Data of the first option of this type.
    #[must_use]
    pub fn option(&self, kind: u8) -> Option<&[u8]> {
        let found = self.options.iter().find(|(other, ..)| *other == kind);
        found.map(|(_, _, data)| data.as_slice())
    }
}

impl Packet {
    /// The source, when it is IPv6.
    #[must_use]
    pub const fn source6(&self) -> Option<Ipv6Addr> {
        match self.source {
            IpAddr::V6(address) => Some(address),
            IpAddr::V4(_) => None,
        }
    }

    /// The innermost packet of signalling: that in UDP, else this one.
    #[must_use]
    pub fn signalling(&self) -> &Self {
        match &self.body {
            Body::Udp { inner: Some(inner), .. } => inner,
            Body::Udp { .. }
            | Body::Mobility(_)
            | Body::Icmpv6 { .. }
            | Body::Tunnel(_)
            | Body::Other(..) => self,
        }
    }

    /// A Binding Acknowledgement, if it is one.
    #[must_use]
    pub fn acknowledgement(&self) -> Option<Acknowledgement> {
        let signalling = self.signalling();
        let Body::Mobility(Mobility { kind: 6, data }) = &signalling.body else { return None };
        let [status, flags, s1, s2, l1, l2, options @ ..] = data.as_slice() else { return None };
        Some(Acknowledgement {
            status: *status,
            flags: *flags,
            sequence: u16::from_be_bytes([*s1, *s2]),
            lifetime: u16::from_be_bytes([*l1, *l2]),
            options: options_of(options, 12),
            destination: signalling.destination,
            routing: signalling.routing,
        })
    }

    /// Status and home address of a Binding Error, if it is one.
    #[must_use]
    pub fn binding_error(&self) -> Option<(u8, Ipv6Addr)> {
        let Body::Mobility(Mobility { kind: 7, data }) = &self.body else { return None };
        let home: [u8; 16] = data.get(2..18)?.try_into().ok()?;
        Some((*data.first()?, Ipv6Addr::from(home)))
    }

    /// Type, code and rest of an ICMPv6 message, if it is one.
    #[must_use]
    pub fn icmpv6(&self) -> Option<(u8, u8, &[u8])> {
        match &self.body {
            Body::Icmpv6 { kind, code, rest } => Some((*kind, *code, rest)),
            Body::Mobility(_) | Body::Tunnel(_) | Body::Udp { .. } | Body::Other(..) => None,
        }
    }

    /// The packet in a tunnel, if it is one.
    #[must_use]
    pub fn tunnelled(&self) -> Option<&Self> {
        match &self.body {
            Body::Tunnel(inner) => Some(inner),
            Body::Udp { inner, .. } => inner.as_deref(),
            Body::Mobility(_) | Body::Icmpv6 { .. } | Body::Other(..) => None,
        }
    }

    /// A few words for messages.
    #[must_use]
    pub fn summary(&self) -> String {
        let what = match &self.body {
            Body::Mobility(Mobility { kind: 6, .. }) => self.acknowledgement().map_or_else(
                || "short BA".to_owned(),
                |ba| {
                    let (status, sequence, lifetime) = (ba.status, ba.sequence, ba.lifetime);
                    let bids = ba.bid_statuses();
                    format!("BA {status} sequence {sequence} lifetime {lifetime} BIDs {bids:?}")
                },
            ),
            Body::Mobility(Mobility { kind: 7, data }) => {
                format!("BE status {}", data.first().copied().unwrap_or_default())
            }
            Body::Mobility(Mobility { kind, .. }) => format!("MH type {kind}"),
            Body::Icmpv6 { kind, code, .. } => format!("ICMPv6 type {kind} code {code}"),
            Body::Tunnel(inner) => format!("[{}]", inner.summary()),
            Body::Udp { inner: Some(inner), .. } => format!("UDP [{}]", inner.summary()),
            Body::Udp { inner: None, .. } => "UDP".to_owned(),
            Body::Other(next, _) => format!("protocol {next}"),
        };
        format!("{} -> {}: {what}", self.source, self.destination)
    }
}

/// Options of a Mobility Header whose first octet stands at `offset`.
fn options_of(mut octets: &[u8], mut offset: usize) -> Vec<(u8, usize, Vec<u8>)> {
    let mut options = Vec::new();
    while let [kind, rest @ ..] = octets {
        if *kind == 0 {
            (octets, offset) = (rest, offset + 1);
            continue;
        }
        let Some((len, rest)) = rest.split_first() else { break };
        let len = usize::from(*len);
        let Some(data) = rest.get(..len) else { break };
        if *kind != 1 {
            options.push((*kind, offset, data.to_vec()));
        }
        (octets, offset) = (&rest[len..], offset + 2 + len);
    }
    options
}

/// Reads a packet.
///
/// # Errors
/// When a length or a checksum is wrong.
pub fn decode(octets: &[u8]) -> Result<Packet> {
    match octets.first().context("an empty packet")? >> 4 {
        6 => decode6(octets),
        4 => decode4(octets),
        version => bail!("IP version {version}"),
    }
}

fn address6(octets: &[u8], at: usize) -> Result<Ipv6Addr> {
    let address: [u8; 16] = octets.get(at..at + 16).context("cut off")?.try_into()?;
    Ok(address.into())
}

fn decode6(octets: &[u8]) -> Result<Packet> {
    ensure!(octets.len() >= 40, "a short IPv6 header");
    let len = usize::from(u16::from_be_bytes([octets[4], octets[5]]));
    ensure!(octets.len() == 40 + len, "IPv6 payload length {len}, {} present", octets.len() - 40);
    let (source, destination) = (address6(octets, 8)?, address6(octets, 24)?);
    let (mut next, mut rest) = (octets[6], &octets[40..]);
    let (mut home_address, mut routing) = (None, None);
    while matches!(next, protocol::DESTINATION_OPTIONS | protocol::ROUTING) {
        ensure!(rest.len() >= 8, "a short extension header");
        let header_len = 8 * (usize::from(rest[1]) + 1);
        let header = rest.get(..header_len).context("a cut-off extension header")?;
        if next == protocol::ROUTING {
            ensure!(rest[2] == 2, "routing header type {}", rest[2]);
            routing = Some(address6(header, 8)?);
        } else {
            let home = options_of(&header[2..], 2).into_iter().find(|(kind, ..)| *kind == 0xc9);
            home_address = home.map(|(_, _, data)| address6(&data, 0)).transpose()?;
        }
        (next, rest) = (rest[0], &rest[header_len..]);
    }
    let pseudo = (home_address.unwrap_or(source), routing.unwrap_or(destination));
    let (source, destination) = (source.into(), destination.into());
    let body = body(next, rest, pseudo)?;
    let octets = octets.to_vec();
    Ok(Packet { source, destination, hop_limit: octets[7], home_address, routing, body, octets })
}

fn body(next: u8, rest: &[u8], (from, to): (Ipv6Addr, Ipv6Addr)) -> Result<Body> {
    Ok(match next {
        protocol::MOBILITY => {
            ensure!(checksum6(from, to, next, rest) == 0, "a wrong Mobility Header checksum");
            ensure!(rest.len() >= 8, "a short Mobility Header");
            ensure!(rest.len() == 8 * (usize::from(rest[1]) + 1), "a wrong Header Len");
            ensure!(rest[0] == protocol::NO_NEXT, "Payload Proto {}", rest[0]);
            Body::Mobility(Mobility { kind: rest[2], data: rest[6..].to_vec() })
        }
        protocol::ICMPV6 => {
            ensure!(checksum6(from, to, next, rest) == 0, "a wrong ICMPv6 checksum");
            ensure!(rest.len() >= 4, "a short ICMPv6 message");
            Body::Icmpv6 { kind: rest[0], code: rest[1], rest: rest[4..].to_vec() }
        }
        protocol::IPV6 | protocol::IPV4 => Body::Tunnel(Box::new(decode(rest)?)),
        other => Body::Other(other, rest.to_vec()),
    })
}

fn decode4(octets: &[u8]) -> Result<Packet> {
    ensure!(octets.len() >= 20, "a short IPv4 header");
    let header_len = usize::from(octets[0] & 0xf) * 4;
    let total = usize::from(u16::from_be_bytes([octets[2], octets[3]]));
    ensure!(total == octets.len() && header_len <= total, "IPv4 total length {total}");
    ensure!(checksum(&[&octets[..header_len]]) == 0, "a wrong IPv4 header checksum");
    let address = |at: usize| Ipv4Addr::from([0, 1, 2, 3].map(|n| octets[at + n]));
    let (source, destination) = (address(12), address(16));
    let rest = &octets[header_len..];
    let body = match octets[9] {
        protocol::UDP => udp(source, destination, rest)?,
        protocol::IPV6 | protocol::IPV4 => Body::Tunnel(Box::new(decode(rest)?)),
        other => Body::Other(other, rest.to_vec()),
    };
    Ok(Packet {
        source: source.into(),
        destination: destination.into(),
        hop_limit: octets[8],
        home_address: None,
        routing: None,
        body,
        octets: octets.to_vec(),
    })
}

fn udp(source: Ipv4Addr, destination: Ipv4Addr, rest: &[u8]) -> Result<Body> {
    ensure!(rest.len() >= 8, "a short UDP header");
    if rest[6..8] != [0, 0] {
        let pseudo = [0, protocol::UDP];
        let len = rest[4..6].to_vec();
        let sum = checksum(&[&source.octets(), &destination.octets(), &pseudo, &len, rest]);
        ensure!(sum == 0, "a wrong UDP checksum");
    }
    let port = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
    let inner = match rest.get(8).map(|first| first >> 4) {
        Some(4 | 6) => Some(Box::new(decode(&rest[8..])?)),
        Some(_) | None => None,
    };
    Ok(Body::Udp { source: port(0), destination: port(2), inner })
}
