//! Every reason to refuse a message, its disposition, and which reason wins (RFC 6275 §9.2).

use homeport_wire::{
    BindingErrorStatus, Disposition, Malformed, Message, PseudoHeader, limits, walk,
};

use crate::support::{HOME, HOME_AGENT, mobility_of, packets, seal, unhex, vector, vectors};

const PSEUDO: PseudoHeader = PseudoHeader::mobility(HOME, HOME_AGENT);

/// Sealed octets, parsed.
fn verdict(hex: &str) -> Malformed {
    let mut mh = unhex(hex);
    seal(&mut mh, PSEUDO);
    Message::parse(&mh, PSEUDO).unwrap_err()
}

#[test]
fn each_malformation_has_its_disposition() {
    let unknown = |mh_type| Malformed::UnknownType { mh_type };
    let short = |mh_type, value| Malformed::HeaderLen { mh_type, value };
    let overrun = |at| Malformed::OptionOverrun { at };
    let piggybacked = Malformed::PayloadProto { value: 58 };
    let one_of_two = "3b020c000000 020020010db8000000010000000000000002";
    let binding_error =
        Disposition::BindingError { status: BindingErrorStatus::UNRECOGNIZED_MH_TYPE };
    let at_proto = Disposition::ParameterProblem { pointer_from_mh: 0 };
    let at_header_len = Disposition::ParameterProblem { pointer_from_mh: 1 };
    let discard = Disposition::Discard;
    // MH type 255; a fast handover message, registered but not ours; ICMPv6 behind the message; a
    // Binding Update with Header Len 0 and the octets of Header Len 1; a switch to two home agents
    // with one address; octets behind; an option longer than the header; an option type without
    // length; a Binding Revocation of an unknown kind.
    for (octets, malformed, disposition) in [
        ("3b01ff000000 00000000000000000000", unknown(255), binding_error),
        ("3b0108000000 00000000000000000000", unknown(8), binding_error),
        ("3a0105000000 00010000000001020000 8000000000000000", piggybacked, at_proto),
        ("3b0005000000 00010000000001020000", short(5, 0), at_header_len),
        (one_of_two, short(12, 2), at_header_len),
        ("3b0105000000 00010000000001020000 00", Malformed::TrailingOctets, discard),
        ("3b0105000000 00010000000001030000", overrun(12), discard),
        ("3b0105000000 00010000000001010023", overrun(15), discard),
        ("3b0110000000 03010042000001020000", Malformed::RevocationType { value: 3 }, discard),
    ] {
        assert_eq!(verdict(octets), malformed, "{octets}");
        assert_eq!(malformed.disposition(), disposition, "{octets}");
    }
}

#[test]
fn header_len_minimum_of_each_type() {
    // Type and the smallest Header Len.
    let minima =
        [(0, 0), (1, 1), (2, 1), (3, 2), (4, 2), (5, 1), (6, 1), (7, 2), (12, 0), (13, 1), (16, 1)];
    for (mh_type, minimum) in minima {
        for header_len in 0..=3_u8 {
            let mut mh = vec![0; 8 * (usize::from(header_len) + 1)];
            (mh[0], mh[1], mh[2]) = (59, header_len, mh_type);
            if mh_type == 16 {
                mh[6] = 1;
            }
            seal(&mut mh, PSEUDO);
            let parsed = Message::parse(&mh, PSEUDO);
            if header_len < minimum {
                let refused = Malformed::HeaderLen { mh_type, value: header_len };
                assert_eq!(parsed, Err(refused), "type {mh_type}, Header Len {header_len}");
            } else {
                let message = parsed.unwrap();
                assert_eq!(message.mh_type(), mh_type);
            }
        }
    }
}

#[test]
fn a_wrong_checksum_is_dropped_in_silence_whatever_else_is_wrong() {
    for vector in vectors().into_iter().filter(|vector| vector.has_clear_mh()) {
        let (mut mh, pseudo) = mobility_of(&vector.packet).unwrap();
        for at in 0..mh.len() {
            for bit in 0..8 {
                mh[at] ^= 1 << bit;
                let refused = Message::parse(&mh, pseudo).unwrap_err();
                // A longer Header Len is noticed first, as there are not as many octets.
                let expected = matches!(refused, Malformed::Checksum)
                    || at == 1 && matches!(refused, Malformed::Truncated { .. });
                assert!(expected, "{} octet {at} bit {bit}: {refused:?}", vector.id);
                assert_eq!(refused.disposition(), Disposition::Discard);
                mh[at] ^= 1 << bit;
            }
        }
        // Other addresses than those in the packet, as when the care-of address is taken for the
        // source.
        let elsewhere = PseudoHeader { source: "2001:db8:dead::1".parse().unwrap(), ..pseudo };
        assert_eq!(Message::parse(&mh, elsewhere), Err(Malformed::Checksum), "{}", vector.id);
    }
}

