//! One Binding Update as operators see it in a trace: from the packet to the forwarder's table, over OTLP.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use homeport_tests::dev::DevCluster;
use homeport_tests::eventually;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

const HOME_ADDRESS: &str = "2001:db8:0:1::100";
/// Each step, its process, and the step that it is a part of.
const STEPS: [(&str, &str, &str); 9] = [
    ("forwarder.binding_update", "homeport-forwarder", ""),
    ("front_end.binding_update", "homeport-signalling", "forwarder.binding_update"),
    ("front_end.policy", "homeport-signalling", "front_end.binding_update"),
    ("front_end.submit", "homeport-signalling", "front_end.binding_update"),
    ("store.command", "homeport-store", "front_end.submit"),
    ("store.gather", "homeport-store", "store.command"),
    ("raft.commit", "homeport-store", "store.command"),
    ("store.apply", "homeport-store", "store.command"),
    ("forwarder.table", "homeport-forwarder", "forwarder.binding_update"),
];

/// Takes what is exported, and keeps all of it.
#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<Vec<(String, Span)>>>);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for of_one in request.into_inner().resource_spans {
            let attributes = of_one.resource.map(|it| it.attributes).unwrap_or_default();
            let name = attributes.into_iter().find(|it| it.key == "service.name");
            let name = match name.and_then(|it| it.value?.value) {
                Some(Value::StringValue(name)) => name,
                _ => String::new(),
            };
            let spans = of_one.scope_spans.into_iter().flat_map(|scope| scope.spans);
            all.extend(spans.map(|span| (name.clone(), span)));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Receiver {
    /// A trace that has each step: the steps by name, with their processes.
    fn whole(&self) -> Result<BTreeMap<String, (String, Span)>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut traces: BTreeMap<Vec<u8>, BTreeMap<String, (String, Span)>> = BTreeMap::new();
        for (process, span) in all.iter() {
            let trace = traces.entry(span.trace_id.clone()).or_default();
            trace.insert(span.name.clone(), (process.clone(), span.clone()));
        }
        let names: Vec<Vec<String>> =
            traces.values().map(|it| it.keys().cloned().collect()).collect();
        let is_whole =
            |trace: &BTreeMap<String, _>| STEPS.iter().all(|(name, ..)| trace.contains_key(*name));
        let whole = traces.into_values().find(is_whole);
        whole.with_context(|| format!("no trace has each step: {names:?}"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_update_is_one_trace_from_its_packet_to_the_table() -> Result<()> {
    let receiver = Receiver::default();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let server = tonic::transport::Server::builder()
        .add_service(TraceServiceServer::new(receiver.clone()))
        .serve_with_incoming(TcpListenerStream::new(listener));
    let server = tokio::spawn(server);
    let settings = [
        ("HOMEPORT_TELEMETRY__OTLP_ENDPOINT", endpoint.as_str()),
        ("HOMEPORT_TELEMETRY__TRACES_PER_SECOND_MAX", "1000"),
        // Of the exporter: milliseconds between two exports.
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ];
    let cluster = DevCluster::start_set(&settings).await?;
    let node = cluster.registered(cluster.mobile_node(HOME_ADDRESS, 1)?).await?;
    let trace = eventually("a whole trace", async || {
        node.refresh(false).await?;
        receiver.whole()
    })
    .await
    .with_context(|| cluster.logs())?;

    let span = |name: &str| trace.get(name).context("no such step");
    for (name, process, parent) in STEPS {
        let (seen, step) = span(name)?;
        let lasted_ns = step.end_time_unix_nano - step.start_time_unix_nano;
        println!("{name:<26} {:>9.3} ms  {seen}", f64::from(u32::try_from(lasted_ns)?) / 1e6);
        assert_eq!(seen, process, "{name}");
        ensure!(lasted_ns > 0, "{name} takes no time");
        if parent.is_empty() {
            ensure!(step.parent_span_id.is_empty(), "{name} is the first");
        } else {
            assert_eq!(step.parent_span_id, span(parent)?.1.span_id, "{name} is part of {parent}");
        }
    }
    let order = ["store.gather", "raft.commit", "store.apply", "forwarder.table"];
    for pair in order.windows(2) {
        let [before, after] = pair else { continue };
        let (before, after) = (&span(before)?.1, &span(after)?.1);
        ensure!(before.start_time_unix_nano <= after.start_time_unix_nano, "{pair:?}");
    }
    server.abort();
    Ok(())
}
