//! Laws over tables with everything in them: networks, IPv4, flows, every kind of care-of address.

use super::*;
use crate::{Flow, FlowAction, MobileNetwork, MobileNetworkV4, Table};
use homeport_wire::{BinarySelector, Ipv4Header, Selector, encapsulate_v4, udp_v4_packet};
use proptest::collection::vec as vec_of;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

const HOMES: [Ipv6Addr; 3] = [HOME, HOME_V4, UNBOUND];
const FAR: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xdd, 0, 0, 0, 0, 1);
const FAR_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 200);
/// Nested in one another, and apart.
const NETWORKS: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 0), 40),
    (Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 0), 48),
    (Ipv6Addr::new(0x2001, 0xdb8, 0x100, 7, 0, 0, 0, 0), 64),
    (Ipv6Addr::new(0x2001, 0xdb8, 0x200, 0, 0, 0, 0, 0), 48),
];
const NODES: [Ipv6Addr; 4] = [
    Ipv6Addr::new(0x2001, 0xdb8, 0x100, 7, 0, 0, 0, 9),
    Ipv6Addr::new(0x2001, 0xdb8, 0x100, 8, 0, 0, 0, 9),
    Ipv6Addr::new(0x2001, 0xdb8, 0x101, 8, 0, 0, 0, 9),
    Ipv6Addr::new(0x2001, 0xdb8, 0x200, 8, 0, 0, 0, 9),
];
const NETWORKS_V4: [(Ipv4Addr, u8); 3] = [
    (Ipv4Addr::new(10, 7, 0, 0), 16),
    (Ipv4Addr::new(10, 7, 1, 0), 24),
    (Ipv4Addr::new(198, 51, 100, 77), 32),
];
const NODES_V4: [Ipv4Addr; 4] = [
    Ipv4Addr::new(10, 7, 1, 9),
    Ipv4Addr::new(10, 7, 2, 9),
    Ipv4Addr::new(198, 51, 100, 77),
    Ipv4Addr::new(198, 51, 100, 78),
];

fn care_of_addresses() -> [CareOf; 5] {
    let v4 = |port| CareOf::V4 { address: *NAT.ip(), port };
    let direct = Ipv4Addr::new(203, 0, 113, 20);
    [CareOf::V6(CARE_OF_1), CareOf::V6(CARE_OF_2), v4(40001), v4(40002), CareOf::V4Direct(direct)]
}

fn any_flow() -> impl Strategy<Value = Flow> {
    let bids = vec_of((1_u16..6).prop_map(Bid), 0..3);
    let action = prop_oneof![
        4 => bids.prop_map(FlowAction::Forward),
        1 => Just(FlowAction::Discard),
    ];
    (1_u16..5, 1_u16..5, 0_u16..100, action).prop_map(|(fid, priority, port, action)| {
        let selector = Selector { destination_port: Some(port..=60), ..Selector::ANY };
        Flow { fid, priority, selector: BinarySelector::Ipv6(selector), action }
    })
}

prop_compose! {
    fn any_entry()(
        bindings in vec_of((0_usize..5, 0_u64..4, 0_u8..3), 0..4),
        networks in subsequence(NETWORKS.to_vec(), 0..=2),
        networks_v4 in subsequence(NETWORKS_V4.to_vec(), 0..=2),
        mut flows in vec_of(any_flow(), 0..3),
    ) -> HomeEntry {
        let binding = |(at, (kind, ends, priority)): (u16, &(usize, u64, u8))| ForwardingBinding {
            ends: Millis(*ends),
            priority: BidPriority::new(*priority),
            ..binding(at, care_of_addresses()[*kind])
        };
        // FIDs and FID-PRIs are unique, as the store sees to.
        for (at, flow) in (1..).zip(&mut flows) {
            flow.fid = at;
            flow.priority = flow.priority * 8 + at;
        }
        let network = |(prefix, prefix_len): (Ipv6Addr, u8)| MobileNetwork { prefix, prefix_len };
        let network_v4 =
            |(prefix, prefix_len): (Ipv4Addr, u8)| MobileNetworkV4 { prefix, prefix_len };
        HomeEntry {
            home_agent_v4: Some(AGENT_V4),
            networks: networks.into_iter().map(network).collect(),
            networks_v4: networks_v4.into_iter().map(network_v4).collect(),
            flows,
            ..HomeEntry::new(AGENT, (1..).zip(&bindings).map(binding).collect())
        }
    }
}

/// The state of each home address.
fn states() -> impl Strategy<Value = Vec<(Ipv6Addr, HomeEntry)>> {
    vec_of(any_entry(), 3).prop_map(|entries| HOMES.into_iter().zip(entries).collect())
}

