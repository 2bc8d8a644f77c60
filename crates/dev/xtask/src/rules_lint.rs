//! What operators hold in their hands of metrics: the catalogue against a scrape of a running cluster, alert rules checked and
//! tested by promtool, and each query of rules, dashboards and of the table of RFC 4295 against the metrics that exist.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, ensure};
use homeport_tests::{
    dev::DevCluster,
    metrics::{CATALOGUE, Metrics, catalogue, exposed, in_older_format, knowledge, of_all},
};
use serde::Deserialize;

use crate::report::Report;

mod dashboards;
mod promtool;
mod queries;

use queries::Query;

/// Deployed by the chart.
const RULES: &str = "helm/homeport/files/alerts.yaml";
/// promtool's tests of them.
const TESTS: &str = "tests/rules";
/// What operators do about each.
const ALARMS: &str = "docs/operations/alarms.md";
const SEVERITIES: [&str; 3] = ["critical", "warning", "info"];

#[derive(Debug, Deserialize)]
struct RuleFile {
    groups: Vec<Group>,
}

#[derive(Debug, Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
struct Rule {
    alert: String,
    expr: String,
    labels: Labels,
    annotations: Annotations,
}

#[derive(Debug, Deserialize)]
struct Labels {
    severity: String,
}

#[derive(Debug, Deserialize)]
struct Annotations {
    summary: String,
    description: String,
    runbook_url: String,
}

#[derive(Debug, Deserialize)]
struct TestFile {
    tests: Vec<TestGroup>,
}

#[derive(Debug, Deserialize)]
struct TestGroup {
    alert_rule_test: Vec<AlertTest>,
}

#[derive(Debug, Deserialize)]
struct AlertTest {
    alertname: String,
    #[serde(default)]
    exp_alerts: Vec<serde::de::IgnoredAny>,
}

/// Writes the catalogue from a scrape of a cluster that it starts.
pub(crate) fn write_catalogue(root: &Path) -> anyhow::Result<Report> {
    let page = catalogue(&of_all(&scrape()?)?, &knowledge()?)?;
    fs::write(root.join(CATALOGUE), page).with_context(|| CATALOGUE.to_owned())?;
    println!("metrics: {CATALOGUE} written");
    Ok(Report { passed: 1, ..Report::default() })
}

/// Checks all of it.
pub(crate) fn check(root: &Path) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let pages = scrape()?;
    let metrics = of_all(&pages)?;
    let expected = catalogue(&metrics, &knowledge()?)?;
    let is_current = fs::read_to_string(root.join(CATALOGUE))? == expected;
    report.count(is_current);
    if !is_current {
        eprintln!("rules-lint: {CATALOGUE} is stale: cargo xtask metrics writes it");
    }
    let rules = rules(root)?;
    check_queries(root, &rules, &metrics, &mut report)?;
    for rule in &rules {
        judge(&mut report, &rule.alert, rule_fault(root, rule));
    }
    for (alert, fault) in untested(root, &rules)? {
        judge(&mut report, &alert, Err(fault));
    }
    match promtool::find(&root.join("target/tools"))? {
        Some(promtool) => {
            for (process, page) in &pages {
                let is_linted = lint_metrics(&promtool, page)?;
                report.count(is_linted);
                if !is_linted {
                    eprintln!("rules-lint: promtool refuses the metrics of {process}");
                }
            }
            report.count(run(root, &promtool, &["check", "rules", RULES])?);
            for file in test_files(root)? {
                report.count(run(root, &promtool, &["test", "rules", &file])?);
            }
        }
        None => {
            eprintln!(
                "rules-lint: no promtool (set PROMTOOL, or install Debian's prometheus): alert rules NOT \
                 TESTED, form of metrics NOT CHECKED"
            );
            report.skipped += 3;
        }
    }
    println!(
        "rules-lint: {} metrics, {} alerts; {} passed, {} failed",
        metrics.len(),
        rules.len(),
        report.passed,
        report.failed
    );
    Ok(report)
}

/// The pages of all processes of a cluster of this tree's programs.
fn scrape() -> anyhow::Result<Vec<(String, String)>> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let cluster = DevCluster::start().await?;
        exposed(&cluster).await.with_context(|| cluster.logs())
    })
}

