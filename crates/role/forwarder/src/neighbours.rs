//! The real home link: answers for mobile nodes that are away (RFC 6275 §10.4.1).

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use homeport_hostnet::{AllNodes, Network};
use homeport_runtime::clock::Monotonic;
use prometheus_client::metrics::gauge::Gauge;
use tokio::{sync::watch, time::sleep};

use crate::{
    config::{Config, Error},
    limits,
    routes::Served,
};

/// The home addresses that are answered for.
pub(crate) type Defended = BTreeMap<Ipv6Addr, Defence>;

/// How a home address is answered for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Defence {
    /// R flag of the answers: a mobile router (RFC 3963 §6.2).
    pub(crate) router: bool,
    /// Its IPv4 home address, when that is of the link too (RFC 5555 §4.1: proxy ARP).
    pub(crate) address_v4: Option<Ipv4Addr>,
    /// The end of the last binding, on the engine's clock.
    pub(crate) until_ms: u64,
    /// Where a mobile node that is at home, but must not speak for itself, gets its packets
    /// (RFC 5648 §6.3, status 5).
    pub(crate) at_home: Option<Vec<u8>>,
}

/// A change of what is answered for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    /// These and no others.
    Whole(Defended),
    /// This one, or not any more.
    One(Ipv6Addr, Option<Defence>),
}

impl Change {
    /// Does it; false when nothing is other than before.
    pub(crate) fn apply(self, defended: &mut Defended) -> bool {
        match self {
            Self::Whole(whole) => {
                let changed = *defended != whole;
                *defended = whole;
                changed
            }
            Self::One(address, Some(defence)) => {
                defended.insert(address, defence.clone()) != Some(defence)
            }
            Self::One(address, None) => defended.remove(&address).is_some(),
        }
    }
}

/// Keeps the link's proxies like what is to be answered for.
#[derive(Debug)]
pub(crate) struct Neighbours {
    network: Network,
    link: String,
    all_nodes: AllNodes,
    link_layer_address: Vec<u8>,
    clock: Monotonic,
    installed: BTreeMap<IpAddr, Installed>,
    count: Gauge,
}

/// What was done for an address.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Installed {
    router: bool,
    at_home: Option<Vec<u8>>,
    /// Unsolicited advertisements still to be sent, and when the next is due.
    left: u8,
    next_ms: u64,
}

/// What an address needs.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Wanted {
    router: bool,
    at_home: Option<Vec<u8>>,
    /// Told to all nodes: an anycast address is not (RFC 4861 §7.2.7), nor is one of IPv4, for which
    /// nodes ask again soon.
    announced: bool,
}

impl Neighbours {
    /// `None` without a home link.
    pub(crate) async fn open(
        config: &Config,
        clock: Monotonic,
        count: Gauge,
    ) -> Result<Option<Self>, Error> {
        let Some(tun) = config.tun.as_ref() else { return Ok(None) };
        let Some(link) = tun.home_link.clone() else { return Ok(None) };
        let failed = |source| Error::Host { key: "tun.home_link", source };
        let namespace = tun.namespace();
        let network = Network::open(&namespace).map_err(failed)?;
        let index = network.link_index(&link).await.map_err(failed)?;
        let link_layer_address = network.link_layer_address(&link).await.map_err(failed)?;
        let all_nodes = AllNodes::open(&namespace, index).map_err(failed)?;
        let installed = BTreeMap::new();
        Ok(Some(Self { network, link, all_nodes, link_layer_address, clock, installed, count }))
    }

    /// Follows until the senders are gone.
    pub(crate) async fn run(
        mut self,
        mut defended: watch::Receiver<Defended>,
        mut served: watch::Receiver<Served>,
    ) {
        loop {
            let wanted = {
                let (defended, served) = (defended.borrow_and_update(), served.borrow_and_update());
                wanted(&defended, &served, self.clock.now_ms())
            };
            let settled = self.settle(&wanted).await;
            self.advertise();
            let now_ms = self.clock.now_ms();
            let ends = next_end(&defended.borrow(), now_ms);
            let retry = (!settled).then(|| now_ms.saturating_add(retry_ms()));
            let advertisements = self.installed.values().filter(|it| it.left > 0);
            let next = advertisements.map(|it| it.next_ms).min();
            let due = [ends, retry, next].into_iter().flatten().min();
            tokio::select! {
                changed = defended.changed() => if changed.is_err() {
                    return;
                },
                changed = served.changed() => if changed.is_err() {
                    return;
                },
                () = until(due, now_ms) => {}
            }
        }
    }

