//! The options that this crate knows, and their octets.

use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};

use super::bid::BidOption;
use super::flow::{FlowIdentification, FlowIds};
use crate::error::Malformed;
use crate::reader::Reader;
use crate::types::Lifetime;

/// Option Types (IANA "Mobility Options").
pub mod kind {
    /// One octet of padding (RFC 6275 §6.2.2).
    pub const PAD1: u8 = 0;
    /// Two octets of padding or more (RFC 6275 §6.2.3).
    pub const PADN: u8 = 1;
    /// Binding Refresh Advice (RFC 6275 §6.2.4).
    pub const BINDING_REFRESH_ADVICE: u8 = 2;
    /// Alternate Care-of Address (RFC 6275 §6.2.5).
    pub const ALTERNATE_CARE_OF: u8 = 3;
    /// Nonce Indices (RFC 6275 §6.2.6).
    pub const NONCE_INDICES: u8 = 4;
    /// Binding Authorization Data (RFC 6275 §6.2.7).
    pub const BINDING_AUTHORIZATION_DATA: u8 = 5;
    /// Mobile Network Prefix (RFC 3963 §4.3).
    pub const MOBILE_NETWORK_PREFIX: u8 = 6;
    /// Mobility Header Link-Layer Address (RFC 5568 §6.4.4).
    pub const LINK_LAYER_ADDRESS: u8 = 7;
    /// Mobile Node Identifier (RFC 4283 §3).
    pub const MOBILE_NODE_IDENTIFIER: u8 = 8;
    /// Mobility message authentication (RFC 4285 §5).
    pub const AUTHENTICATION: u8 = 9;
    /// Mobility message replay protection (RFC 4285 §6).
    pub const MESSAGE_ID: u8 = 10;
    /// Vendor specific (RFC 5094 §3).
    pub const VENDOR_SPECIFIC: u8 = 19;
    /// Restart Counter (RFC 5847 §3.3).
    pub const RESTART_COUNTER: u8 = 28;
    /// IPv4 Home Address (RFC 5555 §3.1.1).
    pub const IPV4_HOME_ADDRESS: u8 = 29;
    /// IPv4 Address Acknowledgement (RFC 5555 §3.2.1, erratum 1805).
    pub const IPV4_ADDRESS_ACK: u8 = 30;
    /// NAT Detection (RFC 5555 §3.2.2).
    pub const NAT_DETECTION: u8 = 31;
    /// IPv4 Care-of Address (RFC 5555 §3.1.2).
    pub const IPV4_CARE_OF: u8 = 32;
    /// Binding Identifier (RFC 5648 §4.3).
    pub const BINDING_IDENTIFIER: u8 = 35;
    /// Flow Summary (RFC 6089 §4.3; the text of §8 there swaps the two numbers).
    pub const FLOW_SUMMARY: u8 = 44;
    /// Flow Identification (RFC 6089 §4.2).
    pub const FLOW_IDENTIFICATION: u8 = 45;
}

