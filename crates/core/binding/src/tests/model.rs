//! Random histories: two replicas agree, counts and deadlines hold, and nothing acknowledged is
//! missing.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Update { home: u8, ahead: u16, lifetime: u16, overwrite: bool, bids: Vec<(u16, u8)> },
}

fn step() -> impl Strategy<Value = Step> {
    let bids = prop::collection::vec((0_u16..5, 0_u8..7), 0..5);
    let update = (0_u8..4, 0_u16..4, 0_u16..40, any::<bool>(), bids).prop_map(
        |(home, ahead, lifetime, overwrite, bids)| Step::Update {
            home,
            ahead,
            lifetime,
            overwrite,
            bids,
        },
    );
    prop_oneof![1 => (0_u64..30).prop_map(Step::Pass), 4 => update]
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
    fn histories(steps in prop::collection::vec(step(), 1..60)) {
        let (mut one, mut two) = (Lab::new(), Lab::new());
        let mut sequences = [0_u16; 4];
        for step in steps {
            match step {
                Step::Pass(secs) => {
                    one.pass(secs);
                    two.pass(secs);
                }
                Step::Update { home, ahead, lifetime, overwrite: o, bids } => {
                    let slot = &mut sequences[usize::from(home)];
                    *slot = slot.wrapping_add(ahead);
                    let bids: Vec<_> = bids.into_iter().map(bid_request).collect();
                    let mut r = bu(*slot, lifetime, bids.clone());
                    r.home_address = Ipv6Addr::from_bits(HOME.to_bits() + u128::from(home));
                    let r = if o { overwrite(r) } else { r };
                    let home_address = r.home_address;
                    let answer = one.register(r.clone());
                    prop_assert_eq!(&answer, &two.register(r));
                    check_answer(&one, home_address, lifetime, &bids, &answer)?;
                }
            }
            check_state(&one.cache)?;
            prop_assert_eq!(&one.cache, &two.cache);
        }
        let restored = BindingCache::from_records(one.cache.records()).unwrap();
        one.cache.take_changes();
        prop_assert_eq!(restored, one.cache);
    }
}

/// What the acknowledgement says of each BID is what the cache holds.
fn check_answer(
    lab: &Lab,
    home_address: Ipv6Addr,
    lifetime: u16,
    bids: &[BidRequest],
    answer: &Answer,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(answer.bid_statuses.len(), bids.len());
    if !answer.status.is_accepted() || lifetime == 0 {
        prop_assert_eq!(answer.lifetime, Lifetime(0));
        return Ok(());
    }
    let home = lab.cache.home(home_address);
    for (option, status) in bids.iter().zip(&answer.bid_statuses) {
        if status.is_accepted() {
            let stored = home.and_then(|home| home.bindings.get(&option.bid));
            let ends = stored.map(|binding| binding.ends);
            let granted = LogTime(lab.at).after(answer.lifetime.duration());
            prop_assert_eq!(ends, Some(granted));
        }
    }
    if bids.is_empty() {
        prop_assert!(home.is_some_and(Home::has_regular_binding));
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
        prop_assert!(home.remembered.len() <= limits::REMEMBERED_PER_HOME_ADDRESS);
    }
    Ok(())
}
