//! `/alarms`: what is wrong now, and what was; `/alarms/help`: what to do about it.

use homeport_api::admin::{Alarm, AlarmChange, AlarmMark, AlarmSeverity, AlarmStep};

use super::{Seen, Sources, part, problem};
use crate::{
    format::{Percent, TimeOfDay},
    limits::PARAMETER_OCTETS_MAX,
    status::Status,
    target::Parameters,
    view::{Action, Cell, Column, Level, Part, Row, Table, View, What, text},
};

/// What is written of each kind of alarm, for people.
const SECTIONS: &str = include_str!("../../../../../docs/operations/alarms.md");

/// The chapter of [`SECTIONS`] that is about these.
const CHAPTER: &str = "## Alarms that the cluster keeps itself";

const ALARMS: [Column; 9] = [
    text("severity", "Severity"),
    text("resource", "Resource"),
    text("kind", "Alarm"),
    text("text", "What is the matter"),
    text("raised", "For"),
    text("cleared", "Ended"),
    text("acknowledged", "Acknowledged by"),
    text("help", "What to do"),
    text("deeds", ""),
];

pub(super) async fn view(parameters: &Parameters, seen: &Seen, sources: &Sources) -> View {
    let status = &seen.status;
    let (shelved, shown): (Vec<&Alarm>, Vec<&Alarm>) =
        status.alarms.iter().partition(|alarm| is_shelved(alarm, status));
    let mut parts = Vec::new();
    if let Some(error) = &status.alarms_error {
        parts.push(part("unread", "", What::Note(Level::Major, format!("No alarms: {error}"))));
    }
    let empty = if status.alarms_error.is_some() { "Not known." } else { "No alarm." };
    parts.push(part("alarms", "", table(&shown, false, empty)));
    if !shelved.is_empty() {
        parts.push(part("shelved", "Shelved", table(&shelved, true, "None.")));
    }
    parts.push(history(&parameters.page, seen, sources).await.unwrap_or_else(problem));
    View::new("Alarms", parts)
}

/// How many last now, by severity; none when that is not known.
pub(super) fn counts(status: &Status) -> Option<[(Level, usize); 4]> {
    if status.taken_ms == 0 || status.alarms_error.is_some() {
        return None;
    }
    let lasts = |alarm: &&Alarm| alarm.cleared_ms.is_none() && !is_shelved(alarm, status);
    let severities =
        || status.alarms.iter().filter(lasts).map(|alarm| of_severity(alarm.severity()));
    let of = |level| (level, severities().filter(|of| *of == level).count());
    Some([Level::Critical, Level::Major, Level::Minor, Level::Warning].map(of))
}

/// A shelf ends by itself.
fn is_shelved(alarm: &Alarm, status: &Status) -> bool {
    alarm.shelved.is_some() && alarm.shelved_until_ms > status.taken_ms
}

fn table(alarms: &[&Alarm], is_shelved: bool, empty: &'static str) -> What {
    let rows = alarms.iter().map(|alarm| row(alarm, is_shelved)).collect();
    What::Table(Table { columns: &ALARMS, rows, empty, ..Table::default() })
}

/// A severity of a newer store is none that this dashboard knows.
const fn of_severity(severity: AlarmSeverity) -> Level {
    match severity {
        AlarmSeverity::Unspecified => Level::Unknown,
        AlarmSeverity::Critical => Level::Critical,
        AlarmSeverity::Major => Level::Major,
        AlarmSeverity::Minor => Level::Minor,
        AlarmSeverity::Warning => Level::Warning,
    }
}

fn row(alarm: &Alarm, is_shelved: bool) -> Row {
    let severity = of_severity(alarm.severity());
    // One that has ended waits only to be seen.
    let level = if alarm.cleared_ms.is_some() { Level::Plain } else { severity };
    let help = format!("/alarms/help#part-{}", Percent(&alarm.kind));
    let cells = vec![
        Cell::Level(severity, severity.word().to_owned()),
        Cell::text(&alarm.resource),
        Cell::text(&alarm.kind),
        Cell::text(&alarm.text),
        Cell::Since(alarm.raised_ms),
        Cell::known(alarm.cleared_ms, Cell::At),
        Cell::known(alarm.acknowledged.as_ref(), mark),
        Cell::Link(alarm.help.clone(), help),
        deeds(alarm, is_shelved),
    ];
    Row { cells, level }
}

/// For who is logged in.
fn deeds(alarm: &Alarm, is_shelved: bool) -> Cell {
    let deed = |path, words| Action { path, name: alarm.name.clone(), words, sure: "" };
    let shelf = if is_shelved {
        deed("/act/unshelve", "Show again")
    } else {
        deed("/act/shelve", "Shelve for 8 h")
    };
    let note = alarm.acknowledged.is_none().then(|| deed("/act/acknowledge", "Acknowledge"));
    Cell::Actions(note.into_iter().chain([shelf]).collect())
}

