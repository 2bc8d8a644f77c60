//! Every page of the dashboard, and what must be read on it.

/// A page.
#[derive(Clone, Copy, Debug)]
pub(super) struct One {
    /// Of its pictures.
    pub(super) name: &'static str,
    pub(super) path: &'static str,
    /// Words that are on the screen at the latest after a few polls.
    pub(super) says: &'static [&'static str],
    /// It lists what mobile nodes and subscribers are called.
    pub(super) has_canaries: bool,
}

const fn one(name: &'static str, path: &'static str, says: &'static [&'static str]) -> One {
    One { name, path, says, has_canaries: false }
}

pub(super) const ALL: &[One] = &[
    one("overview", "/", &["Working", "Active bindings", "store-1", "forwarder-1", "signalling-2"]),
    one("wall", "/wall", &["Working", "Active bindings", "Registrations"]),
    One {
        has_canaries: true,
        ..one("subscribers", "/subscribers", &["mn1@example.com", "stored"])
    },
    one("search", "/subscribers?q=mn1*", &["mn1@example.com", "mn17@example.com", "Found by"]),
    one(
        "subscriber",
        "/subscribers/2001:db8:0:1::100",
        &["2 bindings", "127.0.0.2", "Tunnel", "NAI", "Last events"],
    ),
    one("bindings", "/bindings", &["127.0.0.3", "2001:db8:0:1::100", "foreign"]),
    one("prefixes", "/prefixes", &["2001:db8:0:1::/64", "none (unsafe)"]),
    one("nodes", "/nodes", &["leader", "follower", "ready", "forwarder-2", "Front-ends", "serves"]),
    one("topology", "/topology", &["Stores", "Front-ends", "Forwarders"]),
    one("kpis", "/kpis", &["Registrations by result", "accepted", "Drops by cause"]),
    one("alarms", "/alarms", &["Severity", "Acknowledged by", "History"]),
    one("alarm-help", "/alarms/help", &["session-lost", "homeportctl node list"]),
    one("events", "/events", &["registered", "2001:db8:0:1::", "Care-of address"]),
    one("check", "/check", &["store-leader", "holds", "authentication"]),
];
