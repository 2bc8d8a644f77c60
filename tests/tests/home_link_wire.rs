//! A real home link from end to end: store, front-end and a forwarder on the link, seen by a host there.
//! Needs root; without it the test says that it is skipped.

use std::io::Write as _;
use std::net::Ipv6Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use homeport_api::admin::home_prefixes_client::HomePrefixesClient;
use homeport_api::admin::{Authentication, CreateHomePrefixRequest, HomePrefix};
use homeport_forwarder::{Config, TunConfig};
use homeport_hostnet::{Ethernet, Network, TemporaryNamespace, privileges, write_sysctl};
use homeport_runtime::{Shutdown, Task};
use homeport_tests::updates::{HOME_AGENT, Update, acknowledgement, home_address};
use homeport_tests::{Cluster, FrontEnd, PATIENCE, eventually};
use homeport_wire::{
    BuFlags, Icmpv6, NeighbourFlags, NeighbourOptions, NeighbourSolicitation, PacketBuilder,
    PseudoHeader, Status, protocol, walk,
};

const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x100);

/// What a host on the link hears of an address that is not its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Heard {
    /// Duplicate Address Detection.
    Probe(Ipv6Addr),
    /// An unsolicited advertisement.
    Told(Ipv6Addr),
    /// A solicited one.
    Answer(Ipv6Addr),
}

struct Stage {
    ethernet: Ethernet,
    front_end: FrontEnd,
    _forwarder: Task<Result<(), homeport_forwarder::Error>>,
    _cluster: Cluster,
    _namespaces: [TemporaryNamespace; 2],
}

impl Stage {
    async fn new(taken: Ipv6Addr) -> Result<Self> {
        let namespaces =
            [TemporaryNamespace::create("hpedge")?, TemporaryNamespace::create("hphost")?];
        let [edge, host] = [namespaces[0].namespace(), namespaces[1].namespace()];
        let (edge_network, host_network) = (Network::open(&edge)?, Network::open(&host)?);
        for namespace in [&edge, &host] {
            write_sysctl(namespace, "net.ipv6.conf.default.accept_dad", "0")?;
        }
        edge_network.add_veth("home", "host", &host).await?;
        edge_network.link_up("home").await?;
        host_network.link_up("host").await?;
        host_network.add_address("host", format!("{taken}/64").parse()?).await?;
        // The link-local addresses come some time after the link is up.
        let there = eventually("a link-local address", async || Ok(Ethernet::open(&edge, "home")?));
        drop(there.await?);
        let ethernet =
            eventually("a link-local address", async || Ok(Ethernet::open(&host, "host")?)).await?;

        let cluster = Cluster::start().await?;
        let home_prefix = HomePrefix {
            prefix: "2001:db8:0:1::/64".to_owned(),
            home_agent: HOME_AGENT.to_string(),
            authentication: Authentication::None.into(),
            real_home_link: true,
            ..HomePrefix::default()
        };
        let request =
            CreateHomePrefixRequest { home_prefix: Some(home_prefix), ..Default::default() };
        HomePrefixesClient::new(cluster.leader_channel().await?)
            .create_home_prefix(request)
            .await?;
        let front_end = cluster.front_end().await?;
        let config = Config {
            name: "forwarder-1".to_owned(),
            stores: cluster.stores(),
            // Updates go to the front-end by the hand of the test.
            front_ends: vec!["127.0.0.1:9".to_owned()],
            udp: None,
            xdp: None,
            signalling: Default::default(),
            headless_secs: 3600,
            inspection: None,
            tun: Some(TunConfig {
                name: "hp0".to_owned(),
                netns: Some(namespaces[0].name().to_owned()),
                mtu: 1500,
                path_mtu: 1500,
                routes: true,
                home_link: Some("home".to_owned()),
            }),
            tunnels: Default::default(),
            tls: None,
            telemetry: Default::default(),
            ops: Default::default(),
        };
        let forwarder = homeport_forwarder::run(config, Shutdown::manual());
        let forwarder = Task::spawn("forwarder", forwarder);
        Ok(Self {
            ethernet,
            front_end,
            _forwarder: forwarder,
            _cluster: cluster,
            _namespaces: namespaces,
        })
    }

    /// The status of the acknowledgement.
    async fn register(&mut self, update: &Update) -> Result<u8> {
        let answer = self.front_end.ask(&update.packet(), None).await?;
        Ok(acknowledgement(&answer.packet)?.status())
    }

