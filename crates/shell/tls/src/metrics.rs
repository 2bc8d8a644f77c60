//! What is counted of links, `homeport_tls_*`, and said of refused handshakes: not more than a line for each
//! reason now and then, whoever knocks.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use homeport_runtime::metrics::{ReasonCounter, Registry, Unit};
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};

use crate::{identity::Role, limits::LOG_INTERVAL, material::Material, reason::Reason};

/// The metrics of one process's links.
#[derive(Debug)]
pub(crate) struct Metrics {
    expiry: Family<[(&'static str, &'static str); 1], Gauge>,
    refused: Family<[(&'static str, &'static str); 2], Counter>,
    calls_refused: ReasonCounter,
    reloads: ReasonCounter,
    said: Mutex<BTreeMap<Reason, Said>>,
}

/// When a reason was told last, and how often it has come since.
#[derive(Debug)]
struct Said {
    at: Instant,
    since: u64,
}

/// At which end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    /// Who was called.
    Server,
    /// Who dialled.
    Client,
}

impl Side {
    const fn word(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("tls");
        let expiry = Family::default();
        let help = "When the first certificate of this kind ends, seconds since 1970";
        registry.register_with_unit(
            "certificate_expiry_timestamp",
            help,
            Unit::Seconds,
            Family::clone(&expiry),
        );
        let refused: Family<[(&'static str, &'static str); 2], Counter> = Family::default();
        registry.register(
            "handshakes_refused",
            "Connections that failed before a call",
            refused.clone(),
        );
        for side in [Side::Server, Side::Client] {
            for reason in Reason::ALL {
                drop(refused.get_or_create(&[("side", side.word()), ("reason", reason.word())]));
            }
        }
        let roles = Role::ALL.map(Role::word);
        let help = "Calls that the role of the caller's certificate may not make";
        let calls_refused =
            ReasonCounter::register_by("role", registry, "calls_refused", help, &roles);
        let help = "Changed files, by whether they could be used";
        let known = ["taken", "refused"];
        let reloads = ReasonCounter::register_by("outcome", registry, "reloads", help, &known);
        let said = Mutex::default();
        Self { expiry, refused, calls_refused, reloads, said }
    }

    pub(crate) fn holds(&self, material: &Material) {
        let own = self.expiry.get_or_create_owned(&[("of", "certificate")]);
        own.set(material.own_end);
        let authority = self.expiry.get_or_create_owned(&[("of", "authority")]);
        authority.set(material.authority_end);
    }

    pub(crate) fn reloaded(&self, outcome: &'static str) {
        self.reloads.count(outcome);
    }

    pub(crate) fn call_refused(&self, role: Role) {
        self.calls_refused.count(role.word());
    }

    /// Counts a handshake that failed, and says so unless that was said just now.
    pub(crate) fn handshake_refused(
        &self,
        side: Side,
        reason: Reason,
        peer: &str,
        error: &dyn std::fmt::Display,
    ) {
        let labels = [("side", side.word()), ("reason", reason.word())];
        self.refused.get_or_create_owned(&labels).inc();
        // Whoever looks whether a port is open does that.
        if reason == Reason::Closed {
            return;
        }
        if let Some(before) = self.is_due(reason) {
            tracing::warn!(
                side = side.word(),
                reason = reason.word(),
                peer,
                %error,
                before,
                remedy = reason.remedy(),
                "a TLS handshake is refused"
            );
        }
    }

    /// How many were not told since the last that was; none when it was only just.
    fn is_due(&self, reason: Reason) -> Option<u64> {
        // The map is whole after any panic: each change is one call.
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match said.get_mut(&reason) {
            Some(said) if now.duration_since(said.at) < LOG_INTERVAL => {
                said.since = said.since.saturating_add(1);
                None
            }
            known => {
                let before = known.map_or(0, |said| said.since);
                said.insert(reason, Said { at: now, since: 0 });
                Some(before)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_told_once_in_a_while_and_how_often_it_was_not() {
        let metrics = Metrics::register(&mut homeport_runtime::metrics::registry());
        assert_eq!(metrics.is_due(Reason::Expired), Some(0));
        for _ in 0..3 {
            assert_eq!(metrics.is_due(Reason::Expired), None);
        }
        assert_eq!(metrics.is_due(Reason::Plaintext), Some(0), "each by itself");
        let long_ago = Instant::now().checked_sub(LOG_INTERVAL * 2).expect("there was a time");
        metrics.said.lock().unwrap().get_mut(&Reason::Expired).unwrap().at = long_ago;
        assert_eq!(metrics.is_due(Reason::Expired), Some(3));
    }
}
