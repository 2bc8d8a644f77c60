//! The ICMPv6 messages of Mobile IPv6 (RFC 6275 §6.5 to §6.8, RFC 3963 §7), and the errors and echo
//! of RFC 4443 that a home agent sends, receives and relays; Neighbour Discovery is in its own module.

use alloc::vec::Vec;
use core::net::Ipv6Addr;

use crate::checksum::{PseudoHeader, checksum, fill_in};
use crate::error::Malformed;
use crate::ipv6::protocol;
use crate::limits::{DISCOVERY_ADDRESSES_MAX, ICMPV6_INVOKING_OCTETS_MAX};
use crate::neighbour::{
    NeighbourAdvertisement, NeighbourOptions, NeighbourSolicitation, RouterAdvertisement,
};
use crate::reader::Reader;
use crate::types::flag_sets;

const DESTINATION_UNREACHABLE: u8 = 1;
const PACKET_TOO_BIG: u8 = 2;
const TIME_EXCEEDED: u8 = 3;
const PARAMETER_PROBLEM: u8 = 4;
const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const DISCOVERY_REQUEST: u8 = 144;
const DISCOVERY_REPLY: u8 = 145;
const PREFIX_SOLICITATION: u8 = 146;
const PREFIX_ADVERTISEMENT: u8 = 147;
const CHECKSUM_OFFSET: usize = 2;

/// Flags of home agent address discovery, sixteen bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct DiscoveryFlags(pub u16);

impl DiscoveryFlags {
    /// R: about mobile routers (RFC 3963 §7.1, §7.2).
    pub const MOBILE_ROUTER: Self = Self(0x8000);
}

/// Flags of a Mobile Prefix Advertisement, sixteen bits (RFC 6275 §6.8).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct AdvertisementFlags(pub u16);

impl AdvertisementFlags {
    /// M: addresses by DHCPv6.
    pub const MANAGED: Self = Self(0x8000);
    /// O: other configuration by DHCPv6.
    pub const OTHER: Self = Self(0x4000);
}

