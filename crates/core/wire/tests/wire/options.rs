//! Options: lengths, alignment, refusals of the builder, sub-options and selectors of flows.

use homeport_wire::options::kind;
use homeport_wire::{
    Bid, BidCareOf, BidOption, BidPriority, BinarySelector, BindingUpdate, FlowIdentification,
    FlowIds, FlowStatus, FlowSubOption, Lifetime, MobilityOption, Options, OptionsBuilder, Refusal,
    Selector, SelectorRefusal, Status, TrafficSelector, limits,
};

use crate::support::{CARE_OF_1, hex, unhex};

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
                assert_eq!(
                    option,
                    MobilityOption::Malformed { kind: 35, data },
                    "length {len}"
                );
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
        assert_eq!(
            option,
            MobilityOption::BindingIdentifier(expected),
            "length {len}"
        );
    }
    let zero = MobilityOption::decode(kind::BINDING_IDENTIFIER, &[0; 4]);
    assert_eq!(
        zero,
        MobilityOption::BindingIdentifier(BidOption::refresh(Bid::RESERVED))
    );
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
    assert_eq!(
        odd,
        MobilityOption::Malformed {
            kind: 44,
            data: &[0; 3]
        }
    );
}

#[test]
fn each_option_stands_at_its_alignment() {
    let address = "192.0.2.1".parse().unwrap();
    // Modulus and remainder of the place of the Option Type in the Mobility Header.
    let cases = [
        (
            MobilityOption::BindingRefreshAdvice {
                interval: Lifetime(1),
            },
            2,
            0,
        ),
        (MobilityOption::AlternateCareOf(CARE_OF_1), 8, 6),
        (
            MobilityOption::NonceIndices {
                home: 1,
                care_of: 2,
            },
            2,
            0,
        ),
        (MobilityOption::BindingAuthorizationData([7; 12]), 8, 2),
        (
            MobilityOption::MobileNetworkPrefix {
                length: 56,
                prefix: CARE_OF_1,
            },
            8,
            4,
        ),
        (
            MobilityOption::Authentication {
                subtype: 1,
                spi: 256,
                data: &[7; 12],
            },
            8,
            5,
        ),
        (MobilityOption::MessageId { timestamp: 1 }, 8, 2),
        (
            MobilityOption::VendorSpecific {
                vendor: 1,
                subtype: 2,
                data: &[3],
            },
            4,
            2,
        ),
        (MobilityOption::RestartCounter(1), 4, 2),
        (
            MobilityOption::Ipv4HomeAddress {
                prefix_len: 32,
                prefix_wanted: true,
                address,
            },
            4,
            0,
        ),
        (
            MobilityOption::Ipv4AddressAck {
                status: 0,
                prefix_len: 32,
                address,
            },
            4,
            0,
        ),
        (
            MobilityOption::NatDetection {
                force_udp: true,
                refresh_secs: 110,
            },
            4,
            0,
        ),
        (MobilityOption::Ipv4CareOf(address), 4, 0),
        (
            MobilityOption::BindingIdentifier(BidOption::refresh(Bid(1))),
            2,
            0,
        ),
        (
            MobilityOption::BindingIdentifier(BidOption::v4(Bid(1), address)),
            8,
            2,
        ),
        (
            MobilityOption::BindingIdentifier(BidOption::v6(Bid(1), CARE_OF_1)),
            8,
            2,
        ),
        (
            MobilityOption::LinkLayerAddress {
                code: 2,
                address: &[1; 6],
            },
            1,
            0,
        ),
        (
            MobilityOption::MobileNodeIdentifier {
                subtype: 1,
                identifier: b"a@b",
            },
            1,
            0,
        ),
    ];
    for (option, modulus, remainder) in cases {
        for first_offset in [8, 12, 16, 24] {
            // Unknown options of growing length in front move the place.
            for shift in 0..8 {
                let filler = vec![0xee; shift];
                let filler = MobilityOption::Unknown {
                    kind: 200,
                    data: &filler,
                };
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
                if let MobilityOption::Authentication { .. }
                | MobilityOption::BindingAuthorizationData(_) = option
                {
                    assert_eq!(options.authenticator_len(), Some(12), "nothing behind it");
                }
            }
        }
    }
}

