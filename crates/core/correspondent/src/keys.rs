//! Tokens, keys and authenticators of return routability (RFC 6275 §5.2.5, §5.2.6, §6.2.7), as both
//! sides compute them.

use core::fmt;
use core::net::Ipv6Addr;

use hmac::{Hmac, KeyInit, Mac};
use homeport_wire::with_checksum_zeroed;
use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;

use crate::limits::AUTHENTICATOR_OCTETS;

/// Octets of a keygen token and of a nonce (RFC 6275 §5.2.2, §5.2.3).
pub const TOKEN_OCTETS: usize = 8;
/// Octets of the node key Kcn (RFC 6275 §5.2.1) and of the binding management key.
pub const KEY_OCTETS: usize = 20;

/// Tells the two tokens apart where home and care-of address are the same (RFC 6275 §5.2.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TokenKind {
    Home,
    CareOf,
}

/// The first 64 bits of HMAC_SHA1(Kcn, address | nonce | 0 or 1).
pub(crate) fn keygen_token(
    node_key: &[u8; KEY_OCTETS],
    kind: TokenKind,
    address: Ipv6Addr,
    nonce: [u8; TOKEN_OCTETS],
) -> [u8; TOKEN_OCTETS] {
    let last = match kind {
        TokenKind::Home => 0,
        TokenKind::CareOf => 1,
    };
    hmac_sha1(node_key, &[&address.octets(), &nonce, &[last]])
}

/// Kbm, the key between a mobile node and this correspondent node (RFC 6275 §5.2.5). Its value is
/// never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct BindingKey([u8; KEY_OCTETS]);

impl BindingKey {
    /// To register: of both tokens.
    #[must_use]
    pub fn to_register(home: [u8; TOKEN_OCTETS], care_of: [u8; TOKEN_OCTETS]) -> Self {
        Self(Sha1::new().chain_update(home).chain_update(care_of).finalize().into())
    }

    /// To delete: of the home keygen token alone.
    #[must_use]
    pub fn to_delete(home: [u8; TOKEN_OCTETS]) -> Self {
        Self(Sha1::new().chain_update(home).finalize().into())
    }

    /// The key itself.
    #[must_use]
    pub const fn octets(&self) -> &[u8; KEY_OCTETS] {
        &self.0
    }

    /// The authenticator of a Binding Update or Binding Acknowledgement (RFC 6275 §6.2.7).
    ///
    /// `care_of` is the address that is to be registered, or the home address for a deletion;
    /// `mobility_header` the whole message as it is on the wire, its last twelve octets the
    /// authenticator. Checksum and authenticator may have any value.
    #[must_use]
    pub fn authenticator(
        &self,
        care_of: Ipv6Addr,
        correspondent: Ipv6Addr,
        mobility_header: &[u8],
    ) -> [u8; AUTHENTICATOR_OCTETS] {
        let covered_len = mobility_header.len().saturating_sub(AUTHENTICATOR_OCTETS);
        let message = with_checksum_zeroed(mobility_header);
        let covered = message.get(..covered_len).unwrap_or_default();
        hmac_sha1(&self.0, &[&care_of.octets(), &correspondent.octets(), covered])
    }

    /// True when the last octets of `mobility_header` are its authenticator. Takes the same time
    /// for all that are not.
    #[must_use]
    pub fn authenticates(
        &self,
        care_of: Ipv6Addr,
        correspondent: Ipv6Addr,
        mobility_header: &[u8],
    ) -> bool {
        let received = mobility_header.last_chunk::<AUTHENTICATOR_OCTETS>();
        let expected = self.authenticator(care_of, correspondent, mobility_header);
        received.is_some_and(|received| bool::from(expected.ct_eq(received)))
    }
}

impl fmt::Debug for BindingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BindingKey(..)")
    }
}

/// The first `N` octets, at most twenty, of the HMAC over the parts.
pub(crate) fn hmac_sha1<const N: usize>(key: &[u8], parts: &[&[u8]]) -> [u8; N] {
    let mut out = [0; N];
    // HMAC takes keys of any length: an error cannot happen, and would only make a wrong value.
    if let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(key) {
        for part in parts {
            mac.update(part);
        }
        let digest = mac.finalize().into_bytes();
        out.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    }
    out
}
