//! What the tests across crates share: a cluster in this process, and the golden packets.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use homeport_api::admin::cluster_client::ClusterClient;
use homeport_api::admin::home_prefixes_client::HomePrefixesClient;
use homeport_api::admin::{
    Authentication, CreateHomePrefixRequest, GetStatusRequest, GetStatusResponse, HomePrefix,
};
use homeport_api::bearer::Bearer;
use homeport_api::signalling::signalling_client::SignallingClient;
use homeport_api::signalling::{PuntRequest, PuntResponse, UdpOuter};
use homeport_runtime::config::OpsConfig;
use homeport_runtime::{Shutdown, Task};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

pub mod browser;
pub mod conformance;
pub mod dev;
pub mod failover;
pub mod feed;
pub mod formats;
pub mod fuzz;
pub mod golden;
pub mod ikev2;
pub mod metrics;
pub mod netns;
pub mod operator_day;
pub mod ops;
pub mod packets;
pub mod submit;
pub mod updates;
pub mod versions;

/// How long anything may take before a test gives up; machines of CI are slow and shared.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// `admin.tokens_file` of all replicas.
const TOKENS: &str = "tokens.toml";

/// Three store replicas in this process.
pub struct Cluster {
    data: TempDir,
    addresses: BTreeMap<u64, SocketAddr>,
    ops: BTreeMap<u64, SocketAddr>,
    replicas: BTreeMap<u64, (Shutdown, Task<Result<(), homeport_store::Error>>)>,
    /// Of who starts them.
    bearer: Bearer,
}

impl Cluster {
    /// Starts them and waits for a leader.
    ///
    /// # Errors
    /// When they do not come up.
    pub async fn start() -> Result<Self> {
        Self::start_in(tempfile::tempdir()?, Bearer::default()).await
    }

    /// The same, whose admin API asks for one of these tokens, as they stand in the file.
    ///
    /// # Errors
    /// When they do not come up, or when the last token is not one of an administrator's.
    pub async fn start_with_tokens(tokens: &str, own: &str) -> Result<Self> {
        let data = tempfile::tempdir()?;
        std::fs::write(data.path().join(TOKENS), tokens)?;
        Self::start_in(data, Bearer::new(own)?).await
    }

    async fn start_in(data: TempDir, bearer: Bearer) -> Result<Self> {
        let addresses = || (1..=3).map(|id| Ok((id, free_address()?))).collect::<Result<_>>();
        let (addresses, ops) = (addresses()?, addresses()?);
        let mut cluster = Self { data, addresses, ops, replicas: BTreeMap::new(), bearer };
        for id in 1..=3 {
            cluster.start_replica(id);
        }
        cluster.leader().await?;
        Ok(cluster)
    }

    /// Replicas at the same addresses and without any disk; none runs yet, nor may one of `old`.
    ///
    /// # Errors
    /// When there is no room for their disks.
    pub fn at_the_addresses_of(old: &Self) -> Result<Self> {
        let (addresses, ops) = (old.addresses.clone(), old.ops.clone());
        let (data, replicas) = (tempfile::tempdir()?, BTreeMap::new());
        Ok(Self { data, addresses, ops, replicas, bearer: Bearer::default() })
    }

    /// Where a replica has its disk.
    #[must_use]
    pub fn data_dir(&self, id: u64) -> PathBuf {
        self.data.path().join(format!("store-{id}"))
    }

    /// The file of the tokens, where there are any.
    #[must_use]
    pub fn tokens_file(&self) -> PathBuf {
        self.data.path().join(TOKENS)
    }

    /// Starts a replica, for the first time or again on its disk.
    pub fn start_replica(&mut self, id: u64) {
        let peers = self.addresses.iter().map(|(id, address)| (*id, address.to_string()));
        self.start_replica_with(id, peers.collect());
    }

    /// Starts a replica that waits to be added; where it listens.
    ///
    /// # Errors
    /// When there is no free port.
    pub fn start_newcomer(&mut self, id: u64) -> Result<SocketAddr> {
        let address = free_address()?;
        self.addresses.insert(id, address);
        self.ops.insert(id, free_address()?);
        self.start_replica_with(id, BTreeMap::new());
        Ok(address)
    }

