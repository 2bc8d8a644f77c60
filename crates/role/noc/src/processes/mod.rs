//! The processes as their operations ports show them, and what becomes of it over an hour.

mod exposition;
mod kpis;
mod scrape;

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use homeport_runtime::clock;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

pub(crate) use self::exposition::Counters;
pub(crate) use self::kpis::{Kpis, Sample};
use crate::{
    config::{ProcessConfig, Role},
    limits::{ADDRESSES_MAX, ERROR_CHARS_MAX, SCRAPE_INTERVAL, SCRAPES_AT_ONCE},
    status::Status,
};

/// What the last look found.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Processes {
    /// When it ended, milliseconds since the Unix epoch; 0 before the first.
    pub(crate) taken_ms: u64,
    pub(crate) all: Vec<Process>,
    pub(crate) kpis: Arc<Kpis>,
}

/// One process.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) role: Role,
    /// Its operations port.
    pub(crate) ops: String,
    pub(crate) state: State,
    pub(crate) counters: Option<Counters>,
}

/// What its readiness is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Ready,
    /// It says why not.
    Pending(String),
    /// Why it cannot be asked.
    Unreached(String),
}

/// Looks for ever.
pub(crate) async fn run(
    configured: Vec<ProcessConfig>,
    latest: watch::Sender<Arc<Processes>>,
    status: watch::Receiver<Arc<Status>>,
) {
    let mut kpis = Kpis::default();
    let mut ticks = interval(SCRAPE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let all = look(&configured).await;
        let taken_ms = clock::unix_ms();
        let seen = Arc::clone(&status.borrow());
        kpis.add(taken_ms, &all, &seen);
        latest.send_replace(Arc::new(Processes { taken_ms, all, kpis: Arc::new(kpis.clone()) }));
    }
}

async fn look(configured: &[ProcessConfig]) -> Vec<Process> {
    let resolved = stream::iter(configured.to_vec())
        .map(|process| async move {
            let addresses = scrape::resolve(&process.ops).await;
            (process, addresses)
        })
        .buffered(SCRAPES_AT_ONCE);
    let resolved: Vec<_> = resolved.collect().await;
    let mut all = Vec::new();
    for (process, addresses) in resolved {
        match addresses {
            Ok(addresses) => {
                let several = addresses.len() > 1;
                all.extend(addresses.into_iter().map(|at| (process.clone(), several, Ok(at))));
            }
            Err(error) => all.push((process, false, Err(error))),
        }
    }
    all.truncate(ADDRESSES_MAX);
    let asked = stream::iter(all).map(|(process, several, address)| async move {
        let ProcessConfig { mut name, role, ops, .. } = process;
        let (state, counters) = match address {
            Ok(address) => {
                if several {
                    name = format!("{name} {}", address.ip());
                }
                ask(address).await
            }
            Err(error) => (State::Unreached(error), None),
        };
        Process { name, role, ops, state, counters }
    });
    asked.buffered(SCRAPES_AT_ONCE).collect().await
}

async fn ask(address: std::net::SocketAddr) -> (State, Option<Counters>) {
    let state = match scrape::get(address, "/readyz").await {
        Ok(answer) if answer.status == 200 => State::Ready,
        Ok(answer) => State::Pending(answer.body.trim().chars().take(ERROR_CHARS_MAX).collect()),
        Err(error) => return (State::Unreached(error), None),
    };
    let metrics = scrape::get(address, "/metrics").await;
    let metrics = metrics.ok().filter(|answer| answer.status == 200);
    (state, metrics.map(|answer| exposition::read(&answer.body)))
}
