use core::net::{Ipv4Addr, Ipv6Addr};

use hmac::{Hmac, KeyInit as _, Mac as _};
use homeport_binding::{Key, Subscriber};
use homeport_wire::{MobilityOption, Options, with_checksum_zeroed};
use sha1::Sha1;
use subtle::ConstantTimeEq as _;

use crate::drop_reason::DropReason;
use crate::update::{MN_HA, NAI};

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

/// A message's MN-HA option, and the key that it was made with.
pub(crate) struct Presented {
    pub(crate) spi: u32,
    pub(crate) key: Key,
}

impl Presented {
    /// RFC 4285 §5: an association of this identity and SPI, and nothing behind the option.
    pub(crate) fn find(
        options: &Options<'_>,
        subscriber: Option<&Subscriber>,
    ) -> Result<Self, DropReason> {
        let presented = options.iter().find_map(|option| match option {
            MobilityOption::Authentication { subtype: MN_HA, spi, data } => Some((spi, data.len())),
            _ => None,
        });
        let (spi, data_len) = presented.ok_or(DropReason::AuthenticationMissing)?;
        let identity = options.iter().find_map(|option| match option {
            MobilityOption::MobileNodeIdentifier { subtype: NAI, identifier } => Some(identifier),
            _ => None,
        });
        let key = subscriber
            .filter(|s| identity.is_none_or(|nai| s.nai.is_empty() || nai == s.nai.as_bytes()))
            .and_then(|subscriber| subscriber.mn_ha.as_ref())
            .filter(|(known, _)| *known == spi)
            .map(|(_, key)| key.clone())
            .ok_or(DropReason::NoSecurityAssociation)?;
        let covered = options.authenticator_len() == Some(MN_HA_AUTHENTICATOR_LEN);
        if data_len != MN_HA_AUTHENTICATOR_LEN || !covered {
            return Err(DropReason::AuthenticationNotLast);
        }
        Ok(Self { spi, key })
    }
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
