use std::net::Ipv6Addr;

use homeport_api::admin::subscribers_server::Subscribers;
use homeport_api::admin::{self as api};
use homeport_binding::{Command, Ipv6Prefix, Key as MnHaKey, Revised, Subscriber, View};
use tonic::{Request, Response, Status};

use super::audited::Caller;
use super::lists::{self, Asked, Field, Filter, Key, Kind, Test};
use super::{
    address, execute, find, invalid, ipv4_prefix, ipv4_text, ipv6_prefix, not_found, read_barrier,
    write,
};
use crate::Store;

pub(crate) struct Service(pub(crate) Store);

#[tonic::async_trait]
impl Subscribers for Service {
    async fn create_subscriber(
        &self,
        request: Request<api::CreateSubscriberRequest>,
    ) -> Result<Response<api::Subscriber>, Status> {
        write(&self.0, request, create).await
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
            let about = ("Subscriber", home_address.to_string());
            not_found("home_address", &about, &format!("no subscriber with {home_address}"))
        })
    }

    async fn list_subscribers(
        &self,
        request: Request<api::ListSubscribersRequest>,
    ) -> Result<Response<api::ListSubscribersResponse>, Status> {
        let request = request.into_inner();
        let filter = Filter::of(&request.filter, &FIELDS)?;
        let (size, token, order_by) = (request.page_size, &request.page_token, &request.order_by);
        let asked = Asked::of(size, token, filter, order_by, &ORDERS)?;
        read_barrier(&self.0, false).await?;
        let response = if asked.is_plain() {
            self.0.node.read(|machine| page(machine.cache.subscribers_after(asked.start()), &asked))
        } else {
            let look = move |view: &View| page(view.subscribers_after(asked.start()), &asked);
            lists::search(&self.0, look).await?
        };
        Ok(Response::new(response))
    }

    async fn delete_subscriber(
        &self,
        request: Request<api::DeleteSubscriberRequest>,
    ) -> Result<Response<api::DeleteSubscriberResponse>, Status> {
        write(&self.0, request, delete).await
    }

    async fn find_subscribers(
        &self,
        request: Request<api::FindSubscribersRequest>,
    ) -> Result<Response<api::FindSubscribersResponse>, Status> {
        let request = request.into_inner();
        let search = find::Search::of(&request.query, request.page_size, &request.page_token)?;
        read_barrier(&self.0, request.local).await?;
        let found = lists::search(&self.0, move |view| search.look(view)).await?;
        Ok(Response::new(found))
    }
}

async fn create(
    store: Store,
    caller: Caller,
    request: api::CreateSubscriberRequest,
) -> Result<api::Subscriber, Status> {
    let message = request.subscriber.ok_or_else(|| invalid("subscriber", "missing"))?;
    let record = record_of(message)?;
    let command = Command::PutSubscriber { subscriber: record.clone(), must_not_exist: true };
    let revision = execute(&store, &caller, command).await?;
    Ok(message_of(&Revised { record, revision }))
}

async fn delete(
    store: Store,
    caller: Caller,
    request: api::DeleteSubscriberRequest,
) -> Result<api::DeleteSubscriberResponse, Status> {
    let home_address = home_address_of(&request.home_address)?;
    execute(&store, &caller, Command::DeleteSubscriber(home_address)).await?;
    Ok(api::DeleteSubscriberResponse {})
}

const FIELDS: [Field; 9] = [
    ("home_address", Kind::Address),
    ("nai", Kind::Text),
    ("spi", Kind::Number),
    ("key_present", Kind::Flag),
    ("message_id_required", Kind::Flag),
    ("home_prefix", Kind::Address),
    ("mobile_networks", Kind::Address),
    ("mobile_networks_explicit", Kind::Flag),
    ("ipv4_home_address", Kind::Address),
];

const ORDERS: [Field; 2] = [("nai", Kind::Text), ("revision", Kind::Number)];

fn page<'s>(
    subscribers: impl Iterator<Item = &'s Revised<Subscriber>>,
    asked: &Asked,
) -> api::ListSubscribersResponse {
    let matching =
        subscribers.filter(|it| asked.filter.holds(|field, test| holds(&it.record, field, test)));
    let placed = matching.map(|it| (it.record.home_address, it));
    let (page, next_page_token) = asked.page(placed, |it, order| match order {
        "nai" => Key::Text(it.record.nai.clone()),
        _ => Key::Number(it.revision),
    });
    let subscribers = page.into_iter().map(message_of).collect();
    api::ListSubscribersResponse { subscribers, next_page_token }
}

fn holds(record: &Subscriber, field: &str, test: &Test) -> bool {
    match field {
        "home_address" => test.address(record.home_address),
        "nai" => test.text(&record.nai),
        "spi" => record.mn_ha.as_ref().is_some_and(|(spi, _)| test.number((*spi).into())),
        "key_present" => test.flag(record.mn_ha.is_some()),
        "message_id_required" => test.flag(record.message_id_required),
        "home_prefix" => record.home_prefix.is_some_and(|prefix| test.ipv6_prefix(prefix)),
        "mobile_networks" => record.mobile_networks.iter().any(|it| test.ipv6_prefix(*it)),
        "mobile_networks_explicit" => test.flag(record.mobile_networks_explicit),
        _ => record.ipv4_home_address.is_some_and(|own| test.ipv4_prefix(own)),
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
            Some((spi, MnHaKey(key)))
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
pub(super) fn message_of(revised: &Revised<Subscriber>) -> api::Subscriber {
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
