//! Scripts and steps of dual stack (RFC 5555): tunnels over IPv4, in UDP and without, and IPv4 home
//! addresses.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result, ensure};

use super::cast::Cast;
use super::catalogue::Row;
use super::decode::{Acknowledgement, Body, Packet};
use super::packet::{
    Update, checksum, ipv4, ipv4_care_of, ipv4_home, ipv4_with, ipv6, ping, protocol, udp,
    udp_packet,
};
use super::stage::{PATIENCE, SILENCE, Stage};

/// The mobile node's end of a tunnel: `c1`; `v1` and `v1/5000` for UDP; `v1/ip` for IPv4 alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// IPv6.
    Ipv6(std::net::Ipv6Addr),
    /// UDP over IPv4.
    Udp(Ipv4Addr, u16),
    /// IPv4.
    Ipv4(Ipv4Addr),
}

impl End {
    /// Reads a word of the table.
    ///
    /// # Errors
    /// When it names no end.
    pub fn read(cast: &Cast, word: &str) -> Result<Self> {
        let (address, how) = word.split_once('/').unwrap_or((word, "4191"));
        match cast.address4(address) {
            Ok(address) if how == "ip" => Ok(Self::Ipv4(address)),
            Ok(address) => Ok(Self::Udp(address, how.parse()?)),
            Err(_) => Ok(Self::Ipv6(cast.address(word)?)),
        }
    }

    /// Where an outer packet ends.
    fn of(packet: &Packet) -> Option<Self> {
        match (packet.destination, &packet.body) {
            (IpAddr::V6(address), Body::Tunnel(_)) => Some(Self::Ipv6(address)),
            (IpAddr::V4(address), Body::Tunnel(_)) => Some(Self::Ipv4(address)),
            (IpAddr::V4(address), Body::Udp { destination, .. }) => {
                Some(Self::Udp(address, *destination))
            }
            _ => None,
        }
    }
}

/// What a packet of the correspondent node is for, or what sends one: an IPv6 or an IPv4 address.
fn inner(stage: &Stage, word: &str, up: bool, sequence: u16) -> Result<Vec<u8>> {
    if let Ok(home) = stage.address4(word) {
        let cn = stage.coa4(0);
        let mut message = vec![8, 0, 0, 0, 0x41, 0x91];
        message.extend(sequence.to_be_bytes());
        let sum = checksum(&[&message]);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let (from, to) = if up { (home, cn) } else { (cn, home) };
        return Ok(ipv4(from, to, protocol::ICMPV4, &message));
    }
    let address = stage.address(word)?;
    let (from, to) = if up { (address, stage.cn()) } else { (stage.cn(), address) };
    Ok(ping(from, to, 0x4192, sequence))
}

/// The same octets, apart from what a router changes.
fn same(got: &[u8], sent: &[u8]) -> bool {
    let changes: &[usize] = if sent[0] >> 4 == 4 { &[8, 10, 11] } else { &[7] };
    got.len() == sent.len()
        && (0..sent.len()).all(|at| changes.contains(&at) || got[at] == sent[at])
}

/// The correspondent node's packet comes to this end.
///
/// # Errors
/// When it does not.
pub async fn down(stage: &Stage, target: &str, end: End) -> Result<()> {
    stage.step().await;
    let sent = inner(stage, target, false, stage.next_echo().await)?;
    stage.send(&sent).await?;
    let read = |packet: &Packet| {
        let inner = packet.tunnelled()?;
        same(&inner.octets, &sent).then(|| End::of(packet))
    };
    let (to, packet) = stage.receive("the tunnelled packet", PATIENCE, read).await?;
    ensure!(to == Some(end), "tunnelled to {to:?}, expected {end:?}");
    let agent = if packet.source.is_ipv4() {
        IpAddr::V4(stage.home.agent4)
    } else {
        IpAddr::V6(stage.home.agent)
    };
    ensure!(packet.source == agent, "tunnelled from {}", packet.source);
    Ok(())
}

/// Nothing of the correspondent node's packet comes through a tunnel.
///
/// # Errors
/// When it does.
pub async fn stops(stage: &Stage, target: &str) -> Result<()> {
    stage.step().await;
    let sent = inner(stage, target, false, stage.next_echo().await)?;
    stage.send(&sent).await?;
    let is_it = |packet: &Packet| packet.tunnelled().is_some_and(|p| same(&p.octets, &sent));
    stage.silence(SILENCE, is_it).await
}

