//! What the node leaves off when the home agent does not do it (RFC 5648 §5.7): several bindings in
//! one update, or several bindings at all.

use alloc::vec::Vec;

use homeport_wire::{Bid, BindingAcknowledgement, Status};

use crate::acknowledge::Terms;
use crate::event::{Event, LossReason, Outcome};
use crate::exchange::{Exchange, Scope, SentUpdate};
use crate::node::{MobileNode, Mode};
use crate::reaction::Purpose;
use crate::settings::CareOf;

impl MobileNode {
    /// Gives each of these an exchange of its own.
    pub(crate) fn send_apart(&mut self, bids: &[Bid], purpose: Purpose) {
        for bid in bids {
            self.withdraw(*bid);
            let scope = Scope::Bindings(alloc::vec![*bid]);
            self.exchanges.push(Exchange::new(purpose, scope, self.now, false));
        }
    }

    pub(crate) fn fall_back_to_single_updates(&mut self, update: &SentUpdate) {
        if self.mode == (Mode::Multiple { bulk: true }) {
            self.mode = Mode::Multiple { bulk: false };
            self.event(Event::FellBackToSingleUpdates);
        }
        let current = update.bindings.iter().filter(|binding| self.is_current(binding));
        let bids: Vec<Bid> = current.map(|binding| binding.bid).collect();
        let together = bids
            .iter()
            .any(|bid| self.exchanges.iter().any(|e| e.contains(*bid) && e.bids().len() > 1));
        // The same status stands in each option: the first one has done it for all.
        if together {
            self.send_apart(&bids, update.purpose);
        }
    }

    /// Only one care-of address from now on: the preferred one of the update, or the one named.
    pub(crate) fn fall_back_to_single(&mut self, update: &SentUpdate, active: Option<Bid>) {
        if !matches!(self.mode, Mode::Multiple { .. }) {
            return;
        }
        let rank = |bid: &Bid| self.entries.get(bid).map(|entry| entry.address.priority.rank());
        let Some(active) = active.or(update.option_bids().into_iter().min_by_key(rank)) else {
            return;
        };
        self.mode = Mode::Single { active: Some(active) };
        self.event(Event::FellBackToSingle { bid: active });
        self.exchanges.clear();
        let others: Vec<Bid> = self.entries.keys().copied().filter(|bid| *bid != active).collect();
        for bid in others {
            if let Some(entry) = self.entries.get_mut(&bid) {
                entry.begin_epoch();
                entry.wanted = false;
                if entry.binding.take().is_some() {
                    self.event(Event::Lost { bid, reason: LossReason::Overwritten });
                }
            }
            self.settle(Some(bid), Purpose::Register, Outcome::SingleCareOf);
        }
        self.forgotten(active);
        self.send_apart(&[active], Purpose::Register);
    }

    /// RFC 5648 §5.7: no Binding Identifier option in the answer, so the peer has skipped those of
    /// the update and done a plain registration of its source, or ended everything.
    pub(crate) fn answered_without_bids(
        &mut self,
        update: &SentUpdate,
        ba: &BindingAcknowledgement<'_>,
    ) {
        if update.purpose == Purpose::Deregister {
            let bids: Vec<Bid> = self.entries.keys().copied().collect();
            for bid in bids {
                self.gone(bid, ba.status);
            }
            return;
        }
        let registered = update
            .bindings
            .iter()
            .find(|binding| binding.care_of.path() == update.path)
            .filter(|binding| self.is_current(binding))
            .copied();
        if registered.is_some_and(|binding| binding.care_of == CareOf::Home) {
            self.at_home_after_all(ba.status);
            return;
        }
        self.fall_back_to_single(update, registered.map(|binding| binding.bid));
        if let Some(binding) = registered.filter(|binding| self.active() == Some(binding.bid)) {
            self.accept(update, binding, ba.status, Terms::of(ba));
        }
    }

    /// RFC 5648 §5.6: a home agent that does not know the option has taken an update from the home
    /// address as the end of all bindings. The node is at home, and nowhere else.
    fn at_home_after_all(&mut self, status: Status) {
        self.exchanges.clear();
        self.mode = Mode::Single { active: None };
        self.router_served(false);
        self.flows.forget_all();
        self.ipv4_home_address = None;
        let bids: Vec<Bid> = self.entries.keys().copied().collect();
        for bid in bids {
            self.settle(Some(bid), Purpose::Register, Outcome::SingleCareOf);
            self.gone(bid, status);
        }
        self.event(Event::ReturnedHome);
    }
}
