//! From one foreign link to another, and home.

use anyhow::{Result, ensure};
use homeport_hostnet::{Namespace, Network};
use mobile_node::MobileNode;

use super::lab::{AGENT, CORRESPONDENT, HOME, Lab, care_of, expect, expect_none};
use super::median;

const ON_X: &str = "2001:db8:a::11";
const ON_Y: &str = "2001:db8:b::22";

/// The link goes down under the node, which registers its address on another one.
pub(super) async fn tell(lab: &mut Lab) -> Result<()> {
    let mut config = lab.node()?;
    config.care_of.push(care_of(1, "link-a", ON_X)?);
    let node = MobileNode::start(config).await?;
    node.register(false).await?;
    lab.expect_both_ways().await?;

    let pinging = lab.keep_pinging()?;
    pinging.replies(50).await?;
    Network::open(&Namespace::from(lab.namespaces.mobile_node.as_str()))?
        .link_down("link-a")
        .await?;
    node.move_to(care_of(1, "link-b", ON_Y)?).await?;
    pinging.replies(50).await?;
    let seen = pinging.stop()?;
    lab.figure("echo_rtt_ms_p50", median(seen.round_trips_ms()), "ms");
    lab.figure("handover_gap_ms", seen.gap_ms(), "ms");
    lab.figure("handover_lost", f64::from(seen.lost), "1");
    ensure!(seen.sent >= 100 && seen.replies.len() >= 100, "{} requests", seen.sent);
    lab.expect_both_ways().await?;
    let stored = lab.bindings().await?.bindings;
    ensure!(stored.len() == 1 && stored[0].care_of_address == ON_Y, "{stored:?}");

    node.deregister(&[1]).await?;
    lab.expect_gone().await?;
    node.stop().await?;
    check(lab)
}

fn check(lab: &mut Lab) -> Result<()> {
    let frames = lab.decode()?;
    for (care_of, is_end) in [(ON_X, false), (ON_Y, false), (ON_Y, true)] {
        let what = format!("a Binding Update from {care_of}, de-registration {is_end}");
        expect(&frames, &what, |frame| {
            frame.is_update(&["1"])
                && frame.goes(&[care_of], &[AGENT])
                && frame.has("ipv6.opt.mipv6.home_address", &[HOME])
                && frame.has("mip6.bu.a_flag", &["1"])
                && frame.has("mip6.bu.h_flag", &["1"])
                && frame.has("mip6.auth.mobility_spi", &["256"])
                && frame.has("mip6.bu.lifetime", &["0"]) == is_end
        })?;
    }
    for care_of in [ON_X, ON_Y] {
        expect(&frames, &format!("a Binding Acknowledgement to {care_of}"), |frame| {
            frame.is_acknowledgement("0")
                && frame.goes(&[AGENT], &[care_of])
                && frame.has("ipv6.routing.type", &["2"])
                && frame.has("ipv6.routing.mipv6.home_address", &[HOME])
                && frame.has("mip6.bi.bid", &["1"])
                && frame.has("mip6.bi.status", &["0"])
                && frame.has("mip6.auth.mobility_spi", &["256"])
        })?;
        expect(&frames, &format!("an echo request in the tunnel to {care_of}"), |frame| {
            frame.goes(&[AGENT, CORRESPONDENT], &[care_of, HOME])
                && frame.has("icmpv6.type", &["128"])
        })?;
        expect(&frames, &format!("an echo reply in the tunnel from {care_of}"), |frame| {
            frame.goes(&[care_of, HOME], &[AGENT, CORRESPONDENT])
                && frame.has("icmpv6.type", &["129"])
        })?;
    }
    for acknowledgement in frames.iter().filter(|frame| frame.has("mip6.mhtype", &["6"])) {
        expect(&frames, "the sequence number of an acknowledgement", |frame| {
            frame.has("mip6.mhtype", &["5"])
                && frame.all("mip6.bu.seqnr") == acknowledgement.all("mip6.ba.seqnr")
        })?;
    }
    expect_none(&frames, "the home agent refused", |frame| {
        frame.has("mip6.mhtype", &["6"]) && !frame.has("mip6.ba.status", &["0"])
    })
}
