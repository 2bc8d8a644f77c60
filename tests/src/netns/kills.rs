//! SIGKILL of processes while the correspondent node pings the home address.

use anyhow::{Context as _, Result, ensure};
use mobile_node::{MobileNode, UpdateRecord};

use super::lab::{AGENT, HOME, Lab, care_of, run};
use super::notices::homeportctl;
use crate::dev::{Member, is_ready, kill, metric};
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
        // The store notes that it has come back, which moves the revision and not the table.
        ensure!(now.0 >= table.0 && now.1 == table.1, "{now:?}, before it was killed {table:?}");
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

/// How often the forwarder is killed that XDP goes on without.
const KILLS: usize = 3;

/// No packet is lost while the forwarder is away: XDP carries them by the table that it has.
pub(super) async fn tell_forwarder_by_xdp(lab: &mut Lab) -> Result<()> {
    let router = lab.namespaces.router.clone();
    for link in ["forwarder-1", "forwarder-2"] {
        // A link that takes redirected frames must be woken by them.
        run(&router, &["ethtool", "-K", link, "gro", "on"])?;
    }
    lab.switch_xdp_on().await?;
    // Whatever becomes of its process, the packets go to the first forwarder.
    for address in [HOME, AGENT] {
        let route = ["ip", "-6", "route", "add", address, "via", "2001:db8:ff:1::2"];
        run(&router, &[&route[..], &["dev", "forwarder-1"]].concat())?;
    }
    let node = registered(lab).await?;
    let pinging = lab.keep_pinging_fast()?;
    pinging.replies(500).await?;
    for _ in 0..KILLS {
        let forwarders = lab.cluster.endpoints()?.forwarders;
        let carrier = forwarders.into_iter().next().context("there is no forwarder")?;
        kill(&carrier)?;
        pinging.replies(100).await?;
        let back = restarted(lab, &carrier).await?;
        eventually("the forwarder to be ready", async || is_ready(&back).await).await?;
        eventually("packets by XDP since then", async || {
            let sent = lab.sent_by_xdp("encapsulated").await?;
            ensure!(sent > 300, "{sent}");
            Ok(())
        })
        .await?;
    }
    let seen = pinging.stop()?;
    lab.figure("forwarder_restart_by_xdp_lost", f64::from(seen.lost), "1");
    lab.figure("forwarder_restart_by_xdp_sent", f64::from(seen.sent), "1");
    lab.figure("forwarder_restart_by_xdp_gap_ms", seen.gap_ms(), "ms");
    ensure!(seen.lost == 0, "{} of {} echo requests were lost", seen.lost, seen.sent);
    node.stop().await?;
    Ok(())
}

/// The router turns to the other forwarder, and back, without the loss of a packet.
pub(super) async fn tell_drained_forwarder(lab: &mut Lab) -> Result<()> {
    let node = registered(lab).await?;
    let carrier = busiest(lab, lab.cluster.endpoints()?.forwarders, PACKETS_FORWARDED).await?;
    let name = format!("forwarders/{}", carrier.name);
    let pinging = lab.keep_pinging_fast()?;
    pinging.replies(200).await?;
    homeportctl(lab, &["node", "drain", &name, "--wait-secs", "120"]).await?;
    let before = ops::sum(carrier.ops, PACKETS_FORWARDED).await?;
    pinging.replies(500).await?;
    node.refresh(true).await?;
    let after = ops::sum(carrier.ops, PACKETS_FORWARDED).await?;
    // The kernel itself says something into a TUN now and then.
    ensure!(after - before < 10.0, "{} packets came to a drained forwarder", after - before);
    homeportctl(lab, &["node", "undrain", &name]).await?;
    eventually("packets at the forwarder again", async || {
        let now = ops::sum(carrier.ops, PACKETS_FORWARDED).await?;
        ensure!(now - after > 100.0, "{now}");
        Ok(())
    })
    .await?;
    let seen = pinging.stop()?;
    lab.figure("forwarder_drain_lost", f64::from(seen.lost), "1");
    lab.figure("forwarder_drain_gap_ms", seen.gap_ms(), "ms");
    ensure!(seen.lost == 0, "{} of {} echo requests were lost", seen.lost, seen.sent);
    let journal = node.journal().await?;
    ensure!(journal.iter().all(|update| update.attempt == 1), "{journal:?}");
    node.stop().await?;
    Ok(())
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
async fn table_of(forwarder: &Member) -> Result<(u64, String)> {
    let revision = metric(forwarder, "homeport_forwarder_revision").await?.parse()?;
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
