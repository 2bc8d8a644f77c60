//! `homeportctl raft`: the replicas that the store's log is copied to, and which of them leads.

use homeport_api::admin::{
    AddReplicaRequest, FinishUpgradeRequest, GetStatusRequest, Member, RemoveReplicaRequest,
    TransferLeadershipRequest, cluster_client::ClusterClient, upgrades_client::UpgradesClient,
};
use serde_json::{Value, json};

use crate::{
    arguments::{Format, RaftAction},
    cluster::{Cluster, Effect},
    failure::Failure,
    output,
};

const COLUMNS: [&str; 3] = ["NODE", "ADDRESS", "VOTES"];

pub(crate) async fn run(
    cluster: &Cluster,
    format: Format,
    action: &RaftAction,
) -> Result<String, Failure> {
    let (validate_only, request_id) = cluster.marks();
    let members = match action {
        RaftAction::Members => {
            let call =
                async |channel| ClusterClient::new(channel).get_status(GetStatusRequest {}).await;
            cluster.call(Effect::Read, call).await?.members
        }
        RaftAction::Add(add) => {
            let request = AddReplicaRequest {
                node_id: add.node_id,
                address: add.address.clone(),
                learner_only: add.learner_only,
                replaces_node_id: add.replaces.unwrap_or_default(),
                request_id,
            };
            let call =
                async |channel| ClusterClient::new(channel).add_replica(request.clone()).await;
            cluster.call(Effect::Change, call).await?.members
        }
        RaftAction::Remove { node_id } => {
            let request = RemoveReplicaRequest { node_id: *node_id, request_id };
            let call =
                async |channel| ClusterClient::new(channel).remove_replica(request.clone()).await;
            cluster.call(Effect::Change, call).await?.members
        }
        RaftAction::FinishUpgrade => {
            let request = FinishUpgradeRequest { validate_only, request_id };
            let call =
                async |channel| UpgradesClient::new(channel).finish_upgrade(request.clone()).await;
            cluster.call(Effect::Change, call).await?;
            let what = "alarms, drains and the record of writes are kept from now on";
            return Ok(output::done(format, what));
        }
        RaftAction::Transfer { node_id } => {
            let node_id = node_id.unwrap_or_default();
            let request = TransferLeadershipRequest { node_id, request_id };
            let call = async |channel| {
                ClusterClient::new(channel).transfer_leadership(request.clone()).await
            };
            let leader_id = cluster.call(Effect::Change, call).await?.leader_id;
            return Ok(output::done(format, &format!("replica {leader_id} leads")));
        }
    };
    Ok(output::list(format, &COLUMNS, &members, rows, document))
}

fn rows(member: &Member) -> Vec<Vec<String>> {
    let votes = if member.voter { "yes" } else { "no" };
    vec![vec![member.node_id.to_string(), member.address.clone(), votes.to_owned()]]
}

fn document(member: &Member) -> Value {
    json!({
        "node_id": member.node_id,
        "address": member.address,
        "voter": member.voter,
    })
}
