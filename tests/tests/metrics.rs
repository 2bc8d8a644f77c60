//! What a running cluster exposes, against the page that says what it means.

use anyhow::{Context as _, Result, ensure};
use homeport_tests::dev::DevCluster;
use homeport_tests::metrics::{CATALOGUE, catalogue, exposed, knowledge, of_all};
use homeport_tests::root;

#[tokio::test(flavor = "multi_thread")]
async fn the_catalogue_has_what_is_exposed_and_nothing_else() -> Result<()> {
    let cluster = DevCluster::start().await?;
    let pages = exposed(&cluster).await.with_context(|| cluster.logs())?;
    let metrics = of_all(&pages)?;
    let expected = catalogue(&metrics, &knowledge()?)?;
    let page = std::fs::read_to_string(root().join(CATALOGUE))?;
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let (expected, page) = (lines(&expected), lines(&page));
    let undocumented: Vec<_> = expected.iter().filter(|line| !page.contains(line)).collect();
    let outdated: Vec<_> = page.iter().filter(|line| !expected.contains(line)).collect();
    ensure!(
        undocumented.is_empty() && outdated.is_empty() && page == expected,
        "{CATALOGUE} is stale, `cargo xtask metrics` writes it\nexposed and not documented: \
         {undocumented:#?}\ndocumented and not exposed: {outdated:#?}"
    );
    Ok(())
}
