use std::collections::BTreeMap;

use homeport_binding as core;
use homeport_wire::{Bid, Sequence};
use prost::bytes::Bytes;

use super::care_of_test;
use super::correspondent::{correspondent_message, correspondent_of};
use super::flow::{flow_message, flow_of};
use super::operations;
use super::prefix::{ipv4_prefix_of, ipv6_prefix_of};
use super::{
    Invalid, invalid, ipv4, ipv4_octets, ipv6, ipv6_octets, prefix_of, priority_of, u8_of, u16_of,
};
use crate::binding as proto;

impl From<core::Revised<core::HomePrefix>> for proto::HomePrefix {
    fn from(revised: core::Revised<core::HomePrefix>) -> Self {
        let core::Revised { record, revision } = revised;
        Self {
            prefix: ipv6_octets(record.prefix.address()),
            prefix_len: record.prefix.len().into(),
            home_agent: ipv6_octets(record.home_agent),
            home_agent_ipv4: record.home_agent_ipv4.map(ipv4_octets).unwrap_or_default(),
            authentication: match record.authentication {
                core::Authentication::None => proto::Authentication::None,
                core::Authentication::MnHa => proto::Authentication::MnHa,
                core::Authentication::Ipsec => proto::Authentication::Ipsec,
            }
            .into(),
            multiple_care_of_allowed: record.multiple_care_of_allowed,
            bulk_allowed: record.bulk_allowed,
            home_and_foreign_allowed: record.home_and_foreign_allowed,
            bindings_per_home_address_max: record.bindings_per_home_address_max.into(),
            lifetime_max_secs: record.lifetime_max_secs,
            valid_lifetime_secs: record.valid_lifetime_secs,
            preferred_lifetime_secs: record.preferred_lifetime_secs,
            only_router: record.only_router,
            loopback_care_of_allowed: record.loopback_care_of_allowed,
            revision,
            // What a record of the first format does not say is absent, so that such a record is
            // written as it was read.
            force_udp_encapsulation: (!record.force_udp_encapsulation).then_some(false),
            force_udp_requests_allowed: (!record.force_udp_requests_allowed).then_some(false),
            nat_keepalive_secs: Some(record.nat_keepalive_secs)
                .filter(|secs| *secs != core::limits::NAT_KEEPALIVE_SECS),
            ipv4_pool: record.ipv4_pool.map(Into::into),
            mobile_networks_allowed: record.mobile_networks_allowed,
            flow_bindings_per_home_address_max: record.flow_bindings_per_home_address_max.into(),
            home_agent_discovery_allowed: record.home_agent_discovery_allowed,
            prefix_discovery_allowed: record.prefix_discovery_allowed,
            real_home_link: record.real_home_link,
            home_agent_preference: record.home_agent_preference.into(),
            prefix_advertisement_delay_min_secs: Some(record.prefix_advertisement_delay_min_secs)
                .filter(|secs| *secs != core::limits::PREFIX_ADVERTISEMENT_DELAY_MIN_SECS),
            prefix_advertisement_delay_max_secs: Some(record.prefix_advertisement_delay_max_secs)
                .filter(|secs| *secs != core::limits::PREFIX_ADVERTISEMENT_DELAY_MAX_SECS),
            care_of_verification: record.care_of_verification,
        }
    }
}

impl TryFrom<proto::HomePrefix> for core::Revised<core::HomePrefix> {
    type Error = Invalid;

