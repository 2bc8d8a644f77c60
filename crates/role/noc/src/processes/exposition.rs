//! OpenMetrics text, as far as the dashboard uses it.

use std::collections::BTreeMap;

/// What one process has counted, by its own beginning.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Counters {
    /// Binding Acknowledgements by status.
    pub(crate) acknowledgements: BTreeMap<u8, f64>,
    /// Registrations that took at most so many seconds, by the bound's text.
    pub(crate) registration_buckets: Buckets,
    /// Log entries that were applied within so many seconds.
    pub(crate) commit_buckets: Buckets,
    /// Packets and signalling that went no further, by cause.
    pub(crate) drops: BTreeMap<String, f64>,
    /// Packets that came to a forwarder, XDP included.
    pub(crate) packets: f64,
    /// Octets that came and went otherwise than through XDP.
    pub(crate) bytes: f64,
    /// Home addresses in a forwarder's table, and its room.
    pub(crate) home_addresses: Option<f64>,
    pub(crate) home_addresses_max: Option<f64>,
    /// A forwarder that no store is heard by.
    pub(crate) is_stale: bool,
    pub(crate) is_withdrawn: bool,
    pub(crate) version: String,
    /// Seconds since 1970.
    pub(crate) started_secs: f64,
}

/// Cumulative counts of a histogram by upper bound; the bound is its text in the exposition, so that equal
/// bounds of several processes meet.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Buckets(pub(crate) BTreeMap<String, f64>);

impl Buckets {
    pub(crate) fn add(&mut self, bound: &str, count: f64) {
        *self.0.entry(bound.to_owned()).or_default() += count;
    }

    /// What a part of all values did not exceed, by linear interpolation inside its bucket; none of none.
    pub(crate) fn quantile(&self, part: f64) -> Option<f64> {
        let bound = |text: &str| {
            if text == "+Inf" { f64::INFINITY } else { text.parse().unwrap_or(f64::INFINITY) }
        };
        let mut steps: Vec<(f64, f64)> =
            self.0.iter().map(|(text, count)| (bound(text), *count)).collect();
        steps.sort_by(|a, b| a.0.total_cmp(&b.0));
        let all = steps.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
        let wanted = part * all;
        let (mut lower, mut below) = (0.0, 0.0);
        for (upper, count) in steps {
            if count >= wanted {
                if upper.is_infinite() {
                    return Some(lower);
                }
                let inside = count - below;
                let share = if inside > 0.0 { (wanted - below) / inside } else { 1.0 };
                return Some(lower + (upper - lower) * share);
            }
            (lower, below) = (upper, count);
        }
        None
    }
}

/// Reads a page of metrics; lines that mean nothing here are passed over.
pub(crate) fn read(page: &str) -> Counters {
    let mut counters = Counters::default();
    for line in page.lines() {
        if let Some((name, labels, value)) = sample(line) {
            take(&mut counters, name, labels, value);
        }
    }
    counters
}

fn take(counters: &mut Counters, name: &str, labels: &str, value: f64) {
    let label = |wanted| label(labels, wanted);
    let mut drop_of = |cause: Option<&str>| {
        *counters.drops.entry(cause.unwrap_or("other").to_owned()).or_default() += value;
    };
    match name {
        "homeport_signalling_acknowledgements_total" => {
            if let Some(status) = label("status").and_then(|status| status.parse().ok()) {
                *counters.acknowledgements.entry(status).or_default() += value;
            }
        }
        // Duplicate Address Detection takes a second by rule, which is no delay of ours.
        "homeport_signalling_registration_seconds_bucket" if label("detection") != Some("yes") => {
            counters.registration_buckets.add(label("le").unwrap_or("+Inf"), value);
        }
        "homeport_store_commit_seconds_bucket" => {
            counters.commit_buckets.add(label("le").unwrap_or("+Inf"), value);
        }
        "homeport_signalling_drops_total" | "homeport_forwarder_drops_total" => {
            drop_of(label("reason"));
        }
        "homeport_forwarder_fast_packets_total" => {
            match label("verdict") {
                Some("dropped") => drop_of(label("cause")),
                // What is passed comes to the TUN and is counted there.
                Some("passed") => return,
                Some(_) | None => {}
            }
            counters.packets += value;
        }
        "homeport_forwarder_packets_total" => counters.packets += value,
        "homeport_forwarder_received_bytes_total" | "homeport_forwarder_sent_bytes_total" => {
            counters.bytes += value;
        }
        "homeport_forwarder_home_addresses" => counters.home_addresses = Some(value),
        "homeport_forwarder_home_addresses_max" => counters.home_addresses_max = Some(value),
        "homeport_forwarder_stale" => counters.is_stale = value > 0.0,
        "homeport_forwarder_withdrawn" => counters.is_withdrawn = value > 0.0,
        "homeport_build_info" => {
            label("version").unwrap_or_default().clone_into(&mut counters.version);
        }
        "homeport_start_timestamp_seconds" => counters.started_secs = value,
        _ => {}
    }
}

