//! The mirror: feed messages in, table out.

use std::net::{Ipv4Addr, Ipv6Addr};

use homeport_api::{
    binding, convert,
    feed::{HomeChange, HomePrefixChange, WatchResponse},
};
use homeport_forwarding::{Action, Config as Rules, Forwarding, Ingress, Millis};
use homeport_wire::{PacketBuilder, protocol, walk};

use crate::{
    home_link::{Changes, OnLink},
    mirror::{Applied, Mirror},
};

const PREFIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0);
const AGENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1);
const CORRESPONDENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 0x99);
/// The store's clock at the beginning.
const LOG_TIME_MS: u64 = 1_700_000_000_000;

fn home(host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, host)
}

fn care_of(host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, host)
}

fn prefix_change() -> HomePrefixChange {
    HomePrefixChange {
        prefix: convert::ipv6_octets(PREFIX),
        prefix_len: 64,
        home_prefix: Some(binding::HomePrefix {
            prefix: convert::ipv6_octets(PREFIX),
            prefix_len: 64,
            home_agent: convert::ipv6_octets(AGENT),
            authentication: binding::Authentication::None.into(),
            bindings_per_home_address_max: 8,
            ..binding::HomePrefix::default()
        }),
    }
}

/// `host`'s only binding: to `care_of(to)`, for `secs` from the beginning.
fn home_change(host: u16, to: u16, secs: u64) -> HomeChange {
    use binding::care_of_address::Address;
    let address = Some(Address::Ipv6(convert::ipv6_octets(care_of(to))));
    let binding = binding::Binding {
        bid: Some(1),
        care_of: Some(binding::CareOfAddress { address }),
        ends_ms: LOG_TIME_MS + secs * 1000,
        verified_ms: LOG_TIME_MS,
        registered_ms: LOG_TIME_MS,
        ..binding::Binding::default()
    };
    let record = binding::Home {
        home_address: convert::ipv6_octets(home(host)),
        home_agent: convert::ipv6_octets(AGENT),
        bindings: vec![binding],
        ..binding::Home::default()
    };
    HomeChange { home_address: convert::ipv6_octets(home(host)), home: Some(record) }
}

fn gone(host: u16) -> HomeChange {
    HomeChange { home_address: convert::ipv6_octets(home(host)), home: None }
}

fn message(revision: u64, homes: Vec<HomeChange>) -> WatchResponse {
    WatchResponse { revision, log_time_ms: LOG_TIME_MS, homes, ..WatchResponse::default() }
}

fn snapshot(revision: u64, homes: Vec<HomeChange>) -> WatchResponse {
    WatchResponse {
        snapshot_begin: true,
        snapshot_end: true,
        home_prefixes: vec![prefix_change()],
        ..message(revision, homes)
    }
}

struct Fixture {
    forwarding: Forwarding,
    mirror: Mirror,
}

impl Fixture {
    fn new() -> Self {
        Self { forwarding: Forwarding::new(Rules::default()), mirror: Mirror::new(true) }
    }

    fn at(&mut self, now_ms: u64, message: WatchResponse) -> Applied {
        self.mirror.apply(&mut self.forwarding, Millis(now_ms), message)
    }

    /// Where a packet for `host` goes at a moment.
    fn goes_to(&mut self, now_ms: u64, host: u16) -> Option<Ipv6Addr> {
        let packet = PacketBuilder::new(CORRESPONDENT, home(host)).build(protocol::NO_NEXT, &[]);
        let actions = self.forwarding.handle(Millis(now_ms), Ingress::Ip(&packet));
        let outer = actions.iter().find_map(|action| match action {
            Action::SendIpv6(packet) => walk(packet).ok(),
            _ => None,
        });
        let tunnelled = outer.filter(|walk| walk.upper == protocol::IPV6);
        tunnelled.map(|walk| walk.header.destination)
    }
}

