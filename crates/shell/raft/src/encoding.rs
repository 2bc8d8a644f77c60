//! openraft's values as our protobuf messages and back. The same octets go to the disk and over
//! the wire; openraft's own serialisation is never stored.

use crate::proto;
use crate::types::{Command, Entry, LogId, Membership, StoredMembership, Vote};
use openraft::entry::RaftEntry as _;
use openraft::{BasicNode, EntryPayload};
use std::collections::{BTreeMap, BTreeSet};

type LeaderId = openraft::impls::leader_id_adv::LeaderId<u64, u64>;

/// A message that lacks a required part or contradicts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Invalid {
    #[error("the vote is missing")]
    Vote,
    #[error("the entry's payload is missing or of a kind that this version does not know")]
    Payload,
    #[error("the membership has an empty voter set or a voter without an address")]
    Membership,
    #[error("the outcome is missing or of a kind that this version does not know")]
    Outcome,
}

pub(crate) fn vote_to_proto(vote: &Vote) -> proto::Vote {
    let leader = vote.leader_id();
    proto::Vote { term: leader.term, node_id: leader.node_id, committed: vote.is_committed() }
}

pub(crate) fn vote_from_proto(vote: Option<&proto::Vote>) -> Result<Vote, Invalid> {
    let vote = vote.ok_or(Invalid::Vote)?;
    Ok(if vote.committed {
        Vote::new_committed(vote.term, vote.node_id)
    } else {
        Vote::new(vote.term, vote.node_id)
    })
}

pub(crate) fn log_id_to_proto(log_id: &LogId) -> proto::LogId {
    let leader = log_id.committed_leader_id();
    proto::LogId { term: leader.term, node_id: leader.node_id, index: log_id.index() }
}

pub(crate) fn log_id_from_proto(log_id: &proto::LogId) -> LogId {
    let leader = LeaderId { term: log_id.term, node_id: log_id.node_id };
    LogId::new(leader, log_id.index)
}

pub(crate) fn membership_to_proto(membership: &Membership) -> proto::Membership {
    proto::Membership {
        voters: membership
            .get_joint_config()
            .iter()
            .map(|set| proto::VoterSet { node_ids: set.iter().copied().collect() })
            .collect(),
        members: membership
            .nodes()
            .map(|(&node_id, node)| proto::Member { node_id, address: node.addr.clone() })
            .collect(),
    }
}

pub(crate) fn membership_from_proto(membership: &proto::Membership) -> Result<Membership, Invalid> {
    let voters: Vec<BTreeSet<u64>> =
        membership.voters.iter().map(|set| set.node_ids.iter().copied().collect()).collect();
    let members: BTreeMap<u64, BasicNode> = membership
        .members
        .iter()
        .map(|member| (member.node_id, BasicNode::new(&member.address)))
        .collect();
    Membership::new(voters, members).map_err(|_| Invalid::Membership)
}

pub(crate) fn stored_membership_to_proto(stored: &StoredMembership) -> proto::StoredMembership {
    proto::StoredMembership {
        log_id: stored.log_id().as_ref().map(log_id_to_proto),
        membership: Some(membership_to_proto(stored.membership())),
    }
}

pub(crate) fn stored_membership_from_proto(
    stored: &proto::StoredMembership,
) -> Result<StoredMembership, Invalid> {
    let membership = stored.membership.as_ref().ok_or(Invalid::Membership)?;
    Ok(StoredMembership::new(
        stored.log_id.as_ref().map(log_id_from_proto),
        membership_from_proto(membership)?,
    ))
}

pub(crate) fn entry_to_proto(entry: &Entry) -> proto::LogEntry {
    use proto::log_entry::Payload;
    let leader = entry.log_id.committed_leader_id();
    let payload = match &entry.payload {
        EntryPayload::Blank => Payload::Blank(proto::Blank {}),
        EntryPayload::Normal(command) => Payload::Command(command.0.clone()),
        EntryPayload::Membership(membership) => {
            Payload::Membership(membership_to_proto(membership))
        }
    };
    proto::LogEntry {
        term: leader.term,
        node_id: leader.node_id,
        index: entry.index(),
        payload: Some(payload),
    }
}

pub(crate) fn entry_from_proto(entry: proto::LogEntry) -> Result<Entry, Invalid> {
    use proto::log_entry::Payload;
    let leader = LeaderId { term: entry.term, node_id: entry.node_id };
    let payload = match entry.payload.ok_or(Invalid::Payload)? {
        Payload::Blank(proto::Blank {}) => EntryPayload::Blank,
        Payload::Command(command) => EntryPayload::Normal(Command(command)),
        Payload::Membership(membership) => {
            EntryPayload::Membership(membership_from_proto(&membership)?)
        }
    };
    Ok(Entry::new(LogId::new(leader, entry.index), payload))
}

/// What an entry weighs in caches, batches and messages: its payload and a little for the rest.
pub(crate) fn entry_octets(entry: &Entry) -> usize {
    const POSITION: usize = 32;
    const MEMBER: usize = 64;
    POSITION
        + match &entry.payload {
            EntryPayload::Blank => 0,
            EntryPayload::Normal(command) => command.0.len(),
            EntryPayload::Membership(membership) => membership.nodes().count() * MEMBER,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use prost::Message as _;

    fn log_id(term: u64, node_id: u64, index: u64) -> LogId {
        LogId::new(LeaderId { term, node_id }, index)
    }

    #[test]
    fn entries_survive_the_round_trip() {
        let membership = Membership::new(
            vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([2, 3, 4])],
            (1..=5).map(|id| (id, BasicNode::new(format!("h{id}:1")))).collect::<BTreeMap<_, _>>(),
        )
        .unwrap();
        for payload in [
            EntryPayload::Blank,
            EntryPayload::Normal(Command(Bytes::from_static(b"register"))),
            EntryPayload::Normal(Command(Bytes::new())),
            EntryPayload::Membership(membership),
        ] {
            let entry = Entry::new(log_id(7, 2, 4711), payload);
            let octets = entry_to_proto(&entry).encode_to_vec();
            let back = entry_from_proto(proto::LogEntry::decode(&octets[..]).unwrap()).unwrap();
            assert_eq!(back, entry);
        }
    }

    // Frozen octets of disk format version 1: these must decode for ever.
    #[test]
    fn the_encoding_of_version_1_does_not_move() {
        let entry =
            Entry::new(log_id(3, 1, 300), EntryPayload::Normal(Command(Bytes::from_static(b"x"))));
        let octets = entry_to_proto(&entry).encode_to_vec();
        assert_eq!(octets, [0x08, 3, 0x10, 1, 0x18, 0xac, 0x02, 0x2a, 1, b'x']);
        let blank = Entry::new(log_id(1, 1, 1), EntryPayload::Blank);
        assert_eq!(entry_to_proto(&blank).encode_to_vec(), [0x08, 1, 0x10, 1, 0x18, 1, 0x22, 0]);
    }

    #[test]
    fn an_entry_without_payload_is_refused() {
        let entry = proto::LogEntry { term: 1, node_id: 1, index: 1, payload: None };
        assert_eq!(entry_from_proto(entry), Err(Invalid::Payload));
    }

    #[test]
    fn a_voter_without_address_is_refused() {
        let membership = proto::Membership {
            voters: vec![proto::VoterSet { node_ids: vec![1, 2] }],
            members: vec![proto::Member { node_id: 1, address: "h1:1".into() }],
        };
        assert_eq!(membership_from_proto(&membership), Err(Invalid::Membership));
    }
}
