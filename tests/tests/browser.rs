//! The dashboard in Chromium. Says so where there is none.

use anyhow::{Result, ensure};
use homeport_tests::browser::{self, Options};

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_live_and_asks_nobody_else() -> Result<()> {
    if let Some(missing) = browser::missing() {
        eprintln!("\n*** SKIPPED: {missing}\n");
        return Ok(());
    }
    let outcome = browser::run(&Options { screenshots: None, themes: &["dark"] }).await?;
    ensure!(outcome.failed.is_empty(), "{:#?}", outcome.failed);
    ensure!(outcome.passed > 0 && outcome.requests > 0, "nothing was looked at");
    Ok(())
}