#[test]
fn a_snapshot_takes_effect_whole_and_with_its_revision() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.mirror.begins(), 0);
    let begin = WatchResponse {
        snapshot_begin: true,
        home_prefixes: vec![prefix_change()],
        ..message(0, vec![home_change(0x100, 1, 60)])
    };
    assert_eq!(fixture.at(0, begin), Applied::default());
    assert_eq!(fixture.at(0, message(0, vec![home_change(0x200, 2, 60)])), Applied::default());
    let end = WatchResponse { snapshot_end: true, ..message(0, vec![]) };
    assert_eq!(fixture.at(0, end), Applied::default());
    assert_eq!(fixture.forwarding.table().len(), 0, "its revision is not known yet");
    // What changed while the pages were read comes with the revision.
    let last = message(7, vec![home_change(0x200, 3, 60)]);
    let expected = Applied { reached: true, prefixes: true, anew: true, refused: 0 };
    assert_eq!(fixture.at(0, last), expected);
    assert_eq!(fixture.mirror.revision(), 7);
    assert_eq!(fixture.goes_to(0, 0x100), Some(care_of(1)));
    assert_eq!(fixture.goes_to(0, 0x200), Some(care_of(3)));

    assert_eq!(fixture.mirror.begins(), 7, "a new stream goes on from there");
    let all_in_one = snapshot(9, vec![home_change(0x100, 4, 60)]);
    assert!(fixture.at(0, all_in_one).reached);
    assert_eq!(fixture.goes_to(0, 0x100), Some(care_of(4)));
    assert_eq!(fixture.goes_to(0, 0x200), None, "what a snapshot does not have is gone");
}

#[test]
fn changes_follow() {
    let mut fixture = Fixture::new();
    fixture.at(0, snapshot(1, vec![home_change(0x100, 1, 60)]));
    assert!(fixture.at(0, message(2, vec![home_change(0x100, 2, 60)])).reached);
    assert_eq!(fixture.goes_to(0, 0x100), Some(care_of(2)));
    assert!(fixture.at(0, message(3, vec![])).reached, "a mark of progress");
    assert_eq!(fixture.mirror.revision(), 3);
    // Pages without a revision count at once, but say nothing about where the table stands.
    assert!(!fixture.at(0, message(0, vec![gone(0x100)])).reached);
    assert_eq!((fixture.mirror.revision(), fixture.goes_to(0, 0x100)), (3, None));
}

#[test]
fn a_replica_that_is_behind_changes_nothing_until_it_has_caught_up() {
    let mut fixture = Fixture::new();
    fixture.at(0, snapshot(10, vec![home_change(0x100, 1, 60)]));
    assert_eq!(fixture.mirror.begins(), 10);
    // It does not know our revision, so it gives its own state: an older one.
    let old = snapshot(8, vec![home_change(0x100, 9, 60), home_change(0x200, 9, 60)]);
    assert!(!fixture.at(0, old).reached);
    assert_eq!(fixture.goes_to(0, 0x100), Some(care_of(1)));
    assert_eq!(fixture.goes_to(0, 0x200), None);
    assert!(!fixture.at(0, message(9, vec![gone(0x200)])).reached);
    assert_eq!(fixture.mirror.revision(), 10);
    assert!(fixture.at(0, message(10, vec![home_change(0x100, 1, 60)])).reached);
    assert_eq!((fixture.goes_to(0, 0x100), fixture.goes_to(0, 0x200)), (Some(care_of(1)), None));
    // Nor does an older change, wherever it comes from.
    assert_eq!(fixture.at(0, message(9, vec![gone(0x100)])), Applied::default());
    assert_eq!(fixture.goes_to(0, 0x100), Some(care_of(1)));
}

#[test]
fn a_snapshot_that_is_cut_off_is_void() {
    let mut fixture = Fixture::new();
    fixture.at(0, snapshot(5, vec![home_change(0x100, 1, 60)]));
    let begin = WatchResponse { snapshot_end: false, ..snapshot(0, vec![]) };
    fixture.at(0, begin);
    assert_eq!(fixture.mirror.begins(), 5);
    assert!(fixture.at(0, message(6, vec![home_change(0x200, 2, 60)])).reached);
    assert_eq!(fixture.goes_to(0, 0x100), Some(care_of(1)));
    assert_eq!(fixture.goes_to(0, 0x200), Some(care_of(2)));
}

