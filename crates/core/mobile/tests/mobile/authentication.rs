//! RFC 4285: nothing unauthenticated is believed when there is a key.

use homeport_mobile::{DropReason, MnHaAssociation, Path, Settings};
use homeport_wire::{
    BindingRevocation, BindingRevocationIndication, Message, MobilityOption, OptionsBuilder,
    RevocationFlags, RevocationTrigger, Sequence, Status,
};

use crate::support::*;

fn with_key(message_id: bool) -> Settings {
    let authentication = Some(MnHaAssociation { message_id, ..association() });
    Settings { authentication, ..settings() }
}

#[test]
fn updates_carry_identity_and_authenticator_at_the_end() {
    for (care_of, options) in [
        (COA1, vec!["bid", "identifier", "authentication"]),
        (COA_V4, vec!["bid", "identifier", "authentication"]),
    ] {
        let mut lab = Lab::new(with_key(false));
        lab.register(&[address(1, care_of)], false);
        let seen = lab.update();
        assert_eq!(seen.options, options);
        check_authenticator(&seen);
        lab.accept(&seen);
        assert!(lab.node.bindings()[0].registered.is_some());
    }
}

fn check_authenticator(seen: &Seen) {
    let (covered, carried) = seen.header.split_last_chunk::<12>().unwrap();
    let covered = homeport_wire::with_checksum_zeroed(covered);
    assert_eq!(mac(&association(), seen.path, &covered), *carried);
    assert_eq!(seen.header.len() % 8, 0);
}

#[test]
fn a_plain_update_in_udp_announces_the_address_that_it_covers() {
    let mut lab = Lab::registered(with_key(false), &[address(7, COA_V4)]);
    lab.command(homeport_mobile::Command::DeregisterAll { from: None });
    let seen = lab.update();
    assert_eq!(seen.options, ["ipv4 care-of", "identifier", "authentication"]);
    check_authenticator(&seen);
}

/// A registration that waits for its answer, and a valid answer.
fn waiting(message_id: bool) -> (Lab, Path, Answer) {
    let mut lab = Lab::new(with_key(message_id));
    lab.register(&[address(1, COA1)], false);
    let seen = lab.update();
    let answer = Answer::to(&seen, Status::ACCEPTED, &[(1, Status::ACCEPTED)]);
    (lab, seen.path, answer)
}

fn is_registered(lab: &Lab) -> bool {
    lab.node.bindings()[0].registered.is_some()
}

#[test]
fn answers_are_refused_for_each_kind_of_wrong_authenticator() {
    let wrong_key = MnHaAssociation { key: vec![0; 16], ..association() };
    let wrong_spi = MnHaAssociation { spi: 0x101, ..association() };
    let rows = [
        (None, DropReason::Unauthenticated),
        (Some(wrong_key), DropReason::Authenticator),
        (Some(wrong_spi), DropReason::Unauthenticated),
    ];
    for (key, expected) in rows {
        let (mut lab, path, answer) = waiting(false);
        let packet = answer.packet(path, key.as_ref());
        lab.arrive(path, &packet);
        assert_eq!(lab.drops(), [expected]);
        assert!(!is_registered(&lab));
        // The right one still works afterwards.
        lab.deliver(&answer, path);
        assert!(is_registered(&lab));
    }
}

#[test]
fn every_flipped_octet_of_an_answer_is_noticed() {
    let (lab, path, answer) = waiting(false);
    let packet = answer.packet(path, Some(&association()));
    // From the Mobility Header on; the checksum and the octet reserved in it are corrected below.
    let header = 64;
    for at in header..packet.len() {
        let mut broken_lab = Lab::new(with_key(false));
        broken_lab.node = lab.node.clone();
        let mut broken = packet.clone();
        broken[at] ^= 0x01;
        fix_checksum(&mut broken, header);
        broken_lab.arrive(path, &broken);
        assert_eq!(is_registered(&broken_lab), at == header + 4 || at == header + 5, "octet {at}");
    }
}

fn fix_checksum(packet: &mut [u8], header: usize) {
    packet[header + 4..header + 6].fill(0);
    let pseudo = homeport_wire::PseudoHeader::mobility(HOME_AGENT, HOME);
    let sum = homeport_wire::checksum(pseudo, &packet[header..]);
    packet[header + 4..header + 6].copy_from_slice(&sum.to_be_bytes());
}

#[test]
fn an_answer_for_another_address_of_the_node_is_not_taken() {
    let (mut lab, _, answer) = waiting(false);
    lab.deliver(&answer, COA2.path());
    assert_eq!(lab.drops(), [DropReason::OtherPath]);
    assert!(!is_registered(&lab));
}

#[test]
fn options_behind_the_authenticator_make_it_void() {
    let (mut lab, path, answer) = waiting(false);
    let valid = answer.packet(path, Some(&association()));
    let mut header = valid[64..].to_vec();
    header.extend_from_slice(&[0x23, 4, 0, 9, 0, 0, 1, 0]);
    header[1] += 1;
    let mut packet = envelope(path, &header);
    fix_checksum(&mut packet, 64);
    lab.arrive(path, &packet);
    assert_eq!(lab.drops(), [DropReason::Unauthenticated]);
    // Padding behind it neither.
    header.truncate(header.len() - 8);
    header.extend_from_slice(&[1, 6, 0, 0, 0, 0, 0, 0]);
    let mut packet = envelope(path, &header);
    fix_checksum(&mut packet, 64);
    lab.arrive(path, &packet);
    assert_eq!(lab.drops(), [DropReason::Unauthenticated; 2]);
}

