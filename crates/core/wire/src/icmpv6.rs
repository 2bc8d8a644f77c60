//! The ICMPv6 messages of Mobile IPv6 (RFC 6275 §6.5 to §6.8, RFC 3963 §7), and the errors and echo
//! of RFC 4443 that a home agent sends, receives and relays.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::net::Ipv6Addr;

use crate::checksum::{PseudoHeader, checksum, fill_in};
use crate::error::Malformed;
use crate::ipv6::protocol;
use crate::limits::{DISCOVERY_ADDRESSES_MAX, ICMPV6_INVOKING_OCTETS_MAX};
use crate::reader::Reader;

const DESTINATION_UNREACHABLE: u8 = 1;
const PACKET_TOO_BIG: u8 = 2;
const TIME_EXCEEDED: u8 = 3;
const PARAMETER_PROBLEM: u8 = 4;
const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;
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

    /// True when every bit of `flag` is set.
    #[must_use]
    pub const fn contains(self, flag: Self) -> bool {
        self.0 & flag.0 == flag.0
    }
}

/// Flags of a Mobile Prefix Advertisement, sixteen bits (RFC 6275 §6.8).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct AdvertisementFlags(pub u16);

impl AdvertisementFlags {
    /// M: addresses by DHCPv6.
    pub const MANAGED: Self = Self(0x8000);
    /// O: other configuration by DHCPv6.
    pub const OTHER: Self = Self(0x4000);

    /// True when every bit of `flag` is set.
    #[must_use]
    pub const fn contains(self, flag: Self) -> bool {
        self.0 & flag.0 == flag.0
    }
}

/// Flags of a Prefix Information option, eight bits (RFC 4861 §4.6.2, RFC 6275 §7.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct PrefixFlags(pub u8);

impl PrefixFlags {
    /// L: on-link.
    pub const ON_LINK: Self = Self(0x80);
    /// A: addresses may be made of it.
    pub const AUTONOMOUS: Self = Self(0x40);
    /// R: the prefix field holds the router's whole address.
    pub const ROUTER_ADDRESS: Self = Self(0x20);

    /// True when every bit of `flag` is set.
    #[must_use]
    pub const fn contains(self, flag: Self) -> bool {
        self.0 & flag.0 == flag.0
    }

    /// Both sets of bits.
    #[must_use]
    pub const fn with(self, flag: Self) -> Self {
        Self(self.0 | flag.0)
    }
}

/// Prefix Information option (RFC 4861 §4.6.2).
///
/// ```text
///  0: type 3 | length 4, units of eight octets | prefix length | flags
///  4: valid lifetime   8: preferred lifetime   12: reserved   16: prefix
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PrefixInformation {
    /// Prefix length, not judged.
    pub prefix_len: u8,
    /// Flags.
    pub flags: PrefixFlags,
    /// Valid lifetime, all ones for ever.
    pub valid_secs: u32,
    /// Preferred lifetime, all ones for ever.
    pub preferred_secs: u32,
    /// Prefix, or the router's address with R.
    pub prefix: Ipv6Addr,
}

/// An option of Neighbour Discovery.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NeighbourOption<'p> {
    /// Type 3.
    PrefixInformation(PrefixInformation),
    /// Any other, or type 3 with another length.
    Unknown {
        /// Type.
        kind: u8,
        /// What follows type and length.
        data: &'p [u8],
    },
}

/// An area of Neighbour Discovery options, checked once and kept as octets.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NeighbourOptions<'p>(Cow<'p, [u8]>);

impl<'p> NeighbourOptions<'p> {
    /// No options.
    pub const EMPTY: NeighbourOptions<'static> = NeighbourOptions(Cow::Borrowed(&[]));
    const PREFIX_INFORMATION: u8 = 3;
    const PREFIX_INFORMATION_UNITS: u8 = 4;

    /// Checks an area.
    pub fn parse(area: &'p [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(area);
        while !reader.is_empty() {
            next_option(&mut reader)?;
        }
        Ok(Self(Cow::Borrowed(area)))
    }

    /// An area of Prefix Information options.
    #[must_use]
    pub fn of_prefixes(prefixes: &[PrefixInformation]) -> NeighbourOptions<'static> {
        let mut out = Vec::new();
        for prefix in prefixes {
            out.extend_from_slice(&[Self::PREFIX_INFORMATION, Self::PREFIX_INFORMATION_UNITS]);
            out.extend_from_slice(&[prefix.prefix_len, prefix.flags.0]);
            out.extend_from_slice(&prefix.valid_secs.to_be_bytes());
            out.extend_from_slice(&prefix.preferred_secs.to_be_bytes());
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(&prefix.prefix.octets());
        }
        NeighbourOptions(Cow::Owned(out))
    }

    /// The octets.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.0
    }

    /// The options in order.
    pub fn iter(&self) -> impl Iterator<Item = NeighbourOption<'_>> + '_ {
        let mut reader = Reader::new(&self.0);
        core::iter::from_fn(move || {
            let (kind, data) = (!reader.is_empty()).then(|| next_option(&mut reader).ok())??;
            Some(neighbour_option(kind, data))
        })
    }

    /// The Prefix Information options in order.
    pub fn prefixes(&self) -> impl Iterator<Item = PrefixInformation> + '_ {
        self.iter().filter_map(|option| match option {
            NeighbourOption::PrefixInformation(prefix) => Some(prefix),
            NeighbourOption::Unknown { .. } => None,
        })
    }

    /// A copy that borrows nothing.
    #[must_use]
    pub fn into_owned(self) -> NeighbourOptions<'static> {
        NeighbourOptions(Cow::Owned(self.0.into_owned()))
    }
}

/// Type and data of the next option; a length of zero is an error (RFC 4861 §4.6).
fn next_option<'p>(reader: &mut Reader<'p>) -> Result<(u8, &'p [u8]), Malformed> {
    let kind = reader.u8("option type")?;
    let len = usize::from(reader.u8("option length")?)
        .saturating_mul(8)
        .checked_sub(2)
        .ok_or(Malformed::Length { field: "option length" })?;
    Ok((kind, reader.slice(len, "option data")?))
}

fn neighbour_option(kind: u8, data: &[u8]) -> NeighbourOption<'_> {
    let prefix = || -> Result<NeighbourOption<'_>, Malformed> {
        let mut reader = Reader::new(data);
        let [prefix_len, flags] = reader.take("prefix length")?;
        let valid_secs = reader.u32("valid lifetime")?;
        let preferred_secs = reader.u32("preferred lifetime")?;
        reader.u32("reserved")?;
        let prefix = reader.ipv6("prefix")?;
        if !reader.is_empty() {
            return Err(Malformed::Length { field: "option length" });
        }
        Ok(NeighbourOption::PrefixInformation(PrefixInformation {
            prefix_len,
            flags: PrefixFlags(flags),
            valid_secs,
            preferred_secs,
            prefix,
        }))
    };
    match kind {
        NeighbourOptions::PREFIX_INFORMATION => prefix().ok(),
        _ => None,
    }
    .unwrap_or(NeighbourOption::Unknown { kind, data })
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
        if !matches!(kind, ECHO_REQUEST | ECHO_REPLY | DISCOVERY_REQUEST..=PREFIX_ADVERTISEMENT) {
            return Ok(Self::Other { kind, code, body });
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
