//! Dynamic Home Agent Address Discovery and Mobile Prefix Discovery (RFC 6275 §10.5, §10.6).

use std::net::Ipv6Addr;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use mobile_node::{Event, MobileNode};

use super::lab::{AGENT, CORRESPONDENT, HOME, Lab, care_of, expect};
use super::notices::heard;
use crate::dev::program;

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
