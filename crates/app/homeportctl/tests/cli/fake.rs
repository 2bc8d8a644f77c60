//! A store that does what the test wants it to do.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use homeport_api::admin::{
    self, bindings_server, cluster_server, home_agents_server, home_prefixes_server,
    revocations_server, subscribers_server,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{
    Code, Request, Response, Status,
    service::InterceptorLayer,
    transport::{Server, server::TcpIncoming},
};
use tonic_types::{ErrorDetails, StatusExt as _};

/// How it behaves.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    kind: Kind,
    prefix: Option<admin::HomePrefix>,
    subscriber: Option<admin::Subscriber>,
    revoked: Option<admin::RevokeBindingsRequest>,
    switched: Option<admin::SwitchHomeAgentRequest>,
    added: Option<admin::AddReplicaRequest>,
    updated: Option<admin::UpdateHomePrefixRequest>,
    advertised: Option<admin::AdvertiseHomePrefixRequest>,
    /// What each write was sent with: validate_only and request_id.
    marks: Vec<(bool, String)>,
}

#[derive(Clone, Debug)]
enum Kind {
    Leader,
    Follower {
        leader: String,
    },
    Refusing,
    /// Takes nobody's token.
    Guarded,
    Silent,
    /// Takes the first request and answers it too late, and all others as the leader does.
    Losing,
}

impl Script {
    /// Answers everything, and remembers one record of each kind.
    pub(crate) fn leader() -> Self {
        Self {
            kind: Kind::Leader,
            prefix: None,
            subscriber: None,
            revoked: None,
            switched: None,
            added: None,
            updated: None,
            advertised: None,
            marks: Vec::new(),
        }
    }

    /// Refuses everything and names this leader.
    pub(crate) fn follower_of(leader: &str) -> Self {
        Self { kind: Kind::Follower { leader: leader.to_owned() }, ..Self::leader() }
    }

    /// Refuses everything for two fields, one of them with text that steers a terminal.
    pub(crate) fn refusing() -> Self {
        Self { kind: Kind::Refusing, ..Self::leader() }
    }

    /// Refuses everything for who calls.
    pub(crate) fn guarded() -> Self {
        Self { kind: Kind::Guarded, ..Self::leader() }
    }

    /// Loses the first answer.
    pub(crate) fn losing() -> Self {
        Self { kind: Kind::Losing, ..Self::leader() }
    }

    /// Takes every request and answers none.
    pub(crate) fn silent() -> Self {
        Self { kind: Kind::Silent, ..Self::leader() }
    }
}

/// The store.
pub(crate) struct Fake {
    pub(crate) endpoint: String,
    service: Service,
    authorization: Arc<Mutex<Option<String>>>,
    server: JoinHandle<()>,
}

