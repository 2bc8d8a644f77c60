//! ICMPv6 echo from the home address (RFC 4443 §4), built here: it works without a kernel's help.

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use homeport_mobile::{DropReason, Path};
use homeport_wire::{Icmpv6, Ipv6Header, PacketBuilder, PseudoHeader, protocol};
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Echo requests that wait for a reply at the same time.
const WAITING_MAX: usize = 65_536;
/// Octets of a request behind its header.
const DATA: &[u8] = b"homeport mobile node echo request";
/// Where identifier and sequence of an echo message stand in an IPv6 packet, as an error quotes it.
const QUOTED_IDENTIFIER: usize = Ipv6Header::LEN + 4;

/// How one echo request ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PingResult {
    /// 1 for the first of a series.
    pub number: u32,
    /// The outcome.
    pub outcome: PingOutcome,
}

impl PingResult {
    /// True when a reply came.
    #[must_use]
    pub const fn is_reply(&self) -> bool {
        matches!(self.outcome, PingOutcome::Reply { .. })
    }
}

/// What came of an echo request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum PingOutcome {
    /// A reply.
    Reply {
        /// Microseconds from sending to receiving.
        round_trip_us: u64,
        /// The care-of address by which it came.
        path: String,
    },
    /// Nothing in time.
    NoReply,
    /// An ICMPv6 error about it.
    Unreachable {
        /// ICMPv6 type, 1 to 3.
        icmp_type: u8,
        /// ICMPv6 code.
        code: u8,
    },
    /// It could not be sent.
    NotSent {
        /// Why, out of a closed set.
        reason: &'static str,
    },
}

impl PingOutcome {
    /// The outcome in a few words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Reply { round_trip_us, path } => {
                let (ms, us) = (round_trip_us / 1000, round_trip_us % 1000);
                format!("reply after {ms}.{us:03} ms by {path}")
            }
            Self::NoReply => "no reply".to_owned(),
            Self::Unreachable { icmp_type, code } => {
                format!("ICMPv6 error type {icmp_type} code {code}")
            }
            Self::NotSent { reason } => format!("not sent: {reason}"),
        }
    }
}

/// What the network says about an echo request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Reply { at: Instant, path: Path },
    Unreachable { icmp_type: u8, code: u8 },
}

/// Echo requests under way.
#[derive(Debug)]
pub(crate) struct Echoes {
    identifier: u16,
    next: u16,
    waiting: HashMap<u16, oneshot::Sender<Answer>>,
}

/// A request to be sent, and where its answer will come.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) packet: Vec<u8>,
    pub(crate) answer: oneshot::Receiver<Answer>,
}

impl Echoes {
    pub(crate) fn new(identifier: u16) -> Self {
        Self { identifier, next: 0, waiting: HashMap::new() }
    }

    /// The next request; `None` when too many wait.
    pub(crate) fn prepare(&mut self, home: Ipv6Addr, destination: Ipv6Addr) -> Option<Prepared> {
        if self.waiting.len() >= WAITING_MAX / 2 {
            self.waiting.retain(|_, waiting| !waiting.is_closed());
        }
        self.next = self.next.wrapping_add(1);
        if self.waiting.len() >= WAITING_MAX || self.waiting.contains_key(&self.next) {
            return None;
        }
        let (identifier, sequence) = (self.identifier, self.next);
        let message = Icmpv6::EchoRequest { identifier, sequence, data: DATA };
        let packet = PacketBuilder::new(home, destination)
            .build(protocol::ICMPV6, &message.emit(home, destination));
        let (sender, answer) = oneshot::channel();
        self.waiting.insert(sequence, sender);
        Some(Prepared { packet, answer })
    }

    /// Takes a packet when it answers one of the requests.
    pub(crate) fn take(&mut self, packet: &[u8], path: Path) -> bool {
        let Some((sequence, answer)) = self.read(packet, path) else {
            return false;
        };
        let Some(waiting) = self.waiting.remove(&sequence) else {
            return false;
        };
        // Whoever asked may have stopped waiting.
        drop(waiting.send(answer));
        true
    }

    fn read(&self, packet: &[u8], path: Path) -> Option<(u16, Answer)> {
        let (header, payload) = icmpv6(packet)?;
        let pseudo = PseudoHeader::icmpv6(header.source, header.destination);
        let quoted = |invoking: &[u8]| {
            let identifier = invoking.get(QUOTED_IDENTIFIER..)?.first_chunk::<4>()?;
            let [high, low, sequence @ ..] = *identifier;
            let own = u16::from_be_bytes([high, low]) == self.identifier;
            own.then_some(u16::from_be_bytes(sequence))
        };
        let error = |icmp_type, code, invoking| {
            Some((quoted(invoking)?, Answer::Unreachable { icmp_type, code }))
        };
        match Icmpv6::parse(payload, pseudo).ok()? {
            Icmpv6::EchoReply { identifier, sequence, .. } if identifier == self.identifier => {
                Some((sequence, Answer::Reply { at: Instant::now(), path }))
            }
            Icmpv6::DestinationUnreachable { code, invoking } => error(1, code, invoking),
            Icmpv6::PacketTooBig { invoking, .. } => error(2, 0, invoking),
            Icmpv6::TimeExceeded { code, invoking } => error(3, code, invoking),
            _ => None,
        }
    }
}

