//! Why octets were refused, and what the protocol answers.

use thiserror::Error;

use crate::code_points::BindingErrorStatus;

/// Octets that are not what they should be. `at` counts octets from the start of what was parsed:
/// the Mobility Header for messages, the IPv6 header for the extension header walk.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Error)]
pub enum Malformed {
    /// The octets end inside a field.
    #[error("{field} is cut off at octet {at}")]
    Truncated {
        /// The field.
        field: &'static str,
        /// Where the field begins.
        at: usize,
    },
    /// Octets follow the Mobility Header although its Payload Proto says that nothing does.
    #[error("octets follow the message")]
    TrailingOctets,
    /// The checksum is wrong.
    #[error("wrong checksum")]
    Checksum,
    /// An MH Type that this code does not know.
    #[error("unknown MH Type {mh_type}")]
    UnknownType {
        /// The MH Type.
        mh_type: u8,
    },
    /// Payload Proto is not 59.
    #[error("Payload Proto {value} instead of 59")]
    PayloadProto {
        /// The Payload Proto.
        value: u8,
    },
    /// Header Len is smaller than the message type needs.
    #[error("Header Len {value} is too small for MH Type {mh_type}")]
    HeaderLen {
        /// The MH Type.
        mh_type: u8,
        /// The Header Len.
        value: u8,
    },
    /// A mobility option runs past the end of the Mobility Header.
    #[error("option at octet {at} overruns the header")]
    OptionOverrun {
        /// Where the option begins.
        at: usize,
    },
    /// A mobility option of a known type whose length is not the one that its type has.
    #[error("option with a wrong length, which octet {at} says")]
    OptionLength {
        /// The Option Length field.
        at: u16,
    },
    /// More options than [`crate::limits`] allow.
    #[error("too many options")]
    TooManyOptions,
    /// A Binding Revocation message that is neither indication nor acknowledgement.
    #[error("unknown Binding Revocation type {value}")]
    RevocationType {
        /// The B.R. Type.
        value: u8,
    },
    /// Not the IP version that was expected.
    #[error("IP version {value}")]
    Version {
        /// The version.
        value: u8,
    },
    /// A length field contradicts the octets or the other length fields.
    #[error("{field} has an impossible value")]
    Length {
        /// The field.
        field: &'static str,
    },
    /// A UDP datagram over IPv6 without checksum (RFC 8200 §8.1).
    #[error("UDP over IPv6 without checksum")]
    ChecksumAbsent,
    /// More extension headers than [`crate::limits`] allow.
    #[error("too many extension headers")]
    TooManyExtensionHeaders,
    /// Hop-by-Hop Options anywhere but right after the IPv6 header (RFC 8200 §4).
    #[error("Hop-by-Hop Options header named at octet {at} is not the first")]
    HopByHopNotFirst {
        /// The Next Header field that names it.
        at: usize,
    },
    /// A second Home Address option (RFC 6275 §6.3: at most one).
    #[error("second Home Address option at octet {at}")]
    SecondHomeAddress {
        /// The Option Type field.
        at: usize,
    },
    /// A Home Address option whose length is not 16.
    #[error("Home Address option at octet {at} with a wrong length")]
    HomeAddressLength {
        /// The Option Type field.
        at: usize,
    },
    /// An unknown Hop-by-Hop or Destination option that must not be skipped (RFC 8200 §4.2).
    #[error("unknown option {kind:#04x} at octet {at}")]
    UnknownOption {
        /// The Option Type; its two high bits are the action.
        kind: u8,
        /// The Option Type field.
        at: usize,
    },
    /// A routing header that this node cannot process, with segments left (RFC 8200 §4.4, RFC 6275
    /// §6.4).
    #[error("routing header refused at octet {at}")]
    RoutingHeader {
        /// The field to complain about.
        at: usize,
    },
}

