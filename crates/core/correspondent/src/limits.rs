//! Bounds on what the machine keeps and sends, and the reason of each.

/// A nonce is used for new tokens this long. RFC 6275 §5.2.7 derives it: the difference between
/// the two lifetimes below, in milliseconds.
pub const NONCE_PERIOD_MS: u64 = 30_000;

/// MAX_NONCE_LIFETIME (RFC 6275 §12): no token of a nonce is believed so long after its first use,
/// in milliseconds. With the period above every token lives MAX_TOKEN_LIFETIME, 210 s, at least.
pub const NONCE_LIFETIME_MS: u64 = 240_000;

/// Nonces that can be alive at once: lifetime over period (RFC 6275 §5.2.7).
pub const NONCES_MAX: usize = 8;

/// MAX_RR_BINDING_LIFETIME (RFC 6275 §12), in seconds.
pub const BINDING_LIFETIME_SECS_MAX: u32 = 420;

/// Home addresses in the cache when nothing else is set, those included whose bindings are gone
/// but whose sequence number still has to be known. One more is refused with status 130.
pub const HOME_ADDRESSES_DEFAULT: usize = 4096;

/// Bindings of one home address when nothing else is set; one more is refused with status 130.
pub const BINDINGS_PER_HOME_ADDRESS_DEFAULT: usize = 8;

/// Nonce pairs of deleted bindings and live bindings together, of one home address. A deletion must
/// always find room for its pair, so a new binding is refused with status 130 instead.
pub const SPENT_PAIRS_MAX: usize = 32;

/// A Binding Refresh Request is due when a tenth of the granted lifetime is left, but not later
/// than this before the end, in milliseconds...
pub const REFRESH_AHEAD_MS_MIN: u64 = 30_000;

/// ...and never before half of the lifetime has passed: the divisor.
pub const REFRESH_AHEAD_DIVISOR: u64 = 2;

/// Between Binding Refresh Requests for one binding, in milliseconds. RFC 6275 §9.5.5 asks for a
/// limit of the rate and names none.
pub const REFRESH_INTERVAL_MS: u64 = 5_000;

/// Binding Refresh Requests for one binding between two Binding Updates.
pub const REFRESH_REQUESTS_MAX: u8 = 3;

/// Binding Errors, ICMPv6 errors and refusals without authenticator in a second, to everybody
/// together, when nothing else is set (RFC 4443 §2.4 (f)).
pub const ERRORS_PER_SECOND_DEFAULT: u32 = 100;

/// Destination Unreachable messages about a care-of address before its binding is given up, and the
/// time that they must span: RFC 6275 §9.3.4 speaks of persistent ones only.
pub const UNREACHABLES_MAX: u8 = 4;

/// See [`UNREACHABLES_MAX`], in milliseconds.
pub const UNREACHABLE_SPAN_MS: u64 = 10_000;

/// Home addresses whose timers are worked off at one call, so that a storm of ends does not hold up
/// packets. The deadline stays in the past until all are done.
pub const EXPIRIES_PER_CALL_MAX: usize = 256;

/// Octets of the authenticator (RFC 6275 §6.2.7).
pub const AUTHENTICATOR_OCTETS: usize = 12;
