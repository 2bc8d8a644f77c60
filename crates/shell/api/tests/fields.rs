//! A message that no encoder of ours writes is refused, and the error names the field.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use homeport_api::binding as proto;
use homeport_api::convert::{self, Invalid};
use homeport_binding::{
    Answer, Authentication, Batch, BidRequest, Binding, CareOf, Command, Defender, Detected,
    FlowBinding, FlowRequest, Home, HomePrefix, Ipv4AddressAnswer, Ipv4HomeAddressRequest,
    Ipv6Prefix, Key, LogTime, MobileNetworkRequest, Outcome, Probe, Refusal, RefusalKind,
    Registration, Remembered, Revised, SelectorRequest, Silence, StateRecord, Subscriber, Verdict,
    WireSource,
};
use homeport_wire::{
    Bid, BidCareOf, BidPriority, BinarySelector, BuFlags, FlowStatus, Ipv4AddressStatus, Lifetime,
    Selector, Sequence, Status,
};
use prost::Message as _;

const HOME: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x100);
const AGENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1);

/// Rows of one kind: the field that the error names, and how it is spoilt.
type Rows<M> = Vec<(&'static str, fn(&mut M))>;

fn check<M: Clone + std::fmt::Debug>(
    good: &M,
    decode: impl Fn(M) -> Result<(), Invalid>,
    rows: Rows<M>,
) {
    assert_eq!(decode(good.clone()), Ok(()), "the row before it is spoilt");
    for (field, spoil) in rows {
        let mut message = good.clone();
        spoil(&mut message);
        let Err(error) = decode(message) else { panic!("{field} was accepted") };
        assert!(error.to_string().starts_with(&format!("{field}: ")), "{field}: {error}");
    }
}

fn registration() -> proto::Register {
    let bid = BidRequest {
        bid: Some(Bid(1)),
        home: false,
        priority: BidPriority::new(1),
        care_of: BidCareOf::Absent,
        malformed: false,
    };
    proto::Register::from(Registration {
        request_id: [7; 16],
        home_address: HOME,
        home_agent: AGENT,
        source: WireSource::Ipv6(AGENT),
        sequence: Sequence(1),
        lifetime: Lifetime(1),
        flags: BuFlags::ACKNOWLEDGE,
        alternate_care_of: None,
        ipv4_care_of: None,
        bids: vec![bid],
        link_layer_address: Vec::new(),
        message_id: None,
        policy_revisions: (1, 0),
        mobile_networks: vec![MobileNetworkRequest { prefix: HOME, prefix_len: 64 }],
        ipv4_home_address: Some(Ipv4HomeAddressRequest {
            address: Ipv4Addr::UNSPECIFIED,
            prefix_len: 32,
            prefix_wanted: false,
        }),
        flows: vec![FlowRequest {
            fid: 4,
            priority: 10,
            malformed: false,
            bids: vec![Bid(2)],
            selector: Some(SelectorRequest { format: 2, octets: vec![0; 4] }),
        }],
        flow_summary: vec![5],
        home_address_option_missing: false,
    })
}

fn ipv4_home(message: &mut proto::Register) -> &mut proto::Ipv4HomeAddressRequest {
    message.ipv4_home_address.get_or_insert_default()
}

fn selector(selector: &mut Option<proto::TrafficSelector>) -> &mut proto::TrafficSelector {
    selector.get_or_insert_default()
}

#[test]
fn registrations() {
    use proto::wire_source::Source;
    let rows: Rows<proto::Register> = vec![
        ("register.request_id", |m| m.request_id = vec![1; 15].into()),
        ("mobile_networks.prefix", |m| m.mobile_networks[0].prefix = vec![1; 4].into()),
        ("mobile_networks.prefix_len", |m| m.mobile_networks[0].prefix_len = 256),
        ("ipv4_home_address.address", |m| ipv4_home(m).address = vec![1; 16].into()),
        ("ipv4_home_address.prefix_len", |m| ipv4_home(m).prefix_len = 64),
        ("flows.fid", |m| m.flows[0].fid = 65_536),
        ("flows.priority", |m| m.flows[0].priority = 65_536),
        ("flows.bids", |m| m.flows[0].bids = vec![1, 65_536]),
        ("flows.selector.format", |m| selector(&mut m.flows[0].selector).format = 256),
        ("flows.selector.octets", |m| {
            selector(&mut m.flows[0].selector).octets = vec![0; 256].into();
        }),
        ("register.flow_summary", |m| m.flow_summary = vec![65_536]),
        ("register.home_address", |m| m.home_address = vec![1; 17].into()),
        ("register.home_agent", |m| m.home_agent = Vec::new().into()),
        ("register.source", |m| m.source = None),
        ("source", |m| m.source = Some(proto::WireSource { source: None })),
        ("source.ipv6", |m| {
            m.source = Some(proto::WireSource { source: Some(Source::Ipv6(vec![1; 4].into())) });
        }),
        ("source.udp.address", |m| {
            let udp = proto::UdpSource { address: vec![1; 16].into(), port: 1 };
            m.source = Some(proto::WireSource { source: Some(Source::Udp(udp)) });
        }),
        ("source.udp.port", |m| {
            let udp = proto::UdpSource { address: vec![1; 4].into(), port: 65_536 };
            m.source = Some(proto::WireSource { source: Some(Source::Udp(udp)) });
        }),
        ("register.sequence", |m| m.sequence = 65_536),
        ("register.lifetime", |m| m.lifetime = u32::MAX),
        ("register.flags", |m| m.flags = 65_536),
        ("register.alternate_care_of", |m| m.alternate_care_of = vec![1; 4].into()),
        ("register.ipv4_care_of", |m| m.ipv4_care_of = vec![1; 5].into()),
        ("register.link_layer_address", |m| m.link_layer_address = vec![1; 21].into()),
        ("bids.bid", |m| m.bids[0].bid = Some(65_536)),
        ("bids.priority", |m| m.bids[0].priority = 128),
        ("bids.care_of", |m| m.bids[0].care_of = vec![1; 5].into()),
    ];
    check(&registration(), |m| Registration::try_from(m).map(drop), rows);
}

#[test]
fn commands() {
    let put = |command: Command| proto::Command::from(command);
    let prefix = Ipv6Prefix::new(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0), 64).unwrap();
    let decode = |m: proto::Command| Command::try_from(m).map(drop);
    check(
        &put(Command::DeleteHomePrefix(prefix)),
        decode,
        vec![
            ("command", |m| m.command = None),
            ("delete_home_prefix.prefix", |m| {
                let long = proto::DeleteHomePrefix { prefix: vec![0; 16].into(), prefix_len: 129 };
                m.command = Some(proto::command::Command::DeleteHomePrefix(long));
            }),
            ("delete_home_prefix.prefix", |m| {
                let host = proto::DeleteHomePrefix { prefix: vec![1; 16].into(), prefix_len: 64 };
                m.command = Some(proto::command::Command::DeleteHomePrefix(host));
            }),
            ("delete_subscriber.home_address", |m| {
                let short = proto::DeleteSubscriber { home_address: vec![0; 15].into() };
                m.command = Some(proto::command::Command::DeleteSubscriber(short));
            }),
            ("home_prefix", |m| {
                let none = proto::PutHomePrefix { home_prefix: None, must_not_exist: true };
                m.command = Some(proto::command::Command::PutHomePrefix(none));
            }),
            ("subscriber", |m| {
                let none = proto::PutSubscriber { subscriber: None, must_not_exist: true };
                m.command = Some(proto::command::Command::PutSubscriber(none));
            }),
        ],
    );
}

