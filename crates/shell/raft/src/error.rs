//! What can go wrong, one enum per boundary. Each message says what the operator can do.

use std::path::PathBuf;

/// What to do about a disk that cannot be trusted. A replica that forgot what it acknowledged
/// must not vote again under its old name.
const REBUILD: &str = "`homeport store verify --data-dir DIR` tells all that is damaged; a replica \
     that lost a part of its disk may have forgotten a vote, so do not delete files one by one: \
     stop this replica, remove its node id from the membership, and add a replica under a new \
     node id with an empty data directory";

/// A configuration that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The cluster's name is empty or too long.
    #[error("the cluster name must have 1 to 255 octets, it has {octets}")]
    ClusterName {
        /// The length found.
        octets: usize,
    },
    /// The timers contradict each other.
    #[error(
        "heartbeat {heartbeat_ms} ms < election timeout {min_ms} ms < {max_ms} ms must hold, \
         and every value must be positive"
    )]
    Timers {
        /// Milliseconds between heartbeats.
        heartbeat_ms: u64,
        /// Shortest election timeout.
        min_ms: u64,
        /// Longest election timeout.
        max_ms: u64,
    },
    /// A peer's address cannot be used.
    #[error("peer {node_id} has the address {address:?}, which is not host:port")]
    PeerAddress {
        /// The peer.
        node_id: u64,
        /// Its address as configured.
        address: String,
    },
    /// A limit is zero.
    #[error("{name} must be greater than zero")]
    Zero {
        /// The field's name.
        name: &'static str,
    },
}

/// The log's disk failed or holds what it should not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// The operating system or sled refused.
    #[error("cannot {operation} {path}: {cause}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        cause: String,
    },
    /// A record fails its checksum or cannot be decoded.
    #[error("{file}: {record} is damaged: {detail}; {REBUILD}")]
    Corrupt {
        /// The file or directory.
        file: PathBuf,
        /// Which record.
        record: String,
        /// What is wrong with it.
        detail: String,
    },
    /// An earlier write failed. What the disk holds since is unknown, so nothing is retried.
    #[error("an earlier write failed and is never retried: {first}")]
    Failed {
        /// The first failure.
        first: String,
    },
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

impl DiskError {
    pub(crate) fn io(
        operation: &'static str,
        path: impl Into<PathBuf>,
        cause: impl ToString,
    ) -> Self {
        Self::Io { operation, path: path.into(), cause: cause.to_string() }
    }
}

impl From<DiskError> for std::io::Error {
    fn from(error: DiskError) -> Self {
        Self::other(error)
    }
}

/// A snapshot cannot be written, read or used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The operating system refused.
    #[error("cannot {operation} {path}: {cause}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        cause: String,
    },
    /// The file fails its checksums or does not have the form of a snapshot.
    #[error("snapshot {file} is damaged at octet {offset}: {detail}; {REBUILD}")]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong there.
        detail: String,
    },
    /// A newer program wrote it.
    #[error(
        "snapshot {file} has format version {found}, this program reads up to {supported}: \
         run the version that wrote it, or a newer one"
    )]
    NewerFormat {
        /// The file.
        file: PathBuf,
        /// The version found.
        found: u32,
        /// The newest version that this program reads.
        supported: u32,
    },
    /// It belongs to another cluster.
    #[error("snapshot {file} belongs to the cluster {found:?}, not {expected:?}")]
    OtherCluster {
        /// The file.
        file: PathBuf,
        /// Its cluster.
        found: String,
        /// Ours.
        expected: String,
    },
    /// The state machine cannot use what it holds.
    #[error("the snapshot's content cannot be used: {0}")]
    Content(String),
}

impl SnapshotError {
    pub(crate) fn io(
        operation: &'static str,
        path: impl Into<PathBuf>,
        cause: impl ToString,
    ) -> Self {
        Self::Io { operation, path: path.into(), cause: cause.to_string() }
    }
}

impl From<SnapshotError> for std::io::Error {
    fn from(error: SnapshotError) -> Self {
        Self::other(error)
    }
}

