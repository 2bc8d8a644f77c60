//! `/`: how it is, the figures that matter, and who is there.

use super::{Seen, nodes, part, verdict};
use crate::{
    processes::Sample,
    status::{Replica, Seen as Answer},
    view::{Cell, Level, Tile, View, What},
};

/// Values of a small plot: five minutes of them.
const RECENT: usize = 60;

pub(super) fn view(seen: &Seen, _now_ms: u64) -> View {
    let mut parts = vec![
        verdict(seen),
        part("service", "Service", What::Tiles(service(seen))),
        part("cluster", "Cluster", What::Tiles(cluster(seen))),
        nodes::replicas(seen),
        nodes::feed(seen),
    ];
    if !seen.processes.all.is_empty() {
        parts.push(nodes::processes(seen));
    }
    View::new("Overview", parts)
}

/// What mobile nodes notice.
pub(super) fn service(seen: &Seen) -> Vec<Tile> {
    let kpis = &seen.processes.kpis;
    let newest = kpis.newest();
    let measured = |name, unit, of: fn(&Sample) -> Option<f64>, level| Tile {
        name,
        value: Cell::known(newest.and_then(of), Cell::Measure),
        unit,
        level,
        href: "/kpis",
        recent: kpis.recent(RECENT, of),
    };
    let refusing = |sample: &Sample| sample.refused.is_some_and(|refused| refused > 0.0);
    let refused = if newest.is_some_and(refusing) { Level::Warning } else { Level::Plain };
    let bindings = seen.status.totals.map(|totals| totals.bindings);
    let homes = seen.status.totals.map(|totals| totals.home_addresses);
    vec![
        Tile {
            name: "Active bindings",
            value: Cell::known(bindings, Cell::Number),
            unit: "",
            level: Level::Plain,
            href: "/bindings",
            recent: kpis.recent(RECENT, |sample| sample.bindings),
        },
        Tile {
            name: "Home addresses",
            value: Cell::known(homes, Cell::Number),
            unit: "",
            level: Level::Plain,
            href: "/bindings",
            recent: kpis.recent(RECENT, |sample| sample.home_addresses),
        },
        measured("Registrations", "/s", |sample| sample.accepted, Level::Plain),
        measured("Refused", "/s", |sample| sample.refused, refused),
        measured("Acknowledged, p99", "ms", |sample| sample.acknowledged_p99_ms, Level::Plain),
        measured("Drops", "/s", |sample| sample.drops, Level::Plain),
        measured("Packets", "/s", |sample| sample.packets, Level::Plain),
    ]
}

/// What it stands on.
pub(super) fn cluster(seen: &Seen) -> Vec<Tile> {
    let status = &seen.status;
    let is_reached = |replica: &&Replica| matches!(replica.seen, Answer::Reached(_));
    let reached = status.replicas.iter().filter(is_reached).count();
    let is_lost = |replica: &Replica| matches!(replica.seen, Answer::Unreached { .. });
    let lost = status.replicas.iter().any(is_lost);
    let is_polled = status.taken_ms != 0;
    let is_led = status.leader_id.is_some()
        && !status.replicas.iter().any(|one| is_lost(one) && one.node_id == status.leader_id);
    let behind = status.feed_subscribers.iter().map(|subscriber| subscriber.lag).max();
    let subscribers = status.feed_subscribers.len();
    let is_missed = !status.departed.is_empty() || (is_polled && subscribers == 0);
    let is_stuck = status.feed_subscribers.iter().any(|subscriber| subscriber.stuck);
    let bad = |bad: bool, level| if bad { level } else { Level::Plain };
    let tile = |name, value, level| Tile {
        name,
        value,
        unit: "",
        level,
        href: "/nodes",
        recent: Vec::new(),
    };
    let node = |id: u64| Cell::text(format!("node {id}"));
    let of = Cell::text(format!("{reached} of {}", status.replicas.len()));
    vec![
        tile(
            "Leader",
            Cell::known(status.leader_id, node),
            bad(is_polled && !is_led, Level::Critical),
        ),
        tile("Term", Cell::known(status.term, Cell::Number), Level::Plain),
        tile("Revision", Cell::known(status.revision, Cell::Number), Level::Plain),
        tile("Stores reached", of, bad(lost, Level::Major)),
        tile("Feed subscribers", number(subscribers), bad(is_missed, Level::Major)),
        tile("Most behind", Cell::known(behind, Cell::Number), bad(is_stuck, Level::Major)),
    ]
}

fn number(count: usize) -> Cell {
    Cell::Number(u64::try_from(count).unwrap_or(u64::MAX))
}
