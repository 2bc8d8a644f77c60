//! `homeportctl support-bundle`: what somebody who helps needs to know, in one file, without secrets.

use std::{fs::OpenOptions, io::Write as _, os::unix::fs::OpenOptionsExt as _};

use homeport_api::admin::{
    GetStatusRequest, ListHomePrefixesRequest, cluster_client::ClusterClient,
    home_prefixes_client::HomePrefixesClient,
};
use serde_json::{Map, Value, json};

use crate::{
    arguments::{Format, Page, SupportBundle},
    cluster::{Cluster, Effect},
    failure::Failure,
    output,
    verbs::{alarms, audit, check, events, home_prefixes, nodes, status},
};

/// Events, records and changes of each kind.
const LIMIT: Page = Page { limit: 1000 };

/// Fields that say who a mobile node is and where.
const PERSONAL: [&str; 8] = [
    "home_address",
    "care_of_address",
    "nai",
    "resource",
    "before",
    "after",
    "mobile_networks",
    "ipv4_home_address",
];

pub(crate) async fn run(
    cluster: &Cluster,
    format: Format,
    arguments: &SupportBundle,
) -> Result<String, Failure> {
    let mut bundle = Map::new();
    let mut put = |name: &str, part: Result<Vec<Value>, Failure>| {
        let part = part.map_or_else(|failure| json!({ "error": failure.to_string() }), Value::from);
        bundle.insert(name.to_owned(), part);
    };
    let mut statuses = Vec::new();
    for endpoint in cluster.endpoints() {
        let call =
            async |channel| ClusterClient::new(channel).get_status(GetStatusRequest {}).await;
        let answer = cluster.ask(endpoint, call).await;
        let answer = answer.map_err(|answer| crate::failure::reason(&answer));
        statuses.push(status::document(&(endpoint.clone(), answer)));
    }
    put("status", Ok(statuses));
    put("checks", Ok(check::documents(cluster).await));
    let all = nodes::all(cluster).await;
    put("nodes", all.map(|(all, _)| all.iter().map(nodes::document).collect()));
    let list = alarms::list(cluster, LIMIT, true).await;
    put("alarms", list.map(|list| list.iter().map(alarms::document).collect()));
    let list = alarms::history(cluster, LIMIT).await;
    put("alarm_history", list.map(|list| list.iter().map(alarms::change_document).collect()));
    let list = events::list(cluster, LIMIT, "", 0).await;
    put("events", list.map(|list| list.iter().map(events::document).collect()));
    let list = audit::list(cluster, LIMIT).await;
    put("audit_records", list.map(|list| list.iter().map(audit::document).collect()));
    let request = ListHomePrefixesRequest { page_size: LIMIT.limit, page_token: String::new() };
    let call =
        async |channel| HomePrefixesClient::new(channel).list_home_prefixes(request.clone()).await;
    let list = cluster.call(Effect::Read, call).await;
    put(
        "home_prefixes",
        list.map(|list| list.home_prefixes.iter().map(home_prefixes::document).collect()),
    );
    let mut bundle = json!({
        "homeportctl": env!("CARGO_PKG_VERSION"),
        "subscribers_included": arguments.include_subscribers,
        "parts": bundle,
    });
    if !arguments.include_subscribers {
        redact(&mut bundle);
    }
    write(arguments, &output::document(&bundle))?;
    let what = if arguments.include_subscribers {
        "addresses and NAIs of mobile nodes are in it; keys are not"
    } else {
        "neither keys nor addresses and NAIs of mobile nodes are in it"
    };
    Ok(output::done(format, &format!("{} is written: {what}", arguments.file.display())))
}

/// Takes out who mobile nodes are: what is about nodes and alarms stays.
fn redact(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let is_about_cluster = name == "resource"
                    && field.as_str().is_some_and(|text| {
                        text.is_empty()
                            || ["stores/", "front-ends/", "forwarders/", "cluster"]
                                .iter()
                                .any(|begin| text.starts_with(begin))
                            || text.contains('@')
                    });
                if PERSONAL.contains(&name.as_str()) && !is_about_cluster {
                    let is_empty = field.as_str().is_some_and(str::is_empty);
                    if !is_empty && !field.is_null() {
                        *field = Value::from("(redacted)");
                    }
                } else {
                    redact(field);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(redact),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Only its owner may read it, and nothing is replaced.
fn write(arguments: &SupportBundle, text: &str) -> Result<(), Failure> {
    let file = &arguments.file;
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| Failure::Usage(format!("cannot write {}: {error}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_mobile_nodes_are_is_taken_out_and_what_nodes_are_stays() {
        let mut bundle = json!({
            "events": [
                { "home_address": "2001:db8::1", "resource": "", "text": "135" },
                { "home_address": "", "resource": "forwarders/edge-1" },
                { "home_address": "", "resource": "session-lost@forwarders/edge-1" },
            ],
            "audit_records": [{ "resource": "Subscriber 2001:db8::1", "after": "nai: \"a@b\"" }],
        });
        redact(&mut bundle);
        let text = bundle.to_string();
        assert!(!text.contains("2001:db8") && !text.contains("a@b"), "{text}");
        assert_eq!(text.matches("edge-1").count(), 2, "{text}");
        assert!(text.contains("\"text\":\"135\""), "{text}");
    }
}
