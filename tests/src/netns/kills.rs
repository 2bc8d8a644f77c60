//! SIGKILL of processes while the correspondent node pings the home address.

use anyhow::{Context as _, Result, ensure};
use mobile_node::{MobileNode, UpdateRecord};

use super::lab::{Lab, care_of};
use crate::dev::{Member, kill, metric};
use crate::{eventually, ops};

/// A node with two care-of addresses.
async fn registered(lab: &Lab) -> Result<MobileNode> {
    let mut config = lab.node()?;
    config.care_of.push(care_of(1, "link-a", "2001:db8:a::11")?);
    config.care_of.push(care_of(2, "link-b", "2001:db8:b::22")?);
    let node = MobileNode::start(config).await?;
    node.register(true).await?;
    lab.expect_both_ways().await?;
    Ok(node)
}

/// The router turns to the other forwarder; the killed one comes back with the same table.
pub(super) async fn tell_forwarder(lab: &mut Lab) -> Result<()> {
    let node = registered(lab).await?;
    let carrier = busiest(lab, lab.cluster.endpoints()?.forwarders, PACKETS_FORWARDED).await?;
    let table = table_of(&carrier).await?;
    let pinging = lab.keep_pinging()?;
    pinging.replies(50).await?;
    kill(&carrier)?;
    pinging.replies(50).await?;
    let back = restarted(lab, &carrier).await?;
    let same = eventually("the same table", async || {
        let now = table_of(&back).await?;
        ensure!(now == table, "{now:?}, before it was killed {table:?}");
        Ok(())
    });
    same.await?;
    pinging.replies(50).await?;
    let seen = pinging.stop()?;
    lab.figure("forwarder_failover_gap_ms", seen.gap_ms(), "ms");
    lab.expect_both_ways().await?;
    node.stop().await?;
    lab.decode().map(drop)
}

/// The next Binding Update goes to the other front-end, perhaps at the second attempt.
pub(super) async fn tell_front_end(lab: &mut Lab) -> Result<()> {
    let node = registered(lab).await?;
    let serving = busiest(lab, lab.cluster.endpoints()?.front_ends, PACKETS_SIGNALLED).await?;
    let pinging = lab.keep_pinging()?;
    pinging.replies(20).await?;
    let before = node.journal().await?.len();
    // While the home agent works on it: what the front-end knew of it is lost.
    let (refreshed, killed) = tokio::join!(node.refresh(true), async { kill(&serving) });
    killed?;
    refreshed?;
    let journal = node.journal().await?;
    let since: &[UpdateRecord] = journal.get(before..).context("the journal has shrunk")?;
    let again = since.iter().filter(|update| update.attempt > 1).count();
    ensure!(since.last().is_some_and(UpdateRecord::is_accepted), "{since:?}");
    lab.figure("front_end_kill_retransmissions", f64::from(u32::try_from(again)?), "1");
    restarted(lab, &serving).await?;
    node.refresh(true).await?;
    pinging.replies(20).await?;
    // Front-ends carry no data.
    let seen = pinging.stop()?;
    ensure!(seen.lost == 0, "{} of {} echo requests were lost", seen.lost, seen.sent);
    lab.expect_both_ways().await?;
    node.stop().await?;
    lab.decode().map(drop)
}

const PACKETS_FORWARDED: &str = "homeport_forwarder_packets_total";
const PACKETS_SIGNALLED: &str = "homeport_signalling_packets_total";

/// The one that has seen the most packets.
async fn busiest(lab: &Lab, members: Vec<Member>, counter: &str) -> Result<Member> {
    let mut busiest = None;
    for member in members {
        let packets = ops::sum(member.ops, counter).await?;
        if busiest.as_ref().is_none_or(|(most, _)| packets > *most) {
            busiest = Some((packets, member));
        }
    }
    let (packets, member) = busiest.with_context(|| lab.cluster.logs())?;
    ensure!(packets > 0.0, "nobody has seen a packet");
    Ok(member)
}

/// Revision and digest.
async fn table_of(forwarder: &Member) -> Result<(String, String)> {
    let revision = metric(forwarder, "homeport_forwarder_revision").await?;
    let digest = metric(forwarder, "homeport_forwarder_table_digest").await?;
    ensure!(metric(forwarder, "homeport_forwarder_home_addresses").await? == "1");
    Ok((revision, digest))
}

/// The killed process under its new process id.
async fn restarted(lab: &Lab, killed: &Member) -> Result<Member> {
    eventually("the killed process to run again", async || {
        let endpoints = lab.cluster.endpoints()?;
        let mut all = endpoints.forwarders.into_iter().chain(endpoints.front_ends);
        let now = all.find(|member| member.name == killed.name).context("no such member")?;
        ensure!(now.pid.is_some() && now.pid != killed.pid, "{} is down", now.name);
        Ok(now)
    })
    .await
}
