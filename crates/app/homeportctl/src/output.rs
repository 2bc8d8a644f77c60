//! Tables for people, JSON for programs.

use comfy_table::{Cell, ContentArrangement, Table, presets};
use serde_json::Value;

use crate::arguments::Format;

/// Columns of a list: those at the end are for wide screens and files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns {
    pub(crate) names: &'static [&'static str],
    /// So many are shown where it is not asked for all.
    pub(crate) narrow: usize,
}

/// A list in all forms. JSON is an array; a table has a header, and a sentence when it is empty.
pub(crate) fn list_of<T>(
    format: Format,
    columns: Columns,
    items: &[T],
    rows: impl Fn(&T) -> Vec<Vec<String>>,
    json: impl Fn(&T) -> Value,
) -> String {
    if format != Format::Table {
        return list(format, columns.names, items, rows, json);
    }
    let narrow = |mut row: Vec<String>| {
        row.truncate(columns.narrow);
        row
    };
    let names = columns.names.get(..columns.narrow).unwrap_or(columns.names);
    table(names, items.iter().flat_map(rows).map(narrow))
}

/// A list all of whose columns are always shown.
pub(crate) fn list<T>(
    format: Format,
    columns: &[&str],
    items: &[T],
    rows: impl Fn(&T) -> Vec<Vec<String>>,
    json: impl Fn(&T) -> Value,
) -> String {
    match format {
        Format::Json => document(&Value::Array(items.iter().map(json).collect())),
        Format::Table | Format::Wide => table(columns, items.iter().flat_map(rows)),
        Format::Csv => csv(columns, items.iter().flat_map(rows)),
    }
}

/// One record in all forms: JSON is an object, the others have its one row.
pub(crate) fn one<T>(
    format: Format,
    columns: &[&str],
    item: &T,
    rows: impl Fn(&T) -> Vec<Vec<String>>,
    json: impl Fn(&T) -> Value,
) -> String {
    match format {
        Format::Json => document(&json(item)),
        Format::Table | Format::Wide => table(columns, rows(item).into_iter()),
        Format::Csv => csv(columns, rows(item).into_iter()),
    }
}

/// What was done, where there is nothing to show.
pub(crate) fn done(format: Format, what: &str) -> String {
    match format {
        Format::Json => document(&Value::Object(serde_json::Map::new())),
        Format::Table | Format::Wide => format!("{}\n", plain(what)),
        Format::Csv => String::new(),
    }
}

/// RFC 4180, with a header; nothing stands where a table has a dash.
pub(crate) fn csv(columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let header: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
    std::iter::once(header).chain(rows).map(|row| csv_line(&row)).collect()
}

/// One line of it.
pub(crate) fn csv_line(row: &[String]) -> String {
    let field = |text: &String| {
        let text = plain(text);
        // A spreadsheet takes what begins so for a formula.
        let text = if text.starts_with(['=', '+', '@']) { format!("'{text}") } else { text };
        match text.as_str() {
            "-" => String::new(),
            _ if text.contains(['"', ',']) => format!("\"{}\"", text.replace('"', "\"\"")),
            _ => text,
        }
    };
    row.iter().map(field).collect::<Vec<_>>().join(",") + "\r\n"
}

/// A moment in UTC, of milliseconds since the Unix epoch: 2026-11-27T14:05:09.250Z.
pub(crate) fn moment(unix_ms: u64) -> String {
    let (secs, ms) = (unix_ms / 1000, unix_ms % 1000);
    let (days, secs) = (secs / 86_400, secs % 86_400);
    // Years of 400 repeat, and begin in March, so that the leap day comes last.
    let days = days.saturating_add(719_468);
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, leap) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era.saturating_mul(400).saturating_add(year).saturating_add(leap);
    let (hour, minute, second) = (secs / 3600, secs / 60 % 60, secs % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
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
    fn moments_are_those_of_the_calendar() {
        let rows = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
            (1_795_788_309_250, "2026-11-27T14:05:09.250Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ];
        for (ms, expected) in rows {
            assert_eq!(moment(ms), expected);
        }
    }

    #[test]
    fn csv_is_quoted_and_runs_no_formula() {
        let row = ["a,b", "say \"x\"", "-", "=1+1", "two\nlines", ""].map(str::to_owned).to_vec();
        let text = csv(&["A", "B"], std::iter::once(row));
        assert_eq!(text, "A,B\r\n\"a,b\",\"say \"\"x\"\"\",,'=1+1,two\u{fffd}lines,\r\n");
    }

    #[test]
    fn a_table_is_plain_text_in_columns() {
        let rows =
            [vec!["a".to_owned(), "1".to_owned()], vec!["b\u{1b}[2J".to_owned(), "22".to_owned()]];
        let text = table(&["NAME", "N"], rows.into_iter());
        assert_eq!(text, "NAME   N\na      1\nb\u{fffd}[2J  22\n");
        assert_eq!(table(&["NAME"], std::iter::empty()), "none\n");
    }
}