/// What forwarders that defend a home link say, and what is kept of it.
#[test]
fn home_links() {
    use proto::command::Command as Kind;
    let prefix = Ipv6Prefix::new(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0), 64).unwrap();
    let found = Detected { home_address: HOME, request_id: [1; 16], duplicate: true };
    let found = proto::DuplicateAddressDetection::from(found);
    let decode = |m| Command::try_from(proto::Command { command: Some(m) }).map(drop);
    check(
        &found,
        |m| decode(Kind::DuplicateAddressDetection(m)),
        vec![
            ("duplicate_address_detection.home_address", |m| m.home_address = vec![1; 4].into()),
            ("duplicate_address_detection.request_id", |m| m.request_id = vec![1; 17].into()),
        ],
    );
    let octets = prefix.address().octets().to_vec();
    let defend =
        proto::DefendHomeLink { prefix: octets.into(), prefix_len: 64, forwarder: "a".to_owned() };
    check(
        &defend,
        |m| decode(Kind::DefendHomeLink(m)),
        vec![
            ("defend_home_link.prefix", |m| m.prefix_len = 16),
            ("defend_home_link.forwarder", |m| m.forwarder.clear()),
            ("defend_home_link.forwarder", |m| m.forwarder = "a".repeat(65)),
        ],
    );
    let octets = prefix.address().octets().to_vec();
    let release =
        proto::ReleaseHomeLink { prefix: octets.into(), prefix_len: 64, forwarder: "a".to_owned() };
    check(
        &release,
        |m| decode(Kind::ReleaseHomeLink(m)),
        vec![
            ("release_home_link.prefix", |m| m.prefix_len = 16),
            ("release_home_link.forwarder", |m| m.forwarder.clear()),
            ("release_home_link.forwarder", |m| m.forwarder = "a".repeat(65)),
        ],
    );
    let defender = Defender { prefix, forwarder: "a".repeat(64), ends: LogTime(1) };
    check(
        &proto::Defender::from(defender),
        |m| Defender::try_from(m).map(drop),
        vec![
            ("defender.prefix", |m| m.prefix_len = 129),
            ("defender.forwarder", |m| m.forwarder.push('a')),
        ],
    );
}

