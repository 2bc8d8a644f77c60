//! Binding Acknowledgements (RFC 6275 §11.7.3, RFC 5648 §5.7).

use alloc::vec::Vec;
use core::net::Ipv4Addr;

use homeport_wire::{
    Bid, BindingAcknowledgement, Ipv4AddressStatus, Lifetime, MobilityOption, Sequence, Status,
};

use crate::authentication::verify;
use crate::event::{DropReason, Event, LossReason, Outcome, Path};
use crate::exchange::{Exchange, Scope, SentBinding, SentUpdate};
use crate::limits;
use crate::list::{Binding, refresh_lead_ms, remaining_ms};
use crate::node::{MobileNode, Mode};
use crate::reaction::{Purpose, Reaction, reaction};
use crate::settings::CareOf;
use crate::time::{Millis, NtpTime};

/// NAT Detection refresh times that ask for no keepalive (RFC 5555 §3.2.2).
const NO_KEEPALIVE: [u32; 2] = [0, NO_TRANSLATOR];
/// The one of them that says that there is no translator.
const NO_TRANSLATOR: u32 = u32::MAX;

/// What an acknowledgement says for all its bindings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    lifetime: Lifetime,
    refresh_advice: Option<Lifetime>,
    keepalive_secs: Option<u32>,
    /// No translator on the way, and the home agent does not ask for UDP (RFC 5555 §4.4).
    bare: bool,
}

impl Terms {
    pub(crate) fn of(ba: &BindingAcknowledgement<'_>) -> Self {
        let find = |take: fn(MobilityOption<'_>) -> Option<u32>| ba.options.iter().find_map(take);
        let refresh_advice = find(|option| match option {
            MobilityOption::BindingRefreshAdvice { interval } => Some(interval.secs()),
            _ => None,
        });
        let detection = ba.options.iter().find_map(|option| match option {
            MobilityOption::NatDetection { force_udp, refresh_secs } => {
                Some((force_udp, refresh_secs))
            }
            _ => None,
        });
        let keepalive_secs = detection.map(|(_, refresh_secs)| refresh_secs);
        Self {
            lifetime: ba.lifetime,
            refresh_advice: refresh_advice.map(Lifetime::from_secs).filter(|advice| advice.0 > 0),
            keepalive_secs: keepalive_secs.filter(|secs| !NO_KEEPALIVE.contains(secs)),
            bare: detection == Some((false, NO_TRANSLATOR)),
        }
    }
}

impl MobileNode {
    /// Checks an acknowledgement and does what it says. `header` are its octets as received.
    pub(crate) fn acknowledged(
        &mut self,
        path: Path,
        header: &[u8],
        ba: &BindingAcknowledgement<'_>,
    ) -> Result<(), DropReason> {
        verify(&self.settings, path, header, &ba.options)?;
        let options = bid_statuses(ba);
        let now = self.now;
        let out_of_window = ba.status == Status::SEQUENCE_OUT_OF_WINDOW;
        let update = self.sent.outstanding(|update| {
            if out_of_window {
                // Its sequence number is the home agent's, so the bindings have to tell which it
                // answers.
                let bids = update.option_bids();
                update.path == path && (options.is_empty() || options.iter().map(|o| o.0).eq(bids))
            } else {
                update.sequence == ba.sequence
            }
        });
        let update = update.ok_or(DropReason::NotOutstanding)?;
        if update.path != path {
            return Err(DropReason::OtherPath);
        }
        check_message_id(update, ba)?;
        update.answered = true;
        let update = update.clone();
        let statuses = effective(&update, ba.status, &options);
        self.event(Event::Acknowledged {
            sequence: update.sequence,
            status: ba.status,
            lifetime: ba.lifetime,
            bids: statuses.iter().map(|(binding, status)| (binding.bid, *status)).collect(),
            round_trip_ms: now.since(update.at),
        });
        if out_of_window {
            self.doubt(ba.sequence);
            self.adopt(ba.sequence);
        }
        self.note_ipv4_home_address(ba);
        self.note_router(&update, ba);
        if update.everything {
            self.everything_answered(&update, ba);
        } else if !update.plain && options.is_empty() && ba.status.is_accepted() {
            self.answered_without_bids(&update, ba);
        } else {
            self.apply(&update, &statuses, ba);
        }
        self.note_flows(&update, ba);
        if ba.status == Status::PREFIX_DISCOVERY_NECESSARY {
            self.solicit_prefixes();
        }
        Ok(())
    }

