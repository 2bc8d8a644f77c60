//! With privileges: a real home link with a host on it, and the forwarders that are its home agent.

use std::{
    io::Write as _,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use homeport_api::{
    binding, convert,
    feed::{HomeChange, WatchResponse},
};
use homeport_forwarder::TunConfig;
use homeport_hostnet::{
    Ethernet, Namespace, Network, TemporaryNamespace, privileges, write_sysctl,
};
use homeport_wire::{
    DiscoveryFlags, Icmpv6, NeighbourFlags, NeighbourOption, NeighbourOptions,
    NeighbourSolicitation, PacketBuilder, PseudoHeader, RouterFlags, UdpHeader, encapsulate_v4,
    protocol, walk,
};

use crate::{
    drain::want_drained,
    fakes::*,
    tun::{CARE_OF, Laboratory},
};

const HOST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x99);
const SECOND: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x101);
const AT_HOME: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x102);
const NOBODY: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0xdead);
/// With the interface identifier of [`HOME`].
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x100);
const ANYCAST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0xfdff, 0xffff, 0xffff, 0xfffe);
const DEFENDED: &str = "homeport_forwarder_home_link_addresses_defended";
const LINKS: &str = "homeport_forwarder_home_links_defended";
/// The home agent's address and its IPv4 address.
const OF_THE_HOME_AGENT: f64 = 2.0;
const LIFETIME: Duration = Duration::from_secs(600);
type Mac = [u8; 6];

/// The home link: a host, what it sees, and forwarders at the other ports.
struct HomeNet {
    host: TemporaryNamespace,
    _link: TemporaryNamespace,
    ethernet: Ethernet,
}

impl HomeNet {
    async fn build(edges: &[&TemporaryNamespace]) -> Self {
        let host = TemporaryNamespace::create("hphost").unwrap();
        let link = TemporaryNamespace::create("hplink").unwrap();
        let network = Network::open(&link.namespace()).unwrap();
        let mut ports = Vec::new();
        for (index, (namespace, name)) in std::iter::once((host.namespace(), "host"))
            .chain(edges.iter().map(|edge| (edge.namespace(), "home")))
            .enumerate()
        {
            // Nobody else has these link-local addresses; the test shall not wait for that.
            write_sysctl(&namespace, "net.ipv6.conf.default.accept_dad", "0").unwrap();
            let port = format!("port{index}");
            network.add_veth(&port, name, &namespace).await.unwrap();
            Network::open(&namespace).unwrap().link_up(name).await.unwrap();
            ports.push(port);
        }
        let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
        network.add_bridge("bridge", &ports).await.unwrap();
        let ethernet = opened(&host.namespace(), "host").await;
        let network = Network::open(&host.namespace()).unwrap();
        for address in [HOST, AT_HOME] {
            let address = format!("{address}/64").parse().unwrap();
            network.add_address("host", address).await.unwrap();
        }
        let it = Self { host, _link: link, ethernet };
        for edge in edges {
            it.reached_from(&opened(&edge.namespace(), "home").await).await;
        }
        it
    }

