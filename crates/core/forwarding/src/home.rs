//! One home address: which binding its packets take, and which bindings need a refresh.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::net::Ipv6Addr;

use homeport_wire::Bid;

use crate::entry::{CareOf, Flow, FlowAction, ForwardingBinding, HomeEntry, Millis};
use crate::hash::Mix;
use crate::limits::{
    BINDINGS_PER_HOME_MAX, FLOWS_PER_HOME_MAX, NETWORKS_PER_HOME_MAX, REFRESH_WINDOW_DIVISOR,
    REFRESH_WINDOW_MS_MIN,
};
use crate::networks::{Networks, Prefix};
use crate::selector::FlowKey;
use crate::spread::Spread;

/// Its entry, and what data has taught since.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) entry: HomeEntry,
    last_used: Option<usize>,
    /// Through which bindings data went since signalling verified them, one bit each; all behind
    /// the last bit share it.
    carried: u64,
    /// Refreshes that were asked for.
    asked: BTreeMap<Option<Bid>, Asked>,
}

/// How often the refresh of a binding was asked for (RFC 6275 §9.5.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Asked {
    /// The binding's at that time: signalling since then begins a new lifetime.
    verified: u64,
    times: u8,
    not_before: Millis,
}

impl Home {
    /// Brings the entry into its canonical form: bounded, what has an order sorted.
    pub(crate) fn new(mut entry: HomeEntry) -> Self {
        entry.bindings.truncate(BINDINGS_PER_HOME_MAX);
        entry.networks.sort_unstable();
        entry.networks.dedup();
        entry.networks.truncate(NETWORKS_PER_HOME_MAX);
        entry.networks_v4.sort_unstable();
        entry.networks_v4.dedup();
        entry.networks_v4.truncate(NETWORKS_PER_HOME_MAX);
        entry.flows.sort_by_key(|flow| (flow.priority, flow.fid));
        entry.flows.truncate(FLOWS_PER_HOME_MAX);
        Self { entry, last_used: None, carried: 0, asked: BTreeMap::new() }
    }

    /// The prefixes of its mobile networks.
    pub(crate) fn networks(&self, family: &Networks) -> Vec<Prefix> {
        let prefix = |n: &crate::MobileNetwork| family.prefix(n.prefix.to_bits(), n.prefix_len);
        self.entry.networks.iter().map(prefix).collect()
    }

    /// The same for IPv4.
    pub(crate) fn networks_v4(&self, family: &Networks) -> Vec<Prefix> {
        let prefix =
            |n: &crate::MobileNetworkV4| family.prefix(n.prefix.to_bits().into(), n.prefix_len);
        self.entry.networks_v4.iter().map(prefix).collect()
    }

    pub(crate) fn live(&self, now: Millis) -> impl Iterator<Item = (usize, &ForwardingBinding)> {
        self.entry.bindings.iter().enumerate().filter(move |(_, binding)| binding.ends > now)
    }

    /// Those that packets for the home address can take.
    fn carrying(&self, now: Millis) -> impl Iterator<Item = (usize, &ForwardingBinding)> {
        self.live(now).filter(|(_, binding)| !binding.unverified)
    }

    /// Bindings are in force, but packets can take none of them.
    pub(crate) fn is_unverified(&self, now: Millis) -> bool {
        self.has_unverified(now) && self.carrying(now).next().is_none()
    }

    /// A binding in force waits for the answer of its care-of address.
    pub(crate) fn has_unverified(&self, now: Millis) -> bool {
        self.live(now).any(|(_, binding)| binding.unverified)
    }

    /// The binding that packets for the home address take: lowest BID-PRI (RFC 6089 §4.1), then the
    /// one that carried data last, then the one that signalling verified last (RFC 5648 §3), then
    /// the lowest identifier, so that forwarders that saw the same choose the same.
    pub(crate) fn choose(&self, now: Millis, by_use: bool) -> Option<usize> {
        self.carrying(now)
            .min_by_key(|(index, binding)| {
                let used = by_use && self.last_used == Some(*index);
                (binding.priority.rank(), !used, Reverse(binding.verified), binding.bid)
            })
            .map(|(index, _)| index)
    }

    /// The binding for a flow among those of the best priority; of equal scores that with the lowest
    /// identifier.
    pub(crate) fn spread(&self, now: Millis, spread: &Spread, flow: u64) -> Option<usize> {
        let best = self.carrying(now).map(|(_, binding)| binding.priority.rank()).min()?;
        self.carrying(now)
            .filter(|(_, binding)| binding.priority.rank() == best)
            .min_by_key(|(_, binding)| (Reverse(spread.score(flow, binding)), binding.bid))
            .map(|(index, _)| index)
    }

