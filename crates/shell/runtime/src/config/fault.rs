//! What is wrong with a configuration, as an operator reads it.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use figment::error::Kind;

use super::{ENVIRONMENT_PREFIX, FILE_OCTETS_MAX, NOT_CONFIGURATION, Origin};

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
    /// A fault in a file that is found when it was read, such as two keys that contradict each other.
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

impl Fault {
    pub(super) fn from_figment(path: &Path, error: figment::Error) -> Self {
        let origin = Origin::of(error.metadata.as_ref(), path);
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
                write!(f, "environment variable {}: ", variable_of(&self.key))?;
            }
            Origin::Setting => write!(f, "--set {}: ", self.key)?,
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

/// The environment variable that goes over a key; over the whole of it, where it is in a list.
pub(super) fn variable_of(key: &str) -> String {
    format!("{ENVIRONMENT_PREFIX}{}", plain_variable(key))
}

/// Whether that variable is another program's, and goes over nothing.
pub(super) fn is_taken(key: &str) -> bool {
    NOT_CONFIGURATION.contains(&plain_variable(key).as_str())
}

fn plain_variable(key: &str) -> String {
    let whole = key.split_once('[').map_or(key, |(list, _)| list);
    whole.replace('.', "__").to_uppercase()
}

/// A fault that the role finds itself: keys that contradict each other, a file that a key names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {wrong}; expected {expected}")]
pub struct Refusal {
    /// The key with its tables.
    pub key: String,
    /// What was found, such as `is "x"`.
    pub wrong: String,
    /// What would be right.
    pub expected: String,
}

impl Refusal {
    /// A fault of this key.
    pub fn new(
        key: impl Into<String>,
        wrong: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self { key: key.into(), wrong: wrong.into(), expected: expected.into() }
    }
}
