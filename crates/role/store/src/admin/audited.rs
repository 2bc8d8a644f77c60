//! What operators write leaves a record in the state itself, where all replicas know it.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::Duration;

use homeport_binding::limits::{AUDIT_NAME_LEN_MAX, AUDIT_SUMMARY_LEN_MAX};
use homeport_binding::{AuditNote, Audited, BindingCache, Command, OPERATIONS_SINCE, Operation};
use homeport_raft::Role;
use homeport_tls::Identity;
use tokio::time::Instant;
use tonic::{Request, Status};

use super::tokens::Holder;
use super::{Reason, Refused, Resource, check, home_prefixes, propose, resource_of, subscribers};
use crate::{Store, limits};

/// Who calls, and what.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) by: String,
    /// The name of his token, else of his certificate; empty where there are none.
    pub(super) name: String,
    pub(super) validate_only: bool,
    action: &'static str,
}

impl Caller {
    pub(crate) fn of<T>(request: &Request<T>, action: &'static str) -> Self {
        let from = request.remote_addr().as_ref().map(SocketAddr::to_string);
        let from = from.unwrap_or_else(|| "unknown".to_owned());
        let holder = request.extensions().get::<Holder>();
        // A token is a person's, a certificate may be of a machine that several use.
        let certificate = request.extensions().get::<Identity>();
        let name = holder.map(|holder| holder.name.clone());
        let name = name.or_else(|| certificate.map(ToString::to_string)).unwrap_or_default();
        let by = if name.is_empty() { from } else { format!("{name} at {from}") };
        Self { by, name, validate_only: false, action }
    }
}

/// Whether what operators do is kept in the state. In a new cluster it is from the beginning; in one of an older
/// version once an operator says so, for there is no way back to that version then.
pub(crate) async fn begin(store: &Store, wait: Duration) -> bool {
    let end = Instant::now() + wait;
    loop {
        let (begun, is_new) = store
            .node
            .read(|machine| (machine.cache.keeps_operations(), machine.cache.is_unprovisioned()));
        if begun || !is_new || store.node.status().role != Role::Leader {
            return begun;
        }
        if store.node.older_members(OPERATIONS_SINCE).is_empty() {
            let begin = Command::Operate(Operation::Begin);
            return store.proposer.propose(begin).await.is_ok();
        }
        if Instant::now() >= end {
            return false;
        }
        // A leader that was elected just now has not heard of all versions.
        tokio::time::sleep(limits::LEASE_LOOK_INTERVAL).await;
    }
}

/// The command, with what the record says of it.
pub(crate) async fn recorded(
    store: &Store,
    caller: &Caller,
    command: Command,
) -> Result<Command, Status> {
    if !begin(store, limits::MEMBERS_HEARD_MAX).await {
        let is_kept = matches!(command, Command::Operate(_));
        let leads = store.node.status().role == Role::Leader;
        return if is_kept && leads { Err(unfinished()) } else { Ok(command) };
    }
    Ok(noted(store, caller, command))
}

/// What [`recorded`] would make of the command, without beginning what has not begun.
pub(super) fn as_recorded(
    store: &Store,
    caller: &Caller,
    command: Command,
) -> Result<Command, Status> {
    let (begun, is_new) = store
        .node
        .read(|machine| (machine.cache.keeps_operations(), machine.cache.is_unprovisioned()));
    if begun {
        return Ok(noted(store, caller, command));
    }
    let begins = is_new && store.node.older_members(OPERATIONS_SINCE).is_empty();
    if matches!(command, Command::Operate(_)) && !begins { Err(unfinished()) } else { Ok(command) }
}

fn noted(store: &Store, caller: &Caller, command: Command) -> Command {
    let (before, after) = store.node.read(|machine| summaries(&machine.cache, &command));
    let note = note(caller, &resource_of(&command), before, after);
    Command::Audited(Audited { note, command: Some(Box::new(command)) })
}

fn unfinished() -> Status {
    let message = "an older version may still come back, which does not know this: once it will not, \
                   homeportctl raft finish-upgrade";
    Refused::new(Reason::UpgradeUnfinished, message).status()
}

/// Records what is done without a command, before it is.
pub(crate) async fn record(
    store: &Store,
    caller: &Caller,
    resource: Resource,
    after: String,
) -> Result<(), Status> {
    if !begin(store, limits::MEMBERS_HEARD_MAX).await {
        return Ok(());
    }
    let note = note(caller, &resource, String::new(), after);
    propose(store, Command::Audited(Audited { note, command: None })).await.map(drop)
}

