//! What the owner of the node can ask for.

use alloc::vec::Vec;

use homeport_wire::{Bid, is_unicast_routable_v6};

use crate::event::{Event, Outcome, Output, Path, RequestId};
use crate::exchange::{Exchange, Scope};
use crate::flow::Flow;
use crate::limits;
use crate::list::Entry;
use crate::node::{MobileNode, Mode};
use crate::reaction::Purpose;
use crate::settings::{CareOf, CareOfAddress};

/// A wish. Later wishes replace earlier ones about the same care-of address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Register these care-of addresses. A known BID with another address is a move.
    Register {
        /// The addresses.
        addresses: Vec<CareOfAddress>,
        /// In one update, as far as RFC 5648 §8.1 allows it, not one for each.
        bulk: bool,
    },
    /// Take these care-of addresses into the list without registering them: an earlier life of the
    /// node has, and they are to be ended now.
    Adopt {
        /// The addresses.
        addresses: Vec<CareOfAddress>,
    },
    /// Renew these bindings now.
    Refresh {
        /// The bindings; empty for all.
        bids: Vec<Bid>,
        /// In one update.
        bulk: bool,
    },
    /// The interface of this binding has another address now.
    Move {
        /// The binding.
        bid: Bid,
        /// The new address.
        care_of: CareOf,
    },
    /// These flows and no others, told to the home agent with the next update, which leaves at once
    /// when there is a binding. The answers come as events.
    SetFlows {
        /// The flows.
        flows: Vec<Flow>,
    },
    /// Ask who the home agents of the home link are (RFC 6275 §11.4.1). The answer comes as event.
    DiscoverHomeAgents,
    /// Ask for the prefixes of the home link (RFC 6275 §11.4.2). The answer comes as event.
    SolicitPrefixes,
    /// End these bindings.
    Deregister {
        /// The bindings.
        bids: Vec<Bid>,
        /// In one update.
        bulk: bool,
    },
    /// End all bindings by a plain update (RFC 5648 §5.4), known here or not.
    DeregisterAll {
        /// Care-of address to send from when the node has none of its own.
        from: Option<CareOf>,
    },
    /// The node is at home with its only interface: end all bindings, from the home address.
    ReturnHome,
    /// Forget everything without telling the home agent. Commands that wait end as stopped.
    Stop,
}

/// Results that are clear before anything is sent.
type Results = Vec<(Option<Bid>, Outcome)>;

impl MobileNode {
    pub(crate) fn command(&mut self, request: RequestId, command: Command) {
        let tracked = request != RequestId::NOBODY && command != Command::Stop;
        if tracked && self.requests.is_full() {
            self.complete(request, alloc::vec![(None, Outcome::Busy)]);
            return;
        }
        self.interrupt_switch(&command);
        match command {
            Command::Register { addresses, bulk } => self.register(request, &addresses, bulk),
            Command::Adopt { addresses } => self.adopt_addresses(request, &addresses),
            Command::Refresh { bids, bulk } => self.refresh(request, bids, bulk),
            Command::Move { bid, care_of } => self.move_care_of(request, bid, care_of),
            Command::SetFlows { flows } => self.set_flows(request, flows),
            Command::DiscoverHomeAgents => self.discover_home_agents(request),
            Command::SolicitPrefixes => {
                self.solicit_prefixes();
                self.complete(request, Results::new());
            }
            Command::Deregister { bids, bulk } => self.deregister(request, bids, bulk),
            Command::DeregisterAll { from } => {
                let paths = self.ways_out(from);
                self.deregister_all(request, paths);
            }
            Command::ReturnHome => self.deregister_all(request, alloc::vec![Path::Home]),
            Command::Stop => self.stop(request),
        }
    }

    fn register(&mut self, request: RequestId, addresses: &[CareOfAddress], bulk: bool) {
        let mut results = Results::new();
        let mut accepted = Vec::new();
        for address in addresses {
            match self.admit(*address) {
                Ok(()) => accepted.push(address.bid),
                Err(outcome) => results.push((Some(address.bid), outcome)),
            }
        }
        self.begin_registration(request, accepted, bulk, results);
    }

