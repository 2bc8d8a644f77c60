//! A node, a clock and the octets of home agents.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use hmac::{Hmac, KeyInit, Mac};
use homeport_mobile::{
    Arrival, CareOf, CareOfAddress, Command, DropReason, Event, Input, Millis, MnHaAssociation,
    MobileNode, Now, NtpTime, Outcome, Output, Path, RequestId, Settings, Transmit,
};
use homeport_wire::{
    BaFlags, Bid, BidOption, BindingAcknowledgement, BindingUpdate, BuFlags, FlowStatus,
    Ipv4AddressStatus, Lifetime, Message, MobilityOption, OptionsBuilder, PseudoHeader, Sequence,
    Status, mobility_packet, protocol, walk,
};
use sha1::Sha1;

pub const HOME_AGENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1);
/// Not the one that the settings name.
pub const SECOND_AGENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 2);
pub const HOME: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x100);
pub const CORRESPONDENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 0x99);
pub const COA1: CareOf = CareOf::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 0x11));
pub const COA2: CareOf = CareOf::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 0, 0x22));
pub const COA3: CareOf = CareOf::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 0x33));
pub const COA_V4: CareOf = CareOf::V4(Ipv4Addr::new(192, 0, 2, 44));
pub const COA_V4_OTHER: CareOf = CareOf::V4(Ipv4Addr::new(192, 0, 2, 45));
pub const HOME_AGENT_V4: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 1), 4191);

/// The lifetime that [`Lab`] asks for, in units of four seconds.
pub const ASKED: Lifetime = Lifetime(150);

pub fn settings() -> Settings {
    let mut settings = Settings::new(HOME, HOME_AGENT);
    settings.home_agent_v4 = Some(HOME_AGENT_V4);
    settings.updates_per_second_max = 1000;
    settings.refresh.short = true;
    settings
}

pub fn association() -> MnHaAssociation {
    MnHaAssociation {
        spi: 0x100,
        key: (0x10..=0x1f).collect(),
        identifier: b"mn1@example.com".to_vec(),
        message_id: false,
    }
}

pub fn address(bid: u16, care_of: CareOf) -> CareOfAddress {
    CareOfAddress::new(Bid(bid), care_of)
}

/// A Binding Update as the home agent sees it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub agent: Ipv6Addr,
    pub path: Path,
    pub sequence: Sequence,
    pub flags: BuFlags,
    pub lifetime: Lifetime,
    pub bids: Vec<BidOption>,
    pub message_id: Option<u64>,
    pub ipv4_home_address: Option<Ipv4Addr>,
    pub flows: Vec<u16>,
    pub flow_summary: Vec<u16>,
    pub options: Vec<&'static str>,
    pub header: Vec<u8>,
}

impl Seen {
    pub fn overwrites(&self) -> bool {
        self.flags.contains(BuFlags::OVERWRITE)
    }

    pub fn names(&self) -> Vec<u16> {
        self.bids.iter().map(|option| option.bid.0).collect()
    }
}

/// A node, the time, and what came out of it so far and was not looked at.
pub struct Lab {
    pub node: MobileNode,
    pub now: u64,
    pub ntp: u64,
    pub key: Option<MnHaAssociation>,
    outputs: Vec<Output>,
    requests: u64,
}

impl Lab {
    pub fn new(settings: Settings) -> Self {
        let key = settings.authentication.clone();
        let node = MobileNode::new(settings, Sequence(999)).unwrap();
        Self {
            node,
            now: 10_000,
            ntp: 0xecf4_9240_8000_0000,
            key,
            outputs: Vec::new(),
            requests: 0,
        }
    }

    /// A node with these addresses registered one by one.
    pub fn registered(settings: Settings, addresses: &[CareOfAddress]) -> Self {
        let mut lab = Self::new(settings);
        lab.command(Command::Register { addresses: addresses.to_vec(), bulk: false });
        lab.accept_everything();
        lab.take();
        lab
    }

