//! Whether this front-end is being drained: forwarders use others, what comes all the same is answered, and the
//! store is told when nothing does.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use homeport_api::node::NodeInfo;
use homeport_runtime::clock;
use tokio::sync::watch;

use crate::limits;

/// What the store wants, and how far it is.
pub(crate) struct Drain {
    wanted: watch::Sender<bool>,
    under_way: AtomicU32,
    /// When the last packet came, milliseconds since the Unix epoch.
    last_ms: AtomicU64,
}

impl Default for Drain {
    fn default() -> Self {
        let (under_way, last_ms) = (AtomicU32::new(0), AtomicU64::new(0));
        Self { wanted: watch::Sender::new(false), under_way, last_ms }
    }
}

/// A packet that is being answered.
pub(crate) struct UnderWay<'d>(&'d Drain);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drain {
    /// The store wants it so.
    pub(crate) fn set(&self, wanted: bool) {
        let changed = self.wanted.send_if_modified(|known| {
            let changed = *known != wanted;
            *known = wanted;
            changed
        });
        if changed && wanted {
            // Forwarders have not been told yet.
            self.last_ms.store(clock::unix_ms(), Ordering::Release);
        }
        if changed {
            tracing::info!(
                drained = wanted,
                "the store has changed whether forwarders use this front-end"
            );
        }
    }

    /// Sees each change.
    pub(crate) fn wanted(&self) -> watch::Receiver<bool> {
        self.wanted.subscribe()
    }

    /// A packet has come.
    pub(crate) fn begin(&self) -> UnderWay<'_> {
        self.under_way.fetch_add(1, Ordering::AcqRel);
        if *self.wanted.borrow() {
            self.last_ms.store(clock::unix_ms(), Ordering::Release);
        }
        UnderWay(self)
    }

    /// What the store is told: it is drained when nothing has come for a while and nothing is under way.
    pub(crate) fn report(&self, who: &NodeInfo) -> NodeInfo {
        let wanted = *self.wanted.borrow();
        let under_way = if wanted { self.under_way.load(Ordering::Acquire) } else { 0 };
        let quiet_ms = clock::unix_ms().saturating_sub(self.last_ms.load(Ordering::Acquire));
        let is_quiet = u128::from(quiet_ms) >= limits::DRAINED_AFTER.as_millis();
        NodeInfo { drained: wanted && under_way == 0 && is_quiet, under_way, ..who.clone() }
    }
}

/// Who this front-end is: its host and the port that forwarders use.
pub(crate) fn who(listen: std::net::SocketAddr) -> NodeInfo {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let address = if listen.ip().is_unspecified() { String::new() } else { listen.to_string() };
    let name = match host.trim() {
        "" => listen.to_string(),
        host => format!("{host}:{}", listen.port()),
    };
    let version = env!("CARGO_PKG_VERSION").to_owned();
    NodeInfo { name, version, address, ..NodeInfo::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_drained_when_nothing_is_under_way_and_nothing_has_come_for_a_while() {
        let (drain, who) = (Drain::default(), NodeInfo::default());
        let packet = drain.begin();
        assert_eq!(drain.report(&who), who, "nobody has asked");
        drain.set(true);
        let report = drain.report(&who);
        assert!(!report.drained && report.under_way == 1);
        drop(packet);
        assert!(!drain.report(&who).drained, "forwarders were told just now");
        drain.last_ms.store(0, Ordering::Release);
        assert!(drain.report(&who).drained);
        drop(drain.begin());
        assert!(!drain.report(&who).drained, "something came all the same");
        drain.set(false);
        assert_eq!(drain.report(&who), who);
    }
}
