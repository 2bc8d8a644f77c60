//! Golden packets through a front-end and three store replicas over gRPC.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use homeport_api::admin::bindings_client::BindingsClient;
use homeport_api::admin::home_prefixes_client::HomePrefixesClient;
use homeport_api::admin::subscribers_client::SubscribersClient;
use homeport_api::admin::{
    Authentication, CreateHomePrefixRequest, CreateSubscriberRequest, DeleteHomePrefixRequest,
    DeleteSubscriberRequest, FlowBinding, GetHomeBindingsRequest, HomeBindings, HomePrefix,
    Subscriber,
};
use homeport_tests::golden::{capture, vector, vector_without_k};
use homeport_tests::updates::acknowledgement;
use homeport_tests::{Cluster, eventually, udp_outer};
use homeport_wire::{DiscoveryFlags, Icmpv6, walk};

/// No answer within this means that none was sent.
const SILENCE: Duration = Duration::from_millis(700);

async fn bindings(cluster: &Cluster, home_address: &str) -> Result<HomeBindings> {
    let mut client = BindingsClient::new(cluster.channel(cluster.leader().await?).await?);
    let request = GetHomeBindingsRequest { home_address: home_address.to_owned(), local: false };
    Ok(client.get_home_bindings(request).await?.into_inner())
}

/// A third-party mobile node, as captured: registration, handover with a retransmitted Binding Update,
/// return home. It speaks plain RFC 6275.
#[tokio::test(flavor = "multi_thread")]
async fn captured_mobile_node_is_served() -> Result<()> {
    let cluster = Cluster::start().await?;
    let home_prefix = HomePrefix {
        prefix: "2001:db8:a::/64".to_owned(),
        home_agent: "2001:db8:a::1".to_owned(),
        authentication: Authentication::None.into(),
        ..HomePrefix::default()
    };
    let request = CreateHomePrefixRequest { home_prefix: Some(home_prefix), ..Default::default() };
    let leader = cluster.channel(cluster.leader().await?).await?;
    HomePrefixesClient::new(leader).create_home_prefix(request).await?;
    let mut front_end = cluster.front_end().await?;
    let f1 = capture("captures/mobile-node-f1.pcap")?;
    let f2 = capture("captures/mobile-node-f2.pcap")?;
    let home = capture("captures/mobile-node-home.pcap")?;
    let first_care_of: Ipv6Addr = "2001:db8:f1::ff:fe00:e".parse()?;
    let second_care_of: Ipv6Addr = "2001:db8:f2::ff:fe00:e".parse()?;
    let home_address: Ipv6Addr = "2001:db8:a::100".parse()?;
    // Packet, where the answer goes, home address in its routing header, sequence, lifetime.
    let rows = [
        (&f1[0], first_care_of, Some(home_address), 26621, 15),
        (&f2[0], second_care_of, Some(home_address), 26622, 15),
        (&f2[1], second_care_of, Some(home_address), 26623, 15),
        (&home[0], home_address, None, 26624, 0),
    ];
    for (packet, destination, routing, sequence, lifetime) in rows {
        let answer = front_end.ask(packet, None).await?;
        let seen = acknowledgement(&answer.packet)?;
        assert_eq!((seen.status(), seen.message.sequence.0), (0, sequence));
        assert_eq!(seen.message.lifetime.0, lifetime);
        assert_eq!((seen.destination, seen.routing_home_address), (destination, routing));
        if lifetime > 0 {
            let bindings = bindings(&cluster, "2001:db8:a::100").await?.bindings;
            assert_eq!(bindings.len(), 1);
            assert_eq!(bindings[0].care_of_address, destination.to_string());
            assert_eq!(bindings[0].bid, None);
        }
    }
    assert_eq!(bindings(&cluster, "2001:db8:a::100").await?.bindings, []);
    // Prefix solicitations are not answered by default: silence, and the stream goes on.
    front_end.send(&f1[2], None).await?;
    ensure!(front_end.receive(SILENCE).await.is_err(), "a solicitation was answered");
    Ok(())
}

