//! Which destinations lead here, kept as networks come and go.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use homeport_forwarding::{HomePrefix, MobileNetwork, MobileNetworkV4, Table};
use ipnet::IpNet;

/// What is other than before, as far as routes are concerned.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Changes {
    /// Networks that are not named do not exist.
    anew: bool,
    /// All home prefixes, with home agents and pools of IPv4 home addresses, when any may be other.
    prefixes: Option<Vec<HomePrefix>>,
    /// Mobile networks of both families and IPv4 home addresses, and whether each is there.
    networks: BTreeMap<IpNet, bool>,
}

impl Changes {
    /// Takes the changes of a table: its prefixes when they may have changed; with `anew`, all of a
    /// table that stands in place of another.
    pub(crate) fn of(table: &mut Table, prefixes: bool, anew: bool) -> Self {
        let networks = table.take_changed_networks().into_iter();
        let networks = networks.filter_map(|(network, there)| Some((net_of(network)?, there)));
        let networks_v4 = table.take_changed_networks_v4().into_iter();
        let networks_v4 =
            networks_v4.filter_map(|(network, there)| Some((net_of_v4(network)?, there)));
        let networks = networks.chain(networks_v4).collect();
        let prefixes = (prefixes || anew).then(|| table.prefixes().copied().collect());
        Self { anew, prefixes, networks }
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.anew && self.prefixes.is_none() && self.networks.is_empty()
    }

    /// Adds later ones.
    pub(crate) fn follow(&mut self, later: Self) {
        if later.anew {
            *self = later;
            return;
        }
        if later.prefixes.is_some() {
            self.prefixes = later.prefixes;
        }
        self.networks.extend(later.networks);
    }
}

/// The destinations that lead here. A network inside another needs no route of its own, which keeps
/// them few: pools and aggregates cover most.
#[derive(Debug, Default)]
pub(crate) struct Destinations {
    /// Home prefixes and pools of IPv4 home addresses.
    prefixes: BTreeSet<IpNet>,
    networks: BTreeSet<IpNet>,
    /// Of both, what lies in no other.
    outermost: BTreeSet<IpNet>,
    /// Addresses of home agents: each has its route, whatever lies around it.
    agents: BTreeSet<IpNet>,
}

impl Destinations {
    /// Whether this leads here by a route of its own.
    pub(crate) fn contains(&self, destination: &IpNet) -> bool {
        self.outermost.contains(destination) || self.agents.contains(destination)
    }

    /// All that lead here.
    pub(crate) fn all(&self) -> impl Iterator<Item = IpNet> {
        self.outermost.union(&self.agents).copied()
    }

    /// Follows changes, and says which destinations may have come or gone. The cost is that of what
    /// has changed and of what lies in it, not that of all.
    pub(crate) fn follow(&mut self, changes: Changes) -> BTreeSet<IpNet> {
        let mut touched = BTreeSet::new();
        if let Some(prefixes) = changes.prefixes {
            self.follow_prefixes(&prefixes, &mut touched);
        }
        if changes.anew {
            let is_there = |net: &IpNet| changes.networks.get(net).copied().unwrap_or(false);
            let gone = self.networks.iter().filter(|net| !is_there(net)).copied();
            for net in gone.collect::<Vec<IpNet>>() {
                self.networks.remove(&net);
                self.remove(net, &mut touched);
            }
        }
        for (net, is_there) in changes.networks {
            if is_there {
                self.networks.insert(net);
                self.insert(net, &mut touched);
            } else if self.networks.remove(&net) {
                self.remove(net, &mut touched);
            }
        }
        touched
    }

    fn follow_prefixes(&mut self, prefixes: &[HomePrefix], touched: &mut BTreeSet<IpNet>) {
        let host = |address: IpAddr| IpNet::from(address);
        let (mut now, mut agents) = (BTreeSet::new(), BTreeSet::new());
        for prefix in prefixes {
            now.insert(net(prefix.prefix, prefix.prefix_len));
            now.extend(prefix.pool_v4.and_then(net_of_v4));
            agents.insert(host(prefix.home_agent.into()));
            agents.extend(prefix.home_agent_v4.map(|address| host(address.into())));
        }
        touched.extend(self.agents.symmetric_difference(&agents));
        self.agents = agents;
        let before = std::mem::replace(&mut self.prefixes, now.clone());
        for old in before.difference(&now) {
            self.remove(*old, touched);
        }
        for new in now.difference(&before) {
            self.insert(*new, touched);
        }
    }

