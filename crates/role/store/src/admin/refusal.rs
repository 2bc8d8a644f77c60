//! Why the admin API refuses, in the words of `google.rpc`: programs read the reason, people the text and
//! the section of `docs/operations/errors.md` that it links to.

use std::collections::HashMap;
use std::time::Duration;

use homeport_raft::ProposeError;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// `google.rpc.ErrorInfo.domain`.
const DOMAIN: &str = "homeport";
/// Where each reason has its section.
const ERRORS: &str = "docs/operations/errors.md";
/// Metadata in which a replica that does not lead names the one that does.
const LEADER_METADATA: &str = "homeport-leader";

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident $name:literal $code:ident $retry:expr;)*) => {
        /// `google.rpc.ErrorInfo.reason`; programs may rely on it.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum Reason { $($(#[$doc])* $variant,)* }

        impl Reason {
            /// All of them, for the test that each has its section.
            #[cfg(test)]
            const ALL: &'static [Self] = &[$(Self::$variant),*];

            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            const fn code(self) -> Code {
                match self { $(Self::$variant => Code::$code,)* }
            }

            /// After how many milliseconds the same request may do better.
            const fn retry_ms(self) -> Option<u64> {
                match self { $(Self::$variant => $retry,)* }
            }
        }
    };
}

reasons! {
    /// A field's value is not possible.
    FieldInvalid "FIELD_INVALID" InvalidArgument None;
    /// A filter, an order or a query cannot be read.
    FilterInvalid "FILTER_INVALID" InvalidArgument None;
    /// The token is not of this list.
    PageTokenInvalid "PAGE_TOKEN_INVALID" InvalidArgument None;
    /// The command is larger than the log takes.
    TooLarge "TOO_LARGE" InvalidArgument None;
    /// The id of another write.
    RequestIdReused "REQUEST_ID_REUSED" InvalidArgument None;
    /// There is one already.
    AlreadyExists "ALREADY_EXISTS" AlreadyExists None;
    /// There is no such resource.
    NotFound "NOT_FOUND" NotFound None;
    /// Something else still needs it.
    InUse "IN_USE" FailedPrecondition None;
    /// The last replica that votes is to go.
    LastVoter "LAST_VOTER" FailedPrecondition None;
    /// A replica runs a version that does not know this.
    OlderMembers "OLDER_MEMBERS" FailedPrecondition None;
    /// What was asked is kept only once the upgrade is finished.
    UpgradeUnfinished "UPGRADE_UNFINISHED" FailedPrecondition None;
    /// Nobody says who calls.
    TokenMissing "TOKEN_MISSING" Unauthenticated None;
    /// Nobody has this token.
    TokenUnknown "TOKEN_UNKNOWN" Unauthenticated None;
    /// Who calls may not do this.
    RoleInsufficient "ROLE_INSUFFICIENT" PermissionDenied None;
    /// This replica does not lead.
    NotLeader "NOT_LEADER" FailedPrecondition Some(500);
    /// As many as there may be.
    LimitReached "LIMIT_REACHED" ResourceExhausted None;
    /// Too much waits already.
    Overloaded "OVERLOADED" ResourceExhausted Some(1_000);
    /// The disk of the log is nearly full.
    DiskFull "DISK_FULL" ResourceExhausted None;
    /// A snapshot is being saved already.
    SnapshotBusy "SNAPSHOT_BUSY" ResourceExhausted Some(30_000);
    /// As many searches as may be are under way.
    SearchBusy "SEARCH_BUSY" ResourceExhausted Some(200);
    /// Somebody else has changed it meanwhile.
    Changed "CHANGED_MEANWHILE" Aborted Some(100);
    /// The membership cannot change so, or not now.
    MembershipRefused "MEMBERSHIP_REFUSED" Aborted Some(1_000);
    /// Who asked for a snapshot does not read it.
    ReaderStalled "READER_STALLED" Aborted None;
    /// No majority of the replicas answers.
    NoQuorum "NO_QUORUM" Unavailable Some(1_000);
    /// This replica is ending.
    Stopping "STOPPING" Unavailable Some(1_000);
    /// No other replica has taken the leadership.
    NoSuccessor "NO_SUCCESSOR" Unavailable Some(1_000);
    /// It may or may not have been done.
    OutcomeUnknown "OUTCOME_UNKNOWN" DeadlineExceeded None;
    /// A fault of this program.
    Internal "INTERNAL" Internal None;
}

impl Reason {
    /// The section about it.
    fn help(self) -> String {
        format!("{ERRORS}#{}", self.name().to_ascii_lowercase())
    }
}

/// A refusal that is being worded.
#[derive(Debug)]
pub(crate) struct Refused {
    reason: Reason,
    message: String,
    metadata: HashMap<String, String>,
    details: ErrorDetails,
}

