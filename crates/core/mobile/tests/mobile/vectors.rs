//! The node's Binding Updates are those of the golden packets, octet by octet.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use homeport_mobile::{Arrival, Millis, Outcome};
use homeport_mobile::{
    CareOf, CareOfAddress, Command, Event, Flow, Input, MobileNode, MobileRouter, NetworkPrefix,
    Now, NtpTime, Output, RequestId, Settings, Transmit,
};
use homeport_wire::{
    Bid, BidPriority, BinarySelector, FlowStatus, Ipv4AddressStatus, Lifetime, Selector, Sequence,
    Status,
};

use crate::support::*;

/// A packet of `vectors.json`, by its name. The file is a list of flat objects, and packets come
/// before everything else in them: no JSON library is needed.
fn vector(id: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../../tests/golden/vectors/vectors.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let (_, rest) = text.split_once(&format!("\"id\": \"{id}\"")).unwrap();
    let (_, rest) = rest.split_once("\"packet\": \"").unwrap();
    let (hex, _) = rest.split_once('"').unwrap();
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn node(settings: Settings, next: u16) -> MobileNode {
    MobileNode::new(settings, Sequence(next - 1)).unwrap()
}

fn with(lifetime: u16, key_management_mobility: bool) -> Settings {
    let lifetime = Lifetime(lifetime);
    Settings { lifetime, key_management_mobility, ..settings() }
}

fn now(ms: u64) -> Now {
    Now { monotonic: Millis(ms), ntp: NtpTime(0xecf4_9240_8000_0000) }
}

fn command(node: &mut MobileNode, command: Command) -> Vec<Output> {
    node.handle(now(0), Input::Command(RequestId(1), command))
}

fn only_packet(outputs: &[Output]) -> Vec<u8> {
    let mut packets = outputs.iter().filter_map(|output| match output {
        Output::Send(Transmit::Ipv6 { packet, .. }) => Some(packet.clone()),
        Output::Send(Transmit::Udp { payload, .. }) => Some(payload.clone()),
        _ => None,
    });
    let packet = packets.next().unwrap();
    assert_eq!(packets.next(), None);
    packet
}

fn arrive(node: &mut MobileNode, id: &str) -> Vec<Output> {
    let packet = vector(id);
    node.handle(now(5), Input::Packet(Arrival::Ipv6(&packet)))
}

fn outcomes(outputs: &[Output]) -> Vec<(Option<Bid>, Outcome)> {
    let completed = outputs.iter().find_map(|output| match output {
        Output::Event(Event::Completed { results, .. }) => Some(results.clone()),
        _ => None,
    });
    completed.unwrap()
}

fn three() -> Command {
    let addresses = vec![address(1, COA1), address(2, COA2), address(3, COA3)];
    Command::Register { addresses, bulk: true }
}

#[test]
fn v01_to_v06_bulk_refresh_move_and_removal() {
    let mut node = node(with(225, true), 0x1001);
    assert_eq!(only_packet(&command(&mut node, three())), vector("V01"));
    let outputs = arrive(&mut node, "V02");
    assert!(outcomes(&outputs).iter().all(|(_, outcome)| outcome.is_success()));
    assert_eq!(outcomes(&outputs).len(), 3);

    // V03 refreshes BID 1 without its address and moves BID 2, and so does the node. BID 9, which
    // V03 refreshes though nobody knows it, is one that a node does not have.
    let moved = CareOf::V6("2001:db8:b::2b".parse().unwrap());
    let addresses = vec![address(1, COA1), address(2, moved)];
    let packet = only_packet(&command(&mut node, Command::Register { addresses, bulk: true }));
    let expected = vector("V03");
    let (options, nine) = (64 + 12, 64 + 40);
    assert_eq!(packet[options..nine], expected[options..nine]);

    // V04 acknowledges 1 and 2; its word about 9 is none about the node's bindings.
    let outputs = arrive(&mut node, "V04");
    assert!(outputs.contains(&Output::Event(Event::Moved { bid: Bid(2), from: COA2, to: moved })));

    let command_3 = Command::Deregister { bids: vec![Bid(3)], bulk: false };
    let packet = only_packet(&command(&mut node, command_3));
    // V05 leaves from CoA1; the node ends a binding from where it is.
    assert_eq!(packet[64..], vector("V05")[64..]);
}

#[test]
fn v08_and_v09_home_binding() {
    let settings =
        Settings { link_layer_address: Some(vec![2, 0, 0, 0xab, 0xcd, 0xef]), ..with(225, true) };
    let mut node = node(settings, 0x1003);
    let foreign = Command::Register { addresses: vec![address(1, COA1)], bulk: false };
    command(&mut node, foreign);
    let accepted = Answer::to(
        &see(&Transmit::Ipv6 { from: "2001:db8:a::11".parse().unwrap(), packet: vector("V10") }),
        Status::ACCEPTED,
        &[(1, Status::ACCEPTED)],
    );
    let accepted = Answer { sequence: Sequence(0x1003), ..accepted };
    let packet = accepted.packet(COA1.path(), None);
    node.handle(now(1), Input::Packet(Arrival::Ipv6(&packet)));

    let home = Command::Register { addresses: vec![address(4, CareOf::Home)], bulk: false };
    assert_eq!(only_packet(&command(&mut node, home)), vector("V08"));
    let outputs = arrive(&mut node, "V09");
    let registered = Event::Registered {
        bid: Bid(4),
        care_of: CareOf::Home,
        lifetime: Lifetime(225),
        status: Status::MCOA_RETURNHOME_WO_NDP,
        renewed: false,
    };
    assert!(outputs.contains(&Output::Event(registered)), "{outputs:?}");
}

#[test]
fn v10_and_v11_stale_sequence_number() {
    let mut node = node(with(225, true), 0x0ffe);
    command(&mut node, Command::Register { addresses: vec![address(1, COA1)], bulk: false });
    let ours = Answer { sequence: Sequence(0x0ffe), ..v10_answer() };
    let packet = ours.packet(COA1.path(), None);
    node.handle(now(1), Input::Packet(Arrival::Ipv6(&packet)));

    let refresh = Command::Refresh { bids: vec![], bulk: false };
    assert_eq!(only_packet(&command(&mut node, refresh)), vector("V10"));
    let again = see(&Transmit::Ipv6 {
        from: "2001:db8:a::11".parse().unwrap(),
        packet: only_packet(&arrive(&mut node, "V11")),
    });
    assert_eq!(again.sequence, Sequence(0x1005));
}

fn v10_answer() -> Answer {
    let seen =
        see(&Transmit::Ipv6 { from: "2001:db8:a::11".parse().unwrap(), packet: vector("V10") });
    Answer::to(&seen, Status::ACCEPTED, &[(1, Status::ACCEPTED)])
}

#[test]
fn v12_and_v13_mobile_router() {
    let prefix = NetworkPrefix { prefix: "2001:db8:100::".parse().unwrap(), length: 56 };
    let mobile_router =
        Some(MobileRouter { prefixes: vec![prefix], explicit: true, ..MobileRouter::default() });
    let mut node = node(Settings { mobile_router, ..with(150, true) }, 0x2001);
    let register = Command::Register { addresses: vec![address(1, COA1)], bulk: false };
    assert_eq!(only_packet(&command(&mut node, register)), vector("V12"));
    assert!(outcomes(&arrive(&mut node, "V13"))[0].1.is_success());
}

#[test]
fn v14_and_v15_authenticated() {
    let mut key = association();
    key.message_id = true;
    let settings = Settings { authentication: Some(key), ..with(150, false) };
    let mut node = node(settings, 0x3001);
    let register = Command::Register { addresses: vec![address(1, COA1)], bulk: false };
    assert_eq!(only_packet(&command(&mut node, register)), vector("V14"));
    assert!(outcomes(&arrive(&mut node, "V15"))[0].1.is_success());
}

#[test]
fn v16_and_v17_in_udp_behind_a_translator() {
    let ipv4_home_address = Some(Ipv4Addr::UNSPECIFIED);
    let mut node = node(Settings { ipv4_home_address, ..with(150, false) }, 0x4001);
    let register = Command::Register { addresses: vec![address(7, COA_V4)], bulk: false };
    // Twenty octets of IPv4 and eight of UDP stand before the payload.
    assert_eq!(only_packet(&command(&mut node, register)), vector("V16")[28..]);
    let payload = &vector("V17")[28..];
    let care_of = Ipv4Addr::new(192, 0, 2, 44);
    let arrival = Arrival::Udp { care_of, peer: HOME_AGENT_V4, payload };
    let outputs = node.handle(now(5), Input::Packet(arrival));
    assert!(outcomes(&outputs)[0].1.is_success());
    let given = Ipv4Addr::new(198, 51, 100, 77);
    for event in [
        Event::Ipv4HomeAddress { status: Ipv4AddressStatus::ACCEPTED, address: given },
        Event::TranslatorFound { bid: Bid(7), refresh_secs: 110 },
    ] {
        assert!(outputs.contains(&Output::Event(event)), "{outputs:?}");
    }
    assert_eq!(node.ipv4_home_address(), Some(given));
}

#[test]
fn v07_a_request_for_two_bindings_refreshes_them() {
    let mut node = node(with(225, true), 0x1001);
    command(&mut node, three());
    arrive(&mut node, "V02");
    let seen = see(&Transmit::Ipv6 {
        from: "2001:db8:a::11".parse().unwrap(),
        packet: only_packet(&arrive(&mut node, "V07")),
    });
    assert_eq!(seen.names(), [1, 2]);
}

#[test]
fn v18_and_v19_flow_bindings() {
    let flow = |fid, bid| Flow {
        fid,
        priority: if fid == 4 { 10 } else { fid * 10 },
        selector: BinarySelector::Ipv6(Selector {
            destination_port: Some(5060..=5060),
            protocol: Some(17..=17),
            ..Selector::ANY
        }),
        bids: vec![Bid(bid)],
    };
    let priority = |bid, care_of, value| CareOfAddress {
        priority: BidPriority::new(value),
        ..address(bid, care_of)
    };
    let mut node = node(with(150, false), 0x4f00);
    let path = Transmit::Ipv6 { from: "2001:db8:a::11".parse().unwrap(), packet: vec![] };
    let see = |packet| match &path {
        Transmit::Ipv6 { from, .. } => see(&Transmit::Ipv6 { from: *from, packet }),
        other => panic!("{other:?}"),
    };
    // The node has the flows 5 and 6 already.
    command(&mut node, Command::SetFlows { flows: vec![flow(5, 1), flow(6, 1)] });
    let register = Command::Register { addresses: vec![address(1, COA1)], bulk: false };
    let seen = see(only_packet(&command(&mut node, register)));
    let answer = Answer::to(&seen, Status::ACCEPTED, &[(1, Status::ACCEPTED)]);
    let flows = vec![(5, FlowStatus::ACCEPTED), (6, FlowStatus::ACCEPTED)];
    let packet = Answer { flows, ..answer }.packet(COA1.path(), None);
    node.handle(now(1), Input::Packet(Arrival::Ipv6(&packet)));
    assert_eq!(node.flows(), [5, 6]);
    // Another, and the second address; the home agent has heard of a later life meanwhile.
    command(&mut node, Command::SetFlows { flows: vec![flow(4, 2), flow(5, 1), flow(6, 1)] });
    let addresses = vec![priority(1, COA1, 10), priority(2, COA2, 20)];
    let seen = see(only_packet(&command(&mut node, Command::Register { addresses, bulk: true })));
    let bids = [(1, Status::ACCEPTED), (2, Status::ACCEPTED)];
    let refused = Answer::to(&seen, Status::SEQUENCE_OUT_OF_WINDOW, &bids);
    let packet = Answer { sequence: Sequence(0x5000), ..refused }.packet(COA1.path(), None);
    let outputs = node.handle(now(2), Input::Packet(Arrival::Ipv6(&packet)));
    assert_eq!(only_packet(&outputs), vector("V18"));

    // The home agent has forgotten 5 and 6: they are told again.
    let again = see(only_packet(&arrive(&mut node, "V19")));
    assert_eq!(node.flows(), [4]);
    assert_eq!((again.flows, again.flow_summary), (vec![5, 6], vec![4]));
}

#[test]
fn v20_and_v21_revocation_of_two_bindings() {
    let mut node = node(with(225, true), 0x1001);
    command(&mut node, three());
    arrive(&mut node, "V02");
    let outputs = arrive(&mut node, "V20");
    let answer = only_packet(&outputs);
    assert_eq!(answer[64..], vector("V21")[64..]);
    let registered = node.bindings().into_iter().filter(|view| view.registered.is_some());
    assert_eq!(registered.map(|view| view.bid.0).collect::<Vec<_>>(), [1]);
}

#[test]
fn v22_and_v23_are_told() {
    let mut node = node(with(225, true), 0x1001);
    command(&mut node, three());
    arrive(&mut node, "V02");
    let told = |outputs: Vec<Output>| {
        outputs.into_iter().find_map(|output| match output {
            Output::Event(event) => Some(event),
            _ => None,
        })
    };
    let error = told(arrive(&mut node, "V22"));
    assert!(matches!(error, Some(Event::BindingError { .. })), "{error:?}");
    let switch = told(arrive(&mut node, "V23"));
    let second = "2001:db8:0:1::2".parse().unwrap();
    assert_eq!(switch, Some(Event::HomeAgentSwitch { addresses: vec![second] }));
}

#[test]
fn v33_and_v34_home_agent_address_discovery() {
    let base = with(150, false);
    let mobile_router = Some(MobileRouter::default());
    let mut node = node(Settings { mobile_router, ..base }, 0x7788);
    let adopt = Command::Register { addresses: vec![address(1, COA1)], bulk: false };
    command(&mut node, adopt);
    assert_eq!(only_packet(&command(&mut node, Command::DiscoverHomeAgents)), vector("V33"));
    let second = "2001:db8:0:1::2".parse().unwrap();
    let found = Event::HomeAgents { addresses: vec![HOME_AGENT, second], serve_routers: true };
    assert!(arrive(&mut node, "V34").contains(&Output::Event(found)));
}

#[test]
fn v35_and_v36_mobile_prefix_discovery() {
    let mut node = node(with(150, false), 0x0a0b);
    let register = Command::Register { addresses: vec![address(1, COA1)], bulk: false };
    let seen = see(&Transmit::Ipv6 {
        from: "2001:db8:a::11".parse().unwrap(),
        packet: only_packet(&command(&mut node, register)),
    });
    let packet =
        Answer::to(&seen, Status::ACCEPTED, &[(1, Status::ACCEPTED)]).packet(COA1.path(), None);
    node.handle(now(1), Input::Packet(Arrival::Ipv6(&packet)));
    assert_eq!(only_packet(&command(&mut node, Command::SolicitPrefixes)), vector("V35"));
    let outputs = arrive(&mut node, "V36");
    let told = |output: &Output| {
        matches!(output, Output::Event(Event::HomePrefixes { solicited: true, prefixes })
            if prefixes.len() == 1 && prefixes[0].valid_secs == 86_400)
    };
    assert!(outputs.iter().any(told), "{outputs:?}");
}
