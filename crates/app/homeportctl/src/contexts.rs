//! The configuration file: contexts, each of which says how one cluster is reached.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use homeport_runtime::config::{self, ConfigError};
use serde::{Deserialize, Serialize};

use crate::{arguments::Format, cluster::is_endpoint, failure::Failure};

/// Names the file, where it is not in its usual place.
pub(crate) const FILE: &str = "HOMEPORT_CONFIG";
/// Contexts in one file: more are a mistake.
const CONTEXTS_MAX: usize = 256;
/// Characters of a context's name.
const NAME_LEN_MAX: usize = 64;
/// Stores of one cluster that are named: it has five replicas, and they may be reached by more names than one.
const STORES_MAX: usize = 64;

const HEAD: &str = "# Of homeportctl context; comments are not kept when it writes.\n";

/// What stands in the file.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contexts {
    /// The one that is used when none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    #[serde(default)]
    pub(crate) contexts: BTreeMap<String, Context>,
    /// Where it was read from; none where there is no place for it.
    #[serde(skip)]
    pub(crate) path: Option<PathBuf>,
}

/// How one cluster is reached. What is not there is as it is without a context.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with stores, token, token_file, tls_ca, tls_cert, tls_key, output"
)]
pub(crate) struct Context {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) stores: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    /// Looked for beside the configuration file unless it is absolute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_file: Option<PathBuf>,
    /// The three files of mutual TLS, looked for as `token_file` is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_ca: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_cert: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_key: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) output: Option<Format>,
}

impl std::fmt::Debug for Context {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("stores", &self.stores).finish_non_exhaustive()
    }
}

impl Contexts {
    /// Reads the file; one that is not there has no contexts.
    pub(crate) fn load() -> Result<Self, Failure> {
        let Some(path) = place() else { return Ok(Self::default()) };
        let mode = match fs::metadata(&path) {
            Ok(metadata) => metadata.permissions().mode(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { path: Some(path), ..Self::default() });
            }
            Err(error) => return Err(Failure::Usage(format!("{}: {error}", path.display()))),
        };
        if mode & 0o077 != 0 {
            let file = path.display();
            eprintln!("warning: others can read {file}, where tokens may stand: chmod 600 {file}");
        }
        let read = config::read(&path).and_then(|text| parse(&path, &text));
        read.map_err(|error| Failure::Usage(error.to_string()))
    }

    /// Where a file is that a context names: beside the configuration file unless it is absolute.
    pub(crate) fn beside(&self, file: &Path) -> PathBuf {
        let folder = self.path.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
        folder.join(file)
    }

    /// The context of this name.
    pub(crate) fn named(&self, name: &str, by: &str) -> Result<&Context, Failure> {
        self.contexts.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
            let file = self.path.as_deref().unwrap_or(Path::new(FILE)).display();
            let known = if names.is_empty() { "none is there".into() } else { names.join(", ") };
            Failure::Usage(format!(
                "{by}: {name:?} is no context of {file}; expected one of: {known}"
            ))
        })
    }

    /// Writes the file whole, or leaves it as it was. Only its owner may read it.
    pub(crate) fn save(&self) -> Result<(), Failure> {
        let Some(path) = &self.path else {
            let what =
                "there is no place for a configuration file; expected HOMEPORT_CONFIG or HOME";
            return Err(Failure::Usage(what.to_owned()));
        };
        let wrong = |error: &dyn std::fmt::Display| {
            Failure::Usage(format!("cannot write {}: {error}", path.display()))
        };
        let text = toml::to_string(self).map_err(|error| wrong(&error))?;
        check(path, self).map_err(|error| Failure::Usage(error.to_string()))?;
        replace(path, &format!("{HEAD}{text}")).map_err(|error| wrong(&error))
    }
}

/// A new file takes the place of the old one.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let new = PathBuf::from(name);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let written = written.and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // What was begun is of no use to anybody.
        drop(fs::remove_file(&new));
    }
    written
}

