//! The rules case by case. Addresses are those of the test vectors.

use alloc::vec;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};

use homeport_wire::{Bid, BidCareOf, BidPriority, BuFlags, FlowStatus, Lifetime, Sequence, Status};

use crate::*;

mod advertisements;
mod associations;
mod care_of_tests;
mod choices;
mod correspondents;
mod flows;
mod home_link;
mod ipv4;
mod model;
mod networks;
mod notices;
mod operations;
mod options;

const HOME: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x100);
const AGENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1);
const COA1: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 0x11);
const COA2: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 0, 0x22);
const COA3: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 0x33);
const AH: BuFlags = BuFlags(0xc000);

fn home_prefix() -> HomePrefix {
    let prefix = Ipv6Prefix::new(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0), 64).unwrap();
    HomePrefix::new(prefix, AGENT, Authentication::None)
}

/// A cache with one home prefix, and the numbers that a caller must keep.
struct Lab {
    cache: BindingCache,
    index: u64,
    at: u64,
    requests: u8,
}

impl Lab {
    fn new() -> Self {
        Self::with(home_prefix())
    }

    fn with(home_prefix: HomePrefix) -> Self {
        let mut lab = Self { cache: BindingCache::default(), index: 0, at: 1_000_000, requests: 0 };
        let put = Command::PutHomePrefix { home_prefix, must_not_exist: true };
        assert_eq!(lab.run(put).outcome, Outcome::Done);
        lab
    }

    fn run(&mut self, command: Command) -> Verdict {
        self.index += 1;
        let checked = self.checked(&command);
        let batch = Batch { at: LogTime(self.at), commands: vec![command] };
        let verdict = self.cache.apply(self.index, batch).pop().unwrap();
        if let Some(checked) = checked {
            let refused = match &verdict.outcome {
                Outcome::Refused(refusal) => Err(refusal.clone()),
                _ => Ok(()),
            };
            assert_eq!(checked, refused, "what is checked before is what happens");
        }
        verdict
    }

    /// Of operators' commands, while no time passes.
    fn checked(&self, command: &Command) -> Option<Result<(), Refusal>> {
        let is_forwarders =
            matches!(command, Command::DefendHomeLink { .. } | Command::ReleaseHomeLink { .. });
        let is_now = self.cache.now() == LogTime(self.at);
        (is_now && !is_forwarders).then(|| self.cache.check(command))
    }

    fn pass(&mut self, secs: u64) {
        self.at += secs * 1000;
        self.index += 1;
        let batch = Batch { at: LogTime(self.at), commands: Vec::new() };
        assert!(self.cache.apply(self.index, batch).is_empty());
    }

    fn register(&mut self, mut r: Registration) -> Answer {
        // Few of them are remembered, of each home address.
        self.requests = self.requests.wrapping_add(1);
        r.request_id = [self.requests; 16];
        r.policy_revisions = self.cache.policy(r.home_address, r.home_agent).revisions();
        let mut outcome = self.run(Command::Register(r.clone())).outcome;
        if outcome == Outcome::Pending {
            // On a real home link nobody else has the address, unless a test says otherwise.
            let (home_address, request_id) = (r.home_address, r.request_id);
            let found = Detected { home_address, request_id, duplicate: false };
            self.run(Command::DuplicateAddressDetection(found));
            outcome = self.run(Command::Register(r)).outcome;
        }
        match outcome {
            Outcome::Answer(answer) => answer,
            other => panic!("no answer but {other:?}"),
        }
    }

    fn care_of(&self) -> Vec<(Option<u16>, CareOf)> {
        let bindings = self.cache.home(HOME).map(|home| home.bindings.clone()).unwrap_or_default();
        bindings.into_iter().map(|(bid, b)| (bid.map(|bid| bid.0), b.care_of)).collect()
    }

    fn addresses(&self) -> Vec<(u16, Ipv6Addr)> {
        let v6 = |(bid, care_of)| match care_of {
            CareOf::Ipv6(address) => (Option::unwrap_or(bid, 0), address),
            CareOf::Ipv4 { .. } => panic!("an IPv4 care-of address"),
        };
        self.care_of().into_iter().map(v6).collect()
    }
}

