//! ICMPv6: the golden packets from values, errors, limits.

use std::net::Ipv6Addr;

use homeport_wire::{
    AdvertisementFlags, DiscoveryFlags, Icmpv6, Malformed, NeighbourOption, NeighbourOptions,
    PacketBuilder, PrefixFlags, PrefixInformation, PseudoHeader, limits, protocol, walk,
};

use crate::support::{CARE_OF_1, HOME, HOME_AGENT, SECOND_AGENT, hex, pcap, vector};

const PSEUDO: PseudoHeader = PseudoHeader::icmpv6(HOME, HOME_AGENT);

fn home_prefix() -> PrefixInformation {
    PrefixInformation {
        prefix_len: 64,
        flags: PrefixFlags::ON_LINK.with(PrefixFlags::AUTONOMOUS).with(PrefixFlags::ROUTER_ADDRESS),
        valid_secs: 86_400,
        preferred_secs: 14_400,
        prefix: HOME_AGENT,
    }
}

/// RFC 6275 §6.5, §6.6.
#[test]
fn discovery_from_values() {
    let anycast: Ipv6Addr = "2001:db8:0:1:fdff:ffff:ffff:fffe".parse().unwrap();
    let flags = DiscoveryFlags::MOBILE_ROUTER;
    let request = Icmpv6::HomeAgentAddressDiscoveryRequest { identifier: 0x7788, flags };
    let packet = PacketBuilder::new(CARE_OF_1, anycast)
        .build(protocol::ICMPV6, &request.emit(CARE_OF_1, anycast));
    assert_eq!(hex(&packet), hex(&vector("V33").packet));

    let reply = Icmpv6::HomeAgentAddressDiscoveryReply {
        identifier: 0x7788,
        flags,
        addresses: vec![HOME_AGENT, SECOND_AGENT],
    };
    let packet = PacketBuilder::new(HOME_AGENT, CARE_OF_1)
        .build(protocol::ICMPV6, &reply.emit(HOME_AGENT, CARE_OF_1));
    assert_eq!(hex(&packet), hex(&vector("V34").packet));
}

/// RFC 6275 §6.7, §6.8.
#[test]
fn prefix_discovery_from_values() {
    let solicitation = Icmpv6::MobilePrefixSolicitation { identifier: 0x0a0b };
    let packet = PacketBuilder::new(CARE_OF_1, HOME_AGENT)
        .home_address_option(Some(HOME))
        .build(protocol::ICMPV6, &solicitation.emit(HOME, HOME_AGENT));
    assert_eq!(hex(&packet), hex(&vector("V35").packet));

    let advertisement = Icmpv6::MobilePrefixAdvertisement {
        identifier: 0x0a0b,
        flags: AdvertisementFlags::default(),
        options: NeighbourOptions::of_prefixes(&[home_prefix()]),
    };
    let packet = PacketBuilder::new(HOME_AGENT, CARE_OF_1)
        .routing_home_address(Some(HOME))
        .build(protocol::ICMPV6, &advertisement.emit(HOME_AGENT, HOME));
    assert_eq!(hex(&packet), hex(&vector("V36").packet));
}

#[test]
fn prefixes_of_a_third_party_home_agent() {
    let packet = &pcap("captures/mobile-node-f1.pcap")[3];
    let walk = walk(packet).unwrap();
    let message = Icmpv6::parse(walk.payload, walk.pseudo_header()).unwrap();
    let Icmpv6::MobilePrefixAdvertisement { identifier, flags, options } = message else {
        panic!("{message:?}")
    };
    assert_eq!((identifier, flags.0), (0x331b, 0));
    let prefixes: Vec<_> = options.prefixes().collect();
    let [prefix] = prefixes[..] else { panic!("{prefixes:?}") };
    assert_eq!((prefix.prefix_len, prefix.valid_secs, prefix.preferred_secs), (64, 86_398, 14_398));
    assert!(prefix.flags.contains(PrefixFlags::ROUTER_ADDRESS));
    assert_eq!(prefix.prefix.to_string(), "2001:db8:a::1");
}

