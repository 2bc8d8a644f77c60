use std::net::Ipv6Addr;
use std::time::Duration;

use homeport_binding as core;
use homeport_wire::{Bid, Lifetime, RevocationTrigger};
use prost::bytes::Bytes;

use super::care_of_test::{nonce_octets, nonce_of};
use super::{Invalid, invalid, ipv6, ipv6_octets, u8_of, u16_of};
use crate::binding as proto;

impl From<core::Revoke> for proto::Revoke {
    fn from(revoke: core::Revoke) -> Self {
        Self {
            home_address: ipv6_octets(revoke.home_address),
            bids: bid_numbers(revoke.bids),
            trigger: revoke.trigger.0.into(),
        }
    }
}

impl TryFrom<proto::Revoke> for core::Revoke {
    type Error = Invalid;

    fn try_from(message: proto::Revoke) -> Result<Self, Invalid> {
        Ok(Self {
            home_address: ipv6(&message.home_address, "revoke.home_address")?,
            bids: bids_of(message.bids, "revoke.bids")?,
            trigger: RevocationTrigger(u8_of(message.trigger, "revoke.trigger")?),
        })
    }
}

impl From<core::RevocationAnswer> for proto::RevocationAnswer {
    fn from(answer: core::RevocationAnswer) -> Self {
        Self { home_address: ipv6_octets(answer.home_address), sequence: answer.sequence.into() }
    }
}

impl TryFrom<proto::RevocationAnswer> for core::RevocationAnswer {
    type Error = Invalid;

    fn try_from(message: proto::RevocationAnswer) -> Result<Self, Invalid> {
        Ok(Self {
            home_address: ipv6(&message.home_address, "revocation_answer.home_address")?,
            sequence: u16_of(message.sequence, "revocation_answer.sequence")?,
        })
    }
}

impl From<core::Switch> for proto::Switch {
    fn from(switch: core::Switch) -> Self {
        Self {
            home_address: ipv6_octets(switch.home_address),
            addresses: address_octets(switch.addresses),
            delay_ms: millis(switch.delay),
            time_left_ms: switch.time_left.map(millis),
        }
    }
}

impl TryFrom<proto::Switch> for core::Switch {
    type Error = Invalid;

    fn try_from(message: proto::Switch) -> Result<Self, Invalid> {
        Ok(Self {
            home_address: ipv6(&message.home_address, "switch.home_address")?,
            addresses: addresses_of(&message.addresses, "switch.addresses")?,
            delay: Duration::from_millis(message.delay_ms),
            time_left: message.time_left_ms.map(Duration::from_millis),
        })
    }
}

impl From<core::Notice> for proto::Notice {
    fn from(notice: core::Notice) -> Self {
        use proto::notice::Notice;
        let (next, interval, notice) = match notice {
            core::Notice::Revocation(revocation) => {
                let message = Notice::Revocation(proto::Revocation {
                    trigger: revocation.trigger.0.into(),
                    sequence: revocation.sequence.into(),
                    bids: bid_numbers(revocation.bids),
                    retries_left: revocation.retries_left.into(),
                });
                (revocation.next, revocation.interval, message)
            }
            core::Notice::Switch(switch) => {
                let message = Notice::Switch(proto::HomeAgentSwitch {
                    addresses: address_octets(switch.addresses),
                    until_ms: switch.until.map(|until| until.0),
                    announced: switch.announced,
                });
                (switch.next, switch.interval, message)
            }
        };
        Self { notice: Some(notice), next_ms: next.0, interval_ms: millis(interval) }
    }
}

impl TryFrom<proto::Notice> for core::Notice {
    type Error = Invalid;

    fn try_from(message: proto::Notice) -> Result<Self, Invalid> {
        use proto::notice::Notice;
        let next = core::LogTime(message.next_ms);
        let interval = Duration::from_millis(message.interval_ms);
        match message.notice {
            Some(Notice::Revocation(message)) => Ok(Self::Revocation(core::Revocation {
                trigger: RevocationTrigger(u8_of(message.trigger, "notice.revocation.trigger")?),
                sequence: u16_of(message.sequence, "notice.revocation.sequence")?,
                bids: bids_of(message.bids, "notice.revocation.bids")?,
                retries_left: u8_of(message.retries_left, "notice.revocation.retries_left")?,
                next,
                interval,
            })),
            Some(Notice::Switch(message)) => Ok(Self::Switch(core::HomeAgentSwitch {
                addresses: addresses_of(&message.addresses, "notice.switch.addresses")?,
                until: message.until_ms.map(core::LogTime),
                announced: message.announced,
                next,
                interval,
            })),
            None => Err(invalid("notice", "a kind that this version knows")),
        }
    }
}

