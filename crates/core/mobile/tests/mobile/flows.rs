//! Registration of several care-of addresses, single and bulk.

use homeport_mobile::{CareOf, Command, Event, LossReason, Mode, Outcome, Refresh, Settings};
use homeport_wire::{Bid, BidCareOf, BidPriority, BuFlags, Lifetime, Sequence, Status};

use crate::support::*;

fn three() -> [homeport_mobile::CareOfAddress; 3] {
    [address(1, COA1), address(2, COA2), address(3, COA3)]
}

#[test]
fn single_updates_begin_with_one_that_overwrites() {
    let mut lab = Lab::new(settings());
    let request = lab.register(&three(), false);
    let first = lab.update();
    assert_eq!((first.path, first.names(), first.overwrites()), (COA1.path(), vec![1], true));
    let wanted = BuFlags::ACKNOWLEDGE.with(BuFlags::HOME_REGISTRATION);
    assert!(first.flags.contains(wanted));
    assert_eq!(first.lifetime, ASKED);
    assert_eq!(first.options, ["bid"]);
    lab.accept(&first);
    let rest = lab.updates();
    let seen: Vec<_> = rest.iter().map(|s| (s.path, s.names(), s.overwrites())).collect();
    assert_eq!(seen, [(COA2.path(), vec![2], false), (COA3.path(), vec![3], false)]);
    for update in &rest {
        lab.accept(update);
    }
    let results = lab.results(request);
    assert_eq!(results.len(), 3);
    assert!(results.iter().all(|(_, outcome)| outcome.is_success()));
}

#[test]
fn while_the_first_is_silent_another_takes_over_the_overwriting() {
    let mut lab = Lab::new(settings());
    lab.register(&three(), false);
    let first = lab.update();
    lab.jump();
    let second = lab.update();
    assert_eq!((second.names(), second.overwrites()), (vec![2], true));
    lab.accept(&second);
    // The acknowledgement of the first is void: the second has overwritten what it made.
    lab.accept(&first);
    let registered = |lab: &Lab, bid| {
        lab.node.bindings().iter().any(|view| view.bid == Bid(bid) && view.registered.is_some())
    };
    assert!(registered(&lab, 2) && !registered(&lab, 1));
    lab.accept_everything();
    while !registered(&lab, 1) {
        lab.jump();
        let updates = lab.updates();
        assert!(updates.iter().all(|seen| !seen.overwrites()));
        updates.iter().for_each(|seen| lab.accept(seen));
    }
}

#[test]
fn a_bulk_update_leaves_from_the_first_address_and_then_from_the_next() {
    let mut lab = Lab::new(settings());
    lab.register(&three(), true);
    let mut paths = vec![lab.update().path];
    for _ in 0..4 {
        lab.jump();
        let seen = lab.update();
        assert_eq!(seen.names(), [1, 2, 3]);
        paths.push(seen.path);
    }
    let expected = [COA1, COA1, COA2, COA2, COA3].map(CareOf::path);
    assert_eq!(paths, expected);
}

#[test]
fn partial_success_of_a_bulk_update() {
    let mut lab = Lab::new(settings());
    let request = lab.register(&three(), true);
    let seen = lab.update();
    let statuses =
        [(1, Status::ACCEPTED), (2, Status::INVALID_CARE_OF_ADDRESS), (3, Status::ACCEPTED)];
    let answer = Answer::to(&seen, Status::MCOA_NOTCOMPLETE, &statuses);
    lab.deliver(&answer, seen.path);
    let mut results = lab.results(request);
    results.sort_unstable_by_key(|(bid, _)| *bid);
    let registered =
        |care_of| Outcome::Registered { care_of, lifetime: ASKED, status: Status::ACCEPTED };
    assert_eq!(
        results,
        [
            (Some(Bid(1)), registered(COA1)),
            (Some(Bid(2)), Outcome::Refused { status: Status::INVALID_CARE_OF_ADDRESS }),
            (Some(Bid(3)), registered(COA3)),
        ]
    );
}

