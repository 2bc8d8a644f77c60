//! The demonstration: a mobile node registers three care-of addresses, is reached through each, moves and
//! leaves. What the mobile node saw is compared with what the store holds at each step.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use homeport_api::admin::Subscriber;
use mobile_node::{
    AuthenticationConfig, BindingResult, CareOfConfig, Config, MobileNode, Outcome, PingOutcome,
    TunConfig,
};

use super::cluster::Cluster;
use super::network::{CORRESPONDENT, ROUTER};
use super::plan::{HOME_ADDRESS, HOME_AGENT, Mode};

/// Security parameter index of the demonstration's key.
const SPI: u32 = 0x100;
/// Identity of the demonstration's mobile node.
const NAI: &str = "mn1@example.com";
/// Echo requests through each care-of address.
const ECHOES: u32 = 3;
/// How long an echo reply may take.
const ECHO_TIMEOUT: Duration = Duration::from_secs(2);
/// The binding that moves.
const MOVING_BID: u16 = 2;

/// Runs the story; an error where anything was not as it should be.
pub(crate) async fn run(cluster: &mut Cluster, authenticated: bool) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut config = Config::new(HOME_ADDRESS.parse()?, HOME_AGENT.parse()?);
    if authenticated {
        config.authentication = Some(provision_key(cluster).await?);
    }
    let stage = match cluster.plan.mode {
        Mode::Tun => Stage::on_links(cluster, config)?,
        Mode::Udp => Stage::on_loopback(cluster, config)?,
    };
    let node = MobileNode::start(stage.config.clone()).await.context("the mobile node")?;
    let result = tell(cluster, &stage, &node).await;
    node.stop().await?;
    result?;
    let secs = started.elapsed().as_secs_f64();
    println!("\nAll steps went as they should, in {secs:.1} s.");
    Ok(())
}

/// Where the story happens.
struct Stage {
    config: Config,
    /// All care-of addresses in one Binding Update.
    bulk: bool,
    /// Whom the mobile node talks to.
    correspondent: Ipv6Addr,
    correspondent_is: &'static str,
    /// Where the moving binding goes.
    new_care_of: IpAddr,
}

impl Stage {
    /// Three IPv6 links, each with its router, and a correspondent node behind them.
    fn on_links(cluster: &Cluster, mut config: Config) -> anyhow::Result<Self> {
        let lab = cluster.lab.as_ref().context("there is no network")?;
        let netns = Some(lab.mobile_node.name().to_owned());
        config.tun = Some(TunConfig { name: "mn0".to_owned(), netns, mtu: 1460 });
        let links = [
            (1, "link-a", "2001:db8:a::11"),
            (2, "link-b", "2001:db8:b::22"),
            (3, "link-c", "2001:db8:c::33"),
        ];
        for (bid, link, address) in links {
            config.care_of.push(CareOfConfig {
                interface: Some(link.to_owned()),
                gateway: Some(ROUTER.parse()?),
                ..CareOfConfig::new(bid, address.parse()?)
            });
        }
        Ok(Self {
            config,
            bulk: true,
            correspondent: CORRESPONDENT.parse()?,
            correspondent_is: "a correspondent node",
            new_care_of: "2001:db8:b::2b".parse()?,
        })
    }

    /// Three loopback addresses, UDP to the home agent; the home agent itself answers the echoes.
    fn on_loopback(cluster: &Cluster, mut config: Config) -> anyhow::Result<Self> {
        let IpAddr::V4(home_agent) = cluster.plan.udp.ip() else {
            bail!("the UDP address of the plan is not IPv4");
        };
        config.home_agent_v4 = Some(home_agent);
        config.home_agent_port = cluster.plan.udp.port();
        for bid in 1..=3_u8 {
            let address = Ipv4Addr::new(127, 0, 0, bid + 1);
            config.care_of.push(CareOfConfig::new(bid.into(), address.into()));
        }
        Ok(Self {
            config,
            bulk: false,
            correspondent: HOME_AGENT.parse()?,
            correspondent_is: "the home agent",
            new_care_of: Ipv4Addr::new(127, 0, 0, 5).into(),
        })
    }

    fn bids(&self) -> impl Iterator<Item = u16> + '_ {
        self.config.care_of.iter().map(|care_of| care_of.bid)
    }
}

async fn provision_key(cluster: &Cluster) -> anyhow::Result<AuthenticationConfig> {
    let key: [u8; 16] = rand::random();
    let subscriber = Subscriber {
        home_address: HOME_ADDRESS.to_owned(),
        nai: NAI.to_owned(),
        spi: SPI,
        key: key.to_vec().into(),
        ..Subscriber::default()
    };
    cluster.subscribe(subscriber).await?;
    let key = key.iter().map(|octet| format!("{octet:02x}")).collect();
    Ok(AuthenticationConfig { spi: SPI, key, nai: NAI.to_owned(), mesg_id: true })
}

