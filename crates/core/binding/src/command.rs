use alloc::string::String;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use homeport_wire::{Bid, BidCareOf, BidPriority, BuFlags, Lifetime, Sequence};

use crate::advertisement::PrefixesSolicited;
use crate::association::{Protected, SecurityAssociation};
use crate::care_of_test::CareOfVerified;
use crate::correspondents::Correspondence;
use crate::flow::FlowRequest;
use crate::notice::{RevocationAnswer, Revoke, Switch};
use crate::operations::{Audited, Operation};
use crate::prefix::Ipv6Prefix;
use crate::probe::Detected;
use crate::record::{Authentication, HomePrefix, Subscriber};
use crate::time::LogTime;

/// Names one Binding Update: a command that arrives twice has one effect and one answer.
pub type RequestId = [u8; 16];

/// One entry of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    /// The leader's time.
    pub at: LogTime,
    /// In the order in which they take effect.
    pub commands: Vec<Command>,
}

/// What can be asked of the binding cache.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// A Binding Update.
    Register(Registration),
    /// A Binding Update to the home agent as a correspondent node.
    Correspond(Correspondence),
    /// Creates or replaces a home prefix.
    PutHomePrefix {
        /// The record.
        home_prefix: HomePrefix,
        /// Refuse to replace one.
        must_not_exist: bool,
    },
    /// Changes a home prefix, and tells its mobile nodes where they must know (RFC 6275 §10.6.2).
    UpdateHomePrefix {
        /// The whole record.
        home_prefix: HomePrefix,
        /// Revision of the record that it was made from: refused when there is another by now.
        base_revision: u64,
    },
    /// Deletes a home prefix that has no bindings.
    DeleteHomePrefix(Ipv6Prefix),
    /// Creates or replaces a subscriber.
    PutSubscriber {
        /// The record.
        subscriber: Subscriber,
        /// Refuse to replace one.
        must_not_exist: bool,
    },
    /// Deletes a subscriber and its bindings.
    DeleteSubscriber(Ipv6Addr),
    /// Revokes bindings (RFC 5846).
    Revoke(Revoke),
    /// A Binding Revocation Acknowledgement.
    RevocationAnswer(RevocationAnswer),
    /// Asks a mobile node to leave for another home agent (RFC 5142).
    Switch(Switch),
    /// Tells the mobile nodes of a home prefix about it, whether or not it has changed.
    AdvertiseHomePrefix {
        /// The home prefix.
        prefix: Ipv6Prefix,
        /// Each within this time; `None` spreads them as RFC 6275 §10.6.2 wants it.
        within: Option<Duration>,
    },
    /// A Mobile Prefix Solicitation was answered.
    PrefixesSolicited(PrefixesSolicited),
    /// The test of a care-of address was answered.
    CareOfVerified(CareOfVerified),
    /// What Duplicate Address Detection on a home link found.
    DuplicateAddressDetection(Detected),
    /// A forwarder defends a home link from now on, or goes on doing so.
    DefendHomeLink {
        /// The home prefix of the link.
        prefix: Ipv6Prefix,
        /// The forwarder's name.
        forwarder: String,
    },
    /// A forwarder defends a home link no more: it ends, or its connection to the store has ended.
    ReleaseHomeLink {
        /// The home prefix of the link.
        prefix: Ipv6Prefix,
        /// The forwarder's name.
        forwarder: String,
    },
    /// What operators do and are told.
    Operate(Operation),
    /// A write of an operator, which is recorded.
    Audited(Audited),
    /// Creates or replaces a security association.
    PutSecurityAssociation {
        /// The record.
        association: SecurityAssociation,
        /// Refuse to replace one.
        must_not_exist: bool,
    },
    /// Deletes a security association.
    DeleteSecurityAssociation {
        /// Whose.
        home_address: Ipv6Addr,
        /// Which.
        inbound_spi: u32,
    },
    /// What an authentic packet under a security association asks for.
    Protected(Protected),
}

/// Version of the commands that this program knows; raised by one with each release that adds a kind, or a
/// field that decides something.
pub const ENTRIES_VERSION: u32 = 3;

/// Version of the entries from which on what is for operators is kept.
pub const OPERATIONS_SINCE: u32 = 2;

/// Version of the entries from which on there are security associations, and care-of addresses are verified.
pub const SECURITY_SINCE: u32 = 3;

impl Command {
    /// It is about this home address alone.
    pub(crate) fn is_of(&self, home_address: Ipv6Addr) -> bool {
        match self {
            Self::Register(registration) => registration.home_address == home_address,
            Self::RevocationAnswer(answer) => answer.home_address == home_address,
            Self::PrefixesSolicited(solicited) => solicited.home_address == home_address,
            Self::CareOfVerified(answer) => answer.home_address == home_address,
            _ => false,
        }
    }

