//! Constants of the protocols, and bounds on everything that grows.

/// Unsolicited Neighbour Advertisements for an address that is newly defended: MAX_NEIGHBOR_ADVERTISEMENT
/// (RFC 4861 §10).
pub const NEIGHBOUR_ADVERTISEMENTS: u8 = 3;

/// RetransTimer (RFC 4861 §10), milliseconds: between repetitions, and what Duplicate Address Detection
/// waits for an objection (RFC 4862 §5.4).
pub const RETRANSMISSION_MS: u64 = 1000;

/// MAX_MULTICAST_SOLICIT (RFC 4861 §10): solicitations for a neighbour that has to be resolved.
pub const SOLICITATIONS: u8 = 3;

/// MAX_INITIAL_RTR_ADVERTISEMENTS (RFC 4861 §10).
pub const INITIAL_ADVERTISEMENTS: u8 = 3;

/// MAX_INITIAL_RTR_ADVERT_INTERVAL (RFC 4861 §10), milliseconds.
pub const INITIAL_ADVERTISEMENT_INTERVAL_MS: u64 = 16_000;

/// How long who is about to take the link over listens whether another node still answers for the home
/// agent's address, milliseconds: many times what an answer needs on one link.
pub const TAKE_OVER_LISTEN_MS: u64 = 100;

/// After so long the link is taken over whoever answers, milliseconds: no lease that was given to another
/// node before lasts longer.
pub const TAKE_OVER_MAX_MS: u64 = 1500;

/// MAX_RTR_SOLICITATIONS (RFC 4861 §10): as a host does, for the Home Agents List.
pub const ROUTER_SOLICITATIONS: u8 = 3;

/// RTR_SOLICITATION_INTERVAL (RFC 4861 §10), milliseconds.
pub const ROUTER_SOLICITATION_INTERVAL_MS: u64 = 4000;

/// MAX_RTR_SOLICITATION_DELAY (RFC 4861 §10), milliseconds: nodes that start together do not ask together.
pub const ROUTER_SOLICITATION_DELAY_MAX_MS: u64 = 1000;

/// Home addresses probed at the same time; further ones are refused, the mobile node tries again.
pub const PROBES_MAX: usize = 4096;

/// Other home agents of the link: the reply to a discovery holds 77 addresses, and what is beyond this
/// bound has the lowest preference.
pub const HOME_AGENTS_MAX: usize = 256;

/// Global addresses of one home agent: more in one Router Advertisement are not looked at.
pub const ADDRESSES_PER_HOME_AGENT_MAX: usize = 16;

/// Neighbours whose link-layer address is known; the one heard longest ago makes room.
pub const NEIGHBOURS_MAX: usize = 16_384;

/// How long a neighbour is believed without being heard, milliseconds.
pub const NEIGHBOUR_AGE_MS: u64 = 30_000;

/// Packets that wait for the link-layer address of their destination, all neighbours together.
pub const WAITING_PACKETS_MAX: usize = 1024;

/// Least time between two errors sent on the link, milliseconds (RFC 4443 §2.4 (f)).
pub const ERROR_INTERVAL_MS: u64 = 10;
