//! Nodes without BIDs (RFC 6275), and with IPv4 care-of addresses (RFC 5555).

use anyhow::{Result, ensure};
use mobile_node::{CareOfConfig, MobileNode};

use super::lab::{AGENT, AGENT_IPV4, CORRESPONDENT, HOME, Lab, care_of, expect, expect_none};

const ON_X: &str = "2001:db8:a::11";
const ON_Y: &str = "2001:db8:b::22";
const IPV4_ON_X: &str = "172.30.10.50";
const IPV4_ON_Y: &str = "172.30.11.50";

/// Registers, moves and leaves with plain Binding Updates.
pub(super) async fn tell_plain(lab: &mut Lab) -> Result<()> {
    let mut config = lab.node()?;
    config.multiple_care_of = false;
    config.care_of.push(care_of(1, "link-a", ON_X)?);
    let node = MobileNode::start(config).await?;
    roam(lab, &node, care_of(1, "link-b", ON_Y)?).await?;
    let frames = lab.decode()?;
    expect_none(&frames, "a BID option", |frame| !frame.all("mip6.bi.bid").is_empty())?;
    for care_of in [ON_X, ON_Y] {
        expect(&frames, &format!("a Binding Update from {care_of}"), |frame| {
            frame.is_update(&[]) && frame.goes(&[care_of], &[AGENT])
        })?;
        expect(&frames, &format!("a Binding Acknowledgement to {care_of}"), |frame| {
            frame.is_acknowledgement("0") && frame.goes(&[AGENT], &[care_of])
        })?;
        expect(&frames, &format!("an echo request in the tunnel to {care_of}"), |frame| {
            frame.goes(&[AGENT, CORRESPONDENT], &[care_of, HOME])
        })?;
    }
    Ok(())
}

/// The same through UDP, with a BID.
pub(super) async fn tell_ipv4(lab: &mut Lab) -> Result<()> {
    let mut config = lab.node()?;
    config.care_of.push(care_of(1, "link-a", IPV4_ON_X)?);
    let node = MobileNode::start(config).await?;
    roam(lab, &node, care_of(1, "link-b", IPV4_ON_Y)?).await?;
    let port = lab.udp_port.to_string();
    let frames = lab.decode()?;
    for care_of in [IPV4_ON_X, IPV4_ON_Y] {
        expect(&frames, &format!("a Binding Update in UDP from {care_of}"), |frame| {
            frame.is_update(&["1"])
                && frame.has("ip.src", &[care_of])
                && frame.has("ip.dst", &[AGENT_IPV4])
                && frame.has("udp.dstport", &[port.as_str()])
                && frame.has("mip6.bu.f_flag", &["1"])
                && frame.goes(&[HOME], &[AGENT])
        })?;
        expect(&frames, &format!("a Binding Acknowledgement in UDP to {care_of}"), |frame| {
            frame.is_acknowledgement("0")
                && frame.has("ip.src", &[AGENT_IPV4])
                && frame.has("ip.dst", &[care_of])
                && frame.has("mip6.natd.f_flag", &["1"])
                && frame.goes(&[AGENT], &[HOME])
        })?;
        expect(&frames, &format!("an echo request in UDP to {care_of}"), |frame| {
            frame.has("icmpv6.type", &["128"])
                && frame.has("ip.dst", &[care_of])
                && frame.goes(&[CORRESPONDENT], &[HOME])
        })?;
    }
    Ok(())
}

async fn roam(lab: &Lab, node: &MobileNode, next: CareOfConfig) -> Result<()> {
    node.register(false).await?;
    lab.expect_both_ways().await?;
    let address = next.address.to_string();
    node.move_to(next).await?;
    let stored = lab.bindings().await?.bindings;
    ensure!(stored.len() == 1 && stored[0].care_of_address == address, "{stored:?}");
    lab.expect_both_ways().await?;
    node.deregister(&[]).await?;
    lab.expect_gone().await?;
    node.stop().await?;
    Ok(())
}
