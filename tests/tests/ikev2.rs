//! A real IKEv2 daemon at both ends. Needs root, user-mode-linux and strongSwan; says so where it may not.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use homeport_tests::ikev2::{self, Story};

#[tokio::test(flavor = "multi_thread")]
async fn the_ike_endpoint_follows_the_k_bit() -> Result<()> {
    if let Err(reason) = ikev2::possible().await {
        // Not by the macro: the test harness would keep that to itself.
        writeln!(
            std::io::stderr(),
            "\n*** SKIPPED the K bit with a real IKE daemon: {reason:#}\n"
        )?;
        return Ok(());
    }
    let mut story = Story::default();
    let told = ikev2::run(&mut story).await;
    told.with_context(|| format!("after: {}", story.steps.join("; ")))
}
