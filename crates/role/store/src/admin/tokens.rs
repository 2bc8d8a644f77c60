//! `admin.tokens_file`: whose calls are answered. Only digests stand in it, so it is no secret itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use homeport_api::bearer::digest;
use homeport_runtime::config::{self, ConfigError};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use subtle::ConstantTimeEq as _;
use tokio::sync::watch;

use super::roles::AdminRole;
use crate::limits::{TOKEN_NAME_LEN_MAX, TOKENS_LOOK_INTERVAL, TOKENS_MAX};
use crate::metrics::Metrics;

/// One line of the file: `alice = { role = "operator", sha256 = "..." }`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "{ role = \"...\", sha256 = \"...\" }")]
struct Entry {
    role: AdminRole,
    #[serde(deserialize_with = "hexadecimal")]
    sha256: [u8; 32],
}

/// By name.
type Known = BTreeMap<String, Entry>;

/// The tokens as they stand in the file now.
#[derive(Clone)]
pub(crate) struct Tokens(watch::Receiver<Arc<Known>>);

/// Who has shown a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) name: String,
    pub(crate) role: AdminRole,
}

/// How many tokens the file has.
pub(crate) fn look(path: &Path) -> Result<usize, ConfigError> {
    Ok(parse(path, &config::read(path)?)?.len())
}

impl Tokens {
    /// Reads the file; what looks after it must run for changes to be seen.
    pub(crate) fn open(
        path: &Path,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, impl Future<Output = ()> + Send + 'static), ConfigError> {
        let text = config::read(path)?;
        let known = parse(path, &text)?;
        metrics.admin_tokens.set(count(&known));
        let (sender, receiver) = watch::channel(Arc::new(known));
        Ok((Self(receiver), look_after(path.to_owned(), Ok(text), sender, metrics)))
    }

    /// Whose token this is. The time it takes does not depend on how much of it is right.
    pub(crate) fn holder(&self, token: &str) -> Option<Holder> {
        let digest = digest(token);
        let known = Arc::clone(&self.0.borrow());
        let mut holder = None;
        for (name, entry) in known.iter() {
            if bool::from(entry.sha256.ct_eq(&digest)) {
                holder = Some(Holder { name: name.clone(), role: entry.role });
            }
        }
        holder
    }
}

/// Takes what the file says when it changes. What cannot be read leaves everything as it was.
async fn look_after(
    path: PathBuf,
    mut last: Result<String, String>,
    known: watch::Sender<Arc<Known>>,
    metrics: Arc<Metrics>,
) {
    let mut ticks = tokio::time::interval(TOKENS_LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let file = path.clone();
        let read = tokio::task::spawn_blocking(move || config::read(&file)).await;
        let Ok(read) = read else { continue };
        let read = read.map_err(|error| error.to_string());
        if read == last {
            continue;
        }
        let parsed = match &read {
            Ok(text) => parse(&path, text).map_err(|error| error.to_string()),
            Err(error) => Err(error.clone()),
        };
        match parsed {
            Ok(now) => {
                let tokens = count(&now);
                tracing::info!(file = %path.display(), tokens, "admin.tokens_file is read again");
                metrics.admin_tokens.set(tokens);
                known.send_replace(Arc::new(now));
            }
            Err(error) => {
                metrics.admin_tokens_file_refused.inc();
                tracing::error!(%error, "admin.tokens_file has changed and cannot be used: the tokens stay as they were");
            }
        }
        last = read;
    }
}

fn count(known: &Known) -> u64 {
    u64::try_from(known.len()).unwrap_or(u64::MAX)
}

fn parse(path: &Path, text: &str) -> Result<Known, ConfigError> {
    let known: Known = config::parse(path, text)?;
    let wrong = |key: &str, wrong: &str, expected| ConfigError::invalid(path, key, wrong, expected);
    if known.is_empty() || known.len() > TOKENS_MAX {
        let found = format!("has {} tokens", known.len());
        return Err(wrong("", &found, "1 to 256, each as homeportctl token new prints it"));
    }
    let mut digests = BTreeMap::new();
    for (name, entry) in &known {
        check_name(name).map_err(|expected| wrong(name, "is no name of a token", expected))?;
        if let Some(other) = digests.insert(entry.sha256, name) {
            let found = format!("is the same as {other}.sha256");
            let expected = "another token for each name";
            return Err(wrong(&format!("{name}.sha256"), &found, expected));
        }
    }
    Ok(known)
}