/// V33 to V36: off unless an operator wants it, and then not more often than the RFC has it.
#[tokio::test(flavor = "multi_thread")]
async fn discovery_of_home_agents_and_prefixes() -> Result<()> {
    let cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::None).await?;
    let mut front_end = cluster.front_end().await?;
    for id in ["V33", "V35"] {
        front_end.send(&vector(id)?, None).await?;
    }
    let dropped = r#"homeport_signalling_drops_total{reason="discovery_not_allowed"}"#;
    eventually("both to be dropped", async || {
        ensure!(front_end.metric(dropped).await? >= 2.0);
        Ok(())
    })
    .await?;
    let mut prefixes = HomePrefixesClient::new(cluster.leader_channel().await?);
    let prefix = "2001:db8:0:1::/64".to_owned();
    prefixes
        .delete_home_prefix(DeleteHomePrefixRequest {
            prefix: prefix.clone(),
            ..Default::default()
        })
        .await?;
    let home_prefix = HomePrefix {
        prefix,
        home_agent: "2001:db8:0:1::1".to_owned(),
        authentication: Authentication::None.into(),
        valid_lifetime_secs: Some(86_400),
        preferred_lifetime_secs: Some(14_400),
        home_agent_discovery_allowed: true,
        prefix_discovery_allowed: true,
        ..HomePrefix::default()
    };
    let request = CreateHomePrefixRequest { home_prefix: Some(home_prefix), ..Default::default() };
    prefixes.create_home_prefix(request).await?;
    // What the front-end knew of the prefix refused, so it soon looks again.
    let advertised = eventually("an advertisement", async || {
        front_end.send(&vector("V35")?, None).await?;
        front_end.receive(SILENCE).await
    });
    assert_eq!(advertised.await?.packet, vector("V36")?);
    for _ in 0..3 {
        front_end.send(&vector("V35")?, None).await?;
    }
    let limited = r#"homeport_signalling_drops_total{reason="discovery_rate_limited"}"#;
    eventually("the next ones to be too many", async || {
        ensure!(front_end.metric(limited).await? >= 1.0);
        Ok(())
    })
    .await?;
    // The same list as V34, without the second home agent; a late advertisement may come first.
    let ticket = front_end.send(&vector("V33")?, None).await?;
    let named = loop {
        let answer = front_end.receive(homeport_tests::PATIENCE).await?;
        if answer.ticket == ticket {
            break answer.packet;
        }
    };
    let seen = walk(&named)?;
    let expected = Icmpv6::HomeAgentAddressDiscoveryReply {
        identifier: 0x7788,
        flags: DiscoveryFlags::MOBILE_ROUTER,
        addresses: vec!["2001:db8:0:1::1".parse()?],
    };
    assert_eq!(Icmpv6::parse(seen.payload, seen.pseudo_header())?, expected);
    Ok(())
}

/// V12, V16 and V18, with what an operator has to provision for them; each starts without bindings.
#[tokio::test(flavor = "multi_thread")]
async fn vectors_of_mobile_routers_dual_stack_and_flows() -> Result<()> {
    let cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::None).await?;
    let mut front_end = cluster.front_end().await?;
    let mut subscribers = SubscribersClient::new(cluster.leader_channel().await?);
    let home_address = "2001:db8:0:1::100";
    let owning = |networks: &[&str], ipv4: &str| Subscriber {
        home_address: home_address.to_owned(),
        mobile_networks: networks.iter().map(|&network| network.to_owned()).collect(),
        ipv4_home_address: ipv4.to_owned(),
        ..Subscriber::default()
    };
    let peer = (Ipv4Addr::new(203, 0, 113, 9), 40_001);
    let outer = udp_outer(peer, (Ipv4Addr::new(198, 51, 100, 1), 4191));
    // IPv4 and UDP headers are the forwarder's.
    let inner = |packet: Vec<u8>| packet[28..].to_vec();
    let rows = [
        (owning(&["2001:db8:100::/56"], ""), vector("V12")?, vector_without_k("V13")?, None),
        (owning(&[], "198.51.100.77"), inner(vector("V16")?), inner(vector("V17")?), Some(outer)),
        (owning(&[], ""), vector("V18")?, vector("V19")?, None),
    ];
    let mut seen = Vec::new();
    for (subscriber, update, expected, outer) in rows {
        let request =
            CreateSubscriberRequest { subscriber: Some(subscriber), ..Default::default() };
        subscribers.create_subscriber(request).await?;
        let answer = front_end.ask(&update, outer.clone()).await?;
        assert_eq!((&answer.packet[..], answer.outer), (&expected[..], outer));
        seen.push(bindings(&cluster, home_address).await?);
        let request =
            DeleteSubscriberRequest { home_address: home_address.to_owned(), ..Default::default() };
        subscribers.delete_subscriber(request).await?;
        let left = bindings(&cluster, home_address).await?;
        let gone = HomeBindings {
            home_address: left.home_address.clone(),
            home_agent: left.home_agent.clone(),
            sequence: left.sequence,
            revision: left.revision,
            ..HomeBindings::default()
        };
        assert_eq!(left, gone, "nothing is carried for who is no longer provisioned");
    }
    // The admin API shows what came of it.
    let [router, dual_stack, flows] = &seen[..] else { anyhow::bail!("not three") };
    assert!(router.mobile_router && !dual_stack.mobile_router);
    assert_eq!(router.mobile_networks, ["2001:db8:100::/56"]);
    assert_eq!(dual_stack.ipv4_home_address, "198.51.100.77");
    let binding = &dual_stack.bindings[0];
    assert_eq!(binding.care_of_address, "203.0.113.9");
    assert_eq!((binding.udp_port, binding.behind_nat), (40_001, true));
    let priorities: Vec<_> = flows.bindings.iter().map(|binding| binding.priority).collect();
    assert_eq!(priorities, [10, 20]);
    let flow = FlowBinding {
        fid: 4,
        priority: 10,
        bids: vec![2],
        active: true,
        selector: "ipv6 destination-port 5060 protocol 17".to_owned(),
    };
    assert_eq!(flows.flows, [flow]);
    Ok(())
}

