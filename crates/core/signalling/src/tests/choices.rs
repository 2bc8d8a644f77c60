//! What is chosen where the RFCs leave it open, in octets: `docs/decisions.md`.

use homeport_wire::{
    BaFlags, Bid, BidCareOf, BidOption, BidPriority, BindingAcknowledgement, FlowStatus,
    PacketBuilder, protocol,
};

use super::*;

const PEER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
const ANNOUNCED: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 20);

fn in_udp() -> UdpOuter {
    UdpOuter { peer: (PEER, 40_001), local: (Ipv4Addr::new(198, 51, 100, 1), 4191) }
}

fn bid(bid: u16, home: bool, care_of: BidCareOf) -> MobilityOption<'static> {
    MobilityOption::BindingIdentifier(BidOption {
        bid: Bid(bid),
        status: Status::ACCEPTED,
        home,
        priority: BidPriority::UNSET,
        care_of,
    })
}

fn acknowledgement(reply: &Reply) -> BindingAcknowledgement<'_> {
    let seen = walk(&reply.packet).unwrap();
    match Message::parse(seen.payload, seen.pseudo_header()).unwrap() {
        Message::BindingAcknowledgement(message) => message,
        other => panic!("{other:?}"),
    }
}

fn key() -> Key {
    Key(core::array::from_fn(|at| 0x10 + u8::try_from(at).unwrap()))
}

