//! An operator's day; `cargo xtask operator-day` gives its figures.

use anyhow::Result;
use homeport_tests::operator_day::{self, SUBSCRIBERS};

#[tokio::test(flavor = "multi_thread")]
async fn a_day_goes_as_an_operator_expects() -> Result<()> {
    let day = operator_day::run(SUBSCRIBERS).await?;
    println!("{day:?}");
    Ok(())
}
