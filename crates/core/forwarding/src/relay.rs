//! Errors about tunnelled packets, from routers between here and a care-of address (RFC 2473 §8).

use alloc::vec::Vec;
use core::net::Ipv6Addr;

use homeport_wire::{Ipv6Header, protocol};

use crate::action::Action;
use crate::answer::ErrorMessage;
use crate::forwarding::Forwarding;
use crate::limits::{IPV6_MTU_MIN, IPV6_OVERHEAD};
use crate::reason::DropReason;
use crate::table::{CareOf, Millis};

/// What an error quotes of a packet that was tunnelled from here.
struct Quoted<'p> {
    care_of: Ipv6Addr,
    inner: Ipv6Header,
    /// Begin of the inner packet, with its header.
    octets: &'p [u8],
}

impl Forwarding {
    /// An error about a packet from here: `too_big` is the MTU of a Packet Too Big, `None` stands
    /// for all errors that say that the packet did not arrive. Only what quotes a packet for a
    /// binding in force is believed. The inner source then learns what concerns it (RFC 2473 §8.2):
    /// its packet did not reach the home address, or how large it may be.
    pub(crate) fn relay(
        &mut self,
        now: Millis,
        too_big: Option<u32>,
        invoking: &[u8],
        out: &mut Vec<Action>,
    ) {
        let Some(quoted) = self.quoted(now, invoking) else {
            return out.push(Action::Drop(DropReason::Icmpv6Unrelated));
        };
        let Some(mtu) = too_big else {
            return self.pass_on(now, &quoted, ErrorMessage::Unreachable { code: 3 }, out);
        };
        self.path_mtus.learn(now, quoted.care_of, mtu);
        let tunnel_mtu = u32::try_from(IPV6_OVERHEAD).map_or(0, |len| mtu.saturating_sub(len));
        let room = usize::try_from(tunnel_mtu).unwrap_or(usize::MAX).max(IPV6_MTU_MIN);
        let inner_len = usize::from(quoted.inner.payload_len).saturating_add(Ipv6Header::LEN);
        if inner_len <= room {
            // From now on the outer packet is cut up; the source cannot do anything about it.
            return out.push(Action::Drop(DropReason::PathMtuLearned));
        }
        let mtu = u32::try_from(room).unwrap_or(u32::MAX);
        self.pass_on(now, &quoted, ErrorMessage::TooBig { mtu }, out);
    }

    fn pass_on(
        &mut self,
        now: Millis,
        quoted: &Quoted<'_>,
        error: ErrorMessage,
        out: &mut Vec<Action>,
    ) {
        out.push(Action::Drop(DropReason::Icmpv6Relayed));
        if let Some(agent) = self.agent_of(quoted.inner.destination) {
            self.complain(now, agent, quoted.inner.source, quoted.octets, error, out);
        }
    }

    fn quoted<'p>(&self, now: Millis, invoking: &'p [u8]) -> Option<Quoted<'p>> {
        let (outer, rest) = begin(invoking)?;
        let octets = match outer.next_header {
            protocol::IPV6 => rest,
            protocol::FRAGMENT => first_fragment(rest)?,
            _ => return None,
        };
        let (inner, _) = begin(octets)?;
        let home = self.table.home(inner.destination)?;
        let ours = home.entry.home_agent == outer.source
            && home.bound(now, CareOf::V6(outer.destination)).is_some();
        ours.then_some(Quoted { care_of: outer.destination, inner, octets })
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

/// What the first fragment of a tunnelled packet carries.
fn first_fragment(octets: &[u8]) -> Option<&[u8]> {
    let ([next_header, _, high, low, ..], rest) = octets.split_first_chunk::<8>()?;
    let first = u16::from_be_bytes([*high, *low]) & !7 == 0;
    (first && *next_header == protocol::IPV6).then_some(rest)
}
