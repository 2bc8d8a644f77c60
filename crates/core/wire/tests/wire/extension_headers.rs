//! The walk over extension headers: what honest stacks send, and what must be refused.

use homeport_wire::{
    Disposition, Malformed, PacketBuilder, PseudoHeader, Walk, limits, protocol, walk,
};

use crate::support::{CARE_OF_1, HOME, HOME_AGENT, hex, unhex, vector, vectors};

/// An IPv6 packet from the first care-of address to the home agent with these octets behind the
/// header.
fn packet(next_header: u8, rest: &[u8]) -> Vec<u8> {
    PacketBuilder::new(CARE_OF_1, HOME_AGENT).build(next_header, rest)
}

fn home_hex() -> String {
    hex(&HOME.octets())
}

/// `walk` on a packet that is given as next header and hexadecimal rest; `HOME` stands for the
/// address.
fn walked(next_header: u8, rest: &str) -> Result<(u8, usize, usize), Malformed> {
    let rest = unhex(&rest.replace("HOME", &home_hex()));
    let packet = packet(next_header, &rest);
    walk(&packet).map(|found| (found.upper, found.upper_offset, found.next_header_offset))
}

/// RFC 6275 §6.3.
#[test]
fn layouts_of_the_home_address_option() {
    // Destination Options as different stacks pad them; the option at each offset.
    for (name, rest, offset) in [
        ("PadN of four octets in front, as the vectors", "3b02 01020000 c910HOME", 46),
        ("four Pad1 in front", "3b02 00000000 c910HOME", 46),
        ("option first, PadN behind, unaligned", "3b02 c910HOME 01020000", 42),
        ("an option to be skipped in front", "3b02 1e020000 c910HOME", 46),
        ("a longer header", "3b03 01020000 c910HOME 0106000000000000", 46),
        ("no padding at all between", "3b02 0100 0100 c910HOME", 46),
    ] {
        let octets = packet(60, &unhex(&rest.replace("HOME", &home_hex())));
        let found = walk(&octets).unwrap_or_else(|error| panic!("{name}: {error}"));
        let option = found.home_address.unwrap();
        assert_eq!((option.address, option.offset), (HOME, offset), "{name}");
        assert_eq!(octets[offset], 0xc9, "{name}");
        assert_eq!(found.upper, protocol::NO_NEXT, "{name}");
        assert_eq!(found.pseudo_source(), HOME, "{name}");
        assert_eq!(found.pseudo_destination(), HOME_AGENT, "{name}");
    }
}

#[test]
fn chains() {
    // Hop-by-Hop first, then routing, then the Home Address option, in any number and order after.
    for (name, next_header, rest, expected) in [
        ("nothing between", 135, "", (135, 40, 6)),
        ("router alert in front", 0, "8700 05020000 0100", (135, 48, 40)),
        (
            "hop-by-hop, then home address",
            0,
            "3c00 05020000 0100 8702 01020000 c910HOME",
            (135, 72, 48),
        ),
        (
            "routing, then home address",
            43,
            "3c02 0201 00000000 HOME 8702 01020000 c910HOME",
            (135, 88, 64),
        ),
        (
            "home address, then routing",
            60,
            "2b02 01020000 c910HOME 8702 0201 00000000 HOME",
            (135, 88, 64),
        ),
        (
            "two destination options headers",
            60,
            "3c00 010400000000 8702 01020000 c910HOME",
            (135, 72, 48),
        ),
        ("fragment ends the walk", 60, "2c02 01020000 c910HOME 8700000000000001", (44, 64, 40)),
        ("ESP ends the walk", 60, "3202 01020000 c910HOME 0000c001", (50, 64, 40)),
        ("AH ends the walk", 51, "8704", (51, 40, 6)),
        ("an unknown protocol is an upper layer", 253, "", (253, 40, 6)),
        ("a consumed routing header of another type", 43, "3b00 0000 00000000", (59, 48, 40)),
        ("a type 2 header without segments left", 43, "3b02 0200 00000000 HOME", (59, 64, 40)),
    ] {
        assert_eq!(walked(next_header, rest), Ok(expected), "{name}");
    }
}

/// RFC 6275 §6.1.1.
#[test]
fn addresses_of_the_checksum() {
    let octets = packet(43, &unhex(&"8702 0201 00000000 HOME".replace("HOME", &home_hex())));
    let found = walk(&octets).unwrap();
    assert_eq!(found.routing_home_address, Some(HOME));
    assert_eq!(found.pseudo_header(), PseudoHeader::mobility(CARE_OF_1, HOME));
    let octets = packet(43, &unhex(&"8702 0200 00000000 HOME".replace("HOME", &home_hex())));
    assert_eq!(walk(&octets).unwrap().routing_home_address, None);
}

/// Name, next header, rest of the packet, what is wrong.
type Refusal = (&'static str, u8, &'static str, Malformed);

fn refused(cases: &[Refusal], disposition: Disposition) {
    for (name, next_header, rest, malformed) in cases {
        assert_eq!(walked(*next_header, rest), Err(*malformed), "{name}");
        assert_eq!(malformed.disposition(), disposition, "{name}");
    }
}

