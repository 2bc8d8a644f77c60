//! With privileges: the node on its home link, alone and beside foreign links.
//!
//! The lab of `plain`, and a home link between "net" and "node". The home agent made by hand does
//! not defend home addresses; the test says by a route whether packets for the home address stay
//! on the home link.

use std::net::Ipv6Addr;
use std::process::{Command, Output};

use homeport_hostnet::{Network, Route};
use homeport_wire::Status;
use mobile_node::{Config, HomeLinkConfig, MobileNode};

use crate::home_agent::{CORRESPONDENT, HOME};
use crate::plain::{Lab, config, lab, ping};
use crate::tun::may_not;

const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

struct HomeLab {
    lab: Lab,
    network: Network,
}

impl HomeLab {
    async fn new() -> Self {
        let lab = lab().await;
        let network = Network::open(&lab.net.namespace()).unwrap();
        let links = Network::open(&lab.node.namespace()).unwrap();
        network.add_veth("router-h", "home0", &lab.node.namespace()).await.unwrap();
        network.add_address("router-h", format!("{ROUTER}/64").parse().unwrap()).await.unwrap();
        network.link_up("router-h").await.unwrap();
        links.link_up("home0").await.unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        Self { lab, network }
    }

    fn config(&self, bid: Option<u16>) -> Config {
        let mut config = config(&self.lab);
        config.home_link =
            Some(HomeLinkConfig { interface: "home0".to_owned(), gateway: ROUTER, bid });
        config
    }

    /// Packets for the home address go to the home link, or to the home agent.
    async fn on_link(&self, on_link: bool) {
        let route = Route::to(format!("{HOME}/128").parse().unwrap()).device("router-h");
        if on_link {
            self.network.replace_route(&route).await.unwrap();
        } else {
            self.network.delete_route(&route).await.unwrap();
        }
    }

    /// The home agent knows the node's link-layer address from its update, and forgets it.
    fn knows_neighbour(&self, knows: bool) {
        let show = ["-o", "link", "show", "home0"];
        let shown = self.ip(&self.lab.node, &show);
        let text = String::from_utf8(shown.stdout).unwrap();
        let mac = text.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap();
        let home = HOME.to_string();
        let verb = if knows { "replace" } else { "del" };
        let arguments = ["-6", "neigh", verb, &home, "lladdr", mac, "dev", "router-h"];
        let arguments: Vec<&str> = match knows {
            true => arguments.into_iter().chain(["nud", "permanent"]).collect(),
            false => arguments.to_vec(),
        };
        let output = self.ip(&self.lab.net, &arguments);
        assert!(output.status.success(), "{output:?}");
    }

    fn ip(&self, place: &homeport_hostnet::TemporaryNamespace, arguments: &[&str]) -> Output {
        place.namespace().run(|| Command::new("ip").args(arguments).output().unwrap()).unwrap()
    }

    async fn up(&self) -> bool {
        let (from, to) = (HOME.to_string(), CORRESPONDENT.to_string());
        ping(&self.lab.node.namespace(), &from, &to).await.status.success()
    }

    async fn down(&self) -> bool {
        let (from, to) = (CORRESPONDENT.to_string(), HOME.to_string());
        ping(&self.lab.net.namespace(), &from, &to).await.status.success()
    }

    /// Care-of addresses that data came from since the last time.
    fn tunnelled(&self) -> Vec<String> {
        let sources = std::mem::take(&mut self.lab.agent.state().outer_sources);
        sources.iter().map(ToString::to_string).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn home_with_the_only_interface_and_away_again() {
    if may_not() {
        return;
    }
    let lab = HomeLab::new().await;
    let node = MobileNode::start(lab.config(None)).await.unwrap();
    node.register(false).await.unwrap();
    assert!(lab.up().await && lab.down().await);
    assert_eq!(lab.tunnelled(), ["2001:db8:a::11"]);

    lab.on_link(true).await;
    lab.knows_neighbour(true);
    node.return_home().await.unwrap();
    {
        let state = lab.lab.agent.state();
        let last = state.seen.last().unwrap();
        assert!(last.lifetime.is_deregistration() && last.bids.is_empty(), "{last:?}");
        assert_eq!(state.to, None);
    }
    // The node answers for its address itself, and sends without a tunnel.
    lab.knows_neighbour(false);
    assert!(lab.up().await && lab.down().await);
    assert_eq!(lab.tunnelled(), [""; 0]);

    node.register(false).await.unwrap();
    lab.on_link(false).await;
    assert!(lab.up().await && lab.down().await);
    assert_eq!(lab.tunnelled(), ["2001:db8:a::11"]);
    let addresses = lab.ip(&lab.lab.node, &["-6", "addr", "show", "dev", "home0"]);
    let addresses = String::from_utf8(addresses.stdout).unwrap();
    assert!(!addresses.contains(&HOME.to_string()), "{addresses}");
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_foreign_links_it_answers_neighbours_only_when_it_may() {
    if may_not() {
        return;
    }
    for (status, answers) in [(Status::ACCEPTED, true), (Status::MCOA_RETURNHOME_WO_NDP, false)] {
        let lab = HomeLab::new().await;
        lab.lab.agent.state().status = status;
        lab.on_link(true).await;
        lab.knows_neighbour(true);
        let node = MobileNode::start(lab.config(Some(9))).await.unwrap();
        node.register(false).await.unwrap();
        {
            let state = lab.lab.agent.state();
            let last = state.seen.last().unwrap();
            assert!(last.bids[0].home && last.bids[0].bid.0 == 9, "{last:?}");
            assert!(last.options[0].contains("LinkLayerAddress"), "{last:?}");
        }
        assert_eq!(node.status().await.unwrap().registered(), [1, 9]);
        // The home agent writes the link-layer header itself.
        assert!(lab.down().await, "{status}");
        lab.knows_neighbour(false);
        assert_eq!(lab.down().await, answers, "{status}");
        lab.knows_neighbour(true);
        // Either binding carries.
        for bid in [1, 9] {
            let timeout = std::time::Duration::from_secs(2);
            let results = node.ping(CORRESPONDENT, Some(bid), 1, timeout).await.unwrap();
            let sent = lab.tunnelled();
            assert_eq!(sent.is_empty(), bid == 9, "{sent:?} {results:?}");
        }
        node.stop().await.unwrap();
    }
}
