//! The metrics that processes expose, and `docs/metrics.md`, which says what they mean: written from a scrape of a
//! running cluster and from `docs/metrics.toml`, which has what a scrape cannot know.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::dev::{DevCluster, Endpoints, Member, scrape};
use crate::eventually;

/// The page.
pub const CATALOGUE: &str = "docs/metrics.md";
const KNOWLEDGE: &str = "docs/metrics.toml";
/// What comes between a histogram's name and its samples'.
const HISTOGRAM_SUFFIXES: [&str; 3] = ["_bucket", "_count", "_sum"];
/// The bound of a histogram's bucket.
const BOUND: &str = "le";

/// One metric, by the name that queries use, except that histograms are without their suffixes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Metric {
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// `seconds` or `bytes`; others count something.
    pub unit: Option<String>,
    /// What it says.
    pub help: String,
    /// Names of its labels, without the bound of a bucket.
    pub labels: BTreeSet<String>,
}

/// All metrics of some processes by name.
pub type Metrics = BTreeMap<String, Metric>;

/// Reads a page of OpenMetrics text.
///
/// # Errors
/// When a line is not what this project writes, or a sample has no type.
pub fn read(page: &str) -> Result<Metrics> {
    let mut described: BTreeMap<&str, Metric> = BTreeMap::new();
    let mut metrics = Metrics::new();
    for line in page.lines().filter(|line| *line != "# EOF") {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let parts = (words.next(), words.next(), words.next());
            let (Some(what), Some(name), Some(text)) = parts else { continue };
            let metric = described.entry(name).or_default();
            match what {
                "HELP" => metric.help = text.trim_end_matches('.').to_owned(),
                "TYPE" => metric.kind = text.to_owned(),
                "UNIT" => metric.unit = Some(text.to_owned()),
                _ => {}
            }
            continue;
        }
        let (sample, labels) = sample(line).with_context(|| line.to_owned())?;
        let family = family(sample, &described).with_context(|| format!("{line}: of no type"))?;
        let known = described.get(family).cloned().unwrap_or_default();
        let name = if known.kind == "counter" { sample } else { family };
        let metric = metrics.entry(name.to_owned()).or_insert(known);
        metric.labels.extend(labels.filter(|label| *label != BOUND).map(str::to_owned));
    }
    Ok(metrics)
}

/// Name of a sample and names of its labels. No value of a label of this project has a comma in it.
fn sample(line: &str) -> Option<(&str, impl Iterator<Item = &str>)> {
    let (series, _value) = line.rsplit_once(' ')?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let labels = labels.trim_end_matches('}').split(',');
    Some((name, labels.filter_map(|label| Some(label.split_once('=')?.0))))
}

fn family<'p>(sample: &'p str, described: &BTreeMap<&'p str, Metric>) -> Option<&'p str> {
    let kind = |name: &str| described.get(name).map(|metric| metric.kind.as_str());
    let counted = sample.strip_suffix("_total").filter(|name| kind(name) == Some("counter"));
    let mut observed = HISTOGRAM_SUFFIXES.iter().filter_map(|suffix| sample.strip_suffix(suffix));
    let observed = observed.find(|name| kind(name) == Some("histogram"));
    counted.or(observed).or_else(|| kind(sample).map(|_| sample))
}

/// The page in the older text format, which `promtool check metrics` reads: counters have their suffix in
/// their descriptions too.
#[must_use]
pub fn in_older_format(page: &str) -> String {
    let mut counters = BTreeSet::new();
    for line in page.lines() {
        let name = line.strip_prefix("# TYPE ").and_then(|it| it.strip_suffix(" counter"));
        counters.extend(name);
    }
    let mut older = String::new();
    for line in page.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words.as_slice() {
            ["#", "EOF"] | ["#", "UNIT", ..] => {}
            ["#", what, name, text] if counters.contains(name) => {
                older.push_str(&format!("# {what} {name}_total {text}\n"));
            }
            _ => older.push_str(&format!("{line}\n")),
        }
    }
    older
}

/// Pages of every process of a running cluster, with its name.
///
/// # Errors
/// When one does not come.
pub async fn pages(cluster: &DevCluster) -> Result<Vec<(String, String)>> {
    let Endpoints { stores, front_ends, forwarders, noc, .. } = cluster.endpoints()?;
    let members: Vec<Member> =
        stores.into_iter().chain(front_ends).chain(forwarders).chain([noc]).collect();
    let mut pages = Vec::new();
    for member in members {
        let page = scrape(&member).await.with_context(|| member.name.clone())?;
        pages.push((member.name, page));
    }
    Ok(pages)
}

