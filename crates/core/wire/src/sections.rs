//! Where the rules stand that end in a status.

use crate::types::Status;

impl Status {
    /// The section that says when a home agent gives this status, as operators read it; empty for one that ours
    /// does not give.
    #[must_use]
    pub const fn rfc_section(self) -> &'static str {
        match self {
            Self::ACCEPTED
            | Self::PREFIX_DISCOVERY_NECESSARY
            | Self::REASON_UNSPECIFIED
            | Self::ADMINISTRATIVELY_PROHIBITED
            | Self::INSUFFICIENT_RESOURCES => "RFC 6275 section 6.1.8",
            Self::HOME_REGISTRATION_NOT_SUPPORTED
            | Self::NOT_HOME_SUBNET
            | Self::NOT_HOME_AGENT
            | Self::DAD_FAILED => "RFC 6275 section 10.3.1",
            Self::SEQUENCE_OUT_OF_WINDOW
            | Self::EXPIRED_HOME_NONCE_INDEX
            | Self::EXPIRED_CARE_OF_NONCE_INDEX
            | Self::EXPIRED_NONCES
            | Self::REGISTRATION_TYPE_CHANGE
            | Self::INVALID_CARE_OF_ADDRESS => "RFC 6275 section 9.5.1",
            Self::MOBILE_ROUTER_NOT_PERMITTED
            | Self::INVALID_PREFIX
            | Self::NOT_AUTHORIZED_FOR_PREFIX
            | Self::FORWARDING_SETUP_FAILED => "RFC 3963 section 6.2",
            Self::ID_MISMATCH | Self::MESG_ID_REQUIRED => "RFC 4285 section 5.3",
            Self::AUTH_FAIL => "RFC 4285 section 5.1",
            Self::MCOA_NOTCOMPLETE
            | Self::MCOA_RETURNHOME_WO_NDP
            | Self::MCOA_MALFORMED
            | Self::MCOA_NON_MCOA_BINDING_EXISTS
            | Self::MCOA_PROHIBITED
            | Self::MCOA_UNKNOWN_COA
            | Self::MCOA_BULK_REGISTRATION_PROHIBITED
            | Self::MCOA_SIMULTANEOUS_HOME_AND_FOREIGN_PROHIBITED => "RFC 5648 section 6.2",
            _ => "",
        }
    }
}
