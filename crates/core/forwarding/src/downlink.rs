//! Towards a mobile node: choose the bindings (RFC 6275 §10.4.2, RFC 6089 §5.3.6).

use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};

use homeport_wire::Bid;

use crate::action::Action;
use crate::answer::ErrorMessage;
use crate::encapsulation_limit::{self, Found};
use crate::entry::{CareOf, FlowAction, ForwardingBinding, Millis};
use crate::forwarding::Forwarding;
use crate::home::Home;
use crate::icmpv4::ErrorMessageV4;
use crate::limits::{IPV4_MTU_MIN, IPV6_MTU_MIN};
use crate::packet::{Inner, Packet, PacketV4};
use crate::reason::DropReason;
use crate::selector::FlowKey;
use crate::spread;

/// A binding and the addresses that its tunnel begins at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Chosen {
    pub(crate) home_address: Ipv6Addr,
    pub(crate) agent: Ipv6Addr,
    /// Only for tunnels over IPv4.
    pub(crate) agent_v4: Option<Ipv4Addr>,
    /// The binding's place among those of the home address.
    index: usize,
    pub(crate) binding: ForwardingBinding,
    /// That it carries data is known, and no refresh is near.
    pub(crate) is_noted: bool,
}

/// Where a packet for a mobile node goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// No binding is in force.
    Nowhere,
    /// Bindings are in force, but nothing shows that the mobile node is where they lead.
    Unverified,
    /// A flow binding says that it is to be dropped.
    Discard,
    /// Through a binding, and copies of it through others.
    Through(Chosen, Vec<Chosen>),
}

impl Forwarding {
    /// A packet for a mobile node or the network behind it, from the network or from another mobile
    /// node's tunnel. One hop limit is taken in either case: leaving one tunnel and entering the
    /// next is one step of routing.
    pub(crate) fn intercept(&mut self, now: Millis, packet: Packet<'_>, out: &mut Vec<Action>) {
        let destination = packet.header.destination;
        let way = self.table.owner(destination).map_or(Way::Nowhere, |home_address| {
            self.way(now, home_address, || FlowKey::v6(&packet.header, packet.payload))
        });
        let (first, others) = match way {
            Way::Through(first, others) => (first, others),
            Way::Discard => return out.push(Action::Drop(DropReason::FlowDiscarded)),
            Way::Unverified => return out.push(Action::Drop(DropReason::CareOfUnverified)),
            Way::Nowhere if self.is_on_link(destination) => {
                return self.deliver(now, packet, out);
            }
            Way::Nowhere => {
                let reason = DropReason::NotBound;
                // RFC 4443 §3.1: address unreachable.
                let error = ErrorMessage::Unreachable { code: 3 };
                return match self.agent_of(destination) {
                    Some(agent) => self.refuse(now, agent, packet, reason, error, out),
                    None => out.push(Action::Drop(reason)),
                };
            }
        };
        if packet.header.hop_limit <= 1 {
            let reason = DropReason::HopLimitExceeded;
            return self.refuse(now, first.agent, packet, reason, ErrorMessage::TimeExceeded, out);
        }
        let limit = encapsulation_limit::of(packet.octets);
        if let Some(Found { limit: 0, offset }) = limit {
            let pointer = u32::try_from(offset).unwrap_or(u32::MAX);
            let error = ErrorMessage::ParameterProblem { code: 0, pointer };
            let reason = DropReason::EncapsulationLimit;
            return self.refuse(now, first.agent, packet, reason, error, out);
        }
        let room = self.room(now, first, &others, limit.is_some(), IPV6_MTU_MIN);
        if packet.octets.len() > room {
            let error = ErrorMessage::TooBig { mtu: u32::try_from(room).unwrap_or(u32::MAX) };
            return self.refuse(now, first.agent, packet, DropReason::PacketTooBig, error, out);
        }
        let inner = Inner::v6(&packet.header, packet.payload, packet.forwarded());
        self.carry(now, first, &others, inner, 0, out);
    }

    /// An address of a home link that no binding takes elsewhere: a host's, or that of a mobile
    /// node at home.
    fn is_on_link(&self, address: Ipv6Addr) -> bool {
        let prefix = self.table.prefix_of(address);
        let is_elsewhere = self.table.owner(address).is_some_and(|owner| owner != address);
        prefix.is_some_and(|prefix| prefix.real_home_link) && !is_elsewhere
    }

