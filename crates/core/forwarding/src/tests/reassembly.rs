//! Packets to the home agent in fragments (RFC 8200 §4.5, RFC 5722, RFC 6946, RFC 791 §3.2; cases
//! M34 and D18).

use super::*;
use crate::limits::{FRAGMENTS_AGE_MS, REASSEMBLIES_MAX, REASSEMBLY_OCTETS_MAX};
use homeport_wire::{Ipv4Header, mobility_packet, udp_v4_packet};
use proptest::prelude::*;

/// A packet cut up behind its first `head` octets of headers, whose last Next Header field is at
/// `next_header`.
fn cut(packet: &[u8], head: usize, next_header: usize, id: u32, size: usize) -> Vec<Vec<u8>> {
    let (headers, data) = packet.split_at(head);
    let count = data.len().div_ceil(size);
    let piece = |(index, piece): (usize, &[u8])| {
        let mut octets = headers.to_vec();
        let upper = core::mem::replace(&mut octets[next_header], protocol::FRAGMENT);
        let field = u16::try_from(index * size).unwrap() | u16::from(index + 1 < count);
        octets.extend_from_slice(&[upper, 0]);
        octets.extend_from_slice(&field.to_be_bytes());
        octets.extend_from_slice(&id.to_be_bytes());
        octets.extend_from_slice(piece);
        let len = u16::try_from(octets.len() - 40).unwrap();
        octets[4..6].copy_from_slice(&len.to_be_bytes());
        octets
    };
    data.chunks(size).enumerate().map(piece).collect()
}

/// A Binding Update of 2048 octets behind a Home Address option.
fn large_update() -> Vec<u8> {
    let mut message = vec![59, 255, 5, 0, 0, 0, 0, 1, 0xc0, 0, 0, 10];
    message.resize(2048, 0);
    mobility_packet(CARE_OF_3, AGENT, Some(HOME), None, &message)
}

/// The fragments of [`large_update`]: the Home Address option stands before the Fragment header.
fn fragments(id: u32) -> Vec<Vec<u8>> {
    cut(&large_update(), 64, 40, id, 512)
}

const WAITS: [Action; 1] = [Action::Drop(DropReason::FragmentWaits)];
const REFUSED: [Action; 1] = [Action::Drop(DropReason::FragmentRefused)];

#[test]
fn a_large_binding_update_is_handed_on_whole() {
    let mut forwarding = forwarding();
    let fragments = fragments(1);
    for fragment in &fragments[..3] {
        assert_eq!(handle(&mut forwarding, fragment), WAITS);
    }
    let actions = handle(&mut forwarding, &fragments[3]);
    let expected =
        Punt { outer: None, tunnelled: false, bound: false, sender: HOME, packet: large_update() };
    assert_eq!(actions, [Action::Punt(expected)]);
    assert_eq!(handle(&mut forwarding, &fragments[3]), WAITS, "nothing is left of it");
}

#[test]
fn a_tunnel_in_fragments_is_checked_like_any() {
    let inner = sized(HOME, CORRESPONDENT, 1400);
    for (care_of, passes) in [(CARE_OF_1, true), (CARE_OF_3, false)] {
        let mut forwarding = forwarding();
        let pieces = cut(&tunnelled(care_of, &inner), 40, 6, 9, 1024);
        assert_eq!(handle(&mut forwarding, &pieces[0]), WAITS);
        let expected = if passes {
            Action::SendIpv6(one_hop_less(&inner))
        } else {
            Action::Drop(DropReason::TunnelSourceNotBound)
        };
        assert_eq!(handle(&mut forwarding, &pieces[1]), [expected]);
    }
}

#[test]
fn fragments_from_elsewhere_do_not_complete_a_packet() {
    // The same source and identification, once out of a tunnel and once not.
    let echo = echo_request(HOME, AGENT);
    let pieces = cut(&echo, 40, 6, 9, 8);
    let mut forwarding = forwarding();
    assert_eq!(handle(&mut forwarding, &tunnelled(CARE_OF_1, &pieces[0])), WAITS);
    assert_eq!(handle(&mut forwarding, &pieces[1]), WAITS);
    let actions = handle(&mut forwarding, &tunnelled(CARE_OF_1, &pieces[1]));
    assert_eq!(opened(sent(&actions)).0, CARE_OF_1);
}

