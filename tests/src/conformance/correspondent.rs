//! The home agent as a correspondent node (RFC 6275 section 9, RFC 5648 section 6.2). The mobile node is one of
//! another home agent: its home address is that of the host which plays correspondent node elsewhere.
//! Tokens, keys and authenticators are made here from the RFC.

use std::net::{IpAddr, Ipv6Addr};

use anyhow::{Context as _, Result, ensure};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::{Digest as _, Sha1};

use super::catalogue::Row;
use super::decode::{Acknowledgement, Body, Packet};
use super::packet::{
    CareOf, Mobility, MobilityOption, bid, bid_with, bid6, flag, home_address_option, icmpv6, ipv6,
    option, ping, protocol,
};
use super::stage::{PATIENCE, SILENCE, Stage};

/// A Binding Update with H clear.
struct Update {
    sequence: u16,
    lifetime: u16,
    options: Vec<MobilityOption>,
    /// What the authenticator covers.
    covered: Ipv6Addr,
}

/// A nonce index and the token made with it.
#[derive(Clone, Copy)]
struct Token {
    index: [u8; 2],
    value: [u8; 8],
}

fn ensure_eq<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Result<()> {
    ensure!(found == expected, "{what}: {found:02x?}, expected {expected:02x?}");
    Ok(())
}

/// HoTI and HoT, or CoTI and CoT with the BID option of RFC 5648 section 5.2.
async fn test(stage: &Stage, address: Ipv6Addr, kind: u8, cookie: u8) -> Result<Token> {
    let mut data = vec![0, 0];
    data.extend([cookie; 8]);
    let named = if kind == 2 { vec![bid(7, CareOf::Absent)] } else { Vec::new() };
    let init = Mobility::new(kind, &data, &named).emit(address, stage.home.agent);
    stage.send(&ipv6(address, stage.home.agent, protocol::MOBILITY, &init)).await?;
    let read = |packet: &Packet| match &packet.body {
        Body::Mobility(mh) if mh.kind == kind + 2 && packet.destination == IpAddr::V6(address) => {
            Some(mh.data.clone())
        }
        _ => None,
    };
    let (data, packet) = stage.receive("a HoT or CoT", PATIENCE, read).await?;
    ensure_eq("source of the test", packet.source, IpAddr::V6(stage.home.agent))?;
    ensure_eq("cookie", data.get(2..10), Some(&[cookie; 8][..]))?;
    let copied = data.windows(4).any(|window| window == [35, 4, 0, 7]);
    ensure_eq("BID option copied", copied, kind == 2)?;
    let index = data.get(..2).and_then(|it| it.try_into().ok()).context("nonce index")?;
    let value = data.get(10..18).and_then(|it| it.try_into().ok()).context("token")?;
    Ok(Token { index, value })
}

fn key(home: Token, care_of: Option<Token>) -> [u8; 20] {
    let mut digest = Sha1::new().chain_update(home.value);
    if let Some(care_of) = care_of {
        digest = digest.chain_update(care_of.value);
    }
    digest.finalize().into()
}

fn authenticator(key: &[u8], care_of: Ipv6Addr, agent: Ipv6Addr, covered: &[u8]) -> [u8; 12] {
    let mut out = [0; 12];
    if let Ok(mac) = Hmac::<Sha1>::new_from_slice(key) {
        let mac = mac.chain_update(care_of.octets()).chain_update(agent.octets());
        out.copy_from_slice(&mac.chain_update(covered).finalize().into_bytes()[..12]);
    }
    out
}

impl Update {
    fn new(sequence: u16, covered: Ipv6Addr, options: Vec<MobilityOption>) -> Self {
        Self { sequence, lifetime: 100, options, covered }
    }

