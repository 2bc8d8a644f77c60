//! Snapshots: what they look like as files, and which one counts.

mod format;
mod steps;
mod store;

pub(crate) use store::{Receiver, SnapshotFile, SnapshotStore};