fn bu(sequence: u16, lifetime: u16, bids: Vec<BidRequest>) -> Registration {
    Registration {
        request_id: [0; 16],
        home_address: HOME,
        home_agent: AGENT,
        source: WireSource::Ipv6(COA1),
        sequence: Sequence(sequence),
        lifetime: Lifetime(lifetime),
        flags: AH,
        alternate_care_of: None,
        ipv4_care_of: None,
        bids,
        link_layer_address: Vec::new(),
        message_id: None,
        policy_revisions: (0, 0),
        mobile_networks: Vec::new(),
        ipv4_home_address: None,
        flows: Vec::new(),
        flow_summary: Vec::new(),
        home_address_option_missing: false,
    }
}

/// With the link-layer address that a home binding names.
fn at_home(mut r: Registration) -> Registration {
    r.link_layer_address = vec![2, 0, 0, 0xab, 0xcd, 0xef];
    r
}

fn overwrite(mut r: Registration) -> Registration {
    r.flags = r.flags.with(BuFlags::OVERWRITE);
    r
}

fn option(bid: u16, care_of: BidCareOf) -> BidRequest {
    BidRequest {
        bid: Some(Bid(bid)),
        home: false,
        priority: BidPriority::UNSET,
        care_of,
        malformed: false,
    }
}

fn v6(bid: u16, address: Ipv6Addr) -> BidRequest {
    option(bid, BidCareOf::V6(address))
}

fn short(bid: u16) -> BidRequest {
    option(bid, BidCareOf::Absent)
}

fn v4(bid: u16, address: [u8; 4]) -> BidRequest {
    option(bid, BidCareOf::V4(address.into()))
}

fn codes(answer: &Answer) -> (u8, Vec<u8>) {
    (answer.status.0, answer.bid_statuses.iter().map(|status| status.0).collect())
}

fn registered_three() -> Lab {
    let mut lab = Lab::new();
    let bids = vec![v6(1, COA1), v6(2, COA2), v6(3, COA3)];
    let answer = lab.register(overwrite(bu(0x1001, 225, bids)));
    assert_eq!(codes(&answer), (0, vec![0, 0, 0]));
    assert_eq!(answer.lifetime, Lifetime(225));
    lab
}

/// RFC 6275 §9.5.1 step by step around 2^16: protocol cases HA_2_5 to HA_2_8.
#[test]
fn sequence_window() {
    let rows = [
        (15, 16, true),
        (15, 32782, true),
        (15, 14, false),
        (15, 15, false),
        (15, 32783, false),
        (32783, 32784, true),
        (32783, 14, true),
        (32783, 32782, false),
        (32783, 32783, false),
        (32783, 15, false),
        (65535, 0, true),
    ];
    for (first, second, accepted) in rows {
        let mut lab = Lab::new();
        lab.register(bu(first, 100, vec![]));
        let mut again = bu(second, 100, vec![]);
        again.alternate_care_of = Some(COA2);
        let answer = lab.register(again);
        let expected = if accepted { (0, second) } else { (135, first) };
        assert_eq!((answer.status.0, answer.sequence.0), expected, "{first} then {second}");
        assert_eq!(lab.addresses(), [(0, if accepted { COA2 } else { COA1 })]);
    }
}

#[test]
fn regular_registration_refresh_and_deregistration() {
    let mut lab = Lab::new();
    let answer = lab.register(bu(1, 105, vec![]));
    assert_eq!((answer.status, answer.lifetime), (Status::ACCEPTED, Lifetime(105)));
    assert_eq!(lab.addresses(), [(0, COA1)]);
    lab.pass(400);
    assert_eq!(lab.register(bu(2, 105, vec![])).status, Status::ACCEPTED);
    lab.pass(400);
    assert_eq!(lab.addresses(), [(0, COA1)], "the refresh counts from its own time");
    let answer = lab.register(bu(3, 0, vec![]));
    assert_eq!((answer.status, answer.lifetime), (Status::ACCEPTED, Lifetime(0)));
    assert_eq!(lab.addresses(), []);
    assert_eq!(lab.register(bu(4, 0, vec![])).status, Status::NOT_HOME_AGENT);
}

#[test]
fn lifetime_is_capped_by_policy_and_expiry_is_by_log_time() {
    let mut lab = Lab::with(HomePrefix { lifetime_max_secs: 32, ..home_prefix() });
    assert_eq!(lab.register(bu(1, 0xffff, vec![])).lifetime, Lifetime(8));
    lab.pass(31);
    assert_eq!(lab.addresses(), [(0, COA1)]);
    lab.cache.take_changes();
    lab.pass(1);
    assert_eq!(lab.addresses(), []);
    assert_eq!(lab.cache.take_changes(), [Change::Home(HOME)]);
}

