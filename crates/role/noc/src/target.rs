//! Addresses: which page, and in which of its three forms.

use std::net::Ipv6Addr;

use axum::{extract::Query, http::Uri};
use serde::Deserialize;

/// What an address names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) page: Page,
    pub(crate) format: Format,
    pub(crate) parameters: Parameters,
    /// Path and query, as they were asked for.
    pub(crate) address: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    Overview,
    Wall,
    Subscribers,
    Subscriber(Ipv6Addr),
    Bindings,
    Prefixes,
    Nodes,
    Topology,
    Kpis,
    Check,
    Alarms,
    AlarmHelp,
    Events,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Html,
    Csv,
    Json,
}

/// What may stand behind the question mark.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub(crate) struct Parameters {
    /// What is looked for.
    #[serde(default)]
    pub(crate) q: String,
    /// A later page, by its token.
    #[serde(default)]
    pub(crate) page: String,
    /// One table out of several, for exports.
    pub(crate) table: Option<String>,
}

impl Target {
    /// The page of an address, none when it names none.
    pub(crate) fn of(uri: &Uri) -> Option<Self> {
        let Query(parameters) = Query::<Parameters>::try_from_uri(uri).ok()?;
        let address = uri.path_and_query()?.as_str().to_owned();
        let path = uri.path();
        let (path, format) = match (path.strip_suffix(".csv"), path.strip_suffix(".json")) {
            (Some(path), _) => (path, Format::Csv),
            (None, Some(path)) => (path, Format::Json),
            (None, None) => (path, Format::Html),
        };
        let page = match path {
            "/" if format == Format::Html => Page::Overview,
            "/overview" if format != Format::Html => Page::Overview,
            "/wall" => Page::Wall,
            "/subscribers" => Page::Subscribers,
            "/bindings" => Page::Bindings,
            "/prefixes" => Page::Prefixes,
            "/nodes" => Page::Nodes,
            "/topology" => Page::Topology,
            "/kpis" => Page::Kpis,
            "/check" => Page::Check,
            "/alarms" => Page::Alarms,
            "/alarms/help" => Page::AlarmHelp,
            "/events" => Page::Events,
            other => Page::Subscriber(other.strip_prefix("/subscribers/")?.parse().ok()?),
        };
        Some(Self { page, format, parameters, address })
    }
}

/// Where a subscriber's page is.
pub(crate) fn subscriber_page(home_address: &str) -> String {
    format!("/subscribers/{}", crate::format::Percent(home_address)).replace("%3A", ":")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(address: &str) -> Option<(Page, Format)> {
        let target = Target::of(&address.parse().expect("an address"))?;
        assert_eq!(target.address, address);
        Some((target.page, target.format))
    }

    #[test]
    fn every_page_has_an_address_in_three_forms() {
        let home = "2001:db8::1".parse().expect("an address");
        let rows = [
            ("/", Some((Page::Overview, Format::Html))),
            ("/overview.json", Some((Page::Overview, Format::Json))),
            ("/nodes", Some((Page::Nodes, Format::Html))),
            ("/nodes.csv?table=feed", Some((Page::Nodes, Format::Csv))),
            ("/subscribers?q=a%40b", Some((Page::Subscribers, Format::Html))),
            ("/subscribers/2001:db8::1", Some((Page::Subscriber(home), Format::Html))),
            ("/subscribers/2001:db8::1.json", Some((Page::Subscriber(home), Format::Json))),
            ("/alarms", Some((Page::Alarms, Format::Html))),
            ("/alarms/help", Some((Page::AlarmHelp, Format::Html))),
            ("/events.csv?q=2001:db8::1", Some((Page::Events, Format::Csv))),
            ("/subscribers/nobody", None),
            ("/subscribers/", None),
            ("/nodes/", None),
            ("/.csv", None),
            ("/style.css", None),
        ];
        for (address, expected) in rows {
            assert_eq!(of(address), expected, "{address}");
        }
        assert_eq!(subscriber_page("2001:db8::1"), "/subscribers/2001:db8::1");
        assert_eq!(subscriber_page("\"><b>"), "/subscribers/%22%3E%3Cb%3E");
    }

    #[test]
    fn parameters_are_decoded() {
        let target = Target::of(&"/subscribers?q=a%40b&page=x".parse().expect("an address"));
        let parameters = target.expect("a page").parameters;
        assert_eq!((parameters.q.as_str(), parameters.page.as_str()), ("a@b", "x"));
    }
}
