//! Tests of care-of addresses as packets (RFC 5648 §10).

use homeport_binding::{CareOf, CareOfVerified, Dispatch, DispatchMessage, Silence};
use homeport_wire::{Icmpv6, PacketBuilder, protocol};

use super::*;
use crate::care_of_test;

const NONCE: [u8; 16] = *b"0123456789abcdef";

fn dispatch(care_of: CareOf, message: DispatchMessage) -> Dispatch {
    let (at, revision, home_address, home_agent) = (LogTime(0), 1, HOME, AGENT);
    Dispatch { at, revision, home_address, home_agent, care_of, message, esp: None }
}

/// An Echo Reply of the mobile node, from its care-of address or for its tunnel.
fn reply(data: &[u8], is_away: bool) -> Vec<u8> {
    let message = Icmpv6::EchoReply { identifier: 0, sequence: 0, data }.emit(HOME, AGENT);
    let source = if is_away { COA1 } else { HOME };
    let packet = PacketBuilder::new(source, AGENT).home_address_option(is_away.then_some(HOME));
    packet.build(protocol::ICMPV6, &message)
}

/// Octets written out: IPv6, type 2 routing header (RFC 6275 §6.4.1), Echo Request (RFC 4443 §4.1).
#[test]
fn a_test_is_an_echo_request_by_way_of_the_home_address() {
    let message = DispatchMessage::CareOfTest { nonce: NONCE };
    let reply = care_of_test(&dispatch(CareOf::Ipv6(COA1), message)).unwrap();
    assert_eq!((reply.kind, reply.outer), (ReplyKind::CareOfTest, None));
    assert!(reply.packet.len() <= 100, "{} octets", reply.packet.len());
    let (header, rest) = reply.packet.split_at(40);
    assert_eq!(header[..7], [0x60, 0, 0, 0, 0, 56, 43]);
    assert_eq!(header[8..], [AGENT.octets(), COA1.octets()].concat());
    let (routing, icmpv6) = rest.split_at(24);
    assert_eq!(routing[..8], [58, 2, 2, 1, 0, 0, 0, 0]);
    assert_eq!(routing[8..], HOME.octets());
    assert_eq!([&icmpv6[..2], &icmpv6[4..8]].concat(), [128, 0, 0, 0, 0, 0]);
    assert_eq!(&icmpv6[8..], b"hp-careo0123456789abcdef");
}

#[test]
fn only_a_test_of_an_ipv6_address_is_one() {
    let message = || DispatchMessage::CareOfTest { nonce: NONCE };
    let announced = Ipv4Addr::new(192, 0, 2, 1);
    let v4 = CareOf::Ipv4 { address: announced, port: 4191, announced, udp: true };
    assert_eq!(care_of_test(&dispatch(v4, message())), None);
    let other = dispatch(CareOf::Ipv6(COA1), DispatchMessage::PrefixAdvertisement);
    assert_eq!(care_of_test(&other), None);
}

#[test]
fn an_answer_is_known_by_what_it_repeats_and_names_the_home_address() {
    let answer = CareOfVerified { home_address: HOME, nonce: NONCE };
    for is_away in [true, false] {
        let packet = reply(b"hp-careo0123456789abcdef", is_away);
        let received = receive(Arrival { packet: &packet, outer: None });
        assert!(matches!(received, Received::CareOfAnswer(it) if it == answer), "{received:?}");
    }
    let mut lab = Lab::new(Authentication::None);
    let unknown = Seen::Verified(Outcome::Silent(Silence::UnknownCareOfTest));
    assert_eq!(lab.send(&reply(b"hp-careo0123456789abcdef", true), None), unknown);
    let mut spoilt = reply(b"hp-careo0123456789abcdef", true);
    *spoilt.last_mut().unwrap() ^= 1;
    for packet in [reply(b"hp-careo0123456789abcde", true), reply(b"a ping", true), spoilt] {
        let received = receive(Arrival { packet: &packet, outer: None });
        assert!(matches!(received, Received::Drop(_)), "{received:?}");
    }
}
