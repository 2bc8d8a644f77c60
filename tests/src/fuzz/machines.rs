//! Packets through the machines of the core: they survive, and what they send is well formed.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use homeport_binding::{
    Association, Authentication, HomePrefix, Ipv6Prefix, Key, Origin, Outcome, Policy, Protects,
    Revised, SecurityAssociation, Silence, Subscriber, Verdict,
};
use homeport_correspondent as correspondent;
use homeport_esp::{Keys, Suite, Window};
use homeport_forwarding as forwarding;
use homeport_mobile as mobile;
use homeport_signalling::{
    Arrival, Concluded, Discovered, ErrorBudget, Judged, Received, Role, SharedKey, UdpOuter,
    receive_as,
};
use homeport_wire::{
    Bid, BidOption, BidPriority, BindingUpdate, BuFlags, CareOfTestInit, HomeTestInit, Lifetime,
    Message, MobilityOption, Options, PseudoHeader, Sequence, checksum, mobility_packet, protocol,
    walk,
};

use super::input::{Input, check_composed, check_passed_on, has_its_length};

const HOME: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x100);
const AGENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1);
const COA1: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 0x11);
const COA2: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 0, 0x22);
const PEER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 0x99);
const ADDRESSES: [Ipv6Addr; 10] = [
    HOME,
    AGENT,
    COA1,
    COA2,
    PEER,
    Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x200),
    Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0xfdff, 0xffff, 0xffff, 0xfffe),
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
    Ipv6Addr::UNSPECIFIED,
];
const AGENT_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const PEER_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

fn association() -> Association {
    let keys = Keys { encryption: Vec::new(), authentication: vec![9; 32] };
    let record = SecurityAssociation {
        home_address: HOME,
        protects: Protects::Signalling,
        suite: Suite::NullHmacSha256,
        extended_sequence_numbers: true,
        replay_window: 64,
        inbound_spi: 0x100,
        inbound: keys.clone(),
        outbound_spi: 0x101,
        outbound: keys,
        origin: Origin::Static,
    };
    let window = Window::new(record.replay_window);
    Association { revised: Revised { record, revision: 1 }, window, sent: 0 }
}

fn policy(authentication: Authentication) -> Policy {
    let prefix = Ipv6Prefix::new(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0), 64);
    let prefix = HomePrefix::new(prefix.expect("a prefix"), AGENT, authentication);
    let subscriber = Subscriber { mn_ha: Some((0x100, Key([7; 16]))), ..Subscriber::new(HOME) };
    Policy {
        home_prefix: Some(Revised { record: prefix, revision: 1 }),
        home_address_served: true,
        subscriber: Some(Revised { record: subscriber, revision: 1 }),
        advertised_revision: Some(1),
        associations: vec![association()],
    }
}

/// From packet to proposal, and to the answers that need no store.
pub(super) fn signalling(octets: &[u8]) {
    let mut input = Input::new(octets);
    let outer = (input.u8() & 1 != 0)
        .then_some(UdpOuter { peer: (PEER_V4, 40001), local: (AGENT_V4, 4191) });
    let choices = input.u8();
    let authentication = if choices & 1 != 0 { Authentication::MnHa } else { Authentication::None };
    let packet = input.packet(&ADDRESSES);
    let key = SharedKey::new([7; 32]);
    let role = (choices & 2 != 0).then_some(Role { key: &key, now_ms: 1_700_000_000_000 });
    let received = match receive_as(Arrival { packet: &packet, outer }, role) {
        Received::Protected(sealed) => match sealed.open(&policy(authentication)) {
            Ok(received) => received,
            Err(reason) => Received::Drop(reason),
        },
        received => received,
    };
    match received {
        Received::Protected(_) => panic!("ESP in ESP is authentic by chance"),
        Received::Drop(reason) => assert!(!reason.name().is_empty()),
        // The store knows the nonces.
        Received::CareOfAnswer(_) => {}
        Received::Reply(reply) | Received::Test(reply) => check_composed(&reply.packet),
        Received::Correspondence(proposal) => {
            panic!("proven by chance: {:?}", proposal.correspondence([1; 16]))
        }
        Received::Discovery(discovery) => match discovery.answer(&policy(authentication)) {
            Discovered::Reply(reply) => check_composed(&reply.packet),
            Discovered::Drop(reason) => assert!(!reason.name().is_empty()),
        },
        Received::Revocation(acknowledgement) => {
            let judged = acknowledgement.judge(&policy(authentication));
            assert!(
                judged.is_err() || authentication == Authentication::None,
                "nobody has the key"
            );
        }
        Received::Update(update) => match update.judge(&policy(authentication)) {
            Judged::Drop(reason) => assert!(!reason.name().is_empty()),
            Judged::Answer(reply) => check_composed(&reply.packet),
            Judged::Propose(proposal) => {
                assert_eq!(authentication, Authentication::None, "nobody has the key");
                let registration = proposal.registration([1; 16]);
                assert_eq!(registration.policy_revisions, (1, 1));
                let outcome = Outcome::Silent(Silence::CareOfNotRoutable);
                let concluded = proposal.conclude(&Verdict { revision: 2, outcome, esp: None });
                assert!(matches!(concluded, Concluded::Drop(_)));
            }
        },
    }
    let mut budget = ErrorBudget::new(1);
    assert!(budget.allow(0) && !budget.allow(0));
}

