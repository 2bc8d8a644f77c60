//! Tables for people, JSON for programs.

use comfy_table::{Cell, ContentArrangement, Table, presets};
use serde_json::Value;

use crate::arguments::Format;

/// A list in both forms. JSON is an array; a table has a header, and a sentence when it is empty.
pub(crate) fn list<T>(
    format: Format,
    columns: &[&str],
    items: &[T],
    rows: impl Fn(&T) -> Vec<Vec<String>>,
    json: impl Fn(&T) -> Value,
) -> String {
    match format {
        Format::Json => document(&Value::Array(items.iter().map(json).collect())),
        Format::Table => table(columns, items.iter().flat_map(rows)),
    }
}

/// One record in both forms: JSON is an object, the table has its one row.
pub(crate) fn one<T>(
    format: Format,
    columns: &[&str],
    item: &T,
    rows: impl Fn(&T) -> Vec<Vec<String>>,
    json: impl Fn(&T) -> Value,
) -> String {
    match format {
        Format::Json => document(&json(item)),
        Format::Table => table(columns, rows(item).into_iter()),
    }
}

/// What was done, where there is nothing to show.
pub(crate) fn done(format: Format, what: &str) -> String {
    match format {
        Format::Json => document(&Value::Object(serde_json::Map::new())),
        Format::Table => format!("{}\n", plain(what)),
    }
}

/// JSON, indented, with a newline at its end.
pub(crate) fn document(value: &Value) -> String {
    format!("{value:#}\n")
}

/// Columns with two spaces between them, no lines: good for `awk` too.
pub(crate) fn table(columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(columns.to_vec());
    for row in rows {
        table.add_row(row.iter().map(|text| Cell::new(plain(text))).collect::<Vec<_>>());
    }
    if table.is_empty() {
        return "none\n".to_owned();
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n") + "\n"
}

/// Text without control characters: what a store sends must not steer the terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A dash for nothing.
pub(crate) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or("-".to_owned(), |value| value.to_string())
}

/// `yes` or `no`.
pub(crate) fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_plain_text_in_columns() {
        let rows =
            [vec!["a".to_owned(), "1".to_owned()], vec!["b\u{1b}[2J".to_owned(), "22".to_owned()]];
        let text = table(&["NAME", "N"], rows.into_iter());
        assert_eq!(text, "NAME   N\na      1\nb\u{fffd}[2J  22\n");
        assert_eq!(table(&["NAME"], std::iter::empty()), "none\n");
    }
}