    pub fn input(&mut self, input: Input<'_>) {
        let now = Now { monotonic: Millis(self.now), ntp: NtpTime(self.ntp) };
        let outputs = self.node.handle(now, input);
        self.outputs.extend(outputs);
    }

    pub fn command(&mut self, command: Command) -> RequestId {
        self.requests += 1;
        let request = RequestId(self.requests);
        self.input(Input::Command(request, command));
        request
    }

    pub fn register(&mut self, addresses: &[CareOfAddress], bulk: bool) -> RequestId {
        self.command(Command::Register { addresses: addresses.to_vec(), bulk })
    }

    pub fn advance(&mut self, ms: u64) {
        self.now += ms;
        self.input(Input::Timeout);
    }

    /// Jumps to the next deadline and gives the milliseconds that it took.
    pub fn jump(&mut self) -> u64 {
        let deadline = self.node.next_deadline().unwrap().0;
        assert!(deadline >= self.now, "the deadline {deadline} is past {}", self.now);
        let step = deadline - self.now;
        self.advance(step);
        step
    }

    pub fn take(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// The packets, taken out; events stay.
    pub fn packets(&mut self) -> Vec<Transmit> {
        let (sent, rest) =
            self.take().into_iter().partition(|output| matches!(output, Output::Send(_)));
        self.outputs = rest;
        let packet = |output| match output {
            Output::Send(transmit) => transmit,
            other => panic!("{other:?}"),
        };
        Vec::into_iter(sent).map(packet).collect()
    }

    /// The Binding Updates among them; there must be nothing else.
    pub fn updates(&mut self) -> Vec<Seen> {
        self.packets().iter().map(see).collect()
    }

    /// The one Binding Update.
    pub fn update(&mut self) -> Seen {
        let mut updates = self.updates();
        assert_eq!(updates.len(), 1, "{updates:?}");
        updates.remove(0)
    }

    /// The events but `Sent` and `Acknowledged`, taken out.
    pub fn events(&mut self) -> Vec<Event> {
        let taken = self.take();
        let mut events = Vec::new();
        for output in taken {
            match output {
                Output::Event(Event::Sent { .. } | Event::Acknowledged { .. }) => {}
                Output::Event(event) => events.push(event),
                other => self.outputs.push(other),
            }
        }
        events
    }

    /// How a command ended; panics when it has not.
    pub fn results(&mut self, request: RequestId) -> Vec<(Option<Bid>, Outcome)> {
        self.try_results(request).unwrap()
    }

    pub fn try_results(&mut self, wanted: RequestId) -> Option<Vec<(Option<Bid>, Outcome)>> {
        self.outputs.iter().find_map(|output| match output {
            Output::Event(Event::Completed { request, results }) if *request == wanted => {
                Some(results.clone())
            }
            _ => None,
        })
    }

    pub fn drops(&self) -> Vec<DropReason> {
        let reason = |output: &Output| match output {
            Output::Dropped(reason) => Some(*reason),
            _ => None,
        };
        self.outputs.iter().filter_map(reason).collect()
    }

    /// The home agent's usual answer: the BIDs copied, each with this status.
    pub fn answer(&mut self, seen: &Seen, status: Status, bids: &[(u16, Status)]) {
        let lifetime = if status.is_accepted() { seen.lifetime } else { Lifetime(0) };
        let ba = Answer { lifetime, ..Answer::to(seen, status, bids) };
        self.deliver(&ba, seen.path);
    }

    pub fn accept(&mut self, seen: &Seen) {
        let bids: Vec<_> = seen.names().into_iter().map(|bid| (bid, Status::ACCEPTED)).collect();
        self.answer(seen, Status::ACCEPTED, &bids);
    }

    /// Refuses as a whole: the options are copied with status zero.
    pub fn refuse(&mut self, seen: &Seen, status: Status) {
        let bids: Vec<_> = seen.names().into_iter().map(|bid| (bid, Status::ACCEPTED)).collect();
        self.answer(seen, status, &bids);
    }

    pub fn deliver(&mut self, answer: &Answer, path: Path) {
        let packet = answer.packet(path, self.key.as_ref());
        self.arrive(path, &packet);
    }

    pub fn arrive(&mut self, path: Path, packet: &[u8]) {
        let arrival = match path {
            Path::Udp(care_of) => Arrival::Udp { care_of, peer: HOME_AGENT_V4, payload: packet },
            Path::Foreign(_) | Path::Home => Arrival::Ipv6(packet),
        };
        self.input(Input::Packet(arrival));
    }

    /// Accepts updates until no more come.
    pub fn accept_everything(&mut self) {
        for _ in 0..100 {
            let updates = self.updates();
            if updates.is_empty() {
                return;
            }
            for seen in updates {
                self.accept(&seen);
            }
        }
        panic!("the node does not stop");
    }
}

/// A Binding Acknowledgement to be.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: Status,
    pub sequence: Sequence,
    pub lifetime: Lifetime,
    pub bids: Vec<BidOption>,
    pub message_id: Option<u64>,
    pub nat_refresh_secs: Option<u32>,
    pub force_udp: bool,
    pub ipv4: Option<(Ipv4AddressStatus, Ipv4Addr)>,
    pub refresh_advice: Option<Lifetime>,
    pub flags: BaFlags,
    pub flows: Vec<(u16, FlowStatus)>,
}