impl Fake {
    /// Serves on a free port of the loopback.
    pub(crate) async fn start(script: Script) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("listens");
        let endpoint = listener.local_addr().expect("has an address").to_string();
        let service = Service(Arc::new(Mutex::new(script)));
        let authorization = Arc::new(Mutex::new(None));
        let heard = Arc::clone(&authorization);
        let hear = InterceptorLayer::new(move |request: Request<()>| {
            let sent = request.metadata().get("authorization");
            let sent = sent.map(|value| value.to_str().expect("is text").to_owned());
            *heard.lock().expect("no test has panicked with it") = sent;
            Ok(request)
        });
        let serving = Server::builder()
            .layer(hear)
            .add_service(home_prefixes_server::HomePrefixesServer::new(service.clone()))
            .add_service(subscribers_server::SubscribersServer::new(service.clone()))
            .add_service(bindings_server::BindingsServer::new(service.clone()))
            .add_service(home_agents_server::HomeAgentsServer::new(service.clone()))
            .add_service(revocations_server::RevocationsServer::new(service.clone()))
            .add_service(cluster_server::ClusterServer::new(service.clone()))
            .serve_with_incoming(TcpIncoming::from(listener));
        let server = tokio::spawn(async move { serving.await.expect("serves") });
        Self { endpoint, service, authorization, server }
    }

    /// What the last call said of who called.
    pub(crate) fn authorization(&self) -> Option<String> {
        self.authorization.lock().expect("no test has panicked with it").clone()
    }

    /// Behaves so from now on.
    pub(crate) fn set(&self, script: Script) {
        *self.service.script() = script;
    }

    /// The subscriber as it arrived, with its key.
    pub(crate) fn subscriber(&self) -> Option<admin::Subscriber> {
        self.service.script().subscriber.clone()
    }

    /// The last revocation as it arrived.
    pub(crate) fn revoked(&self) -> Option<admin::RevokeBindingsRequest> {
        self.service.script().revoked.clone()
    }

    /// The last change of a home prefix as it arrived.
    pub(crate) fn updated(&self) -> Option<admin::UpdateHomePrefixRequest> {
        self.service.script().updated.clone()
    }

    /// The last request to advertise as it arrived.
    pub(crate) fn advertised(&self) -> Option<admin::AdvertiseHomePrefixRequest> {
        self.service.script().advertised.clone()
    }

    /// The last replica that was added, as it arrived.
    pub(crate) fn added(&self) -> Option<admin::AddReplicaRequest> {
        self.service.script().added.clone()
    }

    /// What each write was sent with, in order: validate_only and request_id.
    pub(crate) fn marks(&self) -> Vec<(bool, String)> {
        self.service.script().marks.clone()
    }

    /// The last switch as it arrived.
    pub(crate) fn switched(&self) -> Option<admin::SwitchHomeAgentRequest> {
        self.service.script().switched.clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[derive(Clone)]
struct Service(Arc<Mutex<Script>>);

impl Service {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().expect("nobody panicked")
    }

    /// A write has an id, which is not compared with the rest of it.
    fn mark(&self, validate_only: bool, request_id: &mut String) {
        self.script().marks.push((validate_only, std::mem::take(request_id)));
    }

    async fn admit(&self) -> Result<(), Status> {
        let kind = self.script().kind.clone();
        match kind {
            Kind::Leader => Ok(()),
            Kind::Follower { leader } => {
                let mut status = Status::failed_precondition("this replica does not lead");
                let leader = leader.parse().expect("is a metadata value");
                status.metadata_mut().insert("homeport-leader", leader);
                Err(status)
            }
            Kind::Refusing => {
                let mut details =
                    ErrorDetails::with_bad_request_violation("home_agent", "lies outside");
                details.add_bad_request_violation("bulk_allowed", "\u{1b}[2Jneeds several");
                details.add_precondition_failure_violation("IN_USE", "node 2", "upgrade it");
                details.set_retry_info(Some(Duration::from_millis(1500)));
                details.add_help_link("about it", "docs/operations/errors.md#field_invalid\u{7}");
                let code = Code::InvalidArgument;
                Err(Status::with_error_details(code, "two fields\nare wrong", details))
            }
            Kind::Guarded => Err(Status::unauthenticated("authorization: nobody has this token")),
            Kind::Losing => {
                self.script().kind = Kind::Leader;
                tokio::time::sleep(Duration::from_secs(60)).await;
                Err(Status::aborted("too late"))
            }
            Kind::Silent => {
                tokio::time::sleep(Duration::from_secs(60)).await;
                Err(Status::aborted("too late"))
            }
        }
    }
}

fn field_error(code: Code, field: &str, description: &str) -> Status {
    let details = ErrorDetails::with_bad_request_violation(field, description);
    Status::with_error_details(code, description.to_owned(), details)
}

#[tonic::async_trait]
impl home_prefixes_server::HomePrefixes for Service {
    async fn create_home_prefix(
        &self,
        request: Request<admin::CreateHomePrefixRequest>,
    ) -> Result<Response<admin::HomePrefix>, Status> {
        let mut request = request.into_inner();
        self.mark(request.validate_only, &mut request.request_id);
        self.admit().await?;
        let mut prefix = request.home_prefix.clone().expect("has a prefix");
        let mut script = self.script();
        if script.prefix.is_some() {
            return Err(field_error(Code::AlreadyExists, "prefix", "exists already"));
        }
        prefix.multiple_care_of_allowed.get_or_insert(true);
        prefix.revision = 9;
        if !request.validate_only {
            script.prefix = Some(prefix.clone());
        }
        Ok(Response::new(prefix))
    }

    async fn get_home_prefix(
        &self,
        _: Request<admin::GetHomePrefixRequest>,
    ) -> Result<Response<admin::HomePrefix>, Status> {
        self.admit().await?;
        let found = self.script().prefix.clone();
        found.map(Response::new).ok_or_else(|| Status::not_found("no such home prefix"))
    }

    async fn list_home_prefixes(
        &self,
        _: Request<admin::ListHomePrefixesRequest>,
    ) -> Result<Response<admin::ListHomePrefixesResponse>, Status> {
        self.admit().await?;
        let home_prefixes = self.script().prefix.iter().cloned().collect();
        let next_page_token = String::new();
        Ok(Response::new(admin::ListHomePrefixesResponse { home_prefixes, next_page_token }))
    }

