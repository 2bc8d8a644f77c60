//! The stores as seen from here: one lazily connected channel each, every call with a deadline.

use homeport_api::admin::{
    self, alarms_client::AlarmsClient, bindings_client::BindingsClient,
    cluster_client::ClusterClient, events_client::EventsClient,
    home_prefixes_client::HomePrefixesClient, nodes_client::NodesClient,
    revocations_client::RevocationsClient, subscribers_client::SubscribersClient,
};
use homeport_api::bearer::{Bearer, Link};
use homeport_api::inspection::{
    ListTrafficRequest, ListTrafficResponse, TrafficOrder, inspection_client::InspectionClient,
};
use homeport_runtime::config::Refusal;
use homeport_tls::{Links, Role, Way};
use tokio::time::timeout;
use tonic::{
    Code, Response, Status as Answer,
    transport::{Channel, Endpoint},
};

use crate::{
    config::{ProcessConfig, is_address},
    limits::{
        ALARMS_MAX, ERROR_CHARS_MAX, HOME_PREFIXES_MAX, NODES_MAX, ROWS_PER_PAGE, SHELVED_SECS,
        STORE_DEADLINE, STORES_MAX, TRAFFIC_ROWS_MAX,
    },
    status::{Home, Homes},
};

/// Every configured store.
#[derive(Debug)]
pub(crate) struct Stores {
    stores: Vec<Store>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) endpoint: String,
    channel: Link,
}

impl Stores {
    /// Connects to nobody yet.
    pub(crate) fn new(
        endpoints: &[String],
        bearer: &Bearer,
        links: &Links,
    ) -> Result<Self, Refusal> {
        if endpoints.is_empty() || endpoints.len() > STORES_MAX {
            let expected = format!("a list of 1 to {STORES_MAX} entries");
            let wrong = format!("is a list of {}", endpoints.len());
            return Err(Refusal::new("stores", wrong, expected));
        }
        let stores = endpoints
            .iter()
            .map(|endpoint| Store::new(endpoint, bearer, &links.to(Role::Store)))
            .collect::<Result<_, _>>()?;
        Ok(Self { stores })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Store> {
        self.stores.iter()
    }

    /// The store of this address.
    pub(crate) fn find(&self, endpoint: &str) -> Option<&Store> {
        self.stores.iter().find(|store| store.endpoint == endpoint)
    }
}

impl Store {
    fn new(endpoint: &str, bearer: &Bearer, way: &Way) -> Result<Self, Refusal> {
        let wrong = || {
            let expected = "a host and port, such as \"127.0.0.1:7101\"";
            Refusal::new("stores", format!("has {endpoint:?}"), expected)
        };
        let channel = channel(endpoint, way).ok_or_else(wrong)?;
        Ok(Self { endpoint: endpoint.to_owned(), channel: bearer.over(channel) })
    }

    pub(crate) async fn status(&self) -> Result<admin::GetStatusResponse, String> {
        let mut client = ClusterClient::new(self.channel.clone());
        in_time(client.get_status(admin::GetStatusRequest {})).await
    }

    /// The home prefixes, and whether there are more than are shown.
    pub(crate) async fn home_prefixes(&self) -> Result<(Vec<admin::HomePrefix>, bool), String> {
        let mut client = HomePrefixesClient::new(self.channel.clone());
        let request = admin::ListHomePrefixesRequest {
            page_size: HOME_PREFIXES_MAX,
            page_token: String::new(),
        };
        let list = in_time(client.list_home_prefixes(request)).await?;
        Ok((list.home_prefixes, !list.next_page_token.is_empty()))
    }

    /// One page of home addresses, of the replica's own state; an empty token is the first page.
    pub(crate) async fn homes(&self, page_token: &str) -> Result<Homes, String> {
        let mut client = BindingsClient::new(self.channel.clone());
        let request = admin::ListHomeBindingsRequest {
            page_size: ROWS_PER_PAGE,
            page_token: page_token.to_owned(),
            local: true,
            ..Default::default()
        };
        let list = in_time(client.list_home_bindings(request)).await?;
        Ok(Homes {
            rows: list.homes.into_iter().map(Home::from).collect(),
            revision: Some(list.revision),
            next_page_token: Some(list.next_page_token).filter(|token| !token.is_empty()),
        })
    }

    /// One home address, of the replica's own state; none when the store does not know it.
    pub(crate) async fn home(&self, home_address: &str) -> Result<Option<Home>, String> {
        let mut client = BindingsClient::new(self.channel.clone());
        let request =
            admin::GetHomeBindingsRequest { home_address: home_address.to_owned(), local: true };
        found(answer_in_time(client.get_home_bindings(request)).await.map(Home::from))
    }

