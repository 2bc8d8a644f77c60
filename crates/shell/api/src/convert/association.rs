use homeport_binding as core;
use homeport_esp::{Keys, Suite, Window};

use super::{Invalid, invalid, ipv6, ipv6_octets};
use crate::binding as proto;

impl From<Suite> for proto::EspSuite {
    fn from(suite: Suite) -> Self {
        match suite {
            Suite::AesGcm16 => Self::AesGcm16,
            Suite::AesCbcHmacSha256 => Self::AesCbcHmacSha2256,
            Suite::AesCbcHmacSha384 => Self::AesCbcHmacSha2384,
            Suite::AesCbcHmacSha512 => Self::AesCbcHmacSha2512,
            Suite::NullHmacSha256 => Self::NullHmacSha2256,
            Suite::NullHmacSha384 => Self::NullHmacSha2384,
            Suite::NullHmacSha512 => Self::NullHmacSha2512,
        }
    }
}

/// The suite of this message.
///
/// # Errors
/// When it is none that this version knows.
pub fn suite_of(suite: proto::EspSuite) -> Result<Suite, Invalid> {
    let mut all = Suite::ALL.into_iter();
    let found = all.find(|known| proto::EspSuite::from(*known) == suite);
    found.ok_or_else(|| invalid("suite", "a known suite"))
}

impl From<core::Protects> for proto::Protects {
    fn from(protects: core::Protects) -> Self {
        match protects {
            core::Protects::Mobility => Self::Mobility,
            core::Protects::PrefixDiscovery => Self::PrefixDiscovery,
            core::Protects::Signalling => Self::Signalling,
        }
    }
}

/// What is protected.
///
/// # Errors
/// When it is nothing that this version knows.
pub fn protects_of(protects: proto::Protects) -> Result<core::Protects, Invalid> {
    match protects {
        proto::Protects::Mobility => Ok(core::Protects::Mobility),
        proto::Protects::PrefixDiscovery => Ok(core::Protects::PrefixDiscovery),
        proto::Protects::Signalling => Ok(core::Protects::Signalling),
        proto::Protects::Unspecified => Err(invalid("protects", "a known kind")),
    }
}

fn direction_message(spi: u32, keys: &Keys) -> proto::EspDirection {
    proto::EspDirection {
        spi,
        encryption_key: keys.encryption.clone().into(),
        authentication_key: keys.authentication.clone().into(),
    }
}

fn direction_of(
    message: Option<proto::EspDirection>,
    field: &'static str,
) -> Result<(u32, Keys), Invalid> {
    let message = message.ok_or_else(|| invalid(field, "a value"))?;
    let encryption = message.encryption_key.to_vec();
    let authentication = message.authentication_key.to_vec();
    Ok((message.spi, Keys { encryption, authentication }))
}

impl From<core::SecurityAssociation> for proto::SecurityAssociation {
    fn from(record: core::SecurityAssociation) -> Self {
        Self {
            home_address: ipv6_octets(record.home_address),
            protects: proto::Protects::from(record.protects).into(),
            suite: proto::EspSuite::from(record.suite).into(),
            extended_sequence_numbers: record.extended_sequence_numbers,
            replay_window: record.replay_window,
            inbound: Some(direction_message(record.inbound_spi, &record.inbound)),
            outbound: Some(direction_message(record.outbound_spi, &record.outbound)),
            ike: match record.origin {
                core::Origin::Static => None,
                core::Origin::Ike { agent, address, request_id } => {
                    Some(proto::IkeOrigin { agent, address, request_id })
                }
            },
            ..Self::default()
        }
    }
}

impl TryFrom<proto::SecurityAssociation> for core::SecurityAssociation {
    type Error = Invalid;

    fn try_from(message: proto::SecurityAssociation) -> Result<Self, Invalid> {
        let (suite, protects) = (suite_of(message.suite())?, protects_of(message.protects())?);
        let (inbound_spi, inbound) = direction_of(message.inbound, "inbound")?;
        let (outbound_spi, outbound) = direction_of(message.outbound, "outbound")?;
        Ok(Self {
            home_address: ipv6(&message.home_address, "home_address")?,
            protects,
            suite,
            extended_sequence_numbers: message.extended_sequence_numbers,
            replay_window: message.replay_window,
            inbound_spi,
            inbound,
            outbound_spi,
            outbound,
            origin: match message.ike {
                None => core::Origin::Static,
                Some(proto::IkeOrigin { agent, address, request_id }) => {
                    core::Origin::Ike { agent, address, request_id }
                }
            },
        })
    }
}

impl From<core::Association> for proto::SecurityAssociation {
    fn from(association: core::Association) -> Self {
        let core::Association { revised, window, sent } = association;
        Self {
            revision: revised.revision,
            replay_top: window.top(),
            replay_words: window.words().to_vec(),
            sent,
            ..revised.record.into()
        }
    }
}

impl TryFrom<proto::SecurityAssociation> for core::Association {
    type Error = Invalid;

    fn try_from(mut message: proto::SecurityAssociation) -> Result<Self, Invalid> {
        let words = std::mem::take(&mut message.replay_words);
        let window = Window::restored(message.replay_top, words)
            .ok_or_else(|| invalid("security_association.replay_words", "at most 16"))?;
        let (revision, sent) = (message.revision, message.sent);
        let revised = core::Revised { record: message.try_into()?, revision };
        Ok(Self { revised, window, sent })
    }
}

impl From<core::Protected> for proto::Protected {
    fn from(protected: core::Protected) -> Self {
        Self {
            home_address: ipv6_octets(protected.home_address),
            inbound_spi: protected.inbound_spi,
            association_revision: protected.association_revision,
            sequence: protected.sequence,
            protects: proto::Protects::from(protected.protects).into(),
            command: protected.command.map(|command| Box::new((*command).into())),
        }
    }
}

impl TryFrom<proto::Protected> for core::Protected {
    type Error = Invalid;

    fn try_from(message: proto::Protected) -> Result<Self, Invalid> {
        let protects = protects_of(message.protects())?;
        let command = message.command.map(|command| core::Command::try_from(*command));
        let command = command.transpose()?.map(Box::new);
        Ok(Self {
            home_address: ipv6(&message.home_address, "protected.home_address")?,
            inbound_spi: message.inbound_spi,
            association_revision: message.association_revision,
            sequence: message.sequence,
            protects,
            command,
        })
    }
}

impl From<core::EspNumber> for proto::EspNumber {
    fn from(number: core::EspNumber) -> Self {
        Self { inbound_spi: number.inbound_spi, sequence: number.sequence }
    }
}

impl From<proto::EspNumber> for core::EspNumber {
    fn from(message: proto::EspNumber) -> Self {
        Self { inbound_spi: message.inbound_spi, sequence: message.sequence }
    }
}
