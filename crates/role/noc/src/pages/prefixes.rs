//! `/prefixes`: the home prefixes and their settings.

use super::{Seen, part};
use crate::{
    status::HomePrefix,
    view::{Cell, Column, Level, Row, Table, View, What, number, text},
};

const COLUMNS: [Column; 7] = [
    text("prefix", "Home prefix"),
    text("home_agent", "Home agent"),
    text("home_agent_ipv4", "Home agent\u{2019}s IPv4"),
    text("authentication", "Authentication"),
    number("bindings_per_home_address_max", "Bindings per home address"),
    number("lifetime_max_secs", "Longest lifetime"),
    number("revision", "Revision"),
];

pub(super) fn view(seen: &Seen) -> View {
    let rows = seen.status.home_prefixes.iter().map(row).collect();
    let empty = "None, or the leader could not be asked.";
    let table = Table { columns: &COLUMNS, rows, empty, ..Table::default() };
    View::new("Home prefixes", vec![part("prefixes", "", What::Table(table))])
}

fn row(prefix: &HomePrefix) -> Row {
    let authentication = if prefix.is_open {
        Cell::Level(Level::Warning, "none (unsafe)".to_owned())
    } else {
        Cell::text(prefix.authentication)
    };
    let most =
        if prefix.multiple_care_of_allowed { prefix.bindings_per_home_address_max } else { 1 };
    let cells = vec![
        Cell::text(&prefix.prefix),
        Cell::text(&prefix.home_agent),
        Cell::known(prefix.home_agent_ipv4.as_deref(), Cell::text),
        authentication,
        Cell::Number(most.into()),
        Cell::Secs(prefix.lifetime_max_secs.into()),
        Cell::Number(prefix.revision),
    ];
    Row { cells, level: Level::Plain }
}
