//! Attracts what is served here: routes for home prefixes and home-agent addresses into the TUN.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv6Addr},
};

use homeport_forwarding::{HomePrefix, Table};
use homeport_hostnet::{Namespace, Network, Route, Rule, write_sysctl};
use ipnet::IpNet;
use tokio::{sync::watch, time::sleep};

use crate::{
    config::{Config, Error, TunConfig},
    limits,
};

/// The table, and the place of the rule, for packets that come out of the TUN towards the home
/// link.
const HOME_LINK_TABLE: u32 = 4191;

/// Keeps the host's routes like the table's prefixes.
#[derive(Debug)]
pub(crate) struct Routes {
    network: Network,
    tun: String,
    home_link: Option<String>,
    installed: BTreeSet<Wanted>,
}

/// A destination, and where it leads.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Wanted {
    IntoTun(IpNet),
    OnHomeLink(IpNet),
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
        if tun.home_link.is_some() {
            let rule = Rule::look_up(HOME_LINK_TABLE).input(&tun.name).priority(HOME_LINK_TABLE);
            match network.add_rule(&rule).await {
                Err(source) if !source.is_exists() => {
                    return Err(Error::Host { key: "tun.home_link", source });
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(Some(Self {
            network,
            tun: tun.name.clone(),
            home_link: tun.home_link.clone(),
            installed: BTreeSet::new(),
        }))
    }

    /// Follows the prefixes until their sender is gone.
    pub(crate) async fn run(mut self, mut prefixes: watch::Receiver<Vec<HomePrefix>>) {
        loop {
            let wanted = self.wanted(&prefixes.borrow_and_update());
            let settled = self.settle(&wanted).await;
            let again = async {
                if settled {
                    std::future::pending::<()>().await;
                }
                sleep(limits::ROUTES_RETRY_PAUSE).await;
            };
            tokio::select! {
                changed = prefixes.changed() => if changed.is_err() {
                    return;
                },
                () = again => {}
            }
        }
    }

    fn wanted(&self, prefixes: &[HomePrefix]) -> BTreeSet<Wanted> {
        let host = |address: IpAddr| Wanted::IntoTun(IpNet::from(address));
        let mut wanted = BTreeSet::new();
        for prefix in prefixes {
            let network = net(prefix.prefix, prefix.prefix_len);
            wanted.insert(Wanted::IntoTun(network));
            wanted.insert(host(prefix.home_agent.into()));
            wanted.extend(prefix.home_agent_v4.map(|address| host(address.into())));
            if self.home_link.is_some() {
                wanted.insert(Wanted::OnHomeLink(network));
            }
        }
        wanted
    }

    /// Makes the host's routes like `wanted`; false when some could not be set.
    async fn settle(&mut self, wanted: &BTreeSet<Wanted>) -> bool {
        let mut settled = true;
        let gone: Vec<Wanted> = self.installed.difference(wanted).copied().collect();
        for old in gone {
            match self.network.delete_route(&self.route(old)).await {
                Err(error) if !error.is_not_found() => {
                    tracing::warn!(%error, "a route is left behind");
                }
                Ok(()) | Err(_) => {}
            }
            self.installed.remove(&old);
        }
        let new: Vec<Wanted> = wanted.difference(&self.installed).copied().collect();
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

    fn route(&self, wanted: Wanted) -> Route {
        match (wanted, &self.home_link) {
            (Wanted::OnHomeLink(net), Some(link)) => {
                Route::to(net).device(link).table(HOME_LINK_TABLE)
            }
            (Wanted::IntoTun(net) | Wanted::OnHomeLink(net), _) => Route::to(net).device(&self.tun),
        }
    }
}

/// The prefixes of a table, for [`Routes::run`].
pub(crate) fn prefixes_of(table: &Table) -> Vec<HomePrefix> {
    table.prefixes().copied().collect()
}

fn net(prefix: Ipv6Addr, len: u8) -> IpNet {
    IpNet::new(prefix.into(), len).unwrap_or_else(|_| IpNet::from(IpAddr::from(prefix))).trunc()
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
