//! ICMPv4 (RFC 792), as far as a tunnel's end needs it: echo, errors sent, errors about tunnelled
//! packets.

use alloc::vec::Vec;
use core::net::Ipv4Addr;

use homeport_wire::{Ipv4Header, is_unicast_routable_v4};

use crate::action::Action;
use crate::entry::Millis;
use crate::forwarding::Forwarding;
use crate::packet::{PacketV4, internet_checksum};
use crate::reason::DropReason;

/// Protocol number of ICMPv4.
pub(crate) const ICMPV4: u8 = 1;
const ECHO_REPLY: u8 = 0;
const UNREACHABLE: u8 = 3;
const ECHO_REQUEST: u8 = 8;
const TIME_EXCEEDED: u8 = 11;
/// Octets of type, code, checksum and the word behind them.
const HEAD_LEN: usize = 8;
/// RFC 1812 §4.3.2.3: an error is at most so long, and quotes what fits.
const ERROR_OCTETS_MAX: usize = 576;
/// Queries are the only messages that may be answered with an error (RFC 1122 §3.2.2).
const QUERIES: [u8; 10] = [0, 8, 9, 10, 13, 14, 15, 16, 17, 18];

/// An error before it knows which packet it is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ErrorMessageV4 {
    HostUnreachable,
    FragmentationNeeded { mtu: u16 },
    TimeExceeded,
}

impl ErrorMessageV4 {
    fn about(self, invoking: &[u8]) -> Vec<u8> {
        let (kind, code, mtu) = match self {
            Self::HostUnreachable => (UNREACHABLE, 1, 0),
            Self::FragmentationNeeded { mtu } => (UNREACHABLE, 4, mtu),
            Self::TimeExceeded => (TIME_EXCEEDED, 0, 0),
        };
        let room = ERROR_OCTETS_MAX.saturating_sub(Ipv4Header::LEN + HEAD_LEN);
        let quoted = invoking.get(..room).unwrap_or(invoking);
        let [high, low] = mtu.to_be_bytes();
        message(kind, code, [0, 0, high, low], quoted)
    }
}

fn message(kind: u8, code: u8, word: [u8; 4], body: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(body.len().saturating_add(HEAD_LEN));
    octets.extend_from_slice(&[kind, code, 0, 0]);
    octets.extend_from_slice(&word);
    octets.extend_from_slice(body);
    let sum = internet_checksum(&octets).to_be_bytes();
    if let Some(field) = octets.get_mut(2..4) {
        field.copy_from_slice(&sum);
    }
    octets
}

/// What a message to the home agent is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Icmpv4<'p> {
    EchoRequest {
        word: [u8; 4],
        data: &'p [u8],
    },
    /// A packet from here did not arrive.
    Lost {
        invoking: &'p [u8],
    },
    /// A packet from here is too large for the path. Zero from routers before RFC 1191.
    TooBig {
        mtu: u16,
        invoking: &'p [u8],
    },
    Other,
}

impl<'p> Icmpv4<'p> {
    /// `None` when it is cut off or its checksum is wrong.
    pub(crate) fn parse(octets: &'p [u8]) -> Option<Self> {
        const FRAGMENTATION_NEEDED: u8 = 4;
        const SOURCE_ROUTE_FAILED: u8 = 5;
        if internet_checksum(octets) != 0 {
            return None;
        }
        let ([kind, code, _, _, word @ ..], body) = octets.split_first_chunk::<HEAD_LEN>()?;
        Some(match (*kind, *code) {
            (ECHO_REQUEST, _) => Self::EchoRequest { word: *word, data: body },
            (UNREACHABLE, FRAGMENTATION_NEEDED) => {
                Self::TooBig { mtu: u16::from_be_bytes([word[2], word[3]]), invoking: body }
            }
            // RFC 2003 §4.1: that is about a route of our own, which there is none of.
            (UNREACHABLE, SOURCE_ROUTE_FAILED) => Self::Other,
            (UNREACHABLE | TIME_EXCEEDED, _) => Self::Lost { invoking: body },
            _ => Self::Other,
        })
    }
}

/// The reply to an echo request.
pub(crate) fn echo_reply(word: [u8; 4], data: &[u8]) -> Vec<u8> {
    message(ECHO_REPLY, 0, word, data)
}

impl Forwarding {
    /// Drops an IPv4 packet and tells its source why, where that is allowed and this node has an
    /// address to say it from.
    pub(crate) fn refuse_v4(
        &mut self,
        now: Millis,
        agent: Option<Ipv4Addr>,
        packet: PacketV4<'_>,
        reason: DropReason,
        error: ErrorMessageV4,
        out: &mut Vec<Action>,
    ) {
        out.push(Action::Drop(reason));
        if let Some(agent) = agent {
            self.complain_v4(now, agent, packet.header.source, packet.octets, error, out);
        }
    }

    /// Sends an error about a packet, of which the begin may be all there is. Not about errors and
    /// later fragments, not to what is no single host, and not faster than the limit
    /// (RFC 1812 §4.3.2.7, §4.3.2.8).
    pub(crate) fn complain_v4(
        &mut self,
        now: Millis,
        agent: Ipv4Addr,
        to: Ipv4Addr,
        invoking: &[u8],
        error: ErrorMessageV4,
        out: &mut Vec<Action>,
    ) {
        if !is_unicast_routable_v4(to) || self.table.is_home_agent_v4(to) || is_error(invoking) {
            return;
        }
        if !self.errors.allow_v4(now, to) {
            return out.push(Action::Drop(DropReason::ErrorRateLimited));
        }
        self.send_icmpv4(now, agent, to, &error.about(invoking), out);
    }

    pub(crate) fn send_icmpv4(
        &mut self,
        now: Millis,
        agent: Ipv4Addr,
        to: Ipv4Addr,
        message: &[u8],
        out: &mut Vec<Action>,
    ) {
        let Ok(total_len) = u16::try_from(message.len().saturating_add(Ipv4Header::LEN)) else {
            return out.push(Action::Drop(DropReason::TooLong));
        };
        let header = Ipv4Header {
            dscp_ecn: 0,
            total_len,
            identification: self.identification_v4(to),
            flags_fragment: 0,
            ttl: self.config.hop_limit,
            protocol: ICMPV4,
            source: agent,
            destination: to,
        };
        let mut octets = Vec::with_capacity(usize::from(total_len));
        header.emit(&mut octets);
        octets.extend_from_slice(message);
        self.originate_v4(now, octets, out);
    }
}

/// True for errors, for later fragments, and for what cannot be told from them.
fn is_error(octets: &[u8]) -> bool {
    const OFFSET: u16 = 0x1fff;
    let Some((head, _)) = octets.split_first_chunk::<{ Ipv4Header::LEN }>() else { return true };
    let header_len = usize::from(head[0] & 0x0f).saturating_mul(4);
    let later = u16::from_be_bytes([head[6], head[7]]) & OFFSET != 0;
    let kind = octets.get(header_len);
    later || head[9] == ICMPV4 && kind.is_none_or(|kind| !QUERIES.contains(kind))
}
