use homeport_binding as core;
use homeport_wire::{Bid, BidCareOf, BuFlags, Lifetime, Sequence};
use prost::bytes::Bytes;

use super::advertisement::{advertise_message, advertise_of};
use super::home_link::{defend_message, defend_of, release_message, release_of};
use super::{
    Invalid, invalid, ipv4, ipv4_octets, ipv6, ipv6_octets, prefix_of, priority_of, u16_of,
};
use crate::binding as proto;

impl From<core::Batch> for proto::Batch {
    fn from(batch: core::Batch) -> Self {
        Self {
            log_time_ms: batch.at.0,
            commands: batch.commands.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<proto::Batch> for core::Batch {
    type Error = Invalid;

    fn try_from(message: proto::Batch) -> Result<Self, Invalid> {
        Ok(Self {
            at: core::LogTime(message.log_time_ms),
            commands: message
                .commands
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
        })
    }
}

impl From<core::Command> for proto::Command {
    fn from(command: core::Command) -> Self {
        use proto::command::Command;
        // A record in a command has no revision yet: the log gives it one.
        let command = match command {
            core::Command::Register(registration) => Command::Register(registration.into()),
            core::Command::Correspond(asked) => Command::Correspond(asked.into()),
            core::Command::PutHomePrefix { home_prefix, must_not_exist } => {
                let home_prefix = core::Revised { record: home_prefix, revision: 0 };
                Command::PutHomePrefix(proto::PutHomePrefix {
                    home_prefix: Some(home_prefix.into()),
                    must_not_exist,
                })
            }
            core::Command::UpdateHomePrefix { home_prefix, base_revision } => {
                let home_prefix = core::Revised { record: home_prefix, revision: 0 };
                Command::UpdateHomePrefix(proto::UpdateHomePrefix {
                    home_prefix: Some(home_prefix.into()),
                    base_revision,
                })
            }
            core::Command::DeleteHomePrefix(prefix) => {
                Command::DeleteHomePrefix(proto::DeleteHomePrefix {
                    prefix: ipv6_octets(prefix.address()),
                    prefix_len: prefix.len().into(),
                })
            }
            core::Command::PutSubscriber { subscriber, must_not_exist } => {
                let subscriber = core::Revised { record: subscriber, revision: 0 };
                Command::PutSubscriber(proto::PutSubscriber {
                    subscriber: Some(subscriber.into()),
                    must_not_exist,
                })
            }
            core::Command::DeleteSubscriber(home_address) => {
                let home_address = ipv6_octets(home_address);
                Command::DeleteSubscriber(proto::DeleteSubscriber { home_address })
            }
            core::Command::Revoke(revoke) => Command::Revoke(revoke.into()),
            core::Command::RevocationAnswer(answer) => Command::RevocationAnswer(answer.into()),
            core::Command::Switch(switch) => Command::Switch(switch.into()),
            core::Command::AdvertiseHomePrefix { prefix, within } => {
                Command::AdvertiseHomePrefix(advertise_message(prefix, within))
            }
            core::Command::PrefixesSolicited(solicited) => {
                Command::PrefixesSolicited(solicited.into())
            }
            core::Command::CareOfVerified(answer) => Command::CareOfVerified(answer.into()),
            core::Command::DuplicateAddressDetection(found) => {
                Command::DuplicateAddressDetection(found.into())
            }
            core::Command::DefendHomeLink { prefix, forwarder } => {
                Command::DefendHomeLink(defend_message(prefix, forwarder))
            }
            core::Command::ReleaseHomeLink { prefix, forwarder } => {
                Command::ReleaseHomeLink(release_message(prefix, forwarder))
            }
            core::Command::PutSecurityAssociation { association, must_not_exist } => {
                let association = Some(association.into());
                Command::PutSecurityAssociation(proto::PutSecurityAssociation {
                    association,
                    must_not_exist,
                })
            }
            core::Command::DeleteSecurityAssociation { home_address, inbound_spi } => {
                let home_address = ipv6_octets(home_address);
                Command::DeleteSecurityAssociation(proto::DeleteSecurityAssociation {
                    home_address,
                    inbound_spi,
                })
            }
            core::Command::Protected(protected) => Command::Protected(Box::new(protected.into())),
            core::Command::Operate(operation) => Command::Operate(operation.into()),
            core::Command::Audited(audited) => Command::Audited(Box::new(audited.into())),
        };
        Self { command: Some(command) }
    }
}

impl TryFrom<proto::Command> for core::Command {
    type Error = Invalid;

    fn try_from(message: proto::Command) -> Result<Self, Invalid> {
        use proto::command::Command;
        match message.command {
            Some(Command::Register(message)) => Ok(Self::Register(message.try_into()?)),
            Some(Command::Correspond(message)) => Ok(Self::Correspond(message.try_into()?)),
            Some(Command::PutHomePrefix(message)) => {
                let record =
                    message.home_prefix.ok_or_else(|| invalid("home_prefix", "a value"))?;
                let revised: core::Revised<core::HomePrefix> = record.try_into()?;
                let must_not_exist = message.must_not_exist;
                Ok(Self::PutHomePrefix { home_prefix: revised.record, must_not_exist })
            }
            Some(Command::UpdateHomePrefix(message)) => {
                let record =
                    message.home_prefix.ok_or_else(|| invalid("home_prefix", "a value"))?;
                let revised: core::Revised<core::HomePrefix> = record.try_into()?;
                let base_revision = message.base_revision;
                Ok(Self::UpdateHomePrefix { home_prefix: revised.record, base_revision })
            }
            Some(Command::DeleteHomePrefix(message)) => Ok(Self::DeleteHomePrefix(prefix_of(
                &message.prefix,
                message.prefix_len,
                "delete_home_prefix.prefix",
            )?)),
            Some(Command::PutSubscriber(message)) => {
                let record = message.subscriber.ok_or_else(|| invalid("subscriber", "a value"))?;
                let revised: core::Revised<core::Subscriber> = record.try_into()?;
                let must_not_exist = message.must_not_exist;
                Ok(Self::PutSubscriber { subscriber: revised.record, must_not_exist })
            }
            Some(Command::DeleteSubscriber(message)) => Ok(Self::DeleteSubscriber(ipv6(
                &message.home_address,
                "delete_subscriber.home_address",
            )?)),
            Some(Command::Revoke(message)) => Ok(Self::Revoke(message.try_into()?)),
            Some(Command::RevocationAnswer(message)) => {
                Ok(Self::RevocationAnswer(message.try_into()?))
            }
            Some(Command::Switch(message)) => Ok(Self::Switch(message.try_into()?)),
            Some(Command::AdvertiseHomePrefix(message)) => advertise_of(&message),
            Some(Command::PrefixesSolicited(message)) => {
                Ok(Self::PrefixesSolicited(message.try_into()?))
            }
            Some(Command::CareOfVerified(message)) => Ok(Self::CareOfVerified(message.try_into()?)),
            Some(Command::DuplicateAddressDetection(message)) => {
                Ok(Self::DuplicateAddressDetection(message.try_into()?))
            }
            Some(Command::DefendHomeLink(message)) => defend_of(message),
            Some(Command::ReleaseHomeLink(message)) => release_of(message),
            Some(Command::PutSecurityAssociation(message)) => {
                let association =
                    message.association.ok_or_else(|| invalid("association", "a value"))?;
                let must_not_exist = message.must_not_exist;
                Ok(Self::PutSecurityAssociation {
                    association: association.try_into()?,
                    must_not_exist,
                })
            }
            Some(Command::DeleteSecurityAssociation(message)) => {
                Ok(Self::DeleteSecurityAssociation {
                    home_address: ipv6(
                        &message.home_address,
                        "delete_security_association.home_address",
                    )?,
                    inbound_spi: message.inbound_spi,
                })
            }
            Some(Command::Protected(message)) => Ok(Self::Protected((*message).try_into()?)),
            Some(Command::Operate(message)) => Ok(Self::Operate(message.try_into()?)),
            Some(Command::Audited(message)) => Ok(Self::Audited((*message).try_into()?)),
            None => Err(invalid("command", "a kind that this version knows")),
        }
    }
}

impl From<core::Registration> for proto::Register {
    fn from(r: core::Registration) -> Self {
        let (home_prefix_revision, subscriber_revision) = r.policy_revisions;
        Self {
            request_id: Bytes::copy_from_slice(&r.request_id),
            home_address: ipv6_octets(r.home_address),
            home_agent: ipv6_octets(r.home_agent),
            source: Some(r.source.into()),
            sequence: r.sequence.0.into(),
            lifetime: r.lifetime.0.into(),
            flags: r.flags.0.into(),
            alternate_care_of: r.alternate_care_of.map(ipv6_octets).unwrap_or_default(),
            ipv4_care_of: r.ipv4_care_of.map(ipv4_octets).unwrap_or_default(),
            bids: r.bids.into_iter().map(Into::into).collect(),
            link_layer_address: r.link_layer_address.into(),
            message_id: r.message_id,
            home_prefix_revision,
            subscriber_revision,
            mobile_networks: r.mobile_networks.into_iter().map(Into::into).collect(),
            ipv4_home_address: r.ipv4_home_address.map(Into::into),
            flows: r.flows.into_iter().map(Into::into).collect(),
            flow_summary: r.flow_summary.into_iter().map(Into::into).collect(),
            home_address_option_missing: r.home_address_option_missing,
        }
    }
}

impl TryFrom<proto::Register> for core::Registration {
    type Error = Invalid;

    fn try_from(message: proto::Register) -> Result<Self, Invalid> {
        let source = message.source.ok_or_else(|| invalid("register.source", "a value"))?;
        let lla_max = core::limits::LINK_LAYER_ADDRESS_LEN_MAX;
        if message.link_layer_address.len() > lla_max {
            return Err(invalid("register.link_layer_address", "at most 20 octets"));
        }
        Ok(Self {
            request_id: message
                .request_id
                .as_ref()
                .try_into()
                .map_err(|_| invalid("register.request_id", "16 octets"))?,
            home_address: ipv6(&message.home_address, "register.home_address")?,
            home_agent: ipv6(&message.home_agent, "register.home_agent")?,
            source: source.try_into()?,
            sequence: Sequence(u16_of(message.sequence, "register.sequence")?),
            lifetime: Lifetime(u16_of(message.lifetime, "register.lifetime")?),
            flags: BuFlags(u16_of(message.flags, "register.flags")?),
            alternate_care_of: (!message.alternate_care_of.is_empty())
                .then(|| ipv6(&message.alternate_care_of, "register.alternate_care_of"))
                .transpose()?,
            ipv4_care_of: (!message.ipv4_care_of.is_empty())
                .then(|| ipv4(&message.ipv4_care_of, "register.ipv4_care_of"))
                .transpose()?,
            bids: all(message.bids)?,
            link_layer_address: message.link_layer_address.to_vec(),
            message_id: message.message_id,
            policy_revisions: (message.home_prefix_revision, message.subscriber_revision),
            mobile_networks: all(message.mobile_networks)?,
            ipv4_home_address: message.ipv4_home_address.map(TryInto::try_into).transpose()?,
            flows: all(message.flows)?,
            flow_summary: message
                .flow_summary
                .into_iter()
                .map(|fid| u16_of(fid, "register.flow_summary"))
                .collect::<Result<_, _>>()?,
            home_address_option_missing: message.home_address_option_missing,
        })
    }
}

fn all<M, T: TryFrom<M, Error = Invalid>>(messages: Vec<M>) -> Result<Vec<T>, Invalid> {
    messages.into_iter().map(TryInto::try_into).collect()
}

impl From<core::WireSource> for proto::WireSource {
    fn from(source: core::WireSource) -> Self {
        use proto::wire_source::Source;
        let source = match source {
            core::WireSource::Ipv6(address) => Source::Ipv6(ipv6_octets(address)),
            core::WireSource::Udp(address, port) => {
                Source::Udp(proto::UdpSource { address: ipv4_octets(address), port: port.into() })
            }
        };
        Self { source: Some(source) }
    }
}

impl TryFrom<proto::WireSource> for core::WireSource {
    type Error = Invalid;

    fn try_from(message: proto::WireSource) -> Result<Self, Invalid> {
        use proto::wire_source::Source;
        match message.source {
            Some(Source::Ipv6(octets)) => Ok(Self::Ipv6(ipv6(&octets, "source.ipv6")?)),
            Some(Source::Udp(udp)) => Ok(Self::Udp(
                ipv4(&udp.address, "source.udp.address")?,
                u16_of(udp.port, "source.udp.port")?,
            )),
            None => Err(invalid("source", "ipv6 or udp")),
        }
    }
}

impl From<core::BidRequest> for proto::BidRequest {
    fn from(option: core::BidRequest) -> Self {
        Self {
            bid: option.bid.map(|bid| bid.0.into()),
            home: option.home,
            priority: option.priority.value().into(),
            care_of: match option.care_of {
                BidCareOf::Absent => Bytes::new(),
                BidCareOf::V4(address) => ipv4_octets(address),
                BidCareOf::V6(address) => ipv6_octets(address),
            },
            malformed: option.malformed,
        }
    }
}

impl TryFrom<proto::BidRequest> for core::BidRequest {
    type Error = Invalid;

    fn try_from(message: proto::BidRequest) -> Result<Self, Invalid> {
        let care_of = match message.care_of.len() {
            0 => BidCareOf::Absent,
            4 => BidCareOf::V4(ipv4(&message.care_of, "bids.care_of")?),
            _ => BidCareOf::V6(ipv6(&message.care_of, "bids.care_of")?),
        };
        Ok(Self {
            bid: message.bid.map(|bid| u16_of(bid, "bids.bid")).transpose()?.map(Bid),
            home: message.home,
            priority: priority_of(message.priority, "bids.priority")?,
            care_of,
            malformed: message.malformed,
        })
    }
}
