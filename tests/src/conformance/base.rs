//! Scripts of the base protocol (RFC 6275): what part 1 asks, and part 2 again with a mobile router.

use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::catalogue::Row;
use super::decode::{Body, Packet};
use super::esp::Peer;
use super::homelink::SETTLING;
use super::packet::{
    Mobility, Update, alternate, flag, home_address_option, icmpv6, ipv6, nonce_indices, protocol,
};
use super::stage::{CannotRun, PATIENCE, Proof, Stage};

/// Offset of the Mobility Header behind the IPv6 header and a Home Address option.
const HEADER_OFFSET: u32 = 40 + 24;
/// Reserved bits of a Binding Update (RFC 6275 section 6.1.7), after all that later RFCs took.
const RESERVED_FLAGS: u16 = 0x000f;

/// A registration that is accepted before the point of the case.
async fn bound(stage: &Stage, sequence: u16) -> Result<()> {
    let update = stage.update(sequence).with(alternate(stage.coa(1)));
    stage.accepted(&update, stage.coa(1)).await.context("the first registration")?;
    Ok(())
}

/// The home agent answers a ping from both foreign links.
pub async fn echo_agent(stage: &Stage, _row: &Row) -> Result<()> {
    stage.echo_agent(stage.coa(1)).await?;
    stage.echo_agent(stage.coa(2)).await
}

/// What IKE or IPsec in tunnel mode must do cannot be seen yet.
pub async fn ipsec(_stage: &Stage, _row: &Row) -> Result<()> {
    Err(CannotRun("it needs IKE or IPsec in tunnel mode".to_owned()).into())
}

/// A Mobility Header of an unknown type from the home link.
pub async fn unknown_type(stage: &Stage, row: &Row) -> Result<()> {
    if row.has("bound") {
        bound(stage, 15).await?;
    }
    let header = Mobility::new(0xff, &[0; 10], &[]).emit(stage.hoa, stage.home.agent);
    let packet = ipv6(stage.hoa, stage.home.agent, protocol::MOBILITY, &header);
    let answer = stage.ask_from_home(&packet, "a Binding Error", Packet::binding_error).await?;
    ensure!(answer == (2, Ipv6Addr::UNSPECIFIED), "BE {answer:?}, expected (2, ::)");
    if row.has("bound") { stage.is_bound(stage.coa(1)).await } else { Ok(()) }
}

/// A Binding Update with a spoilt Mobility Header.
fn spoilt(stage: &Stage, sequence: u16, spoil: impl FnOnce(&mut Mobility)) -> Vec<u8> {
    let mut data = sequence.to_be_bytes().to_vec();
    data.extend(stage.update(sequence).flags.to_be_bytes());
    data.extend(105_u16.to_be_bytes());
    let mut header = Mobility::new(5, &data, &[]);
    spoil(&mut header);
    header.emit(stage.hoa, stage.home.agent)
}

fn from_care_of(stage: &Stage, header: &[u8]) -> Vec<u8> {
    let payload = home_address_option(stage.hoa, protocol::MOBILITY, header);
    ipv6(stage.coa(1), stage.home.agent, protocol::DESTINATION_OPTIONS, &payload)
}

async fn parameter_problem(stage: &Stage, row: &Row, packet: &[u8], offset: u32) -> Result<()> {
    if row.has("bound") {
        bound(stage, 15).await?;
    }
    stage.step().await;
    stage.send(packet).await?;
    let (rest, answer) = stage
        .receive("a Parameter Problem", PATIENCE, |packet| {
            let (kind, code, rest) = packet.icmpv6()?;
            ((kind, code) == (4, 0)).then(|| rest.to_vec())
        })
        .await?;
    ensure!(answer.destination == IpAddr::V6(stage.coa(1)), "sent to {}", answer.destination);
    let pointer = rest.get(..4).context("a short Parameter Problem")?;
    ensure!(pointer == offset.to_be_bytes(), "pointer {pointer:?}, expected {offset}");
    // Three routers took a hop from what is quoted.
    let quoted = rest.get(4..12).context("nothing is quoted")?;
    ensure!(quoted[..7] == packet[..7], "it quotes another packet");
    stage.no_acknowledgement().await?;
    if row.has("bound") {
        stage.is_bound(stage.coa(1)).await
    } else {
        stage.is_unbound(stage.coa(1)).await
    }
}

