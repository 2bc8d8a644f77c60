//! Random tables and packets: mostly of the common case, and each rare case often enough.

use std::{collections::BTreeMap, net::Ipv6Addr};

use homeport_forwarding::{
    CareOf, Config, Flow, FlowAction, Forwarding, ForwardingBinding, HomeEntry, HomePrefix, Millis,
    MobileNetwork,
};
use homeport_wire::{
    Bid, BidPriority, BinarySelector, PacketBuilder, Selector, encapsulate_v6, protocol,
};
use rand::{Rng as _, RngCore, seq::IndexedRandom as _};

use crate::{
    differential::Planted,
    error::Error,
    program::{FastPath, NextHop, Place, Settings},
    system::monotonic_ms,
};

/// Octets of the longest frame that is made.
pub(super) const FRAME_LEN_MAX: usize = 1800;
/// Home addresses of a table.
const HOMES: u16 = 60;
const NOW: Millis = Millis(1_000_000);
const DAY_MS: u64 = 86_400_000;

const fn net(high: [u16; 4], host: u16) -> Ipv6Addr {
    Ipv6Addr::new(high[0], high[1], high[2], high[3], 0, 0, 0, host)
}
const PREFIX: [u16; 4] = [0x2001, 0xdb8, 0, 1];
const OTHER_PREFIX: [u16; 4] = [0x2001, 0xdb8, 0, 2];
const NETWORK: [u16; 4] = [0x2001, 0xdb8, 0x100, 0];
const AGENT: Ipv6Addr = net(PREFIX, 1);
const OTHER_AGENT: Ipv6Addr = net(OTHER_PREFIX, 1);

/// Numbers that look random (xorshift, as Marsaglia has it): cheap also without optimization.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        // Zero would stay zero.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
}

impl RngCore for Random {
    fn next_u32(&mut self) -> u32 {
        u32::try_from(self.next_u64() >> 32).unwrap_or(0)
    }

    fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn fill_bytes(&mut self, octets: &mut [u8]) {
        for chunk in octets.chunks_mut(8) {
            chunk.copy_from_slice(self.next_u64().to_ne_bytes().split_at(chunk.len()).0);
        }
    }
}

/// A table, what the program was told, and who sends.
pub(super) struct World {
    pub(super) forwarding: Forwarding,
    pub(super) now: Millis,
    clock_began_ms: u64,
    homes: Vec<(Ipv6Addr, Vec<Ipv6Addr>)>,
    moved: Option<Vec<Ipv6Addr>>,
}

impl World {
    pub(super) fn random(random: &mut Random) -> Self {
        let mut config = Config { follow_moves: true, ..Config::default() };
        config.last_used_breaks_ties = random.random_ratio(2, 3);
        config.path_mtu = *[1500, 1280, 1400, 9000].choose(random).unwrap_or(&1500);
        let mut forwarding = Forwarding::new(config);
        let table = forwarding.table_mut();
        for (high, agent) in [(PREFIX, AGENT), (OTHER_PREFIX, OTHER_AGENT)] {
            table.set_prefix(HomePrefix {
                prefix: net(high, 0),
                prefix_len: 64,
                home_agent: agent,
                home_agent_v4: None,
                pool_v4: None,
                real_home_link: random.random_ratio(1, 4),
            });
        }
        let mut homes = Vec::new();
        for host in 0..HOMES {
            let high = if random.random_ratio(1, 4) { OTHER_PREFIX } else { PREFIX };
            let home_address = net(high, 0x100 + host);
            let entry = entry(random, host, high == PREFIX);
            let care_ofs = entry.bindings.iter().filter_map(|binding| match binding.care_of {
                CareOf::V6(care_of) => Some(care_of),
                CareOf::V4 { .. } | CareOf::V4Direct(_) => None,
            });
            homes.push((home_address, care_ofs.collect()));
            // The table is far from full.
            if table.set_home(home_address, Some(entry)).is_err() {
                break;
            }
        }
        let clock_began_ms = monotonic_ms().saturating_sub(NOW.0);
        Self { forwarding, now: NOW, clock_began_ms, homes, moved: Some(Vec::new()) }
    }

