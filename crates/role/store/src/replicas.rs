//! What the other replicas ask of this one beside Raft.

use homeport_api::replica::replicas_server::{Replicas, ReplicasServer};
use homeport_api::replica::{ListConnectedRequest, ListConnectedResponse};
use tonic::{Request, Response, Status};

use crate::{Store, nodes};

pub(crate) fn service(store: Store) -> ReplicasServer<Service> {
    ReplicasServer::new(Service(store))
}

pub(crate) struct Service(Store);

#[tonic::async_trait]
impl Replicas for Service {
    async fn list_connected(
        &self,
        _request: Request<ListConnectedRequest>,
    ) -> Result<Response<ListConnectedResponse>, Status> {
        Ok(Response::new(ListConnectedResponse { nodes: nodes::local(&self.0) }))
    }
}
