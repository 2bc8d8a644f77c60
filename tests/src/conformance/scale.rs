//! A million home addresses with two BIDs each, looked at here and there, and as a whole after processes
//! were killed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use homeport_api::admin::bindings_client::BindingsClient;
use homeport_api::admin::{HomeBindings, ListHomeBindingsRequest};

use super::catalogue::Row;
use super::cluster::resident;
use super::load::{self, BIDS, Sent, all_accepted};
use super::mcoa::refresh_request;
use super::packet::Update;
use super::stage::{Proof, Stage};
use crate::dev::{Endpoints, Member, kill, metric};
use crate::eventually_within;

/// Home addresses that one spot check looks at.
const SPOTS: u32 = 48;
/// Of these, so many wait in vain for a packet.
const SILENT_SPOTS: usize = 4;
/// First sequence number after that of the registration, however often that was sent.
const LATER: u16 = 100;
/// The same of the refresh of half of them, before any that is LATER.
const HALFWAY: u16 = 50;
/// How long a process may take that starts again with all of it on a busy machine.
const RESTART_MAX: Duration = Duration::from_secs(300);
/// The longest page that the store gives.
const PAGE_SIZE: u32 = 1000;

/// What the store must hold.
pub(super) struct Table {
    pub(super) count: u32,
    pub(super) gone: BTreeSet<u32>,
    /// Whose links are no longer those of the first registration, in the order of the BIDs.
    pub(super) moved: BTreeMap<u32, [Option<u16>; 2]>,
    /// State of the generator that chooses home addresses.
    random: u64,
    chosen: BTreeSet<u32>,
}

/// All of it.
pub(super) async fn scale(stage: &Stage, row: &Row) -> Result<()> {
    let count = stage.lab.extent.home_addresses;
    let mut table = Table::new(count);
    println!("{count} home addresses; those to look at are chosen by {}", table.random);
    let before = resident(stage)?;
    let sent = all_accepted(stage, 0..count, 1, |n, sequence| load::both(stage, n, sequence));
    report_load(stage, sent.await.context("registration")?);
    for ((name, before), (_, after)) in before.into_iter().zip(resident(stage)?) {
        println!("{name} grew from {before} to {after} KiB");
    }
    table.is_everywhere(stage).await.context("after the registrations")?;
    table.spots(stage).await.context("after the registrations")?;
    refresh_request(stage, row).await?;
    // Of half of them again: by then the replicas write their state down, and go on meanwhile.
    let untouched = (0..count).filter(|n| !table.chosen.contains(n));
    let again: Vec<u32> = untouched.step_by(2).collect();
    let sent = all_accepted(stage, again, HALFWAY, |_, sequence| load::refreshed(sequence));
    let sent = sent.await.context("refresh of half of them")?;
    println!("{sent:?} by a refresh of half of them");
    println!("snapshots: {:?}", snapshots(stage)?);
    restart_forwarder(stage).await?;
    table.is_everywhere(stage).await.context("after the restart of a forwarder")?;
    table.spots(stage).await.context("after the restart of a forwarder")?;
    kill_leader(stage, &mut table).await?;
    table.is_everywhere(stage).await.context("after the leader was killed")?;
    table.spots(stage).await.context("after the leader was killed")
}

fn report_load(stage: &Stage, sent: Sent) {
    let again = f64::from(sent.sent - sent.acknowledged);
    stage.lab.figure("scale_home_addresses", f64::from(sent.acknowledged), "1");
    stage.lab.figure("scale_registrations_per_second", sent.per_second(), "1/s");
    stage.lab.figure("scale_retransmissions", again, "1");
}

impl Table {
    /// Of so many home addresses, each with its first links.
    pub(super) fn new(count: u32) -> Self {
        Self {
            count,
            gone: BTreeSet::new(),
            moved: BTreeMap::new(),
            random: u64::from(std::process::id()),
            chosen: BTreeSet::new(),
        }
    }

    /// Home addresses that no check has changed yet, and none twice.
    fn choose(&mut self) -> Vec<u32> {
        let wanted = usize::try_from(SPOTS.min(self.count / 16)).unwrap_or(usize::MAX);
        let mut chosen = Vec::new();
        while chosen.len() < wanted {
            // SplitMix64.
            self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.random;
            mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            let n = u32::try_from((mixed ^ mixed >> 31) % u64::from(self.count));
            chosen.extend(n.ok().filter(|n| self.chosen.insert(*n)));
        }
        chosen
    }