    /// A bridge takes a second to notice that its ports are up, and is silent until then.
    async fn reached_from(&self, edge: &Ethernet) {
        let message = Icmpv6::NeighbourSolicitation(NeighbourSolicitation {
            target: NOBODY,
            options: NeighbourOptions::EMPTY,
        });
        let (from, to) = (edge.link_local(), Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));
        let octets = message.emit(from, to);
        let packet = PacketBuilder::new(from, to).build(protocol::ICMPV6, &octets);
        let calls = async {
            loop {
                edge.send([0x33, 0x33, 0, 0, 0, 1], &packet).await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let heard = self.hears("the edge", |source, _| (source == edge.address()).then_some(()));
        tokio::select! {
            () = heard => {}
            () = calls => unreachable!("it has no end"),
        }
    }

    /// A socket of the host.
    fn socket(&self, address: Ipv6Addr) -> UdpSocket {
        let bound = SocketAddr::from((address, 5060));
        self.host.namespace().run(|| UdpSocket::bind(bound)).unwrap().unwrap()
    }

    /// The first message on the link of which `wanted` makes something.
    async fn hears<T>(&self, what: &str, mut wanted: impl FnMut(Mac, Heard<'_>) -> Option<T>) -> T {
        in_time(what, async {
            let mut frame = vec![0; 2000];
            loop {
                let (source, packet) = self.ethernet.recv(&mut frame).await.unwrap();
                if let Some(heard) = Heard::read(packet)
                    && let Some(found) = wanted(source, heard)
                {
                    return found;
                }
            }
        })
        .await
    }

    /// All that comes within a while.
    async fn hears_for<T>(
        &self,
        time: Duration,
        mut wanted: impl FnMut(Mac, Heard<'_>) -> Option<T>,
    ) -> Vec<T> {
        let mut all = Vec::new();
        let listening = self.hears("", |source, heard| {
            all.extend(wanted(source, heard));
            None::<()>
        });
        drop(tokio::time::timeout(time, listening).await);
        all
    }

    async fn sends(&self, to: Mac, destination: Ipv6Addr, message: &Icmpv6<'_>) {
        let from = self.ethernet.link_local();
        let octets = message.emit(from, destination);
        let packet =
            PacketBuilder::new(from, destination).hop_limit(255).build(protocol::ICMPV6, &octets);
        self.ethernet.send(to, &packet).await.unwrap();
    }

    async fn asks_for(&self, target: Ipv6Addr) {
        let [.., a, b, c] = target.octets();
        let [high, low] = [0xff00 | u16::from(a), u16::from_be_bytes([b, c])];
        let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, high, low);
        let own = self.ethernet.address();
        let options = NeighbourOptions::of(&[NeighbourOption::SourceLinkLayer(&own)]);
        let message = Icmpv6::NeighbourSolicitation(NeighbourSolicitation { target, options });
        self.sends([0x33, 0x33, 0xff, a, b, c], group, &message).await;
    }
}

/// An ICMPv6 message.
struct Heard<'p> {
    from: Ipv6Addr,
    to: Ipv6Addr,
    hop_limit: u8,
    message: Icmpv6<'p>,
}

impl<'p> Heard<'p> {
    fn read(packet: &'p [u8]) -> Option<Self> {
        let walked = walk(packet).ok()?;
        let header = walked.header;
        let pseudo = PseudoHeader::icmpv6(header.source, header.destination);
        let message = Icmpv6::parse(walked.payload, pseudo).ok()?;
        let (from, to) = (header.source, header.destination);
        Some(Self { from, to, hop_limit: header.hop_limit, message })
    }

    /// Target, flags and link-layer address of a Neighbour Advertisement.
    fn advertisement(&self) -> Option<(Ipv6Addr, NeighbourFlags, Vec<u8>)> {
        let Icmpv6::NeighbourAdvertisement(message) = &self.message else { return None };
        let address = message.options.iter().find_map(|option| match option {
            NeighbourOption::TargetLinkLayer(address) => Some(address.to_vec()),
            _ => None,
        });
        Some((message.target, message.flags, address?))
    }

