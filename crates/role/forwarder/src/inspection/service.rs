//! The service: checks requests and hands them to the engine.

use std::net::IpAddr;

use homeport_api::inspection::{
    ListTrafficRequest, ListTrafficResponse, TraceRequest, TraceResponse,
    inspection_server::{Inspection as Service, InspectionServer},
};
use homeport_runtime::{Shutdown, Task};
use homeport_tls::Links;
use ipnet::IpNet;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_stream::{StreamExt as _, adapters::Map, wrappers::ReceiverStream};
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{Inspect, Target, TraceLimits};
use crate::{
    config::{Error, InspectionConfig},
    limits,
};

#[derive(Debug)]
struct Handler {
    engine: mpsc::Sender<Inspect>,
}

/// Serves what is configured until `shutdown` begins.
pub(crate) async fn serve(
    config: &InspectionConfig,
    links: &Links,
    engine: mpsc::Sender<Inspect>,
    shutdown: Shutdown,
) -> Result<Task<()>, Error> {
    let address = config.listen;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| Error::InspectionListen { address, source })?;
    let server = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(limits::KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(limits::KEEPALIVE_TIMEOUT))
        .layer(links.guard())
        .add_service(InspectionServer::new(Handler { engine }));
    let incoming = links.incoming(listener);
    Ok(Task::spawn("inspection", async move {
        let stop = async move { shutdown.begun().await };
        if let Err(error) = server.serve_with_incoming_shutdown(incoming, stop).await {
            tracing::warn!(%error, "inspection is served no longer");
        }
    }))
}

/// A refusal that names the field, in its text and as `google.rpc.BadRequest`.
pub(crate) fn field_error(code: Code, field: &str, message: &str) -> Status {
    let details = ErrorDetails::with_bad_request_violation(field, message);
    Status::with_error_details(code, format!("{field}: {message}"), details)
}

fn invalid(field: &str, message: &str) -> Status {
    field_error(Code::InvalidArgument, field, message)
}

fn in_range(field: &str, value: u32, range: &std::ops::RangeInclusive<u32>) -> Result<u32, Status> {
    let expected = || format!("{value}; expected {} to {}", range.start(), range.end());
    range.contains(&value).then_some(value).ok_or_else(|| invalid(field, &expected()))
}

/// What a request means, or the field at fault.
pub(super) fn read(request: &TraceRequest) -> Result<(Target, TraceLimits), Status> {
    let target = match (request.address.parse::<IpAddr>(), request.address.parse::<IpNet>()) {
        (Ok(address), _) => Target { address, is_host: true },
        (_, Ok(net)) => {
            let is_host = net.prefix_len() == net.max_prefix_len();
            Target { address: net.network(), is_host }
        }
        _ => {
            let text = "expected an address or a prefix, 2001:db8:0:1::100 or 2001:db8:100::/56";
            return Err(invalid("address", text));
        }
    };
    let care_of =
        match request.care_of.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|_| {
                invalid("care_of", "expected an address, 2001:db8:a::7, or nothing")
            })?),
        };
    let snap = in_range("snap_octets", request.snap_octets, &limits::TRACE_SNAP_OCTETS)?;
    let limits = TraceLimits {
        care_of,
        secs: in_range("duration_secs", request.duration_secs, &limits::TRACE_SECS)?,
        packets: in_range("packets_max", request.packets_max, &limits::TRACE_PACKETS)?,
        snap_octets: usize::try_from(snap).unwrap_or(usize::MAX),
    };
    Ok((target, limits))
}

impl Handler {
    async fn ask<T>(
        &self,
        request: Inspect,
        reply: oneshot::Receiver<Result<T, Status>>,
    ) -> Result<T, Status> {
        let busy = |_| Status::unavailable("too many requests wait; try again");
        self.engine.try_send(request).map_err(busy)?;
        match timeout(limits::INSPECTION_TIMEOUT, reply).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Status::unavailable("the forwarder is ending")),
            Err(_) => Err(Status::deadline_exceeded("the forwarder is too busy; try again")),
        }
    }
}

type Wrap = fn(TraceResponse) -> Result<TraceResponse, Status>;

#[tonic::async_trait]
impl Service for Handler {
    type TraceStream = Map<ReceiverStream<TraceResponse>, Wrap>;

    async fn trace(
        &self,
        request: Request<TraceRequest>,
    ) -> Result<Response<Self::TraceStream>, Status> {
        let (target, limits) = read(request.get_ref())?;
        let (reply, answer) = oneshot::channel();
        let stream = self.ask(Inspect::Trace { target, limits, reply }, answer).await?;
        let wrap: Wrap = Ok;
        Ok(Response::new(ReceiverStream::new(stream).map(wrap)))
    }

    async fn list_traffic(
        &self,
        request: Request<ListTrafficRequest>,
    ) -> Result<Response<ListTrafficResponse>, Status> {
        let request = request.into_inner();
        let order = request.order.try_into().map_err(|_| invalid("order", "is unknown"))?;
        let limit = in_range("limit", request.limit, &limits::TRAFFIC_LIMIT)?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let (reply, answer) = oneshot::channel();
        self.ask(Inspect::Traffic { order, limit, reply }, answer).await.map(Response::new)
    }
}
