//! Laws that hold for all packets.

use super::*;
use crate::Table;
use homeport_wire::{encapsulate_v4, mobility_packet};
use proptest::collection::vec as vec_of;
use proptest::prelude::*;
use proptest::sample::select;

const HOMES: [Ipv6Addr; 3] = [HOME, HOME_V4, UNBOUND];
const CARE_OFS: [Ipv6Addr; 3] = [CARE_OF_1, CARE_OF_2, CARE_OF_3];

/// Packets of every kind that is told apart, to be mutated.
fn corpus() -> Vec<Vec<u8>> {
    let inner = packet(HOME, CORRESPONDENT);
    let outer = encapsulate_v6(&packet(CORRESPONDENT, HOME), AGENT, CARE_OF_1, 64, 0, 0);
    let error = Icmpv6::PacketTooBig { mtu: 1300, invoking: &outer };
    let udp = homeport_wire::udp_v4_packet(
        (*NAT.ip(), NAT.port()),
        (AGENT_V4, 4191),
        &packet(HOME_V4, CORRESPONDENT),
    );
    let v4 = encapsulate_v4(&[8; 8], protocol::UDP, *NAT.ip(), Ipv4Addr::new(10, 0, 0, 7), 64, 0);
    vec![
        packet(CORRESPONDENT, HOME),
        packet(CORRESPONDENT, UNBOUND),
        packet(CORRESPONDENT, HOME_AT_HOME),
        sized(CORRESPONDENT, HOME, 1500),
        echo_request(CARE_OF_3, AGENT),
        tunnelled(CARE_OF_1, &inner),
        tunnelled(CARE_OF_1, &packet(HOME, HOME_V4)),
        tunnelled(CARE_OF_1, &echo_request(HOME, AGENT)),
        tunnelled(CARE_OF_1, &tunnelled(HOME, &inner)),
        mobility_packet(CARE_OF_3, AGENT, Some(HOME), Some(HOME), &[59, 0, 5, 0, 0, 0, 0, 0]),
        PacketBuilder::new(CARE_OF_1, AGENT)
            .home_address_option(Some(HOME))
            .build(protocol::ICMPV6, &[128; 12]),
        PacketBuilder::new(ROUTER, AGENT).build(protocol::ICMPV6, &error.emit(ROUTER, AGENT)),
        PacketBuilder::new(CORRESPONDENT, UNBOUND).build(protocol::FRAGMENT, &[58; 16]),
        PacketBuilder::new(CARE_OF_1, AGENT)
            .build(protocol::FRAGMENT, &[41, 0, 0, 1, 0, 0, 0, 1, 0x60, 0, 0, 0, 0, 0, 59, 9]),
        PacketBuilder::new(CARE_OF_1, AGENT)
            .build(protocol::FRAGMENT, &[41, 0, 0, 8, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8]),
        udp,
        v4.clone(),
        PacketBuilder::new(CARE_OF_1, AGENT).build(protocol::IPV4, &v4),
        encapsulate_v4(&v4, protocol::IPV4, *NAT.ip(), AGENT_V4, 64, 0),
        encapsulate_v4(&inner, protocol::IPV6, *NAT.ip(), AGENT_V4, 64, 0),
        encapsulate_v4(&[8, 0, 0xf7, 0xff, 0, 0, 0, 0], 1, *NAT.ip(), AGENT_V4, 64, 0),
    ]
}

const ROUTER: Ipv6Addr = CORRESPONDENT;

fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let changes = vec_of((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    (select(corpus()), changes, any::<prop::sample::Index>(), any::<bool>()).prop_map(
        |(mut packet, changes, cut, is_cut)| {
            for (index, octet) in changes {
                let at = index.index(packet.len());
                packet[at] = octet;
            }
            if is_cut {
                packet.truncate(cut.index(packet.len() + 1));
            }
            packet
        },
    )
}

fn any_packet() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => mutated(),
        1 => vec_of(any::<u8>(), 0..200),
        1 => vec_of(any::<u8>(), 0..200).prop_map(|mut octets| {
            if let Some(first) = octets.first_mut() {
                *first = 0x60;
            }
            octets
        }),
    ]
}