    fn start_replica_with(&mut self, id: u64, peers: BTreeMap<u64, String>) {
        let tokens_file = self.tokens_file();
        let config = homeport_store::Config {
            admin: tokens_file.exists().then_some(homeport_store::AdminConfig { tokens_file }),
            node_id: id,
            cluster_name: "test".to_owned(),
            data_dir: self.data_dir(id),
            listen: self.addresses[&id],
            peers,
            raft: homeport_store::RaftTimers::default(),
            snapshot_after_mib: homeport_store::limits::SNAPSHOT_AFTER_MIB_DEFAULT,
            tls: None,
            telemetry: Default::default(),
            ops: OpsConfig { listen: self.ops[&id] },
            prefix_advertisements_per_second_max:
                homeport_store::limits::ADVERTISEMENTS_PER_SECOND_DEFAULT,
        };
        let shutdown = Shutdown::manual();
        let (ops, running) = (config.ops.listen, homeport_store::run(config, shutdown.clone()));
        let task = Task::spawn("store", async move {
            until_free(ops).await;
            running.await
        });
        self.replicas.insert(id, (shutdown, task));
    }

    /// Stops a replica in order.
    ///
    /// # Errors
    /// When it ends with an error.
    pub async fn stop_replica(&mut self, id: u64) -> Result<()> {
        let (shutdown, task) = self.replicas.remove(&id).context("no such replica")?;
        shutdown.begin();
        tokio::time::timeout(PATIENCE, task).await???;
        Ok(())
    }

    /// `host:port` of each replica.
    #[must_use]
    pub fn stores(&self) -> Vec<String> {
        self.addresses.values().map(ToString::to_string).collect()
    }

    /// State of a replica.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn status(&self, id: u64) -> Result<GetStatusResponse> {
        let mut client = ClusterClient::new(self.bearer.over(self.channel(id).await?));
        Ok(client.get_status(GetStatusRequest {}).await?.into_inner())
    }

    /// Id of the leader, once all running replicas agree on one.
    ///
    /// # Errors
    /// When they do not in time.
    pub async fn leader(&self) -> Result<u64> {
        eventually("a leader", async || {
            let mut leaders = Vec::new();
            for id in self.replicas.keys() {
                leaders.push(self.status(*id).await?.leader_id);
            }
            let first = *leaders.first().context("no replicas")?;
            ensure!(first != 0 && leaders.iter().all(|leader| *leader == first));
            ensure!(self.replicas.contains_key(&first), "that leader was stopped");
            Ok(first)
        })
        .await
    }

    /// A connection to the leader.
    ///
    /// # Errors
    /// When there is no leader in time.
    pub async fn leader_channel(&self) -> Result<Channel> {
        self.channel(self.leader().await?).await
    }

    /// Address of a replica.
    #[must_use]
    pub fn address(&self, id: u64) -> SocketAddr {
        self.addresses[&id]
    }

    /// A connection to a replica.
    ///
    /// # Errors
    /// When there is none.
    pub async fn channel(&self, id: u64) -> Result<Channel> {
        let endpoint = format!("http://{}", self.addresses[&id]);
        Ok(Channel::from_shared(endpoint)?.connect().await?)
    }

    /// Creates the home prefix of the golden packets.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn create_home_prefix(&self, authentication: Authentication) -> Result<()> {
        let leader = self.leader().await?;
        let home_prefix = HomePrefix {
            prefix: "2001:db8:0:1::/64".to_owned(),
            home_agent: "2001:db8:0:1::1".to_owned(),
            home_agent_ipv4: "198.51.100.1".to_owned(),
            authentication: authentication.into(),
            // Who plays the forwarder here waits for answers, and answers no tests.
            care_of_verification: Some(false),
            ..HomePrefix::default()
        };
        let request =
            CreateHomePrefixRequest { home_prefix: Some(home_prefix), ..Default::default() };
        HomePrefixesClient::new(self.channel(leader).await?).create_home_prefix(request).await?;
        Ok(())
    }

    /// Sum of a metric over all replicas that run, by its name and labels.
    ///
    /// # Errors
    /// When an operations port does not answer.
    pub async fn metric(&self, sample: &str) -> Result<f64> {
        let mut sum = 0.0;
        for id in self.replicas.keys() {
            sum += ops::metric(self.ops[id], sample).await?;
        }
        Ok(sum)
    }

    /// Starts a front-end and connects to it as a forwarder does.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn front_end(&self) -> Result<FrontEnd> {
        self.front_end_with_deadline(5000).await
    }

    /// The same with another deadline, in milliseconds.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn front_end_with_deadline(&self, deadline_ms: u64) -> Result<FrontEnd> {
        FrontEnd::start(self.stores(), deadline_ms).await
    }
}

/// A front-end in this process, with a stream of punted packets.
pub struct FrontEnd {
    packets: mpsc::Sender<PuntRequest>,
    answers: Streaming<PuntResponse>,
    tickets: u64,
    listen: SocketAddr,
    ops: SocketAddr,
    _task: Task<Result<(), homeport_front_end::Error>>,
}

