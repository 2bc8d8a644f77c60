//! When updates leave: retransmission, rate, refresh and the end of bindings.

use homeport_mobile::{Command, Event, LossReason, Outcome, Refresh, Settings};
use homeport_wire::{Bid, Lifetime, Sequence, Status};

use crate::support::*;

#[test]
fn a_first_registration_is_repeated_after_one_and_a_half_seconds_doubling_to_32() {
    let mut lab = Lab::new(settings());
    let request = lab.register(&[address(1, COA1)], false);
    let mut sequences = vec![lab.update().sequence.0];
    for expected in [1_500, 3_000, 6_000, 12_000, 24_000, 32_000] {
        assert_eq!(lab.jump(), expected);
        sequences.push(lab.update().sequence.0);
    }
    assert_eq!(sequences, [1000, 1001, 1002, 1003, 1004, 1005, 1006]);
    assert_eq!(lab.jump(), 32_000);
    assert_eq!(lab.updates().len(), 0);
    assert_eq!(lab.results(request), [(Some(Bid(1)), Outcome::NoAnswer)]);
}

#[test]
fn with_a_binding_the_first_repetition_is_after_one_second() {
    let mut lab = Lab::registered(settings(), &[address(1, COA1)]);
    lab.command(Command::Refresh { bids: vec![], bulk: false });
    lab.updates();
    for expected in [1_000, 2_000, 4_000, 8_000, 16_000, 32_000] {
        assert_eq!(lab.jump(), expected);
        assert_eq!(lab.updates().len(), 1);
    }
}

#[test]
fn after_silence_the_node_goes_on_at_the_slowest_pace() {
    let mut lab = Lab::new(Settings { attempts_max: 2, ..settings() });
    lab.register(&[address(1, COA1)], false);
    assert_eq!((lab.jump(), lab.jump()), (1_500, 3_000));
    assert!(lab.events().contains(&Event::NoAnswer { bid: Some(Bid(1)) }));
    lab.updates();
    assert_eq!(lab.jump(), 32_000);
    assert!(lab.update().overwrites(), "nothing was ever acknowledged");
}

#[test]
fn no_more_than_three_updates_in_any_second() {
    let mut lab = Lab::new(Settings { updates_per_second_max: 3, ..settings() });
    let addresses: Vec<_> = (1..=8).map(|bid| address(bid, COA1)).collect();
    lab.register(&addresses[..1], false);
    lab.accept_everything();
    lab.advance(5_000);
    lab.register(&addresses[1..], false);
    let mut sent = vec![(0, lab.updates().len())];
    let begin = lab.now;
    while sent.len() < 3 {
        lab.jump();
        let count = lab.updates().len();
        if count > 0 {
            sent.push((lab.now - begin, count));
        }
    }
    // The retransmissions after one second are due too: those sent least often go first.
    assert_eq!(sent, [(0, 3), (1_000, 3), (2_000, 3)]);
}

#[test]
fn the_sequence_number_wraps() {
    let mut lab = Lab::registered(settings(), &[address(1, COA1)]);
    let mut last = lab.node.sequence();
    for _ in 0..70_000 {
        lab.command(Command::Refresh { bids: vec![], bulk: false });
        let seen = lab.update();
        assert!(seen.sequence.is_newer_than(last));
        last = seen.sequence;
        lab.accept(&seen);
        lab.now += 1_000;
        lab.take();
    }
    assert_eq!(last, Sequence(1000_u16.wrapping_add(4464)));
    assert_eq!(lab.node.bindings()[0].registered.as_ref().unwrap().sequence, last);
}

#[test]
fn a_binding_is_refreshed_at_three_quarters_and_all_come_along() {
    let mut lab = Lab::registered(settings(), &[address(1, COA1), address(2, COA2)]);
    lab.take();
    assert_eq!(lab.jump(), 450_000);
    let seen = lab.update();
    assert_eq!(seen.names(), [1, 2]);
    assert!(!seen.overwrites());
    lab.accept(&seen);
    let renewed = lab
        .events()
        .into_iter()
        .filter(|event| matches!(event, Event::Registered { renewed: true, .. }));
    assert_eq!(renewed.count(), 2);
    assert_eq!(lab.jump(), 450_000);
}

