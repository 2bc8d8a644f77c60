//! Laws of the codec as properties: parsing is total, emitting is its inverse.

use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr};

use homeport_wire::{
    BaFlags, BinarySelector, BindingAcknowledgement, BindingError, BindingErrorStatus,
    BindingRefreshRequest, BindingRevocation, BindingRevocationAcknowledgement,
    BindingRevocationIndication, BindingUpdate, BuFlags, CareOfTest, CareOfTestInit, Heartbeat,
    HeartbeatFlags, HomeAgentSwitch, HomeTest, HomeTestInit, Icmpv6, Ipv4Header, Ipv6Header,
    Lifetime, Message, MobilityOption, Options, OptionsBuilder, PacketBuilder, PseudoHeader,
    RevocationFlags, RevocationStatus, RevocationTrigger, Selector, Sequence, Status,
    TrafficSelector, UdpHeader, checksum, walk,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::support::{HOME, HOME_AGENT, packets, seal};

const PSEUDO: PseudoHeader = PseudoHeader::mobility(HOME, HOME_AGENT);

fn octets(len: impl Into<proptest::collection::SizeRange>) -> BoxedStrategy<Vec<u8>> {
    vec(any::<u8>(), len).boxed()
}

/// Type and data of an option: mostly known types with lengths that fit.
fn option_octets() -> BoxedStrategy<(u8, Vec<u8>)> {
    let fixed = prop::sample::select(vec![
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
        (35, 4),
        (35, 8),
        (35, 20),
        (44, 4),
        (45, 14),
    ]);
    let right = fixed.prop_flat_map(|(kind, len)| (Just(kind), octets(len)));
    let variable = prop::sample::select(vec![7, 8, 9, 19, 35, 44, 45])
        .prop_flat_map(|kind| (Just(kind), octets(0..40)));
    let any_kind = (2..=u8::MAX, octets(0..40));
    prop_oneof![4 => right, 2 => variable, 1 => any_kind].boxed()
}

/// An area as the builder composes it behind octet `first_offset`.
fn options(first_offset: usize) -> BoxedStrategy<Options<'static>> {
    vec(option_octets(), 0..12)
        .prop_map(move |list| {
            let mut builder = OptionsBuilder::new(first_offset);
            for (kind, data) in &list {
                builder.push(&MobilityOption::decode(*kind, data));
            }
            builder.finish()
        })
        .boxed()
}

fn address() -> BoxedStrategy<Ipv6Addr> {
    any::<[u8; 16]>().prop_map(Ipv6Addr::from).boxed()
}

fn message() -> BoxedStrategy<Message<'static>> {
    prop_oneof![registration(), return_routability(), administration()].boxed()
}

fn registration() -> BoxedStrategy<Message<'static>> {
    let request = options(8)
        .prop_map(|options| Message::BindingRefreshRequest(BindingRefreshRequest { options }));
    let update =
        (any::<[u16; 3]>(), options(12)).prop_map(|([sequence, flags, units], options)| {
            Message::BindingUpdate(BindingUpdate {
                sequence: Sequence(sequence),
                flags: BuFlags(flags),
                lifetime: Lifetime(units),
                options,
            })
        });
    let answer = (any::<[u8; 2]>(), any::<[u16; 2]>(), options(12)).prop_map(
        |([status, flags], [sequence, units], options)| {
            Message::BindingAcknowledgement(BindingAcknowledgement {
                status: Status(status),
                flags: BaFlags(flags),
                sequence: Sequence(sequence),
                lifetime: Lifetime(units),
                options,
            })
        },
    );
    let error =
        (any::<u8>(), address(), options(24)).prop_map(|(status, home_address, options)| {
            let status = BindingErrorStatus(status);
            Message::BindingError(BindingError { status, home_address, options })
        });
    prop_oneof![request, update, answer, error].boxed()
}

fn return_routability() -> BoxedStrategy<Message<'static>> {
    let init =
        (any::<[u8; 8]>(), options(16), any::<bool>()).prop_map(|(cookie, options, home)| {
            if home {
                Message::HomeTestInit(HomeTestInit { cookie, options })
            } else {
                Message::CareOfTestInit(CareOfTestInit { cookie, options })
            }
        });
    let test = (any::<u16>(), any::<[[u8; 8]; 2]>(), options(24), any::<bool>()).prop_map(
        |(nonce_index, [cookie, token], options, home)| {
            if home {
                Message::HomeTest(HomeTest { nonce_index, cookie, token, options })
            } else {
                Message::CareOfTest(CareOfTest { nonce_index, cookie, token, options })
            }
        },
    );
    prop_oneof![init, test].boxed()
}

