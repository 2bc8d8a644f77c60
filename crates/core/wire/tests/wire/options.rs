//! Options: lengths, alignment, refusals of the builder, authenticators.

use std::net::Ipv4Addr;

use homeport_wire::options::kind;
use homeport_wire::{
    Bid, BidCareOf, BidOption, BidPriority, BindingUpdate, HomeTest, Lifetime, Message,
    MobilityOption, Options, OptionsBuilder, PseudoHeader, Refusal, Status, limits,
};

use crate::support::{CARE_OF_1, hex, unhex};

/// RFC 5648 §4.3.
#[test]
fn binding_identifier_has_three_lengths() {
    let address = [1; 16];
    for len in 0..=24_usize {
        let data = [&[0, 9, 167, 0x8a][..], &address, &[0; 4]].concat();
        let data = &data[..len];
        let option = MobilityOption::decode(kind::BINDING_IDENTIFIER, data);
        let care_of = match len {
            4 => BidCareOf::Absent,
            8 => BidCareOf::V4([1; 4].into()),
            20 => BidCareOf::V6(address.into()),
            _ => {
                assert_eq!(option, MobilityOption::Malformed { kind: 35, data }, "length {len}");
                continue;
            }
        };
        let expected = BidOption {
            bid: Bid(9),
            status: Status(167),
            home: true,
            priority: BidPriority::new(10),
            care_of,
        };
        assert_eq!(option, MobilityOption::BindingIdentifier(expected), "length {len}");
    }
    let zero = MobilityOption::decode(kind::BINDING_IDENTIFIER, &[0; 4]);
    assert_eq!(zero, MobilityOption::BindingIdentifier(BidOption::refresh(Bid::RESERVED)));
}

#[test]
fn options_with_one_length_take_no_other() {
    for (kind, right) in [
        (2, 2),
        (3, 16),
        (4, 4),
        (5, 12),
        (6, 18),
        (10, 8),
        (28, 4),
        (29, 6),
        (30, 6),
        (31, 6),
        (32, 6),
    ] {
        for len in 0..=24 {
            let data = vec![0; len];
            let malformed = MobilityOption::decode(kind, &data)
                == MobilityOption::Malformed { kind, data: &data };
            assert_eq!(malformed, len != right, "type {kind}, length {len}");
        }
    }
    for (kind, least) in [(7, 1), (8, 1), (9, 5), (19, 5), (45, 6)] {
        for len in 0..=24 {
            let data = vec![0; len];
            let malformed = MobilityOption::decode(kind, &data)
                == MobilityOption::Malformed { kind, data: &data };
            assert_eq!(malformed, len < least, "type {kind}, length {len}");
        }
    }
    let odd = MobilityOption::decode(44, &[0; 3]);
    assert_eq!(odd, MobilityOption::Malformed { kind: 44, data: &[0; 3] });
}

