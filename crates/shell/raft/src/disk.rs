//! The replica's disk: who it belongs to, and the log with its markers.

mod backlog;
mod contain;
mod data_dir;
mod engine;
mod file;
mod identity;
mod journal;
mod journaled;
mod log;
mod markers;
mod purger;
mod reached;
mod records;
mod sled_engine;
mod tail;
mod writer;

pub use contain::end_with_reason;
pub(crate) use data_dir::DataDir;
pub(crate) use engine::{LogEngine, LogState, Write};
pub(crate) use file::{free_octets, sync_dir};
pub(crate) use identity::{FORMAT_VERSION, Identity, STAGE, claim, identity_of};
pub(crate) use journaled::JOURNAL;
use journaled::Journaled;
pub(crate) use log::Log;
pub use records::{RecordChange, RecordDisk};
pub(crate) use sled_engine::SledEngine;

use crate::error::StartError;
use std::path::Path;
use std::sync::Arc;

/// Opens the log below `data_dir` as its format wants it: older ones have no journal.
pub(crate) fn open_log(
    data_dir: &Path,
    identity: &mut Identity,
) -> Result<Arc<dyn LogEngine>, StartError> {
    if identity.has_journal() {
        Ok(Arc::new(Journaled::open(data_dir, identity)?))
    } else {
        Ok(Arc::new(SledEngine::open(data_dir, identity)?))
    }
}

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod torn_tests;
