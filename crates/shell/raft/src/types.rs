//! How openraft is parameterised. Everything here is private to the crate.

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

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

/// An encoded reply of the state machine, for the proposer only.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Reply(pub(crate) Bytes);

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
        write!(f, "Reply({} octets)", self.0.len())
    }
}

// openraft's `serde` feature asks for these bounds; our own encoding is in `encoding`.
macro_rules! serde_as_octets {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Vec::<u8>::deserialize(deserializer).map(|octets| Self(Bytes::from(octets)))
            }
        }
    };
}

serde_as_octets!(Command);
serde_as_octets!(Reply);