/// An ICMPv6 message.
///
/// ```text
///  0: type | code | checksum | body
/// ```
///
/// The code is dropped where RFC 4443 and RFC 6275 define only zero, and the unused words of the
/// error messages are dropped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Icmpv6<'p> {
    /// Type 1.
    DestinationUnreachable {
        /// Code.
        code: u8,
        /// Begin of the packet in question.
        invoking: &'p [u8],
    },
    /// Type 2.
    PacketTooBig {
        /// MTU of the next hop.
        mtu: u32,
        /// Begin of the packet in question.
        invoking: &'p [u8],
    },
    /// Type 3.
    TimeExceeded {
        /// Code.
        code: u8,
        /// Begin of the packet in question.
        invoking: &'p [u8],
    },
    /// Type 4.
    ParameterProblem {
        /// 0 erroneous field, 1 unrecognized Next Header, 2 unrecognized option.
        code: u8,
        /// Octet of the packet in question.
        pointer: u32,
        /// Begin of the packet in question.
        invoking: &'p [u8],
    },
    /// Type 128.
    EchoRequest {
        /// Identifier.
        identifier: u16,
        /// Sequence number.
        sequence: u16,
        /// Data.
        data: &'p [u8],
    },
    /// Type 129.
    EchoReply {
        /// Identifier, copied.
        identifier: u16,
        /// Sequence number, copied.
        sequence: u16,
        /// Data, copied.
        data: &'p [u8],
    },
    /// Type 133.
    RouterSolicitation(NeighbourOptions<'p>),
    /// Type 134.
    RouterAdvertisement(RouterAdvertisement<'p>),
    /// Type 135.
    NeighbourSolicitation(NeighbourSolicitation<'p>),
    /// Type 136.
    NeighbourAdvertisement(NeighbourAdvertisement<'p>),
    /// Type 144: who are the home agents?
    HomeAgentAddressDiscoveryRequest {
        /// Identifier.
        identifier: u16,
        /// Flags, reserved bits included.
        flags: DiscoveryFlags,
    },
    /// Type 145: these.
    HomeAgentAddressDiscoveryReply {
        /// Identifier, copied.
        identifier: u16,
        /// Flags, reserved bits included.
        flags: DiscoveryFlags,
        /// Home agents, best first; at most 77 of them are emitted and parsed.
        addresses: Vec<Ipv6Addr>,
    },
    /// Type 146: which prefixes has the home link?
    MobilePrefixSolicitation {
        /// Identifier.
        identifier: u16,
    },
    /// Type 147: these.
    MobilePrefixAdvertisement {
        /// Identifier, copied.
        identifier: u16,
        /// Flags, reserved bits included.
        flags: AdvertisementFlags,
        /// Prefix Information options.
        options: NeighbourOptions<'p>,
    },
    /// Any other.
    Other {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// What follows the checksum.
        body: &'p [u8],
    },
}

impl<'p> Icmpv6<'p> {
    /// Parses the upper-layer octets of a packet; a wrong checksum is an error.
    pub fn parse(octets: &'p [u8], pseudo: PseudoHeader) -> Result<Self, Malformed> {
        let mut reader = Reader::new(octets);
        let kind = reader.u8("ICMPv6 type")?;
        let code = reader.u8("ICMPv6 code")?;
        reader.u16("ICMPv6 checksum")?;
        if checksum(pseudo.with_protocol(protocol::ICMPV6), octets) != 0 {
            return Err(Malformed::Checksum);
        }
        Self::parse_body(kind, code, reader)
    }

    fn parse_body(kind: u8, code: u8, mut reader: Reader<'p>) -> Result<Self, Malformed> {
        let body = reader.rest();
        if matches!(kind, DESTINATION_UNREACHABLE..=PARAMETER_PROBLEM) {
            let word = reader.u32("ICMPv6 message")?;
            let invoking = reader.rest();
            return Ok(match kind {
                DESTINATION_UNREACHABLE => Self::DestinationUnreachable { code, invoking },
                PACKET_TOO_BIG => Self::PacketTooBig { mtu: word, invoking },
                TIME_EXCEEDED => Self::TimeExceeded { code, invoking },
                _ => Self::ParameterProblem { code, pointer: word, invoking },
            });
        }
        match kind {
            ECHO_REQUEST | ECHO_REPLY | DISCOVERY_REQUEST..=PREFIX_ADVERTISEMENT => {}
            ROUTER_SOLICITATION..=NEIGHBOUR_ADVERTISEMENT => return Self::neighbour(kind, reader),
            _ => return Ok(Self::Other { kind, code, body }),
        }
        let identifier = reader.u16("identifier")?;
        let second = reader.u16("sequence number or flags")?;
        let data = reader.rest();
        Ok(match kind {
            ECHO_REQUEST => Self::EchoRequest { identifier, sequence: second, data },
            ECHO_REPLY => Self::EchoReply { identifier, sequence: second, data },
            DISCOVERY_REQUEST => {
                Self::HomeAgentAddressDiscoveryRequest { identifier, flags: DiscoveryFlags(second) }
            }
            DISCOVERY_REPLY => Self::HomeAgentAddressDiscoveryReply {
                identifier,
                flags: DiscoveryFlags(second),
                addresses: addresses(data)?,
            },
            PREFIX_SOLICITATION => Self::MobilePrefixSolicitation { identifier },
            _ => Self::MobilePrefixAdvertisement {
                identifier,
                flags: AdvertisementFlags(second),
                options: NeighbourOptions::parse(data)?,
            },
        })
    }

    fn neighbour(kind: u8, mut reader: Reader<'p>) -> Result<Self, Malformed> {
        Ok(match kind {
            ROUTER_SOLICITATION => {
                reader.u32("reserved")?;
                Self::RouterSolicitation(NeighbourOptions::parse(reader.rest())?)
            }
            ROUTER_ADVERTISEMENT => Self::RouterAdvertisement(RouterAdvertisement::parse(reader)?),
            NEIGHBOUR_SOLICITATION => {
                Self::NeighbourSolicitation(NeighbourSolicitation::parse(reader)?)
            }
            _ => Self::NeighbourAdvertisement(NeighbourAdvertisement::parse(reader)?),
        })
    }

    /// The octets, checksum filled in, for the end points of the pseudo-header. Errors carry as
    /// much of the packet in question as fits into 1280 octets (RFC 4443 §2.4 (c)).
    #[must_use]
    pub fn emit(&self, source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
        let (kind, code) = self.kind_and_code();
        let mut octets = alloc::vec![kind, code, 0, 0];
        self.emit_body(&mut octets);
        let sum = checksum(PseudoHeader::icmpv6(source, destination), &octets);
        fill_in(&mut octets, CHECKSUM_OFFSET, sum);
        octets
    }

    const fn kind_and_code(&self) -> (u8, u8) {
        match self {
            Self::DestinationUnreachable { code, .. } => (DESTINATION_UNREACHABLE, *code),
            Self::PacketTooBig { .. } => (PACKET_TOO_BIG, 0),
            Self::TimeExceeded { code, .. } => (TIME_EXCEEDED, *code),
            Self::ParameterProblem { code, .. } => (PARAMETER_PROBLEM, *code),
            Self::EchoRequest { .. } => (ECHO_REQUEST, 0),
            Self::EchoReply { .. } => (ECHO_REPLY, 0),
            Self::RouterSolicitation(_) => (ROUTER_SOLICITATION, 0),
            Self::RouterAdvertisement(_) => (ROUTER_ADVERTISEMENT, 0),
            Self::NeighbourSolicitation(_) => (NEIGHBOUR_SOLICITATION, 0),
            Self::NeighbourAdvertisement(_) => (NEIGHBOUR_ADVERTISEMENT, 0),
            Self::HomeAgentAddressDiscoveryRequest { .. } => (DISCOVERY_REQUEST, 0),
            Self::HomeAgentAddressDiscoveryReply { .. } => (DISCOVERY_REPLY, 0),
            Self::MobilePrefixSolicitation { .. } => (PREFIX_SOLICITATION, 0),
            Self::MobilePrefixAdvertisement { .. } => (PREFIX_ADVERTISEMENT, 0),
            Self::Other { kind, code, .. } => (*kind, *code),
        }
    }

    fn emit_body(&self, out: &mut Vec<u8>) {
        let mut error = |word: u32, invoking: &[u8]| {
            out.extend_from_slice(&word.to_be_bytes());
            let len = invoking.len().min(ICMPV6_INVOKING_OCTETS_MAX);
            out.extend_from_slice(invoking.get(..len).unwrap_or_default());
        };
        let (identifier, second, data): (u16, u16, &[u8]) = match self {
            Self::DestinationUnreachable { invoking, .. } | Self::TimeExceeded { invoking, .. } => {
                return error(0, invoking);
            }
            Self::PacketTooBig { mtu, invoking } => return error(*mtu, invoking),
            Self::ParameterProblem { pointer, invoking, .. } => {
                return error(*pointer, invoking);
            }
            Self::Other { body, .. } => return out.extend_from_slice(body),
            Self::RouterSolicitation(options) => {
                out.extend_from_slice(&[0; 4]);
                return out.extend_from_slice(options.octets());
            }
            Self::RouterAdvertisement(message) => return message.emit(out),
            Self::NeighbourSolicitation(message) => return message.emit(out),
            Self::NeighbourAdvertisement(message) => return message.emit(out),
            Self::EchoRequest { identifier, sequence, data }
            | Self::EchoReply { identifier, sequence, data } => (*identifier, *sequence, data),
            Self::HomeAgentAddressDiscoveryRequest { identifier, flags }
            | Self::HomeAgentAddressDiscoveryReply { identifier, flags, .. } => {
                (*identifier, flags.0, &[])
            }
            Self::MobilePrefixSolicitation { identifier } => (*identifier, 0, &[]),
            Self::MobilePrefixAdvertisement { identifier, flags, options } => {
                (*identifier, flags.0, options.octets())
            }
        };
        out.extend_from_slice(&identifier.to_be_bytes());
        out.extend_from_slice(&second.to_be_bytes());
        out.extend_from_slice(data);
        if let Self::HomeAgentAddressDiscoveryReply { addresses, .. } = self {
            for address in addresses.iter().take(DISCOVERY_ADDRESSES_MAX) {
                out.extend_from_slice(&address.octets());
            }
        }
    }
}

fn addresses(data: &[u8]) -> Result<Vec<Ipv6Addr>, Malformed> {
    let (addresses, []) = data.as_chunks::<16>() else {
        return Err(Malformed::Length { field: "home agent addresses" });
    };
    if addresses.len() > DISCOVERY_ADDRESSES_MAX {
        return Err(Malformed::Length { field: "home agent addresses" });
    }
    Ok(addresses.iter().copied().map(Ipv6Addr::from_octets).collect())
}

flag_sets!(DiscoveryFlags, AdvertisementFlags);
