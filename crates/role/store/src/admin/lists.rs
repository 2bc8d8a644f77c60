//! What the lists of the admin API have in common: pages, filters, and their order.

mod filter;

use std::cmp::Ordering;
use std::net::Ipv6Addr;
use std::sync::Arc;

use homeport_binding::View;
use homeport_runtime::Task;
use tonic::Status;

use super::{Reason, Refused, page_size, wrong_token};
use crate::{Store, limits};

pub(crate) use filter::{Field, Filter, Kind, Test, net_of};

/// The order of every list that is asked for in no other.
const HOME_ADDRESS: &str = "home_address";

/// What a list is sorted by.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Key {
    Number(u64),
    Text(String),
}

/// A place in a list: a token is the one of the last record before the page.
type Cursor = (Key, Ipv6Addr);

/// How much of a list, of what, and in which order.
#[derive(Debug)]
pub(crate) struct Asked {
    size: usize,
    order: &'static str,
    descending: bool,
    after: Option<Cursor>,
    pub(crate) filter: Filter,
}

impl Asked {
    /// `orders` are the fields that the list can be sorted by, besides the home address.
    pub(crate) fn of(
        size: u32,
        token: &str,
        filter: Filter,
        order_by: &str,
        orders: &[(&'static str, Kind)],
    ) -> Result<Self, Status> {
        let (order, descending) = order_of(order_by, orders)?;
        let kind = orders.iter().find(|(name, _)| *name == order).map(|(_, kind)| *kind);
        let after = if token.is_empty() { None } else { Some(cursor_of(token, kind)?) };
        Ok(Self { size: page_size(size)?, order, descending, after, filter })
    }

    /// By home address, all of them: a page costs no more than it holds.
    pub(crate) fn is_plain(&self) -> bool {
        self.is_by_address() && self.filter.is_empty()
    }

    fn is_by_address(&self) -> bool {
        self.order == HOME_ADDRESS && !self.descending
    }

    /// The list need not be looked at before this.
    pub(crate) fn start(&self) -> Option<Ipv6Addr> {
        let after = self.after.as_ref().filter(|_| self.is_by_address());
        after.map(|(_, home_address)| *home_address)
    }

    /// The records of the page, which come in the order of their home addresses from [`Self::start`] on and
    /// match the filter; and the token of the next page, empty when this is the last one.
    pub(crate) fn page<R>(
        &self,
        records: impl Iterator<Item = (Ipv6Addr, R)>,
        key: impl Fn(&R, &'static str) -> Key,
    ) -> (Vec<R>, String) {
        let wanted = self.size.saturating_add(1);
        let placed = records.map(|(home_address, record)| {
            let key = match self.order {
                HOME_ADDRESS => Key::Number(0),
                order => key(&record, order),
            };
            ((key, home_address), record)
        });
        let rest = placed.filter(|(cursor, _)| {
            self.after.as_ref().is_none_or(|after| self.compare(cursor, after).is_gt())
        });
        let mut page: Vec<(Cursor, R)> = if self.is_by_address() {
            rest.take(wanted).collect()
        } else {
            self.first(rest, wanted)
        };
        let more = page.len() > self.size;
        page.truncate(self.size);
        let last = page.last().filter(|_| more);
        let token = last.map(|(cursor, _)| self.token(cursor)).unwrap_or_default();
        (page.into_iter().map(|(_, record)| record).collect(), token)
    }

    /// Never keeps more than twice as many as are wanted.
    fn first<R>(
        &self,
        records: impl Iterator<Item = (Cursor, R)>,
        wanted: usize,
    ) -> Vec<(Cursor, R)> {
        let mut kept = Vec::new();
        let shorten = |kept: &mut Vec<(Cursor, R)>| {
            kept.sort_unstable_by(|(one, _), (other, _)| self.compare(one, other));
            kept.truncate(wanted);
        };
        for record in records {
            kept.push(record);
            if kept.len() >= wanted.saturating_mul(2) {
                shorten(&mut kept);
            }
        }
        shorten(&mut kept);
        kept
    }

    fn compare(&self, one: &Cursor, other: &Cursor) -> Ordering {
        let order = one.cmp(other);
        if self.descending { order.reverse() } else { order }
    }

    fn token(&self, (key, home_address): &Cursor) -> String {
        match key {
            _ if self.order == HOME_ADDRESS => home_address.to_string(),
            Key::Number(number) => format!("{home_address} {number}"),
            Key::Text(text) => format!("{home_address} {text}"),
        }
    }
}

fn cursor_of(token: &str, kind: Option<Kind>) -> Result<Cursor, Status> {
    let Some(kind) = kind else {
        let home_address = token.parse().map_err(|_| wrong_token())?;
        return Ok((Key::Number(0), home_address));
    };
    let (home_address, key) = token.split_once(' ').ok_or_else(wrong_token)?;
    let key = match kind {
        Kind::Number => Key::Number(key.parse().map_err(|_| wrong_token())?),
        Kind::Text | Kind::Address | Kind::Flag => Key::Text(key.to_owned()),
    };
    Ok((key, home_address.parse().map_err(|_| wrong_token())?))
}

fn order_of(
    order_by: &str,
    orders: &[(&'static str, Kind)],
) -> Result<(&'static str, bool), Status> {
    let mut words = order_by.split_whitespace();
    let field = words.next().unwrap_or(HOME_ADDRESS);
    let names = || std::iter::once(HOME_ADDRESS).chain(orders.iter().map(|(name, _)| *name));
    let wrong = |message: String| Refused::of_field(Reason::FilterInvalid, "order_by", &message);
    let Some(order) = names().find(|name| *name == field) else {
        let at = order_by.find(field).map_or(1, |at| at.saturating_add(1));
        let names = names().collect::<Vec<_>>().join(", ");
        let message = format!("character {at}: no order by {field:?}; there are: {names}");
        return Err(wrong(message).with("position", at).status());
    };
    match (words.next(), words.next()) {
        (None | Some("asc"), None) => Ok((order, false)),
        (Some("desc"), None) => Ok((order, true)),
        (word, more) => {
            let word =
                if word.is_some_and(|word| matches!(word, "asc" | "desc")) { more } else { word };
            let word = word.unwrap_or_default();
            let at = order_by.rfind(word).map_or(1, |at| at.saturating_add(1));
            let message =
                format!("character {at}: found {word:?}; expected one field, and desc or nothing");
            Err(wrong(message).with("position", at).status())
        }
    }
}

/// Looks through all subscribers or home addresses, beside the state machine, which goes on: few at once do
/// that.
pub(crate) async fn search<T: Send + 'static>(
    store: &Store,
    look: impl FnOnce(&View) -> T + Send + 'static,
) -> Result<T, Status> {
    let busy = || Refused::new(Reason::SearchBusy, "this replica searches for others").status();
    let place = Arc::clone(&store.searches).acquire_owned();
    let place = tokio::time::timeout(limits::SEARCH_WAIT_MAX, place).await;
    let Ok(Ok(place)) = place else { return Err(busy()) };
    let view = store.node.read(|machine| machine.cache.view());
    let searched = Task::spawn_blocking("search", move || {
        let _place = place;
        look(&view)
    });
    searched.await.map_err(|error| Refused::new(Reason::Internal, error.to_string()).status())
}

#[cfg(test)]
mod tests;
