//! From one home agent to another.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use homeport_mobile::{
    CareOf, Command, Event, LossReason, MobileRouter, Outcome, Path, Settings, Transmit,
};
use homeport_wire::{
    BaFlags, Bid, BidOption, BindingAcknowledgement, HomeAgentSwitch, Icmpv6, Message,
    MobilityOption, OptionsBuilder, Status, mobility_packet, protocol, walk,
};

use crate::support::*;

const FOREIGN_AGENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 9, 0, 0, 0, 1);

fn lab() -> Lab {
    let addresses = [address(1, COA1), address(2, COA2)];
    Lab::registered(Settings { attempts_max: 7, ..settings() }, &addresses)
}

/// Tells the node to leave for these.
fn switch(lab: &mut Lab, addresses: &[Ipv6Addr]) {
    let options = HomeAgentSwitch::builder(addresses.len()).finish();
    let message =
        Message::HomeAgentSwitch(HomeAgentSwitch { addresses: addresses.to_vec(), options });
    lab.arrive(COA1.path(), &envelope(COA1.path(), &message.emit(HOME_AGENT, HOME)));
}

/// An acknowledgement of whichever home agent the update was for.
fn answer(lab: &mut Lab, seen: &Seen, status: Status) {
    let Path::Foreign(care_of) = seen.path else { panic!("{:?}", seen.path) };
    let mut options = OptionsBuilder::for_binding_acknowledgement();
    for bid in seen.names() {
        options.push(&MobilityOption::BindingIdentifier(BidOption::refresh(Bid(bid))));
    }
    let message = Message::BindingAcknowledgement(BindingAcknowledgement {
        status,
        flags: BaFlags::default(),
        sequence: seen.sequence,
        lifetime: seen.lifetime,
        options: options.finish(),
    });
    let header = message.emit(seen.agent, HOME);
    lab.arrive(seen.path, &mobility_packet(seen.agent, care_of, None, Some(HOME), &header));
}

/// Lets time pass until the node sends something else than updates to `agent`.
fn until_it_leaves(lab: &mut Lab, agent: Ipv6Addr) -> Vec<Transmit> {
    for _ in 0..100 {
        let packets = lab.packets();
        let other = |it: &Transmit| match it {
            Transmit::Ipv6 { packet, .. } => walk(packet).unwrap().header.destination != agent,
            Transmit::Udp { .. } | Transmit::Ipv4 { .. } => true,
        };
        if packets.iter().any(other) {
            return packets;
        }
        lab.jump();
    }
    panic!("the node stays");
}

fn registered(lab: &Lab) -> Vec<u16> {
    let views = lab.node.bindings().into_iter();
    views.filter(|view| view.registered.is_some()).map(|view| view.bid.0).collect()
}

#[test]
fn it_leaves_and_registers_everything_with_the_one_named() {
    let mut lab = lab();
    switch(&mut lab, &[SECOND_AGENT]);
    let leaving = lab.update();
    assert_eq!((leaving.agent, leaving.lifetime.0), (HOME_AGENT, 0));
    assert!(leaving.names().is_empty(), "a plain one, for all bindings");
    answer(&mut lab, &leaving, Status::ACCEPTED);
    let seen = lab.update();
    assert_eq!((seen.agent, seen.names(), seen.overwrites()), (SECOND_AGENT, vec![1, 2], true));
    assert_eq!(lab.node.settings().home_agent, SECOND_AGENT);
    answer(&mut lab, &seen, Status::ACCEPTED);
    assert_eq!(registered(&lab), [1, 2]);
    assert!(lab.events().contains(&Event::HomeAgent { address: SECOND_AGENT }));
    // Refreshes go there, and nothing comes from the old one any more.
    lab.command(Command::Refresh { bids: vec![Bid(1)], bulk: false });
    assert_eq!(lab.update().agent, SECOND_AGENT);
    lab.answer(&leaving, Status::ACCEPTED, &[]);
    assert_eq!(lab.drops().len(), 1);
}

#[test]
fn an_old_home_agent_that_does_not_answer_is_left_too() {
    let mut lab = lab();
    switch(&mut lab, &[SECOND_AGENT]);
    until_it_leaves(&mut lab, HOME_AGENT);
    assert_eq!(lab.node.settings().home_agent, SECOND_AGENT);
}

#[test]
fn the_own_prefix_first_then_in_order_until_one_takes_it() {
    let mut lab = lab();
    switch(&mut lab, &[FOREIGN_AGENT, SECOND_AGENT, HOME_AGENT]);
    let leaving = lab.update();
    answer(&mut lab, &leaving, Status::ACCEPTED);
    let seen = lab.update();
    assert_eq!(seen.agent, SECOND_AGENT, "of the home prefix");
    answer(&mut lab, &seen, Status::NOT_HOME_AGENT);
    let next = lab.packets();
    let Transmit::Ipv6 { packet, .. } = &next[0] else { panic!("{next:?}") };
    assert_eq!(walk(packet).unwrap().header.destination, FOREIGN_AGENT);
    // That one does not answer, and the one to be left is not asked: the end of the list.
    let mut told = lab.events();
    while !told.contains(&Event::NoHomeAgent) {
        lab.jump();
        told.extend(lab.events());
    }
    let agents: Vec<_> =
        told.iter().filter(|event| matches!(event, Event::HomeAgent { .. })).collect();
    assert_eq!(agents.len(), 2, "{agents:?}");
}