    /// In the order of networks what covers another comes before it; and since no outermost network
    /// lies in another, nothing stands between the two.
    fn insert(&mut self, net: IpNet, touched: &mut BTreeSet<IpNet>) {
        let before = self.outermost.range(..=net).next_back();
        if before.is_some_and(|before| before.contains(&net)) {
            return;
        }
        let inside: Vec<IpNet> = inside(&self.outermost, net).collect();
        for inner in inside {
            self.outermost.remove(&inner);
            touched.insert(inner);
        }
        self.outermost.insert(net);
        touched.insert(net);
    }

    /// Of a network that is gone from one of the sets.
    fn remove(&mut self, net: IpNet, touched: &mut BTreeSet<IpNet>) {
        let stays = self.networks.contains(&net) || self.prefixes.contains(&net);
        if stays || !self.outermost.remove(&net) {
            return;
        }
        touched.insert(net);
        let bare = inside(&self.prefixes, net).chain(inside(&self.networks, net));
        for inner in bare.collect::<Vec<IpNet>>() {
            self.insert(inner, touched);
        }
    }
}

/// What of a set lies in a network.
fn inside(set: &BTreeSet<IpNet>, net: IpNet) -> impl Iterator<Item = IpNet> {
    set.range(net..).copied().take_while(move |inner| net.contains(inner))
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
            unverified: false,
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

    fn prefix() -> HomePrefix {
        HomePrefix {
            prefix: "2001:db8:0:1::".parse().unwrap(),
            prefix_len: 64,
            home_agent: "2001:db8:0:1::1".parse().unwrap(),
            home_agent_v4: Some(Ipv4Addr::new(198, 51, 100, 1)),
            pool_v4: Some(MobileNetworkV4 {
                prefix: Ipv4Addr::new(198, 51, 100, 64),
                prefix_len: 26,
            }),
            real_home_link: false,
        }
    }

    /// Everything that leads here, found without what was before.
    fn all(wanted: &Destinations) -> BTreeSet<IpNet> {
        let mut kept = wanted.agents.clone();
        let mut last: Option<IpNet> = None;
        for net in wanted.networks.union(&wanted.prefixes) {
            if last.is_none_or(|last| !last.contains(net)) {
                kept.insert(*net);
                last = Some(*net);
            }
        }
        kept
    }

    /// Destinations with what is installed by whoever follows what they say.
    #[derive(Default)]
    struct Followed {
        wanted: Destinations,
        installed: BTreeSet<IpNet>,
    }

    impl Followed {
        /// How many destinations were touched.
        fn follow(&mut self, changes: Changes) -> usize {
            let touched = self.wanted.follow(changes);
            for net in &touched {
                if self.wanted.contains(net) {
                    self.installed.insert(*net);
                } else {
                    self.installed.remove(net);
                }
            }
            assert_eq!(self.installed, all(&self.wanted));
            touched.len()
        }

        fn installed(&self) -> Vec<String> {
            self.installed.iter().map(ToString::to_string).collect()
        }
    }

    #[test]
    fn routes_follow_the_networks_and_none_is_more_than_needed() {
        let mut table = Table::new();
        table.set_prefix(prefix());
        let mut followed = Followed::default();
        followed.follow(Changes::of(&mut table, true, false));
        assert!(Changes::of(&mut table, false, false).is_empty(), "taken once");
        let always =
            ["198.51.100.1/32", "198.51.100.64/26", "2001:db8:0:1::/64", "2001:db8:0:1::1/128"];
        assert_eq!(followed.installed(), always);

        let [one, two] = ["2001:db8:0:1::100", "2001:db8:0:1::200"].map(|a| a.parse().unwrap());
        let networks = ["2001:db8:100::/48", "2001:db8:100:7::/64", "2001:db8:0:1:8000::/80"];
        let first = home(&networks, &["198.51.100.77/32", "10.7.0.0/24"]);
        table.set_home(one, Some(first)).unwrap();
        followed.follow(Changes::of(&mut table, false, false));
        let mut expected = vec!["10.7.0.0/24"];
        expected.extend(always);
        expected.push("2001:db8:100::/48");
        assert_eq!(followed.installed(), expected);

        // The one that covered the other goes; the other has another owner now.
        table.set_home(two, Some(home(&networks[1..2], &[]))).unwrap();
        table.set_home(one, Some(home(&["::/0"], &["0.0.0.0/0"]))).unwrap();
        followed.follow(Changes::of(&mut table, false, false));
        let mut expected = always.to_vec();
        expected.push("2001:db8:100:7::/64");
        assert_eq!(followed.installed(), expected, "and never everything");

        // Nothing changes for the routes when a home address only moves or a prefix is said again.
        table.set_home(two, Some(home(&networks[1..2], &[]))).unwrap();
        assert!(Changes::of(&mut table, false, false).is_empty());
        assert_eq!(followed.follow(Changes::of(&mut table, true, false)), 0);

        // Another table: what it does not have is gone.
        let mut other = Table::new();
        other.set_prefix(prefix());
        other.set_home(one, Some(home(&["2001:db8:300::/48"], &[]))).unwrap();
        followed.follow(Changes::of(&mut other, true, true));
        let mut expected = always.to_vec();
        expected.push("2001:db8:300::/48");
        assert_eq!(followed.installed(), expected);
    }

    #[test]
    fn changes_that_wait_are_as_good_as_one_by_one() {
        let net = |text: &str| -> IpNet { text.parse().unwrap() };
        let one = |text, is_there| Changes {
            networks: [(net(text), is_there)].into(),
            ..Changes::default()
        };
        let mut waiting = one("2001:db8:1::/48", true);
        waiting.follow(one("2001:db8:2::/48", true));
        waiting.follow(one("2001:db8:1::/48", false));
        waiting.follow(Changes { prefixes: Some(vec![prefix()]), ..Changes::default() });
        waiting.follow(one("2001:db8:3::/48", true));
        let networks = [
            (net("2001:db8:1::/48"), false),
            (net("2001:db8:2::/48"), true),
            (net("2001:db8:3::/48"), true),
        ];
        let expected =
            Changes { anew: false, prefixes: Some(vec![prefix()]), networks: networks.into() };
        assert_eq!(waiting, expected);
        let anew = Changes { anew: true, prefixes: Some(vec![]), ..Changes::default() };
        waiting.follow(anew.clone());
        assert_eq!(waiting, anew);
        assert!(!waiting.is_empty());
    }

    #[test]
    fn whatever_comes_and_goes_the_routes_are_those_of_what_is_there() {
        let mut random = 7_u64;
        let mut below = |bound: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % bound
        };
        let mut followed = Followed::default();
        for step in 0..4000 {
            let mut networks = BTreeMap::new();
            for _ in 0..=below(4) {
                // Few bits, so that many are the same, or lie in one another.
                let bits = u32::try_from(below(64)).unwrap() << 26;
                let len = u8::try_from(1 + below(6)).unwrap();
                let v4 = IpNet::new(Ipv4Addr::from_bits(bits).into(), len).unwrap().trunc();
                let v6 = u128::from(bits) << 96;
                let v6 = IpNet::new(Ipv6Addr::from_bits(v6).into(), len).unwrap().trunc();
                networks.insert(if below(2) == 0 { v4 } else { v6 }, below(2) == 0);
            }
            let prefixes = (below(20) == 0).then(|| {
                let bits = u128::from(below(64)) << 122;
                vec![HomePrefix { prefix: Ipv6Addr::from_bits(bits), prefix_len: 5, ..prefix() }]
            });
            let touched = followed.follow(Changes { anew: step % 500 == 499, prefixes, networks });
            assert!(touched <= 140, "{touched}");
        }
        assert!(!followed.installed.is_empty());
    }

    #[test]
    fn one_network_among_very_many_touches_no_other() {
        let many = (0..100_000_u32).map(|at| {
            let bits = (0x2001_0db8_u128 << 96) | (u128::from(at) << 64);
            (IpNet::new(Ipv6Addr::from_bits(bits).into(), 64).unwrap(), true)
        });
        let mut wanted = Destinations::default();
        let changes = Changes { networks: many.collect(), ..Changes::default() };
        assert_eq!(wanted.follow(changes).len(), 100_000);
        let new: IpNet = "2001:db9::/48".parse().unwrap();
        for is_there in [true, false] {
            let networks = [(new, is_there)].into();
            let touched = wanted.follow(Changes { networks, ..Changes::default() });
            assert_eq!(touched, [new].into());
        }
    }
}
