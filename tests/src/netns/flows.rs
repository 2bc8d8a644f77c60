//! Flow bindings (RFC 6089): one UDP port by one link, everything else by another; or one UDP port by
//! all links at once.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use homeport_hostnet::Namespace;
use mobile_node::{FlowConfig, MobileNode, Ports};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::capture::Frame;
use super::lab::{AGENT, CORRESPONDENT, HOME, Lab, care_of, expect, expect_none};
use crate::{PATIENCE, eventually};

const ON_A: &str = "2001:db8:a::11";
const ON_B: &str = "2001:db8:b::22";
/// The port that goes by link B.
const BOUND_PORT: u16 = 5060;
const OTHER_PORT: u16 = 5061;
/// Flow Identification (RFC 6089 §4.2).
const FLOW_OPTION: &str = "45";

const ON_C: &str = "2001:db8:c::33";
/// The port whose datagrams go by all links.
const COPIED_PORT: u16 = 5062;
/// What nobody may send any more of after this did not come.
const SILENCE: Duration = Duration::from_millis(300);

/// Datagrams of both ports, there and back.
pub(super) async fn tell(lab: &mut Lab) -> Result<()> {
    let on_a = lab.capture("link-a").await?;
    let on_b = lab.capture("link-b").await?;
    let mut config = lab.node()?;
    for (bid, link, address, priority) in [(1, "link-a", ON_A, 10), (2, "link-b", ON_B, 20)] {
        let mut care_of = care_of(bid, link, address)?;
        care_of.priority = Some(priority);
        config.care_of.push(care_of);
    }
    config.flows.push(FlowConfig {
        fid: 7,
        priority: 10,
        bids: vec![2],
        protocol: Some(17),
        destination_port: Some(Ports::One(BOUND_PORT)),
        ..FlowConfig::default()
    });
    let node = MobileNode::start(config).await?;
    node.register(true).await?;
    eventually("the flow binding", async || {
        let flows = lab.bindings().await?.flows;
        ensure!(flows.len() == 1 && flows[0].fid == 7 && flows[0].active, "{flows:?}");
        ensure!(flows[0].bids == [2], "{flows:?}");
        Ok(())
    })
    .await?;
    lab.expect_both_ways().await?;
    for port in [BOUND_PORT, OTHER_PORT] {
        exchange(lab, port).await?;
    }
    node.deregister(&[]).await?;
    lab.expect_gone().await?;
    node.stop().await?;

    let on_a = lab.judge(vec![on_a])?;
    let on_b = lab.judge(vec![on_b])?;
    for (frames, care_of, port, other) in
        [(&on_a, ON_A, OTHER_PORT, BOUND_PORT), (&on_b, ON_B, BOUND_PORT, OTHER_PORT)]
    {
        expect(frames, &format!("a datagram to port {port}"), |frame| {
            is_to(frame, port) && frame.goes(&[AGENT, CORRESPONDENT], &[care_of, HOME])
        })?;
        expect(frames, &format!("a datagram from port {port}"), |frame| {
            is_from(frame, port) && frame.goes(&[care_of, HOME], &[AGENT, CORRESPONDENT])
        })?;
        expect_none(frames, &format!("port {other} by {care_of}"), |frame| {
            is_to(frame, other) || is_from(frame, other)
        })?;
    }
    // But for the test of a care-of address, which comes with a routing header.
    expect_none(&on_b, "echo requests by link B", |frame| {
        frame.has("icmpv6.type", &["128"]) && frame.all("ipv6.routing.type").is_empty()
    })?;
    let frames = lab.decode()?;
    let has_flow =
        |frame: &Frame| frame.all("mip6.mobility_opt").iter().any(|it| it == FLOW_OPTION);
    expect(&frames, "a flow in an update", |frame| {
        frame.has("mip6.mhtype", &["5"]) && has_flow(frame)
    })?;
    expect(&frames, "a flow in an acknowledgement", |frame| {
        frame.is_acknowledgement("0") && has_flow(frame)
    })
}

fn is_to(frame: &Frame, port: u16) -> bool {
    frame.has("udp.dstport", &[&port.to_string()])
}

fn is_from(frame: &Frame, port: u16) -> bool {
    frame.has("udp.srcport", &[&port.to_string()])
}

