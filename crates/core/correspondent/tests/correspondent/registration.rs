//! Bindings that are made, changed and deleted: RFC 6275 §9.5.2, §9.5.3, RFC 5648 §6.2.

use homeport_correspondent::{EndReason, Event, Output};
use homeport_wire::{Bid, BidOption, BidPriority, BuFlags, Lifetime, Status};

use crate::support::*;

#[test]
fn a_plain_binding_is_made_moved_and_deleted() {
    let mut lab = Lab::new();
    let draft = lab.bind(Draft::new(1, COA1), COA1);
    assert_eq!(lab.care_ofs(HOME), [(None, COA1)]);

    let (care_of_index, care_of) = lab.care_of_token(COA2);
    // RFC 6275 §5.2.7: a recent home keygen token may be used again.
    let tokens = Tokens { care_of_index, care_of, ..draft.tokens };
    let moved = Draft::new(2, COA2).tokens(tokens);
    let outputs = lab.arrive(&moved.packet());
    assert!(answer(&outputs, &moved).authentic);
    assert_eq!(lab.care_ofs(HOME), [(None, COA2)]);

    let gone = Draft::new(3, COA2).tokens(tokens).lifetime(0);
    let outputs = lab.arrive(&gone.packet());
    let said = answer(&outputs, &gone);
    assert_eq!((said.status, said.lifetime, said.authentic), (Status::ACCEPTED, 0, true));
    let ended = Event::Ended { home_address: HOME, bid: None, reason: EndReason::Deleted };
    assert_eq!(events(&outputs), [ended]);
    assert_eq!(lab.care_ofs(HOME), []);
}

#[test]
fn the_care_of_nonce_of_a_deletion_is_not_looked_at() {
    let mut lab = Lab::new();
    let draft = lab.bind(Draft::new(1, COA1), COA1);
    let tokens = Tokens { care_of_index: 0xffff, ..draft.tokens };
    let gone = Draft::new(2, COA1).tokens(tokens).lifetime(0);
    assert_eq!(answer(&lab.arrive(&gone.packet()), &gone).status, Status::ACCEPTED);
    assert_eq!(lab.care_ofs(HOME), []);
}

#[test]
fn an_alternate_care_of_address_is_what_is_proved_and_bound() {
    let mut lab = Lab::new();
    let draft = Draft { alternate: Some(COA2), ..Draft::new(1, COA1) };
    lab.bind(draft.clone(), COA2);
    assert_eq!(lab.care_ofs(HOME), [(None, COA2)]);
    // Proved for the source instead: not authentic.
    let tokens = lab.tokens(HOME, COA1);
    let wrong = Draft { sequence: 2, ..draft }.tokens(tokens);
    assert_eq!(
        dropped(&lab.arrive(&wrong.packet())),
        homeport_correspondent::DropReason::NotAuthentic
    );
}

#[test]
fn from_its_home_a_mobile_node_is_answered_without_routing_header() {
    let mut lab = Lab::new();
    let draft = Draft { home_address_option: false, ..Draft::new(1, HOME) };
    let tokens = lab.tokens(HOME, HOME);
    let gone = draft.tokens(tokens).lifetime(0);
    assert_eq!(answer(&lab.arrive(&gone.packet()), &gone).status, Status::ACCEPTED);
    assert!(lab.node.home(HOME).is_none(), "a deletion makes no entry");
}

#[test]
fn several_bindings_stand_side_by_side() {
    let mut lab = Lab::new();
    lab.bind(Draft::new(1, COA1).bid(BidOption::v6(Bid(1), COA1)), COA1);
    lab.bind(Draft::new(2, COA2).bid(BidOption::v6(Bid(2), COA2)), COA2);
    assert_eq!(lab.care_ofs(HOME), [(Some(Bid(1)), COA1), (Some(Bid(2)), COA2)]);

    // Sent from elsewhere; the option says which address it is about.
    let moved = Draft::new(3, COA1).bid(BidOption::v6(Bid(2), COA3));
    lab.bind(moved, COA3);
    assert_eq!(lab.care_ofs(HOME), [(Some(Bid(1)), COA1), (Some(Bid(2)), COA3)]);

    let refreshed = Draft::new(4, COA1).bid(BidOption::refresh(Bid(1)));
    lab.bind(refreshed, COA1);
    assert_eq!(lab.care_ofs(HOME), [(Some(Bid(1)), COA1), (Some(Bid(2)), COA3)]);

    let tokens = lab.tokens(HOME, COA1);
    let gone = Draft::new(5, COA1).tokens(tokens).lifetime(0).bid(BidOption::refresh(Bid(1)));
    assert_eq!(answer(&lab.arrive(&gone.packet()), &gone).status, Status::ACCEPTED);
    assert_eq!(lab.care_ofs(HOME), [(Some(Bid(2)), COA3)]);
}

