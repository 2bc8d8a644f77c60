//! Tables for other programs: the rows that the page has, as CSV and as JSON.

use serde_json::{Map, Value, json};

use crate::{
    format::Timestamp,
    view::{Cell, Column, Part, Plot, Table, View, What},
};

/// Keys and rows of a part that has any.
struct Rows {
    keys: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

/// `{"taken_ms": ..., "tables": {"replicas": [{"endpoint": ...}]}}`; one table when it is named.
pub(crate) fn json(view: &View, taken_ms: u64, wanted: Option<&str>) -> Option<Value> {
    let mut tables = Map::new();
    for part in chosen(view, wanted) {
        if let Some(Rows { keys, rows }) = rows(part) {
            let row =
                |cells: Vec<Cell>| keys.iter().cloned().zip(cells.iter().map(value)).collect();
            let rows = rows.into_iter().map(row).map(Value::Object).collect();
            tables.insert(part.id.to_owned(), Value::Array(rows));
        }
    }
    if wanted.is_some() && tables.is_empty() {
        return None;
    }
    Some(json!({ "taken_ms": taken_ms, "tables": tables }))
}

/// RFC 4180 with a head; the first table of the page, or the one that is named.
pub(crate) fn csv(view: &View, wanted: Option<&str>) -> Option<String> {
    let Rows { keys, rows } = chosen(view, wanted).find_map(rows)?;
    let mut text = String::new();
    line(&mut text, keys.into_iter());
    for row in rows {
        line(&mut text, row.iter().map(field));
    }
    Some(text)
}

fn chosen<'v>(view: &'v View, wanted: Option<&str>) -> impl Iterator<Item = &'v Part> {
    view.parts.iter().filter(move |part| wanted.is_none_or(|wanted| wanted == part.id))
}

fn rows(part: &Part) -> Option<Rows> {
    match &part.what {
        What::Table(table) => Some(of_table(table)),
        What::Plot(plot) => Some(of_plot(plot)),
        What::Facts(facts) => Some(Rows {
            keys: vec!["name".to_owned(), "value".to_owned()],
            rows: facts
                .iter()
                .map(|fact| vec![Cell::text(fact.name), fact.value.clone()])
                .collect(),
        }),
        What::Tiles(tiles) => Some(Rows {
            keys: vec!["name".to_owned(), "value".to_owned(), "unit".to_owned()],
            rows: tiles
                .iter()
                .map(|tile| vec![Cell::text(tile.name), tile.value.clone(), Cell::some(tile.unit)])
                .collect(),
        }),
        What::Verdict(_)
        | What::Graph(_)
        | What::Search(_)
        | What::Text(_)
        | What::Note(..)
        | What::Wall(_)
        | What::Login(_) => None,
    }
}

fn of_table(table: &Table) -> Rows {
    // Buttons are no data, and their column has no name.
    let is_data = |column: &Column| !column.name.is_empty();
    let keys = table.columns.iter().filter(|column| is_data(column));
    let cells = |row: &[Cell]| {
        let pairs = table.columns.iter().zip(row).filter(|(column, _)| is_data(column));
        pairs.map(|(_, cell)| cell.clone()).collect()
    };
    Rows {
        keys: keys.map(|column| column.key.to_owned()).collect(),
        rows: table.rows.iter().map(|row| cells(&row.cells)).collect(),
    }
}

fn of_plot(plot: &Plot) -> Rows {
    let names = plot.series.iter().map(|series| series.name.clone());
    let row = |(place, at): (usize, &u64)| {
        let values = plot.series.iter().map(|series| series.values.get(place).copied().flatten());
        let values = values.map(|value| Cell::known(value, Cell::Measure));
        std::iter::once(Cell::At(*at)).chain(values).collect()
    };
    Rows {
        keys: std::iter::once("at".to_owned()).chain(names).collect(),
        rows: plot.times_ms.iter().enumerate().map(row).collect(),
    }
}

fn value(cell: &Cell) -> Value {
    match cell {
        Cell::Missing | Cell::Actions(_) => Value::Null,
        Cell::Text(text) | Cell::Link(text, _) => json!(text),
        Cell::Number(number) | Cell::Secs(number) => json!(number),
        Cell::Measure(measure) => json!(measure),
        Cell::At(at_ms) | Cell::Ends(at_ms) | Cell::Since(at_ms) => {
            json!(Timestamp(*at_ms).to_string())
        }
        Cell::Level(_, words) => json!(words),
    }
}

fn field(cell: &Cell) -> String {
    match value(cell) {
        Value::Null => String::new(),
        Value::String(text) => unexecuted(text),
        other => other.to_string(),
    }
}

/// Spreadsheets take what begins like this for a formula, and subscribers choose their names.
fn unexecuted(text: String) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text }
}

fn line(text: &mut String, fields: impl Iterator<Item = String>) {
    for (place, field) in fields.enumerate() {
        if place > 0 {
            text.push(',');
        }
        if field.contains(['"', ',', '\n', '\r']) {
            text.push_str(&format!("\"{}\"", field.replace('"', "\"\"")));
        } else {
            text.push_str(&field);
        }
    }
    text.push_str("\r\n");
}
