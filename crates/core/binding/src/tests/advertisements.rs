//! Changes of a home prefix, and the Mobile Prefix Advertisements that they bring (RFC 6275 §10.6.2,
//! §10.6.4), rule by rule, and laws over random histories.

use alloc::string::String;
use core::time::Duration;

use proptest::prelude::*;

use super::*;

/// A second home address.
const OTHER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x200);
/// In no home prefix: out of the mobile network of its own subscriber.
const GUEST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 1);

/// Told of at once, so that tests need not wait for a random time.
fn told_of() -> HomePrefix {
    HomePrefix {
        prefix_discovery_allowed: true,
        valid_lifetime_secs: 86_400,
        preferred_lifetime_secs: 14_400,
        prefix_advertisement_delay_min_secs: 0,
        prefix_advertisement_delay_max_secs: 0,
        ..home_prefix()
    }
}

/// Three bindings, BIDs 1 to 3, of 900 s; the second has the best priority.
fn bound(home_prefix: HomePrefix) -> Lab {
    let mut lab = Lab::with(home_prefix);
    let second = BidRequest { priority: BidPriority::new(10), ..v6(2, COA2) };
    let all = vec![v6(1, COA1), second, v6(3, COA3)];
    assert!(lab.register(bu(1, 225, all)).status.is_accepted());
    lab
}

impl Lab {
    fn record(&self) -> Revised<HomePrefix> {
        self.cache.home_prefix(home_prefix().prefix).unwrap().clone()
    }

    fn update(&self, change: impl FnOnce(&mut HomePrefix)) -> Command {
        let Revised { record: mut home_prefix, revision: base_revision } = self.record();
        change(&mut home_prefix);
        Command::UpdateHomePrefix { home_prefix, base_revision }
    }

    /// Changes the preferred lifetime, which is news.
    fn change(&mut self) {
        let update = self.update(|record| record.preferred_lifetime_secs -= 60);
        self.done(update);
    }

    fn advertisement(&self) -> Option<PrefixAdvertisement> {
        self.cache.home(HOME).and_then(|home| home.advertisement)
    }

    /// The advertisement that has become due.
    fn hears(&mut self) {
        let (care_of, message) = self.told();
        assert_eq!(care_of, CareOf::Ipv6(COA2), "the best");
        assert_eq!(message, DispatchMessage::PrefixAdvertisement);
    }

    fn solicit(&mut self, home_prefix_revision: u64) {
        let solicited = PrefixesSolicited { home_address: HOME, home_prefix_revision };
        self.done(Command::PrefixesSolicited(solicited));
    }

    /// Lets entries come until nobody is looked up any more.
    fn look_up_all(&mut self) {
        while self.cache.advertising().next().is_some() {
            self.pass(0);
        }
    }
}

#[test]
fn a_home_prefix_changes_while_it_is_served() {
    let mut lab = bound(home_prefix());
    let before = lab.record();
    let update = lab.update(|record| {
        record.bulk_allowed = false;
        record.flow_bindings_per_home_address_max = 4;
        record.mobile_networks_allowed = true;
        record.home_agent_ipv4 = Some(Ipv4Addr::new(198, 51, 100, 1));
        record.ipv4_pool = Ipv4Prefix::new(Ipv4Addr::new(198, 51, 100, 0), 25);
        record.home_agent_preference = 7;
    });
    lab.cache.take_changes();
    lab.done(update.clone());
    let after = lab.record();
    assert_eq!((after.record.bulk_allowed, after.record.home_agent_preference), (false, 7));
    assert!(after.revision > before.revision);
    assert_eq!(lab.cache.take_changes(), [Change::HomePrefix(before.record.prefix)]);
    assert_eq!(lab.addresses().len(), 3, "its bindings stay");
    let grown = Ipv4Prefix::new(Ipv4Addr::new(198, 51, 100, 0), 24);
    let update_again = lab.update(|record| record.ipv4_pool = grown);
    lab.done(update_again);
    // Made from a record that is not the newest any more.
    assert_eq!(lab.refused(update), (RefusalKind::Changed, String::from("prefix")));
}