#[test]
fn without_names_it_asks_the_home_link() {
    for found in [true, false] {
        let mut lab = lab();
        switch(&mut lab, &[]);
        let leaving = lab.update();
        answer(&mut lab, &leaving, Status::ACCEPTED);
        let request = lab.packets().remove(0);
        let (from, identifier) = discovery(&request);
        if found {
            reply(&mut lab, from, identifier, &[HOME_AGENT, SECOND_AGENT]);
            let seen = lab.update();
            assert_eq!((seen.agent, seen.names()), (SECOND_AGENT, vec![1, 2]));
        } else {
            for _ in 0..4 {
                lab.jump();
            }
            assert!(lab.events().contains(&Event::NoHomeAgent));
            // Better the old one than none.
            lab.advance(1);
            assert_eq!(lab.node.settings().home_agent, HOME_AGENT);
            assert!(lab.node.bindings().iter().all(|view| view.wanted && view.under_way));
        }
    }
}

/// Sender and identifier of a request for home agents.
pub fn discovery(transmit: &Transmit) -> (Ipv6Addr, u16) {
    let Transmit::Ipv6 { from, packet } = transmit else { panic!("{transmit:?}") };
    let walked = walk(packet).unwrap();
    assert_eq!(walked.upper, protocol::ICMPV6);
    let message = Icmpv6::parse(walked.payload, walked.pseudo_header()).unwrap();
    let Icmpv6::HomeAgentAddressDiscoveryRequest { identifier, .. } = message else {
        panic!("{message:?}");
    };
    (*from, identifier)
}

pub fn reply(lab: &mut Lab, to: Ipv6Addr, identifier: u16, addresses: &[Ipv6Addr]) {
    let message = Icmpv6::HomeAgentAddressDiscoveryReply {
        identifier,
        flags: homeport_wire::DiscoveryFlags::default(),
        addresses: addresses.to_vec(),
    };
    let packet = homeport_wire::PacketBuilder::new(HOME_AGENT, to)
        .build(protocol::ICMPV6, &message.emit(HOME_AGENT, to));
    lab.arrive(Path::Foreign(to), &packet);
}

#[test]
fn ipv4_comes_along_when_the_new_one_is_known_to_take_it() {
    let second_v4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 2), 4191);
    for known in [false, true] {
        let others = if known { vec![(SECOND_AGENT, second_v4)] } else { vec![] };
        let addresses = [address(1, COA1), address(7, COA_V4)];
        let base = Settings { other_home_agents_v4: others, ..settings() };
        let mut lab = Lab::registered(base, &addresses);
        switch(&mut lab, &[SECOND_AGENT]);
        let leaving = lab.update();
        answer(&mut lab, &leaving, Status::ACCEPTED);
        assert_eq!(lab.node.settings().home_agent_v4, known.then_some(second_v4));
        let lost = Event::Lost { bid: Bid(7), reason: LossReason::Unreachable };
        assert_eq!(lab.events().contains(&lost), !known);
        assert_eq!(lab.node.bindings().len(), if known { 2 } else { 1 });
    }
}

#[test]
fn a_wish_meanwhile_counts() {
    // To end everything ends the change too.
    let mut ended = lab();
    switch(&mut ended, &[SECOND_AGENT]);
    ended.updates();
    ended.command(Command::DeregisterAll { from: None });
    let seen = ended.update();
    answer(&mut ended, &seen, Status::ACCEPTED);
    assert_eq!((ended.updates().len(), ended.node.bindings().len()), (0, 0));
    // A move is meant for the new one.
    let mut moved = lab();
    switch(&mut moved, &[SECOND_AGENT]);
    moved.updates();
    let request = moved.command(Command::Move { bid: Bid(2), care_of: COA3 });
    let seen = moved.update();
    assert_eq!(seen.agent, SECOND_AGENT);
    answer(&mut moved, &seen, Status::ACCEPTED);
    for seen in moved.updates() {
        answer(&mut moved, &seen, Status::ACCEPTED);
    }
    assert!(matches!(moved.results(request)[0].1, Outcome::Registered { care_of: COA3, .. }));
    let _: CareOf = COA3;
}

#[test]
fn a_router_is_none_until_the_new_one_says_so() {
    let mobile_router = Some(MobileRouter::default());
    let mut lab = Lab::new(Settings { mobile_router, ..settings() });
    lab.register(&[address(1, COA1)], false);
    let seen = lab.update();
    let accepted = Answer::to(&seen, Status::ACCEPTED, &[(1, Status::ACCEPTED)]);
    lab.deliver(&Answer { flags: BaFlags::MOBILE_ROUTER, ..accepted }, seen.path);
    assert!(lab.node.is_served_as_router());
    switch(&mut lab, &[SECOND_AGENT]);
    let leaving = lab.update();
    answer(&mut lab, &leaving, Status::ACCEPTED);
    assert!(!lab.node.is_served_as_router());
}
