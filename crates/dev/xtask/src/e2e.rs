//! The home agent end to end in network namespaces: what is checked by the tests, with its figures.

use homeport_tests::netns::{self, Case, Figure};

use crate::report::Report;

/// Runs every case.
pub(crate) fn run() -> anyhow::Result<Report> {
    let mut report = Report::default();
    if let Err(reason) = netns::possible() {
        eprintln!("\n*** SKIPPED, all {} cases: {reason:#}\n", Case::ALL.len());
        report.skipped = u64::try_from(Case::ALL.len())?;
        return Ok(report);
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let (mut decoded, mut malformed) = (0, 0);
    for case in Case::ALL {
        let outcome = runtime.block_on(case.run());
        report.count(outcome.result.is_ok());
        decoded += outcome.frames_decoded;
        malformed += outcome.frames_malformed;
        match outcome.result {
            Ok(()) => println!("ok      {}: {} frames", case.name(), outcome.frames_decoded),
            Err(error) => println!("FAILED  {}: {error:?}", case.name()),
        }
        for Figure { name, value, unit } in outcome.figures {
            println!("        {name} {value:.3} {unit}");
            report.figure(name, value, unit);
        }
    }
    println!("{decoded} frames decoded, {malformed} malformed");
    report.figure("frames_decoded", f64::from(decoded), "1");
    report.figure("frames_malformed", f64::from(malformed), "1");
    Ok(report)
}
