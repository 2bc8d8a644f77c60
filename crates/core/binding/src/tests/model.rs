//! Random histories: two replicas agree, counts and deadlines hold, nothing acknowledged is
//! missing, nothing belongs to two, and a snapshot of each state is that state.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Update { home: u8, ahead: u16, lifetime: u16, flags: u16, bids: Vec<(u16, u8)>, asks: Asks },
    Provision { home: u8, networks: u8, ipv4: u8 },
    Remove(u8),
    Pool(u8),
}

/// What an update asks for beside bindings.
#[derive(Clone, Debug)]
struct Asks {
    networks: Vec<(u8, u8)>,
    ipv4: Option<(u8, u8, bool)>,
    flows: Vec<(u16, u16, u16)>,
    summary: Vec<u16>,
}

fn asks() -> impl Strategy<Value = Asks> {
    let networks = prop::collection::vec((0_u8..4, prop_oneof![Just(64_u8), 60_u8..70]), 0..3);
    let ipv4 =
        prop::option::of((0_u8..12, prop_oneof![3 => Just(32_u8), 1 => 0_u8..40], any::<bool>()));
    let flows = prop::collection::vec((0_u16..5, 0_u16..5, 0_u16..5), 0..4);
    (networks, ipv4, flows, prop::collection::vec(0_u16..6, 0..3))
        .prop_map(|(networks, ipv4, flows, summary)| Asks { networks, ipv4, flows, summary })
}

fn step() -> impl Strategy<Value = Step> {
    let bids = prop::collection::vec((0_u16..5, 0_u8..7), 0..5);
    // A and H; H, R and O now and then otherwise.
    let flags = prop_oneof![
        4 => Just(0xc000_u16),
        2 => Just(0xc040),
        4 => Just(0xc400),
        1 => Just(0xc440),
        1 => Just(0x8000)
    ];
    let update = (0_u8..4, 0_u16..4, 0_u16..40, flags, bids, asks()).prop_map(
        |(home, ahead, lifetime, flags, bids, asks)| Step::Update {
            home,
            ahead,
            lifetime,
            flags,
            bids,
            asks,
        },
    );
    let provision = (0_u8..4, 0_u8..16, 0_u8..14)
        .prop_map(|(home, networks, ipv4)| Step::Provision { home, networks, ipv4 });
    prop_oneof![
        2 => (0_u64..30).prop_map(Step::Pass),
        10 => update,
        3 => provision,
        1 => (0_u8..4).prop_map(Step::Remove),
        1 => (0_u8..4).prop_map(Step::Pool),
    ]
}

fn home_address(home: u8) -> Ipv6Addr {
    Ipv6Addr::from_bits(HOME.to_bits() + u128::from(home))
}

fn network(number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0x100, number.into(), 0, 0, 0, 0)
}

/// A pool of six addresses, or of none.
fn model_prefix(pool: u8) -> HomePrefix {
    let pool = match pool {
        0 => None,
        n => Ipv4Prefix::new(Ipv4Addr::new(198, 51, 100, 0), 28 + n.min(3)),
    };
    HomePrefix {
        ipv4_pool: pool,
        home_agent_ipv4: Some(Ipv4Addr::new(198, 51, 100, 1)),
        mobile_networks_allowed: true,
        flow_bindings_per_home_address_max: 3,
        ..home_prefix()
    }
}

/// One bit of `networks` for each of four prefixes.
fn provision(home: u8, networks: u8, ipv4: u8) -> Command {
    let owned = (0..4).filter(|n| networks >> n & 1 == 1);
    let own = Ipv4Addr::new(198, 51, 100, ipv4);
    let subscriber = Subscriber {
        mobile_networks: owned.filter_map(|n| Ipv6Prefix::new(network(n), 64)).collect(),
        ipv4_home_address: (ipv4 < 10).then(|| Ipv4Prefix::host(own)),
        ..Subscriber::new(home_address(home))
    };
    Command::PutSubscriber { subscriber, must_not_exist: false }
}

