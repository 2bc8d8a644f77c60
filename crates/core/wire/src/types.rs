//! The nouns of the protocols as types: what a field means, apart from how it lies in a packet.

use core::fmt;
use core::time::Duration;

/// Binding identifier, RFC 5648 §4.3: names one care-of address of a home address.
///
/// Range 1..=65535. Zero is reserved, but must still be parsed and echoed, so it can be
/// represented.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Bid(pub u16);

impl Bid {
    /// The reserved value (RFC 5648 §4.3).
    pub const RESERVED: Self = Self(0);
}

impl fmt::Display for Bid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// BID-PRI of RFC 6089 §4.1, seven bits: 1..=127, lower is preferred, 0 means "not set" (plain RFC
/// 5648).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct BidPriority(u8);

impl BidPriority {
    /// The sender speaks plain RFC 5648.
    pub const UNSET: Self = Self(0);

    /// Keeps the low seven bits: the eighth is the H flag of the option.
    #[must_use]
    pub const fn new(value: u8) -> Self {
        Self(value & 0x7f)
    }

    /// The value as it stands in the option, 0..=127.
    #[must_use]
    pub const fn value(self) -> u8 {
        self.0
    }

    /// Order of preference: unset sorts after every set value.
    #[must_use]
    pub const fn rank(self) -> u8 {
        if self.0 == 0 { u8::MAX } else { self.0 }
    }
}

/// Sequence number of Binding Updates, RFC 6275 §9.5.1: a counter modulo 2^16. Deliberately not
/// `Ord`: the order is circular.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Sequence(pub u16);

impl Sequence {
    /// True when `self` is acceptable after `last`: the difference modulo 2^16 is in 1..=32767.
    #[must_use]
    pub const fn is_newer_than(self, last: Self) -> bool {
        matches!(self.0.wrapping_sub(last.0), 1..=0x7fff)
    }

    /// The number that follows.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Lifetime of a binding in units of four seconds (RFC 6275 §6.1.7): 0..=65535, at most 262,140 s.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Lifetime(pub u16);

impl Lifetime {
    /// Asks for the binding to be deleted.
    pub const DEREGISTER: Self = Self(0);
    /// Seconds in one unit.
    pub const UNIT_SECS: u16 = 4;

    /// True for a de-registration.
    #[must_use]
    pub const fn is_deregistration(self) -> bool {
        self.0 == 0
    }

    /// Rounds down to whole units and stops at the largest value.
    #[must_use]
    pub fn from_secs(secs: u32) -> Self {
        let units = secs.checked_div(u32::from(Self::UNIT_SECS)).unwrap_or(0);
        Self(u16::try_from(units).unwrap_or(u16::MAX))
    }

    /// Length in seconds.
    #[must_use]
    pub fn secs(self) -> u32 {
        u32::from(self.0).saturating_mul(u32::from(Self::UNIT_SECS))
    }

    /// Length as a duration.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_secs(u64::from(self.secs()))
    }
}

/// What every set of flags can do.
macro_rules! flag_sets {
    ($($name:ident),+) => {
        $(impl $name {
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
        })+
    };
}
pub(crate) use flag_sets;

