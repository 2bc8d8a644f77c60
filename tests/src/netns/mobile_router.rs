//! A mobile router (RFC 3963): a host behind it is reached through its tunnel.

use anyhow::{Result, ensure};
use mobile_node::{Error, MobileNode};

use super::capture::Frame;
use super::lab::{AGENT, CORRESPONDENT, Lab, care_of, expect};
use super::surroundings::{HOST, MOBILE_NETWORK, MobileNetwork};

const ON_X: &str = "2001:db8:a::11";
const ON_Y: &str = "2001:db8:b::22";
const IPV4_ON_Y: &str = "172.30.11.50";

/// A mobile network of nobody.
const NOT_ITS_OWN: &str = "2001:db8:200::/56";
/// Not authorized for prefix (RFC 3963 §4.2).
const NOT_AUTHORIZED: &str = "142";

/// Names its prefix in the updates on one link, leaves it to the home agent on another, and goes by
/// UDP.
pub(super) async fn tell(lab: &mut Lab) -> Result<()> {
    let network = MobileNetwork::build(lab).await?;
    lab.provision(|_| {}, |record| record.mobile_networks = vec![MOBILE_NETWORK.to_owned()])
        .await?;
    for (is_explicit, link, address) in
        [(true, "link-a", ON_X), (false, "link-b", ON_Y), (true, "link-b", IPV4_ON_Y)]
    {
        let mut config = lab.node()?;
        config.mobile_router = true;
        config.mobile_network_prefixes = vec![MOBILE_NETWORK.parse()?];
        config.mobile_network_explicit = is_explicit;
        config.care_of.push(care_of(1, link, address)?);
        let node = MobileNode::start(config).await?;
        node.register(false).await?;
        let stored = lab.bindings().await?;
        ensure!(stored.mobile_router && stored.mobile_networks == [MOBILE_NETWORK], "{stored:?}");
        let down = lab.ping_from_correspondent(HOST).await?;
        ensure!(down.lost == 0, "to the host, explicit {is_explicit}: {down:?}");
        let up = network.ping(lab, CORRESPONDENT).await?;
        ensure!(up.lost == 0, "from the host, explicit {is_explicit}: {up:?}");
        lab.expect_both_ways().await?;
        node.deregister(&[]).await?;
        lab.expect_gone().await?;
        let seen = lab.ping_from_correspondent(HOST).await?;
        ensure!(seen.replies.is_empty(), "the host is reached without a binding: {seen:?}");
        node.stop().await?;
    }
    claim_of_another(lab).await?;
    check(lab)
}

/// A prefix that is not the node's brings no binding.
async fn claim_of_another(lab: &Lab) -> Result<()> {
    let mut config = lab.node()?;
    config.mobile_router = true;
    config.mobile_network_prefixes = vec![NOT_ITS_OWN.parse()?];
    config.care_of.push(care_of(1, "link-a", ON_X)?);
    let node = MobileNode::start(config).await?;
    let claimed = node.register(false).await;
    ensure!(matches!(claimed, Err(Error::Refused(_))), "{claimed:?}");
    lab.expect_gone().await?;
    Ok(node.stop().await?)
}

fn check(lab: &mut Lab) -> Result<()> {
    let frames = lab.decode()?;
    expect(&frames, "a refusal of the prefix", |frame| {
        frame.is_acknowledgement(NOT_AUTHORIZED) && frame.goes(&[AGENT], &[ON_X])
    })?;
    expect(&frames, "an update of a router in UDP", |frame| {
        frame.has("ip.src", &[IPV4_ON_Y])
            && frame.is_update(&["1"])
            && frame.has("mip6.nemo.bu.r_flag", &["1"])
            && !frame.has("mip6.bu.lifetime", &["0"])
    })?;
    expect(&frames, "an echo request to the host in UDP", |frame| {
        frame.has("ip.dst", &[IPV4_ON_Y]) && frame.goes(&[CORRESPONDENT], &[HOST])
    })?;
    let named: &[&str] = &["2001:db8:100::"];
    for (care_of, prefixes) in [(ON_X, named), (ON_Y, &[])] {
        expect(&frames, &format!("an update of a router at {care_of}"), |frame| {
            frame.is_update(&["1"])
                && frame.goes(&[care_of], &[AGENT])
                && frame.has("mip6.nemo.bu.r_flag", &["1"])
                && frame.has("mip6.nemo.mnp.mnp", prefixes)
                && !frame.has("mip6.bu.lifetime", &["0"])
        })?;
        expect(&frames, &format!("an acknowledgement of a router to {care_of}"), |frame| {
            frame.is_acknowledgement("0")
                && frame.goes(&[AGENT], &[care_of])
                && frame.has("mip6.nemo.ba.r_flag", &["1"])
        })?;
        let tunnelled = |frame: &Frame, kind: &str, from: [&str; 2], to: [&str; 2]| {
            frame.goes(&from, &to) && frame.has("icmpv6.type", &[kind])
        };
        expect(&frames, &format!("an echo request to the host by way of {care_of}"), |frame| {
            tunnelled(frame, "128", [AGENT, CORRESPONDENT], [care_of, HOST])
        })?;
        expect(&frames, &format!("an echo request of the host by way of {care_of}"), |frame| {
            tunnelled(frame, "128", [care_of, HOST], [AGENT, CORRESPONDENT])
        })?;
    }
    Ok(())
}
