//! Three etcd members beside us, and the two calls of theirs that the benchmark makes.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use homeport_tests::{eventually, free_address};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use super::processes::Process;

/// Heartbeat interval and election timeout, milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timers {
    pub(crate) heartbeat_ms: u32,
    pub(crate) election_ms: u32,
}

impl Timers {
    /// As etcd comes.
    pub(crate) const DEFAULT: Self = Self { heartbeat_ms: 100, election_ms: 1000 };
    /// As short as ours.
    pub(crate) const TUNED: Self = Self { heartbeat_ms: 50, election_ms: 250 };
}

/// The cluster; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Etcd {
    pub(crate) processes: Vec<Process>,
    clients: Vec<SocketAddr>,
}

impl Etcd {
    /// Starts it on empty disks below `directory`.
    pub(crate) async fn start(directory: &Path, timers: Timers) -> Result<Self> {
        let mut members = Vec::new();
        for n in 1..=3 {
            members.push((format!("etcd-{n}"), free_address()?, free_address()?));
        }
        let urls: Vec<String> =
            members.iter().map(|(name, peer, _)| format!("{name}=http://{peer}")).collect();
        let mut processes = Vec::new();
        for (name, peer, client) in &members {
            let mut command = Command::new("etcd");
            let (peer, client) = (format!("http://{peer}"), format!("http://{client}"));
            command.args(["--name", name, "--data-dir"]).arg(directory.join(name));
            command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
            command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
            command.args(["--initial-cluster", &urls.join(","), "--log-level", "error"]);
            command.args(["--heartbeat-interval", &timers.heartbeat_ms.to_string()]);
            command.args(["--election-timeout", &timers.election_ms.to_string()]);
            // Enough for a run; without, it stops to take writes at 2 GiB.
            command.args(["--quota-backend-bytes", "8589934592"]);
            let process = Process::start(directory, name, command);
            processes.push(process.context("is Debian's package etcd-server there?")?);
        }
        let clients = members.iter().map(|(.., client)| *client).collect();
        let etcd = Self { processes, clients };
        etcd.leader().await?;
        Ok(etcd)
    }

    /// Place of the leader.
    pub(crate) async fn leader(&self) -> Result<usize> {
        eventually("a leader of etcd", async || {
            let mut found = None;
            for n in 0..self.clients.len() {
                let Ok(status) = self.status(n).await else { continue };
                ensure!(status.leader != 0, "{n} knows none");
                if status.header.is_some_and(|header| header.member_id == status.leader) {
                    found = Some(n);
                }
            }
            found.context("nobody leads")
        })
        .await
    }

    async fn status(&self, n: usize) -> Result<StatusResponse> {
        let channel = self.channel(n).await?;
        call(channel, "/etcdserverpb.Maintenance/Status", StatusRequest {}).await
    }

    /// A new connection to a member.
    pub(crate) async fn channel(&self, n: usize) -> Result<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.clients[n]))?;
        Ok(endpoint.connect_timeout(Duration::from_millis(200)).connect().await?)
    }
}

/// What etcd says when more than 5,000 writes wait to be applied.
const TOO_MANY: &str = "etcdserver: too many requests";

/// Writes one key; false when there was no room for it, and nothing was written.
pub(crate) async fn put(channel: Channel, key: Bytes, value: Vec<u8>) -> Result<bool> {
    let request = PutRequest { key, value };
    let put: Result<PutResponse> = call(channel, "/etcdserverpb.KV/Put", request).await;
    match put {
        Ok(PutResponse {}) => Ok(true),
        Err(error) => match error.downcast_ref::<tonic::Status>() {
            Some(status) if status.message() == TOO_MANY => Ok(false),
            _ => Err(error),
        },
    }
}

async fn call<Q, A>(channel: Channel, path: &'static str, request: Q) -> Result<A>
where
    Q: prost::Message + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
{
    let mut grpc = Grpc::new(channel);
    grpc.ready().await?;
    let (request, path) = (tonic::Request::new(request), PathAndQuery::from_static(path));
    let codec: ProstCodec<Q, A> = ProstCodec::default();
    Ok(grpc.unary(request, path, codec).await?.into_inner())
}

// The fields of etcd's messages that are used here.

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusRequest {}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResponseHeader {
    #[prost(uint64, tag = "2")]
    member_id: u64,
}
