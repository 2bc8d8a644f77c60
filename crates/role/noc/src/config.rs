//! `noc.toml`, and what can be wrong with it.

use std::{io, net::SocketAddr, path::PathBuf};

use homeport_runtime::{
    config::{Configuration, OpsConfig, Refusal, TelemetryConfig, schema},
    ops,
};
use homeport_tls::TlsConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{limits, session::Sessions, token};

/// `noc.toml`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the dashboard is served.
    #[serde(default = "default_listen")]
    #[schemars(with = "schema::Listen")]
    pub listen: SocketAddr,
    /// The stores' addresses, `host:port`; all of them, so that each is shown.
    #[schemars(with = "Vec<schema::HostPort>", length(min = 1, max = limits::STORES_MAX))]
    pub stores: Vec<String>,
    /// A file with the token that the stores' `admin.tokens_file` knows this dashboard by; it is read again when it
    /// changes. Of the role operator, or viewer where nobody may log in.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub token_file: Option<PathBuf>,
    /// `[[processes]]`: whose metrics and readiness are shown; none by default.
    #[serde(default)]
    #[schemars(length(max = limits::PROCESSES_MAX))]
    pub processes: Vec<ProcessConfig>,
    /// `[login]`: who may change something; without, nobody may.
    #[serde(default)]
    pub login: Option<LoginConfig>,
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

/// A process, or several behind one name.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct ProcessConfig {
    /// How it is called on the screen; no two have the same.
    #[schemars(length(min = 1, max = limits::PROCESS_NAME_CHARS_MAX))]
    pub name: String,
    /// What it does.
    pub role: Role,
    /// Its `ops.listen`, `host:port`. A name with several addresses stands for a process at each.
    #[schemars(with = "schema::HostPort")]
    pub ops: String,
    /// A forwarder's `inspection.listen`, `host:port`, for the traffic of single subscribers.
    #[schemars(with = "Option<schema::HostPort>")]
    pub inspection: Option<String>,
}

/// What a process does.
#[derive(
    Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq, PartialOrd, Ord,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A replica of the store.
    Store,
    /// A front-end.
    Signalling,
    /// A forwarder.
    Forwarder,
    /// A dashboard.
    Noc,
}

impl Role {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Signalling => "signalling",
            Self::Forwarder => "forwarder",
            Self::Noc => "noc",
        }
    }
}

/// Who may change something.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct LoginConfig {
    /// A file with the token that is asked for, at least 16 octets; white space around it does not count.
    #[schemars(length(min = 1))]
    pub token_file: PathBuf,
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7300))
}

impl Configuration for Config {
    const ROLE: &'static str = "noc";

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }

    fn telemetry_mut(&mut self) -> &mut TelemetryConfig {
        &mut self.telemetry
    }

    fn refusals(&self) -> Vec<Refusal> {
        let tried = [
            check_processes(&self.processes),
            Sessions::new(self.login.as_ref()).map(drop),
            token::open(self.token_file.as_deref()).map(drop),
        ];
        let tls = TlsConfig::refusals(self.tls.as_ref(), homeport_tls::Role::Noc);
        tried.into_iter().filter_map(Result::err).chain(tls).collect()
    }
}

/// Why the dashboard cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A process that is named twice, an address that is none, a token that cannot be read.
    #[error(transparent)]
    Config(#[from] Refusal),
    /// The dashboard's port.
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

/// Refuses what names no process.
pub(crate) fn check_processes(processes: &[ProcessConfig]) -> Result<(), Refusal> {
    if processes.len() > limits::PROCESSES_MAX {
        let expected = format!("a list of at most {} entries", limits::PROCESSES_MAX);
        return Err(Refusal::new(
            "processes",
            format!("is a list of {}", processes.len()),
            expected,
        ));
    }
    for (place, process) in processes.iter().enumerate() {
        let wrong = |key, found: &str, expected| {
            Err(Refusal::new(
                format!("processes[{place}].{key}"),
                format!("is {found:?}"),
                expected,
            ))
        };
        let length = process.name.chars().count();
        if !(1..=limits::PROCESS_NAME_CHARS_MAX).contains(&length) {
            return wrong("name", &process.name, "a text of 1 to 64 characters");
        }
        let before = processes.iter().take(place);
        if before.into_iter().any(|other| other.name == process.name) {
            return wrong("name", &process.name, "another name for each");
        }
        if !is_address(&process.ops) {
            return wrong("ops", &process.ops, "a host and port, such as \"127.0.0.1:9101\"");
        }
        if let Some(inspection) = process.inspection.as_deref()
            && (!is_address(inspection) || process.role != Role::Forwarder)
        {
            return wrong(
                "inspection",
                inspection,
                "host and port, and only where role = \"forwarder\"",
            );
        }
    }
    Ok(())
}

/// `host:port`.
pub(crate) fn is_address(address: &str) -> bool {
    let is_host = |host: &str| !host.is_empty() && !host.contains([' ', '/', '?', '#', '@']);
    address
        .rsplit_once(':')
        .is_some_and(|(host, port)| is_host(host) && port.parse::<u16>().is_ok())
}