fn administration() -> BoxedStrategy<Message<'static>> {
    let switch = vec(address(), 0..6).prop_flat_map(|addresses| {
        let options = options(8 + 16 * addresses.len());
        (Just(addresses), options).prop_map(|(addresses, options)| {
            Message::HomeAgentSwitch(HomeAgentSwitch { addresses, options })
        })
    });
    let heartbeat =
        (any::<u16>(), any::<u32>(), options(12)).prop_map(|(flags, sequence, options)| {
            let flags = HeartbeatFlags(flags);
            Message::Heartbeat(Heartbeat { flags, sequence, options })
        });
    let revocation = (any::<u8>(), any::<[u16; 2]>(), options(12), any::<bool>()).prop_map(
        |(code, [sequence, flags], options, indication)| {
            let flags = RevocationFlags(flags);
            Message::BindingRevocation(if indication {
                let trigger = RevocationTrigger(code);
                BindingRevocation::Indication(BindingRevocationIndication {
                    trigger,
                    sequence,
                    flags,
                    options,
                })
            } else {
                let status = RevocationStatus(code);
                BindingRevocation::Acknowledgement(BindingRevocationAcknowledgement {
                    status,
                    sequence,
                    flags,
                    options,
                })
            })
        },
    );
    prop_oneof![switch, heartbeat, revocation].boxed()
}

/// A golden packet with some octets changed, cut or doubled.
fn mutated() -> BoxedStrategy<Vec<u8>> {
    let packets: Vec<Vec<u8>> = packets().into_iter().map(|(_, packet)| packet).collect();
    let changes = vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    let cut = option::weighted(0.2, any::<prop::sample::Index>());
    (prop::sample::select(packets), changes, cut)
        .prop_map(|(mut packet, changes, cut)| {
            for (at, value) in changes {
                let at = at.index(packet.len());
                packet[at] = value;
            }
            if let Some(len) = cut {
                packet.truncate(len.index(packet.len()));
            }
            packet
        })
        .boxed()
}

/// Runs every parser over the octets and reads everything that comes out.
fn parse_all(octets: &[u8]) {
    if let Ok(found) = walk(octets) {
        assert!(found.upper_offset + found.payload.len() <= octets.len());
        parse_upper(found.payload, found.pseudo_header());
        let mut sealed = found.payload.to_vec();
        if sealed.len() >= 6 {
            seal(&mut sealed, found.pseudo_header());
            parse_upper(&sealed, found.pseudo_header());
        }
    }
    if let Ok((header, payload)) = Ipv4Header::parse(octets) {
        let udp = UdpHeader::parse_v4(payload, header.source, header.destination);
        if let Ok((_, payload)) = udp {
            black_box(walk(payload).is_ok());
        }
    }
    black_box(UdpHeader::parse_v6(octets, PSEUDO).is_ok());
    black_box(UdpHeader::parse_v4(octets, Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST).is_ok());
    parse_upper(octets, PSEUDO);
    if let Ok(options) = Options::parse(octets, 12) {
        read(&options);
    }
}

fn parse_upper(octets: &[u8], pseudo: PseudoHeader) {
    if let Ok(message) = Message::parse(octets, pseudo) {
        read(message.options());
        assert_eq!(message.emit_unchecked().len(), octets.len());
    }
    if let Ok(message) = Icmpv6::parse(octets, pseudo) {
        black_box(message.emit(pseudo.source, pseudo.destination));
    }
}

fn read(options: &Options<'_>) {
    for (at, option) in options.entries() {
        assert!(at < options.octets().len());
        if let MobilityOption::FlowIdentification(flow) = option {
            black_box(flow.sub_options().count());
            if let Some(selector) = flow.traffic_selector() {
                black_box(selector.decode().is_ok());
            }
        }
    }
}

/// Zeroes the reserved octets of a Mobility Header's fixed part and seals it again.
fn canonical(mh: &[u8]) -> Vec<u8> {
    let mut mh = mh.to_vec();
    mh[3] = 0;
    match mh[2] {
        0..=2 => mh[6..8].fill(0),
        7 | 12 => mh[7] = 0,
        _ => {}
    }
    seal(&mut mh, PSEUDO);
    mh
}