fn with_requests(mut r: Registration, asks: Asks) -> Registration {
    let request = |(n, prefix_len)| MobileNetworkRequest { prefix: network(n), prefix_len };
    r.mobile_networks = asks.networks.into_iter().map(request).collect();
    r.ipv4_home_address = asks.ipv4.map(|(host, prefix_len, prefix_wanted)| {
        let address = match host {
            0..6 => Ipv4Addr::UNSPECIFIED,
            host => Ipv4Addr::new(198, 51, 100, host),
        };
        Ipv4HomeAddressRequest { address, prefix_len, prefix_wanted }
    });
    let flow = |(fid, priority, bid)| FlowRequest {
        fid,
        priority,
        malformed: false,
        bids: (bid > 0).then_some(Bid(bid)).into_iter().collect(),
        selector: (bid != 3).then(|| SelectorRequest { format: 2, octets: vec![0; 4] }),
    };
    r.flows = asks.flows.into_iter().map(flow).collect();
    r.flow_summary = asks.summary;
    r
}

fn bid_request((bid, kind): (u16, u8)) -> BidRequest {
    match kind {
        0 => short(bid),
        1 => v4(bid, [192, 0, 2, 1]),
        2 => BidRequest { home: true, ..short(bid) },
        3 => BidRequest { malformed: true, ..short(bid) },
        n => v6(bid, Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, n.into())),
    }
}

proptest! {
    #[test]
    fn histories(real in any::<bool>(), steps in prop::collection::vec(step(), 1..60)) {
        let on_link = |pool| HomePrefix { real_home_link: real, ..model_prefix(pool) };
        let (mut one, mut two) = (Lab::with(on_link(1)), Lab::with(on_link(1)));
        let mut sequences = [0_u16; 4];
        for step in steps {
            let operator = match step {
                Step::Pass(secs) => {
                    one.pass(secs);
                    two.pass(secs);
                    None
                }
                Step::Update { home, ahead, lifetime, flags, bids, asks } => {
                    let slot = &mut sequences[usize::from(home)];
                    *slot = slot.wrapping_add(ahead);
                    let bids: Vec<_> = bids.into_iter().map(bid_request).collect();
                    let mut r = with_requests(bu(*slot, lifetime, bids), asks);
                    // Some home bindings do not say where they are.
                    if ahead % 2 == 0 {
                        r = at_home(r);
                    }
                    r.home_address = home_address(home);
                    r.flags = BuFlags(flags);
                    let before = one.cache.home(r.home_address).cloned();
                    let answer = one.register(r.clone());
                    prop_assert_eq!(&answer, &two.register(r.clone()));
                    check_answer(&one, &r, before.as_ref(), &answer)?;
                    None
                }
                Step::Provision { home, networks, ipv4 } => Some(provision(home, networks, ipv4)),
                Step::Remove(home) => Some(Command::DeleteSubscriber(home_address(home))),
                Step::Pool(pool) => {
                    let home_prefix = on_link(pool);
                    Some(Command::PutHomePrefix { home_prefix, must_not_exist: false })
                }
            };
            if let Some(command) = operator {
                let verdict = one.run(command.clone());
                prop_assert_eq!(verdict, two.run(command));
            }
            check_state(&one.cache)?;
            check_ownership(&one.cache)?;
            prop_assert_eq!(&one.cache, &two.cache);
            let restored = BindingCache::from_records(one.cache.records()).unwrap();
            one.cache.take_changes();
            two.cache.take_changes();
            prop_assert_eq!(&restored, &one.cache);
        }
    }
}