    /// One page of subscribers, which only the leader gives, and the token of the next.
    pub(crate) async fn subscribers(
        &self,
        page_token: &str,
    ) -> Result<(Vec<admin::Subscriber>, Option<String>), String> {
        let mut client = SubscribersClient::new(self.channel.clone());
        let page_token = page_token.to_owned();
        let request = admin::ListSubscribersRequest {
            page_size: ROWS_PER_PAGE,
            page_token,
            ..Default::default()
        };
        let list = in_time(client.list_subscribers(request)).await?;
        let next = Some(list.next_page_token).filter(|token| !token.is_empty());
        Ok((list.subscribers, next))
    }

    /// Whose this is, by whatever names a subscriber or what it uses; of the replica's own state.
    pub(crate) async fn find(
        &self,
        query: &str,
        page_token: &str,
    ) -> Result<admin::FindSubscribersResponse, String> {
        let mut client = SubscribersClient::new(self.channel.clone());
        let request = admin::FindSubscribersRequest {
            query: query.to_owned(),
            page_size: ROWS_PER_PAGE,
            page_token: page_token.to_owned(),
            local: true,
        };
        in_time(client.find_subscribers(request)).await
    }

    /// The record of one subscriber, which only the leader gives; none when there is none.
    pub(crate) async fn subscriber(
        &self,
        home_address: &str,
    ) -> Result<Option<admin::Subscriber>, String> {
        let mut client = SubscribersClient::new(self.channel.clone());
        let request = admin::GetSubscriberRequest { home_address: home_address.to_owned() };
        found(answer_in_time(client.get_subscriber(request)).await)
    }
}

impl Store {
    /// All alarms, those that are put aside included, of the replica's own state.
    pub(crate) async fn alarms(&self) -> Result<Vec<admin::Alarm>, String> {
        let mut client = AlarmsClient::new(self.channel.clone());
        let request = admin::ListAlarmsRequest {
            page_size: ALARMS_MAX,
            page_token: String::new(),
            shelved_too: true,
            local: true,
        };
        in_time(client.list_alarms(request)).await.map(|list| list.alarms)
    }

    /// Itself, and what is connected to it.
    pub(crate) async fn nodes(&self) -> Result<Vec<admin::Node>, String> {
        let mut client = NodesClient::new(self.channel.clone());
        let request = admin::ListNodesRequest {
            page_size: NODES_MAX,
            page_token: String::new(),
            local: true,
        };
        in_time(client.list_nodes(request)).await.map(|list| list.nodes)
    }

    /// One page of what has happened to alarms, newest first, and the token of the next.
    pub(crate) async fn alarm_history(
        &self,
        page_token: &str,
    ) -> Result<(Vec<admin::AlarmChange>, Option<String>), String> {
        let mut client = AlarmsClient::new(self.channel.clone());
        let request = admin::ListAlarmHistoryRequest {
            page_size: ROWS_PER_PAGE,
            page_token: page_token.to_owned(),
            local: true,
        };
        let list = in_time(client.list_alarm_history(request)).await?;
        let next = Some(list.next_page_token).filter(|token| !token.is_empty());
        Ok((list.changes, next))
    }

    /// One page of events, newest first, and the token of the next; an empty home address is all of them.
    pub(crate) async fn events(
        &self,
        home_address: &str,
        page_size: u32,
        page_token: &str,
    ) -> Result<(Vec<admin::Event>, Option<String>), String> {
        let mut client = EventsClient::new(self.channel.clone());
        let request = admin::ListEventsRequest {
            page_size,
            page_token: page_token.to_owned(),
            home_address: home_address.to_owned(),
            local: true,
            ..Default::default()
        };
        let list = in_time(client.list_events(request)).await?;
        let next = Some(list.next_page_token).filter(|token| !token.is_empty());
        Ok((list.events, next))
    }
}

/// Connects when it is used; none for what is not `host:port`.
fn channel(endpoint: &str, way: &Way) -> Option<Channel> {
    let target = Endpoint::from_shared(format!("http://{endpoint}")).ok()?;
    let target = is_address(endpoint).then_some(target)?;
    let target = target.connect_timeout(STORE_DEADLINE);
    let target = target.http2_keep_alive_interval(STORE_DEADLINE * 5).keep_alive_while_idle(true);
    Some(way.lazy(&target))
}

/// A forwarder's counters of single subscribers.
#[derive(Debug)]
pub(crate) struct Inspected {
    pub(crate) name: String,
    channel: Channel,
}

impl Inspected {
    /// Those that are configured.
    pub(crate) fn of(processes: &[ProcessConfig], links: &Links) -> Vec<Self> {
        let way = links.to(Role::Forwarder);
        let inspected = processes.iter().filter_map(|process| {
            let channel = channel(process.inspection.as_deref()?, &way)?;
            Some(Self { name: process.name.clone(), channel })
        });
        inspected.collect()
    }

