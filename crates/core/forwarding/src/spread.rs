//! Flows spread over bindings by rendezvous hashing: each flow goes to the binding that scores highest
//! for it, so that all forwarders at one revision choose alike without telling each other, and a
//! binding that comes or goes moves only its own flows (RFC 5648 §3 leaves the choice open).

use homeport_wire::Bid;

use crate::entry::{CareOf, ForwardingBinding};
use crate::hash::Mix;
use crate::limits::{SPREAD_WEIGHT_MAX, SPREAD_WEIGHTS_MAX};
use crate::selector::FlowKey;

/// Seed of this function; any value, the same on every forwarder.
const SEED: u64 = 0x7370_7264;

/// How flows are spread: the same on all forwarders, or they choose differently.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Spread {
    weights: [Option<(Bid, u8)>; SPREAD_WEIGHTS_MAX],
}

impl Spread {
    /// Gives bindings with this identifier a weight, 1 to [`SPREAD_WEIGHT_MAX`]: so many times the
    /// flows of a binding that has none. Larger values count as the largest, zero as one; false when
    /// [`SPREAD_WEIGHTS_MAX`] identifiers have one.
    pub fn set_weight(&mut self, bid: Bid, weight: u8) -> bool {
        let weight = weight.clamp(1, SPREAD_WEIGHT_MAX);
        let its_own = self.weights.iter().position(|it| it.is_some_and(|(known, _)| known == bid));
        let free = || self.weights.iter().position(Option::is_none);
        let place = its_own.or_else(free).and_then(|at| self.weights.get_mut(at));
        place.map(|place| *place = Some((bid, weight))).is_some()
    }

    fn weight(&self, bid: Option<Bid>) -> u8 {
        let known = self.weights.iter().flatten().find(|(known, _)| Some(*known) == bid);
        known.map_or(1, |(_, weight)| *weight)
    }

    /// How well a binding and a flow go together. A binding of weight n draws n times, and its best
    /// draw counts: its share of the flows is exactly its share of all draws, and a draw more or less
    /// moves only the flows that it wins.
    pub(crate) fn score(&self, flow: u64, binding: &ForwardingBinding) -> u64 {
        // By its identifier: a binding that moves keeps its flows.
        let identity = match (binding.bid, binding.care_of) {
            (Some(bid), _) => u64::from(bid.0),
            (None, CareOf::V6(address)) => Mix::new(SEED).v6(address).finish(),
            (None, CareOf::V4 { address, .. } | CareOf::V4Direct(address)) => {
                Mix::new(SEED).v4(Some(address)).finish()
            }
        };
        let draws = 0..u64::from(self.weight(binding.bid));
        let draw = |draw| Mix::new(SEED).word(flow).word(identity).word(draw).finish();
        draws.map(draw).max().unwrap_or_default()
    }
}

/// The flow of a packet in one number: addresses, protocol, ports or SPI (RFC 6438 §3). All fragments
/// have that of a packet without ports, so that they go together.
pub(crate) fn flow(key: &FlowKey) -> u64 {
    let detail = match (key.fragment, key.ports, key.spi) {
        (Some(_), _, _) | (None, None, None) => 0,
        (None, Some((from, to)), _) => u64::from(from) << 16 | u64::from(to),
        (None, None, Some(spi)) => u64::from(spi),
    };
    key.addresses(Mix::new(SEED)).word(u64::from(key.protocol) << 32 | detail).finish()
}