    /// RFC 6275 §11.7.3: the next sequence number must be newer than what the home agent has. When
    /// the node's own is already, the refused update was merely overtaken.
    fn adopt(&mut self, carried: Sequence) {
        if !self.sequence.is_newer_than(carried) {
            self.sequence = carried;
        }
    }

    /// The home agent has heard of something else than the refused update. A number that this life
    /// of the node did not send is an earlier life's, which was under way for long and arrived late
    /// with the O flag that every life begins with: nothing that was acknowledged counts any more,
    /// and the next registration begins anew (RFC 5648 §5.3.1). One that it did send may be an
    /// earlier life's too: the next update about each binding gives its care-of address.
    fn doubt(&mut self, carried: Sequence) {
        let is_own = self.sent.contains(carried);
        // A plain update replaces everything anyway.
        self.overwrite |= !is_own && matches!(self.mode, Mode::Multiple { .. });
        let bids: Vec<Bid> = self.entries.keys().copied().collect();
        for bid in bids {
            if !is_own && matches!(self.mode, Mode::Multiple { .. }) {
                self.forgotten(bid);
            }
            if let Some(binding) = self.entries.get_mut(&bid).and_then(|e| e.binding.as_mut()) {
                binding.doubtful = true;
            }
        }
    }

    fn note_ipv4_home_address(&mut self, ba: &BindingAcknowledgement<'_>) {
        let answer = ba.options.iter().find_map(|option| match option {
            MobilityOption::Ipv4AddressAck { status, address, .. } => Some((status, address)),
            _ => None,
        });
        if let Some((status, address)) = answer {
            let status = Ipv4AddressStatus(status);
            let granted = (status == Ipv4AddressStatus::ACCEPTED).then_some(address);
            if granted != self.ipv4_home_address || granted.is_none() {
                self.event(Event::Ipv4HomeAddress { status, address });
            }
            self.ipv4_home_address = granted;
            self.ipv4_wish = match status {
                // The same again in every update, or the home agent takes it back.
                Ipv4AddressStatus::ACCEPTED => Some(address),
                // Another will do, once.
                Ipv4AddressStatus::INCORRECT_HOME_ADDRESS | Ipv4AddressStatus::INVALID_ADDRESS => {
                    let asked = self.ipv4_wish.filter(|asked| !asked.is_unspecified());
                    asked.map(|_| Ipv4Addr::UNSPECIFIED)
                }
                Ipv4AddressStatus::REASON_UNSPECIFIED => self.ipv4_wish,
                _ => None,
            };
        }
    }

    fn apply(
        &mut self,
        update: &SentUpdate,
        statuses: &[(SentBinding, Status)],
        ba: &BindingAcknowledgement<'_>,
    ) {
        let terms = Terms::of(ba);
        let mut accepted = Vec::new();
        let mut rest = Vec::new();
        for (binding, status) in statuses {
            if !self.is_current(binding) {
                continue;
            }
            let reaction = match reaction(*status, update.asked(binding)) {
                // Accepted for no time at all is a refusal without a reason.
                Reaction::Accept if terms.lifetime.is_deregistration() => Reaction::BackOff,
                reaction => reaction,
            };
            match reaction {
                Reaction::Accept => accepted.push((*binding, *status)),
                // A refusal of something that a later update has got accepted is of no interest.
                _ if self.is_confirmed_since(binding.bid, update.at) => {}
                reaction => rest.push((*binding, *status, reaction)),
            }
        }
        if !accepted.is_empty() && (update.overwrite || update.plain) {
            self.overwritten(update, &accepted);
        }
        for (binding, status) in accepted {
            self.accept(update, binding, status, terms);
        }
        for (binding, status, reaction) in rest {
            self.react(update, binding, status, reaction, ba);
        }
    }

    /// False when the node has changed its mind since the update left.
    pub(crate) fn is_current(&self, binding: &SentBinding) -> bool {
        self.entries.get(&binding.bid).is_some_and(|entry| entry.epoch == binding.epoch)
    }

