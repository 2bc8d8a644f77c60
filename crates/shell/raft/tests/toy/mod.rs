//! A toy state machine and a cluster of replicas in one process, each with a server of its own on
//! loopback.

use bytes::Bytes;
use homeport_raft::{FrozenState, Node, Proposed, RaftConfig, SnapshotError, StateMachine};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;

/// Remembers every command with the index at which it was applied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Register {
    pub(crate) commands: BTreeMap<u64, Vec<u8>>,
    pub(crate) applied: u64,
    pub(crate) padding: usize,
}

impl Register {
    pub(crate) fn holds(&self, command: &[u8]) -> bool {
        self.commands.values().any(|known| known == command)
    }
}

impl StateMachine for Register {
    type Reply = Bytes;

    fn apply(&mut self, index: u64, command: &Bytes) -> Bytes {
        assert!(index > self.applied || self.applied == 0, "{index} after {}", self.applied);
        self.applied = index;
        self.commands.insert(index, command.to_vec());
        command.clone()
    }

    fn advance(&mut self, index: u64) {
        self.applied = index;
    }

    fn freeze(&self) -> Box<dyn FrozenState> {
        Box::new(self.clone())
    }

    fn restore(
        &mut self,
        index: u64,
        chunks: &mut dyn Iterator<Item = Result<Bytes, SnapshotError>>,
    ) -> Result<(), SnapshotError> {
        let mut state = Self { applied: index, ..Self::default() };
        for chunk in chunks {
            let chunk = chunk?;
            let (head, command) = chunk
                .split_first_chunk::<8>()
                .ok_or_else(|| SnapshotError::Content("a chunk is too short".into()))?;
            state.commands.insert(u64::from_be_bytes(*head), command.to_vec());
        }
        *self = state;
        Ok(())
    }
}

impl FrozenState for Register {
    fn chunks(self: Box<Self>) -> Box<dyn Iterator<Item = Bytes> + Send> {
        Box::new(
            self.commands
                .into_iter()
                .map(|(index, command)| Bytes::from([&index.to_be_bytes()[..], &command].concat())),
        )
    }
}

/// A replica and its server.
pub(crate) struct Replica {
    pub(crate) node: Node<Register>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

impl Replica {
    pub(crate) async fn start(config: RaftConfig) -> Self {
        let address = config.peers[&config.node_id].parse().unwrap();
        Self::start_at(config, address).await
    }

    pub(crate) async fn start_at(config: RaftConfig, address: SocketAddr) -> Self {
        let node = Node::start(config, Register::default()).await.unwrap();
        let (stop, server) = serve(&node, address).await;
        Self { node, stop, server }
    }

    pub(crate) async fn stop(self) {
        let limit = Duration::from_secs(10);
        let stopped = tokio::time::timeout(limit, self.node.shutdown()).await;
        stopped.expect("the node does not stop").unwrap();
        self.close().await;
    }

    /// Ends the server of a node that has stopped.
    pub(crate) async fn close(self) {
        self.stop.send(()).ok();
        let ended = tokio::time::timeout(Duration::from_secs(10), self.server).await;
        ended.expect("the server does not end").unwrap();
    }
}

pub(crate) async fn serve(
    node: &Node<Register>,
    address: SocketAddr,
) -> (oneshot::Sender<()>, JoinHandle<()>) {
    let listener = bind(address).await;
    let (stop, stopped) = oneshot::channel::<()>();
    let service = node.service();
    let server = tokio::spawn(async move {
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
                stopped.await.ok();
            })
            .await
            .unwrap();
    });
    (stop, server)
}

async fn bind(address: SocketAddr) -> TcpListener {
    for _ in 0..100 {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    panic!("{address} stays in use");
}

/// Loopback addresses that are free now.
pub(crate) fn addresses(count: u64) -> BTreeMap<u64, String> {
    let held: Vec<_> =
        (0..count).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    held.iter()
        .zip(1..)
        .map(|(listener, id)| (id, listener.local_addr().unwrap().to_string()))
        .collect()
}

pub(crate) fn config(id: u64, dir: &Path, peers: &BTreeMap<u64, String>) -> RaftConfig {
    RaftConfig::new(id, dir.join(format!("node-{id}")), "toy", peers.clone())
}

/// Waits until `check` gives something.
pub(crate) async fn eventually<T>(
    what: &str,
    limit: Duration,
    mut check: impl FnMut() -> Option<T>,
) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Index of the replica that leads, once there is one.
pub(crate) async fn leader(replicas: &[&Replica]) -> usize {
    eventually("a leader", Duration::from_secs(15), || {
        replicas.iter().position(|replica| replica.node.leadership().borrow().local)
    })
    .await
}

/// Proposes at whoever leads until it is known to be applied.
pub(crate) async fn propose(replicas: &[&Replica], command: &[u8]) -> Proposed<Bytes> {
    let begun = Instant::now();
    loop {
        let at = leader(replicas).await;
        match replicas[at].node.propose(Bytes::copy_from_slice(command)).await {
            Ok(proposed) => return proposed,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(20), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