macro_rules! code_points {
    ($(#[$doc:meta])* $name:ident($repr:ty) {
        $($(#[$cdoc:meta])* $constant:ident = $value:literal, $text:literal;)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $repr);

        impl $name {
            $($(#[$cdoc])* pub const $constant: Self = Self($value);)*

            /// The registered name, or `None` for a value that this code does not know.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($text),)*
                    _ => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.name() {
                    Some(name) => write!(f, "{} ({})", self.0, name),
                    None => write!(f, "{}", self.0),
                }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

pub(crate) use code_points;

code_points! {
    /// Status of a Binding Acknowledgement and of a Binding Identifier option: values below 128
    /// accept, the others refuse (IANA "Mobility parameters", RFC 6275 §6.1.8, RFC 5648 §4.4).
    Status(u8) {
        /// Accepted.
        ACCEPTED = 0, "accepted";
        /// Accepted, the mobile node should ask for prefixes.
        PREFIX_DISCOVERY_NECESSARY = 1, "accepted, prefix discovery necessary";
        /// RFC 5845: the GRE key option is not required.
        GRE_KEY_OPTION_NOT_REQUIRED = 2, "GRE_KEY_OPTION_NOT_REQUIRED";
        /// RFC 5845: GRE, but no TLV header.
        GRE_TUNNELING_BUT_TLV_HEADER_NOT_SUPPORTED = 3,
            "GRE_TUNNELING_BUT_TLV_HEADER_NOT_SUPPORTED";
        /// RFC 5648: some of the bindings of a bulk registration failed.
        MCOA_NOTCOMPLETE = 4, "MCOA NOTCOMPLETE";
        /// RFC 5648: home binding accepted, the node must not run Neighbour Discovery.
        MCOA_RETURNHOME_WO_NDP = 5, "MCOA RETURNHOME WO/NDP";
        /// RFC 6058: PBU_ACCEPTED_TB_IGNORED_SETTINGSMISMATCH.
        PBU_ACCEPTED_TB_IGNORED = 6, "PBU_ACCEPTED_TB_IGNORED_SETTINGSMISMATCH";
        /// Reason unspecified.
        REASON_UNSPECIFIED = 128, "reason unspecified";
        /// Administratively prohibited.
        ADMINISTRATIVELY_PROHIBITED = 129, "administratively prohibited";
        /// Insufficient resources.
        INSUFFICIENT_RESOURCES = 130, "insufficient resources";
        /// Home registration not supported.
        HOME_REGISTRATION_NOT_SUPPORTED = 131, "home registration not supported";
        /// Not home subnet.
        NOT_HOME_SUBNET = 132, "not home subnet";
        /// Not home agent for this mobile node.
        NOT_HOME_AGENT = 133, "not home agent for this mobile node";
        /// Duplicate Address Detection failed.
        DAD_FAILED = 134, "Duplicate Address Detection failed";
        /// Sequence number out of window.
        SEQUENCE_OUT_OF_WINDOW = 135, "sequence number out of window";
        /// Expired home nonce index.
        EXPIRED_HOME_NONCE_INDEX = 136, "expired home nonce index";
        /// Expired care-of nonce index.
        EXPIRED_CARE_OF_NONCE_INDEX = 137, "expired care-of nonce index";
        /// Expired nonces.
        EXPIRED_NONCES = 138, "expired nonces";
        /// Registration type change disallowed.
        REGISTRATION_TYPE_CHANGE = 139, "registration type change disallowed";
        /// RFC 3963: mobile router operation not permitted.
        MOBILE_ROUTER_NOT_PERMITTED = 140, "mobile router operation not permitted";
        /// RFC 3963: invalid prefix.
        INVALID_PREFIX = 141, "invalid prefix";
        /// RFC 3963: not authorized for prefix.
        NOT_AUTHORIZED_FOR_PREFIX = 142, "not authorized for prefix";
        /// RFC 3963: forwarding setup failed.
        FORWARDING_SETUP_FAILED = 143, "forwarding setup failed";
        /// RFC 4285: identity or timestamp mismatch. RFC 5555 uses the same value for another
        /// matter.
        ID_MISMATCH = 144, "MIPV6-ID-MISMATCH";
        /// RFC 4285: MESG-ID option required.
        MESG_ID_REQUIRED = 145, "MIPV6-MESG-ID-REQD";
        /// RFC 4285: authentication failed.
        AUTH_FAIL = 146, "MIPV6-AUTH-FAIL";
        /// RFC 4866: permanent home keygen token unavailable.
        PERMANENT_HOME_KEYGEN_TOKEN_UNAVAILABLE = 147, "permanent home keygen token unavailable";
        /// RFC 4866: CGA and signature verification failed.
        CGA_AND_SIGNATURE_FAILED = 148, "CGA and signature verification failed";
        /// RFC 4866: permanent home keygen token exists.
        PERMANENT_HOME_KEYGEN_TOKEN_EXISTS = 149, "permanent home keygen token exists";
        /// RFC 4866: non-null home nonce index expected.
        NON_NULL_HOME_NONCE_INDEX_EXPECTED = 150, "non-null home nonce index expected";
        /// RFC 5149: service authorization failed.
        SERVICE_AUTHORIZATION_FAILED = 151, "SERVICE_AUTHORIZATION_FAILED";
        /// RFC 5213: proxy registration not enabled.
        PROXY_REGISTRATION_NOT_ENABLED = 152, "PROXY_REG_NOT_ENABLED";
        /// RFC 5213: not LMA for this mobile node.
        NOT_LMA_FOR_THIS_MOBILE_NODE = 153, "NOT_LMA_FOR_THIS_MOBILE_NODE";
        /// RFC 5213: MAG not authorized for proxy registration.
        MAG_NOT_AUTHORIZED_FOR_PROXY_REG = 154, "MAG_NOT_AUTHORIZED_FOR_PROXY_REG";
        /// RFC 5213: not authorized for home network prefix.
        NOT_AUTHORIZED_FOR_HOME_NETWORK_PREFIX = 155, "NOT_AUTHORIZED_FOR_HOME_NETWORK_PREFIX";
        /// RFC 5213: timestamp mismatch.
        TIMESTAMP_MISMATCH = 156, "TIMESTAMP_MISMATCH";
        /// RFC 5213: timestamp lower than the previous one.
        TIMESTAMP_LOWER_THAN_PREV_ACCEPTED = 157, "TIMESTAMP_LOWER_THAN_PREV_ACCEPTED";
        /// RFC 5213: missing home network prefix option.
        MISSING_HOME_NETWORK_PREFIX_OPTION = 158, "MISSING_HOME_NETWORK_PREFIX_OPTION";
        /// RFC 5213: BCE PBU prefix set do not match.
        BCE_PBU_PREFIX_SET_DO_NOT_MATCH = 159, "BCE_PBU_PREFIX_SET_DO_NOT_MATCH";
        /// RFC 5213: missing MN identifier option.
        MISSING_MN_IDENTIFIER_OPTION = 160, "MISSING_MN_IDENTIFIER_OPTION";
        /// RFC 5213: missing handoff indicator option.
        MISSING_HANDOFF_INDICATOR_OPTION = 161, "MISSING_HANDOFF_INDICATOR_OPTION";
        /// RFC 5213: missing access technology type option.
        MISSING_ACCESS_TECH_TYPE_OPTION = 162, "MISSING_ACCESS_TECH_TYPE_OPTION";
        /// RFC 5845: GRE key option required.
        GRE_KEY_OPTION_REQUIRED = 163, "GRE_KEY_OPTION_REQUIRED";
        /// RFC 5648: malformed Binding Identifier option.
        MCOA_MALFORMED = 164, "MCOA MALFORMED";
        /// RFC 5648: a binding without BID exists and O is not set.
        MCOA_NON_MCOA_BINDING_EXISTS = 165, "MCOA NON-MCOA BINDING EXISTS";
        /// RFC 5648: multiple care-of addresses are not allowed.
        MCOA_PROHIBITED = 166, "MCOA PROHIBITED";
        /// RFC 5648: no care-of address is known for this BID.
        MCOA_UNKNOWN_COA = 167, "MCOA UNKNOWN COA";
        /// RFC 5648: bulk registration is not allowed.
        MCOA_BULK_REGISTRATION_PROHIBITED = 168, "MCOA BULK REGISTRATION PROHIBITED";
        /// RFC 5648: simultaneous home and foreign bindings are not allowed.
        MCOA_SIMULTANEOUS_HOME_AND_FOREIGN_PROHIBITED = 169,
            "MCOA SIMULTANEOUS HOME AND FOREIGN PROHIBITED";
        /// RFC 5844: not authorized for IPv4 mobility service.
        NOT_AUTHORIZED_FOR_IPV4_MOBILITY_SERVICE = 170, "NOT_AUTHORIZED_FOR_IPV4_MOBILITY_SERVICE";
        /// RFC 5844: not authorized for IPv4 home address.
        NOT_AUTHORIZED_FOR_IPV4_HOME_ADDRESS = 171, "NOT_AUTHORIZED_FOR_IPV4_HOME_ADDRESS";
        /// RFC 5844: not authorized for IPv6 mobility service.
        NOT_AUTHORIZED_FOR_IPV6_MOBILITY_SERVICE = 172, "NOT_AUTHORIZED_FOR_IPV6_MOBILITY_SERVICE";
        /// RFC 5844: multiple IPv4 home address assignment not supported.
        MULTIPLE_IPV4_HOME_ADDRESS_ASSIGNMENT_NOT_SUPPORTED = 173,
            "MULTIPLE_IPV4_HOME_ADDRESS_ASSIGNMENT_NOT_SUPPORTED";
        /// RFC 6275: invalid care-of address.
        INVALID_CARE_OF_ADDRESS = 174, "invalid care-of address";
        /// RFC 6602: invalid mobile node group identifier.
        INVALID_MOBILE_NODE_GROUP_IDENTIFIER = 175, "INVALID_MOBILE_NODE_GROUP_IDENTIFIER";
        /// RFC 6618: reinit SA with HAC.
        REINIT_SA_WITH_HAC = 176, "REINIT_SA_WITH_HAC";
        /// RFC 7148: not authorized for delegated MNP.
        NOT_AUTHORIZED_FOR_DELEGATED_MNP = 177, "NOT_AUTHORIZED_FOR_DELEGATED_MNP";
        /// RFC 7148: requested DMNP in use.
        REQUESTED_DMNP_IN_USE = 178, "REQUESTED_DMNP_IN_USE";
        /// RFC 7222: cannot meet QoS service request.
        CANNOT_MEET_QOS_SERVICE_REQUEST = 179, "CANNOT_MEET_QOS_SERVICE_REQUEST";
        /// RFC 8278: cannot support multipath binding.
        CANNOT_SUPPORT_MULTIPATH_BINDING = 180, "CANNOT_SUPPORT_MULTIPATH_BINDING";
    }
}

impl Status {
    /// Values below 128 accept the Binding Update (RFC 6275 §6.1.8).
    #[must_use]
    pub const fn is_accepted(self) -> bool {
        self.0 < 128
    }
}

/// Flags of a Binding Update: sixteen bits at offset 8 of the Mobility Header (RFC 6275 §6.1.7).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct BuFlags(pub u16);

impl BuFlags {
    /// A: acknowledgement wanted.
    pub const ACKNOWLEDGE: Self = Self(0x8000);
    /// H: home registration.
    pub const HOME_REGISTRATION: Self = Self(0x4000);
    /// L: also defend the link-local address of the same interface identifier.
    pub const LINK_LOCAL: Self = Self(0x2000);
    /// K: the key management can follow the mobile node.
    pub const KEY_MANAGEMENT_MOBILITY: Self = Self(0x1000);
    /// R: mobile router (RFC 3963).
    pub const MOBILE_ROUTER: Self = Self(0x0400);
    /// P: proxy registration (RFC 5213).
    pub const PROXY: Self = Self(0x0200);
    /// F: force UDP encapsulation (RFC 5555).
    pub const FORCE_UDP: Self = Self(0x0100);
    /// O: overwrite (RFC 5648 §4.2). Only with P clear: with P set, RFC 6602 calls the same bit B.
    pub const OVERWRITE: Self = Self(0x0040);
}

/// Flags of a Binding Acknowledgement: eight bits at offset 7 of the Mobility Header (RFC 6275
/// §6.1.8).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct BaFlags(pub u8);

impl BaFlags {
    /// K: the home agent's key management follows the mobile node.
    pub const KEY_MANAGEMENT_MOBILITY: Self = Self(0x80);
    /// R: mobile router (RFC 3963).
    pub const MOBILE_ROUTER: Self = Self(0x40);
    /// P: proxy registration (RFC 5213).
    pub const PROXY: Self = Self(0x20);
}

flag_sets!(BuFlags, BaFlags);
