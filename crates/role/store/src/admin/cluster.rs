use std::collections::BTreeSet;

use homeport_api::admin::cluster_server::Cluster;
use homeport_api::admin::{self as api};
use homeport_raft::{Leader, MembershipError, NodeStatus};
use tonic::{Request, Response, Status};

use super::audited::{self, Caller};
use super::{Reason, Refused, invalid, not_found, status_of, write};
use crate::nodes::raft_role;
use crate::{Store, limits};

pub(crate) struct Service(pub(crate) Store);

#[tonic::async_trait]
impl Cluster for Service {
    async fn get_status(
        &self,
        _request: Request<api::GetStatusRequest>,
    ) -> Result<Response<api::GetStatusResponse>, Status> {
        let status = self.0.node.status();
        let (home_addresses, bindings) = self
            .0
            .node
            .read(|machine| (machine.cache.home_address_count(), machine.cache.binding_count()));
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let role = raft_role(status.role);
        let (cluster_name, cluster_id) = self.0.node.cluster();
        let feed_subscribers = self.0.subscribers.list().into_iter();
        Ok(Response::new(api::GetStatusResponse {
            node_id: status.node_id,
            role: role.to_owned(),
            term: status.term,
            leader_id: status.leader.as_ref().map_or(0, |leader| leader.node_id),
            last_log_index: status.last_log.unwrap_or(0),
            committed_index: status.committed.unwrap_or(0),
            applied_index: status.applied.unwrap_or(0),
            members: members(&status),
            home_addresses: count(home_addresses),
            bindings: count(bindings),
            feed_subscribers: feed_subscribers
                .map(|(name, sent_revision)| api::FeedSubscriber { name, sent_revision })
                .collect(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster_name: cluster_name.to_owned(),
            cluster_id,
            keeps_operations: self.0.node.read(|machine| machine.cache.keeps_operations()),
        }))
    }
    async fn add_replica(
        &self,
        request: Request<api::AddReplicaRequest>,
    ) -> Result<Response<api::AddReplicaResponse>, Status> {
        write(&self.0, request, add).await
    }

    async fn remove_replica(
        &self,
        request: Request<api::RemoveReplicaRequest>,
    ) -> Result<Response<api::RemoveReplicaResponse>, Status> {
        write(&self.0, request, remove).await
    }

    async fn transfer_leadership(
        &self,
        request: Request<api::TransferLeadershipRequest>,
    ) -> Result<Response<api::TransferLeadershipResponse>, Status> {
        write(&self.0, request, transfer).await
    }
}

async fn add(
    store: Store,
    caller: Caller,
    request: api::AddReplicaRequest,
) -> Result<api::AddReplicaResponse, Status> {
    let node = &store.node;
    node.read_index().await.map_err(|error| status_of(&error))?;
    let before = node.status();
    check(&request, &before)?;
    let about = ("Member", request.node_id.to_string());
    audited::record(&store, &caller, about, request.address.clone()).await?;
    let is_member = before.voters.iter().chain(&before.learners);
    if is_member.into_iter().all(|member| member.node_id != request.node_id) {
        tracing::info!(node_id = request.node_id, address = request.address, "adding a replica");
    }
    let votes = |node_id| before.voters.iter().any(|voter| voter.node_id == node_id);
    if !votes(request.node_id) {
        let added = node.add_learner(request.node_id, &request.address).await;
        added.map_err(|error| not_changed(&error))?;
    }
    let mut voters: BTreeSet<u64> = before.voters.iter().map(|voter| voter.node_id).collect();
    let is_replaced = voters.remove(&request.replaces_node_id);
    if !request.learner_only && (voters.insert(request.node_id) || is_replaced) {
        node.set_voters(voters).await.map_err(|error| not_changed(&error))?;
    }
    Ok(api::AddReplicaResponse { members: members(&node.status()) })
}

async fn remove(
    store: Store,
    caller: Caller,
    request: api::RemoveReplicaRequest,
) -> Result<api::RemoveReplicaResponse, Status> {
    let node_id = request.node_id;
    let node = &store.node;
    node.read_index().await.map_err(|error| status_of(&error))?;
    let before = node.status();
    let about = ("Member", node_id.to_string());
    if before.voters.iter().chain(&before.learners).any(|it| it.node_id == node_id) {
        audited::record(&store, &caller, about, String::new()).await?;
    }
    let mut voters: BTreeSet<u64> = before.voters.iter().map(|voter| voter.node_id).collect();
    if voters.remove(&node_id) {
        if voters.is_empty() {
            let message = format!("{node_id} is the last replica that votes");
            return Err(Refused::of_field(Reason::LastVoter, "node_id", &message).status());
        }
        if node_id == before.node_id {
            // Who leads next removes this one, and the caller is told who that is.
            let handed_over = node.hand_over(None, limits::HAND_OVER_ASKED_MAX).await;
            handed_over.map_err(|error| status_of(&error))?;
        }
        node.set_voters(voters).await.map_err(|error| not_changed(&error))?;
    } else if before.learners.iter().any(|learner| learner.node_id == node_id) {
        node.remove_learner(node_id).await.map_err(|error| not_changed(&error))?;
    } else {
        let message = format!("{node_id} is no member; see homeportctl raft members");
        return Err(not_found("node_id", &("Member", node_id.to_string()), &message));
    }
    Ok(api::RemoveReplicaResponse { members: members(&node.status()) })
}

async fn transfer(
    store: Store,
    caller: Caller,
    request: api::TransferLeadershipRequest,
) -> Result<api::TransferLeadershipResponse, Status> {
    let to = Some(request.node_id).filter(|node_id| *node_id != 0);
    let node = &store.node;
    node.read_index().await.map_err(|error| status_of(&error))?;
    let status = node.status();
    if to == Some(status.node_id) {
        return Ok(api::TransferLeadershipResponse { leader_id: status.node_id });
    }
    if let Some(to) = to
        && status.voters.iter().all(|voter| voter.node_id != to)
    {
        let message = format!("{to} does not vote");
        return Err(not_found("node_id", &("Member", to.to_string()), &message));
    }
    let about = ("Member", to.map(|to| to.to_string()).unwrap_or_default());
    audited::record(&store, &caller, about, String::new()).await?;
    let leader_id = node.hand_over(to, limits::HAND_OVER_ASKED_MAX).await;
    match leader_id.map_err(|error| status_of(&error))? {
        Some(leader_id) => Ok(api::TransferLeadershipResponse { leader_id }),
        None => {
            let message = "no other replica has taken the leadership: see homeportctl status which of \
                           them are up";
            Err(Refused::new(Reason::NoSuccessor, message).status())
        }
    }
}

fn members(status: &NodeStatus) -> Vec<api::Member> {
    let member = |leader: &Leader, voter| api::Member {
        node_id: leader.node_id,
        address: leader.address.clone(),
        voter,
    };
    let voters = status.voters.iter().map(|entry| member(entry, true));
    voters.chain(status.learners.iter().map(|entry| member(entry, false))).collect()
}

fn check(request: &api::AddReplicaRequest, now: &NodeStatus) -> Result<(), Status> {
    if request.node_id == 0 {
        return Err(invalid("node_id", "expected 1 or more, as in the replica's configuration"));
    }
    let address = request.address.rsplit_once(':');
    if !address.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) {
        let message = format!("{:?} is not host:port", request.address);
        return Err(invalid("address", &message));
    }
    let all = || now.voters.iter().chain(&now.learners);
    let known = all().find(|member| member.node_id == request.node_id);
    if let Some(known) = known.filter(|known| known.address != request.address) {
        let message = format!("{} is a member at {}", request.node_id, known.address);
        let refused = Refused::of_field(Reason::AlreadyExists, "node_id", &message);
        return Err(refused.about("Member", known.node_id).status());
    }
    let taken = all().find(|member| member.address == request.address);
    if let Some(taken) = taken.filter(|taken| taken.node_id != request.node_id)
        && taken.node_id != request.replaces_node_id
    {
        let message = format!("{} is the address of member {}", request.address, taken.node_id);
        let refused = Refused::of_field(Reason::AlreadyExists, "address", &message);
        return Err(refused.about("Member", taken.node_id).status());
    }
    let replaced = request.replaces_node_id;
    if replaced != 0 {
        if request.learner_only || replaced == request.node_id {
            return Err(invalid(
                "replaces_node_id",
                "only another replica that votes takes a place",
            ));
        }
        let is_voter = |node_id| now.voters.iter().any(|voter| voter.node_id == node_id);
        // Asked again after it was done.
        if !is_voter(replaced) && !is_voter(request.node_id) {
            let message = format!("{replaced} does not vote");
            let about = ("Member", replaced.to_string());
            return Err(not_found("replaces_node_id", &about, &message));
        }
    }
    Ok(())
}

fn not_changed(error: &MembershipError) -> Status {
    match error {
        MembershipError::Propose(error) => status_of(error),
        MembershipError::Refused(_) => {
            Refused::new(Reason::MembershipRefused, error.to_string()).status()
        }
    }
}
