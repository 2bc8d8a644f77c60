//! Binding Updates under way: what waits for an acknowledgement, and for how long.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use homeport_wire::{Bid, Lifetime, Sequence};

use crate::event::Path;
use crate::limits;
use crate::reaction::{Asked, AskedRouter, Purpose};
use crate::settings::CareOf;
use crate::time::{Millis, NtpTime};

/// Something that the home agent is to be told, again and again until it answers. A care-of address
/// is in one exchange at most.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Exchange {
    pub(crate) purpose: Purpose,
    pub(crate) scope: Scope,
    /// Times that it was sent.
    pub(crate) attempt: u8,
    /// Wait after the next sending.
    timeout_ms: u64,
    /// When to send, or to send again.
    pub(crate) due: Millis,
    /// Times that it was sent again because an answer asked for it.
    instant: u8,
}

/// What an exchange is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Scope {
    /// These care-of addresses.
    Bindings(Vec<Bid>),
    /// All bindings of the home address: a plain update with lifetime zero. It leaves from one of
    /// these.
    Everything(Vec<Path>),
}

impl Exchange {
    pub(crate) const fn new(purpose: Purpose, scope: Scope, now: Millis, first: bool) -> Self {
        let timeout_ms =
            if first { limits::INITIAL_TIMEOUT_FIRST_MS } else { limits::INITIAL_TIMEOUT_MS };
        Self { purpose, scope, attempt: 0, timeout_ms, due: now, instant: 0 }
    }

    /// The care-of addresses; none when it is about everything.
    pub(crate) fn bids(&self) -> &[Bid] {
        match &self.scope {
            Scope::Bindings(bids) => bids,
            Scope::Everything(_) => &[],
        }
    }

    pub(crate) fn contains(&self, bid: Bid) -> bool {
        self.bids().contains(&bid)
    }

    pub(crate) const fn is_about_everything(&self) -> bool {
        matches!(self.scope, Scope::Everything(_))
    }

    /// True when it is about everything and may be sent from there.
    pub(crate) fn leaves_from(&self, path: Path) -> bool {
        matches!(&self.scope, Scope::Everything(paths) if paths.contains(&path))
    }

    /// Takes a care-of address out; true when nothing is left.
    pub(crate) fn remove(&mut self, bid: Bid) -> bool {
        match &mut self.scope {
            Scope::Bindings(bids) => {
                bids.retain(|other| *other != bid);
                bids.is_empty()
            }
            Scope::Everything(_) => false,
        }
    }

    /// Notes that it was sent: the next time is after the timeout, which doubles (RFC 6275 §11.8).
    pub(crate) fn sent(&mut self, now: Millis) {
        self.attempt = self.attempt.saturating_add(1);
        self.due = now.plus(self.timeout_ms);
        self.timeout_ms = self.timeout_ms.saturating_mul(2).min(limits::TIMEOUT_MS_MAX);
    }

    /// True while an answer may come and it is too early to send again.
    pub(crate) fn is_in_flight(&self, now: Millis) -> bool {
        self.attempt > 0 && self.due > now
    }

    /// To be sent at once, because the answer asked for another form. Not for ever: see the limit.
    pub(crate) fn send_again(&mut self, now: Millis) {
        if self.due > now && self.instant < limits::INSTANT_RESENDS_MAX {
            self.instant = self.instant.saturating_add(1);
            self.due = now;
        }
    }

    /// To be sent at once, because a command wants it, with the timers of a fresh one.
    pub(crate) const fn restart(&mut self, now: Millis) {
        self.due = now;
        self.attempt = 0;
        self.timeout_ms = limits::INITIAL_TIMEOUT_MS;
    }
}

