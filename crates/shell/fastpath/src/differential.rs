//! The program beside the packet core: random tables, random packets, the same answers.
//!
//! A packet that the program sends must leave octet for octet as the core sends it, and the core must have
//! nothing else to do about it; what it drops the core must drop for the same reason; what it passes must be
//! untouched.

mod world;

use std::net::Ipv6Addr;

use crate::{error::Error, program::FastPath};
use homeport_forwarding::{Action, DropReason, Ingress};
use world::{FRAME_LEN_MAX, Random, World};

/// Packets for one table.
const PACKETS_PER_TABLE: u64 = 2_000;
/// Octets of the Ethernet header.
const ETHERNET_LEN: usize = 14;
/// Mismatches that are described.
const DESCRIBED_MAX: usize = 5;

/// A difference that is made on purpose, to see that it is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Planted {
    /// The program puts another hop limit on outer headers.
    HopLimit,
    /// A binding changes, and the line of its home address stays as it was.
    StaleLines,
    /// A network begins to be served, and the program is not told.
    UnknownNetwork,
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// Packets compared.
    pub packets: u64,
    /// Packets that the program sent.
    pub sent: u64,
    /// Packets that it dropped.
    pub dropped: u64,
    /// Packets that it left to the core.
    pub passed: u64,
    /// Packets that the core sends as the program could have, of those that it passed.
    pub missed: u64,
    /// Packets about which they differ.
    pub mismatches: u64,
    /// Some of those, described.
    pub described: Vec<String>,
}

/// Compares `packets` packets that `seed` decides.
///
/// # Errors
/// When the program cannot be loaded or run.
pub fn run(packets: u64, seed: u64, planted: Option<Planted>) -> Result<Outcome, Error> {
    let mut path = FastPath::load(1024)?;
    let mut random = Random::new(seed);
    let mut outcome = Outcome::default();
    let mut output = vec![0; FRAME_LEN_MAX + 64];
    while outcome.packets < packets {
        let mut world = World::random(&mut random);
        world.teach(&mut path, planted)?;
        for _ in 0..PACKETS_PER_TABLE.min(packets - outcome.packets) {
            let frame = world.packet(&mut random);
            outcome.packets += 1;
            if let Err(difference) =
                compare(&mut path, &mut world, &frame, &mut output, &mut outcome)?
            {
                outcome.mismatches += 1;
                if outcome.described.len() < DESCRIBED_MAX {
                    outcome.described.push(format!("{difference}\nframe {:02x?}", head(&frame)));
                }
            }
            if planted != Some(Planted::StaleLines) {
                world.follow(&mut path);
            }
        }
    }
    Ok(outcome)
}

/// Headers, without the payload.
fn head(octets: &[u8]) -> &[u8] {
    octets.get(..110).unwrap_or(octets)
}

fn compare(
    path: &mut FastPath,
    world: &mut World,
    frame: &[u8],
    output: &mut [u8],
    outcome: &mut Outcome,
) -> Result<Result<(), String>, Error> {
    const XDP_DROP: u32 = 1;
    const XDP_PASS: u32 = 2;
    const XDP_REDIRECT: u32 = 4;
    let ran = path.test_run(frame, output, 1)?;
    let output = output.get(..ran.len).unwrap_or_default();
    let packet = frame.get(ETHERNET_LEN..).unwrap_or_default();
    let actions = world.forwarding.handle(world.now, Ingress::Ip(packet));
    let moved = world.moved();
    Ok(match ran.verdict {
        XDP_PASS => {
            outcome.passed += 1;
            let single = matches!(actions.as_slice(), [Action::SendIpv6(_)]);
            outcome.missed += u64::from(single && !moved);
            (output == frame)
                .then_some(())
                .ok_or_else(|| format!("passed, but changed: {output:02x?}"))
        }
        XDP_DROP => {
            outcome.dropped += 1;
            match actions.as_slice() {
                [
                    Action::Drop(DropReason::TunnelSourceNotBound | DropReason::CongestionMarkLost),
                ] => Ok(()),
                other => Err(format!("dropped, but the core says {other:02x?}")),
            }
        }
        XDP_REDIRECT => {
            outcome.sent += 1;
            if moved {
                return Ok(Err("sent, but the core has learned from it".to_owned()));
            }
            sent_as(path, world, output, &actions)
        }
        other => Err(format!("verdict {other}")),
    })
}

fn sent_as(
    path: &FastPath,
    world: &World,
    output: &[u8],
    actions: &[Action],
) -> Result<(), String> {
    let [Action::SendIpv6(expected)] = actions else {
        return Err(format!("sent, but the core says {actions:02x?}"));
    };
    let (link, packet) = output.split_at_checked(ETHERNET_LEN).unwrap_or_default();
    if packet != expected {
        return Err(format!("sent {:02x?}\ncore {:02x?}", head(packet), head(expected)));
    }
    let destination = packet.get(24..40).and_then(|octets| <[u8; 16]>::try_from(octets).ok());
    let hop = destination.and_then(|address| path.hop_towards(Ipv6Addr::from(address)));
    let hop = hop.ok_or("sent, but there is no route")?;
    let expected = world.link_header(hop);
    (link == expected).then_some(()).ok_or_else(|| format!("to {link:02x?}, not {expected:02x?}"))
}
