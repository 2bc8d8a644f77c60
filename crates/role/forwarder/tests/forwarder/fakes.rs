//! A store replica's feed, a front-end, and a forwarder between them.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use crate::commands::Commands;
use futures_util::stream::BoxStream;
use homeport_api::{
    binding, convert,
    feed::{
        HomeChange, HomePrefixChange, ReportNodeRequest, ReportNodeResponse, WatchRequest,
        WatchResponse,
        binding_feed_server::{BindingFeed, BindingFeedServer},
    },
    signalling::{
        PuntRequest, PuntResponse,
        signalling_server::{Signalling, SignallingServer},
    },
    store::{binding_store_server::BindingStoreServer, submit_response::Result as Reply},
};
use homeport_forwarder::{Config, InspectionConfig, TunConfig, UdpConfig, XdpConfig};
use homeport_runtime::{Shutdown, Task, clock::unix_ms, config::OpsConfig};
use tokio::{runtime::Runtime, sync::mpsc};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{
    Request, Response, Status, Streaming,
    transport::server::{Router, TcpIncoming},
};

pub(crate) const PREFIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0);
pub(crate) const AGENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1);
pub(crate) const HOME: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x100);
pub(crate) const CORRESPONDENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 0x99);
pub(crate) const AGENT_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// How long forwarders here go on without a store.
pub(crate) const HEADLESS_SECS: u64 = 6;
/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    let result = tokio::time::timeout(PATIENCE, future).await;
    result.unwrap_or_else(|_| panic!("{what}: nothing within {PATIENCE:?}"))
}