#[test]
fn what_bindings_rely_on_does_not_change_and_is_named() {
    let second = "2001:db8:0:1::2".parse().unwrap();
    let address = Ipv4Addr::new(198, 51, 100, 1);
    let full = HomePrefix {
        home_agent_ipv4: Some(address),
        ipv4_pool: Ipv4Prefix::new(Ipv4Addr::new(198, 51, 100, 0), 24),
        ..home_prefix()
    };
    type Change = fn(&mut HomePrefix, Ipv6Addr);
    let rows: [(&str, Change); 10] = [
        ("home_agent", |record, second| record.home_agent = second),
        ("home_agent_ipv4", |record, _| record.home_agent_ipv4 = None),
        ("home_agent_ipv4", |record, _| {
            record.home_agent_ipv4 = Some(Ipv4Addr::new(198, 51, 100, 2));
        }),
        ("authentication", |record, _| record.authentication = Authentication::MnHa),
        ("real_home_link", |record, _| record.real_home_link = true),
        ("ipv4_pool", |record, _| record.ipv4_pool = None),
        ("ipv4_pool", |record, _| {
            record.ipv4_pool = Ipv4Prefix::new(Ipv4Addr::new(198, 51, 100, 0), 25);
        }),
        ("ipv4_pool", |record, _| {
            record.ipv4_pool = Ipv4Prefix::new(Ipv4Addr::new(198, 51, 101, 0), 24);
        }),
        // The rules of a new one hold as well.
        ("preferred_lifetime_secs", |record, _| record.valid_lifetime_secs = 60),
        ("prefix_advertisement_delay_min_secs", |record, _| {
            record.prefix_advertisement_delay_min_secs = 86_401;
        }),
    ];
    for (field, change) in rows {
        let mut lab = bound(full.clone());
        let before = lab.record();
        let update = lab.update(|record| change(record, second));
        assert_eq!(lab.refused(update), (RefusalKind::Invalid, String::from(field)));
        assert_eq!(lab.record(), before);
    }
    let mut lab = Lab::new();
    let mut elsewhere = home_prefix();
    elsewhere.prefix = Ipv6Prefix::new("2001:db8:0:9::".parse().unwrap(), 64).unwrap();
    let update = Command::UpdateHomePrefix { home_prefix: elsewhere, base_revision: 1 };
    assert_eq!(lab.refused(update), (RefusalKind::NotFound, String::from("prefix")));
}

#[test]
fn an_advertisement_is_repeated_three_times_and_given_up() {
    let mut lab = bound(told_of());
    lab.change();
    assert!(lab.is_silent(), "the mobile nodes are looked up in the entries that follow");
    assert!(lab.cache.next_deadline() <= Some(lab.cache.now()), "which somebody must write");
    lab.look_up_all();
    lab.pass(0);
    lab.hears();
    for wait in [3, 6, 12] {
        lab.pass_ms(wait * 1000 - 1);
        assert!(lab.is_silent(), "{wait}");
        lab.pass_ms(1);
        lab.hears();
    }
    lab.pass_ms(23_999);
    assert_eq!((lab.is_silent(), lab.cache.take_given_up()), (true, Vec::new()));
    lab.pass_ms(1);
    assert!(lab.is_silent());
    let given_up = GivenUp { at: LogTime(lab.at), home_address: HOME };
    assert_eq!(lab.cache.take_given_up(), [given_up]);
    lab.pass(300);
    assert!(lab.is_silent());

    // Some of it leaves, which is no reason; a refresh is.
    assert!(lab.register(bu(2, 0, vec![short(3)])).status.is_accepted());
    lab.pass(0);
    assert!(lab.is_silent());
    assert!(lab.register(bu(3, 225, vec![short(1)])).status.is_accepted());
    lab.pass(0);
    lab.hears();
    lab.pass(3);
    lab.hears();
}