fn table() -> forwarding::Forwarding {
    let mut forwarding = forwarding::Forwarding::new(forwarding::Config::default());
    forwarding.table_mut().set_prefix(forwarding::HomePrefix {
        prefix: Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0),
        prefix_len: 64,
        home_agent: AGENT,
        home_agent_v4: Some(AGENT_V4),
        pool_v4: None,
        real_home_link: false,
    });
    let binding = |bid, care_of| forwarding::ForwardingBinding {
        bid: Some(Bid(bid)),
        care_of,
        priority: BidPriority::UNSET,
        verified: 10,
        ends: forwarding::Millis(1000),
        lifetime_ms: 1000,
        home: false,
        unverified: false,
    };
    let v4 = forwarding::CareOf::V4 { address: PEER_V4, port: 40001 };
    let homes = [
        (HOME, vec![binding(1, forwarding::CareOf::V6(COA1)), binding(2, v4)]),
        (ADDRESSES[5], vec![binding(1, forwarding::CareOf::V6(COA2))]),
    ];
    for (home, bindings) in homes {
        let entry = forwarding::HomeEntry {
            home_agent_v4: Some(AGENT_V4),
            ..forwarding::HomeEntry::new(AGENT, bindings)
        };
        forwarding.table_mut().set_home(home, Some(entry)).expect("room for two");
    }
    forwarding
}

/// Data, tunnels, datagrams and answers, before and after the bindings end.
pub(super) fn forwarding(octets: &[u8]) {
    let mut input = Input::new(octets);
    let mut forwarding = table();
    let mut now = forwarding::Millis(0);
    for _ in 0..8 {
        if input.is_empty() {
            return;
        }
        let how = input.u8();
        now = forwarding::Millis(now.0 + u64::from(how >> 2) * 10);
        let packet = input.packet(&ADDRESSES);
        let peer = SocketAddrV4::new(PEER_V4, 40001);
        let local = SocketAddrV4::new(AGENT_V4, 4191);
        let outer = forwarding::UdpOuter { peer, local };
        if how & 3 == 3 {
            // A front-end's answer: it is trusted, and not judged here.
            let _sent =
                forwarding.answer(now, &packet, (how & 4 != 0).then_some(outer), how & 8 != 0);
            continue;
        }
        let ingress = match how & 3 {
            2 => forwarding::Ingress::Udp { peer, local, payload: &packet },
            _ => forwarding::Ingress::Ip(&packet),
        };
        let actions = forwarding.handle(now, ingress);
        let has_ended = now.0 >= 1000;
        actions.iter().for_each(|action| check_action(action, has_ended));
    }
}

fn check_action(action: &forwarding::Action, has_ended: bool) {
    assert!(!action.name().is_empty());
    match action {
        forwarding::Action::SendIpv6(packet) => {
            check_passed_on(packet);
            let tunnel = walk(packet).ok().filter(|walk| {
                walk.header.source == AGENT
                    && matches!(walk.upper, protocol::IPV4 | protocol::IPV6)
                    && matches!(walk.header.destination, COA1 | COA2)
            });
            if let Some(tunnel) = tunnel {
                assert!(!has_ended, "a binding that has ended carries nothing");
                if tunnel.upper == protocol::IPV6 {
                    check_passed_on(tunnel.payload);
                }
            }
        }
        forwarding::Action::DeliverOnLink { packet, .. } => check_passed_on(packet),
        forwarding::Action::Punt(punt) => assert!(has_its_length(&punt.packet)),
        forwarding::Action::SendUdp { payload, .. } => {
            check_passed_on(payload);
            assert!(!has_ended, "a binding that has ended carries nothing");
        }
        forwarding::Action::SendIpv4(packet) => assert!(packet.len() >= 20),
        forwarding::Action::Drop(reason) => assert!(!reason.name().is_empty()),
    }
}

