//! Bounds on everything that grows or that one packet can cause, and the reason of each.

/// Home addresses in one table. The store is planned for 10 million bindings in one group; three
/// times that still fits the machines a forwarder runs on, and a runaway feed does not eat the
/// host.
pub const HOME_ADDRESSES_MAX: usize = 32 << 20;

/// Bindings of one home address that are looked at. The store's own limit is far lower (RFC 5648
/// sets none); this one keeps the choice of a binding a bounded scan.
pub const BINDINGS_PER_HOME_MAX: usize = 256;

/// The smallest MTU that IPv6 allows (RFC 8200 §5): no Packet Too Big names less, and packets up to
/// this size are never refused, the outer packet is fragmented instead (RFC 2473 §7.1).
pub const IPV6_MTU_MIN: usize = 1280;

/// Octets that the outer IPv6 header adds.
pub const IPV6_OVERHEAD: usize = 40;

/// Octets that the outer IPv4 and UDP headers add.
pub const UDP_V4_OVERHEAD: usize = 28;

/// Care-of addresses whose path MTU was learned. Only paths narrower than the configured one take a
/// place; beyond the bound new ones are not remembered and each packet is refused by the path
/// itself.
pub const PATH_MTUS_MAX: usize = 4096;

/// How long a learned path MTU is believed (RFC 8201 §4: at least five minutes, ten recommended).
pub const PATH_MTU_AGE_MS: u64 = 10 * 60 * 1000;

/// Buckets over which the receivers of errors are spread by hash: a flood from one place then takes
/// the answers of one in so many others, not of all.
pub const ERROR_BUCKETS: usize = 1024;
