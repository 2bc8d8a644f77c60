//! Configuration: a TOML file, overridden by `HOMEPORT_*` environment variables and those by `--set`, checked
//! whole before any port is opened.
//!
//! The types of a role's `Configuration` are the one source: they are its JSON Schema ([`schema`]), and each
//! value is held against that (`judge.rs`) before serde makes a type of it.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

use figment::{
    Figment, Metadata, Profile, Provider,
    providers::{Env, Format as _, Toml},
    value::{Dict, Map, Value},
};
use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _},
};

mod fault;
mod judge;
mod live;
pub mod schema;

pub use fault::{ConfigError, Fault, Refusal};
pub use live::Live;

/// A configuration file above this size is refused: it is a mistake.
pub const FILE_OCTETS_MAX: u64 = 1 << 20;

const ENVIRONMENT_PREFIX: &str = "HOMEPORT_";

/// Variables with our prefix that are for other programs.
const NOT_CONFIGURATION: [&str; 9] = [
    "ENDPOINTS",
    "FORWARDERS",
    "TOKEN",
    "TOKEN_FILE",
    "CONFIG",
    "CONTEXT",
    "TLS_CA",
    "TLS_CERT",
    "TLS_KEY",
];

/// The name of what comes by `--set`, for figment.
const SETTINGS: &str = "settings of the command line";

/// The configuration of a role.
pub trait Configuration:
    DeserializeOwned + Serialize + JsonSchema + Clone + Send + 'static
{
    /// The subcommand that runs it.
    const ROLE: &'static str;

    /// Logs and traces.
    fn telemetry(&self) -> &TelemetryConfig;

    /// The same, to take what may change while the role runs.
    fn telemetry_mut(&mut self) -> &mut TelemetryConfig;

    /// What no schema says: keys that contradict each other, files that they name.
    fn refusals(&self) -> Vec<Refusal>;

    /// Takes from `new` what may change while the role runs, beside telemetry: all that is [`Live`].
    fn take(&self, new: &Self) {
        let _ = new;
    }
}

/// Where a configuration comes from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// What goes over the file and the environment.
    pub settings: Vec<Setting>,
}

/// One key of the command line, `xdp.keep_secs=60`.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    key: String,
    value: Value,
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text
            .split_once('=')
            .filter(|(key, _)| !key.split('.').any(str::is_empty))
            .ok_or("expected KEY=VALUE, such as telemetry.log=debug")?;
        let value = Value::from_str(value).unwrap_or_else(|never: Infallible| match never {});
        Ok(Self { key: key.to_owned(), value })
    }
}

impl Provider for &Setting {
    fn metadata(&self) -> Metadata {
        Metadata::named(SETTINGS)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let nested = figment::util::nest(&self.key, self.value.clone());
        Ok(Map::from([(Profile::Default, nested.into_dict().unwrap_or_default())]))
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The configuration file.
    File(PathBuf),
    /// An environment variable.
    Environment,
    /// `--set`.
    Setting,
}

impl Origin {
    fn of(metadata: Option<&Metadata>, path: &Path) -> Self {
        match metadata {
            Some(from) if from.name.contains("environment") => Self::Environment,
            Some(from) if from.name == SETTINGS => Self::Setting,
            _ => Self::File(path.to_owned()),
        }
    }
}

/// Reads `path`, puts `HOMEPORT_*` variables over it (`HOMEPORT_RAFT__HEARTBEAT_MS=50` is
/// `raft.heartbeat_ms`), and makes a `T` of it. Of a role's configuration [`Source::read`] says more.
///
/// # Errors
/// What stops serde first, with the key, where it was set, what is wrong and what is expected.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let source = Source::file(path);
    let figment = source.figment()?;
    figment.extract().map_err(|error| source.faults_of(error))
}

/// The text of a file that is no larger than a configuration.
///
/// # Errors
/// When it cannot be read, or is larger.
pub fn read(path: &Path) -> Result<String, ConfigError> {
    let read = |source| ConfigError::Read { path: path.to_owned(), source };
    let octets = std::fs::metadata(path).map_err(read)?.len();
    if octets > FILE_OCTETS_MAX {
        return Err(ConfigError::TooLarge { path: path.to_owned(), octets });
    }
    std::fs::read_to_string(path).map_err(read)
}

/// What stands in the text of this file, without the environment.
///
/// # Errors
/// Every fault, as for [`load`].
pub fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    let figment = Figment::from(Toml::string(text));
    figment.extract().map_err(|error| Source::file(path).faults_of(error))
}

