use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use core::net::Ipv4Addr;

use homeport_wire::{FlowStatus, Ipv4AddressStatus, Lifetime, Sequence, Status};

use crate::limits;

/// What became of a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Log index of the entry.
    pub revision: u64,
    /// The outcome.
    pub outcome: Outcome,
    /// With what the answer is sent: only where a security association protects it. Given anew each time, so a
    /// command that is sent again never has the number of its first answer.
    pub esp: Option<EspNumber>,
}

/// A sequence number that nobody else uses under this security association.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EspNumber {
    /// Names the association among those of the home address.
    pub inbound_spi: u32,
    /// The number, all bits of it.
    pub sequence: u64,
}

/// Outcome of a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// A Binding Acknowledgement is due.
    Answer(Answer),
    /// Nothing is to be sent.
    Silent(Silence),
    /// A record that the Binding Update was checked against has changed: check again.
    StalePolicy,
    /// The command, no Binding Update, was carried out.
    Done,
    /// The command, no Binding Update, was refused.
    Refused(Refusal),
    /// The Binding Update waits for Duplicate Address Detection: send the same command again.
    Pending,
}

impl Outcome {
    pub(crate) const fn refused(kind: RefusalKind, field: &'static str, message: String) -> Self {
        Self::Refused(Refusal { kind, field: Cow::Borrowed(field), message })
    }
}

/// Why a Binding Update is dropped by the store without an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Silence {
    /// The registration holds more BID options than a Mobility Header can: not made by our codec.
    TooManyBidOptions,
    /// Care-of address is not unicast routable (RFC 6275 §6.1.7).
    CareOfNotRoutable,
    /// The registration holds more options of a kind than a Mobility Header can: not made by our
    /// codec.
    TooManyOptions,
    /// A binding for a correspondent node, which is not served (RFC 6275 §9.5.1).
    CorrespondentUnsupported,
    /// A Binding Revocation Acknowledgement that nobody waits for (RFC 5846 §7.2).
    UnknownRevocation,
    /// A newer Binding Update came while this one waited for Duplicate Address Detection.
    Superseded,
    /// A registration from away without Home Address option (RFC 6275 §10.3.1).
    HomeAddressOptionMissing,
    /// The number of an ESP packet has come before, or is left of the window (RFC 4303 §3.4.3).
    EspReplayed,
    /// The answer to the test of a care-of address that nobody waits for (RFC 5648 §10).
    UnknownCareOfTest,
}

impl Silence {
    /// Name for counters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooManyBidOptions => "too_many_bid_options",
            Self::CareOfNotRoutable => "care_of_not_routable",
            Self::TooManyOptions => "too_many_options_of_a_kind",
            Self::CorrespondentUnsupported => "correspondent_unsupported",
            Self::UnknownRevocation => "unknown_revocation",
            Self::Superseded => "superseded",
            Self::HomeAddressOptionMissing => "home_address_option_missing",
            Self::EspReplayed => "esp_replayed",
            Self::UnknownCareOfTest => "unknown_care_of_test",
        }
    }

    /// The section whose rule it is, as operators read it; empty where it is a limit of ours.
    #[must_use]
    pub const fn rfc_section(self) -> &'static str {
        match self {
            Self::TooManyBidOptions | Self::TooManyOptions | Self::Superseded => "",
            Self::CareOfNotRoutable => "RFC 6275 section 6.1.7",
            Self::CorrespondentUnsupported => "RFC 6275 section 9.5.1",
            Self::UnknownRevocation => "RFC 5846 section 7.2",
            Self::HomeAddressOptionMissing => "RFC 6275 section 10.3.1",
            Self::EspReplayed => "RFC 4303 section 3.4.3",
            Self::UnknownCareOfTest => "RFC 5648 section 10",
        }
    }

    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::TooManyBidOptions,
        Self::CareOfNotRoutable,
        Self::TooManyOptions,
        Self::CorrespondentUnsupported,
        Self::UnknownRevocation,
        Self::Superseded,
        Self::HomeAddressOptionMissing,
        Self::EspReplayed,
        Self::UnknownCareOfTest,
    ];
}

/// Content of a Binding Acknowledgement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Status of the Binding Update.
    pub status: Status,
    /// Status of each BID option that could be read, in their order.
    pub bid_statuses: Vec<Status>,
    /// Granted; zero when refused or de-registered.
    pub lifetime: Lifetime,
    /// To echo; with status 135 the last one accepted.
    pub sequence: Sequence,
    /// Set when the Binding Update came in UDP (RFC 5555 §4.2).
    pub nat_detection: Option<NatDetection>,
    /// The store's NTP seconds, for status 144 (RFC 4285 §5.3).
    pub ntp_secs: Option<u32>,
    /// R flag: forwarding for the mobile networks is set up (RFC 3963 §6.2).
    pub mobile_router: bool,
    /// Set when the Binding Update asked for an IPv4 home address (RFC 5555 §3.2.1).
    pub ipv4_address: Option<Ipv4AddressAnswer>,
    /// Status of each Flow Identification option, in their order; empty when the Binding Update was
    /// refused (RFC 6089 §5.3).
    pub flow_statuses: Vec<FlowStatus>,
    /// FIDs of the Flow Summary that are not known, in their order, each once.
    pub flows_not_found: Vec<u16>,
}

/// IPv4 Address Acknowledgement option (RFC 5555 §3.2.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ipv4AddressAnswer {
    /// Status.
    pub status: Ipv4AddressStatus,
    /// Zero on failure.
    pub prefix_len: u8,
    /// The address; that of the request on failure.
    pub address: Ipv4Addr,
}

/// NAT Detection option (RFC 5555 §3.2.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NatDetection {
    /// F: UDP is used although there is no NAT.
    pub force_udp: bool,
    /// Interval in which the mobile node refreshes the mapping, in seconds.
    pub refresh_secs: u32,
}

impl NatDetection {
    /// From the outer source address, the address that the mobile node named itself, and whether
    /// data goes in UDP without NAT too.
    #[must_use]
    pub fn observed(
        source: Ipv4Addr,
        announced: Option<Ipv4Addr>,
        force_udp: bool,
        keepalive_secs: u32,
    ) -> Self {
        let behind_nat = announced.is_some_and(|announced| announced != source);
        Self {
            force_udp: force_udp && !behind_nat,
            refresh_secs: if behind_nat { keepalive_secs } else { limits::NAT_KEEPALIVE_NONE },
        }
    }
}

/// Why an operator's command was refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The kind.
    pub kind: RefusalKind,
    /// The field at fault, as the admin API names it.
    pub field: Cow<'static, str>,
    /// What is wrong and what would do.
    pub message: String,
}

/// Kind of refusal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefusalKind {
    /// It exists already.
    Exists,
    /// There is no such record.
    NotFound,
    /// The field's value is not possible.
    Invalid,
    /// Something else still needs it.
    InUse,
    /// A limit is reached.
    Full,
    /// Somebody else has changed it meanwhile.
    Changed,
}