/// `HOMEPORT_CONFIG`, else homeport/config.toml in the directory for configuration (XDG Base Directory).
fn place() -> Option<PathBuf> {
    let named = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(file) = named(FILE) {
        return Some(file);
    }
    let folder = named("XDG_CONFIG_HOME").filter(|folder| folder.is_absolute());
    let folder = folder.or_else(|| Some(named("HOME")?.join(".config")))?;
    Some(folder.join("homeport/config.toml"))
}

fn parse(path: &Path, text: &str) -> Result<Contexts, ConfigError> {
    let contexts: Contexts = config::parse(path, text)?;
    check(path, &contexts)?;
    Ok(Contexts { path: Some(path.to_owned()), ..contexts })
}

fn check(path: &Path, contexts: &Contexts) -> Result<(), ConfigError> {
    let wrong = |key: &str, wrong: &str, expected: &str| {
        Err(ConfigError::invalid(path, key, wrong, expected))
    };
    let all = &contexts.contexts;
    if all.len() > CONTEXTS_MAX {
        let found = format!("has {} contexts", all.len());
        return wrong("contexts", &found, "at most 256");
    }
    if let Some(current) = contexts.current.as_ref().filter(|name| !all.contains_key(*name)) {
        let names = all.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let expected = format!("the name of one that is there: {names}");
        return wrong("current", &format!("is {current:?}"), &expected);
    }
    for (name, context) in all {
        let key = |key: &str| format!("contexts.{name}.{key}");
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if !(1..=NAME_LEN_MAX).contains(&name.len()) || !name.chars().all(is_plain) {
            let expected = "1 to 64 of the characters a-z A-Z 0-9 . _ -";
            return wrong(&format!("contexts.{name}"), "is no name of a context", expected);
        }
        if let Some(store) = context.stores.iter().find(|store| !is_endpoint(store)) {
            return wrong(&key("stores"), &format!("has {store:?}"), "host:port, several of them");
        }
        if context.stores.len() > STORES_MAX {
            let found = format!("has {} entries", context.stores.len());
            return wrong(&key("stores"), &found, "at most 64");
        }
        let tls = [&context.tls_ca, &context.tls_cert, &context.tls_key];
        let given = tls.iter().filter(|file| file.is_some()).count();
        if given != 0 && given != tls.len() {
            let expected = "tls_ca, tls_cert and tls_key together";
            return wrong(&key("tls_cert"), "is set in part", expected);
        }
        if context.token.is_some() && context.token_file.is_some() {
            return wrong(&key("token"), "is set beside token_file", "one of them");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named_by_file_key_value_and_what_would_do() {
        let rows = [
            ("current = \"a\"", "`current` is \"a\"; expected the name of one that is there"),
            ("[contexts.a]\noutput = \"xml\"", "`contexts.a.output` is \"xml\"; expected one of"),
            ("[contexts.a]\nstores = [\"a\"]", "`contexts.a.stores` has \"a\"; expected host:port"),
            ("[contexts.a]\nstore = \"a:1\"", "`contexts.a.store` is not a key that exists here"),
            (
                "[contexts.a]\ntoken = \"x\"\ntoken_file = \"y\"",
                "`contexts.a.token` is set beside token_file; expected one of them",
            ),
            ("[contexts]\na = 1", "`contexts.a` is signed int `1`; expected a table with stores"),
            ("[contexts.\"a b\"]", "is no name of a context; expected 1 to 64"),
        ];
        for (text, expected) in rows {
            let error = parse(Path::new("config.toml"), text).expect_err("is wrong").to_string();
            assert!(error.starts_with("config.toml: ") && error.contains(expected), "{error}");
        }
        let text = "current = \"a\"\n[contexts.a]\nstores = [\"a:1\"]\ntoken = \"secret\"";
        let contexts = parse(Path::new("config.toml"), text).expect("is right");
        assert!(!format!("{contexts:?}").contains("secret"));
        let again = toml::to_string(&contexts).expect("can be written");
        let again = parse(Path::new("config.toml"), &again).expect("is right");
        assert_eq!(again.contexts["a"].token.as_deref(), Some("secret"));
    }
}
