//! `/bindings`: all bindings, page by page, by home address.

use super::{Seen, Sources, part, problem};
use crate::{
    format::{Grouped, Percent},
    limits::PARAMETER_OCTETS_MAX,
    status::{Binding, Home, Homes},
    target::{Parameters, subscriber_page},
    view::{Cell, Column, Level, Row, Table, View, What, number, text},
};

const COLUMNS: [Column; 10] = [
    text("home_address", "Home address"),
    number("sequence", "Sequence"),
    number("bid", "BID"),
    text("care_of_address", "Care-of address"),
    number("udp_port", "UDP port"),
    text("kind", "Kind"),
    number("priority", "Priority"),
    number("ends", "Time left"),
    text("registered", "Registered"),
    text("confirmed", "Last confirmed"),
];

pub(super) async fn view(parameters: &Parameters, seen: &Seen, sources: &Sources) -> View {
    let mut parts = Vec::new();
    let homes = match page(parameters, seen, sources).await {
        Ok(homes) => homes,
        Err(error) => {
            parts.push(problem(error));
            Homes::default()
        }
    };
    parts.push(part("bindings", "", What::Table(table(&homes))));
    View::new("Bindings", parts)
}

async fn page(parameters: &Parameters, seen: &Seen, sources: &Sources) -> Result<Homes, String> {
    if parameters.page.len() > PARAMETER_OCTETS_MAX {
        return Err("the page's token is too long to be one".to_owned());
    }
    let store = sources.store(&seen.status)?;
    let homes = store.homes(&parameters.page).await;
    homes.map_err(|error| format!("{} does not list bindings: {error}", store.endpoint))
}

fn table(homes: &Homes) -> Table {
    let revision = homes.revision.map(|revision| {
        format!("Home addresses here: {}, as of revision {}.", homes.rows.len(), Grouped(revision))
    });
    Table {
        columns: &COLUMNS,
        rows: homes.rows.iter().flat_map(rows).collect(),
        empty: "No bindings.",
        note: revision.unwrap_or_default(),
        next: homes
            .next_page_token
            .as_ref()
            .map(|next| format!("/bindings?page={}", Percent(next))),
    }
}

/// One row for each binding; a home address without one has its sequence number still.
pub(super) fn rows(home: &Home) -> Vec<Row> {
    let first = || {
        let link = subscriber_page(&home.home_address);
        [Cell::Link(home.home_address.clone(), link), Cell::Number(home.sequence.into())]
    };
    let row = |rest: Vec<Cell>| Row {
        cells: first().into_iter().chain(rest).collect(),
        ..Row::default()
    };
    if home.bindings.is_empty() {
        let mut rest = vec![Cell::Missing, Cell::text("none: only its sequence number is kept")];
        rest.resize(COLUMNS.len() - 2, Cell::Missing);
        return vec![Row { level: Level::Plain, ..row(rest) }];
    }
    home.bindings.iter().map(|binding| row(cells(binding))).collect()
}

fn cells(binding: &Binding) -> Vec<Cell> {
    let at = |at_ms| if at_ms == 0 { Cell::Missing } else { Cell::At(at_ms) };
    vec![
        Cell::known(binding.bid, |bid| Cell::Number(bid.into())),
        Cell::text(&binding.care_of_address),
        Cell::known(binding.udp_port, |port| Cell::Text(port.to_string())),
        Cell::text(kind(binding)),
        Cell::known(binding.priority, |priority| Cell::Number(priority.into())),
        Cell::Ends(binding.ends_ms),
        at(binding.registered_ms),
        at(binding.verified_ms),
    ]
}

/// What is particular about a binding.
const fn kind(binding: &Binding) -> &'static str {
    match (binding.home, binding.behind_nat) {
        _ if binding.unverified => "foreign, not verified",
        (true, _) => "at home",
        (false, false) => "foreign",
        (false, true) => "foreign, behind NAT",
    }
}

/// The bindings of one home address, without naming it in each row.
pub(super) fn of_one(home: Option<&Home>) -> Table {
    const OF_ONE: [Column; 8] = [
        COLUMNS[2], COLUMNS[3], COLUMNS[4], COLUMNS[5], COLUMNS[6], COLUMNS[7], COLUMNS[8],
        COLUMNS[9],
    ];
    let bindings = home.map(|home| home.bindings.as_slice()).unwrap_or_default();
    let rows = bindings.iter().map(|one| Row { cells: cells(one), ..Row::default() }).collect();
    Table { columns: &OF_ONE, rows, empty: "No binding: it is not registered.", ..Table::default() }
}
