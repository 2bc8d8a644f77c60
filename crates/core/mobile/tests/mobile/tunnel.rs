//! Packets of the node through the tunnel, and packets for it out of the tunnel.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use homeport_mobile::{
    Arrival, CareOf, CareOfAddress, Command, DropReason, Input, MobileRouter, NetworkPrefix,
    Output, Path, Settings, Transmit,
};
use homeport_wire::{Bid, BidPriority, Ipv6Header, PacketBuilder, encapsulate_v6, protocol};

use crate::support::*;

/// A packet with five octets that mean nothing.
fn packet(source: Ipv6Addr, destination: Ipv6Addr, traffic_class: u8) -> Vec<u8> {
    PacketBuilder::new(source, destination)
        .traffic_class(traffic_class)
        .build(protocol::NO_NEXT, b"hello")
}

fn outgoing() -> Vec<u8> {
    packet(HOME, CORRESPONDENT, 0xb8)
}

fn v6(care_of: CareOf) -> Ipv6Addr {
    let CareOf::V6(address) = care_of else { panic!("{care_of}") };
    address
}

fn lab() -> Lab {
    Lab::registered(settings(), &[address(1, COA1), address(2, COA2), address(7, COA_V4)])
}

#[test]
fn through_the_named_binding() {
    let lab = lab();
    for (bid, care_of) in [(1, COA1), (2, COA2)] {
        let from = v6(care_of);
        let expected = encapsulate_v6(&outgoing(), from, HOME_AGENT, 64, 0xb8, 0);
        let sent = lab.node.encapsulate(Some(Bid(bid)), &outgoing());
        assert_eq!(sent, Ok(Transmit::Ipv6 { from, packet: expected }));
    }
    let from = Ipv4Addr::new(192, 0, 2, 44);
    let expected = Transmit::Udp { from, payload: outgoing() };
    assert_eq!(lab.node.encapsulate(Some(Bid(7)), &outgoing()), Ok(expected));
    assert_eq!(lab.node.encapsulate(Some(Bid(9)), &outgoing()), Err(DropReason::NoBinding));
}

#[test]
fn without_a_name_the_best_priority_and_then_the_newest() {
    let mut lab = lab();
    let path = |lab: &Lab| match lab.node.encapsulate(None, &outgoing()).unwrap() {
        Transmit::Ipv6 { from, .. } => Path::Foreign(from),
        Transmit::Udp { from, .. } | Transmit::Ipv4 { from, .. } => Path::Udp(from),
    };
    lab.now += 10;
    lab.command(Command::Refresh { bids: vec![Bid(2)], bulk: false });
    lab.accept_everything();
    assert_eq!(path(&lab), COA2.path());
    let preferred = CareOfAddress { priority: BidPriority::new(3), ..address(1, COA1) };
    lab.register(&[preferred], false);
    lab.accept_everything();
    lab.now += 10;
    lab.command(Command::Refresh { bids: vec![Bid(2)], bulk: false });
    lab.accept_everything();
    assert_eq!(path(&lab), COA1.path());
}

#[test]
fn only_from_the_home_address_or_the_network_behind() {
    let prefix = NetworkPrefix { prefix: "2001:db8:100::".parse().unwrap(), length: 56 };
    let mobile_router =
        Some(MobileRouter { prefixes: vec![prefix], explicit: true, ..MobileRouter::default() });
    let mut node_settings = Settings { mobile_router, ..settings() };
    let behind: Ipv6Addr = "2001:db8:100:1::7".parse().unwrap();
    let elsewhere: Ipv6Addr = "2001:db8:200::7".parse().unwrap();
    node_settings.multiple_care_of = true;
    let router = {
        let mut lab = Lab::new(node_settings);
        lab.register(&[address(1, COA1)], false);
        let sent = lab.packets().remove(0);
        let Transmit::Ipv6 { packet, .. } = sent else { panic!("{sent:?}") };
        assert!(packet.windows(2).any(|pair| pair == [6, 18]), "prefix option");
        let accepted = [(1, homeport_wire::Status::ACCEPTED)];
        let seen = see(&Transmit::Ipv6 { from: v6(COA1), packet });
        let answer = Answer {
            flags: homeport_wire::BaFlags::MOBILE_ROUTER,
            ..Answer::to(&seen, homeport_wire::Status::ACCEPTED, &accepted)
        };
        lab.deliver(&answer, COA1.path());
        lab
    };
    let host = lab();
    for (lab, source, expected) in [
        (&host, HOME, None),
        (&host, behind, Some(DropReason::InnerSource)),
        (&router, behind, None),
        (&router, elsewhere, Some(DropReason::InnerSource)),
    ] {
        let packet = packet(source, CORRESPONDENT, 0);
        assert_eq!(lab.node.encapsulate(None, &packet).err(), expected, "{source}");
    }
    let mut router = router;
    for (destination, expected) in
        [(HOME, true), (behind, true), (elsewhere, false), (v6(COA1), false)]
    {
        let inner = packet(CORRESPONDENT, destination, 0);
        assert_eq!(tunnelled(&mut router, &inner).is_some(), expected, "{destination}");
    }
}

/// Sends a packet through the tunnel to the first care-of address; gives what is delivered.
fn tunnelled(lab: &mut Lab, inner: &[u8]) -> Option<Vec<u8>> {
    let packet = encapsulate_v6(inner, HOME_AGENT, v6(COA1), 64, 0, 0);
    lab.arrive(COA1.path(), &packet);
    delivered(lab)
}

