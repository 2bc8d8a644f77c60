//! `/subscribers/{home address}`: all that is known of one.

use std::net::Ipv6Addr;

use futures_util::future::join_all;
use homeport_api::{admin::Subscriber, inspection::HomeTraffic};

use super::{Seen, Sources, bindings, events, part, problem, subscribers::key};
use crate::{
    format::Grouped,
    status::Home,
    view::{Action, Cell, Column, Fact, Level, Part, Row, Table, View, What, number, text},
};

pub(super) async fn view(home: Ipv6Addr, seen: &Seen, sources: &Sources) -> View {
    let name = home.to_string();
    let title = format!("Subscriber {name}");
    let store = match sources.store(&seen.status) {
        Ok(store) => store,
        Err(error) => return View::new(title, vec![problem(error)]),
    };
    let (home, record, traffic, happened) = tokio::join!(
        store.home(&name),
        store.subscriber(&name),
        traffic(&name, sources),
        events::of_one(&name, store)
    );
    let mut parts = Vec::new();
    let (home, record) = match (home, record) {
        (Ok(home), Ok(record)) => (home, record),
        (home, record) => {
            let errors = [home.as_ref().err(), record.as_ref().err()];
            let errors: Vec<&str> = errors.into_iter().flatten().map(String::as_str).collect();
            parts.push(problem(format!("{} says: {}", store.endpoint, errors.join("; "))));
            (home.ok().flatten(), record.ok().flatten())
        }
    };
    if home.is_none() && record.is_none() && parts.is_empty() {
        let words = "Nobody has this home address, and it is not registered.".to_owned();
        parts.push(part("unknown", "", What::Note(Level::Unknown, words)));
    }
    parts.push(part("record", "Record", What::Facts(facts(home.as_ref(), record.as_ref()))));
    parts.push(part("bindings", "Bindings", What::Table(bindings::of_one(home.as_ref()))));
    parts.extend(home.as_ref().filter(|home| !home.flows.is_empty()).map(flows));
    parts.extend(traffic);
    parts.push(happened);
    View::new(title, parts)
}

fn facts(home: Option<&Home>, record: Option<&Subscriber>) -> Vec<Fact> {
    let fact = |name, value| Fact { name, value };
    let of_record = |of: &dyn Fn(&Subscriber) -> Cell| record.map_or(Cell::Missing, of);
    let of_home = |of: &dyn Fn(&Home) -> Cell| home.map_or(Cell::Missing, of);
    let state = match home {
        Some(home) if !home.bindings.is_empty() => {
            Cell::Level(Level::Good, format!("{} bindings", Grouped(count(home.bindings.len()))))
        }
        Some(_) | None => Cell::Level(Level::Unknown, "not registered".to_owned()),
    };
    let replay = |record: &Subscriber| {
        Cell::text(if record.message_id_required {
            "timestamps demanded"
        } else {
            "sequence numbers"
        })
    };
    vec![
        fact("State", state),
        fact("NAI", of_record(&|record| Cell::some(&record.nai))),
        fact("Home agent", of_home(&|home| Cell::text(&home.home_agent))),
        fact("Sequence", of_home(&|home| Cell::Number(home.sequence.into()))),
        fact("MN-HA key", of_record(&key)),
        fact("SPI", of_record(&|record| Cell::Text(record.spi.to_string()))),
        fact("Replay protection", of_record(&replay)),
        fact("IPv4 home address", of_home(&|home| Cell::some(&home.ipv4_home_address))),
        fact("Mobile networks", of_home(&|home| Cell::some(&home.mobile_networks.join(", ")))),
        fact("Changed at revision", of_home(&|home| Cell::Number(home.revision))),
        fact("Revocation", of_home(&revocation)),
    ]
}

/// For who is logged in.
fn revocation(home: &Home) -> Cell {
    if home.bindings.is_empty() {
        return Cell::Missing;
    }
    Cell::Actions(vec![Action {
        path: "/act/revoke",
        name: home.home_address.clone(),
        words: "Revoke all bindings",
        sure: "End all bindings of this home address, and tell its mobile node (RFC 5846)?",
    }])
}

fn flows(home: &Home) -> Part {
    const COLUMNS: [Column; 5] = [
        number("fid", "FID"),
        number("priority", "Priority"),
        text("bids", "BIDs"),
        text("state", "State"),
        text("selector", "Packets that have"),
    ];
    let row = |flow: &homeport_api::admin::FlowBinding| {
        let bids: Vec<String> = flow.bids.iter().map(u32::to_string).collect();
        let state = if flow.active { "active" } else { "none of its BIDs is bound" };
        let cells = vec![
            Cell::Number(flow.fid.into()),
            Cell::Number(flow.priority.into()),
            Cell::Text(bids.join(", ")),
            Cell::text(state),
            Cell::text(&flow.selector),
        ];
        Row { cells, ..Row::default() }
    };
    let rows = home.flows.iter().map(row).collect();
    let table = Table { columns: &COLUMNS, rows, empty: "None.", ..Table::default() };
    part("flows", "Flow bindings (RFC 6089)", What::Table(table))
}

const TRAFFIC: [Column; 6] = [
    text("forwarder", "Forwarder"),
    number("to_packets", "Packets to it"),
    number("to_octets", "Octets to it"),
    number("from_packets", "Packets from it"),
    number("from_octets", "Octets from it"),
    number("dropped_packets", "Dropped"),
];

/// Its counters at each forwarder that shows them; nothing when none is configured to.
async fn traffic(home_address: &str, sources: &Sources) -> Option<Part> {
    if sources.forwarders.is_empty() {
        return None;
    }
    let asked = sources.forwarders.iter().map(async |one| (one.name.as_str(), one.traffic().await));
    let (mut rows, mut has_fast_path) = (Vec::new(), false);
    for (name, answer) in join_all(asked).await {
        match answer {
            Ok(answer) => {
                has_fast_path |= answer.has_fast_path;
                let of_it = answer.homes.into_iter().find(|one| one.home_address == home_address);
                rows.extend(of_it.map(|one| counted(name, &one)));
            }
            Err(error) => rows.push(unasked(name, error)),
        }
    }
    let note = if has_fast_path { "What XDP forwards is in none of these." } else { "" };
    let (empty, note) = ("No forwarder has counted a packet of it.", note.to_owned());
    let table = Table { columns: &TRAFFIC, rows, empty, note, next: None };
    Some(part("traffic", "Tunnel", What::Table(table)))
}

fn counted(name: &str, traffic: &HomeTraffic) -> Row {
    let numbers = [
        traffic.to_mobile_node_packets,
        traffic.to_mobile_node_octets,
        traffic.from_mobile_node_packets,
        traffic.from_mobile_node_octets,
        traffic.dropped_packets,
    ];
    let cells = [Cell::text(name)].into_iter().chain(numbers.map(Cell::Number)).collect();
    Row { cells, ..Row::default() }
}

fn unasked(name: &str, error: String) -> Row {
    let mut cells = vec![Cell::Level(Level::Minor, format!("{name}: {error}"))];
    cells.resize(TRAFFIC.len(), Cell::Missing);
    Row { cells, level: Level::Minor }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