    fn adopt_addresses(&mut self, request: RequestId, addresses: &[CareOfAddress]) {
        let mut results = Results::new();
        for address in addresses {
            match self.admit(*address) {
                Ok(()) => {
                    self.withdraw(address.bid);
                    self.give_up_entry(address.bid);
                }
                Err(outcome) => results.push((Some(address.bid), outcome)),
            }
        }
        self.complete(request, results);
    }

    /// Takes a care-of address into the list, or says why not.
    pub(crate) fn admit(&mut self, address: CareOfAddress) -> Result<(), Outcome> {
        let reachable =
            self.settings.home_agent_v4.is_some() || !matches!(address.care_of, CareOf::V4(_));
        if address.bid == Bid::RESERVED || !reachable || !is_usable(address.care_of) {
            return Err(Outcome::Invalid);
        }
        if address.care_of == CareOf::Home && !matches!(self.mode, Mode::Multiple { .. }) {
            // Without the option it would end all bindings: there is a command for that.
            return Err(Outcome::SingleCareOf);
        }
        let is_full = self.entries.len() >= limits::BINDINGS_MAX;
        match self.entries.get_mut(&address.bid) {
            Some(entry) => {
                if entry.address.care_of != address.care_of || !entry.wanted {
                    entry.begin_epoch();
                }
                entry.address = address;
                entry.wanted = true;
                entry.retry_at = None;
            }
            None if is_full => return Err(Outcome::Busy),
            None => {
                self.entries.insert(address.bid, Entry::new(address));
            }
        }
        Ok(())
    }

    fn refresh(&mut self, request: RequestId, bids: Vec<Bid>, bulk: bool) {
        let wanted = |entry: &&Entry| entry.wanted;
        let bids = if bids.is_empty() {
            self.entries.values().filter(wanted).map(|entry| entry.address.bid).collect()
        } else {
            bids
        };
        let (known, unknown): (Vec<_>, Vec<_>) =
            bids.into_iter().partition(|bid| self.entries.get(bid).is_some_and(|e| e.wanted));
        let results = unknown.into_iter().map(|bid| (Some(bid), Outcome::UnknownBid)).collect();
        self.begin_registration(request, known, bulk, results);
    }

    fn move_care_of(&mut self, request: RequestId, bid: Bid, care_of: CareOf) {
        let outcome = match self.entries.get(&bid).map(|entry| entry.address) {
            Some(address) => self.admit(CareOfAddress { care_of, ..address }),
            None => Err(Outcome::UnknownBid),
        };
        match outcome {
            Ok(()) => self.begin_registration(request, alloc::vec![bid], false, Results::new()),
            Err(outcome) => {
                let results = alloc::vec![(Some(bid), outcome)];
                self.complete(request, results);
            }
        }
    }

    fn begin_registration(
        &mut self,
        request: RequestId,
        mut bids: Vec<Bid>,
        bulk: bool,
        mut results: Results,
    ) {
        bids.sort_unstable();
        bids.dedup();
        if let Some(active) = self.choose_single(&bids) {
            let (chosen, others) = bids.into_iter().partition(|bid| *bid == active);
            bids = chosen;
            results.extend(others.into_iter().map(|bid: Bid| (Some(bid), Outcome::SingleCareOf)));
        }
        for bid in &bids {
            self.settle(Some(*bid), Purpose::Deregister, Outcome::Superseded);
        }
        self.ended_first = false;
        self.drop_everything_exchange();
        self.wait_for(request, Purpose::Register, &bids, results);
        self.enqueue(Purpose::Register, bids, bulk);
    }

    /// With one care-of address at a time: the active one if it is among these, else the first of
    /// these, which becomes active.
    fn choose_single(&mut self, bids: &[Bid]) -> Option<Bid> {
        let Mode::Single { active } = self.mode else {
            return None;
        };
        let chosen = active.filter(|active| bids.contains(active)).or(bids.first().copied())?;
        self.mode = Mode::Single { active: Some(chosen) };
        self.exchanges
            .retain(|exchange| exchange.purpose != Purpose::Register || exchange.contains(chosen));
        let others: Vec<Bid> = self.entries.keys().copied().filter(|bid| *bid != chosen).collect();
        for bid in others {
            if let Some(entry) = self.entries.get_mut(&bid) {
                entry.wanted = false;
            }
            self.settle(Some(bid), Purpose::Register, Outcome::SingleCareOf);
        }
        Some(chosen)
    }

