//! `homeportctl node`

use homeport_api::admin::{
    DrainNodeRequest, DrainState, ListNodesRequest, Node, NodeRole, UndrainNodeRequest,
    nodes_client::NodesClient,
};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use crate::{
    arguments::{Format, NodeAction},
    cluster::{Cluster, Effect},
    failure::Failure,
    output::{self, Columns},
};

const COLUMNS: Columns = Columns {
    names: &[
        "NAME",
        "ROLE",
        "STATE",
        "DRAIN",
        "VERSION",
        "REVISION",
        "LAG",
        "SINCE",
        "ADDRESS",
        "STORE",
        "DISK-FREE",
        "UNDER-WAY",
    ],
    narrow: 8,
};

/// How often it is looked whether a drain is done.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

pub(crate) async fn run(
    cluster: &Cluster,
    format: Format,
    action: &NodeAction,
) -> Result<String, Failure> {
    let (validate_only, request_id) = cluster.marks();
    match action {
        NodeAction::List => {
            let (nodes, silent) = all(cluster).await?;
            for node_id in silent {
                eprintln!("replica {node_id} does not answer: what is connected to it is missing");
            }
            Ok(output::list_of(format, COLUMNS, &nodes, rows, document))
        }
        NodeAction::Drain { name, wait_secs } => {
            let request = DrainNodeRequest { name: name.clone(), validate_only, request_id };
            let call = async |channel| NodesClient::new(channel).drain_node(request.clone()).await;
            let mut node = cluster.call(Effect::Change, call).await?;
            let wait_secs = if validate_only { 0 } else { *wait_secs };
            let end = Instant::now() + Duration::from_secs(wait_secs);
            while node.drain_state() != DrainState::Drained && Instant::now() < end {
                sleep(LOOK_INTERVAL).await;
                let (nodes, _) = all(cluster).await?;
                match nodes.into_iter().find(|it| it.name == *name) {
                    Some(found) => node = found,
                    // It has gone meanwhile: nothing comes to it.
                    None => break,
                }
            }
            if node.drain_state() != DrainState::Drained && wait_secs > 0 {
                let text =
                    format!("{name} still has something under way; see homeportctl node list");
                return Err(Failure::Usage(text));
            }
            Ok(output::list_of(format, COLUMNS, &[node], rows, document))
        }
        NodeAction::Undrain { name } => {
            let request = UndrainNodeRequest { name: name.clone(), validate_only, request_id };
            let call =
                async |channel| NodesClient::new(channel).undrain_node(request.clone()).await;
            let node = cluster.call(Effect::Change, call).await?;
            Ok(output::list_of(format, COLUMNS, &[node], rows, document))
        }
    }
}

/// All nodes, and the replicas that did not answer.
pub(super) async fn all(cluster: &Cluster) -> Result<(Vec<Node>, Vec<u64>), Failure> {
    let (mut nodes, mut silent, mut page_token) = (Vec::new(), Vec::new(), String::new());
    loop {
        let page_size = super::PAGE_SIZE_MAX;
        let request = ListNodesRequest { page_size, page_token, local: false };
        let call = async |channel| NodesClient::new(channel).list_nodes(request.clone()).await;
        let page = cluster.call(Effect::Read, call).await?;
        nodes.extend(page.nodes);
        silent = if page.silent_node_ids.is_empty() { silent } else { page.silent_node_ids };
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok((nodes, silent));
        }
    }
}

fn role(node: &Node) -> &str {
    match node.role() {
        NodeRole::Store if !node.raft_role.is_empty() => &node.raft_role,
        NodeRole::Store => "store",
        NodeRole::FrontEnd => "front-end",
        NodeRole::Forwarder => "forwarder",
        NodeRole::Unspecified => "-",
    }
}

fn drain_state(node: &Node) -> &'static str {
    match node.drain_state() {
        DrainState::Serving => "serving",
        DrainState::Draining => "draining",
        DrainState::Drained => "drained",
        DrainState::Unspecified => "-",
    }
}

fn rows(node: &Node) -> Vec<Vec<String>> {
    let known = |number: u64| output::or_dash(Some(number).filter(|number| *number != 0));
    let text = |text: &String| output::or_dash(Some(text).filter(|text| !text.is_empty()));
    vec![vec![
        node.name.clone(),
        role(node).to_owned(),
        if node.connected { "up" } else { "down" }.to_owned(),
        drain_state(node).to_owned(),
        text(&node.version),
        known(node.revision),
        if node.revision == 0 { "-".to_owned() } else { node.lag_revisions.to_string() },
        output::or_dash(Some(node.connected_ms).filter(|ms| *ms != 0).map(output::moment)),
        text(&node.address),
        node.store_node_id.to_string(),
        known(node.disk_free_octets),
        node.under_way.to_string(),
    ]]
}

pub(super) fn document(node: &Node) -> Value {
    json!({
        "name": node.name,
        "role": node.role().as_str_name(),
        "connected": node.connected,
        "address": node.address,
        "version": node.version,
        "connected_ms": node.connected_ms,
        "revision": node.revision,
        "lag_revisions": node.lag_revisions,
        "drain_state": node.drain_state().as_str_name(),
        "store_node_id": node.store_node_id,
        "raft_role": node.raft_role,
        "disk_free_octets": node.disk_free_octets,
        "under_way": node.under_way,
        "drainable": node.drainable,
    })
}
