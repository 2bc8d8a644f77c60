//! The Home Address option of a mobile node that talks to the home agent itself (RFC 6275 §9.3.1).

use std::net::Ipv6Addr;

use anyhow::{Result, ensure};
use homeport_wire::{BindingErrorStatus, Icmpv6, Message, PacketBuilder, PseudoHeader, protocol};

use super::lab::{AGENT, Lab, expect, text};
use super::raw::RawLink;
use crate::updates::{HOME_AGENT, Update, acknowledgement, home_address};

/// On the link of the test.
const CARE_OF: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xe, 0, 0, 0, 0, 0x11);
const HOME: Ipv6Addr = home_address(0x200);
const IDENTIFIER: u16 = 0x2006;

/// Refused without a binding, answered with one, refused after its end.
pub(super) async fn tell(lab: &mut Lab) -> Result<()> {
    let link = lab.raw_link().await?;
    expect_binding_error(&link).await?;
    register(&link, 1, 225).await?;
    expect_echo_reply(&link).await?;
    register(&link, 2, 0).await?;
    expect_binding_error(&link).await?;

    let frames = lab.decode()?;
    let (care_of, home) = (text(CARE_OF), text(HOME));
    let from_agent = |frame: &super::capture::Frame| frame.goes(&[AGENT], &[care_of.as_str()]);
    expect(&frames, "an echo request with a Home Address option", |frame| {
        frame.has("icmpv6.type", &["128"])
            && frame.has("ipv6.opt.mipv6.home_address", &[home.as_str()])
    })?;
    expect(&frames, "an echo reply with a type 2 routing header", |frame| {
        from_agent(frame)
            && frame.has("icmpv6.type", &["129"])
            && frame.has("ipv6.routing.type", &["2"])
            && frame.has("ipv6.routing.mipv6.home_address", &[home.as_str()])
    })?;
    expect(&frames, "a Binding Error", |frame| {
        from_agent(frame)
            && frame.has("mip6.mhtype", &["7"])
            && frame.has("mip6.be.status", &["1"])
            && frame.all("ipv6.routing.type").is_empty()
    })
}

fn echo_request() -> Vec<u8> {
    let message = Icmpv6::EchoRequest { identifier: IDENTIFIER, sequence: 1, data: b"am I bound?" };
    PacketBuilder::new(CARE_OF, HOME_AGENT)
        .home_address_option(Some(HOME))
        .build(protocol::ICMPV6, &message.emit(HOME, HOME_AGENT))
}

async fn expect_binding_error(link: &RawLink) -> Result<()> {
    link.send(&echo_request()).await?;
    let error = link.receive("Binding Error", CARE_OF, |_, seen| {
        let pseudo = PseudoHeader::mobility(seen.pseudo_source(), seen.pseudo_destination());
        match Message::parse(seen.payload, pseudo).ok()?.into_owned() {
            Message::BindingError(error) if seen.upper == protocol::MOBILITY => Some(error),
            _ => None,
        }
    });
    let error = error.await?;
    ensure!(error.status == BindingErrorStatus::UNKNOWN_BINDING, "{error:?}");
    ensure!(error.home_address == HOME, "{error:?}");
    Ok(())
}

async fn expect_echo_reply(link: &RawLink) -> Result<()> {
    link.send(&echo_request()).await?;
    let routed = link.receive("echo reply", CARE_OF, |_, seen| {
        match Icmpv6::parse(seen.payload, seen.pseudo_header()).ok()? {
            Icmpv6::EchoReply { identifier: IDENTIFIER, .. } => Some(seen.routing_home_address),
            _ => None,
        }
    });
    let routed = routed.await?;
    ensure!(routed == Some(HOME), "the reply's routing header has {routed:?}");
    Ok(())
}

/// Registers, or ends the binding with a lifetime of zero.
async fn register(link: &RawLink, sequence: u16, lifetime: u16) -> Result<()> {
    let update = Update { care_of: CARE_OF, lifetime, ..Update::new(HOME, sequence) };
    link.send(&update.packet()).await?;
    let answer = link.receive("acknowledgement", CARE_OF, |packet, _| acknowledgement(packet).ok());
    let answer = answer.await?;
    ensure!(answer.status() == 0 && answer.routing_home_address == Some(HOME), "{answer:?}");
    Ok(())
}
