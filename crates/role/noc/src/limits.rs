//! What bounds this role's memory, connections and load on the others.

use std::time::Duration;

/// How often every store is asked: what happens there is on the screens this much later, at most, and
/// the time of one answer.
pub const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How often it is looked whether `token_file` has changed.
pub const TOKEN_LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// How often the processes' metrics are read.
pub const SCRAPE_INTERVAL: Duration = Duration::from_secs(5);

/// Samples of the processes' metrics that are kept: an hour of them.
pub const SAMPLES_MAX: usize = 720;

/// Causes of drops that are told apart; further ones are summed as `other`. The words come from closed
/// lists of about 60.
pub const CAUSES_MAX: usize = 96;

/// Causes of drops that have a line of their own in a plot.
pub const CAUSES_SHOWN: usize = 7;

/// How often a browser without scripts asks for the page again, in whole seconds.
pub const REFRESH_SECS: u32 = 5;

/// What is older than this is shown as out of date: the poll hangs.
pub const STALE_AFTER_MS: u64 = 10_000;

/// Who is behind and has made no step since so many polls stands still.
pub const STUCK_POLLS: u32 = 2;

/// A feed subscriber that is missing for so long has left; it changes replicas faster.
pub const DEPARTED_AFTER_MS: u64 = 6_000;

/// After this a subscriber that left is no longer missed: its host was taken out of service.
pub const DEPARTED_FORGOTTEN_MS: u64 = 3_600_000;

/// Names of subscribers that are remembered; each replica takes 1024 at most.
pub const DEPARTED_MAX: usize = 2_048;

/// A store, or another process, that does not answer in this time counts as one that cannot be reached.
pub const STORE_DEADLINE: Duration = Duration::from_secs(2);

/// Stores that are polled; a Raft group has 3 or 5 voters and a few learners.
pub const STORES_MAX: usize = 32;

/// Entries of `processes`.
pub const PROCESSES_MAX: usize = 256;

/// Processes behind one name, and processes in all.
pub const ADDRESSES_MAX: usize = 512;

/// Longest name of a process.
pub const PROCESS_NAME_CHARS_MAX: usize = 64;

/// Processes whose metrics are read at once.
pub const SCRAPES_AT_ONCE: usize = 16;

/// A page of metrics above this size is not read to its end; real ones have 30 KiB.
pub const METRICS_OCTETS_MAX: u64 = 1 << 20;

/// Rows on one page of subscribers or bindings.
pub const ROWS_PER_PAGE: u32 = 100;

/// Home prefixes that are shown; the rest are counted as not shown.
pub const HOME_PREFIXES_MAX: u32 = 1_000;

/// Alarms that are shown, which is all that a store keeps.
pub const ALARMS_MAX: u32 = 256;

/// Nodes that a store is asked for.
pub const NODES_MAX: u32 = 1_000;

/// For how long an alarm is shelved, in seconds: a shift.
pub const SHELVED_SECS: u32 = 8 * 3_600;

/// Events on the page of one subscriber.
pub const SUBSCRIBER_EVENTS_MAX: u32 = 20;

/// Home addresses that a forwarder is asked for when one subscriber's traffic is looked for.
pub const TRAFFIC_ROWS_MAX: u32 = 1_000;

/// Boxes of one layer in the drawing.
pub const BOXES_MAX: usize = 8;

/// Browsers' connections at once; each open screen has one that stays.
pub const CONNECTIONS_MAX: usize = 256;

/// Screens that are kept up to date at once; a further one is told to ask again later.
pub const STREAMS_MAX: usize = 128;

/// A stream that has nothing to say says so this often, so that a screen knows that it is not cut off.
pub const HEARTBEAT: Duration = Duration::from_secs(2);

/// Requests that ask a store for something, at once; above it the answer is 503.
pub const LOOK_UPS_MAX: usize = 16;

/// How often a page that asks a store is asked again while nothing has changed there.
pub const LOOK_UP_AGAIN_MS: u64 = 5_000;

/// Longest text of an error that is shown.
pub const ERROR_CHARS_MAX: usize = 200;

/// Longest query parameter that is passed on to a store.
pub const PARAMETER_OCTETS_MAX: usize = 512;

/// Longest body of a form or a report.
pub const BODY_OCTETS_MAX: usize = 8 * 1_024;

/// Shortest token of `login.token_file`.
pub const TOKEN_OCTETS_MIN: usize = 16;

/// Who is logged in at once; the oldest is logged out above it.
pub const SESSIONS_MAX: usize = 64;

/// A login ends after this.
pub const SESSION_MS: u64 = 8 * 3_600_000;

/// Wrong tokens that are taken in [`LOGIN_WINDOW_MS`]; then every login is refused until it is over.
pub const LOGIN_FAILURES_MAX: usize = 10;

/// See [`LOGIN_FAILURES_MAX`].
pub const LOGIN_WINDOW_MS: u64 = 60_000;

/// How long open requests may take when the process ends.
pub const DRAIN_MAX: Duration = Duration::from_secs(3);
