//! Which role may call what: the one table, for every service of `proto/` and those that tonic brings.
//!
//! It stands beside the roles of tokens, which say what an operator may do: here stands only whether it is an
//! operator at all. What is not in the table nobody may call, and a test finds out.

use crate::identity::Role::{self, Forwarder, FrontEnd, IkeAgent, Noc, Operator, Store};

const ALL: &[Role] = &Role::ALL;
const REPLICAS: &[Role] = &[Store];
const FRONT_ENDS: &[Role] = &[FrontEnd];
const FORWARDERS: &[Role] = &[Forwarder];
const PEOPLE: &[Role] = &[Operator];
/// What the dashboard shows, and what it does for who has logged in.
const SCREENS: &[Role] = &[Noc, Operator];

/// Each call of each service, and who may make it.
pub const RIGHTS: &[(&str, &[Role])] = &[
    ("/grpc.health.v1.Health/Check", ALL),
    ("/grpc.health.v1.Health/List", ALL),
    ("/grpc.health.v1.Health/Watch", ALL),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", PEOPLE),
    ("/homeport.admin.v1.Alarms/AcknowledgeAlarm", SCREENS),
    ("/homeport.admin.v1.Alarms/CommentAlarm", SCREENS),
    ("/homeport.admin.v1.Alarms/ListAlarmHistory", SCREENS),
    ("/homeport.admin.v1.Alarms/ListAlarms", SCREENS),
    ("/homeport.admin.v1.Alarms/ShelveAlarm", SCREENS),
    ("/homeport.admin.v1.Alarms/WatchAlarms", SCREENS),
    ("/homeport.admin.v1.Audit/ListAuditRecords", PEOPLE),
    ("/homeport.admin.v1.Bindings/GetHomeBindings", SCREENS),
    ("/homeport.admin.v1.Bindings/ListHomeBindings", SCREENS),
    ("/homeport.admin.v1.Cluster/AddReplica", PEOPLE),
    ("/homeport.admin.v1.Cluster/GetStatus", SCREENS),
    ("/homeport.admin.v1.Cluster/RemoveReplica", PEOPLE),
    ("/homeport.admin.v1.Cluster/TransferLeadership", SCREENS),
    ("/homeport.admin.v1.Events/ListEvents", SCREENS),
    ("/homeport.admin.v1.Events/WatchEvents", SCREENS),
    ("/homeport.admin.v1.HomeAgents/SwitchHomeAgent", PEOPLE),
    ("/homeport.admin.v1.HomePrefixes/AdvertiseHomePrefix", PEOPLE),
    ("/homeport.admin.v1.HomePrefixes/CreateHomePrefix", PEOPLE),
    ("/homeport.admin.v1.HomePrefixes/DeleteHomePrefix", PEOPLE),
    ("/homeport.admin.v1.HomePrefixes/GetHomePrefix", SCREENS),
    ("/homeport.admin.v1.HomePrefixes/ListHomePrefixes", SCREENS),
    ("/homeport.admin.v1.HomePrefixes/UpdateHomePrefix", PEOPLE),
    ("/homeport.admin.v1.Nodes/DrainNode", SCREENS),
    ("/homeport.admin.v1.Nodes/GetNode", SCREENS),
    ("/homeport.admin.v1.Nodes/ListNodes", SCREENS),
    ("/homeport.admin.v1.Nodes/UndrainNode", SCREENS),
    ("/homeport.admin.v1.Revocations/RevokeBindings", SCREENS),
    ("/homeport.admin.v1.SecurityAssociations/CreateSecurityAssociation", PEOPLE),
    ("/homeport.admin.v1.SecurityAssociations/DeleteSecurityAssociation", PEOPLE),
    // An agent looks for what it has brought before.
    ("/homeport.admin.v1.SecurityAssociations/ListSecurityAssociations", &[IkeAgent, Operator]),
    // The keys of subscribers are in it.
    ("/homeport.admin.v1.Snapshots/SaveSnapshot", PEOPLE),
    ("/homeport.admin.v1.Subscribers/CreateSubscriber", PEOPLE),
    ("/homeport.admin.v1.Subscribers/DeleteSubscriber", PEOPLE),
    ("/homeport.admin.v1.Subscribers/FindSubscribers", SCREENS),
    ("/homeport.admin.v1.Subscribers/GetSubscriber", SCREENS),
    ("/homeport.admin.v1.Subscribers/ListSubscribers", SCREENS),
    ("/homeport.admin.v1.Upgrades/FinishUpgrade", PEOPLE),
    ("/homeport.feed.v1.BindingFeed/ReportNode", FORWARDERS),
    ("/homeport.feed.v1.BindingFeed/Watch", FORWARDERS),
    ("/homeport.forwarder.v1.Inspection/ListTraffic", SCREENS),
    // It shows packets of subscribers.
    ("/homeport.forwarder.v1.Inspection/Trace", PEOPLE),
    ("/homeport.ike.v1.IkeAgent/CloseEndpoint", FRONT_ENDS),
    ("/homeport.ike.v1.IkeAgent/MoveEndpoint", FRONT_ENDS),
    ("/homeport.raft.v1.RaftService/Append", REPLICAS),
    ("/homeport.raft.v1.RaftService/Hello", REPLICAS),
    ("/homeport.raft.v1.RaftService/InstallSnapshot", REPLICAS),
    ("/homeport.raft.v1.RaftService/PreVote", REPLICAS),
    ("/homeport.raft.v1.RaftService/SnapshotReceived", REPLICAS),
    ("/homeport.raft.v1.RaftService/StreamAppend", REPLICAS),
    ("/homeport.raft.v1.RaftService/TransferLeader", REPLICAS),
    ("/homeport.raft.v1.RaftService/Vote", REPLICAS),
    ("/homeport.replica.v1.Replicas/ListConnected", REPLICAS),
    ("/homeport.signalling.v1.Signalling/Punt", FORWARDERS),
    // The keys of subscribers are in its answer.
    ("/homeport.store.v1.BindingStore/LookUpPolicy", FRONT_ENDS),
    // Which commands each of them may submit is looked at in the store.
    ("/homeport.store.v1.BindingStore/Submit", &[FrontEnd, Forwarder, IkeAgent]),
];

