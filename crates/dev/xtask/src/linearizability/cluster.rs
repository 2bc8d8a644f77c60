//! Replicas that come and go, behind relays.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use homeport_api::admin::cluster_client::ClusterClient;
use homeport_api::admin::{
    AddReplicaRequest, GetStatusRequest, GetStatusResponse, RemoveReplicaRequest,
};
use homeport_tests::{eventually_within, free_address};
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};

use super::relay::{Net, Relay};
use crate::bench::processes::Process;
use crate::bench::replicas::{Replica, create_home_prefix};

/// A call of this experiment's own that takes longer has failed.
const CALL_MAX: Duration = Duration::from_secs(5);
/// Lines of each replica's output that are told.
const TOLD_MAX: usize = 15;
/// A cluster without faults has a leader by then.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where clients find each replica: its own address, by the one that replicas know.
pub(crate) type Directory = Arc<Mutex<BTreeMap<u64, Addresses>>>;

/// Addresses of one replica.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    /// Of the replica itself.
    pub(crate) own: SocketAddr,
    /// Of the relay, which all replicas know it by.
    pub(crate) known: SocketAddr,
}

/// A replica that joins reads the whole log while clients write on.
const CHANGE_MAX: Duration = Duration::from_secs(240);
/// After this an operator asks again: who led when the change was asked for may not lead any more.
const ASK_AGAIN: Duration = Duration::from_secs(20);

/// The cluster; it ends when this is dropped.
pub(crate) struct Cluster {
    directory: PathBuf,
    pub(crate) net: Net,
    members: BTreeMap<u64, Member>,
    /// The same for clients.
    pub(crate) addresses: Directory,
    next_id: u64,
}

struct Member {
    process: Process,
    addresses: Addresses,
    _relay: Relay,
    data_dir: PathBuf,
}

impl Cluster {
    /// Three replicas on empty disks, with one home prefix.
    pub(crate) async fn start(directory: &Path) -> Result<Self> {
        let mut cluster = Self {
            directory: directory.to_owned(),
            net: Net::new(),
            members: BTreeMap::new(),
            addresses: Directory::default(),
            next_id: 1,
        };
        let mut peers = Vec::new();
        let mut prepared = Vec::new();
        for id in 1..=3 {
            let own = free_address()?;
            let relay = Relay::start(cluster.net.clone(), id, own).await?;
            peers.push((id, relay.address));
            prepared.push((id, own, relay));
        }
        for (id, own, relay) in prepared {
            cluster.add(id, own, relay, &peers)?;
        }
        cluster.next_id = 4;
        let leader = cluster.leader().await?;
        create_home_prefix(cluster.channel(leader).await?).await?;
        Ok(cluster)
    }

