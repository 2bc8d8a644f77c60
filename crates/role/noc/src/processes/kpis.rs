//! Rates and states over the last hour, out of counters that begin with each process.

use std::collections::{BTreeMap, VecDeque};

use super::{
    Process,
    exposition::{Buckets, Counters},
};
use crate::{
    limits::{CAUSES_MAX, SAMPLES_MAX},
    status::Status,
};

/// Acknowledgements below this accept (RFC 6275 section 6.1.8).
const REFUSALS_BEGIN: u8 = 128;

/// The kept samples, at most [`SAMPLES_MAX`].
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Kpis {
    samples: VecDeque<Sample>,
    /// What each process had counted at the last look.
    before: BTreeMap<String, (u64, Counters)>,
}

/// One look. Rates are per second since the look before; nothing where that cannot be told.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    /// Milliseconds since the Unix epoch.
    pub(crate) at_ms: u64,
    /// Binding Acknowledgements that accept.
    pub(crate) accepted: Option<f64>,
    /// Those that refuse.
    pub(crate) refused: Option<f64>,
    /// Refusals by status.
    pub(crate) refused_by: BTreeMap<u8, f64>,
    /// Milliseconds from a Binding Update to its acknowledgement.
    pub(crate) acknowledged_p50_ms: Option<f64>,
    pub(crate) acknowledged_p99_ms: Option<f64>,
    /// Milliseconds until the store has applied an entry.
    pub(crate) commit_p99_ms: Option<f64>,
    pub(crate) bindings: Option<f64>,
    pub(crate) home_addresses: Option<f64>,
    /// Packets and signalling that went no further.
    pub(crate) drops: Option<f64>,
    pub(crate) drops_by: BTreeMap<String, f64>,
    pub(crate) packets: Option<f64>,
    pub(crate) bits: Option<f64>,
    /// Revisions by which the last forwarder is behind its replica.
    pub(crate) feed_lag: Option<f64>,
}

/// What all processes have counted between two looks.
#[derive(Default)]
struct Grown {
    secs: f64,
    acknowledgements: BTreeMap<u8, f64>,
    registration: Buckets,
    commit: Buckets,
    drops: BTreeMap<String, f64>,
    packets: f64,
    bytes: f64,
}

impl Kpis {
    pub(crate) fn samples(&self) -> impl DoubleEndedIterator<Item = &Sample> + ExactSizeIterator {
        self.samples.iter()
    }

    pub(crate) fn newest(&self) -> Option<&Sample> {
        self.samples.back()
    }

    /// The newest `count` values of something, oldest first.
    pub(crate) fn recent(
        &self,
        count: usize,
        of: impl Fn(&Sample) -> Option<f64>,
    ) -> Vec<Option<f64>> {
        self.samples.iter().skip(self.samples.len().saturating_sub(count)).map(of).collect()
    }

    /// Adds a look.
    pub(crate) fn add(&mut self, at_ms: u64, processes: &[Process], status: &Status) {
        let mut grown = Grown::default();
        let mut before = BTreeMap::new();
        let counted = processes.iter().filter_map(|one| Some((one, one.counters.as_ref()?)));
        for (process, counters) in counted {
            if let Some((then_ms, then)) = self.before.get(&process.name) {
                grown.secs = grown.secs.max(secs(at_ms.saturating_sub(*then_ms)));
                grown.add(then, counters);
            }
            before.insert(process.name.clone(), (at_ms, counters.clone()));
        }
        self.before = before;
        let mut sample = Sample { at_ms, ..grown.sample() };
        sample.bindings = status.totals.map(|totals| float(totals.bindings));
        sample.home_addresses = status.totals.map(|totals| float(totals.home_addresses));
        sample.feed_lag =
            status.feed_subscribers.iter().map(|subscriber| subscriber.lag).max().map(float);
        self.samples.push_back(sample);
        while self.samples.len() > SAMPLES_MAX {
            self.samples.pop_front();
        }
    }
}

impl Grown {
    fn add(&mut self, then: &Counters, now: &Counters) {
        // A process that has begun anew has counted all of it since.
        let begun_anew = now.started_secs > then.started_secs;
        let grown = |then: Option<f64>, now: f64| {
            let then = then.filter(|then| !begun_anew && *then <= now);
            now - then.unwrap_or(0.0)
        };
        for (status, now) in &now.acknowledgements {
            let more = grown(then.acknowledgements.get(status).copied(), *now);
            *self.acknowledgements.entry(*status).or_default() += more;
        }
        for (cause, now) in &now.drops {
            let more = grown(then.drops.get(cause).copied(), *now);
            let is_known = self.drops.contains_key(cause) || self.drops.len() < CAUSES_MAX;
            let cause = if is_known { cause } else { "other" };
            *self.drops.entry(cause.to_owned()).or_default() += more;
        }
        for (bound, now) in &now.registration_buckets.0 {
            let more = grown(then.registration_buckets.0.get(bound).copied(), *now);
            self.registration.add(bound, more);
        }
        for (bound, now) in &now.commit_buckets.0 {
            self.commit.add(bound, grown(then.commit_buckets.0.get(bound).copied(), *now));
        }
        self.packets += grown(Some(then.packets), now.packets);
        self.bytes += grown(Some(then.bytes), now.bytes);
    }

