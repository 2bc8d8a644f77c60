//! `homeportctl check`: what a cluster needs to be well, looked at from outside. Each check has an id that does
//! not change, and a section of that name in `docs/operations/checks.md`.

use std::collections::BTreeSet;

use homeport_api::admin::{
    DrainState, GetStatusRequest, GetStatusResponse, ListHomePrefixesRequest, Node, NodeRole,
    cluster_client::ClusterClient, home_prefixes_client::HomePrefixesClient,
};
use serde_json::{Value, json};
use tonic::Code;

use crate::{
    arguments::{Check as Asked, Format, Page},
    cluster::{Cluster, Effect},
    failure::{Failure, reason},
    output::{self, Columns},
    verbs::{alarms, audit, nodes},
};

/// All checks, group by group, in the order in which they are shown.
const IDS: [&str; 14] = [
    "store-reachable",
    "store-leader",
    "store-voters",
    "store-caught-up",
    "store-versions",
    "store-disk",
    "store-upgrade",
    "operations-kept",
    "nodes-answer",
    "nodes-front-ends",
    "nodes-forwarders",
    "service-home-prefixes",
    "service-alarms",
    "audit-chain",
];

const COLUMNS: Columns = Columns { names: &["RESULT", "CHECK", "FOUND", "HELP"], narrow: 4 };
/// A replica may be that far behind while everything moves.
const LAG_MAX: u64 = 10_000;
/// Octets that a disk of the log should have free.
const DISK_FREE_MIN: u64 = 1 << 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Warning,
    Failed,
}

#[derive(Clone, Debug)]
struct Check {
    id: &'static str,
    result: Outcome,
    found: String,
}

pub(crate) async fn run(
    cluster: &Cluster,
    format: Format,
    asked: &Asked,
) -> Result<String, Failure> {
    let checks = if asked.before_upgrade { upgrade(cluster).await } else { all(cluster).await };
    let text = match format {
        Format::Table | Format::Wide => checks.iter().map(line).collect(),
        Format::Json | Format::Csv => output::list_of(format, COLUMNS, &checks, rows, document),
    };
    let failed = checks.iter().any(|check| check.result == Outcome::Failed);
    if failed { Err(Failure::Checked(text)) } else { Ok(text) }
}

/// For the support bundle.
pub(super) async fn documents(cluster: &Cluster) -> Vec<Value> {
    all(cluster).await.iter().map(document).collect()
}

/// What must hold before the replicas are replaced one by one by this version.
async fn upgrade(cluster: &Cluster) -> Vec<Check> {
    let mut checks = Checks::default();
    // The members, whoever of them was named: replicas that are to come do not answer yet.
    let call = async |channel| ClusterClient::new(channel).get_status(GetStatusRequest {}).await;
    let members = match cluster.call(Effect::Read, call).await {
        Ok(status) => status.members,
        Err(failure) => {
            checks.failed("store-reachable", one_line(&failure));
            return checks.in_order();
        }
    };
    let members: Vec<String> = members.into_iter().map(|member| member.address).collect();
    let answered = ask_all(&mut checks, cluster, &members).await;
    stores(&mut checks, &answered.iter().collect::<Vec<_>>());
    let running: BTreeSet<&str> = answered.iter().map(|it| it.version.as_str()).collect();
    let ours = env!("CARGO_PKG_VERSION");
    checks.0.push(successor(ours, &running));
    checks.in_order()
}

/// An older program may not know what a newer one has written; one version is replaced by one other.
fn successor(ours: &str, running: &BTreeSet<&str>) -> Check {
    let newest = running.iter().max_by_key(|version| numbers(version)).copied();
    let (result, found) = match newest {
        None => (Outcome::Failed, "no replica says which version it is".to_owned()),
        Some(newest) if running.len() > 1 && numbers(newest) != numbers(ours) => {
            let found = format!("several versions run: {}; finish that", names(running.iter()));
            (Outcome::Failed, found)
        }
        Some(newest) if numbers(newest) > numbers(ours) => {
            (Outcome::Failed, format!("{newest} runs, which is newer than {ours}"))
        }
        Some(_) => (Outcome::Passed, format!("{} to {ours}", names(running.iter()))),
    };
    Check { id: "store-upgrade", result, found }
}

/// `0.1.12` by its numbers; what is none counts as 0.
fn numbers(version: &str) -> Vec<u64> {
    let release = version.split(['-', '+']).next().unwrap_or_default();
    release.split('.').map(|number| number.parse().unwrap_or(0)).collect()
}

