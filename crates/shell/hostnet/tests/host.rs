//! Against the real kernel, in network namespaces that the tests make and remove.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV4, UdpSocket},
    process::Command,
    time::Duration,
};

use homeport_hostnet::{
    Error, Namespace, Network, Route, RouteKind, Rule, TemporaryNamespace, Tun, bind_udp,
    privileges, run_in_namespace, write_sysctl,
};

use socket2::{Domain, Protocol, Socket, Type};

/// False, and says so, where the host does not let us.
fn allowed(test: &str) -> bool {
    match privileges() {
        Ok(()) => true,
        Err(unprivileged) => {
            // Not by the macro: the test harness would keep that to itself.
            let mut stderr = std::io::stderr();
            writeln!(stderr, "\n*** SKIPPED {test}: {unprivileged}\n").unwrap();
            false
        }
    }
}

fn own_namespace() -> String {
    fs::read_link("/proc/thread-self/ns/net").unwrap().display().to_string()
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future)
        .await
        .unwrap_or_else(|_| panic!("{what}: nothing within ten seconds"))
}

/// The next packet that is not for a multicast group: a kernel that forwards joins some, and says
/// so.
async fn unicast(tun: &Tun, packet: &mut [u8]) -> usize {
    loop {
        let len = tun.recv(packet).await.unwrap();
        if packet[24] != 0xff {
            return len;
        }
    }
}

