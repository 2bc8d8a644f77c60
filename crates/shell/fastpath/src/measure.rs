//! What the program costs for each packet, and how its table bears changes: measured by test runs, without a
//! link.

use std::{
    collections::BTreeMap,
    net::Ipv6Addr,
    os::fd::AsFd,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use homeport_forwarding::{Fast, FastDown, Millis};
use homeport_wire::{PacketBuilder, encapsulate_v6, protocol};

use crate::{
    error::Error,
    line::Words,
    program::{FastPath, NextHop, Place, Settings},
    slots::Slots,
    system::{Mapped, monotonic_ms, test_run},
};

/// The home agent.
pub const AGENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0xffff, 0, 0, 1);
/// Whom the mobile nodes talk with.
pub const CORRESPONDENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 0x99);
/// Where the mobile nodes are, unless they move.
pub const CARE_OF: Ipv6Addr = care_of(1, 0);
/// Runs of one measurement, and measurements of which the best counts.
const RUNS: u32 = 1_000_000;
const ROUNDS: u32 = 5;
/// Home addresses that change while packets for them are looked at.
const CONTENDED: u32 = 16;
const XDP_REDIRECT: u32 = 4;

/// Nanoseconds for each packet, the giving of a home address and the taking back included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cost {
    /// Into the tunnel.
    pub encapsulation_ns: u32,
    /// Out of the tunnel, with the source check.
    pub decapsulation_ns: u32,
    /// Only giving an address.
    pub base_ns: u32,
}

/// What one writer did while one reader looked on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Contention {
    /// Lines written.
    pub updates: u64,
    /// In this time.
    pub lasted: Duration,
    /// Packets that were tunnelled meanwhile.
    pub reads: u64,
    /// Of those, packets with half of one care-of address and half of another.
    pub torn: u64,
}

/// Costs with so many home addresses, met at random.
///
/// # Errors
/// When the program cannot be loaded or does not do its work.
pub fn cost(home_addresses: u32) -> Result<Cost, Error> {
    let path = filled(home_addresses)?;
    let down = frame_for(1);
    let inner = plain(home(1), CORRESPONDENT);
    let up = frame(&encapsulate_v6(&inner, care_of(1, 0), AGENT, 64, 0, 0));
    let mut path = path;
    let mut best = |frame: &[u8], without: bool| -> Result<u32, Error> {
        let mut best = u32::MAX;
        for _ in 0..ROUNDS {
            path.set_measuring(home_addresses, without)?;
            let ran = path.measure(frame, RUNS)?;
            if ran.verdict != XDP_REDIRECT {
                return Err(failed("a measured packet was not sent"));
            }
            best = best.min(ran.mean_ns);
        }
        Ok(best)
    };
    Ok(Cost {
        encapsulation_ns: best(&down, false)?,
        decapsulation_ns: best(&up, false)?,
        base_ns: best(&down, true)?,
    })
}

/// Changes lines as fast as one thread can, for so long, while another looks at packets for them.
///
/// # Errors
/// As [`cost`].
pub fn contend(lasts: Duration) -> Result<Contention, Error> {
    let mut path = filled(CONTENDED)?;
    let program = path.program_fd()?;
    let lines: Vec<Words> = (0..2)
        .flat_map(|turn| (1..=CONTENDED).map(move |host| (host, turn)))
        .map(|(host, turn)| path.line_of(home(host), &fast(host, turn), 0))
        .collect();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let slots = path.slots_mut();
        let is_over = &is_over;
        let writer = scope.spawn(move || write_until(slots, &lines, is_over));
        let begun = Instant::now();
        let (mut reads, mut torn) = (0_u64, 0_u64);
        let mut output = [0; 256];
        let mut read = Ok(());
        let frames: Vec<_> = (1..=CONTENDED).map(frame_for).collect();
        for frame in frames.iter().cycle() {
            if begun.elapsed() >= lasts {
                break;
            }
            match test_run(program.as_fd(), frame, &mut output, 1) {
                Ok(ran) if ran.verdict == XDP_REDIRECT => {
                    reads += 1;
                    torn += u64::from(output[38 + 4..46] != output[46 + 4..54]);
                }
                Ok(_passed) => {}
                Err(source) => {
                    read = Err(Error::System { what: "run the XDP program", source });
                    break;
                }
            }
        }
        is_over.store(true, Ordering::Relaxed);
        let lasted = begun.elapsed();
        let updates = writer.join().map_err(|_panicked| failed("the writer ended early"))?;
        read.map(|()| Contention { updates, lasted, reads, torn })
    })
}

