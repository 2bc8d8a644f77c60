//! What is encoded is decoded as it was, for every value of every kind that the log, snapshots and
//! links hold; and no octets whatever make the decoder panic.

use std::net::{Ipv4Addr, Ipv6Addr};

use homeport_api::binding as proto;
use homeport_api::convert;
use homeport_binding::{
    Answer, Association, Authentication, Batch, BidRequest, Binding, CareOf, CareOfTest, Command,
    Defender, Detected, EspNumber, FlowBinding, FlowRequest, Home, HomeBinding, HomePrefix,
    Ipv4AddressAnswer, Ipv4HomeAddressRequest, Ipv4Prefix, Ipv6Prefix, Key, LogTime,
    MobileNetworkRequest, NatDetection, Origin, Outcome, Probe, Protected, Protects, Refusal,
    RefusalKind, Registration, Remembered, Revised, SecurityAssociation, SelectorRequest, Silence,
    StateRecord, Subscriber, Verdict, WireSource,
};
use homeport_esp::{Keys, Suite, Window};
use homeport_wire::{
    Bid, BidCareOf, BidPriority, BinarySelector, BuFlags, FlowStatus, Ipv4AddressStatus, Lifetime,
    Selector, Sequence, Status,
};
use proptest::option::of;
use proptest::prelude::*;
use prost::Message as _;
use prost::bytes::{Buf as _, Bytes};

fn ipv6() -> impl Strategy<Value = Ipv6Addr> {
    any::<u128>().prop_map(Ipv6Addr::from_bits)
}

fn ipv4() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>().prop_map(Ipv4Addr::from_bits)
}

fn octets(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..=max)
}

fn prefix() -> impl Strategy<Value = Ipv6Prefix> {
    (any::<u128>(), 0_u8..=128).prop_filter_map("host bits", |(bits, len)| {
        let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
        Ipv6Prefix::new(Ipv6Addr::from_bits(bits & mask), len)
    })
}

fn ipv4_prefix() -> impl Strategy<Value = Ipv4Prefix> {
    (any::<u32>(), 0_u8..=32).prop_filter_map("host bits", |(bits, len)| {
        let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
        Ipv4Prefix::new(Ipv4Addr::from_bits(bits & mask), len)
    })
}

fn priority() -> impl Strategy<Value = BidPriority> {
    any::<u8>().prop_map(BidPriority::new)
}

fn home_prefix() -> impl Strategy<Value = HomePrefix> {
    let authentication = prop_oneof![
        Just(Authentication::None),
        Just(Authentication::MnHa),
        Just(Authentication::Ipsec),
    ];
    let who = (prefix(), ipv6(), of(ipv4()), authentication);
    let limits = (any::<u8>(), any::<[u32; 3]>(), any::<[u32; 2]>());
    let later = (any::<[bool; 7]>(), any::<u32>(), of(ipv4_prefix()), any::<(u8, u16)>());
    (who, any::<[bool; 5]>(), limits, later).prop_map(|(who, switches, limits, later)| {
        let (prefix, home_agent, home_agent_ipv4, authentication) = who;
        let [multiple, bulk, home_and_foreign, only_router, loopback] = switches;
        HomePrefix {
            prefix,
            home_agent,
            home_agent_ipv4,
            authentication,
            multiple_care_of_allowed: multiple,
            bulk_allowed: bulk,
            home_and_foreign_allowed: home_and_foreign,
            bindings_per_home_address_max: limits.0,
            lifetime_max_secs: limits.1[0],
            valid_lifetime_secs: limits.1[1],
            preferred_lifetime_secs: limits.1[2],
            only_router,
            loopback_care_of_allowed: loopback,
            force_udp_encapsulation: later.0[0],
            force_udp_requests_allowed: later.0[1],
            nat_keepalive_secs: later.1,
            ipv4_pool: later.2,
            mobile_networks_allowed: later.0[2],
            flow_bindings_per_home_address_max: later.3.0,
            home_agent_discovery_allowed: later.0[3],
            prefix_discovery_allowed: later.0[4],
            real_home_link: later.0[5],
            home_agent_preference: later.3.1,
            prefix_advertisement_delay_min_secs: limits.2[0],
            prefix_advertisement_delay_max_secs: limits.2[1],
            care_of_verification: later.0[6],
        }
    })
}