    /// All that is heard about these addresses until `enough` of it has come.
    async fn hears(&self, about: &[Ipv6Addr], enough: usize) -> Result<Vec<Heard>> {
        let mut all = Vec::new();
        let mut frame = vec![0; 2000];
        let listen = async {
            while all.len() < enough {
                let (_, packet) = self.ethernet.recv(&mut frame).await?;
                all.extend(heard(packet).filter(|it| about.contains(&it.about())));
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(PATIENCE, listen).await.context("not enough is heard")??;
        Ok(all)
    }

    async fn asks_for(&self, target: Ipv6Addr) -> Result<()> {
        let [.., a, b, c] = target.octets();
        let [high, low] = [0xff00 | u16::from(a), u16::from_be_bytes([b, c])];
        let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, high, low);
        let from = self.ethernet.link_local();
        let message = NeighbourSolicitation { target, options: NeighbourOptions::EMPTY };
        let octets = Icmpv6::NeighbourSolicitation(message).emit(from, group);
        let packet =
            PacketBuilder::new(from, group).hop_limit(255).build(protocol::ICMPV6, &octets);
        Ok(self.ethernet.send([0x33, 0x33, 0xff, a, b, c], &packet).await?)
    }
}

impl Heard {
    const fn about(self) -> Ipv6Addr {
        match self {
            Self::Probe(address) | Self::Told(address) | Self::Answer(address) => address,
        }
    }
}

fn heard(packet: &[u8]) -> Option<Heard> {
    let walked = walk(packet).ok()?;
    let (from, to) = (walked.header.source, walked.header.destination);
    match Icmpv6::parse(walked.payload, PseudoHeader::icmpv6(from, to)).ok()? {
        Icmpv6::NeighbourSolicitation(message) if from.is_unspecified() => {
            Some(Heard::Probe(message.target))
        }
        Icmpv6::NeighbourAdvertisement(message) => {
            let is_answer = message.flags.contains(NeighbourFlags::SOLICITED);
            let target = message.target;
            Some(if is_answer { Heard::Answer(target) } else { Heard::Told(target) })
        }
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_on_a_real_home_link_is_probed_acknowledged_and_defended() -> Result<()> {
    if let Err(unprivileged) = privileges() {
        // Not by the macro: the test harness would keep that to itself.
        let mut stderr = std::io::stderr();
        writeln!(stderr, "\n*** SKIPPED a real home link from end to end: {unprivileged}\n")?;
        return Ok(());
    }
    let (mn, taken) = (home_address(0x100), home_address(0x102));
    let mut stage = Stage::new(taken).await?;

    // The host has this one, and its kernel says so.
    assert_eq!(stage.register(&Update::new(taken, 1)).await?, Status::DAD_FAILED.0);
    assert_eq!(stage.hears(&[taken], 1).await?, [Heard::Probe(taken)]);

    let plain = Update::new(mn, 1);
    let update = Update { flags: plain.flags.with(BuFlags::LINK_LOCAL), ..plain };
    assert_eq!(stage.register(&update).await?, 0);
    // Both addresses were looked for before; afterwards both are told, three times.
    let mut all = stage.hears(&[mn, LINK_LOCAL], 8).await?;
    let told = all.split_off(2);
    all.sort_unstable();
    assert_eq!(all, [Heard::Probe(mn), Heard::Probe(LINK_LOCAL)]);
    for address in [mn, LINK_LOCAL] {
        let times = told.iter().filter(|it| **it == Heard::Told(address)).count();
        assert_eq!(times, 3, "{told:?}");
    }
    stage.asks_for(mn).await?;
    assert_eq!(stage.hears(&[mn], 1).await?, [Heard::Answer(mn)]);

    // A refresh asks nobody; a de-registration ends the defence at once.
    assert_eq!(stage.register(&Update { sequence: 2, ..update.clone() }).await?, 0);
    stage.asks_for(mn).await?;
    assert_eq!(stage.hears(&[mn], 1).await?, [Heard::Answer(mn)]);
    assert_eq!(stage.register(&Update { sequence: 3, lifetime: 0, ..update }).await?, 0);
    tokio::time::sleep(Duration::from_millis(500)).await;
    stage.asks_for(mn).await?;
    stage.asks_for(HOME_AGENT).await?;
    let after = stage.hears(&[mn, HOME_AGENT], 1).await?;
    ensure!(after == [Heard::Answer(HOME_AGENT)], "{after:?}");
    Ok(())
}
