//! The network of `tun` mode: a router between the forwarders, three foreign links and a correspondent
//! node, each in a namespace of its own.
//!
//! ```text
//!  forwarder-1 --\              /-- link-a 2001:db8:a::/64 --\
//!  forwarder-2 --- router ------+-- link-b 2001:db8:b::/64 --- mobile node
//!                    |          \-- link-c 2001:db8:c::/64 --/
//!                    \-- correspondent node 2001:db8:f::99
//! ```
//!
//! The router sends the home prefix and the home agent's IPv4 address to the first forwarder that
//! runs, as a routing protocol would.

use std::net::IpAddr;

use anyhow::Context as _;
use homeport_hostnet::{Network, Route, RouteKind, TemporaryNamespace, write_sysctl};

use super::plan::{HOME_AGENT_IPV4, HOME_PREFIX};

/// The foreign links: interface at the mobile node, prefix, third octet of the IPv4 subnet.
const FOREIGN_LINKS: [(&str, &str, u8); 3] = [
    ("link-a", "2001:db8:a::", 10),
    ("link-b", "2001:db8:b::", 11),
    ("link-c", "2001:db8:c::", 12),
];
/// Link-local address of the router on every link.
pub(crate) const ROUTER: &str = "fe80::1";
/// The correspondent node.
pub(crate) const CORRESPONDENT: &str = "2001:db8:f::99";

/// The namespaces; they go when this is dropped.
pub(crate) struct LabNetwork {
    pub(crate) router: TemporaryNamespace,
    pub(crate) forwarders: Vec<TemporaryNamespace>,
    pub(crate) mobile_node: TemporaryNamespace,
    pub(crate) correspondent: TemporaryNamespace,
}

impl LabNetwork {
    /// Builds it for so many forwarders.
    pub(crate) async fn build(forwarders: usize) -> anyhow::Result<Self> {
        let host = |label: &str| -> anyhow::Result<TemporaryNamespace> {
            let host = TemporaryNamespace::create(&format!("homeport-{label}"))?;
            // Addresses are ours alone here, so nobody need wait for Duplicate Address Detection.
            for parameter in ["default/accept_dad", "all/accept_dad"] {
                write_sysctl(&host.namespace(), &format!("net/ipv6/conf/{parameter}"), "0")?;
            }
            Ok(host)
        };
        let lab = Self {
            router: host("router")?,
            forwarders: (1..=forwarders)
                .map(|n| host(&format!("forwarder-{n}")))
                .collect::<anyhow::Result<_>>()?,
            mobile_node: host("mobile-node")?,
            correspondent: host("correspondent")?,
        };
        lab.connect().await.context("the laboratory's network")?;
        Ok(lab)
    }

    async fn connect(&self) -> anyhow::Result<()> {
        let router = Network::open(&self.router.namespace())?;
        router.link_up("lo").await?;
        forward(&self.router)?;
        for (n, forwarder) in self.forwarders.iter().enumerate() {
            let (link, n) = (format!("forwarder-{}", n + 1), n + 1);
            let network = link_to(&router, &link, forwarder, "uplink").await?;
            forward(forwarder)?;
            router.add_address(&link, format!("2001:db8:ff:{n}::1/64").parse()?).await?;
            router.add_address(&link, format!("172.31.{n}.1/24").parse()?).await?;
            network.add_address("uplink", format!("2001:db8:ff:{n}::2/64").parse()?).await?;
            network.add_address("uplink", format!("172.31.{n}.2/24").parse()?).await?;
            default_route(&network, "uplink", format!("2001:db8:ff:{n}::1").parse()?).await?;
            default_route(&network, "uplink", format!("172.31.{n}.1").parse()?).await?;
        }
        let mobile_node = &self.mobile_node;
        forward(mobile_node)?;
        for (link, prefix, octet) in FOREIGN_LINKS {
            link_to(&router, link, mobile_node, link).await?;
            router.add_address(link, format!("{ROUTER}/64").parse()?).await?;
            router.add_address(link, format!("{prefix}1/64").parse()?).await?;
            router.add_address(link, format!("172.30.{octet}.1/24").parse()?).await?;
        }
        let correspondent =
            link_to(&router, "correspondent", &self.correspondent, "uplink").await?;
        router.add_address("correspondent", "2001:db8:f::1/64".parse()?).await?;
        correspondent.add_address("uplink", format!("{CORRESPONDENT}/64").parse()?).await?;
        default_route(&correspondent, "uplink", "2001:db8:f::1".parse()?).await?;
        self.route_home(None).await
    }

    /// Sends the home agent's traffic to this forwarder, or nowhere.
    pub(crate) async fn route_home(&self, forwarder: Option<usize>) -> anyhow::Result<()> {
        let router = Network::open(&self.router.namespace())?;
        let home_agent_ipv4 = format!("{HOME_AGENT_IPV4}/32");
        for (destination, is_ipv6) in [(HOME_PREFIX, true), (home_agent_ipv4.as_str(), false)] {
            let route = Route::to(destination.parse()?);
            let route = match forwarder {
                Some(n) => {
                    let n = n + 1;
                    let via: IpAddr = if is_ipv6 {
                        format!("2001:db8:ff:{n}::2").parse()?
                    } else {
                        format!("172.31.{n}.2").parse()?
                    };
                    route.via(via).device(&format!("forwarder-{n}"))
                }
                None => route.kind(RouteKind::Unreachable),
            };
            router.replace_route(&route).await?;
        }
        Ok(())
    }
}

/// A link between the router and a host.
async fn link_to(
    router: &Network,
    link: &str,
    host: &TemporaryNamespace,
    peer: &str,
) -> anyhow::Result<Network> {
    router.add_veth(link, peer, &host.namespace()).await?;
    router.link_up(link).await?;
    let network = Network::open(&host.namespace())?;
    network.link_up("lo").await?;
    network.link_up(peer).await?;
    Ok(network)
}

async fn default_route(network: &Network, link: &str, via: IpAddr) -> anyhow::Result<()> {
    let everything = if via.is_ipv6() { "::/0" } else { "0.0.0.0/0" };
    Ok(network.replace_route(&Route::to(everything.parse()?).via(via).device(link)).await?)
}

fn forward(host: &TemporaryNamespace) -> anyhow::Result<()> {
    for parameter in ["net/ipv6/conf/all/forwarding", "net/ipv4/conf/all/forwarding"] {
        write_sysctl(&host.namespace(), parameter, "1")?;
    }
    Ok(())
}
