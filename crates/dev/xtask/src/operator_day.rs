//! An operator's day with a cluster, and what it showed.

use anyhow::Context as _;
use homeport_tests::operator_day::{self, SUBSCRIBERS};

use crate::report::Report;

/// Lives it.
pub(crate) fn run() -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let day = runtime.block_on(operator_day::run(SUBSCRIBERS))?;
    let mut report = Report::default();
    report.figure("subscribers", f64::from(SUBSCRIBERS), "1");
    for (name, took) in &day.steps {
        report.count(true);
        report.figure(&format!("{}_s", name.replace([' ', '-'], "_")), took.as_secs_f64(), "s");
    }
    for (node, seen) in [("forwarder", day.forwarder_drain), ("front_end", day.front_end_drain)] {
        for (what, count) in
            [("", seen.refreshes), ("_repeated", seen.repeated), ("_lost", seen.lost)]
        {
            let count = f64::from(u32::try_from(count)?);
            println!("{node}_drain_refreshes{what} {count}");
            report.figure(&format!("{node}_drain_refreshes{what}"), count, "1");
        }
    }
    let alarm_ms = day.alarm_after.as_secs_f64() * 1000.0;
    println!("alarm_after_kill_ms {alarm_ms:.0}");
    report.figure("alarm_after_kill_ms", alarm_ms, "ms");
    Ok(report)
}
