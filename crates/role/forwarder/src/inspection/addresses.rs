//! Which addresses a packet names, in all its headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use homeport_wire::{MOBILITY_UDP_PORT, protocol};

/// Headers that are looked at: deeper ones are of no tunnel that ends here.
const HEADERS_MAX: usize = 12;
const HOME_ADDRESS_OPTION: u8 = 0xc9;

/// An address and how the packet names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Named {
    pub(crate) address: IpAddr,
    /// As where it goes, not as where it comes from.
    pub(crate) is_destination: bool,
}

/// The addresses of all IP headers, the Home Address option (RFC 6275 §6.3) and the type 2 routing
/// header (RFC 6275 §6.4), from the outside in. What is cut off or odd ends the list.
pub(crate) fn addresses(packet: &[u8], udp_port: u16) -> Vec<Named> {
    let mut found = Vec::new();
    let first = match packet.first().map(|octet| octet >> 4) {
        Some(6) => protocol::IPV6,
        Some(4) => protocol::IPV4,
        _ => return found,
    };
    let mut rest = Some((first, packet));
    for _ in 0..HEADERS_MAX {
        rest = rest.and_then(|(header, octets)| step(header, octets, udp_port, &mut found));
    }
    found
}

fn step<'p>(
    header: u8,
    octets: &'p [u8],
    udp_port: u16,
    found: &mut Vec<Named>,
) -> Option<(u8, &'p [u8])> {
    let mut name = |address: IpAddr, is_destination| found.push(Named { address, is_destination });
    match header {
        protocol::IPV6 => {
            name(ipv6(octets.get(8..24)?)?.into(), false);
            name(ipv6(octets.get(24..40)?)?.into(), true);
            Some((*octets.get(6)?, octets.get(40..)?))
        }
        protocol::IPV4 => {
            name(ipv4(octets.get(12..16)?)?.into(), false);
            name(ipv4(octets.get(16..20)?)?.into(), true);
            // Later fragments do not begin with a header.
            let offset = u16::from_be_bytes([*octets.get(6)?, *octets.get(7)?]) & 0x1fff;
            let len = usize::from(octets.first()? & 0xf) * 4;
            (offset == 0).then_some(())?;
            Some((*octets.get(9)?, octets.get(len..)?))
        }
        protocol::UDP => {
            let port =
                |at: usize| Some(u16::from_be_bytes([*octets.get(at)?, *octets.get(at + 1)?]));
            let is_tunnel = [port(0)?, port(2)?]
                .into_iter()
                .any(|port| port == udp_port || port == MOBILITY_UDP_PORT);
            let payload = octets.get(8..).filter(|_| is_tunnel)?;
            match payload.first()? >> 4 {
                6 => Some((protocol::IPV6, payload)),
                4 => Some((protocol::IPV4, payload)),
                _ => None,
            }
        }
        // Hop-by-hop options, routing header, destination options.
        0 | 43 | 60 => {
            let len = (usize::from(*octets.get(1)?) + 1) * 8;
            let body = octets.get(..len)?;
            if header == 43 && body.get(2) == Some(&2) {
                name(ipv6(body.get(8..24)?)?.into(), true);
            }
            if header == 60
                && let Some(address) = home_address_option(body)
            {
                name(address.into(), false);
            }
            Some((*octets.first()?, octets.get(len..)?))
        }
        // Fragment header.
        44 => {
            let offset = u16::from_be_bytes([*octets.get(2)?, *octets.get(3)?]) & 0xfff8;
            (offset == 0).then_some((*octets.first()?, octets.get(8..)?))
        }
        _ => None,
    }
}

fn home_address_option(header: &[u8]) -> Option<Ipv6Addr> {
    let mut options = header.get(2..)?;
    loop {
        match *options.first()? {
            0 => options = options.get(1..)?,
            kind => {
                let len = usize::from(*options.get(1)?);
                let value = options.get(2..2 + len)?;
                if kind == HOME_ADDRESS_OPTION {
                    return ipv6(value);
                }
                options = options.get(2 + len..)?;
            }
        }
    }
}

fn ipv6(octets: &[u8]) -> Option<Ipv6Addr> {
    <[u8; 16]>::try_from(octets).ok().map(Ipv6Addr::from)
}

fn ipv4(octets: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(octets).ok().map(Ipv4Addr::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_header_is_looked_at_and_cut_packets_end_the_list() {
        let outer: [Ipv6Addr; 2] =
            ["2001:db8:a::1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        let inner: [Ipv6Addr; 2] =
            ["2001:db8::7".parse().unwrap(), "2001:db8:f::9".parse().unwrap()];
        let header = |next: u8, [from, to]: [Ipv6Addr; 2]| {
            let mut octets = vec![0x60, 0, 0, 0, 0, 0, next, 64];
            octets.extend(from.octets());
            octets.extend(to.octets());
            octets
        };
        let mut packet = header(protocol::IPV6, outer);
        packet.extend(header(60, inner));
        packet.extend([59, 2, 1, 2, 0, 0, HOME_ADDRESS_OPTION, 16]);
        packet.extend(outer[0].octets());
        let all = addresses(&packet, MOBILITY_UDP_PORT);
        let named: Vec<IpAddr> = all.iter().map(|it| it.address).collect();
        assert_eq!(named, [outer[0], outer[1], inner[0], inner[1], outer[0]].map(IpAddr::from));
        let ends: Vec<bool> = all.iter().map(|it| it.is_destination).collect();
        assert_eq!(ends, [false, true, false, true, false]);
        for len in 0..packet.len() {
            let some = addresses(&packet[..len], MOBILITY_UDP_PORT);
            assert_eq!(some, all[..some.len()], "{len}");
        }
    }
}