    async fn update_home_prefix(
        &self,
        request: Request<admin::UpdateHomePrefixRequest>,
    ) -> Result<Response<admin::HomePrefix>, Status> {
        let mut request = request.into_inner();
        self.mark(request.validate_only, &mut request.request_id);
        self.admit().await?;
        self.script().updated = Some(request.clone());
        Ok(Response::new(request.home_prefix.expect("has a prefix")))
    }

    async fn advertise_home_prefix(
        &self,
        request: Request<admin::AdvertiseHomePrefixRequest>,
    ) -> Result<Response<admin::AdvertiseHomePrefixResponse>, Status> {
        let mut request = request.into_inner();
        self.mark(request.validate_only, &mut request.request_id);
        self.admit().await?;
        self.script().advertised = Some(request);
        Ok(Response::new(admin::AdvertiseHomePrefixResponse {}))
    }

    async fn delete_home_prefix(
        &self,
        request: Request<admin::DeleteHomePrefixRequest>,
    ) -> Result<Response<admin::DeleteHomePrefixResponse>, Status> {
        let mut request = request.into_inner();
        self.mark(request.validate_only, &mut request.request_id);
        self.admit().await?;
        if !request.validate_only {
            self.script().prefix = None;
        }
        Ok(Response::new(admin::DeleteHomePrefixResponse {}))
    }
}

#[tonic::async_trait]
impl subscribers_server::Subscribers for Service {
    async fn create_subscriber(
        &self,
        request: Request<admin::CreateSubscriberRequest>,
    ) -> Result<Response<admin::Subscriber>, Status> {
        let mut request = request.into_inner();
        self.mark(request.validate_only, &mut request.request_id);
        self.admit().await?;
        let subscriber = request.subscriber.expect("has a subscriber");
        self.script().subscriber = Some(subscriber.clone());
        Ok(Response::new(without_key(subscriber)))
    }

    async fn get_subscriber(
        &self,
        _: Request<admin::GetSubscriberRequest>,
    ) -> Result<Response<admin::Subscriber>, Status> {
        self.admit().await?;
        let found = self.script().subscriber.clone().map(without_key);
        found.map(Response::new).ok_or_else(|| Status::not_found("no such subscriber"))
    }

    async fn list_subscribers(
        &self,
        _: Request<admin::ListSubscribersRequest>,
    ) -> Result<Response<admin::ListSubscribersResponse>, Status> {
        self.admit().await?;
        let subscribers = self.script().subscriber.clone().map(without_key).into_iter().collect();
        let next_page_token = String::new();
        Ok(Response::new(admin::ListSubscribersResponse { subscribers, next_page_token }))
    }

    /// The one that it has, with the bindings of the first home address.
    async fn find_subscribers(
        &self,
        request: Request<admin::FindSubscribersRequest>,
    ) -> Result<Response<admin::FindSubscribersResponse>, Status> {
        self.admit().await?;
        let query = request.into_inner().query;
        let subscriber = self.script().subscriber.clone().map(without_key);
        let found = subscriber.filter(|it| it.nai == query).map(|it| admin::FoundSubscriber {
            subscriber: Some(it),
            bindings: Some(home(1)),
            matches: vec![admin::Match::Nai.into()],
        });
        let found = found.into_iter().collect();
        Ok(Response::new(admin::FindSubscribersResponse { found, ..Default::default() }))
    }

    async fn delete_subscriber(
        &self,
        request: Request<admin::DeleteSubscriberRequest>,
    ) -> Result<Response<admin::DeleteSubscriberResponse>, Status> {
        let mut request = request.into_inner();
        self.mark(request.validate_only, &mut request.request_id);
        self.admit().await?;
        self.script().subscriber = None;
        Ok(Response::new(admin::DeleteSubscriberResponse {}))
    }
}

fn without_key(subscriber: admin::Subscriber) -> admin::Subscriber {
    admin::Subscriber {
        key_present: !subscriber.key.is_empty(),
        key: Default::default(),
        ..subscriber
    }
}

/// Home addresses 2001:db8:0:1::1 to ::3, one on a page.
const HOMES: u32 = 3;

fn home(number: u32) -> admin::HomeBindings {
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
        home_address: format!("2001:db8:0:1::{number:x}"),
        sequence: 7,
        bindings: vec![over_ipv6, over_ipv4],
        ..admin::HomeBindings::default()
    }
}