    fn deregister(&mut self, request: RequestId, mut bids: Vec<Bid>, bulk: bool) {
        bids.sort_unstable();
        bids.dedup();
        let (mut known, unknown): (Vec<_>, Vec<_>) =
            bids.into_iter().partition(|bid| self.entries.contains_key(bid));
        let mut results: Results =
            unknown.into_iter().map(|bid| (Some(bid), Outcome::UnknownBid)).collect();
        if let Mode::Single { active } = self.mode {
            // A plain update ends the one binding there is: not for the sake of another address.
            let others = known.extract_if(.., |bid| Some(*bid) != active);
            results.extend(others.map(|bid| (Some(bid), Outcome::SingleCareOf)));
        }
        for bid in &known {
            self.give_up_entry(*bid);
        }
        self.wait_for(request, Purpose::Deregister, &known, results);
        self.enqueue(Purpose::Deregister, known, bulk);
    }

    /// The node does not want this binding any more, and who waits for it waits in vain.
    fn give_up_entry(&mut self, bid: Bid) {
        if let Some(entry) = self.entries.get_mut(&bid) {
            entry.begin_epoch();
            entry.wanted = false;
        }
        self.settle(Some(bid), Purpose::Register, Outcome::Superseded);
    }

    /// Care-of addresses that a plain update can leave from, the registered ones first.
    fn ways_out(&self, from: Option<CareOf>) -> Vec<Path> {
        let bound = self.entries.values().filter(|entry| entry.binding.is_some());
        let others = self.entries.values().filter(|entry| entry.binding.is_none());
        let own = bound.chain(others).map(Entry::path);
        let mut paths: Vec<Path> = from.into_iter().map(CareOf::path).collect();
        for path in own {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        paths
    }

    fn deregister_all(&mut self, request: RequestId, paths: Vec<Path>) {
        if paths.is_empty() {
            let results = alloc::vec![(None, Outcome::UnknownBid)];
            self.complete(request, results);
            return;
        }
        let bids: Vec<Bid> = self.entries.keys().copied().collect();
        for bid in bids {
            self.give_up_entry(bid);
        }
        self.exchanges.clear();
        self.settle(None, Purpose::Deregister, Outcome::Superseded);
        let waiting = alloc::vec![None];
        let done = self.requests.add(request, Purpose::Deregister, waiting, Results::new());
        self.out.extend(done.map(Output::Event));
        let scope = Scope::Everything(paths);
        self.exchanges.push(Exchange::new(Purpose::Deregister, scope, self.now, false));
    }

    /// A registration that comes after "end all" must not be ended by a retransmission of it.
    fn drop_everything_exchange(&mut self) {
        let before = self.exchanges.len();
        self.exchanges.retain(|exchange| !exchange.is_about_everything());
        if self.exchanges.len() != before {
            self.settle(None, Purpose::Deregister, Outcome::Superseded);
        }
    }

    fn stop(&mut self, request: RequestId) {
        self.entries.clear();
        self.exchanges.clear();
        self.sent.clear();
        self.ipv4_home_address = None;
        self.router.served = false;
        self.flows.forget_all();
        self.overwrite = true;
        let events = self.requests.abandon(Outcome::Stopped);
        self.out.extend(events.into_iter().map(Output::Event));
        self.complete(request, Results::new());
    }

    /// A command that has nothing to wait for.
    pub(crate) fn complete(&mut self, request: RequestId, results: Results) {
        if request != RequestId::NOBODY {
            self.event(Event::Completed { request, results });
        }
    }

    fn wait_for(&mut self, request: RequestId, purpose: Purpose, bids: &[Bid], results: Results) {
        let waiting = bids.iter().copied().map(Some).collect();
        let done = self.requests.add(request, purpose, waiting, results);
        self.out.extend(done.map(Output::Event));
    }
}

/// Whether an address can be a care-of address at all. Loopback addresses are allowed: a whole
/// cluster can be tried out on one machine.
fn is_usable(care_of: CareOf) -> bool {
    match care_of {
        CareOf::V6(address) => is_unicast_routable_v6(address),
        CareOf::V4(address) => {
            !(address.is_unspecified() || address.is_multicast() || address.is_broadcast())
        }
        CareOf::Home => true,
    }
}
