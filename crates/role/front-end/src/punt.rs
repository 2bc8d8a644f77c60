//! Streams of forwarders.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, FuturesUnordered};
use homeport_api::convert::{Invalid, ipv4, ipv4_octets, u16_of};
use homeport_api::signalling::signalling_server::{Signalling, SignallingServer};
use homeport_api::signalling::{self as api, PuntRequest, PuntResponse};
use homeport_runtime::{Shutdown, Task, trace};
use homeport_signalling::{Reply, UdpOuter};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument as _;

use crate::limits;
use crate::notices::Forwarders;
use crate::registrar::{Answer, Registrar};

pub(crate) fn service(
    registrar: Arc<Registrar>,
    forwarders: Forwarders,
    shutdown: Shutdown,
) -> SignallingServer<Punt> {
    SignallingServer::new(Punt { registrar, forwarders, shutdown })
}

pub(crate) struct Punt {
    registrar: Arc<Registrar>,
    forwarders: Forwarders,
    shutdown: Shutdown,
}

#[tonic::async_trait]
impl Signalling for Punt {
    type PuntStream = BoxStream<'static, Result<PuntResponse, Status>>;

    async fn punt(
        &self,
        request: Request<Streaming<PuntRequest>>,
    ) -> Result<Response<Self::PuntStream>, Status> {
        let (answers, receiver) = mpsc::channel(limits::ANSWERS_WAITING_MAX);
        self.forwarders.add(&answers);
        let task = Task::spawn(
            "punt stream",
            serve(request.into_inner(), answers, self.registrar.clone(), self.shutdown.clone()),
        );
        // The task ends with the stream: it is dropped with it.
        let stream = ReceiverStream::new(receiver).map(move |answer| {
            let _alive = &task;
            Ok(answer)
        });
        Ok(Response::new(stream.boxed()))
    }
}

async fn serve(
    mut requests: Streaming<PuntRequest>,
    answers: mpsc::Sender<PuntResponse>,
    registrar: Arc<Registrar>,
    shutdown: Shutdown,
) {
    let mut under_way = FuturesUnordered::new();
    let mut accepting = true;
    while accepting || !under_way.is_empty() {
        tokio::select! {
            // Cancel-safe: a message is either taken whole or not at all.
            request = requests.next(), if accepting => match request {
                Some(Ok(request)) if under_way.len() < limits::UPDATES_PER_FORWARDER_MAX => {
                    under_way.push(handle(&registrar, request));
                }
                Some(Ok(_)) => registrar.metrics.drops.count("overloaded"),
                Some(Err(_)) | None => accepting = false,
            },
            Some(answer) = under_way.next(), if !under_way.is_empty() => {
                if let Some(answer) = answer && answers.send(answer).await.is_err() {
                    return;
                }
            }
            // What is under way is finished; the forwarder goes to another front-end.
            () = shutdown.begun(), if accepting => accepting = false,
        }
    }
}

async fn handle(registrar: &Registrar, request: PuntRequest) -> Option<PuntResponse> {
    let outer = match request.outer.as_ref().map(outer_of).transpose() {
        Ok(outer) => outer,
        Err(error) => {
            tracing::warn!(%error, "a forwarder's message cannot be read");
            registrar.metrics.drops.count("punt_invalid");
            return None;
        }
    };
    let step = trace::step("front_end.binding_update", &request.traceparent);
    let handled = registrar.handle(&request.packet, outer).instrument(step);
    let Answer { reply, revision } = handled.await?;
    Some(response(request.ticket, reply, revision))
}

/// Ticket 0 answers nothing.
pub(crate) fn response(ticket: u64, reply: Reply, revision: u64) -> PuntResponse {
    PuntResponse {
        ticket,
        packet: reply.packet.into(),
        outer: reply.outer.map(outer_message),
        revision,
    }
}

fn outer_of(message: &api::UdpOuter) -> Result<UdpOuter, Invalid> {
    Ok(UdpOuter {
        peer: (
            ipv4(&message.peer_address, "outer.peer_address")?,
            u16_of(message.peer_port, "outer.peer_port")?,
        ),
        local: (
            ipv4(&message.local_address, "outer.local_address")?,
            u16_of(message.local_port, "outer.local_port")?,
        ),
    })
}

fn outer_message(outer: UdpOuter) -> api::UdpOuter {
    api::UdpOuter {
        peer_address: ipv4_octets(outer.peer.0),
        peer_port: outer.peer.1.into(),
        local_address: ipv4_octets(outer.local.0),
        local_port: outer.local.1.into(),
    }
}
