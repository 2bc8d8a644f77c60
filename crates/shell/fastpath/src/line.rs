//! One home address in one cache line: `struct line` of `bpf/fastpath.c`.
//!
//! ```text
//!  0: home address 16          24: room u16 | reserved u16   32: care-of address 16
//! 16: sequence u32             28: until u32                 48: care-of address 16
//! 20: flags u8 | agent u8 | next hop u8 | reserved u8
//! ```
//!
//! Numbers are in the machine's order, addresses as in the packet.

use std::net::Ipv6Addr;

use homeport_forwarding::Fast;

/// Words of a line.
pub const LINE_WORDS: usize = 8;

/// The line without its sequence number.
pub type Words = [u64; LINE_WORDS];

const DOWN: u8 = 1;
const UP: [u8; 2] = [2, 4];
const ALL: u8 = 8;
const KNOWN: [u8; 2] = [16, 32];

/// What a line needs to know beside the common case itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Surroundings {
    /// Place of the home agent's address among those of the program; `None`: it has none.
    pub agent: Option<u8>,
    /// Place of the next hop towards the care-of address; `None`: there is no route.
    pub hop: Option<u8>,
    /// `CLOCK_MONOTONIC` when the clock of [`homeport_forwarding::Millis`] began, milliseconds.
    pub clock_began_ms: u64,
}

/// Writes the common case of a home address down. Less than it says fits a line; what does not is
/// left to the portable path.
#[must_use]
pub fn compile(home_address: Ipv6Addr, fast: &Fast, around: Surroundings) -> Words {
    let mut flags = if fast.up_is_all { ALL } else { 0 };
    let mut care_ofs = [Ipv6Addr::UNSPECIFIED; 2];
    for (place, (care_of, may)) in fast.up.iter().take(care_ofs.len()).enumerate() {
        care_ofs[place] = *care_of;
        flags |= if *may { UP[place] } else { KNOWN[place] };
    }
    if fast.up.len() > care_ofs.len() {
        flags &= !ALL;
    }
    let mut room = 0;
    if let (Some(down), Some(_), Some(_)) = (fast.down, around.agent, around.hop)
        && down.care_of == care_ofs[0]
    {
        flags |= DOWN;
        room = down.room;
    }
    let mut octets = [0; 64];
    octets[..16].copy_from_slice(&home_address.octets());
    octets[20] = flags;
    octets[21] = around.agent.unwrap_or_default();
    octets[22] = around.hop.unwrap_or_default();
    octets[24..26].copy_from_slice(&room.to_ne_bytes());
    let until = until(fast.until.0.saturating_add(around.clock_began_ms));
    octets[28..32].copy_from_slice(&until.to_ne_bytes());
    octets[32..48].copy_from_slice(&care_ofs[0].octets());
    octets[48..].copy_from_slice(&care_ofs[1].octets());
    let (words, _) = octets.as_chunks::<8>();
    let mut line = Words::default();
    for (word, octets) in line.iter_mut().zip(words) {
        *word = u64::from_ne_bytes(*octets);
    }
    line
}

/// Milliseconds in units of 2^26 ns, rounded down: a line rather ends 67 ms early than late. The
/// program's clock may be a tick behind, which one more unit covers.
pub(crate) fn until(ms: u64) -> u32 {
    let units = (u128::from(ms) * 1_000_000) >> 26;
    u32::try_from(units.saturating_sub(1)).unwrap_or(u32::MAX)
}

/// The next hop that packets for the home address of a line take.
pub(crate) fn down_hop(words: &Words) -> Option<u8> {
    let [.., flags, _agent, hop, _] = words[2].to_ne_bytes();
    (flags & DOWN != 0).then_some(hop)
}

/// The care-of address that packets come from while those from another one are looked at first: of two
/// bindings that are equal it is the one that data came through last.
pub(crate) fn used_last(words: &Words) -> Option<Ipv6Addr> {
    let flags = words[2].to_ne_bytes()[4];
    let at = match (flags & (UP[0] | KNOWN[0]), flags & (UP[1] | KNOWN[1])) {
        (first, second) if first == UP[0] && second == KNOWN[1] => 4,
        (first, second) if first == KNOWN[0] && second == UP[1] => 6,
        _ => return None,
    };
    let mut octets = [0; 16];
    octets[..8].copy_from_slice(&words[at].to_ne_bytes());
    octets[8..].copy_from_slice(&words[at + 1].to_ne_bytes());
    Some(Ipv6Addr::from(octets))
}

/// The home address of a line; `None` for a free one.
#[must_use]
pub fn home_of(words: &Words) -> Option<Ipv6Addr> {
    let mut octets = [0; 16];
    octets[..8].copy_from_slice(&words[0].to_ne_bytes());
    octets[8..].copy_from_slice(&words[1].to_ne_bytes());
    let home_address = Ipv6Addr::from(octets);
    (!home_address.is_unspecified()).then_some(home_address)
}

#[cfg(test)]
mod tests {
    use homeport_forwarding::{FastDown, Millis};

    use super::*;

    fn address(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    fn fast() -> Fast {
        let care_of = address("2001:db8:a::11");
        Fast {
            until: Millis(60_000),
            down: Some(FastDown { agent: address("2001:db8:0:1::1"), care_of, room: 1460 }),
            up: vec![(care_of, true), (address("2001:db8:b::11"), false)],
            up_is_all: true,
        }
    }

    const AROUND: Surroundings =
        Surroundings { agent: Some(3), hop: Some(7), clock_began_ms: 1_000_000 };

    fn octets(words: &Words) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    #[test]
    fn every_field_has_its_place() {
        let line = octets(&compile(address("2001:db8:0:1::100"), &fast(), AROUND));
        assert_eq!(line[..16], address("2001:db8:0:1::100").octets());
        assert_eq!(line[16..20], [0; 4], "the sequence number is the writer's");
        assert_eq!(line[20..24], [DOWN | UP[0] | KNOWN[1] | ALL, 3, 7, 0]);
        assert_eq!(line[24..26], 1460_u16.to_ne_bytes());
        let units = u32::from_ne_bytes(line[28..32].try_into().unwrap());
        let ends_ms = (u64::from(units) << 26) / 1_000_000;
        assert!((1_059_800..1_060_000).contains(&ends_ms), "{ends_ms}");
        assert_eq!(line[32..48], address("2001:db8:a::11").octets());
        assert_eq!(line[48..], address("2001:db8:b::11").octets());
        let words = compile(address("2001:db8:0:1::100"), &fast(), AROUND);
        assert_eq!(down_hop(&words), Some(7));
        let around = Surroundings { agent: None, ..AROUND };
        assert_eq!(down_hop(&compile(address("2001:db8:0:1::100"), &fast(), around)), None);
    }

    #[test]
    fn without_agent_or_route_the_way_down_is_left_out() {
        for around in [Surroundings { agent: None, ..AROUND }, Surroundings { hop: None, ..AROUND }]
        {
            let line = octets(&compile(address("2001:db8:0:1::100"), &fast(), around));
            assert_eq!(line[20], UP[0] | KNOWN[1] | ALL);
        }
    }

    #[test]
    fn what_does_not_fit_is_not_claimed_to_be_all() {
        let mut fast = fast();
        fast.up.push((address("2001:db8:c::11"), true));
        let line = octets(&compile(address("2001:db8:0:1::100"), &fast, AROUND));
        assert_eq!(line[20] & ALL, 0);
    }

    #[test]
    fn a_line_without_end_lasts_as_long_as_the_clock() {
        assert_eq!(until(u64::MAX), u32::MAX);
        assert_eq!(until(0), 0);
    }
}