/// The reply to an echo request to the home address, if the packet is one.
pub(crate) fn reply_to(packet: &[u8], home: Ipv6Addr) -> Option<Vec<u8>> {
    let (header, payload) = icmpv6(packet)?;
    let pseudo = PseudoHeader::icmpv6(header.source, header.destination);
    let Ok(Icmpv6::EchoRequest { identifier, sequence, data }) = Icmpv6::parse(payload, pseudo)
    else {
        return None;
    };
    if header.destination != home {
        return None;
    }
    let reply = Icmpv6::EchoReply { identifier, sequence, data };
    let packet = PacketBuilder::new(home, header.source)
        .traffic_class(header.traffic_class)
        .build(protocol::ICMPV6, &reply.emit(home, header.source));
    Some(packet)
}

fn icmpv6(packet: &[u8]) -> Option<(Ipv6Header, &[u8])> {
    let (header, payload) = Ipv6Header::parse(packet).ok()?;
    (header.next_header == protocol::ICMPV6).then_some((header, payload))
}

/// Waits for the answer to a request that left at `sent`.
pub(crate) async fn outcome(
    sent: Result<(Instant, oneshot::Receiver<Answer>), NotSent>,
    timeout: Duration,
) -> PingOutcome {
    let (at, answer) = match sent {
        Ok(sent) => sent,
        Err(NotSent(reason)) => return PingOutcome::NotSent { reason },
    };
    match tokio::time::timeout_at(at + timeout, answer).await {
        Ok(Ok(Answer::Reply { at: received, path })) => {
            let round_trip = received.duration_since(at).as_micros();
            let round_trip_us = u64::try_from(round_trip).unwrap_or(u64::MAX);
            PingOutcome::Reply { round_trip_us, path: path.to_string() }
        }
        Ok(Ok(Answer::Unreachable { icmp_type, code })) => {
            PingOutcome::Unreachable { icmp_type, code }
        }
        Ok(Err(_)) | Err(_) => PingOutcome::NoReply,
    }
}

/// Why a request did not leave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NotSent(pub(crate) &'static str);

impl From<DropReason> for NotSent {
    fn from(reason: DropReason) -> Self {
        Self(reason.reason())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x100);
    const PEER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 0x99);

    fn answered(build: impl Fn(&[u8], u16) -> Vec<u8>) -> Option<Answer> {
        let mut echoes = Echoes::new(0xabcd);
        let mut prepared = echoes.prepare(HOME, PEER).unwrap();
        let packet = build(&prepared.packet, 0xabcd);
        echoes.take(&packet, Path::Home);
        prepared.answer.try_recv().ok()
    }

    #[test]
    fn a_reply_finds_its_request() {
        let answer = answered(|request, _| reply_to(request, PEER).unwrap());
        assert!(matches!(answer, Some(Answer::Reply { path: Path::Home, .. })), "{answer:?}");
    }

    #[test]
    fn an_error_about_a_request_finds_it_and_others_do_not() {
        let error = |request: &[u8]| {
            let message = Icmpv6::DestinationUnreachable { code: 3, invoking: request };
            let router = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
            PacketBuilder::new(router, HOME).build(protocol::ICMPV6, &message.emit(router, HOME))
        };
        let answer = answered(|request, _| error(request));
        assert!(
            matches!(answer, Some(Answer::Unreachable { icmp_type: 1, code: 3 })),
            "{answer:?}"
        );
        let answer = answered(|request, _| {
            let mut other = request.to_vec();
            other[QUOTED_IDENTIFIER] ^= 1;
            error(&other)
        });
        assert!(answer.is_none(), "{answer:?}");
    }

    #[test]
    fn only_requests_to_the_home_address_are_replied_to() {
        let mut echoes = Echoes::new(1);
        let request = echoes.prepare(PEER, HOME).unwrap().packet;
        assert!(reply_to(&request, HOME).is_some());
        assert!(reply_to(&request, PEER).is_none());
        let mut broken = request.clone();
        *broken.last_mut().unwrap() ^= 1;
        assert!(reply_to(&broken, HOME).is_none());
    }
}
