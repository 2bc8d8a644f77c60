//! What the node does about each status, seen from outside.

use homeport_mobile::{Command, DropReason, Event, LossReason, Mode, Outcome, Settings};
use homeport_wire::{Bid, BidCareOf, BuFlags, Sequence, Status};

use crate::support::*;

fn lab_with_one() -> Lab {
    Lab::registered(settings(), &[address(1, COA1)])
}

#[test]
fn every_refusal_ends_the_command_or_is_answered_by_another_update() {
    for code in 128..=255 {
        let mut lab = Lab::new(settings());
        let request = lab.register(&[address(1, COA1)], false);
        let seen = lab.update();
        lab.refuse(&seen, Status(code));
        let ended = lab.try_results(request).is_some();
        let again = !lab.updates().is_empty();
        assert!(ended != again, "status {code}: ended {ended}, again {again}");
    }
}

#[test]
fn out_of_window_adopts_the_carried_number_once_for_each_answer() {
    let mut lab = lab_with_one();
    lab.command(Command::Refresh { bids: vec![], bulk: false });
    let seen = lab.update();
    let refusal = Answer {
        sequence: Sequence(5000),
        lifetime: homeport_wire::Lifetime(0),
        ..Answer::to(&seen, Status::SEQUENCE_OUT_OF_WINDOW, &[(1, Status::ACCEPTED)])
    };
    lab.deliver(&refusal, seen.path);
    let again = lab.update();
    assert_eq!(again.sequence, Sequence(5001));
    lab.accept(&again);
    // With nothing outstanding it is a replay.
    lab.take();
    lab.deliver(&refusal, seen.path);
    assert_eq!(lab.drops(), [DropReason::NotOutstanding]);
    assert_eq!(lab.node.sequence(), Sequence(5001));
}

#[test]
fn out_of_window_because_of_overtaking_does_not_go_back() {
    let mut lab = Lab::registered(settings(), &[address(1, COA1), address(2, COA2)]);
    lab.command(Command::Refresh { bids: vec![], bulk: false });
    let updates = lab.updates();
    // The second arrived before the first.
    lab.accept(&updates[1]);
    let refusal = Answer {
        sequence: updates[1].sequence,
        ..Answer::to(&updates[0], Status::SEQUENCE_OUT_OF_WINDOW, &[(1, Status::ACCEPTED)])
    };
    lab.deliver(&refusal, updates[0].path);
    let again = lab.update();
    assert_eq!((again.names(), again.sequence), (vec![1], updates[1].sequence.next()));
}

#[test]
fn a_home_agent_that_always_disagrees_does_not_keep_the_node_busy() {
    let mut lab = lab_with_one();
    lab.command(Command::Refresh { bids: vec![], bulk: false });
    let mut at_once = 0;
    while let Some(seen) = lab.updates().pop() {
        at_once += 1;
        let refusal = Answer {
            sequence: Sequence(seen.sequence.0.wrapping_add(10)),
            ..Answer::to(&seen, Status::SEQUENCE_OUT_OF_WINDOW, &[(1, Status::ACCEPTED)])
        };
        lab.deliver(&refusal, seen.path);
    }
    assert_eq!(at_once, 5);
    // Each of them doubled the timeout.
    assert_eq!(lab.jump(), 16_000);
}

#[test]
fn bulk_prohibited_goes_on_with_single_updates_for_good() {
    let mut lab = Lab::new(settings());
    let request = lab.register(&[address(1, COA1), address(2, COA2)], true);
    let seen = lab.update();
    lab.refuse(&seen, Status::MCOA_BULK_REGISTRATION_PROHIBITED);
    assert!(lab.events().contains(&Event::FellBackToSingleUpdates));
    let first = lab.update();
    assert_eq!((first.names(), first.overwrites()), (vec![1], true));
    lab.accept(&first);
    let second = lab.update();
    assert_eq!(second.names(), [2]);
    lab.accept(&second);
    assert_eq!(lab.results(request).len(), 2);
    lab.command(Command::Refresh { bids: vec![], bulk: true });
    assert_eq!(lab.updates().len(), 2);
}

