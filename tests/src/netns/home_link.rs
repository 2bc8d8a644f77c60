//! A real home link whose defender dies, then one that ends in peace.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::sync::broadcast::Receiver;
use tokio::time::sleep;

use super::capture::{Capture, Frame};
use super::lab::{Lab, expect, expect_none};
use super::signal;
use crate::conformance::home_net::{Frame as Heard, HomeNet, Mac};
use crate::dev::{Member, is_ready, kill};
use crate::{PATIENCE, eventually, ops};

const DEFENDED: &str = "homeport_forwarder_home_links_defended";

/// How a process is ended.
type End = fn(&Member) -> Result<()>;

/// MAX_RTR_SOLICITATION_DELAY (RFC 4861 §10).
const SOLICITATION_DELAY_MAX: Duration = Duration::from_secs(1);

/// The other forwarder takes over at once, listens before it speaks, and there is never a second one; the
/// kernels of both say nothing of their own.
pub(super) async fn tell(lab: &mut Lab) -> Result<()> {
    lab.provision(|prefix| prefix.real_home_link = true, |_| {}).await?;
    let forwarders = lab.cluster.endpoints()?.forwarders;
    let names: Option<Vec<String>> = forwarders.iter().map(|it| it.netns.clone()).collect();
    let names = names.context("a forwarder without a namespace")?;
    let link = HomeNet::build(&lab.cluster, &names).await?;
    let mut captures = Vec::new();
    for name in &names {
        captures.push(Capture::start(name, "home", lab.directory()).await?);
    }
    one_defends(lab).await?;
    let mut advertisements = link.advertisements();

    let kill_it: End = kill;
    for (end, figure) in [
        (kill_it, "home_link_taken_over_after_kill_ms"),
        (terminate, "home_link_taken_over_after_end_ms"),
    ] {
        let (defender, mac) = defender(lab, &link).await?;
        while advertisements.try_recv().is_ok() {}
        let since = Instant::now();
        end(&defender)?;
        another(&mut advertisements, mac).await?;
        lab.figure(figure, since.elapsed().as_secs_f64() * 1000.0, "ms");
        one_defends(lab).await?;
    }

    // Who has started again asks for other home agents within this time.
    for forwarder in lab.cluster.endpoints()?.forwarders {
        eventually("a forwarder that is back", async || is_ready(&forwarder).await).await?;
    }
    sleep(SOLICITATION_DELAY_MAX + SOLICITATION_DELAY_MAX / 2).await;
    let frames = lab.judge(captures)?;
    expect(&frames, "a question before the link is taken over", |frame: &Frame| {
        frame.has("icmpv6.type", &["135"]) && frame.has("ipv6.src", &["::"])
    })?;
    expect(&frames, "a Router Solicitation", |frame| frame.has("icmpv6.type", &["133"]))?;
    expect_none(&frames, "a kernel's error or redirect", |frame| {
        frame.has("icmpv6.type", &["1"]) || frame.has("icmpv6.type", &["137"])
    })?;
    lab.decode().map(drop)
}

fn terminate(member: &Member) -> Result<()> {
    signal("-TERM", member.pid.with_context(|| format!("{} is down", member.name))?)
}

/// Exactly one, and all run.
async fn one_defends(lab: &Lab) -> Result<()> {
    eventually("one defender", async || {
        let mut defended = 0.0;
        for forwarder in lab.cluster.endpoints()?.forwarders {
            defended += ops::metric(forwarder.ops, DEFENDED).await?;
        }
        ensure!((defended - 1.0).abs() < 0.1, "{defended} forwarders defend the link");
        Ok(())
    })
    .await
}

/// Who defends the link, with its link-layer address.
async fn defender(lab: &Lab, link: &HomeNet) -> Result<(Member, Mac)> {
    for (forwarder, mac) in lab.cluster.endpoints()?.forwarders.into_iter().zip(link.forwarders()) {
        if ops::metric(forwarder.ops, DEFENDED).await? > 0.0 {
            return Ok((forwarder, *mac));
        }
    }
    anyhow::bail!("nobody defends the link")
}

/// A new defender advertises itself at once.
async fn another(advertisements: &mut Receiver<Heard>, before: Mac) -> Result<()> {
    let heard = async {
        while advertisements.recv().await?.from == before {}
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, heard).await.context("nobody takes over")?
}
