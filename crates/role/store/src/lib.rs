//! One replica of the store: the binding cache under Raft, the services of front-ends, forwarders and
//! operators.
//!
//! ```text
//! front-ends --Submit--> submit (1 task a stream) --\
//! operators --> admin ------------------------------+--> proposer (1x): batches --> raft (n entries in flight)
//!                                 ticker (1x) ------/                                  |
//! front-ends <--Submit-- notices (1x) <---- what is due <---- Machine::apply <---------+
//! operators <--alarms-- overseer (1x, where it leads) <-- sessions here, and those of the other replicas
//! forwarders <--Watch-- feed (1 task a subscriber) <-- changes <-- Machine::apply <----/
//! ```
//!
//! Every queue is bounded ([`limits`]). No rule of any protocol is decided here.

mod admin;
mod answers;
mod backup;
mod events;
mod feed;
mod home_link;
mod inspect;
pub mod limits;
mod machine;
mod metrics;
mod nodes;
mod notices;
mod overseer;
mod preflight;
mod proposer;
mod replicas;
mod streams;
mod submit;
mod tap;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::Stream;
use homeport_raft::{Node, PeerEndpoint, RaftConfig};
use homeport_runtime::config::{
    ConfigError, Configuration, OpsConfig, Refusal, TelemetryConfig, numbered, schema,
};
use homeport_runtime::{Readiness, Shutdown, Task, ops};
use homeport_tls::{Links, Role, TlsConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tonic::transport::server::Connected;

use crate::machine::Machine;
use crate::proposer::Proposer;

pub use crate::admin::{AdminRole, token_line};
pub use crate::backup::{RecoveredStore, Restore, RestoreError, Restored, recover, restore};
pub use crate::inspect::{Inspected, inspect};
pub use crate::preflight::preflight;
pub use crate::tap::Tap;
pub use homeport_raft::{end_with_reason, migrate};

/// Configuration of a replica.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Id of this replica, unique in the cluster for ever.
    pub node_id: u64,
    /// Name of the cluster; a disk of another cluster is refused.
    #[schemars(length(min = 1, max = 255))]
    pub cluster_name: String,
    /// Log, snapshots and identity live here.
    #[schemars(length(min = 1))]
    pub data_dir: PathBuf,
    /// Address and port of all services of this replica.
    #[schemars(with = "schema::Listen")]
    pub listen: SocketAddr,
    /// All replicas by id, `host:port`, this one included.
    #[serde(deserialize_with = "numbered")]
    #[schemars(with = "BTreeMap<u64, schema::HostPort>")]
    pub peers: BTreeMap<u64, String>,
    /// Timers of the consensus.
    #[serde(default)]
    pub raft: RaftTimers,
    /// A snapshot is written after so many MiB of commands since the last: fewer shorten a start
    /// and the log, more spare the disk. Also after 1,000,000 log entries.
    #[serde(default = "snapshot_after_default")]
    pub snapshot_after_mib: NonZeroU32,
    /// Mobile Prefix Advertisements a second that the leader sends unasked (RFC 6275 §10.6.2).
    #[serde(default = "advertisements_default")]
    pub prefix_advertisements_per_second_max: NonZeroU32,
    /// Who may use the admin API; everybody when absent.
    #[serde(default)]
    pub admin: Option<AdminConfig>,
    /// Mutual TLS; without, links are plain.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// Logs and traces.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
    /// Metrics and health.
    #[serde(default)]
    pub ops: OpsConfig,
}

/// `[admin]`: who may use the admin API.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    /// A TOML file with one line for each token, as `homeportctl token new` prints it. It is read again when it
    /// changes.
    #[schemars(length(min = 1))]
    pub tokens_file: PathBuf,
}

const fn advertisements_default() -> NonZeroU32 {
    limits::ADVERTISEMENTS_PER_SECOND_DEFAULT
}

const fn snapshot_after_default() -> NonZeroU32 {
    limits::SNAPSHOT_AFTER_MIB_DEFAULT
}