    fn sample(&self) -> Sample {
        if self.secs <= 0.0 {
            return Sample::default();
        }
        let rate = |count: f64| count / self.secs;
        let sum = |wanted: fn(u8) -> bool| -> f64 {
            self.acknowledgements
                .iter()
                .filter(|(status, _)| wanted(**status))
                .map(|it| *it.1)
                .sum()
        };
        let ms = |secs: f64| secs * 1_000.0;
        let kept = |count: &f64| *count > 0.0;
        Sample {
            accepted: Some(rate(sum(|status| status < REFUSALS_BEGIN))),
            refused: Some(rate(sum(|status| status >= REFUSALS_BEGIN))),
            refused_by: self
                .acknowledgements
                .iter()
                .filter(|(status, count)| **status >= REFUSALS_BEGIN && kept(count))
                .map(|(status, count)| (*status, rate(*count)))
                .collect(),
            acknowledged_p50_ms: self.registration.quantile(0.5).map(ms),
            acknowledged_p99_ms: self.registration.quantile(0.99).map(ms),
            commit_p99_ms: self.commit.quantile(0.99).map(ms),
            drops: Some(rate(self.drops.values().sum())),
            drops_by: self
                .drops
                .iter()
                .filter(|(_, count)| kept(count))
                .map(|(cause, count)| (cause.clone(), rate(*count)))
                .collect(),
            packets: Some(rate(self.packets)),
            bits: Some(rate(self.bytes) * 8.0),
            ..Sample::default()
        }
    }
}

fn secs(ms: u64) -> f64 {
    float(ms) / 1_000.0
}

/// Exact below 2^53, which no count here reaches.
fn float(count: u64) -> f64 {
    let (high, low) = (count >> 32, count & u64::from(u32::MAX));
    let part = |part: u64| f64::from(u32::try_from(part).unwrap_or(u32::MAX));
    part(high) * 4_294_967_296.0 + part(low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Role, processes::State};

    fn process(name: &str, started_secs: f64, accepted: f64, refused: f64) -> Process {
        let acknowledgements = BTreeMap::from([(0, accepted), (135, refused)]);
        let drops = BTreeMap::from([("no_binding".to_owned(), refused)]);
        let counters = Counters { acknowledgements, drops, started_secs, ..Counters::default() };
        Process {
            name: name.to_owned(),
            role: Role::Signalling,
            ops: String::new(),
            state: State::Ready,
            counters: Some(counters),
        }
    }

    #[test]
    fn rates_are_of_all_processes_and_need_two_looks() {
        let (mut kpis, status) = (Kpis::default(), Status::default());
        kpis.add(10_000, &[process("a", 1.0, 100.0, 10.0)], &status);
        assert_eq!(kpis.newest().expect("a sample").accepted, None);
        // b is new: what it has counted before is not of these five seconds.
        let all = [process("a", 1.0, 150.0, 15.0), process("b", 1.0, 900.0, 0.0)];
        kpis.add(15_000, &all, &status);
        let newest = kpis.newest().expect("a sample");
        assert_eq!((newest.accepted, newest.refused), (Some(10.0), Some(1.0)));
        assert_eq!(newest.refused_by, BTreeMap::from([(135, 1.0)]));
        assert_eq!(newest.drops_by, BTreeMap::from([("no_binding".to_owned(), 1.0)]));
        // a was started again and has counted from zero.
        let all = [process("a", 12.0, 20.0, 0.0), process("b", 1.0, 900.0, 0.0)];
        kpis.add(20_000, &all, &status);
        assert_eq!(kpis.newest().expect("a sample").accepted, Some(4.0));
    }

    #[test]
    fn an_hour_is_kept_and_no_more() {
        let mut kpis = Kpis::default();
        for look in 0..SAMPLES_MAX + 10 {
            let at_ms = u64::try_from(look).expect("small") * 5_000;
            kpis.add(at_ms, &[], &Status::default());
        }
        assert_eq!(kpis.samples().len(), SAMPLES_MAX);
        assert_eq!(kpis.samples().next().map(|sample| sample.at_ms), Some(50_000));
        assert_eq!(kpis.recent(3, |_| Some(1.0)).len(), 3);
    }

    #[test]
    fn causes_beyond_the_bound_are_one() {
        let mut kpis = Kpis::default();
        let mut many = process("a", 1.0, 0.0, 0.0);
        kpis.add(0, std::slice::from_ref(&many), &Status::default());
        if let Some(counters) = &mut many.counters {
            counters.drops = (0..500).map(|n| (format!("cause{n}"), 5.0)).collect();
        }
        kpis.add(5_000, &[many], &Status::default());
        let newest = kpis.newest().expect("a sample");
        assert!(newest.drops_by.len() <= CAUSES_MAX + 1);
        assert_eq!(newest.drops, Some(500.0));
    }
}