/// Asks each what it is.
async fn ask_all(
    checks: &mut Checks,
    cluster: &Cluster,
    endpoints: &[String],
) -> Vec<GetStatusResponse> {
    let mut answers = Vec::new();
    for endpoint in endpoints {
        let call =
            async |channel| ClusterClient::new(channel).get_status(GetStatusRequest {}).await;
        answers.push((endpoint.as_str(), cluster.ask(endpoint, call).await));
    }
    let silent: Vec<String> = answers
        .iter()
        .filter_map(|(endpoint, answer)| {
            Some(format!("{endpoint}: {}", reason(answer.as_ref().err()?)))
        })
        .collect();
    let asked = answers.len();
    let answered: Vec<_> = answers.into_iter().filter_map(|(_, answer)| answer.ok()).collect();
    let text = format!("{} of {asked} endpoints answer", answered.len());
    checks.when(silent.is_empty(), "store-reachable", text, || silent.join("; "));
    answered
}

async fn all(cluster: &Cluster) -> Vec<Check> {
    let mut checks = Checks::default();
    let answered = ask_all(&mut checks, cluster, cluster.endpoints()).await;
    stores(&mut checks, &answered.iter().collect::<Vec<_>>());
    match nodes::all(cluster).await {
        Ok((all, silent)) => sessions(&mut checks, &all, &silent),
        Err(failure) => {
            let text = one_line(&failure);
            for id in ["store-disk", "nodes-answer", "nodes-front-ends", "nodes-forwarders"] {
                checks.failed(id, text.clone());
            }
        }
    }
    service(&mut checks, cluster).await;
    checks.in_order()
}

fn stores(checks: &mut Checks, answered: &[&GetStatusResponse]) {
    let leaders: BTreeSet<u64> =
        answered.iter().map(|it| it.leader_id).filter(|leader| *leader != 0).collect();
    let text = format!("leader {}", names(leaders.iter()));
    checks.when(leaders.len() == 1, "store-leader", text, || match leaders.len() {
        0 => "no replica knows a leader".to_owned(),
        _ => format!("replicas name several leaders: {}", names(leaders.iter())),
    });
    let knows = answered.iter().max_by_key(|it| it.applied_index);
    let voters = knows.map_or(0, |it| it.members.iter().filter(|member| member.voter).count());
    let text = format!("{voters} replicas vote");
    if voters >= 3 && voters % 2 == 1 {
        checks.passed("store-voters", text);
    } else {
        checks.warning(
            "store-voters",
            format!("{text}; three or five survive the loss of one or two"),
        );
    }
    let newest = answered.iter().map(|it| it.applied_index).max().unwrap_or(0);
    let behind: Vec<String> = answered
        .iter()
        .filter(|it| newest.saturating_sub(it.applied_index) > LAG_MAX)
        .map(|it| format!("replica {} is at {} of {newest}", it.node_id, it.applied_index))
        .collect();
    let text = format!("all at revision {newest} or near it");
    checks.when(behind.is_empty(), "store-caught-up", text, || behind.join("; "));
    let versions: BTreeSet<&str> = answered.iter().map(|it| it.version.as_str()).collect();
    let text = names(versions.iter());
    if versions.len() <= 1 {
        checks.passed("store-versions", text);
    } else {
        checks.warning("store-versions", format!("several: {text}; finish the upgrade"));
    }
    let kept = knows.is_some_and(|it| it.keeps_operations);
    if kept {
        checks.passed("operations-kept", "alarms, drains and writes are kept".to_owned());
    } else {
        let text = "alarms, drains and writes are not kept yet: homeportctl raft finish-upgrade";
        checks.warning("operations-kept", text.to_owned());
    }
}

fn sessions(checks: &mut Checks, all: &[Node], silent: &[u64]) {
    let stores = all.iter().filter(|node| node.role() == NodeRole::Store);
    let full: Vec<&str> = stores
        .filter(|node| node.disk_free_octets > 0 && node.disk_free_octets < DISK_FREE_MIN)
        .map(|node| node.name.as_str())
        .collect();
    let text = "1 GiB or more free".to_owned();
    checks
        .when(full.is_empty(), "store-disk", text, || format!("less free: {}", names(full.iter())));
    let text = format!("{} nodes", all.len());
    checks.when(silent.is_empty(), "nodes-answer", text, || {
        format!("replicas that do not answer the others: {}", names(silent.iter()))
    });
    let up = |role| all.iter().filter(move |node| node.role() == role && node.connected);
    let serving =
        up(NodeRole::FrontEnd).filter(|node| node.drain_state() == DrainState::Serving).count();
    let drained = up(NodeRole::FrontEnd).count().saturating_sub(serving);
    let text = format!("{serving} serve, {drained} drained");
    match serving {
        0 => checks.failed("nodes-front-ends", format!("{text}: nobody is registered")),
        1 => checks.warning("nodes-front-ends", format!("{text}: none may fail")),
        _ if drained > 0 => checks.warning("nodes-front-ends", text),
        _ => checks.passed("nodes-front-ends", text),
    }
    match up(NodeRole::Forwarder).count() {
        0 => checks.failed("nodes-forwarders", "none: no packet is forwarded".to_owned()),
        count => checks.passed("nodes-forwarders", format!("{count} follow the bindings")),
    }
}