/// Only a leader whose followers have answered exposes these.
const OF_A_LEADER: [&str; 2] =
    ["homeport_store_member_lag_entries", "homeport_store_member_silent_seconds"];

/// The pages of a cluster once it exposes all that a healthy one does.
///
/// # Errors
/// When it does not come to that.
pub async fn exposed(cluster: &DevCluster) -> Result<Vec<(String, String)>> {
    eventually("the metrics of a leader", async || {
        let pages = pages(cluster).await?;
        let metrics = of_all(&pages)?;
        for name in OF_A_LEADER {
            ensure!(metrics.contains_key(name), "no process exposes {name}");
        }
        Ok(pages)
    })
    .await
}

/// What several processes expose, each metric the same wherever it is exposed.
///
/// # Errors
/// When a page cannot be read, or two processes describe a metric in two ways.
pub fn of_all(pages: &[(String, String)]) -> Result<Metrics> {
    let mut all = Metrics::new();
    for (process, page) in pages {
        for (name, metric) in read(page).with_context(|| process.clone())? {
            let known = all.entry(name.clone()).or_insert_with(|| metric.clone());
            known.labels.extend(metric.labels.clone());
            let same = Metric { labels: known.labels.clone(), ..metric };
            ensure!(*known == same, "{process} describes {name} in another way: {same:?}");
        }
    }
    Ok(all)
}

/// What `docs/metrics.toml` knows.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Knowledge {
    /// What each label says, and what bounds its values.
    pub labels: BTreeMap<String, String>,
    /// Objects of RFC 4295 with a query.
    pub object: Vec<Object>,
    /// Groups of objects that no metric has.
    pub absent: Vec<Absent>,
}

/// An object of the MOBILEIPV6-MIB.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Object {
    /// `mip6HaBUsRecd`
    pub name: String,
    /// PromQL that gives its value for the whole home agent.
    pub query: String,
    /// Where the two are not quite the same.
    #[serde(default)]
    pub note: String,
}

/// Objects of the MOBILEIPV6-MIB without a metric.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Absent {
    /// Which.
    pub names: String,
    /// Why, and what there is instead.
    pub why: String,
}

/// Reads `docs/metrics.toml`.
///
/// # Errors
/// When it cannot be read.
pub fn knowledge() -> Result<Knowledge> {
    let file = crate::root().join(KNOWLEDGE);
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    toml::from_str(&text).with_context(|| file.display().to_string())
}

/// The roles in their order: prefix of their metrics, and what the section is called.
const ROLES: [(&str, &str); 5] = [
    ("homeport_store_", "Store"),
    ("homeport_signalling_", "Front-end"),
    ("homeport_forwarder_", "Forwarder"),
    ("homeport_noc_", "Dashboard"),
    ("homeport_", "Every process"),
];

/// Writes the page.
///
/// # Errors
/// When a metric has a label of which nothing is known, or something is known that is not there.
pub fn catalogue(metrics: &Metrics, knowledge: &Knowledge) -> Result<String> {
    let mut page = String::from(HEAD);
    let mut rest = metrics.clone();
    let mut used = BTreeSet::new();
    for (prefix, role) in ROLES {
        let of_role: Metrics = rest.extract_if(.., |name, _| name.starts_with(prefix)).collect();
        ensure!(!of_role.is_empty(), "no process exposes a metric of {prefix}");
        write!(page, "\n## {role}\n\n{TABLE}")?;
        for (name, metric) in of_role {
            ensure!(!metric.help.is_empty(), "{name} has no help text");
            used.extend(metric.labels.iter().cloned());
            writeln!(page, "{}", row(&name, &metric, knowledge))?;
        }
    }
    ensure!(rest.is_empty(), "of no role: {:?}", rest.keys());
    page.push_str(LABELS);
    for label in &used {
        let meaning = knowledge.labels.get(label);
        let meaning = meaning.with_context(|| format!("{KNOWLEDGE}: no label {label}"))?;
        writeln!(page, "| `{label}` | {meaning} |")?;
    }
    let unused: Vec<_> = knowledge.labels.keys().filter(|it| !used.contains(*it)).collect();
    ensure!(unused.is_empty(), "{KNOWLEDGE}: no metric has these labels: {unused:?}");
    page.push_str(OBJECTS);
    for Object { name, query, note } in &knowledge.object {
        writeln!(page, "| `{name}` | `{}` | {note} |", query.replace('|', "\\|"))?;
    }
    page.push_str(ABSENT);
    for Absent { names, why } in &knowledge.absent {
        writeln!(page, "| {names} | {why} |")?;
    }
    Ok(page)
}