#[test]
fn checksum_zero_is_a_wrong_checksum() {
    let (mut mh, pseudo) = mobility_of(&vector("V01").packet).unwrap();
    mh[4..6].fill(0);
    assert_eq!(Message::parse(&mh, pseudo), Err(Malformed::Checksum));
}

#[test]
fn truncation_at_every_length_is_refused() {
    for vector in vectors().into_iter().filter(|vector| vector.has_clear_mh()) {
        let (mh, pseudo) = mobility_of(&vector.packet).unwrap();
        for len in 0..mh.len() {
            let refused = Message::parse(&mh[..len], pseudo).unwrap_err();
            assert!(
                matches!(refused, Malformed::Truncated { at, .. } if at <= len),
                "{} cut to {len}: {refused:?}",
                vector.id
            );
            assert_eq!(refused.disposition(), Disposition::Discard);
        }
    }
    for (name, packet) in packets() {
        for len in 0..packet.len() {
            assert!(crate::support::layers(&packet[..len]).is_err(), "{name} cut to {len}");
        }
    }
}

#[test]
fn a_message_cut_short_with_a_header_len_to_match() {
    // As a sender would who cuts and seals again: never a panic, and never an option half read.
    for vector in vectors().into_iter().filter(|vector| vector.has_clear_mh()) {
        let (mh, pseudo) = mobility_of(&vector.packet).unwrap();
        for units in 1..=mh.len() / 8 {
            let mut cut = mh[..8 * units].to_vec();
            cut[1] = u8::try_from(units - 1).unwrap();
            seal(&mut cut, pseudo);
            match Message::parse(&cut, pseudo) {
                Ok(message) => assert_eq!(message.emit(pseudo.source, pseudo.destination), cut),
                Err(Malformed::HeaderLen { .. } | Malformed::OptionOverrun { .. }) => {}
                Err(other) => panic!("{} cut to {units} units: {other:?}", vector.id),
            }
        }
    }
}

#[test]
fn the_first_failing_check_decides() {
    // Everything is wrong here; one after the other is repaired.
    let mut mh = unhex("3a0008000000 0000 0000000000000000");
    assert_eq!(Message::parse(&mh[..4], PSEUDO).unwrap_err().reason(), "truncated");
    mh[4] = 0x55;
    assert_eq!(Message::parse(&mh, PSEUDO).unwrap_err().reason(), "checksum");
    seal(&mut mh, PSEUDO);
    assert_eq!(Message::parse(&mh, PSEUDO).unwrap_err().reason(), "unknown_mh_type");
    mh[2] = 5;
    seal(&mut mh, PSEUDO);
    assert_eq!(Message::parse(&mh, PSEUDO).unwrap_err().reason(), "payload_proto");
    mh[0] = 59;
    seal(&mut mh, PSEUDO);
    assert_eq!(Message::parse(&mh, PSEUDO).unwrap_err().reason(), "header_len");
    mh[1] = 1;
    mh[12] = 9;
    mh.push(0);
    seal(&mut mh, PSEUDO);
    assert_eq!(Message::parse(&mh, PSEUDO).unwrap_err().reason(), "trailing_octets");
    mh.pop();
    (mh[12], mh[13]) = (9, 9);
    seal(&mut mh, PSEUDO);
    assert_eq!(Message::parse(&mh, PSEUDO).unwrap_err().reason(), "option_overrun");
    (mh[12], mh[13]) = (0, 0);
    seal(&mut mh, PSEUDO);
    assert!(Message::parse(&mh, PSEUDO).is_ok());
}