/// Names stand in the record of what operators write.
fn check_name(name: &str) -> Result<(), &'static str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
    let is_name = (1..=TOKEN_NAME_LEN_MAX).contains(&name.len()) && name.chars().all(is_plain);
    is_name.then_some(()).ok_or("1 to 64 of the characters a-z A-Z 0-9 . _ - @")
}

/// The line of `admin.tokens_file` for a new token.
///
/// # Errors
/// What is wrong with the name.
pub fn token_line(name: &str, role: AdminRole, token: &str) -> Result<String, String> {
    check_name(name).map_err(|expected| format!("{name:?} is no name; expected {expected}"))?;
    let hex: String = digest(token).iter().map(|octet| format!("{octet:02x}")).collect();
    let is_bare = !name.contains(['.', '@']);
    let key = if is_bare { name.to_owned() } else { format!("\"{name}\"") };
    Ok(format!("{key} = {{ role = \"{role}\", sha256 = \"{hex}\" }}"))
}

fn hexadecimal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
    let text = String::deserialize(deserializer)?;
    let octets = text.as_bytes().chunks(2).map(|digits| {
        let digits = std::str::from_utf8(digits).ok()?;
        let is_hex = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_hex.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
    });
    let octets: Option<Vec<u8>> = octets.collect();
    octets
        .and_then(|octets| octets.try_into().ok())
        .ok_or_else(|| D::Error::custom("is not the SHA-256 of a token, 64 hexadecimal digits"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use homeport_runtime::Task;

    use super::*;

    fn metrics() -> Arc<Metrics> {
        Arc::new(Metrics::register(&mut homeport_runtime::metrics::registry()))
    }

    fn line(name: &str, role: AdminRole, token: &str) -> String {
        token_line(name, role, token).expect("is a name") + "\n"
    }

    #[test]
    fn what_is_wrong_is_named_by_file_key_and_value() {
        let digits = "0".repeat(64);
        let rows = [
            (String::new(), "has 0 tokens"),
            ("alice".to_owned(), "tokens.toml"),
            ("a = 1".to_owned(), "`a` is signed int `1`; expected { role = "),
            (format!("a = {{ role = \"boss\", sha256 = \"{digits}\" }}"), "`a.role` is \"boss\""),
            ("a = { role = \"viewer\", sha256 = \"00\" }".to_owned(), "`a.sha256` is not the SHA"),
            ("a = { role = \"viewer\" }".to_owned(), "`a.sha256` is missing"),
            (format!("\"a b\" = {{ role = \"viewer\", sha256 = \"{digits}\" }}"), "no name of"),
            (
                line("alice", AdminRole::Admin, "x") + &line("bob", AdminRole::Viewer, "x"),
                "`bob.sha256` is the same as alice.sha256",
            ),
            (
                format!("a = {{ role = \"viewer\", sha256 = \"{digits}\", until = 1 }}"),
                "`a.until` is not a key that exists here",
            ),
        ];
        for (text, named) in rows {
            let error = parse(Path::new("tokens.toml"), &text).expect_err("is wrong").to_string();
            assert!(error.contains(named) && error.contains("tokens.toml"), "{named}: {error}");
        }
        assert!(token_line("two words", AdminRole::Viewer, "x").is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_file_is_read_again_and_a_bad_one_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("tokens.toml");
        let both =
            line("alice", AdminRole::Operator, "one") + &line("b@c", AdminRole::Viewer, "two");
        fs::write(&file, both).expect("writes");
        let metrics = metrics();
        let (tokens, looking) = Tokens::open(&file, Arc::clone(&metrics)).expect("is right");
        let _looking = Task::spawn("tokens", looking);
        let name = |token| tokens.holder(token).map(|holder| (holder.name, holder.role));
        assert_eq!(name("one"), Some(("alice".to_owned(), AdminRole::Operator)));
        assert_eq!(name("two"), Some(("b@c".to_owned(), AdminRole::Viewer)));
        assert_eq!(name("three"), None);

        fs::write(&file, "nonsense").expect("writes");
        while metrics.admin_tokens_file_refused.get() == 0 {
            tokio::time::sleep(TOKENS_LOOK_INTERVAL).await;
        }
        assert!(name("one").is_some());
        fs::write(&file, line("carol", AdminRole::Admin, "three")).expect("writes");
        while name("three").is_none() {
            tokio::time::sleep(TOKENS_LOOK_INTERVAL).await;
        }
        assert_eq!((name("one"), metrics.admin_tokens.get()), (None, 1));
        assert_eq!(metrics.admin_tokens_file_refused.get(), 1, "once for each content");
    }
}
