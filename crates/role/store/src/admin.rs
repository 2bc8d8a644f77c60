//! What operators ask of a replica: `homeport.admin.v1`.
//!
//! Writes and linearizable reads go to the leader: another replica refuses with FAILED_PRECONDITION
//! and names the leader in the metadata `homeport-leader`.

use std::sync::Arc;

use homeport_api::admin::alarms_server::AlarmsServer;
use homeport_api::admin::audit_server::AuditServer;
use homeport_api::admin::bindings_server::BindingsServer;
use homeport_api::admin::cluster_server::ClusterServer;
use homeport_api::admin::events_server::EventsServer;
use homeport_api::admin::home_agents_server::HomeAgentsServer;
use homeport_api::admin::home_prefixes_server::HomePrefixesServer;
use homeport_api::admin::nodes_server::NodesServer;
use homeport_api::admin::revocations_server::RevocationsServer;
use homeport_api::admin::security_associations_server::SecurityAssociationsServer;
use homeport_api::admin::snapshots_server::SnapshotsServer;
use homeport_api::admin::subscribers_server::SubscribersServer;
use homeport_api::admin::upgrades_server::UpgradesServer;
use homeport_binding::{
    Command, Ipv4Prefix, Ipv6Prefix, Operation, Outcome, Refusal, RefusalKind, Verdict,
};
use homeport_runtime::Shutdown;
use ipnet::{Ipv4Net, Ipv6Net};
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;
use tonic::service::Routes;
use tower::layer::layer_fn;

use crate::{Store, limits};

mod alarms;
mod associations;
mod audit;
mod audited;
mod bindings;
mod cluster;
mod events;
mod find;
mod guard;
mod home_prefixes;
mod lists;
mod nodes;
mod notices;
mod refusal;
mod roles;
mod snapshots;
mod subscribers;
mod tokens;
mod writes;

use audited::Caller;
pub(crate) use audited::begin;
pub(crate) use guard::Guard;
use guard::Guarded;
pub(crate) use refusal::status_of;
use refusal::{Reason, Refused};
pub use roles::AdminRole;
pub use tokens::token_line;
pub(crate) use tokens::{Tokens, look as look_at_tokens};
pub(crate) use writes::Writes;
use writes::write;

pub(crate) fn routes(store: Store, guard: Guard, shutdown: &Shutdown) -> Routes {
    let routes = Routes::new(HomePrefixesServer::new(home_prefixes::Service(store.clone())))
        .add_service(SubscribersServer::new(subscribers::Service(store.clone())))
        .add_service(SecurityAssociationsServer::new(associations::Service(store.clone())))
        .add_service(BindingsServer::new(bindings::Service(store.clone())))
        .add_service(RevocationsServer::new(notices::Service(store.clone())))
        .add_service(HomeAgentsServer::new(notices::Service(store.clone())))
        .add_service(SnapshotsServer::new(snapshots::Service(store.clone())))
        .add_service(NodesServer::new(nodes::Service(store.clone())))
        .add_service(AlarmsServer::new(alarms::Service(store.clone(), shutdown.clone())))
        .add_service(EventsServer::new(events::Service(store.clone(), shutdown.clone())))
        .add_service(AuditServer::new(audit::Service(store.clone())))
        .add_service(UpgradesServer::new(audit::Service(store.clone())))
        .add_service(ClusterServer::new(cluster::Service(store)));
    let guarded = layer_fn(move |inner| Guarded { inner, guard: guard.clone() });
    routes.into_axum_router().route_layer(guarded).into()
}

/// Carries out an operator's command and records it; returns its revision. One that is only to be validated
/// is checked, and has none.
async fn execute(store: &Store, caller: &Caller, command: Command) -> Result<u64, Status> {
    let about = resource_of(&command);
    if caller.validate_only {
        return check(store, audited::as_recorded(store, caller, command)?).await;
    }
    let command = audited::recorded(store, caller, command).await?;
    done(propose(store, command).await?, &about)
}

/// What would be refused of a command; the revision that it does not have is 0.
async fn check(store: &Store, command: Command) -> Result<u64, Status> {
    read_barrier(store, false).await?;
    let about = resource_of(&command);
    let checked = store.node.read(|machine| machine.cache.check(&command));
    checked.map_err(|refusal| refused(&refusal, &about))?;
    store.proposer.check(command).map_err(|error| status_of(&error))?;
    Ok(0)
}

/// Proposes a command. A leader that was elected just now hears from the others first, for what they all
/// have to know.
async fn propose(store: &Store, command: Command) -> Result<Verdict, Status> {
    if !store.proposer.is_known_for_sure(&command) {
        read_barrier(store, false).await?;
    }
    store.proposer.propose(command).await.map_err(|error| status_of(&error))
}

