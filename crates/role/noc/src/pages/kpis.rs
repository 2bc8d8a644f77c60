//! `/kpis`: an hour, in plots.

use std::collections::BTreeMap;

use super::{Seen, part};
use crate::{
    limits::CAUSES_SHOWN,
    processes::{Kpis, Sample},
    view::{Level, Part, Plot, Series, View, What},
};

pub(super) fn view(seen: &Seen) -> View {
    let kpis = &seen.processes.kpis;
    let mut parts = Vec::new();
    if seen.processes.all.is_empty() && seen.processes.taken_ms != 0 {
        let words = "Rates come from the processes' metrics, and this dashboard's configuration names none: \
                     add [[processes]] with their ops.listen.";
        parts.push(part("unconfigured", "", What::Note(Level::Warning, words.to_owned())));
    }
    parts.extend([
        one("registrations", "Registrations by result", "/s", results(kpis), kpis),
        one(
            "acknowledgement",
            "From Binding Update to acknowledgement",
            "ms",
            latencies(kpis),
            kpis,
        ),
        one("bindings", "Active bindings and home addresses", "", states(kpis), kpis),
        one("drops", "Drops by cause", "/s", drops(kpis), kpis),
        one("feed_lag", "Feed: revisions that the last forwarder is behind", "", lag(kpis), kpis),
        one("packets", "Packets at forwarders", "/s", packets(kpis), kpis),
    ]);
    View::new("KPIs", parts)
}

fn one(
    id: &'static str,
    heading: &'static str,
    unit: &'static str,
    series: Vec<Series>,
    kpis: &Kpis,
) -> Part {
    let times_ms = kpis.samples().map(|sample| sample.at_ms).collect();
    part(id, heading, What::Plot(Plot { unit, series, times_ms }))
}

fn series(name: impl Into<String>, kpis: &Kpis, of: impl Fn(&Sample) -> Option<f64>) -> Series {
    Series { name: name.into(), values: kpis.samples().map(of).collect() }
}

fn results(kpis: &Kpis) -> Vec<Series> {
    let mut all = vec![series("accepted", kpis, |sample| sample.accepted)];
    let refusals = most(kpis, |sample| &sample.refused_by);
    if refusals.is_empty() {
        all.push(series("refused", kpis, |sample| sample.refused));
    }
    for status in refusals {
        let value = move |sample: &Sample| {
            sample.refused.map(|_| sample.refused_by.get(&status).copied().unwrap_or(0.0))
        };
        all.push(series(format!("refused, status {status}"), kpis, value));
    }
    all
}

fn latencies(kpis: &Kpis) -> Vec<Series> {
    vec![
        series("median", kpis, |sample| sample.acknowledged_p50_ms),
        series("99 of 100", kpis, |sample| sample.acknowledged_p99_ms),
        series("store applied, 99 of 100", kpis, |sample| sample.commit_p99_ms),
    ]
}

fn states(kpis: &Kpis) -> Vec<Series> {
    vec![
        series("bindings", kpis, |sample| sample.bindings),
        series("home addresses", kpis, |sample| sample.home_addresses),
    ]
}

fn drops(kpis: &Kpis) -> Vec<Series> {
    let causes = most(kpis, |sample| &sample.drops_by);
    let mut all = vec![series("all", kpis, |sample| sample.drops)];
    for cause in causes {
        let name = cause.clone();
        let value = move |sample: &Sample| {
            sample.drops.map(|_| sample.drops_by.get(&cause).copied().unwrap_or(0.0))
        };
        all.push(series(name, kpis, value));
    }
    all
}

fn lag(kpis: &Kpis) -> Vec<Series> {
    vec![series("most behind", kpis, |sample| sample.feed_lag)]
}

fn packets(kpis: &Kpis) -> Vec<Series> {
    vec![series("came in", kpis, |sample| sample.packets)]
}

/// The keys with the largest sums over the hour, largest first.
fn most<K: Ord + Clone>(kpis: &Kpis, of: impl Fn(&Sample) -> &BTreeMap<K, f64>) -> Vec<K> {
    let mut sums: BTreeMap<&K, f64> = BTreeMap::new();
    for sample in kpis.samples() {
        for (key, value) in of(sample) {
            *sums.entry(key).or_default() += value;
        }
    }
    let mut sums: Vec<(&K, f64)> = sums.into_iter().collect();
    sums.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    sums.into_iter().take(CAUSES_SHOWN).map(|(key, _)| key.clone()).collect()
}
