//! A store that says what the test wants it to say.

mod operations;

use std::sync::{Arc, Mutex};

use homeport_api::admin::{
    self, alarms_server, bindings_server, cluster_server, events_server, home_prefixes_server,
    home_prefixes_server::HomePrefixesServer, nodes_server, revocations_server, subscribers_server,
};
use homeport_runtime::Task;
use tokio::net::TcpListener;
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

/// Text that would do harm if it were not escaped.
pub(super) const HOSTILE: &str = "\"><script>alert('x')</script>";

/// What the store will say.
#[derive(Clone)]
pub(super) struct Script {
    pub(super) status: admin::GetStatusResponse,
    pub(super) prefix: admin::HomePrefix,
    pub(super) home: admin::HomeBindings,
    pub(super) subscriber: admin::Subscriber,
    pub(super) alarms: Vec<admin::Alarm>,
    pub(super) events: Vec<admin::Event>,
    pub(super) front_ends: Vec<admin::Node>,
    pub(super) done: Done,
    pub(super) refuse_lists: bool,
}

/// A store that is saying it.
pub(super) struct Fake {
    pub(super) endpoint: String,
    says: Arc<Mutex<admin::GetStatusResponse>>,
    done: Done,
    _server: Task,
}

impl Fake {
    /// From now on it is in this state.
    pub(super) fn say(&self, status: admin::GetStatusResponse) {
        *self.says.lock().expect("no test has panicked with it") = status;
    }

    /// What it was told to do.
    pub(super) fn done(&self) -> Vec<String> {
        self.done.0.lock().expect("no test has panicked with it").clone()
    }
}

/// What a store was told to do.
#[derive(Clone, Default)]
pub(super) struct Done(Arc<Mutex<Vec<String>>>);

impl Done {
    fn push(&self, what: String) {
        self.0.lock().expect("no test has panicked with it").push(what);
    }
}

#[tonic::async_trait]
impl revocations_server::Revocations for Script {
    async fn revoke_bindings(
        &self,
        request: Request<admin::RevokeBindingsRequest>,
    ) -> Result<Response<admin::RevokeBindingsResponse>, Status> {
        let home_address = request.into_inner().home_address;
        self.done.push(format!("revoke {home_address}"));
        Ok(Response::new(admin::RevokeBindingsResponse { revision: 121 }))
    }
}

/// The state that a running store is in.
struct Running(Arc<Mutex<admin::GetStatusResponse>>);

impl Script {
    /// Node 1 of three leads.
    pub(super) fn new(node_id: u64, role: &str, applied_index: u64) -> Self {
        let member = |node_id| admin::Member {
            node_id,
            address: format!("store-{node_id}:7101"),
            voter: true,
        };
        let subscriber = |name: &str, sent_revision| admin::FeedSubscriber {
            name: name.to_owned(),
            sent_revision,
        };
        let feed_subscribers = match node_id {
            1 => vec![subscriber("forwarder-2", 120), subscriber("forwarder-1", 118)],
            _ => Vec::new(),
        };
        let status = admin::GetStatusResponse {
            node_id,
            role: role.to_owned(),
            term: 4,
            leader_id: 1,
            last_log_index: applied_index,
            committed_index: applied_index,
            applied_index,
            members: [1, 2, 3].map(member).to_vec(),
            home_addresses: 2,
            bindings: 3,
            feed_subscribers,
            version: "0.1.0".to_owned(),
            cluster_name: "test".to_owned(),
            cluster_id: 0,
            keeps_operations: true,
        };
        let prefix = admin::HomePrefix {
            prefix: "2001:db8:0:1::/64".to_owned(),
            home_agent: "2001:db8:0:1::1".to_owned(),
            authentication: admin::Authentication::MnHa.into(),
            bindings_per_home_address_max: 8,
            lifetime_max_secs: 3_600,
            ..admin::HomePrefix::default()
        };
        let subscriber = admin::Subscriber {
            home_address: "2001:db8:0:1::100".to_owned(),
            nai: "mn1@example.com".to_owned(),
            spi: 256,
            key_present: true,
            ..admin::Subscriber::default()
        };
        let home = home("2001:db8:0:1::100");
        let (alarms, events) = (operations::alarms(), operations::events());
        let front_ends = operations::front_ends(node_id);
        Self {
            status,
            prefix,
            home,
            subscriber,
            alarms,
            events,
            front_ends,
            done: Done::default(),
            refuse_lists: false,
        }
    }