    fn packet(&self, stage: &Stage, from: Ipv6Addr, indices: [[u8; 2]; 2], key: &[u8]) -> Vec<u8> {
        let (home, agent) = (stage.cn(), stage.home.agent);
        let mut data = self.sequence.to_be_bytes().to_vec();
        data.extend(flag::A.to_be_bytes());
        data.extend(self.lifetime.to_be_bytes());
        let mut options = self.options.clone();
        options.push(MobilityOption { align: (2, 0), ..option(4, &indices.concat()) });
        // The authenticator must end the message on a multiple of eight octets.
        options.push(MobilityOption { align: (8, 2), ..option(5, &[0; 12]) });
        let mut header = Mobility::new(5, &data, &options);
        let unsigned = header.unsigned();
        let covered = &unsigned[..unsigned.len() - 12];
        let at = header.data.len() - 12;
        header.data[at..].copy_from_slice(&authenticator(key, self.covered, agent, covered));
        let header = header.emit(home, agent);
        let payload = home_address_option(home, protocol::MOBILITY, &header);
        ipv6(from, agent, protocol::DESTINATION_OPTIONS, &payload)
    }

    /// The answer, whose authenticator must be right where there is a key for it.
    async fn answered(
        &self,
        stage: &Stage,
        from: Ipv6Addr,
        (home, care_of): (Token, Option<Token>),
        is_authentic: bool,
    ) -> Result<Acknowledgement> {
        let key = key(home, care_of);
        let indices = [home.index, care_of.map_or([0; 2], |it| it.index)];
        stage.send(&self.packet(stage, from, indices, &key)).await?;
        let read = |packet: &Packet| {
            packet.acknowledgement().filter(|ba| ba.destination == IpAddr::V6(from))
        };
        let (ba, packet) = stage.receive("a BA", PATIENCE, read).await?;
        ensure_eq("routing header", ba.routing, Some(stage.cn()))?;
        ensure_eq("K and R", ba.flags, 0)?;
        let Some(received) = ba.option(5) else {
            ensure!(!is_authentic, "BA {} without authenticator", ba.status);
            return Ok(ba);
        };
        ensure!(is_authentic, "BA {} has an authenticator, of unknown nonces", ba.status);
        let mut covered = packet.octets[40 + 24..].to_vec();
        covered[4..6].fill(0);
        covered.truncate(covered.len() - 12);
        let expected = authenticator(&key, self.covered, stage.home.agent, &covered);
        ensure_eq("authenticator of the BA", received, &expected[..])?;
        Ok(ba)
    }
}

/// Where the home agent's echo reply to the home address goes.
async fn echo_comes_to(stage: &Stage, sequence: u16) -> Result<(IpAddr, Option<Ipv6Addr>)> {
    stage.send(&ping(stage.cn(), stage.home.agent, 6500, sequence)).await?;
    echo_reply(stage, sequence).await
}

async fn echo_reply(stage: &Stage, sequence: u16) -> Result<(IpAddr, Option<Ipv6Addr>)> {
    let read = |packet: &Packet| {
        let (kind, _, rest) = packet.icmpv6()?;
        let is_it = kind == 129 && rest.get(2..4) == Some(&sequence.to_be_bytes()[..]);
        is_it.then_some((packet.destination, packet.routing))
    };
    Ok(stage.receive("an Echo Reply", PATIENCE, read).await?.0)
}

async fn both(stage: &Stage, care_of: Ipv6Addr) -> Result<(Token, Option<Token>)> {
    let home = test(stage, stage.cn(), 1, 0x11).await?;
    Ok((home, Some(test(stage, care_of, 2, 0x22).await?)))
}

/// M65: a bulk registration is refused, the H flag of a BID option is ignored; and what belongs to it.
pub async fn registrations(stage: &Stage, _row: &Row) -> Result<()> {
    let (home, coa) = (stage.cn(), stage.coa(1));
    let tokens = both(stage, coa).await?;

    let bulk = Update::new(1, coa, vec![bid6(1, coa), bid6(2, stage.coa(2))]);
    let ba = bulk.answered(stage, coa, tokens, true).await.context("bulk")?;
    ensure_eq("bulk", (ba.status, ba.bid_statuses()), (168, vec![(1, 0), (2, 0)]))?;
    ensure_eq("not bound", echo_comes_to(stage, 1).await?, (IpAddr::V6(home), None))?;

    let with_h = Update::new(2, coa, vec![bid_with(1, 0, 0x80, CareOf::V6(coa))]);
    let ba = with_h.answered(stage, coa, tokens, true).await.context("H flag")?;
    ensure_eq("H flag ignored", (ba.status, ba.bid_statuses()), (0, vec![(1, 0)]))?;
    ensure_eq("lifetime", ba.lifetime, 100)?;
    ensure_eq("bound", echo_comes_to(stage, 2).await?, (IpAddr::V6(coa), Some(home)))?;
    home_address_option_is_believed(stage, 3).await?;

    // Another care-of address under another BID, by way of another front-end or the same.
    let other = stage.coa(2);
    let second = (tokens.0, Some(test(stage, other, 2, 0x33).await?));
    let more = Update::new(3, other, vec![bid6(2, other)]);
    ensure_eq("BID 2", more.answered(stage, other, second, true).await?.status, 0)?;

    let ba = more.answered(stage, other, second, true).await.context("the same again")?;
    ensure_eq("the same again", (ba.status, ba.sequence), (135, 3))?;
    refresh_and_delete(stage, tokens, second).await
}

