//! SIGHUP: the configuration is read again. What may change while the role runs is taken, all else that differs is
//! named in one warning, and a configuration that is wrong changes nothing.

use std::{io, sync::LazyLock};

use prometheus_client::{
    metrics::gauge::Gauge,
    registry::{Registry, Unit},
};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    clock::unix_ms,
    config::{Configuration, Source, schema},
    task::Task,
    telemetry::LogHandle,
};

/// A process has one configuration and one signal for it.
static RELOADS: LazyLock<Reloads> = LazyLock::new(|| {
    let reloads = Reloads::default();
    reloads.note(true);
    reloads
});

#[derive(Debug, Default)]
struct Reloads {
    is_good: Gauge,
    good_at: Gauge,
}

impl Reloads {
    fn note(&self, is_good: bool) {
        self.is_good.set(i64::from(is_good));
        if is_good {
            self.good_at.set(i64::try_from(unix_ms() / 1000).unwrap_or(i64::MAX));
        }
    }
}

/// What every process says of its configuration.
pub(crate) fn register(registry: &mut Registry) {
    let help =
        "Whether the configuration was good when it was last read, at the start or at SIGHUP";
    registry.register("config_good", help, RELOADS.is_good.clone());
    let help = "When a good configuration was last read, seconds since 1970";
    registry.register_with_unit(
        "config_read_timestamp",
        help,
        Unit::Seconds,
        RELOADS.good_at.clone(),
    );
}

/// Reads the configuration again at each SIGHUP, for as long as the task is kept. `running` is the one that the
/// role runs with, or a clone of it: what is [`Live`](crate::config::Live) they share.
///
/// # Errors
/// The signal handler could not be installed.
///
/// # Panics
/// Outside a tokio runtime.
pub fn on_signal<C: Configuration + Sync>(
    source: Source,
    mut running: C,
    log: LogHandle,
) -> io::Result<Task> {
    LazyLock::force(&RELOADS);
    let mut hangups = signal(SignalKind::hangup())?;
    Ok(Task::spawn("reload", async move {
        while hangups.recv().await.is_some() {
            RELOADS.note(reload(&source, &mut running, &log));
        }
    }))
}

/// Whether the configuration was good.
fn reload<C: Configuration>(source: &Source, running: &mut C, log: &LogHandle) -> bool {
    let path = source.path.display();
    let new: C = match source.check() {
        Ok(new) => new,
        Err(error) => {
            let error = error.to_string().replace('\n', "; ");
            tracing::error!(%error, "the configuration is wrong: nothing of it is taken");
            return false;
        }
    };
    let differing = differences(running, &new);
    let filter = &new.telemetry().log;
    if let Err(error) = log.set(filter) {
        tracing::error!(%error, "the configuration is wrong: nothing of it is taken");
        return false;
    }
    running.telemetry_mut().log.clone_from(filter);
    let rate = &new.telemetry().traces_per_second_max;
    running.telemetry_mut().traces_per_second_max.take(rate);
    running.take(&new);

    let waiting = differences(running, &new);
    let taken: Vec<&str> =
        differing.iter().filter(|key| !waiting.contains(key)).map(String::as_str).collect();
    match taken.as_slice() {
        [] => tracing::info!(%path, "the configuration was read again, nothing of it is taken"),
        taken => {
            tracing::info!(%path, taken = taken.join(", "), "the configuration was read again")
        }
    }
    if !waiting.is_empty() {
        let keys = waiting.join(", ");
        tracing::warn!(%path, keys, "these keys have changed and need a restart");
    }
    true
}

fn differences<C: Configuration>(one: &C, other: &C) -> Vec<String> {
    let value = |config: &C| serde_json::to_value(config).unwrap_or_default();
    schema::differences(&value(one), &value(other))
}
