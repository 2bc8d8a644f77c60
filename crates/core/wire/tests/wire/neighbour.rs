//! Neighbour Discovery: packets that scapy 2 built, errors.

use std::net::Ipv6Addr;

use homeport_wire::{
    HomeAgentInformation, Icmpv6, Malformed, NeighbourAdvertisement, NeighbourFlags,
    NeighbourOption, NeighbourOptions, NeighbourSolicitation, PacketBuilder, PrefixFlags,
    PrefixInformation, PseudoHeader, RouterAdvertisement, RouterFlags, protocol, walk,
};

use crate::support::{HOME, HOME_AGENT, hex};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ROUTER_ADVERTISEMENT: &str = "\
    6000000000483afffe80000000000000000000fffe000001ff020000000000000000000000000001\
    8600798e4020070800000000000000000101020000000001030440e0000151800000384000000000\
    20010db800000001000000000000000107010000000927c008018000000a0708\
";
const DAD_SOLICITATION: &str = "\
    6000000000183aff00000000000000000000000000000000ff0200000000000000000001ff000100\
    87004aee0000000020010db8000000010000000000000100\
";
const UNSOLICITED_ADVERTISEMENT: &str = "\
    6000000000203aff20010db8000000010000000000000001ff020000000000000000000000000001\
    8800f8292000000020010db80000000100000000000001000201020000000001\
";
const ROUTER_SOLICITATION: &str = "\
    6000000000103afffe800000000000000000000000000005ff020000000000000000000000000002\
    85007a24000000000101020000000005\
";

fn from_values(message: &Icmpv6<'_>, source: Ipv6Addr, destination: Ipv6Addr, expected: &str) {
    let octets = message.emit(source, destination);
    let packet =
        PacketBuilder::new(source, destination).hop_limit(255).build(protocol::ICMPV6, &octets);
    assert_eq!(hex(&packet), expected);
    let parsed = Icmpv6::parse(&octets, PseudoHeader::icmpv6(source, destination));
    assert_eq!(parsed.as_ref(), Ok(message));
}

#[test]
fn router_advertisement_of_a_home_agent() {
    let prefix = PrefixInformation {
        prefix_len: 64,
        flags: PrefixFlags::ON_LINK.with(PrefixFlags::AUTONOMOUS).with(PrefixFlags::ROUTER_ADDRESS),
        valid_secs: 86_400,
        preferred_secs: 14_400,
        prefix: HOME_AGENT,
    };
    let agent = HomeAgentInformation { flags: 0x8000, preference: 10, lifetime_secs: 1800 };
    let options = [
        NeighbourOption::SourceLinkLayer(&MAC),
        NeighbourOption::PrefixInformation(prefix),
        NeighbourOption::AdvertisementIntervalMs(600_000),
        NeighbourOption::HomeAgentInformation(agent),
    ];
    let message = RouterAdvertisement {
        hop_limit: 64,
        flags: RouterFlags::HOME_AGENT,
        router_lifetime_secs: 1800,
        reachable_ms: 0,
        retransmission_ms: 0,
        options: NeighbourOptions::of(&options),
    };
    assert_eq!(message.options.iter().collect::<Vec<_>>(), options);
    let source = "fe80::ff:fe00:1".parse().unwrap();
    from_values(&Icmpv6::RouterAdvertisement(message), source, ALL_NODES, ROUTER_ADVERTISEMENT);
}

#[test]
fn solicitations_and_an_advertisement() {
    let group = "ff02::1:ff00:100".parse().unwrap();
    let message = NeighbourSolicitation { target: HOME, options: NeighbourOptions::EMPTY };
    let message = Icmpv6::NeighbourSolicitation(message);
    from_values(&message, Ipv6Addr::UNSPECIFIED, group, DAD_SOLICITATION);

    let message = NeighbourAdvertisement {
        flags: NeighbourFlags::OVERRIDE,
        target: HOME,
        options: NeighbourOptions::of(&[NeighbourOption::TargetLinkLayer(&MAC)]),
    };
    let message = Icmpv6::NeighbourAdvertisement(message);
    from_values(&message, HOME_AGENT, ALL_NODES, UNSOLICITED_ADVERTISEMENT);

    let options = NeighbourOptions::of(&[NeighbourOption::SourceLinkLayer(&[2, 0, 0, 0, 0, 5])]);
    let source = "fe80::5".parse().unwrap();
    let routers = "ff02::2".parse().unwrap();
    from_values(&Icmpv6::RouterSolicitation(options), source, routers, ROUTER_SOLICITATION);
}

#[test]
fn cut_off_anywhere_is_refused() {
    for packet in [ROUTER_ADVERTISEMENT, DAD_SOLICITATION, UNSOLICITED_ADVERTISEMENT] {
        let packet: Vec<u8> = (0..packet.len() / 2)
            .map(|at| u8::from_str_radix(&packet[at * 2..at * 2 + 2], 16).unwrap())
            .collect();
        let whole = walk(&packet).unwrap();
        let (source, destination) = (whole.header.source, whole.header.destination);
        let pseudo = PseudoHeader::icmpv6(source, destination);
        for len in 4..whole.payload.len() {
            let mut octets = whole.payload[..len].to_vec();
            octets[2..4].fill(0);
            let sum = homeport_wire::checksum(pseudo, &octets);
            octets[2..4].copy_from_slice(&sum.to_be_bytes());
            match Icmpv6::parse(&octets, pseudo) {
                Err(Malformed::Truncated { .. } | Malformed::Length { .. }) => {}
                // The end of an option is the end of a shorter message.
                Ok(message) => assert_eq!(message.emit(source, destination), octets),
                Err(other) => panic!("{len}: {other:?}"),
            }
        }
    }
}

#[test]
fn odd_link_layer_addresses_are_padded_and_long_ones_cut() {
    let long = [7; 3000];
    let options = NeighbourOptions::of(&[
        NeighbourOption::SourceLinkLayer(&[1, 2, 3, 4, 5, 6, 7, 8]),
        NeighbourOption::TargetLinkLayer(&long),
    ]);
    assert_eq!(options.octets().len(), 16 + 255 * 8);
    let padded = NeighbourOption::SourceLinkLayer(&[1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0]);
    assert_eq!(options.iter().next(), Some(padded));
    assert!(NeighbourOptions::parse(options.octets()).is_ok());
}