    /// The target of a Neighbour Solicitation of Duplicate Address Detection.
    fn probe(&self) -> Option<Ipv6Addr> {
        match &self.message {
            // Kernels probe for their own addresses, with a nonce.
            Icmpv6::NeighbourSolicitation(message)
                if self.from.is_unspecified() && message.options.octets().is_empty() =>
            {
                assert_eq!(self.hop_limit, 255);
                assert_eq!(self.to.segments()[..7], [0xff02, 0, 0, 0, 0, 1, 0xff00]);
                Some(message.target)
            }
            _ => None,
        }
    }
}

/// The link-local address comes some time after the link is up.
async fn opened(namespace: &Namespace, name: &str) -> Ethernet {
    in_time("link-local address", async {
        loop {
            match Ethernet::open(namespace, name) {
                Ok(ethernet) => return ethernet,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    })
    .await
}

fn tun_on(edge: &TemporaryNamespace) -> Option<TunConfig> {
    Some(TunConfig {
        name: "hp0".to_owned(),
        netns: Some(edge.name().to_owned()),
        mtu: 1500,
        path_mtu: 1500,
        routes: true,
        home_link: Some("home".to_owned()),
    })
}

/// With a home link, and home agents that are told.
fn real_snapshot(revision: u64, homes: Vec<HomeChange>) -> WatchResponse {
    let mut snapshot = snapshot(revision, homes);
    let record = snapshot.home_prefixes[0].home_prefix.as_mut().unwrap();
    (record.real_home_link, record.home_agent_discovery_allowed) = (true, true);
    record.home_agent_preference = 10;
    record.valid_lifetime_secs = 86_400;
    snapshot
}

fn away(home: Ipv6Addr, link_local: bool) -> HomeChange {
    let mut change = bound(home, (CARE_OF, 0).into(), LIFETIME);
    change.home.as_mut().unwrap().link_local = link_local;
    change
}

/// At home, but other routers are on the link: the node is served by its link-layer address.
fn at_home(link_layer_address: Mac) -> HomeChange {
    let there = SocketAddr::from((AT_HOME, 0));
    let mut change = bound(AT_HOME, there, LIFETIME);
    let binding = &mut change.home.as_mut().unwrap().bindings[0];
    binding.home = true;
    binding.link_layer_address = link_layer_address.to_vec().into();
    change
}

fn probed(home: Ipv6Addr, request: u8, link_local: bool) -> HomeChange {
    let mut change = bound(home, (CARE_OF, 0).into(), LIFETIME);
    let record = change.home.as_mut().unwrap();
    record.bindings.clear();
    let request_id = vec![request; 16].into();
    record.probe = Some(binding::Probe { request_id, link_local, duplicate: None });
    change
}

/// False, and says so, where the host does not let us.
fn allowed(test: &str) -> bool {
    let Err(unprivileged) = privileges() else { return true };
    // Not by the macro: the test harness would keep that to itself.
    let mut stderr = std::io::stderr();
    writeln!(stderr, "\n*** SKIPPED {test}: {unprivileged}\n").unwrap();
    false
}

#[tokio::test]
async fn a_host_on_the_home_link_reaches_who_is_away_and_who_is_at_home() {
    if !allowed("a_host_on_the_home_link_reaches_who_is_away_and_who_is_at_home") {
        return;
    }
    let laboratory = Laboratory::build().await;
    let link = HomeNet::build(&[&laboratory.edge]).await;
    let store_port = free_port();
    let store = RunningStore::start(store_port, vec![real_snapshot(1, vec![])]);
    let tun = tun_on(&laboratory.edge);
    let forwarder = RunningForwarder::start(&[store_port], &[free_port()], tun);
    forwarder.until(DEFENDED, OF_THE_HOME_AGENT).await;

    // Away: what the host sends arrives in the tunnel.
    store.say(message(2, [HOME, SECOND].map(|home| away(home, false)).to_vec())).await;
    forwarder.until(DEFENDED, OF_THE_HOME_AGENT + 2.0).await;
    let from = link.socket(HOST);
    from.send_to(b"to the one away", SocketAddr::from((HOME, 7))).unwrap();
    let outer = laboratory.recv("tunnelled packet").await;
    let walked = walk(&outer).unwrap();
    assert_eq!((walked.header.source, walked.header.destination), (AGENT, CARE_OF));
    assert_eq!(&walked.payload[48..], b"to the one away");

    // At home: packets from elsewhere reach it on the link, without a question.
    store.say(message(3, vec![at_home(link.ethernet.address())])).await;
    forwarder.until(DEFENDED, OF_THE_HOME_AGENT + 3.0).await;
    let from_elsewhere = |to: Ipv6Addr, text: &[u8]| {
        let header = UdpHeader { source_port: 7, destination_port: 5060 };
        let datagram = header.emit_v6(PseudoHeader::udp(CORRESPONDENT, to), text);
        PacketBuilder::new(CORRESPONDENT, to).build(protocol::UDP, &datagram)
    };
    // A host of the link that nobody ever registered is a neighbour too, and is asked for.
    let packets = [(AT_HOME, &b"to the one at home"[..]), (HOST, &b"to the host"[..])];
    for (address, text) in packets {
        let socket = if address == HOST { from.try_clone().unwrap() } else { link.socket(address) };
        socket.set_nonblocking(true).unwrap();
        let socket = tokio::net::UdpSocket::from_std(socket).unwrap();
        laboratory.rest.send(&from_elsewhere(address, text)).await.unwrap();
        let mut octets = [0; 100];
        let (len, peer) = in_time("datagram", socket.recv_from(&mut octets)).await.unwrap();
        assert_eq!((&octets[..len], peer.ip()), (text, CORRESPONDENT.into()));
    }
    nobody_is_unreachable(&laboratory, &store, &from_elsewhere(NOBODY, b"to nobody")).await;

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
}

/// Whom nobody answers for is unreachable, and the source learns it.
async fn nobody_is_unreachable(laboratory: &Laboratory, store: &RunningStore, packet: &[u8]) {
    laboratory.rest.send(packet).await.unwrap();
    // That takes three seconds, and a store that says nothing for so long is left.
    let alive = async {
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            store.say(message(3, vec![])).await;
        }
    };
    let error = tokio::select! {
        error = laboratory.recv("unreachable") => error,
        () = alive => unreachable!("it has no end"),
    };
    let heard = Heard::read(&error).unwrap();
    assert_eq!((heard.from, heard.to), (AGENT, CORRESPONDENT));
    assert!(matches!(heard.message, Icmpv6::DestinationUnreachable { code: 3, .. }));
}

/// A home address with an IPv4 one of the home prefix's pool.
fn with_v4(mut change: HomeChange, address: Ipv4Addr) -> HomeChange {
    let prefix = convert::ipv4_octets(address);
    let record = change.home.as_mut().unwrap();
    record.ipv4_home_address = Some(binding::Ipv4Prefix { prefix, prefix_len: 32 });
    change
}

#[tokio::test]
async fn ipv4_home_addresses_are_answered_for_and_delivered_to() {
    const AWAY_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 77);
    const AT_HOME_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 78);
    const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 9);
    if !allowed("ipv4_home_addresses_are_answered_for_and_delivered_to") {
        return;
    }
    let laboratory = Laboratory::build().await;
    let link = HomeNet::build(&[&laboratory.edge]).await;
    let host = link.host.namespace();
    for place in ["all", "host"] {
        // The other side of a link with one host: no route leads back to where the packets come from.
        write_sysctl(&host, &format!("net/ipv4/conf/{place}/rp_filter"), "0").unwrap();
    }
    let network = Network::open(&host).unwrap();
    for address in ["198.51.100.65/26", "198.51.100.78/26"] {
        network.add_address("host", address.parse().unwrap()).await.unwrap();
    }
    let homes = vec![
        with_v4(away(HOME, false), AWAY_V4),
        with_v4(at_home(link.ethernet.address()), AT_HOME_V4),
    ];
    let mut snapshot = real_snapshot(1, homes);
    let pool = convert::ipv4_octets(Ipv4Addr::new(198, 51, 100, 64));
    snapshot.home_prefixes[0].home_prefix.as_mut().unwrap().ipv4_pool =
        Some(binding::Ipv4Prefix { prefix: pool, prefix_len: 26 });
    let store_port = free_port();
    let _store = RunningStore::start(store_port, vec![snapshot]);
    let tun = tun_on(&laboratory.edge);
    let forwarder = RunningForwarder::start(&[store_port], &[free_port()], tun);
    forwarder.until(DEFENDED, OF_THE_HOME_AGENT + 4.0).await;

    let socket = |address: Ipv4Addr| {
        let bound = SocketAddr::from((address, 5060));
        host.run(|| UdpSocket::bind(bound)).unwrap().unwrap()
    };
    let from = socket(Ipv4Addr::new(198, 51, 100, 65));
    // The kernel's proxy comes a little later than the count; who asks by ARP asks again.
    from.send_to(b"by ARP", SocketAddr::from((AWAY_V4, 7))).unwrap();
    let outer = laboratory.recv("tunnelled packet").await;
    let walked = walk(&outer).unwrap();
    assert_eq!((walked.header.destination, walked.upper), (CARE_OF, protocol::IPV4));
    assert_eq!(&walked.payload[28..], b"by ARP");

    let node = socket(AT_HOME_V4);
    node.set_nonblocking(true).unwrap();
    let node = tokio::net::UdpSocket::from_std(node).unwrap();
    let header = UdpHeader { source_port: 7, destination_port: 5060 };
    let datagram = header.emit_v4(ELSEWHERE, AT_HOME_V4, b"to the one at home");
    let packet = encapsulate_v4(&datagram, protocol::UDP, ELSEWHERE, AT_HOME_V4, 64, 0);
    laboratory.rest.send(&packet).await.unwrap();
    let mut octets = [0; 100];
    let (len, peer) = in_time("datagram", node.recv_from(&mut octets)).await.unwrap();
    assert_eq!((&octets[..len], peer.ip()), (&b"to the one at home"[..], ELSEWHERE.into()));
}

