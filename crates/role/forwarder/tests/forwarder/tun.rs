//! With privileges: a TUN in a namespace, and beside it a namespace with everybody else.

use std::{io::Write as _, net::SocketAddr, time::Duration};

use homeport_forwarder::TunConfig;
use homeport_hostnet::{Namespace, Network, Route, TemporaryNamespace, Tun, privileges};
use homeport_wire::{
    Icmpv6, PacketBuilder, UdpHeader, encapsulate_v6, mobility_packet, protocol, udp_v4_packet,
    walk,
};

use crate::fakes::*;

pub(crate) const CARE_OF: std::net::Ipv6Addr =
    std::net::Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 0x11);

/// Two namespaces with a link between them: the forwarder's, and that of the rest of the world,
/// whose packets the test reads and writes through a TUN.
pub(crate) struct Laboratory {
    pub(crate) edge: TemporaryNamespace,
    pub(crate) world: TemporaryNamespace,
    pub(crate) rest: Tun,
    world_network: Network,
}

impl Laboratory {
    /// A TUN in the forwarder's namespace.
    pub(crate) fn tun(&self) -> TunConfig {
        TunConfig {
            name: "hp0".to_owned(),
            netns: Some(self.edge.name().to_owned()),
            mtu: 1500,
            path_mtu: 1500,
            routes: true,
            home_link: None,
        }
    }

    pub(crate) async fn build() -> Self {
        let edge = TemporaryNamespace::create("hpedge").unwrap();
        let world = TemporaryNamespace::create("hpworld").unwrap();
        let edge_network = Network::open(&edge.namespace()).unwrap();
        let world_network = Network::open(&world.namespace()).unwrap();
        edge_network.add_veth("up", "down", &world.namespace()).await.unwrap();
        let ends = [
            (&edge_network, &edge, "up", ["2001:db8:e::1/64", "192.0.2.1/24"]),
            (&world_network, &world, "down", ["2001:db8:e::2/64", "192.0.2.2/24"]),
        ];
        for (network, namespace, link, _) in ends {
            for parameter in ["net.ipv6.conf.all.forwarding", "net.ipv4.ip_forward"] {
                homeport_hostnet::write_sysctl(&namespace.namespace(), parameter, "1").unwrap();
            }
            network.link_up(link).await.unwrap();
        }
        for (network, _, link, addresses) in ends {
            for address in addresses {
                network.add_address(link, address.parse().unwrap()).await.unwrap();
            }
        }
        let default = |via: &str, link| {
            let everything = if via.contains(':') { "::/0" } else { "0.0.0.0/0" };
            Route::to(everything.parse().unwrap()).via(via.parse().unwrap()).device(link)
        };
        for via in ["2001:db8:e::2", "192.0.2.2"] {
            edge_network.add_route(&default(via, "up")).await.unwrap();
        }
        let rest = Tun::open(&world.namespace(), "rest", 1500).unwrap();
        for net in ["2001:db8:a::/64", "2001:db8:f::/64", "203.0.113.0/24", "198.18.0.0/24"] {
            let route = Route::to(net.parse().unwrap()).device("rest");
            world_network.add_route(&route).await.unwrap();
        }
        for (net, via) in [
            ("2001:db8:0:1::/64", "2001:db8:e::1"),
            ("2001:db8:100::/48", "2001:db8:e::1"),
            ("198.51.100.0/24", "192.0.2.1"),
        ] {
            let route = Route::to(net.parse().unwrap()).via(via.parse().unwrap()).device("down");
            world_network.add_route(&route).await.unwrap();
        }
        Self { edge, world, rest, world_network }
    }

    /// The next packet for somebody out there; what kernels say of their own accord is passed over.
    pub(crate) async fn recv(&self, what: &str) -> Vec<u8> {
        let mut packet = vec![0; 2000];
        let len = in_time(what, async {
            loop {
                let len = self.rest.recv(&mut packet).await.unwrap();
                if packet[0] >> 4 == 4 || packet[24] != 0xff {
                    return len;
                }
            }
        })
        .await;
        packet.truncate(len);
        packet
    }
}

