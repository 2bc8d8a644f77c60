//! Feeding a snapshot file into a client stream.

use crate::blocking::blocking;
use crate::error::SnapshotError;
use crate::limits::{SNAPSHOT_CHUNK_OCTETS, SNAPSHOT_STALL_TIMEOUT};
use crate::proto;
use crate::proto::install_snapshot_request::Part;
use crate::snapshot::SnapshotFile;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Why feeding stopped.
#[derive(Debug)]
pub(super) enum FeedError {
    /// The peer takes nothing any more.
    Stalled,
    /// The local file cannot be read.
    Local(SnapshotError),
}

/// Sends the head and the file, from where the head says. Ends early, without an error, when the stream is gone: its answer
/// says why.
pub(super) async fn feed(
    head: proto::SnapshotHead,
    file: SnapshotFile,
    parts: mpsc::Sender<proto::InstallSnapshotRequest>,
) -> Result<(), FeedError> {
    let mut offset = head.from;
    if !send(&parts, Part::Head(head)).await? {
        return Ok(());
    }
    while offset < file.octets() {
        let source = file.clone();
        let read = blocking(move || source.read_at(offset, SNAPSHOT_CHUNK_OCTETS));
        let chunk = match read.await {
            Ok(chunk) => chunk.map_err(FeedError::Local)?,
            Err(_) => return Err(FeedError::Stalled),
        };
        offset += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        if !send(&parts, Part::Chunk(chunk)).await? {
            return Ok(());
        }
    }
    Ok(())
}

/// `false` when nobody receives any more.
async fn send(
    parts: &mpsc::Sender<proto::InstallSnapshotRequest>,
    part: Part,
) -> Result<bool, FeedError> {
    let message = proto::InstallSnapshotRequest { part: Some(part) };
    match timeout(SNAPSHOT_STALL_TIMEOUT, parts.send(message)).await {
        Ok(sent) => Ok(sent.is_ok()),
        Err(_) => Err(FeedError::Stalled),
    }
}
