//! What happens, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;

use homeport_mobile::{BindingView, Event, HomePrefix, Mode, Outcome};
use homeport_wire::Bid;
use serde_json::{Value, json};

/// Something that happened, and when.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stamped {
    /// Wall time in milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// What.
    pub event: NodeEvent,
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NodeEvent {
    /// In the protocol.
    Protocol(Event),
    /// A packet was not used.
    Dropped {
        /// Why, out of a closed set.
        reason: &'static str,
    },
    /// A packet could not leave the host.
    NotSent {
        /// The host's words.
        error: String,
    },
    /// The reader was too slow for this many events.
    Missed(u64),
}

/// The node as it is now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// Milliseconds since the node started.
    pub uptime_ms: u64,
    /// How much of RFC 5648 is in use.
    pub mode: Mode,
    /// Sequence number used last.
    pub sequence: u16,
    /// The care-of addresses.
    pub bindings: Vec<BindingView>,
    /// Packets that the node did not use, by reason.
    pub drops: BTreeMap<&'static str, u64>,
    /// Updates that the journal had no room for.
    pub journal_dropped: u64,
}

impl Status {
    /// The BIDs that the home agent has acknowledged.
    #[must_use]
    pub fn registered(&self) -> Vec<u16> {
        let registered = self.bindings.iter().filter(|view| view.registered.is_some());
        registered.map(|view| view.bid.0).collect()
    }
}

impl Stamped {
    /// One JSON object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut value = match &self.event {
            NodeEvent::Protocol(event) => protocol_json(event),
            NodeEvent::Dropped { reason } => json!({"event": "dropped", "reason": reason}),
            NodeEvent::NotSent { error } => json!({"event": "not_sent", "error": error}),
            NodeEvent::Missed(count) => json!({"event": "missed", "count": count}),
        };
        if let Some(object) = value.as_object_mut() {
            object.insert("unix_ms".to_owned(), json!(self.unix_ms));
        }
        value
    }
}

fn numbers(bids: &[Bid]) -> Vec<u16> {
    bids.iter().map(|bid| bid.0).collect()
}

fn protocol_json(event: &Event) -> Value {
    match event {
        Event::Sent { sequence, path, bids, lifetime, overwrite, attempt } => json!({
            "event": "sent", "sequence": sequence.0, "path": path.to_string(),
            "bids": numbers(bids), "lifetime_secs": lifetime.secs(), "overwrite": overwrite,
            "attempt": attempt,
        }),
        Event::Acknowledged { sequence, status, lifetime, bids, round_trip_ms } => json!({
            "event": "acknowledged", "sequence": sequence.0, "status": status.0,
            "lifetime_secs": lifetime.secs(), "round_trip_ms": round_trip_ms,
            "bids": bids.iter().map(|(bid, status)| json!([bid.0, status.0])).collect::<Vec<_>>(),
        }),
        Event::Registered { bid, care_of, lifetime, status, renewed } => json!({
            "event": "registered", "bid": bid.0, "care_of": care_of.to_string(),
            "lifetime_secs": lifetime.secs(), "status": status.0, "renewed": renewed,
        }),
        Event::Moved { bid, from, to } => json!({
            "event": "moved", "bid": bid.0, "from": from.to_string(), "to": to.to_string(),
        }),
        Event::Deregistered { bid, status } => {
            json!({"event": "deregistered", "bid": bid.0, "status": status.0})
        }
        Event::ReturnedHome => json!({"event": "returned_home"}),
        Event::Refused { bid, status, retry_at } => json!({
            "event": "refused", "bid": bid.0, "status": status.0, "reason": status.name(),
            "retries": retry_at.is_some(),
        }),
        Event::Fault { bid, status } => {
            json!({"event": "fault", "bid": bid.map(|bid| bid.0), "status": status.0})
        }
        Event::NoAnswer { bid } => json!({"event": "no_answer", "bid": bid.map(|bid| bid.0)}),
        Event::Lost { bid, reason } => {
            json!({"event": "lost", "bid": bid.0, "reason": format!("{reason:?}").to_lowercase()})
        }
        Event::FellBackToSingle { bid } => json!({"event": "fell_back_to_single", "bid": bid.0}),
        Event::FellBackToSingleUpdates => json!({"event": "fell_back_to_single_updates"}),
        Event::RefreshRequested { bids } => {
            json!({"event": "refresh_requested", "bids": numbers(bids)})
        }
        Event::Ipv4HomeAddress { status, address } => json!({
            "event": "ipv4_home_address", "status": status.0, "address": address.to_string(),
        }),
        Event::TranslatorFound { bid, refresh_secs } => {
            json!({"event": "translator_found", "bid": bid.0, "refresh_secs": refresh_secs})
        }
        Event::Flow { fid, status } => {
            json!({"event": "flow", "fid": fid, "status": status.0, "reason": status.name()})
        }
        Event::Router { served } => json!({"event": "router", "served": served}),
        Event::NotServedAsRouter => json!({"event": "not_served_as_router"}),
        Event::HomeAgentSwitch { .. }
        | Event::HomeAgents { .. }
        | Event::NoHomeAgent
        | Event::HomeAgent { .. }
        | Event::HomePrefixes { .. } => home_link_json(event),
        Event::BindingError { status } => json!({"event": "binding_error", "status": status.0}),
        Event::Completed { request, results } => json!({
            "event": "completed", "request": request.0,
            "results": results
                .iter()
                .map(|(bid, outcome)| json!({
                    "bid": bid.map(|bid| bid.0), "outcome": outcome_words(outcome),
                }))
                .collect::<Vec<_>>(),
        }),
    }
}