fn subscriber() -> impl Strategy<Value = Subscriber> {
    let association = of((any::<u32>(), any::<[u8; 16]>().prop_map(Key)));
    let replaced = (of(any::<bool>()), of(any::<bool>()), of(any::<u8>()));
    let later = (of(any::<bool>()), of(any::<u8>()), of(prefix()));
    let owned = (prop::collection::vec(prefix(), 0..4), any::<bool>(), of(ipv4_prefix()));
    (ipv6(), "\\PC{0,20}", association, any::<bool>(), replaced, later, owned).prop_map(
        |(home_address, nai, mn_ha, message_id_required, replaced, later, owned)| Subscriber {
            home_address,
            nai,
            mn_ha,
            message_id_required,
            multiple_care_of_allowed: replaced.0,
            bulk_allowed: replaced.1,
            bindings_per_home_address_max: replaced.2,
            mobile_networks_allowed: later.0,
            flow_bindings_per_home_address_max: later.1,
            home_prefix: later.2,
            mobile_networks: owned.0,
            mobile_networks_explicit: owned.1,
            ipv4_home_address: owned.2,
        },
    )
}

fn bid_request() -> impl Strategy<Value = BidRequest> {
    let care_of = prop_oneof![
        Just(BidCareOf::Absent),
        ipv4().prop_map(BidCareOf::V4),
        ipv6().prop_map(BidCareOf::V6),
    ];
    (of(any::<u16>()), any::<bool>(), priority(), care_of, any::<bool>()).prop_map(
        |(bid, home, priority, care_of, malformed)| BidRequest {
            bid: bid.map(Bid),
            home,
            priority,
            care_of,
            malformed,
        },
    )
}

fn bids() -> impl Strategy<Value = Vec<Bid>> {
    prop::collection::vec(any::<u16>().prop_map(Bid), 0..4)
}

fn flow_request() -> impl Strategy<Value = FlowRequest> {
    let selector = (any::<u8>(), octets(40));
    let selector = of(selector.prop_map(|(format, octets)| SelectorRequest { format, octets }));
    (any::<(u16, u16, bool)>(), bids(), selector).prop_map(
        |((fid, priority, malformed), bids, selector)| FlowRequest {
            fid,
            priority,
            malformed,
            bids,
            selector,
        },
    )
}

/// What came after the first format: mobile networks, IPv4 home address, flows, flow summary.
fn requests() -> impl Strategy<
    Value = (
        Vec<MobileNetworkRequest>,
        Option<Ipv4HomeAddressRequest>,
        Vec<FlowRequest>,
        Vec<u16>,
        bool,
    ),
> {
    let network = (ipv6(), any::<u8>())
        .prop_map(|(prefix, prefix_len)| MobileNetworkRequest { prefix, prefix_len });
    let ipv4 =
        (ipv4(), 0_u8..64, any::<bool>()).prop_map(|(address, prefix_len, prefix_wanted)| {
            Ipv4HomeAddressRequest { address, prefix_len, prefix_wanted }
        });
    let flows = prop::collection::vec(flow_request(), 0..3);
    (
        prop::collection::vec(network, 0..3),
        of(ipv4),
        flows,
        prop::collection::vec(any::<u16>(), 0..4),
        any::<bool>(),
    )
}

fn registration() -> impl Strategy<Value = Registration> {
    let source = prop_oneof![
        ipv6().prop_map(WireSource::Ipv6),
        (ipv4(), any::<u16>()).prop_map(|(address, port)| WireSource::Udp(address, port)),
    ];
    let numbers = any::<[u16; 3]>();
    let care_of = (of(ipv6()), of(ipv4()), prop::collection::vec(bid_request(), 0..5));
    let rest = (octets(20), of(any::<u64>()), any::<(u64, u64)>());
    (any::<[u8; 16]>(), (ipv6(), ipv6(), source), numbers, care_of, rest, requests()).prop_map(
        |(request_id, (home_address, home_agent, source), numbers, care_of, rest, requests)| {
            Registration {
                request_id,
                home_address,
                home_agent,
                source,
                sequence: Sequence(numbers[0]),
                lifetime: Lifetime(numbers[1]),
                flags: BuFlags(numbers[2]),
                alternate_care_of: care_of.0,
                ipv4_care_of: care_of.1,
                bids: care_of.2,
                link_layer_address: rest.0,
                message_id: rest.1,
                policy_revisions: rest.2,
                mobile_networks: requests.0,
                ipv4_home_address: requests.1,
                flows: requests.2,
                flow_summary: requests.3,
                home_address_option_missing: requests.4,
            }
        },
    )
}

