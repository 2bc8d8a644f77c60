//! The forwarder: packets of an edge host in and out, decided by a table that follows the store.
//!
//! ```text
//!  kernel --TUN--> \                                / --TUN--> kernel
//!  socket --UDP-->  engine (1 task, owns the table)  --UDP--> socket
//!                  ^    ^                           \ --queue, 1024 each--> front-end links
//!        events, 4 |    | answers, up, down, 1024
//!  stores --> feed (1 task)    front-end links (1 task each) --> front-ends
//!  engine <--> routes (1 task): what is served into the TUN
//!  engine --> fast path: XDP, which does the common case before a packet comes to the TUN
//!  inspection service <--> engine: traces and counters of single mobile nodes, where configured
//!  engine, store <--> home link (1 task): the home agent's part on a real home link
//! ```
//!
//! Data never leaves this process. Cut off from every store it goes on with what it has, each
//! binding until its end, and withdraws after a set time (`headless.rs`). Cut off from every
//! front-end it drops signalling, which mobile nodes send again.
//!
//! No rule of any protocol is decided here: that is `homeport-forwarding`.

mod attachment;
mod backoff;
mod config;
mod destinations;
mod drain;
mod engine;
mod fast;
mod feed;
mod front_ends;
mod headless;
mod held;
mod home_link;
mod inspection;
pub mod limits;
mod metrics;
mod mirror;
mod port;
mod preflight;
mod punt;
mod routes;
mod spans;
mod store;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use homeport_forwarding::{Config as Rules, Forwarding, Rate};
use homeport_runtime::{Readiness, Shutdown, Task, clock::Monotonic, ops};
use homeport_tls::{Links, Role};
use tokio::sync::{mpsc, watch};

pub use crate::config::{
    AtStop, Config, Error, InspectionConfig, TunConfig, TunnelEcn, TunnelsConfig, UdpConfig,
    WeightConfig, XdpConfig, XdpMode,
};

pub use crate::preflight::preflight;

use crate::{
    drain::Drain,
    engine::{Engine, Outlets, Ready},
    fast::Fast,
    headless::Headless,
    home_link::HomeLinks,
    inspection::Inspection,
    metrics::Metrics,
    port::Port,
    punt::FrontEnds,
    routes::Routes,
    store::Store,
};

/// Runs a forwarder until `shutdown` begins.
///
/// # Errors
/// When the configuration cannot work, or the host does not give a port that it names.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), Error> {
    let stores = config::endpoints("stores", &config.stores)?;
    let front_ends = config::endpoints("front_ends", &config.front_ends)?;
    let mut registry = homeport_runtime::metrics::registry();
    let links = Links::open(config.tls.as_ref(), Role::Forwarder, &mut registry)?;
    let headless = Headless::new(config.headless());
    let metrics = Arc::new(Metrics::register(&mut registry));
    let readiness = Readiness::default();
    let caught_up = readiness.latch("feed");
    let not_drained = readiness.latch("drain");
    not_drained.open();
    let port = Port::open(&config)?;
    let _ops = ops::serve(&config.ops, registry, readiness, shutdown.clone()).await?;

    let clock = Monotonic::start();
    let (store, store_link) = Store::start(stores.clone(), links.to(Role::Store));
    let link = HomeLinks::open(&config, clock, Arc::clone(&metrics), store).await?;
    let (home_links, home_link) = link.unzip();
    let home_links = home_links.map(|links| {
        (Task::spawn("home link", links.run()), Task::spawn("store link", store_link))
    });
    let (routes, routes_outlet) = Routes::open(&config).await?.unzip();
    let _routes = routes.map(|routes| Task::spawn("routes", routes.run()));
    let (feed_out, feed) = mpsc::channel(limits::FEED_EVENTS_WAITING_MAX);
    let (drained_out, drained) = watch::channel(false);
    let following =
        feed::follow(stores, links.to(Role::Store), config.name.clone(), feed_out, drained);
    let _feed = Task::spawn("feed", following);
    let drain = Drain::new(drained_out);
    let (signalling_out, signalling) = mpsc::channel(limits::ANSWERS_WAITING_MAX);
    let _links: Vec<Task> = (0..)
        .zip(front_ends)
        .map(|(place, front_end)| {
            let way = links.to(Role::FrontEnd);
            let follow = front_ends::follow(place, front_end, way, signalling_out.clone());
            Task::spawn("front-ends", follow)
        })
        .collect();

    let defaults = Rules::default();
    let hop_limit = defaults.hop_limit;
    let fast = Fast::open(&config, hop_limit, clock, Arc::clone(&metrics), &shutdown).await?;
    let rules = Rules {
        path_mtu: config.tun.as_ref().map_or(limits::PATH_MTU_DEFAULT, |tun| tun.path_mtu),
        encapsulation_limit: config.tunnels.encapsulation_limit,
        ecn: config.tunnels.ecn.into(),
        spread: config.tunnels.spread()?,
        udp_port: config.udp_port(),
        fragment_seed: rand::random(),
        signalling_per_network: Rate {
            per_sec: config.signalling.per_network_per_second,
            burst: config.signalling.per_network_per_second.saturating_mul(2),
        },
        signalling_overall: Rate {
            per_sec: config.signalling.overall_per_second,
            burst: config.signalling.overall_per_second,
        },
        follow_moves: fast.is_some(),
        ..defaults
    };
    let (requests_out, requests) = mpsc::channel(limits::INSPECTIONS_WAITING_MAX);
    let _inspection = match &config.inspection {
        Some(it) => Some(inspection::serve(it, &links, requests_out, shutdown.clone()).await?),
        None => None,
    };
    let shown = config.inspection.as_ref();
    let inspection = Inspection::new(shown, shown.is_some().then_some(requests), config.udp_port());
    let front_ends = FrontEnds::new(&config.telemetry);
    let routes = routes_outlet;
    let outlets = Outlets { front_ends, routes, home_link, fast, headless, drain, inspection };
    let ready = Ready { caught_up, not_drained };
    let engine = Engine::new(Forwarding::new(rules), clock, metrics, ready, outlets);
    tracing::info!(name = %config.name, port = %port, "forwarder");
    let ended = engine.run(port, feed, signalling, shutdown).await;
    // The engine is gone: what it did on home links is left to others.
    if let Some((links, _store_link)) = home_links
        && let Err(error) = links.await
    {
        tracing::warn!(%error, "home links were not left in order");
    }
    ended
}
