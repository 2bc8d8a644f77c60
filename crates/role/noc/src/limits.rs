//! What bounds this role's memory, connections and load on the stores.

use std::time::Duration;

/// How often every store is asked.
pub const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// How often a browser asks for the page again, in whole seconds.
pub const REFRESH_SECS: u32 = 5;

/// What is older than this is shown as out of date: the poll hangs.
pub const STALE_AFTER_MS: u64 = 10_000;

/// A feed subscriber that is missing for so long has left; it changes replicas faster.
pub const DEPARTED_AFTER_MS: u64 = 6_000;

/// After this a subscriber that left is no longer missed: its host was taken out of service.
pub const DEPARTED_FORGOTTEN_MS: u64 = 3_600_000;

/// Names of subscribers that are remembered; each replica takes 1024 at most.
pub const DEPARTED_MAX: usize = 2_048;

/// A store that does not answer in this time counts as one that cannot be reached.
pub const STORE_DEADLINE: Duration = Duration::from_secs(2);

/// Stores that are polled; a Raft group has 3 or 5 voters and a few learners.
pub const STORES_MAX: usize = 32;

/// Home addresses on one page.
pub const HOMES_PER_PAGE: u32 = 100;

/// Home prefixes that are shown; the rest are counted as not shown.
pub const HOME_PREFIXES_MAX: u32 = 1_000;

/// Browsers' connections at once.
pub const CONNECTIONS_MAX: usize = 256;

/// Requests that ask a store for something, at once; above it the answer is 503.
pub const LOOK_UPS_MAX: usize = 16;

/// Longest text of an error that is shown.
pub const ERROR_CHARS_MAX: usize = 200;

/// Longest query parameter that is passed on to a store.
pub const PARAMETER_OCTETS_MAX: usize = 512;

/// How long open requests may take when the process ends.
pub const DRAIN_MAX: Duration = Duration::from_secs(3);
