//! Security associations: which numbers are taken and given, whatever happens to a command.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::ToString as _;
use alloc::vec;
use alloc::vec::Vec;

use homeport_esp::{Keys, Suite};
use proptest::prelude::*;

use super::*;
use crate::{EspNumber, Origin, Protected, Protects, SECURITY_SINCE, SecurityAssociation};

fn keys(octet: u8) -> Keys {
    Keys { encryption: vec![octet; 16], authentication: vec![octet; 32] }
}

fn record() -> SecurityAssociation {
    SecurityAssociation {
        home_address: HOME,
        protects: Protects::Mobility,
        suite: Suite::AesCbcHmacSha256,
        extended_sequence_numbers: false,
        replay_window: 64,
        inbound_spi: 0x100,
        inbound: keys(1),
        outbound_spi: 0x200,
        outbound: keys(2),
        origin: Origin::Static,
    }
}

fn put(association: SecurityAssociation) -> Command {
    Command::PutSecurityAssociation { association, must_not_exist: false }
}

impl Lab {
    fn associated() -> Self {
        let mut lab =
            Self::with(HomePrefix { authentication: Authentication::Ipsec, ..home_prefix() });
        let subscriber = Subscriber::new(HOME);
        lab.run(Command::PutSubscriber { subscriber, must_not_exist: true });
        assert_eq!(lab.run(put(record())).outcome, Outcome::Done);
        lab
    }

    fn registration(&self) -> Registration {
        let policy_revisions = self.cache.policy(HOME, AGENT).revisions();
        Registration { policy_revisions, ..bu(10, 70, Vec::new()) }
    }

    /// A packet with this number, which asks for nothing.
    fn packet(&mut self, sequence: u64) -> Verdict {
        let command = self.protected(sequence, None);
        self.run(command)
    }

    fn protected(&self, sequence: u64, command: Option<Command>) -> Command {
        let association = self.cache.associations(HOME).first().unwrap();
        Command::Protected(Protected {
            home_address: HOME,
            inbound_spi: association.revised.record.inbound_spi,
            association_revision: association.revised.revision,
            sequence,
            protects: Protects::Mobility,
            command: command.map(Box::new),
        })
    }
}

fn number(sequence: u64) -> Option<EspNumber> {
    Some(EspNumber { inbound_spi: 0x100, sequence })
}

#[test]
fn a_number_is_taken_once_and_another_is_given() {
    let mut lab = Lab::associated();
    let verdict = lab.packet(5);
    assert_eq!((verdict.outcome, verdict.esp), (Outcome::Done, number(1)));
    let verdict = lab.packet(5);
    let replayed = Outcome::Silent(Silence::EspReplayed);
    assert_eq!((verdict.outcome, verdict.esp), (replayed.clone(), None));
    assert_eq!(lab.packet(0).outcome, replayed, "no sender begins there");
    assert_eq!(lab.packet(4).esp, number(2), "late, and within the window");
    assert_eq!(lab.packet(1000).esp, number(3));
    assert_eq!(lab.packet(936).outcome, replayed, "left of the window");
}

/// The answer may have been lost: whoever sends it again gets the answer, and a number that nobody had.
#[test]
fn a_command_that_is_sent_again_has_a_number_of_its_own() {
    let mut lab = Lab::associated();
    let registration = Command::Register(lab.registration());
    let command = lab.protected(1, Some(registration));
    let first = lab.run(command.clone());
    let again = lab.run(command.clone());
    assert!(matches!(first.outcome, Outcome::Answer(_)), "{first:?}");
    assert_eq!(first.outcome, again.outcome);
    assert_eq!((first.esp, again.esp), (number(1), number(2)));
    // Another Binding Update with that number is a replay.
    let mut other = lab.registration();
    other.request_id = [77; 16];
    let other = lab.protected(1, Some(Command::Register(other)));
    assert_eq!(lab.run(other).outcome, Outcome::Silent(Silence::EspReplayed));
}

#[test]
fn a_policy_that_has_changed_takes_no_number() {
    let mut lab = Lab::associated();
    let mut registration = lab.registration();
    registration.policy_revisions = (0, 0);
    let stale = lab.protected(1, Some(Command::Register(registration)));
    assert_eq!(lab.run(stale).outcome, Outcome::StalePolicy);
    let registration = Command::Register(lab.registration());
    let command = lab.protected(1, Some(registration));
    assert!(matches!(lab.run(command).outcome, Outcome::Answer(_)), "the same packet, judged anew");
}

#[test]
fn nobody_speaks_for_another_home_address() {
    let mut lab = Lab::associated();
    let mut registration = lab.registration();
    registration.home_address = "2001:db8:0:1::200".parse().unwrap();
    let command = lab.protected(1, Some(Command::Register(registration)));
    assert!(matches!(lab.run(command).outcome, Outcome::Silent(_)));
    assert_eq!(lab.cache.home_address_count(), 0);
}

#[test]
fn an_association_that_is_gone_or_another_is_looked_up_again() {
    let mut lab = Lab::associated();
    let old = lab.protected(1, None);
    let mut rekeyed = record();
    rekeyed.inbound = keys(3);
    lab.run(put(rekeyed));
    assert_eq!(lab.run(old.clone()).outcome, Outcome::StalePolicy);
    let delete = Command::DeleteSecurityAssociation { home_address: HOME, inbound_spi: 0x100 };
    assert_eq!(lab.run(delete.clone()).outcome, Outcome::Done);
    assert_eq!(lab.run(old).outcome, Outcome::StalePolicy);
    assert!(matches!(lab.run(delete).outcome, Outcome::Refused(_)));
}

