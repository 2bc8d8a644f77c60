//! When Router Advertisements go out (RFC 4861 §6.2.4, §6.2.6, RFC 6275 §7.5) and what they say.

use alloc::vec::Vec;

use homeport_wire::{
    HomeAgentInformation, NeighbourOption, NeighbourOptions, RouterAdvertisement, RouterFlags,
};

use crate::limits;
use crate::settings::Settings;

const SERVES_MOBILE_ROUTERS: u16 = 0x8000;
const HOP_LIMIT: u8 = 64;

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Advertising {
    next_ms: Option<u64>,
    last_ms: Option<u64>,
    sent: u64,
}

impl Advertising {
    /// The first goes at once.
    pub(crate) const fn start(&mut self, now_ms: u64) {
        self.next_ms = Some(now_ms);
        self.sent = 0;
    }

    pub(crate) const fn stop(&mut self) {
        self.next_ms = None;
    }

    pub(crate) const fn deadline_ms(&self) -> Option<u64> {
        self.next_ms
    }

    /// A Router Solicitation came, or what is advertised changed: the next one goes as soon as the least
    /// distance between two allows.
    pub(crate) fn hurry(&mut self, now_ms: u64, settings: &Settings) {
        let Some(next_ms) = self.next_ms else {
            return;
        };
        let distance = u64::from(settings.advertisement_delay_min_ms);
        let earliest = self.last_ms.map_or(now_ms, |last| last.saturating_add(distance));
        self.next_ms = Some(next_ms.min(earliest.max(now_ms)));
    }

    /// True once for each advertisement that is due.
    pub(crate) fn is_due(&mut self, now_ms: u64, settings: &Settings) -> bool {
        if self.next_ms.is_none_or(|next| next > now_ms) {
            return false;
        }
        self.last_ms = Some(now_ms);
        self.sent = self.sent.saturating_add(1);
        self.next_ms = Some(now_ms.saturating_add(self.interval_ms(settings)));
        true
    }

    /// Spread over a third to the whole of the longest interval, so that routers do not fall into step:
    /// by this node's address and the count, for there is no randomness here.
    fn interval_ms(&self, settings: &Settings) -> u64 {
        let max = u64::from(settings.advertisement_interval_max_ms);
        let min = max / 3;
        let [a, b, c, d, e, f] = settings.link_layer_address;
        let seed = u64::from_be_bytes([0, 0, a, b, c, d, e, f]) ^ self.sent.rotate_left(32);
        let mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
        let span = max.saturating_sub(min).saturating_add(1);
        let interval = min.saturating_add(mixed.checked_rem(span).unwrap_or(0));
        if self.sent < u64::from(limits::INITIAL_ADVERTISEMENTS) {
            interval.min(limits::INITIAL_ADVERTISEMENT_INTERVAL_MS)
        } else {
            interval
        }
    }
}

/// The Router Advertisement of a home agent; `in_service` is false in the last one.
pub(crate) fn advertisement(settings: &Settings, in_service: bool) -> RouterAdvertisement<'static> {
    let mut options: Vec<NeighbourOption<'_>> = Vec::new();
    options.push(NeighbourOption::SourceLinkLayer(&settings.link_layer_address));
    options.extend(settings.prefixes.iter().copied().map(NeighbourOption::PrefixInformation));
    options.push(NeighbourOption::AdvertisementIntervalMs(settings.advertisement_interval_max_ms));
    let agent = HomeAgentInformation {
        flags: if settings.mobile_routers { SERVES_MOBILE_ROUTERS } else { 0 },
        preference: settings.preference,
        lifetime_secs: settings.home_agent_lifetime_secs,
    };
    let is_default = agent.flags == 0
        && agent.preference == 0
        && agent.lifetime_secs == settings.router_lifetime_secs;
    // RFC 6275 §7.4: left out when it says nothing; a lifetime of zero is never sent.
    if in_service && !is_default {
        options.push(NeighbourOption::HomeAgentInformation(agent));
    }
    RouterAdvertisement {
        hop_limit: HOP_LIMIT,
        flags: if in_service { RouterFlags::HOME_AGENT } else { RouterFlags::default() },
        router_lifetime_secs: if in_service { settings.router_lifetime_secs } else { 0 },
        reachable_ms: 0,
        retransmission_ms: 0,
        options: NeighbourOptions::of(&options),
    }
}
