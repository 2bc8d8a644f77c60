//! The parts of a page.

use maud::{Markup, html};

use super::{Frame, graph, plot};
use crate::{
    format::{Grouped, Lasts, Measured, TimeOfDay, Timestamp, plain, secs_between},
    view::{Action, Cell, Level, Part, Row, Search, Table, Tile, Verdict, Wall, What},
};

/// One part; `id` is where its successor goes.
pub(crate) fn part(part: &Part, frame: &Frame, now_ms: u64) -> Markup {
    let inside = match &part.what {
        What::Verdict(it) => verdict(it),
        What::Tiles(tiles) => html! {
            dl.tiles { @for one in tiles { (tile(one, now_ms)) } }
        },
        What::Table(it) => table(it, part, frame, now_ms),
        What::Facts(facts) => html! {
            dl.facts {
                // Buttons are for who is logged in.
                @for fact in facts.iter().filter(|fact| frame.form_token.is_some() || !matches!(fact.value, Cell::Actions(_))) {
                    div { dt { (fact.name) } dd { (cell(&fact.value, frame, now_ms)) } }
                }
            }
        },
        What::Plot(it) => html! { (plot::plot(it)) (exports(part.id, frame)) },
        What::Graph(it) => graph::graph(it),
        What::Search(it) => search(it),
        What::Text(paragraphs) => html! { @for one in paragraphs { p { (plain(one)) } } },
        What::Note(level, words) => html! { p.note { (badge(*level, "")) " " (plain(words)) } },
        What::Wall(it) => wall(it, now_ms),
        What::Login(then) => login(then),
    };
    html! {
        section.part id={ "part-" (part.id) } {
            @if !part.heading.is_empty() { h2 { (part.heading) } }
            (inside)
        }
    }
}

fn verdict(it: &Verdict) -> Markup {
    html! {
        div.verdict.{ "level-" (it.level.word()) } {
            p.words { (badge(it.level, "")) " " (it.words) }
            @if !it.lines.is_empty() {
                ul { @for line in &it.lines { li { (plain(line)) } } }
            }
        }
    }
}

fn tile(it: &Tile, now_ms: u64) -> Markup {
    html! {
        div.tile.{ "level-" (it.level.word()) } {
            dt {
                @if it.href.is_empty() { (it.name) } @else { a href=(it.href) { (it.name) } }
                @if it.level > Level::Good { " " (badge(it.level, "")) }
            }
            dd {
                (bare(&it.value, now_ms))
                @if !it.unit.is_empty() && it.value != Cell::Missing { " " small { (it.unit) } }
            }
            @if it.recent.iter().flatten().count() > 2 { dd.recent { (plot::spark(&it.recent)) } }
        }
    }
}

fn search(it: &Search) -> Markup {
    html! {
        form.large role="search" action=(it.path) method="get" {
            input name="q" type="search" maxlength="253" spellcheck="false" autocomplete="off"
                value=(it.asked) aria-label=(it.words) placeholder=(it.example);
            " " button { "Find" }
        }
    }
}

fn login(then: &str) -> Markup {
    html! {
        form.login method="post" action="/login" {
            input type="hidden" name="then" value=(then);
            label for="token" { "Token" }
            input #token name="token" type="password" autocomplete="current-password" autofocus;
            button { "Log in" }
        }
        p.none { "The token is in the file that " code { "login.token_file" } " of noc.toml names." }
    }
}

fn wall(it: &Wall, now_ms: u64) -> Markup {
    html! {
        div.wall.{ "level-" (it.level.word()) } {
            p.words { span.sign aria-hidden="true" { (it.level.sign()) } " " (it.words) }
            @if !it.lines.is_empty() {
                ul { @for line in &it.lines { li { (plain(line)) } } }
            }
            dl.tiles { @for one in &it.tiles { (tile(one, now_ms)) } }
        }
    }
}

