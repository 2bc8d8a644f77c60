//! The golden packets, composed from values: alignment, padding, checksum and envelope are ours.

use std::net::Ipv6Addr;

use homeport_wire::{
    BaFlags, Bid, BidOption, BidPriority, BinarySelector, BindingAcknowledgement, BindingError,
    BindingErrorStatus, BindingRefreshRequest, BindingRevocation, BindingRevocationAcknowledgement,
    BindingRevocationIndication, BindingUpdate, BuFlags, CareOfTest, CareOfTestInit, FlowStatus,
    Heartbeat, HeartbeatFlags, HomeAgentSwitch, HomeTest, HomeTestInit, Ipv4AddressStatus,
    Lifetime, MOBILITY_UDP_PORT, Message, MobilityOption, Options, OptionsBuilder, RevocationFlags,
    RevocationStatus, RevocationTrigger, Selector, Sequence, Status, TrafficSelector,
    encapsulate_v6, mobility_packet, udp_v4_packet,
};

use crate::support::{
    CARE_OF_1, CARE_OF_2, CARE_OF_3, CORRESPONDENT, HOME, HOME_AGENT, HOME_AGENT_V4, SECOND_AGENT,
    TRANSLATOR_V4, hex, pcap, vector,
};

const A: BuFlags = BuFlags::ACKNOWLEDGE;
const AH: BuFlags = A.with(BuFlags::HOME_REGISTRATION);
const AHK: BuFlags = AH.with(BuFlags::KEY_MANAGEMENT_MOBILITY);
const K: BaFlags = BaFlags::KEY_MANAGEMENT_MOBILITY;
const NONE: BaFlags = BaFlags(0);

fn update(sequence: u16, flags: BuFlags, lifetime: u16, options: Options<'_>) -> Message<'_> {
    let (sequence, lifetime) = (Sequence(sequence), Lifetime(lifetime));
    Message::BindingUpdate(BindingUpdate { sequence, flags, lifetime, options })
}

fn acknowledgement(
    status: u8,
    flags: BaFlags,
    sequence: u16,
    lifetime: u16,
    options: Options<'_>,
) -> Message<'_> {
    let (status, sequence, lifetime) = (Status(status), Sequence(sequence), Lifetime(lifetime));
    Message::BindingAcknowledgement(BindingAcknowledgement {
        status,
        flags,
        sequence,
        lifetime,
        options,
    })
}

fn bids(mut builder: OptionsBuilder, list: &[BidOption]) -> Options<'static> {
    for option in list {
        builder.push(&MobilityOption::BindingIdentifier(*option));
    }
    assert_eq!(builder.refusal(), None);
    builder.finish()
}

fn bu(list: &[BidOption]) -> Options<'static> {
    bids(BindingUpdate::builder(), list)
}

fn ba(list: &[BidOption]) -> Options<'static> {
    bids(BindingAcknowledgement::builder(), list)
}

fn bid(number: u16) -> BidOption {
    BidOption::refresh(Bid(number))
}

fn bid_at(number: u16, care_of: Ipv6Addr) -> BidOption {
    BidOption::v6(Bid(number), care_of)
}

/// From a mobile node at its first care-of address to the home agent.
fn up(id: &str, message: &Message<'_>) {
    up_from(id, message, CARE_OF_1, HOME_AGENT);
}

fn up_from(id: &str, message: &Message<'_>, care_of: Ipv6Addr, peer: Ipv6Addr) {
    let mh = message.emit(HOME, peer);
    same(id, &mh, &mobility_packet(care_of, peer, Some(HOME), None, &mh));
}

/// From the home agent to a mobile node at its first care-of address.
fn down(id: &str, message: &Message<'_>) {
    let mh = message.emit(HOME_AGENT, HOME);
    same(id, &mh, &mobility_packet(HOME_AGENT, CARE_OF_1, None, Some(HOME), &mh));
}

/// Without extension headers.
fn plain(id: &str, message: &Message<'_>, source: Ipv6Addr, destination: Ipv6Addr) {
    let mh = message.emit(source, destination);
    same(id, &mh, &mobility_packet(source, destination, None, None, &mh));
}

/// Inside the tunnel between home agent and first care-of address.
fn tunnelled(id: &str, message: &Message<'_>, inner: (Ipv6Addr, Ipv6Addr), to_home_agent: bool) {
    let mh = message.emit(inner.0, inner.1);
    let packet = mobility_packet(inner.0, inner.1, None, None, &mh);
    let (source, destination) =
        if to_home_agent { (CARE_OF_1, HOME_AGENT) } else { (HOME_AGENT, CARE_OF_1) };
    same(id, &mh, &encapsulate_v6(&packet, source, destination, 64, 0, 0));
}

