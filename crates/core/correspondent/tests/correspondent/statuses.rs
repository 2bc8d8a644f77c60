//! Every refusal, by table: RFC 6275 §9.5.1, RFC 5648 §6.2.

use std::net::{Ipv4Addr, Ipv6Addr};

use hmac::{Hmac, KeyInit as _, Mac as _};
use homeport_correspondent::{Arrival, DropReason, Input, Settings};
use homeport_wire::{
    Bid, BidOption, BindingUpdate, BuFlags, Lifetime, Message, MobilityOption, Sequence, Status,
};
use sha1::Sha1;

use crate::support::*;

/// A node with BIDs 1 and 2 of one home address, whose last sequence number is 10.
fn bound() -> Lab {
    let mut lab = Lab::new();
    lab.bind(Draft::new(9, COA1).bid(BidOption::v6(Bid(1), COA1)), COA1);
    lab.bind(Draft::new(10, COA2).bid(BidOption::v6(Bid(2), COA2)), COA2);
    lab
}

#[test]
fn refusals_leave_everything_as_it_was() {
    let v4 = BidOption::v4(Bid(3), Ipv4Addr::new(192, 0, 2, 1));
    let link_local = BidOption::v6(Bid(3), "fe80::1".parse().unwrap());
    let next = || Draft::new(11, COA1);
    let (one, two) = (BidOption::v6(Bid(1), COA1), BidOption::v6(Bid(2), COA2));
    let three = BidOption::v6(Bid(3), COA1);
    // (what, update, what its authenticator covers, status, sent also without A)
    let rows = [
        ("stale", Draft::new(10, COA1).bid(one), COA1, 135, true),
        ("stale by half", Draft::new(10_u16.wrapping_add(0x8000), COA1).bid(one), COA1, 135, true),
        ("bulk", next().bid(one).bid(two), COA1, 168, false),
        ("bulk, proved from its source", next().bid(two).bid(one), COA1, 168, false),
        ("bulk deletion", next().lifetime(0).bid(one).bid(two), HOME, 168, false),
        ("reserved BID", next().bid(BidOption::v6(Bid(0), COA1)), COA1, 164, false),
        ("IPv4 care-of address", next().bid(v4), COA1, 164, false),
        ("link-local", next().bid(link_local), "fe80::1".parse().unwrap(), 164, false),
        ("unknown BID", next().bid(BidOption::refresh(Bid(3))), COA1, 167, false),
        ("own address", next().bid(BidOption::v6(Bid(3), OWN)), OWN, 174, false),
        ("deletes an unknown BID", next().lifetime(0).bid(three), HOME, 133, false),
        ("mobile router", next().flag(BuFlags::MOBILE_ROUTER).bid(three), COA1, 140, false),
        ("proxy", next().flag(BuFlags::PROXY).bid(three), COA1, 152, false),
    ];
    for (what, draft, covered, status, always) in rows {
        for acknowledge in [true, false] {
            let mut lab = bound();
            let before = lab.care_ofs(HOME);
            let tokens = if covered == OWN || covered.is_unicast_link_local() {
                forged_tokens(&mut lab, covered)
            } else {
                lab.tokens(HOME, covered)
            };
            let flags = BuFlags(draft.flags.0 & !BuFlags::ACKNOWLEDGE.0);
            let flags = if acknowledge { flags.with(BuFlags::ACKNOWLEDGE) } else { flags };
            let draft = Draft { covered, flags, ..draft.clone() }.tokens(tokens);
            let outputs = lab.arrive(&draft.packet());
            assert_eq!(lab.care_ofs(HOME), before, "{what}");
            if !acknowledge && !always {
                assert!(is_silent(&outputs), "{what}");
                continue;
            }
            let said = answer(&outputs, &draft);
            assert_eq!((said.status, said.lifetime), (Status(status), 0), "{what}");
            assert!(said.authentic, "{what}");
            let copied: Vec<_> =
                draft.bids.iter().map(|option| option.acknowledged(Status::ACCEPTED)).collect();
            assert_eq!(said.bids, copied, "{what}");
            let expected = if status == 135 { 10 } else { draft.sequence };
            assert_eq!(said.sequence, expected, "{what}");
        }
    }
}

/// Tokens for an address that cannot be tested, made with the node's own secret, which nobody else
/// has: the formula of RFC 6275 §5.2.5 a second time.
fn forged_tokens(lab: &mut Lab, care_of: Ipv6Addr) -> Tokens {
    let tokens = lab.tokens(HOME, COA1);
    let secret = secret(tokens.care_of_index);
    let mut mac = Hmac::<Sha1>::new_from_slice(&secret.node_key).unwrap();
    for part in [&care_of.octets()[..], &secret.nonce, &[1]] {
        mac.update(part);
    }
    let care_of = mac.finalize().into_bytes()[..8].try_into().unwrap();
    Tokens { care_of, ..tokens }
}

