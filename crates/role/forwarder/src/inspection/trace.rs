//! One trace: whom it watches, for how long, and the queue to whom it tells.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

use homeport_api::inspection::{
    Direction, Stage, TraceEnded, TraceResponse, TraceStarted, TracedPacket, trace_response::Event,
};
use homeport_forwarding::{Action, Ingress};
use homeport_wire::{Ipv4Header, UdpHeader, protocol};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;
use tonic::Status;

use super::addresses::Named;
use crate::limits;

/// Whom a trace is to watch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    pub(crate) address: IpAddr,
    /// One address, not a prefix.
    pub(crate) is_host: bool,
}

/// How much of it, checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TraceLimits {
    pub(crate) care_of: Option<IpAddr>,
    pub(crate) secs: u32,
    pub(crate) packets: u32,
    pub(crate) snap_octets: usize,
}

/// A packet as it is shown.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) octets: Vec<u8>,
    rebuilt: bool,
    decision: &'static str,
    rfc_section: Option<&'static str>,
}

impl Seen {
    pub(crate) fn arrival(octets: &[u8], rebuilt: bool) -> Self {
        Self { octets: octets.to_vec(), rebuilt, decision: "", rfc_section: None }
    }

    pub(crate) fn of_action(action: &Action) -> Self {
        let (octets, rebuilt, rfc_section) = match action {
            Action::Punt(punt) => (punt.packet.clone(), false, None),
            Action::SendIpv6(packet)
            | Action::SendIpv4(packet)
            | Action::DeliverOnLink { packet, .. } => (packet.clone(), false, None),
            Action::SendUdp { peer, local, payload, .. } => {
                let from = (*local.ip(), local.port());
                let octets = datagram(from, (*peer.ip(), peer.port()), payload);
                (octets.unwrap_or_default(), true, None)
            }
            // The packet is the one that came.
            Action::Drop(reason) => (Vec::new(), false, reason.rfc_section()),
        };
        Self { octets, rebuilt, decision: action.name(), rfc_section }
    }
}

/// A packet that came, and whether its outer headers were made up: copied only then.
pub(crate) fn packet<'p>(ingress: &Ingress<'p>) -> Option<(Cow<'p, [u8]>, bool)> {
    Some(match *ingress {
        Ingress::Ip(packet) => (Cow::Borrowed(packet), false),
        Ingress::Udp { peer, local, payload } => {
            let (from, to) = ((*peer.ip(), peer.port()), (*local.ip(), local.port()));
            (Cow::Owned(datagram(from, to, payload)?), true)
        }
    })
}

