//! What is chosen where the RFCs leave it open: `docs/decisions.md`. Each choice is met in what a
//! registration gets, and has the value that the page says.

use homeport_wire::{BinarySelector, Ipv4AddressStatus, Selector};

use super::*;
use crate::choices;

fn home(bid: u16, care_of: BidCareOf) -> BidRequest {
    BidRequest { home: true, ..option(bid, care_of) }
}

/// Status of a single option, which is that of the Binding Acknowledgement.
fn single(lab: &mut Lab, r: Registration) -> Status {
    let answer = lab.register(r);
    assert!(answer.bid_statuses.iter().all(|status| *status == Status::ACCEPTED), "{answer:?}");
    answer.status
}

#[test]
fn statuses_of_options() {
    let lab = Lab::new;
    let two = || {
        let mut lab = lab();
        assert_eq!(lab.register(bu(1, 100, vec![v6(1, COA1), v6(2, COA2)])).status.0, 0);
        lab
    };
    let with_home = || {
        let mut lab = two();
        let answer = lab.register(at_home(bu(2, 100, vec![home(4, BidCareOf::Absent)])));
        assert_eq!(answer.status, Status::MCOA_RETURNHOME_WO_NDP);
        lab
    };
    let cramped = Lab::with(HomePrefix { bindings_per_home_address_max: 1, ..home_prefix() });
    let mut full = cramped;
    assert_eq!(full.register(bu(1, 100, vec![v6(1, COA1)])).status.0, 0);
    let rows = [
        (lab(), bu(9, 100, vec![v6(0, COA1)]), choices::BID_ZERO, 164),
        (two(), bu(9, 0, vec![short(0)]), choices::BID_ZERO, 164),
        (two(), bu(9, 0, vec![short(9)]), choices::BID_NOT_BOUND, 133),
        (lab(), bu(9, 100, vec![short(1)]), choices::CARE_OF_NOT_KNOWN, 167),
        (lab(), bu(9, 100, vec![v6(1, HOME)]), choices::CARE_OF_LOOPS, 174),
        (
            two(),
            bu(9, 100, vec![v4(3, [192, 0, 2, 44])]),
            choices::IPV4_CARE_OF_NOT_INTRODUCED,
            174,
        ),
        (
            lab(),
            bu(9, 100, vec![home(4, BidCareOf::V6(COA1))]),
            choices::HOME_BINDING_ELSEWHERE,
            164,
        ),
        (
            lab(),
            bu(9, 100, vec![home(4, BidCareOf::V4(Ipv4Addr::new(192, 0, 2, 44)))]),
            choices::HOME_BINDING_ELSEWHERE,
            164,
        ),
        (
            with_home(),
            bu(9, 100, vec![home(5, BidCareOf::Absent)]),
            choices::HOME_BINDING_SECOND,
            164,
        ),
        (
            two(),
            bu(9, 100, vec![home(4, BidCareOf::Absent)]),
            choices::HOME_BINDING_WITHOUT_LINK_LAYER_ADDRESS,
            164,
        ),
        (full, bu(9, 100, vec![v6(2, COA2)]), choices::BINDINGS_EXHAUSTED, 130),
    ];
    for (mut lab, r, chosen, code) in rows {
        let bids = r.bids.clone();
        let before = lab.care_of();
        assert_eq!((single(&mut lab, r), chosen.0), (chosen, code), "{bids:?}");
        assert_eq!(lab.care_of(), before, "{bids:?}");
    }
}

#[test]
fn statuses_in_a_bulk() {
    let bulk = |first, second| bu(9, 100, vec![first, second]);
    let answer = Lab::new().register(bulk(v6(1, COA1), v6(1, COA2)));
    assert_eq!(answer.bid_statuses, [Status::ACCEPTED, choices::BID_REPEATED]);
    let answer = registered_three().register(bu(0x2000, 0, vec![short(1), short(1)]));
    assert_eq!(answer.bid_statuses, [Status::ACCEPTED, choices::BID_REPEATED]);
    let both_home = bulk(home(1, BidCareOf::Absent), home(2, BidCareOf::V6(HOME)));
    let mut lab = Lab::with(HomePrefix { only_router: true, ..home_prefix() });
    let answer = lab.register(both_home);
    assert_eq!(answer.bid_statuses, [Status::ACCEPTED, choices::HOME_BINDING_SECOND]);
    let mut lab = Lab::new();
    let answer = lab.register(bulk(short(1), v6(0, COA2)));
    assert_eq!(answer.status, choices::BULK_FAILS_VARIOUSLY);
    assert_eq!(answer.bid_statuses, [choices::CARE_OF_NOT_KNOWN, choices::BID_ZERO]);
    assert_eq!((choices::BULK_FAILS_VARIOUSLY.0, choices::BID_REPEATED.0), (128, 164));
    assert_eq!(lab.care_of(), []);
}