    fn try_from(message: proto::HomePrefix) -> Result<Self, Invalid> {
        let authentication = match message.authentication() {
            proto::Authentication::None => core::Authentication::None,
            proto::Authentication::MnHa => core::Authentication::MnHa,
            proto::Authentication::Ipsec => core::Authentication::Ipsec,
            proto::Authentication::Unspecified => {
                return Err(invalid("home_prefix.authentication", "a known kind"));
            }
        };
        let home_agent_ipv4 = if message.home_agent_ipv4.is_empty() {
            None
        } else {
            Some(ipv4(&message.home_agent_ipv4, "home_prefix.home_agent_ipv4")?)
        };
        let record = core::HomePrefix {
            prefix: prefix_of(&message.prefix, message.prefix_len, "home_prefix.prefix")?,
            home_agent: ipv6(&message.home_agent, "home_prefix.home_agent")?,
            home_agent_ipv4,
            authentication,
            multiple_care_of_allowed: message.multiple_care_of_allowed,
            bulk_allowed: message.bulk_allowed,
            home_and_foreign_allowed: message.home_and_foreign_allowed,
            bindings_per_home_address_max: u8_of(
                message.bindings_per_home_address_max,
                "home_prefix.bindings_per_home_address_max",
            )?,
            lifetime_max_secs: message.lifetime_max_secs,
            valid_lifetime_secs: message.valid_lifetime_secs,
            preferred_lifetime_secs: message.preferred_lifetime_secs,
            only_router: message.only_router,
            loopback_care_of_allowed: message.loopback_care_of_allowed,
            force_udp_encapsulation: message.force_udp_encapsulation.unwrap_or(true),
            force_udp_requests_allowed: message.force_udp_requests_allowed.unwrap_or(true),
            nat_keepalive_secs: message
                .nat_keepalive_secs
                .unwrap_or(core::limits::NAT_KEEPALIVE_SECS),
            ipv4_pool: message
                .ipv4_pool
                .as_ref()
                .map(|pool| ipv4_prefix_of(pool, "home_prefix.ipv4_pool"))
                .transpose()?,
            mobile_networks_allowed: message.mobile_networks_allowed,
            flow_bindings_per_home_address_max: u8_of(
                message.flow_bindings_per_home_address_max,
                "home_prefix.flow_bindings_per_home_address_max",
            )?,
            home_agent_discovery_allowed: message.home_agent_discovery_allowed,
            prefix_discovery_allowed: message.prefix_discovery_allowed,
            real_home_link: message.real_home_link,
            home_agent_preference: u16_of(
                message.home_agent_preference,
                "home_prefix.home_agent_preference",
            )?,
            prefix_advertisement_delay_min_secs: message
                .prefix_advertisement_delay_min_secs
                .unwrap_or(core::limits::PREFIX_ADVERTISEMENT_DELAY_MIN_SECS),
            prefix_advertisement_delay_max_secs: message
                .prefix_advertisement_delay_max_secs
                .unwrap_or(core::limits::PREFIX_ADVERTISEMENT_DELAY_MAX_SECS),
            care_of_verification: message.care_of_verification,
        };
        Ok(Self { record, revision: message.revision })
    }
}

impl From<core::Revised<core::Subscriber>> for proto::Subscriber {
    fn from(revised: core::Revised<core::Subscriber>) -> Self {
        let core::Revised { record, revision } = revised;
        let (spi, key) = match record.mn_ha {
            Some((spi, core::Key(key))) => (spi, Bytes::copy_from_slice(&key)),
            None => (0, Bytes::new()),
        };
        Self {
            home_address: ipv6_octets(record.home_address),
            nai: record.nai,
            spi,
            key,
            message_id_required: record.message_id_required,
            multiple_care_of_allowed: record.multiple_care_of_allowed,
            bulk_allowed: record.bulk_allowed,
            bindings_per_home_address_max: record.bindings_per_home_address_max.map(Into::into),
            revision,
            last_message_id: 0,
            mobile_networks_allowed: record.mobile_networks_allowed,
            flow_bindings_per_home_address_max: record
                .flow_bindings_per_home_address_max
                .map(Into::into),
            home_prefix: record.home_prefix.map(Into::into),
            mobile_networks: record.mobile_networks.into_iter().map(Into::into).collect(),
            mobile_networks_explicit: record.mobile_networks_explicit,
            ipv4_home_address: record.ipv4_home_address.map(Into::into),
        }
    }
}

impl TryFrom<proto::Subscriber> for core::Revised<core::Subscriber> {
    type Error = Invalid;

