//! The home agent's part as a correspondent node, for what it sends itself: RFC 6275 §9.4 and §9.5,
//! RFC 5648 §6.2. All of it is without state; the store keeps the bindings.

use alloc::boxed::Box;
use alloc::vec::Vec;

use homeport_binding::correspondent::Millis;
use homeport_binding::{Answer, Correspondence, Outcome, RequestId, Verdict};
use homeport_correspondent::shared::{Proven, SharedKey, Verified};
use homeport_correspondent::{DropReason as Refusal, Update};
use homeport_wire::{BindingUpdate, BuFlags, Message, MobilityOption, Walk};

use crate::drop_reason::DropReason;
use crate::receive::{Received, Reply, ReplyKind};
use crate::update::Concluded;

/// What a front-end needs to play this part.
#[derive(Clone, Copy, Debug)]
pub struct Role<'k> {
    /// Shared by all front-ends of the cluster.
    pub key: &'k SharedKey,
    /// Milliseconds since the Unix epoch.
    pub now_ms: u64,
}

/// A Binding Update that return routability vouches for, on its way to the store.
#[derive(Debug)]
pub struct CorrespondentProposal(Box<Proven>);

impl Role<'_> {
    /// `None`: the message is none of a correspondent node's.
    pub(crate) fn receive(self, walk: &Walk<'_>, message: &Message<'_>) -> Option<Received> {
        let now = Millis(self.now_ms);
        let read = match message {
            Message::HomeTestInit(init) => self.key.home_test(now, walk, init).map(test),
            Message::CareOfTestInit(init) => self.key.care_of_test(now, walk, init).map(test),
            Message::BindingUpdate(update) if is_for_correspondent(update) => {
                self.verify(now, walk, update)
            }
            _ => return None,
        };
        Some(read.unwrap_or_else(|reason| Received::Drop(DropReason::Correspondent(reason))))
    }

    fn verify(
        self,
        now: Millis,
        walk: &Walk<'_>,
        update: &BindingUpdate<'_>,
    ) -> Result<Received, Refusal> {
        let update = Update::read(walk, update)?;
        match self.key.verify(now, update, walk.pseudo_destination())? {
            Verified::Proven(proven) => Ok(Received::Correspondence(CorrespondentProposal(proven))),
            // Nobody vouches for it: within the limit for errors.
            Verified::Refused { status, packet } => Ok(match packet {
                Some(packet) => {
                    let kind = ReplyKind::Acknowledgement(status);
                    Received::Reply(Reply { packet, outer: None, kind })
                }
                None => Received::Drop(DropReason::NoAcknowledgementDue),
            }),
        }
    }
}

/// With H clear and nonce indices. Without these it is not a correspondent's, and answered as one
/// that only leaves out H.
fn is_for_correspondent(update: &BindingUpdate<'_>) -> bool {
    let is_nonces =
        |option: MobilityOption<'_>| matches!(option, MobilityOption::NonceIndices { .. });
    !update.flags.contains(BuFlags::HOME_REGISTRATION) && update.options.iter().any(is_nonces)
}

fn test(packet: Vec<u8>) -> Received {
    Received::Test(Reply { packet, outer: None, kind: ReplyKind::AddressTest })
}

impl CorrespondentProposal {
    /// The command.
    #[must_use]
    pub fn correspondence(&self, request_id: RequestId) -> Correspondence {
        let (home_address, request) = (self.0.home_address(), self.0.request());
        Correspondence { request_id, home_address, request }
    }

    /// The answer, from the verdict.
    #[must_use]
    pub fn conclude(&self, verdict: &Verdict) -> Concluded {
        match &verdict.outcome {
            Outcome::Answer(answer) => match self.acknowledgement(answer) {
                Some(packet) => {
                    let kind = ReplyKind::Acknowledgement(answer.status);
                    Concluded::Reply(Reply { packet, outer: None, kind }, verdict.revision)
                }
                None => Concluded::Drop(DropReason::NoAcknowledgementDue),
            },
            Outcome::Silent(silence) => Concluded::Drop(DropReason::Store(*silence)),
            // No verdict on a Binding Update of this kind.
            Outcome::StalePolicy | Outcome::Done | Outcome::Refused(_) | Outcome::Pending => {
                Concluded::Drop(DropReason::NoAcknowledgementDue)
            }
        }
    }

    fn acknowledgement(&self, answer: &Answer) -> Option<Vec<u8>> {
        let Answer { status, sequence, lifetime, .. } = *answer;
        self.0.acknowledgement(status, sequence, lifetime)
    }
}
