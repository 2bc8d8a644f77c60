//! Limits, each with its reason.

use std::time::Duration;

/// A handshake takes two round trips and about a millisecond; who needs longer keeps a place from others.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// Handshakes under way at once. A place costs some 40 KiB.
pub const HANDSHAKES_MAX: usize = 512;
/// Connections that have shaken hands and wait to be taken.
pub const CONNECTIONS_WAITING_MAX: usize = 64;
/// How often the files are looked at.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Octets of a file with certificates or a key: a bundle of some hundred authorities.
pub const FILE_OCTETS_MAX: u64 = 1 << 20;
/// Certificates in one file.
pub const CERTIFICATES_MAX: usize = 256;
/// Characters of a name in a certificate: as many as of a token's.
pub const NAME_LEN_MAX: usize = 64;
/// Between two lines of the log about refused handshakes for the same reason.
pub const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Between keep-alive probes of a connection that is dialled.
pub const TCP_KEEPALIVE: Duration = Duration::from_secs(10);
/// After accepting has failed, as when all file descriptors are used.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
