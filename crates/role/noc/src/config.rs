//! `noc.toml`, and what can be wrong with it.

use std::{io, net::SocketAddr, path::PathBuf};

use homeport_api::bearer::TokenError;
use homeport_runtime::{
    config::{OpsConfig, TelemetryConfig},
    ops,
};
use serde::{Deserialize, Serialize};

use crate::limits;

/// `noc.toml`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the dashboard is served.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// The stores' addresses, `host:port`; all of them, so that each is shown.
    pub stores: Vec<String>,
    /// A file with the token that the stores' `admin.tokens_file` knows this dashboard by; it is read again when it
    /// changes. Of the role operator, or viewer where nobody may log in.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// `[[processes]]`: whose metrics and readiness are shown; none by default.
    #[serde(default)]
    pub processes: Vec<ProcessConfig>,
    /// `[login]`: who may change something; without, nobody may.
    #[serde(default)]
    pub login: Option<LoginConfig>,
    /// `[telemetry]`
    #[serde(default)]
    pub telemetry: TelemetryConfig,
    /// `[ops]`
    #[serde(default)]
    pub ops: OpsConfig,
}

/// A process, or several behind one name.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct ProcessConfig {
    /// How it is called on the screen, 1 to 64 characters; no two have the same.
    pub name: String,
    /// What it does.
    pub role: Role,
    /// Its `ops.listen`, `host:port`. A name with several addresses stands for a process at each.
    pub ops: String,
    /// A forwarder's `inspection.listen`, `host:port`, for the traffic of single subscribers.
    pub inspection: Option<String>,
}

/// What a process does.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, PartialOrd, Ord)]
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
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct LoginConfig {
    /// A file with the token that is asked for, at least 16 octets; white space around it does not count.
    pub token_file: PathBuf,
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7300))
}

/// Why the dashboard cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `stores` is empty or too long.
    #[error("stores: has {0} addresses; expected 1 to {max}", max = limits::STORES_MAX)]
    StoreCount(usize),
    /// An entry of `stores` is not an address.
    #[error("stores: {0:?} is not an address; expected such as \"127.0.0.1:7101\"")]
    Store(String),
    /// `processes` is too long.
    #[error("processes: has {0} entries; expected at most {max}", max = limits::PROCESSES_MAX)]
    ProcessCount(usize),
    /// An entry of `processes` cannot be used.
    #[error("processes: {name:?}: {key} is {found:?}; expected {expected}")]
    Process {
        /// The entry's name.
        name: String,
        /// Its key.
        key: &'static str,
        /// What stands there.
        found: String,
        /// What would do.
        expected: &'static str,
    },
    /// The token cannot be read.
    #[error("login.token_file: {}: {why}; expected a file with at least {min} octets",
        path.display(), min = limits::TOKEN_OCTETS_MIN)]
    Token {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The token for the stores cannot be read.
    #[error("token_file: {}: {source}", path.display())]
    StoreToken {
        /// The file.
        path: PathBuf,
        /// Why.
        source: TokenError,
    },
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
pub(crate) fn check_processes(processes: &[ProcessConfig]) -> Result<(), Error> {
    if processes.len() > limits::PROCESSES_MAX {
        return Err(Error::ProcessCount(processes.len()));
    }
    for (place, process) in processes.iter().enumerate() {
        let wrong = |key, found: &str, expected| {
            let (name, found) = (process.name.clone(), found.to_owned());
            Err(Error::Process { name, key, found, expected })
        };
        let length = process.name.chars().count();
        if !(1..=limits::PROCESS_NAME_CHARS_MAX).contains(&length) {
            return wrong("name", &process.name, "1 to 64 characters");
        }
        let before = processes.iter().take(place);
        if before.into_iter().any(|other| other.name == process.name) {
            return wrong("name", &process.name, "another name for each");
        }
        if !is_address(&process.ops) {
            return wrong("ops", &process.ops, "an address such as \"127.0.0.1:9101\"");
        }
        if let Some(inspection) = process.inspection.as_deref()
            && (!is_address(inspection) || process.role != Role::Forwarder)
        {
            return wrong("inspection", inspection, "a forwarder's address and port");
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