/// A mobility option. Reserved fields inside are not kept here: [`super::Options::octets`] has
/// them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MobilityOption<'p> {
    /// When the mobile node should refresh its binding.
    BindingRefreshAdvice {
        /// Refresh interval.
        interval: Lifetime,
    },
    /// Care-of address other than the source of the packet.
    AlternateCareOf(Ipv6Addr),
    /// The nonces that the tokens were made of.
    NonceIndices {
        /// Home nonce index.
        home: u16,
        /// Care-of nonce index.
        care_of: u16,
    },
    /// Authenticator between mobile node and correspondent node.
    BindingAuthorizationData([u8; 12]),
    /// A network behind a mobile router.
    MobileNetworkPrefix {
        /// Prefix length, not judged.
        length: u8,
        /// Prefix, host bits as they were.
        prefix: Ipv6Addr,
    },
    /// A link-layer address.
    LinkLayerAddress {
        /// Option-Code; 2 is the mobile node's.
        code: u8,
        /// Address, six octets on Ethernet.
        address: &'p [u8],
    },
    /// Who the mobile node is.
    MobileNodeIdentifier {
        /// Subtype; 1 is a network access identifier.
        subtype: u8,
        /// Identifier.
        identifier: &'p [u8],
    },
    /// Authenticator of RFC 4285.
    Authentication {
        /// Subtype; 1 mobile node to home agent, 2 mobile node to AAA.
        subtype: u8,
        /// Security parameter index.
        spi: u32,
        /// Authentication data, 12 octets for subtype 1.
        data: &'p [u8],
    },
    /// Replay protection of RFC 4285.
    MessageId {
        /// NTP timestamp: seconds since 1900 in the high half, fraction in the low.
        timestamp: u64,
    },
    /// Vendor specific.
    VendorSpecific {
        /// Enterprise number.
        vendor: u32,
        /// Subtype.
        subtype: u8,
        /// Data.
        data: &'p [u8],
    },
    /// Restarts of the sender.
    RestartCounter(u32),
    /// The IPv4 home address that the mobile node has or wants.
    Ipv4HomeAddress {
        /// Prefix length, six bits.
        prefix_len: u8,
        /// P: a prefix is wanted.
        prefix_wanted: bool,
        /// Address, 0.0.0.0 to have one assigned.
        address: Ipv4Addr,
    },
    /// Answer to [`MobilityOption::Ipv4HomeAddress`].
    Ipv4AddressAck {
        /// See [`crate::Ipv4AddressStatus`].
        status: u8,
        /// Prefix length, six bits.
        prefix_len: u8,
        /// Address.
        address: Ipv4Addr,
    },
    /// What the home agent saw of translators.
    NatDetection {
        /// F: UDP encapsulation is forced.
        force_udp: bool,
        /// Seconds between refreshes; all ones when none is needed.
        refresh_secs: u32,
    },
    /// IPv4 care-of address of a mobile node without BIDs.
    Ipv4CareOf(Ipv4Addr),
    /// One of several bindings.
    BindingIdentifier(BidOption),
    /// FIDs of flows to keep.
    FlowSummary(FlowIds<'p>),
    /// A flow.
    FlowIdentification(FlowIdentification<'p>),
    /// A known type with an impossible length.
    Malformed {
        /// Option Type.
        kind: u8,
        /// Option Data.
        data: &'p [u8],
    },
    /// A type that this code skips.
    Unknown {
        /// Option Type.
        kind: u8,
        /// Option Data.
        data: &'p [u8],
    },
}

impl<'p> MobilityOption<'p> {
    /// The option of this type with this data. Never fails: see [`MobilityOption::Malformed`].
    #[must_use]
    pub fn decode(kind: u8, data: &'p [u8]) -> Self {
        let mut reader = Reader::new(data);
        let option = match kind {
            kind::LINK_LAYER_ADDRESS
            | kind::MOBILE_NODE_IDENTIFIER
            | kind::AUTHENTICATION
            | kind::VENDOR_SPECIFIC
            | kind::BINDING_IDENTIFIER
            | kind::FLOW_SUMMARY
            | kind::FLOW_IDENTIFICATION => return Self::variable(kind, data),
            _ => Self::fixed(kind, &mut reader),
        };
        match option {
            Ok(Some(option)) if reader.is_empty() => option,
            Ok(None) => Self::Unknown { kind, data },
            Ok(Some(_)) | Err(_) => Self::Malformed { kind, data },
        }
    }

    /// Options with one length; `None` for an unknown type.
    fn fixed(kind: u8, reader: &mut Reader<'p>) -> Result<Option<Self>, Malformed> {
        Ok(Some(match kind {
            kind::BINDING_REFRESH_ADVICE => {
                Self::BindingRefreshAdvice { interval: Lifetime(reader.u16("refresh interval")?) }
            }
            kind::ALTERNATE_CARE_OF => Self::AlternateCareOf(reader.ipv6("care-of address")?),
            kind::NONCE_INDICES => Self::NonceIndices {
                home: reader.u16("home nonce index")?,
                care_of: reader.u16("care-of nonce index")?,
            },
            kind::BINDING_AUTHORIZATION_DATA => {
                Self::BindingAuthorizationData(reader.take("authenticator")?)
            }
            kind::MOBILE_NETWORK_PREFIX => {
                let [_, length] = reader.take("prefix length")?;
                Self::MobileNetworkPrefix { length, prefix: reader.ipv6("prefix")? }
            }
            kind::MESSAGE_ID => Self::MessageId { timestamp: reader.u64("timestamp")? },
            kind::RESTART_COUNTER => Self::RestartCounter(reader.u32("restart counter")?),
            kind::IPV4_HOME_ADDRESS => {
                let [bits, _] = reader.take("prefix length")?;
                Self::Ipv4HomeAddress {
                    prefix_len: bits >> 2,
                    prefix_wanted: bits & 0x02 != 0,
                    address: reader.ipv4("IPv4 home address")?,
                }
            }
            kind::IPV4_ADDRESS_ACK => {
                let [status, bits] = reader.take("prefix length")?;
                let address = reader.ipv4("IPv4 home address")?;
                Self::Ipv4AddressAck { status, prefix_len: bits >> 2, address }
            }
            kind::NAT_DETECTION => {
                let [bits, _] = reader.take("NAT flags")?;
                let refresh_secs = reader.u32("refresh time")?;
                Self::NatDetection { force_udp: bits & 0x80 != 0, refresh_secs }
            }
            kind::IPV4_CARE_OF => {
                reader.u16("reserved")?;
                Self::Ipv4CareOf(reader.ipv4("IPv4 care-of address")?)
            }
            _ => return Ok(None),
        }))
    }

    /// Options of several lengths.
    fn variable(kind: u8, data: &'p [u8]) -> Self {
        let option = match (kind, data) {
            (kind::LINK_LAYER_ADDRESS, [code, address @ ..]) => {
                Some(Self::LinkLayerAddress { code: *code, address })
            }
            (kind::MOBILE_NODE_IDENTIFIER, [subtype, identifier @ ..]) => {
                Some(Self::MobileNodeIdentifier { subtype: *subtype, identifier })
            }
            (kind::AUTHENTICATION, [subtype, a, b, c, d, data @ ..]) => {
                let spi = u32::from_be_bytes([*a, *b, *c, *d]);
                Some(Self::Authentication { subtype: *subtype, spi, data })
            }
            (kind::VENDOR_SPECIFIC, [a, b, c, d, subtype, data @ ..]) => {
                let vendor = u32::from_be_bytes([*a, *b, *c, *d]);
                Some(Self::VendorSpecific { vendor, subtype: *subtype, data })
            }
            (kind::BINDING_IDENTIFIER, data) => {
                BidOption::decode(data).ok().map(Self::BindingIdentifier)
            }
            (kind::FLOW_SUMMARY, data) => FlowIds::from_octets(data).map(Self::FlowSummary),
            (kind::FLOW_IDENTIFICATION, data) => {
                FlowIdentification::decode(data).ok().map(Self::FlowIdentification)
            }
            _ => None,
        };
        option.unwrap_or(Self::Malformed { kind, data })
    }

    /// The Option Type.
    #[must_use]
    pub const fn kind(&self) -> u8 {
        match self {
            Self::BindingRefreshAdvice { .. } => kind::BINDING_REFRESH_ADVICE,
            Self::AlternateCareOf(_) => kind::ALTERNATE_CARE_OF,
            Self::NonceIndices { .. } => kind::NONCE_INDICES,
            Self::BindingAuthorizationData(_) => kind::BINDING_AUTHORIZATION_DATA,
            Self::MobileNetworkPrefix { .. } => kind::MOBILE_NETWORK_PREFIX,
            Self::LinkLayerAddress { .. } => kind::LINK_LAYER_ADDRESS,
            Self::MobileNodeIdentifier { .. } => kind::MOBILE_NODE_IDENTIFIER,
            Self::Authentication { .. } => kind::AUTHENTICATION,
            Self::MessageId { .. } => kind::MESSAGE_ID,
            Self::VendorSpecific { .. } => kind::VENDOR_SPECIFIC,
            Self::RestartCounter(_) => kind::RESTART_COUNTER,
            Self::Ipv4HomeAddress { .. } => kind::IPV4_HOME_ADDRESS,
            Self::Ipv4AddressAck { .. } => kind::IPV4_ADDRESS_ACK,
            Self::NatDetection { .. } => kind::NAT_DETECTION,
            Self::Ipv4CareOf(_) => kind::IPV4_CARE_OF,
            Self::BindingIdentifier(_) => kind::BINDING_IDENTIFIER,
            Self::FlowSummary(_) => kind::FLOW_SUMMARY,
            Self::FlowIdentification(_) => kind::FLOW_IDENTIFICATION,
            Self::Malformed { kind, .. } | Self::Unknown { kind, .. } => *kind,
        }
    }

    /// Appends the Option Data, reserved fields zero.
    pub(super) fn encode_data(&self, out: &mut Vec<u8>) {
        match self {
            Self::BindingRefreshAdvice { interval } => {
                out.extend_from_slice(&interval.0.to_be_bytes());
            }
            Self::AlternateCareOf(address) => out.extend_from_slice(&address.octets()),
            Self::NonceIndices { home, care_of } => {
                out.extend_from_slice(&home.to_be_bytes());
                out.extend_from_slice(&care_of.to_be_bytes());
            }
            Self::BindingAuthorizationData(authenticator) => {
                out.extend_from_slice(authenticator);
            }
            Self::MobileNetworkPrefix { length, prefix } => {
                out.extend_from_slice(&[0, *length]);
                out.extend_from_slice(&prefix.octets());
            }
            Self::LinkLayerAddress { code: first, address: rest }
            | Self::MobileNodeIdentifier { subtype: first, identifier: rest } => {
                out.push(*first);
                out.extend_from_slice(rest);
            }
            Self::Authentication { subtype, spi, data } => {
                out.push(*subtype);
                out.extend_from_slice(&spi.to_be_bytes());
                out.extend_from_slice(data);
            }
            Self::MessageId { timestamp } => out.extend_from_slice(&timestamp.to_be_bytes()),
            Self::VendorSpecific { vendor, subtype, data } => {
                out.extend_from_slice(&vendor.to_be_bytes());
                out.push(*subtype);
                out.extend_from_slice(data);
            }
            Self::RestartCounter(counter) => out.extend_from_slice(&counter.to_be_bytes()),
            Self::Ipv4HomeAddress { .. }
            | Self::Ipv4AddressAck { .. }
            | Self::NatDetection { .. }
            | Self::Ipv4CareOf(_) => self.encode_dual_stack(out),
            Self::BindingIdentifier(option) => option.encode(out),
            Self::FlowSummary(fids) => out.extend_from_slice(fids.octets()),
            Self::FlowIdentification(flow) => flow.encode(out),
            Self::Malformed { data, .. } | Self::Unknown { data, .. } => {
                out.extend_from_slice(data);
            }
        }
    }

    /// The options of RFC 5555: two octets of bits, then four of a number or an address.
    fn encode_dual_stack(&self, out: &mut Vec<u8>) {
        let (bits, word) = match self {
            Self::Ipv4HomeAddress { prefix_len, prefix_wanted, address } => {
                let wanted = if *prefix_wanted { 0x02 } else { 0 };
                ([prefix_len << 2 | wanted, 0], address.octets())
            }
            Self::Ipv4AddressAck { status, prefix_len, address } => {
                ([*status, prefix_len << 2], address.octets())
            }
            Self::NatDetection { force_udp, refresh_secs } => {
                ([if *force_udp { 0x80 } else { 0 }, 0], refresh_secs.to_be_bytes())
            }
            Self::Ipv4CareOf(address) => ([0, 0], address.octets()),
            _ => return,
        };
        out.extend_from_slice(&bits);
        out.extend_from_slice(&word);
    }
}