    /// Routes a packet to a neighbour on the home link.
    fn deliver(&mut self, now: Millis, packet: Packet<'_>, out: &mut Vec<Action>) {
        let next_hop = packet.header.destination;
        if packet.header.hop_limit > 1 {
            return out.push(Action::DeliverOnLink { next_hop, packet: packet.forwarded() });
        }
        let reason = DropReason::HopLimitExceeded;
        if let Some(agent) = self.agent_of(next_hop) {
            self.refuse(now, agent, packet, reason, ErrorMessage::TimeExceeded, out);
        } else {
            out.push(Action::Drop(reason));
        }
    }

    /// The same for an IPv4 home address (RFC 5555 §4.4.1).
    pub(crate) fn intercept_v4(
        &mut self,
        now: Millis,
        packet: PacketV4<'_>,
        out: &mut Vec<Action>,
    ) {
        let owner = self.table.owner_v4(packet.header.destination);
        let way = owner.map_or(Way::Nowhere, |home_address| {
            self.way(now, home_address, || FlowKey::v4(&packet.header, packet.payload))
        });
        let (first, others) = match way {
            Way::Through(first, others) => (first, others),
            Way::Discard => return out.push(Action::Drop(DropReason::FlowDiscarded)),
            Way::Unverified => return out.push(Action::Drop(DropReason::CareOfUnverified)),
            Way::Nowhere => {
                let agent = owner.and_then(|home_address| self.agent_v4_of(home_address));
                let error = ErrorMessageV4::HostUnreachable;
                return self.refuse_v4(now, agent, packet, DropReason::NotBound, error, out);
            }
        };
        if packet.header.ttl <= 1 {
            let agent = self.agent_v4_of(first.home_address);
            let (reason, error) = (DropReason::HopLimitExceeded, ErrorMessageV4::TimeExceeded);
            return self.refuse_v4(now, agent, packet, reason, error, out);
        }
        let room = self.room(now, first, &others, false, IPV4_MTU_MIN);
        if packet.octets.len() > room && packet.is_whole_only() {
            let agent = self.agent_v4_of(first.home_address);
            let mtu = u16::try_from(room).unwrap_or(u16::MAX);
            let error = ErrorMessageV4::FragmentationNeeded { mtu };
            return self.refuse_v4(now, agent, packet, DropReason::PacketTooBig, error, out);
        }
        let inner = Inner::v4(&packet, packet.forwarded());
        self.carry(now, first, &others, inner, 0, out);
    }

    /// The largest inner packet that every one of these tunnels takes: a packet arrives everywhere
    /// or its source learns that it is too big.
    fn room(
        &self,
        now: Millis,
        first: Chosen,
        others: &[Chosen],
        is_limited: bool,
        least: usize,
    ) -> usize {
        let room = |chosen: &Chosen| self.tunnel_mtu(now, chosen, is_limited, 0);
        others.iter().map(room).fold(room(&first), usize::min).max(least)
    }

    /// Sends a packet through each of the bindings, and asks for a refresh where one is due.
    pub(crate) fn carry(
        &mut self,
        now: Millis,
        first: Chosen,
        others: &[Chosen],
        inner: Inner,
        depth: u8,
        out: &mut Vec<Action>,
    ) {
        for chosen in others {
            self.tunnel(now, *chosen, inner.clone(), depth, out);
        }
        self.tunnel(now, first, inner, depth, out);
        for chosen in core::iter::once(&first).chain(others).filter(|chosen| !chosen.is_noted) {
            self.carried(now, chosen.home_address, chosen.index, out);
        }
    }

    /// Where a packet of `home_address` goes. The key is asked for only when there are flows to
    /// compare it with.
    pub(crate) fn way(
        &mut self,
        now: Millis,
        home_address: Ipv6Addr,
        key: impl FnOnce() -> FlowKey,
    ) -> Way {
        let Some(home) = self.table.home(home_address) else { return Way::Nowhere };
        let is_spread = self.config.spread.is_some() && home.is_tied(now);
        if home.entry.flows.is_empty() && !is_spread {
            let chosen = self.preferred_of(now, home_address, home);
            return chosen.map_or_else(
                || self.no_way(now, home_address),
                |chosen| Way::Through(chosen, Vec::new()),
            );
        }
        let has_flows = !home.entry.flows.is_empty();
        let key = key();
        match has_flows.then(|| self.by_flow(now, home_address, &key)).flatten() {
            Some(FlowAction::Discard) => return Way::Discard,
            Some(FlowAction::Forward(bids)) => {
                if let Some(way) = self.through(now, home_address, &bids) {
                    return way;
                }
            }
            None => {}
        }
        let chosen = if is_spread {
            self.spread(now, home_address, &key)
        } else {
            self.preferred(now, home_address)
        };
        chosen.map_or_else(
            || self.no_way(now, home_address),
            |chosen| Way::Through(chosen, Vec::new()),
        )
    }