/// V01 to V11, with a change of leader before each.
#[tokio::test(flavor = "multi_thread")]
async fn vectors_with_a_change_of_leader_between() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::None).await?;
    let mut front_end = cluster.front_end().await?;
    let rows = [("V01", 0, 225), ("V03", 4, 225), ("V05", 0, 0), ("V08", 5, 225), ("V10", 135, 0)];
    for (id, status, lifetime) in rows {
        let leader = cluster.leader().await?;
        cluster.stop_replica(leader).await?;
        let answer = front_end.ask(&vector(id)?, None).await?;
        let seen = acknowledgement(&answer.packet)?;
        assert_eq!((seen.status(), seen.message.lifetime.0), (status, lifetime), "{id}");
        assert!(answer.revision > 0, "{id}");
        cluster.start_replica(leader);
    }
    let bindings = bindings(&cluster, "2001:db8:0:1::100").await?;
    let care_of: Vec<_> =
        bindings.bindings.iter().map(|b| (b.bid, b.care_of_address.as_str())).collect();
    let expected =
        [(Some(1), "2001:db8:a::11"), (Some(2), "2001:db8:b::2b"), (Some(4), "2001:db8:0:1::100")];
    assert_eq!(care_of, expected);
    assert_eq!(bindings.sequence, 0x1004);
    let revision = bindings.revision;
    for id in 1..=3 {
        let replica = eventually("the replica to catch up", async || {
            let status = cluster.status(id).await?;
            ensure!(status.applied_index >= revision);
            Ok(status)
        });
        assert_eq!(replica.await.context("replica")?.bindings, 3);
    }
    Ok(())
}

/// Every truncation of a Binding Update, and each octet damaged, changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn malformed_packets_change_nothing() -> Result<()> {
    let cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::None).await?;
    let mut front_end = cluster.front_end().await?;
    let good = vector("V01")?;
    let before = cluster.status(cluster.leader().await?).await?;
    for len in 0..good.len() {
        front_end.send(&good[..len], None).await?;
    }
    for at in 64..good.len() {
        let mut damaged = good.clone();
        damaged[at] ^= 0x10;
        front_end.send(&damaged, None).await?;
    }
    // Whatever was answered to the damaged ones comes before the good one's acknowledgement, or is an
    // error message; nothing is registered until then.
    let ticket = front_end.send(&good, None).await?;
    let answer = loop {
        let answer = front_end.receive(homeport_tests::PATIENCE).await?;
        if answer.ticket == ticket {
            break answer;
        }
        let seen = walk(&answer.packet)?;
        let is_error = match seen.upper {
            homeport_wire::protocol::ICMPV6 => true,
            _ => acknowledgement(&answer.packet).is_err(),
        };
        ensure!(is_error, "a damaged Binding Update was acknowledged");
    };
    assert_eq!(acknowledgement(&answer.packet)?.status(), 0);
    let after = cluster.status(cluster.leader().await?).await?;
    assert_eq!(after.bindings, 3);
    // One entry for the good one; the log's own entries may add a few.
    ensure!(after.applied_index <= before.applied_index + 3, "damaged packets reached the log");
    Ok(())
}
