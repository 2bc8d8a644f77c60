//! With privileges: IPv6 care-of addresses and a TUN device, in network namespaces.
//!
//! ```text
//! namespace "node":  TUN mn0 (home address) | link-a, link-b, link-c: the foreign links
//! namespace "net":   the routers of the foreign links | TUN ha0: home agent and home prefix |
//!                    the correspondent node, an address of the kernel
//! ```

use std::net::IpAddr;
use std::process::{Command, Output};
use std::time::Duration;

use homeport_binding::Authentication;
use homeport_hostnet::{
    Namespace, Network, Route, TemporaryNamespace, Tun, privileges, write_sysctl,
};
use mobile_node::{
    AuthenticationConfig, CareOfConfig, Config, MobileNode, PingOutcome, PingResult, TunConfig,
};

use crate::home_agent::{CORRESPONDENT, HOME, HOME_AGENT, HomeAgent, KEY, NAI, SPI};

/// On the router of the third link.
const HOME_AGENT_V4: &str = "192.0.2.1:4191";
const SECOND: Duration = Duration::from_secs(1);
/// Letter of a foreign link, and the last part of the care-of address there.
const LINKS: [(char, &str); 3] = [('a', "11"), ('b', "22"), ('c', "33")];

struct Lab {
    agent: HomeAgent,
    node: TemporaryNamespace,
    net: TemporaryNamespace,
    _network: Network,
}

/// Says why a test that needs privileges does nothing.
pub fn may_not() -> bool {
    match privileges() {
        Ok(()) => false,
        Err(reason) => {
            eprintln!("SKIPPED: {reason}");
            true
        }
    }
}

async fn lab() -> Lab {
    let node = TemporaryNamespace::create("mn").unwrap();
    let net = TemporaryNamespace::create("net").unwrap();
    write_sysctl(&net.namespace(), "net.ipv6.conf.all.forwarding", "1").unwrap();
    let network = Network::open(&net.namespace()).unwrap();
    let links = Network::open(&node.namespace()).unwrap();
    network.link_up("lo").await.unwrap();
    for (letter, _) in LINKS {
        let (router, link) = (format!("router-{letter}"), format!("link-{letter}"));
        network.add_veth(&router, &link, &node.namespace()).await.unwrap();
        let address = format!("2001:db8:{letter}::1/64").parse().unwrap();
        network.add_address(&router, address).await.unwrap();
        network.link_up(&router).await.unwrap();
        links.link_up(&link).await.unwrap();
    }
    network.add_address("lo", format!("{CORRESPONDENT}/128").parse().unwrap()).await.unwrap();
    let tun = Tun::open(&net.namespace(), "ha0", 1500).unwrap();
    let prefix = "2001:db8:0:1::/64".parse().unwrap();
    network.replace_route(&Route::to(prefix).device("ha0")).await.unwrap();
    network.add_address("router-c", "192.0.2.1/24".parse().unwrap()).await.unwrap();
    let local = HOME_AGENT_V4.parse().unwrap();
    let agent = HomeAgent::start_in(&net.namespace(), local, Authentication::MnHa, Some(tun));
    // The links' own addresses take a while: without them nobody asks for neighbours.
    tokio::time::sleep(2 * SECOND).await;
    Lab { agent, node, net, _network: network }
}

fn care_of(bid: u16, letter: char, host: &str) -> CareOfConfig {
    let address = format!("2001:db8:{letter}::{host}").parse().unwrap();
    let mut config = CareOfConfig::new(bid, address);
    config.interface = Some(format!("link-{letter}"));
    config.gateway = Some(format!("2001:db8:{letter}::1").parse().unwrap());
    config
}

fn config(lab: &Lab) -> Config {
    let mut config = Config::new(HOME, HOME_AGENT);
    config.authentication = Some(AuthenticationConfig {
        spi: SPI,
        key: KEY.to_owned(),
        nai: NAI.to_owned(),
        mesg_id: false,
    });
    let netns = Some(lab.node.name().to_owned());
    config.tun = Some(TunConfig { name: "mn0".to_owned(), netns, mtu: 1460 });
    config.updates_per_second_max = 100;
    for (bid, (letter, host)) in (1..).zip(LINKS) {
        config.care_of.push(care_of(bid, letter, host));
    }
    config
}