#[test]
fn every_message_is_read_back() {
    let invoking = vector("V01").packet;
    let (code, identifier, sequence, data) = (1, 7, 9, &b"echo"[..]);
    let invoking = &invoking[..];
    for message in [
        Icmpv6::DestinationUnreachable { code, invoking },
        Icmpv6::PacketTooBig { mtu: 1280, invoking },
        Icmpv6::TimeExceeded { code, invoking },
        Icmpv6::ParameterProblem { code: 2, pointer: 46, invoking },
        Icmpv6::EchoRequest { identifier, sequence, data },
        Icmpv6::EchoReply { identifier, sequence, data },
        Icmpv6::HomeAgentAddressDiscoveryRequest { identifier, flags: DiscoveryFlags(0x8001) },
        Icmpv6::HomeAgentAddressDiscoveryReply {
            identifier,
            flags: DiscoveryFlags(0),
            addresses: vec![HOME_AGENT; limits::DISCOVERY_ADDRESSES_MAX],
        },
        Icmpv6::MobilePrefixSolicitation { identifier },
        Icmpv6::MobilePrefixAdvertisement {
            identifier,
            flags: AdvertisementFlags::MANAGED,
            options: NeighbourOptions::of_prefixes(&[home_prefix(), home_prefix()]),
        },
        Icmpv6::Other { kind: 138, code: 0, body: &[1, 2, 3] },
    ] {
        let octets = message.emit(HOME, HOME_AGENT);
        assert_eq!(Icmpv6::parse(&octets, PSEUDO).as_ref(), Ok(&message));
        for len in 0..octets.len() {
            assert!(Icmpv6::parse(&octets[..len], PSEUDO).is_err(), "{message:?} cut to {len}");
        }
        for at in 0..octets.len() {
            let mut wrong = octets.clone();
            wrong[at] ^= 0x10;
            assert_eq!(Icmpv6::parse(&wrong, PSEUDO), Err(Malformed::Checksum), "{message:?}");
        }
    }
}

#[test]
fn an_odd_last_octet_counts_as_the_high_half_of_a_word() {
    let message = Icmpv6::EchoRequest { identifier: 7, sequence: 9, data: b"odd" };
    // The checksum is computed apart from this code.
    assert_eq!(hex(&message.emit(HOME, HOME_AGENT)), "80004fd0000700096f6464");
}

/// RFC 4443 §2.4 (c).
#[test]
fn errors_fit_into_the_smallest_mtu() {
    let invoking = [0xa5; 3000];
    let error = Icmpv6::PacketTooBig { mtu: 1400, invoking: &invoking };
    let octets = error.emit(HOME_AGENT, CARE_OF_1);
    let packet = PacketBuilder::new(HOME_AGENT, CARE_OF_1).build(protocol::ICMPV6, &octets);
    assert_eq!(packet.len(), 1280);
    let reply = Icmpv6::HomeAgentAddressDiscoveryReply {
        identifier: 0,
        flags: DiscoveryFlags(0),
        addresses: vec![HOME_AGENT; 200],
    };
    let octets = reply.emit(HOME_AGENT, CARE_OF_1);
    let packet = PacketBuilder::new(HOME_AGENT, CARE_OF_1).build(protocol::ICMPV6, &octets);
    assert_eq!(packet.len(), 1280);
}

/// A sealed ICMPv6 message.
fn sealed(kind: u8, body: &[u8]) -> Vec<u8> {
    Icmpv6::Other { kind, code: 0, body }.emit(HOME, HOME_AGENT)
}

#[test]
fn bodies_that_do_not_fit_are_refused() {
    let head = [0, 1, 0, 0];
    let with = |rest: &[u8]| [&head[..], rest].concat();
    for (name, kind, body) in [
        ("half an address", 145, with(&[0; 8])),
        ("more addresses than a packet has room for", 145, with(&[0; 16 * 78])),
        ("option of length zero", 147, with(&[3, 0, 0, 0, 0, 0, 0, 0])),
        ("option behind the end", 147, with(&[3, 4, 0, 0, 0, 0, 0, 0])),
        ("no identifier", 144, vec![0, 1]),
        ("no pointer", 4, vec![0, 1]),
    ] {
        let octets = sealed(kind, &body);
        let refused = Icmpv6::parse(&octets, PSEUDO);
        assert!(
            matches!(refused, Err(Malformed::Length { .. } | Malformed::Truncated { .. })),
            "{name}: {refused:?}"
        );
    }
    // A prefix option of another length is kept, but is no prefix.
    let octets = sealed(147, &with(&[3, 1, 64, 0, 0, 0, 0, 0]));
    let parsed = Icmpv6::parse(&octets, PSEUDO).unwrap();
    let Icmpv6::MobilePrefixAdvertisement { options, .. } = &parsed else { panic!() };
    assert_eq!(
        options.iter().collect::<Vec<_>>(),
        [NeighbourOption::Unknown { kind: 3, data: &[64, 0, 0, 0, 0, 0] }]
    );
    assert_eq!(parsed.emit(HOME, HOME_AGENT), octets);
}

#[test]
fn reserved_bits_of_requests_are_ignored() {
    let octets = sealed(144, &[0x77, 0x88, 0xff, 0xff]);
    let parsed = Icmpv6::parse(&octets, PSEUDO).unwrap();
    let Icmpv6::HomeAgentAddressDiscoveryRequest { identifier, flags } = parsed else { panic!() };
    assert_eq!(identifier, 0x7788);
    assert!(flags.contains(DiscoveryFlags::MOBILE_ROUTER));
    let octets = sealed(146, &[0x77, 0x88, 0xff, 0xff]);
    assert_eq!(
        Icmpv6::parse(&octets, PSEUDO),
        Ok(Icmpv6::MobilePrefixSolicitation { identifier: 0x7788 })
    );
}
