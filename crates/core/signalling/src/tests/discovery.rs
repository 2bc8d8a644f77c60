//! RFC 6275 §10.5 and §10.6, RFC 3963 §7.

use homeport_binding::{CareOf, Dispatch, DispatchMessage, Policy};
use homeport_wire::{DiscoveryFlags, Icmpv6, PacketBuilder, protocol};

use super::*;

const ANYCAST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0xfdff, 0xffff, 0xffff, 0xfffe);

/// Answers both questions, with the lifetimes of V36.
fn answering() -> HomePrefix {
    HomePrefix {
        home_agent_discovery_allowed: true,
        prefix_discovery_allowed: true,
        valid_lifetime_secs: 86_400,
        preferred_lifetime_secs: 14_400,
        ..home_prefix(Authentication::None)
    }
}

fn ask(from: Ipv6Addr, to: Ipv6Addr, message: &Icmpv6<'_>) -> Vec<u8> {
    PacketBuilder::new(from, to).build(protocol::ICMPV6, &message.emit(from, to))
}

fn request(flags: u16) -> Icmpv6<'static> {
    let flags = DiscoveryFlags(flags);
    Icmpv6::HomeAgentAddressDiscoveryRequest { identifier: 0x7788, flags }
}

/// V33; V34 has one home agent more than this cluster is.
#[test]
fn home_agents_are_named() {
    let vectors = Vectors::load();
    // Home agent for mobile routers, flags of the request, flags of the reply; reserved bits aside.
    let rows = [
        (true, 0x8000, 0x8000),
        (true, 0, 0),
        (true, 0x7fff, 0),
        (false, 0x8000, 0),
        (false, 0, 0),
    ];
    assert_eq!(ask(COA1, ANYCAST, &request(0x8000)), vectors.packet("V33"));
    for (mobile_networks_allowed, asked, told) in rows {
        let mut lab = Lab::with(HomePrefix { mobile_networks_allowed, ..answering() });
        let reply = lab.answer(&ask(COA1, ANYCAST, &request(asked)), None);
        assert_eq!(reply.kind, ReplyKind::HomeAgentAddressDiscovery);
        let seen = walk(&reply.packet).unwrap();
        assert_eq!((seen.header.source, seen.header.destination), (AGENT, COA1));
        let expected = Icmpv6::HomeAgentAddressDiscoveryReply {
            identifier: 0x7788,
            flags: DiscoveryFlags(told),
            addresses: vec![AGENT],
        };
        assert_eq!(Icmpv6::parse(seen.payload, seen.pseudo_header()).unwrap(), expected);
    }
    let mut lab = Lab::with(answering());
    let reply = lab.answer(&vectors.packet("V33"), None);
    let two = vectors.packet("V34");
    // Up to the length, the checksum and the second address they are the same.
    assert_eq!(reply.packet[8..42], two[8..42]);
    assert_eq!(reply.packet[44..], two[44..64]);
}

#[test]
fn the_prefix_is_advertised() {
    let vectors = Vectors::load();
    let mut lab = Lab::with(answering());
    let reply = lab.answer(&vectors.packet("V35"), None);
    assert_eq!(reply.packet, vectors.packet("V36"));
    assert_eq!((reply.kind, reply.outer), (ReplyKind::MobilePrefixAdvertisement, None));
    // At home, or out of a tunnel, there is no routing header; over UDP the way back is the same.
    let solicitation = Icmpv6::MobilePrefixSolicitation { identifier: 0x0a0b };
    let outer = Some(UdpOuter {
        peer: (Ipv4Addr::new(203, 0, 113, 9), 40001),
        local: (Ipv4Addr::new(198, 51, 100, 1), 4191),
    });
    for outer in [None, outer] {
        let reply = lab.answer(&ask(HOME, AGENT, &solicitation), outer);
        assert_eq!(reply.outer, outer);
        let seen = walk(&reply.packet).unwrap();
        assert_eq!((seen.header.destination, seen.routing_home_address), (HOME, None));
        let advertised = Icmpv6::parse(seen.payload, seen.pseudo_header()).unwrap();
        let vector = vectors.packet("V36");
        let expected = walk(&vector).unwrap();
        let expected = Icmpv6::parse(expected.payload, expected.pseudo_header()).unwrap();
        assert_eq!(advertised, expected);
    }
}

