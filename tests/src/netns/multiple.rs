//! Several care-of addresses at once (RFC 5648).

use std::time::Duration;

use anyhow::{Result, ensure};
use mobile_node::{MobileNode, PingResult};

use super::lab::{AGENT, CORRESPONDENT, HOME, Lab, care_of, expect};

const ECHO_TIMEOUT: Duration = Duration::from_secs(5);
/// BID, link, address and BID priority: the last one is preferred.
const ADDRESSES: [(u16, &str, &str, u8); 3] = [
    (1, "link-a", "2001:db8:a::11", 30),
    (2, "link-b", "2001:db8:b::22", 20),
    (3, "link-c", "2001:db8:c::33", 10),
];
const MOVED: &str = "2001:db8:b::2b";

/// The preferred address goes, the next one moves.
pub(super) async fn tell(lab: &mut Lab) -> Result<()> {
    let mut config = lab.node()?;
    for (bid, link, address, priority) in ADDRESSES {
        let mut care_of = care_of(bid, link, address)?;
        care_of.priority = Some(priority);
        config.care_of.push(care_of);
    }
    let node = MobileNode::start(config).await?;
    node.register(true).await?;
    expect_bindings(lab, &[(1, ADDRESSES[0].2), (2, ADDRESSES[1].2), (3, ADDRESSES[2].2)]).await?;
    for (bid, ..) in ADDRESSES {
        echo(&node, bid).await?;
    }
    lab.expect_both_ways().await?;
    node.deregister(&[3]).await?;
    expect_bindings(lab, &[(1, ADDRESSES[0].2), (2, ADDRESSES[1].2)]).await?;
    lab.expect_both_ways().await?;
    node.move_care_of(2, MOVED.parse()?).await?;
    expect_bindings(lab, &[(1, ADDRESSES[0].2), (2, MOVED)]).await?;
    echo(&node, 1).await?;
    echo(&node, 2).await?;
    lab.expect_both_ways().await?;
    node.deregister(&[]).await?;
    lab.expect_gone().await?;
    node.stop().await?;
    check(lab)
}

async fn echo(node: &MobileNode, bid: u16) -> Result<()> {
    let replies = node.ping(CORRESPONDENT.parse()?, Some(bid), 2, ECHO_TIMEOUT).await?;
    ensure!(replies.iter().all(PingResult::is_reply), "through BID {bid}: {replies:?}");
    Ok(())
}

async fn expect_bindings(lab: &Lab, expected: &[(u32, &str)]) -> Result<()> {
    let home = lab.bindings().await?;
    let stored: Vec<(u32, &str)> =
        home.bindings.iter().map(|b| (b.bid.unwrap_or(0), b.care_of_address.as_str())).collect();
    ensure!(stored == expected, "the store holds {stored:?}, expected {expected:?}");
    Ok(())
}

fn check(lab: &mut Lab) -> Result<()> {
    let frames = lab.decode()?;
    expect(&frames, "a bulk Binding Update", |frame| {
        frame.is_update(&["1", "2", "3"]) && frame.has("mip6.bu.h_flag", &["1"])
    })?;
    expect(&frames, "an acknowledgement of three bindings", |frame| {
        frame.is_acknowledgement("0")
            && frame.has("mip6.bi.bid", &["1", "2", "3"])
            && frame.has("mip6.bi.status", &["0", "0", "0"])
    })?;
    expect(&frames, "the end of BID 3", |frame| {
        frame.is_update(&["3"]) && frame.has("mip6.bu.lifetime", &["0"])
    })?;
    expect(&frames, "the move of BID 2", |frame| {
        frame.is_update(&["2"]) && frame.has("ipv6.src", &[MOVED])
    })?;
    expect(&frames, "the end of all bindings", |frame| {
        frame.is_update(&[]) && frame.has("mip6.bu.lifetime", &["0"])
    })?;
    for care_of in ADDRESSES.map(|(_, _, address, _)| address).into_iter().chain([MOVED]) {
        expect(&frames, &format!("an echo request in the tunnel from {care_of}"), |frame| {
            frame.goes(&[care_of, HOME], &[AGENT, CORRESPONDENT])
                && frame.has("icmpv6.type", &["128"])
        })?;
    }
    // By priority: BID 3, then BID 2 where it was and where it went.
    for care_of in [ADDRESSES[2].2, ADDRESSES[1].2, MOVED] {
        expect(&frames, &format!("an echo request in the tunnel to {care_of}"), |frame| {
            frame.goes(&[AGENT, CORRESPONDENT], &[care_of, HOME])
                && frame.has("icmpv6.type", &["128"])
        })?;
    }
    Ok(())
}