/// Payload Proto is not 59.
pub async fn payload_proto(stage: &Stage, row: &Row) -> Result<()> {
    let mut header = spoilt(stage, 16, |header| header.payload_proto = protocol::ICMPV6);
    let echo = icmpv6(stage.hoa, stage.home.agent, 128, 0, &[0, 1, 0, 1]);
    header.extend(echo);
    parameter_problem(stage, row, &from_care_of(stage, &header), HEADER_OFFSET).await
}

/// Header Len is below what a Binding Update has.
pub async fn short_header(stage: &Stage, row: &Row) -> Result<()> {
    let header = spoilt(stage, 16, |header| header.data.truncate(2));
    parameter_problem(stage, row, &from_care_of(stage, &header), HEADER_OFFSET + 1).await
}

/// The checksum is zero, which is wrong.
pub async fn wrong_checksum(stage: &Stage, _row: &Row) -> Result<()> {
    stage.step().await;
    let header = spoilt(stage, 15, |header| header.checksum = Some(0));
    stage.send(&from_care_of(stage, &header)).await?;
    stage.no_acknowledgement().await?;
    stage.is_unbound(stage.coa(1)).await
}

/// A home registration.
pub async fn register(stage: &Stage, row: &Row) -> Result<()> {
    let mut update = stage.update(15).with(alternate(stage.coa(1)));
    if !row.has("a") {
        update.flags &= !flag::A;
    }
    if row.has("reserved") {
        update.flags |= RESERVED_FLAGS;
    }
    stage.accepted(&update, stage.coa(1)).await?;
    stage.is_bound(stage.coa(1)).await
}

/// A second registration for half the time.
pub async fn shorten(stage: &Stage, _row: &Row) -> Result<()> {
    let first = stage.accepted(&stage.update(15), stage.coa(1)).await?;
    let half = stage.update(16).lifetime(first.lifetime / 2);
    stage.accepted(&half, stage.coa(1)).await?;
    stage.is_bound(stage.coa(1)).await
}

