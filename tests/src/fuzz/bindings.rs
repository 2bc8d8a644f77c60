//! Sequences of Binding Updates and pauses to the binding cache, against a model that is written
//! from the tables of RFC 5648 §6.2 and knows nothing of records, revisions and replicas.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use homeport_binding::{
    Authentication, Batch, BidRequest, BindingCache, CareOf, Command, HomePrefix, Ipv6Prefix,
    LogTime, Outcome, Registration, WireSource,
};
use homeport_wire::{Bid, BidCareOf, BidPriority, BuFlags, Lifetime, Sequence};

use super::input::Input;

const AGENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1);
/// Granted at most, in units of four seconds.
const LIFETIME_MAX: u16 = 900;
const BINDINGS_MAX: usize = 8;

/// What an acknowledgement says: status, status of each option, lifetime, sequence number.
type Answer = (u8, Vec<u8>, u16, u16);

/// Bindings by BID, 0 for the one without: care-of address and end.
type Bindings = BTreeMap<u16, (Ipv6Addr, u64)>;

#[derive(Default)]
struct Home {
    last: u16,
    bindings: Bindings,
    /// End of the tombstone, when there are no bindings.
    forget: u64,
}

#[derive(Default)]
struct Model {
    homes: BTreeMap<Ipv6Addr, Home>,
}

impl Model {
    fn pass(&mut self, now: u64) {
        for home in self.homes.values_mut() {
            let before = home.bindings.len();
            home.bindings.retain(|_, (_, ends)| *ends > now);
            if home.bindings.is_empty() && before > 0 {
                home.forget = now + 10_000;
            }
        }
        self.homes.retain(|_, home| !home.bindings.is_empty() || home.forget > now);
    }

    fn register(&mut self, now: u64, r: &Registration) -> Answer {
        self.pass(now);
        let readable = r.bids.iter().filter(|option| option.bid.is_some()).count();
        let whole = |status, sequence| (status, vec![0; readable], 0, sequence);
        let known = self.homes.get_mut(&r.home_address);
        // No mobile network is served here, so nobody is bound as a mobile router.
        let as_router = r.flags.contains(BuFlags::MOBILE_ROUTER) && r.lifetime.0 != 0;
        if let Some(home) = &known {
            if as_router && !home.bindings.is_empty() {
                return whole(139, r.sequence.0);
            }
            let ahead = (65536 + u32::from(r.sequence.0) - u32::from(home.last)) % 65536;
            if ahead == 0 || ahead > 32767 {
                return whole(135, home.last);
            }
        }
        let mut fresh = Home::default();
        let existed = known.is_some();
        let home = known.unwrap_or(&mut fresh);
        home.last = r.sequence.0;
        let before = home.bindings.clone();
        let (status, statuses, lifetime) = match refused(r, &before) {
            Some(status) => (status, vec![0; readable], 0),
            None if r.lifetime.0 == 0 => deregister(r, &mut home.bindings),
            None => match register(now, r, &mut home.bindings) {
                (_, _, granted) if as_router && granted != 0 => (140, vec![0; readable], 0),
                answer => answer,
            },
        };
        if status == 140 {
            home.bindings.clone_from(&before);
        }
        let changed = home.bindings != before;
        if home.bindings.is_empty() && changed {
            home.forget = now + 10_000;
        }
        if !existed && changed {
            self.homes.insert(r.home_address, fresh);
        }
        (status, statuses, lifetime, r.sequence.0)
    }
}

/// What refuses an update as a whole.
fn refused(r: &Registration, before: &Bindings) -> Option<u8> {
    if r.bids.is_empty() {
        let nothing_to_delete = r.lifetime.0 == 0 && before.is_empty();
        let loops = r.lifetime.0 != 0 && is_ours(plain_care_of(r));
        return if nothing_to_delete { Some(133) } else { loops.then_some(174) };
    }
    if r.bids.iter().any(|option| option.malformed || option.bid.is_none()) {
        return Some(164);
    }
    let overwrites = r.flags.contains(BuFlags::OVERWRITE);
    (r.lifetime.0 != 0 && !overwrites && before.contains_key(&0)).then_some(165)
}

