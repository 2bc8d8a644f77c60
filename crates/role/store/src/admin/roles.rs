//! Which role may call what of the admin API: the one table of it.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// What a token lets its holder do.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum AdminRole {
    /// Looks at everything but the record of what operators have written.
    Viewer,
    /// Also runs the cluster: drains, alarms, leadership, snapshots, revocations.
    Operator,
    /// Looks at everything, that record included.
    Security,
    /// Everything.
    Admin,
}

impl AdminRole {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Operator, Self::Security, Self::Admin];

    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Security => "security",
            Self::Admin => "admin",
        }
    }

    pub(super) const fn has(self, right: Right) -> bool {
        match right {
            Right::Read => true,
            Right::Operate => matches!(self, Self::Operator | Self::Admin),
            Right::Audit => matches!(self, Self::Security | Self::Admin),
            Right::Administer => matches!(self, Self::Admin),
        }
    }
}

impl fmt::Display for AdminRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for AdminRole {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|role| role.name() == text);
        named.ok_or_else(|| format!("{text:?} is not one of viewer, operator, security, admin"))
    }
}

/// What a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    /// It changes nothing, and gives no key.
    Read,
    /// It is of the daily work: what it changes, mobile nodes or time bring back.
    Operate,
    /// It says who has done what.
    Audit,
    /// It changes whom the cluster serves, or of what it consists.
    Administer,
}

impl Right {
    /// Who has it, for people.
    pub(super) fn holders(self) -> String {
        let holders = AdminRole::ALL.into_iter().filter(|role| role.has(self));
        holders.map(AdminRole::name).collect::<Vec<_>>().join(" or ")
    }
}

/// Where the paths of calls begin.
const PACKAGE: &str = "/homeport.admin.v1.";

/// Each call of the admin API.
const RIGHTS: &[(&str, Right)] = &[
    ("HomePrefixes/CreateHomePrefix", Right::Administer),
    ("HomePrefixes/GetHomePrefix", Right::Read),
    ("HomePrefixes/ListHomePrefixes", Right::Read),
    ("HomePrefixes/UpdateHomePrefix", Right::Administer),
    ("HomePrefixes/DeleteHomePrefix", Right::Administer),
    ("HomePrefixes/AdvertiseHomePrefix", Right::Administer),
    ("Subscribers/CreateSubscriber", Right::Administer),
    ("Subscribers/GetSubscriber", Right::Read),
    ("Subscribers/ListSubscribers", Right::Read),
    ("Subscribers/DeleteSubscriber", Right::Administer),
    ("Subscribers/FindSubscribers", Right::Read),
    ("SecurityAssociations/CreateSecurityAssociation", Right::Administer),
    ("SecurityAssociations/ListSecurityAssociations", Right::Read),
    ("SecurityAssociations/DeleteSecurityAssociation", Right::Administer),
    ("Bindings/GetHomeBindings", Right::Read),
    ("Bindings/ListHomeBindings", Right::Read),
    ("Revocations/RevokeBindings", Right::Operate),
    ("HomeAgents/SwitchHomeAgent", Right::Operate),
    ("Cluster/GetStatus", Right::Read),
    ("Cluster/AddReplica", Right::Administer),
    ("Cluster/RemoveReplica", Right::Administer),
    ("Cluster/TransferLeadership", Right::Operate),
    // Keys of subscribers are in it: whoever backs the cluster up can read them.
    ("Snapshots/SaveSnapshot", Right::Operate),
    ("Nodes/ListNodes", Right::Read),
    ("Nodes/GetNode", Right::Read),
    ("Nodes/DrainNode", Right::Operate),
    ("Nodes/UndrainNode", Right::Operate),
    ("Alarms/ListAlarms", Right::Read),
    ("Alarms/WatchAlarms", Right::Read),
    ("Alarms/AcknowledgeAlarm", Right::Operate),
    ("Alarms/ShelveAlarm", Right::Operate),
    ("Alarms/CommentAlarm", Right::Operate),
    ("Alarms/ListAlarmHistory", Right::Read),
    ("Events/ListEvents", Right::Read),
    ("Events/WatchEvents", Right::Read),
    ("Audit/ListAuditRecords", Right::Audit),
    ("Upgrades/FinishUpgrade", Right::Administer),
];

/// The call of a path without its package, and what it needs. What is not in the table is for administrators.
pub(super) fn needed(path: &str) -> (&str, Right) {
    let call = path.strip_prefix(PACKAGE).unwrap_or(path);
    let entry = RIGHTS.iter().find(|(name, _)| *name == call);
    (call, entry.map_or(Right::Administer, |(_, right)| *right))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_call_of_the_admin_api_has_its_entry_and_each_entry_its_call() {
        let paths = homeport_api::PATHS.iter();
        let calls: BTreeSet<&str> = paths.filter_map(|path| path.strip_prefix(PACKAGE)).collect();
        let entries: BTreeSet<&str> = RIGHTS.iter().map(|(call, _)| *call).collect();
        assert_eq!(entries.len(), RIGHTS.len(), "one is there twice");
        assert_eq!(entries, calls);
    }

    #[test]
    fn each_role_may_do_what_its_name_says() {
        let may = |role: AdminRole, call: &str| role.has(needed(&format!("{PACKAGE}{call}")).1);
        let rows = [
            ("Cluster/GetStatus", [true, true, true, true]),
            ("Nodes/DrainNode", [false, true, false, true]),
            ("Snapshots/SaveSnapshot", [false, true, false, true]),
            ("Audit/ListAuditRecords", [false, false, true, true]),
            ("HomePrefixes/UpdateHomePrefix", [false, false, false, true]),
            // Nobody has thought of it.
            ("Nodes/Explode", [false, false, false, true]),
        ];
        for (call, expected) in rows {
            assert_eq!(AdminRole::ALL.map(|role| may(role, call)), expected, "{call}");
        }
        assert_eq!(Right::Audit.holders(), "security or admin");
        assert_eq!("security".parse(), Ok(AdminRole::Security));
        assert!("root".parse::<AdminRole>().is_err());
    }
}
