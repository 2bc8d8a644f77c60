//! Questions to the home link: home agents and prefixes.

use std::net::Ipv6Addr;

use homeport_mobile::{Command, Event, HomePrefix, Outcome, Path, Settings, Transmit};
use homeport_wire::{
    AdvertisementFlags, Icmpv6, NeighbourOptions, PacketBuilder, PrefixFlags, PrefixInformation,
    Status, protocol, walk,
};

use crate::support::*;
use crate::switch::{discovery, reply};

#[test]
fn a_node_that_knows_no_home_agent_asks_and_registers_with_the_best() {
    let home_agent = Ipv6Addr::UNSPECIFIED;
    let mut lab = Lab::new(Settings { home_agent, ..settings() });
    let request = lab.register(&[address(1, COA1), address(2, COA2)], true);
    let asked = lab.packets();
    assert_eq!(asked.len(), 1, "no update without a home agent");
    let (from, identifier) = discovery(&asked[0]);
    assert_eq!(Path::Foreign(from), COA1.path());
    // An answer to something else, and one from a liar without addresses of use.
    reply(&mut lab, from, identifier.wrapping_add(1), &[SECOND_AGENT]);
    assert_eq!(lab.drops().len(), 1);
    reply(&mut lab, from, identifier, &["ff02::1".parse().unwrap(), SECOND_AGENT]);
    assert!(
        lab.events()
            .contains(&Event::HomeAgents { addresses: vec![SECOND_AGENT], serve_routers: false })
    );
    let seen = lab.update();
    assert_eq!((seen.agent, seen.names(), seen.overwrites()), (SECOND_AGENT, vec![1, 2], true));
    assert!(lab.try_results(request).is_none(), "the command goes on");
}

#[test]
fn four_requests_from_one_address_after_the_other() {
    let home_agent = Ipv6Addr::UNSPECIFIED;
    let mut lab = Lab::new(Settings { home_agent, ..settings() });
    let request = lab.register(&[address(1, COA1), address(2, COA2)], true);
    let mut asked = Vec::new();
    let mut waits = Vec::new();
    for _ in 0..4 {
        asked.extend(lab.packets().iter().map(|transmit| Path::Foreign(discovery(transmit).0)));
        waits.push(lab.jump());
    }
    assert_eq!(asked, [COA1.path(), COA2.path(), COA1.path(), COA2.path()]);
    assert_eq!(waits, [3_000, 6_000, 12_000, 24_000]);
    assert!(lab.results(request).iter().all(|(_, outcome)| *outcome == Outcome::NoAnswer));
    assert!(lab.events().contains(&Event::NoHomeAgent));
    // Later again by itself.
    assert_eq!(lab.jump(), 32_000);
    assert_eq!(lab.packets().len(), 1);
}

#[test]
fn a_command_asks_too_and_changes_nothing() {
    let mut lab = Lab::registered(settings(), &[address(1, COA1)]);
    lab.command(Command::DiscoverHomeAgents);
    let (from, identifier) = discovery(&lab.packets()[0]);
    reply(&mut lab, from, identifier, &[SECOND_AGENT]);
    assert!(lab.events().iter().any(|event| matches!(event, Event::HomeAgents { .. })));
    assert_eq!(lab.node.settings().home_agent, HOME_AGENT);
    assert!(lab.updates().is_empty());
    // Over IPv4 nobody can be asked.
    let mut lab = Lab::registered(settings(), &[address(7, COA_V4)]);
    let request = lab.command(Command::DiscoverHomeAgents);
    assert_eq!(lab.results(request), [(None, Outcome::UnknownBid)]);
}

fn prefix(valid_secs: u32, preferred_secs: u32) -> PrefixInformation {
    let flags = PrefixFlags(0xe0);
    PrefixInformation { prefix_len: 64, flags, valid_secs, preferred_secs, prefix: HOME_AGENT }
}

/// An advertisement as the home agent sends it to this path.
fn advertise(lab: &mut Lab, path: Path, identifier: u16, source: Ipv6Addr) {
    advertise_prefix(lab, path, identifier, source, prefix(86_400, 14_400));
}

fn advertise_prefix(
    lab: &mut Lab,
    path: Path,
    identifier: u16,
    source: Ipv6Addr,
    prefix: PrefixInformation,
) {
    let message = Icmpv6::MobilePrefixAdvertisement {
        identifier,
        flags: AdvertisementFlags::default(),
        options: NeighbourOptions::of_prefixes(&[prefix]),
    };
    let octets = message.emit(source, HOME);
    let packet = match path {
        Path::Foreign(care_of) => PacketBuilder::new(source, care_of)
            .routing_home_address(Some(HOME))
            .build(protocol::ICMPV6, &octets),
        Path::Udp(_) | Path::Home => {
            PacketBuilder::new(source, HOME).build(protocol::ICMPV6, &octets)
        }
    };
    lab.arrive(path, &packet);
}