/// Which home agents there are, and what they say about the home link.
fn home_link_json(event: &Event) -> Value {
    match event {
        Event::HomeAgentSwitch { addresses } => json!({
            "event": "home_agent_switch",
            "addresses": addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }),
        Event::HomeAgents { addresses, serve_routers } => json!({
            "event": "home_agents", "serve_routers": serve_routers,
            "addresses": addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }),
        Event::NoHomeAgent => json!({"event": "no_home_agent"}),
        Event::HomeAgent { address } => {
            json!({"event": "home_agent", "address": address.to_string()})
        }
        Event::HomePrefixes { prefixes, solicited } => json!({
            "event": "home_prefixes", "solicited": solicited,
            "prefixes": prefixes.iter().map(prefix_json).collect::<Vec<_>>(),
        }),
        other => json!({"event": format!("{other:?}")}),
    }
}

fn prefix_json(prefix: &HomePrefix) -> Value {
    json!({
        "prefix": prefix.prefix.to_string(), "length": prefix.length,
        "valid_secs": prefix.valid_secs, "preferred_secs": prefix.preferred_secs,
    })
}

/// An outcome in a few words.
pub(crate) fn outcome_words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Registered { care_of, lifetime, status } => {
            format!("registered at {care_of} for {} s, status {status}", lifetime.secs())
        }
        Outcome::Deregistered { status } => format!("ended, status {status}"),
        Outcome::Refused { status } => format!("refused, status {status}"),
        Outcome::NoAnswer => "no answer".to_owned(),
        Outcome::Superseded => "replaced by a later command".to_owned(),
        Outcome::SingleCareOf => "not used: the home agent takes one care-of address".to_owned(),
        Outcome::UnknownBid => "no care-of address has this BID".to_owned(),
        Outcome::Busy => "too many care-of addresses or commands".to_owned(),
        Outcome::Invalid => "not a usable care-of address".to_owned(),
        Outcome::Stopped => "the node was stopped".to_owned(),
    }
}

impl fmt::Display for Stamped {
    /// One line, without a line break.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (secs, ms) = (self.unix_ms / 1000, self.unix_ms % 1000);
        let (minutes, hours) = (secs / 60, secs / 3600);
        write!(f, "{:02}:{:02}:{:02}.{ms:03} ", hours % 24, minutes % 60, secs % 60)?;
        match &self.event {
            NodeEvent::Protocol(event) => write_protocol(f, event),
            NodeEvent::Dropped { reason } => write!(f, "dropped a packet: {reason}"),
            NodeEvent::NotSent { error } => write!(f, "could not send: {error}"),
            NodeEvent::Missed(count) => write!(f, "{count} events were missed"),
        }
    }
}

/// `BID 1`, `BIDs 1 2`, or what stands for none.
fn names(bids: &[Bid], none: &str) -> String {
    let list: Vec<String> = bids.iter().map(ToString::to_string).collect();
    match list.as_slice() {
        [] => none.to_owned(),
        [one] => format!("BID {one}"),
        many => format!("BIDs {}", many.join(" ")),
    }
}

