//! A rolling upgrade from the version before, back to it, and again to today's, while mobile nodes register,
//! move, leave and are reached.
//!
//! Each process is ended in order and started from the other version's program, one after the other: on the
//! way up the store's followers, its leader last, then front-ends and forwarders; on the way back the
//! other way round.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use homeport_api::admin::home_prefixes_client::HomePrefixesClient;
use homeport_api::admin::{HomePrefix, UpdateHomePrefixRequest};
use tonic::{Code, Status};

use super::catalogue::Row;
use super::cluster::signal;
use super::lab::leads_no_more;
use super::load::{self, BIDS, Sent, all_accepted};
use super::packet::Update;
use super::scale::Table;
use super::stage::Stage;
use crate::dev::{Member, kill, program};
use crate::{eventually, versions};

/// Home addresses that register before the first process is exchanged.
const FIRST: u32 = 200;
/// More of them in each round of traffic.
const MORE: u32 = 4;
/// Home addresses that are looked at on the wire after each exchange.
const LOOKED_AT: usize = 6;
/// Above the sequence numbers that one round of traffic may use up.
const ROUND: u16 = 128;
/// The link that BID 1 moves to, and back from.
const OTHER_LINK: u16 = 3;
/// What the newer version can change in a home prefix that is served, seconds.
const LIFETIME_SECS: u32 = 400;

/// An upgrade, or the way back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Back,
}

struct Upgrade<'s> {
    stage: &'s Stage,
    table: Table,
    /// The next round's first sequence number.
    sequence: u16,
    rounds: u16,
    sent: Sent,
    /// The longest that one round of traffic took.
    longest: Duration,
}

/// The whole case.
pub(super) async fn upgrade(stage: &Stage, _row: &Row) -> Result<()> {
    let before = versions::program_of(versions::BEFORE)?;
    let now = program("homeport")?;
    let mut upgrade = Upgrade {
        stage,
        table: Table::new(0),
        sequence: 1,
        rounds: 0,
        sent: Sent::default(),
        longest: Duration::ZERO,
    };
    upgrade.register(FIRST).await.context("at the version before")?;
    upgrade.looks_right().await.context("at the version before")?;
    upgrade.roll(Way::Up, &now).await.context("upgrade")?;
    upgrade.roll(Way::Back, &before).await.context("way back")?;
    upgrade.roll(Way::Up, &now).await.context("second upgrade")?;
    upgrade.new_entries().await.context("entries of the new kind")?;
    upgrade.report();
    Ok(())
}