fn roles(path: &str) -> &'static [Role] {
    let found = RIGHTS.binary_search_by(|(known, _)| (*known).cmp(path)).ok();
    found.and_then(|at| RIGHTS.get(at)).map_or(&[], |(_, roles)| *roles)
}

/// Whether a certificate of this role may make the call of this path.
#[must_use]
pub fn may(role: Role, path: &str) -> bool {
    roles(path).contains(&role)
}

/// Who may, for people.
pub(crate) fn holders(path: &str) -> String {
    match roles(path) {
        [] => "nobody: this call is not known here".to_owned(),
        roles => roles.iter().map(|role| role.word()).collect::<Vec<_>>().join(" or "),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use super::*;

    /// Services that tonic brings, whose descriptors are not among ours.
    const OTHERS: [&str; 4] = [
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/List",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    ];

    fn calls_of_the_protos() -> BTreeSet<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../proto");
        let mut files = Vec::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|it| it == "proto") {
                    files.push(path.strip_prefix(&root).expect("is below").to_owned());
                }
            }
        }
        assert!(files.len() >= 10, "{files:?}");
        let compiled = protox::compile(files, [&root]).expect("compiles");
        let mut calls = BTreeSet::new();
        for file in compiled.file {
            let package = file.package.unwrap_or_default();
            for service in file.service {
                let name = service.name.unwrap_or_default();
                for method in service.method {
                    let method = method.name.unwrap_or_default();
                    calls.insert(format!("/{package}.{name}/{method}"));
                }
            }
        }
        calls
    }

    #[test]
    fn each_call_of_the_protos_has_its_rule_and_each_rule_its_call() {
        let rules: BTreeSet<String> = RIGHTS.iter().map(|(path, _)| (*path).to_owned()).collect();
        let mut calls = calls_of_the_protos();
        calls.extend(OTHERS.map(str::to_owned));
        let unruled: Vec<_> = calls.difference(&rules).collect();
        let unknown: Vec<_> = rules.difference(&calls).collect();
        assert!(unruled.is_empty(), "calls without a rule in rights.rs: {unruled:?}");
        assert!(unknown.is_empty(), "rules without a call: {unknown:?}");
    }

    #[test]
    fn the_table_is_in_order_and_nobody_may_what_is_not_in_it() {
        assert!(RIGHTS.is_sorted_by(|(a, _), (b, _)| a < b), "rules are looked up by halving");
        assert!(RIGHTS.iter().all(|(_, roles)| !roles.is_empty()));
        for role in Role::ALL {
            assert!(!may(role, "/homeport.admin.v1.Nodes/Explode"));
            assert!(!may(role, "/"));
        }
        assert_eq!(
            holders("/homeport.store.v1.BindingStore/Submit"),
            "front-end or forwarder or ike-agent"
        );
    }
}