impl Source {
    /// A file, and nothing on the command line.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), settings: vec![] }
    }

    /// The configuration, where the role would take it.
    ///
    /// # Errors
    /// As [`Self::read`], and what the role refuses.
    pub fn check<T: Configuration>(&self) -> Result<T, ConfigError> {
        let figment = self.figment()?;
        let config: T = self.judged(&figment)?;
        let refusals = config.refusals();
        if refusals.is_empty() {
            return Ok(config);
        }
        let fault = |refusal: Refusal| {
            let Refusal { key, wrong, expected } = refusal;
            let whole = key.split_once('[').map_or(key.as_str(), |(list, _)| list);
            let origin = Origin::of(figment.find_metadata(whole), &self.path);
            Fault { origin, key, wrong, expected }
        };
        Err(ConfigError::Invalid { faults: refusals.into_iter().map(fault).collect() })
    }

    /// The configuration, where all of it is as its schema says.
    ///
    /// # Errors
    /// Every fault, each with the key, where it was set, what is wrong and what is expected.
    pub fn read<T: DeserializeOwned + JsonSchema>(&self) -> Result<T, ConfigError> {
        self.judged(&self.figment()?)
    }

    /// The file, the environment over it, and the command line over both.
    fn figment(&self) -> Result<Figment, ConfigError> {
        let text = read(&self.path)?;
        let environment = Env::prefixed(ENVIRONMENT_PREFIX).ignore(&NOT_CONFIGURATION).split("__");
        let figment = Figment::from(Toml::string(&text)).merge(environment);
        Ok(self.settings.iter().fold(figment, Figment::merge))
    }

    fn judged<T: DeserializeOwned + JsonSchema>(
        &self,
        figment: &Figment,
    ) -> Result<T, ConfigError> {
        let data = figment.data().map_err(|error| self.faults_of(error))?;
        let values = data.into_values().flatten().collect();
        let faults = judge::faults(&schema::of::<T>(), &values, figment, &self.path);
        if !faults.is_empty() {
            return Err(ConfigError::Invalid { faults });
        }
        figment.extract().map_err(|error| self.faults_of(error))
    }

    fn faults_of(&self, error: figment::Error) -> ConfigError {
        let faults = error.into_iter().map(|it| Fault::from_figment(&self.path, it)).collect();
        ConfigError::Invalid { faults }
    }
}

/// For `#[serde(deserialize_with = "...")]`: a table whose keys are numbers, `[peers] 1 = "..."`. TOML
/// has only strings there, and the reader does not turn them into numbers by itself.
///
/// # Errors
/// A key is not a number, or a value is wrong.
pub fn numbered<'de, D, V>(deserializer: D) -> Result<BTreeMap<u64, V>, D::Error>
where
    D: Deserializer<'de>,
    V: Deserialize<'de>,
{
    let named = BTreeMap::<String, V>::deserialize(deserializer)?;
    let number = |(key, value): (String, V)| match key.parse() {
        Ok(number) => Ok((number, value)),
        Err(_) => Err(D::Error::custom(format!("has the key {key:?}, which is not a number"))),
    };
    named.into_iter().map(number).collect()
}

/// `[telemetry]`: logs and traces.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// What is logged, in `tracing` directives: `info`, or `info,homeport_store=debug`. By
    /// default `openraft` has `warn`: the consensus library tells every step of its own at `info`.
    #[schemars(with = "schema::LogFilter", extend("x-reload" = true))]
    pub log: String,
    /// How a line looks.
    pub format: LogFormat,
    /// Where spans go by OTLP over gRPC, `http://127.0.0.1:4317`; nowhere when absent.
    #[schemars(length(min = 1))]
    pub otlp_endpoint: Option<String>,
    /// Of a forwarder with `otlp_endpoint`: Binding Updates that are traced in a second, from the packet to
    /// the acknowledgement; 0 for none. Front-ends and stores trace what a forwarder traces.
    #[schemars(range(max = 4_294_967_295_u64))]
    pub traces_per_second_max: Live,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            log: "info,openraft=warn".to_owned(),
            format: LogFormat::Text,
            otlp_endpoint: None,
            traces_per_second_max: Live::new(1),
        }
    }
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// `[ops]`: the port for metrics and health.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct OpsConfig {
    /// Address and port; port 0 takes a free one, which the log names.
    #[schemars(with = "schema::Listen")]
    pub listen: SocketAddr,
}

impl Default for OpsConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 0)) }
    }
}

#[cfg(test)]
mod tests;