    /// The link of each BID; `None` where it has no binding.
    fn links(&self, n: u32) -> [Option<u16>; 2] {
        if self.gone.contains(&n) {
            return [None; 2];
        }
        self.moved.get(&n).copied().unwrap_or(BIDS.map(Some))
    }

    /// Data down and up, refresh, handover of one BID, de-registration of one and of all, each of other
    /// home addresses.
    async fn spots(&mut self, stage: &Stage) -> Result<()> {
        let untouched = self.choose();
        self.look_at(stage, &untouched).await.context("as they were registered")?;
        let refreshed = self.choose();
        let update = |_, sequence| load::refreshed(sequence);
        all_accepted(stage, refreshed.clone(), LATER, update).await.context("refresh")?;
        self.look_at(stage, &refreshed).await.context("refreshed")?;
        let moved = self.choose();
        let update = |n, sequence| load::moved(stage, n, sequence, 3);
        all_accepted(stage, moved.clone(), LATER, update).await.context("handover")?;
        self.moved.extend(moved.iter().map(|n| (*n, [Some(3), Some(BIDS[1])])));
        self.look_at(stage, &moved).await.context("after a handover")?;
        let less = self.choose();
        let update = |_, sequence| load::without(sequence, BIDS[0]);
        all_accepted(stage, less.clone(), LATER, update).await.context("de-registration")?;
        self.moved.extend(less.iter().map(|n| (*n, [None, Some(BIDS[1])])));
        self.look_at(stage, &less).await.context("with one BID less")?;
        let gone = self.choose();
        let update = |_, sequence| Update::new(sequence).lifetime(0);
        all_accepted(stage, gone.clone(), LATER, update).await.context("de-registration")?;
        self.gone.extend(&gone);
        self.look_at(stage, &gone).await.context("without bindings")
    }

    /// Packets go to the first BID that is bound and come from each, and from nowhere else.
    pub(super) async fn look_at(&self, stage: &Stage, numbers: &[u32]) -> Result<()> {
        for (at, n) in numbers.iter().copied().enumerate() {
            let (home, links) = (load::home(stage, n), self.links(n));
            let what = || format!("home address {home}, number {n}");
            for link in 1..=3 {
                let care_of = load::care_of(stage, link, n);
                let is_bound = links.contains(&Some(link));
                let expected = if is_bound { Proof::Bound } else { Proof::Unbound };
                // Errors are limited in rate, so they are not asked for everywhere.
                if is_bound || at < SILENT_SPOTS {
                    let proof = stage.proof_of(care_of, home).await.with_context(what)?;
                    ensure!(proof == expected, "{}: {proof:?} at {care_of}", what());
                }
                if is_bound {
                    stage.reversed(care_of, home).await.with_context(what)?;
                }
            }
            match links.into_iter().flatten().next() {
                Some(link) => {
                    let care_of = load::care_of(stage, link, n);
                    stage.network_reached_at(home, care_of).await.with_context(what)?;
                }
                None if at < SILENT_SPOTS => stage.not_tunnelled(home).await.with_context(what)?,
                None => {}
            }
        }
        Ok(())
    }

    /// Every replica holds exactly this, and both forwarders hold the same.
    pub(super) async fn is_everywhere(&self, stage: &Stage) -> Result<()> {
        let started = Instant::now();
        let stores = stage.lab.cluster.endpoints()?.stores;
        for store in &stores {
            let held = eventually_within(RESTART_MAX, &store.name, async || {
                self.is_held_by(stage, store).await
            });
            held.await?;
        }
        println!("three replicas show the same table after {:?}", started.elapsed());
        eventually_within(RESTART_MAX, "equal counts", async || {
            counts_are_equal(&stage.lab.cluster.endpoints()?).await
        })
        .await
    }

