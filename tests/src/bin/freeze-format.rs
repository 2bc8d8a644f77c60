//! Writes the samples of a new on-disk format into the ledger: `freeze-format 0002-what-changed`.
//! It never writes over an old one. See `migrations/README.md`.

use anyhow::{Context as _, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let name = std::env::args().nth(1).context("usage: freeze-format NNNN-what-changed")?;
    let directory = homeport_tests::formats::freeze(&name).await?;
    println!("{}: add a README.md and the test that reads it", directory.display());
    Ok(())
}
