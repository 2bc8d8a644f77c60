//! Commands of signalling front-ends, and of forwarders that defend a home link.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt as _};
use homeport_api::batches::{self, BATCH_MAX, Batch as _};
use homeport_api::convert::ipv6;
use homeport_api::store::binding_store_server::{BindingStore, BindingStoreServer};
use homeport_api::store::{
    LookUpPolicyRequest, LookUpPolicyResponse, NotLeader, SubmitRequest, SubmitResponse,
    submit_response,
};
use homeport_binding::{Command, Verdict};
use homeport_raft::ProposeError;
use homeport_runtime::Shutdown;
use tokio::sync::{mpsc, oneshot};
use tonic::{Request, Response, Status, Streaming};

use crate::notices::{Taker, with_notices};
use crate::{Store, home_link, limits};

pub(crate) fn service(store: Store, shutdown: Shutdown) -> BindingStoreServer<Submit> {
    BindingStoreServer::new(Submit(store, shutdown))
}

pub(crate) struct Submit(Store, Shutdown);

type Answered = oneshot::Receiver<Result<Verdict, ProposeError>>;

#[tonic::async_trait]
impl BindingStore for Submit {
    type SubmitStream = BoxStream<'static, Result<SubmitResponse, Status>>;

    async fn submit(
        &self,
        request: Request<Streaming<SubmitRequest>>,
    ) -> Result<Response<Self::SubmitStream>, Status> {
        let store = self.0.clone();
        let takes_batches = batches::are_taken(request.metadata());
        let (notices, mailbox) = mpsc::channel(limits::NOTICES_PER_FRONT_END_MAX);
        let taker = Taker::new(store.takers.clone(), notices);
        let stream = Arc::new(home_link::Stream::open(store.clone(), self.1.clone()));
        let listening = Arc::clone(&stream);
        // Commands take their places in the order in which they come; verdicts leave as they come.
        let verdicts = request
            .into_inner()
            .flat_map(|message| futures_util::stream::iter(split(message)))
            .filter_map(move |request| {
                let request = listening.heard(request);
                std::future::ready(request.and_then(|request| taker.heard(request)))
            })
            .map(move |request| enqueue(&store, &stream, request))
            .buffer_unordered(limits::COMMANDS_PER_STREAM_MAX);
        let responses = with_notices(verdicts, mailbox);
        let mut responses = Response::new(if takes_batches {
            responses.ready_chunks(BATCH_MAX).flat_map(joined).boxed()
        } else {
            responses.boxed()
        });
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
            }
        });
        Ok(Response::new(response))
    }
}

fn split(message: Result<SubmitRequest, Status>) -> Vec<Result<SubmitRequest, Status>> {
    match message {
        Ok(message) => message.split().map(Ok).collect(),
        Err(status) => vec![Err(status)],
    }
}

/// One message up to the first error, which ends the stream.
fn joined(
    responses: Vec<Result<SubmitResponse, Status>>,
) -> impl Stream<Item = Result<SubmitResponse, Status>> {
    let mut error = None;
    let ready = responses.into_iter().map_while(|response| match response {
        Ok(response) => Some(response),
        Err(status) => {
            error = Some(status);
            None
        }
    });
    let message = SubmitResponse::join(ready.collect());
    futures_util::stream::iter(message.map(Ok).into_iter().chain(error.map(Err)))
}

type Pending = Pin<Box<dyn Future<Output = Result<SubmitResponse, Status>> + Send>>;

/// Takes the command's place in the order now; the future only waits.
fn enqueue(
    store: &Store,
    stream: &home_link::Stream,
    request: Result<SubmitRequest, Status>,
) -> Pending {
    let request = match request {
        Ok(request) => request,
        Err(status) => return Box::pin(std::future::ready(Err(status))),
    };
    let ticket = request.ticket;
    let command = match command_of(request) {
        Ok(command) => command,
        Err(invalid) => {
            let result = Some(submit_response::Result::Invalid(invalid));
            return Box::pin(std::future::ready(Ok(SubmitResponse {
                ticket,
                result,
                ..SubmitResponse::default()
            })));
        }
    };
    stream.asked(&command);
    let store = store.clone();
    if let Command::DefendHomeLink { prefix, forwarder } = &command {
        let (prefix, forwarder) = (*prefix, forwarder.clone());
        return Box::pin(async move {
            home_link::until_free(&store, prefix, &forwarder).await;
            let outcome = answer(store.proposer.enqueue(command)).await;
            Ok(SubmitResponse {
                ticket,
                result: Some(result_of(outcome)),
                ..SubmitResponse::default()
            })
        });
    }
    let home_address = match &command {
        Command::Register(registration) => Some(registration.home_address),
        _ => None,
    };
    let queued = store.proposer.enqueue(command);
    Box::pin(async move {
        let outcome = answer(queued).await;
        if let (Some(home_address), Ok(verdict)) = (home_address, &outcome) {
            home_link::until_left(&store, home_address, verdict).await;
        }
        Ok(SubmitResponse { ticket, result: Some(result_of(outcome)), ..SubmitResponse::default() })
    })
}

async fn answer(queued: Result<Answered, ProposeError>) -> Result<Verdict, ProposeError> {
    queued?.await.unwrap_or(Err(ProposeError::Unknown))
}

fn command_of(request: SubmitRequest) -> Result<Command, String> {
    let command = request.command.ok_or_else(|| "command: expected a value".to_owned())?;
    match Command::try_from(command).map_err(|error| error.to_string())? {
        command @ (Command::Register(_)
        | Command::Correspond(_)
        | Command::RevocationAnswer(_)
        | Command::PrefixesSolicited(_)
        | Command::DuplicateAddressDetection(_)
        | Command::DefendHomeLink { .. }
        | Command::ReleaseHomeLink { .. }) => Ok(command),
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