fn write_protocol(f: &mut fmt::Formatter<'_>, event: &Event) -> fmt::Result {
    let name = |bid: &Option<Bid>| names(bid.as_slice(), "all");
    match event {
        Event::Sent { sequence, path, bids, lifetime, overwrite, attempt } => {
            let (what, secs) = (names(bids, "plain"), lifetime.secs());
            write!(f, "sent update {sequence} from {path}: {what}, {secs} s, attempt {attempt}")?;
            f.write_str(if *overwrite { ", overwriting" } else { "" })
        }
        Event::Acknowledged { sequence, status, round_trip_ms, .. } => {
            write!(f, "update {sequence} answered after {round_trip_ms} ms: {status}")
        }
        Event::Registered { bid, care_of, lifetime, status, renewed } => {
            let verb = if *renewed { "renewed" } else { "registered" };
            write!(f, "BID {bid} {verb} at {care_of} for {} s: {status}", lifetime.secs())
        }
        Event::Moved { bid, from, to } => write!(f, "BID {bid} moved from {from} to {to}"),
        Event::Deregistered { bid, status } => write!(f, "BID {bid} ended: {status}"),
        Event::ReturnedHome => f.write_str("at home, all bindings ended"),
        Event::Refused { bid, status, retry_at } => {
            let then = if retry_at.is_some() { ", will try again" } else { "" };
            write!(f, "BID {bid} refused: {status}{then}")
        }
        Event::Fault { bid, status } => {
            write!(f, "{}: the answer {status} fits nothing that was asked", name(bid))
        }
        Event::NoAnswer { bid } => write!(f, "{}: no answer", name(bid)),
        Event::Lost { bid, reason } => write!(f, "BID {bid} lost: {reason:?}"),
        Event::FellBackToSingle { bid } => {
            write!(f, "the home agent takes one care-of address only: BID {bid}")
        }
        Event::FellBackToSingleUpdates => {
            f.write_str("the home agent takes one binding in an update only")
        }
        Event::RefreshRequested { bids } => {
            write!(f, "the home agent asks for a refresh of {}", names(bids, "all"))
        }
        Event::Ipv4HomeAddress { status, address } => {
            write!(f, "IPv4 home address {address}: {status}")
        }
        Event::TranslatorFound { bid, refresh_secs } => {
            write!(f, "BID {bid} is behind a translator, refresh every {refresh_secs} s")
        }
        Event::Flow { fid, status } => write!(f, "flow {fid}: {status}"),
        Event::Router { served: true } => f.write_str("the mobile network is reachable"),
        Event::Router { served: false } => f.write_str("the mobile network has no way any more"),
        Event::NotServedAsRouter => f.write_str("the home agent does not serve mobile routers"),
        Event::HomeAgentSwitch { .. }
        | Event::HomeAgents { .. }
        | Event::NoHomeAgent
        | Event::HomeAgent { .. }
        | Event::HomePrefixes { .. } => write_home_link(f, event),
        Event::BindingError { status } => write!(f, "binding error: {status}"),
        Event::Completed { results, .. } => {
            f.write_str("command ended")?;
            for (bid, outcome) in results {
                write!(f, "; {}: {}", name(bid), outcome_words(outcome))?;
            }
            Ok(())
        }
    }
}

fn write_home_link(f: &mut fmt::Formatter<'_>, event: &Event) -> fmt::Result {
    match event {
        Event::HomeAgentSwitch { addresses } => {
            write!(f, "the home agent asks to leave for {addresses:?}")
        }
        Event::HomeAgents { addresses, .. } => {
            write!(f, "the home link has the home agents {addresses:?}")
        }
        Event::NoHomeAgent => f.write_str("no home agent was found"),
        Event::HomeAgent { address } => write!(f, "now with the home agent {address}"),
        Event::HomePrefixes { prefixes, .. } => {
            f.write_str("the home link has the prefixes")?;
            for HomePrefix { prefix, length, valid_secs, .. } in prefixes {
                write!(f, " {prefix}/{length} ({valid_secs} s)")?;
            }
            Ok(())
        }
        other => write!(f, "{other:?}"),
    }
}
