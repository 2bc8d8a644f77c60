//! The K bit with a real IKE daemon at both ends: what the test runs, with its figures.

use homeport_tests::ikev2::{self, Story};
use homeport_tests::netns::Figure;

use crate::report::Report;

/// Runs it, where it can be.
pub(crate) fn run() -> anyhow::Result<Report> {
    let mut report = Report::default();
    let runtime = tokio::runtime::Runtime::new()?;
    if let Err(reason) = runtime.block_on(ikev2::possible()) {
        eprintln!("\n*** SKIPPED: {reason:#}\n");
        report.skipped = 1;
        return Ok(report);
    }
    let mut story = Story::default();
    let told = runtime.block_on(ikev2::run(&mut story));
    for step in &story.steps {
        report.count(true);
        println!("ok      {step}");
    }
    for Figure { name, value, unit } in &story.figures {
        println!("        {name} {value:.3} {unit}");
        report.figure(name, *value, unit);
    }
    if let Err(error) = told {
        report.count(false);
        println!("FAILED  {error:?}");
    }
    Ok(report)
}