#[test]
fn an_ipv4_address_introduces_itself_and_may_go_in_bulk_later() {
    let mut lab = Lab::new(settings());
    let addresses = [address(1, COA1), address(2, COA2), address(7, COA_V4)];
    lab.register(&addresses, true);
    let bulk = lab.update();
    assert_eq!((bulk.path, bulk.names()), (COA1.path(), vec![1, 2]));
    lab.accept(&bulk);
    let alone = lab.update();
    assert_eq!((alone.path, alone.names()), (COA_V4.path(), vec![7]));
    assert!(matches!(alone.bids[0].care_of, BidCareOf::V4(_)));
    lab.accept(&alone);
    lab.command(Command::Refresh { bids: vec![], bulk: true });
    let refresh = lab.update();
    assert_eq!(refresh.names(), [1, 2, 7]);
    assert!(refresh.bids.iter().all(|option| option.care_of == BidCareOf::Absent));

    // Refused there, it goes alone again (RFC 5648 §8.1).
    let statuses =
        [(1, Status::ACCEPTED), (2, Status::ACCEPTED), (7, Status::INVALID_CARE_OF_ADDRESS)];
    let answer = Answer::to(&refresh, Status::MCOA_NOTCOMPLETE, &statuses);
    lab.deliver(&answer, refresh.path);
    let alone = lab.update();
    assert_eq!((alone.path, alone.names()), (COA_V4.path(), vec![7]));
}

#[test]
fn only_ipv4_addresses_refresh_in_bulk_from_the_one_that_stands_first() {
    let mut lab = Lab::registered(settings(), &[address(7, COA_V4), address(8, COA_V4_OTHER)]);
    lab.command(Command::Refresh { bids: vec![], bulk: true });
    let seen = lab.update();
    assert_eq!((seen.path, seen.names()), (COA_V4.path(), vec![7, 8]));
    // The address under the authenticator is announced; the other is known.
    assert!(matches!(seen.bids[0].care_of, BidCareOf::V4(_)));
    assert_eq!(seen.bids[1].care_of, BidCareOf::Absent);
    lab.jump();
    lab.jump();
    let seen = lab.updates().pop().unwrap();
    assert_eq!((seen.path, seen.names()), (COA_V4_OTHER.path(), vec![8, 7]));
}

#[test]
fn a_move_leaves_from_the_new_address_and_carries_it() {
    let mut lab = Lab::registered(settings(), &three());
    let request = lab.command(Command::Move { bid: Bid(1), care_of: COA_V4 });
    let seen = lab.update();
    assert_eq!((seen.path, seen.names()), (COA_V4.path(), vec![1]));
    // Until it is acknowledged, packets still go by the old address.
    let view = lab.node.bindings().remove(0);
    assert_eq!((view.care_of, view.registered.unwrap().care_of), (COA_V4, COA1));
    lab.accept(&seen);
    assert!(lab.results(request)[0].1.is_success());
    assert!(lab.events().contains(&Event::Moved { bid: Bid(1), from: COA1, to: COA_V4 }));
}

#[test]
fn a_move_during_a_move_makes_the_first_void() {
    let mut lab = Lab::registered(settings(), &[address(1, COA1)]);
    let first = lab.command(Command::Move { bid: Bid(1), care_of: COA2 });
    let to_2 = lab.update();
    let second = lab.command(Command::Move { bid: Bid(1), care_of: COA3 });
    let to_3 = lab.update();
    lab.accept(&to_2);
    assert_eq!(lab.try_results(second), None);
    lab.accept(&to_3);
    for request in [first, second] {
        let outcome = lab.results(request)[0].1;
        assert!(matches!(outcome, Outcome::Registered { care_of: COA3, .. }), "{outcome:?}");
    }
}

#[test]
fn a_refused_move_leaves_the_binding_where_it_was() {
    let mut lab = Lab::registered(settings(), &[address(1, COA1)]);
    lab.command(Command::Move { bid: Bid(1), care_of: COA2 });
    let seen = lab.update();
    lab.refuse(&seen, Status::INVALID_CARE_OF_ADDRESS);
    let view = lab.node.bindings().remove(0);
    assert_eq!((view.care_of, view.wanted), (COA1, true));
    assert_eq!(view.registered.unwrap().care_of, COA1);
    lab.take();
    lab.jump();
    assert_eq!(lab.update().path, COA1.path());
}

