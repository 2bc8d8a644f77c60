//! Whatever a network loses, doubles and delays, and whatever the node is told meanwhile: when the
//! faults end, node and home agent are of one mind.
//!
//! Simulated time, no sockets: the node's machine against the cores of the home agent.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use homeport_binding::{Authentication, CareOf as Bound};
use homeport_forwarding::Ingress;
use homeport_mobile::{
    Arrival, CareOf, CareOfAddress, Command, Input, Millis, MnHaAssociation, MobileNode, Now,
    NtpTime, Output, RequestId, Settings, Transmit,
};
use homeport_wire::{Bid, Ipv6Header, Lifetime, Sequence};
use proptest::prelude::*;

use crate::home_agent::{HOME, HOME_AGENT, NAI, Out, SPI, State};

/// Wall time at which each run begins.
const BEGIN_MS: u64 = 1_800_000_000_000;
const LIFETIME_SECS: u32 = 60;
/// Longer than any binding lives, and than the pauses after silence.
const CALM_MS: u64 = 400_000;
const AGENT_V4: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 4191);
const NODE_PORT: u16 = 40_000;

/// What happens to a packet on its way.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Arrives { after_ms: u64 },
    Twice { after_ms: u64 },
    Lost,
}

#[derive(Clone, Debug)]
enum Step {
    Command(Command),
    Wait(u64),
    /// The node forgets everything and starts again.
    Reboot(u16),
}

/// A packet on its way, by the time at which it arrives.
enum Flying {
    ToAgent(Transmit),
    ToNode(Out),
}

struct World {
    now_ms: u64,
    node: MobileNode,
    agent: State,
    flying: BTreeMap<(u64, u64), Flying>,
    sent: u64,
    fates: Vec<Fate>,
}

fn settings() -> Settings {
    Settings {
        home_agent_v4: Some(AGENT_V4),
        lifetime: Lifetime::from_secs(LIFETIME_SECS),
        updates_per_second_max: 3,
        authentication: Some(MnHaAssociation {
            spi: SPI,
            key: (0x10..=0x1f).collect(),
            identifier: NAI.as_bytes().to_vec(),
            message_id: false,
        }),
        ..Settings::new(HOME, HOME_AGENT)
    }
}

impl World {
    fn new(fates: Vec<Fate>) -> Self {
        let agent = State::new(Authentication::MnHa, AGENT_V4, true);
        let node = MobileNode::new(settings(), Sequence(7)).unwrap();
        let flying = BTreeMap::new();
        let mut world = Self { now_ms: 0, node, agent, flying, sent: 0, fates };
        world.agent.simulated_ms = Some(BEGIN_MS);
        world
    }

    fn input(&mut self, input: Input<'_>) {
        let ntp = NtpTime::from_unix_ms(BEGIN_MS + self.now_ms);
        let now = Now { monotonic: Millis(self.now_ms), ntp };
        for output in self.node.handle(now, input) {
            if let Output::Send(transmit) = output {
                self.fly(|| Flying::ToAgent(transmit.clone()));
            }
        }
    }

    fn fly(&mut self, packet: impl Fn() -> Flying) {
        let fates = self.fates.len().max(1);
        let at = usize::try_from(self.sent).unwrap() % fates;
        let arrivals = match self.fates.get(at).copied().unwrap_or(Fate::Arrives { after_ms: 5 }) {
            Fate::Arrives { after_ms } => vec![after_ms],
            Fate::Twice { after_ms } => vec![5, after_ms],
            Fate::Lost => vec![],
        };
        self.sent += 1;
        for after_ms in arrivals {
            self.sent += 1;
            self.flying.insert((self.now_ms + after_ms, self.sent), packet());
        }
    }

    /// Lets time pass; everything that is due happens in order.
    fn wait(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        loop {
            let timer = self.node.next_deadline().map(|at| at.0.max(self.now_ms));
            let packet = self.flying.first_key_value().map(|(at, _)| at.0.max(self.now_ms));
            let next = timer.into_iter().chain(packet).min().filter(|at| *at <= end);
            self.now_ms = next.unwrap_or(end);
            self.agent.simulated_ms = Some(BEGIN_MS + self.now_ms);
            match next {
                None => return,
                Some(at) if packet == Some(at) => self.land(),
                Some(_) => self.input(Input::Timeout),
            }
        }
    }

    fn land(&mut self) {
        match self.flying.pop_first().unwrap().1 {
            Flying::ToAgent(Transmit::Ipv6 { packet, .. }) => {
                self.agent_takes(Ingress::Ip(&packet));
            }
            Flying::ToAgent(Transmit::Udp { from, payload }) => {
                let peer = SocketAddrV4::new(from, NODE_PORT);
                self.agent_takes(Ingress::Udp { peer, local: AGENT_V4, payload: &payload });
            }
            // Data only, and there is none.
            Flying::ToAgent(Transmit::Ipv4 { .. }) => panic!(),
            Flying::ToNode(Out::Ipv6(packet)) => {
                self.input(Input::Packet(Arrival::Ipv6(&packet)));
            }
            Flying::ToNode(Out::Udp(to, payload)) => {
                let (care_of, peer) = (*to.ip(), AGENT_V4);
                let arrival = Arrival::Udp { care_of, peer, payload: &payload };
                self.input(Input::Packet(arrival));
            }
        }
    }

