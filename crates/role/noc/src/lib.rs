//! The network operations page: what the cluster is doing, for people who watch it.
//!
//! It is a client of the store's admin API like any other and holds nothing of its own. One task asks
//! every store each [`limits::POLL_INTERVAL`]; a request is answered from what that task last saw, and
//! only another page of bindings or one home address is fetched when it is asked for.
//!
//! ```text
//!   poll (1 task) --watch, newest only--> pages (axum, at most CONNECTIONS_MAX connections)
//!        |                                   | LOOK_UPS_MAX at once
//!        v                                   v
//!     stores: GetStatus, ListHomePrefixes, ListHomeBindings, GetHomeBindings
//! ```
//!
//! What cannot be reached is shown as that, and what stands still or has left is found by comparing polls
//! (`history`): the page is for somebody who was just woken up. Nothing on the page comes from elsewhere: no scripts, no fonts, and a policy that forbids them.

mod history;
mod html;
pub mod limits;
mod page;
mod poll;
mod status;
mod stores;
mod web;

#[cfg(test)]
mod tests;

use std::{io, net::SocketAddr, sync::Arc};

use homeport_runtime::{
    Readiness, Shutdown, Task,
    config::{OpsConfig, TelemetryConfig},
    metrics, ops,
};
use serde::Deserialize;
use tokio::net::TcpListener;

use crate::stores::Stores;

/// `noc.toml`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the page is served.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// The stores' addresses, `host:port`; all of them, so that each is shown.
    pub stores: Vec<String>,
    /// `[telemetry]`
    #[serde(default)]
    pub telemetry: TelemetryConfig,
    /// `[ops]`
    #[serde(default)]
    pub ops: OpsConfig,
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7300))
}

/// Why the page cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `stores` is empty or too long.
    #[error("stores: has {0} addresses; expected 1 to {max}", max = limits::STORES_MAX)]
    StoreCount(usize),
    /// An entry of `stores` is not an address.
    #[error("stores: {0:?} is not an address; expected such as \"127.0.0.1:7101\"")]
    Store(String),
    /// The page's port.
    #[error("listen: cannot listen on {address}: {source}")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The operations port.
    #[error(transparent)]
    Ops(#[from] ops::OpsError),
}

/// Serves the page until the shutdown begins, then drains for at most [`limits::DRAIN_MAX`].
///
/// # Errors
/// The configuration cannot be served; nothing fails later.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), Error> {
    let stores = Arc::new(Stores::new(&config.stores)?);
    let listener = listen(config.listen).await?;
    let mut registry = metrics::registry();
    let readiness = Readiness::default();
    let polled = readiness.latch("first-poll");
    let (sender, latest) = poll::channel();
    let counter = poll::register(&mut registry);
    let _ops = ops::serve(&config.ops, registry, readiness, shutdown.clone()).await?;
    let poller = poll::run(Arc::clone(&stores), sender, counter, polled);
    let _poller = Task::spawn("poll", poller);
    web::serve(listener, stores, latest, shutdown).await;
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    let failed = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    tracing::info!(address = %bound, "status page");
    Ok(listener)
}
