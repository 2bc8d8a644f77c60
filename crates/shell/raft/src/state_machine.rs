//! What is replicated.

use crate::error::SnapshotError;
use bytes::Bytes;

/// A deterministic state machine: the same commands at the same indices leave the same state on
/// every replica, for ever. It reads no clock and draws no random numbers.
///
/// One task applies; readers see it through [`Node::read`](crate::Node::read) between two
/// commands, never in the middle of one.
pub trait StateMachine: Send + Sync + 'static {
    /// Version of the commands that it knows. Replicas tell each other, so that a leader knows before
    /// it proposes a newer command whether all of them can apply it: see
    /// [`Node::older_members`](crate::Node::older_members).
    const ENTRIES_VERSION: u32 = 0;

    /// What whoever proposed a command is told. It never leaves the process that proposed.
    type Reply: Send + Sync + 'static;

    /// Applies the committed command at this log index and returns the reply for whoever proposed
    /// it. It cannot fail: a refusal is a reply.
    fn apply(&mut self, index: u64, command: &Bytes) -> Self::Reply;

    /// Called for entries that carry no command (a new leader's first entry, a membership change),
    /// so that the applied index, which is the revision, still advances.
    fn advance(&mut self, index: u64);

    /// A frozen copy that can be written out while writes go on. Called between two commands, so
    /// it must be cheap: share the data, copy what changes later.
    fn freeze(&self) -> Box<dyn FrozenState>;

    /// Replaces the state by the one that `chunks` hold, taken at `index`. The chunks arrive as
    /// [`FrozenState::chunks`] gave them; each was checked against its checksum.
    ///
    /// # Errors
    ///
    /// When a chunk cannot be read or decoded. The node then stops: a half-read state is no state.
    fn restore(
        &mut self,
        index: u64,
        chunks: &mut dyn Iterator<Item = Result<Bytes, SnapshotError>>,
    ) -> Result<(), SnapshotError>;
}

/// A state frozen at one index.
pub trait FrozenState: Send {
    /// The state as chunks of at most 1 MiB ([`limits::SNAPSHOT_CHUNK_OCTETS`]). Produced lazily,
    /// so that a large state is never in memory twice.
    ///
    /// [`limits::SNAPSHOT_CHUNK_OCTETS`]: crate::limits::SNAPSHOT_CHUNK_OCTETS
    fn chunks(self: Box<Self>) -> Box<dyn Iterator<Item = Bytes> + Send>;
}
