//! Node keys and nonces: what tokens are made of, and for how long they are believed (RFC 6275
//! §5.2.1, §5.2.2, §5.2.7).

use alloc::collections::VecDeque;
use core::fmt;
use core::net::Ipv6Addr;

use crate::keys::{KEY_OCTETS, TOKEN_OCTETS, TokenKind, keygen_token};
use crate::limits::{NONCE_LIFETIME_MS, NONCE_PERIOD_MS, NONCES_MAX};
use crate::time::Millis;

/// A node key and a nonce with the index that names both: RFC 6275 §5.2.7 advises to change them
/// together. All of it comes from outside, from a generator that is fit for keys. Its value is
/// never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// Nonce index. When one that is alive has the same, the next free one is taken.
    pub index: u16,
    /// Kcn.
    pub node_key: [u8; KEY_OCTETS],
    /// Nonce.
    pub nonce: [u8; TOKEN_OCTETS],
}

impl Secret {
    /// Octets of randomness that one takes.
    pub const RANDOM_OCTETS: usize = 2 + KEY_OCTETS + TOKEN_OCTETS;

    /// Of random octets. A random index makes it unlikely that a token of an earlier life of this
    /// node meets an index that is known again.
    #[must_use]
    pub fn from_random(random: [u8; Self::RANDOM_OCTETS]) -> Self {
        let mut secret = Self { index: 0, node_key: [0; KEY_OCTETS], nonce: [0; TOKEN_OCTETS] };
        let mut index = [0; 2];
        let places = index.iter_mut().chain(&mut secret.node_key).chain(&mut secret.nonce);
        places.zip(random).for_each(|(place, octet)| *place = octet);
        secret.index = u16::from_be_bytes(index);
        secret
    }

    pub(crate) fn token(&self, kind: TokenKind, address: Ipv6Addr) -> [u8; TOKEN_OCTETS] {
        keygen_token(&self.node_key, kind, address, self.nonce)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({}, ..)", self.index)
    }
}

/// A secret that tokens were made of.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    pub(crate) secret: Secret,
    first_use: Millis,
}

impl Issued {
    pub(crate) const fn new(secret: Secret, first_use: Millis) -> Self {
        Self { secret, first_use }
    }

    /// The first moment at which its tokens are no longer believed.
    pub(crate) const fn ends(&self) -> Millis {
        self.first_use.plus(NONCE_LIFETIME_MS)
    }
}

/// Those in use, and the one that comes next.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets {
    /// Oldest first.
    issued: VecDeque<Issued>,
    spare: Option<Secret>,
}

impl Secrets {
    /// Takes a fresh secret; while one waits already it replaces that.
    pub(crate) fn supply(&mut self, secret: Secret) {
        self.spare = Some(secret);
    }

    pub(crate) const fn is_wanted(&self) -> bool {
        self.spare.is_none()
    }

    /// The secret for a token that leaves now: nobody's tokens are made of one that was first used
    /// longer ago than the period. Without a fresh one there is none.
    pub(crate) fn current(&mut self, now: Millis) -> Option<&Secret> {
        self.discard(now);
        let is_fresh =
            self.issued.back().is_some_and(|last| now.since(last.first_use) < NONCE_PERIOD_MS);
        if !is_fresh {
            let mut secret = self.spare.take()?;
            while self.issued.iter().any(|other| other.secret.index == secret.index) {
                secret.index = secret.index.wrapping_add(1);
            }
            self.issued.push_back(Issued::new(secret, now));
        }
        self.issued.back().map(|issued| &issued.secret)
    }

    /// The secret of this index, while its tokens are believed.
    pub(crate) fn recognize(&self, now: Millis, index: u16) -> Option<&Issued> {
        self.issued.iter().find(|issued| issued.secret.index == index && issued.ends() > now)
    }

    /// RFC 6275 §5.2.2: expired values are not kept.
    pub(crate) fn discard(&mut self, now: Millis) {
        while self
            .issued
            .front()
            .is_some_and(|oldest| oldest.ends() <= now || self.issued.len() > NONCES_MAX)
        {
            self.issued.pop_front();
        }
    }
}
