//! Packet sockets against the real kernel, in network namespaces that the test makes and removes.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::{io::Write as _, net::Ipv6Addr, time::Duration};

use homeport_hostnet::{Ethernet, Network, TemporaryNamespace, privileges, write_sysctl};

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

async fn open(namespace: &TemporaryNamespace, name: &str) -> Ethernet {
    // The link-local address comes some time after the link is up.
    for _ in 0..100 {
        if let Ok(ethernet) = Ethernet::open(&namespace.namespace(), name) {
            return ethernet;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ethernet::open(&namespace.namespace(), name).unwrap()
}

/// An IPv6 header and so many octets after it.
fn packet(next_header: u8, destination: Ipv6Addr, first: u8) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 24, next_header, 255];
    packet.extend_from_slice(&"fe80::99".parse::<Ipv6Addr>().unwrap().octets());
    packet.extend_from_slice(&destination.octets());
    packet.push(first);
    packet.extend_from_slice(&[0; 23]);
    packet
}

#[tokio::test]
async fn only_what_a_home_agent_must_see_arrives() {
    if !allowed("only_what_a_home_agent_must_see_arrives") {
        return;
    }
    let (left, right) =
        (TemporaryNamespace::create("ethl").unwrap(), TemporaryNamespace::create("ethr").unwrap());
    let network = Network::open(&left.namespace()).unwrap();
    network.add_veth("a", "b", &right.namespace()).await.unwrap();
    for (namespace, link) in [(&left, "a"), (&right, "b")] {
        write_sysctl(&namespace.namespace(), &format!("net.ipv6.conf.{link}.dad_transmits"), "0")
            .unwrap();
        Network::open(&namespace.namespace()).unwrap().link_up(link).await.unwrap();
    }
    let (one, two) = (open(&left, "a").await, open(&right, "b").await);
    assert_ne!(one.address(), two.address());
    assert!(one.link_local().is_unicast_link_local());

    let global: Ipv6Addr = "2001:db8::1".parse().unwrap();
    let group: Ipv6Addr = "ff02::1:ff00:100".parse().unwrap();
    let seen = [
        packet(58, group, 135),
        packet(58, global, 136),
        packet(135, global, 59),
        packet(60, global, 135),
        packet(17, "fe80::1234".parse().unwrap(), 0),
    ];
    let unseen = [packet(58, global, 128), packet(17, global, 0), packet(58, group, 137)];
    // To a link-layer address that is nobody's.
    let elsewhere = [0x33, 0x33, 0xff, 0, 1, 0];
    for packet in unseen.iter().chain(&seen) {
        one.send(elsewhere, packet).await.unwrap();
    }
    let mut frame = vec![0; 2048];
    for expected in &seen {
        let (source, got) = loop {
            let received = tokio::time::timeout(Duration::from_secs(10), two.recv(&mut frame));
            let (source, got) = received.await.unwrap().unwrap();
            // The kernel speaks on the link too.
            if got[8..24] == expected[8..24] {
                break (source, got.to_vec());
            }
        };
        assert_eq!((source, &got), (one.address(), expected));
    }
}

#[tokio::test]
async fn what_is_no_home_link_is_refused_by_name() {
    if !allowed("what_is_no_home_link_is_refused_by_name") {
        return;
    }
    let namespace = TemporaryNamespace::create("ethx").unwrap();
    let missing = Ethernet::open(&namespace.namespace(), "none0").unwrap_err().to_string();
    assert!(missing.contains("none0") && missing.contains("Check the name"), "{missing}");
    let loopback = Ethernet::open(&namespace.namespace(), "lo").unwrap_err().to_string();
    assert!(loopback.contains("link-layer address"), "{loopback}");
}
