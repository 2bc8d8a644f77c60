//! `docs/security.md`: the tests that it names for each threat, run.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::{
    report::{Detail, Report},
    suite,
};

/// Threats of the table.
const THREATS: usize = 25;

/// One row: its name, what it is, and its tests.
struct Threat {
    name: String,
    what: String,
    tests: Vec<String>,
}

fn read(page: &str) -> anyhow::Result<Vec<Threat>> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| T")?.strip_suffix(" |"));
    let threats: Vec<Threat> = rows
        .map(|row| {
            let [number, what, _defence, tests] =
                row.split(" | ").collect::<Vec<_>>().try_into().ok().context("four columns")?;
            let tests = tests.split('`').skip(1).step_by(2).map(str::to_owned).collect();
            Ok(Threat { name: format!("T{number}"), what: what.to_owned(), tests })
        })
        .collect::<anyhow::Result<_>>()?;
    ensure!(threats.len() <= THREATS, "docs/security.md has {} threats", threats.len());
    Ok(threats)
}

/// One entry for each threat: passed when each of its tests has run and passed.
pub(crate) fn run(root: &Path) -> anyhow::Result<Report> {
    let page = fs::read_to_string(root.join("docs/security.md")).context("docs/security.md")?;
    let threats = read(&page)?;
    let names = threats.iter().flat_map(|it| &it.tests);
    let filter: Vec<String> = names.map(|name| format!("test(/(^|::){name}$/)")).collect();
    let outcomes = suite::outcomes(root, &filter.join(" or "))?;
    let mut report = Report::default();
    let mut entries = BTreeMap::new();
    for number in 1..=THREATS {
        let name = format!("T{number}");
        let Some(Threat { what, tests, .. }) = threats.iter().find(|it| it.name == name) else {
            report.count(false);
            println!("FAILED {name}: docs/security.md has no row for it");
            continue;
        };
        let passed = |test: &String| outcomes.get(test).copied().unwrap_or(false);
        let failed: Vec<&String> = tests.iter().filter(|test| !passed(test)).collect();
        let holds = failed.is_empty() && !tests.is_empty();
        report.count(holds);
        println!(
            "{} {name} {what}: {} tests",
            if holds { "ok    " } else { "FAILED" },
            tests.len()
        );
        for test in &failed {
            println!("        {test} did not pass");
        }
        entries.insert(name, json!({"threat": what, "passed": holds, "tests": tests}));
    }
    let entries: Detail = entries.into_iter().collect();
    report.detail.insert("threats".to_owned(), Value::Object(entries));
    Ok(report)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::decisions::defined;

    #[test]
    fn every_threat_names_tests_that_are_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3).expect("the tree");
        let page = fs::read_to_string(root.join("docs/security.md")).expect("the page");
        let mut known = BTreeSet::new();
        defined(&root.join("crates"), &mut known);
        defined(&root.join("tests"), &mut known);
        for threat in read(&page).expect("a table") {
            assert!(!threat.tests.is_empty(), "{} has no test", threat.name);
            for test in &threat.tests {
                assert!(known.contains(test), "{}: there is no {test}", threat.name);
            }
        }
    }
}
