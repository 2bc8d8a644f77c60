//! Floods of each kind of input: honest mobile nodes are served all the same.

use std::time::Duration;

use homeport_tests::netns::{self, Figure, flood};

use crate::report::Report;

/// Of honest refreshes, that are answered.
const HONEST_PERCENT_MIN: f64 = 99.9;

/// Each kind for so long.
pub(crate) fn run(seconds: u64) -> anyhow::Result<Report> {
    let mut report = Report::default();
    if let Err(reason) = netns::possible() {
        eprintln!("\n*** SKIPPED floods: {reason:#}\n");
        report.skipped = 1;
        return Ok(report);
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = runtime.block_on(flood::run(Duration::from_secs(seconds), HONEST_PERCENT_MIN));
    report.count(outcome.result.is_ok());
    if let Err(error) = outcome.result {
        println!("FAILED  {error:?}");
    }
    for Figure { name, value, unit } in outcome.figures {
        println!("{name} {value}");
        report.figure(name, value, unit);
    }
    Ok(report)
}
