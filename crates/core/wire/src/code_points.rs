//! Registered values, each a newtype with named constants, so that unknown values survive.

use core::fmt;

use crate::types::{code_points, flag_sets};

code_points! {
    /// MH Type (IANA "Mobility Header Types"). Only the types that this crate parses have a name.
    MhType(u8) {
        /// RFC 6275 §6.1.2.
        BINDING_REFRESH_REQUEST = 0, "Binding Refresh Request";
        /// RFC 6275 §6.1.3.
        HOME_TEST_INIT = 1, "Home Test Init";
        /// RFC 6275 §6.1.4.
        CARE_OF_TEST_INIT = 2, "Care-of Test Init";
        /// RFC 6275 §6.1.5.
        HOME_TEST = 3, "Home Test";
        /// RFC 6275 §6.1.6.
        CARE_OF_TEST = 4, "Care-of Test";
        /// RFC 6275 §6.1.7.
        BINDING_UPDATE = 5, "Binding Update";
        /// RFC 6275 §6.1.8.
        BINDING_ACKNOWLEDGEMENT = 6, "Binding Acknowledgement";
        /// RFC 6275 §6.1.9.
        BINDING_ERROR = 7, "Binding Error";
        /// RFC 5142 §3.
        HOME_AGENT_SWITCH = 12, "Home Agent Switch";
        /// RFC 5847 §3.3.
        HEARTBEAT = 13, "Heartbeat";
        /// RFC 5846 §5.
        BINDING_REVOCATION = 16, "Binding Revocation";
    }
}

code_points! {
    /// Status of a Binding Error (RFC 6275 §6.1.9).
    BindingErrorStatus(u8) {
        /// A Home Address option without a binding.
        UNKNOWN_BINDING = 1, "unknown binding for Home Address option";
        /// An MH Type that the receiver does not know.
        UNRECOGNIZED_MH_TYPE = 2, "unrecognized MH Type";
    }
}

code_points! {
    /// Revocation Trigger of a Binding Revocation Indication (RFC 5846 §5.1).
    RevocationTrigger(u8) {
        /// Unspecified.
        UNSPECIFIED = 0, "unspecified";
        /// Administrative reason.
        ADMINISTRATIVE = 1, "administrative reason";
        /// Handover between access gateways, same access technology.
        HANDOVER_SAME_ACCESS = 2, "inter-MAG handover, same access type";
        /// Handover between access gateways, other access technology.
        HANDOVER_OTHER_ACCESS = 3, "inter-MAG handover, different access type";
        /// Handover between access gateways, technology unknown.
        HANDOVER_UNKNOWN = 4, "inter-MAG handover, unknown";
        /// The user ended the session.
        USER_SESSION_ENDED = 5, "user initiated session termination";
        /// The access network ended the session.
        ACCESS_SESSION_ENDED = 6, "access network session termination";
        /// The binding caches may differ.
        OUT_OF_SYNC = 7, "possible out-of-sync binding";
        /// All bindings of one peer.
        PER_PEER_POLICY = 128, "per-peer policy";
        /// Local policy.
        LOCAL_POLICY = 129, "revoking mobility node local policy";
    }
}

code_points! {
    /// Status of a Binding Revocation Acknowledgement (RFC 5846 §5.2).
    RevocationStatus(u8) {
        /// Success.
        SUCCESS = 0, "success";
        /// Some of the bindings are gone.
        PARTIAL_SUCCESS = 1, "partial success";
        /// There is no such binding.
        BINDING_DOES_NOT_EXIST = 128, "binding does not exist";
        /// An IPv4 Home Address option is needed.
        IPV4_HOME_ADDRESS_REQUIRED = 129, "IPv4 Home Address option required";
        /// Global revocation is not authorized.
        GLOBAL_NOT_AUTHORIZED = 130, "global revocation not authorized";
        /// The mobile node's identity is needed.
        IDENTITY_REQUIRED = 131, "revoked mobile nodes identity required";
        /// The mobile node is attached.
        ATTACHED = 132, "revocation failed, mobile node is attached";
        /// This trigger is not supported.
        TRIGGER_NOT_SUPPORTED = 133, "revocation trigger not supported";
        /// Revocation is not supported.
        FUNCTION_NOT_SUPPORTED = 134, "revocation function not supported";
        /// Revocation of proxy bindings is not supported.
        PROXY_NOT_SUPPORTED = 135, "proxy binding revocation not supported";
    }
}

code_points! {
    /// Status of a Flow Identification option (RFC 6089 §4.2).
    FlowStatus(u8) {
        /// Accepted.
        ACCEPTED = 0, "flow binding successful";
        /// Administratively prohibited.
        ADMINISTRATIVELY_PROHIBITED = 128, "administratively prohibited";
        /// Rejected, reason unspecified.
        REASON_UNSPECIFIED = 129, "flow binding rejected, reason unspecified";
        /// The option is malformed.
        MALFORMED = 130, "flow identification option malformed";
        /// No such BID.
        BID_NOT_FOUND = 131, "BID not found";
        /// No such FID.
        FID_NOT_FOUND = 132, "FID not found";
        /// The format of the traffic selector is not known.
        SELECTOR_FORMAT_NOT_SUPPORTED = 133, "traffic selector format not supported";
    }
}

code_points! {
    /// Status of an IPv4 Address Acknowledgement option (RFC 5555 §3.2.1).
    Ipv4AddressStatus(u8) {
        /// Accepted.
        ACCEPTED = 0, "success";
        /// Reason unspecified.
        REASON_UNSPECIFIED = 128, "failure, reason unspecified";
        /// Administratively prohibited.
        ADMINISTRATIVELY_PROHIBITED = 129, "administratively prohibited";
        /// Not this mobile node's IPv4 home address.
        INCORRECT_HOME_ADDRESS = 130, "incorrect IPv4 home address";
        /// Not a unicast address.
        INVALID_ADDRESS = 131, "invalid IPv4 address";
        /// No address can be assigned.
        DYNAMIC_ASSIGNMENT_NOT_AVAILABLE = 132,
            "dynamic IPv4 home address assignment not available";
        /// No prefix may be assigned.
        PREFIX_NOT_AUTHORIZED = 133, "prefix allocation unauthorized";
    }
}

/// Flags of a Binding Revocation message, sixteen bits (RFC 5846 §5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct RevocationFlags(pub u16);

impl RevocationFlags {
    /// P: proxy binding.
    pub const PROXY: Self = Self(0x8000);
    /// V: only the IPv4 home address binding.
    pub const IPV4_ONLY: Self = Self(0x4000);
    /// G: all bindings of the peer.
    pub const GLOBAL: Self = Self(0x2000);
}

/// Flags of a Heartbeat message, sixteen bits (RFC 5847 §3.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct HeartbeatFlags(pub u16);

impl HeartbeatFlags {
    /// U: unsolicited response.
    pub const UNSOLICITED: Self = Self(0x0002);
    /// R: response.
    pub const RESPONSE: Self = Self(0x0001);
}

flag_sets!(RevocationFlags, HeartbeatFlags);