#[test]
fn a_solicitation_is_the_answer_unless_it_was_answered_with_what_is_old() {
    let mut lab = bound(told_of());
    let old = lab.record().revision;
    lab.change();
    let new = lab.record().revision;
    lab.look_up_all();
    lab.pass(0);
    lab.hears();
    let advertised = lab.cache.policy(HOME, AGENT).advertised_revision;
    assert_eq!(advertised, Some(new));
    lab.solicit(old);
    lab.pass(3);
    lab.hears();
    lab.solicit(new);
    assert_eq!(lab.advertisement(), None);
    assert_eq!(lab.cache.policy(HOME, AGENT).advertised_revision, None);
    lab.pass(120);
    assert_eq!((lab.is_silent(), lab.cache.take_given_up()), (true, Vec::new()));
    // Nobody waits for these.
    lab.solicit(new);
    let stranger = PrefixesSolicited { home_address: OTHER, home_prefix_revision: new };
    lab.done(Command::PrefixesSolicited(stranger));
    assert_eq!(lab.cache.home(OTHER), None);
}

#[test]
fn only_what_mobile_nodes_must_know_is_told_and_only_where_it_is_allowed() {
    let mut lab = bound(told_of());
    let update = lab.update(|record| {
        record.lifetime_max_secs = 600;
        record.home_agent_preference = 7;
    });
    lab.done(update);
    assert_eq!(lab.cache.advertising().count(), 0);

    let mut lab = bound(HomePrefix { prefix_discovery_allowed: false, ..told_of() });
    lab.change();
    lab.look_up_all();
    assert_eq!(lab.advertisement(), None);

    // Allowed when it was planned, and not any more.
    let mut lab = bound(told_of());
    lab.change();
    lab.look_up_all();
    lab.pass(0);
    lab.hears();
    let update = lab.update(|record| record.prefix_discovery_allowed = false);
    lab.done(update);
    lab.pass(3);
    assert_eq!((lab.is_silent(), lab.advertisement()), (true, None));
}

type End = fn(&mut Lab);

#[test]
fn who_has_left_or_is_at_home_is_told_nothing() {
    let ends: [(&str, End); 4] = [
        ("all leave", |lab| {
            lab.register(bu(2, 0, Vec::new()));
        }),
        ("the lifetime is over", |lab| lab.pass(900)),
        ("the subscriber is deleted", |lab| {
            lab.done(Command::DeleteSubscriber(HOME));
        }),
        ("at home", |lab| {
            let home = BidRequest { home: true, ..v6(4, HOME) };
            let at_home = overwrite(at_home(bu(2, 225, vec![home])));
            assert!(lab.register(at_home).status.is_accepted());
        }),
    ];
    for (name, end) in ends {
        let mut lab = bound(told_of());
        let subscriber = Subscriber::new(HOME);
        lab.done(Command::PutSubscriber { subscriber, must_not_exist: true });
        lab.change();
        lab.look_up_all();
        lab.pass(0);
        lab.hears();
        end(&mut lab);
        lab.cache.take_notices();
        assert_eq!(lab.advertisement(), None, "{name}");
        lab.pass(60);
        assert!(lab.is_silent() && lab.cache.take_given_up().is_empty(), "{name}");
        lab.change();
        lab.look_up_all();
        assert_eq!(lab.advertisement(), None, "{name}");
    }
}

#[test]
fn what_is_planned_keeps_its_time_and_what_was_sent_gives_way() {
    let delays = HomePrefix {
        prefix_advertisement_delay_min_secs: 600,
        prefix_advertisement_delay_max_secs: 700,
        ..told_of()
    };
    let mut lab = bound(delays);
    lab.change();
    lab.look_up_all();
    let planned = lab.advertisement().unwrap();
    assert_eq!((planned.home_prefix_revision, planned.sent), (lab.record().revision, 0));
    lab.pass(10);
    lab.change();
    lab.look_up_all();
    let again = lab.advertisement().unwrap();
    assert_eq!(again.next, planned.next);
    assert_eq!(again.home_prefix_revision, lab.record().revision, "with the newest content");
    lab.pass(690);
    lab.hears();
    lab.change();
    lab.look_up_all();
    let anew = lab.advertisement().unwrap();
    assert_eq!(anew.sent, 0);
    assert!(anew.next.unwrap() >= LogTime(lab.at + 600_000));
    // An operator does not want to wait for that.
    let prefix = lab.record().record.prefix;
    let advertise = |within| Command::AdvertiseHomePrefix { prefix, within };
    lab.done(advertise(Some(Duration::ZERO)));
    lab.look_up_all();
    lab.pass(0);
    lab.hears();
    lab.solicit(lab.record().revision);
    lab.done(advertise(Some(Duration::from_secs(10))));
    lab.look_up_all();
    let next = lab.advertisement().unwrap().next.unwrap();
    assert!((lab.at..lab.at + 10_000).contains(&next.0), "{next:?}");
    lab.solicit(lab.record().revision);
    lab.done(advertise(None));
    lab.look_up_all();
    let next = lab.advertisement().unwrap().next.unwrap();
    assert!((lab.at + 600_000..lab.at + 700_000).contains(&next.0), "{next:?}");
}