fn udp_in(namespace: &Namespace, address: &str) -> UdpSocket {
    let socket = namespace.run(|| UdpSocket::bind(address)).unwrap().unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

#[test]
fn a_named_namespace_comes_and_goes() {
    if !allowed("a_named_namespace_comes_and_goes") {
        return;
    }
    let outside = own_namespace();
    let temporary = TemporaryNamespace::create("hptest").unwrap();
    let namespace = temporary.namespace();
    let inside = run_in_namespace(&namespace, own_namespace).unwrap();
    assert_ne!(inside, outside);
    assert_eq!(own_namespace(), outside, "the caller stays where it is");
    let by_path = Namespace::from(format!("/run/netns/{}", temporary.name()).as_str());
    assert_eq!(by_path.run(own_namespace).unwrap(), inside);
    assert_eq!(Namespace::from(temporary.name()), namespace);
    assert_eq!(Namespace::from(""), Namespace::Current);

    let error = Namespace::create(temporary.name()).unwrap_err();
    assert!(error.is_exists(), "{error}");
    assert_eq!(namespace.run(own_namespace).unwrap(), inside, "it is still the same");

    // The operator's own tool sees it.
    if let Ok(output) =
        Command::new("ip").args(["netns", "exec", temporary.name(), "true"]).output()
    {
        assert!(output.status.success(), "{output:?}");
    }
    let name = temporary.name().to_owned();
    drop(temporary);
    let error = Namespace::delete(&name).unwrap_err();
    assert!(error.is_not_found(), "{error}");
    let error = namespace.run(own_namespace).unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert!(error.to_string().contains(&name), "{error}");
}

#[test]
fn names_that_are_paths_are_refused() {
    for name in ["", ".", "..", "a/b", "../etc"] {
        assert!(matches!(Namespace::create(name), Err(Error::Invalid { .. })), "{name}");
        assert!(matches!(Namespace::delete(name), Err(Error::Invalid { .. })), "{name}");
    }
    for parameter in ["", "net..x", "net/../../etc/passwd", "/etc/passwd"] {
        let error = write_sysctl(&Namespace::Current, parameter, "1").unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
    }
}

#[test]
fn a_panic_inside_a_namespace_is_the_callers() {
    if !allowed("a_panic_inside_a_namespace_is_the_callers") {
        return;
    }
    let temporary = TemporaryNamespace::create("hptest").unwrap();
    let caught = std::panic::catch_unwind(|| {
        temporary.namespace().run(|| panic!("on purpose")).unwrap();
    });
    assert!(caught.is_err());
}

#[tokio::test]
async fn packets_go_into_and_out_of_a_tun() {
    if !allowed("packets_go_into_and_out_of_a_tun") {
        return;
    }
    let temporary = TemporaryNamespace::create("hptest").unwrap();
    let namespace = temporary.namespace();
    let tun = Tun::open(&namespace, "hp0", 1500).unwrap();
    let network = Network::open(&namespace).unwrap();
    network.add_address("hp0", "2001:db8:0:1::100/128".parse().unwrap()).await.unwrap();
    let destination = Route::to("2001:db8:f::/64".parse().unwrap()).device("hp0");
    network.add_route(&destination).await.unwrap();

    let socket = udp_in(&namespace, "[2001:db8:0:1::100]:5000");
    socket.send_to(b"ping", "[2001:db8:f::99]:6000").unwrap();
    let mut packet = [0; 2000];
    let len = within("first packet", tun.recv(&mut packet)).await.unwrap();
    let packet = &packet[..len];
    assert_eq!(len, 52, "ours, not one of the kernel's own: {packet:02x?}");
    assert_eq!(packet[24..40], "2001:db8:f::99".parse::<Ipv6Addr>().unwrap().octets());
    assert_eq!(&packet[48..], b"ping");
    assert_eq!(tun.try_recv(&mut [0; 2000]).unwrap(), None);

    // Turned around it is an answer; swapping both ends leaves the checksum right.
    let mut answer = packet.to_vec();
    answer[8..24].copy_from_slice(&packet[24..40]);
    answer[24..40].copy_from_slice(&packet[8..24]);
    answer[40..42].copy_from_slice(&packet[42..44]);
    answer[42..44].copy_from_slice(&packet[40..42]);
    tun.send(&answer).await.unwrap();
    let mut octets = [0; 16];
    let (len, from) = socket.recv_from(&mut octets).unwrap();
    assert_eq!(&octets[..len], b"ping");
    assert_eq!(from, "[2001:db8:f::99]:6000".parse::<SocketAddr>().unwrap());

    assert!(Tun::open(&namespace, "hp0", 1500).unwrap_err().is_exists());
    drop(tun);
    let error = network.link_index("hp0").await.unwrap_err();
    assert!(error.is_not_found(), "a TUN vanishes with its owner: {error}");
    for name in ["", "a/b", "sixteen-letters!", "hp%d", "all", "default"] {
        let error = Tun::open(&namespace, name, 1500).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{name}: {error}");
    }
}

#[tokio::test]
async fn two_namespaces_are_joined_by_a_pair_of_interfaces() {
    if !allowed("two_namespaces_are_joined_by_a_pair_of_interfaces") {
        return;
    }
    let (left, right) = (
        TemporaryNamespace::create("hptest").unwrap(),
        TemporaryNamespace::create("hptest").unwrap(),
    );
    let (here, there) = (left.namespace(), right.namespace());
    let network = Network::open(&here).unwrap();
    let peer = Network::open(&there).unwrap();
    network.add_veth("left", "right", &there).await.unwrap();
    assert!(network.link_index("right").await.unwrap_err().is_not_found(), "it is over there");
    let ends = [(&network, "left", "2001:db8:a::1/64"), (&peer, "right", "2001:db8:a::2/64")];
    for (network, link, _) in ends {
        network.set_mtu(link, 1400).await.unwrap();
        network.link_up(link).await.unwrap();
    }
    for (network, link, address) in ends {
        let address = address.parse().unwrap();
        network.add_address(link, address).await.unwrap();
        network.add_address(link, address).await.unwrap();
    }
    exchange(&here, &there, "[2001:db8:a::1]:0", "[2001:db8:a::2]:5000");

    // An address that is not on the other end, but that it answers for and routes to a TUN.
    let tun = Tun::open(&there, "hp0", 1500).unwrap();
    write_sysctl(&there, "net.ipv6.conf.all.forwarding", "1").unwrap();
    let behind = Route::to("2001:db8:a::11/128".parse().unwrap()).device("hp0");
    peer.replace_route(&behind).await.unwrap();
    let address: IpAddr = "2001:db8:a::11".parse().unwrap();
    peer.add_proxy_neighbour("right", address, false).await.unwrap();
    let socket = udp_in(&here, "[2001:db8:a::1]:0");
    socket.send_to(b"to the TUN", "[2001:db8:a::11]:7").unwrap();
    let mut packet = [0; 2000];
    let len = within("packet in the TUN", unicast(&tun, &mut packet)).await;
    assert_eq!(&packet[48..len], b"to the TUN");
    peer.delete_proxy_neighbour("right", address).await.unwrap();
    assert!(peer.delete_proxy_neighbour("right", address).await.unwrap_err().is_not_found());

    network.delete_address("left", "2001:db8:a::1/64".parse().unwrap()).await.unwrap();
    network.delete_link("left").await.unwrap();
    assert!(peer.link_index("right").await.unwrap_err().is_not_found(), "pairs go together");
}

/// The next Neighbour Advertisement that a raw ICMPv6 socket hears: sender and message.
fn advertisement(socket: &mut Socket) -> Vec<u8> {
    let mut octets = [0; 2000];
    loop {
        let len = socket.read(&mut octets).unwrap();
        if octets[0] == 136 {
            return octets[..len].to_vec();
        }
    }
}

#[tokio::test]
async fn who_answers_for_an_address_says_so() {
    if !allowed("who_answers_for_an_address_says_so") {
        return;
    }
    let (left, right) = (
        TemporaryNamespace::create("hptest").unwrap(),
        TemporaryNamespace::create("hptest").unwrap(),
    );
    let (here, there) = (left.namespace(), right.namespace());
    for namespace in [&here, &there] {
        write_sysctl(namespace, "net.ipv6.conf.default.accept_dad", "0").unwrap();
    }
    write_sysctl(&there, "net.ipv6.conf.all.forwarding", "1").unwrap();
    let (network, peer) = (Network::open(&here).unwrap(), Network::open(&there).unwrap());
    network.add_veth("left", "right", &there).await.unwrap();
    network.link_up("left").await.unwrap();
    peer.link_up("right").await.unwrap();
    network.add_address("left", "2001:db8:a::1/64".parse().unwrap()).await.unwrap();
    // The proxied addresses are elsewhere: the kernel answers only then.
    let tun = Tun::open(&there, "hp0", 1500).unwrap();
    let behind = Route::to("2001:db8:a::/64".parse().unwrap()).device("hp0");
    peer.replace_route(&behind).await.unwrap();

    let raw = || Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)).unwrap();
    let mut listener = here.run(raw).unwrap();
    listener.set_read_timeout(Some(Duration::from_secs(10))).unwrap();

    // Asked: a host (R=0) and a router (R=1), solicited, not overriding, with the proxy's address.
    for (address, router, flags) in
        [("2001:db8:a::12", false, 0x40), ("2001:db8:a::13", true, 0xc0)]
    {
        let address: Ipv6Addr = address.parse().unwrap();
        peer.add_proxy_neighbour("right", address.into(), router).await.unwrap();
        let socket = udp_in(&here, "[2001:db8:a::1]:0");
        socket.send_to(b"?", SocketAddr::from((address, 7))).unwrap();
        let heard = advertisement(&mut listener);
        assert_eq!(heard[4], flags, "{address}");
        assert_eq!(heard[8..24], address.octets());
        assert_eq!((&heard[24..26], heard.len()), (&[2, 1][..], 32));
        let mut packet = [0; 2000];
        within("packet in the TUN", unicast(&tun, &mut packet)).await;
        peer.delete_proxy_neighbour("right", address.into()).await.unwrap();
    }

    // The same by ARP.
    network.add_address("left", "192.0.2.1/24".parse().unwrap()).await.unwrap();
    write_sysctl(&there, "net.ipv4.ip_forward", "1").unwrap();
    peer.replace_route(&Route::to("192.0.2.0/24".parse().unwrap()).device("hp0")).await.unwrap();
    let address: IpAddr = "192.0.2.12".parse().unwrap();
    peer.add_proxy_neighbour("right", address, false).await.unwrap();
    udp_in(&here, "192.0.2.1:0").send_to(b"by ARP", SocketAddr::from((address, 7))).unwrap();
    let mut packet = [0; 2000];
    let len = within("IPv4 packet in the TUN", unicast(&tun, &mut packet)).await;
    assert_eq!((packet[0] >> 4, &packet[28..len]), (4, &b"by ARP"[..]));
    peer.delete_proxy_neighbour("right", address).await.unwrap();
}

