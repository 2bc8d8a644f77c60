//! `/check`: what is looked at, one by one, whether or not it is wrong.

use super::{Seen, nodes, part};
use crate::{
    limits::STALE_AFTER_MS,
    status::{Replica, Seen as Answer},
    view::{Cell, Column, Level, Row, Table, Verdict, View, What, text},
};

const COLUMNS: [Column; 5] = [
    text("check", "Check"),
    text("name", "Name"),
    text("result", "Result"),
    text("found", "Found"),
    text("help", "What to do"),
];

/// One thing that was looked at.
struct Check {
    /// Stable, for scripts.
    name: &'static str,
    asks: &'static str,
    level: Level,
    found: String,
    /// A heading of docs/operations/alarms.md.
    help: &'static str,
}

pub(super) fn view(seen: &Seen, now_ms: u64) -> View {
    let mut checks = stores(seen);
    checks.extend(forwarders(seen));
    checks.extend(configuration(seen));
    checks.push(own(seen, now_ms));
    let failed = checks.iter().filter(|check| check.level > Level::Good).count();
    let worst = checks.iter().map(|check| check.level).max().unwrap_or(Level::Unknown);
    let words = if failed == 0 { "All checks hold" } else { "Not all checks hold" };
    let lines =
        if failed == 0 { Vec::new() } else { vec![format!("{failed} of {}", checks.len())] };
    let verdict = Verdict { level: worst, words, lines };
    let rows = checks.iter().map(row).collect();
    let note = "What to do stands in docs/operations/alarms.md under these names.".to_owned();
    let table = Table { columns: &COLUMNS, rows, empty: "", note, next: None };
    let parts =
        vec![part("verdict", "", What::Verdict(verdict)), part("checks", "", What::Table(table))];
    View::new("Check", parts)
}

fn row(check: &Check) -> Row {
    let result = if check.level == Level::Good { "holds" } else { check.level.word() };
    let help = if check.level == Level::Good { Cell::Missing } else { Cell::text(check.help) };
    let cells = vec![
        Cell::text(check.asks),
        Cell::text(check.name),
        Cell::Level(check.level, result.to_owned()),
        Cell::some(&check.found),
        help,
    ];
    Row { cells, level: if check.level > Level::Good { check.level } else { Level::Plain } }
}

/// `found` when there are any, else that it holds.
fn check(
    name: &'static str,
    asks: &'static str,
    wrong: Vec<String>,
    level: Level,
    help: &'static str,
) -> Check {
    let (level, found) = match wrong.is_empty() {
        true => (Level::Good, String::new()),
        false => (level, wrong.join("; ")),
    };
    Check { name, asks, level, found, help }
}

fn stores(seen: &Seen) -> Vec<Check> {
    let status = &seen.status;
    let replicas = &status.replicas;
    let unreached = |replica: &Replica| match &replica.seen {
        Answer::Unreached { error, .. } => Some(format!("{}: {error}", replica.endpoint)),
        Answer::Reached(_) | Answer::NotAsked => None,
    };
    let stuck = |replica: &Replica| match &replica.seen {
        Answer::Reached(reached) if reached.stuck => {
            Some(format!("{} is {} behind and stands still", replica.endpoint, reached.lag))
        }
        Answer::Reached(_) | Answer::Unreached { .. } | Answer::NotAsked => None,
    };
    let versions: std::collections::BTreeSet<&str> = replicas
        .iter()
        .filter_map(|replica| match &replica.seen {
            Answer::Reached(reached) => Some(reached.version.as_str()),
            Answer::Unreached { .. } | Answer::NotAsked => None,
        })
        .chain(
            seen.processes.all.iter().filter_map(|it| Some(it.counters.as_ref()?.version.as_str())),
        )
        .filter(|version| !version.is_empty())
        .collect();
    let versions: Vec<String> = versions.into_iter().map(str::to_owned).collect();
    let several = if versions.len() > 1 { versions } else { Vec::new() };
    let no_leader = match status.leader_id {
        Some(_) => Vec::new(),
        None => vec!["the replicas that answer name none, or several".to_owned()],
    };
    let voters = replicas.iter().filter(|replica| replica.voter == Some(true)).count();
    let few = match voters {
        0 => vec!["not known".to_owned()],
        voters if voters >= 3 => Vec::new(),
        voters => vec![format!("{voters}: none may fail")],
    };
    vec![
        check(
            "store-leader",
            "One leader is known",
            no_leader,
            Level::Critical,
            "HomeportNoLeader",
        ),
        check(
            "store-reached",
            "Every replica answers",
            replicas.iter().filter_map(unreached).collect(),
            Level::Major,
            "HomeportReplicaDown",
        ),
        check(
            "store-moves",
            "No replica stands still",
            replicas.iter().filter_map(stuck).collect(),
            Level::Major,
            "HomeportReplicaLagging",
        ),
        check("store-voters", "One replica may fail", few, Level::Minor, "HomeportReplicaDown"),
        check("versions", "All run one version", several, Level::Warning, "HomeportVersionsMixed"),
    ]
}

