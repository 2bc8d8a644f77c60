//! A home agent made by hand: it believes every Binding Update, answers as the test says, and keeps
//! the last care-of address. What the real one does not do yet, or not when a test wants it.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard};

use homeport_hostnet::Tun;
use homeport_runtime::Task;
use homeport_wire::{
    AdvertisementFlags, BaFlags, Bid, BidOption, BindingAcknowledgement, BindingRevocation,
    BindingUpdate, BuFlags, Icmpv6, Ipv4Header, Ipv6Header, Lifetime, Message, MobilityOption,
    NeighbourOptions, OptionsBuilder, PacketBuilder, PrefixFlags, PrefixInformation,
    RevocationStatus, Status, UdpHeader, encapsulate_v4, mobility_packet, protocol, udp_v4_packet,
    walk,
};

use crate::home_agent::HOME;

/// The home agents' anycast address of 2001:db8:0:1::/64.
const ANYCAST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0xfdff, 0xffff, 0xffff, 0xfffe);

/// Where data for the node goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum To {
    Ipv6(Ipv6Addr),
    /// In UDP, to this port.
    Udp(Ipv4Addr, u16),
    /// Bare, in IPv4.
    Ipv4(Ipv4Addr),
}

/// A Binding Update as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub agent: Ipv6Addr,
    pub flags: BuFlags,
    pub lifetime: Lifetime,
    pub bids: Vec<BidOption>,
    /// The options by name.
    pub options: Vec<String>,
}

