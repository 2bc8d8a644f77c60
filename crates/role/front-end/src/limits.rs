//! Every bound of the front-end, with its reason.

use std::time::Duration;

/// Updates of one forwarder that are under way; the newest beyond is dropped and counted, and the
/// mobile node sends it again.
pub const UPDATES_PER_FORWARDER_MAX: usize = 2048;
/// Answers that wait for one forwarder's stream.
pub const ANSWERS_WAITING_MAX: usize = 256;
/// Commands that wait for the store link.
pub const COMMANDS_WAITING_MAX: usize = 8192;
/// Commands sent to the store without a verdict yet.
pub const COMMANDS_PENDING_MAX: usize = 16_384;
/// Policies remembered: a cache that may be lost at any time.
pub const POLICIES_MAX: usize = 65_536;
/// A policy that refuses is looked up again first, but not twice within this: a changed key must
/// work soon, and forged packets must not become a storm of look-ups.
pub const REFUSAL_LOOK_UP_INTERVAL: Duration = Duration::from_millis(500);
/// Times that one Binding Update is judged again because its policy had changed.
pub const JUDGEMENTS_MAX: usize = 3;
/// Between two questions for the outcome of Duplicate Address Detection.
pub const DETECTION_POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Duplicate Address Detection takes one second, and the defender of the home link may change
/// meanwhile; then nothing is answered, and the mobile node's next Binding Update finds the result.
pub const DETECTION_MAX: Duration = Duration::from_secs(4);
/// Errors (ICMPv6, Binding Error) sent per second.
pub const ERRORS_PER_SECOND_MAX: u32 = 100;
/// Answers per second to who looks for home agents: anybody may ask.
pub const DISCOVERIES_PER_SECOND_MAX: u32 = 100;
/// Home Tests and Care-of Tests per second, as a correspondent node: anybody may ask.
pub const ADDRESS_TESTS_PER_SECOND_MAX: u32 = 1000;
/// Notices of the store that wait to be made into packets: a later one is dropped, counted, and comes
/// again.
pub const NOTICES_WAITING_MAX: usize = 1024;
/// Connecting to one replica may take that long, then the next is tried.
pub const CONNECT_TIMEOUT: Duration = Duration::from_millis(250);
/// A replica that has not answered a pending command for so long is left for the next one.
pub const STALL_MAX: Duration = Duration::from_millis(400);
/// Between two attempts to find the leader.
pub const RETRY_PAUSE: Duration = Duration::from_millis(15);
/// Look-ups under way at one replica; further ones wait their turn.
pub const LOOK_UPS_PER_REPLICA_MAX: usize = 256;
/// One look-up at one replica.
pub const LOOK_UP_TIMEOUT: Duration = Duration::from_millis(250);
/// Agents beside IKE daemons to which there is a connection.
pub const AGENTS_MAX: usize = 256;
/// Requests under way to close IKE associations; those beyond are left to the daemons, which notice by themselves
/// when a peer is gone.
pub const ENDPOINTS_CLOSING_MAX: usize = 256;
/// Keepalive of HTTP/2: a vanished peer is noticed.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// After this a peer that does not answer is gone.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long packets are still taken of a forwarder that was told that this process is being ended.
pub const LEAVING: Duration = Duration::from_millis(300);
/// How long a shutdown waits for what is under way.
pub const DRAIN_MAX: Duration = Duration::from_millis(1200);
/// Files and connections of a front-end: a stream of each forwarder above all.
pub const OPEN_FILES: u64 = 1024;
/// How often the store is told how far a drain is, when that has changed.
pub const DRAIN_REPORT_INTERVAL: Duration = Duration::from_millis(250);
/// A front-end that forwarders were told to leave, and to which nothing has come for so long, is drained.
pub const DRAINED_AFTER: Duration = Duration::from_secs(1);
/// Entries of `stores`; a Raft group has 3 or 5 voters and a few learners.
pub const STORES_MAX: usize = 64;
