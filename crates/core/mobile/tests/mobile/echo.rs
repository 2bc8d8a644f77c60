//! Is the node where the home agent was told that it is (RFC 5648 §10)?

use std::net::Ipv6Addr;

use homeport_mobile::{Path, Transmit};
use homeport_wire::{Icmpv6, PacketBuilder, protocol, walk};

use crate::support::*;

const DATA: &[u8] = b"whatever the home agent likes";

fn echo_request(source: Ipv6Addr, care_of: Ipv6Addr, routing: Option<Ipv6Addr>) -> Vec<u8> {
    let message = Icmpv6::EchoRequest { identifier: 5, sequence: 6, data: DATA };
    PacketBuilder::new(source, care_of)
        .routing_home_address(routing)
        .build(protocol::ICMPV6, &message.emit(source, routing.unwrap_or(care_of)))
}

fn care_of(path: Path) -> Ipv6Addr {
    match path {
        Path::Foreign(address) => address,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_echo_request_through_the_home_address_is_answered_from_where_it_came_to() {
    let mut lab = Lab::registered(settings(), &[address(1, COA1), address(2, COA2)]);
    let to = care_of(COA2.path());
    let asked = echo_request(HOME_AGENT, to, Some(HOME));
    lab.arrive(COA2.path(), &asked);
    let packets = lab.packets();
    let [Transmit::Ipv6 { from, packet }] = &packets[..] else { panic!("{packets:?}") };
    assert_eq!(*from, to);
    assert_eq!(packet.len(), asked.len(), "no more than was sent");
    let walked = walk(packet).unwrap();
    assert_eq!((walked.header.source, walked.header.destination), (to, HOME_AGENT));
    assert_eq!(walked.home_address.map(|option| option.address), Some(HOME));
    let reply = Icmpv6::parse(walked.payload, walked.pseudo_header()).unwrap();
    assert_eq!(reply, Icmpv6::EchoReply { identifier: 5, sequence: 6, data: DATA });
}

/// The test may overtake the acknowledgement of the Binding Update that named the address.
#[test]
fn an_address_that_is_being_registered_answers_too() {
    let mut lab = Lab::new(settings());
    lab.register(&[address(1, COA1), address(2, COA2)], true);
    lab.update();
    let to = care_of(COA2.path());
    lab.arrive(COA2.path(), &echo_request(HOME_AGENT, to, Some(HOME)));
    assert_eq!(lab.packets().len(), 1);
}

#[test]
fn nobody_else_is_answered() {
    let mut lab = Lab::registered(settings(), &[address(1, COA1)]);
    let to = care_of(COA1.path());
    let rows = [
        (CORRESPONDENT, to, Some(HOME)),
        (HOME_AGENT, to, Some(CORRESPONDENT)),
        (HOME_AGENT, to, None),
        (HOME_AGENT, care_of(COA3.path()), Some(HOME)),
    ];
    for (row, (source, to, routing)) in (1..).zip(rows) {
        lab.arrive(Path::Foreign(to), &echo_request(source, to, routing));
        assert_eq!(lab.packets(), [], "{source} {to} {routing:?}");
        assert_eq!(lab.drops().len(), row);
    }
}
