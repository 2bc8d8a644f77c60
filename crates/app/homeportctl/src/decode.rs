//! Packets as one line of text, from the outside in.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Headers that are read; a packet with more is cut short in the text.
const HEADERS_MAX: usize = 12;
const MOBILITY_UDP_PORT: u16 = 4191;

/// `2001:db8::1 > 2001:db8:a::7 | 2001:db8:f::9 > 2001:db8:0:1::7 UDP 53 > 5353`
pub(crate) fn line(packet: &[u8]) -> String {
    let mut parts = Vec::new();
    let mut rest = match packet.first().map(|octet| octet >> 4) {
        Some(6) => Some((41, packet)),
        Some(4) => Some((4, packet)),
        _ => return "not an IP packet".to_owned(),
    };
    for _ in 0..HEADERS_MAX {
        let Some((header, octets)) = rest else { break };
        if matches!(header, 4 | 41) && !parts.is_empty() {
            parts.push("|".to_owned());
        }
        let Some((text, next)) = step(header, octets) else {
            parts.push("(cut off)".to_owned());
            break;
        };
        parts.extend(text);
        rest = next;
    }
    parts.join(" ")
}

type Next<'p> = Option<(u8, &'p [u8])>;

fn step(header: u8, octets: &[u8]) -> Option<(Option<String>, Next<'_>)> {
    let word = |at: usize| Some(u16::from_be_bytes([*octets.get(at)?, *octets.get(at + 1)?]));
    Some(match header {
        41 => {
            let from = Ipv6Addr::from(<[u8; 16]>::try_from(octets.get(8..24)?).ok()?);
            let to = Ipv6Addr::from(<[u8; 16]>::try_from(octets.get(24..40)?).ok()?);
            (Some(format!("{from} > {to}")), Some((*octets.get(6)?, octets.get(40..)?)))
        }
        4 => {
            let from = Ipv4Addr::from(<[u8; 4]>::try_from(octets.get(12..16)?).ok()?);
            let to = Ipv4Addr::from(<[u8; 4]>::try_from(octets.get(16..20)?).ok()?);
            let len = usize::from(octets.first()? & 0xf) * 4;
            let is_first = word(6)? & 0x1fff == 0;
            let text = format!("{from} > {to}");
            if is_first {
                (Some(text), Some((*octets.get(9)?, octets.get(len..)?)))
            } else {
                (Some(format!("{text} fragment")), None)
            }
        }
        17 => {
            let (from, to) = (word(0)?, word(2)?);
            let is_tunnel = from == MOBILITY_UDP_PORT || to == MOBILITY_UDP_PORT;
            let payload = octets.get(8..)?;
            let inner = match payload.first().map(|octet| octet >> 4).filter(|_| is_tunnel) {
                Some(6) => Some((41, payload)),
                Some(4) => Some((4, payload)),
                _ => None,
            };
            (Some(format!("UDP {from} > {to}")), inner)
        }
        6 => (Some(format!("TCP {} > {}", word(0)?, word(2)?)), None),
        58 => (Some(format!("ICMPv6 type {}", octets.first()?)), None),
        1 => (Some(format!("ICMP type {}", octets.first()?)), None),
        135 => {
            let kind = match octets.get(2)? {
                0 => "Binding Refresh Request".to_owned(),
                1 => "Home Test Init".to_owned(),
                2 => "Care-of Test Init".to_owned(),
                3 => "Home Test".to_owned(),
                4 => "Care-of Test".to_owned(),
                5 => "Binding Update".to_owned(),
                6 => "Binding Acknowledgement".to_owned(),
                7 => "Binding Error".to_owned(),
                other => format!("mobility message {other}"),
            };
            (Some(kind), None)
        }
        0 | 43 | 60 => {
            let len = (usize::from(*octets.get(1)?) + 1) * 8;
            (None, Some((*octets.first()?, octets.get(len..)?)))
        }
        44 if word(2)? & 0xfff8 != 0 => (Some("fragment".to_owned()), None),
        44 => (None, Some((*octets.first()?, octets.get(8..)?))),
        59 => (Some("no next header".to_owned()), None),
        other => (Some(format!("protocol {other}")), None),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv6(next: u8, from: &str, to: &str) -> Vec<u8> {
        let address = |text: &str| text.parse::<Ipv6Addr>().expect("is one").octets();
        [&[0x60, 0, 0, 0, 0, 0, next, 64][..], &address(from), &address(to)].concat()
    }

    #[test]
    fn tunnels_are_read_from_the_outside_in() {
        let mut packet = ipv6(41, "2001:db8::1", "2001:db8:a::7");
        packet.extend(ipv6(17, "2001:db8:f::9", "2001:db8::7"));
        packet.extend([0, 53, 0x14, 0xe9, 0, 8, 0, 0]);
        let text = "2001:db8::1 > 2001:db8:a::7 | 2001:db8:f::9 > 2001:db8::7 UDP 53 > 5353";
        assert_eq!(line(&packet), text);
        assert_eq!(line(&packet[..60]), "2001:db8::1 > 2001:db8:a::7 | (cut off)");
        assert_eq!(line(&[0x10]), "not an IP packet");
        for len in 0..packet.len() {
            line(&packet[..len]);
        }
    }
}