#[test]
fn removal_of_some_in_one_update_and_of_all_in_a_plain_one() {
    let mut lab = Lab::registered(settings(), &three());
    let some = lab.command(Command::Deregister { bids: vec![Bid(3), Bid(2)], bulk: true });
    let seen = lab.update();
    assert_eq!((seen.names(), seen.lifetime), (vec![2, 3], Lifetime::DEREGISTER));
    assert!(seen.bids.iter().all(|option| option.care_of == BidCareOf::Absent));
    let statuses = [(2, Status::ACCEPTED), (3, Status::NOT_HOME_AGENT)];
    let answer =
        Answer { lifetime: Lifetime(0), ..Answer::to(&seen, Status::MCOA_NOTCOMPLETE, &statuses) };
    lab.deliver(&answer, seen.path);
    let results = lab.results(some);
    assert!(results.iter().all(|(_, outcome)| outcome.is_success()), "{results:?}");

    let all = lab.command(Command::DeregisterAll { from: None });
    let seen = lab.update();
    assert_eq!((seen.path, seen.names()), (COA1.path(), vec![]));
    assert_eq!(seen.options, ["alternate care-of"]);
    lab.accept(&seen);
    assert_eq!(lab.results(all), [(None, Outcome::Deregistered { status: Status::ACCEPTED })]);
    assert_eq!(lab.node.bindings(), []);
    assert_eq!(lab.node.next_deadline(), None);
}

#[test]
fn removal_is_tried_from_other_addresses_too() {
    let mut lab = Lab::registered(settings(), &three());
    lab.command(Command::Deregister { bids: vec![Bid(3)], bulk: false });
    let mut paths = vec![lab.update().path];
    for _ in 0..3 {
        lab.jump();
        paths.push(lab.update().path);
    }
    assert_eq!(paths, [COA3, COA3, COA1, COA1].map(CareOf::path));
}

#[test]
fn return_home_leaves_from_the_home_address() {
    let mut lab = Lab::registered(settings(), &three());
    let request = lab.command(Command::ReturnHome);
    let seen = lab.update();
    assert_eq!((seen.path, seen.lifetime), (CareOf::Home.path(), Lifetime::DEREGISTER));
    assert_eq!(seen.options, Vec::<&str>::new());
    lab.accept(&seen);
    assert!(lab.results(request)[0].1.is_success());
    assert!(lab.events().contains(&Event::ReturnedHome));
}

#[test]
fn a_registration_after_the_end_of_all_is_not_ended_by_a_repetition() {
    let mut lab = Lab::registered(settings(), &[address(1, COA1)]);
    let all = lab.command(Command::DeregisterAll { from: None });
    let end = lab.update();
    let again = lab.register(&[address(1, COA2)], false);
    let begin = lab.update();
    assert_eq!(lab.results(all), [(None, Outcome::Superseded)]);
    lab.accept(&end);
    lab.accept(&begin);
    assert!(lab.results(again)[0].1.is_success());
    assert!(lab.node.bindings()[0].registered.is_some());
}

#[test]
fn an_overwriting_update_ends_what_it_does_not_name() {
    let mut lab = Lab::registered(settings(), &three()[..2]);
    // The home agent says that a plain binding exists: it has lost ours.
    lab.register(&[address(3, COA3)], false);
    let seen = lab.update();
    lab.refuse(&seen, Status::MCOA_NON_MCOA_BINDING_EXISTS);
    let again = lab.update();
    assert!(again.overwrites());
    lab.accept(&again);
    let lost: Vec<_> = lab
        .events()
        .into_iter()
        .filter(|event| matches!(event, Event::Lost { reason: LossReason::Overwritten, .. }))
        .collect();
    assert_eq!(lost.len(), 2);
    // They are registered again, with their addresses and without the flag.
    let seen = lab.update();
    assert_eq!((seen.names(), seen.overwrites()), (vec![1, 2], false));
    assert!(seen.bids.iter().all(|option| matches!(option.care_of, BidCareOf::V6(_))));
}

#[test]
fn priorities_go_along() {
    let mut lab = Lab::new(settings());
    let mut addresses = three();
    addresses[1].priority = BidPriority::new(5);
    lab.register(&addresses, true);
    let priorities: Vec<_> = lab.update().bids.iter().map(|o| o.priority.value()).collect();
    assert_eq!(priorities, [0, 5, 0]);
}

