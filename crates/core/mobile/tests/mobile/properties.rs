//! Laws that hold whatever arrives: no panic, and nothing unauthenticated is believed.

use std::net::Ipv6Addr;

use homeport_mobile::{
    Arrival, CareOf, Command, Event, Flow, Input, MnHaAssociation, Output, Path, Refresh, Settings,
};
use homeport_wire::{
    Bid, BinarySelector, HomeAgentSwitch, Lifetime, Message, Selector, Sequence, Status,
};
use proptest::prelude::*;

use crate::support::*;
use crate::switch::reply;

fn with_key() -> Settings {
    let authentication = Some(MnHaAssociation { message_id: true, ..association() });
    Settings { authentication, ..settings() }
}

/// One thing that befalls a node.
#[derive(Clone, Debug)]
enum Step {
    Command(Command),
    Wait(u64),
    /// The home agent answers the newest update like this.
    Answer {
        status: u8,
        own: Vec<u8>,
        lifetime: u16,
        sequence_off: u16,
        forged: bool,
    },
    /// The home agent sends it away.
    Switch(bool),
    /// Somebody answers the question for home agents.
    Found(bool),
    /// Octets from anywhere.
    Octets(Vec<u8>, bool),
    /// A true answer with octets changed.
    Mangled(Vec<(usize, u8)>),
}

fn care_of() -> impl Strategy<Value = CareOf> {
    prop::sample::select(vec![COA1, COA2, COA3, COA_V4, COA_V4_OTHER, CareOf::Home])
}

fn flow((fid, priority, bid): (u16, u16, u16)) -> Flow {
    let selector = BinarySelector::Ipv6(Selector::ANY);
    Flow { fid, priority, selector, bids: vec![Bid(bid)] }
}

fn command() -> impl Strategy<Value = Command> {
    let bids = prop::collection::vec((0_u16..6).prop_map(Bid), 0..4);
    prop_oneof![
        (prop::collection::vec((0_u16..6, care_of()), 0..5), any::<bool>()).prop_map(
            |(list, bulk)| Command::Register {
                addresses: list.into_iter().map(|(bid, care_of)| address(bid, care_of)).collect(),
                bulk,
            }
        ),
        (bids.clone(), any::<bool>()).prop_map(|(bids, bulk)| Command::Refresh { bids, bulk }),
        (0_u16..6, care_of()).prop_map(|(bid, care_of)| Command::Move { bid: Bid(bid), care_of }),
        (bids, any::<bool>()).prop_map(|(bids, bulk)| Command::Deregister { bids, bulk }),
        prop::option::of(care_of()).prop_map(|from| Command::DeregisterAll { from }),
        Just(Command::ReturnHome),
        Just(Command::DiscoverHomeAgents),
        Just(Command::SolicitPrefixes),
        prop::collection::vec((0_u16..5, 1_u16..5, 1_u16..6), 0..4)
            .prop_map(|flows| Command::SetFlows { flows: flows.into_iter().map(flow).collect() }),
        Just(Command::Stop),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => command().prop_map(Step::Command),
        2 => (0_u64..700_000).prop_map(Step::Wait),
        5 => (
            prop_oneof![Just(0_u8), Just(4), any::<u8>()],
            prop::collection::vec(prop_oneof![Just(0_u8), any::<u8>()], 0..5),
            prop_oneof![Just(150_u16), any::<u16>()],
            prop_oneof![3 => Just(0_u16), 1 => any::<u16>()],
            any::<bool>(),
        )
            .prop_map(|(status, own, lifetime, sequence_off, forged)| Step::Answer {
                status, own, lifetime, sequence_off, forged,
            }),
        1 => any::<bool>().prop_map(Step::Switch),
        1 => any::<bool>().prop_map(Step::Found),
        1 => (prop::collection::vec(any::<u8>(), 0..200), any::<bool>())
            .prop_map(|(octets, udp)| Step::Octets(octets, udp)),
        2 => prop::collection::vec((0_usize..200, any::<u8>()), 1..4).prop_map(Step::Mangled),
    ]
}

fn run(lab: &mut Lab, last: &mut Option<Seen>, step: Step) {
    match step {
        Step::Command(command) => {
            lab.command(command);
        }
        Step::Wait(ms) => lab.advance(ms),
        Step::Answer { status, own, lifetime, sequence_off, forged } => {
            let Some(seen) = last.clone() else { return };
            let own = own.into_iter().map(Status).chain(std::iter::repeat(Status::ACCEPTED));
            let bids: Vec<_> = seen.names().into_iter().zip(own).collect();
            let answer = Answer {
                lifetime: Lifetime(lifetime),
                sequence: Sequence(seen.sequence.0.wrapping_add(sequence_off)),
                ..Answer::to(&seen, Status(status), &bids)
            };
            let wrong = MnHaAssociation { key: vec![7; 16], ..association() };
            let key = if forged { Some(&wrong) } else { lab.key.as_ref() }.cloned();
            let packet = answer.packet(seen.path, key.as_ref());
            lab.arrive(seen.path, &packet);
        }
        Step::Switch(named) => {
            let addresses = if named { vec![SECOND_AGENT] } else { vec![] };
            let mut options = HomeAgentSwitch::builder(addresses.len());
            if let Some(key) = &lab.key {
                options.push_authentication(1, key.spi, 12);
            }
            let options = options.finish();
            let message = Message::HomeAgentSwitch(HomeAgentSwitch { addresses, options });
            let octets = protect(message, COA1.path(), lab.key.as_ref());
            lab.arrive(COA1.path(), &envelope(COA1.path(), &octets));
        }
        Step::Found(some) => {
            let addresses = if some { vec![HOME_AGENT, SECOND_AGENT] } else { vec![] };
            // Identifiers are counted up from the first sequence number.
            for identifier in 999..1010 {
                reply(lab, COA1_ADDRESS, identifier, &addresses);
            }
        }
        Step::Octets(octets, udp) => {
            let path = if udp { COA_V4.path() } else { COA1.path() };
            lab.arrive(path, &octets);
        }
        Step::Mangled(changes) => {
            let Some(seen) = last.clone() else { return };
            let bids: Vec<_> =
                seen.names().into_iter().map(|bid| (bid, Status::ACCEPTED)).collect();
            let answer = Answer::to(&seen, Status::ACCEPTED, &bids);
            let mut packet = answer.packet(seen.path, lab.key.as_ref());
            for (at, octet) in changes {
                let len = packet.len();
                packet[at % len] = octet;
            }
            lab.arrive(seen.path, &packet);
        }
    }
}