    fn is_confirmed_since(&self, bid: Bid, at: Millis) -> bool {
        let binding = self.entries.get(&bid).and_then(|entry| entry.binding.as_ref());
        binding.is_some_and(|binding| binding.sent_at > at)
    }

    /// The home agent has replaced everything by what this update said.
    fn overwritten(&mut self, update: &SentUpdate, accepted: &[(SentBinding, Status)]) {
        if update.overwrite {
            self.overwrite = false;
        }
        let lost: Vec<Bid> = self
            .entries
            .values_mut()
            .filter(|entry| !accepted.iter().any(|(binding, _)| binding.bid == entry.address.bid))
            .filter_map(|entry| entry.binding.take().map(|_| entry.address.bid))
            .collect();
        for bid in lost {
            self.event(Event::Lost { bid, reason: LossReason::Overwritten });
        }
    }

    pub(crate) fn accept(
        &mut self,
        update: &SentUpdate,
        sent: SentBinding,
        status: Status,
        terms: Terms,
    ) {
        let now = self.now;
        let Some(entry) = self.entries.get_mut(&sent.bid) else {
            return;
        };
        let before = entry.binding.as_ref().map(|binding| binding.care_of);
        let overtaken = entry.binding.as_ref().is_some_and(|b| b.sent_at > update.at);
        let (keepalive_secs, bare) = match update.path {
            Path::Udp(_) if sent.care_of.path() == update.path => {
                (terms.keepalive_secs, terms.bare && !update.force_udp)
            }
            _ => entry
                .binding
                .as_ref()
                .map_or((None, false), |binding| (binding.keepalive_secs, binding.bare)),
        };
        let lifetime = terms.lifetime.min(update.lifetime);
        if !overtaken {
            let left = remaining_ms(update.lifetime, terms.lifetime, now.since(update.at));
            let advice = [terms.refresh_advice.map(Lifetime::secs), keepalive_secs];
            let refresh_ms = advice
                .into_iter()
                .flatten()
                .map(|secs| u64::from(secs).saturating_mul(1_000))
                .fold(left.saturating_sub(refresh_lead_ms(left)), u64::min);
            entry.binding = Some(Binding {
                care_of: sent.care_of,
                sequence: update.sequence,
                sent_at: update.at,
                confirmed_at: now,
                lifetime,
                expires: now.plus(left),
                refresh_at: now.plus(refresh_ms),
                status,
                keepalive_secs,
                bare,
                doubtful: false,
            });
        }
        self.ended_first = false;
        entry.retry_at = None;
        entry.back_off_ms = limits::BACK_OFF_INITIAL_MS;
        self.withdraw(sent.bid);
        let (bid, care_of) = (sent.bid, sent.care_of);
        if let Some(from) = before.filter(|from| *from != care_of) {
            self.event(Event::Moved { bid, from, to: care_of });
        }
        if let Some(refresh_secs) = keepalive_secs.filter(|_| before != Some(care_of)) {
            self.event(Event::TranslatorFound { bid, refresh_secs });
        }
        let renewed = before == Some(care_of);
        self.event(Event::Registered { bid, care_of, lifetime, status, renewed });
        let outcome = Outcome::Registered { care_of, lifetime, status };
        self.settle(Some(bid), Purpose::Register, outcome);
    }

    fn react(
        &mut self,
        update: &SentUpdate,
        sent: SentBinding,
        status: Status,
        reaction: Reaction,
        ba: &BindingAcknowledgement<'_>,
    ) {
        match reaction {
            // Sorted out before.
            Reaction::Accept => {}
            Reaction::Gone => self.gone(sent.bid, status),
            Reaction::Resynchronize => self.send_again(sent.bid),
            Reaction::Overwrite => {
                self.overwrite = true;
                self.send_again(sent.bid);
            }
            Reaction::GiveCareOf => {
                self.forgotten(sent.bid);
                self.send_again(sent.bid);
            }
            Reaction::SendAlone => {
                self.forgotten(sent.bid);
                self.send_apart(&[sent.bid], update.purpose);
            }
            Reaction::SingleUpdates => self.fall_back_to_single_updates(update),
            Reaction::SingleCareOf => self.fall_back_to_single(update, None),
            Reaction::WithoutForceUdp => {
                self.force_udp = false;
                self.send_again(sent.bid);
            }
            Reaction::GiveMessageId => {
                self.message_id = true;
                self.send_again(sent.bid);
            }
            Reaction::AsHost => {
                self.router.as_host = true;
                self.event(Event::NotServedAsRouter);
                self.send_again(sent.bid);
            }
            Reaction::GivePrefixes => {
                self.router.names_prefixes = true;
                self.send_again(sent.bid);
            }
            Reaction::AdjustClock => {
                self.adjust_clock(update, ba);
                self.send_again(sent.bid);
            }
            Reaction::EndFirst if !self.ended_first => self.end_first(update),
            Reaction::EndFirst => {
                self.refused(sent.bid, update.purpose, status, Reaction::GiveUp);
            }
            Reaction::BackOff | Reaction::GiveUp | Reaction::Fault => {
                self.refused(sent.bid, update.purpose, status, reaction);
            }
        }
    }