/// Timers of the consensus. A leader whose process has ended is replaced at once; one
/// that falls silent, after about the largest election timeout plus a random one.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RaftTimers {
    /// Between heartbeats of the leader.
    #[schemars(range(min = 1, max = limits::TIMER_MS_MAX))]
    pub heartbeat_ms: u64,
    /// Shortest time without a leader before a replica stands for election.
    #[schemars(range(min = 1, max = limits::TIMER_MS_MAX))]
    pub election_timeout_min_ms: u64,
    /// Longest such time; also the leader's lease.
    #[schemars(range(min = 1, max = limits::TIMER_MS_MAX))]
    pub election_timeout_max_ms: u64,
}

impl Default for RaftTimers {
    fn default() -> Self {
        Self { heartbeat_ms: 50, election_timeout_min_ms: 150, election_timeout_max_ms: 300 }
    }
}

impl Configuration for Config {
    const ROLE: &'static str = "store";

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }

    fn telemetry_mut(&mut self) -> &mut TelemetryConfig {
        &mut self.telemetry
    }

    fn refusals(&self) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        let RaftTimers { heartbeat_ms, election_timeout_min_ms, election_timeout_max_ms } =
            self.raft;
        if heartbeat_ms >= election_timeout_min_ms
            || election_timeout_min_ms >= election_timeout_max_ms
        {
            let wrong = format!(
                "has heartbeat_ms = {heartbeat_ms}, election_timeout_min_ms = {election_timeout_min_ms}, \
                 election_timeout_max_ms = {election_timeout_max_ms}"
            );
            refusals.push(Refusal::new("raft", wrong, "each of them greater than the one before"));
        } else if let Err(error) = raft_config(self).validate() {
            let key = if self.cluster_name.len() > 255 { "cluster_name" } else { "peers" };
            refusals.push(Refusal::new(key, error.to_string(), "what is said there"));
        }
        refusals.extend(TlsConfig::refusals(self.tls.as_ref(), Role::Store));
        let tokens = self.admin.as_ref().map(|admin| admin::look_at_tokens(&admin.tokens_file));
        if let Some(Err(error)) = tokens {
            let expected = "a file with a line for each token, as homeportctl token new prints it";
            refusals.push(Refusal::new(TOKENS_FILE, error.to_string(), expected));
        }
        refusals
    }
}

/// A key that is named in more than one place.
pub(crate) const TOKENS_FILE: &str = "admin.tokens_file";

/// Why a replica ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The replica could not start.
    #[error("the store cannot start: {0}")]
    Start(homeport_raft::StartError),
    /// An address cannot be listened on.
    #[error("listen: cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The operations port.
    #[error(transparent)]
    Ops(#[from] ops::OpsError),
    /// The files of `[tls]`.
    #[error(transparent)]
    Tls(#[from] Refusal),
    /// The tokens of the admin API.
    #[error("admin.tokens_file: {0}")]
    Tokens(#[from] ConfigError),
    /// The gRPC server failed.
    #[error("the gRPC server has failed: {0}")]
    Serve(#[from] tonic::transport::Error),
    /// Reflection could not be set up.
    #[error("gRPC reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The replica must not go on.
    #[error("the replica has stopped: {0}")]
    Stopped(homeport_raft::StopReason),
}

/// What the services share.
#[derive(Clone)]
pub(crate) struct Store {
    pub(crate) node: Node<Machine>,
    pub(crate) proposer: Proposer,
    pub(crate) metrics: Arc<metrics::Metrics>,
    pub(crate) subscribers: feed::Subscribers,
    pub(crate) takers: notices::Takers,
    pub(crate) defenders: home_link::Defenders,
    pub(crate) home_links: machine::HomeLinks,
    /// Places for those who save snapshots.
    pub(crate) backups: Arc<Semaphore>,
    /// Places for those who look through all subscribers.
    pub(crate) searches: Arc<Semaphore>,
    /// Places for those who watch alarms and events.
    pub(crate) watches: Arc<Semaphore>,
    pub(crate) front_ends: nodes::FrontEnds,
    pub(crate) others: nodes::Others,
    pub(crate) writes: admin::Writes,
}

/// Runs a replica until `shutdown` begins or it must not go on.
///
/// # Errors
/// When it cannot start, or when its disk fails.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), Error> {
    let address = config.listen;
    let listener =
        TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })?;
    let mut registry = homeport_runtime::metrics::registry();
    let links = Links::open(config.tls.as_ref(), Role::Store, &mut registry)?;
    let metrics = Arc::new(metrics::Metrics::register(&mut registry));
    let readiness = Readiness::default();
    let joined = readiness.latch("raft");
    let _ops = ops::serve(&config.ops, registry, readiness, shutdown.clone()).await?;

    end_with_reason();
    let mut raft = raft_config(&config);
    let way = links.to(Role::Store);
    raft.endpoint = PeerEndpoint::plain().over(move |endpoint| way.lazy(endpoint));
    let ground = Ground { incoming: links.incoming(listener), raft, tap: None };
    serve(&config, ground, metrics, joined, (Some(links), shutdown)).await
}