#[test]
fn padding_of_one_octet_is_pad1_and_of_more_padn() {
    for (len, expected) in [
        (8, ""),
        (7, "00"),
        (6, "0100"),
        (5, "010100"),
        (1, "01050000000000"),
    ] {
        let data = vec![0xee; len];
        // Offset 8 and two octets in front of the data: what is missing to 24 or 16.
        let options = OptionsBuilder::new(14)
            .push(&MobilityOption::Unknown {
                kind: 200,
                data: &data,
            })
            .finish();
        assert_eq!(hex(&options.octets()[2 + len..]), expected, "{len}");
    }
}

#[test]
fn the_builder_refuses_what_cannot_be_written() {
    let fill = vec![0; 256];
    let address = "192.0.2.1".parse().unwrap();
    for (option, refusal) in [
        (
            MobilityOption::MobileNodeIdentifier {
                subtype: 1,
                identifier: &fill[..255],
            },
            Refusal::TooLong,
        ),
        (
            MobilityOption::Unknown {
                kind: 200,
                data: &fill,
            },
            Refusal::TooLong,
        ),
        (
            MobilityOption::Unknown { kind: 0, data: &[] },
            Refusal::NotRepresentable,
        ),
        (
            MobilityOption::Unknown { kind: 1, data: &[] },
            Refusal::NotRepresentable,
        ),
        (
            MobilityOption::Unknown {
                kind: 35,
                data: &[0; 4],
            },
            Refusal::NotRepresentable,
        ),
        (
            MobilityOption::Malformed {
                kind: 35,
                data: &[0; 4],
            },
            Refusal::NotRepresentable,
        ),
        (
            MobilityOption::Ipv4HomeAddress {
                prefix_len: 64,
                prefix_wanted: false,
                address,
            },
            Refusal::NotRepresentable,
        ),
    ] {
        let mut builder = BindingUpdate::builder();
        assert_eq!(builder.try_push(&option), Err(refusal), "{option:?}");
        builder
            .push(&option)
            .push(&MobilityOption::RestartCounter(1));
        assert_eq!(builder.refusal(), Some(refusal));
        let options = builder.finish();
        let left: Vec<_> = options.iter().collect();
        assert_eq!(
            left,
            [MobilityOption::RestartCounter(1)],
            "the others are written"
        );
        assert_eq!(builder.refusal(), None, "and the builder starts anew");
    }
    // A malformed option can be written on purpose.
    let mut builder = BindingUpdate::builder();
    assert_eq!(
        builder.try_push(&MobilityOption::Malformed {
            kind: 35,
            data: &[0; 5]
        }),
        Ok(())
    );
}

#[test]
fn nothing_follows_an_authenticator_but_another() {
    let mut builder = BindingUpdate::builder();
    builder.push_authentication(1, 256, 12);
    let identifier = MobilityOption::MobileNodeIdentifier {
        subtype: 1,
        identifier: b"a@b",
    };
    assert_eq!(
        builder.try_push(&identifier),
        Err(Refusal::AfterAuthenticator)
    );
    builder.push_authentication(2, 3, 20);
    assert_eq!(builder.refusal(), None);
    let options = builder.finish();
    assert_eq!(options.iter().count(), 2);
    let filled = options.with_authenticator(&[0x5a; 20]);
    let last = filled.iter().last();
    assert_eq!(
        last,
        Some(MobilityOption::Authentication {
            subtype: 2,
            spi: 3,
            data: &[0x5a; 20]
        })
    );
}

#[test]
fn an_authenticator_goes_nowhere_else() {
    // No authenticator at the end, or a shorter one: the octets stay.
    let plain = BindingUpdate::builder()
        .push(&MobilityOption::RestartCounter(7))
        .finish();
    assert_eq!(plain.authenticator_len(), None);
    assert_eq!(plain.clone().with_authenticator(&[1; 12]), plain);
    let short = BindingUpdate::builder()
        .push_authentication(1, 256, 12)
        .finish();
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
    while builder
        .try_push(&MobilityOption::BindingIdentifier(BidOption::refresh(Bid(
            1,
        ))))
        .is_ok()
    {
        written += 1;
    }
    // Twelve octets in front, six for each option.
    assert_eq!(written, (limits::MOBILITY_HEADER_OCTETS_MAX - 12) / 6);
    let options = builder.finish();
    assert_eq!(
        12 + options.octets().len(),
        limits::MOBILITY_HEADER_OCTETS_MAX
    );
    assert_eq!(options.iter().count(), written);
}