    pub(crate) fn gone(&mut self, bid: Bid, status: Status) {
        self.withdraw(bid);
        self.entries.remove(&bid);
        if self.active() == Some(bid) {
            self.mode = Mode::Single { active: None };
        }
        self.event(Event::Deregistered { bid, status });
        self.settle(Some(bid), Purpose::Deregister, Outcome::Deregistered { status });
    }

    /// The update goes again when everything has ended: see [`MobileNode::waits_for_end`].
    fn end_first(&mut self, update: &SentUpdate) {
        self.ended_first = true;
        let scope = Scope::Everything(alloc::vec![update.path]);
        self.exchanges.push(Exchange::new(Purpose::Deregister, scope, self.now, false));
        for binding in &update.bindings {
            self.send_again(binding.bid);
        }
    }

    fn send_again(&mut self, bid: Bid) {
        let now = self.now;
        if let Some(exchange) = self.exchanges.iter_mut().find(|e| e.contains(bid)) {
            exchange.send_again(now);
        }
    }

    /// The home agent does not know a binding that the node counted on.
    pub(crate) fn forgotten(&mut self, bid: Bid) {
        let binding = self.entries.get_mut(&bid).and_then(|entry| entry.binding.take());
        if binding.is_some() {
            self.event(Event::Lost { bid, reason: LossReason::Forgotten });
        }
    }

    fn everything_answered(&mut self, update: &SentUpdate, ba: &BindingAcknowledgement<'_>) {
        let Some(at) = self.exchanges.iter().position(Exchange::is_about_everything) else {
            return;
        };
        let asked = update.asked(&EVERYTHING);
        match reaction(ba.status, asked) {
            Reaction::Gone => {
                self.exchanges.remove(at);
                let unwanted = self.entries.values().filter(|entry| !entry.wanted);
                let bids: Vec<Bid> = unwanted.map(|entry| entry.address.bid).collect();
                for bid in bids {
                    self.gone(bid, ba.status);
                }
                // What is wanted all the same is registered anew.
                let wanted: Vec<Bid> = self.entries.keys().copied().collect();
                for bid in wanted {
                    self.forgotten(bid);
                }
                self.ipv4_home_address = None;
                self.ipv4_wish = self.settings.ipv4_home_address;
                self.router_served(false);
                self.flows.forget_all();
                if update.path == Path::Home {
                    self.event(Event::ReturnedHome);
                }
                let outcome = Outcome::Deregistered { status: ba.status };
                self.settle(None, Purpose::Deregister, outcome);
            }
            Reaction::BackOff | Reaction::GiveUp | Reaction::Fault => {
                self.exchanges.remove(at);
                let outcome = Outcome::Refused { status: ba.status };
                self.forget_unwanted(outcome);
                self.settle(None, Purpose::Deregister, outcome);
            }
            // What is left wants the update again in another form.
            form => {
                match form {
                    Reaction::WithoutForceUdp => self.force_udp = false,
                    Reaction::GiveMessageId => self.message_id = true,
                    Reaction::AdjustClock => self.adjust_clock(update, ba),
                    _ => {}
                }
                let now = self.now;
                if let Some(exchange) = self.exchanges.get_mut(at) {
                    exchange.send_again(now);
                }
            }
        }
    }