fn note(caller: &Caller, (kind, name): &Resource, before: String, after: String) -> AuditNote {
    AuditNote {
        by: short(caller.by.clone(), AUDIT_NAME_LEN_MAX),
        action: caller.action.to_owned(),
        resource: short(format!("{kind} {name}").trim().to_owned(), AUDIT_NAME_LEN_MAX),
        before: short(before, AUDIT_SUMMARY_LEN_MAX),
        after: short(after, AUDIT_SUMMARY_LEN_MAX),
    }
}

fn short(text: String, max: usize) -> String {
    if text.len() <= max {
        return text;
    }
    let end = (0..=max).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default().to_owned()
}

/// What was there, and what will be; of a change, what differs. Never a key.
fn summaries(cache: &BindingCache, command: &Command) -> (String, String) {
    use homeport_binding::Revised;
    let prefix = |prefix| cache.home_prefix(prefix).map(home_prefixes::message_of);
    let subscriber = |home_address| cache.subscriber(home_address).map(subscribers::message_of);
    match command {
        Command::PutHomePrefix { home_prefix, .. }
        | Command::UpdateHomePrefix { home_prefix, .. } => {
            let before = prefix(home_prefix.prefix);
            let revision = before.as_ref().map_or(0, |before| before.revision);
            let after = Revised { record: home_prefix.clone(), revision };
            differing(before.as_ref(), Some(&home_prefixes::message_of(&after)))
        }
        Command::DeleteHomePrefix(name) => differing(prefix(*name).as_ref(), None),
        Command::PutSubscriber { subscriber: record, .. } => {
            let before = subscriber(record.home_address);
            let revision = before.as_ref().map_or(0, |before| before.revision);
            let after = Revised { record: record.clone(), revision };
            differing(before.as_ref(), Some(&subscribers::message_of(&after)))
        }
        Command::DeleteSubscriber(home_address) => {
            differing(subscriber(*home_address).as_ref(), None)
        }
        Command::PutSecurityAssociation { association, .. } => {
            let record = association;
            (
                String::new(),
                format!("{}, replay window {}", record.suite.name(), record.replay_window),
            )
        }
        Command::Revoke(it) => {
            (String::new(), format!("bids {:?}, trigger {}", it.bids, it.trigger.0))
        }
        Command::Switch(it) => (String::new(), format!("to {:?}", it.addresses)),
        Command::AdvertiseHomePrefix { within, .. } => {
            (String::new(), format!("within {within:?}"))
        }
        _ => (String::new(), String::new()),
    }
}

/// The parts of two messages that are not the same; all of one that stands alone.
fn differing<M: Debug>(before: Option<&M>, after: Option<&M>) -> (String, String) {
    let parts = |message: Option<&M>| -> Vec<String> {
        let text = message.map(|message| format!("{message:?}")).unwrap_or_default();
        let inside = text.split_once(" { ").and_then(|(_, rest)| rest.strip_suffix(" }"));
        let parts = inside.unwrap_or_default().split(", ");
        // The key is never in there; that its place is empty is no news.
        parts
            .filter(|part| !part.is_empty() && !part.starts_with("key: "))
            .map(str::to_owned)
            .collect()
    };
    let (before, after) = (parts(before), parts(after));
    let without = |all: &[String], other: &[String]| {
        let rest = all.iter().filter(|part| !other.contains(part));
        rest.map(String::as_str).collect::<Vec<_>>().join(", ")
    };
    (without(&before, &after), without(&after, &before))
}

/// What is new in the log is used from now on.
pub(crate) async fn finish_upgrade(store: &Store, caller: &Caller) -> Result<u64, Status> {
    let begin = Command::Operate(Operation::Begin);
    let note = note(caller, &resource_of(&begin), String::new(), String::new());
    let audited = Command::Audited(Audited { note, command: Some(Box::new(begin)) });
    if caller.validate_only {
        return check(store, audited).await;
    }
    let verdict = propose(store, audited).await?;
    Ok(verdict.revision)
}

#[cfg(test)]
mod tests {
    use homeport_api::admin::Subscriber;

    use super::*;

    #[test]
    fn a_change_is_what_differs() {
        let one = Subscriber {
            home_address: "2001:db8::1".to_owned(),
            nai: "a@b".to_owned(),
            spi: 256,
            ..Subscriber::default()
        };
        let other = Subscriber { nai: "c@d".to_owned(), ..one.clone() };
        let (before, after) = differing(Some(&one), Some(&other));
        assert_eq!((before.as_str(), after.as_str()), ("nai: \"a@b\"", "nai: \"c@d\""));
        let (before, after) = differing(None, Some(&one));
        assert_eq!(before, "");
        assert!(after.contains("home_address: \"2001:db8::1\", nai: \"a@b\", spi: 256"), "{after}");
        assert!(!after.contains("key: "), "{after}");
        assert_eq!(short("a\u{e9}b".to_owned(), 2), "a");
    }
}