fn delivered(lab: &mut Lab) -> Option<Vec<u8>> {
    lab.take().into_iter().find_map(|output| match output {
        Output::Deliver { packet, .. } => Some(packet),
        _ => None,
    })
}

#[test]
fn only_the_home_agent_may_use_the_tunnel() {
    let mut lab = lab();
    let inner = packet(CORRESPONDENT, HOME, 0);
    assert_eq!(tunnelled(&mut lab, &inner), Some(inner.clone()));
    let rows = [
        (CORRESPONDENT, v6(COA1), DropReason::NotFromHomeAgent),
        (HOME_AGENT, v6(COA3), DropReason::NotForNode),
        (HOME_AGENT, HOME, DropReason::NotForNode),
    ];
    for (source, destination, expected) in rows {
        let packet = encapsulate_v6(&inner, source, destination, 64, 0, 0);
        lab.input(Input::Packet(Arrival::Ipv6(&packet)));
        assert_eq!(lab.drops(), [expected]);
        lab.take();
    }
    let care_of = Ipv4Addr::new(192, 0, 2, 44);
    let udp = |lab: &mut Lab, care_of, peer| {
        lab.input(Input::Packet(Arrival::Udp { care_of, peer, payload: &inner }));
        (delivered(lab), lab.drops())
    };
    assert_eq!(udp(&mut lab, care_of, HOME_AGENT_V4).0, Some(inner.clone()));
    let stranger = SocketAddrV4::new(*HOME_AGENT_V4.ip(), 4192);
    lab.input(Input::Packet(Arrival::Udp { care_of, peer: stranger, payload: &inner }));
    assert_eq!(lab.drops(), [DropReason::NotFromHomeAgent]);
    lab.take();
    let other = Ipv4Addr::new(192, 0, 2, 99);
    lab.input(Input::Packet(Arrival::Udp { care_of: other, peer: HOME_AGENT_V4, payload: &inner }));
    assert_eq!(lab.drops(), [DropReason::NotForNode]);
}

#[test]
fn a_congestion_mark_comes_through() {
    let mut lab = lab();
    let inner = packet(CORRESPONDENT, HOME, 0b10);
    let marked = encapsulate_v6(&inner, HOME_AGENT, v6(COA1), 64, 0b11, 0);
    lab.arrive(COA1.path(), &marked);
    let packet = delivered(&mut lab).unwrap();
    assert_eq!(Ipv6Header::parse(&packet).unwrap().0.traffic_class, 0b11);
}

#[test]
fn nothing_goes_through_a_binding_that_is_not_acknowledged_or_has_ended() {
    let mut lab = Lab::new(settings());
    lab.register(&[address(1, COA1)], false);
    assert_eq!(lab.node.encapsulate(None, &outgoing()), Err(DropReason::NoBinding));
    let seen = lab.update();
    lab.accept(&seen);
    assert!(lab.node.encapsulate(None, &outgoing()).is_ok());
    lab.advance(600_000);
    assert_eq!(lab.node.encapsulate(None, &outgoing()), Err(DropReason::NoBinding));
}

#[test]
fn an_ipv4_home_address_uses_the_same_tunnel() {
    use homeport_wire::{BindingAcknowledgement, Message, MobilityOption, OptionsBuilder};
    let ipv4_home_address = Some(Ipv4Addr::UNSPECIFIED);
    let mut lab = Lab::new(Settings { ipv4_home_address, ..settings() });
    lab.register(&[address(1, COA1)], false);
    lab.take();
    let given = Ipv4Addr::new(198, 51, 100, 77);
    let mut options = OptionsBuilder::for_binding_acknowledgement();
    options.push(&MobilityOption::Ipv4AddressAck { status: 0, prefix_len: 32, address: given });
    options.push(&MobilityOption::BindingIdentifier(homeport_wire::BidOption::refresh(Bid(1))));
    let message = Message::BindingAcknowledgement(BindingAcknowledgement {
        status: homeport_wire::Status::ACCEPTED,
        flags: homeport_wire::BaFlags::default(),
        sequence: homeport_wire::Sequence(1000),
        lifetime: ASKED,
        options: options.finish(),
    });
    lab.arrive(COA1.path(), &envelope(COA1.path(), &protect(message, COA1.path(), None)));
    lab.take();

    let correspondent = Ipv4Addr::new(203, 0, 113, 5);
    let v4 = |source, destination| {
        homeport_wire::encapsulate_v4(b"hello", protocol::NO_NEXT, source, destination, 64, 0)
    };
    let sent = lab.node.encapsulate(None, &v4(given, correspondent)).unwrap();
    let Transmit::Ipv6 { packet, .. } = sent else { panic!("{sent:?}") };
    assert_eq!(Ipv6Header::parse(&packet).unwrap().0.next_header, protocol::IPV4);
    let stranger = lab.node.encapsulate(None, &v4(correspondent, given));
    assert_eq!(stranger, Err(DropReason::InnerSource));

    let inner = v4(correspondent, given);
    let packet = PacketBuilder::new(HOME_AGENT, v6(COA1)).build(protocol::IPV4, &inner);
    lab.arrive(COA1.path(), &packet);
    assert_eq!(delivered(&mut lab), Some(inner));
}
