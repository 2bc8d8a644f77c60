//! Finds subscribers by whatever an operator has at hand: one look through all of them.

use std::net::{IpAddr, Ipv6Addr};

use homeport_api::admin::{self as api, Match};
use homeport_binding::{CareOf, Home, Ipv4Prefix, Ipv6Prefix, Known, LogTime, Subscriber, View};
use ipnet::IpNet;
use tonic::Status;

use super::lists::net_of;
use super::{Reason, Refused, bindings, page_size, subscribers, wrong_token};
use crate::limits;

/// What is looked for.
#[derive(Debug, PartialEq)]
enum Query {
    /// Without regard to upper and lower case.
    Nai {
        text: String,
        begins: bool,
    },
    Ipv6(Ipv6Prefix),
    Ipv4(Ipv4Prefix),
}

/// How a Network Access Identifier matches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum How {
    Exactly,
    Begins,
}

/// One page of what is found.
#[derive(Debug)]
pub(crate) struct Search {
    query: Query,
    size: usize,
    after: Option<(How, Ipv6Addr)>,
}

impl Search {
    pub(crate) fn of(query: &str, size: u32, token: &str) -> Result<Self, Status> {
        let query = query_of(query.trim())?;
        let after = if token.is_empty() { None } else { Some(cursor_of(token)?) };
        Ok(Self { query, size: page_size(size)?, after })
    }

    /// Keeps no more than two pages, whatever matches.
    pub(crate) fn look(&self, view: &View) -> api::FindSubscribersResponse {
        let wanted = self.size.saturating_add(1);
        let wanted_how = match (&self.query, self.after) {
            (_, Some((how, _))) => Some(how),
            (Query::Nai { begins: false, .. }, None) => None,
            _ => Some(How::Begins),
        };
        let (mut exactly, mut begins) = (Vec::new(), Vec::new());
        for known in view.known_after(self.after.map(|(_, home_address)| home_address)) {
            let Some((how, matches)) = self.query.matches(&known) else { continue };
            let found = match how {
                // Where all that begin so are wanted, these do.
                How::Exactly if wanted_how != Some(How::Begins) => &mut exactly,
                _ => &mut begins,
            };
            if found.len() < wanted {
                found.push((known, matches));
            }
            let is_done = match wanted_how {
                Some(How::Begins) => begins.len() == wanted,
                Some(How::Exactly) | None => exactly.len() == wanted,
            };
            if is_done {
                break;
            }
        }
        let (how, mut page) = match wanted_how {
            Some(How::Begins) => (How::Begins, begins),
            Some(How::Exactly) => (How::Exactly, exactly),
            // Who has it; and only when nobody has, whose begins so.
            None if exactly.is_empty() => (How::Begins, begins),
            None => (How::Exactly, exactly),
        };
        let more = page.len() > self.size;
        page.truncate(self.size);
        let last = page.last().filter(|_| more);
        let next_page_token = last.map(|(known, _)| token(how, known.home_address));
        let now = bindings::now(view.now);
        api::FindSubscribersResponse {
            found: page.iter().map(|(known, matches)| message_of(known, matches, now)).collect(),
            next_page_token: next_page_token.unwrap_or_default(),
            revision: view.revision,
        }
    }
}

impl Query {
    /// `None` when nothing of it is what is looked for.
    fn matches(&self, known: &Known<'_>) -> Option<(How, Vec<Match>)> {
        let record = known.subscriber.map(|subscriber| &subscriber.record);
        let home = known.home.filter(|home| !home.bindings.is_empty());
        let how = match self {
            Self::Nai { text, .. } => return Some((nai(&record?.nai, text)?, vec![Match::Nai])),
            Self::Ipv6(_) | Self::Ipv4(_) => How::Begins,
        };
        if record.is_none() && home.is_none() {
            return None;
        }
        let rows = match self {
            Self::Nai { .. } => return None,
            Self::Ipv6(wanted) => [
                (Match::HomeAddress, wanted.contains(known.home_address)),
                (Match::CareOfAddress, home.is_some_and(|home| has_care_of_v6(home, *wanted))),
                (Match::MobileNetwork, has_network(record, home, *wanted)),
            ],
            Self::Ipv4(wanted) => [
                (Match::Ipv4HomeAddress, has_ipv4(record, home, *wanted)),
                (Match::CareOfAddress, home.is_some_and(|home| has_care_of_v4(home, *wanted))),
                (Match::Unspecified, false),
            ],
        };
        if rows.iter().all(|(_, is_so)| !is_so) {
            return None;
        }
        Some((how, rows.into_iter().filter(|(_, is_so)| *is_so).map(|(it, _)| it).collect()))
    }
}