/// RFC 6275 §9.5.1 comes before §10.3.1: what is stale is answered, what is not does nothing at all.
#[test]
fn without_home_address_option_only_what_is_stale_is_answered() {
    let without = |sequence, bids| {
        let mut r = bu(sequence, 100, bids);
        r.source = WireSource::Ipv6(HOME);
        r.home_address_option_missing = true;
        r
    };
    let silent = Outcome::Silent(Silence::HomeAddressOptionMissing);
    let mut lab = Lab::new();
    let ask = |lab: &mut Lab, mut r: Registration| {
        r.policy_revisions = lab.cache.policy(HOME, AGENT).revisions();
        r.request_id = [0xff; 16];
        r.request_id[0] = u8::try_from(r.bids.len()).unwrap();
        lab.run(Command::Register(r)).outcome
    };
    assert_eq!(ask(&mut lab, without(20, vec![])), silent);
    assert_eq!(lab.cache.home_address_count(), 0);
    lab.register(bu(15, 100, vec![]));
    for stale in [15, 14, 32783] {
        let answer = lab.register(without(stale, vec![]));
        assert_eq!((answer.status.0, answer.sequence.0, answer.lifetime), (135, 15, Lifetime(0)));
    }
    for bids in [vec![], vec![v6(1, COA2)]] {
        assert_eq!(ask(&mut lab, without(16, bids)), silent);
    }
    assert_eq!(lab.addresses(), [(0, COA1)]);
    assert_eq!(lab.register(bu(16, 100, vec![])).status, Status::ACCEPTED);
}

/// RFC 6275 §10.3.2: the sequence number outlives the last binding by ten seconds.
#[test]
fn tombstone_answers_a_delayed_update() {
    let mut lab = Lab::new();
    lab.register(bu(7, 100, vec![]));
    lab.register(bu(8, 0, vec![]));
    lab.pass(9);
    let late = lab.register(bu(7, 100, vec![]));
    assert_eq!((late.status.0, late.sequence.0), (135, 8));
    lab.pass(1);
    assert_eq!(lab.register(bu(7, 100, vec![])).status, Status::ACCEPTED);
    lab.register(bu(9, 0, vec![]));
    lab.pass(11);
    assert_eq!(lab.cache.home_address_count(), 0, "nothing is left behind");
    assert_eq!(lab.cache.next_deadline(), None);
}

#[test]
fn a_refused_update_leaves_no_record_but_moves_the_sequence_of_an_existing_one() {
    let mut lab = Lab::new();
    assert_eq!(lab.register(bu(1, 0, vec![])).status.0, 133);
    assert_eq!(lab.cache.home_address_count(), 0);
    lab.register(bu(5, 100, vec![]));
    assert_eq!(lab.register(bu(9, 100, vec![v6(1, COA1)])).status.0, 165);
    let answer = lab.register(bu(9, 100, vec![]));
    assert_eq!((answer.status.0, answer.sequence.0), (135, 9));
}

#[test]
fn home_address_and_home_agent_must_be_served() {
    let mut lab = Lab::new();
    let rows = [
        ("2001:db8:ffff::100", AGENT, 132),
        ("2001:db8:0:1::100", COA1, 133),
        ("2001:db8:0:1::1", AGENT, 129),
        ("2001:db8:0:1::", AGENT, 129),
    ];
    for (home_address, home_agent, status) in rows {
        let home_address = home_address.parse().unwrap();
        let r = Registration { home_address, home_agent, ..bu(1, 100, vec![]) };
        assert_eq!(lab.register(r).status.0, status, "{home_address} {home_agent}");
    }
    assert_eq!(lab.cache.home_address_count(), 0);
}

