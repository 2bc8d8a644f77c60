//! Duplicate Address Detection on home links, and who defends them.

use homeport_binding as core;
use prost::bytes::Bytes;

use super::{Invalid, invalid, ipv6, ipv6_octets, prefix_of};
use crate::binding as proto;

impl From<core::Probe> for proto::Probe {
    fn from(probe: core::Probe) -> Self {
        Self {
            request_id: Bytes::copy_from_slice(&probe.request_id),
            link_local: probe.link_local,
            duplicate: probe.verdict,
        }
    }
}

impl TryFrom<proto::Probe> for core::Probe {
    type Error = Invalid;

    fn try_from(message: proto::Probe) -> Result<Self, Invalid> {
        Ok(Self {
            request_id: request_id_of(&message.request_id, "probe.request_id")?,
            link_local: message.link_local,
            verdict: message.duplicate,
        })
    }
}

impl From<core::Detected> for proto::DuplicateAddressDetection {
    fn from(found: core::Detected) -> Self {
        Self {
            home_address: ipv6_octets(found.home_address),
            request_id: Bytes::copy_from_slice(&found.request_id),
            duplicate: found.duplicate,
        }
    }
}

impl TryFrom<proto::DuplicateAddressDetection> for core::Detected {
    type Error = Invalid;

    fn try_from(message: proto::DuplicateAddressDetection) -> Result<Self, Invalid> {
        let id = "duplicate_address_detection.request_id";
        Ok(Self {
            home_address: ipv6(&message.home_address, "duplicate_address_detection.home_address")?,
            request_id: request_id_of(&message.request_id, id)?,
            duplicate: message.duplicate,
        })
    }
}

pub(super) fn defend_message(prefix: core::Ipv6Prefix, forwarder: String) -> proto::DefendHomeLink {
    let (octets, prefix_len) = (ipv6_octets(prefix.address()), prefix.len().into());
    proto::DefendHomeLink { prefix: octets, prefix_len, forwarder }
}

pub(super) fn defend_of(message: proto::DefendHomeLink) -> Result<core::Command, Invalid> {
    let prefix = prefix_of(&message.prefix, message.prefix_len, "defend_home_link.prefix")?;
    let forwarder = name_of(message.forwarder, "defend_home_link.forwarder")?;
    Ok(core::Command::DefendHomeLink { prefix, forwarder })
}

pub(super) fn release_message(
    prefix: core::Ipv6Prefix,
    forwarder: String,
) -> proto::ReleaseHomeLink {
    let (octets, prefix_len) = (ipv6_octets(prefix.address()), prefix.len().into());
    proto::ReleaseHomeLink { prefix: octets, prefix_len, forwarder }
}

pub(super) fn release_of(message: proto::ReleaseHomeLink) -> Result<core::Command, Invalid> {
    let prefix = prefix_of(&message.prefix, message.prefix_len, "release_home_link.prefix")?;
    let forwarder = name_of(message.forwarder, "release_home_link.forwarder")?;
    Ok(core::Command::ReleaseHomeLink { prefix, forwarder })
}

impl From<core::Defender> for proto::Defender {
    fn from(defender: core::Defender) -> Self {
        Self {
            prefix: ipv6_octets(defender.prefix.address()),
            prefix_len: defender.prefix.len().into(),
            forwarder: defender.forwarder,
            ends_ms: defender.ends.0,
        }
    }
}

impl TryFrom<proto::Defender> for core::Defender {
    type Error = Invalid;

    fn try_from(message: proto::Defender) -> Result<Self, Invalid> {
        Ok(Self {
            prefix: prefix_of(&message.prefix, message.prefix_len, "defender.prefix")?,
            forwarder: name_of(message.forwarder, "defender.forwarder")?,
            ends: core::LogTime(message.ends_ms),
        })
    }
}

fn request_id_of(octets: &[u8], field: &'static str) -> Result<core::RequestId, Invalid> {
    octets.try_into().map_err(|_| invalid(field, "16 octets"))
}

fn name_of(name: String, field: &'static str) -> Result<String, Invalid> {
    if (1..=core::limits::FORWARDER_NAME_LEN_MAX).contains(&name.len()) {
        return Ok(name);
    }
    Err(invalid(field, "1 to 64 octets"))
}
