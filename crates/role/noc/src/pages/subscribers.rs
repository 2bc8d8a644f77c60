//! `/subscribers`: one box for all that names a subscriber, and the list.

use homeport_api::admin::{FoundSubscriber, Match, Subscriber};

use super::{Seen, Sources, part, problem};
use crate::{
    format::{Grouped, Percent},
    limits::PARAMETER_OCTETS_MAX,
    target::{Parameters, subscriber_page},
    view::{Cell, Column, Level, Part, Row, Search, Table, View, What, number, text},
};

const COLUMNS: [Column; 6] = [
    text("home_address", "Home address"),
    text("nai", "NAI"),
    number("spi", "SPI"),
    text("key", "Key"),
    text("mobile_networks", "Mobile networks"),
    number("revision", "Revision"),
];

pub(super) async fn view(parameters: &Parameters, seen: &Seen, sources: &Sources) -> View {
    let asked = parameters.q.trim();
    let search = part(
        "search",
        "",
        What::Search(Search {
            path: "/subscribers",
            words: "Find a subscriber",
            example: "NAI, home address, care-of address or prefix",
            asked: asked.to_owned(),
        }),
    );
    let title = "Subscribers".to_owned();
    if asked.is_empty() {
        let listed = list(&parameters.page, seen, sources).await;
        return View { title, parts: vec![search, listed.unwrap_or_else(problem)], found: None };
    }
    match find(asked, &parameters.page, seen, sources).await {
        Ok((found, only)) => View { title, parts: vec![search, found], found: only },
        Err(error) => View { title, parts: vec![search, problem(error)], found: None },
    }
}

async fn list(token: &str, seen: &Seen, sources: &Sources) -> Result<Part, String> {
    if token.len() > PARAMETER_OCTETS_MAX {
        return Err("the page's token is too long to be one".to_owned());
    }
    let (subscribers, next) = sources.store(&seen.status)?.subscribers(token).await?;
    let next = next.map(|next| format!("/subscribers?page={}", Percent(&next)));
    let empty =
        "No subscribers: with authentication \u{201c}none\u{201d} none are needed; see Bindings.";
    Ok(table(&subscribers, empty, next))
}

/// What was found, and the page of the only one.
async fn find(
    asked: &str,
    token: &str,
    seen: &Seen,
    sources: &Sources,
) -> Result<(Part, Option<String>), String> {
    if asked.len().max(token.len()) > PARAMETER_OCTETS_MAX {
        return Err("what is looked for is too long to be anybody\u{2019}s".to_owned());
    }
    let answer = sources.store(&seen.status)?.find(asked, token).await?;
    let next = Some(answer.next_page_token).filter(|next| !next.is_empty());
    let only = match answer.found.as_slice() {
        [only] if token.is_empty() && next.is_none() => Some(subscriber_page(address_of(only))),
        _ => None,
    };
    let next =
        next.map(|next| format!("/subscribers?q={}&page={}", Percent(asked), Percent(&next)));
    let rows = answer.found.iter().map(found).collect();
    let empty = "Nobody: no NAI, home address, care-of address or mobile network is like that.";
    let note = format!("As of revision {}.", Grouped(answer.revision));
    let table = Table { columns: &FOUND, rows, empty, note, next };
    Ok((part("subscribers", "", What::Table(table)), only))
}

const FOUND: [Column; 6] = [
    text("home_address", "Home address"),
    text("nai", "NAI"),
    text("found_by", "Found by"),
    number("bindings", "Bindings"),
    text("care_of_addresses", "Care-of addresses"),
    text("key", "Key"),
];

fn address_of(found: &FoundSubscriber) -> &str {
    let of_record = found.subscriber.as_ref().map(|subscriber| subscriber.home_address.as_str());
    let of_bindings = found.bindings.as_ref().map(|home| home.home_address.as_str());
    of_record.or(of_bindings).unwrap_or_default()
}

fn found(found: &FoundSubscriber) -> Row {
    let address = address_of(found);
    let by: Vec<&str> = found.matches().map(word).collect();
    let bindings = found.bindings.as_ref().map(|home| home.bindings.as_slice()).unwrap_or_default();
    let care_of: Vec<&str> = bindings.iter().map(|one| one.care_of_address.as_str()).collect();
    let record = found.subscriber.as_ref();
    let cells = vec![
        Cell::Link(address.to_owned(), subscriber_page(address)),
        record.map_or(Cell::Missing, |record| Cell::some(&record.nai)),
        Cell::Text(by.join(", ")),
        Cell::Number(u64::try_from(bindings.len()).unwrap_or(u64::MAX)),
        Cell::some(&care_of.join(", ")),
        record.map_or(Cell::Missing, key),
    ];
    Row { cells, ..Row::default() }
}

const fn word(by: Match) -> &'static str {
    match by {
        Match::Unspecified => "something else",
        Match::Nai => "NAI",
        Match::HomeAddress => "home address",
        Match::Ipv4HomeAddress => "IPv4 home address",
        Match::CareOfAddress => "care-of address",
        Match::MobileNetwork => "mobile network",
    }
}

fn table(subscribers: &[Subscriber], empty: &'static str, next: Option<String>) -> Part {
    let rows = subscribers.iter().map(row).collect();
    let table = Table { columns: &COLUMNS, rows, empty, next, ..Table::default() };
    part("subscribers", "", What::Table(table))
}

fn row(subscriber: &Subscriber) -> Row {
    let link = subscriber_page(&subscriber.home_address);
    let cells = vec![
        Cell::Link(subscriber.home_address.clone(), link),
        Cell::some(&subscriber.nai),
        Cell::Text(subscriber.spi.to_string()),
        key(subscriber),
        Cell::some(&subscriber.mobile_networks.join(", ")),
        Cell::Number(subscriber.revision),
    ];
    Row { cells, ..Row::default() }
}

/// Whether there is a key; the key itself never leaves the store.
pub(super) fn key(subscriber: &Subscriber) -> Cell {
    if subscriber.key_present {
        Cell::text("stored")
    } else {
        Cell::Level(Level::Warning, "none".to_owned())
    }
}