/// A mobile node with three bindings under way, and packets from anybody.
pub(super) fn mobile(octets: &[u8]) {
    let mut input = Input::new(octets);
    let mut settings = mobile::Settings::new(HOME, AGENT);
    settings.home_agent_v4 = Some(SocketAddrV4::new(AGENT_V4, 4191));
    let mut node = mobile::MobileNode::new(settings, Sequence(6)).expect("good settings");
    let addresses = [
        (1, mobile::CareOf::V6(COA1)),
        (2, mobile::CareOf::V6(COA2)),
        (3, mobile::CareOf::V4(PEER_V4)),
    ];
    let addresses = addresses.map(|(bid, care_of)| mobile::CareOfAddress::new(Bid(bid), care_of));
    let command = mobile::Command::Register { addresses: addresses.to_vec(), bulk: true };
    let mut at = 0;
    node.handle(now(at), mobile::Input::Command(mobile::RequestId(1), command));
    for _ in 0..8 {
        if input.is_empty() {
            break;
        }
        let how = input.u8();
        at += u64::from(how >> 1) * 50;
        let packet = input.packet(&ADDRESSES);
        let arrival = if how & 1 == 0 {
            mobile::Arrival::Ipv6(&packet)
        } else {
            let peer = SocketAddrV4::new(AGENT_V4, 4191);
            mobile::Arrival::Udp { care_of: PEER_V4, peer, payload: &packet }
        };
        for output in node.handle(now(at), mobile::Input::Packet(arrival)) {
            if let mobile::Output::Send(mobile::Transmit::Ipv6 { packet, .. }) = &output {
                check_composed(packet);
            }
            if let mobile::Output::Send(mobile::Transmit::Udp { payload, .. }) = &output {
                assert!(has_its_length(payload));
            }
        }
    }
    assert!(node.bindings().len() <= 3);
}

fn now(ms: u64) -> mobile::Now {
    mobile::Now { monotonic: mobile::Millis(ms), ntp: mobile::NtpTime(0) }
}

/// Packets from anybody, and among them Binding Updates with good tokens: only those bind.
pub(super) fn correspondent(octets: &[u8]) {
    let mut input = Input::new(octets);
    let mut node = correspondent::Correspondent::new(correspondent::Settings::new(PEER))
        .expect("good settings");
    let mut at = correspondent::Millis(0);
    let mut secrets = 0_u8;
    for _ in 0..12 {
        if input.is_empty() {
            break;
        }
        secrets += 1;
        let secret = correspondent::Secret::from_random([secrets; 30]);
        node.handle(at, correspondent::Input::Secret(secret));
        let how = input.u8();
        at = at.plus(u64::from(how >> 1) * 200);
        node.handle(at, correspondent::Input::Timeout);
        if how & 1 == 0 {
            let before: Vec<_> = node.homes().map(|(_, home)| home.bindings.clone()).collect();
            let packet = input.packet(&ADDRESSES);
            let arrival = correspondent::Arrival::new(&packet);
            sent(&node.handle(at, correspondent::Input::Packet(arrival)));
            let after: Vec<_> = node.homes().map(|(_, home)| home.bindings.clone()).collect();
            assert_eq!(before, after, "an update without tokens changes nothing");
            if let Some(routed) = node.route(at, &packet) {
                assert!(has_its_length(&routed));
                let upper = walk(&routed).map(|walk| walk.upper);
                assert_ne!(upper, Ok(protocol::MOBILITY), "signalling goes its own way");
            }
        } else {
            register(&mut node, at, &mut input);
        }
        for (_, home) in node.homes() {
            assert!(home.bindings.len() <= 8);
            assert!(home.bindings.len() <= 1 || !home.bindings.contains_key(&None));
            assert!(home.bindings.values().all(|binding| binding.ends > at));
        }
    }
    let longest = at.plus(700_000);
    node.handle(longest, correspondent::Input::Timeout);
    assert_eq!((node.homes().count(), node.next_deadline()), (0, None));
}

