//! The replica's disk: who it belongs to, and the log with its markers.

mod contain;
mod data_dir;
mod engine;
mod file;
mod identity;
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
pub(crate) use file::sync_dir;
pub(crate) use identity::{FORMAT_VERSION, Identity, STAGE, claim, identity_of};
pub(crate) use log::Log;
pub use records::{RecordChange, RecordDisk};
pub(crate) use sled_engine::SledEngine;

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod torn_tests;