#[test]
fn records() {
    let prefix = Ipv6Prefix::new(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0), 64).unwrap();
    let home_prefix = HomePrefix::new(prefix, AGENT, Authentication::None);
    check(
        &proto::HomePrefix::from(Revised { record: home_prefix, revision: 1 }),
        |m| Revised::<HomePrefix>::try_from(m).map(drop),
        vec![
            ("home_prefix.prefix", |m| m.prefix = vec![1; 16].into()),
            ("home_prefix.prefix", |m| m.prefix_len = 256),
            ("home_prefix.home_agent", |m| m.home_agent = vec![1; 4].into()),
            ("home_prefix.home_agent_ipv4", |m| m.home_agent_ipv4 = vec![1; 16].into()),
            ("home_prefix.authentication", |m| m.authentication = 0),
            ("home_prefix.authentication", |m| m.authentication = 99),
            ("home_prefix.bindings_per_home_address_max", |m| {
                m.bindings_per_home_address_max = 256;
            }),
            ("home_prefix.flow_bindings_per_home_address_max", |m| {
                m.flow_bindings_per_home_address_max = 256;
            }),
            ("home_prefix.home_agent_preference", |m| m.home_agent_preference = 65_536),
            ("home_prefix.ipv4_pool", |m| m.ipv4_pool = ipv4_prefix(4, 24)),
        ],
    );
    let subscriber = Subscriber {
        mn_ha: Some((256, Key([1; 16]))),
        bindings_per_home_address_max: Some(1),
        ..Subscriber::new(HOME)
    };
    check(
        &proto::Subscriber::from(Revised { record: subscriber, revision: 1 }),
        |m| Revised::<Subscriber>::try_from(m).map(drop),
        vec![
            ("subscriber.home_address", |m| m.home_address = vec![1; 4].into()),
            ("subscriber.key", |m| m.key = vec![1; 20].into()),
            ("subscriber.key", |m| m.key = Vec::new().into()),
            ("subscriber.bindings_per_home_address_max", |m| {
                m.bindings_per_home_address_max = Some(256);
            }),
            ("subscriber.flow_bindings_per_home_address_max", |m| {
                m.flow_bindings_per_home_address_max = Some(256);
            }),
            ("subscriber.home_prefix", |m| m.home_prefix = ipv6_prefix(1, 64)),
            ("subscriber.mobile_networks", |m| m.mobile_networks.extend(ipv6_prefix(1, 64))),
            ("subscriber.mobile_networks", |m| m.mobile_networks.extend(ipv6_prefix(0, 129))),
            ("subscriber.ipv4_home_address", |m| m.ipv4_home_address = ipv4_prefix(16, 32)),
            ("subscriber.ipv4_home_address", |m| m.ipv4_home_address = ipv4_prefix(4, 33)),
        ],
    );
}

/// Octets of ones, so that there are host bits.
fn ipv4_prefix(octets: usize, prefix_len: u32) -> Option<proto::Ipv4Prefix> {
    Some(proto::Ipv4Prefix { prefix: vec![1; octets].into(), prefix_len })
}

fn ipv6_prefix(octet: u8, prefix_len: u32) -> Option<proto::Ipv6Prefix> {
    Some(proto::Ipv6Prefix { prefix: vec![octet; 16].into(), prefix_len })
}

