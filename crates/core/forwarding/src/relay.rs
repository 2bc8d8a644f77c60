//! Errors about tunnelled packets, from routers between here and a care-of address (RFC 2473 §8,
//! RFC 2003 §4).

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};

use homeport_wire::{Ipv4Header, Ipv6Header, UdpHeader, protocol};

use crate::action::Action;
use crate::answer::ErrorMessage;
use crate::encapsulation_limit;
use crate::entry::{CareOf, Millis};
use crate::forwarding::Forwarding;
use crate::home::Home;
use crate::icmpv4::ErrorMessageV4;
use crate::limits::{
    ENCAPSULATION_LIMIT_LEN, IPV4_MTU_MIN, IPV6_MTU_MIN, IPV6_OVERHEAD, UDP_V4_OVERHEAD,
    V4_OVERHEAD,
};
use crate::reason::DropReason;

/// What an error quotes of a packet that was tunnelled from here.
struct Quoted<'p> {
    home_address: Ipv6Addr,
    care_of: IpAddr,
    /// Octets of the headers that were put on.
    tunnel_len: usize,
    inner: Inner,
    /// Begin of the inner packet, with its header.
    octets: &'p [u8],
}

#[derive(Clone, Copy)]
enum Inner {
    V6(Ipv6Header),
    V4(Ipv4Header),
}

impl Inner {
    fn len(self) -> usize {
        match self {
            Self::V6(header) => usize::from(header.payload_len).saturating_add(Ipv6Header::LEN),
            Self::V4(header) => usize::from(header.total_len),
        }
    }
}

impl Forwarding {
    /// An error about a packet from here: `too_big` is the MTU of a Packet Too Big, `None` stands
    /// for all errors that say that the packet did not arrive. Only what quotes a packet for a
    /// binding in force is believed. The inner source then learns what concerns it (RFC 2473 §8.2, §8.3):
    /// its packet did not reach the home address, or how large it may be.
    pub(crate) fn relay(
        &mut self,
        now: Millis,
        too_big: Option<u32>,
        invoking: &[u8],
        out: &mut Vec<Action>,
    ) {
        match self.quoted(now, invoking) {
            Some(quoted) => self.tell(now, &quoted, too_big, out),
            None => out.push(Action::Drop(DropReason::IcmpUnrelated)),
        }
    }

    /// A Parameter Problem about a packet from here. Its inner source is told only that there are too
    /// many tunnels on the way (RFC 2473 §8.1, §8.2): of the other headers it knows nothing.
    pub(crate) fn relay_problem(
        &mut self,
        now: Millis,
        pointer: u32,
        invoking: &[u8],
        out: &mut Vec<Action>,
    ) {
        let found = encapsulation_limit::of(invoking);
        let is_limit = found.is_some_and(|found| {
            found.limit == 0 && usize::try_from(pointer).is_ok_and(|at| at == found.offset)
        });
        if is_limit {
            return self.relay(now, None, invoking, out);
        }
        let ours = self.quoted(now, invoking).is_some();
        let reason = if ours { DropReason::TunnelHeaderProblem } else { DropReason::IcmpUnrelated };
        out.push(Action::Drop(reason));
    }

    /// A packet of one tunnel may not enter the next (RFC 2473 §4.1.1 (b)). We are the source that
    /// would be told, so that the source of the packet in it is (RFC 2473 §8.4).
    pub(crate) fn limit_reached(&mut self, now: Millis, octets: &[u8], out: &mut Vec<Action>) {
        let reason = DropReason::EncapsulationLimit;
        match self.quoted(now, octets) {
            Some(quoted) => self.pass_on(now, &quoted, None, reason, out),
            None => out.push(Action::Drop(reason)),
        }
    }

    /// [`Self::relay`] for a tunnel over IPv4. A Fragmentation Needed from a router that does not say how
    /// large packets may be (RFC 1191 §5) counts as the smallest MTU that IPv6 has.
    pub(crate) fn relay_v4(
        &mut self,
        now: Millis,
        too_big: Option<u16>,
        invoking: &[u8],
        out: &mut Vec<Action>,
    ) {
        let unsaid = u32::try_from(IPV6_MTU_MIN).unwrap_or(u32::MAX);
        let too_big = too_big.map(|mtu| if mtu == 0 { unsaid } else { mtu.into() });
        match self.quoted_v4(now, invoking) {
            Some(quoted) => self.tell(now, &quoted, too_big, out),
            None => out.push(Action::Drop(DropReason::IcmpUnrelated)),
        }
    }

