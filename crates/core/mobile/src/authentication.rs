//! The MN-HA authenticator of RFC 4285 §5.1.

use core::net::Ipv6Addr;

use hmac::{Hmac, KeyInit, Mac};
use homeport_wire::{MobilityOption, Options, with_checksum_zeroed};
use sha1::Sha1;
use subtle::ConstantTimeEq;

use crate::event::{DropReason, Path};
use crate::limits::AUTHENTICATOR_OCTETS;
use crate::settings::{MnHaAssociation, Settings};

/// Subtype of the option that the mobile node and its home agent share (RFC 4285 §5.1).
pub(crate) const MN_HA_SUBTYPE: u8 = 1;

/// The care-of address that the authenticator covers: the node's address on the wire. Over UDP it
/// is the announced IPv4 address in its IPv4-mapped form, for which RFC 4285 has no rule.
pub(crate) fn covered_care_of(path: Path, home_address: Ipv6Addr) -> Ipv6Addr {
    match path {
        Path::Foreign(address) => address,
        Path::Udp(address) => address.to_ipv6_mapped(),
        Path::Home => home_address,
    }
}

/// HMAC-SHA1 over care-of address, home address and the Mobility Header up to and with the SPI, its
/// checksum zero; the first twelve octets.
pub(crate) fn authenticator(
    association: &MnHaAssociation,
    care_of: Ipv6Addr,
    home_address: Ipv6Addr,
    header_up_to_spi: &[u8],
) -> [u8; AUTHENTICATOR_OCTETS] {
    let mut out = [0; AUTHENTICATOR_OCTETS];
    // HMAC takes keys of any length: an error cannot happen, and would only make a wrong
    // authenticator.
    if let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(&association.key) {
        mac.update(&care_of.octets());
        mac.update(&home_address.octets());
        mac.update(header_up_to_spi);
        let digest = mac.finalize().into_bytes();
        out.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    }
    out
}

/// Checks the authentication option of a received message. Without an association everything
/// passes: the node was told to believe.
pub(crate) fn verify(
    settings: &Settings,
    path: Path,
    header: &[u8],
    options: &Options<'_>,
) -> Result<(), DropReason> {
    let Some(association) = &settings.authentication else {
        return Ok(());
    };
    let Some(MobilityOption::Authentication { subtype: MN_HA_SUBTYPE, spi, data }) =
        options.iter().last()
    else {
        return Err(DropReason::Unauthenticated);
    };
    // Nothing may follow the authenticator, padding neither, or it would not be covered.
    let (covered, carried) = header
        .split_last_chunk::<AUTHENTICATOR_OCTETS>()
        .filter(|(_, carried)| spi == association.spi && data == carried.as_slice())
        .ok_or(DropReason::Unauthenticated)?;
    let covered = with_checksum_zeroed(covered);
    let care_of = covered_care_of(path, settings.home_address);
    let expected = authenticator(association, care_of, settings.home_address, &covered);
    if bool::from(expected.ct_eq(carried)) { Ok(()) } else { Err(DropReason::Authenticator) }
}
