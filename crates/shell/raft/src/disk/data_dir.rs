//! Opens everything in a data directory, and checks that it fits together.

use super::{Identity, Log, claim, open_log};
use crate::blocking::blocking;
use crate::config::{LogDisk, RaftConfig};
use crate::error::StartError;
use crate::snapshot::SnapshotStore;
use std::sync::Arc;

/// A data directory that holds everything that this replica has acknowledged.
pub(crate) struct DataDir {
    pub(crate) identity: Identity,
    pub(crate) log: Log,
    pub(crate) snapshots: SnapshotStore,
}

impl DataDir {
    /// Opens the directory, or begins an empty one; off the async threads.
    pub(crate) async fn open(config: &RaftConfig) -> Result<Self, StartError> {
        let config = config.clone();
        let opened = blocking(move || -> Result<Self, StartError> {
            let mut identity = claim(&config, rand::random())?;
            let snapshots = SnapshotStore::open(&config.data_dir, &config.cluster_name)?;
            let log = match &config.log_disk {
                Some(LogDisk(disk)) => Log::on_records(Arc::clone(disk), config.cache_bytes)?,
                None => {
                    let engine = open_log(&config.data_dir, &mut identity)?;
                    Log::open(engine, config.cache_bytes)?
                }
            };
            Ok(Self { identity, log, snapshots })
        });
        let opened = match opened.await {
            Ok(opened) => opened?,
            Err(e) => return Err(StartError::Inconsistent { detail: e.to_string() }),
        };
        if let Err(error) = opened.check() {
            opened.log.close().await;
            return Err(error);
        }
        Ok(opened)
    }

    /// What was purged from the log must stand in the snapshot.
    fn check(&self) -> Result<(), StartError> {
        let Some(purged) = self.log.purged() else { return Ok(()) };
        let covered = self.snapshots.current().and_then(|(meta, _)| meta.last_log_id);
        let detail = match covered {
            Some(last) if last.index() >= purged.index() => return Ok(()),
            Some(last) => format!("the newest snapshot ends at entry {}", last.index()),
            None => "there is no snapshot".to_owned(),
        };
        let purged = purged.index();
        Err(StartError::Inconsistent { detail: format!("the log begins after {purged}, {detail}") })
    }
}