#[test]
fn ends_are_those_of_the_stores_clock() {
    let mut fixture = Fixture::new();
    fixture.mirror.begins();
    // The process is 5 s old; the binding has 60 s left.
    fixture.at(5_000, snapshot(1, vec![home_change(0x100, 1, 60)]));
    assert_eq!(fixture.goes_to(64_999, 0x100), Some(care_of(1)));
    assert_eq!(fixture.goes_to(65_000, 0x100), None);
    // A message that was under way for 3 s does not make bindings live longer.
    fixture.at(8_000, message(2, vec![home_change(0x200, 2, 60)]));
    assert_eq!(fixture.goes_to(64_999, 0x200), Some(care_of(2)));
    assert_eq!(fixture.goes_to(65_000, 0x200), None);
    // What has ended long ago does not begin to live either.
    let mut late = message(3, vec![home_change(0x300, 3, 60)]);
    late.log_time_ms += 3_600_000;
    fixture.at(9_000, late);
    assert_eq!(fixture.goes_to(9_000, 0x300), None);
}

#[test]
fn everything_that_is_reached_through_a_home_address_comes_with_it() {
    let mut router = home_change(0x100, 1, 60);
    let record = router.home.as_mut().unwrap();
    let mut second = record.bindings[0].clone();
    second.bid = Some(2);
    let direct = binding::Ipv4CareOf {
        address: convert::ipv4_octets(Ipv4Addr::new(203, 0, 113, 20)),
        port: 4191,
        announced: convert::ipv4_octets(Ipv4Addr::new(203, 0, 113, 20)),
        without_udp: true,
    };
    let address = Some(binding::care_of_address::Address::Ipv4(direct));
    second.care_of = Some(binding::CareOfAddress { address });
    second.priority = 9;
    record.bindings[0].priority = 5;
    record.bindings.push(second);
    let network: Ipv6Addr = "2001:db8:100::".parse().unwrap();
    record.mobile_networks =
        vec![binding::Ipv6Prefix { prefix: convert::ipv6_octets(network), prefix_len: 48 }];
    let address_v4 = Ipv4Addr::new(198, 51, 100, 77);
    record.ipv4_home_address =
        Some(binding::Ipv4Prefix { prefix: convert::ipv4_octets(address_v4), prefix_len: 32 });
    // To port 5060 by BID 2 (flags: start of the destination port and of the next header).
    let selector =
        binding::TrafficSelector { format: 2, octets: vec![0, 0x22, 0, 0, 0x13, 0xc4, 17].into() };
    record.flows = vec![binding::FlowBinding {
        fid: 4,
        priority: 10,
        bids: vec![2],
        selector: Some(selector),
    }];
    let mut fixture = Fixture::new();
    assert_eq!(fixture.at(0, snapshot(1, vec![router])).refused, 0);

    let node: Ipv6Addr = "2001:db8:100::7".parse().unwrap();
    for destination in [home(0x100), node] {
        let udp = |port: [u8; 2]| {
            let payload = [0, 9, port[0], port[1], 0, 8, 0, 0];
            PacketBuilder::new(CORRESPONDENT, destination).build(protocol::UDP, &payload)
        };
        let other = fixture.forwarding.handle(Millis(0), Ingress::Ip(&udp([0, 80])));
        assert!(matches!(other.as_slice(), [Action::SendIpv6(_)]), "{other:?}");
        let flow = fixture.forwarding.handle(Millis(0), Ingress::Ip(&udp([0x13, 0xc4])));
        // The prefix names no IPv4 address of the home agent.
        let expected = Action::Drop(homeport_forwarding::DropReason::NoHomeAgentIpv4);
        assert_eq!(flow, [expected]);
    }
    let v4 = homeport_wire::encapsulate_v4(
        &[0; 8],
        protocol::UDP,
        Ipv4Addr::new(192, 0, 2, 9),
        address_v4,
        64,
        0,
    );
    let actions = fixture.forwarding.handle(Millis(0), Ingress::Ip(&v4));
    let [Action::SendIpv6(outer)] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!(walk(outer).unwrap().upper, protocol::IPV4);
    assert!(fixture.at(0, message(2, vec![gone(0x100)])).reached);
    assert_eq!(fixture.forwarding.table().networks(), []);
    assert_eq!(fixture.forwarding.table().networks_v4(), []);
}

