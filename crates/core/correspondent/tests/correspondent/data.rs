//! Packets that are no signalling, and what is answered to odd ones: RFC 6275 §9.2, §9.3.

use std::net::Ipv6Addr;

use homeport_correspondent::{DropReason, Output, Settings};
use homeport_wire::{
    Bid, BidOption, BidPriority, BindingErrorStatus, BindingRefreshRequest, CareOfTestInit,
    HomeTestInit, Icmpv6, Malformed, Message, MobilityOption, Options, PacketBuilder, PseudoHeader,
    Status, checksum, mobility_packet, protocol, walk,
};

use crate::support::*;

fn from(source: Ipv6Addr) -> Vec<u8> {
    PacketBuilder::new(source, OWN)
        .hop_limit(7)
        .traffic_class(0x2e)
        .flow_label(0x1234)
        .home_address_option(Some(HOME))
        .build(protocol::UDP, b"payload.")
}

fn binding_error(packet: &[u8]) -> (Ipv6Addr, BindingErrorStatus, Ipv6Addr) {
    let walked = walk(packet).unwrap();
    let message = Message::parse(walked.payload, walked.pseudo_header()).unwrap();
    let Message::BindingError(error) = message else { panic!("{message:?}") };
    (walked.header.destination, error.status, error.home_address)
}

#[test]
fn a_home_address_option_needs_a_binding_of_its_source() {
    let mut lab = Lab::new();
    let refused = |outputs: &[Output]| {
        let unknown = BindingErrorStatus::UNKNOWN_BINDING;
        assert_eq!(binding_error(&sent(outputs)), (COA1, unknown, HOME));
        assert_eq!(outputs.last(), Some(&Output::Dropped(DropReason::UnknownBinding)));
    };
    refused(&lab.arrive(&from(COA1)));
    lab.bind(Draft::new(1, COA2).bid(BidOption::v6(Bid(2), COA2)), COA2);
    refused(&lab.arrive(&from(COA1)));
    lab.bind(Draft::new(2, COA1).bid(BidOption::v6(Bid(1), COA1)), COA1);
    // The upper layers see the home address, and nothing of the option.
    let expected = PacketBuilder::new(HOME, OWN)
        .hop_limit(7)
        .traffic_class(0x2e)
        .flow_label(0x1234)
        .build(protocol::UDP, b"payload.");
    for care_of in [COA1, COA2] {
        assert_eq!(lab.arrive(&from(care_of)), [Output::Deliver(expected.clone())]);
    }
    lab.pass(200);
    refused(&lab.arrive(&from(COA1)));
}

#[test]
fn what_ipsec_protects_needs_no_binding() {
    let mut lab = Lab::new();
    let esp = |home| {
        PacketBuilder::new(COA1, OWN).home_address_option(home).build(protocol::ESP, &[9; 40])
    };
    let inside = PacketBuilder::new(HOME, OWN).build(protocol::ESP, &[9; 40]);
    assert_eq!(lab.arrive(&esp(Some(HOME))), [Output::Deliver(inside)]);
    assert_eq!(lab.arrive(&esp(None)), [Output::Deliver(esp(None))]);
    let ah =
        PacketBuilder::new(COA1, OWN).home_address_option(Some(HOME)).build(protocol::AH, &[9; 40]);
    assert_eq!(dropped(&lab.arrive(&ah)), DropReason::AuthenticationHeader);
    let link_local = "fe80::1".parse().unwrap();
    assert_eq!(dropped(&lab.arrive(&esp(Some(link_local)))), DropReason::HomeAddressNotRoutable);
}

#[test]
fn errors_are_limited_in_rate() {
    let mut lab = Lab::with(Settings { errors_per_second: 3, ..Settings::new(OWN) });
    let mut answered = 0;
    for _ in 0..10 {
        let outputs = lab.arrive(&from(COA1));
        answered += usize::from(!is_silent(&outputs));
    }
    assert_eq!(answered, 3);
    assert_eq!(dropped(&lab.arrive(&from(COA1))), DropReason::RateLimited);
    lab.wait(1);
    assert!(!is_silent(&lab.arrive(&from(COA1))));
}