    /// The first version of the log's entries with this command: a replica of an older one would pass it
    /// over, and come to another state. What only follows such a command needs no look of its own.
    #[must_use]
    pub fn since(&self) -> u32 {
        match self {
            Self::PutSecurityAssociation { .. }
            | Self::DeleteSecurityAssociation { .. }
            | Self::Protected(_)
            | Self::CareOfVerified(_) => SECURITY_SINCE,
            Self::PutHomePrefix { home_prefix, .. }
            | Self::UpdateHomePrefix { home_prefix, .. }
                if home_prefix.authentication == Authentication::Ipsec
                    || home_prefix.care_of_verification =>
            {
                SECURITY_SINCE
            }
            Self::Audited(Audited { command: Some(command), .. }) => {
                command.since().max(OPERATIONS_SINCE)
            }
            Self::Operate(_) | Self::Audited(_) => OPERATIONS_SINCE,
            Self::UpdateHomePrefix { .. }
            | Self::AdvertiseHomePrefix { .. }
            | Self::ReleaseHomeLink { .. }
            | Self::Correspond(_) => 1,
            Self::PutHomePrefix { home_prefix, .. } if home_prefix.delays_are_set() => 1,
            Self::PutHomePrefix { .. }
            | Self::Register(_)
            | Self::DeleteHomePrefix(_)
            | Self::PutSubscriber { .. }
            | Self::DeleteSubscriber(_)
            | Self::Revoke(_)
            | Self::RevocationAnswer(_)
            | Self::Switch(_)
            | Self::PrefixesSolicited(_)
            | Self::DuplicateAddressDetection(_)
            | Self::DefendHomeLink { .. } => 0,
        }
    }
}

/// Where a Binding Update came from on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WireSource {
    /// IPv6 source address.
    Ipv6(Ipv6Addr),
    /// Outer IPv4 source address and UDP source port (RFC 5555).
    Udp(Ipv4Addr, u16),
}

/// A Binding Update that passed every check which needs no state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registration {
    /// Names this Binding Update.
    pub request_id: RequestId,
    /// Home Address option, else the IPv6 source.
    pub home_address: Ipv6Addr,
    /// IPv6 destination.
    pub home_agent: Ipv6Addr,
    /// Where it came from.
    pub source: WireSource,
    /// Sequence number.
    pub sequence: Sequence,
    /// Lifetime asked for.
    pub lifetime: Lifetime,
    /// Flags.
    pub flags: BuFlags,
    /// Alternate Care-of Address option.
    pub alternate_care_of: Option<Ipv6Addr>,
    /// IPv4 Care-of Address option (never together with BID options).
    pub ipv4_care_of: Option<Ipv4Addr>,
    /// BID options in their order.
    pub bids: Vec<BidRequest>,
    /// MH-LLA option.
    pub link_layer_address: Vec<u8>,
    /// MESG-ID option: an NTP timestamp.
    pub message_id: Option<u64>,
    /// Mobile Network Prefix options (RFC 3963 §4.3) in their order.
    pub mobile_networks: Vec<MobileNetworkRequest>,
    /// IPv4 Home Address option (RFC 5555 §3.1.1).
    pub ipv4_home_address: Option<Ipv4HomeAddressRequest>,
    /// Flow Identification options (RFC 6089 §4.2) in their order.
    pub flows: Vec<FlowRequest>,
    /// FIDs of the Flow Summary options (RFC 6089 §4.3) in their order.
    pub flow_summary: Vec<u16>,
    /// A Home Address option is wanted and not there (RFC 6275 §10.3.1). Only the record knows
    /// whether that matters: a stale Binding Update is answered all the same (§9.5.1).
    pub home_address_option_missing: bool,
    /// Revisions of home prefix and subscriber that the Binding Update was checked against.
    pub policy_revisions: (u64, u64),
}

/// One BID option of a Binding Update.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BidRequest {
    /// `None` when the option was too short to hold one.
    pub bid: Option<Bid>,
    /// H flag: a home binding (RFC 5648 §5.6).
    pub home: bool,
    /// BID-PRI (RFC 6089).
    pub priority: BidPriority,
    /// Care-of address field.
    pub care_of: BidCareOf,
    /// The option's length was none of 4, 8 and 20.
    pub malformed: bool,
}

/// One Mobile Network Prefix option of a Binding Update, not judged yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MobileNetworkRequest {
    /// Prefix, host bits as they were.
    pub prefix: Ipv6Addr,
    /// Prefix length as it was.
    pub prefix_len: u8,
}

/// The IPv4 Home Address option of a Binding Update, not judged yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ipv4HomeAddressRequest {
    /// 0.0.0.0 to have one assigned.
    pub address: Ipv4Addr,
    /// Prefix length, six bits.
    pub prefix_len: u8,
    /// P: a prefix is wanted.
    pub prefix_wanted: bool,
}