#[test]
fn an_option_of_wrong_length_refuses_the_whole() {
    let mut lab = bound();
    let tokens = lab.tokens(HOME, COA1);
    let draft = Draft::new(11, COA1).tokens(tokens);
    // The same update with seven octets of data in a BID option.
    let mut options = BindingUpdate::builder();
    let (home, care_of) = (tokens.home_index, tokens.care_of_index);
    options.push(&MobilityOption::NonceIndices { home, care_of });
    options.push(&MobilityOption::Malformed { kind: 35, data: &[0, 3, 0, 0, 1, 2, 3] });
    options.push_binding_authorization();
    let message = Message::BindingUpdate(BindingUpdate {
        sequence: Sequence(11),
        flags: BuFlags::ACKNOWLEDGE,
        lifetime: Lifetime(50),
        options: options.finish(),
    });
    let authenticator = draft.key().authenticator(COA1, OWN, &message.emit_unchecked());
    let packet = draft.wrap(&message.with_authenticator(&authenticator));
    let said = answer(&lab.arrive(&packet), &draft);
    assert_eq!((said.status, said.bids), (Status::MCOA_MALFORMED, vec![]));
}

#[test]
fn a_regular_binding_is_in_the_way_of_a_bid() {
    let mut lab = Lab::new();
    lab.bind(Draft::new(1, COA1), COA1);
    let tokens = lab.tokens(HOME, COA2);
    let draft = Draft::new(2, COA2).bid(BidOption::v6(Bid(1), COA2)).tokens(tokens);
    let said = answer(&lab.arrive(&draft.packet()), &draft);
    assert_eq!(said.status, Status::MCOA_NON_MCOA_BINDING_EXISTS);
    assert_eq!(lab.care_ofs(HOME), [(None, COA1)]);
}

#[test]
fn bids_can_be_switched_off() {
    let settings = Settings { multiple_care_of_allowed: false, ..Settings::new(OWN) };
    let mut lab = Lab::with(settings);
    let tokens = lab.tokens(HOME, COA1);
    let draft = Draft::new(2, COA1).bid(BidOption::v6(Bid(1), COA1)).tokens(tokens);
    let said = answer(&lab.arrive(&draft.packet()), &draft);
    assert_eq!(said.status, Status::MCOA_PROHIBITED);
    lab.bind(Draft::new(3, COA1), COA1);
}

#[test]
fn a_refused_update_counts_its_sequence_number_where_one_is_known() {
    let mut lab = bound();
    let tokens = lab.tokens(HOME, COA1);
    let refused = Draft::new(20, COA1).bid(BidOption::refresh(Bid(3))).tokens(tokens);
    assert_eq!(answer(&lab.arrive(&refused.packet()), &refused).status, Status(167));
    assert_eq!(lab.node.home(HOME).unwrap().sequence, Sequence(20));

    let mut fresh = Lab::new();
    let tokens = fresh.tokens(HOME, COA1);
    let refused = Draft::new(20, COA1).bid(BidOption::refresh(Bid(3))).tokens(tokens);
    assert_eq!(answer(&fresh.arrive(&refused.packet()), &refused).status, Status(167));
    assert!(fresh.node.home(HOME).is_none());
}

#[test]
fn full_tables_say_insufficient_resources() {
    let settings =
        Settings { home_addresses_max: 1, bindings_per_home_address_max: 1, ..Settings::new(OWN) };
    let mut lab = Lab::with(settings);
    lab.bind(Draft::new(1, COA1).bid(BidOption::v6(Bid(1), COA1)), COA1);
    let other = "2001:db8:0:1::200".parse().unwrap();
    let rows = [
        Draft { home: other, ..Draft::new(1, COA2) },
        Draft::new(2, COA2).bid(BidOption::v6(Bid(2), COA2)),
    ];
    for draft in rows {
        let tokens = lab.tokens(draft.home, COA2);
        // Also without A: RFC 6275 §9.5.4.
        let draft = Draft { flags: BuFlags::default(), ..draft }.tokens(tokens);
        let said = answer(&lab.arrive(&draft.packet()), &draft);
        assert_eq!(said.status, Status::INSUFFICIENT_RESOURCES);
    }
    // What takes the place of the old one needs no room.
    lab.bind(Draft::new(3, COA1).bid(BidOption::v6(Bid(1), COA3)), COA3);
    let only = Draft::new(4, COA2).flag(BuFlags::OVERWRITE).bid(BidOption::v6(Bid(2), COA2));
    lab.bind(only, COA2);
}

