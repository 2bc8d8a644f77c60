//! Every bound of the binding cache and the timers that the RFCs give, with their reasons.

use core::time::Duration;

/// Bindings that one Raft group is planned for; one more is refused with status 130.
pub const BINDINGS_MAX: usize = 10_000_000;
/// Home prefixes: configuration, looked through on each registration by longest match.
pub const HOME_PREFIXES_MAX: usize = 1024;
/// Subscriber records.
pub const SUBSCRIBERS_MAX: usize = 10_000_000;
/// BID options read from one Binding Update; the Mobility Header's 2 KiB hold no more than 341.
pub const BID_OPTIONS_MAX: usize = 341;
/// The largest value that an operator can set for bindings per home address.
pub const BINDINGS_PER_HOME_ADDRESS_MAX: u8 = 64;
/// Bindings per home address when nothing else is set.
pub const BINDINGS_PER_HOME_ADDRESS_DEFAULT: u8 = 8;
/// Longest lifetime that is granted when nothing else is set, in seconds.
pub const LIFETIME_SECS_DEFAULT: u32 = 3600;
/// Home addresses whose deadlines are worked off in one batch: a storm of expiries must not hold up
/// Binding Updates; whoever is registered meanwhile is looked at anyway.
pub const EXPIRIES_PER_BATCH_MAX: usize = 4096;
/// Verdicts remembered per home address, so that a command whose outcome was unknown and which is
/// sent again gets its first answer: front-ends have few in flight per home address.
pub const REMEMBERED_PER_HOME_ADDRESS: usize = 4;
/// Octets of a Network Access Identifier (RFC 7542 §2.2: 253 with the realm).
pub const NAI_LEN_MAX: usize = 253;
/// Security associations of one home address: two kinds, each with the one that it replaces for a while, and as
/// many again for an IKE daemon that has lost its memory.
pub const ASSOCIATIONS_PER_HOME_ADDRESS_MAX: usize = 8;
/// Octets of the name of an IKE agent, and of its address.
pub const IKE_AGENT_LEN_MAX: usize = 256;
/// Octets of a link-layer address (MH-LLA, RFC 5568 §6.4.4).
pub const LINK_LAYER_ADDRESS_LEN_MAX: usize = 20;