#[test]
fn the_same_fragment_twice_does_no_harm_and_an_overlap_ends_it() {
    let mut forwarding = forwarding();
    let whole = fragments(1);
    assert_eq!(handle(&mut forwarding, &whole[0]), WAITS);
    assert_eq!(handle(&mut forwarding, &whole[0]), WAITS);
    let mut other = whole[0].clone();
    other[90] ^= 1;
    assert_eq!(handle(&mut forwarding, &other), REFUSED, "the same place, other octets");
    for fragment in &whole[1..] {
        assert_eq!(handle(&mut forwarding, fragment), WAITS, "the first is gone");
    }
    let shifted = cut(&large_update(), 64, 40, 1, 520);
    assert_eq!(handle(&mut forwarding, &shifted[2]), REFUSED);
    // Beyond the end, and an end before what is there.
    assert_eq!(handle(&mut forwarding, &whole[3]), WAITS);
    let mut more = whole[3].clone();
    more[66..68].copy_from_slice(&(2048_u16 | 1).to_be_bytes());
    assert_eq!(handle(&mut forwarding, &more), REFUSED);
    assert_eq!(handle(&mut forwarding, &whole[3]), WAITS);
    let mut early = whole[1].clone();
    early[66..68].copy_from_slice(&512_u16.to_be_bytes());
    assert_eq!(handle(&mut forwarding, &early), REFUSED);
}

#[test]
fn a_fragment_of_everything_waits_for_nobody() {
    let atomic = cut(&echo_request(CARE_OF_3, AGENT), 40, 6, 1, 4096);
    assert_eq!(atomic.len(), 1);
    let mut forwarding = forwarding();
    for _ in 0..2 {
        let reply = Icmpv6::EchoReply { identifier: 7, sequence: 9, data: b"homeport" };
        assert_eq!(icmpv6(sent(&handle(&mut forwarding, &atomic[0]))), reply);
    }
    let twice = cut(&atomic[0], 40, 6, 1, 4096);
    assert_eq!(handle(&mut forwarding, &twice[0]), REFUSED, "fragments in a fragment");
}

#[test]
fn what_does_not_come_in_time_is_given_up_and_its_source_told() {
    let mut forwarding = forwarding();
    let whole = fragments(1);
    let late = Millis(NOW.0 + FRAGMENTS_AGE_MS);
    assert_eq!(handle(&mut forwarding, &whole[0]), WAITS);
    let actions = forwarding.handle(late, Ingress::Ip(&whole[1]));
    assert_eq!(drops(&actions), [DropReason::FragmentsExpired, DropReason::FragmentWaits]);
    let told = walked(sent(&actions));
    assert_eq!((told.header.source, told.header.destination), (AGENT, CARE_OF_3));
    assert!(matches!(icmpv6(sent(&actions)), Icmpv6::TimeExceeded { code: 1, .. }));
    // Without the first fragment nobody is told.
    let later = Millis(late.0 + FRAGMENTS_AGE_MS);
    let actions = forwarding.handle(later, Ingress::Ip(&whole[2]));
    let expected = [DropReason::FragmentsExpired, DropReason::FragmentWaits];
    assert_eq!(actions, expected.map(Action::Drop));
}

#[test]
fn number_and_octets_are_bounded_and_the_oldest_go() {
    let mut forwarding = forwarding();
    let bound = u32::try_from(REASSEMBLIES_MAX).unwrap();
    for id in 0..=bound {
        assert_eq!(handle(&mut forwarding, &fragments(id)[0]), WAITS);
    }
    for fragment in &fragments(bound)[1..3] {
        assert_eq!(handle(&mut forwarding, fragment), WAITS);
    }
    let newest = handle(&mut forwarding, &fragments(bound)[3]);
    assert!(matches!(newest.as_slice(), [Action::Punt(_)]));
    for fragment in &fragments(0)[1..] {
        assert_eq!(handle(&mut forwarding, fragment), WAITS, "the oldest is gone");
    }

    let mut forwarding = super::forwarding();
    let large = |id: u32| {
        let payload = vec![0x5a; 60_000];
        let packet = PacketBuilder::new(CARE_OF_3, AGENT).build(protocol::UDP, &payload);
        cut(&packet, 40, 6, id, 59_992)
    };
    let fits = u32::try_from(REASSEMBLY_OCTETS_MAX / 60_000).unwrap();
    for id in 0..fits + 10 {
        assert_eq!(handle(&mut forwarding, &large(id)[0]), WAITS);
    }
    assert_eq!(handle(&mut forwarding, &large(0)[1]), WAITS, "gone");
    assert_eq!(drops(&handle(&mut forwarding, &large(fits + 9)[1])), [DropReason::NoListener]);
}