impl From<core::Dispatch> for proto::Dispatch {
    fn from(dispatch: core::Dispatch) -> Self {
        use proto::dispatch::Message;
        let message = match dispatch.message {
            core::DispatchMessage::Revocation { trigger, sequence, bids } => {
                Message::Revocation(proto::RevocationIndication {
                    trigger: trigger.0.into(),
                    sequence: sequence.into(),
                    bids: bid_numbers(bids),
                })
            }
            core::DispatchMessage::Switch { addresses, time_left } => {
                Message::Switch(proto::SwitchMessage {
                    addresses: address_octets(addresses),
                    time_left: time_left.map(|left| left.0.into()),
                })
            }
            core::DispatchMessage::PrefixAdvertisement => {
                Message::PrefixAdvertisement(proto::Unit {})
            }
            core::DispatchMessage::CareOfTest { nonce } => Message::CareOfTest(nonce_octets(nonce)),
        };
        Self {
            at_ms: dispatch.at.0,
            revision: dispatch.revision,
            home_address: ipv6_octets(dispatch.home_address),
            home_agent: ipv6_octets(dispatch.home_agent),
            care_of: Some(dispatch.care_of.into()),
            message: Some(message),
            esp: dispatch.esp.map(Into::into),
        }
    }
}

impl TryFrom<proto::Dispatch> for core::Dispatch {
    type Error = Invalid;

    fn try_from(message: proto::Dispatch) -> Result<Self, Invalid> {
        let care_of = message.care_of.ok_or_else(|| invalid("dispatch.care_of", "a value"))?;
        let content = message
            .message
            .ok_or_else(|| invalid("dispatch.message", "a kind that this version knows"))?;
        Ok(Self {
            at: core::LogTime(message.at_ms),
            revision: message.revision,
            home_address: ipv6(&message.home_address, "dispatch.home_address")?,
            home_agent: ipv6(&message.home_agent, "dispatch.home_agent")?,
            care_of: care_of.try_into()?,
            message: content.try_into()?,
            esp: message.esp.map(Into::into),
        })
    }
}

impl TryFrom<proto::dispatch::Message> for core::DispatchMessage {
    type Error = Invalid;

    fn try_from(message: proto::dispatch::Message) -> Result<Self, Invalid> {
        use proto::dispatch::Message;
        match message {
            Message::Revocation(message) => Ok(Self::Revocation {
                trigger: RevocationTrigger(u8_of(message.trigger, "dispatch.revocation.trigger")?),
                sequence: u16_of(message.sequence, "dispatch.revocation.sequence")?,
                bids: bids_of(message.bids, "dispatch.revocation.bids")?,
            }),
            Message::Switch(message) => Ok(Self::Switch {
                addresses: addresses_of(&message.addresses, "dispatch.switch.addresses")?,
                time_left: message
                    .time_left
                    .map(|left| u16_of(left, "dispatch.switch.time_left"))
                    .transpose()?
                    .map(Lifetime),
            }),
            Message::PrefixAdvertisement(proto::Unit {}) => Ok(Self::PrefixAdvertisement),
            Message::CareOfTest(nonce) => {
                Ok(Self::CareOfTest { nonce: nonce_of(&nonce, "dispatch.care_of_test")? })
            }
        }
    }
}

fn bid_numbers(bids: impl IntoIterator<Item = Bid>) -> Vec<u32> {
    bids.into_iter().map(|bid| bid.0.into()).collect()
}

fn bids_of<T: FromIterator<Bid>>(bids: Vec<u32>, field: &'static str) -> Result<T, Invalid> {
    bids.into_iter().map(|bid| u16_of(bid, field).map(Bid)).collect()
}

fn address_octets(addresses: Vec<Ipv6Addr>) -> Vec<Bytes> {
    addresses.into_iter().map(ipv6_octets).collect()
}

fn addresses_of(addresses: &[Bytes], field: &'static str) -> Result<Vec<Ipv6Addr>, Invalid> {
    addresses.iter().map(|address| ipv6(address, field)).collect()
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
