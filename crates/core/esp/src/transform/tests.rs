extern crate std;

use std::string::String;

use proptest::prelude::*;

use super::*;
use crate::packet::{EspHeader, protect, unprotect};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().collect();
    let octet = |pair: &[u8]| {
        u8::from_str_radix(core::str::from_utf8(pair).expect("digits"), 16).expect("digits")
    };
    digits.chunks(2).map(octet).collect()
}

/// Packets that scapy and tshark have decrypted: tests/golden/vectors/vectors.json.
fn vector(id: &str) -> impl Fn(&str) -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../tests/golden/vectors/vectors.json");
    let all: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(path).expect("vectors")).expect("JSON");
    let found = all.as_array().expect("a list").iter().find(|it| it["id"] == id).cloned();
    let found = found.expect("a vector of this name");
    move |field| hex(found[field].as_str().unwrap_or_else(|| panic!("{field}")))
}

fn keys(encryption: Vec<u8>, authentication: Vec<u8>) -> Keys {
    Keys { encryption, authentication }
}

/// Opens to the message, and seals to the same octets.
#[test]
fn vectors_of_others_to_the_octet() {
    let gcm = vector("V31");
    let gcm_keys = keys([gcm("key"), gcm("salt")].concat(), Vec::new());
    let gcm_transform = Transform::new(Suite::AesGcm16, 0xc001, false, gcm_keys).expect("keys fit");
    let cbc = vector("V32");
    let cbc_keys = keys(cbc("enc_key"), cbc("auth_key"));
    let cbc_transform =
        Transform::new(Suite::AesCbcHmacSha256, 0xc002, false, cbc_keys).expect("keys fit");
    let cases = [(gcm("packet"), gcm("mh"), gcm_transform, [0; 16]), {
        let iv = cbc("iv").try_into().expect("16 octets");
        (cbc("packet"), cbc("mh"), cbc_transform, iv)
    }];
    for (packet, message, transform, iv) in cases {
        let walked = homeport_wire::walk(&packet).expect("a packet");
        let header = EspHeader::parse(walked.payload).expect("ESP");
        assert_eq!((header.spi, header.sequence), (transform.spi, 1));
        let plain = unprotect(&packet, &walked, &transform, 1).expect("authentic");
        let inner = homeport_wire::walk(&plain).expect("a packet");
        assert_eq!(inner.upper, 135);
        assert_eq!(inner.payload, message);
        assert_eq!(protect(&plain, &transform, 1, iv).expect("sealed"), packet);
        for at in 0..walked.payload.len() {
            let mut bad = packet.clone();
            bad[walked.upper_offset + at] ^= 1;
            let walked = homeport_wire::walk(&bad).expect("a packet");
            let opened = unprotect(&bad, &walked, &transform, 1);
            assert_eq!(opened, Err(EspError::Integrity), "octet {at}");
        }
    }
}

/// Lengths of keys for each suite.
fn lengths(suite: Suite) -> (&'static [usize], usize) {
    match suite {
        Suite::AesGcm16 => (&[20, 28, 36], 0),
        Suite::AesCbcHmacSha256 => (&[16, 24, 32], 32),
        Suite::AesCbcHmacSha384 => (&[16, 24, 32], 48),
        Suite::AesCbcHmacSha512 => (&[16, 24, 32], 64),
        Suite::NullHmacSha256 => (&[0], 32),
        Suite::NullHmacSha384 => (&[0], 48),
        Suite::NullHmacSha512 => (&[0], 64),
    }
}

#[test]
fn keys_of_other_lengths_are_refused_with_what_would_do() {
    for suite in Suite::ALL {
        let (encryption, authentication) = lengths(suite);
        for len in 0..80 {
            let fits = suite.check(&keys(std::vec![1; len], std::vec![1; authentication]));
            assert_eq!(fits.is_ok(), encryption.contains(&len), "{suite:?} {len}");
            let fits = suite.check(&keys(std::vec![1; encryption[0]], std::vec![1; len]));
            assert_eq!(fits.is_ok(), authentication == len, "{suite:?} {len}");
        }
        assert_eq!(Suite::named(suite.name()), Some(suite));
    }
    let error = Suite::AesGcm16.check(&keys(std::vec![1; 16], Vec::new())).expect_err("too short");
    let text: String = std::format!("{error}");
    assert!(text.contains("16 octets") && text.contains("aes-gcm-16 takes 20"), "{text}");
}

#[test]
fn what_is_authentic_and_not_well_formed_is_refused() {
    let transform =
        Transform::new(Suite::NullHmacSha256, 9, false, keys(Vec::new(), std::vec![7; 32]))
            .expect("keys fit");
    let sealed = |content: &[u8]| {
        let mut out = [&[0, 0, 0, 9, 0, 0, 0, 1][..], content].concat();
        transform.append_icv(1, &mut out);
        transform.open(&out, 1)
    };
    let opened = Opened { next_header: 135, payload: std::vec![5] };
    assert_eq!(sealed(&[5, 1, 1, 135, 1, 2, 2, 135][..4]), Ok(opened));
    assert_eq!(sealed(&[5, 9, 1, 135]), Err(EspError::Padding));
    assert_eq!(sealed(&[1, 2, 3, 135]), Err(EspError::Padding));
    assert_eq!(sealed(&[1, 2, 2, 59]), Err(EspError::Dummy));
    assert_eq!(sealed(&[0, 135]), Err(EspError::Length));
    assert_eq!(sealed(&[]), Err(EspError::Length));
    assert_eq!(transform.open(&[0; 23], 1), Err(EspError::Length));
}

proptest! {
    #[test]
    fn what_is_sealed_opens(
        place in 0..Suite::ALL.len(),
        key_place in 0_usize..3,
        extended: bool,
        sequence in 1_u64..,
        random: [u8; 16],
        payload in prop::collection::vec(any::<u8>(), 0..200),
        flip: prop::sample::Index,
    ) {
        let suite = Suite::ALL[place];
        let (encryption, authentication) = lengths(suite);
        let encryption = encryption[key_place % encryption.len()];
        let keys = keys(std::vec![3; encryption], std::vec![4; authentication]);
        let transform = Transform::new(suite, 77, extended, keys).expect("keys fit");
        let sealed = transform.seal(sequence, random, 135, &payload).expect("sealed");
        prop_assert_eq!(sealed.len() % 4, suite.icv_len() % 4);
        let opened = transform.open(&sealed, sequence).expect("authentic");
        prop_assert_eq!(opened, Opened { next_header: 135, payload });
        // The upper half of the number is covered though it is not sent.
        let other = transform.open(&sealed, sequence ^ 1 << 40);
        prop_assert_eq!(other.is_err(), extended);
        let mut bad = sealed;
        let at = flip.index(bad.len());
        bad[at] ^= 0x40;
        prop_assert_eq!(transform.open(&bad, sequence), Err(EspError::Integrity));
    }

    #[test]
    fn any_octets_are_refused_without_a_panic(
        place in 0..Suite::ALL.len(),
        octets in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let suite = Suite::ALL[place];
        let (encryption, authentication) = lengths(suite);
        let keys = keys(std::vec![3; encryption[0]], std::vec![4; authentication]);
        let transform = Transform::new(suite, 77, false, keys).expect("keys fit");
        prop_assert!(transform.open(&octets, 1).is_err());
    }
}
