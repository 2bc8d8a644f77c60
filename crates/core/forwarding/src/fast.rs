//! What a path without rules of its own may do by itself for one home address: the common case,
//! decided here once for each change instead of once for each packet.
//!
//! A [`Fast`] says less than the table, never something else: what it does not say is for
//! [`Forwarding::handle`].

use alloc::vec::Vec;
use core::net::Ipv6Addr;

use homeport_wire::is_unicast_routable_v6;

use crate::downlink::Chosen;
use crate::ecn::EcnMode;
use crate::entry::{CareOf, ForwardingBinding, Millis};
use crate::forwarding::Forwarding;
use crate::home::Home;
use crate::limits::{FAST_CARE_OFS_MAX, MOVED_MAX};

/// The common case of one home address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fast {
    /// It holds until then: from there on packets ask for refreshes (RFC 6275 §9.5.5), or a binding
    /// has ended.
    pub until: Millis,
    /// Packets for the home address; absent: each is to be looked at.
    pub down: Option<FastDown>,
    /// Care-of addresses (IPv6) that packets from the home address may come from in a tunnel, and
    /// whether such a packet may be taken without a look at it: not when it changes which binding
    /// packets take the other way.
    pub up: Vec<(Ipv6Addr, bool)>,
    /// `up` has all care-of addresses (IPv6): what comes from any other is to be dropped
    /// ([`crate::DropReason::TunnelSourceNotBound`]).
    pub up_is_all: bool,
}

/// IPv6-in-IPv6 with the class of the inner packet, its own flow label and the configured hop
/// limit. A packet with extension headers is to be looked at: it may say how many tunnels it may
/// enter (RFC 2473 §4.1.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FastDown {
    /// Source of the outer header.
    pub agent: Ipv6Addr,
    /// Its destination.
    pub care_of: Ipv6Addr,
    /// Octets of the largest inner packet. What is larger is to be looked at.
    pub room: u16,
}

impl Forwarding {
    /// The common case of a home address; `None` when each of its packets is to be looked at.
    ///
    /// It changes with the home address's entry, with home prefixes and home agents, with mobile
    /// networks that a care-of address lies in, and when [`Self::take_moved`] says so.
    #[must_use]
    pub fn fast(&self, now: Millis, home_address: Ipv6Addr) -> Option<Fast> {
        let home = self.table.home(home_address)?;
        let live: Vec<_> = home.live(now).collect();
        let until = live.iter().map(|(_, binding)| fast_until(binding)).min()?;
        if until <= now || live.iter().any(|(_, binding)| binding.home) {
            return None;
        }
        let chosen = self.preferred(now, home_address)?;
        let last_used = self.config.last_used_breaks_ties.then(|| home.tie(now)).flatten();
        let care_ofs = live.iter().filter_map(|(index, binding)| match binding.care_of {
            CareOf::V6(care_of) => Some((*index, care_of)),
            CareOf::V4 { .. } | CareOf::V4Direct(_) => None,
        });
        let mut up: Vec<(Ipv6Addr, bool)> = Vec::new();
        let mut up_is_all = true;
        for (index, care_of) in care_ofs {
            if up.iter().any(|(known, _)| *known == care_of) {
                // The first binding of a care-of address is the one that is used.
                continue;
            }
            if up.len() >= FAST_CARE_OFS_MAX || !self.may_tunnel_from(care_of) {
                up_is_all = false;
                continue;
            }
            up.push((care_of, last_used.is_none_or(|used| used == Some(index))));
        }
        let down = self.fast_down(now, home, &chosen);
        if let Some(at) = down.and_then(|down| up.iter().position(|(it, _)| *it == down.care_of)) {
            up.swap(0, at);
        }
        Some(Fast { until, down, up, up_is_all })
    }

    fn fast_down(&self, now: Millis, home: &Home, chosen: &Chosen) -> Option<FastDown> {
        let CareOf::V6(care_of) = chosen.binding.care_of else { return None };
        let destination = chosen.home_address;
        let is_plain = home.entry.flows.is_empty()
            && is_unicast_routable_v6(destination)
            && self.table.home_agent_meant(destination).is_none()
            && self.config.encapsulation_limit.is_none()
            && !(self.config.spread.is_some() && home.is_tied(now))
            && self.config.ecn == EcnMode::Normal
            && self.is_reached_directly(care_of)
            && self.may_tunnel_from(care_of);
        let room = self.tunnel_mtu(now, chosen, false, 0);
        let room = u16::try_from(room).unwrap_or(u16::MAX);
        is_plain.then_some(FastDown { agent: chosen.agent, care_of, room })
    }

    /// No tunnel and no home link of ours leads there.
    fn is_reached_directly(&self, care_of: Ipv6Addr) -> bool {
        self.table.owner(care_of).is_none() && self.table.prefix_of(care_of).is_none()
    }

    /// A packet with this source is looked into at all.
    fn may_tunnel_from(&self, care_of: Ipv6Addr) -> bool {
        is_unicast_routable_v6(care_of) && !self.table.is_home_agent(care_of)
    }

    /// Data came through this binding last, as somebody remembers who was here before. Nothing happens when
    /// there is no such binding.
    pub fn recall_use(&mut self, now: Millis, home_address: Ipv6Addr, care_of: Ipv6Addr) {
        if let Some(home) = self.table.home_mut(home_address)
            && let Some(index) = home.bound(now, CareOf::V6(care_of))
        {
            home.used(index);
        }
    }

    /// Home addresses whose [`Fast`] packets have changed since this was asked last: another
    /// binding carried data last, or a path turned out to be narrower. Empty unless
    /// [`crate::Config::follow_moves`]. `None` when there were too many to remember: all may have.
    pub fn take_moved(&mut self) -> Option<Vec<Ipv6Addr>> {
        if core::mem::take(&mut self.moved_overflow) {
            self.moved.clear();
            return None;
        }
        Some(core::mem::take(&mut self.moved))
    }

    /// What packets have taught changes the common case of this home address.
    pub(crate) fn moved(&mut self, home_address: Ipv6Addr) {
        if !self.config.follow_moves {
            return;
        }
        if self.moved.len() >= MOVED_MAX {
            self.moved_overflow = true;
        } else {
            self.moved.push(home_address);
        }
    }
}

/// From here on a packet through the binding may ask for its refresh, or finds it ended.
fn fast_until(binding: &ForwardingBinding) -> Millis {
    let window_ms = if binding.lifetime_ms == 0 { 0 } else { crate::home::window_ms(binding) };
    Millis(binding.ends.0.saturating_sub(window_ms))
}
