use homeport_api::admin::cluster_server::Cluster;
use homeport_api::admin::{self as api};
use homeport_raft::{Leader, Role};
use tonic::{Request, Response, Status};

use crate::Store;

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
        let role = match status.role {
            Role::Leader => "leader",
            Role::Follower => "follower",
            Role::Candidate => "candidate",
            Role::Learner => "learner",
            Role::Stopped => "stopped",
        };
        let member = |leader: &Leader, voter| api::Member {
            node_id: leader.node_id,
            address: leader.address.clone(),
            voter,
        };
        let voters = status.voters.iter().map(|entry| member(entry, true));
        let learners = status.learners.iter().map(|entry| member(entry, false));
        let feed_subscribers = self.0.subscribers.list().into_iter();
        Ok(Response::new(api::GetStatusResponse {
            node_id: status.node_id,
            role: role.to_owned(),
            term: status.term,
            leader_id: status.leader.as_ref().map_or(0, |leader| leader.node_id),
            last_log_index: status.last_log.unwrap_or(0),
            committed_index: status.committed.unwrap_or(0),
            applied_index: status.applied.unwrap_or(0),
            members: voters.chain(learners).collect(),
            home_addresses: count(home_addresses),
            bindings: count(bindings),
            feed_subscribers: feed_subscribers
                .map(|(name, sent_revision)| api::FeedSubscriber { name, sent_revision })
                .collect(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }))
    }
}