#[tokio::test]
async fn the_defender_advertises_probes_and_answers() {
    if !allowed("the_defender_advertises_probes_and_answers") {
        return;
    }
    let laboratory = Laboratory::build().await;
    let link = HomeNet::build(&[&laboratory.edge]).await;
    let edge = opened(&laboratory.edge.namespace(), "home").await.address();
    let store_port = free_port();
    let mut store = RunningStore::start(store_port, vec![real_snapshot(1, vec![])]);
    let tun = tun_on(&laboratory.edge);
    let forwarder = RunningForwarder::start(&[store_port], &[free_port()], tun);

    // A router that is a home agent, with its whole address in the prefix (RFC 6275 sections 7.1, 7.2).
    let (flags, prefix) = link
        .hears("router advertisement", |source, heard| match heard.message {
            Icmpv6::RouterAdvertisement(message) if source == edge => {
                Some((message.flags, message.options.prefixes().next()?))
            }
            _ => None,
        })
        .await;
    assert!(flags.contains(RouterFlags::HOME_AGENT));
    assert_eq!((prefix.prefix, prefix.flags.0, prefix.valid_secs), (AGENT, 0xe0, 86_400));

    // Asked by the store: for one that is free, with L for both addresses, and for one that the host has.
    store.say(message(2, vec![probed(HOME, 1, true), probed(AT_HOME, 2, false)])).await;
    let mut asked = Vec::new();
    link.hears("probes", |source, heard| {
        asked.extend(heard.probe().filter(|_| source == edge));
        (asked.len() == 3).then_some(())
    })
    .await;
    asked.sort_unstable();
    assert_eq!(asked, [HOME, AT_HOME, LINK_LOCAL]);
    let mut found = Vec::new();
    for _ in 0..2 {
        let detected = in_time("result", store.found.recv()).await.unwrap();
        let address = convert::ipv6(&detected.home_address, "home address").unwrap();
        found.push((detected.request_id[0], address, detected.duplicate));
    }
    assert_eq!(found, [(2, AT_HOME, true), (1, HOME, false)], "an objection does not wait");

    // Bound: told to all nodes, for both addresses.
    store.say(message(3, vec![away(HOME, true), unbound(AT_HOME)])).await;
    both_are_told(&link, edge).await;

    // Asked, and for the agents' anycast address too; nobody answers for what is not defended.
    link.asks_for(NOBODY).await;
    for (target, flags) in [
        (HOME, NeighbourFlags::SOLICITED),
        (LINK_LOCAL, NeighbourFlags::SOLICITED),
        (ANYCAST, NeighbourFlags::SOLICITED.with(NeighbourFlags::ROUTER)),
    ] {
        link.asks_for(target).await;
        let own = link.ethernet.link_local();
        let answer =
            link.hears("answer", |_, heard| heard.advertisement().filter(|_| heard.to == own));
        assert_eq!(answer.await, (target, flags, edge.to_vec()));
    }
    link_local_is_unreachable(&link, edge).await;
    home_agents_are_told(&laboratory).await;
    drop(forwarder);
}