/// What the receiver does about malformed octets, apart from counting and dropping them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Disposition {
    /// Nothing.
    Discard,
    /// Send an ICMPv6 Parameter Problem, code 0, to the IPv6 source.
    ParameterProblem {
        /// Octet of the Mobility Header to point at: add the header's offset in the packet.
        pointer_from_mh: u16,
    },
    /// Send a Binding Error to the IPv6 source.
    BindingError {
        /// Its status.
        status: BindingErrorStatus,
    },
    /// Send an ICMPv6 Parameter Problem to the IPv6 source.
    PacketProblem {
        /// 0 erroneous field, 1 unrecognized Next Header, 2 unrecognized option (RFC 4443 §3.4).
        code: u8,
        /// Octet of the IPv6 packet to point at.
        pointer: usize,
        /// Send it even when the packet went to a multicast address.
        even_to_multicast: bool,
    },
}

impl Disposition {
    /// Of octets behind a Mobility Header, and of an option that runs past its end: RFC 6275 §9.2 has
    /// no rule for them.
    pub const UNRULED: Self = Self::Discard;
}

impl Malformed {
    /// What RFC 6275 §9.2 and RFC 8200 §4 ask of the receiver.
    #[must_use]
    pub const fn disposition(self) -> Disposition {
        match self {
            Self::TrailingOctets | Self::OptionOverrun { .. } => Disposition::UNRULED,
            Self::Truncated { .. }
            | Self::Checksum
            | Self::TooManyOptions
            | Self::RevocationType { .. }
            | Self::Version { .. }
            | Self::Length { .. }
            | Self::ChecksumAbsent
            | Self::TooManyExtensionHeaders
            | Self::SecondHomeAddress { .. }
            | Self::HomeAddressLength { .. } => Disposition::Discard,
            Self::PayloadProto { .. } => Disposition::ParameterProblem { pointer_from_mh: 0 },
            Self::HeaderLen { .. } => Disposition::ParameterProblem { pointer_from_mh: 1 },
            Self::OptionLength { at } => Disposition::ParameterProblem { pointer_from_mh: at },
            Self::UnknownType { .. } => {
                Disposition::BindingError { status: BindingErrorStatus::UNRECOGNIZED_MH_TYPE }
            }
            Self::HopByHopNotFirst { at } => {
                Disposition::PacketProblem { code: 1, pointer: at, even_to_multicast: false }
            }
            Self::RoutingHeader { at } => {
                Disposition::PacketProblem { code: 0, pointer: at, even_to_multicast: false }
            }
            // RFC 8200 §4.2: 01 drops in silence, 10 always complains, 11 not to multicast.
            Self::UnknownOption { kind, at } => match kind >> 6 {
                0 | 1 => Disposition::Discard,
                action => Disposition::PacketProblem {
                    code: 2,
                    pointer: at,
                    even_to_multicast: action == 2,
                },
            },
        }
    }

    /// The same as a word out of a closed set, for counters.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Truncated { .. } => "truncated",
            Self::TrailingOctets => "trailing_octets",
            Self::Checksum => "checksum",
            Self::UnknownType { .. } => "unknown_mh_type",
            Self::PayloadProto { .. } => "payload_proto",
            Self::HeaderLen { .. } => "header_len",
            Self::OptionOverrun { .. } => "option_overrun",
            Self::OptionLength { .. } => "option_length",
            Self::TooManyOptions => "too_many_options",
            Self::RevocationType { .. } => "revocation_type",
            Self::Version { .. } => "ip_version",
            Self::Length { .. } => "length",
            Self::ChecksumAbsent => "checksum_absent",
            Self::TooManyExtensionHeaders => "too_many_extension_headers",
            Self::HopByHopNotFirst { .. } => "hop_by_hop_not_first",
            Self::SecondHomeAddress { .. } => "second_home_address",
            Self::HomeAddressLength { .. } => "home_address_length",
            Self::UnknownOption { .. } => "unknown_option",
            Self::RoutingHeader { .. } => "routing_header",
        }
    }
}
