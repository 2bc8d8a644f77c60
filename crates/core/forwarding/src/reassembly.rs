//! Packets that come to the home agent in fragments (RFC 8200 §4.5, RFC 791 §3.2): bounded in
//! number, octets and time, and nothing that overlaps (RFC 5722).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use homeport_wire::{Ipv4Header, Ipv6Header, Walk, protocol};

use crate::entry::Millis;
use crate::forwarding::Via;
use crate::limits::{
    FRAGMENTS_AGE_MS, FRAGMENTS_PER_PACKET_MAX, REASSEMBLIES_MAX, REASSEMBLY_OCTETS_MAX,
};
use crate::packet::{Packet, PacketV4, rewrite_checksum_v4};
use crate::reason::DropReason;
use crate::selector::FragmentedPacket;

/// IP packets are no longer.
const PACKET_OCTETS_MAX: usize = 65_535;

/// Fragments of one packet must come the same way: what came out of a tunnel was checked there, and
/// is not completed by what somebody else sends.
type Key = (Via, FragmentedPacket);

/// The fragments that wait for others.
#[derive(Default, Debug)]
pub(crate) struct Reassembly {
    waiting: BTreeMap<Key, Waiting>,
    /// The keys in the order in which they began.
    by_age: BTreeMap<u64, Key>,
    begun: u64,
    octets: usize,
}

#[derive(Debug)]
struct Waiting {
    place: u64,
    until: Millis,
    /// By offset.
    pieces: BTreeMap<usize, Vec<u8>>,
    /// Known once the last fragment is there.
    len: Option<usize>,
    /// What goes before the pieces, from the first fragment: headers, as they were there.
    head: Option<Vec<u8>>,
    octets: usize,
    /// Congestion marks of all fragments, a bit for each of the four code points.
    marks: u8,
}

/// One fragment, taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fragment<'p> {
    pub(crate) packet: FragmentedPacket,
    offset: usize,
    more: bool,
    /// The headers before the fragment's data, and with the data what is kept of the first one.
    head: &'p [u8],
    data: &'p [u8],
    traffic_class: u8,
}

/// What became of a fragment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Fitted {
    /// It waits for others.
    Waits,
    /// It was the last that was missing: head and data.
    Whole(Vec<u8>, Vec<u8>, u8),
    /// It and the others are gone.
    Refused(DropReason),
}

impl<'p> Fragment<'p> {
    /// Of an IPv6 packet whose walk ends at a Fragment header. The error is the place that a
    /// Parameter Problem points at (RFC 8200 §4.5), or `None` when it is cut off.
    pub(crate) fn v6(packet: Packet<'p>, walk: &Walk<'p>) -> Result<Self, Option<usize>> {
        const PAYLOAD_LEN_OFFSET: usize = 4;
        const OFFSET_OFFSET: usize = 2;
        let ([_, _, high, low, id @ ..], data) =
            walk.payload.split_first_chunk::<8>().ok_or(None)?;
        let field = u16::from_be_bytes([*high, *low]);
        let fragment = Self {
            packet: FragmentedPacket {
                source: walk.header.source.into(),
                destination: walk.header.destination.into(),
                identification: u32::from_be_bytes(*id),
                protocol: 0,
            },
            offset: usize::from(field & !7),
            more: field & 1 != 0,
            head: packet.octets.get(..walk.upper_offset).unwrap_or_default(),
            data,
            traffic_class: walk.header.traffic_class,
        };
        if fragment.more && data.len() & 7 != 0 {
            return Err(Some(PAYLOAD_LEN_OFFSET));
        }
        if fragment.end() > PACKET_OCTETS_MAX {
            return Err(Some(walk.upper_offset.saturating_add(OFFSET_OFFSET)));
        }
        Ok(fragment)
    }