/// [`HOME`] and its link-local address, three times each, to all nodes.
async fn both_are_told(link: &HomeNet, edge: Mac) {
    let mut told = Vec::new();
    link.hears("unsolicited advertisements", |_, heard| {
        let (target, flags, address) = heard.advertisement()?;
        if [HOME, LINK_LOCAL].contains(&target) {
            assert_eq!((flags, &address[..]), (NeighbourFlags::OVERRIDE, &edge[..]), "R, S, O");
            assert_eq!(heard.to, "ff02::1".parse::<Ipv6Addr>().unwrap());
            told.push(target);
        }
        (told.len() == 6).then_some(())
    })
    .await;
    assert_eq!(told.iter().filter(|target| **target == HOME).count(), 3, "{told:?}");
}

/// RFC 6275 section 10.4.2, conformance case HA_5_1_2; and the kernel adds nothing of its own.
async fn link_local_is_unreachable(link: &HomeNet, edge: Mac) {
    let request = Icmpv6::EchoRequest { identifier: 1, sequence: 2, data: b"?" };
    link.sends(edge, LINK_LOCAL, &request).await;
    let errors = link.hears_for(Duration::from_millis(700), |_, heard| match heard.message {
        Icmpv6::DestinationUnreachable { code, .. } => Some(code),
        _ => None,
    });
    assert_eq!(errors.await, [3]);
}

