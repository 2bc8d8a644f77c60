//! The cases through the packet core.

use anyhow::{Context as _, Result, ensure};
use homeport_forwarding::{Action, Forwarding, Ingress};
use homeport_wire::{Ipv4Header, UdpHeader, protocol};

use super::digits::Open;
use super::format::{Case, Step, Verdict};

/// What the packet core does with each packet of a case is what the case says.
///
/// # Errors
/// The first difference.
pub fn run(case: &Case) -> Result<()> {
    let mut forwarding = case.forwarding()?;
    let mut open = Open::default();
    for (number, step) in case.steps.iter().enumerate() {
        let actions = handle(&mut forwarding, step);
        judge(step, &actions, &mut open).with_context(|| format!("packet {}", number + 1))?;
    }
    Ok(())
}

/// What the core does with a packet.
pub(super) fn handle(forwarding: &mut Forwarding, step: &Step) -> Vec<Action> {
    forwarding.handle(step.at, Ingress::Ip(&step.packet))
}

fn judge(step: &Step, actions: &[Action], open: &mut Open) -> Result<()> {
    let mut drops = Vec::new();
    let mut packets = Vec::new();
    for action in actions {
        let (verdict, to, packet) = match action {
            Action::Drop(reason) => {
                drops.push(reason.name());
                continue;
            }
            Action::SendIpv6(packet) | Action::SendIpv4(packet) => {
                (Verdict::Sent, None, packet.clone())
            }
            Action::SendUdp { .. } => (Verdict::Sent, None, in_udp(action)?),
            Action::Punt(punt) => (Verdict::Punted, None, punt.packet.clone()),
            Action::DeliverOnLink { next_hop, packet } => {
                (Verdict::Delivered, Some(*next_hop), packet.clone())
            }
        };
        packets.push((verdict, to, packet));
    }
    ensure!(drops == step.drops, "dropped for {drops:?}, not {:?}: {actions:02x?}", step.drops);
    ensure!(packets.len() == step.out.len(), "{} packets: {actions:02x?}", packets.len());
    for ((verdict, to, packet), wanted) in packets.iter().zip(&step.out) {
        let as_wanted = match step.verdict {
            Verdict::Answered => matches!(verdict, Verdict::Sent | Verdict::Delivered),
            other => *verdict == other,
        };
        ensure!(as_wanted && *to == step.to, "{verdict:?} to {to:?}, not {:?}", step.verdict);
        open.compare(wanted, packet)?;
        sound_checksum(packet)?;
    }
    let is_silent = packets.is_empty() && !drops.is_empty();
    ensure!(is_silent == (step.verdict == Verdict::Dropped), "{actions:02x?}");
    Ok(())
}

/// The datagram as the forwarder puts it on the wire.
fn in_udp(action: &Action) -> Result<Vec<u8>> {
    const TTL: u8 = 64;
    let Action::SendUdp { peer, local, dscp_ecn, whole_only, identification, payload } = action
    else {
        anyhow::bail!("no datagram")
    };
    let udp = UdpHeader { source_port: local.port(), destination_port: peer.port() };
    let datagram = udp.emit_v4(*local.ip(), *peer.ip(), payload);
    let mut packet = Vec::new();
    Ipv4Header {
        dscp_ecn: *dscp_ecn,
        total_len: u16::try_from(datagram.len() + Ipv4Header::LEN)?,
        identification: *identification,
        flags_fragment: if *whole_only { Ipv4Header::DONT_FRAGMENT } else { 0 },
        ttl: TTL,
        protocol: protocol::UDP,
        source: *local.ip(),
        destination: *peer.ip(),
    }
    .emit(&mut packet);
    packet.extend_from_slice(&datagram);
    Ok(packet)
}

/// The checksum of an outer IPv4 header, which a case leaves open with its identification: all words and
/// their carries sum up to ones (RFC 791 §3.1).
fn sound_checksum(packet: &[u8]) -> Result<()> {
    if packet.first().is_none_or(|first| first >> 4 != 4) {
        return Ok(());
    }
    let header = packet.get(..Ipv4Header::LEN).context("too short")?;
    let (words, _) = header.as_chunks::<2>();
    let sum: u32 = words.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum();
    ensure!((sum >> 16) + (sum & 0xffff) == 0xffff, "checksum of {header:02x?}");
    Ok(())
}