/// An IKE agent that starts anew tells of what is there.
#[test]
fn the_same_record_again_keeps_its_numbers_and_other_keys_begin_anew() {
    let mut lab = Lab::associated();
    lab.packet(9);
    let before = lab.cache.associations(HOME).to_vec();
    lab.run(put(record()));
    assert_eq!(lab.cache.associations(HOME), before);
    let mut rekeyed = record();
    rekeyed.outbound = keys(4);
    lab.run(put(rekeyed));
    let after = &lab.cache.associations(HOME)[0];
    assert_eq!((after.sent, after.window.top()), (0, 9), "the peer's numbers go on");
}

/// RFC 4303 §3.3.3: never around, whatever is asked.
#[test]
fn numbers_end() {
    let mut lab = Lab::associated();
    let mut kept = lab.cache.associations(HOME)[0].clone();
    kept.sent = u64::from(u32::MAX) - 1;
    let records = lab.cache.records().map(|record| match record {
        StateRecord::Association(_) => StateRecord::Association(kept.clone()),
        other => other,
    });
    let records: Vec<_> = records.collect();
    lab.cache = BindingCache::from_records(records).unwrap();
    assert_eq!(lab.packet(1).esp, number(u32::MAX.into()));
    let verdict = lab.packet(2);
    assert_eq!((verdict.outcome, verdict.esp), (Outcome::Done, None));
}

#[test]
fn the_newest_association_answers() {
    let mut lab = Lab::associated();
    let mut newer = record();
    newer.inbound_spi = 0x101;
    lab.run(put(newer));
    assert_eq!(lab.packet(1).esp, Some(EspNumber { inbound_spi: 0x101, sequence: 1 }));
    let mut discovery = record();
    (discovery.inbound_spi, discovery.protects) = (0x102, Protects::PrefixDiscovery);
    lab.run(put(discovery));
    let spi = lab.packet(2).esp.unwrap().inbound_spi;
    assert_eq!(spi, 0x101, "the newest is not for Mobility Headers");
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let mut lab = Lab::associated();
    let stranger = "2001:db8:0:1::999".parse().unwrap();
    type Spoil = fn(&mut SecurityAssociation);
    let rows: [(&str, Spoil); 6] = [
        ("inbound.spi", |it| it.inbound_spi = 255),
        ("outbound.spi", |it| it.outbound_spi = 0),
        ("suite", |it| it.suite = Suite::AesGcm16),
        ("replay_window", |it| it.replay_window = 1025),
        ("ike.agent", |it| {
            it.origin = Origin::Ike { agent: "".into(), address: "a:1".into(), request_id: 1 };
        }),
        ("ike.address", |it| {
            it.origin = Origin::Ike { agent: "a".into(), address: "".into(), request_id: 1 };
        }),
    ];
    for (field, spoil) in rows {
        let mut wrong = record();
        spoil(&mut wrong);
        let Outcome::Refused(refusal) = lab.run(put(wrong)).outcome else { panic!("{field}") };
        assert_eq!(refusal.field, field);
    }
    let unknown = SecurityAssociation { home_address: stranger, ..record() };
    let Outcome::Refused(refusal) = lab.run(put(unknown)).outcome else { panic!("a stranger") };
    assert!(refusal.message.contains(&stranger.to_string()), "{refusal:?}");
    for spi in 0x101..0x108 {
        lab.run(put(SecurityAssociation { inbound_spi: spi, ..record() }));
    }
    let ninth = SecurityAssociation { inbound_spi: 0x108, ..record() };
    let Outcome::Refused(refusal) = lab.run(put(ninth)).outcome else { panic!("no limit") };
    assert_eq!(refusal.kind, RefusalKind::Full);
}

#[test]
fn associations_go_with_their_subscriber() {
    let mut lab = Lab::associated();
    lab.run(Command::DeleteSubscriber(HOME));
    assert!(lab.cache.associations(HOME).is_empty());
}

#[test]
fn older_replicas_do_not_know_them() {
    let lab = Lab::associated();
    assert_eq!(put(record()).since(), SECURITY_SINCE);
    assert_eq!(lab.protected(1, None).since(), SECURITY_SINCE);
    let prefix = HomePrefix { authentication: Authentication::Ipsec, ..home_prefix() };
    let put = Command::PutHomePrefix { home_prefix: prefix, must_not_exist: true };
    assert_eq!(put.since(), SECURITY_SINCE);
}

proptest! {
    /// Numbers that come are taken once each, those that go are given once each, in order, through snapshots too.
    #[test]
    fn no_number_is_used_twice(steps in prop::collection::vec((1_u64..300, any::<bool>()), 1..200)) {
        let mut lab = Lab::associated();
        let (mut taken, mut given) = (BTreeSet::new(), 0);
        for (sequence, restart) in steps {
            if restart {
                let kept = BindingCache::from_records(lab.cache.records().collect::<Vec<_>>());
                let kept = kept.expect("whole");
                prop_assert_eq!(kept.associations(HOME), lab.cache.associations(HOME));
                lab.cache = kept;
            }
            let verdict = lab.packet(sequence);
            if verdict.outcome == Outcome::Done {
                prop_assert!(taken.insert(sequence), "{} twice", sequence);
                let number = verdict.esp.expect("a number");
                prop_assert_eq!(number.sequence, given + 1);
                given = number.sequence;
            } else {
                prop_assert_eq!(verdict.esp, None);
            }
        }
    }
}
