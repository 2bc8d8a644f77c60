//! Scripts of home agent address discovery and mobile prefix discovery (RFC 6275 sections 10.5, 10.6).

use std::net::{IpAddr, Ipv6Addr};

use anyhow::{Context as _, Result, ensure};

use super::catalogue::{Link, Row};
use super::packet::{home_address_option, icmpv6, ipv6, protocol};
use super::stage::{PATIENCE, Stage};

/// Interface identifier of the Mobile IPv6 Home-Agents anycast address (RFC 2526).
const ANYCAST: u128 = 0xfdff_ffff_ffff_fffe;
const IDENTIFIER: u16 = 0x4191;

/// Where home agents of the home prefix are asked for.
#[must_use]
pub fn anycast(stage: &Stage) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(stage.home.prefix) | ANYCAST)
}

/// Asks for home agents, with this word of flags, and gives the flags and addresses of the reply.
pub async fn discovered(stage: &Stage, flags: u16) -> Result<(u16, Vec<Ipv6Addr>)> {
    stage.step().await;
    let anycast = anycast(stage);
    let from = stage.coa(1);
    let mut rest = IDENTIFIER.to_be_bytes().to_vec();
    rest.extend(flags.to_be_bytes());
    let message = icmpv6(from, anycast, 144, 0, &rest);
    stage.send(&ipv6(from, anycast, protocol::ICMPV6, &message)).await?;
    let (rest, reply) = stage
        .receive("a Home Agent Address Discovery Reply", PATIENCE, |packet| {
            let (kind, code, rest) = packet.icmpv6()?;
            ((kind, code) == (145, 0)).then(|| rest.to_vec())
        })
        .await?;
    ensure!(reply.source == IpAddr::V6(stage.home.agent), "it came from {}", reply.source);
    ensure!(reply.octets.len() <= 1280, "{} octets", reply.octets.len());
    let (head, list) = rest.split_at_checked(4).context("a short reply")?;
    ensure!(head[..2] == IDENTIFIER.to_be_bytes(), "another identifier");
    ensure!(list.len() % 16 == 0, "half an address");
    let addresses = list.chunks_exact(16).map(|octets| {
        let octets: [u8; 16] = octets.try_into().context("an address")?;
        Ok(Ipv6Addr::from(octets))
    });
    Ok((u16::from_be_bytes([head[2], head[3]]), addresses.collect::<Result<_>>()?))
}

/// Home agent address discovery.
pub async fn discover(stage: &Stage, row: &Row) -> Result<()> {
    let mut flags = if row.has("reserved") { 0x7fff } else { 0 };
    if stage.is_router {
        flags |= 0x8000;
    }
    let (got, agents) = discovered(stage, flags).await?;
    // On a real home link those of other cases are listed too.
    let listed = agents == [stage.home.agent];
    let listed = listed || row.link == Link::Real && agents.contains(&stage.home.agent);
    ensure!(listed, "it lists {agents:?}");
    let is_router = got & 0x8000 != 0;
    ensure!(is_router == stage.is_router, "its R flag is {is_router}");
    ensure!(got & 0x7fff == 0, "reserved bits {got:04x}");
    Ok(())
}

/// A prefix of a Mobile Prefix Advertisement.
#[derive(Debug)]
pub struct Advertised {
    /// Flags of the Prefix Information option.
    pub flags: u8,
    /// Seconds.
    pub valid: u32,
    /// The prefix field.
    pub prefix: Ipv6Addr,
    /// Length of the prefix.
    pub len: u8,
}

fn solicitation(stage: &Stage, from: Ipv6Addr, reserved: u16) -> Vec<u8> {
    let mut rest = IDENTIFIER.to_be_bytes().to_vec();
    rest.extend(reserved.to_be_bytes());
    let message = icmpv6(stage.hoa, stage.home.agent, 146, 0, &rest);
    let payload = home_address_option(stage.hoa, protocol::ICMPV6, &message);
    ipv6(from, stage.home.agent, protocol::DESTINATION_OPTIONS, &payload)
}

/// Solicits prefixes from a care-of address and reads the advertisement.
///
/// # Errors
/// When it does not come to that address or is not well formed.
pub async fn solicited(stage: &Stage, from: Ipv6Addr, reserved: u16) -> Result<Vec<Advertised>> {
    stage.step().await;
    stage.send(&solicitation(stage, from, reserved)).await?;
    let (rest, reply) = stage
        .receive("a Mobile Prefix Advertisement", PATIENCE, |packet| {
            let (kind, code, rest) = packet.icmpv6()?;
            ((kind, code) == (147, 0)).then(|| rest.to_vec())
        })
        .await?;
    ensure!(reply.destination == IpAddr::V6(from), "it went to {}", reply.destination);
    ensure!(reply.routing == Some(stage.hoa), "its routing header names {:?}", reply.routing);
    let (head, options) = rest.split_at_checked(4).context("a short advertisement")?;
    ensure!(head[..2] == IDENTIFIER.to_be_bytes(), "another identifier");
    ensure!(head[2] & 0xc0 == 0, "M and O are {:02x}", head[2]);
    let mut prefixes = Vec::new();
    for option in options.chunks(32) {
        ensure!(option.len() == 32 && option[..2] == [3, 4], "no Prefix Information option");
        let valid = option[4..8].try_into().map(u32::from_be_bytes)?;
        let prefix: [u8; 16] = option[16..].try_into()?;
        let prefix = Ipv6Addr::from(prefix);
        prefixes.push(Advertised { flags: option[3], valid, prefix, len: option[2] });
    }
    Ok(prefixes)
}

/// Mobile prefix discovery.
pub async fn solicit_prefix(stage: &Stage, row: &Row) -> Result<()> {
    if row.get("bound") == Some("0") {
        stage.step().await;
        stage.send(&solicitation(stage, stage.coa(1), 0)).await?;
        let error = stage
            .receive("a Binding Error", PATIENCE, super::decode::Packet::binding_error)
            .await?;
        ensure!(error.0 == (1, stage.hoa), "BE {:?}", error.0);
        return Ok(());
    }
    let mut update = stage.update(15);
    if row.get("lifetime").is_some() {
        update.lifetime = row.value("lifetime")?;
    }
    let granted = u32::from(stage.accepted(&update, stage.coa(1)).await?.lifetime) * 4;
    let reserved = if row.has("reserved") { 0xffff } else { 0 };
    let prefixes = solicited(stage, stage.coa(1), reserved).await?;
    let own = prefixes.iter().find(|prefix| prefix.prefix == stage.home.agent);
    let own = own.with_context(|| format!("no prefix with the home agent: {prefixes:?}"))?;
    ensure!(own.flags & 0x20 != 0, "R is not set: flags {:02x}", own.flags);
    ensure!(own.len == 64, "prefix length {}", own.len);
    ensure!(own.valid >= granted, "valid for {} s, granted {granted} s", own.valid);
    Ok(())
}
