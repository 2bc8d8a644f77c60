//! `homeportctl status`: every endpoint is asked, because what they say may differ.

use homeport_api::admin::{GetStatusRequest, GetStatusResponse, cluster_client::ClusterClient};
use serde_json::{Value, json};
use tonic::Code;

use crate::{
    arguments::Format,
    cluster::Cluster,
    failure::{Failure, reason},
    output,
};

const COLUMNS: [&str; 11] = [
    "ENDPOINT",
    "NODE",
    "ROLE",
    "TERM",
    "LEADER",
    "LOG",
    "COMMITTED",
    "APPLIED",
    "HOMES",
    "BINDINGS",
    "VERSION",
];

const SUBSCRIBER_COLUMNS: [&str; 4] = ["FEED-SUBSCRIBER", "FED-BY", "REVISION-SENT", "LAG"];

type Answer = (String, Result<GetStatusResponse, String>);

pub(crate) async fn run(cluster: &Cluster, format: Format) -> Result<String, Failure> {
    let mut answers: Vec<Answer> = Vec::new();
    let mut refused = None;
    for endpoint in cluster.endpoints() {
        let call =
            async |channel| ClusterClient::new(channel).get_status(GetStatusRequest {}).await;
        let answer = cluster.ask(endpoint, call).await.map_err(|answer| {
            let told = reason(&answer);
            // It was reached, and does not tell this caller.
            if matches!(answer.code(), Code::Unauthenticated | Code::PermissionDenied) {
                refused = Some(answer);
            }
            told
        });
        answers.push((endpoint.clone(), answer));
    }
    if answers.iter().all(|(_, answer)| answer.is_err()) {
        if let Some(refused) = refused {
            return Err(Failure::Refused(Box::new(refused)));
        }
        let tried = answers.into_iter().filter_map(|(endpoint, a)| Some((endpoint, a.err()?)));
        return Err(Failure::Unreached(tried.collect()));
    }
    let replicas = output::list(format, &COLUMNS, &answers, rows, document);
    match format {
        Format::Json | Format::Csv => Ok(replicas),
        Format::Table | Format::Wide => {
            let subscribers = answers.iter().filter_map(|(_, answer)| answer.as_ref().ok());
            let rows: Vec<_> = subscribers.flat_map(subscriber_rows).collect();
            Ok(replicas + "\n" + &output::table(&SUBSCRIBER_COLUMNS, rows.into_iter()))
        }
    }
}

fn rows((endpoint, answer): &Answer) -> Vec<Vec<String>> {
    let mut row = vec![endpoint.clone()];
    match answer {
        Ok(status) => row.extend([
            status.node_id.to_string(),
            status.role.clone(),
            status.term.to_string(),
            output::or_dash(Some(status.leader_id).filter(|leader| *leader != 0)),
            status.last_log_index.to_string(),
            status.committed_index.to_string(),
            status.applied_index.to_string(),
            status.home_addresses.to_string(),
            status.bindings.to_string(),
            status.version.clone(),
        ]),
        Err(error) => row.extend(["-".to_owned(), format!("cannot be reached: {error}")]),
    }
    vec![row]
}

fn subscriber_rows(status: &GetStatusResponse) -> Vec<Vec<String>> {
    let lag = |sent| status.applied_index.saturating_sub(sent);
    status
        .feed_subscribers
        .iter()
        .map(|subscriber| {
            vec![
                subscriber.name.clone(),
                format!("node {}", status.node_id),
                subscriber.sent_revision.to_string(),
                lag(subscriber.sent_revision).to_string(),
            ]
        })
        .collect()
}

pub(super) fn document((endpoint, answer): &Answer) -> Value {
    let status = match answer {
        Ok(status) => status,
        Err(error) => return json!({ "endpoint": endpoint, "error": error }),
    };
    let members: Vec<Value> = status
        .members
        .iter()
        .map(|member| {
            json!({ "node_id": member.node_id, "address": member.address, "voter": member.voter })
        })
        .collect();
    let subscribers: Vec<Value> = status
        .feed_subscribers
        .iter()
        .map(|one| json!({ "name": one.name, "sent_revision": one.sent_revision }))
        .collect();
    json!({
        "endpoint": endpoint,
        "node_id": status.node_id,
        "role": status.role,
        "term": status.term,
        "leader_id": status.leader_id,
        "last_log_index": status.last_log_index,
        "committed_index": status.committed_index,
        "applied_index": status.applied_index,
        "members": members,
        "home_addresses": status.home_addresses,
        "bindings": status.bindings,
        "feed_subscribers": subscribers,
        "version": status.version,
        "keeps_operations": status.keeps_operations,
    })
}
