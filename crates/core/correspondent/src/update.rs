//! Binding Updates to a correspondent node: RFC 6275 §9.5.1 to §9.5.3, RFC 5648 §6.2.

use alloc::vec::Vec;
use core::net::Ipv6Addr;

use homeport_wire::options::kind;
use homeport_wire::{
    Bid, BidCareOf, BidOption, BidPriority, BindingUpdate, BuFlags, Lifetime, MobilityOption,
    Sequence, Status, Walk, is_unicast_routable_v6, is_unicast_v6,
};

use crate::acknowledge::{Answer, Association, compose, is_due};
use crate::cache::{Binding, Home, NoncePair};
use crate::event::{DropReason, EndReason, Event, Output};
use crate::keys::{BindingKey, TokenKind};
use crate::limits::{AUTHENTICATOR_OCTETS, SPENT_PAIRS_MAX};
use crate::node::Correspondent;
use crate::time::Millis;

/// A Binding Update whose addresses are in order.
pub(crate) struct Update<'a, 'p> {
    pub(crate) home_address: Ipv6Addr,
    /// IPv6 source on the wire.
    pub(crate) source: Ipv6Addr,
    pub(crate) has_home_address_option: bool,
    message: &'a BindingUpdate<'p>,
    /// The Mobility Header as received: the authenticator covers its octets.
    octets: &'a [u8],
    nonces: Option<NoncePair>,
    alternate: Option<Ipv6Addr>,
    has_malformed_bid: bool,
}

impl<'a, 'p> Update<'a, 'p> {
    fn new(walk: &Walk<'a>, message: &'a BindingUpdate<'p>) -> Result<Self, DropReason> {
        let mut update = Self {
            home_address: walk.pseudo_source(),
            source: walk.header.source,
            has_home_address_option: walk.home_address.is_some(),
            message,
            octets: walk.payload,
            nonces: None,
            alternate: None,
            has_malformed_bid: false,
        };
        if !is_unicast_v6(update.source) {
            return Err(DropReason::SourceNotRoutable);
        }
        if !is_unicast_routable_v6(update.home_address) {
            return Err(DropReason::HomeAddressNotRoutable);
        }
        for option in message.options.iter() {
            match option {
                MobilityOption::NonceIndices { home, care_of } => {
                    update.nonces = Some((home, care_of));
                }
                MobilityOption::AlternateCareOf(address) => update.alternate = Some(address),
                // RFC 5648 §4.4 has a status of its own for these.
                MobilityOption::Malformed { kind: kind::BINDING_IDENTIFIER, .. } => {
                    update.has_malformed_bid = true;
                }
                MobilityOption::Malformed { .. } => return Err(DropReason::MalformedOption),
                _ => {}
            }
        }
        Ok(update)
    }

    /// The readable BID options in their order.
    pub(crate) fn bids(&self) -> impl Iterator<Item = BidOption> + '_ {
        self.message.options.iter().filter_map(|option| match option {
            MobilityOption::BindingIdentifier(option) => Some(option),
            _ => None,
        })
    }

    fn has_bids(&self) -> bool {
        self.has_malformed_bid || self.bids().next().is_some()
    }

    const fn deletes(&self) -> bool {
        self.message.lifetime.is_deregistration()
    }

    /// RFC 5648 §4.2: only together with a BID option, and P gives the bit another meaning.
    fn overwrites(&self) -> bool {
        let flags = self.message.flags;
        flags.contains(BuFlags::OVERWRITE) && !flags.contains(BuFlags::PROXY)
    }

    /// RFC 6275 §9.5.1: the option must be there, be the last, and have nothing behind it.
    fn is_authorized_at_its_end(&self) -> bool {
        let options = &self.message.options;
        let is_authorization = |option: &MobilityOption<'_>| {
            matches!(option, MobilityOption::BindingAuthorizationData(_))
        };
        options.iter().filter(is_authorization).count() == 1
            && options.iter().last().is_some_and(|last| is_authorization(&last))
            && options.authenticator_len() == Some(AUTHENTICATOR_OCTETS)
    }

    /// The address of a binding without BID (RFC 6275 §9.5.1).
    fn plain_care_of(&self) -> Ipv6Addr {
        self.alternate.unwrap_or(self.source)
    }

    /// Addresses that the authenticator may cover: the one that is to be registered. Where a BID
    /// option does not say which that is, the mobile node can only have meant its source.
    fn covered(&self, known: Option<&Home>) -> [Ipv6Addr; 2] {
        if self.deletes() {
            return [self.home_address; 2];
        }
        let mut bids = self.bids();
        let (first, is_bulk) = (bids.next(), bids.next().is_some());
        let Some(first) = first else {
            let address = if self.has_malformed_bid { self.source } else { self.plain_care_of() };
            return [address; 2];
        };
        let stored = known.and_then(|home| home.bindings.get(&Some(first.bid)));
        let named = match first.care_of {
            BidCareOf::V6(address) => address,
            BidCareOf::Absent => stored.map_or(self.source, |binding| binding.care_of),
            BidCareOf::V4(_) => self.source,
        };
        // Which of several addresses a bulk update is authenticated for is not defined, because it
        // is refused; the refusal must reach its sender all the same.
        [named, if is_bulk || self.has_malformed_bid { self.source } else { named }]
    }
}

