//! The way from one home agent to another (RFC 5142 §5.2), and to the first when it is to be found.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::Ipv6Addr;

use homeport_wire::{HomeAgentSwitch, is_unicast_routable_v6};

use crate::authentication::verify;
use crate::command::Command;
use crate::event::{Event, LossReason, Outcome, Path, RequestId};
use crate::exchange::Exchange;
use crate::limits;
use crate::node::{MobileNode, Mode};
use crate::reaction::Purpose;
use crate::router::RouterState;
use crate::settings::{CareOf, CareOfAddress};

/// A change of home agent under way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Switching {
    phase: Phase,
    /// Home agents to be tried, best first.
    targets: VecDeque<Ipv6Addr>,
    /// The care-of addresses to register there.
    wanted: Vec<CareOfAddress>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// The old home agent is told to end everything, which confirms its wish.
    Leaving,
    /// Nobody is known: the home link is asked.
    Discovering,
    /// The new home agent has not answered yet.
    Trying,
}

impl MobileNode {
    /// Leaves this home agent; the de-registration confirms. Only when the message is protected as
    /// updates are: anybody could end the bindings otherwise.
    pub(crate) fn switched(&mut self, path: Path, header: &[u8], switch: &HomeAgentSwitch<'_>) {
        let addresses: Vec<Ipv6Addr> =
            switch.addresses.iter().take(limits::SWITCH_ADDRESSES_MAX).copied().collect();
        self.event(Event::HomeAgentSwitch { addresses: addresses.clone() });
        if self.switching.is_some()
            || verify(&self.settings, path, header, &switch.options).is_err()
        {
            return;
        }
        let wanted = self.wanted();
        let targets = self.usable(addresses);
        self.command(RequestId::NOBODY, Command::DeregisterAll { from: None });
        self.switching = Some(Switching { phase: Phase::Leaving, targets, wanted });
    }

    fn wanted(&self) -> Vec<CareOfAddress> {
        self.entries.values().filter(|entry| entry.wanted).map(|entry| entry.address).collect()
    }

    fn usable(&self, addresses: Vec<Ipv6Addr>) -> VecDeque<Ipv6Addr> {
        let present = self.settings.home_agent;
        let usable = |address: &Ipv6Addr| is_unicast_routable_v6(*address) && *address != present;
        let mut targets: VecDeque<Ipv6Addr> = addresses.into_iter().filter(usable).collect();
        // Those of the own home prefix first (RFC 5142 §5.2); the order stays otherwise.
        let home = self.home_prefix();
        targets.make_contiguous().sort_by_key(|address| !home.contains(*address));
        targets
    }

    const fn home_prefix(&self) -> crate::settings::NetworkPrefix {
        crate::settings::NetworkPrefix {
            prefix: self.settings.home_address,
            length: self.settings.home_prefix_len,
        }
    }

    /// A wish of the owner that comes before the old home agent has answered: it is meant for the
    /// new one. A wish to end everything ends the change too.
    pub(crate) fn interrupt_switch(&mut self, command: &Command) {
        match command {
            Command::DeregisterAll { .. } | Command::ReturnHome | Command::Stop => {
                self.switching = None;
            }
            Command::Register { .. }
            | Command::Refresh { .. }
            | Command::Move { .. }
            | Command::Deregister { .. } => {
                if self.switching.as_ref().is_some_and(|it| it.phase == Phase::Leaving) {
                    self.move_on();
                }
            }
            Command::Adopt { .. }
            | Command::SetFlows { .. }
            | Command::DiscoverHomeAgents
            | Command::SolicitPrefixes => {}
        }
    }

    /// No home agent is to be told anything but the end.
    pub(crate) fn is_between_home_agents(&self) -> bool {
        let phase = self.switching.as_ref().map(|switching| switching.phase);
        matches!(phase, Some(Phase::Leaving | Phase::Discovering))
    }

    /// Times that an update is sent before the node gives up: a home agent that may be none gets
    /// fewer.
    pub(crate) fn attempts_max(&self) -> u8 {
        let trying = self.switching.as_ref().is_some_and(|it| it.phase == Phase::Trying);
        let most = if trying { limits::TRIAL_ATTEMPTS_MAX } else { u8::MAX };
        self.settings.attempts_max.clamp(1, most)
    }

    /// Looks whether the present step has come to its end.
    pub(crate) fn continue_switch(&mut self) {
        let Some(phase) = self.switching.as_ref().map(|switching| switching.phase) else {
            return;
        };
        match phase {
            Phase::Leaving if !self.exchanges.iter().any(Exchange::is_about_everything) => {
                self.move_on();
            }
            Phase::Trying if self.entries.values().any(|entry| entry.binding.is_some()) => {
                self.switching = None;
            }
            Phase::Trying if !self.exchanges.iter().any(|it| it.purpose == Purpose::Register) => {
                if let Some(switching) = &mut self.switching {
                    // What was refused here may be accepted there.
                    let known = |bid| switching.wanted.iter().any(|it| it.bid == bid);
                    let later =
                        self.entries.values().filter(|it| it.wanted && !known(it.address.bid));
                    let later: Vec<CareOfAddress> = later.map(|entry| entry.address).collect();
                    switching.wanted.extend(later);
                }
                self.move_on();
            }
            Phase::Leaving | Phase::Discovering | Phase::Trying => {}
        }
    }

