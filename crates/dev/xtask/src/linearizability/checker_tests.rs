//! Histories that are linearizable, and histories that are not, by hand and by the thousand.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::checker::{End, Operation, Verdict, check};
use super::register::{Bindings, Change, Home, Input, Output, REMEMBERED_NS, State, apply};

fn care_of(n: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, n)
}

fn plain(sequence: u16, n: u16) -> State {
    Some(Home { sequence, bindings: Bindings::from([(None, care_of(n))]) })
}

fn operation(begin_ns: u64, end_ns: u64, input: Input, output: Output) -> Operation {
    Operation { begin_ns, end: Some(End { ns: end_ns, output }), input }
}

/// A plain registration of care-of address `n`, accepted.
fn write(begin: u64, end: u64, sequence: u16, n: u16) -> Operation {
    answered(begin, end, sequence, n, Output::Accepted)
}

fn answered(begin: u64, end: u64, sequence: u16, n: u16, output: Output) -> Operation {
    let change = Change::Plain(care_of(n));
    operation(begin, end, Input::Write { sequence, change }, output)
}

/// The same with an outcome that nobody knows.
fn unknown(begin_ns: u64, sequence: u16, n: u16) -> Operation {
    let input = Input::Write { sequence, change: Change::Plain(care_of(n)) };
    Operation { begin_ns, end: None, input }
}

fn read(begin: u64, end: u64, state: State) -> Operation {
    operation(begin, end, Input::Read, Output::State(state))
}

fn change(begin: u64, end: u64, sequence: u16, change: Change, output: Output) -> Operation {
    operation(begin, end, Input::Write { sequence, change }, output)
}

fn bids(pairs: &[(u16, u16)]) -> BTreeMap<u16, Ipv6Addr> {
    pairs.iter().map(|(bid, n)| (*bid, care_of(*n))).collect()
}

fn with_bids(sequence: u16, pairs: &[(u16, u16)]) -> State {
    let bindings = bids(pairs).into_iter().map(|(bid, care_of)| (Some(bid), care_of)).collect();
    Some(Home { sequence, bindings })
}

#[test]
fn what_some_order_explains_is_linearizable() {
    let old = |last| Output::OutOfWindow { last };
    let good = vec![
        ("nothing at all", vec![]),
        ("a read before the first registration", vec![read(0, 1, None)]),
        ("one after the other", vec![write(0, 1, 1, 1), read(2, 3, plain(1, 1))]),
        ("a read beside a write sees the old state", vec![write(0, 9, 1, 1), read(2, 3, None)]),
        ("or the new one", vec![write(0, 9, 1, 1), read(2, 3, plain(1, 1))]),
        (
            "two writes side by side, the older number first",
            vec![write(0, 9, 1, 1), write(0, 9, 2, 2), read(10, 11, plain(2, 2))],
        ),
        (
            "of two with one number the second is refused",
            vec![write(0, 9, 5, 1), answered(0, 9, 5, 2, old(5)), read(10, 11, plain(5, 1))],
        ),
        ("the window's circle", vec![write(0, 1, 65_535, 1), write(2, 3, 0, 2)]),
        (
            "an unknown write that a later read sees",
            vec![write(0, 1, 1, 1), unknown(2, 2, 2), read(8, 9, plain(2, 2))],
        ),
        (
            "an unknown write that takes effect late",
            vec![
                write(0, 1, 1, 1),
                unknown(2, 2, 2),
                read(3, 4, plain(1, 1)),
                read(5, 6, plain(2, 2)),
            ],
        ),
        ("one that never does", vec![unknown(0, 1, 1), read(3, 4, None), write(5, 6, 1, 2)]),
    ];
    all_linearizable(good);
}

