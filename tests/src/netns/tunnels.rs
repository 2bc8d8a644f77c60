//! Each kind of tunnel with a kernel at both ends of the inner path: ping, datagrams and large transfers, over
//! links of 1500 octets and then over a path that is narrower on its way to the mobile node.

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use homeport_hostnet::Namespace;
use mobile_node::MobileNode;

use super::capture::{Capture, Frame};
use super::lab::{AGENT, AGENT_IPV4, CORRESPONDENT, HOME, Lab, care_of, run};
use super::ping::ping;
use super::surroundings::{
    CORRESPONDENT_IPV4, HOST, MOBILE_NETWORK, MobileNetwork, POOL, add_ipv4,
};
use super::transfer::Ends;
use crate::eventually;

/// Octets of a transfer, each way.
const OCTETS: usize = 10 << 20;
/// The narrow path.
const NARROW: usize = 1400;
/// Octets of the largest packet on the links.
const WIDE: usize = 1500;
/// The router's link to the forwarder that has the home prefix.
const FORWARDER: &str = "forwarder-1";
/// Octets of headers before a datagram's data.
const UDP_IN_IPV6: usize = 48;
const UDP_IN_IPV4: usize = 28;
/// Address of the router towards the home agent, which the translator puts in place of others.
const TRANSLATED: &str = "172.31.1.1";

