//! Commands of signalling front-ends, and of forwarders that defend a home link.

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use homeport_api::batches::{self, BATCH_MAX};
use homeport_api::convert::{encode_command, ipv6};
use homeport_api::store::binding_store_server::{BindingStore, BindingStoreServer};
use homeport_api::store::{
    LookUpPolicyRequest, LookUpPolicyResponse, NotLeader, SubmitRequest, SubmitResponse,
    submit_response,
};
use homeport_binding::{Command, Origin, Outcome, Protected, Silence, Verdict};
use homeport_raft::ProposeError;
use homeport_runtime::{Shutdown, trace};
use homeport_tls::{Identity, Role};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use crate::answers::{Answered, Answers, Later, Places, Taken, Taker};
use crate::notices::{self, with_notices};
use crate::{Store, home_link, limits, nodes};

pub(crate) fn service(store: Store, shutdown: Shutdown) -> BindingStoreServer<Submit> {
    BindingStoreServer::new(Submit(store, shutdown))
}

pub(crate) struct Submit(Store, Shutdown);

#[tonic::async_trait]
impl BindingStore for Submit {
    type SubmitStream = BoxStream<'static, Result<SubmitResponse, Status>>;

    async fn submit(
        &self,
        request: Request<Streaming<SubmitRequest>>,
    ) -> Result<Response<Self::SubmitStream>, Status> {
        let store = self.0.clone();
        let peer = request.remote_addr();
        let sender = request.extensions().get::<Identity>().map(|identity| identity.role);
        let takes_batches = batches::are_taken(request.metadata());
        let (notices, mailbox) = mpsc::channel(limits::NOTICES_PER_FRONT_END_MAX);
        let session = nodes::Session::open(store.clone(), peer, notices.clone());
        let notices = notices::Taker::new(store.takers.clone(), notices);
        let stream = home_link::Stream::open(store.clone(), self.1.clone());
        let batch_max = if takes_batches { BATCH_MAX } else { 1 };
        // Commands take their places in the order in which they come; verdicts leave as they come.
        let commands = Commands { store, sender, stream, notices, session };
        let verdicts = Answers::new(request.into_inner(), commands, batch_max);
        let mut responses = Response::new(with_notices(verdicts, mailbox).boxed());
        batches::offer(responses.metadata_mut());
        Ok(responses)
    }

    async fn look_up_policy(
        &self,
        request: Request<LookUpPolicyRequest>,
    ) -> Result<Response<LookUpPolicyResponse>, Status> {
        let request = request.into_inner();
        let address = |octets: &[u8], field| {
            ipv6(octets, field).map_err(|error| Status::invalid_argument(error.to_string()))
        };
        let home_address = address(&request.home_address, "home_address")?;
        let home_agent = address(&request.home_agent, "home_agent")?;
        if request.linearizable {
            self.0.node.read_index().await.map_err(|error| crate::admin::status_of(&error))?;
        }
        let response = self.0.node.read(|machine| {
            let policy = machine.cache.policy(home_address, home_agent);
            LookUpPolicyResponse {
                home_prefix: policy.home_prefix.map(Into::into),
                subscriber: policy.subscriber.map(Into::into),
                revision: machine.cache.revision(),
                home_address_served: policy.home_address_served,
                advertised_revision: policy.advertised_revision,
                associations: policy.associations.into_iter().map(Into::into).collect(),
            }
        });
        Ok(Response::new(response))
    }
}

/// Takes the commands of one stream.
struct Commands {
    store: Store,
    /// By its certificate, where links have them.
    sender: Option<Role>,
    stream: home_link::Stream,
    notices: notices::Taker,
    session: nodes::Session,
}

impl Commands {
    /// Anybody with a binding can send answers to tests: one that verifies nothing costs no log entry. Another
    /// replica does not know what the leader waits for.
    fn refused_test(&self, command: &Command) -> Option<Verdict> {
        let Command::CareOfVerified(answer) = command else { return None };
        if self.store.node.status().role != homeport_raft::Role::Leader {
            return None;
        }
        self.store.node.read(|machine| {
            let outcome = Outcome::Silent(Silence::UnknownCareOfTest);
            let revision = machine.cache.revision();
            let is_awaited = machine.cache.awaits_care_of_test(answer);
            (!is_awaited).then_some(Verdict { revision, outcome, esp: None })
        })
    }
}

