//! Front-ends: one link to each, packets spread over those that are up.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::{SocketAddr, SocketAddrV4},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use homeport_api::{
    convert::{self, Invalid},
    drains,
    signalling::{self as api, PuntRequest, PuntResponse, signalling_client::SignallingClient},
};
use homeport_forwarding::{Punt, UdpOuter};
use homeport_runtime::{clock::unix_ms, config::TelemetryConfig};
use homeport_tls::Way;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status};

use crate::{
    backoff::Backoff,
    config::Peer,
    limits,
    spans::{Answered, Spans},
};

/// What the engine learns from the links.
#[derive(Debug)]
pub(crate) enum SignallingEvent {
    /// A front-end takes packets.
    Up {
        /// What it is known by: the same for all forwarders.
        index: usize,
        /// Where packets go.
        queue: mpsc::Sender<PuntRequest>,
    },
    /// It does not any more. What was in its queue is lost; mobile nodes send it again.
    Down {
        /// What it is known by.
        index: usize,
    },
    /// An answer.
    Answer(PuntResponse),
}

/// Keeps up one link, as long as it is wanted; one that is not any more may still end by itself.
pub(crate) async fn link(
    index: usize,
    front_end: Peer,
    (at, way): (SocketAddr, Way),
    wanted: Arc<AtomicBool>,
    out: mpsc::Sender<SignallingEvent>,
) {
    let mut backoff = Backoff::default();
    while wanted.load(Ordering::Relaxed) {
        let mut proven = false;
        let Err(end) = hold(index, &front_end, (at, &way), &out, &mut proven).await;
        if proven {
            if out.send(SignallingEvent::Down { index }).await.is_err() {
                return;
            }
            tracing::warn!(address = %at, reason = %end, "front-end lost");
            backoff.reset();
        } else {
            tracing::debug!(address = %at, reason = %end, "front-end not reached");
        }
        if matches!(end, End::EngineGone) {
            return;
        }
        backoff.pause().await;
    }
}