fn same(id: &str, mh: &[u8], packet: &[u8]) {
    let golden = vector(id);
    assert_eq!(hex(mh), hex(&golden.mh), "{id}: mobility header");
    assert_eq!(hex(packet), hex(&golden.packet), "{id}: packet");
}

/// RFC 5648 §4.3, RFC 6275 §6.1.7, §6.1.8.
#[test]
fn several_care_of_addresses() {
    let three = [bid_at(1, CARE_OF_1), bid_at(2, CARE_OF_2), bid_at(3, CARE_OF_3)];
    up("V01", &update(0x1001, AHK.with(BuFlags::OVERWRITE), 225, bu(&three)));
    let answers = three.map(|option| option.acknowledged(Status::ACCEPTED));
    down("V02", &acknowledgement(0, K, 0x1001, 225, ba(&answers)));

    let moved: Ipv6Addr = "2001:db8:b::2b".parse().unwrap();
    up("V03", &update(0x1002, AHK, 225, bu(&[bid(1), bid_at(2, moved), bid(9)])));
    let unknown = bid(9).with_status(Status::MCOA_UNKNOWN_COA);
    let status = Status::MCOA_NOTCOMPLETE.0;
    down("V04", &acknowledgement(status, K, 0x1002, 225, ba(&[bid(1), bid(2), unknown])));

    up("V05", &update(0x1003, AHK, 0, bu(&[bid(3)])));
    down("V06", &acknowledgement(0, K, 0x1003, 0, ba(&[bid(3)])));

    up("V10", &update(0x0fff, AHK, 225, bu(&[bid(1)])));
    let status = Status::SEQUENCE_OUT_OF_WINDOW.0;
    down("V11", &acknowledgement(status, NONE, 0x1004, 0, ba(&[bid(1)])));
}

/// RFC 6275 §6.1.2, RFC 5648 §6.4.
#[test]
fn refresh_request() {
    let options = bids(BindingRefreshRequest::builder(), &[bid(1), bid(2)]);
    let message = Message::BindingRefreshRequest(BindingRefreshRequest { options });
    tunnelled("V07", &message, (HOME_AGENT, HOME), false);
}

/// RFC 5648 §5.6, RFC 5568 §6.4.4.
#[test]
fn home_binding() {
    let options = BindingUpdate::builder()
        .push(&MobilityOption::BindingIdentifier(bid_at(4, HOME).with_home(true)))
        .push(&MobilityOption::LinkLayerAddress { code: 2, address: &[2, 0, 0, 0xab, 0xcd, 0xef] })
        .finish();
    plain("V08", &update(0x1004, AHK, 225, options), HOME, HOME_AGENT);
    let answer = ba(&[bid(4).with_home(true)]);
    let status = Status::MCOA_RETURNHOME_WO_NDP.0;
    plain("V09", &acknowledgement(status, K, 0x1004, 225, answer), HOME_AGENT, HOME);
}

/// RFC 3963 §4.3.
#[test]
fn mobile_router() {
    let options = BindingUpdate::builder()
        .push(&MobilityOption::MobileNetworkPrefix {
            length: 56,
            prefix: "2001:db8:100::".parse().unwrap(),
        })
        .push(&MobilityOption::BindingIdentifier(bid_at(1, CARE_OF_1)))
        .finish();
    let flags = AHK.with(BuFlags::MOBILE_ROUTER).with(BuFlags::OVERWRITE);
    up("V12", &update(0x2001, flags, 150, options));
    let flags = K.with(BaFlags::MOBILE_ROUTER);
    down("V13", &acknowledgement(0, flags, 0x2001, 150, ba(&[bid(1)])));
}

/// RFC 4283 §3, RFC 4285 §5, §6.
#[test]
fn authenticator_of_rfc_4285() {
    let complete = |mut builder: OptionsBuilder, first: BidOption| {
        builder
            .push(&MobilityOption::BindingIdentifier(first))
            .push(&MobilityOption::MobileNodeIdentifier {
                subtype: 1,
                identifier: b"mn1@example.com",
            })
            .push(&MobilityOption::MessageId { timestamp: 0xecf4_9240_8000_0000 })
            .push_authentication(1, 0x100, 12)
            .finish()
    };
    let options = complete(BindingUpdate::builder(), bid_at(1, CARE_OF_1));
    let request = update(0x3001, AH.with(BuFlags::OVERWRITE), 150, options);
    up("V14", &authenticated("V14", request));
    let options = complete(BindingAcknowledgement::builder(), bid(1));
    down("V15", &authenticated("V15", acknowledgement(0, NONE, 0x3001, 150, options)));
}

