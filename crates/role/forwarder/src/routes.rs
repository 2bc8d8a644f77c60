//! Attracts what is served here: routes for home prefixes and home-agent addresses into the TUN.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use homeport_forwarding::{HomePrefix, MobileNetwork, MobileNetworkV4, Table};
use homeport_hostnet::{Namespace, Network, Route, write_sysctl};
use ipnet::IpNet;
use tokio::{sync::watch, time::sleep};

use crate::{
    config::{Config, Error, TunConfig},
    limits,
};

/// Keeps the host's routes like the table's prefixes.
#[derive(Debug)]
pub(crate) struct Routes {
    network: Network,
    tun: String,
    installed: BTreeSet<IpNet>,
}

/// What is served here, as far as routes are concerned.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Served {
    /// Home prefixes, with home agents and pools of IPv4 home addresses.
    prefixes: Vec<HomePrefix>,
    /// Mobile networks of both families, and IPv4 home addresses.
    networks: BTreeSet<IpNet>,
}

impl Served {
    /// All that a table serves.
    pub(crate) fn of(table: &Table) -> Self {
        let networks = table.networks().into_iter().filter_map(net_of);
        let networks_v4 = table.networks_v4().into_iter().filter_map(net_of_v4);
        let prefixes = table.prefixes().copied().collect();
        Self { prefixes, networks: networks.chain(networks_v4).collect() }
    }

    /// Follows the networks that came or went since the table was asked last; false when none did.
    pub(crate) fn follow(&mut self, table: &mut Table) -> bool {
        let networks = table.take_changed_networks().into_iter();
        let networks = networks.filter_map(|(network, there)| Some((net_of(network)?, there)));
        let networks_v4 = table.take_changed_networks_v4().into_iter();
        let networks_v4 =
            networks_v4.filter_map(|(network, there)| Some((net_of_v4(network)?, there)));
        let mut moved = false;
        for (network, is_there) in networks.chain(networks_v4) {
            moved |= if is_there {
                self.networks.insert(network)
            } else {
                self.networks.remove(&network)
            };
        }
        moved
    }

    /// The destinations that lead here. A network inside another needs no route of its own, which
    /// keeps them few: pools and aggregates cover most.
    fn destinations(&self) -> BTreeSet<IpNet> {
        let host = |address: IpAddr| IpNet::from(address);
        let mut all = self.networks.clone();
        for prefix in &self.prefixes {
            all.insert(net(prefix.prefix, prefix.prefix_len));
            all.extend(prefix.pool_v4.and_then(net_of_v4));
        }
        let mut kept = BTreeSet::new();
        let mut last: Option<IpNet> = None;
        // In the order of networks: what covers another comes before it.
        for network in all {
            if last.is_none_or(|last| !last.contains(&network)) {
                kept.insert(network);
                last = Some(network);
            }
        }
        for prefix in &self.prefixes {
            kept.insert(host(prefix.home_agent.into()));
            kept.extend(prefix.home_agent_v4.map(|address| host(address.into())));
        }
        kept
    }
}

impl Routes {
    /// `None` when no TUN is configured, or its routes are somebody else's.
    pub(crate) async fn open(config: &Config) -> Result<Option<Self>, Error> {
        let Some(tun) = config.tun.as_ref() else { return Ok(None) };
        let host = |source| Error::Host { key: "tun", source };
        forwarding_on(tun).map_err(host)?;
        if !tun.routes {
            return Ok(None);
        }
        let network = Network::open(&tun.namespace()).map_err(host)?;
        Ok(Some(Self { network, tun: tun.name.clone(), installed: BTreeSet::new() }))
    }

    /// Follows what is served until its sender is gone.
    pub(crate) async fn run(mut self, mut served: watch::Receiver<Served>) {
        loop {
            let now = served.borrow_and_update().clone();
            let wanted = now.destinations();
            let settled = self.settle(&wanted).await;
            let again = async {
                if settled {
                    std::future::pending::<()>().await;
                }
                sleep(limits::ROUTES_RETRY_PAUSE).await;
            };
            tokio::select! {
                changed = served.changed() => if changed.is_err() {
                    return;
                },
                () = again => {}
            }
        }
    }

    /// Makes the host's routes like `wanted`; false when some could not be set.
    async fn settle(&mut self, wanted: &BTreeSet<IpNet>) -> bool {
        let mut settled = true;
        let gone: Vec<IpNet> = self.installed.difference(wanted).copied().collect();
        for old in gone {
            match self.network.delete_route(&self.route(old)).await {
                Err(error) if !error.is_not_found() => {
                    tracing::warn!(%error, "a route is left behind");
                }
                Ok(()) | Err(_) => {}
            }
            self.installed.remove(&old);
        }
        let new: Vec<IpNet> = wanted.difference(&self.installed).copied().collect();
        for new in new {
            match self.network.replace_route(&self.route(new)).await {
                Ok(()) => {
                    self.installed.insert(new);
                }
                Err(error) => {
                    settled = false;
                    tracing::warn!(%error, "packets for a home prefix do not come here");
                }
            }
        }
        settled
    }