    /// Tells the program, and plants a difference if one is wanted.
    pub(super) fn teach(
        &mut self,
        path: &mut FastPath,
        planted: Option<Planted>,
    ) -> Result<(), Error> {
        let served = |high, len| ((len, net(high, 0)), Place::Served);
        let beyond = |high, len, hop| ((len, net(high, 0)), Place::Beyond(hop));
        let mut places = BTreeMap::from([
            served(PREFIX, 64),
            served(OTHER_PREFIX, 64),
            beyond([0x2001, 0xdb8, 0xa, 0], 48, 1),
            beyond([0x2001, 0xdb8, 0xb, 0], 48, 2),
            beyond([0x2001, 0xdb8, 0xc, 0], 48, 3),
            beyond([0x2000, 0, 0, 0], 3, 4),
        ]);
        if planted != Some(Planted::UnknownNetwork) {
            let networks = self.forwarding.table().networks().into_iter();
            places.extend(networks.map(|it| ((it.prefix_len, it.prefix), Place::Served)));
        }
        path.set_places(places)?;
        for hop in 1..=4 {
            // The third is not known, the second leads over a narrow link.
            let interface = if hop == 3 { 0 } else { u32::from(hop) };
            let mtu = if hop == 2 { 1300 } else { 9000 };
            let (destination, source) = macs(hop);
            path.set_next_hop(hop, NextHop { interface, mtu, destination, source })?;
        }
        path.set_settings(Settings {
            on: true,
            agents: vec![AGENT, OTHER_AGENT],
            hop_limit: if planted == Some(Planted::HopLimit) { 63 } else { 64 },
            look_at_care_of: true,
        })?;
        let known: Vec<Ipv6Addr> = path.slots().homes().collect();
        for home_address in known {
            path.slots_mut().remove(home_address);
        }
        self.moved = None;
        self.follow(path);
        if planted == Some(Planted::StaleLines) {
            self.move_all();
        }
        Ok(())
    }

    /// Every mobile node moves, and only the core hears of it.
    fn move_all(&mut self) {
        for (home_address, care_ofs) in &mut self.homes {
            let care_of = net([0x2001, 0xdb8, 0xa, 7], 1);
            let binding = binding(None, CareOf::V6(care_of), DAY_MS);
            let entry = HomeEntry::new(AGENT, vec![binding]);
            if self.forwarding.table_mut().set_home(*home_address, Some(entry)).is_ok() {
                care_ofs.push(care_of);
            }
        }
    }

    /// Whether packets have changed a common case since the last [`Self::follow`].
    pub(super) fn moved(&mut self) -> bool {
        self.moved = self.forwarding.take_moved();
        self.moved.as_ref().is_none_or(|moved| !moved.is_empty())
    }

    /// Writes the lines of home addresses whose common case has changed.
    pub(super) fn follow(&mut self, path: &mut FastPath) {
        let all = || self.homes.iter().map(|(home_address, _)| *home_address).collect();
        for home_address in self.moved.take().unwrap_or_else(all) {
            let fast = self.forwarding.fast(self.now, home_address);
            // What has no place is passed, which the comparison sees.
            path.set_home(home_address, fast.as_ref(), self.clock_began_ms).unwrap_or_default();
        }
        self.moved = Some(Vec::new());
    }

    pub(super) fn link_header(&self, hop: u8) -> Vec<u8> {
        let (destination, source) = macs(hop);
        [&destination[..], &source, &[0x86, 0xdd]].concat()
    }

    /// A frame.
    pub(super) fn packet(&self, random: &mut Random) -> Vec<u8> {
        let mut packet = if random.random_ratio(1, 2) {
            let source = self.correspondent(random);
            let destination = self.destination(random);
            plain(random, source, destination)
        } else {
            self.tunnelled(random)
        };
        if random.random_ratio(1, 40) {
            spoil(random, &mut packet);
        }
        let mut frame = self.link_header(9);
        frame.extend_from_slice(&packet);
        frame.truncate(FRAME_LEN_MAX);
        frame
    }

    fn home(&self, random: &mut Random) -> (Ipv6Addr, &[Ipv6Addr]) {
        let home = self.homes.choose(random);
        home.map_or((AGENT, &[]), |(home_address, care_ofs)| (*home_address, care_ofs))
    }