    /// Makes the link like `wanted`; false when something could not be done.
    async fn settle(&mut self, wanted: &BTreeMap<IpAddr, Wanted>) -> bool {
        let mut settled = true;
        let other = |address: &IpAddr, it: &Installed| {
            wanted.get(address).is_none_or(|w| w.router != it.router || w.at_home != it.at_home)
        };
        let gone: Vec<IpAddr> = self
            .installed
            .iter()
            .filter(|(address, it)| other(address, it))
            .map(|(address, _)| *address)
            .collect();
        for address in gone {
            settled &= self.leave(address).await;
        }
        for (address, wanted) in wanted {
            if self.installed.contains_key(address) {
                continue;
            }
            if self.installed.len() >= limits::DEFENDED_MAX {
                tracing::error!("more home addresses than a link can have are not answered for");
                break;
            }
            settled &= self.answer_for(*address, wanted).await;
        }
        self.count.set(i64::try_from(self.installed.len()).unwrap_or(i64::MAX));
        settled
    }

    async fn answer_for(&mut self, address: IpAddr, wanted: &Wanted) -> bool {
        let mut done = self.network.add_proxy_neighbour(&self.link, address, wanted.router).await;
        if let (Ok(()), Some(at_home)) = (&done, &wanted.at_home) {
            done = self.network.add_neighbour(&self.link, address, at_home).await;
        }
        if let Err(error) = done {
            tracing::warn!(%error, "a home address is not answered for");
            return false;
        }
        let left = if wanted.announced { limits::NEIGHBOUR_ADVERTISEMENTS } else { 0 };
        let (router, at_home) = (wanted.router, wanted.at_home.clone());
        let installed = Installed { router, at_home, left, next_ms: self.clock.now_ms() };
        self.installed.insert(address, installed);
        true
    }

    /// Answers for an address no more.
    async fn leave(&mut self, address: IpAddr) -> bool {
        let Some(installed) = self.installed.get(&address) else { return true };
        let mut done = vec![self.network.delete_proxy_neighbour(&self.link, address).await];
        if installed.at_home.is_some() {
            done.push(self.network.delete_neighbour(&self.link, address).await);
        }
        for done in done {
            match done {
                Err(error) if !error.is_not_found() => {
                    tracing::warn!(%error, "a home address is still answered for");
                    return false;
                }
                Ok(()) | Err(_) => {}
            }
        }
        self.installed.remove(&address);
        true
    }

    /// Tells all nodes what is due, so that they send packets for these addresses here from now on.
    fn advertise(&mut self) {
        let now_ms = self.clock.now_ms();
        let next_ms = now_ms.saturating_add(millis(limits::NEIGHBOUR_RETRANSMISSION));
        let mut due =
            self.installed.iter_mut().filter(|(_, it)| it.left > 0 && it.next_ms <= now_ms);
        for (address, installed) in due.by_ref().take(limits::ADVERTISEMENTS_PER_WAKE_MAX) {
            let IpAddr::V6(address) = address else { continue };
            let message = advertisement(*address, installed.router, &self.link_layer_address);
            installed.next_ms = next_ms;
            if let Err(error) = self.all_nodes.send(&message) {
                // The link may be down, or its own address not ready: everything stays due.
                tracing::warn!(%error, "advertisements are not sent");
                due.for_each(|(_, installed)| installed.next_ms = next_ms);
                return;
            }
            installed.left = installed.left.saturating_sub(1);
        }
    }
}

/// When the next of them ends that has not ended yet.
fn next_end(defended: &Defended, now_ms: u64) -> Option<u64> {
    defended.values().map(|defence| defence.until_ms).filter(|until_ms| *until_ms > now_ms).min()
}