/// The identifier of the one solicitation.
fn solicitation(lab: &mut Lab) -> Option<u16> {
    let packets = lab.packets();
    let transmit = packets.first()?;
    assert_eq!(packets.len(), 1);
    let (packet, away) = match transmit {
        Transmit::Ipv6 { packet, .. } => (packet, true),
        Transmit::Udp { payload, .. } => (payload, false),
        Transmit::Ipv4 { .. } => panic!("{transmit:?}"),
    };
    let walked = walk(packet).unwrap();
    assert_eq!(walked.home_address.is_some(), away);
    match Icmpv6::parse(walked.payload, walked.pseudo_header()).unwrap() {
        Icmpv6::MobilePrefixSolicitation { identifier } => Some(identifier),
        other => panic!("{other:?}"),
    }
}

fn told(solicited: bool) -> Event {
    let prefix =
        HomePrefix { prefix: HOME_AGENT, length: 64, valid_secs: 86_400, preferred_secs: 14_400 };
    Event::HomePrefixes { prefixes: vec![prefix], solicited }
}

#[test]
fn an_acceptance_with_status_1_asks_for_the_prefixes() {
    for care_of in [COA1, COA_V4] {
        let mut lab = Lab::new(settings());
        lab.register(&[address(1, care_of)], false);
        let seen = lab.update();
        lab.answer(&seen, Status::PREFIX_DISCOVERY_NECESSARY, &[(1, Status::ACCEPTED)]);
        let identifier = solicitation(&mut lab).unwrap();
        assert_eq!(lab.jump(), 3_000);
        assert_eq!(solicitation(&mut lab), Some(identifier), "the same again");
        lab.take();
        advertise(&mut lab, seen.path, identifier, HOME_AGENT);
        assert_eq!(lab.events(), [told(true)]);
        assert_eq!(solicitation(&mut lab), None);
    }
}

#[test]
fn one_that_nobody_asked_for_is_confirmed() {
    let mut lab = Lab::registered(settings(), &[address(1, COA1)]);
    advertise(&mut lab, COA1.path(), 0, HOME_AGENT);
    assert_eq!(lab.events(), [told(false)]);
    let identifier = solicitation(&mut lab).unwrap();
    advertise(&mut lab, COA1.path(), identifier, HOME_AGENT);
    assert_eq!(lab.events(), [told(true)]);
}

#[test]
fn a_binding_that_would_outlast_the_home_address_is_refreshed() {
    let elsewhere = PrefixInformation { prefix: CORRESPONDENT, ..prefix(60, 60) };
    let rows = [
        ("long enough", prefix(86_400, 0), false),
        ("for ever", prefix(u32::MAX, 0), false),
        ("another prefix", elsewhere, false),
        ("too short", prefix(60, 0), true),
    ];
    for (name, prefix, shortens) in rows {
        let mut lab = Lab::registered(settings(), &[address(1, COA1)]);
        // What nobody asked for changes nothing but that the node asks.
        advertise_prefix(&mut lab, COA1.path(), 0, HOME_AGENT, prefix);
        let identifier = solicitation(&mut lab).unwrap();
        assert!(lab.updates().is_empty(), "{name}");
        advertise_prefix(&mut lab, COA1.path(), identifier, HOME_AGENT, prefix);
        lab.advance(0);
        let updates = lab.updates();
        assert_eq!(updates.len(), usize::from(shortens), "{name}");
    }
}

#[test]
fn only_the_home_agent_advertises() {
    let mut lab = Lab::registered(settings(), &[address(1, COA1)]);
    advertise(&mut lab, COA1.path(), 0, CORRESPONDENT);
    assert_eq!(lab.drops().len(), 1);
    assert!(lab.events().is_empty());
}

#[test]
fn solicitations_end_without_an_answer() {
    let mut lab = Lab::registered(settings(), &[address(1, COA1)]);
    lab.command(Command::SolicitPrefixes);
    let mut count = 0;
    let end = lab.now + 400_000;
    while lab.now < end {
        count += usize::from(solicitation(&mut lab).is_some());
        lab.jump();
    }
    assert_eq!(count, 5);
}