    fn correspondent(&self, random: &mut Random) -> Ipv6Addr {
        match random.random_range(0..40) {
            0 => AGENT,
            1 => OTHER_AGENT,
            2 => self.home(random).0,
            3 => odd_address(random),
            host => net([0x2001, 0xdb8, 0xf, 0], host),
        }
    }

    fn destination(&self, random: &mut Random) -> Ipv6Addr {
        match random.random_range(0..30) {
            0 => AGENT,
            1 => net(PREFIX, random.random_range(0x90..0x200)),
            2 => odd_address(random),
            3 => net([0x2001, 0xdb8, 0x100, random.random_range(0..HOMES)], 5),
            4 => Ipv6Addr::from_bits(net(PREFIX, 0).to_bits() | 0xfdff_ffff_ffff_fffe),
            5 => net([0x2001, 0xdb8, 0xf, 0], 1),
            _ => self.home(random).0,
        }
    }

    fn tunnelled(&self, random: &mut Random) -> Vec<u8> {
        let (home_address, care_ofs) = self.home(random);
        let source = match random.random_range(0..20) {
            0 => self.home(random).1.first().copied(),
            1 => Some(odd_address(random)),
            2 => Some(AGENT),
            3 => Some(net([0x2001, 0xdb8, 0xa, 0], random.random_range(0..400))),
            _ => care_ofs.choose(random).copied(),
        };
        let source = source.unwrap_or_else(|| net([0x2001, 0xdb8, 0xa, 0], 1));
        let inner_source = match random.random_range(0..20) {
            0 => self.correspondent(random),
            1 => net([0x2001, 0xdb8, 0x100, random.random_range(0..HOMES)], 5),
            _ => home_address,
        };
        let inner_destination = match random.random_range(0..20) {
            0 => self.destination(random),
            1 => odd_address(random),
            2 => net([0x2001, 0xdb8, 0x100, random.random_range(0..HOMES)], 5),
            host => {
                let third = *[0xa, 0xb, 0xf, 0xf, 0xf, 0xc].choose(random).unwrap_or(&0xf);
                net([0x2001, 0xdb8, third, 0], host)
            }
        };
        let inner = plain(random, inner_source, inner_destination);
        let agent = *[AGENT, AGENT, AGENT, OTHER_AGENT].choose(random).unwrap_or(&AGENT);
        let label = random.random_range(0..1 << 20);
        let hop_limit = *[64, 1, 0, 255].choose(random).unwrap_or(&64);
        encapsulate_v6(&inner, source, agent, hop_limit, random.random(), label)
    }
}

fn macs(hop: u8) -> ([u8; 6], [u8; 6]) {
    ([2, 0, 0, 0, 0, hop], [2, 0, 0, 0, 1, hop])
}

fn binding(bid: Option<Bid>, care_of: CareOf, left_ms: u64) -> ForwardingBinding {
    ForwardingBinding {
        bid,
        care_of,
        priority: BidPriority::UNSET,
        verified: 1,
        ends: Millis(NOW.0.saturating_add(left_ms)),
        lifetime_ms: left_ms,
        home: false,
        unverified: false,
    }
}

fn entry(random: &mut Random, host: u16, of_first: bool) -> HomeEntry {
    let count = *[0_u16, 1, 1, 1, 1, 1, 2, 2, 3, 4].choose(random).unwrap_or(&1);
    let bindings: Vec<_> = (0..count)
        .map(|index| {
            let care_of = care_of(random, host);
            let bid = (count > 1 || random.random_ratio(1, 2)).then_some(Bid(index + 1));
            let mut binding = binding(bid, care_of, DAY_MS);
            match random.random_range(0..20) {
                // Ended.
                0 => binding.ends = Millis(NOW.0 - 50_000),
                // Near its end.
                1 => binding.ends = Millis(NOW.0 + 900_000),
                2 => binding.lifetime_ms = 0,
                3 => binding.home = true,
                _ => {}
            }
            binding.verified = random.random_range(1..4);
            binding.priority = BidPriority::new(*[0, 0, 1, 2].choose(random).unwrap_or(&0));
            binding
        })
        .collect();
    let agent = if of_first || random.random_ratio(1, 5) { AGENT } else { OTHER_AGENT };
    let mut entry = HomeEntry::new(agent, bindings);
    if random.random_ratio(1, 10) {
        let prefix = net([NETWORK[0], NETWORK[1], NETWORK[2], host], 0);
        entry.networks.push(MobileNetwork { prefix, prefix_len: 64 });
    }
    if random.random_ratio(1, 20) {
        let action = if random.random_ratio(1, 3) {
            FlowAction::Discard
        } else {
            FlowAction::Forward(vec![Bid(1)])
        };
        let selector = BinarySelector::Ipv6(Selector::ANY);
        entry.flows.push(Flow { fid: 1, priority: 1, selector, action });
    }
    entry
}