/// What must hold after every step, whatever happened.
fn check(lab: &mut Lab, outputs: &[Output]) {
    for output in outputs {
        if let Output::Send(transmit) = output {
            // Everything that leaves can be read by a home agent.
            match transmit {
                homeport_mobile::Transmit::Ipv6 { packet, .. }
                | homeport_mobile::Transmit::Udp { payload: packet, .. }
                | homeport_mobile::Transmit::Ipv4 { payload: packet, .. } => {
                    assert!(homeport_wire::walk(packet).is_ok());
                }
            }
        }
    }
    if let Some(deadline) = lab.node.next_deadline() {
        assert!(deadline.0 > lab.now, "a deadline that is due was not met");
    }
    assert!(lab.node.bindings().len() <= homeport_mobile::limits::BINDINGS_MAX);
}

fn newest_update(outputs: &[Output]) -> Option<Seen> {
    let is_update = |transmit: &&homeport_mobile::Transmit| {
        let packet = match transmit {
            homeport_mobile::Transmit::Ipv6 { packet, .. } => packet,
            homeport_mobile::Transmit::Udp { payload, .. }
            | homeport_mobile::Transmit::Ipv4 { payload, .. } => payload,
        };
        homeport_wire::walk(packet).is_ok_and(|walked| {
            walked.upper == homeport_wire::protocol::MOBILITY && walked.payload.get(2) == Some(&5)
        })
    };
    let sent = outputs.iter().rev().filter_map(|output| match output {
        Output::Send(transmit) => Some(transmit),
        _ => None,
    });
    let mut sent = sent.filter(is_update);
    sent.next().map(see)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn nothing_makes_it_panic_and_no_deadline_is_missed(
        steps in prop::collection::vec(step(), 1..40),
        authenticated in any::<bool>(),
        discovers in any::<bool>(),
        (automatic, short) in any::<(bool, bool)>(),
        multiple_care_of in prop_oneof![4 => Just(true), 1 => Just(false)],
    ) {
        let base = if authenticated { with_key() } else { settings() };
        let refresh = Refresh { automatic, bulk: true, short };
        let home_agent = if discovers { Ipv6Addr::UNSPECIFIED } else { HOME_AGENT };
        let mut lab = Lab::new(Settings { refresh, multiple_care_of, home_agent, ..base });
        let mut last = None;
        for step in steps {
            run(&mut lab, &mut last, step);
            let outputs = lab.take();
            check(&mut lab, &outputs);
            last = newest_update(&outputs).or(last);
        }
    }

    #[test]
    fn without_the_key_nobody_registers_anything(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut lab = Lab::new(with_key());
        // Whoever answers has another key.
        lab.key = Some(MnHaAssociation { key: vec![9; 16], ..association() });
        let mut last = None;
        for step in steps {
            run(&mut lab, &mut last, step);
            let outputs = lab.take();
            last = newest_update(&outputs).or(last);
            let believed = outputs.iter().find(|output| matches!(
                output,
                Output::Event(
                    Event::Acknowledged { .. }
                        | Event::Registered { .. }
                        | Event::Deregistered { .. }
                        | Event::Refused { .. }
                )
            ));
            prop_assert_eq!(believed, None);
        }
    }

    #[test]
    fn any_octets_in_any_envelope(
        octets in prop::collection::vec(any::<u8>(), 0..120),
        cut in 0_usize..80,
    ) {
        let mut lab = Lab::registered(settings(), &[address(1, COA1), address(7, COA_V4)]);
        let mut mobility = octets.clone();
        mobility.resize(octets.len().next_multiple_of(8).max(8), 0);
        mobility[0] = 59;
        mobility[1] = u8::try_from(mobility.len() / 8 - 1).unwrap();
        mobility[4..6].fill(0);
        let pseudo = homeport_wire::PseudoHeader::mobility(HOME_AGENT, HOME);
        let sum = homeport_wire::checksum(pseudo, &mobility);
        mobility[4..6].copy_from_slice(&sum.to_be_bytes());
        for path in [COA1.path(), COA_V4.path(), Path::Home] {
            let packet = envelope(path, &mobility);
            lab.arrive(path, &packet);
            lab.arrive(path, &packet[cut.min(packet.len())..]);
        }
        let inner = homeport_wire::PacketBuilder::new(HOME_AGENT, COA1_ADDRESS).build(41, &octets);
        lab.input(Input::Packet(Arrival::Ipv6(&inner)));
        // Random octets do not have the home address as their source.
        prop_assert!(lab.node.encapsulate(None, &octets).is_err());
    }
}

const COA1_ADDRESS: std::net::Ipv6Addr =
    std::net::Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 0x11);