/// The Mobility Header of a Binding Update with an authenticator that covers this care-of address.
fn authenticated(options: &[MobilityOption<'_>], covered: Ipv6Addr) -> Vec<u8> {
    let mut builder = BindingUpdate::builder();
    for option in options {
        builder.push(option);
    }
    builder.push_authentication(1, 0x100, MN_HA_AUTHENTICATOR_LEN);
    let message = Message::BindingUpdate(BindingUpdate {
        sequence: Sequence(1),
        flags: BuFlags(0xc000),
        lifetime: Lifetime(10),
        options: builder.finish(),
    });
    let mac = mn_ha_authenticator(&key(), covered, HOME, &message.emit_unchecked());
    message.with_authenticator(&mac).emit(HOME, AGENT)
}

/// RFC 4285 §5.1 has one care-of address and IPv6: with several it is the one on the wire, over IPv4 the
/// mapped form of what is on the wire or announced. The answer covers the same.
#[test]
fn the_authenticator_covers_the_address_on_the_wire() {
    let v4 = bid(1, false, BidCareOf::V4(ANNOUNCED));
    let [second, third] = ["2001:db8:b::22", "2001:db8:c::33"].map(|text| text.parse().unwrap());
    let bulk = [bid(1, false, BidCareOf::V6(second)), bid(2, false, BidCareOf::V6(third))];
    let alternate = MobilityOption::AlternateCareOf(second);
    let plain_v4 = MobilityOption::Ipv4CareOf(ANNOUNCED);
    let (udp, mapped) = (Some(in_udp()), |address: Ipv4Addr| address.to_ipv6_mapped());
    let rows = [
        (&bulk[..], None, COA1, true),
        (&bulk[..], None, second, false),
        (&[alternate][..], None, COA1, true),
        (&[v4][..], udp, mapped(PEER), true),
        (&[v4][..], udp, mapped(ANNOUNCED), true),
        (&[plain_v4][..], udp, mapped(ANNOUNCED), true),
        (&[][..], udp, mapped(PEER), true),
        (&[][..], udp, mapped(ANNOUNCED), false),
        (&[v4][..], udp, HOME, false),
        (&[v4][..], None, mapped(ANNOUNCED), false),
    ];
    for (options, outer, covered, is_authentic) in rows {
        let mh = authenticated(options, covered);
        let packet = match outer {
            Some(_) => mobility_packet(HOME, AGENT, None, None, &mh),
            None => away(&mh),
        };
        let mut lab = Lab::authenticated();
        let reply = match lab.send(&packet, outer) {
            Seen::Answered(reply) => reply,
            Seen::Refused(reply) => {
                assert_eq!(reply.kind, ReplyKind::Acknowledgement(Status::AUTH_FAIL));
                assert!(!is_authentic, "{options:?} under {covered}");
                continue;
            }
            other => panic!("{other:?}"),
        };
        assert!(is_authentic, "{options:?} under {covered}");
        let seen = walk(&reply.packet).unwrap();
        let expected = mn_ha_authenticator(&key(), covered, HOME, seen.payload);
        assert!(seen.payload.ends_with(&expected), "{options:?} under {covered}");
    }
}

#[test]
fn a_home_binding_comes_with_or_without_home_address_option() {
    let lla = MobilityOption::LinkLayerAddress { code: 2, address: &[2, 0, 0, 0, 0, 1] };
    let mh = update(0xc000, 10, &[bid(4, true, BidCareOf::Absent), lla]);
    for option in [None, Some(HOME)] {
        let mut lab = Lab::new(Authentication::None);
        let reply = lab.answer(&mobility_packet(HOME, AGENT, option, None, &mh), None);
        let kind = ReplyKind::Acknowledgement(Status::MCOA_RETURNHOME_WO_NDP);
        assert_eq!(reply.kind, kind, "{option:?}");
        let seen = walk(&reply.packet).unwrap();
        assert_eq!((seen.header.destination, seen.routing_home_address), (HOME, None));
    }
    let foreign = update(0xc000, 10, &[bid(4, false, BidCareOf::V6(COA1))]);
    let mut lab = Lab::new(Authentication::None);
    let packet = mobility_packet(HOME, AGENT, None, None, &foreign);
    assert_eq!(lab.drops(&packet), "home_address_option_missing");
}

#[test]
fn an_unknown_flow_comes_back_without_priority() {
    let mut builder = BindingUpdate::builder();
    builder.push(&bid(1, false, BidCareOf::V6(COA1)));
    builder.push_flow_summary(&[5, 6]);
    let message = Message::BindingUpdate(BindingUpdate {
        sequence: Sequence(1),
        flags: BuFlags(0xc000),
        lifetime: Lifetime(10),
        options: builder.finish(),
    });
    let mut lab = Lab::with(home_prefix(Authentication::None));
    let reply = lab.answer(&away(&message.emit(HOME, AGENT)), None);
    let answer = acknowledgement(&reply);
    let flows: Vec<_> = answer
        .options
        .iter()
        .filter_map(|option| match option {
            MobilityOption::FlowIdentification(flow) => {
                Some((flow.fid, flow.priority, flow.status))
            }
            _ => None,
        })
        .collect();
    let unknown = FlowStatus::FID_NOT_FOUND;
    assert_eq!(flows, [(5, 0, unknown), (6, 0, unknown)]);
}

/// K is never promised where no IKE has made the associations (RFC 6275 §10.3.1), whatever care-of addresses the
/// Binding Update has; and what comes in ESP without an association is dropped.
#[test]
fn without_ike_nothing_is_promised_about_it() {
    let mut lab = Lab::new(Authentication::None);
    let esp = PacketBuilder::new(COA1, AGENT).build(protocol::ESP, &[0; 32]);
    assert_eq!(lab.drops(&esp), "no_security_association");
    let second = BidCareOf::V6("2001:db8:b::22".parse().unwrap());
    let one = bid(1, false, BidCareOf::V6(COA1));
    for options in [vec![], vec![one], vec![one, bid(2, false, second)]] {
        let mut lab = Lab::new(Authentication::None);
        let reply = lab.answer(&away(&update(0xd000, 10, &options)), None);
        assert_eq!(reply.kind, ReplyKind::Acknowledgement(Status::ACCEPTED));
        assert_eq!(acknowledgement(&reply).flags, BaFlags::default(), "{options:?}");
    }
}