/// Answered with this code and pointer, unless the packet went to a multicast address.
fn answered(case: Refusal, code: u8, pointer: usize) {
    let even_to_multicast = false;
    let problem = Disposition::PacketProblem { code, pointer, even_to_multicast };
    refused(&[case], problem);
}

#[test]
fn what_is_dropped_in_silence() {
    let second = |at| Malformed::SecondHomeAddress { at };
    let overrun = |at| Malformed::OptionOverrun { at };
    let truncated = Malformed::Truncated { field: "extension header", at: 42 };
    let short = Malformed::HomeAddressLength { at: 42 };
    let unknown = Malformed::UnknownOption { kind: 0x5e, at: 42 };
    let two_headers = "3c02 01020000 c910HOME 3b02 01020000 c910HOME";
    let one_header = "3b05 01020000 c910HOME c910HOME 010400000000";
    let cut_off = "3b04 01020000 c910HOME c910HOME";
    let cases = [
        ("second home address in one header", 60, one_header, second(64)),
        ("second home address in another header", 60, two_headers, second(70)),
        ("second home address that its header cuts off", 60, cut_off, overrun(64)),
        ("home address too short", 60, "3b00 c904 00000000", short),
        ("option behind the end of its header", 60, "3b00 01020000 0105", overrun(46)),
        ("option type without a length", 60, "3b00 0102 0000 00 1e", overrun(47)),
        ("header behind the end of the packet", 60, "3b01 010400000000", truncated),
        ("unknown option with action 01", 60, "3b00 5e020000 0100", unknown),
    ];
    refused(&cases, Disposition::Discard);
}

/// RFC 8200 §4.2.
#[test]
fn unknown_options_that_are_answered() {
    let unknown = |kind, at| Malformed::UnknownOption { kind, at };
    let home = "3b02 01020000 c910HOME";
    answered(("action 11", 60, "3b00 de020000 0100", unknown(0xde, 42)), 2, 42);
    answered(("home address, hop by hop", 0, home, unknown(0xc9, 46)), 2, 46);
    let to_multicast_too =
        Disposition::PacketProblem { code: 2, pointer: 44, even_to_multicast: true };
    refused(&[("action 10", 60, "3b00 0100 9e020000", unknown(0x9e, 44))], to_multicast_too);
}

/// RFC 8200 §4, §4.4, RFC 6275 §6.4.1.
#[test]
fn headers_that_are_answered() {
    let late = Malformed::HopByHopNotFirst { at: 40 };
    let two = "0000 010400000000 3b00 010400000000";
    answered(("hop-by-hop later", 60, two, late), 1, 40);

    let routing = |name, rest, at| {
        answered((name, 43, rest, Malformed::RoutingHeader { at }), 0, at);
    };
    routing("source routing of old", "3b02 0001 00000000 HOME", 42);
    routing("two segments left", "3b02 0202 00000000 HOME", 43);
    routing("shorter than its figure", "3b00 0201 00000000", 41);
    routing("longer than its figure", "3b03 0201 00000000 HOME 0000000000000000", 41);
    routing("second of type 2", "2b02 0201 00000000 HOME 3b02 0201 00000000 HOME", 66);
}

#[test]
fn headers_and_options_are_bounded() {
    let chain = |count: usize| {
        let mut rest = [60, 0, 1, 4, 0, 0, 0, 0].repeat(count);
        let last = rest.len() - 8;
        rest[last] = protocol::NO_NEXT;
        packet(60, &rest)
    };
    assert!(walk(&chain(limits::EXTENSION_HEADERS_MAX)).is_ok());
    let refused = walk(&chain(limits::EXTENSION_HEADERS_MAX + 1)).unwrap_err();
    assert_eq!(refused, Malformed::TooManyExtensionHeaders);

    // Options of two octets without data, which may be skipped.
    let options = |count: usize| {
        let mut rest = vec![59, 0];
        rest.extend([0x1e, 0].repeat(count));
        rest.resize(rest.len().next_multiple_of(8), 0);
        rest[1] = u8::try_from(rest.len() / 8 - 1).unwrap();
        packet(60, &rest)
    };
    assert!(walk(&options(limits::HEADER_OPTIONS_MAX)).is_ok());
    let refused = walk(&options(limits::HEADER_OPTIONS_MAX + 1)).unwrap_err();
    assert_eq!(refused, Malformed::TooManyOptions);
}

#[test]
fn the_ipv6_header_itself() {
    let packet = vector("V01").packet;
    let mut other = packet.clone();
    other[0] = 0x50;
    assert_eq!(walk(&other), Err(Malformed::Version { value: 5 }));
    // Octets behind the Payload Length are not of the packet: Ethernet pads short frames.
    let mut padded = packet.clone();
    padded.extend_from_slice(&[0xa5; 7]);
    assert_eq!(walk(&padded), walk(&packet));
}

#[test]
fn offsets_point_into_the_packet() {
    let ipv6 = |packet: &[u8]| packet[0] >> 4 == 6;
    for vector in vectors().iter().filter(|vector| ipv6(&vector.packet)) {
        let found: Walk<'_> = walk(&vector.packet).unwrap();
        assert_eq!(&vector.packet[found.upper_offset..], found.payload, "{}", vector.id);
        assert_eq!(vector.packet[found.next_header_offset], found.upper, "{}", vector.id);
    }
}