/// One row of a random table: home address, care-of address, end.
type Row = (Ipv6Addr, Ipv6Addr, u64);

fn rows() -> impl Strategy<Value = Vec<Row>> {
    vec_of((select(&HOMES[..]), select(&CARE_OFS[..]), 0_u64..4), 0..8)
}

fn forwarding_of(rows: &[Row]) -> Forwarding {
    let mut forwarding = Forwarding::new(Config::default());
    forwarding.table_mut().set_prefix(prefix());
    for home in HOMES {
        let bindings = rows.iter().enumerate().filter(|(_, row)| row.0 == home).map(|(at, row)| {
            let bid = u16::try_from(at + 1).unwrap();
            ForwardingBinding { ends: Millis(row.2), ..binding(bid, CareOf::V6(row.1)) }
        });
        forwarding.table_mut().set_home(home, entry(bindings.collect())).unwrap();
    }
    forwarding
}

fn settings() -> ProptestConfig {
    ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(settings())]

    /// Total: every packet, however broken, gets a bounded answer, at any time.
    #[test]
    fn every_packet_has_bounded_consequences(
        packets in vec_of((any_packet(), any::<u64>(), any::<bool>()), 1..4),
    ) {
        let mut forwarding = forwarding();
        let networks_v4 =
            vec![crate::MobileNetworkV4 { prefix: Ipv4Addr::new(10, 0, 0, 7), prefix_len: 32 }];
        let v6 = vec![binding(1, CareOf::V6(CARE_OF_1))];
        let home = HomeEntry { networks_v4, ..entry(v6).unwrap() };
        forwarding.table_mut().set_home(HOME, Some(home)).unwrap();
        let mut came = 0;
        for (octets, now, in_udp) in packets {
            came += octets.len();
            let ingress = if in_udp {
                Ingress::Udp { peer: NAT, local: LOCAL, payload: &octets }
            } else {
                Ingress::Ip(&octets)
            };
            let actions = forwarding.handle(Millis(now), ingress);
            prop_assert!((1..=4).contains(&actions.len()), "{:?}", actions);
            for action in actions {
                let len = match action {
                    Action::Punt(punt) => punt.packet.len(),
                    Action::SendIpv6(packet)
                    | Action::SendIpv4(packet)
                    | Action::DeliverOnLink { packet, .. } => packet.len(),
                    Action::SendUdp { payload, .. } => payload.len(),
                    Action::Drop(_) => continue,
                };
                prop_assert!(len > 0);
                let limit = (came + 80).max(1320);
                prop_assert!(len <= limit, "{} out of {}", len, came);
            }
        }
    }

    /// An uplink packet passes exactly when its outer source is bound to its inner source right
    /// now.
    #[test]
    fn uplink_passes_exactly_what_is_bound(
        rows in rows(),
        outer_source in select(&[CARE_OF_1, CARE_OF_2, CARE_OF_3, CORRESPONDENT][..]),
        inner_source in select(&[HOME, HOME_V4, UNBOUND, CORRESPONDENT, CARE_OF_1][..]),
        now in 0_u64..4,
    ) {
        let bound = rows.contains_row(inner_source, outer_source, now);
        let inner = packet(inner_source, Ipv6Addr::new(0x2001, 0xdb8, 0xdd, 0, 0, 0, 0, 1));
        let actions = forwarding_of(&rows)
            .handle(Millis(now), Ingress::Ip(&tunnelled(outer_source, &inner)));
        let expected = if bound {
            Action::SendIpv6(one_hop_less(&inner))
        } else {
            Action::Drop(DropReason::TunnelSourceNotBound)
        };
        prop_assert_eq!(actions, [expected]);
    }

    /// Nothing is tunnelled to a care-of address that is not bound, or whose binding has ended.
    #[test]
    fn tunnels_lead_only_to_what_is_bound(
        rows in rows(),
        octets in prop_oneof![
            mutated(),
            select(&HOMES[..]).prop_map(|home| packet(CORRESPONDENT, home)),
        ],
        now in 0_u64..4,
    ) {
        let actions = forwarding_of(&rows).handle(Millis(now), Ingress::Ip(&octets));
        for action in actions {
            let Action::SendIpv6(packet) = action else { continue };
            let (header, payload) = Ipv6Header::parse(&packet).unwrap();
            // Our own packets of another kind name their receiver without a tunnel.
            if header.source != AGENT || header.next_header != protocol::IPV6 {
                continue;
            }
            let (inner, _) = Ipv6Header::parse(payload).unwrap();
            prop_assert!(rows.contains_row(inner.destination, header.destination, now));
        }
    }

    /// Down and up again: the inner packet arrives as it was sent, one hop older each time.
    #[test]
    fn the_inner_packet_is_carried_octet_for_octet(
        payload in vec_of(any::<u8>(), 0..1380),
        class in any::<u8>(),
        label in 0_u32..=0xf_ffff,
        hop_limit in 2_u8..,
        upper in select(&[protocol::UDP, protocol::TCP, protocol::ESP, protocol::FRAGMENT][..]),
    ) {
        let built = |source, destination| {
            PacketBuilder::new(source, destination)
                .hop_limit(hop_limit)
                .traffic_class(class)
                .flow_label(label)
                .build(upper, &payload)
        };
        let mut forwarding = forwarding();
        let down = built(CORRESPONDENT, HOME);
        let actions = handle(&mut forwarding, &down);
        let (care_of, inner) = opened(sent(&actions));
        prop_assert_eq!(care_of, CARE_OF_1);
        prop_assert_eq!(inner, &one_hop_less(&down));

        let up = built(HOME, CORRESPONDENT);
        let outer = encapsulate_v6(&up, CARE_OF_2, AGENT, 64, class, 0);
        let actions = handle(&mut forwarding, &outer);
        prop_assert_eq!(sent(&actions), one_hop_less(&up));

        let actions = handle(&mut forwarding, &built(CORRESPONDENT, HOME_V4));
        let Action::SendUdp { payload: datagram, .. } = &actions[0] else { panic!("{actions:?}") };
        prop_assert_eq!(datagram, &one_hop_less(&built(CORRESPONDENT, HOME_V4)));
    }

    /// A table's digest is a function of what is in it.
    #[test]
    fn digests_agree_when_tables_do(first in rows(), second in rows(), detour in rows()) {
        let table = |rows: &[Row]| {
            let mut table = Table::new();
            for home in HOMES {
                let bindings: Vec<_> = rows
                    .iter()
                    .filter(|row| row.0 == home)
                    .map(|row| binding(u16::try_from(row.2).unwrap(), CareOf::V6(row.1)))
                    .collect();
                table.set_home(home, entry(bindings)).unwrap();
            }
            table
        };
        let (a, b) = (table(&first), table(&second));
        prop_assert_eq!(contents(&a) == contents(&b), a.digest() == b.digest());

        let mut walked = table(&detour);
        for home in HOMES {
            let state = a.homes().into_iter().find(|(address, _)| *address == home);
            walked.set_home(home, state.map(|(_, entry)| entry.clone())).unwrap();
        }
        prop_assert_eq!(walked.digest(), a.digest());
    }
}

/// Bindings, sorted.
type Listed = Vec<(Option<Bid>, CareOf)>;

/// What is in a table, without the order in which the bindings of a home address are listed.
fn contents(table: &Table) -> Vec<(Ipv6Addr, Listed)> {
    let sorted = |entry: &HomeEntry| {
        let mut bindings: Vec<_> =
            entry.bindings.iter().map(|binding| (binding.bid, binding.care_of)).collect();
        bindings.sort_unstable();
        bindings
    };
    table.homes().into_iter().map(|(address, entry)| (address, sorted(entry))).collect()
}

trait ContainsRow {
    fn contains_row(&self, home: Ipv6Addr, care_of: Ipv6Addr, now: u64) -> bool;
}

impl ContainsRow for Vec<Row> {
    fn contains_row(&self, home: Ipv6Addr, care_of: Ipv6Addr, now: u64) -> bool {
        self.iter().any(|row| row.0 == home && row.1 == care_of && row.2 > now)
    }
}