    /// Of an IPv4 packet; `None` when it cannot be part of one.
    pub(crate) fn v4(packet: &PacketV4<'p>) -> Option<Self> {
        const MORE_FRAGMENTS: u16 = 0x2000;
        const OFFSET: u16 = 0x1fff;
        let header_len = packet.octets.len().saturating_sub(packet.payload.len());
        let units = usize::from(packet.header.flags_fragment & OFFSET);
        let fragment = Self {
            packet: FragmentedPacket {
                source: packet.header.source.into(),
                destination: packet.header.destination.into(),
                identification: packet.header.identification.into(),
                protocol: packet.header.protocol,
            },
            offset: units.saturating_mul(8),
            more: packet.header.flags_fragment & MORE_FRAGMENTS != 0,
            head: packet.octets.get(..header_len).unwrap_or_default(),
            data: packet.payload,
            traffic_class: packet.header.dscp_ecn,
        };
        let possible = !(fragment.more && fragment.data.len() & 7 != 0)
            && fragment.end().saturating_add(header_len) <= PACKET_OCTETS_MAX;
        possible.then_some(fragment)
    }

    const fn end(&self) -> usize {
        self.offset.saturating_add(self.data.len())
    }

    /// A whole packet that only looks like a fragment (RFC 6946): no others are waited for.
    const fn is_atomic(&self) -> bool {
        self.offset == 0 && !self.more
    }
}

impl Reassembly {
    /// Takes a fragment.
    pub(crate) fn take(&mut self, now: Millis, via: Via, fragment: &Fragment<'_>) -> Fitted {
        if fragment.is_atomic() {
            let (head, data) = (fragment.head.to_vec(), fragment.data.to_vec());
            return Fitted::Whole(head, data, fragment.traffic_class);
        }
        let key = (via, fragment.packet);
        if self.waiting.get(&key).is_none_or(|waiting| waiting.until <= now) {
            self.begin(now, key);
        }
        let Some(waiting) = self.waiting.get_mut(&key) else {
            return Fitted::Refused(DropReason::FragmentRefused);
        };
        let Ok(kept) = waiting.add(fragment) else {
            self.forget(&key);
            return Fitted::Refused(DropReason::FragmentRefused);
        };
        let complete = waiting.is_complete();
        self.octets = self.octets.saturating_add(kept);
        if complete {
            return self.finish(&key);
        }
        while self.octets > REASSEMBLY_OCTETS_MAX {
            self.forget_oldest();
        }
        Fitted::Waits
    }

    fn begin(&mut self, now: Millis, key: Key) {
        self.forget(&key);
        while self.waiting.len() >= REASSEMBLIES_MAX {
            self.forget_oldest();
        }
        self.begun = self.begun.wrapping_add(1);
        let waiting = Waiting {
            place: self.begun,
            until: Millis(now.0.saturating_add(FRAGMENTS_AGE_MS)),
            pieces: BTreeMap::new(),
            len: None,
            head: None,
            octets: 0,
            marks: 0,
        };
        self.by_age.insert(self.begun, key);
        self.waiting.insert(key, waiting);
    }

    fn finish(&mut self, key: &Key) -> Fitted {
        let Some(waiting) = self.forget(key) else {
            return Fitted::Refused(DropReason::FragmentRefused);
        };
        let Some(class) = waiting.traffic_class() else {
            return Fitted::Refused(DropReason::CongestionMarkLost);
        };
        let mut data = Vec::with_capacity(waiting.octets);
        waiting.pieces.into_values().for_each(|piece| data.extend_from_slice(&piece));
        Fitted::Whole(waiting.head.unwrap_or_default(), data, class)
    }

    fn forget(&mut self, key: &Key) -> Option<Waiting> {
        let waiting = self.waiting.remove(key)?;
        self.by_age.remove(&waiting.place);
        self.octets = self.octets.saturating_sub(waiting.octets);
        Some(waiting)
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.by_age.pop_first() {
            self.forget(&key);
        } else {
            self.octets = 0;
        }
    }

    /// One packet whose time is over, if there is one: the first fragment as it came, if it did,
    /// without its Fragment header.
    pub(crate) fn expired(&mut self, now: Millis) -> Option<(FragmentedPacket, Option<Vec<u8>>)> {
        let (_, key) = self.by_age.first_key_value()?;
        let key = *key;
        if self.waiting.get(&key).is_some_and(|waiting| waiting.until > now) {
            return None;
        }
        let waiting = self.forget(&key)?;
        let first = waiting.pieces.get(&0).zip(waiting.head);
        let first = first.map(|(piece, mut head)| {
            head.extend_from_slice(piece);
            head
        });
        Some((key.1, first))
    }
}

struct Overlap;