/// A Binding Update that left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SentUpdate {
    pub(crate) sequence: Sequence,
    pub(crate) at: Millis,
    pub(crate) path: Path,
    pub(crate) purpose: Purpose,
    /// Plain: without Binding Identifier options.
    pub(crate) plain: bool,
    pub(crate) everything: bool,
    pub(crate) overwrite: bool,
    pub(crate) force_udp: bool,
    pub(crate) router: Option<AskedRouter>,
    pub(crate) lifetime: Lifetime,
    pub(crate) message_id: Option<NtpTime>,
    pub(crate) bindings: Vec<SentBinding>,
    /// Flows told in full, and by name, with their revisions.
    pub(crate) flows: Vec<(u16, u32)>,
    pub(crate) flow_summary: Vec<(u16, u32)>,
    pub(crate) answered: bool,
}

/// What a Binding Update said about one care-of address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SentBinding {
    pub(crate) bid: Bid,
    pub(crate) care_of: CareOf,
    /// The option contained the address.
    pub(crate) given: bool,
    /// The entry's epoch at that time.
    pub(crate) epoch: u32,
}

impl SentUpdate {
    pub(crate) fn asked(&self, binding: &SentBinding) -> Asked {
        Asked {
            purpose: self.purpose,
            identified: !self.plain,
            bulk: self.bindings.len() > 1 && !self.plain,
            overwrite: self.overwrite,
            care_of_given: binding.given,
            ipv4: matches!(binding.care_of, CareOf::V4(_)),
            force_udp: self.force_udp,
            message_id: self.message_id.is_some(),
            router: self.router,
        }
    }

    /// The Binding Identifier options that it had.
    pub(crate) fn option_bids(&self) -> Vec<Bid> {
        if self.plain {
            return Vec::new();
        }
        self.bindings.iter().map(|binding| binding.bid).collect()
    }
}

/// The newest updates, so that acknowledgements find theirs. The oldest falls out.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct SentUpdates(VecDeque<SentUpdate>);

impl SentUpdates {
    pub(crate) fn push(&mut self, update: SentUpdate) {
        if self.0.len() >= limits::SENT_UPDATES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(update);
    }

    /// The newest update that `wanted` takes and nobody answered yet.
    pub(crate) fn outstanding(
        &mut self,
        wanted: impl Fn(&SentUpdate) -> bool,
    ) -> Option<&mut SentUpdate> {
        self.0.iter_mut().rev().find(|update| !update.answered && wanted(update))
    }

    /// True when an update with this number left, as far back as is remembered.
    pub(crate) fn contains(&self, sequence: Sequence) -> bool {
        self.0.iter().any(|update| update.sequence == sequence)
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// MAX_UPDATE_RATE (RFC 6275 §12): no more than so many updates in any second.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct UpdateRate {
    per_second_max: usize,
    recent: VecDeque<Millis>,
}

impl UpdateRate {
    pub(crate) fn new(per_second_max: u16) -> Self {
        Self { per_second_max: usize::from(per_second_max.max(1)), recent: VecDeque::new() }
    }

    /// The earliest moment at which another update may leave.
    pub(crate) fn free_at(&self) -> Millis {
        match self.recent.front() {
            Some(oldest) if self.recent.len() >= self.per_second_max => oldest.plus(1_000),
            _ => Millis(0),
        }
    }

    pub(crate) fn sent(&mut self, now: Millis) {
        if self.recent.len() >= self.per_second_max {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_updates_in_any_second() {
        let mut rate = UpdateRate::new(3);
        for now in [0, 400, 900] {
            assert!(rate.free_at() <= Millis(now));
            rate.sent(Millis(now));
        }
        assert_eq!(rate.free_at(), Millis(1_000));
        rate.sent(Millis(1_000));
        assert_eq!(rate.free_at(), Millis(1_400));
    }

    #[test]
    fn timeouts_double_up_to_the_limit() {
        for (first, expected) in [
            (true, [1_500, 3_000, 6_000, 12_000, 24_000, 32_000, 32_000]),
            (false, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 32_000]),
        ] {
            let scope = Scope::Bindings(alloc::vec![Bid(1)]);
            let mut exchange = Exchange::new(Purpose::Register, scope, Millis(7), first);
            let mut now = exchange.due;
            for wait in expected {
                exchange.sent(now);
                assert_eq!(exchange.due.since(now), wait);
                now = exchange.due;
            }
        }
    }
}