#[test]
fn what_is_not_in_order_is_dropped_in_silence() {
    let mut lab = Lab::new();
    let tokens = lab.tokens(HOME, COA1);
    let good = Draft::new(1, COA1).tokens(tokens);
    let routable = |text: &str| text.parse().unwrap();
    let rows = [
        (Draft { nonces: false, ..good.clone() }, DropReason::NonceIndicesMissing),
        (Draft { source: routable("ff02::1"), ..good.clone() }, DropReason::SourceNotRoutable),
        (Draft { home: routable("fe80::1"), ..good.clone() }, DropReason::HomeAddressNotRoutable),
        (Draft { source: routable("fe80::1"), ..good.clone() }, DropReason::CareOfNotRoutable),
        (Draft { alternate: Some(routable("::1")), ..good.clone() }, DropReason::CareOfNotRoutable),
        (Draft { covered: COA2, ..good.clone() }, DropReason::NotAuthentic),
        (good.clone().flag(BuFlags::HOME_REGISTRATION), DropReason::NonceIndices),
    ];
    for (draft, reason) in rows {
        assert_eq!(dropped(&lab.arrive(&draft.packet())), reason);
        assert!(lab.node.home(HOME).is_none());
    }
}

#[test]
fn the_authenticator_must_be_the_last_octets() {
    let mut lab = Lab::new();
    let tokens = lab.tokens(HOME, COA1);
    let draft = Draft::new(1, COA1).tokens(tokens);
    let octets = draft.message().emit_unchecked();
    let padded = [&octets[12..], &[1, 6, 0, 0, 0, 0, 0, 0]].concat();
    let none = octets[12..18].to_vec();
    let twice = {
        let mut options = BindingUpdate::builder();
        let (home, care_of) = (tokens.home_index, tokens.care_of_index);
        options.push(&MobilityOption::NonceIndices { home, care_of });
        options.push_binding_authorization().push_binding_authorization();
        options.finish().octets().to_vec()
    };
    for area in [padded, none, twice] {
        let options = homeport_wire::Options::parse(&area, 12).unwrap();
        let message = Message::BindingUpdate(BindingUpdate {
            sequence: Sequence(1),
            flags: BuFlags::ACKNOWLEDGE,
            lifetime: Lifetime(50),
            options,
        });
        let packet = draft.wrap(&message);
        assert_eq!(dropped(&lab.arrive(&packet)), DropReason::AuthorizationMissing);
    }
}

#[test]
fn every_octet_of_an_update_counts() {
    let mut lab = Lab::new();
    let tokens = lab.tokens(HOME, COA1);
    let draft = Draft::new(1, COA1).bid(BidOption::v6(Bid(1), COA1)).tokens(tokens);
    let packet = draft.packet();
    let octets = homeport_wire::walk(&packet).unwrap().payload.to_vec();
    for at in 0..octets.len() {
        let mut changed = octets.clone();
        changed[at] ^= 0x10;
        // As an attacker sends it: with a checksum that is right.
        changed[4..6].fill(0);
        let pseudo = homeport_wire::PseudoHeader::mobility(HOME, OWN);
        let sum = homeport_wire::checksum(pseudo, &changed);
        changed[4..6].copy_from_slice(&sum.to_be_bytes());
        let packet = homeport_wire::mobility_packet(COA1, OWN, Some(HOME), None, &changed);
        if changed != octets {
            lab.arrive(&packet);
            assert!(lab.node.home(HOME).is_none(), "octet {at}");
        }
    }
    lab.arrive(&packet);
    assert!(lab.node.home(HOME).is_some());
}

#[test]
fn home_registrations_are_refused_and_never_change_a_binding() {
    let mut lab = Lab::new();
    let draft = Draft { nonces: false, ..Draft::new(1, COA1) }.flag(BuFlags::HOME_REGISTRATION);
    let said = answer(&lab.arrive(&draft.packet()), &draft);
    assert_eq!(said.status, Status::HOME_REGISTRATION_NOT_SUPPORTED);
    assert!(!said.authentic);
    lab.bind(Draft::new(1, COA1), COA1);
    let draft = Draft { sequence: 2, ..draft };
    let said = answer(&lab.arrive(&draft.packet()), &draft);
    assert_eq!(said.status, Status::REGISTRATION_TYPE_CHANGE);
    assert_eq!(lab.node.home(HOME).unwrap().sequence, Sequence(1));

    // The other way round: this node is the home agent too.
    let mut lab = Lab::new();
    let tokens = lab.tokens(HOME, COA1);
    let draft = Draft::new(1, COA1).tokens(tokens);
    let packet = draft.packet();
    let arrival = Arrival { packet: &packet, has_home_registration: true };
    let said = answer(&lab.handle(Input::Packet(arrival)), &draft);
    assert_eq!(said.status, Status::REGISTRATION_TYPE_CHANGE);
    assert!(said.authentic);
    assert!(lab.node.home(HOME).is_none());
}