#[test]
fn an_operator_can_have_told_only_what_is_told_at_all() {
    let mut lab = Lab::new();
    let prefix = home_prefix().prefix;
    let advertise = |prefix| Command::AdvertiseHomePrefix { prefix, within: None };
    let expected = |kind| (kind, String::from("prefix"));
    assert_eq!(lab.refused(advertise(prefix)), expected(RefusalKind::Invalid));
    let none = Ipv6Prefix::new("2001:db8:0:9::".parse().unwrap(), 64).unwrap();
    assert_eq!(lab.refused(advertise(none)), expected(RefusalKind::NotFound));
}

/// RFC 6275 §10.6.4: the home address ends then, and its bindings with it.
#[test]
fn no_binding_outlasts_the_new_valid_lifetime() {
    for prefix_discovery_allowed in [true, false] {
        let mut lab = bound(HomePrefix { prefix_discovery_allowed, ..told_of() });
        lab.pass(100);
        let update = lab.update(|record| {
            (record.valid_lifetime_secs, record.preferred_lifetime_secs) = (400, 300);
        });
        lab.done(update);
        let since = lab.at;
        // Granted by the new lifetime, before anybody has looked at it.
        lab.at += 50_000;
        let refreshed = lab.register(bu(2, 225, vec![short(1)]));
        assert_eq!(refreshed.lifetime, Lifetime(100));
        lab.cache.take_changes();
        lab.look_up_all();
        let home = lab.cache.home(HOME).unwrap();
        let ends: Vec<u64> = home.bindings.values().map(|binding| binding.ends.0 - since).collect();
        assert_eq!(ends, [450_000, 400_000, 400_000]);
        lab.pass_ms(350_000);
        assert_eq!(lab.addresses(), [(1, COA1)]);
    }
    // A longer lifetime shortens nothing.
    let mut lab = bound(told_of());
    let update = lab.update(|record| record.valid_lifetime_secs = u32::MAX);
    lab.done(update);
    lab.cache.take_changes();
    lab.look_up_all();
    assert!(lab.cache.take_changes().is_empty());
}

#[test]
fn all_home_addresses_of_the_prefix_are_told_and_no_others() {
    let mut lab = Lab::with(told_of());
    let elsewhere: Ipv6Addr = "2001:db8:0:2::100".parse().unwrap();
    let second: Ipv6Addr = "2001:db8:0:2::1".parse().unwrap();
    let prefix = Ipv6Prefix::new("2001:db8:0:2::".parse().unwrap(), 64).unwrap();
    let home_prefix = HomePrefix { prefix, home_agent: second, ..told_of() };
    lab.done(Command::PutHomePrefix { home_prefix, must_not_exist: true });
    let update = lab.update(|record| record.mobile_networks_allowed = true);
    lab.done(update);
    let network = Ipv6Prefix::new("2001:db8:100::".parse().unwrap(), 56).unwrap();
    let subscriber = Subscriber {
        home_prefix: Some(lab.record().record.prefix),
        mobile_networks: vec![network],
        ..Subscriber::new(GUEST)
    };
    lab.done(Command::PutSubscriber { subscriber, must_not_exist: true });
    for (home_address, home_agent) in [(OTHER, AGENT), (elsewhere, second), (GUEST, AGENT)] {
        let mut r = bu(1, 225, Vec::new());
        (r.home_address, r.home_agent) = (home_address, home_agent);
        r.alternate_care_of = Some(COA3);
        let answer = lab.register(r);
        assert!(answer.status.is_accepted(), "{home_address}: {answer:?}");
    }
    lab.change();
    lab.look_up_all();
    lab.pass(0);
    let told = lab.cache.take_notices();
    let told: Vec<_> = told.iter().map(|due| due.home_address).collect();
    assert_eq!(told, [OTHER, GUEST]);
}