/// Checks what the authenticator of a vector is computed over, and fills it in.
fn authenticated(id: &str, message: Message<'_>) -> Message<'static> {
    let golden = vector(id);
    let mh = message.emit_unchecked();
    let covered = &mh[..mh.len() - 12];
    let input = [&CARE_OF_1.octets(), &HOME.octets(), covered].concat();
    assert_eq!(hex(&input), hex(&golden.octets("mac_input")), "{id}: input of the authenticator");
    message.with_authenticator(&golden.octets("hmac_sha1")[..12])
}

/// RFC 5555 §3.1.1, §3.2.1, §3.2.2, RFC 5648 §8.2.
#[test]
fn ipv4_and_udp_envelope() {
    let translated = (TRANSLATOR_V4, 40001);
    let agent = (HOME_AGENT_V4, MOBILITY_UDP_PORT);
    let options = BindingUpdate::builder()
        .push(&MobilityOption::Ipv4HomeAddress {
            prefix_len: 32,
            prefix_wanted: false,
            address: "0.0.0.0".parse().unwrap(),
        })
        .push(&MobilityOption::BindingIdentifier(BidOption::v4(
            Bid(7),
            "192.0.2.44".parse().unwrap(),
        )))
        .finish();
    let message = update(0x4001, AH.with(BuFlags::OVERWRITE), 150, options);
    let mh = message.emit(HOME, HOME_AGENT);
    let inner = mobility_packet(HOME, HOME_AGENT, None, None, &mh);
    same("V16", &mh, &udp_v4_packet(translated, agent, &inner));

    let options = BindingAcknowledgement::builder()
        .push(&MobilityOption::Ipv4AddressAck {
            status: Ipv4AddressStatus::ACCEPTED.0,
            prefix_len: 32,
            address: "198.51.100.77".parse().unwrap(),
        })
        .push(&MobilityOption::BindingIdentifier(bid(7)))
        .push(&MobilityOption::NatDetection { force_udp: false, refresh_secs: 110 })
        .finish();
    let mh = acknowledgement(0, NONE, 0x4001, 150, options).emit(HOME_AGENT, HOME);
    let inner = mobility_packet(HOME_AGENT, HOME, None, None, &mh);
    same("V17", &mh, &udp_v4_packet(agent, translated, &inner));
}

/// RFC 6089 §4.1 to §4.3, RFC 6088 §3.2.
#[test]
fn flows() {
    let selector = BinarySelector::Ipv6(Selector {
        destination_port: Some(5060..=5060),
        protocol: Some(17..=17),
        ..Selector::ANY
    });
    let octets = selector.octets();
    let selector = TrafficSelector { format: selector.format(), octets: &octets };
    let first = bid_at(1, CARE_OF_1).with_priority(BidPriority::new(10));
    let second = bid_at(2, CARE_OF_2).with_priority(BidPriority::new(20));
    let options = BindingUpdate::builder()
        .push(&MobilityOption::BindingIdentifier(first))
        .push(&MobilityOption::BindingIdentifier(second))
        .push_flow(4, 10, FlowStatus::ACCEPTED, &[Bid(2)], Some(selector))
        .push_flow_summary(&[5, 6])
        .finish();
    up("V18", &update(0x5001, AH.with(BuFlags::OVERWRITE), 150, options));

    let options = BindingAcknowledgement::builder()
        .push(&MobilityOption::BindingIdentifier(first.acknowledged(Status::ACCEPTED)))
        .push(&MobilityOption::BindingIdentifier(second.acknowledged(Status::ACCEPTED)))
        .push_flow(4, 10, FlowStatus::ACCEPTED, &[Bid(2)], Some(selector))
        .push_flow(5, 0, FlowStatus::FID_NOT_FOUND, &[], None)
        .push_flow(6, 0, FlowStatus::FID_NOT_FOUND, &[], None)
        .finish();
    down("V19", &acknowledgement(0, NONE, 0x5001, 150, options));
}

/// RFC 5846 §5.1, §5.2.
#[test]
fn revocation() {
    let options = bids(BindingRevocation::builder(), &[bid(2), bid(3)]);
    let indication = BindingRevocation::Indication(BindingRevocationIndication {
        trigger: RevocationTrigger::ADMINISTRATIVE,
        sequence: 0x0042,
        flags: RevocationFlags::default(),
        options,
    });
    down("V20", &Message::BindingRevocation(indication));
    let answer = BindingRevocation::Acknowledgement(BindingRevocationAcknowledgement {
        status: RevocationStatus::SUCCESS,
        sequence: 0x0042,
        flags: RevocationFlags::default(),
        options: Options::EMPTY,
    });
    up("V21", &Message::BindingRevocation(answer));
}

/// RFC 6275 §6.1.9, RFC 5142 §3, RFC 5847 §3.3.
#[test]
fn error_switch_and_heartbeat() {
    let error = Message::BindingError(BindingError {
        status: BindingErrorStatus::UNKNOWN_BINDING,
        home_address: HOME,
        options: Options::EMPTY,
    });
    plain("V22", &error, HOME_AGENT, CARE_OF_3);

    let advice = MobilityOption::BindingRefreshAdvice { interval: Lifetime::from_secs(60) };
    let switch = Message::HomeAgentSwitch(HomeAgentSwitch {
        addresses: vec![SECOND_AGENT],
        options: HomeAgentSwitch::builder(1).push(&advice).finish(),
    });
    tunnelled("V23", &switch, (HOME_AGENT, HOME), false);

    let heartbeat = Message::Heartbeat(Heartbeat {
        flags: HeartbeatFlags::RESPONSE,
        sequence: 0x1122_3344,
        options: Heartbeat::builder().push(&MobilityOption::RestartCounter(7)).finish(),
    });
    plain("V24", &heartbeat, SECOND_AGENT, HOME_AGENT);
}

/// RFC 6275 §6.1.3 to §6.1.6.
#[test]
fn return_routability() {
    let (home_cookie, care_of_cookie) = ([0x11; 8], [0x22; 8]);
    let init = Message::HomeTestInit(HomeTestInit { cookie: home_cookie, options: Options::EMPTY });
    tunnelled("V25", &init, (HOME, CORRESPONDENT), true);

    let options = bids(CareOfTestInit::builder(), &[bid(2)]);
    let init = Message::CareOfTestInit(CareOfTestInit { cookie: care_of_cookie, options });
    plain("V26", &init, CARE_OF_2, CORRESPONDENT);

    let token = vector("V27").octets("home_keygen_token").try_into().unwrap();
    let (nonce_index, options) = (0x0101, Options::EMPTY);
    let test = Message::HomeTest(HomeTest { nonce_index, cookie: home_cookie, token, options });
    tunnelled("V27", &test, (CORRESPONDENT, HOME), false);

    let token = vector("V28").octets("careof_keygen_token").try_into().unwrap();
    let options = bids(CareOfTest::builder(), &[bid(2)]);
    let test = Message::CareOfTest(CareOfTest {
        nonce_index: 0x0202,
        cookie: care_of_cookie,
        token,
        options,
    });
    plain("V28", &test, CORRESPONDENT, CARE_OF_2);
}

/// RFC 6275 §6.2.6, §6.2.7.
#[test]
fn binding_at_a_correspondent_node() {
    let options = BindingUpdate::builder()
        .push(&MobilityOption::NonceIndices { home: 0x0101, care_of: 0x0202 })
        .push(&MobilityOption::BindingIdentifier(bid_at(2, CARE_OF_2)))
        .push_binding_authorization()
        .finish();
    let message = bound("V29", update(0x6001, A, 105, options));
    up_from("V29", &message, CARE_OF_2, CORRESPONDENT);

    let options = BindingAcknowledgement::builder()
        .push(&MobilityOption::BindingIdentifier(bid(2)))
        .push_binding_authorization()
        .finish();
    let message = bound("V30", acknowledgement(0, NONE, 0x6001, 105, options));
    let mh = message.emit(CORRESPONDENT, HOME);
    same("V30", &mh, &mobility_packet(CORRESPONDENT, CARE_OF_2, None, Some(HOME), &mh));
}

/// Like [`authenticated`], for Binding Authorization Data: its input has care-of address and peer.
fn bound(id: &str, message: Message<'_>) -> Message<'static> {
    let golden = vector(id);
    let mh = message.emit_unchecked();
    let covered = &mh[..mh.len() - 12];
    let input = [&CARE_OF_2.octets(), &CORRESPONDENT.octets(), covered].concat();
    assert_eq!(hex(&input), hex(&golden.octets("mac_input")), "{id}: input of the authenticator");
    message.with_authenticator(&golden.mh[golden.mh.len() - 12..])
}

#[test]
fn updates_of_a_third_party_mobile_node() {
    let home: Ipv6Addr = "2001:db8:a::100".parse().unwrap();
    let agent: Ipv6Addr = "2001:db8:a::1".parse().unwrap();
    for (name, frame, sequence, lifetime, care_of) in [
        ("mobile-node-f1", 0, 0x67fd, 15, "2001:db8:f1::ff:fe00:e"),
        ("mobile-node-f2", 0, 0x67fe, 15, "2001:db8:f2::ff:fe00:e"),
        ("mobile-node-f2", 1, 0x67ff, 15, "2001:db8:f2::ff:fe00:e"),
        ("mobile-node-home", 0, 0x6800, 0, "2001:db8:a::100"),
    ] {
        let care_of = care_of.parse().unwrap();
        let options =
            BindingUpdate::builder().push(&MobilityOption::AlternateCareOf(care_of)).finish();
        let mh = update(sequence, AH, lifetime, options).emit(home, agent);
        let packet = &pcap(&format!("captures/{name}.pcap"))[frame];
        assert_eq!(hex(&mh), hex(&packet[packet.len() - mh.len()..]), "{name}");
    }
}