    fn no_way(&self, now: Millis, home_address: Ipv6Addr) -> Way {
        if self.is_unverified(now, home_address) { Way::Unverified } else { Way::Nowhere }
    }

    /// Bindings of this home address are in force, but packets can take none of them.
    pub(crate) fn is_unverified(&self, now: Millis, home_address: Ipv6Addr) -> bool {
        self.table.home(home_address).is_some_and(|home| home.is_unverified(now))
    }

    /// The binding that a flow goes by where flows are spread.
    fn spread(&self, now: Millis, home_address: Ipv6Addr, key: &FlowKey) -> Option<Chosen> {
        let home = self.table.home(home_address)?;
        let index = home.spread(now, self.config.spread.as_ref()?, spread::flow(key))?;
        self.chosen_at(now, home_address, home, index)
    }

    /// What the first flow that a packet belongs to says. Fragments without ports follow the one
    /// that has them.
    fn by_flow(
        &mut self,
        now: Millis,
        home_address: Ipv6Addr,
        key: &FlowKey,
    ) -> Option<FlowAction> {
        let home = self.table.home(home_address)?;
        let later = key.fragment.filter(|fragment| !fragment.first);
        let known = later.and_then(|fragment| self.fragment_flows.flow(now, &fragment.packet));
        let flow = match known.and_then(|fid| home.flow(now, fid)) {
            Some(flow) => flow,
            None => home.flow_of(now, key)?,
        };
        if let Some(fragment) = key.fragment.filter(|fragment| fragment.first) {
            self.fragment_flows.remember(now, fragment.packet, flow.fid);
        }
        Some(flow.action.clone())
    }

    fn through(&self, now: Millis, home_address: Ipv6Addr, bids: &[Bid]) -> Option<Way> {
        let home = self.table.home(home_address)?;
        let mut chosen = home
            .referenced(now, bids)
            .into_iter()
            .filter_map(|index| self.chosen_at(now, home_address, home, index));
        let first = chosen.next()?;
        Some(Way::Through(first, chosen.collect()))
    }

    /// The binding in force that a home address prefers, whatever its flows say: they do not apply
    /// to what the home agent says itself (RFC 6089 §5.3.6).
    pub(crate) fn preferred(&self, now: Millis, home_address: Ipv6Addr) -> Option<Chosen> {
        self.preferred_of(now, home_address, self.table.home(home_address)?)
    }

    fn preferred_of(&self, now: Millis, home_address: Ipv6Addr, home: &Home) -> Option<Chosen> {
        let index = home.choose(now, self.config.last_used_breaks_ties)?;
        self.chosen_at(now, home_address, home, index)
    }

    fn chosen_at(
        &self,
        now: Millis,
        home_address: Ipv6Addr,
        home: &Home,
        index: usize,
    ) -> Option<Chosen> {
        let binding = *home.binding(index)?;
        let agent_v4 = match binding.care_of {
            CareOf::V6(_) => None,
            CareOf::V4 { .. } | CareOf::V4Direct(_) => self.agent_v4_of(home_address),
        };
        let is_noted = home.is_noted(now, index);
        Some(Chosen {
            home_address,
            agent: home.entry.home_agent,
            agent_v4,
            index,
            binding,
            is_noted,
        })
    }

    /// The IPv4 address with which a home address is served.
    pub(crate) fn agent_v4_of(&self, home_address: Ipv6Addr) -> Option<Ipv4Addr> {
        let home = self.table.home(home_address)?;
        home.entry.home_agent_v4.or_else(|| {
            let by_address = self.table.prefix_of(home_address);
            let by_agent = || self.table.prefix_of(home.entry.home_agent);
            by_address.or_else(by_agent).and_then(|prefix| prefix.home_agent_v4)
        })
    }

    /// The home agent that speaks for an address of a home prefix or a mobile network.
    pub(crate) fn agent_of(&self, address: Ipv6Addr) -> Option<Ipv6Addr> {
        let of_prefix = self.table.prefix_of(address).map(|prefix| prefix.home_agent);
        of_prefix.or_else(|| {
            let owner = self.table.owner(address)?;
            self.table.home(owner).map(|home| home.entry.home_agent)
        })
    }
}