/// The packet that a socket shows only the payload of.
fn datagram(
    from: (std::net::Ipv4Addr, u16),
    to: (std::net::Ipv4Addr, u16),
    payload: &[u8],
) -> Option<Vec<u8>> {
    let udp = UdpHeader { source_port: from.1, destination_port: to.1 };
    let datagram = udp.emit_v4(from.0, to.0, payload);
    let total_len = u16::try_from(datagram.len() + Ipv4Header::LEN).ok()?;
    let mut packet = Vec::with_capacity(usize::from(total_len));
    let header = Ipv4Header {
        dscp_ecn: 0,
        total_len,
        identification: 0,
        flags_fragment: 0,
        ttl: 64,
        protocol: protocol::UDP,
        source: from.0,
        destination: to.0,
    };
    header.emit(&mut packet);
    packet.extend_from_slice(&datagram);
    Some(packet)
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Trace {
    home: Ipv6Addr,
    limits: TraceLimits,
    ends_ms: u64,
    queue: mpsc::Sender<TraceResponse>,
    /// The last message has its place from the beginning.
    last: Option<mpsc::OwnedPermit<TraceResponse>>,
    /// The packet that is being handled: shown again when it is dropped.
    arrival: Option<Seen>,
    sent: u64,
    missed: u64,
}

impl Trace {
    pub(crate) fn begin(
        home: Ipv6Addr,
        limits: TraceLimits,
        left_fast_path: bool,
        now_ms: u64,
    ) -> Result<(Self, mpsc::Receiver<TraceResponse>), Status> {
        let (queue, receiver) = mpsc::channel(limits::TRACE_WAITING_MAX + 2);
        let started = TraceStarted { home_address: home.to_string(), left_fast_path };
        let started = TraceResponse { event: Some(Event::Started(started)), missed: 0 };
        let full = |_full| Status::internal("a new queue is full");
        let last = queue.clone().try_reserve_owned().map_err(|_| Status::internal("no queue"))?;
        queue.try_send(started).map_err(full)?;
        let ends_ms = now_ms.saturating_add(u64::from(limits.secs) * 1000);
        let trace = Self {
            home,
            limits,
            ends_ms,
            queue,
            last: Some(last),
            arrival: None,
            sent: 0,
            missed: 0,
        };
        Ok((trace, receiver))
    }

    pub(crate) const fn home(&self) -> Ipv6Addr {
        self.home
    }

    /// Whether a packet names the care-of address that is asked for, if one is.
    pub(crate) fn is_of_care_of(&self, named: &[Named]) -> bool {
        self.limits.care_of.is_none_or(|care_of| named.iter().any(|it| it.address == care_of))
    }

    pub(crate) fn show_arrival(&mut self, seen: Seen, is_to_it: bool) {
        self.show(Stage::Arrived, &seen, is_to_it, "", "");
        self.arrival = Some(seen);
    }

    pub(crate) fn show_outcome(&mut self, seen: &Seen, is_to_it: bool, dropped: Option<&str>) {
        match dropped {
            None => self.show(Stage::Sent, seen, is_to_it, seen.decision, ""),
            Some(reason) => {
                let section = seen.rfc_section.unwrap_or_default();
                match self.arrival.take() {
                    Some(arrival) if seen.octets.is_empty() => {
                        self.show(Stage::Dropped, &arrival, is_to_it, reason, section);
                        self.arrival = Some(arrival);
                    }
                    arrival => {
                        self.arrival = arrival;
                        self.show(Stage::Dropped, seen, is_to_it, reason, section);
                    }
                }
            }
        }
    }

    fn show(&mut self, stage: Stage, seen: &Seen, is_to_it: bool, decision: &str, section: &str) {
        if self.is_full() {
            return;
        }
        let direction = if is_to_it { Direction::ToMobileNode } else { Direction::FromMobileNode };
        let shown = seen.octets.get(..self.limits.snap_octets).unwrap_or(&seen.octets);
        let packet = TracedPacket {
            time_us: unix_us(),
            direction: direction.into(),
            stage: stage.into(),
            decision: decision.to_owned(),
            rfc_section: section.to_owned(),
            octets: shown.to_vec().into(),
            length_octets: u32::try_from(seen.octets.len()).unwrap_or(u32::MAX),
            outer_headers_rebuilt: seen.rebuilt,
        };
        let message = TraceResponse { event: Some(Event::Packet(packet)), missed: self.missed };
        match self.queue.try_send(message) {
            Ok(()) => self.sent = self.sent.saturating_add(1),
            Err(_) => self.missed = self.missed.saturating_add(1),
        }
    }

    fn is_full(&self) -> bool {
        self.sent >= u64::from(self.limits.packets)
    }

    /// False when it has ended, which its reader is told.
    pub(crate) fn goes_on(&mut self, now_ms: u64) -> bool {
        if self.queue.is_closed() {
            return false;
        }
        let reason = if self.is_full() {
            "packets"
        } else if now_ms >= self.ends_ms {
            "duration"
        } else {
            return true;
        };
        self.end(reason);
        false
    }

    fn end(&mut self, reason: &str) {
        if let Some(last) = self.last.take() {
            let ended = TraceEnded { reason: reason.to_owned(), packets: self.sent };
            last.send(TraceResponse { event: Some(Event::Ended(ended)), missed: self.missed });
        }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.end("stopping");
    }
}

fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
