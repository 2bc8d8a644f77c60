//! The replicated log of the store: Raft consensus, its log on disk, snapshots, and the RPCs
//! between replicas.
//!
//! This crate is generic over what is replicated. The role hands in a [`StateMachine`] and gets a
//! [`Node`] back: commands go in through [`Node::propose`], and each replica applies the committed
//! ones in the same order. It alone knows openraft and sled; neither appears in its interface, so
//! that either can be replaced (ADR 0004).
//!
//! # What stands on the disk
//!
//! ```text
//! <data_dir>/identity        format version, cluster and its id, node id, incarnation of this disk
//! <data_dir>/reached         how far the log is known to be on the disk: less is damage
//! <data_dir>/log/            sled: log entries, vote, purge and commit markers
//! <data_dir>/snapshots/      one snapshot file; the state machine itself lives in memory
//! ```
//!
//! # Tasks and threads
//!
//! ```text
//! propose ---> openraft core task ---> writer thread (1): batch, flush, fdatasync, acknowledge
//!                    |                 purger thread (1): removes purged entries, off that path
//!                    |---> apply task (1): owns writes to the state machine
//!                    |---> per peer: replication task, heartbeat task, snapshot task on demand
//! watcher task (1): leadership, snapshot and purge triggers, free disk space
//! succession task (1): stands for election when the leader's process has ended
//! ```
//!
//! Every queue between them is bounded; see [`limits`].

mod blocking;
mod bootstrap;
mod config;
mod disk;
mod encoding;
mod error;
mod founding;
mod inspect;
mod leads;
pub mod limits;
mod machine;
mod migrate;
mod network;
mod node;
mod proto;
mod recovery;
mod snapshot;
mod state_machine;
mod status;
mod succession;
mod sync;
mod types;
mod watcher;

pub use config::{LogDisk, PeerEndpoint, RaftConfig};
pub use disk::{RecordChange, RecordDisk, end_with_reason};
pub use error::{
    ConfigError, DiskError, MembershipError, ProposeError, SnapshotError, StartError, StopReason,
};
pub use founding::{Foundation, Founded, found};
pub use inspect::{Inspection, LogSummary, SnapshotSummary, inspect};
pub use migrate::migrate;
pub use node::{Node, Proposed};
pub use recovery::{Recovered, Survivor, recover};
pub use state_machine::{FrozenState, StateMachine};
pub use status::{Leader, Leadership, NodeStatus, Role};
