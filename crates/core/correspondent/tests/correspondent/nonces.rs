//! How long tokens are good for: RFC 6275 §5.2.7.

use homeport_correspondent::{
    Arrival, Correspondent, DropReason, Input, Millis, Output, Secret, Settings,
};
use homeport_wire::{HomeTestInit, Message, Options, Status};

use crate::support::*;

#[test]
fn a_nonce_is_used_for_half_a_minute() {
    let mut lab = Lab::new();
    let (first, _) = lab.home_token(HOME);
    lab.wait(29);
    assert_eq!(lab.home_token(HOME).0, first);
    assert_eq!(lab.care_of_token(COA1).0, first, "one nonce for both tests");
    lab.wait(1);
    assert_ne!(lab.home_token(HOME).0, first);
}

#[test]
fn tokens_live_between_210_and_240_seconds() {
    // (first use, this token, update, accepted): seconds
    let rows = [(0, 0, 239, true), (0, 0, 240, false), (0, 29, 238, true), (0, 29, 240, false)];
    for (_, token_at, update_at, accepted) in rows {
        let mut lab = Lab::new();
        lab.home_token(HOME);
        lab.wait(token_at);
        let tokens = lab.tokens(HOME, COA1);
        lab.wait(update_at - token_at);
        let draft = Draft::new(1, COA1).tokens(tokens);
        let said = answer(&lab.arrive(&draft.packet()), &draft);
        assert_eq!(said.status.is_accepted(), accepted, "{token_at} {update_at}");
        assert_eq!(said.authentic, accepted);
    }
}

#[test]
fn the_status_says_which_nonce_is_not_known() {
    let mut lab = Lab::new();
    let old = lab.tokens(HOME, COA1);
    lab.wait(100);
    let new = lab.tokens(HOME, COA1);
    lab.wait(140);
    let both = Tokens { home_index: new.home_index, home: new.home, ..old };
    let other = Tokens { care_of_index: new.care_of_index, care_of: new.care_of, ..old };
    let rows = [
        (old, Status::EXPIRED_NONCES),
        (both, Status::EXPIRED_CARE_OF_NONCE_INDEX),
        (other, Status::EXPIRED_HOME_NONCE_INDEX),
        (new, Status::ACCEPTED),
    ];
    for (sequence, (tokens, status)) in (1..).zip(rows) {
        let flags = homeport_wire::BuFlags(if status.is_accepted() { 0x8000 } else { 0 });
        let draft = Draft { flags, ..Draft::new(sequence, COA1) }.tokens(tokens);
        let said = answer(&lab.arrive(&draft.packet()), &draft);
        assert_eq!((said.status, said.sequence), (status, sequence));
        assert_eq!(said.authentic, status.is_accepted());
    }
    let gone = Draft::new(5, COA1).tokens(old).lifetime(0);
    let said = answer(&lab.arrive(&gone.packet()), &gone);
    assert_eq!(said.status, Status::EXPIRED_HOME_NONCE_INDEX);
    assert_eq!(lab.care_ofs(HOME), [(None, COA1)]);
}

#[test]
fn without_a_secret_there_are_no_tokens_but_a_call_for_one() {
    let mut node = Correspondent::new(Settings::new(OWN)).unwrap();
    let init = HomeTestInit { cookie: [1; 8], options: Options::EMPTY };
    let packet = plain(HOME, &Message::HomeTestInit(init));
    let ask = |node: &mut Correspondent, ms| {
        node.handle(Millis(ms), Input::Packet(Arrival::new(&packet)))
    };
    let missing = [Output::Dropped(DropReason::SecretMissing), Output::SecretWanted];
    assert_eq!(ask(&mut node, 0), missing);
    assert_eq!(ask(&mut node, 1), missing);
    node.handle(Millis(2), Input::Secret(Secret::from_random([3; 30])));
    let outputs = ask(&mut node, 3);
    assert!(matches!(outputs[..], [Output::Send(_), Output::SecretWanted]), "{outputs:?}");
    // Nobody answered the call, and the nonce in use is good for now.
    assert!(matches!(ask(&mut node, 30_002)[..], [Output::Send(_)]));
    assert_eq!(ask(&mut node, 30_003), missing);
}

#[test]
fn an_index_that_is_alive_is_not_used_twice() {
    let mut node = Correspondent::new(Settings::new(OWN)).unwrap();
    let init = HomeTestInit { cookie: [1; 8], options: Options::EMPTY };
    let packet = plain(HOME, &Message::HomeTestInit(init));
    let mut indices = Vec::new();
    for round in 0..10_u64 {
        let random = [u8::try_from(round).unwrap(); 28];
        let secret = Secret {
            index: 0xffff,
            node_key: random[..20].try_into().unwrap(),
            nonce: random[20..].try_into().unwrap(),
        };
        let now = Millis(round * 30_000);
        node.handle(now, Input::Secret(secret));
        let answer = sent(&node.handle(now, Input::Packet(Arrival::new(&packet))));
        let index = &answer[46..48];
        indices.push(u16::from_be_bytes(index.try_into().unwrap()));
    }
    assert_eq!(indices[..8], [0xffff, 0, 1, 2, 3, 4, 5, 6]);
    // By now the first has ended.
    assert_eq!(indices[8..], [0xffff, 0]);
}

#[test]
fn tokens_of_another_address_or_node_are_worth_nothing() {
    let mut lab = Lab::new();
    let mut other = Lab::with(Settings::new("2001:db8:f::98".parse().unwrap()));
    let tokens = lab.tokens(HOME, COA1);
    let foreign = Draft::new(1, COA2).tokens(tokens);
    assert_eq!(dropped(&lab.arrive(&foreign.packet())), DropReason::NotAuthentic);
    let home = "2001:db8:0:1::101".parse().unwrap();
    let foreign = Draft { home, ..Draft::new(1, COA1) }.tokens(tokens);
    assert_eq!(dropped(&lab.arrive(&foreign.packet())), DropReason::NotAuthentic);
    // Home and care-of token are not the same thing, even for one address.
    let swapped = Tokens { home: tokens.care_of, care_of: tokens.home, ..tokens };
    let foreign = Draft::new(1, COA1).tokens(swapped);
    assert_eq!(dropped(&lab.arrive(&foreign.packet())), DropReason::NotAuthentic);
    assert_eq!(dropped(&other.arrive(&foreign.packet())), DropReason::NotForNode);
}