    fn tell(
        &mut self,
        now: Millis,
        quoted: &Quoted<'_>,
        too_big: Option<u32>,
        out: &mut Vec<Action>,
    ) {
        let relayed = DropReason::IcmpRelayed;
        let Some(mtu) = too_big else { return self.pass_on(now, quoted, None, relayed, out) };
        self.path_mtus.learn(now, quoted.care_of, mtu);
        self.moved(quoted.home_address);
        let mtu = usize::try_from(mtu).unwrap_or(usize::MAX);
        let tunnel_mtu = mtu.saturating_sub(quoted.tunnel_len);
        let (least, source_cuts) = match quoted.inner {
            Inner::V6(_) => (IPV6_MTU_MIN, true),
            Inner::V4(header) => {
                (IPV4_MTU_MIN, header.flags_fragment & Ipv4Header::DONT_FRAGMENT != 0)
            }
        };
        let room = tunnel_mtu.max(least);
        if quoted.inner.len() <= room || !source_cuts {
            // From now on the outer packet is cut up; the source cannot do anything about it.
            return out.push(Action::Drop(DropReason::PathMtuLearned));
        }
        self.pass_on(now, quoted, Some(room), relayed, out);
    }

    fn pass_on(
        &mut self,
        now: Millis,
        quoted: &Quoted<'_>,
        too_big: Option<usize>,
        reason: DropReason,
        out: &mut Vec<Action>,
    ) {
        match quoted.inner {
            // A tunnel in the tunnel: its inner source is meant (RFC 2473 §8.4).
            Inner::V6(header)
                if self.table.is_home_agent(header.source)
                    && let Some(nested) = self.quoted(now, quoted.octets) =>
            {
                match too_big.map(|mtu| u32::try_from(mtu).unwrap_or(u32::MAX)) {
                    None => self.pass_on(now, &nested, None, reason, out),
                    too_big => self.tell(now, &nested, too_big, out),
                }
            }
            Inner::V6(header) => {
                out.push(Action::Drop(reason));
                let error = match too_big {
                    None => ErrorMessage::Unreachable { code: 3 },
                    Some(mtu) => {
                        ErrorMessage::TooBig { mtu: u32::try_from(mtu).unwrap_or(u32::MAX) }
                    }
                };
                if let Some(agent) = self.agent_of(header.destination) {
                    self.complain(now, agent, header.source, quoted.octets, error, out);
                }
            }
            Inner::V4(header) => {
                out.push(Action::Drop(reason));
                let error = too_big.map_or(ErrorMessageV4::HostUnreachable, |mtu| {
                    let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
                    ErrorMessageV4::FragmentationNeeded { mtu }
                });
                if let Some(agent) = self.agent_v4_of(quoted.home_address) {
                    self.complain_v4(now, agent, header.source, quoted.octets, error, out);
                }
            }
        }
    }