    fn try_from(message: proto::Subscriber) -> Result<Self, Invalid> {
        let mn_ha = if message.key.is_empty() && message.spi == 0 {
            None
        } else {
            let key = message.key.as_ref().try_into();
            let key = key.map_err(|_| invalid("subscriber.key", "16 octets"))?;
            Some((message.spi, core::Key(key)))
        };
        let record = core::Subscriber {
            home_address: ipv6(&message.home_address, "subscriber.home_address")?,
            nai: message.nai,
            mn_ha,
            message_id_required: message.message_id_required,
            multiple_care_of_allowed: message.multiple_care_of_allowed,
            bulk_allowed: message.bulk_allowed,
            bindings_per_home_address_max: message
                .bindings_per_home_address_max
                .map(|max| u8_of(max, "subscriber.bindings_per_home_address_max"))
                .transpose()?,
            mobile_networks_allowed: message.mobile_networks_allowed,
            flow_bindings_per_home_address_max: message
                .flow_bindings_per_home_address_max
                .map(|max| u8_of(max, "subscriber.flow_bindings_per_home_address_max"))
                .transpose()?,
            home_prefix: message
                .home_prefix
                .as_ref()
                .map(|prefix| ipv6_prefix_of(prefix, "subscriber.home_prefix"))
                .transpose()?,
            mobile_networks: message
                .mobile_networks
                .iter()
                .map(|prefix| ipv6_prefix_of(prefix, "subscriber.mobile_networks"))
                .collect::<Result<_, _>>()?,
            mobile_networks_explicit: message.mobile_networks_explicit,
            ipv4_home_address: message
                .ipv4_home_address
                .as_ref()
                .map(|prefix| ipv4_prefix_of(prefix, "subscriber.ipv4_home_address"))
                .transpose()?,
        };
        Ok(Self { record, revision: message.revision })
    }
}

impl From<core::CareOf> for proto::CareOfAddress {
    fn from(care_of: core::CareOf) -> Self {
        use proto::care_of_address::Address;
        let address = match care_of {
            core::CareOf::Ipv6(address) => Address::Ipv6(ipv6_octets(address)),
            core::CareOf::Ipv4 { address, port, announced, udp } => {
                Address::Ipv4(proto::Ipv4CareOf {
                    address: ipv4_octets(address),
                    port: port.into(),
                    announced: ipv4_octets(announced),
                    without_udp: !udp,
                })
            }
        };
        Self { address: Some(address) }
    }
}

impl TryFrom<proto::CareOfAddress> for core::CareOf {
    type Error = Invalid;

    fn try_from(message: proto::CareOfAddress) -> Result<Self, Invalid> {
        use proto::care_of_address::Address;
        match message.address {
            Some(Address::Ipv6(octets)) => Ok(Self::Ipv6(ipv6(&octets, "care_of.ipv6")?)),
            Some(Address::Ipv4(message)) => Ok(Self::Ipv4 {
                address: ipv4(&message.address, "care_of.ipv4.address")?,
                port: u16_of(message.port, "care_of.ipv4.port")?,
                announced: ipv4(&message.announced, "care_of.ipv4.announced")?,
                udp: !message.without_udp,
            }),
            None => Err(invalid("care_of", "ipv6 or ipv4")),
        }
    }
}

fn binding_message(bid: Option<Bid>, binding: core::Binding) -> proto::Binding {
    let is_home = binding.home.is_some();
    let link_layer_address = binding.home.map(|home| home.link_layer_address).unwrap_or_default();
    proto::Binding {
        bid: bid.map(|bid| bid.0.into()),
        care_of: Some(binding.care_of.into()),
        priority: binding.priority.value().into(),
        home: is_home,
        link_layer_address: link_layer_address.into(),
        ends_ms: binding.ends.0,
        verified_ms: binding.verified.0,
        registered_ms: binding.registered.0,
        unverified: binding.unverified,
    }
}

