//! What a mobile node sees of the death of the store's leader.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use homeport_runtime::{Task, clock};
use homeport_wire::Sequence;
use mobile_node::{MobileNode, UpdateRecord};

use crate::dev::{DevCluster, kill};
use crate::eventually;

/// The mobile node refreshes that often.
const REFRESH_INTERVAL: Duration = Duration::from_millis(100);
const HOME_ADDRESS: &str = "2001:db8:0:1::100";

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Failover {
    /// From each kill to the next acknowledgement of a Binding Update that was sent after it, in
    /// milliseconds.
    pub next_ba_ms: Vec<u64>,
    /// Binding Updates that were acknowledged.
    pub acknowledged: u64,
    /// Acknowledged registrations that the store did not have afterwards.
    pub acked_lost: u64,
}

/// Kills the leader so many times while one mobile node refreshes three bindings and others register.
///
/// # Errors
/// When the cluster does not serve again.
pub async fn run(cluster: &DevCluster, kills: u32) -> Result<Failover> {
    let mut config = cluster.mobile_node(HOME_ADDRESS, 3)?;
    config.updates_per_second_max = 100;
    config.lifetime_secs = 3600;
    config.refresh.automatic = false;
    let node = cluster.registered(config).await?;
    node.refresh_every(Some(REFRESH_INTERVAL), true).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let newcomers = Task::spawn(
        "newcomers",
        register_newcomers(cluster.mobile_node("2001:db8:0:1::1000", 0)?, stop.clone()),
    );
    let mut seen = Failover::default();
    for _ in 0..kills {
        let leader = cluster.leader().await?;
        let killed_ms = clock::unix_ms();
        kill(&leader)?;
        let served = eventually("the next acknowledgement", async || {
            let journal = node.journal().await?;
            let after = journal.iter().filter(|update| update.sent_unix_ms >= killed_ms);
            let received = after.filter_map(accepted_at).min();
            received.context("none yet")
        });
        let next_ba_ms = served.await?.saturating_sub(killed_ms);
        seen.next_ba_ms.push(next_ba_ms);
        seen.acked_lost += u64::from(!store_has_what_was_acknowledged(cluster, &node).await?);
    }
    node.refresh_every(None, true).await?;
    stop.store(true, Ordering::Relaxed);
    let registered = newcomers.await??;
    let stored = cluster.all_bindings().await?;
    let lost = registered
        .iter()
        .filter(|home| !stored.iter().any(|s| s.home_address == **home && s.bindings.len() == 1));
    seen.acked_lost += u64::try_from(lost.count())?;
    let journal = node.journal().await?;
    let acknowledged = journal.iter().filter_map(accepted_at).count() + registered.len();
    seen.acknowledged = u64::try_from(acknowledged)?;
    node.stop().await?;
    Ok(seen)
}

fn accepted_at(update: &UpdateRecord) -> Option<u64> {
    let acknowledgement = update.acknowledgement.as_ref()?;
    update.is_accepted().then_some(acknowledgement.received_unix_ms)
}

/// The store's sequence number is the last acknowledged one or a newer one, and all bindings are there.
async fn store_has_what_was_acknowledged(cluster: &DevCluster, node: &MobileNode) -> Result<bool> {
    let journal = node.journal().await?;
    let last = journal.iter().rev().find(|update| accepted_at(update).is_some());
    let last = Sequence(last.context("nothing was acknowledged")?.sequence);
    let home = cluster.bindings(HOME_ADDRESS).await?;
    let stored = Sequence(u16::try_from(home.sequence)?);
    ensure!(home.bindings.len() <= 3, "bindings that nobody registered: {home:?}");
    Ok((stored == last || stored.is_newer_than(last)) && home.bindings.len() == 3)
}

/// Registers one new home address after the other; returns those that were acknowledged.
async fn register_newcomers(
    base: mobile_node::Config,
    stop: Arc<AtomicBool>,
) -> Result<Vec<String>> {
    let mut registered = Vec::new();
    let first = base.home_address.to_bits();
    for n in 0_u128.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let mut config = base.clone();
        config.home_address = (first + n).into();
        config.lifetime_secs = 3600;
        config.care_of.push(mobile_node::CareOfConfig::new(1, "127.0.0.9".parse()?));
        let node = MobileNode::start(config.clone()).await?;
        if node.register(false).await.is_ok() {
            registered.push(config.home_address.to_string());
        }
        node.stop().await?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(registered)
}
