//! Mobile nodes, behind a forwarder that punts their Binding Updates to front-ends.

use std::net::Ipv6Addr;
use std::time::Duration;

use futures_util::StreamExt as _;
use homeport_api::signalling::signalling_client::SignallingClient;
use homeport_api::signalling::{PuntRequest, PuntResponse};
use homeport_wire::{
    Bid, BidOption, BindingAcknowledgement, BindingUpdate, BuFlags, Lifetime, Message,
    MobilityOption, PseudoHeader, Sequence, Status, mobility_packet, walk,
};
use tonic::transport::Channel;

use crate::chance::Chance;
use crate::checks::{Acknowledged, Checks, Event};
use crate::host::Main;
use crate::net::{HostId, Net};
use crate::servers::front_end_address;
use crate::trace::Trace;

/// The home agent's address in the only home prefix.
pub(crate) const HOME_AGENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1);
/// Mobile nodes of one forwarder.
pub(crate) const NODES_PER_FORWARDER: u16 = 5;
/// After this a mobile node sends the next Binding Update.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1200);
/// The longest lifetime asked for, in units of four seconds: most bindings end within a run when they are
/// not refreshed.
const LIFETIME_MAX: u64 = 6;
/// BIDs that a mobile node has.
const BIDS: u64 = 4;

/// A mobile node's home address; the forwarders' nodes are numbered through.
pub(crate) const fn home_address(node: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 1, node)
}

/// What a forwarder's mobile nodes need.
#[derive(Clone)]
pub(crate) struct MobileNodes {
    pub(crate) forwarder: u16,
    pub(crate) front_ends: u64,
    pub(crate) host: HostId,
    pub(crate) seed: u64,
    pub(crate) net: Net,
    pub(crate) checks: Checks,
    pub(crate) trace: Trace,
}

impl MobileNodes {
    /// The process.
    pub(crate) fn main(&self) -> Main {
        let this = self.clone();
        Box::pin(async move {
            let dial = this.net.dial(this.host);
            let endpoints = (1..=this.front_ends).map(|id| {
                let uri = format!("http://{}", front_end_address(id));
                let endpoint = tonic::transport::Endpoint::from_shared(uri)?;
                let endpoint = endpoint
                    .connect_timeout(Duration::from_millis(500))
                    .http2_keep_alive_interval(Duration::from_secs(1))
                    .keep_alive_timeout(Duration::from_secs(1))
                    .keep_alive_while_idle(true);
                Ok::<_, tonic::transport::Error>(dial(&endpoint))
            });
            let channels: Result<Vec<_>, _> = endpoints.collect();
            let channels = channels.map_err(|error| error.to_string())?;
            let first = this.forwarder * NODES_PER_FORWARDER;
            let nodes = (first..first + NODES_PER_FORWARDER).map(|node| {
                let chance = Chance::new(this.seed, &format!("mobile node {node}"));
                let (checks, trace) = (this.checks.clone(), this.trace.clone());
                let (sequence, sent) = (Sequence(0), Vec::new());
                MobileNode { node, chance, channels: &channels, sequence, sent, checks, trace }
            });
            futures_util::future::join_all(nodes.map(MobileNode::run)).await;
            Ok(())
        })
    }
}

struct MobileNode<'c> {
    node: u16,
    chance: Chance,
    channels: &'c [Channel],
    sequence: Sequence,
    /// The last packet: somebody on the path may send it again.
    sent: Vec<u8>,
    checks: Checks,
    trace: Trace,
}

