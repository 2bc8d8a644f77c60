//! Signalling in ESP, transport mode (RFC 4877): all of it, both ways, and tshark has the keys.

use std::time::Duration;

use anyhow::{Result, ensure};
use homeport_api::admin::{Authentication, EspDirection, EspSuite, Protects, SecurityAssociation};
use mobile_node::{DirectionConfig, IpsecConfig, MobileNode, PingResult};

use super::lab::{AGENT, CORRESPONDENT, HOME, Lab, care_of, expect, expect_none};

const ECHO_TIMEOUT: Duration = Duration::from_secs(5);
const SUITE: &str = "aes-cbc-hmac-sha2-256";
const FROM_NODE: u32 = 0x1001;
const FROM_AGENT: u32 = 0x1002;

/// The associations of this case, as tshark takes them.
pub(super) const KNOWN_TO_TSHARK: [&str; 2] = [
    concat!(
        "uat:esp_sa:\"IPv6\",\"*\",\"*\",\"0x00001001\",\"AES-CBC [RFC3602]\",",
        "\"0x31313131313131313131313131313131\",\"HMAC-SHA-256-128 [RFC4868]\",",
        "\"0x3131313131313131313131313131313131313131313131313131313131313131\""
    ),
    concat!(
        "uat:esp_sa:\"IPv6\",\"*\",\"*\",\"0x00001002\",\"AES-CBC [RFC3602]\",",
        "\"0x42424242424242424242424242424242\",\"HMAC-SHA-256-128 [RFC4868]\",",
        "\"0x4242424242424242424242424242424242424242424242424242424242424242\""
    ),
];

fn association() -> SecurityAssociation {
    let direction = |spi, octet| {
        Some(EspDirection {
            spi,
            encryption_key: vec![octet; 16].into(),
            authentication_key: vec![octet; 32].into(),
        })
    };
    SecurityAssociation {
        home_address: HOME.to_owned(),
        protects: Protects::Signalling.into(),
        suite: EspSuite::AesCbcHmacSha2256.into(),
        // A node that is started anew begins where the clock is.
        replay_window: 64,
        inbound: direction(FROM_NODE, 0x31),
        outbound: direction(FROM_AGENT, 0x42),
        ..SecurityAssociation::default()
    }
}

fn ipsec() -> IpsecConfig {
    let direction = |spi, octet: &str| DirectionConfig {
        spi,
        encryption_key: octet.repeat(16),
        authentication_key: octet.repeat(32),
    };
    IpsecConfig {
        suite: SUITE.to_owned(),
        send: direction(FROM_NODE, "31"),
        receive: direction(FROM_AGENT, "42"),
        extended_sequence_numbers: false,
        prefix_discovery: true,
    }
}

/// Registers two care-of addresses, moves one, is refused in the clear, and leaves.
pub(super) async fn tell(lab: &mut Lab) -> Result<()> {
    lab.provision(
        |prefix| {
            prefix.authentication = Authentication::Ipsec.into();
            prefix.prefix_discovery_allowed = true;
        },
        |subscriber| (subscriber.spi, subscriber.key) = (0, Default::default()),
    )
    .await?;
    lab.associate(association()).await?;
    let addresses = [(1, "link-a", "2001:db8:a::11"), (2, "link-b", "2001:db8:b::22")];
    let mut config = lab.node()?;
    config.authentication = None;
    for (bid, link, address) in addresses {
        config.care_of.push(care_of(bid, link, address)?);
    }
    let mut bare = config.clone();
    bare.request_timeout_ms = 1500;
    let stranger = MobileNode::start(bare).await?;
    ensure!(stranger.register(true).await.is_err(), "registered in the clear");
    stranger.stop().await?;
    ensure!(lab.cluster.all_bindings().await?.is_empty(), "bound in the clear");
    config.ipsec = Some(ipsec());
    let node = MobileNode::start(config.clone()).await?;
    node.register(true).await?;
    for (bid, ..) in addresses {
        let replies = node.ping(CORRESPONDENT.parse()?, Some(bid), 2, ECHO_TIMEOUT).await?;
        ensure!(replies.iter().all(PingResult::is_reply), "through BID {bid}: {replies:?}");
    }
    lab.expect_both_ways().await?;
    node.move_care_of(2, "2001:db8:b::2b".parse()?).await?;
    lab.expect_both_ways().await?;
    node.stop().await?;
    // Started anew it knows nothing of the numbers that it has used.
    let node = MobileNode::start(config).await?;
    node.register(true).await?;
    node.deregister(&[]).await?;
    lab.expect_gone().await?;
    node.stop().await?;
    check(lab)
}

fn check(lab: &mut Lab) -> Result<()> {
    let frames = lab.decode()?;
    let from_node = format!("0x{FROM_NODE:08x}");
    let from_agent = format!("0x{FROM_AGENT:08x}");
    expect(&frames, "a Binding Update in ESP", |frame| {
        frame.is_update(&["1", "2"])
            && frame.has("esp.spi", &[&from_node])
            && frame.has("esp.icv_good", &["1"])
            && frame.has("ipv6.opt.mipv6.home_address", &[HOME])
    })?;
    expect(&frames, "an acknowledgement in ESP", |frame| {
        frame.is_acknowledgement("0")
            && frame.has("esp.spi", &[&from_agent])
            && frame.has("esp.icv_good", &["1"])
            && frame.has("ipv6.routing.mipv6.home_address", &[HOME])
    })?;
    expect_none(&frames, "an acknowledgement in the clear", |frame| {
        frame.has("ipv6.src", &[AGENT])
            && frame.has("mip6.mhtype", &["6"])
            && frame.all("esp.spi").is_empty()
    })?;
    let mut numbers: Vec<&String> = frames
        .iter()
        .filter(|frame| frame.has("esp.spi", &[&from_agent]))
        .flat_map(|frame| frame.all("esp.sequence"))
        .collect();
    let sent = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    ensure!(sent >= 3 && numbers.len() == sent, "{sent} packets with {} numbers", numbers.len());
    Ok(())
}