#[test]
fn without_bulk_refresh_each_binding_goes_alone() {
    let refresh = Refresh { bulk: false, ..settings().refresh };
    let addresses = [address(1, COA1), address(2, COA2)];
    let mut lab = Lab::registered(Settings { refresh, ..settings() }, &addresses);
    lab.jump();
    let names: Vec<_> = lab.updates().iter().map(|seen| (seen.path, seen.names())).collect();
    assert_eq!(names, [(COA1.path(), vec![1]), (COA2.path(), vec![2])]);
}

#[test]
fn refresh_advice_is_followed() {
    let mut lab = Lab::new(settings());
    lab.register(&[address(1, COA1)], false);
    let seen = lab.update();
    let answer = Answer::to(&seen, Status::ACCEPTED, &[(1, Status::ACCEPTED)]);
    lab.deliver(&Answer { refresh_advice: Some(Lifetime(15)), ..answer }, seen.path);
    assert_eq!(lab.jump(), 60_000);
}

#[test]
fn a_shorter_lifetime_shortens_the_binding_by_the_difference() {
    let refresh = Refresh { automatic: false, bulk: false, short: true };
    let mut lab = Lab::new(Settings { refresh, ..settings() });
    lab.register(&[address(1, COA1)], false);
    let seen = lab.update();
    lab.advance(300);
    let answer = Answer::to(&seen, Status::ACCEPTED, &[(1, Status::ACCEPTED)]);
    lab.deliver(&Answer { lifetime: Lifetime(100), ..answer }, seen.path);
    assert_eq!(lab.node.bindings()[0].registered.as_ref().unwrap().remaining_ms, 399_700);
    lab.take();
    assert_eq!(lab.jump(), 399_700);
    let lost = Event::Lost { bid: Bid(1), reason: LossReason::Expired };
    assert_eq!(lab.events(), [lost]);
    assert_eq!(lab.node.next_deadline(), None, "the node was told not to act by itself");
}

#[test]
fn a_lost_binding_is_registered_again_with_its_address() {
    let mut lab = Lab::registered(settings(), &[address(1, COA1)]);
    lab.jump();
    let refresh = lab.update();
    assert_eq!(refresh.bids[0].care_of, homeport_wire::BidCareOf::Absent);
    // Silence until it ends, and longer.
    let mut seen = refresh;
    while lab.node.bindings()[0].registered.is_some() {
        lab.jump();
        if let Some(update) = lab.updates().pop() {
            seen = update;
        }
    }
    for _ in 0..2 {
        lab.jump();
        seen = lab.updates().pop().unwrap_or(seen);
    }
    assert!(matches!(seen.bids[0].care_of, homeport_wire::BidCareOf::V6(_)));
    lab.accept(&seen);
    assert!(lab.node.bindings()[0].registered.is_some());
}

#[test]
fn early_timeouts_do_nothing() {
    let mut lab = Lab::registered(settings(), &[address(1, COA1)]);
    let deadline = lab.node.next_deadline();
    for _ in 0..10 {
        lab.advance(1);
    }
    assert_eq!(lab.take(), []);
    assert_eq!(lab.node.next_deadline(), deadline);
}

#[test]
fn a_late_acknowledgement_of_a_repeated_update_counts_from_its_own_sending() {
    let mut lab = Lab::new(settings());
    let request = lab.register(&[address(1, COA1)], false);
    let first = lab.update();
    lab.jump();
    let second = lab.update();
    lab.advance(100);
    lab.accept(&first);
    assert!(lab.results(request)[0].1.is_success());
    let remaining = |lab: &Lab| lab.node.bindings()[0].registered.as_ref().unwrap().remaining_ms;
    assert_eq!(remaining(&lab), 600_000 - 1_600);
    lab.accept(&second);
    assert_eq!(remaining(&lab), 600_000 - 100);
    // And once more is once too often.
    lab.take();
    lab.accept(&second);
    assert_eq!(lab.drops(), [homeport_mobile::DropReason::NotOutstanding]);
}

#[test]
fn the_translator_is_kept_open() {
    let mut lab = Lab::new(settings());
    lab.register(&[address(7, COA_V4)], false);
    let seen = lab.update();
    let answer = Answer::to(&seen, Status::ACCEPTED, &[(7, Status::ACCEPTED)]);
    lab.deliver(&Answer { nat_refresh_secs: Some(110), ..answer }, seen.path);
    assert!(lab.events().contains(&Event::TranslatorFound { bid: Bid(7), refresh_secs: 110 }));
    assert_eq!(lab.jump(), 110_000);
    assert_eq!(lab.update().path, COA_V4.path());
}
