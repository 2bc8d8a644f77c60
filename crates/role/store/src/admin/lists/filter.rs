//! A small part of AIP-160: `field = value`, several joined by AND, and a `*` at the end of a value.

use std::net::{IpAddr, Ipv6Addr};

use homeport_binding::{Ipv4Prefix, Ipv6Prefix};
use ipnet::IpNet;
use tonic::Status;

use super::super::{Reason, Refused};
use crate::limits;

/// What the values of a field are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Text,
    /// An address or a prefix, IPv6 or IPv4.
    Address,
    Number,
    /// `true` or `false`.
    Flag,
}

/// A field that a list can be filtered by.
pub(crate) type Field = (&'static str, Kind);

/// All of its terms hold.
#[derive(Debug, Default)]
pub(crate) struct Filter(Vec<(&'static str, Test)>);

/// What a field's value must be.
#[derive(Debug, PartialEq)]
pub(crate) enum Test {
    Text {
        text: String,
        begins: bool,
    },
    /// Lies in it, or holds it.
    Net(IpNet),
    Number(u64),
    Flag(bool),
}

impl Filter {
    /// An empty text lets everything through.
    pub(crate) fn of(text: &str, fields: &[Field]) -> Result<Self, Status> {
        let mut reader = Reader { text, at: 0 };
        let mut terms = Vec::new();
        reader.skip_spaces();
        if reader.rest().is_empty() {
            return Ok(Self::default());
        }
        if text.len() > limits::FILTER_LEN_MAX {
            let message = format!("more than {} octets", limits::FILTER_LEN_MAX);
            return Err(wrong(text, limits::FILTER_LEN_MAX, &message));
        }
        loop {
            terms.push(reader.term(fields)?);
            reader.skip_spaces();
            if reader.rest().is_empty() {
                return Ok(Self(terms));
            }
            let at = reader.at;
            if reader.word() != "AND" {
                return Err(wrong(text, at, "expected AND, or the end"));
            }
            reader.skip_spaces();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all terms hold by this judgement of one.
    pub(crate) fn holds(&self, test: impl Fn(&'static str, &Test) -> bool) -> bool {
        self.0.iter().all(|(field, wanted)| test(field, wanted))
    }
}

impl Test {
    pub(crate) fn text(&self, value: &str) -> bool {
        match self {
            Self::Text { text, begins: true } => value.starts_with(text),
            Self::Text { text, begins: false } => value == text,
            Self::Net(_) | Self::Number(_) | Self::Flag(_) => false,
        }
    }

    pub(crate) fn address(&self, value: impl Into<IpAddr>) -> bool {
        let value = value.into();
        match self {
            Self::Net(net) => net.contains(&value),
            Self::Text { .. } => self.text(&value.to_string()),
            Self::Number(_) | Self::Flag(_) => false,
        }
    }

    pub(crate) fn ipv6_prefix(&self, value: Ipv6Prefix) -> bool {
        match self {
            Self::Net(IpNet::V6(net)) => Ipv6Prefix::new(net.addr(), net.prefix_len())
                .is_some_and(|wanted| wanted.overlaps(value)),
            Self::Text { .. } => self.text(&value.to_string()),
            Self::Net(IpNet::V4(_)) | Self::Number(_) | Self::Flag(_) => false,
        }
    }

    pub(crate) fn ipv4_prefix(&self, value: Ipv4Prefix) -> bool {
        match self {
            Self::Net(IpNet::V4(net)) => Ipv4Prefix::new(net.addr(), net.prefix_len())
                .is_some_and(|wanted| wanted.overlaps(value)),
            Self::Text { .. } => self.text(&value.to_string()),
            Self::Net(IpNet::V6(_)) | Self::Number(_) | Self::Flag(_) => false,
        }
    }

    pub(crate) fn number(&self, value: u64) -> bool {
        *self == Self::Number(value)
    }

    pub(crate) fn flag(&self, value: bool) -> bool {
        *self == Self::Flag(value)
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn wrong(&self, at: usize, message: &str) -> Status {
        wrong(self.text, at, message)
    }

    fn skip_spaces(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    /// Up to a space or an equals sign.
    fn word(&mut self) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    fn term(&mut self, fields: &[Field]) -> Result<(&'static str, Test), Status> {
        let at = self.at;
        let name = self.word();
        let Some((field, kind)) = fields.iter().find(|(field, _)| *field == name) else {
            let names = fields.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            return Err(self.wrong(at, &format!("no field {name:?}; there are: {names}")));
        };
        self.skip_spaces();
        if !self.rest().starts_with('=') {
            return Err(self.wrong(self.at, &format!("expected = and a value of {field}")));
        }
        self.at += 1;
        self.skip_spaces();
        let at = self.at;
        let (value, begins) = self.value()?;
        Ok((field, test(*kind, value, begins).map_err(|expected| self.wrong(at, &expected))?))
    }

    /// The value, and whether a `*` follows it.
    fn value(&mut self) -> Result<(String, bool), Status> {
        let at = self.at;
        let value = if let Some(rest) = self.rest().strip_prefix('"') {
            let Some(end) = rest.find('"') else {
                return Err(self.wrong(at, "the quote has no end"));
            };
            self.at += end + 2;
            rest.get(..end).unwrap_or_default()
        } else {
            let rest = self.rest();
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            self.at += end;
            rest.get(..end).unwrap_or_default()
        };
        if value.is_empty() && !self.text.get(at..).is_some_and(|rest| rest.starts_with('"')) {
            return Err(self.wrong(at, "expected a value"));
        }
        let (text, begins) = match value.strip_suffix('*') {
            Some(text) => (text, true),
            None => (value, false),
        };
        if let Some(star) = text.find('*') {
            return Err(self.wrong(at + star, "a * is possible at the end of a value only"));
        }
        Ok((text.to_owned(), begins))
    }
}

fn test(kind: Kind, text: String, begins: bool) -> Result<Test, String> {
    match kind {
        Kind::Text => Ok(Test::Text { text, begins }),
        Kind::Address if begins => Ok(Test::Text { text: text.to_ascii_lowercase(), begins }),
        Kind::Address => {
            let net = net_of(&text);
            net.map(Test::Net).ok_or_else(|| format!("{text:?} is no address and no prefix"))
        }
        Kind::Number if !begins => {
            text.parse().map(Test::Number).map_err(|_| format!("{text:?} is no number"))
        }
        Kind::Flag if !begins => {
            text.parse().map(Test::Flag).map_err(|_| format!("{text:?} is neither true nor false"))
        }
        Kind::Number | Kind::Flag => Err("a * is possible for texts and addresses only".to_owned()),
    }
}

/// An address, or a prefix; its host bits do not matter.
pub(crate) fn net_of(text: &str) -> Option<IpNet> {
    let net = text.parse::<IpNet>().map(|net| net.trunc());
    let net = net.ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    // Written as IPv6, but meant as IPv4.
    match net {
        Some(IpNet::V6(net)) if net.prefix_len() == 128 => {
            let mapped = Ipv6Addr::to_ipv4_mapped(&net.addr());
            Some(mapped.map_or(IpNet::V6(net), |address| IpNet::from(IpAddr::V4(address))))
        }
        net => net,
    }
}

/// Positions are counted in characters from 1.
fn wrong(text: &str, octets: usize, message: &str) -> Status {
    let before = text.char_indices().take_while(|(at, _)| *at < octets).count();
    let at = before.saturating_add(1);
    let message = format!("character {at}: {message}");
    Refused::of_field(Reason::FilterInvalid, "filter", &message).with("position", at).status()
}