#[derive(Debug, thiserror::Error)]
enum End {
    #[error("no connection: {0}")]
    Connect(#[from] tonic::transport::Error),
    #[error("{0}")]
    Status(#[from] Status),
    #[error("it does not answer")]
    Silent,
    #[error("it was closed")]
    Closed,
    #[error("the forwarder is ending")]
    EngineGone,
}

async fn hold(
    index: usize,
    (_, endpoint): &Peer,
    (address, way): (SocketAddr, &Way),
    out: &mpsc::Sender<SignallingEvent>,
    proven: &mut bool,
) -> Result<std::convert::Infallible, End> {
    let connect = way.connect_at(endpoint, address);
    let channel = timeout(limits::CONNECT_TIMEOUT, connect).await;
    let mut client = SignallingClient::new(channel.map_err(|_| End::Silent)??);
    let (queue, requests) = mpsc::channel(limits::PUNTS_WAITING_MAX);
    let mut request = Request::new(ReceiverStream::new(requests));
    drains::understand(request.metadata_mut());
    let opened = timeout(limits::STREAM_TIMEOUT, client.punt(request)).await;
    let mut answers = opened.map_err(|_| End::Silent)??.into_inner();
    *proven = true;
    tracing::info!(%address, "front-end");
    let up = SignallingEvent::Up { index, queue: queue.clone() };
    out.send(up).await.map_err(|_| End::EngineGone)?;
    loop {
        let answer = answers.message().await?.ok_or(End::Closed)?;
        let event = match answer.draining {
            None => SignallingEvent::Answer(answer),
            // What it has got already it answers here.
            Some(true) => {
                tracing::info!(%address, "front-end is drained: packets go to others");
                SignallingEvent::Down { index }
            }
            Some(false) => {
                tracing::info!(%address, "front-end serves again");
                SignallingEvent::Up { index, queue: queue.clone() }
            }
        };
        out.send(event).await.map_err(|_| End::EngineGone)?;
    }
}

/// The front-ends that are up.
#[derive(Debug)]
pub(crate) struct FrontEnds {
    up: Vec<(usize, mpsc::Sender<PuntRequest>)>,
    tickets: u64,
    spans: Spans,
}

/// In a ticket: the packet came out of an IPv6 tunnel, and so goes the answer.
const TUNNELLED: u64 = 1 << 63;
/// No packet: what a front-end sends of its own accord.
const UNASKED: u64 = 0;

impl FrontEnds {
    /// None is up.
    pub(crate) fn new(telemetry: &TelemetryConfig) -> Self {
        Self { up: Vec::new(), tickets: 0, spans: Spans::new(telemetry) }
    }

    /// Notes that one is up.
    pub(crate) fn up(&mut self, index: usize, queue: mpsc::Sender<PuntRequest>) {
        self.down(index);
        self.up.push((index, queue));
    }

    /// Notes that one is down.
    pub(crate) fn down(&mut self, index: usize) {
        self.up.retain(|(at, _)| *at != index);
    }

    /// How many are up.
    pub(crate) fn len(&self) -> usize {
        self.up.len()
    }

    /// Hands a packet to the front-end of its sender: always the same one, as long as the same are
    /// up. A front-end that goes takes only its own senders to others (rendezvous hashing).
    pub(crate) fn punt(&mut self, punt: Punt) -> Result<(), &'static str> {
        let weight = |index: &usize| {
            // Fixed keys: all forwarders spread alike.
            let mut hasher = DefaultHasher::new();
            (punt.sender, index).hash(&mut hasher);
            hasher.finish()
        };
        let best = self.up.iter().max_by_key(|(index, _)| weight(index));
        let (index, queue) = best.ok_or("no_front_end")?;
        // The other half is for those who are bound: no flood of strangers keeps them out.
        if !punt.bound && queue.capacity() <= limits::PUNTS_WAITING_MAX / 2 {
            return Err("punt_queue_full");
        }
        let index = *index;
        self.tickets = self.tickets.wrapping_add(1) & !TUNNELLED;
        let ticket = self.tickets.max(1) | if punt.tunnelled { TUNNELLED } else { 0 };
        let request = PuntRequest {
            ticket,
            traceparent: self.spans.begin(ticket, &punt),
            packet: punt.packet.into(),
            outer: punt.outer.map(outer_message),
            arrived_ms: unix_ms(),
        };
        match queue.try_send(request) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err("punt_queue_full"),
            Err(mpsc::error::TrySendError::Closed(_)) => {
                // The link will say so too; until then nobody else shall fall into it.
                self.down(index);
                Err("front_end_lost")
            }
        }
    }

    /// The trace of what this answers.
    pub(crate) fn answered(&mut self, answer: &Answer) -> Answered {
        self.spans.answered(answer.ticket)
    }
}

/// An answer, read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    pub(crate) ticket: u64,
    pub(crate) packet: bytes::Bytes,
    pub(crate) outer: Option<UdpOuter>,
    pub(crate) tunnelled: bool,
    pub(crate) revision: u64,
}

impl TryFrom<PuntResponse> for Answer {
    type Error = Invalid;

    fn try_from(message: PuntResponse) -> Result<Self, Invalid> {
        Ok(Self {
            ticket: message.ticket,
            packet: message.packet,
            outer: message.outer.map(outer_of).transpose()?,
            tunnelled: message.ticket == UNASKED || message.ticket & TUNNELLED != 0,
            revision: message.revision,
        })
    }
}

fn outer_message(outer: UdpOuter) -> api::UdpOuter {
    api::UdpOuter {
        peer_address: convert::ipv4_octets(*outer.peer.ip()),
        peer_port: outer.peer.port().into(),
        local_address: convert::ipv4_octets(*outer.local.ip()),
        local_port: outer.local.port().into(),
    }
}