#[tonic::async_trait]
impl bindings_server::Bindings for Service {
    async fn get_home_bindings(
        &self,
        request: Request<admin::GetHomeBindingsRequest>,
    ) -> Result<Response<admin::HomeBindings>, Status> {
        self.admit().await?;
        let wanted = request.into_inner().home_address;
        let found = (1..=HOMES).map(home).find(|home| home.home_address == wanted);
        found.map(Response::new).ok_or_else(|| Status::not_found("no bindings"))
    }

    async fn list_home_bindings(
        &self,
        request: Request<admin::ListHomeBindingsRequest>,
    ) -> Result<Response<admin::ListHomeBindingsResponse>, Status> {
        self.admit().await?;
        let token = request.into_inner().page_token;
        let number = if token.is_empty() { 1 } else { token.parse().expect("is ours") };
        let next = Some(number + 1).filter(|next| *next <= HOMES);
        Ok(Response::new(admin::ListHomeBindingsResponse {
            homes: vec![home(number)],
            next_page_token: next.map(|next| next.to_string()).unwrap_or_default(),
            revision: 120,
        }))
    }
}

#[tonic::async_trait]
impl revocations_server::Revocations for Service {
    async fn revoke_bindings(
        &self,
        request: Request<admin::RevokeBindingsRequest>,
    ) -> Result<Response<admin::RevokeBindingsResponse>, Status> {
        let mut request = request.into_inner();
        self.mark(request.validate_only, &mut request.request_id);
        self.admit().await?;
        self.script().revoked = Some(request);
        Ok(Response::new(admin::RevokeBindingsResponse { revision: 121 }))
    }
}

#[tonic::async_trait]
impl home_agents_server::HomeAgents for Service {
    async fn switch_home_agent(
        &self,
        request: Request<admin::SwitchHomeAgentRequest>,
    ) -> Result<Response<admin::SwitchHomeAgentResponse>, Status> {
        let mut request = request.into_inner();
        self.mark(request.validate_only, &mut request.request_id);
        self.admit().await?;
        self.script().switched = Some(request);
        let (home_addresses, last_after_secs) = (3, 2);
        Ok(Response::new(admin::SwitchHomeAgentResponse { home_addresses, last_after_secs }))
    }
}

#[tonic::async_trait]
impl cluster_server::Cluster for Service {
    async fn get_status(
        &self,
        _: Request<admin::GetStatusRequest>,
    ) -> Result<Response<admin::GetStatusResponse>, Status> {
        if matches!(self.script().kind, Kind::Guarded) {
            return Err(Status::unauthenticated("authorization: nobody has this token"));
        }
        let subscriber =
            admin::FeedSubscriber { name: "forwarder-1".to_owned(), sent_revision: 118 };
        Ok(Response::new(admin::GetStatusResponse {
            node_id: 1,
            role: "leader".to_owned(),
            term: 4,
            leader_id: 1,
            applied_index: 120,
            feed_subscribers: vec![subscriber],
            version: "0.1.0".to_owned(),
            ..admin::GetStatusResponse::default()
        }))
    }
    async fn add_replica(
        &self,
        request: Request<admin::AddReplicaRequest>,
    ) -> Result<Response<admin::AddReplicaResponse>, Status> {
        let mut request = request.into_inner();
        self.mark(false, &mut request.request_id);
        self.admit().await?;
        let member = admin::Member {
            node_id: request.node_id,
            address: request.address.clone(),
            voter: !request.learner_only,
        };
        self.script().added = Some(request);
        Ok(Response::new(admin::AddReplicaResponse { members: vec![member] }))
    }

    async fn remove_replica(
        &self,
        request: Request<admin::RemoveReplicaRequest>,
    ) -> Result<Response<admin::RemoveReplicaResponse>, Status> {
        let mut request = request.into_inner();
        self.mark(false, &mut request.request_id);
        self.admit().await?;
        let node_id = request.node_id;
        let status = Status::not_found(format!("node_id: {node_id} is no member"));
        Err(status)
    }

    async fn transfer_leadership(
        &self,
        request: Request<admin::TransferLeadershipRequest>,
    ) -> Result<Response<admin::TransferLeadershipResponse>, Status> {
        let mut request = request.into_inner();
        self.mark(false, &mut request.request_id);
        self.admit().await?;
        let node_id = request.node_id;
        let leader_id = if node_id == 0 { 3 } else { node_id };
        Ok(Response::new(admin::TransferLeadershipResponse { leader_id }))
    }
}
