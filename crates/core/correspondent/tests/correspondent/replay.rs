//! Old Binding Updates: RFC 6275 §5.2.8, §9.5.3.

use homeport_wire::{Bid, BidOption, Status};

use crate::support::*;

#[test]
fn an_ended_binding_does_not_come_back() {
    let mut lab = Lab::new();
    let tokens = lab.tokens(HOME, COA1);
    let draft = Draft::new(1, COA1).tokens(tokens).lifetime(1);
    let packet = draft.packet();
    assert_eq!(answer(&lab.arrive(&packet), &draft).status, Status::ACCEPTED);
    lab.pass(4);
    assert_eq!(lab.care_ofs(HOME), []);
    // The nonces are good for a while still, so the sequence number must be known.
    for _ in 0..23 {
        let said = answer(&lab.arrive(&packet), &draft);
        assert_eq!((said.status, said.sequence), (Status::SEQUENCE_OUT_OF_WINDOW, 1));
        lab.pass(10);
    }
    lab.pass(6);
    assert!(lab.node.home(HOME).is_none(), "nothing is kept for ever");
    let said = answer(&lab.arrive(&packet), &draft);
    assert_eq!(said.status, Status::EXPIRED_NONCES);
}

#[test]
fn the_nonces_of_a_deleted_binding_are_used_up() {
    let mut lab = Lab::new();
    let bound = lab.bind(Draft::new(1, COA1), COA1);
    let gone = Draft::new(2, COA1).tokens(bound.tokens).lifetime(0);
    assert_eq!(answer(&lab.arrive(&gone.packet()), &gone).status, Status::ACCEPTED);

    let again = Draft::new(3, COA1).tokens(bound.tokens);
    let said = answer(&lab.arrive(&again.packet()), &again);
    assert_eq!((said.status, said.authentic), (Status::EXPIRED_NONCES, false));
    assert_eq!(lab.care_ofs(HOME), []);

    // For another care-of address they are not, and with one new nonce neither.
    let (care_of_index, care_of) = lab.care_of_token(COA2);
    let tokens = Tokens { care_of_index, care_of, ..bound.tokens };
    let elsewhere = Draft::new(4, COA2).tokens(tokens);
    assert_eq!(answer(&lab.arrive(&elsewhere.packet()), &elsewhere).status, Status::ACCEPTED);
    lab.wait(30);
    let fresh = Draft::new(5, COA1).tokens(lab.tokens(HOME, COA1));
    assert_eq!(answer(&lab.arrive(&fresh.packet()), &fresh).status, Status::ACCEPTED);
}

#[test]
fn the_nonces_of_a_deleted_bid_are_used_up_for_every_bid() {
    let mut lab = Lab::new();
    let bound = lab.bind(Draft::new(1, COA1).bid(BidOption::v6(Bid(1), COA1)), COA1);
    let gone = Draft::new(2, COA1).tokens(bound.tokens).lifetime(0).bid(BidOption::refresh(Bid(1)));
    lab.arrive(&gone.packet());
    let again = Draft::new(3, COA1).tokens(bound.tokens).bid(BidOption::v6(Bid(7), COA1));
    let said = answer(&lab.arrive(&again.packet()), &again);
    assert_eq!(said.status, Status::EXPIRED_NONCES);
    assert_eq!(said.bids.len(), 1);
}

#[test]
fn deletions_always_find_room_for_their_nonces() {
    let mut lab = Lab::new();
    let mut refused = 0;
    let mut sequence = 0;
    let mut used = Vec::new();
    // One care-of address after the other, all within the life of one nonce.
    for host in 0..60_u16 {
        let care_of = std::net::Ipv6Addr::new(0x2001, 0xdb8, 0xd, 0, 0, 0, 0, host);
        let tokens = lab.tokens(HOME, care_of);
        sequence += 1;
        let draft = Draft { covered: care_of, ..Draft::new(sequence, care_of) }.tokens(tokens);
        let said = answer(&lab.arrive(&draft.packet()), &draft);
        if said.status == Status::INSUFFICIENT_RESOURCES {
            refused += 1;
            continue;
        }
        assert_eq!(said.status, Status::ACCEPTED);
        used.push(draft.clone());
        sequence += 1;
        let gone = Draft { sequence, ..draft }.lifetime(0);
        assert_eq!(answer(&lab.arrive(&gone.packet()), &gone).status, Status::ACCEPTED);
    }
    assert_eq!((used.len(), refused), (32, 28));
    for draft in used {
        sequence += 1;
        let again = Draft { sequence, ..draft };
        let said = answer(&lab.arrive(&again.packet()), &again);
        assert_eq!(said.status, Status::EXPIRED_NONCES);
    }
}

#[test]
fn a_stale_update_does_not_wait_for_the_sequence_number_to_be_forgotten() {
    let mut lab = Lab::new();
    lab.bind(Draft::new(15, COA1).lifetime(1), COA1);
    // Refused for its sequence number, with nonces that live longer than those of the binding.
    lab.pass(60);
    let tokens = lab.tokens(HOME, COA1);
    let stale = Draft::new(3, COA1).tokens(tokens).lifetime(1);
    let packet = stale.packet();
    for _ in 0..23 {
        let said = answer(&lab.arrive(&packet), &stale);
        assert_eq!((said.status, said.sequence), (Status::SEQUENCE_OUT_OF_WINDOW, 15));
        lab.pass(10);
    }
    assert_eq!(lab.care_ofs(HOME), []);
}
