//! Metrics by `prometheus-client`. Names are `homeport_<subsystem>_<noun>_<unit>`, in base units; label
//! values come from closed enums, never from what a peer sent.

use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};
pub use prometheus_client::registry::{Registry, Unit};

use crate::clock::unix_ms;

/// An empty registry whose metrics all start with `homeport_`.
pub fn registry() -> Registry {
    Registry::with_prefix("homeport")
}

/// What every process says of itself.
pub(crate) fn register_process(registry: &mut Registry) {
    let build: Family<[(&'static str, &'static str); 1], Gauge> = Family::default();
    build.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))]).set(1);
    registry.register("build_info", "1; the label says which version runs", build);
    let started: Gauge = Gauge::default();
    started.set(i64::try_from(unix_ms() / 1000).unwrap_or(i64::MAX));
    let help = "When this process started, seconds since 1970";
    registry.register_with_unit("start_timestamp", help, Unit::Seconds, started);
    crate::reload::register(registry);
}

/// A counter for each reason: `name_total{reason="..."}`, or for each value of another label. Clones share
/// the counts.
///
/// The reasons are names of an enum's variants; that is why they are `&'static str`.
#[derive(Clone, Debug)]
pub struct ReasonCounter {
    label: &'static str,
    family: Family<[(&'static str, &'static str); 1], Counter>,
}

impl ReasonCounter {
    /// Registers the counter (without the `_total`, which the exposition adds). Every reason in `known`
    /// is shown as zero from the start, so that a rate over it has a beginning.
    pub fn register(
        registry: &mut Registry,
        name: &'static str,
        help: &'static str,
        known: &[&'static str],
    ) -> Self {
        Self::register_by("reason", registry, name, help, known)
    }

    /// The same by another label than `reason`, where what is counted apart is no reason.
    pub fn register_by(
        label: &'static str,
        registry: &mut Registry,
        name: &'static str,
        help: &'static str,
        known: &[&'static str],
    ) -> Self {
        let counter = Self { label, family: Family::default() };
        registry.register(name, help, counter.family.clone());
        for reason in known {
            drop(counter.of(reason));
        }
        counter
    }

    /// Counts one.
    pub fn count(&self, reason: &'static str) {
        self.add(reason, 1);
    }

    /// Counts `n`.
    pub fn add(&self, reason: &'static str, n: u64) {
        self.family.get_or_create(&[(self.label, reason)]).inc_by(n);
    }

    /// The counter of one reason, for hot paths and tests.
    pub fn of(&self, reason: &'static str) -> Counter {
        self.family.get_or_create_owned(&[(self.label, reason)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_counted_apart_and_known_ones_start_at_zero() {
        let mut registry = registry();
        let drops = ReasonCounter::register(&mut registry, "drops", "Dropped", &["no_binding"]);
        drops.count("too_short");
        drops.clone().add("too_short", 2);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("encodes");
        assert!(text.contains("homeport_drops_total{reason=\"no_binding\"} 0\n"), "{text}");
        assert!(text.contains("homeport_drops_total{reason=\"too_short\"} 3\n"), "{text}");
        assert_eq!(drops.of("too_short").get(), 3);
        let sent = ReasonCounter::register_by("kind", &mut registry, "sent", "Sent", &["switch"]);
        sent.count("switch");
        text.clear();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("encodes");
        assert!(text.contains("homeport_sent_total{kind=\"switch\"} 1\n"), "{text}");
    }
}
