//! Bounds of everything that grows, each with its reason.

use std::time::Duration;

/// The largest command. With sled's 16 MiB segments anything below 4 MiB stays inside the log
/// file; this leaves room for several large entries in one page.
pub const COMMAND_OCTETS_MAX: usize = 512 * 1024;

/// The largest chunk of a snapshot.
pub const SNAPSHOT_CHUNK_OCTETS: usize = 1024 * 1024;

/// Octets of a snapshot that are written before they are synced: some milliseconds of a slow disk, which is
/// what the log's next fdatasync may have to wait for.
pub(crate) const SNAPSHOT_STEP_OCTETS: usize = 256 * 1024;

/// While commands come, a snapshot's writer rests after each step so many times as long as the step took: a
/// third of one processor at most is its.
pub(crate) const SNAPSHOT_REST: u32 = 2;

/// The longest of these rests: a step that the disk held up for long says nothing of the next.
pub(crate) const SNAPSHOT_REST_MAX: Duration = Duration::from_millis(100);

/// Octets of commands that were proposed here and are not yet answered. Beyond this a proposer
/// waits, and is told `Overloaded` when its time is up.
pub const PROPOSED_OCTETS_MAX: usize = 64 * 1024 * 1024;

/// Commands that were proposed here and are not yet answered.
pub const PROPOSALS_MAX: usize = 16 * 1024;

/// How far the log index leaps when a cluster is restored or recovered. The old cluster may have gone
/// on after what is known of it, and those who followed it must not take an index of the new one for
/// the same index of the old one: no cluster writes that many entries in its life (at ten thousand a
/// second it takes three years), and there is room for sixteen million leaps.
pub const INDEX_LEAP: u64 = 1 << 40;

/// Requests that wait for the writer thread.
pub(crate) const WRITER_QUEUE: usize = 1024;

/// Requests that the writer thread takes into one flush.
pub(crate) const WRITER_DRAIN: usize = 256;

/// Octets of entries that the writer thread takes into one flush.
pub(crate) const WRITER_DRAIN_OCTETS: usize = 8 * 1024 * 1024;

/// Ranges of purged entries that wait for removal. Each purge is awaited by openraft, so there is
/// hardly ever more than one.
pub(crate) const PURGER_QUEUE: usize = 64;

/// How long what the journal has may wait before it is put into sled, and how many octets of it: each time
/// costs sled as much as some hundred records in one.
pub(crate) const BACKLOG_PAUSE: Duration = Duration::from_millis(200);
pub(crate) const BACKLOG_OCTETS: usize = 512 * 1024;

/// Octets that sled is given at once.
pub(crate) const BACKLOG_OCTETS_AT_ONCE: usize = 2 * 1024 * 1024;

/// Octets of entries in one append message; a single larger entry goes alone.
pub(crate) const APPEND_OCTETS: usize = 2 * 1024 * 1024;

/// Entries in one append message.
pub(crate) const APPEND_ENTRIES: u64 = 1024;

/// The largest gRPC message that a replica accepts from another.
pub(crate) const MESSAGE_OCTETS_MAX: usize = 16 * 1024 * 1024;

/// Messages of a snapshot stream that wait for the network.
pub(crate) const SNAPSHOT_QUEUE: usize = 4;

/// Octets of sled's page cache. Reads come from our own cache of the log's tail, so this is small.
pub(crate) const SLED_CACHE_OCTETS: u64 = 64 * 1024 * 1024;

/// sled's largest segment: values below a quarter of it are never put into unsynced blob files.
pub(crate) const SLED_SEGMENT_OCTETS: usize = 16 * 1024 * 1024;

/// What must be free for sled to be opened: it writes a summary of its file then, and takes half of one
/// for damage the next time.
pub(crate) const SLED_OPEN_OCTETS: u64 = 2 * 1024 * 1024;

/// How long a commit marker may wait for a write that it can share a flush with.
pub(crate) const COMMIT_MARKER_DELAY: Duration = Duration::from_millis(20);

/// How often the bound of what the log has reached is written, at most. It costs one more sync.
pub(crate) const REACHED_INTERVAL: Duration = Duration::from_millis(100);

/// How long a connection attempt to a peer may take.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// Between two questions of a replica with an empty disk to a peer that has not answered.
pub(crate) const HELLO_PAUSE: Duration = Duration::from_millis(100);

/// Questions without an answer between two lines in the log.
pub(crate) const HELLO_TOLD_EVERY: u32 = 50;

/// How often an idle connection to a peer is probed, and how long the answer may take. A peer that
/// lost its power sends no reset; this is what finds the dead connection.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(1);

/// Peers whose disks are remembered: every id that ever was a member, with much to spare.
pub(crate) const PEERS_MAX: usize = 1024;

/// Calls to a peer that fail in a row before the log says so: one late heartbeat is no news.
pub(crate) const FAILURES_TOLD: u32 = 5;

/// How long opening an append stream may take.
pub(crate) const STREAM_OPEN_TIMEOUT: Duration = Duration::from_millis(750);

/// How often a leader whose stream ended is asked for before the election timeout is left to decide, and
/// how long between two questions and for an answer.
pub(crate) const SUCCESSION_ASKS_MAX: u32 = 10;
pub(crate) const SUCCESSION_PAUSE: Duration = Duration::from_millis(5);
pub(crate) const SUCCESSION_ANSWER_MAX: Duration = Duration::from_millis(50);

/// Elections that it takes part in before that is left to the election timeout: one may fail because
/// the log of the first to stand is the shorter one.
pub(crate) const SUCCESSION_ROUNDS_MAX: u32 = 5;

/// How much later each voter stands for election than the one before it: an election takes a few
/// milliseconds.
pub(crate) const SUCCESSION_STAGGER: Duration = Duration::from_millis(30);

/// How long an election may take before the next one.
pub(crate) const SUCCESSION_ROUND: Duration = Duration::from_millis(60);

/// How long an append stream may owe an answer before it is given up and opened again.
pub(crate) const STREAM_STALL_TIMEOUT: Duration = Duration::from_secs(3);

/// How long one message of a snapshot may wait for the peer.
pub(crate) const SNAPSHOT_STALL_TIMEOUT: Duration = Duration::from_secs(15);

/// How long the peer may take to check and load a snapshot once it has all of it.
pub(crate) const SNAPSHOT_INSTALL_TIMEOUT: Duration = Duration::from_secs(120);
