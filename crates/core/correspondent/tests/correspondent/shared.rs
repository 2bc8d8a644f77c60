//! Tokens of a node of several processes: RFC 6275 §5.2.7.

use core::net::Ipv6Addr;

use homeport_correspondent::shared::{SharedKey, Verified};
use homeport_correspondent::{DropReason, Millis, Update};
use homeport_wire::{CareOfTestInit, HomeTestInit, Message, Options, Status, walk};

use crate::support::*;

fn home_test_init(home: Ipv6Addr) -> Vec<u8> {
    plain(home, &Message::HomeTestInit(HomeTestInit { cookie: [1; 8], options: Options::EMPTY }))
}

fn care_of_test_init(care_of: Ipv6Addr) -> Vec<u8> {
    let init = CareOfTestInit { cookie: [2; 8], options: Options::EMPTY };
    plain(care_of, &Message::CareOfTestInit(init))
}

/// A moment in the middle of a period of thirty seconds.
const NOW: u64 = 1_700_000_000_000 / 30_000 * 30_000 + 15_000;

fn key() -> SharedKey {
    SharedKey::new([7; 32])
}

/// Nonce index and token of a test message of `address`.
fn token(key: &SharedKey, at: u64, packet: &[u8]) -> (u16, [u8; 8]) {
    let walked = walk(packet).unwrap();
    let answer = match Message::parse(walked.payload, walked.pseudo_header()).unwrap() {
        Message::HomeTestInit(init) => key.home_test(Millis(at), &walked, &init),
        Message::CareOfTestInit(init) => key.care_of_test(Millis(at), &walked, &init),
        other => panic!("{other:?}"),
    };
    let answer = answer.unwrap();
    let walked = walk(&answer).unwrap();
    match Message::parse(walked.payload, walked.pseudo_header()).unwrap() {
        Message::HomeTest(test) => (test.nonce_index, test.token),
        Message::CareOfTest(test) => (test.nonce_index, test.token),
        other => panic!("{other:?}"),
    }
}

fn tokens(key: &SharedKey, at: u64) -> Tokens {
    let (home_index, home) = token(key, at, &home_test_init(HOME));
    let (care_of_index, care_of) = token(key, at, &care_of_test_init(COA1));
    Tokens { home_index, home, care_of_index, care_of }
}

/// `Ok(None)` when it is proven; else the status that refuses it.
fn verify(key: &SharedKey, at: u64, packet: &[u8]) -> Result<Option<Status>, DropReason> {
    let walked = walk(packet).unwrap();
    let Ok(Message::BindingUpdate(update)) = Message::parse(walked.payload, walked.pseudo_header())
    else {
        panic!("no Binding Update")
    };
    let update = Update::read(&walked, &update)?;
    Ok(match key.verify(Millis(at), update, OWN)? {
        Verified::Proven(_) => None,
        Verified::Refused { status, .. } => Some(status),
    })
}

#[test]
fn every_process_makes_the_same_tokens_and_for_no_longer_than_their_time() {
    let (one, other) = (key(), key());
    let packet = Draft::new(1, COA1).tokens(tokens(&one, NOW)).packet();
    // 225 s are left of the nonce's 240.
    for later in [0, 30_000, 210_000, 224_999] {
        assert_eq!(verify(&other, NOW + later, &packet), Ok(None), "after {later} ms");
    }
    assert_eq!(verify(&other, NOW + 225_000, &packet), Ok(Some(Status::EXPIRED_NONCES)));
    // A clock that is behind.
    assert_eq!(verify(&other, NOW - 30_000, &packet), Ok(None));
    assert_eq!(verify(&other, NOW - 60_000, &packet), Ok(Some(Status::EXPIRED_NONCES)));
}

#[test]
fn tokens_of_another_key_or_period_are_others() {
    let packet = Draft::new(1, COA1).tokens(tokens(&key(), NOW)).packet();
    let other = SharedKey::new([8; 32]);
    assert_eq!(verify(&other, NOW, &packet), Err(DropReason::NotAuthentic));
    let (one, next) = (tokens(&key(), NOW), tokens(&key(), NOW + 30_000));
    assert_ne!((one.home, one.care_of), (next.home, next.care_of));
    assert_eq!(next.home_index, one.home_index.wrapping_add(1));
    assert_ne!(one.home, one.care_of);
    assert_eq!(format!("{:?}", key()), "SharedKey(..)");
}