fn forwarders(seen: &Seen) -> Vec<Check> {
    let status = &seen.status;
    let none = match status.feed_subscribers.is_empty() {
        true => vec!["no forwarder is at a feed".to_owned()],
        false => Vec::new(),
    };
    let departed = status.departed.iter().map(|it| format!("{} has left", it.name)).collect();
    let stuck = status.feed_subscribers.iter().filter(|it| it.stuck);
    let stuck =
        stuck.map(|it| format!("{} is {} behind and stands still", it.name, it.lag)).collect();
    let unwell = seen.processes.all.iter().filter_map(|process| {
        let (level, words) = nodes::state(process);
        (level > Level::Good).then(|| format!("{}: {words}", process.name))
    });
    vec![
        check("feed-taken", "Packets are carried", none, Level::Critical, "HomeportNoForwarder"),
        check(
            "feed-complete",
            "No forwarder has left",
            departed,
            Level::Major,
            "HomeportForwarderStale",
        ),
        check(
            "feed-moves",
            "Every forwarder takes its feed",
            stuck,
            Level::Major,
            "HomeportFeedLag",
        ),
        check(
            "processes-ready",
            "Every process is ready",
            unwell.collect(),
            Level::Major,
            "its /readyz says why",
        ),
    ]
}

fn configuration(seen: &Seen) -> Vec<Check> {
    let prefixes = &seen.status.home_prefixes;
    let none = match prefixes.is_empty() {
        true => vec!["none, or the leader could not be asked".to_owned()],
        false => Vec::new(),
    };
    let open = prefixes.iter().filter(|prefix| prefix.is_open);
    let open = open.map(|prefix| format!("{} believes everybody", prefix.prefix)).collect();
    let unnamed = match seen.processes.all.is_empty() && seen.processes.taken_ms != 0 {
        true => vec!["no [[processes]]: readiness and rates are not seen".to_owned()],
        false => Vec::new(),
    };
    vec![
        check(
            "prefixes",
            "There is a home prefix",
            none,
            Level::Warning,
            "homeportctl home-prefixes create",
        ),
        check(
            "authentication",
            "Mobile nodes prove who they are",
            open,
            Level::Warning,
            "homeportctl home-prefixes list",
        ),
        check(
            "processes-named",
            "The dashboard knows the processes",
            unnamed,
            Level::Warning,
            "noc.toml",
        ),
    ]
}

fn own(seen: &Seen, now_ms: u64) -> Check {
    let age_ms = now_ms.saturating_sub(seen.status.taken_ms);
    let old = match age_ms > STALE_AFTER_MS {
        true => vec![format!("the last poll ended {} s ago", age_ms / 1_000)],
        false => Vec::new(),
    };
    check(
        "dashboard-fresh",
        "What is shown is new",
        old,
        Level::Major,
        "look at the dashboard's log",
    )
}