fn retry_ms() -> u64 {
    millis(limits::ROUTES_RETRY_PAUSE)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

async fn until(due_ms: Option<u64>, now_ms: u64) {
    match due_ms {
        // Never at once: a full turn of advertisements leaves more behind.
        Some(due_ms) => sleep(Duration::from_millis(due_ms.saturating_sub(now_ms).max(1))).await,
        None => std::future::pending().await,
    }
}

/// All addresses to answer for at a moment: home addresses whose bindings have not all ended, and
/// the home agent's own, which no interface of the host has.
fn wanted(defended: &Defended, served: &Served, now_ms: u64) -> BTreeMap<IpAddr, Wanted> {
    let mut wanted = BTreeMap::new();
    for (address, defence) in defended.iter().filter(|(_, defence)| defence.until_ms > now_ms) {
        let (router, at_home) = (defence.router, defence.at_home.clone());
        if let Some(address_v4) = defence.address_v4 {
            let at_home = at_home.clone();
            wanted.insert(address_v4.into(), Wanted { router, at_home, announced: false });
        }
        wanted.insert((*address).into(), Wanted { router, at_home, announced: true });
    }
    for (address, announced) in served.home_agents() {
        wanted.insert(address, Wanted { router: true, at_home: None, announced });
    }
    wanted
}

/// An unsolicited Neighbour Advertisement (RFC 4861 §4.4): not solicited, overriding, with the
/// link-layer address. The kernel fills in the checksum.
fn advertisement(target: Ipv6Addr, router: bool, link_layer_address: &[u8]) -> Vec<u8> {
    const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    const ROUTER: u8 = 0x80;
    const OVERRIDE: u8 = 0x20;
    const TARGET_LINK_LAYER_ADDRESS: u8 = 2;
    let flags = if router { ROUTER | OVERRIDE } else { OVERRIDE };
    let mut message = vec![NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0];
    message.extend_from_slice(&target.octets());
    if !link_layer_address.is_empty() {
        // In units of eight octets.
        let units = (link_layer_address.len() + 2).div_ceil(8);
        message.extend_from_slice(&[TARGET_LINK_LAYER_ADDRESS]);
        message.push(u8::try_from(units).unwrap_or(u8::MAX));
        message.extend_from_slice(link_layer_address);
        message.resize(message.len().next_multiple_of(8), 0);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advertisement_as_rfc_4861_draws_it() {
        let target = "2001:db8:0:1::100".parse().unwrap();
        let mac = [2, 0, 0, 0, 0, 7];
        let message = advertisement(target, false, &mac);
        let mut expected = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
        expected.extend_from_slice(&target.octets());
        expected.extend_from_slice(&[2, 1, 2, 0, 0, 0, 0, 7]);
        assert_eq!(message, expected);
        assert_eq!(advertisement(target, true, &mac)[4], 0xa0);
        assert_eq!(advertisement(target, false, &[]).len(), 24);
    }

    #[test]
    fn what_has_ended_is_not_answered_for() {
        let address = "2001:db8:0:1::100".parse().unwrap();
        let defence = Defence { router: false, address_v4: None, until_ms: 100, at_home: None };
        let mut defended = Defended::new();
        assert!(Change::One(address, Some(defence.clone())).apply(&mut defended));
        assert!(!Change::One(address, Some(defence.clone())).apply(&mut defended));
        assert_eq!(wanted(&defended, &Served::default(), 99).len(), 1);
        assert_eq!(wanted(&defended, &Served::default(), 100).len(), 0);
        let later = Defence { until_ms: 200, ..defence };
        let other = "2001:db8:0:1::101".parse().unwrap();
        assert!(Change::One(other, Some(later)).apply(&mut defended));
        let address_v4 = Some(Ipv4Addr::new(198, 51, 100, 77));
        let both = Defence { router: false, address_v4, until_ms: 100, at_home: None };
        let both = Defended::from([(address, both)]);
        assert_eq!(wanted(&both, &Served::default(), 99).len(), 2);
        assert_eq!(
            [99, 100, 200].map(|now| next_end(&defended, now)),
            [Some(100), Some(200), None]
        );
        assert!(Change::Whole(Defended::new()).apply(&mut defended));
        assert!(!Change::One(address, None).apply(&mut defended));
    }
}