/// A Mobility Header of any type around a sound option area, reserved octets and all.
fn raw_header() -> BoxedStrategy<Vec<u8>> {
    let padding = prop_oneof![
        Just(vec![0]),
        (0..5_u8).prop_map(|n| {
            let mut padding = vec![1, n];
            padding.extend(vec![0x77; usize::from(n)]);
            padding
        })
    ];
    let option = option_octets().prop_map(|(kind, data)| {
        let mut option = vec![kind, u8::try_from(data.len()).unwrap()];
        option.extend_from_slice(&data);
        option
    });
    let area = vec(prop_oneof![padding, option], 0..12).prop_map(|parts| parts.concat());
    let kinds = vec![(0, 2), (1, 10), (2, 10), (3, 18), (4, 18), (5, 6), (6, 6), (7, 18), (13, 6)];
    let data =
        prop::sample::select(kinds).prop_flat_map(|(kind, len)| (Just(kind), octets(len))).boxed();
    let switch = vec(any::<[u8; 16]>(), 0..4).prop_map(|addresses| {
        let mut data = vec![u8::try_from(addresses.len()).unwrap(), 0x77];
        data.extend(addresses.concat());
        (12, data)
    });
    let revocation =
        (1..=2_u8, octets(5)).prop_map(|(kind, rest)| (16, [&[kind][..], &rest].concat()));
    (prop_oneof![4 => data, 1 => switch, 1 => revocation], area, any::<u8>())
        .prop_map(|((kind, data), area, reserved)| {
            let mut mh = vec![59, 0, kind, reserved, 0, 0];
            mh.extend(data);
            mh.extend(area);
            mh.resize(mh.len().next_multiple_of(8), 0);
            mh[1] = u8::try_from(mh.len() / 8 - 1).unwrap();
            seal(&mut mh, PSEUDO);
            mh
        })
        .boxed()
}

fn selector<A: Clone + std::fmt::Debug + 'static>(
    address: BoxedStrategy<A>,
    with_flow_label: bool,
) -> BoxedStrategy<Selector<A>> {
    let addresses = || option::of((address.clone(), address.clone()));
    let words = || option::of(any::<(u32, u32)>());
    let ports = || option::of(any::<(u16, u16)>());
    let small = || option::of(any::<(u8, u8)>());
    (addresses(), addresses(), words(), words(), ports(), ports(), small(), small())
        .prop_map(move |(source, destination, spi, label, from, to, class, protocol)| Selector {
            source: source.map(|(a, b)| a..=b),
            destination: destination.map(|(a, b)| a..=b),
            spi: spi.map(|(a, b)| a..=b),
            flow_label: label.filter(|_| with_flow_label).map(|(a, b)| a..=b),
            source_port: from.map(|(a, b)| a..=b),
            destination_port: to.map(|(a, b)| a..=b),
            traffic_class: class.map(|(a, b)| a..=b),
            protocol: protocol.map(|(a, b)| a..=b),
        })
        .boxed()
}

fn binary_selector() -> BoxedStrategy<BinarySelector> {
    let v4 = any::<[u8; 4]>().prop_map(Ipv4Addr::from).boxed();
    prop_oneof![
        selector(v4, false).prop_map(BinarySelector::Ipv4),
        selector(address(), true).prop_map(BinarySelector::Ipv6),
    ]
    .boxed()
}

fn config() -> ProptestConfig {
    // PROPTEST_CASES overrides. Failures print their input; a file of them would go stale.
    let failure_persistence = None;
    ProptestConfig { failure_persistence, ..ProptestConfig::with_cases(2048) }
}

