//! What a node with a TUN device sets up in its network namespace.
//!
//! The home address is an address of the device. IPv6 care-of addresses are none of the kernel's:
//! it would answer the routing headers and tunnels of Mobile IPv6 itself. They are routes into the
//! device, and the kernel answers for them on the foreign link as a proxy:
//!
//! ```text
//! rule from home address  -> table 10000:       default dev TUN        (into the tunnel)
//! rule to mobile network  -> main table                                  (stays behind the node)
//! rule from mobile net.   -> table 10000                                 (into the tunnel)
//! rule from home, out of TUN -> table 9999: default via the home link's router (at home)
//! rule from care-of i     -> table 10000 + i:   default via router i   (out of the tunnel)
//! route care-of i dev TUN, proxy neighbour care-of i on link i          (into the node)
//! ```
//!
//! An IPv4 care-of address is an ordinary address of its interface, because to the kernel its
//! packets are plain UDP.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use homeport_hostnet::{Error, Namespace, Network, Route, Rule, write_sysctl};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::config::{CareOfConfig, HomeLinkConfig, TunConfig};

/// Routing table of the home address. Those of care-of addresses come after it, never used twice:
/// during a move the old and the new one go by different routers.
const TABLE: u32 = 10_000;
/// Place of the rules: before the main table's 32766.
const RULE_PRIORITY: u32 = 1_000;
/// Place of the rules for what stays behind the node: before those.
const RULE_PRIORITY_BEHIND: u32 = 999;
/// Place of the rules for the home link: before all.
const RULE_PRIORITY_HOME: u32 = 998;
/// Routing table of the home link.
const HOME_TABLE: u32 = 9_999;
/// The kernel's main routing table.
const MAIN_TABLE: u32 = 254;

/// The host's configuration as this node has changed it.
#[derive(Debug)]
pub(crate) struct TunNetwork {
    network: Network,
    namespace: Namespace,
    tun: String,
    /// What is left inside the tunnel.
    mtu: u32,
    home_rules: Vec<Rule>,
    ipv4_home: Option<(IpNet, Rule)>,
    home_address: Ipv6Addr,
    /// The interface on the home link.
    home_link: Option<String>,
    at_home: AtHome,
    last_table: u32,
    care_of: BTreeMap<IpAddr, CareOfNetwork>,
}

/// What the kernel does with the home address on the home link.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum AtHome {
    /// Nothing: the home agent answers for it.
    #[default]
    Away,
    /// Answers neighbours; the node goes on using foreign links.
    Beside,
    /// Answers neighbours, and sends everything there.
    Only,
}

#[derive(Debug)]
struct CareOfNetwork {
    rule: Rule,
    interface: Option<String>,
}

impl TunNetwork {
    /// Gives the device the home address and switches forwarding on, which carries care-of packets
    /// between the device and the foreign links.
    pub(crate) async fn set_up(
        namespace: &Namespace,
        config: &TunConfig,
        home_address: Ipv6Addr,
        behind: &[Ipv6Net],
    ) -> Result<Self, Error> {
        let (tun, mtu) = (config.name.as_str(), u32::from(config.mtu));
        write_sysctl(namespace, "net.ipv6.conf.all.forwarding", "1")?;
        let network = Network::open(namespace)?;
        let home = host(IpAddr::V6(home_address));
        network.add_address(tun, home).await?;
        let mut home_rules = vec![Rule::look_up(TABLE).from(home).priority(RULE_PRIORITY)];
        for prefix in behind.iter().copied().map(IpNet::V6) {
            let inside = Rule::look_up(MAIN_TABLE).to(prefix);
            home_rules.push(inside.priority(RULE_PRIORITY_BEHIND));
            home_rules.push(Rule::look_up(TABLE).from(prefix).priority(RULE_PRIORITY));
        }
        for rule in &home_rules {
            replace_rule(&network, rule).await?;
        }
        let default = Route::to(IpNet::V6(Ipv6Net::default()));
        let default = default.device(tun).table(TABLE).mtu(mtu);
        network.replace_route(&default).await?;
        Ok(Self {
            network,
            namespace: namespace.clone(),
            tun: tun.to_owned(),
            mtu,
            home_rules,
            ipv4_home: None,
            home_address,
            home_link: None,
            at_home: AtHome::Away,
            last_table: TABLE,
            care_of: BTreeMap::new(),
        })
    }