async fn refresh_and_delete(
    stage: &Stage,
    tokens: (Token, Option<Token>),
    second: (Token, Option<Token>),
) -> Result<()> {
    let (home, coa, other) = (stage.cn(), stage.coa(1), stage.coa(2));
    let refresh = Update::new(4, other, vec![bid(2, CareOf::Absent)]);
    ensure_eq("refresh", refresh.answered(stage, other, second, true).await?.status, 0)?;
    let delete = |sequence, options| Update { lifetime: 0, ..Update::new(sequence, home, options) };
    let one = delete(5, vec![bid(2, CareOf::Absent)]);
    ensure_eq("BID 2 gone", one.answered(stage, other, (tokens.0, None), true).await?.status, 0)?;
    ensure_eq("BID 1 stays", echo_comes_to(stage, 4).await?, (IpAddr::V6(coa), Some(home)))?;
    let all = delete(6, Vec::new());
    ensure_eq("all gone", all.answered(stage, coa, (tokens.0, None), true).await?.status, 0)?;
    ensure_eq("unbound", echo_comes_to(stage, 5).await?, (IpAddr::V6(home), None))?;

    let used_up = Update::new(7, coa, vec![bid6(1, coa)]);
    let ba = used_up.answered(stage, coa, tokens, false).await.context("used up nonces")?;
    ensure_eq("used up nonces", ba.status, 138)?;
    refusals(stage, tokens).await
}

async fn refusals(stage: &Stage, (home, care_of): (Token, Option<Token>)) -> Result<()> {
    let coa = stage.coa(3);
    let care_of_index = care_of.map(|it| it.index);
    // 128 periods of thirty seconds back: expired for whoever's clock.
    let old = |index: [u8; 2]| (u16::from_be_bytes(index).wrapping_sub(128)).to_be_bytes();
    let index = care_of_index.context("a care-of nonce")?;
    let expired = Token { index: old(index), value: [0; 8] };
    let live = Token { index, value: [0; 8] };
    let update = Update::new(8, coa, vec![bid6(1, coa)]);
    for (tokens, status) in [
        ((expired, Some(live)), 136),
        ((home, Some(expired)), 137),
        ((expired, Some(expired)), 138),
    ] {
        let ba = update.answered(stage, coa, tokens, false).await?;
        ensure_eq("expired nonce", ba.status, status)?;
    }
    let forged = update.packet(stage, coa, [home.index, index], &[0; 20]);
    stage.send(&forged).await?;
    stage.silence(SILENCE, |packet| packet.acknowledgement().is_some()).await
}

/// A packet from the care-of address with the home address in an option, and the answer to it.
async fn home_address_option_is_believed(stage: &Stage, sequence: u16) -> Result<()> {
    let (home, coa, agent) = (stage.cn(), stage.coa(1), stage.home.agent);
    let rest = super::packet::echo(6500, sequence, b"conformance");
    let request = icmpv6(home, agent, 128, 0, &rest);
    let payload = home_address_option(home, protocol::ICMPV6, &request);
    stage.send(&ipv6(coa, agent, protocol::DESTINATION_OPTIONS, &payload)).await?;
    let came = echo_reply(stage, sequence).await?;
    ensure_eq("answer to a Home Address option", came, (IpAddr::V6(coa), Some(home)))
}
