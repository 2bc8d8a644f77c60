//! With privileges: a real home link with a host on it, and the forwarder that answers there.

use std::{
    io::Write as _,
    net::{Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use homeport_forwarder::TunConfig;
use homeport_hostnet::{Namespace, Network, TemporaryNamespace, privileges, write_sysctl};
use homeport_wire::{PacketBuilder, PseudoHeader, UdpHeader, protocol, walk};

use crate::{
    fakes::*,
    tun::{CARE_OF, Laboratory},
};

const HOST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x99);
const SECOND: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x101);
const AT_HOME: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x102);
const DEFENDED: &str = "homeport_forwarder_defended";
/// The home agent's two addresses and the anycast address.
const OF_THE_HOME_AGENT: f64 = 3.0;

/// A socket of the host on the home link.
fn socket(host: &Namespace, address: Ipv6Addr) -> UdpSocket {
    let bound = SocketAddr::from((address, 5060));
    host.run(|| UdpSocket::bind(bound)).unwrap().unwrap()
}

/// At home, but other routers are on the link: the node is served by its link-layer address.
fn at_home(link_layer_address: Vec<u8>) -> homeport_api::feed::HomeChange {
    let there = SocketAddr::from((AT_HOME, 0));
    let mut change = bound(AT_HOME, there, Duration::from_secs(600));
    let binding = &mut change.home.as_mut().unwrap().bindings[0];
    binding.home = true;
    binding.link_layer_address = link_layer_address.into();
    change
}

#[tokio::test]
async fn a_host_on_the_home_link_reaches_who_is_away_and_who_is_at_home() {
    if let Err(unprivileged) = privileges() {
        writeln!(std::io::stderr(), "\n*** SKIPPED the home link of a forwarder: {unprivileged}\n")
            .unwrap();
        return;
    }
    let laboratory = Laboratory::build().await;
    let link = TemporaryNamespace::create("hplink").unwrap();
    let (edge, host) = (laboratory.edge.namespace(), link.namespace());
    let (edge_network, host_network) =
        (Network::open(&edge).unwrap(), Network::open(&host).unwrap());
    // Nobody else has these link-local addresses; and the test shall not wait for that to be found.
    for namespace in [&edge, &host] {
        write_sysctl(namespace, "net.ipv6.conf.default.accept_dad", "0").unwrap();
    }
    edge_network.add_veth("home", "host", &host).await.unwrap();
    edge_network.link_up("home").await.unwrap();
    host_network.link_up("host").await.unwrap();
    for address in [HOST, AT_HOME] {
        let address = format!("{address}/64").parse().unwrap();
        host_network.add_address("host", address).await.unwrap();
    }
    let host_mac = host_network.link_layer_address("host").await.unwrap();

    let store_port = free_port();
    let store = RunningStore::start(store_port, vec![snapshot(1, vec![])]);
    let tun = TunConfig {
        name: "hp0".to_owned(),
        netns: Some(laboratory.edge.name().to_owned()),
        mtu: 1500,
        path_mtu: 1500,
        routes: true,
        home_link: Some("home".to_owned()),
    };
    let forwarder = RunningForwarder::start(&[store_port], &[free_port()], Some(tun));
    forwarder.until(DEFENDED, OF_THE_HOME_AGENT).await;

    // Away: what the host sends arrives in the tunnel.
    let away =
        [HOME, SECOND].map(|home| bound(home, (CARE_OF, 0).into(), Duration::from_secs(600)));
    store.say(message(2, away.to_vec())).await;
    forwarder.until(DEFENDED, OF_THE_HOME_AGENT + 2.0).await;
    let from = socket(&host, HOST);
    from.send_to(b"to the one away", SocketAddr::from((HOME, 7))).unwrap();
    let outer = laboratory.recv("tunnelled packet").await;
    let walked = walk(&outer).unwrap();
    assert_eq!((walked.header.source, walked.header.destination), (AGENT, CARE_OF));
    assert_eq!(&walked.payload[48..], b"to the one away");

    // At home: packets from elsewhere reach it on the link, without a question.
    store.say(message(3, vec![at_home(host_mac)])).await;
    forwarder.until(DEFENDED, OF_THE_HOME_AGENT + 3.0).await;
    let node = socket(&host, AT_HOME);
    let pseudo = PseudoHeader::udp(CORRESPONDENT, AT_HOME);
    let header = UdpHeader { source_port: 7, destination_port: 5060 };
    let datagram = header.emit_v6(pseudo, b"to the one at home");
    let packet = PacketBuilder::new(CORRESPONDENT, AT_HOME).build(protocol::UDP, &datagram);
    laboratory.rest.send(&packet).await.unwrap();
    node.set_nonblocking(true).unwrap();
    let node = tokio::net::UdpSocket::from_std(node).unwrap();
    let mut octets = [0; 100];
    let (len, peer) = in_time("datagram at home", node.recv_from(&mut octets)).await.unwrap();
    assert_eq!((&octets[..len], peer.ip()), (&b"to the one at home"[..], CORRESPONDENT.into()));

    // Deregistered: nobody answers for it any more. The host never asked before.
    store.say(message(4, vec![unbound(SECOND)])).await;
    forwarder.until(DEFENDED, OF_THE_HOME_AGENT + 2.0).await;
    from.send_to(b"to nobody", SocketAddr::from((SECOND, 7))).unwrap();
    from.send_to(b"once more", SocketAddr::from((HOME, 7))).unwrap();
    let outer = laboratory.recv("tunnelled packet").await;
    assert_eq!(&walk(&outer).unwrap().payload[48..], b"once more");
    let nothing = tokio::time::timeout(Duration::from_millis(300), laboratory.recv("")).await;
    assert!(nothing.is_err(), "{nothing:?}");

    // Cut off from the store, a binding ends by itself and so does its defence.
    let short = bound(HOME, (CARE_OF, 0).into(), Duration::from_millis(300));
    store.say(message(5, vec![short])).await;
    forwarder.until(DEFENDED, OF_THE_HOME_AGENT + 1.0).await;
    drop(forwarder);
}