    /// Whether flows can go different ways: several bindings in force share the best priority.
    pub(crate) fn is_tied(&self, now: Millis) -> bool {
        self.tie(now).is_some()
    }

    /// The first flow in the order of FID-PRI that a packet belongs to and that counts
    /// (RFC 6089 §5.3.6).
    pub(crate) fn flow_of(&self, now: Millis, key: &FlowKey) -> Option<&Flow> {
        self.entry.flows.iter().find(|flow| self.counts(now, flow) && key.matches(&flow.selector))
    }

    /// A flow by its identifier, if it counts.
    pub(crate) fn flow(&self, now: Millis, fid: u16) -> Option<&Flow> {
        self.entry.flows.iter().find(|flow| flow.fid == fid && self.counts(now, flow))
    }

    fn counts(&self, now: Millis, flow: &Flow) -> bool {
        match &flow.action {
            FlowAction::Forward(bids) => {
                self.carrying(now).any(|(_, b)| b.bid.is_some_and(|bid| bids.contains(&bid)))
            }
            FlowAction::Discard => true,
        }
    }

    /// The bindings in force that a flow names, each once.
    pub(crate) fn referenced(&self, now: Millis, bids: &[Bid]) -> Vec<usize> {
        let named = |binding: &ForwardingBinding| binding.bid.is_some_and(|b| bids.contains(&b));
        self.carrying(now).filter(|(_, b)| named(b)).map(|(index, _)| index).collect()
    }

    pub(crate) fn binding(&self, index: usize) -> Option<&ForwardingBinding> {
        self.entry.bindings.get(index)
    }

    /// The binding in force with this care-of address.
    pub(crate) fn bound(&self, now: Millis, care_of: CareOf) -> Option<usize> {
        self.live(now).find(|(_, binding)| binding.care_of == care_of).map(|(index, _)| index)
    }

    /// True when [`Self::carries`] would change nothing: it is known that the binding carries data,
    /// and no refresh is near.
    pub(crate) fn is_noted(&self, now: Millis, index: usize) -> bool {
        let near = self.binding(index).is_some_and(|binding| is_near_its_end(now, binding));
        self.carried & bit(index) != 0 && !near
    }

    /// Data came through this binding. True when it came through another one before. One that packets
    /// cannot take does not count.
    pub(crate) fn used(&mut self, index: usize) -> bool {
        if self.binding(index).is_some_and(|binding| binding.unverified) {
            return false;
        }
        self.last_used.replace(index) != Some(index)
    }

    /// Several bindings in force share the best priority, so that the one that carried data last is
    /// taken: which that is, if any. `None` without a tie.
    pub(crate) fn tie(&self, now: Millis) -> Option<Option<usize>> {
        let best = self.carrying(now).map(|(_, binding)| binding.priority.rank()).min()?;
        let tied =
            self.carrying(now).filter(|(_, binding)| binding.priority.rank() == best).count();
        (tied > 1).then_some(self.last_used)
    }

    /// Data goes through this binding: the identifiers of the bindings whose refresh is to be asked
    /// for now (none for the binding without identifier), or `None` when nothing is to be asked.
    ///
    /// A binding is asked for when data went through it and its end is near, at most `times_max`
    /// times in one lifetime, and not in a row: the answer needs time.
    pub(crate) fn carries(&mut self, now: Millis, index: usize, times_max: u8) -> Option<Vec<Bid>> {
        self.carried |= bit(index);
        let binding = self.entry.bindings.get(index)?;
        if !is_near_its_end(now, binding) || !self.may_ask(now, binding, times_max) {
            return None;
        }
        let mut bids = Vec::new();
        for (index, binding) in self.entry.bindings.iter().enumerate() {
            let carried = self.carried & bit(index) != 0;
            if !carried || !is_near_its_end(now, binding) || self.times(binding) >= times_max {
                continue;
            }
            let asked = Asked {
                verified: binding.verified,
                times: self.times(binding).saturating_add(1),
                not_before: Millis(now.0.saturating_add(pause_ms(binding))),
            };
            self.asked.insert(binding.bid, asked);
            bids.extend(binding.bid);
        }
        Some(bids)
    }

    fn times(&self, binding: &ForwardingBinding) -> u8 {
        let asked = self.asked.get(&binding.bid);
        asked.filter(|asked| asked.verified == binding.verified).map_or(0, |asked| asked.times)
    }

    fn may_ask(&self, now: Millis, binding: &ForwardingBinding, times_max: u8) -> bool {
        match self.asked.get(&binding.bid) {
            Some(asked) if asked.verified == binding.verified => {
                asked.times < times_max && asked.not_before <= now
            }
            _ => times_max > 0,
        }
    }

