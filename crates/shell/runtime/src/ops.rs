//! The operations port: metrics, liveness, readiness.

use std::{io, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{encoding::text, registry::Registry};
use tokio::net::TcpListener;

use crate::{
    config::OpsConfig, listener::Bounded, metrics::register_process, readiness::Readiness,
    shutdown::Shutdown, task::Task,
};

/// Connections that are served at once; more wait in the kernel's backlog.
pub const CONNECTIONS_MAX: usize = 64;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The running server. It answers through the drain, until this is dropped: a process that is ending
/// still shows its metrics and says that it is not ready.
#[derive(Debug)]
pub struct OpsServer {
    /// Where it listens, with the port that was taken.
    pub address: SocketAddr,
    /// The server; ends only by being dropped.
    pub task: Task,
}

/// Why the operations port is not there.
#[derive(Debug, thiserror::Error)]
#[error("ops.listen: cannot listen on {address}: {source}")]
pub struct OpsError {
    /// The configured address.
    pub address: SocketAddr,
    /// Why.
    pub source: io::Error,
}

#[derive(Debug)]
struct Ops {
    registry: Registry,
    readiness: Readiness,
    shutdown: Shutdown,
}

/// Serves `/metrics` (OpenMetrics; what is registered, and what every process says of itself), `/livez` and
/// `/readyz` (503 with the names of what is pending).
///
/// # Errors
/// The address cannot be listened on.
pub async fn serve(
    config: &OpsConfig,
    mut registry: Registry,
    readiness: Readiness,
    shutdown: Shutdown,
) -> Result<OpsServer, OpsError> {
    let failed = |source| OpsError { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    register_process(&mut registry);
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .with_state(Arc::new(Ops { registry, readiness, shutdown }));
    let task = Task::spawn("ops", async move {
        if let Err(error) = axum::serve(Bounded::new(listener, CONNECTIONS_MAX), router).await {
            tracing::error!(%error, "the operations port has failed");
        }
    });
    tracing::info!(%address, "operations port");
    Ok(OpsServer { address, task })
}

async fn metrics(State(ops): State<Arc<Ops>>) -> Response {
    let mut body = String::new();
    match text::encode(&mut body, &ops.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn ready(State(ops): State<Arc<Ops>>) -> (StatusCode, String) {
    if ops.shutdown.is_begun() {
        return (StatusCode::SERVICE_UNAVAILABLE, "not ready: shutting down\n".to_owned());
    }
    let pending = ops.readiness.pending();
    if pending.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", pending.join(", ")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    use super::*;
    use crate::metrics::{self, ReasonCounter};

    async fn get_page(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        let request = format!("GET {path} HTTP/1.1\r\nHost: ops\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("writes");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("reads");
        answer
    }

    async fn start() -> (OpsServer, Readiness, Shutdown) {
        let mut registry = metrics::registry();
        let drops = ReasonCounter::register(&mut registry, "ops_test_drops", "Drops", &[]);
        drops.count("because");
        let (readiness, shutdown) = (Readiness::default(), Shutdown::manual());
        let config = OpsConfig::default();
        let server = serve(&config, registry, readiness.clone(), shutdown.clone()).await;
        (server.expect("listens"), readiness, shutdown)
    }

    #[tokio::test]
    async fn answers_health_and_metrics_and_stays_through_the_drain() {
        let (server, readiness, shutdown) = start().await;
        let feed = readiness.latch("feed");
        readiness.latch("raft");
        assert!(get_page(server.address, "/livez").await.ends_with("alive\n"));
        let pending = get_page(server.address, "/readyz").await;
        assert!(pending.starts_with("HTTP/1.1 503"), "{pending}");
        assert!(pending.ends_with("not ready: feed, raft\n"), "{pending}");
        feed.open();
        readiness.latch("raft").open();
        assert!(get_page(server.address, "/readyz").await.starts_with("HTTP/1.1 200"));
        shutdown.begin();
        let ending = get_page(server.address, "/readyz").await;
        assert!(ending.starts_with("HTTP/1.1 503") && ending.contains("shutting down"));
        let page = get_page(server.address, "/metrics").await;
        assert!(page.contains(OPEN_METRICS), "{page}");
        assert!(page.contains("homeport_ops_test_drops_total{reason=\"because\"} 1"), "{page}");
        assert!(page.contains("homeport_build_info{version="), "{page}");
        assert!(page.contains("# UNIT homeport_start_timestamp_seconds seconds\n"), "{page}");
        assert!(page.contains("# EOF"), "{page}");
        assert!(get_page(server.address, "/other").await.starts_with("HTTP/1.1 404"));
    }

    #[tokio::test]
    async fn silent_connections_are_bounded_and_their_places_come_free() {
        let (server, _, _) = start().await;
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            silent.push(TcpStream::connect(server.address).await.expect("connects"));
        }
        let waiting = Task::spawn("page", async move { get_page(server.address, "/livez").await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!waiting.is_finished());
        drop(silent);
        let answer = tokio::time::timeout(Duration::from_secs(5), waiting).await;
        assert!(answer.expect("in time").expect("ran").ends_with("alive\n"));
    }

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let (server, readiness, shutdown) = start().await;
        let config = OpsConfig { listen: server.address };
        let error = serve(&config, metrics::registry(), readiness, shutdown).await;
        let message = error.expect_err("is taken").to_string();
        assert!(message.starts_with(&format!("ops.listen: cannot listen on {}", server.address)));
    }
}
