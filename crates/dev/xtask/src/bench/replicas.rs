//! Three store replicas as processes of their own, as they are shipped.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use homeport_api::admin::cluster_client::ClusterClient;
use homeport_api::admin::home_prefixes_client::HomePrefixesClient;
use homeport_api::admin::{
    Authentication, CreateHomePrefixRequest, GetStatusRequest, GetStatusResponse, HomePrefix,
};
use homeport_tests::dev::{Build, program_of};
use homeport_tests::submit::Submitter;
use homeport_tests::updates::HOME_AGENT;
use homeport_tests::{eventually, free_address};
use tonic::transport::{Channel, Endpoint};

use super::processes::Process;

/// The home network of all that is registered.
const HOME_PREFIX: &str = "2001:db8:0:1::/64";

/// One replica, before it is started.
#[derive(Debug)]
pub(crate) struct Replica<'a> {
    pub(crate) id: u64,
    pub(crate) listen: SocketAddr,
    /// All first members, as they reach each other; none for one that waits to be added.
    pub(crate) peers: &'a [(u64, SocketAddr)],
    pub(crate) data_dir: &'a Path,
    /// As by default, if `None`.
    pub(crate) snapshot_after_mib: Option<u32>,
}

impl Replica<'_> {
    /// Starts the program as it is shipped; configuration and output are files in `directory`.
    pub(crate) fn start(&self, directory: &Path) -> Result<Process> {
        let name = format!("store-{}", self.id);
        let peers = self.peers.iter().map(|(id, at)| format!("{id} = \"{at}\"\n"));
        let snapshots = self.snapshot_after_mib.map(|mib| format!("snapshot_after_mib = {mib}\n"));
        let text = format!(
            "{}node_id = {}\ncluster_name = \"bench\"\ndata_dir = \"{}\"\n\
             listen = \"{}\"\n[peers]\n{}[ops]\nlisten = \"{}\"\n",
            snapshots.unwrap_or_default(),
            self.id,
            self.data_dir.display(),
            self.listen,
            peers.collect::<String>(),
            free_address()?,
        );
        let file = directory.join(format!("{name}.toml"));
        std::fs::write(&file, text)?;
        let mut command = Command::new(program_of(Build::Release, "homeport")?);
        command.arg("store").arg("--config").arg(&file);
        Process::start(directory, &name, command)
    }
}

/// The cluster; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Replicas {
    pub(crate) processes: Vec<Process>,
    addresses: Vec<SocketAddr>,
    directory: PathBuf,
}

impl Replicas {
    /// Starts them on empty disks below `directory`, with one home prefix without authentication.
    pub(crate) async fn start(directory: &Path) -> Result<Self> {
        Self::start_on(directory, None, |n| directory.join(format!("store-{}", n + 1))).await
    }

    /// The same, and they write a snapshot after so many MiB of commands.
    pub(crate) async fn start_with_snapshots(directory: &Path, after_mib: u32) -> Result<Self> {
        let data_dir = |n| directory.join(format!("store-{}", n + 1));
        Self::start_on(directory, Some(after_mib), data_dir).await
    }

    /// The same with the disk of the replica with each place where `data_dir` says.
    pub(crate) async fn start_on(
        directory: &Path,
        snapshot_after_mib: Option<u32>,
        data_dir: impl Fn(usize) -> PathBuf,
    ) -> Result<Self> {
        let addresses = [free_address()?, free_address()?, free_address()?];
        let mut peers = Vec::new();
        for (id, address) in (1..).zip(addresses) {
            peers.push((id, address));
        }
        let mut processes = Vec::new();
        for (n, (id, listen)) in peers.iter().copied().enumerate() {
            let data_dir = &data_dir(n);
            let replica = Replica { id, listen, peers: &peers, data_dir, snapshot_after_mib };
            processes.push(replica.start(directory)?);
        }
        let addresses = addresses.to_vec();
        let replicas = Self { processes, addresses, directory: directory.to_owned() };
        replicas.leader().await?;
        replicas.create_home_prefix().await?;
        Ok(replicas)
    }

    async fn create_home_prefix(&self) -> Result<()> {
        create_home_prefix(self.channel(self.leader().await?).await?).await
    }

    /// Place of the leader, once those that run agree on it.
    pub(crate) async fn leader(&self) -> Result<usize> {
        eventually("a leader", async || {
            let mut leader_id = None;
            for n in 0..self.addresses.len() {
                let Ok(status) = self.status(n).await else { continue };
                ensure!(status.leader_id != 0, "{n} knows none");
                ensure!(leader_id.is_none_or(|id| id == status.leader_id), "not one leader");
                leader_id = Some(status.leader_id);
            }
            Ok(usize::try_from(leader_id.context("no replica answers")?)? - 1)
        })
        .await
    }

    /// State of a replica.
    pub(crate) async fn status(&self, n: usize) -> Result<GetStatusResponse> {
        let mut client = ClusterClient::new(self.channel(n).await?);
        Ok(client.get_status(GetStatusRequest {}).await?.into_inner())
    }

    /// A new connection to a replica.
    pub(crate) async fn channel(&self, n: usize) -> Result<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.addresses[n]))?;
        Ok(endpoint.connect_timeout(Duration::from_millis(200)).connect().await?)
    }

    /// Revisions of the records that decide about every home address here.
    pub(crate) async fn policy_revisions(&self) -> Result<(u64, u64)> {
        let channel = self.channel(self.leader().await?).await?;
        Submitter::open(channel).await?.policy_revisions(home_address(0)).await
    }

    /// Where each replica listens.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Until a replica that has started has applied what the leader had at its start.
    pub(crate) async fn until_serving(&self, n: usize) -> Result<Duration> {
        let started = Instant::now();
        let goal = self.status(self.leader().await?).await?.applied_index;
        eventually("a replica that serves", async || {
            let status = self.status(n).await?;
            ensure!(status.applied_index >= goal, "{} of {goal}", status.applied_index);
            Ok(())
        })
        .await?;
        Ok(started.elapsed())
    }

    /// Where the replica with this place keeps its snapshots.
    pub(crate) fn snapshots(&self, n: usize) -> PathBuf {
        self.directory.join(format!("store-{}", n + 1)).join("snapshots")
    }
}

/// Creates the home network of all that is registered, without authentication.
pub(crate) async fn create_home_prefix(leader: Channel) -> Result<()> {
    let home_prefix = HomePrefix {
        prefix: HOME_PREFIX.to_owned(),
        home_agent: HOME_AGENT.to_string(),
        authentication: Authentication::None.into(),
        ..HomePrefix::default()
    };
    let request = CreateHomePrefixRequest { home_prefix: Some(home_prefix), ..Default::default() };
    HomePrefixesClient::new(leader).create_home_prefix(request).await?;
    Ok(())
}

/// Home address `n` of the home prefix, apart from the home agent's.
pub(crate) fn home_address(n: u32) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(HOME_AGENT) & !0xffff_ffff_ffff_ffff | 1 << 40 | u128::from(n))
}