fn home() -> proto::Home {
    let binding = Binding {
        care_of: CareOf::Ipv6(AGENT),
        priority: BidPriority::UNSET,
        home: None,
        ends: LogTime(3),
        verified: LogTime(2),
        registered: LogTime(1),
        unverified: false,
    };
    let verdict = Verdict { revision: 1, outcome: Outcome::Done, esp: None };
    let selector = BinarySelector::Ipv6(Selector::ANY);
    let flow = FlowBinding { priority: 1, bids: vec![Bid(1)], selector };
    let home = Home {
        home_agent: AGENT,
        sequence: Sequence(1),
        bindings: [(Some(Bid(1)), binding.clone()), (None, binding)].into(),
        mobile_router: true,
        mobile_networks: BTreeSet::new(),
        ipv4_home_address: None,
        flows: [(1, flow.clone()), (2, flow)].into(),
        link_local: true,
        probe: Some(Probe { request_id: [2; 16], link_local: true, verdict: None }),
        forget: None,
        revision: 1,
        remembered: [Remembered { request_id: [1; 16], verdict }].into_iter().collect(),
        notice: None,
        advertisement: None,
        care_of_tests: None,
    };
    convert::home_message(HOME, home)
}

fn care_of_ipv4(address: usize, port: u32, announced: usize) -> Option<proto::CareOfAddress> {
    let octets = |n| vec![1; n].into();
    let (address, announced) = (octets(address), octets(announced));
    let ipv4 = proto::Ipv4CareOf { address, port, announced, without_udp: true };
    Some(proto::CareOfAddress { address: Some(proto::care_of_address::Address::Ipv4(ipv4)) })
}

fn care_of_test(care_of: usize, nonce: usize) -> proto::CareOfTest {
    let octets = |n| vec![1; n].into();
    proto::CareOfTest { care_of: octets(care_of), nonce: octets(nonce), next_ms: 1 }
}

#[test]
fn homes() {
    use proto::care_of_address::Address;
    let rows: Rows<proto::Home> = vec![
        ("home.home_address", |m| m.home_address = Vec::new().into()),
        ("home.home_agent", |m| m.home_agent = vec![1; 15].into()),
        ("home.sequence", |m| m.sequence = 65_536),
        ("home.bindings", |m| m.bindings[1].bid = m.bindings[0].bid),
        ("home.mobile_networks", |m| m.mobile_networks.extend(ipv6_prefix(1, 64))),
        ("home.ipv4_home_address", |m| m.ipv4_home_address = ipv4_prefix(4, 31)),
        ("home.flows", |m| m.flows[1].fid = m.flows[0].fid),
        ("home.flows.fid", |m| m.flows[0].fid = 65_536),
        ("home.flows.priority", |m| m.flows[0].priority = 65_536),
        ("home.flows.bids", |m| m.flows[0].bids = vec![65_536]),
        ("home.flows.selector", |m| m.flows[0].selector = None),
        ("home.flows.selector", |m| selector(&mut m.flows[0].selector).format = 3),
        ("home.flows.selector.format", |m| selector(&mut m.flows[0].selector).format = 256),
        ("home.flows.selector.octets", |m| {
            selector(&mut m.flows[0].selector).octets = vec![0; 256].into();
        }),
        ("home.care_of_tests.care_of", |m| m.care_of_tests.push(care_of_test(15, 16))),
        ("home.care_of_tests.nonce", |m| m.care_of_tests.push(care_of_test(16, 17))),
        ("home.care_of_tests", |m| {
            m.care_of_tests.extend([care_of_test(16, 16), care_of_test(16, 16)])
        }),
        ("home.care_of_tests", |m| m.care_of_tests = vec![care_of_test(16, 16); 65]),
        ("probe.request_id", |m| m.probe.get_or_insert_default().request_id = vec![1; 15].into()),
        ("binding.bid", |m| m.bindings[1].bid = Some(65_536)),
        ("binding.priority", |m| m.bindings[0].priority = 128),
        ("binding.link_layer_address", |m| {
            m.bindings[0].link_layer_address = vec![1; 6].into();
        }),
        ("binding.link_layer_address", |m| {
            m.bindings[0].home = true;
            m.bindings[0].link_layer_address = vec![1; 21].into();
        }),
        ("binding.care_of", |m| m.bindings[0].care_of = None),
        ("care_of", |m| m.bindings[0].care_of = Some(proto::CareOfAddress { address: None })),
        ("care_of.ipv6", |m| {
            let address = Some(Address::Ipv6(vec![1; 4].into()));
            m.bindings[0].care_of = Some(proto::CareOfAddress { address });
        }),
        ("care_of.ipv4.address", |m| m.bindings[0].care_of = care_of_ipv4(16, 1, 4)),
        ("care_of.ipv4.port", |m| m.bindings[0].care_of = care_of_ipv4(4, 65_536, 4)),
        ("care_of.ipv4.announced", |m| m.bindings[0].care_of = care_of_ipv4(4, 1, 0)),
        ("remembered.request_id", |m| m.remembered[0].request_id = vec![1; 8].into()),
        ("remembered.verdict", |m| m.remembered[0].verdict = None),
    ];
    check(&home(), |m| convert::home_of(m).map(drop), rows);
}

