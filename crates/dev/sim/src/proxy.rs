//! Stands between front-ends and a replica when the bug `ack-before-commit` is planted: it answers
//! Binding Updates itself, as a replica would that does not wait for its majority.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use futures_util::{Stream, StreamExt as _};
use homeport_api::store::binding_store_client::BindingStoreClient;
use homeport_api::store::binding_store_server::{BindingStore, BindingStoreServer};
use homeport_api::store::{
    LookUpPolicyRequest, LookUpPolicyResponse, SubmitRequest, SubmitResponse, submit_response,
};
use homeport_binding::{Answer, Command, Outcome, Verdict};
use homeport_wire::Status as BindingStatus;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

use crate::net::{HostId, Net};

/// How many ports above the replica it listens.
const PORTS_ABOVE: u16 = 1;
/// Answers and commands that wait.
const QUEUE: usize = 256;

/// Channels to the proxy where one to the replica was asked for.
pub(crate) fn through(
    dial: impl Fn(&Endpoint) -> Channel + Send + Sync,
) -> impl Fn(&Endpoint) -> Channel + Send + Sync {
    move |endpoint| {
        let authority = endpoint.uri().authority().map(ToString::to_string).unwrap_or_default();
        let above = authority.parse().map(above).ok();
        let proxied = above.and_then(|at| Endpoint::from_shared(format!("http://{at}")).ok());
        dial(&proxied.unwrap_or_else(|| endpoint.clone()))
    }
}

fn above(mut address: SocketAddr) -> SocketAddr {
    address.set_port(address.port() + PORTS_ABOVE);
    address
}

/// Serves, for as long as the host is up.
pub(crate) async fn run(host: HostId, replica: SocketAddr, net: Net) -> Result<(), String> {
    let incoming = net.listen(host, &above(replica).to_string());
    let endpoint = Endpoint::from_shared(format!("http://{replica}"));
    let channel = net.dial(host)(&endpoint.map_err(|error| error.to_string())?);
    let service = BindingStoreServer::new(Proxy { channel, revision: Arc::default() });
    let served = Server::builder().add_service(service).serve_with_incoming(incoming).await;
    served.map_err(|error| error.to_string())
}

struct Proxy {
    channel: Channel,
    /// The newest that was seen.
    revision: Arc<AtomicU64>,
}

type Answers = Pin<Box<dyn Stream<Item = Result<SubmitResponse, Status>> + Send>>;

#[tonic::async_trait]
impl BindingStore for Proxy {
    type SubmitStream = Answers;

    async fn submit(
        &self,
        request: Request<Streaming<SubmitRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let (commands, onwards) = mpsc::channel(QUEUE);
        let mut client = BindingStoreClient::new(self.channel.clone());
        let responses = client.submit(ReceiverStream::new(onwards)).await?.into_inner();
        let (seen, known) = (self.revision.clone(), self.revision.clone());
        let lies = request.into_inner().filter_map(move |request| {
            let lie = request.as_ref().ok().and_then(|request| lie(request, known.load(Relaxed)));
            let commands = commands.clone();
            async move {
                if let Ok(request) = request {
                    commands.send(request).await.ok()?;
                }
                lie.map(Ok)
            }
        });
        // Of the truth only that of other commands goes back.
        let truths = responses.filter(move |response| {
            let Ok(SubmitResponse {
                result: Some(submit_response::Result::Verdict(verdict)), ..
            }) = response
            else {
                return std::future::ready(true);
            };
            seen.fetch_max(verdict.revision, Relaxed);
            std::future::ready(false)
        });
        Ok(Response::new(Box::pin(futures_util::stream::select(lies, truths))))
    }

    async fn look_up_policy(
        &self,
        request: Request<LookUpPolicyRequest>,
    ) -> Result<Response<LookUpPolicyResponse>, Status> {
        BindingStoreClient::new(self.channel.clone()).look_up_policy(request.into_inner()).await
    }
}

/// What will probably be decided.
fn lie(request: &SubmitRequest, revision: u64) -> Option<SubmitResponse> {
    let Ok(Command::Register(r)) = Command::try_from(request.command.clone()?) else { return None };
    let answer = Answer {
        status: BindingStatus::ACCEPTED,
        bid_statuses: r.bids.iter().map(|_| BindingStatus::ACCEPTED).collect(),
        lifetime: r.lifetime,
        sequence: r.sequence,
        nat_detection: None,
        ntp_secs: None,
        mobile_router: false,
        ipv4_address: None,
        flow_statuses: Vec::new(),
        flows_not_found: Vec::new(),
    };
    let verdict = Verdict { revision: revision + 1, outcome: Outcome::Answer(answer), esp: None };
    let result = Some(submit_response::Result::Verdict(verdict.into()));
    Some(SubmitResponse { ticket: request.ticket, result, ..SubmitResponse::default() })
}