    /// Every text that a store can send is hostile.
    pub(super) fn make_hostile(&mut self) {
        self.status.version = HOSTILE.to_owned();
        self.status.feed_subscribers[0].name = HOSTILE.to_owned();
        self.status.members[2].address = HOSTILE.to_owned();
        self.prefix.prefix = HOSTILE.to_owned();
        self.prefix.home_agent = HOSTILE.to_owned();
        self.home.home_agent = HOSTILE.to_owned();
        self.subscriber.nai = HOSTILE.to_owned();
        self.subscriber.mobile_networks = vec![HOSTILE.to_owned()];
        self.home.bindings[0].care_of_address = HOSTILE.to_owned();
        for alarm in &mut self.alarms {
            for text in [&mut alarm.name, &mut alarm.resource, &mut alarm.kind, &mut alarm.text] {
                *text = HOSTILE.to_owned();
            }
            alarm.help = HOSTILE.to_owned();
            alarm.acknowledged =
                Some(admin::AlarmMark { by: HOSTILE.to_owned(), ..Default::default() });
        }
        for front_end in &mut self.front_ends {
            front_end.address = HOSTILE.to_owned();
            front_end.version = HOSTILE.to_owned();
        }
        for event in &mut self.events {
            event.care_of_address = HOSTILE.to_owned();
            event.text = HOSTILE.to_owned();
            event.rfc_section = HOSTILE.to_owned();
            event.resource = HOSTILE.to_owned();
        }
    }

    /// Serves on a free port of the loopback.
    pub(super) async fn start(self) -> Fake {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("listens");
        let endpoint = listener.local_addr().expect("has an address").to_string();
        let done = self.done.clone();
        let says = Arc::new(Mutex::new(self.status.clone()));
        let server = Server::builder()
            .add_service(cluster_server::ClusterServer::new(Running(Arc::clone(&says))))
            .add_service(revocations_server::RevocationsServer::new(self.clone()))
            .add_service(subscribers_server::SubscribersServer::new(self.clone()))
            .add_service(HomePrefixesServer::new(self.clone()))
            .add_service(alarms_server::AlarmsServer::new(self.clone()))
            .add_service(nodes_server::NodesServer::new(self.clone()))
            .add_service(events_server::EventsServer::new(self.clone()))
            .add_service(bindings_server::BindingsServer::new(self))
            .serve_with_incoming(TcpIncoming::from(listener));
        let server = Task::spawn("fake", async move { server.await.expect("serves") });
        Fake { endpoint, says, done, _server: server }
    }

    fn listed<T>(&self, list: T) -> Result<Response<T>, Status> {
        if self.refuse_lists {
            return Err(Status::unavailable("the lists are closed"));
        }
        Ok(Response::new(list))
    }
}

fn home(home_address: &str) -> admin::HomeBindings {
    let over_ipv6 = admin::Binding {
        bid: Some(1),
        care_of_address: "2001:db8:a::11".to_owned(),
        priority: 10,
        remaining_secs: 3_599,
        ..admin::Binding::default()
    };
    let over_ipv4 = admin::Binding {
        bid: Some(2),
        care_of_address: "192.0.2.44".to_owned(),
        udp_port: 40_000,
        behind_nat: true,
        remaining_secs: 12,
        ..admin::Binding::default()
    };
    admin::HomeBindings {
        home_address: home_address.to_owned(),
        home_agent: "2001:db8:0:1::1".to_owned(),
        sequence: 7,
        bindings: vec![over_ipv6, over_ipv4],
        revision: 118,
        ..admin::HomeBindings::default()
    }
}

#[tonic::async_trait]
impl cluster_server::Cluster for Running {
    async fn get_status(
        &self,
        _: Request<admin::GetStatusRequest>,
    ) -> Result<Response<admin::GetStatusResponse>, Status> {
        Ok(Response::new(self.0.lock().expect("no test has panicked with it").clone()))
    }

    async fn add_replica(
        &self,
        _: Request<admin::AddReplicaRequest>,
    ) -> Result<Response<admin::AddReplicaResponse>, Status> {
        Err(Status::permission_denied("the page must not write"))
    }

    async fn remove_replica(
        &self,
        _: Request<admin::RemoveReplicaRequest>,
    ) -> Result<Response<admin::RemoveReplicaResponse>, Status> {
        Err(Status::permission_denied("the page must not write"))
    }

    async fn transfer_leadership(
        &self,
        _: Request<admin::TransferLeadershipRequest>,
    ) -> Result<Response<admin::TransferLeadershipResponse>, Status> {
        Err(Status::permission_denied("the page must not write"))
    }
}

#[tonic::async_trait]
impl subscribers_server::Subscribers for Script {
    async fn create_subscriber(
        &self,
        _: Request<admin::CreateSubscriberRequest>,
    ) -> Result<Response<admin::Subscriber>, Status> {
        Err(Status::permission_denied("the page must not write"))
    }