fn protects() -> impl Strategy<Value = Protects> {
    prop::sample::select(&[Protects::Mobility, Protects::PrefixDiscovery, Protects::Signalling])
}

fn association() -> impl Strategy<Value = SecurityAssociation> {
    let keys =
        (prop::collection::vec(any::<u8>(), 0..40), prop::collection::vec(any::<u8>(), 0..70))
            .prop_map(|(encryption, authentication)| Keys { encryption, authentication });
    let origin = prop_oneof![
        Just(Origin::Static),
        ("[a-z]{1,16}", "[a-z:0-9]{1,16}", any::<u32>())
            .prop_map(|(agent, address, request_id)| Origin::Ike { agent, address, request_id }),
    ];
    let suite = prop::sample::select(&Suite::ALL);
    (ipv6(), protects(), suite, any::<(bool, u32, u32, u32)>(), [keys.clone(), keys], origin)
        .prop_map(|(home_address, protects, suite, numbers, [inbound, outbound], origin)| {
            SecurityAssociation {
                home_address,
                protects,
                suite,
                extended_sequence_numbers: numbers.0,
                replay_window: numbers.1,
                inbound_spi: numbers.2,
                inbound,
                outbound_spi: numbers.3,
                outbound,
                origin,
            }
        })
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        registration().prop_map(Command::Register),
        (home_prefix(), any::<bool>()).prop_map(|(home_prefix, must_not_exist)| {
            Command::PutHomePrefix { home_prefix, must_not_exist }
        }),
        (home_prefix(), any::<u64>()).prop_map(|(home_prefix, base_revision)| {
            Command::UpdateHomePrefix { home_prefix, base_revision }
        }),
        prefix().prop_map(Command::DeleteHomePrefix),
        (subscriber(), any::<bool>()).prop_map(|(subscriber, must_not_exist)| {
            Command::PutSubscriber { subscriber, must_not_exist }
        }),
        ipv6().prop_map(Command::DeleteSubscriber),
        (ipv6(), any::<[u8; 16]>(), any::<bool>()).prop_map(
            |(home_address, request_id, duplicate)| {
                let found = Detected { home_address, request_id, duplicate };
                Command::DuplicateAddressDetection(found)
            }
        ),
        (association(), any::<bool>()).prop_map(|(association, must_not_exist)| {
            Command::PutSecurityAssociation { association, must_not_exist }
        }),
        (ipv6(), any::<u32>()).prop_map(|(home_address, inbound_spi)| {
            Command::DeleteSecurityAssociation { home_address, inbound_spi }
        }),
        (ipv6(), any::<(u32, u64, u64)>(), protects(), prop::option::of(registration())).prop_map(
            |(home_address, numbers, protects, registration)| {
                let (inbound_spi, association_revision, sequence) = numbers;
                let command = registration.map(|it| Box::new(Command::Register(it)));
                Command::Protected(Protected {
                    home_address,
                    inbound_spi,
                    association_revision,
                    sequence,
                    protects,
                    command,
                })
            }
        ),
        (prefix(), "[a-z]{1,64}")
            .prop_map(|(prefix, forwarder)| Command::DefendHomeLink { prefix, forwarder }),
        (prefix(), "[a-z]{1,64}")
            .prop_map(|(prefix, forwarder)| Command::ReleaseHomeLink { prefix, forwarder }),
    ]
}

fn batch() -> impl Strategy<Value = Batch> {
    (any::<u64>(), prop::collection::vec(command(), 0..5))
        .prop_map(|(at, commands)| Batch { at: LogTime(at), commands })
}