/// RFC 6275 section 10.5, to somebody far away.
async fn home_agents_are_told(laboratory: &Laboratory) {
    let flags = DiscoveryFlags::default();
    let request = Icmpv6::HomeAgentAddressDiscoveryRequest { identifier: 77, flags };
    let octets = request.emit(CORRESPONDENT, ANYCAST);
    let packet = PacketBuilder::new(CORRESPONDENT, ANYCAST).build(protocol::ICMPV6, &octets);
    laboratory.rest.send(&packet).await.unwrap();
    let reply = laboratory.recv("home agents").await;
    let heard = Heard::read(&reply).unwrap();
    assert_eq!((heard.from, heard.to), (AGENT, CORRESPONDENT));
    let addresses = vec![AGENT];
    let expected = Icmpv6::HomeAgentAddressDiscoveryReply { identifier: 77, flags, addresses };
    assert_eq!(heard.message, expected);
}

#[tokio::test]
async fn one_forwarder_at_a_time_answers_and_another_takes_over() {
    if !allowed("one_forwarder_at_a_time_answers_and_another_takes_over") {
        return;
    }
    let edges = [(); 2].map(|()| TemporaryNamespace::create("hpedge").unwrap());
    let link = HomeNet::build(&[&edges[0], &edges[1]]).await;
    let mut macs = Vec::new();
    for edge in &edges {
        macs.push(opened(&edge.namespace(), "home").await.address());
    }
    // The worst that an operator can leave behind: a router that follows other routers.
    write_sysctl(&edges[0].namespace(), "net/ipv6/conf/home/accept_ra", "2").unwrap();
    let store_port = free_port();
    let snapshot = real_snapshot(1, vec![away(HOME, false)]);
    let mut store = RunningStore::start(store_port, vec![snapshot]);
    let start = |index: usize| {
        let name = format!("forwarder-{index}");
        let tun = tun_on(&edges[index]);
        RunningForwarder::named(&name, &[store_port], &[free_port()], tun)
    };
    let first = start(0);
    first.until(LINKS, 1.0).await;
    let second = start(1);
    second.until("homeport_forwarder_revision", 1.0).await;

    let answer = |source: Mac, heard: Heard<'_>| {
        let (target, flags, _) = heard.advertisement()?;
        let is_answer = target == HOME && flags.contains(NeighbourFlags::SOLICITED);
        is_answer.then_some(source)
    };
    // The first answer, and who else answers within a while.
    let answers = async || {
        link.asks_for(HOME).await;
        let first = link.hears("answer", answer).await;
        (first, link.hears_for(Duration::from_millis(300), answer).await)
    };
    for _ in 0..5 {
        assert_eq!(answers().await, (macs[0], vec![]), "through several renewals");
    }
    assert_eq!((first.metric(LINKS).await, second.metric(LINKS).await), (1.0, 0.0));

    drop(first);
    // Unasked, overriding what the neighbours believe.
    let flags = link
        .hears("taken over", |source, heard| {
            let (target, flags, address) = heard.advertisement()?;
            let is_told = target == HOME && source == macs[1] && address == macs[1];
            is_told.then_some(flags)
        })
        .await;
    assert_eq!(flags, NeighbourFlags::OVERRIDE);
    assert_eq!(answers().await, (macs[1], vec![]));
    second.until(LINKS, 1.0).await;

    // Who ends in peace gives the lease back, and answers no more by then.
    let third = start(0);
    third.until("homeport_forwarder_revision", 1.0).await;
    assert_eq!(answers().await, (macs[1], vec![]));
    second.shutdown.begin();
    assert_eq!(in_time("release", store.given_back.recv()).await.unwrap(), "forwarder-1");
    third.until(LINKS, 1.0).await;
    assert_eq!(answers().await, (macs[0], vec![]));
    in_time("the end", second.task).await.unwrap().unwrap();
    // It has heard what the second one advertised.
    let read = || std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap();
    let addresses = edges[0].namespace().run(read).unwrap();
    assert!(addresses.contains("home"), "{addresses}");
    assert!(!addresses.contains("20010db800000001"), "the kernel is a host there: {addresses}");
}