#[test]
fn a_checksum_over_the_declared_length_or_over_all_octets_gets_its_answer() {
    // The sender of a piggybacked payload may cover the Mobility Header alone or everything.
    let mut mh = unhex("3a0105000000 00010000000001020000 8000000000000000");
    seal(&mut mh, PSEUDO);
    assert_eq!(Message::parse(&mh, PSEUDO), Err(Malformed::PayloadProto { value: 58 }));
    mh[4..6].fill(0);
    let sum = homeport_wire::checksum(PSEUDO, &mh[..16]);
    mh[4..6].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(Message::parse(&mh, PSEUDO), Err(Malformed::PayloadProto { value: 58 }));
}

#[test]
fn reserved_octets_do_not_count_and_are_written_as_zero() {
    // RFC 6275 §6.1: ignored by the receiver. Octet 3 of every message; octets 6, 7 of the
    // requests.
    for (hex, zeroed) in [
        ("3b01057700000001c000000f01020000", "3b01050000000001c000000f01020000"),
        ("3b0000770000abcd", "3b00000000000000"),
        ("3b0101770000abcd1111111111111111", "3b010100000000001111111111111111"),
        (
            "3b02077700000155 20010db8000000010000000000000100",
            "3b02070000000100 20010db8000000010000000000000100",
        ),
        ("3b000c7700000099", "3b000c0000000000"),
    ] {
        let mut mh = unhex(hex);
        seal(&mut mh, PSEUDO);
        let message = Message::parse(&mh, PSEUDO).unwrap();
        assert_eq!(message.emit_unchecked(), unhex(zeroed), "{hex}");
    }
}

#[test]
fn no_more_options_than_the_limit() {
    // Unknown options without data: two octets each.
    let area = [200, 0].repeat(limits::MOBILITY_OPTIONS_MAX + 2);
    let mut mh = unhex("3b0005000000 000100000000");
    mh.extend_from_slice(&area[..2 * limits::MOBILITY_OPTIONS_MAX]);
    mh.extend_from_slice(&vec![0; mh.len().wrapping_neg() % 8]);
    mh[1] = u8::try_from(mh.len() / 8 - 1).unwrap();
    seal(&mut mh, PSEUDO);
    let message = Message::parse(&mh, PSEUDO).unwrap();
    assert_eq!(message.options().iter().count(), limits::MOBILITY_OPTIONS_MAX);

    let mut mh = unhex("3b0005000000 000100000000");
    mh.extend_from_slice(&area);
    mh.extend_from_slice(&vec![0; mh.len().wrapping_neg() % 8]);
    mh[1] = u8::try_from(mh.len() / 8 - 1).unwrap();
    seal(&mut mh, PSEUDO);
    let refused = Message::parse(&mh, PSEUDO).unwrap_err();
    assert_eq!(refused, Malformed::TooManyOptions);
    assert_eq!(refused.disposition(), Disposition::Discard);
}

#[test]
fn reasons_are_a_closed_set_of_words() {
    let (at, field, value, mh_type) = (0, "field", 0, 0);
    let all = [
        Malformed::Truncated { field, at },
        Malformed::TrailingOctets,
        Malformed::Checksum,
        Malformed::UnknownType { mh_type },
        Malformed::PayloadProto { value },
        Malformed::HeaderLen { mh_type, value },
        Malformed::OptionOverrun { at },
        Malformed::TooManyOptions,
        Malformed::RevocationType { value },
        Malformed::Version { value },
        Malformed::Length { field },
        Malformed::ChecksumAbsent,
        Malformed::TooManyExtensionHeaders,
        Malformed::HopByHopNotFirst { at },
        Malformed::SecondHomeAddress { at },
        Malformed::HomeAddressLength { at },
        Malformed::UnknownOption { kind: 0, at },
        Malformed::RoutingHeader { at },
    ];
    let reasons: std::collections::BTreeSet<_> = all.iter().map(|m| m.reason()).collect();
    assert_eq!(reasons.len(), all.len(), "one word each");
    for malformed in all {
        let word = malformed.reason();
        assert!(word.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{word}");
        assert!(!malformed.to_string().is_empty());
    }
}

#[test]
fn the_source_of_the_checksum_is_the_home_address() {
    // RFC 6275 §6.1.1: with the care-of address in its place the checksum of V01 is wrong.
    let packet = vector("V01").packet;
    let walk = walk(&packet).unwrap();
    let (source, destination) = (walk.header.source, walk.header.destination);
    let wrong = PseudoHeader::mobility(source, destination);
    assert_eq!(Message::parse(walk.payload, wrong), Err(Malformed::Checksum));
    assert!(Message::parse(walk.payload, walk.pseudo_header()).is_ok());
}
