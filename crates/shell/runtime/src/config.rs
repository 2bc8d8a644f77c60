//! Configuration: a TOML file, overridden by `HOMEPORT_*` environment variables, checked whole before
//! any port is opened.

use std::{
    collections::BTreeMap,
    fmt, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use figment::{
    Figment,
    error::Kind,
    providers::{Env, Format as _, Toml},
};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _},
};

/// A configuration file above this size is refused: it is a mistake.
pub const FILE_OCTETS_MAX: u64 = 1 << 20;

const ENVIRONMENT_PREFIX: &str = "HOMEPORT_";

/// Variables with our prefix that are for other programs.
const NOT_CONFIGURATION: [&str; 6] =
    ["ENDPOINTS", "FORWARDERS", "TOKEN", "TOKEN_FILE", "CONFIG", "CONTEXT"];

/// Reads `path`, puts `HOMEPORT_*` variables over it (`HOMEPORT_RAFT__HEARTBEAT_MS=50` is
/// `raft.heartbeat_ms`), and checks all of it.
///
/// # Errors
/// Every fault, each with the key, where it was set, what is wrong and what is expected.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text = read(path)?;
    let environment = Env::prefixed(ENVIRONMENT_PREFIX).ignore(&NOT_CONFIGURATION).split("__");
    extract(path, Figment::from(Toml::string(&text)).merge(environment))
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
    extract(path, Figment::from(Toml::string(text)))
}

fn extract<T: DeserializeOwned>(path: &Path, figment: Figment) -> Result<T, ConfigError> {
    figment.extract().map_err(|errors| {
        let faults = errors.into_iter().map(|error| Fault::from_figment(path, error)).collect();
        ConfigError::Invalid { faults }
    })
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

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}; expected a TOML file", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is larger than any configuration.
    #[error(
        "{}: has {octets} octets; expected a TOML file of at most {FILE_OCTETS_MAX}",
        path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        octets: u64,
    },
    /// The file was read, its content is wrong.
    #[error("{}", join(faults))]
    Invalid {
        /// Everything that is wrong, at least one.
        faults: Vec<Fault>,
    },
}

impl ConfigError {
    /// A fault that a role finds itself, such as two keys that contradict each other.
    pub fn invalid(path: &Path, key: &str, wrong: &str, expected: &str) -> Self {
        let fault = Fault {
            origin: Origin::File(path.to_owned()),
            key: key.to_owned(),
            wrong: wrong.to_owned(),
            expected: expected.to_owned(),
        };
        Self::Invalid { faults: vec![fault] }
    }
}

fn join(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where it was set, or where it should have been.
    pub origin: Origin,
    /// The key with its tables, `raft.heartbeat_ms`; empty when the file is not TOML at all.
    pub key: String,
    /// What is wrong.
    pub wrong: String,
    /// What would be right; empty when `wrong` says it.
    pub expected: String,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The configuration file.
    File(PathBuf),
    /// An environment variable.
    Environment,
}

impl Fault {
    fn from_figment(path: &Path, error: figment::Error) -> Self {
        let from_environment =
            error.metadata.as_ref().is_some_and(|from| from.name.contains("environment"));
        let origin =
            if from_environment { Origin::Environment } else { Origin::File(path.to_owned()) };
        let mut key = error.path;
        let (wrong, expected) = match error.kind {
            Kind::MissingField(name) => {
                key.push(name.into_owned());
                ("is missing".to_owned(), "a value".to_owned())
            }
            Kind::UnknownField(name, known) => {
                if key.last() != Some(&name) {
                    key.push(name);
                }
                ("is not a key that exists here".to_owned(), one_of(known))
            }
            Kind::UnknownVariant(found, known) => (format!("is {found:?}"), one_of(known)),
            Kind::InvalidType(found, expected) | Kind::InvalidValue(found, expected) => {
                (format!("is {found}"), expected)
            }
            Kind::InvalidLength(found, expected) => (format!("has {found} items"), expected),
            Kind::DuplicateField(name) => {
                key.push(name.to_owned());
                ("is set twice".to_owned(), "it once".to_owned())
            }
            Kind::ISizeOutOfRange(found) => (format!("is {found}"), "a smaller number".to_owned()),
            Kind::USizeOutOfRange(found) => (format!("is {found}"), "a smaller number".to_owned()),
            Kind::Message(message) => {
                let expected = expected_by(&message);
                (message.trim_end().to_owned(), expected)
            }
            other @ (Kind::Unsupported(_) | Kind::UnsupportedKey(..)) => {
                (other.to_string(), String::new())
            }
        };
        Self { origin, key: key.join("."), wrong, expected }
    }
}

/// The messages of `std`'s parsers say what is wrong but not what is wanted.
fn expected_by(message: &str) -> String {
    let expected = if message.contains("socket address") {
        "an address and port, such as \"127.0.0.1:7101\""
    } else if message.contains("IP address") {
        "an IP address"
    } else {
        ""
    };
    expected.to_owned()
}

fn one_of(known: &[&str]) -> String {
    match known {
        [] => "none".to_owned(),
        [only] => format!("\"{only}\""),
        several => format!("one of \"{}\"", several.join("\", \"")),
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::File(path) => write!(f, "{}: ", path.display())?,
            Origin::Environment => {
                let name = self.key.replace('.', "__").to_uppercase();
                write!(f, "environment variable {ENVIRONMENT_PREFIX}{name}: ")?;
            }
        }
        if !self.key.is_empty() {
            write!(f, "`{}` ", self.key)?;
        }
        f.write_str(&self.wrong)?;
        if !self.expected.is_empty() {
            write!(f, "; expected {}", self.expected)?;
        }
        Ok(())
    }
}

/// `[telemetry]`: logs and traces.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// What is logged, in `tracing` directives: `info`, or `info,homeport_store=debug`. The default is
    /// `info,openraft=warn`: the consensus library tells every step of its own at `info`.
    pub log: String,
    /// How a line looks.
    pub format: LogFormat,
    /// Where spans go by OTLP over gRPC, `http://127.0.0.1:4317`; nowhere when absent.
    pub otlp_endpoint: Option<String>,
    /// Of a forwarder with `otlp_endpoint`: Binding Updates that are traced in a second, from the packet to
    /// the acknowledgement; 0 for none, default 1. Front-ends and stores trace what a forwarder traces.
    pub traces_per_second_max: u32,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            log: "info,openraft=warn".to_owned(),
            format: LogFormat::Text,
            otlp_endpoint: None,
            traces_per_second_max: 1,
        }
    }
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// `[ops]`: the port for metrics and health.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct OpsConfig {
    /// Address and port; port 0 takes a free one, which the log names.
    pub listen: SocketAddr,
}

impl Default for OpsConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 0)) }
    }
}

#[cfg(test)]
mod tests;