#[test]
fn what_some_order_of_bids_and_de_registrations_explains_is_linearizable() {
    let old = |last| Output::OutOfWindow { last };
    let good = vec![
        (
            "BIDs beside each other, and instead of each other",
            vec![
                change(0, 1, 1, Change::Bids(bids(&[(1, 1)])), Output::Accepted),
                change(2, 3, 2, Change::Bids(bids(&[(2, 2)])), Output::Accepted),
                read(4, 5, with_bids(2, &[(1, 1), (2, 2)])),
                change(6, 7, 3, Change::Overwrite(bids(&[(3, 3)])), Output::Accepted),
                read(8, 9, with_bids(3, &[(3, 3)])),
            ],
        ),
        (
            "a refusal uses its sequence number",
            vec![
                write(0, 1, 1, 1),
                change(2, 3, 2, Change::Bids(bids(&[(1, 1)])), Output::Refused),
                read(4, 5, plain(2, 1)),
            ],
        ),
        (
            "what was de-registered is remembered by its number",
            vec![
                write(0, 1, 1, 1),
                change(2, 3, 2, Change::Deregister, Output::Accepted),
                answered(4, 5, 2, 3, old(2)),
                change(6, 7, 3, Change::Deregister, Output::Refused),
                read(8, 9, Some(Home { sequence: 3, bindings: Bindings::new() })),
            ],
        ),
        (
            "and forgotten ten seconds later",
            vec![
                write(0, 1, 7, 1),
                change(2, 3, 8, Change::Deregister, Output::Accepted),
                read(REMEMBERED_NS + 4, REMEMBERED_NS + 5, None),
                write(REMEMBERED_NS + 6, REMEMBERED_NS + 7, 1, 1),
            ],
        ),
    ];
    all_linearizable(good);
}

type Named = (&'static str, Vec<Operation>);

fn all_linearizable(histories: Vec<Named>) {
    for (name, history) in histories {
        assert_eq!(check(&history), Verdict::Linearizable, "{name}");
    }
}

fn all_anomalies(histories: Vec<Named>) {
    for (name, history) in histories {
        assert!(matches!(check(&history), Verdict::Anomaly { .. }), "{name}");
    }
}

fn and(mut history: Vec<Operation>, more: Vec<Operation>) -> Vec<Operation> {
    history.extend(more);
    history
}

/// One registration, and the next.
fn two() -> Vec<Operation> {
    vec![write(0, 1, 1, 1), write(2, 3, 2, 2)]
}

#[test]
fn each_planted_anomaly_is_found() {
    let bad = vec![
        ("stale read", and(two(), vec![read(4, 5, plain(1, 1))])),
        ("lost first write", vec![write(0, 1, 1, 1), read(2, 3, None)]),
        ("lost write, and the next one", and(two(), vec![write(4, 5, 2, 3)])),
        ("reads that go back", {
            let reads = vec![read(3, 4, plain(2, 2)), read(5, 6, plain(1, 1))];
            and(vec![write(0, 1, 1, 1), write(2, 9, 2, 2)], reads)
        }),
        ("double apply: the older one again after the newer", {
            and(two(), vec![read(4, 5, plain(2, 2)), read(6, 7, plain(2, 1))])
        }),
        ("an unknown write applied twice", {
            let reads = vec![read(3, 4, plain(2, 2)), write(5, 6, 3, 3), read(7, 8, plain(2, 2))];
            and(vec![write(0, 1, 1, 1), unknown(2, 2, 2)], reads)
        }),
        ("phantom: what nobody wrote", and(two(), vec![read(4, 5, plain(2, 7))])),
        ("phantom number", and(two(), vec![read(4, 5, plain(3, 2))])),
        ("seen before it began", vec![read(0, 1, plain(1, 1)), write(2, 3, 1, 1)]),
        ("unknown, seen before it began", vec![read(0, 1, plain(1, 1)), unknown(2, 1, 1)]),
        ("de-registration undone", {
            let end = change(4, 5, 3, Change::Deregister, Output::Accepted);
            and(two(), vec![end, read(6, 7, plain(2, 2))])
        }),
        ("tombstone lost: the number begins anew", {
            let end = change(4, 5, 3, Change::Deregister, Output::Accepted);
            and(two(), vec![end, write(6, 7, 1, 3)])
        }),
        ("forgotten too soon", {
            let end = change(4, 5, 3, Change::Deregister, Output::Accepted);
            and(two(), vec![end, read(6, REMEMBERED_NS, None)])
        }),
        ("forgotten with its bindings", {
            let end = change(4, 5, 3, Change::Deregister, Output::Accepted);
            let late = REMEMBERED_NS + 10;
            and(two(), vec![end, write(6, 7, 4, 4), read(late, late + 1, None)])
        }),
        ("half of two BIDs", {
            let both = Change::Bids(bids(&[(1, 1), (2, 2)]));
            vec![change(0, 1, 1, both, Output::Accepted), read(2, 3, with_bids(1, &[(1, 1)]))]
        }),
        ("overwritten BID is back", {
            let first = Change::Bids(bids(&[(1, 1)]));
            let second = Change::Overwrite(bids(&[(2, 2)]));
            vec![
                change(0, 1, 1, first, Output::Accepted),
                change(2, 3, 2, second, Output::Accepted),
                read(4, 5, with_bids(2, &[(1, 1), (2, 2)])),
            ]
        }),
        ("refused, and stored", {
            let refused = Change::Bids(bids(&[(1, 9)]));
            vec![
                write(0, 1, 1, 1),
                change(2, 3, 2, refused, Output::Refused),
                read(4, 5, with_bids(2, &[(1, 9)])),
            ]
        }),
        ("two readers side by side disagree for ever", {
            let reads = vec![
                read(20, 21, plain(2, 2)),
                read(22, 23, plain(1, 1)),
                read(24, 25, plain(2, 2)),
            ];
            and(vec![write(0, 9, 1, 1), write(0, 30, 2, 2)], reads)
        }),
    ];
    all_anomalies(bad);
}

#[test]
fn each_planted_anomaly_of_sequence_numbers_is_found() {
    let old = |last| Output::OutOfWindow { last };
    all_anomalies(vec![
        ("two with one number, both accepted", vec![write(0, 9, 5, 1), write(0, 9, 5, 2)]),
        ("replay accepted", and(two(), vec![write(4, 5, 1, 1)])),
        ("newer refused", and(two(), vec![answered(4, 5, 3, 3, old(2))])),
        ("refused by a number that nobody wrote", and(two(), vec![answered(4, 5, 1, 3, old(4))])),
        ("refused by a number that is past", {
            and(two(), vec![write(4, 5, 3, 3), answered(6, 7, 2, 4, old(2))])
        }),
    ]);
}

/// A history of many clients over a register that does as it must: each operation has its effect at one
/// moment of its time. Some outcomes are then forgotten.
fn history(seed: u64, len: u64) -> Vec<Operation> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut state = None;
    let mut sequence = rng.random::<u16>();
    let mut history = Vec::new();
    for moment in (1..=len).map(|n| n * 100) {
        let input = if rng.random_ratio(1, 3) {
            Input::Read
        } else {
            sequence = sequence.wrapping_add(rng.random_range(0..3));
            let care_of = care_of(u16::try_from(moment / 100).expect("short"));
            let bid = rng.random_range(1..4);
            let change = match rng.random_range(0..8) {
                0..4 => Change::Bids(BTreeMap::from([(bid, care_of)])),
                4..6 => Change::Overwrite(BTreeMap::from([(bid, care_of)])),
                6 => Change::Plain(care_of),
                _ => Change::Deregister,
            };
            Input::Write { sequence, change }
        };
        let (output, after) = apply(&state, &input);
        state = after;
        let begin_ns = moment.saturating_sub(rng.random_range(1..600));
        let end = End { ns: moment + rng.random_range(1..600), output };
        let end = Some(end).filter(|_| input == Input::Read || !rng.random_ratio(1, 12));
        history.push(Operation { begin_ns, end, input });
    }
    history
}

