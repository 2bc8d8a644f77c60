//! Flow bindings: RFC 6089 §5.3.

use homeport_wire::{BinarySelector, Selector};

use super::*;

fn lab() -> Lab {
    let mut lab = Lab::with(HomePrefix { flow_bindings_per_home_address_max: 4, ..home_prefix() });
    let bids = vec![v6(1, COA1), v6(2, COA2)];
    assert_eq!(lab.register(bu(1, 100, bids)).status.0, 0);
    lab
}

fn port(port: u16) -> BinarySelector {
    BinarySelector::Ipv6(Selector { destination_port: Some(port..=port), ..Selector::ANY })
}

/// A flow to a port.
fn flow(fid: u16, priority: u16, bids: &[u16], to: Option<u16>) -> FlowRequest {
    let selector = to.map(|to| {
        let selector = port(to);
        SelectorRequest { format: selector.format(), octets: selector.octets() }
    });
    let bids = bids.iter().copied().map(Bid).collect();
    FlowRequest { fid, priority, malformed: false, bids, selector }
}

fn asks(mut r: Registration, flows: Vec<FlowRequest>, summary: &[u16]) -> Registration {
    r.flows = flows;
    r.flow_summary = summary.to_vec();
    r
}

/// FID, FID-PRI, BIDs and port of each flow.
type Kept = Vec<(u16, u16, Vec<u16>, u16)>;

impl Lab {
    fn flows(&self) -> Kept {
        let flows = self.cache.home(HOME).map(|home| home.flows.clone()).unwrap_or_default();
        let row = |(fid, flow): (u16, FlowBinding)| {
            let BinarySelector::Ipv6(selector) = flow.selector else { panic!("IPv4") };
            let to = *selector.destination_port.unwrap().start();
            (fid, flow.priority, flow.bids.iter().map(|bid| bid.0).collect(), to)
        };
        flows.into_iter().map(row).collect()
    }

    /// Statuses of the options, FIDs that are not known.
    fn bind(&mut self, r: Registration) -> (Vec<u8>, Vec<u16>) {
        let answer = self.register(r);
        assert!(answer.status.is_accepted());
        (answer.flow_statuses.iter().map(|status| status.0).collect(), answer.flows_not_found)
    }
}

fn refresh(sequence: u16) -> Registration {
    bu(sequence, 100, vec![short(1), short(2)])
}

#[test]
fn flows_come_change_and_go() {
    let mut lab = lab();
    let new = vec![flow(4, 10, &[2], Some(5060)), flow(7, 5, &[1, 2, 1], Some(80))];
    assert_eq!(lab.bind(asks(refresh(2), new, &[])), (vec![0, 0], vec![]));
    assert_eq!(lab.flows(), [(4, 10, vec![2], 5060), (7, 5, vec![1, 2], 80)]);
    // Known: FID-PRI always, the rest only when it is there.
    let changed = vec![flow(4, 11, &[], None)];
    assert_eq!(lab.bind(asks(refresh(3), changed, &[7])), (vec![0], vec![]));
    assert_eq!(lab.flows(), [(4, 11, vec![2], 5060), (7, 5, vec![1, 2], 80)]);
    let changed = vec![flow(4, 11, &[1], None), flow(7, 5, &[], Some(443))];
    assert_eq!(lab.bind(asks(refresh(4), changed, &[])), (vec![0, 0], vec![]));
    assert_eq!(lab.flows(), [(4, 11, vec![1], 5060), (7, 5, vec![1, 2], 443)]);
    // Summary: known ones stay, unknown ones are told once, the rest goes.
    assert_eq!(lab.bind(asks(refresh(5), vec![], &[7, 5, 6, 7, 5])), (vec![], vec![5, 6]));
    assert_eq!(lab.flows(), [(7, 5, vec![1, 2], 443)]);
    assert_eq!(lab.bind(refresh(6)), (vec![], vec![]));
    assert_eq!(lab.flows(), [], "nothing named, nothing kept");
}