#[test]
fn prohibited_goes_on_with_one_plain_binding() {
    let mut lab = Lab::new(settings());
    let request = lab.register(&[address(1, COA1), address(2, COA2)], true);
    let seen = lab.update();
    lab.refuse(&seen, Status::MCOA_PROHIBITED);
    let plain = lab.update();
    assert_eq!((plain.path, plain.options.clone()), (COA1.path(), vec!["alternate care-of"]));
    lab.accept(&plain);
    let mut results = lab.results(request);
    results.sort_unstable_by_key(|(bid, _)| *bid);
    assert!(results[0].1.is_success());
    assert_eq!(results[1], (Some(Bid(2)), Outcome::SingleCareOf));
    assert!(lab.events().contains(&Event::FellBackToSingle { bid: Bid(1) }));
    assert_eq!(lab.node.mode(), Mode::Single { active: Some(Bid(1)) });
}

#[test]
fn an_acceptance_without_bid_options_is_a_plain_binding_of_the_source() {
    let mut lab = Lab::new(settings());
    let request = lab.register(&[address(1, COA1), address(2, COA2)], true);
    let seen = lab.update();
    lab.answer(&seen, Status::ACCEPTED, &[]);
    assert!(lab.events().contains(&Event::FellBackToSingle { bid: Bid(1) }));
    let registered: Vec<_> = lab
        .node
        .bindings()
        .into_iter()
        .filter_map(|view| view.registered.map(|registered| (view.bid, registered.care_of)))
        .collect();
    assert_eq!(registered, [(Bid(1), COA1)]);
    assert_eq!(lab.try_results(request), None, "the events above took it");
    lab.command(Command::Refresh { bids: vec![], bulk: true });
    assert_eq!(lab.update().options, ["alternate care-of"]);
}

#[test]
fn a_plain_binding_exists_is_answered_with_overwriting() {
    let mut lab = lab_with_one();
    let request = lab.register(&[address(2, COA2)], false);
    let seen = lab.update();
    assert!(!seen.overwrites());
    lab.refuse(&seen, Status::MCOA_NON_MCOA_BINDING_EXISTS);
    let again = lab.update();
    assert!(again.overwrites() && again.sequence == seen.sequence.next());
    // If it says so again, something is wrong.
    lab.refuse(&again, Status::MCOA_NON_MCOA_BINDING_EXISTS);
    let status = Status::MCOA_NON_MCOA_BINDING_EXISTS;
    assert_eq!(lab.results(request), [(Some(Bid(2)), Outcome::Refused { status })]);
    assert!(lab.events().contains(&Event::Fault { bid: Some(Bid(2)), status }));
}

#[test]
fn an_unknown_binding_is_sent_again_with_its_address() {
    let mut lab = Lab::registered(settings(), &[address(1, COA1), address(2, COA2)]);
    lab.command(Command::Refresh { bids: vec![], bulk: true });
    let seen = lab.update();
    let statuses = [(1, Status::ACCEPTED), (2, Status::MCOA_UNKNOWN_COA)];
    let answer = Answer::to(&seen, Status::MCOA_NOTCOMPLETE, &statuses);
    lab.deliver(&answer, seen.path);
    let again = lab.update();
    assert_eq!(again.names(), [2]);
    assert!(matches!(again.bids[0].care_of, BidCareOf::V6(_)));
    let lost = Event::Lost { bid: Bid(2), reason: LossReason::Forgotten };
    assert!(lab.events().contains(&lost));
}

#[test]
fn a_malformed_option_is_reported_as_a_fault() {
    let mut lab = Lab::new(settings());
    lab.register(&[address(1, COA1)], false);
    let seen = lab.update();
    lab.refuse(&seen, Status::MCOA_MALFORMED);
    let fault = Event::Fault { bid: Some(Bid(1)), status: Status::MCOA_MALFORMED };
    assert!(lab.events().contains(&fault));
    assert_eq!(lab.node.next_deadline(), None);
}

#[test]
fn refusals_that_may_pass_are_repeated_with_growing_pauses() {
    for status in [
        Status::REASON_UNSPECIFIED,
        Status::ADMINISTRATIVELY_PROHIBITED,
        Status::INSUFFICIENT_RESOURCES,
    ] {
        let mut lab = Lab::new(settings());
        lab.register(&[address(1, COA1)], false);
        for pause in [10_000, 20_000, 40_000] {
            let seen = lab.update();
            lab.refuse(&seen, status);
            assert_eq!(lab.jump(), pause, "{status}");
        }
        let seen = lab.update();
        lab.accept(&seen);
        // Success shortens the pauses again.
        lab.command(Command::Refresh { bids: vec![], bulk: false });
        let seen = lab.update();
        lab.refuse(&seen, status);
        assert_eq!(lab.jump(), 10_000, "{status}");
    }
}