/// `name{labels} value`, of which labels may be missing.
fn sample(line: &str) -> Option<(&str, &str, f64)> {
    if line.starts_with('#') {
        return None;
    }
    let (name, rest) = match line.find(['{', ' ']) {
        Some(end) if line.as_bytes().get(end) == Some(&b'{') => {
            let (labels, rest) = line.get(end + 1..)?.split_once('}')?;
            return Some((line.get(..end)?, labels, number(rest)?));
        }
        Some(end) => line.split_at(end),
        None => return None,
    };
    Some((name, "", number(rest)?))
}

fn number(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}

/// The words of our labels have neither quotes nor commas in them.
fn label<'l>(labels: &'l str, wanted: &str) -> Option<&'l str> {
    labels.split(',').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        (name == wanted).then(|| value.trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_read() {
        let counters = read(
            "# TYPE homeport_signalling_acknowledgements counter\n\
             homeport_signalling_acknowledgements_total{status=\"0\"} 7\n\
             homeport_signalling_acknowledgements_total{status=\"135\"} 2\n\
             homeport_signalling_registration_seconds_bucket{le=\"0.01\",detection=\"no\"} 3\n\
             homeport_signalling_registration_seconds_bucket{le=\"+Inf\",detection=\"no\"} 4\n\
             homeport_signalling_registration_seconds_bucket{le=\"+Inf\",detection=\"yes\"} 9\n\
             homeport_forwarder_drops_total{reason=\"no_binding\"} 5\n\
             homeport_forwarder_fast_packets_total{cause=\"hop_limit\",verdict=\"dropped\"} 2\n\
             homeport_forwarder_fast_packets_total{cause=\"bound\",verdict=\"sent\"} 10\n\
             homeport_forwarder_fast_packets_total{cause=\"no_line\",verdict=\"passed\"} 100\n\
             homeport_forwarder_packets_total{port=\"tun\"} 3\n\
             homeport_forwarder_stale 1\n\
             homeport_build_info{version=\"0.1.0\"} 1\n\
             homeport_start_timestamp_seconds 1700000000\n\
             nonsense\nhomeport_forwarder_home_addresses 1e3\n# EOF\n",
        );
        assert_eq!(counters.acknowledgements, BTreeMap::from([(0, 7.0), (135, 2.0)]));
        let expected = [("hop_limit".to_owned(), 2.0), ("no_binding".to_owned(), 5.0)];
        assert_eq!(counters.drops, BTreeMap::from(expected));
        assert_eq!(counters.registration_buckets.0["+Inf"], 4.0);
        assert_eq!(counters.packets, 15.0);
        assert!(counters.is_stale && !counters.is_withdrawn);
        assert_eq!(counters.version, "0.1.0");
        assert_eq!(counters.home_addresses, Some(1_000.0));
    }

    #[test]
    fn a_quantile_lies_inside_its_bucket() {
        let mut buckets = Buckets::default();
        assert_eq!(buckets.quantile(0.5), None);
        for (bound, count) in [("0.01", 50.0), ("0.1", 90.0), ("1", 99.0), ("+Inf", 100.0)] {
            buckets.add(bound, count);
        }
        for (part, expected) in [(0.25, 0.005), (0.5, 0.01), (0.7, 0.055), (0.99, 1.0), (1.0, 1.0)]
        {
            let found = buckets.quantile(part).expect("there are values");
            assert!((found - expected).abs() < 1e-9, "{part}: {found}");
        }
    }
}