proptest! {
    #![proptest_config(config())]

    /// Law 1 on noise.
    #[test]
    fn parsing_returns_for_all_octets(octets in octets(0..400)) {
        parse_all(&octets);
    }

    /// Law 1 close to sense, where the branches are; with and without a correct checksum.
    #[test]
    fn parsing_returns_for_almost_good_packets(packet in mutated()) {
        parse_all(&packet);
    }

    /// Law 1 on sealed noise behind a good first octet and any type.
    #[test]
    fn parsing_returns_for_sealed_noise(kind in 0_u8..20, rest in octets(0..300)) {
        let mut mh = vec![59, 0, kind, 0, 0, 0, 0, 0];
        mh.extend(rest);
        mh.truncate(mh.len() / 8 * 8);
        mh[1] = u8::try_from(mh.len() / 8 - 1).unwrap();
        seal(&mut mh, PSEUDO);
        match Message::parse(&mh, PSEUDO) {
            Ok(message) => {
                read(message.options());
                prop_assert_eq!(message.emit(HOME, HOME_AGENT), canonical(&mh));
            }
            Err(malformed) => prop_assert_ne!(malformed.reason(), "checksum"),
        }
    }

    /// Law 2.
    #[test]
    fn what_was_emitted_is_read_back(message in message()) {
        let octets = message.emit(HOME, HOME_AGENT);
        let read = Message::parse(&octets, PSEUDO).unwrap();
        prop_assert_eq!(&read, &message);
        prop_assert_eq!(read.options().octets(), message.options().octets());
        prop_assert_eq!(read.mh_type(), octets[2]);
        prop_assert_eq!(checksum(PSEUDO, &octets), 0);
    }

    /// Law 2, for an area that was composed for another message.
    #[test]
    fn options_of_another_message_are_read_back(options in options(8)) {
        let message = Message::BindingUpdate(BindingUpdate {
            sequence: Sequence(1),
            flags: BuFlags(0),
            lifetime: Lifetime(1),
            options,
        });
        let octets = message.emit(HOME, HOME_AGENT);
        prop_assert_eq!(Message::parse(&octets, PSEUDO), Ok(message));
    }

    /// Law 3.
    #[test]
    fn what_was_read_is_emitted_as_it_was(mh in raw_header()) {
        let message = Message::parse(&mh, PSEUDO).unwrap();
        prop_assert_eq!(message.emit(HOME, HOME_AGENT), canonical(&mh));
        prop_assert_eq!(message.clone().into_owned().emit(HOME, HOME_AGENT), canonical(&mh));
        prop_assert_eq!(message.options_offset() + message.options().octets().len(), mh.len());
    }

    /// Law 4: exactly as many octets as announced, and what was there before stays.
    #[test]
    fn emitting_writes_what_it_announces(
        message in message(),
        fields in any::<(u8, u32, u16, u8, u8)>(),
    ) {
        prop_assert_eq!(message.emit(HOME, HOME_AGENT).len(), message.wire_len());
        prop_assert_eq!(message.wire_len() % 8, 0);
        let (traffic_class, flow_label, payload_len, next_header, hop_limit) = fields;
        let header = Ipv6Header {
            traffic_class,
            flow_label: flow_label & 0x000f_ffff,
            payload_len,
            next_header,
            hop_limit,
            source: HOME,
            destination: HOME_AGENT,
        };
        let mut out = vec![0xa5; 5];
        header.emit(&mut out);
        prop_assert_eq!(out.len(), 5 + Ipv6Header::LEN);
        prop_assert_eq!(&out[..5], &[0xa5; 5]);
        out.resize(5 + Ipv6Header::LEN + usize::from(payload_len), 0);
        prop_assert_eq!(Ipv6Header::parse(&out[5..]).map(|(header, _)| header), Ok(header));
    }

    /// Options come back as they were pushed, in order.
    #[test]
    fn options_are_read_in_the_order_written(list in vec(option_octets(), 0..12)) {
        let mut builder = BindingUpdate::builder();
        let mut written = Vec::new();
        for (kind, data) in &list {
            let option = MobilityOption::decode(*kind, data);
            if builder.try_push(&option).is_ok() {
                written.push(option);
            }
        }
        let options = builder.finish();
        prop_assert_eq!(options.iter().collect::<Vec<_>>(), written);
    }

    /// Packets come back from the walk as they were built.
    #[test]
    fn packets_are_walked_as_built(
        home in option::of(address()),
        routing in option::of(address()),
        upper in prop::sample::select(vec![4_u8, 6, 17, 41, 44, 50, 51, 58, 59, 135, 253]),
        payload in octets(0..200),
    ) {
        let packet = PacketBuilder::new(HOME, HOME_AGENT)
            .home_address_option(home)
            .routing_home_address(routing)
            .build(upper, &payload);
        let found = walk(&packet).unwrap();
        prop_assert_eq!(found.home_address.map(|option| option.address), home);
        prop_assert_eq!(found.routing_home_address, routing);
        prop_assert_eq!((found.upper, found.payload), (upper, &payload[..]));
        prop_assert_eq!(packet[found.next_header_offset], upper);
    }

    /// Selectors come back as they were written.
    #[test]
    fn selectors_are_read_as_written(selector in binary_selector()) {
        let octets = selector.octets();
        let read = TrafficSelector { format: selector.format(), octets: &octets }.decode();
        prop_assert_eq!(read, Ok(selector));
    }
}
