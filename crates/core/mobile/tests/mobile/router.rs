//! A mobile router: what it asks for, what the home agent may answer, and which packets go.

use homeport_mobile::{
    CareOf, Command, Event, MobileRouter, NetworkPrefix, Outcome, Settings, Transmit,
};
use homeport_wire::{BaFlags, Bid, BuFlags, PacketBuilder, Status};

use crate::support::*;

const NO_NEXT_HEADER: u8 = 59;

fn router() -> MobileRouter {
    let prefix = NetworkPrefix { prefix: "2001:db8:100::".parse().unwrap(), length: 56 };
    MobileRouter { prefixes: vec![prefix], explicit: true, host_when_refused: false }
}

fn lab(router: MobileRouter) -> Lab {
    Lab::new(Settings { mobile_router: Some(router), ..settings() })
}

/// Accepts as a home agent that serves routers.
fn serve(lab: &mut Lab, seen: &Seen) {
    let answer = Answer::to(seen, Status::ACCEPTED, &[(1, Status::ACCEPTED)]);
    lab.deliver(&Answer { flags: BaFlags::MOBILE_ROUTER, ..answer }, seen.path);
}

fn from_behind() -> Vec<u8> {
    PacketBuilder::new("2001:db8:100::7".parse().unwrap(), CORRESPONDENT).build(NO_NEXT_HEADER, &[])
}

#[test]
fn each_mode_in_every_update_but_not_in_the_last() {
    for explicit in [true, false] {
        let mut lab = lab(MobileRouter { explicit, ..router() });
        lab.register(&[address(1, COA1)], false);
        let named = |seen: &Seen| seen.options.contains(&"prefix");
        let first = lab.update();
        assert!(first.flags.contains(BuFlags::MOBILE_ROUTER));
        assert_eq!(named(&first), explicit);
        serve(&mut lab, &first);
        lab.command(Command::Refresh { bids: vec![], bulk: false });
        let refresh = lab.update();
        assert_eq!(named(&refresh), explicit);
        serve(&mut lab, &refresh);
        lab.command(Command::Deregister { bids: vec![Bid(1)], bulk: false });
        assert!(!named(&lab.update()));
    }
}

#[test]
fn packets_of_the_network_go_when_the_home_agent_says_so() {
    let mut lab = lab(router());
    lab.register(&[address(1, COA1)], false);
    let seen = lab.update();
    assert!(lab.node.encapsulate(None, &from_behind()).is_err());
    serve(&mut lab, &seen);
    assert!(lab.events().contains(&Event::Router { served: true }));
    let CareOf::V6(care_of) = COA1 else { panic!() };
    let sent = lab.node.encapsulate(None, &from_behind()).unwrap();
    assert!(matches!(sent, Transmit::Ipv6 { from, .. } if from == care_of), "{sent:?}");
    lab.command(Command::DeregisterAll { from: None });
    let last = lab.update();
    lab.accept(&last);
    assert!(lab.events().contains(&Event::Router { served: false }));
    assert!(lab.node.encapsulate(None, &from_behind()).is_err());
}

#[test]
fn an_acceptance_without_the_flag_serves_the_host_only() {
    let mut lab = lab(router());
    let request = lab.register(&[address(1, COA1)], false);
    let seen = lab.update();
    lab.accept(&seen);
    assert!(lab.results(request)[0].1.is_success());
    assert!(lab.events().contains(&Event::NotServedAsRouter));
    assert!(!lab.node.is_served_as_router());
    assert!(lab.node.encapsulate(None, &from_behind()).is_err());
}

/// Status, the router that gets it, and what it sends then: R flag and prefixes, or nothing.
type Row = (Status, MobileRouter, Option<(bool, bool)>);

#[test]
fn refusals_by_mode() {
    let implicit = MobileRouter { explicit: false, ..router() };
    let unaware = MobileRouter { prefixes: vec![], ..implicit.clone() };
    let modest = MobileRouter { host_when_refused: true, ..router() };
    let rows: [Row; 6] = [
        (Status(140), router(), None),
        (Status(140), modest, Some((false, false))),
        (Status(141), router(), None),
        (Status(142), router(), None),
        (Status(143), implicit, Some((true, true))),
        (Status(143), unaware, None),
    ];
    for (status, router, expected) in rows {
        let mut lab = lab(router);
        let request = lab.register(&[address(1, COA1)], false);
        let seen = lab.update();
        lab.refuse(&seen, status);
        let again = lab.updates().pop();
        let form = again.as_ref().map(|seen| {
            (seen.flags.contains(BuFlags::MOBILE_ROUTER), seen.options.contains(&"prefix"))
        });
        assert_eq!(form, expected, "{status}");
        match again {
            Some(again) => {
                lab.accept(&again);
                assert!(lab.results(request)[0].1.is_success(), "{status}");
            }
            None => assert_eq!(lab.results(request)[0].1, Outcome::Refused { status }),
        }
    }
}

#[test]
fn bindings_of_another_type_end_first() {
    let mut lab = lab(router());
    let request = lab.register(&[address(1, COA1)], false);
    let seen = lab.update();
    lab.refuse(&seen, Status::REGISTRATION_TYPE_CHANGE);
    let ending = lab.update();
    assert_eq!((ending.lifetime.0, ending.names()), (0, vec![]));
    lab.accept(&ending);
    let again = lab.update();
    assert_eq!(again.names(), [1]);
    serve(&mut lab, &again);
    assert!(lab.results(request)[0].1.is_success());
    // Not for ever.
    lab.command(Command::Refresh { bids: vec![], bulk: false });
    let seen = lab.update();
    let request = lab.register(&[address(1, COA1)], false);
    let status = Status::REGISTRATION_TYPE_CHANGE;
    let seen = lab.updates().pop().unwrap_or(seen);
    lab.refuse(&seen, status);
    let ending = lab.update();
    lab.accept(&ending);
    let again = lab.update();
    lab.refuse(&again, status);
    assert!(lab.updates().is_empty());
    assert_eq!(lab.results(request), [(Some(Bid(1)), Outcome::Refused { status })]);
}