/// The last packet that was sent, every one of them checked.
fn sent(outputs: &[correspondent::Output]) -> Option<Vec<u8>> {
    let mut last = None;
    for output in outputs {
        if let correspondent::Output::Send(packet) = output {
            check_composed(packet);
            last = Some(packet.clone());
        }
    }
    last
}

/// Both tests and a Binding Update with what they gave, as a mobile node does it.
fn register(
    node: &mut correspondent::Correspondent,
    at: correspondent::Millis,
    input: &mut Input<'_>,
) {
    let home = input.choose(&[HOME, ADDRESSES[5]]);
    let care_of = input.choose(&[COA1, COA2, AGENT]);
    let (options, cookie) = (Options::EMPTY, [1; 8]);
    let init = Message::HomeTestInit(HomeTestInit { cookie, options: options.clone() });
    let Some((home_index, home_token)) = test(node, at, home, &init) else { return };
    let init = Message::CareOfTestInit(CareOfTestInit { cookie, options });
    let Some((care_of_index, care_of_token)) = test(node, at, care_of, &init) else { return };
    let lifetime = Lifetime(u16::from(input.u8()));
    let flags = BuFlags(input.u16() & !BuFlags::HOME_REGISTRATION.0);
    let (sequence, bid) = (Sequence(input.u16()), input.u8());
    let mut options = BindingUpdate::builder();
    options.push(&MobilityOption::NonceIndices { home: home_index, care_of: care_of_index });
    for bid in 0..bid & 3 {
        options.push(&MobilityOption::BindingIdentifier(BidOption::v6(Bid(bid.into()), care_of)));
    }
    options.push_binding_authorization();
    let options = options.finish();
    let message = Message::BindingUpdate(BindingUpdate { sequence, flags, lifetime, options });
    let octets = message.emit_unchecked();
    let (key, covered) = if lifetime.is_deregistration() {
        (correspondent::keys::BindingKey::to_delete(home_token), home)
    } else {
        (correspondent::keys::BindingKey::to_register(home_token, care_of_token), care_of)
    };
    let message = message.with_authenticator(&key.authenticator(covered, PEER, &octets));
    let mut header = message.emit(home, PEER);
    let (place, turned) = (input.u8(), input.u8());
    let is_forged = turned != 0 && forge(&mut header, place, turned, home);
    let packet = mobility_packet(care_of, PEER, Some(home), None, &header);
    let before: Vec<_> = node.homes().map(|(_, home)| home.bindings.clone()).collect();
    let arrival = correspondent::Arrival::new(&packet);
    let outputs = node.handle(at, correspondent::Input::Packet(arrival));
    if is_forged {
        let after: Vec<_> = node.homes().map(|(_, home)| home.bindings.clone()).collect();
        assert_eq!(before, after, "a forged update changes nothing");
    } else {
        let is_drop = |output: &_| matches!(output, correspondent::Output::Dropped(_));
        assert!(!outputs.iter().any(is_drop), "a good update is not dropped: {outputs:?}");
    }
    sent(&outputs);
}

/// Turns bits of one octet and mends the checksum, as an attacker does who has seen the update.
/// False when it was an octet of the checksum, which is mended then.
fn forge(header: &mut [u8], place: u8, turned: u8, home: Ipv6Addr) -> bool {
    let place = usize::from(place) % header.len();
    header[place] ^= turned;
    header[4..6].fill(0);
    let sum = checksum(PseudoHeader::mobility(home, PEER), header);
    header[4..6].copy_from_slice(&sum.to_be_bytes());
    !(4..6).contains(&place)
}

fn test(
    node: &mut correspondent::Correspondent,
    at: correspondent::Millis,
    source: Ipv6Addr,
    init: &Message<'_>,
) -> Option<(u16, [u8; 8])> {
    let packet = mobility_packet(source, PEER, None, None, &init.emit(source, PEER));
    let arrival = correspondent::Arrival::new(&packet);
    let answer = sent(&node.handle(at, correspondent::Input::Packet(arrival)))?;
    let walked = walk(&answer).expect("a packet");
    match Message::parse(walked.payload, walked.pseudo_header()).expect("a message") {
        Message::HomeTest(test) => Some((test.nonce_index, test.token)),
        Message::CareOfTest(test) => Some((test.nonce_index, test.token)),
        other => panic!("{other:?}"),
    }
}