#[test]
fn overwrite_and_plain_updates_replace_all() {
    let mut lab = Lab::new();
    for (sequence, bid, care_of) in [(1, 1, COA1), (2, 2, COA2)] {
        lab.bind(Draft::new(sequence, care_of).bid(BidOption::v6(Bid(bid), care_of)), care_of);
    }
    let only = Draft::new(3, COA3).flag(BuFlags::OVERWRITE).bid(BidOption::v6(Bid(3), COA3));
    lab.bind(only, COA3);
    assert_eq!(lab.care_ofs(HOME), [(Some(Bid(3)), COA3)]);
    // Without BID option the flag means nothing, and nothing is what it needs.
    lab.bind(Draft::new(4, COA1), COA1);
    assert_eq!(lab.care_ofs(HOME), [(None, COA1)]);
    let again = Draft::new(5, COA2).flag(BuFlags::OVERWRITE).bid(BidOption::v6(Bid(1), COA2));
    let tokens = lab.tokens(HOME, COA2);
    let again = again.tokens(tokens);
    let outputs = lab.arrive(&again.packet());
    let replaced = Event::Ended { home_address: HOME, bid: None, reason: EndReason::Replaced };
    assert_eq!(events(&outputs)[0], replaced);
    assert_eq!(lab.care_ofs(HOME), [(Some(Bid(1)), COA2)]);
}

#[test]
fn a_plain_deletion_deletes_all() {
    let mut lab = Lab::new();
    lab.bind(Draft::new(1, COA1).bid(BidOption::v6(Bid(1), COA1)), COA1);
    let last = lab.bind(Draft::new(2, COA2).bid(BidOption::v6(Bid(2), COA2)), COA2);
    let gone = Draft::new(3, COA2).tokens(last.tokens).lifetime(0);
    let outputs = lab.arrive(&gone.packet());
    assert_eq!(events(&outputs).len(), 2);
    assert_eq!(lab.care_ofs(HOME), []);
}

#[test]
fn the_option_is_copied_but_not_its_address_and_status() {
    let mut lab = Lab::new();
    let option = BidOption::v6(Bid(2), COA2)
        .with_home(true)
        .with_priority(BidPriority::new(9))
        .with_status(Status::MCOA_MALFORMED);
    let tokens = lab.tokens(HOME, COA2);
    let draft =
        Draft::new(1, COA2).flag(BuFlags::KEY_MANAGEMENT_MOBILITY).bid(option).tokens(tokens);
    let said = answer(&lab.arrive(&draft.packet()), &draft);
    assert_eq!(said.bids, [option.acknowledged(Status::ACCEPTED)]);
    // RFC 5648 §5.6 is about home agents: H of the option changes nothing here.
    assert_eq!(lab.care_ofs(HOME), [(Some(Bid(2)), COA2)]);
}

#[test]
fn the_lifetime_is_cut_to_what_return_routability_is_good_for() {
    for (asked, granted) in [(1, 1), (104, 104), (105, 105), (106, 105), (0xffff, 105)] {
        let mut lab = Lab::new();
        let tokens = lab.tokens(HOME, COA1);
        let draft = Draft::new(1, COA1).tokens(tokens).lifetime(asked);
        assert_eq!(answer(&lab.arrive(&draft.packet()), &draft).lifetime, granted);
        let home = lab.node.home(HOME).unwrap();
        assert_eq!(home.bindings[&None].lifetime, Lifetime(granted));
    }
}

#[test]
fn who_asks_for_no_acknowledgement_gets_none() {
    let mut lab = Lab::new();
    let tokens = lab.tokens(HOME, COA1);
    let draft = Draft { flags: BuFlags::default(), ..Draft::new(1, COA1) }.tokens(tokens);
    let outputs = lab.arrive(&draft.packet());
    assert!(is_silent(&outputs));
    assert!(matches!(outputs[..], [Output::Event(Event::Bound { .. })]));
}