fn care_of(random: &mut Random, host: u16) -> CareOf {
    let third = *[0xa, 0xa, 0xa, 0xb, 0xc].choose(random).unwrap_or(&0xa);
    CareOf::V6(match random.random_range(0..120) {
        0 => return CareOf::V4 { address: [203, 0, 113, 9].into(), port: 40_001 },
        1 => return CareOf::V4Direct([203, 0, 113, 9].into()),
        // At the home link, in a mobile network, at another's home address, at the home agent.
        2 => net(PREFIX, 0x4000 + host),
        3 => net([0x2001, 0xdb8, 0x100, random.random_range(0..HOMES)], 9),
        4 => net(PREFIX, 0x100 + random.random_range(0..HOMES)),
        5 => AGENT,
        6 => odd_address(random),
        _ => net([0x2001, 0xdb8, third, random.random_range(0..3)], host),
    })
}

/// An address with a meaning.
fn odd_address(random: &mut Random) -> Ipv6Addr {
    let texts = [
        "::",
        "::1",
        "::203.0.113.9",
        "::ffff:203.0.113.9",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
        "fe00::1",
        "fd00::1",
        "100::1",
        "2002::1",
        "0:0:0:1::1",
    ];
    let text = texts.choose(random).copied().unwrap_or("::1");
    text.parse().unwrap_or(Ipv6Addr::LOCALHOST)
}

fn plain(random: &mut Random, source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    let upper = [
        protocol::UDP,
        protocol::UDP,
        protocol::TCP,
        protocol::TCP,
        protocol::ESP,
        protocol::ICMPV6,
        protocol::ICMPV6,
        protocol::NO_NEXT,
        protocol::FRAGMENT,
        protocol::HOP_BY_HOP,
        protocol::DESTINATION_OPTIONS,
        protocol::ROUTING,
        protocol::IPV6,
        protocol::IPV4,
        protocol::MOBILITY,
        protocol::AH,
    ];
    let upper = *upper.choose(random).unwrap_or(&protocol::UDP);
    let len = match random.random_range(0..10) {
        0..5 => random.random_range(0..64),
        5..7 => random.random_range(1150..1300),
        7 => random.random_range(1300..1480),
        _ => random.random_range(64..600),
    };
    let mut payload = vec![0; len];
    let head = len.min(16);
    random.fill(&mut payload[..head]);
    if upper == protocol::ICMPV6 && !payload.is_empty() {
        payload[0] = random.random_range(126..140);
    }
    let mut packet = PacketBuilder::new(source, destination).build(upper, &payload);
    if let [first, second, third, fourth, _, _, _, hop_limit, ..] = packet.as_mut_slice() {
        *first = 0x60 | random.random_range(0..16);
        *second = random.random();
        *third = random.random();
        *fourth = random.random();
        *hop_limit = *[64, 64, 64, 64, 64, 64, 64, 255, 255, 2, 1, 0].choose(random).unwrap_or(&64);
    }
    packet
}

/// Makes a packet another one, or none.
fn spoil(random: &mut Random, packet: &mut Vec<u8>) {
    match random.random_range(0..5) {
        0 => packet.truncate(random.random_range(0..packet.len().max(1))),
        1 => packet.extend_from_slice(&[0; 6]),
        _ => {
            let at = random.random_range(0..packet.len().clamp(1, 88));
            if let Some(octet) = packet.get_mut(at) {
                *octet = random.random();
            }
        }
    }
}