/// The kernel's own ping, inside a namespace.
async fn kernel_ping(namespace: &Namespace, arguments: &[&str]) -> Output {
    let (namespace, mut command) = (namespace.clone(), Command::new("ping"));
    command.args(["-6", "-c", "3", "-i", "0.2", "-W", "2"]).args(arguments);
    let run = move || namespace.run(|| command.output().unwrap()).unwrap();
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn through_each_link_and_with_the_kernels_own_packets() {
    if may_not() {
        return;
    }
    let lab = lab().await;
    let node = MobileNode::start(config(&lab)).await.unwrap();
    node.register(true).await.unwrap();
    assert_eq!(lab.agent.bids(), [1, 2, 3]);
    for (bid, (letter, host)) in (1..).zip(LINKS) {
        let results = node.ping(CORRESPONDENT, Some(bid), 2, 2 * SECOND).await.unwrap();
        assert!(results.iter().all(PingResult::is_reply), "BID {bid}: {results:?}");
        // What carried data last carries the answer (RFC 5648 §3).
        let expected = format!("2001:db8:{letter}::{host}");
        let last = &results.last().unwrap().outcome;
        assert!(matches!(last, PingOutcome::Reply { path, .. } if *path == expected), "{last:?}");
    }
    let home = HOME.to_string();
    let correspondent = CORRESPONDENT.to_string();
    let out = kernel_ping(&lab.node.namespace(), &["-I", &home, &correspondent]).await;
    assert!(out.status.success(), "{out:?}");
    let back = kernel_ping(&lab.net.namespace(), &["-I", &correspondent, &home]).await;
    assert!(back.status.success(), "{back:?}");
    let arguments = ["-s", "1400", "-I", &correspondent, &home];
    let large = kernel_ping(&lab.net.namespace(), &arguments).await;
    assert!(large.status.success(), "{large:?}");

    node.deregister(&[]).await.unwrap();
    let gone = kernel_ping(&lab.net.namespace(), &["-I", &correspondent, &home]).await;
    assert!(!gone.status.success(), "{gone:?}");
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn moves_between_links_and_the_host_is_left_clean() {
    if may_not() {
        return;
    }
    let lab = lab().await;
    let mut config = config(&lab);
    config.care_of.truncate(1);
    let node = MobileNode::start(config.clone()).await.unwrap();
    node.register(false).await.unwrap();
    node.move_care_of(1, "2001:db8:a::77".parse::<IpAddr>().unwrap()).await.unwrap();
    let results = node.ping(CORRESPONDENT, Some(1), 1, 2 * SECOND).await.unwrap();
    assert!(results[0].is_reply(), "{results:?}");
    node.move_to(care_of(1, 'b', "78")).await.unwrap();
    let results = node.ping(CORRESPONDENT, Some(1), 1, 2 * SECOND).await.unwrap();
    let outcome = &results[0].outcome;
    assert!(
        matches!(outcome, PingOutcome::Reply { path, .. } if path == "2001:db8:b::78"),
        "{outcome:?}"
    );
    node.stop().await.unwrap();
    let show = |arguments: &'static [&'static str]| {
        let run = || Command::new("ip").arg("-6").args(arguments).output().unwrap();
        let output = lab.node.namespace().run(run).unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let rules = show(&["rule"]);
    assert!(!rules.contains("2001:db8"), "{rules}");
    let proxies = show(&["neighbour", "show", "proxy"]);
    assert_eq!(proxies, "");
    // The device's name is free at once.
    for _ in 0..3 {
        let again = MobileNode::start(config.clone()).await.unwrap();
        again.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ipv4_care_of_address_beside_ipv6_ones() {
    if may_not() {
        return;
    }
    let lab = lab().await;
    let mut config = config(&lab);
    config.home_agent_v4 = Some(*lab.agent.udp.ip());
    config.care_of.truncate(2);
    let mut v4 = CareOfConfig::new(7, "192.0.2.77".parse().unwrap());
    v4.interface = Some("link-c".to_owned());
    v4.gateway = Some("192.0.2.1".parse().unwrap());
    config.care_of.push(v4);
    let node = MobileNode::start(config).await.unwrap();
    node.register(true).await.unwrap();
    assert_eq!(lab.agent.bids(), [1, 2, 7]);
    for bid in [1, 7] {
        let results = node.ping(CORRESPONDENT, Some(bid), 2, 2 * SECOND).await.unwrap();
        assert!(results.iter().all(PingResult::is_reply), "BID {bid}: {results:?}");
    }
    // One update for all, now that the home agent has seen the IPv4 address.
    node.refresh(true).await.unwrap();
    let journal = node.journal().await.unwrap();
    assert_eq!(journal.last().unwrap().bids, [1, 2, 7]);
    node.deregister(&[]).await.unwrap();
    node.stop().await.unwrap();
}
