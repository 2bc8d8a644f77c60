//! `/subscribers`: one box for all that names a subscriber, and the list.

use std::net::Ipv6Addr;

use homeport_api::admin::Subscriber;

use super::{Seen, Sources, part, problem};
use crate::{
    format::Percent,
    limits::PARAMETER_OCTETS_MAX,
    target::{Parameters, subscriber_page},
    view::{Cell, Column, Level, Part, Row, Table, View, What, number, text},
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
    let mut parts = vec![part("search", "", What::Search(asked.to_owned()))];
    let found = if asked.is_empty() {
        list(&parameters.page, seen, sources).await
    } else {
        find(asked, seen, sources).await
    };
    parts.push(found.unwrap_or_else(problem));
    View { title: "Subscribers".to_owned(), parts }
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

async fn find(asked: &str, seen: &Seen, sources: &Sources) -> Result<Part, String> {
    let start: String = asked.chars().take(60).collect();
    let address = asked.parse::<Ipv6Addr>();
    let address = address.map_err(|_| format!("\u{201c}{start}\u{201d} is not an IPv6 address"))?;
    let found = sources.store(&seen.status)?.subscriber(&address.to_string()).await?;
    Ok(table(found.as_slice(), "Nobody has this home address.", None))
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