impl Refused {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        let mut details = ErrorDetails::new();
        details.add_help_link("what it means and what to do", reason.help());
        if let Some(ms) = reason.retry_ms() {
            details.set_retry_info(Some(Duration::from_millis(ms)));
        }
        Self { reason, message: message.into(), metadata: HashMap::new(), details }
    }

    /// The field at fault, which the text names as well, and what would do.
    pub(crate) fn of_field(reason: Reason, field: &str, description: &str) -> Self {
        let mut refused = Self::new(reason, format!("{field}: {description}"));
        refused.details.add_bad_request_violation(field, description);
        if reason == Reason::InUse || reason == Reason::LastVoter {
            let details = &mut refused.details;
            details.add_precondition_failure_violation(reason.name(), field, description);
        }
        refused.with("field", field)
    }

    pub(crate) fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.metadata.insert(key.to_owned(), value.to_string());
        self
    }

    /// What it was about: a message of the admin API, and its name.
    pub(crate) fn about(mut self, kind: &str, name: impl ToString) -> Self {
        let kind = format!("homeport.admin.v1.{kind}");
        self.details.set_resource_info(kind, name.to_string(), "", self.message.clone());
        self
    }

    fn precondition(mut self, subject: impl ToString, description: &str) -> Self {
        let (kind, subject) = (self.reason.name(), subject.to_string());
        self.details.add_precondition_failure_violation(kind, subject, description);
        self
    }

    pub(crate) fn status(mut self) -> Status {
        self.details.set_error_info(self.reason.name(), DOMAIN, self.metadata);
        Status::with_error_details(self.reason.code(), self.message, self.details)
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        refused.status()
    }
}

/// What a caller is told when the log did not take the command.
pub(crate) fn status_of(error: &ProposeError) -> Status {
    let refused = |reason| Refused::new(reason, error.to_string());
    match error {
        ProposeError::NotLeader { leader: None } => refused(Reason::NotLeader).status(),
        ProposeError::NotLeader { leader: Some((node_id, address)) } => {
            let refused = refused(Reason::NotLeader).with("leader", address);
            let mut status = refused.with("leader_id", node_id).status();
            if let Ok(leader) = MetadataValue::try_from(address) {
                status.metadata_mut().insert(LEADER_METADATA, leader);
            }
            status
        }
        ProposeError::OlderMembers { members } => {
            let names = members.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            let older = refused(Reason::OlderMembers).with("members", names);
            let fix = "upgrade or start it first";
            members.iter().fold(older, |older, node_id| older.precondition(node_id, fix)).status()
        }
        ProposeError::TooLarge { octets, limit } => {
            refused(Reason::TooLarge).with("octets", octets).with("limit", limit).status()
        }
        ProposeError::Overloaded => refused(Reason::Overloaded).status(),
        ProposeError::DiskFull => refused(Reason::DiskFull).status(),
        ProposeError::NoQuorum => refused(Reason::NoQuorum).status(),
        ProposeError::Stopped(_) => refused(Reason::Stopping).status(),
        ProposeError::Unknown => refused(Reason::OutcomeUnknown).status(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SECTIONS: &str = include_str!("../../../../../docs/operations/errors.md");

    #[test]
    fn each_reason_has_its_section_and_each_section_its_reason() {
        let sections = SECTIONS.lines().filter_map(|line| line.strip_prefix("## "));
        let sections: BTreeSet<&str> = sections.collect();
        let reasons = Reason::ALL.iter().map(|reason| reason.name());
        let reasons: BTreeSet<&str> = reasons.chain([homeport_tls::REASON]).collect();
        assert_eq!(sections, reasons);
        for reason in Reason::ALL {
            assert!(reason.name().bytes().all(|octet| octet.is_ascii_uppercase() || octet == b'_'));
        }
    }

    #[test]
    fn a_refusal_says_all_that_there_is_to_say() {
        let status = Refused::of_field(Reason::InUse, "prefix", "has bindings; revoke them first")
            .about("HomePrefix", "2001:db8::/64")
            .status();
        assert_eq!(status.message(), "prefix: has bindings; revoke them first");
        assert_eq!(status.code(), Code::FailedPrecondition);
        let details = status.get_error_details();
        let info = details.error_info().expect("is there");
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("IN_USE", "homeport"));
        assert_eq!(info.metadata.get("field").map(String::as_str), Some("prefix"));
        let resource = details.resource_info().expect("is there");
        assert_eq!(resource.resource_type, "homeport.admin.v1.HomePrefix");
        assert_eq!(resource.resource_name, "2001:db8::/64");
        let precondition = &details.precondition_failure().expect("is there").violations[0];
        assert_eq!(
            (precondition.r#type.as_str(), precondition.subject.as_str()),
            ("IN_USE", "prefix")
        );
        let link = &details.help().expect("is there").links[0];
        assert_eq!(link.url, "docs/operations/errors.md#in_use");
        assert!(details.retry_info().is_none());
    }

    #[test]
    fn who_is_sent_to_the_leader_or_has_to_wait_learns_it() {
        let leader = Some((2, "127.0.0.1:7102".to_owned()));
        let status = status_of(&ProposeError::NotLeader { leader });
        assert_eq!(status.metadata().get(LEADER_METADATA).expect("is there"), "127.0.0.1:7102");
        let info = status.get_details_error_info().expect("is there");
        assert_eq!(info.metadata.get("leader_id").map(String::as_str), Some("2"));
        let status = status_of(&ProposeError::OlderMembers { members: vec![2, 3] });
        let older = status.get_details_precondition_failure().expect("is there");
        let subjects: Vec<&str> = older.violations.iter().map(|it| it.subject.as_str()).collect();
        assert_eq!(subjects, ["2", "3"]);
        let waits = status_of(&ProposeError::NoQuorum).get_details_retry_info().expect("is there");
        assert_eq!(waits.retry_delay, Some(Duration::from_secs(1)));
    }
}