fn answer() -> impl Strategy<Value = Answer> {
    let statuses = prop::collection::vec(any::<u8>().prop_map(Status), 0..5);
    let nat = (any::<bool>(), any::<u32>())
        .prop_map(|(force_udp, refresh_secs)| NatDetection { force_udp, refresh_secs });
    let ipv4 = (any::<u8>(), 0_u8..64, ipv4()).prop_map(|(status, prefix_len, address)| {
        Ipv4AddressAnswer { status: Ipv4AddressStatus(status), prefix_len, address }
    });
    let flows = prop::collection::vec(any::<u8>().prop_map(FlowStatus), 0..4);
    let later = (any::<bool>(), of(ipv4), flows, prop::collection::vec(any::<u16>(), 0..4));
    (any::<u8>(), statuses, any::<[u16; 2]>(), of(nat), of(any::<u32>()), later).prop_map(
        |(status, bid_statuses, [lifetime, sequence], nat_detection, ntp_secs, later)| Answer {
            status: Status(status),
            bid_statuses,
            lifetime: Lifetime(lifetime),
            sequence: Sequence(sequence),
            nat_detection,
            ntp_secs,
            mobile_router: later.0,
            ipv4_address: later.1,
            flow_statuses: later.2,
            flows_not_found: later.3,
        },
    )
}

fn refusal() -> impl Strategy<Value = Refusal> {
    let kind = prop_oneof![
        Just(RefusalKind::Exists),
        Just(RefusalKind::NotFound),
        Just(RefusalKind::Invalid),
        Just(RefusalKind::InUse),
        Just(RefusalKind::Full),
        Just(RefusalKind::Changed),
    ];
    (kind, "\\PC{0,20}", "\\PC{0,40}").prop_map(|(kind, field, message)| Refusal {
        kind,
        field: field.into(),
        message,
    })
}

fn verdict() -> impl Strategy<Value = Verdict> {
    let outcome = prop_oneof![
        answer().prop_map(Outcome::Answer),
        prop::sample::select(&Silence::ALL).prop_map(Outcome::Silent),
        Just(Outcome::StalePolicy),
        Just(Outcome::Done),
        refusal().prop_map(Outcome::Refused),
        Just(Outcome::Pending),
    ];
    let esp = prop::option::of(any::<(u32, u64)>());
    (any::<u64>(), outcome, esp).prop_map(|(revision, outcome, esp)| {
        let esp = esp.map(|(inbound_spi, sequence)| EspNumber { inbound_spi, sequence });
        Verdict { revision, outcome, esp }
    })
}

fn binding() -> impl Strategy<Value = Binding> {
    let care_of = prop_oneof![
        ipv6().prop_map(CareOf::Ipv6),
        (ipv4(), any::<u16>(), ipv4(), any::<bool>()).prop_map(
            |(address, port, announced, udp)| CareOf::Ipv4 { address, port, announced, udp }
        ),
    ];
    let home = of(octets(20).prop_map(|link_layer_address| HomeBinding { link_layer_address }));
    (care_of, priority(), home, any::<[u64; 3]>(), any::<bool>()).prop_map(
        |(care_of, priority, home, times, unverified)| Binding {
            care_of,
            priority,
            home,
            ends: LogTime(times[0]),
            verified: LogTime(times[1]),
            registered: LogTime(times[2]),
            unverified,
        },
    )
}

fn range<T: Copy + std::fmt::Debug + Ord>(
    values: impl Strategy<Value = (T, T)>,
) -> impl Strategy<Value = Option<std::ops::RangeInclusive<T>>> {
    of(values.prop_map(|(a, b)| a.min(b)..=a.max(b)))
}

