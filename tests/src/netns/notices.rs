//! What the home agent says unasked: Binding Revocation (RFC 5846), Home Agent Switch (RFC 5142) and
//! Binding Refresh Request (RFC 6275 §6.1.2).

use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use mobile_node::{Event, Events, MobileNode, NodeEvent};
use tokio::time::timeout;

use super::capture::Frame;
use super::lab::{AGENT, HOME, Lab, care_of, expect, expect_none};
use crate::dev::program;
use crate::{PATIENCE, eventually};

const ON_A: &str = "2001:db8:a::11";
const LONG_ON_A: &str = "2001:db8:a::12";
const IPV4_ON_B: &str = "172.30.11.50";
/// Mobility Header types.
const REFRESH_REQUEST: &str = "0";
const SWITCH: &str = "12";
const REVOCATION: &str = "16";
/// Binding revocation types.
const INDICATION: &str = "1";
const REVOCATION_ACKNOWLEDGEMENT: &str = "2";
/// An address of the home prefix where nobody is. tshark looks for the options of a Home Agent Switch
/// six octets too early, inside the last address: zeros there are Pad1 to it.
const NOBODY: &str = "2001:db8:0:1:1::";

/// An operator revokes the binding of an IPv4 care-of address, then the others, and later once more:
/// only an administrative revocation keeps the node away.
pub(super) async fn tell_revocation(lab: &mut Lab) -> Result<()> {
    let mut config = lab.node()?;
    config.care_of.push(care_of(1, "link-a", ON_A)?);
    config.care_of.push(care_of(2, "link-b", IPV4_ON_B)?);
    let node = MobileNode::start(config).await?;
    node.register(true).await?;
    expect_bids(lab, &node, &[1, 2]).await?;
    lab.expect_both_ways().await?;
    homeportctl(lab, &["bindings", "revoke", HOME, "--bid", "2"]).await?;
    expect_bids(lab, &node, &[1]).await?;
    lab.expect_both_ways().await?;
    let trigger = "user-session-ended";
    homeportctl(lab, &["bindings", "revoke", HOME, "--trigger", trigger]).await?;
    expect_bids(lab, &node, &[]).await?;
    lab.expect_gone().await?;
    node.register(true).await?;
    expect_bids(lab, &node, &[1, 2]).await?;
    lab.expect_both_ways().await?;
    homeportctl(lab, &["bindings", "revoke", HOME]).await?;
    expect_bids(lab, &node, &[]).await?;
    lab.expect_gone().await?;
    node.stop().await?;

    let frames = lab.decode()?;
    let is = |frame: &Frame, kind: &str| {
        frame.has("mip6.mhtype", &[REVOCATION]) && frame.has("mip6.bri_br.type", &[kind])
    };
    expect(&frames, "a revocation of BID 2", |frame| {
        is(frame, INDICATION) && frame.has("mip6.bi.bid", &["2"]) && frame.has("ipv6.src", &[AGENT])
    })?;
    expect(&frames, "a revocation of all", |frame| {
        is(frame, INDICATION)
            && frame.all("mip6.bi.bid").is_empty()
            && frame.has("mip6.auth.mobility_spi", &["256"])
    })?;
    let answers = frames.iter().filter(|frame| {
        is(frame, REVOCATION_ACKNOWLEDGEMENT)
            && frame.has("ipv6.dst", &[AGENT])
            && frame.has("mip6.bri_status", &["0"])
            && frame.has("mip6.auth.mobility_spi", &["256"])
    });
    ensure!(answers.count() >= 3, "three revocations are not acknowledged");
    Ok(())
}

/// An operator lets the node look for a home agent: there is no other.
pub(super) async fn tell_search(lab: &mut Lab) -> Result<()> {
    lab.provision(|prefix| prefix.home_agent_discovery_allowed = true, |_| {}).await?;
    let mut config = lab.node()?;
    config.care_of.push(care_of(1, "link-a", ON_A)?);
    let node = MobileNode::start(config).await?;
    node.register(false).await?;
    let mut events = node.events();
    homeportctl(lab, &["home-agents", "switch", HOME]).await?;
    heard(&mut events, "home agents", |event| matches!(event, Event::HomeAgents { .. })).await?;
    heard(&mut events, "a binding", |event| matches!(event, Event::Registered { .. })).await?;
    expect_bids(lab, &node, &[1]).await?;
    lab.expect_both_ways().await?;
    node.deregister(&[]).await?;
    node.stop().await?;
    let frames = lab.decode()?;
    expect(&frames, "a Home Agent Switch without addresses", |frame| {
        frame.has("mip6.mhtype", &[SWITCH]) && frame.has("mip6.has.num_addrs", &["0"])
    })
}