#[test]
fn equal_up_to_the_padding_at_the_end() {
    let short = unhex("020200050000");
    let long = unhex("0202000501080000000000000000");
    let (short, long) = (
        Options::parse(&short, 12).unwrap(),
        Options::parse(&long, 12).unwrap(),
    );
    assert_eq!(short, long);
    assert_ne!(short.octets(), long.octets());
    let inside = unhex("00 02020005");
    assert_ne!(
        Options::parse(&inside, 12).unwrap(),
        short,
        "padding in front counts"
    );
    assert!(
        Options::parse(&unhex("010200000000"), 12)
            .unwrap()
            .is_empty()
    );
    assert!(!short.is_empty());
}

#[test]
fn sub_options_of_a_flow() {
    // Binding reference, Pad1, PadN of three octets, an action of RFC 7109, traffic selector.
    let sub_options = unhex("0204 00020003 00 010100 0403010203 0306 0200 00000000");
    let flow = FlowIdentification {
        fid: 4,
        priority: 10,
        status: FlowStatus::ACCEPTED,
        sub_options: &sub_options,
    };
    assert!(flow.is_well_formed());
    assert_eq!(flow.bids().collect::<Vec<_>>(), [Bid(2), Bid(3)]);
    let selector = flow.traffic_selector().unwrap();
    assert_eq!((selector.format, selector.octets), (2, &[0, 0, 0, 0][..]));
    let kinds: Vec<_> = flow.sub_options().collect();
    assert_eq!(
        kinds[1],
        FlowSubOption::Unknown {
            kind: 4,
            data: &[1, 2, 3]
        }
    );
    assert_eq!(kinds.len(), 3);

    for (name, octets) in [
        ("overrun", "0206 0002"),
        ("type without length", "03"),
        ("odd reference", "0203 000200"),
        ("empty reference", "0200"),
        ("selector without format", "0301 01"),
        ("two references", "0202 0002 0202 0003"),
        ("two selectors", "0302 0100 0302 0100"),
    ] {
        let sub_options = unhex(octets);
        let malformed = FlowIdentification {
            sub_options: &sub_options,
            ..flow
        };
        assert!(!malformed.is_well_formed(), "{name}");
        assert!(malformed.sub_options().count() <= 2, "{name}");
    }
    let empty = FlowIdentification {
        sub_options: &[],
        ..flow
    };
    assert!(empty.is_well_formed());
    assert_eq!((empty.traffic_selector(), empty.bids().count()), (None, 0));
    assert_eq!(FlowIds::from_octets(&[0, 5, 0]), None);
}

