//! Commands that end without a packet, and those that replace others.

use homeport_mobile::{
    CareOf, Command, Event, Input, MobileNode, MobileRouter, NetworkPrefix, Outcome, RequestId,
    Settings, SettingsError,
};
use homeport_wire::{Bid, Lifetime, Sequence};

use crate::support::*;

#[test]
fn what_cannot_be_done_ends_at_once() {
    let unusable = [
        address(0, COA1),
        address(1, CareOf::V6("fe80::1".parse().unwrap())),
        address(2, CareOf::V4("224.0.0.1".parse().unwrap())),
    ];
    let mut lab = Lab::new(settings());
    let request = lab.register(&unusable, true);
    let invalid = |bid| (Some(Bid(bid)), Outcome::Invalid);
    assert_eq!(lab.results(request), [invalid(0), invalid(1), invalid(2)]);

    let request = lab.command(Command::Move { bid: Bid(9), care_of: COA1 });
    assert_eq!(lab.results(request), [(Some(Bid(9)), Outcome::UnknownBid)]);
    let request = lab.command(Command::Refresh { bids: vec![Bid(9)], bulk: true });
    assert_eq!(lab.results(request), [(Some(Bid(9)), Outcome::UnknownBid)]);
    let request = lab.command(Command::Deregister { bids: vec![Bid(9)], bulk: true });
    assert_eq!(lab.results(request), [(Some(Bid(9)), Outcome::UnknownBid)]);
    let request = lab.command(Command::DeregisterAll { from: None });
    assert_eq!(lab.results(request), [(None, Outcome::UnknownBid)]);
    assert_eq!(lab.updates().len(), 0);
    assert_eq!(lab.node.next_deadline(), None);

    // IPv4 needs a home agent that can be reached by it.
    let mut lab = Lab::new(Settings { home_agent_v4: None, ..settings() });
    let request = lab.register(&[address(7, COA_V4)], false);
    assert_eq!(lab.results(request), [invalid(7)]);
}

#[test]
fn all_can_be_ended_by_a_node_that_knows_of_none() {
    let mut lab = Lab::new(settings());
    let request = lab.command(Command::DeregisterAll { from: Some(COA2) });
    let seen = lab.update();
    assert_eq!(seen.path, COA2.path());
    lab.accept(&seen);
    assert!(lab.results(request)[0].1.is_success());
}

#[test]
fn no_more_than_the_limits() {
    let mut lab = Lab::new(settings());
    let addresses: Vec<_> = (1..=65).map(|bid| address(bid, COA1)).collect();
    let request = lab.register(&addresses, true);
    lab.accept_everything();
    let results = lab.results(request);
    assert_eq!(results[0], (Some(Bid(65)), Outcome::Busy));
    assert_eq!(results.len(), 65);

    let mut last = None;
    for _ in 0..=256 {
        last = Some(lab.command(Command::Refresh { bids: vec![Bid(1)], bulk: false }));
    }
    assert_eq!(lab.results(last.unwrap()), [(None, Outcome::Busy)]);
}

#[test]
fn stop_ends_everything_silently() {
    let mut lab = Lab::registered(settings(), &[address(1, COA1)]);
    let waiting = lab.command(Command::Refresh { bids: vec![], bulk: false });
    lab.updates();
    let stop = lab.command(Command::Stop);
    assert_eq!(lab.results(waiting), [(Some(Bid(1)), Outcome::Stopped)]);
    assert_eq!(lab.results(stop), []);
    assert_eq!((lab.updates().len(), lab.node.next_deadline()), (0, None));
    lab.register(&[address(1, COA1)], false);
    assert!(lab.update().overwrites(), "a new life begins with overwriting");
}

#[test]
fn a_removal_replaces_a_registration() {
    let mut lab = Lab::new(settings());
    let register = lab.register(&[address(1, COA1)], false);
    let begin = lab.update();
    let remove = lab.command(Command::Deregister { bids: vec![Bid(1)], bulk: false });
    assert_eq!(lab.results(register), [(Some(Bid(1)), Outcome::Superseded)]);
    let end = lab.update();
    lab.accept(&begin);
    assert!(lab.node.bindings()[0].registered.is_none());
    lab.accept(&end);
    assert!(lab.results(remove)[0].1.is_success());
}