fn ipv4_answer(message: &mut proto::Answer) -> &mut proto::Ipv4AddressAnswer {
    message.ipv4_address.get_or_insert_default()
}

#[test]
fn verdicts() {
    use proto::verdict::Outcome as Kind;
    let decode = |m: proto::Verdict| Verdict::try_from(m).map(drop);
    let verdict = |outcome| proto::Verdict::from(Verdict { revision: 9, outcome, esp: None });
    check(
        &verdict(Outcome::Silent(Silence::CareOfNotRoutable)),
        decode,
        vec![
            ("verdict.outcome", |m| m.outcome = None),
            ("verdict.silence", |m| m.outcome = Some(Kind::Silence("because".to_owned()))),
        ],
    );
    let refusal =
        Refusal { kind: RefusalKind::Full, field: "prefix".into(), message: "no".to_owned() };
    let spoil_kind: fn(&mut proto::Verdict) = |m| match &mut m.outcome {
        Some(Kind::Refusal(refusal)) => refusal.kind = 77,
        other => panic!("{other:?}"),
    };
    check(&verdict(Outcome::Refused(refusal)), decode, vec![("refusal.kind", spoil_kind)]);
    let answer = proto::Answer::from(Answer {
        status: Status::ACCEPTED,
        bid_statuses: vec![Status::ACCEPTED],
        lifetime: Lifetime(1),
        sequence: Sequence(1),
        nat_detection: None,
        ntp_secs: None,
        mobile_router: true,
        ipv4_address: Some(Ipv4AddressAnswer {
            status: Ipv4AddressStatus::ACCEPTED,
            prefix_len: 32,
            address: Ipv4Addr::UNSPECIFIED,
        }),
        flow_statuses: vec![FlowStatus::ACCEPTED],
        flows_not_found: vec![5],
    });

    check(
        &answer,
        |m| Answer::try_from(m).map(drop),
        vec![
            ("answer.status", |m| m.status = 256),
            ("answer.status", |m| m.bid_statuses[0] = 256),
            ("answer.lifetime", |m| m.lifetime = 65_536),
            ("answer.sequence", |m| m.sequence = 65_536),
            ("ipv4_address.status", |m| ipv4_answer(m).status = 256),
            ("ipv4_address.prefix_len", |m| ipv4_answer(m).prefix_len = 64),
            ("ipv4_address.address", |m| ipv4_answer(m).address = vec![1; 3].into()),
            ("answer.flow_statuses", |m| m.flow_statuses[0] = 256),
            ("answer.flows_not_found", |m| m.flows_not_found[0] = 65_536),
        ],
    );
}

#[test]
fn states_of_another_format() {
    let header = proto::StateHeader { format: 2, log_time_ms: 1, revision: 1 };
    let record = Some(proto::state_record::Record::Header(header));
    let octets = proto::StateRecord { record }.encode_length_delimited_to_vec();
    let error = convert::decode_state_record(&mut octets.into()).expect_err("format 2");
    assert_eq!(error, Invalid::Format { found: 2, supported: 1 });
    let text = error.to_string();
    assert!(text.contains("format 2") && text.contains("reads 1"), "{text}");
    let nothing = proto::StateRecord { record: None };
    let error = StateRecord::try_from(nothing).expect_err("no record");
    assert_eq!(error.to_string(), "record: expected a kind that this version knows");
}

/// What is no protobuf at all says which message it was taken for.
#[test]
fn octets_that_are_no_message() {
    let text = |error: Invalid| error.to_string();
    let batch = convert::decode_batch(&[0xff]).map(drop::<Batch>).map_err(text);
    assert!(batch.unwrap_err().starts_with("not a Batch message: "));
    let verdicts = convert::decode_verdicts(&[0xff]).map(drop).map_err(text);
    assert!(verdicts.unwrap_err().starts_with("not a Verdicts message: "));
    let mut truncated = prost::bytes::Bytes::from_static(&[5, 1]);
    let record = convert::decode_state_record(&mut truncated).map(drop).map_err(text);
    assert!(record.unwrap_err().starts_with("not a StateRecord message: "));
}
