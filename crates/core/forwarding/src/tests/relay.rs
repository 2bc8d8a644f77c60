//! Errors about tunnelled packets (RFC 2473 §8, conformance cases HA_5_1_3 and HA_5_1_7).

use super::*;

const ROUTER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xe, 0, 0, 0, 0, 0xfe);

fn error(message: &Icmpv6<'_>) -> Vec<u8> {
    PacketBuilder::new(ROUTER, AGENT).build(protocol::ICMPV6, &message.emit(ROUTER, AGENT))
}

/// An inner packet and its outer packet as it left.
fn sent_out(forwarding: &mut Forwarding, len: usize) -> (Vec<u8>, Vec<u8>) {
    let inner = sized(CORRESPONDENT, HOME, len);
    let actions = handle(forwarding, &inner);
    (one_hop_less(&inner), sent(&actions).to_vec())
}

#[test]
fn what_does_not_arrive_is_unreachable_for_its_source() {
    let errors: [fn(&[u8]) -> Icmpv6<'_>; 3] = [
        |invoking| Icmpv6::TimeExceeded { code: 0, invoking },
        |invoking| Icmpv6::DestinationUnreachable { code: 0, invoking },
        |invoking| Icmpv6::DestinationUnreachable { code: 3, invoking },
    ];
    for message in errors {
        let mut forwarding = forwarding();
        let (inner, outer) = sent_out(&mut forwarding, 100);
        let actions = handle(&mut forwarding, &error(&message(&outer)));
        assert_eq!(drops(&actions), [DropReason::IcmpRelayed]);
        let relayed = sent(&actions);
        let header = walked(relayed).header;
        assert_eq!((header.source, header.destination), (AGENT, CORRESPONDENT));
        let expected = Icmpv6::DestinationUnreachable { code: 3, invoking: &inner };
        assert_eq!(icmpv6(relayed), expected, "it quotes the inner packet");
    }
}

#[test]
fn a_narrow_path_is_told_to_the_source_and_remembered() {
    let mut forwarding = forwarding();
    let (inner, outer) = sent_out(&mut forwarding, 1460);
    let message = Icmpv6::PacketTooBig { mtu: 1400, invoking: &outer };
    let actions = handle(&mut forwarding, &error(&message));
    assert_eq!(drops(&actions), [DropReason::IcmpRelayed]);
    // Two outer headers less are quoted than fit: the error quoted the outer header too.
    let Icmpv6::PacketTooBig { mtu: 1360, invoking } = icmpv6(sent(&actions)) else {
        panic!("{actions:?}")
    };
    assert_eq!(invoking, &inner[..invoking.len()]);

    let actions = handle(&mut forwarding, &sized(CORRESPONDENT, HOME, 1361));
    assert_eq!(drops(&actions), [DropReason::PacketTooBig], "from now on here");
    let actions = handle(&mut forwarding, &sized(CORRESPONDENT, HOME, 1360));
    assert_eq!(drops(&actions), []);
}

#[test]
fn at_the_smallest_mtu_the_outer_packet_is_cut_up_from_then_on() {
    let mut forwarding = forwarding();
    let (_, outer) = sent_out(&mut forwarding, 1280);
    let message = Icmpv6::PacketTooBig { mtu: 1280, invoking: &outer };
    let actions = handle(&mut forwarding, &error(&message));
    assert_eq!(actions, [Action::Drop(DropReason::PathMtuLearned)]);
    let pieces = handle(&mut forwarding, &sized(CORRESPONDENT, HOME, 1280));
    assert_eq!(pieces.len(), 2);

    // An error about such a piece is understood as well.
    let Action::SendIpv6(first) = &pieces[0] else { panic!("{pieces:?}") };
    let message = Icmpv6::TimeExceeded { code: 0, invoking: first };
    let actions = handle(&mut forwarding, &error(&message));
    assert!(matches!(icmpv6(sent(&actions)), Icmpv6::DestinationUnreachable { code: 3, .. }));
}

#[test]
fn what_quotes_no_packet_of_ours_is_not_believed() {
    let inner = packet(CORRESPONDENT, HOME);
    let rows = [
        ("nothing", vec![]),
        ("not a packet", vec![0; 60]),
        ("a packet that is no tunnel", inner.clone()),
        ("cut off in the inner header", tunnelled_down(AGENT, CARE_OF_1, &inner)[..79].to_vec()),
        ("to a care-of address that is not bound", tunnelled_down(AGENT, CARE_OF_3, &inner)),
        ("from another home agent", tunnelled_down(CORRESPONDENT, CARE_OF_1, &inner)),
        (
            "for a home address of another",
            tunnelled_down(AGENT, CARE_OF_1, &packet(CORRESPONDENT, UNBOUND)),
        ),
    ];
    for (what, invoking) in rows {
        for message in [
            Icmpv6::TimeExceeded { code: 0, invoking: &invoking },
            Icmpv6::PacketTooBig { mtu: 1280, invoking: &invoking },
        ] {
            let mut forwarding = forwarding();
            let actions = handle(&mut forwarding, &error(&message));
            assert_eq!(actions, [Action::Drop(DropReason::IcmpUnrelated)], "{what}");
            let actions = handle(&mut forwarding, &sized(CORRESPONDENT, HOME, 1460));
            assert_eq!(drops(&actions), [], "{what}: nothing was learned");
        }
    }
}

#[test]
fn an_error_about_a_tunnelled_error_is_not_passed_on() {
    let mut forwarding = forwarding();
    let inner =
        PacketBuilder::new(CORRESPONDENT, HOME).build(protocol::ICMPV6, &[1, 3, 0, 0, 0, 0, 0, 0]);
    let outer = tunnelled_down(AGENT, CARE_OF_1, &inner);
    let message = Icmpv6::TimeExceeded { code: 0, invoking: &outer };
    let actions = handle(&mut forwarding, &error(&message));
    assert_eq!(actions, [Action::Drop(DropReason::IcmpRelayed)]);
}

#[test]
fn an_error_about_our_own_words_is_not_passed_on() {
    let inner = packet(AGENT, HOME);
    let outer = tunnelled_down(AGENT, CARE_OF_1, &inner);
    let message = Icmpv6::TimeExceeded { code: 0, invoking: &outer };
    let actions = handle(&mut forwarding(), &error(&message));
    assert_eq!(actions, [Action::Drop(DropReason::IcmpRelayed)]);
}

fn tunnelled_down(source: Ipv6Addr, destination: Ipv6Addr, inner: &[u8]) -> Vec<u8> {
    encapsulate_v6(inner, source, destination, 64, 0, 0)
}