impl Answer {
    pub fn to(seen: &Seen, status: Status, bids: &[(u16, Status)]) -> Self {
        let option =
            |(bid, status): &(u16, Status)| BidOption::refresh(Bid(*bid)).with_status(*status);
        Self {
            status,
            sequence: seen.sequence,
            lifetime: seen.lifetime,
            bids: bids.iter().map(option).collect(),
            message_id: seen.message_id,
            nat_refresh_secs: None,
            force_udp: false,
            ipv4: None,
            refresh_advice: None,
            flags: BaFlags::default(),
            flows: Vec::new(),
        }
    }

    /// The packet, protected with `key` if there is one.
    pub fn packet(&self, path: Path, key: Option<&MnHaAssociation>) -> Vec<u8> {
        let mut options = OptionsBuilder::for_binding_acknowledgement();
        if let Some((status, address)) = self.ipv4 {
            let prefix_len = if status == Ipv4AddressStatus::ACCEPTED { 32 } else { 0 };
            let status = status.0;
            options.push(&MobilityOption::Ipv4AddressAck { status, prefix_len, address });
        }
        for bid in &self.bids {
            options.push(&MobilityOption::BindingIdentifier(*bid));
        }
        for (fid, status) in &self.flows {
            options.push_flow(*fid, 1, *status, &[], None);
        }
        if let Some(refresh_secs) = self.nat_refresh_secs {
            options.push(&MobilityOption::NatDetection { force_udp: self.force_udp, refresh_secs });
        }
        if let Some(interval) = self.refresh_advice {
            options.push(&MobilityOption::BindingRefreshAdvice { interval });
        }
        if let Some(key) = key {
            options.push(&MobilityOption::MobileNodeIdentifier {
                subtype: 1,
                identifier: &key.identifier,
            });
        }
        if let Some(timestamp) = self.message_id {
            options.push(&MobilityOption::MessageId { timestamp });
        }
        if let Some(key) = key {
            options.push_authentication(1, key.spi, 12);
        }
        let message = Message::BindingAcknowledgement(BindingAcknowledgement {
            status: self.status,
            flags: self.flags,
            sequence: self.sequence,
            lifetime: self.lifetime,
            options: options.finish(),
        });
        envelope(path, &protect(message, path, key))
    }
}

/// Octets of a message from the home agent, with an authenticator if there is a key.
pub fn protect(message: Message<'static>, path: Path, key: Option<&MnHaAssociation>) -> Vec<u8> {
    let message = match key {
        Some(key) => {
            let header = message.emit_unchecked();
            message.with_authenticator(&mac(key, path, &header[..header.len() - 12]))
        }
        None => message,
    };
    message.emit(HOME_AGENT, HOME)
}