    /// Makes the host carry the node's own packets from the home address to the home link: those
    /// that come out of the device.
    pub(crate) async fn set_up_home_link(&mut self, link: &HomeLinkConfig) -> Result<(), Error> {
        let (gateway, interface) = (IpAddr::V6(link.gateway), link.interface.as_str());
        if !is_link_local(gateway) {
            self.network.replace_route(&Route::to(host(gateway)).device(interface)).await?;
        }
        let everywhere = Route::to(IpNet::V6(Ipv6Net::default()));
        let default = everywhere.via(gateway).device(interface).table(HOME_TABLE);
        self.network.replace_route(&default).await?;
        let home = host(IpAddr::V6(self.home_address));
        let rule = Rule::look_up(HOME_TABLE).from(home).input(&self.tun);
        let rule = rule.priority(RULE_PRIORITY_HOME);
        replace_rule(&self.network, &rule).await?;
        self.home_rules.push(rule);
        self.home_link = Some(link.interface.clone());
        Ok(())
    }

    /// The rule for all packets of the home address while the node is nowhere else.
    fn only_home_rule(&self) -> Rule {
        let home = host(IpAddr::V6(self.home_address));
        Rule::look_up(HOME_TABLE).from(home).priority(RULE_PRIORITY_HOME)
    }

    /// Gives the home address to the interface on the home link, or takes it back.
    pub(crate) async fn set_at_home(&mut self, at_home: AtHome) -> Result<(), Error> {
        let Some(interface) = self.home_link.clone() else {
            return Ok(());
        };
        let (before, home) = (self.at_home, host(IpAddr::V6(self.home_address)));
        self.at_home = at_home;
        match (before, at_home) {
            (AtHome::Away, AtHome::Away) => {}
            (_, AtHome::Away) => self.network.delete_address(&interface, home).await?,
            (_, AtHome::Beside | AtHome::Only) => {
                self.network.add_address(&interface, home).await?;
            }
        }
        match (before, at_home) {
            (AtHome::Only, AtHome::Away | AtHome::Beside) => {
                self.network.delete_rule(&self.only_home_rule()).await?;
            }
            (_, AtHome::Only) => replace_rule(&self.network, &self.only_home_rule()).await?,
            (AtHome::Away | AtHome::Beside, AtHome::Away | AtHome::Beside) => {}
        }
        Ok(())
    }

    /// Gives the device the IPv4 home address, or takes it back.
    pub(crate) async fn set_ipv4_home(&mut self, address: Option<Ipv4Addr>) -> Result<(), Error> {
        if let Some((before, rule)) = self.ipv4_home.take() {
            for result in [
                self.network.delete_rule(&rule).await,
                self.network.delete_address(&self.tun, before).await,
            ] {
                if let Err(error) = result {
                    tracing::warn!(%error, "the IPv4 home address leaves traces in the host");
                }
            }
        }
        let Some(address) = address else {
            return Ok(());
        };
        let home = host(IpAddr::V4(address));
        let rule = Rule::look_up(TABLE).from(home).priority(RULE_PRIORITY);
        self.network.add_address(&self.tun, home).await?;
        let everywhere = IpNet::V4(Ipv4Net::default());
        let default = Route::to(everywhere).device(&self.tun).table(TABLE).mtu(self.mtu);
        self.network.replace_route(&default).await?;
        replace_rule(&self.network, &rule).await?;
        self.ipv4_home = Some((home, rule));
        Ok(())
    }