fn row(name: &str, metric: &Metric, knowledge: &Knowledge) -> String {
    let named = |object: &&Object| names(&object.query).any(|it| it == name);
    let objects: Vec<_> =
        knowledge.object.iter().filter(named).map(|it| it.name.as_str()).collect();
    let labels: Vec<_> = metric.labels.iter().map(|it| format!("`{it}`")).collect();
    format!(
        "| `{name}` | {} | {} | {} | {} | {} |",
        metric.kind,
        metric.unit.as_deref().unwrap_or(""),
        labels.join(", "),
        metric.help,
        objects.join(", "),
    )
}

/// Words of a query that may be names of metrics.
fn names(query: &str) -> impl Iterator<Item = &str> {
    query
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|it| it.starts_with("homeport_"))
}

const HEAD: &str = "\
# Metrics

Every process serves OpenMetrics text at `/metrics` of its address `ops.listen`. Written by `cargo xtask metrics` from a
scrape of a running cluster; a test fails when it is another than what is exposed. The rules that alert on them are
explained in [operations/alarms.md](operations/alarms.md).

Times are in seconds, sizes in bytes (octets); what has no unit counts something. Names are as queries use them; a histogram
has `_bucket`, `_sum` and `_count` behind its name. Counters begin with the process, so that `rate` and `increase` are what to
use them by. The last column has the objects of RFC 4295 that are made of the metric.
";

const TABLE: &str =
    "| metric | type | unit | labels | meaning | RFC 4295 |\n|---|---|---|---|---|---|\n";

const LABELS: &str = "
## Labels

Each has few values: words out of the program, or numbers with a bound. No address, name or identity of a subscriber or a
forwarder is among them.

| label | values |
|---|---|
";

const OBJECTS: &str = "
## RFC 4295

The objects of the MOBILEIPV6-MIB that a home agent and a correspondent node have, as queries over all processes of one
home agent. Counters of the MIB begin with the agent; these begin with each process.

| object | query | |
|---|---|---|
";

const ABSENT: &str = "
These have no metric:

| objects | why, and what there is instead |
|---|---|
";

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# HELP homeport_store_commands Commands with a verdict.
# TYPE homeport_store_commands counter
homeport_store_commands_total 7
# HELP homeport_store_commit_seconds From proposing.
# TYPE homeport_store_commit_seconds histogram
# UNIT homeport_store_commit_seconds seconds
homeport_store_commit_seconds_sum{kind=\"a\"} 0.0
homeport_store_commit_seconds_count{kind=\"a\"} 0
homeport_store_commit_seconds_bucket{le=\"0.1\",kind=\"a\"} 0
# HELP homeport_store_term Raft term.
# TYPE homeport_store_term gauge
homeport_store_term 3
# EOF
";

    #[test]
    fn a_page_is_read_and_written_in_the_older_format() -> Result<()> {
        let metrics = read(PAGE)?;
        let names: Vec<_> = metrics.keys().map(String::as_str).collect();
        let expected = [
            "homeport_store_commands_total",
            "homeport_store_commit_seconds",
            "homeport_store_term",
        ];
        assert_eq!(names, expected);
        let histogram = &metrics["homeport_store_commit_seconds"];
        assert_eq!(histogram.unit.as_deref(), Some("seconds"));
        assert_eq!(histogram.labels, BTreeSet::from(["kind".to_owned()]));
        assert_eq!(histogram.help, "From proposing");
        let older = in_older_format(PAGE);
        assert!(older.contains("# TYPE homeport_store_commands_total counter\n"), "{older}");
        assert!(!older.contains("UNIT") && !older.contains("EOF"), "{older}");
        assert!(read("homeport_store_commands_total 7\n").is_err(), "a sample has a type");
        Ok(())
    }

    #[test]
    fn processes_that_differ_are_named() {
        let one = ("store-1".to_owned(), PAGE.to_owned());
        let other = ("store-2".to_owned(), PAGE.replace("Raft term", "Something else"));
        let error = of_all(&[one, other]).expect_err("they differ").to_string();
        assert!(error.starts_with("store-2 describes homeport_store_term"), "{error}");
    }
}