    /// Without a home agent the node asks as soon as it has something to register.
    pub(crate) fn find_first_home_agent(&mut self) {
        let waits = self.exchanges.iter().any(|exchange| exchange.purpose == Purpose::Register);
        if self.switching.is_none() && self.is_without_home_agent() && waits {
            let (targets, wanted) = (VecDeque::new(), self.wanted());
            self.switching = Some(Switching { phase: Phase::Discovering, targets, wanted });
            self.ask_for_home_agents();
        }
    }

    /// To the next home agent, or to look for one.
    fn move_on(&mut self) {
        let Some(switching) = &mut self.switching else {
            return;
        };
        let wanted = switching.wanted.clone();
        match switching.targets.pop_front() {
            Some(agent) => {
                switching.phase = Phase::Trying;
                self.go_to(agent, wanted);
            }
            None => {
                let discovered = switching.phase == Phase::Trying;
                switching.phase = Phase::Discovering;
                self.want_again(&wanted);
                if discovered {
                    // All who were named are tried.
                    self.event(Event::NoHomeAgent);
                    self.switching = None;
                } else {
                    self.ask_for_home_agents();
                }
            }
        }
    }

    /// The home link has answered.
    pub(crate) fn home_agents_found(&mut self, addresses: Vec<Ipv6Addr>) {
        let targets = self.usable(addresses);
        if let Some(switching) = self.switching.as_mut().filter(|it| it.phase == Phase::Discovering)
        {
            switching.targets = targets;
            if switching.targets.is_empty() {
                self.no_home_agents_found();
            } else {
                self.move_on();
            }
        }
    }

    /// Nobody answered. The node goes on with the home agent that it has, if it has one.
    pub(crate) fn no_home_agents_found(&mut self) {
        if self.switching.take_if(|it| it.phase == Phase::Discovering).is_none()
            || !self.is_without_home_agent()
        {
            return;
        }
        self.exchanges.clear();
        let bids: Vec<_> = self.entries.keys().copied().collect();
        for bid in bids {
            if let Some(entry) = self.entries.get_mut(&bid) {
                entry.retry_at = Some(self.now.plus(limits::TIMEOUT_MS_MAX));
            }
            self.settle(Some(bid), Purpose::Register, Outcome::NoAnswer);
        }
    }

    /// Everything that was said to and by another home agent counts for nothing.
    fn go_to(&mut self, agent: Ipv6Addr, wanted: Vec<CareOfAddress>) {
        let v4 = self.settings.other_home_agents_v4.iter().find(|(it, _)| *it == agent);
        let v4 = v4.map(|(_, address)| *address);
        if !self.is_without_home_agent() || v4.is_some() {
            self.settings.home_agent_v4 = v4;
        }
        self.settings.home_agent = agent;
        self.event(Event::HomeAgent { address: agent });
        self.sent.clear();
        self.exchanges.clear();
        self.overwrite = true;
        if self.settings.multiple_care_of {
            self.mode = Mode::Multiple { bulk: true };
        }
        self.router_served(false);
        self.router = RouterState::default();
        self.flows.forget_all();
        self.ipv4_home_address = None;
        self.ipv4_wish = self.settings.ipv4_home_address;
        for entry in self.entries.values_mut() {
            entry.begin_epoch();
            entry.binding = None;
        }
        let bids = self.want_again(&wanted);
        self.enqueue(Purpose::Register, bids, self.settings.refresh.bulk);
    }

    /// Takes the care-of addresses into the list again; those that can be used come back.
    fn want_again(&mut self, wanted: &[CareOfAddress]) -> Vec<homeport_wire::Bid> {
        let mut bids = Vec::new();
        for address in wanted {
            let bid = address.bid;
            // Moved or ended meanwhile: the newer wish counts.
            let address = match self.entries.get(&bid) {
                Some(entry) if entry.wanted => entry.address,
                _ => *address,
            };
            match self.admit(address) {
                Ok(()) => bids.push(bid),
                Err(outcome) => {
                    self.entries.remove(&bid);
                    if matches!(address.care_of, CareOf::V4(_)) {
                        self.event(Event::Lost { bid, reason: LossReason::Unreachable });
                    }
                    self.settle(Some(bid), Purpose::Register, outcome);
                }
            }
        }
        bids
    }
}
