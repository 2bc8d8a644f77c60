//! Bounds on everything that grows or that one packet can cause, and the reason of each.

use crate::rate::Rate;

/// Home addresses in one table. The store is planned for 10 million bindings in one group; three
/// times that still fits the machines a forwarder runs on, and a runaway feed does not eat the
/// host.
pub const HOME_ADDRESSES_MAX: usize = 32 << 20;

/// Bindings of one home address that are looked at. The store's own limit is far lower (RFC 5648
/// sets none); this one keeps the choice of a binding a bounded scan.
pub const BINDINGS_PER_HOME_MAX: usize = 256;

/// Mobile networks of one home address and address family. A mobile router has a handful; a Binding
/// Update that fills its Mobility Header names 101.
pub const NETWORKS_PER_HOME_MAX: usize = 128;

/// Flow bindings of one home address: each packet for it is compared with them one by one.
pub const FLOWS_PER_HOME_MAX: usize = 128;

/// Tunnels in one another that are put on or taken off here for one packet: a mobile node behind a
/// mobile router behind a mobile router. RFC 2473 §6.6 has the same limit as its default.
pub const TUNNELS_NESTED_MAX: u8 = 4;

/// A refresh is asked for in this part of a lifetime, the last tenth: RFC 6275 §9.5.5 wants one near
/// the end and names no time.
pub const REFRESH_WINDOW_DIVISOR: u64 = 10;

/// But not later than so long before the end: a short lifetime leaves time for retransmissions too.
pub const REFRESH_WINDOW_MS_MIN: u64 = 30_000;

/// Requests in one lifetime of a binding, unless configured.
pub const REFRESH_REQUESTS_MAX: u8 = 3;

/// Identifiers of bindings that have a weight where flows are spread: a mobile node has a handful.
pub const SPREAD_WEIGHTS_MAX: usize = 8;

/// The largest weight: each packet draws so many times for the binding.
pub const SPREAD_WEIGHT_MAX: u8 = 16;

/// Packets in fragments whose flow is remembered until all fragments are there. Beyond it later
/// fragments are taken as packets without ports.
pub const FRAGMENT_FLOWS_MAX: usize = 4096;

/// The fragments of a packet arrive within this time or not at all (RFC 8200 §4.5).
pub const FRAGMENTS_AGE_MS: u64 = 60_000;

/// Packets that are being put together at once. Fragments come to the home agent only in tunnels
/// over narrow paths and in large Binding Updates.
pub const REASSEMBLIES_MAX: usize = 1024;

/// Octets of all fragments that wait for others.
pub const REASSEMBLY_OCTETS_MAX: usize = 16 << 20;

/// Fragments of one packet: 65,535 octets in pieces of the smallest MTU of IPv6 are 54; paths may
/// cut them up further for IPv4.
pub const FRAGMENTS_PER_PACKET_MAX: usize = 128;

/// The smallest MTU that IPv6 allows (RFC 8200 §5): no Packet Too Big names less, and packets up to
/// this size are never refused, the outer packet is fragmented instead (RFC 2473 §7.1).
pub const IPV6_MTU_MIN: usize = 1280;

/// Octets that the outer IPv6 header adds.
pub const IPV6_OVERHEAD: usize = 40;

/// Octets of a Destination Options header with the Tunnel Encapsulation Limit (RFC 2473 §5.1).
pub const ENCAPSULATION_LIMIT_LEN: usize = 8;

/// Extension headers of a packet that are looked behind for a Tunnel Encapsulation Limit. What is
/// further in is not found.
pub const LIMIT_HEADERS_MAX: usize = 8;

/// Octets that the outer IPv4 header adds.
pub const V4_OVERHEAD: usize = 20;

/// The smallest MTU towards which an IPv4 packet is refused: RFC 791 demands that each network
/// carries 68 octets.
pub const IPV4_MTU_MIN: usize = 68;

/// Octets that the outer IPv4 and UDP headers add.
pub const UDP_V4_OVERHEAD: usize = 28;

/// Care-of addresses whose path MTU was learned. Only paths narrower than the configured one take a
/// place; beyond the bound new ones are not remembered and each packet is refused by the path
/// itself.
pub const PATH_MTUS_MAX: usize = 4096;

/// How long a learned path MTU is believed (RFC 8201 §4: at least five minutes, ten recommended).
pub const PATH_MTU_AGE_MS: u64 = 10 * 60 * 1000;

/// Answers to tests of care-of addresses that are handed on for one home address: as many at once as it can
/// have care-of addresses tested, and then few.
pub const CARE_OF_ANSWERS_PER_HOME: Rate = Rate { per_sec: 4, burst: 64 };

/// The same for all home addresses together: as many Binding Updates could come.
pub const CARE_OF_ANSWERS_OVERALL: Rate = Rate { per_sec: 10_000, burst: 10_000 };

/// Buckets over which the receivers of errors are spread by hash: a flood from one place then takes
/// the answers of one in so many others, not of all.
pub const ERROR_BUCKETS: usize = 1024;

/// Buckets over which home addresses are spread whose signalling comes from where they are bound.
pub const SIGNALLING_HOME_BUCKETS: usize = 4096;

/// Mobile nodes that home agents send to as correspondent nodes: what the store takes at most.
pub const CORRESPONDENTS_MAX: usize = 65_536;

/// Care-of addresses that [`crate::Fast`] names: what one cache line has room for.
pub const FAST_CARE_OFS_MAX: usize = 2;

/// Home addresses remembered for [`crate::Forwarding::take_moved`], which is asked after each packet;
/// one packet moves as many as there are tunnels in it.
pub const MOVED_MAX: usize = 4096;