impl MobileNode<'_> {
    async fn run(mut self) {
        let first = self.chance.next();
        self.sequence = Sequence(u16::try_from(first % 0x1_0000).unwrap_or(0));
        loop {
            let pause = self.chance.range(20, 600);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let packet = match self.chance.percent(12) && !self.sent.is_empty() {
                true => self.sent.clone(),
                false => self.update(),
            };
            self.sent.clone_from(&packet);
            let at = usize::try_from(self.chance.next() % 64).unwrap_or(0) % self.channels.len();
            let Some(channel) = self.channels.get(at).cloned() else { return };
            let asked = tokio::time::timeout(ANSWER_TIMEOUT, ask(channel, packet)).await;
            if let Ok(Some(answer)) = asked {
                self.heard(&answer);
            }
        }
    }

    /// A Binding Update, as it comes.
    fn update(&mut self) -> Vec<u8> {
        let skipped = self.chance.range(1, 4);
        self.sequence.0 = self.sequence.0.wrapping_add(u16::try_from(skipped).unwrap_or(1));
        let lifetime = match self.chance.percent(20) {
            true => Lifetime::DEREGISTER,
            false => Lifetime(u16::try_from(self.chance.range(1, LIFETIME_MAX + 1)).unwrap_or(1)),
        };
        let mut flags = BuFlags::ACKNOWLEDGE.with(BuFlags::HOME_REGISTRATION);
        let mut bids = Vec::new();
        // Every other mobile node is one of RFC 6275 alone.
        if self.node.is_multiple_of(2) {
            let first = self.chance.range(1, BIDS + 1);
            let count = if self.chance.percent(50) { 1 } else { self.chance.range(2, 4) };
            for nth in first..first + count {
                let bid = Bid(u16::try_from(nth).unwrap_or(1));
                bids.push(match lifetime.is_deregistration() {
                    true => BidOption::refresh(bid),
                    false => BidOption::v6(bid, self.care_of(u64::from(bid.0))),
                });
            }
            if lifetime.is_deregistration() && self.chance.percent(40) {
                bids.clear();
            }
            if self.chance.percent(25) {
                flags = flags.with(BuFlags::OVERWRITE);
            }
        }
        let source = self.care_of(0);
        let mut options = BindingUpdate::builder();
        for bid in &bids {
            options.push(&MobilityOption::BindingIdentifier(*bid));
        }
        let (sequence, options) = (self.sequence, options.finish());
        let message = Message::BindingUpdate(BindingUpdate { sequence, flags, lifetime, options });
        let home = home_address(self.node);
        let octets = message.emit(home, HOME_AGENT);
        mobility_packet(source, HOME_AGENT, Some(home), None, &octets)
    }

    /// The care-of address of a BID: now and then it is another one.
    fn care_of(&mut self, bid: u64) -> Ipv6Addr {
        let host = self.chance.range(1, 4) + bid * 16;
        Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, self.node, u16::try_from(host).unwrap_or(1))
    }

    fn heard(&mut self, answer: &PuntResponse) {
        let home_address = home_address(self.node);
        let Some(message) = acknowledgement(&answer.packet) else { return };
        if message.status == Status::SEQUENCE_OUT_OF_WINDOW {
            self.sequence = message.sequence;
        }
        self.trace.event(&format!(
            "{home_address} is told {} for {} until {:?} at {}",
            message.status.0, message.sequence, message.lifetime, answer.revision
        ));
        self.checks.see(&Event::Acknowledged(&Acknowledged {
            home_address,
            status: message.status,
            sequence: message.sequence,
            lifetime: message.lifetime,
            revision: answer.revision,
        }));
    }
}

/// Punts a packet; its answer, if there is one.
async fn ask(channel: Channel, packet: Vec<u8>) -> Option<PuntResponse> {
    let request = PuntRequest { ticket: 1, packet: packet.into(), ..PuntRequest::default() };
    let requests = tokio_stream::once(request).chain(futures_util::stream::pending());
    let mut answers = SignallingClient::new(channel).punt(requests).await.ok()?.into_inner();
    loop {
        let answer = answers.message().await.ok()??;
        // Ticket 0 is that of what nobody asked for.
        if answer.ticket == 1 {
            return Some(answer);
        }
    }
}

fn acknowledgement(packet: &[u8]) -> Option<BindingAcknowledgement<'static>> {
    let seen = walk(packet).ok()?;
    let pseudo = PseudoHeader::mobility(seen.pseudo_source(), seen.pseudo_destination());
    match Message::parse(seen.payload, pseudo).ok()?.into_owned() {
        Message::BindingAcknowledgement(message) => Some(message),
        _ => None,
    }
}
