//! The signalling front-end: packets of forwarders in, answers out. It holds nothing that cannot be
//! lost: kill it anywhere and the mobile node's next retransmission succeeds through another.
//!
//! ```text
//! forwarders --Punt--> punt (1 task a stream, n updates under way)
//!                        |--> homeport-signalling: receive, judge, conclude (pure)
//!                        |--> policies: bounded cache --LookUpPolicy--> store
//!                        |--> endpoints --MoveEndpoint, CloseEndpoint--> agents beside IKE daemons
//!                        \--> store link (1 task): commands in order --Submit--> leader
//! forwarders <--Punt-- notices (1 task) <--Submit-- leader
//! ```
//!
//! No rule of any protocol is decided here.

mod drain;
mod endpoints;
pub mod limits;
mod metrics;
mod notices;
mod policies;
mod preflight;
mod punt;
mod registrar;
mod store_link;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::Stream;
use homeport_runtime::config::{Configuration, Live, OpsConfig, Refusal, TelemetryConfig, schema};
use homeport_runtime::{Readiness, Shutdown, Task, ops};
use homeport_signalling::SharedKey;
use homeport_tls::{Links, Role, TlsConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Endpoint};

pub use crate::preflight::preflight;

use crate::endpoints::Endpoints;
use crate::registrar::Registrar;
use crate::store_link::Stores;

/// Configuration of a front-end.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where forwarders connect.
    #[schemars(with = "schema::Listen")]
    pub listen: SocketAddr,
    /// Store replicas, `host:port`.
    #[schemars(with = "Vec<schema::HostPort>", length(min = 1, max = limits::STORES_MAX))]
    pub stores: Vec<String>,
    /// How long a Binding Update may take; then nothing is answered and the mobile node sends it again.
    #[serde(default = "deadline_ms_default")]
    #[schemars(range(min = 1, max = 60_000))]
    pub deadline_ms: Live,
    /// How long an IKE agent may take to confirm that an endpoint has moved; then the acknowledgement goes without
    /// the K bit.
    #[serde(default = "ike_deadline_ms_default")]
    #[schemars(range(min = 1, max = 10_000))]
    pub ike_deadline_ms: Live,
    /// The home agent's part as a correspondent node; without, it plays none.
    #[serde(default)]
    pub correspondent: Option<CorrespondentConfig>,
    /// Mutual TLS; without, links are plain.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// Logs and traces.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
    /// Metrics and health.
    #[serde(default)]
    pub ops: OpsConfig,
}

/// The home agent as a correspondent node: mobile nodes of anybody may register with it, and what it
/// sends to them itself goes straight to their care-of addresses (RFC 6275 §9).
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CorrespondentConfig {
    /// File with a key of 64 hexadecimal digits, the same for all front-ends: what tokens are made of.
    pub key_file: PathBuf,
}

impl CorrespondentConfig {
    fn key(&self) -> Result<SharedKey, Refusal> {
        let wrong = |found: String| {
            let expected = "64 hexadecimal digits, the same for every front-end, for instance of: openssl rand \
                            -hex 32";
            let wrong = format!("is {:?}: {found}", self.key_file);
            Refusal::new("correspondent.key_file", wrong, expected)
        };
        let text =
            std::fs::read_to_string(&self.key_file).map_err(|error| wrong(error.to_string()))?;
        let digits = text.trim();
        let octet = |at: usize| {
            let pair = digits.get(at * 2..at * 2 + 2)?;
            u8::from_str_radix(pair, 16).ok()
        };
        let mut key = [0; SharedKey::OCTETS];
        for (at, place) in key.iter_mut().enumerate() {
            *place = octet(at).ok_or_else(|| wrong("no 64 hexadecimal digits".to_owned()))?;
        }
        if digits.len() != SharedKey::OCTETS * 2 {
            return Err(wrong(format!("{} characters", digits.len())));
        }
        Ok(SharedKey::new(key))
    }
}

fn deadline_ms_default() -> Live {
    Live::new(1000)
}

fn ike_deadline_ms_default() -> Live {
    Live::new(500)
}

impl Configuration for Config {
    const ROLE: &'static str = "signalling";

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }

    fn telemetry_mut(&mut self) -> &mut TelemetryConfig {
        &mut self.telemetry
    }

    fn refusals(&self) -> Vec<Refusal> {
        let correspondent = self.correspondent.as_ref().map_or(Ok(()), |it| it.key().map(drop));
        let tried = [store_link::endpoints(&self.stores).map(drop), correspondent];
        let tls = TlsConfig::refusals(self.tls.as_ref(), Role::FrontEnd);
        tried.into_iter().filter_map(Result::err).chain(tls).collect()
    }

    fn take(&self, new: &Self) {
        self.deadline_ms.take(&new.deadline_ms);
        self.ike_deadline_ms.take(&new.ike_deadline_ms);
    }
}