fn binding_of(message: proto::Binding) -> Result<(Option<Bid>, core::Binding), Invalid> {
    let bid = message.bid.map(|bid| u16_of(bid, "binding.bid")).transpose()?.map(Bid);
    let care_of = message.care_of.ok_or_else(|| invalid("binding.care_of", "a value"))?;
    let lla_max = core::limits::LINK_LAYER_ADDRESS_LEN_MAX;
    if message.link_layer_address.len() > if message.home { lla_max } else { 0 } {
        let expected = "at most 20 octets in a home binding, none in another";
        return Err(invalid("binding.link_layer_address", expected));
    }
    let binding = core::Binding {
        care_of: care_of.try_into()?,
        priority: priority_of(message.priority, "binding.priority")?,
        home: message
            .home
            .then(|| core::HomeBinding { link_layer_address: message.link_layer_address.to_vec() }),
        ends: core::LogTime(message.ends_ms),
        verified: core::LogTime(message.verified_ms),
        registered: core::LogTime(message.registered_ms),
        unverified: message.unverified,
    };
    Ok((bid, binding))
}

/// The message for one home address.
#[must_use]
pub fn home_message(home_address: std::net::Ipv6Addr, home: core::Home) -> proto::Home {
    proto::Home {
        home_address: ipv6_octets(home_address),
        home_agent: ipv6_octets(home.home_agent),
        sequence: home.sequence.0.into(),
        bindings: home
            .bindings
            .into_iter()
            .map(|(bid, binding)| binding_message(bid, binding))
            .collect(),
        mobile_router: home.mobile_router,
        mobile_networks: home.mobile_networks.into_iter().map(Into::into).collect(),
        ipv4_home_address: home.ipv4_home_address.map(Into::into),
        flows: home.flows.into_iter().map(|(fid, flow)| flow_message(fid, flow)).collect(),
        notice: home.notice.map(|notice| (*notice).into()),
        advertisement: home.advertisement.map(Into::into),
        care_of_tests: care_of_test::messages(home.care_of_tests),
        link_local: home.link_local,
        probe: home.probe.map(Into::into),
        forget_ms: home.forget.map(|at| at.0),
        revision: home.revision,
        remembered: home.remembered.iter().map(remembered_message).collect(),
    }
}

pub(super) fn remembered_message(remembered: core::Remembered) -> proto::Remembered {
    proto::Remembered {
        request_id: Bytes::copy_from_slice(&remembered.request_id),
        verdict: Some(remembered.verdict.into()),
    }
}

pub(super) fn remembered_of(remembered: proto::Remembered) -> Result<core::Remembered, Invalid> {
    let verdict = remembered.verdict.ok_or_else(|| invalid("remembered.verdict", "one"))?;
    let request_id = remembered.request_id.as_ref().try_into();
    Ok(core::Remembered {
        request_id: request_id.map_err(|_| invalid("remembered.request_id", "16 octets"))?,
        verdict: verdict.try_into()?,
    })
}

/// The home address and its state from the message.
///
/// # Errors
/// When a field does not hold what it must.
pub fn home_of(message: proto::Home) -> Result<(std::net::Ipv6Addr, core::Home), Invalid> {
    let remembered =
        message.remembered.into_iter().map(remembered_of).collect::<Result<_, Invalid>>()?;
    let mut bindings = core::Bindings::new();
    for message in message.bindings {
        let (bid, binding) = binding_of(message)?;
        if bindings.insert(bid, binding).is_some() {
            return Err(invalid("home.bindings", "each BID once"));
        }
    }
    let mut flows = BTreeMap::new();
    for message in message.flows {
        let (fid, flow) = flow_of(message)?;
        if flows.insert(fid, flow).is_some() {
            return Err(invalid("home.flows", "each FID once"));
        }
    }
    let home = core::Home {
        home_agent: ipv6(&message.home_agent, "home.home_agent")?,
        sequence: Sequence(u16_of(message.sequence, "home.sequence")?),
        bindings,
        mobile_router: message.mobile_router,
        mobile_networks: message
            .mobile_networks
            .iter()
            .map(|prefix| ipv6_prefix_of(prefix, "home.mobile_networks"))
            .collect::<Result<_, _>>()?,
        ipv4_home_address: message
            .ipv4_home_address
            .as_ref()
            .map(|prefix| ipv4_prefix_of(prefix, "home.ipv4_home_address"))
            .transpose()?,
        flows,
        notice: message.notice.map(TryInto::try_into).transpose()?.map(Box::new),
        advertisement: message.advertisement.map(TryInto::try_into).transpose()?,
        care_of_tests: care_of_test::tests_of(message.care_of_tests)?,
        link_local: message.link_local,
        probe: message.probe.map(TryInto::try_into).transpose()?,
        forget: message.forget_ms.map(core::LogTime),
        revision: message.revision,
        remembered,
    };
    Ok((ipv6(&message.home_address, "home.home_address")?, home))
}

