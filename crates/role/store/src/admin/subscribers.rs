use std::net::Ipv6Addr;

use homeport_api::admin::subscribers_server::Subscribers;
use homeport_api::admin::{self as api};
use homeport_binding::{Command, Ipv6Prefix, Key, Revised, Subscriber};
use tonic::{Code, Request, Response, Status};

use super::{
    address, execute, field_error, invalid, ipv4_prefix, ipv4_text, ipv6_prefix, page_after,
    page_size, read_barrier,
};
use crate::Store;

pub(crate) struct Service(pub(crate) Store);

#[tonic::async_trait]
impl Subscribers for Service {
    async fn create_subscriber(
        &self,
        request: Request<api::CreateSubscriberRequest>,
    ) -> Result<Response<api::Subscriber>, Status> {
        let message = request.into_inner().subscriber;
        let record = record_of(message.ok_or_else(|| invalid("subscriber", "missing"))?)?;
        let command = Command::PutSubscriber { subscriber: record.clone(), must_not_exist: true };
        let revision = execute(&self.0, command).await?;
        Ok(Response::new(message_of(&Revised { record, revision })))
    }

    async fn get_subscriber(
        &self,
        request: Request<api::GetSubscriberRequest>,
    ) -> Result<Response<api::Subscriber>, Status> {
        let home_address = home_address_of(&request.into_inner().home_address)?;
        read_barrier(&self.0, false).await?;
        let found =
            self.0.node.read(|machine| machine.cache.subscriber(home_address).map(message_of));
        found.map(Response::new).ok_or_else(|| {
            let message = format!("no subscriber with {home_address}");
            field_error(Code::NotFound, "home_address", &message)
        })
    }

    async fn list_subscribers(
        &self,
        request: Request<api::ListSubscribersRequest>,
    ) -> Result<Response<api::ListSubscribersResponse>, Status> {
        let request = request.into_inner();
        let size = page_size(request.page_size)?;
        let after = page_after(&request.page_token)?;
        read_barrier(&self.0, false).await?;
        let (subscribers, more) = self.0.node.read(|machine| {
            let mut rest = machine.cache.subscribers_after(after);
            let page: Vec<_> = rest.by_ref().take(size).map(message_of).collect();
            (page, rest.next().is_some())
        });
        let last = subscribers.last().filter(|_| more);
        let next_page_token = last.map(|last| last.home_address.clone()).unwrap_or_default();
        Ok(Response::new(api::ListSubscribersResponse { subscribers, next_page_token }))
    }

    async fn delete_subscriber(
        &self,
        request: Request<api::DeleteSubscriberRequest>,
    ) -> Result<Response<api::DeleteSubscriberResponse>, Status> {
        let home_address = home_address_of(&request.into_inner().home_address)?;
        execute(&self.0, Command::DeleteSubscriber(home_address)).await?;
        Ok(Response::new(api::DeleteSubscriberResponse {}))
    }
}

fn home_address_of(text: &str) -> Result<Ipv6Addr, Status> {
    address(text, "home_address", "2001:db8:0:1::100")
}

fn record_of(message: api::Subscriber) -> Result<Subscriber, Status> {
    let mn_ha = match (message.spi, message.key.len()) {
        (0, 0) => None,
        (0, _) => return Err(invalid("spi", "missing; 256 to 4294967295 beside a key")),
        (spi, 16) => {
            let key: [u8; 16] = message
                .key
                .as_ref()
                .try_into()
                .map_err(|_| invalid("key", "expected 16 octets"))?;
            Some((spi, Key(key)))
        }
        (_, len) => return Err(invalid("key", &format!("has {len} octets; expected 16"))),
    };
    let bindings_per_home_address_max = message
        .bindings_per_home_address_max
        .map(u8::try_from)
        .transpose()
        .map_err(|_| invalid("bindings_per_home_address_max", "not in 1..=64"))?;
    let flow_bindings_per_home_address_max = message
        .flow_bindings_per_home_address_max
        .map(u8::try_from)
        .transpose()
        .map_err(|_| invalid("flow_bindings_per_home_address_max", "not in 0..=64"))?;
    let home_prefix = Some(&message.home_prefix)
        .filter(|text| !text.is_empty())
        .map(|text| ipv6_prefix(text, "home_prefix"))
        .transpose()?;
    let mobile_networks = message.mobile_networks.iter();
    let mut mobile_networks: Vec<Ipv6Prefix> = mobile_networks
        .map(|text| ipv6_prefix(text, "mobile_networks"))
        .collect::<Result<_, _>>()?;
    mobile_networks.sort_unstable();
    Ok(Subscriber {
        nai: message.nai,
        mn_ha,
        message_id_required: message.message_id_required,
        multiple_care_of_allowed: message.multiple_care_of_allowed,
        bulk_allowed: message.bulk_allowed,
        bindings_per_home_address_max,
        mobile_networks_allowed: message.mobile_networks_allowed,
        flow_bindings_per_home_address_max,
        home_prefix,
        mobile_networks,
        mobile_networks_explicit: message.mobile_networks_explicit,
        ipv4_home_address: ipv4_prefix(&message.ipv4_home_address, "ipv4_home_address")?,
        home_address: home_address_of(&message.home_address)?,
    })
}

/// The key stays in the store.
fn message_of(revised: &Revised<Subscriber>) -> api::Subscriber {
    let record = &revised.record;
    api::Subscriber {
        home_address: record.home_address.to_string(),
        nai: record.nai.clone(),
        spi: record.mn_ha.as_ref().map_or(0, |(spi, _)| *spi),
        key: bytes::Bytes::new(),
        key_present: record.mn_ha.is_some(),
        message_id_required: record.message_id_required,
        multiple_care_of_allowed: record.multiple_care_of_allowed,
        bulk_allowed: record.bulk_allowed,
        bindings_per_home_address_max: record.bindings_per_home_address_max.map(Into::into),
        mobile_networks_allowed: record.mobile_networks_allowed,
        flow_bindings_per_home_address_max: record
            .flow_bindings_per_home_address_max
            .map(Into::into),
        home_prefix: record.home_prefix.map(|prefix| prefix.to_string()).unwrap_or_default(),
        mobile_networks: record.mobile_networks.iter().map(ToString::to_string).collect(),
        mobile_networks_explicit: record.mobile_networks_explicit,
        ipv4_home_address: ipv4_text(record.ipv4_home_address),
        revision: revised.revision,
    }
}
