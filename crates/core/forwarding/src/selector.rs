//! Which flow a packet belongs to: binary traffic selectors (RFC 6088) and fragments.

use alloc::collections::BTreeMap;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ops::RangeInclusive;

use homeport_wire::{BinarySelector, Ipv4Header, Ipv6Header, Reader, Selector, protocol};

use crate::entry::Millis;
use crate::hash::Mix;
use crate::limits::{FRAGMENT_FLOWS_MAX, FRAGMENTS_AGE_MS};

/// Extension headers to look behind; as many as the walk of packets for this node takes.
const HEADERS_MAX: usize = homeport_wire::limits::EXTENSION_HEADERS_MAX;
/// Transport protocols whose header begins with the two ports, beside TCP and UDP.
const DCCP: u8 = 33;
const SCTP: u8 = 132;
const UDP_LITE: u8 = 136;

/// What selectors can look at. Transit packets are read, so nothing is judged: what cannot be read
/// is not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FlowKey {
    addresses: Addresses,
    traffic_class: u8,
    pub(crate) protocol: u8,
    pub(crate) ports: Option<(u16, u16)>,
    pub(crate) spi: Option<u32>,
    /// Set for a fragment.
    pub(crate) fragment: Option<Fragment>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Addresses {
    V4 { source: Ipv4Addr, destination: Ipv4Addr },
    V6 { source: Ipv6Addr, destination: Ipv6Addr, flow_label: u32 },
}

/// The place of a fragment in its packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fragment {
    /// What all fragments of the packet have in common.
    pub(crate) packet: FragmentedPacket,
    /// The one that can be told by its ports.
    pub(crate) first: bool,
}

/// Names a packet that comes in fragments (RFC 8200 §4.5, RFC 791 §3.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct FragmentedPacket {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) identification: u32,
    /// IPv4 counts identifications by protocol; zero for IPv6.
    pub(crate) protocol: u8,
}

impl FlowKey {
    /// Of an IPv6 packet: the protocol is the first header that is not an extension header.
    pub(crate) fn v6(header: &Ipv6Header, payload: &[u8]) -> Self {
        let mut key = Self {
            addresses: Addresses::V6 {
                source: header.source,
                destination: header.destination,
                flow_label: header.flow_label,
            },
            traffic_class: header.traffic_class,
            protocol: header.next_header,
            ports: None,
            spi: None,
            fragment: None,
        };
        let mut reader = Reader::new(payload);
        for _ in 0..HEADERS_MAX {
            match key.protocol {
                protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => {
                    let (Ok(next), Ok(len)) = (reader.u8("next header"), reader.u8("length"))
                    else {
                        return key;
                    };
                    let rest = usize::from(len).saturating_mul(8).saturating_add(6);
                    if reader.slice(rest, "header").is_err() {
                        return key;
                    }
                    key.protocol = next;
                }
                protocol::FRAGMENT => {
                    let Ok([next, _, high, low, id @ ..]) = reader.take::<8>("fragment header")
                    else {
                        return key;
                    };
                    let first = u16::from_be_bytes([high, low]) & !7 == 0;
                    let packet = FragmentedPacket {
                        source: header.source.into(),
                        destination: header.destination.into(),
                        identification: u32::from_be_bytes(id),
                        protocol: 0,
                    };
                    key.fragment = Some(Fragment { packet, first });
                    key.protocol = next;
                    if !first {
                        return key;
                    }
                }
                _ => break,
            }
        }
        key.upper(reader.rest());
        key
    }

    /// Of an IPv4 packet.
    pub(crate) fn v4(header: &Ipv4Header, payload: &[u8]) -> Self {
        const OFFSET: u16 = 0x1fff;
        let mut key = Self {
            addresses: Addresses::V4 { source: header.source, destination: header.destination },
            traffic_class: header.dscp_ecn,
            protocol: header.protocol,
            ports: None,
            spi: None,
            fragment: None,
        };
        let first = header.flags_fragment & OFFSET == 0;
        if header.is_fragment() {
            let packet = FragmentedPacket {
                source: header.source.into(),
                destination: header.destination.into(),
                identification: header.identification.into(),
                protocol: header.protocol,
            };
            key.fragment = Some(Fragment { packet, first });
        }
        if first {
            key.upper(payload);
        }
        key
    }

