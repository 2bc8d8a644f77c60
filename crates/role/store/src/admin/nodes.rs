use homeport_api::admin::nodes_server::Nodes;
use homeport_api::admin::{self as api, DrainState, NodeRole};
use homeport_binding::{Command, Operation};
use tonic::{Request, Response, Status};

use super::audited::Caller;
use super::{Reason, Refused, execute, invalid, not_found, page_size, read_barrier, write};
use crate::{Store, nodes};

pub(crate) struct Service(pub(crate) Store);

#[tonic::async_trait]
impl Nodes for Service {
    async fn list_nodes(
        &self,
        request: Request<api::ListNodesRequest>,
    ) -> Result<Response<api::ListNodesResponse>, Status> {
        let request = request.into_inner();
        let size = page_size(request.page_size)?;
        let (nodes, silent_node_ids) = if request.local {
            (sorted(nodes::local(&self.0)), Vec::new())
        } else {
            nodes::all(&self.0).await
        };
        let rest = nodes.into_iter().filter(|node| node.name > request.page_token);
        let mut nodes: Vec<api::Node> = rest.take(size.saturating_add(1)).collect();
        let more = nodes.len() > size;
        nodes.truncate(size);
        let last = nodes.last().filter(|_| more);
        let next_page_token = last.map(|last| last.name.clone()).unwrap_or_default();
        Ok(Response::new(api::ListNodesResponse { nodes, next_page_token, silent_node_ids }))
    }

    async fn get_node(
        &self,
        request: Request<api::GetNodeRequest>,
    ) -> Result<Response<api::Node>, Status> {
        let name = request.into_inner().name;
        find(&self.0, &name).await.map(Response::new)
    }

    async fn drain_node(
        &self,
        request: Request<api::DrainNodeRequest>,
    ) -> Result<Response<api::Node>, Status> {
        write(&self.0, request, drain).await
    }

    async fn undrain_node(
        &self,
        request: Request<api::UndrainNodeRequest>,
    ) -> Result<Response<api::Node>, Status> {
        write(&self.0, request, undrain).await
    }
}

async fn drain(
    store: Store,
    caller: Caller,
    request: api::DrainNodeRequest,
) -> Result<api::Node, Status> {
    let name = request.name;
    read_barrier(&store, false).await?;
    let (all, _) = nodes::all(&store).await;
    let node = pick(&all, &name)?;
    if !node.drainable {
        let message = "a store, or a forwarder of a version that cannot be drained, leaves in order \
                       when it is stopped by SIGTERM";
        return Err(invalid("name", message));
    }
    let role = match node.role() {
        NodeRole::FrontEnd => "front-end",
        _ => "forwarder",
    };
    let serves = |it: &api::Node| {
        it.role() == node.role()
            && it.name != name
            && !store.node.read(|machine| machine.cache.is_drained(&it.name))
    };
    if !all.iter().any(serves) {
        let message = format!("{name} is the last {role} that serves; start or undrain another");
        let refused = Refused::of_field(Reason::InUse, "name", &message);
        return Err(refused.about("Node", &name).status());
    }
    set(&store, &caller, name, true).await
}

async fn undrain(
    store: Store,
    caller: Caller,
    request: api::UndrainNodeRequest,
) -> Result<api::Node, Status> {
    let name = request.name;
    read_barrier(&store, false).await?;
    let is_drained = store.node.read(|machine| machine.cache.is_drained(&name));
    if !is_drained {
        find(&store, &name).await?;
    }
    set(&store, &caller, name, false).await
}

async fn set(
    store: &Store,
    caller: &Caller,
    name: String,
    drained: bool,
) -> Result<api::Node, Status> {
    let operation = Operation::Drain { node: name.clone(), drained };
    execute(store, caller, Command::Operate(operation)).await?;
    if !caller.validate_only {
        store.front_ends.tell(&name, drained);
    }
    // One that is away is as it is asked to be when it comes back.
    let (all, _) = nodes::all(store).await;
    let mut node = pick(&all, &name).unwrap_or(api::Node { name, ..api::Node::default() });
    if caller.validate_only {
        let is_drained = node.drain_state() == DrainState::Drained;
        node.set_drain_state(match drained {
            false => DrainState::Serving,
            true if is_drained => DrainState::Drained,
            true => DrainState::Draining,
        });
    }
    Ok(node)
}

fn sorted(mut nodes: Vec<api::Node>) -> Vec<api::Node> {
    nodes.sort_by(|one, other| one.name.cmp(&other.name));
    nodes
}

async fn find(store: &Store, name: &str) -> Result<api::Node, Status> {
    let (all, _) = nodes::all(store).await;
    pick(&all, name)
}

fn pick(all: &[api::Node], name: &str) -> Result<api::Node, Status> {
    all.iter().find(|node| node.name == name).cloned().ok_or_else(|| {
        let message = format!("no node {name:?} is connected; see homeportctl node list");
        not_found("name", &("Node", name.to_owned()), &message)
    })
}