/// Why a replica does not start. It has then changed nothing, and has not voted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The disk cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The snapshot cannot be used.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Another process uses the data directory.
    #[error("{path} is in use by another process: {cause}")]
    InUse {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        cause: String,
    },
    /// The file is not what it should be.
    #[error(
        "{path} is not a Homeport replica's identity ({detail}): is this the data directory? If it \
         is, the file is damaged: {REBUILD}"
    )]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// A newer program wrote the disk.
    #[error(
        "{path} has format version {found}, this program reads up to {supported}: \
         run the version that wrote it, or a newer one"
    )]
    NewerFormat {
        /// The file that says so.
        path: PathBuf,
        /// The version found.
        found: u32,
        /// The newest version that this program reads.
        supported: u32,
    },
    /// The disk belongs to another cluster.
    #[error(
        "{path} belongs to the cluster {found:?}, this replica is configured for {expected:?}: \
         mount the right volume or correct the cluster name"
    )]
    OtherCluster {
        /// The file that says so.
        path: PathBuf,
        /// Its cluster.
        found: String,
        /// Ours.
        expected: String,
    },
    /// The disk belongs to another replica.
    #[error(
        "{path} belongs to node {found}, this replica is configured as node {expected}: \
         mount the right volume or correct the node id"
    )]
    OtherNode {
        /// The file that says so.
        path: PathBuf,
        /// Its node id.
        found: u64,
        /// Ours.
        expected: u64,
    },
    /// The log was moved here from another replica's data directory.
    #[error(
        "the log {path} belongs to the disk with incarnation {found:016x}, the identity beside it \
         to {expected:016x}: a data directory is moved as a whole or not at all"
    )]
    OtherLog {
        /// The log's directory.
        path: PathBuf,
        /// The incarnation that the log names.
        found: u64,
        /// The incarnation that the identity names.
        expected: u64,
    },
    /// The identity says that a log was created, and there is none.
    #[error("{path} is missing although this replica had a log: {REBUILD}")]
    LogMissing {
        /// The directory that should be there.
        path: PathBuf,
    },
    /// A restore or a recovery of this directory was interrupted.
    #[error(
        "{path} is what an interrupted restore or recovery has left: give the same command again, \
         which finishes it"
    )]
    Unfinished {
        /// The directory in which it was being made.
        path: PathBuf,
    },
    /// There is something where a new cluster's data is to go.
    #[error(
        "{path} is not empty: {found} is in it; a backup is restored into a new or an empty directory"
    )]
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// The first thing that was found.
        found: String,
    },
    /// Nothing can be recovered.
    #[error("{path} cannot be recovered: {detail}")]
    Unrecoverable {
        /// The data directory.
        path: PathBuf,
        /// Why.
        detail: String,
    },
    /// What the disk holds does not fit together.
    #[error("the log and the snapshot do not fit together: {detail}; {REBUILD}")]
    Inconsistent {
        /// What openraft says about it.
        detail: String,
    },
}

/// Why a node no longer takes part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StopReason {
    /// [`Node::shutdown`](crate::Node::shutdown) was called.
    #[error("it was shut down")]
    Requested,
    /// The disk is new and a peer knows another one under this id; the process should end.
    #[error(
        "the disk of node {node_id} is empty, but node {peer} knows it with another one: a replica \
         that lost its disk has lost its votes and does not vote under the same id; bring the old \
         data directory back, or remove this node id from the membership and add a replica under \
         a new node id"
    )]
    NewDisk {
        /// This replica.
        node_id: u64,
        /// Who knows another disk.
        peer: u64,
    },
    /// The disk, the snapshot or the state machine failed; the process should end.
    #[error(
        "storage failed: {0}; once the cause is gone, start it again: its disk is checked then, and \
         what it lacks comes from its peers"
    )]
    Storage(String),
    /// A broken invariant inside the consensus core; the process should end.
    #[error("the consensus core broke an invariant")]
    Broken,
}

/// Why a command was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// This replica does not lead; nothing was written. `leader` is whom to ask, when known.
    #[error("this replica does not lead, the leader is {leader:?}")]
    NotLeader {
        /// Node id and address of the leader.
        leader: Option<(u64, String)>,
    },
    /// The command is larger than the log takes; nothing was written.
    #[error("the command has {octets} octets, the log takes {limit}")]
    TooLarge {
        /// Its size.
        octets: usize,
        /// The limit.
        limit: usize,
    },
    /// Members that do not know the command would pass it over and come to another state; nothing was
    /// written.
    #[error(
        "replicas {members:?} run an older version that does not know this, or were not heard from \
         since this one started: upgrade or start them first"
    )]
    OlderMembers {
        /// Their node ids.
        members: Vec<u64>,
    },
    /// Too many commands wait already; nothing was written.
    #[error("too many commands wait for the log")]
    Overloaded,
    /// Hardly any disk space is left; nothing was written.
    #[error("the disk of the log is nearly full")]
    DiskFull,
    /// No majority confirmed the leadership in time; nothing was written.
    #[error("no majority of the replicas answered")]
    NoQuorum,
    /// The command may or may not be committed: propose it again, under the same request id.
    #[error("the outcome is unknown")]
    Unknown,
    /// This node has stopped; nothing more will come.
    #[error("this node has stopped: {0}")]
    Stopped(StopReason),
}

/// Why a membership change was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// As for a command.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// The change is not allowed now, or not at all.
    #[error("the membership change was refused: {0}")]
    Refused(String),
}