fn forwarding_of(changes: &[(Ipv6Addr, HomeEntry)]) -> Forwarding {
    let mut forwarding = Forwarding::new(Config::default());
    forwarding.table_mut().set_prefix(prefix());
    for (home, entry) in changes {
        forwarding.table_mut().set_home(*home, Some(entry.clone())).unwrap();
    }
    forwarding
}

fn covers(network: Ipv6Addr, len: u8, address: Ipv6Addr) -> bool {
    (network.to_bits() ^ address.to_bits()) >> (128 - u32::from(len)) == 0
}

fn covers_v4(network: Ipv4Addr, len: u8, address: Ipv4Addr) -> bool {
    u64::from(network.to_bits() ^ address.to_bits()) >> (32 - u32::from(len)) == 0
}

/// Who owns an address: written down once more, in the slow way.
fn owners(states: &[(Ipv6Addr, HomeEntry)], address: Ipv6Addr) -> Vec<Ipv6Addr> {
    let there = || states.iter().filter(|(_, entry)| !entry.bindings.is_empty());
    if there().any(|(home, _)| *home == address) {
        return vec![address];
    }
    let len = |entry: &HomeEntry| {
        let covering = entry.networks.iter().filter(|n| covers(n.prefix, n.prefix_len, address));
        covering.map(|network| network.prefix_len).max()
    };
    let best = there().filter_map(|(_, entry)| len(entry)).max();
    let best = best.map(Some);
    there().filter(|(_, entry)| Some(len(entry)) == best).map(|(home, _)| *home).collect()
}

fn owners_v4(states: &[(Ipv6Addr, HomeEntry)], address: Ipv4Addr) -> Vec<Ipv6Addr> {
    let there = || states.iter().filter(|(_, entry)| !entry.bindings.is_empty());
    let len = |entry: &HomeEntry| {
        let covering =
            entry.networks_v4.iter().filter(|n| covers_v4(n.prefix, n.prefix_len, address));
        covering.map(|network| network.prefix_len).max()
    };
    let best = there().filter_map(|(_, entry)| len(entry)).max().map(Some);
    there().filter(|(_, entry)| Some(len(entry)) == best).map(|(home, _)| *home).collect()
}

/// May this outer source send for one of these home addresses?
fn is_bound(
    states: &[(Ipv6Addr, HomeEntry)],
    owners: &[Ipv6Addr],
    outer: CareOf,
    now: u64,
) -> bool {
    let matches = |care_of: CareOf| match (care_of, outer) {
        (CareOf::V4Direct(bound), CareOf::V4 { address, .. }) => bound == address,
        _ => care_of == outer,
    };
    states
        .iter()
        .filter(|(home, _)| owners.contains(home))
        .any(|(_, entry)| entry.bindings.iter().any(|b| matches(b.care_of) && b.ends.0 > now))
}

fn wrapped(outer: CareOf, inner: &[u8]) -> Vec<u8> {
    let upper = if inner[0] >> 4 == 4 { protocol::IPV4 } else { protocol::IPV6 };
    match outer {
        CareOf::V6(address) => PacketBuilder::new(address, AGENT).build(upper, inner),
        CareOf::V4 { address, port } => udp_v4_packet((address, port), (AGENT_V4, 4191), inner),
        CareOf::V4Direct(address) => encapsulate_v4(inner, upper, address, AGENT_V4, 64, 0),
    }
}

fn to_port(destination: Ipv6Addr, port: u8) -> Vec<u8> {
    PacketBuilder::new(CORRESPONDENT, destination)
        .build(protocol::UDP, &[0, 9, 0, port, 0, 8, 0, 0])
}

fn v4(source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
    encapsulate_v4(&[0, 9, 0, 9, 0, 8, 0, 0], 17, source, destination, 64, 0)
}

