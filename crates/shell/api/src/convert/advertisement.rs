use std::time::Duration;

use homeport_binding as core;
use prost::bytes::Bytes;

use super::notice::millis;
use super::{Invalid, ipv6, ipv6_octets, prefix_of, u8_of};
use crate::binding as proto;

pub(super) fn advertise_message(
    prefix: core::Ipv6Prefix,
    within: Option<Duration>,
) -> proto::AdvertiseHomePrefix {
    proto::AdvertiseHomePrefix {
        prefix: ipv6_octets(prefix.address()),
        prefix_len: prefix.len().into(),
        within_ms: within.map(millis),
    }
}

pub(super) fn advertise_of(message: &proto::AdvertiseHomePrefix) -> Result<core::Command, Invalid> {
    let field = "advertise_home_prefix.prefix";
    Ok(core::Command::AdvertiseHomePrefix {
        prefix: prefix_of(&message.prefix, message.prefix_len, field)?,
        within: message.within_ms.map(Duration::from_millis),
    })
}

impl From<core::PrefixesSolicited> for proto::PrefixesSolicited {
    fn from(solicited: core::PrefixesSolicited) -> Self {
        Self {
            home_address: ipv6_octets(solicited.home_address),
            home_prefix_revision: solicited.home_prefix_revision,
        }
    }
}

impl TryFrom<proto::PrefixesSolicited> for core::PrefixesSolicited {
    type Error = Invalid;

    fn try_from(message: proto::PrefixesSolicited) -> Result<Self, Invalid> {
        Ok(Self {
            home_address: ipv6(&message.home_address, "prefixes_solicited.home_address")?,
            home_prefix_revision: message.home_prefix_revision,
        })
    }
}

impl From<core::PrefixAdvertisement> for proto::PrefixAdvertisement {
    fn from(advertisement: core::PrefixAdvertisement) -> Self {
        Self {
            home_prefix_revision: advertisement.home_prefix_revision,
            sent: advertisement.sent.into(),
            next_ms: advertisement.next.map(|next| next.0),
        }
    }
}

impl TryFrom<proto::PrefixAdvertisement> for core::PrefixAdvertisement {
    type Error = Invalid;

    fn try_from(message: proto::PrefixAdvertisement) -> Result<Self, Invalid> {
        Ok(Self {
            home_prefix_revision: message.home_prefix_revision,
            sent: u8_of(message.sent, "home.advertisement.sent")?,
            next: message.next_ms.map(core::LogTime),
        })
    }
}

impl From<core::Advertising> for proto::Advertising {
    fn from(advertising: core::Advertising) -> Self {
        Self {
            prefix: ipv6_octets(advertising.prefix.address()),
            prefix_len: advertising.prefix.len().into(),
            revision: advertising.revision,
            since_ms: advertising.since.0,
            within_ms: advertising.within.map(millis),
            guests: advertising.guests,
            after: advertising.after.map_or_else(Bytes::new, ipv6_octets),
        }
    }
}

impl TryFrom<proto::Advertising> for core::Advertising {
    type Error = Invalid;

    fn try_from(message: proto::Advertising) -> Result<Self, Invalid> {
        Ok(Self {
            prefix: prefix_of(&message.prefix, message.prefix_len, "advertising.prefix")?,
            revision: message.revision,
            since: core::LogTime(message.since_ms),
            within: message.within_ms.map(Duration::from_millis),
            guests: message.guests,
            after: (!message.after.is_empty())
                .then(|| ipv6(&message.after, "advertising.after"))
                .transpose()?,
        })
    }
}
