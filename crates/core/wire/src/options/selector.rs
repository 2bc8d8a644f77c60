//! Binary traffic selectors (RFC 6088), the data of a Traffic Selector sub-option.

use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};
use core::ops::RangeInclusive;

use super::flow::TrafficSelector;
use crate::reader::Reader;

/// Why a traffic selector cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum SelectorRefusal {
    /// A TS Format that this code does not know.
    #[error("unknown traffic selector format")]
    UnknownFormat,
    /// Flags and octets do not agree, or an end comes without a start.
    #[error("malformed traffic selector")]
    Malformed,
}

/// What a flow looks like, seen on the way from the correspondent node to the mobile node. `None`
/// matches anything; a start without an end is the range of one value.
///
/// ```text
///  0: flags, start and end bit of each field in this order, from the highest
///  4: the fields present, unaligned
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Selector<A> {
    /// Source addresses.
    pub source: Option<RangeInclusive<A>>,
    /// Destination addresses.
    pub destination: Option<RangeInclusive<A>>,
    /// IPsec security parameter indices.
    pub spi: Option<RangeInclusive<u32>>,
    /// Flow labels, IPv6 only. The field has 32 bits, a label the low 20.
    pub flow_label: Option<RangeInclusive<u32>>,
    /// Source ports.
    pub source_port: Option<RangeInclusive<u16>>,
    /// Destination ports.
    pub destination_port: Option<RangeInclusive<u16>>,
    /// DSCP in the high six bits: `Differentiated Services` of IPv4, `Traffic Class` of IPv6.
    pub traffic_class: Option<RangeInclusive<u8>>,
    /// Protocols.
    pub protocol: Option<RangeInclusive<u8>>,
}

impl<A> Selector<A> {
    /// Matches everything.
    pub const ANY: Self = Self {
        source: None,
        destination: None,
        spi: None,
        flow_label: None,
        source_port: None,
        destination_port: None,
        traffic_class: None,
        protocol: None,
    };
}

/// A selector of either format.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum BinarySelector {
    /// TS Format 1.
    Ipv4(Selector<Ipv4Addr>),
    /// TS Format 2.
    Ipv6(Selector<Ipv6Addr>),
}

impl BinarySelector {
    /// The TS Format.
    #[must_use]
    pub const fn format(&self) -> u8 {
        match self {
            Self::Ipv4(_) => TrafficSelector::IPV4_BINARY,
            Self::Ipv6(_) => TrafficSelector::IPV6_BINARY,
        }
    }

    /// The octets behind TS Format and the reserved octet: see [`TrafficSelector::octets`].
    #[must_use]
    pub fn octets(&self) -> Vec<u8> {
        let mut writer = Writer { flags: 0, bit: 1 << 31, fields: Vec::new() };
        match self {
            Self::Ipv4(selector) => {
                writer.addresses(selector, |address| address.octets());
                // No flow labels: no bits for them either.
                writer.rest(selector);
            }
            Self::Ipv6(selector) => {
                writer.addresses(selector, |address| address.octets());
                writer.field(selector.flow_label.as_ref(), |label| label.to_be_bytes());
                writer.rest(selector);
            }
        }
        let mut octets = Vec::from(writer.flags.to_be_bytes());
        octets.extend_from_slice(&writer.fields);
        octets
    }
}

impl TrafficSelector<'_> {
    /// Reads a binary selector.
    pub fn decode(&self) -> Result<BinarySelector, SelectorRefusal> {
        let is_ipv6 = match self.format {
            Self::IPV4_BINARY => false,
            Self::IPV6_BINARY => true,
            _ => return Err(SelectorRefusal::UnknownFormat),
        };
        let mut reader = Reader::new(self.octets);
        let flags = reader.u32("selector flags").map_err(|_| SelectorRefusal::Malformed)?;
        let mut fields = Fields { flags, reader };
        let selector = if is_ipv6 {
            BinarySelector::Ipv6(fields.selector(Ipv6Addr::from_octets, Fields::flow_label)?)
        } else {
            BinarySelector::Ipv4(fields.selector(Ipv4Addr::from_octets, |_| Ok(None))?)
        };
        // Reserved bits are ignored, octets that no flag announces are not.
        if fields.reader.is_empty() { Ok(selector) } else { Err(SelectorRefusal::Malformed) }
    }
}

/// A field that may be there.
type Field<T> = Result<Option<RangeInclusive<T>>, SelectorRefusal>;

/// Reads the fields that the flags announce.
struct Fields<'p> {
    /// The highest two bits belong to the next field.
    flags: u32,
    reader: Reader<'p>,
}

impl Fields<'_> {
    fn selector<A: Clone, const N: usize>(
        &mut self,
        address: fn([u8; N]) -> A,
        flow_label: fn(&mut Self) -> Field<u32>,
    ) -> Result<Selector<A>, SelectorRefusal> {
        Ok(Selector {
            source: self.field(address)?,
            destination: self.field(address)?,
            spi: self.field(u32::from_be_bytes)?,
            flow_label: flow_label(self)?,
            source_port: self.field(u16::from_be_bytes)?,
            destination_port: self.field(u16::from_be_bytes)?,
            traffic_class: self.field(u8::from_be_bytes)?,
            protocol: self.field(u8::from_be_bytes)?,
        })
    }

    fn flow_label(&mut self) -> Field<u32> {
        self.field(u32::from_be_bytes)
    }

    fn field<T: Clone, const N: usize>(&mut self, value: fn([u8; N]) -> T) -> Field<T> {
        let present = self.flags >> 30;
        self.flags <<= 2;
        let mut next =
            || self.reader.take("selector field").map_err(|_| SelectorRefusal::Malformed);
        match present {
            0b00 => Ok(None),
            0b10 => next().map(value).map(|start| Some(start.clone()..=start)),
            0b11 => Ok(Some(value(next()?)..=value(next()?))),
            _ => Err(SelectorRefusal::Malformed),
        }
    }
}

/// Writes the fields that are there.
struct Writer {
    flags: u32,
    /// The start flag of the next field.
    bit: u32,
    fields: Vec<u8>,
}

impl Writer {
    fn addresses<A: PartialEq, const N: usize>(
        &mut self,
        selector: &Selector<A>,
        octets: fn(&A) -> [u8; N],
    ) {
        self.field(selector.source.as_ref(), octets);
        self.field(selector.destination.as_ref(), octets);
        self.field(selector.spi.as_ref(), |spi| spi.to_be_bytes());
    }

    fn rest<A>(&mut self, selector: &Selector<A>) {
        self.field(selector.source_port.as_ref(), |port| port.to_be_bytes());
        self.field(selector.destination_port.as_ref(), |port| port.to_be_bytes());
        self.field(selector.traffic_class.as_ref(), |class| class.to_be_bytes());
        self.field(selector.protocol.as_ref(), |protocol| protocol.to_be_bytes());
    }

    fn field<T: PartialEq, const N: usize>(
        &mut self,
        range: Option<&RangeInclusive<T>>,
        octets: fn(&T) -> [u8; N],
    ) {
        if let Some(range) = range {
            self.flags |= self.bit;
            self.fields.extend_from_slice(&octets(range.start()));
            if range.start() != range.end() {
                self.flags |= self.bit >> 1;
                self.fields.extend_from_slice(&octets(range.end()));
            }
        }
        self.bit >>= 2;
    }
}