impl Taker for Commands {
    fn take(&mut self, request: SubmitRequest, places: &Places) -> Taken {
        let request = self.session.heard(request);
        let request = request.and_then(|request| self.stream.heard(request));
        let request = request.and_then(|request| self.notices.heard(request));
        let Some(request) = request else { return Taken::Heard };
        let ticket = request.ticket;
        let step = trace::step("store.command", &request.traceparent);
        let (command, octets) = match command_of(request, self.sender) {
            Ok(command) => command,
            Err(invalid) => {
                let result = submit_response::Result::Invalid(invalid);
                return Taken::Answered(Box::new(response(ticket, result)));
            }
        };
        if let Some(unknown) = self.refused_test(&command) {
            let result = submit_response::Result::Verdict(unknown.into());
            return Taken::Answered(Box::new(response(ticket, result)));
        }
        self.stream.asked(&command);
        if let Command::DefendHomeLink { prefix, forwarder } = &command {
            let (prefix, forwarder) = (*prefix, forwarder.clone());
            let store = self.store.clone();
            return Taken::Later(Box::pin(async move {
                home_link::until_free(&store, prefix, &forwarder).await;
                response(ticket, result_of(store.proposer.propose(command).await))
            }));
        }
        let home_address = match &command {
            Command::Register(registration) => Some(registration.home_address),
            Command::Protected(Protected { home_address, command: Some(_), .. }) => {
                Some(*home_address)
            }
            _ => None,
        };
        let place = places.take(ticket, home_address);
        match self.store.proposer.enqueue_at(&command, octets, place, step) {
            Ok(()) => Taken::Waits,
            Err(error) => Taken::Answered(Box::new(response(ticket, result_of(Err(error))))),
        }
    }

    fn word(&mut self, answered: Answered) -> Result<SubmitResponse, Later> {
        let Answered { ticket, home_address, outcome } = answered;
        if self.store.home_links.are_there()
            && let (Some(home_address), Ok(verdict)) = (home_address, &outcome)
            && let Some(left) = home_link::left(&self.store, home_address, verdict)
        {
            let store = self.store.clone();
            return Err(Box::pin(async move {
                left.settled(&store).await;
                response(ticket, result_of(outcome))
            }));
        }
        Ok(response(ticket, result_of(outcome)))
    }
}

fn response(ticket: u64, result: submit_response::Result) -> SubmitResponse {
    SubmitResponse { ticket, result: Some(result), ..SubmitResponse::default() }
}

/// Whether it is a command of this role. A forwarder stands where anybody may come by, and authenticates nobody.
const fn may_submit(sender: Role, command: &Command) -> bool {
    match command {
        Command::DefendHomeLink { .. }
        | Command::ReleaseHomeLink { .. }
        | Command::DuplicateAddressDetection(_) => matches!(sender, Role::Forwarder),
        Command::PutSecurityAssociation { .. } | Command::DeleteSecurityAssociation { .. } => {
            matches!(sender, Role::IkeAgent)
        }
        _ => matches!(sender, Role::FrontEnd),
    }
}

/// The command, and as it goes into the log.
fn command_of(request: SubmitRequest, sender: Option<Role>) -> Result<(Command, Vec<u8>), String> {
    let command = request.command.ok_or_else(|| "command: expected a value".to_owned())?;
    let octets = encode_command(&command);
    let command = Command::try_from(command).map_err(|error| error.to_string())?;
    if let Some(sender) = sender.filter(|sender| !may_submit(*sender, &command)) {
        return Err(format!("command: not for who has a certificate of the role {sender}"));
    }
    match command {
        command @ (Command::Register(_)
        | Command::Protected(_)
        | Command::Correspond(_)
        | Command::RevocationAnswer(_)
        | Command::PrefixesSolicited(_)
        | Command::CareOfVerified(_)
        | Command::DuplicateAddressDetection(_)
        | Command::DefendHomeLink { .. }
        | Command::ReleaseHomeLink { .. }) => Ok((command, octets)),
        // An IKE agent's; those that are set by hand come by the operators' interface.
        Command::PutSecurityAssociation { association, must_not_exist } => {
            let Origin::Ike { .. } = &association.origin else {
                return Err("command.ike: missing; the others are for operators".to_owned());
            };
            association.check_keys().map_err(|(field, error)| format!("{field}: {error}"))?;
            Ok((Command::PutSecurityAssociation { association, must_not_exist }, octets))
        }
        command @ Command::DeleteSecurityAssociation { .. } => Ok((command, octets)),
        _ => Err("command: for operators, who have an interface of their own".to_owned()),
    }
}

fn result_of(outcome: Result<Verdict, ProposeError>) -> submit_response::Result {
    use submit_response::Result as Reply;
    match outcome {
        Ok(verdict) => Reply::Verdict(verdict.into()),
        Err(ProposeError::NotLeader { leader }) => Reply::NotLeader(NotLeader {
            leader: leader.map(|(_, address)| address).unwrap_or_default(),
        }),
        Err(error @ (ProposeError::TooLarge { .. } | ProposeError::OlderMembers { .. })) => {
            Reply::Invalid(error.to_string())
        }
        Err(error @ (ProposeError::Overloaded | ProposeError::DiskFull)) => {
            Reply::Overloaded(error.to_string())
        }
        // Nothing was written: another replica may be able to.
        Err(ProposeError::NoQuorum | ProposeError::Stopped(_)) => {
            Reply::NotLeader(NotLeader { leader: String::new() })
        }
        Err(error @ ProposeError::Unknown) => Reply::Unknown(error.to_string()),
    }
}