/// What a replica stands on when it is simulated.
pub struct Ground<I> {
    /// Connections.
    pub incoming: I,
    /// The consensus, with its disk and its way to the other replicas.
    pub raft: RaftConfig,
    /// Stands between the log and the state machine.
    pub tap: Option<Box<dyn Tap>>,
}

/// Runs a replica on another ground than this machine: without its network, its disk and an operations
/// port. On a runtime of one thread with a paused clock it does the same each time.
///
/// # Errors
/// When it cannot start, or when its disk fails.
pub async fn run_on<I, C>(
    config: &Config,
    ground: Ground<I>,
    shutdown: Shutdown,
) -> Result<(), Error>
where
    I: Stream<Item = std::io::Result<C>>,
    C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let metrics = metrics::Metrics::register(&mut homeport_runtime::metrics::registry());
    let joined = Readiness::default().latch("raft");
    serve(config, ground, Arc::new(metrics), joined, (None, shutdown)).await
}

async fn serve<I, C>(
    config: &Config,
    ground: Ground<I>,
    metrics: Arc<metrics::Metrics>,
    joined: homeport_runtime::Latch,
    // Links over this machine's network, where it is that; then the leader asks the other replicas.
    (real, shutdown): (Option<Links>, Shutdown),
) -> Result<(), Error>
where
    I: Stream<Item = std::io::Result<C>>,
    C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let is_real = real.is_some();
    let links = real.unwrap_or_default();
    let (guard, _looking) = guard(config, &metrics)?;
    let (machine, due) = Machine::announcing(metrics.clone(), ground.tap);
    let home_links = machine.home_links();
    let node = Node::start(ground.raft, machine).await.map_err(Error::Start)?;
    let (asked, shutdown) = (shutdown, Shutdown::manual());
    let _leaving = Task::spawn("hand-over", leave(node.clone(), asked, shutdown.clone()));
    let takers = notices::Takers::default();
    let advertisements = config.prefix_advertisements_per_second_max;
    let sender =
        notices::Sender::new(node.clone(), takers.clone(), metrics.clone(), advertisements);
    let sender = sender.run(due, shutdown.clone());
    let _notices = Task::spawn("notices", sender);
    let (proposer, batches) = Proposer::new(node.clone(), metrics.clone());
    let _proposer = Task::spawn("proposer", batches);
    let _ticker = Task::spawn("ticker", proposer::tick(node.clone(), proposer.clone()));
    let subscribers = feed::Subscribers::default();
    let observer = observe(node.clone(), metrics.clone(), subscribers.clone(), joined);
    let _observer = Task::spawn("observer", observer);
    let synced = metrics.clone();
    node.observe_syncs(move |took| synced.observe_sync(took));
    let defenders = home_link::Defenders::default();
    let backups = Arc::new(Semaphore::new(limits::BACKUPS_MAX));
    let store = Store {
        node: node.clone(),
        proposer,
        metrics,
        subscribers,
        takers,
        defenders,
        home_links,
        backups,
        searches: Arc::new(Semaphore::new(limits::SEARCHES_MAX)),
        watches: Arc::new(Semaphore::new(limits::WATCHES_MAX)),
        front_ends: nodes::FrontEnds::default(),
        others: nodes::Others::new(links.to(Role::Store)),
        writes: admin::Writes::default(),
    };
    let _overseer = is_real.then(|| Task::spawn("overseer", overseer::oversee(store.clone())));

    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_service_status("", tonic_health::ServingStatus::Serving).await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(homeport_api::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let server = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(limits::KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(limits::KEEPALIVE_TIMEOUT))
        .concurrency_limit_per_connection(limits::REQUESTS_PER_CONNECTION_MAX)
        .layer(links.guard())
        .add_routes(admin::routes(store.clone(), guard, &shutdown))
        .add_service(node.service())
        .add_service(replicas::service(store.clone()))
        .add_service(submit::service(store.clone(), shutdown.clone()))
        .add_service(feed::service(store, shutdown.clone()))
        .add_service(health_service)
        .add_service(reflection);
    tracing::info!(node_id = config.node_id, address = %config.listen, "store replica");

    let ending = shutdown.clone();
    let served = async move {
        let stop = async move { ending.begun().await };
        server.serve_with_incoming_shutdown(ground.incoming, stop).await
    };
    tokio::select! {
        served = served => served?,
        reason = stopped(&node) => return Err(Error::Stopped(reason)),
        () = drained(&shutdown) => tracing::info!("streams did not end in time, closing them"),
    }
    node.shutdown().await.map_err(Error::Stopped)
}