fn outer_of(message: api::UdpOuter) -> Result<UdpOuter, Invalid> {
    let end = |address: &[u8], port, field| {
        Ok(SocketAddrV4::new(convert::ipv4(address, field)?, convert::u16_of(port, field)?))
    };
    Ok(UdpOuter {
        peer: end(&message.peer_address, message.peer_port, "outer.peer")?,
        local: end(&message.local_address, message.local_port, "outer.local")?,
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn punt(host: u16, tunnelled: bool) -> Punt {
        let sender = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, host);
        Punt { outer: None, tunnelled, bound: true, sender, packet: vec![0x60] }
    }

    #[test]
    fn senders_are_spread_and_only_those_of_a_lost_front_end_move() {
        let mut front_ends = FrontEnds::new(&TelemetryConfig::default());
        let mut queues = Vec::new();
        for index in 0..3 {
            let (sender, receiver) = mpsc::channel(limits::PUNTS_WAITING_MAX);
            front_ends.up(index, sender);
            queues.push(receiver);
        }
        let mut taken_by = |front_ends: &mut FrontEnds, host| {
            front_ends.punt(punt(host, false)).unwrap();
            queues.iter_mut().position(|queue| queue.try_recv().is_ok()).unwrap()
        };
        let before: Vec<usize> = (0..300).map(|host| taken_by(&mut front_ends, host)).collect();
        for index in 0..3 {
            let share = before.iter().filter(|taken| **taken == index).count();
            assert!((60..150).contains(&share), "{index}: {share}");
        }
        front_ends.down(1);
        for (host, before) in (0..300).zip(&before) {
            let after = taken_by(&mut front_ends, host);
            assert!(after == *before || *before == 1, "{host}: {before} -> {after}");
        }
        front_ends.down(0);
        front_ends.down(2);
        assert_eq!(front_ends.punt(punt(1, false)), Err("no_front_end"));
    }

    #[test]
    fn a_full_or_closed_queue_drops_the_newest() {
        let mut front_ends = FrontEnds::new(&TelemetryConfig::default());
        let (sender, receiver) = mpsc::channel(1);
        front_ends.up(0, sender);
        assert_eq!(front_ends.punt(punt(1, false)), Ok(()));
        assert_eq!(front_ends.punt(punt(1, false)), Err("punt_queue_full"));
        drop(receiver);
        assert_eq!(front_ends.punt(punt(1, false)), Err("front_end_lost"));
        assert_eq!(front_ends.punt(punt(1, false)), Err("no_front_end"));
    }

    #[test]
    fn the_ticket_says_how_the_answer_goes() {
        let mut front_ends = FrontEnds::new(&TelemetryConfig::default());
        let (sender, mut receiver) = mpsc::channel(4);
        front_ends.up(0, sender);
        let mut answer = |tunnelled| {
            front_ends.punt(punt(1, tunnelled)).unwrap();
            let ticket = receiver.try_recv().unwrap().ticket;
            Answer::try_from(PuntResponse { ticket, ..PuntResponse::default() }).unwrap().tunnelled
        };
        assert!(answer(true));
        assert!(!answer(false));
        assert!(Answer::try_from(PuntResponse::default()).unwrap().tunnelled, "unasked");
        let wrong = api::UdpOuter { peer_port: 70_000, ..outer_message(outer()) };
        let wrong = PuntResponse { outer: Some(wrong), ..PuntResponse::default() };
        assert!(Answer::try_from(wrong).is_err());
        let right = PuntResponse { outer: Some(outer_message(outer())), ..PuntResponse::default() };
        assert_eq!(Answer::try_from(right).unwrap().outer, Some(outer()));
    }

    fn outer() -> UdpOuter {
        let end = |host, port| SocketAddrV4::new([127, 0, 0, host].into(), port);
        UdpOuter { peer: end(2, 40001), local: end(1, 4191) }
    }
}
