//! PromQL against the metrics that exist.

use std::collections::BTreeSet;

use anyhow::{anyhow, bail, ensure};
use homeport_tests::metrics::{Metric, Metrics};
use promql_parser::{
    label::METRIC_NAME,
    parser::{Expr, VectorSelector, parse},
    util::{ExprVisitor, walk_expr},
};

/// Labels that the scrape adds, or the bound of a bucket.
const OUTSIDE: [&str; 5] = ["namespace", "instance", "pod", "job", "le"];
const HISTOGRAM_SUFFIXES: [&str; 3] = ["_bucket", "_count", "_sum"];
/// What Grafana puts into a query, and what stands for it here.
const GRAFANA: [(&str, &str); 2] = [("$__rate_interval", "5m"), ("$__range", "1h")];

/// What a query asks of metrics.
#[derive(Debug, Default)]
pub(super) struct Query {
    /// Metrics, each with the labels that it is selected by.
    selected: Vec<(String, Vec<String>)>,
    /// Labels that results are put together by.
    grouped: BTreeSet<String>,
    fault: Option<String>,
}

impl Query {
    pub(super) fn parse(expression: &str) -> anyhow::Result<Self> {
        let mut expression = expression.to_owned();
        for (variable, value) in GRAFANA {
            expression = expression.replace(variable, value);
        }
        let parsed = parse(&expression).map_err(|error| anyhow!("{expression}: {error}"))?;
        let mut query = Self::default();
        let Ok(_) = walk_expr(&mut query, &parsed);
        match query.fault {
            Some(fault) => bail!("{expression}: {fault}"),
            None if query.selected.is_empty() => bail!("{expression}: asks for no metric"),
            None => Ok(query),
        }
    }

    /// Every metric is there, with the labels.
    pub(super) fn check(&self, metrics: &Metrics) -> anyhow::Result<()> {
        let mut labels: BTreeSet<&str> = OUTSIDE.into();
        for (name, matched) in &self.selected {
            let metric = find(metrics, name).ok_or_else(|| anyhow!("no process exposes {name}"))?;
            labels.extend(metric.labels.iter().map(String::as_str));
            for label in matched {
                let is_there = OUTSIDE.contains(&label.as_str()) || metric.labels.contains(label);
                ensure!(is_there, "{name} has no label {label}");
            }
        }
        for label in &self.grouped {
            ensure!(labels.contains(label.as_str()), "none of its metrics has a label {label}");
        }
        Ok(())
    }

    fn select(&mut self, selector: &VectorSelector) {
        let labels = selector.matchers.matchers.iter().map(|it| it.name.clone());
        let labels = labels.filter(|label| label != METRIC_NAME).collect();
        match &selector.name {
            Some(name) if selector.matchers.or_matchers.is_empty() => {
                self.selected.push((name.clone(), labels));
            }
            Some(_) => self.fault = Some("alternatives of labels cannot be checked".to_owned()),
            None => self.fault = Some("it asks for metrics of no name".to_owned()),
        }
    }
}

impl ExprVisitor for Query {
    type Error = std::convert::Infallible;

    fn pre_visit(&mut self, expression: &Expr) -> Result<bool, Self::Error> {
        match expression {
            Expr::VectorSelector(selector) => self.select(selector),
            Expr::MatrixSelector(matrix) => self.select(&matrix.vs),
            Expr::Aggregate(aggregate) => {
                let by = aggregate.modifier.iter().flat_map(|it| it.labels().labels.clone());
                self.grouped.extend(by);
            }
            Expr::Binary(binary) => {
                let modifier = binary.modifier.iter();
                let on = modifier.flat_map(|it| it.matching.iter());
                self.grouped.extend(on.flat_map(|it| it.labels().labels.clone()));
            }
            _ => {}
        }
        Ok(true)
    }
}

/// A metric by a name of its samples.
fn find<'m>(metrics: &'m Metrics, name: &str) -> Option<&'m Metric> {
    let is_histogram = |metric: &&Metric| metric.kind == "histogram";
    let mut families = HISTOGRAM_SUFFIXES.iter().filter_map(|suffix| name.strip_suffix(suffix));
    let family = families.find_map(|family| metrics.get(family)).filter(is_histogram);
    family.or_else(|| metrics.get(name).filter(|metric| !is_histogram(metric)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics() -> Metrics {
        let metric = |kind: &str, labels: &[&str]| Metric {
            kind: kind.to_owned(),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            ..Metric::default()
        };
        Metrics::from([
            ("homeport_drops_total".to_owned(), metric("counter", &["reason"])),
            ("homeport_commit_seconds".to_owned(), metric("histogram", &[])),
        ])
    }

    fn fault(expression: &str) -> String {
        let checked = Query::parse(expression).and_then(|query| query.check(&metrics()));
        checked.expect_err(expression).to_string()
    }

    #[test]
    fn what_is_there_is_found_and_what_is_not_is_named() {
        for right in [
            r#"sum by (reason, namespace) (rate(homeport_drops_total{reason="x"}[$__rate_interval]))"#,
            "histogram_quantile(0.99, sum by (le) (rate(homeport_commit_seconds_bucket[5m]))) > 0.1",
            "rate(homeport_commit_seconds_sum[5m]) / rate(homeport_commit_seconds_count[5m])",
            r#"homeport_drops_total{instance=~"$instance"} - on (instance) homeport_drops_total offset 1h"#,
        ] {
            let checked = Query::parse(right).and_then(|query| query.check(&metrics()));
            checked.unwrap_or_else(|error| panic!("{right}: {error}"));
        }
        assert!(fault("homeport_drop_total").contains("exposes homeport_drop_total"));
        assert!(fault("homeport_commit_seconds > 1").contains("exposes homeport_commit_seconds"));
        assert!(fault(r#"homeport_drops_total{cause="x"}"#).contains("no label cause"));
        assert!(fault("sum by (status) (homeport_drops_total)").contains("label status"));
        assert!(fault("sum by (reason (homeport_drops_total)").contains("sum by"));
        assert!(fault(r#"{reason="x"}"#).contains("of no name"));
        assert!(fault("1 + 1").contains("asks for no metric"));
    }
}