fn plain_care_of(r: &Registration) -> Ipv6Addr {
    match r.source {
        WireSource::Ipv6(source) => r.alternate_care_of.unwrap_or(source),
        WireSource::Udp(..) => unreachable!("only IPv6 here"),
    }
}

fn is_ours(address: Ipv6Addr) -> bool {
    address.segments()[..4] == AGENT.segments()[..4]
}

fn deregister(r: &Registration, bindings: &mut Bindings) -> (u8, Vec<u8>, u16) {
    if r.bids.is_empty() {
        bindings.clear();
        return (0, Vec::new(), 0);
    }
    let mut named = Vec::new();
    let statuses = r.bids.iter().map(|option| {
        let bid = option.bid.expect("readable").0;
        let is_again = named.contains(&bid);
        named.push(bid);
        match bid {
            0 => 164,
            _ if is_again => 164,
            _ if bindings.remove(&bid).is_some() => 0,
            _ => 133,
        }
    });
    let (status, statuses) = composed(statuses.collect());
    (status, statuses, 0)
}

fn register(now: u64, r: &Registration, bindings: &mut Bindings) -> (u8, Vec<u8>, u16) {
    let lifetime = r.lifetime.0.min(LIFETIME_MAX);
    let ends = now + u64::from(lifetime) * 4000;
    if r.bids.is_empty() {
        *bindings = Bindings::from([(0, (plain_care_of(r), ends))]);
        return (0, Vec::new(), lifetime);
    }
    // The addresses as they were before anything is overwritten.
    let stored = bindings.clone();
    let base = if r.flags.contains(BuFlags::OVERWRITE) { Bindings::new() } else { stored.clone() };
    let mut result = base;
    let mut named = Vec::new();
    let statuses = r.bids.iter().map(|option| {
        let bid = option.bid.expect("readable").0;
        let is_again = named.contains(&bid);
        named.push(bid);
        if bid == 0 || is_again {
            return 164;
        }
        let care_of = match option.care_of {
            BidCareOf::V6(address) if address.segments()[0] == 0xfe80 => return 164,
            BidCareOf::V6(address) if is_ours(address) => return 174,
            BidCareOf::V6(address) => address,
            // RFC 5648 §8.1: not known, and not from there.
            BidCareOf::V4(_) => return 174,
            BidCareOf::Absent => match stored.get(&bid) {
                Some((address, _)) => *address,
                None => return 167,
            },
        };
        if !result.contains_key(&bid) && result.len() >= BINDINGS_MAX {
            return 130;
        }
        result.insert(bid, (care_of, ends));
        0
    });
    let statuses: Vec<u8> = statuses.collect();
    let accepted = statuses.contains(&0);
    if accepted {
        *bindings = result;
    }
    let (status, statuses) = composed(statuses);
    (status, statuses, if accepted { lifetime } else { 0 })
}

/// Which status stands in the acknowledgement and which in the options.
fn composed(statuses: Vec<u8>) -> (u8, Vec<u8>) {
    let first = statuses[0];
    if statuses.iter().all(|status| *status == first) {
        return (first, vec![0; statuses.len()]);
    }
    (if statuses.contains(&0) { 4 } else { 128 }, statuses)
}

fn home(number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x100 + u16::from(number % 3))
}

fn care_of(number: u8) -> Ipv6Addr {
    match number % 8 {
        0 => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1),
        1 => Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x777),
        n => Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, u16::from(n)),
    }
}

fn option(input: &mut Input<'_>) -> BidRequest {
    let (kind, bid, address) = (input.u8(), input.u8(), input.u8());
    let malformed = kind & 0x1f == 0x1f;
    BidRequest {
        bid: (kind & 0x3f != 0x3f).then_some(Bid(u16::from(bid % 12))),
        home: false,
        priority: BidPriority::new(address),
        care_of: match kind & 7 {
            0 => BidCareOf::Absent,
            1 => BidCareOf::V4(Ipv4Addr::new(192, 0, 2, bid)),
            _ => BidCareOf::V6(care_of(address)),
        },
        malformed,
    }
}

