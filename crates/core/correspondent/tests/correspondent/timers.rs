//! Ends of bindings, Binding Refresh Requests and unreachable care-of addresses.

use homeport_correspondent::{EndReason, Event, Input, Output, Settings, SettingsError};
use homeport_wire::{
    Bid, BidOption, Lifetime, Message, MobilityOption, PacketBuilder, protocol, walk,
};

use crate::support::*;

fn data() -> Vec<u8> {
    PacketBuilder::new(OWN, HOME).build(protocol::UDP, &[0; 16])
}

/// BIDs of every Binding Refresh Request, with the seconds at which it left.
fn requests(lab: &mut Lab, secs: u64) -> Vec<(u64, Vec<u16>)> {
    let begin = lab.now;
    let mut found = Vec::new();
    for _ in 0..secs {
        for output in lab.pass(1) {
            let Output::Send(packet) = output else { continue };
            let walked = walk(&packet).unwrap();
            assert_eq!((walked.header.source, walked.header.destination), (OWN, HOME));
            assert_eq!(walked.routing_home_address, None);
            let message = Message::parse(walked.payload, walked.pseudo_header()).unwrap();
            let Message::BindingRefreshRequest(request) = message else { panic!("{message:?}") };
            let bids = request.options.iter().map(|option| match option {
                MobilityOption::BindingIdentifier(option) => {
                    assert_eq!(option, BidOption::refresh(option.bid));
                    option.bid.0
                }
                other => panic!("{other:?}"),
            });
            found.push((lab.now.since(begin) / 1000, bids.collect()));
        }
    }
    found
}

#[test]
fn bindings_end_at_their_time() {
    let mut lab = Lab::new();
    lab.bind(Draft::new(1, COA1).bid(BidOption::v6(Bid(1), COA1)).lifetime(10), COA1);
    lab.bind(Draft::new(2, COA2).bid(BidOption::v6(Bid(2), COA2)).lifetime(20), COA2);
    assert_eq!(events(&lab.pass(39)), []);
    let ended =
        |bid| Event::Ended { home_address: HOME, bid: Some(Bid(bid)), reason: EndReason::Expired };
    assert_eq!(events(&lab.pass(1)), [ended(1)]);
    assert_eq!(events(&lab.pass(40)), [ended(2)]);
    assert_eq!(lab.care_ofs(HOME), []);
    lab.pass(200);
    assert_eq!((lab.node.homes().count(), lab.node.next_deadline()), (0, None));
}

#[test]
fn a_binding_in_use_is_asked_for_before_it_ends() {
    let mut lab = Lab::new();
    lab.bind(Draft::new(1, COA1).lifetime(105), COA1);
    assert!(lab.node.route(lab.now, &data()).is_some());
    // A tenth of 420 s before the end, then twice more.
    assert_eq!(requests(&mut lab, 420), [(378, vec![]), (383, vec![]), (388, vec![])]);
}

#[test]
fn a_binding_that_nobody_uses_is_not_asked_for() {
    let mut lab = Lab::new();
    lab.bind(Draft::new(1, COA1).lifetime(50), COA1);
    assert_eq!(requests(&mut lab, 200), []);

    // Used at last when the request is overdue already: it leaves at once.
    let mut lab = Lab::new();
    lab.bind(Draft::new(1, COA1).lifetime(50), COA1);
    lab.pass(190);
    assert!(lab.node.route(lab.now, &data()).is_some());
    assert_eq!(requests(&mut lab, 4), [(1, vec![])]);
}

#[test]
fn requests_name_the_bindings_and_stop_at_an_update() {
    let mut lab = Lab::new();
    let first = BidOption::v6(Bid(1), COA1);
    lab.bind(Draft::new(1, COA1).bid(first).lifetime(25), COA1);
    assert!(lab.node.route(lab.now, &data()).is_some());
    lab.bind(Draft::new(2, COA2).bid(BidOption::v6(Bid(2), COA2)).lifetime(100), COA2);
    // Thirty seconds before the end of a hundred.
    assert_eq!(requests(&mut lab, 71), [(70, vec![1])]);
    lab.bind(Draft::new(3, COA1).bid(BidOption::refresh(Bid(1))).lifetime(25), COA1);
    assert_eq!(requests(&mut lab, 29), []);
}

#[test]
fn lasting_unreachability_ends_a_binding() {
    let mut lab = Lab::new();
    lab.bind(Draft::new(1, COA1).bid(BidOption::v6(Bid(1), COA1)), COA1);
    lab.bind(Draft::new(2, COA2).bid(BidOption::v6(Bid(2), COA2)), COA2);
    let error = || Input::Unreachable { home_address: HOME, care_of: COA1 };
    // A burst is not lasting.
    for _ in 0..20 {
        assert_eq!(lab.handle(error()), []);
    }
    lab.pass(9);
    assert_eq!(lab.handle(error()), []);
    // A packet from there says that the address works.
    let packet = PacketBuilder::new(COA1, OWN)
        .home_address_option(Some(HOME))
        .build(protocol::UDP, &[0; 16]);
    assert!(matches!(lab.arrive(&packet)[..], [Output::Deliver(_)]));
    for _ in 0..3 {
        assert_eq!(lab.handle(error()), []);
        lab.pass(4);
    }
    let ended =
        Event::Ended { home_address: HOME, bid: Some(Bid(1)), reason: EndReason::Unreachable };
    assert_eq!(events(&lab.handle(error())), [ended]);
    assert_eq!(lab.care_ofs(HOME), [(Some(Bid(2)), COA2)]);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let good = Settings::new(OWN);
    let link_local = "fe80::1".parse().unwrap();
    let rows = [
        (Settings { address: link_local, ..good.clone() }, SettingsError::Address),
        (Settings { lifetime_max: Lifetime(0), ..good.clone() }, SettingsError::Lifetime),
        (Settings { bindings_per_home_address_max: 0, ..good.clone() }, SettingsError::Bindings),
        (Settings { bindings_per_home_address_max: 33, ..good.clone() }, SettingsError::Bindings),
    ];
    for (settings, error) in rows {
        let refused = homeport_correspondent::Correspondent::new(settings);
        assert_eq!(refused.map(|_| ()), Err(error));
    }
    let long = Settings { lifetime_max: Lifetime(9999), ..good };
    let node = homeport_correspondent::Correspondent::new(long).unwrap();
    assert_eq!(node.settings().lifetime_max, Lifetime(105));
}