    async fn get_subscriber(
        &self,
        request: Request<admin::GetSubscriberRequest>,
    ) -> Result<Response<admin::Subscriber>, Status> {
        if request.into_inner().home_address == self.subscriber.home_address {
            return Ok(Response::new(self.subscriber.clone()));
        }
        Err(Status::not_found("no such subscriber"))
    }

    async fn find_subscribers(
        &self,
        request: Request<admin::FindSubscribersRequest>,
    ) -> Result<Response<admin::FindSubscribersResponse>, Status> {
        let query = request.into_inner().query;
        let one = || admin::FoundSubscriber {
            subscriber: Some(self.subscriber.clone()),
            bindings: Some(self.home.clone()),
            matches: vec![admin::Match::Nai.into(), admin::Match::CareOfAddress.into()],
        };
        let found = match query.as_str() {
            "mn*" => vec![one(), one()],
            "<b>" => return Err(Status::invalid_argument("query: <b> is nothing")),
            query if query == self.subscriber.nai => vec![one()],
            _ => Vec::new(),
        };
        self.listed(admin::FindSubscribersResponse { found, revision: 120, ..Default::default() })
    }

    async fn list_subscribers(
        &self,
        _: Request<admin::ListSubscribersRequest>,
    ) -> Result<Response<admin::ListSubscribersResponse>, Status> {
        self.listed(admin::ListSubscribersResponse {
            subscribers: vec![self.subscriber.clone()],
            next_page_token: String::new(),
        })
    }

    async fn delete_subscriber(
        &self,
        _: Request<admin::DeleteSubscriberRequest>,
    ) -> Result<Response<admin::DeleteSubscriberResponse>, Status> {
        Err(Status::permission_denied("the page must not write"))
    }
}

#[tonic::async_trait]
impl bindings_server::Bindings for Script {
    async fn get_home_bindings(
        &self,
        request: Request<admin::GetHomeBindingsRequest>,
    ) -> Result<Response<admin::HomeBindings>, Status> {
        if request.into_inner().home_address == self.home.home_address {
            return Ok(Response::new(self.home.clone()));
        }
        Err(Status::not_found("no such home address"))
    }

    async fn list_home_bindings(
        &self,
        request: Request<admin::ListHomeBindingsRequest>,
    ) -> Result<Response<admin::ListHomeBindingsResponse>, Status> {
        let (homes, next) = match request.into_inner().page_token.as_str() {
            "" => (vec![self.home.clone()], "more/&\""),
            "more/&\"" => (vec![home("2001:db8:0:1::200")], ""),
            other => return Err(Status::invalid_argument(format!("no page {other}"))),
        };
        self.listed(admin::ListHomeBindingsResponse {
            homes,
            next_page_token: next.to_owned(),
            revision: 120,
        })
    }
}

#[tonic::async_trait]
impl home_prefixes_server::HomePrefixes for Script {
    async fn create_home_prefix(
        &self,
        _: Request<admin::CreateHomePrefixRequest>,
    ) -> Result<Response<admin::HomePrefix>, Status> {
        Err(Status::permission_denied("the page must not write"))
    }

    async fn get_home_prefix(
        &self,
        _: Request<admin::GetHomePrefixRequest>,
    ) -> Result<Response<admin::HomePrefix>, Status> {
        Ok(Response::new(self.prefix.clone()))
    }

    async fn list_home_prefixes(
        &self,
        _: Request<admin::ListHomePrefixesRequest>,
    ) -> Result<Response<admin::ListHomePrefixesResponse>, Status> {
        self.listed(admin::ListHomePrefixesResponse {
            home_prefixes: vec![self.prefix.clone()],
            next_page_token: String::new(),
        })
    }

    async fn update_home_prefix(
        &self,
        _: Request<admin::UpdateHomePrefixRequest>,
    ) -> Result<Response<admin::HomePrefix>, Status> {
        Err(Status::permission_denied("the page must not write"))
    }

    async fn advertise_home_prefix(
        &self,
        _: Request<admin::AdvertiseHomePrefixRequest>,
    ) -> Result<Response<admin::AdvertiseHomePrefixResponse>, Status> {
        Err(Status::permission_denied("the page must not write"))
    }

    async fn delete_home_prefix(
        &self,
        _: Request<admin::DeleteHomePrefixRequest>,
    ) -> Result<Response<admin::DeleteHomePrefixResponse>, Status> {
        Err(Status::permission_denied("the page must not write"))
    }
}