/// Another's home address, bound or provisioned, is no care-of address either.
#[test]
fn a_home_address_of_another_is_no_care_of_address() {
    let other = "2001:db8:77::7".parse().unwrap();
    let mut lab = Lab::new();
    assert_eq!(single(&mut lab, bu(1, 100, vec![v6(1, other)])), Status::ACCEPTED);
    let own_network = Ipv6Prefix::new("2001:db8:77::".parse().unwrap(), 64);
    lab.put(Subscriber {
        mobile_networks: own_network.into_iter().collect(),
        home_prefix: Some(home_prefix().prefix),
        ..Subscriber::new(other)
    });
    assert_eq!(single(&mut lab, bu(2, 100, vec![v6(1, other)])), choices::CARE_OF_LOOPS);
}

#[test]
fn the_alternate_care_of_address_says_nothing_beside_bid_options() {
    let mut lab = Lab::new();
    for (sequence, alternate) in (1..).zip([COA2, HOME, "fe80::1".parse().unwrap()]) {
        let mut r = bu(sequence, 100, vec![v6(1, COA3)]);
        r.alternate_care_of = Some(alternate);
        assert_eq!(single(&mut lab, r), Status::ACCEPTED, "{alternate}");
        assert_eq!(lab.addresses(), [(1, COA3)], "{alternate}");
    }
}

/// What the acknowledgement grants is what each binding of the Binding Update has; others keep theirs.
#[test]
fn one_lifetime_is_granted_to_all_bindings_of_an_update() {
    let mut lab = Lab::with(HomePrefix { lifetime_max_secs: 240, ..home_prefix() });
    assert_eq!(lab.register(bu(1, 20, vec![v6(3, COA3)])).lifetime, Lifetime(20));
    let at = lab.at;
    let answer = lab.register(bu(2, 900, vec![v6(1, COA1), v6(2, COA2)]));
    assert_eq!(answer.lifetime, Lifetime(60));
    let ends: Vec<_> = lab.cache.home(HOME).unwrap().bindings.values().map(|b| b.ends).collect();
    assert_eq!(ends, [240_000, 240_000, 80_000].map(|ms| LogTime(at + ms)));
}

#[test]
fn only_what_concerns_the_home_binding_ends_it() {
    let rows = [
        ("a foreign binding is refreshed", bu(2, 100, vec![short(1)]), true),
        ("another foreign binding comes", bu(2, 100, vec![v6(2, COA2)]), true),
        ("a foreign binding goes", bu(2, 0, vec![short(1)]), true),
        ("it is named without H", bu(2, 100, vec![v6(4, COA3)]), false),
        ("all others are overwritten", overwrite(bu(2, 100, vec![v6(2, COA2)])), false),
        ("it is de-registered", bu(2, 0, vec![home(4, BidCareOf::Absent)]), false),
    ];
    for (what, r, stays) in rows {
        let mut lab = Lab::with(HomePrefix { only_router: true, ..home_prefix() });
        let both = vec![v6(1, COA1), home(4, BidCareOf::Absent)];
        assert_eq!(codes(&lab.register(bu(1, 100, both))), (0, vec![0, 0]));
        assert_eq!(single(&mut lab, r), Status::ACCEPTED, "{what}");
        let is_home = lab.cache.home(HOME).unwrap().bindings.values().any(|b| b.home.is_some());
        assert_eq!(is_home, stays, "{what}");
    }
}

/// RFC 5648 §8.1: the first IPv4 option alone is compared with the outer source.
#[test]
fn the_first_ipv4_option_is_the_one_that_a_nat_moves() {
    let (one, two, nat) = ([192, 0, 2, 1], [192, 0, 2, 2], Ipv4Addr::new(203, 0, 113, 9));
    let mut lab = Lab::new();
    for (bid, address) in [(1, one), (2, two)] {
        let mut r = bu(bid, 100, vec![v4(bid, address)]);
        r.source = WireSource::Udp(address.into(), 4191);
        assert_eq!(single(&mut lab, r), Status::ACCEPTED);
    }
    let mut refresh = bu(3, 100, vec![short(2), short(1)]);
    refresh.source = WireSource::Udp(nat, 50_000);
    let answer = lab.register(refresh);
    assert_eq!(codes(&answer), (0, vec![0, 0]));
    assert_eq!(answer.nat_detection.unwrap().refresh_secs, 110, "there is a NAT");
    let care_of = |address: Ipv4Addr, port, announced: [u8; 4]| {
        let announced = announced.into();
        CareOf::Ipv4 { address, port, announced, udp: true }
    };
    let expected =
        [(Some(1), care_of(one.into(), 4191, one)), (Some(2), care_of(nat, 50_000, two))];
    assert_eq!(lab.care_of(), expected);
}