/// A port that is free for now. Not one that the kernel gives to those who connect: who dials such a
/// port before anybody listens may get connected to itself, and then nobody can listen there.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(97);
    loop {
        let nth = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(20_000 + nth % 12_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

pub(crate) fn free_udp_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn incoming(port: u16) -> TcpIncoming {
    // The port of a server that has just gone is taken again, so a few tries may be needed.
    let begun = Instant::now();
    loop {
        match TcpIncoming::bind(SocketAddr::from(([127, 0, 0, 1], port))) {
            Ok(incoming) => return incoming,
            Err(error) if begun.elapsed() > PATIENCE => panic!("{error}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// A server with threads of its own: when this is dropped, its connections break too.
struct Server(Option<Runtime>);

impl Server {
    fn start(port: u16, router: Router) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let incoming = {
            let _entered = runtime.enter();
            incoming(port)
        };
        drop(runtime.spawn(router.serve_with_incoming(incoming)));
        Self(Some(runtime))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A replica's feed. Each stream begins with what the test wants it to; more can be sent later.
#[derive(Clone)]
pub(crate) struct Store {
    begin: Arc<Mutex<Vec<WatchResponse>>>,
    asked: mpsc::UnboundedSender<u64>,
    reported: mpsc::UnboundedSender<bool>,
    streams: Arc<Mutex<Vec<Said>>>,
}

/// Where a stream's messages go.
type Said = mpsc::Sender<Result<WatchResponse, Status>>;

/// A running replica.
pub(crate) struct RunningStore {
    pub(crate) store: Store,
    /// What Duplicate Address Detection found.
    pub(crate) found: mpsc::UnboundedReceiver<binding::DuplicateAddressDetection>,
    /// Forwarders that gave the lease of the home link back.
    pub(crate) given_back: mpsc::UnboundedReceiver<String>,
    /// The revision after which each stream was asked for.
    pub(crate) asked: mpsc::UnboundedReceiver<u64>,
    /// Each report, whether the forwarder is drained.
    pub(crate) reported: mpsc::UnboundedReceiver<bool>,
    _server: Server,
}

impl RunningStore {
    pub(crate) fn start(port: u16, begin: Vec<WatchResponse>) -> Self {
        let (asked, receiver) = mpsc::unbounded_channel();
        let (reported, reports) = mpsc::unbounded_channel();
        let (begin, streams) = (Arc::new(Mutex::new(begin)), Arc::default());
        let store = Store { begin, asked, reported, streams };
        let service = BindingFeedServer::new(store.clone());
        let (told, found) = mpsc::unbounded_channel();
        let (left, given_back) = mpsc::unbounded_channel();
        let commands = BindingStoreServer::new(Commands::new(leases(told, left)));
        let mut router = tonic::transport::Server::builder();
        let server = Server::start(port, router.add_service(service).add_service(commands));
        Self { store, found, given_back, asked: receiver, reported: reports, _server: server }
    }

    /// With what each stream begins from now on.
    pub(crate) fn begins_with(&self, begin: Vec<WatchResponse>) {
        *self.store.begin.lock().unwrap() = begin;
    }

    /// Says something to everyone who listens.
    pub(crate) async fn say(&self, message: WatchResponse) {
        let streams = self.store.streams.lock().unwrap().clone();
        for stream in streams {
            drop(stream.send(Ok(message.clone())).await);
        }
    }
}

/// One lease for everything, kept as the store keeps them.
fn leases(
    told: mpsc::UnboundedSender<binding::DuplicateAddressDetection>,
    given_back: mpsc::UnboundedSender<String>,
) -> impl FnMut(binding::Command) -> Option<Reply> + Send {
    const LEASE: Duration = Duration::from_millis(1500);
    let mut holder: Option<(String, Instant)> = None;
    move |command| {
        use binding::{command::Command as Kind, verdict::Outcome};
        let mut outcome = Outcome::Done(binding::Unit {});
        match command.command.unwrap() {
            Kind::DefendHomeLink(asked) => {
                let is_other = |(name, since): &(String, Instant)| {
                    *name != asked.forwarder && since.elapsed() < LEASE
                };
                if holder.as_ref().is_some_and(is_other) {
                    let kind = binding::refusal::Kind::InUse.into();
                    outcome = Outcome::Refusal(binding::Refusal { kind, ..Default::default() });
                } else {
                    holder = Some((asked.forwarder, Instant::now()));
                }
            }
            Kind::ReleaseHomeLink(left) => {
                holder = holder.take().filter(|(name, _)| *name != left.forwarder);
                drop(given_back.send(left.forwarder));
            }
            Kind::DuplicateAddressDetection(detected) => drop(told.send(detected)),
            other => panic!("{other:?}"),
        }
        Some(Reply::Verdict(binding::Verdict { revision: 1, outcome: Some(outcome), esp: None }))
    }
}

#[tonic::async_trait]
impl BindingFeed for Store {
    type WatchStream = BoxStream<'static, Result<WatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        assert!(!request.subscriber.is_empty());
        self.asked.send(request.after_revision).unwrap_or_default();
        // Who is drained says so when it comes, too.
        if request.node.is_some_and(|node| node.drained) {
            self.reported.send(true).unwrap_or_default();
        }
        let (sender, receiver) = mpsc::channel(64);
        for message in self.begin.lock().unwrap().clone() {
            sender.try_send(Ok(message)).unwrap();
        }
        self.streams.lock().unwrap().push(sender);
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn report_node(
        &self,
        request: Request<ReportNodeRequest>,
    ) -> Result<Response<ReportNodeResponse>, Status> {
        let said = request.into_inner().node.unwrap();
        self.reported.send(said.drained).unwrap_or_default();
        Ok(Response::new(ReportNodeResponse {}))
    }
}

/// A front-end: what it is asked can be looked at and answered.
#[derive(Clone)]
struct FrontEnd {
    asked: mpsc::UnboundedSender<(PuntRequest, mpsc::Sender<Result<PuntResponse, Status>>)>,
}

/// A running front-end.
pub(crate) struct RunningFrontEnd {
    pub(crate) asked:
        mpsc::UnboundedReceiver<(PuntRequest, mpsc::Sender<Result<PuntResponse, Status>>)>,
    _server: Server,
}

impl RunningFrontEnd {
    pub(crate) fn start(port: u16) -> Self {
        let (asked, receiver) = mpsc::unbounded_channel();
        let service = SignallingServer::new(FrontEnd { asked });
        let router = tonic::transport::Server::builder().add_service(service);
        let server = Server::start(port, router);
        Self { asked: receiver, _server: server }
    }
}

#[tonic::async_trait]
impl Signalling for FrontEnd {
    type PuntStream = BoxStream<'static, Result<PuntResponse, Status>>;

    async fn punt(
        &self,
        request: Request<Streaming<PuntRequest>>,
    ) -> Result<Response<Self::PuntStream>, Status> {
        let (answers, receiver) = mpsc::channel(64);
        let mut requests = request.into_inner();
        let asked = self.asked.clone();
        let task = Task::spawn("stream", async move {
            while let Some(Ok(request)) = requests.next().await {
                drop(asked.send((request, answers.clone())));
            }
        });
        let answers = ReceiverStream::new(receiver).map(move |answer| {
            let _alive = &task;
            answer
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

/// A running forwarder; it ends when this is dropped.
pub(crate) struct RunningForwarder {
    pub(crate) udp: SocketAddrV4,
    ops: SocketAddr,
    pub(crate) inspection: SocketAddr,
    pub(crate) shutdown: Shutdown,
    pub(crate) task: Task<Result<(), homeport_forwarder::Error>>,
}

impl RunningForwarder {
    pub(crate) fn start(stores: &[u16], front_ends: &[u16], tun: Option<TunConfig>) -> Self {
        Self::named("forwarder-1", stores, front_ends, tun)
    }

    pub(crate) fn named(
        name: &str,
        stores: &[u16],
        front_ends: &[u16],
        tun: Option<TunConfig>,
    ) -> Self {
        Self::with_xdp(name, stores, front_ends, tun, None)
    }

    pub(crate) fn with_xdp(
        name: &str,
        stores: &[u16],
        front_ends: &[u16],
        tun: Option<TunConfig>,
        xdp: Option<XdpConfig>,
    ) -> Self {
        let address = |port: &u16| format!("127.0.0.1:{port}");
        let udp = SocketAddrV4::new([127, 0, 0, 1].into(), free_udp_port());
        let ops = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let inspection = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let config = Config {
            name: name.to_owned(),
            stores: stores.iter().map(address).collect(),
            front_ends: front_ends.iter().map(address).collect(),
            udp: tun.is_none().then_some(UdpConfig { listen: udp }),
            tun,
            xdp,
            tunnels: Default::default(),
            signalling: Default::default(),
            headless_secs: HEADLESS_SECS,
            inspection: Some(InspectionConfig {
                listen: inspection,
                traces_max: 2.into(),
                home_addresses_counted_max: 100,
            }),
            tls: None,
            telemetry: Default::default(),
            ops: OpsConfig { listen: ops },
        };
        let shutdown = Shutdown::manual();
        let task = Task::spawn("forwarder", homeport_forwarder::run(config, shutdown.clone()));
        Self { udp, ops, inspection, shutdown, task }
    }

    /// One metric's value; zero while there is none.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let ops = self.ops;
        let page = tokio::task::spawn_blocking(move || page(ops, "/metrics")).await.unwrap();
        sample(&page, name)
    }

    pub(crate) async fn until(&self, name: &str, wanted: f64) {
        in_time(name, async {
            while self.metric(name).await != wanted {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    pub(crate) async fn is_ready(&self) -> bool {
        let ops = self.ops;
        let page = tokio::task::spawn_blocking(move || page(ops, "/readyz")).await.unwrap();
        page.starts_with("HTTP/1.1 200")
    }
}

/// One metric's value on a page; zero while there is none.
pub(crate) fn sample(page: &str, name: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.trim().parse().unwrap())
}

/// Empty while nobody listens.
pub(crate) fn page(address: SocketAddr, path: &str) -> String {
    use std::io::{Read as _, Write as _};
    let Ok(mut stream) = TcpStream::connect(address) else { return String::new() };
    let request = format!("GET {path} HTTP/1.1\r\nHost: ops\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page
}

pub(crate) fn prefix_change() -> HomePrefixChange {
    HomePrefixChange {
        prefix: convert::ipv6_octets(PREFIX),
        prefix_len: 64,
        home_prefix: Some(binding::HomePrefix {
            prefix: convert::ipv6_octets(PREFIX),
            prefix_len: 64,
            home_agent: convert::ipv6_octets(AGENT),
            home_agent_ipv4: convert::ipv4_octets(AGENT_V4),
            authentication: binding::Authentication::None.into(),
            bindings_per_home_address_max: 8,
            ..binding::HomePrefix::default()
        }),
    }
}

/// A home address with one binding, for so long from now.
pub(crate) fn bound(home: Ipv6Addr, care_of: SocketAddr, lifetime: Duration) -> HomeChange {
    use binding::care_of_address::Address;
    let address = match care_of {
        SocketAddr::V6(address) => Address::Ipv6(convert::ipv6_octets(*address.ip())),
        SocketAddr::V4(address) => Address::Ipv4(binding::Ipv4CareOf {
            address: convert::ipv4_octets(*address.ip()),
            port: address.port().into(),
            announced: convert::ipv4_octets(*address.ip()),
            without_udp: false,
        }),
    };
    let now_ms = unix_ms();
    let record = binding::Home {
        home_address: convert::ipv6_octets(home),
        home_agent: convert::ipv6_octets(AGENT),
        bindings: vec![binding::Binding {
            bid: Some(1),
            care_of: Some(binding::CareOfAddress { address: Some(address) }),
            ends_ms: now_ms + u64::try_from(lifetime.as_millis()).unwrap(),
            verified_ms: now_ms,
            registered_ms: now_ms,
            ..binding::Binding::default()
        }],
        ..binding::Home::default()
    };
    HomeChange { home_address: convert::ipv6_octets(home), home: Some(record) }
}

pub(crate) fn unbound(home: Ipv6Addr) -> HomeChange {
    HomeChange { home_address: convert::ipv6_octets(home), home: None }
}

pub(crate) fn message(revision: u64, homes: Vec<HomeChange>) -> WatchResponse {
    WatchResponse { revision, log_time_ms: unix_ms(), homes, ..WatchResponse::default() }
}

pub(crate) fn snapshot(revision: u64, homes: Vec<HomeChange>) -> WatchResponse {
    WatchResponse {
        snapshot_begin: true,
        snapshot_end: true,
        home_prefixes: vec![prefix_change()],
        ..message(revision, homes)
    }
}
