//! A correspondent node of several processes: what they share, and what each of them does without
//! any state.
//!
//! Home Test Init, Care-of Test Init and Binding Update of one mobile node may reach three of them.
//! So node keys and nonces are not random but made of a key that all have, and of the time; and the
//! bindings are kept elsewhere, by [`crate::rules`].

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::net::Ipv6Addr;

use homeport_wire::{CareOfTestInit, HomeTestInit, Lifetime, Sequence, Status, Walk};

use crate::acknowledge::{Answer, compose, is_due};
use crate::address_tests::{care_of_test, home_test, tested};
use crate::cache::NoncePair;
use crate::event::DropReason;
use crate::keys::hmac_sha1;
use crate::limits::{NONCE_LIFETIME_MS, NONCE_PERIOD_MS};
use crate::proof::{Proof, prove};
use crate::rules::Request;
use crate::secret::{Issued, Secret};
use crate::time::Millis;
use crate::update::Update;

/// The key that all processes of the node share, of a good generator. Its value is never printed.
///
/// Of this key and the time everybody makes the same node keys and nonces (RFC 6275 §5.2.1, §5.2.2):
/// new ones every 30 s, which are believed for 240 s. Times here count from the Unix epoch, and clocks
/// that differ by less than 30 s do no harm.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedKey([u8; Self::OCTETS]);

impl SharedKey {
    /// Its length.
    pub const OCTETS: usize = 32;

    /// Of octets that only these processes know.
    #[must_use]
    pub const fn new(octets: [u8; Self::OCTETS]) -> Self {
        Self(octets)
    }

    /// The Home Test for a Home Test Init.
    ///
    /// # Errors
    /// When it is to be dropped.
    pub fn home_test(
        &self,
        now: Millis,
        walk: &Walk<'_>,
        init: &HomeTestInit<'_>,
    ) -> Result<Vec<u8>, DropReason> {
        let own = walk.pseudo_destination();
        Ok(home_test(own, tested(walk, own)?, init, &self.current(now)))
    }

    /// The Care-of Test for a Care-of Test Init.
    ///
    /// # Errors
    /// When it is to be dropped.
    pub fn care_of_test(
        &self,
        now: Millis,
        walk: &Walk<'_>,
        init: &CareOfTestInit<'_>,
    ) -> Result<Vec<u8>, DropReason> {
        let own = walk.pseudo_destination();
        Ok(care_of_test(own, tested(walk, own)?, init, &self.current(now)))
    }

    /// Whether a Binding Update to `correspondent` was made by who has both tokens.
    ///
    /// A BID option without care-of address is taken for one with the source: what is stored is not
    /// known here, and has to be compared with [`Request::proven`].
    ///
    /// # Errors
    /// When it is to be dropped.
    pub fn verify(
        &self,
        now: Millis,
        update: Update,
        correspondent: Ipv6Addr,
    ) -> Result<Verified, DropReason> {
        let nonces = update.authorized()?;
        let recognize = |index| self.recognize(now, index);
        match prove(&update, nonces, correspondent, None, recognize) {
            Ok(Some(proof)) => {
                Ok(Verified::Proven(Box::new(Proven { update, correspondent, nonces, proof })))
            }
            Ok(None) => Err(DropReason::NotAuthentic),
            Err(status) => {
                let (sequence, lifetime) = (update.sequence, Lifetime::DEREGISTER);
                let answer = Answer { status, sequence, lifetime };
                let packet = is_due(update.flags, status)
                    .then(|| compose(&update, correspondent, None, answer));
                Ok(Verified::Refused { status, packet })
            }
        }
    }

    fn current(&self, now: Millis) -> Secret {
        self.secret(period(now))
    }

    /// The secret of this index, while its tokens are believed. One that begins only now is that of
    /// a process whose clock is ahead.
    fn recognize(&self, now: Millis, index: u16) -> Option<Issued> {
        let newest = period(now).saturating_add(1);
        let alive = NONCE_LIFETIME_MS.checked_div(NONCE_PERIOD_MS).unwrap_or(0);
        let period = (newest.saturating_sub(alive)..=newest).find(|it| index_of(*it) == index)?;
        let first_use = Millis(period.saturating_mul(NONCE_PERIOD_MS));
        Some(Issued::new(self.secret(period), first_use))
    }

    fn secret(&self, period: u64) -> Secret {
        let of = |label: &[u8]| [label, &period.to_be_bytes()].concat();
        Secret {
            index: index_of(period),
            node_key: hmac_sha1(&self.0, &[&of(b"node key")]),
            nonce: hmac_sha1(&self.0, &[&of(b"nonce")]),
        }
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedKey(..)")
    }
}

/// Number of the period in which a nonce is given out.
const fn period(now: Millis) -> u64 {
    match now.0.checked_div(NONCE_PERIOD_MS) {
        Some(period) => period,
        None => 0,
    }
}

/// Nonce index: the same comes again after 22 days.
const fn index_of(period: u64) -> u16 {
    let [.., high, low] = period.to_be_bytes();
    u16::from_be_bytes([high, low])
}

/// What the nonces and the authenticator of a Binding Update gave.
#[derive(Clone, Debug)]
pub enum Verified {
    /// Ask who keeps the bindings.
    Proven(Box<Proven>),
    /// Nonces that are not known: the answer has no authenticator, and who sends it sees to a limit,
    /// since nobody vouches for the update.
    Refused {
        /// 136, 137 or 138.
        status: Status,
        /// The Binding Acknowledgement; none where it is not due.
        packet: Option<Vec<u8>>,
    },
}

/// An authentic Binding Update.
#[derive(Clone, Debug)]
pub struct Proven {
    update: Update,
    correspondent: Ipv6Addr,
    nonces: NoncePair,
    proof: Proof,
}

impl Proven {
    /// Whose binding it is about.
    #[must_use]
    pub const fn home_address(&self) -> Ipv6Addr {
        self.update.home_address
    }

    /// What is asked for.
    #[must_use]
    pub fn request(&self) -> Request {
        self.update.request(&self.proof, self.nonces, self.correspondent)
    }

    /// The Binding Acknowledgement, unless none is due (RFC 6275 §9.5.4). For used up nonces it has
    /// no authenticator, as for unknown ones.
    #[must_use]
    pub fn acknowledgement(
        &self,
        status: Status,
        sequence: Sequence,
        lifetime: Lifetime,
    ) -> Option<Vec<u8>> {
        let association = Some(&self.proof.association);
        let association = association.filter(|_| status != Status::EXPIRED_NONCES);
        let answer = Answer { status, sequence, lifetime };
        is_due(self.update.flags, status)
            .then(|| compose(&self.update, self.correspondent, association, answer))
    }
}