/// Care-of address and inner packet of everything that is tunnelled.
fn tunnels(actions: &[Action]) -> Vec<(CareOf, Vec<u8>)> {
    let opened = |action: &Action| match action {
        Action::SendIpv6(packet) => {
            let (header, payload) = Ipv6Header::parse(packet).unwrap();
            let is_tunnel = matches!(header.next_header, protocol::IPV6 | protocol::IPV4);
            is_tunnel.then(|| (CareOf::V6(header.destination), payload.to_vec()))
        }
        Action::SendIpv4(packet) => {
            let (header, payload) = Ipv4Header::parse(packet).unwrap();
            let is_tunnel = matches!(header.protocol, protocol::IPV6 | protocol::IPV4);
            is_tunnel.then(|| (CareOf::V4Direct(header.destination), payload.to_vec()))
        }
        Action::SendUdp { peer, payload, .. } => {
            Some((CareOf::V4 { address: *peer.ip(), port: peer.port() }, payload.clone()))
        }
        _ => None,
    };
    actions.iter().filter_map(opened).collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2048,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// The table is a function of the last state of each home address: in whatever order they come,
    /// and whatever was there before.
    #[test]
    fn any_order_of_the_feed_makes_the_same_table(
        last in states().prop_flat_map(|states| (Just(states.clone()), Just(states).prop_shuffle())),
        before in vec_of((select(&HOMES[..]), any_entry()), 0..5),
        now in 0_u64..4,
    ) {
        let (states, shuffled) = last;
        let mut straight = forwarding_of(&states);
        let mut detour = forwarding_of(&before);
        for (home, entry) in shuffled {
            detour.table_mut().set_home(home, Some(entry)).unwrap();
        }
        prop_assert_eq!(straight.table().digest(), detour.table().digest());
        prop_assert_eq!(straight.table().homes(), detour.table().homes());
        prop_assert_eq!(straight.table().networks(), detour.table().networks());
        prop_assert_eq!(straight.table().networks_v4(), detour.table().networks_v4());
        let probes = HOMES.into_iter().chain(NODES).map(|node| to_port(node, 50));
        let probes = probes.chain(NODES_V4.map(|node| v4(FAR_V4, node)));
        for probe in probes {
            prop_assert_eq!(
                straight.handle(Millis(now), Ingress::Ip(&probe)),
                detour.handle(Millis(now), Ingress::Ip(&probe))
            );
        }
        for home in HOMES {
            detour.table_mut().set_home(home, None).unwrap();
        }
        detour.table_mut().remove_prefix(PREFIX, 64);
        prop_assert_eq!(detour.table().digest(), Table::new().digest());
        prop_assert_eq!(detour.table().networks(), vec![]);
    }

    /// What comes out of a tunnel goes on exactly when its outer source is bound, right now, to the
    /// owner of its inner source.
    #[test]
    fn nothing_spoofed_is_forwarded(
        states in states(),
        outer in select(care_of_addresses().to_vec()),
        source in select([HOMES.as_slice(), NODES.as_slice(), &[CORRESPONDENT]].concat()),
        source_v4 in select([NODES_V4.as_slice(), &[AGENT_V4, FAR_V4]].concat()),
        now in 0_u64..4,
    ) {
        let inner = packet(source, FAR);
        let actions = forwarding_of(&states)
            .handle(Millis(now), Ingress::Ip(&wrapped(outer, &inner)));
        let expected = if is_bound(&states, &owners(&states, source), outer, now) {
            Action::SendIpv6(one_hop_less(&inner))
        } else {
            Action::Drop(DropReason::TunnelSourceNotBound)
        };
        prop_assert_eq!(actions, vec![expected]);

        let inner = v4(source_v4, Ipv4Addr::new(192, 0, 2, 201));
        let actions = forwarding_of(&states)
            .handle(Millis(now), Ingress::Ip(&wrapped(outer, &inner)));
        let passes = matches!(actions.as_slice(), [Action::SendIpv4(_)]);
        let bound = is_bound(&states, &owners_v4(&states, source_v4), outer, now);
        prop_assert_eq!(passes, bound);
        if !bound {
            prop_assert_eq!(actions, vec![Action::Drop(DropReason::TunnelSourceNotBound)]);
        }
    }

    /// Copies go only to bindings in force of the owner, each at most once, and when one is in force
    /// a packet goes somewhere unless a flow discards it.
    #[test]
    fn packets_go_only_where_they_belong(
        states in states(),
        destination in select([HOMES.as_slice(), NODES.as_slice()].concat()),
        port in 0_u8..100,
        now in 0_u64..4,
    ) {
        let packet = to_port(destination, port);
        let actions = forwarding_of(&states).handle(Millis(now), Ingress::Ip(&packet));
        let owner = owners(&states, destination).into_iter().min();
        let entry = states.iter().find(|(home, _)| Some(*home) == owner).map(|(_, entry)| entry);
        let live: Vec<_> = entry
            .into_iter()
            .flat_map(|entry| &entry.bindings)
            .filter(|binding| binding.ends.0 > now)
            .collect();
        let sent = tunnels(&actions);
        for (care_of, inner) in &sent {
            let copies = sent.iter().filter(|(other, _)| other == care_of).count();
            let bound = live.iter().filter(|b| b.care_of == *care_of).count();
            prop_assert!(copies <= bound, "{} copies to {:?}", copies, care_of);
            prop_assert_eq!(inner, &one_hop_less(&packet));
        }
        let discarded = actions == [Action::Drop(DropReason::FlowDiscarded)];
        prop_assert_eq!(sent.is_empty(), live.is_empty() || discarded);
    }
}