/// Whoever writes entries meanwhile waits for no more than a bounded number.
#[test]
fn mobile_nodes_are_looked_up_bit_by_bit() {
    const MORE: usize = 10;
    let mut lab = Lab::with(told_of());
    let count = limits::ADVERTISEMENTS_PLANNED_PER_BATCH_MAX + MORE;
    for host in 0..u16::try_from(count).unwrap() {
        let mut r = bu(1, 225, Vec::new());
        r.home_address = Ipv6Addr::from_bits(HOME.to_bits() + u128::from(host));
        assert!(lab.register(r).status.is_accepted());
    }
    let planned = |lab: &Lab| {
        let homes = lab.cache.homes_after(None);
        homes.filter(|(_, home)| home.advertisement.is_some()).count()
    };
    let update = lab.update(|record| {
        record.prefix_advertisement_delay_min_secs = 10;
        record.prefix_advertisement_delay_max_secs = 110;
        record.preferred_lifetime_secs -= 1;
    });
    lab.done(update);
    assert_eq!(planned(&lab), 0);
    lab.pass(0);
    assert_eq!(planned(&lab), count - MORE);
    assert_eq!(lab.cache.next_deadline(), Some(lab.cache.now()));
    // A replica that starts from a snapshot here goes on where the others are.
    let mut restored = BindingCache::from_records(lab.cache.records()).unwrap();
    lab.pass(0);
    let batch = Batch { at: LogTime(lab.at), commands: Vec::new() };
    restored.apply(lab.index, batch);
    lab.cache.take_changes();
    restored.take_changes();
    assert_eq!(restored, lab.cache);
    assert_eq!((planned(&lab), lab.cache.advertising().count()), (count, 0));
    assert!(lab.cache.next_deadline() > Some(lab.cache.now()));
    let times = lab.cache.homes_after(None).filter_map(|(_, home)| home.advertisement?.next);
    let times: alloc::collections::BTreeSet<u64> = times.map(|next| next.0 - lab.at).collect();
    assert!(times.iter().all(|ms| (10_000..110_000).contains(ms)), "{times:?}");
    assert!(times.len() > count * 9 / 10, "they do not all speak at once");
}