impl FrontEnd {
    async fn start(stores: Vec<String>, deadline_ms: u64) -> Result<Self> {
        let (listen, ops) = (free_address()?, free_address()?);
        let config = homeport_front_end::Config {
            listen,
            stores,
            deadline_ms: deadline_ms.into(),
            ike_deadline_ms: 500.into(),
            correspondent: None,
            tls: None,
            telemetry: Default::default(),
            ops: OpsConfig { listen: ops },
        };
        let task = Task::spawn("front-end", homeport_front_end::run(config, Shutdown::manual()));
        let channel = eventually("the front-end", async || {
            Ok(Channel::from_shared(format!("http://{listen}"))?.connect().await?)
        })
        .await?;
        let (packets, requests) = mpsc::channel(64);
        let answers =
            SignallingClient::new(channel).punt(ReceiverStream::new(requests)).await?.into_inner();
        Ok(Self { packets, answers, tickets: 0, listen, ops, _task: task })
    }

    /// Sends a packet without waiting for its answer.
    ///
    /// # Errors
    /// When the stream has ended.
    pub async fn send(&mut self, packet: &[u8], outer: Option<UdpOuter>) -> Result<u64> {
        self.tickets += 1;
        let packet = packet.to_vec().into();
        let request = PuntRequest { ticket: self.tickets, packet, outer, ..PuntRequest::default() };
        self.packets.send(request).await?;
        Ok(self.tickets)
    }

    /// The next answer.
    ///
    /// # Errors
    /// When none comes within `patience`.
    pub async fn receive(&mut self, patience: Duration) -> Result<PuntResponse> {
        match tokio::time::timeout(patience, self.answers.message()).await {
            Ok(answer) => answer?.context("the front-end closed the stream"),
            Err(_elapsed) => bail!("no answer"),
        }
    }

    /// Value of a metric, by its name and labels as they stand on the page; 0 when it is not there.
    ///
    /// # Errors
    /// When the operations port does not answer.
    pub async fn metric(&self, sample: &str) -> Result<f64> {
        ops::metric(self.ops, sample).await
    }

    /// Where forwarders connect.
    #[must_use]
    pub const fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Where its metrics are.
    #[must_use]
    pub const fn ops(&self) -> SocketAddr {
        self.ops
    }

    /// The answer to a packet.
    ///
    /// # Errors
    /// When none comes.
    pub async fn ask(&mut self, packet: &[u8], outer: Option<UdpOuter>) -> Result<PuntResponse> {
        let ticket = self.send(packet, outer).await?;
        let answer = self.receive(PATIENCE).await?;
        ensure!(answer.ticket == ticket, "the answer is to another packet");
        Ok(answer)
    }
}

/// Endpoints of a packet in UDP.
#[must_use]
pub fn udp_outer(peer: (Ipv4Addr, u16), local: (Ipv4Addr, u16)) -> UdpOuter {
    UdpOuter {
        peer_address: peer.0.octets().to_vec().into(),
        peer_port: peer.1.into(),
        local_address: local.0.octets().to_vec().into(),
        local_port: local.1.into(),
    }
}

/// Tries until it succeeds.
///
/// # Errors
/// The last error, when patience is at its end.
pub async fn eventually<T>(what: &str, attempt: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    eventually_within(PATIENCE, what, attempt).await
}

/// The same with another patience.
///
/// # Errors
/// The last error, when patience is at its end.
pub async fn eventually_within<T>(
    patience: Duration,
    what: &str,
    mut attempt: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let started = tokio::time::Instant::now();
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) if started.elapsed() > patience => {
                return Err(error.context(format!("waited {patience:?} for {what}")));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// A port that is free now.
///
/// # Errors
/// When the system has none.
pub fn free_address() -> Result<SocketAddr> {
    // Not a port that the kernel gives to those who connect: who dials such a port before anybody
    // listens may get connected to itself, and then nobody can listen there.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(97);
    for _ in 0..PORTS {
        let nth = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(20_000 + nth % PORTS)?;
        if let Ok(listener) = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return Ok(listener.local_addr()?);
        }
    }
    bail!("no port of 127.0.0.1 from 20000 on is free")
}

/// Who was stopped a moment ago may still hold it; whoever starts there says so if it stays so.
async fn until_free(address: SocketAddr) {
    let patience = tokio::time::Instant::now() + PATIENCE;
    while std::net::TcpListener::bind(address).is_err() && tokio::time::Instant::now() < patience {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Ports for tests: from 20000 up to where the kernel's own begin.
const PORTS: u32 = 12_000;

/// The top of the tree.
#[must_use]
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}