/// Sixty addresses that are nobody's care-of address, in a BID option (164, or 174 where they lead back here) and
/// without one (dropped by the front-end; here silence or 174), and nothing is bound.
#[test]
fn care_of_addresses_that_are_none_are_refused() {
    let special = [
        "::",
        "::1",
        "::2",
        "::ffff",
        "::1.2.3.4",
        "::203.0.113.9",
        "::ffff:203.0.113.9",
        "::ffff:0:0",
        "::ffff:127.0.0.1",
        "::ffff:255.255.255.255",
        "fe80::",
        "fe80::1",
        "fe80::ffff:ffff:ffff:ffff",
        "fe90::1",
        "fea0::1",
        "febf:ffff::1",
        "ff00::",
        "ff01::1",
        "ff02::1",
        "ff02::2",
        "ff02::1:2",
        "ff02::1:ff00:1",
        "ff05::2",
        "ff08::1",
        "ff0e::1",
        "ff0e::db8",
        "ff12::7",
        "ff1e::1",
        "ff32::1",
        "ff3e::8000:1",
        "ff7e::1",
        "ffff::",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ];
    let ours = [
        "2001:db8:0:1::",
        "2001:db8:0:1::1",
        "2001:db8:0:1::2",
        "2001:db8:0:1::100",
        "2001:db8:0:1::200",
        "2001:db8:0:1::ffff",
        "2001:db8:0:1:1::",
        "2001:db8:0:1:200:5eff:fe00:1",
        "2001:db8:0:1:8000::1",
        "2001:db8:0:1:fdff:ffff:ffff:fffe",
        "2001:db8:0:1:fdff:ffff:ffff:ff80",
        "2001:db8:0:1:ffff:ffff:ffff:ffff",
    ];
    let random = (0..15_u128).map(|n| Ipv6Addr::from_bits((0xff0e << 112) | (n * 7919)));
    let none = special.iter().map(|text| (text.parse().unwrap(), 164));
    let back = ours.iter().map(|text| (text.parse().unwrap(), 174));
    let all: Vec<(Ipv6Addr, u8)> =
        none.chain(random.map(|address| (address, 164))).chain(back).collect();
    assert_eq!(all.len(), 60);
    let mut lab = Lab::new();
    for (sequence, (address, status)) in (1..).zip(all) {
        let answer = lab.register(bu(sequence, 100, vec![v6(1, address)]));
        assert_eq!(answer.status.0, status, "{address}");
        assert!(lab.care_of().is_empty(), "{address} is bound");
    }
}

#[test]
fn care_of_inside_a_home_prefix_is_refused() {
    let mut lab = Lab::new();
    for address in [HOME, AGENT, "2001:db8:0:1::200".parse().unwrap()] {
        let mut r = bu(1, 100, vec![]);
        r.alternate_care_of = Some(address);
        assert_eq!(lab.register(r).status.0, 174);
        assert_eq!(lab.register(bu(1, 100, vec![v6(1, address)])).status.0, 174);
    }
}

#[test]
fn mobile_router_is_not_permitted() {
    let mut lab = Lab::new();
    let mut r = bu(1, 100, vec![]);
    r.flags = r.flags.with(BuFlags::MOBILE_ROUTER);
    assert_eq!(lab.register(r).status.0, 140);
}

#[test]
fn a_changed_record_sends_the_update_back_to_be_checked_again() {
    let mut lab = Lab::new();
    let mut r = bu(1, 100, vec![]);
    r.policy_revisions = lab.cache.policy(HOME, AGENT).revisions();
    let home_prefix = HomePrefix { bulk_allowed: false, ..home_prefix() };
    lab.run(Command::PutHomePrefix { home_prefix, must_not_exist: false });
    assert_eq!(lab.run(Command::Register(r)).outcome, Outcome::StalePolicy);
    assert_eq!(lab.cache.home_address_count(), 0);
}

#[test]
fn a_repeated_command_has_one_effect_and_its_first_answer() {
    let mut lab = Lab::new();
    let mut r = bu(1, 100, vec![v6(1, COA1)]);
    r.policy_revisions = lab.cache.policy(HOME, AGENT).revisions();
    r.request_id = [9; 16];
    let first = lab.run(Command::Register(r.clone()));
    let before = lab.cache.home(HOME).cloned();
    lab.pass(5);
    assert_eq!(lab.run(Command::Register(r)), first);
    assert_eq!(lab.cache.home(HOME).cloned(), before);
}

/// RFC 4285 §5.3: the timestamp must be near ours and newer than the last one.
#[test]
fn message_id_protects_against_replay() {
    let mut lab = Lab::with(HomePrefix { authentication: Authentication::MnHa, ..home_prefix() });
    let subscriber = Subscriber {
        nai: "mn1@example.com".into(),
        mn_ha: Some((256, Key([1; 16]))),
        message_id_required: true,
        ..Subscriber::new(HOME)
    };
    let put = Command::PutSubscriber { subscriber, must_not_exist: true };
    assert_eq!(lab.run(put).outcome, Outcome::Done);
    let ours = LogTime(lab.at).ntp_secs();
    let stamped = |sequence, secs: u64, fraction| {
        let mut r = bu(sequence, 100, vec![]);
        r.message_id = Some(secs << 32 | fraction);
        r
    };
    assert_eq!(lab.register(stamped(5, ours, 7)).status.0, 0);
    let replayed = lab.register(stamped(6, ours, 7));
    assert_eq!((replayed.status.0, replayed.ntp_secs), (144, Some(u32::try_from(ours).unwrap())));
    assert_eq!(lab.register(stamped(7, ours - 8, 0)).status.0, 144);
    assert_eq!(lab.register(stamped(7, ours + 8, 0)).status.0, 144);
    assert_eq!(lab.register(stamped(3, ours, 8)).status.0, 0, "the sequence is not looked at");
    lab.register(stamped(4, ours, 9));
    lab.register({
        let mut r = stamped(5, ours, 10);
        r.lifetime = Lifetime(0);
        r
    });
    lab.pass(3);
    assert_eq!(lab.register(stamped(6, ours, 9)).status.0, 144, "also after the last binding");
}