    fn route(&self, destination: IpNet) -> Route {
        Route::to(destination).device(&self.tun)
    }
}

fn net(prefix: Ipv6Addr, len: u8) -> IpNet {
    IpNet::new(prefix.into(), len).unwrap_or_else(|_| IpNet::from(IpAddr::from(prefix))).trunc()
}

/// `None` for the network that would take every packet of the host.
fn net_of(network: MobileNetwork) -> Option<IpNet> {
    (network.prefix_len > 0).then(|| net(network.prefix, network.prefix_len))
}

fn net_of_v4(network: MobileNetworkV4) -> Option<IpNet> {
    let host = |prefix: Ipv4Addr| IpNet::from(IpAddr::from(prefix));
    let prefix = network.prefix;
    let net = IpNet::new(prefix.into(), network.prefix_len).unwrap_or_else(|_| host(prefix));
    (network.prefix_len > 0).then(|| net.trunc())
}

/// What comes out of the TUN is to be routed on. A namespace that was given is ours to set up; on
/// the host itself forwarding is a decision of its operator.
fn forwarding_on(tun: &TunConfig) -> Result<(), homeport_hostnet::Error> {
    const PARAMETERS: [&str; 2] = ["net.ipv6.conf.all.forwarding", "net.ipv4.ip_forward"];
    let namespace = tun.namespace();
    for parameter in PARAMETERS {
        if namespace != Namespace::Current {
            write_sysctl(&namespace, parameter, "1")?;
            continue;
        }
        let path = format!("/proc/sys/{}", parameter.replace('.', "/"));
        let value = fs::read_to_string(path).unwrap_or_default();
        if value.trim() == "0" {
            tracing::warn!("{parameter} is 0: the kernel will not send on what leaves the TUN");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use homeport_forwarding::{CareOf, ForwardingBinding, HomeEntry, Millis};

    use super::*;

    fn home(networks: &[&str], networks_v4: &[&str]) -> HomeEntry {
        let binding = ForwardingBinding {
            bid: None,
            care_of: CareOf::V6("2001:db8:a::11".parse().unwrap()),
            priority: homeport_wire::BidPriority::UNSET,
            verified: 1,
            ends: Millis(1),
            lifetime_ms: 1,
            home: false,
        };
        let v6 = |net: &&str| match net.parse().unwrap() {
            IpNet::V6(net) => MobileNetwork { prefix: net.addr(), prefix_len: net.prefix_len() },
            IpNet::V4(net) => panic!("{net}"),
        };
        let v4 = |net: &&str| match net.parse().unwrap() {
            IpNet::V4(net) => MobileNetworkV4 { prefix: net.addr(), prefix_len: net.prefix_len() },
            IpNet::V6(net) => panic!("{net}"),
        };
        HomeEntry {
            networks: networks.iter().map(v6).collect(),
            networks_v4: networks_v4.iter().map(v4).collect(),
            ..HomeEntry::new("2001:db8:0:1::1".parse().unwrap(), vec![binding])
        }
    }

    fn destinations(served: &Served) -> Vec<String> {
        served.destinations().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn routes_follow_the_networks_and_none_is_more_than_needed() {
        let mut table = Table::new();
        let pool_v4 =
            Some(MobileNetworkV4 { prefix: Ipv4Addr::new(198, 51, 100, 64), prefix_len: 26 });
        table.set_prefix(HomePrefix {
            prefix: "2001:db8:0:1::".parse().unwrap(),
            prefix_len: 64,
            home_agent: "2001:db8:0:1::1".parse().unwrap(),
            home_agent_v4: Some(Ipv4Addr::new(198, 51, 100, 1)),
            pool_v4,
            real_home_link: false,
        });
        let mut served = Served::of(&table);
        assert!(!served.follow(&mut table));
        let always =
            ["198.51.100.1/32", "198.51.100.64/26", "2001:db8:0:1::/64", "2001:db8:0:1::1/128"];
        assert_eq!(destinations(&served), always);

        let [one, two] = ["2001:db8:0:1::100", "2001:db8:0:1::200"].map(|a| a.parse().unwrap());
        let networks = ["2001:db8:100::/48", "2001:db8:100:7::/64", "2001:db8:0:1:8000::/80"];
        let first = home(&networks, &["198.51.100.77/32", "10.7.0.0/24"]);
        table.set_home(one, Some(first)).unwrap();
        assert!(served.follow(&mut table));
        assert!(!served.follow(&mut table), "taken once");
        let mut expected = vec!["10.7.0.0/24"];
        expected.extend(always);
        expected.push("2001:db8:100::/48");
        assert_eq!(destinations(&served), expected);
        assert_eq!(served, Served::of(&table));

        // The one that covered the other goes; the other has another owner now.
        table.set_home(two, Some(home(&networks[1..2], &[]))).unwrap();
        table.set_home(one, Some(home(&["::/0"], &["0.0.0.0/0"]))).unwrap();
        assert!(served.follow(&mut table));
        let mut expected = always.to_vec();
        expected.push("2001:db8:100:7::/64");
        assert_eq!(destinations(&served), expected, "and never everything");
        assert_eq!(served, Served::of(&table));
    }
}