#[test]
fn what_a_register_did_is_always_linearizable() {
    for seed in 0..100 {
        assert_eq!(check(&history(seed, 200)), Verdict::Linearizable, "seed {seed}");
    }
}

/// Three faults, each planted where it shows: after everything that came before has ended.
#[test]
fn a_fault_anywhere_in_a_long_history_is_found() {
    let mut planted = 0;
    for seed in 0..90 {
        let mut history = history(seed, 60);
        let at = u64::try_from(history.len()).expect("short") * 100 + 2000;
        let known = |it: &&Operation| it.end.as_ref().is_some_and(|e| e.output == Output::Accepted);
        let accepted: Vec<Operation> = history.iter().filter(known).cloned().collect();
        let [.., older, newest] = accepted.as_slice() else { continue };
        let Input::Write { sequence, .. } = &newest.input else { continue };
        let fault = match seed % 3 {
            // A read that goes back to before all of it.
            0 => read(at, at + 1, None),
            // The last accepted write is lost: its number is free again.
            1 => write(at, at + 1, *sequence, 9999),
            // An older one is accepted a second time.
            _ => operation(at, at + 1, older.input.clone(), Output::Accepted),
        };
        history.push(fault);
        assert!(matches!(check(&history), Verdict::Anomaly { .. }), "seed {seed}");
        planted += 1;
    }
    assert!(planted > 80, "{planted}");
}
