//! Grafana's dashboards: what they ask for.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::Context as _;
use serde_json::Value;

/// Deployed by the chart.
const FOLDER: &str = "helm/homeport/files/dashboards";

/// One dashboard.
#[derive(Debug, Default)]
pub(super) struct Dashboard {
    pub(super) file: String,
    /// PromQL, with where it stands.
    pub(super) queries: Vec<(String, String)>,
    pub(super) faults: Vec<String>,
}

/// All of them. A uid of two dashboards is a fault of the second.
pub(super) fn read(root: &Path) -> anyhow::Result<Vec<Dashboard>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root.join(FOLDER))? {
        files.push(entry?.path());
    }
    files.sort();
    let mut uids = BTreeSet::new();
    let mut dashboards = Vec::new();
    for path in files {
        let file = path.file_name().map(|name| name.display().to_string()).unwrap_or_default();
        let text = fs::read_to_string(&path)?;
        let json: Value = serde_json::from_str(&text).with_context(|| file.clone())?;
        let mut dashboard = of_json(&json);
        dashboard.file = file;
        if !uids.insert(json["uid"].as_str().unwrap_or_default().to_owned()) {
            dashboard.faults.push(format!("uid {} is that of another", json["uid"]));
        }
        dashboards.push(dashboard);
    }
    Ok(dashboards)
}

fn of_json(json: &Value) -> Dashboard {
    let mut dashboard = Dashboard::default();
    for field in ["uid", "title"] {
        if json[field].as_str().is_none_or(str::is_empty) {
            dashboard.faults.push(format!("it has no {field}"));
        }
    }
    for variable in json["templating"]["list"].as_array().into_iter().flatten() {
        let name = variable["name"].as_str().unwrap_or_default();
        if variable["type"] != "query" {
            continue;
        }
        match variable["query"].as_str().and_then(values_of) {
            Some((selector, label)) => {
                // As if it were grouped by it: the label must be there.
                let query = format!("count by ({label}) ({selector})");
                dashboard.queries.push((format!("variable {name}"), query));
            }
            None => {
                dashboard.faults.push(format!("variable {name} is no label_values(metric, label)"))
            }
        }
    }
    for panel in panels(json) {
        let title = panel["title"].as_str().unwrap_or_default();
        let targets: Vec<&Value> = panel["targets"].as_array().into_iter().flatten().collect();
        if panel["type"] == "row" || panel["type"] == "text" {
            continue;
        }
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap_or_default();
        if title.is_empty() || unit.is_empty() || targets.is_empty() {
            dashboard.faults.push(format!("panel {:?} has no title, unit or query", panel["id"]));
        }
        for target in targets {
            let expression = target["expr"].as_str().unwrap_or_default().to_owned();
            dashboard.queries.push((format!("panel {title:?}"), expression));
        }
    }
    dashboard
}

/// Panels, also those inside rows.
fn panels(json: &Value) -> impl Iterator<Item = &Value> {
    let outer = json["panels"].as_array().into_iter().flatten();
    outer.flat_map(|panel| {
        let inner = panel["panels"].as_array().into_iter().flatten();
        [panel].into_iter().chain(inner)
    })
}

/// Selector and label of `label_values(selector, label)`.
fn values_of(query: &str) -> Option<(&str, &str)> {
    let arguments = query.strip_prefix("label_values(")?.strip_suffix(')')?;
    let (selector, label) = arguments.rsplit_once(',')?;
    Some((selector.trim(), label.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_query_is_found_and_what_is_missing_is_a_fault() {
        let json = serde_json::json!({
            "uid": "a", "title": "A",
            "templating": {"list": [
                {"name": "instance", "type": "query", "query": "label_values(up{job=\"x\"}, instance)"},
                {"name": "other", "type": "query", "query": "metrics(.*)"},
                {"name": "source", "type": "datasource"},
            ]},
            "panels": [
                {"id": 1, "type": "row", "panels": [{
                    "id": 2, "type": "timeseries", "title": "Inner",
                    "fieldConfig": {"defaults": {"unit": "s"}},
                    "targets": [{"expr": "one"}, {"expr": "two"}],
                }]},
                {"id": 3, "type": "stat", "title": "No unit", "targets": [{"expr": "three"}]},
            ],
        });
        let dashboard = of_json(&json);
        let queries: Vec<&str> =
            dashboard.queries.iter().map(|(_, query)| query.as_str()).collect();
        assert_eq!(queries, ["count by (instance) (up{job=\"x\"})", "one", "two", "three"]);
        let [variable, panel] = dashboard.faults.as_slice() else { panic!("{dashboard:?}") };
        assert!(variable.contains("other") && panel.contains('3'), "{dashboard:?}");
    }
}