    /// Goes through all pages of one replica's own state.
    async fn is_held_by(&self, stage: &Stage, store: &Member) -> Result<()> {
        let mut client = BindingsClient::new(stage.lab.replica(store).await?);
        let mut request =
            ListHomeBindingsRequest { page_size: PAGE_SIZE, local: true, ..Default::default() };
        let mut expected = (0..self.count).filter(|n| !self.gone.contains(n));
        loop {
            let page = client.list_home_bindings(request.clone()).await?.into_inner();
            for shown in &page.homes {
                let home: Ipv6Addr = shown.home_address.parse()?;
                let Some(n) = load::number(stage, home).filter(|n| *n < self.count) else {
                    continue;
                };
                let next = expected.next();
                ensure!(next == Some(n), "{home} is number {n}, expected {next:?}");
                self.is_shown(stage, n, shown)?;
            }
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        let missing = expected.next();
        ensure!(missing.is_none(), "number {missing:?} is not shown");
        Ok(())
    }

    fn is_shown(&self, stage: &Stage, n: u32, shown: &HomeBindings) -> Result<()> {
        let links = BIDS.iter().zip(self.links(n));
        let bound = links.filter_map(|(id, link)| Some((u32::from(*id), link?)));
        let expected: Vec<(Option<u32>, Ipv6Addr)> =
            bound.map(|(id, link)| (Some(id), load::care_of(stage, link, n))).collect();
        let address = |text: &str| text.parse::<Ipv6Addr>().context("a care-of address");
        let bindings = shown.bindings.iter();
        let bindings = bindings.map(|it| Ok((it.bid, address(&it.care_of_address)?)));
        let bindings = bindings.collect::<Result<Vec<_>>>()?;
        ensure!(bindings == expected, "number {n}: {bindings:?}, expected {expected:?}");
        Ok(())
    }
}

/// The replicas count the same bindings, and the forwarders have the same table.
async fn counts_are_equal(endpoints: &Endpoints) -> Result<()> {
    let Endpoints { stores, forwarders, .. } = endpoints;
    for (members, name) in [
        (stores, "homeport_store_bindings"),
        (stores, "homeport_store_home_addresses"),
        (forwarders, "homeport_forwarder_home_addresses"),
        (forwarders, "homeport_forwarder_table_digest"),
    ] {
        let mut values = BTreeSet::new();
        for member in members {
            values.insert(metric(member, name).await?);
        }
        ensure!(values.len() == 1, "{name}: {values:?}");
    }
    Ok(())
}

/// The forwarder of this home prefix is killed, and fetches the whole table when it starts again.
async fn restart_forwarder(stage: &Stage) -> Result<()> {
    let at = usize::from(stage.case % 2);
    let forwarder = |endpoints: Endpoints| endpoints.forwarders.into_iter().nth(at);
    let old = forwarder(stage.lab.cluster.endpoints()?).context("no forwarder")?;
    kill(&old)?;
    let started = Instant::now();
    eventually_within(RESTART_MAX, "the forwarder's table", async || {
        let endpoints = stage.lab.cluster.endpoints()?;
        let new = forwarder(endpoints.clone()).and_then(|forwarder| forwarder.pid);
        ensure!(new.is_some_and(|pid| Some(pid) != old.pid), "it is down");
        counts_are_equal(&endpoints).await
    })
    .await?;
    let took = started.elapsed();
    println!("the forwarder has the whole table again after {took:?}");
    stage.lab.figure("scale_forwarder_restart", took.as_secs_f64(), "s");
    Ok(())
}

/// The leader is killed while home addresses are registered, of which none is lost.
async fn kill_leader(stage: &Stage, table: &mut Table) -> Result<()> {
    let leader = stage.lab.cluster.leader().await?;
    let started = Instant::now();
    let killed = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        kill(&leader)
    };
    let more = table.count..table.count + table.count.min(20_000) / 4;
    let update = |n, sequence| load::both(stage, n, sequence);
    let (sent, killed) = tokio::join!(all_accepted(stage, more.clone(), 1, update), killed);
    killed?;
    let sent = sent.context("registrations while the leader is killed")?;
    println!("{sent:?} while the leader was killed");
    table.count = more.end;
    stage.lab.forget_leader().await;
    eventually_within(RESTART_MAX, "three replicas", async || {
        stage.lab.cluster.leader().await.map(drop)
    })
    .await?;
    let took = started.elapsed();
    println!("three replicas run again after {took:?}");
    stage.lab.figure("scale_leader_restart", took.as_secs_f64(), "s");
    Ok(())
}

/// Octets of the snapshot of each replica.
fn snapshots(stage: &Stage) -> Result<Vec<u64>> {
    let stores = stage.lab.cluster.endpoints()?.stores;
    let octets = stores.iter().map(|store| {
        let directory = stage.lab.cluster.data_dir().join(&store.name).join("snapshots");
        let files = std::fs::read_dir(directory)?.flatten();
        Ok(files.filter_map(|file| Some(file.metadata().ok()?.len())).sum())
    });
    octets.collect()
}