impl Upgrade<'_> {
    /// Exchanges all processes.
    async fn roll(&mut self, way: Way, program: &Path) -> Result<()> {
        match way {
            Way::Up => {
                self.roll_stores(program).await?;
                self.roll_front_ends(program).await?;
                self.roll_forwarders(program).await
            }
            Way::Back => {
                self.roll_forwarders(program).await?;
                self.roll_front_ends(program).await?;
                self.roll_stores(program).await
            }
        }
    }

    /// Followers first: who leads is asked again each time.
    async fn roll_stores(&mut self, program: &Path) -> Result<()> {
        let cluster = &self.stage.lab.cluster;
        let mut left: Vec<String> =
            cluster.endpoints()?.stores.into_iter().map(|store| store.name).collect();
        while !left.is_empty() {
            let leader = cluster.leader().await?.name;
            let at = left.iter().position(|name| *name != leader).unwrap_or(0);
            let name = left.swap_remove(at);
            self.exchange(&name, program).await?;
            self.stage.lab.forget_leader().await;
            if !left.is_empty() {
                self.change_is_refused().await.with_context(|| format!("{name} exchanged"))?;
            }
        }
        Ok(())
    }

    async fn roll_front_ends(&mut self, program: &Path) -> Result<()> {
        for front_end in self.stage.lab.cluster.endpoints()?.front_ends {
            self.exchange(&front_end.name, program).await?;
        }
        Ok(())
    }

    /// The network takes the other way first, as where a routing protocol runs.
    async fn roll_forwarders(&mut self, program: &Path) -> Result<()> {
        for (side, forwarder) in self.stage.lab.cluster.endpoints()?.forwarders.iter().enumerate() {
            self.stage.lab.route_home(&self.stage.home, 1 - side).await?;
            self.exchange(&forwarder.name, program).await?;
        }
        Ok(())
    }

    /// One process, in the midst of traffic; then everything must be where it should be.
    async fn exchange(&mut self, name: &str, program: &Path) -> Result<()> {
        let done = Cell::new(false);
        let lab = std::sync::Arc::clone(&self.stage.lab);
        let exchanged = async {
            let exchanged = exchanged(&lab.cluster, name, program).await;
            done.set(true);
            exchanged
        };
        let traffic = async {
            while !done.get() {
                self.traffic().await?;
            }
            anyhow::Ok(())
        };
        let (exchanged, traffic) = tokio::join!(exchanged, traffic);
        exchanged.with_context(|| name.to_owned())?;
        traffic.with_context(|| format!("while {name} was exchanged"))?;
        self.looks_right().await.with_context(|| format!("after {name} was exchanged"))?;
        println!("{name} runs {}", program.display());
        Ok(())
    }

    /// Some home addresses more.
    async fn register(&mut self, more: u32) -> Result<()> {
        let (stage, table) = (self.stage, &mut self.table);
        let numbers = table.count..table.count + more;
        let update = |n, sequence| load::both(stage, n, sequence);
        let sent = all_accepted(stage, numbers, self.sequence, update).await?;
        self.table.count += more;
        self.sent += sent;
        Ok(())
    }

    /// All of them move to another link or back, one leaves, some come, and one is reached.
    async fn traffic(&mut self) -> Result<()> {
        let (stage, started) = (self.stage, Instant::now());
        self.rounds = self.rounds.wrapping_add(1);
        // Circular: a round's numbers never run over the end.
        self.sequence = self.rounds.wrapping_mul(ROUND);
        let link = if self.rounds.is_multiple_of(2) { BIDS[0] } else { OTHER_LINK };
        let bound: Vec<u32> =
            (0..self.table.count).filter(|n| !self.table.gone.contains(n)).collect();
        let update = |n, sequence| load::moved(stage, n, sequence, link);
        let sent = all_accepted(stage, bound.iter().copied(), self.sequence, update).await?;
        self.table.moved.extend(bound.iter().map(|n| (*n, [Some(link), Some(BIDS[1])])));
        self.sent += sent;
        self.sequence += ROUND / 2;
        if let Some(first) = bound.first() {
            let update = |_, sequence| Update::new(sequence).lifetime(0);
            self.sent += all_accepted(stage, [*first], self.sequence, update).await?;
            self.table.gone.insert(*first);
        }
        self.register(MORE).await?;
        self.longest = self.longest.max(started.elapsed());
        let last = *bound.last().context("nobody is bound")?;
        self.is_reached(&[last]).await
    }

    /// Data down and up at each care-of address. What an acknowledgement says may reach the forwarder's
    /// table after it, while the store or a front-end is away.
    async fn is_reached(&self, numbers: &[u32]) -> Result<()> {
        eventually("the home addresses", async || self.table.look_at(self.stage, numbers).await)
            .await
    }

    /// Every replica and every forwarder holds what was acknowledged, and nothing else; packets go there.
    async fn looks_right(&self) -> Result<()> {
        self.table.is_everywhere(self.stage).await?;
        let numbers = 0..self.table.count;
        let step = usize::try_from(self.table.count)?.div_ceil(LOOKED_AT);
        let spread: Vec<u32> = numbers.step_by(step.max(1)).collect();
        self.is_reached(&spread).await
    }

    /// As long as one replica is of the version before, no entry of the new kind is written.
    async fn change_is_refused(&self) -> Result<()> {
        let answer = eventually("an answer", async || match self.change().await? {
            Err(status) if is_passing(&status) => bail!("{}", status.message()),
            answer => Ok(answer),
        });
        match answer.await? {
            Ok(()) => bail!("a home prefix was changed with a replica that does not know this"),
            // By a leader of the version before, or by one that knows about the others.
            Err(status) if status.code() == Code::Unimplemented => Ok(()),
            Err(status) if status.code() == Code::FailedPrecondition => {
                ensure!(status.message().contains("version"), "refused: {}", status.message());
                Ok(())
            }
            Err(status) => bail!("{:?}: {}", status.code(), status.message()),
        }
    }

    async fn change(&self) -> Result<Result<(), Status>> {
        let changed = HomePrefix {
            prefix: format!("{}/64", self.stage.home.prefix),
            lifetime_max_secs: LIFETIME_SECS,
            ..HomePrefix::default()
        };
        let request = UpdateHomePrefixRequest {
            home_prefix: Some(changed),
            update_mask: vec!["lifetime_max_secs".to_owned()],
            ..Default::default()
        };
        let mut client = HomePrefixesClient::new(self.stage.lab.leader().await?);
        Ok(client.update_home_prefix(request).await.map(drop))
    }

    /// Once all are of the new version the change is taken, and each leader grants by it.
    async fn new_entries(&mut self) -> Result<()> {
        self.stage.lab.forget_leader().await;
        let changed = eventually("the change", async || Ok(self.change().await??));
        changed.await?;
        for sequence in [1, 2] {
            let ba = self.stage.accepted(&load::lasting(sequence), self.stage.coa(1)).await?;
            let granted = u32::from(ba.lifetime) * 4;
            ensure!(granted == LIFETIME_SECS, "{granted} s are granted, not {LIFETIME_SECS} s");
            if sequence == 1 {
                kill(&self.stage.lab.cluster.leader().await?)?;
                self.stage.lab.cluster.leader().await?;
                self.stage.lab.forget_leader().await;
            }
        }
        self.looks_right().await
    }

    fn report(&self) {
        let Sent { acknowledged, sent, .. } = self.sent;
        let lab = &self.stage.lab;
        lab.figure("upgrade_acknowledged", acknowledged.into(), "1");
        lab.figure("upgrade_retransmissions", f64::from(sent - acknowledged), "1");
        lab.figure("upgrade_longest_round", self.longest.as_secs_f64(), "s");
    }
}

/// Nobody led, or it was not the one that was asked.
fn is_passing(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded) || leads_no_more(status)
}

/// Ends the process in order, and waits until it serves again, by the other program.
async fn exchanged(cluster: &crate::dev::DevCluster, name: &str, program: &Path) -> Result<()> {
    let member = || -> Result<Member> {
        let members = cluster.endpoints()?.all().find(|member| member.name == name);
        members.with_context(|| format!("no {name}"))
    };
    let old = member()?;
    cluster.exchange_program(name, program)?;
    signal(&old, "-TERM")?;
    let program: PathBuf = std::fs::canonicalize(program)?;
    eventually(name, async || {
        let new = member()?;
        ensure!(new.pid != old.pid, "it has not ended");
        let pid = new.pid.context("it is down")?;
        let runs = std::fs::read_link(format!("/proc/{pid}/exe"))?;
        ensure!(runs == program, "it runs {}", runs.display());
        crate::dev::is_ready(&new).await
    })
    .await
}