    fn quoted<'p>(&self, now: Millis, invoking: &'p [u8]) -> Option<Quoted<'p>> {
        let (outer, rest) = begin(invoking)?;
        let (next_header, octets) = match outer.next_header {
            protocol::FRAGMENT => first_fragment(rest)?,
            next_header => (next_header, rest),
        };
        let (next_header, octets, tunnel_len) = match next_header {
            // The only options that are put on here.
            protocol::DESTINATION_OPTIONS => {
                let ([next_header, 0, ..], octets) =
                    octets.split_first_chunk::<ENCAPSULATION_LIMIT_LEN>()?
                else {
                    return None;
                };
                (*next_header, octets, IPV6_OVERHEAD + ENCAPSULATION_LIMIT_LEN)
            }
            next_header => (next_header, octets, IPV6_OVERHEAD),
        };
        let (inner, home_address, home) = self.inner(next_header, octets)?;
        let ours = home.entry.home_agent == outer.source
            && home.bound(now, CareOf::V6(outer.destination)).is_some();
        let care_of = outer.destination.into();
        ours.then_some(Quoted { home_address, care_of, tunnel_len, inner, octets })
    }

    fn quoted_v4<'p>(&self, now: Millis, invoking: &'p [u8]) -> Option<Quoted<'p>> {
        let (outer, rest) = begin_v4(invoking)?;
        let (next_header, octets, port) = if outer.protocol == protocol::UDP {
            let ([from_high, from_low, high, low], datagram) = rest.split_first_chunk::<4>()?;
            if u16::from_be_bytes([*from_high, *from_low]) != self.config.udp_port {
                return None;
            }
            let octets = datagram.get(UdpHeader::LEN.saturating_sub(4)..)?;
            let version = octets.first()? >> 4;
            let next_header = if version == 4 { protocol::IPV4 } else { protocol::IPV6 };
            (next_header, octets, Some(u16::from_be_bytes([*high, *low])))
        } else {
            (outer.protocol, rest, None)
        };
        let (inner, home_address, home) = self.inner(next_header, octets)?;
        let address = outer.destination;
        let care_of = match port {
            Some(port) => CareOf::V4 { address, port },
            None => CareOf::V4Direct(address),
        };
        let ours = self.agent_v4_of(home_address) == Some(outer.source)
            && home.bound(now, care_of).is_some();
        let tunnel_len = if port.is_some() { UDP_V4_OVERHEAD } else { V4_OVERHEAD };
        ours.then_some(Quoted { home_address, care_of: address.into(), tunnel_len, inner, octets })
    }

    /// The header of an inner packet, and for whom the packet was.
    fn inner(&self, next_header: u8, octets: &[u8]) -> Option<(Inner, Ipv6Addr, &Home)> {
        let (inner, owner) = match next_header {
            protocol::IPV6 => {
                let (header, _) = begin(octets)?;
                (Inner::V6(header), self.table.owner(header.destination)?)
            }
            protocol::IPV4 => {
                let (header, _) = begin_v4(octets)?;
                (Inner::V4(header), self.table.owner_v4(header.destination)?)
            }
            _ => return None,
        };
        Some((inner, owner, self.table.home(owner)?))
    }
}

/// The header of a packet that may be cut off behind it.
fn begin(octets: &[u8]) -> Option<(Ipv6Header, &[u8])> {
    const PAYLOAD_LEN_OFFSET: usize = 4;
    let (head, rest) = octets.split_first_chunk::<{ Ipv6Header::LEN }>()?;
    // Read as a packet without payload, because the payload need not be there.
    let mut alone = *head;
    let field = alone.get_mut(PAYLOAD_LEN_OFFSET..)?.first_chunk_mut::<2>()?;
    let payload_len = u16::from_be_bytes(core::mem::take(field));
    let (header, _) = Ipv6Header::parse(&alone).ok()?;
    Some((Ipv6Header { payload_len, ..header }, rest))
}

/// The same for IPv4. The checksum is not looked at: routers quote a header whose time to live has
/// changed.
fn begin_v4(octets: &[u8]) -> Option<(Ipv4Header, &[u8])> {
    let head = octets.first_chunk::<{ Ipv4Header::LEN }>()?;
    let header_len = usize::from(head[0] & 0x0f).saturating_mul(4);
    if head[0] >> 4 != 4 || header_len < Ipv4Header::LEN {
        return None;
    }
    let [source @ .., _, _, _, _] = head.last_chunk::<8>()?;
    let header = Ipv4Header {
        dscp_ecn: head[1],
        total_len: u16::from_be_bytes([head[2], head[3]]),
        identification: u16::from_be_bytes([head[4], head[5]]),
        flags_fragment: u16::from_be_bytes([head[6], head[7]]),
        ttl: head[8],
        protocol: head[9],
        source: (*source).into(),
        destination: (*head.last_chunk::<4>()?).into(),
    };
    Some((header, octets.get(header_len..)?))
}

/// Protocol and begin of what the first fragment of a tunnelled packet carries.
fn first_fragment(octets: &[u8]) -> Option<(u8, &[u8])> {
    let ([next_header, _, high, low, ..], rest) = octets.split_first_chunk::<8>()?;
    let first = u16::from_be_bytes([*high, *low]) & !7 == 0;
    first.then_some((*next_header, rest))
}
