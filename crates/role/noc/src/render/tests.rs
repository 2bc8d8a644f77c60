use super::*;
use crate::view::{Cell, Level, Part, Row, Table, What, number, text};

const HOSTILE: &str = "\"><img src=x onerror=alert(1)><script>'&";

fn frame(address: &str) -> Frame {
    Frame {
        address: address.to_owned(),
        strip: Strip { level: Level::Good, words: "Working", alarms: None },
        taken_ms: 1_700_000_000_000,
        form_token: None,
        can_log_in: false,
    }
}

fn view(cells: Vec<Cell>) -> View {
    static COLUMNS: [crate::view::Column; 3] =
        [text("nai", "NAI"), number("count", "Count"), text("ends", "Ends")];
    let row = Row { cells, level: Level::Major };
    let table = Table { columns: &COLUMNS, rows: vec![row], empty: "None.", ..Table::default() };
    let one = Part { id: "rows", heading: "", what: What::Table(table) };
    View::new("Rows", vec![one])
}

fn hostile() -> View {
    view(vec![Cell::text(HOSTILE), Cell::Number(1_234), Cell::Ends(1_700_000_060_000)])
}

#[test]
fn a_value_cannot_become_markup() {
    let mut view = hostile();
    view.title = HOSTILE.to_owned();
    let html = document(&frame(&format!("/x?q={HOSTILE}")), &view, 1_700_000_000_000);
    assert!(!html.contains("<img src=x"), "{html}");
    assert_eq!(html.matches("<script").count(), 1, "only the dashboard's own: {html}");
    assert!(html.matches("&lt;script&gt;").count() >= 3, "{html}");
    assert!(!html.contains(" style=") && !html.contains(" onclick="), "{html}");
}

#[test]
fn times_and_numbers_are_made_for_reading() {
    let html = document(&frame("/x"), &hostile(), 1_700_000_000_000);
    assert!(html.contains("1\u{202f}234"), "{html}");
    assert!(html.contains("data-ends=\"1700000060000\">1 min 00 s</time>"), "{html}");
    assert!(html.contains("22:13:20 UTC"), "{html}");
    let ended = document(&frame("/x"), &hostile(), 1_700_000_061_000);
    assert!(ended.contains(">ended</time>"), "{ended}");
}

#[test]
fn what_is_old_is_said_to_be_old() {
    let fresh = document(&frame("/x"), &hostile(), 1_700_000_002_000);
    assert!(fresh.contains("data 2 s old") && !fresh.contains("data-stale>"), "{fresh}");
    let stale = document(&frame("/x"), &hostile(), 1_700_000_060_000);
    assert!(stale.contains("<html lang=\"en\" data-stale>"), "{stale}");
    let never = Frame { taken_ms: 0, ..frame("/x") };
    let never = document(&never, &hostile(), 1_700_000_000_000);
    assert!(never.contains("data-stale>") && never.contains("nothing seen yet"), "{never}");
}

#[test]
fn severity_is_said_by_more_than_colour() {
    let html =
        document(&frame("/x"), &view(vec![Cell::Level(Level::Critical, "gone".to_owned())]), 0);
    assert!(html.contains("title=\"critical\">C</span> gone"), "{html}");
}

#[test]
fn exports_have_the_rows_and_no_formulas() {
    let view = view(vec![Cell::text("=cmd|'x'!A1"), Cell::Missing, Cell::At(1_700_000_000_000)]);
    let csv = export::csv(&view, None).expect("a table");
    assert_eq!(csv, "nai,count,ends\r\n'=cmd|'x'!A1,,2023-11-14T22:13:20Z\r\n");
    let json = export::json(&view, 7, Some("rows")).expect("a table");
    assert_eq!(json["tables"]["rows"][0]["nai"], "=cmd|'x'!A1");
    assert_eq!(json["taken_ms"], 7);
    let csv = export::csv(&hostile(), Some("rows")).expect("a table");
    assert!(csv.contains("\"\"\"><img src=x onerror=alert(1)><script>'&\",1234,"), "{csv}");
    assert_eq!(export::csv(&hostile(), Some("none")), None);
    assert_eq!(export::json(&hostile(), 7, Some("none")), None);
}