#[test]
fn statuses_of_ipv4_and_of_mobile_networks() {
    let mut forced = bu(1, 100, vec![]);
    let address = Ipv4Addr::new(192, 0, 2, 44);
    forced.source = WireSource::Udp(address, 4191);
    forced.ipv4_care_of = Some(address);
    forced.flags = forced.flags.with(BuFlags::FORCE_UDP);
    let mut lab = Lab::with(HomePrefix {
        force_udp_encapsulation: false,
        force_udp_requests_allowed: false,
        ..home_prefix()
    });
    assert_eq!(single(&mut lab, forced.clone()), choices::FORCED_UDP_REFUSED);
    assert_eq!(choices::FORCED_UDP_REFUSED.0, 129);
    let mut lab = Lab::with(HomePrefix { force_udp_encapsulation: false, ..home_prefix() });
    assert_eq!(single(&mut lab, forced), Status::ACCEPTED, "allowed unless it is set otherwise");

    let mut lengthless = bu(2, 100, vec![]);
    let request = Ipv4HomeAddressRequest { address, prefix_len: 0, prefix_wanted: false };
    lengthless.ipv4_home_address = Some(request);
    let answer = lab.register(lengthless);
    assert_eq!(answer.ipv4_address.unwrap().status, choices::IPV4_PREFIX_LEN_ZERO);
    assert_eq!(choices::IPV4_PREFIX_LEN_ZERO, Ipv4AddressStatus(131));

    let mut lab = Lab::with(HomePrefix { mobile_networks_allowed: true, ..home_prefix() });
    let own = Ipv6Prefix::new("2001:db8:100::".parse().unwrap(), 56);
    let mobile_networks = own.into_iter().collect();
    lab.put(Subscriber { mobile_networks, ..Subscriber::new(HOME) });
    let mut router = bu(1, 100, vec![]);
    router.flags = router.flags.with(BuFlags::MOBILE_ROUTER);
    let prefix = "2001:db8:100::1".parse().unwrap();
    router.mobile_networks = vec![MobileNetworkRequest { prefix, prefix_len: 64 }];
    assert_eq!(single(&mut lab, router.clone()), choices::NETWORK_HOST_BITS_SET);
    assert_eq!(choices::NETWORK_HOST_BITS_SET.0, 141);
    // At home, without BID option, a mobile router is de-registered.
    router.mobile_networks.clear();
    router.sequence = Sequence(2);
    assert_eq!(single(&mut lab, router.clone()), Status::ACCEPTED);
    (router.sequence, router.source) = (Sequence(3), WireSource::Ipv6(HOME));
    assert_eq!(lab.register(router).lifetime, Lifetime::DEREGISTER);
    assert_eq!(lab.care_of(), []);
}

#[test]
fn statuses_of_flows() {
    let selector =
        BinarySelector::Ipv6(Selector { destination_port: Some(80..=80), ..Selector::ANY });
    let flow = |fid, priority| FlowRequest {
        fid,
        priority,
        malformed: false,
        bids: vec![Bid(1)],
        selector: Some(SelectorRequest { format: selector.format(), octets: selector.octets() }),
    };
    let accepted = FlowStatus::ACCEPTED;
    let (repeated, zero, taken) =
        (choices::FLOW_REPEATED, choices::FLOW_NUMBER_ZERO, choices::FLOW_PRIORITY_TAKEN);
    let rows = [
        (vec![flow(1, 1), flow(2, 2), flow(1, 3)], vec![repeated; 3]),
        (vec![flow(0, 1), flow(2, 0), flow(3, 3)], vec![zero, zero, accepted]),
        (vec![flow(1, 7), flow(2, 7)], vec![accepted, taken]),
    ];
    for (flows, statuses) in rows {
        let prefix = HomePrefix { flow_bindings_per_home_address_max: 4, ..home_prefix() };
        let mut lab = Lab::with(prefix);
        let mut r = bu(1, 100, vec![v6(1, COA1)]);
        r.flows = flows.clone();
        assert_eq!(lab.register(r).flow_statuses, statuses, "{flows:?}");
    }
    assert_eq!([repeated, zero, taken], [FlowStatus(130); 3]);
}