async fn tell(cluster: &Cluster, stage: &Stage, node: &MobileNode) -> anyhow::Result<()> {
    println!("\n{NAI}, home address {HOME_ADDRESS}, is away from home.");
    let begun = Instant::now();
    if stage.bulk {
        step("It registers all three care-of addresses with one bulk Binding Update");
        print_results(&node.register(true).await?, begun);
    } else {
        step("It registers its care-of addresses, a Binding Update each, over UDP");
        print_results(&node.register(false).await?, begun);
        step(
            "One bulk Binding Update refreshes all three (a node sends three updates a second at most)",
        );
        let begun = Instant::now();
        print_results(&node.refresh(true).await?, begun);
    }
    expect_bindings(cluster, stage, None).await?;

    step(&format!("It pings {} ({}) through each", stage.correspondent_is, stage.correspondent));
    echo_through_each(stage, node).await?;

    step(&format!("BID {MOVING_BID} moves to {}", stage.new_care_of));
    let begun = Instant::now();
    print_results(&node.move_care_of(MOVING_BID, stage.new_care_of).await?, begun);
    expect_bindings(cluster, stage, Some(stage.new_care_of)).await?;
    echo(stage, node, MOVING_BID).await?;

    step("It de-registers");
    let begun = Instant::now();
    print_results(&node.deregister(&[]).await?, begun);
    let left = cluster.bindings(HOME_ADDRESS).await?.bindings;
    ensure!(left.is_empty(), "the store still holds {} bindings", left.len());
    println!("    the store holds no binding any more");
    let results = node.ping(stage.correspondent, Some(1), 1, Duration::from_millis(500)).await?;
    ensure!(!results.iter().any(|result| result.is_reply()), "packets still flow");
    println!("    and nothing comes through the tunnel");
    Ok(())
}

fn step(text: &str) {
    println!("\n* {text}");
}

fn print_results(results: &[BindingResult], begun: Instant) {
    let mut results: Vec<&BindingResult> = results.iter().collect();
    results.sort_by_key(|result| result.bid);
    for result in results {
        let name = result.bid.map_or("binding".to_owned(), |bid| format!("BID {bid}"));
        match result.outcome {
            Outcome::Registered { care_of, lifetime, status } => println!(
                "    {name}: {status} for {} s, care-of address {care_of}",
                lifetime.secs()
            ),
            Outcome::Deregistered { status } => println!("    {name}: {status}, gone"),
            other => println!("    {name}: {other:?}"),
        }
    }
    println!("    acknowledged after {:.1} ms", begun.elapsed().as_secs_f64() * 1000.0);
}

/// The store holds the mobile node's care-of addresses and no others.
async fn expect_bindings(
    cluster: &Cluster,
    stage: &Stage,
    moved: Option<IpAddr>,
) -> anyhow::Result<()> {
    let home = cluster.bindings(HOME_ADDRESS).await?;
    let stored: Vec<(Option<u32>, String)> =
        home.bindings.iter().map(|b| (b.bid, b.care_of_address.clone())).collect();
    let expected: Vec<(Option<u32>, String)> = stage
        .config
        .care_of
        .iter()
        .map(|care_of| {
            let moved = moved.filter(|_| care_of.bid == MOVING_BID);
            (Some(care_of.bid.into()), moved.unwrap_or(care_of.address).to_string())
        })
        .collect();
    ensure!(stored == expected, "the store holds {stored:?}, expected {expected:?}");
    println!("    the store holds {} bindings at revision {}", stored.len(), home.revision);
    Ok(())
}

async fn echo_through_each(stage: &Stage, node: &MobileNode) -> anyhow::Result<()> {
    for bid in stage.bids() {
        echo(stage, node, bid).await?;
    }
    Ok(())
}

async fn echo(stage: &Stage, node: &MobileNode, bid: u16) -> anyhow::Result<()> {
    let results = node.ping(stage.correspondent, Some(bid), ECHOES, ECHO_TIMEOUT).await?;
    let mut replies = 0_u32;
    let mut fastest_us = u64::MAX;
    let mut back = String::new();
    for result in &results {
        if let PingOutcome::Reply { round_trip_us, path } = &result.outcome {
            replies += 1;
            fastest_us = fastest_us.min(*round_trip_us);
            back.clone_from(path);
        }
    }
    ensure!(replies == ECHOES, "through BID {bid} came {replies} of {ECHOES} replies: {results:?}");
    println!(
        "    through BID {bid}: {replies} of {ECHOES} replies, fastest {:.2} ms, back by {back}",
        Duration::from_micros(fastest_us).as_secs_f64() * 1000.0
    );
    Ok(())
}