#[test]
fn what_a_home_link_is_told() {
    let mut at_home = home_change(0x400, 1, 60);
    let binding = &mut at_home.home.as_mut().unwrap().bindings[0];
    binding.home = true;
    binding.link_layer_address = vec![2, 0, 0, 0, 0, 7].into();
    let address = Some(binding::care_of_address::Address::Ipv6(convert::ipv6_octets(home(0x400))));
    binding.care_of = Some(binding::CareOfAddress { address });
    let mut router = home_change(0x200, 2, 60);
    let record = router.home.as_mut().unwrap();
    (record.mobile_router, record.link_local) = (true, true);
    // Its home address lies in its own mobile network: nobody looks for it on the link.
    let mut elsewhere = home_change(0x300, 3, 60);
    let far = convert::ipv6_octets("2001:db8:100::1".parse().unwrap());
    elsewhere.home_address = far.clone();
    elsewhere.home.as_mut().unwrap().home_address = far.clone();
    let probe = |duplicate| {
        let mut change = home_change(0x500, 1, 60);
        let record = change.home.as_mut().unwrap();
        record.bindings.clear();
        let request_id = vec![5; 16].into();
        record.probe = Some(binding::Probe { request_id, link_local: true, duplicate });
        change
    };

    let mut fixture = Fixture::new();
    let homes = vec![home_change(0x100, 1, 60), router, elsewhere, at_home, probe(None)];
    fixture.at(5_000, snapshot(1, homes));
    let away = OnLink {
        router: false,
        link_local: false,
        address_v4: None,
        until_ms: 65_000,
        at_home: None,
        probe: None,
    };
    let asked = homeport_binding::Probe { request_id: [5; 16], link_local: true, verdict: None };
    let expected = [
        (home(0x100), Some(away.clone())),
        (home(0x200), Some(OnLink { router: true, link_local: true, ..away.clone() })),
        (convert::ipv6(&far, "home address").unwrap(), None),
        (home(0x400), Some(OnLink { at_home: Some(vec![2, 0, 0, 0, 0, 7]), ..away.clone() })),
        (home(0x500), Some(OnLink { probe: Some(asked), until_ms: 0, ..away.clone() })),
    ];
    let told = fixture.mirror.take_on_link();
    assert!(told.anew);
    assert_eq!(told.homes, expected.into());
    let [(_, Some(record))] = Vec::from_iter(&told.prefixes)[..] else { panic!("{told:?}") };
    assert_eq!((record.home_agent, record.real_home_link), (AGENT, false));

    let mut real = prefix_change();
    real.home_prefix.as_mut().unwrap().real_home_link = true;
    let changes = vec![gone(0x200), probe(Some(false))];
    fixture.at(5_000, WatchResponse { home_prefixes: vec![real], ..message(2, changes) });
    let told = fixture.mirror.take_on_link();
    assert!(!told.anew);
    assert_eq!(told.homes, [(home(0x200), None), (home(0x500), None)].into());
    assert!(Vec::from_iter(told.prefixes)[0].1.as_ref().unwrap().real_home_link);
    assert!(fixture.forwarding.table().prefixes().next().unwrap().real_home_link);
    assert!(fixture.mirror.take_on_link().is_empty(), "taken once");
}

#[test]
fn later_changes_for_a_home_link_replace_earlier_ones() {
    let one = |anew, until_ms| {
        let mut fixture = Fixture::new();
        fixture.at(0, snapshot(1, vec![home_change(0x100, 1, until_ms)]));
        Changes { anew, ..fixture.mirror.take_on_link() }
    };
    let mut changes = one(true, 1);
    changes.follow(one(false, 2));
    assert!(changes.anew, "what it does not name is still gone");
    assert_eq!(changes.homes[&home(0x100)].as_ref().unwrap().until_ms, 2000);
    changes.follow(Changes { anew: true, ..Changes::default() });
    assert!(changes.homes.is_empty() && !changes.is_empty());
}

#[test]
fn what_cannot_be_read_is_not_forwarded() {
    let mut fixture = Fixture::new();
    fixture.at(0, snapshot(1, vec![home_change(0x100, 1, 60)]));
    let mut unreadable = home_change(0x100, 2, 60);
    if let Some(record) = &mut unreadable.home {
        record.home_agent = vec![1, 2, 3].into();
    }
    let nameless = HomeChange { home_address: vec![1].into(), home: None };
    let mut strange = prefix_change();
    if let Some(prefix) = &mut strange.home_prefix {
        prefix.authentication = 99;
    }
    let message =
        WatchResponse { home_prefixes: vec![strange], ..message(2, vec![unreadable, nameless]) };
    let expected = Applied { reached: true, prefixes: true, anew: false, refused: 3 };
    assert_eq!(fixture.at(0, message), expected);
    assert_eq!(fixture.goes_to(0, 0x100), None);
    assert_eq!(fixture.forwarding.table().prefixes().count(), 0);
}
