//! Binding Revocation (RFC 5846 §7) and Home Agent Switch (RFC 5142 §5.1), rule by rule, and laws over
//! random histories.

use alloc::string::String;
use core::time::Duration;

use homeport_wire::RevocationTrigger;
use proptest::prelude::*;

use super::*;

const OTHER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, 1);

fn revoke(bids: &[u16], trigger: RevocationTrigger) -> Command {
    let bids = bids.iter().copied().map(Bid).collect();
    Command::Revoke(Revoke { home_address: HOME, bids, trigger })
}

fn administrative(bids: &[u16]) -> Command {
    revoke(bids, RevocationTrigger::ADMINISTRATIVE)
}

fn answer(sequence: u16) -> Command {
    Command::RevocationAnswer(RevocationAnswer { home_address: HOME, sequence })
}

fn switch(addresses: &[Ipv6Addr], delay: u64, time_left: Option<u64>) -> Command {
    Command::Switch(Switch {
        home_address: HOME,
        addresses: addresses.to_vec(),
        delay: Duration::from_secs(delay),
        time_left: time_left.map(Duration::from_secs),
    })
}

/// Three bindings, BIDs 1 to 3, of 900 s.
fn bound() -> Lab {
    let mut lab = Lab::new();
    let all = vec![v6(1, COA1), v6(2, COA2), v6(3, COA3)];
    assert_eq!(lab.register(bu(1, 225, all)).status, Status::ACCEPTED);
    assert!(lab.cache.take_notices().is_empty());
    lab
}

impl Lab {
    pub(super) fn pass_ms(&mut self, ms: u64) {
        self.at += ms;
        self.pass(0);
    }

    fn bids(&self) -> Vec<u16> {
        self.addresses().into_iter().map(|(bid, _)| bid).collect()
    }

    /// The only notice that has become due, with its care-of address.
    pub(super) fn told(&mut self) -> (CareOf, DispatchMessage) {
        let mut due = self.cache.take_notices();
        assert_eq!(due.len(), 1, "{due:?}");
        let due = due.remove(0);
        assert_eq!((due.home_address, due.home_agent), (HOME, AGENT));
        assert_eq!((due.at, due.revision), (LogTime(self.at), self.cache.revision()));
        assert!(self.cache.is_current(&due));
        (due.care_of, due.message)
    }