/// Who lets operators' calls pass, and the task that keeps him up to date.
fn guard(
    config: &Config,
    metrics: &Arc<metrics::Metrics>,
) -> Result<(admin::Guard, Option<Task<()>>), ConfigError> {
    let metrics = Arc::clone(metrics);
    let Some(admin) = &config.admin else {
        tracing::warn!(
            listen = %config.listen,
            "the admin API is open: whoever reaches this address may do everything; name a file in admin.tokens_file"
        );
        return Ok((admin::Guard { tokens: None, metrics }, None));
    };
    let (tokens, looking) = admin::Tokens::open(&admin.tokens_file, Arc::clone(&metrics))?;
    let task = Task::spawn("tokens", looking);
    Ok((admin::Guard { tokens: Some(tokens), metrics }, Some(task)))
}

/// Returns when the replica must not go on.
async fn stopped(node: &Node<Machine>) -> homeport_raft::StopReason {
    let mut stopped = node.stopped();
    match stopped.wait_for(Option::is_some).await {
        Ok(reason) => reason.clone().unwrap_or(homeport_raft::StopReason::Broken),
        Err(_closed) => homeport_raft::StopReason::Broken,
    }
}

/// Serves until another replica leads: nobody has to wait for an election because of a planned stop, and
/// whom this replica sends away finds the new leader.
async fn leave(node: Node<Machine>, asked: Shutdown, shutdown: Shutdown) {
    asked.begun().await;
    match node.hand_over(None, limits::HAND_OVER_MAX).await {
        Ok(leader) => tracing::info!(leader, "this replica stops, and does not lead"),
        Err(error) => tracing::info!(%error, "the leadership is not handed over"),
    }
    shutdown.begin();
}

/// Long-lived streams of others do not hold up the end of this process.
async fn drained(shutdown: &Shutdown) {
    shutdown.begun().await;
    tokio::time::sleep(limits::DRAIN_MAX).await;
}

/// The consensus of a replica with this configuration.
#[must_use]
pub fn raft_config(config: &Config) -> RaftConfig {
    let mut raft = RaftConfig::new(
        config.node_id,
        &config.data_dir,
        config.cluster_name.clone(),
        config.peers.clone(),
    );
    raft.heartbeat_ms = config.raft.heartbeat_ms;
    raft.election_timeout_ms_min = config.raft.election_timeout_min_ms;
    raft.election_timeout_ms_max = config.raft.election_timeout_max_ms;
    raft.snapshot_after_log_bytes = u64::from(config.snapshot_after_mib.get()) << 20;
    raft.propose_timeout = limits::PROPOSE_TIMEOUT;
    raft
}

/// Keeps gauges and readiness up to date: ready once a leader is known and its log is applied.
async fn observe(
    node: Node<Machine>,
    metrics: Arc<metrics::Metrics>,
    subscribers: feed::Subscribers,
    joined: homeport_runtime::Latch,
) {
    let mut reached = feed::Reached::default();
    let mut tick = tokio::time::interval(limits::OBSERVE_INTERVAL);
    loop {
        let now = tick.tick().await;
        let status = node.status();
        joined.set(status.leader.is_some() && status.applied.is_some());
        metrics.observe(&status, node.disk_free());
        let (homes, bindings, revision) = node.read(|machine| {
            let cache = &machine.cache;
            (cache.home_address_count(), cache.binding_count(), cache.revision())
        });
        metrics.observe_state(homes, bindings);
        reached.note(revision, now);
        metrics.observe_feed(subscribers.lag(&reached, now));
    }
}
