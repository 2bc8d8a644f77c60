//! What some cases need around the foreign links: a network behind the mobile node, and IPv4 at the
//! correspondent node.

use anyhow::Result;
use homeport_hostnet::{Namespace, Network, Route, TemporaryNamespace, write_sysctl};

use super::lab::Lab;
use super::ping::{Pinged, ping};

/// Prefix of the mobile network.
pub(super) const MOBILE_NETWORK: &str = "2001:db8:100::/56";
/// The host in the mobile network.
pub(super) const HOST: &str = "2001:db8:100:1::2";
/// The mobile router there.
const MOBILE_ROUTER: &str = "2001:db8:100:1::1";
/// IPv4 home addresses.
pub(super) const POOL: &str = "192.0.2.0/24";
/// The correspondent node over IPv4.
pub(super) const CORRESPONDENT_IPV4: &str = "203.0.113.99";
const CORRESPONDENTS_ROUTER_IPV4: &str = "203.0.113.1";

/// A network behind the mobile node, with one host.
pub(super) struct MobileNetwork {
    host: TemporaryNamespace,
}

impl MobileNetwork {
    /// Builds it; the router of the laboratory sends its packets to the home agent.
    pub(super) async fn build(lab: &Lab) -> Result<Self> {
        let host = TemporaryNamespace::create("homeport-host")?;
        for parameter in ["default/accept_dad", "all/accept_dad"] {
            write_sysctl(&host.namespace(), &format!("net/ipv6/conf/{parameter}"), "0")?;
        }
        let router = Network::open(&Namespace::from(lab.namespaces.mobile_node.as_str()))?;
        router.add_veth("mobile-net", "uplink", &host.namespace()).await?;
        router.link_up("mobile-net").await?;
        router.add_address("mobile-net", format!("{MOBILE_ROUTER}/64").parse()?).await?;
        let network = Network::open(&host.namespace())?;
        network.link_up("uplink").await?;
        network.add_address("uplink", format!("{HOST}/64").parse()?).await?;
        let default = Route::to("::/0".parse()?).via(MOBILE_ROUTER.parse()?).device("uplink");
        network.replace_route(&default).await?;
        route_home(lab, MOBILE_NETWORK, "2001:db8:ff:1::2").await?;
        Ok(Self { host })
    }

    /// The host's namespace.
    pub(super) fn name(&self) -> String {
        self.host.name().to_owned()
    }

    /// Five echo requests of the host.
    pub(super) async fn ping(&self, lab: &Lab, destination: &str) -> Result<Pinged> {
        ping(self.host.name(), &[destination], lab.directory()).await
    }
}

/// Gives the correspondent node an IPv4 address, and IPv4 home addresses their way.
pub(super) async fn add_ipv4(lab: &Lab) -> Result<()> {
    let router = Network::open(&Namespace::from(lab.namespaces.router.as_str()))?;
    let address = format!("{CORRESPONDENTS_ROUTER_IPV4}/24").parse()?;
    router.add_address("correspondent", address).await?;
    let correspondent = Network::open(&Namespace::from(lab.namespaces.correspondent.as_str()))?;
    correspondent.add_address("uplink", format!("{CORRESPONDENT_IPV4}/24").parse()?).await?;
    let via = CORRESPONDENTS_ROUTER_IPV4.parse()?;
    let default = Route::to("0.0.0.0/0".parse()?).via(via).device("uplink");
    correspondent.replace_route(&default).await?;
    route_home(lab, POOL, "172.31.1.2").await
}

/// The router of the laboratory sends this to the forwarder that has the home prefix.
async fn route_home(lab: &Lab, destination: &str, forwarder: &str) -> Result<()> {
    let router = Network::open(&Namespace::from(lab.namespaces.router.as_str()))?;
    let route = Route::to(destination.parse()?).via(forwarder.parse()?).device("forwarder-1");
    Ok(router.replace_route(&route).await?)
}