#[test]
fn errors_never_go_to_what_is_no_single_node() {
    let mut lab = Lab::new();
    let group = "ff02::1".parse().unwrap();
    assert_eq!(dropped(&lab.arrive(&from(group))), DropReason::UnknownBinding);
}

#[test]
fn tests_of_addresses_have_no_home_address_option() {
    let mut lab = Lab::new();
    let options = || Options::EMPTY;
    let messages = [
        Message::HomeTestInit(HomeTestInit { cookie: [1; 8], options: options() }),
        Message::CareOfTestInit(CareOfTestInit { cookie: [1; 8], options: options() }),
    ];
    for message in messages {
        let octets = message.emit(HOME, OWN);
        let packet = mobility_packet(COA1, OWN, Some(HOME), None, &octets);
        assert_eq!(dropped(&lab.arrive(&packet)), DropReason::HomeAddressOption);
        for source in ["fe80::1", "::", "ff02::1", "2001:db8:f::99"] {
            let packet = plain(source.parse().unwrap(), &message);
            assert_eq!(dropped(&lab.arrive(&packet)), DropReason::SourceNotRoutable, "{source}");
        }
    }
    assert_eq!(lab.node.homes().count(), 0);
}

#[test]
fn a_care_of_test_copies_one_bid_without_its_address() {
    let mut lab = Lab::new();
    let mut options = CareOfTestInit::builder();
    let option = BidOption::v6(Bid(9), COA2).with_priority(BidPriority::new(3));
    for option in [option, BidOption::refresh(Bid(10))] {
        options.push(&MobilityOption::BindingIdentifier(option));
    }
    let init = CareOfTestInit { cookie: [1; 8], options: options.finish() };
    let answer = sent(&lab.arrive(&plain(COA1, &Message::CareOfTestInit(init))));
    let walked = walk(&answer).unwrap();
    let message = Message::parse(walked.payload, walked.pseudo_header()).unwrap();
    let Message::CareOfTest(test) = message else { panic!("{message:?}") };
    let copied = MobilityOption::BindingIdentifier(option.acknowledged(Status::ACCEPTED));
    assert_eq!(test.options.iter().collect::<Vec<_>>(), [copied]);
}

#[test]
fn unknown_types_and_broken_headers_are_answered_as_the_rfc_says() {
    let mut lab = Lab::new();
    let mut unknown = vec![59, 0, 99, 0, 0, 0, 0, 0];
    let sum = checksum(PseudoHeader::mobility(COA1, OWN), &unknown);
    unknown[4..6].copy_from_slice(&sum.to_be_bytes());
    let packet = mobility_packet(COA1, OWN, None, None, &unknown);
    let status = BindingErrorStatus::UNRECOGNIZED_MH_TYPE;
    let expected = (COA1, status, Ipv6Addr::UNSPECIFIED);
    assert_eq!(binding_error(&sent(&lab.arrive(&packet))), expected);
    // Home Agent Switch: known to home agents and mobile nodes only.
    let outputs = lab.arrive(&field("V23", "packet")[40..]);
    assert_eq!(dropped(&outputs), DropReason::NotForNode);

    let mut next = vec![6, 0, 0, 0, 0, 0, 0, 0];
    let sum = checksum(PseudoHeader::mobility(COA1, OWN), &next);
    next[4..6].copy_from_slice(&sum.to_be_bytes());
    let packet = mobility_packet(COA1, OWN, None, None, &next);
    let outputs = lab.arrive(&packet);
    let answer = sent(&outputs);
    let walked = walk(&answer).unwrap();
    let problem = Icmpv6::parse(walked.payload, walked.pseudo_header()).unwrap();
    assert_eq!(problem, Icmpv6::ParameterProblem { code: 0, pointer: 40, invoking: &packet });
    let reason = DropReason::Malformed(Malformed::PayloadProto { value: 6 });
    assert_eq!(outputs.last(), Some(&Output::Dropped(reason)));

    let request = BindingRefreshRequest { options: Options::EMPTY };
    let packet = plain(HOME, &Message::BindingRefreshRequest(request));
    assert_eq!(dropped(&lab.arrive(&packet)), DropReason::UnexpectedMessage);
}