#[test]
fn more_than_forty_addresses_go_in_two_updates() {
    let mut lab = Lab::registered(settings(), &[address(1, COA1)]);
    let addresses: Vec<_> = (1..=64).map(|bid| address(bid, COA1)).collect();
    let request = lab.register(&addresses, true);
    let updates = lab.updates();
    let counts: Vec<_> = updates.iter().map(|seen| seen.bids.len()).collect();
    assert_eq!(counts, [40, 24]);
    updates.iter().for_each(|seen| lab.accept(seen));
    assert_eq!(lab.results(request).len(), 64);
}

#[test]
fn plain_updates_when_multiple_addresses_are_switched_off() {
    let mut settings = settings();
    settings.multiple_care_of = false;
    let mut lab = Lab::new(settings);
    let request = lab.register(&three(), true);
    let seen = lab.update();
    assert_eq!((seen.names(), seen.options.clone()), (vec![], vec!["alternate care-of"]));
    assert!(!seen.overwrites());
    lab.accept(&seen);
    let results = lab.results(request);
    assert!(results.contains(&(Some(Bid(2)), Outcome::SingleCareOf)));
    assert_eq!(lab.node.mode(), Mode::Single { active: Some(Bid(1)) });
    // Registering another one is the handover to it.
    lab.register(&[address(2, COA2)], false);
    let seen = lab.update();
    assert_eq!(seen.path, COA2.path());
    lab.accept(&seen);
    let registered: Vec<_> = lab
        .node
        .bindings()
        .into_iter()
        .filter(|view| view.registered.is_some())
        .map(|view| view.bid)
        .collect();
    assert_eq!(registered, [Bid(2)]);
}

#[test]
fn a_refresh_gives_the_address_unless_it_is_to_be_short() {
    for short in [false, true] {
        let base = settings();
        let refresh = Refresh { short, ..base.refresh };
        let mut lab = Lab::registered(Settings { refresh, ..base }, &[address(1, COA1)]);
        lab.command(Command::Refresh { bids: vec![], bulk: false });
        let given = lab.update().bids[0].care_of != BidCareOf::Absent;
        assert_eq!(given, !short);
    }
}

#[test]
fn a_way_back_gives_the_address_although_it_was_registered() {
    let mut lab = Lab::registered(settings(), &[address(1, COA1)]);
    lab.command(Command::Move { bid: Bid(1), care_of: COA2 });
    lab.updates();
    lab.command(Command::Move { bid: Bid(1), care_of: COA1 });
    let CareOf::V6(care_of) = COA1 else { panic!() };
    assert_eq!(lab.update().bids[0].care_of, BidCareOf::V6(care_of));
}

#[test]
fn a_number_of_an_earlier_life_makes_the_node_begin_anew() {
    let mut lab = Lab::registered(settings(), &[address(1, COA1), address(2, COA2)]);
    lab.command(Command::Refresh { bids: vec![Bid(1)], bulk: false });
    let seen = lab.update();
    let bids = [(1, Status::ACCEPTED)];
    let refused = Answer::to(&seen, Status::SEQUENCE_OUT_OF_WINDOW, &bids);
    let earlier = Sequence(seen.sequence.0.wrapping_add(0x7000));
    lab.deliver(&Answer { sequence: earlier, lifetime: Lifetime(0), ..refused }, seen.path);
    let again = lab.update();
    assert!(again.overwrites());
    assert_eq!(again.sequence, earlier.next());
    assert_ne!(again.bids[0].care_of, BidCareOf::Absent);
    // The other one follows when it cannot be overwritten any more.
    lab.accept(&again);
    let other = lab.update();
    assert!(!other.overwrites());
    assert_ne!(other.bids[0].care_of, BidCareOf::Absent);
    let mut both = [again.names(), other.names()].concat();
    both.sort_unstable();
    assert_eq!(both, [1, 2]);
}

#[test]
fn a_number_of_its_own_leaves_the_bindings() {
    let mut lab = Lab::registered(settings(), &[address(1, COA1)]);
    lab.command(Command::Refresh { bids: vec![], bulk: false });
    let seen = lab.update();
    lab.refuse(&seen, Status::SEQUENCE_OUT_OF_WINDOW);
    let again = lab.update();
    assert!(!again.overwrites());
    assert_ne!(again.bids[0].care_of, BidCareOf::Absent);
    assert!(!lab.events().iter().any(|event| matches!(event, Event::Lost { .. })));
}