/// A datagram of the correspondent node to this port, and an answer.
async fn exchange(lab: &Lab, port: u16) -> Result<()> {
    let node = bind(&lab.namespaces.mobile_node, HOME, port)?;
    let correspondent = bind(&lab.namespaces.correspondent, CORRESPONDENT, 0)?;
    let home: Ipv6Addr = HOME.parse()?;
    let mut octets = [0; 64];
    correspondent.send_to(b"question", (home, port)).await?;
    let received = timeout(PATIENCE, node.recv_from(&mut octets)).await;
    let (len, from) = received.with_context(|| format!("nothing came to port {port}"))??;
    ensure!(octets.get(..len) == Some(b"question"), "{octets:?}");
    ensure!(from == correspondent.local_addr()?, "from {from}");
    node.send_to(b"answer", from).await?;
    let received = timeout(PATIENCE, correspondent.recv_from(&mut octets)).await;
    let (len, from) = received.with_context(|| format!("no answer from port {port}"))??;
    ensure!(octets.get(..len) == Some(b"answer"), "{octets:?}");
    ensure!(from == SocketAddr::from((home, port)), "from {from}");
    Ok(())
}

fn bind(namespace: &str, address: &str, port: u16) -> Result<UdpSocket> {
    let address: Ipv6Addr = address.parse()?;
    let bind = || std::net::UdpSocket::bind((address, port));
    let socket = Namespace::from(namespace).run(bind)??;
    socket.set_nonblocking(true)?;
    Ok(UdpSocket::from_std(socket)?)
}

/// BID, link and address, the first one preferred.
const COPIES: [(u16, &str, &str); 3] =
    [(1, "link-a", ON_A), (2, "link-b", ON_B), (3, "link-c", ON_C)];

/// Each datagram of a flow with several BIDs arrives once at each care-of address; when one of them goes,
/// at the others. All else goes one way.
pub(super) async fn tell_copies(lab: &mut Lab) -> Result<()> {
    let mut links = Vec::new();
    let mut config = lab.node()?;
    for (bid, link, address) in COPIES {
        links.push(lab.capture(link).await?);
        let mut care_of = care_of(bid, link, address)?;
        care_of.priority = Some(u8::try_from(bid)? * 10);
        config.care_of.push(care_of);
    }
    config.flows.push(FlowConfig {
        fid: 9,
        priority: 10,
        bids: COPIES.map(|(bid, ..)| bid).to_vec(),
        protocol: Some(17),
        destination_port: Some(Ports::One(COPIED_PORT)),
        ..FlowConfig::default()
    });
    let node = MobileNode::start(config).await?;
    node.register(true).await?;
    eventually("the flow binding", async || {
        let flows = lab.bindings().await?.flows;
        ensure!(flows.len() == 1 && flows[0].active && flows[0].bids == [1, 2, 3], "{flows:?}");
        Ok(())
    })
    .await?;
    lab.expect_both_ways().await?;
    expect_copies(lab, COPIED_PORT, b"to all three", 3).await?;
    expect_copies(lab, OTHER_PORT, b"to the preferred one", 1).await?;
    node.deregister(&[2]).await?;
    expect_copies(lab, COPIED_PORT, b"to those that are left", 2).await?;
    expect_copies(lab, OTHER_PORT, b"to the preferred one again", 1).await?;
    node.deregister(&[]).await?;
    lab.expect_gone().await?;
    node.stop().await?;
    for ((bid, _, address), link) in COPIES.into_iter().zip(links) {
        let frames = lab.judge(vec![link])?;
        let through = |port| {
            let tunnelled = |frame: &&Frame| {
                is_to(frame, port) && frame.goes(&[AGENT, CORRESPONDENT], &[address, HOME])
            };
            frames.iter().filter(tunnelled).count()
        };
        let copied = if bid == 2 { 1 } else { 2 };
        ensure!(through(COPIED_PORT) == copied, "{} copies by {address}", through(COPIED_PORT));
        let others = if bid == 1 { 2 } else { 0 };
        ensure!(through(OTHER_PORT) == others, "{} others by {address}", through(OTHER_PORT));
        let all = frames.iter().filter(|frame| is_to(frame, COPIED_PORT)).count();
        ensure!(all == copied, "{all} datagrams of the flow on that link, {copied} in its tunnel");
    }
    Ok(())
}

/// One datagram of the correspondent node to this port comes so many times.
async fn expect_copies(lab: &Lab, port: u16, text: &[u8], copies: usize) -> Result<()> {
    let node = bind(&lab.namespaces.mobile_node, HOME, port)?;
    let correspondent = bind(&lab.namespaces.correspondent, CORRESPONDENT, 0)?;
    let home: Ipv6Addr = HOME.parse()?;
    let mut octets = [0; 64];
    correspondent.send_to(text, (home, port)).await?;
    for nth in 1..=copies {
        let received = timeout(PATIENCE, node.recv_from(&mut octets)).await;
        let (len, from) = received.with_context(|| format!("no copy {nth} to port {port}"))??;
        ensure!(octets.get(..len) == Some(text), "{octets:?}");
        ensure!(from == correspondent.local_addr()?, "from {from}");
    }
    let more = timeout(SILENCE, node.recv_from(&mut octets)).await;
    ensure!(more.is_err(), "more than {copies} copies to port {port}");
    Ok(())
}
