//! The tunnel to the home agent (RFC 6275 §11.3.1, RFC 5555 §4.4): packets in, packets out.

use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};

use homeport_wire::{Bid, Ipv4Header, Ipv6Header, PacketBuilder, protocol};

use crate::event::{DropReason, Transmit};
use crate::node::MobileNode;
use crate::settings::CareOf;

/// Hop limit of the tunnel (RFC 2473 §6.3).
const TUNNEL_HOP_LIMIT: u8 = 64;
/// The two low bits of the traffic class (RFC 3168 §5).
const ECN: u8 = 0b11;
/// Not capable of congestion marks.
const NOT_ECT: u8 = 0b00;
/// Capable, the two code points for it.
const ECT_1: u8 = 0b01;
const ECT_0: u8 = 0b10;
/// Marked.
const CE: u8 = 0b11;

impl MobileNode {
    /// Puts a packet of the node, or of the network behind it, into the tunnel through this
    /// binding, or through that of its flow, or the best one.
    pub fn encapsulate(&self, via: Option<Bid>, packet: &[u8]) -> Result<Transmit, DropReason> {
        let (inner_protocol, traffic_class) = self.check_source(packet)?;
        let via = via.or_else(|| self.flow_of(packet));
        let binding = self.carrier(via).ok_or(DropReason::NoBinding)?;
        match binding.care_of {
            CareOf::V6(from) => {
                let packet = PacketBuilder::new(from, self.settings.home_agent)
                    .hop_limit(TUNNEL_HOP_LIMIT)
                    .traffic_class(traffic_class)
                    .build(inner_protocol, packet);
                if packet.is_empty() {
                    return Err(DropReason::TooLarge);
                }
                Ok(Transmit::Ipv6 { from, packet })
            }
            CareOf::V4(from) if binding.bare => {
                let to = self.settings.home_agent_v4.ok_or(DropReason::NoBinding)?;
                let (to, payload) = (*to.ip(), packet.to_vec());
                Ok(Transmit::Ipv4 { from, to, protocol: inner_protocol, payload })
            }
            CareOf::V4(from) => Ok(Transmit::Udp { from, payload: packet.to_vec() }),
            CareOf::Home => {
                Ok(Transmit::Ipv6 { from: self.settings.home_address, packet: packet.to_vec() })
            }
        }
    }

    /// Protocol number and traffic class of a packet that may leave through the tunnel.
    fn check_source(&self, packet: &[u8]) -> Result<(u8, u8), DropReason> {
        if is_ipv4(packet) {
            let (header, _) = Ipv4Header::parse(packet)?;
            if !self.is_own_v4(header.source) {
                return Err(DropReason::InnerSource);
            }
            return Ok((protocol::IPV4, header.dscp_ecn));
        }
        let (header, _) = Ipv6Header::parse(packet)?;
        if !self.is_own_v6(header.source) {
            return Err(DropReason::InnerSource);
        }
        Ok((protocol::IPV6, header.traffic_class))
    }

    /// The inner packet, if it is for this node. `outer_traffic_class` is that of the tunnel
    /// header.
    pub(crate) fn decapsulate(
        &self,
        inner: &[u8],
        outer_traffic_class: u8,
    ) -> Result<Vec<u8>, DropReason> {
        if is_ipv4(inner) {
            let (header, payload) = Ipv4Header::parse(inner)?;
            if !self.is_own_v4(header.destination) {
                return Err(DropReason::InnerDestination);
            }
            let dscp_ecn = with_outer_mark(header.dscp_ecn, outer_traffic_class)?;
            if dscp_ecn == header.dscp_ecn {
                let len = usize::from(header.total_len);
                return Ok(inner.get(..len).unwrap_or(inner).to_vec());
            }
            let mut packet = Vec::with_capacity(inner.len());
            // Options are not kept on a marked packet: its Total Length shrinks with them.
            let total_len = Ipv4Header::LEN.saturating_add(payload.len());
            let total_len = u16::try_from(total_len).unwrap_or(u16::MAX);
            Ipv4Header { dscp_ecn, total_len, ..header }.emit(&mut packet);
            packet.extend_from_slice(payload);
            return Ok(packet);
        }
        let (header, payload) = Ipv6Header::parse(inner)?;
        if !self.is_own_v6(header.destination) {
            return Err(DropReason::InnerDestination);
        }
        let traffic_class = with_outer_mark(header.traffic_class, outer_traffic_class)?;
        let mut packet = Vec::with_capacity(inner.len());
        Ipv6Header { traffic_class, ..header }.emit(&mut packet);
        packet.extend_from_slice(payload);
        Ok(packet)
    }

    fn is_own_v6(&self, address: Ipv6Addr) -> bool {
        address == self.settings.home_address || self.is_behind(address)
    }

    fn is_own_v4(&self, address: Ipv4Addr) -> bool {
        self.ipv4_home_address == Some(address)
    }
}

fn is_ipv4(packet: &[u8]) -> bool {
    packet.first().is_some_and(|first| first >> 4 == 4)
}

/// Traffic class of the inner packet after decapsulation (RFC 6040 §4.2): a mark outside is carried
/// over, and is a loss for a packet that cannot carry it.
fn with_outer_mark(inner: u8, outer: u8) -> Result<u8, DropReason> {
    match (inner & ECN, outer & ECN) {
        (NOT_ECT, CE) => Err(DropReason::Congestion),
        (_, CE) => Ok(inner | CE),
        (ECT_0, ECT_1) => Ok(inner & !ECN | ECT_1),
        _ => Ok(inner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_by_the_table_of_rfc_6040() {
        let lost = Err(DropReason::Congestion);
        let rows = [
            (NOT_ECT, [Ok(NOT_ECT), Ok(NOT_ECT), Ok(NOT_ECT), lost]),
            (ECT_0, [Ok(ECT_0), Ok(ECT_1), Ok(ECT_0), Ok(CE)]),
            (ECT_1, [Ok(ECT_1), Ok(ECT_1), Ok(ECT_1), Ok(CE)]),
            (CE, [Ok(CE), Ok(CE), Ok(CE), Ok(CE)]),
        ];
        for (inner, expected) in rows {
            let dscp = 0b1011_1000;
            let got = [NOT_ECT, ECT_1, ECT_0, CE].map(|outer| with_outer_mark(dscp | inner, outer));
            assert_eq!(got, expected.map(|mark| mark.map(|mark| dscp | mark)), "{inner:02b}");
        }
    }
}
