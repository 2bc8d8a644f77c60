//! A quick part of the conformance suite: cases on a virtual home link that take moments. All of them
//! are run by `cargo xtask conformance`.

use std::io::Write as _;

use anyhow::{Result, ensure};
use homeport_tests::conformance::{self, Selection, Verdict};

#[tokio::test(flavor = "multi_thread")]
async fn quick_cases_on_the_wire() -> Result<()> {
    if let Err(unprivileged) = homeport_hostnet::privileges() {
        // Not by the macro: the test harness would keep that to itself.
        writeln!(std::io::stderr(), "\n*** SKIPPED the conformance cases: {unprivileged}\n")?;
        return Ok(());
    }
    let selection = Selection { quick: true, ..Selection::default() };
    let tried = conformance::run(&selection).await?.tried;
    let failed: Vec<String> = tried
        .iter()
        .filter(|case| case.verdict == Verdict::Failed)
        .map(|case| format!("{}: {}", case.row.id, case.reason))
        .collect();
    ensure!(failed.is_empty(), "{} cases failed:\n{}", failed.len(), failed.join("\n"));
    ensure!(tried.iter().filter(|case| case.verdict == Verdict::Passed).count() > 100);
    Ok(())
}
