//! The NOC dashboard: what the home agent is doing, for people who watch it.
//!
//! It is a client of the store's admin API like any other and holds nothing but what it has just seen, and
//! an hour of figures. Two tasks look: one asks every store each [`limits::POLL_INTERVAL`], one reads the
//! processes' metrics each [`limits::SCRAPE_INTERVAL`]. Pages are made of that; only pages of subscribers
//! and bindings ask a store for themselves.
//!
//! ```text
//!   poll (1 task) ----watch, newest only---+--> pages (axum, at most CONNECTIONS_MAX connections)
//!      | stores: GetStatus, ListHomePrefixes       | LOOK_UPS_MAX at once
//!   processes (1 task) --watch, newest only+       v
//!      | /readyz, /metrics                 |    stores: lists, single subscribers; forwarders: traffic
//!                                          +--> live (one stream for a screen, STREAMS_MAX of them):
//!                                               parts of its page that have changed
//! ```
//!
//! A page is data first (`view`): HTML, CSV and JSON are renderings of it, and a stream sends the parts that
//! differ from those that it sent last. What cannot be reached is shown as that, and what stands still or
//! has left is found by comparing polls (`history`): the screen is for somebody who was just woken up.
//! Nothing on it comes from elsewhere: no fonts, no scripts but its own, and a policy that forbids others.

mod config;
mod format;
mod history;
pub mod limits;
mod live;
mod pages;
mod poll;
mod processes;
mod render;
mod session;
mod status;
mod stores;
mod target;
mod token;
mod view;
mod web;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use homeport_runtime::{Readiness, Shutdown, Task, metrics, ops};
use homeport_tls::Links;
use tokio::{net::TcpListener, sync::watch};

pub use crate::config::{Config, Error, LoginConfig, ProcessConfig, Role};
use crate::{
    pages::Sources,
    processes::Processes,
    session::Sessions,
    stores::{Inspected, Stores},
    web::Noc,
};

/// Serves the dashboard until the shutdown begins, then drains for at most [`limits::DRAIN_MAX`].
///
/// # Errors
/// The configuration cannot be served; nothing fails later.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), Error> {
    config::check_processes(&config.processes)?;
    let bearer = token::open(config.token_file.as_deref())?;
    let mut registry = metrics::registry();
    let links = Links::open(config.tls.as_ref(), homeport_tls::Role::Noc, &mut registry)?;
    let stores = Stores::new(&config.stores, &bearer, &links)?;
    let forwarders = Inspected::of(&config.processes, &links);
    let sources = Arc::new(Sources { stores, forwarders });
    let sessions = Sessions::new(config.login.as_ref())?;
    let listener = listen(config.listen).await?;
    let readiness = Readiness::default();
    let polled = readiness.latch("first-poll");
    let (sender, latest) = poll::channel();
    let counter = poll::register(&mut registry);
    let (looks, looked) = watch::channel(Arc::new(Processes::default()));
    let shared = Arc::clone(&sources);
    let news = web::News { latest: latest.clone(), looked, shutdown: shutdown.clone() };
    let noc = Noc::new(shared, news, sessions, &mut registry);
    let _ops = ops::serve(&config.ops, registry, readiness, shutdown.clone()).await?;
    let _token =
        config.token_file.map(|file| Task::spawn("token", token::look_after(file, bearer)));
    let _poller = Task::spawn("poll", poll::run(sources, sender, counter, polled));
    let _looker = Task::spawn("processes", processes::run(config.processes, looks, latest));
    web::serve(listener, noc, shutdown).await;
    Ok(())
}

async fn listen(address: std::net::SocketAddr) -> Result<TcpListener, Error> {
    let failed = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    tracing::info!(address = %bound, "dashboard");
    Ok(listener)
}
