//! The Home Agents List (RFC 6275 §10.5.1): who else is a home agent on this link.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::Ipv6Addr;

use homeport_wire::{NeighbourOption, PrefixFlags, RouterAdvertisement, RouterFlags};

use crate::limits;
use crate::reason::DropReason;

const SERVES_MOBILE_ROUTERS: u16 = 0x8000;

#[derive(Clone, PartialEq, Eq, Debug)]
struct Agent {
    addresses: Vec<Ipv6Addr>,
    preference: u16,
    mobile_routers: bool,
    ends_ms: u64,
}

/// By link-local address.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct HomeAgentsList(BTreeMap<Ipv6Addr, Agent>);

impl HomeAgentsList {
    /// Learns from a Router Advertisement.
    pub(crate) fn learn(
        &mut self,
        now_ms: u64,
        router: Ipv6Addr,
        advertisement: &RouterAdvertisement<'_>,
    ) -> Result<(), DropReason> {
        let mut preference = 0;
        let mut mobile_routers = false;
        let mut lifetime_secs = advertisement.router_lifetime_secs;
        let mut addresses = Vec::new();
        for option in advertisement.options.iter() {
            match option {
                NeighbourOption::HomeAgentInformation(agent) => {
                    preference = agent.preference;
                    lifetime_secs = agent.lifetime_secs;
                    mobile_routers = agent.flags & SERVES_MOBILE_ROUTERS != 0;
                }
                NeighbourOption::PrefixInformation(prefix)
                    if prefix.flags.contains(PrefixFlags::ROUTER_ADDRESS)
                        && homeport_wire::is_unicast_routable_v6(prefix.prefix)
                        && addresses.len() < limits::ADDRESSES_PER_HOME_AGENT_MAX =>
                {
                    addresses.push(prefix.prefix);
                }
                _ => {}
            }
        }
        if !advertisement.flags.contains(RouterFlags::HOME_AGENT) || lifetime_secs == 0 {
            self.0.remove(&router);
            return Ok(());
        }
        if addresses.is_empty() {
            // Without a global address it cannot be told to anybody (RFC 6275 §10.5.1).
            return Err(DropReason::NotConcerned);
        }
        self.expire(now_ms);
        if self.0.len() >= limits::HOME_AGENTS_MAX && !self.0.contains_key(&router) {
            self.make_room(preference)?;
        }
        let ends_ms = now_ms.saturating_add(u64::from(lifetime_secs).saturating_mul(1000));
        self.0.insert(router, Agent { addresses, preference, mobile_routers, ends_ms });
        Ok(())
    }

    /// The least preferred one goes, if it is less preferred than the newcomer.
    fn make_room(&mut self, preference: u16) -> Result<(), DropReason> {
        let least = self.0.iter().min_by_key(|(_, agent)| agent.preference);
        let least = least.filter(|(_, agent)| agent.preference < preference);
        let router = least.map(|(router, _)| *router).ok_or(DropReason::Full)?;
        self.0.remove(&router);
        Ok(())
    }

    fn expire(&mut self, now_ms: u64) {
        self.0.retain(|_, agent| agent.ends_ms > now_ms);
    }

    /// Whether no other home agent is known.
    pub(crate) fn is_empty(&self, now_ms: u64) -> bool {
        !self.0.values().any(|agent| agent.ends_ms > now_ms)
    }

    /// Addresses with their preferences, this node's own not among them.
    pub(crate) fn others(
        &self,
        now_ms: u64,
        own: Ipv6Addr,
    ) -> impl Iterator<Item = (Ipv6Addr, u16, bool)> + '_ {
        let in_force = self.0.values().filter(move |agent| agent.ends_ms > now_ms);
        in_force
            .flat_map(|agent| {
                agent
                    .addresses
                    .iter()
                    .map(|address| (*address, agent.preference, agent.mobile_routers))
            })
            .filter(move |(address, ..)| *address != own)
    }
}
