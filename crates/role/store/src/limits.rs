//! Every bound of the store role, with its reason.

use std::num::NonZeroU32;
use std::time::Duration;

/// Commands that wait for the proposer; one more is answered "overloaded", and the mobile node sends
/// its Binding Update again.
pub const COMMANDS_WAITING_MAX: usize = 16_384;
/// Commands in one log entry: one fsync serves them all.
pub const COMMANDS_PER_ENTRY_MAX: usize = 512;
/// Entries on their way at once: the next ones are gathered meanwhile.
pub const ENTRIES_IN_FLIGHT_MAX: usize = 8;
/// Verdicts of one stream that wait for its reader.
pub const VERDICTS_WAITING_MAX: usize = 1024;
/// Commands of one stream that are under way.
pub const COMMANDS_PER_STREAM_MAX: usize = 4096;
/// Feed messages of one subscriber on their way; what changes meanwhile is not queued but looked up
/// when there is room.
pub const FEED_MESSAGES_WAITING_MAX: usize = 4;
/// Home addresses in one feed message.
pub const HOMES_PER_FEED_MESSAGE_MAX: usize = 500;
/// Changes remembered for subscribers that reconnect; older ones get a snapshot. About 32 octets each.
pub const CHANGES_REMEMBERED_MAX: usize = 262_144;
/// Subscribers of one replica's feed.
pub const FEED_SUBSCRIBERS_MAX: usize = 1024;
/// Characters of a subscriber's name.
pub const SUBSCRIBER_NAME_LEN_MAX: usize = 64;
/// Revisions of which it is known when they were reached, one each [`OBSERVE_INTERVAL`] at most: a
/// subscriber that is further behind looks at least this far behind, 13 minutes or more.
pub const REVISIONS_DATED_MAX: usize = 4096;
/// Tokens in `admin.tokens_file`; each call compares its own with all of them.
pub const TOKENS_MAX: usize = 256;
/// Ids of writes that the leader remembers; a write's answer has about 2 KiB at most.
pub const REQUEST_IDS_MAX: usize = 4096;
/// For how long, from when the write came.
pub const REQUEST_ID_KEPT: Duration = Duration::from_secs(600);
/// Octets of the id of a write.
pub const REQUEST_ID_LEN_MAX: usize = 64;
/// Octets of a token's name; the record of what operators write has room for it and an address.
pub const TOKEN_NAME_LEN_MAX: usize = 64;
/// How often it is looked whether `admin.tokens_file` has changed: one that is taken away works that much longer.
pub const TOKENS_LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often gauges and readiness are brought up to date.
pub const OBSERVE_INTERVAL: Duration = Duration::from_millis(200);
/// A quiet feed proves its freshness that often.
pub const FEED_PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// A subscriber that is further than this replica waits so long for it to catch up before it gets a snapshot, less
/// than what forwarders take for silence (3 s).
pub const FEED_CATCH_UP_WAIT: Duration = Duration::from_secs(2);
/// How often the leader looks whether something has expired.
pub const EXPIRY_INTERVAL: Duration = Duration::from_millis(250);
/// Notices between the state machine and the task that sends them: one more is dropped, counted, and
/// due again later.
pub const NOTICES_WAITING_MAX: usize = 4096;
/// A notice that became due longer ago is of a log that is read again, or too late.
pub const NOTICE_AGE_MAX: Duration = Duration::from_secs(2);
/// Home Agent Switches that wait for their turn.
pub const SWITCHES_WAITING_MAX: usize = 65_536;
/// RFC 5142 §8: one Home Agent Switch a second, in the whole cluster.
pub const SWITCH_INTERVAL: Duration = Duration::from_secs(1);
/// Tests of care-of addresses in a second, in the whole cluster: as many as there can be Binding Updates.
pub const CARE_OF_TESTS_PER_SECOND_MAX: u32 = 10_000;
/// Mobile Prefix Advertisements that wait for their turn.
pub const ADVERTISEMENTS_WAITING_MAX: usize = 65_536;
/// Mobile Prefix Advertisements a second, in the whole cluster, when nothing else is configured: RFC 6275
/// §10.6.2 lets a home agent delay them so as not to overwhelm its network.
pub const ADVERTISEMENTS_PER_SECOND_DEFAULT: NonZeroU32 = NonZeroU32::MIN.saturating_add(199);
/// MiB of commands after which a replica writes a snapshot, when nothing else is configured.
pub const SNAPSHOT_AFTER_MIB_DEFAULT: NonZeroU32 = NonZeroU32::MIN.saturating_add(255);
/// Times that a change of a home prefix is made again because somebody else has changed it meanwhile.
pub const UPDATES_MAX: usize = 4;
/// Mobile nodes that one request asks to leave: with one a second, the last waits for 18 hours.
pub const HOME_ADDRESSES_PER_SWITCH_MAX: usize = 65_536;
/// Notices that one front-end has not taken yet.
pub const NOTICES_PER_FRONT_END_MAX: usize = 64;
/// How often a replica that does not lead sends the front-ends that take notices to the leader.
pub const NOTICES_TICK: Duration = Duration::from_millis(250);
/// After this the outcome of an entry is unknown.
pub const PROPOSE_TIMEOUT: Duration = Duration::from_millis(2_000);
/// Records on one page of a list.
pub const PAGE_SIZE_MAX: u32 = 1000;
/// Records on a page when the caller does not say.
pub const PAGE_SIZE_DEFAULT: u32 = 100;
/// Searches through all subscribers at once: each takes a thread, for about 20 ms with 100,000 of them.
pub const SEARCHES_MAX: usize = 2;
/// How long a further search waits for its turn.
pub const SEARCH_WAIT_MAX: Duration = Duration::from_secs(2);
/// Octets of a filter: some terms.
pub const FILTER_LEN_MAX: usize = 1024;
/// Octets of a query: an NAI and some.
pub const QUERY_LEN_MAX: usize = 256;
/// Events of home addresses that a replica remembers: about 80 octets each.
pub const BINDING_EVENTS_MAX: usize = 65_536;
/// Events of the cluster that it remembers beside them.
pub const CLUSTER_EVENTS_MAX: usize = 4096;
/// Events in one message of a stream; a log entry has no more than commands and what ends with it.
pub const EVENTS_PER_MESSAGE_MAX: usize = 512;
/// Watchers of events and alarms at once: each looks for news five times a second while there are any.
pub const WATCHES_MAX: usize = 256;
/// What watchers of events and alarms are told is gathered for so long.
pub const WATCH_INTERVAL: Duration = Duration::from_millis(200);
/// How often the leader looks for what operators have to know.
pub const OVERSEE_INTERVAL: Duration = Duration::from_secs(1);
/// How long a new leader is worth an alarm.
pub const LEADER_NEW_FOR: Duration = Duration::from_secs(30);
/// A front-end or forwarder that no replica has a connection of for so long is missed: longer than it takes one to
/// go to another replica.
pub const SESSION_LOST_AFTER: Duration = Duration::from_secs(5);
/// Who has been gone for so long is not missed any more.
pub const NODE_FORGOTTEN_AFTER: Duration = Duration::from_secs(86_400);
/// Front-ends and forwarders whose loss is noticed.
pub const NODES_WATCHED_MAX: usize = 4096;
/// Revisions that a forwarder may be behind.
pub const FORWARDER_LAG_MAX: u64 = 1000;
/// For how long it may be further behind.
pub const FORWARDER_STALE_AFTER: Duration = Duration::from_secs(5);
/// How long a replica may acknowledge nothing.
pub const REPLICA_SILENT_MAX: Duration = Duration::from_secs(3);
/// Log entries that a replica may be behind: more than an upgrade of one takes.
pub const REPLICA_LAG_MAX: u64 = 20_000;
/// Octets free on a disk below which it is told.
pub const DISK_FREE_WARNED: u64 = 1 << 30;
/// And below which hardly any time is left.
pub const DISK_FREE_CRITICAL: u64 = 256 << 20;
/// How long the other replicas have to say what is connected to them.
pub const OTHERS_WAIT_MAX: Duration = Duration::from_secs(1);
/// Connections to other replicas that are kept for that.
pub const OTHERS_MAX: usize = 64;
/// How long the first write of an operator waits until all members of a new cluster have said their version.
pub const MEMBERS_HEARD_MAX: Duration = Duration::from_secs(3);
/// Octets of a snapshot chunk, below the limit of the log's own transport.
pub const SNAPSHOT_CHUNK_OCTETS: usize = 512 * 1024;
/// Requests that one connection may have under way.
pub const REQUESTS_PER_CONNECTION_MAX: usize = 1024;
/// Keepalive of HTTP/2: a vanished peer is noticed.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// After this a peer that does not answer is gone.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a leader that is to stop waits until another replica leads: below the shortest election.
pub const HAND_OVER_MAX: Duration = Duration::from_millis(300);
/// How long an operator's hand-over may take: the replica that is to lead may have to catch up.
pub const HAND_OVER_ASKED_MAX: Duration = Duration::from_secs(2);
/// How long a shutdown waits for streams to end.
pub const DRAIN_MAX: Duration = Duration::from_millis(500);
/// Home links that the forwarder of one stream may ask for: as many as a forwarder can have, and more.
/// Beyond it a lease is not given back when the stream ends, but runs out.
pub const HOME_LINKS_PER_STREAM_MAX: usize = 64;
/// How long a forwarder that asks for a home link that another one defends is kept waiting for its turn:
/// less than it waits for an answer, and longer than it pauses.
pub const LEASE_WAIT_MAX: Duration = Duration::from_millis(500);
/// How often the leader looks meanwhile whether the link is free.
pub const LEASE_LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// How long the verdict on a Binding Update waits until the defender of the home link has left the home
/// address to its mobile node; then it goes, and is counted.
pub const DEFENDER_WAIT_MAX: Duration = Duration::from_millis(50);
/// Snapshots that are being saved at once: each keeps in memory what has changed since it began.
pub const BACKUPS_MAX: usize = 1;
/// Messages of such a snapshot that wait for its reader, each about [`SNAPSHOT_CHUNK_OCTETS`].
pub const BACKUP_MESSAGES_WAITING_MAX: usize = 4;
/// How long the reader of such a snapshot may take for a message; then it is broken off.
pub const BACKUP_STALL_MAX: Duration = Duration::from_secs(30);
/// Files and connections of a replica: subscribers of the feed, streams of front-ends and operators, and the
/// files of its log.
pub const OPEN_FILES: u64 = 4096;
/// How often, and for how long at most, a preflight tries what it takes until a record is on the disk.
pub const SYNCS_TRIED: usize = 200;
/// See [`SYNCS_TRIED`].
pub const SYNCS_TRIED_FOR: Duration = Duration::from_secs(3);
/// A disk where one of a hundred records takes longer is told to be slow: an acknowledgement is to be there
/// within 10 ms, and waits for it.
pub const SYNC_TIME_MAX: Duration = Duration::from_millis(10);
/// Free space below this is told: log and two snapshots of a million home addresses.
pub const FREE_SPACE_ADVISED: u64 = 2 << 30;
/// Longest timer of the consensus: a minute without a leader is longer than any mobile node waits.
pub const TIMER_MS_MAX: u64 = 60_000;