    /// Makes the host carry packets from and to a care-of address.
    pub(crate) async fn add_care_of(&mut self, care_of: &CareOfConfig) -> Result<(), Error> {
        let (Some(interface), Some(gateway)) = (&care_of.interface, care_of.gateway) else {
            // An IPv4 care-of address that the host has and routes already.
            return Ok(());
        };
        self.last_table = self.last_table.saturating_add(1);
        let table = self.last_table;
        let address = host(care_of.address);
        let rule = Rule::look_up(table).from(address).priority(RULE_PRIORITY);
        match care_of.address {
            IpAddr::V6(v6) => {
                self.network.add_proxy_neighbour(interface, v6.into(), false).await?;
                self.network.replace_route(&Route::to(address).device(&self.tun)).await?;
            }
            IpAddr::V4(_) => {
                // Answers come by another interface than the main table would send to.
                for interface in ["all", interface.as_str()] {
                    let parameter = format!("net/ipv4/conf/{interface}/rp_filter");
                    write_sysctl(&self.namespace, &parameter, "0")?;
                }
                self.network.add_address(interface, address).await?;
            }
        }
        if !is_link_local(gateway) {
            self.network.replace_route(&Route::to(host(gateway)).device(interface)).await?;
        }
        let everywhere = match care_of.address {
            IpAddr::V4(_) => IpNet::V4(Ipv4Net::default()),
            IpAddr::V6(_) => IpNet::V6(Ipv6Net::default()),
        };
        let default = Route::to(everywhere).via(gateway).device(interface).table(table);
        self.network.replace_route(&default).await?;
        replace_rule(&self.network, &rule).await?;
        let interface = Some(interface.clone());
        self.care_of.insert(care_of.address, CareOfNetwork { rule, interface });
        Ok(())
    }

    /// Undoes that. What is gone already does not matter.
    pub(crate) async fn remove_care_of(&mut self, address: IpAddr) {
        let Some(CareOfNetwork { rule, interface }) = self.care_of.remove(&address) else {
            return;
        };
        let mut results = vec![self.network.delete_rule(&rule).await];
        match (address, interface) {
            (IpAddr::V6(v6), Some(interface)) => {
                let route = Route::to(host(address)).device(&self.tun);
                results.push(self.network.delete_route(&route).await);
                results.push(self.network.delete_proxy_neighbour(&interface, v6.into()).await);
            }
            (IpAddr::V4(_), Some(interface)) => {
                results.push(self.network.delete_address(&interface, host(address)).await);
            }
            (_, None) => {}
        }
        for error in results.into_iter().filter_map(Result::err) {
            if !error.is_not_found() {
                tracing::warn!(%error, "a care-of address leaves traces in the host");
            }
        }
    }

    /// The care-of addresses that are set up.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.care_of.keys().copied()
    }

    /// Undoes everything; what belongs to the device goes with it.
    pub(crate) async fn tear_down(&mut self) {
        let addresses: Vec<IpAddr> = self.addresses().collect();
        for address in addresses {
            self.remove_care_of(address).await;
        }
        if let Err(error) = self.set_at_home(AtHome::Away).await {
            tracing::warn!(%error, "the home link keeps traces");
        }
        if let Err(error) = self.set_ipv4_home(None).await {
            tracing::warn!(%error, "the IPv4 home address leaves traces in the host");
        }
        for rule in &self.home_rules {
            if let Err(error) = self.network.delete_rule(rule).await {
                tracing::warn!(%error, "the home address leaves traces in the host");
            }
        }
    }
}

/// The prefix that contains one address only.
fn host(address: IpAddr) -> IpNet {
    IpNet::from(address)
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// Adds a rule, once: the kernel takes equal rules twice, and an earlier run may have left one.
async fn replace_rule(network: &Network, rule: &Rule) -> Result<(), Error> {
    match network.delete_rule(rule).await {
        Ok(()) => {}
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error),
    }
    network.add_rule(rule).await
}