fn exchange(here: &Namespace, there: &Namespace, from: &str, to: &str) {
    let receiver = udp_in(there, to);
    let sender = udp_in(here, from);
    sender.send_to(b"hello", to).unwrap();
    let mut octets = [0; 16];
    let (len, _) = receiver.recv_from(&mut octets).unwrap();
    assert_eq!(&octets[..len], b"hello");
}

#[tokio::test]
async fn an_interface_moves_to_another_namespace() {
    if !allowed("an_interface_moves_to_another_namespace") {
        return;
    }
    let (left, right) = (
        TemporaryNamespace::create("hptest").unwrap(),
        TemporaryNamespace::create("hptest").unwrap(),
    );
    let network = Network::open(&left.namespace()).unwrap();
    network.add_veth("one", "two", &left.namespace()).await.unwrap();
    network.move_link("two", &right.namespace()).await.unwrap();
    assert!(network.link_index("two").await.unwrap_err().is_not_found());
    let other = Network::open(&right.namespace()).unwrap();
    other.link_up("two").await.unwrap();
    other.link_down("two").await.unwrap();
}

#[tokio::test]
async fn routes_and_rules() {
    if !allowed("routes_and_rules") {
        return;
    }
    let temporary = TemporaryNamespace::create("hptest").unwrap();
    let namespace = temporary.namespace();
    let network = Network::open(&namespace).unwrap();
    let ordinary = Tun::open(&namespace, "ordinary", 1500).unwrap();
    let special = Tun::open(&namespace, "special", 1500).unwrap();
    for address in ["2001:db8:a::1/128", "2001:db8:a::2/128", "192.0.2.1/32"] {
        network.add_address("ordinary", address.parse().unwrap()).await.unwrap();
    }

    let everything = "::/0".parse().unwrap();
    let main = Route::to(everything).device("ordinary");
    network.add_route(&main).await.unwrap();
    let error = network.add_route(&main).await.unwrap_err();
    assert!(error.is_exists() && error.to_string().contains("dev ordinary"), "{error}");
    network.replace_route(&main).await.unwrap();
    let other = Route::to(everything).device("special").table(1042);
    network.add_route(&other).await.unwrap();
    let rule = Rule::look_up(1042).from("2001:db8:a::2/128".parse().unwrap()).priority(100);
    network.add_rule(&rule).await.unwrap();
    assert!(network.add_rule(&rule).await.unwrap_err().is_exists());

    let send = |from: &str| {
        udp_in(&namespace, from).send_to(b"which way", "[2001:db8:f::1]:7").unwrap();
    };
    let mut packet = [0; 2000];
    send("[2001:db8:a::1]:0");
    assert_eq!(within("main table", ordinary.recv(&mut packet)).await.unwrap(), 57);
    send("[2001:db8:a::2]:0");
    assert_eq!(within("table of the rule", special.recv(&mut packet)).await.unwrap(), 57);

    network.delete_rule(&rule).await.unwrap();
    assert!(network.delete_rule(&rule).await.unwrap_err().is_not_found());
    send("[2001:db8:a::2]:0");
    assert_eq!(within("main table again", ordinary.recv(&mut packet)).await.unwrap(), 57);

    network.delete_route(&other).await.unwrap();
    assert!(network.delete_route(&other).await.unwrap_err().is_not_found());
    let hole = Route::to("2001:db8:f::/64".parse().unwrap()).kind(RouteKind::Unreachable);
    network.add_route(&hole).await.unwrap();
    let refused = udp_in(&namespace, "[2001:db8:a::1]:0").send_to(b"x", "[2001:db8:f::1]:7");
    assert!(refused.is_err());
    network.delete_route(&hole).await.unwrap();
    send("[2001:db8:a::1]:0");
    assert_eq!(within("no hole", ordinary.recv(&mut packet)).await.unwrap(), 57);

    let v4 = Route::to("198.51.100.1/32".parse().unwrap()).device("special");
    network.add_route(&v4).await.unwrap();
    udp_in(&namespace, "192.0.2.1:0").send_to(b"four", "198.51.100.1:4191").unwrap();
    assert_eq!(within("IPv4", special.recv(&mut packet)).await.unwrap(), 32);
    network.delete_route(&v4).await.unwrap();
    let input = Rule::look_up_ipv4(7).input("special");
    network.add_rule(&input).await.unwrap();
    network.delete_rule(&input).await.unwrap();
}

