//! `ike-agent.toml`, and what can be wrong with it.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use homeport_api::bearer::Bearer;
use homeport_runtime::config::{Configuration, OpsConfig, Refusal, TelemetryConfig, schema};
use homeport_tls::TlsConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tonic::transport::Endpoint;

use crate::limits;

/// Configuration of an IKE agent.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Names the agent in the store: no two have the same, and it keeps its name when it starts anew.
    #[schemars(length(min = 1, max = limits::NAME_OCTETS_MAX))]
    pub name: String,
    /// Where front-ends connect.
    #[schemars(with = "schema::Listen")]
    pub listen: SocketAddr,
    /// `host:port` at which front-ends reach it: it stands in the store beside each association.
    #[schemars(with = "schema::HostPort")]
    pub address: String,
    /// Store replicas, `host:port`.
    #[schemars(with = "Vec<schema::HostPort>", length(min = 1, max = limits::STORES_MAX))]
    pub stores: Vec<String>,
    /// A file with a token that the stores' `admin.tokens_file` knows, of any role: with it the agent finds what
    /// it has brought before it was started anew, and takes away what is no more.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub token_file: Option<PathBuf>,
    /// The control socket of charon.
    #[serde(default = "vici_default")]
    #[schemars(length(min = 1))]
    pub vici: PathBuf,
    /// Network namespace in which charon runs, by name or path; empty: that of the agent.
    #[serde(default)]
    pub netns: String,
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

pub(crate) fn vici_default() -> PathBuf {
    PathBuf::from("/run/charon.vici")
}

impl Configuration for Config {
    const ROLE: &'static str = "ike-agent";

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }

    fn telemetry_mut(&mut self) -> &mut TelemetryConfig {
        &mut self.telemetry
    }

    fn refusals(&self) -> Vec<Refusal> {
        let tried = [endpoints(&self.stores).map(drop), self.bearer().map(drop)];
        let tls = TlsConfig::refusals(self.tls.as_ref(), homeport_tls::Role::IkeAgent);
        tried.into_iter().filter_map(Result::err).chain(tls).collect()
    }
}

impl Config {
    /// The token of the file; without, calls have none.
    pub(crate) fn bearer(&self) -> Result<Bearer, Refusal> {
        let Some(path) = &self.token_file else { return Ok(Bearer::default()) };
        Bearer::of_file(path).map_err(|error| {
            let wrong = format!("is {path:?}: {error}");
            Refusal::new("token_file", wrong, "a file with a token that the stores know")
        })
    }
}

/// Endpoints by address.
pub(crate) fn endpoints(stores: &[String]) -> Result<BTreeMap<String, Endpoint>, Refusal> {
    if stores.is_empty() {
        return Err(Refusal::new("stores", "is a list of 0", "host and port of each replica"));
    }
    stores.iter().map(|store| Ok((store.clone(), endpoint(store)?))).collect()
}

/// The way to one replica.
pub(crate) fn endpoint(address: &str) -> Result<Endpoint, Refusal> {
    let wrong = |error| {
        let wrong = format!("has {address:?}, which cannot be dialled: {error}");
        Refusal::new("stores", wrong, "a host and port, such as \"store-1:7101\"")
    };
    Ok(Endpoint::from_shared(format!("http://{address}"))
        .map_err(wrong)?
        .connect_timeout(limits::CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(limits::KEEPALIVE_INTERVAL)
        .keep_alive_timeout(limits::KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true))
}
