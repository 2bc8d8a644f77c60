//! `/events`: what has happened, newest first, as far back as a replica remembers.

use std::net::Ipv6Addr;

use homeport_api::admin::{Event, EventKind};

use super::{Seen, Sources, part, problem};
use crate::{
    format::Percent,
    limits::{PARAMETER_OCTETS_MAX, ROWS_PER_PAGE, SUBSCRIBER_EVENTS_MAX},
    stores::Store,
    target::{Parameters, subscriber_page},
    view::{Cell, Column, Level, Part, Row, Search, Table, View, What, number, text},
};

const COLUMNS: [Column; 8] = [
    text("at", "When"),
    text("kind", "What"),
    text("home_address", "Home address"),
    text("care_of_address", "Care-of address"),
    number("status", "Status"),
    text("text", "Text"),
    text("rfc_section", "Rule"),
    text("resource", "Resource"),
];

pub(super) async fn view(parameters: &Parameters, seen: &Seen, sources: &Sources) -> View {
    let asked = parameters.q.trim();
    let search = Search {
        path: "/events",
        words: "Events of a subscriber",
        example: "Only those of this NAI or address",
        asked: asked.to_owned(),
    };
    let found = found(asked, &parameters.page, seen, sources).await;
    let search = part("search", "", What::Search(search));
    View::new("Events", vec![search, found.unwrap_or_else(problem)])
}

async fn found(asked: &str, token: &str, seen: &Seen, sources: &Sources) -> Result<Part, String> {
    if asked.len().max(token.len()) > PARAMETER_OCTETS_MAX {
        return Err("this is too long to be anybody's, or a page's token".to_owned());
    }
    let store = sources.store(&seen.status)?;
    let home_address = home_address(asked, store).await?;
    list(&home_address, "", ROWS_PER_PAGE, token, store).await
}

/// Whom it names; nobody when nothing is asked.
async fn home_address(asked: &str, store: &Store) -> Result<String, String> {
    if asked.is_empty() || asked.parse::<Ipv6Addr>().is_ok() {
        return Ok(asked.to_owned());
    }
    let answer = store.find(asked, "").await?;
    let named = answer.found.iter().filter_map(|one| {
        let of_record = one.subscriber.as_ref().map(|record| &record.home_address);
        of_record.or(one.bindings.as_ref().map(|home| &home.home_address))
    });
    let named: Vec<&String> = named.collect();
    match named.as_slice() {
        [only] => Ok((*only).clone()),
        [] => Err(format!("{asked} is nobody's; expected an NAI or an address of one subscriber")),
        _ => Err(format!("{asked} is that of several; expected an NAI or an address of one")),
    }
}

/// The last events of a subscriber, for its page.
pub(super) async fn of_one(home_address: &str, store: &Store) -> Part {
    let size = SUBSCRIBER_EVENTS_MAX;
    let listed = list(home_address, "Last events", size, "", store).await;
    // Its page may have a problem already.
    listed.unwrap_or_else(|error| part("events", "Last events", What::Note(Level::Major, error)))
}

async fn list(
    home_address: &str,
    heading: &'static str,
    size: u32,
    token: &str,
    store: &Store,
) -> Result<Part, String> {
    let answer = store.events(home_address, size, token).await;
    let failed = |error| format!("{} does not list events: {error}", store.endpoint);
    let (events, next) = answer.map_err(failed)?;
    let rows = events.iter().map(row).collect();
    let home = Percent(home_address);
    let next = next.map(|next| format!("/events?q={home}&page={}", Percent(&next)));
    let note = format!("As {} remembers it.", store.endpoint);
    let table = Table { columns: &COLUMNS, rows, empty: "Nothing is remembered.", note, next };
    Ok(part("events", heading, What::Table(table)))
}

fn row(event: &Event) -> Row {
    let (level, kind) = kind(event.kind());
    let home = Some(&event.home_address).filter(|home| !home.is_empty());
    let status = Some(event.status).filter(|status| *status != 0);
    let cells = vec![
        Cell::At(event.at_ms),
        if level == Level::Plain { Cell::text(kind) } else { Cell::Level(level, kind.to_owned()) },
        Cell::known(home, |home| Cell::Link(home.clone(), subscriber_page(home))),
        Cell::some(&event.care_of_address),
        Cell::known(status, |status| Cell::Number(status.into())),
        Cell::some(&event.text),
        Cell::some(&event.rfc_section),
        Cell::some(&event.resource),
    ];
    Row { cells, ..Row::default() }
}

/// A kind of a newer store is none that this dashboard knows.
const fn kind(kind: EventKind) -> (Level, &'static str) {
    match kind {
        EventKind::Unspecified => (Level::Unknown, "unknown"),
        EventKind::Registered => (Level::Plain, "registered"),
        EventKind::Moved => (Level::Plain, "moved"),
        EventKind::Deregistered => (Level::Plain, "de-registered"),
        EventKind::Ended => (Level::Plain, "lifetime ended"),
        EventKind::Refused => (Level::Warning, "refused"),
        EventKind::Dropped => (Level::Warning, "dropped"),
        EventKind::SubscriberDeleted => (Level::Plain, "subscriber deleted"),
        EventKind::LeaderChanged => (Level::Minor, "leader changed"),
        EventKind::NodeJoined => (Level::Plain, "node joined"),
        EventKind::NodeLeft => (Level::Minor, "node left"),
        EventKind::NodeDrained => (Level::Plain, "node drained"),
        EventKind::NodeUndrained => (Level::Plain, "node serves again"),
        EventKind::AlarmRaised => (Level::Major, "alarm raised"),
        EventKind::AlarmCleared => (Level::Good, "alarm cleared"),
    }
}