fn nai(nai: &str, wanted: &str) -> Option<How> {
    let begin = nai.as_bytes().get(..wanted.len())?;
    let begins = begin.eq_ignore_ascii_case(wanted.as_bytes());
    begins.then_some(if nai.len() == wanted.len() { How::Exactly } else { How::Begins })
}

fn has_care_of_v6(home: &Home, wanted: Ipv6Prefix) -> bool {
    home.bindings.values().any(|binding| match binding.care_of {
        CareOf::Ipv6(address) => wanted.contains(address),
        CareOf::Ipv4 { .. } => false,
    })
}

/// Behind a NAT, by both of its addresses.
fn has_care_of_v4(home: &Home, wanted: Ipv4Prefix) -> bool {
    home.bindings.values().any(|binding| match binding.care_of {
        CareOf::Ipv6(_) => false,
        CareOf::Ipv4 { address, announced, .. } => {
            wanted.contains(address) || wanted.contains(announced)
        }
    })
}

fn has_network(record: Option<&Subscriber>, home: Option<&Home>, wanted: Ipv6Prefix) -> bool {
    let own = record.into_iter().flat_map(|record| &record.mobile_networks);
    let in_force = home.into_iter().flat_map(|home| &home.mobile_networks);
    own.chain(in_force).any(|network| network.overlaps(wanted))
}

fn has_ipv4(record: Option<&Subscriber>, home: Option<&Home>, wanted: Ipv4Prefix) -> bool {
    let own = record.and_then(|record| record.ipv4_home_address);
    let held = home.and_then(|home| home.ipv4_home_address);
    own.into_iter().chain(held).any(|prefix| prefix.overlaps(wanted))
}

fn query_of(query: &str) -> Result<Query, Status> {
    let wrong =
        |message: &str| Err(Refused::of_field(Reason::FilterInvalid, "query", message).status());
    if query.is_empty() {
        return wrong("missing; expected an NAI, an address or a prefix");
    }
    if query.len() > limits::QUERY_LEN_MAX {
        return wrong(&format!("more than {} octets", limits::QUERY_LEN_MAX));
    }
    let net = net_of(query);
    let found = match net {
        Some(IpNet::V6(net)) => Ipv6Prefix::new(net.addr(), net.prefix_len()).map(Query::Ipv6),
        Some(IpNet::V4(net)) => Ipv4Prefix::new(net.addr(), net.prefix_len()).map(Query::Ipv4),
        None => None,
    };
    if let Some(found) = found {
        return Ok(found);
    }
    let looks_like_a_prefix = query.split_once('/').map(|(address, _)| address.parse::<IpAddr>());
    if matches!(looks_like_a_prefix, Some(Ok(_))) {
        let at = query.find('/').map_or(1, |at| at.saturating_add(2));
        return wrong(&format!("character {at}: not the length of a prefix"));
    }
    let (text, begins) = match query.strip_suffix('*') {
        Some(text) => (text, true),
        None => (query, false),
    };
    if let Some(star) = text.find('*') {
        let at = text.char_indices().take_while(|(at, _)| *at < star).count().saturating_add(1);
        return wrong(&format!("character {at}: a * is possible at the end only"));
    }
    Ok(Query::Nai { text: text.to_owned(), begins })
}

fn token(how: How, home_address: Ipv6Addr) -> String {
    match how {
        How::Exactly => format!("={home_address}"),
        How::Begins => format!("~{home_address}"),
    }
}

fn cursor_of(token: &str) -> Result<(How, Ipv6Addr), Status> {
    let how = match token.get(..1) {
        Some("=") => How::Exactly,
        Some("~") => How::Begins,
        _ => return Err(wrong_token()),
    };
    let home_address = token.get(1..).unwrap_or_default().parse();
    Ok((how, home_address.map_err(|_| wrong_token())?))
}

fn message_of(known: &Known<'_>, matches: &[Match], now: LogTime) -> api::FoundSubscriber {
    let bound = known.home.filter(|home| !home.bindings.is_empty());
    api::FoundSubscriber {
        subscriber: known.subscriber.map(subscribers::message_of),
        bindings: bound.map(|home| bindings::message_of(known.home_address, home, now)),
        matches: matches.iter().map(|it| i32::from(*it)).collect(),
    }
}

#[cfg(test)]
mod tests;
