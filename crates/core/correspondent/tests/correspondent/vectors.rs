//! The return routability vectors V25 to V30, octet for octet.

use homeport_correspondent::keys::BindingKey;
use homeport_correspondent::{
    Arrival, Correspondent, Event, Input, Millis, Output, Secret, Settings,
};
use homeport_wire::{Bid, Lifetime};

use crate::support::*;

fn secret(id: &str, index: u16) -> Input<'static> {
    Input::Secret(Secret {
        index,
        node_key: field(id, "kcn").try_into().unwrap(),
        nonce: field(id, "nonce").try_into().unwrap(),
    })
}

fn arrive(node: &mut Correspondent, now: Millis, packet: &[u8]) -> Vec<Output> {
    node.handle(now, Input::Packet(Arrival::new(packet)))
}

#[test]
fn v25_to_v30_from_the_first_test_to_the_binding() {
    let mut node = Correspondent::new(Settings::new(OWN)).unwrap();
    node.handle(Millis(0), secret("V27", 0x0101));

    // What the home agent's tunnels carry: the outer IPv6 header has forty octets.
    let outputs = arrive(&mut node, Millis(10), &field("V25", "packet")[40..]);
    assert_eq!(sent(&outputs), field("V27", "packet")[40..]);
    assert_eq!(outputs.last(), Some(&Output::SecretWanted));

    node.handle(Millis(11), secret("V28", 0x0202));
    // The second nonce comes into use half a minute later.
    let later = Millis(30_010);
    let outputs = arrive(&mut node, later, &field("V26", "packet"));
    assert_eq!(sent(&outputs), field("V28", "packet"));

    let outputs = arrive(&mut node, later, &field("V29", "packet"));
    assert_eq!(sent(&outputs), field("V30", "packet"));
    let bound = Event::Bound {
        home_address: HOME,
        bid: Some(Bid(2)),
        care_of: COA2,
        lifetime: Lifetime(105),
    };
    assert_eq!(events(&outputs), [bound]);
}

#[test]
fn keys_and_authenticators_of_the_vectors() {
    let home: [u8; 8] = field("V27", "home_keygen_token").try_into().unwrap();
    let care_of: [u8; 8] = field("V28", "careof_keygen_token").try_into().unwrap();
    let key = BindingKey::to_register(home, care_of);
    assert_eq!(key.octets()[..], field("V29", "kbm"));
    assert_eq!(BindingKey::to_delete(home).octets()[..], field("V29", "kbm_for_delete"));
    for id in ["V29", "V30"] {
        let header = field(id, "mh");
        assert!(key.authenticates(COA2, OWN, &header), "{id}");
        assert!(!key.authenticates(COA1, OWN, &header), "{id}");
        assert!(!key.authenticates(COA2, HOME, &header), "{id}");
        assert!(!BindingKey::to_delete(home).authenticates(COA2, OWN, &header), "{id}");
    }
    // The fields before the authenticator are covered one by one; the checksum is not.
    let header = field("V29", "mh");
    for at in 0..header.len() {
        let mut changed = header.clone();
        changed[at] ^= 1;
        let is_checksum = at == 4 || at == 5;
        assert_eq!(key.authenticates(COA2, OWN, &changed), is_checksum, "octet {at}");
    }
}
