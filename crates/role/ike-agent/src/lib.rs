//! The agent beside an IKE daemon (strongSwan's charon): what the daemon negotiates with mobile nodes becomes
//! security associations of the store, and the daemon's endpoint follows a mobile node that moves (RFC 6275
//! §10.3.1, RFC 4877).
//!
//! ```text
//! kernel (XFRM) --word of a change--> look (1 task): associations with keys <-- kernel
//!                                       |            whose they are        <-- charon (vici)
//!                                       |--> publish --Submit--> leader; --ListSecurityAssociations--> store
//!                                       \--> known
//! front-ends --MoveEndpoint, CloseEndpoint--> endpoints: known, kernel (MIGRATE) --> charon; charon confirms
//! ```
//!
//! It holds nothing that is not in the kernel, the daemon or the store: started anew it finds all of it again.
//! While it is down associations stay good, and acknowledgements say that the endpoint has not moved.

mod charon;
mod config;
mod endpoints;
mod known;
pub mod limits;
mod look;
mod metrics;
mod pairs;
mod preflight;
mod publish;
mod suite;
mod write;

use std::{net::SocketAddr, sync::Arc};

use homeport_hostnet::{Namespace, Xfrm};
use homeport_runtime::{Readiness, Shutdown, Task, config::Refusal, ops};
use homeport_tls::{Links, Role};
use tokio::net::TcpListener;

pub use crate::{config::Config, preflight::preflight};

use crate::{charon::Charon, endpoints::Endpoints, look::Looker, publish::Publisher};

/// Why an agent ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A store that cannot be dialled, or a token that cannot be read.
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
    /// The kernel's IPsec databases.
    #[error(transparent)]
    Kernel(#[from] homeport_hostnet::Error),
    /// The operations port.
    #[error(transparent)]
    Ops(#[from] ops::OpsError),
    /// The gRPC server failed.
    #[error("the gRPC server has failed: {0}")]
    Serve(#[from] tonic::transport::Error),
}

/// Runs an agent until `shutdown` begins. The daemon may come later.
///
/// # Errors
/// When the configuration cannot work, an address cannot be listened on, or the kernel has no IPsec.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), Error> {
    let address = config.listen;
    let stores = config::endpoints(&config.stores)?;
    let bearer = config.bearer()?;
    let xfrm = Xfrm::open(&Namespace::from(config.netns.as_str()))?;
    let charon = Charon::new(config.vici.clone());
    let listener =
        TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })?;
    let mut registry = homeport_runtime::metrics::registry();
    let links = Links::open(config.tls.as_ref(), Role::IkeAgent, &mut registry)?;
    let way = links.to(Role::Store);
    let metrics = Arc::new(metrics::Metrics::register(&mut registry));
    let readiness = Readiness::default();
    let latches = (readiness.latch("ike-daemon"), readiness.latch("store"));
    let _ops = ops::serve(&config.ops, registry, readiness, shutdown.clone()).await?;

    let known = Arc::new(known::Known::default());
    let agent = publish::Agent { name: config.name.clone(), address: config.address.clone() };
    let looker = Looker {
        xfrm: xfrm.clone(),
        charon: charon.clone(),
        known: Arc::clone(&known),
        publisher: Publisher::new(agent, (stores, way), bearer, Arc::clone(&metrics)),
        metrics: Arc::clone(&metrics),
        daemon: latches.0,
        store: latches.1,
    };
    let looking = Task::spawn("look", looker.run(shutdown.clone()));
    let endpoints = Endpoints::new(charon, xfrm, known, metrics);

    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_service_status("", tonic_health::ServingStatus::Serving).await;
    let server = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(limits::KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(limits::KEEPALIVE_TIMEOUT))
        .concurrency_limit_per_connection(limits::CALLS_PER_CONNECTION_MAX)
        .layer(links.guard())
        .add_service(endpoints.service())
        .add_service(health_service);
    tracing::info!(%address, name = %config.name, "IKE agent");
    let incoming = links.incoming(listener);
    let ending = shutdown.clone();
    let served = async move {
        let stop = async move { ending.begun().await };
        server.serve_with_incoming_shutdown(incoming, stop).await
    };
    tokio::select! {
        served = served => served?,
        () = drained(&shutdown) => {}
    }
    // It takes its policies back.
    drop(tokio::time::timeout(limits::DRAIN_MAX, looking).await);
    Ok(())
}

/// What is under way is finished, but streams of others do not hold up the end of this process.
async fn drained(shutdown: &Shutdown) {
    shutdown.begun().await;
    tokio::time::sleep(limits::DRAIN_MAX).await;
}
