//! `/nodes`: replicas, feed subscribers and processes.

use homeport_api::admin::{DrainState, Node, NodeRole};

use super::{Seen, part, verdict};
use crate::{
    format::{Measured, TimeOfDay},
    processes::{Counters, Process, State},
    status::{FeedSubscriber, Reached, Replica, Seen as Answer},
    view::{Action, Cell, Column, Level, Part, Row, Table, View, What, number, text},
};

pub(super) fn view(seen: &Seen) -> View {
    let parts = vec![verdict(seen), replicas(seen), connected(seen), feed(seen), processes(seen)];
    View::new("Nodes", parts)
}

const REPLICAS: [Column; 12] = [
    text("endpoint", "Store"),
    number("node_id", "Node"),
    text("role", "Role"),
    text("vote", "Vote"),
    number("term", "Term"),
    number("last_log_index", "Log"),
    number("committed_index", "Committed"),
    number("applied_index", "Applied"),
    number("behind", "Behind"),
    number("bindings", "Bindings"),
    text("version", "Version"),
    text("deeds", ""),
];

pub(super) fn replicas(seen: &Seen) -> Part {
    let rows = seen.status.replicas.iter().map(replica).collect();
    let empty = "Nothing is known yet.";
    let table = Table { columns: &REPLICAS, rows, empty, ..Table::default() };
    part("replicas", "Store replicas", What::Table(table))
}

fn replica(replica: &Replica) -> Row {
    let (name, id) = (Cell::text(&replica.endpoint), Cell::known(replica.node_id, Cell::Number));
    let mut cells = vec![name, id];
    let level = match &replica.seen {
        Answer::Reached(reached) => {
            cells.extend(reached_cells(replica, reached));
            if reached.stuck { Level::Major } else { Level::Plain }
        }
        Answer::Unreached { error, since_ms } => {
            let at = TimeOfDay(*since_ms);
            let words = format!("cannot be reached since {at} UTC: {error}");
            cells.extend(without_answer(Level::Major, words));
            Level::Major
        }
        Answer::NotAsked => {
            let words = "a member that is not in `stores` here".to_owned();
            cells.extend(without_answer(Level::Unknown, words));
            Level::Unknown
        }
    };
    Row { cells, level }
}

fn without_answer(level: Level, words: String) -> [Cell; 10] {
    let mut cells = [const { Cell::Missing }; 10];
    cells[0] = Cell::Level(level, words);
    cells[9] = Cell::Actions(Vec::new());
    cells
}

fn reached_cells(replica: &Replica, reached: &Reached) -> [Cell; 10] {
    let role = match reached.role.as_str() {
        "leader" => Cell::Level(Level::Good, "leader".to_owned()),
        "follower" | "learner" => Cell::text(&reached.role),
        other => Cell::Level(Level::Major, other.to_owned()),
    };
    let vote = match replica.voter {
        Some(true) => "voter",
        Some(false) => "learner",
        None => "not a member",
    };
    [
        role,
        Cell::text(vote),
        Cell::Number(reached.term),
        Cell::Number(reached.last_log_index),
        Cell::Number(reached.committed_index),
        Cell::Number(reached.applied_index),
        behind(reached.lag, reached.stuck),
        Cell::Number(reached.bindings),
        Cell::text(&reached.version),
        deeds(replica, reached),
    ]
}

/// For who is logged in.
fn deeds(replica: &Replica, reached: &Reached) -> Cell {
    match replica.node_id {
        Some(node_id) if reached.role == "follower" && replica.voter == Some(true) => {
            Cell::Actions(vec![Action {
                path: "/act/lead",
                name: node_id.to_string(),
                words: "Let it lead",
                sure: "Hand the leadership of the store over to this replica?",
            }])
        }
        Some(_) | None => Cell::Actions(Vec::new()),
    }
}

/// Being behind is usual while there is work, standing still is not.
fn behind(lag: u64, is_stuck: bool) -> Cell {
    if is_stuck { Cell::Level(Level::Major, format!("{lag}, stuck")) } else { Cell::Number(lag) }
}

const CONNECTED: [Column; 8] = [
    text("name", "Name"),
    text("state", "State"),
    number("under_way", "Under way"),
    text("connected", "Connected for"),
    text("connected_to", "Connected to"),
    text("address", "Address"),
    text("version", "Version"),
    text("deeds", ""),
];

fn connected(seen: &Seen) -> Part {
    let rows = seen.status.connected.iter().map(node_row).collect();
    let empty = "Nobody is connected to a replica that was reached.";
    let note = match seen.status.silent_stores {
        0 => String::new(),
        silent => format!("Replicas that did not say who is connected to them: {silent}."),
    };
    let table = Table { columns: &CONNECTED, rows, empty, note, next: None };
    part("connected", "Front-ends and forwarders", What::Table(table))
}