pub struct State {
    /// Flags of each answer.
    pub flags: BaFlags,
    /// Options of each answer that asks for more than a copy of the BIDs.
    pub answer: fn(&BindingUpdate<'_>, &mut OptionsBuilder),
    /// Data goes bare in IPv4 to an IPv4 care-of address.
    pub bare: bool,
    pub seen: Vec<Seen>,
    pub to: Option<To>,
    /// The agent that answered last.
    pub agent: Ipv6Addr,
    /// IPv4 packets that came with this protocol.
    pub bare_packets: u64,
    /// Where tunnelled packets came from.
    pub outer_sources: BTreeSet<Ipv6Addr>,
    /// Status of each Binding Revocation Acknowledgement.
    pub revoked: Vec<RevocationStatus>,
    /// Status of each answer.
    pub status: Status,
}

#[derive(Clone)]
pub struct PlainAgent {
    tun: Arc<Tun>,
    agents: [Ipv6Addr; 2],
    v4: Ipv4Addr,
    state: Arc<Mutex<State>>,
    task: Option<Arc<Task>>,
}

impl PlainAgent {
    /// Serves the home agents' addresses, whose packets come out of the device.
    pub fn start(tun: Tun, agents: [Ipv6Addr; 2], v4: Ipv4Addr) -> Self {
        let state = State {
            flags: BaFlags::default(),
            answer: |_, _| {},
            bare: false,
            seen: Vec::new(),
            to: None,
            agent: agents[0],
            bare_packets: 0,
            outer_sources: BTreeSet::new(),
            revoked: Vec::new(),
            status: Status::ACCEPTED,
        };
        let state = Arc::new(Mutex::new(state));
        let mut agent = Self { tun: Arc::new(tun), agents, v4, state, task: None };
        let served = agent.clone();
        agent.task = Some(Arc::new(Task::spawn("plain agent", served.serve())));
        agent
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    async fn serve(self) {
        let mut buffer = vec![0; 65_536];
        loop {
            let len = self.tun.recv(&mut buffer).await.unwrap();
            if let Some(packet) = self.handle(&buffer[..len]) {
                self.tun.send(&packet).await.unwrap();
            }
        }
    }

    /// Sends a message of the home agent to the node.
    pub async fn send(&self, message: Message<'static>) {
        let (packet, to) = {
            let state = self.state();
            let mh = message.emit(state.agent, HOME);
            match state.to {
                Some(To::Ipv6(care_of)) => {
                    (mobility_packet(state.agent, care_of, None, Some(HOME), &mh), None)
                }
                other => (mobility_packet(state.agent, HOME, None, None, &mh), other),
            }
        };
        assert_eq!(to, None, "over IPv6 only");
        self.tun.send(&packet).await.unwrap();
    }

    /// The same through the tunnel.
    pub async fn send_tunnelled(&self, message: Message<'static>) {
        let packet = {
            let state = self.state();
            let inner =
                mobility_packet(state.agent, HOME, None, None, &message.emit(state.agent, HOME));
            down(self.v4, &state, &inner)
        };
        self.tun.send(&packet.unwrap()).await.unwrap();
    }

    fn handle(&self, packet: &[u8]) -> Option<Vec<u8>> {
        if packet[0] >> 4 == 4 {
            return self.handle_v4(packet);
        }
        let (header, payload) = Ipv6Header::parse(packet).ok()?;
        if header.destination == ANYCAST {
            return self.discovery(packet);
        }
        if !self.agents.contains(&header.destination) {
            return down(self.v4, &self.state(), packet);
        }
        match header.next_header {
            protocol::IPV6 | protocol::IPV4 => {
                self.state().outer_sources.insert(header.source);
                Some(payload.to_vec())
            }
            _ => self.icmpv6(packet).or_else(|| self.signalling(packet, To::Ipv6(header.source))),
        }
    }

    /// All home agents, the second first.
    fn discovery(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let walked = walk(packet).ok()?;
        let Ok(Icmpv6::HomeAgentAddressDiscoveryRequest { identifier, flags }) =
            Icmpv6::parse(walked.payload, walked.pseudo_header())
        else {
            return None;
        };
        let addresses = self.agents.iter().rev().copied().collect();
        let reply = Icmpv6::HomeAgentAddressDiscoveryReply { identifier, flags, addresses };
        let (from, to) = (self.agents[0], walked.header.source);
        Some(PacketBuilder::new(from, to).build(protocol::ICMPV6, &reply.emit(from, to)))
    }

    /// A prefix for who asks for prefixes.
    fn icmpv6(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let walked = walk(packet).ok().filter(|walked| walked.upper == protocol::ICMPV6)?;
        let Ok(Icmpv6::MobilePrefixSolicitation { identifier }) =
            Icmpv6::parse(walked.payload, walked.pseudo_header())
        else {
            return None;
        };
        let (from, to) = (walked.header.destination, walked.header.source);
        let prefix = PrefixInformation {
            prefix_len: 64,
            flags: PrefixFlags(0xe0),
            valid_secs: 7_200,
            preferred_secs: 3_600,
            prefix: from,
        };
        let options = NeighbourOptions::of_prefixes(&[prefix]);
        let flags = AdvertisementFlags::default();
        let message = Icmpv6::MobilePrefixAdvertisement { identifier, flags, options };
        let builder = PacketBuilder::new(from, to).routing_home_address(Some(HOME));
        Some(builder.build(protocol::ICMPV6, &message.emit(from, HOME)))
    }

    fn handle_v4(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let (header, payload) = Ipv4Header::parse(packet).ok()?;
        if header.destination != self.v4 {
            return down(self.v4, &self.state(), packet);
        }
        match header.protocol {
            protocol::IPV6 | protocol::IPV4 => {
                self.state().bare_packets += 1;
                Some(payload.to_vec())
            }
            protocol::UDP => {
                let (udp, inner) =
                    UdpHeader::parse_v4(payload, header.source, header.destination).ok()?;
                let walked = walk(inner).ok();
                if walked.is_some_and(|walked| walked.upper == protocol::MOBILITY) {
                    return self.signalling(inner, To::Udp(header.source, udp.source_port));
                }
                Some(inner.to_vec())
            }
            _ => None,
        }
    }

    fn signalling(&self, packet: &[u8], from: To) -> Option<Vec<u8>> {
        let walked = walk(packet).ok()?;
        let update = match Message::parse(walked.payload, walked.pseudo_header()) {
            Ok(Message::BindingUpdate(update)) => update,
            Ok(Message::BindingRevocation(BindingRevocation::Acknowledgement(answer))) => {
                self.state().revoked.push(answer.status);
                return None;
            }
            _ => return None,
        };
        let mut state = self.state();
        let agent = walked.header.destination;
        state.seen.push(seen(agent, &update));
        state.agent = agent;
        if update.lifetime.is_deregistration() {
            state.to = None;
        } else if from != To::Ipv6(HOME) {
            state.to = Some(match from {
                To::Udp(address, _) if state.bare => To::Ipv4(address),
                other => other,
            });
        }
        let mh = acknowledgement(&state, &update).emit(agent, HOME);
        Some(match from {
            To::Ipv6(care_of) if care_of != HOME => {
                mobility_packet(agent, care_of, None, Some(HOME), &mh)
            }
            To::Udp(address, port) => {
                let inner = mobility_packet(agent, HOME, None, None, &mh);
                udp_v4_packet((self.v4, 4191), (address, port), &inner)
            }
            To::Ipv6(_) | To::Ipv4(_) => mobility_packet(agent, HOME, None, None, &mh),
        })
    }
}

fn seen(agent: Ipv6Addr, update: &BindingUpdate<'_>) -> Seen {
    let mut seen = Seen {
        agent,
        flags: update.flags,
        lifetime: update.lifetime,
        bids: Vec::new(),
        options: Vec::new(),
    };
    for option in update.options.iter() {
        match option {
            MobilityOption::BindingIdentifier(option) => seen.bids.push(option),
            other => seen.options.push(format!("{other:?}")),
        }
    }
    seen
}

fn acknowledgement(state: &State, update: &BindingUpdate<'_>) -> Message<'static> {
    let mut options = OptionsBuilder::for_binding_acknowledgement();
    (state.answer)(update, &mut options);
    for option in update.options.iter() {
        if let MobilityOption::BindingIdentifier(BidOption { bid: Bid(bid), .. }) = option {
            options.push(&MobilityOption::BindingIdentifier(BidOption::refresh(Bid(bid))));
        }
    }
    Message::BindingAcknowledgement(BindingAcknowledgement {
        status: state.status,
        flags: state.flags,
        sequence: update.sequence,
        lifetime: update.lifetime,
        options: options.finish(),
    })
}

/// A packet for the node, in the tunnel.
fn down(v4: Ipv4Addr, state: &State, inner: &[u8]) -> Option<Vec<u8>> {
    let kind = if inner[0] >> 4 == 4 { protocol::IPV4 } else { protocol::IPV6 };
    Some(match state.to? {
        To::Ipv6(care_of) => PacketBuilder::new(state.agent, care_of).build(kind, inner),
        To::Udp(address, port) => udp_v4_packet((v4, 4191), (address, port), inner),
        To::Ipv4(address) => encapsulate_v4(inner, kind, v4, address, 64, 0),
    })
}
