//! SIGKILL of each kind of process while a mobile node refreshes its bindings.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use homeport_tests::dev::{DevCluster, Member, kill, metric};
use homeport_tests::{eventually, failover};
use mobile_node::{MobileNode, UpdateRecord};

const HOME_ADDRESS: &str = "2001:db8:0:1::100";
const REFRESH_INTERVAL: Duration = Duration::from_millis(200);

#[tokio::test(flavor = "multi_thread")]
async fn leader_killed_loses_nothing_that_was_acknowledged() -> Result<()> {
    let cluster = DevCluster::start().await?;
    let seen = failover::run(&cluster, 2).await.with_context(|| cluster.logs())?;
    println!("from the kill to the next acknowledgement, in ms: {:?}", seen.next_ba_ms);
    assert_eq!(seen.acked_lost, 0);
    assert_eq!(seen.next_ba_ms.len(), 2);
    ensure!(seen.acknowledged > 0);
    Ok(())
}

/// A mobile node that refreshes three bindings all the time.
async fn refreshing(cluster: &DevCluster) -> Result<MobileNode> {
    let mut config = cluster.mobile_node(HOME_ADDRESS, 3)?;
    config.updates_per_second_max = 100;
    config.refresh.automatic = false;
    let node = cluster.registered(config).await?;
    node.refresh_every(Some(REFRESH_INTERVAL), true).await?;
    Ok(node)
}

fn is_acknowledged(update: &&UpdateRecord) -> bool {
    update.is_accepted()
}

/// Refreshes go on: so many more Binding Updates are acknowledged.
async fn more_acknowledgements(node: &MobileNode, more: usize) -> Result<()> {
    let before = node.journal().await?.iter().filter(is_acknowledged).count();
    eventually("more acknowledgements", async || {
        let now = node.journal().await?.iter().filter(is_acknowledged).count();
        ensure!(now >= before + more, "{now} of {}", before + more);
        Ok(())
    })
    .await
}

/// Which members were killed and run again, under another process id.
async fn restarted(
    cluster: &DevCluster,
    group: impl Fn(&homeport_tests::dev::Endpoints) -> Vec<Member>,
    killed: &Member,
) -> Result<()> {
    eventually("the killed process to run again", async || {
        let members = group(&cluster.endpoints()?);
        let now = members.into_iter().find(|member| member.name == killed.name);
        let pid = now.and_then(|member| member.pid).context("down")?;
        ensure!(Some(pid) != killed.pid);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn front_end_killed_costs_at_most_a_retransmission() -> Result<()> {
    let cluster = DevCluster::start().await?;
    let node = refreshing(&cluster).await?;
    for n in 0..2 {
        more_acknowledgements(&node, 3).await?;
        let front_end = cluster.endpoints()?.front_ends.remove(n);
        kill(&front_end)?;
        more_acknowledgements(&node, 5).await?;
        restarted(&cluster, |endpoints| endpoints.front_ends.clone(), &front_end).await?;
    }
    let journal = node.journal().await?;
    let attempts = journal.iter().map(|update| update.attempt).max().context("no updates")?;
    ensure!(attempts <= 2, "a Binding Update was sent {attempts} times");
    assert_eq!(cluster.bindings(HOME_ADDRESS).await?.bindings.len(), 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn forwarder_killed_comes_back_with_the_same_table() -> Result<()> {
    let cluster = DevCluster::start().await?;
    let node = refreshing(&cluster).await?;
    more_acknowledgements(&node, 3).await?;
    let forwarder = cluster.endpoints()?.forwarders.remove(0);
    kill(&forwarder)?;
    more_acknowledgements(&node, 5).await?;
    restarted(&cluster, |endpoints| endpoints.forwarders.clone(), &forwarder).await?;
    node.refresh_every(None, true).await?;
    eventually("two equal tables", async || {
        let mut seen = Vec::new();
        for forwarder in cluster.endpoints()?.forwarders {
            let revision = metric(&forwarder, "homeport_forwarder_revision").await?;
            let digest = metric(&forwarder, "homeport_forwarder_table_digest").await?;
            let homes = metric(&forwarder, "homeport_forwarder_home_addresses").await?;
            assert_eq!(homes, "1");
            seen.push((revision, digest));
        }
        ensure!(seen.len() == 2 && seen[0] == seen[1], "{seen:?}");
        Ok(())
    })
    .await
    .with_context(|| cluster.logs())?;
    let home_agent = "2001:db8:0:1::1".parse()?;
    for bid in 1..=3 {
        let replies = node.ping(home_agent, Some(bid), 2, Duration::from_secs(2)).await?;
        ensure!(replies.iter().all(|reply| reply.is_reply()), "BID {bid}: {replies:?}");
    }
    Ok(())
}
