//! Bounds on what the machine keeps and sends, and the reason of each.

/// Care-of addresses of one node. RFC 5648 sets no limit; a host with more interfaces than this is
/// not planned for, and one Mobility Header (2048 octets) holds 80 registering options at the most.
pub const BINDINGS_MAX: usize = 64;

/// Binding Identifier options that the node puts into one Binding Update: with 24 octets each and
/// an authentication option behind them the packet still fits into 1280 octets, so it is never
/// fragmented.
pub const BULK_BINDINGS_MAX: usize = 40;

/// Binding Updates remembered to match their acknowledgements. At ten updates a second it covers
/// the 32 seconds after which a retransmission has replaced the oldest.
pub const SENT_UPDATES_MAX: usize = 320;

/// Commands that wait for an acknowledgement. The caller sees `Outcome::Busy` for one more.
pub const REQUESTS_MAX: usize = 256;

/// Times that an exchange is repeated at once because an acknowledgement asked for another form
/// (other sequence number, overwrite, with care-of address). After these the retransmission timer
/// decides, so that a confused home agent cannot keep the node busy.
pub const INSTANT_RESENDS_MAX: u8 = 4;

/// Flow bindings of one node. Their names fit into one Flow Summary option with much to spare.
pub const FLOWS_MAX: usize = 64;

/// Bindings that one flow goes to: more than a few copies of each packet help nobody.
pub const FLOW_BIDS_MAX: usize = 8;

/// Flow bindings told in full in one update. With 104 octets each at the most, beside forty
/// bindings' names, the Mobility Header keeps below its 2048 octets. More follow in the next.
pub const FLOWS_IN_UPDATE_MAX: usize = 4;

/// Home agents taken from one Home Agent Switch message.
pub const SWITCH_ADDRESSES_MAX: usize = 16;

/// Times that an update is sent to a home agent that another one has named, before the next is
/// tried: 10 s of silence.
pub const TRIAL_ATTEMPTS_MAX: u8 = 3;

/// DHAAD_RETRIES (RFC 6275 §12).
pub const DISCOVERIES_MAX: u8 = 4;

/// INITIAL_DHAAD_TIMEOUT (RFC 6275 §12).
pub const INITIAL_DISCOVERY_TIMEOUT_MS: u64 = 3_000;

/// INITIAL_SOLICIT_TIMER (RFC 6275 §12).
pub const INITIAL_SOLICIT_TIMEOUT_MS: u64 = 3_000;

/// Mobile Prefix Solicitations sent before the node gives up: over a minute and a half. RFC 6275
/// §11.4.2 sets no limit, but the next acceptance with status 1 asks again.
pub const SOLICITATIONS_MAX: u8 = 5;

/// Prefixes taken from one Mobile Prefix Advertisement.
pub const HOME_PREFIXES_MAX: usize = 32;

/// INITIAL_BINDACK_TIMEOUT (RFC 6275 §12).
pub const INITIAL_TIMEOUT_MS: u64 = 1_000;

/// InitialBindackTimeoutFirstReg (RFC 6275 §13): a first registration waits for Duplicate Address
/// Detection on the home link.
pub const INITIAL_TIMEOUT_FIRST_MS: u64 = 1_500;

/// MAX_BINDACK_TIMEOUT (RFC 6275 §12).
pub const TIMEOUT_MS_MAX: u64 = 32_000;

/// MAX_UPDATE_RATE (RFC 6275 §12), in messages a second to one peer.
pub const UPDATES_PER_SECOND_MAX: u16 = 3;

/// First pause after a refusal that may pass (128, 129, 130). Doubles with each further refusal.
pub const BACK_OFF_INITIAL_MS: u64 = 10_000;

/// Longest pause after refusals.
pub const BACK_OFF_MS_MAX: u64 = 600_000;

/// Octets of the MN-HA authenticator (RFC 4285 §5.1).
pub const AUTHENTICATOR_OCTETS: usize = 12;