/// An option with modulus and remainder of the place of its Option Type.
type Place = (MobilityOption<'static>, usize, usize);

/// Options of RFC 6275, 3963, 5568, 4283, 4285, 5094, 5847 and 5648.
fn places() -> Vec<Place> {
    use MobilityOption as Option;
    let address = Ipv4Addr::new(192, 0, 2, 1);
    let advice = Option::BindingRefreshAdvice { interval: Lifetime(1) };
    let indices = Option::NonceIndices { home: 1, care_of: 2 };
    let prefix = Option::MobileNetworkPrefix { length: 56, prefix: CARE_OF_1 };
    let authentication = Option::Authentication { subtype: 1, spi: 256, data: &[7; 12] };
    let vendor = Option::VendorSpecific { vendor: 1, subtype: 2, data: &[3] };
    let identifier = Option::MobileNodeIdentifier { subtype: 1, identifier: b"a@b" };
    let link_layer = Option::LinkLayerAddress { code: 2, address: &[1; 6] };
    let bid = |option| Option::BindingIdentifier(option);
    vec![
        (advice, 2, 0),
        (Option::AlternateCareOf(CARE_OF_1), 8, 6),
        (indices, 2, 0),
        (Option::BindingAuthorizationData([7; 12]), 8, 2),
        (prefix, 8, 4),
        (authentication, 8, 5),
        (Option::MessageId { timestamp: 1 }, 8, 2),
        (vendor, 4, 2),
        (Option::RestartCounter(1), 4, 2),
        (bid(BidOption::refresh(Bid(1))), 2, 0),
        (bid(BidOption::v4(Bid(1), address)), 8, 2),
        (bid(BidOption::v6(Bid(1), CARE_OF_1)), 8, 2),
        (link_layer, 1, 0),
        (identifier, 1, 0),
    ]
}

/// Options of RFC 5555.
fn places_of_dual_stack() -> [Place; 4] {
    use MobilityOption as Option;
    let (prefix_len, prefix_wanted, address) = (32, true, Ipv4Addr::new(192, 0, 2, 1));
    let home = Option::Ipv4HomeAddress { prefix_len, prefix_wanted, address };
    let ack = Option::Ipv4AddressAck { status: 0, prefix_len, address };
    let detection = Option::NatDetection { force_udp: true, refresh_secs: 110 };
    [(home, 4, 0), (ack, 4, 0), (detection, 4, 0), (Option::Ipv4CareOf(address), 4, 0)]
}

/// RFC 6275 §6.2.
#[test]
fn each_option_stands_at_its_alignment() {
    // Unknown options of growing length in front move the place through all remainders.
    for (option, modulus, remainder) in places().into_iter().chain(places_of_dual_stack()) {
        for (first_offset, shift) in
            [8, 12, 16, 24].into_iter().flat_map(|o| (0..8).map(move |s| (o, s)))
        {
            let filler = vec![0xee; shift];
            let filler = MobilityOption::Unknown { kind: 200, data: &filler };
            let mut builder = OptionsBuilder::new(first_offset);
            builder.push(&filler).push(&option);
            assert_eq!(builder.refusal(), None);
            let options = builder.finish();
            assert_eq!((first_offset + options.octets().len()) % 8, 0);
            let entries: Vec<_> = options.entries().collect();
            assert_eq!(entries[1].1, option);
            let at = first_offset + entries[1].0;
            assert_eq!(at % modulus, remainder, "{option:?} at {at}");
            let padding = entries[1].0 - (shift + 2);
            assert!(padding < modulus, "{option:?}: least padding");
            if matches!(option.kind(), kind::AUTHENTICATION | kind::BINDING_AUTHORIZATION_DATA) {
                assert_eq!(options.authenticator_len(), Some(12), "nothing behind it");
            }
        }
    }
}

/// RFC 6275 §6.2.2, §6.2.3.
#[test]
fn padding_of_one_octet_is_pad1_and_of_more_padn() {
    for (len, expected) in [(8, ""), (7, "00"), (6, "0100"), (5, "010100"), (1, "01050000000000")] {
        let data = vec![0xee; len];
        // Offset 8 and two octets in front of the data: what is missing to 24 or 16.
        let options = OptionsBuilder::new(14)
            .push(&MobilityOption::Unknown { kind: 200, data: &data })
            .finish();
        assert_eq!(hex(&options.octets()[2 + len..]), expected, "{len}");
    }
}

#[test]
fn the_builder_refuses_what_cannot_be_written() {
    use MobilityOption::{Malformed, Unknown};
    let fill = vec![0; 256];
    let long_identifier =
        MobilityOption::MobileNodeIdentifier { subtype: 1, identifier: &fill[..255] };
    let (prefix_len, prefix_wanted, address) = (64, false, Ipv4Addr::UNSPECIFIED);
    let long_prefix = MobilityOption::Ipv4HomeAddress { prefix_len, prefix_wanted, address };
    for (option, refusal) in [
        (long_identifier, Refusal::TooLong),
        (Unknown { kind: 200, data: &fill }, Refusal::TooLong),
        (Unknown { kind: 0, data: &[] }, Refusal::NotRepresentable),
        (Unknown { kind: 1, data: &[] }, Refusal::NotRepresentable),
        (Unknown { kind: 35, data: &[0; 4] }, Refusal::NotRepresentable),
        (Malformed { kind: 35, data: &[0; 4] }, Refusal::NotRepresentable),
        (long_prefix, Refusal::NotRepresentable),
    ] {
        let mut builder = BindingUpdate::builder();
        assert_eq!(builder.try_push(&option), Err(refusal), "{option:?}");
        builder.push(&option).push(&MobilityOption::RestartCounter(1));
        assert_eq!(builder.refusal(), Some(refusal));
        let options = builder.finish();
        let left: Vec<_> = options.iter().collect();
        assert_eq!(left, [MobilityOption::RestartCounter(1)], "the others are written");
        assert_eq!(builder.refusal(), None, "and the builder starts anew");
    }
    // A malformed option can be written on purpose.
    let mut builder = BindingUpdate::builder();
    assert_eq!(builder.try_push(&Malformed { kind: 35, data: &[0; 5] }), Ok(()));
}

/// RFC 6275 §6.2.7, RFC 4285 §5.
#[test]
fn nothing_follows_an_authenticator_but_another() {
    let mut builder = BindingUpdate::builder();
    builder.push_authentication(1, 256, 12);
    let identifier = MobilityOption::MobileNodeIdentifier { subtype: 1, identifier: b"a@b" };
    assert_eq!(builder.try_push(&identifier), Err(Refusal::AfterAuthenticator));
    builder.push_authentication(2, 3, 20);
    assert_eq!(builder.refusal(), None);
    let options = builder.finish();
    assert_eq!(options.iter().count(), 2);
    let filled = options.with_authenticator(&[0x5a; 20]);
    let last = filled.iter().last();
    assert_eq!(
        last,
        Some(MobilityOption::Authentication { subtype: 2, spi: 3, data: &[0x5a; 20] })
    );
}

#[test]
fn an_authenticator_goes_nowhere_else() {
    // No authenticator at the end, or a shorter one: the octets stay.
    let plain = BindingUpdate::builder().push(&MobilityOption::RestartCounter(7)).finish();
    assert_eq!(plain.authenticator_len(), None);
    assert_eq!(plain.clone().with_authenticator(&[1; 12]), plain);
    let short = BindingUpdate::builder().push_authentication(1, 256, 12).finish();
    assert_eq!(short.clone().with_authenticator(&[1; 13]), short);
    assert_eq!(Options::EMPTY.with_authenticator(&[1; 12]), Options::EMPTY);
    // Padding behind the authenticator, as a careless sender does.
    let area = unhex("09110100000100 000000000000000000000000 0103000000");
    let padded = Options::parse(&area, 12).unwrap();
    assert_eq!(padded.authenticator_len(), None);
}

#[test]
fn a_header_is_filled_to_the_last_octet() {
    let mut builder = BindingUpdate::builder();
    let mut written = 0;
    while builder.try_push(&MobilityOption::BindingIdentifier(BidOption::refresh(Bid(1)))).is_ok() {
        written += 1;
    }
    // Twelve octets in front, six for each option.
    assert_eq!(written, (limits::MOBILITY_HEADER_OCTETS_MAX - 12) / 6);
    let options = builder.finish();
    assert_eq!(12 + options.octets().len(), limits::MOBILITY_HEADER_OCTETS_MAX);
    assert_eq!(options.iter().count(), written);
}

#[test]
fn short_options_are_limited_by_their_number() {
    let mut builder = BindingUpdate::builder();
    let empty = MobilityOption::Unknown { kind: 200, data: &[] };
    for _ in 0..limits::MOBILITY_OPTIONS_MAX {
        assert_eq!(builder.try_push(&empty), Ok(()));
    }
    assert_eq!(builder.try_push(&empty), Err(Refusal::HeaderFull));
}

#[test]
fn an_area_too_long_for_a_message_is_cut_between_options() {
    // Composed to the last octet for the shortest fixed part, then put behind the longest.
    let mut builder = OptionsBuilder::for_refresh_request();
    let identifier = MobilityOption::BindingIdentifier(BidOption::refresh(Bid(1)));
    while builder.try_push(&identifier).is_ok() {}
    let options = builder.finish();
    assert_eq!(options.iter().count(), 340);
    let (nonce_index, cookie, token) = (1, [2; 8], [3; 8]);
    let message = Message::HomeTest(HomeTest { nonce_index, cookie, token, options });
    let octets = message.emit(CARE_OF_1, CARE_OF_1);
    assert!(octets.len() <= limits::MOBILITY_HEADER_OCTETS_MAX);
    let pseudo = PseudoHeader::mobility(CARE_OF_1, CARE_OF_1);
    let read = Message::parse(&octets, pseudo).unwrap();
    assert_eq!(read.options().iter().count(), (limits::MOBILITY_HEADER_OCTETS_MAX - 24) / 6);
    assert!(read.options().iter().all(|option| option == identifier));
}

#[test]
fn equal_up_to_the_padding_at_the_end() {
    let short = unhex("020200050000");
    let long = unhex("0202000501080000000000000000");
    let (short, long) = (Options::parse(&short, 12).unwrap(), Options::parse(&long, 12).unwrap());
    assert_eq!(short, long);
    assert_ne!(short.octets(), long.octets());
    let inside = unhex("00 02020005");
    assert_ne!(Options::parse(&inside, 12).unwrap(), short, "padding in front counts");
    assert!(Options::parse(&unhex("010200000000"), 12).unwrap().is_empty());
    assert!(!short.is_empty());
}