fn mark(mark: &AlarmMark) -> Cell {
    let AlarmMark { by, at_ms, comment } = mark;
    let comment = if comment.is_empty() { String::new() } else { format!(": {comment}") };
    Cell::Text(format!("{by} at {} UTC{comment}", TimeOfDay(*at_ms)))
}

const HISTORY: [Column; 6] = [
    text("at", "When"),
    text("severity", "Severity"),
    text("step", "What happened"),
    text("name", "Alarm"),
    text("by", "By"),
    text("text", "Text"),
];

async fn history(token: &str, seen: &Seen, sources: &Sources) -> Result<Part, String> {
    if token.len() > PARAMETER_OCTETS_MAX {
        return Err("the page's token is too long to be one".to_owned());
    }
    let store = sources.store(&seen.status)?;
    let answer = store.alarm_history(token).await;
    let failed = |error| format!("{} does not list what alarms were: {error}", store.endpoint);
    let (changes, next) = answer.map_err(failed)?;
    let rows = changes.iter().map(change).collect();
    let next = next.map(|next| format!("/alarms?page={}", Percent(&next)));
    let (columns, empty) = (&HISTORY, "No alarm has ever been raised.");
    let table = Table { columns, rows, empty, next, ..Table::default() };
    Ok(part("history", "History", What::Table(table)))
}

fn change(change: &AlarmChange) -> Row {
    let step = match change.step() {
        AlarmStep::Unspecified => "unknown",
        AlarmStep::Raised => "raised",
        AlarmStep::Changed => "changed",
        AlarmStep::Cleared => "cleared",
        AlarmStep::Acknowledged => "acknowledged",
        AlarmStep::Shelved => "shelved",
        AlarmStep::Unshelved => "unshelved",
        AlarmStep::Commented => "commented",
    };
    let level = of_severity(change.severity());
    let cells = vec![
        Cell::At(change.at_ms),
        Cell::Level(level, level.word().to_owned()),
        Cell::text(step),
        Cell::text(&change.name),
        Cell::some(&change.by),
        Cell::some(&change.text),
    ];
    Row { cells, ..Row::default() }
}

/// The chapter, a part for each kind.
pub(super) fn help() -> View {
    let (_, chapter) = SECTIONS.split_once(CHAPTER).unwrap_or(("", SECTIONS));
    let sections = chapter.split("\n### ").skip(1);
    let part = |section: &'static str| {
        let (kind, text) = section.split_once('\n').unwrap_or((section, ""));
        let paragraphs = text.split("\n\n").map(unmarked).filter(|one| !one.is_empty());
        part(kind, kind, What::Text(paragraphs.collect()))
    };
    View::new("What to do about alarms", sections.map(part).collect())
}

/// A paragraph of Markdown as it is read.
fn unmarked(paragraph: &str) -> String {
    let words: Vec<&str> = paragraph.split_whitespace().collect();
    let text = words.join(" ").replace(['*', '`'], "");
    // Links within the document lead to nothing here, but their words are names.
    let mut parts = text.split("](");
    let first = parts.next().unwrap_or_default().to_owned();
    let rest = parts.map(|part| part.split_once(')').map_or(part, |(_, after)| after));
    rest.fold(first, |text, part| text + part).replace('[', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shelf_ends_and_what_has_ended_is_not_counted() {
        let alarm = |severity: AlarmSeverity, cleared_ms, shelved_until_ms| Alarm {
            severity: severity.into(),
            cleared_ms,
            shelved: (shelved_until_ms > 0).then(AlarmMark::default),
            shelved_until_ms,
            ..Alarm::default()
        };
        let alarms = vec![
            alarm(AlarmSeverity::Critical, None, 0),
            alarm(AlarmSeverity::Critical, Some(5), 0),
            alarm(AlarmSeverity::Major, None, 1_000),
            alarm(AlarmSeverity::Warning, None, 999),
        ];
        let mut status = Status { alarms, taken_ms: 999, ..Status::default() };
        let numbers = |status: &Status| counts(status).map(|all| all.map(|(_, count)| count));
        assert_eq!(numbers(&status), Some([1, 0, 0, 1]));
        status.taken_ms = 1_000;
        assert_eq!(numbers(&status), Some([1, 1, 0, 1]));
        status.alarms_error = Some("gone".to_owned());
        assert_eq!(numbers(&status), None);
        assert_eq!(numbers(&Status::default()), None);
    }

    #[test]
    fn each_kind_has_its_section_in_words() {
        let view = help();
        let ids: Vec<&str> = view.parts.iter().map(|part| part.id).collect();
        assert!(ids.contains(&"session-lost") && ids.contains(&"disk-low"), "{ids:?}");
        assert!(!ids.contains(&"HomeportDiskFull"), "{ids:?}");
        let text = unmarked("**major.** As\n[One](#one) of `x`, then\n[Two](#two).");
        assert_eq!(text, "major. As One of x, then Two.");
    }
}