#[tokio::test]
async fn packets_take_their_way_through_the_kernel() {
    if let Err(unprivileged) = privileges() {
        // Not by the macro: the test harness would keep that to itself.
        writeln!(std::io::stderr(), "\n*** SKIPPED the TUN of a forwarder: {unprivileged}\n")
            .unwrap();
        return;
    }
    let laboratory = Laboratory::build().await;
    let (store_port, front_end_port) = (free_port(), free_port());
    let homes = vec![bound(HOME, SocketAddr::from((CARE_OF, 0)), Duration::from_secs(60))];
    let store = RunningStore::start(store_port, vec![snapshot(1, homes)]);
    let mut front_end = RunningFrontEnd::start(front_end_port);
    let tun = laboratory.tun();
    let forwarder = RunningForwarder::start(&[store_port], &[front_end_port], Some(tun));
    forwarder.until("homeport_forwarder_revision", 1.0).await;
    forwarder.until("homeport_forwarder_front_ends_connected", 1.0).await;
    in_time("routes into the TUN", routed(&laboratory.edge.namespace(), true)).await;

    // Down: two kernels take a hop limit each before the forwarder, one takes one after it.
    let packet = PacketBuilder::new(CORRESPONDENT, HOME).build(protocol::UDP, &[1; 32]);
    laboratory.rest.send(&packet).await.unwrap();
    let outer = laboratory.recv("tunnelled packet").await;
    let opened = walk(&outer).unwrap();
    assert_eq!((opened.header.source, opened.header.destination), (AGENT, CARE_OF));
    assert_eq!(opened.upper, protocol::IPV6);
    let mut expected = packet.clone();
    expected[7] -= 3;
    assert_eq!(opened.payload, expected);

    // Up.
    let inner = PacketBuilder::new(HOME, CORRESPONDENT).build(protocol::UDP, &[2; 32]);
    let outer = encapsulate_v6(&inner, CARE_OF, AGENT, 64, 0, 0);
    laboratory.rest.send(&outer).await.unwrap();
    let mut expected = inner.clone();
    expected[7] -= 3;
    assert_eq!(laboratory.recv("inner packet").await, expected);

    // A packet that does not fit: the sender is told.
    let large = PacketBuilder::new(CORRESPONDENT, HOME).build(protocol::UDP, &[3; 1440]);
    laboratory.rest.send(&large).await.unwrap();
    let error = laboratory.recv("error").await;
    let walked = walk(&error).unwrap();
    let told = Icmpv6::parse(walked.payload, walked.pseudo_header()).unwrap();
    assert!(matches!(told, Icmpv6::PacketTooBig { mtu: 1460, .. }), "{told:?}");

    signalling(&laboratory, &mut front_end).await;
    signalling_v4(&laboratory, &mut front_end, &store, &forwarder).await;

    // When the prefix is deleted its packets do not come here any more.
    let mut deleted = message(9, vec![unbound(HOME)]);
    deleted.home_prefixes = vec![prefix_change()];
    deleted.home_prefixes[0].home_prefix = None;
    store.say(deleted).await;
    in_time("no routes into the TUN", routed(&laboratory.edge.namespace(), false)).await;
    drop(forwarder);
    laboratory.world_network.delete_link("down").await.unwrap();
}

/// A Binding Update with a Home Address option, whole as it was sent: the kernel did not see it.
async fn signalling(laboratory: &Laboratory, front_end: &mut RunningFrontEnd) {
    let mobility_header = [59, 0, 5, 0, 0, 0, 0, 1];
    let update = mobility_packet(CARE_OF, AGENT, Some(HOME), None, &mobility_header);
    laboratory.rest.send(&update).await.unwrap();
    let (request, answers) = in_time("punt", front_end.asked.recv()).await.unwrap();
    let mut expected = update;
    expected[7] -= 2;
    assert_eq!((&request.packet[..], &request.outer), (&expected[..], &None));
    let mut answer = mobility_packet(AGENT, CARE_OF, None, Some(HOME), &mobility_header);
    let response = homeport_api::signalling::PuntResponse {
        ticket: request.ticket,
        packet: answer.clone().into(),
        ..Default::default()
    };
    answers.send(Ok(response)).await.unwrap();
    answer[7] -= 2;
    assert_eq!(laboratory.recv("answer").await, answer);
}

/// The same in IPv4 and UDP, and then data.
async fn signalling_v4(
    laboratory: &Laboratory,
    front_end: &mut RunningFrontEnd,
    store: &RunningStore,
    forwarder: &RunningForwarder,
) {
    let node = ([203, 0, 113, 9].into(), 40001);
    let update = mobility_packet(HOME, AGENT, None, None, &[59, 0, 5, 0, 0, 0, 0, 1]);
    laboratory.rest.send(&udp_v4_packet(node, (AGENT_V4, 4191), &update)).await.unwrap();
    let (request, answers) = in_time("punt", front_end.asked.recv()).await.unwrap();
    assert_eq!(request.packet, update);
    let response = homeport_api::signalling::PuntResponse {
        ticket: request.ticket,
        packet: mobility_packet(AGENT, HOME, None, None, &[59, 0, 6, 0, 0, 0, 0, 1]).into(),
        outer: request.outer,
        revision: 2,
        draining: None,
    };
    answers.send(Ok(response)).await.unwrap();
    let care_of = SocketAddr::from(node);
    store.say(message(2, vec![bound(HOME, care_of, Duration::from_secs(60))])).await;
    let datagram = |packet: &[u8]| {
        assert_eq!((packet[0] >> 4, packet[9]), (4, protocol::UDP));
        let (header, payload) = UdpHeader::parse_v4(&packet[20..], AGENT_V4, node.0).unwrap();
        assert_eq!((header.source_port, header.destination_port), (4191, node.1));
        payload.to_vec()
    };
    let answer = datagram(&laboratory.recv("answer in UDP").await);
    assert_eq!(walk(&answer).unwrap().upper, protocol::MOBILITY);
    forwarder.until("homeport_forwarder_revision", 2.0).await;

    let packet = PacketBuilder::new(CORRESPONDENT, HOME).build(protocol::UDP, &[4; 32]);
    laboratory.rest.send(&packet).await.unwrap();
    let inner = datagram(&laboratory.recv("data in UDP").await);
    assert_eq!(inner[8..], packet[8..]);
}

/// Until the kernel sends packets for the home agent into the TUN, or does not any more.
pub(crate) async fn routed(edge: &Namespace, wanted: bool) {
    let routes = || std::fs::read_to_string("/proc/thread-self/net/ipv6_route").unwrap();
    let is_agent = |line: &&str| {
        line.starts_with("20010db8000000010000000000000001 80") && line.trim().ends_with("hp0")
    };
    while edge.run(routes).unwrap().lines().any(|line| is_agent(&line)) != wanted {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