fn write_until(slots: &mut Slots<Mapped>, lines: &[Words], is_over: &AtomicBool) -> u64 {
    let mut updates = 0;
    while !is_over.load(Ordering::Relaxed) {
        for line in lines {
            updates += u64::from(slots.set(line).is_ok());
        }
    }
    updates
}

fn filled(home_addresses: u32) -> Result<FastPath, Error> {
    let mac = [2, 0, 0, 0, 0, 1];
    on_link(home_addresses, NextHop { interface: 1, mtu: 1500, destination: mac, source: mac })
}

/// The program with a table of so many home addresses, all of them behind one next hop.
///
/// # Errors
/// When the program cannot be loaded.
pub fn on_link(home_addresses: u32, hop: NextHop) -> Result<FastPath, Error> {
    let mut path = FastPath::load(home_addresses)?;
    path.set_places(BTreeMap::from([
        ((64, Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0)), Place::Served),
        ((0, Ipv6Addr::UNSPECIFIED), Place::Beyond(1)),
    ]))?;
    path.set_next_hop(1, hop)?;
    let agents = vec![AGENT];
    path.set_settings(Settings { on: true, agents, hop_limit: 64, look_at_care_of: false })?;
    for host in 1..=home_addresses {
        let set = path.set_home(home(host), Some(&fast(host, 0)), monotonic_ms());
        set.map_err(|_full| failed("the table is full"))?;
    }
    Ok(path)
}

fn fast(host: u32, turn: u32) -> Fast {
    let care_of = care_of(host, turn);
    Fast {
        until: Millis(u64::from(u32::MAX)),
        down: Some(FastDown { agent: AGENT, care_of, room: 1460 }),
        up: vec![(care_of, true)],
        up_is_all: true,
    }
}

/// The address of a mobile node; numbers are its last 32 bits.
#[must_use]
pub const fn home(host: u32) -> Ipv6Addr {
    let [a, b, c, d] = host.to_be_bytes();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0x100, high, low)
}

/// Where a mobile node is. Both halves say the same, so that halves of two can be told apart. With `turn` 0
/// all are at the same place, as a measurement of the way up needs it; there are 256 turns, and home
/// addresses below 2^24 - 2^20.
#[must_use]
pub const fn care_of(host: u32, turn: u32) -> Ipv6Addr {
    let half = if turn == 0 { 0x000a_0000 } else { (turn << 24).wrapping_add(0x000b_0000 + host) };
    let [a, b, c, d] = half.to_be_bytes();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    Ipv6Addr::new(0x2001, 0xdb8, high, low, 0x2001, 0xdb8, high, low)
}

/// A frame of a correspondent node for a mobile node.
#[must_use]
pub fn frame_for(host: u32) -> Vec<u8> {
    frame(&plain(CORRESPONDENT, home(host)))
}

fn plain(source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    let mut payload = [0; 46];
    payload[..4].copy_from_slice(&[0x14, 0xe9, 0, 53]);
    PacketBuilder::new(source, destination).build(protocol::UDP, &payload)
}

fn frame(packet: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd][..], packet].concat()
}

fn failed(what: &'static str) -> Error {
    Error::System { what, source: std::io::ErrorKind::InvalidData.into() }
}
