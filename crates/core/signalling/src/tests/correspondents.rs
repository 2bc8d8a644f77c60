//! The home agent as a correspondent node: which messages are for that part.

use homeport_wire::{HomeTestInit, Options};

use super::*;

/// Where the home agent is a correspondent node, RFC 6275 §9.5.1 asks for them.
#[test]
fn an_update_without_nonce_indices_is_no_correspondents() {
    let key = SharedKey::new([7; 32]);
    let role = Some(Role { key: &key, now_ms: 1_700_000_000_000 });
    let receive = |packet: &[u8]| receive_as(Arrival { packet, outer: None }, role);
    assert!(matches!(receive(&away(&update(0x8000, 10, &[]))), Received::Update(_)));
    let nonces = [MobilityOption::NonceIndices { home: 1, care_of: 2 }];
    let unauthorized = receive(&away(&update(0x8000, 10, &nonces)));
    let Received::Drop(reason) = unauthorized else { panic!("{unauthorized:?}") };
    assert_eq!(reason.name(), "authorization_missing");
    let at_home = receive(&away(&update(0xc000, 10, &nonces)));
    assert!(matches!(at_home, Received::Drop(DropReason::NonceIndices)));
    let init = HomeTestInit { cookie: [1; 8], options: Options::EMPTY };
    let init = Message::HomeTestInit(init).emit(COA1, AGENT);
    let packet = mobility_packet(COA1, AGENT, None, None, &init);
    assert!(matches!(receive(&packet), Received::Test(_)));
    let off = crate::receive(Arrival { packet: &packet, outer: None });
    assert!(matches!(off, Received::Drop(DropReason::NotForHomeAgent)));
}
