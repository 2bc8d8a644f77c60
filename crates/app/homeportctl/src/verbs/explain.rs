//! `homeportctl explain`: what the documents say about an alarm, a refusal, a check or a metric. They are the ones
//! of `docs`, put in when this is built, so that they are there when nothing else can be reached.

use serde_json::json;

use crate::{arguments::Format, failure::Failure, output};

/// A document, what it is about, and how it marks what it explains.
struct Document {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

const DOCUMENTS: [Document; 4] = [
    Document {
        path: "docs/operations/alarms.md",
        kind: "alarm",
        text: include_str!("../../../../../docs/operations/alarms.md"),
    },
    Document {
        path: "docs/operations/errors.md",
        kind: "refusal",
        text: include_str!("../../../../../docs/operations/errors.md"),
    },
    Document {
        path: "docs/operations/checks.md",
        kind: "check",
        text: include_str!("../../../../../docs/operations/checks.md"),
    },
    Document {
        path: "docs/metrics.md",
        kind: "metric",
        text: include_str!("../../../../../docs/metrics.md"),
    },
];

/// Names that are nearly what was asked for, at most.
const NEAREST_MAX: usize = 5;

/// What is said about one name.
#[derive(Debug)]
struct Entry {
    kind: &'static str,
    name: String,
    text: String,
    /// Where it stands.
    anchor: String,
}

pub(crate) fn run(format: Format, term: &str) -> Result<String, Failure> {
    let entries = entries();
    let asked = plain_name(term);
    let found: Vec<&Entry> =
        entries.iter().filter(|entry| entry.name.eq_ignore_ascii_case(asked)).collect();
    if found.is_empty() {
        return Err(unknown(asked, &entries));
    }
    if format == Format::Json {
        let one = |entry: &&Entry| {
            json!({
                "kind": entry.kind, "name": entry.name, "text": entry.text, "help": entry.anchor,
            })
        };
        return Ok(output::document(&found.iter().map(one).collect()));
    }
    let texts = found.iter().map(|entry| {
        format!("{} {}\n\n{}\n\nsee {}\n", entry.kind, entry.name, entry.text, entry.anchor)
    });
    Ok(texts.collect::<Vec<_>>().join("\n"))
}

/// As it is copied from elsewhere: an alarm with its subject, a link with its page, a metric with its labels.
fn plain_name(term: &str) -> &str {
    let term = term.rsplit_once('#').map_or(term, |(_, anchor)| anchor);
    term.split(['@', '{']).next().unwrap_or(term).trim()
}

fn unknown(asked: &str, entries: &[Entry]) -> Failure {
    let near = |entry: &Entry| {
        let (name, asked) = (entry.name.to_ascii_lowercase(), asked.to_ascii_lowercase());
        let is_part = !asked.is_empty() && name.contains(&asked);
        let distance = if is_part { 0 } else { strsim::damerau_levenshtein(&name, &asked) };
        (distance <= asked.len().max(3) / 2).then_some(distance)
    };
    let mut nearest: Vec<(usize, &str)> =
        entries.iter().filter_map(|entry| Some((near(entry)?, entry.name.as_str()))).collect();
    nearest.sort_unstable();
    nearest.dedup();
    let names: Vec<String> =
        nearest.iter().take(NEAREST_MAX).map(|(_, name)| format!("  {name}")).collect();
    let kinds = "alarm, refusal, check or metric";
    Failure::NotFound(match names.as_slice() {
        [] => format!("there is no {kinds} named {asked:?}; they stand in docs/operations"),
        names => format!("there is no {kinds} named {asked:?}; near it are\n{}", names.join("\n")),
    })
}

fn entries() -> Vec<Entry> {
    let read = |document: &Document| match document.kind {
        "metric" => rows(document),
        _ => sections(document),
    };
    DOCUMENTS.iter().flat_map(read).collect()
}

/// The sections whose headings are one name.
fn sections(document: &Document) -> Vec<Entry> {
    let mut found: Vec<Entry> = Vec::new();
    let mut is_inside = false;
    for line in document.text.lines() {
        if let Some(heading) = line.strip_prefix('#') {
            let name = heading.trim_start_matches('#').trim();
            is_inside = is_name(name);
            if is_inside {
                let anchor = format!("{}#{}", document.path, name.to_ascii_lowercase());
                let (kind, name) = (document.kind, name.to_owned());
                found.push(Entry { kind, name, text: String::new(), anchor });
            }
        } else if is_inside && let Some(entry) = found.last_mut() {
            entry.text += &format!("{}\n", spoken(line));
        }
    }
    for entry in &mut found {
        entry.text = entry.text.trim().to_owned();
    }
    found
}

/// `store-leader`, `IN_USE`, `HomeportNoLeader`; not a title of several words.
fn is_name(heading: &str) -> bool {
    let is_plain = heading.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    let inner = heading.chars().skip(1).any(|c| c.is_ascii_uppercase() || "-_".contains(c));
    is_plain && (inner || heading.chars().all(|c| c.is_ascii_lowercase()))
}

/// The rows of tables that begin with the name of a metric.
fn rows(document: &Document) -> Vec<Entry> {
    let mut anchor = document.path.to_owned();
    let mut found = Vec::new();
    for line in document.text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            let heading = heading.to_ascii_lowercase().replace(' ', "-");
            anchor = format!("{}#{heading}", document.path);
        }
        let cells: Vec<String> = line.split('|').map(|cell| spoken(cell.trim())).collect();
        let [_, name, kind, unit, labels, meaning, objects, _] = cells.as_slice() else { continue };
        if !name.starts_with("homeport_") {
            continue;
        }
        let mut text = format!("{meaning}.\n\n  type      {kind}\n");
        for (what, value) in [("unit", unit), ("labels", labels), ("RFC 4295", objects)] {
            if !value.is_empty() {
                text += &format!("  {what:<10}{value}\n");
            }
        }
        let (name, text, anchor) = (name.clone(), text.trim_end().to_owned(), anchor.clone());
        found.push(Entry { kind: document.kind, name, text, anchor });
    }
    found
}

