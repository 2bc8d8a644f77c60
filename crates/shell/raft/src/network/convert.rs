//! openraft's requests and answers as our messages and back.

use crate::encoding::{
    Invalid, entry_from_proto, entry_to_proto, log_id_from_proto, log_id_to_proto, vote_from_proto,
    vote_to_proto,
};
use crate::proto;
use crate::types::Types;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};

pub(super) fn vote_request(request: &VoteRequest<Types>) -> proto::VoteRequest {
    proto::VoteRequest {
        vote: Some(vote_to_proto(&request.vote)),
        last_log_id: request.last_log_id.as_ref().map(log_id_to_proto),
        leadership_transfer: request.leadership_transfer,
    }
}

pub(super) fn to_vote_request(request: &proto::VoteRequest) -> Result<VoteRequest<Types>, Invalid> {
    let vote = vote_from_proto(request.vote.as_ref())?;
    let last = request.last_log_id.as_ref().map(log_id_from_proto);
    let mut to = VoteRequest::new(vote, last);
    to.leadership_transfer = request.leadership_transfer;
    Ok(to)
}

pub(super) fn vote_response(response: &VoteResponse<Types>) -> proto::VoteResponse {
    proto::VoteResponse {
        vote: Some(vote_to_proto(&response.vote)),
        granted: response.vote_granted,
        last_log_id: response.last_log_id.as_ref().map(log_id_to_proto),
    }
}

pub(super) fn to_vote_response(
    response: &proto::VoteResponse,
) -> Result<VoteResponse<Types>, Invalid> {
    let vote = vote_from_proto(response.vote.as_ref())?;
    let last = response.last_log_id.as_ref().map(log_id_from_proto);
    Ok(VoteResponse::new(vote, last, response.granted))
}

pub(super) fn append_request(request: &AppendEntriesRequest<Types>) -> proto::AppendRequest {
    proto::AppendRequest {
        vote: Some(vote_to_proto(&request.vote)),
        previous: request.prev_log_id.as_ref().map(log_id_to_proto),
        leader_commit: request.leader_commit.as_ref().map(log_id_to_proto),
        entries: request.entries.iter().map(entry_to_proto).collect(),
    }
}

pub(super) fn to_append_request(
    request: proto::AppendRequest,
) -> Result<AppendEntriesRequest<Types>, Invalid> {
    Ok(AppendEntriesRequest {
        vote: vote_from_proto(request.vote.as_ref())?,
        prev_log_id: request.previous.as_ref().map(log_id_from_proto),
        leader_commit: request.leader_commit.as_ref().map(log_id_from_proto),
        entries: request.entries.into_iter().map(entry_from_proto).collect::<Result<_, _>>()?,
    })
}

pub(super) fn append_response(result: &StreamAppendResult<Types>) -> proto::AppendResponse {
    use proto::append_response::Outcome;
    let outcome = match result {
        Ok(up_to) => Outcome::Stored(proto::Stored { up_to: up_to.as_ref().map(log_id_to_proto) }),
        Err(StreamAppendError::Conflict(at)) => Outcome::Conflict(log_id_to_proto(at)),
        Err(StreamAppendError::HigherVote(vote)) => Outcome::HigherVote(vote_to_proto(vote)),
    };
    proto::AppendResponse { outcome: Some(outcome) }
}

pub(super) fn to_append_result(
    response: &proto::AppendResponse,
) -> Result<StreamAppendResult<Types>, Invalid> {
    use proto::append_response::Outcome;
    Ok(match response.outcome.as_ref().ok_or(Invalid::Outcome)? {
        Outcome::Stored(stored) => Ok(stored.up_to.as_ref().map(log_id_from_proto)),
        Outcome::Conflict(at) => Err(StreamAppendError::Conflict(log_id_from_proto(at))),
        Outcome::HigherVote(vote) => {
            Err(StreamAppendError::HigherVote(vote_from_proto(Some(vote))?))
        }
    })
}

pub(super) fn transfer_request(
    request: &TransferLeaderRequest<Types>,
) -> proto::TransferLeaderRequest {
    proto::TransferLeaderRequest {
        from_leader: Some(vote_to_proto(request.from_leader())),
        to_node_id: *request.to_node_id(),
        last_log_id: request.last_log_id().map(log_id_to_proto),
    }
}

pub(super) fn to_transfer_request(
    request: &proto::TransferLeaderRequest,
) -> Result<TransferLeaderRequest<Types>, Invalid> {
    let from = vote_from_proto(request.from_leader.as_ref())?;
    let last = request.last_log_id.as_ref().map(log_id_from_proto);
    Ok(TransferLeaderRequest::new(from, request.to_node_id, last))
}

pub(super) fn transfer_response(
    response: &TransferLeaderResponse<Types>,
) -> proto::TransferLeaderResponse {
    use proto::transfer_leader_response::Outcome;
    let outcome = match response {
        Ok(()) => Outcome::Accepted(proto::Accepted {}),
        Err(TransferLeaderError::VoteChanged { expected, actual }) => {
            Outcome::VoteChanged(proto::VoteChanged {
                expected: Some(vote_to_proto(expected)),
                actual: Some(vote_to_proto(actual)),
            })
        }
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
            Outcome::NotFlushed(proto::NotFlushed {
                expected: expected.as_ref().map(log_id_to_proto),
                actual: actual.as_ref().map(log_id_to_proto),
            })
        }
    };
    proto::TransferLeaderResponse { outcome: Some(outcome) }
}

pub(super) fn to_transfer_response(
    response: &proto::TransferLeaderResponse,
) -> Result<TransferLeaderResponse<Types>, Invalid> {
    use proto::transfer_leader_response::Outcome;
    Ok(match response.outcome.as_ref().ok_or(Invalid::Outcome)? {
        Outcome::Accepted(proto::Accepted {}) => Ok(()),
        Outcome::VoteChanged(changed) => Err(TransferLeaderError::VoteChanged {
            expected: vote_from_proto(changed.expected.as_ref())?,
            actual: vote_from_proto(changed.actual.as_ref())?,
        }),
        Outcome::NotFlushed(not) => Err(TransferLeaderError::LogNotFlushed {
            expected: not.expected.as_ref().map(log_id_from_proto),
            actual: not.actual.as_ref().map(log_id_from_proto),
        }),
    })
}
