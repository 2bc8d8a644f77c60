//! Dynamic Home Agent Address Discovery and Mobile Prefix Discovery (RFC 6275 §10.5, §10.6).

use std::net::Ipv6Addr;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use mobile_node::{Event, Events, MobileNode};

use super::capture::Frame;
use super::lab::{AGENT, CORRESPONDENT, HOME, HOME_PREFIX, Lab, care_of, expect, expect_none};
use super::notices::{heard, homeportctl};
use crate::dev::program;

const IPV4_ON_B: &str = "172.30.11.50";
const ON_A: &str = "2001:db8:a::11";
/// All home agents of the home link (RFC 2526).
const ANYCAST: &str = "2001:db8:0:1:fdff:ffff:ffff:fffe";

/// A node that knows its home address only.
pub(super) async fn tell(lab: &mut Lab) -> Result<()> {
    let prefix = |prefix: &mut homeport_api::admin::HomePrefix| {
        prefix.home_agent_discovery_allowed = true;
        prefix.prefix_discovery_allowed = true;
        (prefix.valid_lifetime_secs, prefix.preferred_lifetime_secs) = (Some(86_400), Some(43_200));
    };
    lab.provision(prefix, |_| {}).await?;
    let mut config = lab.node()?;
    config.home_agent = Ipv6Addr::UNSPECIFIED;
    config.care_of.push(care_of(1, "link-a", ON_A)?);
    let node = MobileNode::start(config).await?;
    let mut events = node.events();
    node.register(false).await?;
    let agent: Ipv6Addr = AGENT.parse()?;
    let found = |event: &Event| matches!(event, Event::HomeAgent { address } if *address == agent);
    heard(&mut events, "the home agent", found).await?;
    let stored = lab.bindings().await?;
    ensure!(stored.bindings.len() == 1 && stored.home_agent == AGENT, "{stored:?}");
    lab.expect_both_ways().await?;
    node.solicit_prefixes().await?;
    heard(&mut events, "the home link's prefixes", |event| match event {
        Event::HomePrefixes { prefixes, solicited: true } => prefixes
            .iter()
            .map(|it| (it.length, it.valid_secs, it.preferred_secs))
            .eq([(64, 86_400, 43_200)]),
        _ => false,
    })
    .await?;
    node.deregister(&[]).await?;
    lab.expect_gone().await?;
    node.stop().await?;
    run_program(lab).await?;
    lab.expect_gone().await?;

    let frames = lab.decode()?;
    let questions = frames
        .iter()
        .filter(|frame| frame.has("icmpv6.type", &["144"]) && frame.goes(&[ON_A], &[ANYCAST]));
    // Of the library's node and of the program.
    ensure!(questions.count() >= 2, "home agents were not asked for twice");
    expect(&frames, "the home agents", |frame| {
        frame.has("icmpv6.type", &["145"])
            && frame.goes(&[AGENT], &[ON_A])
            && frame.has("icmpv6.mip6.home_agent_address", &[AGENT])
    })?;
    expect(&frames, "a Mobile Prefix Solicitation", |frame| {
        frame.has("icmpv6.type", &["146"])
            && frame.goes(&[ON_A], &[AGENT])
            && frame.has("ipv6.opt.mipv6.home_address", &[HOME])
    })?;
    expect(&frames, "a Mobile Prefix Advertisement", |frame| {
        frame.has("icmpv6.type", &["147"])
            && frame.goes(&[AGENT], &[ON_A])
            && frame.has("ipv6.routing.mipv6.home_address", &[HOME])
            && !frame.all("icmpv6.opt.prefix").is_empty()
    })
}