/// A packet from this end is delivered, or is dropped without a word.
///
/// # Errors
/// When it is not.
pub async fn up(stage: &Stage, end: End, source: &str, delivered: bool) -> Result<()> {
    stage.step().await;
    let sent = inner(stage, source, true, stage.next_echo().await)?;
    let next = if sent[0] >> 4 == 4 { protocol::IPV4 } else { protocol::IPV6 };
    let outer = match end {
        End::Ipv6(address) => ipv6(address, stage.home.agent, next, &sent),
        End::Ipv4(address) => ipv4(address, stage.home.agent4, next, &sent),
        End::Udp(address, port) => {
            udp_packet((address, port), (stage.home.agent4, stage.lab.udp_port), &sent)
        }
    };
    stage.send(&outer).await?;
    if delivered {
        let read = |packet: &Packet| same(&packet.octets, &sent).then_some(());
        stage.receive("the packet out of the tunnel", PATIENCE, read).await?;
        return Ok(());
    }
    let to = match end {
        End::Ipv6(address) => IpAddr::V6(address),
        End::Udp(address, _) | End::Ipv4(address) => IpAddr::V4(address),
    };
    stage.silence(SILENCE, |p| same(&p.octets, &sent) || p.destination == to).await
}

/// What an acknowledgement says about NAT and the IPv4 home address.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// NAT Detection: seconds, `u32::MAX` for no NAT.
    pub nat: Option<u32>,
    /// Its F flag.
    pub force: Option<bool>,
    /// IPv4 Address Acknowledgement: status, and the address when it matters.
    pub home4: Option<(u8, Option<Ipv4Addr>)>,
}