#[tokio::test]
async fn who_is_drained_leaves_the_link_to_others() {
    if !allowed("who_is_drained_leaves_the_link_to_others") {
        return;
    }
    let edge = TemporaryNamespace::create("hpedge").unwrap();
    let link = HomeNet::build(&[&edge]).await;
    let mac = opened(&edge.namespace(), "home").await.address();
    let store_port = free_port();
    let snapshot = real_snapshot(1, vec![away(HOME, false)]);
    let mut store = RunningStore::start(store_port, vec![snapshot]);
    let tun = tun_on(&edge);
    let forwarder = RunningForwarder::named("forwarder-0", &[store_port], &[free_port()], tun);
    forwarder.until(LINKS, 1.0).await;
    let answer = |source: Mac, heard: Heard<'_>| {
        heard.advertisement().filter(|(target, ..)| *target == HOME).map(|_| source)
    };
    let answers = async || {
        link.asks_for(HOME).await;
        link.hears_for(Duration::from_millis(300), answer).await
    };
    in_time("an answer", async { while !answers().await.contains(&mac) {} }).await;

    want_drained(&store, 2, true).await;
    assert_eq!(in_time("release", store.given_back.recv()).await.unwrap(), "forwarder-0");
    forwarder.until(LINKS, 0.0).await;
    // What it said before waits to be read.
    link.hears_for(Duration::from_millis(300), answer).await;
    let heard = answers().await;
    assert!(heard.is_empty(), "{heard:?}");

    want_drained(&store, 3, false).await;
    forwarder.until(LINKS, 1.0).await;
    in_time("an answer", async { while !answers().await.contains(&mac) {} }).await;
}