/// Why a front-end ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A store that cannot be dialled, or a key or certificate that cannot be read.
    #[error(transparent)]
    Config(#[from] Refusal),
    /// The address cannot be listened on.
    #[error("listen: cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The operations port.
    #[error(transparent)]
    Ops(#[from] ops::OpsError),
    /// The gRPC server failed.
    #[error("the gRPC server has failed: {0}")]
    Serve(#[from] tonic::transport::Error),
}

/// Runs a front-end until `shutdown` begins.
///
/// # Errors
/// When the configuration cannot work or an address cannot be listened on.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), Error> {
    let address = config.listen;
    let stores = store_link::endpoints(&config.stores)?;
    let listener =
        TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })?;
    let mut registry = homeport_runtime::metrics::registry();
    let links = Links::open(config.tls.as_ref(), Role::FrontEnd, &mut registry)?;
    let metrics = Arc::new(metrics::Metrics::register(&mut registry));
    let readiness = Readiness::default();
    let connected = readiness.latch("store");
    let _ops = ops::serve(&config.ops, registry, readiness, shutdown.clone()).await?;
    let stores = Stores { endpoints: stores, dial: None, links: links.clone() };
    serve(&config, links.incoming(listener), stores, metrics, connected, shutdown).await
}

/// Makes a channel that connects when it is used.
pub type Dial = Arc<dyn Fn(&Endpoint) -> Channel + Send + Sync>;

/// Runs a front-end over another network than this machine's, as in a simulation, and without an
/// operations port.
///
/// # Errors
/// When the configuration cannot work.
pub async fn run_on<I, C>(
    config: &Config,
    incoming: I,
    dial: Dial,
    shutdown: Shutdown,
) -> Result<(), Error>
where
    I: Stream<Item = std::io::Result<C>>,
    C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let metrics = metrics::Metrics::register(&mut homeport_runtime::metrics::registry());
    let connected = Readiness::default().latch("store");
    let endpoints = store_link::endpoints(&config.stores)?;
    let stores = Stores { endpoints, dial: Some(dial), links: Links::default() };
    serve(config, incoming, stores, Arc::new(metrics), connected, shutdown).await
}

async fn serve<I, C>(
    config: &Config,
    incoming: I,
    stores: Stores,
    metrics: Arc<metrics::Metrics>,
    connected: homeport_runtime::Latch,
    shutdown: Shutdown,
) -> Result<(), Error>
where
    I: Stream<Item = std::io::Result<C>>,
    C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let correspondent = config.correspondent.as_ref().map(CorrespondentConfig::key).transpose()?;
    let (due, notices) = mpsc::channel(limits::NOTICES_WAITING_MAX);
    let drain = Arc::new(drain::Drain::default());
    let me = store_link::Me { info: drain::who(config.listen), drain: drain.clone() };
    let (link, run_link) = store_link::start(stores.clone(), connected, metrics.clone(), due, me);
    let _link = Task::spawn("store link", run_link);
    let policies = Arc::new(policies::Policies::new(&stores, link.leader()));
    let forwarders = notices::Forwarders::default();
    let notify = notices::send(notices, policies.clone(), forwarders.clone(), metrics.clone());
    let _notices = Task::spawn("notices", notify);
    let deadline_ms = config.deadline_ms.clone();
    let ike_deadline_ms = config.ike_deadline_ms.clone();
    let endpoints = Endpoints::new(
        (stores.dial.clone(), stores.links.to(Role::IkeAgent)),
        ike_deadline_ms,
        metrics.clone(),
    );
    let registrar =
        Arc::new(Registrar::new(link, policies, endpoints, metrics, deadline_ms, correspondent));

    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_service_status("", tonic_health::ServingStatus::Serving).await;
    let server = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(limits::KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(limits::KEEPALIVE_TIMEOUT))
        .layer(stores.links.guard())
        .add_service(punt::service(registrar, forwarders, drain, shutdown.clone()))
        .add_service(health_service);
    tracing::info!(address = %config.listen, "signalling front-end");
    let ending = shutdown.clone();
    let served = async move {
        let stop = async move { ending.begun().await };
        server.serve_with_incoming_shutdown(incoming, stop).await
    };
    tokio::select! {
        served = served => served?,
        () = drained(&shutdown) => {}
    }
    Ok(())
}

/// What is under way is finished, but streams of others do not hold up the end of this process.
async fn drained(shutdown: &Shutdown) {
    shutdown.begun().await;
    tokio::time::sleep(limits::DRAIN_MAX).await;
}