fn table(it: &Table, part: &Part, frame: &Frame, now_ms: u64) -> Markup {
    html! {
        div.wide {
            table {
                thead { tr {
                    @for column in it.columns {
                        th scope="col" class=[column.is_number.then_some("number")] { (column.name) }
                    }
                } }
                tbody {
                    @if it.rows.is_empty() {
                        tr { td.none colspan=(it.columns.len()) { (it.empty) } }
                    }
                    @for row in &it.rows { (table_row(it, row, frame, now_ms)) }
                }
            }
        }
        p.below {
            @if let Some(next) = &it.next { a rel="next" href=(next) { "Next page" } " " }
            @if !it.note.is_empty() { span { (plain(&it.note)) } " " }
            (exports(part.id, frame))
        }
    }
}

fn table_row(table: &Table, row: &Row, frame: &Frame, now_ms: u64) -> Markup {
    html! {
        tr.{ "level-" (row.level.word()) } {
            @for (column, value) in table.columns.iter().zip(&row.cells) {
                td class=[column.is_number.then_some("number")] { (cell(value, frame, now_ms)) }
            }
        }
    }
}

/// The same rows for other programs.
fn exports(id: &str, frame: &Frame) -> Markup {
    let (path, query) = frame.address.split_once('?').unwrap_or((&frame.address, ""));
    let path = if path == "/" { "/overview" } else { path };
    let and = if query.is_empty() { "" } else { "&" };
    html! {
        span.exports {
            @for (kind, name) in [("csv", "CSV"), ("json", "JSON")] {
                a href={ (path) "." (kind) "?" (query) (and) "table=" (id) } { (name) } " "
            }
        }
    }
}

/// A sign of a severity, with words behind it when there are any.
fn badge(level: Level, words: &str) -> Markup {
    html! {
        @if level != Level::Plain {
            span.badge.{ "level-" (level.word()) } title=(level.word()) { (level.sign()) }
        }
        @if !words.is_empty() {
            @if level != Level::Plain { " " }
            (plain(words))
        }
    }
}

fn cell(value: &Cell, frame: &Frame, now_ms: u64) -> Markup {
    match value {
        Cell::Actions(actions) => html! {
            @if let Some(token) = &frame.form_token {
                @for action in actions { (button(action, token, &frame.address)) }
            }
        },
        other => bare(other, now_ms),
    }
}

fn button(action: &Action, token: &str, then: &str) -> Markup {
    html! {
        form.act method="post" action=(action.path) data-sure=(action.sure) {
            input type="hidden" name="form_token" value=(token);
            input type="hidden" name="name" value=(action.name);
            input type="hidden" name="then" value=(then);
            button { (action.words) }
        }
    }
}

fn bare(value: &Cell, now_ms: u64) -> Markup {
    match value {
        Cell::Missing | Cell::Actions(_) => html! { span.none { "\u{2013}" } },
        Cell::Text(text) => html! { (plain(text)) },
        Cell::Link(text, href) => html! { a href=(href) { (plain(text)) } },
        Cell::Number(number) => html! { (Grouped(*number)) },
        Cell::Measure(measure) => html! { (Measured(*measure)) },
        Cell::Secs(secs) => html! { (Lasts(*secs)) },
        Cell::At(at_ms) => html! {
            time datetime=(Timestamp(*at_ms)) title=(Timestamp(*at_ms)) data-at=(at_ms) {
                (TimeOfDay(*at_ms)) " UTC"
            }
        },
        Cell::Ends(ends_ms) => html! {
            time datetime=(Timestamp(*ends_ms)) title=(Timestamp(*ends_ms)) data-ends=(ends_ms) {
                @if *ends_ms <= now_ms { "ended" }
                @else { (Lasts(secs_between(now_ms, *ends_ms))) }
            }
        },
        Cell::Since(since_ms) => html! {
            time datetime=(Timestamp(*since_ms)) title=(Timestamp(*since_ms)) data-since=(since_ms) {
                (Lasts(secs_between(*since_ms, now_ms)))
            }
        },
        Cell::Level(level, words) => badge(*level, words),
    }
}