fn node_row(node: &Node) -> Row {
    let drain = match node.role() {
        NodeRole::Forwarder => DRAIN_FORWARDER,
        _ => DRAIN_FRONT_END,
    };
    let (state, deed) = match node.drain_state() {
        DrainState::Unspecified => (Cell::Level(Level::Unknown, "unknown".to_owned()), drain),
        DrainState::Serving => (Cell::text("serves"), drain),
        DrainState::Draining => (Cell::Level(Level::Minor, "being drained".to_owned()), UNDRAIN),
        DrainState::Drained => {
            (Cell::Level(Level::Minor, "drained, can be stopped".to_owned()), UNDRAIN)
        }
    };
    let (path, words, sure) = deed;
    let deed = Action { path, name: node.name.clone(), words, sure };
    let deeds = Some(deed).filter(|_| node.drainable).into_iter().collect();
    let cells = vec![
        Cell::text(&node.name),
        state,
        Cell::Number(node.under_way.into()),
        Cell::Since(node.connected_ms),
        Cell::text(format!("node {}", node.store_node_id)),
        Cell::some(&node.address),
        Cell::some(&node.version),
        Cell::Actions(deeds),
    ];
    Row { cells, ..Row::default() }
}

/// Path, words, and what is asked before.
type Deed = (&'static str, &'static str, &'static str);
const DRAIN_FRONT_END: Deed =
    ("/act/drain", "Drain", "Let forwarders use other front-ends than this one from now on?");
const DRAIN_FORWARDER: Deed =
    ("/act/drain", "Drain", "Let packets take other forwarders than this one from now on?");
const UNDRAIN: Deed = ("/act/undrain", "Let it serve", "");

const FEED: [Column; 5] = [
    text("name", "Name"),
    text("fed_by", "Fed by"),
    number("sent_revision", "Revision sent"),
    number("behind", "Behind"),
    text("missing", "Missing for"),
];

pub(super) fn feed(seen: &Seen) -> Part {
    let status = &seen.status;
    let departed = status.departed.iter().map(|departed| Row {
        cells: vec![
            Cell::text(&departed.name),
            Cell::Level(Level::Major, "at no feed".to_owned()),
            Cell::Number(departed.sent_revision),
            Cell::Missing,
            Cell::Since(departed.last_seen_ms),
        ],
        level: Level::Major,
    });
    let rows = departed.chain(status.feed_subscribers.iter().map(subscriber)).collect();
    let empty = "No forwarder is at the feed of a replica that was reached.";
    let table = Table { columns: &FEED, rows, empty, ..Table::default() };
    part("feed", "Forwarders and other feed subscribers", What::Table(table))
}

fn subscriber(subscriber: &FeedSubscriber) -> Row {
    Row {
        cells: vec![
            Cell::text(&subscriber.name),
            Cell::text(format!("node {}", subscriber.node_id)),
            Cell::Number(subscriber.sent_revision),
            behind(subscriber.lag, subscriber.stuck),
            Cell::Missing,
        ],
        level: if subscriber.stuck { Level::Major } else { Level::Plain },
    }
}

const PROCESSES: [Column; 7] = [
    text("name", "Process"),
    text("role", "Role"),
    text("state", "State"),
    text("version", "Version"),
    text("since", "Runs for"),
    text("table", "Table"),
    text("ops", "Operations port"),
];

pub(super) fn processes(seen: &Seen) -> Part {
    let all = &seen.processes.all;
    let rows = all.iter().map(process).collect();
    let empty = "This dashboard's configuration names no processes: add [[processes]] with their ops.listen.";
    let table = Table { columns: &PROCESSES, rows, empty, ..Table::default() };
    part("processes", "Processes", What::Table(table))
}

/// How a process is, for tables and drawings.
pub(super) fn state(process: &Process) -> (Level, String) {
    let counters = process.counters.as_ref();
    match &process.state {
        State::Unreached(error) => (Level::Major, format!("cannot be reached: {error}")),
        State::Pending(words) => (Level::Minor, words.clone()),
        State::Ready if counters.is_some_and(|it| it.is_withdrawn) => {
            (Level::Critical, "withdrawn: serves nothing".to_owned())
        }
        State::Ready if counters.is_some_and(|it| it.is_stale) => {
            (Level::Major, "hears no store".to_owned())
        }
        State::Ready => (Level::Good, "ready".to_owned()),
    }
}

fn process(process: &Process) -> Row {
    let (level, words) = state(process);
    let counters = process.counters.as_ref();
    let started = counters.map(|it| it.started_secs).filter(|secs| *secs > 0.0);
    let started_ms = started.and_then(|secs| format!("{:.0}", secs * 1_000.0).parse().ok());
    let filled = |(filled, room): (f64, f64)| {
        let (filled, room) = (Measured(filled), Measured(room));
        Cell::text(format!("{filled} of {room}"))
    };
    let version = counters.map(|it| it.version.as_str()).unwrap_or_default();
    Row {
        cells: vec![
            Cell::text(&process.name),
            Cell::text(process.role.word()),
            Cell::Level(level, words),
            Cell::some(version),
            Cell::known(started_ms, Cell::Since),
            Cell::known(filled_of(counters), filled),
            Cell::text(&process.ops),
        ],
        level: if level == Level::Good { Level::Plain } else { level },
    }
}

/// Home addresses in a forwarder's table, and its room.
fn filled_of(counters: Option<&Counters>) -> Option<(f64, f64)> {
    let counters = counters?;
    Some((counters.home_addresses?, counters.home_addresses_max?))
}
