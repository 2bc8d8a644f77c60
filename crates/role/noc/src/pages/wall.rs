//! `/wall`: what is read from the other end of the room.

use super::{Seen, health, overview, part};
use crate::view::{View, Wall, What};

/// Problems that fit.
const LINES: usize = 4;

/// Figures that matter from afar, by their names on the overview.
const FIGURES: [&str; 8] = [
    "Active bindings",
    "Registrations",
    "Refused",
    "Acknowledged, p99",
    "Drops",
    "Stores reached",
    "Feed subscribers",
    "Most behind",
];

pub(super) fn view(seen: &Seen, _now_ms: u64) -> View {
    let (level, words) = health(seen.status.health);
    let mut lines: Vec<String> = seen.status.problems.iter().take(LINES).cloned().collect();
    let more = seen.status.problems.len().saturating_sub(LINES);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    let mut tiles = overview::service(seen);
    tiles.extend(overview::cluster(seen));
    tiles.retain(|tile| FIGURES.contains(&tile.name));
    let wall = Wall { level, words, lines, tiles };
    View::new("Wall", vec![part("wall", "", What::Wall(wall))])
}
