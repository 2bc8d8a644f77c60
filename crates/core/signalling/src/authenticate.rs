use core::net::{Ipv4Addr, Ipv6Addr};

use hmac::{Hmac, KeyInit as _, Mac as _};
use homeport_binding::Key;
use homeport_wire::with_checksum_zeroed;
use sha1::Sha1;
use subtle::ConstantTimeEq as _;

/// Octets of the authentication data of an MN-HA option (RFC 4285 §5.1).
pub const MN_HA_AUTHENTICATOR_LEN: usize = 12;

/// The MN-HA authenticator of RFC 4285 §5.1: HMAC-SHA1 over care-of address, home address and the
/// Mobility Header with checksum zero up to the end of the SPI field, cut to twelve octets.
///
/// `mobility_header` is the whole message, whose last twelve octets are the authentication data.
#[must_use]
pub fn mn_ha_authenticator(
    key: &Key,
    care_of: Ipv6Addr,
    home_address: Ipv6Addr,
    mobility_header: &[u8],
) -> [u8; MN_HA_AUTHENTICATOR_LEN] {
    let covered_len = mobility_header.len().saturating_sub(MN_HA_AUTHENTICATOR_LEN);
    let message = with_checksum_zeroed(mobility_header);
    let mut authenticator = [0; MN_HA_AUTHENTICATOR_LEN];
    // A key of any length will do for HMAC; sixteen octets never fail.
    if let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(&key.0) {
        mac.update(&care_of.octets());
        mac.update(&home_address.octets());
        mac.update(message.get(..covered_len).unwrap_or_default());
        let digest = mac.finalize().into_bytes();
        for (octet, computed) in authenticator.iter_mut().zip(digest) {
            *octet = computed;
        }
    }
    authenticator
}

/// The first of the candidate care-of addresses under which the message is authentic.
pub(crate) fn verify(
    key: &Key,
    candidates: impl Iterator<Item = Ipv6Addr>,
    home_address: Ipv6Addr,
    mobility_header: &[u8],
) -> Option<Ipv6Addr> {
    let (_, received) = mobility_header.split_last_chunk::<MN_HA_AUTHENTICATOR_LEN>()?;
    let matches = |care_of: &Ipv6Addr| {
        let expected = mn_ha_authenticator(key, *care_of, home_address, mobility_header);
        bool::from(expected.ct_eq(received))
    };
    candidates.take(CANDIDATES_MAX).find(matches)
}

/// Each candidate costs one HMAC.
const CANDIDATES_MAX: usize = 4;

/// How an IPv4 care-of address stands in the authenticator: RFC 4285 has no rule, we take the mapped form.
pub(crate) fn mapped(address: Ipv4Addr) -> Ipv6Addr {
    address.to_ipv6_mapped()
}