/// MAX_DELETE_BCE_TIMEOUT, RFC 6275 §12: how long the sequence number outlives the last binding.
pub const MAX_DELETE_BCE_TIMEOUT: Duration = Duration::from_secs(10);
/// Clock difference that MESG-ID may show, RFC 4285 §5.3 (default 7 s, must be over 3 s).
pub const MESSAGE_ID_WINDOW_SECS: u64 = 7;
/// InitMINDelayBRIs, RFC 5846 §11: after this a Binding Revocation Indication is sent again.
pub const INIT_MIN_DELAY_BRIS: Duration = Duration::from_secs(1);
/// MAX_BRACK_TIMEOUT, RFC 5846 §11: the doubled delay stays within.
pub const MAX_BRACK_TIMEOUT: Duration = Duration::from_secs(2);
/// BRIMaxRetriesNumber, RFC 5846 §11: how often an indication is sent again.
pub const BRI_MAX_RETRIES_NUMBER: u8 = 1;
/// INITIAL-HA-SWITCH-TIMEOUT, RFC 5142 §8: after this a Home Agent Switch is sent again.
pub const INITIAL_HA_SWITCH_TIMEOUT: Duration = Duration::from_secs(5);
/// MAX-HA-SWITCH-TIMEOUT, RFC 5142 §8: the doubled delay stays within.
pub const MAX_HA_SWITCH_TIMEOUT: Duration = Duration::from_secs(20);
/// Between two tests of one care-of address: a victim gets no more than one small packet in that time.
pub const CARE_OF_TEST_INTERVAL: Duration = Duration::from_secs(60);
/// Care-of addresses of one home address that are tested in that time: as many as it can have bindings.
pub const CARE_OF_TESTS_PER_HOME_ADDRESS_MAX: usize = 64;
/// PREFIX_ADV_TIMEOUT, RFC 6275 §12: after this a Mobile Prefix Advertisement is sent again.
pub const PREFIX_ADV_TIMEOUT: Duration = Duration::from_secs(3);
/// PREFIX_ADV_RETRIES, RFC 6275 §12: how often it is sent again.
pub const PREFIX_ADV_RETRIES: u8 = 3;
/// MinMobPfxAdvInterval, RFC 6275 §13, in seconds.
pub const PREFIX_ADVERTISEMENT_DELAY_MIN_SECS: u32 = 600;
/// MaxMobPfxAdvInterval, RFC 6275 §13, in seconds.
pub const PREFIX_ADVERTISEMENT_DELAY_MAX_SECS: u32 = 86_400;
/// Home addresses that one batch looks at to tell them of their home prefix: Binding Updates in the same
/// batch wait for less than a millisecond, ten million home addresses take some minutes under load.
pub const ADVERTISEMENTS_PLANNED_PER_BATCH_MAX: usize = 512;
/// However little time is left, a Home Agent Switch is not repeated faster than RFC 5142 §8 allows.
pub const HA_SWITCH_TIMEOUT_MIN: Duration = Duration::from_secs(1);
/// Home agents that one Home Agent Switch names: each mobile node's record keeps them meanwhile.
pub const SWITCH_ADDRESSES_MAX: usize = 16;
/// NATKATIMEOUT, RFC 5555 §6: refresh interval given to a mobile node behind a NAT.
pub const NAT_KEEPALIVE_SECS: u32 = 110;
/// NAT Detection refresh time when there is no NAT (RFC 5555 §3.2.2).
pub const NAT_KEEPALIVE_NONE: u32 = u32::MAX;
/// The largest value that an operator can set for flow bindings per home address: forwarders look
/// through them packet by packet.
pub const FLOW_BINDINGS_PER_HOME_ADDRESS_MAX: u8 = 64;
/// Flow bindings per home address that an operator gets without asking for another number.
pub const FLOW_BINDINGS_PER_HOME_ADDRESS_DEFAULT: u8 = 16;
/// BIDs of one flow binding: each packet of the flow is copied to every one.
pub const BIDS_PER_FLOW_MAX: usize = 8;
/// Flow Identification options read from one Binding Update; the Mobility Header's 2 KiB hold no
/// more.
pub const FLOW_OPTIONS_MAX: usize = 204;
/// FIDs of Flow Summary options read from one Binding Update; the header's 2 KiB hold no more.
pub const FLOW_SUMMARY_MAX: usize = 1024;
/// Octets of a traffic selector: one option holds no more.
pub const SELECTOR_LEN_MAX: usize = 255;
/// Flows that a Binding Update does not name go (RFC 6089 §5.3.5, taken literally: also when it
/// carries no flow option at all).
pub const FLOWS_DELETED_BY_OMISSION: bool = true;
/// Mobile network prefixes of one subscriber.
pub const MOBILE_NETWORKS_PER_SUBSCRIBER_MAX: usize = 64;
/// Mobile Network Prefix options read from one Binding Update; the header's 2 KiB hold no more.
pub const MOBILE_NETWORK_OPTIONS_MAX: usize = 101;
/// How long a forwarder defends a home link without renewing that.
pub const HOME_LINK_LEASE: Duration = Duration::from_millis(1500);
/// Octets of the name that a forwarder defends a home link under.
pub const FORWARDER_NAME_LEN_MAX: usize = 64;
/// Shortest pool of IPv4 home addresses: what a home prefix needs, and no more state than bindings.
pub const IPV4_POOL_LEN_MIN: u8 = 8;
/// Mobile nodes that the home agents know as correspondent nodes; one more is refused with status 130.
/// Anybody with an address can become one, so they must not take much of what home registrations need.
pub const CORRESPONDENTS_MAX: usize = 65_536;
/// Home agents of one cluster that one mobile node speaks to as correspondent nodes.
pub const HOME_AGENTS_PER_CORRESPONDENT_MAX: usize = 4;
/// How long the sequence number of a correspondent outlives its bindings at most: MAX_NONCE_LIFETIME
/// (RFC 6275 §12) and what the clocks of front-ends may differ by.
pub const CORRESPONDENT_GUARD_MAX: Duration = Duration::from_secs(300);
/// Alarms that are raised, or have ended and were not acknowledged: more than an operator can look at.
pub const ALARMS_MAX: usize = 256;
/// Lines of the history of alarms, for a look back after a night.
pub const ALARM_CHANGES_MAX: usize = 1024;
/// Octets of a resource's name, a kind of alarm, or of who did something.
pub const ALARM_NAME_LEN_MAX: usize = 256;
/// Octets of what is the matter, or of a comment.
pub const ALARM_TEXT_LEN_MAX: usize = 512;
/// Entries of the record of what operators write; who wants more takes them away by `homeportctl audit list`.
pub const AUDIT_RECORDS_MAX: usize = 4096;
/// Octets of a name in the record.
pub const AUDIT_NAME_LEN_MAX: usize = 256;
/// Octets of what was there before, or after.
pub const AUDIT_SUMMARY_LEN_MAX: usize = 1024;
/// Nodes that are drained at once.
pub const DRAINED_NODES_MAX: usize = 256;
/// Octets of the name of a node.
pub const NODE_NAME_LEN_MAX: usize = 256;
