use homeport_binding::Silence;
use homeport_correspondent::DropReason as CorrespondentReason;
use homeport_esp::EspError;
use homeport_wire::Malformed;

/// Why a packet gets no answer. Each has a counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DropReason {
    /// The octets are not what they should be (RFC 6275 §9.2).
    Malformed(Malformed),
    /// The store says so.
    Store(Silence),
    /// What came in ESP is not authentic or not well formed (RFC 4303 §3.4).
    Esp(EspError),
    /// The number of an ESP packet had come before (RFC 4303 §3.4.3).
    EspReplayed,
    /// It was to come in ESP, and came in the clear (RFC 6275 §5.1).
    EspRequired,
    /// It is not what its security association is for (RFC 4301 §5.2).
    EspSelector,
    /// The keys of a security association do not fit its suite.
    EspKeys,
    /// No security association has a number left for the answer (RFC 4303 §3.3.3).
    EspNumbersSpent,
    /// The home prefix answers no such question (RFC 6275 §10.5, §10.6).
    DiscoveryNotAllowed,
    /// Answers of discovery are limited in rate (RFC 6275 §10.6.3).
    DiscoveryRateLimited,
    /// Neither a Mobility Header nor anything else that a home agent handles.
    NotSignalling,
    /// A routing header names another home address.
    ForeignRoutingHeader,
    /// A message that only a mobile node or a correspondent node handles.
    NotForHomeAgent,
    /// The source cannot be answered (RFC 6275 §9.5.1).
    SourceNotUnicast,
    /// The home address is not unicast routable (RFC 6275 §9.3.1).
    HomeAddressNotRoutable,
    /// A home registration with a Nonce Indices option (RFC 6275 §9.5.1).
    NonceIndices,
    /// An option of a known type with an impossible length.
    MalformedOption,
    /// The care-of address is not unicast routable (RFC 6275 §6.1.7).
    CareOfNotRoutable,
    /// No home prefix belongs to the home address or to the home agent's address.
    HomeAgentNotServed,
    /// No key for this home address, identity and SPI (RFC 4285 §5.1).
    NoSecurityAssociation,
    /// The home prefix demands an MN-HA option and there is none.
    AuthenticationMissing,
    /// The MN-HA option of a message that gets no answer is wrong (RFC 4285 §5.1).
    AuthenticationFailed,
    /// Something follows the MN-HA option, so it does not cover the message (RFC 4285 §5.1).
    AuthenticationNotLast,
    /// Errors are limited in rate (RFC 4443 §2.4).
    ErrorRateLimited,
    /// Tests of addresses are limited in rate (RFC 6275 §9.4: anybody may ask).
    AddressTestRateLimited,
    /// The correspondent node does not use it (RFC 6275 §9.4, §9.5.1).
    Correspondent(CorrespondentReason),
    /// It was decided, and no Binding Acknowledgement is due (RFC 6275 §9.5.4).
    NoAcknowledgementDue,
}

impl DropReason {
    /// Name for counters, out of a closed set.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed(malformed) => malformed.reason(),
            Self::Store(silence) => silence.name(),
            Self::Esp(error) => error.name(),
            Self::EspReplayed => "esp_replayed",
            Self::EspRequired => "esp_required",
            Self::EspSelector => "esp_selector",
            Self::EspKeys => "esp_keys",
            Self::EspNumbersSpent => "esp_numbers_spent",
            Self::DiscoveryNotAllowed => "discovery_not_allowed",
            Self::DiscoveryRateLimited => "discovery_rate_limited",
            Self::NotSignalling => "not_signalling",
            Self::ForeignRoutingHeader => "foreign_routing_header",
            Self::NotForHomeAgent => "not_for_home_agent",
            Self::SourceNotUnicast => "source_not_unicast",
            Self::HomeAddressNotRoutable => "home_address_not_routable",
            Self::NonceIndices => "nonce_indices",
            Self::MalformedOption => "malformed_option",
            Self::CareOfNotRoutable => "care_of_not_routable",
            Self::HomeAgentNotServed => "home_agent_not_served",
            Self::NoSecurityAssociation => "no_security_association",
            Self::AuthenticationMissing => "authentication_missing",
            Self::AuthenticationFailed => "authentication_failed",
            Self::AuthenticationNotLast => "authentication_not_last",
            Self::ErrorRateLimited => "error_rate_limited",
            Self::AddressTestRateLimited => "address_test_rate_limited",
            Self::Correspondent(reason) => reason.name(),
            Self::NoAcknowledgementDue => "no_acknowledgement_due",
        }
    }
}