    fn add(
        &mut self,
        id: u64,
        own: SocketAddr,
        relay: Relay,
        peers: &[(u64, SocketAddr)],
    ) -> Result<()> {
        let data_dir = self.directory.join(format!("store-{id}"));
        let replica =
            Replica { id, listen: own, peers, data_dir: &data_dir, snapshot_after_mib: None };
        let process = replica.start(&self.directory)?;
        self.net.runs_as(id, process.pid()?);
        let addresses = Addresses { own, known: relay.address };
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).insert(id, addresses);
        self.members.insert(id, Member { process, addresses, _relay: relay, data_dir });
        Ok(())
    }

    /// Ids of all replicas.
    pub(crate) fn ids(&self) -> Vec<u64> {
        self.members.keys().copied().collect()
    }

    /// Process id of a replica that runs.
    pub(crate) fn pid(&self, id: u64) -> Result<u32> {
        self.members.get(&id).context("no such replica")?.process.pid()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, id: u64) -> Result<()> {
        self.process(id)?.kill()
    }

    /// Starts a replica that was killed on its disk.
    pub(crate) fn again(&mut self, id: u64) -> Result<()> {
        let process = self.process(id)?;
        process.again()?;
        let pid = process.pid()?;
        self.net.runs_as(id, pid);
        Ok(())
    }

    /// A signal by its name.
    pub(crate) fn signal(&mut self, id: u64, name: &str) -> Result<()> {
        self.process(id)?.signal(name)
    }

    fn process(&mut self, id: u64) -> Result<&mut Process> {
        Ok(&mut self.members.get_mut(&id).context("no such replica")?.process)
    }

    /// Fails when a replica has ended by itself.
    pub(crate) fn all_run(&mut self) -> Result<()> {
        for (id, member) in &mut self.members {
            if let Some(status) = member.process.ended()? {
                bail!("replica {id} has ended by itself: {status}");
            }
        }
        Ok(())
    }

    /// The last lines of each replica's output.
    pub(crate) fn last_words(&self) -> String {
        let mut words = String::new();
        for id in self.members.keys() {
            let output = std::fs::read_to_string(self.directory.join(format!("store-{id}.out")));
            let output = output.unwrap_or_default();
            let lines: Vec<&str> = output.lines().rev().take(TOLD_MAX).collect();
            words.push_str(&format!("--- replica {id}\n"));
            words.extend(lines.into_iter().rev().flat_map(|line| [line, "\n"]));
        }
        words
    }

    /// The leader, once a majority of all replicas agrees on one and each that runs knows one.
    pub(crate) async fn leader(&self) -> Result<u64> {
        eventually_within(PATIENCE, "a leader", async || {
            let mut leaders = Vec::new();
            for id in self.members.keys() {
                leaders.push(self.status(*id).await?.leader_id);
            }
            let first = *leaders.first().context("no replicas")?;
            ensure!(leaders.iter().all(|leader| *leader == first), "not one leader: {leaders:?}");
            ensure!(self.members.contains_key(&first), "{first} leads and is not here");
            Ok(first)
        })
        .await
    }

    async fn status(&self, id: u64) -> Result<GetStatusResponse> {
        let mut client = ClusterClient::new(self.channel(id).await?);
        let status = timeout(CALL_MAX, client.get_status(GetStatusRequest {})).await??;
        Ok(status.into_inner())
    }

    /// A new connection to a replica.
    pub(crate) async fn channel(&self, id: u64) -> Result<Channel> {
        connect(self.members.get(&id).context("no such replica")?.addresses.own).await
    }

    /// Adds a replica on an empty disk; its id.
    pub(crate) async fn join(&mut self) -> Result<u64> {
        let id = self.next_id;
        self.next_id += 1;
        let own = free_address()?;
        let relay = Relay::start(self.net.clone(), id, own).await?;
        let address = relay.address.to_string();
        self.add(id, own, relay, &[])?;
        eventually_within(PATIENCE, "the new replica", async || self.channel(id).await).await?;
        eventually_within(CHANGE_MAX, "the new replica to be added", async || {
            let mut client = ClusterClient::new(self.channel(self.any_leader().await?).await?);
            let address = address.clone();
            let request = AddReplicaRequest { node_id: id, address, ..Default::default() };
            timeout(ASK_AGAIN, client.add_replica(request)).await??;
            Ok(())
        })
        .await?;
        Ok(id)
    }

    /// Removes a replica, ends it, and takes its disk away.
    pub(crate) async fn leave(&mut self, id: u64) -> Result<()> {
        eventually_within(CHANGE_MAX, "the replica to be removed", async || {
            let leader = self.any_leader().await?;
            let mut client = ClusterClient::new(self.channel(leader).await?);
            let request = RemoveReplicaRequest { node_id: id, ..Default::default() };
            match timeout(ASK_AGAIN, client.remove_replica(request)).await? {
                // Asked again after it was done.
                Err(status) if status.code() == tonic::Code::NotFound => Ok(()),
                other => other.map(drop).map_err(Into::into),
            }
        })
        .await?;
        let mut gone = self.members.remove(&id).context("no such replica")?;
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        gone.process.kill()?;
        Ok(std::fs::remove_dir_all(gone.data_dir)?)
    }

    /// Who leads by the word of any replica that knows.
    async fn any_leader(&self) -> Result<u64> {
        for id in self.members.keys() {
            if let Ok(status) = self.status(*id).await
                && self.members.contains_key(&status.leader_id)
            {
                return Ok(status.leader_id);
            }
        }
        bail!("nobody knows a leader")
    }
}

/// A new connection.
pub(crate) async fn connect(address: SocketAddr) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    Ok(endpoint.connect_timeout(Duration::from_millis(200)).tcp_nodelay(true).connect().await?)
}