/// The packet in which the home agent sends a message on this path.
pub fn envelope(path: Path, header: &[u8]) -> Vec<u8> {
    match path {
        Path::Foreign(care_of) => mobility_packet(HOME_AGENT, care_of, None, Some(HOME), header),
        Path::Udp(_) | Path::Home => mobility_packet(HOME_AGENT, HOME, None, None, header),
    }
}

/// RFC 4285 §5.1, written a second time.
pub fn mac(key: &MnHaAssociation, path: Path, covered: &[u8]) -> [u8; 12] {
    let care_of = match path {
        Path::Foreign(address) => address,
        Path::Udp(address) => address.to_ipv6_mapped(),
        Path::Home => HOME,
    };
    let mut mac = Hmac::<Sha1>::new_from_slice(&key.key).unwrap();
    for part in [care_of.octets().as_slice(), HOME.octets().as_slice(), covered] {
        mac.update(part);
    }
    mac.finalize().into_bytes()[..12].try_into().unwrap()
}

/// Takes a packet of the node apart as a home agent does.
pub fn see(transmit: &Transmit) -> Seen {
    let (path, packet) = match transmit {
        Transmit::Ipv6 { from: HOME, packet } => (Path::Home, packet),
        Transmit::Ipv6 { from, packet } => (Path::Foreign(*from), packet),
        Transmit::Udp { from, payload } => (Path::Udp(*from), payload),
        Transmit::Ipv4 { .. } => panic!("signalling goes in UDP: {transmit:?}"),
    };
    let walked = walk(packet).unwrap();
    assert_eq!(walked.upper, protocol::MOBILITY);
    let agent = walked.header.destination;
    assert!([HOME_AGENT, SECOND_AGENT].contains(&agent), "{agent}");
    assert_eq!(walked.pseudo_source(), HOME);
    match path {
        Path::Foreign(from) => {
            assert_eq!(walked.header.source, from);
            assert!(walked.home_address.is_some());
        }
        Path::Udp(_) | Path::Home => {
            assert_eq!(walked.header.source, HOME);
            assert!(walked.home_address.is_none());
        }
    }
    let message = Message::parse(walked.payload, PseudoHeader::mobility(HOME, agent)).unwrap();
    let Message::BindingUpdate(update) = message else {
        panic!("{message:?}");
    };
    Seen { agent, ..describe(path, &update, walked.payload) }
}

fn describe(path: Path, update: &BindingUpdate<'_>, header: &[u8]) -> Seen {
    let mut seen = Seen {
        agent: HOME_AGENT,
        path,
        sequence: update.sequence,
        flags: update.flags,
        lifetime: update.lifetime,
        bids: Vec::new(),
        message_id: None,
        ipv4_home_address: None,
        flows: Vec::new(),
        flow_summary: Vec::new(),
        options: Vec::new(),
        header: header.to_vec(),
    };
    for option in update.options.iter() {
        seen.options.push(match option {
            MobilityOption::BindingIdentifier(bid) => {
                seen.bids.push(bid);
                "bid"
            }
            MobilityOption::AlternateCareOf(_) => "alternate care-of",
            MobilityOption::Ipv4CareOf(_) => "ipv4 care-of",
            MobilityOption::MobileNetworkPrefix { .. } => "prefix",
            MobilityOption::LinkLayerAddress { .. } => "link-layer address",
            MobilityOption::Ipv4HomeAddress { address, .. } => {
                seen.ipv4_home_address = Some(address);
                "ipv4 home"
            }
            MobilityOption::FlowIdentification(flow) => {
                seen.flows.push(flow.fid);
                "flow"
            }
            MobilityOption::FlowSummary(fids) => {
                seen.flow_summary.extend(fids.iter());
                "flow summary"
            }
            MobilityOption::MobileNodeIdentifier { .. } => "identifier",
            MobilityOption::Authentication { .. } => "authentication",
            MobilityOption::MessageId { timestamp } => {
                seen.message_id = Some(timestamp);
                "message id"
            }
            other => panic!("{other:?}"),
        });
    }
    seen
}