#[test]
fn administration_refuses_what_cannot_be_and_names_the_field() {
    let mut lab = Lab::new();
    let refused = |outcome| match outcome {
        Outcome::Refused(refusal) => (refusal.kind, refusal.field.into_owned()),
        other => panic!("{other:?}"),
    };
    let prefix = |address: &str, len| Ipv6Prefix::new(address.parse().unwrap(), len).unwrap();
    let base = home_prefix();
    let rows = [
        (base.clone(), RefusalKind::Exists, "prefix"),
        (
            HomePrefix { prefix: prefix("2001:db8::", 32), ..base.clone() },
            RefusalKind::Invalid,
            "prefix",
        ),
        (
            HomePrefix { prefix: prefix("2001:db9::", 64), ..base.clone() },
            RefusalKind::Invalid,
            "home_agent",
        ),
        (
            HomePrefix {
                prefix: prefix("2001:db9::", 64),
                home_agent: "2001:db9::1".parse().unwrap(),
                lifetime_max_secs: 3,
                ..base.clone()
            },
            RefusalKind::Invalid,
            "lifetime_max_secs",
        ),
        (
            HomePrefix {
                prefix: prefix("2001:db9::", 64),
                home_agent: "2001:db9::1".parse().unwrap(),
                bindings_per_home_address_max: 65,
                ..base
            },
            RefusalKind::Invalid,
            "bindings_per_home_address_max",
        ),
    ];
    for (home_prefix, kind, field) in rows {
        let put = Command::PutHomePrefix { home_prefix, must_not_exist: true };
        assert_eq!(refused(lab.run(put).outcome), (kind, field.into()));
    }
    lab.register(bu(1, 100, vec![]));
    let served = home_prefix().prefix;
    let outcome = lab.run(Command::DeleteHomePrefix(served)).outcome;
    assert_eq!(refused(outcome), (RefusalKind::InUse, "prefix".into()));
    let gone = lab.run(Command::DeleteSubscriber(HOME)).outcome;
    assert_eq!(refused(gone), (RefusalKind::NotFound, "home_address".into()));
}

#[test]
fn state_survives_as_records() {
    let mut lab = registered_three();
    lab.pass(10);
    lab.register(bu(0x1002, 225, vec![short(1)]));
    let restored = BindingCache::from_records(lab.cache.records()).unwrap();
    lab.cache.take_changes();
    assert_eq!(restored, lab.cache);
    let records: Vec<_> = lab.cache.records().skip(1).collect();
    assert_eq!(BindingCache::from_records(records), Err(StateError::Header));
    let twice = lab.cache.records().chain(lab.cache.records().skip(1));
    assert_eq!(BindingCache::from_records(twice), Err(StateError::Duplicate));
}

#[test]
fn udp_answers_carry_nat_detection() {
    let mut lab = Lab::new();
    let nat = Ipv4Addr::new(203, 0, 113, 9);
    let mut r = bu(1, 100, vec![v4(7, [192, 0, 2, 44])]);
    r.source = WireSource::Udp(nat, 40001);
    let answer = lab.register(r);
    assert_eq!(codes(&answer), (0, vec![0]));
    let expected = NatDetection { force_udp: false, refresh_secs: 110 };
    assert_eq!(answer.nat_detection, Some(expected));
    let announced = Ipv4Addr::new(192, 0, 2, 44);
    assert_eq!(
        lab.care_of(),
        [(Some(7), CareOf::Ipv4 { address: nat, port: 40001, announced, udp: true })]
    );
    let mut direct = bu(2, 100, vec![]);
    direct.source = WireSource::Udp(nat, 4191);
    let expected = NatDetection { force_udp: true, refresh_secs: u32::MAX };
    assert_eq!(lab.register(direct).nat_detection, Some(expected));
}