#[test]
fn a_refusal_of_the_sequence_number_has_to_be_authentic_too() {
    let (mut lab, path, answer) = waiting(false);
    let refusal =
        Answer { status: Status::SEQUENCE_OUT_OF_WINDOW, sequence: Sequence(7777), ..answer };
    let packet = refusal.packet(path, None);
    lab.arrive(path, &packet);
    assert_eq!(lab.updates().len(), 0);
    assert_ne!(lab.node.sequence(), Sequence(7778));
    lab.deliver(&refusal, path);
    assert_eq!(lab.update().sequence, Sequence(7778));
}

#[test]
fn the_timestamp_has_to_come_back() {
    let (mut lab, path, answer) = waiting(true);
    assert_eq!(answer.message_id, Some(lab.ntp));
    for message_id in [None, Some(lab.ntp + 1)] {
        lab.deliver(&Answer { message_id, ..answer.clone() }, path);
        assert!(!is_registered(&lab));
    }
    assert_eq!(lab.drops(), [DropReason::MessageId; 2]);
    lab.deliver(&answer, path);
    assert!(is_registered(&lab));
}

#[test]
fn timestamps_increase_even_when_the_clock_stands() {
    let mut lab = Lab::registered(with_key(true), &[address(1, COA1)]);
    let mut last = lab.ntp;
    for _ in 0..3 {
        lab.command(homeport_mobile::Command::Refresh { bids: vec![], bulk: false });
        let seen = lab.update();
        let timestamp = seen.message_id.unwrap();
        assert!(timestamp > last);
        last = timestamp;
        lab.accept(&seen);
    }
}

#[test]
fn a_mismatch_sets_the_clock_right() {
    for difference in [3_600, -3_600] {
        let (mut lab, path, answer) = waiting(true);
        let sent = answer.message_id.unwrap();
        let secs = (sent >> 32).wrapping_add_signed(difference);
        let carried = secs << 32 | sent & 0xffff_ffff;
        let mismatch =
            Answer { status: Status::ID_MISMATCH, message_id: Some(carried), ..answer.clone() };
        lab.deliver(&mismatch, path);
        let again = lab.update();
        assert_eq!(again.message_id, Some(carried), "{difference}");
        lab.accept(&again);
        assert!(is_registered(&lab));
    }
}

#[test]
fn a_mismatch_with_another_fraction_is_not_ours() {
    let (mut lab, path, answer) = waiting(true);
    let sent = answer.message_id.unwrap();
    let mismatch = Answer { status: Status::ID_MISMATCH, message_id: Some(sent ^ 1), ..answer };
    lab.deliver(&mismatch, path);
    assert_eq!(lab.drops(), [DropReason::MessageId]);
}

#[test]
fn a_wanted_timestamp_is_given() {
    let (mut lab, path, answer) = waiting(false);
    lab.deliver(&Answer { status: Status::MESG_ID_REQUIRED, ..answer }, path);
    let again = lab.update();
    assert_eq!(again.options, ["bid", "identifier", "message id", "authentication"]);
    check_authenticator(&again);
}

#[test]
fn revocations_and_switches_have_to_be_authentic() {
    let indication = |key: Option<&MnHaAssociation>, path| {
        let mut options = BindingRevocation::builder();
        if let Some(key) = key {
            options.push_authentication(1, key.spi, 12);
        }
        let indication = BindingRevocationIndication {
            trigger: RevocationTrigger::ADMINISTRATIVE,
            sequence: 5,
            flags: RevocationFlags(0),
            options: options.finish(),
        };
        let message = Message::BindingRevocation(BindingRevocation::Indication(indication));
        envelope(path, &protect(message, path, key))
    };
    let mut lab = Lab::registered(with_key(false), &[address(1, COA1)]);
    let path = COA1.path();
    lab.arrive(path, &indication(None, path));
    assert_eq!(lab.drops(), [DropReason::Unauthenticated]);
    assert!(is_registered(&lab));
    lab.arrive(path, &indication(Some(&association()), path));
    assert!(!is_registered(&lab));

    // A switch is told, but only an authentic one ends the bindings.
    let mut lab = Lab::registered(with_key(false), &[address(1, COA1)]);
    let switch = |options: &mut OptionsBuilder| {
        Message::HomeAgentSwitch(homeport_wire::HomeAgentSwitch {
            addresses: vec![],
            options: options.finish(),
        })
    };
    let bare = switch(&mut homeport_wire::HomeAgentSwitch::builder(0));
    lab.arrive(path, &envelope(path, &protect(bare, path, None)));
    assert_eq!((lab.updates().len(), lab.events().len()), (0, 1));
    let mut options = homeport_wire::HomeAgentSwitch::builder(0);
    options.push_authentication(1, association().spi, 12);
    let authentic = switch(&mut options);
    lab.arrive(path, &envelope(path, &protect(authentic, path, Some(&association()))));
    assert!(lab.update().lifetime.is_deregistration());
}

#[test]
fn the_option_of_another_subtype_does_not_count() {
    let (mut lab, path, answer) = waiting(false);
    let mut options = OptionsBuilder::for_binding_acknowledgement();
    options.push(&MobilityOption::BindingIdentifier(answer.bids[0]));
    options.push_authentication(2, association().spi, 12);
    let message = Message::BindingAcknowledgement(homeport_wire::BindingAcknowledgement {
        status: Status::ACCEPTED,
        flags: homeport_wire::BaFlags::default(),
        sequence: answer.sequence,
        lifetime: answer.lifetime,
        options: options.finish(),
    });
    lab.arrive(path, &envelope(path, &protect(message, path, Some(&association()))));
    assert_eq!(lab.drops(), [DropReason::Unauthenticated]);
}
