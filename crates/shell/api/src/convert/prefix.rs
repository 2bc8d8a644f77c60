//! Prefixes and addresses of mobile networks (RFC 3963) and of IPv4 homes (RFC 5555).

use homeport_binding as core;
use homeport_wire::Ipv4AddressStatus;

use super::{Invalid, invalid, ipv4, ipv4_octets, ipv6, ipv6_octets, prefix_of, u8_of};
use crate::binding as proto;

impl From<core::Ipv6Prefix> for proto::Ipv6Prefix {
    fn from(prefix: core::Ipv6Prefix) -> Self {
        Self { prefix: ipv6_octets(prefix.address()), prefix_len: prefix.len().into() }
    }
}

pub(super) fn ipv6_prefix_of(
    message: &proto::Ipv6Prefix,
    field: &'static str,
) -> Result<core::Ipv6Prefix, Invalid> {
    prefix_of(&message.prefix, message.prefix_len, field)
}

impl From<core::Ipv4Prefix> for proto::Ipv4Prefix {
    fn from(prefix: core::Ipv4Prefix) -> Self {
        Self { prefix: ipv4_octets(prefix.address()), prefix_len: prefix.len().into() }
    }
}

pub(super) fn ipv4_prefix_of(
    message: &proto::Ipv4Prefix,
    field: &'static str,
) -> Result<core::Ipv4Prefix, Invalid> {
    core::Ipv4Prefix::new(ipv4(&message.prefix, field)?, u8_of(message.prefix_len, field)?)
        .ok_or_else(|| invalid(field, "a prefix of at most 32 bits whose host bits are zero"))
}

impl From<core::MobileNetworkRequest> for proto::MobileNetworkRequest {
    fn from(request: core::MobileNetworkRequest) -> Self {
        Self { prefix: ipv6_octets(request.prefix), prefix_len: request.prefix_len.into() }
    }
}

impl TryFrom<proto::MobileNetworkRequest> for core::MobileNetworkRequest {
    type Error = Invalid;

    fn try_from(message: proto::MobileNetworkRequest) -> Result<Self, Invalid> {
        Ok(Self {
            prefix: ipv6(&message.prefix, "mobile_networks.prefix")?,
            prefix_len: u8_of(message.prefix_len, "mobile_networks.prefix_len")?,
        })
    }
}

impl From<core::Ipv4HomeAddressRequest> for proto::Ipv4HomeAddressRequest {
    fn from(request: core::Ipv4HomeAddressRequest) -> Self {
        Self {
            address: ipv4_octets(request.address),
            prefix_len: request.prefix_len.into(),
            prefix_wanted: request.prefix_wanted,
        }
    }
}

impl TryFrom<proto::Ipv4HomeAddressRequest> for core::Ipv4HomeAddressRequest {
    type Error = Invalid;

    fn try_from(message: proto::Ipv4HomeAddressRequest) -> Result<Self, Invalid> {
        Ok(Self {
            address: ipv4(&message.address, "ipv4_home_address.address")?,
            prefix_len: prefix_bits_of(message.prefix_len, "ipv4_home_address.prefix_len")?,
            prefix_wanted: message.prefix_wanted,
        })
    }
}

impl From<core::Ipv4AddressAnswer> for proto::Ipv4AddressAnswer {
    fn from(answer: core::Ipv4AddressAnswer) -> Self {
        Self {
            status: answer.status.0.into(),
            prefix_len: answer.prefix_len.into(),
            address: ipv4_octets(answer.address),
        }
    }
}

impl TryFrom<proto::Ipv4AddressAnswer> for core::Ipv4AddressAnswer {
    type Error = Invalid;

    fn try_from(message: proto::Ipv4AddressAnswer) -> Result<Self, Invalid> {
        Ok(Self {
            status: Ipv4AddressStatus(u8_of(message.status, "ipv4_address.status")?),
            prefix_len: prefix_bits_of(message.prefix_len, "ipv4_address.prefix_len")?,
            address: ipv4(&message.address, "ipv4_address.address")?,
        })
    }
}

/// Prefix lengths have six bits in the options of RFC 5555.
fn prefix_bits_of(value: u32, field: &'static str) -> Result<u8, Invalid> {
    match u8_of(value, field) {
        Ok(value @ 0..=63) => Ok(value),
        Ok(_) | Err(_) => Err(invalid(field, "0..=63")),
    }
}