    fn agent_takes(&mut self, ingress: Ingress<'_>) {
        for out in self.agent.handle(ingress) {
            if let Out::Ipv6(packet) = &out {
                assert!(Ipv6Header::parse(packet).is_ok());
            }
            self.fly(|| match &out {
                Out::Ipv6(packet) => Flying::ToNode(Out::Ipv6(packet.clone())),
                Out::Udp(to, payload) => Flying::ToNode(Out::Udp(*to, payload.clone())),
            });
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Command(command) => {
                self.input(Input::Command(RequestId::NOBODY, command));
            }
            Step::Wait(ms) => self.wait(ms),
            Step::Reboot(sequence) => {
                self.node = MobileNode::new(settings(), Sequence(sequence)).unwrap();
            }
        }
    }

    /// What the home agent has.
    fn agent_has(&self) -> BTreeMap<u16, CareOf> {
        let home = self.agent.cache.home(HOME);
        let bindings = home.into_iter().flat_map(|home| &home.bindings);
        bindings
            .map(|(bid, binding)| {
                let care_of = match binding.care_of {
                    Bound::Ipv6(address) => CareOf::V6(address),
                    Bound::Ipv4 { announced, .. } => CareOf::V4(announced),
                };
                (bid.map_or(0, |bid| bid.0), care_of)
            })
            .collect()
    }

    /// What the node believes that the home agent has.
    fn node_believes(&self) -> BTreeMap<u16, CareOf> {
        let views = self.node.bindings().into_iter();
        views.filter_map(|view| Some((view.bid.0, view.registered?.care_of))).collect()
    }

    fn node_wants(&self) -> BTreeMap<u16, CareOf> {
        let views = self.node.bindings().into_iter().filter(|view| view.wanted);
        views.map(|view| (view.bid.0, view.care_of)).collect()
    }
}

fn care_of() -> impl Strategy<Value = CareOf> {
    let v6 = |link: u16| CareOf::V6(Ipv6Addr::new(0x2001, 0xdb8, link, 0, 0, 0, 0, 0x11));
    let v4 = |host: u8| CareOf::V4(Ipv4Addr::new(127, 0, 0, host));
    prop_oneof![(0xa_u16..0xf).prop_map(v6), (2_u8..5).prop_map(v4)]
}

fn command() -> impl Strategy<Value = Command> {
    let bids = prop::collection::vec((1_u16..5).prop_map(Bid), 0..4);
    let address = (1_u16..5, care_of());
    let address = address.prop_map(|(bid, care_of)| CareOfAddress::new(Bid(bid), care_of));
    let addresses = prop::collection::vec(address, 1..5);
    prop_oneof![
        4 => (addresses, any::<bool>())
            .prop_map(|(addresses, bulk)| Command::Register { addresses, bulk }),
        2 => (bids.clone(), any::<bool>()).prop_map(|(bids, bulk)| Command::Refresh { bids, bulk }),
        3 => (1_u16..5, care_of())
            .prop_map(|(bid, care_of)| Command::Move { bid: Bid(bid), care_of }),
        2 => (bids, any::<bool>()).prop_map(|(bids, bulk)| Command::Deregister { bids, bulk }),
        1 => Just(Command::DeregisterAll { from: None }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => command().prop_map(Step::Command),
        5 => (0_u64..20_000).prop_map(Step::Wait),
        1 => any::<u16>().prop_map(Step::Reboot),
    ]
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        5 => (1_u64..200).prop_map(|after_ms| Fate::Arrives { after_ms }),
        2 => (200_u64..5_000).prop_map(|after_ms| Fate::Arrives { after_ms }),
        1 => (1_u64..3_000).prop_map(|after_ms| Fate::Twice { after_ms }),
        3 => Just(Fate::Lost),
    ]
}

proptest! {
    #[test]
    fn node_and_home_agent_agree_when_the_faults_end(
        fates in prop::collection::vec(fate(), 1..40),
        steps in prop::collection::vec(step(), 1..30),
    ) {
        let mut world = World::new(fates);
        for step in steps {
            world.take(step);
        }
        world.fates.clear();
        world.wait(CALM_MS);
        world.agent.sweep();
        let (has, believes, wants) =
            (world.agent_has(), world.node_believes(), world.node_wants());
        prop_assert_eq!(&has, &believes, "the home agent has, the node believes");
        prop_assert_eq!(&believes, &wants, "the node believes, the node wants");
    }
}
