//! What the home agent sends without being asked.

use homeport_mobile::{Command, DropReason, Event, LossReason};
use homeport_wire::{
    Bid, BidOption, BindingRefreshRequest, BindingRevocation, BindingRevocationIndication, Message,
    MobilityOption, RevocationFlags, RevocationTrigger, encapsulate_v6, mobility_packet,
};

use crate::support::*;

fn request(bids: &[u16]) -> Message<'static> {
    let mut options = BindingRefreshRequest::builder();
    for bid in bids {
        options.push(&MobilityOption::BindingIdentifier(BidOption::refresh(Bid(*bid))));
    }
    Message::BindingRefreshRequest(BindingRefreshRequest { options: options.finish() })
}

fn three() -> Lab {
    Lab::registered(settings(), &[address(1, COA1), address(2, COA2), address(7, COA_V4)])
}

#[test]
fn a_refresh_request_by_each_way() {
    for path in [COA1.path(), COA2.path(), COA_V4.path()] {
        let mut lab = three();
        lab.arrive(path, &envelope(path, &protect(request(&[2]), path, None)));
        assert_eq!(lab.update().names(), [2], "{path}");
        let told = Event::RefreshRequested { bids: vec![Bid(2)] };
        assert_eq!(lab.events(), [told]);
        // A second request while the answer is on its way adds nothing.
        lab.arrive(path, &envelope(path, &protect(request(&[2]), path, None)));
        assert_eq!(lab.updates().len(), 0);
    }
}

#[test]
fn a_refresh_request_without_names_means_all_and_unknown_names_none() {
    let mut lab = three();
    let path = COA1.path();
    lab.arrive(path, &envelope(path, &protect(request(&[]), path, None)));
    assert_eq!(lab.update().names(), [1, 2, 7]);
    let mut lab = three();
    lab.arrive(path, &envelope(path, &protect(request(&[9]), path, None)));
    assert_eq!(lab.updates().len(), 0);
}

#[test]
fn messages_of_others_and_in_wrong_places_are_dropped() {
    let mut lab = three();
    lab.command(Command::Refresh { bids: vec![Bid(1)], bulk: false });
    let seen = lab.update();
    let care_of = match seen.path {
        homeport_mobile::Path::Foreign(address) => address,
        other => panic!("{other}"),
    };
    let answer = Answer::to(&seen, homeport_wire::Status::ACCEPTED, &[]);
    let direct = answer.packet(seen.path, None);
    let inner = answer.packet(COA_V4.path(), None);
    let tunnelled = encapsulate_v6(&inner, HOME_AGENT, care_of, 64, 0, 0);
    let header = &direct[64..];
    let rows = [
        (mobility_packet(CORRESPONDENT, care_of, None, Some(HOME), header), "not_from_home_agent"),
        (mobility_packet(HOME_AGENT, care_of, None, Some(CORRESPONDENT), header), "not_for_node"),
        (mobility_packet(HOME_AGENT, care_of, None, None, header), "checksum"),
        (tunnelled, "unexpected_message"),
        (direct[..60].to_vec(), "truncated"),
    ];
    for (packet, expected) in rows {
        lab.arrive(seen.path, &packet);
        let reasons: Vec<_> = lab.drops().iter().map(|reason| reason.reason()).collect();
        assert_eq!(reasons, [expected]);
        lab.take();
    }
    // An update is nothing for a mobile node.
    let mut update = see_any(&mut lab);
    update.splice(0..0, []);
    lab.arrive(seen.path, &envelope(seen.path, &update));
    assert!(matches!(lab.drops()[0], DropReason::UnexpectedMessage), "{:?}", lab.drops());
}

/// The Mobility Header of an update of the node, its checksum for the way back.
fn see_any(lab: &mut Lab) -> Vec<u8> {
    lab.command(Command::Refresh { bids: vec![Bid(2)], bulk: false });
    let seen = lab.update();
    lab.take();
    // The sum over both addresses is the same in either direction.
    seen.header
}

#[test]
fn revocation_of_all_of_one_and_of_none() {
    let indication = |bids: &[u16], flags| {
        let mut options = BindingRevocation::builder();
        for bid in bids {
            options.push(&MobilityOption::BindingIdentifier(BidOption::refresh(Bid(*bid))));
        }
        let trigger = RevocationTrigger::ADMINISTRATIVE;
        let options = options.finish();
        let indication = BindingRevocationIndication { trigger, sequence: 5, flags, options };
        let message = Message::BindingRevocation(BindingRevocation::Indication(indication));
        envelope(COA1.path(), &protect(message, COA1.path(), None))
    };
    let none = RevocationFlags(0);
    let rows: [(&[u16], RevocationFlags, u8, &[u16]); 7] = [
        (&[], none, 0, &[1, 2, 7]),
        (&[2], none, 0, &[2]),
        (&[2, 9], none, 1, &[2]),
        (&[9], none, 128, &[]),
        (&[], RevocationFlags::PROXY, 135, &[]),
        (&[], RevocationFlags::IPV4_ONLY, 129, &[]),
        (&[], RevocationFlags::GLOBAL, 130, &[]),
    ];
    for (bids, flags, status, lost) in rows {
        let mut lab = three();
        lab.arrive(COA1.path(), &indication(bids, flags));
        let packet = lab.packets().remove(0);
        let homeport_mobile::Transmit::Ipv6 { from, packet } = packet else { panic!() };
        let walked = homeport_wire::walk(&packet).unwrap();
        assert!(walked.home_address.is_some());
        let message = Message::parse(walked.payload, walked.pseudo_header()).unwrap();
        let Message::BindingRevocation(BindingRevocation::Acknowledgement(answer)) = message else {
            panic!("{message:?}");
        };
        assert_eq!((answer.status.0, answer.sequence), (status, 5), "{bids:?}");
        let expected: Vec<_> = lost
            .iter()
            .map(|bid| Event::Lost { bid: Bid(*bid), reason: LossReason::Revoked })
            .collect();
        assert_eq!(lab.events(), expected);
        // The answer may get lost: it is the same the second time.
        lab.arrive(COA1.path(), &indication(bids, flags));
        let again = lab.packets().remove(0);
        assert_eq!(again, homeport_mobile::Transmit::Ipv6 { from, packet });
        assert_eq!(lab.events(), []);
        // What was revoked is not registered again by itself.
        lab.advance(450_000);
        let names: Vec<u16> = lab.updates().iter().flat_map(Seen::names).collect();
        assert!(names.iter().all(|bid| !lost.contains(bid)), "{names:?}");
    }
    let mut lab = Lab::new(settings());
    lab.arrive(COA1.path(), &indication(&[], none));
    assert_eq!((lab.packets().len(), lab.drops()), (0, vec![DropReason::NotForNode]));
}