/// An operator sends the node to another home agent, which does not answer.
pub(super) async fn tell_switch(lab: &mut Lab) -> Result<()> {
    let mut config = lab.node()?;
    config.care_of.push(care_of(1, "link-a", ON_A)?);
    let node = MobileNode::start(config).await?;
    node.register(false).await?;
    lab.expect_both_ways().await?;
    let mut events = node.events();
    homeportctl(lab, &["home-agents", "switch", HOME, "--to", NOBODY]).await?;
    heard(&mut events, "a switch", |event| matches!(event, Event::HomeAgentSwitch { .. })).await?;
    let to: std::net::Ipv6Addr = NOBODY.parse()?;
    let goes = |event: &Event| matches!(event, Event::HomeAgent { address } if *address == to);
    heard(&mut events, "the other home agent", goes).await?;
    expect_bids(lab, &node, &[]).await?;
    lab.expect_gone().await?;
    node.stop().await?;

    let frames = lab.decode()?;
    expect(&frames, "a Home Agent Switch in the tunnel", |frame| {
        frame.has("mip6.mhtype", &[SWITCH])
            && frame.goes(&[AGENT, AGENT], &[ON_A, HOME])
            && frame.has("mip6.has.num_addrs", &["1"])
            && frame.has("mip6.auth.mobility_spi", &["256"])
    })?;
    expect(&frames, "the end of all bindings", |frame| {
        frame.is_update(&[]) && frame.has("mip6.bu.lifetime", &["0"])
    })?;
    expect(&frames, "an update to the other home agent", |frame| {
        frame.has("mip6.mhtype", &["5"]) && frame.goes(&[ON_A], &[NOBODY])
    })
}

/// The node does not refresh by itself; the home agent reminds it as long as data flows.
pub(super) async fn tell_refresh(lab: &mut Lab) -> Result<()> {
    // Far from its end nobody reminds, however much data flows.
    let mut config = lab.node()?;
    config.care_of.push(care_of(1, "link-a", LONG_ON_A)?);
    let node = MobileNode::start(config).await?;
    node.register(false).await?;
    lab.expect_both_ways().await?;
    node.deregister(&[]).await?;
    node.stop().await?;
    refresh(lab, "link-a", ON_A).await?;
    refresh(lab, "link-b", IPV4_ON_B).await?;
    let frames = lab.decode()?;
    let is_for = |frame: &Frame| {
        frame.has("mip6.mhtype", &[REFRESH_REQUEST]) && frame.has("mip6.bi.bid", &["1"])
    };
    expect_none(&frames, "a Binding Refresh Request far from the end", |frame| {
        frame.has("mip6.mhtype", &[REFRESH_REQUEST])
            && frame.all("ipv6.dst").iter().any(|it| it == LONG_ON_A)
    })?;
    expect(&frames, "a Binding Refresh Request for BID 1 in the tunnel", |frame| {
        is_for(frame) && frame.goes(&[AGENT, AGENT], &[ON_A, HOME])
    })?;
    expect(&frames, "a Binding Refresh Request for BID 1 in UDP", |frame| {
        is_for(frame) && frame.goes(&[AGENT], &[HOME]) && frame.has("ip.dst", &[IPV4_ON_B])
    })
}

async fn refresh(lab: &Lab, link: &str, address: &str) -> Result<()> {
    const LIFETIME_SECS: u32 = 12;
    let mut config = lab.node()?;
    config.lifetime_secs = LIFETIME_SECS;
    config.refresh.automatic = false;
    config.care_of.push(care_of(1, link, address)?);
    let node = MobileNode::start(config).await?;
    let mut events = node.events();
    node.register(false).await?;
    let before = verified_ms(lab).await?;
    let pinging = lab.keep_pinging()?;
    heard(&mut events, "a refresh request", |event| {
        matches!(event, Event::RefreshRequested { .. })
    })
    .await?;
    heard(&mut events, "a renewed binding", |event| {
        matches!(event, Event::Registered { renewed: true, .. })
    })
    .await?;
    drop(pinging);
    ensure!(verified_ms(lab).await? > before, "the store has not seen a refresh");
    node.deregister(&[]).await?;
    lab.expect_gone().await?;
    Ok(node.stop().await?)
}

async fn verified_ms(lab: &Lab) -> Result<u64> {
    let bindings = lab.bindings().await?.bindings;
    bindings.first().map(|binding| binding.verified_ms).context("there is no binding")
}

/// The store and the node have these bindings and no others.
async fn expect_bids(lab: &Lab, node: &MobileNode, expected: &[u16]) -> Result<()> {
    eventually(&format!("bindings {expected:?}"), async || {
        let stored = lab.bindings().await?.bindings;
        let bids: Vec<Option<u32>> = stored.iter().map(|binding| binding.bid).collect();
        let wanted: Vec<Option<u32>> = expected.iter().map(|bid| Some((*bid).into())).collect();
        ensure!(bids == wanted, "the store has {bids:?}");
        let registered = node.status().await?.registered();
        ensure!(registered == expected, "the node has {registered:?}");
        Ok(())
    })
    .await
}

/// Waits until the node tells of this.
pub(super) async fn heard(
    events: &mut Events,
    what: &str,
    is: impl Fn(&Event) -> bool,
) -> Result<()> {
    let mut others = Vec::new();
    let wait = async {
        loop {
            match events.next().await.map(|it| it.event) {
                Some(NodeEvent::Protocol(event)) if is(&event) => return Ok(()),
                Some(other) => others.push(other),
                None => bail!("the node has ended"),
            }
        }
    };
    let heard = timeout(PATIENCE, wait).await;
    heard.with_context(|| format!("the node tells of no {what}, but {others:?}"))?
}

/// The operator's client.
pub(super) async fn homeportctl(lab: &Lab, arguments: &[&str]) -> Result<()> {
    let stores = lab.cluster.endpoints()?.stores;
    let mut command = Command::new(program("homeportctl")?);
    for address in stores.into_iter().filter_map(|store| store.grpc) {
        command.args(["--endpoint", &address]);
    }
    command.env("HOMEPORT_CONFIG", lab.cluster.context()).args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    ensure!(output.status.success(), "homeportctl {arguments:?}: {output:?}");
    Ok(())
}
