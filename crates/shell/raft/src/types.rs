//! How openraft is parameterised. Everything here is private to the crate.

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::any::Any;
use std::fmt;
use std::time::Instant;

openraft::declare_raft_types!(
    /// openraft in the mode where two candidates of one term need not split the vote: the greater
    /// node id wins. A leader is therefore named by term *and* node, never by the term alone.
    pub(crate) Types:
        D = Command,
        R = Reply,
        NodeId = u64,
        Node = openraft::BasicNode,
);

pub(crate) type Entry = openraft::alias::EntryOf<Types>;
pub(crate) type LogId = openraft::alias::LogIdOf<Types>;
pub(crate) type Vote = openraft::alias::VoteOf<Types>;
pub(crate) type Membership = openraft::Membership<u64, openraft::BasicNode>;
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<Types>;
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<Types>;
pub(crate) type Snapshot = openraft::alias::SnapshotOf<Types, crate::snapshot::SnapshotFile>;
pub(crate) type RaftMetrics = openraft::RaftMetrics<Types>;

/// An encoded command. What it means is the state machine's affair.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Command(pub(crate) Bytes);

/// A reply of the state machine, for the proposer in this process only. None for an entry without command.
pub(crate) struct Reply(Option<(Box<dyn Any + Send + Sync>, Instant)>);

impl Reply {
    /// `committed`: when the entry was found to be, which is when it began to be applied.
    pub(crate) fn of<R: Send + Sync + 'static>(reply: R, committed: Instant) -> Self {
        Self(Some((Box::new(reply), committed)))
    }

    pub(crate) const fn none() -> Self {
        Self(None)
    }

    /// The reply, if it is of this type, and when its entry was committed.
    pub(crate) fn take<R: 'static>(self) -> Option<(R, Instant)> {
        let (reply, committed) = self.0?;
        reply.downcast().ok().map(|reply| (*reply, committed))
    }
}

// Commands hold subscriber data: never more than their size goes into a log line.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Command({} octets)", self.0.len())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

// openraft's `serde` feature asks for these bounds; our own encoding is in `encoding`.
impl Serialize for Command {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<u8>::deserialize(deserializer).map(|octets| Self(Bytes::from(octets)))
    }
}

impl Serialize for Reply {
    fn serialize<S: Serializer>(&self, _serializer: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("a reply stays in its process"))
    }
}

impl<'de> Deserialize<'de> for Reply {
    fn deserialize<D: Deserializer<'de>>(_deserializer: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("a reply stays in its process"))
    }
}