impl Waiting {
    /// Says how many octets more are kept now.
    fn add(&mut self, fragment: &Fragment<'_>) -> Result<usize, Overlap> {
        let end = fragment.end();
        if self.pieces.get(&fragment.offset).is_some_and(|piece| piece == fragment.data) {
            // The same once more.
            return Ok(0);
        }
        let before = self.pieces.range(..=fragment.offset).next_back();
        let overlaps_before =
            before.is_some_and(|(at, piece)| at.saturating_add(piece.len()) > fragment.offset);
        let after = self.pieces.range(fragment.offset..).next();
        let overlaps_after = after.is_some_and(|(at, _)| *at < end);
        let beyond = self.len.is_some_and(|len| end > len || !fragment.more && end != len);
        let last = self.pieces.last_key_value();
        let too_short =
            !fragment.more && last.is_some_and(|(at, piece)| at.saturating_add(piece.len()) > end);
        let too_many = self.pieces.len() >= FRAGMENTS_PER_PACKET_MAX;
        if overlaps_before
            || overlaps_after
            || beyond
            || too_short
            || too_many
            || fragment.data.is_empty()
        {
            return Err(Overlap);
        }
        if !fragment.more {
            self.len = Some(end);
        }
        let mut kept = fragment.data.len();
        if fragment.offset == 0 {
            self.head = Some(fragment.head.to_vec());
            kept = kept.saturating_add(fragment.head.len());
        }
        self.marks |= 1 << (fragment.traffic_class & 3);
        self.pieces.insert(fragment.offset, fragment.data.to_vec());
        self.octets = self.octets.saturating_add(kept);
        Ok(kept)
    }

    fn is_complete(&self) -> bool {
        // Nothing overlaps, so the sum tells.
        let sum = self.pieces.values().map(Vec::len).fold(0, usize::saturating_add);
        self.len == Some(sum)
    }

    /// The traffic class of the first fragment with the marks of all (RFC 3168 §5.3); `None` when
    /// congestion was marked on one although another says that its transport cannot see marks.
    fn traffic_class(&self) -> Option<u8> {
        const NOT_ECT: u8 = 1;
        const CE: u8 = 1 << 3;
        let [first, second, ..] = self.head.as_deref()? else { return None };
        let class = match first >> 4 {
            4 => *second,
            _ => first << 4 | second >> 4,
        };
        match (self.marks & CE != 0, self.marks & NOT_ECT != 0) {
            (true, true) => None,
            (true, false) => Some(class | 3),
            (false, _) => Some(class),
        }
    }
}

/// The packet that `head` and `data` make, `protocol` behind the headers. `None` when it is longer
/// than IPv6 allows.
pub(crate) fn whole_v6(
    head: Vec<u8>,
    data: &[u8],
    traffic_class: u8,
    next_header_offset: usize,
    upper: u8,
) -> Option<Vec<u8>> {
    let mut octets = head;
    *octets.get_mut(next_header_offset)? = upper;
    octets.extend_from_slice(data);
    let payload_len = u16::try_from(octets.len().checked_sub(Ipv6Header::LEN)?).ok()?;
    octets.get_mut(4..6)?.copy_from_slice(&payload_len.to_be_bytes());
    let [first, second, ..] = octets.as_mut_slice() else { return None };
    *first = 6 << 4 | traffic_class >> 4;
    *second = traffic_class << 4 | *second & 0x0f;
    Some(octets)
}

/// The same for IPv4.
pub(crate) fn whole_v4(head: Vec<u8>, data: &[u8], dscp_ecn: u8) -> Option<Vec<u8>> {
    let header_len = head.len();
    let mut octets = head;
    octets.extend_from_slice(data);
    let total_len = u16::try_from(octets.len()).ok()?;
    *octets.get_mut(1)? = dscp_ecn;
    octets.get_mut(2..4)?.copy_from_slice(&total_len.to_be_bytes());
    // Neither fragment offset nor more fragments.
    octets.get_mut(6..8)?.fill(0);
    rewrite_checksum_v4(&mut octets, header_len.max(Ipv4Header::LEN));
    Some(octets)
}

/// The protocol that the Fragment header of a fragment names.
pub(crate) fn fragmented_protocol(walk: &Walk<'_>) -> u8 {
    walk.payload.first().copied().unwrap_or(protocol::NO_NEXT)
}