#[test]
fn marks_of_congestion_are_put_together() {
    // Marks of the two fragments, that of the whole.
    let rows = [
        (0b10, 0b11, Some(0b11)),
        (0b10, 0b10, Some(0b10)),
        (0b00, 0b11, None),
        (0b01, 0b11, Some(0b11)),
    ];
    for (first, second, expected) in rows {
        let inner = PacketBuilder::new(HOME, CORRESPONDENT)
            .traffic_class(0b10)
            .build(protocol::UDP, &[0; 40]);
        let mut pieces = cut(&tunnelled(CARE_OF_1, &inner), 40, 6, 9, 64);
        pieces[0][1] = first << 4;
        pieces[1][1] = second << 4;
        let mut forwarding = forwarding();
        assert_eq!(handle(&mut forwarding, &pieces[0]), WAITS);
        let actions = handle(&mut forwarding, &pieces[1]);
        match expected {
            None => assert_eq!(drops(&actions), [DropReason::CongestionMarkLost]),
            Some(mark) => assert_eq!(walked(sent(&actions)).header.traffic_class, mark),
        }
    }
}

fn cut_v4(packet: &[u8], size: usize) -> Vec<Vec<u8>> {
    let (header, data) = Ipv4Header::parse(packet).unwrap();
    let count = data.len().div_ceil(size);
    let piece = |(index, piece): (usize, &[u8])| {
        let more = if index + 1 < count { 0x2000 } else { 0 };
        let mut octets = Vec::new();
        let header = Ipv4Header {
            total_len: u16::try_from(20 + piece.len()).unwrap(),
            flags_fragment: u16::try_from(index * size / 8).unwrap() | more,
            ..header
        };
        header.emit(&mut octets);
        octets.extend_from_slice(piece);
        octets
    };
    data.chunks(size).enumerate().map(piece).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the order and the size, and whichever come twice: the packet comes out once.
    #[test]
    fn fragments_in_any_order_make_the_packet(
        order in Just(Vec::new()).prop_flat_map(|_: Vec<u8>| {
            (1_usize..40).prop_flat_map(|units| {
                let count = 2048_usize.div_ceil(units * 8);
                (Just(units * 8), Just((0..count).collect::<Vec<_>>()).prop_shuffle())
            })
        }),
        twice in any::<bool>(),
    ) {
        let (size, order) = order;
        let pieces = cut(&large_update(), 64, 40, 5, size);
        prop_assume!(pieces.len() <= crate::limits::FRAGMENTS_PER_PACKET_MAX);
        let mut forwarding = forwarding();
        let (last, before) = order.split_last().unwrap();
        for index in before {
            for _ in 0..=usize::from(twice) {
                prop_assert_eq!(handle(&mut forwarding, &pieces[*index]), WAITS.to_vec());
            }
        }
        let actions = handle(&mut forwarding, &pieces[*last]);
        let [Action::Punt(punt)] = actions.as_slice() else { panic!("{actions:?}") };
        prop_assert_eq!(&punt.packet, &large_update());
    }

    /// The same for the envelope over IPv4.
    #[test]
    fn datagrams_in_any_order_make_the_packet(
        pieces in (1_usize..60).prop_flat_map(|units| {
            let inner = sized(HOME_V4, CORRESPONDENT, 1300);
            let packet = udp_v4_packet((*NAT.ip(), NAT.port()), (AGENT_V4, 4191), &inner);
            Just(cut_v4(&packet, units * 8)).prop_shuffle()
        }),
    ) {
        prop_assume!(pieces.len() <= crate::limits::FRAGMENTS_PER_PACKET_MAX);
        let mut forwarding = forwarding();
        let (last, before) = pieces.split_last().unwrap();
        for piece in before {
            prop_assert_eq!(handle(&mut forwarding, piece), WAITS.to_vec());
        }
        let expected = one_hop_less(&sized(HOME_V4, CORRESPONDENT, 1300));
        prop_assert_eq!(handle(&mut forwarding, last), vec![Action::SendIpv6(expected)]);
    }
}
