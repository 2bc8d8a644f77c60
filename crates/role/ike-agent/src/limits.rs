//! Every bound of the agent, with its reason.

use std::time::Duration;

/// Entries of `stores`; a Raft group has 3 or 5 voters and a few learners.
pub const STORES_MAX: usize = 64;
/// Octets of its name, and of its address, in the store.
pub const NAME_OCTETS_MAX: usize = 256;
/// Connecting to one replica may take that long, then the next is tried.
pub const CONNECT_TIMEOUT: Duration = Duration::from_millis(250);
/// Between two comparisons with what the store has: an operator may have deleted what the agent brought.
pub const COMPARE_INTERVAL: Duration = Duration::from_secs(60);
/// The same after an attempt that has failed.
pub const COMPARE_RETRY: Duration = Duration::from_secs(10);
/// Commands under way at once.
pub const COMMANDS_MAX: usize = 256;
/// Home addresses of one page of the store's list.
pub const PAGE: u32 = 1000;
/// Between two looks at kernel and daemon when nothing is heard of: what was missed is found all the same.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Between two looks while much changes: a rekey is four changes, and a daemon that starts thousands.
pub const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// After a look that has failed.
pub const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// A whole list of the daemon's associations.
pub const LIST_TIMEOUT: Duration = Duration::from_secs(10);
/// One question about one association.
pub const QUESTION_TIMEOUT: Duration = Duration::from_millis(500);
/// Questions to the daemon at once: each has a connection, and a thread of the daemon's.
pub const QUESTIONS_MAX: usize = 8;
/// Associations that are learned; those beyond are passed over and counted.
pub const ASSOCIATIONS_MAX: usize = 65_536;
/// How long the daemon may take to move an endpoint; then it is not confirmed.
pub const CONFIRM_MAX: Duration = Duration::from_secs(1);
/// Between two looks whether it has.
pub const CONFIRM_PAUSE: Duration = Duration::from_millis(5);
/// Before an association is closed: the acknowledgement, and one more when it was lost, still go under it.
pub const CLOSE_DELAY: Duration = Duration::from_secs(3);
/// The peer is not where it was: its answer is not waited for longer than that.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Closings that wait; those beyond are refused, and the daemon's own dead peer detection does it.
pub const CLOSINGS_MAX: usize = 1024;
/// Calls of one front-end at once.
pub const CALLS_PER_CONNECTION_MAX: usize = 64;
/// One write to a store.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(2);
/// Before the next replica is tried.
pub const WRITE_PAUSE: Duration = Duration::from_millis(50);
/// Keepalive of HTTP/2: a vanished peer is noticed.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// After this a peer that does not answer is gone.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a shutdown waits for what is under way.
pub const DRAIN_MAX: Duration = Duration::from_millis(1200);
/// Files and connections of an agent.
pub const OPEN_FILES: u64 = 256;