/// `MinMobPfxAdvInterval + rand % |min(MaxMobPfxAdvInterval, preferred) - MinMobPfxAdvInterval|`.
#[test]
fn the_delay_is_that_of_the_rfc() {
    let forever = u32::MAX;
    let rows = [
        ((600, 86_400), forever, 600..86_400),
        ((600, 86_400), 3_600, 600..3_600),
        ((600, 86_400), 200, 600..1_000),
        ((600, 600), forever, 600..601),
        ((0, 0), forever, 0..1),
    ];
    for ((min, max), preferred, expected) in rows {
        let mut lab = bound(HomePrefix {
            prefix_advertisement_delay_min_secs: min,
            prefix_advertisement_delay_max_secs: max,
            valid_lifetime_secs: forever,
            preferred_lifetime_secs: 7,
            ..told_of()
        });
        let update = lab.update(|record| record.preferred_lifetime_secs = preferred);
        lab.done(update);
        lab.pass(0);
        let waits = lab.at..=lab.advertisement().unwrap().next.unwrap().0;
        let secs = u32::try_from((waits.end() - waits.start()) / 1000).unwrap();
        assert!(expected.contains(&secs), "{secs} is not in {expected:?}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Register { home: u8, lifetime: u16, bids: Vec<u16>, at_home: bool },
    Change(u32),
    Advertise(Option<u64>),
    Solicit { home: u8, back: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let bids = || prop::collection::vec(1_u16..4, 0..3);
    let register =
        (0_u8..3, 0_u16..9, bids(), any::<bool>()).prop_map(|(home, lifetime, bids, at_home)| {
            Step::Register { home, lifetime, bids, at_home }
        });
    prop_oneof![
        3 => prop_oneof![0_u64..12_000, Just(3_000)].prop_map(Step::Pass),
        4 => register,
        2 => (4_u32..60).prop_map(Step::Change),
        1 => prop::option::of(0_u64..5_000).prop_map(Step::Advertise),
        2 => (0_u8..3, 0_u64..3).prop_map(|(home, back)| Step::Solicit { home, back }),
    ]
}

impl Lab {
    fn take_step(&mut self, step: Step) {
        let address = |home: u8| Ipv6Addr::from_bits(HOME.to_bits() + u128::from(home));
        match step {
            Step::Pass(ms) => self.pass_ms(ms),
            Step::Register { home, lifetime, bids, at_home } => {
                let sequence = u16::try_from(self.index).unwrap();
                let own = address(home);
                let request =
                    |bid| BidRequest { home: at_home, ..v6(bid, if at_home { own } else { COA1 }) };
                let r = bu(sequence, lifetime, bids.into_iter().map(request).collect());
                self.register(super::at_home(Registration { home_address: own, ..r }));
            }
            Step::Change(valid) => {
                let update = self.update(|record| {
                    (record.valid_lifetime_secs, record.preferred_lifetime_secs) = (valid, valid);
                });
                self.done(update);
            }
            Step::Advertise(within) => {
                let prefix = self.record().record.prefix;
                let within = within.map(Duration::from_millis);
                self.done(Command::AdvertiseHomePrefix { prefix, within });
            }
            Step::Solicit { home, back } => {
                let home_prefix_revision = self.record().revision.saturating_sub(back);
                let home_address = address(home);
                let solicited = PrefixesSolicited { home_address, home_prefix_revision };
                self.done(Command::PrefixesSolicited(solicited));
            }
        }
    }
}

proptest! {
    /// Only who is away is told; nobody more often than four times for one change or one Binding
    /// Update; no binding outlasts the home prefix; replicas agree, also one out of a snapshot.
    #[test]
    fn laws(steps in prop::collection::vec(step(), 1..80)) {
        let (mut one, mut two) = (Lab::with(told_of()), Lab::with(told_of()));
        let mut causes = 0;
        let mut told = 0;
        for step in steps {
            causes += usize::from(!matches!(step, Step::Pass(_) | Step::Solicit { .. }));
            one.take_step(step.clone());
            two.take_step(step);
            let due = one.cache.take_notices();
            prop_assert_eq!(&due, &two.cache.take_notices());
            prop_assert_eq!(one.cache.take_given_up(), two.cache.take_given_up());
            told += due.len();
            for due in due {
                prop_assert_eq!(due.care_of, CareOf::Ipv6(COA1));
            }
            one.cache.take_changes();
            let restored = BindingCache::from_records(one.cache.records()).unwrap();
            prop_assert_eq!(&restored, &one.cache);
            two.cache = restored;
            for (_, home) in one.cache.homes_after(None) {
                let Some(advertisement) = home.advertisement else { continue };
                prop_assert!(home.bindings.values().any(|binding| binding.home.is_none()));
                prop_assert!(advertisement.sent <= 4);
                prop_assert!(advertisement.next.is_none_or(|next| home.deadline() <= Some(next)));
            }
        }
        // Each cause concerns three home addresses at the most.
        prop_assert!(told <= causes * 3 * 4, "{told} of {causes}");
        one.look_up_all();
        let valid = u64::from(one.record().record.valid_lifetime_secs) * 1000;
        for (_, home) in one.cache.homes_after(None) {
            prop_assert!(home.bindings.values().all(|binding| binding.ends.0 <= one.at + valid));
        }
        one.pass(60);
        one.pass(60);
        let is_over = |home: &Home| home.advertisement.is_none_or(|it| it.next.is_none());
        prop_assert!(one.cache.homes_after(None).all(|(_, home)| is_over(home)));
    }
}