#[test]
fn selectors_are_read_back() {
    let everything = BinarySelector::Ipv6(Selector {
        source: Some(CARE_OF_1..=CARE_OF_1),
        destination: Some("2001:db8::".parse().unwrap()..="2001:db8::ff".parse().unwrap()),
        spi: Some(1..=2),
        flow_label: Some(3..=3),
        source_port: Some(4..=5),
        destination_port: Some(6..=6),
        traffic_class: Some(0xb8..=0xbc),
        protocol: Some(17..=17),
    });
    let ipv4 = BinarySelector::Ipv4(Selector {
        source: Some("192.0.2.0".parse().unwrap()..="192.0.2.255".parse().unwrap()),
        destination_port: Some(5060..=5061),
        protocol: Some(6..=6),
        ..Selector::ANY
    });
    // Flags by the letters of RFC 6088: A C D E F G I J K M N O, and A B I J M.
    for (selector, format, flags) in [
        (&everything, 2, 0b1011_1110_1110_1110_u32 << 16),
        (&ipv4, 1, 0xc0c8_0000),
    ] {
        let octets = selector.octets();
        assert_eq!(selector.format(), format);
        assert_eq!(u32::from_be_bytes(octets[..4].try_into().unwrap()), flags);
        let read = TrafficSelector {
            format,
            octets: &octets,
        }
        .decode();
        assert_eq!(read.as_ref(), Ok(selector));
        for len in 0..octets.len() {
            let cut = TrafficSelector {
                format,
                octets: &octets[..len],
            };
            assert_eq!(
                cut.decode(),
                Err(SelectorRefusal::Malformed),
                "cut to {len}"
            );
        }
        let longer = [&octets[..], &[0]].concat();
        let longer = TrafficSelector {
            format,
            octets: &longer,
        };
        assert_eq!(longer.decode(), Err(SelectorRefusal::Malformed));
    }
    // The golden selector of V18, by hand.
    let golden = unhex("00220000 13c4 11");
    let BinarySelector::Ipv6(read) = TrafficSelector {
        format: 2,
        octets: &golden,
    }
    .decode()
    .unwrap() else {
        panic!()
    };
    assert_eq!(
        (read.destination_port, read.protocol),
        (Some(5060..=5060), Some(17..=17))
    );
    // An end without a start; an unknown format; reserved bits that are set.
    let end_only = unhex("00100000 13c4");
    let refused = TrafficSelector {
        format: 2,
        octets: &end_only,
    }
    .decode();
    assert_eq!(refused, Err(SelectorRefusal::Malformed));
    let refused = TrafficSelector {
        format: 3,
        octets: &golden,
    }
    .decode();
    assert_eq!(refused, Err(SelectorRefusal::UnknownFormat));
    let reserved = unhex("0000ffff");
    let read = TrafficSelector {
        format: 2,
        octets: &reserved,
    }
    .decode();
    assert_eq!(read, Ok(BinarySelector::Ipv6(Selector::ANY)));
}

#[test]
fn a_selector_stands_where_its_fields_are_aligned() {
    for (selector, modulus) in [
        (
            BinarySelector::Ipv6(Selector {
                protocol: Some(6..=6),
                ..Selector::ANY
            }),
            1,
        ),
        (
            BinarySelector::Ipv6(Selector {
                source_port: Some(6..=6),
                ..Selector::ANY
            }),
            2,
        ),
        (
            BinarySelector::Ipv6(Selector {
                flow_label: Some(6..=6),
                ..Selector::ANY
            }),
            4,
        ),
        (
            BinarySelector::Ipv6(Selector {
                source: Some(CARE_OF_1..=CARE_OF_1),
                ..Selector::ANY
            }),
            8,
        ),
        (
            BinarySelector::Ipv4(Selector {
                spi: Some(6..=6),
                ..Selector::ANY
            }),
            4,
        ),
        (
            BinarySelector::Ipv4(Selector {
                destination_port: Some(6..=6),
                ..Selector::ANY
            }),
            2,
        ),
    ] {
        let octets = selector.octets();
        let selector = TrafficSelector {
            format: selector.format(),
            octets: &octets,
        };
        for bids in [
            &[][..],
            &[Bid(1)],
            &[Bid(1), Bid(2)],
            &[Bid(1), Bid(2), Bid(3)],
        ] {
            for shift in 0..8 {
                let filler = vec![0xee; shift];
                let options = BindingUpdate::builder()
                    .push(&MobilityOption::Unknown {
                        kind: 200,
                        data: &filler,
                    })
                    .push_flow(1, 2, FlowStatus::ACCEPTED, bids, Some(selector))
                    .finish();
                let (at, option) = options.entries().nth(1).unwrap();
                let MobilityOption::FlowIdentification(flow) = option else {
                    panic!()
                };
                assert!(flow.is_well_formed());
                assert_eq!(flow.bids().collect::<Vec<_>>(), bids);
                assert_eq!(flow.traffic_selector(), Some(selector));
                // The sub-option ends the area: its head is four octets before the selector's.
                let in_area = flow.sub_options.len() - selector.octets.len() - 4;
                assert_eq!((12 + at + 8 + in_area) % modulus, 0);
            }
        }
    }
}
