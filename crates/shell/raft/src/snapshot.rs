//! Snapshots: what they look like as files, and which one counts.

mod format;
mod store;

pub(crate) use store::{Receiver, SnapshotFile, SnapshotStore};
