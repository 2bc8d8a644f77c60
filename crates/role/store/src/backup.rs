//! Backups of the store, and clusters that begin with one or with a survivor.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use homeport_api::backup::{BackupError, Reader};
use homeport_api::backup_file::BackupHeader;
use homeport_raft::{Foundation, Founded, Recovered, SnapshotError, StartError, StateMachine as _};

use crate::machine::Machine;

/// Where a backup goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restore {
    /// The backup.
    pub file: PathBuf,
    /// Data directory of the new cluster's first replica: new or empty.
    pub data_dir: PathBuf,
    /// Id of that replica, 1 or more.
    pub node_id: u64,
    /// `host:port` at which the other replicas will reach it.
    pub address: String,
    /// Name of the new cluster; absent: the old one's.
    pub cluster_name: Option<String>,
}

/// A cluster that begins with a backup.
#[derive(Clone, Debug, PartialEq)]
pub struct Restored {
    /// The new cluster.
    pub founded: Founded,
    /// What stands in the backup beside the state.
    pub header: BackupHeader,
}

/// Why a backup is not restored. Nothing is there then that a replica would start on.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The file cannot be used.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// Its state cannot be used.
    #[error("{file}: {source}")]
    State {
        /// The backup.
        file: PathBuf,
        /// Why not.
        source: SnapshotError,
    },
    /// The data directory cannot be made.
    #[error(transparent)]
    Found(#[from] StartError),
}

/// Makes the data directory of the first replica of a new cluster that begins with a backup. Other replicas
/// are added to it once it runs.
///
/// Bindings keep the times at which they end: those that have ended meanwhile end with the new leader's first
/// entry. Sequence numbers, MESG-IDs and the answers to repeated requests are those of the backup.
///
/// # Errors
/// When the backup is damaged or of a newer version, or the directory is not empty or cannot be written.
pub fn restore(order: &Restore) -> Result<Restored, RestoreError> {
    let mut reader = Reader::open(&order.file)?;
    let header = reader.header().clone();
    let mut machine = Machine::default();
    let mut failed = None;
    let mut chunks = std::iter::from_fn(|| -> Option<Result<Bytes, SnapshotError>> {
        match reader.next()? {
            Ok(chunk) => Some(Ok(chunk)),
            Err(error) => {
                let told = SnapshotError::Content(error.to_string());
                failed = Some(error);
                Some(Err(told))
            }
        }
    });
    let read = machine.restore(header.revision, &mut chunks);
    if let Some(error) = failed {
        return Err(error.into());
    }
    read.map_err(|source| RestoreError::State { file: order.file.clone(), source })?;
    let foundation = Foundation {
        data_dir: order.data_dir.clone(),
        cluster_name: order.cluster_name.clone().unwrap_or_else(|| header.cluster.clone()),
        node_id: order.node_id,
        address: order.address.clone(),
        revision: header.revision,
        term: header.term,
        origin: format!(
            "restored from a backup of the cluster {:?} with id {:016x} at revision {}",
            header.cluster, header.cluster_id, header.revision
        ),
    };
    let founded = homeport_raft::found(&foundation, &mut machine)?;
    Ok(Restored { founded, header })
}

/// A survivor that is a cluster of its own now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredStore {
    /// The new cluster, and what was known of the old one.
    pub recovered: Recovered,
    /// Home addresses that were kept, tombstones included.
    pub home_addresses: usize,
    /// Bindings that were kept.
    pub bindings: usize,
}

/// Makes the replica on `data_dir`, which does not run, the only member of a new cluster, after the majority of
/// the old one is lost for ever. What the lost replicas had acknowledged and this one has not is lost.
/// `scratch` is an empty directory with room for a copy of the log; `address` replaces the replica's own in the
/// membership.
///
/// # Errors
/// When a replica runs on the directory, anything in it is damaged or missing, or it cannot be written. What
/// was there is untouched then.
pub fn recover(
    data_dir: &Path,
    scratch: &Path,
    address: Option<String>,
) -> Result<RecoveredStore, StartError> {
    let mut machine = Machine::default();
    let recovered = homeport_raft::recover(data_dir, scratch, address, &mut machine)?;
    Ok(RecoveredStore {
        recovered,
        home_addresses: machine.cache.home_address_count(),
        bindings: machine.cache.binding_count(),
    })
}