    /// Sequence number of the revocation that has become due.
    fn revocation(&mut self) -> u16 {
        match self.told().1 {
            DispatchMessage::Revocation { sequence, .. } => sequence,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn is_silent(&mut self) -> bool {
        self.cache.take_notices().is_empty()
    }

    pub(super) fn done(&mut self, command: Command) {
        assert_eq!(self.run(command).outcome, Outcome::Done);
    }

    pub(super) fn refused(&mut self, command: Command) -> (RefusalKind, String) {
        match self.run(command).outcome {
            Outcome::Refused(refusal) => (refusal.kind, refusal.field.into_owned()),
            other => panic!("not refused but {other:?}"),
        }
    }
}

#[test]
fn an_indication_goes_to_a_care_of_address_that_stays_and_its_answer_removes_the_binding() {
    let mut lab = bound();
    lab.done(administrative(&[1, 2]));
    let (care_of, message) = lab.told();
    assert_eq!(care_of, CareOf::Ipv6(COA3));
    let DispatchMessage::Revocation { trigger, sequence, bids } = message else { panic!() };
    assert_eq!(trigger, RevocationTrigger::ADMINISTRATIVE);
    assert_eq!(bids, [Bid(1), Bid(2)]);
    assert_eq!(lab.bids(), [1, 2, 3], "packets go on until the answer");
    lab.cache.take_changes();

    let unknown = lab.run(answer(sequence.wrapping_add(1))).outcome;
    assert_eq!(unknown, Outcome::Silent(Silence::UnknownRevocation));
    assert_eq!(lab.bids(), [1, 2, 3]);
    assert!(lab.cache.take_changes().is_empty());

    lab.done(answer(sequence));
    assert_eq!(lab.bids(), [3]);
    assert_eq!(lab.cache.take_changes(), [Change::Home(HOME)]);
    assert_eq!(lab.cache.home(HOME).unwrap().revision, lab.cache.revision());
    let again = lab.run(answer(sequence)).outcome;
    assert_eq!(again, Outcome::Silent(Silence::UnknownRevocation), "an answer counts once");
    lab.pass(60);
    assert!(lab.is_silent());
}

#[test]
fn without_an_answer_the_indication_is_sent_once_more_and_the_bindings_go_all_the_same() {
    let mut lab = bound();
    lab.done(administrative(&[]));
    let (care_of, first) = lab.told();
    assert_eq!(care_of, CareOf::Ipv6(COA1), "all go: to the best of them");
    lab.pass_ms(999);
    assert!(lab.is_silent());
    lab.pass_ms(1);
    assert_eq!(lab.told(), (care_of, first), "the same indication");
    lab.pass_ms(1999);
    assert_eq!((lab.is_silent(), lab.bids().len()), (true, 3));
    lab.cache.take_changes();
    lab.pass_ms(1);
    assert!(lab.is_silent());
    assert_eq!(lab.cache.take_changes(), [Change::Home(HOME)]);
    let home = lab.cache.home(HOME).unwrap();
    assert!(home.bindings.is_empty() && home.notice.is_none());
    assert_eq!(home.sequence, Sequence(1), "the tombstone keeps the sequence number");
    assert_eq!(lab.register(bu(1, 225, vec![v6(1, COA1)])).status, Status::SEQUENCE_OUT_OF_WINDOW);
    assert_eq!(lab.register(bu(2, 225, vec![v6(1, COA1)])).status, Status::ACCEPTED);
}

#[test]
fn who_is_revoked_for_administrative_reasons_cannot_register_but_leave() {
    let mut lab = bound();
    lab.done(administrative(&[2]));
    let sequence = lab.revocation();
    let refused = lab.register(bu(2, 225, vec![v6(3, COA3)]));
    assert_eq!(refused.status, Status::ADMINISTRATIVELY_PROHIBITED);
    assert_eq!((refused.sequence, refused.lifetime), (Sequence(2), Lifetime::DEREGISTER));
    assert_eq!(lab.register(bu(3, 0, vec![short(2)])).status, Status::ACCEPTED);
    assert_eq!(lab.cache.home(HOME).unwrap().notice, None, "what was to be revoked is gone");
    let late = lab.run(answer(sequence)).outcome;
    assert_eq!(late, Outcome::Silent(Silence::UnknownRevocation));
    assert_eq!(lab.bids(), [1, 3]);
    assert_eq!(lab.register(bu(4, 225, vec![v6(2, COA2)])).status, Status::ACCEPTED);
}

#[test]
fn other_triggers_give_way_to_a_binding_update() {
    for trigger in [0, 5, 6, 7].map(RevocationTrigger) {
        let mut lab = bound();
        lab.done(revoke(&[2], trigger));
        let sequence = lab.revocation();
        let refused = lab.register(bu(2, 225, vec![short(9)]));
        assert_eq!(refused.status, Status::MCOA_UNKNOWN_COA);
        assert!(lab.cache.home(HOME).unwrap().notice.is_some(), "nothing was registered");
        assert_eq!(lab.register(bu(3, 225, vec![v6(2, COA1)])).status, Status::ACCEPTED);
        let late = lab.run(answer(sequence)).outcome;
        assert_eq!(late, Outcome::Silent(Silence::UnknownRevocation), "{trigger:?}");
        lab.pass(10);
        assert_eq!((lab.is_silent(), lab.bids()), (true, vec![1, 2, 3]));
    }
}

type End = fn(&mut Lab);

#[test]
fn a_notice_ends_with_what_it_is_about() {
    let ends: [(&str, End); 3] = [
        ("all leave", |lab| {
            lab.register(bu(2, 0, Vec::new()));
        }),
        ("the lifetime is over", |lab| lab.pass(900)),
        ("the subscriber is deleted", |lab| {
            lab.done(Command::DeleteSubscriber(HOME));
        }),
    ];
    for (name, end) in ends {
        let mut lab = bound();
        let subscriber = Subscriber::new(HOME);
        lab.done(Command::PutSubscriber { subscriber, must_not_exist: true });
        lab.done(switch(&[OTHER], 0, None));
        lab.told();
        end(&mut lab);
        lab.cache.take_notices();
        assert_eq!(lab.cache.home(HOME).unwrap().notice, None, "{name}");
        lab.pass(60);
        assert!(lab.is_silent(), "{name}");
    }
}

#[test]
fn a_switch_is_repeated_until_the_node_leaves_and_renewals_are_refused() {
    let mut lab = bound();
    lab.done(switch(&[OTHER], 0, None));
    let (care_of, message) = lab.told();
    assert_eq!(care_of, CareOf::Ipv6(COA1));
    let expected = DispatchMessage::Switch { addresses: vec![OTHER], time_left: None };
    assert_eq!(message, expected);
    for wait in [5, 10, 20, 20] {
        lab.pass_ms(wait * 1000 - 1);
        assert!(lab.is_silent(), "{wait}");
        lab.pass_ms(1);
        assert_eq!(lab.told(), (care_of, expected.clone()), "{wait}");
    }
    let refused = lab.register(bu(2, 225, vec![short(1)]));
    assert_eq!(refused.status, Status::ADMINISTRATIVELY_PROHIBITED);
    assert_eq!(lab.bids(), [1, 2, 3], "served until the lifetime ends");
    assert_eq!(lab.register(bu(3, 0, vec![short(1)])).status, Status::ACCEPTED);
    lab.pass(20);
    assert_eq!(lab.told().0, CareOf::Ipv6(COA2), "not all have left");
    assert_eq!(lab.register(bu(4, 0, Vec::new())).status, Status::ACCEPTED);
    lab.pass(60);
    assert!(lab.is_silent());
}

#[test]
fn the_time_left_is_told_and_shortens_the_first_wait() {
    let rows = [(60, 5_000), (8, 4_000), (6, 3_000), (1, 1_000)];
    for (left, first_wait_ms) in rows {
        let mut lab = bound();
        lab.done(switch(&[], 0, Some(left)));
        let units = u16::try_from(left / 4).unwrap();
        let time_left = (units > 0).then_some(Lifetime(units));
        let expected = DispatchMessage::Switch { addresses: Vec::new(), time_left };
        assert_eq!(lab.told().1, expected);
        lab.pass_ms(first_wait_ms - 1);
        assert!(lab.is_silent(), "{left}");
        lab.pass_ms(1);
        let DispatchMessage::Switch { time_left: then, .. } = lab.told().1 else { panic!() };
        assert!(then < time_left || time_left.is_none(), "{left}: {then:?}");
    }
}

#[test]
fn before_its_turn_a_switch_neither_speaks_nor_refuses() {
    let mut lab = bound();
    lab.done(switch(&[OTHER], 30, None));
    assert!(lab.is_silent());
    assert_eq!(lab.register(bu(2, 225, vec![short(1)])).status, Status::ACCEPTED);
    lab.pass(29);
    assert!(lab.is_silent());
    lab.pass(1);
    lab.told();
    let refused = lab.register(bu(3, 225, vec![short(1)]));
    assert_eq!(refused.status, Status::ADMINISTRATIVELY_PROHIBITED);
}

#[test]
fn a_revocation_replaces_a_switch_but_nothing_replaces_a_revocation() {
    let mut lab = bound();
    lab.done(switch(&[OTHER], 0, None));
    lab.told();
    lab.done(switch(&[], 0, None));
    let anew = DispatchMessage::Switch { addresses: Vec::new(), time_left: None };
    assert_eq!(lab.told().1, anew);
    lab.done(administrative(&[1]));
    lab.revocation();
    let in_use = (RefusalKind::InUse, "home_address".into());
    assert_eq!(lab.refused(administrative(&[2])), in_use);
    assert_eq!(lab.refused(switch(&[OTHER], 0, None)), in_use);
    assert!(lab.is_silent());
}

#[test]
fn a_refusal_names_the_field() {
    let refused = |command| bound().refused(command);
    let not_found = |field: &str| (RefusalKind::NotFound, field.into());
    let invalid = |field: &str| (RefusalKind::Invalid, field.into());
    assert_eq!(refused(administrative(&[1, 9])), not_found("bids"));
    for trigger in [2, 3, 4, 8, 128, 129, 250] {
        assert_eq!(refused(revoke(&[1], RevocationTrigger(trigger))), invalid("trigger"));
    }
    assert_eq!(refused(switch(&[AGENT], 0, None)), invalid("addresses"));
    assert_eq!(refused(switch(&[OTHER, OTHER], 0, None)), invalid("addresses"));
    assert_eq!(refused(switch(&[Ipv6Addr::LOCALHOST], 0, None)), invalid("addresses"));
    let many = (0..17).map(|n| Ipv6Addr::from_bits(OTHER.to_bits() + n)).collect::<Vec<_>>();
    assert_eq!(refused(switch(&many, 0, None)), invalid("addresses"));
    assert_eq!(bound().run(switch(&many[..16], 0, None)).outcome, Outcome::Done);
    let mut empty = Lab::new();
    assert_eq!(empty.refused(administrative(&[])), not_found("home_address"));
    assert_eq!(empty.refused(switch(&[], 0, None)), not_found("home_address"));
    let mut regular = Lab::new();
    regular.register(bu(1, 225, Vec::new()));
    assert_eq!(regular.refused(administrative(&[1])), not_found("bids"));
    regular.done(administrative(&[]));
    assert_eq!(regular.told().0, CareOf::Ipv6(COA1));
}

#[test]
fn priorities_and_age_choose_where_to() {
    let mut lab = Lab::new();
    let with = |bid, address, priority| BidRequest {
        priority: BidPriority::new(priority),
        ..v6(bid, address)
    };
    lab.register(bu(1, 225, vec![v6(1, COA1), with(2, COA2, 20), with(3, COA3, 10)]));
    lab.done(switch(&[], 0, None));
    assert_eq!(lab.told().0, CareOf::Ipv6(COA3), "the lowest priority value");
    lab.done(administrative(&[3]));
    assert_eq!(lab.told().0, CareOf::Ipv6(COA2), "unset comes last");
    let mut lab = bound();
    lab.pass(1);
    lab.register(bu(2, 225, vec![short(2)]));
    lab.done(switch(&[], 0, None));
    assert_eq!(lab.told().0, CareOf::Ipv6(COA2), "the one last verified");
}

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Register { ahead: u16, lifetime: u16, bids: Vec<u16> },
    Revoke { bids: Vec<u16>, trigger: u8 },
    Switch { delay: u64, time_left: Option<u64> },
    Answer(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let bids = || prop::collection::vec(1_u16..4, 0..3);
    let register = (0_u16..3, 0_u16..6, bids())
        .prop_map(|(ahead, lifetime, bids)| Step::Register { ahead, lifetime, bids });
    prop_oneof![
        3 => prop_oneof![0_u64..12_000, Just(250)].prop_map(Step::Pass),
        4 => register,
        2 => (bids(), 0_u8..8).prop_map(|(bids, trigger)| Step::Revoke { bids, trigger }),
        1 => (0_u64..10, prop::option::of(0_u64..90))
            .prop_map(|(delay, time_left)| Step::Switch { delay, time_left }),
        2 => (0_u64..3).prop_map(Step::Answer),
    ]
}

impl Lab {
    fn step(&mut self, step: Step, sequence: &mut u16) {
        match step {
            Step::Pass(ms) => self.pass_ms(ms),
            Step::Register { ahead, lifetime, bids } => {
                *sequence = sequence.wrapping_add(ahead);
                let bids = bids.into_iter().map(|bid| v6(bid, COA1)).collect();
                self.register(bu(*sequence, lifetime, bids));
            }
            Step::Revoke { bids, trigger } => {
                self.run(revoke(&bids, RevocationTrigger(trigger)));
            }
            Step::Switch { delay, time_left } => {
                self.run(switch(&[OTHER], delay, time_left));
            }
            // Often that of a revocation in progress: it has the log index in it.
            Step::Answer(back) => {
                let sequence = u16::try_from(self.index.saturating_sub(back)).unwrap();
                self.run(answer(sequence));
            }
        }
    }
}

proptest! {
    /// No notice survives what it is about; each ends in bounded time, or the bindings do; replicas
    /// agree on everything, also on what is to be sent, and so does one that starts from a snapshot.
    #[test]
    fn laws(steps in prop::collection::vec(step(), 1..80)) {
        let (mut one, mut two) = (Lab::new(), Lab::new());
        let mut sequences = (0, 0);
        for step in steps {
            one.step(step.clone(), &mut sequences.0);
            two.step(step, &mut sequences.1);
            let due = one.cache.take_notices();
            prop_assert_eq!(&due, &two.cache.take_notices());
            prop_assert!(due.iter().all(|due| due.at == one.cache.now()));
            one.cache.take_changes();
            let restored = BindingCache::from_records(one.cache.records()).unwrap();
            prop_assert_eq!(&restored, &one.cache);
            two.cache = restored;
            let Some(home) = one.cache.home(HOME) else { continue };
            let Some(notice) = home.notice.as_deref() else { continue };
            prop_assert!(!home.bindings.is_empty());
            prop_assert!(notice.deadline() > one.cache.now());
            prop_assert!(home.deadline() <= Some(notice.deadline()));
            if let Notice::Revocation(revocation) = notice {
                let is_about = |bid: &Option<Bid>| {
                    revocation.bids.is_empty() || bid.is_some_and(|bid| revocation.bids.contains(&bid))
                };
                prop_assert!(home.bindings.keys().any(is_about));
                prop_assert!(one.cache.now().until(notice.deadline()) <= limits::MAX_BRACK_TIMEOUT);
            }
        }
        // Without anybody's help nothing is being revoked for long.
        one.pass(2);
        one.pass(2);
        let notice = one.cache.home(HOME).and_then(|home| home.notice.as_deref());
        prop_assert!(!matches!(notice, Some(Notice::Revocation(_))));
    }
}

/// With and without an answer: nobody else could have the address otherwise.
#[test]
fn an_ipv4_home_address_goes_back_to_its_pool_with_the_last_binding() {
    // .0 is the network, .1 the home agent, .3 the broadcast address: there is one.
    let ipv4_pool = Ipv4Prefix::new(Ipv4Addr::new(198, 51, 100, 0), 30);
    for answered in [true, false] {
        let home_agent_ipv4 = Some(Ipv4Addr::new(198, 51, 100, 1));
        let mut lab = Lab::with(HomePrefix { home_agent_ipv4, ipv4_pool, ..home_prefix() });
        let ask = |lab: &mut Lab, host: u128| {
            let mut r = bu(1, 225, Vec::new());
            r.home_address = Ipv6Addr::from_bits(HOME.to_bits() + host);
            let address = Ipv4Addr::UNSPECIFIED;
            let prefix_wanted = false;
            let request = Ipv4HomeAddressRequest { address, prefix_len: 32, prefix_wanted };
            r.ipv4_home_address = Some(request);
            lab.register(r).ipv4_address.map(|answer| answer.status.0)
        };
        assert_eq!(ask(&mut lab, 0), Some(0));
        assert_eq!(ask(&mut lab, 1), Some(132), "the pool is empty");
        lab.done(administrative(&[]));
        let sequence = lab.revocation();
        if answered {
            lab.done(answer(sequence));
        } else {
            lab.pass(1);
            lab.pass(2);
        }
        assert_eq!(lab.cache.home(HOME).and_then(|home| home.ipv4_home_address), None);
        assert_eq!(ask(&mut lab, 2), Some(0), "answered: {answered}");
    }
}