#[test]
fn a_refresh_that_waits_is_only_sped_up() {
    let mut lab = Lab::registered(settings(), &[address(1, COA1)]);
    let mut requests = Vec::new();
    let mut updates = Vec::new();
    for _ in 0..5 {
        requests.push(lab.command(Command::Refresh { bids: vec![], bulk: false }));
        updates.push(lab.update());
        lab.advance(100);
    }
    // The answer to the second serves all who wait; the others are noted all the same.
    lab.accept(&updates[1]);
    for request in requests {
        assert!(lab.results(request)[0].1.is_success());
    }
    lab.take();
    lab.accept(&updates[4]);
    assert_eq!(lab.drops(), []);
    let confirmed = lab.node.bindings()[0].registered.as_ref().unwrap().sequence;
    assert_eq!(confirmed, updates[4].sequence);
}

#[test]
fn settings_are_checked() {
    let identifier =
        Some(homeport_mobile::MnHaAssociation { identifier: vec![b'a'; 255], ..association() });
    let no_key = Some(homeport_mobile::MnHaAssociation { key: Vec::new(), ..association() });
    let prefix = NetworkPrefix { prefix: HOME, length: 129 };
    let rows = [
        (
            Settings { home_address: "ff02::1".parse().unwrap(), ..settings() },
            SettingsError::HomeAddress,
        ),
        (
            Settings { home_agent: "ff02::1".parse().unwrap(), ..settings() },
            SettingsError::HomeAgent,
        ),
        (Settings { home_prefix_len: 129, ..settings() }, SettingsError::HomePrefix),
        (Settings { lifetime: Lifetime(0), ..settings() }, SettingsError::Lifetime),
        (Settings { authentication: identifier, ..settings() }, SettingsError::Identifier),
        (Settings { authentication: no_key, ..settings() }, SettingsError::Key),
        (
            Settings {
                mobile_router: Some(MobileRouter {
                    prefixes: vec![prefix],
                    ..MobileRouter::default()
                }),
                ..settings()
            },
            SettingsError::Prefixes,
        ),
        (
            Settings { link_layer_address: Some(vec![]), ..settings() },
            SettingsError::LinkLayerAddress,
        ),
    ];
    for (settings, expected) in rows {
        let error = MobileNode::new(settings, Sequence(0)).err();
        assert_eq!(error, Some(expected));
        assert!(!expected.to_string().is_empty());
    }
}

#[test]
fn what_an_earlier_life_registered_can_be_ended_one_by_one() {
    let mut lab = Lab::new(settings());
    let addresses = vec![address(1, COA1), address(2, COA2)];
    let adopt = lab.command(Command::Adopt { addresses });
    assert_eq!(lab.results(adopt), []);
    assert_eq!((lab.updates().len(), lab.node.next_deadline()), (0, None));
    let request = lab.command(Command::Deregister { bids: vec![Bid(2)], bulk: false });
    let seen = lab.update();
    assert_eq!((seen.path, seen.names()), (COA2.path(), vec![2]));
    lab.accept(&seen);
    assert!(lab.results(request)[0].1.is_success());
}

#[test]
fn commands_of_nobody_are_neither_kept_nor_told() {
    let mut lab = Lab::registered(settings(), &[address(1, COA1)]);
    let refresh = || Command::Refresh { bids: vec![], bulk: false };
    for _ in 0..1000 {
        lab.input(Input::Command(RequestId::NOBODY, refresh()));
        assert_eq!(lab.updates().len(), 1);
        lab.advance(100);
    }
    let request = lab.command(refresh());
    let seen = lab.update();
    lab.take();
    lab.accept(&seen);
    let told = lab.events();
    let ends = told.iter().filter(|event| matches!(event, Event::Completed { .. }));
    assert_eq!(ends.count(), 1, "{told:?} for {request:?}");
}
