//! Flow bindings (RFC 6089): one UDP port by one link, everything else by another.

use std::net::{Ipv6Addr, SocketAddr};

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
    expect_none(&on_b, "echo requests by link B", |frame| frame.has("icmpv6.type", &["128"]))?;
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