/// What the acknowledgement says is what the cache holds.
fn check_answer(
    lab: &Lab,
    r: &Registration,
    before: Option<&Home>,
    answer: &Answer,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(answer.bid_statuses.len(), r.bids.len());
    let home = lab.cache.home(r.home_address);
    if !answer.status.is_accepted() {
        prop_assert_eq!(answer.lifetime, Lifetime(0));
        prop_assert_eq!(home.map(|h| &h.flows), before.map(|h| &h.flows));
        prop_assert_eq!(
            home.map(|h| (&h.bindings, &h.mobile_networks, h.ipv4_home_address)),
            before.map(|h| (&h.bindings, &h.mobile_networks, h.ipv4_home_address))
        );
        prop_assert!(answer.flow_statuses.is_empty() && !answer.mobile_router);
        return Ok(());
    }
    prop_assert_eq!(answer.flow_statuses.len(), r.flows.len());
    prop_assert_eq!(answer.ipv4_address.is_some(), r.ipv4_home_address.is_some());
    if answer.lifetime == Lifetime(0) {
        return Ok(());
    }
    for (option, status) in r.bids.iter().zip(&answer.bid_statuses) {
        if status.is_accepted() {
            let stored = home.and_then(|home| home.bindings.get(&option.bid));
            let ends = stored.map(|binding| binding.ends);
            let granted = LogTime(lab.at).after(answer.lifetime.duration());
            prop_assert_eq!(ends, Some(granted));
        }
    }
    let home = home.unwrap();
    prop_assert!(!r.bids.is_empty() || home.has_regular_binding());
    prop_assert_eq!(home.mobile_router, answer.mobile_router);
    prop_assert_eq!(home.mobile_networks.is_empty(), !answer.mobile_router);
    let granted = answer.ipv4_address.filter(|a| a.status.0 == 0);
    let granted = granted.and_then(|a| Ipv4Prefix::new(a.address, a.prefix_len));
    prop_assert_eq!(home.ipv4_home_address, granted);
    for (option, status) in r.flows.iter().zip(&answer.flow_statuses) {
        let stored = home.flows.get(&option.fid);
        if status.0 == 0 {
            prop_assert_eq!(stored.map(|flow| flow.priority), Some(option.priority));
        } else if before.is_none_or(|home| !home.flows.contains_key(&option.fid)) {
            prop_assert_eq!(stored, None);
        }
    }
    Ok(())
}

/// Nothing belongs to two home addresses, and nobody carries what is not its own.
fn check_ownership(cache: &BindingCache) -> Result<(), TestCaseError> {
    let homes: Vec<_> = cache.homes_after(None).collect();
    for (at, (address, home)) in homes.iter().enumerate() {
        let subscriber = cache.subscriber(*address).map(|subscriber| &subscriber.record);
        let owned = subscriber.map_or(&[][..], |subscriber| &subscriber.mobile_networks);
        for prefix in &home.mobile_networks {
            prop_assert!(owned.iter().any(|own| own.covers(*prefix)), "{} {}", address, prefix);
        }
        for (_, other) in homes.iter().skip(at + 1) {
            let overlap = home.mobile_networks.intersection(&other.mobile_networks).next();
            prop_assert_eq!(overlap, None);
            let both = home.ipv4_home_address.zip(other.ipv4_home_address);
            prop_assert!(both.is_none_or(|(one, two)| !one.overlaps(two)));
        }
        let mut priorities: Vec<_> = home.flows.values().map(|flow| flow.priority).collect();
        priorities.sort_unstable();
        prop_assert!(priorities.is_sorted_by(|a, b| a < b));
        prop_assert!(home.flows.len() <= 3);
        if home.bindings.is_empty() {
            prop_assert!(home.flows.is_empty() && home.ipv4_home_address.is_none());
            prop_assert!(home.mobile_networks.is_empty() && !home.mobile_router);
        }
    }
    Ok(())
}

fn check_state(cache: &BindingCache) -> Result<(), TestCaseError> {
    let homes: Vec<_> = cache.homes_after(None).collect();
    let bindings: usize = homes.iter().map(|(_, home)| home.bindings.len()).sum();
    prop_assert_eq!(bindings, cache.binding_count());
    let earliest = homes.iter().filter_map(|(_, home)| home.deadline()).min();
    prop_assert_eq!(earliest, cache.next_deadline());
    for (_, home) in homes {
        prop_assert!(home.bindings.values().all(|binding| binding.ends > cache.now()));
        prop_assert!(!home.has_regular_binding() || home.bindings.len() == 1);
        prop_assert!(home.bindings.values().filter(|b| b.home.is_some()).count() <= 1);
        prop_assert!(home.bindings.is_empty() == home.forget.is_some());
        prop_assert!(home.bindings.is_empty() || home.probe.is_none());
        prop_assert!(!home.link_local || !home.bindings.is_empty());
        prop_assert!(home.remembered.len() <= limits::REMEMBERED_PER_HOME_ADDRESS);
    }
    Ok(())
}