impl Expected {
    /// Takes a word of the table; false when it is for somebody else.
    ///
    /// # Errors
    /// When its value cannot be read.
    pub fn word(&mut self, cast: &Cast, word: &str) -> Result<bool> {
        let Some((name, value)) = word.split_once('=') else { return Ok(false) };
        match name {
            "nat" => self.nat = Some(if value == "none" { u32::MAX } else { value.parse()? }),
            "force" => self.force = Some(value == "1"),
            "home4" => {
                let (status, address) = value.split_once('/').unwrap_or((value, ""));
                let address = (!address.is_empty()).then(|| cast.address4(address)).transpose()?;
                self.home4 = Some((status.parse()?, address));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Compares.
    ///
    /// # Errors
    /// When it is not so.
    pub fn check(&self, ba: &Acknowledgement) -> Result<()> {
        if self.nat.is_some() || self.force.is_some() {
            let data = ba.option(31).context("no NAT Detection option")?;
            let [flags, _, refresh @ ..] = data else { anyhow::bail!("a short option 31") };
            let refresh: [u8; 4] = refresh.try_into().context("length of option 31")?;
            let refresh = u32::from_be_bytes(refresh);
            let is = self.nat.is_none_or(|nat| nat == refresh);
            ensure!(is, "NAT refresh {refresh}, expected {:?}", self.nat);
            let force = flags & 0x80 != 0;
            ensure!(self.force.is_none_or(|f| f == force), "NAT Detection F={force}");
        }
        let Some((status, address)) = self.home4 else {
            ensure!(
                ba.option(30).is_none(),
                "an IPv4 Address Acknowledgement that nobody asked for"
            );
            return Ok(());
        };
        let data = ba.option(30).context("no IPv4 Address Acknowledgement")?;
        let [got, prefix, a, b, c, d] = data else { anyhow::bail!("length of option 30") };
        ensure!(*got == status, "IPv4 Address Acknowledgement status {got}, expected {status}");
        ensure!(
            (prefix >> 2 == 0) == (status >= 128),
            "prefix length {} with {status}",
            prefix >> 2
        );
        let given = Ipv4Addr::new(*a, *b, *c, *d);
        ensure!(address.is_none_or(|address| address == given), "it gives {given}");
        ensure!(status >= 128 || !given.is_unspecified(), "it gives {given}");
        let place = |kind: u8| ba.options.iter().position(|(other, ..)| *other == kind);
        let before = place(35).is_none_or(|bid| place(30).is_some_and(|ack| ack < bid));
        ensure!(before, "option 30 stands behind a BID option (RFC 5648 section 8.2)");
        Ok(())
    }
}

/// Home addresses of a small pool, until there is none left.
pub async fn empty_pool(stage: &Stage, _row: &Row) -> Result<()> {
    let mut given = std::collections::BTreeSet::new();
    for n in 1..=8_u8 {
        let home = stage.other_home(n);
        let update = stage.update(1).with(ipv4_home(Ipv4Addr::UNSPECIFIED, 32, false));
        let ba = stage.register_of(&update, stage.coa(1), home).await?;
        ensure!(ba.status == 0, "BA {} for node {n}", ba.status);
        let data = ba.option(30).context("no IPv4 Address Acknowledgement")?.to_vec();
        match data[0] {
            0 => ensure!(given.insert(data[2..].to_vec()), "{:?} is given twice", &data[2..]),
            132 => {
                ensure!(!given.is_empty(), "none was ever given");
                let proof = stage.proof_of(stage.coa(1), home).await?;
                ensure!(
                    proof == super::stage::Proof::Bound,
                    "without an IPv4 home address, but unbound"
                );
                return Ok(());
            }
            other => anyhow::bail!("IPv4 Address Acknowledgement status {other}"),
        }
    }
    anyhow::bail!("eight addresses out of a pool of four")
}

/// Datagrams that are not quite as they should be.
pub async fn odd_datagrams(stage: &Stage, _row: &Row) -> Result<()> {
    let from = (stage.coa4(1), 4191);
    let to = (stage.home.agent4, stage.lab.udp_port);
    let inner = |sequence: u16| {
        let update = stage.update(sequence).with(ipv4_care_of(from.0));
        let header = update.header(stage.hoa, stage.home.agent, from.0.to_ipv6_mapped());
        ipv6(stage.hoa, stage.home.agent, protocol::MOBILITY, &header)
    };
    let whole = |datagram: &[u8], ttl: u8, options: &[u8]| {
        ipv4_with(from.0, to.0, protocol::UDP, ttl, options, datagram)
    };
    // The router and the forwarder's kernel take one each.
    let ways: [(&str, Vec<u8>, Option<bool>); 5] = [
        ("UDP checksum 0", whole(&udp(from, to, &inner(1), Some(0)), 64, &[]), None),
        (
            "a wrong UDP checksum",
            whole(&udp(from, to, &inner(2), Some(0x1234)), 64, &[]),
            Some(false),
        ),
        ("IPv4 options", whole(&udp(from, to, &inner(3), None), 64, &[1, 1, 1, 0]), Some(true)),
        ("TTL 1 on arrival", whole(&udp(from, to, &inner(4), None), 3, &[]), Some(true)),
        ("a fragment", first_fragment(&udp_packet(from, to, &inner(5))), Some(false)),
    ];
    for (sequence, (what, packet, answered)) in (1..).zip(ways) {
        stage.step().await;
        stage.send(&packet).await?;
        let read = |packet: &Packet| packet.acknowledgement().filter(|ba| ba.sequence == sequence);
        let answer = stage.receive("BA", SILENCE * 2, read).await;
        ensure!(answered.is_none_or(|a| a == answer.is_ok()), "{what}: answer {}", answer.is_ok());
    }
    // Nobody fell over it.
    let update = stage.update(9).with(ipv4_care_of(from.0));
    let ba = stage.register_udp(&update, from).await?;
    ensure!(ba.status == 0, "BA {} afterwards", ba.status);
    Ok(())
}

/// The first part of a packet that goes on in a fragment that is lost.
fn first_fragment(packet: &[u8]) -> Vec<u8> {
    let mut fragment = packet[..20 + 64].to_vec();
    fragment[2..4].copy_from_slice(&[0, 84]);
    fragment[6] = 0x20;
    fragment[10..12].fill(0);
    let sum = checksum(&[&fragment[..20]]);
    fragment[10..12].copy_from_slice(&sum.to_be_bytes());
    fragment
}

/// A Binding Update in UDP for another home address.
#[must_use]
pub fn update_in_udp(
    stage: &Stage,
    update: &Update,
    from: (Ipv4Addr, u16),
    home: std::net::Ipv6Addr,
) -> Vec<u8> {
    let header = update.header(home, stage.home.agent, from.0.to_ipv6_mapped());
    let inner = ipv6(home, stage.home.agent, protocol::MOBILITY, &header);
    udp_packet(from, (stage.home.agent4, stage.lab.udp_port), &inner)
}
