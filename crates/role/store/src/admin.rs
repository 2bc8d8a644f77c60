//! What operators ask of a replica: `homeport.admin.v1`.
//!
//! Writes and linearizable reads go to the leader: another replica refuses with FAILED_PRECONDITION
//! and names the leader in the metadata `homeport-leader`.

use homeport_api::admin::bindings_server::BindingsServer;
use homeport_api::admin::cluster_server::ClusterServer;
use homeport_api::admin::home_agents_server::HomeAgentsServer;
use homeport_api::admin::home_prefixes_server::HomePrefixesServer;
use homeport_api::admin::revocations_server::RevocationsServer;
use homeport_api::admin::snapshots_server::SnapshotsServer;
use homeport_api::admin::subscribers_server::SubscribersServer;
use homeport_binding::{Command, Ipv4Prefix, Ipv6Prefix, Outcome, Refusal, RefusalKind, Verdict};
use homeport_raft::ProposeError;
use ipnet::{Ipv4Net, Ipv6Net};
use tonic::metadata::MetadataValue;
use tonic::service::Routes;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{Store, limits};

mod bindings;
mod cluster;
mod home_prefixes;
mod notices;
mod snapshots;
mod subscribers;

pub(crate) fn routes(store: Store) -> Routes {
    Routes::new(HomePrefixesServer::new(home_prefixes::Service(store.clone())))
        .add_service(SubscribersServer::new(subscribers::Service(store.clone())))
        .add_service(BindingsServer::new(bindings::Service(store.clone())))
        .add_service(RevocationsServer::new(notices::Service(store.clone())))
        .add_service(HomeAgentsServer::new(notices::Service(store.clone())))
        .add_service(SnapshotsServer::new(snapshots::Service(store.clone())))
        .add_service(ClusterServer::new(cluster::Service(store)))
}

/// Carries out an operator's command; returns its revision.
async fn execute(store: &Store, command: Command) -> Result<u64, Status> {
    done(propose(store, command).await?)
}

/// Proposes a command. A leader that was elected just now hears from the others first, for what they all
/// have to know.
async fn propose(store: &Store, command: Command) -> Result<Verdict, Status> {
    if command.since() > 0 {
        read_barrier(store, false).await?;
    }
    store.proposer.propose(command).await.map_err(|error| status_of(&error))
}

/// Revision of an operator's command that was carried out.
fn done(verdict: Verdict) -> Result<u64, Status> {
    match verdict.outcome {
        Outcome::Done => Ok(verdict.revision),
        Outcome::Refused(refusal) => Err(refused(&refusal)),
        Outcome::Answer(_) | Outcome::Silent(_) | Outcome::StalePolicy | Outcome::Pending => {
            Err(Status::internal("the store answered a command of another kind"))
        }
    }
}

fn refused(refusal: &Refusal) -> Status {
    let code = match refusal.kind {
        RefusalKind::Exists => Code::AlreadyExists,
        RefusalKind::NotFound => Code::NotFound,
        RefusalKind::Invalid => Code::InvalidArgument,
        RefusalKind::InUse => Code::FailedPrecondition,
        RefusalKind::Full => Code::ResourceExhausted,
        RefusalKind::Changed => Code::Aborted,
    };
    field_error(code, &refusal.field, &refusal.message)
}

/// A refusal that names the field, in its text and as `google.rpc.BadRequest`.
fn field_error(code: Code, field: &str, message: &str) -> Status {
    let details = ErrorDetails::with_bad_request_violation(field, message);
    Status::with_error_details(code, format!("{field}: {message}"), details)
}

fn invalid(field: &str, message: &str) -> Status {
    field_error(Code::InvalidArgument, field, message)
}

/// What a caller is told when the log did not take the command.
pub(crate) fn status_of(error: &ProposeError) -> Status {
    match error {
        ProposeError::NotLeader { leader } => {
            let mut status = Status::failed_precondition(error.to_string());
            let leader = leader.as_ref().and_then(|(_, a)| MetadataValue::try_from(a).ok());
            if let Some(leader) = leader {
                status.metadata_mut().insert("homeport-leader", leader);
            }
            status
        }
        ProposeError::OlderMembers { .. } => Status::failed_precondition(error.to_string()),
        ProposeError::TooLarge { .. } => Status::invalid_argument(error.to_string()),
        ProposeError::Overloaded | ProposeError::DiskFull => {
            Status::resource_exhausted(error.to_string())
        }
        ProposeError::NoQuorum | ProposeError::Stopped(_) => Status::unavailable(error.to_string()),
        ProposeError::Unknown => Status::deadline_exceeded(error.to_string()),
    }
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
    let key = token.parse().map_err(|_| {
        invalid("page_token", "not a token of this list; use next_page_token as it was given")
    })?;
    Ok(Some(key))
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
