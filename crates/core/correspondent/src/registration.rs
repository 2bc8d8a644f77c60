//! Binding Updates to the machine: RFC 6275 §9.5.1 to §9.5.4.

use alloc::vec::Vec;

use homeport_wire::{BindingUpdate, BuFlags, Lifetime, Sequence, Status, Walk};

use crate::acknowledge::{Answer, Association, compose, is_due};
use crate::cache::NoncePair;
use crate::event::{DropReason, Event, Output};
use crate::node::Correspondent;
use crate::proof::{Proof, prove};
use crate::rules::{Allowance, Ruling, carry_out, rule};
use crate::update::Update;

impl Correspondent {
    pub(crate) fn receive_update(
        &mut self,
        walk: &Walk<'_>,
        message: &BindingUpdate<'_>,
        has_home_registration: bool,
    ) -> Result<(), DropReason> {
        let update = Update::read(walk, message)?;
        // What has ended counts for nothing, also when many end at once.
        self.work_off(update.home_address);
        if message.flags.contains(BuFlags::HOME_REGISTRATION) {
            return self.refuse_home_registration(&update, has_home_registration);
        }
        let nonces = update.authorized()?;
        let (own, now) = (self.settings.address, self.now);
        let known = self.cache.home(update.home_address);
        let recognize = |index| self.secrets.recognize(now, index).cloned();
        let proof = match prove(&update, nonces, own, known, recognize) {
            Ok(proof) => proof.ok_or(DropReason::NotAuthentic)?,
            Err(status) => return self.answer_unauthenticated(&update, status),
        };
        // Whatever becomes of it: as long as this update could come again, its home address is not
        // forgotten (RFC 6275 §5.2.8).
        let last = self.cache.edit(self.now, update.home_address, |home| {
            home.guard = home.guard.max(proof.replay_ends);
            home.sequence
        });
        if has_home_registration {
            self.answer(&update, &proof, Status::REGISTRATION_TYPE_CHANGE, message.sequence);
        } else if let Some(last) = last.filter(|last| !message.sequence.is_newer_than(*last)) {
            self.answer(&update, &proof, Status::SEQUENCE_OUT_OF_WINDOW, last);
        } else {
            self.decide(&update, &proof, nonces)?;
        }
        Ok(())
    }

    /// A home registration at a node that is no home agent (RFC 6275 §10.3.1), or that would turn
    /// a binding into one (§9.5.1). It is not protected by anything that this machine knows, so the
    /// answer is not either.
    fn refuse_home_registration(
        &mut self,
        update: &Update,
        has_home_registration: bool,
    ) -> Result<(), DropReason> {
        if update.nonces.is_some() {
            return Err(DropReason::NonceIndices);
        }
        if has_home_registration {
            // The home agent's.
            return Err(DropReason::UnexpectedMessage);
        }
        let known = self.cache.home(update.home_address);
        let is_bound = known.is_some_and(|home| !home.bindings.is_empty());
        let status = if is_bound {
            Status::REGISTRATION_TYPE_CHANGE
        } else {
            Status::HOME_REGISTRATION_NOT_SUPPORTED
        };
        self.answer_unauthenticated(update, status)
    }

    /// The update is valid: from here on its sequence number counts, whatever becomes of it.
    fn decide(
        &mut self,
        update: &Update,
        proof: &Proof,
        nonces: NoncePair,
    ) -> Result<(), DropReason> {
        let (sequence, now) = (update.sequence, self.now);
        let request = update.request(proof, nonces, self.settings.address);
        let home = self.cache.home(update.home_address);
        let ruling = rule(now, &request, home, &self.allowance());
        if matches!(ruling, Ok(Ruling::Store { .. })) {
            self.cache.open(update.home_address, sequence);
        }
        let ended = self.cache.edit(now, update.home_address, |home| {
            home.sequence = sequence;
            home.guard = home.guard.max(proof.replay_ends);
            ruling
                .as_ref()
                .map_or_else(|_| Vec::new(), |ruling| carry_out(home, now, ruling, &request))
        });
        let home_address = update.home_address;
        for (bid, reason) in ended.unwrap_or_default() {
            self.event(Event::Ended { home_address, bid, reason });
        }
        match ruling {
            Ok(Ruling::Store { bid, care_of, lifetime, .. }) => {
                self.event(Event::Bound { home_address, bid, care_of, lifetime });
                self.acknowledge(update, proof, lifetime);
            }
            Ok(Ruling::Delete(_) | Ruling::DeleteAll) => {
                self.acknowledge(update, proof, Lifetime::DEREGISTER);
            }
            // As for nonces that are not known: the mobile node must prove its addresses again.
            Err(Status::EXPIRED_NONCES) => {
                self.answer_unauthenticated(update, Status::EXPIRED_NONCES)?;
            }
            Err(status) => self.answer(update, proof, status, sequence),
        }
        Ok(())
    }

    fn allowance(&self) -> Allowance {
        let settings = &self.settings;
        Allowance {
            lifetime_max: settings.lifetime_max,
            bindings_per_home_address_max: settings.bindings_per_home_address_max,
            multiple_care_of_allowed: settings.multiple_care_of_allowed,
            has_room: self.cache.len() < settings.home_addresses_max,
        }
    }

    fn acknowledge(&mut self, update: &Update, proof: &Proof, lifetime: Lifetime) {
        let sequence = update.sequence;
        let answer = Answer { status: Status::ACCEPTED, sequence, lifetime };
        self.send_answer(update, Some(&proof.association), answer);
    }

    fn answer(&mut self, update: &Update, proof: &Proof, status: Status, sequence: Sequence) {
        let home_address = update.home_address;
        self.event(Event::Refused { home_address, status });
        let answer = Answer { status, sequence, lifetime: Lifetime::DEREGISTER };
        self.send_answer(update, Some(&proof.association), answer);
    }

    /// For what nobody vouches for, within the limit.
    fn answer_unauthenticated(
        &mut self,
        update: &Update,
        status: Status,
    ) -> Result<(), DropReason> {
        self.within_budget()?;
        let home_address = update.home_address;
        self.event(Event::Refused { home_address, status });
        let sequence = update.sequence;
        let answer = Answer { status, sequence, lifetime: Lifetime::DEREGISTER };
        self.send_answer(update, None, answer);
        Ok(())
    }

    fn send_answer(&mut self, update: &Update, association: Option<&Association>, answer: Answer) {
        let flags = update.flags;
        // RFC 6275 §10.3.1: home registrations are answered always.
        if is_due(flags, answer.status) || flags.contains(BuFlags::HOME_REGISTRATION) {
            let packet = compose(update, self.settings.address, association, answer);
            self.out.push(Output::Send(packet));
        }
    }
}