/// A message of the admin API, and its name.
type Resource = (&'static str, String);

/// What an operator's command is about.
fn resource_of(command: &Command) -> Resource {
    match command {
        Command::PutHomePrefix { home_prefix, .. }
        | Command::UpdateHomePrefix { home_prefix, .. } => {
            ("HomePrefix", home_prefix.prefix.to_string())
        }
        Command::DeleteHomePrefix(prefix) | Command::AdvertiseHomePrefix { prefix, .. } => {
            ("HomePrefix", prefix.to_string())
        }
        Command::PutSubscriber { subscriber, .. } => {
            ("Subscriber", subscriber.home_address.to_string())
        }
        Command::DeleteSubscriber(home_address) => ("Subscriber", home_address.to_string()),
        Command::PutSecurityAssociation { association, .. } => {
            let (home_address, spi) = (association.home_address, association.inbound_spi);
            ("SecurityAssociation", format!("{home_address}/{spi}"))
        }
        Command::DeleteSecurityAssociation { home_address, inbound_spi } => {
            ("SecurityAssociation", format!("{home_address}/{inbound_spi}"))
        }
        Command::Revoke(revoke) => ("HomeBindings", revoke.home_address.to_string()),
        Command::Switch(switch) => ("HomeBindings", switch.home_address.to_string()),
        Command::Operate(Operation::Alarm { key, .. }) => ("Alarm", alarms::name_of(key)),
        Command::Operate(Operation::Drain { node, .. }) => ("Node", node.clone()),
        Command::Operate(Operation::Begin | Operation::Note(_)) => ("Cluster", String::new()),
        Command::Audited(audited) => match &audited.command {
            Some(command) => resource_of(command),
            None => ("", String::new()),
        },
        // Of front-ends and forwarders.
        Command::Register(_)
        | Command::Protected(_)
        | Command::Correspond(_)
        | Command::RevocationAnswer(_)
        | Command::PrefixesSolicited(_)
        | Command::CareOfVerified(_)
        | Command::DuplicateAddressDetection(_)
        | Command::DefendHomeLink { .. }
        | Command::ReleaseHomeLink { .. } => ("", String::new()),
    }
}

/// Revision of an operator's command that was carried out.
fn done(verdict: Verdict, about: &Resource) -> Result<u64, Status> {
    match verdict.outcome {
        Outcome::Done => Ok(verdict.revision),
        Outcome::Refused(refusal) => Err(refused(&refusal, about)),
        Outcome::Answer(_) | Outcome::Silent(_) | Outcome::StalePolicy | Outcome::Pending => {
            Err(of_another_kind())
        }
    }
}

fn of_another_kind() -> Status {
    Refused::new(Reason::Internal, "the store answered a command of another kind").status()
}

fn refused(refusal: &Refusal, (kind, name): &Resource) -> Status {
    let reason = match refusal.kind {
        RefusalKind::Exists => Reason::AlreadyExists,
        RefusalKind::NotFound => Reason::NotFound,
        RefusalKind::Invalid => Reason::FieldInvalid,
        RefusalKind::InUse => Reason::InUse,
        RefusalKind::Full => Reason::LimitReached,
        RefusalKind::Changed => Reason::Changed,
    };
    Refused::of_field(reason, &refusal.field, &refusal.message).about(kind, name).status()
}

/// A place among those who watch alarms and events.
fn watching(store: &Store) -> Result<OwnedSemaphorePermit, Status> {
    Arc::clone(&store.watches).try_acquire_owned().map_err(|_full| {
        let max = limits::WATCHES_MAX;
        let message = format!("{max} watch alarms and events at this replica, the limit");
        Refused::new(Reason::LimitReached, message).status()
    })
}

fn not_found(field: &str, (kind, name): &Resource, message: &str) -> Status {
    Refused::of_field(Reason::NotFound, field, message).about(kind, name).status()
}

fn invalid(field: &str, message: &str) -> Status {
    Refused::of_field(Reason::FieldInvalid, field, message).status()
}

/// Linearizable unless `local` is asked for.
async fn read_barrier(store: &Store, local: bool) -> Result<(), Status> {
    if !local {
        store.node.read_index().await.map_err(|error| status_of(&error))?;
    }
    Ok(())
}

fn page_size(asked: u32) -> Result<usize, Status> {
    let size = match asked {
        0 => limits::PAGE_SIZE_DEFAULT,
        1..=limits::PAGE_SIZE_MAX => asked,
        _ => {
            let message = format!("{asked} is not in 1..={}", limits::PAGE_SIZE_MAX);
            return Err(invalid("page_size", &message));
        }
    };
    usize::try_from(size).map_err(|error| invalid("page_size", &error.to_string()))
}

/// A page token is the last key of the page before; empty for the first page.
fn page_after<K: std::str::FromStr>(token: &str) -> Result<Option<K>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    token.parse().map(Some).map_err(|_| wrong_token())
}

fn wrong_token() -> Status {
    let message = "not a token of this list; use next_page_token as it was given";
    Refused::of_field(Reason::PageTokenInvalid, "page_token", message).status()
}

fn address<T: std::str::FromStr>(text: &str, field: &str, example: &str) -> Result<T, Status> {
    text.parse().map_err(|_| {
        invalid(field, &format!("{text:?} is not an address; expected one like {example}"))
    })
}

fn ipv6_prefix(text: &str, field: &str) -> Result<Ipv6Prefix, Status> {
    let expected = "an IPv6 prefix with host bits zero, like 2001:db8:0:1::/64";
    let wrong = || invalid(field, &format!("{text:?} is not {expected}"));
    let net: Ipv6Net = text.parse().map_err(|_| wrong())?;
    Ipv6Prefix::new(net.addr(), net.prefix_len()).ok_or_else(wrong)
}

/// An IPv4 prefix, or one address; empty for none.
fn ipv4_prefix(text: &str, field: &str) -> Result<Option<Ipv4Prefix>, Status> {
    let expected =
        "an IPv4 address or a prefix with host bits zero, like 198.51.100.77 or 198.51.100.64/28";
    let wrong = || invalid(field, &format!("{text:?} is not {expected}"));
    if text.is_empty() {
        return Ok(None);
    }
    if let Ok(address) = text.parse() {
        return Ok(Some(Ipv4Prefix::host(address)));
    }
    let net: Ipv4Net = text.parse().map_err(|_| wrong())?;
    Ipv4Prefix::new(net.addr(), net.prefix_len()).ok_or_else(wrong).map(Some)
}

/// A single address without its length, as operators write it.
fn ipv4_text(prefix: Option<Ipv4Prefix>) -> String {
    match prefix {
        None => String::new(),
        Some(prefix) if prefix.len() == 32 => prefix.address().to_string(),
        Some(prefix) => prefix.to_string(),
    }
}