async fn service(checks: &mut Checks, cluster: &Cluster) {
    let request = ListHomePrefixesRequest { page_size: 1, page_token: String::new() };
    let call =
        async |channel| HomePrefixesClient::new(channel).list_home_prefixes(request.clone()).await;
    match cluster.call(Effect::Read, call).await {
        Ok(list) if list.home_prefixes.is_empty() => {
            let text = "none: homeportctl home-prefixes create".to_owned();
            checks.warning("service-home-prefixes", text);
        }
        Ok(_) => checks.passed("service-home-prefixes", "home prefixes are served".to_owned()),
        Err(failure) => checks.failed("service-home-prefixes", one_line(&failure)),
    }
    match alarms::list(cluster, Page { limit: 1000 }, false).await {
        Ok(alarms) => {
            let active = alarms.iter().filter(|alarm| alarm.cleared_ms.is_none());
            let active: Vec<String> = active
                .map(|alarm| format!("{} {}", alarms::severity(alarm.severity()), alarm.name))
                .collect();
            if active.is_empty() {
                checks.passed("service-alarms", "none".to_owned());
            } else {
                checks.warning("service-alarms", active.join("; "));
            }
        }
        Err(failure) => checks.failed("service-alarms", one_line(&failure)),
    }
    match audit::list(cluster, Page { limit: u32::MAX })
        .await
        .map(|records| audit::verify(&records))
    {
        Ok(Ok(text)) => checks.passed("audit-chain", text),
        Ok(Err(text)) => checks.failed("audit-chain", text.trim().to_owned()),
        // Who may not read the record is not told that something is wrong with it.
        Err(Failure::Refused(answer)) if answer.code() == Code::PermissionDenied => {
            checks.warning("audit-chain", format!("not looked at: {}", reason(&answer)));
        }
        Err(failure) => checks.failed("audit-chain", one_line(&failure)),
    }
}

#[derive(Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn in_order(mut self) -> Vec<Check> {
        self.0.sort_by_key(|check| IDS.iter().position(|id| *id == check.id));
        self.0
    }

    fn add(&mut self, id: &'static str, result: Outcome, found: String) {
        self.0.push(Check { id, result, found });
    }

    fn passed(&mut self, id: &'static str, found: String) {
        self.add(id, Outcome::Passed, found);
    }

    fn warning(&mut self, id: &'static str, found: String) {
        self.add(id, Outcome::Warning, found);
    }

    fn failed(&mut self, id: &'static str, found: String) {
        self.add(id, Outcome::Failed, found);
    }

    fn when(&mut self, ok: bool, id: &'static str, found: String, else_: impl FnOnce() -> String) {
        if ok { self.passed(id, found) } else { self.failed(id, else_()) }
    }
}

fn names<T: ToString>(names: impl Iterator<Item = T>) -> String {
    names.map(|name| name.to_string()).collect::<Vec<_>>().join(", ")
}

fn one_line(failure: &Failure) -> String {
    failure.to_string().lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

fn help(check: &Check) -> String {
    format!("docs/operations/checks.md#{}", check.id)
}

fn line(check: &Check) -> String {
    let found = output::plain(&check.found);
    match check.result {
        Outcome::Passed => format!("ok       {}: {found}\n", check.id),
        Outcome::Warning => {
            format!("warning  {}: {found}\n         see {}\n", check.id, help(check))
        }
        Outcome::Failed => {
            format!("FAILED   {}: {found}\n         see {}\n", check.id, help(check))
        }
    }
}

fn name(result: Outcome) -> &'static str {
    match result {
        Outcome::Passed => "ok",
        Outcome::Warning => "warning",
        Outcome::Failed => "failed",
    }
}

fn rows(check: &Check) -> Vec<Vec<String>> {
    let result = name(check.result).to_owned();
    vec![vec![result, check.id.to_owned(), check.found.clone(), help(check)]]
}

fn document(check: &Check) -> Value {
    json!({
        "check": check.id,
        "result": name(check.result),
        "found": check.found,
        "help": help(check),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_version_is_replaced_by_itself_or_a_newer_one() {
        let result = |ours, running: &[&'static str]| {
            successor(ours, &running.iter().copied().collect()).result
        };
        assert_eq!(result("0.2.0", &["0.1.9"]), Outcome::Passed);
        assert_eq!(result("0.1.10", &["0.1.9"]), Outcome::Passed);
        assert_eq!(result("0.1.9", &["0.1.10"]), Outcome::Failed);
        assert_eq!(result("0.3.0", &["0.1.0", "0.2.0"]), Outcome::Failed);
        assert_eq!(result("0.2.0", &["0.1.0", "0.2.0"]), Outcome::Passed, "the upgrade goes on");
        assert_eq!(result("0.1.0", &[]), Outcome::Failed);
    }

    const SECTIONS: &str = include_str!("../../../../../docs/operations/checks.md");

    #[test]
    fn each_check_has_its_section_and_each_section_its_check() {
        let sections = SECTIONS.lines().filter_map(|line| line.strip_prefix("## "));
        assert_eq!(sections.collect::<Vec<_>>(), IDS);
    }
}