/// A registration, and what goes through its tunnel.
struct Kind {
    name: &'static str,
    /// On the wide link, and on the narrow path.
    care_of: [&'static str; 2],
    is_router: bool,
    families: &'static [Family],
    /// Octets that the tunnel adds.
    overhead: usize,
    /// Protocol of the outer header that carries the packets: IPv6 or IPv4 header, UDP.
    outer: Outer,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Family {
    Ipv6,
    Ipv4,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outer {
    Ipv6,
    Ipv4,
    Udp,
}

const BOTH: &[Family] = &[Family::Ipv6, Family::Ipv4];

const KINDS: [Kind; 4] = [
    Kind {
        name: "ipv6",
        care_of: ["2001:db8:a::11", "2001:db8:b::22"],
        is_router: false,
        families: BOTH,
        overhead: 40,
        outer: Outer::Ipv6,
    },
    Kind {
        name: "router",
        care_of: ["2001:db8:a::33", "2001:db8:b::44"],
        is_router: true,
        families: &[Family::Ipv6],
        overhead: 40,
        outer: Outer::Ipv6,
    },
    Kind {
        name: "ipv4",
        care_of: ["172.30.10.50", "172.30.11.50"],
        is_router: false,
        families: BOTH,
        overhead: 20,
        outer: Outer::Ipv4,
    },
    Kind {
        name: "udp",
        care_of: ["172.30.10.60", "172.30.11.60"],
        is_router: false,
        families: BOTH,
        overhead: 28,
        outer: Outer::Udp,
    },
];

/// All kinds of tunnels, in the TUN.
pub(super) async fn tell(lab: &mut Lab) -> Result<()> {
    prepare(lab).await?;
    let network = MobileNetwork::build(lab).await?;
    for kind in &KINDS {
        if kind.outer == Outer::Udp {
            translate(lab)?;
        }
        through(lab, kind, &network).await.with_context(|| format!("tunnels: {}", kind.name))?;
    }
    Ok(())
}

/// IPv6 in IPv6 once more, by XDP.
pub(super) async fn tell_xdp(lab: &mut Lab) -> Result<()> {
    prepare(lab).await?;
    let network = MobileNetwork::build(lab).await?;
    // The kernels' checksums are made by the links, which there are none of for XDP; and a link that
    // takes redirected frames must be woken by them.
    let Lab { namespaces, .. } = lab;
    let (correspondent, router) = (namespaces.correspondent.clone(), namespaces.router.clone());
    run(&correspondent, &["ethtool", "-K", "uplink", "tx", "off"])?;
    for link in ["forwarder-1", "forwarder-2"] {
        run(&router, &["ethtool", "-K", link, "gro", "on"])?;
    }
    lab.switch_xdp_on().await?;
    through(lab, &KINDS[0], &network).await?;
    for (cause, what) in [("encapsulated", "into tunnels"), ("decapsulated", "out of tunnels")] {
        let sent = lab.sent_by_xdp(cause).await?;
        println!("{sent} packets {what} by XDP");
        // One way of the transfer alone is as many.
        let at_least = u64::try_from(OCTETS / WIDE)?;
        ensure!(sent > at_least, "{sent} packets {what} by XDP");
    }
    Ok(())
}

/// IPv4 at the correspondent node, and what the mobile node may have.
async fn prepare(lab: &Lab) -> Result<()> {
    add_ipv4(lab).await?;
    let prefix = |prefix: &mut homeport_api::admin::HomePrefix| {
        prefix.ipv4_pool = POOL.to_owned();
        prefix.force_udp_encapsulation = Some(false);
    };
    lab.provision(prefix, |record| record.mobile_networks = vec![MOBILE_NETWORK.to_owned()])
        .await?;
    // Routes towards link B are narrow, whatever the link itself takes.
    let mtu = NARROW.to_string();
    for (family, prefix, metric) in
        [("-6", "2001:db8:b::/64", "128"), ("-4", "172.30.11.0/24", "0")]
    {
        let route = ["ip", family, "route", "replace", prefix, "dev", "link-b"];
        run(&lab.namespaces.router, &[&route[..], &["metric", metric, "mtu", &mtu]].concat())?;
    }
    Ok(())
}

/// A translator of addresses between the foreign links and the home agent.
fn translate(lab: &Lab) -> Result<()> {
    let router = &lab.namespaces.router;
    let port = lab.udp_port.to_string();
    run(router, &["nft", "add table ip translator"])?;
    let chain = "add chain ip translator out { type nat hook postrouting priority 100; }";
    run(router, &["nft", chain])?;
    let rule = format!(
        "add rule ip translator out oifname \"forwarder-1\" udp dport {port} masquerade to :40000-50000"
    );
    run(router, &["nft", &rule])
}

/// Registers from the wide link, moves behind the narrow path, and leaves.
async fn through(lab: &mut Lab, kind: &Kind, network: &MobileNetwork) -> Result<()> {
    let mut config = lab.node()?;
    config.ipv4_home_address =
        kind.families.contains(&Family::Ipv4).then_some(std::net::Ipv4Addr::UNSPECIFIED);
    if kind.is_router {
        config.mobile_router = true;
        config.mobile_network_prefixes = vec![MOBILE_NETWORK.parse()?];
    }
    config.force_udp = false;
    config.care_of.push(care_of(1, "link-a", kind.care_of[0])?);
    let node = MobileNode::start(config).await?;
    node.register(false).await?;
    let stored = lab.bindings().await?;
    let is_translated = stored.bindings.iter().any(|it| it.care_of_address == TRANSLATED);
    ensure!(is_translated == (kind.outer == Outer::Udp), "{stored:?}");
    let ends = ends(lab, kind, network, &stored.ipv4_home_address).await?;
    phase(lab, kind, &ends, WIDE, "wide").await.context("over links of 1500 octets")?;
    node.move_to(care_of(1, "link-b", kind.care_of[1])?).await?;
    phase(lab, kind, &ends, NARROW, "narrow").await.context("over a path of 1400 octets")?;
    node.deregister(&[]).await?;
    lab.expect_gone().await?;
    node.stop().await?;
    Ok(())
}

/// The ends of the inner path, one pair for each family.
async fn ends(
    lab: &Lab,
    kind: &Kind,
    network: &MobileNetwork,
    home_ipv4: &str,
) -> Result<Vec<(Family, Ends)>> {
    let correspondent = lab.namespaces.correspondent.clone();
    let node = lab.namespaces.mobile_node.clone();
    let mut all = Vec::new();
    for family in kind.families {
        let (mobile, other): ((String, IpAddr), &str) = match family {
            Family::Ipv6 if kind.is_router => ((network.name(), HOST.parse()?), CORRESPONDENT),
            Family::Ipv6 => ((node.clone(), HOME.parse()?), CORRESPONDENT),
            Family::Ipv4 => ((node.clone(), home_ipv4.parse()?), CORRESPONDENT_IPV4),
        };
        eventually("the home address in the host", async || {
            let bind = || std::net::UdpSocket::bind((mobile.1, 0));
            Namespace::from(mobile.0.as_str()).run(bind)?.map(drop).context("nobody has it")
        })
        .await?;
        let ends = Ends { mobile, correspondent: (correspondent.clone(), other.parse()?) };
        all.push((*family, ends));
    }
    Ok(all)
}

/// All that is to pass, on a path of this MTU, and what the captures say about it.
async fn phase(
    lab: &mut Lab,
    kind: &Kind,
    ends: &[(Family, Ends)],
    mtu: usize,
    label: &str,
) -> Result<()> {
    let label = format!("{}-{label}", kind.name);
    let correspondent = lab.namespaces.correspondent.clone();
    for family in ["-6", "-4"] {
        run(&correspondent, &["ip", family, "route", "flush", "cache"])?;
    }
    let directory = lab.directory().to_owned();
    let errors = ["icmp or icmp6"];
    let told = Capture::begin(&correspondent, "uplink", &directory, &label, &errors).await?;
    // Not at the forwarder itself, where XDP takes and sends frames that no capture sees.
    let router = lab.namespaces.router.clone();
    let heard = Capture::begin(&router, FORWARDER, &directory, &label, &errors).await?;
    for (family, ends) in ends {
        let tunnels = tunnels(lab, kind, *family, &label, &directory).await?;
        both_ways(lab, ends).await.with_context(|| format!("{family:?}"))?;
        let frames = lab.judge(vec![tunnels])?;
        expect_tunnels(&frames, kind, *family, ends)?;
        let header = if *family == Family::Ipv6 { UDP_IN_IPV6 } else { UDP_IN_IPV4 };
        ends.echo(100).await?;
        ends.echo(WIDE - header).await?;
        ends.transfer(if mtu == WIDE { OCTETS / 5 } else { OCTETS }).await?;
    }
    let told = lab.judge(vec![told])?;
    for (family, _) in ends {
        expect_told(&told, *family, mtu - kind.overhead)?;
    }
    let heard = lab.judge(vec![heard])?;
    let from_path = heard.iter().any(|frame| is_too_big_for_agent(frame, kind, mtu));
    ensure!(from_path == (mtu == NARROW), "an error of the tunnel path: {from_path}; {heard:#?}");
    Ok(())
}

/// Forty frames of the tunnel.
async fn tunnels(
    lab: &Lab,
    kind: &Kind,
    family: Family,
    label: &str,
    directory: &Path,
) -> Result<Capture> {
    let inner = if family == Family::Ipv6 { 41 } else { 4 };
    let filter = match kind.outer {
        Outer::Ipv6 => format!("ip6 proto {inner}"),
        Outer::Ipv4 => format!("ip proto {inner}"),
        Outer::Udp => format!("udp port {} and not ip6", lab.udp_port),
    };
    let label = format!("{label}-{family:?}");
    Capture::begin(&lab.namespaces.router, FORWARDER, directory, &label, &["-c", "40", &filter])
        .await
}

/// Pings both ways.
async fn both_ways(lab: &Lab, ends: &Ends) -> Result<()> {
    let (mobile, correspondent) = (&ends.mobile, &ends.correspondent);
    for (from, to) in [(correspondent, mobile), (mobile, correspondent)] {
        let (source, destination) = (from.1.to_string(), to.1.to_string());
        let seen = ping(&from.0, &["-I", &source, &destination], lab.directory()).await?;
        ensure!(seen.lost == 0, "from {source} to {destination}: {seen:?}");
    }
    Ok(())
}

fn expect_tunnels(frames: &[Frame], kind: &Kind, family: Family, ends: &Ends) -> Result<()> {
    let (mobile, other) = (ends.mobile.1.to_string(), ends.correspondent.1.to_string());
    let agent = if kind.outer == Outer::Ipv6 { AGENT } else { AGENT_IPV4 };
    let addresses =
        |of_family: bool| if of_family { ["ipv6.src", "ipv6.dst"] } else { ["ip.src", "ip.dst"] };
    let outer = addresses(kind.outer == Outer::Ipv6);
    let inner = addresses(family == Family::Ipv6);
    for (is_down, from, to) in [(true, &other, &mobile), (false, &mobile, &other)] {
        let is_seen = frames.iter().any(|frame| {
            let agents = frame.all(outer[usize::from(!is_down)]).first();
            agents.is_some_and(|it| it == agent)
                && frame.all(inner[0]).last() == Some(from)
                && frame.all(inner[1]).last() == Some(to)
        });
        ensure!(is_seen, "{family:?} in {:?} from {from} to {to}: {frames:#?}", kind.outer);
    }
    Ok(())
}

/// The correspondent node was told how large packets may be.
fn expect_told(frames: &[Frame], family: Family, mtu: usize) -> Result<()> {
    let mtu = mtu.to_string();
    let is_told = |frame: &Frame| match family {
        Family::Ipv6 => {
            first(frame, "icmpv6.type") == Some("2")
                && first(frame, "icmpv6.mtu") == Some(&mtu)
                && first(frame, "ipv6.src") == Some(AGENT)
                && first(frame, "ipv6.dst") == Some(CORRESPONDENT)
        }
        Family::Ipv4 => {
            first(frame, "icmp.type") == Some("3")
                && first(frame, "icmp.code") == Some("4")
                && first(frame, "icmp.mtu") == Some(&mtu)
                && first(frame, "ip.src") == Some(AGENT_IPV4)
                && first(frame, "ip.dst") == Some(CORRESPONDENT_IPV4)
        }
    };
    ensure!(frames.iter().any(is_told), "{family:?} was not told of {mtu}: {frames:#?}");
    Ok(())
}

/// A router of the tunnel path says that it is too narrow.
fn is_too_big_for_agent(frame: &Frame, kind: &Kind, mtu: usize) -> bool {
    let mtu = mtu.to_string();
    match kind.outer {
        Outer::Ipv6 => {
            first(frame, "icmpv6.type") == Some("2")
                && first(frame, "icmpv6.mtu") == Some(&mtu)
                && first(frame, "ipv6.dst") == Some(AGENT)
        }
        Outer::Ipv4 | Outer::Udp => {
            first(frame, "icmp.type") == Some("3")
                && first(frame, "icmp.code") == Some("4")
                && first(frame, "icmp.mtu") == Some(&mtu)
                && first(frame, "ip.dst") == Some(AGENT_IPV4)
        }
    }
}

/// The outermost value.
fn first<'f>(frame: &'f Frame, field: &str) -> Option<&'f str> {
    frame.all(field).first().map(String::as_str)
}
