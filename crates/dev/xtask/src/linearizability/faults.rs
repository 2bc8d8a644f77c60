//! What is done to the cluster meanwhile.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rand::Rng as _;
use tokio::time::sleep;

use super::cluster::Cluster;
use super::relay::Ways;
use super::slow_disk::SlowDisk;

/// How long a fault lasts.
const FAULT: Duration = Duration::from_millis(1500);
/// Before a replica that was killed starts again.
const DOWN: Duration = Duration::from_millis(700);

/// Kinds of fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Fault {
    KillLeader,
    KillFollower,
    KillAll,
    PauseLeader,
    PauseFollower,
    /// From all others, both ways; clients reach it.
    CutLeaderOff,
    CutFollowerOff,
    /// The others do not hear it, and it hears them.
    LeaderUnheard,
    /// It does not hear the others, and they hear it.
    LeaderDeaf,
    /// A replica joins on an empty disk, and the leader leaves.
    ReplaceLeader,
    ReplaceFollower,
    SlowLeader,
    SlowFollower,
    /// The leader is cut off while a follower is killed: no majority until it is back.
    CutAndKill,
}

impl Fault {
    pub(crate) const ALL: [Self; 14] = [
        Self::KillLeader,
        Self::CutLeaderOff,
        Self::PauseLeader,
        Self::ReplaceLeader,
        Self::SlowLeader,
        Self::KillFollower,
        Self::LeaderUnheard,
        Self::PauseFollower,
        Self::ReplaceFollower,
        Self::SlowFollower,
        Self::CutFollowerOff,
        Self::LeaderDeaf,
        Self::KillAll,
        Self::CutAndKill,
    ];

    /// Name for figures.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::KillLeader => "kill_leader",
            Self::KillFollower => "kill_follower",
            Self::KillAll => "kill_all",
            Self::PauseLeader => "pause_leader",
            Self::PauseFollower => "pause_follower",
            Self::CutLeaderOff => "cut_leader_off",
            Self::CutFollowerOff => "cut_follower_off",
            Self::LeaderUnheard => "leader_unheard",
            Self::LeaderDeaf => "leader_deaf",
            Self::ReplaceLeader => "replace_leader",
            Self::ReplaceFollower => "replace_follower",
            Self::SlowLeader => "slow_disk_leader",
            Self::SlowFollower => "slow_disk_follower",
            Self::CutAndKill => "cut_leader_and_kill_follower",
        }
    }

    /// Whether this machine and user can do it; else why not.
    pub(crate) fn impossible(self) -> Option<&'static str> {
        match self {
            Self::SlowLeader | Self::SlowFollower => super::slow_disk::impossible(),
            _ => None,
        }
    }

    /// Begins it, waits, and ends it.
    pub(crate) async fn strike(self, cluster: &mut Cluster, directory: &Path) -> Result<()> {
        let leader = cluster.leader().await?;
        let others: Vec<u64> = cluster.ids().into_iter().filter(|id| *id != leader).collect();
        let place = rand::rng().random_range(0..others.len().max(1));
        let follower = *others.get(place).context("a leader without followers")?;
        match self {
            Self::KillLeader => kill(cluster, &[leader]).await,
            Self::KillFollower => kill(cluster, &[follower]).await,
            Self::KillAll => kill(cluster, &cluster.ids()).await,
            Self::PauseLeader => pause(cluster, leader).await,
            Self::PauseFollower => pause(cluster, follower).await,
            Self::CutLeaderOff => {
                cut(cluster, both(leader, &others)).await;
                Ok(())
            }
            Self::CutFollowerOff => {
                cut(cluster, both(follower, &cluster.ids())).await;
                Ok(())
            }
            Self::LeaderUnheard => {
                cut(cluster, others.iter().map(|other| (leader, *other)).collect()).await;
                Ok(())
            }
            Self::LeaderDeaf => {
                cut(cluster, others.iter().map(|other| (*other, leader)).collect()).await;
                Ok(())
            }
            Self::ReplaceLeader => {
                cluster.join().await?;
                cluster.leave(leader).await
            }
            Self::ReplaceFollower => {
                cluster.join().await?;
                cluster.leave(follower).await
            }
            Self::SlowLeader => slow(cluster.pid(leader)?, directory).await,
            Self::SlowFollower => slow(cluster.pid(follower)?, directory).await,
            Self::CutAndKill => {
                cluster.net.cut(both(leader, &others));
                kill(cluster, &[follower]).await?;
                sleep(FAULT).await;
                cluster.net.cut(Ways::new());
                Ok(())
            }
        }
    }
}

async fn kill(cluster: &mut Cluster, ids: &[u64]) -> Result<()> {
    for id in ids {
        cluster.kill(*id)?;
    }
    sleep(DOWN).await;
    ids.iter().try_for_each(|id| cluster.again(*id))
}

async fn pause(cluster: &mut Cluster, id: u64) -> Result<()> {
    cluster.signal(id, "STOP")?;
    sleep(FAULT).await;
    cluster.signal(id, "CONT")
}

async fn cut(cluster: &Cluster, ways: Ways) {
    cluster.net.cut(ways);
    sleep(FAULT).await;
    cluster.net.cut(Ways::new());
}

async fn slow(pid: u32, directory: &Path) -> Result<()> {
    let slow = SlowDisk::begin(directory, pid)?;
    sleep(FAULT * 2).await;
    drop(slow);
    Ok(())
}

/// All ways to and from a replica.
fn both(id: u64, others: &[u64]) -> Ways {
    others.iter().flat_map(|other| [(id, *other), (*other, id)]).collect()
}
