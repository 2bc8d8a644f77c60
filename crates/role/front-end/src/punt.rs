//! Streams of forwarders.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, FuturesUnordered};
use homeport_api::convert::{Invalid, ipv4, ipv4_octets, u16_of};
use homeport_api::drains;
use homeport_api::signalling::signalling_server::{Signalling, SignallingServer};
use homeport_api::signalling::{self as api, PuntRequest, PuntResponse};
use homeport_runtime::{Shutdown, Task, trace};
use homeport_signalling::{Reply, UdpOuter};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument as _;

use crate::drain::Drain;
use crate::limits;
use crate::notices::Forwarders;
use crate::registrar::{Answer, Registrar};

pub(crate) fn service(
    registrar: Arc<Registrar>,
    forwarders: Forwarders,
    drain: Arc<Drain>,
    shutdown: Shutdown,
) -> SignallingServer<Punt> {
    SignallingServer::new(Punt { registrar, forwarders, drain, shutdown })
}

pub(crate) struct Punt {
    registrar: Arc<Registrar>,
    forwarders: Forwarders,
    drain: Arc<Drain>,
    shutdown: Shutdown,
}

#[tonic::async_trait]
impl Signalling for Punt {
    type PuntStream = BoxStream<'static, Result<PuntResponse, Status>>;

    async fn punt(
        &self,
        request: Request<Streaming<PuntRequest>>,
    ) -> Result<Response<Self::PuntStream>, Status> {
        let understands = drains::are_understood(request.metadata());
        if !understands && *self.drain.wanted().borrow() {
            return Err(Status::unavailable("this front-end is drained"));
        }
        let (answers, receiver) = mpsc::channel(limits::ANSWERS_WAITING_MAX);
        self.forwarders.add(&answers);
        let stream = Stream {
            answers,
            registrar: self.registrar.clone(),
            drain: self.drain.clone(),
            understands,
        };
        let task =
            Task::spawn("punt stream", stream.serve(request.into_inner(), self.shutdown.clone()));
        // The task ends with the stream: it is dropped with it.
        let stream = ReceiverStream::new(receiver).map(move |answer| {
            let _alive = &task;
            Ok(answer)
        });
        Ok(Response::new(stream.boxed()))
    }
}

/// One forwarder's.
struct Stream {
    answers: mpsc::Sender<PuntResponse>,
    registrar: Arc<Registrar>,
    drain: Arc<Drain>,
    /// The forwarder goes to another front-end when it is told to, and still reads answers here.
    understands: bool,
}

impl Stream {
    async fn serve(self, mut requests: Streaming<PuntRequest>, shutdown: Shutdown) {
        let Self { answers, registrar, drain, understands } = self;
        let mut under_way = FuturesUnordered::new();
        let mut accepting = true;
        // When nothing is taken any more, once this process is being ended.
        let mut leaving = None;
        let mut wanted = drain.wanted();
        // Who connects to a front-end that is drained is told at once.
        if *wanted.borrow_and_update() && answers.send(draining(true)).await.is_err() {
            return;
        }
        while accepting || !under_way.is_empty() {
            tokio::select! {
                // Cancel-safe: a message is either taken whole or not at all.
                request = requests.next(), if accepting => match request {
                    Some(Ok(request)) if under_way.len() < limits::UPDATES_PER_FORWARDER_MAX => {
                        let packet = drain.begin();
                        let answer = handle(&registrar, request);
                        under_way.push(async move {
                            let _under_way = packet;
                            answer.await
                        });
                    }
                    Some(Ok(_)) => registrar.metrics.drops.count("overloaded"),
                    Some(Err(_)) | None => accepting = false,
                },
                Some(answer) = under_way.next(), if !under_way.is_empty() => {
                    if let Some(answer) = answer && answers.send(answer).await.is_err() {
                        return;
                    }
                }
                // Fails only when nobody can want it any more.
                Ok(()) = wanted.changed(), if accepting => {
                    let is_drained = *wanted.borrow_and_update();
                    if understands && answers.send(draining(is_drained)).await.is_err() {
                        return;
                    }
                    accepting = understands || !is_drained;
                }
                // The forwarder goes to another front-end; what it sent before it was told is answered still.
                () = shutdown.begun(), if accepting && leaving.is_none() => {
                    if understands && answers.send(draining(true)).await.is_err() {
                        return;
                    }
                    let stays = if understands { limits::LEAVING } else { Duration::ZERO };
                    leaving = Some(Instant::now() + stays);
                }
                () = sleep_until(leaving.unwrap_or_else(Instant::now)), if accepting && leaving.is_some() => {
                    accepting = false;
                }
            }
        }
    }
}

/// Answers nothing.
fn draining(is_drained: bool) -> PuntResponse {
    PuntResponse { draining: Some(is_drained), ..PuntResponse::default() }
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
        draining: None,
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
