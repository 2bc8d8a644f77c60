//! The processes that are served, as they are served: replicas and front-ends, on a ground of the
//! simulation.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use homeport_raft::{LogDisk, PeerEndpoint};
use homeport_runtime::Shutdown;
use homeport_store::Ground;

use crate::bugs::Bug;
use crate::checks::Checks;
use crate::disk::Disk;
use crate::host::Main;
use crate::net::{HostId, Net};
use crate::proxy;
use crate::tap::SimTap;

/// A snapshot after so many entries, so that there are many of them.
const SNAPSHOT_AFTER_ENTRIES: u64 = 40;
/// Entries kept below it: who was away for longer needs a snapshot.
const TAIL_ENTRIES: u64 = 12;
/// Octets of entries in memory: older ones are read from the disk.
const CACHE_OCTETS: usize = 4096;

/// Where the replica with this id is.
pub(crate) fn store_address(node_id: u64) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(10, 0, 1, last_octet(node_id)), 7000))
}

/// Where this front-end is.
pub(crate) fn front_end_address(front_end: u64) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(10, 0, 2, last_octet(front_end)), 7100))
}

fn last_octet(id: u64) -> u8 {
    u8::try_from(id).unwrap_or(u8::MAX)
}

/// What a replica needs to start.
#[derive(Clone)]
pub(crate) struct Replica {
    pub(crate) node_id: u64,
    pub(crate) replicas: u64,
    pub(crate) host: HostId,
    pub(crate) net: Net,
    pub(crate) disk: Disk,
    pub(crate) data_dir: PathBuf,
    pub(crate) checks: Checks,
    pub(crate) bug: Option<Bug>,
}

impl Replica {
    /// Its process.
    pub(crate) fn main(&self) -> Main {
        let this = self.clone();
        let address = store_address(this.node_id);
        let incoming = this.net.listen(this.host, &address.to_string());
        let disk = this.disk.mount();
        Box::pin(async move {
            let peers: BTreeMap<u64, String> =
                (1..=this.replicas).map(|id| (id, store_address(id).to_string())).collect();
            let config = homeport_store::Config {
                node_id: this.node_id,
                cluster_name: "sim".to_owned(),
                data_dir: this.data_dir.clone(),
                listen: address,
                peers,
                raft: homeport_store::RaftTimers::default(),
                snapshot_after_mib: homeport_store::limits::SNAPSHOT_AFTER_MIB_DEFAULT,
                prefix_advertisements_per_second_max:
                    homeport_store::limits::ADVERTISEMENTS_PER_SECOND_DEFAULT,
                admin: None,
                tls: None,
                telemetry: Default::default(),
                ops: Default::default(),
            };
            let mut raft = homeport_store::raft_config(&config);
            raft.endpoint = PeerEndpoint::plain().over(this.net.dial(this.host));
            raft.snapshot_after_entries = SNAPSHOT_AFTER_ENTRIES;
            raft.tail_entries = TAIL_ENTRIES;
            raft.cache_bytes = CACHE_OCTETS;
            raft.free_space_min = 0;
            raft.log_disk = Some(LogDisk(disk));
            let (checks, bug) = (this.checks.clone(), this.bug);
            let tap = SimTap { replica: this.node_id, checks, bug };
            let ground = Ground { incoming, raft, tap: Some(Box::new(tap)) };
            let served = homeport_store::run_on(&config, ground, Shutdown::manual());
            match this.bug {
                Some(Bug::AckBeforeCommit) => {
                    let proxy = proxy::run(this.host, address, this.net.clone());
                    tokio::select! {
                        served = served => served.map_err(|error| error.to_string()),
                        proxied = proxy => proxied,
                    }
                }
                _ => served.await.map_err(|error| error.to_string()),
            }
        })
    }
}

/// What a front-end needs to start.
#[derive(Clone)]
pub(crate) struct FrontEnd {
    pub(crate) id: u64,
    pub(crate) replicas: u64,
    pub(crate) host: HostId,
    pub(crate) net: Net,
    pub(crate) bug: Option<Bug>,
}

impl FrontEnd {
    /// Its process.
    pub(crate) fn main(&self) -> Main {
        let this = self.clone();
        let listen = front_end_address(this.id);
        let incoming = this.net.listen(this.host, &listen.to_string());
        Box::pin(async move {
            let config = homeport_front_end::Config {
                listen,
                stores: (1..=this.replicas).map(|id| store_address(id).to_string()).collect(),
                deadline_ms: 1000.into(),
                ike_deadline_ms: 500.into(),
                correspondent: None,
                tls: None,
                telemetry: Default::default(),
                ops: Default::default(),
            };
            let dial = this.net.dial(this.host);
            let dial: homeport_front_end::Dial = match this.bug {
                Some(Bug::AckBeforeCommit) => Arc::new(proxy::through(dial)),
                _ => Arc::new(dial),
            };
            let served =
                homeport_front_end::run_on(&config, incoming, dial, Shutdown::manual()).await;
            served.map_err(|error| error.to_string())
        })
    }
}