    fn upper(&mut self, payload: &[u8]) {
        let mut reader = Reader::new(payload);
        match self.protocol {
            protocol::TCP | protocol::UDP | DCCP | SCTP | UDP_LITE => {
                let source = reader.u16("source port").ok();
                self.ports = source.zip(reader.u16("destination port").ok());
            }
            protocol::ESP => self.spi = reader.u32("SPI").ok(),
            protocol::AH => {
                let before = reader.u32("next header, length, reserved");
                self.spi = before.and_then(|_| reader.u32("SPI")).ok();
            }
            _ => {}
        }
    }

    /// Adds source and destination.
    pub(crate) fn addresses(&self, mix: Mix) -> Mix {
        match self.addresses {
            Addresses::V6 { source, destination, .. } => mix.v6(source).v6(destination),
            Addresses::V4 { source, destination } => mix.v4(Some(source)).v4(Some(destination)),
        }
    }

    /// True when the packet belongs to the flow that a selector describes.
    pub(crate) fn matches(&self, selector: &BinarySelector) -> bool {
        match (selector, self.addresses) {
            (BinarySelector::Ipv4(selector), Addresses::V4 { source, destination }) => {
                self.fields_match(selector, source, destination)
            }
            (BinarySelector::Ipv6(selector), Addresses::V6 { source, destination, flow_label }) => {
                // RFC 6088 draws the label with 24 bits; it has 20.
                const LABEL: u32 = 0x000f_ffff;
                let label = selector.flow_label.as_ref().is_none_or(|range| {
                    (range.start() & LABEL..=range.end() & LABEL).contains(&flow_label)
                });
                label && self.fields_match(selector, source, destination)
            }
            _ => false,
        }
    }

    fn fields_match<A: PartialOrd>(
        &self,
        selector: &Selector<A>,
        source: A,
        destination: A,
    ) -> bool {
        // DSCP only: the low two bits are those of congestion marks (RFC 6088 §3.1, §3.2).
        let class = selector.traffic_class.as_ref().is_none_or(|range| {
            (range.start() >> 2..=range.end() >> 2).contains(&(self.traffic_class >> 2))
        });
        class
            && matches(selector.source.as_ref(), Some(&source))
            && matches(selector.destination.as_ref(), Some(&destination))
            && matches(selector.spi.as_ref(), self.spi.as_ref())
            && matches(selector.source_port.as_ref(), self.ports.as_ref().map(|(from, _)| from))
            && matches(selector.destination_port.as_ref(), self.ports.as_ref().map(|(_, to)| to))
            && matches(selector.protocol.as_ref(), Some(&self.protocol))
    }
}

/// No range matches anything; a range only what is there and lies inside.
fn matches<T: PartialOrd>(range: Option<&RangeInclusive<T>>, value: Option<&T>) -> bool {
    range.is_none_or(|range| value.is_some_and(|value| range.contains(value)))
}

/// Flows of packets whose first fragment was seen: the later ones have no ports, and follow it
/// (RFC 6089 §5.3.6).
#[derive(Default, Debug)]
pub(crate) struct FragmentFlows {
    by_packet: BTreeMap<FragmentedPacket, (u16, Millis)>,
}

impl FragmentFlows {
    /// The FID that the first fragment had.
    pub(crate) fn flow(&self, now: Millis, packet: &FragmentedPacket) -> Option<u16> {
        let (fid, until) = self.by_packet.get(packet)?;
        (*until > now).then_some(*fid)
    }

    /// Remembers it; when the memory is full and nothing in it is stale, nothing is remembered.
    pub(crate) fn remember(&mut self, now: Millis, packet: FragmentedPacket, fid: u16) {
        if self.by_packet.len() >= FRAGMENT_FLOWS_MAX && !self.by_packet.contains_key(&packet) {
            self.by_packet.retain(|_, (_, until)| *until > now);
            if self.by_packet.len() >= FRAGMENT_FLOWS_MAX {
                return;
            }
        }
        let until = Millis(now.0.saturating_add(FRAGMENTS_AGE_MS));
        self.by_packet.insert(packet, (fid, until));
    }
}