#[test]
fn packets_take_the_preferred_care_of_address() {
    let mut lab = Lab::new();
    let data = PacketBuilder::new(OWN, HOME).hop_limit(9).build(protocol::UDP, b"payload.");
    assert_eq!(lab.node.route(lab.now, &data), None);
    let option = BidOption::v6(Bid(1), COA1).with_priority(BidPriority::new(20));
    lab.bind(Draft::new(1, COA1).bid(option), COA1);
    let option = BidOption::v6(Bid(2), COA2).with_priority(BidPriority::new(10));
    lab.bind(Draft::new(2, COA2).bid(option), COA2);
    lab.wait(1);
    lab.bind(Draft::new(3, COA3).bid(BidOption::v6(Bid(3), COA3)), COA3);
    let by = |care_of| {
        PacketBuilder::new(OWN, care_of)
            .hop_limit(9)
            .routing_home_address(Some(HOME))
            .build(protocol::UDP, b"payload.")
    };
    assert_eq!(lab.node.route(lab.now, &data), Some(by(COA2)));
    let tokens = lab.tokens(HOME, COA1);
    let gone = Draft::new(4, COA1).tokens(tokens).lifetime(0).bid(BidOption::refresh(Bid(2)));
    lab.arrive(&gone.packet());
    assert_eq!(lab.node.route(lab.now, &data), Some(by(COA1)));
}

#[test]
fn some_packets_are_never_routed() {
    let mut lab = Lab::new();
    lab.bind(Draft::new(1, COA1), COA1);
    let to_home = PacketBuilder::new(OWN, HOME);
    let rows = [
        ("neighbour solicitation", to_home.build(protocol::ICMPV6, &[135, 0, 0, 0])),
        ("router advertisement", to_home.build(protocol::ICMPV6, &[134, 0, 0, 0])),
        ("mobility header", to_home.build(protocol::MOBILITY, &[59, 0, 0, 0, 0, 0, 0, 0])),
        (
            "mobility header behind destination options",
            to_home.build(60, &[135, 0, 1, 4, 0, 0, 0, 0, 59, 0, 0, 0, 0, 0, 0, 0]),
        ),
        (
            "has a routing header",
            to_home.routing_home_address(Some(COA2)).build(protocol::UDP, &[0; 8]),
        ),
        ("no room", to_home.build(protocol::UDP, &vec![0; 65_520])),
        ("somebody else", PacketBuilder::new(OWN, COA3).build(protocol::UDP, &[0; 8])),
        ("cut off", to_home.build(protocol::HOP_BY_HOP, &[17, 9, 1, 4, 0, 0, 0, 0])),
        ("not IPv6", vec![0x45; 60]),
    ];
    for (what, packet) in rows {
        assert_eq!(lab.node.route(lab.now, &packet), None, "{what}");
    }
    assert!(lab.node.route(lab.now, &to_home.build(protocol::ICMPV6, &[128, 0, 0, 0])).is_some());
}

#[test]
fn hop_by_hop_options_stay_the_first() {
    let mut lab = Lab::new();
    lab.bind(Draft::new(1, COA1), COA1);
    let mut payload = vec![protocol::UDP, 0, 1, 4, 0, 0, 0, 0];
    payload.extend_from_slice(b"payload.");
    let packet = PacketBuilder::new(OWN, HOME).build(protocol::HOP_BY_HOP, &payload);
    let routed = lab.node.route(lab.now, &packet).unwrap();
    assert_eq!(routed.len(), packet.len() + 24);
    let walked = walk(&routed).unwrap();
    assert_eq!(walked.header.next_header, protocol::HOP_BY_HOP);
    assert_eq!((walked.header.destination, walked.pseudo_destination()), (COA1, HOME));
    assert_eq!((walked.upper, walked.payload), (protocol::UDP, &b"payload."[..]));
}