impl Lab {
    /// Registers V01's bindings and changes the lifetimes to those of V36; what is due then.
    fn advertising(&mut self) -> Dispatch {
        self.answer(&Vectors::load().packet("V01"), None);
        let old = self.cache.policy(HOME, AGENT).home_prefix.unwrap();
        let home_prefix = HomePrefix {
            valid_lifetime_secs: 86_400,
            preferred_lifetime_secs: 14_400,
            ..old.record
        };
        let update = Command::UpdateHomePrefix { home_prefix, base_revision: old.revision };
        assert_eq!(self.run(update).outcome, Outcome::Done);
        for _ in 0..3 {
            let batch = Batch { at: self.at, commands: Vec::new() };
            self.cache.apply(self.cache.revision() + 1, batch);
        }
        let due = self.cache.take_notices();
        let [dispatch] = &due[..] else { panic!("{due:?}") };
        assert_eq!(dispatch.message, DispatchMessage::PrefixAdvertisement);
        dispatch.clone()
    }
}

/// With lifetimes that are not those of V36.
fn told_at_once() -> HomePrefix {
    HomePrefix {
        valid_lifetime_secs: 600_000,
        preferred_lifetime_secs: 600_000,
        prefix_advertisement_delay_min_secs: 0,
        prefix_advertisement_delay_max_secs: 0,
        ..answering()
    }
}

/// RFC 6275 §10.6.3: V36, but for the identifier.
#[test]
fn what_nobody_asked_for_is_the_vector_of_the_answer() {
    const IDENTIFIER: core::ops::Range<usize> = 68..70;
    const CHECKSUM: core::ops::Range<usize> = 66..68;
    let mut lab = Lab::with(told_at_once());
    let dispatch = lab.advertising();
    let policy = lab.cache.policy(HOME, AGENT);
    let reply = notify(&dispatch, &policy, [7; 16]).unwrap();
    assert_eq!((reply.kind, reply.outer), (ReplyKind::UnsolicitedPrefixAdvertisement, None));
    let mut expected = Vectors::load().packet("V36");
    for range in [IDENTIFIER, CHECKSUM] {
        expected[range.clone()].copy_from_slice(&reply.packet[range]);
    }
    assert_eq!(reply.packet, expected);
    let seen = walk(&reply.packet).unwrap();
    let advertised = Icmpv6::parse(seen.payload, seen.pseudo_header()).unwrap();
    let Icmpv6::MobilePrefixAdvertisement { identifier, .. } = advertised else {
        panic!("{advertised:?}");
    };
    assert_eq!(identifier, crate::choices::UNSOLICITED_IDENTIFIER);

    // In UDP the mobile node is addressed by its home address.
    let address = Ipv4Addr::new(203, 0, 113, 7);
    let care_of = CareOf::Ipv4 { address, port: 40_001, announced: address, udp: true };
    let over_ipv4 = Dispatch { care_of, ..dispatch.clone() };
    assert_eq!(notify(&over_ipv4, &policy, [7; 16]), Err(DropReason::HomeAgentNotServed));
    let agent_ipv4 = Ipv4Addr::new(198, 51, 100, 1);
    let mut with_ipv4 = policy.clone();
    with_ipv4.home_prefix.as_mut().unwrap().record.home_agent_ipv4 = Some(agent_ipv4);
    let reply = notify(&over_ipv4, &with_ipv4, [7; 16]).unwrap();
    assert_eq!(reply.outer, Some(UdpOuter { peer: (address, 40_001), local: (agent_ipv4, 4191) }));
    let seen = walk(&reply.packet).unwrap();
    assert_eq!((seen.header.destination, seen.routing_home_address), (HOME, None));
    assert_eq!(Icmpv6::parse(seen.payload, seen.pseudo_header()).unwrap(), advertised);

    let mut silent = policy;
    silent.home_prefix.as_mut().unwrap().record.prefix_discovery_allowed = false;
    assert_eq!(notify(&dispatch, &silent, [7; 16]), Err(DropReason::DiscoveryNotAllowed));
}

