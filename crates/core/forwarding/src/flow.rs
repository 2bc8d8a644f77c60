//! The flow label of a tunnel: one value for each inner flow, so that routers on the way keep a
//! flow together and spread different ones (RFC 6438).

use core::net::IpAddr;

use homeport_wire::{Ipv4Header, Ipv6Header, protocol};

use crate::hash::Mix;

/// Seed of this function; any value, the same on every forwarder.
const SEED: u64 = 0x666c_6f77;

/// Flow label for the outer header around `packet` (RFC 2473 §6.5): never zero, which would mean "not set"
/// (RFC 6437 §3). The same for both packets of a flow's direction, whichever forwarder computes it.
pub(crate) fn outer_label(header: &Ipv6Header, payload: &[u8]) -> u32 {
    let hash = Mix::new(SEED)
        .v6(header.source)
        .v6(header.destination)
        .word(u64::from(header.next_header))
        .word(u64::from(header.flow_label) << 32 | u64::from(ports(header.next_header, payload)))
        .finish();
    label(hash)
}

/// The same around an IPv4 packet. All fragments have the label of a packet without ports.
pub(crate) fn outer_label_v4(header: &Ipv4Header, payload: &[u8]) -> u32 {
    let ports = if header.is_fragment() { 0 } else { ports(header.protocol, payload) };
    let hash = Mix::new(SEED)
        .v4(Some(header.source))
        .v4(Some(header.destination))
        .word(u64::from(header.protocol) << 32 | u64::from(ports))
        .finish();
    label(hash)
}

/// TCP and UDP begin with the two ports, ESP with its SPI. Extension headers are not walked: the
/// sender's own flow label tells such flows apart.
fn ports(upper: u8, payload: &[u8]) -> u32 {
    match upper {
        protocol::TCP | protocol::UDP | protocol::ESP => {
            payload.first_chunk::<4>().map_or(0, |word| u32::from_be_bytes(*word))
        }
        _ => 0,
    }
}

fn label(hash: u64) -> u32 {
    let [_, label @ ..] = truncated(hash);
    (u32::from_be_bytes([0, label[0] & 0x0f, label[1], label[2]])).max(1)
}

/// Identification of outer packets that are cut up (RFC 8200 §4.5, RFC 6864 §4.3): not twice in a row for one
/// destination, and not a plain counter that tells strangers how much is sent.
pub(crate) fn fragment_identification(seed: u64, destination: IpAddr, count: u64) -> u32 {
    let mix = match destination {
        IpAddr::V6(address) => Mix::new(seed).v6(address),
        IpAddr::V4(address) => Mix::new(seed).v4(Some(address)),
    };
    u32::from_be_bytes(truncated(mix.word(count).finish()))
}

/// The low half of the value.
const fn truncated(hash: u64) -> [u8; 4] {
    let [_, _, _, _, low @ ..] = hash.to_be_bytes();
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(next_header: u8) -> Ipv6Header {
        Ipv6Header {
            traffic_class: 0,
            flow_label: 0,
            payload_len: 8,
            next_header,
            hop_limit: 64,
            source: "2001:db8:f::99".parse().unwrap(),
            destination: "2001:db8:0:1::100".parse().unwrap(),
        }
    }

    #[test]
    fn ports_tell_flows_apart_and_twenty_bits_are_kept() {
        let first = outer_label(&header(protocol::UDP), &[0x14, 0xe9, 0, 53, 0, 8, 0, 0]);
        let second = outer_label(&header(protocol::UDP), &[0x14, 0xea, 0, 53, 0, 8, 0, 0]);
        assert_ne!(first, second);
        assert!(first != 0 && first <= 0x000f_ffff);
        assert_eq!(first, outer_label(&header(protocol::UDP), &[0x14, 0xe9, 0, 53, 9, 9, 9, 9]));
    }

    #[test]
    fn a_packet_without_ports_has_a_label_too() {
        let label = outer_label(&header(protocol::UDP), &[1]);
        assert!(label != 0 && label <= 0x000f_ffff);
    }
}
