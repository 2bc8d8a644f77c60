//! Tunnelled packets that the home agent must not believe (RFC 6275 §10.4.5).

use std::net::Ipv6Addr;

use anyhow::{Result, ensure};
use homeport_wire::encapsulate_v6;
use mobile_node::MobileNode;

use super::lab::{CORRESPONDENT, HOME, Lab, care_of, expect, expect_none};
use super::raw::echo_request;
use crate::updates::{HOME_AGENT, home_address};
use crate::{eventually, ops};

const CARE_OF: &str = "2001:db8:a::11";
/// On the link of the test.
const STRANGER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xe, 0, 0, 0, 0, 0x66);
/// Identifiers of the echo requests inside.
const FROM_STRANGER: u16 = 0x6601;
const FOR_ANOTHER_HOME: u16 = 0x6602;
const HONEST: u16 = 0x6603;

/// Two packets that lie, and one that does not.
pub(super) async fn tell(lab: &mut Lab) -> Result<()> {
    let mut config = lab.node()?;
    config.care_of.push(care_of(1, "link-a", CARE_OF)?);
    let node = MobileNode::start(config).await?;
    node.register(false).await?;
    lab.expect_both_ways().await?;
    let link = lab.raw_link().await?;
    let (home, bound): (Ipv6Addr, Ipv6Addr) = (HOME.parse()?, CARE_OF.parse()?);
    let tunnelled = |outer, inner, identifier| {
        let packet = echo_request(inner, correspondent(), identifier);
        encapsulate_v6(&packet, outer, HOME_AGENT, 64, 0, 0)
    };
    let before = dropped(lab).await?;
    link.send(&tunnelled(STRANGER, home, FROM_STRANGER)).await?;
    link.send(&tunnelled(bound, home_address(0x101), FOR_ANOTHER_HOME)).await?;
    link.send(&tunnelled(bound, home, HONEST)).await?;
    eventually("two counted packets", async || {
        let counted = dropped(lab).await? - before;
        ensure!(counted == 2.0, "{counted} packets were counted");
        Ok(())
    })
    .await?;
    lab.expect_both_ways().await?;
    node.stop().await?;

    let frames = lab.decode()?;
    let onward = |identifier: u16| {
        let identifier = format!("0x{identifier:04x}");
        move |frame: &super::capture::Frame| {
            frame.has("ipv6.dst", &[CORRESPONDENT])
                && frame.has("icmpv6.echo.identifier", &[identifier.as_str()])
        }
    };
    expect(&frames, "the honest packet on its way", onward(HONEST))?;
    for spoofed in [FROM_STRANGER, FOR_ANOTHER_HOME] {
        expect_none(&frames, "a spoofed packet went on", onward(spoofed))?;
        let identifier = format!("0x{spoofed:04x}");
        expect(&frames, "the spoofed packet itself", |frame| {
            frame.has("icmpv6.echo.identifier", &[identifier.as_str()])
        })?;
    }
    Ok(())
}

fn correspondent() -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 0x99)
}

/// Packets that both forwarders have dropped for that.
async fn dropped(lab: &Lab) -> Result<f64> {
    const SAMPLE: &str = "homeport_forwarder_drops_total{reason=\"tunnel_source_not_bound\"}";
    let mut all = 0.0;
    for forwarder in lab.cluster.endpoints()?.forwarders {
        all += ops::metric(forwarder.ops, SAMPLE).await?;
    }
    Ok(all)
}