    /// RFC 4285 §6: the high half of the returned timestamp is the home agent's clock.
    fn adjust_clock(&mut self, update: &SentUpdate, ba: &BindingAcknowledgement<'_>) {
        if let (Some(sent), Some(carried)) = (update.message_id, carried_message_id(ba)) {
            let ahead = carried.secs().wrapping_sub(sent.secs());
            self.clock_offset_secs = self.clock_offset_secs.wrapping_add(ahead);
            // The sent one was not accepted, so it does not bind the next.
            self.last_message_id = NtpTime(0);
        }
    }

    fn refused(&mut self, bid: Bid, purpose: Purpose, status: Status, reaction: Reaction) {
        self.withdraw(bid);
        let mut retry_at = None;
        if let Some(entry) = self.entries.get_mut(&bid)
            && purpose == Purpose::Register
        {
            match reaction {
                Reaction::BackOff if self.settings.refresh.automatic => {
                    retry_at = Some(self.now.plus(entry.back_off_ms));
                    entry.retry_at = retry_at;
                    entry.back_off_ms =
                        entry.back_off_ms.saturating_mul(2).min(limits::BACK_OFF_MS_MAX);
                }
                _ => match entry.binding.as_ref().map(|binding| binding.care_of) {
                    // A refused move leaves the binding where it was.
                    Some(care_of) if care_of != entry.address.care_of => {
                        entry.address.care_of = care_of;
                        entry.begin_epoch();
                    }
                    _ => entry.wanted = false,
                },
            }
        }
        if reaction == Reaction::Fault {
            self.event(Event::Fault { bid: Some(bid), status });
        }
        self.event(Event::Refused { bid, status, retry_at });
        self.settle(Some(bid), purpose, Outcome::Refused { status });
    }
}

/// Stands for all bindings where one is asked for.
const EVERYTHING: SentBinding =
    SentBinding { bid: Bid::RESERVED, care_of: CareOf::Home, given: true, epoch: 0 };

/// The Binding Identifier options of an acknowledgement.
fn bid_statuses(ba: &BindingAcknowledgement<'_>) -> Vec<(Bid, Status)> {
    let options = ba.options.iter().filter_map(|option| match option {
        MobilityOption::BindingIdentifier(option) => Some((option.bid, option.status)),
        _ => None,
    });
    options.take(limits::BINDINGS_MAX).collect()
}

/// The status of each binding of the update: that of its option unless zero, else that of the
/// message (RFC 5648 §5.7). "Not complete" says nothing about a binding whose own status is zero.
fn effective(
    update: &SentUpdate,
    status: Status,
    options: &[(Bid, Status)],
) -> Vec<(SentBinding, Status)> {
    let of = |binding: &SentBinding| {
        let own = options.iter().find(|(bid, _)| *bid == binding.bid).map(|(_, status)| *status);
        match own {
            Some(Status::ACCEPTED) if status == Status::MCOA_NOTCOMPLETE => Status::ACCEPTED,
            Some(own) if own != Status::ACCEPTED => own,
            Some(_) => status,
            // Refused as a whole, or a peer that left out one of several options.
            None if options.is_empty() || !status.is_accepted() => status,
            None => Status::REASON_UNSPECIFIED,
        }
    };
    update.bindings.iter().map(|binding| (*binding, of(binding))).collect()
}

/// The timestamp has to come back unchanged, or with the home agent's seconds when it was refused
/// (RFC 4285 §6).
fn check_message_id(
    update: &SentUpdate,
    ba: &BindingAcknowledgement<'_>,
) -> Result<(), DropReason> {
    let Some(NtpTime(sent)) = update.message_id else {
        return Ok(());
    };
    const FRACTION: u64 = 0xffff_ffff;
    let matches = match carried_message_id(ba) {
        Some(NtpTime(carried)) if ba.status == Status::ID_MISMATCH => {
            carried & FRACTION == sent & FRACTION
        }
        Some(NtpTime(carried)) => carried == sent,
        None => false,
    };
    if matches { Ok(()) } else { Err(DropReason::MessageId) }
}

fn carried_message_id(ba: &BindingAcknowledgement<'_>) -> Option<NtpTime> {
    ba.options.iter().find_map(|option| match option {
        MobilityOption::MessageId { timestamp } => Some(NtpTime(timestamp)),
        _ => None,
    })
}