#[test]
fn a_solicitation_confirms_what_its_answer_says() {
    let mut lab = Lab::with(told_at_once());
    let read = |packet: &[u8]| match receive(Arrival { packet, outer: None }) {
        Received::Discovery(discovery) => discovery,
        other => panic!("{other:?}"),
    };
    let solicitation = read(&Vectors::load().packet("V35"));
    let before = lab.cache.policy(HOME, AGENT);
    assert_eq!(solicitation.confirms(&before), None, "nothing is advertised");
    lab.advertising();
    let policy = lab.cache.policy(HOME, AGENT);
    let anybody = read(&ask(COA1, ANYCAST, &request(0)));
    assert_eq!(anybody.confirms(&policy), None);
    // A front-end whose record is behind answers, but with what is old.
    let old = before.home_prefix.unwrap();
    let behind = Policy { home_prefix: Some(old), ..policy.clone() };
    assert_eq!(solicitation.confirms(&behind), None);
    let solicited = solicitation.confirms(&policy).unwrap();
    assert_eq!(lab.run(Command::PrefixesSolicited(solicited)).outcome, Outcome::Done);
    assert_eq!(solicitation.confirms(&lab.cache.policy(HOME, AGENT)), None);
}

#[test]
fn questions_without_an_answer() {
    let vectors = Vectors::load();
    let solicitation = Icmpv6::MobilePrefixSolicitation { identifier: 1 };
    let link_local: Ipv6Addr = "fe80::1".parse().unwrap();
    let multicast: Ipv6Addr = "ff02::1".parse().unwrap();
    let mut damaged = vectors.packet("V35");
    *damaged.last_mut().unwrap() ^= 1;
    let echo = Icmpv6::EchoRequest { identifier: 1, sequence: 1, data: &[] };
    let rows = [
        (ask(COA1, AGENT, &request(0)), "home_agent_not_served"),
        (ask(COA1, "2001:db8:7::1".parse().unwrap(), &request(0)), "home_agent_not_served"),
        (ask(multicast, ANYCAST, &request(0)), "source_not_unicast"),
        (ask(Ipv6Addr::UNSPECIFIED, ANYCAST, &request(0)), "source_not_unicast"),
        (ask(COA1, AGENT, &solicitation), "home_agent_not_served"),
        (ask(HOME, ANYCAST, &solicitation), "home_agent_not_served"),
        (ask(link_local, AGENT, &solicitation), "home_address_not_routable"),
        (ask(COA1, AGENT, &echo), "not_signalling"),
        (damaged, "checksum"),
    ];
    for (packet, reason) in rows {
        let mut lab = Lab::with(answering());
        assert_eq!(lab.drops(&packet), reason);
    }
    let mut lab = Lab::with(home_prefix(Authentication::None));
    for id in ["V33", "V35"] {
        assert_eq!(lab.drops(&vectors.packet(id)), "discovery_not_allowed", "off by default");
    }
}

#[test]
fn one_advertisement_a_second_to_one_mobile_node() {
    let mut limit = DiscoveryLimit::default();
    let other = Ipv6Addr::from_bits(HOME.to_bits() + 1);
    assert!(limit.allow(HOME, 5_000) && limit.allow(other, 5_000));
    assert!(!limit.allow(HOME, 5_999) && limit.allow(HOME, 6_000));
    let many = (0..20_000_u128).map(|n| Ipv6Addr::from_bits(COA1.to_bits() + n));
    let allowed = many.clone().filter(|address| limit.allow(*address, 7_500)).count();
    assert_eq!(allowed, 16_384, "what is old makes room, the memory is bounded");
    assert!(!limit.allow(HOME, 7_600));
    assert_eq!(many.filter(|address| limit.allow(*address, 8_500)).count(), 16_384);
}
