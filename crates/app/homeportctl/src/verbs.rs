//! One file for each noun of the command line.

pub(crate) mod alarms;
pub(crate) mod associations;
pub(crate) mod audit;
pub(crate) mod bindings;
pub(crate) mod check;
pub(crate) mod context;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod home_agents;
pub(crate) mod home_prefixes;
pub(crate) mod man;
pub(crate) mod nodes;
pub(crate) mod probe;
pub(crate) mod raft;
mod revocation;
pub(crate) mod snapshot;
pub(crate) mod status;
pub(crate) mod subscribers;
pub(crate) mod support_bundle;
pub(crate) mod token;
pub(crate) mod top;
pub(crate) mod trace;

use crate::{arguments::Page, failure::Failure};

/// As many as one request may ask for.
const PAGE_SIZE_MAX: u32 = 1_000;

/// Collects pages until there are no more or the limit is reached; says so when there would be more.
async fn collect<T, F>(page: Page, fetch: impl Fn(u32, String) -> F) -> Result<Vec<T>, Failure>
where
    F: Future<Output = Result<(Vec<T>, String), Failure>>,
{
    let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
    let mut items = Vec::new();
    let mut token = String::new();
    while items.len() < limit {
        let left = u32::try_from(limit - items.len()).unwrap_or(u32::MAX);
        let (more, next) = fetch(left.min(PAGE_SIZE_MAX), token).await?;
        items.extend(more);
        token = next;
        if token.is_empty() {
            break;
        }
    }
    if !token.is_empty() {
        eprintln!("there are more than {limit}; see --limit");
    }
    items.truncate(limit);
    Ok(items)
}

/// The octets of a key; space around it is of the file that it was in.
fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .trim()
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|value| u8::try_from(value).ok()))
        .collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    let whole = pairs.remainder().is_empty();
    let octets = pairs.map(|pair| pair.iter().fold(0, |octet, digit| octet << 4 | digit));
    whole.then(|| octets.collect())
}
