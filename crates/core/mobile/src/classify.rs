//! What a traffic selector looks at (RFC 6088), in a packet that the node sends.

use core::net::IpAddr;
use core::ops::RangeInclusive;

use homeport_wire::{BinarySelector, Ipv4Header, Selector, protocol, walk};

const SCTP: u8 = 132;
const DCCP: u8 = 33;
/// Bits of a traffic class that are no congestion marks.
const DSCP: u8 = 0b1111_1100;
/// Bits of a flow label. RFC 6088 §3.2 believes in 24.
const FLOW_LABEL: u32 = 0x000f_ffff;
/// Fragment offset in the third word of the IPv4 header.
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// A packet as the correspondent node would have sent its answer: source and destination change
/// places, because selectors describe what comes from there (RFC 6089 §4.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Classified {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    traffic_class: u8,
    flow_label: Option<u32>,
    spi: Option<u32>,
    source_port: Option<u16>,
    destination_port: Option<u16>,
}

impl Classified {
    /// `None` when the packet cannot be parsed.
    pub(crate) fn outgoing(packet: &[u8]) -> Option<Self> {
        let mut classified = if packet.first()? >> 4 == 4 {
            let (header, payload) = Ipv4Header::parse(packet).ok()?;
            // Only the first fragment has ports.
            let is_first = header.flags_fragment & FRAGMENT_OFFSET == 0;
            let base = Self {
                source: IpAddr::V4(header.destination),
                destination: IpAddr::V4(header.source),
                protocol: header.protocol,
                traffic_class: header.dscp_ecn,
                flow_label: None,
                spi: None,
                source_port: None,
                destination_port: None,
            };
            base.upper(if is_first { payload } else { &[] })
        } else {
            let walked = walk(packet).ok()?;
            let base = Self {
                source: IpAddr::V6(walked.header.destination),
                destination: IpAddr::V6(walked.header.source),
                protocol: walked.upper,
                traffic_class: walked.header.traffic_class,
                flow_label: Some(walked.header.flow_label),
                spi: None,
                source_port: None,
                destination_port: None,
            };
            base.upper(walked.payload)
        };
        classified.traffic_class &= DSCP;
        Some(classified)
    }

    fn upper(mut self, payload: &[u8]) -> Self {
        let first = payload.first_chunk::<4>();
        let second = payload.get(4..).and_then(|rest| rest.first_chunk::<4>());
        match self.protocol {
            protocol::TCP | protocol::UDP | SCTP | DCCP => {
                if let Some([a, b, c, d]) = first {
                    // The node's own port is the destination of what comes.
                    self.destination_port = Some(u16::from_be_bytes([*a, *b]));
                    self.source_port = Some(u16::from_be_bytes([*c, *d]));
                }
            }
            protocol::ESP => self.spi = first.map(|octets| u32::from_be_bytes(*octets)),
            protocol::AH => self.spi = second.map(|octets| u32::from_be_bytes(*octets)),
            _ => {}
        }
        self
    }

    pub(crate) fn matches(&self, selector: &BinarySelector) -> bool {
        match (selector, self.source, self.destination) {
            (BinarySelector::Ipv4(selector), IpAddr::V4(source), IpAddr::V4(destination)) => {
                self.matches_fields(selector, &source, &destination)
            }
            (BinarySelector::Ipv6(selector), IpAddr::V6(source), IpAddr::V6(destination)) => {
                self.matches_fields(selector, &source, &destination)
            }
            _ => false,
        }
    }

    fn matches_fields<A: PartialOrd>(
        &self,
        selector: &Selector<A>,
        source: &A,
        destination: &A,
    ) -> bool {
        let dscp = selector.traffic_class.as_ref();
        let dscp = dscp.map(|range| range.start() & DSCP..=range.end() & DSCP);
        let label = selector.flow_label.as_ref();
        let label = label.map(|range| range.start() & FLOW_LABEL..=range.end() & FLOW_LABEL);
        holds(selector.source.as_ref(), Some(source))
            && holds(selector.destination.as_ref(), Some(destination))
            && holds(selector.spi.as_ref(), self.spi.as_ref())
            && holds(label.as_ref(), self.flow_label.as_ref())
            && holds(selector.source_port.as_ref(), self.source_port.as_ref())
            && holds(selector.destination_port.as_ref(), self.destination_port.as_ref())
            && holds(dscp.as_ref(), Some(&self.traffic_class))
            && holds(selector.protocol.as_ref(), Some(&self.protocol))
    }
}

/// A field that the selector does not name may be anything; one that it names has to be there.
fn holds<T: PartialOrd>(range: Option<&RangeInclusive<T>>, value: Option<&T>) -> bool {
    range.is_none_or(|range| value.is_some_and(|value| range.contains(value)))
}