fn selector() -> impl Strategy<Value = BinarySelector> {
    let ports = (range(any::<(u16, u16)>()), range(any::<(u16, u16)>()));
    let octets = (range(any::<(u8, u8)>()), range(any::<(u8, u8)>()));
    let words = (range(any::<(u32, u32)>()), range(any::<(u32, u32)>()));
    let addresses = (range((ipv4(), ipv4())), range((ipv6(), ipv6())));
    (ports, octets, words, addresses, any::<bool>()).prop_map(
        |(ports, octets, words, addresses, is_ipv6)| {
            if is_ipv6 {
                BinarySelector::Ipv6(Selector {
                    source: None,
                    destination: addresses.1,
                    spi: words.0,
                    flow_label: words.1,
                    source_port: ports.0,
                    destination_port: ports.1,
                    traffic_class: octets.0,
                    protocol: octets.1,
                })
            } else {
                BinarySelector::Ipv4(Selector {
                    source: addresses.0,
                    destination: None,
                    spi: words.0,
                    flow_label: None,
                    source_port: ports.0,
                    destination_port: ports.1,
                    traffic_class: octets.0,
                    protocol: octets.1,
                })
            }
        },
    )
}

fn home() -> impl Strategy<Value = Home> {
    let bindings = prop::collection::btree_map(of(any::<u16>().prop_map(Bid)), binding(), 0..4);
    let remembered = (any::<[u8; 16]>(), verdict())
        .prop_map(|(request_id, verdict)| Remembered { request_id, verdict });
    let remembered = prop::collection::vec_deque(remembered, 0..4);
    let flow = (any::<u16>(), bids(), selector())
        .prop_map(|(priority, bids, selector)| FlowBinding { priority, bids, selector });
    let flows = prop::collection::btree_map(any::<u16>(), flow, 0..3);
    let networks = prop::collection::btree_set(prefix(), 0..4);
    let probe = (any::<[u8; 16]>(), any::<bool>(), of(any::<bool>()));
    let probe = probe.prop_map(|(request_id, link_local, verdict)| Probe {
        request_id,
        link_local,
        verdict,
    });
    let test = (any::<[u8; 16]>(), any::<u64>())
        .prop_map(|(nonce, next)| CareOfTest { nonce, next: LogTime(next) });
    let tests = of(prop::collection::btree_map(ipv6(), test, 1..4).prop_map(Box::new));
    let probe = (any::<bool>(), of(probe), tests);
    let later = (any::<bool>(), networks, of(ipv4_prefix()), flows, probe);
    (ipv6(), any::<u16>(), bindings, of(any::<u64>()), any::<u64>(), remembered, later).prop_map(
        |(home_agent, sequence, bindings, forget, revision, remembered, later)| Home {
            home_agent,
            sequence: Sequence(sequence),
            bindings: bindings.into_iter().collect(),
            mobile_router: later.0,
            mobile_networks: later.1,
            ipv4_home_address: later.2,
            flows: later.3,
            link_local: later.4.0,
            probe: later.4.1,
            forget: forget.map(LogTime),
            revision,
            remembered: remembered.into_iter().collect(),
            notice: None,
            advertisement: None,
            care_of_tests: later.4.2,
        },
    )
}

fn revised<T: std::fmt::Debug>(
    record: impl Strategy<Value = T>,
) -> impl Strategy<Value = Revised<T>> {
    (record, any::<u64>()).prop_map(|(record, revision)| Revised { record, revision })
}

fn state_record() -> impl Strategy<Value = StateRecord> {
    prop_oneof![
        any::<(u64, u64)>()
            .prop_map(|(now, revision)| StateRecord::Header { now: LogTime(now), revision }),
        revised(home_prefix()).prop_map(StateRecord::HomePrefix),
        (revised(subscriber()), any::<u64>())
            .prop_map(|(subscriber, id)| StateRecord::Subscriber(subscriber, id)),
        (ipv6(), home()).prop_map(|(address, home)| StateRecord::Home(address, home)),
        (association(), any::<u64>(), any::<u64>(), prop::collection::vec(any::<u64>(), 0..=16))
            .prop_filter_map("at most 16 words", |(record, revision, sent, words)| {
                let window = Window::restored(revision, words)?;
                let revised = Revised { record, revision };
                Some(StateRecord::Association(Association { revised, window, sent }))
            }),
        (prefix(), "\\PC{1,16}", any::<u64>()).prop_map(|(prefix, forwarder, ends)| {
            StateRecord::Defender(Defender { prefix, forwarder, ends: LogTime(ends) })
        }),
    ]
}