/// An operator shortens the lifetimes of the home prefix under a node that is away: it is told, asks, and
/// its binding ends no later. Then it is told by hand, over IPv4 too.
pub(super) async fn tell_change(lab: &mut Lab) -> Result<()> {
    update(lab, &["--prefix-discovery", "true", "--prefix-advertisement-delay-min-secs", "0"])
        .await?;
    update(lab, &["--prefix-advertisement-delay-max-secs", "0"]).await?;
    let mut config = lab.node()?;
    config.lifetime_secs = 900;
    config.care_of.push(care_of(1, "link-a", ON_A)?);
    let node = MobileNode::start(config).await?;
    node.register(false).await?;
    lab.expect_both_ways().await?;
    let mut events = node.events();
    let lifetimes = ["--valid-lifetime-secs", "600", "--preferred-lifetime-secs", "600"];
    update(lab, &lifetimes).await?;
    hears(&mut events, 600).await?;
    heard(&mut events, "a binding that ends earlier", |event| {
        matches!(event, Event::Registered { renewed: true, .. })
    })
    .await?;
    let left: Vec<u32> =
        lab.bindings().await?.bindings.iter().map(|binding| binding.remaining_secs).collect();
    ensure!(left.len() == 1 && left[0] <= 600, "the store holds it for {left:?} s");
    lab.expect_both_ways().await?;
    node.deregister(&[]).await?;
    node.stop().await?;

    let mut config = lab.node()?;
    // One that lasts as long as the prefix would let the node ask by itself.
    config.lifetime_secs = 60;
    config.care_of.push(care_of(2, "link-b", IPV4_ON_B)?);
    let node = MobileNode::start(config).await?;
    node.register(false).await?;
    let mut events = node.events();
    homeportctl(lab, &["home-prefixes", "advertise", HOME_PREFIX, "--within-secs", "0"]).await?;
    hears(&mut events, 600).await?;
    node.deregister(&[]).await?;
    lab.expect_gone().await?;
    node.stop().await?;

    let frames = lab.decode()?;
    let is_unsolicited = |frame: &Frame| {
        frame.has("icmpv6.type", &["147"])
            && frame.has("icmpv6.mip6.identifier", &["0"])
            && frame.has("icmpv6.opt.prefix.valid_lifetime", &["600"])
    };
    expect(&frames, "an advertisement that nobody asked for", |frame| {
        is_unsolicited(frame)
            && frame.goes(&[AGENT], &[ON_A])
            && frame.has("ipv6.routing.mipv6.home_address", &[HOME])
            && frame.has("icmpv6.opt.prefix", &[AGENT])
    })?;
    expect(&frames, "a solicitation", |frame| {
        frame.has("icmpv6.type", &["146"])
            && frame.goes(&[ON_A], &[AGENT])
            && frame.has("ipv6.opt.mipv6.home_address", &[HOME])
    })?;
    expect(&frames, "its answer", |frame| {
        frame.has("icmpv6.type", &["147"])
            && frame.goes(&[AGENT], &[ON_A])
            && !is_unsolicited(frame)
            && frame.has("icmpv6.opt.prefix.valid_lifetime", &["600"])
    })?;
    expect(&frames, "an advertisement that nobody asked for, in UDP", |frame| {
        is_unsolicited(frame) && frame.goes(&[AGENT], &[HOME]) && frame.has("ip.dst", &[IPV4_ON_B])
    })?;
    expect_none(&frames, "an advertisement through the tunnel", |frame| {
        is_unsolicited(frame) && frame.goes(&[AGENT, AGENT], &[ON_A, HOME])
    })
}

async fn update(lab: &Lab, settings: &[&str]) -> Result<()> {
    homeportctl(lab, &[&["home-prefixes", "update", HOME_PREFIX], settings].concat()).await
}

/// The node hears of the prefix unasked, then in answer to its own question.
async fn hears(events: &mut Events, expected_secs: u32) -> Result<()> {
    for asked in [false, true] {
        heard(events, "the home prefix", |event| match event {
            Event::HomePrefixes { prefixes, solicited } if *solicited == asked => {
                prefixes.iter().map(|it| (it.length, it.valid_secs)).eq([(64, expected_secs)])
            }
            _ => false,
        })
        .await?;
    }
    Ok(())
}

/// The program does the same out of a configuration file: it finds the home agent, registers, pings the
/// correspondent node and leaves.
async fn run_program(lab: &Lab) -> Result<()> {
    let config = lab.node()?;
    let authentication = config.authentication.context("the case is authenticated")?;
    let text = format!(
        r#"
home_address = "{HOME}"
updates_per_second_max = 100

[authentication]
spi = {}
key = "{}"
nai = "{}"
mesg_id = true

[tun]
name = "mn0"
netns = "{}"

[[care_of]]
bid = 1
address = "{ON_A}"
interface = "link-a"
gateway = "fe80::1"
"#,
        authentication.spi, authentication.key, authentication.nai, lab.namespaces.mobile_node,
    );
    let file = lab.directory().join("mobile-node.toml");
    std::fs::write(&file, text)?;
    let mut command = Command::new(program("mobile-node")?);
    command.arg("once").arg("--config").arg(file).args(["--ping", CORRESPONDENT]);
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    ensure!(output.status.success(), "mobile-node: {output:?}");
    Ok(())
}
