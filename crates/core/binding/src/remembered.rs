//! Verdicts kept for commands that may be sent again: four for each home address, so that they are kept in
//! little room.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use homeport_wire::{Lifetime, Sequence, Status};

use crate::command::RequestId;
use crate::limits;
use crate::verdict::{Answer, NatDetection, Outcome, Verdict};

/// A verdict kept for a command that may be sent again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remembered {
    /// The command's request id.
    pub request_id: RequestId,
    /// Its first answer.
    pub verdict: Verdict,
}

/// The newest verdicts of a home address, oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Memory(Vec<Kept>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Kept {
    request_id: RequestId,
    revision: u64,
    outcome: KeptOutcome,
}

/// An outcome has one form only, so that equal ones are equal.
#[derive(Clone, PartialEq, Eq, Debug)]
enum KeptOutcome {
    /// An answer as nearly all are.
    Plain(Plain),
    /// Any other.
    Other(Box<Outcome>),
}

/// The answer to a Binding Update without IPv4 home address and flows, whose BID options all fared alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Plain {
    status: Status,
    /// Of each BID option.
    bid_status: Status,
    bids: u8,
    mobile_router: bool,
    /// F of NAT Detection, where there is one.
    force_udp: Option<bool>,
    refresh_secs: u32,
    lifetime: Lifetime,
    sequence: Sequence,
}

impl Plain {
    fn of(outcome: &Outcome) -> Option<Self> {
        let Outcome::Answer(answer) = outcome else { return None };
        let bid_status = answer.bid_statuses.first().copied().unwrap_or(Status::ACCEPTED);
        let plain = Self {
            status: answer.status,
            bid_status,
            bids: u8::try_from(answer.bid_statuses.len()).ok()?,
            mobile_router: answer.mobile_router,
            force_udp: answer.nat_detection.map(|it| it.force_udp),
            refresh_secs: answer.nat_detection.map_or(0, |it| it.refresh_secs),
            lifetime: answer.lifetime,
            sequence: answer.sequence,
        };
        let is_plain = answer.bid_statuses.iter().all(|status| *status == bid_status)
            && answer.ntp_secs.is_none()
            && answer.ipv4_address.is_none()
            && answer.flow_statuses.is_empty()
            && answer.flows_not_found.is_empty();
        is_plain.then_some(plain)
    }

    fn answer(self) -> Answer {
        let refresh_secs = self.refresh_secs;
        Answer {
            status: self.status,
            bid_statuses: vec![self.bid_status; self.bids.into()],
            lifetime: self.lifetime,
            sequence: self.sequence,
            nat_detection: self.force_udp.map(|force_udp| NatDetection { force_udp, refresh_secs }),
            ntp_secs: None,
            mobile_router: self.mobile_router,
            ipv4_address: None,
            flow_statuses: Vec::new(),
            flows_not_found: Vec::new(),
        }
    }
}

impl Kept {
    fn new(request_id: RequestId, verdict: &Verdict) -> Self {
        let outcome = match Plain::of(&verdict.outcome) {
            Some(plain) => KeptOutcome::Plain(plain),
            None => KeptOutcome::Other(Box::new(verdict.outcome.clone())),
        };
        Self { request_id, revision: verdict.revision, outcome }
    }

    fn verdict(&self) -> Verdict {
        let outcome = match &self.outcome {
            KeptOutcome::Plain(plain) => Outcome::Answer(plain.answer()),
            KeptOutcome::Other(outcome) => (**outcome).clone(),
        };
        Verdict { revision: self.revision, outcome, esp: None }
    }
}

impl Memory {
    /// With nothing in it.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Number of verdicts.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// There is no verdict.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0 = Vec::new();
    }

    /// Oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Remembered> + ExactSizeIterator {
        self.0
            .iter()
            .map(|kept| Remembered { request_id: kept.request_id, verdict: kept.verdict() })
    }

    /// The oldest goes when there are [`limits::REMEMBERED_PER_HOME_ADDRESS`].
    pub(crate) fn remember(&mut self, request_id: RequestId, verdict: &Verdict) {
        if self.0.len() >= limits::REMEMBERED_PER_HOME_ADDRESS {
            self.0.remove(0);
        }
        self.0.reserve_exact(1);
        self.0.push(Kept::new(request_id, verdict));
    }

    pub(crate) fn recall(&self, request_id: &RequestId) -> Option<Verdict> {
        self.0.iter().find(|kept| kept.request_id == *request_id).map(Kept::verdict)
    }
}

impl FromIterator<Remembered> for Memory {
    fn from_iter<I: IntoIterator<Item = Remembered>>(all: I) -> Self {
        let mut kept: Vec<Kept> =
            all.into_iter().map(|it| Kept::new(it.request_id, &it.verdict)).collect();
        kept.shrink_to_fit();
        Self(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Silence;
    use homeport_wire::FlowStatus;

    fn answer() -> Answer {
        Answer {
            status: Status::ACCEPTED,
            bid_statuses: vec![Status::MCOA_MALFORMED; 3],
            lifetime: Lifetime(70),
            sequence: Sequence(9),
            nat_detection: Some(NatDetection { force_udp: false, refresh_secs: 110 }),
            ntp_secs: None,
            mobile_router: true,
            ipv4_address: None,
            flow_statuses: Vec::new(),
            flows_not_found: Vec::new(),
        }
    }

    #[test]
    fn a_kept_answer_is_the_same_whatever_its_form() {
        let one = |answer| (Outcome::Answer(answer), true);
        let other = |answer| (Outcome::Answer(answer), false);
        let mixed = vec![Status::ACCEPTED, Status::MCOA_MALFORMED];
        let outcomes = [
            one(answer()),
            one(Answer { nat_detection: None, bid_statuses: Vec::new(), ..answer() }),
            one(Answer { bid_statuses: vec![Status::ACCEPTED; 255], ..answer() }),
            other(Answer { bid_statuses: vec![Status::ACCEPTED; 256], ..answer() }),
            other(Answer { bid_statuses: mixed, ..answer() }),
            other(Answer { ntp_secs: Some(7), ..answer() }),
            other(Answer { flow_statuses: vec![FlowStatus::BID_NOT_FOUND], ..answer() }),
            other(Answer { flows_not_found: vec![1], ..answer() }),
            (Outcome::StalePolicy, false),
            (Outcome::Silent(Silence::Superseded), false),
        ];
        for (outcome, is_plain) in outcomes {
            let verdict = Verdict { revision: 5, outcome, esp: None };
            let kept = Kept::new([1; 16], &verdict);
            assert_eq!(kept.verdict(), verdict);
            assert_eq!(matches!(kept.outcome, KeptOutcome::Plain(_)), is_plain, "{verdict:?}");
        }
    }

    #[test]
    fn the_newest_are_known() {
        let mut memory = Memory::new();
        for n in 0..7 {
            let verdict =
                Verdict { revision: n.into(), outcome: Outcome::Answer(answer()), esp: None };
            memory.remember([n; 16], &verdict);
        }
        assert_eq!(memory.iter().map(|it| it.request_id[0]).collect::<Vec<_>>(), [3, 4, 5, 6]);
        assert_eq!(memory.recall(&[2; 16]), None);
        assert_eq!(memory.recall(&[6; 16]).map(|it| it.revision), Some(6));
        assert_eq!(memory.iter().collect::<Memory>(), memory);
    }

    /// A million home addresses have four million of them.
    #[test]
    fn one_is_small() {
        assert!(size_of::<Kept>() <= 40);
    }
}
