//! IPv4 home addresses, and IPv4 care-of addresses that need no UDP (RFC 5555).

use anyhow::{Context as _, Result, ensure};
use homeport_hostnet::Namespace;
use mobile_node::MobileNode;

use super::lab::{AGENT, AGENT_IPV4, CORRESPONDENT, HOME, Lab, care_of, expect, expect_none};
use super::ping::ping;
use super::surroundings::{CORRESPONDENT_IPV4, POOL, add_ipv4};
use crate::eventually;

const ON_X: &str = "2001:db8:a::11";
const IPV4_ON_Y: &str = "172.30.11.50";
/// Protocol numbers.
const IPV6: &str = "41";
const IPV4: &str = "4";
const UDP: &str = "17";
const ICMP: &str = "1";

/// An address out of the pool, used from an IPv6 link and then from an IPv4 one in UDP.
pub(super) async fn tell_in_udp(lab: &mut Lab) -> Result<()> {
    add_ipv4(lab).await?;
    lab.provision(|prefix| prefix.ipv4_pool = POOL.to_owned(), |_| {}).await?;
    let home = roam(lab, true).await?;
    let frames = lab.decode()?;
    for (outer, inner) in [
        ([AGENT_IPV4, IPV4_ON_Y], [CORRESPONDENT_IPV4, home.as_str()]),
        ([IPV4_ON_Y, AGENT_IPV4], [home.as_str(), CORRESPONDENT_IPV4]),
    ] {
        expect(&frames, &format!("IPv4 from {} in UDP", outer[0]), |frame| {
            frame.has("ip.proto", &[UDP, ICMP])
                && frame.has("ip.src", &[outer[0], inner[0]])
                && frame.has("ip.dst", &[outer[1], inner[1]])
                && frame.has("icmp.type", &["8"])
        })?;
    }
    expect_none(&frames, "data without UDP", |frame| {
        frame.has("ip.proto", &[IPV6]) || frame.has("ip.proto", &[IPV4, ICMP])
    })
}

/// The same without UDP.
pub(super) async fn tell_bare(lab: &mut Lab) -> Result<()> {
    add_ipv4(lab).await?;
    let prefix = |prefix: &mut homeport_api::admin::HomePrefix| {
        prefix.ipv4_pool = POOL.to_owned();
        prefix.force_udp_encapsulation = Some(false);
    };
    lab.provision(prefix, |_| {}).await?;
    let home = roam(lab, false).await?;
    check(lab, &home)
}

/// The address that the node gets; all works with it, and at the end nothing.
async fn roam(lab: &Lab, force_udp: bool) -> Result<String> {
    let mut config = lab.node()?;
    config.force_udp = force_udp;
    config.ipv4_home_address = Some(std::net::Ipv4Addr::UNSPECIFIED);
    config.care_of.push(care_of(1, "link-a", ON_X)?);
    let node = MobileNode::start(config).await?;
    node.register(false).await?;
    let home = lab.bindings().await?.ipv4_home_address;
    let (inside, _) = POOL.rsplit_once(".0/").context("the pool")?;
    ensure!(home.starts_with(inside), "{home:?} is not of {POOL}");
    expect_ipv4_both_ways(lab, &home).await?;
    lab.expect_both_ways().await?;

    node.move_to(care_of(1, "link-b", IPV4_ON_Y)?).await?;
    let stored = lab.bindings().await?;
    ensure!(stored.ipv4_home_address == home, "the move has changed it: {stored:?}");
    ensure!(stored.bindings.len() == 1, "{stored:?}");
    ensure!((stored.bindings[0].udp_port != 0) == force_udp, "{stored:?}");
    lab.expect_both_ways().await?;
    expect_ipv4_both_ways(lab, &home).await?;
    node.deregister(&[]).await?;
    lab.expect_gone().await?;
    let seen = lab.ping_from_correspondent(&home).await?;
    ensure!(seen.replies.is_empty(), "IPv4 still flows: {seen:?}");
    node.stop().await?;
    Ok(home)
}

/// The kernels reach each other over IPv4. The host gets its address after the acknowledgement.
async fn expect_ipv4_both_ways(lab: &Lab, home: &str) -> Result<()> {
    eventually("the IPv4 home address in the host", async || {
        let bind = || std::net::UdpSocket::bind((home, 0));
        let bound = Namespace::from(lab.namespaces.mobile_node.as_str()).run(bind)?;
        bound.map(drop).context("nobody has it")
    })
    .await?;
    let down = lab.ping_from_correspondent(home).await?;
    ensure!(down.lost == 0, "to the IPv4 home address: {down:?}");
    let arguments = ["-I", home, CORRESPONDENT_IPV4];
    let up = ping(&lab.namespaces.mobile_node, &arguments, lab.directory()).await?;
    ensure!(up.lost == 0, "from the IPv4 home address: {up:?}");
    Ok(())
}

fn check(lab: &mut Lab, home: &str) -> Result<()> {
    let frames = lab.decode()?;
    expect(&frames, "a wish for any IPv4 home address", |frame| {
        frame.is_update(&["1"]) && frame.has("mip6.ipv4ha.ha", &["0.0.0.0"])
    })?;
    expect(&frames, "an IPv4 home address", |frame| {
        frame.is_acknowledgement("0")
            && frame.has("mip6.ipv4ha.ha", &[home])
            && frame.has("mip6.ipv4aa.sts", &["0"])
    })?;
    for (inner, outer) in
        [([CORRESPONDENT_IPV4, home], [AGENT, ON_X]), ([home, CORRESPONDENT_IPV4], [ON_X, AGENT])]
    {
        expect(&frames, &format!("an IPv4 echo request from {} in IPv6", inner[0]), |frame| {
            frame.has("icmp.type", &["8"])
                && frame.goes(&[outer[0]], &[outer[1]])
                && frame.has("ip.src", &[inner[0]])
                && frame.has("ip.dst", &[inner[1]])
        })?;
    }
    expect(&frames, "an update in UDP without F", |frame| {
        frame.is_update(&["1"])
            && frame.has("ip.src", &[IPV4_ON_Y])
            && frame.has("ip.proto", &[UDP])
            && frame.has("mip6.bu.f_flag", &["0"])
    })?;
    for (outer, ipv6, ipv4) in [
        ([AGENT_IPV4, IPV4_ON_Y], [CORRESPONDENT, HOME], [CORRESPONDENT_IPV4, home]),
        ([IPV4_ON_Y, AGENT_IPV4], [HOME, CORRESPONDENT], [home, CORRESPONDENT_IPV4]),
    ] {
        expect(&frames, &format!("IPv6 from {} in protocol 41", outer[0]), |frame| {
            frame.has("ip.proto", &[IPV6])
                && frame.has("ip.src", &[outer[0]])
                && frame.has("ip.dst", &[outer[1]])
                && frame.goes(&[ipv6[0]], &[ipv6[1]])
                && frame.has("icmpv6.type", &["128"])
        })?;
        expect(&frames, &format!("IPv4 from {} in protocol 4", outer[0]), |frame| {
            frame.has("ip.proto", &[IPV4, ICMP])
                && frame.has("ip.src", &[outer[0], ipv4[0]])
                && frame.has("ip.dst", &[outer[1], ipv4[1]])
                && frame.has("icmp.type", &["8"])
        })?;
    }
    expect_none(&frames, "data in UDP", |frame| {
        frame.has("ip.proto", &[UDP])
            && frame.all("mip6.mhtype").is_empty()
            && !frame.all("icmpv6.type").is_empty()
    })
}
