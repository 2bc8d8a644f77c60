//! Runs the conformance suite and writes its page.

use std::path::Path;

use anyhow::Context as _;
use homeport_tests::conformance::{self, Ran, Selection, Verdict, lab::Extent, report};
use serde::Serialize;

use crate::report::{Detail, Report};

/// The generated page.
const PAGE: &str = "docs/conformance.md";

/// A case, for scripts.
#[derive(Debug, Serialize)]
struct CaseDetail<'t> {
    id: &'t str,
    verdict: &'static str,
    reason: &'t str,
}

/// Runs the selected cases; when all ran, the page is written, or its section about kills.
pub(crate) fn run(root: &Path, selection: &Selection) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let started = std::time::Instant::now();
    let ran = runtime.block_on(conformance::run(selection))?;
    println!("\n{}", report::summary(&ran.tried));
    let is_shortened = selection.extent.home_addresses < Extent::ORDINARY.home_addresses;
    if selection.case.is_none() && (selection.during_leader_kill || !is_shortened) {
        let page = root.join(PAGE);
        let before = std::fs::read_to_string(&page).unwrap_or_default();
        let text = match selection.during_leader_kill {
            true => report::page_with_kills(&before, &ran),
            false => report::page(&before, &ran.tried),
        };
        std::fs::write(&page, text).with_context(|| page.display().to_string())?;
    }
    let Ran { tried, figures, .. } = ran;
    let mut result = Report::default();
    for case in &tried {
        match case.verdict {
            Verdict::Passed => result.passed += 1,
            Verdict::Failed => result.failed += 1,
            Verdict::CannotRun => result.skipped += 1,
        }
    }
    let cases = u32::try_from(tried.len())?;
    result.figure("cases", f64::from(cases), "1");
    result.figure("duration", started.elapsed().as_secs_f64(), "s");
    for figure in figures {
        result.figure(figure.name, figure.value, figure.unit);
    }
    let counts = report::counts(&tried);
    let mut detail = Detail::new();
    detail.insert("cases".to_owned(), cases.into());
    for (part, _) in report::PARTS {
        let passed = counts.get(&part).map_or(0, |counts| counts.passed);
        result.figure(&format!("passed_part{part}"), f64::from(passed), "1");
        detail.insert(format!("passed_part{part}"), passed.into());
    }
    let details = tried.iter().map(|case| CaseDetail {
        id: &case.row.id,
        verdict: case.verdict.name(),
        reason: &case.reason,
    });
    let details = serde_json::to_value(details.collect::<Vec<_>>())?;
    detail.insert("cases_detail".to_owned(), details);
    result.detail = detail;
    Ok(result)
}