#[test]
fn flows_that_are_refused() {
    let unknown_format = Some(SelectorRequest { format: 3, octets: vec![0; 4] });
    let broken = Some(SelectorRequest { format: 2, octets: vec![0x40, 0, 0, 0] });
    let good = flow(8, 20, &[1], Some(80));
    let rows = [
        (FlowRequest { fid: 0, ..good.clone() }, 130),
        (FlowRequest { priority: 0, ..good.clone() }, 130),
        (FlowRequest { malformed: true, ..good.clone() }, 130),
        (FlowRequest { bids: vec![], ..good.clone() }, 130),
        (FlowRequest { selector: None, ..good.clone() }, 130),
        (FlowRequest { selector: broken, ..good.clone() }, 130),
        (FlowRequest { selector: unknown_format, ..good.clone() }, 133),
        (FlowRequest { bids: vec![Bid(1), Bid(9)], ..good.clone() }, 131),
        (FlowRequest { priority: 10, ..good.clone() }, 130),
    ];
    for (refused, status) in rows {
        let mut lab = lab();
        let kept = flow(4, 10, &[2], Some(5060));
        assert_eq!(lab.bind(asks(refresh(2), vec![kept], &[])), (vec![0], vec![]));
        let answer = lab.bind(asks(refresh(3), vec![refused.clone()], &[4]));
        assert_eq!(answer, (vec![status], vec![]), "{refused:?}");
        assert_eq!(lab.flows(), [(4, 10, vec![2], 5060)], "{refused:?}");
        // Named though refused: what was known of it stays.
        let known = FlowRequest { fid: if refused.fid == 8 { 4 } else { 0 }, ..refused };
        let answer = lab.bind(asks(refresh(4), vec![known.clone()], &[]));
        if answer.0 != [0] && known.fid == 4 {
            assert_eq!(lab.flows(), [(4, 10, vec![2], 5060)], "{known:?}");
        }
    }
}

#[test]
fn one_fid_twice_spoils_all_options() {
    let mut lab = lab();
    let first = vec![flow(4, 10, &[2], Some(5060))];
    assert_eq!(lab.bind(asks(refresh(2), first, &[])).0, [0]);
    let twice =
        vec![flow(4, 11, &[2], Some(1)), flow(5, 12, &[2], Some(2)), flow(4, 13, &[2], Some(3))];
    assert_eq!(lab.bind(asks(refresh(3), twice, &[])).0, [130, 130, 130]);
    assert_eq!(lab.flows(), [(4, 10, vec![2], 5060)]);
}

/// One FID-PRI belongs to one flow, judged by what the Binding Update leaves.
#[test]
fn priorities_are_unique() {
    let mut lab = lab();
    let first = vec![flow(1, 10, &[1], Some(1)), flow(2, 20, &[1], Some(2))];
    assert_eq!(lab.bind(asks(refresh(2), first, &[])).0, [0, 0]);
    let swapped = vec![flow(1, 20, &[], None), flow(2, 10, &[], None)];
    assert_eq!(lab.bind(asks(refresh(3), swapped, &[])).0, [0, 0]);
    assert_eq!(lab.flows(), [(1, 20, vec![1], 1), (2, 10, vec![1], 2)]);
    // The FID-PRI of a flow that goes is free.
    let heir = vec![flow(3, 20, &[1], Some(3))];
    assert_eq!(lab.bind(asks(refresh(4), heir, &[2])).0, [0]);
    assert_eq!(lab.flows(), [(2, 10, vec![1], 2), (3, 20, vec![1], 3)]);
    // 3 wants the place of 2, which stays since it is refused itself.
    let blocked = vec![flow(3, 10, &[], None), flow(2, 20, &[9], None)];
    assert_eq!(lab.bind(asks(refresh(5), blocked, &[])).0, [130, 131]);
    assert_eq!(lab.flows(), [(2, 10, vec![1], 2), (3, 20, vec![1], 3)]);
    let both = vec![flow(5, 30, &[1], Some(5)), flow(6, 30, &[1], Some(6))];
    assert_eq!(lab.bind(asks(refresh(6), both, &[])).0, [0, 130]);
    assert_eq!(lab.flows(), [(5, 30, vec![1], 5)]);
}