    /// The home addresses with the most traffic, and whether a fast path hides some.
    pub(crate) async fn traffic(&self) -> Result<ListTrafficResponse, String> {
        let mut client = InspectionClient::new(self.channel.clone());
        let request =
            ListTrafficRequest { order: TrafficOrder::Octets.into(), limit: TRAFFIC_ROWS_MAX };
        in_time(client.list_traffic(request)).await
    }
}

impl Store {
    /// Ends all bindings of a home address, and says so to its mobile node.
    pub(crate) async fn revoke(&self, home_address: &str) -> Result<(), String> {
        let mut client = RevocationsClient::new(self.channel.clone());
        let home_address = home_address.to_owned();
        let request = admin::RevokeBindingsRequest { home_address, ..Default::default() };
        in_time(client.revoke_bindings(request)).await.map(drop)
    }

    /// Makes another voter lead.
    pub(crate) async fn transfer_leadership(&self, node_id: u64) -> Result<(), String> {
        let mut client = ClusterClient::new(self.channel.clone());
        let request = admin::TransferLeadershipRequest { node_id, ..Default::default() };
        in_time(client.transfer_leadership(request)).await.map(drop)
    }
}

/// What an alarm says of who has acknowledged or shelved it: the store knows only this process's address.
const COMMENT: &str = "from the dashboard";

impl Store {
    /// Somebody has taken note of an alarm.
    pub(crate) async fn acknowledge(&self, name: &str) -> Result<(), String> {
        let mut client = AlarmsClient::new(self.channel.clone());
        let (name, comment) = (name.to_owned(), COMMENT.to_owned());
        let request = admin::AcknowledgeAlarmRequest { name, comment, ..Default::default() };
        in_time(client.acknowledge_alarm(request)).await.map(drop)
    }

    /// An alarm is put aside for [`SHELVED_SECS`], or shown again.
    pub(crate) async fn shelve(&self, name: &str, shelved: bool) -> Result<(), String> {
        let mut client = AlarmsClient::new(self.channel.clone());
        let (name, comment) = (name.to_owned(), COMMENT.to_owned());
        let for_secs = if shelved { SHELVED_SECS } else { 0 };
        let request = admin::ShelveAlarmRequest { name, comment, for_secs, ..Default::default() };
        in_time(client.shelve_alarm(request)).await.map(drop)
    }

    /// Forwarders use other front-ends from now on.
    pub(crate) async fn drain(&self, name: &str) -> Result<(), String> {
        let mut client = NodesClient::new(self.channel.clone());
        let request = admin::DrainNodeRequest { name: name.to_owned(), ..Default::default() };
        in_time(client.drain_node(request)).await.map(drop)
    }

    /// They use this one again.
    pub(crate) async fn undrain(&self, name: &str) -> Result<(), String> {
        let mut client = NodesClient::new(self.channel.clone());
        let request = admin::UndrainNodeRequest { name: name.to_owned(), ..Default::default() };
        in_time(client.undrain_node(request)).await.map(drop)
    }
}

/// That there is no such thing is an answer.
fn found<T>(answer: Result<T, Answer>) -> Result<Option<T>, String> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(answer) if answer.code() == Code::NotFound => Ok(None),
        Err(answer) => Err(shown(&answer)),
    }
}

async fn in_time<T>(call: impl Future<Output = Result<Response<T>, Answer>>) -> Result<T, String> {
    answer_in_time(call).await.map_err(|answer| shown(&answer))
}

/// The deadline is for the whole, connecting included.
async fn answer_in_time<T>(
    call: impl Future<Output = Result<Response<T>, Answer>>,
) -> Result<T, Answer> {
    match timeout(STORE_DEADLINE, call).await {
        Ok(answer) => answer.map(Response::into_inner),
        Err(_) => {
            let waited = format!("no answer in {} s", STORE_DEADLINE.as_secs());
            Err(Answer::deadline_exceeded(waited))
        }
    }
}

/// An error in at most [`ERROR_CHARS_MAX`] characters, with the cause that the operator can act on.
fn shown(answer: &Answer) -> String {
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(answer);
    let mut innermost = answer.message().to_owned();
    while let Some(error) = cause {
        innermost = error.to_string();
        cause = error.source();
    }
    if innermost.is_empty() {
        innermost = answer.code().to_string();
    }
    innermost.chars().take(ERROR_CHARS_MAX).collect()
}