impl From<core::StateRecord> for proto::StateRecord {
    fn from(record: core::StateRecord) -> Self {
        use proto::state_record::Record;
        let record = match record {
            core::StateRecord::Header { now, revision } => Record::Header(proto::StateHeader {
                format: super::STATE_FORMAT,
                log_time_ms: now.0,
                revision,
            }),
            core::StateRecord::HomePrefix(revised) => Record::HomePrefix(revised.into()),
            core::StateRecord::Subscriber(revised, last_message_id) => {
                let message = proto::Subscriber::from(revised);
                Record::Subscriber(proto::Subscriber { last_message_id, ..message })
            }
            core::StateRecord::Association(association) => {
                Record::SecurityAssociation(association.into())
            }
            core::StateRecord::Home(address, home) => Record::Home(home_message(address, home)),
            core::StateRecord::Defender(defender) => Record::Defender(defender.into()),
            core::StateRecord::Advertising(it) => Record::Advertising(it.into()),
            core::StateRecord::Correspondent(address, agent, peer) => {
                Record::Correspondent(correspondent_message(address, agent, peer))
            }
            core::StateRecord::Operations(record) => operations::record_message(record),
        };
        Self { record: Some(record) }
    }
}

impl TryFrom<proto::StateRecord> for core::StateRecord {
    type Error = Invalid;

    fn try_from(message: proto::StateRecord) -> Result<Self, Invalid> {
        use proto::state_record::Record;
        match message.record {
            Some(Record::Header(header)) if header.format == super::STATE_FORMAT => {
                Ok(Self::Header {
                    now: core::LogTime(header.log_time_ms),
                    revision: header.revision,
                })
            }
            Some(Record::Header(header)) => {
                Err(Invalid::Format { found: header.format, supported: super::STATE_FORMAT })
            }
            Some(Record::HomePrefix(message)) => Ok(Self::HomePrefix(message.try_into()?)),
            Some(Record::Subscriber(message)) => {
                let last_message_id = message.last_message_id;
                Ok(Self::Subscriber(message.try_into()?, last_message_id))
            }
            Some(Record::SecurityAssociation(message)) => {
                Ok(Self::Association(message.try_into()?))
            }
            Some(Record::Home(message)) => {
                let (address, home) = home_of(message)?;
                Ok(Self::Home(address, home))
            }
            Some(Record::Defender(message)) => Ok(Self::Defender(message.try_into()?)),
            Some(Record::Advertising(message)) => Ok(Self::Advertising(message.try_into()?)),
            Some(Record::Correspondent(message)) => {
                let (home_address, home_agent, peer) = correspondent_of(message)?;
                Ok(Self::Correspondent(home_address, home_agent, peer))
            }
            Some(
                record @ (Record::OperationsBegun(_)
                | Record::Alarm(_)
                | Record::AlarmChange(_)
                | Record::AuditRecord(_)
                | Record::DrainedNode(_)),
            ) => operations::record_of(record).map(Self::Operations),
            None => Err(invalid("record", "a kind that this version knows")),
        }
    }
}