#[test]
fn kernel_parameters_are_those_of_the_namespace() {
    if !allowed("kernel_parameters_are_those_of_the_namespace") {
        return;
    }
    let temporary = TemporaryNamespace::create("hptest").unwrap();
    let namespace = temporary.namespace();
    let path = "/proc/sys/net/ipv6/conf/all/forwarding";
    let outside = fs::read_to_string(path).unwrap();
    let other = if outside.trim() == "1" { "0" } else { "1" };
    write_sysctl(&namespace, "net.ipv6.conf.all.forwarding", other).unwrap();
    let inside = namespace.run(|| fs::read_to_string(path)).unwrap().unwrap();
    assert_eq!(inside.trim(), other);
    assert_eq!(fs::read_to_string(path).unwrap(), outside);
    let error = write_sysctl(&namespace, "net.ipv6.conf.nothing.forwarding", "1").unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains("nothing"), "{error}");
}

#[tokio::test]
async fn two_sockets_share_a_udp_port() {
    // On loopback, so that it runs without privileges too.
    let first = bind_udp(&Namespace::Current, SocketAddrV4::new([127, 0, 0, 1].into(), 0)).unwrap();
    let SocketAddr::V4(address) = first.local_addr().unwrap() else { panic!("IPv4") };
    let second = bind_udp(&Namespace::Current, address).unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.send_to(b"one of you", address).unwrap();
    let (mut a, mut b) = ([0; 32], [0; 32]);
    let len = within("datagram", async {
        tokio::select! {
            len = first.recv(&mut a) => len,
            len = second.recv(&mut b) => len,
        }
    })
    .await
    .unwrap();
    assert_eq!(len, 10);
    let elsewhere = SocketAddrV4::new([192, 0, 2, 77].into(), 0);
    let error = bind_udp(&Namespace::Current, elsewhere).unwrap_err();
    assert!(error.to_string().contains("192.0.2.77"), "{error}");
}

#[test]
fn privileges_are_there_or_the_reason_is_told() {
    if let Err(unprivileged) = privileges() {
        assert!(!unprivileged.reasons().is_empty());
        assert!(unprivileged.to_string().len() > 60, "{unprivileged}");
    }
}