    /// Takes over what data has taught: which binding carried it last, unless signalling has
    /// verified one since, and what was asked of bindings that nobody has verified since.
    pub(crate) fn inherit(&mut self, old: &Self) {
        let same = |new: &ForwardingBinding, old: &ForwardingBinding| {
            new.bid == old.bid && new.care_of == old.care_of
        };
        for (index, binding) in self.entry.bindings.iter().enumerate() {
            let before = old.entry.bindings.iter().position(|b| same(binding, b));
            let untouched = before.filter(|at| {
                old.binding(*at).is_some_and(|before| before.verified == binding.verified)
            });
            if let Some(at) = untouched {
                self.carried |= if old.carried & bit(at) == 0 { 0 } else { bit(index) };
                if let Some(asked) = old.asked.get(&binding.bid) {
                    self.asked.insert(binding.bid, *asked);
                }
            }
        }
        let newest = |home: &Self| home.entry.bindings.iter().map(|binding| binding.verified).max();
        if newest(self) > newest(old) {
            return;
        }
        let used = old.last_used.and_then(|index| old.entry.bindings.get(index));
        self.last_used = used
            .and_then(|used| self.entry.bindings.iter().position(|binding| same(binding, used)));
    }

    pub(crate) fn digest(&self, home_address: Ipv6Addr) -> u64 {
        // Summed, so that the order of what has none does not matter.
        let sum = |digests: &mut dyn Iterator<Item = u64>| digests.fold(0, u64::wrapping_add);
        let networks = self.entry.networks.iter().map(|network| {
            let mix = Mix::new(NETWORK_SEED).v6(network.prefix);
            mix.word(network.prefix_len.into()).finish()
        });
        let networks_v4 = self.entry.networks_v4.iter().map(|network| {
            let mix = Mix::new(NETWORK_V4_SEED).v4(Some(network.prefix));
            mix.word(network.prefix_len.into()).finish()
        });
        Mix::new(HOME_SEED)
            .v6(home_address)
            .v6(self.entry.home_agent)
            .v4(self.entry.home_agent_v4)
            .word(sum(&mut self.entry.bindings.iter().map(binding_digest)))
            .word(sum(&mut networks.chain(networks_v4)))
            .word(sum(&mut self.entry.flows.iter().map(flow_digest)))
            .finish()
    }
}

const HOME_SEED: u64 = 0x686f_6d65;
const BINDING_SEED: u64 = 0x6269_6e64;
const NETWORK_SEED: u64 = 0x6e65_7477;
const NETWORK_V4_SEED: u64 = 0x6e65_7434;
const FLOW_SEED: u64 = 0x6669_6473;

fn bit(index: usize) -> u64 {
    const LAST: u32 = u64::BITS - 1;
    1 << u32::try_from(index).unwrap_or(LAST).min(LAST)
}

/// No more than the larger of a tenth of the lifetime and half a minute is left.
fn is_near_its_end(now: Millis, binding: &ForwardingBinding) -> bool {
    let left_ms = binding.ends.0.saturating_sub(now.0);
    binding.lifetime_ms > 0 && left_ms > 0 && left_ms <= window_ms(binding)
}

pub(crate) const fn window_ms(binding: &ForwardingBinding) -> u64 {
    let part = binding.lifetime_ms / REFRESH_WINDOW_DIVISOR;
    if part > REFRESH_WINDOW_MS_MIN { part } else { REFRESH_WINDOW_MS_MIN }
}

/// Between two requests: as many as there may be fit before the end.
fn pause_ms(binding: &ForwardingBinding) -> u64 {
    window_ms(binding).min(binding.lifetime_ms) / 4
}

/// All but `ends`, which counts on each machine's own clock; a refresh shows in `verified`.
fn binding_digest(binding: &ForwardingBinding) -> u64 {
    let flags = u64::from(binding.unverified) << 8 | u64::from(binding.priority.value()) << 1;
    let mix = Mix::new(BINDING_SEED)
        .word(binding.bid.map_or(u64::MAX, |bid| u64::from(bid.0)))
        .word(binding.verified)
        .word(flags | u64::from(binding.home));
    match binding.care_of {
        CareOf::V6(address) => mix.v6(address),
        CareOf::V4 { address, port } => mix.v4(Some(address)).word(port.into()),
        CareOf::V4Direct(address) => mix.v4(Some(address)),
    }
    .finish()
}

fn flow_digest(flow: &Flow) -> u64 {
    let mut mix = Mix::new(FLOW_SEED)
        .word(flow.fid.into())
        .word(flow.priority.into())
        .word(flow.selector.format().into());
    for octet in flow.selector.octets() {
        mix = mix.word(octet.into());
    }
    match &flow.action {
        FlowAction::Discard => mix.word(u64::MAX),
        FlowAction::Forward(bids) => bids.iter().fold(mix, |mix, bid| mix.word(bid.0.into())),
    }
    .finish()
}