#[test]
fn flows_are_limited() {
    let mut lab = lab();
    let five: Vec<_> = (1..=5).map(|n| flow(n, n, &[1], Some(n))).collect();
    assert_eq!(lab.bind(asks(refresh(2), five, &[])).0, [0, 0, 0, 0, 129]);
    let again: Vec<_> = [9, 1, 2, 3, 4].map(|n| flow(n, n, &[1], Some(n))).into();
    assert_eq!(lab.bind(asks(refresh(3), again, &[])).0, [129, 0, 0, 0, 0]);
    assert_eq!(lab.flows().len(), 4);
    lab.put(Subscriber { flow_bindings_per_home_address_max: Some(0), ..Subscriber::new(HOME) });
    let none = vec![flow(1, 1, &[1], Some(1)), flow(6, 6, &[1], Some(6))];
    assert_eq!(lab.bind(asks(refresh(4), none, &[])).0, [128, 128]);
    let mut many: Vec<_> =
        (10..18).map(|n| v6(n, Ipv6Addr::from_bits(COA3.to_bits() + u128::from(n)))).collect();
    lab.put(Subscriber {
        flow_bindings_per_home_address_max: Some(1),
        bindings_per_home_address_max: Some(64),
        ..Subscriber::new(HOME)
    });
    many.push(v6(18, COA3));
    let wide = vec![flow(1, 1, &[10, 11, 12, 13, 14, 15, 16, 17, 18], Some(1))];
    assert_eq!(lab.bind(asks(bu(5, 100, many), wide, &[])).0, [129]);
}

/// The BID options come first: a flow may name what the same Binding Update registers, and not what
/// it takes away.
#[test]
fn flows_follow_the_bindings() {
    let mut lab = lab();
    let third = asks(bu(2, 100, vec![v6(3, COA3)]), vec![flow(4, 10, &[3], Some(5060))], &[]);
    assert_eq!(lab.bind(third).0, [0]);
    let gone = asks(bu(3, 0, vec![short(3)]), vec![flow(5, 11, &[3], Some(80))], &[4]);
    assert_eq!(lab.bind(gone), (vec![131], vec![]));
    assert_eq!(lab.flows(), [(4, 10, vec![3], 5060)], "inactive, and kept");
    assert_eq!(lab.bind(bu(4, 0, vec![short(2)])), (vec![], vec![]));
    assert_eq!(lab.flows(), [], "a de-registration of one BID names none");
    // A Binding Update that is refused leaves them alone, and says nothing of them.
    assert_eq!(
        lab.bind(asks(bu(5, 100, vec![short(1)]), vec![flow(6, 1, &[1], Some(1))], &[])).0,
        [0]
    );
    let refused =
        lab.register(asks(bu(6, 100, vec![short(9)]), vec![flow(6, 2, &[1], Some(2))], &[8]));
    assert_eq!(
        (refused.status.0, refused.flow_statuses, refused.flows_not_found),
        (167, vec![], vec![])
    );
    assert_eq!(lab.flows(), [(6, 1, vec![1], 1)]);
    // The last binding takes them along.
    let all = lab.register(asks(bu(7, 0, vec![]), vec![flow(6, 2, &[1], Some(2))], &[]));
    assert_eq!((all.status.0, all.flow_statuses), (0, vec![FlowStatus::BID_NOT_FOUND]));
    assert_eq!(lab.flows(), []);
}

#[test]
fn priorities_of_bids_are_kept_and_changed() {
    let mut lab = lab();
    let prioritised =
        |bid, priority| BidRequest { priority: BidPriority::new(priority), ..short(bid) };
    assert_eq!(lab.register(bu(2, 100, vec![prioritised(1, 20), prioritised(2, 10)])).status.0, 0);
    let priorities = |lab: &Lab| {
        let home = lab.cache.home(HOME).unwrap();
        home.bindings.values().map(|binding| binding.priority.value()).collect::<Vec<_>>()
    };
    assert_eq!(priorities(&lab), [20, 10]);
    assert_eq!(lab.register(bu(3, 100, vec![short(1)])).status.0, 0);
    assert_eq!(priorities(&lab), [0, 10], "each update says it anew");
}
