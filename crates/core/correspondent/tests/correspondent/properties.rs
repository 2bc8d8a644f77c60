//! Random histories against a simple model, and random octets.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use homeport_correspondent::{Arrival, Input, Output, Settings};
use homeport_wire::{Bid, BidOption, BuFlags, PseudoHeader, Sequence, checksum, mobility_packet};
use proptest::prelude::*;

use crate::support::*;

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Update { home: u16, sequence: u16, care_of: u16, bid: Option<u16>, flags: u16, lifetime: u16 },
    Replay(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    let update = (
        0_u16..3,
        0_u16..30,
        0_u16..4,
        prop::option::of(0_u16..4),
        prop_oneof![Just(0x8000_u16), Just(0x8040), Just(0)],
        0_u16..40,
    )
        .prop_map(|(home, sequence, care_of, bid, flags, lifetime)| Step::Update {
            home,
            sequence,
            care_of,
            bid,
            flags,
            lifetime,
        });
    prop_oneof![
        2 => (0_u64..80).prop_map(Step::Pass),
        6 => update,
        2 => any::<prop::sample::Index>().prop_map(Step::Replay),
    ]
}

/// What must be there: bindings with the time they end, and the last sequence number. Fresh tokens
/// are fetched for every update, so the model has no nonces; it has no limits either.
#[derive(Default)]
struct Model {
    homes: BTreeMap<Ipv6Addr, (Sequence, Bindings)>,
}

type Bindings = BTreeMap<Option<Bid>, (Ipv6Addr, u64)>;

impl Model {
    fn update(&mut self, now: u64, draft: &Draft) {
        self.bindings(now, draft.home);
        let bid = draft.bids.first().map(|option| option.bid);
        let new = Sequence(draft.sequence);
        let known = self.homes.get_mut(&draft.home);
        if known.as_ref().is_some_and(|(last, _)| !new.is_newer_than(*last)) {
            return;
        }
        let mut empty = (new, Bindings::new());
        let is_known = known.is_some();
        let (last, bindings) = known.unwrap_or(&mut empty);
        *last = new;
        let overwrite = draft.flags.contains(BuFlags::OVERWRITE);
        if bid == Some(Bid(0)) {
            return;
        }
        if draft.lifetime == 0 {
            match bid {
                Some(_) => drop(bindings.remove(&bid)),
                None => bindings.clear(),
            }
            return;
        }
        if bid.is_some() && !overwrite && bindings.contains_key(&None) {
            return;
        }
        if bid.is_none() || overwrite {
            bindings.clear();
        }
        bindings.insert(bid, (draft.covered, now + u64::from(draft.lifetime) * 4000));
        if !is_known {
            self.homes.insert(draft.home, empty);
        }
    }

    fn bindings(&mut self, now: u64, home: Ipv6Addr) -> Vec<(Option<Bid>, Ipv6Addr)> {
        let Some((_, bindings)) = self.homes.get_mut(&home) else {
            return Vec::new();
        };
        bindings.retain(|_, (_, ends)| *ends > now);
        bindings.iter().map(|(bid, (care_of, _))| (*bid, *care_of)).collect()
    }
}

fn home(number: u16) -> Ipv6Addr {
    Ipv6Addr::from_bits(HOME.to_bits() + u128::from(number))
}

fn draft(lab: &mut Lab, step: &Step) -> Option<Draft> {
    let Step::Update { home: number, sequence, care_of, bid, flags, lifetime } = *step else {
        return None;
    };
    let care_of = Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, care_of + 1);
    let draft = Draft {
        home: home(number),
        flags: BuFlags(flags),
        covered: care_of,
        bids: bid.map(|bid| BidOption::v6(Bid(bid), care_of)).into_iter().collect(),
        ..Draft::new(sequence, care_of)
    };
    // New nonces for every update: none is used up by a deletion.
    lab.pass(30);
    let tokens = lab.tokens(draft.home, care_of);
    Some(draft.tokens(tokens).lifetime(lifetime))
}

proptest! {
    #[test]
    fn histories_are_those_of_the_model(steps in prop::collection::vec(step(), 1..40)) {
        let mut lab = Lab::with(Settings { bindings_per_home_address_max: 32, ..Settings::new(OWN) });
        let mut model = Model::default();
        let mut packets: Vec<Vec<u8>> = Vec::new();
        for step in steps {
            match &step {
                Step::Pass(secs) => drop(lab.pass(*secs)),
                Step::Replay(index) if !packets.is_empty() => {
                    let before: Vec<_> = (0..3).map(|n| lab.care_ofs(home(n))).collect();
                    lab.arrive(&packets[index.index(packets.len())]);
                    let after: Vec<_> = (0..3).map(|n| lab.care_ofs(home(n))).collect();
                    prop_assert_eq!(before, after);
                }
                Step::Replay(_) => {}
                Step::Update { .. } => {
                    let draft = draft(&mut lab, &step).unwrap();
                    // When the node has forgotten, it accepts any number, and so does the model.
                    model.homes.retain(|home, _| lab.node.home(*home).is_some());
                    lab.arrive(&draft.packet());
                    model.update(lab.now.0, &draft);
                    // One that was refused without a record may be accepted later: no replay then.
                    if lab.node.home(draft.home).is_some() {
                        packets.push(draft.packet());
                    }
                }
            }
            lab.handle(Input::Timeout);
            for number in 0..3 {
                let expected = model.bindings(lab.now.0, home(number));
                prop_assert_eq!(lab.care_ofs(home(number)), expected);
            }
            let deadlines = lab.node.next_deadline();
            prop_assert_eq!(deadlines.is_none(), lab.node.homes().count() == 0);
            prop_assert!(deadlines.is_none_or(|at| at > lab.now));
        }
        lab.pass(2000);
        prop_assert_eq!(lab.node.homes().count(), 0);
    }

    #[test]
    fn octets_of_strangers_change_nothing(
        mut octets in prop::collection::vec(any::<u8>(), 8..160),
        mh_type in 0_u8..20,
        option in any::<bool>(),
        fix in any::<bool>(),
    ) {
        let mut lab = Lab::new();
        lab.bind(Draft::new(1, COA1), COA1);
        let before = lab.node.home(HOME).cloned();
        octets.truncate(octets.len() & !7);
        if fix {
            octets[0] = 59;
            octets[1] = u8::try_from(octets.len() / 8 - 1).unwrap();
            octets[2] = mh_type;
            octets[4..6].fill(0);
            let source = if option { HOME } else { COA1 };
            let sum = checksum(PseudoHeader::mobility(source, OWN), &octets);
            octets[4..6].copy_from_slice(&sum.to_be_bytes());
        }
        let packet = mobility_packet(COA1, OWN, option.then_some(HOME), None, &octets);
        let outputs = lab.node.handle(lab.now, Input::Packet(Arrival::new(&packet)));
        let sent = outputs.iter().filter(|output| matches!(output, Output::Send(_))).count();
        prop_assert!(sent <= 1);
        prop_assert_eq!(lab.node.home(HOME).cloned(), before);
        prop_assert_eq!(lab.node.homes().count(), 1);
    }

    #[test]
    fn any_octets_are_survived(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut lab = Lab::new();
        lab.node.handle(lab.now, Input::Packet(Arrival::new(&octets)));
        lab.node.route(lab.now, &octets);
        prop_assert_eq!(lab.node.homes().count(), 0);
    }
}