/// Markdown as one reads it aloud: the words of links, without marks of emphasis.
fn spoken(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('[') {
        let link = after.split_once("](").and_then(|(words, after)| {
            let (_, after) = after.split_once(')')?;
            (!words.contains(']')).then_some((words, after))
        });
        text += before;
        match link {
            Some((words, after)) => {
                text += words;
                rest = after;
            }
            None => {
                text.push('[');
                rest = after;
            }
        }
    }
    text += rest;
    if text.starts_with("    ") {
        return text;
    }
    // Every other piece is code, whose asterisks are its own.
    let plain = |(place, piece): (usize, &str)| match place % 2 {
        0 => piece.replace('*', ""),
        _ => piece.to_owned(),
    };
    text.split('`').enumerate().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(term: &str) -> String {
        run(Format::Table, term).unwrap_or_else(|failure| panic!("{term}: {failure}"))
    }

    #[test]
    fn a_section_is_printed_as_text_with_its_place() {
        let alarm = text("HomeportNoLeader");
        assert!(
            alarm.starts_with("alarm HomeportNoLeader\n\ncritical. No replica leads."),
            "{alarm}"
        );
        assert!(alarm.contains("\nSee: homeportctl status:"), "{alarm}");
        assert!(!alarm.contains("](") && !alarm.contains('`') && !alarm.contains("###"), "{alarm}");
        assert!(text("filter_invalid").contains("nai = \"mn*\" AND"));
        assert!(alarm.ends_with("\n\nsee docs/operations/alarms.md#homeportnoleader\n"), "{alarm}");
        assert!(text("in_use").starts_with("refusal IN_USE\n\n"));
        assert!(text("store-leader").starts_with("check store-leader\n\n"));
        // As they are copied from a list or a link.
        assert_eq!(text("session-lost@forwarders/edge1"), text("session-lost"));
        assert_eq!(text("docs/operations/errors.md#in_use"), text("IN_USE"));
        let metric = text("homeport_forwarder_drops_total{reason=\"no_binding\"}");
        assert!(metric.contains("\n  type      counter\n  labels    reason"), "{metric}");
        assert!(metric.contains("\nsee docs/metrics.md#forwarder\n"), "{metric}");
    }

    #[test]
    fn all_that_the_documents_explain_is_found() {
        let entries = entries();
        for (kind, at_least) in [("alarm", 30), ("refusal", 15), ("check", 13), ("metric", 70)] {
            let found = entries.iter().filter(|entry| entry.kind == kind).count();
            assert!(found >= at_least, "{kind}: {found}");
        }
        for entry in &entries {
            assert!(!entry.text.is_empty(), "{}", entry.name);
            assert!(text(&entry.name).contains(&entry.anchor), "{}", entry.name);
        }
    }

    #[test]
    fn what_is_not_there_is_answered_with_what_is_near() {
        for (wrong, near) in [
            ("HomeportNoleder", "\n  HomeportNoLeader"),
            ("noleader", "\n  HomeportNoLeader"),
            ("stor-leader", "\n  store-leader"),
            ("homeport_forwarder_drops", "\n  homeport_forwarder_drops_total"),
        ] {
            let failure = run(Format::Table, wrong).unwrap_err();
            assert_eq!(failure.exit_code(), 1);
            assert!(failure.to_string().contains(near), "{failure}");
        }
        let failure = run(Format::Table, "frobnicate").unwrap_err().to_string();
        assert!(failure.contains("docs/operations"), "{failure}");
    }
}
