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
        let addresses = [free_address()?, free_address()?, free_address()?];
        let peers = addresses.iter().enumerate();
        let peers: String = peers.map(|(n, at)| format!("{} = \"{at}\"\n", n + 1)).collect();
        let mut processes = Vec::new();
        for (n, listen) in addresses.iter().enumerate() {
            let (id, name) = (n + 1, format!("store-{}", n + 1));
            let data_dir = directory.join(&name);
            let text = format!(
                "node_id = {id}\ncluster_name = \"bench\"\ndata_dir = \"{}\"\n\
                 listen = \"{listen}\"\n[peers]\n{peers}[ops]\nlisten = \"{}\"\n",
                data_dir.display(),
                free_address()?,
            );
            let file = directory.join(format!("{name}.toml"));
            std::fs::write(&file, text)?;
            let mut command = Command::new(program_of(Build::Release, "homeport")?);
            command.arg("store").arg("--config").arg(&file);
            processes.push(Process::start(directory, &name, command)?);
        }
        let addresses = addresses.to_vec();
        let replicas = Self { processes, addresses, directory: directory.to_owned() };
        replicas.leader().await?;
        replicas.create_home_prefix().await?;
        Ok(replicas)
    }

    async fn create_home_prefix(&self) -> Result<()> {
        let home_prefix = HomePrefix {
            prefix: HOME_PREFIX.to_owned(),
            home_agent: HOME_AGENT.to_string(),
            authentication: Authentication::None.into(),
            ..HomePrefix::default()
        };
        let request = CreateHomePrefixRequest { home_prefix: Some(home_prefix) };
        let channel = self.channel(self.leader().await?).await?;
        HomePrefixesClient::new(channel).create_home_prefix(request).await?;
        Ok(())
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

/// Home address `n` of the home prefix, apart from the home agent's.
pub(crate) fn home_address(n: u32) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(HOME_AGENT) & !0xffff_ffff_ffff_ffff | 1 << 40 | u128::from(n))
}
