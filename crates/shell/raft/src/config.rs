//! Configuration of one replica.

use crate::disk::RecordDisk;
use crate::error::ConfigError;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

type MakeEndpoint = dyn Fn(&str) -> Result<Endpoint, tonic::transport::Error> + Send + Sync;

type OpenChannel = dyn Fn(&Endpoint) -> Channel + Send + Sync;

/// How to reach a peer's address. The role puts its TLS settings here; timeouts and keepalive are
/// set by this crate on whatever comes back.
#[derive(Clone)]
pub struct PeerEndpoint {
    make: Arc<MakeEndpoint>,
    open: Arc<OpenChannel>,
}

impl PeerEndpoint {
    /// Endpoints are made by `make` from `host:port`.
    pub fn new(
        make: impl Fn(&str) -> Result<Endpoint, tonic::transport::Error> + Send + Sync + 'static,
    ) -> Self {
        Self { make: Arc::new(make), open: Arc::new(Endpoint::connect_lazy) }
    }

    /// HTTP/2 without TLS, for `dev` and tests.
    pub fn plain() -> Self {
        Self::new(|address| Endpoint::from_shared(format!("http://{address}")))
    }

    /// Over another network than this machine's: `open` makes a channel that connects when it is
    /// used.
    #[must_use]
    pub fn over(self, open: impl Fn(&Endpoint) -> Channel + Send + Sync + 'static) -> Self {
        Self { open: Arc::new(open), ..self }
    }

    pub(crate) fn open(&self, endpoint: &Endpoint) -> Channel {
        (self.open)(endpoint)
    }

    pub(crate) fn make(&self, address: &str) -> Result<Endpoint, tonic::transport::Error> {
        (self.make)(address)
    }
}

impl fmt::Debug for PeerEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerEndpoint")
    }
}

/// Configuration of one replica. Start from [`RaftConfig::new`] and change what differs.
#[derive(Debug, Clone)]
pub struct RaftConfig {
    /// This replica's id, unique in the cluster for ever: an id whose disk is lost is not used
    /// again.
    pub node_id: u64,
    /// Where identity, log and snapshots live. Created when absent.
    pub data_dir: PathBuf,
    /// Name of the cluster; a disk or a peer of another cluster is refused.
    pub cluster_name: String,
    /// All first members by id, `host:port`, this replica included. Used once, when the disk is
    /// empty: every replica starts with the same peers. A replica that is not among them waits to
    /// be added by the leader.
    pub peers: BTreeMap<u64, String>,
    /// How to reach peers.
    pub endpoint: PeerEndpoint,
    /// Milliseconds between the leader's heartbeats.
    pub heartbeat_ms: u64,
    /// Shortest time without a leader before a replica stands for election.
    pub election_timeout_ms_min: u64,
    /// Longest such time; also the leader's lease.
    pub election_timeout_ms_max: u64,
    /// A snapshot is taken each time that so many octets of commands were applied, from 1 on: with each of four
    /// node ids in a row a quarter of them later, so that replicas do not all write at the same time.
    pub snapshot_after_log_bytes: u64,
    /// A snapshot is taken each time that so many entries were applied, from 1 on; in turn, too.
    pub snapshot_after_entries: u64,
    /// Entries kept below the snapshot, so that a lagging follower needs no snapshot.
    pub tail_entries: u64,
    /// Octets of entries kept below the snapshot; whichever of the two is reached first counts.
    pub tail_bytes: u64,
    /// Octets of the newest entries kept in memory. Older ones are read from the disk.
    pub cache_bytes: usize,
    /// How long [`Node::propose`](crate::Node::propose) waits before it says `Unknown`.
    pub propose_timeout: Duration,
    /// Below this many free octets on the data directory's file system the replica takes no
    /// writes and does not lead.
    pub free_space_min: u64,
    /// The log's disk, when it is not sled below `data_dir`.
    pub log_disk: Option<LogDisk>,
}

/// A [`RecordDisk`] in a configuration.
#[derive(Clone)]
pub struct LogDisk(pub Arc<dyn RecordDisk>);

impl fmt::Debug for LogDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogDisk")
    }
}

impl RaftConfig {
    /// The defaults for a replica.
    pub fn new(
        node_id: u64,
        data_dir: impl Into<PathBuf>,
        cluster_name: impl Into<String>,
        peers: BTreeMap<u64, String>,
    ) -> Self {
        Self {
            node_id,
            data_dir: data_dir.into(),
            cluster_name: cluster_name.into(),
            peers,
            endpoint: PeerEndpoint::plain(),
            heartbeat_ms: 50,
            election_timeout_ms_min: 150,
            election_timeout_ms_max: 300,
            snapshot_after_log_bytes: 256 * 1024 * 1024,
            snapshot_after_entries: 1_000_000,
            tail_entries: 50_000,
            tail_bytes: 64 * 1024 * 1024,
            cache_bytes: 64 * 1024 * 1024,
            propose_timeout: Duration::from_secs(5),
            free_space_min: 64 * 1024 * 1024,
            log_disk: None,
        }
    }

    /// Whether a replica can be with this configuration, whatever its host and disk.
    ///
    /// # Errors
    /// The first thing that cannot be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let octets = self.cluster_name.len();
        if octets == 0 || octets > 255 {
            return Err(ConfigError::ClusterName { octets });
        }
        let ordered = 0 < self.heartbeat_ms
            && self.heartbeat_ms < self.election_timeout_ms_min
            && self.election_timeout_ms_min < self.election_timeout_ms_max;
        if !ordered {
            return Err(ConfigError::Timers {
                heartbeat_ms: self.heartbeat_ms,
                min_ms: self.election_timeout_ms_min,
                max_ms: self.election_timeout_ms_max,
            });
        }
        for (&node_id, address) in &self.peers {
            let usable = address
                .rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
            if !usable {
                return Err(ConfigError::PeerAddress { node_id, address: address.clone() });
            }
        }
        for (name, value) in [
            ("snapshot_after_log_bytes", self.snapshot_after_log_bytes),
            ("snapshot_after_entries", self.snapshot_after_entries),
        ] {
            if value == 0 {
                return Err(ConfigError::Zero { name });
            }
        }
        if self.propose_timeout.is_zero() {
            return Err(ConfigError::Zero { name: "propose_timeout" });
        }
        Ok(())
    }

    /// How long a leader counts after its last message: by then a follower has given it up.
    pub(crate) fn leader_silence(&self) -> Duration {
        Duration::from_millis(self.election_timeout_ms_max.saturating_mul(2))
    }

    /// openraft's own settings. Snapshots and purges are triggered by our watcher, which knows
    /// octets; openraft counts entries only.
    pub(crate) fn openraft(&self) -> openraft::Config {
        let lease_ms = self.election_timeout_ms_max;
        openraft::Config {
            cluster_name: self.cluster_name.clone(),
            heartbeat_interval: self.heartbeat_ms,
            election_timeout_min: self.election_timeout_ms_min,
            election_timeout_max: self.election_timeout_ms_max,
            max_payload_entries: crate::limits::APPEND_ENTRIES,
            snapshot_policy: openraft::SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: u64::MAX / 2,
            api_channel_size: Some(4096),
            notification_channel_size: Some(4096),
            state_machine_channel_size: Some(1024),
            enable_pre_vote: Some(true),
            // The least that openraft takes: a lease and one more election timeout.
            quorum_loss_probe_interval: Some(lease_ms + self.election_timeout_ms_max),
            enable_leader_restore: Some(false),
            allow_log_reversion: Some(false),
            ..openraft::Config::default()
        }
    }
}
