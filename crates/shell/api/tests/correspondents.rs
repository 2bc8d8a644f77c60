//! Mobile nodes as correspondents of home agents: what is written is read again, and what is wrong is named.

use std::collections::VecDeque;
use std::net::Ipv6Addr;

use homeport_api::binding as proto;
use homeport_api::convert;
use homeport_binding::correspondent::{Binding, Home, Millis, Request, Spent};
use homeport_binding::{
    Batch, Command, Correspondence, LogTime, Outcome, Peer, Remembered, StateRecord, Verdict,
};
use homeport_wire::{Bid, BidOption, BidPriority, BuFlags, Lifetime, Sequence};
use prost::bytes::Bytes;

const HOME: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 0x7);
const AGENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1);
const CARE_OF: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 0x11);

fn correspondence() -> Correspondence {
    let option = BidOption::v6(Bid(3), CARE_OF).with_home(true).with_priority(BidPriority::new(9));
    Correspondence {
        request_id: [5; 16],
        home_address: HOME,
        request: Request {
            correspondent: AGENT,
            sequence: Sequence(0xfffe),
            lifetime: Lifetime(105),
            flags: BuFlags::ACKNOWLEDGE,
            bids: vec![option, BidOption::refresh(Bid(4))],
            has_malformed_bid: true,
            care_of: CARE_OF,
            proven: HOME,
            nonces: (1, 0xffff),
            nonces_end: Millis(1_700_000_240_000),
        },
    }
}

fn peer() -> Peer {
    let mut home = Home::new(Sequence(7));
    let (now, lifetime) = (Millis(1_700_000_000_000), Lifetime(10));
    for (bid, priority) in [(None, BidPriority::UNSET), (Some(Bid(2)), BidPriority::new(4))] {
        let end = Millis(1_700_000_200_000);
        let binding = Binding::new(now, CARE_OF, priority, lifetime, (8, 9), end);
        home.bindings.insert(bid, binding);
    }
    home.guard = Millis(1_700_000_210_000);
    home.spent = vec![Spent { nonces: (3, 4), care_of: HOME, until: Millis(9) }];
    let verdict = Verdict { revision: 4, outcome: Outcome::Done, esp: None };
    Peer { home, remembered: VecDeque::from([Remembered { request_id: [6; 16], verdict }]) }
}

#[test]
fn what_is_written_is_read_again() {
    let commands = vec![Command::Correspond(correspondence())];
    let batch = Batch { at: LogTime(1), commands };
    assert_eq!(convert::decode_batch(&convert::encode_batch(batch.clone())), Ok(batch));
    let record = StateRecord::Correspondent(HOME, AGENT, peer());
    let mut octets = Vec::new();
    convert::encode_state_record(record.clone(), &mut octets);
    assert_eq!(convert::decode_state_record(&mut Bytes::from(octets)), Ok(record));
}

/// The field that an error names, and how it is spoilt.
type Row<M> = (&'static str, fn(&mut M));

#[test]
fn a_wrong_field_is_named() {
    let rows: [Row<proto::Correspond>; 7] = [
        ("correspond.request_id", |it| it.request_id = Bytes::new()),
        ("correspond.home_address", |it| it.home_address = Bytes::new()),
        ("correspond.home_agent", |it| it.home_agent = Bytes::new()),
        ("correspond.care_of_nonce", |it| it.care_of_nonce = 65_536),
        ("correspond.sequence", |it| it.sequence = 65_536),
        ("correspond.proven", |it| it.proven = Bytes::from_static(&[1])),
        ("correspond.bids.bid", |it| it.bids.iter_mut().for_each(|option| option.bid = None)),
    ];
    for (field, spoil) in rows {
        let mut message = proto::Correspond::from(correspondence());
        spoil(&mut message);
        let Err(error) = Correspondence::try_from(message) else { panic!("{field} was accepted") };
        assert!(error.to_string().starts_with(&format!("{field}: ")), "{field}: {error}");
    }
    let rows: [Row<proto::Correspondent>; 5] = [
        ("correspondent.home_agent", |it| it.home_agent = Bytes::new()),
        ("correspondent.bindings.care_of", |it| it.bindings[0].care_of = Bytes::new()),
        ("correspondent.bindings.nonces", |it| it.bindings[0].nonces = None),
        ("correspondent.bindings", |it| it.bindings[0].bid = Some(2)),
        ("nonces.home_nonce", |it| it.spent[0].home_nonce = 65_536),
    ];
    for (field, spoil) in rows {
        let mut message = convert::correspondent_message(HOME, AGENT, peer());
        spoil(&mut message);
        let Err(error) = convert::correspondent_of(message) else { panic!("{field} was accepted") };
        assert!(error.to_string().starts_with(&format!("{field}: ")), "{field}: {error}");
    }
}