#[test]
fn final_refusals_wait_for_a_command() {
    for code in [131, 132, 133, 134, 146, 169, 174] {
        let mut lab = Lab::new(settings());
        let request = lab.register(&[address(1, COA1)], false);
        let seen = lab.update();
        lab.refuse(&seen, Status(code));
        let refused = Outcome::Refused { status: Status(code) };
        assert_eq!(lab.results(request), [(Some(Bid(1)), refused)]);
        assert_eq!(lab.node.next_deadline(), None, "status {code}");
        lab.register(&[address(1, COA1)], false);
        assert_eq!(lab.updates().len(), 1, "status {code}");
    }
}

#[test]
fn gone_already_counts_as_removed() {
    for status in [Status::NOT_HOME_AGENT, Status::MCOA_UNKNOWN_COA, Status::ACCEPTED] {
        let mut lab = lab_with_one();
        let request = lab.command(Command::Deregister { bids: vec![Bid(1)], bulk: false });
        let seen = lab.update();
        lab.refuse(&seen, status);
        assert_eq!(lab.results(request), [(Some(Bid(1)), Outcome::Deregistered { status })]);
        assert_eq!(lab.node.bindings(), []);

        let mut lab = lab_with_one();
        let request = lab.command(Command::DeregisterAll { from: None });
        let seen = lab.update();
        lab.refuse(&seen, status);
        assert_eq!(lab.results(request), [(None, Outcome::Deregistered { status })]);
    }
}

#[test]
fn a_refused_removal_ends_the_command_and_the_binding_runs_out() {
    let mut lab = lab_with_one();
    let request = lab.command(Command::Deregister { bids: vec![Bid(1)], bulk: false });
    let seen = lab.update();
    lab.refuse(&seen, Status::ADMINISTRATIVELY_PROHIBITED);
    let refused = Outcome::Refused { status: Status::ADMINISTRATIVELY_PROHIBITED };
    assert_eq!(lab.results(request), [(Some(Bid(1)), refused)]);
    lab.take();
    lab.jump();
    assert_eq!(lab.updates().len(), 0);
    assert_eq!(lab.node.bindings(), []);
}

#[test]
fn forced_encapsulation_is_dropped_when_refused() {
    let mut lab = Lab::new(Settings { force_udp: true, ..settings() });
    lab.register(&[address(7, COA_V4)], false);
    for status in [Status::ID_MISMATCH, Status::ADMINISTRATIVELY_PROHIBITED] {
        let mut lab = Lab::new(Settings { force_udp: true, ..settings() });
        lab.register(&[address(7, COA_V4)], false);
        let seen = lab.update();
        assert!(seen.flags.contains(BuFlags::FORCE_UDP));
        lab.refuse(&seen, status);
        assert!(!lab.update().flags.contains(BuFlags::FORCE_UDP), "{status}");
    }
    // The flag means nothing on an IPv6 path.
    lab.take();
    let mut lab = Lab::new(Settings { force_udp: true, ..settings() });
    lab.register(&[address(1, COA1)], false);
    assert!(!lab.update().flags.contains(BuFlags::FORCE_UDP));
}

#[test]
fn a_status_that_came_too_late_is_of_no_interest() {
    let mut lab = lab_with_one();
    lab.command(Command::Refresh { bids: vec![], bulk: false });
    let first = lab.update();
    lab.jump();
    let second = lab.update();
    lab.accept(&second);
    lab.refuse(&first, Status::MCOA_UNKNOWN_COA);
    assert!(lab.node.bindings()[0].registered.is_some());
    assert_eq!(lab.updates().len(), 0);
}

#[test]
fn one_of_several_options_missing_in_the_answer_is_a_refusal_of_that_one() {
    let mut lab = Lab::new(settings());
    lab.register(&[address(1, COA1), address(2, COA2)], true);
    let seen = lab.update();
    lab.answer(&seen, Status::ACCEPTED, &[(1, Status::ACCEPTED)]);
    let refused = |event: &Event| {
        matches!(event, Event::Refused { bid: Bid(2), status: Status::REASON_UNSPECIFIED, .. })
    };
    assert!(lab.events().iter().any(refused));
}