/// A binding works until its end, and not longer.
pub async fn expire(stage: &Stage, row: &Row) -> Result<()> {
    let units = if row.get("units").is_some() { row.value("units")? } else { 8 };
    let update = stage.update(15).lifetime(units);
    let sent = Instant::now();
    stage.accepted(&update, stage.coa(1)).await?;
    let lifetime = Duration::from_secs(u64::from(units) * 4);
    // The binding began after `sent` and at most `slack` later.
    let slack = sent.elapsed();
    while sent.elapsed() + Duration::from_millis(1500) < lifetime {
        let at = sent.elapsed();
        let proof = stage.prove(stage.coa(1), stage.hoa).await?;
        ensure!(proof == Proof::Bound, "no binding any more {at:?} after the BU");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let end = lifetime + slack + Duration::from_millis(1500);
    tokio::time::sleep(end.saturating_sub(sent.elapsed())).await;
    stage.is_unbound(stage.coa(1)).await
}

/// The home prefix ends before the lifetime that is asked for.
pub async fn prefix_lifetime(stage: &Stage, _row: &Row) -> Result<()> {
    let ba = stage.register(&stage.update(15).lifetime(u16::MAX), stage.coa(1)).await?;
    // Status 1: the binding runs to the end of the prefix.
    ensure!(ba.status <= 1, "BA {}, expected 0 or 1", ba.status);
    let valid = stage.advertised_valid_lifetime().await?;
    ensure!(u32::from(ba.lifetime) * 4 <= valid, "BA lifetime {}, valid {valid} s", ba.lifetime);
    Ok(())
}

/// A home address outside the home prefix.
pub async fn not_home_subnet(stage: &Stage, row: &Row) -> Result<()> {
    let mut update = stage.update(15);
    if !row.has("a") {
        update.flags &= !flag::A;
    }
    let home = stage.foreign_home();
    let ba = stage.register_of(&update, stage.coa(1), home).await?;
    ensure!(ba.status == 132, "BA {}, expected 132", ba.status);
    let proof = stage.proof_of(stage.coa(1), home).await?;
    ensure!(proof == Proof::Unbound, "it is bound");
    Ok(())
}

/// Without protection, and under an association that does not exist.
pub async fn protection(stage: &Stage, _row: &Row) -> Result<()> {
    if let Some(peer) = &stage.esp {
        return esp_protection(stage, peer).await;
    }
    let (spi, key) = stage.association();
    stage.step().await;
    let clear = stage.update(15);
    let unknown = Update { association: Some((spi + 1, key)), ..stage.update(16) };
    for update in [&clear, &unknown] {
        stage.send(&stage.packet(update, stage.coa(1))).await?;
        stage.no_acknowledgement().await?;
        stage.is_unbound(stage.coa(1)).await?;
    }
    let right = Update { association: Some((spi, key)), ..stage.update(17) };
    stage.accepted(&right, stage.coa(1)).await.context("under the right association")?;
    stage.is_bound(stage.coa(1)).await
}

/// The same with ESP.
async fn esp_protection(stage: &Stage, peer: &Peer) -> Result<()> {
    stage.step().await;
    let clear = stage.packet(&stage.update(15), stage.coa(1));
    let forged = peer.forged(&stage.packet(&stage.update(16), stage.coa(1)))?;
    for packet in [&clear, &forged] {
        stage.lab.send(packet).await?;
        stage.no_acknowledgement().await?;
        stage.is_unbound(stage.coa(1)).await?;
    }
    stage.accepted(&stage.update(17), stage.coa(1)).await.context("under the right association")?;
    stage.is_bound(stage.coa(1)).await
}

/// A home registration with the option that belongs to correspondent registrations.
pub async fn with_nonce_indices(stage: &Stage, _row: &Row) -> Result<()> {
    stage.step().await;
    let update = stage.update(15).with(nonce_indices());
    stage.send(&stage.packet(&update, stage.coa(1))).await?;
    stage.no_acknowledgement().await?;
    stage.is_unbound(stage.coa(1)).await
}

/// A home address that cannot be one.
pub async fn bad_home_address(stage: &Stage, row: &Row) -> Result<()> {
    bound(stage, 15).await?;
    let home = match row.get("kind") {
        Some("link-local") => stage.link_local_home(),
        Some("multicast") => Ipv6Addr::new(0xff0e, 0, 0, 0, 0, 0, 0, 0x4191),
        other => bail!("kind {other:?}"),
    };
    let mut update = stage.update(16);
    if row.has("l") {
        update.flags |= flag::L;
    }
    stage.step().await;
    stage.send(&stage.packet_of(&update, stage.coa(2), home)).await?;
    stage.no_acknowledgement().await?;
    stage.is_bound(stage.coa(1)).await?;
    stage.is_unbound(stage.coa(2)).await
}

/// Two Binding Updates with these sequence numbers.
pub async fn sequence(stage: &Stage, row: &Row) -> Result<()> {
    let (first, second) = (row.value("first")?, row.value("second")?);
    bound(stage, first).await?;
    let mut update = stage.update(second).with(alternate(stage.coa(2)));
    if !row.has("a") {
        update.flags &= !flag::A;
    }
    if row.has("accepted") {
        stage.accepted(&update, stage.coa(2)).await?;
        stage.is_bound(stage.coa(2)).await?;
        return stage.is_unbound(stage.coa(1)).await;
    }
    let ba = stage.refused(&update, stage.coa(2), 135).await?;
    ensure!(ba.sequence == first, "BA 135 names sequence {}, expected {first}", ba.sequence);
    stage.is_unbound(stage.coa(2)).await?;
    stage.is_bound(stage.coa(1)).await
}

/// A de-registration from the care-of address or from the home link, of what is bound, not bound, or
/// with an old sequence number.
pub async fn deregister(stage: &Stage, row: &Row) -> Result<()> {
    let state = row.get("state").context("no state")?;
    if state != "unbound" {
        bound(stage, 15).await?;
    }
    let keeps = row.has("lifetime");
    let mut update = stage.update(if state == "stale" { 15 } else { 16 });
    update.lifetime = if keeps { 105 } else { 0 };
    if !row.has("a") {
        update.flags &= !flag::A;
    }
    // Without Home Address option and BID this is nothing that RFC 6275 section 10.3.1 takes, and it
    // may be dropped; only it must not end or make a binding.
    if keeps && !stage.is_router && row.get("hao") == Some("0") && state != "stale" {
        let refused = stage.register_from_home(&update, false).await.ok();
        let refused = refused.is_none_or(|ba| ba.status >= 128 && ba.lifetime == 0);
        ensure!(refused, "a BU from home without HAO and BID is accepted");
        let bound = stage.proof(stage.coa(1)).await? == Proof::Bound;
        ensure!(bound == (state == "bound"), "bound afterwards: {bound}");
        return Ok(());
    }
    let ba = if row.get("at") == Some("home") {
        let ba = stage.register_from_home(&update, row.has("hao")).await?;
        // It left by the forwarder that defends the link; the next packets go to the other one.
        tokio::time::sleep(SETTLING).await;
        ba
    } else {
        stage.register(&update, stage.coa(1)).await?
    };
    // For a mobile router RFC 3963 section 6.2 keeps the old rule: a care-of address that equals the
    // home address ends the binding.
    let ends = !keeps || stage.is_router;
    let expected = match (state, ends) {
        ("stale", _) => 135,
        (_, false) => 174,
        ("unbound", true) => 133,
        (_, true) => 0,
    };
    ensure!(ba.status == expected, "BA {}, expected {expected}", ba.status);
    ensure!(ba.lifetime == 0, "BA lifetime {}", ba.lifetime);
    if state == "bound" && ends || state == "unbound" {
        stage.is_unbound(stage.coa(1)).await?;
        return stage.not_tunnelled(stage.hoa).await;
    }
    stage.is_bound(stage.coa(1)).await?;
    stage.reached_at(stage.coa(1)).await
}

/// From a correspondent node to the care-of address, also after a move.
pub async fn downlink(stage: &Stage, row: &Row) -> Result<()> {
    bound(stage, 15).await?;
    stage.reached_at(stage.coa(1)).await?;
    if row.has("move") {
        stage.accepted(&stage.update(16), stage.coa(2)).await?;
        stage.reached_at(stage.coa(2)).await?;
    }
    Ok(())
}

/// A router on the path cannot deliver a tunnel packet (RFC 2473 section 8).
pub async fn tunnel_error(stage: &Stage, _row: &Row) -> Result<()> {
    bound(stage, 15).await?;
    let outer = stage.ping_through(stage.hoa).await?;
    stage.time_exceeded(&outer).await
}

/// Through the reverse tunnel, also after a move.
pub async fn uplink(stage: &Stage, row: &Row) -> Result<()> {
    bound(stage, 15).await?;
    stage.reversed(stage.coa(1), stage.hoa).await?;
    if row.has("move") {
        stage.accepted(&stage.update(16), stage.coa(2)).await?;
        stage.reversed(stage.coa(2), stage.hoa).await?;
    }
    Ok(())
}

/// Through a reverse tunnel from somewhere else.
pub async fn uplink_unbound(stage: &Stage, _row: &Row) -> Result<()> {
    bound(stage, 15).await?;
    stage.not_reversed(stage.coa(2), stage.hoa).await
}

/// A home test through the tunnel: HoTI up, or HoT down.
pub async fn home_test(stage: &Stage, row: &Row) -> Result<()> {
    bound(stage, 15).await?;
    let up = row.get("kind") == Some("hoti");
    home_test_through(stage, 1, up).await?;
    if row.has("move") {
        stage.accepted(&stage.update(16), stage.coa(2)).await?;
        home_test_through(stage, 2, up).await?;
    }
    Ok(())
}

/// A HoTI up from, or a HoT down to, care-of address number `n`.
///
/// # Errors
/// When it is not delivered.
pub async fn home_test_through(stage: &Stage, n: u16, up: bool) -> Result<()> {
    stage.step().await;
    let cookie = [0, 0, 1, 2, 3, 4, 5, 6, 7, u8::try_from(n)?];
    if up {
        let header = Mobility::new(1, &cookie, &[]).emit(stage.hoa, stage.cn());
        let inner = ipv6(stage.hoa, stage.cn(), protocol::MOBILITY, &header);
        let care_of = stage.coa(n);
        stage.send(&ipv6(care_of, stage.home.agent, protocol::IPV6, &inner)).await?;
        stage
            .receive("the HoTI at the correspondent node", PATIENCE, |packet| {
                let same = matches!(&packet.body, Body::Mobility(mh) if mh.kind == 1);
                (same && packet.source == IpAddr::V6(stage.hoa)).then_some(())
            })
            .await?;
        return Ok(());
    }
    let mut data = cookie.to_vec();
    data.extend([9; 8]);
    let header = Mobility::new(3, &data, &[]).emit(stage.cn(), stage.hoa);
    stage.send(&ipv6(stage.cn(), stage.hoa, protocol::MOBILITY, &header)).await?;
    let (_, outer) = stage
        .receive("the tunnelled HoT", PATIENCE, |packet| {
            let inner = packet.tunnelled()?;
            matches!(&inner.body, Body::Mobility(mh) if mh.kind == 3).then_some(())
        })
        .await?;
    let to = outer.destination;
    ensure!(to == IpAddr::V6(stage.coa(n)), "the HoT went to {to}");
    Ok(())
}
