//! `homeportctl raft`: the replicas that the store's log is copied to, and which of them leads.

use std::time::{Duration, Instant};

use homeport_api::admin::{
    AddReplicaRequest, FinishUpgradeRequest, GetStatusRequest, Member, RemoveReplicaRequest,
    TransferLeadershipRequest, cluster_client::ClusterClient, upgrades_client::UpgradesClient,
};
use serde_json::{Value, json};

use crate::{
    arguments::{Format, RaftAction, Reconcile},
    cluster::{Cluster, Effect},
    failure::Failure,
    output,
};

/// Before what was refused is tried again.
const RECONCILE_PAUSE: Duration = Duration::from_secs(1);

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
        RaftAction::Reconcile(wanted) => reconcile(cluster, wanted).await?,
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

/// Goes on until the members are as wanted, or the time is over: a replica may have to start first, or the leader may
/// change.
async fn reconcile(cluster: &Cluster, wanted: &Reconcile) -> Result<Vec<Member>, Failure> {
    let begun = Instant::now();
    let patience = Duration::from_secs(wanted.within_secs);
    loop {
        let failure = match step(cluster, wanted).await {
            Ok(Step::Done(members)) => return Ok(members),
            Ok(Step::Changed(what)) => {
                eprintln!("{what}");
                continue;
            }
            Err(failure @ Failure::Usage(_)) => return Err(failure),
            Err(failure) => failure,
        };
        if begun.elapsed() >= patience {
            return Err(failure);
        }
        eprint!("not yet: {failure}");
        tokio::time::sleep(RECONCILE_PAUSE).await;
    }
}

enum Step {
    Done(Vec<Member>),
    Changed(String),
}

async fn step(cluster: &Cluster, wanted: &Reconcile) -> Result<Step, Failure> {
    let call = async |channel| ClusterClient::new(channel).get_status(GetStatusRequest {}).await;
    let members = cluster.call(Effect::Read, call).await?.members;
    for (node_id, address) in &wanted.members {
        let other = members.iter().find(|it| it.node_id == *node_id && it.address != *address);
        if let Some(other) = other {
            let what = format!("--member {node_id}={address}: it is at {}", other.address);
            return Err(Failure::Usage(what));
        }
    }
    // One that does not vote yet was added by a call that did not end.
    let votes = |id: u64| members.iter().any(|it| it.node_id == id && it.voter);
    let missing = wanted.members.iter().find(|(node_id, _)| wanted.add && !votes(*node_id));
    let is_wanted = |id: u64| wanted.members.iter().any(|(node_id, _)| *node_id == id);
    let takes_place = |address: &str| wanted.members.iter().any(|(_, at)| at == address);
    // Whose place another one takes is a member until that one is.
    let surplus = match missing {
        Some((_, address)) => members
            .iter()
            .find(|it| wanted.remove && !is_wanted(it.node_id) && it.address == *address),
        None => members.iter().find(|it| {
            wanted.remove && !is_wanted(it.node_id) && (wanted.add || !takes_place(&it.address))
        }),
    };
    let (_, request_id) = cluster.marks();
    match (missing, surplus) {
        (None, None) => Ok(Step::Done(members)),
        (Some((node_id, address)), surplus) => {
            let request = AddReplicaRequest {
                node_id: *node_id,
                address: address.clone(),
                learner_only: false,
                replaces_node_id: surplus.map_or(0, |it| it.node_id),
                request_id,
            };
            let call =
                async |channel| ClusterClient::new(channel).add_replica(request.clone()).await;
            cluster.call(Effect::Change, call).await?;
            Ok(Step::Changed(format!("added replica {node_id} at {address}")))
        }
        (None, Some(surplus)) => {
            let node_id = surplus.node_id;
            let request = RemoveReplicaRequest { node_id, request_id };
            let call =
                async |channel| ClusterClient::new(channel).remove_replica(request.clone()).await;
            cluster.call(Effect::Change, call).await?;
            Ok(Step::Changed(format!("removed replica {node_id}")))
        }
    }
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