fn registration(input: &mut Input<'_>, request: u8) -> Registration {
    let (shape, flags) = (input.u8(), input.u8());
    let mut bits = BuFlags(0xc000);
    if flags & 1 != 0 {
        bits = bits.with(BuFlags::OVERWRITE);
    }
    if flags & 0xf0 == 0xf0 {
        bits = bits.with(BuFlags::MOBILE_ROUTER);
    }
    // Link-local sources do not get past a front-end.
    let source = care_of(1 + input.u8() % 7);
    let alternate = care_of(1 + input.u8() % 7);
    Registration {
        request_id: [request; 16],
        home_address: home(shape),
        home_agent: AGENT,
        source: WireSource::Ipv6(source),
        sequence: Sequence(input.u16()),
        lifetime: Lifetime(if flags & 6 == 6 { 0 } else { input.u16() }),
        flags: bits,
        alternate_care_of: (flags & 8 != 0).then_some(alternate),
        ipv4_care_of: None,
        bids: (0..shape >> 4).map(|_| option(input)).collect(),
        link_layer_address: Vec::new(),
        message_id: None,
        mobile_networks: Vec::new(),
        ipv4_home_address: None,
        flows: Vec::new(),
        flow_summary: Vec::new(),
        home_address_option_missing: false,
        policy_revisions: (0, 0),
    }
}

/// The cache says what the model says, and holds what the model holds.
pub(super) fn commands(octets: &[u8]) {
    let mut input = Input::new(octets);
    let prefix = Ipv6Prefix::new(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0), 64);
    let home_prefix = HomePrefix::new(prefix.expect("a prefix"), AGENT, Authentication::None);
    let mut cache = BindingCache::default();
    let mut model = Model::default();
    let (mut now, mut revision) = (1_000_000, 1);
    let put = Command::PutHomePrefix { home_prefix, must_not_exist: true };
    cache.apply(revision, Batch { at: LogTime(now), commands: vec![put] });
    for request in 0..64 {
        if input.is_empty() {
            break;
        }
        revision += 1;
        now += u64::from(input.u8()).pow(2) * 100;
        let mut r = registration(&mut input, request);
        r.policy_revisions = cache.policy(r.home_address, AGENT).revisions();
        let batch = Batch { at: LogTime(now), commands: vec![Command::Register(r.clone())] };
        let verdicts = cache.apply(revision, batch);
        let [verdict] = verdicts.as_slice() else { panic!("one verdict: {verdicts:?}") };
        let Outcome::Answer(answer) = &verdict.outcome else { panic!("{verdict:?}") };
        let said = (
            answer.status.0,
            answer.bid_statuses.iter().map(|status| status.0).collect(),
            answer.lifetime.0,
            answer.sequence.0,
        );
        assert_eq!(said, model.register(now, &r), "{r:?}");
        compare(&cache, &model);
    }
    now += 400_000;
    cache.apply(revision + 1, Batch { at: LogTime(now), commands: Vec::new() });
    model.pass(now);
    compare(&cache, &model);
    cache.take_changes();
    assert_eq!(BindingCache::from_records(cache.records()), Ok(cache));
}

fn compare(cache: &BindingCache, model: &Model) {
    assert_eq!(cache.home_address_count(), model.homes.len());
    for (address, home) in &model.homes {
        let stored = cache.home(*address).expect("a home address that the model knows");
        assert_eq!(stored.sequence.0, home.last);
        let bindings: Bindings = stored
            .bindings
            .iter()
            .map(|(bid, binding)| {
                let CareOf::Ipv6(address) = binding.care_of else { panic!("{binding:?}") };
                (bid.map_or(0, |bid| bid.0), (address, binding.ends.0))
            })
            .collect();
        assert_eq!(bindings, home.bindings);
        assert_eq!(stored.forget.map(|at| at.0), bindings.is_empty().then_some(home.forget));
    }
}
