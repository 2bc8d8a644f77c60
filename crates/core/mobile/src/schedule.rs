//! What leaves when: exchanges are formed, sent, repeated and given up; bindings are refreshed and
//! end.

use alloc::vec::Vec;

use homeport_wire::{Bid, BuFlags, Lifetime};

use crate::compose::{Draft, compose, flags};
use crate::event::{Event, LossReason, Outcome, Path};
use crate::exchange::{Exchange, Scope, SentBinding, SentUpdate};
use crate::flow::FlowDraft;
use crate::limits;
use crate::list::Entry;
use crate::node::{MobileNode, Mode};
use crate::reaction::Purpose;
use crate::settings::CareOf;
use crate::time::{Millis, NtpTime};

/// Times that an update leaves from one address before the next one is tried.
const ATTEMPTS_PER_PATH: u8 = 2;

impl MobileNode {
    /// When to call [`MobileNode::handle`] with [`crate::Input::Timeout`]; `None` when nothing is
    /// under way and no binding lives.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Millis> {
        let free_at = self.rate.free_at();
        let exchanges = self
            .exchanges
            .iter()
            .filter(|exchange| !self.waits(exchange) && !self.is_without_home_agent())
            .map(|exchange| exchange.due.max(free_at));
        let ends = self
            .entries
            .values()
            .filter_map(|entry| entry.binding.as_ref().map(|binding| binding.expires));
        let refreshes = self.entries.values().filter_map(|entry| self.refresh_due(entry));
        let questions = self.questions.next_deadline();
        exchanges.chain(ends).chain(refreshes).chain(questions).min()
    }

    /// Everything that is due.
    pub(crate) fn run_timers(&mut self, ntp: NtpTime) {
        self.expire();
        self.give_up_silent_exchanges();
        self.continue_switch();
        self.ask();
        self.refresh_what_is_due();
        self.find_first_home_agent();
        self.ask();
        self.send_what_is_due(ntp);
    }

    /// Forms exchanges for these care-of addresses: one for all that may go together, one for each
    /// of the others. An exchange about the very same is only sped up.
    pub(crate) fn enqueue(&mut self, purpose: Purpose, bids: Vec<Bid>, bulk: bool) {
        let first = purpose == Purpose::Register
            && self.entries.values().all(|entry| entry.binding.is_none());
        let bulk = bulk && self.mode == Mode::Multiple { bulk: true };
        let (together, alone): (Vec<Bid>, Vec<Bid>) = bids.into_iter().partition(|bid| {
            let entry = self.entries.get(bid);
            bulk && (purpose == Purpose::Deregister || entry.is_some_and(Entry::may_go_in_bulk))
        });
        let bulks = together.chunks(limits::BULK_BINDINGS_MAX).map(Vec::from);
        let groups: Vec<Vec<Bid>> =
            bulks.chain(alone.into_iter().map(|bid| alloc::vec![bid])).collect();
        for group in groups {
            let same = self.exchanges.iter_mut().find(|exchange| {
                exchange.purpose == purpose && exchange.bids() == group.as_slice()
            });
            if let Some(exchange) = same {
                exchange.restart(self.now);
                continue;
            }
            for bid in &group {
                self.withdraw(*bid);
            }
            let scope = Scope::Bindings(group);
            self.exchanges.push(Exchange::new(purpose, scope, self.now, first));
        }
    }

    /// Takes a care-of address out of the exchange that it is in.
    pub(crate) fn withdraw(&mut self, bid: Bid) {
        self.exchanges.retain_mut(|exchange| !(exchange.contains(bid) && exchange.remove(bid)));
    }

    fn waits(&self, exchange: &Exchange) -> bool {
        self.waits_for_overwrite(exchange) || self.waits_for_end(exchange)
    }

    /// What is to be registered anew waits until the old has ended.
    fn waits_for_end(&self, exchange: &Exchange) -> bool {
        exchange.purpose == Purpose::Register
            && self.exchanges.iter().any(Exchange::is_about_everything)
    }

    /// After a start only one registration may be on its way, the one that carries the O flag: what
    /// came after it, but reached the home agent before it, would be overwritten.
    fn waits_for_overwrite(&self, exchange: &Exchange) -> bool {
        let registers = |exchange: &Exchange| exchange.purpose == Purpose::Register;
        self.overwrite
            && matches!(self.mode, Mode::Multiple { .. })
            && registers(exchange)
            && !exchange.is_in_flight(self.now)
            && self.exchanges.iter().any(|other| registers(other) && other.is_in_flight(self.now))
    }

    fn expire(&mut self) {
        let now = self.now;
        let ended: Vec<Bid> = self
            .entries
            .values_mut()
            .filter_map(|entry| {
                entry.binding.take_if(|binding| binding.expires <= now).map(|_| entry.address.bid)
            })
            .collect();
        for bid in ended {
            self.event(Event::Lost { bid, reason: LossReason::Expired });
            let under_way = self.exchanges.iter().any(|exchange| exchange.contains(bid));
            if self.entries.get(&bid).is_some_and(|entry| !entry.wanted) && !under_way {
                self.entries.remove(&bid);
            }
        }
    }

    /// When an entry is due without a command; `None` while an exchange takes care of it, or when
    /// the node is not to act by itself.
    fn refresh_due(&self, entry: &Entry) -> Option<Millis> {
        let under_way = self.exchanges.iter().any(|exchange| exchange.contains(entry.address.bid));
        let waits = under_way || self.is_between_home_agents();
        if !entry.wanted || waits || !self.settings.refresh.automatic {
            return None;
        }
        let refresh_at = entry.binding.as_ref().map(|binding| binding.refresh_at);
        // An entry with neither was lost and is due at once.
        Some(entry.retry_at.or(refresh_at).unwrap_or(Millis(0)))
    }

    fn refresh_what_is_due(&mut self) {
        let due = |entry: &&Entry| self.refresh_due(entry).is_some_and(|at| at <= self.now);
        let mut bids: Vec<Bid> =
            self.entries.values().filter(due).map(|entry| entry.address.bid).collect();
        if bids.is_empty() {
            return;
        }
        let bulk = self.settings.refresh.bulk;
        if bulk && self.mode == (Mode::Multiple { bulk: true }) {
            // The others come along, so that all end together and one update serves them; but not
            // what is rather new.
            let along = self.entries.values().filter(|entry| {
                let binding = entry.binding.as_ref();
                let is_old = binding.is_some_and(|binding| {
                    let wait_ms = binding.refresh_at.since(binding.sent_at);
                    self.now.since(binding.sent_at) >= wait_ms / 2
                });
                is_old
                    && entry.retry_at.is_none()
                    && entry.may_go_in_bulk()
                    && self.refresh_due(entry).is_some_and(|at| at > self.now)
            });
            let along: Vec<Bid> = along.map(|entry| entry.address.bid).collect();
            bids.extend(along);
        }
        for bid in &bids {
            if let Some(entry) = self.entries.get_mut(bid) {
                entry.retry_at = None;
            }
        }
        bids.sort_unstable();
        self.enqueue(Purpose::Register, bids, bulk);
    }

    fn give_up_silent_exchanges(&mut self) {
        let (now, attempts_max) = (self.now, self.attempts_max());
        let silent: Vec<Exchange> = self
            .exchanges
            .extract_if(.., |exchange| exchange.due <= now && exchange.attempt >= attempts_max)
            .collect();
        for exchange in silent {
            match &exchange.scope {
                Scope::Everything(_) => {
                    self.event(Event::NoAnswer { bid: None });
                    self.forget_unwanted(Outcome::NoAnswer);
                    self.settle(None, Purpose::Deregister, Outcome::NoAnswer);
                }
                Scope::Bindings(bids) => {
                    for bid in bids {
                        self.no_answer(*bid, exchange.purpose);
                    }
                }
            }
        }
    }

    fn no_answer(&mut self, bid: Bid, purpose: Purpose) {
        let automatic = self.settings.refresh.automatic;
        match (purpose, self.entries.get_mut(&bid)) {
            (Purpose::Register, Some(entry)) => {
                // RFC 6275 §11.8 lets the node go on at the slowest pace.
                entry.retry_at = automatic.then(|| self.now.plus(limits::TIMEOUT_MS_MAX));
                entry.wanted &= automatic || entry.binding.is_some();
            }
            (Purpose::Deregister, Some(_)) => {
                self.entries.remove(&bid);
            }
            (_, None) => {}
        }
        self.event(Event::NoAnswer { bid: Some(bid) });
        self.settle(Some(bid), purpose, Outcome::NoAnswer);
    }

    /// Removes the entries that were to be ended.
    pub(crate) fn forget_unwanted(&mut self, outcome: Outcome) {
        let gone: Vec<Bid> =
            self.entries.extract_if(.., |_, entry| !entry.wanted).map(|(bid, _)| bid).collect();
        for bid in gone {
            self.settle(Some(bid), Purpose::Deregister, outcome);
        }
    }

    fn send_what_is_due(&mut self, ntp: NtpTime) {
        if self.is_without_home_agent() {
            return;
        }
        let mut order: Vec<(u8, usize)> = self
            .exchanges
            .iter()
            .enumerate()
            .filter(|(_, exchange)| exchange.due <= self.now)
            .map(|(at, exchange)| (exchange.attempt, at))
            .collect();
        // What was sent less often goes first, so that a dead link does not hold up the others.
        order.sort_unstable();
        for (_, at) in order {
            if self.rate.free_at() > self.now {
                break;
            }
            let Some(exchange) = self.exchanges.get(at) else {
                break;
            };
            if self.waits(exchange) {
                continue;
            }
            self.send_update(at, ntp);
        }
    }

    fn send_update(&mut self, at: usize, ntp: NtpTime) {
        let Some(exchange) = self.exchanges.get(at).cloned() else {
            return;
        };
        let Some(path) = self.path_for(&exchange) else {
            // Cannot happen: entries in exchanges exist. If it did, the exchange would end by its
            // timer.
            self.note_attempt(at);
            return;
        };
        let registers = exchange.purpose == Purpose::Register;
        let plain = exchange.is_about_everything() || matches!(self.mode, Mode::Single { .. });
        let overwrite = registers && !plain && self.overwrite;
        if overwrite {
            self.distrust_all_but(exchange.bids());
        }
        let entries = exchange.bids().iter().filter_map(|bid| self.entries.get(bid));
        let mut options: Vec<_> = entries
            .map(|entry| {
                let option = entry.option(path, registers, &self.settings);
                let given = option.care_of != homeport_wire::BidCareOf::Absent || plain;
                let (care_of, epoch) = (entry.address.care_of, entry.epoch);
                let sent = SentBinding { bid: option.bid, care_of, given, epoch };
                (care_of.path() != path, option, sent)
            })
            .collect();
        if matches!(path, Path::Udp(_)) {
            // RFC 5648 §8.1 and the authenticator look at the first IPv4 care-of address of what
            // leaves by UDP: that has to be the address which it leaves from.
            options.sort_by_key(|(other, _, _)| *other);
        }
        let bindings: Vec<SentBinding> = options.iter().map(|(_, _, sent)| *sent).collect();
        for bid in exchange.bids() {
            if let Some(entry) = self.entries.get_mut(bid) {
                entry.left(exchange.purpose);
            }
        }
        let options = if plain { Vec::new() } else { options.iter().map(|o| o.1).collect() };
        let force_udp = self.force_udp && matches!(path, Path::Udp(_));
        self.sequence = self.sequence.next();
        let draft = Draft {
            sequence: self.sequence,
            flags: flags(
                &self.settings,
                &[
                    (overwrite, BuFlags::OVERWRITE),
                    (force_udp, BuFlags::FORCE_UDP),
                    (self.router().is_some(), BuFlags::MOBILE_ROUTER),
                ],
            ),
            lifetime: if registers { self.settings.lifetime } else { Lifetime::DEREGISTER },
            bindings: options,
            flows: if plain {
                FlowDraft::default()
            } else {
                self.flow_draft(exchange.bids(), exchange.purpose, overwrite)
            },
            path,
            ipv4_home_address: self.ipv4_wish.filter(|_| registers),
            prefixes: self.named_prefixes(registers),
            message_id: self.message_id.then(|| self.next_message_id(ntp)),
        };
        self.record(at, &exchange, &draft, bindings, plain);
    }

    /// Sends the packet and notes everything about it.
    fn record(
        &mut self,
        at: usize,
        exchange: &Exchange,
        draft: &Draft,
        bindings: Vec<SentBinding>,
        plain: bool,
    ) {
        let update = SentUpdate {
            sequence: draft.sequence,
            at: self.now,
            path: draft.path,
            purpose: exchange.purpose,
            plain,
            everything: exchange.is_about_everything(),
            overwrite: draft.flags.contains(BuFlags::OVERWRITE),
            force_udp: draft.flags.contains(BuFlags::FORCE_UDP),
            router: self.asked_router(draft),
            lifetime: draft.lifetime,
            message_id: draft.message_id,
            bindings,
            flows: draft.flows.flows.iter().map(|(flow, rev)| (flow.fid, *rev)).collect(),
            flow_summary: draft.flows.summary.clone(),
            answered: false,
        };
        self.send(compose(&self.settings, draft));
        self.event(Event::Sent {
            sequence: draft.sequence,
            path: draft.path,
            bids: update.option_bids(),
            lifetime: draft.lifetime,
            overwrite: update.overwrite,
            attempt: exchange.attempt.saturating_add(1),
        });
        self.sent.push(update);
        self.rate.sent(self.now);
        self.note_attempt(at);
    }

    fn note_attempt(&mut self, at: usize) {
        if let Some(exchange) = self.exchanges.get_mut(at) {
            exchange.sent(self.now);
        }
    }

    /// An overwriting update ends what the home agent may have accepted before it, so
    /// acknowledgements of that count for nothing any more.
    fn distrust_all_but(&mut self, bids: &[Bid]) {
        for (bid, entry) in &mut self.entries {
            if !bids.contains(bid) {
                entry.epoch = entry.epoch.wrapping_add(1);
            }
        }
    }

    /// Timestamps have to increase (RFC 4285 §6), also when the clock does not.
    fn next_message_id(&mut self, ntp: NtpTime) -> NtpTime {
        let after_last = NtpTime(self.last_message_id.0.wrapping_add(1));
        self.last_message_id = ntp.shifted(self.clock_offset_secs).max(after_last);
        self.last_message_id
    }

    /// The address that the next update of an exchange leaves from. A registration of one address
    /// leaves from that address, which proves it; others try each in turn.
    fn path_for(&self, exchange: &Exchange) -> Option<Path> {
        let own = exchange.bids().iter().filter_map(|bid| self.entries.get(bid)).map(Entry::path);
        let mut paths: Vec<Path> = match &exchange.scope {
            Scope::Everything(paths) => paths.clone(),
            Scope::Bindings(_) => own.collect(),
        };
        if exchange.purpose == Purpose::Deregister && !exchange.is_about_everything() {
            let bound = self.entries.values().filter(|e| e.wanted && e.binding.is_some());
            paths.extend(bound.map(Entry::path));
        } else {
            // What the home agent has heard from before works more likely.
            let heard = |path: &Path| {
                self.entries.values().any(|entry| entry.is_settled() && entry.path() == *path)
            };
            paths.sort_by_key(|path| !heard(path));
        }
        let turn = usize::from(exchange.attempt / ATTEMPTS_PER_PATH);
        let count = paths.len().max(1);
        paths.get(turn.checked_rem(count)?).copied()
    }

    /// The active binding of a node with one care-of address.
    pub(crate) const fn active(&self) -> Option<Bid> {
        match self.mode {
            Mode::Single { active } => active,
            Mode::Multiple { .. } => None,
        }
    }

    /// The binding with this care-of address.
    pub(crate) fn bid_of(&self, path: Path) -> Option<Bid> {
        let has = |care_of: CareOf| care_of.path() == path;
        self.entries
            .values()
            .find(|entry| {
                has(entry.address.care_of)
                    || entry.binding.as_ref().is_some_and(|binding| has(binding.care_of))
            })
            .map(|entry| entry.address.bid)
    }
}