/// What the nonces of an update gave.
struct Proof {
    association: Association,
    /// The first moment at which a replay of the update is refused for its nonces.
    replay_ends: Millis,
}

impl Correspondent {
    pub(crate) fn receive_update(
        &mut self,
        walk: &Walk<'_>,
        message: &BindingUpdate<'_>,
        has_home_registration: bool,
    ) -> Result<(), DropReason> {
        let update = Update::new(walk, message)?;
        // What has ended counts for nothing, also when many end at once.
        self.work_off(update.home_address);
        if message.flags.contains(BuFlags::HOME_REGISTRATION) {
            return self.refuse_home_registration(&update, has_home_registration);
        }
        let nonces = update.nonces.ok_or(DropReason::NonceIndicesMissing)?;
        if !update.is_authorized_at_its_end() {
            return Err(DropReason::AuthorizationMissing);
        }
        if !update.deletes()
            && !update.has_bids()
            && !is_unicast_routable_v6(update.plain_care_of())
        {
            return Err(DropReason::CareOfNotRoutable);
        }
        let proof = match self.prove(&update, nonces) {
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
        update: &Update<'_, '_>,
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

    /// Makes the key again that the mobile node must have made of its tokens. `Ok(None)` when the
    /// authenticator was not made with it; a status when the nonces are not known.
    fn prove(
        &self,
        update: &Update<'_, '_>,
        (home, care_of): NoncePair,
    ) -> Result<Option<Proof>, Status> {
        let home = self.secrets.recognize(self.now, home);
        let care_of = self.secrets.recognize(self.now, care_of);
        let (home, care_of) = match (home, care_of) {
            // The care-of nonce is not looked at (RFC 6275 §9.5.1).
            (Some(home), _) if update.deletes() => (home, None),
            (None, _) if update.deletes() => return Err(Status::EXPIRED_HOME_NONCE_INDEX),
            (Some(home), Some(care_of)) => (home, Some(care_of)),
            (None, Some(_)) => return Err(Status::EXPIRED_HOME_NONCE_INDEX),
            (Some(_), None) => return Err(Status::EXPIRED_CARE_OF_NONCE_INDEX),
            (None, None) => return Err(Status::EXPIRED_NONCES),
        };
        let replay_ends = care_of.map_or(home.ends(), |care_of| home.ends().min(care_of.ends()));
        let home_token = home.secret.token(TokenKind::Home, update.home_address);
        let own = self.settings.address;
        let known = self.cache.home(update.home_address);
        let association = update.covered(known).into_iter().find_map(|address| {
            let key = match care_of {
                Some(care_of) => BindingKey::to_register(
                    home_token,
                    care_of.secret.token(TokenKind::CareOf, address),
                ),
                None => BindingKey::to_delete(home_token),
            };
            key.authenticates(address, own, update.octets)
                .then_some(Association { key, care_of: address })
        });
        Ok(association.map(|association| Proof { association, replay_ends }))
    }

    /// The update is valid: from here on its sequence number counts, whatever becomes of it.
    fn decide(
        &mut self,
        update: &Update<'_, '_>,
        proof: &Proof,
        nonces: NoncePair,
    ) -> Result<(), DropReason> {
        let sequence = update.message.sequence;
        let ruling = self.rule(update, nonces);
        let now = self.now;
        if matches!(ruling, Ok(Ruling::Store { .. })) {
            self.cache.open(update.home_address, sequence);
        }
        let ended = self.cache.edit(now, update.home_address, |home| {
            home.sequence = sequence;
            home.guard = home.guard.max(proof.replay_ends);
            ruling.as_ref().map_or_else(
                |_| Vec::new(),
                |ruling| carry_out(home, now, ruling, nonces, proof.replay_ends),
            )
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

    /// RFC 5648 §6.2, in its order, then RFC 6275 §9.5.2 or §9.5.3.
    fn rule(&self, update: &Update<'_, '_>, nonces: NoncePair) -> Result<Ruling, Status> {
        let flags = update.message.flags;
        if flags.contains(BuFlags::PROXY) {
            return Err(Status::PROXY_REGISTRATION_NOT_ENABLED);
        }
        // RFC 3963 §6.2: a mobile router registers with home agents only.
        if flags.contains(BuFlags::MOBILE_ROUTER) {
            return Err(Status::MOBILE_ROUTER_NOT_PERMITTED);
        }
        let option = self.single_option(update)?;
        let bid = option.map(|option| option.bid);
        let home = self.cache.home(update.home_address);
        let stored = home.and_then(|home| home.bindings.get(&bid));
        if update.deletes() {
            return match bid {
                Some(bid) if stored.is_some() => Ok(Ruling::Delete(bid)),
                Some(_) => Err(Status::NOT_HOME_AGENT),
                None => Ok(Ruling::DeleteAll),
            };
        }
        let care_of = match option.map(|option| option.care_of) {
            None => update.plain_care_of(),
            Some(BidCareOf::V6(address)) => address,
            Some(_) => stored.map(|stored| stored.care_of).ok_or(Status::MCOA_UNKNOWN_COA)?,
        };
        // What is sent there would come back.
        if care_of == self.settings.address {
            return Err(Status::INVALID_CARE_OF_ADDRESS);
        }
        let replaces_all = bid.is_none() || update.overwrites();
        if let Some(home) = home {
            if !replaces_all && home.bindings.contains_key(&None) {
                return Err(Status::MCOA_NON_MCOA_BINDING_EXISTS);
            }
            if home.is_spent(self.now, nonces, care_of) {
                return Err(Status::EXPIRED_NONCES);
            }
        }
        self.check_room(home, bid, replaces_all)?;
        let lifetime = update.message.lifetime.min(self.settings.lifetime_max);
        let priority = option.map_or(BidPriority::UNSET, |option| option.priority);
        Ok(Ruling::Store { bid, care_of, priority, lifetime, replaces_all })
    }

    /// The BID option of an update that may have one.
    fn single_option(&self, update: &Update<'_, '_>) -> Result<Option<BidOption>, Status> {
        if update.has_bids() && !self.settings.multiple_care_of_allowed {
            return Err(Status::MCOA_PROHIBITED);
        }
        if update.has_malformed_bid {
            return Err(Status::MCOA_MALFORMED);
        }
        let mut bids = update.bids();
        let (first, second) = (bids.next(), bids.next());
        if second.is_some() {
            return Err(Status::MCOA_BULK_REGISTRATION_PROHIBITED);
        }
        let is_wrong = first.is_some_and(|option| {
            option.bid == Bid::RESERVED
                || match option.care_of {
                    BidCareOf::Absent => false,
                    BidCareOf::V4(_) => true,
                    BidCareOf::V6(address) => !is_unicast_routable_v6(address),
                }
        });
        if is_wrong { Err(Status::MCOA_MALFORMED) } else { Ok(first) }
    }

    /// RFC 6275 §9.5.2: a new binding may be refused for want of room.
    fn check_room(
        &self,
        home: Option<&Home>,
        bid: Option<Bid>,
        replaces_all: bool,
    ) -> Result<(), Status> {
        let has_room = match home {
            None => self.cache.len() < self.settings.home_addresses_max,
            Some(home) => {
                let stays = home.bindings.keys().filter(|other| !replaces_all && **other != bid);
                let others = stays.count();
                let now = self.now;
                let spent = home.spent.iter().filter(|spent| spent.until > now).count();
                others < self.settings.bindings_per_home_address_max
                    && others.saturating_add(spent) < SPENT_PAIRS_MAX
            }
        };
        if has_room { Ok(()) } else { Err(Status::INSUFFICIENT_RESOURCES) }
    }

    fn acknowledge(&mut self, update: &Update<'_, '_>, proof: &Proof, lifetime: Lifetime) {
        let sequence = update.message.sequence;
        let answer = Answer { status: Status::ACCEPTED, sequence, lifetime };
        self.send_answer(update, Some(&proof.association), answer);
    }

    fn answer(
        &mut self,
        update: &Update<'_, '_>,
        proof: &Proof,
        status: Status,
        sequence: Sequence,
    ) {
        let home_address = update.home_address;
        self.event(Event::Refused { home_address, status });
        let answer = Answer { status, sequence, lifetime: Lifetime::DEREGISTER };
        self.send_answer(update, Some(&proof.association), answer);
    }

    /// For what nobody vouches for, within the limit.
    fn answer_unauthenticated(
        &mut self,
        update: &Update<'_, '_>,
        status: Status,
    ) -> Result<(), DropReason> {
        self.within_budget()?;
        let home_address = update.home_address;
        self.event(Event::Refused { home_address, status });
        let sequence = update.message.sequence;
        let answer = Answer { status, sequence, lifetime: Lifetime::DEREGISTER };
        self.send_answer(update, None, answer);
        Ok(())
    }

    fn send_answer(
        &mut self,
        update: &Update<'_, '_>,
        association: Option<&Association>,
        answer: Answer,
    ) {
        let flags = update.message.flags;
        // RFC 6275 §10.3.1: home registrations are answered always.
        if is_due(flags, answer.status) || flags.contains(BuFlags::HOME_REGISTRATION) {
            let packet = compose(update, self.settings.address, association, answer);
            self.out.push(Output::Send(packet));
        }
    }
}

/// What an accepted update does.
enum Ruling {
    Store {
        bid: Option<Bid>,
        care_of: Ipv6Addr,
        priority: BidPriority,
        lifetime: Lifetime,
        replaces_all: bool,
    },
    Delete(Bid),
    DeleteAll,
}

/// Changes the bindings, and says which are gone.
fn carry_out(
    home: &mut Home,
    now: Millis,
    ruling: &Ruling,
    nonces: NoncePair,
    nonces_end: Millis,
) -> Vec<(Option<Bid>, EndReason)> {
    let before: Vec<Option<Bid>> = home.bindings.keys().copied().collect();
    let (ended, reason): (Vec<Option<Bid>>, EndReason) = match ruling {
        Ruling::Store { bid, care_of, priority, lifetime, replaces_all } => {
            let others = before.into_iter().filter(|other| *replaces_all && other != bid);
            let ended: Vec<Option<Bid>> = others.collect();
            for other in &ended {
                home.bindings.remove(other);
            }
            let binding = Binding::new(now, *care_of, *priority, *lifetime, nonces, nonces_end);
            home.bindings.insert(*bid, binding);
            (ended, EndReason::Replaced)
        }
        Ruling::Delete(bid) => {
            home.delete(now, Some(*bid));
            (Vec::from([Some(*bid)]), EndReason::Deleted)
        }
        Ruling::DeleteAll => {
            for bid in &before {
                home.delete(now, *bid);
            }
            (before, EndReason::Deleted)
        }
    };
    ended.into_iter().map(|bid| (bid, reason)).collect()
}