/// One encoding of each kind, to be damaged.
fn encoded() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        batch().prop_map(|batch| convert::encode_batch(batch).to_vec()),
        prop::collection::vec(verdict(), 0..4)
            .prop_map(|verdicts| convert::encode_verdicts(verdicts).to_vec()),
        state_record().prop_map(|record| {
            let mut octets = Vec::new();
            convert::encode_state_record(record, &mut octets);
            octets
        }),
    ]
}

/// Whatever is read can be written and read again.
fn decode_all(octets: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(batch) = convert::decode_batch(octets) {
        prop_assert_eq!(convert::decode_batch(&convert::encode_batch(batch.clone())), Ok(batch));
    }
    if let Ok(verdicts) = convert::decode_verdicts(octets) {
        let again = convert::decode_verdicts(&convert::encode_verdicts(verdicts.clone()));
        prop_assert_eq!(again, Ok(verdicts));
    }
    let mut rest = Bytes::copy_from_slice(octets);
    while rest.has_remaining() {
        let before = rest.remaining();
        let Ok(record) = convert::decode_state_record(&mut rest) else { break };
        prop_assert!(rest.remaining() < before, "the decoder does not move");
        let mut again = Vec::new();
        convert::encode_state_record(record.clone(), &mut again);
        prop_assert_eq!(convert::decode_state_record(&mut again.into()), Ok(record));
    }
    Ok(())
}

proptest! {
    #[test]
    fn batches(batch in batch()) {
        let octets = convert::encode_batch(batch.clone());
        let commands = batch.commands.iter().cloned().map(Into::into);
        let commands: Vec<_> =
            commands.map(|command| convert::encode_command(&command)).collect();
        prop_assert_eq!(&convert::join_commands(batch.at, &commands), &octets);
        prop_assert_eq!(&convert::batch_of(octets.clone()), &Ok(batch.clone()));
        prop_assert_eq!(convert::decode_batch(&octets), Ok(batch));
    }

    #[test]
    fn verdicts(verdicts in prop::collection::vec(verdict(), 0..6)) {
        let octets = convert::encode_verdicts(verdicts.clone());
        prop_assert_eq!(convert::decode_verdicts(&octets), Ok(verdicts));
    }

    #[test]
    fn state_records(records in prop::collection::vec(state_record(), 0..6)) {
        let mut octets = Vec::new();
        for record in &records {
            convert::encode_state_record(record.clone(), &mut octets);
        }
        let mut rest = Bytes::from(octets);
        let mut decoded = Vec::new();
        while rest.has_remaining() {
            decoded.push(convert::decode_state_record(&mut rest).unwrap());
        }
        prop_assert_eq!(decoded, records);
    }

    /// What front-ends and forwarders are sent.
    #[test]
    fn messages_of_links(
        command in command(),
        home_prefix in revised(home_prefix()),
        subscriber in revised(subscriber()),
        (address, home) in (ipv6(), home()),
    ) {
        let message = proto::Command::from(command.clone()).encode_to_vec();
        let message = proto::Command::decode(&message[..]).unwrap();
        prop_assert_eq!(Command::try_from(message), Ok(command));
        let message = proto::HomePrefix::from(home_prefix.clone());
        prop_assert_eq!(Revised::<HomePrefix>::try_from(message), Ok(home_prefix));
        let message = proto::Subscriber::from(subscriber.clone());
        prop_assert_eq!(Revised::<Subscriber>::try_from(message), Ok(subscriber));
        let message = convert::home_message(address, home.clone());
        prop_assert_eq!(convert::home_of(message), Ok((address, home)));
    }

    #[test]
    fn random_octets(octets in octets(200)) {
        decode_all(&octets)?;
    }

    #[test]
    fn damaged_encodings(
        good in encoded(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in of(any::<prop::sample::Index>()),
    ) {
        let mut octets = good;
        for (at, octet) in damage {
            if !octets.is_empty() {
                let at = at.index(octets.len());
                octets[at] = octet;
            }
        }
        if let Some(cut) = cut {
            octets.truncate(cut.index(octets.len() + 1));
        }
        decode_all(&octets)?;
    }
}