fn rules(root: &Path) -> anyhow::Result<Vec<Rule>> {
    let text = fs::read_to_string(root.join(RULES))?;
    let file: RuleFile = serde_yaml_ng::from_str(&text).with_context(|| RULES.to_owned())?;
    Ok(file.groups.into_iter().flat_map(|group| group.rules).collect())
}

fn judge(report: &mut Report, what: &str, found: anyhow::Result<()>) {
    report.count(found.is_ok());
    if let Err(error) = found {
        eprintln!("rules-lint: {what}: {error:#}");
    }
}

/// Every query that is written down, against the metrics that exist.
fn check_queries(
    root: &Path,
    rules: &[Rule],
    metrics: &Metrics,
    report: &mut Report,
) -> anyhow::Result<()> {
    for rule in rules {
        let found = Query::parse(&rule.expr).and_then(|query| query.check(metrics));
        judge(report, &rule.alert, found);
    }
    for object in knowledge()?.object {
        let found = Query::parse(&object.query).and_then(|query| query.check(metrics));
        judge(report, &object.name, found);
    }
    for dashboard in dashboards::read(root)? {
        for (place, expression) in dashboard.queries {
            let found = Query::parse(&expression).and_then(|query| query.check(metrics));
            judge(report, &format!("{}: {place}", dashboard.file), found);
        }
        for fault in dashboard.faults {
            judge(report, &dashboard.file, Err(anyhow::anyhow!(fault)));
        }
    }
    Ok(())
}

/// Says what it is about, how bad it is, and what to do.
fn rule_fault(root: &Path, rule: &Rule) -> anyhow::Result<()> {
    let Labels { severity } = &rule.labels;
    ensure!(SEVERITIES.contains(&severity.as_str()), "severity {severity} is none of ours");
    let Annotations { summary, description, runbook_url } = &rule.annotations;
    ensure!(!summary.is_empty() && !description.is_empty(), "summary or description is empty");
    let anchor = rule.alert.to_lowercase();
    ensure!(*runbook_url == format!("{ALARMS}#{anchor}"), "runbook_url: {runbook_url}");
    let alarms = fs::read_to_string(root.join(ALARMS))?;
    let heading = format!("### {}", rule.alert);
    ensure!(alarms.lines().any(|line| line == heading), "{ALARMS} has no section of that name");
    Ok(())
}

fn test_files(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root.join(TESTS))? {
        let name = entry?.file_name();
        files.push(format!("{TESTS}/{}", name.display()));
    }
    files.sort();
    Ok(files)
}

/// Alerts that no test makes fire, or that no test keeps silent.
fn untested(root: &Path, rules: &[Rule]) -> anyhow::Result<Vec<(String, anyhow::Error)>> {
    let (mut fires, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for file in test_files(root)? {
        let text = fs::read_to_string(root.join(&file))?;
        let tests: TestFile = serde_yaml_ng::from_str(&text).with_context(|| file.clone())?;
        for test in tests.tests.into_iter().flat_map(|group| group.alert_rule_test) {
            let seen = if test.exp_alerts.is_empty() { &mut silent } else { &mut fires };
            seen.insert(test.alertname);
        }
    }
    let mut faults = Vec::new();
    for Rule { alert, .. } in rules {
        for (seen, what) in
            [(&fires, "no test makes it fire"), (&silent, "no test keeps it silent")]
        {
            if !seen.contains(alert) {
                faults.push((alert.clone(), anyhow::anyhow!("{what} ({TESTS})")));
            }
        }
    }
    Ok(faults)
}

/// What it has to say it says itself.
fn run(root: &Path, promtool: &Path, arguments: &[&str]) -> anyhow::Result<bool> {
    let status = Command::new(promtool).args(arguments).current_dir(root).status();
    Ok(status.context("cannot start promtool")?.success())
}

fn lint_metrics(promtool: &Path, page: &str) -> anyhow::Result<bool> {
    let mut command = Command::new(promtool);
    command.args(["check", "metrics"]).stdin(Stdio::piped());
    let mut child = command.spawn().context("cannot start promtool")?;
    let mut input = child.stdin.take().context("standard input is piped")?;
    input.write_all(in_older_format(page).as_bytes())?;
    drop(input);
    Ok(child.wait()?.success())
}
